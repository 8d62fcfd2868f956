"""The first lines of a CSV file: its delimiter and the names of its columns, at a
glance.

Nothing heavy is imported here, so that a wrong name is refused at once.
"""

from __future__ import annotations

import csv
import gzip
import math
import os
import re
from codecs import getincrementaldecoder
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from permgrad.base.errors import InputError, by_count, counted, listed, nearest

DELIMITERS = (",", ";", "\t", "|")
LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n|\Z)")
#: How lines begin that say something about a file and belong to no table.
COMMENTS = ("#", "%", "//", "--")
_SAMPLE_RECORDS = 200
_HEAD = 2**18
#: Lines that may be a header.
_MOST_HEADERS = 6
#: How much of a long name is shown.
_LONGEST = 80
_GZIP = b"\x1f\x8b"


def sniff_delimiter(text: str) -> str:
    """Find the delimiter: quotes stand where they belong, and the most lines have as
    many fields as the header.
    """
    best_delimiter = ","
    best_score = (False, 0.0, 0)
    for delimiter in DELIMITERS:
        records = first_records(text, delimiter)
        if not records or len(records[0]) < 2:
            continue
        width = len(records[0])
        if len(records) > 1:
            agree = sum(len(record) == width for record in records[1:]) / (
                len(records) - 1
            )
        else:
            agree = 1.0
        score = (bool(first_records(text, delimiter, strict=True)), agree, width)
        if score > best_score:
            best_delimiter = delimiter
            best_score = score
    return best_delimiter


def first_records(
    text: str, delimiter: str, *, strict: bool = False
) -> list[list[str]]:
    """Return the first records, respecting quoted line breaks, or none if they cannot
    be read.
    """
    try:
        lines = (match[0] for match in LINE.finditer(text))
        reader = csv.reader(
            lines, delimiter=delimiter, skipinitialspace=True, strict=strict
        )
        return [record for record in islice(reader, _SAMPLE_RECORDS) if record]
    except csv.Error:
        return []


def is_number(text: str) -> bool:
    """Whether a name is written as a finite number."""
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def csv_header(table: str | os.PathLike[str] | None) -> tuple[str, ...]:
    """Return the names in the first line of a CSV file. Nothing of other files.

    Nothing of a file either of which the first lines leave open which names its columns
    will have.
    """
    if table is None or not Path(table).is_file():
        return ()
    head_text = _head(table)
    records = first_records(head_text, sniff_delimiter(head_text))
    no_header = (*COMMENTS, "{")  # a line of JSON names no columns either
    if not records or "\x00" in head_text or records[0][0].startswith(no_header):
        return ()
    names = tuple(header_cell.strip() for header_cell in records[0])
    is_certain = (
        len(names) > 1
        and len(set(names)) == len(names)
        and all(len(header_record) == len(names) for header_record in records)
    )
    # A first column without a name numbers the rows.
    if is_certain and all(names[1:]) and not any(map(is_number, names)):
        return tuple(filter(None, names))
    return ()


def _head(table: str | os.PathLike[str]) -> str:
    """Return the first lines of a text file, nothing of another."""
    try:
        with Path(table).open("rb") as table_file:
            opener: Any
            if table_file.read(2) == _GZIP:
                opener = gzip.open
            else:
                opener = open
        with opener(table, "rb") as stream:
            content = stream.read(_HEAD)
        decoded_text = getincrementaldecoder("utf-8-sig")().decode(content)
    except (OSError, ValueError, EOFError):
        return ""
    # The last line is cut off.
    if len(content) == _HEAD:
        return decoded_text[: decoded_text.rfind("\n") + 1]
    return decoded_text


def line_of(table: str | os.PathLike[str], name: str) -> int | None:
    """Return the line below the first of a CSV file that has a name among its first
    cells, if one of a few has it.
    """
    if not Path(table).is_file():
        return None
    head_text = _head(table)
    if "\x00" in head_text:
        records = []
    else:
        records = first_records(head_text, sniff_delimiter(head_text))
    for line_number, record in enumerate(records[:_MOST_HEADERS], start=1):
        cells = [record_cell.strip() for record_cell in record]
        are_names = len(cells) > 1 and not any(map(is_number, cells))
        if line_number > 1 and are_names and name in cells:
            return line_number
    return None


def columns_missing(missing: Sequence[str], extra: Sequence[str]) -> InputError:
    """Return the error for columns that a model reads and a table lacks.

    ``extra``: those that only the table has.
    """
    problem = (
        f"{counted(len(missing), 'column')} of training "
        f"{by_count(len(missing), 'is', 'are')} missing: {some_names(missing)}"
    )
    near_names: dict[str, str] = {}
    for missing_name in missing:
        if (
            similar_name := nearest(
                missing_name,
                [extra_name for extra_name in extra if extra_name not in near_names],
            )
        ) is not None:
            near_names[similar_name] = missing_name
    renamed = listed(
        [
            f"{table_name!r} to {trained_name!r}"
            for table_name, trained_name in near_names.items()
        ]
    )
    if len(near_names) < len(missing):
        rest_sentence = ", and add the others"
    else:
        rest_sentence = ""
    if near_names:
        rename_hint = f"Rename {renamed}{rest_sentence}."
    else:
        rename_hint = "Add or rename them."
    return InputError(problem, hint=rename_hint, code="PG012")


def some_names(names: Sequence[str], most: int = 5) -> str:
    """Return the first names in quotes, long ones cut, and how many there are
    besides.
    """
    return listed(
        names,
        most,
        lambda name: repr(name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…"),
    )
