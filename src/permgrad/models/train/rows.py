"""Rows that a network is trained on, and the batches of an epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from permgrad.base.random import generator

if TYPE_CHECKING:
    from permgrad.models.stream.streaming_rows import StreamedRows


@dataclasses.dataclass(frozen=True)
class Rows:
    """Encoded rows ``x (rows, encoded)`` float32, targets ``y (rows,)`` and loss weights ``weight (rows,)``."""

    x: Tensor
    y: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.x)

    @property
    def device(self) -> torch.device:
        """Where the rows are."""
        return self.x.device

    @property
    def identity(self) -> str:
        """What a checkpoint remembers of the rows beyond their number."""
        return ""

    def to(self, device: torch.device) -> Rows:
        """Return the same rows on a device."""
        return Rows(self.x.to(device), self.y.to(device), self.weight.to(device))

    def take(self, chosen: Tensor | slice) -> Rows:
        """Return some of the rows."""
        return Rows(self.x[chosen], self.y[chosen], self.weight[chosen])

    def order(self, batch_size: int, seed: int) -> EpochOrder:
        """Return the batches of an epoch, as row numbers."""
        return EpochOrder(len(self), batch_size, seed, self.device)


#: Rows that weights are fitted on: in memory, or read from files in batches.
TrainingRows: TypeAlias = "Rows | StreamedRows"


def count_batches(rows: int, batch_size: int) -> int:
    """Return the number of batches of an epoch; a last row alone, which has no variance, joins the batch before."""
    full, left = divmod(rows, batch_size)
    return max(1, full + (left > 1))


class EpochOrder:
    """A plain iterable of index tensors, one per batch; the order is a function of the seed and the epoch number."""

    def __init__(self, rows: int, batch_size: int, seed: int, device: torch.device | None = None) -> None:
        self.rows, self.batch_size, self.seed, self.device = rows, batch_size, seed, device
        self.epoch = 0

    def __len__(self) -> int:
        return count_batches(self.rows, self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.from_numpy(generator(self.seed, "row order", self.epoch).permutation(self.rows)).to(self.device)
        batches = len(self)
        for batch in range(batches):
            end = self.rows if batch == batches - 1 else (batch + 1) * self.batch_size
            yield order[batch * self.batch_size : end]
