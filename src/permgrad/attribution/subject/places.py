"""Maps ``(rows, K, …)`` compared with masks ``(rows, …)``: a row's loss is the mean over its places, such as pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.subject.outputs import OutputForm, as_target, resolve_outputs
from permgrad.base.arrays import Floats
from permgrad.models.losses import OtherLoss


def form_of_places(outputs: Tensor, size: Sequence[int], y: Any, **described: Any) -> OutputForm | None:
    """Return the meaning of maps of a size, ``(rows, K · places)``, at one place, or None for masks of another."""
    masks = as_target(y)
    if tuple(masks.shape[1:]) not in (tuple(size), (1, *size)):
        return None
    return resolve_outputs(_by_place(outputs, math.prod(size)), masks.reshape(-1), **described)


def loss_of_places(form: OutputForm, loss: str | OtherLoss) -> Callable[[Floats, Any], Floats]:
    """Return the mean of a place's loss over the places of each row, as a function of outputs and masks."""

    def mean(outputs: Floats, y: Any) -> Floats:
        masks = as_target(y).reshape(len(outputs), -1)
        levels, level = np.unique(masks, return_inverse=True)
        target = form.encode_target(levels, len(levels))[level.reshape(-1)]
        places = _by_place(torch.from_numpy(outputs), masks.shape[1])
        return form.loss_rows(places, target, loss).reshape(masks.shape).mean(axis=1)

    mean.__name__ = f"{loss}, mean over places"
    return mean


def _by_place(outputs: Tensor, places: int) -> Tensor:
    """Return the numbers of each place, ``(rows · places, K)``."""
    return outputs.reshape(len(outputs), -1, places).transpose(1, 2).flatten(0, 1)
