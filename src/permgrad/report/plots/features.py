"""Ranked bars modality by modality: one panel for each, with its own axis and unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from permgrad.report import style
from permgrad.report.plots._base import (
    PlotFigure,
    clean,
    heading,
    largest,
    new_figure,
    number,
    quantity_of,
    styled,
)
from permgrad.report.plots.bar import ranked_frame, whiskers

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation


@styled
def features(
    explanation: Explanation,
    *,
    top_n: int | None = 8,
    output: str | int | None = None,
    title: str | None = None,
) -> PlotFigure:
    """Draw each modality's features by falling importance, in a panel of their own.

    Panels never share an axis: where modalities were explained by different methods, their units differ, and where
    they were not, a modality of many small players would vanish beside one of few large players. A local explanation is
    shown as its mean absolute attribution.

    Args:
        explanation: What to draw. ``meta["methods"]`` and ``meta["units"]`` name each modality's method and unit where
            they differ.
        top_n: How many features of each modality; None: all.
        output: Which output, by name or position; None: the first.
        title: Title; None: a default; empty: none.

    Examples:
        >>> from permgrad import Explanation
        >>> values = np.array([[2.0], [1.0], [0.1]])
        >>> figure = features(Explanation(values, ("a", "b", "[0,0]"), ("table", "table", "image"), ("all",), "shapley",
        ...                               "global"))
        >>> len(figure.axes)
        2
    """
    shown = explanation.to_global("mean_abs") if explanation.scope == "local" else explanation
    column = explanation.output_index(output)
    values = np.asarray(shown.values[:, column], dtype=np.float64)
    low, high = (end[:, column] for end in shown.ci())
    modalities = list(dict.fromkeys(explanation.modality))
    members = {
        name: np.flatnonzero(np.array([own == name for own in explanation.modality], dtype=bool)) for name in modalities
    }
    chosen = {name: own[largest(values[own], top_n)] for name, own in members.items()}
    rows = [max(len(own), 1) for own in chosen.values()]
    text = heading(f"{explanation.method}: what drives the model, input by input", title)
    figure = new_figure(style.WIDTH, 0.95 * len(rows) + style.ROW * sum(rows) + (0.35 if text else 0))
    panels = figure.subplots(len(rows), 1, squeeze=False, gridspec_kw={"height_ratios": rows})[:, 0]
    for axes, name in zip(panels, modalities, strict=True):
        order = chosen[name]
        own = values[order]
        colours = [style.POSITIVE if value >= 0 else style.NEGATIVE for value in own]
        axes.barh(np.arange(len(order)), np.nan_to_num(own), height=0.62, color=colours, linewidth=0)
        whiskers(axes, own, low[order], high[order], dot=False)
        hidden = len(members[name]) - len(order)
        ranked_frame(axes, [explanation.names[i] for i in order], own, low[order], high[order], hidden=hidden)
        axes.set_title(clean(name) + _method(explanation, name), fontsize=style.SIZE_LABEL, fontweight="bold")
        axes.set_xlabel(_unit(explanation, name))
    if text:
        figure.suptitle(clean(text), x=0.01, ha="left", fontsize=style.SIZE_TITLE, fontweight="bold", color=style.INK)
    leading = "; ".join(
        f"{clean(name)}: " + ", ".join(f"{clean(explanation.names[i])} {number(values[i])}" for i in order[:3])
        for name, order in chosen.items()
    )
    figure.description = f"Bars of the leading {explanation.level}s of each input, each on its own axis. {leading}."
    return figure


def _method(explanation: Explanation, modality: str) -> str:
    methods = explanation.meta.get("methods")
    return f" · {clean(methods[modality])}" if isinstance(methods, Mapping) and modality in methods else ""


def _unit(explanation: Explanation, modality: str) -> str:
    """Say what one modality's numbers are."""
    local = "mean |attribution|, " if explanation.scope == "local" else ""
    units, quantities = explanation.meta.get("units"), explanation.meta.get("quantities")
    if not isinstance(units, Mapping) or modality not in units:
        return local + quantity_of(explanation)
    quantity = quantities.get(modality) if isinstance(quantities, Mapping) else None
    return local + (f"{clean(quantity)} ({clean(units[modality])})" if quantity else clean(units[modality]))
