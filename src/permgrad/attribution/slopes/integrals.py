"""Integrated gradients, refined row by row until they have settled: one driver for every network.

The integral along the straight line from baseline to row is taken in the first of three ways that serves the network:

- ``secants``: mean slopes of each layer of permgrad's own networks, without an automatic gradient;
- ``SecantIntegral``: mean slopes of each function that a network calls (``rescale``). With both, the line is cut into
  equal intervals, and the sum over the intervals adds up to the output's change whatever their number;
- ``GradientIntegral``: plain gradients in the middle of each interval, where a function has no rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method import Request
from permgrad.attribution.slopes.additive import Additive
from permgrad.attribution.slopes.baselines import baseline_rows
from permgrad.attribution.slopes.gradients import Tensors
from permgrad.attribution.slopes.lines import Floats, Lines
from permgrad.attribution.slopes.secants import SecantLines
from permgrad.attribution.slopes.slopes import Slopes, walks_truly
from permgrad.base.errors import warn_user
from permgrad.base.progress import Progress
from permgrad.models.batches import halved, in_batches, with_fewer

#: Secants of functions are used where their sums miss less than this share of the output's range.
_COMPLETE = 1e-3
_PROBE_ROWS = 8


class SecantIntegral(Lines):
    """Mean slopes between neighbouring points, as products of the functions' own mean slopes."""

    rule = "secants of each function"
    factor = 2

    def __init__(self, slopes: Slopes, baselines: Tensors, most: int) -> None:
        super().__init__(slopes, baselines)
        # Errors of many lines cancel; of one line, coarse estimates may agree by luck where rectifiers switch.
        self.first = min(8 if self.count == 1 else 1, most)
        self.settled_from = 2 * self.first

    def complete(self, rows: Tensors, scale: Tensor) -> bool:
        """Return whether a single step from the first baseline adds up, so that every function called has a rule."""
        slopes = self.slopes
        start = slopes.at_baseline(rows, [tensor[:1] for tensor in self.baselines])
        walk = slopes.walk(rows)
        before = walk.stand(slopes.leaves(start))
        after, means = walk.step(slopes.leaves(rows), slopes.targets, constant_sum=slopes.constant_sum, last=True)
        if not walks_truly(slopes, rows, after):
            return False
        total = slopes.attributions(means, start, rows).sum(dim=(1, 2))
        gap = ((total - (after - before)[:, slopes.targets].double()).abs() / scale).max()
        return walk.matched and bool(gap <= max(_COMPLETE, 64 * torch.finfo(after.dtype).eps))

    def start(self, rows: Tensors) -> tuple[Tensor, int]:
        """Return a first estimate."""
        return self._estimate(rows, self.first), self.first

    def refine(self, rows: Tensors, values: Tensor, intervals: int) -> Tensor:  # noqa: ARG002 — part of the protocol
        """Return the estimate with more intervals; nothing of the coarser one can be reused."""
        return self._estimate(rows, intervals)

    def _estimate(self, rows: Tensors, intervals: int) -> Tensor:
        total, slopes = self.empty(len(rows[0])), self.slopes
        lines, done = len(total) * self.count, 0
        while done < lines:
            line = torch.arange(done, min(done + slopes.batch, lines), device=total.device)
            start, stop = self.ends(rows, line)
            try:
                added = slopes.attributions(self._mean_slopes(start, stop, intervals), start, stop)
            except (RuntimeError, MemoryError) as error:
                # Fewer lines alone would only take more intervals at once.
                slopes.batch = halved(min(slopes.batch, len(line) * intervals), error)
                continue
            total.index_add_(0, line // self.count, added)
            done += len(line)
        slopes.evaluations += lines * intervals
        return total / self.count

    def _mean_slopes(self, start: Tensors, stop: Tensors, intervals: int) -> list[Tensor]:
        """Return each line's mean slopes towards each leaf, ``(targets, lines, *)``."""
        slopes, lines = self.slopes, len(start[0])
        # Few lines: several intervals at once, at the price of a forward pass over all their beginnings. Many lines:
        # from interval to interval, each of which begins where the last one ended.
        together = min(intervals, slopes.batch // lines)
        together = together if together >= 4 else 1
        sums: list[Tensor] = []
        walk = slopes.walk(stop)
        for first in range(0, intervals, together):
            times = np.arange(first, min(first + together, intervals) + 1) / intervals
            after = self.points(start, stop, times[1:])
            if first == 0 or together > 1:
                before = self.points(start, stop, times[:-1])
                walk = slopes.walk(before)
                walk.stand(slopes.leaves(before))
                slopes.model_rows += len(before[0])
            last = together > 1 or first + 1 == intervals
            _, means = walk.step(slopes.leaves(after), slopes.targets, constant_sum=slopes.constant_sum, last=last)
            slopes.model_rows += len(after[0])
            if together > 1:
                means = [mean.unflatten(1, (len(times) - 1, lines)).sum(dim=1) for mean in means]
            sums = [total.add_(mean) for total, mean in zip(sums, means, strict=True)] if sums else means
        return [total / intervals for total in sums]


class GradientIntegral(Lines):
    """The midpoint rule over plain gradients, which needs nothing of a network but that they exist.

    A third of each interval is again an interval around a point that is known, so nothing is computed twice.

    Args:
        slopes, baselines: as for ``Lines``.
        steps: exactly so many gradients for each line, without any refinement; None: as many as it takes.
    """

    rule = "midpoint rule over gradients"
    factor = 3

    def __init__(self, slopes: Slopes, baselines: Tensors, steps: int | None = None) -> None:
        super().__init__(slopes, baselines)
        self.first = steps or 1
        # Errors of many lines cancel.
        self.settled_from = 9 if self.count == 1 else 3

    def start(self, rows: Tensors) -> tuple[Tensor, int]:
        """Return the rule with one interval, or as many as were asked for."""
        return self._mean(rows, (np.arange(self.first) + 0.5) / self.first), self.first

    def refine(self, rows: Tensors, values: Tensor, intervals: int) -> Tensor:
        """Add the middles of the outer thirds."""
        before = np.arange(intervals // 3)[:, None]
        times = (before + np.array([1 / 6, 5 / 6])).ravel() * 3 / intervals
        return (values + 2 * self._mean(rows, times)) / 3

    def _mean(self, rows: Tensors, times: Floats) -> Tensor:
        """Return the mean over lines and times of gradients times changes."""
        total, slopes = self.empty(len(rows[0])), self.slopes
        points = self.count * len(times)

        def work(part: slice) -> None:
            number = torch.arange(part.start, part.stop, device=total.device)
            line, place = number // len(times), number % len(times)
            start, stop = self.ends(rows, line)
            at = torch.as_tensor(times, device=total.device)[place]
            between = list(stop)
            for free in slopes.free:
                weight = at.to(stop[free].dtype).reshape(-1, *[1] * (stop[free].ndim - 1))
                between[free] = torch.lerp(start[free], stop[free], weight)
            _, gradients = slopes.gradients(tuple(between))
            total.index_add_(0, line // self.count, slopes.attributions(gradients, start, stop))

        slopes.batch = in_batches(len(total) * points, slopes.batch, work)
        return total / points


# ---- refining until the values have settled --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Settling:
    """When an integral counts as settled: shares of ``scale``, the range of each output ``(targets,)``."""

    tolerance: float
    max_steps: int
    scale: Tensor


@dataclass
class _Quality:
    """How well each row's integral is known: relative gap and last change, and the intervals it took."""

    gap: Floats
    change: Floats
    intervals: Floats


def _settle(lines: Lines, rows: Tensors, wanted: Tensor, rule: _Settling) -> tuple[Tensor, _Quality]:
    """Integrate, refining the rows that have not settled yet.

    Args:
        lines: gives estimates.
        rows: one tensor per input, ``(b, *)``.
        wanted: what the values of each row and output should add up to, ``(b, targets)``.
        rule: when to stop.
    """
    values, intervals = lines.start(rows)
    result = values
    gap = ((values.sum(dim=(1, 2)) - wanted).abs() / rule.scale).amax(dim=1)
    change = torch.full_like(gap, torch.inf)
    taken = torch.full_like(gap, intervals)
    active = torch.arange(len(gap), device=gap.device)
    while len(active) and intervals * lines.factor <= rule.max_steps:
        intervals *= lines.factor
        refined = lines.refine(tuple(tensor[active] for tensor in rows), values, intervals)
        new_change = ((refined - values).abs() / rule.scale).amax(dim=(1, 2, 3))
        new_gap = ((refined.sum(dim=(1, 2)) - wanted[active]).abs() / rule.scale).amax(dim=1)
        if len(active) == len(gap):
            result = refined
        else:
            result[active] = refined
        gap[active], change[active], taken[active] = new_gap, new_change, float(intervals)
        # The sum may be right, by luck or by the rule, while single values are not: both must have settled.
        unsettled = (new_gap > rule.tolerance) | (new_change > rule.tolerance)
        if intervals < lines.settled_from:
            unsettled |= True
        active, values = active[unsettled], refined[unsettled]
    return result, _Quality(gap.cpu().numpy(), change.cpu().numpy(), taken.cpu().numpy())


# ---- the driver ------------------------------------------------------------------------------------------------------


def integrate(request: Request, options: Mapping[str, Any]) -> Explanation:
    """Return the integrated gradients of any network.

    Args:
        request: the call.
        options: of ``IntegratedGradients``, all of them.
    """
    slopes, steps = Slopes(request, "integrated_gradients", by_path=True), options["steps"]
    baseline = baseline_rows(request, options["baseline"], int(options["references"]), options["reference_class"])
    result = Additive(slopes, baseline)
    qualities: list[_Quality] = []
    with Progress(request.count, "integrated gradients", request.progress) as progress, slopes.open():
        baselines = slopes.rows(slice(0, len(baseline)), baseline.rows)
        base = slopes.outputs(baselines) if slopes.whole else None
        scale = slopes.output_range(_first_bases(slopes, baselines) if base is None else base)
        rule = _Settling(_tolerance(slopes, float(options["tolerance"])), int(options["max_steps"]), scale)
        lines = _lines(slopes, baselines, rule, steps)
        # Rows that take a number of steps have settled with the first estimate.
        until = rule if steps is None else _Settling(np.inf, steps, scale)
        for part in lines.blocks(request.count):
            rows = slopes.rows(part)
            outputs = slopes.outputs(rows)
            starts = _bases(slopes, rows, baselines) if base is None else base.mean(dim=0).expand_as(outputs)
            values, quality = _settle(lines, rows, outputs - starts, until)
            qualities.append(quality)
            result.keep(part, lines.by_player(values), outputs, starts)
            progress.advance(part.stop - part.start)
    gap, change, taken = (
        np.concatenate([getattr(quality, name) for quality in qualities]) for name in ("gap", "change", "intervals")
    )
    if steps is None:
        _warn_of_unsettled(gap, change, rule)
    facts: dict[str, Any] = {"players": options["players"]} if request.subject.encoded_names else {}
    facts |= {
        "tolerance": rule.tolerance,
        "rule": lines.rule,
        "steps": int(taken.max()),
        "mean_steps": float(taken.mean()) if steps is None else steps,
        "quadrature_error": float(change.max()) if steps is None else None,
    }
    return result.explanation("integrated_gradients", scale.cpu().numpy(), **facts)


def _lines(slopes: Slopes, baselines: Tensors, rule: _Settling, steps: int | None) -> Lines:
    """Return the fastest way that serves the network; plain gradients where they are counted.

    Tried on background rows, so that what is chosen does not depend on the rows explained.
    """
    if steps is None:
        layers = SecantLines.fitting(slopes, baselines, rule.max_steps)
        if layers is not None:
            return layers
        secants = SecantIntegral(slopes, baselines, rule.max_steps)
        if with_fewer(_PROBE_ROWS, lambda count: secants.complete(_probe(slopes, baselines, count), rule.scale)):
            return secants
    return GradientIntegral(slopes, baselines, steps)


def _probe(slopes: Slopes, baselines: Tensors, count: int) -> Tensors:
    """Return a few background rows; rows explained where the background is the baseline itself."""
    rows = slopes.rows(slice(0, count), slopes.request.donors)
    start = slopes.at_baseline(rows, [tensor[:1] for tensor in baselines])
    moves = any(not torch.equal(start[place], rows[place]) for place in slopes.free)
    return rows if moves else slopes.rows(slice(0, count))


def _tolerance(slopes: Slopes, wanted: float) -> float:
    """Return the tolerance; a network in half precision cannot settle further than it can tell numbers apart."""
    precision = torch.finfo(slopes.subject.dtype).eps
    return max(wanted, 4 * precision) if precision > 1e-4 else wanted


def _bases(slopes: Slopes, rows: Tensors, baselines: Tensors) -> Tensor:
    """Return the mean output at the baselines of rows that keep some positions, float64 ``(b, targets)``."""
    count = len(baselines[0])
    total = torch.zeros(len(rows[0]), len(slopes.targets), dtype=torch.float64, device=rows[0].device)
    for place in range(count):
        total += slopes.outputs(slopes.at_baseline(rows, [tensor[place : place + 1] for tensor in baselines]))
    return total / count


def _first_bases(slopes: Slopes, baselines: Tensors) -> Tensor:
    """Return outputs at the baselines of a few background rows, for the range of the outputs."""
    return _bases(slopes, slopes.rows(slice(0, _PROBE_ROWS), slopes.request.donors), baselines)


def _warn_of_unsettled(gap: Floats, change: Floats, rule: _Settling) -> None:
    unsettled = int(((gap > rule.tolerance) | (change > rule.tolerance)).sum())
    if unsettled:
        warn_user(
            f"attributions should settle to {rule.tolerance:g} of the output's range, however: after at most "
            f"{rule.max_steps} steps {unsettled} of {len(gap)} rows have not (largest gap {gap.max():.2g}, largest "
            f"change {change.max():.2g}); raise max_steps or tolerance"
        )
