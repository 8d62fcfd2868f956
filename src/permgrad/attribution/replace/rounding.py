"""Rounding of a network's outputs: what differs by no more than it is taken for equal."""

from __future__ import annotations

import torch
from torch import Tensor

#: Roundings of one number that a sum in a network may be off by; precisions coarser than this are half ones.
_ROUNDING, _HALF = 16, 1e-5


def is_half(dtype: torch.dtype) -> bool:
    """Return whether numbers of this type are so coarse that their rounding may be as large as an effect."""
    return torch.finfo(dtype).eps > _HALF


def rounding_size(outputs: Tensor, noise: float | None = None) -> Tensor:
    """Return the difference of an output below which it is the network's rounding, ``(rows, 1)``."""
    precision = torch.finfo(outputs.dtype).eps
    times = 1 if is_half(outputs.dtype) else _ROUNDING
    least = times * precision if noise is None else noise
    return (times * precision * outputs.abs().amax(dim=1, keepdim=True)).clamp_min(least)


def settle(outputs: Tensor, base: Tensor, noise: float | None = None) -> Tensor:
    """Return ``outputs``, with a row's ``base`` itself where the two differ by rounding only.

    Computing a part of a network anew, or in a batch of another size, changes last digits. Without this an input that
    the network does not use would get an importance of 1e-9 instead of exactly 0, with a p-value that means nothing.
    """
    unchanged = ((outputs - base).abs() <= rounding_size(base, noise)).all(dim=1)
    return torch.where(unchanged[:, None], base, outputs)
