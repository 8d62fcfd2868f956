"""Convolutions in training on the processor's matrix units: products of bfloat16, sums of float32.

Processors with matrix units (Intel's AMX) multiply numbers of 16 bits at some eight times the rate of float32. Torch's
mixed precision (autocast) also casts what is too small to gain from it; in a network of the published size a step
takes as long with it as without. Here only convolutions between many filters go there, which is where half of such a
step's time is spent. Weights, activations between layers, gradients that reach the optimizer, and everything outside
training stay float32. An operand keeps 8 significant bits (TF32, torch's default for convolutions on a GPU: 11).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional, grad

from permgrad.models.fast.folding import hooked, is_plain

#: Channels on either side from which the units gain more than casting costs: with 16, a step takes as long.
_CHANNELS = 32
_wanted: ContextVar[bool] = ContextVar("permgrad_matrix_products", default=False)


@cache
def has_matrix_units() -> bool:
    """Whether this processor multiplies matrices of bfloat16 in units of their own.

    Examples:
        >>> has_matrix_units() in (True, False)
        True
    """
    # Public from torch 2.10 on; what cannot be asked is not there.
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16", False)) and torch.backends.mkldnn.is_available()


@contextlib.contextmanager
def matrix_products() -> Iterator[None]:
    """Let :func:`run_layers` compute convolutions in bfloat16 within the body."""
    token = _wanted.set(True)
    try:
        yield
    finally:
        _wanted.reset(token)


def run_layers(layers: nn.Sequential, values: Tensor) -> Tensor:
    """Return what a chain of layers returns, its large convolutions in bfloat16 within :func:`matrix_products`.

    Shape:
        as the chain's.

    Examples:
        >>> layers = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU())
        >>> maps = torch.rand(2, 32, 4, 4)
        >>> with matrix_products():
        ...     close = run_layers(layers, maps)
        >>> bool(torch.allclose(close, layers(maps), atol=0.05)), bool(torch.equal(close, layers(maps)))
        (True, False)
    """
    if not _wanted.get() or hooked(layers):
        out: Tensor = layers(values)
        return out
    for layer in layers:
        if suits(layer, values):
            values = _Convolution.apply(values, layer.weight, layer.bias, layer.padding)  # type: ignore[no-untyped-call]
        else:
            values = layer(values)
    return values


def suits(layer: nn.Module, values: Tensor) -> bool:
    """Whether a layer is a plain convolution, large enough to gain, in training on a processor.

    Examples:
        >>> suits(nn.Conv2d(32, 64, 3), torch.zeros(1, 32, 4, 4)), suits(nn.Conv2d(3, 64, 3), torch.zeros(1, 3, 4, 4))
        (True, False)
    """
    return (
        type(layer) is nn.Conv2d
        and is_plain(layer, nn.Conv2d)
        and layer.training
        and layer.stride == layer.dilation == (1, 1)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and isinstance(layer.padding, tuple)
        and min(layer.in_channels, layer.out_channels) >= _CHANNELS
        and values.device.type == "cpu"
        and values.dtype == layer.weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    )


class _Convolution(torch.autograd.Function):
    """A convolution of steps of one whose three products, forward and both backward, are of bfloat16."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
        small, kernel = values.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(small, kernel)
        ctx.padding = padding
        ctx.biased = bias is not None
        out = functional.conv2d(small, kernel, padding=padding).float()
        # The bias is added in float32: it takes no product.
        return out if bias is None else out.add_(bias[:, None, None])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        small, kernel = ctx.saved_tensors
        steep = slopes[0].bfloat16()
        at_values = at_weight = None
        if ctx.needs_input_grad[0]:
            at_values = grad.conv2d_input(small.shape, kernel, steep, padding=ctx.padding).float()
        if ctx.needs_input_grad[1]:
            at_weight = grad.conv2d_weight(small, kernel.shape, steep, padding=ctx.padding).float()
        at_bias = slopes[0].sum((0, 2, 3)) if ctx.biased and ctx.needs_input_grad[2] else None
        return at_values, at_weight, at_bias, None
