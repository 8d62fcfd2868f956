"""Plots: functions of an explanation or of plain arrays that return a figure with ``save``.

None of them uses pyplot, and the user's matplotlib settings and open figures stay as they are.
"""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec

from permgrad.report.plots._base import PlotFigure
from permgrad.report.plots.bar import bar, classes, features, signed_bars
from permgrad.report.plots.classified import MOST_CALIBRATION_PANELS, calibration, confusion_matrix, roc_curves
from permgrad.report.plots.image import activation, image, overlay
from permgrad.report.plots.modality import branches, modality, shares
from permgrad.report.plots.models import agreement_matrix, reliance, scores, tradeoff
from permgrad.report.plots.residuals import residuals, residuals_by_feature
from permgrad.report.plots.rows import beeswarm, waterfall
from permgrad.report.plots.text import text
from permgrad.report.plots.training import learning_curves
from permgrad.report.plots.values import direction, levels
from permgrad.report.words import clean

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

__all__ = [
    "MOST_CALIBRATION_PANELS",
    "PlotAccessor",
    "PlotFigure",
    "activation",
    "agreement_matrix",
    "bar",
    "beeswarm",
    "branches",
    "calibration",
    "classes",
    "confusion_matrix",
    "direction",
    "features",
    "image",
    "learning_curves",
    "levels",
    "modality",
    "overlay",
    "reliance",
    "residuals",
    "residuals_by_feature",
    "roc_curves",
    "scores",
    "shares",
    "signed_bars",
    "text",
    "tradeoff",
    "waterfall",
]
P = ParamSpec("P")


def _method(
    plot: Callable[Concatenate[Explanation, P], PlotFigure],
) -> Callable[Concatenate[PlotAccessor, P], PlotFigure]:
    """Return a plot as a method, which names the baseline under the axis: another baseline gives another picture."""

    @functools.wraps(plot)
    def method(self: PlotAccessor, /, *args: P.args, **options: P.kwargs) -> PlotFigure:
        figure = plot(self._explanation, *args, **options)
        baseline = self._explanation.meta.get("baseline")
        if isinstance(baseline, str) and figure.axes and plot in (bar, beeswarm, waterfall):
            axes = figure.axes[0]
            axes.set_xlabel(f"{axes.get_xlabel()}\n{textwrap.fill(f'baseline: {clean(baseline)}', 90)}")
        return figure

    return method


class PlotAccessor:
    """The plots of one explanation: ``explanation.plot.bar()``; ``explanation.plot()`` draws the one that suits it.

    Every method returns a figure with ``save(path)`` for PNG, SVG and PDF. Common options: ``top_n``, how many features
    are drawn (None: all); ``output``, by name or position (None: the first, of single rows the positive one of two
    classes); ``title`` (None: a default; empty: none).
    """

    def __init__(self, explanation: Explanation) -> None:
        self._explanation = explanation

    def __call__(self) -> PlotFigure:
        """Draw a beeswarm of many rows, a waterfall of one, and bars otherwise; an axis for each of mixed methods."""
        if self._explanation.meta.get("methods"):
            return self.features()
        if self._explanation.scope == "global":
            return self.bar()
        return self.waterfall() if len(self._explanation.values) == 1 else self.beeswarm()

    bar = _method(bar)
    beeswarm = _method(beeswarm)
    classes = _method(classes)
    direction = _method(direction)
    features = _method(features)
    image = _method(image)
    modality = _method(modality)
    text = _method(text)
    waterfall = _method(waterfall)
