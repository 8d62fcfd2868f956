"""Shapley and Owen values by enumeration of every coalition, for a few players."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from permgrad.attribution.method.shapley.game import ShapleyGame, slices
from permgrad.attribution.method.shapley.owen import Coalitions, Tree

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

#: Numbers kept for the rows of one block.
_BLOCK_NUMBERS = 2**21


class Enumeration:
    """Exact values of the players of one tree.

    Args:
        game: what coalitions are worth.
        tree: in which orders players join.
        active: which players take part, ``(players,)``: the others are the same in the rows and in all their donors.
    """

    def __init__(self, game: ShapleyGame, tree: Tree, active: npt.NDArray[np.bool_] | None = None) -> None:
        self.game = game
        self.active = np.ones(tree.players, dtype=bool) if active is None else active
        tree = tree if active is None else tree.among(active)
        self.coalitions: Coalitions = tree.coalitions()
        sizes = self.coalitions.kept.sum(axis=1)
        self._nobody, self._everybody = int(np.argmin(sizes)), int(np.argmax(sizes))
        self._between = np.flatnonzero((sizes > 0) & (sizes < tree.players))

    def blocks(self, rows: int) -> Iterator[slice]:
        """Yield the rows in blocks whose coalitions fit in memory."""
        numbers = self.game.measure.width * (len(self.coalitions.kept) + len(self.coalitions.joined))
        return slices(rows, max(1, min(8192, _BLOCK_NUMBERS // max(1, numbers))))

    def __call__(self, rows: Integers, donors: Integers) -> Floats:
        """Return exact values.

        Args:
            rows: receivers, ``(n,)``.
            donors: donors of each receiver, ``(n, donors)``; a coalition is worth the measure over all of them.

        Returns:
            ``(n, players, V)``; exactly 0 for players that change nothing beyond rounding in any coalition.
        """
        keeps = self.coalitions.kept
        worth = np.empty((len(rows), len(keeps), self.game.measure.width))
        worth[:, self._nobody] = self.game.empty(rows, donors)
        worth[:, self._everybody] = self.game.full(rows)
        if len(self._between):
            shown_players = np.ones((len(self._between), len(self.active)), dtype=bool)
            shown_players[:, self.active] = keeps[self._between]
            shown = np.broadcast_to(shown_players, (len(rows), *shown_players.shape))
            worth[:, self._between] = self.game.values(rows, donors, shown)
        shares: Floats = np.einsum("pc,ncv->npv", self.coalitions.weights, worth, optimize=True)
        shares[self._idle(worth, self.game.rounding(rows, donors.shape[1]))] = 0.0
        values = np.zeros((len(rows), len(self.active), worth.shape[2]))
        values[:, self.active] = shares
        return values

    def _idle(self, worth: Floats, rounding: Floats) -> npt.NDArray[np.bool_]:
        """Return which players change no coalition's worth by more than rounding, ``(n, players, V)``."""
        owner, before, after = self.coalitions.joined.T
        steps = np.abs(worth[:, after] - worth[:, before])
        starts = np.searchsorted(owner, np.arange(self.coalitions.weights.shape[0]))
        largest = np.maximum.reduceat(steps, starts, axis=1)
        idle: npt.NDArray[np.bool_] = largest <= rounding[:, None]
        return idle
