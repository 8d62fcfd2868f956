"""When a training's loss stops being a number: what is said, and where the cause may lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from permgrad.base.errors import InputError
from permgrad.models.train.rows import Rows, TrainingRows

if TYPE_CHECKING:
    from permgrad.models.train.training import TrainingOptions

#: Encoded columns are near 1 in size; one this large can drive a network's outputs, and its loss, out of bounds.
_EXTREME = 1e3


class DivergenceError(InputError):
    """The very first epoch ended without a finite loss, so that there are no weights to keep."""


def what_to_do(options: TrainingOptions, rows: TrainingRows, columns: Sequence[str]) -> str:
    """Return the fix: the learning rate, and the column that reaches furthest, if any reaches far.

    Args:
        options: of the training.
        rows: the training rows; those read in parts are not looked at.
        columns: names of the encoded columns.

    Examples:
        >>> from permgrad.models.train.training import TrainingOptions
        >>> x = torch.tensor([[0.1, 4e7], [0.2, -1.0]])
        >>> what_to_do(TrainingOptions(), Rows(x, x[:, 0], torch.ones(2)), ["age", "income"])
        "lower learning_rate (now 0.001); column 'income' reaches 4e+07 once encoded, look for extreme values in it"
    """
    rate = f"lower learning_rate (now {options.learning_rate:g})"
    if isinstance(rows, Rows) and isinstance(rows.x, torch.Tensor) and rows.x.numel() and rows.x.ndim == 2:
        reach = rows.x.abs().amax(dim=0)
        furthest = int(reach.argmax())
        if reach[furthest] > _EXTREME and furthest < len(columns):
            return (
                f"{rate}; column {columns[furthest]!r} reaches {float(reach[furthest]):.3g} once encoded, "
                "look for extreme values in it"
            )
    return f"{rate} or look for extreme values in X"
