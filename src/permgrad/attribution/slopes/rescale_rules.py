# ruff: noqa: D102 — forward and backward are those of torch.autograd.Function
"""The slope of one function between two points, for any function that a network may call.

Slopes times changes add up to the change of the output. Of an elementwise function it is the secant ``(φ(v) − φ(u)) /
(v − u)``, the Rescale rule of DeepLIFT (Shrikumar et al. 2017, arXiv 1704.02685, section 3.5.1); the others are
permgrad's own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

Function = Callable[..., Any]

#: Elementwise functions made of straight pieces: their secant is exact however close the ends are.
STRAIGHT = frozenset({
    "relu", "relu6", "leaky_relu", "prelu", "rrelu", "hardtanh", "hardsigmoid", "threshold", "_threshold", "hardshrink",
    "softshrink", "clamp", "clamp_min", "clamp_max", "clip", "abs", "absolute", "sign", "sgn", "round", "floor", "ceil",
    "trunc", "fix", "heaviside",
})  # fmt: skip
#: Curved elementwise functions whose shape is of size one, such as activations.
CURVED = frozenset({
    "elu", "selu", "celu", "gelu", "silu", "mish", "sigmoid", "special_expit", "log_sigmoid", "logsigmoid", "hardswish",
    "softplus", "tanh", "exp", "exp2", "expm1", "sin", "cos", "tan", "atan", "arctan", "sinh", "cosh", "asinh",
    "arcsinh", "asin", "acos", "erf", "special_erf", "erfc", "special_erfc", "sinc", "special_sinc",
    "__rpow__",
})  # fmt: skip
#: Curved elementwise functions without a scale: what counts as close depends on where one is.
SCALE_FREE = frozenset({
    "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "reciprocal", "square", "pow", "float_power", "atanh", "acosh",
})  # fmt: skip


# ---- elementwise functions -------------------------------------------------------------------------------------------


def secant(
    ends: tuple[Tensor, Tensor], outputs: tuple[Tensor, Tensor], slope_at: Callable[[Tensor], Tensor], kind: str
) -> Tensor:
    """Return the mean slope of an elementwise function between two ends, of which the outputs are given."""
    start, stop = ends
    change = stop - start
    slope: Tensor = (outputs[1] - outputs[0]).div_(change)
    # Infinite ends, as in masks, have no change either.
    near, middle = ~torch.isfinite(slope), stop
    if kind != "straight":
        middle = torch.lerp(start, stop, 0.5)
        # Dividing loses eps/|change| to rounding, the slope in the middle change²/24 to curvature: equal here.
        reach = (24 * torch.finfo(change.dtype).eps) ** (1 / 3)
        near |= change.abs() <= (reach * middle.abs() if kind == "scale-free" else reach)
    return torch.where(near, slope_at(middle), slope) if bool(near.any()) else slope


def derivative(function: Function, points: Tensor) -> Tensor:
    """Return the slope of an elementwise function at points."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        leaf = points.detach().clone().requires_grad_()
        slope: Tensor
        (slope,) = torch.autograd.grad(function(leaf).sum(), leaf, allow_unused=True, materialize_grads=True)
    return slope


class Elementwise(torch.autograd.Function):
    """An elementwise function whose backward pass multiplies by the mean slope from ``start``."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, function: Function, start: Tensor, kind: str) -> Tensor:
        output: Tensor = function(values)
        outputs = (function(start), output)
        ctx.save_for_backward(secant((start, values), outputs, partial(derivative, function), kind))
        return output

    @staticmethod
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        (mean,) = ctx.saved_tensors
        return slopes * mean, None, None, None


# ---- products --------------------------------------------------------------------------------------------------------


class InTheMiddle(torch.autograd.Function):
    """A function whose backward pass takes the gradient half-way between ``starts`` and the values given.

    Exact for whatever is linear in each of two factors, and for squares.
    """

    @staticmethod
    def forward(ctx: Any, function: Function, starts: tuple[Tensor, ...], *values: Tensor) -> Tensor:
        ctx.function = function
        middles = [torch.lerp(start, value, 0.5) for start, value in zip(starts, values, strict=True)]
        ctx.save_for_backward(*middles)
        output: Tensor = function(*values)
        return output

    @staticmethod
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            leaves = [
                middle.detach().requires_grad_(needed)
                for middle, needed in zip(ctx.saved_tensors, ctx.needs_input_grad[2:], strict=True)
            ]
            wanted = [leaf for leaf in leaves if leaf.requires_grad]
            # A sum, because slopes given to torch.autograd.grad make it load a library of symbols, which takes half a
            # second and changes the process's warning filters.
            gradients = iter(torch.autograd.grad((ctx.function(*leaves) * slopes).sum(), wanted))
        return None, None, *[next(gradients) if leaf.requires_grad else None for leaf in leaves]


# ---- softmax ---------------------------------------------------------------------------------------------------------


class Softmax(torch.autograd.Function):
    """Softmax or its logarithm: ``Δp_i = l_i (Δx_i − Σ_j l_j Δx_j / Σ_j l_j)`` with ``l = Δp / Δ log p``."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, start: Tensor, dim: int, logarithm: bool) -> Tensor:
        stop_log, start_log = torch.log_softmax(values, dim), torch.log_softmax(start, dim)
        ctx.save_for_backward(_logarithmic_mean(start_log, stop_log))
        ctx.dim, ctx.logarithm = dim, logarithm
        return stop_log if logarithm else stop_log.exp()

    @staticmethod
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        (mean,) = ctx.saved_tensors
        share = mean / mean.sum(dim=ctx.dim, keepdim=True)
        if ctx.logarithm:
            return slopes - share * slopes.sum(dim=ctx.dim, keepdim=True), None, None, None
        return mean * (slopes - (slopes * share).sum(dim=ctx.dim, keepdim=True)), None, None, None


def _logarithmic_mean(start: Tensor, stop: Tensor) -> Tensor:
    """Return ``(e^stop − e^start) / (stop − start)``; 0 where either is e^−∞, a masked place.

    Near each other as ``e^middle · sinh(h) / h`` with h half the change, which loses no digits.
    """
    half = (stop - start) / 2
    safe = torch.where(half == 0, torch.ones_like(half), half)
    bend = torch.where(half == 0, torch.ones_like(half), torch.sinh(safe) / safe)
    mean = torch.where(half.abs() < 1, ((start + stop) / 2).exp() * bend, (stop.exp() - start.exp()) / (2 * safe))
    return torch.where(torch.isfinite(half), mean, torch.zeros_like(mean))


# ---- one of two ------------------------------------------------------------------------------------------------------


class Choice(torch.autograd.Function):
    """``where(condition, first, second)``, with each side's slope in the share of the way for which it is taken.

    Where another side is taken at the stop than at the start, and the two are equal where one follows the other, with
    the differences d0 and d1 of the two sides at both ends the side taken last has the share ``d1 / (d1 − d0)``: what
    the rectifier's secant is, if it is written as a choice. A choice that jumps has no such share, and misses the jump.
    """

    @staticmethod
    def forward(ctx: Any, start: tuple[Tensor, ...], condition: Tensor, first: Tensor, second: Tensor) -> Tensor:
        before, after = start[1] - start[2], first - second
        share = (after / (after - before)).clamp(0, 1)
        share = torch.where(torch.isfinite(share), share, torch.ones_like(share))
        share = torch.where(condition, share, 1 - share)
        ctx.save_for_backward(torch.where(start[0] == condition, condition.to(share.dtype), share))
        return torch.where(condition, first, second)

    @staticmethod
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        (share,) = ctx.saved_tensors
        return None, None, slopes * share, slopes * (1 - share)


# ---- the largest of a window -----------------------------------------------------------------------------------------


def leaders(start: Tensor, stop: Tensor, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """Return the slopes of a maximum towards the numbers that lead at its start and at its stop.

    Each has the share of the straight way for which it leads: with the leads d0 at the start and d1 at the stop, the
    last leader has ``d1 / (d0 + d1)``. This adds up to the change always, and is exact if no third place leads in
    between.

    NOTE[DIFF]: the paper has no rule for maxima. Captum and shap give the whole change to one of the two leaders;
        with Captum 0.9.0 and a rectifier before the pooling, the values then do not add up.

    Args:
        start: the values at one end, the last dimension being that of the places.
        stop: the values at the other end.
        first: indexes of the leading place at the start, ``(…, windows)``.
        last: the same at the stop.

    Returns:
        Slopes towards ``first`` and towards ``last``, ``(…, windows)``; where both are one place they are to be added.
    """
    lead = stop.gather(-1, last) - stop.gather(-1, first)
    led = start.gather(-1, first) - start.gather(-1, last)
    total = lead + led
    share = torch.where(total > 0, lead / total, torch.ones_like(total))
    return 1 - share, share


class Maximum(torch.autograd.Function):
    """The largest values of windows, with slopes towards those who lead.

    ``search`` gives the largest values and the place of each among the last ``places`` dimensions, flattened.
    """

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        start: Tensor,
        search: Callable[[Tensor], tuple[Tensor, Tensor]],
        places: int,
    ) -> Tensor:
        output, last = search(values)
        first = search(start)[1]
        keep = values.ndim - places
        flat = [tensor.flatten(keep) for tensor in (start, values, first, last)]
        slopes = leaders(flat[0], flat[1], flat[2], flat[3])
        ctx.save_for_backward(flat[2], flat[3], *slopes)
        ctx.shape, ctx.keep = values.shape, keep
        return output

    @staticmethod
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        first, last, to_first, to_last = ctx.saved_tensors
        flat = slopes.flatten(ctx.keep)
        places = torch.Size(ctx.shape[ctx.keep :]).numel()
        back = flat.new_zeros(*flat.shape[:-1], places)
        back.scatter_add_(-1, first, flat * to_first).scatter_add_(-1, last, flat * to_last)
        return back.reshape(ctx.shape), None, None, None
