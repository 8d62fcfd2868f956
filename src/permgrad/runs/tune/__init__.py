"""``permgrad tune``."""
