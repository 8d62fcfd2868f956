"""Find how to call a fitted predictor: by the conventions of its library, or as a
function of a table.

A predictor is recognised by its methods, not by its library, so that no library is
imported here.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from permgrad.base.arrays import Array
from permgrad.base.errors import InputError, shown
from permgrad.data.tasks import CLASSIFICATION, MULTILABEL, REGRESSION, Task
from permgrad.models.losses import Loss, losses


@dataclass(frozen=True)
class PredictCall:
    """A function of a table, and what is known about the numbers that it returns (None:
    unknown).
    """

    function: Callable[[Any], Any]
    task: Task | None = None
    kind: str | None = None
    classes: tuple[Any, ...] | None = None
    one_hot: bool = (
        False  # whether it returns labels: each class is then predicted with 0 or 1
    )
    # the one that it was trained with, where that is not the usual one of its task
    loss: Loss | None = None
    # what it was trained by, where no loss of permgrad is that
    trained_by: str = ""
    labels: Callable[[Any], Any] | None = (
        None  # what returns the classes that the model itself decides for
    )
    # whether the objective may be the user's own, of which the library says nothing
    guessed: bool = False
    ranks: bool = False  # whether it returns scores that are on no scale of y
    one_of: bool = (
        False  # whether a row has one class although the probabilities add up to no 1
    )


def find_call(model: Any) -> PredictCall:
    """Return how a predictor is called, or refuse an object that is not a predictor."""
    if hasattr(model, "problem_type") and hasattr(model, "predict_proba"):
        return _autogluon(model)
    if (
        hasattr(model, "datamodule")
        and hasattr(model, "config")
        and hasattr(model, "predict")
    ):
        return _pytorch_tabular(model)
    if hasattr(model, "save_config") or hasattr(model, "model_to_string"):
        return _booster(model)
    if hasattr(model, "predict"):
        return _estimator(model)
    if callable(model) and not isinstance(model, type):
        return _function(model)
    type_name = f"{type(model).__module__}.{type(model).__name__}"
    hint = "Pass a function that takes rows and returns one row of numbers for each"
    if isinstance(model, (str, os.PathLike)):
        type_name = shown(model)
        hint = "Load the model first"
    problem = (
        "The model must be a torch network, a fitted estimator or a function of "
        f"a table, got {type_name}"
    )
    raise InputError(problem, hint=hint, code="PG031")


#: Where libraries keep the names of the columns that a model was fitted on.
_NAMES = (
    "feature_names_in_",
    "feature_name_",
    "feature_names_",
    "feature_name",
    "feature_names",
)


def fitted_names(model: Any, depth: int = 3) -> tuple[str, ...]:
    """Return the names of the columns that a model was fitted on, in their order, or
    none if it does not say.

    ``depth``: in how many models within models they are looked for.
    """
    if isinstance(model, partial):
        model = model.func
    model = getattr(model, "__self__", model)  # of a bound method
    for attribute_name in _NAMES:
        with suppress(Exception):  # a property or a method of the user's own
            names = getattr(model, attribute_name)
            if callable(names):
                names = names()
            if isinstance(names, (list, tuple, np.ndarray)) and len(names):
                return tuple(map(str, names))
    if hasattr(model, "steps"):  # what comes first takes the table
        inner_models = [
            pipeline_step
            for _, pipeline_step in model.steps
            if pipeline_step not in (None, "passthrough")
        ][:1]
    else:
        held_values = getattr(model, "__dict__", {}).values()
        held_values = [
            inner_value
            for held_value in held_values
            for inner_value in (
                held_value[:1]
                if isinstance(held_value, (list, tuple))
                else [held_value]
            )
        ]
        inner_models = []
        for inner_model in held_values:
            if hasattr(inner_model, "predict"):
                inner_models.append(inner_model)
    names_of_parts = (
        fitted_names(inner_model, depth - 1)
        for inner_model in inner_models
        if depth and not isinstance(inner_model, type)
    )
    return next((names for names in names_of_parts if names), ())


def _function(model: Callable[[Any], Any]) -> PredictCall:
    """Return a call of any function.

    For a bound method ``predict_proba`` or ``predict``, its owner has the classes.
    """
    owner = getattr(model, "__self__", None)
    function_name = getattr(model, "__name__", "")
    classes = getattr(owner, "classes_", None)
    if (
        function_name in ("predict_proba", "predict")
        and classes is not None
        and not _are_several(classes)
    ):
        labels = tuple(np.asarray(classes).tolist())
        return PredictCall(
            model,
            CLASSIFICATION,
            "probabilities",
            labels,
            one_hot=function_name == "predict",
        )
    return PredictCall(model)


def _estimator(model: Any) -> PredictCall:
    """Return the call of an estimator like scikit-learn's: also LightGBM's, XGBoost's,
    CatBoost's and skorch's.
    """
    check_fitted(model)
    if hasattr(model, "classes_"):
        classes = model.classes_
    else:
        classes = _unnamed_labels(model)
    several = _are_several(classes)
    if classes is None or several:
        labels = None
    else:
        labels = tuple(np.asarray(classes).tolist())
    # skorch's regressors inherit the probabilities of its classifiers, and have no
    # classes.
    if hasattr(model, "predict_proba") and (
        classes is not None or not _is(model, "regressor")
    ):
        if several:
            task = MULTILABEL
        else:
            task = CLASSIFICATION
        objective = objective_of(trained(model))[0]
        hinge = objective == "binary:hinge"
        one_of = objective in _ONE_OF
        if hinge:
            predict = model.predict
        else:
            predict = model.predict_proba
        return PredictCall(
            predict,
            task,
            "probabilities",
            labels,
            hinge,
            labels=model.predict,
            one_of=one_of,
        )
    if labels and _returns_scores(model):
        function = partial(model.predict, prediction_type="Probability")
        decides = partial(model.predict, prediction_type="Class")
        one_of = objective_of(model)[0] in _ONE_OF
        return PredictCall(
            function,
            CLASSIFICATION,
            "probabilities",
            labels,
            labels=decides,
            one_of=one_of,
        )
    if labels or several:
        return PredictCall(
            model.predict,
            CLASSIFICATION,
            "probabilities",
            labels,
            one_hot=True,
            labels=model.predict,
        )
    return _of_numbers(model)


def _is(model: Any, kind: str) -> bool:
    """Return whether an estimator says that it is of a kind, by scikit-learn's tags or
    as it did before them.
    """
    if isinstance(model, type):
        estimator_tags = None
    else:
        estimator_tags = getattr(model, "__sklearn_tags__", None)
    kinds = (
        estimator_tags().estimator_type if estimator_tags is not None else None,
        getattr(model, "_estimator_type", None),
    )
    return kind in kinds


def _returns_scores(model: Any) -> bool:
    """Return whether ``predict`` returns raw scores unless asked for something else, as
    CatBoost's general class.
    """
    try:
        kinds = inspect.signature(model.predict).parameters.get("prediction_type")
    except (TypeError, ValueError):  # compiled functions say nothing
        return False
    return kinds is not None and kinds.default == "RawFormulaVal"


def _unnamed_labels(model: Any) -> Any:
    """Return what an estimator without ``classes_`` predicts if these are labels: of
    outliers (−1) or of clusters.
    """
    if _is(model, "outlier_detector"):
        return (-1, 1)
    last_step = trained(model)
    if _is(model, "clusterer") and hasattr(last_step, "labels_"):
        return np.unique(last_step.labels_)
    return None


def _of_numbers(model: Any) -> PredictCall:
    """Return the call of an estimator without classes: a regression if it declares one,
    with its training loss.
    """
    last_step = trained(model)
    objective, levels = objective_of(last_step)
    predict_call = _by_objective(model.predict, objective, levels)
    predict_call = replace(
        predict_call, ranks=predict_call.ranks or _is(last_step, "ranker")
    )
    logarithm = predict_call.loss.of_logarithm if predict_call.loss else ""
    if logarithm and _returns_scores(last_step):
        predict_call = replace(predict_call, loss=losses[logarithm])
    numbers = predict_call.loss or predict_call.ranks or _is(model, "regressor")
    if hasattr(last_step, "get_params"):
        given_objective = last_step.get_params().get("objective")
    else:
        given_objective = None
    has_own = callable(given_objective)
    if has_own:  # whatever its library calls it
        predict_call = replace(predict_call, loss=None, trained_by=_OWN)
    return replace(
        predict_call,
        task=REGRESSION if numbers else None,
        kind=None,
        guessed=has_own,
    )


def check_fitted(model: Any) -> None:
    """Refuse an estimator that is not fitted."""
    from sklearn.base import BaseEstimator
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if not isinstance(model, BaseEstimator):
        return
    try:
        check_is_fitted(model)
    except NotFittedError:
        problem = f"The {type(model).__name__} is not fitted yet"
        raise InputError(problem, hint="Call its fit first", code="PG030") from None


def _booster(model: Any) -> PredictCall:
    """Return the call of LightGBM's and XGBoost's own boosters."""
    objective, levels = objective_of(model)
    if hasattr(model, "model_to_string"):
        return _by_objective(model.predict, objective, levels)
    # Of labels the scores that they are made of say more.
    scores = objective == "multi:softmax"
    predict_call = _by_objective(partial(_of_matrix, model, scores), objective, levels)
    predict_call = replace(
        predict_call, guessed=objective == "reg:squarederror"
    )  # which it also says of the user's own
    if predict_call.task:
        return predict_call
    return replace(predict_call, task=REGRESSION)


def _of_matrix(model: Any, scores: bool, table: Any) -> Array:
    """Return what XGBoost's booster predicts. ``scores``: before they become labels."""
    import xgboost

    matrix = xgboost.DMatrix(table, enable_categorical=True)
    return model.predict(matrix, output_margin=scores)


#: Objectives of classifiers, by what the numbers are that the predictor returns.
_PROBABILITIES = (
    "binary",
    "multiclass",
    "multiclassova",
    "softmax",
    "binary:logistic",
    "multi:softprob",
)
_LOGITS = ("binary:logitraw", "multi:softmax")
#: Objectives that ask of each class whether it is this one: the probabilities of a row
#: add up to no 1.
_ONE_OF = ("multiclassova", "MultiClassOneVsAll")
#: How the names of objectives begin whose scores are on no scale of y.
_RANKS = (
    "rank",
    "lambdarank",
    "YetiRank",
    "PairLogit",
    "QueryRMSE",
    "QuerySoftMax",
    "QueryCrossEntropy",
    "StochasticRank",
)


def _by_objective(
    function: Callable[[Any], Any], objective: str, levels: tuple[float, ...]
) -> PredictCall:
    if objective in _PROBABILITIES:
        return PredictCall(
            function, CLASSIFICATION, "probabilities", one_of=objective in _ONE_OF
        )
    if objective in _LOGITS:
        return PredictCall(function, CLASSIFICATION, "logits")
    if objective == "binary:hinge":
        return PredictCall(
            function, CLASSIFICATION, "probabilities", (0, 1), one_hot=True
        )
    implied_loss = losses.of_objective(objective)
    if implied_loss is not None and implied_loss.at_level is not None:
        implied_loss = implied_loss.of_levels(levels) if levels else None
    ranks = objective.startswith(_RANKS)
    trained_by = ""
    if losses.of_objective(objective) is None and not ranks:
        trained_by = objective
    return PredictCall(
        function,
        REGRESSION if implied_loss or ranks or "reg" in objective else None,
        loss=implied_loss,
        trained_by=trained_by,
        ranks=ranks,
    )


def _autogluon(model: Any) -> PredictCall:
    """Return the call of AutoGluon's ``TabularPredictor``."""
    if model.problem_type in ("regression", "quantile"):
        levels = tuple(getattr(model, "quantile_levels", None) or ())
        loss = losses["quantile"].of_levels(levels) if levels else None
        return PredictCall(model.predict, REGRESSION, loss=loss)
    classes = tuple(model.class_labels)
    return PredictCall(
        model.predict_proba,
        CLASSIFICATION,
        "probabilities",
        classes,
        labels=model.predict,
    )


def _pytorch_tabular(model: Any) -> PredictCall:
    """Return the call of pytorch-tabular's ``TabularModel``, whose predictions are
    columns of a frame.
    """
    if model.config.task == "regression":
        return PredictCall(partial(_columns, model, "_prediction"), REGRESSION)
    encoder = model.datamodule.label_encoder
    classes = tuple((encoder[0] if isinstance(encoder, list) else encoder).classes_)
    probabilities = partial(_columns, model, "_probability")
    labels = partial(_columns, model, "_prediction")
    return PredictCall(
        probabilities, CLASSIFICATION, "probabilities", classes, labels=labels
    )


def _columns(model: Any, kind: str, table: Any) -> Any:
    """Return the predictions of one kind of pytorch-tabular's model."""
    return model.predict(table).filter(like=kind)


# ---- what a model was trained for ----------------------------------------------------
#: An objective as its library calls it ("": it names none), and levels of quantiles.
Objective = tuple[str, tuple[float, ...]]


def trained(model: Any) -> Any:
    """Return the model inside pipelines and searches, or the last one of a stack."""
    while (
        hasattr(model, "steps")
        or hasattr(model, "best_estimator_")
        or hasattr(model, "final_estimator_")
    ):
        inside = getattr(
            model, "best_estimator_", getattr(model, "final_estimator_", None)
        )
        if hasattr(model, "steps"):
            model = model[-1]
        else:
            model = inside
    return model


def objective_of(model: Any) -> Objective:
    """Return the objective of a trained model."""
    if hasattr(model, "regressor_"):
        return _of_transformed(model)
    if hasattr(model, "get_booster"):
        booster = model.get_booster()
    else:
        booster = getattr(model, "booster_", model)
    if hasattr(booster, "save_config"):
        return _xgboost(booster)
    if hasattr(booster, "model_to_string"):
        return _lightgbm(booster)
    if hasattr(model, "get_all_params"):
        return _catboost(model)
    if hasattr(model, "get_params"):
        parameters = model.get_params()
    else:
        parameters = {}
    named = map(parameters.get, ("objective", "loss", "loss_function", "criterion"))
    objective_name = next(
        (named_value for named_value in named if isinstance(named_value, str)), ""
    )
    if not objective_name:
        objective_name = _objective_of_class(type(model), parameters)
    levels = map(parameters.get, ("quantile", "quantile_alpha", "alpha"))
    level = next((level for level in levels if level is not None), None)
    return objective_name, (0.9,) if level is None else _levels(level)


#: What classes are trained by whose parameters do not say it.
_OF_CLASSES = {
    "GammaRegressor": "gamma",
    "HuberRegressor": "huber",
    "SVR": "epsilon_insensitive",
    "NuSVR": "epsilon_insensitive",
}
#: Powers of Tweedie's family that have a name.
_TWEEDIE = {0.0: "squared_error", 1.0: "poisson", 2.0: "gamma"}
#: What messages call an objective that the user wrote.
_OWN = "an objective of its own"


def _of_transformed(model: Any) -> Objective:
    """Return the objective of a model of a transformed target: quantiles stay
    quantiles, means are no means.
    """
    name, levels = objective_of(trained(model.regressor_))
    if model.func is None and model.transformer is None:
        return name, levels
    inner_name = name or losses.usual(REGRESSION).name
    loss = losses.of_objective(inner_name)
    if loss is not None and (loss.of_middle or _keeps(model, loss)):
        return name, levels
    return f"{inner_name} of a transformed target", ()


def _keeps(model: Any, loss: Loss) -> bool:
    """Return whether a loss of the transformed target has the same order of models as
    that of the target: squared errors, where the target is shifted and scaled.
    """
    return loss.of_variance and hasattr(model.transformer_, "scale_")


def _objective_of_class(model_class: type, parameters: Mapping[str, Any]) -> str:
    """Return the objective that a class has, or that its parameters tell."""
    for base_class in model_class.__mro__:
        if base_class.__name__ == "TweedieRegressor":
            power = float(parameters.get("power", 0.0))
            return _TWEEDIE.get(power, f"Tweedie deviance of power {power:g}")
        if losses.of_objective(base_class.__name__) is not None:
            return base_class.__name__
        if base_class.__name__ in _OF_CLASSES:
            return _OF_CLASSES[base_class.__name__]
    return "quantile" * ("quantile" in parameters)


def _xgboost(booster: Any) -> Objective:
    settings = json.loads(booster.save_config())["learner"]["objective"]
    return settings["name"], _levels(
        settings.get("quantile_loss_param", {}).get("quantile_alpha", "")
    )


def _lightgbm(booster: Any) -> Objective:
    objective_name = str(booster.dump_model(num_iteration=1).get("objective", ""))
    return objective_name.partition(" ")[0], _levels(booster.params.get("alpha", 0.9))


def _catboost(model: Any) -> Objective:
    try:
        parameters = model.get_all_params()
    except Exception:  # noqa: BLE001 — catboost is optional, and a file may hold none of its training
        parameters = {}
    loss_name, _, behind = str(parameters.get("loss_function", "")).partition(":")
    settings = dict(
        setting_text.split("=", 1)
        for setting_text in behind.split(";")
        if "=" in setting_text
    )
    return loss_name, _levels(settings.get("alpha", 0.5))


def _levels(written: Any) -> tuple[float, ...]:
    """Return levels written as a number, as several, or as text such as ``0.1,0.9`` and
    ``[1E-1,9E-1]``.
    """
    several = hasattr(written, "__iter__") and not isinstance(written, str)
    try:
        return tuple(
            map(float, written if several else str(written).strip("[] ").split(","))
        )
    except (TypeError, ValueError):
        return ()


def _are_several(classes: Any) -> bool:
    """Whether these are the classes of several labels, a list of arrays.

    A list of labels is that of one.
    """
    return isinstance(classes, list) and any(map(np.ndim, classes))
