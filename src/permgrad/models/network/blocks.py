"""The small pieces that branches and heads are made of: activations, initialisers, dense and convolution blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from permgrad.models.network.options import ACTIVATIONS, NetworkOptions

#: Activations whose slopes are computed from what they read, and not from what they return.
_KEEP_INPUTS = ("silu", "gelu", "mish")


def initialize_(layer: nn.Linear | nn.Conv2d, initializer: str) -> None:
    """Draw the layer's weights from torch's global generator and set its bias to zero. ``"torch"`` leaves both.

    He et al. 2015 (arXiv 1502.01852), equation 10, for ``he_*``. Glorot & Bengio 2010, equation 16.
    """
    if initializer == "torch" or layer.weight.is_meta:
        return
    if initializer == "he_normal":
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    elif initializer == "he_uniform":
        nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    else:
        nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def normal_numbers(*shape: int) -> Tensor:
    """Draw standard normal numbers. On the meta device, where drawing loads the compiler, only shapes count."""
    empty = torch.empty(shape)
    return empty if empty.is_meta else empty.normal_()


class _Masked(torch.autograd.Function):
    """A product with a mask whose slopes have the mask's memory format: others cost a copy in each layer behind."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor, mask: Tensor, overwrite: bool) -> Tensor:
        ctx.save_for_backward(mask)
        if not overwrite:
            return numbers * mask
        ctx.mark_dirty(numbers)
        return numbers.mul_(mask)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        return ctx.saved_tensors[0] * slopes[0], None, None


class Dropout(nn.Dropout):
    """torch's, with 16 random bits a number on a processor, where drawing torch's masks is a sixth of training.

    ``p`` is then a multiple of 2⁻¹⁶, and what is kept is scaled by exactly the share that is kept. The bits are NumPy's
    SFC64, twice as fast as torch's, seeded from torch's generator whenever training begins or resumes. ``overwrite``:
    whether the numbers given are nobody else's in training, so that no others are written.
    """

    overwrite = False
    _bits: np.random.SFC64 | None = None

    def train(self, mode: bool = True) -> Self:
        """Enter or leave training."""
        self._bits = None
        return super().train(mode)

    def forward(self, numbers: Tensor) -> Tensor:
        """Return numbers of which a share ``p`` is 0 in training."""
        cut = round(self.p * 2**16)
        if not self.training or numbers.device.type != "cpu" or not 0 < cut < 2**16:
            return super().forward(numbers)
        if self._bits is None:
            self._bits = np.random.SFC64(int(torch.randint(2**62, ()).item()))
        count = numbers.numel()
        words = torch.from_numpy(self._bits.random_raw((count + 3) // 4).view(np.int16)[:count])
        mask = torch.empty_like(numbers)  # dense, in the numbers' own memory format
        torch.ge(words, cut - 2**15, out=mask.as_strided((count,), (1,)))
        mask.mul_(1 / (1 - cut / 2**16))
        product: Tensor = _Masked.apply(numbers, mask, self.overwrite)  # type: ignore[no-untyped-call]
        return product


def dense_stack(inputs: int, units: Sequence[int], options: NetworkOptions) -> tuple[list[nn.Module], int]:
    """Return the layers Linear, activation, normalisation, dropout for each width, and the last width."""
    layers: list[nn.Module] = []
    for width in units:
        linear = nn.Linear(inputs, width)
        initialize_(linear, options.initializer)
        layers += [linear, ACTIVATIONS[options.activation]()]
        if options.normalization == "batch":
            layers.append(nn.BatchNorm1d(width))
        elif options.normalization == "layer":
            layers.append(nn.LayerNorm(width))
        if options.dropout:
            dropout = Dropout(options.dropout)
            dropout.overwrite = options.normalization == "none" and options.activation in _KEEP_INPUTS
            layers.append(dropout)
        inputs = width
    return layers, inputs
