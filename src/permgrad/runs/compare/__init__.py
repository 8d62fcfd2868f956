"""``permgrad compare``."""
