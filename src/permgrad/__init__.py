"""permgrad: train networks on tables and images, and explain any model.

Public names are resolved on first use, so that ``import permgrad`` and ``permgrad
--help`` stay light.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import permgrad.pages  # noqa: F401 — attaches the pages to the results
from permgrad.base import __version__

_PUBLIC = {
    "HyNNClassifier": "permgrad.models.estimators.hynn",
    "HyNNRegressor": "permgrad.models.estimators.hynn",
    "load": "permgrad.models.save.saving",
    "changes": "permgrad.evaluation.changes",
    "compare": "permgrad.runs.compare.compare",
    "counterfactuals": "permgrad.attribution.counterfactuals",
    "explain": "permgrad.attribution.explain",
    "explain_parts": "permgrad.attribution.wide",
    "explain_refits": "permgrad.attribution.explain_refits",
    "explain_stream": "permgrad.attribution.parts.stream",
    "Explanation": "permgrad.attribution.explanation",
    "load_run": "permgrad.runs.loaded",
    "load_dataset": "permgrad.data.datasets",
    "methods": "permgrad.methods",
    "missing_modalities": "permgrad.attribution.missing",
    "Model": "permgrad.attribution.model",
    "RayEngine": "permgrad.attribution.parts.engines",
    "report": "permgrad.pages.report",
    "read_table": "permgrad.data.read.table",
    "related_columns": "permgrad.evaluation.related",
    "TableTransformer": "permgrad.data.encode.transformer",
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
    "Model",
    "PermgradError",
    "PermgradWarning",
    "RayEngine",
    "TableTransformer",
    "__version__",
    "changes",
    "compare",
    "counterfactuals",
    "explain",
    "explain_parts",
    "explain_refits",
    "explain_stream",
    "load",
    "load_dataset",
    "load_run",
    "methods",
    "missing_modalities",
    "read_table",
    "related_columns",
    "report",
]

if TYPE_CHECKING:
    from permgrad import integrations as integrations
    from permgrad import methods
    from permgrad.attribution.counterfactuals import counterfactuals
    from permgrad.attribution.explain import explain
    from permgrad.attribution.explain_refits import explain_refits
    from permgrad.attribution.explanation import Explanation
    from permgrad.attribution.missing import missing_modalities
    from permgrad.attribution.model import Model
    from permgrad.attribution.parts.engines import RayEngine
    from permgrad.attribution.parts.stream import explain_stream
    from permgrad.attribution.wide import explain_parts
    from permgrad.base.errors import (
        EnvironmentProblem,
        InputError,
        PermgradError,
        PermgradWarning,
    )
    from permgrad.data.datasets import load_dataset
    from permgrad.data.encode.transformer import TableTransformer
    from permgrad.data.read.table import read_table
    from permgrad.evaluation.changes import changes
    from permgrad.evaluation.related import related_columns
    from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor
    from permgrad.models.save.saving import load
    from permgrad.pages.report import report
    from permgrad.runs.compare.compare import compare
    from permgrad.runs.loaded import load_run


def __getattr__(name: str) -> Any:
    if (
        name == "integrations"
    ):  # found without an import of its own, though it is no public name of this module
        return importlib.import_module("permgrad.integrations")
    if name in _PUBLIC:
        module = importlib.import_module(_PUBLIC[name])
        if module.__name__ == f"{__name__}.{name}":
            value = module
        else:
            value = getattr(module, name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'permgrad' has no attribute {name!r}")


class _Package(ModuleType):
    """The package, whose ``report`` is the function although a folder has the same
    name.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        # Importing the folder for the first time would put it here.
        if name != "report" or not isinstance(value, ModuleType):
            super().__setattr__(name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        # A user's function that names the package is sent to workers with a reference
        # to it, as to any module.
        return importlib.import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted(__all__)
