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

import numpy as np

from permgrad.attribution.method.shapley.leaves import (
    Leaves,
    Questions,
    pair_weights,
)
from permgrad.attribution.method.shapley.shapley_game import slices
from permgrad.attribution.method.shapley.tree_walk import TreeWalk
from permgrad.base.arrays import Array, Booleans, Floats, Integers
from permgrad.models.trees import Trees

#: Most players of a leaf whose values are listed for every pattern.
_LISTED = 8
#: Numbers that are held at once.
_NUMBERS = 2**24
#: Numbers of patterns that are added up at once, which a processor keeps near.
_NEAR = 2**21
#: Pairs of rows that walk down a tree together.
_PAIRS = 2**13
#: Pairs of a leaf and one of its players whose gains are summed together.
_TOGETHER = 2**8
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
        tables = [_table_of(leaves, compared) for leaves in self._leaves]
        nodes = max(len(self.trees.left), 1)
        for row_slice in slices(len(rows), max(1, _NUMBERS // nodes)):
            count = len(rows[row_slice])
            several_rows = np.resize(rows[row_slice], max(count, _FEWEST_ROWS))
            patterns = self._questions.patterns(self.rows[several_rows])
            sums = np.zeros((len(several_rows), *values.shape[1:]))
            for leaves, table in zip(self._leaves, tables, strict=True):
                _add(sums, leaves, table, patterns, compared)
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


# ---- every pattern of a few players --------------------------------------------------
@lru_cache(maxsize=_LISTED)
def _listed_weights(bits: int) -> tuple[Floats, Floats]:
    patterns = np.arange(2**bits)
    return pair_weights(patterns[:, None], patterns[None, :], bits)


def _passes(patterns: Integers, bits: int) -> Booleans:
    """Return whether each player passes, ``(*patterns, bits)``."""
    passed: Booleans = (patterns[..., None] >> np.arange(bits)) & 1 == 1
    return passed


def _table_of(leaves: Leaves, compared: Integers) -> Floats | None:
    """Return what leaves of value 1 give to each of their players, for every pattern of
    a row, as a mean over background rows: ``(leaves, patterns, bits)``.

    None where patterns are too many to list them.
    """
    bits = leaves.bits
    if bits > _LISTED:
        return None
    size = 2**bits
    count = len(leaves.nodes)
    gives, takes = _listed_weights(bits)
    passed = _passes(np.arange(size), bits)
    patterns = compared[leaves.nodes] & (size - 1)
    table = np.empty((count, size, bits))
    for leaf_slice in slices(count, max(1, _NUMBERS // (size * bits))):
        some_patterns = patterns[leaf_slice]
        some_count = len(some_patterns)
        cells = np.arange(some_count)[:, None] * size + some_patterns
        shares = (
            np.bincount(cells.ravel(), minlength=some_count * size).reshape(
                some_count, size
            )
            / patterns.shape[1]
        )
        lacking = shares[:, :, None] * ~passed
        gains = np.matmul(gives, lacking)
        losses = shares @ takes.T
        table[leaf_slice] = np.where(passed, gains, -losses[:, :, None])
    return table


def _add(
    values: Floats,
    leaves: Leaves,
    table: Floats | None,
    patterns: Integers,
    compared: Integers,
) -> None:
    """Add what leaves give to their players in rows with these patterns to ``values
    (rows, players, outputs)``.
    """
    bits = leaves.bits
    everybody = (1 << bits) - 1
    own_patterns = patterns[leaves.nodes] & everybody
    if table is None:
        _add_in_turn(values, leaves, own_patterns, compared[leaves.nodes] & everybody)
        return
    size = 2**bits
    flat = table.ravel()
    first_cells = (np.arange(len(own_patterns))[:, None] * size + own_patterns) * bits
    leaf_numbers, bit_numbers = np.divmod(np.arange(leaves.players.size), bits)
    order = np.argsort(leaves.players.ravel(), kind="stable")
    owners, starts = np.unique(leaves.players.ravel()[order], return_index=True)
    for player, pair_numbers in zip(owners, np.split(order, starts[1:]), strict=True):
        for pair_slice in slices(len(pair_numbers), _TOGETHER):
            pairs = pair_numbers[pair_slice]
            pair_leaves = leaf_numbers[pairs]
            gains = flat[first_cells[pair_leaves] + bit_numbers[pairs, None]]
            for output, leaf_values in enumerate(leaves.values[pair_leaves].T):
                # Trees of one class add nothing to the others.
                adds = np.flatnonzero(leaf_values)
                amounts = gains.take(adds, axis=0)
                amounts *= leaf_values[adds, None]
                # One pair after the other, which rounds alike for any number of rows.
                values[:, player, output] += amounts.sum(axis=0)


def _add_in_turn(
    values: Floats,
    leaves: Leaves,
    own_patterns: Integers,
    background_patterns: Integers,
) -> None:
    """Add what leaves of many players give, one leaf at a time: most patterns do not
    reach it beside any of the background.
    """
    bits = leaves.bits
    passed_own = np.bitwise_count(own_patterns)
    passed_other = np.bitwise_count(background_patterns)
    near_own = passed_own + passed_other.max(axis=1, keepdims=True) >= bits
    near_other = passed_other + passed_own.max(axis=1, keepdims=True) >= bits
    count = background_patterns.shape[1]
    for leaf in np.flatnonzero(near_own.any(axis=1) & near_other.any(axis=1)).tolist():
        row_indices = np.flatnonzero(near_own[leaf])
        row_patterns, which = np.unique(
            own_patterns[leaf, row_indices], return_inverse=True
        )
        other_patterns, times = np.unique(
            background_patterns[leaf, near_other[leaf]], return_counts=True
        )
        gives, takes = pair_weights(
            row_patterns[:, None], other_patterns[None, :], bits
        )
        # One pair after the other: matrix products round by how many rows there are.
        of_row, of_other = np.nonzero(gives + takes)
        shares = times[of_other] / count
        own_gains = gives[of_row, of_other] * shares
        other_losses = takes[of_row, of_other] * shares
        amounts = np.where(
            _passes(row_patterns[of_row], bits),
            own_gains[:, None] * ~_passes(other_patterns[of_other], bits),
            -other_losses[:, None],
        )
        cells = of_row[:, None] * bits + np.arange(bits)
        gains = np.bincount(
            cells.ravel(), amounts.ravel(), len(row_patterns) * bits
        ).reshape(-1, bits)
        players: Array = leaves.players[leaf]
        values[row_indices[:, None], players[None, :]] += (
            gains[which][:, :, None] * leaves.values[leaf]
        )
