"""Trees at the end of a pipeline: exact where each encoded column is of one feature."""

from __future__ import annotations

from itertools import combinations
from math import factorial

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    PolynomialFeatures,
    StandardScaler,
)

import permgrad as pg
from permgrad.attribution.method.shapley.tree_models import LEAVES

NUMBERS = ["age", "dose", "height"]


@pytest.fixture(name="table", scope="module")
def _table():
    rng = np.random.default_rng(2)
    X = pd.DataFrame(rng.normal(size=(150, 3)), columns=NUMBERS)
    X["town"] = rng.choice(["Ulm", "Bonn", "Kiel", "Trier"], 150)
    X.loc[rng.random(150) < 0.2, "dose"] = np.nan
    X = X[["age", "town", "dose", "height"]]
    effect = X["age"] * (X["town"] == "Ulm") + X["dose"].fillna(1) ** 2
    return X, effect + 0.3 * X["height"]


def columns_of(numbers):
    """Return a transformer of the table, with levels behind the numbers."""
    levels = OneHotEncoder(handle_unknown="ignore")
    return ColumnTransformer([("n", numbers, NUMBERS), ("t", levels, ["town"])])


def by_definition(model, row, background):
    """Return Shapley values of a row, of all coalitions with each background row."""
    names = list(background)
    worths = {}
    for size in range(len(names) + 1):
        for members in combinations(range(len(names)), size):
            mixed = background.copy()
            for member in members:
                mixed[names[member]] = row[names[member]]
            worths[members] = model(mixed).mean(axis=0)
    values = []
    for player in range(len(names)):
        value = 0.0
        for members, worth in worths.items():
            if player not in members:
                with_player = tuple(sorted((*members, player)))
                weight = factorial(len(members)) * factorial(
                    len(names) - len(members) - 1
                )
                value = value + weight * (worths[with_player] - worth)
        values.append(value / factorial(len(names)))
    return np.array(values)


@pytest.mark.parametrize(
    "numbers",
    [
        make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()),
        Pipeline([("n", SimpleImputer()), ("same", "passthrough")]),
        make_pipeline(
            SimpleImputer(),
            FeatureUnion([("z", StandardScaler()), ("x", FunctionTransformer())]),
        ),
    ],
    ids=["indicators", "passthrough", "twice"],
)
def test_values_by_leaves_are_those_of_the_definition(table, numbers):
    X, y = table
    trees = GradientBoostingRegressor(n_estimators=20, random_state=0)
    model = make_pipeline(columns_of(numbers), trees).fit(X, y)
    background = X[:12]
    options = {"method": "shapley", "scope": "local", "background": background}
    explanation = pg.explain(model, X[40:42], **options, progress=False)
    assert explanation.meta["estimator"] == LEAVES
    for row in range(2):
        slow = by_definition(model.predict, X.iloc[40 + row], background)
        np.testing.assert_allclose(explanation.values[row, :, 0], slow, atol=1e-9)
    assert np.abs(explanation.values).max() > 0.3, "the precondition"


def test_probabilities_of_a_forest_and_logits_of_boosting(table):
    X, y = table
    label = np.where(y > y.median(), "high", "low")
    columns = columns_of(SimpleImputer())
    forest = RandomForestClassifier(n_estimators=15, max_depth=4, random_state=0)
    boosted = HistGradientBoostingClassifier(max_iter=12, random_state=0)
    for trees, scale in ((forest, "probability"), (boosted, "logit")):
        model = make_pipeline(columns, trees).fit(X, label)
        options = {"method": "shapley", "scope": "local", "scale": scale}
        explanation = pg.explain(
            model, X[:2], **options, background=X[50:60], progress=False
        )
        assert explanation.meta["estimator"] == LEAVES
        chances = model.predict_proba(pd.concat([X[:2], X[50:60]]))[:, -1]
        output = chances
        if scale == "logit":
            output = np.log(chances / (1 - chances))
        moved = output[:2] - output[2:].mean()
        sums = np.abs(explanation.values[:, :, -1].sum(axis=1))
        np.testing.assert_allclose(sums, np.abs(moved), atol=1e-6)


@pytest.mark.parametrize(
    "numbers",
    [
        make_pipeline(SimpleImputer(), PCA(2)),
        KNNImputer(n_neighbors=2),
        make_pipeline(SimpleImputer(), PolynomialFeatures(2)),
        FunctionTransformer(lambda cells: np.nan_to_num(np.asarray(cells))),
    ],
    ids=["components", "neighbours", "products", "function"],
)
def test_columns_of_several_features_are_sampled(table, numbers):
    X, y = table
    trees = GradientBoostingRegressor(n_estimators=5, random_state=0)
    model = make_pipeline(columns_of(numbers), trees).fit(X, y)
    options = {"method": "shapley", "scope": "local", "background": X[:12]}
    explanation = pg.explain(model, X[40:42], **options, progress=False)
    assert LEAVES not in explanation.meta["estimator"]
