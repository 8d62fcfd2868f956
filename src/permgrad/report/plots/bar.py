"""Ranked bars, split by path, with confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from permgrad.report import style
from permgrad.report.plots._base import (
    Floats,
    PlotFigure,
    clean,
    finish_title,
    labels_of,
    largest,
    need_one_unit,
    new_figure,
    number,
    numbers,
    padded,
    pick_output,
    plain_axis,
    quantity_of,
    styled,
)

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation


@styled
def bar(
    explanation: Explanation,
    *,
    top_n: int | None = 15,
    output: str | int | None = None,
    title: str | None = None,
) -> PlotFigure:
    """Draw the features by falling importance.

    Where the explanation has a part per path (``parts["tabular"]``, ``parts["image"]``), a bar is split into them:
    parts above 0 stand to the right of the line, parts below 0 to its left, and the dot is their sum. The whisker is
    the confidence interval of the sum. A local explanation is shown as its mean absolute attribution.

    Args:
        explanation: What to draw.
        top_n: How many features; None: all.
        output: Which output, by name or position; None: the first.
        title: Title; None: a default; empty: none.

    Examples:
        >>> from permgrad import Explanation
        >>> figure = bar(Explanation(np.array([[2.0], [1.0]]), ("a", "b"), ("table", "table"), ("all",), "permutation",
        ...                          "global"))
        >>> len(figure.axes)
        1
    """
    need_one_unit(explanation, "bar")
    shown = explanation.to_global("mean_abs") if explanation.scope == "local" else explanation
    column = explanation.output_index(output) if explanation.scope == "global" else pick_output(explanation, output)
    values = np.asarray(shown.values[:, column], dtype=np.float64)
    order = largest(values, top_n)
    paths = _paths(shown, column, values)
    figure = new_figure(style.WIDTH, 0.95 + style.ROW * max(len(order), 1) + (0.25 if paths else 0))
    axes = figure.add_subplot()
    places = np.arange(len(order))
    if paths:
        _split_bars(axes, paths, values, order)
    else:
        colours = [style.POSITIVE if value >= 0 else style.NEGATIVE for value in values[order]]
        axes.barh(places, np.nan_to_num(values[order]), height=0.62, color=colours, linewidth=0)
    low, high = (end[:, column][order] for end in shown.ci())
    whiskers(axes, values[order], low, high, dot=bool(paths))
    hidden = len(shown.names) - len(order)
    ranked_frame(axes, [shown.names[i] for i in order], values[order], low, high, hidden=hidden)
    name = explanation.outputs[column]
    about = ""
    if len(explanation.outputs) > 1:
        about = ", all rows" if name == "all" else f", {clean(name)}"
    axes.set_xlabel(("mean |attribution|, " if explanation.scope == "local" else "") + quantity_of(explanation))
    finish_title(axes, f"{explanation.method}: what drives the model{about}", title)
    if paths:
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(
            handles,
            labels,
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=len(labels),
            handlelength=0.9,
            handleheight=0.9,
            borderpad=0.1,
            borderaxespad=0.1,
        )
    leading = ", ".join(f"{clean(shown.names[i])} {number(values[i])}" for i in order[:5])
    figure.description = (
        f"Bars of {len(order)} of {len(values)} {explanation.level}s by importance with confidence intervals. "
        f"Largest: {leading}."
    )
    return figure


def _paths(explanation: Explanation, column: int, values: Floats) -> dict[str, Floats]:
    """Return the parts that add up to the values; other parts stand beside them and are not drawn."""
    parts = {
        name: np.asarray(part[:, column], dtype=np.float64)
        for name, part in explanation.parts.items()
        if name != "interaction"
    }
    if len(parts) < 2:
        return {}
    scale = max(float(np.nanmax(np.abs(values), initial=0.0)), 1e-300)
    gap = np.nanmax(np.abs(sum(parts.values()) - values), initial=0.0)
    return parts if gap <= 1e-6 * scale else {}


def _split_bars(axes: Any, paths: dict[str, Floats], values: Floats, order: npt.NDArray[np.intp]) -> None:
    places = np.arange(len(order))
    right, left = np.zeros(len(values)), np.zeros(len(values))
    for position, (name, part) in enumerate(paths.items()):
        amount = np.nan_to_num(part)
        start = np.where(amount >= 0, right, left)
        colour = style.PATH_COLOURS.get(name, style.SERIES[position % len(style.SERIES)])
        axes.barh(
            places,
            amount[order],
            left=start[order],
            height=0.62,
            color=colour,
            linewidth=0,
            label=f"{clean(name)} path",
        )
        right, left = right + np.maximum(amount, 0), left + np.minimum(amount, 0)


def whiskers(axes: Any, values: Floats, low: Floats, high: Floats, *, dot: bool) -> None:
    """Draw the intervals of bars, where they are known."""
    places = np.arange(len(values))
    known = np.isfinite(low) & np.isfinite(high)
    axes.hlines(places[known], low[known], high[known], color=style.INK, linewidth=1.1)
    if dot:
        axes.plot(values, places, "o", color=style.INK, markersize=3.2, linestyle="none")


def ranked_frame(
    axes: Any, names: Sequence[str], values: Floats, low: Floats, high: Floats, *, hidden: int = 0
) -> None:
    """Names on the left, values on the right, a line at 0, and a word on what is not shown."""
    axes.set_yticks(np.arange(len(names)), labels_of(names))
    axes.tick_params(axis="y", length=0, labelcolor=style.INK, labelsize=style.SIZE_LABEL)
    axes.set_ylim(len(names) - 0.4, -0.6)
    data_low, data_high = axes.dataLim.x0, axes.dataLim.x1
    ends = np.concatenate([[0.0, data_low, data_high], low, high, values])
    ends = ends[np.isfinite(ends)]
    axes.set_xlim(*(padded(float(ends.min()), float(ends.max()), 0.03) if np.any(ends) else (0.0, 1.0)))
    axes.axvline(0, color=style.MUTED, linewidth=0.8, zorder=0.5)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    plain_axis(axes)
    texts = numbers(values)
    room = 6 + 4.6 * max((len(text) for text in texts), default=0)
    for place, text in enumerate(texts):
        axes.annotate(
            text,
            (1.0, place),
            xycoords=("axes fraction", "data"),
            xytext=(room, 0),
            textcoords="offset points",
            va="center",
            ha="right",
            fontsize=style.SIZE_SMALL,
            color=style.MUTED,
        )
    if hidden:
        axes.annotate(
            f"{hidden} more not shown",
            (0, 0),
            xycoords="axes fraction",
            xytext=(-8, -5),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=style.SIZE_SMALL,
            color=style.MUTED,
        )
