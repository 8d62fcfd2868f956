"""A weighted mean of two models: of their logits, or of their numbers. The weight follows from held-out rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import softmax

from permgrad.base.arrays import Array, Floats
from permgrad.base.dependence import Dependence
from permgrad.base.random import generator

#: Weights that are tried, and the fewest held-out rows for it.
_WEIGHTS, _FEWEST = np.linspace(0, 1, 101), 10
#: Resamples of the held-out rows for the weight's interval, and stretches of time that are drawn whole.
_RESAMPLES, _STRETCHES = 200, 50
#: Probabilities below it count as this, so that a model that is sure and wrong does not decide alone.
_LEAST = 1e-7


@dataclass(frozen=True)
class Mix:
    """How much a network counts beside another model, both of which err on different rows.

    Attributes:
        network: its weight. That of the other model is the rest.
        ci_low, ci_high: the 95 % interval of the weight with the least loss, over resamples of the held-out rows.
        rows: the held-out rows that it was learned from.
    """

    network: float = 0.5
    ci_low: float = 0.0
    ci_high: float = 1.0
    rows: int = 0

    def __call__(self, network: Floats, other: Floats) -> Floats:
        """Return blended numbers ``(rows,)``, or probabilities ``(rows, classes)``."""
        return _mixed(self.network, network, other)

    @classmethod
    def learn(
        cls, guesses: tuple[Floats, Floats], y: Array, *, seed: int, dependence: Dependence | None = None
    ) -> Self:
        """Return the mix whose weight is the one nearest to 1/2 in the interval of the best one.

        Equal weights are hard to beat by weights that are estimated from few rows (Claeskens et al. 2016).

        ``guesses``: of the network and of the other model. ``y``: positions of the classes, or numbers.
        ``dependence``: of these rows.
        """
        if len(y) < _FEWEST:
            return cls(rows=len(y))
        units = np.arange(len(y))
        if dependence is not None:
            units = np.unique(dependence.codes, return_inverse=True)[1]
            if dependence.timed:
                units = units * _STRETCHES // (units.max() + 1)
        count = int(units.max()) + 1
        sums = np.column_stack(
            [np.bincount(units, _loss(_mixed(weight, *guesses), y), minlength=count) for weight in _WEIGHTS]
        )
        draws = generator(seed, "weight of a blend").multinomial(count, np.full(count, 1 / count), _RESAMPLES)
        low, high = np.quantile(_WEIGHTS[(draws @ sums).argmin(axis=1)], [0.025, 0.975]).tolist()
        return cls(min(max(0.5, low), high), low, high, len(y))


def _mixed(weight: float, network: Floats, other: Floats) -> Floats:
    if network.ndim == 1:
        return weight * network + (1 - weight) * other
    logits = [np.log(np.maximum(guess, _LEAST)) for guess in (network, other)]
    return np.asarray(softmax(weight * logits[0] + (1 - weight) * logits[1], axis=1))


def _loss(guess: Floats, y: Array) -> Floats:
    """Return the loss of each row ``(rows,)``."""
    if guess.ndim == 1:
        return np.asarray((y - guess) ** 2)
    return np.asarray(-np.log(np.maximum(guess[np.arange(len(y)), y], _LEAST)))
