"""Columns of digits that may be codes, or are: a reader of CSV takes 01067 for the number 1067, and 7.10 for 7.1."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from permgrad.data.read.cells import PRESENT, CodesArgument, MissingCodes, canonical
from permgrad.data.read.written_numbers import Written

#: Shorter ones are often hours and months.
_SHORTEST = 3
#: They begin with the zero, which is looked for fast; what must stand before it is asked afterwards.
_PADDED = re.compile(r'0(?<=[,;\t|\r\n "]0)\d{2,}[ "]*\r?(?=[,;\t|\n]|$)', re.MULTILINE)
#: Of classes zeros in front say the more the fewer digits there are.
_ZERO_IN_FRONT = re.compile(_PADDED.pattern.replace(r"\d{2,}", r"\d+"), re.MULTILINE)
_FIRST_ROWS = 1000
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_WHOLE = re.compile(r"0|-?[1-9]\d*")
_DECIMALS = re.compile(r"-?(?:0|[1-9]\d*)\.(\d+)")
_ZERO_DECIMALS = re.compile(r"\.0+$")
_EXCHANGED = str.maketrans(",.", ".,")


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


def kept_as_written(
    written: Written,
    text: str,
    as_written: Callable[..., pd.DataFrame],
    categories: Iterable[str],
    identifiers: Iterable[str],
    codes: CodesArgument = (),
) -> Written:
    r"""Return a table in which categories and identifiers that were read as numbers are text if numbers lose something.

    Identifiers are as they are written. Of categories zeros in front count (007), zeros behind where others have fewer
    decimals (7.10 beside 7.9), signs and exponents; what other programs write for the same numbers does not: 1.0, or as
    many decimals everywhere.

    Args:
        written: The table, numbers read.
        text: What it was read from.
        as_written: Returns the text of columns by name.
        categories: Columns that are declared as categorical.
        identifiers: Columns that name rows.
        codes: Texts that stand for missing.

    Examples:
        >>> cells = pd.DataFrame({"code": ["007", "7"], "level": ["1", "2"]})
        >>> frame, text = cells.astype(int), "code,level\n007,1\n7,2\n"
        >>> kept = kept_as_written(Written(frame, {}, {}), text, lambda names: cells[names], cells.columns, ())
        >>> kept.frame.to_numpy().tolist(), kept.texts
        ([['007', 1], ['7', 2]], ('code',))
    """
    frame, names = written.frame, set(identifiers)
    numbers = [str(name) for name in frame.columns if name in {*categories, *names} and _is_numeric(frame[name])]
    if not (_ZERO_IN_FRONT.search(text) or "+" in text):
        # Other whole numbers are as they are written: the file need not be looked at again.
        numbers = [name for name in numbers if not pd.api.types.is_integer_dtype(frame[name].dtype)]
    cells = as_written(numbers) if numbers else frame[[]]
    distinct = {name: cells[name].dropna().str.strip().unique().tolist() for name in numbers}
    rewritten = [name for name, own in distinct.items() if not all(map(_WHOLE.fullmatch, own))]
    missing = MissingCodes.of(codes)
    kept = []
    for name in rewritten:
        present = [cell for cell in distinct[name] if missing.kind_of(cell, name) == PRESENT]
        if name in names or _loses(present, written.decimals.get(name)):
            kept.append(name)
    return written._replace(
        frame=frame.assign(**{name: cells[name] for name in kept}) if kept else frame,
        decimals={name: sign for name, sign in written.decimals.items() if name not in kept},
        units={name: unit for name, unit in written.units.items() if name not in kept},
        texts=(*written.texts, *kept),
    )


def _is_numeric(series: pd.Series[Any]) -> bool:
    return bool(pd.api.types.is_numeric_dtype(series.dtype))


def _loses(cells: list[str], sign: str | None) -> bool:
    """Return whether categories that are written with a decimal sign say more than their numbers."""
    texts = [cell.translate(_EXCHANGED) for cell in cells] if sign == "," else cells
    # Thousands and per cent signs are ways to write numbers, not codes.
    if not all(map(_NUMBER.fullmatch, texts)):
        return False
    fixed = [found and len(found[1]) for found in map(_DECIMALS.fullmatch, texts)]
    return (None in fixed or len(set(fixed)) > 1) and not all(map(_is_plain, texts))


def _is_plain(text: str) -> bool:
    """Return whether a text is what its number is called, but for decimals that are zeros alone."""
    return bool(_WHOLE.fullmatch(text)) or canonical(float(text)) == _ZERO_DECIMALS.sub("", text)


def _are_digits_of_one_length(cells: pd.Series[Any]) -> bool:
    texts = cells.dropna().str.strip()
    lengths = texts.str.len()
    return bool(texts.str.isdecimal().all() and (texts.empty or lengths.min() == lengths.max() >= _SHORTEST))
