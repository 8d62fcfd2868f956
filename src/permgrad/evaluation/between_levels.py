"""Does a measure of a model differ between the levels of a column?

The one test for every sentence that says so.

A level is compared with all other rows by a difference of means, in standard errors
that hold if levels mean nothing. Of rows in groups these are errors of means over
groups, because a difference may be another one in each group. The largest of them, over
all levels, measures and columns, is set beside its distribution when rows exchange
their levels (Westfall & Young 1993): rows one by one, whole groups where rows belong
together, and in time all by one shift. So it holds for rare events, long tails, few
rows and many levels.

Measures ask about the model. Their mean is 0 in every level if the model is right,
however uncertain outcomes are: log loss less the loss that the probabilities expect,
predicted less observed, errors in units of what is usual there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse

from permgrad.base.arrays import Array, Booleans, Floats, Integers
from permgrad.base.dependence import Dependence
from permgrad.base.random import generator
from permgrad.base.significance import LEVEL, t_quantile

#: A level is judged with so many rows, and so many events and others, in it and
#: outside.
FEWEST_ROWS = 20
FEWEST_EVENTS = 5
#: Exchanges of levels: so many at once, and at most. There are no more where p-values
#: are far from 5 %.
_ROUND = 200
_MOST_DRAWS = 2000
#: p-values between these are near 5 %.
_NEAR = (0.015, 0.15)
#: A row's variance is at least this share of the mean variance, because no model is
#: right to the last digit.
_LEAST_VARIANCE = 0.1
#: Squares below this share of the usual ones are what rounding leaves of none.
_NO_SQUARES = 1e-9
#: Numbers that are held at once.
_NUMBERS = 4_000_000
#: Rows for each range of predictions in which the usual error is measured, and the most
#: ranges.
_ROWS_OF_A_RANGE = 50
_MOST_RANGES = 12


@dataclass(frozen=True, eq=False)
class Measure:
    """What is compared between levels: a mean over rows.

    Attributes:
        values: of each row ``(rows,)``.
        member: which rows have a value ``(rows,)``. None: all.
        variance: of each row's value, if the model is right ``(rows,)``. None: alike in
            all rows.
        own: whether the spread that a level has counts where it is larger: of values
            that have no bound.
    """

    values: Floats
    member: Booleans | None = None
    variance: Floats | None = None
    own: bool = False


@dataclass(frozen=True, eq=False)
class Compared:
    """The levels of a column, each compared with all other rows, by one measure.

    NaN where a level is not judged.

    Attributes:
        difference: the mean of the level less that of the other rows ``(levels,)``.
        error: its standard error if levels mean nothing ``(levels,)``.
        p_value: of a difference so large, adjusted for all levels, measures and columns
            ``(levels,)``.
        limit: how many errors are exceeded by 5 % of the largest differences.
    """

    difference: Floats
    error: Floats
    p_value: Floats
    limit: float

    def by_measure(self, levels: slice, names: Iterable[str]) -> dict[str, Compared]:
        """Return some levels of ``(levels, measures)`` by each measure."""
        of_measures = {}
        for k, name in enumerate(names):
            of_measures[name] = Compared(
                self.difference[levels, k],
                self.error[levels, k],
                self.p_value[levels, k],
                self.limit,
            )
        return of_measures

    @property
    def most(self) -> int | None:
        """The level that differs most. None: no level is judged."""
        sizes = np.nan_to_num(np.abs(self.difference / self.error), nan=-1.0)
        # Two levels differ from each other by the same amount, up to rounding: the
        # first one is named.
        largest = float(sizes.max())
        if largest < 0:
            return None
        return int(np.argmax(sizes >= largest * (1 - 1e-9)))


def compare_levels(
    measures: Mapping[str, Measure],
    columns: Sequence[Integers],
    *,
    events: Booleans | None = None,
    dependence: Dependence | None = None,
    seed: int = 0,
) -> list[dict[str, Compared]]:
    """Compare the levels of each column with all other rows, by each measure.

    All of it is one question.

    Args:
        measures: by their names.
        columns: of each column the level of each row ``(rows,)``, from 0.
        events: which rows have the event ``(rows,)``. A level without five events and
            five others, in it and outside, is not judged. None: there are no events.
        dependence: which rows depend on each other. A level then needs five groups,
            counted as if of one size, or as many independent rows.
        seed: of the exchanges.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> town, values = np.repeat([0, 1, 2], 100), rng.normal(size=300)
        >>> measures = {"error": Measure(values + (town == 2))}
        >>> (town_compared,) = compare_levels(measures, [town])
        >>> town_compared["error"].most, bool(town_compared["error"].p_value[2] < 0.01)
        (2, True)
    """
    if not columns or not measures:
        return [{} for _ in columns]
    starts = np.cumsum([0, *(int(codes.max()) + 1 for codes in columns)])
    member = _rows_of_levels(columns, starts)
    table = _table(measures, events, len(columns[0]))
    groups = _Groups.of(dependence, columns, starts)
    question = _Question(
        measures,
        member,
        groups,
        table.sum(axis=0),
        by_events=events is not None,
    )
    testable = _testable(member, measures, dependence)[:, None]
    answer = question.of(table[:, None])
    judged = testable & answer.enough
    difference = answer.difference[:, 0]
    error = answer.error[:, 0]
    if groups is not None:
        error = error * groups.widening()[:, None]
    drawn = _Drawn(np.where(judged, difference / error, np.nan))
    for moved in _exchanged(table, dependence, seed, groups):
        answer = question.of(moved)
        # A level that is judged counts in each draw. Others count where they would have
        # been judged: which levels have enough events depends on chance, too.
        judged_levels = judged | (testable & answer.enough)
        with np.errstate(invalid="ignore", divide="ignore"):
            sizes = answer.difference / answer.error
        drawn.add(np.where(judged_levels[:, :, None], sizes, np.nan))
        if drawn.decided:
            break
    p_values, scale, limit = drawn.results()
    undefined = np.isnan(p_values)
    of_levels = Compared(
        np.where(undefined, np.nan, difference),
        np.where(undefined, np.nan, error * scale),
        p_values,
        limit,
    )
    return [
        of_levels.by_measure(levels, measures)
        for levels in map(slice, starts[:-1], starts[1:])
    ]


class _Answer(NamedTuple):
    """Differences of levels from all other rows in draws.

    Attributes:
        difference: ``(levels, draws, measures)``.
        error: Of each difference, which allows for groups of rows.
        enough: Which levels have enough rows and events to be judged, ``(levels,
            draws)``.
    """

    difference: Floats
    error: Floats
    enough: Booleans


@dataclass(frozen=True, eq=False)
class _Question:
    """What is compared between levels.

    Attributes:
        measures: By their names.
        member: Which rows each level has, ``(levels, rows)``.
        groups: The rows of each level in each group. None: rows are independent.
        total: Sums over all rows, ``(numbers,)``.
        by_events: Whether a level needs events.
    """

    measures: Mapping[str, Measure]
    member: sparse.csr_matrix
    groups: _Groups | None
    total: Floats
    by_events: bool

    def of(self, tables: Floats) -> _Answer:
        """Return the differences in draws of the table, ``(rows, draws, numbers)``."""
        level_sums = self.member @ tables.reshape(len(tables), -1)
        level_sums = level_sums.reshape(-1, *tables.shape[1:])
        difference, error = _differences(self.measures, level_sums, self.total)
        if self.groups is not None:
            error = self.groups.errors(tables, level_sums, self.total)
        enough = _enough(level_sums, self.total, by_events=self.by_events)
        return _Answer(difference, error, enough)


def _rows_of_levels(columns: Sequence[Integers], starts: Integers) -> sparse.csr_matrix:
    """Return which rows each level of all columns has ``(levels, rows)``."""
    rows = len(columns[0])
    level_indices = np.concatenate(
        [codes + start for codes, start in zip(columns, starts, strict=False)]
    )
    return sparse.csr_matrix(
        (
            np.ones(len(level_indices)),
            (level_indices, np.tile(np.arange(rows), len(columns))),
        ),
        shape=(int(starts[-1]), rows),
    )


# ---- differences in standard errors --------------------------------------------------
def _table(
    measures: Mapping[str, Measure], events: Booleans | None, rows: int
) -> Floats:
    """Return what is summed by level ``(rows, numbers)``: rows, events, and four
    numbers of each measure.
    """
    every = np.ones(rows)
    columns = [every, every if events is None else events.astype(np.float64)]
    for measure in measures.values():
        if measure.member is None:
            inside = every
        else:
            inside = measure.member.astype(np.float64)
        values = np.where(inside > 0, measure.values, 0.0)
        count = max(float(inside.sum()), 1.0)
        values = (values - values.sum() / count) * inside
        usual = float((values**2).sum()) / count
        variance = every * usual
        if measure.variance is not None:
            expected = np.where(inside > 0, measure.variance, 0.0)
            least = _LEAST_VARIANCE * float(expected.sum()) / count
            variance = np.maximum(expected, least)
        columns += [inside, values, variance * inside, values**2]
    return np.column_stack(columns)


def _enough(sums: Floats, total: Floats, *, by_events: bool) -> Booleans:
    """Return which levels have enough rows, events and others, in them and outside
    ``(levels, *)``.
    """
    enough = np.ones(sums.shape[:-1], dtype=bool)
    for side_sums in (sums, total - sums):
        row_counts = side_sums[..., 0]
        events = side_sums[..., 1]
        enough &= row_counts >= FEWEST_ROWS
        if by_events:
            enough &= np.minimum(events, row_counts - events) >= FEWEST_EVENTS
    return enough


def _differences(
    measures: Mapping[str, Measure], sums: Floats, total: Floats
) -> tuple[Floats, Floats]:
    """Return differences and their errors ``(levels, *, measures)`` from sums
    ``(levels, *, numbers)``.
    """
    other_sums = total - sums
    differences = []
    errors = []
    with np.errstate(invalid="ignore", divide="ignore"):
        for k, measure in enumerate(measures.values()):
            means = []
            variances = []
            spreads = []
            for side_sums in (sums, other_sums):
                count, value, variance, square = np.moveaxis(
                    side_sums[..., 2 + 4 * k : 6 + 4 * k], -1, 0
                )
                means.append(value / count)
                variances.append(variance / count**2)
                spread = np.maximum(square / count - means[-1] ** 2, 0.0)
                spreads.append(spread / (count - 1))
            variance = variances[0] + variances[1]
            if measure.own:
                variance = np.maximum(variance, spreads[0] + spreads[1])
            differences.append(means[0] - means[1])
            errors.append(np.where(variance > 0, np.sqrt(variance), np.nan))
    return np.stack(differences, axis=-1), np.stack(errors, axis=-1)


def _testable(
    member: sparse.csr_matrix,
    measures: Mapping[str, Measure],
    dependence: Dependence | None,
) -> Booleans:
    """Return which levels have enough groups, or independent rows, of dependent
    rows.
    """
    if dependence is None:
        return np.ones(member.shape[0], dtype=bool)
    first = next(iter(measures.values()))
    if first.member is None:
        values = first.values
    else:
        values = first.values * first.member
    related = dependence.correlation(values)
    lines = (
        member[level_index].toarray().ravel() > 0
        for level_index in range(member.shape[0])
    )
    return np.array([dependence.testable(level_rows, related) for level_rows in lines])


@dataclass(frozen=True, eq=False)
class _Groups:
    """The rows of each level in each group, for errors that allow for what a group has
    of its own.

    A level's difference may be another one in each group. Then a few groups decide the
    mean of all, although rows that exchange their levels would be alike. The error is
    that of a mean over groups (Liang & Zeger 1986).

    Attributes:
        level, group: of each pair of both that has rows ``(pairs,)``.
        member: rows by pair ``(pairs, rows)``.
        of_level: pairs by level ``(levels, pairs)``.
        by_group: rows by group ``(groups, rows)``.
    """

    level: Integers
    group: Integers
    member: sparse.csr_matrix
    of_level: sparse.csr_matrix
    by_group: sparse.csr_matrix

    @classmethod
    def of(
        cls, dependence: Dependence | None, columns: Sequence[Integers], starts: Array
    ) -> _Groups | None:
        """Read them. None: rows have no groups."""
        if dependence is None or dependence.timed:
            return None
        codes = np.unique(dependence.codes, return_inverse=True)[1]
        row_count = len(codes)
        count = int(codes.max()) + 1
        pairs = np.concatenate(
            [
                (column + start) * count + codes
                for column, start in zip(columns, starts, strict=False)
            ]
        )
        used_pairs, pair_positions = np.unique(pairs, return_inverse=True)
        row_indices = np.tile(np.arange(row_count), len(columns))
        level = used_pairs // count
        levels = int(starts[-1])
        return cls(
            level=level,
            group=used_pairs % count,
            member=_members(pair_positions, row_indices, (len(used_pairs), row_count)),
            of_level=_members(
                level, np.arange(len(used_pairs)), (levels, len(used_pairs))
            ),
            by_group=_members(codes, np.arange(row_count), (count, row_count)),
        )

    def widening(self) -> Floats:
        """Return by how much errors are wider because groups have different sizes
        ``(levels,)``.

        If a few groups have most of the rows, and each has another difference, the
        errors vary as if there were fewer groups (Carter, Schnepel & Steigerwald 2017).
        Rows that exchange their levels do not show that. It is the ratio of the
        quantiles of Student's t, and of the biases of errors, of the side with the
        fewest groups.
        """
        sizes = np.asarray(self.member.sum(axis=1)).ravel()
        totals = np.asarray(self.by_group.sum(axis=1)).ravel()
        outside = totals[self.group] - sizes
        of_group = totals[self.group]
        of_level = self.of_level
        inner = of_level @ sizes, of_level @ sizes**2, of_level @ np.ones(len(sizes))
        outer = (
            totals.sum() - inner[0],
            (totals**2).sum() - of_level @ (of_group**2 - outside**2),
            len(totals) - of_level @ (outside == 0).astype(np.float64),
        )
        ratios = []
        for row_total, squares, count in (inner, outer):
            equal = np.maximum(row_total**2 / np.maximum(squares, 1.0), 2.0)
            limits = []
            for groups in (
                np.minimum(equal, np.maximum(count, 2.0)),
                np.maximum(count, 2.0),
            ):
                limits.append(
                    t_quantile(1 - LEVEL / 2, groups - 1)
                    * np.sqrt(groups / (groups - 1))
                )
            ratios.append(limits[0] / limits[1])
        return np.maximum(np.maximum(ratios[0], ratios[1]), 1.0)

    def errors(self, table: Floats, sums: Floats, total: Floats) -> Floats:
        """Return the error of each difference ``(levels, draws, measures)``, NaN where
        there is none.

        Args:
            table: what is summed ``(rows, draws, numbers)``.
            sums: by level ``(levels, draws, numbers)``.
            total: of all rows ``(numbers,)``.
        """
        measures = range(2, table.shape[2], 4)
        errors = [self._error(table, sums, total - sums, begin) for begin in measures]
        return np.stack(errors, axis=-1)

    def _error(
        self, table: Floats, sums: Floats, other_sums: Floats, begin: int
    ) -> Floats:
        """Return the errors of the measure whose numbers begin at ``begin`` ``(levels,
        draws)``.

        A difference is a sum over groups. Each adds what its rows in the level and its
        other rows are away from the mean of their side.
        """
        counts = np.ascontiguousarray(table[:, :, begin])
        values = np.ascontiguousarray(table[:, :, begin + 1])
        all_counts = self.by_group @ counts
        all_values = self.by_group @ values
        pair_counts = self.member @ counts
        pair_values = self.member @ values
        with np.errstate(invalid="ignore", divide="ignore"):
            level_size = sums[..., begin]
            size_others = other_sums[..., begin]
            level_mean = sums[..., begin + 1] / level_size
            mean_others = other_sums[..., begin + 1] / size_others
            # Of all groups as if the level were in none of them, then of those that it
            # is in.
            squares = (
                (all_values**2).sum(axis=0)
                - 2 * mean_others * (all_values * all_counts).sum(axis=0)
                + mean_others**2 * (all_counts**2).sum(axis=0)
            ) / size_others**2
            level = self.level
            group = self.group
            without = all_values[group] - all_counts[group] * mean_others[level]
            inside = pair_values - pair_counts * level_mean[level]
            outside = without - (pair_values - pair_counts * mean_others[level])
            apart = inside / level_size[level] - outside / size_others[level]
            squares += self.of_level @ (apart**2 - (without / size_others[level]) ** 2)
            # What rounding leaves of 0 is no error.
            least = _NO_SQUARES * sums[..., begin + 2] / level_size**2
            return np.sqrt(np.where(squares > least, squares, np.nan))


def _members(
    groups: Array, member_columns: Array, shape: tuple[int, int]
) -> sparse.csr_matrix:
    """Return a matrix of which places are in which group."""
    return sparse.csr_matrix(
        (np.ones(len(member_columns)), (groups, member_columns)), shape=shape
    )


# ---- what happens if levels mean nothing ---------------------------------------------
def _exchanged(
    table: Floats,
    dependence: Dependence | None,
    seed: int,
    groups: _Groups | None = None,
) -> Iterator[Floats]:
    """Yield ``table`` with other levels for its rows, several times side by side,
    ``(rows, draws, numbers)``.
    """
    stream = generator(seed, "levels exchanged")
    row_count, numbers = table.shape
    exchange = _Exchange.of(dependence, row_count)
    if groups is None:
        lines = row_count
    else:
        lines = max(row_count, groups.member.shape[0])
    draws_at_once = max(1, min(_ROUND, _NUMBERS // (lines * numbers)))
    for _ in range(0, _MOST_DRAWS, draws_at_once):
        moved = np.empty((row_count, draws_at_once, numbers))
        for draw_index in range(draws_at_once):
            # Row i gets the level that row ``source[i]`` has, so that its numbers are
            # added there.
            source = exchange.draw(stream)
            if exchange.one_to_one:
                moved[source, draw_index] = table
            else:
                moves = sparse.csr_matrix(
                    (np.ones(row_count), (source, np.arange(row_count))),
                    shape=(row_count, row_count),
                )
                moved[:, draw_index] = moves @ table
        yield moved


@dataclass(frozen=True, eq=False)
class _Exchange:
    """Which row's level each row gets: of rows that belong together, those of one other
    group.

    Attributes:
        order: the rows, those of a group or time one after the other ``(rows,)``.
        starts, sizes: of each group, where it begins in ``order``, and its rows. Empty:
            there are no groups.
        timed: whether rows are in time.
    """

    order: Integers
    starts: Integers
    sizes: Integers
    timed: bool

    @classmethod
    def of(cls, dependence: Dependence | None, rows: int) -> _Exchange:
        """Read which rows belong together."""
        nothing = np.zeros(0, dtype=np.int64)
        if dependence is None:
            return cls(np.arange(rows), nothing, nothing, timed=False)
        order = np.argsort(dependence.codes, kind="stable")
        sizes = np.unique(dependence.codes, return_counts=True)[1]
        if dependence.timed:
            return cls(order, nothing, nothing, timed=True)
        return cls(order, np.cumsum(sizes) - sizes, sizes, timed=False)

    @property
    def one_to_one(self) -> bool:
        """Whether each row's level goes to one row."""
        return len(set(self.sizes.tolist())) <= 1

    def draw(self, stream: np.random.Generator) -> Integers:
        """Return whose level each row gets ``(rows,)``.

        Of groups of other sizes rows are left out or repeated.
        """
        row_count = len(self.order)
        if self.timed:
            shifted = np.roll(self.order, int(stream.integers(1, max(row_count, 2))))
        elif not len(self.sizes):
            shifted = stream.permutation(row_count)
        else:
            other_groups = np.repeat(stream.permutation(len(self.sizes)), self.sizes)
            within = np.arange(row_count) - np.repeat(self.starts, self.sizes)
            group_sizes = np.repeat(self.sizes, self.sizes)
            shifted = self.order[
                self.starts[other_groups]
                + within * self.sizes[other_groups] // group_sizes
            ]
        source = np.empty(row_count, dtype=np.int64)
        source[self.order] = shifted
        return source


class LevelTests(NamedTuple):
    """How much levels differ, against draws in which they do not.

    Attributes:
        p_values: ``(levels, measures)``.
        scale: The scale of each difference, ``(levels, measures)``.
        limit: Of the largest difference, in scales.
    """

    p_values: Floats
    scale: Floats
    limit: float


class _Drawn:
    """Differences of all draws in standard errors, and what they say of those
    observed.
    """

    def __init__(self, observed: Floats) -> None:
        self.observed = observed
        self.draws = list[Floats]()

    def add(self, sizes: Floats) -> None:
        """Add draws ``(levels, draws, measures)``, NaN where a level does not count."""
        self.draws.append(sizes)

    @property
    def decided(self) -> bool:
        """Whether more draws would hardly change what is clear."""
        if sum(drawn_block.shape[1] for drawn_block in self.draws) < _ROUND:
            return False
        p_values = self.results().p_values
        return not bool(((p_values > _NEAR[0]) & (p_values < _NEAR[1])).any())

    def results(self) -> LevelTests:
        """Return the p-value and the scale of each difference ``(levels, measures)``,
        and the limit of the largest.
        """
        every = np.concatenate([self.observed[:, None], *self.draws], axis=1)
        # Rows of one group make a level differ more by chance. The draws know by how
        # much.
        defined = np.isfinite(every)
        squares = np.where(defined, every, 0.0) ** 2
        scale = np.sqrt(squares.sum(axis=1) / np.maximum(defined.sum(axis=1), 1))
        scale = np.where(scale > 0, scale, 1.0)
        sizes = np.abs(every) / scale[:, None]
        largest_sizes = np.where(defined, sizes, 0.0).max(axis=(0, 2))
        first = sizes[:, 0]
        drawn_largest = np.sort(largest_sizes[1:])
        above = len(drawn_largest) - np.searchsorted(drawn_largest, first * (1 - 1e-9))
        p_values = (1 + above) / (1 + len(drawn_largest))
        p_values = np.where(np.isfinite(first), p_values, np.nan)
        return LevelTests(p_values, scale, float(np.quantile(largest_sizes, 1 - LEVEL)))


# ---- measures that ask about the model -----------------------------------------------
def usual_errors(truth: Array, guess: Floats) -> Floats:
    """Return the mean absolute error that is usual at each row's prediction
    ``(rows,)``, at least a little above 0.

    It is that of the rows with similar predictions, fifty or more.
    """
    errors = np.abs(truth - guess)
    order = np.argsort(guess, kind="stable")
    ranges = int(np.clip(len(guess) // _ROWS_OF_A_RANGE, 1, _MOST_RANGES))
    centres = []
    means = []
    for row_indices in np.array_split(order, ranges):
        centres.append(float(np.mean(guess[row_indices])))
        means.append(float(np.mean(errors[row_indices])))
    usual = np.interp(guess, centres, means)
    least = 1e-3 * float(errors.mean())
    return np.maximum(usual, least if least > 0 else 1.0)


def beyond_expected(
    probabilities: Floats, truth: Integers, decided: Integers
) -> dict[str, tuple[Floats, Measure]]:
    """Return ``accuracy`` and ``log_loss``: what the probabilities expect of each row,
    and how far it is from that.

    A row of a class that the model does not know (-1) is wrong, and has no log loss.

    Args:
        probabilities: of each class ``(rows, classes)``.
        truth: the class of each row ``(rows,)``.
        decided: the predicted class of each row ``(rows,)``.
    """
    smallest_share = np.finfo(np.float64).eps
    shares = probabilities / probabilities.sum(axis=1, keepdims=True)
    surprise = -np.log(np.clip(shares, smallest_share, 1.0))
    row_indices = np.arange(len(truth))
    has_class = truth >= 0
    decided_share = shares[row_indices, decided]
    expected = (shares * surprise).sum(axis=1)
    log_losses = surprise[row_indices, np.where(has_class, truth, 0)]
    variance = (shares * surprise**2).sum(axis=1) - expected**2
    right = (truth == decided).astype(np.float64)
    return {
        "accuracy": (
            decided_share,
            Measure(
                right - decided_share, variance=decided_share * (1 - decided_share)
            ),
        ),
        "log_loss": (
            expected,
            Measure(
                log_losses - expected, has_class, variance=np.maximum(variance, 0.0)
            ),
        ),
    }


def events_of(truth: Integers, classes: int, positive: int) -> Booleans:
    """Return which rows have the event: the positive one of two classes, or any but the
    most frequent of several.
    """
    if classes == 2:
        return np.asarray(truth == positive)
    counts = np.bincount(truth[truth >= 0], minlength=1)
    return np.asarray(truth != int(np.argmax(counts)))
