"""Where to cut a score: the threshold that is best for F1, balanced accuracy or a cost; classes never predicted.

With few rows of one class the cut at one half is rarely the right one. Choose it on rows held out of training (on
training rows a network is too sure of itself), and judge it on others again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from permgrad.base.checks import as_numbers, check_choice, is_finite_number, is_number
from permgrad.base.errors import InputError, listed, shown, unknown
from permgrad.base.files import plain
from permgrad.base.registry import Registry

Criterion = Literal["f1", "balanced_accuracy", "cost"]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

OUTCOMES = ("false_positive", "false_negative", "true_positive", "true_negative")


@dataclass(frozen=True)
class Cuts:
    """What every cut makes of some rows, from none called positive to all of them; equal scores are never parted.

    Attributes:
        values: a row is called positive if its score is at least this ``(cuts,)``, falling from inf to −inf; each lies
            half way between two scores.
        true_positive: positive rows that are called so ``(cuts,)``.
        false_positive: other rows that are called positive ``(cuts,)``.
        positives: number of positive rows.
        negatives: number of other rows.
    """

    values: Floats
    true_positive: Integers
    false_positive: Integers
    positives: int
    negatives: int


@dataclass(frozen=True)
class Threshold:
    """A cut, and what it makes of the rows it was chosen on.

    Attributes:
        value: a row is called positive if its score is at least this; inf: none is, −inf: all are.
        by: the criterion.
        score: the criterion at the cut.
        positive: label of the positive class.
        metrics: at the cut, as in ``metrics_at``.
        rows: number of rows that it was chosen on.
        cost: the costs, if that is the criterion.
    """

    value: float
    by: Criterion
    score: float
    positive: Any
    metrics: Mapping[str, Any]
    rows: int
    cost: Mapping[str, float] = field(default_factory=dict)

    def apply(self, scores: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Say for each score whether its row is called positive.

        Shape:
            scores ``(rows,)``; result boolean ``(rows,)``.
        """
        return _scores(scores) >= self.value

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "value": self.value,
            "by": self.by,
            "score": self.score,
            "positive": plain(self.positive),
            "rows": self.rows,
            "cost": dict(self.cost),
            "metrics": dict(self.metrics),
        }


#: Every entry: ``(cuts, cost) -> (cuts,)``; larger is better. "cost" is the negative of what is paid.
criteria: Registry[Callable[[Cuts, Mapping[str, float]], Floats]] = Registry("criterion")


@criteria.register("f1")
def _f1(cuts: Cuts, cost: Mapping[str, float]) -> Floats:  # noqa: ARG001 — every criterion has the same signature
    return np.asarray(2 * cuts.true_positive / (cuts.positives + cuts.true_positive + cuts.false_positive))


@criteria.register("balanced_accuracy")
def _balanced_accuracy(cuts: Cuts, cost: Mapping[str, float]) -> Floats:  # noqa: ARG001 — as above
    # Over one denominator, so that equal values are equal to the last bit.
    right = cuts.true_positive * cuts.negatives + (cuts.negatives - cuts.false_positive) * cuts.positives
    return np.asarray(right / (2 * cuts.positives * cuts.negatives))


@criteria.register("cost")
def _cost(cuts: Cuts, cost: Mapping[str, float]) -> Floats:
    return -_total_cost(cuts, cost)


def choose_threshold(
    y: npt.ArrayLike,
    scores: npt.ArrayLike,
    by: Criterion = "f1",
    cost: Mapping[str, float] | None = None,
    *,
    positive: Any = None,
) -> Threshold:
    """Choose the cut of the scores that is best for a criterion, exactly, over all cuts.

    Of equally good cuts the one with the fewest rows called positive is taken.

    Args:
        y: truth of rows held out of training, two labels ``(rows,)``.
        scores: larger for the positive class, ``predict_proba(X)[:, 1]`` or a logit ``(rows,)``.
        by: ``"f1"`` (of the positive class), ``"balanced_accuracy"``, or ``"cost"``, the sum over all rows.
        cost: what each outcome of a row costs, those left out nothing: ``{"false_negative": 5, "false_positive": 1}``;
            also ``"true_positive"`` and ``"true_negative"``; a gain is below 0.
        positive: label of the positive class; the second of the sorted labels if None, as in ``predict_proba``.

    Returns:
        The threshold, half way between the scores on its two sides.

    Raises:
        InputError: Not two labels, scores that are not finite, lengths that differ, unknown options, or costs without
            ``by="cost"``.

    Examples:
        >>> found = choose_threshold([0, 0, 1, 0, 1], [0.1, 0.2, 0.4, 0.6, 0.9], by="balanced_accuracy")
        >>> round(found.value, 3), round(found.score, 3), found.metrics["recall"]
        (0.3, 0.833, 1.0)
        >>> choose_threshold([0, 1], [0.2, 0.4], by="cost", cost={"false_positive": 1, "false_negative": 5}).score
        0.0
    """
    check_choice("by", by, criteria.names())
    prices = _checked_cost(by, cost)
    truth, label = _truth(y, positive)
    numbers = _scores(scores)
    cuts = _all_cuts(truth, numbers)
    goodness = criteria.get(by)(cuts, prices)
    best = int(np.argmax(goodness))
    value = float(cuts.values[best])
    score = float(goodness[best])
    return Threshold(
        value=value,
        by=by,
        score=-score + 0.0 if by == "cost" else score,
        positive=label,
        metrics=_metrics(cuts, best, prices),
        rows=len(truth),
        cost=prices,
    )


def metrics_at(
    y: npt.ArrayLike,
    scores: npt.ArrayLike,
    value: float,
    cost: Mapping[str, float] | None = None,
    *,
    positive: Any = None,
) -> dict[str, Any]:
    """Return what a given cut makes of some rows.

    Args:
        y: truth, two labels ``(rows,)``.
        scores: larger for the positive class ``(rows,)``.
        value: a row is called positive if its score is at least this.
        cost: as in ``choose_threshold``; adds ``"cost"``.
        positive: as in ``choose_threshold``.

    Returns:
        ``accuracy, balanced_accuracy, precision`` (None if no row is called positive), ``recall, specificity, f1``,
        ``called`` (share of rows called positive), ``confusion_matrix`` (rows are the truth, the positive class last).

    Examples:
        >>> metrics_at(["no", "yes", "no"], [0.2, 0.7, 0.8], 0.5)["confusion_matrix"]
        [[1, 1], [0, 1]]
    """
    if not is_number(value):
        raise InputError(f"a threshold must be a number, however: value={shown(value)}; pass for example 0.5")
    truth, _ = _truth(y, positive)
    called = _scores(scores) >= value
    _check_lengths(truth, called)
    hits, alarms = (np.array([int((rows & called).sum())]) for rows in (truth, ~truth))
    cuts = Cuts(np.array([value]), hits, alarms, int(truth.sum()), int((~truth).sum()))
    return _metrics(cuts, 0, _checked_cost("cost", cost) if cost is not None else {})


# ---- classes that are never predicted --------------------------------------------------------------------------------
def never_predicted(
    classes: Sequence[Any] | npt.NDArray[Any],
    validation: tuple[npt.NDArray[Any], npt.NDArray[np.float64]],
    test: tuple[npt.NDArray[Any], npt.NDArray[np.float64]],
) -> list[dict[str, Any]]:
    """Return facts about each class that some test rows have and no test row is predicted to have, the largest first.

    Args:
        classes: The model's classes, in its order.
        validation: Truth ``(rows,)`` and probabilities ``(rows, classes)`` of rows that a threshold is chosen on.
        test: The same of the test rows.

    Returns:
        ``{"class", "rows", "threshold", "found", "called"}``: how many rows have the class; the probability from which
        to predict it, the best for balanced accuracy on the validation rows (None: they do not tell); how many of the
        rows are then found, and how many rows are then predicted to have the class.

    Examples:
        >>> y = np.array(["bad", "good", "good", "good"])
        >>> rows = (y, np.array([[0.4, 0.6], [0.1, 0.9], [0.1, 0.9], [0.2, 0.8]]))
        >>> never_predicted(["bad", "good"], rows, rows)
        [{'class': 'bad', 'rows': 1, 'threshold': 0.30000000000000004, 'found': 1, 'called': 1}]
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
    """Return a sentence or two for each class that is never predicted; of many classes for the largest.

    Examples:
        >>> facts = {"class": "bad", "rows": 104, "threshold": 0.2134, "found": 81, "called": 180}
        >>> never_predicted_words([facts])[0].split(". ")[0]
        "The model finds 0 of 104 'bad': no test row is predicted so"
    """
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


def _all_cuts(truth: npt.NDArray[np.bool_], scores: Floats) -> Cuts:
    _check_lengths(truth, scores)
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    # The last row of each run of equal scores: a cut below it, never within.
    last = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(falling) - 1)
    high, low = falling[last[:-1]], falling[last[:-1] + 1]
    middle = low / 2 + high / 2
    # Between neighbouring floats, and where halves underflow, there is no middle: the upper one is the cut.
    middle = np.where((middle > low) & (middle <= high), middle, high)
    hits = np.cumsum(truth[order])[last]
    called = last + 1
    return Cuts(
        np.concatenate([[math.inf], middle, [-math.inf]]),
        np.concatenate([[0], hits]).astype(np.int64),
        np.concatenate([[0], called - hits]).astype(np.int64),
        int(truth.sum()),
        int((~truth).sum()),
    )


def _total_cost(cuts: Cuts, cost: Mapping[str, float]) -> Floats:
    counts = {
        "true_positive": cuts.true_positive,
        "false_positive": cuts.false_positive,
        "false_negative": cuts.positives - cuts.true_positive,
        "true_negative": cuts.negatives - cuts.false_positive,
    }
    return np.asarray(sum(float(price) * counts[outcome] for outcome, price in cost.items()), dtype=np.float64)


def _metrics(cuts: Cuts, at: int, cost: Mapping[str, float]) -> dict[str, Any]:
    hits, alarms = int(cuts.true_positive[at]), int(cuts.false_positive[at])
    missed, passed = cuts.positives - hits, cuts.negatives - alarms
    rows = cuts.positives + cuts.negatives
    measures: dict[str, Any] = {
        "accuracy": (hits + passed) / rows,
        "balanced_accuracy": float(_balanced_accuracy(cuts, {})[at]),
        "precision": hits / (hits + alarms) if hits + alarms else None,
        "recall": hits / cuts.positives,
        "specificity": passed / cuts.negatives,
        "f1": float(_f1(cuts, {})[at]),
        "called": (hits + alarms) / rows,
        "confusion_matrix": [[passed, alarms], [missed, hits]],
    }
    if cost:
        measures["cost"] = float(_total_cost(cuts, cost)[at])
    return measures


def _truth(y: npt.ArrayLike, positive: Any) -> tuple[npt.NDArray[np.bool_], Any]:
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
    return np.asarray(values == positive, dtype=bool), positive


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


def _check_lengths(truth: npt.NDArray[Any], scores: npt.NDArray[Any]) -> None:
    if len(truth) != len(scores):
        raise InputError(f"y and scores must have as many rows, however: {len(truth)} and {len(scores)}")


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
