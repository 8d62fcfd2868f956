"""``permgrad run``."""

from __future__ import annotations

from permgrad.base.startup import loading
from permgrad.cli.command import app, command, say
from permgrad.runs.requests import Outcome, RunRequest


@command(app, RunRequest)
def run(request: RunRequest) -> Outcome:
    """Train a network on a table, explain it, and write a report.

    The same command goes on where an interrupted run stopped, and does nothing when the run is finished.
    """
    with loading():
        from permgrad.runs.run.run import run_table
    return run_table(request, say=say)
