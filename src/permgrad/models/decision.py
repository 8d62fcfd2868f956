"""What a model of two classes decides: from which probability of the positive class on
a row is predicted as it.

The threshold is a fact of the fitted model. Everything that speaks of predicted classes
asks its ``Decision``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np

from permgrad.base.arrays import Array, Booleans, Floats, Integers
from permgrad.base.checks import is_finite_number, is_number
from permgrad.base.errors import InputError, must, shown
from permgrad.data.types.positive import find_positive, rarer

#: The threshold of a model that was told neither costs nor a threshold.
HALF = 0.5
_COST_HINT = (
    "Pass for example cost=(1, 5), the cost of a false positive and of a false "
    "negative, or the cost of missing each class, cost={'no': 1, 'yes': 5}."
)
_THRESHOLD_HINT = (
    "Pass for example threshold=0.2, or threshold={'yes': 0.2} for the class 'yes'."
)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """From which probability of the positive class on a row is predicted as it.

    Attributes:
        positive: position of the positive class.
        threshold: the probability, 0 to 1.
        cost: of a false positive and of a false negative, if it was chosen by them.
        rows: held-out rows that it was chosen on. 0: none.

    Examples:
        >>> decision = Decision(positive=1, threshold=0.2)
        >>> decision.codes(np.array([[0.9, 0.1], [0.8, 0.2]]))
        array([0, 1])
    """

    positive: int
    threshold: float = HALF
    cost: tuple[float, float] | None = None
    rows: int = 0

    def codes(self, probabilities: Array) -> Integers:
        """Return the position of each row's predicted class ``(rows,)``."""
        is_positive = np.asarray(probabilities)[:, self.positive] >= self.threshold
        return np.where(is_positive, self.positive, 1 - self.positive)

    def called(self, probabilities: Array) -> Integers | None:
        """Return the same, or None where these are the most probable classes."""
        codes = self.codes(probabilities)
        usual = np.asarray(probabilities).argmax(axis=1)
        if np.array_equal(codes, usual):
            return None
        return codes

    def of(self, class_index: int) -> float:
        """Return the threshold of a class's probability.

        That of the other one is what is left of 1.
        """
        if class_index == self.positive:
            return self.threshold
        return 1 - self.threshold

    def at(self, threshold: float) -> Decision:
        """Return the decision at another threshold."""
        return replace(self, threshold=threshold, cost=None, rows=0)

    def on_held_out(
        self, codes: Array, probabilities: Array, weights: Array | None = None
    ) -> Decision:
        """Return the decision with the threshold of least cost on held-out rows, if it
        has costs.

        Rows of one class choose none.

        Args:
            codes: positions of the rows' classes ``(rows,)``.
            probabilities: of the classes ``(rows, classes)``.
            weights: how much each row counts ``(rows,)``. None: all alike.
        """
        truth = np.asarray(codes) == self.positive
        if self.cost is None or truth.all() or not truth.any():
            return self
        chances = np.asarray(probabilities, dtype=np.float64)[:, self.positive]
        value = least_cost(truth, chances, self.cost, weights)
        return replace(self, threshold=value, rows=len(truth))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types. Numbers are restored bit for bit."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Read back what ``to_dict`` wrote."""
        positive = content["positive"]
        threshold = content["threshold"]
        must(positive in (0, 1), f"a positive class at {positive!r:.40}")
        must(
            is_number(threshold) and 0 <= threshold <= 1,
            f"a threshold of {threshold!r:.40}",
        )
        stored_cost = content["cost"]
        return cls(
            positive=int(positive),
            threshold=float(threshold),
            cost=None
            if stored_cost is None
            else (float(stored_cost[0]), float(stored_cost[1])),
            rows=int(content["rows"]),
        )


def decided(probabilities: Floats, decision: Decision | None) -> Integers:
    """Return the position of each row's predicted class ``(rows,)``: without a decision
    the most probable one.
    """
    if decision is None:
        return np.asarray(probabilities).argmax(axis=1)
    return decision.codes(probabilities)


# ---- how it is chosen ----------------------------------------------------------------
def choose_decision(
    classes: Sequence[Any] | Array,
    counts: Array,
    *,
    cost: Any = None,
    threshold: Any = None,
) -> Decision | None:
    """Return the decision that a model's arguments ask for, or None where there are not
    two classes.

    By costs, the threshold is the one that is cheapest if probabilities are reliable
    (Elkan 2001, theorem 1), until ``Decision.on_held_out`` chooses it.

    Args:
        classes: labels in the order of the probabilities.
        counts: training rows of each class ``(classes,)``: the rarer class is positive
            unless ``cost`` or ``threshold`` names classes.
        cost: as ``HyNNClassifier`` takes it.
        threshold: as ``HyNNClassifier`` takes it.

    Raises:
        InputError: there are not two classes, or an argument names another one.
    """
    check_decision(cost, threshold)
    labels = np.asarray(classes).tolist()
    if len(labels) != 2:
        if cost is not None or threshold is not None:
            if cost is None:
                argument_name = "threshold"
            else:
                argument_name = "cost"
            problem = f"{argument_name} needs two classes, and y has {len(labels)}"
            raise InputError(problem, f"Leave {argument_name} out.", "PG006")
        return None
    usual = rarer(labels, counts)
    if cost is None:
        positive, value = _named_threshold(threshold, labels, usual)
        return Decision(positive=positive, threshold=value)
    positive, prices = _named_cost(cost, labels, usual)
    return Decision(positive=positive, threshold=prices[0] / sum(prices), cost=prices)


def asked_decision(
    labels: Sequence[Any],
    positive: Any,
    *,
    cost: tuple[float, float] | None = None,
    threshold: float | None = None,
) -> dict[str, Any]:
    """Return the arguments of an estimator that decides between two classes, of which
    the positive one is known.

    Args:
        labels: both classes.
        positive: the positive one.
        cost: of a false positive and of a false negative.
        threshold: of the probability of the positive class. None without a cost: half.

    Examples:
        >>> asked_decision(["no", "yes"], "yes", cost=(1, 5))
        {'cost': {'no': 1, 'yes': 5}}
    """
    if cost is None:
        return {"threshold": {positive: HALF if threshold is None else threshold}}
    missed = dict.fromkeys(
        [class_label for class_label in labels if class_label != positive], cost[0]
    )
    return {"cost": missed | {positive: cost[1]}}


def least_cost(
    truth: Booleans,
    chances: Floats,
    cost: tuple[float, float],
    weights: Array | None = None,
) -> float:
    """Return the threshold of least cost on some rows, the highest if several are
    equally good.

    Args:
        truth: which rows are positive ``(rows,)``.
        chances: their probability of the positive class ``(rows,)``.
        cost: of a false positive and of a false negative.
        weights: how much each row counts ``(rows,)``. None: all alike.

    Examples:
        >>> truth = np.array([False, False, True, True])
        >>> least_cost(truth, np.array([0.1, 0.3, 0.2, 0.6]), (1, 1)) > 0.3
        True
        >>> round(least_cost(truth, np.array([0.1, 0.3, 0.2, 0.6]), (1, 5)), 9)
        0.15
    """
    if weights is None:
        counted = np.ones(len(truth))
    else:
        counted = np.asarray(weights)
    values, true_positives, alarms = every_cut(truth, chances, counted)
    missed = counted[truth].sum() - true_positives
    spent = cost[0] * alarms + cost[1] * missed
    # Equal sums of weights differ in their last bits.
    best_index = int(np.argmax(spent <= spent.min() * (1 + 1e-12)))
    return float(np.clip(values[best_index], 0.0, 1.0))


class Cuts(NamedTuple):
    """Thresholds that divide the rows differently, falling.

    Attributes:
        values: ``(cuts,)``.
        true_positives: ``(cuts,)``.
        false_positives: ``(cuts,)``.
    """

    values: Floats
    true_positives: Floats
    false_positives: Floats


def every_cut(truth: Booleans, scores: Floats, counted: Array | None = None) -> Cuts:
    """Return every threshold that divides the rows differently, falling, with its true
    and false positives.

    ``counted``: how much each row counts ``(rows,)``. None: one each, and the counts
    are whole numbers.
    """
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    # The last row of each run of equal scores, because a cut cannot divide them.
    last_rows = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(falling) - 1)
    upper_scores = falling[last_rows[:-1]]
    lower_scores = falling[last_rows[:-1] + 1]
    middle = lower_scores / 2 + upper_scores / 2
    # Between neighbouring floats, and where halves underflow, there is no middle. The
    # upper one is then the cut.
    middle = np.where(
        (middle > lower_scores) & (middle <= upper_scores), middle, upper_scores
    )
    if counted is None:
        row_weights = np.ones(len(truth), dtype=np.int64)
    else:
        row_weights = counted
    true_positives = np.concatenate(
        [[0], np.cumsum((truth * row_weights)[order])[last_rows]]
    )
    called = np.concatenate([[0], np.cumsum(row_weights[order])[last_rows]])
    values = np.concatenate([[math.inf], middle, [-math.inf]])
    return Cuts(values, true_positives, called - true_positives)


# ---- arguments -----------------------------------------------------------------------
def is_cost(cost: Any) -> bool:
    """Whether costs are two finite numbers of at least 0, not both 0: a pair, or one
    for each of two classes.
    """
    if isinstance(cost, Mapping):
        prices = list(cost.values())
    else:
        prices = cost
    return (
        isinstance(prices, (tuple, list))
        and len(prices) == 2
        and all(is_finite_number(price) and price >= 0 for price in prices)
        and 0 < sum(prices) < math.inf
    )


def is_threshold(threshold: Any) -> bool:
    """Whether a threshold is a number from 0 to 1, perhaps by the class that it
    is of.
    """
    if isinstance(threshold, Mapping):
        return len(threshold) == 1 and all(map(is_threshold, threshold.values()))
    return is_number(threshold) and 0 <= threshold <= 1


def check_decision(cost: Any, threshold: Any) -> None:
    """Refuse costs and thresholds that are none, and both together."""
    if cost is not None and not is_cost(cost):
        problem = (
            "cost must be two finite numbers of at least 0, not both 0, got "
            f"{shown(cost)}"
        )
        raise InputError(problem, _COST_HINT, "PG002")
    if threshold is not None and not is_threshold(threshold):
        problem = f"threshold must be a number from 0 to 1, got {shown(threshold)}"
        raise InputError(problem, _THRESHOLD_HINT, "PG002")
    if cost is not None and threshold is not None:
        problem = "cost chooses the threshold, and threshold names one"
        raise InputError(problem, "Leave one of them out.", "PG006")


def _named_cost(
    cost: Any, labels: Sequence[Any], usual: int
) -> tuple[int, tuple[float, float]]:
    """Return the positive class and the costs of a false positive and of a false
    negative.

    A mapping holds what it costs to miss each class. Its last class is positive.
    """
    if not isinstance(cost, Mapping):
        return usual, (float(cost[0]), float(cost[1]))
    class_indices = [find_positive(labels, label) for label in cost]
    if len(set(class_indices)) < 2:
        problem = f"cost must name both classes, got {shown(cost)}"
        raise InputError(problem, f"The classes are {labels}.", "PG035")
    first, second = cost.values()
    return class_indices[1], (float(first), float(second))


def _named_threshold(
    threshold: Any, labels: Sequence[Any], usual: int
) -> tuple[int, float]:
    """Return the positive class and the threshold of its probability."""
    if threshold is None:
        return usual, HALF
    if not isinstance(threshold, Mapping):
        return usual, float(threshold)
    ((label, value),) = threshold.items()
    return find_positive(labels, label), float(value)


# ---- saved models --------------------------------------------------------------------
def read_decision(content: Mapping[str, Any], classes: Array) -> Decision | None:
    """Return the decision in the description of a saved classifier, None without two
    classes.

    Models that were saved before there were decisions predict the more probable class.
    """
    stored = content.get("decision")
    must(stored is None or len(classes) == 2, "a decision of other classes")
    if len(classes) != 2:
        return None
    if stored is None:
        return Decision(positive=1, threshold=HALF)
    return Decision.from_dict(stored)
