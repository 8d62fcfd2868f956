"""Shapley and Owen values by enumeration of every coalition, for a few players."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from permgrad.attribution.method.shapley.game import ShapleyGame, slices
from permgrad.attribution.method.shapley.owen import Booleans, Floats, Integers, Tree

#: Numbers kept for the rows of one block.
_BLOCK_NUMBERS = 2**21


class Enumeration:
    """Exact values of a tree's players.

    Those that are not ``active`` are the same in the rows and in all their donors.
    """

    def __init__(self, game: ShapleyGame, tree: Tree, active: Booleans | None = None) -> None:
        self.game = game
        self.active = np.ones(tree.players, dtype=bool) if active is None else active
        tree = tree if active is None else tree.among(active)
        self.coalitions = tree.coalitions()
        sizes = self.coalitions.kept.sum(axis=1)
        self._nobody, self._everybody = int(np.argmin(sizes)), int(np.argmax(sizes))
        self._between = np.flatnonzero((sizes > 0) & (sizes < tree.players))

    def blocks(self, rows: int) -> Iterator[slice]:
        """Yield the rows in blocks whose coalitions fit in memory."""
        numbers = self.game.width * (len(self.coalitions.kept) + len(self.coalitions.joined))
        return slices(rows, max(1, min(8192, _BLOCK_NUMBERS // max(1, numbers))))

    def __call__(self, rows: Integers, donors: Integers) -> Floats:
        """Return exact values ``(n, players, V)`` with all donors ``(n, donors)`` of each receiver.

        They are exactly 0 for players that change nothing beyond rounding in any coalition.
        """
        keeps = self.coalitions.kept
        worth = np.empty((len(rows), len(keeps), self.game.width))
        worth[:, self._nobody] = self.game.empty(rows, donors)
        worth[:, self._everybody] = self.game.full(rows)
        if len(self._between):
            shown = np.ones((len(self._between), len(self.active)), dtype=bool)
            shown[:, self.active] = keeps[self._between]
            worth[:, self._between] = self.game.values(rows, donors, np.broadcast_to(shown, (len(rows), *shown.shape)))
        shares: Floats = np.einsum("pc,ncv->npv", self.coalitions.weights, worth, optimize=True)
        owner, before, after = self.coalitions.joined.T
        starts = np.searchsorted(owner, np.arange(len(self.coalitions.weights)))
        largest = np.maximum.reduceat(np.abs(worth[:, after] - worth[:, before]), starts, axis=1)
        shares[largest <= self.game.rounding(rows, donors.shape[1])[:, None]] = 0.0
        values = np.zeros((len(rows), len(self.active), worth.shape[2]))
        values[:, self.active] = shares
        return values
