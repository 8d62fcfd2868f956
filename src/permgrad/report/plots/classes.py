"""A heat map of importance, class by feature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

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
    numbers,
    plain_axis,
    quantity_of,
    styled,
)

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation


@styled
def classes(explanation: Explanation, *, top_n: int | None = 15, title: str | None = None) -> PlotFigure:
    """Draw features (rows) by classes (columns); colour and number are the importance for the rows of that class.

    Features are ordered by their largest absolute importance over the columns, unless the explanation has a column for
    all rows, which then gives the order and stands apart on the left.

    Args:
        explanation: What to draw; a local one is shown as its mean absolute attribution per output.
        top_n: How many features; None: all.
        title: Title; None: a default; empty: none.
    """
    need_one_unit(explanation, "classes")
    shown = explanation.to_global("mean_abs") if explanation.scope == "local" else explanation
    values = np.asarray(shown.values, dtype=np.float64)
    has_all = shown.outputs[0] == "all" and len(shown.outputs) > 1
    scores = values[:, 0] if has_all else np.nan_to_num(np.abs(values), nan=0.0).max(axis=1)
    order = largest(scores, top_n)
    table = values[order]
    names = [("all rows" if has_all and k == 0 else name) for k, name in enumerate(labels_of(shown.outputs, 14))]
    cell = float(np.clip(4.8 / len(names), 0.2, 0.95))
    width = max(3.4 + cell * len(names), 5.0)
    figure = new_figure(min(width, 16.0), 1.5 + style.ROW * 1.05 * len(order))
    axes = figure.add_subplot()
    bound = float(np.nanmax(np.abs(table), initial=0.0)) or 1.0
    positions = np.arange(len(names)) + (0.15 if has_all else 0.0) * (np.arange(len(names)) > 0)
    mesh = _cells(axes, table, positions, bound)
    if cell >= 0.5:
        _numbers(axes, table, positions, bound)
    _frame(
        axes, names, positions, labels_of([shown.names[i] for i in order]), upright=cell * 15 < max(map(len, names)) + 1
    )
    bar = figure.colorbar(mesh, ax=axes, fraction=0.025, pad=0.02, aspect=32)
    bar.outline.set_visible(False)
    bar.set_label(quantity_of(explanation))
    plain_axis(bar.ax, "y")
    finish_title(axes, f"{explanation.method}: what drives each class", title)
    figure.description = (
        f"Heat map of {len(order)} of {len(values)} {explanation.level}s (rows) by {len(names)} outputs (columns). "
        + " ".join(
            f"For {name} the leading one is {clean(shown.names[int(np.nanargmax(column))])}."
            for name, column in list(zip(names, values.T, strict=True))[:12]
            if np.any(np.isfinite(column))
        )
    )
    return figure


def _cells(axes: Any, table: Floats, positions: Floats, bound: float) -> Any:
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import PatchCollection
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle

    signed = bool(np.nanmin(table, initial=0.0) < -0.1 * bound)
    mapping = ScalarMappable(
        Normalize(-bound if signed else 0.0, bound), style.diverging() if signed else style.sequential()
    )
    squares, colours = [], []
    for row, column in np.ndindex(*table.shape):
        squares.append(Rectangle((float(positions[column]) - 0.48, row - 0.46), 0.96, 0.92))
        value = table[row, column]
        colours.append(mapping.to_rgba(value) if np.isfinite(value) else (0.5, 0.5, 0.5, 0.12))
    axes.add_collection(PatchCollection(squares, facecolors=colours, edgecolors="none"))
    return mapping


def _numbers(axes: Any, table: Floats, positions: Floats, bound: float) -> None:
    texts = np.array(numbers(table.ravel(), 2), dtype=object).reshape(table.shape)
    for row, column in np.ndindex(*table.shape):
        value = float(table[row, column])
        if not np.isfinite(value):
            colour = style.MUTED
        else:
            colour = style.FIXED_LIGHT if abs(value) > 0.55 * bound else style.FIXED_DARK
        axes.text(
            positions[column],
            row,
            texts[row, column],
            ha="center",
            va="center",
            color=colour,
            fontsize=style.SIZE_SMALL - 0.5,
            in_layout=False,  # it lies inside the axes; measuring hundreds of texts takes seconds
        )


def _frame(axes: Any, columns: list[str], positions: Floats, rows: list[str], *, upright: bool) -> None:
    axes.set_xlim(-0.55, positions[-1] + 0.55)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xticks(positions, columns, rotation=90 if upright else 0)
    axes.set_yticks(np.arange(len(rows)), rows)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelcolor=style.INK, labelsize=style.SIZE_LABEL)
    for side in axes.spines.values():
        side.set_visible(False)
