"""From encoded rows to a network that can be trained: the steps that ``prepare`` and
``fit_stream`` share.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import chain
from typing import Any, cast

import numpy as np
import pandas as pd
import torch

from permgrad.base.arrays import Array, Floats, Floats32, Integers
from permgrad.base.errors import InputError, listed
from permgrad.base.random import derive_seed
from permgrad.base.sequences import values_at
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.encode.scores import Target
from permgrad.data.kinds.column import Schema
from permgrad.data.types.as_one import columns_as_one
from permgrad.data.types.column_types import infer_schema, typed_as
from permgrad.imaging.layout import (
    StoredLayout,
    check_layout,
    fit_layout,
    is_foreign,
    make_layout,
)
from permgrad.imaging.path import has_channels, is_ordered
from permgrad.imaging.render import Renderer
from permgrad.models.branches.head_branches import IMAGE, TABLE
from permgrad.models.estimators.calibration import check_calibration
from permgrad.models.estimators.kept_rows import draw_background
from permgrad.models.estimators.order import find_order
from permgrad.models.estimators.prepared import Prepared
from permgrad.models.estimators.presets import get_preset
from permgrad.models.estimators.settings import FitSettings, without_images
from permgrad.models.losses import losses
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.options import NetworkOptions
from permgrad.models.train.guard import sheltered
from permgrad.models.train.learner import TargetUnits, TrainingJob
from permgrad.models.train.training_rows import Rows, TrainingRows

#: Encoded levels from which a category is embedded.
_FEWEST_LEVELS = 50
#: Encoded numbers from minus this to this are drawn as 0 to 1 in the image of a curve.
_CURVE_RANGE = 2.0


def make_encoder(
    model: Any, frame: pd.DataFrame, settings: FitSettings
) -> TableEncoder:
    """Return an encoder with the estimator's arguments.

    ``frame`` shows what its columns are.
    """
    kinds = model.kinds
    numeric = cast("Any", settings.numeric)
    if settings.pairs_as_levels or settings.left_out:
        schema = infer_schema(frame, na=model.na, kinds=model.kinds)
        # A column of yes and no that is text is a category like any other.
        pairs = [
            column_type.name
            for column_type in schema
            if column_type.of.is_truth and column_type.reader.is_truth
        ]
        kinds = {
            **dict.fromkeys(pairs if settings.pairs_as_levels else [], "categorical"),
            **(model.kinds or {}),
        }
        branch_kinds = {
            column_type.name: column_type.of.modality for column_type in schema
        }
        kinds |= {
            column_name: "identifier"
            for column_name, branch_kind in branch_kinds.items()
            if branch_kind in settings.left_out
        }
    arguments = {
        argument_name: getattr(model, argument_name)
        for argument_name in ("na", "groups")
    }
    encoder = TableEncoder(numeric, settings.max_levels, kinds=kinds, **arguments)
    if model.text_encoder is not None:
        from permgrad.models.texts import (
            TextFeatures,
        )  # few models read texts beside their words

        encoder.texts_ = TextFeatures(model.text_encoder, settings.device)
    return encoder


def find_as_one(
    model: Any, frame: pd.DataFrame, schema: Schema
) -> dict[str, list[str]]:
    """Return columns that are one feature where the user declared none.

    Arrays have no names that could say so.
    """
    if model.groups is not None or not hasattr(model, "feature_names_in_"):
        return {}
    return columns_as_one(
        frame[[column_type.name for column_type in schema if column_type.of.is_read]]
    )


def known_types(
    model: Any,
    encoder: TableEncoder,
    frame: pd.DataFrame,
    schema: Schema | None,
    target: Target | None,
    every: pd.DataFrame | None = None,
) -> Schema | None:
    """Return the types of columns that ``encoder`` is to take over, or None.

    The target says which numbers are names.

    Where types are known, whoever found them has asked the target. Else ``every`` row
    decides them, also one that is held out: which these are, is drawn. Counts and the
    target are those of the training rows.
    """
    # A preset may read columns in another way than the types say.
    if schema is not None and (encoder.kinds or {}) == (model.kinds or {}):
        return schema
    if target is None:
        training_target = None
    else:
        training_target = (target.y[: len(frame)], target.classes)
    if every is not None:
        types = infer_schema(every, na=encoder.na, kinds=encoder.kinds)
        return typed_as(
            types, frame, na=encoder.na, kinds=encoder.kinds, target=training_target
        )
    if training_target is None:
        return None
    return infer_schema(
        frame, na=encoder.na, kinds=encoder.kinds, target=training_target
    )


def tensor_rows(model: Any, encoded: Array, coded: Array, weights: Floats) -> Rows:
    """Put rows into tensors. The class weights go into the rows' weights."""
    y = torch.from_numpy(np.ascontiguousarray(coded))
    if model.task.has_classes:
        weights = weights * model.class_weights_[coded]
    if model.task.has_classes:
        y = y.long()
    else:
        y = y.float()
    return Rows(
        torch.from_numpy(np.ascontiguousarray(encoded, dtype=np.float32)),
        y,
        torch.from_numpy(weights).float(),
    )


def places_of(encoder: TableEncoder) -> Integers:
    """Return the encoded columns that may be places of a curve or a picture: numbers,
    or black and white pixels.
    """
    numbers = np.array(encoder.numeric_columns_, dtype=np.int64)
    pairs = np.flatnonzero(encoder.where(lambda part_kind: part_kind.is_switch))
    if len(numbers) >= len(pairs):
        return numbers
    return pairs


def place_columns(
    model: Any, settings: FitSettings, encoded: Array, y: Array
) -> tuple[FitSettings, StoredLayout | None]:
    """Return the settings for these training rows, and the fitted layout.

    None: their image is not drawn here.

    Where the settings seek an order, an image is drawn only if there is one.
    ``model.order_`` says what was found.
    """
    encoder = model.preprocessor_
    layout_seed = derive_seed(model.seed_, "layout") % 2**31
    paths = settings.paths
    placed = np.ones(len(encoder.kinds_), dtype=bool)
    layout = settings.layout
    model.order_ = None
    reads_table = TABLE.name in paths
    if (
        reads_table
    ):  # scores are beside each other in no sense that a convolution could use
        placed = ~encoder.where(lambda part_kind: part_kind.is_score)
    names = list(encoder.encoded_names_)
    numbers = places_of(encoder)
    number_names = values_at(names, numbers)
    if settings.seeks_order:
        model.order_ = find_order(
            np.asarray(encoded)[:, numbers], y, model.task, model.seed_, number_names
        )
        layout = model.order_.layout
    if settings.seeks_order or (reads_table and has_channels(layout, number_names)):
        placed = np.isin(np.arange(len(placed)), numbers)
    if (settings.seeks_order and not model.order_.found) or not placed.any():
        paths = without_images(paths)
    settings = dataclasses.replace(settings, paths=paths, layout=layout)
    if IMAGE.name not in paths or is_foreign(layout):
        return settings, None
    unfitted_layout = make_layout(layout, int(model.pixels), layout_seed)
    fitted = check_layout(
        fit_layout(unfitted_layout, encoded, names, layout_seed, placed=placed)
    )
    if is_ordered(fitted) and get_preset(model.preset).seeks_order:
        settings = settings.for_order(fitted.shape)
    return settings, fitted


def _pooled(
    encoder: TableEncoder, scored: Sequence[Array]
) -> tuple[dict[str, list[list[int]]], list[int]]:
    """Return the scores of each kind, by output, and the numbers that are read less
    their mean within a level.

    What texts say is summed, what photos say, and what levels say: one kind can then
    change what another means.
    """
    pooled: dict[str, list[list[int]]] = {}
    centred = [
        centred_column
        for _, _, *slope_targets in encoder.slopes_
        for centred_column in slope_targets
    ]
    apart = {
        *centred,
        *(slope for slope, _, *centred_targets in encoder.slopes_ if centred_targets),
    }
    for block, column_type in zip(scored, encoder.schema_, strict=True):
        if len(block):
            # The score of a level and what its slopes add are one sum.
            own_columns = [column for column in block.tolist() if column not in apart]
            scores_by_output = np.reshape(
                own_columns, (-1, encoder.scores_.outputs)
            ).tolist()
            pooled.setdefault(column_type.of.modality, []).extend(scores_by_output)
    return pooled, centred


def _without_held_rows(settings: FitSettings, *, in_memory: bool) -> InputError:
    """Return the error of branches that are named, and are fitted on rows that judge
    them.
    """
    wants = f"branches that name {listed(settings.beside, 2, repr)} need"
    if not in_memory:
        problem = f"{wants} all rows in memory, and fit_stream reads them from files"
        return InputError(problem, hint="Use fit.", code="PG006")
    problem = f"{wants} rows held out of training, but there are none"
    return InputError(
        problem, hint="Pass validation_fraction=0.1 or an eval_set.", code="PG006"
    )


def _renderer_of(
    model: Any,
    settings: FitSettings,
    fitted: StoredLayout | None,
    network: NetworkOptions,
) -> Any:
    """Return what draws images of encoded rows, or None."""
    encoder = model.preprocessor_
    layout = settings.layout
    if IMAGE.name in settings.paths and is_foreign(layout):
        from permgrad.imaging.foreign import ForeignRenderer  # few models have one

        return ForeignRenderer(
            layout, None if callable(layout) else list(encoder.encoded_names_)
        )
    if fitted is None:
        return None
    lower_bounds = encoder.minimum_
    upper_bounds = encoder.maximum_
    if is_ordered(fitted) and get_preset(model.preset).seeks_order:
        # One scale for all columns, the encoder's: the range of each would be that of
        # its outliers.
        lower_bounds = np.full_like(lower_bounds, -_CURVE_RANGE)
        upper_bounds = np.full_like(upper_bounds, _CURVE_RANGE)
    return Renderer(
        fitted, lower_bounds, upper_bounds, network.image_channels, network.image_scale
    )


def build_network(
    model: Any,
    settings: FitSettings,
    encoded: Floats32,
    coded: Array,
    rows: TrainingRows,
    validation: Rows | None,
    validation_weight: Floats,
    sample_weight: Array | None = None,
) -> Prepared:
    """Fit the layout on encoded training rows, or a sample of them, and build the
    network.
    """
    model.__dict__.pop(
        "history_", None
    )  # what an earlier training left no longer belongs to the network
    if (
        settings.beside_by_name
        and settings.beside
        and (validation is None or not isinstance(rows, Rows))
    ):
        raise _without_held_rows(settings, in_memory=isinstance(rows, Rows))
    settings, fitted = place_columns(model, settings, encoded, coded)
    encoder = model.preprocessor_
    loss = losses[settings.training.loss]
    _make_network(model, settings, fitted, encoded.shape[1])
    draw_background(model, encoded, coded, sample_weight)
    if model.task.has_classes and model.calibration is not None:
        if validation is None:
            held_out_codes = np.zeros(0, dtype=np.int64)
        else:
            held_out_codes = validation.y.numpy()
        check_calibration(
            model.calibration, model.class_weights_, model.classes_, held_out_codes
        )
    options = settings.training_for(len(rows))
    training_seed = derive_seed(model.seed_, "training")
    training_job = TrainingJob(
        model.module_,
        rows,
        validation,
        options,
        training_seed,
        model.progress,
        columns=encoder.encoded_names_,
        units=TargetUnits(
            getattr(model, "target_mean_", 0.0), getattr(model, "target_scale_", 1.0)
        ),
    )
    kernels = 0
    # A sum with theirs could fall below 0.
    if loss.fitted_by and not loss.positive:
        kernels = settings.network.random_kernels
    beside_options: dict[str, Any] = {
        "beside": settings.beside,
        "beside_by_name": settings.beside_by_name,
    }
    return Prepared(
        training_job,
        model.module_,
        settings.device,
        validation_weight,
        random_kernels=kernels,
        **beside_options,
    )


def _make_network(model: Any, settings: FitSettings, fitted: Any, width: int) -> None:
    """Build the network on encoded columns, and what draws them."""
    encoder = model.preprocessor_
    network = dataclasses.replace(
        settings.network, random_kernels=0
    )  # they come after training
    if model.task.has_classes:
        outputs = len(model.classes_)
    else:
        outputs = 1
    is_level = encoder.where(lambda part_kind: part_kind.is_level)
    is_score = encoder.where(lambda part_kind: part_kind.is_score)
    is_part = encoder.where(lambda part_kind: part_kind.is_part)
    blocks = list(encoder.features("column").values())
    pooled, centred = _pooled(encoder, [block[is_score[block]] for block in blocks])
    categories = [block for block in blocks if not is_part[block].any()]
    with sheltered(derive_seed(model.seed_, "weights")):
        model.renderer_ = _renderer_of(model, settings, fitted, network)
        model.module_ = HybridNetwork(
            width,
            1 if network.single_logit and outputs == 2 else outputs,
            network,
            renderer=model.renderer_,
            paths=settings.paths,
            numeric_columns=sorted([*encoder.numeric_columns_, *centred]),
            level_blocks=[
                block for block in categories if is_level[block].sum() >= _FEWEST_LEVELS
            ],
            score_blocks=list(pooled.values()),
            products=encoder.slopes_,
            absent_blocks=[
                list(chain(*pooled[kind]))
                for kind in ("text", "photo")
                if kind in pooled
            ],
            rates=losses[settings.training.loss].positive,
        )
    model.network_options_ = network.to_dict()
