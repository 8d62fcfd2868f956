"""Charts of predictions and their errors: classes, probabilities, numbers, along time,
and while a network learns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.arrays import Array, Booleans, Floats
from permgrad.base.errors import counted
from permgrad.base.numerals import fixed, number, percent
from permgrad.base.sequences import values_at
from permgrad.data.encode.calendar import calendar_order
from permgrad.evaluation.calibration import ClassCurve, Reliability
from permgrad.pages import choices
from permgrad.pages.charts.chart import (
    ASIDE,
    HALF,
    WIDTH,
    Chart,
    mark,
    padded,
    panel,
    plot,
    thinned,
)
from permgrad.pages.words import clean, labels_of, value_text, valued

#: Classes with the worst areas that have a ROC curve, and points of a curve.
MOST_ROC_CURVES = 5
_CURVE = 200
#: Classes with a reliability curve: those with the most rows.
MOST_CALIBRATION_PANELS = 9
_HISTOGRAM = np.linspace(0, 1, 21)
#: Curves of probabilities that are all below this fill their square.
_RARE = 0.5
#: Bins of the running median, fewest rows of a bin, most levels of a category, and
#: stretches of time.
_BINS = 12
_FEWEST = 20
_MOST_LEVELS = 10
_STRETCHES = 24
#: Features whose errors have a panel.
MOST_FEATURES = 3
_UNIT: dict[str, Any] = {"domain": (0, 1)}


# ---- classes -------------------------------------------------------------------------
def confusion_matrix(
    matrix: npt.ArrayLike, labels: Sequence[Any], *, width: int | None = None
) -> Chart:
    """Return counts (numbers) ``(classes, classes)`` and the share of each true class
    (colour). Rows are true.
    """
    counts, shares = _of_classes(matrix)
    names = list(map(clean, labels))
    recall = valued(names[:20], np.diag(shares)[:20], "{:.0%}".format)
    chart_data = {
        "rows": names,
        "columns": names,
        "values": shares,
        "most": 1,
        "x": "predicted",
        "y": "truth",
    }
    chart_data["texts"] = [
        [fixed(count, 0) for count in class_counts] for class_counts in counts
    ]
    width = width or (WIDTH if len(names) > 3 else HALF)
    return Chart(
        "cells", f"Confusion matrix, recall of each class: {recall}", chart_data, width
    )


def _of_classes(matrix: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return the counts of a confusion matrix, and their shares of each true class (0
    for a class of no row).
    """
    counts = np.asarray(matrix, dtype=np.float64)
    totals = counts.sum(axis=1, keepdims=True)
    return counts, np.divide(
        counts, totals, out=np.zeros_like(counts), where=totals > 0
    )


def found_by_class(
    matrix: npt.ArrayLike, labels: Sequence[Any], *, most: int = 8
) -> Chart:
    """Return how many rows of each class are predicted as it, for the classes with the
    most rows.
    """
    counts, shares = _of_classes(matrix)
    class_rows = counts.sum(axis=1)
    right = np.diag(shares)
    order = choices.largest(class_rows, most)
    names = [clean(labels[class_index]) for class_index in order]
    texts = []
    for class_index in order:
        texts.append(
            f"{percent(float(right[class_index]))} of "
            f"{fixed(class_rows[class_index], 0)}"
        )
    chart_data = {
        "names": names,
        "values": right[order],
        "texts": texts,
        "share": True,
        "hidden": len(class_rows) - len(order),
    }
    chart_data["label"] = "rows of the class that are found"
    words = (
        "Share of the rows of each class that is predicted as it: "
        f"{valued(names, right[order], percent)}."
    )
    return Chart("bars", words, chart_data, ASIDE)


def roc_curves(
    truth: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    classes: Sequence[Any],
    *,
    positive: int = 1,
) -> Chart:
    """Return one curve per class (of two classes the positive one), with its area.

    Of more than five the five worst.

    Classes of no row, or of all rows, have no curve and are named behind the others.
    """
    from sklearn.metrics import roc_auc_score

    codes = pd.Index(np.asarray(classes)).get_indexer(
        pd.Index(np.asarray(truth))
    )  # −1: none of them
    table = np.nan_to_num(np.asarray(probabilities, dtype=np.float64))
    if len(classes) == 2:
        wanted_classes = [positive]
    else:
        wanted_classes = list(range(len(classes)))
    areas = {
        k: float(roc_auc_score(codes == k, table[:, k]))
        for k in wanted_classes
        if 0 < np.sum(codes == k) < len(codes)
    }
    absent = [k for k in wanted_classes if k not in areas][:3]
    if len(areas) > MOST_ROC_CURVES:
        shown = sorted(areas, key=areas.__getitem__)[:MOST_ROC_CURVES]
    else:
        shown = list(areas)
    labels = labels_of(classes, 24)
    marks = [mark("line", x=[0, 1], y=[0, 1], colour="neutral", width=1, dashed=True)]
    for curve_index, k in enumerate(shown):
        marks.append(
            _roc_line(
                codes == k,
                table[:, k],
                f"{labels[k]}: area {areas[k]:.3f}",
                f"series-{curve_index}",
            )
        )
    marks += [
        mark("line", x=[], y=[], name=f"{labels[k]}: undefined", colour="neutral")
        for k in absent
    ]
    by_class = valued(
        values_at(classes, shown), values_at(areas, shown), "{:.3f}".format
    )
    x_axis = {"label": "false positives, share", **_UNIT}
    y_axis = {"label": "true positives, share", **_UNIT}
    return plot(
        f"ROC curves, area by class: {by_class}",
        [panel(x_axis, y_axis, marks)],
        height=HALF,
        width=HALF,
    )


def _roc_line(member: Booleans, scores: Floats, name: str, colour: str) -> Any:
    """Return the curve of a class."""
    from sklearn.metrics import roc_curve

    x, y, _ = roc_curve(member, scores)
    points = thinned(len(x), _CURVE)
    return mark("line", x=x[points], y=y[points], name=name, colour=colour)


def calibration(curves: Sequence[ClassCurve]) -> Chart:
    """Return reliability curves with their 95 % bands, and the probabilities.

    A dashed line is the curve before calibration. Of many classes, those with the most
    rows are shown.
    """
    shown = _most_frequent(curves)
    single = len(shown) == 1
    panels = []
    errors = []
    labels = labels_of([class_curve.label for class_curve in shown], 24)
    for class_label, class_curve in zip(labels, shown, strict=True):
        label, scores, curve, older = class_curve
        end = _end_of(curve, older)
        marks = [_how_often(scores, end)]
        marks.append(mark("line", x=[0, end], y=[0, end], colour="neutral", width=1))
        if older is not None:
            marks.append(_before(older, with_error=single))
        marks += _curve_marks(curve)
        error = f"error {number(curve.error, 2)} (by chance {number(curve.chance, 2)})"
        beyond = int((scores > end).sum())
        if beyond:
            error += f"; {counted(beyond, 'row')} beyond {percent(end)}"
        if single:
            class_words = f" of {class_label}"
        else:
            class_words = ""
        across = {
            "label": f"predicted probability{class_words}",
            "domain": (0, end),
        }
        vertical = {"label": f"observed share{class_words}", "domain": (0, end)}
        panels.append(
            panel(
                across, vertical, marks, title="" if single else class_label, note=error
            )
        )
        errors.append(f"{clean(label)} {number(curve.error, 2)}")
    words = "Reliability curves, calibration error: " + ", ".join(errors)
    return plot(
        words,
        panels,
        columns=1 if single else 3,
        height=400 if single else 240,
        width=420 if single else 700,
    )


def _most_frequent(curves: Sequence[ClassCurve]) -> list[ClassCurve]:
    """Return the curves that have a panel, in their order."""
    sizes = [-class_curve.size for class_curve in curves]
    most = np.argsort(sizes, kind="stable")[:MOST_CALIBRATION_PANELS]
    return values_at(curves, sorted(most.tolist()))


def _before(older: Reliability, *, with_error: bool) -> Any:
    """Return the line of the probabilities before calibration."""
    name = "before calibration"
    if with_error:
        name += f", error {number(older.error, 2)}"
    return mark(
        "line",
        x=older.predicted,
        y=older.observed,
        name=name,
        dashed=True,
        colour="neutral",
    )


def _curve_marks(curve: Reliability) -> list[Any]:
    """Return the model's curve with its interval."""
    about = {"x": curve.predicted, "colour": "tabular"}
    return [
        mark(
            "area",
            low=curve.low,
            high=curve.high,
            name="95\u00a0% interval",
            **about,
        ),
        mark("line", y=curve.observed, name="this model", **about),
        mark("dots", y=curve.observed, size=3, **about),
    ]


def _end_of(curve: Reliability, older: Reliability | None) -> float:
    """Return where the axes of a reliability curve end: at 1, or of a rare class a
    little beyond the curves and the interval.
    """
    reach = [curve.predicted, curve.observed, curve.high]
    if older is not None:
        reach += [older.predicted, older.observed]
    largest = float(np.nanmax(np.concatenate(reach), initial=0.0))
    if not 0 < largest < _RARE:
        return 1.0
    return math.ceil(110 * largest) / 100


def _how_often(scores: Floats, end: float) -> Any:
    """Return bars of how often each probability is, low and pale behind the curves."""
    edges = end * _HISTOGRAM
    heights, _ = np.histogram(scores[np.isfinite(scores)], bins=edges)
    low = 0.15 * end * heights / max(int(heights.max()), 1)
    return mark(
        "bars",
        edges=edges,
        y=low,
        colour="neutral",
        opacity=0.4,
        name="how often",
    )


# ---- numbers -------------------------------------------------------------------------
def predictions(truth: npt.ArrayLike, guess: npt.ArrayLike) -> Chart:
    """Return predictions against true values."""
    y, predicted = _known(truth, guess)
    words = (
        f"Predictions against true values for {len(y)} rows: "
        f"{_size_words(y - predicted)}"
    )
    return plot(words, [_against_truth(y, predicted)], height=250, width=ASIDE)


def residuals(truth: npt.ArrayLike, guess: npt.ArrayLike) -> Chart:
    """Return predictions against true values, and errors against predictions with their
    running median.
    """
    y, predicted = _known(truth, guess)
    about = {"label": "prediction"}, {"label": "error (truth − prediction)"}
    panels = [
        _against_truth(y, predicted),
        panel(*about, _errors_against(predicted, y - predicted)),
    ]
    words = (
        "Predictions against true values and errors against predictions for "
        f"{len(y)} rows: {_size_words(y - predicted)}"
    )
    return plot(words, panels, columns=2, height=310, width=700)


def _known(truth: npt.ArrayLike, guess: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return true values and predictions where both are defined."""
    y = np.asarray(truth, dtype=np.float64).ravel()
    predicted = np.asarray(guess, dtype=np.float64).ravel()
    defined = np.isfinite(y) & np.isfinite(predicted)
    return y[defined], predicted[defined]


def _size_words(error: Floats) -> str:
    if len(error):
        spread = float(np.sqrt(np.mean(error**2)))
    else:
        spread = float("nan")
    if len(error):
        usual = float(np.median(np.abs(error)))
    else:
        usual = float("nan")
    return (
        f"root mean squared error {number(spread)}, median absolute error "
        f"{number(usual)}."
    )


def _against_truth(y: Floats, predicted: Floats) -> dict[str, Any]:
    limits = padded([y, predicted])
    marks = [
        mark("line", x=limits, y=limits, colour="neutral", width=1),
        _points(y, predicted),
    ]
    return panel(
        {"label": "truth", "domain": limits},
        {"label": "prediction", "domain": limits},
        marks,
    )


def residuals_by_feature(features: pd.DataFrame, errors: npt.ArrayLike) -> Chart:
    """Return errors (truth − prediction) against the first three raw features: numbers
    as points, others by level.

    Where the running median is away from 0, the model has not learned something about
    the feature.
    """
    error = np.asarray(errors, dtype=np.float64).ravel()
    defined = np.isfinite(error)
    shown = features.loc[:, ~features.columns.duplicated()].iloc[
        defined, :MOST_FEATURES
    ]
    labels = labels_of(list(shown.columns), 28)
    y = {"label": "error", "domain": padded(error[defined])}
    panels = []
    for column_name, label in zip(shown.columns, labels, strict=True):
        panels.append(
            panel(
                *_one_feature(shown[column_name], error[defined], {"label": label}, y)
            )
        )
    words = "Errors by " + ", ".join(map(clean, shown.columns))
    return plot(
        words,
        panels,
        columns=MOST_FEATURES,
        height=250,
        width=HALF * len(panels),
    )


def _one_feature(
    values: pd.Series[Any], error: Floats, x: Mapping[str, Any], y: Mapping[str, Any]
) -> tuple[Mapping[str, Any], Mapping[str, Any], list[Any]]:
    """Return both axes and the marks of a feature."""
    numeric = pd.api.types.is_numeric_dtype(values)
    if numeric and not pd.api.types.is_bool_dtype(values):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        defined = np.isfinite(numbers)
        if len(np.unique(numbers[defined])) > _MOST_LEVELS:
            return x, y, _errors_against(numbers[defined], error[defined])
    texts = np.array([value_text(value, 10) for value in values.tolist()], dtype=object)
    names, codes, counts = np.unique(
        texts.astype(str), return_inverse=True, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")[:_MOST_LEVELS]
    in_calendar = calendar_order(names[order].tolist())
    if numeric:
        order = np.sort(order)
    elif in_calendar is not None:
        order = order[in_calendar]
    quarters = np.array(
        [np.quantile(error[codes == level], (0.25, 0.5, 0.75)) for level in order]
    ).reshape(-1, 3)
    lower_quarter, middle, upper_quarter = quarters.T
    marks = [
        mark("rule", y=0, colour="neutral"),
        mark(
            "dots",
            x=np.arange(len(order)),
            y=middle,
            low=lower_quarter,
            high=upper_quarter,
            colour="ink",
        ),
    ]
    return {**x, "names": names[order].tolist()}, y, marks


def over_time(
    times: Array, panels: Mapping[str, tuple[Floats | None, Mapping[str, Floats]]]
) -> Chart:
    """Return quantities of rows by time (``datetime64`` or numbers), one panel below
    the other.

    A panel has its name, a number for each row that is drawn as a point, or None, and
    lines by name, each of a number for each row: the means of up to 24 stretches of
    time with equal numbers of rows.
    """
    dated = times.dtype.kind == "M"
    x = (times.astype("datetime64[s]") if dated else times).astype(np.float64)
    bin_count = int(np.clip(len(x) // _FEWEST, 1, _STRETCHES))
    edges = np.unique(np.quantile(x, np.linspace(0, 1, bin_count + 1)[1:-1]))
    stretch = np.searchsorted(edges, x, side="right")
    drawn = []
    for panel_name, (points, lines) in panels.items():
        if points is None:
            marks = []
        else:
            marks = [_points(x, points)]
        for colour, (line_name, values) in zip(
            ("ink", "image"), lines.items(), strict=False
        ):
            means = pd.DataFrame({"x": x, "y": values}).groupby(stretch).mean()
            marks.append(
                mark("line", x=means["x"], y=means["y"], colour=colour, name=line_name)
            )
        drawn.append(panel({"dates": dated}, {"label": panel_name}, marks))
    return plot(f"By time, of {len(x)} rows: {'; '.join(panels)}.", drawn, height=190)


def _points(x: Floats, y: Floats) -> dict[str, Any]:
    shown_rows = thinned(len(x))
    opacity = float(np.clip(300 / max(len(shown_rows), 1), 0.2, 0.7))
    return mark(
        "dots",
        x=x[shown_rows],
        y=y[shown_rows],
        opacity=opacity,
        size=1.7,
        colour="tabular",
    )


def _errors_against(x: Floats, error: Floats) -> list[dict[str, Any]]:
    """Return errors as points, and their running median with the middle half of
    them.
    """
    marks = [mark("rule", y=0, colour="neutral"), _points(x, error)]
    bin_count = min(_BINS, len(x) // _FEWEST)
    if bin_count < 3:
        return marks
    edges = np.unique(np.quantile(x, np.linspace(0, 1, bin_count + 1)))
    member = pd.Series(
        np.clip(np.searchsorted(edges, x, side="right") - 1, 0, max(len(edges) - 2, 0))
    )
    by_bin = pd.DataFrame({"x": x, "error": error}).groupby(member)
    filled = by_bin.size() >= _FEWEST // 2
    if filled.sum() < 2:
        return marks
    centre = by_bin["x"].median()[filled]
    lower_quarter = by_bin["error"].quantile(0.25)[filled]
    middle = by_bin["error"].quantile(0.5)[filled]
    upper_quarter = by_bin["error"].quantile(0.75)[filled]
    about: dict[str, Any] = {"x": centre, "colour": "ink"}
    return [
        *marks,
        mark("area", low=lower_quarter, high=upper_quarter, **about),
        mark("line", y=middle, **about),
    ]


# ---- a training ----------------------------------------------------------------------
CURVES = (
    ("train_loss", "training", "neutral"),
    ("validation_loss", "validation", "tabular"),
)


def learning_curves(
    history: pd.DataFrame, *, best_epoch: int | None = None, label: str = "loss"
) -> Chart:
    """Return training and validation loss by epoch, and mark the epoch of the final
    weights.

    ``history`` has the columns ``epoch, train_loss, validation_loss``. One of the
    losses may be missing.
    """
    present = []
    for curve in CURVES:
        if curve[0] in history and history[curve[0]].notna().any():
            present.append(curve)
    epochs = history["epoch"].to_numpy(dtype=np.float64)
    curves = []
    for curve_name, *_ in present:
        curves.append(history[curve_name].to_numpy(dtype=np.float64))
    finite = np.concatenate(curves)[np.isfinite(np.concatenate(curves))]
    smallest = float(np.quantile(finite, 0.0))
    typical = float(np.quantile(finite, 0.9))
    largest = float(np.quantile(finite, 1.0))
    if len(finite) > 8 and largest - smallest > 4 * (typical - smallest) > 0:
        largest = smallest + 2.0 * (
            typical - smallest
        )  # one wild first epoch must not flatten everything else
    mark_form: Any
    if len(epochs) == 1:
        mark_form = "dots"
    else:
        mark_form = "line"
    y = {"label": label, "domain": padded([smallest, largest])}
    marks = [  # what lies above the picture is not drawn over what stands there
        mark(
            mark_form,
            x=epochs,
            y=np.where(losses <= y["domain"][1], losses, np.nan),
            colour=colour,
            name=curve_word,
        )
        for losses, (_, curve_word, colour) in zip(curves, present, strict=True)
    ]
    if best_epoch is not None and best_epoch in set(history["epoch"]):
        kept_loss = float(curves[-1][int(np.argmax(epochs == best_epoch))])
        marks += _best_epoch_marks(best_epoch, kept_loss, present[-1][2])
    final_losses = [losses[np.isfinite(losses)][-1] for losses in curves]
    described = f"Loss over {len(epochs)} epochs: " + ", ".join(
        f"{curve_word} ends at {number(float(final_loss))}"
        for (_, curve_word, _), final_loss in zip(present, final_losses, strict=True)
    )
    return plot(described, [panel({"label": "epoch", "whole": True}, y, marks)])


def _best_epoch_marks(epoch: int, loss: float, colour: str) -> list[Any]:
    """Return the marks of the epoch whose weights are kept."""
    words = f"kept: epoch {epoch}, {number(loss)}"
    dot = mark("dots", x=[epoch], y=[loss], colour=colour, size=4.5, texts=[words])
    return [mark("rule", x=epoch, colour="rule"), dot]
