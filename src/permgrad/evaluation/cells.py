"""A column of a table as numbers, dates or levels, for those that compare rows and not encoded columns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

from permgrad.base.arrays import Array, Floats
from permgrad.data.read.dates import find_date_format, is_moment, read_dates
from permgrad.data.types.duplicates import column_levels

#: Numbers with up to this many values are treated as levels.
FEW_VALUES = 12


@dataclass(frozen=True)
class ColumnCells:
    """The cells of a column.

    ``codes`` ``(rows,)`` number the distinct values, −1 where missing. ``numbers`` are the distinct values, dates as
    seconds since 1970, or None for texts.
    """

    kind: Literal["number", "date", "levels"]
    codes: Array
    numbers: Floats | None
    texts: list[str]

    @property
    def count(self) -> int:
        """The number of distinct values."""
        return len(self.texts) if self.numbers is None else len(self.numbers)

    @cached_property
    def names(self) -> list[str]:
        """The distinct values as text."""
        return self.texts if self.numbers is None else [f"{value:.15g}" for value in self.numbers]

    @property
    def values(self) -> Floats | None:
        """The number of each row, NaN where missing, or None for texts."""
        return None if self.numbers is None else np.append(self.numbers, np.nan)[self.codes]


def cells_of(series: pd.Series[Any], name: str) -> ColumnCells:
    """Read a column: numbers and dates also where they are written as text. Dates are those of their own time zone."""
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        series = series.dt.tz_localize(None)
    codes, levels = column_levels(series, name)
    if isinstance(levels, np.ndarray):
        return ColumnCells("date" if is_moment(series) else "number", codes, levels, [])
    form = find_date_format(levels)
    if form is None:
        return ColumnCells("levels", codes, None, levels)
    return ColumnCells("date", codes, read_dates(levels, form[0]), levels)
