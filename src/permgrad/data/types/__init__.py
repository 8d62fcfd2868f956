"""The type of each column, and notes on it for users."""
