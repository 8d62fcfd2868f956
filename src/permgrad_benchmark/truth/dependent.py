"""Known functions of features that depend on each other, and of categories with many
levels.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy.special import ndtr

from permgrad.base.arrays import Floats
from permgrad_benchmark.truth.base import Truth, truths
from permgrad_benchmark.truth.independent import (
    MEAN_ABSOLUTE,
    Friedman1,
    Interactions,
    Monomials,
)


def equal_correlation(size: int, correlation: float) -> Floats:
    """Return a correlation matrix with one value off the diagonal."""
    return np.asarray(
        np.full((size, size), correlation) + (1 - correlation) * np.eye(size)
    )


class CorrelatedLinear(Monomials):
    """A linear function of correlated Gaussian features, with closed forms of all four
    truths.

    With coefficients β and correlation R: total effect 2 β_j², conditional effect 2
    β_j² / (R⁻¹)_jj, SAGE β_j (R β)_j (a quadratic game's Shapley value), mean absolute
    Shapley value |β_j| √(2/π).
    """

    def closed_form(self, estimand: str) -> Floats | None:
        """Return any of the four truths."""
        beta = np.zeros(self.n_features)
        beta[: self.n_relevant] = self.sizes
        correlation = self.latent_correlation()
        if correlation is None:
            return super().closed_form(estimand)
        if estimand == "sage":
            return np.asarray(beta * (correlation @ beta))
        if estimand == "shapley":
            return np.asarray(np.abs(beta) * MEAN_ABSOLUTE)
        if estimand == "conditional_effect":
            return np.asarray(2 * beta**2 / np.diag(np.linalg.inv(correlation)))
        return np.asarray(2 * beta**2)


@truths.register("linear_correlated")
class LinearCorrelated(CorrelatedLinear):
    """A linear function of six of twelve Gaussian features.

    Neighbours correlate by 0.7, in two chains.

    Relevant and irrelevant features alternate along the chains, so that each irrelevant
    one has relevant neighbours.
    """

    name = "linear_correlated"
    title = "Linear, chains of correlated features"
    n_features = 12
    parts = tuple((j,) for j in range(6))
    sizes = (2.0, 1.6, 1.3, 1.1, 0.9, 0.7)
    correlation: ClassVar[float] = 0.7

    def latent_correlation(self) -> Floats:
        """Return 0.7 to the power of the distance along x1, x7, x2, x8, x3, x9 and x4,
        x10, x5, x11, x6, x12.
        """
        matrix = np.eye(self.n_features)
        for chain in ((0, 6, 1, 7, 2, 8), (3, 9, 4, 10, 5, 11)):
            places = np.arange(len(chain))
            matrix[np.ix_(chain, chain)] = self.correlation ** np.abs(
                places[:, None] - places
            )
        return matrix


@truths.register("duplicates")
class Duplicates(CorrelatedLinear):
    """Four relevant features, each with a copy that correlates by 0.9 and is not used,
    and two unrelated ones.

    With exact copies no method could know which of the two the function reads, because
    no data tell.
    """

    name = "duplicates"
    title = "Each relevant feature has an unused near-copy"
    parts = tuple((j,) for j in range(4))
    sizes = (2.0, -1.5, 1.2, 0.9)
    correlation: ClassVar[float] = 0.9

    def latent_correlation(self) -> Floats:
        """Return 0.9 between x_j and x_{j+4}, j = 1 … 4."""
        matrix = np.eye(self.n_features)
        first = np.arange(4)
        matrix[first, first + 4] = matrix[first + 4, first] = self.correlation
        return matrix


@truths.register("interactions_correlated")
class InteractionsCorrelated(Interactions):
    """The function of ``interactions`` with correlation 0.4 between all features."""

    name = "interactions_correlated"
    title = "Pairs and a triple of correlated features"
    correlation: ClassVar[float] = 0.4

    def latent_correlation(self) -> Floats:
        """Return equal correlations."""
        return equal_correlation(self.n_features, self.correlation)


@truths.register("friedman1_correlated")
class CorrelatedFriedman(Friedman1):
    """Friedman's function with a Gaussian copula, correlation 0.5 between all features.

    The truth is by Monte Carlo.

    A redrawn feature leaves the joint distribution, as it does in marginal replacement:
    the effect is that of the function.
    """

    name = "friedman1_correlated"
    title = "Friedman's first function, correlated features"
    correlation: ClassVar[float] = 0.5

    def latent_correlation(self) -> Floats:
        """Return equal correlations."""
        return equal_correlation(self.n_features, self.correlation)

    def _draw(self, n: int, rng: np.random.Generator) -> Floats:
        common = rng.standard_normal((n, 1))
        independent = rng.standard_normal((n, self.n_features))
        return self.margin(
            np.asarray(
                np.sqrt(self.correlation) * common
                + np.sqrt(1 - self.correlation) * independent
            )
        )

    def closed_form(self, estimand: str) -> None:  # noqa: ARG002 — there is none for any
        """Return None: all truths are by Monte Carlo."""
        return


def _level_effects(levels: int, spread: float, seed: int) -> Floats:
    """Return effects of levels with mean exactly 0 and the given standard deviation
    ``(levels,)``.
    """
    effects = np.random.Generator(np.random.PCG64(seed)).standard_normal(levels)
    effects -= effects.mean()
    return np.asarray(spread * effects / np.sqrt(np.mean(effects**2)))


@truths.register("categorical")
class Categorical(Truth):
    """y = a[x1] + b[x2] + x3 (1.5 + c[x4]): categories of 40, 12 and 5 levels and a
    number. Four more are irrelevant.

    Levels are equally likely. Features x5 and x6 are irrelevant categories of 30 and 12
    levels, x7 and x8 irrelevant numbers. The effects of levels have mean 0 and standard
    deviations 1.2, 0.8 and 0.7.
    """

    name = "categorical"
    title = "Categories with many levels, and numbers"
    n_features = 8
    default_noise = 0.5
    parts = ((0,), (1,), (2, 3))
    levels: ClassVar[tuple[int, ...]] = (40, 12, 0, 5, 30, 12, 0, 0)
    a, b, c = (
        _level_effects(40, 1.2, 1),
        _level_effects(12, 0.8, 2),
        _level_effects(5, 0.7, 3),
    )
    slope: ClassVar[float] = 1.5

    def margin(self, z: Floats) -> Floats:
        """Map Gaussian numbers to levels 0, 1, … or leave them."""
        x = np.array(z, dtype=np.float64)
        for j, count in enumerate(self.levels):
            if count:
                x[:, j] = np.minimum(np.floor(ndtr(z[:, j]) * count), count - 1)
        return x

    def _part(self, index: int, x: Floats) -> Floats:
        if index == 2:
            return np.asarray(x[:, 0] * (self.slope + self.c[x[:, 1].astype(np.int64)]))
        return np.asarray((self.a, self.b)[index][x[:, 0].astype(np.int64)])

    def to_frame(self, x: Floats) -> pd.DataFrame:
        """Write levels as text, such as ``L07``."""
        frame = super().to_frame(x)
        for name, count in zip(self.feature_names, self.levels, strict=True):
            if count:
                frame[name] = [f"L{int(level):02d}" for level in frame[name]]
        return frame

    def to_numbers(self, X: Any) -> Floats:
        """Read levels back."""
        frame = pd.DataFrame(X, copy=True)
        if frame.shape[1] != self.n_features:
            return np.zeros(frame.shape)
        for position, count in enumerate(self.levels):
            if count:
                name = frame.columns[position]
                frame[name] = [int(str(level)[1:]) for level in frame[name]]
        return frame.to_numpy(dtype=np.float64)

    def closed_form(self, estimand: str) -> Floats | None:
        """Return any truth: of categories from the moments of their levels' effects, of
        the pair as a product.
        """
        a2, b2, c2 = (
            float(np.mean(effects**2)) for effects in (self.a, self.b, self.c)
        )
        if estimand == "shapley":
            # Of the pair: x3 (slope + c) has the values x3 (slope + c/2) and x3 c/2.
            halves = (
                float(np.mean(np.abs(self.slope + self.c / 2))),
                float(np.mean(np.abs(self.c / 2))),
            )
            alone = [float(np.mean(np.abs(self.a))), float(np.mean(np.abs(self.b)))]
            relevant = [*alone, MEAN_ABSOLUTE * halves[0], MEAN_ABSOLUTE * halves[1]]
        elif estimand == "sage":
            relevant = [a2, b2, self.slope**2 + c2 / 2, c2 / 2]
        else:
            relevant = [2 * a2, 2 * b2, 2 * (self.slope**2 + c2), 2 * c2]
        return np.array([*relevant, 0, 0, 0, 0])
