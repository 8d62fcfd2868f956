"""The parts of a date: what returns, such as weekday, season and hour, and what does not, which are time and year."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from permgrad.base.arrays import Floats, Integers

#: Parts that return, and how many values each has.
PERIODS = {"month": 12, "yearday": 366, "day": 31, "weekday": 7, "hour": 24}
#: Names of the values of those that are also a category, numbered from 0.
_VALUES: dict[str, Sequence[str]] = {
    "month": [
        *("January", "February", "March", "April", "May", "June"),
        *("July", "August", "September", "October", "November", "December"),
    ],
    "day": [f"day {number}" for number in range(1, 32)],
    "weekday": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
    "hour": [f"hour {number}" for number in range(24)],
}
#: Days after which a part has had all its values, and how many training rows each value of a category needs on average.
_DAYS = {"month": 365, "yearday": 365, "day": 30, "weekday": 7, "weekend": 7, "hour": 1}
_ROWS_OF_A_VALUE = 20
_DAY = 86_400
#: The time since the start, at most that of the latest training row: what no model learned of later times is not asked.
HELD = "held"


def calendar_parts(seconds: Floats) -> dict[str, Integers]:
    """Split finite seconds since 1970 into the date (days since 1970), year, and the values of ``PERIODS``, all from 0.

    Examples:
        >>> {part: int(value[0]) for part, value in calendar_parts(np.array([-1.0])).items()}
        {'date': -1, 'year': 1969, 'month': 11, 'yearday': 364, 'day': 30, 'weekday': 2, 'hour': 23}
    """
    at_second = np.floor(seconds).astype(np.int64)
    days = at_second // _DAY
    dates = days.astype("datetime64[D]")
    years, months = dates.astype("datetime64[Y]"), dates.astype("datetime64[M]")
    return {
        "date": days,
        "year": years.astype(np.int64) + 1970,
        "month": months.astype(np.int64) % 12,
        "yearday": (dates - years.astype("datetime64[D]")).astype(np.int64),
        "day": (dates - months.astype("datetime64[D]")).astype(np.int64),
        "weekday": (days + 3) % 7,
        "hour": (at_second % _DAY) // 3_600,
    }


def date_part(part: str, calendar: Mapping[str, Integers], years: tuple[int, int]) -> Floats:
    """Return a part of dates that are split by ``calendar_parts``.

    ``"year"`` is 0 to 1 between the years of training. ``"month sin"`` and ``"month cos"`` are a cycle: December and
    January are neighbours. ``"month 0"`` is 1 in January. ``"weekend"`` is 1 on Saturdays and Sundays.
    """
    if part == "year":
        return np.asarray((calendar["year"] - years[0]) / (years[1] - years[0]))
    if part == "weekend":
        return (calendar["weekday"] > 4).astype(np.float64)
    period, which = part.split()
    if which not in ("sin", "cos"):
        return (calendar[period] == int(which)).astype(np.float64)
    angle = 2.0 * np.pi * calendar[period] / PERIODS[period]
    return np.asarray(np.sin(angle) if which == "sin" else np.cos(angle))


def part_name(part: str) -> str:
    """Return a part for people: ``"Sunday"`` for ``"weekday 6"``."""
    period, _, which = part.partition(" ")
    return _VALUES[period][int(which)] if which.isdigit() else part


def returning_parts(
    counts: Mapping[str, Integers], days: Integers, *, whole: bool
) -> Iterator[tuple[str, float, float]]:
    """Yield the parts that vary in the training rows, with their extremes.

    Args:
        counts: how many rows have each value of ``PERIODS``.
        days: the different dates, rising, in days since 1970.
        whole: whether a part is left out if the dates do not cover all its values once.
    """
    covered = [part for part in _DAYS if not whole or days[-1] - days[0] + 1 >= _DAYS[part]]
    varied = {part: np.flatnonzero(counts[part]) for part in PERIODS if part in covered}
    monthly = np.count_nonzero(counts["day"]) == 1
    if monthly:
        varied.pop("yearday", None)
    for period, seen in varied.items():
        for part in (f"{period} sin", f"{period} cos") if len(seen) > 1 else ():
            values = date_part(part, {period: seen}, (0, 1))
            yield part, float(values.min()), float(values.max())
    for period, seen in varied.items():
        is_category = period in _VALUES and not (monthly and period == "weekday")
        if is_category and 1 < len(seen) <= counts[period].sum() / _ROWS_OF_A_VALUE:
            yield from ((f"{period} {value}", 0.0, 1.0) for value in seen.tolist())
    if monthly:
        return
    weekend = (days + 3) % 7 > 4
    if "weekend" in covered and weekend.any() and not weekend.all():
        yield "weekend", 0.0, 1.0
