"""Known functions of independent features."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from scipy.special import ndtr

from permgrad.base.arrays import Floats
from permgrad_benchmark.truth.base import Truth, shapley_of_subsets, truths

#: E|z| of a standard Gaussian.
MEAN_ABSOLUTE = math.sqrt(2 / math.pi)


class Uniform(Truth):
    """Features uniform on 0 … 1."""

    def margin(self, z: Floats) -> Floats:
        """Map Gaussian numbers to 0 … 1."""
        return np.asarray(ndtr(z))

    def _draw(self, n: int, rng: np.random.Generator) -> Floats:
        return rng.random((n, self.n_features))


class Gaussian(Truth):
    """Standard Gaussian features."""

    def margin(self, z: Floats) -> Floats:
        """Leave Gaussian numbers as they are."""
        return z


class Monomials(Gaussian):
    """A sum of products of standard Gaussian features: y = Σ_c a_c Π_{j in part c} x_j.

    With independent features the terms are orthogonal, so that all truths are sums over
    the terms a feature is in: total effect 2 a², SAGE a² / (features of the term).

    Attributes:
        sizes: the coefficient a_c of each part.
    """

    sizes: ClassVar[tuple[float, ...]]

    def _part(self, index: int, x: Floats) -> Floats:
        return np.asarray(self.sizes[index] * np.prod(x, axis=1))

    def part_given(
        self, index: int, x: Floats, present: tuple[bool, ...]
    ) -> Floats | None:
        """Return the product's mean over absent features: 0, where they are
        independent.
        """
        if self.correlated:
            return None
        return self._part(index, x) if all(present) else np.zeros(len(x))

    def closed_form(self, estimand: str) -> Floats | None:
        """Return sums over the terms.

        The mean absolute Shapley value only where no feature is in two terms.
        """
        if self.correlated:
            return None
        values, terms = np.zeros(self.n_features), np.zeros(self.n_features)
        for size, columns in zip(self.sizes, self.parts, strict=True):
            k = len(columns)
            gain = {
                "total_effect": 2 * size**2,
                "conditional_effect": 2 * size**2,
                "sage": size**2 / k,
                "shapley": abs(size) / k * MEAN_ABSOLUTE**k,
            }[estimand]
            values[list(columns)] += gain
            terms[list(columns)] += 1
        return None if estimand == "shapley" and terms.max() > 1 else values


@truths.register("friedman1")
class Friedman1(Uniform):
    """y = 10 sin(π x1 x2) + 20 (x3 − ½)² + 10 x4 + 5 x5: Friedman 1991, eq. 61.

    Ten uniform features, five relevant.
    """

    name = "friedman1"
    title = "Friedman's first function, independent features"
    parts = ((0, 1), (2,), (3,), (4,))

    def _part(self, index: int, x: Floats) -> Floats:
        if index == 0:
            return np.asarray(10 * np.sin(np.pi * x[:, 0] * x[:, 1]))
        return np.asarray(
            [20 * (x[:, 0] - 0.5) ** 2, 10 * x[:, 0], 5 * x[:, 0]][index - 1]
        )

    def closed_form(self, estimand: str) -> Floats | None:
        """Return the effects and SAGE values.

        The pair's by Gauss–Legendre of order 64, exact to rounding here.
        """
        if estimand == "shapley":
            return None
        node, weight = np.polynomial.legendre.leggauss(64)
        node, weight = (node + 1) / 2, weight / 2
        grid = 10 * np.sin(np.pi * np.outer(node, node))
        # Var of (u − ½)² is 1/180, of u is 1/12.
        alone = np.array([400 / 180, 100 / 12, 25 / 12])
        if estimand == "sage":
            # The two features of the pair are exchangeable, so each gets half of the
            # pair's variance.
            half = float(weight @ grid**2 @ weight - (weight @ grid @ weight) ** 2) / 2
            return np.array([half, half, *alone, 0, 0, 0, 0, 0])
        # Twice the expected variance over x1 given x2.
        pair = 2 * float(weight @ (weight @ grid**2 - (weight @ grid) ** 2))
        return np.array([pair, pair, *(2 * alone), 0, 0, 0, 0, 0])


@truths.register("linear20")
class Linear20(Monomials):
    """A linear function of 20 Gaussian features, ten relevant.

    An effect is 2·coefficient².

    Coefficients go from 3.0 down to 0.6 with signs in turn.
    """

    name = "linear20"
    title = "Linear in ten of twenty independent features"
    n_features = 20
    parts = tuple((j,) for j in range(10))
    sizes = tuple(
        (np.linspace(3.0, 0.6, 10) * np.where(np.arange(10) % 2, -1.0, 1.0)).tolist()
    )

    @property
    def coefficients(self) -> Floats:
        """Coefficients ``(20,)``."""
        return np.concatenate([self.sizes, np.zeros(self.n_features - self.n_relevant)])


@truths.register("product")
class Product(Monomials):
    """y = 2 x1 x2 + x3 x4 + x5 in ten Gaussian features: a product's parts act only
    together.
    """

    name = "product"
    title = "Two products and a linear term"
    default_noise = 0.5
    parts = ((0, 1), (2, 3), (4,))
    sizes = (2.0, 1.0, 1.0)


@truths.register("interactions")
class Interactions(Monomials):
    """y = 2 x1 + x2 + 1.5 x1 x2 + x2 x3 + 1.5 x4 x5 + x3 x4 x6: main effects, pairs and
    one triple.

    Ten Gaussian features, six relevant.
    """

    name = "interactions"
    title = "Main effects, overlapping pairs and a triple"
    default_noise = 0.5
    parts = ((0,), (1,), (0, 1), (1, 2), (3, 4), (2, 3, 5))
    sizes = (2.0, 1.0, 1.5, 1.0, 1.5, 1.0)


@truths.register("irrelevant40")
class Irrelevant40(Monomials):
    """y = 2 x1 − 1.5 x2 + x3 x4: four relevant among forty Gaussian features."""

    name = "irrelevant40"
    title = "Four relevant among forty features"
    n_features = 40
    parts = ((0,), (1,), (2, 3))
    sizes = (2.0, -1.5, 1.0)


@truths.register("xor_like")
class XorLike(Uniform):
    """y = 3 tanh(2 x1) tanh(2 x2) + 2 tanh(2 x3) tanh(2 x4) + x5: the sign of a
    product, smoothed.

    Ten features uniform on −2 … 2, five relevant. x1 … x4 have no effect alone: their
    correlation with y is 0.
    """

    name = "xor_like"
    title = "Smoothed XOR of continuous features"
    default_noise = 0.3
    parts = ((0, 1), (2, 3), (4,))

    def margin(self, z: Floats) -> Floats:
        """Map Gaussian numbers to −2 … 2."""
        return np.asarray(4 * super().margin(z) - 2)

    def _draw(self, n: int, rng: np.random.Generator) -> Floats:
        return rng.uniform(-2.0, 2.0, (n, self.n_features))

    def _part(self, index: int, x: Floats) -> Floats:
        return np.asarray(
            x[:, 0] if index == 2 else (3, 2)[index] * np.prod(np.tanh(2 * x), axis=1)
        )

    def part_given(
        self, index: int, x: Floats, present: tuple[bool, ...]
    ) -> Floats | None:
        """Return the part, or 0 where a factor, whose mean is 0, is absent."""
        return self._part(index, x) if all(present) else np.zeros(len(x))

    def closed_form(self, estimand: str) -> Floats | None:
        """Return the truths from the mean square and the mean absolute value of
        tanh(2u), u uniform on −2 … 2.
        """
        # E[tanh²(2u)] is 1 − tanh(4)/4, E|tanh(2u)| is log(cosh(4))/4. The mean is 0.
        # Var x5 = 16/12, E|x5| = 1.
        square, absolute = 1 - np.tanh(4.0) / 4, np.log(np.cosh(4.0)) / 4
        of_parts = {
            "shapley": (1.5 * absolute**2, absolute**2, 1.0),
            "sage": (4.5 * square**2, 2 * square**2, 16 / 12),
        }.get(estimand, (18 * square**2, 8 * square**2, 32 / 12))
        return np.repeat([*of_parts, 0.0], (2, 2, 1, 5))


@truths.register("xor")
class Xor(Truth):
    """y = 2·[x1 ≠ x2] + [x3 ≠ x4] + 0.8 x5 of ten fair yes-or-no features, five
    relevant.
    """

    name = "xor"
    title = "XOR of yes-or-no features"
    default_noise = 0.5
    parts = ((0, 1), (2, 3), (4,))
    sizes = (2.0, 1.0, 0.8)

    def margin(self, z: Floats) -> Floats:
        """Map Gaussian numbers to 0 and 1, equally likely."""
        return np.asarray(z > 0, dtype=np.float64)

    def _part(self, index: int, x: Floats) -> Floats:
        return np.asarray(self.sizes[index] * (x.sum(axis=1) % 2))

    def part_given(
        self, index: int, x: Floats, present: tuple[bool, ...]
    ) -> Floats | None:
        """Return the part, or its mean where any of its features is absent: one alone
        says nothing about an XOR.
        """
        return (
            self._part(index, x)
            if all(present)
            else np.full(len(x), self.sizes[index] / 2)
        )

    def closed_form(self, estimand: str) -> Floats | None:
        """Return the truths: a redrawn feature differs half of the time, and then moves
        its part by its whole size.
        """
        values = np.zeros(self.n_features)
        for size, columns in zip(self.sizes, self.parts, strict=True):
            k = len(columns)
            values[list(columns)] = {
                "sage": size**2 / 4 / k,
                "shapley": size / 2 / k,
            }.get(estimand, size**2 / 2)
        return values


@truths.register("g_function")
class GFunction(Uniform):
    """y = Π_j (|4 x_j − 2| + a_j) / (1 + a_j) with a = 0, 0.5, 1, 2, 4: Sobol's
    g-function (Saltelli & Sobol 1995).

    Ten uniform features, five relevant.
    """

    name = "g_function"
    title = "Sobol's g-function"
    default_noise = 0.1
    weights = (0.0, 0.5, 1.0, 2.0, 4.0)
    parts = ((0, 1, 2, 3, 4),)

    def _factors(self, x: Floats) -> Floats:
        a = np.array(self.weights)
        return np.asarray((np.abs(4 * x - 2) + a) / (1 + a))

    def _part(self, index: int, x: Floats) -> Floats:  # noqa: ARG002 — there is one part
        return np.asarray(np.prod(self._factors(x), axis=1))

    def part_given(
        self,
        index: int,  # noqa: ARG002
        x: Floats,
        present: tuple[bool, ...],
    ) -> Floats | None:
        """Return the product of the present factors: each factor's mean is 1."""
        return np.asarray(np.prod(np.where(present, self._factors(x), 1.0), axis=1))

    def closed_form(self, estimand: str) -> Floats | None:
        """Return effects and SAGE values from the factors' variances."""
        # Each factor has mean 1 and variance v_j = 1 / (3 (1 + a_j)²).
        v = 1 / (3 * (1 + np.array(self.weights)) ** 2)
        if estimand == "shapley":
            return None
        if estimand == "sage":
            relevant = shapley_of_subsets(
                5, lambda present: float(np.prod(1 + v[list(present)]) - 1)
            ).tolist()
        else:
            relevant = [
                2 * v[j] * np.prod(np.delete(1 + v, j)) for j in range(self.n_relevant)
            ]
        return np.array([*relevant, 0, 0, 0, 0, 0], dtype=np.float64)


@truths.register("logistic")
class Logistic(Monomials):
    """Two classes with log-odds 1.5 x1 − 1.2 x2 + x3 x4 + 0.8 x5.

    Ten Gaussian features, five relevant.

    The losses of the truths are cross entropies, the output of the Shapley value is the
    log-odds.
    """

    name = "logistic"
    title = "Two classes, linear log-odds and a product"
    default_noise = 0.0
    task = "classification"
    parts = ((0,), (1,), (2, 3), (4,))
    sizes = (1.5, -1.2, 1.0, 0.8)

    def closed_form(self, estimand: str) -> Floats | None:
        """Return the Shapley values only, which live on the scale of the log-odds."""
        return super().closed_form(estimand) if estimand == "shapley" else None
