"""The first pass over a long table: everything that must be known before training,
gathered in bounded memory.

Layout and background come from a *bottom-k sample*: the rows whose number has the
smallest hash. Nothing depends on how the table is cut into files or parts, but for the
last digits of sums.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from permgrad.base.arrays import Array, Floats
from permgrad.base.errors import InputError
from permgrad.base.random import uniform
from permgrad.base.sequences import values_at
from permgrad.data.encode.groups import check_groups
from permgrad.data.encode.table_statistics import (
    NumericStatistics,
    TableStatistics,
    sample_size,
)
from permgrad.data.known_rows import KnownRows, RowBatch, numbered
from permgrad.data.partitions import Part, PartitionedTable
from permgrad.data.read.cells import PRESENT, CellError, MissingCodes
from permgrad.data.types.column_types import infer_schema
from permgrad.data.types.findings import Finding, all_findings, tell_of_columns
from permgrad.data.weights import read_weights
from permgrad.models.estimators import fit_inputs as inputs
from permgrad.models.estimators.building import find_as_one
from permgrad.models.estimators.presets import get_preset

#: Rows decoded at a time. Rows of the sample and of validation at most, fewer for wide
#: tables.
READ_ROWS = 16_384
_SAMPLED_ROWS = 20_000
MOST_VALIDATION_ROWS = 50_000
#: More different values than this are no classes.
_MOST_CLASSES = 10_000
#: Parts from which types are read.
_TYPE_PARTS = 64


@dataclasses.dataclass(frozen=True)
class StreamSource:
    """Features, target and weight of a long table, the share of its rows that is held
    out, and those with a target.
    """

    table: PartitionedTable
    features: tuple[str, ...]
    target: str
    weight: str | None = None
    held_out: float = 0.0
    seed: int = 0
    known: KnownRows | None = None

    def batches(
        self, table_part: Part, rows: int = READ_ROWS
    ) -> Iterator[tuple[RowBatch, RowBatch]]:
        """Yield a part's rows with a target and a weight above 0: training rows and
        those held out, a few at a time.
        """
        columns = [
            *self.features,
            self.target,
            *([] if self.weight is None else [self.weight]),
        ]
        for everything in numbered(self.table, table_part, rows, columns, self.known):
            batch = everything
            if self.weight is not None:
                with self.table.cells_of(batch.numbers):
                    batch = batch.take(self.weights_of(batch) > 0)
            is_held_out = (
                uniform(self.seed, ("validation rows",), batch.places) < self.held_out
            )
            yield batch.take(~is_held_out), batch.take(is_held_out)

    def features_of(self, batch: RowBatch) -> pd.DataFrame:
        """Return the features of some rows."""
        return batch.frame[list(self.features)]

    def weights_of(self, batch: RowBatch) -> Floats:
        """Return the weights of some rows."""
        if self.weight is None:
            return np.ones(len(batch))
        return read_weights(batch.frame[self.weight])

    def values_of(self, batch: RowBatch, estimator: Any) -> Array:
        """Return the target of some rows as an array, checked as ``fit`` does."""
        target = batch.frame[self.target]
        values = inputs.one_column(target, estimator=estimator)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            row_index = int(np.argmax(~np.isfinite(values)))
            value_problem = (
                f"y must be finite, but column {self.target!r} holds "
                f"{values[row_index]}"
            )
            raise CellError.at(
                row_index,
                target.index,
                value_problem,
                "Correct it, or leave such rows out.",
            )
        return values

    @property
    def rows(self) -> int:
        """How many rows have a target."""
        if self.known is None:
            return self.table.rows
        return self.known.rows

    def describe(self) -> str:
        """Return what decides which rows are trained on, for checkpoints."""
        return repr(
            (
                self.table.fingerprint,
                self.features,
                self.target,
                self.weight,
                self.held_out,
                self.seed,
            )
        )


@dataclasses.dataclass
class Scan:
    """What the first pass found of the training rows: how many each part has and in
    all, and the sum of their weights.

    ``target`` has the moments of numbers. Of classes ``labels`` says how many rows each
    has. ``sample`` is a uniform sample of the rows in the table's order, or all of them
    if they are few. ``held_out`` are those held out of training. ``as_one``: columns
    that are one feature.
    """

    statistics: TableStatistics
    target: NumericStatistics | None
    part_rows: dict[int, int] = dataclasses.field(default_factory=dict)
    labels: Counter[Any] = dataclasses.field(default_factory=Counter)
    label_type: Any = None
    rows: int = 0
    weight: float = 0.0
    sample: RowBatch = dataclasses.field(init=False)
    held_out: RowBatch | None = None
    as_one: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    def count(self, values: Array) -> None:
        """Add some rows' target to the moments, or to the classes' counts."""
        if self.target is not None:
            numbers = inputs.number_target(values)[:, None]
            self.target.update(
                numbers,
                np.full(numbers.shape, PRESENT, dtype=np.int16),
                first_row=self.rows,
            )
            return
        self.labels.update(values.tolist())
        self.label_type = values.dtype
        if len(self.labels) > _MOST_CLASSES:
            problem = (
                f"y must hold at most {_MOST_CLASSES:,} classes, but the first "
                f"{self.rows + len(values):,} rows have more"
            )
            raise InputError(
                problem,
                hint="Use HyNNRegressor for numbers, or group the labels.",
                code="PG015",
            )


def type_rows(source: StreamSource) -> pd.DataFrame:
    """Return training rows spread evenly over the table, or all if they are few, to
    infer types, by their numbers.
    """
    sample_rows = sample_size(len(source.features))
    table_parts = source.table.parts
    has_few_rows = source.rows <= sample_rows
    if not has_few_rows:
        part_indices = np.unique(
            np.linspace(0, len(table_parts) - 1, min(_TYPE_PARTS, len(table_parts)))
            .round()
            .astype(np.intp)
        )
        table_parts = values_at(table_parts, part_indices)
    rows_per_part = -(-sample_rows // len(table_parts))
    pieces: list[RowBatch] = []
    for table_part in table_parts:
        part_batches = list[RowBatch]()
        for training, _ in source.batches(table_part, min(READ_ROWS, rows_per_part)):
            part_batches.append(
                training.take(
                    np.arange(len(training))
                    < rows_per_part - sum(map(len, part_batches))
                )
            )
            if sum(map(len, part_batches)) >= rows_per_part and not has_few_rows:
                break
        pieces.append(RowBatch.joined(part_batches))
    frames = list(map(source.features_of, pieces))
    numbers = np.concatenate([piece.numbers for piece in pieces])
    frame = pd.concat(frames, ignore_index=True)
    frame = frame.astype(dict.fromkeys(_read_as_floats(source, frame), np.int64))
    return frame.set_index(pd.Index(numbers))


def _read_as_floats(source: StreamSource, frame: pd.DataFrame) -> list[str]:
    """Return columns of whole numbers that are read as others because the footers say
    nothing of missing cells.
    """
    stored = set()
    for field in source.table.schema:
        if pa.types.is_integer(field.type):
            stored.add(field.name)
    floats = []
    for column_name, dtype in frame.dtypes.items():
        if column_name in stored and dtype == np.float64:
            floats.append(str(column_name))
    return [float_name for float_name in floats if frame[float_name].notna().all()]


def scan(
    source: StreamSource,
    typed: pd.DataFrame,
    estimator: Any,
    kinds: Mapping[str, Any] | None,
    advance: Callable[[int], None],
) -> Scan:
    """Read the whole table once. ``advance`` gets the number of rows read."""
    sample_count = min(_SAMPLED_ROWS, sample_size(len(source.features)))
    with source.table.cells_of(typed.index.to_numpy()):
        schema = infer_schema(typed, na=estimator.na, kinds=kinds)
    groups = check_groups(estimator.groups, schema.names)
    column_groups = find_as_one(estimator, typed, schema)
    _tell_of_types(estimator, typed, schema, column_groups, groups)
    sample = _BottomK(
        max(sample_count, get_preset(estimator.preset).background_size),
        ("stream sample",),
    )
    held_out_batches = list[RowBatch]()
    if estimator.task.numeric:
        target = NumericStatistics(1, size=1)
    else:
        target = None
    result = Scan(
        TableStatistics(schema, na=estimator.na), target, as_one=column_groups
    )
    for table_part in source.table.parts:
        before = result.rows
        for training, held_out in source.batches(table_part):
            if len(held_out):
                held_out_batches.append(held_out)
            with source.table.cells_of(training.numbers):
                result.count(source.values_of(training, estimator))
                result.statistics.update(
                    source.features_of(training), first_row=result.rows
                )
            sample.add(training, result.rows)
            result.rows += len(training)
            result.weight += float(source.weights_of(training).sum())
            advance(len(training) + len(held_out))
        if result.rows > before:
            result.part_rows[table_part.number] = result.rows - before
    _refuse_few_rows(result.rows)
    result.sample = sample.rows()
    if held_out_batches:
        result.held_out = RowBatch.joined(held_out_batches)
    else:
        result.held_out = None
    return result


def _tell_of_types(
    estimator: Any, typed: pd.DataFrame, schema: Any, detected_groups: Any, groups: Any
) -> None:
    """Warn of what types were found in the columns."""
    together = [*groups.values(), *detected_groups.values()]
    tell_of_columns(
        all_findings(
            typed,
            schema,
            together=together,
            found_groups=detected_groups,
            rows="row that types are read from",
            codes=MissingCodes.of(estimator.na),
        )
    )
    if images := schema.of_modality("photo"):
        tell_of_columns([Finding("unread_images", tuple(images))])


def _refuse_few_rows(rows: int) -> None:
    """Refuse a table that leaves fewer than two training rows."""
    if rows < 2:
        problem = (
            "Training needs at least 2 rows that have a weight above 0 and are not "
            f"held out, got n_samples={rows}"
        )
        raise InputError(problem, hint="Add rows.", code="PG013")


class _BottomK:
    """Keeps the rows whose hash of their number is smallest, in order of their
    numbers.
    """

    def __init__(self, size: int, keys: tuple[object, ...]) -> None:
        self.size = size
        self.keys = keys
        self._bound = 1.0
        self._batches: list[RowBatch] = []
        self._draws: list[Floats] = []

    def add(self, batch: RowBatch, first_row: int) -> None:
        """Look at rows that begin with number ``first_row``."""
        draws = uniform(
            0, self.keys, np.arange(first_row, first_row + len(batch), dtype=np.int64)
        )
        is_sampled = draws < self._bound
        if not is_sampled.any():
            return
        self._batches.append(batch.take(is_sampled))
        self._draws.append(draws[is_sampled])
        if sum(map(len, self._draws)) >= 2 * self.size:
            self._shrink()

    def _shrink(self) -> None:
        draws = np.concatenate(self._draws)
        batch = RowBatch.joined(self._batches)
        if len(draws) > self.size:
            self._bound = float(np.partition(draws, self.size)[self.size])
            is_sampled = draws < self._bound
            batch = batch.take(is_sampled)
            draws = draws[is_sampled]
        self._batches = [batch]
        self._draws = [draws]

    def rows(self) -> RowBatch:
        """Return what was kept."""
        self._shrink()
        return self._batches[0]
