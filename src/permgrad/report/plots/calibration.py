"""Reliability curves: how often a class occurs where the model gives it a certain probability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.base.errors import InputError
from permgrad.evaluation.calibration import reliability
from permgrad.report import style
from permgrad.report.plots import _base as base
from permgrad.report.plots._base import Floats, PlotFigure, styled
from permgrad.report.words import clean, number, shorten

#: Classes that have a panel; of more, those with the most rows.
MOST_PANELS = 9
_COLUMNS = 3
_HISTOGRAM = np.linspace(0, 1, 21)


@styled
def calibration(
    truth: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    classes: Sequence[Any],
    *,
    before: npt.ArrayLike | None = None,
    positive: int = 1,
    title: str = "",
) -> PlotFigure:
    """Draw a reliability curve with its 95 % band, and below it how probabilities are distributed.

    Of two classes the positive one is drawn; of more each has a panel, one versus the rest. Beneath the calibration
    error stands what a perfectly calibrated model would show on as many rows by chance.

    Args:
        truth: Classes ``(rows,)``.
        probabilities: ``(rows, classes)``.
        classes: The classes in the order of the columns.
        before: The probabilities before they were calibrated, drawn as a dashed line.
        positive: Position of the positive one of two classes.
        title: Title, empty for none.

    Raises:
        InputError: Shapes do not fit together.

    Examples:
        >>> figure = calibration(["a", "b", "b"], [[0.9, 0.1], [0.3, 0.7], [0.4, 0.6]], ["a", "b"])
        >>> len(figure.axes)
        2
    """
    codes, table = base.class_table(truth, probabilities, classes)
    earlier = None if before is None else base.class_table(truth, before, classes)[1]
    if not len(codes):
        raise InputError("calibration needs at least one row, however: there is none; pass rows that were predicted")
    counts = np.array([np.sum(codes == k) for k in range(len(classes))])
    shown = [positive] if len(classes) == 2 else sorted(np.argsort(-counts, kind="stable")[:MOST_PANELS].tolist())
    figure, panels = _single(title) if len(shown) == 1 else _many(len(shown), title)
    errors = []
    for k, (axes, below) in zip(shown, panels, strict=True):
        older = None if earlier is None else earlier[:, k]
        error = _panel(axes, below, codes == k, np.clip(table[:, k], 0, 1), older, single=len(shown) == 1)
        errors.append((shorten(classes[k], 30), error))
        if len(shown) > 1:
            axes.set_title(shorten(classes[k], 24), fontsize=style.SIZE_LABEL, pad=4)
    if len(shown) == 1:
        panels[0][0].set_ylabel(f"observed share of {shorten(classes[shown[0]], 24)}")
        panels[0][1].set_xlabel(f"predicted probability of {shorten(classes[shown[0]], 24)}")
    else:
        figure.supxlabel("predicted probability", fontsize=style.SIZE_LABEL, color=style.MUTED)
        figure.supylabel("observed share", fontsize=style.SIZE_LABEL, color=style.MUTED)
    base.finish_title(panels[0][0], "", title)
    figure.description = "Reliability curves; calibration error: " + ", ".join(
        f"{clean(name)} {number(error, 2)}" for name, error in errors
    )
    return figure


def _single(title: str) -> tuple[PlotFigure, list[tuple[Any, Any]]]:
    figure = base.new_figure(3.9, 4.5, title)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4.2, 1))
    return figure, [(above, below)]


def _many(count: int, title: str) -> tuple[PlotFigure, list[tuple[Any, Any]]]:
    rows = math.ceil(count / _COLUMNS)
    columns = min(count, _COLUMNS)
    figure = base.new_figure(style.WIDTH * columns / _COLUMNS, 0.5 + 2.25 * rows, title)
    grid = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True)).ravel()
    for axes in grid[count:]:
        axes.set_visible(False)
    for axes in grid[max(count - columns, 0) : count]:
        axes.tick_params(labelbottom=True)
    return figure, [(axes, None) for axes in grid[:count]]


def _panel(
    axes: Any, below: Any, positive: npt.NDArray[np.bool_], scores: Floats, before: Floats | None, *, single: bool
) -> float:
    curve = reliability(positive, scores)
    axes.plot([0, 1], [0, 1], color=style.MUTED, linewidth=0.9, zorder=1)
    if before is not None:
        older = reliability(positive, np.clip(before, 0, 1))
        axes.plot(
            older.predicted, older.observed, color=style.NEUTRAL, linestyle=style.LINE_STYLES[1], linewidth=1.2,
            label=f"before calibration, error {number(older.error, 2)}", zorder=2,
        )  # fmt: skip
    axes.fill_between(
        curve.predicted, curve.low, curve.high, color=style.TABULAR, alpha=0.16, linewidth=0, label="95 % interval"
    )
    axes.plot(
        curve.predicted, curve.observed, "o-", color=style.TABULAR, markersize=4.2 if single else 3, linewidth=1.4,
        markeredgecolor=style.PAPER, markeredgewidth=0.5, label="this network", zorder=3,
    )  # fmt: skip
    counts, _ = np.histogram(scores[np.isfinite(scores)], bins=_HISTOGRAM)
    bars: dict[str, Any] = {"width": 0.9 * (_HISTOGRAM[1] - _HISTOGRAM[0]), "align": "edge", "color": style.NEUTRAL}
    if below is not None:
        below.bar(_HISTOGRAM[:-1], counts, linewidth=0, **bars)
        below.set_ylabel("rows")
        base.count_axis(below.yaxis)
    else:
        axes.bar(_HISTOGRAM[:-1], 0.16 * counts / max(int(counts.max()), 1), alpha=0.45, linewidth=0, zorder=0, **bars)
    base.unit_square(axes)
    words = f"calibration error {number(curve.error, 2)}\n(by chance {number(curve.chance, 2)})"
    size = style.SIZE_SMALL if single else style.SIZE_SMALL - 1
    look: dict[str, Any] = {"ha": "right", "va": "bottom", "fontsize": size, "color": style.INK, "linespacing": 1.3}
    base.note(axes, words, (0.97, 0.2 if below is None else 0.04), of="axes fraction", **look)
    if single:
        axes.legend(loc="upper left", handlelength=1.6, fontsize=style.SIZE_SMALL)
    return curve.error
