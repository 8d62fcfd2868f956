"""Integrated gradients, refined row by row until they have settled: one driver for every network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method import Request
from permgrad.attribution.slopes.baselines import baseline_rows
from permgrad.attribution.slopes.gradients import Tensors, differentiable
from permgrad.attribution.slopes.lines import Floats, GradientIntegral, Lines, SecantIntegral
from permgrad.attribution.slopes.secants import SecantLines
from permgrad.attribution.slopes.slopes import Additive, Slopes
from permgrad.base.errors import warn_user
from permgrad.base.progress import Progress
from permgrad.models.batches import with_fewer

_PROBE_ROWS = 8
#: Numbers that a block of rows may hold while its integrals are refined.
_BLOCK_NUMBERS = 4_000_000


def _settle(
    lines: Lines, rows: Tensors, wanted: Tensor, scale: Tensor, tolerance: float, most: int
) -> tuple[Tensor, Floats]:
    """Return integrals settled within ``tolerance`` of ``scale``, and their gap, change and intervals, ``(3, b)``."""
    intervals = lines.first
    values = result = lines.estimate(rows, intervals)
    gap = ((values.sum(dim=(1, 2)) - wanted).abs() / scale).amax(dim=1)
    change, taken = torch.full_like(gap, torch.inf), torch.full_like(gap, intervals)
    active = torch.arange(len(gap), device=gap.device)
    while len(active) and intervals * lines.factor <= most:
        intervals *= lines.factor
        refined = lines.estimate(tuple(tensor[active] for tensor in rows), intervals, values)
        new_change = ((refined - values).abs() / scale).amax(dim=(1, 2, 3))
        new_gap = ((refined.sum(dim=(1, 2)) - wanted[active]).abs() / scale).amax(dim=1)
        result[active], gap[active], change[active], taken[active] = refined, new_gap, new_change, float(intervals)
        # The sum may be right, by luck or by the rule, while single values are not: both must have settled.
        unsettled = (new_gap > tolerance) | (new_change > tolerance) | (intervals < lines.settled_from)
        active, values = active[unsettled], refined[unsettled]
    return result, torch.stack([gap, change, taken]).cpu().numpy()


def integrate(request: Request, options: Mapping[str, Any]) -> Explanation:
    """Return the integrated gradients of any network, with all options of ``IntegratedGradients``."""
    slopes, steps = Slopes(request, "integrated_gradients", by_path=True), options["steps"]
    baseline = baseline_rows(request, options["baseline"], int(options["references"]), options["reference_class"])
    result = Additive(slopes, baseline)
    subject, tolerance, most = request.subject, float(options["tolerance"]), int(options["max_steps"])
    precision = torch.finfo(subject.dtype).eps
    if precision > 1e-4:
        # A network in half precision cannot settle further than it can tell numbers apart.
        tolerance = max(tolerance, 4 * precision)
    qualities: list[Floats] = []
    with (
        Progress(request.count, "integrated gradients", request.progress) as progress,
        subject.open(),
        differentiable(subject),
    ):
        baselines = slopes.rows(slice(None), baseline.rows)
        # The fastest way that serves the network.
        lines: Lines | None = GradientIntegral(slopes, baselines, steps) if steps is not None else None
        if lines is None:
            lines = SecantLines.fitting(slopes, baselines, most)
        base = slopes.outputs(baselines) if slopes.whole else None
        # For the range of the outputs, those at the baselines of a few background rows.
        few = _bases(slopes, slopes.rows(slice(0, _PROBE_ROWS), request.donors), baselines) if base is None else base
        scale = slopes.output_range(few)
        if lines is None:
            lines = _general_lines(slopes, baselines, scale, most)
        # Rows that take a number of steps have settled with the first estimate.
        until = (tolerance, most) if steps is None else (np.inf, steps)
        # A block's estimates fit in memory beside a few batches of points.
        size = max(1, min(4 * slopes.batch, _BLOCK_NUMBERS // max(lines.empty(1).numel(), 1)))
        for start in range(0, request.count, size):
            part = slice(start, min(start + size, request.count))
            rows = slopes.rows(part)
            outputs = slopes.outputs(rows)
            starts = _bases(slopes, rows, baselines) if base is None else base.mean(dim=0).expand_as(outputs)
            values, quality = _settle(lines, rows, outputs - starts, scale, *until)
            qualities.append(quality)
            if isinstance(lines, SecantLines):
                values = slopes.sums(list(values.permute(1, 3, 0, 2)))
            result.keep(part, values, outputs, starts)
            progress.advance(part.stop - part.start)
    gap, change, taken = np.concatenate(qualities, axis=1)
    unsettled = int(((gap > tolerance) | (change > tolerance)).sum())
    if steps is None and unsettled:
        warn_user(
            f"attributions should settle to {tolerance:g} of the output's range, however: after at most "
            f"{most} steps {unsettled} of {len(gap)} rows have not (largest gap {gap.max():.2g}, largest "
            f"change {change.max():.2g}); raise max_steps or tolerance"
        )
    facts: dict[str, Any] = {"players": options["players"]} if subject.encoded_names else {}
    facts |= {
        "tolerance": tolerance,
        "rule": lines.rule,
        "steps": int(taken.max()),
        "mean_steps": float(taken.mean()) if steps is None else steps,
        "quadrature_error": float(change.max()) if steps is None else None,
    }
    return result.explanation("integrated_gradients", scale.cpu().numpy(), **facts)


def _general_lines(slopes: Slopes, baselines: Tensors, scale: Tensor, most: int) -> Lines:
    """Return the faster way that serves any network, tried on background rows: those explained have no say."""
    secants = SecantIntegral(slopes, baselines, most)
    if with_fewer(_PROBE_ROWS, lambda count: secants.complete(_probe(slopes, baselines, count), scale)):
        return secants
    return GradientIntegral(slopes, baselines)


def _probe(slopes: Slopes, baselines: Tensors, count: int) -> Tensors:
    """Return a few background rows; rows explained where the background is the baseline itself."""
    rows = slopes.rows(slice(0, count), slopes.request.donors)
    start = slopes.at_baseline(rows, [tensor[:1] for tensor in baselines])
    moves = any(not torch.equal(start[place], rows[place]) for place in slopes.free)
    return rows if moves else slopes.rows(slice(0, count))


def _bases(slopes: Slopes, rows: Tensors, baselines: Tensors) -> Tensor:
    """Return the mean output at the baselines of rows that keep some positions, float64 ``(b, targets)``."""
    count = len(baselines[0])
    total = torch.zeros(len(rows[0]), len(slopes.targets), dtype=torch.float64, device=rows[0].device)
    for place in range(count):
        total += slopes.outputs(slopes.at_baseline(rows, [tensor[place : place + 1] for tensor in baselines]))
    return total / count
