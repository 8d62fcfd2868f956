"""Any predictor of a table as the subject of an explanation: an estimator, a pipeline, a booster, a function."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from permgrad.attribution.subject.apart import check_apart
from permgrad.attribution.subject.calls import PredictCall, find_call
from permgrad.attribution.subject.design import CellDesign
from permgrad.attribution.subject.frames import FrameForm
from permgrad.attribution.subject.outputs import OutputForm, resolve_outputs
from permgrad.attribution.subject.subject import Subject, typical_row
from permgrad.base.errors import InputError, counted, error_in_words, is_out_of_memory
from permgrad.base.random import forked_torch
from permgrad.base.threads import Change, together

_PROBE_ROWS = 256
#: Probabilities stay this far from 0 and 1, as in scikit-learn's log_loss: trees predict 0 for what they never saw.
_LEAST = float(np.finfo(np.float64).eps)
#: Cells that are handed over at once: enough that a call's own cost does not count.
_CELLS = 2**21


class PredictorSubject(Subject):
    """A predictor with the table of one call; rows are float64, see ``FrameForm``."""

    input_names: tuple[str, ...] = ("table",)
    real: tuple[bool, ...] = (False,)
    dtype = torch.float64
    device = torch.device("cpu")

    def __init__(
        self,
        predictor: Any,
        inputs: Any,
        y: Any = None,
        *,
        output_kind: str | None = None,
        task: str | None = None,
        class_names: Any = None,
    ) -> None:
        self.module = self.predictor = predictor
        self.call: PredictCall = find_call(predictor)
        self.form = FrameForm(inputs)
        self.inputs = (self.form.read(inputs),)
        self.column: int | None = None
        self.bounded = False
        self.width: int | None = None
        if len(self.inputs[0]) == 0 or not self.form.names:
            raise InputError("The inputs need at least one row and one column. Pass the rows to explain.")
        few = [self.inputs[0][:_PROBE_ROWS]]
        with self.open():
            outputs = self.forward(few)
            self.width = outputs.shape[1]
            check_apart(self.forward, few, outputs)
        vars(self).update(vars(self._form_of(outputs, y, output_kind, task, class_names)))

    def _form_of(self, outputs: Tensor, y: Any, kind: str | None, task: str | None, class_names: Any) -> OutputForm:
        call = self.call
        names = class_names if class_names is not None else call.classes
        form = resolve_outputs(outputs, y, kind=kind or call.kind, task=task or call.task, class_names=names)
        if form.task == "classification" and form.kind == "probabilities" and form.count == 2:
            # The second of two classes says it all, and its logit is the score that boosters call raw.
            self.column = 1
            form = replace(form, count=1, output_names=form.class_names)
        self.bounded = form.task == "classification" and form.kind == "probabilities"
        return replace(form, inferred=kind is None and call.kind is None)

    # ---- rows --------------------------------------------------------------------------------------------------------

    def read(self, inputs: Any) -> tuple[Tensor, ...]:
        """Return further rows, ``(rows, columns)``."""
        return (self.form.read(inputs),)

    def on_a_scale(self, position: int, shape: torch.Size) -> Tensor:  # noqa: ARG002 — the table is the only input
        """Return which columns hold numbers."""
        return torch.from_numpy(self.form.on_a_scale)

    def typical(self, rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return medians of numbers and the most frequent of all other cells, ``(1, columns)``."""
        numeric = torch.from_numpy(self.form.on_a_scale)
        return (torch.where(numeric, typical_row(rows[0]), rows[0].mode(dim=0).values[None]),)

    def design(self, background: npt.NDArray[np.float64]) -> CellDesign:
        """Return how the table's cells are drawn given each other."""
        return CellDesign(self.form, background)

    def check_slopes(self, method: str, places: Sequence[int]) -> None:  # noqa: ARG002 — there is one input
        """Refuse: nobody knows what goes on inside."""
        self.check_network(method)

    def check_network(self, method: str) -> None:
        """Refuse: nobody knows what goes on inside."""
        raise InputError(
            f"method={method!r} needs a torch network, whose gradient can be followed, got a "
            f"{type(self.predictor).__name__}. Choose 'permgrad', 'permutation', 'ablation', 'shapley' or 'lime'."
        )

    # ---- predicting --------------------------------------------------------------------------------------------------

    @contextmanager
    def open(self) -> Iterator[None]:
        """Seed every generator that a predictor may draw from, and put all of them back afterwards."""
        changes: dict[Hashable, Change] = {
            "Python's generator": lambda: partial(random.setstate, random.getstate()),
            "NumPy's generator": lambda: partial(np.random.set_state, np.random.get_state()),  # noqa: NPY002
        }
        with forked_torch(0), together(changes):
            random.seed(0)
            np.random.seed(0)  # noqa: NPY002 — it is the user's that is kept
            yield

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the predictions of rows, float64 ``(b, K)``."""
        rows = len(tensors[0])
        try:
            returned = self.call.function(self.form.write(tensors[0]))
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise InputError(
                f"The predictor failed on {counted(rows, 'row')}: {error_in_words(error)}. It must take any rows of "
                "the table whose cells come from other rows."
            ) from error
        numbers = self._as_numbers(returned, rows)
        if self.width is not None and numbers.shape[1] != self.width:
            raise InputError(
                f"The predictor returned {numbers.shape[1]} numbers per row after {self.width} before. It must return "
                "as many for every table."
            )
        if self.bounded:
            # What is no probability at all stays, and is refused by whoever reads it.
            numbers = np.where((numbers >= 0) & (numbers <= 1), numbers.clip(_LEAST, 1 - _LEAST), numbers)
        return torch.from_numpy(numbers if self.column is None else numbers[:, [self.column]])

    def _as_numbers(self, returned: Any, rows: int) -> npt.NDArray[np.float64]:
        """Return what the predictor returned as numbers ``(rows, K)``, or refuse it."""
        returned = returned.detach().cpu() if isinstance(returned, Tensor) else returned
        values = np.asarray(returned)
        if self.call.one_hot:
            classes = np.asarray(self.call.classes)
            return np.asarray(values.reshape(-1, 1) == classes, dtype=np.float64)
        if values.dtype.kind not in "fiub":
            try:
                values = values.astype(np.float64)
            except (TypeError, ValueError):
                raise InputError(
                    f"The predictor must return numbers, got {values.dtype} such as {values.ravel()[:1].tolist()}. "
                    "Pass its predict_proba, or a function that returns a probability for each class."
                ) from None
        wide = values.reshape(len(values), -1) if values.ndim and len(values) == rows else values
        if wide.ndim != 2 or values.ndim > 2 or wide.shape[1] == 0:
            raise InputError(
                f"The predictor must return one row of numbers for each of the {rows} rows, got the shape "
                f"{values.shape}. Return (rows,) or (rows, outputs)."
            )
        return np.array(wide, dtype=np.float64)

    def most_rows(self) -> int:
        """Return how many rows are predicted together."""
        return max(1024, _CELLS // len(self.form.names))

    @property
    def usual_loss(self) -> str:
        """The loss that is measured unless another is asked for; labels alone have no cross entropy."""
        return "zero_one" if self.call.one_hot else super().usual_loss

    @property
    def facts(self) -> dict[str, Any]:
        """What was inferred about the predictor, for an explanation's ``meta``."""
        return {
            "predictor": f"{type(self.predictor).__module__}.{type(self.predictor).__qualname__}",
            "output_kind": self.kind,
            "output_inferred": self.inferred,
        }
