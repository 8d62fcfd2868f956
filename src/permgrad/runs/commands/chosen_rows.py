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
    """What ``--where`` asks of a row: the table may be shown a piece at a time.

    Args:
        texts: each of the form ``COLUMN=VALUE``.
        columns: names of the table's columns.

    Raises:
        InputError: no value, or no such column.
    """

    def __init__(self, texts: Sequence[str], columns: Sequence[str]) -> None:
        self.conditions: list[tuple[str, str]] = []
        for text in texts:
            name, sign, value = text.partition("=")
            if not sign:
                raise InputError(f"--where must have the form COLUMN=VALUE, however: --where {text!r}; add the value")
            find_column(name, list(columns), "where")
            self.conditions.append((name, value))
        self._found = [False] * len(self.conditions)
        self._values: list[set[str]] = [set() for _ in self.conditions]

    @property
    def columns(self) -> list[str]:
        """The columns that are looked at."""
        return list(dict.fromkeys(name for name, _ in self.conditions))

    def fits(self, frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
        """Return which rows fulfil all conditions."""
        fits = np.ones(len(frame), dtype=bool)
        for place, (name, value) in enumerate(self.conditions):
            # Compared as text, so that 1, 1.0 and "1" are one value, as they are for the encoder.
            codes, written, is_text = _texts(frame[name])
            # What is written as text is that text alone: "07" is no "7".
            as_text, as_number = canonical(value), canonical(_as_number(value))
            fitting = [
                text == as_text or (text == as_number and not quoted)
                for text, quoted in zip(written, is_text, strict=True)
            ]
            fitting_rows = np.array(fitting, dtype=bool)[codes]
            self._found[place] |= bool(fitting_rows.any())
            if not self._found[place] and len(self._values[place]) < _GUESSED:
                self._values[place].update(sorted(text for text in written if text is not None)[:_GUESSED])
            fits &= fitting_rows
        return fits

    def check(self, rows: int) -> None:
        """Refuse a choice of no row, once the whole table was shown.

        Raises:
            InputError: no row has such a value, or none has all of them.
        """
        for (name, value), met, values in zip(self.conditions, self._found, self._values, strict=True):
            if not met:
                near = suggest(value, sorted(values)[:_GUESSED])
                raise InputError(
                    f"--where must choose a row, however: no row has {name} = {value}{near}; check the value"
                )
        if not rows:
            raise InputError("--where must choose a row, however: no row has all of these values; give fewer of them")


def _texts(values: pd.Series[Any]) -> tuple[npt.NDArray[np.intp], list[str], list[bool]]:
    """Return a column's cells as text: for each row a place in the list of texts, and which of these are texts."""
    if values.dtype == object:
        # Single cells: True and 1 would be one value here, and are not.
        codes, cells = np.arange(len(values)), values.tolist()
    else:
        codes, distinct = pd.factorize(values, use_na_sentinel=False)
        cells = distinct.tolist()
    return codes, [canonical(cell) for cell in cells], [isinstance(cell, str) for cell in cells]


def _as_number(text: str) -> Any:
    try:
        # A float would be one with its neighbours from 2^53 on.
        return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip()) else float(text)
    except ValueError:
        return text


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
    if request.row is not None:
        check_row(request, table.rows)
        part = next(part for part in table.parts if request.row < part.first_row + part.rows)
        for first, frame in table.batches(part, _READ_ROWS, columns):
            if request.row < first + len(frame):
                place = request.row - first
                return frame.iloc[place : place + 1].reset_index(drop=True), np.array([request.row], dtype=np.int64)
    conditions = Conditions(request.where, table.columns)
    wanted = list(dict.fromkeys([*columns, *conditions.columns]))
    frames: list[pd.DataFrame] = []
    numbers: list[npt.NDArray[np.int64]] = []
    for part in table.parts:
        for first, frame in table.batches(part, _READ_ROWS, wanted):
            places = np.flatnonzero(conditions.fits(frame))
            if len(places):
                frames.append(frame.iloc[places])
                numbers.append(places + first)
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
    """Refuse a row that the table does not have.

    Raises:
        InputError: its number is too large.
    """
    if request.row is not None and request.row >= rows:
        raise InputError(
            f"row must be below the number of rows, however: --row {request.row} and {request.source} has "
            f"{counted(rows, 'row')}, counted from 0"
        )
