"""How the columns that a Parquet file stores become those of a frame."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd
import pyarrow as pa

from permgrad.data.read.whole_numbers import NULLABLE


@dataclass(frozen=True)
class ColumnLayout:
    """How stored columns become those of a frame: an index that pandas stored is an ordinary column, if it has a name.

    Attributes:
        shown, stored: names of the frame's columns, and of the columns that are stored.
        formulas: names of index columns that are stored as a start and a step.
        nullable: stored names whose missing cells pandas keeps in a type of its own.
        metadata: of the schema, without the index.
    """

    shown: list[str]
    stored: list[str]
    formulas: list[str]
    nullable: frozenset[str]
    metadata: dict[bytes, bytes] | None

    @classmethod
    def of(cls, schema: pa.Schema) -> ColumnLayout:
        """Read what pandas wrote into a schema; without that all columns are shown as they are stored."""
        pandas: dict[str, Any] = schema.pandas_metadata or {}
        index = pandas.get("index_columns", [])
        described = {one.get("field_name") or one.get("name"): one for one in pandas.get("columns", ())}
        hidden, first = set(), []
        formulas = [name for name, _ in index_formulas(schema)]
        for one in index:
            if isinstance(one, dict):
                first += [str(one["name"])] if one.get("name") is not None else []
            elif described.get(one, {}).get("name") is None:
                hidden.add(one)
            else:
                first.append(one)
        stored = [name for name in schema.names if name not in hidden]
        shown = [*first, *(name for name in stored if name not in first)]
        nullable = {
            name for name, one in described.items() if str(one.get("numpy_type"))[:1] in ("I", "U", "F", "b") and
            str(one.get("numpy_type")) not in ("bool", "bytes")
        }  # fmt: skip
        return cls(shown, stored, formulas, frozenset(nullable), cell_notes(schema, index=False))


def cell_notes(schema: pa.Schema, *, index: bool = True) -> dict[bytes, bytes] | None:
    """Return what pandas noted of cells and index; not attributes, which it copies however deep they are."""
    notes = schema.pandas_metadata
    if not isinstance(notes, dict):
        return cast("dict[bytes, bytes] | None", schema.metadata)
    cells = {**notes, "column_indexes": [], "attributes": {}} | ({} if index else {"index_columns": []})
    return {b"pandas": json.dumps(cells).encode()}


def check_notes(schema: pa.Schema) -> None:
    """Refuse what is said of an index and of columns if pandas did not write it so (TypeError, ValueError)."""
    notes = schema.pandas_metadata
    if notes is None:
        return
    index, columns = (notes.get(name, []) if isinstance(notes, dict) else None for name in ("index_columns", "columns"))
    if not isinstance(index, list) or not isinstance(columns, list):
        raise TypeError("notes of pandas that are no lists")
    for one in index:
        if not isinstance(one, (str, dict)):
            raise TypeError(f"an index column {one!r}")
    for one in columns:
        names = (one.get("name"), one.get("field_name")) if isinstance(one, dict) else (0,)
        if not all(isinstance(name, (str, type(None))) for name in names):
            raise TypeError(f"a column {one!r}")
    _check_counted([one for one in index if isinstance(one, dict)], schema.names)
    missing = {one for one in index if isinstance(one, str)} - set(schema.names)
    if missing:
        raise ValueError(f"an index of columns that are not there ({sorted(missing)[:3]})")


def _check_counted(index: list[dict[str, Any]], stored: list[str]) -> None:
    """Refuse index columns, stored as a start and a step, that do not number the rows under a name of their own."""
    for one in index:
        if not isinstance(one.get("name"), (str, type(None))):
            raise TypeError(f"an index column of the name {one.get('name')!r}")
        if not (one.get("step") and _numbers_rows(one)):
            raise ValueError(f"an index that does not number the rows ({one!r:.100})")
    counted = [one["name"] for one in index if one.get("name") is not None]
    if len(set(counted)) < len(counted) or set(counted) & set(stored):
        raise ValueError(f"an index that is counted, and stored or counted again ({counted[:3]})")


def _numbers_rows(index: dict[str, Any]) -> bool:
    """Whether an index is stored as whole numbers that stay within 64 bits, however many rows there are."""
    bounds = {"start": 2**62, "stop": 2**62, "step": 2**31}
    return all(isinstance(value := index.get(name), int) and abs(value) < bound for name, bound in bounds.items())


def check_texts(table: pa.Table) -> None:
    """Refuse text that is no UTF-8 (``ArrowInvalid``), which Arrow reads as it stands and Python cannot read at all."""
    for column in table.columns:
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            column.validate(full=True)


def exact_columns(table: pa.Table) -> dict[str, pd.Series[Any]]:
    """Return the columns of 64-bit whole numbers so that missing cells do not make floats of them, which round."""
    return {
        name: table.column(name).to_pandas(types_mapper=NULLABLE.get)
        for name in table.column_names
        if table.schema.field(name).type in NULLABLE
    }


def index_formulas(schema: pa.Schema) -> tuple[tuple[str, tuple[int, int]], ...]:
    """Return the named index columns that are stored as a start and a step."""
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    named = [one for one in index if isinstance(one, dict) and one.get("name") is not None]
    return tuple((str(one["name"]), (int(one["start"]), int(one["step"]))) for one in named)
