"""Attribution: ``explain``, ``Explanation`` and one file per method.

Importing this package registers every method. A new method is a file and a line here.
"""

from __future__ import annotations

from permgrad.attribution.explain import explain
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method import methods
from permgrad.attribution.method.ablation import Ablation
from permgrad.attribution.method.aggregate import Aggregate
from permgrad.attribution.method.attention import AttentionRollout, TokenRelevance
from permgrad.attribution.method.deeplift import DeepLift
from permgrad.attribution.method.gradcam import GradCam
from permgrad.attribution.method.gradient import Gradient
from permgrad.attribution.method.integrated_gradients import ExpectedGradients, IntegratedGradients
from permgrad.attribution.method.lime import Lime
from permgrad.attribution.method.occlusion import Occlusion
from permgrad.attribution.method.permgrad import PermGrad
from permgrad.attribution.method.permgrad_paper import PermGradPaper
from permgrad.attribution.method.permutation import Permutation
from permgrad.attribution.method.shapley.method import Shapley
from permgrad.attribution.method.smoothgrad import SmoothGrad

__all__ = [
    "Ablation",
    "Aggregate",
    "AttentionRollout",
    "DeepLift",
    "ExpectedGradients",
    "Explanation",
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
    "explain",
    "methods",
]
