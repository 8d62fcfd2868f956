"""The model that looks at no feature: what it scores, and whether the network is better by more than chance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from permgrad.evaluation.metrics import Task, evaluate, metrics, primary_metric
from permgrad.evaluation.skill import Predicted, skill
from permgrad.report.words import clean, number, shorten

if TYPE_CHECKING:
    from permgrad.report.page.content import ReportContent

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Constant:
    """The constant predictor."""

    label: str
    source: str
    metrics: Mapping[str, Any]
    guess: Floats


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
    return Constant(
        "always the most frequent class",
        f"“Always the most frequent class” says {shorten(most, 40)} for every row; its probabilities are the class "
        f"shares of {knows}.",
        evaluate(
            "classification",
            truth,
            probabilities=probabilities,
            classes=texts(classes),
            positive=content.positive if len(classes) == 2 else None,
        ),
        probabilities,
    )


def _mean(content: ReportContent) -> Constant | None:
    predictions = content.predictions
    if predictions is None or not len(predictions.truth):
        return None
    truth = np.asarray(predictions.truth, dtype=np.float64)
    mean, knows = predictions.training_mean, "the training rows"
    if mean is None:
        mean, knows = float(truth.mean()), "the test rows"
    guess = np.full(len(truth), float(mean))
    source = f"“Always the mean” says {number(float(mean), 4)} for every row, the mean of {knows}."
    return Constant("always the mean", source, evaluate("regression", truth, predictions=guess), guess)


def _truth_and_classes(content: ReportContent) -> tuple[npt.NDArray[Any], list[Any]]:
    """Return every test row's class as text; from the confusion matrix where the rows themselves are not given."""
    if content.predictions is not None and len(content.predictions.classes):
        classes = [str(name) for name in content.predictions.classes]
        return texts(content.predictions.truth), classes
    test = (content.metrics or {}).get("test") or {}
    matrix, labels = test.get("confusion_matrix"), test.get("labels")
    if not matrix or not labels:
        return texts([]), []
    classes = [str(name) for name in labels]
    return np.repeat(texts(classes), np.asarray(matrix, dtype=np.int64).sum(axis=1)), classes


def _training_counts(content: ReportContent, classes: list[Any]) -> Floats | None:
    counts = content.data.class_counts if content.data is not None else None
    if counts is None or "train" not in counts.columns:
        return None
    by_class = {str(name): float(count) for name, count in counts["train"].items()}
    ordered = np.nan_to_num(np.array([by_class.get(name, 0.0) for name in classes]))
    return ordered if ordered.sum() > 0 else None


def texts(values: Iterable[Any]) -> npt.NDArray[Any]:
    """Return labels as text, so that those of a file and those of a model compare."""
    return np.array([str(value) for value in values], dtype=object)


# -------------------------------------------------------------------------------------------------------- verdict


@dataclass(frozen=True)
class Verdict:
    """A network that is not better than the constant by more than chance, wholly or in part."""

    text: str
    learnt_nothing: bool


def verdict(content: ReportContent, subject: str = "This model") -> Verdict | None:
    """Say that the network is not better than the constant, where that is so.

    A run has compared them when it measured the model, see ``permgrad.evaluation.skill``; else that is done here. Where
    the rows are not given, the two losses alone are compared.
    """
    other = constant(content)
    stored = (content.metrics or {}).get("constant")
    test = (content.metrics or {}).get("test") or {}
    if isinstance(stored, Mapping) and "learnt" in stored:
        judged = stored
    elif other is None or (compared := _judged(content, other, test)) is None:
        return None
    else:
        judged = {**other.metrics, **compared}
    unit = f" {clean(content.target_unit)}" if content.target_unit and content.task == "regression" else ""
    return skill_words(content.target, content.task, test, judged, subject=subject, unit=unit)


def _judged(content: ReportContent, other: Constant, test: Mapping[str, Any]) -> dict[str, Any] | None:
    predictions, regression = content.predictions, content.task == "regression"
    guess = None if predictions is None else predictions.predictions if regression else predictions.probabilities
    if predictions is not None and guess is not None:
        truth = np.asarray(predictions.truth)
        if not regression:
            labels, classes = _truth_and_classes(content)
            position = {name: place for place, name in enumerate(classes)}
            truth = np.array([position.get(label, -1) for label in labels])
        ours = Predicted(truth, np.asarray(guess, dtype=np.float64))
        seed = content.provenance.seed if content.provenance is not None else None
        judged = skill(content.task, ours, Predicted(truth, other.guess), seed=seed or 0)
        return None if judged is None else judged.to_dict()
    loss = "rmse" if regression else "log_loss"
    ours_alone, theirs = test.get(loss), other.metrics.get(loss)
    return None if ours_alone is None or theirs is None else {"learnt": ours_alone < theirs, "ahead": {}}


def known_classes(measured: Mapping[str, Any]) -> int:
    """Return how many classes the model knows that some test metrics are of.

    Examples:
        >>> known_classes({"labels": ["a", "b", "c"], "unseen": {"c": 1}}), known_classes({"rmse": 1.0})
        (2, 0)
    """
    return len(measured.get("labels") or ()) - len(measured.get("unseen") or ())


def skill_words(
    target: str,
    task: Task,
    test: Mapping[str, Any],
    judged: Mapping[str, Any],
    *,
    subject: str = "The model",
    unit: str = "",
) -> Verdict | None:
    """Say that a model is no better than a constant, wholly or in its probabilities or its classes alone."""
    ahead = judged["ahead"]
    first = metrics.get(next(iter(ahead))) if ahead else primary_metric(task, known_classes(test))

    def pair(name: str) -> str:
        return f"{metrics.get(name).label} {number(test.get(name))} against {number(judged.get(name))}{unit}"

    def above(name: str) -> bool:
        return name in ahead and ahead[name]["ci_low"] > 0

    def relation(name: str) -> str:
        if name not in ahead or ahead[name]["difference"] <= 0:
            return "worse than" if name in ahead and ahead[name]["ci_high"] < 0 else "no better than"
        return "not significantly better than"

    if not judged["learnt"]:
        names = [first.name] if task == "regression" else dict.fromkeys([first.name, "log_loss"])
        pairs = " and ".join(pair(name) for name in names if test.get(name) is not None)
        return Verdict(
            f"{subject} predicts {shorten(target, 60)} {relation(first.name)} a constant that looks at no feature "
            f"({pairs} on the test rows).",
            True,
        )
    if "log_loss" in ahead and not above("log_loss"):
        order = above("roc_auc")
        but = "it puts the rows in a better order than chance" if order else "its classes are right more often"
        name = "roc_auc" if order else first.name
        return Verdict(
            f"Its probabilities are {relation('log_loss')} a constant ({pair('log_loss')}), although {but} "
            f"({pair(name)}).",
            False,
        )
    if first.name == "accuracy" and first.name in ahead and not above("accuracy"):
        return Verdict(
            f"Its classes are right no more often than the most frequent class ({pair('accuracy')}), although its "
            f"probabilities are better than a constant ({pair('log_loss')}).",
            False,
        )
    return None
