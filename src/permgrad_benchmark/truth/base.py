"""What every known function is: features from a Gaussian copula, a sum of parts, noise,
and the truths about it.

All features come from one latent Gaussian vector z ~ N(0, R) by one rising map per
feature (its margin): uniform, Gaussian, yes or no, or a level. Independent features
have R = I. So one description gives samples, low-discrepancy points, and exact draws of
one feature given the others, which the truths need.

The truths have closed forms where they exist. Else randomised quasi Monte Carlo
estimates them: several independently scrambled Sobol point sets give as many
independent estimates. The value is their mean and the stated error its standard error.

The removal of features is *marginal* throughout (Janzing et al. 2020, arXiv
1910.13413): absent features are averaged over their own joint distribution, apart from
the present ones. That is what all packages compute. NOTE[DIFF]: SAGE (Covert et al.
2020, arXiv 2004.00668, eq. 2) is defined with the conditional distribution. The paper's
own estimator (Algorithm 1) and its package remove marginally, as here. With independent
features both are one.
"""

from __future__ import annotations

import functools
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from scipy.special import expit, ndtri, xlog1py, xlogy
from scipy.stats import qmc

from permgrad.base.arrays import Booleans, Floats
from permgrad.base.checks import check_choice, check_number, check_whole
from permgrad.base.errors import InputError
from permgrad.base.random import derive_seed, generator, resolve_seed
from permgrad.base.registry import Registry

Task = Literal["regression", "classification"]

#: The four truths, in words. ``x_j`` is redrawn or removed in the *true* function f,
#: and y = f + noise.
ESTIMANDS: dict[str, str] = {
    "total_effect": "rise of the loss when the feature is redrawn from its own "
    "distribution, apart from the rest",
    "sage": "SAGE value: Shapley value of the fall of the loss when features become "
    "known (absent ones are averaged "
    "over their joint distribution, apart from the present ones)",
    "shapley": "mean over rows of the absolute Shapley value of the output (absent "
    "features averaged as for SAGE)",
    "conditional_effect": "rise of the loss when the feature is redrawn from its "
    "distribution given the other features",
}
#: Point sets, points in each, and points over which absent features are averaged.
SETS, POINTS, AVERAGED = 8, 2048, 256
#: Pairs of points evaluated at once: bounds memory at some tens of megabytes.
_PAIRS = 2**19


class Truth(ABC):
    """A function of independent or correlated features with known effects.

    Args:
        noise: standard deviation of the Gaussian noise on y. None: the function's usual
            one. Classes have none.

    Attributes:
        name: name in the registry.
        title: a short description.
        n_features: how many features there are.
        parts: for each additive part the indexes of the features that it reads, of the
            first ones.
        default_noise: the function's usual noise.
        task: ``"regression"``, or ``"classification"``: y is 1 with probability 1 / (1
            + exp(−f)), else 0.

    Examples:
        >>> truth = truths.get("linear20")()
        >>> X, y = truth.sample(100, random_state=0)
        >>> X.shape, len(truth.relevant)
        ((100, 20), 10)
    """

    name: ClassVar[str]
    title: ClassVar[str]
    n_features: ClassVar[int] = 10
    parts: ClassVar[tuple[tuple[int, ...], ...]]
    default_noise: ClassVar[float] = 1.0
    task: ClassVar[Task] = "regression"

    def __init__(self, noise: float | None = None) -> None:
        given = self.default_noise if noise is None else noise
        self.noise = check_number(
            "noise", given, f"the default is {self.default_noise}"
        )

    # ---- rows ------------------------------------------------------------------------
    @property
    def feature_names(self) -> list[str]:
        """``x1, x2, …`` as in the papers."""
        return [f"x{j + 1}" for j in range(self.n_features)]

    @property
    def n_relevant(self) -> int:
        """How many features the function depends on: the first ones."""
        return 1 + max(map(max, self.parts))

    @property
    def relevant(self) -> list[str]:
        """Names of the features on which the function depends."""
        return self.feature_names[: self.n_relevant]

    @property
    def correlated(self) -> bool:
        """Whether features depend on each other."""
        return self.latent_correlation() is not None

    def sample(self, n: int, random_state: Any = None) -> tuple[pd.DataFrame, Floats]:
        """Draw features ``(n, features)`` and the noisy target ``(n,)``.

        0 and 1 for classification.
        """
        check_whole("n", n, "for example: n=1000")
        rng = generator(resolve_seed(random_state), "truth", self.name)
        x = self._draw(n, rng)
        f = self.values(x)
        y = (
            (rng.random(n) < sigmoid(f)).astype(np.float64)
            if self.task == "classification"
            else f
        )
        if self.task == "regression":
            y = f + self.noise * rng.standard_normal(n)
        return self.to_frame(x), y

    def function(self, X: Any) -> Floats:
        """Evaluate the noiseless function ``(n,)`` on rows of ``sample`` (the logit of
        class 1 for classification).
        """
        x = self.to_numbers(X)
        if x.ndim != 2 or x.shape[1] != self.n_features:
            problem = f"X must have {self.n_features} columns, got shape {x.shape}"
            raise InputError(
                problem, hint="Pass the features of sample().", code="PG007"
            )
        return self.values(x)

    def values(self, x: Floats) -> Floats:
        """Evaluate the function on numbers ``(n, features)``: the sum of its parts."""
        return np.asarray(
            sum(
                self._part(index, x[:, list(columns)])
                for index, columns in enumerate(self.parts)
            )
        )

    def to_frame(self, x: Floats) -> pd.DataFrame:
        """Return numbers ``(n, features)`` as the table a user would have.

        Levels are written out.
        """
        return pd.DataFrame(x, columns=self.feature_names)

    def to_numbers(self, X: Any) -> Floats:
        """Undo ``to_frame``."""
        return np.asarray(X, dtype=np.float64)

    # ---- the truths ------------------------------------------------------------------
    def known(self, estimand: str) -> Known:
        """Return one of the four truths, with its error and how it was found.

        Computed once per process.
        """
        return _known(type(self), estimand)

    def rise(self, before: Floats, after: Floats) -> Floats:
        """Return the expected rise of the loss, over y, when the true output ``before``
        becomes ``after``.

        Squared error: (after − before)². Cross entropy: the Kullback–Leibler divergence
        of the two probabilities.
        """
        if self.task == "regression":
            return np.asarray((after - before) ** 2)
        return np.asarray(
            cross_entropy(sigmoid(before), sigmoid(after))
            - cross_entropy(sigmoid(before), sigmoid(before))
        )

    # ---- what a function states ------------------------------------------------------
    @abstractmethod
    def _part(self, index: int, x: Floats) -> Floats:
        """Evaluate an additive part on its own features ``(n, features of the
        part)``.
        """

    @abstractmethod
    def margin(self, z: Floats) -> Floats:
        """Map standard Gaussian numbers ``(n, features)`` to features, each column by a
        rising function.
        """

    def latent_correlation(self) -> Floats | None:
        """Return the correlation R of the latent Gaussian ``(features, features)``.

        None if independent.
        """
        return None

    def _draw(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw features ``(n, features)``."""
        return self.margin(self.correlate(rng.standard_normal((n, self.n_features))))

    def correlate(self, z: Floats) -> Floats:
        """Give independent standard Gaussian numbers ``(n, features)`` the latent
        correlation.
        """
        correlation = self.latent_correlation()
        return (
            z
            if correlation is None
            else np.asarray(z @ np.linalg.cholesky(correlation).T)
        )

    def part_given(
        self,
        index: int,  # noqa: ARG002 — to override
        x: Floats,  # noqa: ARG002 — to override
        present: tuple[bool, ...],  # noqa: ARG002 — to override
    ) -> Floats | None:
        """Return a part's mean over its absent features, if there is a closed form.

        Else None.
        """
        return None

    def closed_form(self, estimand: str) -> Floats | None:  # noqa: ARG002 — to override
        """Return a truth ``(features,)`` if there is a closed form for it."""
        return None


@functools.lru_cache(maxsize=256)
def _known(kind: type[Truth], estimand: str) -> Known:
    truth = kind()
    check_choice("estimand", estimand, ESTIMANDS)
    closed = truth.closed_form(estimand)
    if closed is None and estimand == "conditional_effect" and not truth.correlated:
        return truth.known("total_effect")
    if closed is not None:
        return Known(
            np.asarray(closed, dtype=np.float64),
            np.zeros(truth.n_features),
            "closed form",
        )
    return sampled(truth, estimand)


truths: Registry[type[Truth]] = Registry("known function")
"""All functions with known effects; a new one is a class with
``@truths.register(name)``."""


def make_truth(name: str, noise: float | None = None) -> Truth:
    """Return a known function by name."""
    return truths.get(name)(noise)


# ---- the four truths -----------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Known:
    """One truth ``(features,)``, in units of the loss (``shapley``: of the output), its
    standard error, its source.
    """

    values: Floats
    error: Floats
    how: str


def sampled(
    truth: Truth,
    estimand: str,
    *,
    sets: int = SETS,
    points: int = POINTS,
    averaged: int = AVERAGED,
) -> Known:
    """Compute a truth by randomised quasi Monte Carlo, whether or not there is a closed
    form.
    """
    ways: dict[str, Callable[[Truth, int, int, int], Floats]] = {
        "total_effect": _total_effects,
        "conditional_effect": _conditional_effects,
        "shapley": _mean_absolute_shapley,
        "sage": _sage,
    }
    estimates = np.stack(
        [ways[estimand](truth, number, points, averaged) for number in range(sets)]
    )
    full = np.zeros((2, truth.n_features))
    full[0, : truth.n_relevant] = estimates.mean(axis=0)
    full[1, : truth.n_relevant] = estimates.std(axis=0, ddof=1) / math.sqrt(sets)
    return Known(full[0], full[1], "quasi Monte Carlo")


def latent_points(
    truth: Truth, n: int, number: int, what: str, extra: int = 0
) -> tuple[Floats, Floats]:
    """Return scrambled Sobol points as correlated latent Gaussians ``(n, features)``,
    and ``extra`` further columns.
    """
    generator = np.random.default_rng(
        derive_seed(number, "truth points", truth.name, what)
    )
    # "seed" is what SciPy before 1.15 calls it. Later ones, which say "rng", take a
    # generator under either name.
    uniform = qmc.Sobol(truth.n_features + extra, scramble=True, seed=generator).random(
        n
    )
    # The points lie on a grid that holds 0 itself, where the Gaussian is infinite.
    z = ndtri(np.clip(uniform, 2.0**-33, 1 - 2.0**-33))
    return truth.correlate(z[:, : truth.n_features]), z[:, truth.n_features :]


# ---- effects of redrawing one feature ------------------------------------------------
def _total_effects(truth: Truth, number: int, points: int, _: int) -> Floats:
    return _redrawn(truth, number, points * 16, lambda _, fresh, __: fresh)


def _conditional_effects(truth: Truth, number: int, points: int, _: int) -> Floats:
    correlation = truth.latent_correlation()
    if correlation is None:
        return _total_effects(truth, number, points, _)
    precision = np.linalg.inv(correlation)

    def given_the_rest(z: Floats, fresh: Floats, j: int) -> Floats:
        # The conditional law of one coordinate of a Gaussian: mean −Σ_{k≠j} P_jk z_k /
        # P_jj, variance 1 / P_jj.
        mean = z[:, j] - z @ precision[j] / precision[j, j]
        return np.asarray(mean + fresh / math.sqrt(precision[j, j]))

    return _redrawn(truth, number, points * 16, given_the_rest)


def _redrawn(
    truth: Truth,
    number: int,
    points: int,
    draw: Callable[[Floats, Floats, int], Floats],
) -> Floats:
    """Return E[rise of the loss] for each relevant feature, its latent coordinate
    redrawn.
    """
    z, fresh = latent_points(truth, points, number, "redrawn", extra=1)
    before = truth.values(truth.margin(z))
    effects = np.empty(truth.n_relevant)
    for j in range(truth.n_relevant):
        edited = z.copy()
        edited[:, j] = draw(z, fresh[:, 0], j)
        effects[j] = truth.rise(before, truth.values(truth.margin(edited))).mean()
    return effects


# ---- Shapley values ------------------------------------------------------------------
def _subsets(size: int) -> Booleans:
    """Return all subsets ``(2 ** size, size)``.

    Row s holds the binary digits of s, lowest first.
    """
    return np.asarray((np.arange(2**size)[:, None] >> np.arange(size)) % 2 == 1)


def shapley_from_coalitions(game: Floats, size: int) -> Floats:
    """Return Shapley values ``(size, *)`` of a game ``(2 ** size, *)``, row s for the
    subset with s's binary digits.
    """
    values = np.zeros((size, *game.shape[1:]))
    counts = _subsets(size).sum(axis=1)
    for j in range(size):
        without = np.flatnonzero((np.arange(2**size) >> j) % 2 == 0)
        weights = np.array(
            [1.0 / (size * math.comb(size - 1, int(k))) for k in counts[without]]
        )
        values[j] = np.tensordot(weights, game[without + 2**j] - game[without], axes=1)
    return values


def part_games(truth: Truth, x: Floats, averaged: Floats) -> list[Floats]:
    """Return for each part its mean over absent features, for every subset present:
    ``(2 ** features, n)``.
    """
    games = []
    for index, columns in enumerate(truth.parts):
        rows, absent = x[:, list(columns)], averaged[:, list(columns)]
        subsets = _subsets(len(columns))
        game = np.empty((len(subsets), len(rows)))
        for place, present in enumerate(subsets):
            closed = truth.part_given(index, rows, tuple(present.tolist()))
            part = partial(truth._part, index)  # noqa: SLF001 — a part of the same class
            game[place] = (
                _average(part, rows, absent, present) if closed is None else closed
            )
        games.append(game)
    return games


def _average(
    function: Callable[[Floats], Floats],
    rows: Floats,
    absent: Floats,
    present: Booleans,
) -> Floats:
    """Average a function over absent features: rows ``(n, d)``, others ``(m, d)``,
    result ``(n,)``.
    """
    if present.all():
        return function(rows)
    if not present.any():
        return np.full(len(rows), function(absent).mean())
    means = np.empty(len(rows))
    step = max(1, _PAIRS // len(absent))
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        grid = np.where(present, some[:, None, :], absent[None, :, :])
        means[start : start + step] = (
            function(grid.reshape(-1, rows.shape[1]))
            .reshape(len(some), -1)
            .mean(axis=1)
        )
    return means


def local_shapley(truth: Truth, x: Floats, averaged: Floats) -> Floats:
    """Return the exact Shapley values of the output for rows ``(n, features)``, absent
    features averaged.

    Values of a sum are sums of values, so that each part is enumerated alone.
    """
    values = np.zeros((len(x), truth.n_features))
    for columns, game in zip(truth.parts, part_games(truth, x, averaged), strict=True):
        values[:, list(columns)] += shapley_from_coalitions(game, len(columns)).T
    return values


def _mean_absolute_shapley(
    truth: Truth, number: int, points: int, averaged: int
) -> Floats:
    x, absent = _two_sets(truth, number, points, averaged)
    return np.asarray(
        np.abs(local_shapley(truth, x, absent)).mean(axis=0)[: truth.n_relevant]
    )


def _two_sets(
    truth: Truth, number: int, points: int, averaged: int
) -> tuple[Floats, Floats]:
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
    """SAGE with the log loss: absent features are averaged on the scale of
    probabilities.
    """
    size = truth.n_relevant
    truly = sigmoid(truth.values(x))

    def probability(relevant: Floats) -> Floats:
        # Features behind the relevant ones are not read.
        padded = np.zeros((len(relevant), truth.n_features))
        padded[:, :size] = relevant
        return sigmoid(truth.values(padded))

    falls = np.array(
        [
            -cross_entropy(
                truly, _average(probability, x[:, :size], absent[:, :size], s)
            ).mean()
            for s in _subsets(size)
        ]
    )
    return shapley_from_coalitions(falls, size)


def shapley_of_subsets(size: int, game: Callable[[tuple[int, ...]], float]) -> Floats:
    """Return exact Shapley values of a game given as a function of the players present
    ``(size,)``.
    """
    table = np.empty(2**size)
    for present in itertools.chain.from_iterable(
        itertools.combinations(range(size), k) for k in range(size + 1)
    ):
        table[sum(1 << j for j in present)] = game(present)
    return shapley_from_coalitions(table, size)


def sigmoid(f: Floats) -> Floats:
    """Return 1 / (1 + exp(−f))."""
    return np.asarray(expit(f))


def cross_entropy(truth: Floats, predicted: Floats) -> Floats:
    """Return the expected log loss of predicting probability ``predicted`` where it is
    ``truth``, in nats.
    """
    return np.asarray(-xlogy(truth, predicted) - xlog1py(1 - truth, -predicted))
