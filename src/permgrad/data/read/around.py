"""What spreadsheets write around a table: lines above its header, which are left out, and a row of totals below."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

from permgrad.base.errors import by_count, counted, listed
from permgrad.data.read.header import COMMENTS, DELIMITERS, LINE, first_records

#: Lines and characters that are searched for a header, and rows at the end for totals.
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


def totals_said(columns: Mapping[str, pa.ChunkedArray]) -> list[str]:
    """Return a note if the last row that is not blank is named as totals are, and no other row is."""
    first, *others = columns.values()
    tail = zip(
        *(column.slice(max(len(column) - _MOST_BELOW, 0)).to_pylist() for column in (first, *others)), strict=True
    )
    filled = [row[0].strip() for row in tail if any(map(str.strip, row))]
    name = filled[-1] if filled else ""
    if not others or not _TOTAL.fullmatch(name.rstrip(": ")):
        return []
    if pc.sum(pc.equal(pc.utf8_trim_whitespace(first), name)).as_py() > 1:
        return []
    return [f"the last row is called {name!r} and may be a row of totals: if it is, delete it"]
