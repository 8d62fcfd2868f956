"""What spreadsheets write around a table: lines above its header, and a row of totals below it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from permgrad.base.errors import by_count, counted, listed
from permgrad.data.read.header import COMMENTS, DELIMITERS, LINE, first_records

#: Lines and characters that are searched for a header, and rows for totals.
_MOST_LINES, _HEAD, _MOST_BELOW = 20, 2**18, 5
_NUMBER = re.compile(r"[-+(]?\W{0,2}\d[\d.,' ]*\W{0,2}")
_TOTAL = re.compile(
    r"(?:grand |sub)?-?total(?:s|e|en|es)?|sums?|summe|gesamt(?:summe)?|insgesamt|suma|so[m]{2}e|totaal|averages?|mean|"
    r"mittelwert|durchschnitt|moyenne|media|gemiddelde",
    re.IGNORECASE,
)


def lines_above(text: str) -> tuple[int, int, str]:
    """Return how many lines stand above the header, where it begins, and a note that names them, or nothing.

    Each of them has text in at most half of the columns, or is a comment. The header is as wide as most lines, and
    has a name for nearly each column, no name twice and no number.
    """
    head, titles = text[:_HEAD], list[str]()
    delimiter, width = _parted(head)
    for count, start, record in _first_records(head, delimiter) if width > 1 else ():
        cells = [cell.strip() for cell in record]
        filled = [cell for cell in cells if cell]
        is_comment = head.startswith(COMMENTS, start) and len(cells) < width
        if not is_comment and len(filled) > width // 2:
            if not titles or len(cells) != width or not _are_names(filled, width):
                break
            said = f"{counted(len(titles), 'line')} above the header {by_count(len(titles), 'is', 'are')} left out"
            return count, start, f"{said}: {listed(titles, 3, show=repr)}"
        titles += [" ".join(" ".join(filled).split())[:60]] if filled else []
    return 0, 0, ""


def _first_records(head: str, delimiter: str) -> Iterator[tuple[int, int, list[str]]]:
    """Yield how many lines stand above each of the first records, where it begins, and its cells.

    A quoted cell may have several lines.
    """
    lines = list(islice(LINE.finditer(head), _MOST_LINES))
    reader = csv.reader((line[0] for line in lines), delimiter=delimiter, skipinitialspace=True)
    above = 0
    with suppress(csv.Error):
        for record in reader:
            yield above, lines[above].start(), record
            above = reader.line_num


def _parted(head: str) -> tuple[str, int]:
    """Return the delimiter that parts most lines in equally many fields, and how many fields, 0 if few agree."""
    found = []
    for delimiter in DELIMITERS:
        widths = [len(record) for record in first_records(head, delimiter)]
        width = max(set(widths), key=widths.count, default=0)
        found.append((widths.count(width) if width > 1 else 0, width, delimiter))
    agree, width, delimiter = max(found)
    return delimiter, width if agree > 2 else 0


def _are_names(filled: Sequence[str], width: int) -> bool:
    return len(set(filled)) == len(filled) >= max(2, width - 1) and not any(_NUMBER.fullmatch(name) for name in filled)


def rows_below(columns: Mapping[str, pa.ChunkedArray], rows: int) -> tuple[int, str]:
    """Return how many rows at the end are totals, or blanks and a remark around them, and a note, or nothing.

    Totals are named so in their first cell, and no other row is. They leave half of the columns empty, or are sums or
    means.
    """
    first = max(rows - _MOST_BELOW, 1)
    tail = [[str(column[row].as_py()).strip() for column in columns.values()] for row in range(first, rows)]
    found = [row for row, cells in enumerate(tail) if _TOTAL.fullmatch(next(filter(None, cells), "").rstrip(": "))]
    if len(columns) < 2 or not found:
        return 0, ""
    row, total = first + found[0], tail[found[0]]
    place = next(place for place, cell in enumerate(total) if cell)
    above = [column.slice(0, row) for column in columns.values()]
    is_once = not pc.any(pc.equal(pc.utf8_trim_whitespace(above[place]), total[place])).as_py()
    further = [sum(map(bool, cells)) for cells in tail[found[0] + 1 :]]
    if not is_once or max(further, default=0) > 1:
        return 0, ""
    if not _is_total(total, place, above):
        return 0, ""
    while found[0] and not any(tail[found[0] - 1]):
        found[0] -= 1
    left_out = rows - first - found[0]
    around = "" if left_out == 1 else f" and {counted(left_out - 1, 'row')} around it"
    return left_out, f"left out at the end of the table: the row of totals {total[place]!r}{around}"


def _is_total(total: Sequence[str], place: int, above: Sequence[pa.ChunkedArray]) -> bool:
    """Whether a row, named in ``place``, leaves half of the columns empty, or has a sum or mean of the rows above."""
    usual = [pc.mean(pc.not_equal(column, "")).as_py() > 0.9 for column in above]
    empty = [not cell for cell, is_usual in zip(total, usual, strict=True) if is_usual]
    others = [other for other in range(len(total)) if other != place and total[other]]
    return 2 * sum(empty) >= len(empty) or any(_is_sum([*above[one].to_pylist(), total[one]]) for one in others)


def _is_sum(cells: Sequence[str]) -> bool:
    """Return whether the last number is the sum or mean of the others, with any signs around and within them."""
    bare = [re.sub(r"[^\d.,-]", "", cell) for cell in cells if cell.strip()]
    try:
        numbers = np.array([float(cell) for cell in bare])
    except ValueError:
        digits = [re.sub(r"\D", "", cell) for cell in bare]  # of the same number of decimals
        numbers = np.array([float(cell) for cell in digits if cell])
    others = numbers[:-1]
    return len(others) > 1 and bool(np.isclose(numbers[-1], [others.sum(), others.mean()], rtol=1e-6).any())
