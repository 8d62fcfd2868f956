"""Excel workbooks: a sheet becomes the text of a CSV file, so that its cells are read like those of one."""

from __future__ import annotations

import csv
import importlib.util
import io
import re
import zipfile
import zlib
from collections.abc import Iterable
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

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
from permgrad.data.read.text_files import check_fits

#: A decimal number that could also be a whole one with a sign between its thousands.
_LIKE_THOUSANDS = re.compile(r"-?\d{1,3}\.\d{3}")
#: A cell of a sheet has a formula.
_FORMULA = re.compile(rb"<(?:\w+:)?f[\s/>]")
#: A workbook unpacks to at most this many bytes, or this many times its size.
_MOST_UNPACKED, _MOST_TIMES = 2**26, 200


def read_sheet(content: bytes, file: Path, sheet: str | None) -> tuple[str, Integers]:
    """Return a sheet of a workbook as the text of a CSV file, and the row of the sheet that each row comes from.

    By default the first sheet that is not hidden. Empty rows and columns are left out.

    Raises:
        EnvironmentProblem: openpyxl is not installed.
        InputError: The workbook is damaged or unpacks to too much, has no such sheet or an empty one, or formulas
            without results.
    """
    if importlib.util.find_spec("openpyxl") is None:
        problem = f"{str(file)!r} is an Excel file, and openpyxl is not installed"
        hint = (
            "Install it with: pip install 'permgrad[excel]', or save the sheet as CSV."
        )
        raise EnvironmentProblem(problem, hint=hint, code="PG060")
    import openpyxl

    _check_size(content, file)
    which = f"{str(file)!r} is a damaged Excel file"
    hint, damage = (
        "Open it, and save it again as .xlsx or CSV.",
        (*DAMAGE, OSError, EOFError, zlib.error),
    )
    with turned(
        lambda error: InputError(f"{which} ({error_in_words(error)})", hint, "PG011"),
        *damage,
        zipfile.BadZipFile,
    ):
        book = openpyxl.load_workbook(
            io.BytesIO(content), read_only=True, data_only=True
        )
        chosen = _choose(book.worksheets, file, sheet)
        # Files of other programs may give the size of a sheet wrong.
        chosen.reset_dimensions()
        rows = [
            (place, row)
            for place, row in enumerate(chosen.iter_rows(values_only=True), start=1)
            if _holds(row)
        ]
        _check_formulas(content, file, chosen.title)
    if not rows:
        raise InputError(
            f"Sheet {chosen.title!r} of {str(file)!r} is empty",
            "Choose another with --sheet.",
            "PG011",
        )
    return _as_csv(rows)


def _check_size(content: bytes, file: Path) -> None:
    """Refuse a workbook that unpacks to far more than its size, or to more than memory holds."""
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
    """Refuse formulas whose results are not stored, as other programs than spreadsheets write them: they look empty."""
    import openpyxl

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        sheets = [
            name
            for name in archive.namelist()
            if name.lower().startswith("xl/worksheets/")
        ]
        if not any(_FORMULA.search(archive.read(name)) for name in sheets):
            return
    views = []
    for only_results in (False, True):
        sheet = openpyxl.load_workbook(
            io.BytesIO(content), read_only=True, data_only=only_results
        )[title]
        sheet.reset_dimensions()
        views.append(sheet.iter_rows())
    cells = (
        pair for rows in zip(*views, strict=True) for pair in zip(*rows, strict=True)
    )
    # The result of type "str" without text is an empty text.
    without = [
        one.coordinate
        for one, result in cells
        if one.data_type == "f" and result.value is None and result.data_type == "n"
    ]
    if without:
        problem = (
            f"Sheet {title!r} of {str(file)!r} has {counted(len(without), 'formula')} whose "
            f"{by_count(len(without), 'result is', 'results are')} not stored, the first in cell {without[0]}"
        )
        hint = "Open it in a spreadsheet program and save it, which stores the results."
        raise InputError(problem, hint=hint, code="PG011")


def _choose(sheets: list[Any], file: Path, name: str | None) -> Any:
    """Return the sheet of a name, or the first that is not hidden, with a note if there are several."""
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
        problem = f"{str(file)!r} has {len(shown)} sheets, and the first is read, {shown[0].title!r}"
        warn_user(
            problem, f"Choose another with --sheet (in Python: sheet=): {further}."
        )
    return shown[0]


def _holds(row: Iterable[Any]) -> bool:
    return any(cell is not None and str(cell).strip() for cell in row)


def _as_csv(rows: list[tuple[int, tuple[Any, ...]]]) -> tuple[str, Integers]:
    """Return rows as the text of a CSV file with a line for its delimiter."""
    width = max(len(row) for _, row in rows)
    filled = [
        column
        for column in range(width)
        if any(_holds(row[column : column + 1]) for _, row in rows)
    ]
    stream = io.StringIO(newline="")
    stream.write("sep=,\n")
    writer = csv.writer(stream, lineterminator="\n")
    for _, row in rows:
        cells = [_text(row[column]) if column < len(row) else "" for column in filled]
        # A single empty field would be a blank line, which readers leave out.
        writer.writerow(cells)
    return stream.getvalue(), np.array([place for place, _ in rows[1:]], dtype=np.int64)


def _text(cell: Any) -> str:
    """Return a cell as a CSV file has it: dates as 2024-01-31, numbers with a decimal point."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float):
        text = str(int(cell)) if cell.is_integer() and abs(cell) < 2**53 else repr(cell)
        return f"{text}0" if _LIKE_THOUSANDS.fullmatch(text) else text
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
