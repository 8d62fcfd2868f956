"""Importance along columns that have an order, as of a curve or a picture, and a row's
own curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from permgrad.base import style
from permgrad.base.arrays import Array, Integers
from permgrad.base.errors import InputError
from permgrad.base.figures import PlotFigure
from permgrad.base.sequences import values_at
from permgrad.pages import choices
from permgrad.pages.charts.chart import thinned
from permgrad.pages.drawn_inputs import in_order
from permgrad.pages.plots import _base as base
from permgrad.pages.plots._base import styled
from permgrad.pages.plots.image import image
from permgrad.pages.plots.series import series
from permgrad.pages.words import clean, labels_of, quantity_of, towards, valued

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

#: Names along the axis, and panels of channels, at most, and the height in inches of
#: each more of these.
_NAMES = 14
_PANELS = 8
_MORE = 1.3


@styled
def along_order(
    explanation: Explanation,
    *,
    row: int = 0,
    target: str | int | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> PlotFigure:
    """Draw the values of columns in the order that the model reads them in, which
    ``meta["order"]`` holds.

    Columns in a row: the importance with its confidence interval as a band, or for a
    local explanation the row's own curve on the colours of its attributions (blue
    raises the output, orange lowers it). Columns of a group share their value. Columns
    on a grid are drawn as a picture. Several curves have a panel each (up to eight,
    those of the largest values), and of a picture's channels the sum is drawn.

    Needs an explanation of a hybrid network that found an order, or has layout
    ``"path"``, ``"given"`` or a grid.

    Args:
        row: the row's position, of a local explanation.
        target: its name or position (None: the first, of two classes the positive one).
        title: the title (None: a default, empty: none).
        ax: axes of matplotlib to draw into.

    Raises:
        InputError: If the columns have no order, or there is no such row.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> X = np.cumsum(np.random.default_rng(0).normal(size=(60, 12)), axis=1)
        >>> model = pg.HyNNRegressor(
        ...     layout="path", preset="fast", max_epochs=1, random_state=0
        ... ).fit(X, X[:, 3])
        >>> pg.explain(model, X, X[:, 3]).plot.along_order().description[:28]
        'Importance along 12 columns.'
    """
    if not explanation.meta.get("order"):
        problem_hint = (
            "Train with image='auto' on columns that form a curve or a picture, or "
            "with layout='path', 'lattice', 'given' or (height, width)."
        )
        raise InputError(
            "along_order needs a network whose columns have an order",
            hint=problem_hint,
            code="PG004",
        )
    name_grid, (as_input, owners) = (
        np.atleast_3d(np.array(explanation.meta["order"], dtype=object)),
        in_order(explanation),
    )
    if len(name_grid) > 1:
        return image(as_input, row=row, input="columns", target=target, title=title)
    names = name_grid[0].T
    if explanation.scope.by_row:
        figure = series(as_input, row=row, input="columns", target=target, title=title)
        _name_places(figure.axes[min(len(names), _PANELS) - 1], names[0].tolist())
        return figure
    return _importance_along(explanation, owners, names, target, title)


def _importance_along(
    explanation: Explanation,
    owners: Integers,
    names: npt.NDArray[Any],
    target: str | int | None,
    title: str | None,
) -> PlotFigure:
    """Draw the importance along columns in a row, one panel per curve."""
    column = choices.pick_output(explanation, target)
    padded = np.append(explanation.values[:, column], np.nan)
    shown = np.sort(
        choices.largest(np.nan_to_num(np.abs(padded[owners])).max(axis=1), _PANELS)
    )
    title = base.checked_text(
        "title", title, f"{explanation.method}: along the columns"
    )
    figure = base.new_figure(style.WIDTH, 2.7 + _MORE * (len(shown) - 1), title)
    alike: dict[str, Any] = {"sharex": True, "sharey": True, "squeeze": False}
    if len(shown) > 1:
        panels = figure.subplots(len(shown), 1, **alike)[:, 0]
    else:
        panels = [figure.add_subplot()]
    for axes, channel in zip(panels, shown, strict=True):
        _draw_curve(axes, explanation, owners[channel], column)
        if len(names) > 1:
            axes.set_title(
                f"{clean(names[channel][0])} … {clean(names[channel][-1])}",
                loc="left",
                fontsize="small",
            )
    unit = "\n".join(
        filter(None, [quantity_of(explanation), towards(explanation, column)])
    )
    panels[len(shown) // 2].set_ylabel(base.upright(unit))
    _name_places(panels[-1], names[shown[-1]].tolist())
    drawn = np.unique(owners[owners >= 0])
    largest = drawn[choices.largest(explanation.values[drawn, column], 3)]
    strongest = valued(
        values_at(explanation.names, largest),
        explanation.values[largest, column],
    )
    figure.description = f"Importance along {names.size} columns. Largest: {strongest}."
    return figure


def _draw_curve(
    axes: Any, explanation: Explanation, owners: Array, column: int
) -> None:
    """Draw the values of one curve with their intervals, a step for each column."""
    edges = np.arange(len(owners) + 1) - 0.5
    owners = np.append(owners, owners[-1])
    values, lower_ends, upper_ends = (
        np.append(estimates[:, column], np.nan)[owners]
        for estimates in (explanation.values, *explanation.ci())
    )
    axes.fill_between(
        edges,
        lower_ends,
        upper_ends,
        step="post",
        color=style.TABULAR,
        alpha=0.25,
        linewidth=0,
    )
    axes.step(edges, values, where="post", color=style.TABULAR)
    axes.axhline(0, color=style.MUTED, linewidth=0.8)
    axes.set_xlim(edges[0], edges[-1])
    axes.grid(axis="y")
    base.plain_axis(axes, "y")


def _name_places(axes: Any, names: Sequence[str]) -> None:
    """Write the names of some columns, evenly spread, along the axis."""
    name_indices = thinned(len(names), _NAMES)
    axes.set_xticks(
        name_indices,
        labels_of(values_at(names, name_indices), 12),
        rotation=40,
        ha="right",
        rotation_mode="anchor",
    )
    axes.set_xlabel("columns in the order that the network reads them in")
