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
    """
    codes, table = class_table(truth, probabilities, classes)
    wanted = [positive] if len(classes) == 2 else list(range(len(classes)))
    curves = {k: _curve(codes == k, table[:, k]) for k in wanted if 0 < np.sum(codes == k) < len(codes)}
    absent = [k for k in wanted if k not in curves][:3]
    shown = sorted(curves, key=lambda k: curves[k][2])[:MOST_CURVES] if len(curves) > MOST_CURVES else list(curves)
    names = {k: shorten(classes[k], 16) for k in [*shown, *absent]}
    outside = len(classes) > 2
    axes = _square(1.15 + 0.085 * max(10, *map(len, names.values())) if outside and names else 0.0, title)
    axes.plot([0, 1], [0, 1], color=style.RULE, linewidth=1)
    for place, k in enumerate(shown):
        x, y, area = curves[k]
        axes.plot(x, y, label=f"{names[k]}  {area:.3f}", **series_style(place))
    for k in absent:
        axes.plot([], [], linestyle="none", label=f"{names[k]}  undefined")
    unit_square(axes)
    axes.set_xlabel("false positives, share")
    axes.set_ylabel("true positives, share")
    if names:
        axes.legend(
            loc="upper left" if outside else "lower right",
            bbox_to_anchor=(1.01, 1.0) if outside else None,
            title="area under curve" if outside else "area",
            title_fontsize=style.SIZE_SMALL, alignment="left", handlelength=1.6,
        )  # fmt: skip
    figure: PlotFigure = axes.figure
    figure.description = "ROC curves, area by class: " + ", ".join(
        f"{shorten(classes[k], 30)} {curves[k][2]:.3f}" for k in shown
    )
    return figure


def _square(legend: float, title: str) -> Any:
    """Return square axes in a figure with room (in inches) for a legend at the right, and a title.

    They are placed by hand: the automatic arrangement does not know that square axes cannot give way to a legend, and
    would push the labels at the left off the page.
    """
    left, below, side, edge = 0.6, 0.5, 3.3, 0.1
    width, height = left + side + edge + legend, below + side + edge
    figure = new_figure(width, height, title)
    figure.set_layout_engine("none")
    height = figure.get_figheight()
    return figure.add_axes((left / width, below / height, side / width, side / height))


def _curve(positive: npt.NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats, float]:
    from sklearn.metrics import roc_auc_score, roc_curve

    scores = np.nan_to_num(scores)
    x, y, _ = roc_curve(positive, scores)
    points = thinned(len(x), MOST_POINTS)
    return x[points], y[points], float(roc_auc_score(positive, scores))
