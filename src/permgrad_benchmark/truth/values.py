"""The four truths about a known function: closed forms where they exist, else quasi Monte Carlo with its error.

Randomised quasi Monte Carlo: several independently scrambled Sobol point sets give as many independent estimates. The
value is their mean and the stated error its standard error.

The removal of features is *marginal* throughout (Janzing et al. 2020, arXiv 1910.13413): absent features are averaged
over their own joint distribution, apart from the present ones. That is what all packages compute. NOTE[DIFF]: SAGE
(Covert et al. 2020, arXiv 2004.00668, eq. 2) is defined with the conditional distribution. The paper's own estimator
(Algorithm 1) and its package remove marginally, as here. With independent features both are one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, ndtri, xlog1py, xlogy
from scipy.stats import qmc

from permgrad.base.arrays import Booleans, Floats
from permgrad.base.checks import check_choice
from permgrad.base.random import derive_seed

if TYPE_CHECKING:
    from permgrad_benchmark.truth.base import Truth

#: Point sets, points in each, and points over which absent features are averaged.
SETS, POINTS, AVERAGED = 8, 2048, 256
#: Pairs of points evaluated at once: bounds memory at some tens of megabytes.
_PAIRS = 2**19


@dataclass(frozen=True, eq=False)
class Known:
    """One truth ``(features,)``, in units of the loss (``shapley``: of the output), its standard error, its source."""

    values: Floats
    error: Floats
    how: str


def compute_known(truth: Truth, estimand: str, estimands: Mapping[str, str]) -> Known:
    """Compute one of the four truths."""
    check_choice("estimand", estimand, estimands)
    closed = truth.closed_form(estimand)
    if closed is None and estimand == "conditional_effect" and not truth.correlated:
        return truth.known("total_effect")
    if closed is not None:
        return Known(np.asarray(closed, dtype=np.float64), np.zeros(truth.n_features), "closed form")
    return sampled(truth, estimand)


def sampled(truth: Truth, estimand: str, *, sets: int = SETS, points: int = POINTS, averaged: int = AVERAGED) -> Known:
    """Compute a truth by randomised quasi Monte Carlo, whether or not there is a closed form."""
    ways: dict[str, Callable[[Truth, int, int, int], Floats]] = {
        "total_effect": _total_effects,
        "conditional_effect": _conditional_effects,
        "shapley": _mean_absolute_shapley,
        "sage": _sage,
    }
    estimates = np.stack([ways[estimand](truth, number, points, averaged) for number in range(sets)])
    full = np.zeros((2, truth.n_features))
    full[0, : truth.n_relevant] = estimates.mean(axis=0)
    full[1, : truth.n_relevant] = estimates.std(axis=0, ddof=1) / math.sqrt(sets)
    return Known(full[0], full[1], "quasi Monte Carlo")


def latent_points(truth: Truth, n: int, number: int, what: str, extra: int = 0) -> tuple[Floats, Floats]:
    """Return scrambled Sobol points as correlated latent Gaussians ``(n, features)``, and ``extra`` further columns."""
    generator = np.random.default_rng(derive_seed(number, "truth points", truth.name, what))
    # "seed" is what SciPy before 1.15 calls it. Later ones, which say "rng", take a generator under either name.
    uniform = qmc.Sobol(truth.n_features + extra, scramble=True, seed=generator).random(n)
    # The points lie on a grid that holds 0 itself, where the Gaussian is infinite.
    z = ndtri(np.clip(uniform, 2.0**-33, 1 - 2.0**-33))
    return truth.correlate(z[:, : truth.n_features]), z[:, truth.n_features :]


# ---- effects of redrawing one feature --------------------------------------------------------------------------------
def _total_effects(truth: Truth, number: int, points: int, _: int) -> Floats:
    return _redrawn(truth, number, points * 16, lambda _, fresh, __: fresh)


def _conditional_effects(truth: Truth, number: int, points: int, _: int) -> Floats:
    correlation = truth.latent_correlation()
    if correlation is None:
        return _total_effects(truth, number, points, _)
    precision = np.linalg.inv(correlation)

    def given_the_rest(z: Floats, fresh: Floats, j: int) -> Floats:
        # The conditional law of one coordinate of a Gaussian: mean −Σ_{k≠j} P_jk z_k / P_jj, variance 1 / P_jj.
        mean = z[:, j] - z @ precision[j] / precision[j, j]
        return np.asarray(mean + fresh / math.sqrt(precision[j, j]))

    return _redrawn(truth, number, points * 16, given_the_rest)


def _redrawn(truth: Truth, number: int, points: int, draw: Callable[[Floats, Floats, int], Floats]) -> Floats:
    """Return E[rise of the loss] for each relevant feature, its latent coordinate redrawn."""
    z, fresh = latent_points(truth, points, number, "redrawn", extra=1)
    before = truth.values(truth.margin(z))
    effects = np.empty(truth.n_relevant)
    for j in range(truth.n_relevant):
        edited = z.copy()
        edited[:, j] = draw(z, fresh[:, 0], j)
        effects[j] = truth.rise(before, truth.values(truth.margin(edited))).mean()
    return effects


# ---- Shapley values --------------------------------------------------------------------------------------------------
def _subsets(size: int) -> Booleans:
    """Return all subsets ``(2 ** size, size)``. Row s holds the binary digits of s, lowest first."""
    return np.asarray((np.arange(2**size)[:, None] >> np.arange(size)) % 2 == 1)


def shapley_from_coalitions(game: Floats, size: int) -> Floats:
    """Return Shapley values ``(size, *)`` of a game ``(2 ** size, *)``, row s for the subset with s's binary digits."""
    values = np.zeros((size, *game.shape[1:]))
    counts = _subsets(size).sum(axis=1)
    for j in range(size):
        without = np.flatnonzero((np.arange(2**size) >> j) % 2 == 0)
        weights = np.array([1.0 / (size * math.comb(size - 1, int(k))) for k in counts[without]])
        values[j] = np.tensordot(weights, game[without + 2**j] - game[without], axes=1)
    return values


def part_games(truth: Truth, x: Floats, averaged: Floats) -> list[Floats]:
    """Return for each part its mean over absent features, for every subset present: ``(2 ** features, n)``."""
    games = []
    for index, columns in enumerate(truth.parts):
        rows, absent = x[:, list(columns)], averaged[:, list(columns)]
        subsets = _subsets(len(columns))
        game = np.empty((len(subsets), len(rows)))
        for place, present in enumerate(subsets):
            closed = truth.part_given(index, rows, tuple(present.tolist()))
            part = partial(truth._part, index)  # noqa: SLF001 — a part of the same class
            game[place] = _average(part, rows, absent, present) if closed is None else closed
        games.append(game)
    return games


def _average(function: Callable[[Floats], Floats], rows: Floats, absent: Floats, present: Booleans) -> Floats:
    """Average a function over absent features: rows ``(n, d)``, others ``(m, d)``, result ``(n,)``."""
    if present.all():
        return function(rows)
    if not present.any():
        return np.full(len(rows), function(absent).mean())
    means = np.empty(len(rows))
    step = max(1, _PAIRS // len(absent))
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        grid = np.where(present, some[:, None, :], absent[None, :, :])
        means[start : start + step] = function(grid.reshape(-1, rows.shape[1])).reshape(len(some), -1).mean(axis=1)
    return means


def local_shapley(truth: Truth, x: Floats, averaged: Floats) -> Floats:
    """Return the exact Shapley values of the output for rows ``(n, features)``, absent features averaged.

    Values of a sum are sums of values, so that each part is enumerated alone.
    """
    values = np.zeros((len(x), truth.n_features))
    for columns, game in zip(truth.parts, part_games(truth, x, averaged), strict=True):
        values[:, list(columns)] += shapley_from_coalitions(game, len(columns)).T
    return values


def _mean_absolute_shapley(truth: Truth, number: int, points: int, averaged: int) -> Floats:
    x, absent = _two_sets(truth, number, points, averaged)
    return np.asarray(np.abs(local_shapley(truth, x, absent)).mean(axis=0)[: truth.n_relevant])


def _two_sets(truth: Truth, number: int, points: int, averaged: int) -> tuple[Floats, Floats]:
    x = truth.margin(latent_points(truth, points, number, "explained")[0])
    absent = truth.margin(latent_points(truth, averaged, number, "averaged")[0])
    return x, absent


def _sage(truth: Truth, number: int, points: int, averaged: int) -> Floats:
    x, absent = _two_sets(truth, number, points, averaged)
    size = truth.n_relevant
    if truth.task == "classification":
        return _sage_of_classes(truth, x, absent)
    games = part_games(truth, x, absent)
    positions = [np.array(columns) for columns in truth.parts]
    f = truth.values(x)
    falls = np.empty(2**size)
    for place, present in enumerate(_subsets(size)):
        predicted = np.zeros(len(x))
        for columns, game in zip(positions, games, strict=True):
            predicted += game[int(present[columns] @ (1 << np.arange(len(columns))))]
        falls[place] = -np.mean((f - predicted) ** 2)
    return shapley_from_coalitions(falls, size)


def _sage_of_classes(truth: Truth, x: Floats, absent: Floats) -> Floats:
    """SAGE with the log loss: absent features are averaged on the scale of probabilities."""
    size = truth.n_relevant
    truly = sigmoid(truth.values(x))

    def probability(relevant: Floats) -> Floats:
        # Features behind the relevant ones are not read.
        padded = np.zeros((len(relevant), truth.n_features))
        padded[:, :size] = relevant
        return sigmoid(truth.values(padded))

    falls = np.array(
        [-cross_entropy(truly, _average(probability, x[:, :size], absent[:, :size], s)).mean() for s in _subsets(size)]
    )
    return shapley_from_coalitions(falls, size)


def shapley_of_subsets(size: int, game: Callable[[tuple[int, ...]], float]) -> Floats:
    """Return exact Shapley values of a game given as a function of the players present ``(size,)``."""
    table = np.empty(2**size)
    for present in itertools.chain.from_iterable(itertools.combinations(range(size), k) for k in range(size + 1)):
        table[sum(1 << j for j in present)] = game(present)
    return shapley_from_coalitions(table, size)


def sigmoid(f: Floats) -> Floats:
    """Return 1 / (1 + exp(−f))."""
    return np.asarray(expit(f))


def cross_entropy(truth: Floats, predicted: Floats) -> Floats:
    """Return the expected log loss of predicting probability ``predicted`` where it is ``truth``, in nats."""
    return np.asarray(-xlogy(truth, predicted) - xlog1py(1 - truth, -predicted))
