"""The image branch read as a chain: convolutions, each with what follows it, up to the
first dense layer.

Whoever knows the chain walks it faster, and can say which box of each map a changed
pixel reaches. Maps are ``(rows, height, width, channels)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from permgrad.imaging.render import Renderer
from permgrad.models.fast.folding import POINTWISE, DenseStack, MapTail, is_plain
from permgrad.models.network.network import HybridNetwork

#: Rows and columns of a map, half open: first row, row behind the last, first column,
#: column behind the last.
Box = tuple[int, int, int, int]

_POOLS = (nn.MaxPool2d, nn.AvgPool2d)
#: The first convolution is a matrix where columns times filters are at most so many
#: times the kernel: torch convolves one channel into 8 at 12 GFLOP/s, into 32 at 62,
#: and multiplies matrices at 200 (measured on one core).
_MOST_COLUMNS = 64


def area(box: Box) -> int:
    """Return how many places a box holds."""
    return max(0, box[1] - box[0]) * max(0, box[3] - box[2])


def channels_last(maps: Tensor) -> Tensor:
    """Return maps with channels first in memory as maps with channels last."""
    # Of one channel torch would take the memory of the copy for one with channels
    # first, and convolve more slowly.
    if maps.shape[1] == 1:
        return maps[:, 0].contiguous().unsqueeze(-1)
    return maps.permute(0, 2, 3, 1).contiguous()


def near(matrix: Tensor, channels: int, size: Sequence[int]) -> Tensor:
    """Return a matrix over maps flattened as torch does, channels first, for maps of
    ``size`` with channels last.
    """
    return (
        matrix.reshape(len(matrix), channels, *size)
        .permute(0, 2, 3, 1)
        .flatten(1)
        .contiguous()
    )


class Sliding:
    """How a convolution or a pooling slides over a map, along each axis."""

    def __init__(self, layer: Any, in_size: tuple[int, int]) -> None:
        names = ("stride", "padding", "dilation", "kernel_size")
        values = [getattr(layer, attribute_name, 1) for attribute_name in names]
        self.stride, self.padding, dilation, window = (
            v if isinstance(v, tuple) else (v, v) for v in values
        )
        #: how far behind its first input an output reads
        self.reach = dilation[0] * (window[0] - 1), dilation[1] * (window[1] - 1)
        output_height = max(
            0,
            (in_size[0] + 2 * self.padding[0] - self.reach[0] - 1) // self.stride[0]
            + 1,
        )
        output_width = max(
            0,
            (in_size[1] + 2 * self.padding[1] - self.reach[1] - 1) // self.stride[1]
            + 1,
        )
        self.size = output_height, output_width

    def reached(self, box: Box) -> Box:
        """Return the outputs that read any input of a box."""
        edges: list[int] = []
        for axis, (stride, padding, reach) in enumerate(
            zip(self.stride, self.padding, self.reach, strict=True)
        ):
            box_start, box_stop = box[2 * axis : 2 * axis + 2]
            first = max(0, math.ceil((box_start + padding - reach) / stride))
            last_output = min(self.size[axis], (box_stop - 1 + padding) // stride + 1)
            # Strides may pass over a box. Of nothing that changes, nothing follows.
            if box_stop > box_start:
                edges += [first, max(first, last_output)]
            else:
                edges += [0, 0]
        return edges[0], edges[1], edges[2], edges[3]

    def read(self, box: Box) -> Box:
        """Return the inputs that a box of outputs reads.

        They may lie beyond the edge.
        """
        edges: list[int] = []
        for axis, (stride, padding, reach) in enumerate(
            zip(self.stride, self.padding, self.reach, strict=True)
        ):
            box_start, box_stop = box[2 * axis : 2 * axis + 2]
            if box_stop > box_start:
                edges += [
                    box_start * stride - padding,
                    (box_stop - 1) * stride - padding + reach + 1,
                ]
            else:
                edges += [0, 0]
        return edges[0], edges[1], edges[2], edges[3]


@dataclass(frozen=True)
class Step:
    """What a segment does for a box of its input that changes.

    ``moved``: the convolution's outputs that change, which read ``source`` of the
    input. ``needed``: its outputs that the pooling of ``result`` needs, which read
    ``window`` of the input.
    """

    box: Box
    moved: Box
    source: Box
    needed: Box
    window: Box
    result: Box


class Segment:
    """A convolution and the pointwise and pooling layers that follow it, up to the next
    convolution.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        in_size: tuple[int, int],
        *,
        one_channel: bool,
    ) -> None:
        convolution = layers[0]
        assert isinstance(convolution, nn.Conv2d)
        self.convolution = convolution
        self.in_size = in_size
        self.tail = MapTail(layers[1:])
        self.slide = Sliding(convolution, in_size)
        self.pools = list[Sliding]()
        self.out_size = self.slide.size
        for layer in layers[1:]:
            if isinstance(layer, _POOLS):
                self.pools.append(Sliding(layer, self.out_size))
                self.out_size = self.pools[-1].size
        weight = convolution.weight.detach()
        if convolution.bias is None:
            layer_bias = None
        else:
            layer_bias = convolution.bias.detach()
        if one_channel:
            weight = weight.sum(dim=1, keepdim=True)
        if self.tail.before is not None:
            scale = self.tail.before.scale
            shift = self.tail.before.shift
            layer_bias = (
                shift if layer_bias is None else layer_bias.double() * scale + shift
            ).to(weight.dtype)
            weight = (weight.double() * scale[:, None, None, None]).to(weight.dtype)
        self.weight = channels_last(weight).permute(0, 3, 1, 2)
        self.bias = layer_bias
        self.in_channels = int(weight.shape[1]) * convolution.groups
        self.channels = int(convolution.out_channels)

    def convolve(
        self, maps: Tensor, padding: Any = None, *, bias: bool = True
    ) -> Tensor:
        """Return the convolution of maps.

        ``padding=0`` where they already hold what lies beyond the edge.
        """
        convolution = self.convolution
        convolution_options: Any = {}
        for option_name in ("stride", "padding", "dilation", "groups"):
            convolution_options[option_name] = getattr(convolution, option_name)
        if padding is not None:
            convolution_options["padding"] = padding
        maps = functional.conv2d(
            maps.permute(0, 3, 1, 2),
            self.weight,
            self.bias if bias else None,
            **convolution_options,
        )
        return maps.permute(0, 2, 3, 1)


@dataclass(frozen=True)
class BoxMatrix:
    """A box of the first convolution as a matrix on the encoded columns whose pixels it
    reads.
    """

    columns: list[int]
    #: what is drawn of the columns: ``(value − low) · factor``, at most ``most`` where
    #: it is clipped
    low: Tensor
    factor: Tensor
    most: float | None
    #: ``(height × width × channels, columns)``
    matrix: Tensor
    bias: Tensor
    size: tuple[int, int]

    def __call__(self, values: Tensor) -> Tensor:
        """Return the box from the values of its columns."""
        drawn = (values - self.low) * self.factor
        if self.most is not None:
            drawn = drawn.clamp(0.0, self.most)
        box_output: Tensor = functional.linear(drawn, self.matrix, self.bias).unflatten(
            1, (*self.size, -1)
        )
        return box_output


@dataclass
class ImageChain:
    """An image branch as a chain of segments and, behind them, dense layers.

    Made by :meth:`read`.
    """

    renderer: Any
    segments: list[Segment]
    #: the first dense layer, whose input a changed box reaches through few columns, and
    #: those behind. None: the head's
    first: nn.Linear | None
    rest: DenseStack
    #: each column that is seen, with its channel, row and column. None where pictures
    #: are more than that
    placed: list[tuple[int, int, int, int]] | None
    #: the first layer's matrix on flat maps
    first_near: Tensor | None = None
    #: the whole first convolution as a matrix on the columns, where that is faster
    whole: BoxMatrix | None = None

    @classmethod
    def read(cls, module: HybridNetwork) -> ImageChain | None:
        """Return the chain, or None where the branch is none that can be followed."""
        renderer: Any = module.renderer
        layers: list[Any]
        if isinstance(module.image_branch, nn.Sequential):
            layers = list(module.image_branch)
        else:
            layers = []
        flatten = next(
            (
                layer_index
                for layer_index, layer in enumerate(layers)
                if isinstance(layer, nn.Flatten)
            ),
            0,
        )
        front = layers[:flatten]
        dense = layers[flatten + 1 :]
        if not hasattr(renderer, "render_region") or not _is_chain(front, dense):
            return None
        # All channels of a rendered picture are alike, unless the layout has channels.
        alike = (
            isinstance(renderer, Renderer)
            and renderer.channels > renderer.depth
            and layers[0].groups == 1
        )
        image_size = (int(module.image_shape[1]), int(module.image_shape[2]))
        segments = _segments_of(front, image_size, alike=alike)
        first_segment = segments[0]
        is_known = (
            isinstance(renderer, Renderer)
            and first_segment.in_channels == renderer.depth
            and first_segment.convolution.groups == 1
        )
        if is_known:
            placed = renderer.placed()
        else:
            placed = None
        chain = cls(
            renderer,
            segments,
            dense[0] if dense else None,
            DenseStack(dense[1:]),
            placed,
        )
        if chain.first is not None:
            chain.first_near = near(
                chain.first.weight.detach(),
                segments[-1].channels,
                segments[-1].out_size,
            )
        if (
            placed is not None
            and len(placed) * first_segment.channels
            <= _MOST_COLUMNS * first_segment.weight[0].numel()
        ):
            everything = (
                0,
                first_segment.slide.size[0],
                0,
                first_segment.slide.size[1],
            )
            chain.whole = chain.matrix(everything, first_segment.slide.read(everything))
        return chain

    def matrix(self, box: Box, window: Box) -> BoxMatrix:
        """Return the matrix to a box of the first convolution, which reads a window of
        the picture.
        """
        assert self.placed is not None
        top_row, bottom, left_column, right = window
        seen_columns = []
        for placed_column in self.placed:
            if (
                top_row <= placed_column[2] < bottom
                and left_column <= placed_column[3] < right
            ):
                seen_columns.append(placed_column)
        segment = self.segments[0]
        box_size = (box[1] - box[0], box[3] - box[2])
        pictures = segment.weight.new_zeros(
            len(seen_columns),
            bottom - top_row,
            right - left_column,
            segment.in_channels,
        )
        for number, (_, channel, pixel_row, pixel_column) in enumerate(seen_columns):
            pictures[
                number, pixel_row - top_row, pixel_column - left_column, channel
            ] = 1
        columns = [column for column, *_ in seen_columns]
        if segment.bias is None:
            repeated_bias = segment.weight.new_zeros(segment.channels)
        else:
            repeated_bias = segment.bias
        column_minimum, factor = self.renderer.ranges(columns, segment.weight)
        if self.renderer.clip:
            highest_value = self.renderer.scale
        else:
            highest_value = None
        repeated_bias = repeated_bias.repeat(box_size[0] * box_size[1])
        matrix = segment.weight.new_zeros(len(repeated_bias), 0)
        if seen_columns:
            matrix = segment.convolve(pictures, 0, bias=False).flatten(1).T.contiguous()
        return BoxMatrix(
            columns,
            column_minimum,
            factor,
            highest_value,
            matrix,
            repeated_bias,
            box_size,
        )

    def enter(
        self,
        encoded: Tensor,
        maps: list[Tensor] | None = None,
        convolved: list[Tensor] | None = None,
    ) -> Tensor:
        """Return the first dense layer's output.

        Without one, the last map, not flattened.

        ``maps`` gets the input of every segment and the last map, ``convolved`` the
        convolutions but the first. The first input is empty where nobody needs it,
        because the first convolution is a matrix on the columns.
        """
        first = self.segments[0]
        drawn = encoded[:, :0]
        if self.whole is not None:
            values = first.tail(self.whole(encoded[:, self.whole.columns]))
        else:
            drawn = channels_last(self.renderer(encoded)[:, : first.in_channels])
            values = first.tail(first.convolve(drawn))
        if maps is not None:
            maps += [drawn if self.placed is None else drawn[:, :0], values]
        for segment in self.segments[1:]:
            if maps is None or convolved is None:
                values = segment.tail(segment.convolve(values))
            else:
                convolved.append(segment.convolve(values))
                values = segment.tail(convolved[-1])
                maps.append(values)
        if self.first is None or self.first_near is None:
            return values
        return functional.linear(values.flatten(1), self.first_near, self.first.bias)

    def steps(self, box: Box) -> list[Step]:
        """Return what each segment does for a box of pixels that changes, up to where
        nothing of it is left.
        """
        steps: list[Step] = []
        for segment in self.segments:
            moved = result = segment.slide.reached(box)
            for pooling in segment.pools:
                result = pooling.reached(result)
            # Back to the convolution's outputs that the pooling windows need, whole.
            needed = result
            for pooling in reversed(segment.pools):
                needed = pooling.read(needed)
            steps.append(
                Step(
                    box,
                    moved,
                    segment.slide.read(moved),
                    needed,
                    segment.slide.read(needed),
                    result,
                )
            )
            box = result
            if not area(box):
                break
        return steps


def _segments_of(
    front: Sequence[Any], image_size: tuple[int, int], *, alike: bool
) -> list[Segment]:
    """Return the layers of a chain in segments, each from a convolution on.

    ``alike``: all channels of the pictures are.
    """
    starts = []
    for layer_index, layer in enumerate(front):
        if isinstance(layer, nn.Conv2d):
            starts.append(layer_index)
    segments: list[Segment] = []
    for start, stop_layer in zip(starts, [*starts[1:], len(front)], strict=True):
        segments.append(
            Segment(
                front[start:stop_layer], image_size, one_channel=alike and not segments
            )
        )
        image_size = segments[-1].out_size
    return segments


def _is_chain(layers: Sequence[Any], dense: Sequence[Any]) -> bool:
    """Whether layers up to the flat ones start with a convolution and can all be
    followed.
    """
    if (
        not layers
        or not isinstance(layers[0], nn.Conv2d)
        or (dense and not is_plain(dense[0], nn.Linear))
    ):
        return False
    followed = True
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            followed = is_plain(layer, nn.Conv2d) and layer.padding_mode == "zeros"
            followed = followed and not isinstance(layer.padding, str)
        elif isinstance(layer, nn.BatchNorm2d):
            followed = (
                is_plain(layer, nn.BatchNorm2d) and layer.running_mean is not None
            )
        elif isinstance(layer, _POOLS):
            plain = (
                not layer.ceil_mode
                and layer.padding in (0, (0, 0))
                and not getattr(layer, "return_indices", False)
            )
            followed = plain and getattr(layer, "dilation", 1) in (1, (1, 1))
        else:
            followed = isinstance(
                layer, (*POINTWISE, nn.Identity, nn.Dropout, nn.Dropout2d)
            )
        # One that works in place would write into the cache.
        if not followed or getattr(layer, "inplace", False):
            return False
    return True
