"""Where the model errs: confusion, ROC and reliability curves, single classes; residuals, also by feature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from permgrad.evaluation.calibration import Reliability, per_class, reliability
from permgrad.report import plots
from permgrad.report.page.constant import texts
from permgrad.report.page.views import Column, SectionView, TableView, cell, decimals, names, table_of
from permgrad.report.words import clean, number, percent

if TYPE_CHECKING:
    from permgrad.report.page.content import PredictionSection, ReportContent


def mistakes(content: ReportContent, section: SectionView) -> None:
    """Add pictures and tables of what the model gets wrong on the test rows, as far as they are scored."""
    test = (content.metrics or {}).get("test") or {}
    predictions = content.predictions
    if content.task == "regression":
        if predictions is not None and predictions.predictions is not None:
            _residuals(content, predictions, section)
        return
    pictures = []
    if test.get("confusion_matrix") and len(test["labels"]) <= 60:
        figure = plots.confusion_matrix(*_positive_last(content, test["confusion_matrix"], test["labels"]))
        pictures.append((figure, "Confusion matrix: rows are the truth; colour is the share of each true class."))
    scored = predictions if predictions is not None and predictions.probabilities is not None else None
    if scored is not None and scored.probabilities is not None:
        positive = positive_place(content, scored.classes)
        roc = plots.roc_curves(scored.truth, scored.probabilities, list(scored.classes), positive=positive)
        versus = "" if len(scored.classes) == 2 else ", each class versus the rest"
        pictures.append((roc, f"ROC curves{versus}; the diagonal is guessing."))
    if pictures:
        section.heading("Where it errs")
        if len(test.get("labels") or ()) > 3:  # side by side these would be too small to read
            for figure, caption in pictures:
                section.figure(figure, caption)
        else:
            section.figures(*pictures)
    if scored is not None and len(scored.truth):
        section.heading("Each class")
        section.table(_class_table(scored))
        _calibration(scored, section, positive_place(content, scored.classes))


def positive_place(content: ReportContent, classes: Sequence[Any]) -> int:
    """Return the position of the positive one of two classes: the second where nobody said."""
    names = [str(label) for label in classes]
    return names.index(str(content.positive)) if str(content.positive) in names else 1


def _positive_last(content: ReportContent, matrix: Any, labels: Sequence[Any]) -> tuple[Any, list[Any]]:
    """Return a confusion matrix and its labels; of two classes the positive one is last."""
    order = [1, 0] if len(labels) == 2 and positive_place(content, labels) == 0 else list(range(len(labels)))
    return np.asarray(matrix)[np.ix_(order, order)], [labels[place] for place in order]


# ---- classes ---------------------------------------------------------------------------------------------------------
def _class_table(scored: PredictionSection) -> TableView:
    """What each class's rows come to."""
    probabilities = np.asarray(scored.probabilities, dtype=np.float64)
    frame = per_class(texts(scored.truth), probabilities, texts(scored.classes))
    headings = {"precision": "precision", "recall": "recall", "f1": "F1", "roc_auc": "ROC\u2011AUC"}
    headings |= {"average_precision": "average precision", "calibration_error": "calibration error"}
    columns = [names(frame["class"], "class")]
    columns += [Column(words, [cell(int(each)) for each in frame[name]]) for name, words in _COUNTS.items()]
    columns += [decimals(frame[name], words) for name, words in headings.items()]
    caption = (
        "Test rows by class. Precision: share of the rows called so that are. Recall: share of the class's rows that "
        "are called so. The last three are of the class versus the rest."
    )
    return table_of(caption, columns)


_COUNTS = {"rows": "rows", "predicted": "called so"}


def _calibration(scored: PredictionSection, section: SectionView, positive: int) -> None:
    section.heading("Do its probabilities mean what they say?")
    table = np.clip(np.asarray(scored.probabilities, dtype=np.float64), 0, 1)
    truth, classes = texts(scored.truth), texts(scored.classes)
    shown = [positive] if len(classes) == 2 else range(len(classes))
    curves = [reliability(truth == classes[k], table[:, k]) for k in shown]
    section.text(_calibration_words(curves, clean(classes[positive]) if len(classes) == 2 else ""))
    before = scored.before_calibration
    if before is not None:
        older = [reliability(truth == classes[k], np.clip(before[:, k], 0, 1)) for k in shown]
        after, earlier = (float(np.mean([each.error for each in errors])) for errors in (curves, older))
        section.text(
            f"Calibration on the validation rows took the error from {number(earlier, 2)} to {number(after, 2)}."
        )
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


# ---- numbers ---------------------------------------------------------------------------------------------------------
def _residuals(content: ReportContent, scored: PredictionSection, section: SectionView) -> None:
    truth = np.asarray(scored.truth, dtype=np.float64)
    error = truth - np.asarray(scored.predictions, dtype=np.float64)
    unit = clean(content.target_unit) if content.target_unit else ""
    section.heading("Where it errs")
    section.text(_error_words(error[np.isfinite(error)], unit))
    section.figure(
        plots.residuals(truth, np.asarray(scored.predictions, dtype=np.float64), unit=unit),
        "Predictions against the truth; the error (truth − prediction) by prediction, with its running median and "
        "middle half; how errors are distributed.",
    )
    features = scored.strongest
    if features is not None and features.shape[1] and len(features) == len(error):
        names = [clean(name) for name in features.columns[:3]]
        word = "feature" if len(names) == 1 else f"{len(names)} strongest features"
        section.figure(
            plots.residuals_by_feature(features, error, unit=unit),
            f"The error by the values of the {'strongest ' if len(names) == 1 else ''}{word}. A running median away "
            "from 0 is something about the feature that the model has not learnt.",
        )


def _error_words(error: npt.NDArray[np.float64], unit: str) -> str:
    if len(error) < 2:
        return ""
    unit = f" {unit}" if unit else ""
    half, nine = np.quantile(np.abs(error), [0.5, 0.9])
    words = f"Half of the test rows are predicted to within {number(half)}{unit}, nine in ten to within {number(nine)}."
    bias, doubt = float(error.mean()), 1.96 * float(error.std(ddof=1)) / math.sqrt(len(error))
    if abs(bias) <= doubt:
        return f"{words} On average errors cancel ({number(bias, 2)} ± {number(doubt, 2)})."
    side = "low" if bias > 0 else "high"
    return f"{words} On average predictions are too {side} by {number(abs(bias), 2)} (± {number(doubt, 2)})."
