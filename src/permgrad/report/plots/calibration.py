"""Reliability curves: how often a class occurs where the model gives it a certain probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.base.errors import InputError
from permgrad.evaluation.calibration import reliability
from permgrad.report import style
from permgrad.report.plots import _base as base
from permgrad.report.plots._base import Floats, PlotFigure, styled
from permgrad.report.words import number, shorten

#: Classes that have a panel; of more, those with the most rows.
MOST_PANELS = 9
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
    error stands what a perfectly calibrated model would show on as many rows by chance; a dashed line is ``before``,
    the probabilities before they were calibrated.
    """
    codes, table = base.class_table(truth, probabilities, classes)
    earlier = None if before is None else base.class_table(truth, before, classes)[1]
    if not len(codes):
        raise InputError("calibration needs at least one row, however: there is none; pass rows that were predicted")
    counts = np.array([np.sum(codes == k) for k in range(len(classes))])
    shown = [positive] if len(classes) == 2 else sorted(np.argsort(-counts, kind="stable")[:MOST_PANELS].tolist())
    names = [shorten(classes[k], 24) for k in shown]
    if single := len(shown) == 1:
        figure = base.new_figure(3.9, 4.5, title)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4.2, 1))
        panels = [above]
        above.set_ylabel(f"observed share of {names[0]}")
        below.set_xlabel(f"predicted probability of {names[0]}")
        below.set_ylabel("rows")
        base.count_axis(below.yaxis)
    else:
        figure, panels = base.small_panels(len(shown), (style.WIDTH / 3, 2.25), title, room=0.5, sharex=True)
        for axes, name in zip(panels, names, strict=True):
            axes.set_title(name, fontsize=style.SIZE_LABEL, pad=4)
        for axes in panels[-3:]:
            axes.tick_params(labelbottom=True)
        figure.supxlabel("predicted probability", fontsize=style.SIZE_LABEL, color=style.MUTED)
        figure.supylabel("observed share", fontsize=style.SIZE_LABEL, color=style.MUTED)
    errors = []
    for k, axes in zip(shown, panels, strict=True):
        scores, older = np.clip(table[:, k], 0, 1), None if earlier is None else np.clip(earlier[:, k], 0, 1)
        error = _curves(axes, codes == k, scores, older, single=single)
        _histogram(below if single else axes, scores, behind=not single)
        errors.append(f"{shorten(classes[k], 30)} {number(error, 2)}")
    figure.description = "Reliability curves; calibration error: " + ", ".join(errors)
    return figure


def _curves(
    axes: Any, positive: npt.NDArray[np.bool_], scores: Floats, before: Floats | None, *, single: bool
) -> float:
    """Draw the curves of one class and return its calibration error."""
    curve = reliability(positive, scores)
    axes.plot([0, 1], [0, 1], color=style.MUTED, linewidth=0.9, zorder=1)
    if before is not None:
        older = reliability(positive, before)
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
    base.unit_square(axes)
    words = f"calibration error {number(curve.error, 2)}\n(by chance {number(curve.chance, 2)})"
    size = style.SIZE_SMALL if single else style.SIZE_SMALL - 1
    look: dict[str, Any] = {"ha": "right", "va": "bottom", "fontsize": size, "color": style.INK, "linespacing": 1.3}
    base.note(axes, words, (0.97, 0.04 if single else 0.2), of="axes fraction", **look)
    if single:
        axes.legend(loc="upper left", handlelength=1.6, fontsize=style.SIZE_SMALL)
    return curve.error


def _histogram(axes: Any, scores: Floats, *, behind: bool) -> None:
    """Draw how many rows get which probability: on its own axes, or low and pale behind the curves."""
    counts, _ = np.histogram(scores[np.isfinite(scores)], bins=_HISTOGRAM)
    heights, look = counts, {}
    if behind:
        heights, look = 0.16 * counts / max(int(counts.max()), 1), {"alpha": 0.45, "zorder": 0}
    width = 0.9 * (_HISTOGRAM[1] - _HISTOGRAM[0])
    axes.bar(_HISTOGRAM[:-1], heights, width=width, align="edge", color=style.NEUTRAL, linewidth=0, **look)
