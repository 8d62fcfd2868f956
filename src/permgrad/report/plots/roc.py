"""ROC curves, one class versus the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.report import style
from permgrad.report.plots._base import (
    Floats,
    PlotFigure,
    class_table,
    finish_title,
    new_figure,
    series_style,
    styled,
    thinned,
    unit_square,
)
from permgrad.report.words import shorten

MOST_CURVES = 10
MOST_POINTS = 400


@styled
def roc_curves(
    truth: npt.ArrayLike, probabilities: npt.ArrayLike, classes: Sequence[Any], *, positive: int = 1, title: str = ""
) -> PlotFigure:
    """Draw one curve per class (of two classes the positive one), with its area; of more than ten the ten worst.

    Classes that no row has, or every row has, have no curve and are named below the others.

    Args:
        truth: Classes ``(rows,)``.
        probabilities: ``(rows, classes)``.
        classes: The classes in the order of the columns.
        positive: Position of the positive one of two classes.
        title: Title, empty for none.
    """
    codes, table = class_table(truth, probabilities, classes)
    wanted = [positive] if len(classes) == 2 else list(range(len(classes)))
    curves = {k: _curve(codes == k, table[:, k]) for k in wanted if 0 < np.sum(codes == k) < len(codes)}
    absent = [k for k in wanted if k not in curves]
    shown = sorted(curves, key=lambda k: curves[k][2])[:MOST_CURVES] if len(curves) > MOST_CURVES else list(curves)
    names = [shorten(classes[k], 16) for k in [*shown, *absent[:3]]]
    legend = 1.15 + 0.085 * max(10, *map(len, names)) if len(classes) > 2 and names else 0.0
    axes = _square(legend, 0.3 if title else 0.0)
    figure: PlotFigure = axes.figure
    axes.plot([0, 1], [0, 1], color=style.RULE, linewidth=1)
    for place, k in enumerate(shown):
        x, y, area = curves[k]
        axes.plot(x, y, label=f"{shorten(classes[k], 16)}  {area:.3f}", **series_style(place))
    for k in absent[:3]:
        axes.plot([], [], linestyle="none", label=f"{shorten(classes[k], 16)}  undefined")
    unit_square(axes)
    axes.set_xlabel("false positives, share")
    axes.set_ylabel("true positives, share")
    if shown or absent:
        outside = len(classes) > 2
        axes.legend(
            loc="upper left" if outside else "lower right",
            bbox_to_anchor=(1.01, 1.0) if outside else None,
            title="area under curve" if outside else "area",
            title_fontsize=style.SIZE_SMALL, alignment="left", handlelength=1.6,
        )  # fmt: skip
    finish_title(axes, "", title)
    figure.description = "ROC curves, area by class: " + ", ".join(
        f"{shorten(classes[k], 30)} {curves[k][2]:.3f}" for k in shown
    )
    return figure


def _square(legend: float, title: float) -> Any:
    """Return square axes in a figure with room (in inches) for a legend at the right and a title.

    They are placed by hand: the automatic arrangement does not know that square axes cannot give way to a legend, and
    would push the labels at the left off the page.
    """
    left, below, side, edge = 0.6, 0.5, 3.3, 0.1
    width, height = left + side + edge + legend, below + side + edge + title
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    return figure.add_axes((left / width, below / height, side / width, side / height))


def _curve(positive: npt.NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats, float]:
    from sklearn.metrics import roc_auc_score, roc_curve

    scores = np.nan_to_num(scores)
    x, y, _ = roc_curve(positive, scores)
    area = float(roc_auc_score(positive, scores))
    keep = thinned(len(x), MOST_POINTS)
    return x[keep], y[keep], area
