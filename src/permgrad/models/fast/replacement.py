"""Predictions after a replacement, recomputing only what the replacement touches.

The few pixels of a feature reach a box of each map (the receptive field, read the other
way round). A convolution is linear: the change of its box is a small product with the
change that it reads. All else comes from the row's cache. Maps are ``(rows, height,
width, channels)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_flatten

from permgrad.base.arrays import Indexes
from permgrad.base.sequences import positions_of, values_at
from permgrad.models.branches.head_branches import IMAGE, TABLE
from permgrad.models.fast.folded_branches import Beside, Edit, summed
from permgrad.models.fast.image_chain import (
    Box,
    BoxMatrix,
    ImageChain,
    Segment,
    Step,
    area,
)
from permgrad.models.fast.inference import FoldedNetwork, HeadEntry, TableEntry
from permgrad.models.fast.kernels import FoldedKernels
from permgrad.models.network.network import HybridNetwork

Coalition = frozenset[str]

#: Where the boxes hold more than this share of the arithmetic, the image is computed
#: whole.
_MOST = 0.8
#: A convolution of a box becomes one product where the box holds at most so many times
#: the kernel, and the matrix at most so many numbers.
_PRODUCT_KERNELS = 2
_PRODUCT_NUMBERS = 2**21
#: Matrices and plans kept. Both are made again in no time.
_KEPT_PRODUCTS = 64
_KEPT_PLANS = 256


@dataclass(frozen=True)
class _Plan:
    """The boxes a player's replacement goes through, and the matrices that lead from
    one to the next.

    A convolution without one is computed as it is. Nothing of the change is left where
    ``read`` is None.
    """

    steps: Sequence[Step] = ()
    #: from the encoded columns, or from the window of the picture, to the first box
    entry: BoxMatrix | Tensor | None = None
    #: of the other segments
    products: Sequence[Tensor | None] = ()
    #: the weights ``(units, height × width × channels)`` that read the last box
    read: Tensor | None = None


@dataclass
class Block:
    """The cache for a block of receivers."""

    encoded: Tensor
    outputs: Tensor
    #: each path's share of the head's first layer, before its bias. Of a path beside
    #: the head, what is kept of it
    shares: dict[str, Tensor] = field(default_factory=dict)
    #: what the head says by itself, where others stand beside it
    head: Tensor | None = None
    #: input of every segment of the image branch, and its last map behind them. Empty
    #: where it is computed whole
    maps: list[Tensor] = field(default_factory=list)
    #: the convolutions of all segments but the first
    convolved: list[Tensor] = field(default_factory=list)
    #: the image branch's first dense layer, before its activation, where it has one
    image_dense: Tensor | None = None
    #: the table branch's first dense layer, before its activation, where that is how
    #: replacements enter
    table_dense: Tensor | None = None


def _joined(block_parts: list[Any]) -> Any:
    """Concatenate parts of blocks, in lists or dictionaries. The parts are emptied."""
    if isinstance(block_parts[0], dict):
        return {
            part_name: _joined(
                [named_part.pop(part_name) for named_part in block_parts]
            )
            for part_name in list(block_parts[0])
        }
    if isinstance(block_parts[0], list):
        return [
            _joined([listed_part.pop(0) for listed_part in block_parts])
            for _ in list(block_parts[0])
        ]
    if block_parts[0] is None:
        return None
    return torch.cat(block_parts)


@dataclass(frozen=True)
class _WholeHead:
    """A head that is not read in parts: a path's share is its embedding."""

    network: FoldedNetwork | HybridNetwork

    def share(self, path: str, embedding: Tensor) -> Tensor:  # noqa: ARG002 — as of a head in parts
        return embedding

    def finish(self, *coalitions: Sequence[Tensor]) -> Tensor:
        joined = map(torch.cat, zip(*coalitions, strict=True))
        return self.network.fuse(dict(zip(self.network.paths, joined, strict=True)))


class ReplacementEngine:
    """Replaces encoded columns of rows in any set of paths and predicts.

    Not ``incremental``: by the network itself.
    """

    def __init__(self, module: HybridNetwork, *, incremental: bool = True) -> None:
        self.module = module
        self.paths = module.paths
        if incremental:
            folded = FoldedNetwork(module)
        else:
            folded = None
        self._whole: FoldedNetwork | HybridNetwork = (
            module if folded is None else folded
        )
        self._head: HeadEntry | _WholeHead = _WholeHead(self._whole)
        self._chain: ImageChain | None = None
        self._table: TableEntry | None = None
        self._kernels: FoldedKernels | None = None
        #: paths that the head joins, and those beside it. A head that is not read in
        #: parts joins all of them
        self._joined: tuple[str, ...] = module.paths
        self._beside: dict[str, Beside] = {}
        # Without the head's first layer in parts there is nothing to carry a change
        # into.
        if folded is not None and folded.head is not None:
            self._head = folded.head
            self._chain = folded.image
            self._table = folded.table
            self._kernels = folded.kernels
            self._joined = module.head_paths
            self._beside = folded.beside
        self._plans: dict[tuple[int, ...], _Plan | None] = {}
        self._products: dict[tuple[object, ...], Tensor] = {}

    # ---- what a player's replacement goes through ------------------------------------
    def _plan(self, columns: Sequence[int]) -> _Plan | None:
        """Return the boxes a replacement of these columns goes through, or None where
        dense is cheaper or needed.
        """
        chain = self._chain
        column_key = tuple(columns)
        if chain is None:
            return None
        if column_key in self._plans:
            return self._plans[column_key]
        replacement_plan: _Plan | None = (
            _Plan()
            # another column is drawn over it, or pooling drops the only pixels that
            # change
        )
        changed_box = chain.renderer.region_of(column_key)
        segments = chain.segments
        if area(changed_box):
            steps = chain.steps(changed_box)
        else:
            steps = []
        sparse_cost = dense_cost = 0.0
        for segment, segment_step in zip(segments, steps, strict=False):
            weights = segment.convolution.weight.numel()
            sparse_cost += weights * area(
                segment_step.needed if segment is segments[0] else segment_step.moved
            )
            dense_cost += weights * segment.slide.size[0] * segment.slide.size[1]
        if steps and sparse_cost >= _MOST * dense_cost:
            replacement_plan = None
        elif steps and area(steps[-1].result):
            replacement_plan = self._plan_of(chain, steps)
        if len(self._plans) >= _KEPT_PLANS:
            del self._plans[next(iter(self._plans))]
        self._plans[column_key] = replacement_plan
        return replacement_plan

    def _plan_of(self, chain: ImageChain, steps: list[Any]) -> _Plan:
        """Return the boxes of all steps, with what is multiplied in them."""
        segments = chain.segments
        assert isinstance(self._head, HeadEntry)
        first = steps[0]
        last = segments[-1]
        top, bottom, left, right = steps[-1].result
        if chain.first_near is None:
            weight = self._head.columns[IMAGE.name]
        else:
            weight = chain.first_near
        read = weight.unflatten(1, (*last.out_size, last.channels))[
            :, top:bottom, left:right
        ].flatten(1)
        entry: BoxMatrix | Tensor | None
        if chain.placed is not None:
            entry = chain.matrix(first.needed, first.window)
        else:
            entry = self._product(
                0, segments[0], first.window, first.window, first.needed
            )
        later = enumerate(zip(segments[1:], steps[1:], strict=True), start=1)
        products = []
        for k, (segment, later_step) in later:
            products.append(
                self._product(
                    k, segment, later_step.box, later_step.source, later_step.moved
                )
            )
        return _Plan(steps, entry, products, read.contiguous())

    def _product(
        self, number: int, segment: Segment, box: Box, read: Box, out: Box
    ) -> Tensor | None:
        """Return the convolution ``out`` of a small box as a matrix, or None where the
        box is too large for one.
        """
        box_height = box[1] - box[0]
        box_width = box[3] - box[2]
        numbers = segment.in_channels * box_height * box_width
        kernel = segment.weight.shape[2] * segment.weight.shape[3]
        one_channel = (
            segment.in_channels == 1
        )  # torch convolves one channel at a fraction of a product's speed
        most_pixels = _PRODUCT_KERNELS * kernel * (4 if one_channel else 1)
        if (
            box_height * box_width > most_pixels
            or numbers * area(out) * segment.channels > _PRODUCT_NUMBERS
        ):
            return None
        product_key = (
            number,
            box_height,
            box_width,
            box[0] - read[0],
            box[2] - read[2],
            read[1] - read[0],
            read[3] - read[2],
        )
        if product_key not in self._products:
            units = torch.eye(
                numbers, dtype=segment.weight.dtype, device=segment.weight.device
            )
            framed = _framed(units.view(numbers, box_height, box_width, -1), box, read)
            self._products[product_key] = (
                segment.convolve(framed, 0, bias=False).flatten(1).T.contiguous()
            )
            if len(self._products) > _KEPT_PRODUCTS:
                del self._products[next(iter(self._products))]
        return self._products[product_key]

    # ---- computing -------------------------------------------------------------------
    def prepare(
        self, encoded: Tensor, *, batch_size: int = 256, light: bool = False
    ) -> Block:
        """Compute and keep what replacements in these rows need.

        ``light``: outputs and what ``exchange`` needs.
        """
        blocks: list[Block] = []
        # However large the batches asked for are: torch counts in 64 bits.
        for row_batch in encoded.split(min(batch_size, max(len(encoded), 1))):
            block = Block(row_batch, row_batch[:, :0])
            for joined_path in self._joined:
                if joined_path == IMAGE.name and self._chain is not None and not light:
                    entered = self._chain.enter(row_batch, block.maps, block.convolved)
                    if self._chain.first is None:
                        block.image_dense = None
                    else:
                        block.image_dense = entered
                    assert isinstance(self._whole, FoldedNetwork)
                    embedding = self._whole.with_kernels(
                        self._chain.rest(entered), row_batch
                    )
                elif (
                    joined_path == TABLE.name and self._table is not None and not light
                ):
                    block.table_dense = self._table.enter(row_batch)
                    embedding = self._table.rest(block.table_dense)
                else:
                    embedding = self._whole.embed(joined_path, row_batch)
                block.shares[joined_path] = self._head.share(joined_path, embedding)
            block.outputs = self._head.finish(values_at(block.shares, self._joined))
            if self._beside:
                block.head = block.outputs
                block.shares |= {
                    beside_path: branch.enter(row_batch)
                    for beside_path, branch in self._beside.items()
                }
                block.outputs = summed(
                    block.head, [*self._added(block.shares).values()]
                )
            blocks.append(block)
        if len(blocks) == 1:
            return blocks[0]
        names = []
        for block_field in fields(Block):
            if block_field.name != "encoded":
                names.append(block_field.name)
        return Block(
            encoded,
            **{
                field_name: _joined([getattr(block, field_name) for block in blocks])
                for field_name in names
            },
        )

    def replace(
        self,
        block: Block,
        start: int,
        stop: int,
        columns: Sequence[int] | Indexes,
        values: Tensor,
        coalitions: Sequence[Coalition],
        rows: Tensor | None = None,
    ) -> dict[Coalition, Tensor]:
        """Predict rows ``start … stop − 1`` with ``columns`` replaced by ``values
        (pairs, columns)``, per coalition.

        ``rows (pairs,)``: the row that each line of ``values`` is for, counted from
        ``start``. None: each row has one.
        """
        block_part = _Part(block, slice(start, stop), rows)
        index = list(map(int, columns))
        if not index:
            return dict.fromkeys(coalitions, block_part.of(block.outputs))
        touched = frozenset().union(*coalitions)
        shares = {}
        for replaced_path in self.paths:
            if replaced_path in touched:
                shares[replaced_path] = self._replaced_share(
                    replaced_path, block_part, index, values
                )
        kept_paths = []
        for network_path in self.paths:
            if any(network_path not in coalition for coalition in coalitions):
                kept_paths.append(network_path)
        unchanged = {}
        for unchanged_path in kept_paths:
            unchanged[unchanged_path] = block_part.of(block.shares[unchanged_path])
        return self._finish(
            coalitions,
            shares,
            unchanged,
            None if block.head is None else block_part.of(block.head),
        )

    def _finish(
        self,
        coalitions: Sequence[Coalition],
        shares: Mapping[str, Tensor],
        unchanged: Mapping[str, Tensor],
        head: Tensor | None,
    ) -> dict[Coalition, Tensor]:
        """Return the outputs of coalitions, each path's share replaced or not.

        ``head``: its outputs if none is.
        """
        of_head = dict.fromkeys(
            coalition.intersection(self._joined) for coalition in coalitions
        )
        coalition_outputs: dict[Coalition, Tensor] = {}
        if head is not None and Coalition() in of_head:
            del of_head[Coalition()]
            coalition_outputs[Coalition()] = head
        if of_head:
            # All coalitions go through the rest of the head together.
            outputs = self._head.finish(
                *(
                    [
                        (shares if joined_path in head_coalition else unchanged)[
                            joined_path
                        ]
                        for joined_path in self._joined
                    ]
                    for head_coalition in of_head
                )
            )
            coalition_outputs |= zip(
                of_head, outputs.split(len(outputs) // len(of_head)), strict=True
            )
        unchanged_additions = self._added(unchanged)
        replaced_additions = self._added(shares)
        return {
            coalition: summed(
                coalition_outputs[coalition.intersection(self._joined)],
                [
                    (
                        replaced_additions
                        if beside_path in coalition
                        else unchanged_additions
                    )[beside_path]
                    for beside_path in self._beside
                ],
            )
            for coalition in coalitions
        }

    def _added(self, path_shares: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what the paths beside the head add to the outputs."""
        added: dict[str, Tensor] = {}
        for beside_path, branch in self._beside.items():
            if beside_path in path_shares:
                added[beside_path] = branch.said(path_shares[beside_path])
        return added

    def _replaced_share(
        self, path: str, block_part: _Part, columns: list[int], values: Tensor
    ) -> Tensor:
        block = block_part.block
        if path in self._beside:
            column_edit = Edit(
                block.encoded[block_part.span], columns, values, block_part.rows
            )
            return self._beside[path].replaced(
                block.shares[path][block_part.span], column_edit
            )
        if (
            path == TABLE.name
            and self._table is not None
            and block.table_dense is not None
        ):
            old_values = block_part.of(block.encoded[:, columns])
            moved = self._table.moved(
                block_part.of(block.table_dense), columns, old_values, values
            )
            if moved is not None:
                return self._head.share(path, self._table.rest(moved))
        replacement_plan = (
            self._plan(columns) if path == IMAGE.name and block.maps else None
        )
        if replacement_plan is None:
            return self._head.share(
                path, self._whole.embed(path, _edited(block_part, columns, values))
            )
        if replacement_plan.read is None:
            return self._with_replaced(
                self._inner_share(block_part), block_part, columns, values
            )
        chain = self._chain
        assert chain is not None
        change = self._last_change(
            block_part,
            chain,
            replacement_plan,
            self._redrawn(block_part, chain, replacement_plan, columns, values),
        )
        moved = functional.linear(change.flatten(1), replacement_plan.read)
        if chain.first is None:
            return self._with_replaced(
                moved.add_(self._inner_share(block_part)), block_part, columns, values
            )
        assert block.image_dense is not None
        embedding = chain.rest(moved.add_(block_part.of(block.image_dense)))
        return self._head.share(
            IMAGE.name, self._with_replaced(embedding, block_part, columns, values)
        )

    def _last_change(
        self, batch_part: _Part, chain: ImageChain, plan: _Plan, change: Tensor
    ) -> Tensor:
        """Return how the last map changes where the first changes so."""
        block = batch_part.block
        for number, product in enumerate(plan.products, start=1):
            segment = chain.segments[number]
            step = plan.steps[number]
            if product is None:
                moved = segment.convolve(
                    _framed(change, step.box, step.source), 0, bias=False
                )
            else:
                top, bottom, left, right = step.moved
                moved = functional.linear(change.flatten(1), product).unflatten(
                    1, (bottom - top, right - left, -1)
                )
            convolved = batch_part.box(block.convolved[number - 1], step.needed)
            if views := _shared_views(convolved, step.needed, moved, step.moved):
                views[0].add_(views[1])
            change = segment.tail(convolved) - batch_part.box(
                block.maps[number + 1], step.result
            )
        return change

    def _inner_share(self, block_part: _Part) -> Tensor:
        """Return the image's share of the head's first layer, without what kernels say
        behind it.
        """
        assert isinstance(self._head, HeadEntry)
        return block_part.of(block_part.block.shares[IMAGE.name])[
            :, : self._head.first.out_features
        ]

    def _with_replaced(
        self, image: Tensor, block_part: _Part, columns: list[int], values: Tensor
    ) -> Tensor:
        """Return the image's embedding, or its share, with what kernels say of replaced
        rows behind it.
        """
        if self._kernels is None or self._chain is None:
            return image
        renderer = self._chain.renderer
        edited = _edited(block_part, columns, values)
        if hasattr(renderer, "pixels_of"):
            before = renderer(block_part.block.encoded[block_part.span])
            kernel_outputs = self._kernels.replaced(
                before, renderer(edited), renderer.pixels_of(columns), block_part.rows
            )
        else:
            kernel_outputs = self._kernels(renderer(edited))
        return torch.cat([image.flatten(1), kernel_outputs], dim=1)

    def _redrawn(
        self,
        block_part: _Part,
        chain: ImageChain,
        plan: _Plan,
        columns: list[int],
        values: Tensor,
    ) -> Tensor:
        """Return the change of the first segment's result in its box: its window is
        drawn and convolved anew.
        """
        segment = chain.segments[0]
        first_step = plan.steps[0]
        block = block_part.block
        entry = plan.entry
        if isinstance(entry, BoxMatrix):
            convolved = entry(_seen(block_part, entry.columns, columns, values))
            return segment.tail(convolved) - block_part.box(
                block.maps[1], first_step.result
            )
        renderer = chain.renderer
        if hasattr(renderer, "draw_region"):
            patch = renderer.draw_region(
                _seen(
                    block_part, renderer.columns_near(first_step.box), columns, values
                ),
                first_step.box,
            )
        else:
            patch = renderer.render_region(
                _edited(block_part, columns, values), first_step.box
            )
        patch = patch[:, : segment.in_channels].permute(0, 2, 3, 1)
        window = block_part.box(
            block.maps[0], first_step.window, padded=segment.in_size
        )
        # The patch may reach beyond the window where pooling drops an odd last row or
        # column.
        if views := _shared_views(window, first_step.window, patch, first_step.box):
            views[0].copy_(views[1])
        if entry is None:
            convolved = segment.convolve(window, 0)
        else:
            (top_row, bottom, left_column, right), segment_bias = (
                first_step.needed,
                segment.bias,
            )
            if segment_bias is None:
                segment_bias = None
            else:
                segment_bias = segment_bias.repeat(area(first_step.needed))
            convolved = functional.linear(window.flatten(1), entry, segment_bias)
            convolved = convolved.unflatten(
                1, (bottom - top_row, right - left_column, -1)
            )
        return segment.tail(convolved) - block_part.box(
            block.maps[1], first_step.result
        )

    def exchange(
        self,
        block: Block,
        rows: Tensor,
        donors: Tensor,
        donor_block: Block,
        coalitions: Sequence[Coalition],
    ) -> dict[Coalition, Tensor]:
        """Predict receivers ``rows (pairs,)`` with whole embeddings of donor rows, per
        coalition of paths.
        """
        own_shares, donor_shares = (
            {
                shared_path: source_block.shares[shared_path][index]
                for shared_path in self.paths
            }
            for source_block, index in ((block, rows), (donor_block, donors))
        )
        if block.head is None:
            head_outputs = None
        else:
            head_outputs = block.head[rows]
        joined = dict.fromkeys(
            coalition.intersection(self._joined) for coalition in coalitions
        )
        outputs: dict[Coalition, Tensor] = {}
        for joined_coalition in joined:  # their inputs of the head take much memory
            alike = []
            for coalition in coalitions:
                if coalition.intersection(self._joined) == joined_coalition:
                    alike.append(coalition)
            outputs |= self._finish(alike, donor_shares, own_shares, head_outputs)
        return outputs

    def bytes_per_row(self, *, light: bool = False) -> int:
        """Return how many bytes ``prepare`` keeps for each row, by looking at one."""
        with torch.inference_mode():
            block = self.prepare(
                next(self.module.parameters()).new_zeros(1, self.module.encoded),
                light=light,
            )
        return sum(
            kept_tensor.nbytes
            for kept_tensor in tree_flatten(vars(block))[0]
            if kept_tensor is not None
        )


# ---- rows and boxes ------------------------------------------------------------------
@dataclass(frozen=True)
class _Part:
    """Rows of a block, each once or as often as it is replaced."""

    block: Block
    span: slice
    rows: Tensor | None

    def of(self, tensor: Tensor) -> Tensor:
        """Return the rows of a cached tensor."""
        part_rows = tensor[self.span]
        if self.rows is None:
            return part_rows
        return part_rows.index_select(0, self.rows)

    def box(
        self, maps: Tensor, box: Box, *, padded: tuple[int, int] | None = None
    ) -> Tensor:
        """Return a copy of a box of cached maps.

        With ``padded``, their size, it may lie beyond them.
        """
        top_row, bottom, left_column, right = box
        maps = maps[self.span]
        if padded is not None and (
            top_row < 0 or left_column < 0 or bottom > padded[0] or right > padded[1]
        ):
            box_maps = _framed(maps, (0, padded[0], 0, padded[1]), box)
        else:
            box_maps = maps[:, top_row:bottom, left_column:right].clone(
                memory_format=torch.contiguous_format
            )
        # Boxes are copied out once and rows then taken whole: several times faster than
        # taking both at once.
        if self.rows is None:
            return box_maps
        return box_maps.index_select(0, self.rows)


def _edited(block_part: _Part, columns: list[int], values: Tensor) -> Tensor:
    """Return whole encoded rows with columns replaced."""
    return Edit(
        block_part.block.encoded[block_part.span], columns, values, block_part.rows
    ).edited()


def _seen(
    block_part: _Part, near: list[int], columns: list[int], values: Tensor
) -> Tensor:
    """Return the encoded columns ``near`` with those of ``columns`` among them
    replaced.
    """
    seen_values = block_part.of(block_part.block.encoded[:, near])
    column_positions = positions_of(near)
    for k, column in enumerate(columns):
        if (
            column in column_positions
        ):  # one by one: a list of places takes five times as long
            seen_values[:, column_positions[column]] = values[:, k]
    return seen_values


def _framed(maps: Tensor, covered: Box, box: Box) -> Tensor:
    """Return a box of maps that cover another: cut where they reach over, and zeros
    where they do not reach.
    """
    frame = maps.new_zeros(len(maps), box[1] - box[0], box[3] - box[2], maps.shape[3])
    if views := _shared_views(frame, box, maps, covered):
        views[0].copy_(views[1])
    return frame


def _shared_views(
    maps: Tensor, covered: Box, second_maps: Tensor, second_covered: Box
) -> tuple[Tensor, Tensor] | None:
    """Return the views of two maps where the boxes that they cover meet.

    None if they do not.
    """
    boxes = (covered, second_covered)
    top_row, left_column = (
        max(covered_box[first_edge] for covered_box in boxes) for first_edge in (0, 2)
    )
    bottom, right = (
        min(covered_box[last_edge] for covered_box in boxes) for last_edge in (1, 3)
    )
    if bottom <= top_row or right <= left_column:
        return None
    first, second = (
        box_maps[
            :,
            top_row - map_box[0] : bottom - map_box[0],
            left_column - map_box[2] : right - map_box[2],
        ]
        for box_maps, map_box in zip((maps, second_maps), boxes, strict=True)
    )
    return first, second
