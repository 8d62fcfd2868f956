"""Branches beside the head: each says outputs itself, of which it has a share."""

from __future__ import annotations

from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class Additive(Protocol):
    """What a branch beside the head can do: a module ``(rows, encoded)`` to ``(rows,
    outputs)``.
    """

    def scale_(self, factor: float) -> None:
        """Multiply all its outputs by ``factor``, in place."""
        ...

    def raise_(self, shift: float) -> None:
        """Add ``shift`` to all its outputs, in place."""
        ...


class LinearBranch(nn.Linear):
    """An affine map of encoded rows, whose weights are not trained with the network's.

    Shape: ``(rows, encoded)`` to ``(rows, outputs)``.

    Examples:
        >>> branch = LinearBranch(2, 1).fill([[1.0, 2.0]], [0.5])
        >>> branch(torch.ones(3, 2)).tolist()
        [[3.5], [3.5], [3.5]]
    """

    def __init__(self, encoded: int, outputs: int) -> None:
        super().__init__(encoded, outputs)
        self.requires_grad_(False)

    @torch.no_grad()
    def fill(self, weight: object, bias: object) -> Self:
        """Take over weights ``(outputs, encoded)`` and biases ``(outputs,)``."""
        for numbers, given_numbers in ((self.weight, weight), (self.bias, bias)):
            numbers.copy_(torch.as_tensor(given_numbers).view_as(numbers))
        return self

    @torch.no_grad()
    def scale_(self, factor: float) -> None:
        """Multiply what the line says."""
        self.weight.mul_(factor)
        self.bias.mul_(factor)

    @torch.no_grad()
    def raise_(self, shift: float) -> None:
        """Add a number to what the line says."""
        self.bias.add_(shift)

    def forward(self, encoded: Tensor) -> Tensor:
        """Return logits, the standardised prediction, or the logarithm of rates."""
        return super().forward(encoded)
