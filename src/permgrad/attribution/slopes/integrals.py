"""Integrated gradients of any network, refined row by row until they have settled.

The integral along the straight line from baseline to row is taken over secants (``rescale``): the line is cut into
equal intervals, each interval's mean slope is the product of the mean slopes of the functions that the network calls,
and the sum over the intervals adds up to the output's change whatever their number. Where a network calls functions
without a rule, plain gradients in the middle of each interval take their place.

Values are added up by player before they are refined, so that memory grows neither with the size of an input nor with
the number of steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method import Request
from permgrad.attribution.slopes.additive import Additive, Floats
from permgrad.attribution.slopes.slopes import Slopes, Tensors, walks_truly
from permgrad.attribution.slopes.tensor_baselines import tensor_baseline
from permgrad.base.checks import check_whole
from permgrad.base.errors import InputError, shown, warn_user
from permgrad.base.progress import Progress
from permgrad.models.batches import halved, in_batches, with_fewer

#: Numbers that a block of rows may hold while its integrals are refined.
_BLOCK_NUMBERS = 4_000_000
#: Secants are used where their sums miss less than this share of the output's range.
_COMPLETE = 1e-3
_PROBE_ROWS = 8


class Integral(Protocol):
    """Estimates of the integrals of some rows, ``(rows, parts, players, targets)`` float64.

    Attributes:
        rule: its name, for the explanation's facts.
        factor: by how much a refinement multiplies the intervals.
        settled_from: the number of intervals from which on an integral may count as settled.
    """

    rule: str
    factor: int
    settled_from: int

    def start(self, rows: Tensors) -> tuple[Tensor, int]:
        """Return a first estimate and its number of intervals."""
        ...

    def refine(self, rows: Tensors, values: Tensor, intervals: int) -> Tensor:
        """Return the estimate with ``intervals`` intervals, given the one before."""
        ...


class _Lines:
    """Straight lines from every baseline to every row, and points on them."""

    def __init__(self, slopes: Slopes, baselines: Tensors) -> None:
        self.slopes, self.baselines = slopes, baselines
        self.count = len(baselines[0])

    def ends(self, rows: Tensors, line: Tensor) -> tuple[Tensors, Tensors]:
        """Return baseline and row of each line; lines are numbered row by row."""
        own = tuple(tensor[line // self.count] for tensor in rows)
        other = [tensor[line % self.count] for tensor in self.baselines]
        return self.slopes.at_baseline(own, other), own

    def points(self, start: Tensors, stop: Tensors, times: Floats) -> Tensors:
        """Return points at times between 0 and 1, all lines' first time first: ``(times · lines, *)``."""
        found = []
        for place, (begin, end) in enumerate(zip(start, stop, strict=True)):
            moves = place in self.slopes.free
            parts = [torch.lerp(begin, end, float(time)) if moves else end for time in times]
            found.append(parts[0] if len(parts) == 1 else torch.cat(parts))
        return tuple(found)

    def empty(self, rows: Tensors) -> Tensor:
        """Return zeros for the values of rows."""
        slopes = self.slopes
        shape = (len(rows[0]), len(slopes.parts), len(slopes.space), len(slopes.targets))
        return torch.zeros(shape, dtype=torch.float64, device=rows[0].device)


class SecantIntegral(_Lines):
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
        start = self.slopes.at_baseline(rows, [tensor[:1] for tensor in self.baselines])
        slopes = self.slopes
        walk = slopes.walk(rows)
        before = walk.stand(slopes.leaves(start))
        after, found = walk.step(slopes.leaves(rows), slopes.targets, constant_sum=slopes.constant_sum, last=True)
        if not walks_truly(slopes, rows, after):
            return False
        total = slopes.attributions(found, start, rows).sum(dim=(1, 2))
        gap = ((total - (after - before)[:, slopes.targets].double()).abs() / scale).max()
        return walk.matched and bool(gap <= max(_COMPLETE, 64 * torch.finfo(after.dtype).eps))

    def start(self, rows: Tensors) -> tuple[Tensor, int]:
        """Return a first estimate."""
        return self._estimate(rows, self.first), self.first

    def refine(self, rows: Tensors, values: Tensor, intervals: int) -> Tensor:  # noqa: ARG002 — part of the protocol
        """Return the estimate with more intervals; nothing of the coarser one can be kept."""
        return self._estimate(rows, intervals)

    def _estimate(self, rows: Tensors, intervals: int) -> Tensor:
        total, slopes = self.empty(rows), self.slopes
        lines, done = len(total) * self.count, 0
        while done < lines:
            line = torch.arange(done, min(done + slopes.batch, lines), device=total.device)
            start, stop = self.ends(rows, line)
            try:
                found = self._mean_slopes(start, stop, intervals)
                added = slopes.attributions(found, start, stop)
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
            _, found = walk.step(slopes.leaves(after), slopes.targets, constant_sum=slopes.constant_sum, last=last)
            slopes.model_rows += len(after[0])
            if together > 1:
                found = [own.unflatten(1, (len(times) - 1, lines)).sum(dim=1) for own in found]
            sums = [total.add_(own) for total, own in zip(sums, found, strict=True)] if sums else found
        return [own / intervals for own in sums]


class GradientIntegral(_Lines):
    """The midpoint rule over plain gradients, which needs nothing of a network but that they exist.

    A third of each interval is again an interval around a point that is known, so nothing is computed twice.
    """

    rule = "midpoint rule over gradients"
    factor = 3

    def __init__(self, slopes: Slopes, baselines: Tensors) -> None:
        super().__init__(slopes, baselines)
        # Errors of many lines cancel.
        self.settled_from = 9 if self.count == 1 else 3

    def start(self, rows: Tensors) -> tuple[Tensor, int]:
        """Return the rule with one interval."""
        return self.mean(rows, np.array([0.5])), 1

    def refine(self, rows: Tensors, values: Tensor, intervals: int) -> Tensor:
        """Add the middles of the outer thirds."""
        before = np.arange(intervals // 3)[:, None]
        times = (before + np.array([1 / 6, 5 / 6])).ravel() * 3 / intervals
        return (values + 2 * self.mean(rows, times)) / 3

    def mean(self, rows: Tensors, times: Floats) -> Tensor:
        """Return the mean over lines and times of gradients times changes."""
        total, slopes = self.empty(rows), self.slopes
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
            _, found = slopes.gradients(tuple(between))
            total.index_add_(0, line // self.count, slopes.attributions(found, start, stop))

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


def _settle(integral: Integral, rows: Tensors, wanted: Tensor, rule: _Settling) -> tuple[Tensor, _Quality]:
    """Integrate, refining the rows that have not settled yet.

    Args:
        integral: gives estimates.
        rows: one tensor per input, ``(b, *)``.
        wanted: what the values of each row and output should add up to, ``(b, targets)``.
        rule: when to stop.
    """
    values, intervals = integral.start(rows)
    result = values
    gap = ((values.sum(dim=(1, 2)) - wanted).abs() / rule.scale).amax(dim=1)
    change = torch.full_like(gap, torch.inf)
    taken = torch.full_like(gap, intervals)
    active = torch.arange(len(gap), device=gap.device)
    while len(active) and intervals * integral.factor <= rule.max_steps:
        intervals *= integral.factor
        refined = integral.refine(tuple(tensor[active] for tensor in rows), values, intervals)
        own_change = ((refined - values).abs() / rule.scale).amax(dim=(1, 2, 3))
        own_gap = ((refined.sum(dim=(1, 2)) - wanted[active]).abs() / rule.scale).amax(dim=1)
        if len(active) == len(gap):
            result = refined
        else:
            result[active] = refined
        gap[active], change[active], taken[active] = own_gap, own_change, float(intervals)
        # The sum may be right, by luck or by the rule, while single values are not: both must have settled.
        open_rows = (own_gap > rule.tolerance) | (own_change > rule.tolerance)
        if intervals < integral.settled_from:
            open_rows |= True
        active, values = active[open_rows], refined[open_rows]
    return result, _Quality(gap.cpu().numpy(), change.cpu().numpy(), taken.cpu().numpy())


# ---- the method on any network ---------------------------------------------------------------------------------------


def integrate_network(request: Request, options: Mapping[str, Any]) -> Explanation:
    """Return the integrated gradients of any network, or of a hybrid one with a fixed number of steps.

    Args:
        request: the call.
        options: of ``IntegratedGradients``, all of them.
    """
    steps = _check_steps(options["steps"])
    players = options["players"]
    if not isinstance(players, str) or players != "features":
        raise InputError(
            f"players={shown(players)} shows the encoded columns of a permgrad estimator, however: they are not "
            "apart here; leave out players=, or steps= for an estimator"
        )
    slopes = Slopes(request, "integrated_gradients", by_path=True)
    baseline = tensor_baseline(request, options["baseline"], int(options["references"]), options["reference_class"])
    found = Additive(slopes, baseline)
    seen: list[_Quality] = []
    with Progress(request.count, "integrated gradients", request.progress) as progress, slopes.open():
        baselines = slopes.rows(slice(0, len(baseline)), baseline.rows)
        base = slopes.outputs(baselines) if slopes.whole else None
        scale = slopes.output_range(_first_bases(slopes, baselines) if base is None else base)
        rule = _Settling(_tolerance(slopes, float(options["tolerance"])), int(options["max_steps"]), scale)
        integral = _integral(slopes, baselines, rule, fixed=steps is not None)
        for part in _blocks(slopes):
            rows = slopes.rows(part)
            outputs = slopes.outputs(rows)
            own = _bases(slopes, rows, baselines) if base is None else base.mean(dim=0).expand_as(outputs)
            if steps is not None and isinstance(integral, GradientIntegral):
                values = integral.mean(rows, (np.arange(steps) + 0.5) / steps)
            else:
                values, quality = _settle(integral, rows, outputs - own, rule)
                seen.append(quality)
            found.keep(part, values, outputs, own)
            progress.advance(part.stop - part.start)
    facts: dict[str, Any] = {
        "tolerance": rule.tolerance,
        "rule": integral.rule,
        "steps": steps,
        "mean_steps": steps,
        "quadrature_error": None,
    }
    if seen:
        gap, change, taken = (
            np.concatenate([getattr(own, name) for own in seen]) for name in ("gap", "change", "intervals")
        )
        _warn_of_open_rows(gap, change, rule)
        facts |= {"steps": int(taken.max()), "mean_steps": float(taken.mean()), "quadrature_error": float(change.max())}
    return found.explanation("integrated_gradients", scale.cpu().numpy(), **facts)


def _integral(slopes: Slopes, baselines: Tensors, rule: _Settling, *, fixed: bool) -> Any:
    """Return secants where every function has a rule, else plain gradients; these too where steps are counted.

    Tried on background rows, so that what is chosen does not depend on the rows explained.
    """
    if not fixed:
        secants = SecantIntegral(slopes, baselines, rule.max_steps)
        if with_fewer(_PROBE_ROWS, lambda count: secants.complete(_probe(slopes, baselines, count), rule.scale)):
            return secants
    return GradientIntegral(slopes, baselines)


def _probe(slopes: Slopes, baselines: Tensors, count: int) -> Tensors:
    """Return a few background rows; rows explained where the background is the baseline itself."""
    rows = slopes.rows(slice(0, count), slopes.request.donors)
    start = slopes.at_baseline(rows, [tensor[:1] for tensor in baselines])
    moves = any(not torch.equal(start[place], rows[place]) for place in slopes.free)
    return rows if moves else slopes.rows(slice(0, count))


def _tolerance(slopes: Slopes, wanted: float) -> float:
    """Return the tolerance; a network in half precision cannot settle further than it can tell numbers apart."""
    subject: Any = slopes.subject
    precision = torch.finfo(subject.dtype).eps
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


def _blocks(slopes: Slopes) -> list[slice]:
    """Cut the rows so that a block's values fit in memory beside a few batches of points."""
    count = slopes.request.count
    numbers = len(slopes.parts) * len(slopes.space) * len(slopes.targets)
    size = max(1, min(4 * slopes.batch, _BLOCK_NUMBERS // max(numbers, 1)))
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _check_steps(steps: Any) -> int | None:
    return None if steps is None else check_whole("steps", steps, "leave it out, or pass for example 50")


def _warn_of_open_rows(gap: Floats, change: Floats, rule: _Settling) -> None:
    open_rows = int(((gap > rule.tolerance) | (change > rule.tolerance)).sum())
    if open_rows:
        warn_user(
            f"attributions should settle to {rule.tolerance:g} of the output's range, however: after at most "
            f"{rule.max_steps} steps {open_rows} of {len(gap)} rows have not (largest gap {gap.max():.2g}, largest "
            f"change {change.max():.2g}); raise max_steps or tolerance"
        )
