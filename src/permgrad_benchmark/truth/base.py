"""What every known function is: features from a Gaussian copula, a sum of parts, noise, and the truths about it.

All features come from one latent Gaussian vector z ~ N(0, R) by one rising map per feature (its margin): uniform,
Gaussian, yes or no, or a level. Independent features have R = I. So one description gives samples, low-discrepancy
points, and exact draws of one feature given the others, which the truths need.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from permgrad.base.arrays import Floats
from permgrad.base.checks import check_number, check_whole
from permgrad.base.errors import InputError
from permgrad.base.random import generator, resolve_seed
from permgrad.base.registry import Registry
from permgrad_benchmark.truth.values import Known, compute_known, cross_entropy, sigmoid

Task = Literal["regression", "classification"]

#: The four truths, in words. ``x_j`` is redrawn or removed in the *true* function f, and y = f + noise.
ESTIMANDS: dict[str, str] = {
    "total_effect": "rise of the loss when the feature is redrawn from its own distribution, apart from the rest",
    "sage": "SAGE value: Shapley value of the fall of the loss when features become known (absent ones are averaged "
    "over their joint distribution, apart from the present ones)",
    "shapley": "mean over rows of the absolute Shapley value of the output (absent features averaged as for SAGE)",
    "conditional_effect": "rise of the loss when the feature is redrawn from its distribution given the other features",
}


class Truth(ABC):
    """A function of independent or correlated features with known effects.

    Args:
        noise: standard deviation of the Gaussian noise on y. None: the function's usual one. Classes have none.

    Attributes:
        name: name in the registry.
        title: a short description.
        n_features: how many features there are.
        parts: for each additive part the indexes of the features that it reads, of the first ones.
        default_noise: the function's usual noise.
        task: ``"regression"``, or ``"classification"``: y is 1 with probability 1 / (1 + exp(−f)), else 0.

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
        self.noise = check_number("noise", given, f"the default is {self.default_noise}")

    # ---- rows --------------------------------------------------------------------------------------------------------
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
        """Draw features ``(n, features)`` and the noisy target ``(n,)``. 0 and 1 for classification."""
        check_whole("n", n, "for example: n=1000")
        rng = generator(resolve_seed(random_state), "truth", self.name)
        x = self._draw(n, rng)
        f = self.values(x)
        y = (rng.random(n) < sigmoid(f)).astype(np.float64) if self.task == "classification" else f
        if self.task == "regression":
            y = f + self.noise * rng.standard_normal(n)
        return self.to_frame(x), y

    def function(self, X: Any) -> Floats:
        """Evaluate the noiseless function ``(n,)`` on rows of ``sample`` (the logit of class 1 for classification)."""
        x = self.to_numbers(X)
        if x.ndim != 2 or x.shape[1] != self.n_features:
            raise InputError(
                f"X must have {self.n_features} columns, got shape {x.shape}",
                hint="Pass the features of sample().",
                code="PG007",
            )
        return self.values(x)

    def values(self, x: Floats) -> Floats:
        """Evaluate the function on numbers ``(n, features)``: the sum of its parts."""
        return np.asarray(sum(self._part(index, x[:, list(columns)]) for index, columns in enumerate(self.parts)))

    def to_frame(self, x: Floats) -> pd.DataFrame:
        """Return numbers ``(n, features)`` as the table a user would have. Levels are written out."""
        return pd.DataFrame(x, columns=self.feature_names)

    def to_numbers(self, X: Any) -> Floats:
        """Undo ``to_frame``."""
        return np.asarray(X, dtype=np.float64)

    # ---- the truths --------------------------------------------------------------------------------------------------
    def known(self, estimand: str) -> Known:
        """Return one of the four truths, with its error and how it was found. Computed once per process."""
        return _known(type(self), estimand)

    def rise(self, before: Floats, after: Floats) -> Floats:
        """Return the expected rise of the loss, over y, when the true output ``before`` becomes ``after``.

        Squared error: (after − before)². Cross entropy: the Kullback–Leibler divergence of the two probabilities.
        """
        if self.task == "regression":
            return np.asarray((after - before) ** 2)
        return np.asarray(
            cross_entropy(sigmoid(before), sigmoid(after)) - cross_entropy(sigmoid(before), sigmoid(before))
        )

    # ---- what a function states --------------------------------------------------------------------------------------
    @abstractmethod
    def _part(self, index: int, x: Floats) -> Floats:
        """Evaluate an additive part on its own features ``(n, features of the part)``."""

    @abstractmethod
    def margin(self, z: Floats) -> Floats:
        """Map standard Gaussian numbers ``(n, features)`` to features, each column by a rising function."""

    def latent_correlation(self) -> Floats | None:
        """Return the correlation R of the latent Gaussian ``(features, features)``. None if independent."""
        return None

    def _draw(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw features ``(n, features)``."""
        return self.margin(self.correlate(rng.standard_normal((n, self.n_features))))

    def correlate(self, z: Floats) -> Floats:
        """Give independent standard Gaussian numbers ``(n, features)`` the latent correlation."""
        correlation = self.latent_correlation()
        return z if correlation is None else np.asarray(z @ np.linalg.cholesky(correlation).T)

    def part_given(self, index: int, x: Floats, present: tuple[bool, ...]) -> Floats | None:  # noqa: ARG002 — to override
        """Return a part's mean over its absent features, if there is a closed form. Else None."""
        return None

    def closed_form(self, estimand: str) -> Floats | None:  # noqa: ARG002 — to override
        """Return a truth ``(features,)`` if there is a closed form for it."""
        return None


@functools.lru_cache(maxsize=256)
def _known(kind: type[Truth], estimand: str) -> Known:
    return compute_known(kind(), estimand, ESTIMANDS)


truths: Registry[type[Truth]] = Registry("known function")
"""All functions with known effects; a new one is a class with ``@truths.register(name)``."""


def make_truth(name: str, noise: float | None = None) -> Truth:
    """Return a known function by name."""
    return truths.get(name)(noise)
