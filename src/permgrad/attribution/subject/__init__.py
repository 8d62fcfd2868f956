"""The model being explained: how it is called, what it returns, what it offers."""
