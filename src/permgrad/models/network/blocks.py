"""The small pieces that branches and heads are made of: activations, initialisers,
dense and convolution blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from permgrad.models.network.options import ACTIVATIONS, NetworkOptions

#: Activations whose slopes are computed from what they read, and not from what they
#: return.
_KEEP_INPUTS = ("silu", "gelu", "mish")


def initialize_(layer: nn.Linear | nn.Conv2d, initializer: str) -> None:
    """Draw the layer's weights from torch's global generator and set its bias to zero.

    ``"torch"`` leaves both.

    He et al. 2015 (arXiv 1502.01852), equation 10, for ``he_*``. Glorot & Bengio 2010,
    equation 16.
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


def drawn(fill: Callable[[Tensor], Tensor], *shape: int) -> Tensor:
    """Return a new tensor that a function fills.

    On the meta device, where a model that is read has its shapes compared, computing
    would load torch's compiler: only the shape counts.
    """
    empty = torch.empty(shape)
    if empty.is_meta:
        return empty
    return fill(empty)


class _Masked(torch.autograd.Function):
    """A product with a mask whose slopes have the mask's memory format: others cost a
    copy in each layer behind.
    """

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


class Rate(nn.Module):
    """The exponential, for networks that say the logarithm of a rate: it is above 0,
    from e⁻³⁰ to e³⁰.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Exponential."""
        return values.clamp(-30, 30).exp()


class Dropout(nn.Dropout):
    """torch's, with 16 random bits a number on a processor, where drawing torch's masks
    is a sixth of training.

    ``p`` is then a multiple of 2⁻¹⁶, and what is kept is scaled by exactly the share
    that is kept. The bits are NumPy's SFC64, twice as fast as torch's, seeded from
    torch's generator whenever training begins or resumes. ``overwrite``: whether the
    numbers given are nobody else's in training, so that no others are written.
    """

    overwrite = False
    _bits: np.random.SFC64 | None = None

    def train(self, mode: bool = True) -> Self:
        """Enter or leave training."""
        self._bits = None
        return super().train(mode)

    def forward(self, numbers: Tensor) -> Tensor:
        """Return numbers of which a share ``p`` is 0 in training."""
        cut_level = round(self.p * 2**16)
        if (
            not self.training
            or numbers.device.type != "cpu"
            or not 0 < cut_level < 2**16
        ):
            return super().forward(numbers)
        if self._bits is None:
            self._bits = np.random.SFC64(int(torch.randint(2**62, ()).item()))
        count = numbers.numel()
        words = torch.from_numpy(
            self._bits.random_raw((count + 3) // 4).view(np.int16)[:count]
        )
        mask = torch.empty_like(numbers)  # dense, in the numbers' own memory format
        torch.ge(words, cut_level - 2**15, out=mask.as_strided((count,), (1,)))
        mask.mul_(1 / (1 - cut_level / 2**16))
        product: Tensor = _Masked.apply(numbers, mask, self.overwrite)  # type: ignore[no-untyped-call]
        return product


def dense_stack(
    inputs: int, units: Sequence[int], options: NetworkOptions
) -> tuple[list[nn.Module], int]:
    """Return the layers Linear, activation, normalisation, dropout for each width, and
    the last width.
    """
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
            dropout.overwrite = (
                options.normalization == "none" and options.activation in _KEEP_INPUTS
            )
            layers.append(dropout)
        inputs = width
    return layers, inputs


# ---- fixed random kernels beside the convolutions ------------------------------------
# What they see of an image, and a linear map of it to the outputs.

#: Of images with one row, or one column, and of others.
_LONG = 9
_SQUARE = 3
SHARPNESS = 8.0


class RandomKernels(nn.Module):
    """Kernels that are drawn once (ROCKET, Dempster et al. 2020, arXiv 1910.13051), and
    a readout that is fitted.

    Shape: ``(rows, channels, height, width)`` to ``(rows, outputs)``. Of each kernel's
    map two numbers are read: the largest, and how much of the map is above 0.
    NOTE[DIFF] the share of positives is soft, a mean of sigmoids, so that slopes are
    exact; kernels have one length, and biases from −1 to 1. Of a curve they are read
    over the whole of it, of a picture over each quarter. Of several channels each
    kernel reads some, few as often as many.
    """

    centre: Tensor

    def __init__(
        self, shape: tuple[int, int, int], count: int, outputs: int = 0
    ) -> None:
        super().__init__()
        channels, *image_size = shape
        curve = min(image_size) == 1
        self.parts = 1 if curve else 2
        self.kernel = [_SQUARE for _ in image_size]
        if curve:
            self.kernel = [_LONG if side > 1 else 1 for side in image_size]
        largest_dilation = min(
            (side_length - 1) // (reach - 1)
            for side_length, reach in zip(image_size, self.kernel, strict=True)
            if reach > 1
        )
        highest_power = max(0, int(math.log2(max(1, largest_dilation))))
        kernels_each = math.ceil(count / (highest_power + 1))
        self.convolutions = nn.ModuleList()
        for dilation in (2**power for power in range(highest_power + 1)):
            kernel_height, kernel_width = self.kernel
            padding = (dilation * (kernel_height // 2), dilation * (kernel_width // 2))
            convolution = nn.Conv2d(
                channels,
                kernels_each,
                (kernel_height, kernel_width),
                padding=padding,
                dilation=dilation,
            ).requires_grad_(False)
            self.convolutions.append(convolution)
        self.count = kernels_each * (highest_power + 1)
        features = 2 * self.count * self.parts**2
        self.readout = (
            nn.Linear(features, outputs).requires_grad_(False) if outputs else None
        )
        self.register_buffer("centre", torch.zeros(()))

    @torch.no_grad()
    def draw(
        self, rng: np.random.Generator, *, centre: float = 0.0, spread: float = 1.0
    ) -> None:
        """Draw the kernels, for pixels with this mean and standard deviation."""
        self.centre.fill_(centre)
        for layer in self.convolutions:
            kernels, layer_bias = layer.parameters()
            channels = kernels.shape[1]
            weight = rng.normal(size=(len(kernels), channels, math.prod(self.kernel)))
            weight -= weight.mean(axis=2, keepdims=True)
            if channels > 1:
                channel_counts = (
                    2 ** rng.uniform(0, math.log2(channels + 1), size=(len(kernels), 1))
                    // 1
                )
                ranks = (
                    rng.random((len(kernels), channels)).argsort(axis=1).argsort(axis=1)
                )
                weight *= (ranks < channel_counts)[:, :, None]
            weight /= np.sqrt((weight**2).sum(axis=(1, 2), keepdims=True)) * spread
            kernels.copy_(torch.from_numpy(weight).view_as(kernels))
            layer_bias.copy_(torch.from_numpy(rng.uniform(-1, 1, size=len(layer_bias))))

    def see(self, images: Tensor) -> Tensor:
        """Return what the kernels see ``(rows, features)``."""
        kernel_features: list[Tensor] = []
        for layer in self.convolutions:
            kernel_maps = layer(images - self.centre)
            often = functional.adaptive_avg_pool2d(
                torch.sigmoid(SHARPNESS * kernel_maps), self.parts
            )
            kernel_features += [
                often.flatten(1),
                functional.adaptive_max_pool2d(kernel_maps, self.parts).flatten(1),
            ]
        return torch.cat(kernel_features, dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Read out what they see."""
        kernel_features = self.see(images)
        kernel_outputs: Tensor
        if self.readout is None:
            kernel_outputs = kernel_features
        else:
            kernel_outputs = self.readout(kernel_features)
        return kernel_outputs
