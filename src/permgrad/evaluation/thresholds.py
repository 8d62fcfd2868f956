"""Choose the threshold of a score by F1, balanced accuracy or a cost, and report
classes that are never predicted.

With few rows of one class, a threshold of one half is rarely right. Choose it on rows
held out of training, because a network is overconfident on training rows. Evaluate it
on other rows again.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from permgrad.base.arrays import Array, Booleans, Floats, Integers
from permgrad.base.checks import as_numbers, check_choice, is_finite_number, is_number
from permgrad.base.errors import Fault, InputError, refusing, shown, unknown
from permgrad.base.files import plain
from permgrad.models.decision import HALF, every_cut

Criterion = Literal["f1", "balanced_accuracy", "cost"]

CRITERIA: tuple[Criterion, ...] = get_args(Criterion)
OUTCOMES = ("false_positive", "false_negative", "true_positive", "true_negative")


@dataclass(frozen=True)
class Threshold:
    """A threshold, the criterion it was chosen by, and its metrics on the ``rows`` it
    was chosen on (``metrics_at``).

    A row is predicted positive if its score is at least ``value``. With inf none is,
    with −inf all are.
    """

    value: float
    by: Criterion
    score: float
    positive: Any
    rows: int
    cost: Mapping[str, float]
    metrics: Mapping[str, Any]

    def apply(self, scores: npt.ArrayLike) -> Booleans:
        """Return for each score ``(rows,)`` whether its row is predicted positive."""
        return as_numbers("scores", scores, "pass predict_proba(X)[:, 1]") >= self.value

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**vars(self), "positive": plain(self.positive)}


def choose_threshold(
    y: npt.ArrayLike,
    scores: npt.ArrayLike,
    by: Criterion = "f1",
    cost: Mapping[str, float] | None = None,
    *,
    positive: Any = None,
) -> Threshold:
    """Return the best threshold of all for a criterion, the highest if several are
    equally good.

    Args:
        y: Two labels, ``(rows,)``. The second of the sorted ones is positive.
        scores: ``(rows,)``, larger for the positive class.
        by: The criterion.
        cost: For ``by="cost"``: of each outcome, such as ``{"false_negative": 5,
            "false_positive": 1}``. Others cost nothing, and a gain is below 0.
        positive: Another positive label.

    Raises:
        InputError: y does not hold two labels, or scores are not as many numbers.

    Examples:
        >>> chosen = choose_threshold(
        ...     [0, 0, 1, 0, 1], [0.1, 0.2, 0.4, 0.6, 0.9], by="balanced_accuracy"
        ... )
        >>> round(chosen.value, 3), round(chosen.score, 3), chosen.metrics["recall"]
        (0.3, 0.833, 1.0)
    """
    check_choice("by", by, CRITERIA)
    if by != "cost" and cost is not None:
        raise InputError(
            f"cost= needs by='cost', got by={by!r}",
            "Leave cost= out, or pass by='cost'.",
            "PG006",
        )
    if by == "cost":
        prices = _checked_cost(cost)
    else:
        prices = {}
    truth, numbers, label = _checked(y, scores, positive)
    values, hit_counts, alarms = every_cut(truth, numbers)
    measures = _measures(truth, hit_counts, alarms, prices)
    if by == "cost":
        goodness = -measures["cost"]
    else:
        goodness = measures[by]
    best_index = int(np.argmax(goodness))
    score = float(measures[by][best_index]) + 0.0
    at_best = {}
    for metric_name, of_cuts in measures.items():
        at_best[metric_name] = plain(of_cuts[best_index])
    return Threshold(
        float(values[best_index]), by, score, label, len(truth), prices, at_best
    )


def metrics_at(
    y: npt.ArrayLike,
    scores: npt.ArrayLike,
    value: float,
    cost: Mapping[str, float] | None = None,
    *,
    positive: Any = None,
) -> dict[str, Any]:
    """Return the metrics of a threshold on some rows.

    ``called`` is the share of rows that are predicted positive, and ``precision`` is
    None if there are none. Rows of the confusion matrix are the truth, the positive
    class last.

    Args:
        y: Two labels, ``(rows,)``.
        scores: ``(rows,)``, larger for the positive class.
        value: The threshold.
        cost: Of each outcome, as in ``choose_threshold``.
        positive: The positive label. None: the second of the sorted ones.
    """
    if not is_number(value):
        raise InputError(
            f"The threshold must be a number, got {shown(value)}",
            "Pass for example 0.5.",
            "PG001",
        )
    truth, numbers, _ = _checked(y, scores, positive)
    called = numbers >= value
    if cost is None:
        prices = {}
    else:
        prices = _checked_cost(cost)
    hit_counts = np.array([int((truth & called).sum())])
    alarms = np.array([int((~truth & called).sum())])
    return {
        metric_name: plain(of_cut[0])
        for metric_name, of_cut in _measures(truth, hit_counts, alarms, prices).items()
    }


# ---- classes that are never predicted ------------------------------------------------
def never_predicted(
    classes: Sequence[Any] | Array,
    validation: tuple[Array, Floats],
    test: tuple[Array, Floats],
    called: Array | None = None,
) -> list[dict[str, Any]]:
    """Return facts about each class that occurs in the test rows but is never
    predicted, the largest first.

    Args:
        classes: In the order of probabilities.
        validation: Truth ``(rows,)`` and probabilities ``(rows, classes)`` of the
            validation rows.
        test: The same of the test rows.
        called: The positions of the classes that the model decides for in the test
            rows, ``(rows,)``. None: the most probable ones.

    Returns:
        For each such class: ``threshold``, the best of two classes for balanced
        accuracy on the validation rows, or None if they cannot determine it;
        ``called``, how many rows it predicts as the class; and ``found``, how many of
        those are right.
    """
    missed: list[dict[str, Any]] = []
    predicted = (
        np.unique(test[1].argmax(axis=1) if called is None else called)
        if len(test[0])
        else ()
    )
    for class_index, label in enumerate(classes):
        members = test[0] == label
        held_members = validation[0] == label
        if class_index in predicted or not members.any():
            continue
        facts = {
            "class": plain(label),
            "rows": int(members.sum()),
            "threshold": None,
            "found": None,
            "called": None,
        }
        if (
            len(classes) == 2 and held_members.any() and not held_members.all()
        ):  # a threshold decides between two
            best_cut = choose_threshold(
                held_members,
                validation[1][:, class_index],
                by="balanced_accuracy",
                positive=True,
            )
            called = best_cut.apply(test[1][:, class_index])
            if np.isfinite(best_cut.value):
                facts |= {
                    "threshold": best_cut.value,
                    "found": int((called & members).sum()),
                    "called": int(called.sum()),
                }
        missed.append(facts)
    return sorted(missed, key=lambda facts: -facts["rows"])


def operating_points(
    positive: npt.ArrayLike,
    scores: npt.ArrayLike,
    most: int = 300,
    *,
    start: float = HALF,
) -> dict[str, Any]:
    """Return the counts at thresholds of a probability, from the highest to the lowest,
    at most about so many.

    ``positive`` ``(rows,)`` tells which rows are positive. The result has ``rows,
    positives`` and for each threshold its ``value`` (at the ends 1 and 0), ``called``,
    the rows predicted positive, ``hits``, those of them that are, and ``least``, the
    lowest probability of a row predicted positive (1 if there is none). ``start`` is
    the position of the threshold ``start``. If there are more thresholds, half of them
    are evenly spread over the rows, half over the positives, with those of 0.01, 0.02 …
    0.99 and that of the largest F1.

    Examples:
        >>> points = operating_points([False, True, True], [0.2, 0.6, 0.9])
        >>> points["called"], points["hits"], points["value"], points["start"]
        ([0, 1, 2, 3], [0, 1, 2, 2], [1.0, 0.75, 0.4, 0.0], 2)
    """
    truth = np.asarray(positive, dtype=bool)
    numbers = as_numbers("scores", scores, "pass predict_proba(X)[:, 1]")
    if not len(truth):
        return {
            "rows": 0,
            "positives": 0,
            "value": [],
            "called": [],
            "hits": [],
            "least": [],
            "start": 0,
        }
    values, hit_counts, alarms = every_cut(truth, numbers)
    called = hit_counts + alarms
    start_index = int(np.searchsorted(called, np.count_nonzero(numbers >= start)))
    cut_indices = np.arange(len(values))
    if len(values) > most:
        cut_indices = _some_cuts(
            truth, numbers, (hit_counts, called), start_index, most
        )
    least = np.append(1.0, -np.sort(-numbers)[called[1:] - 1])
    return {
        "rows": len(truth),
        "positives": int(truth.sum()),
        "value": np.clip(values[cut_indices], 0, 1).tolist(),
        "called": called[cut_indices].tolist(),
        "hits": hit_counts[cut_indices].tolist(),
        "least": np.clip(least[cut_indices], 0, 1).tolist(),
        "start": int(np.searchsorted(cut_indices, start_index)),
    }


def top_rows(
    positive: npt.ArrayLike, scores: npt.ArrayLike, percents: Sequence[int]
) -> list[dict[str, Any]]:
    """Return what is found among so many per cent of the rows, those of the highest
    scores.

    Parts of rows are counted as ``rows``. Of equal scores at the edge,
    ``hits`` has the mean over every choice among them, as the metric ``lift`` has.
    ``precision`` and ``recall`` are the shares of ``rows`` and of all positives.

    Args:
        positive: Which rows are positive, ``(rows,)``.
        scores: ``(rows,)``, larger for positive rows.
        percents: Of the rows, from 1 to 100.

    Examples:
        >>> [half] = top_rows([True, False, True, False], [0.9, 0.8, 0.8, 0.1], [50])
        >>> half["rows"], half["hits"], half["precision"], half["recall"]
        (2, 1.5, 0.75, 0.75)
    """
    truth = np.asarray(positive, dtype=bool)
    numbers = as_numbers("scores", scores, "pass predict_proba(X)[:, 1]")
    sorted_scores = -np.sort(-numbers)
    among_top = []
    for row_percent in percents:
        row_count = -(-row_percent * len(truth) // 100)
        above = numbers > sorted_scores[row_count - 1]
        tied = numbers == sorted_scores[row_count - 1]
        free = row_count - int(above.sum())
        hits = float(truth[above].sum() + free * truth[tied].mean())
        among_top.append(
            {
                "percent": row_percent,
                "rows": row_count,
                "hits": hits,
                "precision": hits / row_count,
                "recall": hits / max(int(truth.sum()), 1),
            }
        )
    return among_top


def _some_cuts(
    truth: Booleans,
    numbers: Floats,
    counts: tuple[Floats, Floats],
    half: int,
    most: int,
) -> Integers:
    """Return the cuts that are kept of too many."""
    hits, called = counts
    sides = [count / max(int(count[-1]), 1) for count in (called, hits)]
    even_shares = np.linspace(0, 1, most // 2)
    spread = np.concatenate(
        [np.searchsorted(side, even_shares) for side in sides]
    ).clip(0, len(hits) - 1)
    above = len(numbers) - np.searchsorted(np.sort(numbers), np.arange(1, 100) / 100)
    largest = int(np.argmax(hits / (len(truth[truth]) + called).clip(1)))
    return np.unique(
        np.concatenate(
            [
                spread,
                np.searchsorted(called, above),
                [0, half, largest, len(hits) - 1],
            ]
        )
    )


# ---- the parts -----------------------------------------------------------------------
def _measures(
    truth: Booleans, hits: Any, alarms: Any, cost: Mapping[str, float]
) -> dict[str, Any]:
    """Return the metrics of cuts (``metrics_at``) from their numbers of true and false
    positives ``(cuts,)``.
    """
    positives = int(truth.sum())
    row_count = len(truth)
    negatives = row_count - positives
    missed = positives - hits
    passed = negatives - alarms
    counts = dict(zip(OUTCOMES, (alarms, missed, hits, passed), strict=True))
    with np.errstate(invalid="ignore"):
        precision = hits / (hits + alarms)
    measures = {
        "accuracy": (hits + passed) / row_count,
        # With one denominator, so that equal values are equal to the last bit.
        "balanced_accuracy": (hits * negatives + passed * positives)
        / (2 * positives * negatives),
        "precision": precision,
        "recall": hits / positives,
        "specificity": passed / negatives,
        "f1": 2 * hits / (positives + hits + alarms),
        "called": (hits + alarms) / row_count,
        "confusion_matrix": np.stack([passed, alarms, missed, hits], axis=1).reshape(
            -1, 2, 2
        ),
    }
    return measures | (
        {
            "cost": sum(
                price * counts[outcome_name] for outcome_name, price in cost.items()
            )
        }
        if cost
        else {}
    )


class _CheckedScores(NamedTuple):
    """Scores of two classes.

    Attributes:
        truth: Which rows are positive, ``(rows,)``.
        scores: ``(rows,)``.
        positive: The label of the positive class.
    """

    truth: Booleans
    scores: Floats
    positive: Any


def _checked(y: npt.ArrayLike, scores: npt.ArrayLike, positive: Any) -> _CheckedScores:
    """Return which rows are positive, their scores, and the label of the positive
    class.
    """
    values = np.asarray(y)
    numbers = as_numbers("scores", scores, "pass predict_proba(X)[:, 1]")
    labels: list[Any] = list(
        {
            label_cell if isinstance(label_cell, Hashable) else repr(label_cell)
            for label_cell in values.ravel().tolist()
        }
    )
    _check_cases(values, labels, numbers)
    labels.sort()
    if positive is None:
        positive = labels[1]
    try:
        is_label = positive in labels
    except (
        TypeError,
        ValueError,
        RuntimeError,
    ):  # arrays, tensors and pandas' NA are equal to nothing
        is_label = False
    if not is_label:
        raise unknown("positive", positive, list(map(str, labels)))
    return _CheckedScores(np.asarray(values == positive, dtype=bool), numbers, positive)


@refusing
def _check_cases(
    values: Array, labels: Sequence[Any], numbers: Floats
) -> Iterator[Fault]:
    if values.ndim != 1 or values.shape != numbers.shape:
        problem = (
            f"y and scores must have shape (rows,), got {values.shape} and "
            f"{numbers.shape}"
        )
        yield (
            problem,
            "Pass one label and one score per row, such as predict_proba(X)[:, 1].",
            "PG007",
        )
    if (
        len(labels) != 2
        or len({isinstance(label, (int, float)) for label in labels}) != 1
        or None in labels
    ):
        problem = (
            f"y must hold two labels of one type, got {len(labels)} "
            f"({shown(labels[:5])})"
        )
        yield problem, "Pass rows of both classes.", "PG015"
    if not np.isfinite(numbers).all():
        problem = (
            f"{int((~np.isfinite(numbers)).sum())} of {len(numbers)} scores are "
            "not finite"
        )
        yield problem, "Leave those rows out.", "PG040"


def _checked_cost(cost: Mapping[str, float] | None) -> dict[str, float]:
    if not isinstance(cost, Mapping) or not cost:
        problem_hint = (
            "Pass for example cost={'false_negative': 5, 'false_positive': 1}."
        )
        raise InputError(
            f"by='cost' needs the costs of outcomes, got cost={shown(cost)}",
            hint=problem_hint,
            code="PG005",
        )
    for outcome, price in cost.items():
        check_choice("outcome in cost", outcome, OUTCOMES)
        if not is_finite_number(price):
            problem = f"cost[{outcome!r}] must be a finite number, got {shown(price)}"
            raise InputError(problem, hint="Pass for example 1.", code="PG002")
    return {str(outcome): float(price) for outcome, price in cost.items()}
