"""Which encoded columns each raw column gets, decided from statistics of the training rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from permgrad.base.arrays import Floats, Integers
from permgrad.data.encode.scaling import Scaling
from permgrad.data.encode.statistics import PERIODS, TableStatistics, calendar_parts
from permgrad.data.read.cells import BLANK
from permgrad.data.types.column_types import ColumnType, Schema

OTHER = -1
"""Key of the level that takes rare and unseen texts."""


@dataclass(frozen=True)
class Slot:
    """One encoded column: index of its raw column, its name, and its extremes over training rows.

    Its ``kind`` is ``"numeric", "boolean", "level", "missing"`` or ``"date_part"``. ``detail`` the level's text, the
    kind of missingness, or the part of the date.
    """

    column: int
    name: str
    kind: str
    detail: str | int | None = None
    minimum: float = 0.0
    maximum: float = 1.0


def plan_slots(
    statistics: TableStatistics, scaling: Scaling, max_levels: int
) -> tuple[Schema, list[Slot], dict[str, tuple[int, int]]]:
    """Return the schema as all training rows have it, the encoded columns in order, and the years of each date."""
    numeric = statistics.numeric
    place = {name: j for j, name in enumerate(statistics.numeric_names)}
    # What the smallest training value becomes, and the largest.
    lowest, highest = scaling.apply(np.stack([numeric.minimum, numeric.maximum]))
    columns: list[ColumnType] = []
    slots: list[Slot] = []
    years: dict[str, tuple[int, int]] = {}
    for i, first in enumerate(statistics.schema):
        column = _settled(first, statistics)
        name = column.name
        columns.append(column)
        if column.kind in ("constant", "identifier"):
            continue
        if column.storage == "text":
            counts = statistics.text[name]
            ordered = [] if column.kind == "text" else [text for text, _ in counts.by_frequency()]
            slots += [Slot(i, f"{name}={text}", "level", text) for text in ordered[:max_levels]]
            if ordered and (len(ordered) > max_levels or not counts.complete):
                slots.append(Slot(i, f"{name}=<other>", "level"))
            missing = counts.missing
        else:
            j = place[name]
            low, high, missing = float(lowest[j]), float(highest[j]), numeric.missing[:, j]
            if numeric.minimum[j] < numeric.maximum[j]:
                if column.kind == "boolean":
                    slots.append(Slot(i, name, "boolean"))
                elif column.kind == "date":
                    slots.append(Slot(i, f"{name}=time", "date_part", "time", low, high))
                    ends = calendar_parts(np.array([numeric.minimum[j], numeric.maximum[j]]))["year"].tolist()
                    if ends[0] < ends[1]:
                        years[name] = (ends[0], ends[1])
                        slots.append(Slot(i, f"{name}=year", "date_part", "year"))
                    slots += _wave_slots(i, name, statistics.calendar[name])
                else:
                    slots.append(Slot(i, name, "numeric", None, low, high))
        labels = ("", *(f" {label}" for label in statistics.codes.labels))
        kinds = np.flatnonzero(missing).tolist()
        slots += [Slot(i, f"{name}=<missing{labels[kind]}>", "missing", BLANK + kind) for kind in kinds]
    return Schema(tuple(columns)), slots, years


def date_wave(part: str, calendar: Mapping[str, Integers]) -> Floats:
    """Sine or cosine of a periodic part, ``"month sin"``: December and January are neighbours."""
    period, function = part.split()
    angle = 2.0 * np.pi * calendar[period] / PERIODS[period]
    return np.asarray(np.sin(angle) if function == "sin" else np.cos(angle))


def _wave_slots(i: int, name: str, calendar: Mapping[str, Integers]) -> Iterator[Slot]:
    for period in PERIODS:
        seen = np.flatnonzero(calendar[period])
        for part in (f"{period} sin", f"{period} cos") if len(seen) > 1 else ():
            values = date_wave(part, {period: seen})
            yield Slot(i, f"{name}={part}", "date_part", part, float(values.min()), float(values.max()))


def _settled(column: ColumnType, statistics: TableStatistics) -> ColumnType:
    """Give a column its final kind and counts, now that all rows were seen."""
    if column.kind == "identifier" or (column.kind == "constant" and column.reason == "declared"):
        return column
    general: Any = "categorical"
    if column.storage == "text":
        counts = statistics.text[column.name]
        n_levels, n_missing = len(counts.levels), int(counts.missing.sum())
    else:
        j = statistics.numeric_names.index(column.name)
        numeric = statistics.numeric
        low, high = numeric.minimum[j], numeric.maximum[j]
        n_missing = int(numeric.missing[:, j].sum())
        n_levels = max(column.n_levels, 2) if low < high else int(numeric.count[j] > 0)
        is_truth = column.storage == "pair" or (column.kind == "boolean" and low >= 0 and high <= 1)
        general = "date" if column.storage == "date" else "boolean" if is_truth else "numeric"
    kind, reason = column.kind, column.reason
    if n_levels == 0 or (n_levels == 1 and n_missing == 0):
        reason = reason if kind == "constant" else "one value only" if n_levels else "no value at all"
        kind = "constant"
    elif kind in ("constant", "boolean"):
        kind = general
    return replace(column, kind=kind, reason=reason, n_rows=statistics.rows, n_missing=n_missing, n_levels=n_levels)
