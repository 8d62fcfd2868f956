"""Models that return labels without probabilities: what is measured without y is how
often the label changes.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from explaining import donor_rows
from sklearn.svm import LinearSVC

import permgrad as pg

ROWS = 60
QUIET = {"progress": False, "random_state": 0}


@pytest.fixture(scope="module")
def case():
    X = pd.DataFrame(
        np.random.default_rng(0).normal(size=(ROWS, 3)), columns=list("abc")
    )
    y = np.where(X["a"] + 0.4 * X["b"] > 0, "ill", "well")
    return LinearSVC(random_state=0).fit(X, y), X


def test_the_divergence_is_the_share_of_changed_labels(case):
    model, X = case
    before = model.predict(X)
    shares = []
    assert set(before) == {"ill", "well"}
    for name in X.columns:
        changed = []
        for repeat in range(4):
            donors = donor_rows(0, name, repeat, np.arange(ROWS), ROWS, shared=True)
            edited = X.assign(**{name: X[name].to_numpy()[donors]})
            changed.append((model.predict(edited) != before).mean())
        shares.append(np.mean(changed))
    assert shares[0] > 0.2
    explanation = pg.explain(model, X, method="permutation", n_repeats=4, **QUIET)
    np.testing.assert_allclose(explanation.values[:, 0], shares, atol=1e-12)
    assert explanation.meta["unit"] == "share of changed labels"


def test_shapley_values_add_up_to_the_labels(case):
    model, X = case
    shapley_explanation = pg.explain(
        model, X.iloc[:4], method="shapley", background=X, **QUIET
    )
    assert shapley_explanation.meta["unit"] == "probability"
    ill = (model.predict(X) == "ill").astype(float)
    np.testing.assert_allclose(
        shapley_explanation.values[..., 0].sum(axis=1), ill[:4] - ill.mean(), atol=1e-9
    )
    every = pg.explain(
        model, X, method=pg.methods.Shapley(references=ROWS), scope="global", **QUIET
    )
    # The label of a donor differs from that of the row.
    expected_share = np.mean(ill[:, None] != ill[None])
    assert every.values[:, 0].sum() == pytest.approx(expected_share, abs=0.02)
    assert every.meta["unit"] == "share of changed labels"
