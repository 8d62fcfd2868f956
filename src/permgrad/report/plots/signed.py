"""Signed bars: what pushes up stands to the right, what pushes down to the left, largest first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from permgrad.report import style
from permgrad.report.plots._base import (
    Floats,
    PlotFigure,
    clean,
    finish_title,
    labels_of,
    largest,
    new_figure,
    number,
    styled,
)


@styled
def signed_bars(
    names: Sequence[str], values: Floats, *, label: str = "attribution", top_n: int | None = 20, title: str = ""
) -> PlotFigure:
    """Draw signed values by falling size, such as attributions that were divided by their L1 norm.

    Args:
        names: What the values belong to ``(n,)``.
        values: ``(n,)``.
        label: What the values are.
        top_n: How many to show; None: all.
        title: Title; empty: none.

    Examples:
        >>> signed_bars(["a", "b"], np.array([0.25, -0.75])).description
        'Signed bars of 2 of 2, largest first: b −0.750, a 0.250.'
    """
    order = largest(np.abs(values), top_n)
    places = np.arange(len(order))
    figure = new_figure(style.WIDTH, 0.95 + style.ROW * max(len(order), 1))
    axes = figure.add_subplot()
    shown = np.nan_to_num(np.asarray(values, dtype=np.float64)[order])
    colours = [style.POSITIVE if value >= 0 else style.NEGATIVE for value in shown]
    axes.barh(places, shown, height=0.62, color=colours, linewidth=0)
    axes.axvline(0, color=style.INK, linewidth=0.8)
    axes.set_yticks(places, labels_of([names[place] for place in order], 30))
    axes.invert_yaxis()
    axes.set_xlabel(label)
    finish_title(axes, "", title)
    listed = ", ".join(f"{clean(names[place])} {number(float(values[place]))}" for place in order[:8])
    figure.description = f"Signed bars of {len(order)} of {len(values)}, largest first: {listed}."
    return figure
