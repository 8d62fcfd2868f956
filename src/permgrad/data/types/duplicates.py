"""Columns that determine each other one to one: a model may rely on either, so importance is split between them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from permgrad.base.arrays import Array, Floats
from permgrad.base.late import pd
from permgrad.data.read.cells import Distinct, as_frame, is_native_number, text_numbers
from permgrad.data.read.dates import is_moment, series_seconds
from permgrad.data.read.whole_numbers import different_and_left
from permgrad.data.types.column_types import Schema

#: Columns that differ in these rows, spread over the table, need no look at the others.
_LOOKED_AT = 1000
#: Shares of levels in the cells above which values count: in rows that are few, and in all of them.
_ALL_DIFFERENT, _OFTEN_ALIKE = 1 - 0.5 / _LOOKED_AT, 0.5
#: So many different numbers are in the same order in two columns only if one follows from the other.
_FEWEST_IN_ORDER = 12


def same_columns(frame: pd.DataFrame, schema: Schema, together: Iterable[Sequence[str]] = ()) -> list[tuple[str, ...]]:
    """Find columns that determine each other one to one: equal in every row, one a code or a function of the other.

    If nearly each row has a different value, all columns are codes of each other: there numbers must rise, or fall,
    strictly together, and texts be equal. Constants, identifiers and groups that act ``together`` are passed over.
    """
    # Names in a schema are text, whatever they are in the frame, and as_frame makes them so.
    names = [column.name for column in schema if column.kind not in ("constant", "identifier")]
    blocks = [set(block) for block in together]
    order = {name: place for place, name in enumerate(schema.names)}
    groups = [tuple(sorted(group, key=order.__getitem__)) for group in alike_columns(as_frame(frame), names)]
    apart = [group for group in groups if not any(block.issuperset(group) for block in blocks)]
    return sorted(apart, key=lambda group: order[group[0]])


def alike_columns(frame: pd.DataFrame, names: Sequence[str]) -> list[list[str]]:
    """Return groups of columns that determine each other, as ``same_columns`` says."""
    if len(frame) > _LOOKED_AT:
        some = frame.iloc[np.linspace(0, len(frame) - 1, _LOOKED_AT).astype(np.int64)]
        names = [name for group in _alike(some, names, _ALL_DIFFERENT) for name in group]
    return _alike(frame, names, _OFTEN_ALIKE)


def _alike(frame: pd.DataFrame, names: Sequence[str], most: float) -> list[list[str]]:
    """Return names whose columns have the same rows alike. Where levels are more than this share, values count too."""
    alike: dict[bytes, list[str]] = {}
    for name in names:
        codes, values = column_levels(frame[name], name)
        digest = hashlib.blake2b(np.ascontiguousarray(codes, dtype=np.int64).tobytes(), digest_size=16)
        if len(values) > most * np.count_nonzero(codes >= 0):
            if not isinstance(values, np.ndarray):
                digest.update("\0".join(values).encode())
            elif len(values) < _FEWEST_IN_ORDER:
                digest.update(values.tobytes())
            else:
                # What numbers share with all that rise or fall strictly with them is their order: a column that falls
                # where another rises says the same, so the smallest value comes before the largest.
                rising = values if np.argmin(values) < np.argmax(values) else -values
                digest.update(np.argsort(rising, kind="stable").tobytes())
        alike.setdefault(digest.digest(), []).append(name)
    return [group for group in alike.values() if len(group) > 1]


def column_levels(series: pd.Series[Any], name: str) -> tuple[Array, Floats | list[str]]:
    """Return each row's level, −1 where it is missing, numbered as they first occur, and the levels in this order."""
    is_number = is_native_number(series.dtype)
    if is_number or is_moment(series):
        # Integers that are equal as float64 are distinguished.
        different, left = different_and_left(series) if is_number and series.dtype.kind in "iu" else (0, 0)
        if is_number and different == left:
            cells: Any = series.to_numpy(dtype=np.float64, na_value=np.nan) + 0.0  # a minus zero is a zero
        else:
            cells = series if is_number else series_seconds(series)
        codes, levels = pd.factorize(cells)
        return codes, np.asarray(levels, dtype=np.float64)
    distinct = Distinct.of(series, name)
    numbers = text_numbers(distinct.texts)
    return distinct.index, distinct.texts if np.isnan(numbers).any() else numbers
