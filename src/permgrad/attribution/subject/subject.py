"""``Subject``: the model being explained, and what it offers to methods of attribution.

Every subject predicts. What else it can do is asked here, one capability at a time; nobody asks what kind of model it
is. ``HybridSubject`` is a fitted estimator of permgrad, ``NetworkSubject`` any torch network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from permgrad.attribution.subject.outputs import OutputForm, Task
from permgrad.attribution.subject.typical import typical_row
from permgrad.base.checks import check_choice
from permgrad.models.losses import losses

if TYPE_CHECKING:
    from permgrad.attribution.subject.branches import BranchCut

#: Rows of a network whose activations are small.
_ANY_ROWS = 2**20


class Subject:
    """The model being explained.

    Where there are paths there is a fast replacement: ``models.fast.ReplacementEngine``.
    """

    module: Any
    device: torch.device
    dtype: torch.dtype
    outputs_form: OutputForm
    #: the channels in which it shows a raw column, ``"tabular"`` and ``"image"``; empty where inputs go in as they are
    paths: tuple[str, ...] = ()
    model: Any = None  # the fitted estimator, which keeps training rows; None for a network as it is
    preprocessor: Any = None  # the estimator's encoder
    tells_unused: bool = True  # whether inputs without any effect are worth a warning: the user built the network

    # ---- inputs ------------------------------------------------------------------------------------------------------

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the network's inputs, one for each tensor."""
        raise NotImplementedError

    @property
    def real(self) -> tuple[bool, ...]:
        """Whether each input is floating point, so that a gradient exists."""
        raise NotImplementedError

    def read(self, inputs: Any) -> tuple[Tensor, ...]:
        """Return further rows in the user's form as the network takes them."""
        raise NotImplementedError

    def on_a_scale(self, position: int, shape: torch.Size) -> Tensor:  # noqa: ARG002 — an encoder tells columns apart
        """Return which positions of an input, bool ``shape``, hold numbers that may be moved a little."""
        return torch.ones(shape, dtype=torch.bool)

    @property
    def facts(self) -> dict[str, Any]:
        """What was inferred about the model, for an explanation's ``meta``."""
        return {}

    @property
    def encoded_names(self) -> tuple[str, ...]:
        """Names of the columns that a table is encoded as; empty where inputs go in as they are."""
        return () if self.preprocessor is None else tuple(self.preprocessor.encoded_names_)

    @property
    def background_classes(self) -> npt.NDArray[Any] | None:
        """Class of each training row that the model keeps; None where there are none."""
        return None if self.model is None else np.asarray(self.model.background_target_)

    def typical(self, rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the row that stands for a background: medians of numbers, most frequent levels, ``(1, *)`` each."""
        return tuple(typical_row(tensor) for tensor in rows)

    def check_slopes(self, method: str, places: Sequence[int]) -> None:
        """Refuse a model without a gradient towards the inputs at ``places``."""

    # ---- predicting --------------------------------------------------------------------------------------------------

    def open(self) -> Any:
        """Return a context manager in which the module is in eval mode, and is put back as it was afterwards."""
        raise NotImplementedError

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the network's raw outputs, ``(b, K)``; differentiable, and the tensors are never changed."""
        raise NotImplementedError

    def predict(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return what ``forward`` returns, up to rounding, where no gradient is followed: the fastest way there is."""
        return self.forward(tensors)

    def most_rows(self) -> int:
        """Return how many rows may go through the network together, so that activations stay within bounds."""
        return _ANY_ROWS

    @property
    def makes_images(self) -> bool:
        """Whether the network draws or convolves rows of a table inside, so that a batch needs more memory."""
        return "image" in self.paths

    @property
    def standardised(self) -> bool:
        """Whether outputs are around 1, which tells their rounding; else it has to be measured."""
        return bool(self.paths)

    def branches(self, inputs: Sequence[Tensor]) -> BranchCut | None:  # noqa: ARG002 — of several inputs
        """Return the network cut into a branch for each input; None where that does not help."""
        return None

    # ---- outputs -----------------------------------------------------------------------------------------------------

    @property
    def task(self) -> Task:
        """Classification or regression."""
        return self.outputs_form.task

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; empty for a regression."""
        return self.outputs_form.class_names

    @property
    def class_labels(self) -> npt.NDArray[Any]:
        """The classes as y holds them."""
        return np.arange(len(self.class_names))

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs that can be explained."""
        return self.outputs_form.output_names

    def sum_is_constant(self, output: str) -> bool:
        """Return whether outputs of every row have the same sum: probabilities, or both sides of a single logit.

        Probabilities that the network gives itself need not add up to exactly 1.
        """
        form, names = self.outputs_form, len(self.output_names)
        computed = self.task == "classification" and form.kind in ("logits", "log_probabilities")
        return computed and names > 1 and (output == "probability" or form.count < names)

    def choose(self, targets: tuple[int, ...]) -> None:
        """Let losses of a regression with several outputs be those of the outputs asked for."""

    def encode_target(self, y: Any, rows: int) -> npt.NDArray[Any]:
        """Return class indexes int64, or numbers in float64 and their own units."""
        return self.outputs_form.encode_target(y, rows)

    def resolve_loss(self, loss: str) -> str:
        """Return the loss's registered name; ``"auto"`` is cross entropy or squared error."""
        check_choice("loss", loss, ("auto", *losses.names()))
        usual = "cross_entropy" if self.task == "classification" else "squared_error"
        return usual if loss == "auto" else loss

    def loss_rows(self, outputs: Tensor, y: npt.NDArray[Any], loss: str) -> npt.NDArray[np.float64]:
        """Return each row's loss in float64, in the units of y."""
        return self.outputs_form.loss_rows(outputs, y, loss)

    def divergence_rows(self, outputs: Tensor, reference: Tensor) -> npt.NDArray[np.float64]:
        """Return each row's divergence from the model's own prediction: Kullback–Leibler's, or squared in y²."""
        return self.outputs_form.divergence_rows(outputs, reference)

    def readout(self, outputs: Tensor, output: str) -> Tensor:
        """Return the quantity explained, ``(b, len(output_names))``: logits, probabilities or y's units."""
        return self.outputs_form.readout(outputs, output)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return the probability of every class, ``(b, classes)``."""
        return self.outputs_form.probabilities(outputs)
