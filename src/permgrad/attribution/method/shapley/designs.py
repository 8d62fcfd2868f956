"""Balanced coalitions: sets of players from which the values of one row and one donor are solved.

A coalition and its complement are always played together: half of what they differ by,
``O(S) = (v(S) - v(not S)) / 2``, holds nothing of what two players do together. With v(all) - v(nobody) shared out
equally, a player's Shapley value among n is

    (v(all) - v(nobody)) / n  +  the mean over the sizes k = 1 … n - 1 of
    (n - 1) / n · (mean of O over coalitions of size k with the player - mean over those of size k without it),

which is the definition with its terms sorted by size. A *design* is n coalitions of one size that hold every player
equally often, and the matrix that gives back the numbers of an additive game exactly. With the players' names shuffled
and the size drawn evenly from 1 … n - 1 the expected result is the Shapley value of any game, since a linear rule
whose names are shuffled can but be a multiple of the difference above, and additive games say of which. So a design is
exact for games in which at most two players interact, as a pair of an order and its reverse is, costs two predictions
more, and has a smaller error in general: every coalition serves every player, where a step along an order serves one.
That error is smallest for a balanced incomplete block design (n = 23, k = 11: every two players meet five times); other
sizes come near to it. NOTE[DIFF]: KernelSHAP (Lundberg & Lee 2017; Covert & Lee 2021, arXiv 2012.01536) solves one
regression over coalitions of all sizes, which is consistent; a design for each donor is unbiased after the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from permgrad.attribution.method.shapley.owen import Booleans, Floats, Integers, Tree
from permgrad.base.random import generator

#: Up to so many players all coalitions are few enough to be a design of their own.
_FEW = 4
#: Designs of so many players are kept once they are made; others are made from their block again.
_KEPT_PLAYERS = 64
#: Blocks that are looked at for the best cyclic design of a size.
_CANDIDATES = 300
#: Pairs of players: the shortest odd cycle.
_TRIANGLE = 3


@dataclass(frozen=True)
class Design:
    """Coalitions ``(coalitions, players)``, and weights ``(players, coalitions)``.

    Times O the values minus the equal share.
    """

    sets: Booleans
    weights: Floats


def make_design(players: int, size: int) -> Design:
    """Return the design of a size up to half of the players, at least 2.

    Up to four players every coalition, of any size.
    """
    return _kept(players, size) if players <= _KEPT_PLAYERS else _made(players, size)


def _made(players: int, size: int) -> Design:
    if players <= _FEW:
        exact = Tree.flat(players).coalitions()
        # One of each coalition and its complement: those that hold the first player, but for that of all.
        one_of_two = np.flatnonzero(exact.kept[:, 0] & ~exact.kept.all(axis=1))
        return Design(exact.kept[one_of_two], 2 * exact.weights[:, one_of_two])
    if size == 2:
        sets = _cycles(players)
        return Design(sets, np.linalg.pinv(sets - size / players))
    # All shifts of one block of players, the best of several.
    block, solution = _best_block(players, size)
    shifts = np.arange(players)[None] - np.arange(players)[:, None]
    return Design(block[shifts % players], solution[-shifts % players])


_kept = lru_cache(maxsize=1024)(_made)


def drawn_size(players: int, place: Floats) -> Integers:
    """Return the size of each design, from numbers in [0, 1): even over 1 … players − 1, larger halves folded back."""
    size = 1 + np.minimum((place * (players - 1)).astype(np.int64), players - 2)
    folded: Integers = np.minimum(size, players - size)
    return folded


@lru_cache(maxsize=4096)
def _best_block(players: int, size: int) -> tuple[Booleans, Floats]:
    """Return a block, and the first column of the circulant matrix that solves for its shifts."""
    if size == 1:
        blocks = np.eye(1, players, dtype=bool)
    else:
        # Drawn by the same numbers in every call: a design is a constant of its size.
        blocks = generator(0, "design", players, size).random((_CANDIDATES, players)).argsort(axis=1) < size
    coefficients = np.fft.fft(blocks, axis=1)
    coefficients[:, 0] = np.inf
    error = (1 / np.maximum(np.abs(coefficients), np.finfo(np.float64).eps) ** 2).sum(axis=1)
    best = int(error.argmin())
    return blocks[best], np.fft.ifft(1 / coefficients[best].conj()).real


def _cycles(players: int) -> Booleans:
    """Return pairs that form triangles and, for what is left, one or two cycles of five or seven."""
    odd = {0: [], 1: [5, 5], 2: [5]}[players % _TRIANGLE]
    odd = [7] if players == 7 else odd
    lengths = [_TRIANGLE] * ((players - sum(odd)) // _TRIANGLE) + odd
    sets = np.zeros((players, players), dtype=bool)
    start = 0
    for length in lengths:
        along = np.arange(length)
        sets[start + along, start + along] = True
        sets[start + along, start + (along + 1) % length] = True
        start += length
    return sets
