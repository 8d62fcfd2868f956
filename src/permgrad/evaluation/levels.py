"""A column cut into levels: ranges of numbers, frequent values of all else, and what
the rows of each level have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from permgrad.base.arrays import Array, Booleans, Floats, Integers
from permgrad.base.dependence import Dependence
from permgrad.base.numerals import distinct
from permgrad.data.kinds.column import kinds
from permgrad.data.kinds.date import Date
from permgrad.data.read import dates
from permgrad.data.read.cells import Distinct, canonical
from permgrad.data.types.as_one import column_levels

#: Each row's level, and the levels' names.
Levels = tuple[Integers, list[str]]
#: Most levels of a column, and ranges that numbers are cut into.
LEVELS = 12
PARTS = 6
#: How far values that are equal may differ, as a share of their size.
_ROUNDING = 1e-12


def levels_of(
    values: pd.Series[Any],
    range_count: int = PARTS,
    write: Callable[[float], str] | None = None,
) -> Levels | None:
    """Return each row's level and the levels' names: quantile ranges of numbers,
    frequent values of all else.

    Args:
        values: The column, ``(rows,)``.
        range_count: Into how many numbers with many values are cut.
        write: Turns their ends, and single numbers, into text.
    """
    if isinstance(values.dtype, pd.DatetimeTZDtype) or values.dtype.kind in "mM":
        return None
    missing = values.isna().to_numpy()
    numeric = pd.api.types.is_numeric_dtype(
        values.dtype
    ) and not pd.api.types.is_bool_dtype(values.dtype)
    if numeric and values.nunique() > LEVELS:
        codes, names = _ranges(values, missing, range_count, write)
    else:
        codes, names = _frequent(values, missing, write, numeric=numeric)
    if missing.any():
        codes = np.where(missing, len(names), codes)
        names = [*names, "missing"]
    return codes.astype(np.int64), names


def _frequent(
    values: pd.Series[Any],
    missing: Booleans,
    write: Callable[[float], str] | None,
    *,
    numeric: bool,
) -> tuple[Integers, list[str]]:
    """Return the frequent values as levels, and all others as the last."""
    write = write or (
        lambda value: f"{value:g}" if isinstance(value, float) else str(value)
    )
    texts = values.map(write, na_action="ignore").astype(object)
    counts = texts[~missing].value_counts()
    shown = counts.index[: LEVELS if len(counts) <= LEVELS else LEVELS - 1].tolist()
    if numeric:
        shown.sort(key=dict(zip(texts, values, strict=True)).__getitem__)
    codes = pd.Index(shown, dtype=object).get_indexer(texts)
    codes = np.where(codes < 0, len(shown), codes)
    further = len(counts) - len(shown)
    if further:
        names = [*shown, f"{further} others"]
    else:
        names = shown
    return codes, names


def _ranges(
    values: pd.Series[Any],
    missing: Booleans,
    range_count: int,
    write: Callable[[float], str] | None,
) -> tuple[Integers, list[str]]:
    """Return the quantile ranges of numbers with many values."""
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    present = numbers[~missing]
    edges = np.unique(
        np.quantile(
            present, np.linspace(0, 1, range_count + 1)[1:-1], method="inverted_cdf"
        )
    )
    edges = edges[edges < present.max()]
    codes = np.searchsorted(edges, numbers, side="left")
    # A range begins with the first whole number in it, or behind the end of the range
    # below.
    is_integral = bool(np.all(present == np.round(present)))
    if is_integral:
        begins = np.array([present[present > edge].min() for edge in edges[:-1]])
    else:
        begins = edges[:-1]
    ends: list[Any] = [*begins.tolist(), *edges.tolist()]
    if write is None:
        ends = distinct(ends, 3)
    else:
        ends = list(map(write, ends))
    begun = ends[: len(begins)]
    written = ends[len(begins) :]
    if written:
        names = [f"up to {written[0]}"]
    else:
        names = ["all"]
    for low, high in zip(begun, written[1:], strict=True):
        if low != high:
            names.append(f"from {low} to {high}")
        else:
            names.append(high)
    if written:
        names += [f"above {written[-1]}"]
    return codes, names


def level_table(
    levels: Levels,
    outcome: Floats,
    attribution: Floats | None,
    explained_rows: Integers,
    dependence: Dependence | None = None,
) -> list[dict[str, Any]]:
    """Return for each level its rows, their mean outcome and their mean attribution,
    both with standard errors.

    ``dependence``: which rows depend on each other.
    """
    codes, names = levels
    explained = codes[explained_rows]
    counts = np.bincount(codes, minlength=len(names))
    explained_counts = np.bincount(explained, minlength=len(names))
    pairs: list[list[tuple[float | None, float | None]]] = []
    if dependence is None:
        of_places = None
    else:
        of_places = dependence.take(explained_rows)
    for values, member, level_rows, among in (
        (outcome, codes, counts, dependence),
        (attribution, explained, explained_counts, of_places),
    ):
        if values is None:
            pairs.append([(None, None)] * len(names))
            continue
        means, errors = _means_with_errors(values, member, level_rows, among)
        lines = zip(means.tolist(), errors.tolist(), level_rows.tolist(), strict=True)
        pairs.append(
            [
                (level_mean if count else None, error if count > 1 else None)
                for level_mean, error, count in lines
            ]
        )
    outcomes, attributions = pairs
    return [
        {
            "level": level_name,
            "rows": int(counts[level_code]),
            "share": float(counts[level_code] / len(codes)),
            "outcome": outcomes[level_code][0],
            "deviation": outcomes[level_code][1],
            "attribution": attributions[level_code][0],
            "attribution_error": attributions[level_code][1],
            "explained": int(explained_counts[level_code]),
        }
        for level_code, level_name in enumerate(names)
    ]


def _means_with_errors(
    values: Floats,
    member: Integers,
    rows: Integers,
    dependence: Dependence | None,
) -> tuple[Floats, Floats]:
    """Return the mean of each level's values, and its standard error."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.bincount(member, weights=values, minlength=len(rows)) / rows
        squares = np.bincount(
            member, weights=(values - means[member]) ** 2, minlength=len(rows)
        )
        squares[squares < rows * (_ROUNDING * means) ** 2] = (
            0  # equal values differ from their mean by rounding
        )
        errors = np.sqrt(squares / (rows - 1) / rows)
    if dependence is not None:
        related = dependence.correlation(values)
        wider = []
        for code in np.flatnonzero(rows):
            wider.append(dependence.widening((member == code) + 0.0, related))
        errors[rows > 0] *= wider
    return means, errors


#: Numbers with up to this many values are treated as levels.
FEW_VALUES = 12


@dataclass(frozen=True)
class ColumnCells:
    """The cells of a column.

    ``codes`` ``(rows,)`` number the distinct values, −1 where missing. ``numbers`` are
    the distinct values, dates as seconds since 1970, and ``values`` those of each row,
    NaN where missing. Both are None for texts. ``names`` are the distinct values of
    levels as text, None for dates and many numbers.
    """

    kind: Literal["number", "date", "levels"]
    codes: Array
    numbers: Floats | None
    values: Floats | None
    names: list[str] | None

    @property
    def is_moment(self) -> bool:
        """Whether the numbers are dates."""
        return self.kind == Date.storage

    @property
    def is_levels(self) -> bool:
        """Whether the cells have no numbers."""
        return self.numbers is None


def cells_of(series: pd.Series[Any], name: str) -> ColumnCells:
    """Read a column: numbers and dates also where they are written as text.

    Dates are those of their own time zone.

    Numbers of a categorical type without an order are levels.

    Args:
        series: The column.
        name: What messages call it.
    """
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        series = series.dt.tz_localize(None)
    codes, levels = column_levels(series, name)
    if isinstance(levels, np.ndarray):
        numbers = levels
        is_date = dates.is_moment(series)
        if dates.are_whole_dates(levels):
            numbers = dates.date_seconds(list(map(canonical, levels)), dates.WHOLE)
            is_date = True
        elif isinstance(series.dtype, pd.CategoricalDtype) and not series.dtype.ordered:
            return ColumnCells(
                "levels", codes, None, None, Distinct.of(series, name).texts
            )
    elif date_format := dates.find_date_format(levels):
        numbers = dates.read_dates(levels, date_format[0])
        is_date = True
    elif dates.are_durations(levels):
        numbers = dates.duration_seconds(levels)
        is_date = False
    else:
        return ColumnCells("levels", codes, None, None, levels)
    if is_date or len(numbers) > FEW_VALUES:
        names = None
    else:
        names = [f"{value:.15g}" for value in numbers]
    return ColumnCells(
        "date" if is_date else "number",
        codes,
        numbers,
        np.append(numbers, np.nan)[codes],
        names,
    )


def compared_cells(series: pd.Series[Any], name: str) -> ColumnCells:
    """Read a column as ``cells_of``, and levels as kinds of columns compare them."""
    return alike(cells_of(series, name))


def alike(column_cells: ColumnCells) -> ColumnCells:
    """Return cells with one level for all that a kind of column takes for alike."""
    if not column_cells.is_levels or not column_cells.names:
        return column_cells
    for column_kind in kinds.values():
        levels = column_kind.compared(column_cells.names)
        if levels is not None:
            codes, names = pd.factorize(np.array(levels, dtype=object))
            merged = np.append(codes, -1)[column_cells.codes]
            return replace(column_cells, codes=merged, names=names.tolist())
    return column_cells
