"""What a run keeps for residual plots, and probabilities as they were before calibration."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from permgrad import Explanation
from permgrad.models.estimators.calibration import Calibration
from permgrad.runs.commands.report import before_calibration
from permgrad.runs.run.strongest import read_strongest, write_strongest


def test_values_come_back_by_row(tmp_path):
    names = ("block", "row", "town", "c", "d")
    values = np.array([[9.0], [4.0], [3.0], [2.0], [1.0]])
    explanation = Explanation(values, names, ("table",) * 5, ("all",), "permutation", "global")
    X = pd.DataFrame({"d": [1, 2, 3], "c": [0.5, -9.0, 1.5], "town": ["a,b", "x\ny", None], "row": [7, 8, 9]})
    write_strongest(tmp_path, explanation, X, np.array([10, 20, 30]), na_codes=["-9"])
    found = read_strongest(tmp_path, np.array([30, 10, 99]))
    assert list(found.columns) == ["row", "town", "c"]
    assert found["row"].tolist()[:2] == [9, 7]
    assert found["town"].tolist()[1] == "a,b"
    assert found.iloc[2].isna().all()
    assert np.isnan(read_strongest(tmp_path, np.array([20]))["c"][0])
    assert read_strongest(tmp_path / "elsewhere", np.array([1])) is None


@pytest.mark.parametrize(
    "calibrated",
    [Calibration("temperature", (0.0, 0.7, -0.2), 2.5), Calibration("prior", (0.0, 1.0, 2.0))],
    ids=["temperature", "prior"],
)
def test_calibration_is_undone(calibrated):
    logits = np.random.default_rng(0).normal(0, 2, (50, 3))
    raw = Calibration().probabilities(logits)
    done = calibrated.probabilities(logits)
    assert np.abs(done - raw).max() > 0.05
    np.testing.assert_allclose(before_calibration(calibrated, done), raw, atol=1e-9)


def test_what_cannot_be_undone_or_changed_nothing_is_not_shown():
    even = np.full((4, 2), 0.5)
    assert before_calibration(Calibration(), even) is None
    assert before_calibration(Calibration("isotonic", curves=(((0.0,), (0.5,)),)), even) is None
    assert before_calibration(Calibration("temperature", (0.0, 0.0), 1.0), even) is None
