"""Saving fitted models: weights as safetensors, arrays as npz, everything else as
JSON.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import torch

from permgrad.base.checks import check_flag, check_path
from permgrad.base.errors import InputError
from permgrad.models.branches import added_branches, refuse_without_rows
from permgrad.models.estimators.kept_rows import without_rows
from permgrad.models.estimators.presets import Preset
from permgrad.models.save.model_folders import FORMAT_VERSION, check_target, write_model


def save(
    model: Any,
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    keep_rows: bool = True,
) -> None:
    """Write a fitted estimator. The folder appears complete or not at all."""
    target = check_path("folder", folder)
    check_flag("overwrite", overwrite)
    check_flag("keep_rows", keep_rows)
    if not keep_rows:
        _refuse_rows_within(model)
        model = without_rows(model)
    check_target(target, overwrite=overwrite)
    description: dict[str, Any] = {
        "seed": model.seed_,
        "best_epoch": int(model.best_epoch_),
        "history": list(model.history_.columns),
        "preprocessor": model.preprocessor_.to_dict(),
    }
    if getattr(model, "target_name_", None) is not None:
        description["target_name"] = model.target_name_
    if hasattr(model, "classes_"):
        description["class_weights"] = model.class_weights_.tolist()
    if hasattr(model, "target_mean_"):
        description["target"] = {
            "mean": model.target_mean_,
            "scale": model.target_scale_,
        }
    description |= _of_hybrid(model)
    # The renderer is described in words and numbers.
    state = {
        state_name: value
        for state_name, value in model.module_.state_dict().items()
        if not state_name.startswith("renderer.")
    }
    if (features := model.preprocessor_.images_) is not None and features.columns:
        description["images_of_columns"] = features.to_dict()
        state = {**state, **features.weights()}
    if (texts := model.preprocessor_.texts_) is not None and callable(texts.encoder):
        description["own_text_encoder"] = True
    arrays = _arrays_of(model)
    measured = model.history_.drop(columns="seconds", errors="ignore")
    arrays |= {
        f"history.{history_name}": measured[history_name].to_numpy()
        for history_name in measured.columns
    }
    seconds = (
        model.history_["seconds"].to_numpy() if "seconds" in model.history_ else None
    )
    write_model(model, target, FORMAT_VERSION, description, arrays, state, seconds)


def _refuse_rows_within(model: Any) -> None:
    """Refuse to save without rows what holds rows in a branch."""
    for branch_name in getattr(model.module_, "additive", ()):
        refuse_without_rows(added_branches()[branch_name])


def _arrays_of(model: Any) -> dict[str, Any]:
    """Return the arrays of a fitted estimator, without its history."""
    arrays: dict[str, Any] = {
        "background": model.background_,
        "background_target": np.asarray(model.background_target_),
    }
    if (compared := getattr(model, "rows_compared_", None)) is not None:
        arrays["rows_compared"] = compared
    if getattr(model, "held_out_", None) is not None:
        arrays |= model.held_out_.arrays()
    if hasattr(model, "classes_"):
        arrays["classes"] = np.asarray(model.classes_)
    return arrays


def _parameters(model: Any) -> dict[str, Any]:
    """Return the constructor's arguments.

    What cannot be written as data is replaced by what it led to.
    """
    parameters: dict[str, Any] = {}
    for parameter_name, value in model.get_params(deep=False).items():
        if parameter_name == "random_state" and not isinstance(
            value, (int, np.integer, type(None))
        ):
            parameters[parameter_name] = model.seed_
        elif parameter_name in ("image_encoder", "text_encoder") and callable(value):
            parameters[parameter_name] = None
        elif parameter_name == "layout" and not isinstance(value, (str, type(None))):
            parameters[parameter_name] = {"fitted": True}
        elif isinstance(value, torch.device):
            parameters[parameter_name] = str(value)
        elif isinstance(value, Preset):
            parameters[parameter_name] = {"preset": value.to_dict()}
        else:
            parameters[parameter_name] = _pack(value, parameter_name)
    return parameters


def _of_hybrid(model: Any) -> dict[str, Any]:
    """Return the parameters, the network and what was learned beside its weights."""
    module = model.module_
    names = getattr(model, "feature_names_in_", None)
    branch = module.table_branch
    content: dict[str, Any] = {
        "parameters": _parameters(model),
        "n_features_in": int(model.n_features_in_),
        "feature_names_in": None if names is None else list(map(str, names)),
        "training_options": _pack(model.training_options_),
        "network": {
            **{
                attribute_name: getattr(module, attribute_name)
                for attribute_name in (
                    "encoded",
                    "outputs",
                    "numeric_columns",
                    "level_blocks",
                )
            },
            **({"score_blocks": module.score_blocks} if module.score_blocks else {}),
            **({"rates": True} if module.rates else {}),
            **(
                {"products": branch.products}
                if branch is not None and branch.products
                else {}
            ),
            **({"additive": _beside(module)} if module.additive else {}),
            "paths": list(module.head_paths),
            "options": module.options.to_dict(),
        },
        "renderer": None if model.renderer_ is None else model.renderer_.to_dict(),
    }
    if model.order_ is not None:
        content["order"] = asdict(model.order_)
    if getattr(model, "branches_", None):
        content["branches"] = model.branches_
    if getattr(model, "has_offset_", False):
        content["offset"] = True
    if hasattr(model, "classes_"):
        content["classes_are_objects"] = bool(
            np.asarray(model.classes_).dtype == object
        )
        content["calibration"] = model.calibration_.to_dict()
    if getattr(model, "decision_", None) is not None:
        content["decision"] = model.decision_.to_dict()
    return content


def _beside(module: Any) -> dict[str, Any]:
    """Return what the branches beside a network's head are made with, and their
    shares.
    """
    described: dict[str, Any] = {}
    for branch_name, branch in module.additive.items():
        described[branch_name] = {"share": module.shares[branch_name]}
        if added_branches()[branch_name].sizes:
            described[branch_name]["sizes"] = branch.sizes
    return described


def _pack(value: Any, name: str = "value") -> Any:
    """Write plain values so that JSON gives back the same types: tuples, keys that are
    no text, infinity.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, os.PathLike):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else {"number": str(value)}
    if isinstance(value, tuple):
        return {"tuple": [_pack(tuple_item, name) for tuple_item in value]}
    if isinstance(value, (list, np.ndarray, pd.Index, pd.Series)):
        return [_pack(list_item, name) for list_item in value]
    if isinstance(value, Mapping):
        return {
            "mapping": [
                [_pack(mapped_key, name), _pack(mapped_item, name)]
                for mapped_key, mapped_item in value.items()
            ]
        }
    problem = (
        f"Arguments of a saved model must be plain values, but {name} holds a "
        f"{type(value).__name__}"
    )
    raise InputError(
        problem, hint="Use numbers, text, lists and mappings.", code="PG001"
    )
