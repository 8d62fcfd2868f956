"""The leaves of trees by the players on the way to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import factorial
from typing import Any

import numpy as np

from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.models.trees import Trees

#: Rows whose patterns are found together, which a processor keeps near.
_ROWS = 2**9
#: Most players on the way to a leaf: their bits fit in a number of 64.
MOST_PLAYERS = 62


@dataclass(frozen=True, eq=False)
class Leaves:
    """Leaves with equally many players on their way.

    Attributes:
        nodes: their places in the trees ``(leaves,)``.
        trees: the number of their tree ``(leaves,)``.
        players: of the bits of their patterns ``(leaves, bits)``.
        values: what they add ``(leaves, outputs)``.
    """

    nodes: Integers
    trees: Integers
    players: Integers
    values: Floats

    @property
    def bits(self) -> int:
        """Return how many players are on their way."""
        return self.players.shape[1]

    def of_trees(self, tree_mask: Booleans) -> Leaves:
        """Return the leaves of chosen trees ``(trees,)``."""
        leaf_mask = tree_mask[self.trees]
        return Leaves(
            self.nodes[leaf_mask],
            self.trees[leaf_mask],
            self.players[leaf_mask],
            self.values[leaf_mask],
        )


class Questions:
    """The leaves of trees by their number of players, and the bit of the player whom
    each inner node asks: the first player on the way down has the first bit.
    """

    def __init__(self, trees: Trees, owner: Integers) -> None:
        """Sort the leaves of trees of columns that belong to players, ``owner
        (columns,)``.

        Raises:
            NotImplementedError: More players are on the way to a leaf than can be told
                apart.
        """
        self.trees = trees
        self.levels: list[tuple[Integers, Integers]] = []
        self.leaves = tuple(_sorted_leaves(trees, owner, self.levels))
        most_bits = max((leaves.bits for leaves in self.leaves), default=0)
        self._dtype = _dtype_of(most_bits)
        self._limits, self._codes = _coded(trees)

    def patterns(self, rows: Floats) -> Integers:
        """Return the pattern of each node's players ``(nodes, rows)``: which of them
        passed all of their questions on the way.
        """
        patterns = np.full((len(self.trees.left), len(rows)), -1, dtype=self._dtype)
        for start in range(0, len(rows), _ROWS):
            row_slice = slice(start, start + _ROWS)
            self._fill(patterns[:, row_slice], rows[row_slice])
        return patterns

    def _fill(self, patterns: Integers, rows: Floats) -> None:
        """Write the patterns of a few rows, ``(nodes, rows)``."""
        trees = self.trees
        codes = np.zeros((rows.shape[1], len(rows)), dtype=self._codes.dtype)
        for column, limits in self._limits.items():
            codes[column] = np.searchsorted(limits, rows[:, column])
        for nodes, level_bits in self.levels:
            bits = level_bits.astype(self._dtype)[:, None]
            goes_right = codes[trees.feature[nodes]] > self._codes[nodes][:, None]
            before = patterns[nodes]
            # A bit of those who go right, which they lack on the left.
            right = bits * goes_right
            left = trees.left[nodes]
            patterns[left] = before & ~right
            patterns[left + 1] = before & ~(bits ^ right)


def _coded(trees: Trees) -> tuple[dict[int, Floats], Integers]:
    """Return the thresholds of each column that is asked, in rising order, and which of
    them each node has ``(nodes,)``: small numbers are compared faster.
    """
    codes = np.zeros(len(trees.left), dtype=np.int64)
    inner = np.flatnonzero(trees.left != np.arange(len(trees.left)))
    limits_of_columns: dict[int, Floats] = {}
    for column in np.unique(trees.feature[inner]).tolist():
        nodes = inner[trees.feature[inner] == column]
        thresholds = trees.threshold[nodes].astype(np.float64)
        limits_of_columns[column], codes[nodes] = np.unique(
            thresholds, return_inverse=True
        )
    most = max(map(len, limits_of_columns.values()), default=0)
    return limits_of_columns, codes.astype(_dtype_of(int(most).bit_length()))


def _dtype_of(bits: int) -> type[np.signedinteger[Any]]:
    """Return the smallest numbers that hold so many bits and a sign: reading and
    writing them takes most of the time.
    """
    for dtype in (np.int16, np.int32):
        if bits < np.iinfo(dtype).bits:
            return dtype
    return np.int64


def _sorted_leaves(
    trees: Trees, owner: Integers, levels: list[tuple[Integers, Integers]]
) -> Iterator[Leaves]:
    """Yield the leaves by their number of players, and list each level's inner nodes
    with the bits of the players that they ask.
    """
    nodes = trees.roots.astype(np.int64)
    tree_numbers = np.arange(len(nodes))
    players = np.full((len(nodes), 0), -1, dtype=np.int64)
    leaves_by_count: dict[int, list[tuple[Integers, Integers, Integers]]] = {}
    while len(nodes):
        is_inner = trees.left[nodes] != nodes
        counts = (players >= 0).sum(axis=1)
        for count in np.unique(counts[~is_inner]).tolist():
            of_count = ~is_inner & (counts == count)
            leaves_by_count.setdefault(count, []).append(
                (nodes[of_count], players[of_count, :count], tree_numbers[of_count])
            )
        nodes = nodes[is_inner]
        players = players[is_inner]
        counts = counts[is_inner]
        asked_players = owner[trees.feature[nodes]]
        players = np.concatenate(
            [players, np.full((len(nodes), 1), -1, dtype=np.int64)], axis=1
        )
        positions = _bits_of(players, asked_players, counts)
        players[np.arange(len(nodes)), positions] = asked_players
        levels.append((nodes, np.left_shift(1, positions)))
        nodes = (trees.left[nodes][:, None] + np.arange(2)).ravel().astype(np.int64)
        players = np.repeat(players, 2, axis=0)
        tree_numbers = np.repeat(tree_numbers[is_inner], 2)
    leaves_by_count.pop(0, None)
    for leaves_of_count in leaves_by_count.values():
        leaf_nodes, leaf_players, leaf_trees = map(
            np.concatenate, zip(*leaves_of_count, strict=True)
        )
        yield Leaves(
            leaf_nodes,
            leaf_trees,
            leaf_players,
            _leaf_values(trees, leaf_nodes, leaf_trees),
        )


def _bits_of(players: Integers, asked: Integers, counts: Integers) -> Integers:
    """Return at which place of its players ``(nodes, places)`` each node has the one
    whom it asks: a further one where it is a new one.
    """
    is_asked = players == asked[:, None]
    positions = np.where(is_asked.any(axis=1), is_asked.argmax(axis=1), counts)
    if positions.max(initial=0) >= MOST_PLAYERS:
        raise NotImplementedError("a leaf has more players than bits")
    return positions


def _leaf_values(trees: Trees, nodes: Integers, tree_numbers: Integers) -> Floats:
    """Return the values of leaves ``(leaves, outputs)``: of one number, that of the
    output which their tree adds to.
    """
    outputs = len(trees.base)
    values = trees.values[nodes]
    if values.shape[1] < outputs:
        values = values * (tree_numbers[:, None] % outputs == np.arange(outputs))
    return values


# ---- what a leaf gives and takes -----------------------------------------------------
def _weights(first: int, second: int) -> float:
    """Return (first − 1)! second! / (first + second)!, the share of orders in which a
    player joins after just some of two sets.
    """
    return factorial(first - 1) * factorial(second) / factorial(first + second)


@cache
def weight_table(bits: int) -> Floats:
    """Return ``_weights`` of two sets with up to so many players in all, 0 where the
    first is empty.
    """
    table = np.zeros((bits + 1, bits + 1))
    for first in range(1, bits + 1):
        for second in range(bits + 1 - first):
            table[first, second] = _weights(first, second)
    return table


def pair_weights(
    own_patterns: Integers, other_patterns: Integers, bits: int
) -> tuple[Floats, Floats]:
    """Return what a leaf of value 1 gives to each player that only the row passes, and
    takes from each that only the background row passes, for pairs of patterns.

    Both are 0 where a player passes in neither: no coalition reaches the leaf then.
    """
    everybody = (1 << bits) - 1
    reached = (own_patterns | other_patterns) == everybody
    only_own = np.bitwise_count(own_patterns & ~other_patterns)
    only_other = np.bitwise_count(other_patterns & ~own_patterns)
    table = weight_table(bits)
    gives = np.where(reached, table[only_own, only_other], 0.0)
    takes = np.where(reached, table[only_other, only_own], 0.0)
    return gives, takes
