"""A sign for another direction in a name turns no sentence round, wherever it
stands.
"""

from __future__ import annotations

import base64
import re
import zlib

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

import permgrad as pg

#: An override, an embedding and an isolate.
SIGNS = ("\u202e", "\u202b", "\u2067")


@pytest.fixture(scope="module")
def texts():
    """What is shown of a model whose columns and levels hold such signs."""
    draw = np.random.default_rng(0)
    names = [f"{sign}column{number}" for number, sign in enumerate(SIGNS)]
    X = pd.DataFrame(draw.normal(size=(60, 3)), columns=names)
    y = X.to_numpy() @ [3.0, 2.0, 1.0]
    model = LinearRegression().fit(X, y)
    levels = pd.Series([f"{SIGNS[0]}level", "other"] * 30, name="town")
    report = pg.report(model, X, y, sensitive=levels, progress=False)
    explanation = pg.explain(model, X, y, progress=False)
    packed = re.search(r'id="page-data"[^>]*>([A-Za-z0-9+/=]+)<', report.html)
    return {
        "page": report.html,
        "data of the page": zlib.decompress(base64.b64decode(packed[1])).decode(),
        "markdown": report.markdown,
        "picture": report.picture,
        "notebook": str(explanation.to_html()),
        "summary": explanation.summary(),
    }


@pytest.mark.parametrize(
    "name",
    ["page", "data of the page", "markdown", "picture", "notebook", "summary"],
)
def test_no_sign_is_obeyed(texts, name):
    assert "column0" in texts[name], "the name stands there"
    assert not any(sign in texts[name] for sign in SIGNS)
