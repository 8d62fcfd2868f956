"""The units of replacement."""
