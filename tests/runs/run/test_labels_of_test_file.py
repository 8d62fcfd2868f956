"""Classes of a test file that are written otherwise are named before anything is
trained.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from permgrad.base.errors import InputError
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.run_inputs import load_inputs


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ({"low": "low.", "high": "high."}, "'high.' is 'high', 'low.' is 'low'"),
        (
            {"low": "LOW!", "high": "high"},
            "Write them as in the table: 'LOW!' is 'low'",
        ),
        ({"low": "cheap", "high": "dear"}, "Write them as in the table"),
        ({"low": 0, "high": 1}, "are '0', '1', in the table 'high', 'low'"),
    ],
)
def test_classes_in_another_spelling_are_refused(tmp_path, written, hint):
    draw = np.random.default_rng(1)
    frame = pd.DataFrame({"x": draw.normal(size=90)})
    frame["y"] = np.where(frame["x"] > 0, "low", "high")
    table = tmp_path / "a.csv"
    test = tmp_path / "b.csv"
    frame.to_csv(table, index=False)
    frame.assign(y=frame["y"].map(written)).to_csv(test, index=False)
    with pytest.raises(InputError) as refused:
        load_inputs(RunRequest(table=str(table), target=("y",), test=test))
    assert hint in str(refused.value)


def test_a_class_that_is_new_is_none_in_another_spelling(tmp_path):
    draw = np.random.default_rng(1)
    frame = pd.DataFrame({"x": draw.normal(size=90)})
    frame["y"] = np.where(frame["x"] > 0, "low", "high")
    table = tmp_path / "a.csv"
    test = tmp_path / "b.csv"
    frame.to_csv(table, index=False)
    frame.assign(y=frame["y"].where(frame.index > 5, "middle")).to_csv(
        test, index=False
    )
    inputs = load_inputs(RunRequest(table=str(table), target=("y",), test=test))
    assert (inputs.parts["test"].y == "middle").sum() == 6
