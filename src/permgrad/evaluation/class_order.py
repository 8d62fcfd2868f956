"""Whether classes are in an order, such as grades, stars, or poor, fair and good, and
how such classes are judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.errors import keeping_warnings
from permgrad.base.random import generator
from permgrad.base.significance import LEVEL
from permgrad.data.tasks import CLASSIFICATION
from permgrad.evaluation.class_scales import places_on_scale
from permgrad.evaluation.levels import cells_of
from permgrad.evaluation.metrics import Metric, metrics

#: Classes are in an order if this share of what tells them apart follows it.
_IN_ORDER = 0.9
#: Neighbours must be taken for each other more often than others by so many standard
#: errors.
_CLEARLY = 3.0
#: A feature speaks of the order if its classes differ by so many times what chance
#: makes (an F statistic).
_MATTERS = 4.0
#: Other orders that the classes are put in: all of so many classes, else so many drawn
#: ones.
_MOST_PERMUTED = 6
_CODINGS = 999
#: Classes, rows and columns that are looked at, and levels of a column, each as yes or
#: no.
_MOST_CLASSES = 30
_MOST_ROWS = 20_000
_MOST_COLUMNS = 200
_MOST_LEVELS = 8

#: How classes in an order are judged beside accuracy.
QUADRATIC_KAPPA = Metric(
    "quadratic_kappa",
    "quadratic kappa",
    CLASSIFICATION,
    "higher",
    (-1.0, 1.0),
    lambda case: kappa_of({"confusion_matrix": case.confusion, "labels": case.labels}),
)


def kappa_of(scores: Mapping[str, Any]) -> float | None:
    """Return the quadratic kappa of a confusion matrix, where classes stand in the
    order of their numbers.

    A row that is two classes off counts four times as much as one that is one off. 1:
    all right, 0: as by chance.

    Examples:
        >>> counts = [[5, 1, 0], [0, 5, 1], [0, 0, 6]]
        >>> kappa_of({"labels": [1, 2, 3], "confusion_matrix": counts})
        0.9166666666666666
    """
    counts = np.asarray(scores["confusion_matrix"], dtype=np.float64)
    if not counts.sum():
        return None
    labels = list(scores["labels"])
    on_scale = places_on_scale(labels)
    if on_scale is None:
        numbers = pd.to_numeric(pd.Series(labels, dtype=object), errors="coerce")
        ranks = numbers.rank(na_option="bottom").to_numpy()
    else:
        ranks = np.asarray(on_scale[0], dtype=np.float64)
    squared_distances = (ranks[:, None] - ranks) ** 2
    by_chance = (
        squared_distances * np.outer(counts.sum(axis=1), counts.sum(axis=0))
    ).sum() / counts.sum()
    if by_chance:
        return float(1 - (squared_distances * counts).sum() / by_chance)
    return None


def with_kappa(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's scores with the quadratic kappa (None: it was not fitted)."""
    return {
        **scores,
        QUADRATIC_KAPPA.name: kappa_of(scores)
        if "confusion_matrix" in scores
        else None,
    }


def metrics_in(scores: Mapping[str, Any]) -> list[Metric]:
    """Return the metrics that are defined in some scores, as they are shown: the
    quadratic kappa behind accuracy.
    """
    every = list(metrics.values())
    every.insert(1, QUADRATIC_KAPPA)
    return [metric for metric in every if scores.get(metric.name) is not None]


def classes_in_order(
    labels: Sequence[Any],
    held_out: tuple[Integers, Floats],
    rows: tuple[pd.DataFrame | None, Integers],
) -> dict[str, Any] | None:
    """Return how closely classes follow the order of a scale, if they do: ``near`` and
    ``along``, up to 1.

    ``near``: the share of the differences by which a model takes rows for neighbours of
    their class rather than for classes beyond these. ``along``: the share of the
    features' differences between classes that rise or fall with the class (None: no
    feature differs). A model that is always right says nothing of neighbours. Names
    that are coded at random can look as much in order by chance: of three classes, in
    one of three codings. So this is said only if fewer than 5 % of all codings look so,
    which takes five classes. Words of a scale, such as poor, fair and good, are in its
    order by themselves: ``scale`` has them in this order.

    Args:
        labels: the classes, by their positions.
        held_out: positions of the classes of rows that the model was not fitted on (-1:
            none of them), and their probabilities ``(rows, classes)``.
        rows: a table of features, if there is one, and positions of the classes of its
            rows.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=900)
        >>> stars = np.digitize(x + rng.normal(size=900), [-1.5, -0.5, 0.5, 1.5])
        >>> chances = np.exp(-((x[:, None] - [-2, -1, 0, 1, 2]) ** 2))
        >>> chances /= chances.sum(axis=1, keepdims=True)
        >>> table = pd.DataFrame({"x": x})
        >>> sorted(classes_in_order([1, 2, 3, 4, 5], (stars, chances), (table, stars)))
        ['along', 'near']
        >>> names = np.array([2, 0, 4, 1, 3])[stars]
        >>> print(
        ...     classes_in_order(
        ...         [1, 2, 3, 4, 5], (names, chances[:, [1, 3, 0, 4, 2]]), (None, names)
        ...     )
        ... )
        None
    """
    if 3 <= len(labels) <= _MOST_CLASSES:
        on_scale = places_on_scale(labels)
    else:
        on_scale = None
    if on_scale is None:
        return None
    order = np.argsort(on_scale[0])
    ranks = np.append(np.argsort(order), -1)
    near_share, errors = _near(ranks[held_out[0]], held_out[1][:, order])
    if on_scale[1]:
        if rows[0] is None:
            along = None
        else:
            along = _along(rows[0], ranks[rows[1]])
        scale = [str(labels[class_index]) for class_index in order.tolist()]
        return {"near": near_share, "along": along, "scale": scale}
    if near_share is None or near_share < _IN_ORDER or errors < _CLEARLY:
        return None
    if (
        _as_near_at_random(ranks[held_out[0]], held_out[1][:, order], near_share)
        >= LEVEL
    ):
        return None
    if rows[0] is None:
        along = None
    else:
        along = _along(rows[0], ranks[rows[1]])
    if along is not None and along < _IN_ORDER:
        return None
    return {"near": near_share, "along": along}


def _lifts(ranks: Integers, chances: Floats) -> tuple[Floats, Integers]:
    """Return chances beside their means, because a frequent class is likely everywhere,
    and the classes that occur.
    """
    usual = chances[ranks >= 0].mean(axis=0)
    lifts = chances / np.maximum(usual, np.finfo(np.float64).tiny)
    return lifts, np.flatnonzero(usual > 0)


def _near(ranks: Integers, chances: Floats) -> tuple[float | None, float]:
    """Return the share of differences in favour of neighbours, and their sum in
    standard errors.
    """
    total = 0.0
    total_size = 0.0
    variance = 0.0
    lifts, classes = _lifts(ranks, chances)
    for low_class, middle, high_class in combinations(classes.tolist(), 3):
        for true_class, far_class in ((low_class, high_class), (high_class, low_class)):
            differences = (lifts[:, middle] - lifts[:, far_class])[ranks == true_class]
            if len(differences) > 1:
                total = total + differences.sum()
                total_size = total_size + abs(differences.sum())
                variance += float(np.var(differences, ddof=1)) * len(differences)
    if total_size:
        share = (total_size + total) / (2 * total_size)
    else:
        share = None
    return share, total / np.sqrt(variance) if variance else 0.0


def _as_near_at_random(ranks: Integers, chances: Floats, near: float) -> float:
    """Return in which share of the codings of the classes neighbours are as near as in
    theirs.
    """
    lifts, classes = _lifts(ranks, chances)
    count = len(classes)
    # What rows of each class say of each class: sums of these are all that a coding
    # needs.
    lift_sums = np.zeros((count, count))
    for class_index, label in enumerate(classes.tolist()):
        class_lifts = lifts[ranks == label][:, classes]
        if len(class_lifts) > 1:
            lift_sums[class_index] = class_lifts.sum(axis=0)
        else:
            lift_sums[class_index] = 0.0
    low_classes, middle, high_classes = np.array(list(combinations(range(count), 3))).T
    true_classes = np.append(low_classes, high_classes)
    between = np.append(middle, middle)
    far_classes = np.append(high_classes, low_classes)
    if count <= _MOST_PERMUTED:
        codings = np.array(list(permutations(range(count))))
    else:
        stream = generator(0, "codings of classes")
        codings = np.array([stream.permutation(count) for _ in range(_CODINGS)])
        codings = np.vstack([np.arange(count), codings])
    as_near = 0
    for coding in codings:
        coded = lift_sums[np.ix_(coding, coding)]
        differences = coded[true_classes, between] - coded[true_classes, far_classes]
        total_size = np.abs(differences).sum()
        as_near += bool(
            (total_size + differences.sum()) / (2 * total_size) >= near - 1e-12
        )
    return as_near / len(codings)


def _along(table: pd.DataFrame, ranks: Integers) -> float | None:
    """Return which share of the differences between classes, in numbers and frequent
    levels, rises or falls with them.

    A feature counts by how much its classes differ.
    """
    from sklearn.isotonic import IsotonicRegression

    labelled_rows = np.flatnonzero(ranks >= 0)
    labelled_rows = labelled_rows[:: 1 + len(labelled_rows) // _MOST_ROWS]
    monotone = 0.0
    total_between = 0.0
    for values in _numbers(table.iloc[labelled_rows, :_MOST_COLUMNS]):
        there = np.isfinite(values)
        codes = ranks[labelled_rows][there]
        numbers = pd.Series(values[there]).rank().to_numpy()
        counts = np.bincount(codes)
        classes = np.flatnonzero(counts)
        if len(classes) < 3 or not np.ptp(numbers):
            continue
        numbers = (numbers - numbers.mean()) / numbers.std()
        counts, means = (
            counts[classes],
            np.bincount(codes, numbers)[classes] / counts[classes],
        )
        between = float(counts @ means**2)
        by_chance = (
            (len(numbers) - between)
            / max(len(numbers) - len(classes), 1)
            * (len(classes) - 1)
        )
        if between < _MATTERS * by_chance:
            continue
        regressions = (
            IsotonicRegression(increasing=is_increasing)
            for is_increasing in (True, False)
        )
        monotone_fits = []
        for regression in regressions:
            monotone_fits.append(
                regression.fit_transform(classes, means, sample_weight=counts)
            )
        monotone += max(
            between - float(counts @ (means - fitted_means) ** 2)
            for fitted_means in monotone_fits
        )
        total_between += between
    if total_between:
        return monotone / total_between
    return None


def _numbers(table: pd.DataFrame) -> list[Array]:
    """Return the numbers of a table's columns, and which rows have each of the frequent
    levels of the others.
    """
    column_values: list[Array] = []
    with keeping_warnings():
        for column_index, column_name in enumerate(map(str, table.columns)):
            cells = cells_of(table.iloc[:, column_index], column_name)
            if cells.values is not None:
                column_values.append(cells.values)
            elif (cells.codes >= 0).any():
                frequent = np.argsort(-np.bincount(cells.codes[cells.codes >= 0]))[
                    :_MOST_LEVELS
                ]
                for level in frequent:
                    column_values.append(
                        np.where(cells.codes >= 0, cells.codes == level, np.nan)
                    )
    return column_values
