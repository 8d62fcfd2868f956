"""Search spaces of boosted trees and forests, around the settings of ``permgrad
compare``, which are trial 0.

Ranges are those of the usual comparisons (Grinsztajn et al. 2022, arXiv 2207.08815;
McElfresh et al. 2023, arXiv 2305.02997), without the number of boosting rounds: these
stop early by the validation rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from permgrad.base.errors import InputError, two_sentences, unknown
from permgrad.base.stored import read_user_json
from permgrad.evaluation.baselines.fitting import (
    baselines,
    check_savable,
    check_settings,
    try_settings,
)
from permgrad.tuning.spaces import Space, form_faults, parameter_of

_SHARE: Mapping[str, Any] = {"low": 0.4, "high": 1.0}
_RATE: Mapping[str, Any] = {"low": 0.02, "high": 0.3, "log": True}
_FOREST: Mapping[str, Mapping[str, Any]] = {
    "max_features": {"low": 0.05, "high": 1.0},
    "min_samples_leaf": {"low": 1, "high": 30, "log": True},
    "min_samples_split": {"low": 2, "high": 30, "log": True},
}
#: The settings that are searched, by model, and the values that ``permgrad compare``
#: uses, where they are in the range.
SEARCHED: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "lightgbm": {
        "learning_rate": _RATE,
        "num_leaves": {"low": 4, "high": 256, "log": True},
        "min_child_samples": {"low": 2, "high": 100, "log": True},
        "colsample_bytree": _SHARE,
        "subsample": _SHARE,
        "subsample_freq": {"choices": (0, 1)},
        "reg_lambda": {"low": 1e-3, "high": 30.0, "log": True},
    },
    "xgboost": {
        "learning_rate": _RATE,
        "max_depth": {"low": 2, "high": 11},
        "min_child_weight": {"low": 0.1, "high": 100.0, "log": True},
        "colsample_bytree": _SHARE,
        "subsample": _SHARE,
        "reg_lambda": {"low": 1e-2, "high": 30.0, "log": True},
    },
    "catboost": {
        "learning_rate": _RATE,
        "depth": {"low": 3, "high": 9},
        "l2_leaf_reg": {"low": 0.5, "high": 30.0, "log": True},
        "random_strength": {"low": 0.1, "high": 10.0, "log": True},
    },
    "histogram_boosting": {
        "learning_rate": _RATE,
        "max_leaf_nodes": {"low": 4, "high": 256, "log": True},
        "min_samples_leaf": {"low": 2, "high": 100, "log": True},
        "l2_regularization": {"low": 1e-3, "high": 30.0, "log": True},
    },
    "random_forest": _FOREST,
    "extra_trees": _FOREST,
}
_START: Mapping[str, Mapping[str, Any]] = {
    "lightgbm": {
        "learning_rate": 0.1,
        "num_leaves": 31,
        "min_child_samples": 20,
        "colsample_bytree": 1.0,
        "subsample": 1.0,
        "subsample_freq": 0,
    },
    "xgboost": {
        "learning_rate": 0.1,
        "max_depth": 6,
        "min_child_weight": 1.0,
        "colsample_bytree": 1.0,
        "subsample": 1.0,
        "reg_lambda": 1.0,
    },
    "catboost": {"depth": 6, "l2_leaf_reg": 3.0, "random_strength": 1.0},
    "histogram_boosting": {
        "learning_rate": 0.1,
        "max_leaf_nodes": 31,
        "min_samples_leaf": 20,
        "l2_regularization": 1.0,
    },
    "random_forest": {"min_samples_leaf": 1, "min_samples_split": 2},
    "extra_trees": {"min_samples_leaf": 1, "min_samples_split": 2},
}


@dataclass(frozen=True)
class Settings:
    """A model of another library with its settings, in the place of a preset."""

    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return what a file of settings holds."""
        return {"model": self.model, "settings": dict(self.settings)}


def space_of_model(
    name: str, entries: Mapping[str, Mapping[str, Any]] | None = None, source: str = ""
) -> Space:
    """Return the space of a model of another library: ours, or that of a file's
    ``parameters``, in the same form.
    """
    if not isinstance(name, str) or name not in SEARCHED:
        raise unknown("model", name, ["network", *SEARCHED])
    check_savable(name)
    if entries is None:
        searched = SEARCHED[name]
    else:
        searched = entries
    parameters = [parameter_of(key, entry) for key, entry in searched.items()]
    first = {}
    for space_parameter in parameters:
        if space_parameter.choices:
            first[space_parameter.name] = space_parameter.choices[0]
        else:
            first[space_parameter.name] = space_parameter.low
    where = source or f"The space of {name}"
    try_settings(
        check_settings({"model": name, "settings": first}, name, where), name, where
    )
    label = baselines.get(name).label

    def build(trial: Any) -> dict[str, Any]:
        return Settings(
            name,
            {
                trial_parameter.name: trial_parameter.suggest(trial)
                for trial_parameter in parameters
            },
        ).to_dict()

    inside = {}
    for space_parameter in parameters:
        if space_parameter.name in _START[name]:
            inside[space_parameter.name] = space_parameter.own_value(_START[name])
    return Space(
        name=source or name,
        text=f"{len(parameters)} settings of {label} around its usual ones, which are "
        "trial 0",
        build=build,
        content={
            "model": name,
            "parameters": {
                saved_parameter.name: saved_parameter.to_dict()
                for saved_parameter in parameters
            },
        },
        base=Settings(name),
        start={key: value for key, (is_inside, value) in inside.items() if is_inside},
        parameters=parameters,
        pruning=False,
    )


def get_model_space(model: str, name: str) -> Space:
    """Return the space of a model of another library: ours (``"default"``), or that of
    a JSON file.
    """
    if name == "default":
        return space_of_model(model)
    return space_of_model(
        model, _entries(read_user_json(name, "the space"), name), name
    )


def _entries(content: Any, source: str) -> Mapping[str, Any]:
    """Return the ``parameters`` of a file that searches the settings of another model
    than the network.
    """
    shape = "It is {'parameters': {setting: range or choices}}."
    entries = content.get("parameters") if isinstance(content, Mapping) else None
    if not isinstance(entries, Mapping) or len(content) > 1:
        raise InputError(
            f"The space in {source} has other entries than 'parameters'",
            hint=shape,
            code="PG011",
        )
    faults = [
        fault
        for name, entry in entries.items()
        for fault in form_faults(str(name), entry)
    ]
    if faults or not entries:
        words = " ".join(map(two_sentences, faults)) or "it searches nothing."
        raise InputError(
            f"The space in {source} has faults: {words}", hint=shape, code="PG011"
        )
    return entries
