"""The attribution methods with their options, for ``method=``:
``pg.methods.Shapley(max_permutations=200)``.

``method="shapley"`` is ``pg.methods.Shapley()``. Each class describes its method and
its options.

Examples:
    >>> import numpy as np, permgrad as pg
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> method = pg.methods.Shapley(max_permutations=200)
    >>> method
    Shapley(max_permutations=200)
    >>> pg.explain(lambda rows: rows @ [2.0, 1.0, 0.0], X, method=method).values.shape
    (50, 3, 1)
"""

from __future__ import annotations

from permgrad.attribution.method.ablation import Ablation
from permgrad.attribution.method.aggregate import Aggregate
from permgrad.attribution.method.ale import Ale
from permgrad.attribution.method.deeplift import DeepLift
from permgrad.attribution.method.gradcam import GradCam
from permgrad.attribution.method.gradient import Gradient
from permgrad.attribution.method.integrated_gradients import IntegratedGradients
from permgrad.attribution.method.lime import Lime
from permgrad.attribution.method.permgrad import PermGrad
from permgrad.attribution.method.permgrad_paper import PermGradPaper
from permgrad.attribution.method.permutation import Permutation
from permgrad.attribution.method.shapley.method import Shapley
from permgrad.attribution.method.smoothgrad import SmoothGrad

__all__ = [
    "Ablation",
    "Aggregate",
    "Ale",
    "DeepLift",
    "GradCam",
    "Gradient",
    "IntegratedGradients",
    "Lime",
    "PermGrad",
    "PermGradPaper",
    "Permutation",
    "Shapley",
    "SmoothGrad",
]


def __dir__() -> list[str]:
    return __all__
