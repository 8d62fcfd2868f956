"""Predictions after a replacement, recomputing only what the replacement touches.

The few pixels of a feature reach a box of each map (the receptive field, read the other way round). A convolution is
linear: the change of its box is a small product with the change that it reads. All else comes from the row's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from permgrad.base.threads import together
from permgrad.models.fast.folding import flat_near
from permgrad.models.fast.image_chain import Box, BoxMatrix, ImageChain, Segment, Step, area
from permgrad.models.fast.inference import FoldedNetwork
from permgrad.models.network.network import HybridNetwork

Coalition = frozenset[str]
Kept = TypeVar("Kept")

#: Where the boxes hold more than this share of the arithmetic, the image is computed whole.
_MOST = 0.8
#: A convolution of a box becomes one product where the box holds at most so many times the kernel, and the matrix at
#: most so many numbers.
_PRODUCT_KERNELS, _PRODUCT_NUMBERS = 2, 2**21
#: Matrices and plans kept; both are made again in no time.
_KEPT = 64


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put every submodule into eval mode for the body, and back into its own mode afterwards, also after an error."""
    parts = list(module.modules())
    with together({("mode", id(part)): (part, "training") for part in parts}):
        # Also where others have done so: a module may have an eval of its own.
        _evaluate(module)
        yield


def _evaluate(module: nn.Module) -> None:
    """Put a module into eval mode; what ``torch.export`` made has one mode only, the one it was exported in."""
    try:
        module.eval()
    except NotImplementedError:
        module.training = False
        for part in module.children():
            _evaluate(part)


@dataclass(frozen=True)
class _Plan:
    """The boxes a player's replacement goes through, and the weights that read the last of them."""

    steps: tuple[Step, ...]
    #: ``(units, height × width × channels)`` of the last box; None where nothing of it survives the pooling
    read: Tensor | None


@dataclass
class Block:
    """The cache for a block of receivers."""

    encoded: Tensor
    outputs: Tensor
    #: of each path; empty where the head is read in parts, which needs ``shares`` alone
    embeddings: dict[str, Tensor] = field(default_factory=dict)
    #: each path's share of the head's first layer, before its bias
    shares: dict[str, Tensor] = field(default_factory=dict)
    #: input of every segment of the image branch, and its last map behind them; empty where it is computed whole
    maps: list[Tensor] = field(default_factory=list)
    #: the convolutions of all segments but the first
    convolved: list[Tensor] = field(default_factory=list)
    #: the image branch's first dense layer, before its activation, where it has one
    image_dense: Tensor | None = None
    #: the table branch's first dense layer, before its activation, where that is how replacements enter
    table_dense: Tensor | None = None


def _joined(parts: list[Any]) -> Any:
    """Return parts of blocks, in lists or dictionaries as they are, one behind the other; the parts are emptied."""
    if isinstance(parts[0], dict):
        return {name: _joined([part.pop(name) for part in parts]) for name in list(parts[0])}
    if isinstance(parts[0], list):
        return [_joined([part.pop(0) for part in parts]) for _ in list(parts[0])]
    return None if parts[0] is None else torch.cat(parts)


class ReplacementEngine:
    """Replaces encoded columns of rows in any set of paths and predicts; not ``incremental``: by the network itself."""

    def __init__(self, module: HybridNetwork, *, incremental: bool = True) -> None:
        self.module = module
        self.paths = module.paths
        folded = FoldedNetwork(module) if incremental else None
        self._head = None if folded is None else folded.head
        # Without the head's first layer in parts there is nothing to carry a change into.
        self._whole: FoldedNetwork | HybridNetwork = module if folded is None else folded
        self._chain: ImageChain | None = None if folded is None or self._head is None else folded.image
        self._table = None if folded is None or self._head is None else folded.table
        self._plans: dict[tuple[int, ...], _Plan | None] = {}
        self._products: dict[tuple[object, ...], Tensor] = {}
        self._entries: dict[Box, BoxMatrix] = {}

    # ---- what a player's replacement goes through ----------------------------------------------------------------

    def _plan(self, columns: Sequence[int]) -> _Plan | None:
        """Return the boxes a replacement of these columns goes through, or None where dense is cheaper or needed."""
        chain, key = self._chain, tuple(int(column) for column in columns)
        return None if chain is None or not key else _remembered(self._plans, key, lambda: self._make_plan(chain, key))

    def _make_plan(self, chain: ImageChain, columns: tuple[int, ...]) -> _Plan | None:
        box: Box = chain.renderer.region_of(columns)
        if area(box) == 0:
            return _Plan((), None)  # drawn over by another column: no pixel shows it
        steps = tuple(chain.steps(box))
        cost = full = 0.0
        for segment, step in zip(chain.segments, steps, strict=False):
            weights = segment.convolution.weight.numel()
            cost += weights * area(step.needed if segment is chain.segments[0] else step.moved)
            full += weights * segment.slide.size[0] * segment.slide.size[1]
        if cost >= _MOST * full:
            return None
        if steps[-1].empty:
            return _Plan(steps, None)  # pooling drops the only pixels that change
        last, (top, bottom, left, right) = chain.segments[-1], steps[-1].result
        assert self._head is not None
        weight = self._head.columns["image"] if chain.first is None else chain.first.weight.detach()
        read = weight.reshape(-1, last.channels, *last.out_size)[:, :, top:bottom, left:right]
        return _Plan(steps, flat_near(read).contiguous())

    def _product(self, number: int, segment: Segment, shape: Sequence[int], place: Box, read: Box) -> Tensor | None:
        """Return a convolution of a small box as a matrix, or None where the box is too large for one."""
        size = read[1] - read[0], read[3] - read[2]
        channels, high, wide = shape
        kernel = segment.weight.shape[2] * segment.weight.shape[3]
        slid = segment.slide.outputs(size)
        numbers = channels * high * wide
        one_channel = segment.in_channels == 1  # torch convolves one channel at a fraction of a product's speed
        most = _PRODUCT_KERNELS * kernel * (4 if one_channel else 1)
        if high * wide > most or numbers * slid[0] * slid[1] * segment.channels > _PRODUCT_NUMBERS:
            return None
        offset = (place[0] - read[0], place[2] - read[2])

        def make() -> Tensor:
            units = torch.eye(numbers, dtype=segment.weight.dtype, device=segment.weight.device)
            units = units.view(numbers, high, wide, channels).permute(0, 3, 1, 2)
            maps = segment.convolve(_framed(units, size, offset), 0, bias=False)
            return maps.permute(2, 3, 1, 0).flatten(0, 2).contiguous()

        return _remembered(self._products, (number, channels, high, wide, size, offset), make)

    # ---- computing ---------------------------------------------------------------------------------------------------

    def prepare(self, encoded: Tensor, *, batch_size: int = 256, light: bool = False) -> Block:
        """Compute and keep what replacements in these rows need; ``light``: outputs and what ``exchange`` needs."""
        # However large the batches asked for are: torch counts in 64 bits.
        blocks = [self._prepare(part, light) for part in encoded.split(min(batch_size, max(len(encoded), 1)))]
        if len(blocks) == 1:
            return blocks[0]
        names = [part.name for part in fields(Block) if part.name != "encoded"]
        return Block(encoded, **{name: _joined([getattr(block, name) for block in blocks]) for name in names})

    def _prepare(self, encoded: Tensor, light: bool) -> Block:
        block = Block(encoded, encoded[:, :0])
        embeddings: dict[str, Tensor] = {}
        for path in self.paths:
            if path == "image" and self._chain is not None and not light:
                block.maps, block.convolved = self._chain.walk(encoded)
                entered = self._chain.enter(block.maps[-1])
                block.image_dense = None if self._chain.first is None else entered
                embeddings[path] = self._chain.leave(entered)
            elif path == "tabular" and self._table is not None and not light:
                block.table_dense = self._table.enter(encoded)
                embeddings[path] = self._table.leave(block.table_dense)
            else:
                embeddings[path] = self._whole.embed(path, encoded)
        if self._head is None:
            block.embeddings, block.outputs = embeddings, self._whole.fuse(embeddings)
        else:
            block.shares = {path: self._head.share(path, value) for path, value in embeddings.items()}
            block.outputs = self._head.finish([block.shares[path] for path in self.paths])
        return block

    def replace(
        self,
        block: Block,
        start: int,
        stop: int,
        columns: Sequence[int] | npt.NDArray[np.intp],
        values: Tensor,
        coalitions: Sequence[Coalition],
        rows: Tensor | None = None,
    ) -> dict[Coalition, Tensor]:
        """Predict rows ``start … stop − 1`` with ``columns`` replaced by ``values (pairs, columns)``, per coalition.

        ``rows (pairs,)``: the row that each line of ``values`` is for, counted from ``start``; None: each row has one.
        """
        part = _Part(block, slice(start, stop), rows)
        index = [int(column) for column in columns]
        if not index:
            return dict.fromkeys(coalitions, part.of(block.outputs))
        touched = frozenset().union(*coalitions)
        if self._head is None:
            edited = _edited(part, index, values)
            new = {path: self._whole.embed(path, edited) for path in touched}
            old = {path: part.of(block.embeddings[path]) for path in self.paths}
            return {
                coalition: self._whole.fuse({path: (new if path in coalition else old)[path] for path in self.paths})
                for coalition in coalitions
            }
        shares = {path: self._replaced_share(path, part, index, values) for path in touched}
        unchanged = {path: part.of(block.shares[path]) for path in self.paths}
        # All coalitions go through the rest of the head together.
        joined = [
            torch.cat([(shares if path in coalition else unchanged)[path] for coalition in coalitions])
            for path in self.paths
        ]
        outputs = self._head.finish(joined)
        return dict(zip(coalitions, outputs.split(len(values)), strict=True))

    def _replaced_share(self, path: str, part: _Part, columns: list[int], values: Tensor) -> Tensor:
        assert self._head is not None
        block = part.block
        if path == "tabular" and self._table is not None and block.table_dense is not None:
            old = part.of(block.encoded[:, columns])
            moved = self._table.moved(part.of(block.table_dense), columns, old, values)
            if moved is not None:
                return self._head.share(path, self._table.leave(moved))
        plan = self._plan(columns) if path == "image" and block.maps else None
        if plan is None:
            return self._head.share(path, self._whole.embed(path, _edited(part, columns, values)))
        if plan.read is None:
            return part.of(block.shares["image"])
        chain = self._chain
        assert chain is not None
        change = self._redrawn(part, chain, plan.steps[0], columns, values)
        for number, (segment, step) in enumerate(zip(chain.segments[1:], plan.steps[1:], strict=True), start=1):
            convolved = part.box(block.convolved[number - 1], step.needed)
            change = self._convolved_change(number, segment, step, change)
            if views := _shared_views(convolved, step.needed, change, step.moved):
                views[0].add_(views[1])
            change = segment.tail(convolved) - part.box(block.maps[number + 1], step.result)
        moved = functional.linear(flat_near(change), plan.read)
        if chain.first is None:
            return moved.add_(part.of(block.shares["image"]))
        assert block.image_dense is not None
        return self._head.share("image", chain.leave(moved.add_(part.of(block.image_dense))))

    def _redrawn(self, part: _Part, chain: ImageChain, step: Step, columns: list[int], values: Tensor) -> Tensor:
        """Return the change of the first segment's result in its box: its window is drawn and convolved anew."""
        segment, block = chain.segments[0], part.block
        if chain.picture is not None:
            picture = chain.picture
            entry = _remembered(self._entries, step.needed, lambda: picture.entry(step.needed, step.window))
            convolved = picture.convolved(_seen(part, entry.columns, columns, values), entry)
            return segment.tail(convolved) - part.box(block.maps[1], step.result)
        patch = _drawn(chain, part, step.box, columns, values)
        window = part.box(block.maps[0], step.window, padded=segment.in_size)
        # The patch may reach beyond the window where pooling drops an odd last row or column.
        if views := _shared_views(window, step.window, patch, step.box):
            views[0].copy_(views[1])
        shape = (segment.in_channels, *window.shape[2:])
        product = self._product(0, segment, shape, step.window, step.window)
        if product is None:
            convolved = segment.convolve(window, 0)
        else:
            size = step.needed[1] - step.needed[0], step.needed[3] - step.needed[2]
            bias = None if segment.bias is None else segment.bias.repeat(size[0] * size[1])
            convolved = _maps(functional.linear(flat_near(window), product, bias), size)
        return segment.tail(convolved) - part.box(block.maps[1], step.result)

    def _convolved_change(self, number: int, segment: Segment, step: Step, change: Tensor) -> Tensor:
        """Return by how much the convolution moves in ``step.moved`` where its input moves in ``step.box``."""
        read = segment.slide.read(step.moved)
        product = self._product(number, segment, change.shape[1:], step.box, read)
        if product is None:
            size, offset = (read[1] - read[0], read[3] - read[2]), (step.box[0] - read[0], step.box[2] - read[2])
            return segment.convolve(_framed(change, size, offset), 0, bias=False)
        size = step.moved[1] - step.moved[0], step.moved[3] - step.moved[2]
        return _maps(functional.linear(flat_near(change), product), size)

    def exchange(self, block: Block, rows: Tensor, donors: Tensor, donor_block: Block, coalition: Coalition) -> Tensor:
        """Predict receivers ``rows (pairs,)`` with the whole embedding of the coalition's paths from donor rows."""
        source = {path: (donor_block, donors) if path in coalition else (block, rows) for path in self.paths}
        if self._head is not None:
            return self._head.finish([part.shares[path][index] for path, (part, index) in source.items()])
        return self._whole.fuse({path: part.embeddings[path][index] for path, (part, index) in source.items()})

    def bytes_per_row(self, *, light: bool = False) -> int:
        """Estimate how many bytes ``prepare`` keeps for each row."""
        numbers = sum(self.module.widths.values()) + self.module.encoded
        if self._head is not None:
            numbers = self.module.encoded + len(self.paths) * self._head.units
        if not light:
            numbers += sum(part.numbers for part in (self._table, self._chain) if part is not None)
        return 4 * numbers


def _remembered(cache: dict[Any, Kept], key: Any, make: Callable[[], Kept]) -> Kept:
    """Return what is made for a key, once; the oldest of many goes."""
    if key not in cache:
        cache[key] = make()
        if len(cache) > _KEPT:
            del cache[next(iter(cache))]
    return cache[key]


# ---- rows and boxes --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """Rows of a block, each once or as often as it is replaced."""

    block: Block
    span: slice
    rows: Tensor | None

    def of(self, tensor: Tensor) -> Tensor:
        """Return the rows of a cached tensor."""
        rows = tensor[self.span]
        return rows if self.rows is None else rows.index_select(0, self.rows)

    def box(self, maps: Tensor, box: Box, *, padded: tuple[int, int] | None = None) -> Tensor:
        """Return a copy of a box of cached maps, channels last; with ``padded``, their size, it may lie beyond them."""
        top, bottom, left, right = box
        maps = maps[self.span]
        if padded is not None and (top < 0 or left < 0 or bottom > padded[0] or right > padded[1]):
            inner = maps[:, :, max(top, 0) : min(bottom, padded[0]), max(left, 0) : min(right, padded[1])]
            maps = _framed(inner, (bottom - top, right - left), (max(-top, 0), max(-left, 0)))
        else:
            maps = maps[:, :, top:bottom, left:right]
        near = maps.permute(0, 2, 3, 1).contiguous()
        if self.rows is not None:
            # Boxes are copied out once and rows then taken whole: several times faster than taking both at once.
            near = near.index_select(0, self.rows)
        elif near.data_ptr() == maps.data_ptr():
            near = near.clone()
        return near.permute(0, 3, 1, 2)


def _edited(part: _Part, columns: list[int], values: Tensor) -> Tensor:
    """Return whole encoded rows with columns replaced."""
    edited = part.of(part.block.encoded)
    edited = edited.clone() if part.rows is None else edited
    edited[:, columns] = values
    return edited


def _seen(part: _Part, near: list[int], columns: list[int], values: Tensor) -> Tensor:
    """Return the encoded columns ``near`` with those of ``columns`` among them replaced."""
    seen = part.of(part.block.encoded[:, near])
    place = {column: at for at, column in enumerate(near)}
    replaced = [k for k, column in enumerate(columns) if column in place]
    if replaced:
        seen[:, [place[columns[k]] for k in replaced]] = values[:, replaced]
    return seen


def _drawn(chain: ImageChain, part: _Part, box: Box, columns: list[int], values: Tensor) -> Tensor:
    """Return the pixels of a box with columns replaced, as the first segment reads them."""
    renderer = chain.renderer
    if hasattr(renderer, "draw_region"):
        patch: Tensor = renderer.draw_region(_seen(part, renderer.columns_near(box), columns, values), box)
    else:
        patch = renderer.render_region(_edited(part, columns, values), box)
    return patch[:, : chain.segments[0].in_channels]


def _framed(values: Tensor, size: tuple[int, int], offset: tuple[int, int]) -> Tensor:
    """Return zeros with ``values`` at ``offset``, cut where they reach over; channels last."""
    rows, channels, high, wide = values.shape
    frame = torch.zeros(rows, *size, channels, dtype=values.dtype, device=values.device).permute(0, 3, 1, 2)
    inside = (offset[0], offset[0] + high, offset[1], offset[1] + wide)
    if views := _shared_views(frame, (0, size[0], 0, size[1]), values, inside):
        views[0].copy_(views[1])
    return frame


def _maps(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Return rows ``(rows, height × width × channels)`` as maps ``(rows, channels, height, width)``."""
    return values.view(len(values), *size, -1).permute(0, 3, 1, 2)


def _shared_views(maps: Tensor, covered: Box, second_maps: Tensor, second_covered: Box) -> tuple[Tensor, Tensor] | None:
    """Return the views of two maps where the boxes that they cover meet; None if they do not."""
    boxes = (covered, second_covered)
    top, left = (max(box[edge] for box in boxes) for edge in (0, 2))
    bottom, right = (min(box[edge] for box in boxes) for edge in (1, 3))
    if not area((top, bottom, left, right)):
        return None
    first, second = (
        each[:, :, top - box[0] : bottom - box[0], left - box[2] : right - box[2]]
        for each, box in zip((maps, second_maps), boxes, strict=True)
    )
    return first, second
