"""What changes together in a row: columns that are one feature, and cells that some row of the table combines."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

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
        """Return which rows of cells ``(rows, columns)`` the columns may have together."""
        if len(self.columns) == 1:
            return np.isin(cells[:, 0], self.patterns[:, 0])
        known = set(map(tuple, self.patterns.tolist()))
        return np.array([tuple(row) in known for row in cells.tolist()], dtype=bool)


def units_of(
    values: Sequence[Floats],
    ordered: Booleans,
    blocks: Sequence[list[int]],
    rows: Floats,
    own: Floats,
) -> list[Unit]:
    """Return what changes together.

    Args:
        values: what each column may be, in rising order.
        ordered: whether each column holds numbers or dates.
        blocks: places of columns that are one feature.
        rows: the table's rows ``(rows, columns)``, NaN where cells are missing.
        own: the row's cells ``(columns,)``.
    """
    # A row that combines what no row of the table does shows that they need not agree.
    blocks = [
        block for block in blocks if (rows[:, block] == own[block]).all(axis=1).any()
    ]
    inside = {place for block in blocks for place in block}
    units = [
        Unit(np.array([place]), allowed[:, None], bool(ordered[place]))
        for place, allowed in enumerate(values)
        if place not in inside
    ]
    for block in blocks:
        places = np.asarray(block)
        seen = np.unique(rows[:, places], axis=0)
        free = ~np.isnan(seen).any(axis=1)
        for at, place in enumerate(block):
            stays = seen[:, at] == own[place]
            free &= stays | np.isin(seen[:, at], values[place])
        is_flag = [set(seen[:, at].tolist()) <= {0.0, 1.0} for at in range(len(block))]
        follows = bool(ordered[places].all()) and not all(is_flag)
        units.append(Unit(places, seen[free], follows))
    return sorted(units, key=lambda unit: int(unit.columns[0]))


class Combinations:
    """Which levels of a table's units some row combines. Numbers with more than two values are not compared.

    Args:
        units: what changes together.
        rows: the table's rows ``(rows, columns)``, NaN where cells are missing.
        own: the row's cells ``(columns,)``.
        wordings: places of columns whose cells hardly any two rows share, as free text
            and names of rows. What stands beside such a cell shows nothing.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        rows: Floats,
        own: Floats,
        wordings: Collection[int] = (),
    ) -> None:
        self._levels: list[tuple[Integers, Mapping[tuple[float, ...], int]]] = []
        indexes, total = list[Integers](), 0
        for unit in units:
            if not set(wordings).isdisjoint(unit.columns.tolist()):
                continue
            cells = np.nan_to_num(rows[:, unit.columns], nan=np.inf)
            different, codes = np.unique(cells, axis=0, return_inverse=True)
            few = len(different) <= (2 if unit.ordered else _MOST_LEVELS)
            if len(different) < 2 or not few:
                continue
            places = range(total, total + len(different))
            known = dict(zip(map(tuple, different.tolist()), places, strict=True))
            self._levels.append((unit.columns, known))
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
        self._own = self._places(own[None])[0]

    def _places(self, rows: Floats) -> Integers:
        """Return the level of each unit in rows ``(rows, units)``."""
        places = np.full((len(rows), len(self._levels)), self._total)
        for at, (columns, known) in enumerate(self._levels):
            cells = np.nan_to_num(rows[:, columns], nan=np.inf).tolist()
            places[:, at] = [known.get(tuple(row), self._total) for row in cells]
        return places

    def occur(self, rows: Floats) -> Booleans:
        """Return in which rows each changed level stands beside levels that some row of the table has it with."""
        places = self._places(rows)
        changed = places != self._own
        possible = np.ones(len(rows), dtype=bool)
        for at in np.flatnonzero(changed.any(axis=0)):
            beside = self._together[places[:, at, None], places].all(axis=1)
            possible &= beside | ~changed[:, at]
        return possible
