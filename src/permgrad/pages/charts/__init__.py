"""Figures of the page as arrays, which ``templates/scripts/figures.js`` draws."""
