"""A picture for people: which column sits where, by Matplotlib's object-oriented
interface alone.
"""

from __future__ import annotations

import io
import math
import string
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from permgrad.base.checks import check_kind, check_names
from permgrad.base.errors import InputError
from permgrad.imaging.layout import (
    Positions,
    StoredLayout,
    check_layout,
    extent,
    has_pixel,
)

_LEGEND_ENTRIES = 192
_LEGEND_CHARACTERS = 48
_NUMBERED_PIXELS = 1200
_SIDE = 6.2
_CELL_COLOUR = "#dfe9f3"
_SHARED_COLOUR = "#f7d9b0"
_EMPTY_COLOUR = "#f4f4f2"
_EDGE_COLOUR = "#5b7083"
_SPINE_COLOUR = "#c8cdd2"
_INK = "#1d2733"


#: One occupied pixel: its row and column, its mark (a number, or letters if shared),
#: and the names of its columns.
_Entry = tuple[int, int, str, list[str]]


def layout_svg(layout: Any, names: Sequence[str]) -> str:
    """Return the picture of a layout as SVG.

    Equal layouts give equal texts, and letters are text.
    """
    stream = io.StringIO()
    with rc_context(
        {
            "svg.hashsalt": "permgrad",
            "svg.fonttype": "none",
            "font.sans-serif": ["DejaVu Sans"],
        }
    ):
        draw_layout(layout, names).savefig(
            stream, format="svg", metadata={"Date": None}
        )
    return stream.getvalue()


def draw_layout(
    layout: Any, names: Sequence[str] | None = None, title: str | None = None
) -> Figure:
    """Draw where each encoded column sits, with a legend of full names.

    Columns alone on a pixel carry a number, and a short name where there is room.
    Pixels with several columns carry letters and the legend lists them. The part of the
    grid in use is shown large, and a small frame shows where it lies in the whole
    picture. Without ``names`` columns are called ``x0``, ``x1``, ….

    Examples:
        >>> from permgrad.imaging import StoredLayout
        >>> layout = StoredLayout([[0, 0], [0, 1]], pixels=2)
        >>> figure = draw_layout(layout, ["age", "height"])
        >>> figure.axes[0].get_title(loc="left")
        'stored layout: 2 columns on 2 × 2 pixels'
    """
    layout = getattr(layout, "layout", layout)
    checked = check_layout(layout)
    placed = has_pixel(checked.positions)
    if not len(placed):
        raise InputError(
            f"{type(layout).__name__} is not fitted: it has no positions",
            "Call fit first.",
            "PG030",
        )
    check_kind("title", title, str | None, "text", "Pass text, or leave it out.")
    names = _names_of_placed(names, placed)
    drawn_positions, picture_shape = _side_by_side(checked)
    positions = drawn_positions[placed]
    frame = _used_square(positions, picture_shape)
    entries = _entries(positions, names)
    lines = _legend_lines(entries)
    columns = min(4, math.ceil(len(lines) / 34))
    size, inches = _legend_size(lines, columns)
    width = _SIDE + inches + 1.6
    height = _SIDE + 0.9
    margin = _SIDE + 1.45
    figure = Figure(figsize=(width, height), dpi=110, facecolor="white")
    axes = figure.add_axes((0.35 / width, 0.3 / height, _SIDE / width, _SIDE / height))
    _draw_cells(axes, entries, frame)
    if len(picture_shape) < len(checked.shape):
        _name_channels(axes, checked.shape)
    heading = _heading(
        str(getattr(layout, "name", "") or type(layout).__name__), checked, positions
    )
    axes.set_title(title or heading, loc="left", fontsize=11, color=_INK, pad=10)
    inset = figure.add_axes(
        (margin / width, (height - 1.45) / height, 1.05 / width, 1.05 / height)
    )
    _draw_whole(inset, positions, picture_shape, frame)
    legend_box = (
        margin / width,
        0.25 / height,
        inches / width,
        (height - 1.85) / height,
    )
    _draw_legend(figure.add_axes(legend_box), lines, columns, size, inches)
    return figure


def _names_of_placed(
    names: Sequence[str] | None, placed: npt.NDArray[np.bool_]
) -> Sequence[str] | None:
    """Return the checked names of the columns that have a pixel."""
    if names is None:
        return None
    names = check_names("names", names, "pass the encoder's encoded_names_")
    if len(names) != len(placed):
        return names
    return [name for name, has in zip(names, placed, strict=True) if has]


def _legend_size(lines: Sequence[tuple[str, str]], columns: int) -> tuple[float, float]:
    """Return the size of the legend's type, in points, and its width in inches."""
    size = 6.3
    if math.ceil(len(lines) / columns) <= 36:
        size = 8.0
    longest = max(len(name) for _, name in lines)
    return size, columns * max((longest + 9) * size * 0.57 / 72, 1.3)


def _used_square(
    positions: Positions, picture_shape: Sequence[int]
) -> tuple[int, int, int]:
    """Return first row, first column and side of the square to show.

    It has all pixels in use and a margin of one pixel.
    """
    low = np.maximum(positions.min(axis=0) - 1, 0)
    high = np.minimum(positions.max(axis=0) + 2, max(picture_shape))
    side = int((high - low).max())
    top, left = np.clip((low + high - side) // 2, 0, max(picture_shape) - side).tolist()
    return top, left, side


def _name_channels(axes: Axes, shape: Sequence[int]) -> None:
    """Name the channels that lie side by side."""
    rows, wide, channels = shape
    if rows == 1:  # rows of curves are numbered already
        return
    tick_positions = []
    for number in range(channels):
        tick_positions.append(number * (wide + 1) + (wide - 1) / 2)
    axes.set_xticks(tick_positions, [f"channel {number}" for number in range(channels)])


def _draw_whole(
    inset: Axes,
    positions: Positions,
    picture_shape: Sequence[int],
    frame: tuple[int, int, int],
) -> None:
    """Draw the whole picture small, with a frame around the part that is shown."""
    top, left, side = frame
    used = np.zeros(picture_shape)
    used[positions[:, 0], positions[:, 1]] = 1
    inset.imshow(
        used,
        cmap=ListedColormap([_EMPTY_COLOUR, "#8fa9c2"]),
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    inset.add_patch(
        Rectangle(
            (left - 0.5, top - 0.5),
            side,
            side,
            fill=False,
            edgecolor="#c0562f",
            linewidth=1.0,
        )
    )
    inset.set(xticks=[], yticks=[])
    inset.set_title(
        f"whole picture, {' × '.join(map(str, picture_shape))}",
        fontsize=7.5,
        color=_EDGE_COLOUR,
        loc="left",
        pad=3,
    )
    inset.spines[:].set_edgecolor(_SPINE_COLOUR)


def _side_by_side(layout: StoredLayout) -> tuple[Positions, tuple[int, int]]:
    """Return where columns are drawn, and the drawing's size: channels side by side,
    curves one below another.
    """
    layout_height, layout_width, *channels = layout.shape
    if not channels:
        return layout.positions, (layout_height, layout_width)
    pixel_rows, pixel_columns, channel = layout.positions.T
    if layout_height == 1:
        return np.stack([channel, pixel_columns], axis=1), (channels[0], layout_width)
    return np.stack(
        [pixel_rows, pixel_columns + channel * (layout_width + 1)], axis=1
    ), (
        layout_height,
        channels[0] * (layout_width + 1) - 1,
    )


def _heading(name: str, layout: StoredLayout, positions: Positions) -> str:
    """Return what stands above a picture: how many columns there are, and how many are
    not alone or not seen.
    """
    _, counts = np.unique(positions, axis=0, return_counts=True)
    shared = int(counts[counts > 1].sum())
    hidden = len(positions) - len(counts)
    heading = f"{name} layout: {len(positions)} columns on {extent(layout.shape)}"
    if shared:
        heading += f", {shared} share a pixel"
    return heading + (
        f" ({hidden} overwritten)"
        if hidden and layout.overlap == "last" and layout.blur is None
        else ""
    )


def _legend_lines(entries: list[_Entry]) -> list[tuple[str, str]]:
    """Return one line for each column of a pixel, the pixel's mark on the first."""
    lines = []
    for *_, entry_mark, names in entries:
        for name_index, column_name in enumerate(names):
            lines.append((entry_mark if name_index == 0 else "", column_name))
    if len(lines) > _LEGEND_ENTRIES:
        left_out = len(lines) - _LEGEND_ENTRIES + 1
        lines = [*lines[: _LEGEND_ENTRIES - 1], ("", f"… and {left_out} more")]
    legend_lines: list[tuple[str, str]] = []
    for line_mark, line_name in lines:
        legend_lines.append((line_mark, short_label(line_name, _LEGEND_CHARACTERS)))
    return legend_lines


def short_label(name: str, width: int) -> str:
    """Shorten a name to at most ``width`` characters, keeping its beginning and its
    end.
    """
    if len(name) <= width:
        return name
    tail_length = max((width - 1) // 4, 0) + (1 if width > 6 else 0)
    return (
        name[: max(width - 1 - tail_length, 0)]
        + "…"
        + (name[-tail_length:] if tail_length else "")
    )


def _entries(positions: Positions, names: Sequence[str] | None) -> list[_Entry]:
    """Return the occupied pixels in reading order, so that the legend can be followed
    with the eye.
    """
    columns = len(positions)
    named = [f"x{index}" for index in range(columns)] if names is None else names
    named = check_names("names", named, "pass the encoder's encoded_names_")
    if len(named) != columns:
        problem = (
            f"names must hold one name for each encoded column, got {len(named)} names "
            f"for {columns} columns"
        )
        raise InputError(
            problem, hint="Pass the encoder's encoded_names_.", code="PG007"
        )
    members: dict[tuple[int, int], list[str]] = {}
    for (pixel_row, pixel_column), column_name in zip(
        positions.tolist(), named, strict=True
    ):
        members.setdefault((pixel_row, pixel_column), []).append(column_name)
    entries: list[_Entry] = []
    shared = 0
    for (pixel_row, pixel_column), together in sorted(members.items()):
        pixel_mark = (
            str(len(entries) - shared + 1) if len(together) == 1 else _letters(shared)
        )
        shared += len(together) > 1
        entries.append((pixel_row, pixel_column, pixel_mark, together))
    return entries


def _letters(index: int) -> str:
    """Count A … Z, AA, AB, … as spreadsheets do."""
    letters = ""
    index = index + 1
    while index:
        index, digit = divmod(index - 1, 26)
        letters = string.ascii_uppercase[digit] + letters
    return letters


def _draw_cells(axes: Axes, entries: list[_Entry], frame: tuple[int, int, int]) -> None:
    """Draw the part of the grid in use (first row and column, side), its ticks, and
    what stands on the pixels.
    """
    top_row, left_column, side_length = frame
    bottom = top_row + side_length
    right = left_column + side_length
    occupied = np.zeros((side_length, side_length), dtype=np.int64)
    for pixel_row, pixel_column, _, names in entries:
        if len(names) == 1:
            occupied[pixel_row - top_row, pixel_column - left_column] = 1
        else:
            occupied[pixel_row - top_row, pixel_column - left_column] = 2
    colours = ListedColormap([_EMPTY_COLOUR, _CELL_COLOUR, _SHARED_COLOUR])
    extent = (left_column - 0.5, right - 0.5, bottom - 0.5, top_row - 0.5)
    axes.imshow(
        occupied, cmap=colours, vmin=0, vmax=2, interpolation="nearest", extent=extent
    )
    tick_step = max(1, math.ceil(side_length / 20))
    axes.set(
        xlim=extent[:2],
        ylim=extent[2:],
        xticks=range(left_column, right, tick_step),
        yticks=range(top_row, bottom, tick_step),
    )
    axes.tick_params(labelsize=7, colors=_EDGE_COLOUR, length=0)
    axes.spines[:].set_edgecolor(_SPINE_COLOUR)
    cell_size = _SIDE / side_length * 72.0  # in points
    boxes = [
        Rectangle((box_column - 0.5, box_row - 0.5), 1, 1)
        for box_row, box_column, *_ in entries
    ]
    if cell_size > 6:
        line_width = 0.8
    else:
        line_width = 0.2
    axes.add_collection(
        PatchCollection(
            boxes, facecolor="none", edgecolor=_EDGE_COLOUR, linewidth=line_width
        )
    )
    if len(entries) <= _NUMBERED_PIXELS and cell_size >= 7:
        _write_marks(axes, entries, cell_size)


def _write_marks(axes: Axes, entries: list[_Entry], cell: float) -> None:
    """Write the mark of each pixel, and a short name where a cell has room for it."""
    room = int(cell / 4.7)  # characters of 7-point type in one cell
    named = room >= 6 and cell >= 30
    size = float(np.clip(cell * 0.34, 4.5, 13 if room < 7 else 11))
    centred: dict[str, Any] = {"ha": "center", "va": "center"}
    for row, column_position, mark, names in entries:
        if len(names) == 1:
            weight = "normal"
        else:
            weight = "bold"
        height = row - (0.16 if named else 0.0)
        axes.text(
            column_position,
            height,
            mark,
            fontsize=size,
            color=_INK,
            fontweight=weight,
            **centred,
        )
        if named:
            below = short_label(
                names[0] if len(names) == 1 else f"× {len(names)}", room
            )
            axes.text(
                column_position, row + 0.24, below, fontsize=7, color=_INK, **centred
            )


def _draw_legend(
    axes: Axes, lines: list[tuple[str, str]], columns: int, size: float, inches: float
) -> None:
    """Write the lines from top to bottom, column by column."""
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    per_column = max(math.ceil(len(lines) / columns), 24)
    # Room for three digits or letters, then a gap.
    mark_end = 0.24 / inches
    name_start = 0.34 / inches
    style: dict[str, Any] = {"va": "center", "fontsize": size}
    for index, (entry_mark, entry_name) in enumerate(lines):
        column, line_index = divmod(index, per_column)
        height = 1 - (line_index + 0.5) / per_column
        mark_position = column / columns + mark_end
        start = column / columns + name_start
        axes.text(
            mark_position,
            height,
            entry_mark,
            ha="right",
            fontweight="bold",
            color=_EDGE_COLOUR,
            **style,
        )
        axes.text(start, height, entry_name, ha="left", color=_INK, **style)
