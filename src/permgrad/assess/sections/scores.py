"""How good predictions are, compared with a constant and with other models on the same test rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.assess.predictions import COVERAGE, Predictions
from permgrad.assess.rows import Rows
from permgrad.assess.work import Work
from permgrad.attribution.request.related import tell_of_signs
from permgrad.base.arrays import Floats
from permgrad.base.files import plain
from permgrad.evaluation.calibration import score_intervals
from permgrad.evaluation.class_order import classes_in_order, with_kappa
from permgrad.evaluation.levels import cells_of
from permgrad.evaluation.skill import against_others, skill
from permgrad.evaluation.thresholds import (
    Criterion,
    choose_threshold,
    metrics_at,
    never_predicted,
)

#: Columns that are looked at for rows that repeat, evenly over all.
_MOST_COLUMNS = 50


def scores(work: Work) -> None:
    """Fill ``metrics``, ``predictions`` and ``guesses``."""
    model, predicted, test = work.model, work.predictions, work.test
    none = np.zeros(0, dtype=np.int64)
    held, held_predicted = test.take(none), predicted.take(none)
    counts = {"train": None if work.train is None else len(work.train)}
    metrics: dict[str, Any] = {"task": model.task, "rows": counts}
    metrics |= {"model": model.subject} if model.subject else {}
    if work.validation is not None:
        held, held_predicted = work.validation, model.predict(work.validation)
        counts["validation"] = len(held)
        metrics["validation"] = model.measure(
            held_predicted.guess, held, held_predicted.called
        )
    counts["test"] = len(test)
    metrics["test"] = model.measure(predicted.guess, test, predicted.called)
    if model.classes:
        # A threshold is found by counts of rows.
        judged = (
            (held, held_predicted)
            if test.weights is None
            else (test.take(none), predicted.take(none))
        )
        first, second = (
            (model.targets(rows), told.guess)
            for rows, told in (judged, (test, predicted))
        )
        missed = never_predicted(
            np.asarray(model.labels), first, second, predicted.called
        )
        metrics |= {"positive": plain(model.positive_label), "never_predicted": missed}
    metrics |= {
        name: value
        for name in ("raised", "branches")
        if (value := getattr(model.model, f"{name}_", None))
    }
    _tell_of_signs(work)
    guesses: dict[str, npt.NDArray[Any]] = {}
    with work.budget.clock.whole.part("baselines"):
        metrics["baselines"] = (
            {} if work.fit_others is None else work.fit_others(guesses)
        )
    metrics["constant"], mean = constant_of(work)
    if predicted.inside is not None:
        metrics["intervals"] = score_intervals(
            predicted.codes,
            predicted.inside,
            COVERAGE,
            classes=predicted.classes,
            dependence=test.dependence,
        )
    competitors = {
        name: replace(predicted.scored, guess=guess, called=None)
        for name, guess in guesses.items()
    }
    compared = against_others(
        predicted.scored, competitors, seed=work.budget.seed, dependence=test.dependence
    )
    for name, facts in compared.items():
        metrics["baselines"][name]["ahead"] = facts
    if (
        work.validation is not None
        and len(model.classes) == 2
        and (model.has_one_logit or work.budget.cost)
    ):
        thresholds = _cuts(work, (held, held_predicted), (test, predicted))
        metrics |= {} if thresholds is None else {"cuts": thresholds}
    if len(work.model.classes) > 2:
        _judge_by_order(work, metrics, (held_predicted, predicted))
    if predicted.training_mean is None and mean is not None:
        predicted = replace(predicted, training_mean=mean)
    work.put(metrics=metrics, **_of_rows(test))
    work.content.predictions, work.content.guesses = predicted, guesses
    work.content.positive = metrics.get("positive")


def _of_rows(test: Rows) -> dict[str, Any]:
    """Return what is kept of the test rows: which depend on each other, and their weights."""
    kept: dict[str, Any] = (
        {} if test.dependence is None else {"dependence": test.dependence}
    )
    if (weights := test.weights) is not None:
        kept["weights"] = {
            "column": str(weights.name or "sample_weight"),
            "weights": weights.tolist(),
        }
    return kept


def _judge_by_order(
    work: Work, metrics: dict[str, Any], told: Sequence[Predictions]
) -> None:
    """Add to the metrics whether classes are in an order (``in_order``), and then every model's quadratic kappa."""
    model, rows = work.model, work.test if work.train is None else work.train
    held = (
        np.concatenate([one.codes for one in told]),
        np.concatenate([one.guess for one in told]),
    )
    order = classes_in_order(model.labels, held, (rows.table, model.codes(rows)))
    if order is None:
        return
    metrics["in_order"] = order
    for part in {"validation", "test", "constant"} & set(metrics):
        metrics[part] = with_kappa(metrics[part])
    metrics["baselines"] = {
        name: with_kappa(one) for name, one in metrics["baselines"].items()
    }


def _tell_of_signs(work: Work) -> None:
    """Warn of test rows that seem to depend on each other in the order of their file, if they stand in another.

    Their own order is looked at where they are explained.
    """
    test, predicted = work.test, work.predictions
    if test.dependence is None and (np.diff(test.numbers) < 0).any():
        order, table = np.argsort(test.numbers), test.table
        columns = None
        if table is not None:
            some = np.arange(0, table.shape[1], 1 + table.shape[1] // _MOST_COLUMNS)
            columns = np.column_stack(
                [np.zeros((len(test), 0)), *map(_numbers, table.iloc[:, some].items())]
            )
        tell_of_signs(
            None if columns is None else columns[order],
            predicted.codes[order],
            predicted.guess[order],
        )


def _numbers(named: tuple[Any, pd.Series[Any]]) -> Floats:
    """Return a number for each cell of a column, the same for equal ones. Texts have their place in the alphabet."""
    cells = cells_of(named[1], str(named[0]))
    if cells.values is not None:
        return np.nan_to_num(cells.values)
    return np.append(np.argsort(np.argsort(cells.names or [])), -1.0)[cells.codes]


def constant_of(work: Work) -> tuple[dict[str, Any], float | None]:
    """Compare a model with a constant that ignores the features.

    Returns:
        The constant's metrics with ``learnt`` and ``ahead``, and the number that it predicts (None for classes). It is
        taken from the training rows, or without them from the test rows, where it is a little better than it could be.
    """
    model, predicted = work.model, work.predictions
    source = work.learned
    learned = predicted.codes if source is work.test else model.codes(source)
    weights, mean = None if source.weights is None else source.weights.to_numpy(), None
    if model.task == "regression":
        mean = float(np.average(np.asarray(learned, dtype=np.float64), weights=weights))
        guess = np.full(len(work.test), mean)
    else:
        known, whole = (
            np.asarray(learned, dtype=np.int64),
            len(learned) if weights is None else weights.sum(),
        )
        weights = None if weights is None else weights[known >= 0]
        shares = np.bincount(known[known >= 0], weights, len(model.classes)) / whole
        guess = np.tile(shares, (len(work.test), 1))
    names = ("accuracy",) if model.labels_only else ()
    ours, constant = (
        predicted.scored,
        replace(predicted.scored, guess=guess, called=None),
    )
    ahead, loss = None, str(getattr(getattr(model, "request", None), "loss", ""))
    if not loss.startswith("quantile"):  # which squared errors do not judge
        ahead = skill(
            model.task,
            ours,
            constant,
            seed=work.budget.seed,
            names=names,
            dependence=work.test.dependence,
        )
    return {**model.measure(guess, work.test), **(ahead or {})}, mean


#: The threshold of the published example, on the logit.
_PUBLISHED_CUT = 0.5
_OUTCOMES = ("false_positive", "false_negative")
_MEASURES = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")


def _cuts(
    work: Work, validation: tuple[Rows, Predictions], test: tuple[Rows, Predictions]
) -> dict[str, Any] | None:
    """Measure every threshold of the logit on the test rows. Thresholds are chosen on the validation rows.

    With a weighted loss the network's logit is not the log odds of the data: weight w for the second class shifts it by
    log w (Elkan 2001, theorem 2). The published example uses the threshold 0.5, which is neither that nor the middle.
    All these are reported, with thresholds chosen on held-out rows.

    Returns None if all rows have one class, or weights.
    """
    network, cost = work.model.model, work.budget.cost
    classes, positive = work.model.classes, str(work.model.positive)
    place = classes.index(positive) if positive in classes else 1
    label = work.model.labels[place]
    logits: dict[str, Floats] = {}
    for part, (rows, _) in (("validation", validation), ("test", test)):
        outputs = np.asarray(
            network.predict_encoded(rows.inputs.encoded), dtype=np.float64
        )
        # The log odds of the positive class, as the network returns them.
        second = (
            outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]
        )
        logits[part] = second if place == 1 else -second
    truth = {"validation": validation[1].codes == place, "test": test[1].codes == place}
    if work.test.weights is not None or any(
        len(np.unique(positive)) < 2 for positive in truth.values()
    ):
        return None
    weights = (
        np.ones(2)
        if network.class_weights_ is None
        else np.asarray(network.class_weights_, dtype=np.float64)
    )
    shift = float(np.log(weights[place]) - np.log(weights[1 - place]))
    named_cuts: list[tuple[str, float]] = [
        ("logit 0", 0.0),
        ("logit 0.5, as published", _PUBLISHED_CUT),
    ]
    if shift:
        named_cuts.append((f"logit {shift:.3f}: corrected for the class weight", shift))
    aims: dict[Criterion, str] = {"f1": "F1", "balanced_accuracy": "balanced accuracy"}
    aims |= (
        {}
        if cost is None
        else {
            "cost": f"cost ({cost[0]:g} for a false {label}, {cost[1]:g} for a missed one)"
        }
    )
    for aim, words in aims.items():
        prices = (
            dict(zip(_OUTCOMES, cost, strict=False))
            if aim == "cost" and cost is not None
            else None
        )
        chosen = choose_threshold(
            truth["validation"],
            logits["validation"],
            by=aim,
            cost=prices,
            positive=True,
        )
        named_cuts.append((f"best {words} on held-out rows", chosen.value))

    def line(name: str, value: float | None, scores: Floats) -> dict[str, Any]:
        measured = metrics_at(
            truth["test"], scores, 0.5 if value is None else value, positive=True
        )
        shown = {metric: measured[metric] or 0.0 for metric in _MEASURES}
        return {
            "cut": name,
            "logit": value if value is not None and np.isfinite(value) else None,
            **shown,
        }

    # The majority class of the training rows: the best guess without a model.
    assert work.train is not None
    usual = float(np.mean(work.model.codes(work.train) == place)) > 0.5
    majority = line(
        "majority class, no model", None, np.full(len(truth["test"]), float(usual))
    )
    return {
        "positive": label,
        "share_positive": float(truth["test"].mean()),
        "shift": shift,
        "held_out_rows": len(truth["validation"]),
        "cost": None if cost is None else list(cost),
        "test": [
            *(line(name, value, logits["test"]) for name, value in named_cuts),
            majority,
        ],
    }
