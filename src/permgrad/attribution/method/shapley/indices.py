"""Interaction indices of a game: SII, k-SII, STII and FSII, as sums of its Möbius
transform.

Every index of a set S of players is ``Σ_{T ⊇ S} c(|S|, |T|) a(T)``, with a(T) the part
of the worth that only all of T bring together. SII (Grabisch & Roubens 1999): c = 1/(t
− s + 1). k-SII (Bordt & von Luxburg 2023, arXiv 2209.04012) adds SII of larger sets by
Bernoulli numbers, so that all values add up. STII (Sundararajan, Dhamdhere & Agarwal
2020, arXiv 1902.05622) and FSII (Tsai, Yeh & Ravikumar 2023, arXiv 2203.00870, theorem
19) divide what goes beyond the largest order.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import combinations
from math import comb

import numpy as np

from permgrad.base.arrays import Booleans, Floats

INDICES = ("k-SII", "SII", "STII", "FSII")
_BERNOULLI = tuple(
    map(
        Fraction,
        (
            "1",
            "-1/2",
            "1/6",
            "0",
            "-1/30",
            "0",
            "1/42",
            "0",
            "-1/30",
            "0",
            "5/66",
            "0",
            "-691/2730",
        ),
    )
)
#: Largest order of interactions.
MOST_ORDER = 12


def share(index: str, order: int, size: int, of: int) -> Fraction:
    """Return how much of a(T) with ``of`` players goes to one of its subsets of
    ``size`` players.
    """
    if index == "SII":
        return Fraction(1, of - size + 1)
    if index == "k-SII":
        steps = range(min(order, of) - size + 1)
        terms = (
            comb(of - size, step_number)
            * _BERNOULLI[step_number]
            / (of - size - step_number + 1)
            for step_number in steps
        )
        return sum(terms, start=Fraction(0))
    if of <= order:
        return Fraction(of == size)
    if index == "STII":
        return Fraction(size == order, comb(of, order))
    remaining_share = Fraction(comb(of - 1, order), comb(of + order - 1, order + size))
    if (order - size) % 2:
        sign = -1
    else:
        sign = 1
    return sign * Fraction(size, order + size) * comb(order, size) * remaining_share


@dataclass(frozen=True)
class InteractionIndex:
    """An index of an order over some players, and its numbers.

    They are the Shapley values of the players, the index of all larger sets, and the
    index of single players.
    """

    index: str
    order: int
    players: int

    @cached_property
    def members(self) -> tuple[tuple[int, ...], ...]:
        """The players of each name: single ones, pairs and so on."""
        return tuple(
            member_set
            for set_size in range(1, self.order + 1)
            for member_set in combinations(range(self.players), set_size)
        )

    @property
    def numbers(self) -> int:
        """How many numbers there are."""
        return len(self.members) + self.players

    def among(self, active: Booleans) -> tuple[InteractionIndex, Booleans]:
        """Return the index over some players, and which numbers these are,
        ``(numbers,)``.
        """
        shown = [bool(active[list(member_set)].all()) for member_set in self.members]
        return InteractionIndex(self.index, self.order, int(active.sum())), np.array(
            [*shown, *active]
        )

    def shares(self, sets: Booleans) -> Floats:
        """Return how much of a(T) goes to each number, ``(numbers, sets)``, for sets T
        ``(sets, players)``.
        """
        sizes = sets.sum(axis=1)
        result = np.zeros((self.numbers, len(sets)))
        every = [*self.members, *self.members[: self.players]]
        for number_index, member_set in enumerate(every):
            index, order = (
                ("SII", 1) if number_index < self.players else (self.index, self.order)
            )
            table = np.zeros(self.players + 1)
            table[len(member_set) :] = [
                share(index, order, len(member_set), player_count)
                for player_count in range(len(member_set), self.players + 1)
            ]
            result[number_index] = np.where(
                sets[:, member_set].all(axis=1), table[sizes], 0.0
            )
        return result

    def weights(self, kept_players: Booleans) -> Floats:
        """Return the numbers as weights of the worth of all coalitions, ``(numbers, 2
        ** players)``.
        """
        coalition_codes = (kept_players << np.arange(self.players)).sum(axis=1)
        weights = np.zeros((self.numbers, len(kept_players)))
        weights[:, coalition_codes] = self.shares(kept_players)
        for player in range(self.players):
            # a(T) is the sum of worths of subsets with the sign of what they lack: from
            # T to its subsets.
            paired_weights = weights.reshape(self.numbers, -1, 2, 2**player)
            paired_weights[:, :, 0] -= paired_weights[:, :, 1]
        return weights[:, coalition_codes]
