"""Other tools that take what permgrad makes, or make what it explains: ONNX, MLflow,
Weights & Biases, the Hub.

Names are resolved on first use, as each needs packages of its own.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PLACES = {
    "export_onnx": "permgrad.integrations.onnx_files",
    "load_from_hub": "permgrad.integrations.hub",
    "log_to_mlflow": "permgrad.integrations.mlflow_runs",
    "log_to_wandb": "permgrad.integrations.wandb_runs",
    "push_to_hub": "permgrad.integrations.hub",
    "read_onnx": "permgrad.models.onnx_model",
}

__all__ = [
    "export_onnx",
    "load_from_hub",
    "log_to_mlflow",
    "log_to_wandb",
    "push_to_hub",
    "read_onnx",
]

if TYPE_CHECKING:
    from permgrad.integrations.hub import load_from_hub, push_to_hub
    from permgrad.integrations.mlflow_runs import log_to_mlflow
    from permgrad.integrations.onnx_files import export_onnx
    from permgrad.integrations.wandb_runs import log_to_wandb
    from permgrad.models.onnx_model import read_onnx


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(
            f"module 'permgrad.integrations' has no attribute {name!r}"
        )
    value = globals()[name] = getattr(importlib.import_module(_PLACES[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
