"""Excel workbooks: a sheet becomes the text of a CSV file, so that its cells are read
like those of one.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from permgrad.base.arrays import Integers
from permgrad.base.errors import (
    EnvironmentProblem,
    InputError,
    by_count,
    counted,
    did_you_mean,
    error_in_words,
    listed,
    turned,
    warn_user,
)
from permgrad.data.read.parquet import DAMAGE
from permgrad.data.read.reading import Reading
from permgrad.data.read.text_files import check_fits

#: A decimal number that could also be a whole one with a sign between its thousands.
_LIKE_THOUSANDS = re.compile(r"-?\d{1,3}\.\d{3}")
#: A cell of a sheet has a formula.
_FORMULA = re.compile(rb"<(?:\w+:)?f[\s/>]")
#: A range of merged cells.
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\b[^>]*\bref="([A-Z0-9:$]+)"')
#: A workbook unpacks to at most this many bytes, or this many times its size.
_MOST_UNPACKED = 2**26
_MOST_TIMES = 200


class Sheet(NamedTuple):
    """A sheet as the text of a CSV file, the row of the sheet that each row comes from,
    and notes on its cells.
    """

    text: str
    lines: Integers
    notes: tuple[str, ...]


def read_sheet(content: bytes, file: Path, reading: Reading) -> Sheet:
    """Return a sheet of a workbook as the text of a CSV file.

    By default the first sheet that is not hidden. Empty rows and columns are left out.
    Cells that are merged over several rows have one value, and merged cells of the
    header stand above names. Numbers that the sheet shows per cent are written so (27.5
    %), but for a table that is read like one whose numbers are bare.

    Raises:
        EnvironmentProblem: openpyxl is not installed.
        InputError: The workbook is damaged or unpacks to too much, has no such sheet or
            an empty one, or formulas without results.
    """
    if importlib.util.find_spec("openpyxl") is None:
        problem = f"{str(file)!r} is an Excel file, and openpyxl is not installed"
        excel_hint = (
            "Install it with: pip install 'permgrad[excel]', or save the sheet as CSV."
        )
        raise EnvironmentProblem(problem, hint=excel_hint, code="PG060")
    import openpyxl

    check_size(content, file)
    which = f"{str(file)!r} is a damaged Excel file"
    excel_hint = "Open it, and save it again as .xlsx or CSV."
    damage = (*DAMAGE, OSError, EOFError, zlib.error)
    with turned(
        lambda error: InputError(
            f"{which} ({error_in_words(error)})", excel_hint, "PG011"
        ),
        *damage,
        zipfile.BadZipFile,
    ):
        workbook = openpyxl.load_workbook(
            io.BytesIO(content), read_only=True, data_only=True
        )
        worksheet = choose_sheet(workbook.worksheets, file, reading.sheet)
        # Files of other programs may give the size of a sheet wrong.
        worksheet.reset_dimensions()
        sheet_rows, shares = _rows_of(worksheet)
        merged = _merged(content, worksheet)
        _check_formulas(content, file, worksheet.title)
    return sheet_of_cells(
        sheet_rows, merged, shares, reading, f"{worksheet.title!r} of {str(file)!r}"
    )


def sheet_of_cells(
    rows: dict[int, list[Any]],
    merged: Sequence[tuple[int, int, int, int]],
    shares: Mapping[int, int],
    reading: Reading,
    name: str,
) -> Sheet:
    """Return the cells of a sheet as the text of a CSV file.

    Args:
        rows: The cells of each row that is not empty.
        merged: Ranges of merged cells: first column, first row, last column, last row.
        shares: How many numbers of each column are shown per cent.
        reading: How the table is to be read.
        name: What the sheet is called in messages.
    """
    if not rows:
        raise InputError(
            f"Sheet {name} is empty", "Choose another with --sheet.", "PG011"
        )
    width = max(map(len, rows.values()))
    for row in rows.values():
        row.extend([None] * (width - len(row)))
    notes = _fill_merged(rows, merged)
    _write_shares(rows, shares, reading)
    return Sheet(*_as_csv(rows), tuple(notes))


def _rows_of(sheet: Any) -> tuple[dict[int, list[Any]], dict[int, int]]:
    """Return the cells of each row that is not empty, and how many numbers each column
    shows per cent.
    """
    filled_rows = dict[int, list[Any]]()
    shares = Counter[int]()
    for row_number, cells in enumerate(sheet.iter_rows(), start=1):
        row_values = [sheet_cell.value for sheet_cell in cells]
        if not _holds(row_values):
            continue
        filled_rows[row_number] = row_values
        for column, row_cell in enumerate(cells):
            if _is_number(row_cell.value) and "%" in str(row_cell.number_format):
                shares[column] += 1
    return filled_rows, dict(shares)


def _is_number(cell: Any) -> bool:
    return isinstance(cell, (int, float)) and not isinstance(cell, bool)


# ---- numbers shown per cent ----------------------------------------------------------
def _write_shares(
    rows: Mapping[int, list[Any]], shares: Mapping[int, int], reading: Reading
) -> None:
    """Write the numbers of columns that the sheet shows per cent with their sign: .275
    is 27.5 %.
    """
    for column, count in shares.items():
        cells = [row_cells[column] for row_cells in rows.values()]
        names = [column_cell for column_cell in cells if isinstance(column_cell, str)]
        units = set()
        for cell_name in names:
            if cell_name in reading.units:
                units.add(reading.units[cell_name])
        if 2 * count < sum(map(_is_number, cells)) or (
            reading.later and units != {"%"}
        ):
            continue
        for sheet_row in rows.values():
            if _is_number(sheet_row[column]):
                sheet_row[column] = (
                    f"{(Decimal(repr(sheet_row[column])) * 100).normalize():f} %"
                )


# ---- merged cells --------------------------------------------------------------------
def _merged(content: bytes, sheet: Any) -> list[tuple[int, int, int, int]]:
    """Return the ranges of merged cells: first column, first row, last column, last
    row, columns from 0.
    """
    from openpyxl.utils.cell import range_boundaries

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        stored = archive.read(sheet._worksheet_path.lstrip("/"))  # noqa: SLF001 — nothing public names the part
    ranges = list[tuple[int, int, int, int]]()
    for match in _MERGED.finditer(stored):
        left_column, top_row, right, bottom = range_boundaries(match[1].decode())
        if None not in (left_column, top_row, right, bottom):
            ranges.append((left_column - 1, top_row, right - 1, bottom))
    return ranges


def _fill_merged(
    rows: dict[int, list[Any]], merged: Sequence[tuple[int, int, int, int]]
) -> list[str]:
    """Fill merged cells with their value, and join a header of two rows.

    Return notes on it.

    A range over all columns is a title, and one over several columns of one row below
    the header is a heading.
    """
    width = max(map(len, rows.values()))
    notes = list[str]()
    header = _header_row(rows)
    above = []
    for merged_range in merged:
        if (
            merged_range[1] == header
            and 0 < merged_range[2] - merged_range[0] < width - 1
        ):
            above.append(merged_range)
    if above and (below := _next_row(rows, header)) is not None:
        notes.append(_join_header(rows, header, below, merged))
        header = below
    filled = list[str]()
    for left_column, top_row, _, bottom in merged:
        if (
            top_row <= header
            or bottom == top_row
            or top_row not in rows
            or left_column >= width
        ):
            continue
        for row_number in range(top_row + 1, bottom + 1):
            if row_number in rows:
                rows[row_number][left_column] = rows[top_row][left_column]
        filled.append(str(rows[header][left_column]))
    if filled:
        columns = listed(list(dict.fromkeys(filled)))
        notes.append(
            "cells that are merged over several rows have the same value in all of "
            f"them: {columns}"
        )
    return notes


def _header_row(rows: Mapping[int, list[Any]]) -> int:
    """Return the first row that is no title: more than one of its cells is filled."""
    several = (
        row_number
        for row_number in rows
        if sum(_holds([row_cell]) for row_cell in rows[row_number]) > 1
    )
    return next(several, next(iter(rows)))


def _next_row(rows: Mapping[int, list[Any]], header: int) -> int | None:
    """Return the row below the header if it goes on with names."""
    below = next((row_number for row_number in rows if row_number > header), None)
    if below is None or any(map(_is_number, rows[below])):
        return None
    return below


def _join_header(
    rows: dict[int, list[Any]],
    header: int,
    below: int,
    merged: Sequence[tuple[int, int, int, int]],
) -> str:
    """Join the names of two rows, of which the upper ones stand above several columns.

    Return the note on it.
    """
    upper = list(rows[header])
    for left_column, top_row, right, bottom in merged:
        if top_row == header and bottom == top_row:
            upper[left_column : right + 1] = [rows[header][left_column]] * (
                right + 1 - left_column
            )
    pairs = zip(upper, rows[below], strict=True)
    names = []
    for name_pair in pairs:
        names.append(" ".join(str(x).strip() for x in name_pair if x is not None))
    rows[below] = names
    del rows[header]
    joined = []
    for joined_name, upper_name in zip(names, upper, strict=True):
        if joined_name != upper_name:
            joined.append(joined_name)
    return f"the names of two header rows are joined: {listed(joined, 3, show=repr)}"


def check_size(content: bytes, file: Path) -> None:
    """Refuse a workbook that unpacks to far more than its size, or to more than memory
    holds.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > max(_MOST_UNPACKED, _MOST_TIMES * len(content)):
        problem = (
            f"{str(file)!r} has {len(content):,} bytes and unpacks to {unpacked:,}"
        )
        raise InputError(
            problem,
            hint="If you trust it, open it and save the sheet as CSV.",
            code="PG011",
        )
    check_fits(unpacked, str(file))


def _check_formulas(content: bytes, file: Path, title: str) -> None:
    """Refuse formulas whose results are not stored, as other programs than spreadsheets
    write them: they look empty.
    """
    import openpyxl

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        sheets = []
        for member_name in archive.namelist():
            if member_name.lower().startswith("xl/worksheets/"):
                sheets.append(member_name)
        if not any(_FORMULA.search(archive.read(sheet_name)) for sheet_name in sheets):
            return
    views = []
    for only_results in (False, True):
        sheet = openpyxl.load_workbook(
            io.BytesIO(content), read_only=True, data_only=only_results
        )[title]
        sheet.reset_dimensions()
        views.append(sheet.iter_rows())
    cells = (
        cell_pair
        for paired_rows in zip(*views, strict=True)
        for cell_pair in zip(*paired_rows, strict=True)
    )
    # The result of type "str" without text is an empty text.
    without = []
    for formula_cell, result in cells:
        if (
            formula_cell.data_type == "f"
            and result.value is None
            and result.data_type == "n"
        ):
            without.append(formula_cell.coordinate)
    if without:
        problem = (
            f"Sheet {title!r} of {str(file)!r} has {counted(len(without), 'formula')} "
            f"whose {by_count(len(without), 'result is', 'results are')} not stored, "
            f"the first in cell {without[0]}"
        )
        store_hint = (
            "Open it in a spreadsheet program and save it, which stores the results."
        )
        raise InputError(problem, hint=store_hint, code="PG011")


def choose_sheet(sheets: list[Any], file: Path, name: str | None) -> Any:
    """Return the sheet of a name, or the first that is not hidden, with a note if there
    are several.
    """
    names = [sheet.title for sheet in sheets]
    if name is not None:
        if name not in names:
            hint = did_you_mean(
                name, names, otherwise=f"Its sheets are {listed(names, 10, show=repr)}."
            )
            raise InputError(
                f"{str(file)!r} has no sheet {name!r}", hint=hint, code="PG003"
            )
        return sheets[names.index(name)]
    shown = [sheet for sheet in sheets if sheet.sheet_state == "visible"] or sheets
    if not shown:
        raise InputError(
            f"{str(file)!r} has no sheet with cells",
            hint="Save the table as CSV.",
            code="PG011",
        )
    if len(shown) > 1:
        further = listed([sheet.title for sheet in shown[1:]], 10, show=repr)
        problem = (
            f"{str(file)!r} has {len(shown)} sheets, and the first is read, "
            f"{shown[0].title!r}"
        )
        warn_user(
            problem, f"Choose another with --sheet (in Python: sheet=): {further}."
        )
    return shown[0]


def _holds(row: Iterable[Any]) -> bool:
    return any(row_cell is not None and str(row_cell).strip() for row_cell in row)


def _as_csv(rows: Mapping[int, list[Any]]) -> tuple[str, Integers]:
    """Return rows as the text of a CSV file with a line for its delimiter."""
    width = max(map(len, rows.values()))
    filled = []
    for column in range(width):
        if any(_holds([row_cells[column]]) for row_cells in rows.values()):
            filled.append(column)
    stream = io.StringIO(newline="")
    stream.write("sep=,\n")
    writer = csv.writer(stream, lineterminator="\n")
    for sheet_row in rows.values():
        # A single empty field would be a blank line, which readers leave out.
        writer.writerow([_text(sheet_row[column]) for column in filled])
    return stream.getvalue(), np.array(list(rows)[1:], dtype=np.int64)


def _text(cell: Any) -> str:
    """Return a cell as a CSV file has it: dates as 2024-01-31, numbers with a decimal
    point.
    """
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float):
        number_text = (
            str(int(cell)) if cell.is_integer() and abs(cell) < 2**53 else repr(cell)
        )
        return (
            f"{number_text}0" if _LIKE_THOUSANDS.fullmatch(number_text) else number_text
        )
    if isinstance(cell, datetime):
        is_day = cell.time() == time()
        return (
            cell.date().isoformat()
            if is_day
            else cell.isoformat(sep=" ", timespec="seconds")
        )
    if isinstance(cell, (date, time)):
        return cell.isoformat()
    return str(cell)
