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
from permgrad.base.errors import must
from permgrad.base.threads import warning_filters
from permgrad.data.read.cells import check_characters
from permgrad.models.train.guard import sheltered

Module = TypeVar("Module", bound=nn.Module)


def check_layers(layers: int, weights: Mapping[str, Tensor], members: int = 1) -> None:
    """Refuse more layers, or members, than there are weights, before any is made."""
    numbers = sum(weight.numel() for weight in weights.values())
    must(layers <= len(weights) + 1 and members <= numbers, f"{layers} layers and {members} members of few weights")


def built(make: Callable[[], Module], weights: Mapping[str, Tensor]) -> Module:
    """Return a network with its weights. No memory is taken for one that is larger than they are."""
    with sheltered(0):
        with torch.device("meta"):  # where tensors have sizes, and no memory
            expected = make().state_dict()
        must(set(weights) == set(expected), f"weights {sorted(set(weights) ^ set(expected))[:3]} do not fit")
        for name, stored in weights.items():
            found, wanted = (f"{weight.dtype} {tuple(weight.shape)}" for weight in (stored, expected[name]))
            must(found == wanted, f"weights {name} are {found} in the place of {wanted}")
            must(bool(torch.isfinite(stored).all()), f"weights {name} are not all finite")
        module = make()
    module.load_state_dict(weights)
    return module


def try_out(model: Any) -> None:
    """Predict a row without a cell with a fitted model, and look at all that it brings along. Raise ``ValueError``."""
    encoder = model.preprocessor_
    names = encoder.feature_names_in_
    must(len(set(names)) == len(names) and all(isinstance(name, str) for name in names), "the names of features")
    strange = {name for columns in encoder.groups_.values() for name in columns} - set(names)
    must(not strange, f"groups of columns that are not there ({sorted(map(str, strange))[:3]})")
    must(not np.any(np.diff(encoder.feature_of_) < 0), "encoded columns that are not in the order of their features")
    encoder.to_dict()  # what an encoder was made with is not needed to encode, but to save it again
    with warning_filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoded = np.asarray(encoder.transform(pd.DataFrame([[None] * len(names)], columns=names, dtype=object)))
        fits = encoded.shape == (1, len(encoder.encoded_names_)) and np.isfinite(encoded).all()
        must(fits, "an encoder that gives no finite numbers for a row without a cell")
        if hasattr(model, "predict_encoded"):
            _try_hybrid(model, encoded)
    must(all(model.history_[name].dtype.kind in "biuf" for name in model.history_), "a history that holds no numbers")
    scale = [getattr(model, name, 0.0) for name in ("target_mean_", "target_scale_")]
    must(np.isfinite(scale).all(), "a target's mean and scale that are not finite")


def check_background(inputs: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]], target: Array) -> None:
    """Refuse, with a ValueError, background rows that are not rows of the model's inputs, which have ``shapes``."""
    must(set(inputs) == set(shapes), f"a background of {sorted(inputs)} for inputs {sorted(shapes)}")
    must(target.ndim == 1, f"a background's target of shape {target.shape}")
    lean = not any(map(len, inputs.values()))  # saved without rows: a target only says how frequent classes are
    for name, rows in inputs.items():
        fits = rows.shape == ((1 - lean) * len(target), *shapes[name]) and rows.dtype in (np.float32, np.uint8)
        must(fits and np.isfinite(rows).all(), f"a background of {rows.dtype} {rows.shape}, or not finite")


def check_classes(model: Any, outputs: int) -> None:
    """Refuse, with a ValueError, classes that are not one for each output. Two may share one."""
    classes, weights = model.classes_, model.class_weights_
    must(len(model.background_target_), "a background that has no class")
    must(
        classes.ndim == 1 and len(classes) >= 2 and outputs in ((1, 2) if len(classes) == 2 else (len(classes),)),
        f"classes of shape {classes.shape} for {outputs} outputs",
    )
    different = np.unique(classes.astype(str) if classes.dtype == object else classes)
    must(len(different) == len(classes), "classes that stand more than once")
    check_characters(classes.tolist(), "classes")
    must(weights.shape == classes.shape and np.isfinite(weights).all(), f"class weights of shape {weights.shape}")


def _try_hybrid(model: Any, encoded: Floats32) -> None:
    """Predict an encoded row."""
    names, outputs = model.preprocessor_.feature_names_in_, model.module_.outputs
    predicted = model.predict_encoded(encoded)
    must(predicted.shape == (1, outputs), f"outputs of shape {predicted.shape} in the place of {(1, outputs)}")
    known = [str(name) for name in getattr(model, "feature_names_in_", names)] == list(names)
    must(known and model.n_features_in_ == len(names), "features that are not those that its encoder knows")
    check_background({"table": model.background_}, {"table": (model.module_.encoded,)}, model.background_target_)
    if hasattr(model, "classes_"):
        check_classes(model, outputs)
        probabilities = model.calibration_.probabilities(predicted)
        fits = probabilities.shape == (1, len(model.classes_)) and np.isfinite(probabilities).all()
        must(fits, "probabilities that are not one for each class")
