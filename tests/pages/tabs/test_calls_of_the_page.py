"""Calls that a page prints: each is typed as it stands, on the kind of model that the
page is of.
"""

from __future__ import annotations

import html
import inspect
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import permgrad as pg
from permgrad import pages
from permgrad.assess.assessment import Assessment
from permgrad.assess.predictions import Predictions
from permgrad.evaluation.baselines.table_model import table_model
from permgrad.evaluation.calibration import holds, score_intervals
from permgrad.evaluation.segments import find_segments
from permgrad.evaluation.skill import Predicted
from permgrad.pages.html import render_report

ROWS = 600
SOURCE = Path(pages.__file__).parent
#: A call with its arguments, which hold no brackets, or a tuple.
CALL = re.compile(r"(?:model|pg)\.\w+\((?:[^()]|\([^()]*\))*\)")


def rows(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    town = rng.choice(["Bern", "Chur"], ROWS)
    return pd.DataFrame({"size": rng.normal(size=ROWS), "town": town})


def content(task: str, subject: str) -> tuple[Assessment, np.ndarray]:
    """Return an assessment whose intervals or sets hold the truth of few rows of a
    town, or of a class.
    """
    X = rows()
    rng = np.random.default_rng(1)
    noise = rng.normal(size=ROWS) * np.where(X["town"] == "Bern", 0.2, 2.5)
    assessment = Assessment(title="t", target="y", task=task, subject=subject)
    if task == "regression":
        truth = X["size"].to_numpy() + noise
        guess = X["size"].to_numpy()
        inside = np.column_stack([guess - 1.2, guess + 1.2])
        assessment.predictions = Predictions(truth=truth, guess=guess, inside=inside)
        scores = score_intervals(truth, inside, 0.9)
        y = truth
    else:
        truth = (X["size"] + noise > 1.4).to_numpy().astype(int)
        guess = np.column_stack([np.full(ROWS, 0.8), np.full(ROWS, 0.2)])
        inside = np.column_stack([np.ones(ROWS, dtype=bool), X["town"] == "Bern"])
        y = np.array(["few", "rare"])[truth]
        classes = ("few", "rare")
        assessment.predictions = Predictions(
            truth=y, guess=guess, classes=classes, inside=inside
        )
        scores = score_intervals(truth, inside, 0.9, classes=classes)
    covered = holds(truth, inside)
    assessment.metrics = {"intervals": scores}
    assessment.segments = find_segments(X, Predicted(truth, guess), covered=covered)
    return assessment, y


@pytest.mark.parametrize("subject", ["", "LightGBM"])
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_every_call_that_a_page_prints_runs_as_it_stands(task, subject, undrawn):
    assessment, y = content(task, subject)
    page = re.sub(
        r"<script.*?</script>", "", render_report(assessment), flags=re.DOTALL
    )
    calls = CALL.findall(html.unescape(page))
    expected_calls = 1 - bool(subject) + (task == "classification")
    assert len(calls) == expected_calls, "the precondition: calls are printed"
    X = rows()
    kind = pg.HyNNRegressor if task == "regression" else pg.HyNNClassifier
    model = kind(preset="fast", max_epochs=1, random_state=0, validation_fraction=0.4)
    if subject:
        model = table_model(task, "lightgbm", validation_fraction=0.4)
    model.fit(X, y)
    for call in calls:
        result = eval(call, {"model": model, "X": X, "pg": pg})
        assert len(result) == ROWS, call


def test_no_page_names_an_argument_that_the_function_does_not_take():
    """Calls in the sources of the page: their names and keywords are those of the
    public functions.
    """
    checked_calls = 0
    for path in sorted(SOURCE.rglob("*.py")):
        for name, inside in re.findall(
            r"(?:model|pg)\.(\w+)\(([^()]*)", path.read_text(encoding="utf-8")
        ):
            owners = (pg, pg.HyNNClassifier, pg.HyNNRegressor)
            function = next(
                (getattr(owner, name) for owner in owners if hasattr(owner, name)), None
            )
            if function is None:
                continue
            parameters = inspect.signature(function).parameters
            for keyword in re.findall(r"(\w+)=", inside):
                assert keyword in parameters, f"{path.name}: {name}({inside})"
                checked_calls += 1
    assert checked_calls > 3, "the precondition: calls are looked at"
