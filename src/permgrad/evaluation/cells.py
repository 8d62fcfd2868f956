"""A column of a table as numbers, dates or levels, for those that compare rows and not encoded columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from permgrad.base.arrays import Array, Floats
from permgrad.data.read import dates
from permgrad.data.read.cells import canonical
from permgrad.data.types.duplicates import column_levels

#: Numbers with up to this many values are treated as levels.
FEW_VALUES = 12


@dataclass(frozen=True)
class ColumnCells:
    """The cells of a column.

    ``codes`` ``(rows,)`` number the distinct values, −1 where missing. ``numbers`` are the distinct values, dates as
    seconds since 1970, and ``values`` those of each row, NaN where missing. Both are None for texts. ``names`` are the
    distinct values of levels as text, None for dates and many numbers.
    """

    kind: Literal["number", "date", "levels"]
    codes: Array
    numbers: Floats | None
    values: Floats | None
    names: list[str] | None


def cells_of(series: pd.Series[Any], name: str) -> ColumnCells:
    """Read a column: numbers and dates also where they are written as text. Dates are those of their own time zone."""
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        series = series.dt.tz_localize(None)
    codes, levels = column_levels(series, name)
    if isinstance(levels, np.ndarray):
        numbers, is_date = levels, dates.is_moment(series)
        if whole := dates.find_whole_format(levels):
            numbers, is_date = dates.date_seconds([canonical(level) for level in levels], whole[0]), True
    elif form := dates.find_date_format(levels):
        numbers, is_date = dates.read_dates(levels, form[0]), True
    elif dates.are_durations(levels):
        numbers, is_date = dates.duration_seconds(levels), False
    else:
        return ColumnCells("levels", codes, None, None, levels)
    names = None if is_date or len(numbers) > FEW_VALUES else [f"{value:.15g}" for value in numbers]
    return ColumnCells("date" if is_date else "number", codes, numbers, np.append(numbers, np.nan)[codes], names)
