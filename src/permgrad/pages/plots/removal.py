"""Deletion and insertion curves of an explanation and of random orders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from permgrad.base import style
from permgrad.base.errors import InputError
from permgrad.base.figures import PlotFigure
from permgrad.base.numerals import number
from permgrad.pages.plots import _base as base
from permgrad.pages.plots._base import styled

if TYPE_CHECKING:
    from permgrad.evaluation.explanations import Evaluation


@styled
def removal(evaluation: Evaluation, *, title: str | None = None, ax: Axes | None = None) -> PlotFigure:
    """Draw the curves: the explanation's order as a line, random orders as a line with a band."""
    curves = {name: one.curve for name, one in evaluation.estimates.items() if one.curve is not None}
    if not curves:
        problem = "There is no curve to draw"
        raise InputError(problem, hint="Evaluate with metrics=['deletion', 'insertion'].", code="PG055")
    default = f"{evaluation.meta.get('method', 'explanation')}: removal curves"
    figure, grid = base.small_panels(len(curves), (style.WIDTH / 2, 2.6), default if title is None else title)
    verbs = {"deletion": "replaced", "insertion": "left"}
    for axes, (name, (shares, ranked, middle, low, high)) in zip(grid, curves.items(), strict=True):
        axes.fill_between(shares, low, high, color=style.NEUTRAL, alpha=0.25, linewidth=0)
        axes.plot(shares, middle, color=style.NEUTRAL, linestyle="--", label="random order")
        axes.plot(shares, ranked, color=style.SERIES[0], label="this explanation")
        axes.set_title(f"{name}: {evaluation.directions[name]} is better", fontsize=style.SIZE_LABEL, loc="left")
        axes.set_xlabel(f"share of features {verbs.get(name, '')}")
        axes.grid(axis="y")
        base.plain_axis(axes, "xy")
    grid[0].set_ylabel(evaluation.meta.get("measured", "output"))
    grid[0].legend(borderpad=0.1)
    figure.description = " · ".join(
        f"{name}: area {number(evaluation.estimates[name].value)}, random {number(evaluation.estimates[name].random)}"
        for name in curves
    )
    return figure
