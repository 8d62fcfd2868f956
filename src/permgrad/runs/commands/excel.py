"""``permgrad excel``: the CSV files of a result as sheets of one workbook, which Excel opens in any language."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from permgrad.base.csv_files import unquoted
from permgrad.base.errors import InputError
from permgrad.base.files import atomic_path, writing
from permgrad.base.optional import optional
from permgrad.runs.options import table_name
from permgrad.runs.requests import ExcelRequest, Outcome

#: A text that is a number. Codes such as 007, and whole numbers with more digits than Excel has, stay text.
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d+)?([eE][+-]?\d+)?")
#: What a sheet holds at most: rows, and characters of a cell and of its name.
_ROWS, _CHARACTERS, _TITLE = 2**20, 32_767, 31
#: Signs that a workbook cannot hold, and those that the name of a sheet cannot.
_NO_CELL, _NO_TITLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]"), re.compile(r"[\[\]:*?/\\]")


def write_workbook(request: ExcelRequest) -> Outcome:
    """Write an Excel workbook with a sheet for each CSV file."""
    source = request.source
    if not source.exists():
        raise InputError(f"{source} does not exist", hint="Name a folder with results, or a CSV file.", code="PG010")
    files = sorted(source.glob("*.csv")) if source.is_dir() else [source]
    if not files or not all(file.name.endswith(".csv") for file in files):
        what = "holds no CSV file" if source.is_dir() else "is not a CSV file"
        raise InputError(f"{source} {what}", hint="Name the folder of a run or of an explanation.", code="PG010")
    target = request.out or source.resolve().with_name(f"{table_name(source)}.xlsx")
    if target.suffix.lower() != ".xlsx":
        hint = f"For example: --out {target.with_suffix('.xlsx').name}."
        raise InputError(f"The name of an Excel file ends in .xlsx, got --out {target}", hint=hint, code="PG003")
    if os.path.lexists(target) and not request.overwrite:
        hint = "Add --overwrite, or choose another file with --out."
        raise InputError(f"{target} already exists", hint=hint, code="PG050")
    book = optional("openpyxl", "permgrad[excel]").Workbook(write_only=True)
    blank = optional("openpyxl.cell").WriteOnlyCell
    for file in files:
        sheet = book.create_sheet(_NO_TITLE.sub("_", file.stem)[:_TITLE])
        sheet.freeze_panes = "A2"
        for line in _lines(file):
            sheet.append([_value(text, blank, sheet) for text in line])
    with writing(target, "name another file with --out"), atomic_path(target) as temporary:
        book.save(temporary)
    sheets = [file.stem for file in files]
    return Outcome({"out": os.fspath(target), "sheets": sheets}, f"{target}: {', '.join(sheets)}")


def _lines(file: Path) -> Iterator[list[str]]:
    """Yield the header and the rows of a CSV file."""
    limit = csv.field_size_limit(2**31 - 1)
    with file.open(encoding="utf-8", newline="") as stream:
        try:
            for number, line in enumerate(csv.reader(stream)):
                if number >= _ROWS:
                    problem = f"{file} has more than the {_ROWS - 1:,} rows that a sheet holds"
                    raise InputError(problem, hint="Read the CSV file itself.", code="PG002")
                yield line
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{file} was not written by permgrad: {error}", "Name another file.", "PG011") from error
        finally:
            csv.field_size_limit(limit)


def _value(text: str, blank: Callable[..., Any], sheet: Any) -> Any:
    """Return a number, or a cell of a text that is never a formula."""
    if not text:
        return None
    if _NUMBER.fullmatch(text):
        return float(text) if re.search("[.eE]", text) else int(text)
    cell = blank(sheet, value=_NO_CELL.sub("\ufffd", unquoted(text))[:_CHARACTERS])
    cell.data_type = "s"
    return cell
