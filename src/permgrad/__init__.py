"""permgrad: train networks on tables and images, and explain any model.

Public names are resolved on first use, so that ``import permgrad`` and ``permgrad --help`` stay light.
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
    "load_from_hub": "permgrad.integrations.hub",
    "log_to_mlflow": "permgrad.integrations.mlflow_runs",
    "log_to_wandb": "permgrad.integrations.wandb_runs",
    "push_to_hub": "permgrad.integrations.hub",
    "changes": "permgrad.evaluation.changes",
    "compare": "permgrad.runs.compare.compare",
    "counterfactuals": "permgrad.attribution.counterfactuals",
    "explain": "permgrad.attribution.explain",
    "explain_parts": "permgrad.attribution.wide",
    "explain_refits": "permgrad.attribution.explain_refits",
    "export_onnx": "permgrad.integrations.onnx_files",
    "explain_stream": "permgrad.attribution.parts.stream",
    "Explanation": "permgrad.attribution.explanation",
    "load_dataset": "permgrad.data.datasets",
    "locate_images": "permgrad.data.image_table",
    "methods": "permgrad.methods",
    "missing_modalities": "permgrad.attribution.missing",
    "Model": "permgrad.attribution.model",
    "RayEngine": "permgrad.attribution.parts.engines",
    "report": "permgrad.pages.report",
    "place_effects": "permgrad.attribution.wide",
    "read_onnx": "permgrad.models.onnx_model",
    "read_table": "permgrad.data.read.table",
    "related_columns": "permgrad.evaluation.related",
    "TableTransformer": "permgrad.data.encode.transformer",
    "word_effects": "permgrad.attribution.wide",
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
    "export_onnx",
    "load",
    "load_dataset",
    "load_from_hub",
    "locate_images",
    "log_to_mlflow",
    "log_to_wandb",
    "methods",
    "missing_modalities",
    "place_effects",
    "push_to_hub",
    "read_onnx",
    "read_table",
    "related_columns",
    "report",
    "word_effects",
]

if TYPE_CHECKING:
    from permgrad import methods
    from permgrad.attribution.counterfactuals import counterfactuals
    from permgrad.attribution.explain import explain
    from permgrad.attribution.explain_refits import explain_refits
    from permgrad.attribution.explanation import Explanation
    from permgrad.attribution.missing import missing_modalities
    from permgrad.attribution.model import Model
    from permgrad.attribution.parts.engines import RayEngine
    from permgrad.attribution.parts.stream import explain_stream
    from permgrad.attribution.wide import explain_parts, place_effects, word_effects
    from permgrad.base.errors import EnvironmentProblem, InputError, PermgradError, PermgradWarning
    from permgrad.data.datasets import load_dataset
    from permgrad.data.encode.transformer import TableTransformer
    from permgrad.data.image_table import locate_images
    from permgrad.data.read.table import read_table
    from permgrad.evaluation.changes import changes
    from permgrad.evaluation.related import related_columns
    from permgrad.integrations.hub import load_from_hub, push_to_hub
    from permgrad.integrations.mlflow_runs import log_to_mlflow
    from permgrad.integrations.onnx_files import export_onnx
    from permgrad.integrations.wandb_runs import log_to_wandb
    from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor
    from permgrad.models.onnx_model import read_onnx
    from permgrad.models.save.saving import load
    from permgrad.pages.report import report
    from permgrad.runs.compare.compare import compare


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        module = importlib.import_module(_PUBLIC[name])
        value = module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)
        globals()[name] = value
        return value
    gone = ". It was taken out: ask pg.explain(…, level='modality', interactions=2)" * (name == "partial_information")
    raise AttributeError(f"module 'permgrad' has no attribute {name!r}{gone}")


class _Package(ModuleType):
    """The package, whose ``report`` is the function although a folder has the same name."""

    def __setattr__(self, name: str, value: Any) -> None:
        # Importing the folder for the first time would put it here.
        if name != "report" or not isinstance(value, ModuleType):
            super().__setattr__(name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        # A user's function that names the package is sent to workers with a reference to it, as to any module.
        return importlib.import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted(__all__)
