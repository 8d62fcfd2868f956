"""Columns of digits that may be codes: a reader of CSV takes 01067 for the number 1067."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from permgrad.data.cells import PRESENT, CodesArgument, MissingCodes

#: Shorter ones are often hours and months.
_SHORTEST = 3
#: They begin with the zero, which is looked for fast; what must stand before it is asked afterwards.
_PADDED = re.compile(r'0(?<=[,;\t|\r\n "]0)\d{2,}[ "]*\r?(?=[,;\t|\n]|$)', re.MULTILINE)
#: Of classes zeros in front say the more the fewer digits there are.
_ZERO_IN_FRONT = re.compile(_PADDED.pattern.replace(r"\d{2,}", r"\d+"), re.MULTILINE)
_FIRST_ROWS = 1000


def padded_codes(frame: pd.DataFrame, text: str, as_written: Callable[..., pd.DataFrame]) -> tuple[str, ...]:
    r"""Return the columns of numbers whose cells are digits of one length, some with zeros in front.

    Args:
        frame: The table, numbers read.
        text: What it was read from.
        as_written: Returns the text of columns by name, with ``rows=`` that of the first rows alone.

    Examples:
        >>> written = pd.DataFrame({"town": ["01067", "80331"], "age": ["31", "007"]})
        >>> padded_codes(written.astype(int), "town,age\n01067,31\n80331,007\n", lambda names, rows: written[names])
        ('town',)
    """
    if not _PADDED.search(text):
        return ()
    names = [str(name) for name in frame.select_dtypes("number").columns]
    cells = frame[[]]
    # Most columns are told from codes by their first rows: few are looked at as a whole.
    for rows in (_FIRST_ROWS, None):
        cells = as_written(names, rows=rows) if names else cells
        names = [name for name in names if _are_digits_of_one_length(cells[name])]
    return tuple(name for name in names if cells[name].str.strip().str.startswith("0").any())


def written_alike(
    frame: pd.DataFrame,
    text: str,
    as_written: Callable[..., pd.DataFrame],
    names: Iterable[str],
    codes: CodesArgument = (),
) -> dict[str, tuple[str, str]]:
    r"""Return two cells that are one number, though they differ by zeros in front, of the columns that have such cells.

    Args:
        frame: The table, numbers read.
        text: What it was read from.
        as_written: Returns the text of columns by name.
        names: The columns that are looked at.
        codes: Texts that stand for missing.

    Examples:
        >>> written = pd.DataFrame({"y": ["2", "001", "1"]})
        >>> written_alike(written.astype(int), "y\n2\n001\n1\n", lambda names: written[names], ["y"])
        {'y': ('001', '1')}
    """
    numbers = [name for name in names if name in frame and pd.api.types.is_numeric_dtype(frame[name].dtype)]
    if not numbers or not _ZERO_IN_FRONT.search(text):
        return {}
    cells, missing = as_written(numbers), MissingCodes.of(codes)
    found: dict[str, tuple[str, str]] = {}
    for name in numbers:
        first: dict[int, str] = {}
        for cell in cells[name].dropna().str.strip().unique():
            if cell.isdecimal() and missing.kind_of(cell, name) == PRESENT:
                other = first.setdefault(int(cell), cell)
                if other != cell:
                    found.setdefault(name, (other, cell))
    return found


def _are_digits_of_one_length(cells: pd.Series[Any]) -> bool:
    texts = cells.dropna().str.strip()
    lengths = texts.str.len()
    return bool(texts.str.isdecimal().all() and (texts.empty or lengths.min() == lengths.max() >= _SHORTEST))
