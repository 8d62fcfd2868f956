"""Which rows train, which stop the training, which test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.arrays import Floats, Integers
from permgrad.base.dependence import Dependence
from permgrad.base.errors import InputError, by_count, warn_user
from permgrad.base.random import generator
from permgrad.base.startup import loading
from permgrad.data.kinds.date import Date
from permgrad.data.read.cells import MissingCodes, as_frame, first_no_number
from permgrad.data.tasks import CLASSIFICATION, tasks
from permgrad.data.types.as_one import column_levels
from permgrad.data.types.column_types import (
    infer_schema,
    odd_among_numbers,
    read_numbers,
)

Rows: TypeAlias = Integers


@dataclass(frozen=True)
class Split:
    """Row numbers of the parts, every row in one.

    ``kind`` is stratified, random, grouped or temporal.
    """

    train: Rows
    validation: Rows
    test: Rows
    kind: str = "random"


def split_rows(
    n: int,
    y: Any = None,
    *,
    task: str = CLASSIFICATION,
    seed: int = 42,
    groups: Any = None,
    time: Any = None,
    fractions: tuple[float, ...] = (0.6, 0.2, 0.2),
) -> Split:
    """Split rows into training, validation and test.

    By default the published split of the named data sets: ``train_test_split`` takes 40
    % off (``random_state=seed``, stratified by ``y`` for classes). The same call halves
    that into the validation part and the test part. Rows of one of the ``groups (n,)``
    stay in one part. By ``time (n,)``, numbers or dates, the oldest rows train, the
    newest test.
    """
    if n < 3:
        problem = f"Splitting a table in three needs at least 3 rows, got {n}"
        raise InputError(
            problem, hint="Add rows, or pass test and validation files.", code="PG013"
        )
    if time is not None and groups is None:
        return _by_time(n, moments(time, n), fractions)
    if groups is not None:
        labels = groups
    elif tasks.get(task).stratified:
        labels = y
    else:
        labels = None
    if labels is None:
        return _at_random(n, None, seed, fractions)
    # Sorted, as scikit-learn numbers classes: the order decides which rows a seed
    # draws.
    codes, _ = pd.factorize(
        pd.Series(np.ravel(labels)), use_na_sentinel=False, sort=True
    )
    divide = _at_random if groups is None else _by_group
    return divide(n, codes.astype(np.int64), seed, fractions)


# ---- at random -----------------------------------------------------------------------
def _at_random(
    n: int, labels: Rows | None, seed: int, shares: tuple[float, ...]
) -> Split:
    off_share = shares[1] + shares[2]
    all_rows = np.arange(n, dtype=np.int64)
    halves = halve(all_rows, labels, off_share, seed)
    tested_share = shares[2] / off_share
    held_out = halve(halves.second, labels, tested_share, seed, keep=False)
    if labels is not None:
        counts = np.bincount(labels)
        alone = int((counts == 1).sum())
        if not halves.is_stratified:
            warn_user(
                "The parts are drawn without stratification, because the smallest "
                f"class has {counts[counts > 0].min()} of {n} rows."
            )
        elif alone:
            verb_phrase = by_count(alone, "class has", "classes have")
            warn_user(
                f"{alone} {verb_phrase} a single row, which trains: no validation or "
                "test row is of such a class."
            )
    kind = "stratified" if halves.is_stratified else "random"
    return Split(halves.first, held_out.first, held_out.second, kind)


class Halves(NamedTuple):
    """Rows in two parts.

    Attributes:
        first: Numbers of the rows that stay ``(rows,)``.
        second: Numbers of the share that is taken off.
        is_stratified: Whether each label has its part in both.
    """

    first: Rows
    second: Rows
    is_stratified: bool


def halve(
    rows: Rows, labels: Rows | None, share: float, seed: int, *, keep: bool = True
) -> Halves:
    """Return rows without a share of them, and this share. ``labels (n,)``: of all
    rows.

    The only row of a label stays with the first rows, or, if not ``keep``, is drawn
    like one of another label.
    """
    with loading():
        from sklearn.model_selection import train_test_split

    count = int(np.ceil(len(rows) * share))
    strata = None
    alone = np.zeros(len(rows), dtype=bool)
    if labels is not None:
        row_labels = labels[rows]
        alone = np.bincount(row_labels)[row_labels] == 1
        if not keep and alone.any():
            # Such rows are one label together. A last one joins the most frequent.
            if alone.sum() > 1:
                together = row_labels.max() + 1
            else:
                together = np.bincount(row_labels).argmax()
            row_labels = np.where(alone, together, row_labels)
            alone = np.zeros(len(rows), dtype=bool)
        label_count = len(np.unique(row_labels[~alone]))
        if (
            label_count
            and count >= label_count
            and np.sum(~alone) - count >= label_count
        ):
            strata = row_labels[~alone]
    alone &= strata is not None
    first, second = train_test_split(
        rows[~alone], test_size=count, random_state=seed, stratify=strata
    )
    if alone.any():
        first = np.append(first, rows[alone])
    return Halves(first, second, strata is not None)


# ---- by group ------------------------------------------------------------------------
def _by_group(n: int, codes: Rows, seed: int, shares: tuple[float, ...]) -> Split:
    sizes = np.bincount(codes)
    if len(sizes) < 3:
        problem = f"A grouped split needs at least 3 groups, got {len(sizes)}"
        raise InputError(
            problem, hint="Choose another column, or split at random.", code="PG018"
        )
    order = generator(seed, "grouped split").permutation(len(sizes))
    # A group goes to the part in which the middle of its rows falls, when groups stand
    # in random order.
    group_ends = np.cumsum(sizes[order])
    middle = (group_ends - sizes[order] / 2) / n
    split_part = np.searchsorted(np.cumsum(shares)[:2], middle, side="right")
    # An explanation of the test rows takes values from other groups, so that one group
    # is not enough.
    for part_index, fewest in enumerate((1, 1, 1 if len(sizes) == 3 else 2)):
        while np.sum(split_part == part_index) < fewest:
            fullest = int(np.bincount(split_part, minlength=3).argmax())
            members = np.flatnonzero(split_part == fullest)
            split_part[members[sizes[order][members].argmin()]] = part_index
    part_of_group = np.empty(len(sizes), dtype=np.int64)
    part_of_group[order] = split_part
    train = np.flatnonzero(part_of_group[codes] == 0).astype(np.int64)
    validation = np.flatnonzero(part_of_group[codes] == 1).astype(np.int64)
    test_rows = np.flatnonzero(part_of_group[codes] == 2).astype(np.int64)
    return Split(train, validation, test_rows, "grouped")


def dependence_of(
    tables: Mapping[str, pd.DataFrame], group: str | None, time: str | None
) -> dict[str, Dependence]:
    """Return which rows of each table depend on each other, by a column of groups, else
    of times, where it has one.

    A group or time has the same number in all tables.
    """
    if group is None:
        column_name = time
    else:
        column_name = group
    columns = {}
    for table_part, table in tables.items():
        if column_name in table.columns and len(table):
            columns[table_part] = table[column_name]
    if not columns:
        return {}
    column = pd.concat(columns.values())
    table_ends = np.cumsum(list(map(len, columns.values())))[:-1]
    if group is not None:
        codes = pd.factorize(column.to_numpy(), use_na_sentinel=False)[0].astype(
            np.int64
        )
        return {
            table_name: Dependence(part_codes, name=group)
            for table_name, part_codes in zip(
                columns, np.split(codes, table_ends), strict=True
            )
        }
    between = in_time(column, str(time))
    codes = np.split(between.codes, table_ends)
    times = np.split(np.asarray(between.times), table_ends)
    return {
        timed_table: replace(between, codes=time_codes, times=part_times)
        for timed_table, time_codes, part_times in zip(
            columns, codes, times, strict=True
        )
    }


def in_time(time: Any, name: str = "") -> Dependence:
    """Return which rows are neighbours, by their times ``(rows,)``, numbers or
    dates.
    """
    values, is_date = _read_times(time, len(time))
    codes = np.unique(values, return_inverse=True)[1]
    return Dependence(
        codes,
        True,
        name,
        np.floor(values).astype("datetime64[s]") if is_date else values,
    )


# ---- by time -------------------------------------------------------------------------
#: The name of the column that tells the time, while it is read.
_TIME = "time"


def moments(time: Any, n: int) -> Floats:
    """Return times ``(n,)``, numbers or dates, as numbers.

    Refuse others, and missing ones.
    """
    return _read_times(time, n)[0]


def _read_times(time: Any, n: int) -> tuple[Floats, bool]:
    series = pd.Series(time).reset_index(drop=True)
    frame = series.to_frame(_TIME).replace([np.inf, -np.inf], np.nan)
    column = infer_schema(frame)[_TIME]
    is_read = column.reader.is_amount or column.reader.is_moment
    if not is_read and column.n_levels:
        try:
            column = infer_schema(frame, kinds={_TIME: Date.name})[_TIME]
        except InputError:
            if series.name is not None:
                which = f"column {series.name!r}"
            else:
                which = "it"
            counts = series.dropna().astype(str).value_counts(sort=False)
            texts = counts.index.tolist()
            odd_text = odd_among_numbers(texts, counts.to_numpy())
            if odd_text is None:
                example_text = first_no_number(texts)
            else:
                example_text = odd_text[0]
            problem = (
                f"time must be a number or a date in every row, but {which} "
                f"holds text such as {example_text!r:.60}"
            )
            raise InputError(
                problem, hint="Choose another column, or split at random.", code="PG018"
            ) from None
    moments = read_numbers(frame[_TIME], column, MissingCodes())[0]
    missing_times = int(np.isnan(moments).sum())
    if missing_times:
        raise InputError(
            f"time must be a number or a date in every row, but {missing_times} of {n} "
            f"rows {by_count(missing_times, 'has', 'have')} none",
            hint=f"Drop {by_count(missing_times, 'this row', 'these rows')} or split "
            "at random.",
            code="PG018",
        )
    return moments, column.reader.is_moment


def _by_time(n: int, moments: Floats, shares: tuple[float, ...]) -> Split:
    order = np.argsort(moments, kind="stable")
    # A cut is moved to the nearest change of time, so that one moment is never in two
    # parts.
    changes = np.flatnonzero(np.diff(moments[order]) > 0) + 1
    if len(changes) < 2:
        problem = (
            f"A temporal split needs at least 3 different times, got {len(changes) + 1}"
        )
        raise InputError(
            problem, hint="Choose another column, or split at random.", code="PG018"
        )
    first = changes[:-1][np.abs(changes[:-1] - shares[0] * n).argmin()]
    later = changes[changes > first]
    second = later[np.abs(later - (shares[0] + shares[1]) * n).argmin()]
    split_parts = (
        np.sort(order[:first]),
        np.sort(order[first:second]),
        np.sort(order[second:]),
    )
    train, validation, test_rows = (
        part_rows.astype(np.int64) for part_rows in split_parts
    )
    return Split(train, validation, test_rows, "temporal")


#: Rows are no copies if no more than so many times those are equal that chance
#: explains. Columns that are tried for it.
_TIMES_EXPECTED = 2
_COLUMNS_TRIED = 50


# ---- rows in both --------------------------------------------------------------------
def count_shared_rows(train: Any, test: Any) -> int:
    """Count the test rows that are also in training, with all columns and the target
    equal. Missing equals missing.
    """
    if len(train) == 0 or len(test) == 0:
        return 0
    row_hashes = pd.util.hash_pandas_object(
        _codes_of_both(train, test), index=False
    ).to_numpy()
    return int(np.isin(row_hashes[len(train) :], row_hashes[: len(train)]).sum())


def _times(rows: npt.NDArray[np.uint64], learned: int) -> Integers:
    """Return how many training rows, which come first, equal each test row."""
    there, counts = np.unique(rows[:learned], return_counts=True)
    sorted_positions = np.minimum(
        np.searchsorted(there, rows[learned:]), len(there) - 1
    )
    return np.where(
        there[sorted_positions] == rows[learned:], counts[sorted_positions], 0
    )


def are_expected(train: Any, test: Any, shared: int) -> bool:
    """Whether so many shared rows are no surprise: with few coarse columns, rows are
    equal that are no copies.

    Rows that are equal in all columns but one show how many are equal in that one by
    chance, too. Copies have none.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> tables = [pd.DataFrame(rng.integers(0, 4, (200, 3))) for _ in range(2)]
        >>> shared = count_shared_rows(*tables)
        >>> shared, are_expected(*tables, shared)
        (193, True)
    """
    if not shared:
        return True
    codes = _codes_of_both(train, test).to_numpy() + 1
    learned = len(train)

    def marks(column_index: int) -> npt.NDArray[np.uint64]:
        levels = int(codes[:, column_index].max()) + 1
        return generator(0, "marks of levels", column_index).integers(
            0, 2**63, levels, dtype=np.uint64
        )[codes[:, column_index]]

    row_marks = np.zeros(len(codes), dtype=np.uint64)
    for mark_column in range(codes.shape[1]):
        row_marks += marks(mark_column)  # sums of random marks are equal where rows are
    equal = _times(row_marks, learned)
    has_values = (codes[learned:] > 0).sum(
        axis=1
    ) > 1  # rows without a value are told of by themselves
    shared -= int((equal[~has_values] > 0).sum())
    for tried_column in range(0, codes.shape[1], 1 + codes.shape[1] // _COLUMNS_TRIED):
        frequency = (
            np.bincount(
                codes[:learned, tried_column],
                minlength=int(codes[:, tried_column].max()) + 1,
            )
            / learned
        )
        level_odds = (frequency / np.maximum(1 - frequency, 1e-9))[
            codes[learned:, tried_column]
        ]
        if (
            shared
            <= _TIMES_EXPECTED
            * -np.expm1(
                -(_times(row_marks - marks(tried_column), learned) - equal) * level_odds
            )[has_values].sum()
        ):
            return True
    return False


def _codes_of_both(train: Any, test: Any) -> pd.DataFrame:
    """Return which level each cell is, of the rows of both tables, −1 where missing."""
    first = as_frame(train, allow_empty=True)
    second = as_frame(test, allow_empty=True)
    levels = {}
    for column_name in first.columns:
        column_pair = [first[column_name], second[column_name]]
        if column_pair[0].dtype != column_pair[1].dtype:
            column_pair = [column.astype(object) for column in column_pair]
        levels[column_name] = column_levels(
            pd.concat(column_pair, ignore_index=True), column_name
        )[0]
    return pd.DataFrame(levels)
