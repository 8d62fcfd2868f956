"""Reading saved networks: their weights, encoder and what was learned beside them.

Nothing executes.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load as weights_from_bytes
from torch import Tensor, nn

from permgrad.base.arrays import Array, Floats32
from permgrad.base.errors import InputError, must
from permgrad.base.stored import read_npz, read_times
from permgrad.base.threads import warning_filters
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.read.cells import check_characters
from permgrad.imaging.foreign import renderer_from_dict
from permgrad.imaging.render import Renderer
from permgrad.models.branches import added_branches
from permgrad.models.decision import read_decision
from permgrad.models.estimators.calibration import Calibration
from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor
from permgrad.models.estimators.intervals import HeldOut
from permgrad.models.estimators.order import Order
from permgrad.models.estimators.presets import preset_from_dict
from permgrad.models.estimators.settings import choose_device
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.options import NetworkOptions
from permgrad.models.save.model_folders import ARRAYS, WEIGHTS, read_part
from permgrad.models.train.guard import sheltered

Module = TypeVar("Module", bound=nn.Module)


def restore(
    source: Path,
    description: Mapping[str, Any],
    *,
    user_code: Mapping[str, Any],
    device: Any,
    **_: Any,
) -> Any:
    """Return the model of a folder with this description.

    ``user_code``: the user's code that it was fitted with.
    """
    weights: dict[str, Any] = read_part(
        source / WEIGHTS, description, "a safetensors file", tensors
    )
    arrays: dict[str, Any] = read_part(
        source / ARRAYS, description, "an npz file of plain arrays", read_npz
    )
    if "history.epoch" in arrays:
        seconds = read_times(source)
        count = len(arrays["history.epoch"])
        is_complete = isinstance(seconds, list) and len(seconds) == count
        arrays["history.seconds"] = np.array(
            seconds if is_complete else [np.nan] * count
        )
    chosen_device = choose_device(device)
    model = _rebuild(description, arrays, weights, user_code)
    model.module_ = model.module_.to(chosen_device).eval()
    for reader in filter(
        None, (model.preprocessor_.images_, model.preprocessor_.texts_)
    ):
        reader.to(chosen_device)
    _try_out(model)
    return model


def tensors(content: bytes) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file. ``ValueError``: it is a pickle."""
    # PyTorch's own files are zips or raw pickles. A safetensors file starts with the
    # length of its JSON header.
    must(
        content[:2] != b"PK" and (content[:1] != b"\x80" or content[8:9] == b"{"),
        "it looks like a pickle, which could run code on loading and is never opened",
    )
    return weights_from_bytes(content)


def _unpack(value: Any) -> Any:
    if isinstance(value, list):
        return list(map(_unpack, value))
    if isinstance(value, dict):
        if "number" in value:
            return float(value["number"])
        if "preset" in value:
            return preset_from_dict(value["preset"])
        if "tuple" in value:
            return tuple(map(_unpack, value["tuple"]))
        return {
            _unpack(packed_key): _unpack(packed_item)
            for packed_key, packed_item in value["mapping"]
        }
    return value


def _restore(
    model: Any, description: Mapping[str, Any], arrays: Mapping[str, Array]
) -> None:
    """Give a model what every kind of model has."""
    model.preprocessor_ = TableEncoder.from_dict(description["preprocessor"])
    model.seed_ = int(description["seed"])
    model.best_epoch_ = int(description["best_epoch"])
    if "target_name" in description:
        target_name = str(description["target_name"])
        check_characters([target_name], "the target's name")
        model.target_name_ = target_name
    model.history_ = pd.DataFrame(
        {
            history_name: arrays[f"history.{history_name}"]
            for history_name in description["history"]
        }
    )
    model.background_target_ = arrays["background_target"]
    if model.task.numeric:
        model.target_mean_ = float(description["target"]["mean"])
        model.target_scale_ = float(description["target"]["scale"])
    else:
        classes = arrays["classes"]
        if description["classes_are_objects"]:
            model.classes_ = classes.astype(object)
        else:
            model.classes_ = classes
        model.class_weights_ = np.array(description["class_weights"], dtype=np.float64)


def _rebuild(
    description: Mapping[str, Any],
    arrays: Mapping[str, Array],
    weights: dict[str, Tensor],
    user_code: Mapping[str, Any],
) -> Any:
    drawn = description["renderer"]
    renderer = None
    if drawn is not None:
        renderer = renderer_from_dict(drawn, user_code.get("layout"))
    model = _unfitted(description, user_code, renderer)
    _restore(model, description, arrays)
    model.image_encoder = user_code.get("image", model.image_encoder)
    model.text_encoder = user_code.get("text", model.text_encoder)
    read_features(model, description, weights)
    model.module_ = _rebuild_network(
        description["network"],
        len(model.preprocessor_.encoded_names_),
        renderer,
        weights,
    )
    model.renderer_ = renderer
    if "order" in description:
        model.order_ = Order(**description["order"])
    else:
        model.order_ = None
    model.network_options_ = model.module_.options.to_dict()
    model.training_options_ = dict(_unpack(description["training_options"]))
    model.n_features_in_ = int(description["n_features_in"])
    if description["feature_names_in"] is not None:
        model.feature_names_in_ = np.array(
            description["feature_names_in"], dtype=object
        )
    model.background_ = arrays["background"]
    model.rows_compared_ = arrays.get("rows_compared")
    model.held_out_ = HeldOut.from_arrays(
        arrays, len(model.preprocessor_.encoded_names_)
    )
    branches_ = {}
    for branch_name, facts in description.get("branches", {}).items():
        branches_[branch_name] = dict(facts)
    model.branches_ = branches_
    model.has_offset_ = bool(description.get("offset", False))
    if isinstance(model, HyNNClassifier):
        model.calibration_ = Calibration.from_dict(description["calibration"])
        model.decision_ = read_decision(description, model.classes_)
    return model


def _unfitted(
    description: Mapping[str, Any], stored_values: Mapping[str, Any], renderer: Any
) -> Any:
    """Return the estimator with its parameters, before it was fitted."""
    kinds: dict[str, Callable[..., Any]] = {}
    for kind in (HyNNClassifier, HyNNRegressor):
        kinds[kind.__name__] = kind
    parameters = dict(description["parameters"])
    layout = parameters["layout"]
    if isinstance(layout, dict):  # it was fitted: its positions are the renderer's
        parameters["layout"] = None
        layout = stored_values.get("layout", getattr(renderer, "layout", None))
    elif not isinstance(layout, (str, type(None))):
        raise TypeError(f"the layout {layout!r:.40}, which is no name")
    model: Any = kinds[description["estimator"]](
        **{name: _unpack(value) for name, value in parameters.items()}
    )
    model.layout = layout
    return model


def read_features(
    model: Any, description: Mapping[str, Any], weights: dict[str, Tensor]
) -> None:
    """Let a model's encoder read texts and images as when it was saved."""
    if model.text_encoder is not None or description.get("own_text_encoder"):
        from permgrad.models.texts import (
            TextFeatures,
        )  # few models read texts beside their words

        model.preprocessor_.read_texts_with(TextFeatures(model.text_encoder))
    if columns := description.get("images_of_columns"):
        from permgrad.models.images import ImageFeatures  # few tables have images

        model.preprocessor_.images_ = ImageFeatures.from_dict(
            columns, weights, _built, model.image_encoder
        )


def _rebuild_network(
    content: Mapping[str, Any], encoded: int, renderer: Any, weights: dict[str, Tensor]
) -> HybridNetwork:
    """Return the network with its weights.

    No memory is taken for one that is larger than they are.
    """
    options = NetworkOptions.from_mapping(content["options"])
    numeric = content["numeric_columns"]
    blocks = content["level_blocks"]
    scores = content.get("score_blocks", ())
    products = content.get("products", ())
    _check_columns([numeric, *blocks, *chain.from_iterable(scores), *products], encoded)
    must(
        content["encoded"] == encoded,
        f"a network of {content['encoded']!r} columns for an encoder of {encoded}",
    )
    numbers = sum(weight.numel() for weight in weights.values())
    _check_size(options, weights, numbers)
    # Only somebody else's code knows the size of its images, and tells it by drawing
    # one.
    picture_shape: Any = None
    if isinstance(renderer, Renderer):
        picture_shape = renderer.channels, renderer.height, renderer.width
    elif renderer is not None:
        picture_shape = renderer(torch.zeros(1, encoded)).shape[1:]
    columns = {
        "numeric_columns": numeric,
        "level_blocks": blocks,
        "score_blocks": scores,
        "paths": content["paths"],
    }
    columns |= {"products": products, "rates": content.get("rates", False)}
    outputs = int(content["outputs"])
    described_branches = content.get("additive", {})
    shares = _checked_shares(described_branches)
    sizes = {}
    for branch_name, described in described_branches.items():
        sizes[branch_name] = _checked_sizes(branch_name, described, numbers)

    def make() -> HybridNetwork:
        additive_branches = {}
        for branch_name in shares:
            additive_branches[branch_name] = added_branches()[branch_name].make(
                encoded, outputs, **sizes[branch_name]
            )
        return HybridNetwork(
            encoded,
            outputs,
            options,
            image_shape=picture_shape,
            additive=additive_branches,
            shares=shares,
            **columns,
        )

    module = _built(make, weights)
    for branch_name, branch in module.additive.items():
        added_branches()[branch_name].check(branch)
    if module.image_branch is not None:
        module.renderer = renderer
    return module


def _check_size(
    options: NetworkOptions, weights: Mapping[str, Tensor], numbers: int
) -> None:
    """Refuse a network that is larger than its weights."""
    layers = sum(
        len(sizes)
        for sizes in dataclasses.asdict(options).values()
        if isinstance(sizes, tuple)
    )
    fits = layers <= len(weights) + 1 and options.members <= numbers
    must(
        fits,
        f"a network of {layers} layers and {options.members} members for "
        f"{len(weights)} weights",
    )


def _check_columns(blocks: Iterable[Any], encoded: int) -> None:
    """Refuse columns that an encoder of so many does not have."""
    for columns in blocks:
        must(
            columns is None
            or all(
                isinstance(column, int) and 0 <= column < encoded for column in columns
            ),
            f"columns {columns!r:.60} of {encoded}",
        )


def _checked_shares(described_branches: Mapping[str, Any]) -> dict[str, float]:
    """Return the shares of branches beside the head."""
    shares = {}
    for branch_name, described in described_branches.items():
        if branch_name not in added_branches():
            problem = (
                f"The model has a branch {branch_name!r:.40}, which is unknown here"
            )
            hint = "Import the module that registers it, then load the model."
            raise InputError(problem, hint=hint, code="PG052")
        shares[branch_name] = described["share"]
    has_valid_shares = all(
        isinstance(share, float) and 0 < share < 1 for share in shares.values()
    )
    must(has_valid_shares, f"branches beside the head {shares!r:.60}")
    return shares


def _checked_sizes(
    branch_name: str, described: Mapping[str, Any], numbers: int
) -> dict[str, int]:
    """Return the sizes that a branch is made with, of a file with so many numbers."""
    sizes = {}
    for size_name in added_branches()[branch_name].sizes:
        size = described.get("sizes", {}).get(size_name)
        must(
            isinstance(size, int) and 0 <= size <= numbers,
            f"{branch_name} of sizes {described.get('sizes')!r:.60}",
        )
        sizes[size_name] = size
    return sizes


def _built(make: Callable[[], Module], weights: Mapping[str, Tensor]) -> Module:
    """Return a network with its weights.

    No memory is taken for one that is larger than they are.
    """
    with sheltered(0):
        with torch.device("meta"):  # where tensors have sizes, and no memory
            expected = make().state_dict()
        must(
            set(weights) == set(expected),
            f"weights {sorted(set(weights) ^ set(expected))[:3]} do not fit",
        )
        for weight_name, stored in weights.items():
            found_form, expected_form = (
                f"{weight.dtype} {tuple(weight.shape)}"
                for weight in (stored, expected[weight_name])
            )
            must(
                found_form == expected_form,
                f"weights {weight_name} are {found_form} in the place of "
                f"{expected_form}",
            )
            must(
                bool(torch.isfinite(stored).all()),
                f"weights {weight_name} are not all finite",
            )
        module = make()
    module.load_state_dict(weights)
    return module


def _try_out(model: Any) -> None:
    """Predict a row without a cell, and look at all that a fitted model brings along.

    Raise ``ValueError``.

    Seal and checksums tell damage, not whether the parts of a model fit together:
    whoever makes a file can make its seal.
    """
    names = model.preprocessor_.feature_names_in_
    outputs = model.module_.outputs
    with warning_filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predicted = model.predict_encoded(_encoded_empty_row(model.preprocessor_))
        must(
            predicted.shape == (1, outputs),
            f"outputs of shape {predicted.shape} in the place of {(1, outputs)}",
        )
        is_known = list(map(str, getattr(model, "feature_names_in_", names))) == list(
            names
        )
        must(
            is_known and model.n_features_in_ == len(names),
            "features that are not those that its encoder knows",
        )
        _check_background(
            model.background_, model.module_.encoded, model.background_target_
        )
        check_compared(model.rows_compared_, len(model.background_))
        if hasattr(model, "classes_"):
            _check_classes(model, outputs)
            probabilities = model.calibration_.probabilities(predicted)
            has_valid_shape = (
                probabilities.shape == (1, len(model.classes_))
                and np.isfinite(probabilities).all()
            )
            must(has_valid_shape, "probabilities that are not one for each class")
    must(
        all(
            model.history_[history_name].dtype.kind in "biuf"
            for history_name in model.history_
        ),
        "a history that holds no numbers",
    )
    scale = []
    for scale_name in ("target_mean_", "target_scale_"):
        scale.append(getattr(model, scale_name, 0.0))
    must(np.isfinite(scale).all(), "a target's mean and scale that are not finite")


def _encoded_empty_row(encoder: TableEncoder) -> Floats32:
    """Return how an encoder encodes a row without a cell ``(1, encoded)``."""
    names = encoder.feature_names_in_
    must(
        len(set(names)) == len(names)
        and all(isinstance(feature_name, str) for feature_name in names),
        "the names of features",
    )
    strange = set(chain.from_iterable(encoder.groups_.values())) - set(names)
    must(
        not strange,
        f"groups of columns that are not there ({sorted(map(str, strange))[:3]})",
    )
    must(
        not np.any(np.diff(encoder.feature_of_) < 0),
        "encoded columns that are not in the order of their features",
    )
    # what an encoder was made with is not needed to encode, but to save it again
    encoder.to_dict()
    encoded = np.asarray(
        encoder.transform(
            pd.DataFrame([[None] * len(names)], columns=names, dtype=object)
        )
    )
    is_valid = (
        encoded.shape == (1, len(encoder.encoded_names_)) and np.isfinite(encoded).all()
    )
    must(is_valid, "an encoder that gives no finite numbers for a row without a cell")
    return encoded


def _check_background(rows: Array, width: int, target: Array) -> None:
    """Refuse, with a ValueError, background rows that are not encoded rows ``(rows,
    width)`` of the model.
    """
    must(target.ndim == 1, f"a background's target of shape {target.shape}")
    # Saved without rows, a target only says how frequent classes are.
    is_valid = (
        rows.shape == (len(target) if len(rows) else 0, width)
        and rows.dtype == np.float32
    )
    must(
        is_valid,
        f"a background of {rows.dtype} {rows.shape} for {len(target)} rows of {width} "
        "columns",
    )
    must(np.isfinite(rows).all(), "a background with numbers that are not finite")


def check_compared(row_indices: Array | None, count: int) -> None:
    """Refuse, with a ValueError, places of rows to compare with that are none of
    ``count`` rows.
    """
    if row_indices is None:
        return
    fits = row_indices.ndim == 1 and row_indices.dtype.kind in "iu"
    must(fits, f"rows to compare with of {row_indices.dtype} {row_indices.shape}")
    inside = bool(((row_indices >= 0) & (row_indices < count)).all())
    must(inside, "rows to compare with that do not exist")


def _check_classes(model: Any, outputs: int) -> None:
    """Refuse, with a ValueError, classes that are not one for each output.

    Two may share one.
    """
    classes = model.classes_
    weights = model.class_weights_
    must(len(model.background_target_), "a background that has no class")
    must(
        classes.ndim == 1
        and len(classes) >= 2
        and outputs in ((1, 2) if len(classes) == 2 else (len(classes),)),
        f"classes of shape {classes.shape} for {outputs} outputs",
    )
    different = np.unique(classes.astype(str) if classes.dtype == object else classes)
    must(len(different) == len(classes), "classes that stand more than once")
    check_characters(classes.tolist(), "classes")
    must(
        weights.shape == classes.shape and np.isfinite(weights).all(),
        f"class weights of shape {weights.shape}",
    )
