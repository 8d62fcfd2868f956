"""Saved models: writing, checking and reading them."""
