"""Importances: ranked bars, in a panel for each modality or signed, and a heat map of
features by classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Patch

from permgrad.base import style
from permgrad.base.arrays import Floats
from permgrad.base.figures import PlotFigure
from permgrad.base.sequences import values_at
from permgrad.pages import choices
from permgrad.pages.charts import explained as charts
from permgrad.pages.charts.chart import padded
from permgrad.pages.plots import _base as base
from permgrad.pages.plots._base import styled
from permgrad.pages.standing import Standing
from permgrad.pages.words import clean, labels_of, quantity_of, valued

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation


@styled
def bar(
    explanation: Explanation,
    *,
    top_n: int | None = 15,
    target: str | int | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> PlotFigure:
    """Draw the features by falling importance.

    If the explanation has a part per path (as ``parts["tabular"]``,
    ``parts["image"]``), a bar is split into them: parts above 0 to the right, parts
    below 0 to the left, and the dot is their sum. The whisker is the confidence
    interval of the sum. Bars are grey unless the feature clearly matters, if that was
    tested. A local explanation is shown as its mean absolute attribution. On the right
    are the values, and the ranks that are certain (``Explanation.ranking``), such as
    2–4, or “undecided”.

    Args:
        explanation: What is drawn.
        top_n: How many features to draw, the largest first. None: all.
        target: Name or position of the output. None: the first (for rows of two
            classes: the positive one).
        title: Title of the figure. None: what is drawn.
        ax: Axes of matplotlib to draw into. None: a new figure.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> values, names = np.array([[2.0], [1.0]]), ("a", "b")
        >>> explanation = pg.Explanation(
        ...     values, names, ("table",) * 2, ("all",), "permutation", "global"
        ... )
        >>> len(explanation.plot.bar().axes)
        1
    """
    choices.check_one_unit(explanation, "bar")
    column = choices.pick_output(explanation, target)
    output_name = explanation.outputs[column]
    chart = charts.ranking(
        Standing(choices.as_global(explanation), column), top_n=top_n
    )
    paths = chart.data["parts"]
    if len(explanation.outputs) == 1:
        about = ""
    elif output_name == "all":
        about = ", all rows"
    else:
        about = f", {clean(output_name)}"
    height = (
        0.95 + style.ROW * max(len(chart.data["names"]), 1) + (0.25 if paths else 0)
    )
    default = f"{explanation.method}: what the model relies on{about}"
    figure, panel_axes = base.one_panel(style.WIDTH, height, title, default)
    _ranked_rows(panel_axes, chart.data)
    base.note_hidden(panel_axes, chart.data["hidden"], chart.data["rest"])
    panel_axes.set_xlabel(explanation.scope.size + chart.data["label"])
    if paths:
        legend_place: dict[str, Any] = {
            "loc": "lower left",
            "bbox_to_anchor": (0, 1.0),
            "ncols": len(paths),
        }
        handles = []
        for path_bars in paths:
            handles.append(
                Patch(
                    color=style.TOKENS[path_bars["colour"]][0], label=path_bars["name"]
                )
            )
        panel_axes.legend(
            handles=handles,
            handlelength=0.9,
            handleheight=0.9,
            borderpad=0.1,
            borderaxespad=0.1,
            **legend_place,
        )
    figure.description = chart.words
    return figure


@styled
def features(
    explanation: Explanation,
    *,
    top_n: int | None = 8,
    target: str | int | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> PlotFigure:
    """Draw each modality's features by falling importance, in a separate panel.

    Panels do not share an axis. Modalities explained by different methods have
    different units, and a modality of many small players would be invisible next to one
    of few large players. A local explanation is shown as its mean absolute attribution.

    Args:
        explanation: What is drawn.
        top_n: How many features of each modality to draw, the largest first. None: all.
        target: Name or position of the output. None: the first (for rows of two
            classes: the positive one).
        title: Title of the figure. None: what is drawn.
        ax: Axes of matplotlib to draw into. None: a new figure.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> values = np.array([[2.0], [1.0], [0.1]])
        >>> modality = ("table", "table", "image")
        >>> explanation = pg.Explanation(
        ...     values, ("a", "b", "[0,0]"), modality, ("all",), "shapley", "global"
        ... )
        >>> len(explanation.plot.features().axes)
        2
    """
    shown = choices.as_global(explanation)
    column = choices.pick_output(explanation, target)
    values = np.asarray(shown.values[:, column], dtype=np.float64)
    modality = np.asarray(explanation.modality, dtype=object)
    members = {}
    for modality_name in dict.fromkeys(explanation.modality):
        members[modality_name] = np.flatnonzero(modality == modality_name)
    shown_indices = {}
    for modality_name, feature_indices in members.items():
        shown_indices[modality_name] = feature_indices[
            choices.largest(values[feature_indices], top_n)
        ]
    row_counts = [max(len(order), 1) for order in shown_indices.values()]
    default = f"{explanation.method}: what the model relies on, input by input"
    figure = base.new_figure(
        style.WIDTH,
        0.95 * len(row_counts) + style.ROW * sum(row_counts),
        title,
        default,
    )
    panels = figure.subplots(
        len(row_counts), 1, squeeze=False, gridspec_kw={"height_ratios": row_counts}
    )[:, 0]
    methods = explanation.meta.get("methods")
    size_words = explanation.scope.size
    standing = Standing(shown, column)
    for panel_axes, (shown_modality, order) in zip(
        panels, shown_indices.items(), strict=True
    ):
        _ranked_rows(panel_axes, charts.ranked(standing, order, {}))
        base.note_hidden(panel_axes, len(members[shown_modality]) - len(order))
        if isinstance(methods, Mapping) and shown_modality in methods:
            method = f" · {clean(methods[shown_modality])}"
        else:
            method = ""
        panel_axes.set_title(
            clean(shown_modality) + method, fontsize=style.SIZE_LABEL, fontweight="bold"
        )
        panel_axes.set_xlabel(size_words + _unit(explanation, shown_modality))
    leading = "; ".join(
        f"{clean(modality_name)}: "
        f"{valued(values_at(explanation.names, order[:3]), values[order[:3]])}"
        for modality_name, order in shown_indices.items()
    )
    figure.description = (
        f"Bars of the leading {explanation.level}s of each input, "
        f"each on its own axis. {leading}."
    )
    return figure


@styled
def signed_bars(
    names: Sequence[str], values: Floats, *, label: str = "attribution"
) -> PlotFigure:
    """Draw signed values by falling size, such as attributions divided by their L1
    norm.
    """
    chart = charts.signed_bars(names, values, label=label)
    ordered = chart.data["names"]
    figure, panel_axes = base.one_panel(
        style.WIDTH, 0.95 + style.ROW * max(len(ordered), 1)
    )
    base.signed_bars(panel_axes, chart.data["values"])
    base.name_rows(panel_axes, labels_of(ordered, 30))
    panel_axes.axvline(0, color=style.INK, linewidth=0.8)
    panel_axes.set_xlabel(label)
    figure.description = chart.words
    return figure


@styled
def classes(
    explanation: Explanation,
    *,
    top_n: int | None = 15,
    title: str | None = None,
    ax: Axes | None = None,
) -> PlotFigure:
    """Draw features (rows) by classes (columns).

    Colour and number are the importance for the rows of that class.

    Features are ordered by their largest absolute importance over the columns. If the
    explanation has a column for all rows, that column gives the order and is drawn
    apart on the left. A local explanation is shown as its mean absolute attribution per
    output.

    Args:
        explanation: What is drawn.
        top_n: How many features to draw, the largest first. None: all.
        title: Title of the figure. None: what is drawn.
        ax: Axes of matplotlib to draw into. None: a new figure.
    """
    choices.check_one_unit(explanation, "classes")
    chart = charts.classes(choices.as_global(explanation), top_n=top_n)
    table = chart.data["values"]
    bound = chart.data["most"]
    row_names = chart.data["rows"]
    names = labels_of(chart.data["columns"], 14)
    cell_width = float(np.clip(4.8 / len(names), 0.2, 0.95))
    figure_size = (
        min(max(3.4 + cell_width * len(names), 5.0), 16.0),
        1.5 + style.ROW * 1.05 * len(row_names),
    )
    figure, panel_axes = base.one_panel(
        *figure_size, title, f"{explanation.method}: importance for each class"
    )
    shades = base.heat_table(
        panel_axes,
        table,
        chart.data["texts"] if cell_width >= 0.5 else None,
        (labels_of(row_names), names),
        most=bound,
        signed=bool(np.nanmin(table, initial=0.0) < -0.1 * bound),
        size=style.SIZE_SMALL - 0.5,
        aspect="auto",
    )
    if (
        len(names) > 1 and explanation.outputs[0] == "all"
    ):  # drawn apart from the columns of the classes
        panel_axes.axvline(0.5, color=style.PAPER, linewidth=14 * cell_width)
    panel_axes.xaxis.tick_top()
    panel_axes.tick_params(labelsize=style.SIZE_LABEL, pad=6)
    panel_axes.tick_params(
        axis="x", labelrotation=90 if cell_width * 15 < max(map(len, names)) + 1 else 0
    )
    base.note_hidden(panel_axes, chart.data["hidden"])
    label = quantity_of(explanation)
    base.colour_bar(
        panel_axes, shades.norm, shades.cmap, label, fraction=0.025, pad=0.02, aspect=32
    )
    figure.description = chart.words
    return figure


# ---- pieces --------------------------------------------------------------------------
def _ranked_rows(axes: Any, data: Mapping[str, Any]) -> None:
    """Draw the bars of ``charts.ranked``, in parts by path if there are any, with
    intervals, values and ranks.
    """
    values = data["values"]
    lower_ends = data["low"]
    upper_ends = data["high"]
    path_bars = data["parts"]
    row_positions = np.arange(len(values))
    _stack_parts(axes, path_bars, data["quiet"])
    if not path_bars:
        base.signed_bars(axes, values, quiet=data["quiet"])
    base.intervals(axes, lower_ends, upper_ends)
    if path_bars:
        axes.plot(
            values,
            row_positions,
            "o",
            color=style.INK,
            markersize=3.2,
            linestyle="none",
        )
    bar_ends = np.concatenate(
        [[0.0, axes.dataLim.x0, axes.dataLim.x1], lower_ends, upper_ends, values]
    )
    base.name_rows(axes, labels_of(data["names"]))
    axes.set_xlim(
        *(
            padded(bar_ends, 0.03)
            if np.any(bar_ends[np.isfinite(bar_ends)])
            else (0.0, 1.0)
        )
    )
    axes.axvline(0, color=style.MUTED, linewidth=0.8, zorder=0.5)
    text_room = 6 + 4.6 * max(map(len, data["texts"]), default=0)
    base.beside_rows(axes, data["texts"], text_room, ha="right")
    if data.get("side"):
        heading, *texts = data["side"]
        text_room += 12 + 4.6 * max(4, *map(len, texts))
        base.beside_rows(axes, texts, text_room, ha="right", color=style.MUTED)
        base.note(
            axes,
            heading,
            (1.0, -0.75),
            (text_room, 0),
            of=base.BESIDE_ROW,
            ha="right",
            color=style.MUTED,
        )


def _stack_parts(
    axes: Any, bar_parts: Sequence[Mapping[str, Any]], quiet: Sequence[bool]
) -> None:
    """Draw the parts of bars, each from where those before it end on its side."""
    if not bar_parts:
        return
    count = len(bar_parts[0]["values"])
    row_positions = np.arange(count)
    reach = np.zeros((2, count))
    for position, bar_part in enumerate(bar_parts):
        amount = bar_part["values"]
        start = np.where(amount >= 0, reach[1], reach[0])
        colour = style.TOKENS[bar_part["colour"]][0]
        faded = to_rgba(style.NEUTRAL, 0.6**position)
        colours = [faded if grey else colour for grey in quiet]
        axes.barh(
            row_positions, amount, left=start, height=0.62, color=colours, linewidth=0
        )
        reach += np.stack([np.minimum(amount, 0), np.maximum(amount, 0)])


def _unit(explanation: Explanation, modality: str) -> str:
    """Return what the numbers of a modality are."""
    units = explanation.meta.get("units")
    quantities = explanation.meta.get("quantities")
    if not isinstance(units, Mapping) or modality not in units:
        return quantity_of(explanation)
    if isinstance(quantities, Mapping):
        quantity = quantities.get(modality)
    else:
        quantity = None
    if quantity:
        return f"{clean(quantity)} ({clean(units[modality])})"
    return clean(units[modality])
