"""Rows that belong together though nobody said so: those of one person, incident or
storm.

Of such rows a model learns some and is tested on the others, so that scores are those
of rows that it half knows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.arrays import Array, Booleans, Floats, Integers
from permgrad.base.random import generator
from permgrad.data.tasks import tasks
from permgrad.data.types.identifiers import shared_by_equal
from permgrad.evaluation.levels import ColumnCells, cells_of

#: Of so many values a column may say which rows belong together, and so many rows may
#: have one value on average: within these bounds a share of all rows. A value of more
#: rows comes again in new ones, like a town.
_FEWEST = 30
_FEW_ROWS = (10.0, 100.0)
_SHARE = 0.01
#: Share of the rows that have another row of their value.
_IN_COMPANY = 0.2
#: How much of the target's variance equal values share at least, beyond that.
_ALIKE = 0.05
#: Columns up to which a table is searched, columns whose pairs are looked at, rows up
#: to which they are, and how many candidates the model tries.
_MOST_COLUMNS = 500
_MOST_PAIRED = 15
_MOST_ROWS = 200_000
_TRIED = 8
#: Rows, folds, trees and columns at a split of the model. A fall counts from so many
#: standard errors, and of so much of what it explains.
_MODEL_ROWS = 3000
_FOLDS = 3
_TREES = 20
_MOST_SPLIT = 20
_SURE = 4.0
_LEAST_FALL = 0.05
#: A fall is about as large as another from this share of it on. Rows with one value of
#: a name, so that it is noted.
_ABOUT = 0.8
_SEVERAL = 1.5


@dataclass(frozen=True)
class Together:
    """Columns whose equal values may say which rows belong together.

    Attributes:
        columns: one column, or two.
        each: how many rows have one value on average.
        values, rows: how many values there are, and rows with one.
        tested, shared: how many test rows have one, and how many of those have that of
            a training row.
        metric: ``"accuracy"`` or ``"r2_of_ranks"``, of a forest on rows that it has not
            seen.
        apart, together: its score if rows are divided at random, and if rows with one
            value stay together. None: there are too few rows, or values, to say.
        clear: whether the second is clearly lower.
    """

    columns: list[str]
    each: float
    metric: str
    apart: float | None = None
    together: float | None = None
    clear: bool = False
    values: int = 0
    rows: int = 0
    tested: int = 0
    shared: int = 0

    @property
    def fall(self) -> float:
        """By how much the score is lower if rows with one value stay together, 0 where
        that is not known.
        """
        if self.apart is None or self.together is None:
            return 0.0
        return self.apart - self.together

    def facts(self) -> dict[str, Any]:
        """Return the attributes for JSON."""
        return asdict(self)


def rows_together(
    table: pd.DataFrame,
    y: Array,
    task: str,
    learned: Booleans,
    tested: Booleans,
    features: Sequence[str],
    named: Collection[str] = (),
    but_for: Collection[str] = (),
) -> Together | None:
    """Find the column, or pair of columns, whose equal values most probably say which
    rows belong together.

    A candidate has 30 values or more, each in a few rows: on average 10, or 1 % of the
    rows up to 100. A pair has a name of 30 different ones. On training rows, equal
    values share a part of the target's variance beyond what their neighbours share, and
    those of a pair beyond what both columns say each by itself (analysis of variance).
    It is found if a forest is clearly worse where rows with one value stay in one part.
    Columns that are ``named`` like persons or things are found without that, where no
    other is.

    Args:
        table: all rows.
        y: their target.
        task: what is predicted.
        learned: which of them are training rows.
        tested: which are test rows.
        features: columns that a model reads.
        named: columns whose values name something, by their name.
        but_for: columns that are no candidates. Of very wide tables only those
            ``named`` are, without scores.
    """
    row_columns = _found(table, y, task, learned, features, named, but_for)
    if row_columns is None:
        return None
    has_value = table[row_columns.columns].notna().all(axis=1).to_numpy()
    codes = (
        table[row_columns.columns]
        .astype(str)
        .groupby(row_columns.columns)
        .ngroup()
        .to_numpy()
    )
    there = has_value & tested
    shared = there & np.isin(codes, codes[has_value & learned])
    values = len(np.unique(codes[has_value]))
    row_count = int(has_value.sum())
    return replace(
        row_columns,
        values=values,
        rows=row_count,
        tested=int(there.sum()),
        shared=int(shared.sum()),
    )


def _found(
    table: pd.DataFrame,
    y: Array,
    task: str,
    learned: Booleans,
    features: Sequence[str],
    named: Collection[str],
    but_for: Collection[str],
) -> Together | None:
    """Find columns as ``rows_together`` does, without counts."""
    column_names = [
        str(column_name) for column_name in table if column_name not in set(but_for)
    ]
    if len(column_names) > _MOST_COLUMNS:
        column_names = list(named)
        features = ()
    distinct_rows = np.arange(len(table))
    with suppress(TypeError):  # of cells that nothing can look up
        # Copies of a row have a note of their own.
        distinct_rows = np.flatnonzero(
            ~table.assign(**{"\0target": y}).duplicated().to_numpy()
        )
    cells = {
        column_name: cells_of(table[column_name].iloc[distinct_rows], column_name)
        for column_name in column_names
    }
    y = np.asarray(y)[distinct_rows]
    learned = learned[distinct_rows]
    classes = 0
    if tasks.get(task).has_classes:
        y, labels = pd.factorize(y)
        classes = len(labels)
    else:
        y = (
            pd.Series(y).rank(pct=True).to_numpy()
        )  # a few large values would decide all
    candidates = _candidates(cells, y, classes, learned)
    feature_values = [
        _numbers(cells[feature_name])
        for feature_name in features
        if feature_name in cells
    ]
    trial = _Trial(
        np.column_stack([np.zeros((len(y), 0)), *feature_values]), y, classes
    )
    tried = [
        (alike, trial.of(columns, codes))
        for alike, columns, codes in candidates[:_TRIED]
    ]
    falls = [(alike, candidate) for alike, candidate in tried if candidate.clear]
    if falls:
        return _strongest(falls, named)
    repeated = (
        column_name
        for column_name in named
        if _rows_each(cells[column_name].codes) >= _SEVERAL
    )
    named_column = next(repeated, None)
    return (
        None
        if named_column is None
        else trial.of([named_column], cells[named_column].codes)
    )


def _strongest(falls: list[tuple[float, Together]], named: Collection[str]) -> Together:
    """Return the column, or pair, of those whose score falls clearly, of which rows
    with one value are most alike.

    A pair with that column takes its place where the score falls more: a name that
    comes again each year. What tells persons apart, like an exact age, gives way to the
    column that is ``named`` like them.
    """
    of_one = [column_fall for column_fall in falls if len(column_fall[1].columns) == 1]
    largest = max((candidate.fall for _, candidate in of_one), default=0.0)
    called = []
    for column_fall in of_one:
        if (
            column_fall[1].columns[0] in named
            and column_fall[1].fall >= _ABOUT * largest
        ):
            called.append(column_fall)
    if of_one := called or of_one:
        column = max(of_one, key=lambda pair: pair[0])[1]
        finer = []
        for _, candidate in falls:
            if set(column.columns) <= set(candidate.columns):
                finer.append(candidate)
        return max(finer, key=lambda finer_candidate: finer_candidate.fall)
    # Groups of groups make scores fall, too: of those that do so about as much, rows of
    # a group are most alike.
    largest = max(candidate.fall for _, candidate in falls)
    return max(
        (
            column_fall
            for column_fall in falls
            if column_fall[1].fall >= _ABOUT * largest
        ),
        key=lambda pair: pair[0],
    )[1]


# ---- candidates ----------------------------------------------------------------------
def _candidates(
    cells: dict[str, ColumnCells], y: Array, classes: int, learned: Booleans
) -> list[tuple[float, list[str], Integers]]:
    """Return how much of the target rows of one value share, the columns and each row's
    value, the most first.
    """
    candidates: list[tuple[float, list[str], Integers]] = []
    repeated = [
        column_name
        for column_name, column_cells in cells.items()
        if _repeats(column_cells.codes)
    ]
    for repeated_name in repeated:
        alike = _alike(cells[repeated_name], y, classes, learned)
        if alike >= _ALIKE:
            candidates.append((alike, [repeated_name], cells[repeated_name].codes))
    # Amounts, and few levels, that cross are what a model learns from, and no names.
    names = {
        column_name
        for column_name in repeated
        if cells[column_name].kind == "levels"
        and int(cells[column_name].codes.max()) >= _FEWEST
    }
    paired = sorted(repeated, key=lambda name: -int(cells[name].codes.max()))[
        :_MOST_PAIRED
    ]
    for column_pair in combinations(paired, 2) if len(y) <= _MOST_ROWS else ():
        if not names.intersection(column_pair):
            continue
        first, second = (cells[column_name].codes for column_name in column_pair)
        codes = _crossed(first, second)
        if not _are_few(codes):
            continue
        remaining_target = _beyond(first, second, y, classes, learned)
        if (
            remaining_target is not None
            and (target_share := _shared(codes, codes, remaining_target, 0, learned)[0])
            >= _ALIKE
        ):
            candidates.append((target_share, list(column_pair), codes))
    return sorted(candidates, key=lambda scored_candidate: -scored_candidate[0])


def _alike(column: ColumnCells, y: Array, classes: int, learned: Booleans) -> float:
    """Return how much of the target rows of one value share, beyond close values."""
    if not _are_few(column.codes):
        return 0.0
    if column.kind != "levels" and column.values is not None:
        ordered = column.values
    else:
        ordered = None
    target_share, neighbours = _shared(
        column.codes if ordered is None else ordered, column.codes, y, classes, learned
    )
    if ordered is None:
        return target_share
    return target_share * (1 - min(neighbours, 1.0))


def _crossed(first: Integers, second: Integers) -> Integers:
    """Return a code for each two levels that rows have, and -1 where one is missing."""
    codes = np.where(
        (first < 0) | (second < 0), -1, first * (int(second.max()) + 1) + second
    )
    return np.unique(codes, return_inverse=True)[1] - int((codes < 0).any())


def _shared(
    values: Array, codes: Integers, y: Array, classes: int, learned: Booleans
) -> tuple[float, float]:
    """Return what ``shared_by_equal`` says of training rows with a value."""
    row_mask = learned & (codes >= 0)
    levels = len(np.unique(codes[row_mask]))
    if levels < 2 or row_mask.sum() - levels < _FEWEST:
        return 0.0, 1.0
    return shared_by_equal(
        np.asarray(values[row_mask], dtype=np.float64), y[row_mask], classes
    )


def _beyond(
    first: Integers, second: Integers, y: Array, classes: int, learned: Booleans
) -> Floats | None:
    """Return what two columns do not tell of the target each by itself, added up: a
    number ``(rows,)``.

    Of classes it is the direction in which the rests of rows differ most. None: nothing
    is left.
    """
    residuals = (y[:, None] == np.arange(classes) if classes else y[:, None]).astype(
        np.float64
    )
    residuals[~learned] = 0.0
    for codes in (first, second) * 3:
        member = codes[learned] + 1
        level_sums = np.stack(
            [np.bincount(member, column) for column in residuals[learned].T], axis=1
        )
        residuals[learned] -= (
            level_sums / np.maximum(np.bincount(member), 1)[:, None]
        )[member]
    direction = np.linalg.eigh(residuals.T @ residuals)[1][:, -1]
    projected_residuals = residuals @ direction
    if projected_residuals.any():
        return projected_residuals
    return None


def _repeats(codes: Integers) -> bool:
    """Whether enough rows have a value that another row has, too."""
    counts = np.bincount(codes + 1)[1:]
    return len(counts) > 1 and counts[counts > 1].sum() >= _IN_COMPANY * len(codes)


def _are_few(codes: Integers) -> bool:
    """Whether there are many values, each of a few rows, and enough rows are not
    alone.
    """
    return (
        int(codes.max(initial=-1)) + 1 >= _FEWEST
        and _repeats(codes)
        and _rows_each(codes) <= np.clip(_SHARE * len(codes), *_FEW_ROWS)
    )


def _rows_each(codes: Integers) -> float:
    """Return how many rows have one value on average."""
    count = int(codes.max(initial=-1)) + 1
    if count > 1:
        return float((codes >= 0).sum() / count)
    return 0.0


def _numbers(cells: ColumnCells) -> Floats:
    """Return a column as a forest reads it."""
    if cells.values is None:
        values = cells.codes.astype(np.float64)
    else:
        values = cells.values
    present = values[np.isfinite(values) & (cells.codes >= 0)]
    if len(present):
        least = float(present.min() - np.ptp(present) - 1)
    else:
        least = 0.0
    return np.where(np.isfinite(values) & (cells.codes >= 0), values, least)


# ---- one cheap model, both ways ------------------------------------------------------
def _whole_groups(columns: list[str], codes: Integers) -> tuple[Integers, Integers]:
    """Return as many whole groups of rows as there are rows for, and the group of each
    of them, in random order. Rows without a value are groups of their own.
    """
    alone = codes < 0
    groups = np.where(alone, int(codes.max(initial=-1)) + 1 + np.cumsum(alone), codes)
    order = generator(0, "rows kept together", *columns).permutation(
        int(groups.max()) + 1
    )
    ranks = order[groups]
    row_indices = np.arange(len(groups))
    if len(groups) > _MODEL_ROWS:
        row_indices = np.flatnonzero(ranks < np.sort(ranks)[_MODEL_ROWS])
    return row_indices, np.unique(ranks[row_indices], return_inverse=True)[1]


def _folds_of(groups: Integers) -> Integers:
    """Return each row's fold: that where the middle of its group's rows falls.

    Groups are in random order already.
    """
    sizes = np.bincount(groups)
    middles = np.cumsum(sizes) - sizes / 2
    folds = np.minimum(middles * _FOLDS / len(groups), _FOLDS - 1)
    return folds.astype(np.int64)[groups]


@dataclass
class _Trial:
    """A forest on the features ``x``, which is tested on rows at random, and on whole
    groups of rows.
    """

    x: Floats
    y: Array
    classes: int
    losses_apart: dict[bytes, Floats | None] = field(
        default_factory=dict
    )  # losses of rows apart

    def of(self, columns: list[str], codes: Integers) -> Together:
        """Return the scores of both ways, by the values ``codes`` ``(rows,)`` of some
        columns.
        """
        scores = Together(
            columns, _rows_each(codes), "accuracy" if self.classes else "r2_of_ranks"
        )
        row_indices, groups = _whole_groups(columns, codes)
        y = self.y[row_indices]
        count = int(groups.max()) + 1
        if count < _FEWEST or not self.x.shape[1] or len(np.unique(y)) < 2:
            return scores
        if self.classes:
            unlearned = (y != np.bincount(y).argmax()).astype(np.float64)
        else:
            unlearned = ((y - y.mean()) ** 2).astype(np.float64)
        usual = float(unlearned.mean())
        rows_key = row_indices.tobytes()
        if rows_key not in self.losses_apart:
            self.losses_apart[rows_key] = self._losses(
                row_indices,
                generator(0, "rows apart").permutation(len(row_indices)) % _FOLDS,
                unlearned,
            )
        apart = self.losses_apart[rows_key]
        # what is not learned cannot be half known
        if apart is None or usual <= float(apart.mean()):
            return scores
        skill = usual - float(apart.mean())
        together = self._losses(row_indices, _folds_of(groups))
        assert together is not None
        mean_fall = float((together - apart).mean())
        spread = np.bincount(groups, together - apart - mean_fall)
        error = float(np.sqrt((spread**2).sum())) / len(row_indices)
        whole_loss = 1 if self.classes else usual
        return replace(
            scores,
            apart=1 - float(apart.mean()) / whole_loss,
            together=1 - float(together.mean()) / whole_loss,
            clear=bool(mean_fall > _SURE * error and mean_fall > _LEAST_FALL * skill),
        )

    def _losses(
        self, rows: Integers, folds: Integers, unlearned: Floats | None = None
    ) -> Floats | None:
        """Return the loss of each row: whether it is not recognised, or its squared
        error.

        None: the first fold's are no less than those of a forest that learns nothing,
        ``unlearned`` ``(rows,)``.
        """
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        x = self.x[rows]
        y = self.y[rows]
        losses = np.empty(len(rows))
        max_features = min(x.shape[1], _MOST_SPLIT)
        for fold_index in range(_FOLDS):
            held_mask = folds == fold_index
            options = {
                "n_estimators": _TREES,
                "random_state": 0,
                "max_features": max_features,
            }
            if self.classes:
                guess = (
                    RandomForestClassifier(**options)
                    .fit(x[~held_mask], y[~held_mask])
                    .predict(x[held_mask])
                )
                losses[held_mask] = guess != y[held_mask]
            else:
                guess = (
                    RandomForestRegressor(**options)
                    .fit(x[~held_mask], y[~held_mask])
                    .predict(x[held_mask])
                )
                losses[held_mask] = (guess - y[held_mask]) ** 2
            if (
                unlearned is not None
                and losses[held_mask].mean() >= unlearned[held_mask].mean()
            ):
                # most tables end here, and the other folds would take as long again
                return None
            unlearned = None
        return losses
