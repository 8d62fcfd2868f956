"""What a stored model must be, before memory is taken for it and before somebody works with it.

Seal and checksums tell damage, not whether the parts of a model fit together: whoever makes a file can make its seal.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from permgrad.base.arrays import Array, Floats32
from permgrad.base.errors import InputError
from permgrad.base.threads import warning_filters
from permgrad.data.read.cells import check_characters
from permgrad.models.train.guard import sheltered

Module = TypeVar("Module", bound=nn.Module)


def check_layers(layers: int, weights: Mapping[str, Tensor], members: int = 1) -> None:
    """Refuse more layers, or members, than there are weights, before any is made."""
    numbers = sum(weight.numel() for weight in weights.values())
    if layers > len(weights) + 1 or members > numbers:
        raise ValueError(f"a network of {layers} layers and {members} members for {len(weights)} weights")


def built(make: Callable[[], Module], weights: Mapping[str, Tensor]) -> Module:
    """Return a network with its weights. No memory is taken for one that is larger than they are."""
    with sheltered(0):
        with torch.device("meta"):  # where tensors have sizes, and no memory
            expected = make().state_dict()
        if set(weights) != set(expected):
            raise ValueError(f"weights {sorted(set(weights) ^ set(expected))[:3]} do not fit the network")
        for name, stored in weights.items():
            if stored.shape != expected[name].shape or stored.dtype != expected[name].dtype:
                kinds = [f"{weight.dtype} {tuple(weight.shape)}" for weight in (stored, expected[name])]
                raise ValueError(f"weights {name} are {kinds[0]} in the place of {kinds[1]}")
            if not bool(torch.isfinite(stored).all()):
                raise ValueError(f"weights {name} are not all finite")
        module = make()
    module.load_state_dict(weights)
    return module


def try_out(model: Any) -> None:
    """Predict a row without a cell with a fitted model, and look at all that it brings along. Raise ``ValueError``."""
    encoder = model.preprocessor_
    names = encoder.feature_names_in_
    if len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
        raise ValueError("names of features that are no text, or stand more than once")
    if strange := {name for columns in encoder.groups_.values() for name in columns} - set(names):
        raise ValueError(f"groups of columns that are not there ({sorted(map(str, strange))[:3]})")
    if np.any(np.diff(encoder.feature_of_) < 0):
        raise ValueError("encoded columns that are not in the order of their features")
    encoder.to_dict()  # what an encoder was made with is not needed to encode, but to save it again
    with warning_filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoded = np.asarray(encoder.transform(pd.DataFrame([[None] * len(names)], columns=names, dtype=object)))
        if encoded.shape != (1, len(encoder.encoded_names_)) or not np.isfinite(encoded).all():
            raise ValueError("an encoder that gives no finite numbers for a row without a cell")
        if hasattr(model, "predict_encoded"):
            _try_hybrid(model, encoded)
    if not all(model.history_[name].dtype.kind in "biuf" for name in model.history_):
        raise ValueError("a history that does not hold numbers")
    if hasattr(model, "target_mean_") and not np.isfinite([model.target_mean_, model.target_scale_]).all():
        raise ValueError("a target's mean and scale that are not finite")


def check_background(inputs: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]], target: Array) -> None:
    """Refuse, with a ValueError, background rows that are not rows of the model's inputs, which have ``shapes``."""
    if set(inputs) != set(shapes):
        raise ValueError(f"a background of {sorted(inputs)} for inputs {sorted(shapes)}")
    if target.ndim != 1:
        raise ValueError(f"a background's target of shape {target.shape}")
    lean = not any(map(len, inputs.values()))  # saved without rows: a target only says how frequent classes are
    for name, rows in inputs.items():
        if rows.shape != ((1 - lean) * len(target), *shapes[name]) or rows.dtype not in (np.float32, np.uint8):
            raise ValueError(f"a background of {rows.dtype} {rows.shape} for {len(target)} rows of {shapes[name]}")
        if not np.isfinite(rows).all():
            raise ValueError("a background with numbers that are not finite")


def check_classes(model: Any, outputs: int) -> None:
    """Refuse, with a ValueError, classes that are not one for each output. Two may share one."""
    classes, weights = model.classes_, model.class_weights_
    if not len(model.background_target_):
        raise ValueError("a background that has no class")
    if classes.ndim != 1 or len(classes) < 2 or outputs not in ((1, 2) if len(classes) == 2 else (len(classes),)):
        raise ValueError(f"classes of shape {classes.shape} for {outputs} outputs")
    if len(np.unique(classes.astype(str) if classes.dtype == object else classes)) < len(classes):
        raise ValueError("classes that stand more than once")
    try:
        check_characters(classes.tolist(), "classes")
    except InputError:
        raise ValueError("classes that hold half a character") from None
    if weights.shape != classes.shape or not np.isfinite(weights).all():
        raise ValueError(f"class weights of shape {weights.shape} for {len(classes)} classes")


def _try_hybrid(model: Any, encoded: Floats32) -> None:
    """Predict an encoded row."""
    names, outputs = model.preprocessor_.feature_names_in_, model.module_.outputs
    predicted = model.predict_encoded(encoded)
    if predicted.shape != (1, outputs) or model.n_features_in_ != len(names):
        raise ValueError(f"outputs of shape {predicted.shape} in the place of {(1, outputs)}, or other features")
    if [str(name) for name in getattr(model, "feature_names_in_", names)] != list(names):
        raise ValueError("the names of its features are not those that its encoder knows")
    check_background({"table": model.background_}, {"table": (model.module_.encoded,)}, model.background_target_)
    if hasattr(model, "classes_"):
        check_classes(model, outputs)
        probabilities = model.calibration_.probabilities(predicted)
        if probabilities.shape != (1, len(model.classes_)) or not np.isfinite(probabilities).all():
            raise ValueError("probabilities that are not one for each class")
