"""Integrals along straight lines from references to rows, and two ways to compute them
for any network.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.request import Request
from permgrad.attribution.slopes.gradients import Tensors
from permgrad.attribution.slopes.slopes import Slopes
from permgrad.base.arrays import Floats, Integers
from permgrad.base.random import uniform
from permgrad.models.batches import halved, in_batches

#: Secants of functions are used where their sums miss less than this share of the
#: output's range.
_COMPLETE = 1e-3

#: Intervals into which a single line is divided first, and from how many on an estimate
#: is trusted. Two coarser ones of a network with kinks agree by chance in some rows.
_FIRST = 4
_TRUSTED = 16
#: Intervals that are worth a forward pass over their beginnings.
_FEWEST_TOGETHER = 4


class Lines:
    """Straight lines to rows: ``first`` intervals, ``factor`` times more a step, done
    from ``settled_from`` on. Before ``trusted_from`` a change counts several times.

    Errors fall about as fast as the intervals' length, so that an estimate's error is
    mostly below its last change.
    """

    rule: str
    factor: int
    ahead: float  # by how much of the last change the limit is beyond it
    first_row = 0  # of those whose integrals are taken, among the rows explained
    first: int
    settled_from: int
    trusted_from: int = 0

    def __init__(self, slopes: Slopes, references: Tensors) -> None:
        self.slopes = slopes
        self.references = references
        self.count = len(references[0])
        self.shape = (
            len(slopes.parts),
            len(slopes.space),
            len(slopes.targets),
        )  # of the estimates of a row

    def estimate(
        self,
        rows: Tensors,
        intervals: int,
        coarser: Tensor | None = None,  # noqa: ARG002 — see GradientIntegral
    ) -> Tensor:
        """Return means over each row's lines, ``(rows, *shape)``.

        Args:
            rows: The rows explained, ``(rows, *)`` for each input.
            intervals: Into how many each line is divided.
            coarser: The estimate by ``factor`` times fewer intervals.
        """
        total = rows[0].new_zeros((len(rows[0]), *self.shape), dtype=torch.float64)
        lines = len(total) * self.count
        lines_done = 0
        while lines_done < lines:
            together, points = self.together(intervals)
            line_numbers = torch.arange(
                lines_done, min(lines_done + together, lines), device=total.device
            )
            try:
                added = self.line_values(rows, line_numbers, intervals)
            except (RuntimeError, MemoryError) as error:
                # Fewer lines where memory does not suffice.
                self.slopes.batch = halved(
                    min(self.slopes.batch, len(line_numbers) * points), error
                )
                continue
            total.index_add_(0, line_numbers // self.count, added)
            lines_done += len(line_numbers)
        self.slopes.evaluations += lines * intervals
        return total / self.count

    def line_values(self, rows: Tensors, line: Tensor, intervals: int) -> Tensor:
        """Return the values of some lines, of which ``estimate`` takes the mean:
        ``(lines, *shape)``.

        Args:
            rows: The rows explained, ``(rows, *)`` for each input.
            line: The numbers of lines, ``(lines,)``, counted row by row.
            intervals: Into how many each is divided.
        """
        raise NotImplementedError

    def ends(self, rows: Tensors, line: Tensor) -> tuple[Tensors, Tensors]:
        """Return reference and row of each line, ``(lines, *)`` for each input.

        Args:
            rows: The rows explained, ``(rows, *)`` for each input.
            line: The numbers of lines, ``(lines,)``, counted row by row.
        """
        stop = tuple(tensor[line // self.count] for tensor in rows)
        return self.slopes.at_reference(
            stop, [tensor[line % self.count] for tensor in self.references]
        ), stop

    def between(self, start: Tensors, stop: Tensors, times: Tensor) -> Tensors:
        """Return points on lines, all lines' first time first: ``(k · lines, *)``.

        Args:
            start: The references, ``(lines, *)`` for each input.
            stop: The rows, ``(lines, *)`` for each input.
            times: From 0 to 1, ``(k, lines or 1)``.
        """
        points = []
        for input_index, (begin, end) in enumerate(zip(start, stop, strict=True)):
            point_values = end.expand(len(times), *end.shape)
            if input_index in self.slopes.free:
                point_values = torch.lerp(
                    begin,
                    end,
                    times.to(end.dtype).reshape(*times.shape, *[1] * (end.ndim - 1)),
                )
            points.append(point_values.flatten(0, 1))
        return tuple(points)

    def together(self, intervals: int) -> tuple[int, int]:
        """Return how many lines go in together, and the points of each: fewer lines
        would only take more intervals.

        Args:
            intervals: Into how many each line is divided.
        """
        return self.slopes.batch, intervals


class SecantIntegral(Lines):
    """Mean slopes between neighbouring points, as products of the functions' own mean
    slopes.
    """

    rule = "secants of each function"
    factor = 2

    def __init__(self, slopes: Slopes, references: Tensors, most: int) -> None:
        super().__init__(slopes, references)
        # Errors of many lines cancel.
        self.first = 1
        if self.count == 1:
            self.first = min(_FIRST, most)
            self.trusted_from = _TRUSTED
        self.settled_from = self.factor * self.first
        # Errors of smooth functions fall with the square of the intervals' length: the
        # last two estimates tell where they lead (Richardson 1911).
        self.ahead = 1 / (self.factor**2 - 1)

    def complete(self, start: Tensors, stop: Tensors, scale: Tensor) -> bool:
        """Return whether a single step adds up for each row, so that every function
        called has a rule.
        """
        slopes = self.slopes
        step = slopes.step(start, stop)
        # To the network's own outputs, not to those computed on the walk.
        change = slopes.outputs(stop) - slopes.outputs(start)
        gaps = (step.attributions.sum(dim=(1, 2)) - change).abs() / scale
        rounding = 64 * torch.finfo(step.after.dtype).eps
        return step.matched and bool(gaps.max() <= max(_COMPLETE, rounding))

    def line_values(self, rows: Tensors, line: Tensor, intervals: int) -> Tensor:
        """Return each line's attributions ``(lines, parts, players, targets)``."""
        slopes = self.slopes
        lines = len(line)
        start, stop = self.ends(rows, line)
        # Few lines: several intervals at once, at the price of a forward pass over all
        # their beginnings. Many lines: from interval to interval, each of which begins
        # where the last one ended.
        together = min(intervals, slopes.batch // lines)
        # Fewer than four intervals at once do not pay for that forward pass.
        if together < _FEWEST_TOGETHER:
            together = 1
        slope_sums: list[Tensor] = []
        secant_walk = slopes.walk(stop)
        for first in range(0, intervals, together):
            numbers = torch.arange(
                first, min(first + together, intervals) + 1, dtype=torch.float64
            )
            times = (numbers / intervals).to(line.device)[:, None]
            after = self.between(start, stop, times[1:])
            if first == 0 or together > 1:
                before = self.between(start, stop, times[:-1])
                secant_walk = slopes.walk(before)
                secant_walk.stand(slopes.leaves(before))
                slopes.model_rows += len(before[0])
            is_last = together > 1 or first + 1 == intervals
            _, means = secant_walk.step(
                slopes.leaves(after),
                slopes.targets,
                constant_sum=slopes.constant_sum,
                last=is_last,
            )
            slopes.model_rows += len(after[0])
            if together > 1:
                means = [
                    mean_slope.unflatten(1, (len(times) - 1, lines)).sum(dim=1)
                    for mean_slope in means
                ]
            if slope_sums:
                slope_sums = [
                    total.add_(mean_slope)
                    for total, mean_slope in zip(slope_sums, means, strict=True)
                ]
            else:
                slope_sums = means
        return slopes.attributions(
            [total / intervals for total in slope_sums], start, stop
        )


#: Share of a row's progress that the fewest points which it takes make up.
_BEFORE_SETTLED = 0.8


def _count_nothing(rows: float) -> None:
    """Leave progress to whoever asks."""


class GradientIntegral(Lines):
    """The midpoint rule over plain gradients, ``steps`` or as many as it takes: thirds
    keep the points known before.
    """

    rule = "midpoint rule over gradients"
    factor = 3
    ahead = 0.0

    def __init__(
        self, slopes: Slopes, references: Tensors, steps: int | None = None
    ) -> None:
        super().__init__(slopes, references)
        self.first = steps or 1
        #: told of the rows that are done, in shares, while one is at work
        self.counted: Callable[[float], None] = _count_nothing
        self._share = 0.0
        # Errors of many lines cancel.
        if self.count == 1:
            self.settled_from = 9
        else:
            self.settled_from = 3

    def estimate(
        self, rows: Tensors, intervals: int, coarser: Tensor | None = None
    ) -> Tensor:
        """Return the rule with so many intervals, a coarser one plus the middles of the
        outer thirds.
        """
        least = max(self.first, self.settled_from)
        if intervals <= least:
            self._share = _BEFORE_SETTLED / (self.count * least)
        else:
            self._share = 0.0
        if coarser is None:
            return self._mean(rows, (np.arange(intervals) + 0.5) / intervals)
        before = np.arange(intervals // 3)[:, None]
        times = (before + np.array([1 / 6, 5 / 6])).ravel() * 3 / intervals
        return (coarser + 2 * self._mean(rows, times)) / 3

    def _mean(self, rows: Tensors, times: Floats) -> Tensor:
        """Return the mean over lines and times of gradients times changes."""
        total = rows[0].new_zeros((len(rows[0]), *self.shape), dtype=torch.float64)
        slopes = self.slopes
        points = self.count * len(times)

        def work(point_slice: slice) -> None:
            number = torch.arange(
                point_slice.start, point_slice.stop, device=total.device
            )
            line_indices = number // len(times)
            time_index = number % len(times)
            point_times = torch.as_tensor(times, device=total.device)[time_index]
            total.index_add_(
                0,
                line_indices // self.count,
                self.products(rows, line_indices, point_times),
            )
            self.counted(self._share * len(number))

        slopes.batch = in_batches(len(total) * points, slopes.batch, work)
        return total / points

    def products(self, rows: Tensors, line: Tensor, times: Tensor) -> Tensor:
        """Return gradients times changes at one point of each line, ``(lines, parts,
        players, targets)``.
        """
        start, stop = self.ends(rows, line)
        _, gradients = self.slopes.gradients(self.between(start, stop, times[None]))
        return self.slopes.attributions(gradients, start, stop)


#: Samples of a row, at most: the numbers of their points do not meet.
MOST_SAMPLES = 2**20


def sampled_points(
    request: Request, first: int, samples: int, points: slice
) -> tuple[Tensor, Integers]:
    """Return the rows and the numbers of points near rows.

    Args:
        request: The call.
        first: The row whose points come first.
        samples: Points of each row.
        points: Which of them, numbered row by row from that row on.

    Returns:
        The row of each point, less ``first``, and its number, ``(points,)`` each. No
        point of any row of the table has the same number.
    """
    row_offsets, sample = np.divmod(
        np.arange(points.start, points.stop, dtype=np.int64), samples
    )
    return torch.from_numpy(row_offsets), (
        first + row_offsets + request.row_offset
    ) * MOST_SAMPLES + sample


def normal(
    seed: int, purpose: tuple[object, ...], numbers: Integers, like: Tensor
) -> Tensor:
    """Return standard normal numbers for points, float64 in the shape and on the device
    of ``like``.

    Args:
        seed: Of the call.
        purpose: What the numbers are for.
        numbers: Of the points, ``(points,)``.
        like: ``(points, *)``.
    """
    numbers_per_point = like[0].numel()
    counters = numbers[:, None].astype(np.uint64) * np.uint64(
        numbers_per_point
    ) + np.arange(numbers_per_point, dtype=np.uint64)
    # Neither 0 nor 1, which stand for infinity.
    drawn = torch.from_numpy(uniform(seed, purpose, counters)).clamp_(
        2.0**-54, 1 - 2.0**-53
    )
    return torch.special.ndtri(drawn).reshape(like.shape).to(like.device)
