"""Slopes of the outputs along straight lines from baselines to rows, and their means by plain gradients.

``GradientLines`` averages gradients at equal steps; it needs nothing but a differentiable network. The faster way, for
networks made of known layers, is in ``secants``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from permgrad.attribution.method import Request
from permgrad.attribution.slopes.gradients import gradient_batch_size, output_gradients, outputs_sum_constant
from permgrad.models.batches import in_batches


class Lines:
    """What both ways share: the outputs at points, and the bookkeeping.

    Attributes:
        rule: the name of the way, for the explanation's facts.
        evaluations: how many backward passes of one row were made.
        most: intervals of one line at most.
        settled_from: the number of intervals from which on an integral may count as settled.
    """

    rule: str
    settled_from: int

    def __init__(self, request: Request, baselines: npt.NDArray[np.float32]) -> None:
        self.subject = request.subject
        self.module = request.subject.module
        self.output = request.output
        self.targets = list(request.targets)
        self.batch = gradient_batch_size(request)
        self.constant_sum = outputs_sum_constant(request.subject, request.output)
        self.dtype = next(self.module.parameters()).dtype
        self.baselines = self.tensor(baselines)
        self.most = int(request.options.get("max_steps", 1024))
        self.evaluations = 0

    def tensor(self, rows: npt.NDArray[np.float32]) -> Tensor:
        """Copy rows to the network's device and precision."""
        return torch.as_tensor(np.ascontiguousarray(rows), device=self.subject.device).to(self.dtype)

    def outputs(self, rows: Tensor) -> Tensor:
        """Return the outputs explained, float64 ``(rows, targets)``."""
        found = torch.empty(len(rows), len(self.targets), dtype=torch.float64, device=rows.device)

        def work(part: slice) -> None:
            with torch.no_grad():
                found[part] = self.subject.readout(self.module(rows[part]), self.output)[:, self.targets].double()

        self.batch = in_batches(len(rows), self.batch, work)
        return found

    def start(self, rows: Tensor) -> tuple[Tensor, int]:
        """Return a first estimate of the attributions and its number of intervals.

        Shape:
            ``(rows, paths, encoded, targets)``, float64.
        """
        raise NotImplementedError

    def refine(self, rows: Tensor, values: Tensor, intervals: int) -> Tensor:
        """Return the estimate with ``intervals`` intervals, given the one with half of them."""
        raise NotImplementedError


class GradientLines(Lines):
    """The trapezoid rule over gradients of any differentiable network.

    NOTE: rectifiers and max pooling make slopes jump along the line, and then every rule over gradients converges like
        1/n; per gradient the trapezoid, midpoint and Gauss–Legendre rules were equally good on a trained network, and
        only the trapezoid keeps all gradients when it is refined.
    """

    rule = "trapezoid rule over gradients"

    def __init__(self, request: Request, baselines: npt.NDArray[np.float32]) -> None:
        super().__init__(request, baselines)
        # Errors of many lines cancel.
        self.settled_from = 8 if len(self.baselines) == 1 else 2
        points = self.gradients(self.baselines)
        wide = self.baselines.double()[:, None, :, None]
        #: Of the slopes at the lines' start, what is common to all rows.
        self._start_gradient = points.mean(dim=0)
        self._start_offset = (points * wide).mean(dim=0)
        self._centre = wide.mean(dim=0)

    def gradients(self, points: Tensor) -> Tensor:
        """Return the gradients at points ``(n, encoded)``: float64 ``(n, paths, encoded, targets)``, paths apart."""
        shape = (len(points), len(self.module.paths), points.shape[1], len(self.targets))
        found = torch.empty(shape, dtype=torch.float64, device=points.device)

        def work(part: slice) -> None:
            # One leaf for each path: the same numbers enter twice, and their gradients come back apart.
            with torch.inference_mode(mode=False), torch.enable_grad():
                leaves = [points[part].clone().requires_grad_() for _ in self.module.paths]
                embeddings = {
                    path: self.module.embed(path, leaf) for path, leaf in zip(self.module.paths, leaves, strict=True)
                }
                outputs = self.subject.readout(self.module.fuse(embeddings), self.output)
                own = output_gradients(outputs, self.targets, leaves, constant_sum=self.constant_sum)
            for place, gradient in enumerate(own):
                found[part, place] = gradient.permute(1, 2, 0).double()

        self.batch = in_batches(len(points), self.batch, work)
        self.evaluations += len(points)
        return found

    def start(self, rows: Tensor) -> tuple[Tensor, int]:
        """Return the rule with one interval: half the slopes at the lines' start and end.

        Both ends cost one gradient for each row, however many baselines there are.
        """
        wide = rows.double()[:, None, :, None]
        start = wide * self._start_gradient - self._start_offset
        end = (wide - self._centre) * self.gradients(rows)
        return (start + end) / 2, 1

    def refine(self, rows: Tensor, values: Tensor, intervals: int) -> Tensor:
        """Add the slopes in the middle of each interval."""
        return (values + self._middles(rows, intervals)) / 2

    def _middles(self, rows: Tensor, intervals: int) -> Tensor:
        """Return the mean slopes at the odd multiples of ``1 / intervals``: what halving the intervals adds."""
        times = torch.arange(1, intervals, 2, dtype=self.dtype, device=rows.device) / intervals
        lines = len(self.baselines) * len(times)
        total = torch.zeros(
            len(rows), len(self.module.paths), rows.shape[1], len(self.targets), dtype=torch.float64, device=rows.device
        )
        # Whole batches of (row, baseline, time), some rows at a time, so that memory stays bounded.
        together = max(1, self.batch // lines)
        for first in range(0, len(rows), together):
            some = rows[first : first + together]
            for begin in range(0, lines, max(self.batch, 1)):
                chosen = torch.arange(begin, min(begin + self.batch, lines), device=rows.device)
                baselines, at = self.baselines[chosen // len(times)], times[chosen % len(times)]
                difference = some[:, None, :] - baselines
                points = baselines + at[:, None] * difference
                slopes = self.gradients(points.flatten(0, 1)).unflatten(0, difference.shape[:2])
                total[first : first + together] += (slopes * difference.double()[:, :, None, :, None]).sum(dim=1)
        return total / lines
