"""What an explanation says of an image, over that image: activation maps, or signed attributions of its segments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from permgrad.base.errors import InputError, unknown
from permgrad.report import style
from permgrad.report.plots._base import (
    Floats,
    PlotFigure,
    check_row,
    clean,
    finish_title,
    heading,
    need_local,
    new_figure,
    number,
    pick_output,
    plain_axis,
    quantity_of,
    styled,
)
from permgrad.report.plots.overlay import overlay

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

IMAGE_KEYS = ("images", "image")
HEAT_KEYS = ("maps", "heat", "cam", "map")


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

    Args:
        explanation: A local explanation with maps or segments of an image input, or a global one with segments, which
            is drawn over the mean image.
        row: Position of the row, for a local explanation.
        input: Which image input; None: the only one.
        output: Which output; None: the first, or the second of two classes.
        title: Title; None: a default; empty: none.

    Raises:
        InputError: If the explanation has nothing to draw over an image, or several image inputs and none is named.
    """
    column = pick_output(explanation, output)
    name = _input(explanation, input)
    if f"segments:{name}" not in explanation.maps:
        need_local(explanation, "image")
    local = explanation.scope == "local"
    place = check_row(explanation, row) if local else 0
    where = f"row {place}" if local else "all rows"
    default = f"{explanation.method}: {where}, {clean(explanation.outputs[column])}"
    if name:
        default += f", {clean(name)}"
    text = heading(default, title)
    picture = _picture(explanation, name, place if local else None)
    if f"segments:{name}" in explanation.maps:
        values = explanation.values[place, :, column] if local else explanation.values[:, column]
        return overlay(picture, _on_segments(values, explanation.maps[f"segments:{name}"]), title=text,
                       label=_label(explanation, name))  # fmt: skip
    heat = np.asarray(explanation.maps[_heat_name(explanation, name)][place], dtype=np.float64)
    if heat.ndim == 3:
        heat = heat[min(column, len(heat) - 1)]
    if np.nanmin(heat, initial=0.0) < 0:
        return overlay(picture, heat, title=text, label=_label(explanation, name))
    return activation(picture, heat, title=text, shown="the image" if name else "the row as an image")


def _inputs(explanation: Explanation) -> list[str]:
    """Return the image inputs that the explanation says something about; an empty name is a hybrid network's image."""
    kinds = ("maps:", "segments:")
    found = [key.partition(":")[2] for key in explanation.maps if key.startswith(kinds)]
    own = [""] if any(key in explanation.maps for key in HEAT_KEYS) else []
    return list(dict.fromkeys(own + found))


def _input(explanation: Explanation, wanted: str | None) -> str:
    known = _inputs(explanation)
    if not known:
        raise InputError(
            f"image shows activation maps or segments, however: method={explanation.method!r} made none; "
            "explain with method='gradcam', or explain a network with an image input"
        )
    if wanted is not None:
        if not isinstance(wanted, str) or wanted not in known:
            raise unknown("input", wanted, [name for name in known if name])
        return wanted
    if len(known) > 1:
        raise InputError(
            f"image draws one input, however: the explanation has {', '.join(map(repr, known))}; "
            f"pass for example input={known[0]!r}"
        )
    return known[0]


def _heat_name(explanation: Explanation, name: str) -> str:
    return f"maps:{name}" if name else next(key for key in HEAT_KEYS if key in explanation.maps)


def _picture(explanation: Explanation, name: str, place: int | None) -> Floats | None:
    """Return the row's image, the mean image where no row is meant, None where images were not kept."""
    keys = (f"images:{name}",) if name else IMAGE_KEYS
    key = next((key for key in keys if key in explanation.maps), None)
    if key is None:
        return None
    images = np.asarray(explanation.maps[key], dtype=np.float64)
    if place is None:
        return np.asarray(images.mean(axis=0))
    return np.asarray(images[place])


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
    found = np.where(owners >= 0, np.append(values, np.nan)[owners], np.nan)
    if found.ndim == 3:
        nobody = np.isnan(found).all(axis=0)
        found = np.where(nobody, np.nan, np.nansum(found, axis=0))
    return np.asarray(found)


def _label(explanation: Explanation, name: str) -> str:
    units = explanation.meta.get("units")
    return clean(units[name]) if isinstance(units, Mapping) and name in units else quantity_of(explanation)


@styled
def activation(
    picture: npt.ArrayLike | None,
    heat: npt.ArrayLike,
    *,
    title: str = "",
    label: str = "activation",
    shown: str = "the row as an image",
) -> PlotFigure:
    """Draw an image and a map of it side by side.

    Args:
        picture: ``(height, width)``, ``(channels, height, width)`` or ``(height, width, channels)``, any range;
            None: only the map.
        heat: ``(height, width)``; a coarser map is drawn over the whole image, cell by cell, without smoothing.
        title: Title, empty for none.
        label: What the colours measure.
        shown: What the picture is.
    """
    grid = np.nan_to_num(np.asarray(heat, dtype=np.float64))
    if grid.ndim != 2 or grid.size == 0:
        raise InputError(f"heat must have shape (height, width), however: its shape is {grid.shape}")
    grey = None if picture is None else _grey(np.asarray(picture, dtype=np.float64))
    panels = 1 if grey is None else 2
    figure = new_figure(3.4 * panels + 0.5, 3.5 + (0.3 if title else 0))
    all_axes = figure.subplots(1, panels, squeeze=False)[0]
    extent = (0, 1, 0, 1) if grey is None else (0, grey.shape[1], grey.shape[0], 0)
    if grey is not None:
        all_axes[0].imshow(grey, cmap="gray", extent=extent)
        finish_title(all_axes[0], "", title)
        all_axes[0].set_xlabel(shown)
        all_axes[1].imshow(grey, cmap="gray", extent=extent)
    elif title:
        finish_title(all_axes[0], "", title)
    top = float(grid.max()) if grid.max() > 0 else 1.0
    low = min(float(grid.min()), 0.0)
    # Strong activation covers the image, weak activation lets it show through.
    strength = np.clip((grid - low) / max(top - low, 1e-300), 0, 1)
    colours = all_axes[-1].imshow(
        grid,
        cmap=style.heat(),
        vmin=low,
        vmax=top,
        extent=extent,
        alpha=None if grey is None else 0.25 + 0.65 * strength,
    )
    all_axes[-1].set_xlabel("activation map" + ("" if grey is None else " over it"))
    _colour_bar(figure, all_axes[-1], colours, label)
    for axes in all_axes:
        axes.set_xticks([])
        axes.set_yticks([])
        for side in axes.spines.values():
            side.set_visible(False)
    flat = int(np.argmax(grid))
    figure.description = (
        f"Activation map of {grid.shape[0]} by {grid.shape[1]} cells, "
        + ("all zero." if not grid.any() else f"largest {number(float(grid.max()))} in row {flat // grid.shape[1]}, ")
        + ("" if not grid.any() else f"column {flat % grid.shape[1]}.")
    )
    return figure


def _grey(picture: Floats) -> Floats:
    if picture.ndim == 3:
        channels = 0 if picture.shape[0] in (1, 3) and picture.shape[-1] not in (1, 3) else -1
        picture = picture.mean(axis=channels)
    if picture.ndim != 2 or picture.size == 0:
        raise InputError(f"an image must have shape (height, width) with channels or without, however: {picture.shape}")
    return np.nan_to_num(picture)


def _colour_bar(figure: PlotFigure, axes: Any, shown: Any, label: str) -> None:
    from matplotlib.cm import ScalarMappable

    # The bar shows the full colours, not those that let the image through.
    bar = figure.colorbar(ScalarMappable(shown.norm, shown.cmap), ax=axes, fraction=0.04, pad=0.03)
    bar.outline.set_visible(False)
    bar.set_label(label)
    plain_axis(bar.ax, "y")
