"""The model behind a uniform face: what attribution methods may ask of a fitted hybrid network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError, by_count, counted
from permgrad.models.fast.inference import FoldedNetwork
from permgrad.models.fast.replacement import evaluation_mode
from permgrad.models.losses import losses
from permgrad.models.network.network import HybridNetwork

Task = Literal["classification", "regression"]


class Subject(Protocol):
    """A model that can be explained: ``HybridSubject`` for permgrad's own estimators, ``NetworkSubject`` for any other.

    ``module`` is a ``HybridNetwork`` where ``kind`` is ``"hybrid"``, which also has ``paths``.
    """

    @property
    def kind(self) -> Literal["hybrid", "network"]:
        """Whose network it is."""
        ...

    @property
    def task(self) -> Task:
        """Classification or regression."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; empty for a regression."""
        ...

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs that can be explained."""
        ...

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the network's inputs, one for each tensor."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """The precision that the network computes in."""
        ...

    @property
    def real(self) -> tuple[bool, ...]:
        """Whether each input is floating point, so that a gradient exists."""
        ...

    @property
    def module(self) -> Any:
        """The network."""
        ...

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of a hybrid network."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        ...

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the network's raw outputs, ``(b, K)``; differentiable, and the tensors are never changed."""
        ...

    def predict(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return what ``forward`` returns, up to rounding, where no gradient is followed: the fastest way there is."""
        ...

    def read(self, inputs: Any) -> tuple[Tensor, ...]:
        """Return further rows in the user's form as the network takes them."""
        ...

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return the probability of every class, ``(b, classes)``."""
        ...

    def encode_target(self, y: Any, rows: int) -> npt.NDArray[Any]:
        """Return class indexes, or numbers in float64."""
        ...

    def resolve_loss(self, loss: str) -> str:
        """Return the loss's registered name, ``"auto"`` resolved."""
        ...

    def loss_rows(self, outputs: Tensor, y: npt.NDArray[Any], loss: str) -> npt.NDArray[np.float64]:
        """Return each row's loss in float64, in the units of y."""
        ...

    def divergence_rows(self, outputs: Tensor, reference: Tensor) -> npt.NDArray[np.float64]:
        """Return each row's divergence of ``outputs`` from the model's own ``reference`` prediction."""
        ...

    def readout(self, outputs: Tensor, output: str) -> Tensor:
        """Turn network outputs into the quantity explained, ``(rows, len(output_names))``; differentiable."""
        ...

    def open(self) -> Any:
        """Return a context manager in which the module is in eval mode, and is put back as it was afterwards."""
        ...


class HybridSubject:
    """A fitted ``HyNNClassifier`` or ``HyNNRegressor``.

    Args:
        model: the fitted estimator.

    Raises:
        InputError: The estimator is not fitted.
    """

    def __init__(self, model: Any) -> None:
        from sklearn.base import is_classifier
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(model, "module_")
        self.kind: Literal["hybrid", "network"] = "hybrid"
        self.input_names: tuple[str, ...] = ("table",)
        self.real: tuple[bool, ...] = (True,)
        self.model = model
        self.module: HybridNetwork = model.module_
        self.preprocessor = model.preprocessor_
        self.renderer = model.renderer_ if "image" in self.module.paths else None
        self.paths = tuple(self.module.paths)
        self.task: Task = "classification" if is_classifier(model) else "regression"
        self.class_names = tuple(str(name) for name in model.classes_) if self.task == "classification" else ()
        self.output_names = self.class_names if self.task == "classification" else ("all",)
        parameter = next(self.module.parameters())
        self.device = parameter.device
        self.dtype = parameter.dtype
        self._folded: FoldedNetwork | None = None
        self.target_mean = float(getattr(model, "target_mean_", 0.0))
        self.target_scale = float(getattr(model, "target_scale_", 1.0))

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

    def tensor(self, encoded: npt.NDArray[np.float32]) -> Tensor:
        """Copy encoded rows to the network's device and type."""
        return torch.as_tensor(np.ascontiguousarray(encoded), device=self.device).to(self.dtype)

    def read(self, inputs: Any) -> tuple[Tensor, ...]:
        """Return further rows, encoded."""
        return (torch.from_numpy(np.ascontiguousarray(self.encode(inputs))),)

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
    def background(self) -> npt.NDArray[np.float32]:
        """Encoded training rows kept for donors, ``(≤ background_size, encoded)``."""
        rows: npt.NDArray[np.float32] = self.model.background_
        return rows

    # ---- outputs -----------------------------------------------------------------------------------------------------

    def resolve_loss(self, loss: str) -> str:
        """Return a loss that fits the task; ``"auto"`` is the model's own."""
        own = "cross_entropy" if self.task == "classification" else "squared_error"
        check_choice("loss", loss, ("auto", *losses.names()))
        return own if loss == "auto" else loss

    def _in_units(self, outputs: Tensor) -> Tensor:
        return outputs.double() * self.target_scale + self.target_mean if self.task == "regression" else outputs

    def loss_rows(self, outputs: Tensor, y: npt.NDArray[Any], loss: str) -> npt.NDArray[np.float64]:
        """Return each row's loss in float64; regression in the units of y, so a squared error is in y²."""
        target = torch.as_tensor(y, device=outputs.device)
        rows: npt.NDArray[np.float64] = losses.get(loss)(self._in_units(outputs), target).cpu().numpy()
        return rows

    def divergence_rows(self, outputs: Tensor, reference: Tensor) -> npt.NDArray[np.float64]:
        """Return Kullback–Leibler divergence from the reference prediction, or the squared difference in y²."""
        if self.task == "regression":
            difference = (outputs.double() - reference.double())[:, 0] * self.target_scale
            squared: npt.NDArray[np.float64] = difference.square().cpu().numpy()
            return squared
        own, other = (torch.log_softmax(self._two_columns(part.double()), dim=1) for part in (reference, outputs))
        result: npt.NDArray[np.float64] = (own.exp() * (own - other)).sum(dim=1).clamp_min(0).cpu().numpy()
        return result

    @staticmethod
    def _two_columns(logits: Tensor) -> Tensor:
        """Spread a single logit over two classes so that their softmax is its sigmoid."""
        return torch.cat([-logits / 2, logits / 2], dim=1) if logits.shape[1] == 1 else logits

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return the probability of every class, ``(b, classes)``."""
        return torch.softmax(self._two_columns(outputs), dim=1)

    def readout(self, outputs: Tensor, output: str) -> Tensor:
        """Return logits or probabilities for every class, or the prediction in the units of y."""
        if self.task == "regression":
            return outputs * self.target_scale + self.target_mean
        if output == "probability":
            return torch.softmax(self._two_columns(outputs), dim=1)
        return torch.cat([-outputs, outputs], dim=1) if outputs.shape[1] == 1 else outputs
