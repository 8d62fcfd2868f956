"""One feature level by level: how many rows, their mean outcome, their mean attribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from permgrad.report import style
from permgrad.report.plots import _base as base
from permgrad.report.plots._base import PlotFigure, styled
from permgrad.report.words import clean, labels_of, number, shorten


@styled
def levels(table: Sequence[Mapping[str, Any]], *, outcome: str = "mean outcome", overall: float = 0.0) -> PlotFigure:
    """Draw three panels that share their rows: counts, mean outcome with the overall mean, mean attribution.

    Each level of the table has ``level, rows, outcome, deviation, attribution, attribution_error``; the two errors are
    standard errors, and undefined is None.
    """
    places = np.arange(len(table))
    figure = base.new_figure(style.WIDTH, 0.95 + style.ROW * max(len(table), 2))
    counts, means, effects = panels = figure.subplots(1, 3, sharey=True)
    value, error, effect, spread = (
        np.array([row[name] for row in table], dtype=np.float64)  # None becomes NaN
        for name in ("outcome", "deviation", "attribution", "attribution_error")
    )
    counts.barh(places, [row["rows"] for row in table], height=0.62, color=style.SERIES[0], linewidth=0)
    means.axvline(overall, color=style.INK, linewidth=0.8)
    means.errorbar(value, places, xerr=np.nan_to_num(2 * error), fmt="o", color=style.INK, markersize=4, linewidth=1.1)
    base.signed_bars(effects, effect)
    base.intervals(effects, effect - 2 * spread, effect + 2 * spread)
    effects.axvline(0, color=style.INK, linewidth=0.8)
    counts.set_yticks(places, labels_of([row["level"] for row in table], 20))
    counts.invert_yaxis()
    for axes, label in zip(panels, ("rows", shorten(outcome, 30), "mean attribution"), strict=True):
        axes.set_xlabel(label)
        axes.locator_params(axis="x", nbins=4)
        if axes is not counts:
            axes.tick_params(axis="y", length=0)
    described = "; ".join(
        f"{clean(row['level'])}: {row['rows']} rows, outcome {number(row['outcome'])}, attribution "
        f"{number(row['attribution'])}"
        for row in table
    )
    figure.description = f"Rows, {clean(outcome)} and mean attribution by level. {described}."
    return figure
