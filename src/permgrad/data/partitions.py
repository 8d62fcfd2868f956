"""Parquet tables that need not fit in memory, as numbered parts.

The types come from the footers of all files.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pyarrow as pa

from permgrad.base.arrays import Integers
from permgrad.base.checks import check_path, check_whole
from permgrad.base.errors import (
    EnvironmentProblem,
    Fault,
    InputError,
    PermgradError,
    by_count,
    counted,
    did_you_mean,
    listed,
    must,
    refusing,
    shown,
    turned,
    warn_user,
)
from permgrad.base.files import file_hash, why_missing
from permgrad.base.frames import stacked
from permgrad.base.late import pq
from permgrad.base.sequences import values_at
from permgrad.data.read import parquet
from permgrad.data.read.cells import CellError, without_blank_texts
from permgrad.data.read.image_cells import with_image_cells
from permgrad.data.read.parquet import DAMAGE, ColumnLayout
from permgrad.data.read.text_files import PARQUET, SUFFIXES, check_fits

#: Endings of tables in other forms, which whoever lays them beside Parquet files may
#: take for part of the table.
_OTHER_TABLES = (
    ".csv",
    ".tsv",
    ".csv.gz",
    ".tsv.gz",
    ".feather",
    ".arrow",
    ".orc",
    ".jsonl",
    ".xlsx",
)
#: Rows of a part, unless the table is so long that it would have more parts than this.
ROWS_PER_PART = 50_000
MOST_PARTS = 1000
#: Rows that ``read`` decodes at a time, and bytes of a column that are held while it is
#: decoded. Row groups of at most so many bytes are held whole: then a page cannot make
#: Arrow believe that it is larger than the file.
_READ_ROWS = 65_536
_BUFFER_BYTES = 2**18
_HELD_BYTES = 2**23


class MissingFileError(InputError):
    """A file of a table has disappeared. Finished work stays valid if it comes back."""


@dataclass(frozen=True)
class Part:
    """A range of row groups of one file: its number, the file, the range, the number of
    its first row, and its rows.
    """

    number: int
    file: str
    row_group_start: int
    row_group_stop: int
    first_row: int
    rows: int


@dataclass(frozen=True)
class _File:
    """What the footer of one file says: ``keys`` in names of folders, ``formulas`` of
    counted index columns.
    """

    name: str
    digest: str
    bytes: int
    packed_bytes: int
    row_groups: tuple[int, ...]
    keys: tuple[tuple[str, str | None], ...]
    formulas: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class PartitionedTable:
    """A table of Parquet files.

    Small and picklable: it holds what the footers say, and no rows.

    ``schema`` has the types of all columns, over all files. ``null_counts`` the missing
    cells of each (None where a file does not say). ``large`` are columns of whole
    numbers that floats may round. ``keys`` those that stand in the names of folders
    (``year=2024/``), with whether they are whole numbers. ``path`` is as the user gave
    it. ``uneven`` says of columns that differ between files what differs, and the
    remedy: they are no columns of the table.
    """

    root: str
    files: tuple[_File, ...]
    parts: list[Part]
    schema: pa.Schema
    null_counts: dict[str, int | None]
    large: frozenset[str] = frozenset()
    keys: dict[str, bool] = field(default_factory=dict)
    path: str = ""
    uneven: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of rows of the whole table."""
        return sum(table_part.rows for table_part in self.parts)

    @property
    def columns(self) -> list[str]:
        """Names of the columns, as ``read_table`` gives them."""
        return self._layout.shown

    @property
    def bytes(self) -> int:
        """Size of the values once unpacked, as the footers state it."""
        return sum(table_file.bytes for table_file in self.files)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all files' names and contents: two cells that change places leave
        footers as they were.
        """
        hashes = []
        for table_file in self.files:
            with _readable(file_path := Path(self.root, table_file.name)):
                hashes.append([table_file.name, file_hash(file_path)])
        return hashlib.sha256(
            json.dumps(hashes).encode("utf-8", "surrogatepass")
        ).hexdigest()

    @cached_property
    def _by_name(self) -> dict[str, tuple[_File, int]]:
        """Each file by its name, with the number of its first row."""
        starts = np.cumsum(
            [0, *(sum(table_file.row_groups) for table_file in self.files)]
        ).tolist()
        by_name: dict[str, tuple[_File, int]] = {}
        for table_file, start in zip(self.files, starts, strict=False):
            by_name[table_file.name] = (table_file, start)
        return by_name

    @cached_property
    def _layout(self) -> ColumnLayout:
        return ColumnLayout.of(self.schema)

    def read(
        self, table_part: Part, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Return all rows of a part, or some columns of them, numbered from 0, with the
        types of the whole table.
        """
        records = list(self._records(table_part, columns, _READ_ROWS))
        return self._frame(
            pa.Table.from_batches(records), table_part, columns, table_part.first_row
        )

    def batches(
        self, table_part: Part, rows: int, columns: Sequence[str] | None = None
    ) -> Iterator[tuple[int, pd.DataFrame]]:
        """Yield the number of the first row, and at most ``rows`` rows.

        Memory holds one batch, not one part.
        """
        first = table_part.first_row
        records = []
        count = 0
        for record in self._records(table_part, columns, rows):
            # A reader stops at the end of each row group. Small ones are put together
            # again.
            rows_taken = 0
            while rows_taken < len(record):
                record_slice = record.slice(rows_taken, rows - count)
                rows_taken += len(record_slice)
                records.append(record_slice)
                count += len(record_slice)
                if count == rows:
                    yield (
                        first,
                        self._frame(
                            pa.Table.from_batches(records), table_part, columns, first
                        ),
                    )
                    first = first + count
                    records = []
                    count = 0
        if count:
            yield (
                first,
                self._frame(pa.Table.from_batches(records), table_part, columns, first),
            )

    def check_memory(self) -> None:
        """Refuse a table that is too large to be read as a whole and trained on, with
        an ``InputError``.
        """
        check_fits(max(self.bytes, 8 * self.rows * len(self.columns)), self.path)

    def read_all(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the whole table, or some columns, rows numbered from 0.

        ``InputError``: memory cannot hold it.
        """
        self.check_memory()
        return stacked([self.read(table_part, columns) for table_part in self.parts])

    @property
    def nested(self) -> list[str]:
        """Names of the columns whose cells hold several values each, by their types."""
        return [
            column.name for column in self.schema if pa.types.is_nested(column.type)
        ]

    def check_cells(self, columns: Sequence[str], hint: str) -> None:
        """Refuse columns whose cells hold several values each, by their types, before
        any row is read.
        """
        for column_name in columns:
            if column_name in self.nested:
                problem = (
                    "Cells must be numbers, text, booleans or dates, but column "
                    f"{column_name!r} of {self.path!r} holds "
                    f"{self.schema.field(column_name).type}"
                )
                raise InputError(problem, hint=hint, code="PG014")

    def check_even(self, columns: Iterable[str] | None = None, hint: str = "") -> None:
        """Refuse columns that differ between files, of those that a work reads.

        Args:
            columns: The columns that are read. None: all that any file has.
            hint: A further remedy, such as leaving the column out.
        """
        for column_name in self.uneven if columns is None else columns:
            if column_name in self.uneven:
                problem, remedy = self.uneven[column_name]
                raise InputError(problem, hint=hint or remedy, code="PG011")

    def check_columns(self, columns: Sequence[str]) -> None:
        """Refuse names that are not columns of the table, with an ``InputError``."""
        self.check_even(columns)
        for column_name in columns:
            if column_name not in self.columns:
                problem = f"Column {shown(column_name)} not found in {self.path!r}"
                raise InputError(
                    problem,
                    hint=did_you_mean(column_name, self.columns, "Check the name."),
                    code="PG012",
                )

    def where(self, number: int) -> str:
        """Say in which row of which file a row of the table stands, both counted from
        0.
        """
        filled = [
            (table_file, start)
            for table_file, start in self._by_name.values()
            if any(table_file.row_groups)
        ]
        containing_file, start = next(
            file_and_start
            for file_and_start in reversed(filled)
            if file_and_start[1] <= number
        )
        file_path = str(Path(self.root, containing_file.name))
        if start == 0:
            return f"row {number} of {file_path!r}"
        return f"row {number - start} of {file_path!r} (row {number} in all)"

    @contextmanager
    def cells_of(self, numbers: Sequence[int] | Integers) -> Iterator[None]:
        """Let an error about a cell of the rows with these numbers name its file and
        row.
        """
        try:
            yield
        except CellError as error:
            raise error.placed(self.where(int(numbers[error.row]))) from None

    # ---- rows ------------------------------------------------------------------------

    def _records(
        self, table_part: Part, columns: Sequence[str] | None, rows: int
    ) -> Iterator[pa.RecordBatch]:
        """Yield the stored columns that are needed, as they stand in the file."""
        self.check_columns(columns or ())
        inside = []
        for stored_name in self._layout.stored:
            if stored_name not in self.keys:
                inside.append(stored_name)
        # Columns that stand in names of folders alone: one that is stored says how many
        # rows there are.
        if columns is None:
            stored = inside
        else:
            stored = [
                column_name for column_name in columns if column_name in set(inside)
            ] or inside[:1]
        file_path = Path(self.root, table_part.file)
        groups = range(table_part.row_group_start, table_part.row_group_stop)
        described, _ = self._by_name[table_part.file]
        if described.packed_bytes <= _HELD_BYTES:
            buffer = 0
        else:
            buffer = _BUFFER_BYTES
        with (
            _readable(file_path),
            pq.ParquetFile(
                file_path, buffer_size=buffer, pre_buffer=False
            ) as parquet_file,
        ):
            if _footer_digest(file_path) != described.digest:
                raise InputError(
                    f"{str(file_path)!r} changed while the table was read",
                    hint="Start again.",
                    code="PG011",
                )
            rows_read = 0
            for record in parquet_file.iter_batches(
                batch_size=rows,
                row_groups=list(groups),
                columns=stored,
                use_threads=False,
            ):
                rows_read += len(record)
                yield record
            must(
                rows_read == table_part.rows,
                f"{rows_read} rows where the footer says {table_part.rows}",
            )

    @cached_property
    def _types(self) -> tuple[dict[str, pa.Field], set[str]]:
        """Stored columns as read, and those of whole numbers that stay exact beside
        missing cells: a float rounds.
        """
        fields = {column.name: column for column in self.schema}
        exact = set()
        for field_name, column in fields.items():
            if (
                pa.types.is_integer(column.type)
                and field_name not in self._layout.nullable
                and self.null_counts.get(field_name, 0) != 0
            ):
                if field_name in self.large:
                    exact.add(field_name)
                else:
                    fields[field_name] = column.with_type(pa.float64())
        return fields, exact

    def _frame(
        self,
        table: pa.Table,
        table_part: Part,
        columns: Sequence[str] | None,
        first: int,
    ) -> pd.DataFrame:
        """Turn stored columns into a frame with the types of the whole table.

        ``first`` is the first row's number.
        """
        layout, (fields, exact) = self._layout, self._types
        names = table.column_names
        with _readable(Path(self.root, table_part.file)):
            parquet.check_texts(table)
            stored = pa.schema(values_at(fields, names), metadata=layout.metadata)
            frame = table.cast(stored, safe=False).to_pandas(ignore_metadata=False)
        frame.columns = pd.Index(names, dtype=object)
        replaced_columns: dict[str, Any] = {}
        if large := [exact_name for exact_name in names if exact_name in exact]:
            schema = pa.schema(list(map(self.schema.field, large)))
            replaced_columns |= parquet.exact_columns(table.select(large).cast(schema))
        booleans = []
        for boolean_name in names:
            if (
                frame[boolean_name].dtype == bool
                and self.null_counts.get(boolean_name, 0) != 0
            ):
                booleans.append(boolean_name)
        replaced_columns |= {
            boolean_name: frame[boolean_name].astype(object)
            for boolean_name in booleans
        }
        if columns is None:
            requested_columns = self.columns
        else:
            requested_columns = list(columns)
        part_file, file_start = self._by_name[table_part.file]
        for key_name, value in part_file.keys:
            if key_name in requested_columns:
                if self.keys[key_name] and value is not None:
                    replaced_columns[key_name] = int(value)
                else:
                    replaced_columns[key_name] = value
        for formula_name, (begin, index_step) in part_file.formulas.items():
            if formula_name in requested_columns:
                start = begin + (first - file_start) * index_step
                replaced_columns[formula_name] = range(
                    start, start + table.num_rows * index_step, index_step
                )
        frame = frame.assign(**replaced_columns)[requested_columns]
        frame = without_blank_texts(frame.reset_index(drop=True))
        return with_image_cells(frame, Path(self.path).parent)


# ---- opening -------------------------------------------------------------------------


def is_partitioned(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder, or a file that is Parquet by its name or content."""
    table_path = Path(path)
    if table_path.is_dir() or table_path.suffix.lower() in SUFFIXES:
        return True
    try:
        with table_path.open("rb") as stream:
            return stream.read(4) == PARQUET
    except OSError:
        return False


def open_partitioned(
    path: str | os.PathLike[str], *, rows_per_part: int | None = None
) -> PartitionedTable:
    """Read the footers of a Parquet file, or of all Parquet files in a folder, and cut
    the table into parts.

    Files are sorted by name. Those in folders named ``column=value`` get that column.
    Neighbouring row groups of a file are put together up to ``rows_per_part`` (None:
    50,000, or a thousandth of a very long table).
    """
    if rows_per_part is not None:
        rows_per_part = check_whole(
            "rows_per_part", rows_per_part, "pass for example 50_000"
        )
    root, paths = _find(
        check_path("path", path, "pass a Parquet file or a folder of them")
    )
    files, schemas, nulls, large = zip(
        *(_read_footer(file_path, root) for file_path in paths), strict=True
    )
    schema, uneven = _common_schema(files, schemas)
    folder_keys = _keys(files)
    if duplicate_keys := [
        key_name for key_name in folder_keys if key_name in schema.names
    ]:
        problem = (
            f"Column {duplicate_keys[0]!r} is both in the names of folders and "
            f"in {str(path)!r}"
        )
        raise InputError(problem, hint="Rename one of them.", code="PG008")
    row_count = sum(sum(table_file.row_groups) for table_file in files)
    if row_count == 0:
        raise InputError(
            f"{str(path)!r} has no rows", hint="Check how it was written.", code="PG013"
        )
    table_parts = list(
        _cut(files, rows_per_part or max(ROWS_PER_PART, -(-row_count // MOST_PARTS)))
    )
    null_counts = {}
    for column_name in schema.names:
        null_counts[column_name] = parquet.total(
            [counts.get(column_name, 0) for counts in nulls]
        )
    for key_column, number in folder_keys.items():
        schema = schema.append(
            pa.field(key_column, pa.int64() if number else pa.string())
        )
    all_large = frozenset[str]().union(*large)
    table = PartitionedTable(
        str(root),
        files,
        table_parts,
        schema,
        null_counts,
        all_large,
        folder_keys,
        os.fspath(path),
        uneven,
    )
    # Labels of rows that differ leave no common one.
    table.check_even(
        index_name
        for file_schema in schemas
        for index_name in parquet.index_names(file_schema)
    )
    if not table.columns:
        table.check_even()
    _check_names(table.columns, table.path)
    return table


def _find(table_path: Path) -> tuple[Path, list[Path]]:
    """Return the folder of the files, and the files sorted by name."""
    if not table_path.exists():
        raise InputError(
            f"{str(table_path)!r} {why_missing(table_path)}",
            hint="Check the path.",
            code="PG010",
        )
    if table_path.is_file():
        if not is_partitioned(table_path):
            problem = (
                "A table that is read in parts must be Parquet, but "
                f"{str(table_path)!r} is not"
            )
            format_hint = (
                "Write it as Parquet, or read it into memory with permgrad.read_table."
            )
            raise InputError(problem, hint=format_hint, code="PG011")
        return table_path.parent, [table_path]
    data_files = []
    for data_file in table_path.rglob("*"):
        if (
            data_file.name.lower().endswith((*SUFFIXES, *_OTHER_TABLES))
            and data_file.is_file()
            and not any(
                path_step.startswith((".", "_"))
                for path_step in data_file.relative_to(table_path).parts
            )
        ):
            data_files.append(data_file)
    tables = []
    for data_file in data_files:
        if data_file.suffix.lower() in SUFFIXES:
            tables.append(data_file)
    if tables and len(tables) < len(data_files):
        left_out = sorted(
            data_file.relative_to(table_path).as_posix()
            for data_file in data_files
            if data_file.suffix.lower() not in SUFFIXES
        )
        warn_user(
            f"Folder {str(table_path)!r} also holds "
            f"{counted(len(left_out), 'other data file')} ({listed(left_out, 3)}), "
            f"which {by_count(len(left_out), 'is', 'are')} left out: only its Parquet "
            "files are read",
            "Write them as Parquet, or move them away.",
        )
    if not tables:
        problem = (
            f"Folder {str(table_path)!r} holds no file that ends in "
            f"{' or '.join(SUFFIXES)}"
        )
        raise InputError(
            problem, hint="Name the folder that holds the Parquet files.", code="PG010"
        )
    return table_path, sorted(
        tables, key=lambda file: file.relative_to(table_path).as_posix()
    )


def _readable(path: Path) -> AbstractContextManager[None]:
    """Turn what can go wrong while a Parquet file is read into permgrad's errors."""

    def said(error: Exception) -> PermgradError:
        if isinstance(error, FileNotFoundError):
            return MissingFileError(
                f"{str(path)!r} disappeared while the table was read",
                "Bring it back.",
                "PG010",
            )
        if isinstance(error, PermissionError):
            problem = f"Cannot read {str(path)!r}: {error.strerror}"
            return EnvironmentProblem(
                problem, hint="Check its permissions.", code="PG062"
            )
        return InputError(
            f"{str(path)!r} is cut off, damaged or no Parquet file",
            "Write it again.",
            "PG011",
        )

    return turned(said, pa.ArrowException, OSError, struct.error, *DAMAGE)


def _footer_digest(path: Path) -> str:
    """Return the hash of a file's footer: schema, sizes, places and statistics of all
    its row groups.
    """
    with path.open("rb") as stream:
        file_size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, file_size - 8))
        (length,) = struct.unpack("<I", stream.read(8)[:4])
        stream.seek(max(0, file_size - 8 - length))
        return hashlib.sha256(stream.read()).hexdigest()


class _Footer(NamedTuple):
    """What a footer says.

    Attributes:
        file: The file.
        schema: Its columns.
        nulls: Missing cells by column. None: unknown.
        large: Columns of large numbers.
    """

    file: _File
    schema: pa.Schema
    nulls: dict[str, int | None]
    large: set[str]


def _read_footer(path: Path, root: Path) -> _Footer:
    """Return what a footer says: the file, its schema, missing cells by column, and
    columns of large numbers.
    """
    with _readable(path):
        digest = _footer_digest(path)
        with path.open("rb") as stream:
            metadata, schema = parquet.read_footer(stream)
        _check_names(schema.names, str(path))
        ColumnLayout.of(schema)  # refuses notes that are not as pandas writes them
        nulls, large, packed_bytes = parquet.footer_facts(metadata, schema)
        file_name = path.relative_to(root).as_posix()
        pairs = []
        for path_step in file_name.split("/")[:-1]:
            if "=" in path_step:
                pairs.append(path_step.partition("="))
        folder_keys = tuple(
            (
                key_name,
                None if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value),
            )
            for key_name, _, value in pairs
        )
        groups = list(map(metadata.row_group, range(metadata.num_row_groups)))
        unpacked_bytes = sum(group.total_byte_size for group in groups)
        group_rows = tuple(group.num_rows for group in groups)
        return _Footer(
            _File(
                file_name,
                digest,
                unpacked_bytes,
                packed_bytes,
                group_rows,
                folder_keys,
                parquet.index_formulas(schema),
            ),
            schema,
            nulls,
            large,
        )


def _keys(files: Sequence[_File]) -> dict[str, bool]:
    """Return the columns that stand in names of folders, with whether all their values
    are whole numbers.
    """
    values: dict[str, list[str | None]] = {}
    for key_name, _ in files[0].keys:
        values[key_name] = []
    for table_file in files:
        file_keys = dict(table_file.keys)
        if list(file_keys) != list(values):
            problem = (
                "All files of a table must have the same columns in the names of their "
                f"folders, but {files[0].name!r} has {list(values)} and "
                f"{table_file.name!r} has {list(file_keys)}"
            )
            raise InputError(problem, hint="Move the files that differ.", code="PG011")
        for file_key, value in file_keys.items():
            values[file_key].append(value)
    keys: dict[str, bool] = {}
    for key_column, column in values.items():
        keys[key_column] = all(
            value is not None
            and value.lstrip("-").isdecimal()
            and str(int(value)) == value
            for value in column
        )
    return keys


def _common_schema(
    files: Sequence[_File], schemas: Sequence[pa.Schema]
) -> tuple[pa.Schema, dict[str, tuple[str, str]]]:
    """Return types that hold the values of all files, and what differs between files.

    What differs is a column that some files lack, or that has another kind in some: its
    problem and the remedy stand under its name.
    """
    # A file without rows says nothing about types. Writers often give it others.
    telling = []
    for file_and_schema in zip(files, schemas, strict=True):
        if any(file_and_schema[0].row_groups):
            telling.append(file_and_schema)
    telling = telling or list(zip(files, schemas, strict=True))
    first, common = telling[0]
    expected = {*common.names, *parquet.index_formulas(common)}
    uneven: dict[str, tuple[str, str]] = {}
    for table_file, schema in telling:
        columns = {*schema.names, *parquet.index_formulas(schema)}
        for column_name in sorted(columns ^ expected):
            without, having = (
                (first, table_file) if column_name in columns else (table_file, first)
            )
            problem = (
                f"All files of a table must have the same columns, but {having.name!r} "
                f"has column {column_name!r} and {without.name!r} does not"
            )
            uneven.setdefault(
                column_name, (problem, "Add it, or move the files that differ.")
            )
        for column_name in sorted(
            (set(schema.names) ^ set(common.names)) & columns & expected
        ):
            stored, index = (
                (table_file, first)
                if column_name in schema.names
                else (first, table_file)
            )
            problem = (
                f"{column_name!r} is a column in {stored.name!r} "
                f"and a counted index in {index.name!r}"
            )
            uneven.setdefault(
                column_name, (problem, "Write the files that differ again.")
            )
        for column_name in set(schema.names) & set(common.names):
            column_type = schema.field(column_name).type
            so_far = common.field(column_name).type
            if column_type == so_far:
                wider = so_far
            else:
                wider = _wider(so_far, column_type)
            if wider is None:
                problem = (
                    f"Column {column_name!r} is {so_far} in {first.name!r} "
                    f"but {column_type} in {table_file.name!r}"
                )
                uneven.setdefault(
                    column_name, (problem, "Write the files that differ again.")
                )
            else:
                column_index = common.get_field_index(column_name)
                common = common.set(
                    column_index, common.field(column_name).with_type(wider)
                )
    even_fields = [field for field in common if field.name not in uneven]
    return pa.schema(even_fields, metadata=common.metadata), uneven


def _wider(first_type: pa.DataType, second_type: pa.DataType) -> pa.DataType | None:
    """Return a type for both: longer numbers, plain text for text in other codings.

    None where they do not fit.
    """
    plain = []
    for data_type in (first_type, second_type):
        if pa.types.is_dictionary(data_type):
            plain.append(data_type.value_type)
        else:
            plain.append(data_type)
    schemas = [pa.schema({"x": data_type}) for data_type in plain]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field("x").type
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return None


@refusing
def _check_names(names: Sequence[str], path: str) -> Iterator[Fault]:
    if not names:
        yield f"{path!r} has no columns", "Write it again.", "PG011"
    if len(set(names)) < len(names):
        (repeated, _), *_ = Counter(names).most_common(1)
        problem = (
            f"Column names must be unique, but {repeated!r} is in {path!r} more "
            "than once"
        )
        yield problem, "Rename the copies.", "PG008"


def _cut(files: Sequence[_File], rows_per_part: int) -> Iterator[Part]:
    number = 0
    first_row = 0
    for table_file in files:
        start = 0
        count = 0
        for index, group_rows in enumerate((*table_file.row_groups, rows_per_part)):
            if count and count + group_rows > rows_per_part:
                yield Part(number, table_file.name, start, index, first_row, count)
                number = number + 1
                first_row = first_row + count
                start = index
                count = 0
            count += group_rows
