"""Predictions after a replacement, recomputing only what the replacement touches.

A replaced feature changes a few pixels; through convolutions and pooling these reach a box of the last map (the
receptive field, read the other way round), and only that box, and the columns of the first dense layer that read it,
are computed again. Everything else comes from the unchanged row's cache. Where a network is not a plain chain, or the
box is most of the image, the dense computation is used; both give the same numbers up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from permgrad.imaging.render import Renderer
from permgrad.models.members import MemberLinear
from permgrad.models.network import HybridNetwork
from permgrad.models.table_entry import TableEntry

Box = tuple[int, int, int, int]
Coalition = frozenset[str]

#: Layers that act on each number alone when the network is in eval mode.
_POINTWISE = (
    nn.ReLU, nn.GELU, nn.SiLU, nn.Mish, nn.SELU, nn.Tanh, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Softplus, nn.Hardswish,
    nn.Identity, nn.Dropout, nn.Dropout2d, nn.BatchNorm2d,
)  # fmt: skip


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put every submodule into eval mode for the body, and back into its own mode afterwards, also after an error."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@dataclass(frozen=True)
class _Segment:
    """A convolution and the pointwise and pooling layers that follow it, up to the next convolution."""

    convolution: nn.Conv2d
    tail: tuple[nn.Module, ...]
    in_size: tuple[int, int]
    out_size: tuple[int, int]


@dataclass(frozen=True)
class _Step:
    """What one segment does for one player: which box of its input is read, and where the result lies."""

    window: Box  # of the segment's input, may reach over its edge (the padding)
    result: Box  # of the segment's output


@dataclass(frozen=True)
class _Plan:
    """The boxes a player's replacement goes through, and the weights that read the last of them."""

    box: Box
    steps: tuple[_Step, ...]
    #: ``(units, channels × height × width)`` of the last box; None where nothing of it survives the pooling
    read: Tensor | None


@dataclass
class Block:
    """The cache for a block of receivers."""

    encoded: Tensor
    embeddings: dict[str, Tensor]
    #: input of every segment of the image branch, and its last map if dense layers follow; empty on the dense way
    maps: list[Tensor]
    #: each path's share of the head's first layer, before its bias
    shares: dict[str, Tensor]
    outputs: Tensor
    #: the image branch's first dense layer, before its activation, where it has one
    image_dense: Tensor | None = None
    #: the table branch's first dense layer, before its activation, where that is how replacements enter
    table_dense: Tensor | None = None


class ReplacementEngine:
    """Replaces encoded columns of rows, in any set of paths, and predicts.

    Args:
        module: the network; it is only read.
        incremental: whether to recompute only what is touched where the network allows it; False is the dense
            reference.

    Examples:
        >>> net = HybridNetwork(3, 2, {"dense_units": [4]}, paths=("tabular",)).eval()
        >>> engine = ReplacementEngine(net)
        >>> with torch.inference_mode():
        ...     block = engine.prepare(torch.zeros(5, 3))
        ...     new = engine.replace(block, 0, 5, [1], torch.ones(5, 1), [frozenset({"tabular"})])
        >>> new[frozenset({"tabular"})].shape
        torch.Size([5, 2])
    """

    def __init__(self, module: HybridNetwork, *, incremental: bool = True) -> None:
        self.module = module
        self.paths = module.paths
        first = module.head[0] if isinstance(module.head, nn.Sequential) and len(module.head) else None
        readable = isinstance(first, (nn.Linear, MemberLinear)) and first.in_features == sum(module.widths.values())
        self._split_head = readable
        self._segments: list[_Segment] = []
        self._dense: tuple[nn.Module, ...] = ()
        self._plans: dict[tuple[int, ...], _Plan | None] = {}
        #: the first convolution's weights; one channel where the renderer draws the same into all
        self._first_weight: Tensor | None = None
        self._table: TableEntry | None = None
        if incremental and self._split_head:
            self._table = TableEntry.read(module.table_branch)
            if "image" in self.paths:
                self._read_image_branch()

    # ---- reading the network -------------------------------------------------------------------------------------

    def _read_image_branch(self) -> None:
        """Split the image branch into segments; leave the list empty where it is not a chain we can follow."""
        module = self.module
        renderer, chain = module.renderer, module.image_branch
        if not isinstance(chain, nn.Sequential) or not hasattr(renderer, "render_region"):
            return
        layers = list(chain)
        flatten = next((i for i, layer in enumerate(layers) if isinstance(layer, nn.Flatten)), None)
        if flatten is None or not layers or not isinstance(layers[0], nn.Conv2d):
            return
        dense = tuple(layers[flatten + 1 :])
        if dense and not isinstance(dense[0], nn.Linear):
            return
        segments: list[_Segment] = []
        size = (int(module.image_shape[1]), int(module.image_shape[2]))
        for layer in layers[:flatten]:
            if isinstance(layer, nn.Conv2d):
                if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
                    return
                out = _convolved_size(size, layer)
                segments.append(_Segment(layer, (), size, out))
                size = out
            elif isinstance(layer, _POINTWISE) or (
                isinstance(layer, (nn.MaxPool2d, nn.AvgPool2d)) and _plain_pool(layer)
            ):
                if not isinstance(layer, _POINTWISE):
                    size = _pooled_size(size, layer)
                last = segments[-1]
                segments[-1] = _Segment(last.convolution, (*last.tail, layer), last.in_size, size)
            else:
                return
        self._segments, self._dense = segments, dense
        weight = segments[0].convolution.weight
        if isinstance(renderer, Renderer) and renderer.channels > 1 and segments[0].convolution.groups == 1:
            weight = weight.sum(dim=1, keepdim=True)
        self._first_weight = weight.detach().contiguous(memory_format=torch.channels_last)

    def _plan(self, columns: Sequence[int]) -> _Plan | None:
        """Return the boxes a replacement of these columns goes through, or None where dense is cheaper or needed."""
        key = tuple(int(column) for column in columns)
        if key not in self._plans:
            self._plans[key] = self._make_plan(key)
        return self._plans[key]

    def _make_plan(self, columns: tuple[int, ...]) -> _Plan | None:
        if not self._segments or self.module.renderer is None or not columns:
            return None
        first: Box = self.module.renderer.region_of(columns)  # type: ignore[operator]
        if first[0] >= first[1] or first[2] >= first[3]:
            return _Plan(first, (), None)  # drawn over by another column: no pixel shows it
        box = first
        steps: list[_Step] = []
        cost = full = 0.0
        for segment in self._segments:
            rows = _through(segment, box[0], box[1], axis=0)
            cols = _through(segment, box[2], box[3], axis=1)
            steps.append(_Step((rows[0], rows[1], cols[0], cols[1]), (rows[2], rows[3], cols[2], cols[3])))
            weights = segment.convolution.weight.numel()
            cost += weights * (rows[1] - rows[0]) * (cols[1] - cols[0])
            full += weights * segment.in_size[0] * segment.in_size[1]
            box = steps[-1].result
        if cost >= 0.8 * full:
            return None
        if any(step.result[0] >= step.result[1] or step.result[2] >= step.result[3] for step in steps):
            return _Plan(first, tuple(steps), None)  # pooling drops the only pixels that change
        last = self._segments[-1]
        channels = last.convolution.out_channels
        weight: Tensor = self._dense[0].weight if self._dense else self._head_columns("image")  # type: ignore[assignment]
        read = weight.reshape(-1, channels, *last.out_size)[:, :, box[0] : box[1], box[2] : box[3]].flatten(1)
        return _Plan(first, tuple(steps), read.detach().contiguous())

    # ---- computing ------------------------------------------------------------------------------------------------

    def prepare(self, encoded: Tensor, *, batch_size: int = 256) -> Block:
        """Compute and keep what replacements in these rows will need.

        Shape:
            encoded ``(rows, encoded)``; ``Block.outputs`` is ``(rows, outputs)``.
        """
        pieces = [self._prepare(part) for part in encoded.split(batch_size)]

        def join(tensors: list[Tensor]) -> Tensor:
            return tensors[0] if len(tensors) == 1 else torch.cat(tensors)

        first = pieces[0]
        return Block(
            encoded=encoded,
            embeddings={path: join([piece.embeddings[path] for piece in pieces]) for path in first.embeddings},
            maps=[join([piece.maps[k] for piece in pieces]) for k in range(len(first.maps))],
            shares={path: join([piece.shares[path] for piece in pieces]) for path in first.shares},
            outputs=join([piece.outputs for piece in pieces]),
            image_dense=None
            if first.image_dense is None
            else join([piece.image_dense for piece in pieces if piece.image_dense is not None]),
            table_dense=None
            if first.table_dense is None
            else join([piece.table_dense for piece in pieces if piece.table_dense is not None]),
        )

    def _prepare(self, encoded: Tensor) -> Block:
        embeddings: dict[str, Tensor] = {}
        maps: list[Tensor] = []
        image_dense: Tensor | None = None
        table_dense: Tensor | None = None
        for path in self.paths:
            if path == "image" and self._segments:
                embeddings[path], maps, image_dense = self._walk_image(encoded)
            elif path == "tabular" and self._table is not None:
                table_dense = self._table.enter(encoded)
                embeddings[path] = self._table.leave(table_dense)
            else:
                embeddings[path] = self.module.embed(path, encoded)
        shares = {path: self._share(path, value) for path, value in embeddings.items()} if self._split_head else {}
        outputs = self._finish(shares) if self._split_head else self.module.fuse(embeddings)
        return Block(encoded, embeddings, maps, shares, outputs, image_dense, table_dense)

    def _walk_image(self, encoded: Tensor) -> tuple[Tensor, list[Tensor], Tensor | None]:
        values: Tensor = self.module.renderer(encoded)  # type: ignore[misc]
        values = values[:, : self._channels()].contiguous(memory_format=torch.channels_last)
        maps: list[Tensor] = []
        for number, segment in enumerate(self._segments):
            maps.append(values)
            values = _convolve(segment.convolution, values, self._weight(number), segment.convolution.padding)
            for layer in segment.tail:
                values = layer(values)
        if not self._dense:
            return values.flatten(1), maps, None
        maps.append(values)
        values = values.flatten(1)
        before = self._dense[0](values)
        values = before
        for layer in self._dense[1:]:
            values = layer(values)
        return values, maps, before

    def _weight(self, segment: int) -> Tensor:
        if segment == 0 and self._first_weight is not None:
            return self._first_weight
        return self._segments[segment].convolution.weight

    def _channels(self) -> int:
        weight = self._weight(0)
        return int(weight.shape[1]) * self._segments[0].convolution.groups

    def _share(self, path: str, embedding: Tensor) -> Tensor:
        first = self.module.head[0]
        if isinstance(first, MemberLinear):
            return first.share(path, embedding)
        return functional.linear(embedding, self._head_columns(path))

    def _head_columns(self, path: str) -> Tensor:
        if isinstance(self.module.head[0], MemberLinear):
            return self.module.head[0].columns(path)
        start = 0
        for own in self.paths:
            if own == path:
                break
            start += self.module.widths[own]
        weight: Tensor = self.module.head[0].weight  # type: ignore[assignment]
        return weight[:, start : start + self.module.widths[path]]

    def _finish(self, shares: dict[str, Tensor]) -> Tensor:
        parts = [shares[path] for path in self.paths]
        first = self.module.head[0]
        if isinstance(first, MemberLinear):
            values = first.join(parts)
        else:
            values = parts[0] if len(parts) == 1 else parts[0] + parts[1]
            if first.bias is not None:
                values = values + first.bias  # type: ignore[operator]
        for layer in list(self.module.head)[1:]:
            values = layer(values)
        return values

    def replace(
        self,
        block: Block,
        start: int,
        stop: int,
        columns: Sequence[int] | npt.NDArray[np.intp],
        values: Tensor,
        coalitions: Sequence[Coalition],
    ) -> dict[Coalition, Tensor]:
        """Predict rows ``start … stop − 1`` of the block with ``columns`` replaced by ``values``, once per coalition.

        Args:
            block: from ``prepare``.
            start: first row within the block.
            stop: one past the last row.
            columns: encoded columns replaced.
            values: new values ``(stop − start, len(columns))``.
            coalitions: sets of paths in which the replacement is made.

        Returns:
            For each coalition the outputs ``(stop − start, outputs)``.
        """
        index = [int(column) for column in columns]
        if not index:
            return dict.fromkeys(coalitions, block.outputs[start:stop])
        touched = frozenset().union(*coalitions)
        edited = block.encoded[start:stop].clone()
        edited[:, index] = values
        if not self._split_head:
            new = {path: self.module.embed(path, edited) for path in touched}
            old = {path: block.embeddings[path][start:stop] for path in self.paths}
            return {
                coalition: self.module.fuse({path: (new if path in coalition else old)[path] for path in self.paths})
                for coalition in coalitions
            }
        shares = {path: self._replaced_share(path, block, start, stop, index, edited) for path in touched}
        kept = {path: block.shares[path][start:stop] for path in self.paths}
        return {
            coalition: self._finish({path: (shares if path in coalition else kept)[path] for path in self.paths})
            for coalition in coalitions
        }

    def _replaced_share(
        self, path: str, block: Block, start: int, stop: int, columns: list[int], edited: Tensor
    ) -> Tensor:
        if path == "tabular" and self._table is not None and block.table_dense is not None:
            old, new = block.encoded[start:stop][:, columns], edited[:, columns]
            moved = self._table.moved(block.table_dense[start:stop], columns, old, new)
            if moved is not None:
                return self._share(path, self._table.leave(moved))
        plan = self._plan(columns) if path == "image" else None
        if plan is None:
            return self._share(path, self.module.embed(path, edited))
        if plan.read is None:
            return block.shares["image"][start:stop]
        box = plan.box
        patch: Tensor = self.module.renderer.render_region(edited, box)  # type: ignore[operator, union-attr]
        patch = patch[:, : self._channels()]
        for number, (segment, step) in enumerate(zip(self._segments, plan.steps, strict=True)):
            window = _pasted(segment, step, block.maps[number][start:stop], patch, box)
            patch = _convolve(segment.convolution, window, self._weight(number), (0, 0))
            for layer in segment.tail:
                patch = layer(patch)
            box = step.result
        return self._dense_after(block, start, stop, patch, box, plan.read)

    def _dense_after(self, block: Block, start: int, stop: int, patch: Tensor, box: Box, read: Tensor) -> Tensor:
        """Carry a changed box of the last map into the first dense layer that reads it."""
        base = self._last_map(block)[start:stop]
        difference = (patch - base[:, :, box[0] : box[1], box[2] : box[3]]).reshape(stop - start, -1)
        change = functional.linear(difference, read)
        if not self._dense:
            return block.shares["image"][start:stop] + change
        values = block.image_dense[start:stop] + change  # type: ignore[index]
        for layer in self._dense[1:]:
            values = layer(values)
        return self._share("image", values)

    def _last_map(self, block: Block) -> Tensor:
        """Return the cached last map ``(rows, channels, height, width)``, before it is flattened."""
        if self._dense:
            return block.maps[-1]
        last = self._segments[-1]
        return block.embeddings["image"].reshape(-1, last.convolution.out_channels, *last.out_size)

    def exchange(self, block: Block, rows: Tensor, donors: Tensor, donor_block: Block, coalition: Coalition) -> Tensor:
        """Predict receivers ``rows`` with the whole embedding of the coalition's paths taken from donor rows.

        Shape:
            rows, donors ``(pairs,)`` int64; result ``(pairs, outputs)``.
        """
        source = {path: (donor_block, donors) if path in coalition else (block, rows) for path in self.paths}
        if self._split_head:
            return self._finish({path: held.shares[path][index] for path, (held, index) in source.items()})
        return self.module.fuse({path: held.embeddings[path][index] for path, (held, index) in source.items()})

    def bytes_per_row(self) -> int:
        """Estimate how many bytes ``prepare`` keeps for each row."""
        numbers = 2 * sum(self.module.widths.values()) + self.module.encoded
        numbers += 0 if self._table is None else self._table.numbers
        for segment in self._segments:
            numbers += segment.convolution.in_channels * math.prod(segment.in_size)
        if self._segments and self._dense:
            numbers += self._segments[-1].convolution.out_channels * math.prod(self._segments[-1].out_size)
        return 4 * numbers


# ---- boxes ---------------------------------------------------------------------------------------------------------


def _pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _plain_pool(layer: Any) -> bool:
    return (
        not layer.ceil_mode
        and _pair(layer.padding) == (0, 0)
        and _pair(getattr(layer, "dilation", 1)) == (1, 1)
        and not getattr(layer, "return_indices", False)
    )


def _convolved_size(size: tuple[int, int], layer: nn.Conv2d) -> tuple[int, int]:
    out = []
    for axis in (0, 1):
        reach = _pair(layer.dilation)[axis] * (_pair(layer.kernel_size)[axis] - 1)
        out.append((size[axis] + 2 * _pair(layer.padding)[axis] - reach - 1) // _pair(layer.stride)[axis] + 1)
    return out[0], out[1]


def _pooled_size(size: tuple[int, int], layer: Any) -> tuple[int, int]:
    kernel, stride = _pair(layer.kernel_size), _pair(layer.stride)
    return (size[0] - kernel[0]) // stride[0] + 1, (size[1] - kernel[1]) // stride[1] + 1


def _affected(low: int, high: int, kernel: int, stride: int, padding: int, dilation: int, size: int) -> tuple[int, int]:
    """Return the half-open range of outputs of a sliding window that read any input in ``low … high − 1``."""
    reach = dilation * (kernel - 1)
    first = max(0, math.ceil((low + padding - reach) / stride))
    last = min(size, (high - 1 + padding) // stride + 1)
    return first, max(first, last)


def _through(segment: _Segment, low: int, high: int, *, axis: int) -> tuple[int, int, int, int]:
    """Follow a changed range through a segment along one axis.

    Returns (window start, window end) of the input to read, and (result start, result end) of the output that changes.
    """
    convolution = segment.convolution
    kernel, stride = _pair(convolution.kernel_size)[axis], _pair(convolution.stride)[axis]
    padding, dilation = _pair(convolution.padding)[axis], _pair(convolution.dilation)[axis]
    size = _convolved_size(segment.in_size, convolution)[axis]
    changed = _affected(low, high, kernel, stride, padding, dilation, size)
    pools = [layer for layer in segment.tail if isinstance(layer, (nn.MaxPool2d, nn.AvgPool2d))]
    for pool in pools:
        own, step = _pair(pool.kernel_size)[axis], _pair(pool.stride)[axis]
        size = (size - own) // step + 1
        changed = _affected(*changed, own, step, 0, 1, size)
    result = changed
    # Back from the result to the convolution outputs that the pooling windows need, whole.
    needed = result
    for pool in reversed(pools):
        own, step = _pair(pool.kernel_size)[axis], _pair(pool.stride)[axis]
        needed = (needed[0] * step, (needed[1] - 1) * step + own) if needed[1] > needed[0] else (0, 0)
    if needed[1] <= needed[0]:
        return 0, 0, result[0], result[0]
    window = needed[0] * stride - padding, (needed[1] - 1) * stride - padding + dilation * (kernel - 1) + 1
    return window[0], window[1], result[0], result[1]


def _convolve(convolution: nn.Conv2d, values: Tensor, weight: Tensor, padding: Any) -> Tensor:
    return functional.conv2d(
        values, weight, convolution.bias, convolution.stride, padding, convolution.dilation, convolution.groups
    )


def _pasted(segment: _Segment, step: _Step, base: Tensor, patch: Tensor, box: Box) -> Tensor:
    """Return a segment's input in the step's window: ``base``, padding beyond its edge, and ``patch`` at ``box``."""
    top, bottom, left, right = step.window
    height, width = segment.in_size
    rows, cols = (max(top, 0), min(bottom, height)), (max(left, 0), min(right, width))
    window = torch.empty(
        (base.shape[0], base.shape[1], bottom - top, right - left),
        dtype=base.dtype,
        device=base.device,
        memory_format=torch.channels_last,
    )
    if (rows[0], rows[1], cols[0], cols[1]) != step.window:
        window.zero_()
    window[:, :, rows[0] - top : rows[1] - top, cols[0] - left : cols[1] - left] = base[
        :, :, rows[0] : rows[1], cols[0] : cols[1]
    ]
    # The patch may reach beyond the window where pooling drops an odd last row or column.
    low_row, high_row = max(box[0], top), min(box[1], bottom)
    low_col, high_col = max(box[2], left), min(box[3], right)
    if high_row > low_row and high_col > low_col:
        window[:, :, low_row - top : high_row - top, low_col - left : high_col - left] = patch[
            :, :, low_row - box[0] : high_row - box[0], low_col - box[2] : high_col - box[2]
        ]
    return window
