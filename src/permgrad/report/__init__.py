"""Plots and the HTML report: ``permgrad.report.plots`` and ``permgrad.report.page.html.write_report``."""
