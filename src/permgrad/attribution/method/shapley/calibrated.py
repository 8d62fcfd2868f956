"""Means over all background rows, of which a few are played.

What a player gives beside a background row depends first of all on its own cells there.
A regression of what it gives on these cells, over the rows that are played, says what
the mean over all of them is, as surveys do with what they know of everybody (Cassel,
Särndal & Wretman 1976): a weighted mean, with the same weights for every row explained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from torch import Tensor

from permgrad.attribution.players.space import PlayerSpace
from permgrad.base.arrays import Floats, Integers
from permgrad.models.row_background import rows_to_compare

#: How far slopes are pulled towards 0: as by so large a share of the rows.
_RIDGE = 0.03


@dataclass(frozen=True, eq=False)
class Calibration:
    """How means over all background rows follow from those that are played.

    Attributes:
        played: positions of these among all of them ``(played,)``.
        weights: of each player ``(players, played)``, with a sum of 1.
        residuals: what the regression of each player leaves of its values ``(players,
            played, played)``.
        count: how many background rows there are.
    """

    played: Integers
    weights: Floats
    residuals: Floats
    count: int

    @classmethod
    def of(cls, rows: Sequence[Tensor], space: PlayerSpace, most: int) -> Self:
        """Choose at most so many of the background rows, ``(rows, *)`` of each input,
        and weigh them.
        """
        cells = np.concatenate([_flat(tensor) for tensor in rows], axis=1)
        owner = np.concatenate([_flat(owners[None])[0] for owners in space.segments])
        played = rows_to_compare(cells, most=most)
        spread = cells.std(axis=0)
        scaled = (cells - cells.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        weights = []
        residuals = []
        for player in range(len(space)):
            player_weights, player_residuals = _regressed(
                scaled[:, owner == player][played]
            )
            weights.append(player_weights)
            residuals.append(player_residuals)
        return cls(played, np.stack(weights), np.stack(residuals), len(cells))

    def means(self, values: Floats) -> Floats:
        """Return means over all background rows ``(rows, players, V)`` of values beside
        those that are played ``(rows, played, players, V)``.
        """
        weighted: Floats = (values * self.weights.T[:, :, None]).sum(axis=1)
        return weighted

    def errors(self, values: Floats) -> Floats:
        """Return the standard errors of ``means``."""
        left = np.einsum("pbc,rcpv->rbpv", self.residuals, values)
        freedom = (self.residuals**2).sum(axis=(1, 2))
        variance = (left**2).sum(axis=1) / freedom[:, None]
        sizes = (self.weights**2).sum(axis=1)
        errors: Floats = np.sqrt(variance * sizes[:, None])
        return errors


def _flat(tensor: Tensor) -> Floats:
    """Return rows of numbers ``(rows, numbers)``."""
    numbers: Floats = tensor.detach().cpu().flatten(1).double().numpy()
    return numbers


def _regressed(cells: Floats) -> tuple[Floats, Floats]:
    """Return the weights of rows ``(rows,)`` with which the regression of values on
    their cells says the value where all cells are 0, and what it leaves of the values
    ``(rows, rows)``.

    Args:
        cells: on one scale ``(rows, columns)``.
    """
    count = len(cells)
    middle = cells.mean(axis=0)
    apart = cells - middle
    products = apart @ apart.T
    # Many columns say of few rows what is not so: they are pulled by their number.
    pulled = products + _RIDGE * count * max(cells.shape[1], 1) * np.eye(count)
    weights = 1 / count - np.linalg.solve(pulled, apart @ middle)
    centred = np.eye(count) - 1 / count
    return weights, centred - np.linalg.solve(pulled, products)
