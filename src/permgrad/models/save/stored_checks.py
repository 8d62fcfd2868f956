"""What a stored model must be, before memory is taken for it and before somebody works with it.

A seal and checksums tell damage. They do not tell whether the parts of a model fit together: whoever makes a file can
make its seal. What does not fit is found here, not in the middle of somebody's work.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from permgrad.base.threads import warning_filters
from permgrad.data.read.cells import with_half_character
from permgrad.models.devices import device_of
from permgrad.models.train.guard import sheltered

Module = TypeVar("Module", bound=nn.Module)

_RENDERER = "renderer."
#: Numbers that building a network may take beyond those of its weights: a few copies, and small constants.
_COPIES, _CONSTANTS = 4, 1_000_000


class Outline(nn.Module):
    """Stands for a renderer while a network is built: it has the size of the images, and draws nothing."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, encoded: Tensor) -> Tensor:
        """Return what has the shape of images ``(n, channels, height, width)``, and takes no memory."""
        return torch.empty(1, 1, 1, 1).expand(len(encoded), *self.shape)


class Budget(TorchFunctionMode):
    """Refuses, while it is on, to make tensors of more numbers in all than a network with given weights takes.

    Sizes stand in a file's description, which may say anything; the numbers themselves stand in the file.

    Raises:
        ValueError: a tensor is to be made for which there are no numbers left.

    Examples:
        >>> with Budget({"weight": torch.zeros(2, 3)}):
        ...     layer = nn.Linear(10**7, 10**7)
        Traceback (most recent call last):
        ValueError: a network of more than 100,000,000,000,000 numbers for weights of 6
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.numbers = sum(value.numel() for value in weights.values())
        self.left = _COPIES * self.numbers + _CONSTANTS

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count what a tensor takes before it is made."""
        del types
        if function in _MAKERS:
            made = math.prod(_sizes(args))
            self.left -= made
            if self.left < 0:
                raise ValueError(f"a network of more than {made:,} numbers for weights of {self.numbers:,}")
        return function(*args, **(kwargs or {}))


_MAKERS = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.randint)


def _sizes(args: tuple[Any, ...]) -> tuple[int, ...]:
    """Return the sizes among the arguments of a function that makes a tensor: a tuple of them, or the arguments."""
    listed = [argument for argument in args if isinstance(argument, (tuple, list))]
    return tuple(listed[0]) if listed else tuple(argument for argument in args if isinstance(argument, int))


def built(make: Callable[[], Module], weights: Mapping[str, Tensor]) -> Module:
    """Return a network with its weights; no memory is taken for one that is larger than they are.

    Raises:
        ValueError: the weights are not those of the network, or not finite.
    """
    with sheltered(0), Budget(weights):
        module = make()
    check_weights(module, weights)
    module.load_state_dict(weights, strict=False)
    return module


def check_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Refuse, with a ValueError, weights that are not those of the network, or not finite."""
    # The renderer has no weights of ours.
    state = {name: value for name, value in module.state_dict().items() if not name.startswith(_RENDERER)}
    if set(weights) != set(state):
        raise ValueError(f"weights {sorted(set(weights) ^ set(state))[:3]} do not fit the network")
    for name, value in state.items():
        stored = weights[name]
        if stored.shape != value.shape or stored.dtype != value.dtype:
            kinds = [f"{weight.dtype} {tuple(weight.shape)}" for weight in (stored, value)]
            raise ValueError(f"weights {name} are {kinds[0]} in the place of {kinds[1]}")
        if not bool(torch.isfinite(stored).all()):
            raise ValueError(f"weights {name} are not all finite")


def check_columns(columns: Any, encoded: int) -> None:
    """Refuse, with a ValueError, numbers of encoded columns that there are not; None is all of them."""
    if columns is not None and not all(isinstance(column, int) and 0 <= column < encoded for column in columns):
        raise ValueError(f"columns {columns!r:.60} of {encoded}")


def check_encoder(encoder: Any) -> None:
    """Refuse, with a ValueError, an encoder of strange columns, or that cannot encode a row without a cell."""
    names = encoder.feature_names_in_
    if len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
        raise ValueError("names of features that are no text, or stand more than once")
    for blocks in (encoder.groups_, encoder.variables_):
        if strange := {name for block in blocks.values() for name in block} - set(names):
            raise ValueError(f"groups of columns that are not there ({sorted(map(str, strange))[:3]})")
    if np.any(np.diff(encoder.feature_of_) < 0):
        raise ValueError("encoded columns that are not in the order of their features")
    encoder.to_dict()  # what an encoder was made with is not needed to encode, but to save it again
    encoded = encoder.transform(_empty_row(names))
    if encoded.shape != (1, len(encoder.encoded_names_)) or not np.isfinite(encoded).all():
        raise ValueError("an encoder that gives no finite numbers for a row without a cell")


def check_background(
    inputs: Mapping[str, npt.NDArray[Any]], shapes: Mapping[str, tuple[int, ...]], target: npt.NDArray[Any]
) -> None:
    """Refuse, with a ValueError, background rows that are not rows of the model's inputs, which have ``shapes``."""
    if set(inputs) != set(shapes):
        raise ValueError(f"a background of {sorted(inputs)} for inputs {sorted(shapes)}")
    for name, rows in inputs.items():
        if rows.shape != (len(target), *shapes[name]) or rows.dtype not in (np.float32, np.uint8):
            raise ValueError(f"a background of {rows.dtype} {rows.shape} for {len(target)} rows of {shapes[name]}")
        if not len(target) or not np.isfinite(rows).all():
            raise ValueError("a background without rows, or with numbers that are not finite")
    if target.ndim != 1:
        raise ValueError(f"a background's target of shape {target.shape}")


def check_classes(model: Any, outputs: int) -> None:
    """Refuse, with a ValueError, classes that are not one for each output; two may share one."""
    classes, weights = model.classes_, model.class_weights_
    if classes.ndim != 1 or len(classes) < 2 or outputs not in ((1, 2) if len(classes) == 2 else (len(classes),)):
        raise ValueError(f"classes of shape {classes.shape} for {outputs} outputs")
    if len(np.unique(classes.astype(str) if classes.dtype == object else classes)) < len(classes):
        raise ValueError("classes that stand more than once")
    if with_half_character(classes.tolist()) is not None:
        raise ValueError("classes that hold half a character")
    if weights.shape != classes.shape or not np.isfinite(weights).all():
        raise ValueError(f"class weights of shape {weights.shape} for {len(classes)} classes")


def try_out(model: Any) -> None:
    """Predict a row with a fitted model, and look at all that it brings along."""
    with warning_filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_encoder(model.preprocessor_)
        (_try_images if hasattr(model, "images_") else _try_hybrid)(model)
    if not all(model.history_[name].dtype.kind in "biuf" for name in model.history_):
        raise ValueError("a history that does not hold numbers")
    if hasattr(model, "target_mean_") and not np.isfinite([model.target_mean_, model.target_scale_]).all():
        raise ValueError("a target's mean and scale that are not finite")


def _try_hybrid(model: Any) -> None:
    """Predict a row without a cell."""
    names = model.preprocessor_.feature_names_in_
    row = _empty_row(names)
    outputs = model.predict_encoded(model.preprocessor_.transform(row))
    expected = (1, model.module_.outputs)
    if outputs.shape != expected or model.n_features_in_ != len(names):
        raise ValueError(f"outputs of shape {outputs.shape} in the place of {expected}, or other features")
    if [str(name) for name in getattr(model, "feature_names_in_", names)] != list(names):
        raise ValueError("the names of its features are not those that its encoder knows")
    check_background({"table": model.background_}, {"table": (model.module_.encoded,)}, model.background_target_)
    if hasattr(model, "classes_"):
        check_classes(model, model.module_.outputs)
        probabilities = model.predict_proba(row)
        if probabilities.shape != (1, len(model.classes_)) or not np.isfinite(probabilities).all():
            raise ValueError("probabilities that are not one for each class")


def _try_images(model: Any) -> None:
    """Predict a row of the background."""
    shapes: dict[str, tuple[int, ...]] = {
        column.name: (column.channels, column.height, column.width) for column in model.images_
    }
    if len(shapes) < len(model.images_) or not shapes:
        raise ValueError("images that are not there, or of one name")
    shapes[model.table_input] = (len(model.preprocessor_.encoded_names_),)
    check_background(model.background_, shapes, model.background_target_)
    outputs = len(model.classes_) if model.task == "classification" else 1
    if model.task == "classification":
        check_classes(model, outputs)
    row = model.background()
    tensors = [torch.from_numpy(np.asarray(row[name], dtype=np.float32)[:1]) for name in shapes]
    with torch.no_grad():
        row_outputs = model.module_(*(tensor.to(device_of(model.module_)) for tensor in tensors))
    if tuple(row_outputs.shape) != (1, outputs) or not bool(torch.isfinite(row_outputs).all()):
        raise ValueError(f"outputs of shape {tuple(row_outputs.shape)} in the place of {(1, outputs)}, or not finite")


def _empty_row(names: Any) -> pd.DataFrame:
    return pd.DataFrame([[None] * len(names)], columns=names, dtype=object)
