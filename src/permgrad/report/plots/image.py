"""A class activation map over the image of its row, with its colour bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from permgrad._errors import InputError
from permgrad.report import style
from permgrad.report.plots._base import (
    Floats,
    PlotFigure,
    check_row,
    clean,
    finish_title,
    need_local,
    new_figure,
    number,
    pick_output,
    plain_axis,
    styled,
)

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

IMAGE_KEYS = ("images", "image")
HEAT_KEYS = ("maps", "heat", "cam", "map")


@styled
def image(
    explanation: Explanation,
    *,
    row: int = 0,
    output: str | int | None = None,
    title: str | None = None,
) -> PlotFigure:
    """Draw one row's image, and its activation map over it.

    Args:
        explanation: A local explanation whose ``maps`` hold ``images`` ``(rows, [channels,] height, width)``
            and ``maps`` ``(rows, [outputs,] height, width)``.
        row: Position of the row.
        output: Which output; None: the first, or the second of two classes.
        title: Title; None: a default; empty: none.

    Raises:
        InputError: If the explanation is global or has no maps.
    """
    need_local(explanation, "image")
    place, column = check_row(explanation, row), pick_output(explanation, output)
    heat_name = next((name for name in HEAT_KEYS if name in explanation.maps), None)
    if heat_name is None:
        raise InputError(
            f"image shows activation maps, however: method={explanation.method!r} made none; "
            "explain with method='gradcam'"
        )
    heat = np.asarray(explanation.maps[heat_name][place], dtype=np.float64)
    if heat.ndim == 3:
        heat = heat[min(column, len(heat) - 1)]
    image_name = next((name for name in IMAGE_KEYS if name in explanation.maps), None)
    picture = None if image_name is None else np.asarray(explanation.maps[image_name][place], dtype=np.float64)
    default = f"{explanation.method}: row {place}, {clean(explanation.outputs[column])}"
    return activation(picture, heat, title=default if title is None else title)


@styled
def activation(
    picture: npt.ArrayLike | None, heat: npt.ArrayLike, *, title: str = "", label: str = "activation"
) -> PlotFigure:
    """Draw an image and a map of it side by side.

    Args:
        picture: ``(height, width)``, ``(channels, height, width)`` or ``(height, width, channels)``, any range;
            None: only the map.
        heat: ``(height, width)``; a coarser map is drawn over the whole image, cell by cell, without smoothing.
        title: Title, empty for none.
        label: What the colours measure.
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
        all_axes[0].set_xlabel("the row as an image")
        all_axes[1].imshow(grey, cmap="gray", extent=extent)
    elif title:
        finish_title(all_axes[0], "", title)
    top = float(grid.max()) if grid.max() > 0 else 1.0
    low = min(float(grid.min()), 0.0)
    # Strong activation covers the image, weak activation lets it show through.
    strength = np.clip((grid - low) / max(top - low, 1e-300), 0, 1)
    shown = all_axes[-1].imshow(
        grid,
        cmap=style.heat(),
        vmin=low,
        vmax=top,
        extent=extent,
        alpha=None if grey is None else 0.25 + 0.65 * strength,
    )
    all_axes[-1].set_xlabel("activation map" + ("" if grey is None else " over it"))
    _colour_bar(figure, all_axes[-1], shown, label)
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
