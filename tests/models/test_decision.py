"""A model's threshold: how it is chosen, that every prediction follows it, and that it
is saved.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import permgrad as pg
from permgrad.base.errors import InputError
from permgrad.evaluation.baselines.table_model import table_model
from permgrad.evaluation.thresholds import choose_threshold
from permgrad.models.decision import (
    Decision,
    choose_decision,
    least_cost,
    read_decision,
)

COST = (1, 9)


def rare(rows: int = 700, seed: int = 3) -> tuple[pd.DataFrame, np.ndarray]:
    """Return rows of which few are "left", the first of two sorted labels."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.normal(size=(rows, 2)), columns=["a", "b"])
    chance = 1 / (1 + np.exp(-(1.2 * table["a"] - 2.2)))
    return table, np.where(rng.random(rows) < chance, "left", "stays")


def network(**options):
    return pg.HyNNClassifier(preset="fast", max_epochs=2, random_state=0, **options)


def line(**options):
    return table_model("classification", "linear", **options)


def trees(**options):
    pytest.importorskip("lightgbm", reason="lightgbm is not installed")
    return table_model("classification", "lightgbm", **options)


@pytest.mark.parametrize("make", [network, trees])
def test_the_threshold_of_least_cost_is_what_every_prediction_follows(make, tmp_path):
    X, y = rare()
    validation_rows = X[450:], y[450:]
    model = make(cost=COST).fit(X[:450], y[:450], eval_set=validation_rows)
    chances = model.predict_proba(X)[:, 0]
    best = choose_threshold(
        validation_rows[1],
        chances[450:],
        by="cost",
        cost={"false_positive": 1, "false_negative": 9},
        positive="left",
    )
    assert model.decision_threshold_ == pytest.approx(best.value)
    assert 0 < model.decision_threshold_ < 0.4, "the precondition: not the middle"
    expected = np.where(chances >= model.decision_threshold_, "left", "stays")
    usual = np.where(chances >= 0.5, "left", "stays")
    assert (expected != usual).sum() > 20, "the precondition: the threshold decides"
    assert (model.predict(X) == expected).all()
    assert model.score(X, y) == pytest.approx((expected == y).mean())
    model.save(tmp_path / "model")
    loaded = pg.load(tmp_path / "model")
    assert loaded.decision_ == model.decision_
    assert (loaded.predict(X) == expected).all()


@pytest.mark.parametrize("make", [network, line])
def test_a_named_threshold_is_of_the_class_it_names(make):
    X, y = rare(300)
    model = make(threshold={"stays": 0.9}).fit(X, y)
    chances = model.predict_proba(X)[:, 1]
    assert model.decision_ == Decision(positive=1, threshold=0.9)
    expected = np.where(chances >= 0.9, "stays", "left")
    assert (model.predict(X) == expected).all()
    assert len(np.unique(expected)) == 2, "the precondition: both classes"


def test_the_predicted_class_that_is_explained_is_the_models_own():
    X, y = rare(300)
    model = network(threshold=0.15).fit(X, y)
    moved = X[model.predict(X) != model.classes_[model.predict_proba(X).argmax(axis=1)]]
    assert len(moved) > 5, "the precondition: the threshold decides"
    options = {"background": X[:50], "method": "shapley", "progress": False}
    predicted_explanation = pg.explain(model, moved, target="predicted", **options)
    named = pg.explain(model, moved, target=np.array(["left"] * len(moved)), **options)
    np.testing.assert_allclose(predicted_explanation.values, named.values)
    assert abs(predicted_explanation.values).max() > 0.01, (
        "the precondition: something is said"
    )


def test_without_arguments_a_row_is_positive_from_one_half_on():
    assert choose_decision(["a", "b"], [3, 9]) == Decision(positive=0)
    assert Decision(positive=0).codes(np.array([[0.5, 0.5], [0.4, 0.6]])).tolist() == [
        0,
        1,
    ]
    assert choose_decision(["a", "b", "c"], [3, 9, 2]) is None


def test_rows_of_one_class_leave_the_threshold_of_reliable_probabilities():
    decision = choose_decision([0, 1], [90, 10], cost={0: 1, 1: 4})
    assert decision == Decision(positive=1, threshold=0.2, cost=(1.0, 4.0))
    chances = np.array([[0.7, 0.3], [0.9, 0.1]])
    assert decision.on_held_out([0, 0], chances) == decision
    assert decision.on_held_out([1, 0], chances).rows == 2


def test_weights_count_as_repeated_rows():
    rng = np.random.default_rng(1)
    truth = rng.random(60) < 0.3
    chances = rng.random(60)
    weights = rng.integers(1, 6, 60)
    again = np.repeat(np.arange(60), weights)
    weighed = least_cost(truth, chances, (1, 3), weights)
    assert weighed == least_cost(truth[again], chances[again], (1, 3))
    assert weighed != least_cost(truth, chances, (1, 3)), "the precondition"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cost": (1, -2)}, r"cost must be two finite numbers of at least 0, not both"),
        ({"cost": (0, 0)}, r"not both 0, got \(0, 0\)"),
        ({"threshold": 1.5}, r"threshold must be a number from 0 to 1, got 1\.5"),
        ({"cost": (1, 2), "threshold": 0.2}, "cost chooses the threshold"),
        ({"cost": {"left": 1, "gone": 2}}, "Positive class 'gone' not found"),
        ({"threshold": {"let": 0.2}}, "Did you mean 'left'"),
    ],
)
@pytest.mark.parametrize("make", [network, trees])
def test_what_is_no_cost_and_no_threshold(make, options, words):
    X, y = rare(60)
    with pytest.raises(InputError, match=words):
        make(**options).fit(X, y)


def test_costs_are_for_two_classes():
    X, _ = rare(60)
    with pytest.raises(InputError, match="cost needs two classes, and y has 3"):
        network(cost=COST).fit(X, np.arange(60) % 3)


def test_a_model_without_a_stored_decision_predicts_the_more_probable_class():
    classes = np.array(["a", "b"])
    assert read_decision({}, classes) == Decision(positive=1, threshold=0.5)
    assert read_decision({}, np.array(["a", "b", "c"])) is None
    stored = {"decision": Decision(positive=0, threshold=0.3).to_dict()}
    assert read_decision(stored, classes) == Decision(positive=0, threshold=0.3)
    with pytest.raises(ValueError, match="a decision of other classes"):
        read_decision(stored, np.array(["a", "b", "c"]))
