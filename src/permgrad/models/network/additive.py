"""Branches beside the head: each says outputs itself, of which it has a share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from permgrad.models.network.blocks import Rate


class LinearBranch(nn.Module):
    """An affine map of encoded rows. ``rates``: it says the logarithm of a rate.

    Shape: ``(rows, encoded)`` to ``(rows, outputs)``.

    Examples:
        >>> branch = LinearBranch(2, 1).fill([[1.0, 2.0]], [0.5])
        >>> branch(torch.ones(3, 2)).tolist()
        [[3.5], [3.5], [3.5]]
    """

    def __init__(self, encoded: int, outputs: int, *, rates: bool = False) -> None:
        super().__init__()
        self.line = nn.Linear(encoded, outputs).requires_grad_(False)
        self.rate = Rate() if rates else None

    @torch.no_grad()
    def fill(self, weight: object, bias: object) -> LinearBranch:
        """Take over weights ``(outputs, encoded)`` and biases ``(outputs,)``."""
        for numbers, given in ((self.line.weight, weight), (self.line.bias, bias)):
            numbers.copy_(torch.as_tensor(given).view_as(numbers))
        return self

    def forward(self, encoded: Tensor) -> Tensor:
        """Return logits, the standardised prediction, or rates."""
        said: Tensor = self.line(encoded)
        return said if self.rate is None else self.rate(said)


class AddedBranch(nn.Module):
    """A branch whose outputs are added to those of the head: ``factor`` times what it says by itself.

    ``share``: what it has of the outputs, all branches and the head together 1. The factor is the share, until all
    outputs are divided by a temperature.
    """

    factor: Tensor

    def __init__(self, branch: nn.Module, share: float) -> None:
        super().__init__()
        self.branch, self.share = branch, float(share)
        self.register_buffer("factor", torch.tensor(float(share)))

    def forward(self, encoded: Tensor) -> Tensor:
        """Return what is added ``(rows, outputs)``."""
        return self.factor * self.branch(encoded)

    def scale_(self, factor: float) -> None:
        """Multiply what is added."""
        self.factor.mul_(factor)
