"""Maps with their channels next to each other in memory, for networks that only predict."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor


def channels_last(maps: Tensor) -> Tensor:
    """Return maps ``(rows, channels, height, width)`` with channels next to each other in memory."""
    if maps.shape[1] != 1:
        return maps.contiguous(memory_format=torch.channels_last)
    return maps[:, 0].contiguous().unsqueeze(-1).permute(0, 3, 1, 2)


def channels_first_to_last(matrix: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a matrix over flat maps for maps that are flattened with their channels last."""
    return matrix.reshape(len(matrix), *shape).permute(0, 2, 3, 1).flatten(1).contiguous()


def max_pool(values: Tensor, window: int) -> Tensor:
    """Return the maximum of each ``window × window`` square, squares side by side; odd rows and columns are dropped."""
    rows, channels, height, width = values.shape
    high, wide = height // window, width // window
    near = values.permute(0, 2, 3, 1)
    if (high * window, wide * window) != (height, width):
        near = near[:, : high * window, : wide * window]
    # Long contiguous pieces first, then the short ones on what is left.
    lines = near.reshape(rows, high, window, wide * window * channels).unbind(2)
    across = reduce(torch.maximum, lines).view(rows, high, wide, window, channels)
    return reduce(torch.maximum, across.unbind(3)).permute(0, 3, 1, 2)
