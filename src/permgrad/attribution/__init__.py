"""Attribution: ``explain``, ``Explanation`` and one file per method.

Importing this package registers every method, in the order in which they are listed. A
new method is a file and a name here.
"""

from __future__ import annotations

from permgrad.attribution.explain import explain
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.request import methods

# ruff: noqa: F401
# isort: off
from permgrad.attribution.method import ablation, aggregate
from permgrad.attribution.method import ale
from permgrad.attribution.method import deeplift, gradcam, gradient
from permgrad.attribution.method import (
    integrated_gradients,
    lime,
    permgrad,
    permgrad_paper,
    permutation,
)
from permgrad.attribution.method.shapley import method as shapley
from permgrad.attribution.method import smoothgrad

__all__ = ["Explanation", "explain", "methods"]
