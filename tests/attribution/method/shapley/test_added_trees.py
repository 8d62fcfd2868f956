"""Trees inside a hybrid network: their values are exact where numbers or logits are
explained, and played with all else where probabilities are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from explaining import explain_with

import permgrad as pg
from permgrad.attribution.method.shapley import method
from permgrad.attribution.method.shapley.tree_models import LEAVES
from permgrad.attribution.subject.encoded import HybridSubject
from permgrad.models.trees import Trees


def table() -> tuple[pd.DataFrame, pd.Series]:
    rng = np.random.default_rng(2)
    X = pd.DataFrame(rng.normal(size=(240, 5)), columns=list("abcde"))
    X["f"] = rng.choice(["x", "y", "z"], len(X))
    return X, 2 * X.a * X.b + X.c + (X.f == "x")


OPTIONS: dict[str, Any] = {
    "preset": "fast",
    "branches": ("tabular", "trees"),
    "max_epochs": 2,
    "random_state": 0,
}


@pytest.fixture(name="models", scope="module")
def _models() -> dict[str, Any]:
    X, score = table()
    return {
        "numbers": pg.HyNNRegressor(**OPTIONS).fit(X, score),
        "two": pg.HyNNClassifier(**OPTIONS).fit(X, np.where(score > 0, "yes", "no")),
        "three": pg.HyNNClassifier(**OPTIONS).fit(X, np.digitize(score, [-1, 1])),
    }


CASES = [("numbers", "auto"), ("two", "logit"), ("three", "logit"), ("three", "raw")]


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_values_are_those_of_the_whole_network(monkeypatch, models, name, scale):
    model = models[name]
    X, _ = table()
    assert "trees" in model.module_.paths
    options = {"method": "shapley", "scope": "local", "scale": scale}
    options["background"] = X[100:130]
    apart = explain_with(model, X[:4], **options)
    monkeypatch.setattr(method, "split_trees", lambda *_: None)
    whole = explain_with(model, X[:4], **options)
    assert apart.meta["estimator"].endswith(LEAVES)
    assert LEAVES not in whole.meta["estimator"]
    size = np.abs(whole.values).max()
    assert size > 0.1
    np.testing.assert_allclose(apart.values, whole.values, rtol=0, atol=1e-5 * size)
    np.testing.assert_allclose(apart.predictions, whole.predictions)
    assert apart.meta["completeness_gap"] < 1e-5
    trees = HybridSubject(model).added_trees().trees.trees
    rows = model.encode_rows(X[:50]).encoded
    said = np.ptp(trees(rows), axis=0)
    assert said.min() > 0.01, "the trees say something"


def test_errors_of_a_drawn_background_hold_those_of_the_trees(models):
    X, _ = table()
    options = {"method": "shapley", "scope": "local", "random_state": 1}
    few = explain_with(
        models["numbers"], X[:20], background=X, references=30, **options
    )
    every = explain_with(models["numbers"], X[:20], background=X, **options)
    inside = (few.low <= every.values) & (every.values <= few.high)
    assert few.std_error.max() > 0.01
    assert inside.mean() > 0.9


def test_probabilities_are_played_as_a_whole(models):
    X, _ = table()
    options = {"method": "shapley", "scope": "local", "background": X[100:130]}
    explanation = explain_with(models["two"], X[:2], scale="probability", **options)
    assert LEAVES not in explanation.meta["estimator"]


def test_rates_are_no_sums_of_what_trees_say():
    X, score = table()
    counts = np.random.default_rng(0).poisson(np.exp(score.clip(-2, 2)))
    model = pg.HyNNRegressor(**{**OPTIONS, "loss": "poisson"}).fit(X, counts)
    assert "trees" in model.module_.paths
    assert HybridSubject(model).added_trees() is None


def test_nodes_stand_in_the_order_of_the_trees():
    rng = np.random.default_rng(0)
    grown = []
    for depth in (2, 0, 3, 1):
        inner = np.arange(2**depth - 1)
        values = rng.normal(size=(2 ** (depth + 1) - 1, 2))
        questions = rng.integers(3, size=len(inner)), rng.normal(size=len(inner))
        grown.append((*questions, 2 * inner + 1, 2 * inner + 2, values))
    order = [2, 0, 3, 1]
    zeros = np.zeros(2)
    trees = Trees.of(grown, zeros)
    shuffled = Trees(**{**vars(trees), "roots": trees.roots[order]})
    sorted_trees = shuffled.in_order()
    expected = Trees.of([grown[number] for number in order], zeros)
    assert (np.diff(shuffled.roots) < 0).any()
    for name, numbers in sorted_trees.arrays().items():
        np.testing.assert_array_equal(numbers, expected.arrays()[name])
    assert trees.in_order() is trees
