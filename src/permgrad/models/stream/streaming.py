"""``fit_stream``: from Parquet files that need not fit in memory to a fitted estimator.

The table is read once to learn types, scales, levels, classes, layout and background (``streaming_scan``), then once
per epoch (``streaming_rows``). What needs all rows at once in ``fit`` needs sums, or a sample, here.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from permgrad.base.checks import check_names, check_whole
from permgrad.base.errors import InputError, shown, unknown, warn_user
from permgrad.base.progress import Progress
from permgrad.base.random import derive_seed, resolve_seed
from permgrad.data.parts.known_rows import KnownRows, find_known
from permgrad.data.parts.partitions import Part, PartitionedTable, open_partitioned
from permgrad.models.estimators import inputs
from permgrad.models.estimators.prepared import Prepared, encode_training
from permgrad.models.estimators.settings import FitSettings, resolve_settings
from permgrad.models.stream.streaming_rows import StreamedRows
from permgrad.models.stream.streaming_scan import (
    MOST_VALIDATION_ROWS,
    READ_ROWS,
    Chunk,
    Scan,
    StreamSource,
    joined,
    scan,
    type_rows,
)
from permgrad.models.train.rows import Rows

if TYPE_CHECKING:
    from permgrad.models.estimators.base import HyNNBase

#: Bytes of encoded rows in memory at once, and how many rows that may be.
_BLOCK_BYTES, _FEWEST_BLOCK_ROWS, _MOST_BLOCK_ROWS = 2**27, 4096, 1_000_000
#: A block should hold rows of at least so many parts, so that batches mix places of the table.
_PARTS_PER_BLOCK = 16
#: Rows of a part, before the width of the encoded rows is known.
_ROWS_PER_PART = 16_384


@dataclasses.dataclass(frozen=True)
class StreamRequest:
    """The arguments of ``fit_stream``."""

    path: Any
    target: str
    validation: Any
    features: Sequence[str] | None
    sample_weight: str | None
    block_rows: int | None


def prepare_stream(model: HyNNBase, request: StreamRequest) -> Prepared:
    """Check everything, read the table once, fit encoder and layout, build the network."""
    settings = resolve_settings(model.get_params(deep=False), model._task)  # noqa: SLF001 — a part of the estimator
    _check(request)
    seed = resolve_seed(model.random_state)
    source = _source(request, seed, settings.validation_fraction if request.validation is None else 0.0)
    other = None if request.validation is None else _other_source(request.validation, source)
    table, typed = source.table, type_rows(source)
    if len(typed.frame) == 0 and request.sample_weight is not None:
        raise InputError(
            f"sample_weight must be above 0 for some row, however: {request.sample_weight!r} is 0 in every training "
            "row read; name another column, or leave it out"
        )
    if len(typed.frame) < 2:
        raise InputError(f"training needs at least 2 rows, however: n_samples={len(typed.frame)}; add rows")
    inputs.as_frame(model, typed.frame, reset=True)
    with table.cells_of(typed.numbers):
        encoder = model._make_encoder(typed.frame, settings)  # noqa: SLF001
    with Progress(table.rows, "reading", model.progress, lines=False) as bar:
        scanned = scan(
            source,
            typed,
            model,
            kinds=encoder.kinds,
            numbers=model._task == "regression",  # noqa: SLF001
            least_sample=int(model.background_size),
            advance=bar.advance,
        )
    model.seed_ = seed
    class_weight = _learn_target(model, scanned, settings)
    model.preprocessor_ = encoder.update(scanned.statistics)
    encoded = encode_training(model.preprocessor_, scanned.sample.frame)
    coder = _Coder(model, source, scanned.weight / scanned.rows, class_weight)
    held = scanned.held if other is None else _bounded(other)
    validation, held_weights = None, np.zeros(0)
    if held is not None:
        if scanned.target is None:
            _check_classes(model, held, drawn=other is None)
        validation = coder.rows(held, table if other is None else other.table)
        held_weights = held.weights / coder.mean_weight
    block = request.block_rows or _automatic_block(encoded.shape[1], scanned.rows)
    rows = StreamedRows(
        [part for part in table.parts if part.number in scanned.part_rows],
        scanned.rows,
        coder.read,
        max(block, settings.training_for(scanned.rows).batch_size),
        # Differs where the rows, or their order, would.
        identity=f"{derive_seed(0, source.describe(), block):016x}",
    )
    return model._ready(settings, encoded, coder.code(scanned.sample), rows, validation, held_weights)  # noqa: SLF001


def _automatic_block(columns: int, rows: int) -> int:
    fitting = int(np.clip(_BLOCK_BYTES // (4 * columns), _FEWEST_BLOCK_ROWS, _MOST_BLOCK_ROWS))
    return min(fitting, rows)


# ---- arguments -----------------------------------------------------------------------------------------------------


def _check(request: StreamRequest) -> None:
    if not isinstance(request.path, (str, os.PathLike)):
        raise InputError(
            "fit_stream needs the path of a Parquet file or of a folder of them, however: path is a "
            f"{type(request.path).__name__}; give tables in memory to fit"
        )
    if not isinstance(request.target, str):
        raise InputError(f"target must be the name of a column, however: target={shown(request.target)}")
    if request.block_rows is not None:
        check_whole("block_rows", request.block_rows, "pass for example block_rows=100_000", least=2)
    if request.sample_weight is not None and not isinstance(request.sample_weight, str):
        raise InputError(
            f"sample_weight must be the name of a column, however: sample_weight={shown(request.sample_weight)}; pass "
            "a name, or None"
        )
    if request.sample_weight == request.target:
        raise InputError(
            f"sample_weight must name another column than the target, however: both are {shown(request.target)}; name "
            "the column of weights, or leave it out"
        )


def _features(table: PartitionedTable, request: StreamRequest) -> tuple[str, ...]:
    named = [request.target] if request.sample_weight is None else [request.target, request.sample_weight]
    table.check_columns(named)
    if request.features is None:
        features = [name for name in table.columns if name not in named]
    else:
        features = list(check_names("features", request.features, "pass for example features=['age', 'income']"))
        table.check_columns(features)
        for name in named:
            if name in features:
                raise InputError(
                    f"features must not hold the target or the weight, however: {name!r} is among them; leave it out"
                )
    if not features:
        raise InputError(f"a table needs a feature beside {', '.join(map(repr, named))}, however: it has none")
    table.check_cells([*features, request.target], "name the columns to learn from with features=, without it")
    return tuple(features)


def _source(request: StreamRequest, seed: int, held_out: float) -> StreamSource:
    """Return the training files with the share of rows that is held out, of which memory bounds the number."""
    table = open_partitioned(request.path, rows_per_part=_ROWS_PER_PART)
    features = _features(table, request)
    with_target = _known_targets(table, request.target)
    most = MOST_VALIDATION_ROWS / (table.rows if with_target is None else with_target.rows)
    return StreamSource(table, features, request.target, request.sample_weight, min(held_out, most), seed, with_target)


def _other_source(validation: Any, source: StreamSource) -> StreamSource:
    """Return validation rows that stand in files of their own."""
    if not isinstance(validation, (str, os.PathLike)):
        raise InputError(
            "validation must be None or the path of a Parquet file or folder, however: it is a "
            f"{type(validation).__name__}; write those rows as Parquet, or leave it to validation_fraction"
        )
    table = open_partitioned(validation, rows_per_part=_ROWS_PER_PART)
    missing = [name for name in (*source.features, source.target) if name not in table.columns]
    if missing:
        raise unknown(f"column of {os.fspath(Path(validation))!r}", missing[0], table.columns)
    weight = source.weight if source.weight in table.columns else None
    # Held out of everything but judging: at most as many as memory is meant to hold, drawn evenly.
    with_target = _known_targets(table, source.target)
    share = min(1.0, MOST_VALIDATION_ROWS / (table.rows if with_target is None else with_target.rows))
    return StreamSource(table, source.features, source.target, weight, share, source.seed, with_target)


def _known_targets(table: PartitionedTable, target: str) -> KnownRows | None:
    with_target = find_known(table, target)
    if with_target is None:
        return None
    if with_target.rows == 0:
        raise InputError(
            f"the target must be known, however: column {target!r} of {table.path!r} is missing in every row; choose "
            "another target"
        )
    warn_user(with_target.left_out(table.path))
    return with_target


def _bounded(source: StreamSource) -> Chunk:
    rows = joined([chunk.take(chunk.held) for part in source.table.parts for chunk in source.chunks(part)])
    if len(rows) == 0:
        raise InputError("validation must hold at least one row, however: none has a weight above 0; pass others")
    return rows


# ---- target --------------------------------------------------------------------------------------------------------


def _learn_target(model: Any, scanned: Scan, settings: FitSettings) -> npt.NDArray[np.float64] | None:
    """Learn classes and their weights, or the target's scale; return the classes' weights in the loss."""
    if scanned.target is not None:
        spread = float(scanned.target.deviation[0])
        model.target_mean_ = float(scanned.target.mean[0])
        model.target_scale_ = spread if spread > 0 else 1.0
        return None
    labels = np.empty(len(scanned.labels), dtype=object)
    labels[:] = list(scanned.labels)
    coded = model._fit_target(labels.astype(scanned.label_type))  # noqa: SLF001
    counts = np.zeros(len(labels), dtype=np.int64)
    counts[coded] = list(scanned.labels.values())
    weights = inputs.weights_of_counts(settings.class_weight, model.classes_, counts)
    model.class_weights_ = weights
    return weights


def _check_classes(model: Any, held: Chunk, *, drawn: bool) -> None:
    """Refuse rows to judge by whose class no training row has."""
    strange = sorted(set(map(str, held.values(model).tolist())) - set(map(str, model.classes_.tolist())))
    if strange:
        fix = "pass validation=, another random_state or validation_fraction=0" if drawn else "leave those rows out"
        raise InputError(
            f"every class of the validation rows must have a training row, however: {strange[0]!r} has none; {fix}"
        )


class _Coder:
    """Turns rows of the table into rows for training; picklable as far as the encoder is."""

    def __init__(
        self, model: HyNNBase, source: StreamSource, mean_weight: float, class_weight: npt.NDArray[np.float64] | None
    ) -> None:
        self.model = model
        self.source = source
        self.mean_weight = mean_weight
        self.class_weight = class_weight

    def code(self, chunk: Chunk) -> npt.NDArray[Any]:
        """Return the target as the network sees it."""
        return self.model._code_target(chunk.values(self.model))  # noqa: SLF001 — a part of the estimator

    def rows(self, chunk: Chunk, table: PartitionedTable) -> Rows:
        """Return rows of a table with their encoding, target and weight."""
        with table.cells_of(chunk.numbers):
            encoded, target = self.model.preprocessor_.transform(chunk.frame), self.code(chunk)
        return self.model._rows(  # noqa: SLF001
            encoded, target, chunk.weights / self.mean_weight, self.class_weight
        )

    def read(self, part: Part) -> Iterator[Rows]:
        """Yield a part's training rows."""
        for chunk in self.source.chunks(part, READ_ROWS):
            training = chunk.take(~chunk.held) if chunk.held.any() else chunk
            if len(training):
                yield self.rows(training, self.source.table)
