"""Slices through a volume, with their explanation over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes

from permgrad.base import style
from permgrad.base.checks import is_whole
from permgrad.base.errors import InputError, shown
from permgrad.base.figures import PlotFigure
from permgrad.base.numerals import number
from permgrad.pages.drawn_inputs import (
    SIDES,
    Shown,
    drawn_input,
    grey_volume,
    strongest_place,
)
from permgrad.pages.plots import _base as base
from permgrad.pages.plots._base import styled
from permgrad.pages.words import clean

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

#: Height of the tallest slice in inches.
_TALLEST = 2.6


@styled
def volume(
    explanation: Explanation,
    *,
    row: int = 0,
    input: str | None = None,  # noqa: A002 — the word for it everywhere else
    target: str | int | None = None,
    at: Sequence[int] | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> PlotFigure:
    """Draw three slices through a volume, along each of its sides, and the values of
    its blocks over them.

    Blue pushes the output up, orange down. Thin lines show where the other two slices
    are. Channels are averaged, their values added up.

    Of a local explanation a row is drawn, of a global one with segments the mean of all
    rows.

    Args:
        row: the row's position.
        input: the volume (None: the only one).
        target: its name or position (None: the first, of two classes the positive one).
        at: depth, row and column of the slices (None: the middle of the block with the
            strongest value).
        title: the title (None: a default, empty: none).
        ax: axes of matplotlib to draw into.

    Raises:
        InputError: If the explanation has no volume, or several and none is named, or
            there is no such row or
        place.

    Examples:
        >>> import torch, permgrad as pg
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Conv3d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(432, 1)
        ... )
        >>> model = pg.Model(net, returns="values")
        >>> volumes = torch.rand(20, 1, 8, 8, 8)
        >>> explanation = pg.explain(model, volumes, method="gradient")
        >>> len(
        ...     explanation.plot.volume(row=1, at=(4, 4, 4)).axes
        ... )  # three slices, twice, and the scale
        7
    """
    drawn, title_text, unit_text = drawn_input(
        explanation, 3, (row, input, target), title
    )
    grey_voxels = grey_volume(drawn)
    if grey_voxels is None:
        volume_size = drawn.heat.shape
    else:
        volume_size = grey_voxels.shape
    if at is None:
        cut_place = strongest_place(drawn.heat, volume_size)
    else:
        cut_place = _checked(at, volume_size)
    if grey_voxels is None:
        panel_rows = 1
    else:
        panel_rows = 2
    figure, panels, shades = _panels(
        drawn, volume_size, panel_rows, (title_text, unit_text)
    )
    for side_index, (over_axes, plain) in enumerate(
        zip(panels[-1], panels[0], strict=True)
    ):
        first, second = (
            other_side for other_side in range(3) if other_side != side_index
        )
        extent = (-0.5, volume_size[second] - 0.5, volume_size[first] - 0.5, -0.5)
        if grey_voxels is None:
            picture = None
        else:
            picture = np.take(grey_voxels, cut_place[side_index], axis=side_index)
        values = np.take(
            drawn.heat,
            cut_place[side_index]
            * drawn.heat.shape[side_index]
            // volume_size[side_index],
            axis=side_index,
        )
        shades.over(over_axes, picture, values, extent)
        if picture is not None:
            plain.imshow(picture, cmap="gray", vmin=0, vmax=1, extent=extent)
        _finish_panels(plain, over_axes, side_index, cut_place, volume_size)
    figure.description = _words_of(drawn, volume_size, cut_place, shades.top)
    return figure


def _panels(
    drawn: Shown, size: Sequence[int], rows: int, words: tuple[str, str]
) -> tuple[Any, Any, Any]:
    """Return the figure, its panels, as wide as their sides, and the colours."""
    widths = [size[2], size[2], size[1]]
    inches = min((style.WIDTH - 0.6) * max(size[:2]) / sum(widths), _TALLEST)
    room = (style.WIDTH, (inches + 0.25) * rows + 0.9)
    look: dict[str, Any] = {"signed": drawn.signed, "width_ratios": widths}
    return base.over_input(drawn.heat, room, words, grid=(rows, 3), **look)


def _finish_panels(
    plain: Axes, over: Axes, side: int, cut_position: Sequence[int], size: Sequence[int]
) -> None:
    """Mark where the other two slices are, and name the sides."""
    first, second = (other_side for other_side in range(3) if other_side != side)
    extent = (-0.5, size[second] - 0.5, size[first] - 0.5, -0.5)
    # No lines over the colours, because the same slice is drawn above with lines.
    plain.axhline(cut_position[first], color=style.IMAGE, linewidth=0.8)
    plain.axvline(cut_position[second], color=style.IMAGE, linewidth=0.8)
    for axes in (plain, over):
        base.bare(axes, xlim=extent[:2], ylim=extent[2:], anchor="N")
    words = f"{SIDES[side]} {cut_position[side]} (0–{size[side] - 1})"
    plain.set_title(words, fontsize=style.SIZE_LABEL, fontweight="normal", pad=4.0)
    over.set_xlabel(SIDES[second], labelpad=3.0)
    over.set_ylabel(SIDES[first], labelpad=3.0)


def _words_of(
    drawn: Shown, size: Sequence[int], cut_position: Sequence[int], largest: float
) -> str:
    """Return what the slices show."""
    centre = tuple(
        slice_index * cells // side_length
        for slice_index, cells, side_length in zip(
            cut_position, drawn.heat.shape, size, strict=True
        )
    )
    return (
        f"Slices of {clean(drawn.name)}, {' by '.join(map(str, size))}, through depth "
        f"{cut_position[0]}, row {cut_position[1]}, column {cut_position[2]}, where "
        f"the value is {number(float(drawn.heat[centre]))}, largest size "
        f"{number(largest)}."
    )


def _checked(cut_choice: Sequence[int], size: Sequence[int]) -> tuple[int, ...]:
    if isinstance(cut_choice, (tuple, list, np.ndarray)):
        cut_indices = list(cut_choice)
    else:
        cut_indices = []
    if len(cut_indices) != 3 or not all(
        is_whole(cut_index) and 0 <= cut_index < side_length
        for cut_index, side_length in zip(cut_indices, size, strict=True)
    ):
        ranges = ", ".join(f"0 to {side_length - 1}" for side_length in size)
        problem = (
            f"at must be a depth, a row and a column of the volume ({ranges}), "
            f"got {shown(cut_choice)}"
        )
        raise InputError(
            problem,
            hint=f"For example: at={tuple(side_length // 2 for side_length in size)}.",
            code="PG002",
        )
    return tuple(map(int, cut_indices))
