"""Plots of classes and their probabilities: confusion matrix, ROC curves, reliability curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base import style
from permgrad.base.dependence import Dependence
from permgrad.base.figures import PlotFigure
from permgrad.base.numerals import number
from permgrad.evaluation.calibration import Reliability, reliability
from permgrad.pages.plots import _base as base
from permgrad.pages.plots._base import styled
from permgrad.pages.words import clean, labels_of, valued


@styled
def confusion_matrix(matrix: npt.ArrayLike, labels: Sequence[Any]) -> PlotFigure:
    """Draw counts (numbers) ``(classes, classes)`` and the share of each true class (colour). Rows are true classes."""
    counts = np.asarray(matrix, dtype=np.float64)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    side = float(np.clip(0.72 * len(labels), 2.2, 6.6))
    figure, axes = base.one_panel(side + 1.7, side + 0.9)
    texts = np.array([[f"{count:,.0f}" for count in row] for row in counts]) if len(labels) <= 12 else None
    names = labels_of(labels, 14)
    size = style.SIZE_LABEL if len(labels) <= 8 else style.SIZE_SMALL - 0.5
    base.heat_table(axes, shares, texts, (names, names), size=size)
    base.name_columns(axes, names, slanted=len(labels) > 3 and max(map(len, names)) > 5)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    recall = valued(names[:20], np.diag(shares)[:20], "{:.0%}".format)
    figure.description = f"Confusion matrix, recall of each class: {recall}"
    return figure


MOST_ROC_CURVES = 5
MOST_POINTS = 400


@styled
def roc_curves(
    truth: npt.ArrayLike, probabilities: npt.ArrayLike, classes: Sequence[Any], *, positive: int = 1
) -> PlotFigure:
    """Draw one curve per class (of two classes the positive one), with its area. Of more than five the five worst.

    Classes of no row, or of all rows, have no curve and are named below the others.
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    codes = pd.Index(np.asarray(classes)).get_indexer(pd.Index(np.asarray(truth)))  # −1: none of them
    table = np.nan_to_num(np.asarray(probabilities, dtype=np.float64))
    wanted = [positive] if len(classes) == 2 else list(range(len(classes)))
    areas = {k: float(roc_auc_score(codes == k, table[:, k])) for k in wanted if 0 < np.sum(codes == k) < len(codes)}
    absent = [k for k in wanted if k not in areas][:3]
    shown = sorted(areas, key=areas.__getitem__)[:MOST_ROC_CURVES] if len(areas) > MOST_ROC_CURVES else list(areas)
    labels = labels_of(classes, 16)
    names = {k: labels[k] for k in [*shown, *absent]}
    outside = len(classes) > 2
    # Arranged by hand, in inches: constrained layout would make room for the right legend on the left, at the labels.
    left, below, side, edge = 0.6, 0.5, 3.3, 0.1
    legend = 1.15 + 0.085 * max(10, *map(len, names.values())) if outside and names else 0.0
    width, height = left + side + edge + legend, below + side + edge
    figure = base.new_figure(width, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((left / width, below / height, side / width, side / height))
    axes.plot([0, 1], [0, 1], color=style.RULE, linewidth=1)
    for place, k in enumerate(shown):
        x, y, _ = roc_curve(codes == k, table[:, k])
        points = base.thinned(len(x), MOST_POINTS)
        axes.plot(x[points], y[points], label=f"{names[k]}  {areas[k]:.3f}", **style.LINES[place])
    for k in absent:
        axes.plot([], [], linestyle="none", label=f"{names[k]}  undefined")
    axes.set(**base.UNIT_SQUARE)
    axes.grid(visible=True)
    axes.set_xlabel("false positives, share")
    axes.set_ylabel("true positives, share")
    if names:
        axes.legend(
            loc="upper left" if outside else "lower right",
            bbox_to_anchor=(1.01, 1.0) if outside else None,
            title="area under curve" if outside else "area",
            title_fontsize=style.SIZE_SMALL, alignment="left", handlelength=1.6,
        )  # fmt: skip
    by_class = valued([classes[k] for k in shown], [areas[k] for k in shown], "{:.3f}".format)
    figure.description = f"ROC curves, area by class: {by_class}"
    return figure


#: Most classes with a panel: those with the most rows.
MOST_CALIBRATION_PANELS = 9
_HISTOGRAM = np.linspace(0, 1, 21)


@styled
def calibration(
    truth: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    classes: Sequence[Any],
    *,
    before: npt.ArrayLike | None = None,
    positive: int = 1,
    dependence: Dependence | None = None,
) -> PlotFigure:
    """Draw a reliability curve with its 95 % band (of each class if there are more than two), and the probabilities.

    A dashed line is ``before``, the probabilities before calibration. ``dependence``: which rows depend on each other.
    """
    codes = pd.Index(np.asarray(classes)).get_indexer(pd.Index(np.asarray(truth)))
    table = np.asarray(probabilities, dtype=np.float64)
    earlier = None if before is None else np.asarray(before, dtype=np.float64)
    counts = np.array([np.sum(codes == k) for k in range(len(classes))])
    most = np.argsort(-counts, kind="stable")[:MOST_CALIBRATION_PANELS]
    shown = [positive] if len(classes) == 2 else sorted(most.tolist())
    names = labels_of([classes[k] for k in shown], 24)
    if single := len(shown) == 1:
        figure = base.new_figure(3.9, 4.5)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4.2, 1))
        panels = [above]
        above.set_ylabel(f"observed share of {names[0]}")
        below.set_xlabel(f"predicted probability of {names[0]}")
        below.set_ylabel("rows")
        base.plain_axis(below, "y", counts=True)
    else:
        figure, panels = base.small_panels(len(shown), (style.WIDTH / 3, 2.25), room=0.5, sharex=True)
        for axes, name in zip(panels, names, strict=True):
            axes.set_title(name, fontsize=style.SIZE_LABEL, pad=4)
        for axes in panels[-3:]:
            axes.tick_params(labelbottom=True)
        figure.supxlabel("predicted probability", fontsize=style.SIZE_LABEL, color=style.MUTED)
        figure.supylabel("observed share", fontsize=style.SIZE_LABEL, color=style.MUTED)
    errors = []
    for k, axes in zip(shown, panels, strict=True):
        scores, older = np.clip(table[:, k], 0, 1), None if earlier is None else np.clip(earlier[:, k], 0, 1)
        curve = reliability(codes == k, scores, dependence)
        _reliability_curves(axes, curve, None if older is None else reliability(codes == k, older), single=single)
        # The distribution of probabilities: on separate axes, or low and pale behind the curves.
        heights, _ = np.histogram(scores[np.isfinite(scores)], bins=_HISTOGRAM)
        heights = heights if single else 0.16 * heights / max(int(heights.max()), 1)
        look = {} if single else {"alpha": 0.45, "zorder": 0}
        (below if single else axes).bar(
            _HISTOGRAM[:-1], heights, width=0.9 * _HISTOGRAM[1], align="edge", color=style.NEUTRAL, linewidth=0, **look
        )
        errors.append(f"{clean(classes[k])} {number(curve.error, 2)}")
    figure.description = "Reliability curves, calibration error: " + ", ".join(errors)
    return figure


def _reliability_curves(axes: Any, curve: Reliability, older: Reliability | None, *, single: bool) -> None:
    """Draw the curves of one class."""
    axes.plot([0, 1], [0, 1], color=style.MUTED, linewidth=0.9, zorder=1)
    if older is not None:
        axes.plot(
            older.predicted, older.observed, color=style.NEUTRAL, linestyle=style.LINE_STYLES[1], linewidth=1.2,
            label=f"before calibration, error {number(older.error, 2)}", zorder=2,
        )  # fmt: skip
    axes.fill_between(
        curve.predicted, curve.low, curve.high, color=style.TABULAR, alpha=0.16, linewidth=0, label="95 % interval"
    )
    axes.plot(
        curve.predicted, curve.observed, "o-", color=style.TABULAR, markersize=4.2 if single else 3, linewidth=1.4,
        markeredgecolor=style.PAPER, markeredgewidth=0.5, label="this model", zorder=3,
    )  # fmt: skip
    axes.set(**base.UNIT_SQUARE)
    axes.grid(visible=True)
    words = f"calibration error {number(curve.error, 2)}\n(by chance {number(curve.chance, 2)})"
    size = style.SIZE_SMALL if single else style.SIZE_SMALL - 0.5
    look: dict[str, Any] = {"ha": "right", "va": "bottom", "fontsize": size, "color": style.INK, "linespacing": 1.3}
    base.note(axes, words, (0.97, 0.04 if single else 0.2), of="axes fraction", **look)
    if single:
        axes.legend(loc="upper left", handlelength=1.6, fontsize=style.SIZE_SMALL)
