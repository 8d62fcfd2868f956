"""The stages of ``permgrad run``."""
