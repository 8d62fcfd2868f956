"""One feature level by level: how many rows, their mean outcome, their mean attribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from permgrad.report import style
from permgrad.report.plots._base import Floats, PlotFigure, new_figure, styled
from permgrad.report.plots.bar import plain_bars
from permgrad.report.words import clean, labels_of, number, shorten


@styled
def levels(table: Sequence[Mapping[str, Any]], *, outcome: str = "mean outcome", overall: float = 0.0) -> PlotFigure:
    """Draw three panels that share their rows: counts, mean outcome with the overall mean, mean attribution.

    Args:
        table: One mapping per level: ``level, rows, outcome, deviation, attribution, attribution_error`` (the two
            errors are standard errors; undefined is None).
        outcome: What the outcome is.
        overall: Its mean over all rows.

    Examples:
        >>> row = {"level": "may", "rows": 9, "outcome": 0.1, "deviation": 0.1, "attribution": -0.2}
        >>> len(levels([{**row, "attribution_error": 0.1}]).axes)
        3
    """
    places = np.arange(len(table))
    figure = new_figure(style.WIDTH, 0.95 + style.ROW * max(len(table), 2))
    counts, means, effects = panels = figure.subplots(1, 3, sharey=True)
    counts.barh(places, [row["rows"] for row in table], height=0.62, color=style.SERIES[0], linewidth=0)
    value, error = _column(table, "outcome"), _column(table, "deviation")
    means.axvline(overall, color=style.INK, linewidth=0.8)
    means.errorbar(value, places, xerr=np.nan_to_num(2 * error), fmt="o", color=style.INK, markersize=4, linewidth=1.1)
    effect, spread = _column(table, "attribution"), _column(table, "attribution_error")
    plain_bars(effects, effect)
    bounded = np.isfinite(effect) & np.isfinite(spread)
    low, high = (effect + side * 2 * spread for side in (-1, 1))
    effects.hlines(places[bounded], low[bounded], high[bounded], color=style.INK, linewidth=1.1)
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


def _column(table: Sequence[Mapping[str, Any]], name: str) -> Floats:
    return np.array([np.nan if row[name] is None else row[name] for row in table], dtype=np.float64)
