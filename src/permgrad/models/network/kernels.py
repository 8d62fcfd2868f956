"""Fixed random kernels beside the convolutions: what they see of an image, and a linear map of it to the outputs."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

#: Of images with one row, or one column, and of others.
_LONG, _SQUARE = 9, 3
SHARPNESS = 8.0


class RandomKernels(nn.Module):
    """Kernels that are drawn once (ROCKET, Dempster et al. 2020, arXiv 1910.13051), and a readout that is fitted.

    Shape: ``(rows, channels, height, width)`` to ``(rows, outputs)``. Of each kernel's map two numbers are read: the
    largest, and how much of the map is above 0. NOTE[DIFF] the share of positives is soft, a mean of sigmoids, so that
    slopes are exact; kernels have one length, and biases from −1 to 1. Of a curve they are read over the whole of it,
    of a picture over each quarter.
    """

    centre: Tensor

    def __init__(self, shape: tuple[int, int, int], count: int, outputs: int = 0) -> None:
        super().__init__()
        channels, *size = shape
        curve = min(size) == 1
        self.parts = 1 if curve else 2
        self.kernel = [(_LONG if side > 1 else 1) if curve else _SQUARE for side in size]
        room = min((side - 1) // (reach - 1) for side, reach in zip(size, self.kernel, strict=True) if reach > 1)
        most = max(0, int(math.log2(max(1, room))))
        each, self.convolutions = math.ceil(count / (most + 1)), nn.ModuleList()
        for step in (2**power for power in range(most + 1)):
            high, wide = self.kernel
            padding = (step * (high // 2), step * (wide // 2))
            made = nn.Conv2d(channels, each, (high, wide), padding=padding, dilation=step).requires_grad_(False)
            self.convolutions.append(made)
        self.count = each * (most + 1)
        features = 2 * self.count * self.parts**2
        self.readout = nn.Linear(features, outputs).requires_grad_(False) if outputs else None
        self.register_buffer("centre", torch.zeros(()))

    @torch.no_grad()
    def draw(self, rng: np.random.Generator, *, centre: float = 0.0, spread: float = 1.0) -> None:
        """Draw the kernels, for pixels with this mean and standard deviation."""
        self.centre.fill_(centre)
        for layer in self.convolutions:
            kernels, bias = layer.parameters()
            weight = rng.normal(size=(len(kernels), math.prod(self.kernel)))
            weight -= weight.mean(axis=1, keepdims=True)
            weight /= np.sqrt((weight**2).sum(axis=1, keepdims=True)) * spread * kernels.shape[1]
            kernels.copy_(torch.from_numpy(weight).view(-1, 1, *self.kernel).expand_as(kernels))
            bias.copy_(torch.from_numpy(rng.uniform(-1, 1, size=len(bias))))

    def see(self, images: Tensor) -> Tensor:
        """Return what the kernels see ``(rows, features)``."""
        parts: list[Tensor] = []
        for layer in self.convolutions:
            maps = layer(images - self.centre)
            often = functional.adaptive_avg_pool2d(torch.sigmoid(SHARPNESS * maps), self.parts)
            parts += [often.flatten(1), functional.adaptive_max_pool2d(maps, self.parts).flatten(1)]
        return torch.cat(parts, dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Read out what they see."""
        seen = self.see(images)
        out: Tensor = seen if self.readout is None else self.readout(seen)
        return out
