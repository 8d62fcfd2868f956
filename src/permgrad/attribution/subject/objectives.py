"""What a fitted model of another library was trained for: the name of its objective, and the levels of quantiles.

The trained model is asked, not the parameters it was made with: these have other names for the same, or are lost when a
model is saved and loaded. A model is recognised by its methods.
"""

from __future__ import annotations

import json
from typing import Any

#: An objective as its library calls it ("": it names none), and levels of quantiles.
Objective = tuple[str, tuple[float, ...]]


def trained(model: Any) -> Any:
    """Return the model inside pipelines and searches."""
    while hasattr(model, "steps") or hasattr(model, "best_estimator_"):
        model = model[-1] if hasattr(model, "steps") else model.best_estimator_
    return model


def objective_of(model: Any) -> Objective:
    """Return the objective of a trained model."""
    for reader in (_xgboost, _lightgbm, _catboost):
        objective = reader(model)
        if objective is not None:
            return objective
    from sklearn.linear_model import PoissonRegressor

    parameters = model.get_params() if hasattr(model, "get_params") else {}
    named = (parameters.get(key) for key in ("objective", "loss", "loss_function", "criterion"))
    name = next((each for each in named if isinstance(each, str)), "")
    if not name:
        name = "poisson" if isinstance(model, PoissonRegressor) else "quantile" * ("quantile" in parameters)
    levels = (parameters.get(key) for key in ("quantile", "quantile_alpha", "alpha"))
    return name, _levels(next((level for level in levels if level is not None), 0.9))


def _xgboost(model: Any) -> Objective | None:
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    if not hasattr(booster, "save_config"):
        return None
    settings = json.loads(booster.save_config())["learner"]["objective"]
    return settings["name"], _levels(settings.get("quantile_loss_param", {}).get("quantile_alpha", ""))


def _lightgbm(model: Any) -> Objective | None:
    booster = getattr(model, "booster_", model)
    if not hasattr(booster, "model_to_string"):
        return None
    name = str(booster.dump_model(num_iteration=1).get("objective", ""))
    return name.partition(" ")[0], _levels(booster.params.get("alpha", 0.9))


def _catboost(model: Any) -> Objective | None:
    if not hasattr(model, "get_all_params"):
        return None
    try:
        parameters = model.get_all_params()
    except Exception:  # noqa: BLE001 — catboost is optional, and a file may hold none of its training
        parameters = {}
    name, _, behind = str(parameters.get("loss_function", "")).partition(":")
    settings = dict(part.split("=", 1) for part in behind.split(";") if "=" in part)
    return name, _levels(settings.get("alpha", 0.5))


def _levels(written: Any) -> tuple[float, ...]:
    """Return levels written as a number, as several, or as text such as ``0.1,0.9`` and ``[1E-1,9E-1]``."""
    several = hasattr(written, "__iter__") and not isinstance(written, str)
    try:
        return tuple(map(float, written if several else str(written).strip("[] ").split(",")))
    except (TypeError, ValueError):
        return ()
