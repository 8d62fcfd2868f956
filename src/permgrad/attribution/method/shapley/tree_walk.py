"""Exact Shapley values of a tree with large leaves, pair by pair of rows.

A pair of a row and a background row goes both ways at a player for whom the two answer
differently, and from there on where this player's own answer leads, so that most leaves
are not reached: Lundberg et al. 2020 (Nature Machine Intelligence 2, supplementary
algorithm 3), for all pairs of a level at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from permgrad.attribution.method.shapley.leaves import (
    MOST_PLAYERS,
    Questions,
    weight_table,
)
from permgrad.base.arrays import Array, Booleans, Floats, Integers


class _Walkers(NamedTuple):
    """Pairs of rows on their way down a tree, ``(pairs,)``.

    Attributes:
        nodes: Where each is.
        rows: The number of the row explained.
        donors: The number of the background row.
        by_own: The bits of the players who answered as the row does.
        by_other: The bits of those who answered as the background row does.
    """

    nodes: Array
    rows: Array
    donors: Array
    by_own: Integers
    by_other: Integers

    def take(self, which: Integers) -> _Walkers:
        """Return some of the pairs."""
        return _Walkers(*(numbers.take(which) for numbers in self))

    def and_then(self, further: _Walkers) -> _Walkers:
        """Return these pairs and further ones."""
        return _Walkers(*map(np.concatenate, zip(self, further, strict=True)))


class TreeWalk:
    """One tree, walked by pairs of rows."""

    def __init__(
        self, questions: Questions, owner: Integers, nodes: slice, bits: Integers
    ) -> None:
        """Take a tree out of many.

        Args:
            questions: of all trees.
            owner: the player of each column ``(columns,)``.
            nodes: which are this tree's.
            bits: of the players whom the nodes ask ``(nodes,)``.
        """
        trees = questions.trees
        self._left = (trees.left[nodes] - nodes.start).astype(np.int32)
        self._feature = trees.feature[nodes]
        self._threshold = trees.threshold[nodes]
        self._asked = owner[self._feature].astype(np.int32)
        self._bits = bits
        outputs = len(trees.base)
        self._values = np.zeros((len(self._left), outputs))
        for leaves in questions.leaves:
            is_inside = (leaves.nodes >= nodes.start) & (leaves.nodes < nodes.stop)
            inside = leaves.nodes[is_inside] - nodes.start
            self._values[inside] = leaves.values[is_inside]

    def add(self, values: Floats, own_cells: Floats, other_cells: Floats) -> None:
        """Add the tree's values to ``values (rows, players, outputs)``, as means over
        background rows, whose cells are the others.
        """
        players = values.shape[1]
        donors = len(other_cells)
        own_answers = self._answers(own_cells)
        other_answers = self._answers(other_cells)
        pairs = np.arange(len(own_cells) * donors, dtype=np.int32)
        nobody = np.zeros(len(pairs), dtype=np.int64)
        walkers = _Walkers(
            np.zeros_like(pairs),
            *np.divmod(pairs, np.int32(donors)),
            nobody,
            nobody.copy(),
        )
        steps = []
        while len(walkers.nodes):
            next_nodes = self._left.take(walkers.nodes)
            is_leaf = next_nodes == walkers.nodes
            ends = np.flatnonzero(is_leaf)
            inner = np.flatnonzero(~is_leaf)
            gives, takes = self._at_leaves(
                walkers.nodes.take(ends),
                walkers.by_own.take(ends),
                walkers.by_other.take(ends),
            )
            walkers = walkers.take(inner)
            next_nodes = next_nodes.take(inner)
            own_right = own_answers.take(walkers.nodes * len(own_cells) + walkers.rows)
            other_right = other_answers.take(walkers.nodes * donors + walkers.donors)
            bits = self._bits.take(walkers.nodes)
            follows_own = (walkers.by_own & bits) != 0
            is_new = ((walkers.by_own | walkers.by_other) & bits) == 0
            apart = np.flatnonzero((own_right != other_right) & is_new)
            own_walkers = walkers.take(apart)
            cells = own_walkers.rows * players + self._asked.take(own_walkers.nodes)
            steps.append(_Step(ends, inner, apart, cells, gives, takes))
            new_bits = bits.take(apart)
            walkers.by_other[apart] |= new_bits
            walkers = walkers._replace(
                nodes=next_nodes + np.where(follows_own, own_right, other_right)
            ).and_then(
                own_walkers._replace(
                    nodes=next_nodes.take(apart) + own_right.take(apart),
                    by_own=own_walkers.by_own | new_bits,
                )
            )
        _add_steps(values, steps, donors)

    def _answers(self, cells: Floats) -> Booleans:
        """Return whether rows go right at each node, node by node."""
        answers: Booleans = cells.T[self._feature] > self._threshold[:, None]
        return answers.ravel()

    def _at_leaves(
        self, nodes: Array, by_own: Integers, by_other: Integers
    ) -> tuple[Floats, Floats]:
        """Return what leaves give to each player who answers as the row does, and take
        from each who answers as the background row does, ``(leaves, outputs)``.
        """
        own_counts = np.bitwise_count(by_own)
        other_counts = np.bitwise_count(by_other)
        weights = weight_table(MOST_PLAYERS)
        values = self._values[nodes]
        gives = weights[own_counts, other_counts][:, None] * values
        takes = weights[other_counts, own_counts][:, None] * values
        return gives, takes


class _Step(NamedTuple):
    """A level of a walk: pairs that end at a leaf, that go on, and, of these, that go
    both ways; their cells ``row * players + player``; what the leaves give and take.
    """

    ends: Integers
    inner: Integers
    apart: Integers
    cells: Integers
    gives: Floats
    takes: Floats


def _add_steps(values: Floats, steps: Sequence[_Step], donors: int) -> None:
    """Add what is given and taken below each point where pairs went both ways."""
    outputs = values.shape[2]
    below_gives = below_takes = np.zeros((0, outputs))
    every_cell = []
    every_amount = []
    for step in reversed(steps):
        inner_count = len(step.inner)
        ways_gives, own_gives = below_gives[:inner_count], below_gives[inner_count:]
        ways_takes, own_takes = below_takes[:inner_count], below_takes[inner_count:]
        every_cell.append(step.cells)
        every_amount.append(own_gives - ways_takes[step.apart])
        ways_gives[step.apart] += own_gives
        ways_takes[step.apart] += own_takes
        below_gives = np.empty((len(step.ends) + inner_count, outputs))
        below_takes = np.empty_like(below_gives)
        below_gives[step.ends] = step.gives
        below_gives[step.inner] = ways_gives
        below_takes[step.ends] = step.takes
        below_takes[step.inner] = ways_takes
    cells = np.concatenate(every_cell)
    amounts = np.concatenate(every_amount) / donors
    for output in range(outputs):
        sums = np.bincount(cells, amounts[:, output], values[:, :, 0].size)
        values[:, :, output] += sums.reshape(values.shape[:2])
