"""permgrad: networks for tables and images together, and a truthful account of what drives them.

Public names are resolved on first use, so that ``import permgrad`` and ``permgrad --help`` stay light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "HyNNClassifier": "permgrad.models.estimators.hynn",
    "HyNNRegressor": "permgrad.models.estimators.hynn",
    "load": "permgrad.models.save.saving",
    "compare": "permgrad.runs.compare.compare",
    "evaluate": "permgrad.evaluation.explanations",
    "explain": "permgrad.attribution.explain",
    "explain_stream": "permgrad.attribution.parts.stream",
    "Explanation": "permgrad.attribution.explanation",
    "load_dataset": "permgrad.data.datasets",
    "missing": "permgrad.attribution.missing",
    "read_table": "permgrad.data.read.table",
    "InputError": "permgrad.base.errors",
    "EnvironmentProblem": "permgrad.base.errors",
    "PermgradError": "permgrad.base.errors",
    "PermgradWarning": "permgrad.base.errors",
}

__all__ = [
    "EnvironmentProblem",
    "Explanation",
    "HyNNClassifier",
    "HyNNRegressor",
    "InputError",
    "PermgradError",
    "PermgradWarning",
    "__version__",
    "compare",
    "evaluate",
    "explain",
    "explain_stream",
    "load",
    "load_dataset",
    "missing",
    "read_table",
]

if TYPE_CHECKING:
    from permgrad.attribution.explain import explain
    from permgrad.attribution.explanation import Explanation
    from permgrad.attribution.missing import missing
    from permgrad.attribution.parts.stream import explain_stream
    from permgrad.base.errors import EnvironmentProblem, InputError, PermgradError, PermgradWarning
    from permgrad.data.datasets import load_dataset
    from permgrad.data.read.table import read_table
    from permgrad.evaluation.explanations import evaluate
    from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor
    from permgrad.models.save.saving import load
    from permgrad.runs.compare.compare import compare


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'permgrad' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
