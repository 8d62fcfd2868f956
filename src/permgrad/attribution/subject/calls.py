"""How a fitted predictor is called: by its own library's habits, or as any function of a table.

A predictor is told by what it offers, not by its library, so that none has to be imported here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.base.errors import InputError


@dataclass(frozen=True)
class PredictCall:
    """A function of a table, and what is known of the numbers that it returns; None where nobody said."""

    function: Callable[[Any], Any]
    task: str | None = None
    kind: str | None = None
    classes: tuple[Any, ...] | None = None
    one_hot: bool = False  # whether it returns labels: each class is then predicted with 0 or 1


def find_call(model: Any) -> PredictCall:
    """Return how a predictor is called, or refuse what cannot be."""
    name = f"{type(model).__module__}.{type(model).__name__}"
    for reader in (_autogluon, _pytorch_tabular, _booster, _estimator):
        call = reader(model)
        if call is not None:
            return call
    if callable(model) and not isinstance(model, type):
        return _function(model)
    raise InputError(
        f"The model must predict: a torch network, a fitted estimator or a function of a table, got {name}. Pass a "
        "function that takes rows and returns one row of numbers for each."
    )


def _function(model: Callable[[Any], Any]) -> PredictCall:
    """Return any function; of a bound ``predict_proba`` its owner knows the classes."""
    owner, name = getattr(model, "__self__", None), getattr(model, "__name__", "")
    classes = getattr(owner, "classes_", None)
    if name == "predict_proba" and classes is not None:
        return PredictCall(model, "classification", "probabilities", tuple(np.asarray(classes).tolist()))
    return PredictCall(model)


def _estimator(model: Any) -> PredictCall | None:
    """Return estimators in the manner of scikit-learn: also LightGBM's, XGBoost's, CatBoost's and skorch's."""
    if not hasattr(model, "predict"):
        return None
    _check_fitted(model)
    classes = getattr(model, "classes_", None)
    labels = None if classes is None else tuple(np.asarray(classes).tolist())
    if hasattr(model, "predict_proba"):
        return PredictCall(model.predict_proba, "classification", "probabilities", labels)
    if labels:
        return PredictCall(model.predict, "classification", "probabilities", labels, one_hot=True)
    return PredictCall(model.predict, "regression" if getattr(model, "_estimator_type", "") == "regressor" else None)


def _check_fitted(model: Any) -> None:
    from sklearn.base import BaseEstimator
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if not isinstance(model, BaseEstimator):
        return
    try:
        check_is_fitted(model)
    except NotFittedError:
        raise InputError(f"The model is not fitted yet: {type(model).__name__}. PredictCall its fit first.") from None


def _booster(model: Any) -> PredictCall | None:
    """Return LightGBM's and XGBoost's own boosters."""
    library = type(model).__module__.partition(".")[0]
    if type(model).__name__ != "Booster" or library not in ("lightgbm", "xgboost"):
        return None
    if library == "lightgbm":
        objective = str(model.params.get("objective", "") or model.dump_model(num_iteration=1).get("objective", ""))
        return _by_objective(model.predict, objective.split(maxsplit=1)[0] if objective else "")
    import json

    import xgboost

    objective = json.loads(model.save_config())["learner"]["objective"]["name"]

    def predict(table: Any) -> npt.NDArray[Any]:
        numbers: npt.NDArray[Any] = model.predict(xgboost.DMatrix(table, enable_categorical=True))
        return numbers

    return _by_objective(predict, objective)


def _by_objective(function: Callable[[Any], Any], objective: str) -> PredictCall:
    if objective in ("binary", "multiclass", "multiclassova", "softmax", "binary:logistic", "multi:softprob"):
        return PredictCall(function, "classification", "probabilities")
    if objective == "binary:logitraw":
        return PredictCall(function, "classification", "logits")
    return PredictCall(function, "regression" if "reg" in objective else None)


def _autogluon(model: Any) -> PredictCall | None:
    """Return AutoGluon's ``TabularPredictor``."""
    if not hasattr(model, "problem_type") or not hasattr(model, "predict_proba"):
        return None
    if model.problem_type in ("regression", "quantile"):
        return PredictCall(model.predict, "regression")
    return PredictCall(model.predict_proba, "classification", "probabilities", tuple(model.class_labels))


def _pytorch_tabular(model: Any) -> PredictCall | None:
    """Return pytorch-tabular's ``TabularModel``, whose predictions are columns of a frame."""
    if not type(model).__module__.startswith("pytorch_tabular"):
        return None
    if model.config.task == "regression":
        return PredictCall(lambda table: model.predict(table).filter(like="_prediction"), "regression")
    encoder = model.datamodule.label_encoder
    classes = tuple((encoder[0] if isinstance(encoder, list) else encoder).classes_)
    function = lambda table: model.predict(table).filter(like="_probability")  # noqa: E731 — named by the field
    return PredictCall(function, "classification", "probabilities", classes)
