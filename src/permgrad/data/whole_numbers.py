"""Whole numbers that float64 cannot hold: identifiers of 17 digits must stay themselves where a cell is missing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

#: From here on float64 leaves out whole numbers.
FIRST_INEXACT = 2**53
_WHOLE = re.compile(r"\s*[+-]?\d+\s*")
_TYPES: tuple[tuple[int, int, Any], ...] = (
    (-(2**63), 2**63 - 1, pd.Int64Dtype()),
    (0, 2**64 - 1, pd.UInt64Dtype()),
)


def may_be_rounded(series: pd.Series[Any]) -> bool:
    """Whether a column of floats may stand for whole numbers that floats cannot hold.

    Examples:
        >>> may_be_rounded(pd.Series([2.0**53, np.nan])), may_be_rounded(pd.Series([2.0**52, np.nan]))
        (True, False)
    """
    if series.dtype != np.float64:
        return False
    values = series.to_numpy(np.float64)
    finite = values[np.isfinite(values)]
    return bool((np.abs(finite) >= FIRST_INEXACT).any() and (finite == np.floor(finite)).all())


def with_exact(frame: pd.DataFrame, as_written: Callable[[list[str]], pd.DataFrame]) -> pd.DataFrame:
    """Return a frame in which whole numbers that were rounded, because a cell beside them is missing, are exact.

    Args:
        frame: as a reader of CSV gives it.
        as_written: returns the text of the columns that are named, missing cells missing.

    Examples:
        >>> text = pd.DataFrame({"nr": ["9007199254740993", None]})
        >>> exact = with_exact(pd.DataFrame({"nr": [9007199254740993.0, np.nan]}), lambda names: text[names])
        >>> exact["nr"].tolist(), str(exact["nr"].dtype)
        ([9007199254740993, <NA>], 'Int64')
    """
    names = [str(name) for name in frame.columns if may_be_rounded(frame[name])]
    written = as_written(names) if names else frame[[]]
    exact = {name: _parsed(written[name]) for name in names}
    return frame.assign(**{name: series for name, series in exact.items() if series is not None})


def masked(series: pd.Series[Any], hit: Any) -> pd.Series[Any]:
    """Return a column whose cells are missing where ``hit``; whole numbers stay exact.

    Examples:
        >>> masked(pd.Series([9007199254740993, -9]), [False, True]).tolist()
        [9007199254740993, <NA>]
        >>> masked(pd.Series([3, -9]), [False, True]).tolist()
        [3.0, nan]
    """
    if series.dtype in (np.int64, np.uint64):
        # Without abs(): that of the smallest int64 is negative.
        rest = series[~np.asarray(hit, dtype=bool)]
        if ((rest >= FIRST_INEXACT) | (rest <= -FIRST_INEXACT)).any():
            series = series.astype("Int64" if series.dtype == np.int64 else "UInt64")
    return series.mask(hit)


def without_points(series: pd.Series[Any]) -> pd.Series[Any]:
    """Return whole numbers that are floats only because some are missing as whole numbers: they are written so.

    Examples:
        >>> without_points(pd.Series([17.0, np.nan])).tolist(), without_points(pd.Series([1.5, np.nan])).tolist()
        ([17, <NA>], [1.5, nan])
    """
    if series.dtype != np.float64 or not series.isna().any():
        return series
    known = series.dropna()
    whole = (known == np.floor(known)) & (known.abs() < FIRST_INEXACT)
    return series.astype("Int64") if len(known) and whole.all() else series


def _parsed(texts: pd.Series[Any]) -> pd.Series[Any] | None:
    """Return cells as whole numbers; None: some are written otherwise, or are too large for 64 bits."""
    known = texts.dropna()
    if not all(isinstance(text, str) and _WHOLE.fullmatch(text) for text in known):
        return None
    numbers = [int(text) for text in known]
    for low, high, dtype in _TYPES:
        if low <= min(numbers) and max(numbers) <= high:
            found: pd.Series[Any] = pd.Series(pd.NA, index=texts.index, name=texts.name, dtype=dtype)
            found[known.index] = pd.array(numbers, dtype=dtype)
            return found
    return None
