"""``permgrad explain``."""

from __future__ import annotations

from permgrad.base.startup import loading
from permgrad.cli.command import app, command
from permgrad.runs.requests import ExplainRequest, Outcome


@command(app, ExplainRequest)
def explain(request: ExplainRequest) -> Outcome:
    """Explain a trained model on the rows of a table; if the target column is there, the loss is explained."""
    with loading():
        from permgrad.runs.commands.explain import explain_table
    return explain_table(request)
