"""Interactions of sparse games, in which every set of players has a variance of its own.

Few sets of players matter in a sum of small trees, so most of its Walsh functions are 0. ``fitted`` gives all sets of a
size the same variance. Here the variance of each set follows its coefficient, in rounds (automatic relevance
determination: Tipping 2001; the rule of a round: Wipf & Nagarajan 2010, https://doi.org/10.1109/JSTSP.2010.2042413).
With enough coalitions the rounds find the few sets, and with them the game.

The rounds end where they no longer improve the prediction of coalitions that were held out. The numbers are those of
the Walsh functions found, plus those of what is left, which ``fitted`` predicts. Errors shrink as much as the error
on the coalitions held out did. Where no round improves it, nothing changes.

NOTE[DIFF]: ProxySPEX (Butler et al. 2025, arXiv 2505.17495) looks for the sets in boosted trees that are fitted to the
coalitions, and fits the coefficients of the largest ones by ridge regression.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, islice
from math import comb
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.method.shapley.indices import InteractionIndex, walsh_share
from permgrad.attribution.method.shapley.owen import Booleans, Floats

if TYPE_CHECKING:
    from permgrad.attribution.method.shapley.fitted import Fit

#: Most sets with a variance of their own, and fewest pairs of a coalition and its complement that tell them apart.
_MOST_SETS, _FEWEST = 8000, 20
#: One of so many pairs is held out. Rounds go on while each lowers the error on them to this share.
_EVERY, _GAIN, _MOST_ROUNDS = 4, 0.98, 24
#: Sets whose variance fell below this share of the first are left out. Least noise, as a share of the
#: largest variance.
_ABSENT, _LEAST_NOISE = 1e-6, 1e-11


@dataclass(frozen=True)
class _Half:
    """The sets of an even, or of an odd, number of players.

    A coalition and its complement have the same even Walsh functions and opposite odd ones. Half the sum of their
    worths, and half the difference, are therefore two games on half as many coalitions.
    """

    functions: Tensor  # (coalitions, sets)
    members: Tensor  # (sets, players)

    @classmethod
    def of(cls, coalitions: Booleans, sizes: range) -> _Half:
        """Return the half of coalitions ``(n, players)``."""
        players = coalitions.shape[1]
        signs = torch.from_numpy(np.where(coalitions, -1.0, 1.0))
        functions, members = [], []
        for size in sizes:
            sets = torch.tensor(list(combinations(range(players), size)), dtype=torch.int64)
            functions.append(signs[:, sets].prod(dim=2))
            members.append(torch.zeros(len(sets), players, dtype=torch.bool).scatter_(1, sets, value=True))
        return cls(torch.cat(functions, dim=1), torch.cat(members))

    def rounds(self, rows: Tensor, worth: Tensor, variances: Tensor, noise: float) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield after each round which sets are left and their coefficients, from the worth of some coalitions.

        ``variances`` are those of a set of each size, ``noise`` that of all larger ones.
        """
        sizes = self.members.sum(dim=1)
        left, functions, worth = torch.arange(len(sizes)), self.functions[rows], worth[rows, None]
        each = first = variances[sizes]
        identity, least = torch.eye(len(rows), dtype=torch.float64), float(variances.max()) * _LEAST_NOISE
        while True:
            factor = torch.linalg.cholesky((functions * each) @ functions.T + noise * identity)
            solved = torch.linalg.solve_triangular(factor, worth, upper=False)
            whitened = torch.linalg.solve_triangular(factor, functions, upper=False)
            pull = (whitened.T @ solved)[:, 0]
            yield left, each * pull
            inverse = torch.linalg.solve_triangular(factor, identity, upper=False)
            noise = max(noise * float((inverse.T @ solved).norm() / inverse.norm()), least)
            # Single players, and nobody, keep their wide variance.
            wide = sizes[left] < 2
            each = torch.where(wide, each, each * pull.abs() / whitened.norm(dim=0))
            kept = wide | (each > _ABSENT * first)
            left, functions, each, first = left[kept], functions[:, kept], each[kept], first[kept]


class SparseFit:
    """Improves a fit where few sets of players matter."""

    def __init__(self, fit: Fit) -> None:
        self.fit, self.interactions = fit, fit.interactions
        place = {row.tobytes(): number for number, row in enumerate(fit.coalitions)}
        paired = [(number, place.get((~row).tobytes())) for number, row in enumerate(fit.coalitions) if row[0]]
        pairs = [(one, other) for one, other in paired if other is not None]
        self._first, self._second = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        self._halves = tuple(_Half.of(fit.coalitions[self._first], range(odd, fit.largest + 1, 2)) for odd in (0, 1))

    @staticmethod
    def possible(fit: Fit) -> bool:
        """Whether there are few enough sets, and enough coalitions."""
        sets = sum(comb(fit.interactions.players, size) for size in range(fit.largest + 1))
        return sets <= _MOST_SETS and len(fit.coalitions) >= 2 * _FEWEST

    def __call__(self, worth: Floats) -> tuple[Floats, Floats]:
        """Return the numbers of games ``(coalitions, games)`` and their standard errors, ``(numbers, games)``."""
        numbers, errors = self.fit(worth)
        rest, found = worth.copy(), np.zeros_like(numbers)
        chosen, scales = self.fit.chosen(worth)
        for game, (place, scale) in enumerate(zip(chosen.tolist(), scales.tolist(), strict=True)):
            variances, noise = self.fit.spectrum(place)
            spread = np.array([one / comb(self.interactions.players, size) for size, one in enumerate(variances)])
            if scale > 0:
                members, coefficients, share = self._sets(worth[:, game], scale * spread, scale * noise)
                odd = (self.fit.coalitions.astype(np.int64) @ members.T) % 2
                rest[:, game] -= (1 - 2 * odd) @ coefficients
                found[:, game] = numbers_of(self.interactions, members, coefficients)
                errors[:, game] *= share**0.5
        changed = found.any(axis=0)
        if changed.any():
            numbers[:, changed] = found[:, changed] + self.fit(rest[:, changed])[0]
        return numbers, errors

    def _sets(self, worth: Floats, variances: Floats, noise: float) -> tuple[Booleans, Floats, float]:
        """Return the sets of a game, their coefficients, and what is left of the squared error without rounds."""
        first, second = torch.from_numpy(worth[self._first]), torch.from_numpy(worth[self._second])
        both = tuple(zip(self._halves, ((first + second) / 2, (first - second) / 2), strict=True))
        spread, every = torch.from_numpy(variances), torch.arange(len(first))
        held = every % _EVERY == _EVERY - 1
        rounds = [half.rounds(every[~held], game, spread, noise) for half, game in both]
        missed: list[float] = []
        while len(missed) < 2 or (len(missed) < _MOST_ROUNDS and missed[-1] < _GAIN * missed[-2]):
            error = 0.0
            for (half, game), steps in zip(both, rounds, strict=True):
                left, coefficients = next(steps)
                error += float(((game - half.functions[:, left] @ coefficients)[held] ** 2).mean())
            missed.append(error)
        best = int(np.argmin(missed))
        if best == 0:
            return np.zeros((0, self.interactions.players), dtype=bool), np.zeros(0), 1.0
        found = [next(islice(half.rounds(every, game, spread, noise), best, None)) for half, game in both]
        members = torch.cat([half.members[left] for half, (left, _) in zip(self._halves, found, strict=True)])
        coefficients = torch.cat([each for _, each in found])
        return members.numpy(), coefficients.numpy(), missed[best] / missed[0]


def numbers_of(interactions: InteractionIndex, members: Booleans, coefficients: Floats) -> Floats:
    """Return the numbers of a sum of Walsh functions of some sets ``(sets, players)``."""
    sizes, players = members.sum(axis=1), interactions.players
    result = np.zeros(interactions.numbers)
    for place, each in enumerate([*interactions.members, *interactions.members[:players]]):
        index, order = ("SII", 1) if place < players else (interactions.index, interactions.order)
        inside = members[:, each].all(axis=1)
        shares = [walsh_share(index, order, len(each), size) for size in sizes[inside].tolist()]
        result[place] = np.array(shares) @ coefficients[inside] if shares else 0.0
    return result
