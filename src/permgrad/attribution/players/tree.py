"""In which orders players may join: freely, or block by block along a tree (Owen
1977).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from math import factorial
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.attribution.players.space import PlayerSpace
from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.random import uniform
from permgrad.base.sequences import values_at

Counters = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Coalitions:
    """``values = weights @ v(keeps)``.

    ``joined``: player, and coalitions without and with it, ``(steps, 3)``.
    """

    keeps: Booleans
    weights: Floats
    joined: Integers


@dataclass(frozen=True)
class Tree:
    """Blocks of players: ``labels`` ``(levels, players)``, top first, each within one
    above, down to the players.
    """

    labels: Integers

    @classmethod
    def flat(cls, players: int) -> Tree:
        """Return the tree without blocks."""
        return cls(np.arange(players, dtype=np.int64)[None])

    @classmethod
    def build(cls, *levels: list[str] | tuple[str, ...]) -> Tree:
        """Return the tree with the named blocks, top level first.

        The players themselves are added as last level.
        """
        labels: list[Integers] = []
        paths: list[tuple[str, ...]] = [() for _ in levels[0]]
        for names in levels:
            # A block's name is unique only within its parent.
            paths = [
                (*block_path, block_name)
                for block_path, block_name in zip(paths, names, strict=True)
            ]
            numbers = {}
            for index, block_path in enumerate(dict.fromkeys(paths)):
                numbers[block_path] = index
            labels.append(np.array(values_at(numbers, paths), dtype=np.int64))
        labels.append(np.arange(len(paths), dtype=np.int64))
        return cls(np.stack(labels))

    @property
    def players(self) -> int:
        """Return the number of players."""
        return int(self.labels.shape[1])

    @property
    def free(self) -> bool:
        """Return whether players may join in any order."""
        return len(self.labels) == 1

    def among(self, players: Booleans) -> Tree:
        """Return the tree of some players only."""
        return Tree(
            np.stack(
                [
                    np.unique(level[players], return_inverse=True)[1]
                    for level in self.labels
                ]
            )
        )

    def freedom(self) -> int:
        """Return 1 + the largest number of blocks over whose subsets a player's
        contribution is summed.
        """
        siblings = np.zeros(self.players, dtype=np.int64)
        for above, level in zip(self._parents, self.labels, strict=True):
            first = np.unique(level, return_index=True)[1]
            siblings += np.bincount(above[first])[above] - 1
        return 1 + int(siblings.max())

    @property
    def _parents(self) -> list[Integers]:
        """For each level the blocks above it, by player."""
        return [np.zeros(self.players, dtype=np.int64), *self.labels[:-1]]

    def _siblings(self, player: int) -> list[list[Booleans]]:
        """Return for each level the other blocks with the same parent, as masks of
        players.
        """
        blocks: list[list[Booleans]] = []
        for above, level in zip(self._parents, self.labels, strict=True):
            sibling_blocks = np.unique(level[above == above[player]])
            blocks.append(
                [level == block for block in sibling_blocks if block != level[player]]
            )
        return blocks

    def coalitions(self) -> Coalitions:
        """Return all coalitions, weighted by products over levels of t!(n − 1 − t)!/n!,
        t blocks before (Owen 1977).
        """
        masks = []
        weights = []
        for player in range(self.players):
            siblings = self._siblings(player)
            # Every coalition that the player can join, and the weight of its
            # contribution there.
            subsets = _subsets(sum(map(len, siblings)))
            blocks = np.array(list(chain.from_iterable(siblings)), dtype=bool).reshape(
                -1, self.players
            )
            masks.append(subsets @ blocks)
            edges = np.cumsum(list(map(len, siblings)))[:-1]
            level_subsets = np.split(subsets, edges, axis=1)
            weights.append(
                np.prod(
                    [
                        _weights(level_subset.shape[1])[level_subset.sum(axis=1)]
                        for level_subset in level_subsets
                    ],
                    axis=0,
                )
            )
        weight = np.concatenate(weights)
        coalition_masks = np.concatenate([*masks, *masks])
        owner = np.repeat(np.arange(self.players), list(map(len, masks)))
        coalition_masks[len(owner) + np.arange(len(owner)), owner] = (
            True  # the second half: with the player
        )
        packed_bits = np.packbits(
            coalition_masks, axis=1
        )  # bytes are sorted in a twentieth of the time of rows of booleans
        _, unique_positions, coalition_index = np.unique(
            packed_bits.view(f"S{packed_bits.shape[1]}"),
            return_index=True,
            return_inverse=True,
        )
        first, second = coalition_index.reshape(2, -1)
        matrix = np.zeros((self.players, len(unique_positions)))
        np.add.at(matrix, (owner, first), -weight)
        np.add.at(matrix, (owner, second), weight)
        return Coalitions(
            coalition_masks[unique_positions],
            matrix,
            np.stack([owner, first, second], axis=1).astype(np.int64),
        )

    def ranks(self, seed: int, what: str, counters: Counters) -> Integers:
        """Draw an order that the tree allows for each counter: each player's place,
        ``(n, players)``.
        """
        composite = np.zeros((len(counters), self.labels.shape[1]), dtype=np.int64)
        for level, labels in enumerate(self.labels):
            blocks = int(labels.max()) + 1
            with np.errstate(over="ignore"):
                numbered = counters[:, None] * np.uint64(blocks) + np.arange(
                    blocks, dtype=np.uint64
                )
            drawn = places(uniform(seed, (what, level), numbered))
            composite = composite * blocks + drawn[:, labels]
        return places(composite)


def make_tree(space: PlayerSpace, blocks: Any) -> Tree:
    """Return the tree of a player space: flat without blocks, else modality, group and
    player.

    Args:
        space: The players.
        blocks: ``blocks=`` of the method, or None.
    """
    if blocks is None:
        return Tree.flat(len(space.names))
    group_of = {}
    for group, members in space.groups.items():
        for member in members:
            group_of[member] = group
    levels = [list(space.modality)]
    if any(player_name in group_of for player_name in space.names):
        levels.append(
            [
                f"group {group_of[player_name]}"
                if player_name in group_of
                else f"player {player_name}"
                for player_name in space.names
            ]
        )
    return Tree.build(*levels)


def places(keys: npt.NDArray[np.generic]) -> Integers:
    """Return each element's place in its row's order, ``(rows, elements)`` as the
    keys.
    """
    order = np.argsort(keys, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(
        ranks, order, np.broadcast_to(np.arange(keys.shape[1]), keys.shape), axis=1
    )
    return ranks


def _weights(near: int) -> Floats:
    """Return the share of orders in which so many of ``near`` blocks, and no more,
    precede one: Shapley's weights.
    """
    return np.array(
        [
            factorial(preceding) * factorial(near - preceding) / factorial(near + 1)
            for preceding in range(near + 1)
        ]
    )


@lru_cache(maxsize=8)
def _subsets(count: int) -> Booleans:
    numbers = np.arange(2**count, dtype=np.int64)
    return (numbers[:, None] >> np.arange(count, dtype=np.int64) & 1).astype(bool)
