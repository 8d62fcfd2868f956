"""Importances by errors count those of the classes that a model decides for: by its
threshold, not the likelier one.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import permgrad as pg
from permgrad.evaluation.baselines.table_model import table_model


@pytest.fixture(name="case", scope="module")
def _case():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(400, 3)), columns=["a", "b", "c"])
    chance = 1 / (1 + np.exp(-(2 * X["a"] + X["b"] - 2.5)))
    y = np.where(rng.random(400) < chance, "ill", "well")
    return X, y


def made(kind, X, y, threshold):
    if kind == "network":
        model = pg.HyNNClassifier(
            preset="fast",
            image="never",
            max_epochs=6,
            random_state=0,
            progress=False,
            threshold={"ill": threshold},
        )
    else:
        model = table_model(
            "classification", kind, threshold={"ill": threshold}, random_state=0
        )
    return model.fit(X, y)


@pytest.mark.parametrize("kind", ["network", "histogram_boosting"])
def test_errors_are_those_of_predict(kind, case):
    X, y = case
    model = made(kind, X, y, 0.1)
    errors = float(np.mean(model.predict(X) != y))
    likelier = model.classes_[model.predict_proba(X).argmax(axis=1)]
    assert abs(np.mean(likelier != y) - errors) > 0.02, "the threshold matters"
    asked = {"random_state": 0, "n_repeats": 2, "progress": False}
    for method in ("permgrad", "permutation", "shapley"):
        found = pg.explain(
            model, X, y, loss="zero_one", method=method, scope="global", **asked
        )
        assert found.meta["model_loss"] == pytest.approx(errors, abs=1e-9), method
    scored = pg.explain(model, X, y, scoring="accuracy", **asked)
    assert np.isfinite(scored.values).all()
    by_loss = pg.explain(model, X, y, loss="zero_one", method="permutation", **asked)
    by_score = pg.explain(
        model, X, y, scoring="accuracy", method="permutation", **asked
    )
    np.testing.assert_allclose(by_score.values[:, 0], by_loss.values[:, 0], atol=1e-9)
