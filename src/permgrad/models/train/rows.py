"""Rows that a network is trained on, and the batches of an epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import torch
from torch import Tensor

from permgrad.base.random import generator

if TYPE_CHECKING:
    from permgrad.models.stream.streaming import StreamedRows


@dataclasses.dataclass(frozen=True)
class Rows:
    """Encoded rows ``x (rows, encoded)`` float32, targets ``y (rows,)`` and loss weights ``weight (rows,)``.

    An epoch trains on one of ``parts`` of the rows, so that so many epochs see each row once.
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
        return Rows(self.x.to(device), self.y.to(device), self.weight.to(device), self.parts)

    def take(self, chosen: Tensor | slice) -> Rows:
        """Return some of the rows."""
        return Rows(self.x[chosen], self.y[chosen], self.weight[chosen])

    def batches(self, size: int, seed: int, epoch: int) -> Iterator[Rows]:
        """Yield the batches of an epoch, in an order that is a function of the seed and the epoch's number."""
        turn, part = divmod(epoch, self.parts)
        rows = generator(seed, "row order", turn).permutation(len(self))[part :: self.parts]
        order = torch.from_numpy(rows).to(self.x.device)
        last = count_batches(len(order), size) - 1
        for number in range(last):
            yield self.take(order[number * size : (number + 1) * size])
        yield self.take(order[last * size :])


#: Rows that weights are fitted on: in memory, or read from files in batches.
TrainingRows: TypeAlias = "Rows | StreamedRows"


def count_batches(rows: int, batch_size: int) -> int:
    """Return the number of batches of an epoch. A last row alone, which has no variance, joins the batch before."""
    full, left = divmod(rows, batch_size)
    return max(1, full + (left > 1))
