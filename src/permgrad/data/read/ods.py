"""Sheets of OpenDocument files (.ods), read as those of Excel files are."""

from __future__ import annotations

import importlib.util
import io
import re
import zipfile
import zlib
from collections import Counter
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax import SAXException

from permgrad.base.errors import (
    EnvironmentProblem,
    InputError,
    error_in_words,
    turned,
)
from permgrad.data.read.excel import Sheet, check_size, choose_sheet, sheet_of_cells
from permgrad.data.read.parquet import DAMAGE
from permgrad.data.read.reading import Reading

#: Where an OpenDocument spreadsheet says what it is.
_MARK = (38, b"application/vnd.oasis.opendocument.spreadsheet")
#: Empty cells and rows up to the end of a sheet are stored as one that is repeated.
_MOST_REPEATED = 2**14
_LASTED = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:[.,]\d+)?S)?")


class _OdsSheet:
    """A sheet as ``choose_sheet`` asks for it."""

    def __init__(self, table: Any) -> None:
        self.table = table
        self.title = str(table.getAttribute("name"))
        self.sheet_state = "visible"


def is_ods(content: bytes) -> bool:
    """Whether a file is an OpenDocument spreadsheet."""
    return content.startswith(_MARK[1], _MARK[0])


def read_ods(content: bytes, file: Path, reading: Reading) -> Sheet:
    """Return a sheet of an OpenDocument file as the text of a CSV file, as
    ``read_sheet``.

    Raises:
        EnvironmentProblem: odfpy is not installed.
        InputError: The file is damaged, or has no such sheet or an empty one.
    """
    if importlib.util.find_spec("odf") is None:
        raise EnvironmentProblem(
            f"{str(file)!r} is an OpenDocument spreadsheet, and odfpy is not installed",
            "Install it with: pip install odfpy, or save the sheet as CSV or .xlsx.",
            "PG060",
        )
    from odf import opendocument, table

    check_size(content, file)
    which = f"{str(file)!r} is a damaged OpenDocument file"
    hint = "Open it, and save it again, or save the sheet as CSV."
    damage = (*DAMAGE, OSError, EOFError, zlib.error, zipfile.BadZipFile, SAXException)
    with turned(
        lambda error: InputError(f"{which} ({error_in_words(error)})", hint, "PG011"),
        *damage,
    ):
        book = opendocument.load(io.BytesIO(content))
        sheets = []
        for table_element in book.getElementsByType(table.Table):
            sheets.append(_OdsSheet(table_element))
        selected_sheet = choose_sheet(sheets, file, reading.sheet)
        cells = _cells_of(selected_sheet.table)
    return sheet_of_cells(*cells, reading, f"{selected_sheet.title!r} of {str(file)!r}")


class _Cells(NamedTuple):
    """The cells of a sheet.

    Attributes:
        rows: By row number, from 1, its cells.
        merged: Ranges of merged cells: first column, first row, last column, last row.
        shares: By column, how many of its numbers are per cent.
    """

    rows: dict[int, list[Any]]
    merged: list[tuple[int, int, int, int]]
    shares: dict[int, int]


class _Row(NamedTuple):
    """The cells of a row.

    Attributes:
        cells: Up to the last filled one.
        spans: Of merged cells the column, the width and the height.
        percents: Columns whose cells are per cent.
    """

    cells: list[Any]
    spans: list[tuple[int, int, int]]
    percents: list[int]


def _cells_of(sheet: Any) -> _Cells:
    """Return the cells of a sheet."""
    from odf.table import TableRow

    rows = dict[int, list[Any]]()
    merged = list[tuple[int, int, int, int]]()
    shares = Counter[int]()
    row_number = 0
    for element in sheet.getElementsByType(TableRow):
        times = int(element.getAttribute("numberrowsrepeated") or 1)
        row = _row_of(element)
        for _ in range(min(times, _MOST_REPEATED) if row.cells else 0):
            row_number += 1
            rows[row_number] = list(row.cells)
            shares.update(row.percents)
            for left, wide, high in row.spans:
                merged.append(
                    (left, row_number, left + wide - 1, row_number + high - 1)
                )
        if not row.cells:
            row_number += times
    return _Cells(rows, merged, dict(shares))


def _row_of(element: Any) -> _Row:
    """Return the cells of a row."""
    row = list[Any]()
    spans = list[tuple[int, int, int]]()
    percents = list[int]()
    for cell in element.childNodes:
        if cell.qname[1] not in ("table-cell", "covered-table-cell"):
            continue
        times = min(
            int(cell.getAttribute("numbercolumnsrepeated") or 1), _MOST_REPEATED
        )
        if cell.qname[1].startswith("covered"):
            value = None
        else:
            value = _value(cell)
        if not cell.qname[1].startswith("covered"):
            wide = int(cell.getAttribute("numbercolumnsspanned") or 1)
            high = int(cell.getAttribute("numberrowsspanned") or 1)
            if (wide, high) != (1, 1):
                spans.append((len(row), wide, high))
            if cell.getAttribute("valuetype") == "percentage":
                percents += range(len(row), len(row) + times)
        row += [value] * times
    while row and row[-1] is None:
        row.pop()
    return _Row(row, spans, percents)


def _value(cell: Any) -> Any:
    """Return what a cell holds, as openpyxl would."""
    from odf import teletype

    kind = cell.getAttribute("valuetype")
    if kind is None:
        return None
    if kind in ("float", "currency", "percentage"):
        number = float(cell.getAttribute("value"))
        return int(number) if number.is_integer() and kind != "percentage" else number
    if kind == "boolean":
        return cell.getAttribute("booleanvalue") == "true"
    if kind == "date":
        text = str(cell.getAttribute("datevalue"))
        return datetime.fromisoformat(text) if "T" in text else date.fromisoformat(text)
    if kind == "time":
        match = _LASTED.fullmatch(str(cell.getAttribute("timevalue")))
        if match is not None:
            hours, minutes, seconds = (
                int(time_text or 0) for time_text in match.groups()
            )
            return f"{hours:02d}:{minutes:02d}:{seconds:02d}"
    paragraphs = [
        teletype.extractText(child_node)
        for child_node in cell.childNodes
        if _is_text(child_node)
    ]
    return "\n".join(paragraphs) or None


def _is_text(element: Any) -> bool:
    # Not the notes of a cell.
    return bool(element.qname[1] == "p")
