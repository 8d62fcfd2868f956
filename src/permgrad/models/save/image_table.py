"""Networks of images and a table as permgrad 0.1 saved them: they predict as they did. Nothing trains one any more."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from torch import Tensor, nn

from permgrad.base.arrays import Array, Floats
from permgrad.base.errors import InputError
from permgrad.data.encode.encoding import TableEncoder, align_columns
from permgrad.data.image_table import each_image, read_image
from permgrad.data.read.cells import as_frame
from permgrad.data.read.image_cells import source_of
from permgrad.models.estimators.kept_rows import kept_rows
from permgrad.models.save.checks import built, check_background, check_classes, check_layers

#: Rows per forward, and pixels of a side of an image.
_ROWS, _MOST_PIXELS = 256, 4096
_UNITS = ("filters", "cells", "image_units", "table_units", "head_units")


class _Standardise(nn.Module):
    def __init__(self, mean: Sequence[float], spread: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(-1, 1, 1))
        self.register_buffer("spread", torch.tensor(spread, dtype=torch.float32).reshape(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.spread  # type: ignore[operator]


class _Network(nn.Module):
    """One tensor ``(rows, channels, height, width)`` in 0 … 1 for each image column, then the encoded table."""

    def __init__(self, columns: Sequence[Mapping[str, Any]], encoded: int, outputs: int, units: Any) -> None:
        super().__init__()
        fused = len(columns) * units["image_units"] + units["table_units"][-1]
        encoders = nn.ModuleList(_convolutions(column, units) for column in columns)
        self.image_branch = nn.ModuleDict({"columns": encoders})
        self.table_branch = _dense(encoded, units["table_units"])
        self.head = nn.Sequential(*_dense(fused, units["head_units"]), nn.Linear(units["head_units"][-1], outputs))
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return logits, or predictions in the target's units ``(rows, outputs)``."""
        columns: Any = self.image_branch["columns"]
        pairs = zip((*columns, self.table_branch), inputs, strict=True)
        return self.head(torch.cat([branch(one) for branch, one in pairs], dim=1)) * self.scale + self.centre


def _convolutions(column: Mapping[str, Any], units: Mapping[str, Any]) -> nn.Sequential:
    layers: list[nn.Module] = [_Standardise(column["mean"], column["spread"])]
    before, cells = column["channels"], units["cells"]
    side = min(column["height"], column["width"])
    halvings = max(1, min(len(units["filters"]), int(math.log2(max(side / cells, 2)))))
    for number, filters in enumerate(units["filters"]):
        layers += [nn.Conv2d(before, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if number < halvings else []
        before = filters
    last = nn.Linear(before * cells * cells, units["image_units"])
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(cells), nn.Flatten(), nn.Identity(), last, nn.ReLU())


def _dense(before: int, units: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for count in units:  # the third layer stands where dropout stood in training
        layers += [nn.Linear(before, count), nn.ReLU(), nn.Identity()]
        before = count
    return nn.Sequential(*layers)


def _read(pixels: dict[str, Array], size: tuple[int, int, int], cell: str) -> None:
    pixels[cell] = read_image(source_of(cell), *size)


class ImageTableModel:
    """A saved network of images and a table. It takes a frame with its image columns, as paths, and the table's.

    Attributes:
        module_: the network, which ``pg.explain(model.module_, model.inputs(rows), ...)`` takes as any other.
        feature_names_in_: names of the image columns, then of the table's.
        classes_: sorted classes. Classification only.
    """

    preprocessor_: TableEncoder
    classes_: Array
    background_target_: Array
    module_: Any

    def __init__(self, task: str, images: Sequence[Mapping[str, Any]]) -> None:
        self.task, self.images = task, {str(one["name"]): one for one in images}
        if not images or len(self.images) < len(images):
            raise ValueError("images that are not there, or of one name")
        names = ("table", *(f"table_{number}" for number in range(2, 99)))
        self.table_input = next(name for name in names if name not in self.images)
        self.sizes = {name: (one["channels"], one["height"], one["width"]) for name, one in self.images.items()}

    def rebuild(
        self, description: Mapping[str, Any], arrays: Mapping[str, Array], weights: Mapping[str, Tensor]
    ) -> None:
        """Make the network of a model whose encoder and classes are known, and predict a row with it."""
        units = {name: description["network"][name] for name in _UNITS}
        layers = [one for many in units.values() for one in (many if isinstance(many, list) else [many])]
        sides = [side for size in self.sizes.values() for side in size]
        if not all(type(one) is int and one > 0 for one in (*layers, *sides)) or max(sides) > _MOST_PIXELS:
            raise ValueError("layers or images whose sizes are no usual whole numbers")
        check_layers(len(layers), weights)
        encoder, outputs = self.preprocessor_, len(self.classes_) if self.task == "classification" else 1
        encoded, columns = len(encoder.encoded_names_), list(self.images.values())
        self.module_ = built(lambda: _Network(columns, encoded, outputs, units).eval(), weights)
        self.feature_names_in_ = np.array([*self.images, *encoder.feature_names_in_], dtype=object)
        self.background_ = {str(name): arrays[f"background.{at}"] for at, name in enumerate(description["background"])}
        shapes: dict[str, tuple[int, ...]] = {**self.sizes, self.table_input: (encoded,)}
        check_background(self.background_, shapes, self.background_target_)
        if self.task == "classification":
            check_classes(self, outputs)
        predicted = self._run(self._shown({name: np.zeros((1, *shape)) for name, shape in shapes.items()}))
        if predicted.shape != (1, outputs) or not np.isfinite(predicted).all():
            raise ValueError(f"outputs of shape {predicted.shape} in the place of {(1, outputs)}, or not finite")

    def inputs(self, rows: pd.DataFrame) -> dict[str, Any]:
        """Return what the network takes: images in 0 … 1, and the encoded table as a frame."""
        frame, arrays = align_columns(as_frame(rows), list(self.feature_names_in_)), {}
        for name, size in self.sizes.items():
            cells, pixels = frame[name].fillna("").tolist(), dict[str, Array]()
            each_image(name, list(dict.fromkeys(cells)), partial(_read, pixels, size), len(cells))
            arrays[name] = np.stack([pixels[cell] for cell in cells])
        table = frame[list(self.preprocessor_.feature_names_in_)]
        return self._shown({**arrays, self.table_input: self.preprocessor_.transform(table)})

    def background(self) -> dict[str, Any]:
        """Return the training rows that were kept, in the form of ``inputs``."""
        return self._shown(kept_rows(self))

    def _shown(self, arrays: Mapping[str, Array]) -> dict[str, Any]:
        images = {name: arrays[name].astype(np.float32) / np.float32(255) for name in self.images}
        names = list(self.preprocessor_.encoded_names_)
        return {**images, self.table_input: pd.DataFrame(arrays[self.table_input], columns=names)}

    @torch.no_grad()
    def _run(self, inputs: Mapping[str, Any]) -> Floats:
        tensors = [torch.as_tensor(np.array(one, dtype=np.float32)) for one in inputs.values()]
        device = next(self.module_.parameters()).device
        return np.asarray(self.module_(*(one.to(device) for one in tensors)).double().cpu())

    def predict_parts(self, rows: pd.DataFrame, coverage: float | None = None) -> dict[str, Array]:
        """Return ``"prediction"`` ``(rows,)``, and of classes ``"probabilities"`` ``(rows, classes)``."""
        if coverage is not None:
            raise InputError("This model has no intervals or sets", hint="Leave coverage out.", code="PG004")
        outputs = np.concatenate([self._run(self.inputs(rows[at : at + _ROWS])) for at in range(0, len(rows), _ROWS)])
        if self.task == "regression":
            return {"prediction": outputs[:, 0]}
        chances = softmax(outputs, axis=1)
        return {"prediction": np.asarray(self.classes_[chances.argmax(axis=1)]), "probabilities": chances}

    def predict_proba(self, rows: pd.DataFrame) -> Floats:
        """Return each class's probability ``(rows, classes)``. Rows sum to 1."""
        return self.predict_parts(rows)["probabilities"]

    def predict(self, rows: pd.DataFrame) -> Array:
        """Return the most probable class, or the prediction in the target's units ``(rows,)``."""
        return self.predict_parts(rows)["prediction"]
