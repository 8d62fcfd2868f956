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

from permgrad._errors import InputError
from permgrad._random import uniform
from permgrad.data.cells import PRESENT
from permgrad.data.column_types import Schema, infer_schema
from permgrad.data.partitions import Part, PartitionedTable
from permgrad.data.statistics import NumericStatistics, TableStatistics, sample_size
from permgrad.models import inputs

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
    """

    table: PartitionedTable
    features: tuple[str, ...]
    target: str
    weight: str | None = None
    held_out: float = 0.0
    seed: int = 0

    def chunks(self, part: Part, rows: int = READ_ROWS) -> Iterator[Chunk]:
        """Yield a part's rows with a known weight above 0, a few at a time.

        Raises:
            InputError: such a row has no target.
        """
        others = [self.target] if self.weight is None else [self.target, self.weight]
        for first, frame in self.table.batches(part, rows, [*self.features, *others]):
            numbers = np.arange(first, first + len(frame), dtype=np.int64)
            weights = np.ones(len(frame)) if self.weight is None else _row_weights(frame[self.weight])
            held = uniform(self.seed, ("validation rows",), numbers) < self.held_out
            chunk = Chunk(frame[list(self.features)], frame[self.target], weights, held)
            self._check_target(chunk.target[weights > 0], numbers[weights > 0])
            yield chunk if (weights > 0).all() else chunk.take(weights > 0)

    def _check_target(self, target: pd.Series[Any], numbers: npt.NDArray[np.int64]) -> None:
        missing = target.isna().to_numpy()
        if missing.any():
            raise InputError(
                f"y must be known for every row, however: row {int(numbers[missing][0])} of {self.table.path!r} has no "
                f"{self.target!r}; leave such rows out of the files"
            )

    def describe(self) -> str:
        """Return what decides which rows are trained on, for checkpoints."""
        return repr((self.table.fingerprint, self.features, self.target, self.weight, self.held_out, self.seed))


def _row_weights(column: pd.Series[Any]) -> npt.NDArray[np.float64]:
    """Return a chunk's weights, checked; unlike a whole table's they may all be 0."""
    return inputs.row_weights(np.append(column.to_numpy(), 1.0), len(column) + 1)[:-1]


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Some rows: features, target, weights, and whether they are held out."""

    frame: pd.DataFrame
    target: pd.Series[Any]
    weights: npt.NDArray[np.float64]
    held: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, chosen: npt.NDArray[np.bool_]) -> Chunk:
        """Return the chosen rows."""
        places = np.flatnonzero(chosen)
        return Chunk(self.frame.iloc[places], self.target.iloc[places], self.weights[places], self.held[places])

    def values(self, estimator: Any) -> npt.NDArray[Any]:
        """Return the target as an array, checked as ``fit`` does."""
        return inputs.one_column(self.target, estimator=estimator)


@dataclasses.dataclass
class Scan:
    """What the first pass found.

    Attributes:
        statistics: of the features of the training rows.
        part_rows: training rows of each part.
        sample: a uniform sample of training rows in the table's order, or all of them if they are few.
        held: the rows held out.
        labels: classes and their number of training rows; for numbers empty.
        target: moments of the target over training rows; None for classes.
        rows, weight: number of training rows, and sum of their weights.
        label_type: NumPy's type of the labels.
    """

    statistics: TableStatistics
    part_rows: dict[int, int]
    sample: Chunk
    held: Chunk | None
    labels: dict[Any, int]
    target: NumericStatistics | None
    rows: int = 0
    weight: float = 0.0
    label_type: Any = None


def type_rows(source: Source) -> pd.DataFrame:
    """Return training rows spread evenly over the table, for the types of the columns; all rows if they are few."""
    wanted, parts = sample_size(len(source.features)), source.table.parts
    if source.table.rows > wanted:
        places = np.unique(np.linspace(0, len(parts) - 1, min(_TYPE_PARTS, len(parts))).round().astype(np.intp))
        parts = [parts[place] for place in places]
    each = -(-wanted // len(parts))
    found: list[pd.DataFrame] = []
    for part in parts:
        known = 0
        for chunk in source.chunks(part, min(READ_ROWS, each)):
            found.append(chunk.frame[~chunk.held][: each - known])
            known += len(found[-1])
            if known >= each and source.table.rows > wanted:
                break
    return pd.concat(found, ignore_index=True)


def scan(
    source: Source,
    schema_rows: pd.DataFrame,
    estimator: Any,
    *,
    kinds: Mapping[str, Any] | None,
    numbers: bool,
    least_sample: int,
    advance: Any,
) -> Scan:
    """Read the whole table once.

    Args:
        source: what is read.
        schema_rows: rows that the columns' types are read from.
        estimator: whose ``na_codes`` hold.
        kinds: columns whose kind is known.
        numbers: whether the target is numbers, not classes.
        least_sample: rows that the sample must have, if there are so many.
        advance: called with the rows of each chunk.

    Raises:
        InputError: a cell does not fit its column, the target is missing, or there are no two training rows.
    """
    schema: Schema = infer_schema(schema_rows, na_codes=estimator.na_codes, kinds=kinds)
    size = max(min(_SAMPLED_ROWS, sample_size(len(source.features))), least_sample)
    kept, held = _BottomK(size, ("stream sample",)), list[Chunk]()
    found = Scan(
        TableStatistics(schema, na_codes=estimator.na_codes),
        {},
        Chunk(schema_rows[:0], pd.Series(dtype=object), np.zeros(0), np.zeros(0, dtype=bool)),
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
            values = training.values(estimator)
            _count(found, values)
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
