"""Where to cut a score: the threshold that is best for F1, balanced accuracy or a cost; classes never predicted.

With few rows of one class the cut at one half is rarely the right one. Choose it on rows held out of training (on
training rows a network is too sure of itself), and judge it on others again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from permgrad.base.checks import as_numbers, check_choice, is_finite_number, is_number
from permgrad.base.errors import InputError, listed, shown, unknown
from permgrad.base.files import plain

Criterion = Literal["f1", "balanced_accuracy", "cost"]
Floats = npt.NDArray[np.float64]

CRITERIA: tuple[Criterion, ...] = get_args(Criterion)
OUTCOMES = ("false_positive", "false_negative", "true_positive", "true_negative")


@dataclass(frozen=True)
class Threshold:
    """A cut, and what it makes of the ``rows`` it was chosen on by a criterion, see ``metrics_at``.

    A row is called positive if its score is at least ``value``; inf: none is, −inf: all are.
    """

    value: float
    by: Criterion
    score: float
    positive: Any
    rows: int
    cost: Mapping[str, float]
    metrics: Mapping[str, Any]

    def apply(self, scores: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Say for each score ``(rows,)`` whether its row is called positive."""
        return _scores(scores) >= self.value

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
    """Choose the cut of the scores that is best for a criterion, exactly, over all cuts; of equals the highest.

    ``y`` holds two labels ``(rows,)``, of which the second of the sorted ones is positive unless another is named;
    scores ``(rows,)`` are larger for it. ``by="cost"`` is the sum over all rows of what outcomes cost, those left out
    nothing: ``{"false_negative": 5, "false_positive": 1}``, also true ones; a gain is below 0.

    Examples:
        >>> chosen = choose_threshold([0, 0, 1, 0, 1], [0.1, 0.2, 0.4, 0.6, 0.9], by="balanced_accuracy")
        >>> round(chosen.value, 3), round(chosen.score, 3), chosen.metrics["recall"]
        (0.3, 0.833, 1.0)
    """
    check_choice("by", by, CRITERIA)
    prices = _checked_cost(by, cost)
    truth, numbers, label = _checked(y, scores, positive)
    order = np.argsort(-numbers, kind="stable")
    falling = numbers[order]
    # The last row of each run of equal scores: a cut below it, never within.
    last = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(falling) - 1)
    high, low = falling[last[:-1]], falling[last[:-1] + 1]
    middle = low / 2 + high / 2
    # Between neighbouring floats, and where halves underflow, there is no middle: the upper one is the cut.
    middle = np.where((middle > low) & (middle <= high), middle, high)
    values = np.concatenate([[math.inf], middle, [-math.inf]])
    hits = np.concatenate([[0], np.cumsum(truth[order])[last]])
    alarms = np.concatenate([[0], last + 1]) - hits
    measures = _measures(truth, hits, alarms, prices)
    goodness = -measures["cost"] if by == "cost" else measures[by]
    best = int(np.argmax(goodness))
    score = float(measures[by][best]) + 0.0
    return Threshold(float(values[best]), by, score, label, len(truth), prices, _at(measures, best))


def metrics_at(
    y: npt.ArrayLike,
    scores: npt.ArrayLike,
    value: float,
    cost: Mapping[str, float] | None = None,
    *,
    positive: Any = None,
) -> dict[str, Any]:
    """Return what a cut makes of some rows; ``y``, ``scores``, ``cost`` and ``positive`` as in ``choose_threshold``.

    ``precision`` is None if no row is called positive, ``called`` is the share of rows that are; rows of the confusion
    matrix are the truth, the positive class last.
    """
    if not is_number(value):
        raise InputError(f"a threshold must be a number, however: value={shown(value)}; pass for example 0.5")
    truth, numbers, _ = _checked(y, scores, positive)
    called = numbers >= value
    prices = _checked_cost("cost", cost) if cost is not None else {}
    hits, alarms = (np.array([int((rows & called).sum())]) for rows in (truth, ~truth))
    return _at(_measures(truth, hits, alarms, prices), 0)


# ---- classes that are never predicted --------------------------------------------------------------------------------
def never_predicted(
    classes: Sequence[Any] | npt.NDArray[Any],
    validation: tuple[npt.NDArray[Any], npt.NDArray[np.float64]],
    test: tuple[npt.NDArray[Any], npt.NDArray[np.float64]],
) -> list[dict[str, Any]]:
    """Return facts about each class that some test rows have and no test row is predicted to have, the largest first.

    Rows are truth ``(rows,)`` and probabilities ``(rows, classes)``. ``threshold`` is the best for balanced accuracy on
    the validation rows, None where they do not tell; ``found`` and ``called`` count the rows that it calls so.
    """
    missed: list[dict[str, Any]] = []
    predicted = np.unique(test[1].argmax(axis=1)) if len(test[0]) else ()
    for place, label in enumerate(classes):
        members, held = test[0] == label, validation[0] == label
        if place in predicted or not members.any():
            continue
        facts = {"class": plain(label), "rows": int(members.sum()), "threshold": None, "found": None, "called": None}
        if held.any() and not held.all():
            cut = choose_threshold(held, validation[1][:, place], by="balanced_accuracy", positive=True)
            called = cut.apply(test[1][:, place])
            if np.isfinite(cut.value):
                facts |= {"threshold": cut.value, "found": int((called & members).sum()), "called": int(called.sum())}
        missed.append(facts)
    return sorted(missed, key=lambda facts: -facts["rows"])


def never_predicted_words(missed: Sequence[dict[str, Any]], most: int = 3) -> list[str]:
    """Return a sentence or two for each class that is never predicted; of many classes for the largest."""
    sentences = []
    for facts in missed[:most]:
        label = repr(str(facts["class"]))
        words = f"The model finds 0 of {facts['rows']:,} {label}: no test row is predicted so."
        if facts["threshold"] is not None and facts["found"]:
            precision = 100 * facts["found"] / facts["called"]
            words += (
                f" With a threshold of {facts['threshold']:.3g} for its probability, the best for balanced accuracy on "
                f"validation rows, it finds {facts['found']:,} of them; {precision:.0f} % of the rows predicted "
                f"{label} are then right."
            )
        sentences.append(words)
    if len(missed) > most:
        more = [str(facts["class"]) for facts in missed[most:]]
        sentences.append(f"It never predicts {len(more)} more classes either: {listed(more, show=repr)}.")
    return sentences


# ---- the parts -------------------------------------------------------------------------------------------------------
def _measures(truth: npt.NDArray[np.bool_], hits: Any, alarms: Any, cost: Mapping[str, float]) -> dict[str, Any]:
    """Return what cuts make of the rows, see ``metrics_at``, from the rows that they call positive ``(cuts,)``."""
    positives, rows = int(truth.sum()), len(truth)
    negatives = rows - positives
    missed, passed = positives - hits, negatives - alarms
    counts = dict(zip(OUTCOMES, (alarms, missed, hits, passed), strict=True))
    with np.errstate(invalid="ignore"):
        precision = hits / (hits + alarms)
    measures = {
        "accuracy": (hits + passed) / rows,
        # Over one denominator, so that equal values are equal to the last bit.
        "balanced_accuracy": (hits * negatives + passed * positives) / (2 * positives * negatives),
        "precision": precision,
        "recall": hits / positives,
        "specificity": passed / negatives,
        "f1": 2 * hits / (positives + hits + alarms),
        "called": (hits + alarms) / rows,
        "confusion_matrix": np.stack([passed, alarms, missed, hits], axis=1).reshape(-1, 2, 2),
    }
    return measures | ({"cost": sum(price * counts[name] for name, price in cost.items())} if cost else {})


def _at(measures: Mapping[str, Any], place: int) -> dict[str, Any]:
    return {name: plain(values[place]) for name, values in measures.items()}


def _checked(y: npt.ArrayLike, scores: npt.ArrayLike, positive: Any) -> tuple[npt.NDArray[np.bool_], Floats, Any]:
    """Return which rows are positive, their scores, and the label of the positive class."""
    values = np.asarray(y)
    if values.ndim != 1:
        raise InputError(f"y must have shape (rows,), however: its shape is {values.shape}")
    try:
        labels = sorted(set(values.tolist()))
    except TypeError as error:
        raise InputError(f"y must hold two labels of one type, however: {error}; correct them") from error
    if len(labels) != 2:
        raise InputError(
            f"y must hold two labels, however: it holds {len(labels)} ({shown(labels[:5])}); pass rows of both classes"
        )
    if positive is None:
        positive = labels[1]
    try:
        is_label = positive in labels
    except (TypeError, ValueError, RuntimeError):  # arrays, tensors and pandas' NA are equal to nothing
        is_label = False
    if not is_label:
        raise unknown("positive", positive, list(map(str, labels)))
    numbers = _scores(scores)
    if len(values) != len(numbers):
        raise InputError(f"y and scores must have as many rows, however: {len(values)} and {len(numbers)}")
    return np.asarray(values == positive, dtype=bool), numbers, positive


def _scores(scores: npt.ArrayLike) -> Floats:
    numbers = as_numbers("scores", scores, "pass predict_proba(X)[:, 1]")
    if numbers.ndim != 1:
        raise InputError(
            f"scores must have shape (rows,), however: its shape is {numbers.shape}; pass predict_proba(X)[:, 1]"
        )
    if not np.isfinite(numbers).all():
        raise InputError(
            f"scores must be finite, however: {int((~np.isfinite(numbers)).sum())} of {len(numbers)} are not; "
            "leave those rows out"
        )
    return numbers


def _checked_cost(by: str, cost: Mapping[str, float] | None) -> dict[str, float]:
    if by != "cost":
        if cost is not None:
            raise InputError(f"cost is used with by='cost' only, however: by={by!r}; leave one of them out")
        return {}
    if not isinstance(cost, Mapping) or not cost:
        raise InputError(
            f"by='cost' needs what outcomes cost, however: cost={shown(cost)}; "
            "pass for example cost={'false_negative': 5, 'false_positive': 1}"
        )
    for outcome, price in cost.items():
        check_choice("outcome in cost", outcome, OUTCOMES)
        if not is_finite_number(price):
            raise InputError(f"a cost must be a finite number, however: cost[{outcome!r}]={shown(price)}; correct it")
    return {str(outcome): float(price) for outcome, price in cost.items()}
