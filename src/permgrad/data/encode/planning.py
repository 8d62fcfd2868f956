"""Which encoded columns each raw column gets, decided from statistics of the training rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.data.encode.scaling import Scaling
from permgrad.data.encode.statistics import LevelCounts, TableStatistics, calendar_parts
from permgrad.data.read.cells import BLANK, Floats
from permgrad.data.types.column_types import ColumnType, Schema

OTHER = -1
"""Key of the level that takes rare and unseen texts."""

_PERIODS = {"month": 12, "weekday": 7, "hour": 24}


@dataclass(frozen=True)
class Slot:
    """One encoded column: index of its raw column, its name, and its extremes over training rows.

    Its ``kind`` is ``"numeric", "boolean", "level", "missing"`` or ``"date_part"``; ``detail`` the level's text, the
    kind of missingness, or the part of the date.
    """

    column: int
    name: str
    kind: str
    detail: str | int | None
    minimum: float
    maximum: float


def plan_slots(
    statistics: TableStatistics, scaling: Scaling, max_levels: int
) -> tuple[Schema, list[Slot], dict[str, tuple[int, int]]]:
    """Decide the encoded columns of a table from statistics of all training rows and the scaling fitted on them.

    Returns:
        The schema as the statistics have it (a column that was constant in the first chunk need not be in the end), the
        encoded columns in order, and the first and last training year of each date.
    """
    planner = _Planner(statistics, scaling, max_levels)
    slots: list[Slot] = []
    columns = []
    for i, column in enumerate(statistics.schema):
        final = planner.settle(column)
        columns.append(final)
        slots.extend(planner.slots(i, final))
    return Schema(tuple(columns)), slots, planner.years


def date_wave(part: str, calendar: Mapping[str, npt.NDArray[np.int64]]) -> Floats:
    """Sine or cosine of a periodic part, ``"month sin"``: December and January are neighbours."""
    period, function = part.split()
    angle = 2.0 * np.pi * calendar[period] / _PERIODS[period]
    return np.asarray(np.sin(angle) if function == "sin" else np.cos(angle))


class _Planner:
    def __init__(self, statistics: TableStatistics, scaling: Scaling, max_levels: int) -> None:
        self.statistics = statistics
        self.labels = statistics.codes.labels
        self.max_levels = max_levels
        self.place = {name: j for j, name in enumerate(statistics.numeric_names)}
        numeric = statistics.numeric
        # Row 0: what the smallest training value becomes; row 1: the largest.
        self.ends = scaling.apply(np.stack([numeric.minimum, numeric.maximum]))
        self.years: dict[str, tuple[int, int]] = {}

    # ---- kinds ------------------------------------------------------------------------------------------------------
    def settle(self, column: ColumnType) -> ColumnType:
        """Give a column its final kind and counts, now that all rows were seen."""
        if column.kind == "identifier" or (column.kind == "constant" and column.reason == "declared"):
            return column
        n_rows = self.statistics.rows
        if column.storage == "text":
            counts = self.statistics.text[column.name]
            n_levels, n_missing = len(counts.levels), int(counts.missing.sum())
            general = "categorical"
        else:
            j = self.place[column.name]
            numeric = self.statistics.numeric
            n_missing = int(numeric.missing[:, j].sum())
            varies = bool(numeric.minimum[j] < numeric.maximum[j])
            n_levels = max(column.n_levels, 2) if varies else int(numeric.count[j] > 0)
            inside = bool(numeric.minimum[j] >= 0 and numeric.maximum[j] <= 1)
            general = {"date": "date", "pair": "boolean"}.get(
                column.storage, "boolean" if column.kind == "boolean" and inside else "numeric"
            )
        if n_levels == 0 or (n_levels == 1 and n_missing == 0):
            reason = column.reason if column.kind == "constant" else "one value only" if n_levels else "no value at all"
            return replace(
                column, kind="constant", reason=reason, n_rows=n_rows, n_missing=n_missing, n_levels=n_levels
            )
        kind: Any = general if column.kind in ("constant", "boolean") else column.kind
        return replace(column, kind=kind, n_rows=n_rows, n_missing=n_missing, n_levels=n_levels)

    # ---- slots ------------------------------------------------------------------------------------------------------
    def slots(self, i: int, column: ColumnType) -> Iterator[Slot]:
        """Yield the encoded columns of one raw column."""
        if column.kind in ("constant", "identifier"):
            return
        if column.storage == "text":
            yield from self._level_slots(i, column.name, self.statistics.text[column.name])
            return
        j = self.place[column.name]
        numeric = self.statistics.numeric
        if numeric.minimum[j] < numeric.maximum[j]:
            low, high = float(self.ends[0, j]), float(self.ends[1, j])
            if column.kind == "boolean":
                yield Slot(i, column.name, "boolean", None, 0.0, 1.0)
            elif column.kind == "date":
                yield Slot(i, f"{column.name}=time", "date_part", "time", low, high)
                yield from self._date_slots(i, column.name, j)
            else:
                yield Slot(i, column.name, "numeric", None, low, high)
        yield from self._missing_slots(i, column.name, numeric.missing[:, j])

    def _missing_slots(self, i: int, name: str, missing: npt.NDArray[np.int64]) -> Iterator[Slot]:
        for k in np.flatnonzero(missing):
            label = "" if k == 0 else f" {self.labels[k - 1]}"
            yield Slot(i, f"{name}=<missing{label}>", "missing", BLANK + int(k), 0.0, 1.0)

    def _level_slots(self, i: int, name: str, counts: LevelCounts) -> Iterator[Slot]:
        ordered = [text for text, _ in counts.by_frequency()]
        has_other = len(ordered) > self.max_levels or not counts.complete
        for text in ordered[: self.max_levels]:
            yield Slot(i, f"{name}={text}", "level", text, 0.0, 1.0)
        if has_other:
            yield Slot(i, f"{name}=<other>", "level", None, 0.0, 1.0)
        yield from self._missing_slots(i, name, counts.missing)

    def _date_slots(self, i: int, name: str, j: int) -> Iterator[Slot]:
        numeric = self.statistics.numeric
        first, last = calendar_parts(np.array([numeric.minimum[j], numeric.maximum[j]]))["year"].tolist()
        if first < last:
            self.years[name] = (first, last)
            yield Slot(i, f"{name}=year", "date_part", "year", 0.0, 1.0)
        for period in _PERIODS:
            seen = np.flatnonzero(self.statistics.calendar[name][period])
            if len(seen) > 1:
                for function in ("sin", "cos"):
                    values = date_wave(f"{period} {function}", {period: seen})
                    yield Slot(
                        i,
                        f"{name}={period} {function}",
                        "date_part",
                        f"{period} {function}",
                        float(values.min()),
                        float(values.max()),
                    )
