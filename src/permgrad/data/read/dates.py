"""Dates: as text, in one way of writing for a whole column, and as columns of pandas.

Seconds since 1970 (UTC).

Times of day and durations as text are numbers, in seconds.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np

from permgrad.base.arrays import Floats
from permgrad.base.late import pd
from permgrad.base.sequences import values_at

ISO = "ISO8601"
WHOLE = "%Y%m%d"
DURATION = "duration"
"""The forms of 2020-01-31 and all that ISO 8601 writes, of whole numbers such as
20180131, and of durations.
"""
_CLOCK = (
    r"(?P<hour>\d+):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d(?:[.,]\d+)?))?"
    r"(?:\s*(?P<half>[ap])\.?m\b\.?)?"
    r"(?:\s*(?P<zone>Z|UTC|GMT|[+-]\d\d:?\d\d))?"
)
_DAY = r"(?P<day>\d{1,2})"
_MONTH = r"(?P<month>\d{1,2})"
_NAME = r"(?P<month>[^\W\d_]+)"
_YEAR = r"(?P<year>\d{4}|\d\d)"
_SIGN = "(?P<sign>[-/])"
_SAME = "(?P=sign)"
_NTH = "(?:st|nd|rd|th)?"
#: The other ways of writing a date, in the order in which they are tried, each with or
#: without a time of day behind it. Two digits of a year are 1930 to 2029, as in
#: spreadsheets.
_FORMS = {
    date_form: re.compile(rf"{date_pattern}(?:(?:T|,?\s+){_CLOCK})?", re.IGNORECASE)
    for date_form, date_pattern in {
        "%Y/%m/%d": rf"(?P<year>\d{{4}})(?P<sign>[-/.]){_MONTH}{_SAME}{_DAY}",
        "%d.%m.%Y": rf"{_DAY}\.\s?{_MONTH}\.\s?{_YEAR}",
        "%m/%d/%Y": f"{_MONTH}{_SIGN}{_DAY}{_SAME}{_YEAR}",
        "%d/%m/%Y": f"{_DAY}{_SIGN}{_MONTH}{_SAME}{_YEAR}",
        "%d %b %Y": rf"{_DAY}{_NTH}\W{{0,2}}{_NAME}\W{{0,2}}{_YEAR}",
        "%b %d %Y": rf"{_NAME}\W{{0,2}}{_DAY}{_NTH}\W{{1,2}}{_YEAR}",
    }.items()
}
#: All forms of dates that are written as text.
FORMS = (ISO, *_FORMS)
_DURATION = re.compile(
    rf"(?P<minus>-)?(?:(?P<days>\d+) days?,? \+?)?{_CLOCK}", re.IGNORECASE
)
_ENGLISH = [
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
]
_MONTHS = {
    short: month_number
    for month_number, month_name in enumerate(_ENGLISH, 1)
    for short in (month_name, month_name[:3])
} | {"sept": 9}
_DAY_0 = date(1970, 1, 1).toordinal()
#: What looks like dates, and is none: a month or quarter and its year. What looks like
#: durations, and is text.
_MONTH_ALONE = (
    rf"(?:{'|'.join(month_name[:3] for month_name in _ENGLISH)})[a-z]*\.?"
    r"|Q[1-4]|[1-4]Q|[MW]\d\d?"
)
_INCOMPLETE = re.compile(
    rf"(?:{_MONTH_ALONE})\W{{0,3}}(?:\d{{4}}|\d\d)"
    rf"|(?:\d{{4}}|\d\d)\W{{0,3}}(?:{_MONTH_ALONE})"
    r"|(?:0?[1-9]|1[0-2])[-/](?:19|20)\d\d",
    re.IGNORECASE,
)
_LASTED = re.compile(
    r"\d+:[0-5]\d[.,]\d+|PT[\dHMS.]+|\d+\s?h\s?[0-5]\d|"
    r"(?:\d+\s?(?:d|days?|h|hours?|hrs?|m|mins?|minutes?|s|secs?|seconds?)(?![a-z])[\s,]*){2,}",
    re.IGNORECASE,
)
#: Whole numbers that are dates are of 1900 to 2099, and at least so many differ.
_FIRST_WHOLE = 19_000_101
_LAST_WHOLE = 20_991_231
_FEWEST_WHOLE = 5
#: How many texts tell most columns that are no dates, and how long one may be.
_FIRST = 20
_LONGEST = 40


# ---- which form ----------------------------------------------------------------------
def find_date_format(
    texts: Sequence[str], *, declared: bool = False
) -> tuple[str, bool] | None:
    """Return the form in which all texts are dates, and if day and month could be
    swapped (then the month is first).

    None: no form reads all. ``declared`` dates may be digits alone (2004, 20040131).

    Examples:
        >>> (
        ...     find_date_format(["31.01.2020", "1.2.2020"]),
        ...     find_date_format(["1/2/2020"]),
        ...     find_date_format(["May 2020"]),
        ... )
        (('%d.%m.%Y', False), ('%m/%d/%Y', True), None)
    """
    if texts:
        first = texts[0].strip()
    else:
        first = ""
    if not re.search(r"\d", first) or len(first) > _LONGEST:
        return None
    forms = [form for form in FORMS if _reads_all(texts, form)]
    # pandas knows more of them. Its guesses without a year take it from today's date.
    if not forms and (declared or re.search(r"[^\W\d_]{3}", first)):
        guessed = pd.tseries.api.guess_datetime_format(first)
        if guessed and "%Y" in guessed and _reads_all(texts, guessed):
            forms = [guessed]
        else:
            forms = []
    if not forms or (not declared and _are_seasons(texts)):
        return None
    return forms[0], forms[0] == "%m/%d/%Y" and "%d/%m/%Y" in forms


def are_whole_dates(numbers: Floats) -> bool:
    """Return whether all numbers (NaN: missing) are dates such as 20180131."""
    present = numbers[~np.isnan(numbers)]
    if not len(present) or present.min() < _FIRST_WHOLE or present.max() > _LAST_WHOLE:
        return False
    different = np.unique(present)
    is_whole = len(different) >= _FEWEST_WHOLE and bool(
        (different == np.floor(different)).all()
    )
    return is_whole and _reads_all(
        [str(int(number)) for number in different.tolist()], WHOLE
    )


def _reads_all(texts: Sequence[str], form: str) -> bool:
    # The first tell most columns that are none.
    return all(
        bool(np.isfinite(date_seconds(some_texts, form)).all())
        for some_texts in (texts[:_FIRST], texts)
    )


def _are_seasons(texts: Sequence[str]) -> bool:
    """Return whether these are seasons, such as 2004-05 and 2005-06, and no months."""
    season_matches = []
    for cell_text in texts:
        season_matches.append(re.fullmatch(r"\d\d(\d\d)-(\d\d)", cell_text.strip()))
    return all(
        season_match is not None
        and (int(season_match[1]) + 1) % 100 == int(season_match[2])
        for season_match in season_matches
    )


def date_ways(texts: Sequence[str]) -> list[list[str]]:
    """Return the forms in which each text is a date, also incomplete ones that are not
    read.
    """
    text_forms: list[list[str]] = []
    for cell_text in texts:
        text_forms.append(
            ["incomplete"] * bool(_INCOMPLETE.fullmatch(cell_text.strip()))
        )
    if not re.search(r"\d", "".join(texts[:_FIRST])):
        return text_forms
    # With hyphens two digits of a year are in doubt.
    doubtful = []
    for stripped_text in map(str.strip, texts):
        if re.fullmatch(r"\d\d?-\d\d?-\d\d", stripped_text):
            doubtful.append(stripped_text)
        else:
            doubtful.append("")
    written_in = [(form, texts) for form in FORMS]
    written_in += [
        ("%d/%m/%Y", [doubtful_text.replace("-", "/") for doubtful_text in doubtful])
    ]
    written_in += [("%Y/%m/%d", [f"20{doubtful_text}" for doubtful_text in doubtful])]
    for written_form, written in written_in:
        for text_index in np.flatnonzero(
            np.isfinite(date_seconds(written, written_form))
        ).tolist():
            text_forms[text_index].append(written_form)
    return text_forms


def duration_ways(texts: Sequence[str]) -> list[list[str]]:
    """Return the form of each text that is a time of day or a duration, as
    ``date_ways``.
    """
    readable = np.isfinite(duration_seconds(texts))
    return [
        [DURATION]
        if is_read
        else ["with units"] * bool(_LASTED.fullmatch(cell_text.strip()))
        for cell_text, is_read in zip(texts, readable, strict=True)
    ]


# ---- reading -------------------------------------------------------------------------
def date_seconds(texts: Sequence[str], form: str) -> Floats:
    """Parse texts to seconds since 1970 (UTC), NaN where a text does not fit the
    form.
    """
    texts = [padded_text.strip() for padded_text in texts]
    if pattern := _FORMS.get(form):
        return np.array(
            [_moment(pattern.fullmatch(stripped_text)) for stripped_text in texts],
            dtype=np.float64,
        )
    # Digits alone are numbers to ISO 8601 here, and pandas takes seven for the eight of
    # a whole number.
    fits_form = []
    for stripped_text in texts:
        if form == ISO:
            fits_form.append(not stripped_text.isdecimal())
        else:
            fits_form.append(form != WHOLE or len(stripped_text) == 8)
    column = pd.Series(
        [
            stripped_text if does_fit else None
            for stripped_text, does_fit in zip(texts, fits_form, strict=True)
        ],
        dtype=object,
    )
    return series_seconds(
        pd.to_datetime(column, format=form, errors="coerce", utc=True)
    )


def read_dates(texts: Sequence[str], form: str) -> Floats:
    """Parse texts in the learned form, else as ISO 8601.

    NaN where neither reads them.
    """
    seconds = date_seconds(texts, form)
    unread_rows = np.flatnonzero(np.isnan(seconds))
    if form == ISO or not len(unread_rows):
        return seconds
    seconds[unread_rows] = date_seconds(values_at(texts, unread_rows.tolist()), ISO)
    return seconds


def has_short_years(texts: Sequence[str]) -> bool:
    """Return whether years have two digits in some of these dates."""
    return not all(re.search(r"\d{4}", date_text) for date_text in texts)


def duration_seconds(texts: Sequence[str]) -> Floats:
    """Read times of day and durations in seconds, as clocks and pandas write them.

    NaN: another text.

    Examples:
        >>> duration_seconds(
        ...     ["10:30", "1:15 PM", "0:00:59.5", "1 days 02:03:04", "90 min"]
        ... ).tolist()
        [37800.0, 47700.0, 59.5, 93784.0, nan]
    """
    return np.array(
        [_lasted(_DURATION.fullmatch(cell_text.strip())) for cell_text in texts],
        dtype=np.float64,
    )


def are_durations(texts: Sequence[str]) -> bool:
    """Return whether all of several texts are times of day or durations."""
    return len(texts) > 2 and all(
        np.isfinite(duration_seconds(some_texts)).all()
        for some_texts in (texts[:_FIRST], texts)
    )


def _moment(match: re.Match[str] | None) -> float:
    """Return the seconds since 1970 of what a form has read, NaN if there is no such
    moment or the form did not fit.
    """
    if match is None:
        return np.nan
    date_fields = match.groupdict()
    full_year = int(date_fields["year"])
    month = date_fields["month"].lower()
    if len(date_fields["year"]) == 2:
        # With hyphens the year may be first: 20-01-31.
        if date_fields.get("sign") == "-":
            return np.nan
        full_year = (full_year - 30) % 100 + 1930
    if month.isdecimal():
        number = int(month)
    else:
        number = _MONTHS.get(month) or _months_of_machine().get(month, 0)
    try:
        calendar_day = date(full_year, number, int(date_fields["day"]))
    except ValueError:
        return np.nan
    if date_fields["hour"] is None:
        clock = 0.0
    else:
        clock = _clock(date_fields)
    if not clock < 86_400:
        return np.nan
    if (time_zone := date_fields["zone"]) and time_zone[0] in "+-":
        clock -= float(f"{time_zone[0]}1") * (
            3600 * int(time_zone[1:3]) + 60 * int(time_zone[-2:])
        )
    return 86_400.0 * (calendar_day.toordinal() - _DAY_0) + clock


def _lasted(match: re.Match[str] | None) -> float:
    if match is None or match["zone"]:
        return np.nan
    clock = _clock(match.groupdict())
    day_seconds = 86_400 * int(match["days"] or 0)
    # As Python and pandas write it, −1 day, 23:00 is an hour less than nothing.
    if not match["minus"]:
        return clock + day_seconds
    if day_seconds:
        return clock - day_seconds
    return -clock


def _clock(clock_fields: Mapping[str, str]) -> float:
    """Return the seconds of a time of day, NaN if there is none, as 13:00 PM."""
    hour_number = int(clock_fields["hour"])
    if clock_fields["half"]:
        if not 1 <= hour_number <= 12:
            return np.nan
        hour_number = hour_number % 12 + 12 * (clock_fields["half"] in "pP")
    return (
        3600 * hour_number
        + 60 * int(clock_fields["minute"])
        + float((clock_fields["second"] or "0").replace(",", "."))
    )


@lru_cache(maxsize=1)
def _months_of_machine() -> dict[str, int]:
    """Return the numbers of the months by their names, in small letters, in the
    language of the machine.

    Another process asks for them: the locale of this one stays as it is.
    """
    script = (
        "import calendar, locale; locale.setlocale(locale.LC_TIME, ''); "
        "print(*{0}month_name, *{0}month_abbr)"
    )
    command = [sys.executable, "-I", "-X", "utf8", "-c", script.format("calendar.")]
    try:
        completed = subprocess.run(command, capture_output=True, check=True, timeout=10)  # noqa: S603 — this Python
        names = completed.stdout.decode("utf-8").lower().split()
    except (OSError, ValueError, subprocess.SubprocessError):
        return {}
    if len(names) == 24:
        months_of_machine: dict[str, int] = {}
        for name_index, month_name in enumerate(names):
            months_of_machine[month_name.strip(".")] = name_index % 12 + 1
        return months_of_machine
    return {}


# ---- columns of pandas ---------------------------------------------------------------
def is_moment(series: pd.Series[Any]) -> bool:
    """Whether a column holds dates, periods or durations by its type."""
    return series.dtype.kind in "mM" or isinstance(
        series.dtype, (pd.DatetimeTZDtype, pd.PeriodDtype)
    )


def series_seconds(series: pd.Series[Any]) -> Floats:
    """Return a datetime, period or timedelta column in seconds (dates: since 1970,
    UTC), NaN where missing.
    """
    if isinstance(series.dtype, pd.PeriodDtype):
        series = series.dt.to_timestamp()
    elif isinstance(series.dtype, pd.ArrowDtype) and str(series.dtype).startswith(
        "date"
    ):
        # Arrow's days, unlike its moments, know no time zone and refuse to be asked for
        # it.
        series = series.astype("datetime64[us]")
    if series.dtype.kind == "m":
        return np.asarray(
            series.dt.total_seconds().to_numpy(dtype=np.float64, na_value=np.nan)
        )
    if getattr(series.dt, "tz", None) is not None:
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    moments = series.to_numpy(dtype="datetime64[us]")
    seconds = moments.astype(np.int64) / 1e6
    seconds[np.isnat(moments)] = np.nan
    return np.asarray(seconds, dtype=np.float64)


def date_text(seconds: float) -> str:
    """Write seconds since 1970 (UTC) as a date, with the time of day unless it is
    midnight.
    """
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    if seconds % 86400 == 0:
        return f"{moment:%Y-%m-%d}"
    return f"{moment:%Y-%m-%d %H:%M}"
