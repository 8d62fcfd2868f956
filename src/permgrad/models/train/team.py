"""The devices that train one network together; one alone is a team of itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors


@dataclasses.dataclass(frozen=True)
class Team:
    """One device of those that have the same weights and share each batch on torch's process group, number ``rank``."""

    rank: int = 0
    size: int = 1
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))

    def share(self, batch: Any) -> Any:
        """Return every ``size``-th row; all rows where there are too few for two each."""
        if self.size == 1 or len(batch) < 2 * self.size:
            return batch
        rows = slice(self.rank, None, self.size)
        return batch[rows] if isinstance(batch, Tensor) else batch.take(rows)

    def weight(self, share: int, batch: int) -> float:
        """Return the weight of the mean over this device's rows in the mean over the batch."""
        # Where all devices compute the batch, each counts alike.
        return 1 / self.size if share == batch else share / batch

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Put the sum over all devices in the place of each tensor: one message for all of them."""
        if self.size > 1 and tensors:
            flat = _flatten_dense_tensors(list(tensors))
            torch.distributed.all_reduce(flat)
            for tensor, total in zip(tensors, _unflatten_dense_tensors(flat, list(tensors)), strict=True):
                tensor.copy_(total)

    def level(self, tensors: Sequence[Tensor]) -> None:
        """Put the mean over all devices in the place of each tensor."""
        self.add_up(tensors)
        for tensor in tensors:
            tensor.div_(self.size)

    def agree(self, judge: Callable[[], tuple[float, float]]) -> tuple[float, float]:
        """Return what the first device finds; the others do not look."""
        if self.size == 1:
            return judge()
        judged = torch.tensor(judge() if self.rank == 0 else (0.0, 0.0), dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(judged, src=0)
        score, temperature = judged.tolist()
        return score, temperature
