"""The attribution methods with their options, for ``method=``: ``pg.methods.Shapley(max_permutations=200)``.

``method="shapley", max_permutations=200`` is the same. Each class describes its method and its options.

Examples:
    >>> import numpy as np, permgrad as pg
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> method = pg.methods.Shapley(max_permutations=200)
    >>> method
    Shapley(max_permutations=200)
    >>> pg.explain(lambda rows: rows @ [2.0, 1.0, 0.0], X, method=method, random_state=0).values.shape
    (50, 3, 1)
"""

from __future__ import annotations

from permgrad.attribution import (
    Ablation,
    Aggregate,
    AttentionRollout,
    DeepLift,
    ExpectedGradients,
    GradCam,
    Gradient,
    IntegratedGradients,
    Lime,
    Occlusion,
    PermGrad,
    PermGradPaper,
    Permutation,
    Shapley,
    SmoothGrad,
    TokenRelevance,
)

__all__ = [
    "Ablation",
    "Aggregate",
    "AttentionRollout",
    "DeepLift",
    "ExpectedGradients",
    "GradCam",
    "Gradient",
    "IntegratedGradients",
    "Lime",
    "Occlusion",
    "PermGrad",
    "PermGradPaper",
    "Permutation",
    "Shapley",
    "SmoothGrad",
    "TokenRelevance",
]


def __dir__() -> list[str]:
    return __all__
