"""Slopes along lines, integrals and baselines."""
