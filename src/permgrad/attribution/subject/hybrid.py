"""A fitted estimator of permgrad as the subject of an explanation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from permgrad.attribution.subject.outputs import OutputForm
from permgrad.attribution.subject.subject import Subject
from permgrad.attribution.subject.typical import median_row
from permgrad.base.errors import InputError, by_count, counted
from permgrad.models.fast.inference import FoldedNetwork
from permgrad.models.fast.replacement import evaluation_mode
from permgrad.models.network.network import HybridNetwork


class HybridSubject(Subject):
    """A fitted ``HyNNClassifier`` or ``HyNNRegressor``."""

    input_names: tuple[str, ...] = ("table",)
    real: tuple[bool, ...] = (True,)
    tells_unused = False

    def __init__(self, model: Any) -> None:
        from sklearn.base import is_classifier
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(model, "module_")
        self.model = model
        self.module: HybridNetwork = model.module_
        self.preprocessor = model.preprocessor_
        self.paths = tuple(self.module.paths)
        classes = tuple(str(name) for name in model.classes_) if is_classifier(model) else ()
        self.outputs_form = OutputForm(
            task="classification" if classes else "regression",
            kind="logits" if classes else "values",
            count=self.module.outputs,
            class_names=classes,
            output_names=classes or ("all",),
            inferred=False,
            mean=float(getattr(model, "target_mean_", 0.0)),
            scale=float(getattr(model, "target_scale_", 1.0)),
        )
        parameter = next(self.module.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        self._folded: FoldedNetwork | None = None

    def open(self) -> Any:
        """Eval mode for the body; every submodule's own mode afterwards."""
        return evaluation_mode(self.module)

    # ---- rows --------------------------------------------------------------------------------------------------------

    def read(self, inputs: Any) -> tuple[Tensor, ...]:
        """Return rows as the network sees them, ``(rows, encoded)``."""
        return (torch.from_numpy(np.ascontiguousarray(self.model.encode(inputs))),)

    def encode_target(self, y: Any, rows: int) -> npt.NDArray[Any]:
        """Return class indexes int64, or the target in float64 and its own units, ``(rows,)``."""
        values = np.asarray(y)
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if values.shape != (rows,):
            raise InputError(
                f"y must have one value for each of the {rows} rows, however: y has the shape {values.shape}; "
                "pass the target of the same rows"
            )
        if self.task == "regression":
            try:
                numbers = values.astype(np.float64)
            except (TypeError, ValueError) as error:
                raise InputError(
                    f"y must be numbers for a regression model, however: y has the type {values.dtype}; "
                    "pass numbers, or explain a classifier"
                ) from error
            broken = int((~np.isfinite(numbers)).sum())
            if broken:
                raise InputError(
                    f"y must be finite, however: {counted(broken, 'value')} {by_count(broken, 'is', 'are')} not; leave "
                    f"{by_count(broken, 'that row', 'those rows')} out"
                )
            return numbers
        positions = {label: index for index, label in enumerate(self.class_labels.tolist())}
        indexes = np.array([positions.get(label, -1) for label in values.tolist()], dtype=np.int64)
        if (indexes < 0).any():
            classes = ", ".join(map(str, self.class_labels[:10]))
            raise InputError(
                f"y must hold the classes the model was fitted on ({classes}), however: "
                f"y holds {values[indexes < 0].tolist()[0]!r}; leave those rows out"
            )
        return indexes

    def typical(self, rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return a row that could stand in the table, see ``median_row``."""
        features = self.preprocessor.features("feature").values()
        return (torch.from_numpy(median_row(rows[0].numpy(), self.preprocessor.kinds_, features))[None],)

    def check_slopes(self, method: str, places: Sequence[int]) -> None:  # noqa: ARG002 — there is one input
        """Refuse pictures that are drawn without a gradient."""
        if "image" in self.paths and not getattr(self.module.renderer, "differentiable", True):
            raise InputError(
                f"{method} needs a gradient through the picture, however: the pictures are drawn by foreign code; "
                "choose method='permgrad', 'permutation' or 'ablation', or a layout of permgrad"
            )

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the raw outputs of encoded rows ``(b, encoded)``; both paths show the same row."""
        outputs: Tensor = self.module(tensors[0].to(device=self.device, dtype=self.dtype))
        return outputs

    def predict(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return what ``forward`` returns, up to rounding, where no gradient is followed; faster."""
        if torch.is_grad_enabled():
            return self.forward(tensors)
        if self._folded is None:
            self._folded = FoldedNetwork(self.module)
        return self._folded(tensors[0].to(device=self.device, dtype=self.dtype))

    def __getstate__(self) -> dict[str, Any]:
        """Leave the folded network out of copies: it is made again on first use."""
        return {**self.__dict__, "_folded": None}

    @property
    def class_labels(self) -> npt.NDArray[Any]:
        """The classes as y holds them."""
        return np.asarray(self.model.classes_)

    def on_a_scale(self, position: int, shape: torch.Size) -> Tensor:  # noqa: ARG002 — the table is the only input
        """Return which encoded columns hold numbers; the others are levels."""
        movable = torch.zeros(shape, dtype=torch.bool)
        movable[torch.as_tensor(np.asarray(self.preprocessor.numeric_columns_, dtype=np.int64))] = True
        return movable
