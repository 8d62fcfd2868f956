"""Losses of rows ``(rows,)`` in float64, of ``outputs (rows, outputs)`` and ``y (rows,)``, indexes or numbers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from permgrad.base.errors import InputError
from permgrad.base.registry import Registry

RowLoss = Callable[[Tensor, Tensor], Tensor]

#: Every entry: ``(outputs (rows, outputs), y (rows,)) -> (rows,)`` float64, one loss per row.
losses: Registry[RowLoss] = Registry("loss")


def _check_rows(outputs: Tensor, y: Tensor) -> None:
    if outputs.ndim != 2 or y.ndim != 1 or len(outputs) != len(y):
        raise InputError(
            "outputs must have the shape (rows, outputs) and y (rows,), "
            f"however: outputs {tuple(outputs.shape)}, y {tuple(y.shape)}"
        )


@losses.register("cross_entropy")
def cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """Return −log softmax(outputs)[y]; with one output, the logistic loss of the logit against y in {0, 1}."""
    _check_rows(outputs, y)
    logits = outputs.double()
    if logits.shape[1] == 1:
        return torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], y.double(), reduction="none")
    return torch.nn.functional.cross_entropy(logits, y.long(), reduction="none")


@losses.register("squared_error")
def squared_error(outputs: Tensor, y: Tensor) -> Tensor:
    """Return (outputs − y)² per row, of one output."""
    _check_rows(outputs, y)
    if outputs.shape[1] != 1:
        raise InputError(f"squared_error needs one output, however: outputs has {outputs.shape[1]}")
    return (outputs[:, 0].double() - y.double()).square()


@losses.register("absolute_error")
def absolute_error(outputs: Tensor, y: Tensor) -> Tensor:
    """Return |outputs − y| per row, of one output."""
    return squared_error(outputs, y).sqrt()


def _probabilities(outputs: Tensor) -> Tensor:
    logits = outputs.double()
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    return torch.softmax(logits, dim=1)


@losses.register("brier")
def brier(outputs: Tensor, y: Tensor) -> Tensor:
    """Return Σ_k (p_k − [y = k])² per row (Brier 1950), between 0 and 2."""
    _check_rows(outputs, y)
    probabilities = _probabilities(outputs)
    truth = torch.nn.functional.one_hot(y.long(), probabilities.shape[1])
    return (probabilities - truth).square().sum(dim=1)


@losses.register("zero_one")
def zero_one(outputs: Tensor, y: Tensor) -> Tensor:
    """Return 1 where the most probable class is not y, else 0."""
    _check_rows(outputs, y)
    return (_probabilities(outputs).argmax(dim=1) != y.long()).double()
