"""Rows of a long table that count: those with a target, found by reading that column alone, and by which weight.

Rows without one are treated as if they were not in the table. So the others keep the random numbers that they would
have in a table without those rows, which go by a row's place among the rows that count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from permgrad.base.errors import counted
from permgrad.data.parts.partitions import Part, PartitionedTable
from permgrad.data.read.cells import CodesArgument, MissingCodes
from permgrad.data.read.table import blank_codes

#: Rows of the column that are looked at together.
_READ_ROWS = 2**17


@dataclass(frozen=True)
class KnownRows:
    """Rows with a value in a column: how many before each part, in all, and how many rows have none."""

    column: str
    codes: CodesArgument
    before: tuple[int, ...]
    rows: int
    missing: int

    def mask(self, frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
        """Return which rows of a frame have a value."""
        return _has_value(frame[self.column], self.codes)

    def left_out(self, path: str) -> str:
        """Say how many rows have no value, and what becomes of them."""
        verb, be = ("has", "is") if self.missing == 1 else ("have", "are")
        rows = f"{self.missing:,} of {counted(self.rows + self.missing, 'row')} of {path}"
        return f"{rows} {verb} no {self.column!r} and {be} left out"


def _has_value(values: pd.Series[Any], codes: CodesArgument) -> npt.NDArray[np.bool_]:
    blanked = blank_codes(values.to_frame(), codes)[values.name]
    has_value: npt.NDArray[np.bool_] = blanked.notna().to_numpy(dtype=bool)
    return has_value


def find_known(table: PartitionedTable, column: str, codes: CodesArgument = ()) -> KnownRows | None:
    """Count the rows of each part that have a value in a column; None if all have one.

    The footers say how many cells are missing, but nothing of NaN and of declared codes: where there may be such cells,
    the column is read, a part at a time.
    """
    stored = table.schema.field(column).type if column in table.schema.names else None
    may_be_nan = stored is None or pa.types.is_floating(stored) or column in table.keys
    if not may_be_nan and table.null_counts.get(column, 0) == 0 and not MissingCodes.of(codes).labels:
        return None
    counts = [_count(table, part, column, codes) for part in table.parts]
    with_value = sum(counts)
    if with_value == table.rows:
        return None
    before = np.cumsum([0, *counts])[:-1]
    return KnownRows(column, codes, tuple(int(count) for count in before), with_value, table.rows - with_value)


def any_known(table: PartitionedTable, column: str, codes: CodesArgument = ()) -> bool:
    """Whether some row has a value in a column; reads no further than to the first part that has one."""
    if table.null_counts.get(column) == table.rows:
        return False
    return any(_count(table, part, column, codes) for part in table.parts)


def _count(table: PartitionedTable, part: Part, column: str, codes: CodesArgument) -> int:
    return sum(int(_has_value(frame[column], codes).sum()) for _, frame in table.batches(part, _READ_ROWS, [column]))
