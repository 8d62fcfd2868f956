"""Encode cells of a user's table for conditional draws, and decode what was drawn.

A number or date is one column, with a second that flags missing cells if there are any.
All else has a column for each level. Only values of the background are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from permgrad.attribution.subject.frame_tensors import FrameForm
from permgrad.base.arrays import Floats, Indexes
from permgrad.base.errors import InputError
from permgrad.base.late import pd
from permgrad.base.sequences import values_at
from permgrad.data.encode.slots import where

#: Levels of a column up to which their chances are modelled.
_MOST_LEVELS = 100


@dataclass(frozen=True)
class _Scale:
    """A column of numbers or dates: those of the background in their order, with the
    cells that hold them.
    """

    numbers: Floats
    cells: Floats
    missing: (
        float | None
    )  # the cell that stands for a missing one, if the background has any
    snapped: (
        bool  # whether only cells that were seen may stand: dates, and whole numbers
    )

    @property
    def kinds(self) -> list[str]:
        if self.missing is None:
            return ["numeric"]
        return ["numeric", "flag"]

    def expand(self, numbers: Floats) -> Floats:
        """Return a column of numbers without missing ones, and the flag."""
        lacking = np.isnan(numbers)
        middle = self.numbers[len(self.numbers) // 2]
        filled = np.where(lacking | (len(self.numbers) == 1), middle, numbers)
        return np.stack([filled, lacking], axis=1)[:, : len(self.kinds)]

    def collapse(self, drawn: Floats) -> Floats:
        """Return cells ``(draws,)``: for a whole number the nearest of the background.

        ``drawn`` ``(draws, 1 or 2)`` holds numbers and, where cells of the background
        are missing, the flag of ``expand``: above 0 a cell is missing.
        """
        cells = drawn[:, 0]
        if self.snapped:
            above = np.searchsorted(self.numbers, cells).clip(
                1, max(1, len(self.numbers) - 1)
            )
            below = above - 1
            above = above.clip(max=len(self.numbers) - 1)
            nearer = np.abs(self.numbers[above] - cells) < np.abs(
                self.numbers[below] - cells
            )
            cells = self.cells[np.where(nearer, above, below)]
        if self.missing is None:
            return cells
        return np.where(drawn[:, 1] > 0, self.missing, cells)


@dataclass(frozen=True)
class _Levels:
    """A column of any other cells: those of the background."""

    cells: Floats

    @property
    def kinds(self) -> list[str]:
        return ["level"] * len(self.cells)

    def expand(self, cells: Floats) -> Floats:
        """Return a column for each level.

        A cell that is not in the background has none.
        """
        return np.asarray(cells[:, None] == self.cells, dtype=np.float64)

    def collapse(self, drawn: Floats) -> Floats:
        """Return the cell of each row."""
        return self.cells[drawn.argmax(axis=1)]


class CellDesign:
    """The encoder of a conditional sampler, for a table without one.

    ``background`` is ``(rows, columns)``.
    """

    def __init__(self, form: FrameForm, background: Floats) -> None:
        self.form = form
        columns = []
        for column_index, cells in enumerate(background.T):
            columns.append(self._column(column_index, cells))
        self._columns = columns
        block_ends = np.cumsum([0, *(len(column.kinds) for column in self._columns)])
        blocks = []
        for column_index in range(len(self._columns)):
            blocks.append(np.arange(*block_ends[column_index : column_index + 2]))
        self._blocks = blocks
        kinds_ = []
        for column in self._columns:
            kinds_.extend(column.kinds)
        self.kinds_ = kinds_

    def _column(self, column_index: int, cells: Floats) -> _Scale | _Levels:
        column_name = self.form.names[column_index]
        numbers = self._numbers(column_index, cells)
        if numbers is None or np.isnan(numbers).all():
            levels = np.unique(cells)
            if len(levels) > _MOST_LEVELS:
                problem = (
                    f"sampling='conditional' draws columns of up to {_MOST_LEVELS} "
                    f"levels, and column {column_name!r} has {len(levels)}"
                )
                raise InputError(
                    problem,
                    hint="Leave sampling out, or merge its rare levels",
                    code="PG038",
                )
            return _Levels(levels)
        if np.isinf(numbers).any():
            problem = (
                f"sampling='conditional' cannot draw column {column_name!r}, "
                "which holds infinity"
            )
            raise InputError(problem, hint="Replace infinity", code="PG014")
        lacking = np.isnan(numbers)
        seen_numbers, first = np.unique(numbers[~lacking], return_index=True)
        if lacking.any():
            missing = float(cells[lacking][0])
        else:
            missing = None
        are_integers = not self.form.columns[column_index].numeric or bool(
            (seen_numbers == np.rint(seen_numbers)).all()
        )
        return _Scale(seen_numbers, cells[~lacking][first], missing, are_integers)

    def _numbers(self, column_index: int, cells: Floats) -> Floats | None:
        """Return the numbers of a column of numbers or dates, NaN where missing, or
        None for other columns.
        """
        column = self.form.columns[column_index]
        if column.numeric:
            return cells
        cell_pool: pd.Series[Any] = self.form.library.series(column.cells)
        if not (
            pd.api.types.is_datetime64_any_dtype(cell_pool)
            or pd.api.types.is_timedelta64_dtype(cell_pool)
        ):
            return None
        day_numbers: Floats = (
            (cell_pool - cell_pool.min()) / pd.Timedelta(days=1)
        ).to_numpy(dtype=np.float64, na_value=np.nan)
        return day_numbers[cells.astype(np.int64)]

    @property
    def numeric_columns_(self) -> Indexes:
        """The columns that are drawn as numbers."""
        return np.flatnonzero(where(self.kinds_, lambda part_kind: part_kind.is_number))

    def features(self, level: str) -> dict[str, Indexes]:  # noqa: ARG002 — the encoder's form
        """Return the columns of each feature."""
        return dict(zip(self.form.names, self._blocks, strict=True))

    def columns_of(self, column_indices: Indexes) -> Indexes:
        """Return the columns of the table's columns at ``column_indices``."""
        return np.concatenate(values_at(self._blocks, column_indices))

    def expand(self, rows: Floats) -> Floats:
        """Return rows ``(rows, columns)`` of the table as ``(rows, design
        columns)``.
        """
        expanded = []
        for column_index, (column, cells) in enumerate(
            zip(self._columns, rows.T, strict=True)
        ):
            if isinstance(column, _Scale):
                numbers = self._numbers(column_index, cells)
            else:
                numbers = cells
            expanded.append(column.expand(cells if numbers is None else numbers))
        return np.concatenate(expanded, axis=1)

    def collapse(self, column_indices: Indexes, drawn: Floats) -> Floats:
        """Return the cells ``(rows, places)`` for values of ``columns_of(places)``."""
        widths = [len(self._blocks[column_index]) for column_index in column_indices]
        drawn_parts = np.split(drawn, np.cumsum(widths)[:-1], axis=1)
        cells = []
        for column_index, drawn_part in zip(column_indices, drawn_parts, strict=True):
            cells.append(self._columns[column_index].collapse(drawn_part))
        return np.stack(cells, axis=1)
