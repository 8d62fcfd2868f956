"""A signed attribution over the image it belongs to, with a colour bar that is symmetric around 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.base.errors import InputError
from permgrad.report import style
from permgrad.report.plots._base import (
    Floats,
    PlotFigure,
    finish_title,
    new_figure,
    number,
    plain_axis,
    styled,
)

#: How much of the picture's contrast shows beneath the colours.
_CONTRAST = 0.75


@styled
def overlay(
    picture: npt.ArrayLike | None, signed: npt.ArrayLike, *, title: str = "", label: str = "attribution"
) -> PlotFigure:
    """Draw an image, and beside it the same image in grey under the colours of a signed map.

    Args:
        picture: ``(height, width)``, ``(channels, height, width)`` or ``(height, width, channels)``, in any range;
            three channels are shown in colour, other numbers as their mean; None: only the map.
        signed: ``(height, width)``; a coarser map is drawn over the whole image, cell by cell, without smoothing. NaN:
            a place that belongs to nobody.
        title: Title, empty for none.
        label: What the colours measure.

    Raises:
        InputError: Shapes that are no image or no map.

    Examples:
        >>> figure = overlay(np.zeros((4, 4)), [[1.0, -2.0], [0.0, 0.5]])
        >>> [float(end) for end in figure.axes[-1].get_ylim()]
        [-2.0, 2.0]
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    values = np.asarray(signed, dtype=np.float64)
    if values.ndim != 2 or values.size == 0:
        raise InputError(f"a signed map must have shape (height, width), however: its shape is {values.shape}")
    shown = None if picture is None else displayable(picture)
    panels = 1 if shown is None else 2
    figure = new_figure(3.4 * panels + 0.6, 3.5 + (0.3 if title else 0))
    all_axes = figure.subplots(1, panels, squeeze=False)[0]
    height, width = values.shape if shown is None else shown.shape[:2]
    extent = (0, width, height, 0)
    top = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    scale = Normalize(-top, top)
    if shown is not None:
        all_axes[0].imshow(shown, cmap="gray", vmin=0, vmax=1, extent=extent)
        all_axes[0].set_xlabel("the image")
        grey = shown if shown.ndim == 2 else shown.mean(axis=2)
        # A pale picture keeps its shapes and leaves dark and bright to the colours.
        pale = 1 - _CONTRAST + _CONTRAST * grey
        all_axes[-1].imshow(pale, cmap="gray", vmin=0, vmax=1, extent=extent)
    colours = style.diverging()(scale(np.nan_to_num(values)))
    strength = np.abs(np.nan_to_num(values)) / top
    colours[..., 3] = 1.0 if shown is None else np.where(strength > 0, 0.15 + 0.7 * strength, 0.0)
    colours[~np.isfinite(values), 3] = 0.0
    all_axes[-1].imshow(colours, extent=extent)
    all_axes[-1].set_xlabel("attribution" + ("" if shown is None else " over it"))
    finish_title(all_axes[0], "", title)
    bar = figure.colorbar(ScalarMappable(scale, style.diverging()), ax=all_axes[-1], fraction=0.045, pad=0.03)
    bar.outline.set_visible(False)
    bar.set_label(label)
    plain_axis(bar.ax, "y")
    for axes in all_axes:
        axes.set_xticks([])
        axes.set_yticks([])
        for side in axes.spines.values():
            side.set_visible(False)
    figure.description = _words(values)
    return figure


def _words(values: Floats) -> str:
    rows, columns = values.shape
    start = f"Signed map of {rows} by {columns} cells over the image"
    if not np.nan_to_num(values).any():
        return f"{start}, zero everywhere."
    place = int(np.nanargmax(np.abs(values)))
    value = float(values.flat[place])
    return f"{start}, strongest {number(value)} in row {place // columns}, column {place % columns}."


def displayable(picture: npt.ArrayLike) -> Floats:
    """Return an image as matplotlib draws it, in 0 … 1: ``(height, width)``, or ``(height, width, 3)``.

    Pixels within 0 … 1 or 0 … 255 keep their scale, others are spread over their own range. Channels that are neither
    one nor three (the fewest of the outer dimensions) are averaged.

    Raises:
        InputError: It is no image.

    Examples:
        >>> displayable(np.full((3, 2, 2), 255)).shape, displayable(np.array([[-1.0, 1.0]])).tolist()
        ((2, 2, 3), [[0.0, 1.0]])
    """
    raw = np.asarray(picture)
    pixels: Any = np.nan_to_num(raw.astype(np.float64))
    if pixels.ndim == 3:
        outer = (pixels.shape[0], pixels.shape[2])
        if outer[0] in (1, 3) or (outer[1] not in (1, 3) and outer[0] < outer[1]):
            pixels = np.moveaxis(pixels, 0, -1)
        pixels = pixels if pixels.shape[2] == 3 else pixels.mean(axis=2)
    if pixels.size == 0 or pixels.ndim not in (2, 3):
        raise InputError(f"an image must have shape (height, width), with channels or without, however: {raw.shape}")
    low, high = float(pixels.min()), float(pixels.max())
    if low >= 0 and high <= 1:
        return np.asarray(pixels)
    if low >= 0 and high <= 255 and raw.dtype.kind in "ui":
        return np.asarray(pixels / 255)
    return np.asarray((pixels - low) / (high - low)) if high > low else np.zeros_like(pixels)
