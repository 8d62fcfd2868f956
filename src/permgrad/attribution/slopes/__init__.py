"""Slopes along lines, integrals and references."""
