"""The methods, one file each. Importing this package registers all of them.

A new method is a file and a name here.
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
