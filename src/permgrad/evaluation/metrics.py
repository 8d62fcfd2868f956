"""A registry of metrics of predictions.

Each metric states its task, direction and range.

An undefined metric (one class only, no row, a constant target) is ``None``, and
``null`` in ``metrics.json``. It is never 0 and never an error.

A new metric is one function and one registration,
``metrics.register(metric.name)(metric)``:

    >>> import numpy as np
    >>> def median_error(case: Case) -> float:
    ...     return float(np.median(np.abs(case.truth - case.predictions)))
    >>> metric = Metric(
    ...     "median_error",
    ...     "median error",
    ...     "regression",
    ...     "lower",
    ...     (0.0, math.inf),
    ...     median_error,
    ... )
    >>> metric.better(1.0, 2.0)
    True
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.arrays import Array, Booleans, Floats, Integers
from permgrad.base.checks import as_numbers, check_choice, check_kind, check_rows
from permgrad.base.errors import Fault, InputError, refusing, shown
from permgrad.base.files import plain
from permgrad.base.registry import Registry
from permgrad.base.sequences import values_at
from permgrad.data.tasks import (
    CLASSIFICATION,
    COUNTS,
    FITTED,
    REGRESSION,
    Task,
    tasks,
)
from permgrad.data.types.positive import find_positive
from permgrad.data.weights import check_weights


@dataclass(frozen=True)
class Case:
    """The inputs of metrics, checked and converted once for all of them.

    Attributes:
        truth: Regression: y ``(rows,)`` float64. Classification: position of each row's
            class in ``labels``.
        predictions: Regression: the predictions ``(rows,)`` float64. Classification:
            positions in ``labels``.
        probabilities: Classification: ``(rows, classes)`` float64, or None.
        n_classes: Number of classes that the model knows. Larger positions are classes
            it has never seen.
        labels: The model's classes, followed by classes that occur only in the truth or
            the predictions.
        positive: Position of the positive one of two classes.
        weights: How much each row counts ``(rows,)``. None: all alike.
    """

    truth: Array
    predictions: Array
    probabilities: Floats | Any = None
    n_classes: int = 0
    labels: tuple[Any, ...] = ()
    positive: int = 1
    weights: Floats | None = None

    @cached_property
    def confusion(self) -> Array:
        """Numbers of rows, or sums of weights, by true class (rows) and predicted class
        (columns), as in ``labels``.
        """
        count = len(self.labels)
        return np.bincount(
            self.truth * count + self.predictions, self.weights, count**2
        ).reshape(count, -1)

    def mean(self, values: Array) -> float:
        """Return the mean over rows."""
        return float(np.average(values, weights=self.weights))


Compute = Callable[[Case], float | None]


@dataclass(frozen=True)
class Metric:
    """One metric: its name, task, direction, range and function.

    Attributes:
        name: Key in ``metrics.json``.
        label: Name for people.
        task: ``"classification"`` or ``"regression"``.
        direction: ``"higher"`` or ``"lower"`` is better.
        range: Smallest and largest possible value.
        compute: Function of a ``Case``. None, NaN or infinity mean undefined.
        probabilistic: True if it needs class probabilities and is undefined without.
        counts: True if it is for counts and rates alone.
    """

    name: str
    label: str
    task: Task
    direction: Literal["higher", "lower"]
    range: tuple[float, float]
    compute: Compute
    probabilistic: bool = False
    counts: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", tasks.get(self.task))

    def better(self, left: float | None, right: float | None) -> bool:
        """Return whether ``left`` is strictly better than ``right``.

        A defined value is better than None.

        Args:
            left: A value of the metric. None: undefined.
            right: Another.
        """
        if left is None or right is None:
            return left is not None
        if self.direction == "higher":
            return left > right
        return left < right


metrics: Registry[Metric] = Registry("metric")


# ---- classification ------------------------------------------------------------------


def accuracy(case: Case) -> float | None:
    """Share of rows whose class is right."""
    return case.mean(case.truth == case.predictions)


def balanced_accuracy(case: Case) -> float | None:
    """Mean recall of the classes that occur."""
    matrix = case.confusion
    occurring = matrix.sum(axis=1) > 0
    return float(np.mean(np.diag(matrix)[occurring] / matrix.sum(axis=1)[occurring]))


def macro_f1(case: Case) -> float | None:
    """Mean F1 over the classes that occur in the truth or among the predictions, as in
    scikit-learn.
    """
    matrix = case.confusion
    mentions = matrix.sum(axis=0) + matrix.sum(axis=1)
    occurring = mentions > 0
    return float(np.mean(2.0 * np.diag(matrix)[occurring] / mentions[occurring]))


def roc_auc(case: Case) -> float | None:
    """Area under the ROC curve.

    With more than two classes: the plain mean of one class versus the rest.

    Undefined unless every class of the model occurs, because a mean over fewer classes
    would be another quantity.
    """
    from sklearn.metrics import roc_auc_score

    return _mean_of_classes(roc_auc_score, case)


def _mean_of_classes(score: Callable[..., Any], case: Case) -> float | None:
    """Return the mean of a score of one class versus the rest."""
    scores = []
    for class_case in _one_versus_rest(case):
        scores.append(score(*class_case, sample_weight=case.weights))
    if scores:
        return float(np.mean(scores))
    return None


def average_precision(case: Case) -> float | None:
    """Area under the precision–recall steps of the positive class.

    With more classes: mean of one versus the rest.
    """
    from sklearn.metrics import average_precision_score

    return _mean_of_classes(average_precision_score, case)


def lift(case: Case) -> float | None:
    """Frequency of the positive class among the tenth of the rows with the highest
    scores, divided by that among all.

    1 is chance and at most 10 is possible. For equal scores at the edge of the tenth,
    it is the expected value over every way of breaking the tie. With more than two
    classes: mean of one versus the rest.
    """
    if case.weights is None:
        weights = np.ones(len(case.truth))
    else:
        weights = case.weights
    lifts = []
    if case.weights is None:
        top_weight = -(-len(case.truth) // 10)
    else:
        top_weight = weights.sum() / 10
    for truth, scores in _one_versus_rest(case):
        order = np.argsort(-scores, kind="stable")
        edge_score = scores[
            order[np.searchsorted(np.cumsum(weights[order]), top_weight)]
        ]
        above = scores > edge_score
        is_tied = scores == edge_score
        hit_weight = weights[above] @ truth[above]
        hit_weight += (top_weight - weights[above].sum()) * np.average(
            truth[is_tied], weights=weights[is_tied]
        )
        lifts.append(float(hit_weight / top_weight / case.mean(truth)))
    if lifts:
        return float(np.mean(lifts))
    return None


def log_loss(case: Case) -> float | None:
    """Mean of −ln(probability of the true class), in nats, over the rows whose class
    the model knows.

    A probability of exactly 0 counts as the smallest step of float64, as in
    scikit-learn.
    """
    known_mask = case.truth < case.n_classes
    if not known_mask.any():
        return None
    probabilities = case.probabilities[known_mask]
    truth = case.truth[known_mask]
    true_probabilities = probabilities[
        np.arange(len(truth)), truth
    ] / probabilities.sum(axis=1)
    losses = -np.log(np.clip(true_probabilities, np.finfo(np.float64).eps, 1.0))
    return float(
        np.average(
            losses, weights=None if case.weights is None else case.weights[known_mask]
        )
    )


def _one_versus_rest(case: Case) -> list[tuple[Booleans, Floats]]:
    """Return of each class, or of the positive one of two, its rows and scores.

    Nothing if a class does not occur.
    """
    counts = np.bincount(case.truth, minlength=case.n_classes)
    if case.n_classes < 2 or np.any(counts[: case.n_classes] == 0):
        return []
    classes = [case.positive] if case.n_classes == 2 else range(case.n_classes)
    return [(case.truth == k, case.probabilities[:, k]) for k in classes]


# ---- regression ----------------------------------------------------------------------


def rmse(case: Case) -> float | None:
    """Root of the mean squared error, in the target's unit."""
    return math.sqrt(mse(case))


def mae(case: Case) -> float | None:
    """Mean absolute error, in the target's unit."""
    return case.mean(np.abs(case.truth - case.predictions))


def mse(case: Case) -> float:
    """Mean squared error, in the square of the target's unit."""
    return case.mean((case.truth - case.predictions) ** 2)


def mape(case: Case) -> float | None:
    """Mean of |error / truth| as a fraction (0.1 is 10 %), undefined if any true value
    is 0.
    """
    if np.any(case.truth == 0):
        return None
    return case.mean(np.abs((case.truth - case.predictions) / case.truth))


def r2(case: Case) -> float | None:
    """Share of the target's variance that is explained, undefined for fewer than two
    rows or a constant target.
    """
    if len(case.truth) < 2 or not np.ptp(case.truth):
        return None
    return 1.0 - mse(case) / case.mean((case.truth - case.mean(case.truth)) ** 2)


def deviances(truth: Array, means: Array) -> Floats:
    """Return the Poisson deviance 2 (y log(y / μ) − y + μ) of each row, infinite where
    μ is 0 and y is not.
    """
    with np.errstate(divide="ignore"):
        log_terms = np.where(
            truth > 0,
            truth * (np.log(np.where(truth > 0, truth, 1.0)) - np.log(means)),
            0.0,
        )
    return np.asarray(2 * (log_terms - truth + means))


def poisson_deviance(case: Case) -> float | None:
    """Mean Poisson deviance (McCullagh & Nelder 1989), undefined for numbers
    below 0.
    """
    if min(case.truth.min(), case.predictions.min()) < 0:
        return None
    return case.mean(deviances(case.truth, case.predictions))


_UNIT = (0.0, 1.0)
_POSITIVE = (0.0, math.inf)
for _metric in (
    Metric("accuracy", "accuracy", CLASSIFICATION, "higher", _UNIT, accuracy),
    Metric(
        "balanced_accuracy",
        "balanced accuracy",
        CLASSIFICATION,
        "higher",
        _UNIT,
        balanced_accuracy,
    ),
    Metric("macro_f1", "macro F1", CLASSIFICATION, "higher", _UNIT, macro_f1),
    Metric("roc_auc", "ROC-AUC", CLASSIFICATION, "higher", _UNIT, roc_auc, True),
    Metric(
        "average_precision",
        "average precision",
        CLASSIFICATION,
        "higher",
        _UNIT,
        average_precision,
        True,
    ),
    Metric("lift", "lift at 10 %", CLASSIFICATION, "higher", (0.0, 10.0), lift, True),
    Metric("log_loss", "log loss", CLASSIFICATION, "lower", _POSITIVE, log_loss, True),
    Metric("rmse", "RMSE", REGRESSION, "lower", _POSITIVE, rmse),
    Metric("mae", "MAE", REGRESSION, "lower", _POSITIVE, mae),
    Metric("mse", "MSE", REGRESSION, "lower", _POSITIVE, mse),
    Metric("mape", "MAPE (fraction)", REGRESSION, "lower", _POSITIVE, mape),
    Metric("r2", "R²", REGRESSION, "higher", (-math.inf, 1.0), r2),
    Metric(
        "poisson_deviance",
        "Poisson deviance",
        REGRESSION,
        "lower",
        _POSITIVE,
        poisson_deviance,
        counts=True,
    ),
):
    metrics.register(_metric.name)(_metric)


# ---- evaluation ----------------------------------------------------------------------


def evaluate(
    task: str,
    y: npt.ArrayLike,
    *,
    predictions: npt.ArrayLike | None = None,
    probabilities: npt.ArrayLike | None = None,
    classes: Sequence[Any] | Array = (),
    positive: Any = None,
    weights: npt.ArrayLike | None = None,
    counts: bool = False,
) -> dict[str, Any]:
    """Compute every metric of a task, in the form of ``metrics.json`` for one part of
    the rows.

    Args:
        task: ``"classification"`` or ``"regression"``.
        y: The truth ``(rows,)``.
        predictions: Predicted values or classes ``(rows,)``. Default for
            classification: the most probable class.
        probabilities: Classification: ``(rows, classes)`` in the order of ``classes``.
        classes: Classification: the classes that the model knows, in its order.
        positive: The class of two that average precision and lift describe. None: the
            second.
        weights: How much each row counts ``(rows,)``, above 0. Integers count as copies
            of rows. None: all alike.
        counts: Whether the numbers are counts, or rates. Adds their deviance.

    Returns:
        ``{name: value or None}`` in order of registration. For classification also
        ``confusion_matrix`` (rows are the truth, columns the prediction) and its
        ``labels``: the model's classes, then any class that only the rows have. Rows of
        such a class count as wrong, and the log loss leaves them out. ``unseen``, if
        present, counts them.

    Raises:
        InputError: If lengths or shapes do not match, predictions are missing, or
            ``positive`` is not a class.

    Examples:
        >>> result = evaluate(
        ...     "classification",
        ...     ["a", "b", "b"],
        ...     probabilities=[[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]],
        ...     classes=["a", "b"],
        ... )
        >>> round(result["accuracy"], 3), result["confusion_matrix"], result["labels"]
        (0.667, [[1, 0], [1, 1]], ['a', 'b'])
        >>> evaluate("regression", [1.0], predictions=[1.5])["r2"] is None
        True
    """
    check_choice("task", task, FITTED)
    check_kind("counts", counts, bool, "True or False", "Pass one of these")
    has_classes = tasks.get(task).has_classes
    if has_classes:
        metric_case = _classification_case(y, predictions, probabilities, classes)
        if positive is not None:
            metric_case = replace(
                metric_case, positive=find_positive(classes, positive)
            )
    else:
        metric_case = _regression_case(y, predictions)
    if weights is not None:
        metric_case = replace(
            metric_case, weights=check_weights(weights, len(metric_case.truth))
        )
    result: dict[str, Any] = {}
    defined = len(metric_case.truth) > 0 and bool(
        np.all(np.isfinite(metric_case.predictions))
    )
    chances = metric_case.probabilities is not None and bool(
        np.all(np.isfinite(metric_case.probabilities))
    )
    for metric in metrics.values():
        if metric.task == task and (counts or not metric.counts):
            if defined and (chances or not metric.probabilistic):
                value = metric.compute(metric_case)
            else:
                value = None
            if value is not None and math.isfinite(value):
                result[metric.name] = value
            else:
                result[metric.name] = None
    if has_classes:
        result["confusion_matrix"] = plain(metric_case.confusion)
        result["labels"] = list(map(plain, metric_case.labels))
        unknown = np.bincount(metric_case.truth, minlength=len(metric_case.labels))[
            metric_case.n_classes :
        ]
        if unknown.any():
            strangers = zip(
                metric_case.labels[metric_case.n_classes :],
                unknown.tolist(),
                strict=True,
            )
            result["unseen"] = {
                str(label): count for label, count in strangers if count
            }
    return result


def scores_of(
    task: str, y: Any, guess: Any, *, called: Any = None, **options: Any
) -> dict[str, Any]:
    """Return every metric of numbers, or of the probabilities of classes.

    Args:
        task: What is predicted.
        y: The truth, ``(rows,)``.
        guess: Predictions ``(rows,)``, or probabilities ``(rows, classes)``.
        called: The classes that the model decides for, ``(rows,)``. None: by the
            probabilities.
        **options: Of ``evaluate``.
    """
    if tasks.get(task).numeric:
        return evaluate(task, y, predictions=guess, **options)
    return evaluate(task, y, probabilities=guess, predictions=called, **options)


def primary_metric(task: str, n_classes: int = 0, *, counts: bool = False) -> Metric:
    """Return the main metric of a task: ROC-AUC for two classes, accuracy for more,
    RMSE, for counts the deviance.

    Args:
        task: What is predicted.
        n_classes: How many classes there are.
        counts: Whether the target is counts or rates.
    """
    if counts:
        return metrics.get(COUNTS.metric(n_classes))
    return metrics.get(tasks.get(task).metric(n_classes))


@refusing
def _check_cases(truth: Floats, guess: Floats) -> Iterator[Fault]:
    if truth.ndim != 1 or truth.shape != guess.shape:
        problem = (
            f"y and predictions must have shape (rows,), got {truth.shape} and "
            f"{guess.shape}"
        )
        yield problem, "Pass one value per row, such as model.predict(X).", "PG007"
    if not np.all(np.isfinite(truth)):
        yield "y has missing or infinite values", "Leave those rows out.", "PG015"


def _regression_case(y: npt.ArrayLike, predictions: npt.ArrayLike | None) -> Case:
    truth = as_numbers("y", y, "pass one for each row")
    guess = as_numbers("predictions", predictions, "pass one for each row")
    truth, guess = (
        values[:, 0] if values.shape[1:] == (1,) else values
        for values in (truth, guess)
    )
    _check_cases(truth, guess)
    return Case(truth=truth, predictions=guess)


def _classification_case(
    y: npt.ArrayLike,
    predictions: npt.ArrayLike | None,
    probabilities: npt.ArrayLike | None,
    classes: npt.ArrayLike,
) -> Case:
    names = np.asarray(classes)
    if names.ndim == 1 and len(names):
        labels = pd.Index(names)
    else:
        labels = pd.Index([])
    if not len(labels) or not labels.is_unique:
        problem = (
            f"classes must name each class of the model once, got {shown(classes)}"
        )
        raise InputError(problem, hint="Pass model.classes_.", code="PG008")
    truth = np.asarray(y)
    if truth.ndim != 1:
        raise InputError(
            f"y must have shape (rows,), got {truth.shape}",
            hint="Pass one class per row.",
            code="PG007",
        )
    if probabilities is None:
        table = None
    else:
        table = as_numbers("probabilities", probabilities, "pass predict_proba(X)")
    if table is not None and table.shape != (len(truth), len(labels)):
        problem = (
            "probabilities must have one row per row of y and one column per class, "
            f"({len(truth)}, {len(labels)}), got {table.shape}"
        )
        raise InputError(problem, hint="Pass predict_proba(X).", code="PG007")
    if predictions is not None:
        guess = np.asarray(predictions)
    elif table is not None:
        guess = np.asarray(labels)[table.argmax(axis=1)]
    else:
        raise InputError(
            "Classification needs predictions= or probabilities=",
            "Pass predict_proba(X).",
            "PG005",
        )
    check_rows("predictions", guess, len(truth), "Pass one prediction per row.")
    codes, strangers = _codes_with_strangers(labels, truth, guess)
    return Case(codes[0], codes[1], table, len(labels), (*labels.tolist(), *strangers))


def _codes_with_strangers(
    labels: pd.Index[Any], truth: Array, guess: Array
) -> tuple[list[Integers], list[Any]]:
    """Return the codes of truth and prediction, and the labels that only rows have.

    These come last. Missing ones form one class, however the rows write them.
    """
    codes = []
    for values in (truth, guess):
        codes.append(labels.get_indexer(pd.Index(values)).astype(np.int64))
    sides = zip((truth, guess), codes, strict=True)
    unseen = [
        [None if pd.isna(label) else label for label in values[side < 0].tolist()]
        for values, side in sides
    ]
    strangers = sorted({*unseen[0], *unseen[1]}, key=str)
    behind = {label: len(labels) + offset for offset, label in enumerate(strangers)}
    for side, names_there in zip(codes, unseen, strict=True):
        side[side < 0] = values_at(behind, names_there)
    return codes, strangers
