"""Attribution: ``explain``, ``Explanation`` and one file per method.

Importing this package registers every method.
"""

from __future__ import annotations

from permgrad.attribution import method as _method  # noqa: F401 — registers methods
from permgrad.attribution.explain import explain
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.request import methods

__all__ = ["Explanation", "explain", "methods"]
