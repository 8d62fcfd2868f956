"""How good predictions are, compared with a constant and with other models on the same
test rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from permgrad.assess.assessed_model import EvaluatedModel
from permgrad.assess.assessed_rows import Rows
from permgrad.assess.predictions import COVERAGE, Predictions
from permgrad.assess.work import Work
from permgrad.attribution.request.related_rows import tell_of_signs
from permgrad.base.arrays import Floats
from permgrad.base.files import plain
from permgrad.evaluation.calibration import score_intervals
from permgrad.evaluation.class_order import classes_in_order, with_kappa
from permgrad.evaluation.few_rows import rows_that_decide
from permgrad.evaluation.levels import cells_of
from permgrad.evaluation.skill import against_others, score_interval, skill
from permgrad.evaluation.thresholds import (
    Criterion,
    choose_threshold,
    metrics_at,
    never_predicted,
)
from permgrad.models.decision import HALF, Decision

#: Columns that are looked at for rows that repeat, evenly over all.
_MOST_COLUMNS = 50


def scores(work: Work) -> None:
    """Fill ``metrics``, ``predictions`` and ``guesses``."""
    model, predicted, test_rows = work.model, work.predictions, work.test
    held_out_rows, held_predicted = _held_out(work)
    metrics = _measured(work, held_out_rows, held_predicted)
    if model.classes:
        metrics |= _missed_classes(
            model, (held_out_rows, held_predicted), (test_rows, predicted)
        )
    metrics |= {
        attribute_name: value
        for attribute_name in ("raised", "branches")
        if (value := getattr(model.model, f"{attribute_name}_", None))
    }
    decisive = _decisive_rows(work, predicted)
    metrics |= {} if decisive is None else {"few_rows_decide": decisive}
    _tell_of_signs(work)
    guesses: dict[str, npt.NDArray[Any]] = {}
    with work.budget.clock.whole.part("baselines"):
        metrics["baselines"] = (
            {} if work.fit_others is None else work.fit_others(guesses)
        )
    metrics["constant"], training_mean = constant_of(work)
    if predicted.inside is not None:
        metrics["intervals"] = score_intervals(
            predicted.codes,
            predicted.inside,
            COVERAGE,
            classes=predicted.classes,
            dependence=test_rows.dependence,
        )
    _tell_who_is_behind(work, predicted, guesses, metrics["baselines"])
    metrics |= _decision_of(model)
    thresholds = _thresholds(work, held_predicted, predicted)
    if thresholds is not None:
        metrics["cuts"] = thresholds
    if len(work.model.classes) > 2:
        _judge_by_order(work, metrics, (held_predicted, predicted))
    if predicted.training_mean is None and training_mean is not None:
        predicted = replace(predicted, training_mean=training_mean)
    work.put(metrics=metrics, **_of_rows(test_rows))
    work.content.predictions, work.content.guesses = predicted, guesses
    work.content.positive = metrics.get("positive")


def _measured(
    work: Work, held_out_rows: Rows, held_predicted: Predictions
) -> dict[str, Any]:
    """Return the model's scores on validation and test rows, and how many there are."""
    model = work.model
    predicted = work.predictions
    test = work.test
    counts = {"train": None if work.train is None else len(work.train)}
    metrics: dict[str, Any] = {"task": model.task.name, "rows": counts}
    if model.subject:
        metrics |= {"model": model.subject}
    if work.validation is not None:
        counts["validation"] = len(held_out_rows)
        metrics["validation"] = model.measure(
            held_predicted.guess, held_out_rows, held_predicted.called
        )
    counts["test"] = len(test)
    metrics["test"] = model.measure(predicted.guess, test, predicted.called)
    metric = predicted.scored.metric
    ends = score_interval(metric, predicted.scored, test.dependence)
    if ends is not None:
        interval = {"metric": metric, "ci_low": ends[0], "ci_high": ends[1]}
        metrics["score_interval"] = interval
    return metrics


def _held_out(work: Work) -> tuple[Rows, Predictions]:
    """Return the validation rows and their predictions, or no rows of the test."""
    if work.validation is not None:
        return work.validation, work.model.predict(work.validation)
    none = np.zeros(0, dtype=np.int64)
    return work.test.take(none), work.predictions.take(none)


def _missed_classes(
    model: EvaluatedModel,
    validation: tuple[Rows, Predictions],
    tests: tuple[Rows, Predictions],
) -> dict[str, Any]:
    """Return the positive class, and the classes that are never predicted."""
    test, predicted = tests
    # A threshold is found by counts of rows.
    judged = validation
    if test.weights is not None:
        none = np.zeros(0, dtype=np.int64)
        judged = test.take(none), predicted.take(none)
    first, second = (
        (model.targets(rows), guessed.guess) for rows, guessed in (judged, tests)
    )
    missed = never_predicted(np.asarray(model.labels), first, second, predicted.called)
    return {"positive": plain(model.positive_label), "never_predicted": missed}


def _tell_who_is_behind(
    work: Work,
    predicted: Predictions,
    guesses: dict[str, npt.NDArray[Any]],
    baselines: dict[str, Any],
) -> None:
    """Add to each other model how far ahead of it the model is."""
    competitors = {
        name: replace(predicted.scored, guess=guess, called=None)
        for name, guess in guesses.items()
    }
    compared = against_others(
        predicted.scored,
        competitors,
        seed=work.budget.seed,
        dependence=work.test.dependence,
    )
    for name, facts in compared.items():
        # A score of a class with one row has no error, and nothing can be said of a
        # difference.
        if math.isfinite(facts["p_holm"]):
            baselines[name]["ahead"] = facts


def _decisive_rows(work: Work, predicted: Predictions) -> dict[str, Any] | None:
    """Return the few test rows that decide the scores, if there are such."""
    learned_range = None
    if work.model.task.numeric and work.train is not None:
        learned = np.asarray(work.model.codes(work.train), dtype=np.float64)
        learned_range = float(learned.min()), float(learned.max())
    return rows_that_decide(predicted.scored, work.test.numbers, learned_range)


def _thresholds(
    work: Work, held_predicted: Predictions, predicted: Predictions
) -> dict[str, Any] | None:
    """Return what several thresholds give, of a model that decides by one."""
    decision = work.model.decision
    if work.validation is None or decision is None:
        return None
    plain_decision = Decision(positive=decision.positive)
    if not work.model.has_one_logit and decision == plain_decision:
        return None
    return _cuts(work, held_predicted, predicted, decision)


def _of_rows(test: Rows) -> dict[str, Any]:
    """Return what is kept of the test rows: which depend on each other, and their
    weights.
    """
    row_facts: dict[str, Any]
    if test.dependence is None:
        row_facts = {}
    else:
        row_facts = {"dependence": test.dependence}
    if (weights := test.weights) is not None:
        row_facts["weights"] = {
            "column": str(weights.name or "sample_weight"),
            "weights": weights.tolist(),
        }
    return row_facts


def _judge_by_order(
    work: Work, metrics: dict[str, Any], predictions: Sequence[Predictions]
) -> None:
    """Add to the metrics whether classes are in an order (``in_order``), and then every
    model's quadratic kappa.
    """
    model = work.model
    if work.train is None:
        learned_rows = work.test
    else:
        learned_rows = work.train
    held_out = (
        np.concatenate([part_predictions.codes for part_predictions in predictions]),
        np.concatenate([part_predictions.guess for part_predictions in predictions]),
    )
    order = classes_in_order(
        model.labels, held_out, (learned_rows.table, model.codes(learned_rows))
    )
    if order is None:
        return
    metrics["in_order"] = order
    for part_name in {"validation", "test", "constant"} & set(metrics):
        metrics[part_name] = with_kappa(metrics[part_name])
    metrics["baselines"] = {
        baseline_name: with_kappa(baseline_scores)
        for baseline_name, baseline_scores in metrics["baselines"].items()
    }


def _tell_of_signs(work: Work) -> None:
    """Warn of test rows that seem to depend on each other in the order of their file,
    if they stand in another.

    Their own order is looked at where they are explained.
    """
    test_rows = work.test
    predicted = work.predictions
    if test_rows.dependence is None and (np.diff(test_rows.numbers) < 0).any():
        order = np.argsort(test_rows.numbers)
        table = test_rows.table
        columns = None
        if table is not None:
            column_indices = np.arange(
                0, table.shape[1], 1 + table.shape[1] // _MOST_COLUMNS
            )
            columns = np.column_stack(
                [
                    np.zeros((len(test_rows), 0)),
                    *map(_numbers, table.iloc[:, column_indices].items()),
                ]
            )
        tell_of_signs(
            None if columns is None else columns[order],
            predicted.codes[order],
            predicted.guess[order],
        )


def _numbers(named: tuple[Any, pd.Series[Any]]) -> Floats:
    """Return a number for each cell of a column, the same for equal ones.

    Texts have their place in the alphabet.
    """
    cells = cells_of(named[1], str(named[0]))
    if cells.values is not None:
        return np.nan_to_num(cells.values)
    return np.append(np.argsort(np.argsort(cells.names or [])), -1.0)[cells.codes]


def constant_of(work: Work) -> tuple[dict[str, Any], float | None]:
    """Compare a model with a constant that ignores the features.

    Returns:
        The constant's metrics with ``learnt`` and ``ahead``, and the number that it
        predicts (None for classes). It is taken from the training rows, or without them
        from the test rows, where it is a little better than it could be.
    """
    model = work.model
    predicted = work.predictions
    source = work.learned
    learned = predicted.codes if source is work.test else model.codes(source)
    weights = None if source.weights is None else source.weights.to_numpy()
    training_mean = None
    if model.task.numeric:
        training_mean = float(
            np.average(np.asarray(learned, dtype=np.float64), weights=weights)
        )
        guess = np.full(len(work.test), training_mean)
    else:
        known_codes = np.asarray(learned, dtype=np.int64)
        total_weight = len(learned) if weights is None else weights.sum()
        weights = None if weights is None else weights[known_codes >= 0]
        shares = (
            np.bincount(known_codes[known_codes >= 0], weights, len(model.classes))
            / total_weight
        )
        guess = np.tile(shares, (len(work.test), 1))
    names = ("accuracy",) if model.labels_only else ()
    own_predictions = predicted.scored
    constant = replace(predicted.scored, guess=guess, called=None)
    ahead = None
    loss = getattr(getattr(model, "request", None), "loss", None)
    if loss is None or not loss.of_quantile:  # which squared errors do not judge
        ahead = skill(
            model.task,
            own_predictions,
            constant,
            seed=work.budget.seed,
            names=names,
            dependence=work.test.dependence,
        )
    return {**model.measure(guess, work.test), **(ahead or {})}, training_mean


#: The threshold of the published example is 0.5 of the logit.
_PUBLISHED_LOGIT = 0.5
_MEASURES = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")


def _decision_of(model: EvaluatedModel) -> dict[str, Any]:
    """Return what ``metrics.json`` says of a model's threshold, or nothing."""
    decision = model.decision
    if decision is None:
        return {}
    facts = {**decision.to_dict(), "positive": plain(model.labels[decision.positive])}
    return {"decision": facts}


def _cuts(
    work: Work, validation: Predictions, test: Predictions, decision: Decision
) -> dict[str, Any] | None:
    """Measure several thresholds of the positive class's probability on the test rows.

    Some are chosen on the validation rows. With a weighted loss, an even probability of
    the network is not an even chance in the data: weight w for the positive class
    shifts the log odds by log w (Elkan 2001, theorem 2). The published example uses a
    logit of 0.5, which is neither that nor the middle.

    Returns None if all rows have one class, or weights.
    """
    class_index = decision.positive
    sides = []
    for predictions in (validation, test):
        sides.append(
            (predictions.codes == class_index, predictions.guess[:, class_index])
        )
    if work.test.weights is not None or any(
        len(np.unique(member)) < 2 for member, _ in sides
    ):
        return None
    (held_member, held_chances), (member, chances) = sides
    named = {"half": HALF, **_of_weighted_loss(work.model, class_index)}
    criterion_words: dict[Criterion, str] = {
        "f1": "F1",
        "balanced_accuracy": "balanced accuracy",
    }
    for criterion, words in criterion_words.items():
        best_threshold = choose_threshold(
            held_member, held_chances, by=criterion, positive=True
        )
        named[f"best {words} on held-out rows"] = float(
            np.clip(best_threshold.value, 0, 1)
        )
    named[_words_of(decision, work.model.labels[class_index])] = decision.threshold

    def line(name: str, value: float | None, scores: Floats) -> dict[str, Any]:
        if value is None:
            line_cut = HALF
        else:
            line_cut = value
        measured = metrics_at(member, scores, line_cut, positive=True)
        shown = {metric: measured[metric] or 0.0 for metric in _MEASURES}
        return {"cut": name, "threshold": value, **shown}

    # The majority class of the training rows: the best guess without a model.
    assert work.train is not None
    usual = float(np.mean(work.model.codes(work.train) == class_index)) > 0.5
    majority = np.full(len(member), float(usual))
    return {
        "positive": work.model.labels[class_index],
        "share_positive": float(member.mean()),
        "held_out_rows": len(held_member),
        "cost": None if decision.cost is None else list(decision.cost),
        "test": [
            *(
                line(threshold_name, value, chances)
                for threshold_name, value in named.items()
            ),
            line("majority class, no model", None, majority),
        ],
    }


def _of_weighted_loss(model: EvaluatedModel, class_index: int) -> dict[str, float]:
    """Return the thresholds of a network whose probabilities are as its loss has them,
    by name.
    """
    weights = getattr(model.model, "class_weights_", None)
    if weights is None or model.model.calibration_.method is not None:
        return {}
    threshold_cuts = {}
    if model.has_one_logit:
        # The logit is that of the second class.
        if class_index == 1:
            logit = _PUBLISHED_LOGIT
        else:
            logit = -_PUBLISHED_LOGIT
        threshold_cuts["as published"] = float(special.expit(logit))
    if weights[0] != weights[1]:
        share = float(weights[class_index] / weights.sum())
        threshold_cuts["corrected for the class weight"] = share
    return threshold_cuts


def _words_of(decision: Decision, label: Any) -> str:
    """Name the threshold of a model."""
    if decision.cost is None:
        return "this model"
    alarm, missed_cost = decision.cost
    return (
        f"this model: least cost ({alarm:g} for a false {label}, {missed_cost:g} for a "
        "missed one)"
    )
