"""What an encoder must know about a table: sums, extremes, counts and a bottom-k
sample, whatever the chunks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.arrays import Floats
from permgrad.base.random import uniform
from permgrad.data.encode.calendar import PERIODS, calendar_parts
from permgrad.data.kinds.column import ColumnType, Schema
from permgrad.data.read import cells
from permgrad.data.read.cells import (
    BLANK,
    PRESENT,
    CodesArgument,
    Distinct,
    Kinds,
    MissingCodes,
)
from permgrad.data.types.column_types import read_numbers

_MOST_SAMPLED_VALUES = 2**24
_MOST_SAMPLED_ROWS = 100_000
_FEWEST_SAMPLED_ROWS = 1_000
_MOST_LEVELS = 65_536


def sample_size(n_columns: int) -> int:
    """Return how many rows are kept for quantiles: all of them up to 100,000, fewer for
    very wide tables.
    """
    return int(
        np.clip(
            _MOST_SAMPLED_VALUES // max(n_columns, 1),
            _FEWEST_SAMPLED_ROWS,
            _MOST_SAMPLED_ROWS,
        )
    )


# ---- numbers -------------------------------------------------------------------------
class NumericStatistics:
    """Moments, extremes, missing counts and a sample of many numeric columns at once.

    Means and sums of squared deviations are merged by Chan, Golub & LeVeque (1979), eq.
    2.1. All in float64. ``count, mean, squares, minimum, maximum`` are ``(columns,)``.
    ``missing`` is ``(kinds, columns)``, of which the first kind is blank. ``sample`` is
    ``(at most size, columns)``.
    """

    def __init__(
        self, n_columns: int, n_kinds: int = 1, size: int | None = None
    ) -> None:
        if size is None:
            self.size = sample_size(n_columns)
        else:
            self.size = size
        self.count = np.zeros(n_columns, dtype=np.int64)
        self.mean = np.zeros(n_columns)
        self.squares = np.zeros(n_columns)
        self.minimum = np.full(n_columns, np.nan)
        self.maximum = np.full(n_columns, np.nan)
        self.missing = np.zeros((n_kinds, n_columns), dtype=np.int64)
        self.sample_rows = np.empty(0, dtype=np.int64)
        self.sample = np.empty((0, n_columns))

    def update(self, values: Floats, kinds: Kinds, first_row: int) -> None:
        """Add a chunk: ``values`` with NaN where missing, ``kinds`` of missingness,
        number of its first row.
        """
        if len(values) == 0:
            return
        present = kinds == PRESENT
        count = present.sum(axis=0)
        total = self.count + count
        divisor = np.maximum(count, 1)
        share = count / np.maximum(total, 1)
        with np.errstate(over="ignore", invalid="ignore"):
            # Divided first: the sum stays finite near the largest float.
            chunk_mean = (np.where(present, values, 0.0) / divisor).sum(axis=0)
            deviations = np.where(present, values - chunk_mean, 0.0)
            # Corrected two-pass algorithm (Chan, Golub & LeVeque 1983, eq. 1.7): takes
            # out the rounding of the mean.
            left_over = deviations.sum(axis=0) / divisor
            squares = (deviations**2).sum(axis=0) - count * left_over**2
            delta = (
                chunk_mean
                + np.where(np.isfinite(left_over), left_over, 0.0)
                - self.mean
            )
            # Chan, Golub & LeVeque 1979: M2 = M2a + M2b + δ²·na·nb/n.
            self.squares = self.squares + squares + delta**2 * self.count * share
            self.mean = self.mean + delta * share
        self.count = total
        self.minimum = np.fmin(self.minimum, np.fmin.reduce(values, axis=0))
        self.maximum = np.fmax(self.maximum, np.fmax.reduce(values, axis=0))
        self.missing += np.stack(
            [
                (kinds == missing_kind).sum(axis=0)
                for missing_kind in range(BLANK, BLANK + len(self.missing))
            ]
        )
        self._add_to_sample(values, first_row)

    def _add_to_sample(self, values: Floats, first_row: int) -> None:
        """Draw the sample from its rows and those of a chunk."""
        rows = np.concatenate(
            [
                self.sample_rows,
                np.arange(first_row, first_row + len(values), dtype=np.int64),
            ]
        )
        sample_positions = np.arange(len(rows))
        if len(rows) > self.size:
            # The hash of a row number is never equal to another's in practice. The
            # stable sort settles it anyway.
            sample_positions = np.lexsort((rows, uniform(0, ("bottom-k",), rows)))[
                : self.size
            ]
        sample_positions = sample_positions[
            np.argsort(rows[sample_positions], kind="stable")
        ]
        sample_count = len(self.sample_rows)
        is_new = sample_positions >= sample_count
        sample = np.empty((len(sample_positions), values.shape[1]))
        sample[~is_new] = self.sample[sample_positions[~is_new]]
        sample[is_new] = values[sample_positions[is_new] - sample_count]
        self.sample_rows = rows[sample_positions]
        self.sample = sample

    @property
    def deviation(self) -> Floats:
        """Standard deviation with the divisor n, as ``StandardScaler`` has it."""
        return np.asarray(np.sqrt(self.squares / np.maximum(self.count, 1)))

    def quantiles(self, levels: Sequence[float] | Floats) -> Floats:
        """Return linear quantiles ``(levels, columns)`` of the sample, missing cells
        left out. NaN without a value.
        """
        share = np.asarray(levels, dtype=np.float64)
        if len(self.sample) == 0:
            return np.full((len(share), len(self.count)), np.nan)
        ordered = np.sort(self.sample, axis=0)  # NaN goes last
        last_position = np.maximum(len(ordered) - np.isnan(ordered).sum(axis=0) - 1, 0)
        quantile_position = share[:, None] * last_position
        lower_position = np.floor(quantile_position).astype(np.intp)
        below = np.take_along_axis(ordered, lower_position, axis=0)
        above = np.take_along_axis(
            ordered, np.minimum(lower_position + 1, last_position), axis=0
        )
        weight = quantile_position - lower_position
        # Weighted this way the result is exact at both ends and does not overflow
        # between huge values.
        return np.asarray(
            np.where(below == above, below, below * (1 - weight) + above * weight)
        )


# ---- text ----------------------------------------------------------------------------
class LevelCounts:
    """How often each level of a text column occurs, for the 65,536 with the smallest
    hash, which makes counts exact.
    """

    def __init__(self, n_kinds: int = 1, most: int = _MOST_LEVELS) -> None:
        self.most = most
        self.levels: dict[str, int] = {}
        self.missing = np.zeros(n_kinds, dtype=np.int64)
        self.complete = True

    def update(self, distinct: Distinct, name: str, codes: MissingCodes) -> None:
        """Add a chunk."""
        for level_text, count in zip(
            distinct.texts, distinct.counts().tolist(), strict=True
        ):
            code_kind = codes.kind_of(level_text, name)
            if code_kind == PRESENT and count:
                self.levels[level_text] = self.levels.get(level_text, 0) + count
            elif count:
                self.missing[code_kind - BLANK] += count
        self.missing[0] += int((distinct.index < 0).sum())
        if len(self.levels) > self.most:
            hashed = sorted(
                self.levels,
                key=lambda text: hashlib.blake2b(text.encode(), digest_size=8).digest(),
            )
            levels = {}
            for kept_text in hashed[: self.most]:
                levels[kept_text] = self.levels[kept_text]
            self.levels = levels
            self.complete = False

    def by_frequency(self) -> list[tuple[str, int]]:
        """Return levels, the most frequent first, equals by text: the same whatever the
        order of rows.
        """
        return sorted(self.levels.items(), key=lambda item: (-item[1], item[0]))


# ---- the table -----------------------------------------------------------------------
class TableStatistics:
    """Statistics of all columns of a table with a schema, gathered in chunks."""

    def __init__(
        self, schema: Schema, *, na: CodesArgument | MissingCodes = None
    ) -> None:
        self.codes = MissingCodes.of(na)
        self.rows = 0
        self.schema = schema
        self.stored = schema.stored
        self.numeric_names = [column.name for column in self.stored]
        n_kinds = 1 + len(self.codes.labels)
        self.numeric = NumericStatistics(len(self.stored), n_kinds)
        texts = []
        for column in schema:
            if column.of.is_read and column.reader.keeps_text:
                texts.append(column.name)
        self.text = {text_name: LevelCounts(n_kinds) for text_name in texts}
        dates = [column.name for column in self.stored if column.reader.is_moment]
        calendar = {}
        for date_name in dates:
            calendar[date_name] = {
                period_name: np.zeros(n, dtype=np.int64)
                for period_name, n in PERIODS.items()
            }
        self.calendar = calendar
        self.days = {date_name: np.zeros(0, dtype=np.int64) for date_name in dates}

    def update(self, X: Any, first_row: int | None = None) -> TableStatistics:
        """Add a chunk of rows, whose first has this number in the whole table.

        None: the next one.
        """
        frame = cells.as_frame(X, allow_empty=True)
        values, kinds = numeric_cells(frame, self.stored, self.codes)
        self.numeric.update(
            values, kinds, self.rows if first_row is None else first_row
        )
        for date_name, counts in self.calendar.items():
            seconds = values[:, self.numeric_names.index(date_name)]
            date_values = calendar_parts(seconds[~np.isnan(seconds)])
            for period_name, period_size in PERIODS.items():
                counts[period_name] += np.bincount(
                    date_values[period_name], minlength=period_size
                )
            self.days[date_name] = np.union1d(
                self.days[date_name], date_values["day_number"]
            )
        for text_name, levels in self.text.items():
            levels.update(
                Distinct.of(frame[text_name], text_name), text_name, self.codes
            )
        self.rows += len(frame)
        return self


def numeric_cells(
    frame: pd.DataFrame, columns: Sequence[ColumnType], codes: MissingCodes
) -> tuple[Floats, Kinds]:
    """Return columns of numbers, dates and pairs as a matrix, NaN where missing, and
    the kinds of missingness.
    """
    values = np.full((len(frame), len(columns)), np.nan)
    kinds = np.full(values.shape, PRESENT, dtype=np.int16)
    numbers = set(cells.native_names(frame))
    native = [
        j
        for j, column_type in enumerate(columns)
        if column_type.reader.is_amount and column_type.name in numbers
    ]
    if native:
        matrix, kinds_of_native = cells.native_cells(
            frame, [columns[j].name for j in native], codes
        )
        if len(native) == len(columns):
            return matrix, kinds_of_native
        values[:, native] = matrix
        kinds[:, native] = kinds_of_native
    for j in sorted(set(range(len(columns))).difference(native)):
        values[:, j], kinds[:, j] = read_numbers(
            frame[columns[j].name], columns[j], codes
        )
    return values, kinds
