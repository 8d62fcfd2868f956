"""Replacement games: donors, coalitions, moments."""
