"""The image branch read as a chain: convolutions, each with what follows it, up to the first dense layer.

Whoever knows the chain walks it faster, and can say which box of each map a changed pixel reaches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from permgrad.imaging.render import Renderer
from permgrad.models.fast.folding import (
    DenseStack,
    MapTail,
    channels_first_to_last,
    channels_last,
    flat_near,
    hooked,
    is_plain,
    pair,
)
from permgrad.models.network.network import HybridNetwork

#: Rows and columns of a map, half open: first row, row behind the last, first column, column behind the last.
Box = tuple[int, int, int, int]

#: Layers that act on each number alone when the network is in eval mode.
_POINTWISE = (
    nn.ReLU, nn.GELU, nn.SiLU, nn.Mish, nn.SELU, nn.Tanh, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Softplus, nn.Hardswish,
    nn.Identity, nn.Dropout, nn.Dropout2d, nn.BatchNorm2d,
)  # fmt: skip
_POOLS = (nn.MaxPool2d, nn.AvgPool2d)
#: The first convolution is a matrix where columns times filters are at most so many times the kernel: torch convolves
#: one channel into 8 at 12 GFLOP/s, into 32 at 62, and multiplies matrices at 200 (measured on one core).
_MOST_COLUMNS = 64
#: Above this share of windows that see a feature, computing those alone gains nothing.
_MOST_WINDOWS = 0.7


def area(box: Box) -> int:
    """Return how many places a box holds."""
    return max(0, box[1] - box[0]) * max(0, box[3] - box[2])


class Sliding:
    """How a convolution or a pooling slides over a map, along each axis."""

    def __init__(self, layer: Any, in_size: tuple[int, int]) -> None:
        self.stride, self.padding = pair(layer.stride), pair(layer.padding)
        #: how far behind its first input an output reads
        dilation, window = pair(getattr(layer, "dilation", 1)), pair(layer.kernel_size)
        self.reach = dilation[0] * (window[0] - 1), dilation[1] * (window[1] - 1)
        self.size = self.outputs((in_size[0] + 2 * self.padding[0], in_size[1] + 2 * self.padding[1]))

    def outputs(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return how many outputs there are for an input that is padded already."""
        high, wide = (max(0, (size[a] - self.reach[a] - 1) // self.stride[a] + 1) for a in (0, 1))
        return high, wide

    def reached(self, box: Box) -> Box:
        """Return the outputs that read any input of a box."""
        edges: list[int] = []
        for axis, (stride, padding, reach) in enumerate(zip(self.stride, self.padding, self.reach, strict=True)):
            low, high = box[2 * axis : 2 * axis + 2]
            first = max(0, math.ceil((low + padding - reach) / stride))
            last = min(self.size[axis], (high - 1 + padding) // stride + 1)
            # Strides may pass over a box; of nothing that changes, nothing follows.
            edges += [first, max(first, last)] if high > low else [0, 0]
        return edges[0], edges[1], edges[2], edges[3]

    def read(self, box: Box) -> Box:
        """Return the inputs that a box of outputs reads; they may lie beyond the edge."""
        edges: list[int] = []
        for axis, (stride, padding, reach) in enumerate(zip(self.stride, self.padding, self.reach, strict=True)):
            low, high = box[2 * axis : 2 * axis + 2]
            edges += [low * stride - padding, (high - 1) * stride - padding + reach + 1] if high > low else [0, 0]
        return edges[0], edges[1], edges[2], edges[3]


@dataclass(frozen=True)
class Step:
    """What a segment does for a box of its input that changes.

    ``moved``: the convolution's outputs that change; ``needed``: its outputs that the pooling of ``result`` needs,
    which read ``window`` of the input.
    """

    box: Box
    moved: Box
    needed: Box
    window: Box
    result: Box

    @property
    def empty(self) -> bool:
        """Whether nothing of the change survives the pooling."""
        return area(self.result) == 0


class Segment:
    """A convolution and the pointwise and pooling layers that follow it, up to the next convolution."""

    def __init__(self, layers: Sequence[nn.Module], in_size: tuple[int, int], *, one_channel: bool) -> None:
        convolution = layers[0]
        assert isinstance(convolution, nn.Conv2d)
        self.convolution, self.in_size = convolution, in_size
        self.tail = MapTail(layers[1:])
        self.slide, self.pools = Sliding(convolution, in_size), list[Sliding]()
        self.out_size = self.slide.size
        for layer in layers[1:]:
            if isinstance(layer, _POOLS):
                self.pools.append(Sliding(layer, self.out_size))
                self.out_size = self.pools[-1].size
        weight = convolution.weight.detach()
        bias = None if convolution.bias is None else convolution.bias.detach()
        if one_channel:
            weight = weight.sum(dim=1, keepdim=True)
        if self.tail.before is not None:
            scale, shift = self.tail.before.scale, self.tail.before.shift
            bias = (shift if bias is None else bias.double() * scale + shift).to(weight.dtype)
            weight = (weight.double() * scale[:, None, None, None]).to(weight.dtype)
        self.weight, self.bias = channels_last(weight), bias
        self.in_channels = int(weight.shape[1]) * convolution.groups
        self.channels = int(convolution.out_channels)

    def convolve(self, values: Tensor, padding: Any = None, *, bias: bool = True) -> Tensor:
        """Return the convolution of maps; ``padding=0`` where ``values`` already holds what lies beyond the edge."""
        convolution = self.convolution
        around = convolution.padding if padding is None else padding
        added = self.bias if bias else None
        return functional.conv2d(
            values, self.weight, added, convolution.stride, around, convolution.dilation, convolution.groups
        )

    def step(self, box: Box) -> Step:
        """Follow a box that changes through the segment."""
        moved = result = self.slide.reached(box)
        for pool in self.pools:
            result = pool.reached(result)
        # Back to the convolution's outputs that the pooling windows need, whole.
        needed = result
        for pool in reversed(self.pools):
            needed = pool.read(needed)
        return Step(box, moved, needed, self.slide.read(needed), result)


@dataclass(frozen=True)
class BoxMatrix:
    """A box of the first convolution as a matrix on the columns whose pixels it reads; from `LinearPicture.entry`."""

    columns: list[int]
    #: what is drawn of the columns: ``(value − low) · factor``
    low: Tensor
    factor: Tensor
    #: ``(height × width × channels, columns)``
    matrix: Tensor
    bias: Tensor
    size: tuple[int, int]


class LinearPicture:
    """Pictures where every column has a pixel of its own: a convolution of them is a matrix on the columns' values."""

    def __init__(self, renderer: Renderer, segment: Segment, placed: Sequence[tuple[int, int]]) -> None:
        self._renderer, self._segment = renderer, segment
        width = segment.in_size[1]
        self._places = [(column, pixel // width, pixel % width) for column, pixel in placed]
        kernel = segment.weight.shape[2] * segment.weight.shape[3]
        self.whole: BoxMatrix | None = None
        if len(placed) * segment.channels <= _MOST_COLUMNS * kernel:
            everything = (0, segment.slide.size[0], 0, segment.slide.size[1])
            self.whole = self.entry(everything, segment.slide.read(everything))

    @classmethod
    def read(cls, renderer: Any, segment: Segment) -> LinearPicture | None:
        """Return the picture, or None where pictures are others."""
        if not isinstance(renderer, Renderer) or segment.in_channels != 1 or segment.convolution.groups != 1:
            return None
        placed = renderer.placed()
        return None if placed is None else cls(renderer, segment, placed)

    def entry(self, box: Box, window: Box) -> BoxMatrix:
        """Return the matrix to a box of the convolution, which reads a window of the picture."""
        top, bottom, left, right = window
        near = [(column, r - top, c - left) for column, r, c in self._places if top <= r < bottom and left <= c < right]
        segment, size = self._segment, (box[1] - box[0], box[3] - box[2])
        pictures = segment.weight.new_zeros(len(near), bottom - top, right - left)
        for number, (_, row, place) in enumerate(near):
            pictures[number, row, place] = 1
        matrix = segment.weight.new_zeros(size[0] * size[1] * segment.channels, 0)
        if near:
            maps = segment.convolve(channels_last(pictures.unsqueeze(1)), 0, bias=False)
            matrix = maps.permute(2, 3, 1, 0).flatten(0, 2).contiguous()
        columns = [column for column, _, _ in near]
        bias = segment.weight.new_zeros(segment.channels) if segment.bias is None else segment.bias
        low, factor = self._renderer.ranges(columns, segment.weight)
        return BoxMatrix(columns, low, factor, matrix, bias.repeat(size[0] * size[1]), size)

    def convolved(self, values: Tensor, entry: BoxMatrix) -> Tensor:
        """Return a box of the convolution from the values of its columns: maps, channels last."""
        drawn = (values - entry.low) * entry.factor
        if self._renderer.clip:
            drawn = drawn.clamp(0.0, self._renderer.scale)
        flat = functional.linear(drawn, entry.matrix, entry.bias)
        return flat.view(len(flat), *entry.size, -1).permute(0, 3, 1, 2)


class ImageChain:
    """An image branch as a chain of segments and, behind them, dense layers; made by :meth:`read`."""

    def __init__(self, module: HybridNetwork, segments: list[Segment], dense: Sequence[nn.Module]) -> None:
        self.renderer: Any = module.renderer
        self.segments = segments
        #: the first dense layer, whose input a changed box reaches through few columns; None: the head's
        self.first: nn.Linear | None = dense[0] if dense else None  # type: ignore[assignment]
        self._rest = DenseStack(dense[1:])
        #: the first convolution as a matrix on the columns, where it is one
        self.picture = LinearPicture.read(module.renderer, segments[0])
        self._first_near: Tensor | None = None
        if self.first is not None:
            shape = (segments[-1].channels, *segments[-1].out_size)
            self._first_near = channels_first_to_last(self.first.weight.detach(), shape)

    @classmethod
    def read(cls, module: HybridNetwork) -> ImageChain | None:
        """Return the chain, or None where the branch is none that can be followed."""
        renderer, branch = module.renderer, module.image_branch
        if not isinstance(branch, nn.Sequential) or not hasattr(renderer, "render_region") or hooked(branch):
            return None
        layers = list(branch)
        flatten = next((at for at, layer in enumerate(layers) if isinstance(layer, nn.Flatten)), None)
        if flatten is None or not isinstance(layers[0], nn.Conv2d) or any(hooked(layer) for layer in layers):
            return None
        dense = layers[flatten + 1 :]
        if (dense and not is_plain(dense[0], nn.Linear)) or not all(_can_follow(layer) for layer in layers[:flatten]):
            return None
        starts = [at for at, layer in enumerate(layers[:flatten]) if isinstance(layer, nn.Conv2d)]
        size = (int(module.image_shape[1]), int(module.image_shape[2]))
        # All channels of a rendered picture are alike.
        alike = isinstance(renderer, Renderer) and renderer.channels > 1 and layers[0].groups == 1
        segments: list[Segment] = []
        for start, stop in zip(starts, [*starts[1:], flatten], strict=True):
            segments.append(Segment(layers[start:stop], size, one_channel=alike and not segments))
            size = segments[-1].out_size
        return cls(module, segments, dense)

    @property
    def numbers(self) -> int:
        """How many numbers ``walk`` keeps for a row."""
        read = self.segments if self.picture is None else self.segments[1:]
        last, dense = self.segments[-1], 0 if self.first is None else self.first.out_features
        maps = [(segment.in_channels, segment.in_size) for segment in read]
        maps += [(segment.channels, segment.slide.size) for segment in self.segments[1:]]
        return dense + sum(channels * math.prod(size) for channels, size in [*maps, (last.channels, last.out_size)])

    def draw(self, encoded: Tensor) -> Tensor:
        """Return the pictures as the first segment reads them, channels last in memory."""
        images: Tensor = self.renderer(encoded)
        return channels_last(images[:, : self.segments[0].in_channels])

    def __call__(self, encoded: Tensor) -> Tensor:
        """Return the image embedding of encoded rows; without dense layers it is a map, not flattened."""
        values = self.segments[0].tail(self._convolved_first(encoded))
        for segment in self.segments[1:]:
            values = segment.tail(segment.convolve(values))
        return self.leave(self.enter(values))

    def _convolved_first(self, encoded: Tensor) -> Tensor:
        if self.picture is None or self.picture.whole is None:
            return self.segments[0].convolve(self.draw(encoded))
        return self.picture.convolved(encoded[:, self.picture.whole.columns], self.picture.whole)

    def walk(self, encoded: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the input of every segment with the last map behind them, and the convolutions but the first.

        The first input is empty where nobody needs it, because the first convolution is a matrix on the columns.
        """
        needed = self.picture is None
        drawn = self.draw(encoded) if needed else encoded.new_empty(len(encoded), 1, 0, 0)
        first = self.segments[0].convolve(drawn) if needed else self._convolved_first(encoded)
        maps, convolved = [drawn, self.segments[0].tail(first)], []
        for segment in self.segments[1:]:
            convolved.append(segment.convolve(maps[-1]))
            maps.append(segment.tail(convolved[-1]))
        return maps, convolved

    def enter(self, last: Tensor) -> Tensor:
        """Return the first dense layer's output from the last map; without one, the map itself."""
        if self.first is None or self._first_near is None:
            return last
        return functional.linear(flat_near(last), self._first_near, self.first.bias)

    def leave(self, entered: Tensor) -> Tensor:
        """Return the embedding from what ``enter`` gave; without dense layers it is a map, not flattened."""
        return self._rest(entered)

    def steps(self, box: Box) -> list[Step]:
        """Return what each segment does for a box of pixels that changes."""
        steps: list[Step] = []
        for segment in self.segments:
            steps.append(segment.step(box))
            box = steps[-1].result
            if steps[-1].empty:
                break
        return steps


def _can_follow(layer: Any) -> bool:
    if getattr(layer, "inplace", False):
        return False  # it would write into the cache
    if isinstance(layer, nn.Conv2d):
        return is_plain(layer, nn.Conv2d) and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    if isinstance(layer, nn.BatchNorm2d):
        return is_plain(layer, nn.BatchNorm2d) and layer.running_mean is not None
    if isinstance(layer, _POOLS):
        plain = not layer.ceil_mode and pair(layer.padding) == (0, 0)
        return plain and pair(getattr(layer, "dilation", 1)) == (1, 1) and not getattr(layer, "return_indices", False)
    return isinstance(layer, _POINTWISE)


# ---- windows of the pooling that can see a feature -----------------------------------------------------------------


def few_seen_windows(renderer: Renderer, convolution: Any, pooling: Any) -> Tensor | None:
    """Return the windows of a first block that can see a feature, if it pays to compute them alone."""
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
    most = _MOST_WINDOWS * (renderer.height // window) * (renderer.width // window)
    return windows if 0 < len(windows) <= most else None


def seen_windows(renderer: Renderer, kernel: int, pooling: int) -> Tensor:
    """Return the pooling's windows behind a convolution, in reading order, that can depend on any encoded column."""
    reached = np.zeros((1, 1, renderer.height, renderer.width), dtype=np.float32)
    for row, column in renderer.pixels_of(range(len(renderer.positions))):
        reached[0, 0, row, column] = 1
    spread = functional.max_pool2d(torch.from_numpy(reached), kernel, stride=1, padding=kernel // 2)
    return functional.max_pool2d(spread, pooling).flatten().nonzero()[:, 0]
