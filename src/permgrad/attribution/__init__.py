"""Attribution: players, donors, moments; one method per file; ``explain`` and ``Explanation``.

Importing this package registers every method; a new one is a file and a line here.
"""

from __future__ import annotations

from permgrad.attribution.explain import explain
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method import methods
from permgrad.attribution.method.ablation import Ablation
from permgrad.attribution.method.aggregate import Aggregate
from permgrad.attribution.method.deeplift import DeepLift
from permgrad.attribution.method.gradcam import GradCam
from permgrad.attribution.method.gradient import Gradient
from permgrad.attribution.method.integrated_gradients import IntegratedGradients
from permgrad.attribution.method.lime import Lime
from permgrad.attribution.method.permgrad import PermGrad
from permgrad.attribution.method.permgrad_paper import PermGradPaper
from permgrad.attribution.method.permutation import Permutation
from permgrad.attribution.method.shapley.method import Shapley

__all__ = [
    "Ablation",
    "Aggregate",
    "DeepLift",
    "Explanation",
    "GradCam",
    "Gradient",
    "IntegratedGradients",
    "Lime",
    "PermGrad",
    "PermGradPaper",
    "Permutation",
    "Shapley",
    "explain",
    "methods",
]
