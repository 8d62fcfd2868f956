"""The model that looks at no feature: what it scores, and whether the network is better by more than chance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from permgrad.evaluation.metrics import evaluate
from permgrad.report.plots._base import clean, number, shorten

if TYPE_CHECKING:
    from permgrad.report.content import ReportContent

Floats = npt.NDArray[np.float64]

TWO_SIDED_95 = 1.959963984540054
"""The quantile of the normal distribution beyond which a difference is more than chance."""


@dataclass(frozen=True)
class Constant:
    """The constant predictor.

    Attributes:
        label: Its name in tables.
        source: What it knows, as a sentence.
        metrics: Its test metrics, as in ``metrics.json``.
        losses: Its loss on every test row (log loss in nats, or squared error), NaN where undefined; None: unknown.
        knows: Where its shares or its mean come from, in words.
    """

    label: str
    source: str
    metrics: Mapping[str, Any]
    losses: Floats | None
    knows: str


def constant(content: ReportContent) -> Constant | None:
    """Return the predictor that gives every test row the same answer; None where the test rows are not known."""
    return _mean(content) if content.task == "regression" else _most_frequent(content)


def _most_frequent(content: ReportContent) -> Constant | None:
    truth, classes = _truth_and_classes(content)
    if not len(truth) or not classes:
        return None
    counts = _training_counts(content, classes)
    knows = "the training rows" if counts is not None else "the test rows"
    if counts is None:
        counts = np.array([np.sum(truth == name) for name in classes], dtype=np.float64)
    if counts.sum() <= 0:
        return None
    shares = counts / counts.sum()
    probabilities = np.tile(shares, (len(truth), 1))
    most = classes[int(np.argmax(shares))]
    losses = None
    if content.predictions is not None and content.predictions.probabilities is not None:
        losses = _log_losses(truth, probabilities, classes)
    return Constant(
        "always the most frequent class",
        f"“Always the most frequent class” says {shorten(most, 40)} for every row; its probabilities are the class "
        f"shares of {knows}.",
        evaluate(
            "classification",
            truth,
            probabilities=probabilities,
            classes=_objects(classes),
            positive=content.positive if len(classes) == 2 else None,
        ),
        losses,
        f"the class shares of {knows}",
    )


def _mean(content: ReportContent) -> Constant | None:
    given = content.predictions
    if given is None or not len(given.truth):
        return None
    truth = np.asarray(given.truth, dtype=np.float64)
    known = given.training_mean is not None
    mean = float(given.training_mean) if given.training_mean is not None else float(truth.mean())
    knows = "the training rows" if known else "the test rows"
    return Constant(
        "always the mean",
        f"“Always the mean” says {number(mean, 4)} for every row, the mean of {knows}.",
        evaluate("regression", truth, predictions=np.full(len(truth), mean)),
        (truth - mean) ** 2,
        f"the mean of {knows}",
    )


def _truth_and_classes(content: ReportContent) -> tuple[npt.NDArray[Any], list[Any]]:
    """Return every test row's class as text; from the confusion matrix where the rows themselves are not given."""
    if content.predictions is not None and len(content.predictions.classes):
        classes = [str(name) for name in content.predictions.classes]
        return _objects([str(name) for name in content.predictions.truth]), classes
    test = (content.metrics or {}).get("test") or {}
    matrix, labels = test.get("confusion_matrix"), test.get("labels")
    if not matrix or not labels:
        return _objects([]), []
    classes = [str(name) for name in labels]
    return np.repeat(_objects(classes), np.asarray(matrix, dtype=np.int64).sum(axis=1)), classes


def _training_counts(content: ReportContent, classes: list[Any]) -> Floats | None:
    counts = content.data.class_counts if content.data is not None else None
    if counts is None or "train" not in counts.columns:
        return None
    known = {str(name): float(count) for name, count in counts["train"].items()}
    found = np.nan_to_num(np.array([known.get(name, 0.0) for name in classes]))
    return found if found.sum() > 0 else None


def _objects(values: list[Any]) -> npt.NDArray[Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _log_losses(truth: npt.NDArray[Any], probabilities: Floats, classes: list[Any]) -> Floats:
    position = {name: place for place, name in enumerate(classes)}
    codes = np.array([position.get(name, -1) for name in truth])
    chosen = probabilities[np.arange(len(codes)), np.maximum(codes, 0)] / probabilities.sum(axis=1)
    return np.where(codes >= 0, -np.log(np.clip(chosen, np.finfo(np.float64).eps, 1.0)), np.nan)


# -------------------------------------------------------------------------------------------------------- verdict


@dataclass(frozen=True)
class Verdict:
    """A network that is not better than the constant by more than chance.

    Attributes:
        text: The sentence.
        learnt_nothing: Nothing else speaks for the network either; False if at least its order of the rows is good.
    """

    text: str
    learnt_nothing: bool


def verdict(content: ReportContent) -> Verdict | None:
    """Say that the network is not better than the constant, where that is so.

    The loss is compared row by row (log loss, squared error); "more than chance" is a mean difference more than 1.96
    standard errors above 0. Where the rows are not given, the two losses alone are compared.
    """
    other = constant(content)
    test = (content.metrics or {}).get("test") or {}
    name, label = ("rmse", "RMSE") if content.task == "regression" else ("log_loss", "log loss")
    mine, its = test.get(name), other.metrics.get(name) if other is not None else None
    if other is None or mine is None or its is None:
        return None
    gain, margin = _gain(content, other)
    if math.isnan(gain):
        gain, margin = its - mine, 0.0
    if gain > margin:
        return None
    unit = f" {clean(content.target_unit)}" if content.target_unit and content.task == "regression" else ""
    against = f"{label} {number(mine, 4)} against {number(its, 4)}{unit} for {other.knows}"
    relation = "worse than" if gain < -margin else "not better by more than chance than"
    area = test.get("roc_auc")
    if content.task == "classification" and area is not None and _orders_rows(test, area):
        return Verdict(
            f"Its probabilities are {relation} a constant ({against}), although it puts the rows in a better order "
            f"than chance (ROC-AUC {number(area)} against 0.5).",
            learnt_nothing=False,
        )
    return Verdict(
        f"It is {relation} a constant prediction that looks at no feature ({against}): what it relies on says nothing "
        f"about {shorten(content.target, 60)}.",
        learnt_nothing=True,
    )


def _gain(content: ReportContent, other: Constant) -> tuple[float, float]:
    """Return by how much the network's mean loss is lower than the constant's, and how much chance alone explains."""
    given = content.predictions
    if given is None or other.losses is None:
        return math.nan, math.nan
    if content.task == "regression":
        if given.predictions is None:
            return math.nan, math.nan
        own = (np.asarray(given.truth, dtype=np.float64) - np.asarray(given.predictions, dtype=np.float64)) ** 2
    else:
        truth, classes = _truth_and_classes(content)
        own = _log_losses(truth, np.asarray(given.probabilities, dtype=np.float64), classes)
    difference = other.losses - own
    difference = difference[np.isfinite(difference)]
    if len(difference) < 2:
        return math.nan, math.nan
    return float(difference.mean()), TWO_SIDED_95 * float(difference.std(ddof=1)) / math.sqrt(len(difference))


def _orders_rows(test: Mapping[str, Any], area: float) -> bool:
    """Tell whether a ROC-AUC is above 0.5 by more than chance.

    Without any order, the area of one class versus the rest has variance (n + 1) / (12 n₁ n₀) (Hanley & McNeil 1982,
    by way of the rank sum); for a mean over classes the mean of their deviations bounds its own.
    """
    counts = np.asarray(test.get("confusion_matrix") or [[0]], dtype=np.float64).sum(axis=1)
    total = counts.sum()
    own = counts[counts > 0]
    own = own[:1] if len(own) == 2 else own
    if not len(own) or np.any(own >= total):
        return False
    deviations = np.sqrt((total + 1) / (12 * own * (total - own)))
    return area - 0.5 > TWO_SIDED_95 * float(deviations.mean())
