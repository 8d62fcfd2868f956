"""The lines that ``permgrad run`` prints of features: shares of paths, also such below 0."""

from __future__ import annotations

import pandas as pd

from permgrad.runs.run.run import _feature_lines

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
