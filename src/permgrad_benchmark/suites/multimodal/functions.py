"""Clinical columns, and what the label is made of, written once and read by the data,
the truth and the oracle.

Features are one vector of forty: 0–9 the bottleneck features of image 1 (X1), 10–19
those of image 2 (X2), 20–29 the first ten clinical columns (X3), 30–39 the last ten
(X4). The label is 1 where F is above its median. A new function is one
``register_function`` call, and is then in every table.

What its modalities are worth is stated twice:

- *published*: the mean of |∂F/∂x| over rows, added up by modality.
- *effect*: E[(F(x') − F(x))²], where x' is x with the modality (or one feature) taken
  from another row. This is the loss change of permuting it in the true function.

They differ. A slope does not know how far its feature moves, and a sum of correlated
features moves further: for F = ΣX3 + ΣX4 the published shares are 0.5 and 0.5, the
effect's 13/23 and 10/23.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from permgrad.base.arrays import Floats
from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError
from permgrad.base.registry import Registry

#: Columns in all, half of them in X3 and half in X4.
COLUMNS = 20
#: How far below 0 rounding may push an eigenvalue of a singular covariance.
_ROUNDING = 1e-9


def published_covariance() -> Floats:
    """Return the published covariance: the identity, but 0.5 between column 9 and
    columns 3, 4 and 5 (from 1).
    """
    return covariance_with({(8, 2): 0.5, (8, 3): 0.5, (8, 4): 0.5})


def covariance_with(correlations: dict[tuple[int, int], float]) -> Floats:
    """Return the identity with some correlations put in, columns from 0."""
    matrix = np.eye(COLUMNS)
    for (row, column), value in correlations.items():
        matrix[row, column] = matrix[column, row] = value
    return matrix


def draw_clinical(
    rows: int, rng: np.random.Generator, covariance: Floats
) -> npt.NDArray[np.float32]:
    """Draw rows of the clinical columns."""
    values, vectors = np.linalg.eigh(covariance)
    # The symmetric root also exists for singular matrices, unlike Cholesky's, and does
    # not depend on the signs of eigenvectors.
    root = (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T
    drawn: npt.NDArray[np.float32] = (
        rng.standard_normal((rows, COLUMNS)) @ root
    ).astype(np.float32)
    return drawn


#: The modalities, and the features of each.
MODALITIES = ("X1", "X2", "X3", "X4")
FEATURES = 40
WIDTH = FEATURES // len(MODALITIES)
COLUMNS_OF = {
    name: slice(WIDTH * index, WIDTH * (index + 1))
    for index, name in enumerate(MODALITIES)
}


@dataclass(frozen=True)
class DecisionFunction:
    """A function of the forty features, from ``(rows, 40)`` to ``(rows,)``,
    differentiable.

    ``relevant`` are the positions of the features that it reads. ``weights`` ``(40,)``,
    where F = Σ w x, give the truth in closed form; ``covariance`` ``(20, 20)`` is that
    of the clinical columns. ``published``: it is one of the eight of the published
    design.
    """

    name: str
    formula: str
    score: Callable[[Tensor], Tensor]
    relevant: tuple[int, ...]
    weights: Floats | None = None
    covariance: Floats = field(default_factory=published_covariance)
    published: bool = False
    note: str = ""


functions: Registry[DecisionFunction] = Registry("decision function")
"""All decision functions, the published ones first."""


def register_function(function: DecisionFunction) -> DecisionFunction:
    """Enter a function under its name.

    ``InputError`` if it does not read exactly the features that it says.
    """
    # Points of a fixed irrational grid: no symmetry makes a slope vanish there.
    points = (
        torch.frac(
            torch.arange(1, 8 * FEATURES + 1, dtype=torch.float64) * 0.6180339887
        )
        * 4
        - 2
    )
    rows = points.reshape(8, FEATURES).requires_grad_()
    with torch.enable_grad():
        (slopes,) = torch.autograd.grad(function.score(rows).sum(), rows)
    read = tuple(torch.nonzero(slopes.abs().amax(dim=0) > 0)[:, 0].tolist())
    if read != tuple(sorted(function.relevant)):
        problem = (
            f"{function.name!r} reads the features {read}, but relevant is "
            f"{tuple(function.relevant)}"
        )
        raise InputError(problem, hint="Correct one of them.", code="PG006")
    return functions.register(function.name)(function)


def linear(
    name: str,
    formula: str,
    weights: dict[int, float],
    *,
    covariance: Floats | None = None,
    published: bool = False,
    note: str = "",
) -> DecisionFunction:
    """Return F = Σ w_j x_j, from the weights that are not 0."""
    vector = np.zeros(FEATURES)
    for position, weight in weights.items():
        vector[position] = weight

    def score(features: Tensor) -> Tensor:
        return features @ torch.as_tensor(
            vector, dtype=features.dtype, device=features.device
        )

    covariances = published_covariance() if covariance is None else covariance
    return DecisionFunction(
        name,
        formula,
        score,
        tuple(sorted(weights)),
        vector,
        covariances,
        published,
        note,
    )


def _all_of(*modalities: str) -> dict[int, float]:
    columns: Iterable[int] = (
        column
        for name in modalities
        for column in range(COLUMNS_OF[name].start, COLUMNS_OF[name].stop)
    )
    return dict.fromkeys(columns, 1.0)


def _square(features: Tensor) -> Tensor:
    return (features[:, 0] + features[:, 1]).square()


def _product(features: Tensor) -> Tensor:
    return features[:, 0] * features[:, 20]


for _function in (
    linear("F0", "ΣX1", _all_of("X1"), published=True),
    linear("F1", "ΣX2", _all_of("X2"), published=True),
    linear("F2", "ΣX3", _all_of("X3"), published=True),
    linear("F3", "ΣX4", _all_of("X4"), published=True),
    linear("F4", "ΣX1 + ΣX2", _all_of("X1", "X2"), published=True),
    linear("F5", "ΣX3 + ΣX4", _all_of("X3", "X4"), published=True),
    linear("F6", "ΣX1 + ΣX2 + ΣX3 + ΣX4", _all_of(*MODALITIES), published=True),
    DecisionFunction(
        "F7",
        "(x1 + x2)², the first two features of X1",
        _square,
        (0, 1),
        published=True,
    ),
    DecisionFunction(
        "xor",
        "x1 of X1 times x1 of X3",
        _product,
        (0, 20),
        note="neither modality says anything about the label alone: an exclusive or of "
        "two signs",
    ),
    linear(
        "redundant",
        "x1 of X3, which x1 of X4 copies",
        {20: 1.0},
        covariance=covariance_with({(0, 10): 1.0}),
        note="a network may read either copy, but the truth is that of F, so it is not "
        "a fault to report what the network reads",
    ),
    linear(
        "unused",
        "ΣX1 + ΣX3; X2 and X4 are not used",
        _all_of("X1", "X3"),
    ),
    linear(
        "suppressor",
        "√2·x1 of X3 − x1 of X4",
        {20: float(np.sqrt(2.0)), 30: -1.0},
        covariance=covariance_with({(0, 10): float(np.sqrt(0.5))}),
        note="x1 of X4 is uncorrelated with F, and is needed to take its part out of "
        "x1 of X3; with dependent modalities a fair share (permgrad, shapley) is not "
        "the effect of replacing one alone: their oracles show it",
    ),
):
    register_function(_function)


Estimand = Literal["published", "effect"]
ESTIMANDS: dict[Estimand, str] = {
    "published": "mean absolute slope of the true function, added up by modality",
    "effect": "squared change of the true function when the modality is taken from "
    "another row",
}
_BATCH = 50_000


@dataclass(frozen=True)
class Population:
    """Where rows come from: images' features ``(images, 10)``, drawn apart for X1 and
    X2, and the columns.
    """

    first: Floats
    second: Floats
    covariance: Floats

    def draw(self, rows: int, rng: np.random.Generator) -> Floats:
        """Draw rows of all forty features, ``(rows, 40)``."""
        first = self.first[rng.integers(0, len(self.first), rows)]
        second = self.second[rng.integers(0, len(self.second), rows)]
        return np.concatenate(
            [first, second, draw_clinical(rows, rng, self.covariance)], axis=1
        )


def true_importance(
    function: DecisionFunction, population: Population, estimand: Estimand
) -> Floats:
    """Return true importances of modalities ``(4,)``: closed if linear, else
    sampled.
    """
    check_choice("estimand", estimand, ESTIMANDS)
    if function.weights is None:
        return sampled_importance(function, population, estimand)
    weights = function.weights
    if estimand == "published":
        return _by_modality(np.abs(weights))
    # Two independent draws of a sum differ by twice its variance in the mean square.
    moments = np.zeros((FEATURES, FEATURES))
    moments[:WIDTH, :WIDTH] = np.cov(population.first.T, bias=True)
    moments[WIDTH : 2 * WIDTH, WIDTH : 2 * WIDTH] = np.cov(
        population.second.T, bias=True
    )
    moments[2 * WIDTH :, 2 * WIDTH :] = population.covariance
    return np.array(
        [
            2.0 * weights[block] @ moments[block, block] @ weights[block]
            for block in COLUMNS_OF.values()
        ]
    )


def sampled_importance(
    function: DecisionFunction,
    population: Population,
    estimand: Estimand,
    *,
    rows: int = 400_000,
) -> Floats:
    """Estimate the true importance by plain Monte Carlo, for any function.

    What the function does not read is 0.
    """
    rng, done = np.random.default_rng(0), 0
    if estimand == "published":
        sums = np.zeros(FEATURES)
        while done < rows:
            drawn = torch.from_numpy(
                population.draw(min(_BATCH, rows - done), rng)
            ).requires_grad_()
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
            relevant = [
                column
                for column in function.relevant
                if block.start <= column < block.stop
            ]
            if relevant:
                edited = features.copy()
                edited[:, relevant] = donors[:, relevant]
                totals[index] += float(
                    np.square(_values(function, edited) - before).sum()
                )
        done += count
    return totals / rows


def _values(function: DecisionFunction, features: Floats) -> Floats:
    with torch.no_grad():
        values: Floats = function.score(torch.from_numpy(features)).numpy()
    return values


def _by_modality(by_feature: Floats) -> Floats:
    return np.array([by_feature[block].sum() for block in COLUMNS_OF.values()])
