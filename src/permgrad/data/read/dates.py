"""Dates: as text in the forms that people write, and as columns of pandas. Seconds since 1970 (UTC).

Times of day and durations as text are numbers, in seconds.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from permgrad.base.arrays import Booleans, Floats
from permgrad.base.late import pd

DATE_FORMATS = (
    "ISO8601", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%m-%d-%Y", "%d-%m-%Y", "%d.%m.%y",
    "%m/%d/%y", "%d/%m/%y", "%m-%d-%y", "%d-%m-%y", "%y/%m/%d", "%y-%m-%d",
    "%d %b %Y", "%b %d %Y", "%Y %b %d", "%d %b %y", "%b %d %y", "%b %Y", "%Y %b", "%b %y",
    "%Y-%m", "%Y/%m", "%m/%Y", "%m-%Y", "%Y M%m", "%Y Q%q", "Q%q %Y", "%qQ %Y", "Q%q %y", "%qQ %y", "%Y W%V",
    "%Y W%V %u",
)  # fmt: skip
"""Formats tried for text, in this order; on a tie the first wins, so 03/04/2020 is read month first.

``%b`` is a month's name, ``%q`` a quarter. A time of day may stand beside them. Where there is a letter, blanks stand
for any signs between the parts: 31-Jul-62. Two digits of a year are 1930 to 2029, as in spreadsheets.
"""
#: Formats of whole numbers: 20180131, and 1312018 without its zero in front.
_WHOLE = ("%Y%m%d", "%m%d%Y", "%d%m%Y", "%Y%m", "%Y%m%d%H%M", "%Y%m%d%H%M%S")
#: How many digits these and others have, which only declared dates may be.
_DIGITS = {form: len(form.replace("%Y", "%Y%Y")) for form in (*_WHOLE, "%y%m%d", "%Y")}
#: The years of such numbers are 1900 to 2099.
_YEAR_2000, _CENTURY = 946_684_800, 100 * 365.25 * 86_400
#: The format of dates that only a general parser reads, and that of times of day and durations.
_MIXED, DURATION = "several forms", "duration"
#: How the names of the months begin: English, German, French, Spanish, Italian, Dutch and Portuguese ones.
_MONTH_NAMES = (
    *("jan jän ene gen", "feb fév fev", "mar mär mrz mrt", "apr abr avr", "may mai mag mei", "jun juin giu"),
    *("jul juil lug", "aug ago aoû aou", "sep set", "oct okt ott out", "nov", "dec dez déc dic"),
)
_MONTHS = {name: month for month, names in enumerate(_MONTH_NAMES, start=1) for name in names.split()}
_CLOCK = re.compile(
    r"[\s,]*(?:(?<=\d)[T:]|(?<![\d:]))(?P<clock>(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:[.,]\d+)?)?(?![\d:])"
    r"(?:\s*[ap]\.?m\b\.?)?)(?:\s*Uhr\b)?\s*(?P<zone>Z\b|UTC|GMT|(?P<east>[+-])(?P<h>\d\d):?(?P<m>\d\d))?",
    re.IGNORECASE,
)
#: What may stand beside the parts of a date: the day of the week, and 31st.
_BESIDE = re.compile(
    r"\b(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?\b\.?|(?<=\d)(?:st|[nr]d|th)\b", re.IGNORECASE
)
_UNITS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([wdhms])(?:eek|ay|our|r|in|inute|ec|econd)?s?(?![a-z])[\s,+]*", re.IGNORECASE)
_LASTED = re.compile(
    rf"-?\s*(?:{_AMOUNT.pattern})*"
    r"(?:(?P<h>\d+):(?P<m>[0-5]\d)(?::(?P<s>[0-5]\d(?:[.,]\d+)?))?(?:\s*(?P<half>[ap])\.?m\b\.?)?)?",
    re.IGNORECASE,
)
#: Durations of ISO 8601 (PT5M3S), minutes and seconds (1:23.4) and 1h05, and how they are written with units.
_WITH_UNITS = (
    (re.compile(r"P(?=[\dT])((?:\d+W)?(?:\d+D)?)(?:T(.+))?"), r"\1\2"),
    (re.compile(r"(\d+):([0-5]\d)[.,](\d+)"), r"\1m \2.\3s"),
    (re.compile(r"(\d+\s?h)\s?([0-5]\d)"), r"\1 \2m"),
)
#: What tells durations from lengths and codes: 5 m, 3D.
_LASTS = re.compile(r":|\d\s*h|min|sec|day|week|\dm\s*\d+\s*s|^PT|^P\d+DT")
#: What may stand behind the parts of a date in East Asia.
_EASTERN = str.maketrans("年月년월", "----", "日일")


# ---- which form ------------------------------------------------------------------------------------------------------
def find_date_format(texts: Sequence[str], *, declared: bool = False) -> tuple[str, float, bool] | None:
    """Return the format that reads (nearly) all texts as dates, their share, and if day and month could be swapped.

    None: no format does. Texts that are ``declared`` dates may be digits alone, or written in several forms, and the
    format that reads most of them is returned, however few these are.
    """
    if not texts or (not declared and _looks_like_date(texts[:200]).mean() < 0.99):
        return None
    counts = Counter(form for ways in date_ways(texts[:2000]) for form in ways)
    # Also digits alone, which ISO 8601 reads.
    for form in ("ISO8601", *_DIGITS) if declared else ("ISO8601",):
        counts[form] = int(np.isfinite(date_seconds(texts[:2000], form)).sum())
    form = max((*DATE_FORMATS, *_DIGITS), key=counts.__getitem__)
    is_swapped = any(counts[one] == counts[form] and _are_swapped(form, one) for one in list(counts))
    readings = []
    for one, reader in ((form, date_seconds), (form, read_dates), (_MIXED, date_seconds))[: 3 if declared else 1]:
        readings.append((float(np.isfinite(reader(texts, one)).mean()), one))
        if readings[-1][0] >= 0.99:
            break
    share, form = max(readings, key=lambda reading: reading[0])
    return (form, share, is_swapped) if declared or (share >= 0.99 and not _may_be_other(texts, form)) else None


def find_whole_format(values: Floats) -> tuple[str, bool] | None:
    """Return the format in which all numbers (NaN: missing) are dates such as 20180131, and whether it is in doubt."""
    present = values[~np.isnan(values)]
    forms: tuple[str, ...] = _WHOLE if len(present) and 190_000 < present[0] < 1e14 else ()
    for some in (present[:50], present) if forms else ():  # a few numbers tell most columns
        different = np.unique(some)
        if different[-1] >= 1e14 or (different != np.floor(different)).any():
            return None
        texts = [str(int(number)) for number in different.tolist()]
        forms = tuple(form for form in forms if (np.abs(date_seconds(texts, form) - _YEAR_2000) < _CENTURY).all())
    # Months of one year may be numbers that follow each other.
    if not forms or len(different) < 5 or ("%d" not in forms[0] and (len(different) < 10 or np.ptp(different) < 100)):
        return None
    return forms[0], any(_are_swapped(forms[0], other) for other in forms)


def date_ways(texts: Sequence[str]) -> list[list[str]]:
    """Return the formats that read each text as a date, and as nothing else."""
    ways = []
    for text in texts:
        signs, numbers, clock = _taken_apart(text.strip())
        fitting = [form for form in _BY_SIGNS.get(signs, ()) if form not in _DIGITS or not text.strip().isdecimal()]
        ways.append([form for form in fitting if not np.isnan(_start_of(form, numbers) + clock)])
    return ways


def _looks_like_date(texts: Sequence[str]) -> Booleans:
    return np.array(list(map(bool, date_ways(texts))), dtype=bool)


def _may_be_other(texts: Sequence[str], form: str) -> bool:
    """Whether what looks like dates may be something else: the seasons 2004-05 and 2005-06, or days as in Jan-31."""
    numbers = [[int(digits) for digits in re.findall(r"\d+", text)] for text in texts]
    if form == "%b %y":
        return 29 <= max(one[-1] for one in numbers if one) <= 31
    return form in ("ISO8601", "%Y/%m") and all(len(one) == 2 and (one[0] + 1) % 100 == one[1] for one in numbers)


def _are_swapped(one: str, other: str) -> bool:
    """Whether two formats differ by the order of day and month, the time of day left aside."""
    turned = one.replace("%d", "%x").replace("%m", "%d").replace("%x", "%m")
    return turned != one and turned.partition(" %H")[0] == other.partition(" %H")[0]


# ---- reading ---------------------------------------------------------------------------------------------------------
def date_seconds(texts: Sequence[str], form: str) -> Floats:
    """Parse texts to seconds since 1970 (UTC), NaN where a text does not fit the format."""
    texts = [text.strip() for text in texts]
    if form == _MIXED:
        # Of texts without year, month and day, a parser takes the rest from today's date.
        signs = [_taken_apart(text)[:2] for text in texts]
        complete = [len(numbers) >= 3 and "<4>" in written for written, numbers in signs]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _parsed([text if is_whole else "" for text, is_whole in zip(texts, complete, strict=True)], "mixed")
    if form != "ISO8601":
        return _read(texts, form)
    seconds = _parsed(texts, form)
    left = np.flatnonzero(np.isnan(seconds))
    # Such as 2018-01-31 10:00 AM.
    seconds[left] = _read([texts[i] for i in left.tolist()], "%Y-%m-%d")
    return seconds


def read_dates(texts: Sequence[str], form: str) -> Floats:
    """Parse texts in the learned format, then as ISO 8601, then in the others where they agree. NaN where none does."""
    texts = [text.strip() for text in texts]
    seconds = date_seconds(texts, form)
    left = np.flatnonzero(np.isnan(seconds))
    tried = [texts[i] for i in left.tolist()]
    # Alone, ISO 8601 would read "2021" or "20211213", which may well be plain numbers.
    seconds[left] = np.where(_looks_like_date(tried), date_seconds(tried, "ISO8601"), np.nan)
    # A column that needs day and month swapped is in another order throughout: its other days would be read wrongly.
    for place in np.flatnonzero(np.isnan(seconds)).tolist():
        forms = [other for other in date_ways([texts[place]])[0] if not _are_swapped(form, other)]
        readings = {date_seconds([texts[place]], other)[0] for other in forms}
        seconds[place] = readings.pop() if len(readings) == 1 else np.nan
    return seconds


def duration_seconds(texts: Sequence[str]) -> Floats:
    """Read times of day and durations (10:30, 1:15 PM, 1 day 02:03:04, 2h 30m, 90 min) in seconds. NaN: another text.

    Examples:
        >>> duration_seconds(["10:30", "1:15 PM", "1 day 02:03:04", "90 min", "soon"]).tolist()
        [37800.0, 47700.0, 93784.0, 5400.0, nan]
    """
    return np.array([_lasted(text.strip()) for text in texts], dtype=np.float64)


def _lasted(text: str) -> float:
    for form, with_units in _WITH_UNITS:
        if found := form.fullmatch(text):
            text = found.expand(with_units)
    match = _LASTED.fullmatch(text)
    amounts = {unit.lower(): float(amount) for amount, unit in _AMOUNT.findall(text)} if match else {}
    if match is None or not (amounts or match["h"]) or (match["half"] and not 1 <= int(match["h"]) <= 12):
        return np.nan
    hours, minutes, rest = (float((match[part] or "0").replace(",", ".")) for part in "hms")
    hours = hours % 12 + 12 * (match["half"] in "pP") if match["half"] else hours
    clock = 3600 * hours + 60 * minutes + rest
    seconds = sum(_UNITS[unit] * amount for unit, amount in amounts.items())
    # As Python and pandas write it, −1 day, 23:00 is an hour less than nothing.
    return clock + seconds if text[0] != "-" else clock - seconds if amounts else -clock


def are_durations(texts: Sequence[str]) -> bool:
    """Return whether all of several texts are times of day or durations."""
    is_read = len(texts) > 2 and all(np.isfinite(duration_seconds(some)).all() for some in (texts[:50], texts))
    return is_read and any(map(_LASTS.search, texts))


def duration_ways(texts: Sequence[str]) -> list[list[str]]:
    """Return the format of each text that is a time of day or a duration, as ``date_ways``."""
    if not any(map(_LASTS.search, texts)):
        return [[] for _ in texts]
    return [[DURATION] * bool(np.isfinite(seconds)) for seconds in duration_seconds(texts)]


def is_clock(text: str) -> bool:
    """Return whether a text is a time of day, as far as one tells: 10:30, not 1:23.4 or 90 min."""
    return _CLOCK.fullmatch(text.strip()) is not None


# ---- texts and formats -----------------------------------------------------------------------------------------------
@lru_cache(maxsize=2**15)
def _taken_apart(text: str) -> tuple[str, tuple[str, ...], float]:
    """Return how a text is written, the numbers of its date, and the seconds of its time of day (0: there is none)."""
    text = re.sub(r"(?<=^\d{8})T(\d\d)(\d\d)(\d\d)(?!\d)", r"T\1:\2:\3", text.translate(_EASTERN))
    text = re.sub(r"(?<=^\d{4}[-/.]\d\d[-/.]\d\d)[ T](\d\d)$", r" \1:00", text)  # an hour alone
    clock, seconds, numbers = _CLOCK.search(text) if ":" in text else None, 0.0, list[str]()
    if clock is not None:
        text = f"{text[: clock.start()]} {text[clock.end() :]}"
        seconds = _lasted(clock["clock"])
        if clock["east"]:
            seconds -= float(f"{clock['east']}1") * (3600 * int(clock["h"]) + 60 * int(clock["m"]))

    def sign(token: re.Match[str]) -> str:
        word = token[0].lower()
        month = _MONTHS.get(word[:4], _MONTHS.get(word[:3]))
        if month or word.isdecimal():
            numbers.append(str(month or word))
        return "b" if month else f"<{max(len(word), 2)}>" if word.isdecimal() else word.upper()

    return _without_blanks(re.sub(r"\d+|[^\W\d_]+", sign, _BESIDE.sub("", text).strip(" ,"))), tuple(numbers), seconds


def _without_blanks(signs: str) -> str:
    return re.sub(r"[-\s./,:'’]+", "", signs) if re.search("[A-Zb]", signs) else signs


def _signs(form: str) -> str:
    """Return how the texts of a format are written. Models that were saved earlier name a time of day."""
    signs = form.partition(" %H")[0].replace("%B", "b").replace("%b", "b").replace("%Y", "<4>")
    return f"<{_DIGITS[form]}>" if form in _DIGITS else _without_blanks(re.sub("%[a-zV]", "<2>", signs))


#: The formats of texts by how they are written. Digits alone need a time of day beside them, as they may be numbers.
_BY_SIGNS: dict[str, list[str]] = {}
for _form in ("%Y-%m-%d", *DATE_FORMATS[1:], "%Y%m%d"):
    _BY_SIGNS.setdefault(_signs(_form), []).append(_form)


def _read(texts: Sequence[str], form: str) -> Floats:
    seconds, wanted = np.full(len(texts), np.nan), {_signs(form)}
    if form in _DIGITS and form[1] != "Y":
        wanted.add(f"<{_DIGITS[form] - 1}>")
    # pandas reads numbers with fixed signs between them much faster.
    for clock_form in ("", " %H:%M", " %H:%M:%S") if re.fullmatch("%.([-/.]%.)+", form) else ():
        left = np.flatnonzero(np.isnan(seconds))
        seconds[left] = _parsed([texts[place] for place in left.tolist()], f"{form}{clock_form}")
    seconds -= 36_525 * 86_400 * (("%y" in form) & (seconds >= _YEAR_2000 + 10_958 * 86_400))
    for place in np.flatnonzero(np.isnan(seconds)).tolist():
        signs, numbers, clock = _taken_apart(texts[place])
        if signs in wanted:
            seconds[place] = _start_of(form, numbers) + clock
    return seconds


def _start_of(form: str, numbers: Sequence[str]) -> float:
    """Return where the day, month, quarter or week with these numbers begins, in seconds, NaN if there is none."""
    names = re.findall("%(.)", form.partition(" %H")[0])
    if form in _DIGITS:
        digits = numbers[0].zfill(_DIGITS[form])
        ends = [*accumulate((4 if name == "Y" else 2 for name in names), initial=0)]
        numbers = [digits[start:end] for start, end in pairwise(ends)]
    parts = {name: int(number) for name, number in zip(names, numbers, strict=True)}
    year = parts["Y"] if "Y" in parts else (parts["y"] - 30) % 100 + 1930
    month = parts.get("m", parts.get("b", parts.get("B", 3 * parts.get("q", 1) - 2)))
    # Without a day, other years may be codes. Years have two digits or four.
    if not ("d" in parts or 1500 <= year <= 2200) or ("y" in parts and len(numbers[names.index("y")]) < 2):
        return np.nan
    try:
        day = (
            date.fromisocalendar(year, parts["V"], parts.get("u", 1))
            if "V" in parts
            else date(year, month, parts.get("d", 1))
        )
        hour, minute, second = (parts.get(name, 0) for name in "HMS")
        return datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        return np.nan


def _parsed(texts: Sequence[str], form: str) -> Floats:
    column = pd.Series(list(texts), dtype=object)
    return series_seconds(pd.to_datetime(column, format=form, errors="coerce", utc=True))


# ---- columns of pandas -----------------------------------------------------------------------------------------------
def is_moment(series: pd.Series[Any]) -> bool:
    """Whether a column holds dates, periods or durations by its type."""
    return series.dtype.kind in "mM" or isinstance(series.dtype, (pd.DatetimeTZDtype, pd.PeriodDtype))


def series_seconds(series: pd.Series[Any]) -> Floats:
    """Return a datetime, period or timedelta column in seconds (dates: since 1970, UTC), NaN where missing."""
    if isinstance(series.dtype, pd.PeriodDtype):
        series = series.dt.to_timestamp()
    elif isinstance(series.dtype, pd.ArrowDtype) and str(series.dtype).startswith("date"):
        # Arrow's days, unlike its moments, know no time zone and refuse to be asked for it.
        series = series.astype("datetime64[us]")
    if series.dtype.kind == "m":
        return np.asarray(series.dt.total_seconds().to_numpy(dtype=np.float64, na_value=np.nan))
    if getattr(series.dt, "tz", None) is not None:
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    moments = series.to_numpy(dtype="datetime64[us]")
    seconds = moments.astype(np.int64) / 1e6
    seconds[np.isnat(moments)] = np.nan
    return np.asarray(seconds, dtype=np.float64)


def date_text(seconds: float) -> str:
    """Write seconds since 1970 (UTC) as a date, with the time of day unless it is midnight."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%d}" if seconds % 86400 == 0 else f"{moment:%Y-%m-%d %H:%M}"
