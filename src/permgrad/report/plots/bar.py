"""Ranked bars: split by path with intervals, a panel for each modality, or signed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from permgrad.report import style
from permgrad.report.plots import _base as base
from permgrad.report.plots._base import BESIDE_ROW, Floats, PlotFigure, styled
from permgrad.report.words import clean, labels_of, number, numbers, quantity_of

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
    base.check_one_unit(explanation, "bar")
    shown = base.as_global(explanation)
    local = explanation.scope == "local"
    column = base.pick_output(explanation, output) if local else explanation.output_index(output)
    values = np.asarray(shown.values[:, column], dtype=np.float64)
    order = base.largest(values, top_n)
    paths = _paths(shown, column, values)
    figure = base.new_figure(style.WIDTH, 0.95 + style.ROW * max(len(order), 1) + (0.25 if paths else 0))
    axes = figure.add_subplot()
    if paths:
        _split_bars(axes, paths, order)
    _ranked_rows(axes, shown, column, order, len(values), split=bool(paths))
    name = explanation.outputs[column]
    about = ""
    if len(explanation.outputs) > 1:
        about = ", all rows" if name == "all" else f", {clean(name)}"
    axes.set_xlabel(_size_words(explanation) + quantity_of(explanation))
    base.finish_title(axes, f"{explanation.method}: what drives the model{about}", title)
    if paths:
        place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.0), "ncols": len(paths)}
        axes.legend(handlelength=0.9, handleheight=0.9, borderpad=0.1, borderaxespad=0.1, **place)
    leading = ", ".join(f"{clean(shown.names[i])} {number(values[i])}" for i in order[:5])
    figure.description = (
        f"Bars of {len(order)} of {len(values)} {explanation.level}s by importance with confidence intervals. "
        f"Largest: {leading}."
    )
    return figure


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
    shown = base.as_global(explanation)
    column = explanation.output_index(output)
    values = np.asarray(shown.values[:, column], dtype=np.float64)
    modality = np.asarray(explanation.modality, dtype=object)
    members = {name: np.flatnonzero(modality == name) for name in dict.fromkeys(explanation.modality)}
    chosen = {name: places[base.largest(values[places], top_n)] for name, places in members.items()}
    rows = [max(len(order), 1) for order in chosen.values()]
    text = base.heading(f"{explanation.method}: what drives the model, input by input", title)
    figure = base.new_figure(style.WIDTH, 0.95 * len(rows) + style.ROW * sum(rows) + (0.35 if text else 0))
    panels = figure.subplots(len(rows), 1, squeeze=False, gridspec_kw={"height_ratios": rows})[:, 0]
    for axes, (name, order) in zip(panels, chosen.items(), strict=True):
        _ranked_rows(axes, shown, column, order, len(members[name]))
        axes.set_title(clean(name) + _method(explanation, name), fontsize=style.SIZE_LABEL, fontweight="bold")
        axes.set_xlabel(_size_words(explanation) + _unit(explanation, name))
    if text:
        figure.suptitle(clean(text), x=0.01, ha="left", fontsize=style.SIZE_TITLE, fontweight="bold", color=style.INK)
    leading = "; ".join(
        f"{clean(name)}: " + ", ".join(f"{clean(explanation.names[i])} {number(values[i])}" for i in order[:3])
        for name, order in chosen.items()
    )
    figure.description = f"Bars of the leading {explanation.level}s of each input, each on its own axis. {leading}."
    return figure


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
    order = base.largest(np.abs(values), top_n)
    figure = base.new_figure(style.WIDTH, 0.95 + style.ROW * max(len(order), 1))
    axes = figure.add_subplot()
    plain_bars(axes, np.asarray(values, dtype=np.float64)[order])
    axes.axvline(0, color=style.INK, linewidth=0.8)
    axes.set_yticks(np.arange(len(order)), labels_of([names[place] for place in order], 30))
    axes.invert_yaxis()
    axes.set_xlabel(label)
    base.finish_title(axes, "", title)
    listed = ", ".join(f"{clean(names[place])} {number(float(values[place]))}" for place in order[:8])
    figure.description = f"Signed bars of {len(order)} of {len(values)}, largest first: {listed}."
    return figure


# ---- pieces ----------------------------------------------------------------------------------------------------------
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


def _split_bars(axes: Any, paths: Mapping[str, Floats], order: npt.NDArray[np.intp]) -> None:
    right, left = np.zeros(len(order)), np.zeros(len(order))
    for position, (name, part) in enumerate(paths.items()):
        amount = np.nan_to_num(part[order])
        start = np.where(amount >= 0, right, left)
        colour = style.PATH_COLOURS.get(name, style.SERIES[position % len(style.SERIES)])
        places, label = np.arange(len(order)), f"{clean(name)} path"
        axes.barh(places, amount, left=start, height=0.62, color=colour, linewidth=0, label=label)
        right, left = right + np.maximum(amount, 0), left + np.minimum(amount, 0)


def plain_bars(axes: Any, values: Floats) -> None:
    """Draw horizontal bars whose colours tell their sign."""
    amounts = np.nan_to_num(values)
    axes.barh(np.arange(len(values)), amounts, height=0.62, color=base.signed_colours(values), linewidth=0)


def _ranked_rows(
    axes: Any, shown: Explanation, column: int, order: npt.NDArray[np.intp], available: int, *, split: bool = False
) -> None:
    """Draw bars unless they are split and stand already, intervals, names on the left and values on the right."""
    values = np.asarray(shown.values[:, column], dtype=np.float64)[order]
    low, high = (end[:, column][order] for end in shown.ci())
    places = np.arange(len(order))
    if not split:
        plain_bars(axes, values)
    bounded = np.isfinite(low) & np.isfinite(high)
    axes.hlines(places[bounded], low[bounded], high[bounded], color=style.INK, linewidth=1.1)
    if split:
        axes.plot(values, places, "o", color=style.INK, markersize=3.2, linestyle="none")
    ends = np.concatenate([[0.0, axes.dataLim.x0, axes.dataLim.x1], low, high, values])
    ends = ends[np.isfinite(ends)]
    base.name_rows(axes, labels_of([shown.names[i] for i in order]))
    axes.set_xlim(*(base.padded(float(ends.min()), float(ends.max()), 0.03) if np.any(ends) else (0.0, 1.0)))
    axes.axvline(0, color=style.MUTED, linewidth=0.8, zorder=0.5)
    texts = numbers(values)
    room = 6 + 4.6 * max((len(text) for text in texts), default=0)
    for place, text in enumerate(texts):
        base.note(axes, text, (1.0, place), (room, 0), of=BESIDE_ROW, ha="right")
    base.note_hidden(axes, available - len(order))


def _size_words(explanation: Explanation) -> str:
    return "mean |attribution|, " if explanation.scope == "local" else ""


def _method(explanation: Explanation, modality: str) -> str:
    methods = explanation.meta.get("methods")
    return f" · {clean(methods[modality])}" if isinstance(methods, Mapping) and modality in methods else ""


def _unit(explanation: Explanation, modality: str) -> str:
    """Say what one modality's numbers are."""
    units, quantities = explanation.meta.get("units"), explanation.meta.get("quantities")
    if not isinstance(units, Mapping) or modality not in units:
        return quantity_of(explanation)
    quantity = quantities.get(modality) if isinstance(quantities, Mapping) else None
    return f"{clean(quantity)} ({clean(units[modality])})" if quantity else clean(units[modality])
