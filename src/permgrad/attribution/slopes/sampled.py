"""Random points near rows: numbers that depend only on the row and the sample, not on the batch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.request import Request
from permgrad.base.arrays import Integers
from permgrad.base.random import uniform

#: Samples of a row, at most: the numbers of their points do not meet.
MOST_SAMPLES = 2**20


def sampled_points(request: Request, first: int, samples: int, points: slice) -> tuple[Tensor, Integers]:
    """Return for points, numbered row by row from the row ``first`` on, the row less ``first`` and the point's number.

    No point of any row of the table has the same number.
    """
    row, sample = np.divmod(np.arange(points.start, points.stop, dtype=np.int64), samples)
    return torch.from_numpy(row), (first + row + request.row_offset) * MOST_SAMPLES + sample


def normal(seed: int, purpose: tuple[object, ...], numbers: Integers, like: Tensor) -> Tensor:
    """Return standard normal numbers for points, float64 in the shape and on the device of ``like`` ``(points, *)``."""
    places = like[0].numel()
    counters = numbers[:, None].astype(np.uint64) * np.uint64(places) + np.arange(places, dtype=np.uint64)
    # Neither 0 nor 1, which stand for infinity.
    drawn = torch.from_numpy(uniform(seed, purpose, counters)).clamp_(2.0**-54, 1 - 2.0**-53)
    return torch.special.ndtri(drawn).reshape(like.shape).to(like.device)
