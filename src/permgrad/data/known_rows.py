"""Numbered rows of a long table: all, or those with a target.

Draws use the position among these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from permgrad.base.arrays import Booleans, Integers
from permgrad.base.errors import InputError, counted, warn_user
from permgrad.data.partitions import Part, PartitionedTable
from permgrad.data.read.cells import CodesArgument, MissingCodes
from permgrad.data.read.table import blank_codes

#: Rows of the column that are looked at together.
_READ_ROWS = 2**17


@dataclass(frozen=True)
class RowBatch:
    """Rows: their numbers in the table, their places among those that count (draws go
    by these), and their cells.
    """

    numbers: Integers
    places: Integers
    frame: pd.DataFrame

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, selected_rows: Booleans) -> RowBatch:
        """Return the chosen rows."""
        if selected_rows.all():
            return self
        return RowBatch(
            self.numbers[selected_rows],
            self.places[selected_rows],
            self.frame.loc[selected_rows],
        )

    @classmethod
    def joined(cls, batches: Sequence[RowBatch]) -> RowBatch:
        """Put batches together."""
        if len(batches) == 1:
            return batches[0]
        numbers, known_positions = (
            np.concatenate([getattr(row_batch, field_name) for row_batch in batches])
            for field_name in ("numbers", "places")
        )
        return cls(
            numbers,
            known_positions,
            pd.concat([row_batch.frame for row_batch in batches], ignore_index=True),
        )


@dataclass(frozen=True)
class KnownRows:
    """Rows with a value in a column: how many before each part, and how many in all."""

    column: str
    codes: CodesArgument
    before: tuple[int, ...]
    rows: int


def numbered(
    table: PartitionedTable,
    table_part: Part,
    rows: int,
    columns: Sequence[str],
    known_rows: KnownRows | None,
) -> Iterator[RowBatch]:
    """Yield a part's rows that count, at most ``rows`` at a time: all, or those known.

    A batch may be empty.
    """
    if known_rows is None:
        known_position = table_part.first_row
    else:
        known_position = known_rows.before[table_part.number]
    for first, frame in table.batches(table_part, rows, columns):
        batch = RowBatch(
            np.arange(first, first + len(frame)),
            np.arange(known_position, known_position + len(frame)),
            frame,
        )
        if known_rows is not None:
            mask = _has_value(frame[known_rows.column], known_rows.codes)
            batch = RowBatch(
                batch.numbers[mask], batch.places[: mask.sum()], frame.loc[mask]
            )
        known_position += len(batch)
        yield batch


def find_known(
    table: PartitionedTable,
    column: str,
    codes: CodesArgument = (),
    *,
    none: InputError,
    note: str = "",
) -> KnownRows | None:
    """Count the rows of each part that have a value in a column, and warn of the
    others. Return None if all have one.

    Footers do not count NaN, blank texts and codes, so a column that may hold them is
    read. ``none`` is the error if no row has one.
    """
    if column in table.schema.names:
        stored = table.schema.field(column).type
    else:
        stored = None
    may_hold_more = stored is None or column in table.keys or _may_be_empty(stored)
    if (
        not may_hold_more
        and table.null_counts.get(column, 0) == 0
        and not MissingCodes.of(codes).labels
    ):
        return None
    before = np.cumsum(
        [0, *(_count(table, table_part, column, codes) for table_part in table.parts)]
    ).tolist()
    known_count = before.pop()
    if known_count == table.rows:
        return None
    if known_count == 0:
        raise none
    possession_verb, verb_form = (
        ("has", "is") if table.rows - known_count == 1 else ("have", "are")
    )
    missing = (
        f"{table.rows - known_count:,} of {counted(table.rows, 'row')} of {table.path}"
    )
    warn_user(
        f"{missing} {possession_verb} no {column!r} and {verb_form} left out{note}"
    )
    return KnownRows(column, codes, tuple(before), known_count)


def _may_be_empty(stored: pa.DataType) -> bool:
    """Return whether cells of a type may be missing that a footer counts as values: NaN
    and blank texts.
    """
    if pa.types.is_dictionary(stored):
        stored = stored.value_type
    text_types = (pa.string(), pa.large_string(), pa.string_view())
    return pa.types.is_floating(stored) or stored in text_types


def any_known(table: PartitionedTable, column: str, codes: CodesArgument = ()) -> bool:
    """Return whether some row has a value in a column, reading up to the first part
    with one.
    """
    if table.null_counts.get(column) == table.rows:
        return False
    return any(_count(table, table_part, column, codes) for table_part in table.parts)


def _count(
    table: PartitionedTable, table_part: Part, column: str, codes: CodesArgument
) -> int:
    return sum(
        int(_has_value(frame[column], codes).sum())
        for _, frame in table.batches(table_part, _READ_ROWS, [column])
    )


def _has_value(values: pd.Series[Any], codes: CodesArgument) -> Booleans:
    return (
        blank_codes(values.to_frame(), codes)[values.name].notna().to_numpy(dtype=bool)
    )
