"""Trees behind an encoder: a run's boosted trees and forests have exact values, in
which the encoded columns of a feature are one player.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from explaining import explain_with
from sklearn.ensemble import RandomForestRegressor

import permgrad as pg
from permgrad.attribution.method.shapley import method
from permgrad.attribution.method.shapley.sampled import ENUMERATION
from permgrad.attribution.method.shapley.tree_models import LEAVES
from permgrad.evaluation.baselines.table_model import table_model


def table(rows: int = 260) -> tuple[pd.DataFrame, pd.Series]:
    rng = np.random.default_rng(4)
    X = pd.DataFrame(rng.normal(size=(rows, 3)), columns=["length", "width", "age"])
    X["colour"] = rng.choice(["red", "green", "blue"], rows)
    X["site"] = rng.choice(["north", "south", "east", "west"], rows)
    score = X.length * X.width + (X.colour == "red") * X.age
    score = score + (X.site == "east") + rng.normal(0, 0.2, rows)
    X.loc[rng.random(rows) < 0.2, "age"] = np.nan
    return X, score


#: A baseline, the task, and the scale of what is explained.
CASES = {
    "lightgbm": ("lightgbm", "regression", "auto"),
    "lightgbm, shifted": ("lightgbm", "shifted", "auto"),
    "histogram_boosting, two classes": ("histogram_boosting", "two", "logit"),
    "xgboost, three classes": ("xgboost", "three", "logit"),
    "random_forest": ("random_forest", "regression", "auto"),
    "extra_trees, probabilities": ("extra_trees", "three", "auto"),
}


def fitted(name: str) -> tuple[Any, pd.DataFrame, str]:
    baseline, kind, scale = CASES[name]
    pytest.importorskip(
        {"lightgbm": "lightgbm", "xgboost": "xgboost"}.get(baseline, "sklearn")
    )
    X, score = table()
    y = {
        "regression": score,
        "shifted": 1e6 + score,
        "two": np.where(score > 0, "yes", "no"),
        "three": np.digitize(score, [0, 2]),
    }[kind]
    task = "classification" if kind in ("two", "three") else "regression"
    rounds = "max_iter" if baseline == "histogram_boosting" else "n_estimators"
    model = table_model(task, baseline, settings={rounds: 8}, random_state=0)
    return model.fit(X, y), X, scale


@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_all_coalitions_of_features(monkeypatch, name):
    model, X, scale = fitted(name)
    assert len(model.preprocessor_.encoded_names_) > len(X.columns)
    options = {"method": "shapley", "scope": "local", "scale": scale}
    options["background"] = X[50:80]
    by_trees = explain_with(model, X[:4], **options)
    monkeypatch.setattr(method, "find_trees", lambda *_: None)
    by_coalitions = explain_with(model, X[:4], **options)
    assert by_trees.meta["estimator"] == LEAVES
    assert by_coalitions.meta["estimator"] == ENUMERATION
    assert by_trees.names == by_coalitions.names == tuple(X.columns)
    size = np.abs(by_coalitions.values).max()
    assert (np.abs(by_coalitions.values).max(axis=(0, 2)) > 0.01 * size).all()
    np.testing.assert_allclose(
        by_trees.values, by_coalitions.values, rtol=0, atol=1e-6 * size
    )
    assert not by_trees.std_error.any()


@pytest.mark.parametrize("name", ["lightgbm", "random_forest"])
def test_a_saved_model_gives_reasons_by_its_trees(monkeypatch, tmp_path, name):
    if name == "random_forest":
        pytest.importorskip("skops")
    model, X, _ = fitted(name)
    model.save(tmp_path / "model")
    loaded = pg.load(tmp_path / "model")
    played = []
    monkeypatch.setattr(
        method.RowValues, "_enumerate", lambda *_: played.append("coalitions")
    )
    reasons = loaded.reasons(X[:6], n=2)
    assert not played
    exact = explain_with(model, X[:6], method="shapley", scope="local")
    assert exact.meta["estimator"] == LEAVES
    first = np.abs(exact.values[:, :, 0]).argmax(axis=1)
    assert reasons["reason_1"].tolist() == [exact.names[index] for index in first]


def test_an_estimator_of_raw_columns_is_read_too():
    X, score = table()
    X = X[["length", "width"]]
    model = table_model("regression", RandomForestRegressor(5), random_state=0)
    model.fit(X, score)
    explanation = explain_with(model, X[:3], method="shapley", scope="local")
    assert explanation.meta["estimator"] == LEAVES


def test_what_is_no_tree_is_played():
    X, score = table()
    model = table_model("regression", "linear", random_state=0).fit(X, score)
    explanation = explain_with(model, X[:3], method="shapley", scope="local")
    assert explanation.meta["estimator"] == ENUMERATION
