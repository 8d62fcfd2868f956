"""Permutation importance of any predictor, a function from encoded rows, as ``method="permutation"`` estimates it.

With the same rows, seed and loss, a network has the importances of its own explanation up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method import Request
from permgrad.attribution.method.permutation import Permutation
from permgrad.attribution.players.space import NOBODY, PlayerSpace
from permgrad.attribution.subject.subject import Subject
from permgrad.base.checks import check_choice, check_class_names
from permgrad.models.batches import sparing

Predict = Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]]

#: Rows per call of a predictor.
BATCH_ROWS = 20_000
_LOSSES = {"classification": ("brier", "cross_entropy", "zero_one"), "regression": ("squared_error", "absolute_error")}


def loss_of(task: Literal["classification", "regression"], loss: str) -> str:
    """Return the loss's registered name; ``"auto"`` is one that is finite for every kind of model.

    NOTE[DIFF]: networks are explained by their log loss unless asked otherwise. A forest may give the true class a
    probability of exactly 0, whose log loss is infinite; the Brier score (Brier 1950) is proper too, and bounded.
    """
    check_choice("loss", loss, ("auto", *_LOSSES[task]))
    return _LOSSES[task][0] if loss == "auto" else loss


class EncodedSubject(Subject):
    """A function from encoded rows to probabilities, or numbers, as the subject of an explanation."""

    tells_unused = False
    device, dtype = torch.device("cpu"), torch.float32
    input_names: tuple[str, ...] = ("table",)
    real: tuple[bool, ...] = (True,)

    def __init__(self, predict: Predict, class_names: Sequence[str]) -> None:
        self._predict, names = predict, tuple(class_names)
        task: Any = "classification" if names else "regression"
        kind: Any = "logits" if names else "values"
        super().__init__(task, kind, len(names) or 1, names, names or ("all",))

    def open(self) -> Any:
        """Nothing has to be put back."""
        return nullcontext()

    def forward(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return numbers, or the logarithms of probabilities, which are their logits; of 0 it is not infinite."""
        table = np.asarray(self._predict(tensors[0].numpy()), dtype=np.float64)
        return torch.tensor(table[:, None] if table.ndim == 1 else np.log(np.clip(table, np.finfo(float).eps, None)))


@sparing()
def predictor_importance(
    predict: Predict,
    encoded: npt.NDArray[np.float32],
    y: npt.NDArray[Any],
    players: Mapping[str, npt.NDArray[Any]],
    background: npt.NDArray[np.float32] | None = None,
    *,
    loss: str,
    seed: int = 0,
    class_names: Sequence[str] = (),
    n_repeats: int = 10,
) -> Explanation:
    """Return how much the loss grows when a feature's encoded columns are taken from a donor row.

    ``predict`` takes rows ``(rows, encoded)`` to probabilities ``(rows, classes)`` or numbers ``(rows,)``; ``y`` are
    class indexes, or numbers (without ``class_names``). ``players`` are the columns of each feature, without any its
    importance is exactly 0. Donors are rows of the ``background``; None: the rows themselves.
    """
    check_class_names(class_names)
    owners = torch.full((encoded.shape[1],), NOBODY)
    for place, columns in enumerate(players.values()):
        owners[torch.as_tensor(columns, dtype=torch.int64)] = place
    inputs = (torch.tensor(encoded, dtype=torch.float32),)
    request = Request(
        EncodedSubject(predict, class_names),
        inputs,
        inputs if background is None else (torch.tensor(background, dtype=torch.float32),),
        PlayerSpace(tuple(players), ("table",) * len(players), ("table",), (owners,)),
        "rows explained" if background is None else "given",
        "global",
        tuple(range(len(class_names) or 1)),
        y=y,
        loss=loss,
        n_repeats=n_repeats,
        batch_size=BATCH_ROWS,
        seed=seed,
        progress=False,
    )
    return Permutation()(request)
