"""Cells that a column's type cannot read. They count as missing, and each is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from permgrad.base.errors import InputError, warn_user
from permgrad.data.kinds.column import ColumnType, Schema
from permgrad.data.read.cells import CellError, InfiniteCellError, MissingCodes
from permgrad.data.types.column_types import read_numbers

#: Different odd cells of a column, and the share of its rows that they may be. Beyond,
#: the column holds something else than in training, which no rule can mend.
_MOST_ODD = 20
_MOST_SHARE = 0.5
#: Odd cells that are named.
_NAMED = 5


def without_odd_cells(
    frame: pd.DataFrame,
    schema: Schema,
    codes: MissingCodes,
    *,
    infinite: bool = False,
) -> tuple[pd.DataFrame, list[CellError]]:
    """Return rows whose unreadable cells are missing, and what is wrong with each.

    Args:
        frame: Rows with the columns of ``schema``. It stays as it is.
        schema: The columns as they were decided by other rows.
        codes: Texts and numbers that mean missing.
        infinite: Whether an infinite number counts as missing, too. In rows that are
            trained or tested with, it is refused, wherever it stands.

    Raises:
        CellError: A column has so many such cells that it holds something else.
    """
    errors: list[CellError] = []
    changed: dict[str, pd.Series] = {}
    for column in schema:
        is_read = column.is_stored and column.reader.refuses_odd
        if not is_read or column.name not in frame:
            continue
        series, odd_errors = _readable(frame[column.name], column, codes, infinite)
        if odd_errors:
            changed[column.name] = series
            errors += odd_errors
    return (frame.assign(**changed) if changed else frame), errors


def _readable(
    series: pd.Series, column: ColumnType, codes: MissingCodes, infinite: bool
) -> tuple[pd.Series, list[CellError]]:
    """Return a column whose unreadable cells are missing, and an error for each."""
    errors: list[CellError] = []
    # Cells that were odd when the type was decided are named, too.
    column = replace(column, facts={})
    for _ in range(_MOST_ODD):
        try:
            read_numbers(series, column, codes)
        except CellError as error:
            if isinstance(error, InfiniteCellError) and not infinite:
                raise
            alike = _alike(series, error.row)
            alike_rows = np.flatnonzero(alike)
            if len(errors) + len(alike_rows) > max(1, _MOST_SHARE * len(series)):
                raise
            for alike_row in alike_rows:
                errors.append(_moved(error, int(alike_row), series.index))
            series = series.mask(alike)
        else:
            return series, errors
    read_numbers(series, column, codes)
    return series, errors


def _alike(series: pd.Series, row: int) -> np.ndarray:
    """Return which cells hold what the cell of a row holds."""
    value = series.iloc[row]
    alike = np.array(
        [cell_value is value or cell_value == value for cell_value in series],
        dtype=bool,
    )
    alike[row] = True
    return alike


def _moved(error: CellError, row: int, index: pd.Index) -> CellError:
    """Return the error of an equal cell in another row."""
    return CellError.at(row, index, error.fact, error.hint or "", code=error.code)


def odd_cells_words(cell_errors: Sequence[InputError]) -> str:
    """Say which cells count as missing, each with its column and row or line."""
    facts = [cell_error.problem.rstrip(".") for cell_error in cell_errors[:_NAMED]]
    further_count = len(cell_errors) - len(facts)
    if further_count:
        further_text = f"; and {further_count:,} more"
    else:
        further_text = ""
    counted_cells = "cell that cannot be read counts"
    if len(cell_errors) > 1:
        counted_cells = "cells that cannot be read count"
    return (
        f"{len(cell_errors):,} {counted_cells} as missing: "
        f"{'; '.join(facts)}{further_text}."
    )


def warn_of_odd_cells(errors: Sequence[CellError]) -> None:
    """Warn that cells of rows that a fit holds out count as missing."""
    if errors:
        warn_user(odd_cells_words(errors))
