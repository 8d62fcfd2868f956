"""CSV files that a spreadsheet may open: texts that it would take for formulas are
quoted, as OWASP advises.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from permgrad.base.checks import check_choice

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

Formulas = Literal["quote", "keep"]
MODES: tuple[Formulas, ...] = ("quote", "keep")

#: How a formula begins in a spreadsheet. Some spreadsheets accept the wide forms, and
#: skip white space.
_SIGNS = "=+\\-@＝＋－＠"
_FIRST_SIGNS = _SIGNS + "\t\r\n"
_NUMBER = r"[+-](?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_FORMULA = re.compile(rf"\A(?![{_FIRST_SIGNS}]\Z|{_NUMBER}\Z)'*[{_FIRST_SIGNS}]")
#: Where a spreadsheet that splits lines at semicolons, tabs or line ends begins a cell
#: within a text, and where this cell ends. Double quotes protect whole cells alone.
_INNER_START = "[;\t\r\n] *"
_INNER_END = r"(?=[;\t\r\n]|\Z)"
_INNER_FORMULA = re.compile(
    rf"({_INNER_START})(?![{_SIGNS}]{_INNER_END}|{_NUMBER}{_INNER_END})('*[{_SIGNS}])"
)
#: Rows from which Arrow's import costs less than it saves.
_MANY = 20_000
_QUOTE = re.compile(rf"\A'(?='*[{_FIRST_SIGNS}])")
_INNER_QUOTE = re.compile(rf"({_INNER_START})'(?='*[{_SIGNS}])")


def quoted(text: str) -> str:
    """Return a text as a cell that no spreadsheet evaluates as a formula.

    Numbers and a single sign are harmless.
    """
    start = len(text) - len(text.lstrip("\t\r\n"))
    inner = _INNER_FORMULA.sub(r"\1'\2", text[start:])
    return _FORMULA.sub(r"'\g<0>", text[:start] + inner)


def unquoted(text: str) -> str:
    """Return the text that ``quoted`` was given."""
    text = _QUOTE.sub("", text)
    start = len(text) - len(text.lstrip("\t\r\n"))
    return text[:start] + _INNER_QUOTE.sub(r"\1", text[start:])


_mode: ContextVar[Formulas] = ContextVar("csv_formulas", default="quote")


@contextmanager
def csv_formulas(mode: Any) -> Iterator[None]:
    """Let CSV files that the body writes quote what looks like a formula, or keep
    it.
    """
    if mode is not None:
        check_choice("csv-formulas", mode, MODES)
    token = _mode.set(mode or _mode.get())
    try:
        yield
    finally:
        _mode.reset(token)


def write_csv(frame: pd.DataFrame, target: str | os.PathLike[str] | io.StringIO) -> int:
    """Write a frame without its row labels, with column names as cells.

    Return how many cells were quoted.

    A file appears complete or not at all.
    """
    from permgrad.base.files import atomic_path  # loads NumPy

    safe_frame, count = (
        _changed(frame, quoted) if _mode.get() == "quote" else (frame, 0)
    )
    # Python's writer leaves a carriage return as it is before version 3.13, and readers
    # take what follows for the next line, which could be a formula: then all texts
    # stand in double quotes.
    columns = (
        safe_frame.iloc[:, column_index] for column_index in range(safe_frame.shape[1])
    )
    texts = chain.from_iterable(_texts_in(column) for column in columns)
    is_torn = any(
        isinstance(written_text, str) and "\r" in written_text
        for written_text in chain(safe_frame.columns, texts)
    )
    quoting: Literal[0, 2]
    if is_torn:
        quoting = csv.QUOTE_NONNUMERIC
    else:
        quoting = csv.QUOTE_MINIMAL
    with (
        nullcontext(target)
        if isinstance(target, io.StringIO)
        else atomic_path(target) as output_path
    ):
        if (
            len(frame) >= _MANY
            and not is_torn
            and _writes_lines(safe_frame, output_path)
        ):
            return count
        safe_frame.to_csv(
            output_path,
            index=False,
            encoding="utf-8",
            errors="backslashreplace",
            quoting=quoting,
        )
    return count


def _writes_lines(frame: pd.DataFrame, target: Path | io.StringIO) -> bool:
    """Write many rows, if they can be written by column, and return whether they are.

    Compressed files and streams are left to pandas.
    """
    from permgrad.base.csv_lines import write_lines  # loads Arrow

    if isinstance(target, io.StringIO) or target.suffix == ".gz":
        return False
    with target.open("wb") as stream:
        return write_lines(frame, stream)


def csv_text(frame: pd.DataFrame) -> tuple[str, int]:
    """Return what ``write_csv`` writes, and how many cells were quoted."""
    stream = io.StringIO()
    count = write_csv(frame, stream)
    return stream.getvalue().encode("utf-8", "backslashreplace").decode("utf-8"), count


def read_csv(path: str | os.PathLike[str], **options: Any) -> pd.DataFrame:
    """Read a file that ``write_csv`` wrote, each number as the nearest float64.

    Quoted cells are restored.
    """
    import pandas as pd

    # Before version 3.1 pandas is off by the last digit in places unless it is asked.
    # Later it never is, and warns.
    major, minor = map(int, pd.__version__.split(".")[:2])
    exact: dict[str, Any]
    if (major, minor) < (3, 1):
        exact = {"float_precision": "round_trip"}
    else:
        exact = {}
    return _changed(pd.read_csv(path, **exact, **options), unquoted)[0]


def _texts_in(column: pd.Series) -> set[str]:
    """Return the different texts of a column."""
    if column.dtype.kind in "biufcmM":
        return set()
    if column.dtype == object:  # its cells may be of any type, also without a hash
        cells: Iterable[Any] = column.array
    else:
        cells = column.unique()
    return {cell_text for cell_text in cells if isinstance(cell_text, str)}


def _changed(frame: pd.DataFrame, change: Any) -> tuple[pd.DataFrame, int]:
    """Return a copy of a frame with changed texts and names, and how many changed."""
    import pandas as pd

    count = 0
    columns = []
    for column_index in range(frame.shape[1]):
        column = frame.iloc[:, column_index]
        changes = {}
        for text in _texts_in(column):
            changes[text] = change(text)
        if any(text != changed_text for text, changed_text in changes.items()):
            before = column.to_numpy(dtype=object)
            after = [
                changes[value] if isinstance(value, str) else value for value in before
            ]
            count += sum(
                isinstance(value_before, str) and value_before != value_after
                for value_before, value_after in zip(before, after, strict=True)
            )
            column = pd.Series(
                after, index=column.index, name=column.name, dtype=object
            )
        columns.append(column)
    names = [
        change(column_name) if isinstance(column_name, str) else column_name
        for column_name in frame.columns
    ]
    count += sum(
        isinstance(new_name, str) and new_name != old_name
        for new_name, old_name in zip(names, frame.columns, strict=True)
    )
    if not count:
        return frame, 0
    # Under their places: names may stand more than once, and pandas knows no half
    # characters.
    changed = (
        pd.concat(columns, axis=1, keys=range(len(columns)))
        if columns
        else frame.copy()
    )
    changed.columns = pd.Index(names, dtype=object)
    return changed, count
