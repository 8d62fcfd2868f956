"""``permgrad compare``."""

from __future__ import annotations

from permgrad.base.startup import loading
from permgrad.cli.command import app, command, say
from permgrad.runs.requests import CompareRequest, Outcome


@command(app, CompareRequest)
def compare(request: CompareRequest) -> Outcome:
    """Compare models on one table by cross-validation: which is best, and do they rely on the same features?

    The same command goes on where an interrupted one stopped, and does nothing when all is done.
    """
    with loading():
        from permgrad.runs.compare.compare import compare_table
    return compare_table(request, say=say)
