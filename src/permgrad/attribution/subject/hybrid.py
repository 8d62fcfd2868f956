"""A fitted estimator of permgrad as the subject of an explanation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
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

    kind: Literal["hybrid", "network"] = "hybrid"
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
        self.renderer = model.renderer_ if "image" in self.module.paths else None
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
        self.device = parameter.device
        self.dtype = parameter.dtype
        self._folded: FoldedNetwork | None = None

    @contextmanager
    def open(self) -> Iterator[None]:
        """Eval mode for the body; every submodule's own mode afterwards."""
        with evaluation_mode(self.module):
            yield

    # ---- rows --------------------------------------------------------------------------------------------------------

    def raw_frame(self, inputs: Any) -> pd.DataFrame:
        """Return the rows with their column names, for showing values; the user's object is not changed."""
        names = list(self.preprocessor.feature_names_in_)
        if isinstance(inputs, pd.DataFrame):
            return inputs.reset_index(drop=True)
        return pd.DataFrame(np.asarray(inputs), columns=names)

    def encode(self, inputs: Any) -> npt.NDArray[np.float32]:
        """Return the rows as the network sees them, ``(rows, encoded)``."""
        encoded: npt.NDArray[np.float32] = self.model.encode(inputs)
        return encoded

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
        classes = np.asarray(self.model.classes_)
        positions = {label: index for index, label in enumerate(classes.tolist())}
        indexes = np.array([positions.get(label, -1) for label in values.tolist()], dtype=np.int64)
        if (indexes < 0).any():
            strange = values[indexes < 0].tolist()[0]
            raise InputError(
                f"y must hold the classes the model was fitted on ({', '.join(map(str, classes[:10]))}), however: "
                f"y holds {strange!r}; leave those rows out"
            )
        return indexes

    def read(self, inputs: Any) -> tuple[Tensor, ...]:
        """Return further rows, encoded."""
        return (torch.from_numpy(np.ascontiguousarray(self.encode(inputs))),)

    def typical(self, rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return a row that could stand in the table, see ``median_row``."""
        encoder = self.preprocessor
        return (
            torch.from_numpy(median_row(rows[0].numpy(), encoder.kinds_, encoder.features("feature").values()))[None],
        )

    def check_slopes(self, method: str, places: Sequence[int]) -> None:  # noqa: ARG002 — there is one input
        """Refuse pictures that are drawn without a gradient."""
        if "image" in self.paths and not getattr(self.module.renderer, "differentiable", True):
            raise InputError(
                f"{method} needs a gradient through the picture, however: the pictures are drawn by foreign code; "
                "choose method='permgrad', 'permutation' or 'ablation', or a layout of permgrad"
            )

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the raw outputs of encoded rows ``(b, encoded)``; both paths show the same row."""
        (rows,) = tensors
        outputs: Tensor = self.module(rows.to(device=self.device, dtype=self.dtype))
        return outputs

    def predict(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return what ``forward`` returns, up to rounding, where no gradient is followed; faster."""
        if torch.is_grad_enabled():
            return self.forward(tensors)
        if self._folded is None:
            self._folded = FoldedNetwork(self.module)
        (rows,) = tensors
        return self._folded(rows.to(device=self.device, dtype=self.dtype))

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

    @property
    def background(self) -> npt.NDArray[np.float32]:
        """Encoded training rows kept for donors, ``(≤ background_size, encoded)``."""
        rows: npt.NDArray[np.float32] = self.model.background_
        return rows
