"""The lines that ``permgrad run`` prints of features: shares of paths, also such below 0."""

from __future__ import annotations

import pandas as pd

from permgrad.runs.run.summary import _feature_lines

SAID = "  (a share below 0 %: that path makes the loss of this feature larger)"


def top(image: float) -> pd.DataFrame:
    row = {"feature": "age", "importance": 1.0, "ci_low": 0.5, "ci_high": 1.5, "tabular": 1.0 - image, "image": image}
    return pd.DataFrame([row])


def test_a_share_below_nothing_is_told():
    lines = _feature_lines(top(-0.27))
    assert lines[1].endswith("tabular 127%, image -27%")
    assert lines[2:] == [SAID]


def test_nothing_is_told_of_other_shares():
    assert len(_feature_lines(top(0.27))) == len(_feature_lines(top(-0.001))) == 2


def test_importances_are_shares_of_the_advantage_where_there_is_one():
    absolute, shares = _feature_lines(top(0.27)), _feature_lines(top(0.27), whole=2.0)
    assert "how much the loss grows" in absolute[0]
    assert "%" not in absolute[1].split("[")[0]
    assert "advantage over a constant" in shares[0]
    value = float(top(0.27)["importance"].iloc[0])
    assert f"{50 * value:.1f} %" in shares[1]
