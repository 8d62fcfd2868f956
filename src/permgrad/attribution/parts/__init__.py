"""The same explanation over rows in pieces."""
