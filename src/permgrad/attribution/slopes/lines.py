"""Integrals along straight lines from baselines to rows: what every way of taking them offers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from permgrad.attribution.slopes.gradients import Tensors
from permgrad.attribution.slopes.slopes import Slopes

Floats = npt.NDArray[np.float64]

#: Numbers that a block of rows may hold while its integrals are refined.
_BLOCK_NUMBERS = 4_000_000


class Lines:
    """Straight lines from every baseline to every row, and estimates of the integrals of slopes along them.

    Args:
        slopes: the network, open.
        baselines: one tensor per input, ``(baselines, *)``.

    Attributes:
        rule: how slopes are found, for the explanation's facts.
        factor: by how much a refinement multiplies the intervals.
        settled_from: the number of intervals from which on an integral may count as settled.
    """

    rule: str
    factor: int
    settled_from: int

    def __init__(self, slopes: Slopes, baselines: Tensors) -> None:
        self.slopes, self.baselines = slopes, baselines
        self.count = len(baselines[0])

    def start(self, rows: Tensors) -> tuple[Tensor, int]:
        """Return a first estimate, float64 ``(rows, parts, players, targets)``, and its number of intervals."""
        raise NotImplementedError

    def refine(self, rows: Tensors, values: Tensor, intervals: int) -> Tensor:
        """Return the estimate with ``intervals`` intervals, given the one before."""
        raise NotImplementedError

    def by_player(self, values: Tensor) -> Tensor:
        """Return estimates added up by player; here they are already."""
        return values

    def blocks(self, rows: int) -> list[slice]:
        """Cut the rows so that a block's estimates fit in memory beside a few batches of points."""
        size = max(1, min(self.rows_together(), _BLOCK_NUMBERS // max(self.empty(1).numel(), 1)))
        return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]

    def rows_together(self) -> int:
        """Return how many rows are worth refining together."""
        return 4 * self.slopes.batch

    def empty(self, rows: int) -> Tensor:
        """Return zeros for the estimates of rows."""
        slopes = self.slopes
        shape = (rows, len(slopes.parts), len(slopes.space), len(slopes.targets))
        return torch.zeros(shape, dtype=torch.float64, device=slopes.subject.device)

    def ends(self, rows: Tensors, line: Tensor) -> tuple[Tensors, Tensors]:
        """Return baseline and row of each line; lines are numbered row by row."""
        stop = tuple(tensor[line // self.count] for tensor in rows)
        return self.slopes.at_baseline(stop, [tensor[line % self.count] for tensor in self.baselines]), stop

    def points(self, start: Tensors, stop: Tensors, times: Floats | Sequence[float]) -> Tensors:
        """Return points at times between 0 and 1, all lines' first time first: ``(times · lines, *)``."""
        points = []
        for place, (begin, end) in enumerate(zip(start, stop, strict=True)):
            moves = place in self.slopes.free
            at_times = [torch.lerp(begin, end, float(time)) if moves else end for time in times]
            points.append(at_times[0] if len(at_times) == 1 else torch.cat(at_times))
        return tuple(points)
