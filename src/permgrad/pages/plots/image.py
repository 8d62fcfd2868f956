"""Explanations drawn over images: activation maps, or signed attributions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from permgrad.base import style
from permgrad.base.arrays import Floats
from permgrad.base.figures import PlotFigure
from permgrad.base.numerals import number
from permgrad.pages.inputs import displayable, drawn_input
from permgrad.pages.plots import _base as base
from permgrad.pages.plots._base import styled

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

#: Contrast of the image below the colours of signed maps.
_CONTRAST = 0.75


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

    Activation maps (``maps["maps:<input>"]``, for a hybrid network ``maps["cam"]``) are drawn unchanged.
    Attributions of pixels or segments (``maps["segments:<input>"]``) are signed: blue pushes the output up, orange
    down. In a global explanation of a loss, blue parts are needed: the loss rises without them.

    For a local explanation, ``row`` is the position of the row. A global one with segments is drawn over the mean
    image. ``input`` is the image input (None: the only one).

    Raises:
        InputError: If the explanation has nothing to draw over an image, or several image inputs and none is named.
    """
    drawn, text, unit = drawn_input(explanation, 2, (row, input, target), title)
    if not drawn.signed:
        shown = "the image" if drawn.name else "the row as an image"
        return activation(drawn.picture, drawn.heat, title=text, shown=shown)
    words = ("the image", "attribution") if explanation.scope == "local" else ("the mean image", "importance")
    return overlay(drawn.picture, drawn.heat, title=text, label=unit, words=words)


@styled
def activation(
    picture: npt.ArrayLike | None, heat: npt.ArrayLike, *, title: str = "", shown: str = "the row as an image"
) -> PlotFigure:
    """Draw an image of any form (None: only the map), and next to it the image under an activation map.

    A map ``(height, width)`` coarser than the image is drawn over all of it, cell by cell, without smoothing.
    """
    grid = np.nan_to_num(np.asarray(heat, dtype=np.float64))
    grey = None if picture is None else displayable(picture)
    grey = grey.mean(axis=2) if grey is not None and grey.ndim == 3 else grey
    extent = (0, 1, 0, 1) if grey is None else (0, grey.shape[1], grey.shape[0], 0)
    figure, plain, over = _panels(grey is not None, 0.5, title)
    for axes in (plain, over) if grey is not None else ():
        axes.imshow(grey, cmap="gray", extent=extent)
    plain.set_xlabel(shown)
    top = float(grid.max()) if grid.max() > 0 else 1.0
    low = min(float(grid.min()), 0.0)
    # Strong activation covers the image, weak activation lets it show through.
    strength = 0.25 + 0.65 * np.clip((grid - low) / max(top - low, 1e-300), 0, 1)
    scale, colours = Normalize(low, top), style.colour_map("heat")
    over.imshow(grid, cmap=colours, norm=scale, extent=extent, alpha=None if grey is None else strength)
    over.set_xlabel("activation map" + ("" if grey is None else " over it"))
    # The colour bar shows the opaque colours.
    base.colour_bar(over, scale, colours, "activation", fraction=0.04, pad=0.03)
    row, column = np.unravel_index(int(np.argmax(np.abs(grid))), grid.shape)
    where = f"largest {number(float(grid[row, column]))} in row {row}, column {column}." if grid.any() else "all zero."
    figure.description = f"Activation map of {grid.shape[0]} by {grid.shape[1]} cells, {where}"
    return figure


@styled
def overlay(
    picture: npt.ArrayLike | None,
    signed: npt.ArrayLike,
    *,
    title: str = "",
    label: str = "attribution",
    words: tuple[str, str] = ("the image", "attribution"),
) -> PlotFigure:
    """Draw an image of any form (None: only the map), and next to it the image in grey under a signed map.

    A map ``(height, width)`` coarser than the image is drawn over all of it, cell by cell, without smoothing. NaN: no
    player. The colour bar is symmetric around 0. ``words`` are the captions of the image and of the map.
    """
    values = np.asarray(signed, dtype=np.float64)
    image = None if picture is None else displayable(picture)
    height, width = values.shape if image is None else image.shape[:2]
    extent = (0, width, height, 0)
    figure, plain, over = _panels(image is not None, 0.6, title)
    top = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    if image is not None:
        plain.imshow(image, cmap="gray", vmin=0, vmax=1, extent=extent)
        plain.set_xlabel(words[0])
    grey = image.mean(axis=2) if image is not None and image.ndim == 3 else image
    lay_over(over, grey, values, top, extent)
    over.set_xlabel(words[1] + ("" if image is None else " over it"))
    base.colour_bar(over, Normalize(-top, top), style.colour_map("diverging"), label, fraction=0.045, pad=0.03)
    where, sizes = "zero everywhere.", np.abs(np.nan_to_num(values))
    if sizes.any():
        row, column = np.unravel_index(int(np.argmax(sizes)), values.shape)
        where = f"strongest {number(float(values[row, column]))} in row {row}, column {column}."
    figure.description = f"Signed map of {values.shape[0]} by {values.shape[1]} cells over the image, {where}"
    return figure


# ---- pieces ----------------------------------------------------------------------------------------------------------
def _panels(beside: bool, room: float, title: str) -> tuple[PlotFigure, Any, Any]:
    """Return a figure, the axes of the plain image and those of the map. Without an image they are the same."""
    count = 2 if beside else 1
    figure = base.new_figure(3.4 * count + room, 3.5, title)
    panels = figure.subplots(1, count, squeeze=False)[0]
    for axes in panels:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    return figure, panels[0], panels[-1]


def lay_over(axes: Any, grey: Floats | None, values: Floats, top: float, extent: tuple[float, ...]) -> None:
    """Draw a grey picture in 0 … 1, or none, and over it signed values from −``top`` to ``top``, without NaN."""
    strength = np.abs(np.nan_to_num(values)) / top
    colours = style.colour_map("diverging")(Normalize(-top, top)(np.nan_to_num(values)))
    if grey is not None:
        # A pale picture shows shapes, and leaves dark and bright to the colours.
        axes.imshow(1 - _CONTRAST + _CONTRAST * grey, cmap="gray", vmin=0, vmax=1, extent=extent)
        colours[..., 3] = np.where(strength > 0, 0.15 + 0.7 * strength, 0.0)
    colours[~np.isfinite(values), 3] = 0.0
    axes.imshow(colours, extent=extent)
