"""How good the model is: its metrics beside others', where it errs, where to cut its logit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from permgrad.base import errors
from permgrad.evaluation.calibration import Reliability, per_class, reliability
from permgrad.evaluation.metrics import Metric, metrics
from permgrad.report import plots
from permgrad.report.page.headline import constant_label, verdict
from permgrad.report.page.views import (
    Column,
    Mark,
    SectionView,
    TableView,
    as_count,
    figures_of,
    metric_heading,
    names,
    table_of,
)
from permgrad.report.sentences import against_competitors, competitor_label, unseen_words
from permgrad.report.words import clean, duration, fixed, number, percent, shorten

if TYPE_CHECKING:
    from permgrad.report.page.content import PredictionSection, ReportContent

#: Name, metrics, and how its name is marked: quiet is what is not measured on the test rows.
_Model = tuple[str, Mapping[str, Any], Mark]


def results(section: SectionView, content: ReportContent) -> None:
    """Test metrics beside the baselines, then where the model errs."""
    stored = content.metrics or {}
    if not content.test and content.predictions is None:
        return
    relation = against_competitors(content.task, stored)
    section.text(
        f"{relation} All models had the same rows and were scored on test rows, which nothing was fitted on."
        if relation
        else "All numbers are for test rows, which nothing was fitted on.",
        verdict(content),
        unseen_words(content.target, content.test),
    )
    section.table(_metrics_table(content))
    if content.task == "classification" and content.positive is not None:
        section.text(f"Average precision, lift and curves are of {clean(content.positive)}, the positive class.")
        if stored.get("not_kept") is not None:
            left = map(competitor_label, stored["not_kept"])
            whose = errors.listed(["this network on validation rows", *left], 20)
            section.text(f"For {whose} the run keeps no predictions, so both are left out for this class.")
    section.text(_constant_words(content))
    for name, entry in (stored.get("baselines") or {}).items():
        if isinstance(entry, Mapping) and entry.get("problem"):
            section.text(f"{competitor_label(name)}: {clean(entry['problem'])}")
    if content.task == "regression":
        _residuals(content, section)
    else:
        _class_mistakes(content, section)


def _constant_words(content: ReportContent) -> str:
    """Say what the constant that looks at no feature predicts."""
    label, data, predictions = constant_label(content).capitalize(), content.data, content.predictions
    if content.task == "regression" and predictions is not None and predictions.training_mean is not None:
        return f"“{label}” says {number(predictions.training_mean, 4)} for every row, the mean of the training rows."
    if content.task == "regression" or data is None or data.class_counts is None:
        return ""
    most = shorten(data.class_counts["train"].idxmax(), 40)
    return f"“{label}” says {most} for every row; its probabilities are the class shares of the training rows."


def _metrics_table(content: ReportContent) -> TableView | None:
    """List models by metrics: this network, its validation rows, competitors and the constant."""
    stored, test = content.metrics or {}, content.test
    if not test:
        return None
    models: list[_Model] = [("this network", test, "own")]
    if stored.get("validation"):
        models.append(("this network, validation rows", stored["validation"], "quiet"))
    models += [(competitor_label(name), entry, "") for name, entry in (stored.get("baselines") or {}).items()]
    models += [(constant_label(content), content.constant, "")] if content.constant else []
    columns = [names([name for name, _, _ in models], "model", [mark for *_, mark in models])]
    for metric in metrics.values():
        if metric.task != content.task or metric.name not in test:
            continue
        columns.append(_metric_column(metric, models))
    if any("fit_seconds" in entry for _, entry, _ in models):
        seconds = [entry.get("fit_seconds") for _, entry, _ in models]
        if seconds[0] is None and content.training is not None:
            seconds[0] = content.training.seconds
        columns.append(figures_of("time to fit", seconds, duration))
    return table_of("Test metrics. ↑ higher is better, ↓ lower is better; the best of each column is bold.", columns)


def _metric_column(metric: Metric, models: Sequence[_Model]) -> Column:
    """Return one metric of all models; the best is marked, validation rows do not compete."""
    values = [entry.get(metric.name) for _, entry, _ in models]
    rivals = [value for value, (*_, mark) in zip(values, models, strict=True) if mark != "quiet"]
    defined = [value for value in rivals if value is not None]
    best = {"higher": max, "lower": min}[metric.direction](defined, default=None) if len(rivals) > 1 else None
    marks: list[Mark] = [
        "best" if value is not None and value == best and mark != "quiet" else ""
        for value, (*_, mark) in zip(values, models, strict=True)
    ]
    if metric.name == "r2":  # a share of variance has no unit that could make it small: 3e-8 of it is 0
        texts = [number(None if value is None else round(value, 4)) for value in values]
        return figures_of(metric_heading(metric), values, texts, marks)
    return figures_of(metric_heading(metric), values, number if metric.task == "regression" else fixed, marks)


# ---- errors of classes -----------------------------------------------------------------------------------------------
def _class_mistakes(content: ReportContent, section: SectionView) -> None:
    """Add confusion, ROC and reliability curves and single classes, as far as the test rows are scored."""
    test, scored, labels = content.test, content.predictions, content.test.get("labels") or ()
    pictures = []
    if test.get("confusion_matrix") and len(labels) <= 60:
        # Of two classes the positive one is last.
        order = [1, 0] if len(labels) == 2 and positive_place(content, labels) == 0 else list(range(len(labels)))
        matrix = np.asarray(test["confusion_matrix"])[np.ix_(order, order)]
        figure = plots.confusion_matrix(matrix, [labels[place] for place in order])
        pictures.append((figure, "Confusion matrix: rows are the truth; colour is the share of each true class."))
    if scored is not None and scored.probabilities is not None:
        positive = positive_place(content, scored.classes)
        roc = plots.roc_curves(scored.truth, scored.probabilities, list(scored.classes), positive=positive)
        versus = "" if len(scored.classes) == 2 else ", each class versus the rest"
        pictures.append((roc, f"ROC curves{versus}; the diagonal is guessing."))
    if pictures:
        section.add("heading", "Where it errs")
        # Side by side those of many classes would be too small to read.
        section.figures(pictures, beside=len(labels) <= 3)
    if scored is not None and scored.probabilities is not None and len(scored.truth):
        section.add("heading", "Each class")
        frame = per_class(_texts(scored.truth), np.asarray(scored.probabilities), _texts(scored.classes))
        headings = {"precision": "precision", "recall": "recall", "f1": "F1", "roc_auc": "ROC\u2011AUC"}
        headings |= {"average_precision": "average precision", "calibration_error": "calibration error"}
        columns = [
            names(frame["class"], "class"),
            figures_of("rows", frame["rows"], as_count),
            figures_of("called so", frame["predicted"], as_count),
            *(figures_of(words, frame[name], fixed) for name, words in headings.items()),
        ]
        caption = (
            "Test rows by class. Precision: share of the rows called so that are. Recall: share of the class's rows "
            "that are called so. The last three are of the class versus the rest."
        )
        section.table(table_of(caption, columns))
        _calibration(scored, section, positive)


def positive_place(content: ReportContent, classes: Sequence[Any]) -> int:
    """Return the position of the positive one of two classes: the second where nobody said."""
    labels = [str(label) for label in classes]
    return labels.index(str(content.positive)) if str(content.positive) in labels else 1


def _texts(labels: Any) -> npt.NDArray[Any]:
    """Return labels as text, so that those of a file and those of a model compare."""
    return np.array([str(label) for label in labels], dtype=object)


def _calibration(scored: PredictionSection, section: SectionView, positive: int) -> None:
    section.add("heading", "Do its probabilities mean what they say?")
    table = np.clip(np.asarray(scored.probabilities, dtype=np.float64), 0, 1)
    truth, classes = _texts(scored.truth), _texts(scored.classes)
    shown = [positive] if len(classes) == 2 else range(len(classes))
    curves = [reliability(truth == classes[k], table[:, k]) for k in shown]
    section.text(_calibration_words(curves, clean(classes[positive]) if len(classes) == 2 else ""))
    before = scored.before_calibration
    if before is not None:
        older = [reliability(truth == classes[k], np.clip(before[:, k], 0, 1)) for k in shown]
        earlier, after = (number(float(np.mean([each.error for each in errors])), 2) for errors in (older, curves))
        section.text(f"Calibration on the validation rows took the error from {earlier} to {after}.")
    some = " (the nine classes with the most rows)" if len(classes) > plots.MOST_CALIBRATION_PANELS else ""
    what = clean(classes[positive]) if len(classes) == 2 else f"each class versus the rest{some}"
    section.figure(
        plots.calibration(truth, table, list(classes), before=before, positive=positive),
        f"Observed share of {what} by predicted probability, on test rows; on the diagonal the model is right as often "
        "as it says. Bars: how many rows get which probability.",
    )


def _calibration_words(curves: Sequence[Reliability], positive: str) -> str:
    """Say in a sentence what the reliability curves come to."""
    error, chance = (float(np.mean([getattr(curve, name) for curve in curves])) for name in ("error", "chance"))
    mean = "" if len(curves) == 1 else ", the mean over classes"
    words = f"Expected calibration error {number(error, 2)}{mean}: "
    if error <= 1.5 * chance:
        return f"{words}about what chance gives a perfectly calibrated model on as many rows ({number(chance, 2)})."
    words += f"chance alone would give a perfectly calibrated model {number(chance, 2)}."
    if len(curves) > 1:
        return words
    (curve,) = curves
    off = np.flatnonzero((curve.predicted < curve.low) | (curve.predicted > curve.high))
    if not len(off):
        return words
    worst = off[int(np.argmax(np.abs(curve.observed - curve.predicted)[off] * curve.rows[off]))]
    return (
        f"{words} Where it says about {percent(curve.predicted[worst])}, {percent(curve.observed[worst])} of the "
        f"{curve.rows[worst]:,} rows are {positive}."
    )


# ---- errors of numbers -----------------------------------------------------------------------------------------------
def _residuals(content: ReportContent, section: SectionView) -> None:
    """Add predictions against the truth, and the errors by the strongest features."""
    scored = content.predictions
    if scored is None or scored.predictions is None:
        return
    truth, guess = (np.asarray(values, dtype=np.float64) for values in (scored.truth, scored.predictions))
    error = truth - guess
    section.add("heading", "Where it errs")
    finite = error[np.isfinite(error)]
    if len(finite) > 1:
        half, nine = np.quantile(np.abs(finite), [0.5, 0.9])
        bias, doubt = float(finite.mean()), 1.96 * float(finite.std(ddof=1)) / math.sqrt(len(finite))
        words = f"On average predictions are too {'low' if bias > 0 else 'high'} by {number(abs(bias), 2)} "
        words += f"(± {number(doubt, 2)})."
        if abs(bias) <= doubt:
            words = f"On average errors cancel ({number(bias, 2)} ± {number(doubt, 2)})."
        section.text(
            f"Half of the test rows are predicted to within {number(half)}, nine in ten to within {number(nine)}. "
            f"{words}"
        )
    section.figure(
        plots.residuals(truth, guess),
        "Predictions against the truth; the error (truth − prediction) by prediction, with its running median and "
        "middle half; how errors are distributed.",
    )
    features = scored.strongest
    if features is not None and features.shape[1] and len(features) == len(error):
        count = min(features.shape[1], 3)
        which = "strongest feature" if count == 1 else f"{count} strongest features"
        section.figure(
            plots.residuals_by_feature(features, error),
            f"The error by the values of the {which}. A running median away from 0 is something about the feature that "
            "the model has not learnt.",
        )


# ---- cuts ------------------------------------------------------------------------------------------------------------
def cuts(section: SectionView, content: ReportContent) -> None:
    """What becomes of the test rows when the logit is cut here or there."""
    stored = (content.metrics or {}).get("cuts")
    if not stored:
        return
    positive = clean(stored["positive"])
    section.text(
        f"A row is called {positive} when its logit is above the cut. The loss of the training was weighted, which "
        f"moves every logit by about {number(stored['shift'])} (the logarithm of the weight): 0 is not where both "
        "classes are equally likely. Which cut is right depends on what an error costs.",
        f"Thresholds were chosen on {stored['held_out_rows']:,} rows held out of training, never on test rows. "
        f"{percent(stored['share_positive'])} of the test rows are {positive}: accuracy alone says little.",
    )
    lines = stored["test"]
    headings = {name: name.replace("_", " ") for name in ("accuracy", "balanced_accuracy", "precision", "recall")}
    columns = [names((line["cut"] for line in lines), "cut"), figures_of("logit", (line["logit"] for line in lines))]
    for name, heading in {**headings, "f1": "F1"}.items():
        columns.append(figures_of(heading, (line[name] for line in lines), fixed))
    section.table(table_of("Decisions on the test rows by cut.", columns))
