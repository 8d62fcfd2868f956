"""``permgrad predict``."""

from __future__ import annotations

from permgrad.base.startup import loading
from permgrad.cli.command import app, command
from permgrad.runs.requests import Outcome, PredictRequest


@command(app, PredictRequest)
def predict(request: PredictRequest) -> Outcome:
    """Predict the rows of a table with a trained model; columns are matched by name."""
    with loading():
        from permgrad.runs.commands.predict import predict_table
    return predict_table(request)
