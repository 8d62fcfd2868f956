"""The first convolution block of the image branch while training, computed only where a picture is not empty.

Most pixels of a picture show no feature: of 8 features without a blur, 72 of 400 outputs of a 3 × 3 convolution can
depend on the row at all. The others are the convolution's bias, one number for each filter. The block here
computes the windows of the pooling that see a feature, and counts the others in batch normalisation's mean and variance
and in all gradients. Nothing is approximated; sums are taken in another order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from permgrad.imaging.render import Renderer

#: Above this share of windows that see a feature, the ordinary layers are as fast.
_MOST = 0.7


class ImageEntry:
    """Renderer, convolution, rectifier, batch normalisation and max pooling in one; made by :meth:`read`.

    Args:
        renderer: draws the pictures, whose channels are equal.
        branch: the image branch, of whose layers the first four are read here; it is only referred to.
        windows: numbers of the pooling's windows that can see a feature, in reading order.

    Shape:
        ``(rows, encoded)`` to ``(rows, filters, height / pooling, width / pooling)``, channels last in memory.
    """

    def __init__(self, renderer: Renderer, branch: nn.Sequential, windows: Tensor) -> None:
        layers: list[Any] = [branch[number] for number in range(4)]
        self.renderer = renderer
        self.convolution: nn.Conv2d = layers[0]
        self.normalization: nn.BatchNorm2d = layers[2]
        self.rest = nn.Sequential(*list(branch)[4:])
        self._watched = [renderer, branch, *layers]
        self.windows = windows
        self.pooling = int(layers[3].kernel_size)
        self.down, self.along = renderer.height // self.pooling, renderer.width // self.pooling
        self.pixels = self._pixels()

    @classmethod
    def read(cls, renderer: nn.Module | None, branch: nn.Sequential | None) -> ImageEntry | None:
        """Return the entry, or None where the layers are others, or the picture is nearly full."""
        if branch is None or type(renderer) is not Renderer or len(branch) < 4:
            return None
        layers = [branch[number] for number in range(4)]
        if [type(layer) for layer in layers] != [nn.Conv2d, nn.ReLU, nn.BatchNorm2d, nn.MaxPool2d]:
            return None
        if not _usual(layers):
            return None
        windows = few_seen_windows(renderer, layers[0], layers[3])
        return None if windows is None else cls(renderer, branch, windows)

    def suits(self, encoded: Tensor) -> bool:
        """Whether this call may be computed here: in training, on a processor, nobody looks at the layers or inputs."""
        return (
            self.normalization.training
            and not encoded.requires_grad
            and encoded.device.type == "cpu"
            and encoded.dtype == self.convolution.weight.dtype
            and not any(_hooked(part) for part in self._watched)
            and len(encoded) > 0
            and not torch.is_autocast_enabled("cpu")
        )

    def _pixels(self) -> Tensor:
        """Return the padded pixel that each place of each window reads for each entry of the kernel."""
        kernel, side = self.convolution.kernel_size[0], self.renderer.width + 2 * (self.convolution.kernel_size[0] // 2)
        row, column = self.windows // self.along * self.pooling, self.windows % self.along * self.pooling
        inside = torch.arange(self.pooling)
        slot = (inside[:, None] * side + inside).flatten()
        entry = (torch.arange(kernel)[:, None] * side + torch.arange(kernel)).flatten()
        return slot[:, None, None] + (row * side + column)[:, None] + entry

    def __call__(self, encoded: Tensor) -> Tensor:
        """Return what the four layers return, and move the running statistics as they do."""
        convolution, normalization = self.convolution, self.normalization
        pad = convolution.kernel_size[0] // 2
        pictures = functional.pad(self.renderer(encoded)[:, 0], (pad, pad, pad, pad)).flatten(1)
        slots, _, entries = self.pixels.shape
        read = pictures.index_select(1, self.pixels.flatten()).view(len(encoded), slots, -1, entries)
        patches = read.transpose(0, 1).reshape(-1, entries)
        # All channels of the picture are equal, so that their weights add up.
        weight = convolution.weight.sum(1).flatten(1)
        out, mean, variance = _Block.apply(  # type: ignore[no-untyped-call]
            patches,
            weight,
            convolution.bias,
            normalization.weight,
            normalization.bias,
            (normalization.eps, slots, len(encoded), self.down * self.along, self.windows),
        )
        self._follow(mean, variance, len(encoded) * self.renderer.height * self.renderer.width)
        shaped: Tensor = out.view(len(encoded), self.down, self.along, -1).permute(0, 3, 1, 2)
        return shaped

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics; the variance kept is the unbiased one, as in torch."""
        normalization = self.normalization
        momentum = float(normalization.momentum)  # type: ignore[arg-type]
        assert normalization.running_mean is not None
        assert normalization.running_var is not None
        assert normalization.num_batches_tracked is not None
        normalization.running_mean.lerp_(mean, momentum)
        normalization.running_var.lerp_(variance * (count / max(count - 1, 1)), momentum)
        normalization.num_batches_tracked.add_(1)


def _usual(layers: list[Any]) -> bool:
    """Whether convolution and normalisation have the numbers that ``blocks.convolution_block`` gives them."""
    convolution, _, normalization, _ = layers
    return bool(
        convolution.groups == 1
        and convolution.bias is not None
        and normalization.affine
        and normalization.track_running_stats
        and normalization.momentum is not None
    )


def few_seen_windows(renderer: Renderer, convolution: Any, pooling: Any) -> Tensor | None:
    """Return the windows of a first block that can see a feature, if it pays to compute them alone.

    None where most windows can, none can, or the layers are not a convolution that keeps the picture's size and a
    pooling whose windows lie side by side and cover it.

    Args:
        renderer: draws the pictures.
        convolution: an ``nn.Conv2d``.
        pooling: an ``nn.MaxPool2d``.
    """
    kernel, window = convolution.kernel_size[0], pooling.kernel_size
    suits = (
        kernel % 2 == 1
        and convolution.kernel_size == (kernel, kernel)
        and convolution.padding == (kernel // 2, kernel // 2)
        and convolution.stride == convolution.dilation == (1, 1)
        and convolution.padding_mode == "zeros"
        and isinstance(window, int)
        and (pooling.stride, pooling.padding, pooling.dilation) == (window, 0, 1)
        and not pooling.ceil_mode
        and renderer.height % window == renderer.width % window == 0
    )
    if not suits:
        return None
    windows = seen_windows(renderer, kernel, window)
    return windows if 0 < len(windows) <= _MOST * (renderer.height // window) * (renderer.width // window) else None


def _hooked(part: nn.Module) -> bool:
    """Whether somebody watches a module; torch has no public question for it."""
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(bool(getattr(part, name)) for name in names)


def seen_windows(renderer: Renderer, kernel: int, pooling: int) -> Tensor:
    """Return the pooling's windows behind a convolution, in reading order, that can depend on any encoded column.

    Examples:
        >>> from permgrad.imaging import StoredLayout
        >>> renderer = Renderer(StoredLayout([[0, 0], [5, 5]], pixels=8), minimum=[0, 0], maximum=[1, 1])
        >>> seen_windows(renderer, kernel=3, pooling=2).tolist()
        [0, 10, 11, 14, 15]
    """
    reached = np.zeros((1, 1, renderer.height, renderer.width), dtype=np.float32)
    for row, column in renderer.pixels_of(range(len(renderer.positions))):
        reached[0, 0, row, column] = 1
    spread = functional.max_pool2d(torch.from_numpy(reached), kernel, stride=1, padding=kernel // 2)
    return functional.max_pool2d(spread, pooling).flatten().nonzero()[:, 0]


class _Block(torch.autograd.Function):
    """Rectified, normalised, pooled outputs of a convolution at ``R`` windows; the other windows are one constant.

    With h = max(z, 0) of the outputs z (slots, R, filters) that are computed, and c = max(bias, 0) of the N − slots · R
    that are not, the mean and variance over all N are those of both together. Normalised values are a h + d with a =
    γ / σ, so that the pooling picks the largest h, or the smallest where a is negative, before anything is scaled.
    """

    @staticmethod
    def forward(
        ctx: Any, patches: Tensor, weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, plan: tuple[Any, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        eps, slots, rows, total, windows = plan
        h = torch.addmm(bias, patches, weight.t()).clamp_min_(0)
        constant = bias.clamp_min(0)
        count = rows * total * slots
        still = count - len(h)
        mean = (h.sum(0) + still * constant) / count
        centred = h - mean
        variance = (centred.mul_(centred).sum(0) + still * (constant - mean).square()) / count
        inverse = torch.rsqrt(variance + eps)
        factor = gamma * inverse
        best = _pooled(h.view(slots, -1, h.shape[1]), factor)
        shift = beta - mean * factor
        out = torch.addcmul(shift, constant, factor).repeat(rows, total, 1)
        out.index_copy_(1, windows, torch.addcmul(shift, best, factor).view(rows, -1, h.shape[1]))
        ctx.save_for_backward(patches, h, best, bias, constant, mean, inverse, gamma)
        ctx.plan = plan
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        patches, h, best, bias, constant, mean, inverse, gamma = ctx.saved_tensors
        _, slots, rows, total, windows = ctx.plan
        filters = h.shape[1]
        count = rows * total * slots
        whole = slopes[0].reshape(rows, total, filters)
        own = whole.index_select(1, windows).view(-1, filters)
        elsewhere = whole.sum((0, 1)) - own.sum(0)
        # Batch normalisation: dL/dh = a (g − mean of g − x̂ · mean of g x̂), with the means over all positions.
        for_beta = own.sum(0) + elsewhere
        for_gamma = (own * (best - mean)).sum(0) * inverse + elsewhere * (constant - mean) * inverse
        factor = gamma * inverse
        slope = -factor * inverse * for_gamma / count
        level = -factor * for_beta / count - slope * mean
        steep = torch.addcmul(level, h, slope)
        _route(steep.view(slots, -1, filters), h.view(slots, -1, filters), best, own.mul_(factor))
        # A product with 0 and 1: torch.where takes thirty times as long.
        steep.mul_(torch.gt(h, 0, out=torch.empty_like(h)))
        still = count - len(h)
        at_bias = (elsewhere * factor + still * (level + slope * constant)) * (bias > 0)
        # This way round the product takes a quarter of the time of its transpose.
        return None, (patches.t() @ steep).t(), steep.sum(0) + at_bias, for_gamma, for_beta, None


def _pooled(h: Tensor, factor: Tensor) -> Tensor:
    """Return over the slots the largest value, or the smallest of filters whose factor is negative."""
    negative = factor < 0
    some = bool(negative.any())
    signed = h * torch.where(negative, -1.0, 1.0).to(h.dtype) if some else h
    best = signed[0]
    for slot in signed[1:]:
        best = torch.maximum(best, slot)
    return best * torch.where(negative, -1.0, 1.0).to(h.dtype) if some else best


def _route(steep: Tensor, h: Tensor, best: Tensor, slopes: Tensor) -> None:
    """Add the slopes to the first slot that holds the pooled value, as torch's max pooling does."""
    left = torch.ones_like(best)
    for number in range(len(h)):
        chosen = torch.eq(h[number], best, out=torch.empty_like(best)).mul_(left)
        left.sub_(chosen)
        steep[number].addcmul_(chosen, slopes)
