"""Lines of a large CSV file, written by column: the bytes that pandas writes cell by
cell, in less time.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

#: Rows whose texts are in memory at a time.
_ROWS = 50_000
#: Sizes of numbers with a fraction that Arrow writes as Python does, without exponent.
_SMALLEST = 1e-4
_LARGEST = 1e9


def write_lines(frame: pd.DataFrame, stream: BinaryIO) -> bool:
    """Write a frame as ``to_csv(index=False, errors="backslashreplace")`` does, in
    UTF-8. Return whether all of its columns can be written here: nothing is written
    otherwise.

    Columns of integers, float64 and texts can, of two columns or more.
    """
    columns = []
    for column_index in range(frame.shape[1]):
        column = frame.iloc[:, column_index]
        if column.dtype in (np.dtype(np.int64), np.dtype(np.float64)):
            columns.append(column.to_numpy())
        else:
            columns.append(_fields(column))
    if len(columns) < 2 or any(fields is None for fields in columns):
        return False
    header = io.StringIO()
    frame.iloc[:0].to_csv(header, index=False)
    stream.write(header.getvalue().encode("utf-8", "backslashreplace"))
    for start in range(0, len(frame), _ROWS):
        texts = []
        for fields in columns:
            texts.append(_texts(fields[start : start + _ROWS]))
        lines = pc.binary_join_element_wise(*texts, b",").to_pylist()
        stream.write(b"\n".join([*lines, b""]))
    return True


def _fields(column: pd.Series[Any]) -> Any:
    """Return texts as CSV has them, each one written once. None: some cells are neither
    texts nor missing.
    """
    if not isinstance(column.dtype, pd.StringDtype) and column.dtype != object:
        return None
    try:
        codes, texts = pd.factorize(column)
    except TypeError:  # a cell without a hash
        return None
    fields = []
    for text in texts:
        if not isinstance(text, str):
            return None
        fields.append(_field(text))
    # Missing cells are the last field.
    fields.append(b"")
    field_numbers = np.where(codes < 0, len(texts), codes)
    return pa.DictionaryArray.from_arrays(
        pa.array(field_numbers, pa.int32()), pa.array(fields, pa.binary())
    )


def _field(text: str) -> bytes:
    """Return a text as Python's writer of CSV has it beside other fields."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow([text, ""])
    return line.getvalue().removesuffix(",\n").encode("utf-8", "backslashreplace")


def _texts(cells: Any) -> pa.Array:
    """Return integers, numbers or fields ``(rows,)`` as Arrow's bytes."""
    if isinstance(cells, pa.DictionaryArray):
        return cells.dictionary_decode()
    texts = pc.cast(pa.array(cells), pa.string())
    if cells.dtype == np.float64:
        sizes = np.abs(cells)
        is_plain = (
            (sizes >= _SMALLEST) & (sizes < _LARGEST) & (np.floor(cells) != cells)
        )
        exact_texts = list(_written(cells[~is_plain]))
        texts = pc.replace_with_mask(
            texts, pa.array(~is_plain), pa.array(exact_texts, pa.string())
        )
    return pc.cast(texts, pa.binary())


def _written(numbers: np.ndarray[Any, np.dtype[np.float64]]) -> Iterator[str]:
    """Yield numbers as Python writes them, missing ones as nothing."""
    for number in numbers.tolist():
        if math.isnan(number):
            yield ""
        else:
            yield repr(number)
