"""Dates: as text in the forms that people write, and as columns of pandas. Seconds since 1970 (UTC)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from permgrad.base.arrays import Booleans, Floats
from permgrad.base.late import pd

_DAYS = ("%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%m-%d-%Y", "%d-%m-%Y", "%d.%m.%y")
DATE_FORMATS = (
    "ISO8601",
    *_DAYS,
    *(f"{day} {clock}" for day in _DAYS for clock in ("%H:%M", "%H:%M:%S")),
    "%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y",
)  # fmt: skip
"""Formats tried for text, in this order; on a tie the first wins, so 03/04/2020 is read month first."""
_LOOKS_LIKE_DATE = (
    r"^\s*(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}|\d{1,2}[ -][A-Za-z]{3,9}["
    r" -]\d{4}|[A-Za-z]{3,9} \d{1,2}, \d{4})"
)


def find_date_format(texts: Sequence[str]) -> tuple[str, float, bool] | None:
    """Return the format that reads (nearly) all texts as dates, their share, and whether another does too, or None."""
    if not texts or _looks_like_date(texts[:200]).mean() < 0.99:
        return None
    trial = texts[:2000]
    shares = [float((~np.isnan(date_seconds(trial, form))).mean()) for form in DATE_FORMATS]
    best = int(np.argmax(shares))
    share = shares[best]
    if len(texts) > len(trial):
        share = float((~np.isnan(date_seconds(texts, DATE_FORMATS[best]))).mean())
    return (DATE_FORMATS[best], share, shares.count(shares[best]) > 1) if share >= 0.99 else None


def date_seconds(texts: Sequence[str], form: str) -> Floats:
    """Parse texts to seconds since 1970 (UTC), NaN where a text does not fit the format."""
    column = pd.Series(list(texts), dtype=object)
    return series_seconds(pd.to_datetime(column, format=form, errors="coerce", utc=True))


def read_dates(texts: Sequence[str], form: str) -> Floats:
    """Parse texts in the learned format, then as ISO 8601, then in the others where they agree. NaN where none does."""
    texts = [text.strip() for text in texts]
    seconds = date_seconds(texts, form)
    left = np.flatnonzero(np.isnan(seconds))
    tried = [texts[i] for i in left.tolist()]
    # Alone, ISO 8601 would read "2021" or "20211213", which may well be plain numbers.
    seconds[left] = np.where(_looks_like_date(tried), date_seconds(tried, "ISO8601"), np.nan)
    left = np.flatnonzero(np.isnan(seconds))
    tried = [texts[i] for i in left.tolist()]
    # A column that needs day and month swapped is in another order throughout: its other days would be read wrongly.
    if _looks_like_date(tried).any():
        formats = [other for other in DATE_FORMATS if other not in (form, "ISO8601") and not _are_swapped(form, other)]
        readings = np.stack([date_seconds(tried, other) for other in formats])
        earliest, latest = np.fmin.reduce(readings), np.fmax.reduce(readings)
        seconds[left] = np.where(earliest == latest, earliest, np.nan)
    return seconds


def _looks_like_date(texts: Sequence[str]) -> Booleans:
    return np.array([re.match(_LOOKS_LIKE_DATE, text) is not None for text in texts], dtype=bool)


def _are_swapped(one: str, other: str) -> bool:
    """Whether two formats differ by the order of day and month, the time of day left aside."""
    turned = one.replace("%d", "%x").replace("%m", "%d").replace("%x", "%m")
    return turned != one and turned.partition(" %H")[0] == other.partition(" %H")[0]


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
