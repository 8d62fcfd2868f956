"""Conditional draws for any torch network whose input is one table: every column is a number, or one of few values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from permgrad.attribution.method import Request
from permgrad.attribution.replace.conditional import ConditionalSampler
from permgrad.attribution.subject.inputs import shapes_in_words
from permgrad.base.errors import InputError

#: Methods that draw replacement values on a torch network.
_DRAWING = ("permgrad", "permutation")


@dataclass(frozen=True)
class _Columns:
    """What a sampler asks of an encoder, where each column stands for itself."""

    count: int

    @property
    def numeric_columns_(self) -> npt.NDArray[np.intp]:
        return np.arange(self.count)

    def features(self, level: str) -> dict[str, npt.NDArray[np.intp]]:  # noqa: ARG002 — the encoder's form
        return {str(column): np.array([column]) for column in range(self.count)}


def check_conditional(method: str, names: tuple[str, ...], inputs: tuple[Tensor, ...], layer: object) -> None:
    """Refuse conditional draws where the network's input is no table of numbers.

    Raises:
        InputError: another method, several inputs, or an input that is not ``(rows, columns)`` of decimal numbers.
    """
    if method not in _DRAWING:
        raise InputError(
            f"On a torch network method={method!r} cannot draw values that fit the rest of a row. "
            "Leave sampling='conditional' out, or choose method='permgrad' or 'permutation'."
        )
    if layer is not None:
        raise InputError(
            "sampling='conditional' draws columns of the network's input, not units of a layer. Leave layer= or "
            "sampling= out."
        )
    if len(inputs) != 1 or inputs[0].ndim != 2 or not inputs[0].is_floating_point():
        raise InputError(
            "sampling='conditional' needs a network with one input of shape (rows, columns), in decimal numbers; this "
            f"one has {shapes_in_words(names, inputs)}. Leave sampling out, or pass groups= of dependent features."
        )


class TableSampler:
    """Draws the columns of each player of a network's table given the other columns.

    Args:
        request: the call.
    """

    def __init__(self, request: Request) -> None:
        own = request.inputs[0].detach().cpu().numpy()
        donors = own if request.shared else request.donors[0].detach().cpu().numpy()
        self.drawn = ConditionalSampler(
            _Columns(own.shape[1]), own, donors, seed=request.seed, shared=request.shared, row_offset=request.row_offset
        )
        owner = request.space.segments[0].cpu().numpy()
        self.columns = {name: np.flatnonzero(owner == index) for index, name in enumerate(request.space.names)}

    def draw(self, player: str, rows: npt.NDArray[np.int64], repeat: int) -> tuple[npt.NDArray[np.int64], Tensor]:
        """Return donor numbers ``(rows,)`` (−1: none) and new values of the player's columns ``(rows, columns)``."""
        donors, values = self.drawn.draw(player, self.columns[player], rows, repeat)
        return donors, torch.from_numpy(np.ascontiguousarray(values))
