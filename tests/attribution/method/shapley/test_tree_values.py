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

import permgrad as pg
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


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_patterns_and_pairs_give_the_same_numbers_to_the_last_bit(bits):
    rng = np.random.default_rng(bits)
    own = rng.integers(2**bits, size=(40, 6))
    # Rows reach most leaves only beside rows that pass what they do not.
    other = (~own[:, :1] | rng.integers(2**bits, size=(40, 9))) & (2**bits - 1)
    by_patterns = tree_values._by_patterns(bits, own, other)
    by_pairs = tree_values._by_pairs(bits, own, other)
    assert (by_pairs > 0).any()
    assert (by_pairs < 0).any()
    np.testing.assert_array_equal(by_patterns, by_pairs)


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


@pytest.mark.parametrize("what", ["probabilities", "missing background", "a function"])
def test_what_is_no_sum_of_trees_is_played(what):
    X, score = table()
    model = HistGradientBoostingClassifier(max_iter=5)
    model.fit(X, np.where(score > 0, "yes", "no"))
    options = {"scale": "probability" if what == "probabilities" else "logit"}
    predictor = model
    if what == "missing background":
        X.loc[51, "x5"] = np.nan
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


def test_a_single_background_row_does_not_show_what_outputs_are_made_of():
    X = pd.DataFrame({"a": [0, 0, 1, 1] * 20, "b": [0, 1, 0, 1] * 20}, dtype=float)
    model = GradientBoostingClassifier(n_estimators=3, max_depth=2, random_state=0)
    model.fit(X, X.a * X.b)
    options = {"method": "shapley", "scope": "local", "scale": "logit"}
    by_trees = explain_with(model, X[3:4], **options, background=X[:4])
    assert by_trees.meta["estimator"] == LEAVES
    alone = []
    for row in range(4):
        one_row = X[row : row + 1]
        alone.append(explain_with(model, X[3:4], **options, background=one_row))
    assert alone[0].meta["estimator"] == ENUMERATION
    assert np.abs(by_trees.values).max() > 0.1
    mean_values = np.mean([explained.values for explained in alone], axis=0)
    np.testing.assert_allclose(by_trees.values, mean_values, atol=1e-9)


@pytest.fixture(name="steep", scope="module")
def _steep():
    """Boosted trees, their rows and their background: in the last two rows a cell is
    missing, or the logit is cut off.
    """
    X, score = table()
    model = HistGradientBoostingClassifier(max_iter=9).fit(X, score > 0)
    stump = HistGradientBoostingClassifier(max_iter=1, max_leaf_nodes=2)
    nodes = stump.fit(X, score > 0)._predictors[0][0].nodes
    nodes["num_threshold"] = 50
    nodes["value"][nodes["value"] < 0] = 0.0
    nodes["value"][nodes["value"] > 0] = 60.0
    model._predictors.append(stump._predictors[0])
    rows = X[:11].copy()
    rows.iloc[10, nodes["feature_idx"][0]] = 99.0
    assert (model.decision_function(rows) > 50).tolist() == [False] * 10 + [True]
    rows.loc[9, "x5"] = np.nan
    return model, rows, X[50:80]


ORDERS_OF_ROWS = {
    "alone": [[row] for row in range(11)],
    "backwards": [list(range(10, -1, -1))],
    "a missing cell first": [[9, 0, 1, 2], [3, 9, 4], [10, 5, 6, 7, 8]],
    "without the others": [[0, 1, 2, 3, 4, 5, 6, 7, 8], [9, 10]],
}


@pytest.mark.parametrize("order", ORDERS_OF_ROWS)
def test_a_row_has_its_values_whatever_is_beside_it(steep, order):
    model, rows, background = steep
    options = {"method": "shapley", "scope": "local", "scale": "logit"}
    options["background"] = background
    together = explain_with(model, rows, **options)
    assert together.meta["estimator"] == f"{ENUMERATION} or {LEAVES}"
    usual = explain_with(model, rows[:9], **options)
    assert usual.meta["estimator"] == LEAVES
    for part in ORDERS_OF_ROWS[order]:
        explained = explain_with(model, rows.iloc[part], **options)
        of_trees = np.array(part) < 9
        np.testing.assert_array_equal(
            explained.values[of_trees], together.values[part][of_trees]
        )
        np.testing.assert_allclose(
            explained.values, together.values[part], rtol=0, atol=1e-9
        )


def test_parts_of_a_stream_have_the_values_of_all_rows(steep, tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    model, rows, background = steep
    options = {"method": "shapley", "scale": "logit", "background": background}
    together = explain_with(model, rows, scope="local", **options)
    (tmp_path / "rows").mkdir()
    for number in range(3):
        part = rows[4 * number : 4 * number + 4]
        part.to_parquet(tmp_path / "rows" / f"{number}.parquet")
    pg.explain_stream(
        model,
        tmp_path / "rows",
        scope="local",
        out=tmp_path / "out",
        progress=False,
        **options,
    )
    parts = pd.read_parquet(tmp_path / "out" / "local")
    assert len(list((tmp_path / "out" / "local").iterdir())) == 3
    values = parts["importance"].to_numpy().reshape(11, 9)
    np.testing.assert_array_equal(values[:9], together.values[:9, :, 0])
    np.testing.assert_allclose(values, together.values[:, :, 0], rtol=0, atol=1e-9)


def test_a_row_that_is_not_what_its_trees_say_is_played(steep):
    model, rows, background = steep
    options = {"method": "shapley", "scope": "local", "scale": "logit"}
    last = explain_with(model, rows[9:], background=background, **options)
    assert last.meta["estimator"] == ENUMERATION
    assert last.meta["completeness_gap"] < 1e-9


def test_large_forests_are_cut_into_parts(monkeypatch):
    X, score = table()
    model = RandomForestRegressor(6, max_depth=4, random_state=0).fit(X, score)
    options = {"method": "shapley", "scope": "local", "background": X[50:80]}
    whole = explain_with(model, X[:3], **options)
    nodes = [tree.tree_.node_count for tree in model.estimators_]
    limit = (tree_models._TABLE_NUMBERS + 30) * max(nodes)
    assert sum(nodes) > 4 * max(nodes)
    monkeypatch.setattr(tree_models, "_MOST_NUMBERS", limit)
    in_parts = explain_with(model, X[:3], **options)
    assert in_parts.meta["estimator"] == whole.meta["estimator"] == LEAVES
    np.testing.assert_allclose(in_parts.values, whole.values, rtol=0, atol=1e-12)
    monkeypatch.setattr(tree_models, "_MOST_NUMBERS", limit - 1)
    played = explain_with(model, X[:3], **options)
    assert played.meta["estimator"] == ENUMERATION
    np.testing.assert_allclose(played.values, whole.values, rtol=0, atol=1e-9)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("shared", [True, False])
def test_rounds_of_trees_add_up(outputs, shared):
    rng = np.random.default_rng(5)
    width = outputs if shared else 1
    grown_trees = [grown(rng, depth, width) for depth in (3, 1, 2, 0, 2, 3)]
    trees = Trees.of(grown_trees, np.arange(1.0, outputs + 1))
    rounds = 6 if shared else 6 // outputs
    rows = rng.normal(size=(20, COLUMNS)).astype(np.float32)
    parts = [trees.between(0, 1), trees.between(1, rounds - 1)]
    parts.append(trees.between(rounds - 1, rounds))
    np.testing.assert_allclose(sum(part(rows) for part in parts), trees(rows))
    assert np.ptp(trees(rows)) > 1
