"""A fitted estimator of permgrad as the subject of an explanation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.subject.calls import check_fitted
from permgrad.attribution.subject.encoded import EncodedSubject
from permgrad.base.errors import InputError
from permgrad.imaging.path import is_ordered
from permgrad.models.fast.inference import FoldedNetwork
from permgrad.models.fast.replacement import evaluation_mode
from permgrad.models.network.network import HybridNetwork


class HybridSubject(EncodedSubject):
    """A fitted ``HyNNClassifier`` or ``HyNNRegressor``."""

    input_names: tuple[str, ...] = ("table",)
    real: tuple[bool, ...] = (True,)
    tells_unused = False
    standardised = True

    def __init__(self, model: Any) -> None:
        from sklearn.base import is_classifier

        check_fitted(model)
        self.model = model
        self.module: HybridNetwork = model.module_
        self.preprocessor = model.preprocessor_
        self.paths = tuple(self.module.paths)
        self.encoded_names = tuple(self.preprocessor.encoded_names_)
        self.background_classes = model.background_target_
        labels = np.asarray(model.classes_) if is_classifier(model) else None
        classes = () if labels is None else tuple(str(name) for name in labels)
        super().__init__(
            task="classification" if classes else "regression",
            kind="logits" if classes else "values",
            count=self.module.outputs,
            class_names=classes,
            output_names=classes or ("all",),
            class_labels=labels,
            target_mean=float(getattr(model, "target_mean_", 0.0)),
            target_scale=float(getattr(model, "target_scale_", 1.0)),
        )
        parameter = next(self.module.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        self._folded: FoldedNetwork | None = None

    def open(self) -> Any:
        """Switch to eval mode for the body, and restore every submodule's mode afterwards."""
        return evaluation_mode(self.module)

    @property
    def facts(self) -> dict[str, Any]:
        """Return the features as they stand in the image of a row if they have an order: ``order``, a list a line.

        Of a layout with channels, each place is a list of them.
        """
        layout = getattr(self.model.renderer_, "layout", None)
        if "image" not in self.paths or layout is None or not is_ordered(layout):
            return {}
        grid, names = np.full(layout.shape, "").astype(object), self.preprocessor.feature_names_in_
        for place, owner in zip(layout.positions.tolist(), self.preprocessor.feature_of_.tolist(), strict=True):
            if place[0] >= 0:
                grid[tuple(place)] = str(names[owner])
        return {"order": grid.tolist()}

    # ---- rows --------------------------------------------------------------------------------------------------------

    def read(self, inputs: Any) -> tuple[Tensor, ...]:
        """Return rows as the network sees them, ``(rows, encoded)``."""
        return (torch.from_numpy(np.ascontiguousarray(self.model.encode(inputs))),)

    def check_slopes(self, method: str, places: Sequence[int]) -> None:  # noqa: ARG002 — there is one input
        """Refuse images that are drawn without a gradient."""
        if "image" in self.paths and not getattr(self.module.renderer, "differentiable", True):
            problem = f"{method} needs a gradient through the image, but the images are drawn by a function of the user"
            hint = "Choose method='permgrad', 'permutation' or 'ablation', or a layout of permgrad"
            raise InputError(problem, hint=hint, code="PG034")

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the raw outputs of encoded rows ``(b, encoded)``. Both paths show the same row."""
        return self.module(tensors[0].to(device=self.device, dtype=self.dtype))

    def predict(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return what ``forward`` returns, up to rounding, without gradients and faster."""
        if torch.is_grad_enabled():
            return self.forward(tensors)
        if self._folded is None:
            self._folded = FoldedNetwork(self.module)
        return self._folded(tensors[0].to(device=self.device, dtype=self.dtype))
