"""Integrated gradients, refined row by row until they have settled: one driver for
every network.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.request import Request
from permgrad.attribution.slopes.gradients import Tensors, differentiable
from permgrad.attribution.slopes.lines import GradientIntegral, Lines, SecantIntegral
from permgrad.attribution.slopes.part_with_slopes import of_slopes
from permgrad.attribution.slopes.references import reference_rows
from permgrad.attribution.slopes.slopes import Additive, Slopes
from permgrad.attribution.slopes.truth import warn_of_untrue_slopes
from permgrad.attribution.typed_options import as_typed
from permgrad.base.arrays import Floats
from permgrad.base.errors import warn_user
from permgrad.models.batches import with_fewer

_PROBE_ROWS = 8
#: Numbers that a block of rows may hold while its integrals are refined.
_BLOCK_NUMBERS = 4_000_000
#: Share of a row's largest value within which its values are right.
_USUAL = 0.01
#: The same of ids: a text has many, each with a small value.
_OF_IDS = 0.001
#: How many times the error a gap is that further steps do not close.
_CLOSING = 10
#: How many times as large as the last change the error of a coarse estimate is taken
#: to be.
_DOUBT = 4
#: Gaps and errors that a larger tolerance may accept.
_NEAR = 0.05
#: From how many times smaller on a refinement makes a gap, more steps are worth it, and
#: how many times more.
_FALLS = 2.0
_MOST_TIMES = 64


class Settled(NamedTuple):
    """Integrals ``(rows, parts, players, targets)``, and numbers of each row
    ``(rows,)``.
    """

    values: Tensor
    gap: Tensor  #: of its sum, as a share of the output's range
    error: Tensor  #: estimated, of any value, as a share of the row's largest
    intervals: Tensor
    gap_before: Tensor  #: the last refinement


def _settle(
    lines: Lines,
    rows: Tensors,
    output_differences: Tensor,
    scale: Tensor,
    tolerance: float,
    most: int,
) -> Settled:
    """Return integrals that are right within ``tolerance`` of each row's largest value.

    Rows that are settled take no further intervals.
    """
    intervals = lines.first
    values = lines.estimate(rows, intervals)
    gap = _gaps(values, output_differences, scale)
    settled = Settled(
        values,
        gap,
        torch.full_like(gap, torch.inf),
        torch.full_like(gap, intervals),
        torch.full_like(gap, torch.nan),
    )
    # Below this, what is left of a row's values is rounding.
    least = scale * _precision(lines.slopes) ** 0.5
    active = torch.arange(len(gap), device=gap.device)
    while len(active) and intervals * lines.factor <= most:
        intervals *= lines.factor
        refined = lines.estimate(
            tuple(tensor[active] for tensor in rows), intervals, values
        )
        limit = refined + lines.ahead * (refined - values)
        largest = limit.sum(dim=1).abs().amax(dim=1).maximum(least)
        change = (refined - values).abs().amax(dim=(1, 2))
        new_error = (change / largest).amax(dim=1)
        if intervals < lines.trusted_from:
            new_error *= _DOUBT
        new_gap = _gaps(limit, output_differences[active], scale)
        settled.gap_before[active] = settled.gap[active]
        settled.values[active] = limit
        settled.gap[active] = new_gap
        settled.error[active] = new_error
        settled.intervals[active] = float(intervals)
        # The sum may be right, by luck or by the rule, while single values are not:
        # both must have settled.
        unsettled = (
            (new_gap > tolerance)
            | (new_error > tolerance)
            | (intervals < lines.settled_from)
        )
        active = active[unsettled]
        values = refined[unsettled]
    return settled


def _gaps(values: Tensor, output_differences: Tensor, scale: Tensor) -> Tensor:
    """Return by how much the sums of rows miss their outputs' differences, as shares of
    the output's range.
    """
    sums = values.sum(dim=(1, 2))
    return ((sums - output_differences).abs() / scale).amax(dim=1)


def integrate(
    request: Request,
    facts: dict[str, Any],
    *,
    starts_at: tuple[Any, int, Any],
    steps: int | None,
    most_steps: int,
    tolerance: float | None,
) -> Explanation:
    """Return the integrated gradients of any network, with ``facts`` for ``meta``.

    ``starts_at``: the baseline, how many background rows it averages over, and their
    class. The others are options of ``IntegratedGradients``.
    """
    method = "integrated_gradients"
    request = of_slopes(request)
    slopes = Slopes(request, method, by_path=True)
    result = Additive(slopes, reference_rows(slopes.places, *starts_at))
    subject = request.subject
    blocks: list[Settled] = []
    with (
        request.bar(request.count, method.replace("_", " ")) as progress,
        subject.open(),
        differentiable(subject),
    ):
        untrue = warn_of_untrue_slopes(slopes, method)
        references = slopes.references(result.reference.rows)
        base_outputs = slopes.outputs(references) if slopes.whole else None
        scale = slopes.output_range(_few_outputs(slopes, references, base_outputs))
        lines: Lines
        if steps is None:
            lines = _faster_lines(slopes, references, scale, most_steps)
        else:
            lines = GradientIntegral(slopes, references, steps)
        if isinstance(lines, GradientIntegral):
            lines.counted = progress.ahead
        tolerance = _tolerance(slopes, tolerance)
        # Rows that take a number of steps have settled with the first estimate.
        until = (tolerance, most_steps) if steps is None else (np.inf, steps)
        # A block's estimates fit in memory beside a few batches of points.
        rows_per_block = max(
            1, min(4 * slopes.batch, _BLOCK_NUMBERS // max(math.prod(lines.shape), 1))
        )
        for start in range(0, request.count, rows_per_block):
            row_slice = slice(start, min(start + rows_per_block, request.count))
            block_rows = slopes.rows(row_slice)
            outputs = slopes.outputs(block_rows)
            starts = (
                _bases(slopes, block_rows, references)
                if base_outputs is None
                else base_outputs.mean(dim=0).expand_as(outputs)
            )
            lines.first_row = start
            settled = _settle(lines, block_rows, outputs - starts, scale, *until)
            blocks.append(settled)
            result.keep(row_slice, settled.values, outputs, starts)
            progress.advance(row_slice.stop - row_slice.start)
    gap, error, intervals, gap_before = (
        torch.cat(numbers).cpu().numpy()
        for numbers in list(zip(*blocks, strict=True))[1:]
    )
    unsettled = int(((gap > tolerance) | (error > tolerance)).sum())
    if steps is None and unsettled and not untrue:
        advice = _advice(lines, tolerance, most_steps, (gap, error, gap_before))
        warn_user(
            f"Attributions of {unsettled:,} of {len(gap):,} rows did not settle to "
            f"{tolerance:g} of the row's largest value within {most_steps} steps "
            f"(largest error {error.max():.2g}, largest gap {gap.max():.2g} of the "
            f"output's range){advice}."
        )
    facts |= {"rule": lines.rule, "tolerance": tolerance}
    facts |= _facts_of_steps(steps, intervals, error)
    return result.explanation(method, scale.cpu().numpy(), **facts)


def _few_outputs(slopes: Slopes, references: Tensors, base: Tensor | None) -> Tensor:
    """Return outputs that show their range: those at the references of a few background
    rows.
    """
    if base is not None:
        return base
    probed = slopes.rows(slice(0, _PROBE_ROWS), slopes.request.donors)
    return _bases(slopes, probed, references)


def _facts_of_steps(
    steps: int | None, step_counts: Floats, errors: Floats
) -> dict[str, Any]:
    """Return how many steps rows took, and the largest of their errors."""
    facts: dict[str, Any] = {"steps": int(step_counts.max())}
    if steps is not None:
        return {**facts, "mean_steps": steps, "quadrature_error": None}
    return {
        **facts,
        "mean_steps": float(step_counts.mean()),
        "quadrature_error": float(errors.max()),
    }


def _advice(
    lines: Lines, tolerance: float, most: int, numbers: tuple[Floats, Floats, Floats]
) -> str:
    """Return what helps rows that did not settle, by their gap, their error and the gap
    before.
    """
    completeness_gap, error, before = numbers
    wide_gaps = completeness_gap > tolerance
    # A gap of many times what refinements change is not closed by another.
    if wide_gaps.any() and bool(
        (error[wide_gaps] <= completeness_gap[wide_gaps] / _CLOSING).all()
    ):
        gap_reason = "the network's outputs jump on the way. Choose method='shapley'"
        return f", and more steps do not close it: {gap_reason}"
    if max(completeness_gap.max(), error.max()) <= _NEAR:
        larger = as_typed("IntegratedGradients", tolerance=...)
        return f". Raise tolerance: {larger}"
    worst = int(completeness_gap.argmax())
    if completeness_gap[worst] > tolerance:
        falls = before[worst] / completeness_gap[worst]
    else:
        falls = 0.0
    if falls >= _FALLS and tolerance > 0:
        further = math.ceil(
            math.log(completeness_gap[worst] / tolerance) / math.log(falls)
        )
        steps = most * lines.factor**further
        if steps <= _MOST_TIMES * most:
            return f". Pass {as_typed('IntegratedGradients', steps=steps)}"
    return (
        ", and more steps would hardly close it: the outputs swing on the way. Choose "
        "method='shapley'"
    )


def _precision(slopes: Slopes) -> float:
    """Return how far apart the nearest numbers are that a network can tell apart."""
    return torch.finfo(slopes.subject.coarse or slopes.subject.dtype).eps


def _tolerance(slopes: Slopes, requested_tolerance: float | None) -> float:
    """Return the tolerance of rows: no less than a network in half precision can
    reach.
    """
    if requested_tolerance is None:
        requested_tolerance = _OF_IDS if slopes.places.lookups else _USUAL
    precision = _precision(slopes)
    if precision > 1e-4:
        return max(float(requested_tolerance), 4 * precision)
    return float(requested_tolerance)


def _faster_lines(
    slopes: Slopes, references: Tensors, scale: Tensor, most: int
) -> Lines:
    """Return the faster way for any network, found on background rows and never on the
    rows explained.
    """
    secants = SecantIntegral(slopes, references, most)

    requested_batch = slopes.request.batch_size

    def suits(count: int) -> bool:
        if requested_batch == "auto":
            probe_size = count
        else:
            probe_size = max(1, min(count, int(requested_batch) // 2))
        return all(
            fits(slice(start, min(start + probe_size, count)))
            for start in range(0, count, probe_size)
        )

    def fits(row_slice: slice) -> bool:
        # The rows explained are asked where the background is the reference itself.
        for source in (slopes.request.donors, slopes.request.inputs):
            if row_slice.start >= len(source[0]):
                return True
            probe_rows = slopes.rows(row_slice, source)
            start = slopes.at_reference(
                probe_rows, [tensor[:1] for tensor in references]
            )
            if not all(
                torch.equal(start[input_index], probe_rows[input_index])
                for input_index in slopes.free
            ):
                break
        if requested_batch == 1:
            return secants.complete(start, probe_rows, scale)
        # There and back: a network that sorts its rows takes the slopes of some for
        # those of others.
        there = tuple(map(torch.cat, zip(start, probe_rows, strict=True)))
        return_points = tuple(map(torch.cat, zip(probe_rows, start, strict=True)))
        return secants.complete(there, return_points, scale)

    if with_fewer(_PROBE_ROWS, suits):
        return secants
    return GradientIntegral(slopes, references)


def _bases(slopes: Slopes, rows: Tensors, references: Tensors) -> Tensor:
    """Return the mean output at the references of rows that keep some positions,
    float64 ``(b, targets)``.
    """
    count = len(references[0])
    total = torch.zeros(
        len(rows[0]), len(slopes.targets), dtype=torch.float64, device=rows[0].device
    )
    for reference_index in range(count):
        total += slopes.outputs(
            slopes.at_reference(
                rows,
                [
                    tensor[reference_index : reference_index + 1]
                    for tensor in references
                ],
            )
        )
    return total / count
