"""How often intervals and sets hold the truth, counted by hand."""

import numpy as np
import pandas as pd
import pytest

from permgrad.evaluation.calibration import holds, score_intervals
from permgrad.evaluation.segments import find_segments
from permgrad.evaluation.skill import Predicted


def test_intervals_are_counted_with_their_ends():
    inside = np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 3.0], [2.0, 4.0]])
    truth = np.array([0.0, 1.5, 2.0, 4.0])
    assert holds(truth, inside).tolist() == [True, False, True, True]
    facts = score_intervals(truth, inside, 0.9)
    assert facts | {"low": 0, "high": 0} == {
        "coverage": 0.9, "covered": 0.75, "low": 0, "high": 0, "rows": 4, "width": 1.75,
    }  # fmt: skip
    assert facts["low"] < 0.75 < facts["high"]


def test_sets_are_counted_with_their_sizes_and_unknown_classes_are_never_inside():
    inside = np.array([[True, True], [False, True], [False, False], [True, True]])
    facts = score_intervals(np.array([0, 0, 1, -1]), inside, 0.8)
    assert holds(np.array([0, 0, 1, -1]), inside).tolist() == [
        True,
        False,
        False,
        False,
    ]
    assert (facts["covered"], facts["size"], facts["empty"]) == (0.25, 1.25, 0.25)


def test_groups_have_the_share_of_their_rows():
    X = pd.DataFrame({"town": ["a"] * 60 + ["b"] * 40})
    covered = np.array([True] * 54 + [False] * 6 + [True] * 20 + [False] * 20)
    result = find_segments(
        X, Predicted(np.arange(100.0), np.zeros(100)), covered=covered
    )
    groups = result["features"][0]["groups"]
    assert [group["covered"] for group in groups] == pytest.approx([0.9, 0.5])
    assert all(
        group["covered_low"] < group["covered"] < group["covered_high"]
        for group in groups
    )
    plain = find_segments(X, Predicted(np.arange(100.0), np.zeros(100)))
    assert "covered" not in plain["features"][0]["groups"][0]
