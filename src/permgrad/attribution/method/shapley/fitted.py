"""Interaction indices from some of the coalitions: their best linear prediction.

A game is written in Walsh functions, ``v(S) = Σ_U β_U (−1)^|U ∩ S| + ε_S``, with independent β whose variance depends
on the size of U alone, and ε for all larger sizes. Under this distribution the covariances between the worth of
coalitions, and with every number of an index, are known in closed form, because an index is linear in the game. The
best linear prediction (Goldberger 1962; kriging) follows, with its standard error. How fast the variance falls with the
size of U is chosen for each row by its likelihood, the scale is estimated.

NOTE[DIFF]: KernelSHAP-IQ (Fumagalli et al. 2024, arXiv 2405.10852) fits the sizes up to the order by least squares and
treats the rest as noise. Here the rest is part of the index as well: with all coalitions the numbers are exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, combinations, islice
from math import comb
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.method.shapley.game import slices
from permgrad.attribution.method.shapley.indices import InteractionIndex, share, walsh_share
from permgrad.attribution.method.shapley.sampled import RowValues, row_bytes
from permgrad.attribution.players.tree import Counters, places
from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.progress import Progress
from permgrad.base.random import content_keys, generator, uniform

#: Largest size with a separate variance. All larger ones are ε.
_LARGEST = 4
#: Most coalitions that are fitted together, and numbers that are held at once.
_TOGETHER, _BLOCK_NUMBERS = 3000, 2**24
FITTED = "best linear prediction from coalitions"
#: Variance of all sets of one size, relative to the size before, that are tried. That of up to one player is wide.
_FALLS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_WIDE = 1e3
#: Coalitions for each number of the index from which on errors are those of the likeliest distribution.
_ENOUGH = 2.0
#: A number is larger than others beyond so many standard deviations.
_FAR = 2.0
#: Most sets with separate variances, and fewest pairs of a coalition and its complement that tell them apart.
_MOST_SETS, _FEWEST = 8000, 20
#: One of so many pairs is held out. Rounds go on while each lowers the error on them to this share.
_EVERY, _GAIN, _MOST_ROUNDS = 4, 0.98, 24
#: Sets whose variance fell to this share of the first are left out. Least noise, as a share of the largest variance.
_ABSENT, _LEAST_NOISE = 1e-6, 1e-11


#: Sets of players ``(sets, players)`` and the coefficients of their Walsh functions.
_Sets: TypeAlias = tuple[Booleans, Floats]


def drawn_coalitions(seed: int, players: int, count: int, number: int = 0) -> Booleans:
    """Return distinct coalitions ``(count, players)``: nobody, everybody, small ones and their complements, drawn ones.

    Sizes are drawn in proportion to 1/(size · (players − size)), as Shapley's kernel weighs them. Sizes that would be
    exhausted are enumerated.
    """
    rng, count = generator(seed, "coalitions", players, count, number), min(count, 2**players)
    sizes = list(range(1, players // 2 + 1))
    chance = np.array([(1 if 2 * size < players else 0.5) / (size * (players - size)) for size in sizes])
    codes: dict[bytes, None] = {}

    def add(members: Integers | tuple[int, ...]) -> None:
        row = np.zeros(players, dtype=bool)
        row[list(members)] = True
        for each in (row, ~row):
            if len(codes) < count:
                codes.setdefault(each.tobytes())

    add(())
    while sizes and (count - len(codes)) * chance[0] / chance.sum() >= comb(players, sizes[0]) * (
        2 if 2 * sizes[0] < players else 1
    ):
        for members in combinations(range(players), sizes[0]):
            add(members)
        sizes, chance = sizes[1:], chance[1:]
    while len(codes) < count and sizes:
        add(rng.permutation(players)[: rng.choice(sizes, p=chance / chance.sum())])
    drawn = np.array([np.frombuffer(code, dtype=bool) for code in codes])
    # Nobody and everybody first. Any number of the others is then a sample of all sizes.
    order = np.concatenate([np.arange(2), 2 + rng.permutation(len(drawn) - 2)])
    return drawn[order]


@lru_cache(maxsize=512)
def _krawtchouk(size: int, apart: int, players: int) -> int:
    """Return Σ_U (−1)^|U ∩ S| over the sets U of one size, for a set S of ``apart`` players."""
    return sum((-1) ** both * comb(apart, both) * comb(players - apart, size - both) for both in range(size + 1))


class Fit:
    """Predicts the numbers of an index from the worth of coalitions ``(coalitions, players)``."""

    def __init__(self, interactions: InteractionIndex, coalitions: Booleans) -> None:
        self.interactions, self.coalitions = interactions, coalitions
        players = interactions.players
        sets = coalitions.astype(np.float64)
        sizes = sets.sum(axis=1)
        self._apart = np.rint(sizes[:, None] + sizes - 2 * sets @ sets.T).astype(np.int64)
        self._kinds = _kinds(interactions)
        # Measured on games of 12 players: with fewer coalitions the likeliest distribution fits them too well.
        self._few = max(1.0, _ENOUGH * len(interactions.members) / len(coalitions))
        self._alike = np.array(
            [[_krawtchouk(size, apart, players) / comb(players, size) for apart in range(players + 1)]
             for size in range(min(max(_LARGEST, interactions.order + 1), players) + 1)]
        )  # fmt: skip

    @property
    def largest(self) -> int:
        """Largest size with a separate variance."""
        return len(self._alike) - 1

    def __call__(self, worth: Floats) -> tuple[Floats, Floats]:
        """Return the numbers of games ``(coalitions, games)`` and their standard errors, ``(numbers, games)``."""
        values, (chosen, scales) = torch.from_numpy(worth), self.chosen(worth)
        numbers, errors = np.zeros((2, self.interactions.numbers, worth.shape[1]))
        for place in np.unique(chosen).tolist():
            games = chosen == place
            lower = self._factor(place)
            shared, prior = self._with_numbers(place)
            explained = torch.linalg.solve_triangular(lower, shared, upper=False)
            solved = torch.linalg.solve_triangular(lower, values[:, torch.from_numpy(games)], upper=False)
            told = (explained**2).sum(dim=0)
            left = (prior - told).clamp_min(0.0)
            found = explained.T @ solved
            scale = torch.from_numpy(scales[games])
            # A number that is far larger than others is drawn towards 0 by as much of it as is not told.
            beyond = (found**2 - _FAR**2 * told[:, None] * scale).clamp_min(0.0)
            drawn = torch.where(told > 0, left / told.clamp_min(1e-300), 0.0)[:, None] * beyond.sqrt()
            # The mean squared error of each game's coalitions, each predicted from all others.
            inverse = torch.linalg.solve_triangular(lower, torch.eye(len(lower), dtype=lower.dtype), upper=False)
            off = ((inverse.T @ solved) ** 2 / (inverse**2).sum(dim=0)[:, None]).mean(dim=0) / scale
            numbers[:, games] = found.numpy()
            errors[:, games] = self._few * (off.clamp_min(1.0) * left[:, None] * scale + drawn**2).sqrt().numpy()
        return numbers, errors

    def chosen(self, worth: Floats) -> tuple[Integers, Floats]:
        """Return which fall of the variances is likeliest for each game, and the scale of its variances."""
        values, count = torch.from_numpy(worth), len(worth)
        likelihoods, scales = [], []
        for place in range(len(_FALLS)):
            lower = self._factor(place)
            squares = (torch.linalg.solve_triangular(lower, values, upper=False) ** 2).sum(dim=0) / count
            scales.append(squares)
            tiny = torch.finfo(torch.float64).tiny
            likelihoods.append(-count / 2 * (squares + tiny).log() - lower.diagonal().log().sum())
        best = torch.stack(likelihoods).argmax(dim=0)
        return best.numpy(), torch.stack(scales).gather(0, best[None])[0].numpy()

    def spectrum(self, place: int) -> tuple[Floats, float]:
        """Return the variance of all sets of each size, and that of ε."""
        sizes, fall = np.arange(self.largest + 1), _FALLS[place]
        return np.where(sizes < 2, _WIDE, fall ** (sizes - 2.0)), fall ** (self.largest - 1.0)

    def _factor(self, place: int) -> Tensor:
        """Return the Cholesky factor of the covariance between the coalitions."""
        variances, rest = self.spectrum(place)
        covariance = (variances @ self._alike)[self._apart]
        covariance[np.diag_indices(len(covariance))] += rest
        return torch.linalg.cholesky(torch.from_numpy(covariance))

    def _with_numbers(self, place: int) -> tuple[Tensor, Tensor]:
        """Return the covariances with the numbers, ``(coalitions, numbers)``, and the variance of each number."""
        variances, rest = self.spectrum(place)
        sizes = self.coalitions.sum(axis=1)
        shared, prior = np.empty((self.interactions.numbers, len(sizes))), np.empty(self.interactions.numbers)
        for span, members, walsh, weights, squares, total in self._kinds:
            inside = self.coalitions[:, members].sum(axis=2).T  # (names, coalitions)
            others = sizes - inside
            sign = 1 - 2 * (inside % 2)
            shared[span] = sign * (variances @ walsh)[others] + rest * weights[others, inside]
            prior[span] = variances @ squares + rest * total
        return torch.from_numpy(shared).T, torch.from_numpy(prior)


def _kinds(interactions: InteractionIndex) -> list[tuple[slice, Integers, Floats, Floats, Floats, float]]:
    """Return for each size of names: places, members, and how Walsh functions and coalitions enter their numbers."""
    names, players, start = interactions.members, interactions.players, 0
    kinds = []
    for size in range(1, interactions.order + 2):
        # The index of single players comes last.
        last = size > interactions.order
        of = [each for each in names if len(each) == (1 if last else size)]
        index = "SII" if size == 1 else interactions.index
        tables = _tables(players, index, interactions.order, len(of[0]))
        kinds.append((slice(start, start + len(of)), np.array(of), *tables))
        start += len(of)
    return kinds


@lru_cache(maxsize=64)
def _tables(players: int, index: str, order: int, size: int) -> tuple[Floats, Floats, Floats, float]:
    """Return what enters the number of a name of ``size`` players, in exact fractions as long as terms cancel.

    The Walsh functions of each size, by the number of other players in a coalition; the weight of a coalition, by its
    other players and those of the name; the squares of both, summed.
    """
    shares = {of: share(index, order, size, of) for of in range(size, players + 1)}
    others, largest = players - size, min(max(_LARGEST, order + 1), players)
    walsh, squares = np.zeros((largest + 1, others + 1)), np.zeros(largest + 1)
    for of in range(size, largest + 1):
        factor = walsh_share(index, order, size, of)
        walsh[of] = [factor * _krawtchouk(of - size, apart, others) / comb(players, of) for apart in range(others + 1)]
        squares[of] = factor**2 * comb(others, of - size) / comb(players, of)
    weights, total = np.zeros((others + 1, size + 1)), 0.0
    for beside in range(others + 1):
        for inside in range(size + 1):
            sign = (-1) ** (size - inside)
            more = range(others - beside + 1)
            weight = sum(comb(others - beside, one) * (-1) ** one * shares[size + beside + one] for one in more)
            weights[beside, inside] = sign * float(weight)
            total += comb(size, inside) * comb(others, beside) * weights[beside, inside] ** 2
    return walsh, weights, squares, total


# ---- sparse games ----------------------------------------------------------------------------------------------------
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

    def missed(self, worth: Tensor, sampled: _Round) -> Tensor:
        """Return what the sets found leave of the worth of all coalitions."""
        return worth - self.functions[:, sampled.sets] @ sampled.coefficients

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
    """Improves a fit of a sparse game, in which every set of players has a separate variance.

    Few sets of players matter in a sum of small trees, so most of its Walsh functions are 0. ``Fit`` gives all sets of
    a size the same variance. Here the variance of each set follows its coefficient, in rounds (automatic relevance
    determination: Tipping 2001; the rule of a round: Wipf & Nagarajan 2010,
    https://doi.org/10.1109/JSTSP.2010.2042413). With enough coalitions the rounds find the few sets, and with them the
    game.

    The rounds end where they no longer improve the prediction of coalitions that were held out. The numbers are those
    of the Walsh functions found, plus those of what is left, which ``Fit`` predicts. Errors shrink as much as the error
    on the coalitions held out did, and hold by how much these coalitions then changed each number. Where no round
    improves it, nothing changes.

    NOTE[DIFF]: ProxySPEX (Butler et al. 2025, arXiv 2505.17495) looks for the sets in boosted trees that are fitted to
    the coalitions, and fits the coefficients of the largest ones by ridge regression.
    """

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
        tried_games = []
        for (half, game), start, known in zip(both, starts, tried[best], strict=True):
            # Rounds on all coalitions can end worse than those that were judged: the likelier ones are taken.
            again = next(islice(half.rounds(every, game, *start), best, None))
            judged = next(half.rounds(every, game, *known[:3]))
            tried_games.append(max(again, judged, key=lambda one: one.likelihood))
        return _joined(halves, tried_games), _joined(halves, tried[best]), missed[best] / missed[0]


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


# ---- rows ------------------------------------------------------------------------------------------------------------
class RowInteractions(RowValues):
    """Interactions of all rows of an output game ``(rows, numbers, V)``, enumerated or fitted, and their errors."""

    interactions: InteractionIndex

    def fill(self) -> None:
        """Compute the numbers of all rows. A row's coalitions depend on nothing but its contents."""
        game, references, count = self.game, self.references, self.game.request.count
        size = max(1, _BLOCK_NUMBERS // (_TOGETHER * game.players))
        with Progress(count, "shapley", game.request.progress) as progress:
            for part in slices(count, size):
                rows = np.arange(part.start, part.stop, dtype=np.int64)
                active = game.differs(rows, np.broadcast_to(references, (len(rows), len(references))))
                few = active.sum(axis=1) <= self.exact
                self._enumerate(rows[few], active[few])
                keys = content_keys([row_bytes(tensor[part]) for tensor in game.request.inputs])
                patterns, which = np.unique(active[~few], axis=0, return_inverse=True)
                for number, pattern in enumerate(patterns):
                    alike = which.reshape(-1) == number
                    self._fit(rows[~few][alike], keys[~few][alike], pattern)
                progress.advance(len(rows))

    def _fit(self, rows: Integers, keys: Counters, active: Booleans) -> None:
        """Fit rows with the same active players, with more coalitions until the errors are small.

        The first design grows, and where few sets matter they are looked for. Further designs are averaged with it.
        """
        self.ways.add(FITTED)
        some, numbers = self.interactions.among(active)
        players, seed, count = some.players, self.game.request.seed, len(self.references)
        calls = self.rule.most * players // count
        most = min(max(calls, len(some.members)), 2**players)
        designs = -(-most // _TOGETHER)
        with np.errstate(over="ignore"):
            numbered = keys[:, None] * np.uint64(players) + np.arange(players, dtype=np.uint64)
        # Which player of a coalition each active player is: rows have different coalitions.
        slots = places(uniform(seed, ("coalition players",), numbered))
        mean, squares = np.zeros((2, len(rows), some.numbers, self.game.width))
        waiting = np.arange(len(rows))
        for number in range(designs):
            coalitions = drawn_coalitions(seed, players, -(-most // designs), number)
            worth = np.empty((len(rows), len(coalitions), self.game.width))
            step, played = len(coalitions) if number else 2 * len(some.members), 0
            while played < len(coalitions) and len(waiting):
                stop = min(len(coalitions), max(step, 2 * played))
                worth[waiting, played:stop] = self._play(rows[waiting], slots[waiting], active, coalitions[played:stop])
                played = stop
                fit = Fit(some, coalitions[:played])
                fitted, errors = self._fitted(fit, worth[waiting, :played], slots[waiting])
                values, summed = (number * mean[waiting] + fitted) / (number + 1), squares[waiting] + errors**2
                if played == len(coalitions):
                    mean[waiting], squares[waiting] = values, summed
                # Fits of few coalitions shrink alike, which no average takes off.
                std = np.sqrt(summed / (number + 1) / (number + 1 if played >= 2 * len(some.members) else 1))
                unsure = self._unsure(std)
                if number == 0 and unsure.any() and SparseFit.possible(fit):
                    few = waiting[unsure]
                    values[unsure], std[unsure] = self._fitted(SparseFit(fit), worth[few, :played], slots[few])
                where = np.ix_(rows[waiting], np.flatnonzero(numbers))
                # An average of several designs can be worse than the sets that were found in the first.
                worse = (std**2).mean(axis=(1, 2)) > (self.std[where] ** 2).mean(axis=(1, 2))
                for kept, now in ((self.values, values), (self.std, std)):
                    kept[where] = np.where((worse & (number > 0))[:, None, None], kept[where], now)
                self.freedom[rows[waiting]] = max(1, played * (number + 1) - players - 1)
                self.orders[rows[waiting]] = -(-(played * (number + 1)) * count // players)
                waiting = waiting[self._unsure(self.std[where])]

    def _unsure(self, std: Floats) -> Booleans:
        """Return which rows have an error that is too large, ``(rows,)``."""
        return np.asarray((std > self.rule.tolerance * self.scale).any(axis=(1, 2)))

    def _play(self, rows: Integers, slots: Integers, active: Booleans, coalitions: Booleans) -> Floats:
        """Return the worth of coalitions of renamed players, ``(rows, coalitions, V)``."""
        keeps = np.ones((len(rows), len(coalitions), len(active)), dtype=bool)
        keeps[:, :, active] = coalitions.T[slots].transpose(0, 2, 1)
        donors = np.broadcast_to(self.references, (len(rows), len(self.references)))
        worth = np.empty((len(rows), len(coalitions), self.game.width))
        sizes = coalitions.sum(axis=1)
        between = (sizes > 0) & (sizes < coalitions.shape[1])
        worth[:, between] = self.game.values(rows, donors, keeps[:, between])
        worth[:, sizes == 0] = self.game.empty(rows, donors)[:, None]
        worth[:, sizes == coalitions.shape[1]] = self.game.full(rows)[:, None]
        return worth

    def _fitted(self, fit: Fit | SparseFit, worth: Floats, slots: Integers) -> tuple[Floats, Floats]:
        """Return the numbers of rows and their errors ``(rows, numbers, V)``, under the players' own names."""
        rows, count, width = worth.shape
        some, players = fit.interactions, fit.interactions.players
        taken, names = [], some.members
        for size in range(1, some.order + 1):
            members = np.array([each for each in names if len(each) == size])
            powers = players ** np.arange(size)[::-1]
            start = sum(comb(players, smaller) for smaller in range(1, size))
            codes = np.sort(slots[:, members], axis=2) @ powers
            taken.append(start + np.searchsorted(members @ powers, codes))
        taken.append(len(names) + slots)
        order = np.concatenate(taken, axis=1)[..., None]
        fitted = fit(worth.transpose(1, 0, 2).reshape(count, rows * width))
        both = (each.reshape(-1, rows, width).swapaxes(0, 1) for each in fitted)
        numbers, errors = (np.take_along_axis(each, order, axis=1) for each in both)
        return numbers, errors
