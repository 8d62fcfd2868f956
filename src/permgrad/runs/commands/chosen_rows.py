"""Rows of a table that are looked at one by one: chosen by number or by value, in memory or in parts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.errors import InputError, counted, suggest
from permgrad.data.read.cells import canonical
from permgrad.runs.requests import ExplainRequest
from permgrad.runs.run.target import find_column

if TYPE_CHECKING:
    from permgrad.data.parts.partitions import PartitionedTable

#: Rows of a long table that are read into memory at most, rows looked at together, and values kept for a guess.
MOST_ROWS, _READ_ROWS, _GUESSED = 100_000, 50_000, 1000


class Conditions:
    """What ``--where`` asks of a row, each ``COLUMN=VALUE``: the table may be shown a piece at a time."""

    def __init__(self, texts: Sequence[str], columns: Sequence[str]) -> None:
        self.conditions: list[tuple[str, str]] = []
        for text in texts:
            name, sign, value = text.partition("=")
            if not sign:
                raise InputError(f"--where must have the form COLUMN=VALUE, however: --where {text!r}; add the value")
            find_column(name, list(columns), "where")
            self.conditions.append((name, value))
        #: Values that a column has in the place of the one that is asked for; None: some row has that.
        self._instead: list[set[str] | None] = [set() for _ in self.conditions]

    def fits(self, frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
        """Return which rows fulfil all conditions."""
        fits = np.ones(len(frame), dtype=bool)
        for place, (name, value) in enumerate(self.conditions):
            fitting = _equal(frame[name], value)
            instead = self._instead[place]
            if fitting.any():
                self._instead[place] = None
            elif instead is not None and len(instead) < _GUESSED:
                instead.update(canonical(cell) for cell in frame[name].dropna().unique()[:_GUESSED].tolist())
            fits &= fitting
        return fits

    def check(self, rows: int) -> None:
        """Refuse a choice of no row, once the whole table was shown."""
        for (name, value), instead in zip(self.conditions, self._instead, strict=True):
            if instead is not None:
                near = suggest(value, sorted(instead)[:_GUESSED])
                raise InputError(
                    f"--where must choose a row, however: no row has {name} = {value}{near}; check the value"
                )
        if not rows:
            raise InputError("--where must choose a row, however: no row has all of these values; give fewer of them")


def _equal(values: pd.Series[Any], text: str) -> npt.NDArray[np.bool_]:
    """Return which cells are what a text says; 1, 1.0 and "1" are one value, as they are for the encoder."""
    try:
        # A float would be one with its neighbours from 2^53 on.
        number: Any = int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip()) else float(text)
    except ValueError:
        number = text
    # What is written as text is that text alone: "07" is no "7".
    as_text, as_number = canonical(text), canonical(number)
    # Of objects single cells: True and 1 would be one value here, and are not.
    is_object = values.dtype == object
    codes, distinct = (np.arange(len(values)), values) if is_object else pd.factorize(values, use_na_sentinel=False)
    fitting = [
        canonical(cell) == as_text or (not isinstance(cell, str) and canonical(cell) == as_number)
        for cell in distinct.tolist()
    ]
    return np.array(fitting, dtype=bool)[codes]


def selected(request: ExplainRequest, table: pd.DataFrame) -> npt.NDArray[np.int64] | None:
    """Return the rows of a table in memory that are chosen by number or by value; None: all rows."""
    if request.row is not None:
        return np.array([request.row], dtype=np.int64)
    if not request.where:
        return None
    conditions = Conditions(request.where, [str(column) for column in table.columns])
    places = np.flatnonzero(conditions.fits(table)).astype(np.int64)
    conditions.check(len(places))
    return places


def read_selected(
    request: ExplainRequest, table: PartitionedTable, columns: Sequence[str]
) -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    """Return the chosen rows of a long table, and their numbers in it; only they are held in memory."""
    check_row(request, table.rows)
    conditions = Conditions(request.where, table.columns)
    wanted = list(dict.fromkeys([*columns, *(name for name, _ in conditions.conditions)]))
    frames: list[pd.DataFrame] = []
    numbers: list[npt.NDArray[np.int64]] = []
    for part in table.parts:
        if request.row is not None and not part.first_row <= request.row < part.first_row + part.rows:
            continue
        for first, frame in table.batches(part, _READ_ROWS, wanted):
            rows = np.arange(first, first + len(frame), dtype=np.int64)
            fits = conditions.fits(frame) if request.row is None else rows == request.row
            if fits.any():
                frames.append(frame[fits])
                numbers.append(rows[fits])
        count = sum(map(len, numbers))
        if count > MOST_ROWS:
            raise InputError(
                f"--where must choose at most {MOST_ROWS:,} rows of a table that is read in parts, however: up to row "
                f"{part.first_row + part.rows:,} it chooses {count:,}; add another --where, or explain "
                "a sample of all rows with --rows"
            )
    conditions.check(sum(map(len, numbers)))
    return pd.concat(frames, ignore_index=True), np.concatenate(numbers)


def check_row(request: ExplainRequest, rows: int) -> None:
    """Refuse a row that the table does not have."""
    if request.row is not None and request.row >= rows:
        raise InputError(
            f"row must be below the number of rows, however: --row {request.row} and {request.source} has "
            f"{counted(rows, 'row')}, counted from 0"
        )
