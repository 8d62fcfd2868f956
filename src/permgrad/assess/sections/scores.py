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
from permgrad.assess.sections.thresholds import cuts
from permgrad.assess.work import Work
from permgrad.attribution.request.related import tell_of_signs
from permgrad.base.arrays import Floats
from permgrad.base.files import plain
from permgrad.evaluation.calibration import score_intervals
from permgrad.evaluation.class_order import classes_in_order, with_kappa
from permgrad.evaluation.levels import cells_of
from permgrad.evaluation.skill import against_others, skill
from permgrad.evaluation.thresholds import never_predicted

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
        metrics["validation"] = model.measure(held_predicted.guess, held, held_predicted.called)
    counts["test"] = len(test)
    metrics["test"] = model.measure(predicted.guess, test, predicted.called)
    if model.classes:
        # A threshold is found by counts of rows.
        judged = (held, held_predicted) if test.weights is None else (test.take(none), predicted.take(none))
        first, second = ((model.targets(rows), told.guess) for rows, told in (judged, (test, predicted)))
        missed = never_predicted(np.asarray(model.labels), first, second, predicted.called)
        metrics |= {"positive": plain(model.positive_label), "never_predicted": missed}
    metrics |= {name: value for name in ("raised", "blend") if (value := getattr(model.model, f"{name}_", None))}
    _tell_of_signs(work)
    guesses: dict[str, npt.NDArray[Any]] = {}
    with work.budget.clock.whole.part("baselines"):
        metrics["baselines"] = {} if work.fit_others is None else work.fit_others(guesses)
    metrics["constant"], mean = constant_of(work)
    if predicted.inside is not None:
        metrics["intervals"] = score_intervals(
            predicted.codes, predicted.inside, COVERAGE, classes=predicted.classes, dependence=test.dependence
        )
    if guesses:
        competitors = {name: replace(predicted.scored, guess=guess, called=None) for name, guess in guesses.items()}
        compared = against_others(predicted.scored, competitors, seed=work.budget.seed, dependence=test.dependence)
        for name, facts in compared.items():
            metrics["baselines"][name]["ahead"] = facts
    if work.validation is not None and len(model.classes) == 2 and (model.has_one_logit or work.budget.cost):
        thresholds = cuts(work, (held, held_predicted), (test, predicted))
        metrics |= {} if thresholds is None else {"cuts": thresholds}
    _judge_by_order(work, metrics, (held_predicted, predicted))
    if predicted.training_mean is None and mean is not None:
        predicted = replace(predicted, training_mean=mean)
    work.put(metrics=metrics, **_of_rows(test))
    work.content.predictions, work.content.guesses = predicted, guesses
    work.content.positive = metrics.get("positive")


def _of_rows(test: Rows) -> dict[str, Any]:
    """Return what is kept of the test rows: which depend on each other, and their weights."""
    kept: dict[str, Any] = {} if test.dependence is None else {"dependence": test.dependence}
    if (weights := test.weights) is not None:
        kept["weights"] = {"column": str(weights.name or "sample_weight"), "weights": weights.tolist()}
    return kept


def _judge_by_order(work: Work, metrics: dict[str, Any], told: Sequence[Predictions]) -> None:
    """Add to the metrics whether classes are in an order (``in_order``), and then every model's quadratic kappa."""
    model, rows = work.model, work.test if work.train is None else work.train
    if not model.classes:
        return
    held = np.concatenate([one.codes for one in told]), np.concatenate([one.guess for one in told])
    order = classes_in_order(model.labels, held, (rows.table, model.codes(rows)))
    if order is None:
        return
    metrics["in_order"] = order
    for part in {"validation", "test", "constant"} & set(metrics):
        metrics[part] = with_kappa(metrics[part])
    metrics["baselines"] = {name: with_kappa(one) for name, one in metrics["baselines"].items()}


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
            columns = np.column_stack([np.zeros((len(test), 0)), *map(_numbers, table.iloc[:, some].items())])
        tell_of_signs(None if columns is None else columns[order], predicted.codes[order], predicted.guess[order])


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
        known, whole = np.asarray(learned, dtype=np.int64), len(learned) if weights is None else weights.sum()
        weights = None if weights is None else weights[known >= 0]
        shares = np.bincount(known[known >= 0], weights, len(model.classes)) / whole
        guess = np.tile(shares, (len(work.test), 1))
    names = ("accuracy",) if model.labels_only else ()
    ours, constant = predicted.scored, replace(predicted.scored, guess=guess, called=None)
    ahead, loss = None, str(getattr(getattr(model, "request", None), "loss", ""))
    if not loss.startswith("quantile"):  # which squared errors do not judge
        ahead = skill(model.task, ours, constant, seed=work.budget.seed, names=names, dependence=work.test.dependence)
    return {**model.measure(guess, work.test), **(ahead or {})}, mean
