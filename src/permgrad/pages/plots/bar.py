"""Importances: ranked bars, in a panel for each modality or signed, and a heat map of features by classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Patch

from permgrad.attribution.explanation.orders import sizes_of
from permgrad.base import style
from permgrad.base.arrays import Floats
from permgrad.base.figures import PlotFigure
from permgrad.base.numerals import number, numbers
from permgrad.pages import choices
from permgrad.pages.charts.chart import padded
from permgrad.pages.plots import _base as base
from permgrad.pages.plots._base import styled
from permgrad.pages.summary import clear_names
from permgrad.pages.words import clean, labels_of, quantity_of, rank_texts, shown_ranks, valued

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.attribution.explanation.ranks import Ranks


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

    If the explanation has a part per path (``parts["tabular"]``, ``parts["image"]``), a bar is split into them:
    parts above 0 to the right, parts below 0 to the left, and the dot is their sum. The whisker is the confidence
    interval of the sum. Bars are grey unless the feature clearly matters, if that was tested. A local
    explanation is shown as its mean absolute attribution. On the right are the values, and the ranks that are
    certain (``Explanation.ranking``), such as 2–4, or “undecided”.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> values, names = np.array([[2.0], [1.0]]), ("a", "b")
        >>> explanation = pg.Explanation(values, names, ("table",) * 2, ("all",), "permutation", "global")
        >>> len(explanation.plot.bar().axes)
        1
    """
    choices.check_one_unit(explanation, "bar")
    shown = choices.as_global(explanation)
    local = explanation.scope == "local"
    column = choices.pick_output(explanation, target)
    values = np.asarray(shown.values[:, column], dtype=np.float64)
    order = choices.largest(sizes_of(shown, column), top_n)
    paths = choices.adding_parts(shown, column)
    name = explanation.outputs[column]
    about = "" if len(explanation.outputs) == 1 else ", all rows" if name == "all" else f", {clean(name)}"
    height = 0.95 + style.ROW * max(len(order), 1) + (0.25 if paths else 0)
    default = f"{explanation.method}: what the model relies on{about}"
    figure, axes = base.one_panel(style.WIDTH, height, title, default)
    _ranked_rows(axes, shown, column, order, paths, shown_ranks(shown, column))
    base.note_hidden(axes, len(values) - len(order))
    axes.set_xlabel(("mean |attribution|, " if local else "") + quantity_of(explanation, column))
    if paths:
        place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.0), "ncols": len(paths)}
        handles = [Patch(color=_path_colour(name, at), label=f"{clean(name)} path") for at, name in enumerate(paths)]
        axes.legend(handles=handles, handlelength=0.9, handleheight=0.9, borderpad=0.1, borderaxespad=0.1, **place)
    leading = valued([shown.names[i] for i in order[:5]], values[order[:5]])
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
    target: str | int | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> PlotFigure:
    """Draw each modality's features by falling importance, in a separate panel.

    Panels do not share an axis. Modalities explained by different methods have different units, and a modality of
    many small players would be invisible next to one of few large players. A local explanation is shown as its mean
    absolute attribution. ``top_n`` applies to each modality.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> values, modality = np.array([[2.0], [1.0], [0.1]]), ("table", "table", "image")
        >>> explanation = pg.Explanation(values, ("a", "b", "[0,0]"), modality, ("all",), "shapley", "global")
        >>> len(explanation.plot.features().axes)
        2
    """
    shown = choices.as_global(explanation)
    column = choices.pick_output(explanation, target)
    values = np.asarray(shown.values[:, column], dtype=np.float64)
    modality = np.asarray(explanation.modality, dtype=object)
    members = {name: np.flatnonzero(modality == name) for name in dict.fromkeys(explanation.modality)}
    chosen = {name: places[choices.largest(values[places], top_n)] for name, places in members.items()}
    rows = [max(len(order), 1) for order in chosen.values()]
    default = f"{explanation.method}: what the model relies on, input by input"
    figure = base.new_figure(style.WIDTH, 0.95 * len(rows) + style.ROW * sum(rows), title, default)
    panels = figure.subplots(len(rows), 1, squeeze=False, gridspec_kw={"height_ratios": rows})[:, 0]
    methods = explanation.meta.get("methods")
    size = "mean |attribution|, " if explanation.scope == "local" else ""
    for axes, (name, order) in zip(panels, chosen.items(), strict=True):
        _ranked_rows(axes, shown, column, order)
        base.note_hidden(axes, len(members[name]) - len(order))
        method = f" · {clean(methods[name])}" if isinstance(methods, Mapping) and name in methods else ""
        axes.set_title(clean(name) + method, fontsize=style.SIZE_LABEL, fontweight="bold")
        axes.set_xlabel(size + _unit(explanation, name))
    leading = "; ".join(
        f"{clean(name)}: {valued([explanation.names[i] for i in order[:3]], values[order[:3]])}"
        for name, order in chosen.items()
    )
    figure.description = f"Bars of the leading {explanation.level}s of each input, each on its own axis. {leading}."
    return figure


@styled
def signed_bars(
    names: Sequence[str], values: Floats, *, label: str = "attribution", write: Callable[[float], str] | None = None
) -> PlotFigure:
    """Draw signed values by falling size, such as attributions divided by their L1 norm.

    ``write``: writes numbers beside the bars and along the axis. None: no numbers beside the bars.
    """
    order = choices.largest(np.abs(values), 20)
    shown, ordered = np.asarray(values, dtype=np.float64)[order], [names[place] for place in order]
    figure, axes = base.one_panel(style.WIDTH, 0.95 + style.ROW * max(len(order), 1))
    base.signed_bars(axes, shown)
    base.name_rows(axes, labels_of(ordered, 30))
    axes.axvline(0, color=style.INK, linewidth=0.8)
    if write is not None:
        base.beside_rows(axes, [write(value) for value in shown.tolist()], 4)
        axes.xaxis.set_major_formatter(lambda value, _: write(value))
    axes.set_xlabel(label)
    leading = valued(ordered[:8], shown[:8], write or number)
    figure.description = f"Bars of {len(order)} of {len(values)}, largest first: {leading}."
    return figure


@styled
def classes(
    explanation: Explanation, *, top_n: int | None = 15, title: str | None = None, ax: Axes | None = None
) -> PlotFigure:
    """Draw features (rows) by classes (columns). Colour and number are the importance for the rows of that class.

    Features are ordered by their largest absolute importance over the columns. If the explanation has a column for
    all rows, that column gives the order and is drawn apart on the left. A local explanation is shown as its mean
    absolute attribution per output.
    """
    choices.check_one_unit(explanation, "classes")
    shown = choices.as_global(explanation)
    values = np.asarray(shown.values, dtype=np.float64)
    has_all = shown.outputs[0] == "all" and len(shown.outputs) > 1
    order = choices.largest(values[:, 0] if has_all else np.nan_to_num(np.abs(values)).max(axis=1), top_n)
    names = labels_of(shown.outputs, 14)
    names[0] = "all rows" if has_all else names[0]
    cell = float(np.clip(4.8 / len(names), 0.2, 0.95))
    size = (min(max(3.4 + cell * len(names), 5.0), 16.0), 1.5 + style.ROW * 1.05 * len(order))
    figure, axes = base.one_panel(*size, title, f"{explanation.method}: importance for each class")
    table = values[order]
    bound = float(np.nanmax(np.abs(table), initial=0.0)) or 1.0
    # Two digits, because features differ by powers of ten.
    texts = ["≈ 0" if 0 < abs(value) < bound / 1000 else number(value, 2) for value in table.ravel()]
    shades = base.heat_table(
        axes,
        table,
        np.reshape(texts, table.shape) if cell >= 0.5 else None,
        (labels_of([shown.names[i] for i in order]), names),
        most=bound,
        signed=bool(np.nanmin(table, initial=0.0) < -0.1 * bound),
        size=style.SIZE_SMALL - 0.5,
        aspect="auto",
    )
    if has_all:  # the column of all rows is drawn apart from those of the classes
        axes.axvline(0.5, color=style.PAPER, linewidth=14 * cell)
    axes.xaxis.tick_top()
    axes.tick_params(labelsize=style.SIZE_LABEL, pad=6)
    axes.tick_params(axis="x", labelrotation=90 if cell * 15 < max(map(len, names)) + 1 else 0)
    base.colour_bar(axes, shades.norm, shades.cmap, quantity_of(explanation), fraction=0.025, pad=0.02, aspect=32)
    leading = " ".join(
        f"For {name} the largest is {clean(shown.names[int(np.nanargmax(column))])}."
        for name, column in list(zip(names, values.T, strict=True))[:12]
        if np.any(np.isfinite(column))
    )
    figure.description = (
        f"Heat map of {len(order)} of {len(values)} {explanation.level}s (rows) by {len(names)} outputs (columns). "
        f"{leading}"
    )
    return figure


# ---- pieces ----------------------------------------------------------------------------------------------------------
def _ranked_rows(
    axes: Any,
    shown: Explanation,
    column: int,
    order: npt.NDArray[np.intp],
    paths: Mapping[str, Floats] | None = None,
    ranks: Ranks | None = None,
) -> None:
    """Draw bars, in parts by path if there are any, with intervals, names, values and ranks."""
    values = np.asarray(shown.values[:, column], dtype=np.float64)[order]
    low, high = (end[:, column][order] for end in shown.ci())
    places, reach = np.arange(len(order)), np.zeros((2, len(order)))
    clear = clear_names(shown, column)
    quiet = [clear is not None and shown.names[place] not in clear for place in order]
    for position, (name, part) in enumerate((paths or {}).items()):
        amount = np.nan_to_num(part[order])
        start = np.where(amount >= 0, reach[1], reach[0])
        faded = to_rgba(style.NEUTRAL, 1 - 0.4 * position)
        colours = [faded if grey else _path_colour(name, position) for grey in quiet]
        axes.barh(places, amount, left=start, height=0.62, color=colours, linewidth=0)
        reach += np.stack([np.minimum(amount, 0), np.maximum(amount, 0)])
    if not paths:
        base.signed_bars(axes, values, quiet=quiet)
    base.intervals(axes, low, high)
    if paths:
        axes.plot(values, places, "o", color=style.INK, markersize=3.2, linestyle="none")
    ends = np.concatenate([[0.0, axes.dataLim.x0, axes.dataLim.x1], low, high, values])
    base.name_rows(axes, labels_of([shown.names[i] for i in order]))
    axes.set_xlim(*(padded(ends, 0.03) if np.any(ends[np.isfinite(ends)]) else (0.0, 1.0)))
    axes.axvline(0, color=style.MUTED, linewidth=0.8, zorder=0.5)
    texts = numbers(values)
    room = 6 + 4.6 * max(map(len, texts), default=0)
    base.beside_rows(axes, texts, room, ha="right")
    if ranks is not None:
        texts = rank_texts(ranks)[: len(order)]
        room += 12 + 4.6 * max(4, *map(len, texts))
        base.beside_rows(axes, texts, room, ha="right", color=style.MUTED)
        base.note(axes, "rank", (1.0, -0.75), (room, 0), of=base.BESIDE_ROW, ha="right", color=style.MUTED)


def _path_colour(name: str, position: int) -> str:
    return style.PATH_COLOURS.get(name, style.SERIES[position % len(style.SERIES)])


def _unit(explanation: Explanation, modality: str) -> str:
    """Return what the numbers of a modality are."""
    units, quantities = explanation.meta.get("units"), explanation.meta.get("quantities")
    if not isinstance(units, Mapping) or modality not in units:
        return quantity_of(explanation)
    quantity = quantities.get(modality) if isinstance(quantities, Mapping) else None
    return f"{clean(quantity)} ({clean(units[modality])})" if quantity else clean(units[modality])
