"""Importance by scikit-learn scorers: the same numbers as the loss game and as
scikit-learn on edited tables.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from explaining import donor_rows
from sklearn.metrics import get_scorer

import permgrad as pg
from permgrad import InputError


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(3)
    X = pd.DataFrame(
        rng.normal(size=(900, 4)), columns=["strong", "weak", "none", "constant"]
    )
    X["constant"] = 1.0
    y = np.where(
        1.5 * X["strong"] + 0.5 * X["weak"] + rng.normal(size=900) * 0.5 > 0,
        "yes",
        "no",
    )
    model = pg.HyNNClassifier(
        preset="fast", image="always", max_epochs=8, random_state=0
    ).fit(X[:500], y[:500])
    test = X[500:].reset_index(drop=True)
    truth = y[500:]
    assert model.score(test, truth) > 0.8, "the model must have learned something"
    return model, test, truth


def test_log_loss_scorer_equals_the_loss_game(fitted):
    model, X, y = fitted
    by_loss = pg.explain(model, X, y, n_repeats=3, random_state=1)
    by_score = pg.explain(
        model, X, y, n_repeats=3, random_state=1, scoring="neg_log_loss"
    )
    np.testing.assert_allclose(by_score.values[:, 0], by_loss.values[:, 0], atol=1e-6)
    for path in ("tabular", "image", "interaction"):
        np.testing.assert_allclose(
            by_score.parts[path][:, 0], by_loss.parts[path][:, 0], atol=1e-6
        )
    ratio = by_score.std_error[0, 0] / by_loss.std_error[0, 0]
    assert 0.5 < ratio < 2, (
        "the grouped jackknife must agree with the analytic standard error"
    )


def test_many_scorers_in_one_pass_equal_scikit_learn_on_edited_tables(fitted):
    model, X, y = fitted
    names = ["roc_auc", "accuracy", "neg_log_loss"]
    explanation = pg.explain(
        model, X, y, method="permutation", n_repeats=1, random_state=5, scoring=names
    )
    assert explanation.outputs == tuple(names)
    donors = donor_rows(5, "strong", 0, np.arange(len(X)), len(X), shared=True)
    edited = X.assign(strong=X["strong"].to_numpy()[donors])
    for column, name in enumerate(names):
        scorer = get_scorer(name)
        expected = scorer(model, X, y) - scorer(model, edited, y)
        assert explanation.values[0, column] == pytest.approx(expected, abs=1e-6)
    assert explanation.values[0, 0] > 0.1


def test_constant_feature_is_exactly_zero_and_callables_work(fitted):
    model, X, y = fitted

    def hits(estimator, rows, truth):
        return float((estimator.predict(rows) == truth).mean())

    explanation = pg.explain(
        model, X, y, n_repeats=2, random_state=0, scoring=[hits, "accuracy"]
    )
    assert explanation.outputs == ("hits", "accuracy")
    np.testing.assert_array_equal(explanation.values[:, 0], explanation.values[:, 1])
    row = explanation.to_frame().query("feature == 'constant'")
    assert (row["importance"] == 0).all()
    assert (row["std_error"] == 0).all()
    assert (row["p_value"] == 1).all()


def test_bad_scoring_is_refused(fitted):
    model, X, y = fitted
    with pytest.raises(InputError, match="Did you mean 'roc_auc'"):
        pg.explain(model, X, y, scoring="roc_auk")
    with pytest.raises(InputError, match="Pass y"):
        pg.explain(model, X, scoring="roc_auc")
    with pytest.raises(InputError, match="names no scorer"):
        pg.explain(model, X, y, scoring=[])
    with pytest.raises(InputError, match="scope='local'"):
        pg.explain(model, X, y, scoring="roc_auc", scope="local")
