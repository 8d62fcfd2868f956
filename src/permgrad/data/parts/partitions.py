"""Parquet tables that need not fit in memory, as numbered parts. The types come from the footers of all files."""

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
from typing import Any
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
from permgrad.data.read import parquet
from permgrad.data.read.cells import CellError
from permgrad.data.read.image_cells import with_image_cells
from permgrad.data.read.parquet import DAMAGE, ColumnLayout
from permgrad.data.read.text_files import PARQUET, SUFFIXES, check_fits

#: Endings of tables in other forms, which whoever lays them beside Parquet files may take for part of the table.
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
ROWS_PER_PART, MOST_PARTS = 50_000, 1000
#: Rows that ``read`` decodes at a time, and bytes of a column that are held while it is decoded. Row groups of at most
#: so many bytes are held whole: then a page cannot make Arrow believe that it is larger than the file.
_READ_ROWS, _BUFFER_BYTES, _HELD_BYTES = 65_536, 2**18, 2**23


class MissingFileError(InputError):
    """A file of a table has disappeared. Finished work stays valid if it comes back."""


@dataclass(frozen=True)
class Part:
    """A range of row groups of one file: its number, the file, the range, the number of its first row, and its rows."""

    number: int
    file: str
    row_group_start: int
    row_group_stop: int
    first_row: int
    rows: int


@dataclass(frozen=True)
class _File:
    """What the footer of one file says: ``keys`` in names of folders, ``formulas`` of counted index columns."""

    name: str
    digest: str
    bytes: int
    packed_bytes: int
    row_groups: tuple[int, ...]
    keys: tuple[tuple[str, str | None], ...]
    formulas: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class PartitionedTable:
    """A table of Parquet files. Small and picklable: it holds what the footers say, and no rows.

    ``schema`` has the types of all columns, over all files. ``null_counts`` the missing cells of each (None where a
    file does not say). ``large`` are columns of whole numbers that floats may round. ``keys`` those that stand in the
    names of folders (``year=2024/``), with whether they are whole numbers. ``path`` is as the user gave it.
    ``uneven`` says of columns that differ between files what differs, and the remedy:
    they are no columns of the table.
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
        return sum(part.rows for part in self.parts)

    @property
    def columns(self) -> list[str]:
        """Names of the columns, as ``read_table`` gives them."""
        return self._layout.shown

    @property
    def bytes(self) -> int:
        """Size of the values once unpacked, as the footers state it."""
        return sum(file.bytes for file in self.files)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all files' names and contents: two cells that change places leave footers as they were."""
        hashes = []
        for file in self.files:
            with _readable(path := Path(self.root, file.name)):
                hashes.append([file.name, file_hash(path)])
        return hashlib.sha256(
            json.dumps(hashes).encode("utf-8", "surrogatepass")
        ).hexdigest()

    @cached_property
    def _by_name(self) -> dict[str, tuple[_File, int]]:
        """Each file by its name, with the number of its first row."""
        starts = np.cumsum([0, *(sum(file.row_groups) for file in self.files)]).tolist()
        return {
            file.name: (file, start)
            for file, start in zip(self.files, starts, strict=False)
        }

    @cached_property
    def _layout(self) -> ColumnLayout:
        return ColumnLayout.of(self.schema)

    def read(self, part: Part, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return all rows of a part, or some columns of them, numbered from 0, with the types of the whole table."""
        records = list(self._records(part, columns, _READ_ROWS))
        return self._frame(
            pa.Table.from_batches(records), part, columns, part.first_row
        )

    def batches(
        self, part: Part, rows: int, columns: Sequence[str] | None = None
    ) -> Iterator[tuple[int, pd.DataFrame]]:
        """Yield the number of the first row, and at most ``rows`` rows. Memory holds one batch, not one part."""
        first, records, count = part.first_row, [], 0
        for record in self._records(part, columns, rows):
            # A reader stops at the end of each row group. Small ones are put together again.
            done = 0
            while done < len(record):
                taken = record.slice(done, rows - count)
                done += len(taken)
                records.append(taken)
                count += len(taken)
                if count == rows:
                    yield (
                        first,
                        self._frame(
                            pa.Table.from_batches(records), part, columns, first
                        ),
                    )
                    first, records, count = first + count, [], 0
        if count:
            yield (
                first,
                self._frame(pa.Table.from_batches(records), part, columns, first),
            )

    def check_memory(self) -> None:
        """Refuse a table that is too large to be read as a whole and trained on, with an ``InputError``."""
        check_fits(max(self.bytes, 8 * self.rows * len(self.columns)), self.path)

    def read_all(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the whole table, or some columns, rows numbered from 0. ``InputError``: memory cannot hold it."""
        self.check_memory()
        return stacked([self.read(part, columns) for part in self.parts])

    @property
    def nested(self) -> list[str]:
        """Names of the columns whose cells hold several values each, by their types."""
        return [
            column.name for column in self.schema if pa.types.is_nested(column.type)
        ]

    def check_cells(self, columns: Sequence[str], hint: str) -> None:
        """Refuse columns whose cells hold several values each, by their types, before any row is read."""
        for name in columns:
            if name in self.nested:
                problem = (
                    f"Cells must be numbers, text, booleans or dates, but column {name!r} of {self.path!r} holds "
                    f"{self.schema.field(name).type}"
                )
                raise InputError(problem, hint=hint, code="PG014")

    def check_even(self, columns: Iterable[str] | None = None, hint: str = "") -> None:
        """Refuse columns that differ between files, of those that a work reads.

        Args:
            columns: The columns that are read. None: all that any file has.
            hint: A further remedy, such as leaving the column out.
        """
        for name in self.uneven if columns is None else columns:
            if name in self.uneven:
                problem, remedy = self.uneven[name]
                raise InputError(problem, hint=hint or remedy, code="PG011")

    def check_columns(self, columns: Sequence[str]) -> None:
        """Refuse names that are not columns of the table, with an ``InputError``."""
        self.check_even(columns)
        for name in columns:
            if name not in self.columns:
                problem = f"Column {shown(name)} not found in {self.path!r}"
                raise InputError(
                    problem,
                    hint=did_you_mean(name, self.columns, "Check the name."),
                    code="PG012",
                )

    def where(self, number: int) -> str:
        """Say in which row of which file a row of the table stands, both counted from 0."""
        filled = [
            (file, start)
            for file, start in self._by_name.values()
            if any(file.row_groups)
        ]
        file, start = next(pair for pair in reversed(filled) if pair[1] <= number)
        path = str(Path(self.root, file.name))
        return (
            f"row {number} of {path!r}"
            if start == 0
            else f"row {number - start} of {path!r} (row {number} in all)"
        )

    @contextmanager
    def cells_of(self, numbers: Sequence[int] | Integers) -> Iterator[None]:
        """Let an error about a cell of the rows with these numbers name its file and row."""
        try:
            yield
        except CellError as error:
            raise error.placed(self.where(int(numbers[error.row]))) from None

    # ---- rows --------------------------------------------------------------------------------------------------------

    def _records(
        self, part: Part, columns: Sequence[str] | None, rows: int
    ) -> Iterator[pa.RecordBatch]:
        """Yield the stored columns that are needed, as they stand in the file."""
        self.check_columns(columns or ())
        inside = [name for name in self._layout.stored if name not in self.keys]
        # Columns that stand in names of folders alone: one that is stored says how many rows there are.
        stored = (
            inside
            if columns is None
            else [name for name in columns if name in set(inside)] or inside[:1]
        )
        path, groups = (
            Path(self.root, part.file),
            range(part.row_group_start, part.row_group_stop),
        )
        described, _ = self._by_name[part.file]
        buffer = 0 if described.packed_bytes <= _HELD_BYTES else _BUFFER_BYTES
        with (
            _readable(path),
            pq.ParquetFile(path, buffer_size=buffer, pre_buffer=False) as file,
        ):
            if _footer_digest(path) != described.digest:
                raise InputError(
                    f"{str(path)!r} changed while the table was read",
                    hint="Start again.",
                    code="PG011",
                )
            rows_read = 0
            for record in file.iter_batches(
                batch_size=rows,
                row_groups=list(groups),
                columns=stored,
                use_threads=False,
            ):
                rows_read += len(record)
                yield record
            must(
                rows_read == part.rows,
                f"{rows_read} rows where the footer says {part.rows}",
            )

    @cached_property
    def _types(self) -> tuple[dict[str, pa.Field], set[str]]:
        """Stored columns as read, and those of whole numbers that stay exact beside missing cells: a float rounds."""
        fields, exact = {column.name: column for column in self.schema}, set()
        for name, column in fields.items():
            if (
                pa.types.is_integer(column.type)
                and name not in self._layout.nullable
                and self.null_counts.get(name, 0) != 0
            ):
                if name in self.large:
                    exact.add(name)
                else:
                    fields[name] = column.with_type(pa.float64())
        return fields, exact

    def _frame(
        self, table: pa.Table, part: Part, columns: Sequence[str] | None, first: int
    ) -> pd.DataFrame:
        """Turn stored columns into a frame with the types of the whole table. ``first`` is the first row's number."""
        layout, (fields, exact) = self._layout, self._types
        names = table.column_names
        with _readable(Path(self.root, part.file)):
            parquet.check_texts(table)
            stored = pa.schema(
                [fields[name] for name in names], metadata=layout.metadata
            )
            frame = table.cast(stored, safe=False).to_pandas(ignore_metadata=False)
        frame.columns = pd.Index(names, dtype=object)
        made: dict[str, Any] = {}
        if large := [name for name in names if name in exact]:
            schema = pa.schema([self.schema.field(name) for name in large])
            made |= parquet.exact_columns(table.select(large).cast(schema))
        booleans = [
            name
            for name in names
            if frame[name].dtype == bool and self.null_counts.get(name, 0) != 0
        ]
        made |= {name: frame[name].astype(object) for name in booleans}
        wanted = self.columns if columns is None else list(columns)
        file, file_start = self._by_name[part.file]
        for name, value in file.keys:
            if name in wanted:
                made[name] = (
                    int(value) if self.keys[name] and value is not None else value
                )
        for name, (begin, step) in file.formulas.items():
            if name in wanted:
                start = begin + (first - file_start) * step
                made[name] = range(start, start + table.num_rows * step, step)
        return with_image_cells(
            frame.assign(**made)[wanted].reset_index(drop=True), Path(self.path).parent
        )


# ---- opening ---------------------------------------------------------------------------------------------------------


def is_partitioned(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder, or a file that is Parquet by its name or content."""
    place = Path(path)
    if place.is_dir() or place.suffix.lower() in SUFFIXES:
        return True
    try:
        with place.open("rb") as stream:
            return stream.read(4) == PARQUET
    except OSError:
        return False


def open_partitioned(
    path: str | os.PathLike[str], *, rows_per_part: int | None = None
) -> PartitionedTable:
    """Read the footers of a Parquet file, or of all Parquet files in a folder, and cut the table into parts.

    Files are sorted by name. Those in folders named ``column=value`` get that column. Neighbouring row groups of a file
    are put together up to ``rows_per_part`` (None: 50,000, or a thousandth of a very long table).
    """
    if rows_per_part is not None:
        rows_per_part = check_whole(
            "rows_per_part", rows_per_part, "pass for example 50_000"
        )
    root, paths = _find(
        check_path("path", path, "pass a Parquet file or a folder of them")
    )
    files, schemas, nulls, large = zip(
        *(_read_footer(one, root) for one in paths), strict=True
    )
    schema, uneven = _common_schema(files, schemas)
    keys = _keys(files)
    if taken := [name for name in keys if name in schema.names]:
        problem = (
            f"Column {taken[0]!r} is both in the names of folders and in {str(path)!r}"
        )
        raise InputError(problem, hint="Rename one of them.", code="PG008")
    rows = sum(sum(file.row_groups) for file in files)
    if rows == 0:
        raise InputError(
            f"{str(path)!r} has no rows", hint="Check how it was written.", code="PG013"
        )
    parts = list(
        _cut(files, rows_per_part or max(ROWS_PER_PART, -(-rows // MOST_PARTS)))
    )
    null_counts = {
        name: parquet.total([counts.get(name, 0) for counts in nulls])
        for name in schema.names
    }
    for name, number in keys.items():
        schema = schema.append(pa.field(name, pa.int64() if number else pa.string()))
    all_large = frozenset[str]().union(*large)
    table = PartitionedTable(
        str(root),
        files,
        parts,
        schema,
        null_counts,
        all_large,
        keys,
        os.fspath(path),
        uneven,
    )
    # Labels of rows that differ leave no common one.
    table.check_even(name for one in schemas for name in parquet.index_names(one))
    if not table.columns:
        table.check_even()
    _check_names(table.columns, table.path)
    return table


def _find(place: Path) -> tuple[Path, list[Path]]:
    """Return the folder of the files, and the files sorted by name."""
    if not place.exists():
        raise InputError(
            f"{str(place)!r} {why_missing(place)}", hint="Check the path.", code="PG010"
        )
    if place.is_file():
        if not is_partitioned(place):
            problem = f"A table that is read in parts must be Parquet, but {str(place)!r} is not"
            hint = (
                "Write it as Parquet, or read it into memory with permgrad.read_table."
            )
            raise InputError(problem, hint=hint, code="PG011")
        return place.parent, [place]
    seen = [
        file
        for file in place.rglob("*")
        if file.name.lower().endswith((*SUFFIXES, *_OTHER_TABLES))
        and file.is_file()
        and not any(
            step.startswith((".", "_")) for step in file.relative_to(place).parts
        )
    ]
    tables = [file for file in seen if file.suffix.lower() in SUFFIXES]
    if tables and len(tables) < len(seen):
        left_out = sorted(
            file.relative_to(place).as_posix()
            for file in seen
            if file.suffix.lower() not in SUFFIXES
        )
        warn_user(
            f"Folder {str(place)!r} also holds {counted(len(left_out), 'other data file')} "
            f"({listed(left_out, 3)}), "
            f"which {by_count(len(left_out), 'is', 'are')} left out: only its Parquet files are read",
            "Write them as Parquet, or move them away.",
        )
    if not tables:
        problem = (
            f"Folder {str(place)!r} holds no file that ends in {' or '.join(SUFFIXES)}"
        )
        raise InputError(
            problem, hint="Name the folder that holds the Parquet files.", code="PG010"
        )
    return place, sorted(tables, key=lambda file: file.relative_to(place).as_posix())


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
    """Return the hash of a file's footer: schema, sizes, places and statistics of all its row groups."""
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - 8))
        (length,) = struct.unpack("<I", stream.read(8)[:4])
        stream.seek(max(0, size - 8 - length))
        return hashlib.sha256(stream.read()).hexdigest()


def _read_footer(
    path: Path, root: Path
) -> tuple[_File, pa.Schema, dict[str, int | None], set[str]]:
    """Return what a footer says: the file, its schema, missing cells by column, and columns of large numbers."""
    with _readable(path):
        digest = _footer_digest(path)
        with path.open("rb") as stream:
            metadata, schema = parquet.read_footer(stream)
        _check_names(schema.names, str(path))
        ColumnLayout.of(schema)  # refuses notes that are not as pandas writes them
        nulls, large, packed_bytes = parquet.footer_facts(metadata, schema)
        name = path.relative_to(root).as_posix()
        pairs = [step.partition("=") for step in name.split("/")[:-1] if "=" in step]
        keys = tuple(
            (key, None if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value))
            for key, _, value in pairs
        )
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
        size, rows = (
            sum(group.total_byte_size for group in groups),
            tuple(group.num_rows for group in groups),
        )
        return (
            _File(
                name,
                digest,
                size,
                packed_bytes,
                rows,
                keys,
                parquet.index_formulas(schema),
            ),
            schema,
            nulls,
            large,
        )


def _keys(files: Sequence[_File]) -> dict[str, bool]:
    """Return the columns that stand in names of folders, with whether all their values are whole numbers."""
    values: dict[str, list[str | None]] = {name: [] for name, _ in files[0].keys}
    for file in files:
        keys = dict(file.keys)
        if list(keys) != list(values):
            problem = (
                "All files of a table must have the same columns in the names of their folders, but "
                f"{files[0].name!r} has {list(values)} and {file.name!r} has {list(keys)}"
            )
            raise InputError(problem, hint="Move the files that differ.", code="PG011")
        for name, value in keys.items():
            values[name].append(value)
    return {
        name: all(
            value is not None
            and value.lstrip("-").isdecimal()
            and str(int(value)) == value
            for value in column
        )
        for name, column in values.items()
    }


def _common_schema(
    files: Sequence[_File], schemas: Sequence[pa.Schema]
) -> tuple[pa.Schema, dict[str, tuple[str, str]]]:
    """Return types that hold the values of all files, and what differs between files.

    What differs is a column that some files lack, or that has another kind in some: its
    problem and the remedy stand under its name.
    """
    # A file without rows says nothing about types. Writers often give it others.
    telling = [
        pair for pair in zip(files, schemas, strict=True) if any(pair[0].row_groups)
    ]
    telling = telling or list(zip(files, schemas, strict=True))
    first, common = telling[0]
    expected = {*common.names, *parquet.index_formulas(common)}
    uneven: dict[str, tuple[str, str]] = {}
    for file, schema in telling:
        columns = {*schema.names, *parquet.index_formulas(schema)}
        for name in sorted(columns ^ expected):
            without, having = (first, file) if name in columns else (file, first)
            problem = (
                f"All files of a table must have the same columns, but {having.name!r} "
                f"has column {name!r} and {without.name!r} does not"
            )
            uneven.setdefault(name, (problem, "Add it, or move the files that differ."))
        for name in sorted(
            (set(schema.names) ^ set(common.names)) & columns & expected
        ):
            stored, index = (file, first) if name in schema.names else (first, file)
            problem = (
                f"{name!r} is a column in {stored.name!r} "
                f"and a counted index in {index.name!r}"
            )
            uneven.setdefault(name, (problem, "Write the files that differ again."))
        for name in set(schema.names) & set(common.names):
            kind, so_far = schema.field(name).type, common.field(name).type
            wider = so_far if kind == so_far else _wider(so_far, kind)
            if wider is None:
                problem = (
                    f"Column {name!r} is {so_far} in {first.name!r} "
                    f"but {kind} in {file.name!r}"
                )
                uneven.setdefault(name, (problem, "Write the files that differ again."))
            else:
                place = common.get_field_index(name)
                common = common.set(place, common.field(name).with_type(wider))
    even = [field for field in common if field.name not in uneven]
    return pa.schema(even, metadata=common.metadata), uneven


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return a type for both: longer numbers, plain text for text in other codings. None where they do not fit."""
    plain = [
        kind.value_type if pa.types.is_dictionary(kind) else kind
        for kind in (one, other)
    ]
    schemas = [pa.schema({"x": kind}) for kind in plain]
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
        problem = f"Column names must be unique, but {repeated!r} is in {path!r} more than once"
        yield problem, "Rename the copies.", "PG008"


def _cut(files: Sequence[_File], rows_per_part: int) -> Iterator[Part]:
    number, first_row = 0, 0
    for file in files:
        start, count = 0, 0
        for index, rows in enumerate((*file.row_groups, rows_per_part)):
            if count and count + rows > rows_per_part:
                yield Part(number, file.name, start, index, first_row, count)
                number, first_row, start, count = (
                    number + 1,
                    first_row + count,
                    index,
                    0,
                )
            count += rows
