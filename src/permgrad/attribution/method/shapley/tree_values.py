"""Exact Shapley values of sums of trees, by the leaves of the trees.

A leaf adds its value where a row passes every question on the way to it. For each
player on the way, a row passes its questions or not, so that a leaf sees a row as a
pattern of bits, one for each of its players. What it gives to them follows from the
patterns of the row and of the background row alone, and the background counts by how
often each pattern occurs: Nadel & Wettenstein 2025 (arXiv 2511.09376). All coalitions
count, none is sampled, and a row costs as much beside a hundred background rows as
beside one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import lcm

import numpy as np

from permgrad.attribution.method.shapley.leaves import (
    Leaves,
    Questions,
    pair_weights,
    weight_table,
)
from permgrad.attribution.method.shapley.shapley_game import slices
from permgrad.attribution.method.shapley.tree_walk import TreeWalk
from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.models.trees import Trees

#: Most players of a leaf whose values are listed for every pattern.
_LISTED = 8
#: Numbers that are held at once.
_NUMBERS = 2**24
#: Fewest nodes that are counted with a row, beside which a row has other numbers, too.
_FEW_NODES = 2**14
#: Numbers of patterns that are added up at once, which a processor keeps near.
_NEAR = 2**21
#: How many times as many pairs of rows as patterns there are from which on the values
#: of all patterns are listed.
_PAIRS_A_PATTERN = 8
#: Pairs of rows that walk down a tree together.
_PAIRS = 2**13
#: Pairs of a leaf and one of its players whose gains are summed together.
_LEAF_BITS = 2**13
#: Fewest rows that are summed together. A single one is summed twice, as NumPy would
#: add its numbers in another order.
_FEWEST_ROWS = 2


class TreeValues:
    """Shapley values of the sums of trees, for rows beside background rows.

    Called as ``Enumeration`` is.
    """

    def __init__(
        self,
        trees: Trees,
        owner: Integers,
        players: int,
        rows: Floats,
        background: Floats,
    ) -> None:
        """Sort the leaves by their number of players.

        Args:
            trees: of columns ``(columns,)``.
            owner: the player of each column ``(columns,)``.
            players: how many there are.
            rows: cells of the rows to explain ``(rows, columns)``.
            background: cells of the background ``(background rows, columns)``.

        Raises:
            NotImplementedError: More players are on the way to a leaf than can be told
                apart.
        """
        self.trees = trees
        self.rows = rows
        self.background = background
        self.players = players
        self._questions = Questions(trees, owner)
        every_leaf = self._questions.leaves
        is_deep = _deep_trees(every_leaf, len(trees.roots))
        listed = [leaves.of_trees(~is_deep) for leaves in every_leaf]
        self._leaves = tuple(leaves for leaves in listed if len(leaves.nodes))
        bits = np.zeros(len(trees.left), dtype=np.int64)
        for nodes, node_bits in self._questions.levels:
            bits[nodes] = node_bits
        ends = np.append(trees.roots[1:], len(trees.left))
        self._walks = []
        for tree_number in np.flatnonzero(is_deep).tolist():
            nodes_of_tree = slice(int(trees.roots[tree_number]), int(ends[tree_number]))
            self._walks.append(
                TreeWalk(self._questions, owner, nodes_of_tree, bits[nodes_of_tree])
            )

    def __call__(self, rows: Integers, donors: Integers) -> Floats:
        """Return exact values ``(n, players, outputs)`` of rows, all of which have the
        donors of the first.
        """
        values = np.zeros((len(rows), self.players, len(self.trees.base)))
        other_cells = self.background[donors[0]]
        compared = self._questions.patterns(other_cells)
        nodes = len(self.trees.left)
        for row_slice in slices(len(rows), max(1, _NUMBERS // max(nodes, _FEW_NODES))):
            count = len(rows[row_slice])
            several_rows = np.resize(rows[row_slice], max(count, _FEWEST_ROWS))
            patterns = self._questions.patterns(self.rows[several_rows])
            sums = np.zeros((len(several_rows), *values.shape[1:]))
            for leaves in self._leaves:
                _add(sums, leaves, patterns, compared)
            values[row_slice] = sums[:count]
        for row_slice in slices(len(rows), max(1, _PAIRS // len(other_cells))):
            own_cells = self.rows[rows[row_slice]]
            for walk in self._walks:
                walk.add(values[row_slice], own_cells, other_cells)
        return values

    def sums(self, rows: Floats) -> Floats:
        """Return what the trees add up to in rows ``(rows, outputs)``, but for what is
        the same in all of them.
        """
        sums = np.zeros((len(rows), len(self.trees.base)))
        for row_slice in slices(len(rows), max(1, _NEAR // len(self.trees.left))):
            patterns = self._questions.patterns(rows[row_slice])
            for leaves in self._questions.leaves:
                everybody = (1 << leaves.bits) - 1
                reached = patterns[leaves.nodes] & everybody == everybody
                sums[row_slice] += reached.T @ leaves.values
        return sums


def _deep_trees(every_leaf: Sequence[Leaves], count: int) -> Booleans:
    """Return which trees have mostly leaves of many players ``(trees,)``."""
    leaf_counts = np.zeros(count)
    deep_counts = np.zeros(count)
    for leaves in every_leaf:
        of_trees = np.bincount(leaves.trees, minlength=count)
        leaf_counts += of_trees
        if leaves.bits > _LISTED:
            deep_counts += of_trees
    return deep_counts > leaf_counts / 2


# ---- what leaves give to a row -------------------------------------------------------
@lru_cache(maxsize=_LISTED)
def _listed_weights(bits: int) -> tuple[Floats, Floats]:
    """Return ``pair_weights`` of all patterns, as multiples of ``1 / _unit(bits)``."""
    patterns = np.arange(2**bits)
    gives, takes = pair_weights(patterns[:, None], patterns[None, :], bits)
    unit = _unit(bits)
    return np.rint(gives * unit), np.rint(takes * unit)


def _unit(bits: int) -> int:
    """Return a number of which all weights of so many players are whole parts, 1 where
    it would be large.

    Sums of whole numbers are exact, so that they do not depend on how they are added.
    """
    if bits > _LISTED:
        return 1
    return lcm(*range(1, bits + 1))


def _passes(patterns: Integers, bits: int) -> Booleans:
    """Return whether each player passes, ``(*patterns, bits)``."""
    passed: Booleans = (patterns[..., None] >> np.arange(bits)) & 1 == 1
    return passed


def _gains(bits: int, of_rows: Integers, of_donors: Integers) -> Floats:
    """Return what leaves of value 1 give to each of their players, as means over
    background rows, ``(leaves, rows, bits)``.

    Args:
        bits: how many players leaves have.
        of_rows: patterns of the rows ``(leaves, rows)``.
        of_donors: patterns of the background ``(leaves, background rows)``.
    """
    gains = np.empty((*of_rows.shape, bits))
    pairs = of_rows.shape[1] * of_donors.shape[1]
    if bits <= _LISTED and pairs > _PAIRS_A_PATTERN * 2**bits:
        gains_of = _by_patterns
        numbers_of_leaf = 4**bits + of_donors.shape[1]
    else:
        gains_of = _by_pairs
        numbers_of_leaf = pairs
    for leaf_slice in slices(len(of_rows), max(1, _NEAR // numbers_of_leaf)):
        gains[leaf_slice] = gains_of(bits, of_rows[leaf_slice], of_donors[leaf_slice])
    gains /= _unit(bits) * of_donors.shape[1]
    return gains


def _by_patterns(bits: int, of_rows: Integers, of_donors: Integers) -> Floats:
    """Return ``_gains`` by all patterns that a row can have: many rows share them."""
    size = 2**bits
    count = len(of_rows)
    gives, takes = _listed_weights(bits)
    passed = _passes(np.arange(size), bits)
    cells = np.arange(count)[:, None] * size + of_donors
    times = np.bincount(cells.ravel(), minlength=count * size).reshape(count, size)
    lacking = times[:, :, None] * ~passed
    table = np.where(passed, np.matmul(gives, lacking), -(times @ takes.T)[:, :, None])
    values: Floats = np.take_along_axis(table, of_rows[:, :, None], axis=1)
    return values


def _by_pairs(bits: int, of_rows: Integers, of_donors: Integers) -> Floats:
    """Return ``_gains`` by the pairs of rows that reach a leaf: few do."""
    everybody = (1 << bits) - 1
    reached = (of_rows[:, :, None] | of_donors[:, None, :]) == everybody
    pairs, donors = np.divmod(np.flatnonzero(reached), of_donors.shape[1])
    own_patterns = of_rows.ravel()[pairs]
    other_patterns = of_donors[pairs // of_rows.shape[1], donors]
    # Who does not pass in the row passes in the background row.
    own_counts = bits - np.bitwise_count(other_patterns)
    other_counts = bits - np.bitwise_count(own_patterns)
    weights = weight_table(bits)
    if bits <= _LISTED:
        weights = np.rint(weights * _unit(bits))
    gives = weights[own_counts, other_counts]
    takes = weights[other_counts, own_counts]
    gains = np.empty((bits, of_rows.size))
    for bit in range(bits):
        lacks_other = (other_patterns >> bit) & 1 == 0
        lacks_own = (own_patterns >> bit) & 1 == 0
        amounts = gives * lacks_other - takes * lacks_own
        gains[bit] = np.bincount(pairs, amounts, of_rows.size)
    return gains.T.reshape(*of_rows.shape, bits)


def _add(
    values: Floats, leaves: Leaves, patterns: Integers, compared: Integers
) -> None:
    """Add what leaves give to their players in rows with these patterns to ``values
    (rows, players, outputs)``.
    """
    bits = leaves.bits
    everybody = (1 << bits) - 1
    # As many leaves at a time for any number of rows, so that sums round alike.
    for leaf_slice in slices(len(leaves.nodes), max(1, _LEAF_BITS // bits)):
        nodes = leaves.nodes[leaf_slice]
        players = leaves.players[leaf_slice].ravel()
        leaf_values = leaves.values[leaf_slice]
        gains = _gains(bits, patterns[nodes] & everybody, compared[nodes] & everybody)
        gains = gains.swapaxes(1, 2).reshape(len(players), -1)
        order = np.argsort(players, kind="stable")
        owners, starts = np.unique(players[order], return_index=True)
        for player, pairs in zip(owners, np.split(order, starts[1:]), strict=True):
            pair_values = leaf_values[pairs // bits]
            for output, output_values in enumerate(pair_values.T):
                # Trees of one class add nothing to the others.
                adds = np.flatnonzero(output_values)
                amounts = gains.take(pairs[adds], axis=0)
                amounts *= output_values[adds, None]
                # One pair after the other, which rounds alike for any number of rows.
                values[:, player, output] += amounts.sum(axis=0)
