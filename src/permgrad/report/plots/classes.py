"""A heat map of importance, class by feature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PatchCollection
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from permgrad.report import style
from permgrad.report.plots import _base as base
from permgrad.report.plots._base import Floats, PlotFigure, styled
from permgrad.report.words import clean, labels_of, numbers, quantity_of

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
    base.check_one_unit(explanation, "classes")
    shown = base.as_global(explanation)
    values = np.asarray(shown.values, dtype=np.float64)
    has_all = shown.outputs[0] == "all" and len(shown.outputs) > 1
    order = base.largest(values[:, 0] if has_all else np.nan_to_num(np.abs(values)).max(axis=1), top_n)
    names = labels_of(shown.outputs, 14)
    names[0] = "all rows" if has_all else names[0]
    cell = float(np.clip(4.8 / len(names), 0.2, 0.95))
    title = base.heading(f"{explanation.method}: what drives each class", title)
    figure, axes = base.one_panel(
        min(max(3.4 + cell * len(names), 5.0), 16.0), 1.5 + style.ROW * 1.05 * len(order), title
    )
    # The column of all rows stands apart from those of the classes.
    positions = np.arange(len(names)) + (0.15 if has_all else 0.0) * (np.arange(len(names)) > 0)
    shades = _cells(axes, values[order], positions, numbered=cell >= 0.5)
    axes.set_xlim(-0.55, positions[-1] + 0.55)
    axes.set_ylim(len(order) - 0.45, -0.55)
    axes.set_xticks(positions, names, rotation=90 if cell * 15 < max(map(len, names)) + 1 else 0)
    axes.set_yticks(np.arange(len(order)), labels_of([shown.names[i] for i in order]))
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelcolor=style.INK, labelsize=style.SIZE_LABEL)
    axes.spines[:].set_visible(False)
    base.colour_bar(axes, shades.norm, shades.cmap, quantity_of(explanation), fraction=0.025, pad=0.02, aspect=32)
    leading = " ".join(
        f"For {name} the leading one is {clean(shown.names[int(np.nanargmax(column))])}."
        for name, column in list(zip(names, values.T, strict=True))[:12]
        if np.any(np.isfinite(column))
    )
    figure.description = (
        f"Heat map of {len(order)} of {len(values)} {explanation.level}s (rows) by {len(names)} outputs (columns). "
        f"{leading}"
    )
    return figure


def _cells(axes: Any, table: Floats, positions: Floats, *, numbered: bool) -> Any:
    """Draw the cells, whose columns do not stand at whole numbers, and return what gave them their colours."""
    bound = float(np.nanmax(np.abs(table), initial=0.0)) or 1.0
    signed = bool(np.nanmin(table, initial=0.0) < -0.1 * bound)
    scale, colours = Normalize(-bound if signed else 0.0, bound), style.diverging() if signed else style.sequential()
    shades: Any = ScalarMappable(scale, colours)
    cells = list(np.ndindex(*table.shape))
    squares = [Rectangle((float(positions[column]) - 0.48, row - 0.46), 0.96, 0.92) for row, column in cells]
    faces = [shades.to_rgba(value) if np.isfinite(value) else (0.5, 0.5, 0.5, 0.12) for value in table.ravel()]
    axes.add_collection(PatchCollection(squares, facecolors=faces, edgecolors="none"))
    for (row, column), text in zip(cells, numbers(table.ravel(), 2), strict=True) if numbered else ():
        at, shade = (float(positions[column]), row), abs(float(table[row, column])) / bound
        base.cell_text(axes, at, text, shade, style.SIZE_SMALL - 0.5)
    return shades
