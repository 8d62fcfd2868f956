"""What the footer of a Parquet file says of its columns, before any row is read."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from permgrad.data.read.parquet_columns import cell_notes
from permgrad.data.read.whole_numbers import FIRST_INEXACT

#: What a Parquet file leads to whose notes are not as pandas writes them.
DAMAGE = (
    ValueError, KeyError, TypeError, IndexError, AttributeError, NotImplementedError, OverflowError,
    SyntaxError, RecursionError,  # names of columns that are said to be tuples are parsed, not run
)  # fmt: skip
#: With a buffer of any size Arrow looks at all columns of a row group before it reads one.
_BUFFER_BYTES = 4096


class _EnoughError(Exception):
    """Arrow is done with the footer, and begins to read columns."""


class _Guarded(io.RawIOBase):
    """A file that can be read until it is closed to readers."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self.is_enough = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def read(self, size: int = -1) -> bytes:
        if self.is_enough:
            raise _EnoughError
        return self._stream.read(size)


def read_footer(stream: BinaryIO) -> tuple[pq.FileMetaData, pa.Schema]:
    """Read a file's footer, of which Arrow then gives each column's facts; the stream stays open.

    Of a column whose facts contradict each other Python cannot ask: Arrow's exception ends the process. What reads the
    column refuses it in good order, so that it is let look at all columns, and stopped before it reads one.
    """
    guarded = _Guarded(stream)
    # Read by this thread and no other, which could still be at it when the process ends.
    file = pq.ParquetFile(guarded, pre_buffer=False, buffer_size=_BUFFER_BYTES)
    metadata, schema = file.metadata, file.schema_arrow
    guarded.is_enough = True
    # Without any column Arrow would make an empty batch for each row that the footer says there is.
    for group in range(metadata.num_row_groups if metadata.num_columns else 0):
        with contextlib.suppress(_EnoughError):
            next(file.iter_batches(batch_size=1, row_groups=[group], use_threads=False), None)
    return metadata, schema


def read_whole(content: bytes) -> pa.Table:
    """Return the table of a file that is in memory; Arrow's errors say that it is damaged.

    Read by this thread alone: others can still hold the bytes when the process ends over an error, and would end it
    with a signal.
    """
    metadata, _ = read_footer(io.BytesIO(content))
    for _ in _row_groups(metadata):
        pass
    file = pq.ParquetFile(pa.BufferReader(content), metadata=metadata)
    table = file.read(use_threads=False, use_pandas_metadata=True)
    return table.replace_schema_metadata(cell_notes(table.schema))


@dataclass(frozen=True)
class FooterFacts:
    """What a footer says: missing cells by column (None: unknown), columns of large numbers, bytes of a row group."""

    null_counts: dict[str, int | None]
    large: frozenset[str]
    packed_bytes: int

    @classmethod
    def of(cls, footer: pq.FileMetaData, schema: pa.Schema) -> FooterFacts:
        """Read a footer; ``ValueError``: a row group's types are not those of the schema."""
        wide = {field.name for field in schema if pa.types.is_int64(field.type) or pa.types.is_uint64(field.type)}
        nulls: dict[str, int | None] = dict.fromkeys(schema.names, 0)
        large, all_rows, packed_bytes = set[str](), 0, 0
        for rows, columns in _row_groups(footer):
            all_rows += rows
            packed_bytes = max(packed_bytes, sum(column.total_compressed_size for column in columns))
            for column in columns if rows else ():
                name, statistics = column.path_in_schema, column.statistics
                if name not in nulls:
                    continue
                missing = statistics.null_count if statistics is not None and statistics.has_null_count else None
                nulls[name] = total([nulls[name], missing])
                if name in wide and missing != rows and _may_be_large(statistics):
                    large.add(name)
        # A column without any value has no type and no statistics.
        nulls |= {field.name: all_rows for field in schema if pa.types.is_null(field.type)}
        return cls(nulls, frozenset(large), packed_bytes)


def total(counts: Sequence[int | None]) -> int | None:
    """Return a sum, or None where a part of it is not known."""
    numbers = [count for count in counts if count is not None]
    return sum(numbers) if len(numbers) == len(counts) else None


def _row_groups(footer: pq.FileMetaData) -> Iterator[tuple[int, list[Any]]]:
    """Yield the number of rows and the columns of each row group, of which the types are those of the schema.

    Where they are not, Arrow ends the process as it reads the column.
    """
    types = [footer.schema.column(index).physical_type for index in range(len(footer.schema))]
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        columns = [group.column(index) for index in range(group.num_columns)]
        if [column.physical_type for column in columns] != types:
            raise ValueError(f"a row group ({number}) whose columns are of other types than the schema's")
        yield group.num_rows, columns


def _may_be_large(statistics: Any) -> bool:
    has_ends = statistics is not None and statistics.has_min_max
    return not has_ends or statistics.max >= FIRST_INEXACT or statistics.min <= -FIRST_INEXACT
