"""Plots and the HTML report: ``permgrad.report.plots`` and ``permgrad.report.html.write_report``."""
