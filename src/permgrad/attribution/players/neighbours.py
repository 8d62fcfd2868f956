"""Whether numbers beside each other are alike, as those of pictures and of series
are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: Rows that are looked at, at most.
_LOOKED_AT = 32
#: Neighbours differ less than this, as a share of what any two numbers of a row differ.
_ALIKE = 0.5
#: How much longer time is than there are channels, and how much more alike neighbours
#: in time are.
_LONGER = 3
_MORE_ALIKE = 2
#: Of pictures this many times longer than high, neighbours differ less than this.
_STRIP = 8
_UNLIKE = 0.8
#: Whole numbers that pictures are stored as.
_BYTES = (torch.uint8, torch.int8, torch.bool)


def difference(rows: Tensor, dim: int) -> float:
    """Return the mean squared difference of neighbours along a dimension, as a share of
    that of any two numbers.

    It is 1 on average where neighbours have nothing in common, and NaN where all
    numbers are equal.
    """
    sample_rows = rows[:: max(1, len(rows) // _LOOKED_AT)][:_LOOKED_AT].double()
    steps = sample_rows.diff(dim=dim).square().mean()
    pair_variance = sample_rows.flatten(1).var(dim=1, correction=0).mean()
    return float(steps / (2 * pair_variance))


def may_be_picture(rows: Tensor) -> bool:
    """Return whether rows of shape ``(rows, height, width)`` may be pictures by their
    numbers alone.
    """
    if rows.is_floating_point():
        return True
    if rows.dtype not in _BYTES:
        return False
    return all(
        difference(rows, dimension) < _ALIKE
        for dimension in (1, 2)
        if rows.shape[dimension] > 1
    )


def channels_beside_time(
    rows: Tensor, dims: Sequence[int], *, strip: bool
) -> int | None:
    """Return the one of two dimensions that lists channels if the other is time, or
    None.

    Time is the much longer one, along which alone neighbours are alike. ``strip``:
    noise is no picture either where one side is very long.
    """
    channels, time_dimension = sorted(dims, key=lambda dim: rows.shape[dim])
    if (
        rows.shape[channels] < 2
        or rows.shape[time_dimension] < _LONGER * rows.shape[channels]
    ):
        return None
    in_time = difference(rows, time_dimension)
    across = difference(rows, channels)
    if in_time < _ALIKE and across > _MORE_ALIKE * in_time:
        return channels
    much_longer = rows.shape[time_dimension] >= _STRIP * rows.shape[channels]
    if strip and much_longer and across > _UNLIKE:
        return channels
    return None
