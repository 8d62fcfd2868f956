"""What a Parquet file says of its columns before any row is read, and how they become
those of a frame.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple, cast

import pyarrow as pa

from permgrad.base.errors import must
from permgrad.base.late import pd, pq
from permgrad.data.read.whole_numbers import FIRST_INEXACT, nullable

#: What a Parquet file leads to whose notes are not as pandas writes them.
DAMAGE = (
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    # names of columns that are marked as tuples are parsed, not run
    SyntaxError,
    RecursionError,
)
#: With a buffer of any size Arrow looks at all columns of a row group before it reads
#: one.
_BUFFER_BYTES = 4096


# ---- the footer ----------------------------------------------------------------------
class _EnoughError(Exception):
    """Arrow is done with the footer, and begins to read columns."""


class _Guarded(io.RawIOBase):
    """A file that can be read until it is closed to readers."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self.is_enough = False
        self.tell, self.seek = stream.tell, stream.seek  # type: ignore[method-assign]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self.is_enough:
            raise _EnoughError
        return self._stream.read(size)


def read_footer(stream: BinaryIO) -> tuple[pq.FileMetaData, pa.Schema]:
    """Read a footer after Arrow looked at all columns, which refuses facts over which
    it would else end the process.
    """
    # Of a column whose facts contradict each other nobody can ask: Arrow's exception
    # would end the process.
    guarded = _Guarded(stream)
    # Read by this thread and no other, which could still be at it when the process
    # ends.
    parquet_file = pq.ParquetFile(guarded, pre_buffer=False, buffer_size=_BUFFER_BYTES)
    metadata = parquet_file.metadata
    schema = parquet_file.schema_arrow
    guarded.is_enough = True
    # Without any column Arrow would make an empty batch for each row that the footer
    # says there is.
    for group in range(metadata.num_row_groups if metadata.num_columns else 0):
        with contextlib.suppress(_EnoughError):
            next(
                parquet_file.iter_batches(
                    batch_size=1, row_groups=[group], use_threads=False
                ),
                None,
            )
    return metadata, schema


class FooterFacts(NamedTuple):
    """What a footer says about a file's cells.

    Attributes:
        nulls: Missing cells by column. None: unknown.
        large: Columns of large numbers.
        packed_bytes: The bytes of the largest row group.
    """

    nulls: dict[str, int | None]
    large: set[str]
    packed_bytes: int


def footer_facts(footer: pq.FileMetaData, schema: pa.Schema) -> FooterFacts:
    """Return missing cells by column (None: unknown), columns of large numbers, bytes
    of the largest row group.

    ``ValueError``: a row group's types are not those of the schema.
    """
    integer_columns = set()
    for field in schema:
        if pa.types.is_int64(field.type) or pa.types.is_uint64(field.type):
            integer_columns.add(field.name)
    nulls: dict[str, int | None] = dict.fromkeys(schema.names, 0)
    large = set[str]()
    all_rows = 0
    packed_bytes = 0
    for group_rows, columns in row_groups(footer):
        all_rows += group_rows
        packed_bytes = max(
            packed_bytes, sum(column.total_compressed_size for column in columns)
        )
        for column in columns if group_rows else ():
            column_name = column.path_in_schema
            statistics = column.statistics
            if column_name not in nulls:
                continue
            if statistics is not None and statistics.has_null_count:
                missing = statistics.null_count
            else:
                missing = None
            nulls[column_name] = total([nulls[column_name], missing])
            if column_name not in integer_columns or missing == group_rows:
                continue
            has_ends = statistics is not None and statistics.has_min_max
            if (
                not has_ends
                or statistics.max >= FIRST_INEXACT
                or statistics.min <= -FIRST_INEXACT
            ):
                large.add(column_name)
    # A column without any value has no type and no statistics.
    nulls |= {field.name: all_rows for field in schema if pa.types.is_null(field.type)}
    return FooterFacts(nulls, large, packed_bytes)


def row_groups(footer: pq.FileMetaData) -> Iterator[tuple[int, list[Any]]]:
    """Yield rows and columns of each row group.

    ``ValueError``: types other than the schema's, where Arrow crashes.
    """
    types = []
    for index in range(len(footer.schema)):
        types.append(footer.schema.column(index).physical_type)
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        columns = list(map(group.column, range(group.num_columns)))
        must(
            [column.physical_type for column in columns] == types,
            f"other types in row group {number}",
        )
        yield group.num_rows, columns


def total(counts: Sequence[int | None]) -> int | None:
    """Return a sum, or None where a part of it is not known."""
    numbers = [count for count in counts if count is not None]
    if len(numbers) == len(counts):
        return sum(numbers)
    return None


# ---- columns -------------------------------------------------------------------------
@dataclass(frozen=True)
class ColumnLayout:
    """How stored columns become those of a frame: an index that pandas stored is an
    ordinary column, if it has a name.

    ``shown`` and ``stored`` are the names of the frame's columns, and of those that are
    stored. ``nullable`` those whose missing cells pandas keeps in a special type.
    ``metadata`` is that of the schema, without the index. An index of the pandas kind
    that counts is shown too, see ``index_formulas``.
    """

    shown: list[str]
    stored: list[str]
    nullable: frozenset[str]
    metadata: dict[bytes, bytes] | None

    @classmethod
    def of(cls, schema: pa.Schema) -> ColumnLayout:
        """Read what pandas wrote into a schema, without that all as stored.

        ``DAMAGE``: it is none.
        """
        pandas: dict[str, Any] = schema.pandas_metadata or {}
        described = {
            column_entry.get("field_name") or column_entry.get("name"): column_entry
            for column_entry in pandas.get("columns", ())
        }
        hidden = set()
        first = list[str]()
        for index_entry in pandas.get("index_columns", []):
            if isinstance(index_entry, dict):
                first += (
                    [index_entry["name"]] if index_entry.get("name") is not None else []
                )
                continue
            must(
                index_entry in schema.names,
                f"an index of a column that is not there ({index_entry!r})",
            )
            if described.get(index_entry, {}).get("name") is None:
                hidden.add(index_entry)
            else:
                first.append(index_entry)
        stored = [
            stored_name for stored_name in schema.names if stored_name not in hidden
        ]
        shown = [
            *first,
            *(stored_column for stored_column in stored if stored_column not in first),
        ]
        types = {
            field_name: str(field_entry.get("numpy_type"))
            for field_name, field_entry in described.items()
        }
        nullable = {
            typed_name
            for typed_name, number_type in types.items()
            if number_type[:1] in tuple("IUFb") and number_type not in ("bool", "bytes")
        }
        return cls(shown, stored, frozenset(nullable), cell_notes(schema, index=False))


def cell_notes(schema: pa.Schema, *, index: bool = True) -> dict[bytes, bytes] | None:
    """Return the notes of pandas on cells and index, without attributes, which may be
    nested deeply.
    """
    notes = schema.pandas_metadata
    if not isinstance(notes, dict):
        return cast("dict[bytes, bytes] | None", schema.metadata)
    cells = {**notes, "column_indexes": [], "attributes": {}} | (
        {} if index else {"index_columns": []}
    )
    return {b"pandas": json.dumps(cells).encode()}


def check_texts(table: pa.Table) -> None:
    """Refuse text that is not UTF-8 (``ArrowInvalid``), which Arrow reads unchanged and
    Python cannot read.
    """
    for column in table.columns:
        if pa.types.is_dictionary(column.type):
            value_type = column.type.value_type
        else:
            value_type = column.type
        if (
            pa.types.is_string(value_type)
            or pa.types.is_large_string(value_type)
            or pa.types.is_string_view(value_type)
        ):
            column.validate(full=True)


def exact_columns(table: pa.Table) -> dict[str, pd.Series[Any]]:
    """Return the columns of 64-bit whole numbers so that missing cells do not make
    floats of them, which round.
    """
    return {
        field.name: table.column(field.name).to_pandas(types_mapper=nullable)
        for field in table.schema
        if nullable(field.type) is not None
    }


def index_names(schema: pa.Schema) -> list[str]:
    """Return the names of the columns that pandas stored as labels of rows."""
    described = (schema.pandas_metadata or {}).get("index_columns", [])
    names = []
    for entry in described:
        if isinstance(entry, dict):
            names.append(entry.get("name"))
        else:
            names.append(entry)
    return [index_name for index_name in names if isinstance(index_name, str)]


def index_formulas(schema: pa.Schema) -> dict[str, tuple[int, int]]:
    """Return the named index columns that are stored as a start and a step.

    ``ValueError``: they number no rows.
    """
    formulas: dict[str, tuple[int, int]] = {}
    for index_entry in (schema.pandas_metadata or {}).get("index_columns", []):
        if isinstance(index_entry, dict):
            index_name = index_entry.get("name")
        else:
            index_name = None
        if index_name is None:
            continue
        # Whole numbers that stay within 64 bits, however many rows there are.
        range_fields = []
        for field_key in ("start", "stop", "step"):
            range_fields.append(index_entry.get(field_key))
        bounds = (2**62, 2**62, 2**31)
        must(
            range_fields[2]
            and all(
                isinstance(range_field, int) and abs(range_field) < upper_bound
                for range_field, upper_bound in zip(range_fields, bounds, strict=True)
            ),
            f"an index that does not number the rows ({index_entry!r:.100})",
        )
        is_new = isinstance(index_name, str) and index_name not in (
            *formulas,
            *schema.names,
        )
        must(
            is_new,
            "an index that is counted, and stored or counted again "
            f"({index_name!r:.100})",
        )
        formulas[index_name] = (range_fields[0], range_fields[2])
    return formulas
