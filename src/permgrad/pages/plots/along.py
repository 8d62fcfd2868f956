"""Importance along columns that have an order, as of a curve or a picture, and a row's own curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.base import style
from permgrad.base.arrays import Array
from permgrad.base.errors import InputError
from permgrad.base.figures import PlotFigure
from permgrad.pages import choices
from permgrad.pages.plots import _base as base
from permgrad.pages.plots._base import Output, styled
from permgrad.pages.plots.image import image
from permgrad.pages.plots.series import series
from permgrad.pages.words import labels_of, quantity_of, towards, valued

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

#: Names along the axis, at most.
_NAMES = 14


@styled
def along_order(
    explanation: Explanation, *, row: int = 0, output: Output = None, title: str | None = None
) -> PlotFigure:
    """Draw the values of columns in the order that the model reads them in, which ``meta["order"]`` holds."""
    if not explanation.meta.get("order"):
        hint = (
            "Train with image='auto' on columns that form a curve or a picture, or with layout='path', 'lattice', "
            "'given' or (height, width)."
        )
        raise InputError("along_order needs a network whose columns have an order", hint=hint, code="PG004")
    grid = np.array(explanation.meta["order"], dtype=object)
    groups, place_of = explanation.groups or {}, dict[str, int]()
    for place, name in enumerate(explanation.names):
        place_of |= dict.fromkeys((name, *groups.get(name, ())), place)
    owners = np.array([[place_of.get(name, -1) for name in line] for line in grid])
    if len(grid) > 1:
        return image(_as_input(explanation, grid, owners), row=row, input="columns", output=output, title=title)
    names, owners = grid[0].tolist(), owners[0]
    if explanation.scope == "local":
        as_input = _as_input(explanation, grid[0], owners)
        figure = series(as_input, row=row, input="columns", output=output, title=title)
        _name_places(figure.axes[0], names)
        return figure
    column = choices.pick_output(explanation, output)
    edges, owners = np.arange(len(names) + 1) - 0.5, np.append(owners, owners[-1])  # a step for each column
    values, low, high = (np.append(one[:, column], np.nan)[owners] for one in (explanation.values, *explanation.ci()))
    figure, axes = base.one_panel(style.WIDTH, 2.7, title, f"{explanation.method}: along the columns")
    axes.fill_between(edges, low, high, step="post", color=style.TABULAR, alpha=0.25, linewidth=0)
    axes.step(edges, values, where="post", color=style.TABULAR)
    axes.axhline(0, color=style.MUTED, linewidth=0.8)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylabel("\n".join(filter(None, [quantity_of(explanation), towards(explanation, column)])), wrap=True)
    axes.grid(axis="y")
    base.plain_axis(axes, "y")
    _name_places(axes, names)
    drawn = np.unique(owners[owners >= 0])
    largest = drawn[choices.largest(explanation.values[drawn, column], 3)]
    strongest = valued([explanation.names[place] for place in largest], explanation.values[largest, column])
    figure.description = f"Importance along {len(names)} columns. Largest: {strongest}."
    return figure


def _as_input(explanation: Explanation, names: Array, owners: Array) -> Explanation:
    """Return an explanation of columns as one of an input with places, which other plots draw."""
    maps: dict[str, Any] = {"segments:columns": owners}
    values = explanation.feature_values
    if values is not None and explanation.scope == "local":
        curves = values.select_dtypes("number").reindex(columns=names.ravel())
        maps["images:columns"] = curves.to_numpy(np.float64, na_value=np.nan).reshape(-1, *names.shape)
    return replace(explanation, maps=maps)


def _name_places(axes: Any, names: Sequence[str]) -> None:
    """Write the names of some columns, evenly spread, along the axis."""
    some = base.thinned(len(names), _NAMES)
    axes.set_xticks(
        some, labels_of([names[place] for place in some], 12), rotation=40, ha="right", rotation_mode="anchor"
    )
    axes.set_xlabel("columns in the order that the network reads them in")
