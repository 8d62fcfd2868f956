"""Integers that float64 cannot hold: they stay exact beside missing cells, or a note
says that they become equal.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from permgrad.base.late import is_series, pa, pd
from permgrad.data.read.cells import MissingCodes, as_float32

#: From here on float64 leaves out whole numbers.
FIRST_INEXACT = 2**53
#: How many signs whole numbers have that float64 may not hold. Longer ones are beyond
#: its largest.
_LONG = range(16, 300)
_WHOLE = re.compile(r"\s*[+-]?\d+\s*")


def masked(series: pd.Series[Any], hit: Any) -> pd.Series[Any]:
    """Return a column with missing cells where ``hit`` is true. Integers stay exact."""
    if series.dtype in (np.int64, np.uint64) and are_inexact(
        series[~np.asarray(hit, dtype=bool)]
    ):
        series = series.astype("Int64" if series.dtype == np.int64 else "UInt64")
    return series.mask(hit)


def nullable(kind: pa.DataType) -> Any:
    """Return the type of pandas that keeps 64-bit whole numbers exact beside missing
    cells. None: of other types.
    """
    return {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}.get(kind)


def as_stored(numbers: Iterable[float]) -> list[float]:
    """Return codes that are numbers, as columns of float64 and of float32 hold them."""
    codes = [number for number in numbers if not np.isnan(number)]
    return list(dict.fromkeys([*codes, *map(as_float32, codes)]))


def blank_numbers(
    series: pd.Series[Any], codes: MissingCodes, name: str
) -> pd.Series[Any]:
    """Return a column of numbers in which declared codes are missing, or the column
    itself if it has none.
    """
    numbers = as_stored(MissingCodes(codes.holds_for(name)).numbers)
    if numbers:
        is_code = series.isin(numbers).to_numpy(dtype=bool)
    else:
        is_code = np.zeros(len(series), dtype=bool)
    if is_code.any():
        return masked(series, is_code)
    return series


def are_inexact(series: pd.Series[Any]) -> bool:
    """Return whether a column of whole numbers has some from where float64 leaves out
    others.
    """
    present = series.dropna()
    # Without abs(): that of the smallest int64 is negative.
    return bool(len(present)) and bool(
        present.max() >= FIRST_INEXACT or present.min() <= -FIRST_INEXACT
    )


def different_and_left(numbers: Iterable[Any]) -> tuple[int, int]:
    """Return how many integers (a column or different texts) differ, and how many as
    float64.
    """
    if is_series(numbers):
        if not pd.api.types.is_integer_dtype(numbers.dtype) or not are_inexact(numbers):
            return 0, 0
        different: Collection[Any] = (
            numbers.dropna().drop_duplicates().to_numpy(dtype=object).tolist()
        )
    else:
        different = set()
        for number_text in numbers:
            if len(number_text) in _LONG and _WHOLE.fullmatch(number_text):
                different.add(int(number_text))
    return len(different), len(set(map(float, different)))


def without_points(series: pd.Series[Any]) -> pd.Series[Any]:
    """Return whole numbers that are floats only because some are missing as whole
    numbers: they are written so.
    """
    if series.dtype != np.float64 or not series.isna().any():
        return series
    present = series.dropna()
    is_whole = (present == np.floor(present)) & (present.abs() < FIRST_INEXACT)
    if len(present) and is_whole.all():
        return series.astype("Int64")
    return series
