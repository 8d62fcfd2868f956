"""Explanations drawn over images: activation maps, or signed attributions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from permgrad.base.figures import PlotFigure
from permgrad.base.numerals import number
from permgrad.pages.drawn_inputs import displayable, drawn_input
from permgrad.pages.plots import _base as base
from permgrad.pages.plots._base import styled

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation


@styled
def image(
    explanation: Explanation,
    *,
    row: int = 0,
    input: str | None = None,  # noqa: A002 — the word for it everywhere else
    target: str | int | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> PlotFigure:
    """Draw an image, and its explanation over it.

    Activation maps (``maps["maps:<input>"]``, for a hybrid network ``maps["cam"]``) are
    drawn unchanged. Attributions of pixels or segments (``maps["segments:<input>"]``)
    are signed: blue pushes the output up, orange down. In a global explanation of a
    loss, blue parts are needed: the loss rises without them.

    A global explanation with segments is drawn over the mean image.

    Args:
        explanation: What is drawn.
        row: Position of the row, from 0, in a local explanation.
        input: The image input. None: the only one.
        target: Name or position of the output. None: the first (for rows of two
            classes: the positive one).
        title: Title of the figure. None: what is drawn.
        ax: Axes of matplotlib whose place the panels take. None: a new figure.

    Raises:
        InputError: If the explanation has nothing to draw over an image, or several
            image inputs and none is named.
    """
    drawn, title_text, unit_text = drawn_input(
        explanation, 2, (row, input, target), title
    )
    words = (explanation.scope.picture, explanation.scope.quantity)
    if not drawn.signed:
        words = ("the image" if drawn.name else "the row as an image", "activation map")
    return overlay(
        drawn.picture,
        drawn.heat,
        signed=drawn.signed,
        title=title_text,
        label=unit_text,
        words=words,
    )


@styled
def overlay(
    picture: npt.ArrayLike | None,
    values: npt.ArrayLike,
    *,
    signed: bool = True,
    title: str = "",
    label: str = "attribution",
    words: tuple[str, str] = ("the image", "attribution"),
) -> PlotFigure:
    """Draw an image of any form (None: only the map), and next to it the image in grey
    under a map.

    A map ``(height, width)`` coarser than the image is drawn over all of it, cell by
    cell, without smoothing. NaN: no player. ``signed``: the scale is symmetric around
    0. ``words`` are the captions of the image and of the map.
    """
    table = np.asarray(values, dtype=np.float64)
    if picture is None:
        image = None
    else:
        image = displayable(picture)
    height, width = table.shape if image is None else image.shape[:2]
    extent = (0, width, height, 0)
    if image is None:
        count = 1
    else:
        count = 2
    figure_size = (3.4 * count + 0.6, 3.5)
    figure, panel_grid, shades = base.over_input(
        table,
        figure_size,
        (title, label),
        grid=(1, count),
        signed=signed,
        vertical_bar=True,
    )
    panels = panel_grid[0]
    for panel_axes in panels:
        base.bare(panel_axes)
    if image is not None:
        panels[0].imshow(image, cmap="gray", vmin=0, vmax=1, extent=extent)
        panels[0].set_xlabel(words[0])
    shades.over(
        panels[-1],
        image.mean(axis=2) if image is not None and image.ndim == 3 else image,
        table,
        extent,
    )
    panels[-1].set_xlabel(words[1] + ("" if image is None else " over it"))
    where = "zero everywhere."
    sizes = np.abs(np.nan_to_num(table))
    if sizes.any():
        row_index, column = np.unravel_index(int(np.argmax(sizes)), table.shape)
        where = (
            f"strongest {number(float(table[row_index, column]))} in row "
            f"{row_index}, column {column}."
        )
    if signed:
        map_kind = "Signed map"
    else:
        map_kind = "Activation map"
    over_words = " over the image" * (count > 1)
    figure.description = (
        f"{map_kind} of {table.shape[0]} by {table.shape[1]} cells{over_words}, {where}"
    )
    return figure
