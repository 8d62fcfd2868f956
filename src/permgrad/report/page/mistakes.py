"""Where the model errs: confusion, ROC and reliability curves, single classes; residuals, also by feature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from permgrad.evaluation.calibration import Reliability, reliability
from permgrad.evaluation.per_class import per_class
from permgrad.report import plots
from permgrad.report.page.views import Cell, SectionView, TableView, cell
from permgrad.report.words import clean, number, percent

if TYPE_CHECKING:
    from permgrad.report.page.content import PredictionSection, ReportContent

Kind = Literal["text", "number"]


def mistakes(content: ReportContent, section: SectionView) -> None:
    """Add pictures and tables of what the model gets wrong on the test rows, as far as they are given."""
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
    known = predictions if predictions is not None and predictions.probabilities is not None else None
    if known is not None and known.probabilities is not None:
        positive = positive_place(content, known.classes)
        roc = plots.roc_curves(known.truth, known.probabilities, list(known.classes), positive=positive)
        versus = "" if len(known.classes) == 2 else ", each class versus the rest"
        pictures.append((roc, f"ROC curves{versus}; the diagonal is guessing."))
    if pictures:
        section.heading("Where it errs")
        if len(test.get("labels") or ()) > 3:  # side by side these would be too small to read
            for figure, caption in pictures:
                section.figure(figure, caption)
        else:
            section.figures(*pictures)
    if known is not None and len(known.truth):
        section.heading("Each class")
        section.table(_class_table(known))
        _calibration(known, section, positive_place(content, known.classes))


def positive_place(content: ReportContent, classes: Sequence[Any]) -> int:
    """Return the position of the positive one of two classes: the second where nobody said."""
    names = [str(label) for label in classes]
    return names.index(str(content.positive)) if str(content.positive) in names else 1


def _positive_last(content: ReportContent, matrix: Any, labels: Sequence[Any]) -> tuple[Any, list[Any]]:
    """Return a confusion matrix and its labels; of two classes the positive one is last."""
    order = [1, 0] if len(labels) == 2 and positive_place(content, labels) == 0 else list(range(len(labels)))
    return np.asarray(matrix)[np.ix_(order, order)], [labels[place] for place in order]


# ---- classes ---------------------------------------------------------------------------------------------------------
def _class_table(given: PredictionSection) -> TableView:
    """What each class's rows come to."""
    probabilities = np.asarray(given.probabilities, dtype=np.float64)
    frame = per_class(_objects(given.truth), probabilities, _objects(given.classes))
    rows = []
    for line in frame.to_dict(orient="records"):
        row = [cell(clean(line["class"])), cell(int(line["rows"])), cell(int(line["predicted"]))]
        for name in frame.columns[3:]:
            value = float(line[name])
            row.append(Cell(f"{value:.3f}" if math.isfinite(value) else "–", value if math.isfinite(value) else None))
        rows.append(row)
    columns: list[tuple[str, Kind]] = [("class", "text"), ("rows", "number"), ("called so", "number")]
    columns += [("precision", "number"), ("recall", "number"), ("F1", "number"), ("ROC\u2011AUC", "number")]
    columns += [("average precision", "number"), ("calibration error", "number")]
    caption = (
        "Test rows by class. Precision: share of the rows called so that are. Recall: share of the class's rows that "
        "are called so. The last three are of the class versus the rest."
    )
    return TableView(caption, columns, rows, sortable=True, tall=len(rows) > 14)


def _calibration(given: PredictionSection, section: SectionView, positive: int) -> None:
    section.heading("Do its probabilities mean what they say?")
    table = np.clip(np.asarray(given.probabilities, dtype=np.float64), 0, 1)
    truth, classes = _objects(given.truth), _objects(given.classes)
    shown = [positive] if len(classes) == 2 else range(len(classes))
    found = [reliability(truth == classes[k], table[:, k]) for k in shown]
    section.text(_calibration_words(found, clean(classes[positive]) if len(classes) == 2 else ""))
    before = given.before_calibration
    if before is not None:
        older = [reliability(truth == classes[k], np.clip(before[:, k], 0, 1)) for k in shown]
        own, other = (float(np.mean([each.error for each in errors])) for errors in (found, older))
        section.text(f"Calibration on the validation rows took the error from {number(other, 2)} to {number(own, 2)}.")
    some = " (the nine classes with the most rows)" if len(classes) > plots.MOST_CALIBRATION_PANELS else ""
    what = clean(classes[positive]) if len(classes) == 2 else f"each class versus the rest{some}"
    section.figure(
        plots.calibration(truth, table, list(classes), before=before, positive=positive),
        f"Observed share of {what} by predicted probability, on test rows; on the diagonal the model is right as often "
        "as it says. Bars: how many rows get which probability.",
    )


def _calibration_words(found: Sequence[Reliability], positive: str) -> str:
    """Say in a sentence what the reliability curves come to."""
    error = float(np.mean([each.error for each in found]))
    chance = float(np.mean([each.chance for each in found]))
    mean = "" if len(found) == 1 else ", the mean over classes"
    said = f"Expected calibration error {number(error, 2)}{mean}: "
    if error <= 1.5 * chance:
        return f"{said}about what chance gives a perfectly calibrated model on as many rows ({number(chance, 2)})."
    said += f"chance alone would give a perfectly calibrated model {number(chance, 2)}."
    if len(found) > 1:
        return said
    (own,) = found
    off = np.flatnonzero((own.predicted < own.low) | (own.predicted > own.high))
    if not len(off):
        return said
    worst = off[int(np.argmax(np.abs(own.observed - own.predicted)[off] * own.rows[off]))]
    return (
        f"{said} Where it says about {percent(own.predicted[worst])}, {percent(own.observed[worst])} of the "
        f"{own.rows[worst]:,} rows are {positive}."
    )


def _objects(values: Any) -> npt.NDArray[Any]:
    """Return labels as text, so that those of a file and those of a model compare."""
    found = np.empty(len(values), dtype=object)
    found[:] = [str(value) for value in values]
    return found


# ---- numbers ---------------------------------------------------------------------------------------------------------
def _residuals(content: ReportContent, given: PredictionSection, section: SectionView) -> None:
    truth = np.asarray(given.truth, dtype=np.float64)
    error = truth - np.asarray(given.predictions, dtype=np.float64)
    unit = clean(content.target_unit) if content.target_unit else ""
    section.heading("Where it errs")
    section.text(_error_words(error[np.isfinite(error)], unit))
    section.figure(
        plots.residuals(truth, np.asarray(given.predictions, dtype=np.float64), unit=unit),
        "Predictions against the truth; the error (truth − prediction) by prediction, with its running median and "
        "middle half; how errors are distributed.",
    )
    features = given.strongest
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
    half, most = np.quantile(np.abs(error), [0.5, 0.9])
    said = f"Half of the test rows are predicted to within {number(half)}{unit}, nine in ten to within {number(most)}."
    bias, doubt = float(error.mean()), 1.96 * float(error.std(ddof=1)) / math.sqrt(len(error))
    if abs(bias) <= doubt:
        return f"{said} On average errors cancel ({number(bias, 2)} ± {number(doubt, 2)})."
    side = "low" if bias > 0 else "high"
    return f"{said} On average predictions are too {side} by {number(abs(bias), 2)} (± {number(doubt, 2)})."
