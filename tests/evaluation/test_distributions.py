"""Columns are described on common bars, and every row is counted once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from permgrad.evaluation.drift import BARS, LEVELS, compare_parts


def test_shares_medians_and_missing_cells_of_both_parts():
    rng = np.random.default_rng(0)
    all_rows = pd.DataFrame(
        {
            "x": np.where(rng.random(500) < 0.2, np.nan, rng.normal(size=500)),
            "grade": rng.integers(1, 6, 500),
            "town": rng.choice(list("abcdefghijklmnop"), 500),
            "day": (
                pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(500), unit="D")
            ).strftime("%d.%m.%Y"),
            "empty": np.nan,
        }
    )
    x, grade, town, day, empty = compare_parts(all_rows[:400], all_rows[400:])[
        "columns"
    ]
    assert [facts["kind"] for facts in (x, grade, town, day)] == [
        "number",
        "number",
        "levels",
        "date",
    ]
    assert len(x["edges"]) == BARS + 1
    train = all_rows["x"][:400]
    test = all_rows["x"][400:]
    assert x["missing"] == pytest.approx([train.isna().mean(), test.isna().mean()])
    assert x["typical"] == pytest.approx([train.median(), test.median()])
    for facts in (x, grade, town, day):
        assert np.sum(facts["shares"], axis=1) == pytest.approx(
            1 - np.array(facts["missing"])
        )
    assert grade["levels"] == list("12345"), "few numbers are levels, in their order"
    assert len(town["levels"]) == LEVELS
    assert town["levels"][-1] == "7 others"
    assert town["typical"][0] == all_rows["town"][:400].value_counts().index[0]
    assert day["edges"][0] >= pd.Timestamp("2020-01-01").timestamp()
    assert empty["missing"] == [1.0, 1.0]
    assert compare_parts(all_rows, all_rows[:0])["columns"][0]["typical"][1] is None, (
        "no test rows"
    )
