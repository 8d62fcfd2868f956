"""Plots and HTML pages: ``permgrad.pages.plots`` and ``permgrad.pages.html.render_report``."""
