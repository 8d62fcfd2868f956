"""Columns of dates, and of dates of which later ones will be predicted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from permgrad.base.arrays import Floats, Integers
from permgrad.base.errors import InputError
from permgrad.data.encode.calendar import (
    calendar_parts,
    date_part,
    feature_of,
    part_name,
    returning_parts,
    words_of,
)
from permgrad.data.encode.slots import HELD, Slot
from permgrad.data.kinds.column import (
    ColumnKind,
    ColumnType,
    PageForm,
    Storage,
    kinds,
)
from permgrad.data.kinds.training import TrainingCells
from permgrad.data.read import dates
from permgrad.data.types.flags import Flag

_STORAGE: Storage = "date"
#: What is shown of the feature that is the date itself.
_TREND = "trend"
#: What people call a part, if not as it is stored.
_PART_WORDS = {
    HELD: "time",
    "yearday": "day of the year",
    "day": "day of the month",
    "minute": "minute of the day",
}


@kinds.register("date")
class Date(ColumnKind):
    """Moments: time, year, and what returns, as far as they vary in training."""

    storage: ClassVar[Storage | None] = _STORAGE
    is_moment = True
    as_written = False
    correction = "Write it like 2024-01-31"
    is_divided = True
    form = PageForm("date", "f8")

    @classmethod
    def find(cls, column: ColumnType, texts: Sequence[str]) -> ColumnType | None:
        """Find dates, all written in one way."""
        return _date_type(column, texts, declared=False)

    @classmethod
    def declared(
        cls, column: ColumnType, guess: ColumnType, texts: Callable[[], list[str]]
    ) -> ColumnType:
        """Return the type of dates, also of digits alone. Others are refused."""
        if guess.reader is cls:
            return column
        values = texts()
        date_type = _date_type(column, values, declared=True)
        if date_type is not None:
            return date_type.flagged(*column.flags)
        first = dates.find_date_format(values[:1], declared=True)
        odd_index = 0
        if first is not None:
            odd_index = int(np.argmax(np.isnan(dates.date_seconds(values, first[0]))))
        problem = (
            f"Column {column.name!r} is declared date but has {values[odd_index]!r}"
        )
        if odd_index:
            problem += f" beside {values[0]!r}"
        raise InputError(
            problem,
            hint="Write all dates in one way, like 2024-01-31, or declare another "
            "kind.",
            code="PG014",
        )

    @classmethod
    def read(cls, texts: Sequence[str], column: ColumnType) -> Floats:
        """Read seconds since 1970."""
        return dates.read_dates(texts, column.date_format or dates.ISO)

    @classmethod
    def required(cls, column: ColumnType) -> str:
        """Say how the column writes its dates."""
        date_form = column.date_format or dates.ISO
        if date_form == dates.ISO:
            return f"hold dates, as {date_form}"
        return f"hold dates, as {date_form} or ISO 8601"

    @classmethod
    def slots(cls, cells: TrainingCells) -> Iterator[Slot]:
        """Yield time and year, and the parts that return."""
        days = cells.days
        periods = cells.periods
        if days is None or periods is None:
            return
        if cells.returning:
            time_detail = HELD
        else:
            time_detail = "time"
        time_name = f"{cells.name}=time"
        yield Slot(cells.column, time_name, "date_part", time_detail, *cells.ends)
        first_year, last_year = years_of(days)
        if not cells.returning and first_year < last_year:
            yield Slot(cells.column, f"{cells.name}=year", "date_part", "year")
        for part_label, *extremes in returning_parts(
            periods, days, returning=cells.returning
        ):
            if {"sin", "cos"}.isdisjoint(part_label.split()):
                slot_kind = "level"
            else:
                slot_kind = "date_part"
            slot_name = f"{cells.name}={part_name(part_label)}"
            yield Slot(cells.column, slot_name, slot_kind, part_label, *extremes)

    @classmethod
    def encode(
        cls, values: Floats, details: Sequence[str], years: tuple[int, int]
    ) -> Iterator[Floats]:
        """Yield parts of the calendar."""
        calendar = calendar_parts(values)
        for detail in details:
            yield date_part(detail, calendar, years)

    @classmethod
    def part_of(cls, detail: str) -> str:
        """Return which part of the calendar it is."""
        label = detail.split(maxsplit=1)[0]
        return _PART_WORDS.get(label, label)

    @classmethod
    def feature_of(cls, detail: str) -> str:
        """Return what a part says, as people call it."""
        return feature_of(detail)

    @classmethod
    def cells_of(cls, feature: str, values: Floats) -> Any:
        """Return the words of a feature in their order."""
        if feature == _TREND:
            return None
        return words_of(feature, values)

    @classmethod
    def write(cls, value: float) -> str:
        """Write a moment."""
        return dates.date_text(value)


@kinds.register("calendar")
class Calendar(Date):
    """A date of which later ones will be predicted: without the year, and its time is
    at most that of the latest training row.
    """

    storage = None
    final = Date.name
    returns = True


def _date_type(
    column: ColumnType, texts: Sequence[str], *, declared: bool
) -> ColumnType | None:
    format_and_swap = dates.find_date_format(texts, declared=declared)
    if format_and_swap is None:
        return None
    date_form, is_swapped = format_and_swap
    possible_flags: dict[Flag, bool] = {
        "two_digit_years": dates.has_short_years(texts),
        "swapped": is_swapped,
    }
    flags = [date_flag for date_flag, holds in possible_flags.items() if holds]
    return column.flagged(
        "text_dates",
        *flags,
        kind=Date.name,
        storage=_STORAGE,
        date_format=date_form,
    )


def years_of(days: Integers) -> tuple[int, int]:
    """Return the first and the last year of days since 1970 in order."""
    first_year, last_year = calendar_parts(
        np.asarray(days[[0, -1]] * 86_400.0, dtype=np.float64)
    )["year"].tolist()
    return first_year, last_year
