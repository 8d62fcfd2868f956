"""What an explanation says of an image, over that image: activation maps, or signed attributions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import Normalize

from permgrad.base.errors import InputError, unknown
from permgrad.report import style
from permgrad.report.plots import _base as base
from permgrad.report.plots._base import Floats, PlotFigure, styled
from permgrad.report.words import clean, number, quantity_of

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

#: The map and the images of a hybrid network, which has no input of that name.
_CAM, _IMAGES = "cam", "images"
#: How much of the picture's contrast shows beneath the colours of signed maps.
_CONTRAST = 0.75


@styled
def image(
    explanation: Explanation,
    *,
    row: int = 0,
    input: str | None = None,  # noqa: A002 — the word for it everywhere else
    output: str | int | None = None,
    title: str | None = None,
) -> PlotFigure:
    """Draw an image, and what the explanation says of it over it.

    Activation maps (``maps["maps:<input>"]``; of a hybrid network ``maps["cam"]``) are drawn as they are; attributions
    of pixels or segments (``maps["segments:<input>"]``) are signed: blue pushes the output up, orange down.

    The explanation is local, then ``row`` is the position of the row, or global with segments, then drawn over the mean
    image. ``input`` is the image input; None: the only one.

    Raises:
        InputError: If the explanation has nothing to draw over an image, or several image inputs and none is named.
    """
    column = base.pick_output(explanation, output)
    name = _input(explanation, input)
    segments = explanation.maps.get(f"segments:{name}")
    if segments is None:
        base.check_local(explanation, "image")
    place = base.check_row(explanation, row) if explanation.scope == "local" else None
    where = "all rows" if place is None else f"row {place}"
    default = f"{explanation.method}: {where}, {clean(explanation.outputs[column])}"
    text = title if title is not None else f"{default}, {clean(name)}" if name else default
    images = explanation.maps.get(f"images:{name}" if name else _IMAGES)  # None where images were not kept
    picture = None
    if images is not None:
        pixels = np.asarray(images, dtype=np.float64)
        picture = pixels.mean(axis=0) if place is None else pixels[place]
    if segments is not None:
        values = explanation.values[..., column]
        heat = _on_segments(values if place is None else values[place], segments)
    else:
        heat = np.asarray(explanation.maps[f"maps:{name}" if name else _CAM][place], dtype=np.float64)
        heat = heat[min(column, len(heat) - 1)] if heat.ndim == 3 else heat
    if segments is None and np.nanmin(heat, initial=0.0) >= 0:
        return activation(picture, heat, title=text, shown="the image" if name else "the row as an image")
    units = explanation.meta.get("units")
    unit = clean(units[name]) if isinstance(units, Mapping) and name in units else quantity_of(explanation)
    return overlay(picture, heat, title=text, label=unit)


def _input(explanation: Explanation, wanted: str | None) -> str:
    """Return the image input to draw, of those the explanation says something about; "": a hybrid network's image."""
    named = [key.partition(":")[2] for key in explanation.maps if key.startswith(("maps:", "segments:"))]
    inputs = list(dict.fromkeys([*[""] * (_CAM in explanation.maps), *named]))
    if not inputs:
        raise InputError(
            f"image shows activation maps or segments, however: method={explanation.method!r} made none; "
            "explain with method='gradcam', or explain a network with an image input"
        )
    if wanted is not None and (not isinstance(wanted, str) or wanted not in inputs):
        raise unknown("input", wanted, [name for name in inputs if name])
    if wanted is None and len(inputs) > 1:
        raise InputError(
            f"image draws one input, however: the explanation has {', '.join(map(repr, inputs))}; "
            f"pass for example input={inputs[0]!r}"
        )
    return inputs[0] if wanted is None else wanted


def _on_segments(values: Floats, segments: npt.NDArray[Any]) -> Floats:
    """Return each pixel's value: its player's, or the sum over channels where each channel has players of its own.

    Segments are positions among the players, −1: nobody, ``(height, width)`` with channels before or after, or without.
    """
    owners = np.asarray(segments)
    if owners.ndim == 3:
        if owners.shape[2] in (1, 3, 4) and owners.shape[0] not in (1, 3, 4):
            owners = np.moveaxis(owners, 2, 0)
        if (owners == owners[:1]).all():
            owners = owners[0]
    pixels = np.where(owners >= 0, np.append(values, np.nan)[owners], np.nan)
    if pixels.ndim == 3:
        nobody = np.isnan(pixels).all(axis=0)
        pixels = np.where(nobody, np.nan, np.nansum(pixels, axis=0))
    return np.asarray(pixels)


@styled
def activation(
    picture: npt.ArrayLike | None,
    heat: npt.ArrayLike,
    *,
    title: str = "",
    label: str = "activation",
    shown: str = "the row as an image",
) -> PlotFigure:
    """Draw an image of any form (None: only the map) and beside it the same under an activation map.

    A map ``(height, width)`` coarser than the image is drawn over all of it, cell by cell, without smoothing.
    """
    grid = np.nan_to_num(np.asarray(heat, dtype=np.float64))
    if grid.ndim != 2 or grid.size == 0:
        raise InputError(f"heat must have shape (height, width), however: its shape is {grid.shape}")
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
    # The bar shows the full colours, not those that let the image through.
    base.colour_bar(over, scale, colours, label, fraction=0.04, pad=0.03)
    where = _strongest(grid, "largest") if grid.any() else "all zero."
    figure.description = f"Activation map of {grid.shape[0]} by {grid.shape[1]} cells, {where}"
    return figure


@styled
def overlay(
    picture: npt.ArrayLike | None, signed: npt.ArrayLike, *, title: str = "", label: str = "attribution"
) -> PlotFigure:
    """Draw an image of any form (None: only the map), and beside it the same in grey under a signed map.

    A map ``(height, width)`` coarser than the image is drawn over all of it, cell by cell, without smoothing; NaN: a
    place that belongs to nobody. The colour bar is symmetric around 0.
    """
    values = np.asarray(signed, dtype=np.float64)
    if values.ndim != 2 or values.size == 0:
        raise InputError(f"a signed map must have shape (height, width), however: its shape is {values.shape}")
    image = None if picture is None else displayable(picture)
    height, width = values.shape if image is None else image.shape[:2]
    extent = (0, width, height, 0)
    figure, plain, over = _panels(image is not None, 0.6, title)
    top = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    scale, strength = Normalize(-top, top), np.abs(np.nan_to_num(values)) / top
    colours = style.colour_map("diverging")(scale(np.nan_to_num(values)))
    if image is not None:
        plain.imshow(image, cmap="gray", vmin=0, vmax=1, extent=extent)
        plain.set_xlabel("the image")
        # A pale picture keeps its shapes and leaves dark and bright to the colours.
        grey = image if image.ndim == 2 else image.mean(axis=2)
        over.imshow(1 - _CONTRAST + _CONTRAST * grey, cmap="gray", vmin=0, vmax=1, extent=extent)
        colours[..., 3] = np.where(strength > 0, 0.15 + 0.7 * strength, 0.0)
    colours[~np.isfinite(values), 3] = 0.0
    over.imshow(colours, extent=extent)
    over.set_xlabel("attribution" + ("" if image is None else " over it"))
    base.colour_bar(over, scale, style.colour_map("diverging"), label, fraction=0.045, pad=0.03)
    where = _strongest(values, "strongest") if strength.any() else "zero everywhere."
    figure.description = f"Signed map of {values.shape[0]} by {values.shape[1]} cells over the image, {where}"
    return figure


# ---- pieces ----------------------------------------------------------------------------------------------------------
def _panels(beside: bool, room: float, title: str) -> tuple[PlotFigure, Any, Any]:
    """Return a figure, the axes of the plain image and those of the map; without an image they are the same."""
    count = 2 if beside else 1
    figure = base.new_figure(3.4 * count + room, 3.5, title)
    panels = figure.subplots(1, count, squeeze=False)[0]
    for axes in panels:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    return figure, panels[0], panels[-1]


def _strongest(values: Floats, word: str) -> str:
    """Say where the value of the largest size is."""
    row, column = np.unravel_index(int(np.nanargmax(np.abs(values))), values.shape)
    return f"{word} {number(float(values[row, column]))} in row {row}, column {column}."


def displayable(picture: npt.ArrayLike) -> Floats:
    """Return an image as matplotlib draws it, in 0 … 1: ``(height, width)``, or ``(height, width, 3)``.

    Pixels within 0 … 1 or 0 … 255 keep their scale, others are spread over their own range. Channels that are neither
    one nor three (the fewest of the outer dimensions) are averaged.
    """
    raw = np.asarray(picture)
    pixels: Any = np.nan_to_num(raw.astype(np.float64))
    if pixels.ndim == 3:
        outer = (pixels.shape[0], pixels.shape[2])
        if outer[0] in (1, 3) or (outer[1] not in (1, 3) and outer[0] < outer[1]):
            pixels = np.moveaxis(pixels, 0, -1)
        pixels = pixels if pixels.shape[2] == 3 else pixels.mean(axis=2)
    if pixels.size == 0 or pixels.ndim not in (2, 3):
        raise InputError(f"an image must have shape (height, width) with channels or without, however: {raw.shape}")
    low, high = float(pixels.min()), float(pixels.max())
    if low >= 0 and high <= 1:
        return np.asarray(pixels)
    if low >= 0 and high <= 255 and raw.dtype.kind in "ui":
        return np.asarray(pixels / 255)
    return np.asarray((pixels - low) / (high - low)) if high > low else np.zeros_like(pixels)
