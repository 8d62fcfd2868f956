"""The plots that results offer, such as ``explanation.plot.bar()``, drawn into axes of the user if there are any."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from permgrad.pages import plots
from permgrad.pages.plots import PlotFigure
from permgrad.pages.plots._base import draw_into
from permgrad.pages.plots.modality import missing
from permgrad.pages.plots.removal import removal
from permgrad.pages.words import clean

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.attribution.missing import Missing
    from permgrad.evaluation.explanations import Evaluation


def explanation_plot(explanation: Explanation, name: str, *, ax: Any = None, **options: Any) -> PlotFigure:
    """Draw a plot by its name, which names the baseline under the axis where the picture depends on it."""
    plot = getattr(plots, name)
    whole = plot is plots.interactions  # all others show single players
    figure: PlotFigure = draw_into(ax, plot, explanation if whole else explanation.of_order(1), **options)
    baseline = explanation.meta.get("baseline")
    if isinstance(baseline, str) and figure.axes and plot in (plots.bar, plots.beeswarm, plots.waterfall):
        axes = ax or figure.axes[0]
        axes.set_xlabel(f"{axes.get_xlabel()}\n{textwrap.fill(f'baseline: {clean(baseline)}', 90)}")
    return figure


def missing_plot(result: Missing, *, ax: Any = None, **options: Any) -> PlotFigure:
    """Draw the subsets of modalities."""
    return draw_into(ax, missing, result, **options)


def evaluation_plot(evaluation: Evaluation, *, ax: Any = None, **options: Any) -> PlotFigure:
    """Draw the removal curves."""
    return draw_into(ax, removal, evaluation, **options)
