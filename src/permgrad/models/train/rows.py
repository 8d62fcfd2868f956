"""Rows that a network is trained on, and the batches of an epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from permgrad.base.random import generator


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

    def order(self, batch_size: int, seed: int) -> BatchOrder:
        """Return the batches of an epoch, as row numbers."""
        return EpochOrder(len(self), batch_size, seed, self.device)


class BatchOrder(Protocol):
    """The batches of an epoch, row numbers or ``Rows``; a function of the seed and ``epoch``."""

    epoch: int

    def __len__(self) -> int:
        """Return the number of rows or batches."""

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches."""


class TrainingRows(Protocol):
    """Rows that weights are fitted on: ``Rows`` in memory, or ``streaming_rows.StreamedRows`` read from files."""

    @property
    def device(self) -> torch.device:
        """Where batches are."""

    @property
    def identity(self) -> str:
        """What a checkpoint remembers of the rows beyond their number."""

    def __len__(self) -> int:
        """Return the number of rows or batches."""

    def to(self, device: torch.device) -> TrainingRows:
        """Return the same rows, whose batches are on a device."""

    def take(self, chosen: Any) -> Rows:
        """Return the rows of a batch that ``order`` gave."""

    def order(self, batch_size: int, seed: int) -> BatchOrder:
        """Return the batches of an epoch."""


def count_batches(rows: int, batch_size: int) -> int:
    """Return the number of batches of an epoch.

    A last batch of one row has no variance to normalise with: it joins the batch before.

    Examples:
        >>> count_batches(8, 4), count_batches(9, 4), count_batches(10, 4)
        (2, 2, 3)
    """
    full, left = divmod(rows, batch_size)
    return max(1, full + (left > 1))


class EpochOrder:
    """A plain iterable of index tensors, one per batch; the order is a function of the seed and the epoch number."""

    def __init__(self, rows: int, batch_size: int, seed: int, device: torch.device | None = None) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self.device = device
        self.epoch = 0

    def __len__(self) -> int:
        return count_batches(self.rows, self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.from_numpy(generator(self.seed, "row order", self.epoch).permutation(self.rows)).to(self.device)
        batches = len(self)
        for batch in range(batches):
            end = self.rows if batch == batches - 1 else (batch + 1) * self.batch_size
            yield order[batch * self.batch_size : end]
