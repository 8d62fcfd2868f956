"""How much importances vary where nothing that matters was changed: over retrainings, over test rows, over seeds."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from permgrad.base.errors import InputError
from permgrad.evaluation.ranking import importance_shares, kendall


@dataclass(frozen=True)
class Stability:
    """How alike repetitions are.

    Attributes:
        kendall: Mean of Kendall's tau-b over all pairs of repetitions: 1 is the same ranking, higher is better; NaN if
            no pair has two rankings.
        spread: Root mean square over features of the standard deviation of the shares: 0 is the same shares, lower is
            better.
        repetitions: How many there are.
    """

    kendall: float
    spread: float
    repetitions: int


def stability(importances: npt.ArrayLike) -> Stability:
    """Compare repetitions of an explanation.

    Shape:
        importances ``(repetitions, features)``, at least two repetitions.

    Examples:
        >>> stability([[3, 2, 1], [6, 4, 2]])
        Stability(kendall=1.0, spread=0.0, repetitions=2)
    """
    values = np.asarray(importances, dtype=np.float64)
    if values.ndim != 2 or len(values) < 2:
        raise InputError(
            "importances must have shape (repetitions, features) with at least two repetitions, "
            f"however: {values.shape}"
        )
    taus = [kendall(one, other) for one, other in itertools.combinations(values, 2)]
    defined = [tau for tau in taus if not math.isnan(tau)]
    shares = np.stack([importance_shares(row) for row in values])
    spread = float(np.sqrt(np.mean(shares.var(axis=0, ddof=1))))
    return Stability(float(np.mean(defined)) if defined else math.nan, spread, len(values))


@dataclass(frozen=True, eq=False)
class BiasAndVariance:
    """Where an error comes from: mean square error of shares = bias² + variance.

    Attributes:
        bias: Mean over repetitions of estimated minus true share ``(features,)``.
        variance: Variance over repetitions of the estimated share ``(features,)``, with divisor n.
    """

    bias: npt.NDArray[np.float64]
    variance: npt.NDArray[np.float64]

    @property
    def root_mean_square_bias(self) -> float:
        """Over features; lower is better."""
        return float(np.sqrt(np.mean(self.bias**2)))

    @property
    def root_mean_variance(self) -> float:
        """Over features, as a standard deviation; lower is better."""
        return float(np.sqrt(np.mean(self.variance)))


def bias_and_variance(true_shares: npt.ArrayLike, shares: npt.ArrayLike) -> BiasAndVariance:
    """Split the error of importance shares over repetitions.

    Shape:
        true_shares ``(features,)``; shares ``(repetitions, features)``.

    Examples:
        >>> split = bias_and_variance([0.5, 0.5], [[0.6, 0.4], [0.8, 0.2]])
        >>> [round(float(value), 6) for value in (split.bias[0], split.variance[0])]
        [0.2, 0.01]
    """
    truth, values = np.asarray(true_shares, dtype=np.float64), np.asarray(shares, dtype=np.float64)
    if values.ndim != 2 or values.shape[1:] != truth.shape or not len(values):
        raise InputError(
            "shares must have shape (repetitions, features) and true_shares (features,), however: "
            f"{values.shape} and {truth.shape}"
        )
    return BiasAndVariance(values.mean(axis=0) - truth, values.var(axis=0))
