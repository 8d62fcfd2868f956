"""Classes that are whole numbers: in an order or not, and their quadratic kappa."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from invoking import call
from sklearn.datasets import load_digits, load_wine
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import cohen_kappa_score
from sklearn.model_selection import cross_val_predict

import permgrad as pg
from permgrad.evaluation import class_order
from permgrad.evaluation.class_order import (
    classes_in_order,
    kappa_of,
    metrics_in,
    with_kappa,
)
from permgrad.evaluation.metrics import evaluate


def asked(X, y):
    """What is found by the predictions of trees for rows left out."""
    table, (labels, codes) = pd.DataFrame(X), np.unique(y, return_inverse=True)
    trees = ExtraTreesClassifier(60, min_samples_leaf=3, random_state=0)
    encoded = pd.get_dummies(table).to_numpy(dtype=np.float64)
    chances = cross_val_predict(trees, encoded, codes, cv=3, method="predict_proba")
    return classes_in_order(labels.tolist(), (codes, chances), (table, codes))


def stars(rows=500, seed=0):
    """One to five stars by price and kind."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "price": rng.lognormal(size=rows),
            "kind": rng.choice(["inn", "hostel", "hotel"], rows),
        }
    )
    level = np.log(table["price"]) + table["kind"].map(
        {"inn": 0.0, "hostel": -0.7, "hotel": 0.8}
    )
    return table, np.digitize(
        level + 0.7 * rng.normal(size=rows), [-1.5, -0.5, 0.5, 1.5]
    ) + 1


def test_stars_are_in_an_order_and_the_same_classes_under_other_numbers_are_not():
    table, y = stars()
    order_facts = asked(table, y)
    assert order_facts["near"] > 0.95
    assert order_facts["along"] > 0.9
    assert asked(table, 2 * y - 10) is not None, "any whole numbers"
    assert asked(table, np.array([0, 4, 1, 5, 2, 3])[y]) is None


def test_a_bend_is_no_reason_against_an_order():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(900, 2))
    assert (
        asked(
            x,
            np.digitize(
                x[:, 0] ** 2 + 0.3 * rng.normal(size=900), [0.1, 0.5, 1.1, 2.2]
            ),
        )["near"]
        > 0.95
    )


@pytest.mark.parametrize("read", [load_digits, load_wine])
def test_numbers_that_name_are_in_no_order(read):
    assert asked(*read(return_X_y=True)) is None


@pytest.mark.parametrize("classes", [3, 4])
def test_few_classes_on_a_line_may_be_names(classes):
    """Names coded at random stand in the order of a line in one coding of three, or of
    twelve.
    """
    rng = np.random.default_rng(classes)
    x = rng.uniform(0, classes, 600)
    kinds = np.clip(np.floor(x + 0.3 * rng.normal(size=600)), 0, classes - 1)
    chances = np.exp(-2 * (x[:, None] - np.arange(classes) - 0.5) ** 2)
    chances /= chances.sum(axis=1, keepdims=True)
    codes = kinds.astype(int)
    near, errors = class_order._near(codes, chances)
    assert near > 0.95, "precondition: they look as if in an order"
    assert errors > 3, "precondition"
    table = pd.DataFrame({"x": x})
    assert (
        classes_in_order(list(range(classes)), (codes, chances), (table, codes)) is None
    )


def test_nothing_is_said_without_evidence():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(600, 2))
    y = rng.integers(1, 6, 600)
    assert asked(x, y) is None, "noise"
    sure = np.eye(5)[y - 1]
    assert classes_in_order([1, 2, 3, 4, 5], (y - 1, sure), (None, y - 1)) is None, (
        "always right: no neighbours"
    )
    table, stars_ = stars()
    for labels in (
        ["a", "b", "c", "d", "e"],
        ["01", "02", "03", "04", "05"],
        [1.5, 2, 3, 4, 5],
        [True, 2, 3, 4, 5],
    ):
        codes = stars_ - 1
        chances = np.exp(-np.abs(codes[:, None] - np.arange(5)))
        chances /= chances.sum(axis=1, keepdims=True)
        assert classes_in_order(labels, (codes, chances), (table, codes)) is None
    assert (
        classes_in_order([0, 1], (codes % 2, chances[:, :2]), (None, codes % 2)) is None
    )


def test_quadratic_kappa_is_that_of_scikit_learn_and_stands_behind_accuracy():
    rng = np.random.default_rng(3)
    y, guess = rng.integers(0, 4, (2, 300))
    classes = [10, 2, 3, 7]  # not in their order
    scores = evaluate(
        "classification",
        np.array(classes)[y],
        predictions=np.array(classes)[(y + guess // 2) % 4],
        classes=classes,
    )
    truth = np.array(classes)[y]
    called = np.array(classes)[(y + guess // 2) % 4]
    assert kappa_of(scores) == pytest.approx(
        cohen_kappa_score(truth, called, weights="quadratic")
    )
    assert kappa_of({"confusion_matrix": [[4, 0], [0, 0]], "labels": [1, 2]}) is None, (
        "one class alone"
    )
    assert [metric.name for metric in metrics_in(with_kappa(scores))][:2] == [
        "accuracy",
        "quadratic_kappa",
    ]
    assert with_kappa({"accuracy": None})["quadratic_kappa"] is None, (
        "a baseline that is not installed"
    )


@pytest.mark.slow
def test_a_run_says_so_in_terminal_page_and_report(tmp_path):
    table, y = stars(800, seed=4)
    table.assign(rating=y).to_csv(tmp_path / "hotels.csv", index=False)
    words = (
        "run",
        tmp_path / "hotels.csv",
        "--target",
        "rating",
        "--preset",
        "fast",
        "--out",
        tmp_path / "run",
    )
    run_output = call(*map(str, words), "--baselines", "linear")
    sentence = "The classes of rating seem to be in an order"
    report, page = (
        (tmp_path / "run" / name).read_text() for name in ("report.md", "report.html")
    )
    assert all(
        sentence in text and "--task regression" in text
        for text in (run_output, page, report)
    )
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    rows = pd.read_csv(tmp_path / "run" / "predictions.csv")
    expected = cohen_kappa_score(rows["truth"], rows["prediction"], weights="quadratic")
    assert metrics["test"]["quadratic_kappa"] == pytest.approx(expected)
    assert metrics["baselines"]["linear"]["quadratic_kappa"] > 0.4
    assert "quadratic kappa" in page
    assert "quadratic kappa" in run_output
    assert "threshold" not in report


def test_a_report_in_python_names_a_regressor():
    table, y = stars(600, seed=5)
    X = pd.get_dummies(table).astype(float)
    model = ExtraTreesClassifier(60, min_samples_leaf=3, random_state=0).fit(
        X[:400], y[:400]
    )
    page = pg.report(model, X[400:], y[400:], train=(X[:400], y[:400]), progress=False)
    assert "seem to be in an order" in page.markdown
    assert "fit a regressor" in page.markdown
