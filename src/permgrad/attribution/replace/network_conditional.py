"""Conditional draws for any torch network whose input is one table: every column is a number, or one of few values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from permgrad.attribution.method import Request
from permgrad.attribution.replace.conditional import ConditionalSampler, PlainColumns


class TableSampler:
    """Draws the columns of each player of a network's table given the other columns.

    Args:
        request: the call.
    """

    def __init__(self, request: Request) -> None:
        own = request.encoded
        self.drawn = ConditionalSampler(
            PlainColumns(own.shape[1]),
            own,
            own if request.background is None else request.background,
            seed=request.seed,
            shared=request.shared,
            row_offset=request.row_offset,
        )
        self.columns = request.players

    def draw(self, player: str, rows: npt.NDArray[np.int64], repeat: int) -> tuple[npt.NDArray[np.int64], Tensor]:
        """Return donor numbers ``(rows,)`` (−1: none) and new values of the player's columns ``(rows, columns)``."""
        donors, values = self.drawn.draw(player, self.columns[player], rows, repeat)
        return donors, torch.from_numpy(np.ascontiguousarray(values))
