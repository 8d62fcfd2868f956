"""Tables in the files of other programs: Arrow and Feather, ORC, JSON lines, Stata, SAS, SQLite.

Each is a ``TableFormat``, known by how its files begin or end. What it reads becomes an
Arrow table, which is then read as Parquet is, so that cells mean the same in all of them.
"""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from permgrad.base.errors import InputError, listed

#: Reads the content of a file, which has a path and perhaps a sheet, as an Arrow table.
Reader = Callable[[bytes, Path, str | None], pa.Table]


@dataclass(frozen=True)
class TableFormat:
    """A kind of file with a table.

    Attributes:
        name: What it is called in messages.
        read: Reads its content.
        begins: How its content begins. Empty: that is not looked at.
        endings: How its name ends. Empty: that is not looked at.
        has_sheets: Whether it may hold several tables.
    """

    name: str
    read: Reader
    begins: tuple[bytes, ...] = ()
    endings: tuple[str, ...] = ()
    has_sheets: bool = False

    def is_of(self, content: bytes, file: Path) -> bool:
        """Whether a file is of this kind, by its content, else by its name."""
        if self.begins:
            return content.startswith(self.begins)
        return file.name.lower().removesuffix(".gz").endswith(self.endings)


def _arrow(content: bytes, _file: Path, _sheet: str | None) -> pa.Table:
    return pa.ipc.open_file(pa.BufferReader(content)).read_all()


def _orc(content: bytes, _file: Path, _sheet: str | None) -> pa.Table:
    from pyarrow import orc  # few tables are ORC

    return orc.ORCFile(pa.BufferReader(content)).read()


def _json_lines(content: bytes, _file: Path, _sheet: str | None) -> pa.Table:
    from pyarrow import json  # few tables are JSON

    return json.read_json(pa.BufferReader(content))


def _stata(content: bytes, _file: Path, _sheet: str | None) -> pa.Table:
    # Labels of values become categories in the order of their codes.
    return _of_frame(pd.read_stata(io.BytesIO(content)))


def _sas(content: bytes, _file: Path, _sheet: str | None) -> pa.Table:
    frame = pd.read_sas(io.BytesIO(content), format="sas7bdat", encoding="infer")
    return _of_frame(frame)


def _sqlite(_content: bytes, file: Path, sheet: str | None) -> pa.Table:
    # Opened by its address, so that nothing is written beside it.
    connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)
    try:
        query = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
        names = [name for (name,) in connection.execute(query)]
        names = [name for name in names if not name.startswith("sqlite_")]
        name = _chosen_table(names, file, sheet)
        quoted = name.replace('"', '""')
        frame = pd.read_sql_query(f'SELECT * FROM "{quoted}"', connection)  # noqa: S608 — a name of the file, quoted
    finally:
        connection.close()
    return _of_frame(frame)


def _chosen_table(names: list[str], file: Path, sheet: str | None) -> str:
    """Return the table of a database that is meant: its only one, or the named one."""
    if sheet in names:
        return str(sheet)
    if sheet is None and len(names) == 1:
        return names[0]
    what = "holds no table" if not names else f"holds the tables {listed(names, 8)}"
    if sheet is not None:
        what = f"holds no table {sheet!r}. It {what}"
    raise InputError(
        f"{str(file)!r} {what}",
        hint="Name one of its tables as the sheet (--sheet, sheet=).",
        code="PG012",
    )


def _of_frame(frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(frame, preserve_index=False)


FORMATS: tuple[TableFormat, ...] = (
    TableFormat("Arrow or Feather file", _arrow, begins=(b"ARROW1",)),
    TableFormat("ORC file", _orc, begins=(b"ORC",)),
    TableFormat("Stata file", _stata, endings=(".dta",)),
    TableFormat("SAS file", _sas, endings=(".sas7bdat",)),
    TableFormat("file of JSON lines", _json_lines, endings=(".jsonl", ".ndjson")),
    TableFormat(
        "SQLite database",
        _sqlite,
        begins=(b"SQLite format 3\x00",),
        endings=(".db", ".sqlite", ".sqlite3"),
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


def read_as_arrow(
    table_format: TableFormat, content: bytes, file: Path, sheet: str | None
) -> pa.Table:
    """Return the table of a file.

    Raises:
        InputError: The file is damaged, or it does not say which of its tables is meant.
    """
    try:
        return table_format.read(content, file, sheet)
    except InputError:
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
