"""Reading a table from a file: CSV with any common delimiter, gzip, Parquet.

Known by content, not by name.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from permgrad.base import startup
from permgrad.base.checks import check_kind, check_path
from permgrad.base.errors import (
    EnvironmentProblem,
    InputError,
    PermgradError,
    by_count,
    counted,
    listed,
    shown,
    warn_user,
)
from permgrad.base.files import near_file, why_missing
from permgrad.base.near_names import with_near_names
from permgrad.data.kinds.column import Kind
from permgrad.data.kinds.column import kinds as column_kinds
from permgrad.data.read import cells
from permgrad.data.read.addresses import table_address
from permgrad.data.read.cells import (
    BLANK,
    PRESENT,
    CodesArgument,
    Distinct,
    MissingCodes,
)
from permgrad.data.read.column_forms import read_columns, read_typed
from permgrad.data.read.csv_table import parse_csv
from permgrad.data.read.excel import Sheet, read_sheet
from permgrad.data.read.header import sniff_delimiter
from permgrad.data.read.image_cells import with_image_cells
from permgrad.data.read.odd_rows import find_totals
from permgrad.data.read.ods import is_ods, read_ods
from permgrad.data.read.other_formats import DATABASES, format_of, read_other
from permgrad.data.read.reading import (
    MISSING_ANYWAY,
    Reading,
    Written,
    check_not_na,
    missing_said,
)
from permgrad.data.read.text_files import (
    GZIP,
    PARQUET,
    SUFFIXES,
    check_fits,
    names_in_zip,
    read_text,
    unzipped,
)
from permgrad.data.read.whole_numbers import as_stored, blank_numbers, masked
from permgrad.data.read.written_numbers import is_dot
from permgrad.data.types.column_types import checked_kinds

#: Rows of a part that is a whole file.
_ALL_ROWS = 2**31 - 1
#: What a cell takes in memory: a number, or where a text begins.
_CELL_BYTES = 8
#: Files of so many bytes take a while, which is said.
_LARGE = 100_000_000
#: Endings of files with several tables, of which one is named as the sheet.
_WORKBOOKS = (".xlsx", ".xlsm", ".ods", *DATABASES)


@with_near_names
def read_table(
    path: str | os.PathLike[str],
    *,
    kinds: Mapping[str, Kind] | None = None,
    na: CodesArgument = (),
    not_na: Iterable[str] = (),
    decimal: str | None = None,
    sheet: str | None = None,
) -> pd.DataFrame:
    r"""Read a table from CSV (comma, semicolon, tab or pipe, gzip too), Excel, Parquet
    or a folder of Parquet files.

    Args:
        path: the file, recognised by its content, or a folder with Parquet files, which
            are read in the order of their names, as far as memory suffices.
        kinds: columns whose kind is known, as for ``HyNNClassifier``. Those of kind
            ``"categorical"``, ``"text"`` and ``"identifier"`` are kept as they are
            written, such as codes with leading zeros, and those of kind ``"image"``
            hold names of files, from the table's folder. Other kinds are read as usual.
        na: values that stand for missing, compared as numbers and as text. Their cells
            become NaN. To keep each code as its own kind of missing leave this empty
            and give the codes to ``TableEncoder(na=…)``. A column with decimal commas
            and texts such as ``k.A.`` needs them here.
        not_na: texts of a CSV file that are kept, though they usually mean missing,
            such as ``["None"]``.
        decimal: the decimal sign of a CSV file, ``","`` or ``"."``, where its cells do
            not tell (``1.575`` may be a thousand).
        sheet: the sheet of an Excel file (.xlsx), by default the first that is not
            hidden. Its cells are read like those of a CSV file. This needs the extra
            ``permgrad[excel]``.

    Returns:
        A new frame with text column names and rows numbered from 0. A column of a CSV
        file without a name is left out if it only numbers the rows, as ``to_csv()``
        writes them, else it is called by its place, ``column 7``. A name that occurs
        again is numbered, as pandas does (``x.1``).

    Raises:
        InputError: no such file, a folder, a binary file, an empty table, a header
            only, a wrong delimiter, lines of different length.
        EnvironmentProblem: the file cannot be read.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "people.csv")
        ...     _ = file.write_text("age;town\n31;Bonn\n40;Ulm\n")
        ...     read_table(file).shape
        (2, 2)
    """
    codes = MissingCodes.of(na)
    kept_texts = check_not_na(not_na, codes)
    if decimal is not None and not (isinstance(decimal, str) and decimal in (",", ".")):
        raise InputError(
            f"decimal must be ',' or '.', got {shown(decimal)}",
            "Pass one of them, or None.",
            "PG003",
        )
    declared = checked_kinds(kinds)
    texts = []
    images = []
    for column_name, kind_name in declared.items():
        column_kind = column_kinds.get(kind_name)
        if column_kind.as_written:
            texts.append(column_name)
        if column_kind.modality == "photo":
            images.append(column_name)
    check_kind("sheet", sheet, str | None, "the name of a sheet", "Pass text, or None.")
    reading = Reading(
        na=codes,
        text=texts,
        images=images,
        decimal=decimal,
        not_na=kept_texts,
        sheet=sheet,
    )
    written = read_written(path, reading)
    checked_kinds(kinds, list(written.frame.columns))
    # What every reader takes for missing among numbers is a level only among texts.
    among_texts = {}
    for column_label, words in written.missing.items():
        if column_label in written.texts:
            among_texts[column_label] = words
    totals = find_totals(written.frame)
    if totals is None:
        total_sentences = []
    else:
        total_sentences = [totals.said(written.lines.lines)]
    for sentence in (*written.notes, *total_sentences, *missing_said(among_texts)):
        warn_user(sentence)
    return written.frame


def read_written(
    path: str | os.PathLike[str], reading: Reading | None = None
) -> Written:
    """Return what ``read_table`` does, and how numbers were written."""
    if reading is None:
        reading = Reading()
    check_path("path", path, "pass the name of a file")
    file, sheet = table_address(path)
    if sheet is not None:
        reading = replace(reading, sheet=sheet)
    is_usual = file.is_file() and file.suffix.lower() not in SUFFIXES
    if not is_usual and not is_parquet_folder(file):
        _check_file(file)
    has_sheets = file.suffix.lower() in _WORKBOOKS
    if reading.sheet is not None and sheet is None and not has_sheets:
        raise InputError(
            f"{str(file)!r} has no sheets",
            "Leave the sheet out, or name an .xlsx file.",
            "PG004",
        )
    if not is_usual or _content(file, 4) == PARQUET:
        written = _read_parquet(file, reading)
    else:
        _check_size(file)
        with _lean_memory():
            written = _read_texts(file, reading)
    return Written(
        with_image_cells(written.frame, file.parent, reading.images), *written[1:]
    )


@contextmanager
def _lean_memory() -> Iterator[None]:
    """Let Arrow give memory back as soon as it is free.

    Its usual pool keeps what a column took until the end.
    """
    usual = pa.default_memory_pool()
    try:
        pa.set_memory_pool(pa.jemalloc_memory_pool())
    except NotImplementedError:  # on Windows
        pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(usual)


def _read_texts(file: Path, reading: Reading) -> Written:
    """Return the table of a file of text, packed or not, or of a workbook."""
    content = _content(file)
    if content[:2] == GZIP:
        content = unzipped(content, file)
    if not content or content.isspace():
        raise _empty(file)
    if content[:4] == PARQUET:  # it was packed
        return _by_way_of_parquet(lambda path: path.write_bytes(content), file, reading)
    if (table_format := format_of(content, file)) is not None:
        other_table = read_other(table_format, content, file, reading.sheet)
        written = _by_way_of_parquet(
            lambda path: pq.write_table(other_table.table, path), file, reading
        )
        notes = (*other_table.notes, *written.notes)
        return written._replace(notes=notes, labels=other_table.labels)
    if content.startswith(b"PK") and (reader := _reader_of_sheets(content)):
        sheet = reader(content, file, reading)
        table = parse_csv(sheet.text, file, reading, sheet.lines)
        table = replace(table, notes=(*sheet.notes, *table.notes))
    else:
        texts = [read_text(content, file)]
        del content  # nobody holds what the next one reads
        table = parse_csv(texts.pop(), file, reading)
    if table.rows == 0:
        problem = (
            f"{str(file)!r} has a header ({counted(len(table.cells), 'column')}) but "
            "no rows"
        )
        raise InputError(problem, hint="Check how it was written.", code="PG013")
    return read_columns(table, cells.RowLines(file, table.lines), reading)


def _reader_of_sheets(
    content: bytes,
) -> Callable[[bytes, Path, Reading], Sheet] | None:
    """Return what reads a workbook. None: it is none."""
    if is_ods(content):
        return read_ods
    names = map(str.lower, names_in_zip(content) or ())
    if "xl/workbook.xml" in names:
        return read_sheet
    return None


def _by_way_of_parquet(
    write: Callable[[Path], Any], file: Path, reading: Reading
) -> Written:
    """Return a table that is written as Parquet first. Errors name the user's file."""
    with TemporaryDirectory() as folder:
        parquet = Path(folder, "table.parquet")
        write(parquet)
        try:
            return _read_parquet(parquet, reading)
        except PermgradError as error:
            problem = error.problem.replace(str(parquet), str(file))
            raise type(error)(problem, error.hint, error.code) from error


def sheet_of(file: str | os.PathLike[str], sheet: str | None) -> str | None:
    """Return the sheet to read of one of several files: only Excel files have
    sheets.
    """
    if table_address(file).file.suffix.lower() in _WORKBOOKS:
        return sheet
    return None


def _read_parquet(path: Path, reading: Reading) -> Written:
    from permgrad.data.partitions import open_partitioned

    table = open_partitioned(path, rows_per_part=_ALL_ROWS)
    # No cell of lists or records can be used, so that nobody needs them of a column
    # that is left out.
    unread = tuple(
        nested_name for nested_name in table.nested if nested_name in reading.dropped
    )
    # Neither is a column that differs between files.
    uneven = tuple(
        uneven_name for uneven_name in table.uneven if uneven_name in reading.dropped
    )
    table.check_even(
        differing_name
        for differing_name in table.uneven
        if differing_name not in uneven
    )
    frame = table.read_all(
        [read_name for read_name in table.columns if read_name not in unread]
    )
    written = read_typed(blank_codes(frame, reading.na), reading)
    if not unread:
        return written._replace(unread=uneven)
    left_out_note = (
        f"left out without being read, because {by_count(len(unread), 'its', 'their')} "
        "cells are lists or records"
    )
    return written._replace(
        notes=(f"{left_out_note}: {listed(unread)}",), unread=unread + uneven
    )


def is_parquet_folder(path: Path) -> bool:
    """Whether a path is a folder with Parquet files, in it or in folders within it."""
    return path.is_dir() and any(
        folder_file.suffix.lower() in SUFFIXES for folder_file in path.rglob("*")
    )


# ---- codes for missing ---------------------------------------------------------------
def blank_codes(X: pd.DataFrame, na: CodesArgument | MissingCodes) -> pd.DataFrame:
    """Return a frame in which the cells with a declared code are missing.

    ``X`` stays as it is.
    """
    codes = MissingCodes.of(na)
    changed: dict[str, Any] = {}
    for column_name in X.columns if codes.labels else ():
        series = X[column_name]
        if cells.is_native_number(series.dtype):
            blanked = blank_numbers(series, codes, str(column_name))
        else:
            distinct = Distinct.of(series, str(column_name))
            kinds = np.array(
                [codes.kind_of(value, str(column_name)) for value in distinct.texts],
                dtype=np.int16,
            )
            is_code = distinct.spread(kinds, PRESENT) >= BLANK
            # "?" kept a column of numbers from being read as numbers.
            if is_code.any():
                blanked = _numbers_if_all(masked(series, is_code))
            else:
                blanked = series
        if blanked is not series:
            changed[column_name] = blanked
    if changed:
        return X.assign(**changed)
    return X


def unused_codes(X: pd.DataFrame, na: CodesArgument) -> list[str]:
    """Return the declared codes that no cell holds, but for those that are missing
    without being declared.
    """
    codes = MissingCodes.of(na)
    used_kinds: set[int] = set()
    for column_name, column in (
        (str(column_label), column) for column_label, column in X.items()
    ):
        if cells.is_native_number(column.dtype):
            values = column[
                column.isin(as_stored(codes.numbers)).to_numpy(dtype=bool)
            ].unique()
            for value in values:
                used_kinds.add(codes.kind_of(cells.canonical(value), column_name))
        else:
            for cell_text in Distinct.of(column, column_name).texts:
                used_kinds.add(codes.kind_of(cell_text, column_name))
    labels = []
    for label_index, label in enumerate(codes.labels):
        if label_index + 2 not in used_kinds:
            labels.append(label)
    return [
        label for label in labels if label not in MISSING_ANYWAY and not is_dot(label)
    ]


def _numbers_if_all(series: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column as numbers where every cell that it has is one.

    Dates, times and categories stay: as numbers they would mean something else.
    """
    if (
        series.dtype.kind in "mM"
        or isinstance(series.dtype, pd.CategoricalDtype)
        or series.isna().all()
    ):
        return series
    numbers = pd.to_numeric(series, errors="coerce")
    no_cell_is_lost = bool((numbers.isna() == series.isna()).all())
    if no_cell_is_lost:
        return numbers
    return series


# ---- files ---------------------------------------------------------------------------
def _check_file(file: Path) -> None:
    """Refuse what is no file with something in it, and text that is named as
    Parquet.
    """
    is_device = file.is_char_device() or file.is_block_device() or file.is_socket()
    if is_device or file.is_dir():
        path_kind, where = ("device", "") if is_device else ("folder", " in it")
        raise InputError(
            f"{str(file)!r} is a {path_kind}, not a file",
            f"Name the CSV or Parquet file{where}.",
            "PG010",
        )
    if not file.exists():
        raise InputError(
            f"{str(file)!r} {why_missing(file)}",
            hint=near_file(file) or "Check the path.",
            code="PG010",
        )
    if file.suffix.lower() not in SUFFIXES:
        return
    first_bytes = _content(file, 4096)
    if not first_bytes.strip():
        raise _empty(file)
    if (
        first_bytes[:4] != PARQUET
        and b"\n" in first_bytes
        and not any(
            byte_value < 9 or 13 < byte_value < 32 for byte_value in first_bytes
        )
    ):
        raise InputError(
            f"{str(file)!r} is named as Parquet but holds text",
            hint="Rename it to '.csv'.",
            code="PG011",
        )


def _check_size(file: Path) -> None:
    """Refuse a file of text whose table memory cannot hold three times.

    Say that a large one is read.

    Reading takes less than three times the file or, where its cells are short, little
    more than the table.
    """
    file_size = file.stat().st_size
    first_bytes = _content(file, 2**16)
    if first_bytes[:2] not in (GZIP, b"PK"):
        delimiter = sniff_delimiter(first_bytes.decode("latin-1"))
        fields = first_bytes.count(delimiter.encode()) + first_bytes.count(b"\n")
        folder = f"{file.with_suffix('')}-parquet"
        format_code = (
            f"d.CsvFileFormat(c.ParseOptions(delimiter={json.dumps(delimiter)}))"
        )
        source = f"d.dataset({json.dumps(str(file))}, format={format_code})"
        conversion = (
            f'd.write_dataset({source}, {json.dumps(folder)}, format="parquet")'
        )
        words = shlex.quote(
            f"import pyarrow.csv as c, pyarrow.dataset as d; {conversion}"
        )
        table = file_size * max(1.0, _CELL_BYTES * fields / max(len(first_bytes), 1))
        check_fits(
            int(table),
            str(file),
            repr(folder),
            f"Write it as Parquet with python -c {words}. ",
        )
    if file_size >= _LARGE:
        startup.announce(f"reading {file.name} ({file_size / 1e9:,.1f} GB)")


def _content(file: Path, size: int = -1) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(size)
    except OSError as error:
        problem = f"Cannot read {str(file)!r}: {error.strerror}"
        raise EnvironmentProblem(
            problem, hint="Check its permissions.", code="PG062"
        ) from error


def _empty(file: Path) -> InputError:
    return InputError(
        f"{str(file)!r} is empty: a table needs a header and rows",
        "Check how it was written.",
        "PG011",
    )
