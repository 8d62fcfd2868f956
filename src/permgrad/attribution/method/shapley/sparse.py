"""Interactions of sparse games, in which every set of players has a separate variance.

Few sets of players matter in a sum of small trees, so most of its Walsh functions are 0. ``fitted`` gives all sets of a
size the same variance. Here the variance of each set follows its coefficient, in rounds (automatic relevance
determination: Tipping 2001; the rule of a round: Wipf & Nagarajan 2010, https://doi.org/10.1109/JSTSP.2010.2042413).
With enough coalitions the rounds find the few sets, and with them the game.

The rounds end where they no longer improve the prediction of coalitions that were held out. The numbers are those of
the Walsh functions found, plus those of what is left, which ``fitted`` predicts. Errors shrink as much as the error
on the coalitions held out did, and hold by how much these coalitions then changed each number. Where no round improves
it, nothing changes.

NOTE[DIFF]: ProxySPEX (Butler et al. 2025, arXiv 2505.17495) looks for the sets in boosted trees that are fitted to the
coalitions, and fits the coefficients of the largest ones by ridge regression.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations, islice
from math import comb
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.method.shapley.indices import InteractionIndex, walsh_share
from permgrad.base.arrays import Booleans, Floats

if TYPE_CHECKING:
    from permgrad.attribution.method.shapley.fitted import Fit

#: Most sets with separate variances, and fewest pairs of a coalition and its complement that tell them apart.
_MOST_SETS, _FEWEST = 8000, 20
#: One of so many pairs is held out. Rounds go on while each lowers the error on them to this share.
_EVERY, _GAIN, _MOST_ROUNDS = 4, 0.98, 24
#: Sets whose variance fell to this share of the first are left out. Least noise, as a share of the largest variance.
_ABSENT, _LEAST_NOISE = 1e-6, 1e-11


#: Sets of players ``(sets, players)`` and the coefficients of their Walsh functions.
_Sets: TypeAlias = tuple[Booleans, Floats]


class _Round(NamedTuple):
    """Sets with their variances, the noise, and what follows for the coefficients from the worth of coalitions."""

    sets: Tensor
    variances: Tensor
    noise: float
    coefficients: Tensor
    likelihood: float


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

    def missed(self, worth: Tensor, found: _Round) -> Tensor:
        """Return what the sets found leave of the worth of all coalitions."""
        return worth - self.functions[:, found.sets] @ found.coefficients

    def rounds(self, rows: Tensor, worth: Tensor, sets: Tensor, variances: Tensor, noise: float) -> Iterator[_Round]:
        """Yield one round after the other, from the worth of some coalitions and the variances to begin with."""
        functions, values, first = self.functions[rows][:, sets], worth[rows, None], variances
        identity, least = torch.eye(len(rows), dtype=torch.float64), float(variances.max()) * _LEAST_NOISE
        while True:
            factor, failed = torch.linalg.cholesky_ex((functions * variances) @ functions.T + noise * identity)
            if failed and math.isfinite(noise):
                # By rounding: the covariance has no inverse with so little noise.
                noise = least = 10 * noise
                continue
            solved = torch.linalg.solve_triangular(factor, values, upper=False)
            whitened = torch.linalg.solve_triangular(factor, functions, upper=False)
            pull = (whitened.T @ solved)[:, 0]
            likelihood = -float((solved**2).sum() / 2 + factor.diagonal().log().sum())
            yield _Round(sets, variances, noise, variances * pull, likelihood)
            inverse = torch.linalg.solve_triangular(factor, identity, upper=False)
            noise = max(noise * float((inverse.T @ solved).norm() / inverse.norm()), least)
            # Single players, and nobody, keep their wide variance.
            wide = self.members[sets].sum(dim=1) < 2
            variances = torch.where(wide, variances, variances * pull.abs() / whitened.norm(dim=0))
            left = wide | (variances > _ABSENT * first)
            sets, functions, variances, first = sets[left], functions[:, left], variances[left], first[left]


class SparseFit:
    """Improves a fit where few sets of players matter."""

    def __init__(self, fit: Fit) -> None:
        self.fit, self.interactions = fit, fit.interactions
        place = {row.tobytes(): number for number, row in enumerate(fit.coalitions)}
        paired = [(number, place.get((~row).tobytes())) for number, row in enumerate(fit.coalitions) if row[0]]
        pairs = [(one, other) for one, other in paired if other is not None]
        self._first, self._second = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        self.largest = self._largest(fit)
        self._halves = tuple(_Half.of(fit.coalitions[self._first], range(odd, self.largest + 1, 2)) for odd in (0, 1))

    @classmethod
    def possible(cls, fit: Fit) -> bool:
        """Whether there are few enough sets, and enough coalitions."""
        return cls._largest(fit) >= fit.interactions.order and len(fit.coalitions) >= 2 * _FEWEST

    @staticmethod
    def _largest(fit: Fit) -> int:
        """Return up to which size there are not too many sets. Larger ones are noise."""
        sets = list(accumulate(comb(fit.interactions.players, size) for size in range(fit.largest + 1)))
        return sum(count <= _MOST_SETS for count in sets) - 1

    def __call__(self, worth: Floats) -> tuple[Floats, Floats]:
        """Return the numbers of games ``(coalitions, games)`` and their standard errors, ``(numbers, games)``."""
        numbers, errors = self.fit(worth)
        rest, found = worth.copy(), np.zeros_like(numbers)
        chosen, scales = self.fit.chosen(worth)
        for game, (place, scale) in enumerate(zip(chosen.tolist(), scales.tolist(), strict=True)):
            variances, noise = self.fit.spectrum(place)
            noise += float(variances[self.largest + 1 :].sum())
            variances = variances[: self.largest + 1]
            spread = np.array([one / comb(self.interactions.players, size) for size, one in enumerate(variances)])
            if scale > 0:
                (members, coefficients), some, share = self._sets(worth[:, game] / scale**0.5, spread, noise)
                odd = (self.fit.coalitions.astype(np.int64) @ members.T) % 2
                rest[:, game] -= (1 - 2 * odd) @ (coefficients * scale**0.5)
                found[:, game] = numbers_of(self.interactions, members, coefficients) * scale**0.5
                changed = found[:, game] - numbers_of(self.interactions, *some) * scale**0.5
                errors[:, game] = np.sqrt(share * errors[:, game] ** 2 + changed**2)
        changed = found.any(axis=0)
        if changed.any():
            numbers[:, changed] = found[:, changed] + self.fit(rest[:, changed])[0]
        return numbers, errors

    def _sets(self, worth: Floats, variances: Floats, noise: float) -> tuple[_Sets, _Sets, float]:
        """Return the sets of a game, those found without the coalitions held out, and the share of the error left."""
        first, second = torch.from_numpy(worth[self._first]), torch.from_numpy(worth[self._second])
        both = tuple(zip(self._halves, ((first + second) / 2, (first - second) / 2), strict=True))
        every, spread = torch.arange(len(first)), torch.from_numpy(variances)
        held = every % _EVERY == _EVERY - 1
        starts = [(torch.arange(len(half.members)), spread[half.members.sum(dim=1)], noise) for half, _ in both]
        steps = [half.rounds(every[~held], game, *start) for (half, game), start in zip(both, starts, strict=True)]
        missed: list[float] = []
        tried: list[tuple[_Round, ...]] = []
        while len(missed) < 2 or (len(missed) < _MOST_ROUNDS and missed[-1] < _GAIN * missed[-2]):
            tried.append(tuple(map(next, steps)))
            parts = zip(both, tried[-1], strict=True)
            missed.append(sum(float((half.missed(game, one)[held] ** 2).mean()) for (half, game), one in parts))
        best = int(np.argmin(missed))
        halves = [half for half, _ in both]
        if best == 0:
            nothing = np.zeros((0, self.interactions.players), dtype=bool), np.zeros(0)
            return nothing, nothing, 1.0
        found = []
        for (half, game), start, known in zip(both, starts, tried[best], strict=True):
            # Rounds on all coalitions can end worse than those that were judged: the likelier ones are taken.
            again = next(islice(half.rounds(every, game, *start), best, None))
            judged = next(half.rounds(every, game, *known[:3]))
            found.append(max(again, judged, key=lambda one: one.likelihood))
        return _joined(halves, found), _joined(halves, tried[best]), missed[best] / missed[0]


def _joined(halves: Sequence[_Half], rounds: Sequence[_Round]) -> _Sets:
    """Return the sets of both halves with their coefficients."""
    members = torch.cat([half.members[one.sets] for half, one in zip(halves, rounds, strict=True)])
    return members.numpy(), torch.cat([one.coefficients for one in rounds]).numpy()


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
