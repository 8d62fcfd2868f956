"""Scores of hybrid networks, regressors too: each method's falls are scikit-learn's on
tables edited by hand.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from explaining import donor_rows, explain_with
from rounding import rounding
from sklearn.metrics import get_scorer

import permgrad as pg

# So many rows are their own background; an odd number, so that one of them is in the
# middle.
ROWS = 221
REPEATS = 2
COLUMNS = ["strong", "weak", "none"]


def table(rows: int, seed: int) -> pd.DataFrame:
    # Skewed, so that the median is no mean; far from 0, so that encoded zeros are no
    # zeros.
    return pd.DataFrame(
        np.random.default_rng(seed).gamma(2.0, size=(rows, 3)) + 3, columns=COLUMNS
    )


@pytest.fixture(scope="module")
def regression():
    X = table(521, 0)
    y = (
        100
        + 20 * X["strong"].to_numpy()
        - 4 * X["weak"].to_numpy()
        + np.random.default_rng(1).normal(size=521)
    )
    model = pg.HyNNRegressor(
        preset="fast", image="always", max_epochs=8, random_state=0
    ).fit(X[:300], y[:300])
    test = X[300:].reset_index(drop=True)
    truth = y[300:]
    assert model.score(test, truth) > 0.3, "the model must have learned something"
    return model, test, truth, ["r2", "neg_mean_absolute_error"]


@pytest.fixture(scope="module")
def classification():
    X = table(521, 2)
    y = np.where(
        X["strong"] - 0.4 * X["weak"] + np.random.default_rng(3).normal(size=521) * 0.3
        > 3,
        "b",
        "a",
    )
    model = pg.HyNNClassifier(
        preset="fast", image="always", max_epochs=8, random_state=0
    ).fit(X[:300], y[:300])
    return model, X[300:].reset_index(drop=True), y[300:], ["neg_log_loss", "roc_auc"]


def expected(case, edited: pd.DataFrame) -> list[float]:
    """Return how far each score falls on a table of edited rows, one below the
    other.
    """
    model, X, y, names = case
    copy_count = len(edited) // len(X)
    return [
        get_scorer(name)(model, X, y)
        - get_scorer(name)(model, edited, np.tile(y, copy_count))
        for name in names
    ]


def close(falls, expected_falls) -> None:
    np.testing.assert_allclose(falls, expected_falls, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["regression", "classification"])
@pytest.mark.parametrize("method", ["permgrad", "permutation"])
@pytest.mark.parametrize("shared", [False, True])
def test_falls_of_replaced_columns(kind, method, shared, request):
    case = request.getfixturevalue(kind)
    model, X, y, names = case
    background = X if shared else table(30, 7)
    explanation = pg.explain(
        model, X, y, method=method, scoring=names, n_repeats=REPEATS, random_state=5, progress=False,
        background=None if shared else background,
    )  # fmt: skip
    assert explanation.meta["background"]["kind"] == (
        "rows explained" if shared else "given"
    )
    assert explanation.outputs == tuple(names)
    for row, column in enumerate(COLUMNS[:2]):
        donors = [
            donor_rows(5, column, k, np.arange(ROWS), len(background), shared=shared)
            for k in range(REPEATS)
        ]
        edited = pd.concat(
            [X.assign(**{column: background[column].to_numpy()[d]}) for d in donors]
        )
        close(explanation.values[row], expected(case, edited))
    assert (explanation.values[0] > 5 * np.abs(explanation.values[2])).all()
    assert (explanation.std_error > 0).all()
    for name, column in zip(names, range(2), strict=True):
        assert explanation.meta["scores"][name] == pytest.approx(
            get_scorer(name)(model, X, y), rel=1e-4
        )
        if method == "permgrad" and set(explanation.parts) >= {"tabular", "image"}:
            close(
                (explanation.parts["tabular"] + explanation.parts["image"])[:, column],
                explanation.values[:, column],
            )


@pytest.mark.parametrize(
    "kind", ["regression", pytest.param("classification", marks=pytest.mark.slow)]
)
def test_falls_of_columns_set_to_their_median(kind, request):
    case = request.getfixturevalue(kind)
    model, X, y, names = case
    background = table(31, 7)
    for background_rows in (None, background):
        call = {
            "scoring": names,
            "background": background_rows,
            "progress": False,
            "random_state": 0,
        }
        explanation = explain_with(model, X, y, method="ablation", **call)
        drawn = explain_with(model, X, y, method="permutation", n_repeats=1, **call)
        for row, column in enumerate(COLUMNS[:2]):
            middle = float(
                np.median((X if background_rows is None else background_rows)[column])
            )
            close(explanation.values[row], expected(case, X.assign(**{column: middle})))
        assert np.abs(explanation.values[0] / drawn.values[0] - 1).max() > 0.05, (
            "donors must give other numbers"
        )
        assert explanation.meta["n_repeats"] == 1


def test_options_of_the_method_are_heard(regression):
    model, X, y, names = regression
    call = {"scoring": names, "random_state": 5, "progress": False, "n_repeats": 2}
    typical = explain_with(model, X, y, method="ablation", **call)
    zeros = explain_with(model, X, y, method="ablation", baseline="zeros", **call)
    assert np.abs(typical.values[0] - zeros.values[0]).max() > 1e-3
    both_paths = explain_with(model, X, y, method="permutation", **call)
    tabular_path = explain_with(
        model, X, y, method="permutation", paths="tabular", **call
    )
    assert np.abs(both_paths.values[0] - tabular_path.values[0]).max() > 1e-3
    with pytest.raises(pg.InputError, match=r"^baseline must be one of"):
        explain_with(model, X, y, method="ablation", baseline="nothing", **call)


def test_errors_of_a_regression_are_those_of_its_loss(regression):
    model, X, y, _ = regression
    call = {
        "random_state": 5,
        "progress": False,
        "n_repeats": 4,
        "background": table(25, 8),
    }
    by_loss = explain_with(model, X, y, loss="squared_error", **call)
    by_score = explain_with(model, X, y, scoring="neg_mean_squared_error", **call)
    close(by_score.values[:2, 0] / by_loss.values[:2, 0], 1.0)
    ratio = by_score.std_error / by_loss.std_error
    assert ((ratio > 0.6) & (ratio < 1.7)).all()


def test_effects_of_columns_set_to_encoded_zeros(regression):
    """On every row's output: what its own value adds to what encoded 0 gives."""
    model, X, _, _ = regression
    call = {
        "method": "ablation",
        "scope": "local",
        "background": X + 2,
        "progress": False,
    }
    explanation = explain_with(model, X, baseline="zeros", **call)
    typical = explain_with(model, X, **call)
    encoded = model.encode_rows(X).encoded
    predicted = model.predict_encoded(encoded) * model.target_scale_
    for column_index, column in enumerate(COLUMNS):
        edited = encoded.copy()
        edited[:, model.preprocessor_.columns_of(column)] = 0
        changed = model.predict_encoded(edited) * model.target_scale_
        possible = rounding(
            predicted + model.target_mean_, changed + model.target_mean_
        )
        np.testing.assert_allclose(
            explanation.values[:, column_index],
            predicted - changed,
            rtol=0,
            atol=possible,
        )
    assert np.abs(explanation.values - typical.values).max() > 0.1
