"""Which encoded columns each raw column gets, decided from statistics of the training
rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from permgrad.base.arrays import Integers
from permgrad.data.encode.calendar import (
    HELD,
    calendar_parts,
    part_name,
    returning_parts,
)
from permgrad.data.encode.scaling import Scaling
from permgrad.data.encode.statistics import LevelCounts, TableStatistics
from permgrad.data.read.cells import BLANK
from permgrad.data.types.column_types import ColumnType, Schema

OTHER = -1
"""Key of the level that takes rare and unseen texts."""


@dataclass(frozen=True)
class Slot:
    """One encoded column: index of its raw column, its name, and its extremes over
    training rows.

    Its ``kind`` is ``"numeric", "boolean", "level", "missing", "date_part"`` or
    ``"score"``. ``detail`` the level's text, the kind of missingness, the output of a
    score, or the part of the date, such as ``"month sin"`` or, of kind "level",
    ``"month 0"``.
    """

    column: int
    name: str
    kind: str
    detail: str | int | None = None
    minimum: float = 0.0
    maximum: float = 1.0


def _level_slots(
    column: int, name: str, counts: LevelCounts, most: int
) -> Iterator[Slot]:
    """Yield slots of the most frequent levels, and one for the others."""
    levels = [text for text, _ in counts.by_frequency()]
    for text in levels[:most]:
        yield Slot(column, f"{name}={text}", "level", text)
    if levels and (len(levels) > most or not counts.complete):
        yield Slot(column, f"{name}=<other>", "level")


def _missing_slots(
    column: int, name: str, missing: Integers, codes: Sequence[str]
) -> Iterator[Slot]:
    """Yield a slot for each kind of missingness that cells have."""
    labels = ("", *(f" {label}" for label in codes))
    for kind in np.flatnonzero(missing).tolist():
        slot = f"{name}=<missing{labels[kind]}>"
        yield Slot(column, slot, "missing", BLANK + kind)


def plan_slots(
    statistics: TableStatistics,
    scaling: Scaling,
    max_levels: int,
    *,
    returning: Collection[str],
) -> tuple[Schema, list[Slot], dict[str, tuple[int, int]]]:
    """Return the schema as all training rows have it, the encoded columns in order, and
    the years of each date.

    ``returning``: columns of dates without time and year.
    """
    numeric = statistics.numeric
    numeric_index = {
        numeric_name: j for j, numeric_name in enumerate(statistics.numeric_names)
    }
    # What the smallest training value becomes, and the largest.
    lowest, highest = scaling.apply(np.stack([numeric.minimum, numeric.maximum]))
    columns: list[ColumnType] = []
    slots: list[Slot] = []
    years = {}
    for date_name, date_days in statistics.days.items():
        if len(date_days):
            years[date_name] = _years(date_days)
    for i, first in enumerate(statistics.schema):
        column = _settled(first, statistics)
        column_name = column.name
        columns.append(column)
        if column.kind in ("constant", "identifier"):
            continue
        if column.storage == "text":
            counts = statistics.text[column_name]
            if column.kind not in ("text", "image"):
                slots += _level_slots(i, column_name, counts, max_levels)
            missing = counts.missing
        else:
            j = numeric_index[column_name]
            low = float(lowest[j])
            high = float(highest[j])
            missing = numeric.missing[:, j]
            if numeric.minimum[j] < numeric.maximum[j]:
                if column.kind == "boolean":
                    slots.append(Slot(i, column_name, "boolean"))
                elif column.kind == "date":
                    slots += _date_slots(
                        i,
                        column_name,
                        statistics,
                        (low, high),
                        returning=column_name in returning,
                        years=years[column_name],
                    )
                else:
                    slots.append(Slot(i, column_name, "numeric", None, low, high))
        slots += _missing_slots(i, column_name, missing, statistics.codes.labels)
    return Schema(tuple(columns)), slots, years


def _date_slots(
    i: int,
    name: str,
    statistics: TableStatistics,
    ends: tuple[float, float],
    *,
    returning: bool,
    years: tuple[int, int],
) -> Iterator[Slot]:
    yield Slot(i, f"{name}=time", "date_part", HELD if returning else "time", *ends)
    if not returning and years[0] < years[1]:
        yield Slot(i, f"{name}=year", "date_part", "year")
    for part_label, *extremes in returning_parts(
        statistics.calendar[name], statistics.days[name], returning=returning
    ):
        if {"sin", "cos"}.isdisjoint(part_label.split()):
            slot_kind = "level"
        else:
            slot_kind = "date_part"
        yield Slot(
            i, f"{name}={part_name(part_label)}", slot_kind, part_label, *extremes
        )


def _years(days: Integers) -> tuple[int, int]:
    first, last_year = calendar_parts(
        np.asarray(days[[0, -1]] * 86_400.0, dtype=np.float64)
    )["year"].tolist()
    return first, last_year


def _settled(column: ColumnType, statistics: TableStatistics) -> ColumnType:
    """Give a column its final kind and counts, now that all rows were seen."""
    if column.kind == "identifier" or (
        column.kind == "constant" and "declared" in column.flags
    ):
        return column
    general: Any = "categorical"
    if column.storage == "text":
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
        is_truth = column.storage == "pair" or (
            column.kind == "boolean" and lowest_value >= 0 and highest_value <= 1
        )
        general = "boolean" if is_truth else "numeric"
        if column.storage == "date":
            general = "date"
    final_kind = column.kind
    flags = column.flags
    if n_levels == 0 or (n_levels == 1 and n_missing == 0):
        if final_kind != "constant":
            flags = ("one_value",) if n_levels else ("no_value",)
        final_kind = "constant"
    elif final_kind in ("constant", "boolean"):
        final_kind = general
    return replace(
        column,
        kind=final_kind,
        flags=flags,
        n_rows=statistics.rows,
        n_missing=n_missing,
        n_levels=n_levels,
    )
