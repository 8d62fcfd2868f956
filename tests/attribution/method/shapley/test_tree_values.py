"""Values by the leaves of trees: those of all coalitions, for every kind of tree, and
only where what is explained is a sum of trees.
"""

from __future__ import annotations

import itertools
from math import factorial

import numpy as np
import pandas as pd
import pytest
from explaining import explain_with
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeClassifier

from permgrad.attribution.method.shapley import method, tree_models, tree_values
from permgrad.attribution.method.shapley.sampled import ENUMERATION
from permgrad.attribution.method.shapley.tree_models import LEAVES
from permgrad.models.trees import Trees

COLUMNS = 7


def grown(rng, depth, outputs):
    """Return a full tree of random questions as ``Trees.of`` takes it."""
    inner = 2**depth - 1
    numbers = np.arange(inner)
    values = rng.normal(size=(2 ** (depth + 1) - 1, outputs))
    return (
        rng.integers(COLUMNS, size=inner),
        rng.normal(size=inner),
        2 * numbers + 1,
        2 * numbers + 2,
        values,
    )


def by_all_coalitions(predict, owner, players, rows, background):
    """Return Shapley's formula, coalition by coalition (Shapley 1953)."""
    values = np.zeros((len(rows), players, predict(rows).shape[1]))

    def worth(row, kept):
        mixed = background.copy()
        columns = np.isin(owner, list(kept))
        mixed[:, columns] = row[columns]
        return predict(mixed).mean(axis=0)

    for row_number, row in enumerate(rows):
        for player in range(players):
            others = [other for other in range(players) if other != player]
            for size in range(players):
                share = (
                    factorial(size) * factorial(players - 1 - size) / factorial(players)
                )
                for kept in itertools.combinations(others, size):
                    joined = worth(row, (*kept, player)) - worth(row, kept)
                    values[row_number, player] += share * joined
    return values


@pytest.mark.parametrize("listed", [8, 1])
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("owner", [[0, 1, 2, 3, 4, 5, 6], [0, 1, 0, 2, 2, 3, 1]])
def test_leaves_give_what_all_coalitions_give(monkeypatch, listed, outputs, owner):
    monkeypatch.setattr(tree_values, "_LISTED", listed)
    monkeypatch.setattr(tree_values, "_PAIRS", 8)
    rng = np.random.default_rng(3)
    owner = np.array(owner)
    players = int(owner.max()) + 1
    stump = ([2], [0.1], [1], [2], rng.normal(size=(3, outputs)))
    leaf = ([], [], [], [], rng.normal(size=(1, outputs)))
    grown_trees = [grown(rng, 4, outputs), stump, leaf, grown(rng, 3, outputs)]
    trees = Trees.of(grown_trees, np.zeros(outputs), rounded=False)
    rows = rng.normal(size=(3, COLUMNS))
    background = rng.normal(size=(5, COLUMNS))
    by_leaves = tree_values.TreeValues(trees, owner, players, rows, background)
    donors = np.broadcast_to(np.array([0, 1, 1, 4]), (3, 4))
    values = by_leaves(np.arange(3), donors)
    slow = by_all_coalitions(
        by_leaves.sums, owner, players, rows, background[donors[0]]
    )
    assert np.abs(slow).min() < np.abs(slow).max() > 0.3
    np.testing.assert_allclose(values, slow, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        np.ptp(by_leaves.sums(rows) - trees(rows.astype(np.float32)), axis=0),
        0,
        atol=1e-12,
    )


def table(rows=300):
    rng = np.random.default_rng(1)
    columns = [f"x{i}" for i in range(9)]
    # Cells that float32 holds: shap compares cells that are rounded to it.
    cells = rng.normal(size=(rows, 9)).astype(np.float32).astype(float)
    X = pd.DataFrame(cells, columns=columns)
    score = X.x0 * X.x1 + np.sin(2 * X.x2) + 0.5 * X.x3 + rng.normal(0, 0.3, rows)
    return X, score


MODELS = {
    "forest": (RandomForestRegressor(5, random_state=0), "number", {}),
    "probabilities of a forest": (
        ExtraTreesClassifier(5, min_samples_leaf=3, random_state=0),
        "three",
        {},
    ),
    "a tree": (DecisionTreeClassifier(random_state=0), "two", {}),
    "boosting": (HistGradientBoostingRegressor(max_iter=9), "number", {}),
    "logits": (HistGradientBoostingClassifier(max_iter=5), "two", {"scale": "logit"}),
    "three logits": (
        GradientBoostingClassifier(n_estimators=5, random_state=0),
        "three",
        {"scale": "logit"},
    ),
}


def targets(score):
    return {
        "number": score,
        "two": np.where(score > 0, "yes", "no"),
        "three": np.digitize(score, [-0.5, 0.5]),
    }


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("groups", [None, {"pair": ["x0", "x3"]}])
def test_values_are_those_of_all_coalitions(monkeypatch, name, groups):
    model, kind, options = MODELS[name]
    X, score = table()
    model.fit(X, targets(score)[kind])
    options = {**options, "groups": groups, "scope": "local", "background": X[50:80]}
    by_trees = explain_with(model, X[:4], method="shapley", **options)
    monkeypatch.setattr(method, "find_trees", lambda *_: None)
    by_coalitions = explain_with(model, X[:4], method="shapley", **options)
    assert by_trees.meta["estimator"] == LEAVES
    assert by_coalitions.meta["estimator"] == ENUMERATION
    assert by_trees.names == by_coalitions.names
    assert np.abs(by_coalitions.values).max() > 0.05
    np.testing.assert_allclose(by_trees.values, by_coalitions.values, atol=1e-9)
    assert not by_trees.std_error.any()
    assert by_trees.meta["model_rows"] < by_coalitions.meta["model_rows"]


def test_the_error_of_a_drawn_background_is_that_of_coalitions(monkeypatch):
    X, score = table()
    model = HistGradientBoostingRegressor(max_iter=9).fit(X, score)
    options = {"scope": "local", "background": X[5:], "references": 40}
    by_trees = explain_with(model, X[:5], method="shapley", **options)
    monkeypatch.setattr(method, "find_trees", lambda *_: None)
    by_coalitions = explain_with(model, X[:5], method="shapley", **options)
    assert by_trees.std_error.max() > 0.001
    np.testing.assert_allclose(by_trees.std_error, by_coalitions.std_error, atol=1e-9)


# shap refuses gradient boosting of several classes.
@pytest.mark.parametrize("name", [name for name in MODELS if name != "three logits"])
def test_the_values_of_shap(name):
    shap = pytest.importorskip("shap")
    model, kind, options = MODELS[name]
    X, score = table()
    model.fit(X, targets(score)[kind])
    options = {**options, "scope": "local", "background": X[50:80]}
    explanation = explain_with(model, X[:4], method="shapley", **options)
    theirs = np.asarray(
        shap.TreeExplainer(
            model, data=X[50:80], feature_perturbation="interventional"
        ).shap_values(X[:4])
    )
    theirs = theirs.reshape(4, 9, -1)
    if kind == "two":
        theirs = theirs[:, :, -explanation.values.shape[2] :]
    np.testing.assert_allclose(explanation.values, theirs, atol=1e-5)


@pytest.mark.parametrize("what", ["probabilities", "missing cells", "a function"])
def test_what_is_no_sum_of_trees_is_played(what):
    X, score = table()
    model = HistGradientBoostingClassifier(max_iter=5)
    model.fit(X, np.where(score > 0, "yes", "no"))
    options = {"scale": "probability" if what == "probabilities" else "logit"}
    predictor = model
    if what == "missing cells":
        X.loc[1, "x5"] = np.nan
    elif what == "a function":
        predictor = model.predict_proba
        options["class_names"] = ["no", "yes"]
    explanation = explain_with(
        predictor,
        X[:3],
        method="shapley",
        scope="local",
        background=X[50:60],
        **options,
    )
    assert explanation.meta["estimator"] == ENUMERATION
    assert explanation.meta["completeness_gap"] < 1e-6


def test_equal_outputs_of_rows_do_not_make_probabilities_sums(monkeypatch):
    X = pd.DataFrame({"a": [0, 0, 1, 1] * 20, "b": [0, 1, 0, 1] * 20}, dtype=float)
    model = GradientBoostingClassifier(n_estimators=3, max_depth=2, random_state=0)
    model.fit(X, X.a * X.b)
    options = {"method": "shapley", "scope": "local", "background": X[2:3]}
    explanation = explain_with(model, X[1:2], **options)
    assert explanation.meta["estimator"] == ENUMERATION
    assert np.abs(explanation.values).max() < 1
    monkeypatch.setattr(tree_models, "_MIXTURES", 0)
    logits = explain_with(model, X[1:2], **options)
    assert logits.meta["estimator"] == LEAVES
    assert np.abs(logits.values - explanation.values).max() > 0.1


def test_forests_that_need_much_memory_are_asked_for_predictions(monkeypatch):
    X, score = table()
    model = RandomForestRegressor(2, max_depth=3, random_state=0).fit(X, score)
    options = {"method": "shapley", "scope": "local", "background": X[50:80]}
    assert explain_with(model, X[:2], **options).meta["estimator"] == LEAVES
    nodes = sum(tree.tree_.node_count for tree in model.estimators_)
    monkeypatch.setattr(tree_values, "_MOST_NUMBERS", 30 * nodes)
    explanation = explain_with(model, X[:2], **options)
    assert explanation.meta["estimator"] == ENUMERATION
