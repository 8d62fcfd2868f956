"""Whole weights of rows give the scores, and the differences between models, that
repeated rows give.
"""

from __future__ import annotations

import numpy as np
import pytest

from permgrad.evaluation.baselines.fitting import BaselineRows, fit_baseline
from permgrad.evaluation.metrics import evaluate, metrics
from permgrad.evaluation.skill import Predicted, metric_by_rows, paired, skill


@pytest.fixture(params=[0, 2, 3], ids=["numbers", "two classes", "three classes"])
def case(request):
    """Truth, two models' predictions, whole weights, and the rows repeated so often."""
    rng = np.random.default_rng(1)
    rows = 300
    classes = request.param
    weights = np.where(np.arange(rows) % 3 == 0, 7, rng.integers(1, 3, rows))
    weights[0] += 10 - weights.sum() % 10  # a tenth of the rows is a whole number
    again = np.repeat(np.arange(rows), weights)
    if not classes:
        truth = rng.normal(size=rows) + 2
        guesses = [truth + noise * rng.normal(size=rows) for noise in (0.5, 1.0)]
        return "regression", truth, guesses, weights.astype(float), again
    truth = rng.integers(classes, size=rows)
    guesses = []
    for strength in (2.0, 1.0):
        scores = np.exp(
            strength * np.eye(classes)[truth] * (weights[:, None] < 7)
            + rng.normal(size=(rows, classes))
        )
        guesses.append((scores / scores.sum(axis=1, keepdims=True)).round(2) + 1e-3)
    return "classification", truth, guesses, weights.astype(float), again


def test_every_metric_of_weighted_rows_is_that_of_repeated_rows(case):
    task, truth, (guess, _), weights, again = case
    name = "predictions"
    further = {}
    if task == "classification":
        name = "probabilities"
        further = {"classes": list(range(guess.shape[1]))}
    weighted = evaluate(task, truth, **{name: guess}, weights=weights, **further)
    repeated = evaluate(task, truth[again], **{name: guess[again]}, **further)
    plain = evaluate(task, truth, **{name: guess}, **further)
    for metric_name in (
        metric.name
        for metric in metrics.values()
        if metric.task == task and not metric.counts
    ):
        assert weighted[metric_name] == pytest.approx(
            repeated[metric_name], rel=1e-9
        ), metric_name
        assert weighted[metric_name] != pytest.approx(plain[metric_name], rel=1e-3), (
            f"{metric_name}: weights must count in this case"
        )
    assert weighted.get("confusion_matrix") == repeated.get("confusion_matrix")


def test_differences_between_models_are_those_of_repeated_rows_with_wider_intervals(
    case,
):
    task, truth, guesses, weights, again = case
    names = ("rmse",) if task == "regression" else ("accuracy", "log_loss", "roc_auc")
    scaled = weights / weights.mean()
    for name in names:
        models = [Predicted(truth, guess, None, scaled) for guess in guesses]
        paired_facts = paired(name, *models, seed=0)
        copies = paired(
            name, *(Predicted(truth[again], guess[again]) for guess in guesses), seed=0
        )
        plain = paired(name, *(Predicted(truth, guess) for guess in guesses), seed=0)
        assert paired_facts["difference"] == pytest.approx(
            copies["difference"], rel=1e-9
        )
        assert paired_facts["difference"] != pytest.approx(
            plain["difference"], rel=1e-3
        )
        widths = [
            comparison_facts["ci_high"] - comparison_facts["ci_low"]
            for comparison_facts in (paired_facts, copies)
        ]
        assert widths[0] > 1.2 * widths[1], "repeated rows are no further rows"
        value, rows = metric_by_rows(name, models[0])
        assert value == pytest.approx(
            metric_by_rows(name, models[0].take(np.arange(len(truth))))[0]
        )
        assert rows.mean() == pytest.approx(0, abs=0.02 * max(value, 1))


def test_a_few_heavy_rows_in_order_may_be_chance():
    truth = np.arange(60) % 2
    guess = np.column_stack([1 - truth, truth]) * 0.2 + 0.4  # in order
    constant = np.full((60, 2), 0.5)
    heavy = np.where(np.arange(60) < 4, 1.0, 0.01)
    learnt = []
    for weights in (None, heavy / heavy.mean()):
        sides = [
            Predicted(truth, predictions, None, weights)
            for predictions in (guess, constant)
        ]
        skill_facts = skill("classification", *sides, seed=0, names=("roc_auc",))
        assert skill_facts["ahead"]["roc_auc"]["difference"] == pytest.approx(0.5)
        learnt.append(skill_facts["learnt"])
    assert learnt == [True, False]
    assert Predicted(truth, guess, None, heavy).independent(
        truth == 1
    ) == pytest.approx(2.28**2 / 2.0028)


@pytest.mark.parametrize("name", ["linear", "histogram_boosting"])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_baselines_are_fitted_and_scored_with_weights(name, task):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(240, 3))
    y = X[:, 0] + rng.normal(size=240)
    y = (y > 0).astype(int) if task == "classification" else y
    weights = np.where(X[:, 1] > 0, 5.0, 1.0)
    again = np.repeat(np.arange(240), weights.astype(int))
    rows = BaselineRows(X, y, weights=weights)
    # Copies of a row would be in several folds by which a penalty is chosen.
    penalty = {"alpha" if task == "regression" else "C": 1.0}
    few = {"histogram_boosting": {"max_iter": 5}, "linear": penalty}.get(name, {})
    validation_rows = (
        rows.take(np.arange(0, 240, 2)) if name == "histogram_boosting" else None
    )
    weighted = fit_baseline(name, task, rows, validation_rows, options=few)
    assert not np.allclose(
        weighted.guess(X),
        fit_baseline(name, task, BaselineRows(X, y), options=few).guess(X),
    )
    copies = BaselineRows(X[again], y[again])
    if name == "linear":
        np.testing.assert_allclose(
            weighted.guess(X),
            fit_baseline(name, task, copies, options=few).guess(X),
            atol=1e-3,
        )
    score = "rmse" if task == "regression" else "log_loss"
    assert weighted.evaluate(rows)[score] == pytest.approx(
        weighted.evaluate(copies)[score], rel=1e-9
    )
