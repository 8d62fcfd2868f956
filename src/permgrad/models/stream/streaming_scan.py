"""The first pass over a long table: everything that must be known before training, gathered in bounded memory.

Types come from rows spread over the whole table; scales, levels and the target's classes or moments from all training
rows, by mergeable sums; layout and background from a *bottom-k sample*: the rows whose number has the smallest hash.
Nothing depends on how the table is cut into files or parts, but for the last digits of sums.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from permgrad.base.errors import InputError
from permgrad.base.random import uniform
from permgrad.data.encode.groups import check_blocks
from permgrad.data.encode.statistics import NumericStatistics, TableStatistics, sample_size
from permgrad.data.parts.known_rows import KnownRows
from permgrad.data.parts.partitions import Part, PartitionedTable
from permgrad.data.read.cells import PRESENT, CellError
from permgrad.data.types.column_notes import tell_of_columns
from permgrad.data.types.column_types import Kind, Schema, infer_schema
from permgrad.data.types.identifiers import counts_rows, is_running
from permgrad.data.weights import read_weights
from permgrad.models.estimators import inputs

#: Rows decoded at a time; rows of the sample and of validation at most, fewer for wide tables.
READ_ROWS, _SAMPLED_ROWS, MOST_VALIDATION_ROWS = 16_384, 20_000, 50_000
#: More different values than this are no classes.
_MOST_CLASSES = 10_000
#: Parts from which types are read.
_TYPE_PARTS = 64


@dataclasses.dataclass(frozen=True)
class Source:
    """Which columns of a long table are features, target and weight, and which of its rows are held out.

    Attributes:
        table: the files.
        features: names of the features, in order.
        target: name of the target.
        weight: name of the column of row weights, or None.
        held_out: share of rows held out of training.
        seed: of the draw of rows held out.
        known: the rows that have a target, where some have none: the others are as if they were not in the table.
    """

    table: PartitionedTable
    features: tuple[str, ...]
    target: str
    weight: str | None = None
    held_out: float = 0.0
    seed: int = 0
    known: KnownRows | None = None

    def chunks(self, part: Part, rows: int = READ_ROWS) -> Iterator[Chunk]:
        """Yield a part's rows with a target and a weight above 0, a few at a time."""
        others = [self.target] if self.weight is None else [self.target, self.weight]
        place = part.first_row if self.known is None else self.known.before[part.number]
        for first, whole in self.table.batches(part, rows, [*self.features, *others]):
            frame, numbers = whole, np.arange(first, first + len(whole), dtype=np.int64)
            if self.known is not None:
                known = self.known.mask(whole)
                frame, numbers = whole.loc[known], numbers[known]
            places = np.arange(place, place + len(frame), dtype=np.int64)
            place += len(frame)
            weights = np.ones(len(frame))
            if self.weight is not None:
                with self.table.cells_of(numbers):
                    weights = read_weights(frame[self.weight])
            held = uniform(self.seed, ("validation rows",), places) < self.held_out
            chunk = Chunk(frame[list(self.features)], frame[self.target], weights, held, numbers)
            yield chunk if (weights > 0).all() else chunk.take(weights > 0)

    @property
    def rows(self) -> int:
        """How many rows have a target."""
        return self.table.rows if self.known is None else self.known.rows

    def describe(self) -> str:
        """Return what decides which rows are trained on, for checkpoints."""
        return repr((self.table.fingerprint, self.features, self.target, self.weight, self.held_out, self.seed))


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Some rows: features, target, weights, whether they are held out, and their numbers in the table."""

    frame: pd.DataFrame
    target: pd.Series[Any]
    weights: npt.NDArray[np.float64]
    held: npt.NDArray[np.bool_]
    numbers: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, chosen: npt.NDArray[np.bool_]) -> Chunk:
        """Return the chosen rows."""
        places = np.flatnonzero(chosen)
        rest = (self.weights[places], self.held[places], self.numbers[places])
        return Chunk(self.frame.iloc[places], self.target.iloc[places], *rest)

    def values(self, estimator: Any) -> npt.NDArray[Any]:
        """Return the target as an array, checked as ``fit`` does."""
        values = inputs.one_column(self.target, estimator=estimator)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            place = int(np.argmax(~np.isfinite(values)))
            found = f"y must be finite, however: column {str(self.target.name)!r} holds {values[place]} in "
            raise CellError.at(place, self.target.index, found, "; correct it, or leave such rows out")
        return values


@dataclasses.dataclass
class Scan:
    """What the first pass found."""

    statistics: TableStatistics
    part_rows: dict[int, int]
    sample: Chunk
    held: Chunk | None
    labels: dict[Any, int]
    target: NumericStatistics | None
    rows: int = 0
    weight: float = 0.0
    label_type: Any = None


@dataclasses.dataclass(frozen=True)
class TypeRows:
    """Rows that the columns' types are read from."""

    frame: pd.DataFrame
    numbers: npt.NDArray[np.int64]
    identifiers: tuple[str, ...]
    suspects: tuple[str, ...]


def type_rows(source: Source) -> TypeRows:
    """Return training rows spread evenly over the table, for the types of the columns; all rows if they are few."""
    wanted, parts = sample_size(len(source.features)), source.table.parts
    if source.rows > wanted:
        places = np.unique(np.linspace(0, len(parts) - 1, min(_TYPE_PARTS, len(parts))).round().astype(np.intp))
        parts = [parts[place] for place in places]
    each = -(-wanted // len(parts))
    pieces: list[Chunk] = []
    for part in parts:
        own: list[Chunk] = []
        for chunk in source.chunks(part, min(READ_ROWS, each)):
            training = chunk.take(~chunk.held)
            own.append(training.take(np.arange(len(training)) < each - sum(map(len, own))))
            if sum(map(len, own)) >= each and source.rows > wanted:
                break
        pieces.append(joined(own))
    whole = joined(pieces)
    frame = whole.frame.astype(dict.fromkeys(_whole_numbers(source, whole.frame), np.int64))
    running = {name: is_running(name, [_numbers(piece.frame[name]) for piece in pieces]) for name in _integers(frame)}
    return TypeRows(
        frame,
        whole.numbers,
        tuple(
            name for name, found in running.items() if found or counts_rows(name, _numbers(frame[name]), whole.numbers)
        ),
        tuple(name for name, found in running.items() if found is None),
    )


def _integers(frame: pd.DataFrame) -> list[str]:
    """Return columns of whole numbers, and those that may be such where cells are missing."""
    return [
        str(name)
        for name, own in frame.items()
        if pd.api.types.is_integer_dtype(own.dtype) or (own.dtype == np.float64 and own.isna().any())
    ]


def _whole_numbers(source: Source, frame: pd.DataFrame) -> list[str]:
    """Return columns of whole numbers that are read as others because the footers say nothing of missing cells."""
    stored = {own.name for own in source.table.schema if pa.types.is_integer(own.type)}
    return [str(name) for name, dtype in frame.dtypes.items() if name in stored and dtype == np.float64
            and not frame[name].isna().any()]  # fmt: skip


def _numbers(values: pd.Series[Any]) -> npt.NDArray[np.float64]:
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


def scan(
    source: Source,
    typed: TypeRows,
    estimator: Any,
    *,
    kinds: Mapping[str, Any] | None,
    numbers: bool,
    least_sample: int,
    advance: Any,
) -> Scan:
    """Read the whole table once."""
    with source.table.cells_of(typed.numbers):
        schema = _schema(typed, estimator.na_codes, dict(kinds or {}))
    variables = check_blocks(estimator.variables, schema.names, "variable")
    together = [*variables.values(), *check_blocks(estimator.groups, schema.names, "group", variables).values()]
    tell_of_columns(
        typed.frame,
        schema,
        dict(kinds or {}),
        together=together,
        suspects=typed.suspects,
        rows="row that types are read from",
    )
    size = max(min(_SAMPLED_ROWS, sample_size(len(source.features))), least_sample)
    kept, held = _BottomK(size, ("stream sample",)), list[Chunk]()
    found = Scan(
        TableStatistics(schema, na_codes=estimator.na_codes),
        {},
        Chunk(
            typed.frame[:0],
            pd.Series(dtype=object),
            np.zeros(0),
            np.zeros(0, dtype=bool),
            np.zeros(0, dtype=np.int64),
        ),
        None,
        {},
        NumericStatistics(1, size=1) if numbers else None,
    )
    for part in source.table.parts:
        before = found.rows
        for chunk in source.chunks(part):
            if chunk.held.any():
                held.append(chunk.take(chunk.held))
            training = chunk.take(~chunk.held) if chunk.held.any() else chunk
            with source.table.cells_of(training.numbers):
                _count(found, training.values(estimator))
                found.statistics.update(training.frame, first_row=found.rows)
            kept.add(training, found.rows)
            found.rows += len(training)
            found.weight += float(training.weights.sum())
            advance(len(chunk))
        if found.rows > before:
            found.part_rows[part.number] = found.rows - before
    if found.rows < 2:
        raise InputError(
            f"training needs at least 2 rows, however: n_samples={found.rows} have a weight above 0 and are not held "
            "out; add rows"
        )
    found.sample = kept.chunk()
    found.held = joined(held) if held else None
    return found


def _schema(typed: TypeRows, na_codes: Any, kinds: dict[str, Any]) -> Schema:
    found: dict[str, Kind] = {name: "identifier" for name in typed.identifiers if name not in kinds}
    schema = infer_schema(typed.frame, na_codes=na_codes, kinds={**found, **kinds})
    reason = "a whole number of its own in each row, that rises or falls within files"
    return Schema(tuple(dataclasses.replace(own, reason=reason) if own.name in found else own for own in schema))


def _count(found: Scan, values: npt.NDArray[Any]) -> None:
    """Add a chunk's target to the moments or to the classes' counts."""
    if found.target is not None:
        numbers = inputs.number_target(values)[:, None]
        found.target.update(numbers, np.full(numbers.shape, PRESENT, dtype=np.int16), first_row=found.rows)
        return
    for label, count in Counter(values.tolist()).items():
        found.labels[label] = found.labels.get(label, 0) + count
    found.label_type = values.dtype
    if len(found.labels) > _MOST_CLASSES:
        raise InputError(
            f"y must hold at most {_MOST_CLASSES:,} classes, however: the first {found.rows + len(values):,} rows have "
            "more; use HyNNRegressor for numbers, or group the labels"
        )


def joined(chunks: list[Chunk]) -> Chunk:
    """Put chunks together."""
    return Chunk(
        pd.concat([chunk.frame for chunk in chunks], ignore_index=True),
        pd.concat([chunk.target for chunk in chunks], ignore_index=True),
        np.concatenate([chunk.weights for chunk in chunks]),
        np.concatenate([chunk.held for chunk in chunks]),
        np.concatenate([chunk.numbers for chunk in chunks]),
    )


class _BottomK:
    """Keeps the rows whose hash of their number is smallest, in order of their numbers."""

    def __init__(self, size: int, keys: tuple[object, ...]) -> None:
        self.size = size
        self.keys = keys
        self._bound = 1.0
        self._chunks: list[Chunk] = []
        self._draws: list[npt.NDArray[np.float64]] = []

    def add(self, chunk: Chunk, first_row: int) -> None:
        """Look at rows that begin with number ``first_row``."""
        draws = uniform(0, self.keys, np.arange(first_row, first_row + len(chunk), dtype=np.int64))
        chosen = draws < self._bound
        if not chosen.any():
            return
        self._chunks.append(chunk if chosen.all() else chunk.take(chosen))
        self._draws.append(draws[chosen])
        if sum(map(len, self._draws)) >= 2 * self.size:
            self._shrink()

    def _shrink(self) -> None:
        draws = np.concatenate(self._draws)
        whole = joined(self._chunks)
        if len(draws) > self.size:
            self._bound = float(np.partition(draws, self.size)[self.size])
            chosen = draws < self._bound
            whole, draws = whole.take(chosen), draws[chosen]
        self._chunks, self._draws = [whole], [draws]

    def chunk(self) -> Chunk:
        """Return what was kept."""
        self._shrink()
        return self._chunks[0]
