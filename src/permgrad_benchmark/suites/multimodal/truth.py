"""What the modalities of a decision function are worth, stated twice.

- *published*: the mean of |∂F/∂x| over rows, added up by modality.
- *effect*: E[(F(x') − F(x))²], where x' is x with the modality (or one feature) taken from another row. This is the
  loss change of permuting it in the true function.

They differ. A slope does not know how far its feature moves, and a sum of correlated features moves further: for
F = ΣX3 + ΣX4 the published shares are 0.5 and 0.5, the effect's 13/23 and 10/23.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from permgrad.base.arrays import Floats
from permgrad.base.checks import check_choice
from permgrad_benchmark.suites.multimodal.functions import COLUMNS_OF, FEATURES, WIDTH, DecisionFunction, draw_clinical

Estimand = Literal["published", "effect"]
ESTIMANDS: dict[Estimand, str] = {
    "published": "mean absolute slope of the true function, added up by modality",
    "effect": "squared change of the true function when the modality is taken from another row",
}
_BATCH = 50_000


@dataclass(frozen=True)
class Population:
    """Where rows come from: images' features ``(images, 10)``, drawn apart for X1 and X2, and the columns."""

    first: Floats
    second: Floats
    covariance: Floats

    def draw(self, rows: int, rng: np.random.Generator) -> Floats:
        """Draw rows of all forty features, ``(rows, 40)``."""
        first = self.first[rng.integers(0, len(self.first), rows)]
        second = self.second[rng.integers(0, len(self.second), rows)]
        return np.concatenate([first, second, draw_clinical(rows, rng, self.covariance)], axis=1)


def true_importance(function: DecisionFunction, population: Population, estimand: Estimand) -> Floats:
    """Return true importances of modalities ``(4,)``: closed if linear, else sampled."""
    check_choice("estimand", estimand, ESTIMANDS)
    if function.weights is None:
        return sampled_importance(function, population, estimand)
    weights = function.weights
    if estimand == "published":
        return _by_modality(np.abs(weights))
    # Two independent draws of a sum differ by twice its variance in the mean square.
    moments = np.zeros((FEATURES, FEATURES))
    moments[:WIDTH, :WIDTH] = np.cov(population.first.T, bias=True)
    moments[WIDTH : 2 * WIDTH, WIDTH : 2 * WIDTH] = np.cov(population.second.T, bias=True)
    moments[2 * WIDTH :, 2 * WIDTH :] = population.covariance
    return np.array([2.0 * weights[block] @ moments[block, block] @ weights[block] for block in COLUMNS_OF.values()])


def sampled_importance(
    function: DecisionFunction, population: Population, estimand: Estimand, *, rows: int = 400_000
) -> Floats:
    """Estimate the true importance by plain Monte Carlo, for any function. What the function does not read is 0."""
    rng, done = np.random.default_rng(0), 0
    if estimand == "published":
        sums = np.zeros(FEATURES)
        while done < rows:
            drawn = torch.from_numpy(population.draw(min(_BATCH, rows - done), rng)).requires_grad_()
            with torch.enable_grad():
                (slopes,) = torch.autograd.grad(function.score(drawn).sum(), drawn)
            sums += slopes.abs().sum(dim=0).numpy()
            done += len(drawn)
        return _by_modality(sums / rows)
    totals = np.zeros(len(COLUMNS_OF))
    while done < rows:
        count = min(_BATCH, rows - done)
        features, donors = population.draw(count, rng), population.draw(count, rng)
        before = _values(function, features)
        for index, block in enumerate(COLUMNS_OF.values()):
            relevant = [column for column in function.relevant if block.start <= column < block.stop]
            if relevant:
                edited = features.copy()
                edited[:, relevant] = donors[:, relevant]
                totals[index] += float(np.square(_values(function, edited) - before).sum())
        done += count
    return totals / rows


def _values(function: DecisionFunction, features: Floats) -> Floats:
    with torch.no_grad():
        values: Floats = function.score(torch.from_numpy(features)).numpy()
    return values


def _by_modality(by_feature: Floats) -> Floats:
    return np.array([by_feature[block].sum() for block in COLUMNS_OF.values()])
