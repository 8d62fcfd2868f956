"""``permgrad tune``."""

from __future__ import annotations

from permgrad.base.startup import loading
from permgrad.cli.command import app, command, say
from permgrad.runs.requests import Outcome, TuneRequest


@command(app, TuneRequest)
def tune(request: TuneRequest) -> Outcome:
    """Try many settings on validation rows, and export the best as a finished run.

    The same command goes on after an interruption, and may run several times at once to share the work; test rows
    are looked at once, at the end, for the winner.
    """
    with loading():
        from permgrad.runs.tune.tune import tune_table
    return tune_table(request, say=say)
