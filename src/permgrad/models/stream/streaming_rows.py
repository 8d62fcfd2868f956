"""Training rows that are read from files in every epoch: memory holds one block of them, whatever the table's length.

An epoch goes through all rows once. Parts of the table are read in a random order into a block of ``block_rows`` rows;
the block is shuffled and cut into batches, then the next one is read. Two rows can meet in a batch only if they are in
one block, so that a table sorted by what matters is mixed as far as its parts are mixed: a block of B rows from parts
of p rows holds rows of at least B / p places of the table. Where all rows fit into one block, the batches are those of
rows in memory, row by row, and nothing is read twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import torch

from permgrad.base.random import generator
from permgrad.data.parts.partitions import Part
from permgrad.models.train.rows import Rows, count_batches

#: Reads a part: its training rows, encoded, on the processor, a few thousand at a time.
PartReader = Callable[[Part], Iterator[Rows]]


@dataclasses.dataclass(frozen=True)
class StreamedRows:
    """Rows of a long table, as ``Rows`` are to a short one.

    ``read`` gives the training rows of one of the ``parts``, ``rows`` in all, of which ``block_rows`` are in memory at
    once; ``identity`` says what they are made from, so that a training never goes on with others.
    """

    parts: Sequence[Part]
    rows: int
    read: PartReader
    block_rows: int
    identity: str = ""
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))

    def __len__(self) -> int:
        return self.rows

    def to(self, device: torch.device) -> StreamedRows:
        """Return the same rows, whose batches are on a device."""
        return dataclasses.replace(self, device=device)

    def take(self, chosen: Rows) -> Rows:
        """Return the rows of a batch: they have been read already."""
        return chosen

    def order(self, batch_size: int, seed: int) -> BlockOrder:
        """Return the batches of an epoch."""
        return BlockOrder(self, batch_size, seed)


class BlockOrder:
    """The batches of an epoch, block by block, as large as in memory: a function of the seed and the epoch number."""

    def __init__(self, rows: StreamedRows, batch_size: int, seed: int) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self._block: Rows | None = None

    def __len__(self) -> int:
        return count_batches(self.rows.rows, self.batch_size)

    def __iter__(self) -> Iterator[Rows]:
        batches, made, left = len(self), 0, list[Rows]()
        for number, block in enumerate(self._blocks()):
            # The only block has the order that rows in memory have.
            keys = ("row order", self.epoch, number) if number else ("row order", self.epoch)
            order = torch.from_numpy(generator(self.seed, *keys).permutation(len(block))).to(block.device)
            start, size = 0, self.batch_size - sum(map(len, left))
            while made < batches - 1 and len(block) - start >= size:
                yield _joined([*left, block.take(order[start : start + size])])
                start, size, made, left = start + size, self.batch_size, made + 1, []
            left.append(block.take(order[start:]))
        if made < batches - 1 or sum(map(len, left)) != self.rows.rows - made * self.batch_size:
            raise RuntimeError(f"{made} of {batches} batches could be made: the files changed while they were read")
        yield _joined([rows for rows in left if len(rows)])

    def _blocks(self) -> Iterator[Rows]:
        rows = self.rows
        if rows.rows <= rows.block_rows:
            if self._block is None:
                self._block = _joined([piece for part in rows.parts for piece in rows.read(part)]).to(rows.device)
            yield self._block
            return
        parts = generator(self.seed, "part order", self.epoch).permutation(len(rows.parts))
        pieces, filled = list[Rows](), 0
        for piece in (piece for number in parts.tolist() for piece in rows.read(rows.parts[number])):
            start = 0
            while start < len(piece):
                stop = min(len(piece), start + rows.block_rows - filled)
                pieces.append(piece.take(slice(start, stop)))
                filled, start = filled + stop - start, stop
                if filled == rows.block_rows:
                    yield _joined(pieces).to(rows.device)
                    pieces, filled = [], 0
        if pieces:
            yield _joined(pieces).to(rows.device)


def _joined(pieces: Sequence[Rows]) -> Rows:
    if len(pieces) == 1:
        return pieces[0]
    return Rows(*(torch.cat([getattr(piece, name) for piece in pieces]) for name in ("x", "y", "weight")))
