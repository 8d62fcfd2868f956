"""Which encoded columns each raw column gets, decided from statistics of the training
rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from permgrad.base.arrays import Integers
from permgrad.base.sequences import positions_of
from permgrad.data.encode.scaling import Scaling
from permgrad.data.encode.slots import Slot
from permgrad.data.encode.table_statistics import TableStatistics
from permgrad.data.kinds.column import ColumnKind, ColumnType, Schema, kinds
from permgrad.data.kinds.constant import Constant
from permgrad.data.kinds.date import years_of
from permgrad.data.kinds.training import TrainingCells
from permgrad.data.read.cells import BLANK


def _missing_slots(
    column: int, name: str, missing: Integers, codes: Sequence[str]
) -> Iterator[Slot]:
    """Yield a slot for each kind of missingness that cells have."""
    labels = ("", *(f" {label}" for label in codes))
    for kind in np.flatnonzero(missing).tolist():
        slot = f"{name}=<missing{labels[kind]}>"
        yield Slot(column, slot, "missing", BLANK + kind)


class SlotPlan(NamedTuple):
    """How a table is encoded.

    Attributes:
        schema: The columns as all training rows have them.
        slots: The encoded columns in order.
        years: The years of each date, first and last.
    """

    schema: Schema
    slots: list[Slot]
    years: dict[str, tuple[int, int]]


def plan_slots(
    statistics: TableStatistics,
    scaling: Scaling,
    max_levels: int,
    *,
    returning: Collection[str],
) -> SlotPlan:
    """Return the schema as all training rows have it, the encoded columns in order, and
    the years of each date.

    ``returning``: columns of dates without time and year.
    """
    numeric = statistics.numeric
    numeric_index = positions_of(statistics.numeric_names)
    # What the smallest training value becomes, and the largest.
    lowest, highest = scaling.apply(np.stack([numeric.minimum, numeric.maximum]))
    columns: list[ColumnType] = []
    slots: list[Slot] = []
    years = {}
    for date_name, date_days in statistics.days.items():
        if len(date_days):
            years[date_name] = years_of(date_days)
    for i, first in enumerate(statistics.schema):
        column = _settled(first, statistics)
        column_name = column.name
        columns.append(column)
        if not column.of.is_encoded:
            continue
        if column.reader.keeps_text:
            counts = statistics.text[column_name]
            missing = counts.missing
            cells = TrainingCells(i, column_name, levels=counts, most_levels=max_levels)
            slots += column.of.slots(cells)
        else:
            j = numeric_index[column_name]
            missing = numeric.missing[:, j]
            cells = TrainingCells(
                i,
                column_name,
                lowest=float(numeric.minimum[j]),
                highest=float(numeric.maximum[j]),
                ends=(float(lowest[j]), float(highest[j])),
                days=statistics.days.get(column_name),
                periods=statistics.calendar.get(column_name),
                returning=column_name in returning,
            )
            if cells.lowest < cells.highest:
                slots += column.of.slots(cells)
        slots += _missing_slots(i, column_name, missing, statistics.codes.labels)
    return SlotPlan(Schema(tuple(columns)), slots, years)


def _settled(column: ColumnType, statistics: TableStatistics) -> ColumnType:
    """Give a column its final kind and counts, now that all rows were seen."""
    if not column.of.is_read or (not column.of.varies and "declared" in column.flags):
        return column
    lowest_value = highest_value = np.nan
    if column.reader.keeps_text:
        counts = statistics.text[column.name]
        n_levels = len(counts.levels)
        n_missing = int(counts.missing.sum())
    else:
        j = statistics.numeric_names.index(column.name)
        numeric = statistics.numeric
        lowest_value = numeric.minimum[j]
        highest_value = numeric.maximum[j]
        n_missing = int(numeric.missing[:, j].sum())
        n_levels = (
            max(column.n_levels, 2)
            if lowest_value < highest_value
            else int(numeric.count[j] > 0)
        )
    final_kind: type[ColumnKind] = column.of
    flags = column.flags
    if n_levels == 0 or (n_levels == 1 and n_missing == 0):
        if final_kind.varies:
            flags = ("one_value",) if n_levels else ("no_value",)
        final_kind = Constant
    elif final_kind.is_provisional:
        final_kind = kinds.get(
            column.reader.settled(column, lowest_value, highest_value)
        )
    return replace(
        column,
        kind=final_kind.name,
        flags=flags,
        n_rows=statistics.rows,
        n_missing=n_missing,
        n_levels=n_levels,
    )
