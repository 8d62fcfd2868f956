"""What the first page says of an odd target, before it speaks of the score."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

import permgrad as pg


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "sentence", "advice"),
    [
        (
            lambda y: np.where(np.arange(len(y)) % 12 == 0, 9999.0, y),
            "- 20 rows (8 %) have target = 9999, far from all others",
            "- If so, train without these rows",
        ),
        (
            lambda y: np.where(np.arange(len(y)) == 11, 4e6, y),
            "- target is 4000000 in test row 11, and all other values of",
            "- Check test row 11, and train again without an error there",
        ),
        (
            lambda y: np.where(np.arange(len(y)) % 10 > 0, 0.0, abs(y) ** 3),
            "- target is 0 in 90 % of the rows",
            "- Predict two columns: whether target is above 0",
        ),
    ],
)
def test_an_odd_target_comes_before_the_score(undrawn, change, sentence, advice):
    draw = np.random.default_rng(0)
    X = pd.DataFrame(draw.normal(size=(240, 2)), columns=["a", "b"])
    plain = X["a"] * 10 + 40 + draw.normal(size=240)
    y = pd.Series(change(plain.to_numpy()), name="target")
    model = LinearRegression().fit(X, np.zeros(240))
    text = pg.report(model, X, y, progress=False).markdown
    text = text.replace("\u202f", " ").replace("\xa0", " ")
    assert sentence in text
    assert advice in text
    assert "far from all" not in pg.report(model, X, plain, progress=False).markdown
