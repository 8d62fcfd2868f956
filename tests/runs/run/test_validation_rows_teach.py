"""Validation rows of a run's own split teach the fits of a branch that do not judge
them, and are judged by those that left them out.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import permgrad as pg
from permgrad.models.estimators.hynn import HyNNRegressor
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.run import run_table


def noisy(rows: int) -> pd.DataFrame:
    """Return a table whose target trees find, and which is half noise."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(rows, 4)), columns=list("abcd"))
    steps = np.sign(frame["a"]) * np.round(2 * frame["b"])
    frame["y"] = steps + rng.normal(0, 2.0, rows)
    return frame.round(4)


@pytest.mark.slow
def test_validation_rows_are_judged_by_fits_that_left_them_out(tmp_path):
    frame = noisy(1200)
    frame.to_csv(tmp_path / "t.csv", index=False)
    request = RunRequest(
        table=str(tmp_path / "t.csv"),
        target=("y",),
        preset="fast:tabular+trees",
        out=tmp_path / "run",
    )
    run_table(request, say=lambda _: None)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text("utf8"))
    split = np.load(tmp_path / "run" / "split.npz")
    model = pg.load(tmp_path / "run" / "model")
    held_out = frame.iloc[split["validation"]]
    predicted = model.predict(held_out.drop(columns="y"))
    error = np.sqrt(np.mean((predicted - held_out["y"]) ** 2))
    assert error < 0.93 * metrics["test"]["rmse"], "they have taught trees"
    assert metrics["validation"]["rmse"] > 1.05 * error


@pytest.mark.parametrize(
    ("options", "teach"),
    [
        ({}, True),
        ({"row_group": "patient"}, True),
        ({"time": "patient"}, False),
    ],
)
def test_groups_stay_together_and_later_rows_never_teach(
    tmp_path, monkeypatch, options, teach
):
    frame = noisy(300).assign(patient=np.arange(300) // 3)
    frame.to_csv(tmp_path / "t.csv", index=False)
    seen = []

    def train(_model, prepared, **_):
        seen.append(prepared)
        raise InterruptedError

    monkeypatch.setattr(HyNNRegressor, "train", train)
    request = RunRequest(
        table=str(tmp_path / "t.csv"),
        target=("y",),
        preset="fast",
        out=tmp_path / "run",
        **options,
    )
    with pytest.raises(InterruptedError):
        run_table(request, say=lambda _: None)
    [prepared] = seen
    assert (prepared.units is not None) == teach
    if teach:
        split = np.load(tmp_path / "run" / "split.npz")
        rows = np.concatenate([split["train"], split["validation"]])
        together = (
            frame["patient"].to_numpy()[rows] if options else np.arange(len(rows))
        )
        pairs = np.unique(np.column_stack([prepared.units, together]), axis=0)
        assert len(pairs) == len(np.unique(together)) == len(np.unique(prepared.units))
