"""``fit_stream``: from Parquet files that need not fit in memory to a fitted estimator.

The table is read once to learn all that must be known (``streaming_scan``), then once
per epoch.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from permgrad.base.arrays import Array, Floats, Floats32, Integers
from permgrad.base.checks import check_choice, check_kind, check_names, check_whole
from permgrad.base.errors import InputError, shown
from permgrad.base.progress import Progress
from permgrad.base.random import derive_seed, resolve_seed
from permgrad.data.encode.scores import Target
from permgrad.data.known_rows import RowBatch, find_known
from permgrad.data.partitions import Part, PartitionedTable, open_partitioned
from permgrad.data.types.findings import tell_of_columns, without_scores
from permgrad.models.decision import choose_decision
from permgrad.models.estimators import fit_inputs as inputs
from permgrad.models.estimators.building import build_network, make_encoder, tensor_rows
from permgrad.models.estimators.prepared import Prepared, nothing_varies
from permgrad.models.estimators.settings import FitSettings, resolve_settings
from permgrad.models.losses import losses
from permgrad.models.streaming_scan import (
    MOST_VALIDATION_ROWS,
    Scan,
    StreamSource,
    scan,
    type_rows,
)
from permgrad.models.train.training_rows import Rows, StreamedRows

#: Bytes of encoded rows in memory at once, and how many rows that may be.
_BLOCK_BYTES = 2**27
_FEWEST_BLOCK_ROWS = 4096
_MOST_BLOCK_ROWS = 1_000_000
#: Rows of a part, before the width of the encoded rows is known.
_ROWS_PER_PART = 16_384


def prepare_stream(
    model: Any,
    path: Any,
    target: str,
    validation: Any,
    features: Sequence[str] | None,
    sample_weight: str | None,
    block_rows: int | None,
) -> Prepared:
    """Check the arguments of ``fit_stream``, read the table once, fit encoder and
    layout, build the network.
    """
    settings = resolve_settings(model.get_params(deep=False), model.task)
    _check(path, target, sample_weight, block_rows)
    _refuse_counts(settings)
    seed = resolve_seed(model.random_state)
    held_out = 0.0
    if validation is None:
        held_out = settings.validation_fraction
    table = open_partitioned(path, rows_per_part=_ROWS_PER_PART)
    source = _source(
        table,
        _features(table, target, sample_weight, features),
        target,
        sample_weight,
        held_out,
        seed,
    )
    judging = source if validation is None else _judging_source(validation, source)
    typed = type_rows(source)
    _check_rows(typed, sample_weight)
    inputs.as_frame(model, typed, reset=True)
    encoder, scanned = _scanned(model, source, typed, settings)
    model.seed_ = seed
    model.target_name_ = target
    _learn_target(model, scanned, settings)
    model.preprocessor_ = encoder.update(scanned.statistics)
    encoder.groups_ |= scanned.as_one
    mean_weight, values = (
        scanned.weight / scanned.rows,
        source.values_of(scanned.sample, model),
    )
    levels = settings.network.level_embedding_size > 0
    encoded = _encoded_sample(model, encoder, source, scanned, values, levels=levels)
    if not encoded.shape[1]:
        raise nothing_varies(typed, encoder)
    coder = _Coder(model, mean_weight, scanned.sample.numbers, encoded)
    drawn = judging is source
    judged, held_weights = _judged(model, coder, judging, scanned, drawn=drawn)
    block = block_rows or min(_fitting_rows(encoded.shape[1]), scanned.rows)
    rows = _streamed(coder, source, scanned, block, settings)
    targets = inputs.code_target(model, values)
    return build_network(model, settings, encoded, targets, rows, judged, held_weights)


def _judged(
    model: Any,
    coder: _Coder,
    judging: StreamSource,
    scanned: Scan,
    *,
    drawn: bool,
) -> tuple[Rows | None, Floats]:
    """Return the held-out rows as the network reads them, with their weights."""
    held_out_rows = scanned.held_out
    if not drawn:
        held_out_rows = _all_rows(judging)
    if held_out_rows is None:
        return None, np.zeros(0)
    weights = judging.weights_of(held_out_rows)
    if scanned.target is None:
        _check_classes(model, judging.values_of(held_out_rows, model), drawn=drawn)
    return coder.rows(judging, held_out_rows), weights


def _scanned(
    model: Any, source: StreamSource, typed: pd.DataFrame, settings: FitSettings
) -> tuple[Any, Scan]:
    """Make the encoder and read all rows once for what it has to know."""
    table = source.table
    with table.cells_of(typed.index.to_numpy()):
        encoder = make_encoder(model, typed, settings)
    with Progress(table.rows, "reading", model.progress, lines=False) as bar:
        scanned = scan(source, typed, model, encoder.kinds, bar.advance)
    return encoder, scanned


def _encoded_sample(
    model: Any,
    encoder: Any,
    source: StreamSource,
    scanned: Scan,
    values: Array,
    *,
    levels: bool,
) -> Floats32:
    """Learn scores of wide columns from the sample of rows, and return it encoded."""
    mean_weight = scanned.weight / scanned.rows
    weights = source.weights_of(scanned.sample) / mean_weight
    # Nothing reads images here: they would be read again in every epoch. As ``fit``
    # does with all rows: what is too wide to enter cell by cell has scores, here
    # learned from the sample.
    target = Target.of(values, model.task, model.seed_, weights=weights)
    features = source.features_of(scanned.sample)
    encoded: Floats32 = encoder.learn(features, target, levels=levels)
    tell_of_columns(
        without_scores(encoder.schema_, encoder.scoreless_, encoder.max_levels)
    )
    return encoded


def _streamed(
    coder: _Coder,
    source: StreamSource,
    scanned: Scan,
    block: int,
    settings: FitSettings,
) -> StreamedRows:
    """Return the training rows, read in blocks of at least as many rows as a batch."""
    return StreamedRows(
        [
            table_part
            for table_part in source.table.parts
            if table_part.number in scanned.part_rows
        ],
        scanned.rows,
        partial(coder.read, source),
        max(block, settings.training_for(scanned.rows).batch_size),
        # Differs where the rows, or their order, would.
        identity=f"{derive_seed(0, source.describe(), block):016x}",
    )


def _refuse_counts(settings: FitSettings) -> None:
    """Refuse losses of some y only, which are trained from memory."""
    loss = losses[settings.training.loss]
    if loss.accepts is not None or loss.positive:
        problem = f"fit_stream does not train with loss={loss.name!r}"
        raise InputError(
            problem,
            hint="Pass a table in memory to fit, or leave loss out.",
            code="PG004",
        )


def _fitting_rows(columns: int) -> int:
    """Return how many encoded rows a block of the usual size has."""
    return int(
        np.clip(_BLOCK_BYTES // (4 * columns), _FEWEST_BLOCK_ROWS, _MOST_BLOCK_ROWS)
    )


def _all_rows(source: Any) -> RowBatch:
    """Return all rows of a table that have a weight, of which there must be some."""
    pieces = []
    for table_part in source.table.parts:
        for _, batch in source.batches(table_part):
            if len(batch):
                pieces.append(batch)
    if not pieces:
        raise InputError(
            "No validation row has a weight above 0",
            hint="Pass other rows.",
            code="PG020",
        )
    return RowBatch.joined(pieces)


def _check_rows(typed: pd.DataFrame, sample_weight: str | None) -> None:
    """Refuse training rows of which none, or only one, has a weight."""
    if len(typed) == 0 and sample_weight is not None:
        problem = (
            f"sample_weight must be above 0 for some row, but {sample_weight!r} "
            "is 0 in every training row"
        )
        raise InputError(
            problem, hint="Name another column, or leave it out.", code="PG020"
        )
    if len(typed) < 2:
        raise InputError(
            f"Training needs at least 2 rows, got n_samples={len(typed)}",
            "Add rows.",
            "PG013",
        )


# ---- arguments -----------------------------------------------------------------------
def _check(path: Any, target: Any, sample_weight: Any, block_rows: Any) -> None:
    path_words = "the path of a Parquet file or of a folder of them"
    check_kind(
        "path", path, (str, os.PathLike), path_words, "Pass tables in memory to fit."
    )
    check_kind(
        "target", target, str, "the name of a column", "Pass for example 'outcome'."
    )
    if block_rows is not None:
        check_whole(
            "block_rows", block_rows, "pass for example block_rows=100_000", least=2
        )
    check_kind(
        "sample_weight",
        sample_weight,
        str | None,
        "the name of a column",
        "Pass a name, or None.",
    )
    if sample_weight == target:
        problem = f"sample_weight and target are the same column, {shown(target)}"
        raise InputError(
            problem, hint="Name the column of weights, or leave it out.", code="PG006"
        )


def _features(
    table: PartitionedTable,
    target: str,
    sample_weight: str | None,
    requested_features: Sequence[str] | None,
) -> tuple[str, ...]:
    """Return the names of the features: those chosen, or all columns but target and
    weight.
    """
    if sample_weight is None:
        named = [target]
    else:
        named = [target, sample_weight]
    table.check_columns(named)
    features = []
    for column_name in table.columns:
        if column_name not in named:
            features.append(column_name)
    if requested_features is None:
        table.check_even(
            hint="Add it, or name the columns to learn from with features=, without it."
        )
    else:
        features = list(
            check_names(
                "features",
                requested_features,
                "pass for example features=['age', 'income']",
            )
        )
        table.check_columns(features)
        if reserved_features := [
            reserved_name for reserved_name in named if reserved_name in features
        ]:
            problem = (
                "features must not hold the target or the weight, got "
                f"{reserved_features[0]!r}"
            )
            raise InputError(problem, hint="Leave it out.", code="PG006")
    if not features:
        raise InputError(
            f"The table has no feature besides {', '.join(map(repr, named))}",
            "Add columns.",
            "PG017",
        )
    table.check_cells(
        [*features, target], "name the columns to learn from with features=, without it"
    )
    return tuple(features)


def _judging_source(validation: Any, source: StreamSource) -> StreamSource:
    """Return validation rows from separate files: all of them are held out, as far as
    memory allows.
    """
    validation_hint = "Write those rows as Parquet, or use validation_fraction."
    check_kind(
        "validation",
        validation,
        (str, os.PathLike),
        "None or the path of a Parquet file or folder",
        validation_hint,
    )
    table = open_partitioned(validation, rows_per_part=_ROWS_PER_PART)
    for column_name in (*source.features, source.target):
        check_choice(
            f"column in {os.fspath(Path(validation))!r}", column_name, table.columns
        )
    if source.weight in table.columns:
        weight = source.weight
    else:
        weight = None
    return _source(table, source.features, source.target, weight, 1.0, source.seed)


def _source(
    table: PartitionedTable,
    features: tuple[str, ...],
    target: str,
    weight: str | None,
    held_out: float,
    seed: int,
) -> StreamSource:
    no_target_error = InputError(
        f"Target {target!r} is missing in every row of {table.path!r}",
        hint="Choose another target.",
        code="PG015",
    )
    known_rows = find_known(table, target, none=no_target_error)
    share = MOST_VALIDATION_ROWS / (
        table.rows if known_rows is None else known_rows.rows
    )
    return StreamSource(
        table, features, target, weight, min(held_out, share), seed, known_rows
    )


# ---- target --------------------------------------------------------------------------
def _learn_target(model: Any, scanned: Scan, settings: FitSettings) -> None:
    """Learn classes and their weights, or the target's scale."""
    if scanned.target is not None:
        spread = float(scanned.target.deviation[0])
        model.target_mean_ = float(scanned.target.mean[0])
        if spread > 0:
            model.target_scale_ = spread
        else:
            model.target_scale_ = 1.0
        return
    labels = np.empty(len(scanned.labels), dtype=object)
    labels[:] = list(scanned.labels)
    model.classes_, coded = inputs.class_target(labels.astype(scanned.label_type))
    counts = np.zeros(len(labels), dtype=np.int64)
    counts[coded] = list(scanned.labels.values())
    model.class_weights_ = inputs.class_weights(
        settings.class_weight, model.classes_, counts
    )
    model.decision_ = choose_decision(
        model.classes_, counts, cost=model.cost, threshold=model.threshold
    )


def _check_classes(model: Any, labels: Array, *, drawn: bool) -> None:
    """Refuse rows to judge by whose class no training row has."""
    strange = sorted(
        set(map(str, labels.tolist())) - set(map(str, model.classes_.tolist()))
    )
    if strange:
        if drawn:
            correction = (
                "pass validation=, another random_state or validation_fraction=0"
            )
        else:
            correction = "leave those rows out"
        raise InputError(
            f"Class {strange[0]!r} of the validation rows has no training row",
            hint=correction,
            code="PG015",
        )


@dataclasses.dataclass(frozen=True)
class _Coder:
    """Turns rows of a table into rows for training. Picklable as far as the encoder is.

    ``learned`` are the numbers of the rows that scores were learned from, rising, and
    ``encoded`` what they are encoded as: their scores come from models of other rows.
    """

    model: Any
    mean_weight: float
    learned: Integers
    encoded: Floats32

    def read(self, source: StreamSource, table_part: Part) -> Iterator[Rows]:
        """Yield a part's training rows."""
        for training, _ in source.batches(table_part):
            if len(training):
                tensor_rows = self.rows(source, training)
                _, batch_positions, learned_positions = np.intersect1d(
                    training.numbers,
                    self.learned,
                    assume_unique=True,
                    return_indices=True,
                )
                tensor_rows.x[torch.from_numpy(batch_positions)] = torch.from_numpy(
                    self.encoded[learned_positions]
                )
                yield tensor_rows

    def rows(self, source: StreamSource, batch: RowBatch) -> Rows:
        """Return rows with their encoding, target and weight."""
        with source.table.cells_of(batch.numbers):
            encoded = self.model.preprocessor_.transform(source.features_of(batch))
            target = inputs.code_target(self.model, source.values_of(batch, self.model))
        return tensor_rows(
            self.model, encoded, target, source.weights_of(batch) / self.mean_weight
        )
