"""The association of two categories counts the rows that have a value of both."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from permgrad.evaluation.related import related


def test_cells_that_are_missing_in_the_same_rows_relate_no_values():
    draw = np.random.default_rng(8)
    frame = pd.DataFrame({name: draw.choice(list("abc"), 900) for name in ("u", "v")})
    frame.loc[draw.choice(900, 60, replace=False), ["u", "v"]] = None
    pairs, _ = related(frame, ["u", "v"], ["u", "v"])
    assert {pair["kind"] for pair in pairs} == {"missing cells"}, (
        "no values are related"
    )


def test_it_is_that_of_the_rows_with_both_values():
    draw = np.random.default_rng(9)
    first = draw.choice(list("abc"), 900)
    second = np.where(draw.random(900) < 0.85, first, draw.choice(list("abc"), 900))
    frame = pd.DataFrame({"u": first, "v": second})
    frame.loc[:99, "u"] = None
    frame.loc[60:179, "v"] = None
    (pair, _), _ = related(frame, ["u", "v"], ["u", "v"])
    (whole_pair, _), _ = related(frame.dropna(), ["u", "v"], ["u", "v"])
    assert pair["strength"] == pytest.approx(whole_pair["strength"])
    assert pair["strength"] > 0.7
