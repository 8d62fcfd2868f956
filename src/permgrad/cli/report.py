"""``permgrad report``."""

from __future__ import annotations

from permgrad.base.startup import loading
from permgrad.cli.command import app, command
from permgrad.runs.requests import Outcome, ReportRequest


@command(app, ReportRequest)
def report(request: ReportRequest) -> Outcome:
    """Build a run's report.html again from the files in its folder.

    It reads run.json, data.json, layout.json, layout.svg, model/, metrics.json, history.csv, predictions.csv,
    explanations/, integrated_gradients.csv and branches.json, not importance.csv and split.npz, which hold the same
    numbers and rows for others.
    """
    with loading():
        from permgrad.runs.commands.report import rebuild_report
    return rebuild_report(request.folder, positive=request.positive)
