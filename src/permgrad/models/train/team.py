"""Devices that train together: how they share a batch and add up what each computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from permgrad.models.train.rows import Rows


@dataclasses.dataclass(frozen=True)
class Team:
    """One device of those that have the same weights and share each batch on torch's process group, number ``rank``."""

    rank: int
    size: int
    device: torch.device

    def share(self, batch: Rows) -> Rows:
        """Return every ``size``-th row, or all rows if there are too few for two each."""
        return batch if len(batch) < 2 * self.size else batch.take(slice(self.rank, None, self.size))

    def weight(self, share: int, batch: int) -> float:
        """Return the weight of the mean over this device's rows in the mean over the batch."""
        # Where all devices compute the batch, each counts alike.
        return 1 / self.size if share == batch else share / batch

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Put the sum over all devices in the place of each tensor: one message for all of them."""
        if tensors:
            flat = _flatten_dense_tensors(list(tensors))
            torch.distributed.all_reduce(flat)
            for tensor, total in zip(tensors, _unflatten_dense_tensors(flat, list(tensors)), strict=True):
                tensor.copy_(total)

    def agree(self, judge: Callable[[Rows], tuple[float, float]], rows: Rows) -> tuple[float, float]:
        """Return the first device's judgement of some rows. The others do not compute it."""
        judged = torch.tensor(judge(rows) if self.rank == 0 else (0.0, 0.0), dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(judged, src=0)
        score, temperature = judged.tolist()
        return score, temperature
