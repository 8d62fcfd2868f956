"""Rows to predict as a model can read them, and what is unlike training in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from permgrad.base.errors import InputError, by_count, counted, listed, warn_user
from permgrad.data.encode.encoding import (
    TableEncoder,
    align_columns,
    tell_of_unused,
)
from permgrad.data.encode.unlike import Unlike, unlike_training
from permgrad.data.kinds.column import Schema
from permgrad.data.read.cells import CellError, as_frame, is_written
from permgrad.data.read.header import columns_missing
from permgrad.data.types.odd_cells import without_odd_cells


@dataclass(frozen=True)
class ReadableRows:
    """Rows to predict.

    ``unlike`` says what training did not have in them. ``odd_cells`` are those that its
    types cannot read, which are missing in ``rows``.
    """

    rows: pd.DataFrame
    unlike: list[Unlike]
    odd_cells: list[CellError]

    @classmethod
    def of(
        cls, rows: pd.DataFrame, encoder: TableEncoder, *, strict: bool
    ) -> ReadableRows:
        """Compare rows with those of training. ``strict``: an odd cell is refused."""
        names = list(encoder.feature_names_in_)
        types = encoder.schema_
        try:
            unlike = unlike_training(encoder, rows[names])
        except CellError:
            if strict:
                raise
        else:
            # Training had some of these columns' odd cells, too.
            types = Schema(
                tuple(
                    column_type
                    for column_type in types
                    if "mistakes" in column_type.flags
                )
            )
        rows, odd_cells = without_odd_cells(rows, types, encoder.codes_, infinite=True)
        if odd_cells and strict:
            raise odd_cells[0]
        if types is encoder.schema_:
            unlike = unlike_training(encoder, rows[names])
        return cls(rows, unlike, odd_cells)


def are_records(X: Any) -> bool:
    """Whether rows are a mapping from column to value, or a list of mappings."""
    if isinstance(X, list | tuple):
        return bool(X) and any(isinstance(row, Mapping) for row in X)
    return isinstance(X, Mapping)


def named_rows(X: Any, encoder: TableEncoder) -> Any:
    """Return rows with the columns of training, by name. Unknown ones are left out with
    a warning.

    Records, a mapping or a list of mappings, become a frame. Rows without names stay as
    they are.
    """
    names = list(encoder.feature_names_in_)
    if isinstance(X, Mapping):
        X = [X]
    if isinstance(X, list | tuple):
        if not X:
            problem = "There is no row to predict"
            raise InputError(problem, hint="Pass at least one.", code="PG013")
        is_record = [isinstance(row, Mapping) for row in X]
        if all(is_record):
            return _of_records(X, names)
        if any(is_record):
            position = is_record.index(False)
            problem = f"Record {position} is a {type(X[position]).__name__}"
            raise InputError(problem, hint="Pass a list of dicts.", code="PG014")
    if isinstance(X, pd.DataFrame) or hasattr(X, "to_pandas"):
        return align_columns(X, names).reset_index(drop=True)
    return X


def _of_records(
    records: Sequence[Mapping[Any, Any]], names: Sequence[str]
) -> pd.DataFrame:
    """Return records as a frame.

    Refuse one that lacks a column, as a missing value is written as None, and values
    that are no cells.
    """
    if not all(isinstance(name, str) for record in records for name in record):
        records = [{str(name): record[name] for name in record} for record in records]
    known_columns = set(records[0])
    for position, record in enumerate(records):
        for name, value in record.items():
            if isinstance(value, (Mapping, list, tuple, set)):
                kind = type(value).__name__
                problem = f"Record {position} has a {kind} as value of {name!r}"
                raise InputError(problem, hint="Pass one value.", code="PG014")
            if isinstance(value, str) and not is_written(value):
                problem = (
                    f"Record {position} has half a character (a lone surrogate) in "
                    f"{name!r}"
                )
                hint = "Write text in UTF-8."
                raise InputError(problem, hint=hint, code="PG014")
        of_record = set(record)
        lacking = sorted({*names} - of_record, key=list(names).index)
        if lacking and len(records) == 1:
            raise columns_missing(lacking, sorted(known_columns - {*names}))
        if lacking:
            problem = f"Record {position} lacks {listed(lacking, 5, repr)}"
            hint = "Write None (null in JSON) where a value is missing."
            raise InputError(problem, hint=hint, code="PG012")
        known_columns |= of_record
    tell_of_unused(sorted(known_columns - {*names}))
    columns = {}
    for name in names:
        columns[name] = [record[name] for record in records]
    return as_frame(pd.DataFrame(columns))


def encoded_as_read(
    frame: pd.DataFrame, encoder: TableEncoder
) -> tuple[pd.DataFrame, Any]:
    """Return rows, with cells that cannot be read as missing ones, and their encoding.

    No message has a cell.
    """
    try:
        return frame, encoder.transform(frame)
    except CellError:
        readable = with_readable_cells(frame, encoder)
    try:
        return readable, encoder.transform(readable)
    except CellError as error:
        problem = f"Row {error.row} holds a cell that cannot be read as in training"
        hint = "Write it as the training rows have it, in UTF-8."
        raise InputError(problem, hint=hint, code="PG014") from None


def with_readable_cells(frame: pd.DataFrame, encoder: TableEncoder) -> pd.DataFrame:
    """Return rows whose cells can be read as in training. Others count as missing, with
    a warning that has none of them.
    """
    left_out = []
    for column in encoder.schema_:
        try:
            frame, odd_cells = without_odd_cells(
                frame, Schema((column,)), encoder.codes_, infinite=True
            )
        except CellError as error:
            problem = (
                f"Column {column.name!r} holds cells that cannot be read as in "
                f"training, the first in row {error.row}"
            )
            hint = "Write them as the training rows have them."
            raise InputError(problem, hint=hint, code="PG014") from None
        if odd_cells:
            left_out.append(f"{counted(len(odd_cells), 'cell')} of {column.name!r}")
    if left_out:
        verb = by_count(len(left_out), "counts", "count")
        warn_user(f"{listed(left_out, 5)} cannot be read and {verb} as missing")
    return frame
