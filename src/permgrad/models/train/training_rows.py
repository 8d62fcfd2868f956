"""Rows that a network is trained on, and the batches of an epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import torch
from torch import Tensor

from permgrad.base.random import generator

if TYPE_CHECKING:
    from permgrad.data.partitions import Part


@dataclasses.dataclass(frozen=True)
class Rows:
    """Encoded rows ``x (rows, encoded)`` float32, targets ``y (rows,)`` and loss
    weights ``weight (rows,)``.

    An epoch trains on one of ``parts`` of the rows, so that so many epochs see each row
    once.
    """

    x: Tensor
    y: Tensor
    weight: Tensor
    parts: int = 1
    #: what a checkpoint remembers of the rows beyond their number
    identity: ClassVar[str] = ""

    def __len__(self) -> int:
        return len(self.x)

    @property
    def per_epoch(self) -> int:
        """Rows of an epoch, at most."""
        return -(-len(self) // self.parts)

    def to(self, device: torch.device) -> Rows:
        """Return the same rows on a device."""
        return Rows(
            self.x.to(device), self.y.to(device), self.weight.to(device), self.parts
        )

    def take(self, selected_rows: Tensor | slice) -> Rows:
        """Return some of the rows."""
        return Rows(
            self.x[selected_rows], self.y[selected_rows], self.weight[selected_rows]
        )

    def batches(self, size: int, seed: int, epoch: int) -> Iterator[Rows]:
        """Yield the batches of an epoch, in an order that is a function of the seed and
        the epoch's number.
        """
        turn_number, part_number = divmod(epoch, self.parts)
        row_order = generator(seed, "row order", turn_number).permutation(len(self))[
            part_number :: self.parts
        ]
        order = torch.from_numpy(row_order).to(self.x.device)
        last_batch = count_batches(len(order), size) - 1
        for number in range(last_batch):
            yield self.take(order[number * size : (number + 1) * size])
        yield self.take(order[last_batch * size :])


def count_batches(rows: int, batch_size: int) -> int:
    """Return the number of batches of an epoch.

    A last row alone, which has no variance, joins the batch before.
    """
    full_batches, left_over = divmod(rows, batch_size)
    return max(1, full_batches + (left_over > 1))


@dataclasses.dataclass
class StreamedRows:
    """Training rows that are read from files in every epoch, as ``Rows`` are to a short
    table.

    Parts of the table are read in a random order into a block of ``block_rows`` rows.
    The block is shuffled and cut into batches, then the next one is read: a block of B
    rows from parts of p rows holds rows of at least B / p places of the table, and only
    rows of one block meet in a batch. Where all rows fit into one block, the batches
    are those of rows in memory, row by row, and nothing is read twice.

    ``read`` gives the training rows of one of the ``parts``, ``rows`` in all, of which
    ``block_rows`` are in memory at once. ``identity`` describes their source, so that a
    training is never resumed with others.
    """

    parts: Sequence[Part]
    rows: int
    #: reads a part: its training rows, encoded, on the processor, a few thousand at a
    #: time
    read: Callable[[Part], Iterator[Rows]]
    block_rows: int
    identity: str = ""
    device: torch.device = dataclasses.field(
        default_factory=lambda: torch.device("cpu")
    )
    #: all rows, where they fit into one block, once they were read
    _block: Rows | None = dataclasses.field(default=None, init=False, repr=False)

    def __len__(self) -> int:
        return self.rows

    @property
    def per_epoch(self) -> int:
        """Rows of an epoch."""
        return self.rows

    def to(self, device: torch.device) -> StreamedRows:
        """Return the same rows, whose batches are on a device."""
        return dataclasses.replace(self, device=device)

    def batches(self, size: int, seed: int, epoch: int) -> Iterator[Rows]:
        """Yield the batches of an epoch, block by block, as large as those of rows in
        memory.
        """
        batches = count_batches(self.rows, size)
        batches_made = 0
        left_over_rows = list[Rows]()
        for number, block in enumerate(self._blocks(seed, epoch)):
            # The only block has the order that rows in memory have.
            seed_keys = ("row order", epoch, number) if number else ("row order", epoch)
            order = torch.from_numpy(
                generator(seed, *seed_keys).permutation(len(block))
            ).to(block.x.device)
            start = 0
            fitting = size - sum(map(len, left_over_rows))
            while batches_made < batches - 1 and len(block) - start >= fitting:
                yield _joined(
                    [*left_over_rows, block.take(order[start : start + fitting])]
                )
                start = start + fitting
                fitting = size
                batches_made = batches_made + 1
                left_over_rows = []
            left_over_rows.append(block.take(order[start:]))
        if (
            batches_made < batches - 1
            or sum(map(len, left_over_rows)) != self.rows - batches_made * size
        ):
            raise RuntimeError(
                f"{batches_made} of {batches} batches could be made: the files changed "
                "while they were read"
            )
        yield _joined([last_rows for last_rows in left_over_rows if len(last_rows)])

    def _blocks(self, seed: int, epoch: int) -> Iterator[Rows]:
        if self.rows <= self.block_rows:
            if self._block is None:
                self._block = _joined(
                    [
                        piece
                        for table_part in self.parts
                        for piece in self.read(table_part)
                    ]
                ).to(self.device)
            yield self._block
            return
        part_order = generator(seed, "part order", epoch).permutation(len(self.parts))
        pieces = list[Rows]()
        filled = 0
        for piece in (
            piece
            for number in part_order.tolist()
            for piece in self.read(self.parts[number])
        ):
            start = 0
            while start < len(piece):
                stop_row = min(len(piece), start + self.block_rows - filled)
                pieces.append(piece.take(slice(start, stop_row)))
                filled = filled + stop_row - start
                start = stop_row
                if filled == self.block_rows:
                    yield _joined(pieces).to(self.device)
                    pieces = []
                    filled = 0
        if pieces:
            yield _joined(pieces).to(self.device)


def _joined(pieces: Sequence[Rows]) -> Rows:
    if len(pieces) == 1:
        return pieces[0]
    x, y, weight = (
        torch.cat([getattr(piece, tensor_name) for piece in pieces])
        for tensor_name in ("x", "y", "weight")
    )
    return Rows(x, y, weight)


#: Rows that weights are fitted on: in memory, or read from files in batches.
TrainingRows: TypeAlias = Rows | StreamedRows
