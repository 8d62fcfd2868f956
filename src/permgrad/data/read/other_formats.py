"""Tables in the files of other programs: Arrow, ORC, JSON lines, Stata, SPSS, SAS,
databases.

Each is a ``TableFormat``, known by how its files begin or end. What it reads becomes an
Arrow table, which is then read as Parquet is, so that cells mean the same in all of
them.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
import io
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from permgrad.base.errors import (
    EnvironmentProblem,
    InputError,
    PermgradError,
    listed,
    option_of,
)
from permgrad.base.sequences import values_at


@dataclass(frozen=True)
class OtherTable:
    """The table of a file.

    Attributes:
        table: Its cells.
        labels: What its file says of columns, by their names.
        notes: What a user should know of its cells.
    """

    table: pa.Table
    labels: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


#: Reads the content of a file, which has a path and perhaps a sheet.
Reader = Callable[[bytes, Path, str | None], OtherTable]


@dataclass(frozen=True)
class TableFormat:
    """A kind of file with a table.

    Attributes:
        name: What it is called in messages.
        read: Reads its content.
        begins: What its content has at which place. Empty: that is not looked at.
        endings: How its name ends. Empty: that is not looked at.
        has_sheets: Whether it may hold several tables.
    """

    name: str
    read: Reader
    begins: tuple[tuple[int, bytes], ...] = ()
    endings: tuple[str, ...] = ()
    has_sheets: bool = False

    def is_of(self, content: bytes, file: Path) -> bool:
        """Whether a file is of this kind, by its content, else by its name."""
        if self.begins:
            return any(
                content.startswith(mark, mark_offset)
                for mark_offset, mark in self.begins
            )
        return file.name.lower().removesuffix(".gz").endswith(self.endings)


def _needed(package: str, install: str, what: str, file: Path) -> None:
    """Refuse a file whose reader is not installed."""
    if importlib.util.find_spec(package) is None:
        raise EnvironmentProblem(
            f"{str(file)!r} is {what}, and {package} is not installed",
            f"Install it with: pip install {install}, or save the table as CSV.",
            "PG060",
        )


# ---- tables of columns with types ----------------------------------------------------
def _arrow(content: bytes, _file: Path, _sheet: str | None) -> OtherTable:
    return OtherTable(pa.ipc.open_file(pa.BufferReader(content)).read_all())


def _orc(content: bytes, _file: Path, _sheet: str | None) -> OtherTable:
    from pyarrow import orc  # few tables are ORC

    return OtherTable(orc.ORCFile(pa.BufferReader(content)).read())


def _json_lines(content: bytes, _file: Path, _sheet: str | None) -> OtherTable:
    from pyarrow import json  # few tables are JSON

    return OtherTable(json.read_json(pa.BufferReader(content)))


# ---- statistics programs -------------------------------------------------------------
def _stata(content: bytes, _file: Path, _sheet: str | None) -> OtherTable:
    with pd.read_stata(io.BytesIO(content), iterator=True) as reader:
        frame = reader.read(convert_categoricals=False)  # type: ignore[attr-defined]
        columns = reader.variable_labels()
    try:
        named = pd.read_stata(io.BytesIO(content))
    except ValueError:
        # Two values of a column have one label. Values are read without labels.
        return _of_frame(frame, columns)
    labels: dict[str, dict[Any, str]] = {}
    for name in frame:
        if not isinstance(named[name].dtype, pd.CategoricalDtype):
            continue
        pairs = pd.DataFrame({"code": frame[name], "label": named[name].astype(object)})
        pairs = pairs.dropna().drop_duplicates()
        is_label = [isinstance(label, str) for label in pairs["label"]]
        labels[str(name)] = dict(pairs[is_label].itertuples(index=False))
        order = list(named[name].cat.categories)
        if all(isinstance(label, str) for label in order):
            # All labels, also of values that no row has.
            frame[name] = named[name]
            del labels[str(name)]
    return _of_frame(frame, columns, notes=_labelled(frame, labels))


def _sas(content: bytes, _file: Path, _sheet: str | None) -> OtherTable:
    frame = pd.read_sas(io.BytesIO(content), format="sas7bdat", encoding="infer")
    return _of_frame(frame)


def _spss(content: bytes, file: Path, _sheet: str | None) -> OtherTable:
    _needed("pyreadstat", "'permgrad[stats]'", "an SPSS file", file)
    import pyreadstat

    is_portable = file.name.lower().removesuffix(".gz").endswith(".por")
    if is_portable:
        reader = pyreadstat.read_por
    else:
        reader = pyreadstat.read_sav
    with TemporaryDirectory() as folder:
        path = Path(folder, "table.por" if is_portable else "table.sav")
        path.write_bytes(content)
        frame, facts = reader(str(path))
    for name in frame:
        frame[name] = _whole(frame[name])
    labels: Mapping[str, Mapping[Any, str]] = facts.variable_value_labels
    notes = _labelled(frame, labels)
    return _of_frame(frame, facts.column_names_to_labels, notes=notes)


def _labelled(
    frame: pd.DataFrame, labels: Mapping[str, Mapping[Any, str]]
) -> tuple[str, ...]:
    """Turn values with labels into categories in their order, in place, and return
    notes.

    Where values have none, a column holds numbers, of which those with labels may be
    codes for missing.
    """
    codes = dict[str, str]()
    for name, by_value in labels.items():
        cells = frame[name]
        if not by_value or cells.dropna().isin(list(by_value)).all():
            order = list(dict.fromkeys(values_at(by_value, sorted(by_value))))
            if order:
                frame[name] = pd.Categorical(cells.map(by_value), order, ordered=True)
            continue
        present = [value for value in by_value if (cells == value).any()]
        if present:
            texts = [f"{value:g}" for value in present]
            shown = [f"{value:g} is {by_value[value]!r}" for value in present]
            codes[f"{name} ({listed(shown, 3)})"] = f"{name}={','.join(texts)}"
    if not codes:
        return ()
    advice = " ".join(option_of("--na", text) for text in codes.values())
    label_note = (
        f"only some values have labels, so these are numbers: {listed(list(codes))}"
    )
    return (f"{label_note}. If the labelled values mean missing, pass {advice}",)


def _whole(cells: pd.Series[Any]) -> pd.Series[Any]:
    """Return whole numbers as such: a file that stores all numbers alike leaves it
    open.

    Times of day become text.
    """
    if cells.dtype == np.float64:
        filled = cells.dropna()
        is_whole = len(filled) and (filled == np.round(filled)).all()
        if is_whole and np.abs(filled).max() < 2**53:
            return cells.astype("Int64" if len(filled) < len(cells) else "int64")
    if cells.dtype == object and isinstance(cells.dropna().head(1).squeeze(), dt.time):
        return cells.map(lambda cell: None if pd.isna(cell) else cell.isoformat())
    return cells


# ---- databases -----------------------------------------------------------------------
def _sqlite(_content: bytes, file: Path, sheet: str | None) -> OtherTable:
    # Opened by its address, so that nothing is written beside it.
    connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)
    try:
        query = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
        names = [stored_name for (stored_name,) in connection.execute(query)]
        remaining_names = []
        for listed_name in names:
            if not listed_name.startswith("sqlite_"):
                remaining_names.append(listed_name)
        names = remaining_names
        table_name = _chosen_table(names, file, sheet)
        frame = pd.read_sql_query(_select(table_name), connection)
    finally:
        connection.close()
    return _of_frame(frame)


def _duckdb(_content: bytes, file: Path, sheet: str | None) -> OtherTable:
    _needed("duckdb", "duckdb", "a DuckDB database", file)
    import duckdb

    # A view of the file must not read other files.
    options = {"enable_external_access": "false"}
    connection = duckdb.connect(str(file), read_only=True, config=options)
    try:
        query = "SELECT table_name FROM information_schema.tables"
        table_rows = connection.execute(
            f"{query} WHERE table_schema = 'main'"
        ).fetchall()
        name = _chosen_table([name for (name,) in table_rows], file, sheet)
        return OtherTable(connection.sql(_select(name)).to_arrow_table())
    finally:
        connection.close()


def _select(name: str) -> str:
    quoted = name.replace('"', '""')
    return f'SELECT * FROM "{quoted}"'  # noqa: S608 — a name of the file, quoted


def _chosen_table(names: list[str], file: Path, sheet: str | None) -> str:
    """Return the table of a database that is meant: its only one, or the named one."""
    if sheet in names:
        return str(sheet)
    if sheet is None and len(names) == 1:
        return names[0]
    if not names:
        description = "holds no table"
    else:
        description = f"holds the tables {listed(names, 8)}"
    if sheet is not None:
        description = f"holds no table {sheet!r}. It {description}"
    raise InputError(
        f"{str(file)!r} {description}",
        hint="Name one of its tables: --sheet NAME, sheet=, or sqlite:FILE?table=NAME.",
        code="PG012",
    )


def _of_frame(
    frame: pd.DataFrame,
    labels: Mapping[str, str | None] | None = None,
    *,
    notes: tuple[str, ...] = (),
) -> OtherTable:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    column_labels = {name: text for name, text in (labels or {}).items() if text}
    return OtherTable(table, column_labels, notes)


FORMATS: tuple[TableFormat, ...] = (
    TableFormat("Arrow or Feather file", _arrow, begins=((0, b"ARROW1"),)),
    TableFormat("ORC file", _orc, begins=((0, b"ORC"),)),
    TableFormat("Stata file", _stata, endings=(".dta",)),
    TableFormat("SPSS file", _spss, begins=((0, b"$FL2"), (0, b"$FL3"))),
    TableFormat("SPSS file", _spss, endings=(".por",)),
    TableFormat("SAS file", _sas, endings=(".sas7bdat",)),
    TableFormat("file of JSON lines", _json_lines, endings=(".jsonl", ".ndjson")),
    TableFormat(
        "SQLite database",
        _sqlite,
        begins=((0, b"SQLite format 3\x00"),),
        endings=(".db", ".sqlite", ".sqlite3"),
        has_sheets=True,
    ),
    TableFormat(
        "DuckDB database",
        _duckdb,
        begins=((8, b"DUCK"),),
        endings=(".duckdb", ".ddb"),
        has_sheets=True,
    ),
)
#: Endings of databases, whose tables are named as sheets are.
DATABASES = tuple(
    ending for entry in FORMATS if entry.has_sheets for ending in entry.endings
)


def format_of(content: bytes, file: Path) -> TableFormat | None:
    """Return the format of a file, or None for text and what nobody reads."""
    return next((entry for entry in FORMATS if entry.is_of(content, file)), None)


def read_other(
    table_format: TableFormat, content: bytes, file: Path, sheet: str | None
) -> OtherTable:
    """Return the table of a file.

    Raises:
        InputError: The file is damaged, or it does not say which of its tables is
            meant.
        EnvironmentProblem: What reads it is not installed.
    """
    try:
        return table_format.read(content, file, sheet)
    except PermgradError:
        raise
    except Exception as error:
        # Readers of other programs' files fail in errors of many kinds.
        reason = str(error).splitlines()[:1]
        raise InputError(
            f"The {table_format.name} {str(file)!r} cannot be read "
            f"({type(error).__name__}: {''.join(reason)[:100]})",
            hint="Write it again, or save it as Parquet or CSV.",
            code="PG011",
        ) from error
