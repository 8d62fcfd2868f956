"""Attribution: players, donors, moments; one method per file; ``explain`` and ``Explanation``.

Importing this package registers every method; a new one is a file and a line here.
"""

from __future__ import annotations

from permgrad.attribution.ablation import Ablation
from permgrad.attribution.aggregate import Aggregate
from permgrad.attribution.deeplift import DeepLift
from permgrad.attribution.explain import explain
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.gradcam import GradCam
from permgrad.attribution.gradient import Gradient
from permgrad.attribution.integrated_gradients import IntegratedGradients
from permgrad.attribution.lime import Lime
from permgrad.attribution.method import methods
from permgrad.attribution.permgrad import PermGrad
from permgrad.attribution.permgrad_paper import PermGradPaper
from permgrad.attribution.permutation import Permutation
from permgrad.attribution.shapley.method import Shapley

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
