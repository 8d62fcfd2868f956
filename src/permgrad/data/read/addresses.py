"""Where a table is: a file, or a table of a database file
(``sqlite:clinic.db?table=visits``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

#: Databases whose tables have an address, by what it begins with.
_SCHEMES = ("sqlite", "duckdb")


class TableAddress(NamedTuple):
    """The file of a table, and which of its tables is meant. None: the only one."""

    file: Path
    sheet: str | None = None


def table_address(table: str | os.PathLike[str]) -> TableAddress:
    """Return what a table's path or address says.

    Examples:
        >>> table_address("sqlite:clinic.db?table=visits")
        TableAddress(file=PosixPath('clinic.db'), sheet='visits')
        >>> table_address("visits.csv")
        TableAddress(file=PosixPath('visits.csv'), sheet=None)
    """
    text = os.fspath(table)
    scheme, is_address, address_path = text.partition(":")
    if not is_address or scheme not in _SCHEMES or os.path.lexists(text):
        return TableAddress(Path(text))
    file, _, sheet = address_path.partition("?table=")
    return TableAddress(Path(file), sheet or None)
