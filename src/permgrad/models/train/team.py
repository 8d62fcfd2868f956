"""What devices that train one network together ask of each other. One alone asks nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors


class Team(Protocol):
    """The devices of a training: every one has the same weights and takes its share of each batch.

    Attributes:
        rank: number of this device, from 0.
        size: how many there are.
    """

    rank: int
    size: int

    def share(self, batch: Any) -> Any:
        """Return this device's rows of a batch."""
        ...

    def weight(self, own: int, batch: int) -> float:
        """Return the weight of the mean over this device's rows in the mean over the batch."""
        ...

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Put the sum over all devices in the place of each tensor."""
        ...

    def level(self, tensors: Sequence[Tensor]) -> None:
        """Put the mean over all devices in the place of each tensor."""
        ...

    def agree(self, judge: Callable[[], tuple[float, float]]) -> tuple[float, float]:
        """Return what the first device finds; the others do not look."""
        ...


class Alone:
    """One device."""

    rank, size = 0, 1

    def share(self, batch: Any) -> Any:
        """Return the batch."""
        return batch

    def weight(self, own: int, batch: int) -> float:  # noqa: ARG002 — as the protocol has it
        """Return 1."""
        return 1.0

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Do nothing."""

    def level(self, tensors: Sequence[Tensor]) -> None:
        """Do nothing."""

    def agree(self, judge: Callable[[], tuple[float, float]]) -> tuple[float, float]:
        """Judge."""
        return judge()


class Several:
    """Several devices, each in a process of its own, on torch's process group that Lightning has set up.

    Args:
        rank: number of this process.
        size: how many there are.
        device: where this one computes.
    """

    def __init__(self, rank: int, size: int, device: torch.device) -> None:
        self.rank = rank
        self.size = size
        self.device = device

    def share(self, batch: Any) -> Any:
        """Return every ``size``-th row; all rows where there are too few for two each."""
        if len(batch) < 2 * self.size:
            return batch
        mine = slice(self.rank, None, self.size)
        return batch[mine] if isinstance(batch, Tensor) else batch.take(mine)

    def weight(self, own: int, batch: int) -> float:
        """Return the share of the batch that was computed here; where all compute it whole, each counts alike."""
        return 1 / self.size if own == batch else own / batch

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Add up over the devices: one message for all tensors."""
        if tensors:
            flat = _flatten_dense_tensors(list(tensors))
            torch.distributed.all_reduce(flat)
            for own, whole in zip(tensors, _unflatten_dense_tensors(flat, list(tensors)), strict=True):
                own.copy_(whole)

    def level(self, tensors: Sequence[Tensor]) -> None:
        """Take the mean over the devices."""
        self.add_up(tensors)
        for tensor in tensors:
            tensor.div_(self.size)

    def agree(self, judge: Callable[[], tuple[float, float]]) -> tuple[float, float]:
        """Let the first device judge and tell the others."""
        found = torch.tensor(judge() if self.rank == 0 else (0.0, 0.0), dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(found, src=0)
        score, temperature = found.tolist()
        return score, temperature
