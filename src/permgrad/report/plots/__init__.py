"""Plots, one file each: functions of an explanation or of plain arrays that return a figure with ``save``.

None of them uses pyplot, and the user's matplotlib settings and open figures stay as they are.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from permgrad.report.plots._base import PlotFigure
from permgrad.report.plots.bar import bar, features, signed_bars
from permgrad.report.plots.beeswarm import beeswarm
from permgrad.report.plots.calibration import MOST_PANELS as MOST_CALIBRATION_PANELS
from permgrad.report.plots.calibration import calibration
from permgrad.report.plots.classes import classes
from permgrad.report.plots.confusion import confusion_matrix
from permgrad.report.plots.direction import direction
from permgrad.report.plots.image import activation, image, overlay
from permgrad.report.plots.levels import levels
from permgrad.report.plots.modality import branches, modality, shares
from permgrad.report.plots.reliance import agreement_matrix, reliance
from permgrad.report.plots.residuals import residuals, residuals_by_feature
from permgrad.report.plots.roc import roc_curves
from permgrad.report.plots.scores import scores
from permgrad.report.plots.tradeoff import tradeoff
from permgrad.report.plots.training import learning_curves
from permgrad.report.plots.waterfall import waterfall
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
    "tradeoff",
    "waterfall",
]


class PlotAccessor:
    """The plots of one explanation: ``explanation.plot.bar()``; ``explanation.plot()`` draws the one that suits it.

    Every method returns a figure with ``save(path)`` for PNG, SVG and PDF.
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

    def _with_baseline(self, figure: PlotFigure) -> PlotFigure:
        """Name the baseline under the axis, where a method has one: another baseline gives another picture."""
        baseline = self._explanation.meta.get("baseline")
        if isinstance(baseline, str) and figure.axes:
            words = textwrap.fill(f"baseline: {clean(baseline)}", 90)
            axes = figure.axes[0]
            axes.set_xlabel(f"{axes.get_xlabel()}\n{words}")
        return figure

    def bar(self, *, top_n: int | None = 15, output: str | int | None = None, title: str | None = None) -> PlotFigure:
        """Ranked bars with intervals, split by path; see ``permgrad.report.plots.bar``."""
        return self._with_baseline(bar(self._explanation, top_n=top_n, output=output, title=title))

    def classes(self, *, top_n: int | None = 15, title: str | None = None) -> PlotFigure:
        """Heat map of features by classes; see ``permgrad.report.plots.classes``."""
        return classes(self._explanation, top_n=top_n, title=title)

    def beeswarm(
        self, *, top_n: int | None = 12, output: str | int | None = None, title: str | None = None
    ) -> PlotFigure:
        """Every row as a point; see ``permgrad.report.plots.beeswarm``."""
        return self._with_baseline(beeswarm(self._explanation, top_n=top_n, output=output, title=title))

    def waterfall(
        self, *, row: int = 0, top_n: int | None = 10, output: str | int | None = None, title: str | None = None
    ) -> PlotFigure:
        """One row's steps from the baseline to its output; see ``permgrad.report.plots.waterfall``."""
        return self._with_baseline(waterfall(self._explanation, row=row, top_n=top_n, output=output, title=title))

    def image(
        self,
        *,
        row: int = 0,
        input: str | None = None,  # noqa: A002 — the word for it everywhere else
        output: str | int | None = None,
        title: str | None = None,
    ) -> PlotFigure:
        """An image under its activation map or signed attribution; see ``permgrad.report.plots.image``."""
        return image(self._explanation, row=row, input=input, output=output, title=title)

    def modality(
        self,
        *,
        truth: Mapping[str, Any] | None = None,
        output: str | int | None = None,
        title: str | None = None,
    ) -> PlotFigure:
        """Importance of whole branches or modalities, beside the truth; see ``permgrad.report.plots.modality``."""
        return modality(self._explanation, truth=truth, output=output, title=title)

    def features(
        self, *, top_n: int | None = 8, output: str | int | None = None, title: str | None = None
    ) -> PlotFigure:
        """Ranked bars, a panel for each modality; see ``permgrad.report.plots.features``."""
        return features(self._explanation, top_n=top_n, output=output, title=title)

    def direction(self, *, top_n: int | None = 9, title: str | None = None) -> PlotFigure:
        """Mean prediction by quantile or level; see ``permgrad.report.plots.direction``."""
        return direction(self._explanation, top_n=top_n, title=title)
