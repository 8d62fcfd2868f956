"""Functions whose feature effects are known: what an attribution method is held against.

The truth is the *permutation effect* in the true function under squared loss, the quantity that the ``permgrad``
method estimates:

    effect_j = E[(f(x with x_j redrawn from its own distribution, apart from the rest) − f(x))²].

With independent features this is twice Sobol's total index times the variance (Jansen 1999), so closed forms exist
for all functions here but one; ``total_effects`` uses them, and ``sampled_effects`` is the plain Monte Carlo.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import pandas as pd

from permgrad._errors import InputError
from permgrad._random import generator, resolve_seed
from permgrad._registry import Registry
from permgrad.data.cells import Floats


class Truth(ABC):
    """A function of independent or correlated features with known effects.

    Args:
        noise: standard deviation of the Gaussian noise on y; None: the function's usual one.

    Attributes:
        name: name in the registry.
        n_features: how many features there are.
        relevant: names of the features on which the function depends.
        default_noise: the function's usual noise.

    Examples:
        >>> truth = truths.get("linear20")()
        >>> X, y = truth.sample(100, random_state=0)
        >>> X.shape, len(truth.relevant)
        ((100, 20), 10)
    """

    name: str
    n_features: int
    n_relevant: int
    default_noise: float = 1.0

    def __init__(self, noise: float | None = None) -> None:
        self.noise = self.default_noise if noise is None else float(noise)
        if not (np.isfinite(self.noise) and self.noise >= 0):
            raise InputError(
                f"noise must be a number of at least 0, however: noise={noise!r}; the default is {self.default_noise}"
            )

    @property
    def feature_names(self) -> list[str]:
        """``x1, x2, …`` as in the papers."""
        return [f"x{j + 1}" for j in range(self.n_features)]

    @property
    def relevant(self) -> list[str]:
        """Names of the features on which the function depends."""
        return self.feature_names[: self.n_relevant]

    def sample(self, n: int, random_state: Any = None) -> tuple[pd.DataFrame, Floats]:
        """Draw ``n`` rows.

        Returns:
            Features ``(n, features)`` and the noisy target ``(n,)``.

        Raises:
            InputError: ``n`` is below 1, or a bad ``random_state``.
        """
        if n < 1:
            raise InputError(f"n must be at least 1, however: n={n}")
        rng = generator(resolve_seed(random_state), "truth", self.name)
        x = self._draw(n, rng)
        y = self._values(x) + self.noise * rng.standard_normal(n)
        return pd.DataFrame(x, columns=self.feature_names), y

    def function(self, X: Any) -> Floats:
        """Evaluate the noiseless function on rows.

        Shape:
            X ``(n, features)``; result ``(n,)``.
        """
        x = np.asarray(X, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != self.n_features:
            raise InputError(
                f"X must have {self.n_features} columns, however its shape is {x.shape}; pass the features of sample()"
            )
        return self._values(x)

    def total_effects(self, n: int = 200_000, random_state: Any = 0) -> dict[str, float]:
        """Return the true permutation effect of each feature: closed form where there is one, else Monte Carlo.

        Args:
            n: rows of the Monte Carlo; not used by a closed form.
            random_state: seed of the Monte Carlo.
        """
        closed = self._closed_effects()
        if closed is None:
            return self.sampled_effects(n, random_state)
        return dict(zip(self.feature_names, closed.tolist(), strict=True))

    def sampled_effects(self, n: int = 200_000, random_state: Any = 0) -> dict[str, float]:
        """Estimate the effects by redrawing one feature at a time from other rows."""
        rng = generator(resolve_seed(random_state), "effects", self.name)
        x, donors = self._draw(n, rng), self._draw(n, rng)
        before = self._values(x)
        effects = dict.fromkeys(self.feature_names, 0.0)
        for j in range(self.n_relevant):
            edited = x.copy()
            edited[:, j] = donors[:, j]
            effects[self.feature_names[j]] = float(np.mean((self._values(edited) - before) ** 2))
        return effects

    def shares(self, n: int = 200_000, random_state: Any = 0) -> dict[str, float]:
        """Return the effects as shares of their sum."""
        effects = self.total_effects(n, random_state)
        total = sum(effects.values())
        return {name: effect / total for name, effect in effects.items()}

    @abstractmethod
    def _draw(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw features ``(n, features)``."""

    @abstractmethod
    def _values(self, x: Floats) -> Floats:
        """Evaluate the function on ``(n, features)``."""

    def _closed_effects(self) -> Floats | None:
        """Return the effects ``(features,)`` if there is a closed form."""
        return None


truths: Registry[type[Truth]] = Registry("known function")
"""All functions with known effects; a new one is a class with ``@truths.register(name)``."""


class _Uniform(Truth):
    """Features uniform on 0 … 1."""

    def _draw(self, n: int, rng: np.random.Generator) -> Floats:
        return rng.random((n, self.n_features))


class _Gaussian(Truth):
    """Standard Gaussian features."""

    def _draw(self, n: int, rng: np.random.Generator) -> Floats:
        return rng.standard_normal((n, self.n_features))


@truths.register("friedman1")
class Friedman1(_Uniform):
    """y = 10 sin(π x1 x2) + 20 (x3 − ½)² + 10 x4 + 5 x5: Friedman 1991, eq. 61; ten uniform features, five relevant.

    Examples:
        >>> effects = Friedman1().total_effects()
        >>> round(effects["x4"], 3), effects["x6"]
        (16.667, 0.0)
    """

    name = "friedman1"
    n_features = 10
    n_relevant = 5

    def _values(self, x: Floats) -> Floats:
        return np.asarray(
            10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
        )

    def _closed_effects(self) -> Floats:
        # Twice the expected variance over x1 given x2, by Gauss–Legendre of order 64, exact to rounding for this
        # function.
        node, weight = np.polynomial.legendre.leggauss(64)
        node, weight = (node + 1) / 2, weight / 2
        grid = 10 * np.sin(np.pi * np.outer(node, node))
        pair = 2 * float(weight @ (weight @ grid**2 - (weight @ grid) ** 2))
        # Var of (u − ½)² is 1/180, of u is 1/12.
        return np.array([pair, pair, 2 * 400 / 180, 2 * 100 / 12, 2 * 25 / 12, 0, 0, 0, 0, 0])


@truths.register("linear20")
class Linear20(_Gaussian):
    """A linear function of 20 Gaussian features, ten relevant; an effect is 2·coefficient².

    Coefficients go from 3.0 down to 0.6 with signs in turn.
    """

    name = "linear20"
    n_features = 20
    n_relevant = 10

    @property
    def coefficients(self) -> Floats:
        """Coefficients ``(20,)``."""
        sizes = np.linspace(3.0, 0.6, self.n_relevant) * np.where(np.arange(self.n_relevant) % 2, -1.0, 1.0)
        return np.concatenate([sizes, np.zeros(self.n_features - self.n_relevant)])

    def _values(self, x: Floats) -> Floats:
        return np.asarray(x @ self.coefficients)

    def _closed_effects(self) -> Floats:
        return np.asarray(2.0 * self.coefficients**2)


@truths.register("product")
class Product(_Gaussian):
    """y = 2 x1 x2 + x3 x4 + x5 in ten Gaussian features: a product's parts act only together."""

    name = "product"
    n_features = 10
    n_relevant = 5
    default_noise = 0.5

    def _values(self, x: Floats) -> Floats:
        return np.asarray(2 * x[:, 0] * x[:, 1] + x[:, 2] * x[:, 3] + x[:, 4])

    def _closed_effects(self) -> Floats:
        # E[(a (x' − x) z)²] = 2 a² for independent standard Gaussians.
        return np.array([8.0, 8.0, 2.0, 2.0, 2.0, 0, 0, 0, 0, 0])


@truths.register("xor_like")
class XorLike(_Uniform):
    """y = 3 tanh(2 x1) tanh(2 x2) + 2 tanh(2 x3) tanh(2 x4) + x5: the sign of a product, smoothed.

    Ten features uniform on −2 … 2, five relevant. x1 … x4 have no effect alone: their correlation with y is 0.
    """

    name = "xor_like"
    n_features = 10
    n_relevant = 5
    default_noise = 0.3

    def _draw(self, n: int, rng: np.random.Generator) -> Floats:
        return rng.uniform(-2.0, 2.0, (n, self.n_features))

    def _values(self, x: Floats) -> Floats:
        signs = np.tanh(2 * x[:, :4])
        return np.asarray(3 * signs[:, 0] * signs[:, 1] + 2 * signs[:, 2] * signs[:, 3] + x[:, 4])

    def _closed_effects(self) -> Floats:
        # E[tanh²(2u)] over u in −2 … 2 is 1 − tanh(4)/4; the mean is 0, so an effect is 2 a² E[tanh²]². Var x5 = 16/12.
        square = 1 - np.tanh(4.0) / 4
        return np.array([2 * 9 * square**2] * 2 + [2 * 4 * square**2] * 2 + [2 * 16 / 12] + [0.0] * 5)


@truths.register("g_function")
class GFunction(_Uniform):
    """y = Π_j (|4 x_j − 2| + a_j) / (1 + a_j) with a = 0, 0.5, 1, 2, 4: Sobol's g-function (Saltelli & Sobol 1995).

    Ten uniform features, five relevant.
    """

    name = "g_function"
    n_features = 10
    n_relevant = 5
    default_noise = 0.1
    weights = (0.0, 0.5, 1.0, 2.0, 4.0)

    def _values(self, x: Floats) -> Floats:
        a = np.array(self.weights)
        return np.asarray(np.prod((np.abs(4 * x[:, : self.n_relevant] - 2) + a) / (1 + a), axis=1))

    def _closed_effects(self) -> Floats:
        # Each factor has mean 1 and variance v_j = 1 / (3 (1 + a_j)²).
        v = 1 / (3 * (1 + np.array(self.weights)) ** 2)
        effects = [2 * v[j] * np.prod(np.delete(1 + v, j)) for j in range(self.n_relevant)]
        return np.array([*effects, 0, 0, 0, 0, 0], dtype=np.float64)


@truths.register("friedman1_correlated")
class CorrelatedFriedman(Friedman1):
    """Friedman's function with a Gaussian copula, correlation 0.5 between all features; the truth is by Monte Carlo.

    A redrawn feature leaves the joint distribution, as it does in marginal replacement: the effect is that of the
    function.
    """

    name = "friedman1_correlated"
    correlation = 0.5

    def _draw(self, n: int, rng: np.random.Generator) -> Floats:
        from scipy.special import ndtr

        common = rng.standard_normal((n, 1))
        own = rng.standard_normal((n, self.n_features))
        return np.asarray(ndtr(np.sqrt(self.correlation) * common + np.sqrt(1 - self.correlation) * own))

    def _closed_effects(self) -> None:  # type: ignore[override]
        return None


def make_truth(name: str, noise: float | None = None) -> Truth:
    """Return a known function by name.

    Raises:
        InputError: no such function.

    Examples:
        >>> make_truth("product").relevant
        ['x1', 'x2', 'x3', 'x4', 'x5']
    """
    return truths.get(name)(noise)
