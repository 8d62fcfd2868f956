"""Metrics equal scikit-learn's where these are defined, and are None where they are
not.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from permgrad.base.errors import InputError
from permgrad.evaluation.metrics import evaluate, metrics, primary_metric

CLASSIFICATION = [
    name for name in metrics if metrics.get(name).task == "classification"
]
REGRESSION = [name for name in metrics if metrics.get(name).task == "regression"]


def random_case(n_classes: int, rows: int = 400, seed: int = 0):
    rng = np.random.default_rng(seed)
    classes = np.array(["delta", "alpha", "charlie", "bravo"])[:n_classes]
    codes = rng.integers(n_classes, size=rows)
    logits = rng.normal(size=(rows, n_classes)) + 1.2 * np.eye(n_classes)[codes]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return classes, codes, probabilities


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_classification_equals_scikit_learn(n_classes):
    classes, codes, probabilities = random_case(n_classes)
    y = classes[codes]
    guess = classes[probabilities.argmax(axis=1)]
    ours = evaluate("classification", y, probabilities=probabilities, classes=classes)
    assert 0.4 < ours["accuracy"] < 0.95, "the case must be neither trivial nor perfect"
    one_hot = np.eye(n_classes)[codes]
    expected = {
        "accuracy": reference.accuracy_score(y, guess),
        "balanced_accuracy": reference.balanced_accuracy_score(y, guess),
        "macro_f1": reference.f1_score(y, guess, average="macro"),
        "log_loss": reference.log_loss(codes, probabilities),
        "roc_auc": reference.roc_auc_score(
            codes,
            probabilities[:, 1] if n_classes == 2 else probabilities,
            multi_class="ovr",
        ),
        "average_precision": reference.average_precision_score(
            codes, probabilities[:, 1]
        )
        if n_classes == 2
        else reference.average_precision_score(one_hot, probabilities, average="macro"),
    }
    assert set(expected) | {"lift"} == set(CLASSIFICATION), (
        "lift is not scikit-learn's; see test_thresholds.py"
    )
    for name, value in expected.items():
        assert ours[name] == pytest.approx(value, abs=1e-12), name
    assert (
        ours["confusion_matrix"]
        == reference.confusion_matrix(y, guess, labels=classes).tolist()
    )
    assert ours["labels"] == classes.tolist()


def test_regression_equals_scikit_learn():
    rng = np.random.default_rng(1)
    y = rng.normal(5, 2, 300)
    guess = y + rng.normal(size=300)
    ours = evaluate("regression", y, predictions=guess)
    expected = {
        "rmse": reference.root_mean_squared_error(y, guess),
        "mae": reference.mean_absolute_error(y, guess),
        "mse": reference.mean_squared_error(y, guess),
        "mape": reference.mean_absolute_percentage_error(y, guess),
        "r2": reference.r2_score(y, guess),
    }
    assert list(ours) == [*expected]
    assert [*expected, "poisson_deviance"] == REGRESSION
    for name, value in expected.items():
        assert ours[name] == pytest.approx(value, rel=1e-12), name


def test_the_deviance_of_counts_equals_scikit_learn():
    rng = np.random.default_rng(1)
    y = rng.poisson(1.5, 200)
    guess = rng.uniform(0.1, 3, 200)
    weights = rng.uniform(0.1, 2, 200)
    ours = evaluate("regression", y, predictions=guess, weights=weights, counts=True)[
        "poisson_deviance"
    ]
    assert ours == pytest.approx(
        reference.mean_poisson_deviance(y, guess, sample_weight=weights), rel=1e-12
    )
    assert (
        evaluate("regression", y, predictions=guess - 1, counts=True)[
            "poisson_deviance"
        ]
        is None
    )
    assert (
        evaluate("regression", y, predictions=np.where(y > 0, 0.0, guess), counts=True)[
            "poisson_deviance"
        ]
        is None
    )
    assert (
        evaluate("regression", [0, 2], predictions=[0.0, 2.0], counts=True)[
            "poisson_deviance"
        ]
        == 0
    )


def test_probability_of_zero_counts_as_in_scikit_learn():
    probabilities = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    ours = evaluate(
        "classification", [0, 1, 1], probabilities=probabilities, classes=[0, 1]
    )
    assert ours["log_loss"] == pytest.approx(
        reference.log_loss([0, 1, 1], probabilities)
    )


def test_a_class_missing_from_the_rows_makes_only_its_own_metrics_undefined():
    _, _, probabilities = random_case(3)
    codes = np.random.default_rng(0).integers(2, size=len(probabilities))
    ours = evaluate(
        "classification", codes, probabilities=probabilities, classes=[0, 1, 2]
    )
    assert ours["roc_auc"] is None
    assert ours["average_precision"] is None
    assert ours["accuracy"] > 0
    assert ours["log_loss"] > 0
    assert ours["confusion_matrix"][2] == [0, 0, 0]


def test_one_class_only_and_no_row():
    single_class_metrics = evaluate(
        "classification",
        ["a", "a"],
        probabilities=[[0.8, 0.2], [0.4, 0.6]],
        classes=["a", "b"],
    )
    assert (
        single_class_metrics["accuracy"],
        single_class_metrics["roc_auc"],
        single_class_metrics["average_precision"],
    ) == (
        0.5,
        None,
        None,
    )
    none = evaluate(
        "classification", [], probabilities=np.zeros((0, 2)), classes=["a", "b"]
    )
    assert all(none[name] is None for name in CLASSIFICATION)
    assert none["confusion_matrix"] == [[0, 0], [0, 0]]
    assert all(
        value is None for value in evaluate("regression", [], predictions=[]).values()
    )


def test_a_class_the_model_has_never_seen_is_wrong_and_listed():
    ours = evaluate(
        "classification",
        np.array(["a", "z", "b", "z"]),
        probabilities=[[0.6, 0.4], [0.5, 0.5], [0.8, 0.2], [0.9, 0.1]],
        classes=np.array(["b", "a"]),
    )
    assert ours["labels"] == ["b", "a", "z"]
    assert ours["confusion_matrix"] == [[1, 0, 0], [1, 0, 0], [2, 0, 0]]
    assert ours["accuracy"] == 0.25
    assert ours["unseen"] == {"z": 2}
    assert ours["log_loss"] == pytest.approx(-(np.log(0.4) + np.log(0.8)) / 2), (
        "of the rows whose class is known"
    )
    assert all(ours[name] is not None for name in CLASSIFICATION)
    strangers = evaluate(
        "classification", ["z"], probabilities=[[0.5, 0.5]], classes=["b", "a"]
    )
    assert strangers["log_loss"] is None
    assert "unseen" not in evaluate(
        "classification", ["a"], probabilities=[[0.5, 0.5]], classes=["b", "a"]
    )


@pytest.mark.parametrize("missing", [np.nan, None, pd.NA])
def test_missing_labels_do_not_crash(missing):
    ours = evaluate(
        "classification",
        pd.Series(["a", missing, "b"], dtype=object),
        predictions=["a", "b", "b"],
        classes=["a", "b"],
    )
    assert ours["accuracy"] == pytest.approx(2 / 3)
    json.dumps(ours, allow_nan=False)


def test_undefined_regression_metrics():
    assert evaluate("regression", [0.0, 1.0], predictions=[0.5, 1.0])["mape"] is None
    assert evaluate("regression", [2.0, 2.0], predictions=[1.0, 2.0])["r2"] is None
    assert evaluate("regression", [2.0], predictions=[1.0])["r2"] is None
    broken = evaluate("regression", [1.0, 2.0], predictions=[np.nan, 2.0])
    assert all(value is None for value in broken.values())


def test_non_finite_probabilities_are_undefined_but_labels_still_count():
    ours = evaluate(
        "classification",
        [0, 1],
        predictions=[0, 1],
        probabilities=[[np.nan, 1], [0, 1]],
        classes=[0, 1],
    )
    assert ours["accuracy"] == 1.0
    assert ours["log_loss"] is None
    assert ours["roc_auc"] is None


@pytest.mark.parametrize(
    "y",
    [
        pd.Categorical(["x", "y", "x"]),
        pd.Series(["x", "y", "x"], index=[7, 8, 9]),
        ["x", "y", "x"],
    ],
)
def test_any_kind_of_label_column(y):
    assert evaluate(
        "classification", y, predictions=["x", "y", "y"], classes=["x", "y"]
    )["accuracy"] == pytest.approx(2 / 3)


def test_integer_float_and_boolean_classes_are_the_same_labels():
    assert (
        evaluate("classification", [0.0, 1.0], predictions=[0, 1], classes=[0, 1])[
            "accuracy"
        ]
        == 1
    )
    ours = evaluate(
        "classification",
        np.array([True, False]),
        predictions=np.array([True, True]),
        classes=[False, True],
    )
    assert ours["confusion_matrix"] == [[0, 1], [0, 1]]


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 4),
    st.integers(3, 40),
    st.integers(0, 10**6),
    st.permutations(range(4)),
)
def test_renaming_and_reordering_classes_changes_nothing(n_classes, rows, seed, order):
    classes, codes, probabilities = random_case(n_classes, rows, seed)
    order = [k for k in order if k < n_classes]
    before = evaluate(
        "classification", classes[codes], probabilities=probabilities, classes=classes
    )
    after = evaluate(
        "classification",
        classes[codes],
        probabilities=probabilities[:, order],
        classes=classes[order],
    )
    for name in (
        set(CLASSIFICATION) - {"roc_auc", "average_precision", "lift"}
        if n_classes == 2
        else CLASSIFICATION
    ):
        assert after[name] == (
            None if before[name] is None else pytest.approx(before[name], abs=1e-12)
        ), name


@pytest.mark.parametrize("name", list(metrics))
def test_every_metric_states_direction_and_range_and_keeps_them(name):
    metric = metrics.get(name)
    low, high = metric.range
    assert low < high
    if metric.task == "classification":
        _, codes, probabilities = random_case(3)
        perfect = evaluate(
            "classification", codes, probabilities=np.eye(3)[codes], classes=[0, 1, 2]
        )[name]
        worse = evaluate(
            "classification", codes, probabilities=probabilities, classes=[0, 1, 2]
        )[name]
    else:
        y = np.random.default_rng(0).normal(3, 1, 50)
        y = np.abs(y)
        perfect = evaluate("regression", y, predictions=y, counts=True)[name]
        worse = evaluate("regression", y, predictions=y + 0.5, counts=True)[name]
    assert low <= worse <= high
    if name == "lift":
        # The end of its range needs classes of at most a tenth of the rows; theirs are
        # larger.
        assert perfect == pytest.approx(np.mean(len(codes) / np.bincount(codes)))
        return
    assert perfect == pytest.approx(
        high if metric.direction == "higher" else low, abs=1e-9
    )
    assert metric.better(perfect, worse)
    assert not metric.better(worse, perfect)
    assert metric.better(worse, None)
    assert not metric.better(None, worse)


def test_a_single_column_is_one_target():
    rng = np.random.default_rng(3)
    truth = rng.normal(size=30)
    guess = rng.normal(size=30)
    flat = evaluate("regression", truth, predictions=guess)
    assert flat["rmse"] > 0.5
    assert evaluate("regression", truth[:, None], predictions=guess[:, None]) == flat


def test_primary_metric():
    assert primary_metric("classification", 2).name == "roc_auc"
    assert primary_metric("classification", 7).name == "accuracy"
    assert primary_metric("regression").name == "rmse"
    assert math.isinf(primary_metric("regression").range[1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: evaluate("ranking", [1]),
            "task must be one of 'classification', 'regression', got 'ranking'.",
        ),
        (
            lambda: evaluate("regression", [1.0], predictions=[1.0, 2.0]),
            (
                "y and predictions must have shape (rows,), got (1,) and (2,). Pass "
                "one value per row, such as model.predict(X)."
            ),
        ),
        (
            lambda: evaluate(
                "regression", [1.0, 2.0], predictions=[[1.0, 2.0], [3.0, 4.0]]
            ),
            (
                "y and predictions must have shape (rows,), got (2,) and (2, 2). Pass "
                "one value per row, such as model.predict(X)."
            ),
        ),
        (
            lambda: evaluate("regression", [1.0, math.inf], predictions=[1.0, 2.0]),
            "y has missing or infinite values. Leave those rows out.",
        ),
        (
            lambda: evaluate(
                "classification",
                [["a"], ["b"]],
                predictions=["a", "b"],
                classes=["a", "b"],
            ),
            "y must have shape (rows,), got (2, 1). Pass one class per row.",
        ),
        (
            lambda: evaluate(
                "classification", ["a", "b"], predictions=["a"], classes=["a", "b"]
            ),
            (
                "predictions must have one value for each of the 2 rows, got the shape "
                "(1,). Pass one prediction per row."
            ),
        ),
        (
            lambda: evaluate(
                "classification", ["a"], probabilities=[[0.5, 0.5]], classes=["a"]
            ),
            (
                "probabilities must have one row per row of y and one column per "
                "class, (1, 1), got (1, 2). Pass predict_proba(X)."
            ),
        ),
        (
            lambda: evaluate(
                "classification", ["a"], predictions=["a"], classes=["a", "a"]
            ),
            (
                "classes must name each class of the model once, got ['a', 'a']. Pass "
                "model.classes_."
            ),
        ),
        (
            lambda: evaluate("classification", ["a"], classes=["a", "b"]),
            (
                "Classification needs predictions= or probabilities=. Pass "
                "predict_proba(X)."
            ),
        ),
    ],
)
def test_messages(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert caught.value.message == message


@pytest.mark.parametrize("labels", [(0, 1), ("bad", "good")], ids=["numbers", "texts"])
@pytest.mark.parametrize("place", [0, 1])
def test_average_precision_and_lift_are_of_the_positive_class(labels, place):
    rng = np.random.default_rng(3)
    codes = (rng.random(200) < 0.8).astype(int)
    scores = np.clip(rng.normal(0.4 + 0.2 * codes, 0.25), 0.01, 0.99)
    y = np.array(labels)[codes]
    table = np.stack([1 - scores, scores], axis=1)
    positive_metrics = evaluate(
        "classification", y, probabilities=table, classes=labels, positive=labels[place]
    )
    default_metrics = evaluate(
        "classification",
        y,
        probabilities=table,
        classes=labels,
        positive=labels[1 - place],
    )
    positive_chances = table[:, place]
    assert positive_metrics["average_precision"] == pytest.approx(
        reference.average_precision_score(codes == place, positive_chances)
    )
    tenth = np.argsort(-positive_chances)[:20]
    assert positive_metrics["lift"] == pytest.approx(
        (codes[tenth] == place).mean() / (codes == place).mean()
    )
    assert (
        abs(
            positive_metrics["average_precision"] - default_metrics["average_precision"]
        )
        > 0.1
    ), "the choice must matter here"
    for name in set(positive_metrics) - {"average_precision", "lift", "roc_auc"}:
        assert positive_metrics[name] == default_metrics[name]
    assert positive_metrics["roc_auc"] == pytest.approx(default_metrics["roc_auc"])
    assert evaluate("classification", y, probabilities=table, classes=labels) == (
        positive_metrics if place else default_metrics
    )
