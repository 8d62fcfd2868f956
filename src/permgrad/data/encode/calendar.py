"""The parts of a date: what returns, such as weekday, season and hour, and what does
not, which are time and year.

Several encoded parts say the same thing in two ways, such as the month and the day of
the year. People are shown what they say together: the features of ``feature_of``, whose
cells ``words_of`` writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from permgrad.base.arrays import Floats, Integers
from permgrad.base.late import pd
from permgrad.data.encode.slots import HELD

#: Parts that return, and how many values each has.
PERIODS = {
    "month": 12,
    "yearday": 366,
    "day": 31,
    "weekday": 7,
    "hour": 24,
    "minute": 1440,
}
#: Names of the values of those that are also a category, numbered from 0.
_VALUES: dict[str, Sequence[str]] = {
    "month": [
        *("January", "February", "March", "April", "May", "June"),
        *("July", "August", "September", "October", "November", "December"),
    ],
    "day": [f"day {number}" for number in range(1, 32)],
    "weekday": [
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
    ],
    "hour": [f"hour {number}" for number in range(24)],
}
#: Days after which a part has had all its values, and how many training rows and days
#: each value of a category needs on average: the rows of one day have more in common
#: than its number.
_DAYS = {
    "month": 365,
    "yearday": 365,
    "day": 30,
    "weekday": 7,
    "weekend": 7,
    "hour": 1,
    "minute": 1,
}
_ROWS_OF_A_VALUE = 20
_DAYS_OF_A_VALUE = 8
_DAY = 86_400
#: How many rows each minute of the day that occurs has on average, and how many days
#: there are, where minutes return.
_TIMES_OF_A_MINUTE = 5
#: How often the cycles of the minute go round in a day: a day has more than one peak.
_TIMES = ("", " 2", " 3", " 4")
#: What the encoded parts of a date say, as people call it.
_FEATURES = {
    **dict.fromkeys(("time", HELD, "year"), "trend"),
    **dict.fromkeys(("month", "yearday"), "season"),
    "day": "day of the month",
    **dict.fromkeys(("weekday", "weekend"), "weekday"),
    **dict.fromkeys(("hour", "minute"), "time of day"),
}
#: The days of a leap year before each month.
_BEFORE = np.cumsum([0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30])
#: How each value of these features is written, numbered from 0.
_WORDS = {
    "season": [
        f"{day_index + 1} {month}"
        for month, month_days in zip(
            _VALUES["month"],
            (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31),
            strict=True,
        )
        for day_index in range(month_days)
    ],
    "day of the month": list(map(str, range(1, 32))),
    "weekday": _VALUES["weekday"],
    "time of day": [f"{minute // 60:02d}:{minute % 60:02d}" for minute in range(1440)],
}
#: The features that are circles, and after how many values they begin again.
CIRCLES = {"season": 366, "weekday": 7, "time of day": 1440}


def calendar_parts(seconds: Floats) -> dict[str, Integers]:
    """Split finite seconds since 1970 into the day's number (since 1970), year, and the
    values of ``PERIODS``, all from 0.

    Examples:
        >>> parts = calendar_parts(np.array([-1.0]))
        >>> {part: int(value[0]) for part, value in parts.items()}
        {'day_number': -1, 'year': 1969, 'month': 11, 'yearday': 364, 'day': 30,
         'weekday': 2, 'hour': 23, 'minute': 1439}
    """
    at_second = np.floor(seconds).astype(np.int64)
    day_numbers = at_second // _DAY
    dates = day_numbers.astype("datetime64[D]")
    years = dates.astype("datetime64[Y]")
    months = dates.astype("datetime64[M]")
    return {
        "day_number": day_numbers,
        "year": years.astype(np.int64) + 1970,
        "month": months.astype(np.int64) % 12,
        "yearday": (dates - years.astype("datetime64[D]")).astype(np.int64),
        "day": (dates - months.astype("datetime64[D]")).astype(np.int64),
        "weekday": (day_numbers + 3) % 7,
        "hour": (at_second % _DAY) // 3_600,
        "minute": (at_second % _DAY) // 60,
    }


def feature_of(date_part_name: str) -> str:
    """Return what a part that is encoded says: ``"season"`` for ``"month sin"``."""
    return _FEATURES[date_part_name.split(maxsplit=1)[0]]


def words_of(feature: str, seconds: Floats) -> pd.Categorical[str]:
    """Return how a feature of dates is written, in its order: ``"14:35"``,
    ``"Tuesday"``, ``"5 March"``.

    ``seconds`` are those since 1970, NaN where a date is missing.

    Examples:
        >>> list(words_of("weekday", np.array([0.0, np.nan])))
        ['Thursday', nan]
    """
    is_present = ~np.isnan(seconds)
    calendar = calendar_parts(np.where(is_present, seconds, 0.0))
    values = {
        "season": _BEFORE[calendar["month"]] + calendar["day"],
        "day of the month": calendar["day"],
        "weekday": calendar["weekday"],
        "time of day": calendar["minute"],
    }[feature]
    return pd.Categorical.from_codes(
        np.where(is_present, values, -1), pd.Index(_WORDS[feature]), ordered=True
    )


def calendar_order(names: Sequence[str]) -> list[int] | None:
    """Return the positions of names in the order of a calendar.

    None: they are no names of months, days, weekdays or hours.

    Examples:
        >>> calendar_order(["Friday", "Monday"]), calendar_order(["low", "Monday"])
        ([1, 0], None)
    """
    for part_values in _VALUES.values():
        if {*names} <= {*part_values}:
            places = [part_values.index(name) for name in names]
            return sorted(range(len(names)), key=places.__getitem__)
    return None


def date_part(
    part_label: str, calendar: Mapping[str, Integers], years: tuple[int, int]
) -> Floats:
    """Return a part of dates that are split by ``calendar_parts``.

    ``"year"`` is 0 to 1 between the years of training. ``"month sin"`` and ``"month
    cos"`` are a cycle: December and January are neighbours. ``"minute sin 2"`` is one
    that goes round twice a day. ``"month 0"`` is 1 in January, ``"weekend"`` on
    Saturdays and Sundays.
    """
    if part_label == "year":
        return np.asarray((calendar["year"] - years[0]) / (years[1] - years[0]))
    if part_label == "weekend":
        return (calendar["weekday"] > 4).astype(np.float64)
    period, which, *times = part_label.split()
    if which not in ("sin", "cos"):
        return (calendar[period] == int(which)).astype(np.float64)
    angle = (
        2.0
        * np.pi
        * float(times[0] if times else 1)
        * calendar[period]
        / PERIODS[period]
    )
    return np.asarray(np.sin(angle) if which == "sin" else np.cos(angle))


def part_name(part_label: str) -> str:
    """Return a part for people: ``"Sunday"`` for ``"weekday 6"``."""
    period, _, which = part_label.partition(" ")
    if which.isdigit():
        return _VALUES[period][int(which)]
    return part_label


def _values_seen(
    counts: Mapping[str, Integers],
    days: Integers,
    covered: Sequence[str],
    *,
    monthly: bool,
) -> dict[str, Integers]:
    """Return which values of ``PERIODS`` the training rows have, without parts that say
    no more than another does.
    """
    seen_values = {}
    for period_name in PERIODS:
        if period_name in covered:
            seen_values[period_name] = np.flatnonzero(counts[period_name])
    if monthly:
        seen_values.pop("yearday", None)
    # Minutes are read where they return, such as every five minutes, and say more than
    # the hour does.
    minutes = seen_values.get("minute", ())
    returning = (
        min(len(days), counts["minute"].sum() / max(len(minutes), 1))
        >= _TIMES_OF_A_MINUTE
    )
    if len(minutes) == np.count_nonzero(counts["hour"]) or not returning:
        seen_values.pop("minute", None)
    return seen_values


def returning_parts(
    counts: Mapping[str, Integers], days: Integers, *, returning: bool
) -> Iterator[tuple[str, float, float]]:
    """Yield the parts that vary in the training rows, with their extremes.

    Args:
        counts: how many rows have each value of ``PERIODS``.
        days: the different dates, rising, in days since 1970.
        returning: whether a part is left out if the dates do not cover all its values
            once.
    """
    covered = [
        day_period
        for day_period in _DAYS
        if not returning or days[-1] - days[0] + 1 >= _DAYS[day_period]
    ]
    monthly = np.count_nonzero(counts["day"]) == 1
    varied = _values_seen(counts, days, covered, monthly=monthly)
    for period, period_values in varied.items():
        times = _TIMES if period == "minute" else ("",)
        for part_label in (
            (
                f"{period} {wave_name}{multiple}"
                for multiple in times
                for wave_name in ("sin", "cos")
            )
            if len(period_values) > 1
            else ()
        ):
            values = date_part(part_label, {period: period_values}, (0, 1))
            yield part_label, float(values.min()), float(values.max())
    for period, category_values in varied.items():
        is_category = period in _VALUES and not (monthly and period == "weekday")
        is_category &= (
            period == "hour" or len(category_values) <= len(days) / _DAYS_OF_A_VALUE
        )
        if (
            is_category
            and 1 < len(category_values) <= counts[period].sum() / _ROWS_OF_A_VALUE
        ):
            yield from (
                (f"{period} {value}", 0.0, 1.0) for value in category_values.tolist()
            )
    if monthly:
        return
    weekend = (days + 3) % 7 > 4
    if "weekend" in covered and weekend.any() and not weekend.all():
        yield "weekend", 0.0, 1.0
