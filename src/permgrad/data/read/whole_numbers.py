"""Whole numbers that float64 cannot hold: identifiers of 17 digits must stay themselves where a cell is missing.

And where they are read as numbers all the same, nobody may think that those which fall together are equal.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from permgrad.base.errors import listed, warn_user
from permgrad.data.read.cells import MissingCodes, as_float32

if TYPE_CHECKING:
    from permgrad.data.types.column_types import Schema

#: From here on float64 leaves out whole numbers.
FIRST_INEXACT = 2**53
_WHOLE = re.compile(r"\s*[+-]?\d+\s*")
#: Types that keep whole numbers exact beside missing cells.
NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}
#: How many signs whole numbers have that float64 may not hold; longer ones are beyond its largest.
_LONG = range(16, 300)
#: How the reason of a column ends whose values are fewer as float64.
FUSED = " in float64"


def masked(series: pd.Series[Any], hit: Any) -> pd.Series[Any]:
    """Return a column whose cells are missing where ``hit``; whole numbers stay exact."""
    if series.dtype in (np.int64, np.uint64):
        # Without abs(): that of the smallest int64 is negative.
        numbers = series[~np.asarray(hit, dtype=bool)]
        if ((numbers >= FIRST_INEXACT) | (numbers <= -FIRST_INEXACT)).any():
            series = series.astype("Int64" if series.dtype == np.int64 else "UInt64")
    return series.mask(hit)


def as_stored(numbers: Iterable[float]) -> list[float]:
    """Return codes that are numbers, as columns of float64 and of float32 hold them."""
    codes = [number for number in numbers if not np.isnan(number)]
    return list(dict.fromkeys([*codes, *map(as_float32, codes)]))


def blank_numbers(series: pd.Series[Any], codes: MissingCodes, name: str) -> pd.Series[Any]:
    """Return a column of numbers whose cells with a declared code are missing; the same one where there are none."""
    numbers = as_stored(MissingCodes(codes.holds_for(name)).numbers)
    hit = series.isin(numbers).to_numpy(dtype=bool) if numbers else np.zeros(len(series), dtype=bool)
    return masked(series, hit) if hit.any() else series


# ---- read as numbers all the same ------------------------------------------------------------------------------------
def is_fused(series: pd.Series[Any]) -> bool:
    """Return whether different whole numbers of a column are the same number as float64."""
    return fused_reason(series) is not None


def fused_reason(series: pd.Series[Any]) -> str | None:
    """Say how many different whole numbers of a column become how many as float64; None: as many as they are."""
    if not are_inexact(series):
        return None
    return _reason(series.dropna().drop_duplicates().to_numpy(dtype=object).tolist())


def are_inexact(series: pd.Series[Any]) -> bool:
    """Return whether a column of whole numbers has some from where float64 leaves out others."""
    if not pd.api.types.is_integer_dtype(series.dtype):
        return False
    present = series.dropna()
    return bool(len(present)) and bool(present.max() >= FIRST_INEXACT or present.min() <= -FIRST_INEXACT)


def fused_reason_of_texts(texts: Sequence[str]) -> str | None:
    """Say of different texts, all of them numbers, what ``fused_reason`` says of a column."""
    numbers = {int(text) for text in texts if len(text) in _LONG and _WHOLE.fullmatch(text)}
    return _reason(list(numbers))


def _reason(different: Sequence[int]) -> str | None:
    left = len({float(number) for number in different})
    if left == len(different):
        return None
    return f"numbers; {len(different):,} different values become {left:,}{FUSED}"


def fused_columns(schema: Schema, but_for: Collection[str] = ()) -> dict[str, str]:
    """Return the columns of which different numbers are the same as float64, and what is said of each."""
    return {
        column.name: f"{column.name} ({column.reason.partition('; ')[2].removesuffix(FUSED)})"
        for column in schema
        if column.reason.endswith(FUSED) and column.kind in ("numeric", "constant") and column.name not in but_for
    }


def fused_said(schema: Schema, fix: str, but_for: Collection[str] = ()) -> list[str]:
    """Return the sentence that names these columns; ``{}`` in ``fix`` is where the first one's name goes."""
    columns = fused_columns(schema, but_for)
    if not columns:
        return []
    sentence = (
        f"some numbers differ only in digits that float64 does not hold: {listed(list(columns.values()))}; "
        f"{fix.format(next(iter(columns)))}, or subtract a number from all of them, such as the smallest"
    )
    return [sentence]


def tell_of_fused(schema: Schema) -> None:
    """Warn of columns, read as numbers, of which different values are the same as float64."""
    for sentence in fused_said(schema, "declare kinds={{{!r}: 'categorical'}}"):
        warn_user(sentence)


def without_points(series: pd.Series[Any]) -> pd.Series[Any]:
    """Return whole numbers that are floats only because some are missing as whole numbers: they are written so."""
    if series.dtype != np.float64 or not series.isna().any():
        return series
    present = series.dropna()
    is_whole = (present == np.floor(present)) & (present.abs() < FIRST_INEXACT)
    return series.astype("Int64") if len(present) and is_whole.all() else series
