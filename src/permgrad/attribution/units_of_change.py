"""What changes together in a row: columns that are one feature, and cells that some row
of the table combines.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from scipy import sparse

from permgrad.base.arrays import Booleans, Floats, Integers

#: Units with more levels than this are not compared: most of their levels are rare.
_MOST_LEVELS = 500


@dataclass(frozen=True)
class Unit:
    """Columns that change together.

    Attributes:
        columns: their places ``(columns,)``.
        patterns: cells that they may have together, each that of a row of the table
            ``(patterns, columns)``, rising. Empty: they stay.
        ordered: whether the first column holds numbers or dates that others follow.
    """

    columns: Integers
    patterns: Floats
    ordered: bool

    def allowed(self, cells: Floats) -> Booleans:
        """Return which rows of cells ``(rows, columns)`` the columns may have
        together.
        """
        if len(self.columns) == 1:
            return np.isin(cells[:, 0], self.patterns[:, 0])
        known_patterns = set(map(tuple, self.patterns.tolist()))
        return np.array(
            [tuple(cell_row) in known_patterns for cell_row in cells.tolist()],
            dtype=bool,
        )


def units_of(
    values: Sequence[Floats],
    ordered: Booleans,
    blocks: Sequence[list[int]],
    rows: Floats,
    own_cells: Floats,
) -> list[Unit]:
    """Return what changes together.

    Args:
        values: what each column may be, in rising order.
        ordered: whether each column holds numbers or dates.
        blocks: places of columns that are one feature.
        rows: the table's rows ``(rows, columns)``, NaN where cells are missing.
        own_cells: the row's cells ``(columns,)``.
    """
    # A row that combines what no row of the table does shows that they need not agree.
    remaining_blocks = []
    for block in blocks:
        if (rows[:, block] == own_cells[block]).all(axis=1).any():
            remaining_blocks.append(block)
    blocks = remaining_blocks
    inside = set(chain.from_iterable(blocks))
    units = []
    for column_index, allowed in enumerate(values):
        if column_index not in inside:
            units.append(
                Unit(
                    np.array([column_index]),
                    allowed[:, None],
                    bool(ordered[column_index]),
                )
            )
    for block in blocks:
        column_indices = np.asarray(block)
        seen_patterns = np.unique(rows[:, column_indices], axis=0)
        allowed_mask = ~np.isnan(seen_patterns).any(axis=1)
        for block_position, block_column in enumerate(block):
            stays = seen_patterns[:, block_position] == own_cells[block_column]
            allowed_mask &= stays | np.isin(
                seen_patterns[:, block_position], values[block_column]
            )
        is_flag = []
        for position in range(len(block)):
            is_flag.append(set(seen_patterns[:, position].tolist()) <= {0.0, 1.0})
        follows = bool(ordered[column_indices].all()) and not all(is_flag)
        units.append(Unit(column_indices, seen_patterns[allowed_mask], follows))
    return sorted(units, key=lambda unit: int(unit.columns[0]))


class Combinations:
    """Which levels of a table's units some row combines.

    Numbers with more than two values are not compared.

    Args:
        units: what changes together.
        rows: the table's rows ``(rows, columns)``, NaN where cells are missing.
        own_cells: the row's cells ``(columns,)``.
        wordings: places of columns whose cells hardly any two rows share, as free text
            and names of rows. What stands beside such a cell shows nothing.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        rows: Floats,
        own_cells: Floats,
        wordings: Collection[int] = (),
    ) -> None:
        self._levels: list[tuple[Integers, Mapping[tuple[float, ...], int]]] = []
        indexes = list[Integers]()
        total = 0
        for column_unit in units:
            if not set(wordings).isdisjoint(column_unit.columns.tolist()):
                continue
            cells = np.nan_to_num(rows[:, column_unit.columns], nan=np.inf)
            different, codes = np.unique(cells, axis=0, return_inverse=True)
            has_few = len(different) <= (2 if column_unit.ordered else _MOST_LEVELS)
            if len(different) < 2 or not has_few:
                continue
            level_numbers = range(total, total + len(different))
            number_by_level = dict(
                zip(map(tuple, different.tolist()), level_numbers, strict=True)
            )
            self._levels.append((column_unit.columns, number_by_level))
            indexes.append(codes.ravel() + total)
            total += len(different)
        # A level that no row has is the last one, which goes with all others.
        self._total = total
        together = np.ones((total + 1, total + 1), dtype=bool)
        if indexes:
            of_rows = np.concatenate(indexes)
            marks = sparse.csr_array(
                (
                    np.ones(len(of_rows), dtype=np.int32),
                    (np.tile(np.arange(len(rows)), len(indexes)), of_rows),
                ),
                shape=(len(rows), total),
            )
            together[:total, :total] = (marks.T @ marks).toarray() > 0
        self._together = together
        self._own = self._places(own_cells[None])[0]

    def _places(self, rows: Floats) -> Integers:
        """Return the level of each unit in rows ``(rows, units)``."""
        level_numbers = np.full((len(rows), len(self._levels)), self._total)
        for unit_index, (columns, number_by_level) in enumerate(self._levels):
            cells = np.nan_to_num(rows[:, columns], nan=np.inf).tolist()
            level_numbers[:, unit_index] = [
                number_by_level.get(tuple(cell_row), self._total) for cell_row in cells
            ]
        return level_numbers

    def occur(self, rows: Floats) -> Booleans:
        """Return in which rows each changed level stands beside levels that some row of
        the table has it with.
        """
        level_numbers = self._places(rows)
        changed = level_numbers != self._own
        possible = np.ones(len(rows), dtype=bool)
        for unit_index in np.flatnonzero(changed.any(axis=0)):
            goes_together = self._together[
                level_numbers[:, unit_index, None], level_numbers
            ].all(axis=1)
            possible &= goes_together | ~changed[:, unit_index]
        return possible
