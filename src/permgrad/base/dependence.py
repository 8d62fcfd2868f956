"""Rows that depend on each other, by their group or in time: how much less they say
than as many independent rows.

The variance of a mean or of a difference is multiplied by its design effect (Kish
1965). Within groups it follows from the correlation of their rows (analysis of
variance, Donner 1986), in time from a correlation that falls from row to row, as far as
the autocorrelations of the values reach (Sokal 1997). Degrees of freedom are those of
the groups, or of as many independent rows. Both are usually too wide, if anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.base.arrays import Array, Booleans, Floats, Integers
from permgrad.base.significance import NORMAL_95, t_quantile, t_two_sided

#: Autocorrelations are added up as far as so many times their sum reaches.
_WINDOW = 4
#: With fewer independent groups, or as many independent rows, a difference is not
#: tested.
FEWEST_GROUPS = 5
#: Rows, and values of a column, that are needed to see that rows depend on each other.
#: Such values by chance.
_FEWEST_SEEN = 30
_FEWEST_VALUES = 20
_CHANCE = 0.002
#: Levels that a table may be sorted by.
_FEW_LEVELS = 20
#: Levels of a column that are needed, and how much more rows of one level are alike
#: than rows of neighbouring levels.
_FEWEST_LEVELS = 10
_WITHIN = 0.3


@dataclass(frozen=True, eq=False)
class Dependence:
    """Which rows depend on each other: those of one group or, ``timed``, neighbours in
    time.

    Attributes:
        codes: the number of each row's group or time ``(rows,)``, from 0. Times are
            numbered in their order.
        timed: whether they are times.
        name: the column's name, for people.
        times: the times themselves ``(rows,)``, numbers or ``datetime64``, where they
            are known.

    Examples:
        >>> patients = Dependence(np.repeat(np.arange(20), 5))
        >>> values = np.repeat(np.random.default_rng(0).normal(size=20), 5)
        >>> widening = patients.widening(np.ones(100), 1.0)
        >>> round(patients.correlation(values), 2), round(widening, 2)
        (1.0, 2.39)
    """

    codes: Integers
    timed: bool = False
    name: str = ""
    times: Array | None = None

    @property
    def argument(self) -> tuple[str, Integers]:
        """The argument of ``permgrad.explain`` that says so, and its values."""
        return "row_time" if self.timed else "row_groups", self.codes

    @cached_property
    def count(self) -> int:
        """The number of groups or times."""
        return len(np.unique(self.codes))

    @cached_property
    def _order(self) -> npt.NDArray[np.intp]:
        return np.argsort(self.codes, kind="stable")

    def take(self, positions: npt.NDArray[np.integer]) -> Dependence:
        """Return the dependence of some of the rows, numbered anew."""
        codes = np.unique(self.codes[positions], return_inverse=True)[1]
        return replace(
            self,
            codes=codes,
            times=None if self.times is None else self.times[positions],
        )

    @classmethod
    def of_rows(cls, facts: Mapping[str, Any]) -> Dependence | None:
        """Return the dependence of rows that the ``meta`` of a local explanation tells,
        or None.
        """
        dependence_name = next(
            (
                fact_name
                for fact_name in ("row_groups", "row_time")
                if fact_name in facts
            ),
            None,
        )
        codes = (
            ()
            if dependence_name is None
            else np.unique(np.asarray(facts[dependence_name]), return_inverse=True)[1]
        )
        return (
            None
            if dependence_name is None
            else cls(np.asarray(codes), timed=dependence_name == "row_time")
        )

    @classmethod
    def of_both(
        cls, first: Dependence | None, second: Dependence | None
    ) -> Dependence | None:
        """Return the dependence of two parts, whose groups differ, one after the other.

        None if one is not known.
        """
        if first is None or second is None or first.timed != second.timed:
            return None
        codes = np.concatenate([first.codes, second.codes + first.codes.max() + 1])
        return replace(first, codes=codes, times=None)

    def sums(self, scores: Floats) -> Floats:
        """Return sums of scores ``(quantities, rows)`` within each group or time,
        ``(quantities, count)``.
        """
        return np.stack([np.bincount(self.codes, score_row) for score_row in scores])

    def correlation(self, values: Floats, means: int = 1) -> float:
        """Return the correlation of ``(rows, *)`` values within groups, or from one row
        to the next, at least 0.

        ``means``: of how many parts of the rows the mean was taken off.
        """
        table = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
        table = table - table.mean(axis=0)
        if len(table) < 3 or not (total_squares := float((table**2).sum())):
            return 0.0
        if self.timed:
            return _in_time(table[self._order], total_squares, means)
        codes = np.unique(self.codes, return_inverse=True)[1]
        sizes = np.bincount(codes)
        if len(sizes) < 2:
            return 1.0
        if len(sizes) == len(table):
            return 0.0
        group_sums = np.stack(
            [np.bincount(codes, column) for column in table.T], axis=1
        )
        between = float((group_sums**2 / sizes[:, None]).sum())
        within = max(total_squares - between, 0.0) / (len(table) - len(sizes))
        between /= len(sizes) - 1
        usual = (len(table) - float((sizes**2).sum()) / len(table)) / (len(sizes) - 1)
        return float(
            np.clip((between - within) / (between + (usual - 1) * within), 0, 1)
        )

    def design(self, weights: Floats, correlation: float) -> tuple[float, float]:
        """Return the design effect of a weighted sum over rows, at least 1, and its
        degrees of freedom.
        """
        sizes = np.abs(weights)
        effect = max(self._ratio(weights, correlation), 1.0)
        if not self.timed:
            group_weights = np.bincount(self.codes, sizes)
            return effect, max(
                float(group_weights.sum() ** 2 / (group_weights**2).sum()) - 1, 1.0
            )
        effective_rows = float(sizes.sum() ** 2 / (sizes**2).sum())
        return effect, max(
            effective_rows / max(self._ratio(sizes, correlation), 1.0) - 1, 1.0
        )

    def _ratio(self, weights: Floats, correlation: float) -> float:
        squares = float((weights**2).sum())
        if not self.timed:
            squared_sums = float((np.bincount(self.codes, weights) ** 2).sum())
            return 1 - correlation + correlation * squared_sums / squares
        products = _products(weights[self._order][:, None])
        return (
            2 * float(products @ correlation ** np.arange(len(products))) / squares - 1
        )

    def widening(self, weights: Floats, correlation: float) -> float:
        """Return by how much an interval at 95 % is wider than with as many independent
        rows.
        """
        effect, freedom = self.design(weights, correlation)
        return float(np.sqrt(effect) * t_quantile((1 + 0.95) / 2, freedom) / NORMAL_95)

    def corrected(self, p_value: float, weights: Floats, correlation: float) -> float:
        """Return a two-sided p-value that assumed independent rows as it is for
        these.
        """
        from scipy import special  # as in significance

        effect, freedom = self.design(weights, correlation)
        normal_score = special.ndtri(max(p_value, 1e-300) / 2)
        return float(t_two_sided(normal_score / np.sqrt(effect), freedom))

    def rows(self, member: Booleans, correlation: float) -> float:
        """Return how many independent rows say as much on a mean as some of these."""
        if not member.any():
            return 0.0
        weights = member.astype(np.float64)
        return float(weights.sum()) / self.design(weights, correlation)[0]

    def testable(self, member: Booleans, correlation: float) -> bool:
        """Return whether some rows, and all others, are of enough groups, or far enough
        apart in time.

        Groups of different sizes count as so many equal ones (Kish 1965): where a few
        groups have most of the rows, an error of means over groups is too small.
        """
        member_masks = (member, ~member)
        if self.timed:
            return (
                min(self.rows(side_mask, correlation) for side_mask in member_masks)
                >= FEWEST_GROUPS
            )
        return (
            min(_equal_groups(self.codes[side_mask]) for side_mask in member_masks)
            >= FEWEST_GROUPS
        )


def _equal_groups(codes: Integers) -> int:
    """Return as how many groups of one size the groups of some rows count, rounded."""
    sizes = np.bincount(codes).astype(np.float64)
    return round(float(sizes.sum() ** 2 / max((sizes**2).sum(), 1.0)))


def mean_widening(between: Dependence | None, values: Floats) -> float:
    """Return by how much the interval of a mean of ``(rows,)`` values is wider.

    NaN is left out, None is independent.

    Examples:
        >>> patients = Dependence(np.repeat(np.arange(20), 5))
        >>> (
        ...     mean_widening(None, np.ones(9)),
        ...     round(mean_widening(patients, np.repeat(np.arange(20.0), 5)), 2),
        ... )
        (1.0, 2.39)
    """
    if between is None:
        return 1.0
    defined = np.isfinite(values)
    among = between.take(np.flatnonzero(defined))
    return among.widening(
        np.ones(int(defined.sum())), among.correlation(values[defined])
    )


def _products(table: Floats) -> Floats:
    """Return the sums of products of ``(rows, columns)`` with themselves, so many rows
    later, ``(rows,)``.
    """
    transform_length = 2 ** int(np.ceil(np.log2(2 * len(table))))
    powers = np.abs(np.fft.rfft(table, transform_length, axis=0)) ** 2
    return np.asarray(np.fft.irfft(powers.sum(axis=1), transform_length)[: len(table)])


def _in_time(table: Floats, total_squares: float, means: int) -> float:
    """Return the correlation from row to row, whose powers add up to as much as the
    autocorrelations of the rows.
    """
    row_count = len(table)
    related = _products(table) / total_squares
    # As the mean of the rows is taken off, a first autocorrelation is too small by
    # about this (Marriott & Pope 1954).
    first = related[1] + means * (1 + 4 * related[1]) / row_count
    total = 2 * np.cumsum(related) - 1
    reach = np.flatnonzero(np.arange(row_count) >= _WINDOW * total)
    correlation_time = max(float(total[reach[0] if len(reach) else -1]), 1.0)
    return float(
        np.clip(
            max(first, (correlation_time - 1) / (correlation_time + 1)),
            0,
            1 - 1 / row_count,
        )
    )


# ---- what can be seen of it ----------------------------------------------------------
def neighbours_alike(
    values: Floats, least: float = 0.1, tests: int = 1
) -> float | None:
    """Return the correlation of ``(rows, *)`` values from row to row, if it is at least
    so large and no chance.

    ``tests``: how many such values are looked at. In 500 tables of independent rows,
    about one has such values.
    """
    products, total_squares = _neighbours(values)
    if len(values) < _FEWEST_SEEN or not total_squares:
        return None
    related = float(products.sum()) / total_squares
    if related >= max(least, _by_chance(len(values), tests)):
        return related
    return None


def _neighbours(values: Floats) -> tuple[Floats, float]:
    """Return the products of neighbouring rows of centred ``(rows, *)`` values, and the
    sum of their squares.
    """
    table = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    if table.shape[1] == 1:
        # By ranks, so that a single large value decides nothing.
        value_ranks = np.unique(table[:, 0], return_inverse=True)[1]
        counts = np.bincount(value_ranks)
        table = (np.cumsum(counts) - counts / 2)[value_ranks][:, None]
    table = table - table.mean(axis=0)
    return np.asarray((table[1:] * table[:-1]).sum(axis=1)), float((table**2).sum())


def _by_chance(count: int, tests: int) -> float:
    """Return which correlation of so many pairs chance does not reach."""
    from scipy import special  # as in significance

    return float(-special.ndtri(_CHANCE / tests) / np.sqrt(max(count, 1)))


def alike_within(column: Array, values: Floats, tests: int = 1) -> float | None:
    """Return the correlation of values in rows of one level of a column, if it is high
    and ends with the level.

    Only of a column whose fractions repeat, as what was measured once for each patient
    does. A model that does not fit along the column errs alike in neighbouring levels,
    too.
    """
    if (
        column.dtype.kind != "f"
        or not np.isfinite(column).all()
        or (column == np.round(column)).all()
    ):
        return None
    order = np.argsort(column, kind="stable")
    is_same_level = np.diff(column[order]) == 0
    products, total_squares = _neighbours(values[order])
    if (
        not total_squares
        or is_same_level.mean() < 0.5
        or np.sum(~is_same_level) + 1 < _FEWEST_LEVELS
    ):
        return None
    within = float(products[is_same_level].mean()) * len(column) / total_squares
    between = float(products[~is_same_level].mean()) * len(column) / total_squares
    if within >= max(
        _WITHIN + max(between, 0.0), _by_chance(int(is_same_level.sum()), tests)
    ):
        return within
    return None


def in_blocks(column: Array) -> bool:
    """Return whether rows are sorted by a column, or by its few levels: then neighbours
    are alike in any case.
    """
    different = np.flatnonzero(column[1:] != column[:-1])
    if not len(different):
        return False
    has_few_levels = len(different) < _FEW_LEVELS and len(different) + 1 == len(
        np.unique(column)
    )
    if column.dtype.kind in "fiub":
        steps = np.diff(column[np.append(different, different[-1] + 1)])
    else:
        steps = np.zeros(1)
    return bool(has_few_levels or (steps > 0).all() or (steps < 0).all())


def is_clock(column: Array) -> bool:
    """Return whether a sorted column counts time: mostly different values, most steps
    equal, or whole and dense.
    """
    if column.dtype.kind in "fiu":
        values = np.unique(column)
    else:
        values = np.zeros(0)
    steps = np.diff(values)
    if 2 * len(values) < len(column) or not len(steps):
        return False
    dense = values[-1] - values[0] <= 10 * len(column) and bool(
        (values == np.round(values)).all()
    )
    return bool(dense or 2 * np.sum(np.isclose(steps, np.median(steps))) >= len(steps))


def repeated_rows(columns: Array) -> int:
    """Return how many rows ``(rows, columns)`` equal an earlier one, if their values
    are too many for chance.

    Those are rows that agree in all other columns wherever they agree in the two with
    the most values.
    """
    if not columns.size:
        return 0
    codes = np.stack(
        [np.unique(column, return_inverse=True)[1] for column in columns.T], axis=1
    )
    counts = codes.max(axis=0, initial=0) + 1
    order = np.argsort(-counts, kind="stable")
    key_columns, other_columns = np.split(order, [2 if len(order) > 3 else 1])
    if counts[key_columns[0]] < _FEWEST_VALUES or not (counts[other_columns] > 2).any():
        return 0
    repeated = len(codes) - len(np.unique(codes[:, order], axis=0))
    by_key = len(codes) - len(np.unique(codes[:, key_columns], axis=0))
    if repeated >= max(5, 0.01 * len(codes), 0.9 * by_key):
        return repeated
    return 0
