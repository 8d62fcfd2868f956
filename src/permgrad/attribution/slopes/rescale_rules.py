# ruff: noqa: D102 — forward and backward are those of torch.autograd.Function
"""The slope of one function between two points, for any function that a network may call.

Of an elementwise function it is the secant, the Rescale rule of DeepLIFT (Shrikumar et al. 2017, arXiv 1704.02685,
section 3.5.1); the others, which add up to the output's change too, are permgrad's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

Function = Callable[..., Any]
Tensors = tuple[Tensor, ...]

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


def secant(ends: Tensors, outputs: Tensors, slope_at: Callable[[Tensor], Tensor], kind: str) -> Tensor:
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


#: A function's output, and what carries slopes towards it back to each of its arguments.
Answer = tuple[Tensor, Callable[[Tensor], Sequence[Tensor]]]


class MeanSlopes(torch.autograd.Function):
    """A function whose backward pass takes mean slopes: ``rule`` gives its output and what carries slopes back."""

    @staticmethod
    def forward(ctx: Any, rule: Callable[..., Answer], *values: Tensor) -> Tensor:
        output, ctx.back = rule(*values)
        return output

    @staticmethod
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        return None, *ctx.back(slopes)


def elementwise(function: Function, kind: str, starts: Tensors, values: Tensor) -> Answer:
    """Return a function of each number alone, with its secant from its start."""
    output: Tensor = function(values)
    mean = secant((*starts, values), (function(*starts), output), partial(derivative, function), kind)
    return output, lambda slopes: (slopes * mean,)


def in_the_middle(function: Function, starts: Tensors, *values: Tensor) -> Answer:
    """Return a function with its gradient half-way: exact for squares, and what is linear in each of two factors."""
    middles = [torch.lerp(start, value, 0.5) for start, value in zip(starts, values, strict=True)]

    def back(slopes: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            leaves = [middle.detach().requires_grad_() for middle in middles]
            # A sum, because slopes given to torch.autograd.grad make it load a library of symbols, which takes half a
            # second and changes the process's warning filters.
            return torch.autograd.grad((function(*leaves) * slopes).sum(), leaves)

    return function(*values), back


def softmax(dim: int, logarithm: bool, starts: Tensors, values: Tensor) -> Answer:
    """Return softmax or its logarithm: ``Δp_i = l_i (Δx_i − Σ_j l_j Δx_j / Σ_j l_j)`` with ``l = Δp / Δ log p``."""
    stop_log, start_log = torch.log_softmax(values, dim), torch.log_softmax(starts[0], dim)
    mean = _logarithmic_mean(start_log, stop_log)
    share = mean / mean.sum(dim=dim, keepdim=True)
    if logarithm:
        return stop_log, lambda slopes: (slopes - share * slopes.sum(dim=dim, keepdim=True),)
    return stop_log.exp(), lambda slopes: (mean * (slopes - (slopes * share).sum(dim=dim, keepdim=True)),)


def _logarithmic_mean(start: Tensor, stop: Tensor) -> Tensor:
    """Return ``(e^stop − e^start) / (stop − start)``, near each other as ``e^middle · sinh(h) / h``, which is exact."""
    half = (stop - start) / 2
    safe = torch.where(half == 0, torch.ones_like(half), half)
    bend = torch.where(half == 0, torch.ones_like(half), torch.sinh(safe) / safe)
    mean = torch.where(half.abs() < 1, ((start + stop) / 2).exp() * bend, (stop.exp() - start.exp()) / (2 * safe))
    return torch.where(torch.isfinite(half), mean, torch.zeros_like(mean))


def choice(condition: Tensor, starts: Tensors, first: Tensor, second: Tensor) -> Answer:
    """Return ``where(condition, first, second)``, with each side's slope in the share of the way for which it is taken.

    For differences d0 and d1 of the sides at both ends the side taken last has ``d1 / (d1 − d0)``, as in a rectifier's
    secant, if they are equal where one follows the other; a choice that jumps misses the jump.
    """
    before, after = starts[1] - starts[2], first - second
    share = (after / (after - before)).clamp(0, 1)
    share = torch.where(torch.isfinite(share), share, torch.ones_like(share))
    share = torch.where(condition, share, 1 - share)
    share = torch.where(starts[0] == condition, condition.to(share.dtype), share)
    return torch.where(condition, first, second), lambda slopes: (slopes * share, slopes * (1 - share))


def leaders(start: Tensor, stop: Tensor, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """Return the slopes of a maximum towards the places that lead at its start and at its stop, ``(…, windows)``.

    With leads d0 and d1 the last has ``d1 / (d0 + d1)``, exact if no third leads in between. NOTE[DIFF]: the paper has
    no rule for maxima; Captum and shap give the whole change to one of the two.
    """
    lead = stop.gather(-1, last) - stop.gather(-1, first)
    led = start.gather(-1, first) - start.gather(-1, last)
    total = lead + led
    share = torch.where(total > 0, lead / total, torch.ones_like(total))
    return 1 - share, share


def maximum(search: Callable[[Tensor], tuple[Tensor, Tensor]], places: int, starts: Tensors, values: Tensor) -> Answer:
    """Return the largest values of windows, which ``search`` finds with their places in the last dimensions."""
    (output, last), (_, first) = search(values), search(*starts)
    keep, shape = values.ndim - places, values.shape
    first, last = first.flatten(keep), last.flatten(keep)
    to_first, to_last = leaders(starts[0].flatten(keep), values.flatten(keep), first, last)

    def back(slopes: Tensor) -> tuple[Tensor]:
        flat = slopes.flatten(keep)
        wide = flat.new_zeros(*flat.shape[:-1], shape[keep:].numel())
        wide.scatter_add_(-1, first, flat * to_first).scatter_add_(-1, last, flat * to_last)
        return (wide.reshape(shape),)

    return output, back
