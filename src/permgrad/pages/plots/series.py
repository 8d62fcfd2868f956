"""A series or a wave as lines, with each window on the colour of its value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from permgrad.base import style
from permgrad.base.figures import PlotFigure
from permgrad.base.sequences import values_at
from permgrad.pages import choices
from permgrad.pages.charts.chart import padded
from permgrad.pages.drawn_inputs import (
    Shown,
    drawn_input,
    outline,
    shown_channels,
    strongest,
)
from permgrad.pages.plots import _base as base
from permgrad.pages.plots._base import styled
from permgrad.pages.words import clean, valued

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

#: Heights in inches: of a single line, of one among several, and below them for the
#: axis and the colours.
_ALONE = 2.0
_AMONG = 0.85
_BELOW = 1.05
#: Stretches of a long series: no figure shows more, and windows, whose edges are drawn.
_STRETCHES = 900
_EDGES = 60
#: The colour of places that belong to nobody, beside which 0 is warm paper.
_NOBODY = (0.86, 0.87, 0.88, 1.0)


@styled
def series(
    explanation: Explanation,
    *,
    row: int = 0,
    input: str | None = None,  # noqa: A002 — the word for it everywhere else
    target: str | int | None = None,
    top_n: int | None = 8,
    title: str | None = None,
    ax: Axes | None = None,
) -> PlotFigure:
    """Draw a series or a wave, a line for each channel, on the colours of the values of
    its windows.

    Blue pushes the output up, orange down. The strongest window has the full colour. If
    channels are players, each has its own colours. Places without a player are grey.
    Activation maps (``method="gradcam"``) start at 0. In a long series each pixel shows
    the smallest and the largest number and the strongest value.

    Of a local explanation a row is drawn, of a global one with windows the mean of all
    rows.

    Args:
        row: the row's position.
        input: the series (None: the only one).
        target: its name or position (None: the first, of two classes the positive one).
        top_n: the number of channels, those of the largest values, else the first
            (None: all).
        title: the title (None: a default, empty: none).
        ax: axes of matplotlib to draw into.

    Raises:
        InputError: If the explanation has no series, or several and none is named, or
            there is no such row.

    Examples:
        >>> import torch, permgrad as pg
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Conv1d(2, 3, 5), torch.nn.Flatten(), torch.nn.Linear(288, 1)
        ... )
        >>> model = pg.Model(net, returns="values")
        >>> explanation = pg.explain(model, torch.randn(30, 2, 100), method="gradient")
        >>> len(explanation.plot.series(row=1).axes)  # two channels and the scale
        3
    """
    shown, title_text, unit_text = drawn_input(
        explanation, 1, (row, input, target), title
    )
    channels, (every, length) = shown_channels(shown, top_n), shown.size
    count = len(channels)
    figure_size = (style.WIDTH, _BELOW + (_ALONE if count == 1 else _AMONG * count))
    figure_look: dict[str, Any] = {
        "signed": shown.signed,
        "colours": "shade",
        "sharex": True,
    }
    figure, panel_grid, shades = base.over_input(
        shown.heat, figure_size, (title_text, unit_text), grid=(count, 1), **figure_look
    )
    panels = panel_grid[:, 0].tolist()
    for channel_axes, channel in zip(panels, channels, strict=True):
        _draw(channel_axes, shown, channel, shades)
        base.plain_axis(channel_axes, "y")
        channel_axes.locator_params(axis="y", nbins=5 if count == 1 else 3)
        if shown.picture is None:
            channel_axes.set_yticks([])
        if every > 1:
            channel_axes.set_ylabel(
                f"channel {channel}", rotation=0, ha="right", va="center"
            )
        channel_axes.tick_params(
            axis="x", length=3.0 if channel_axes is panels[-1] else 0.0
        )
    figure.align_ylabels(panels)
    base.plain_axis(panels[-1])
    input_name = clean(shown.name)
    panels[-1].set_xlabel(f"position in {input_name}" + explanation.scope.average)
    if every > count:
        _note_more(panels[-1], every - count)
    leading = _strongest(explanation, shown.players, row, target)
    figure.description = (
        f"{input_name}: {length} positions, {count} "
        f"{'line' if count == 1 else 'lines'} on the colours of the values. "
        f"Strongest: {leading}."
    )
    return figure


def _note_more(axes: Axes, count: int) -> None:
    """Say below the last panel how many channels are not shown."""
    base.note(
        axes,
        f"{count} more channels not shown",
        (1, 0),
        (0, -28),
        of="axes fraction",
        ha="right",
    )


def _strongest(
    explanation: Explanation,
    players: npt.NDArray[np.intp],
    row: int,
    target: str | int | None,
) -> str:
    """Return the places of the largest values, with these."""
    values = explanation.values
    if explanation.scope.by_row:
        values = values[row]
    values = values[players]
    values = np.asarray(
        values[:, choices.pick_output(explanation, target)], dtype=np.float64
    )
    order = choices.largest(np.abs(values), 3)
    names = values_at(explanation.names, players[order])
    return valued(names, values[order])


def _draw(axes: Any, shown: Shown, channel: int, shades: base.Shades) -> None:
    """Draw a channel's line on the colours of its windows, and the edges of windows."""
    stretch_heat = strongest(
        shown.heat[channel if len(shown.heat) > 1 else 0], _STRETCHES
    )
    length = shown.size[1]
    colours = shades.of(stretch_heat)
    colours[~np.isfinite(stretch_heat)] = _NOBODY
    if shown.picture is None:
        channel_line = None
    else:
        channel_line = shown.picture[channel]
    lower_limit, upper_limit = (
        (0.0, 1.0) if channel_line is None else padded(channel_line, 0.12)
    )
    axes.imshow(
        colours[None],
        extent=(-0.5, length - 0.5, lower_limit, upper_limit),
        aspect="auto",
    )
    if shown.signed and len(shown.players) <= _EDGES * len(shown.heat):
        edges = (np.flatnonzero(np.diff(stretch_heat)) + 1) * length / len(
            stretch_heat
        ) - 0.5
        axes.vlines(
            edges,
            lower_limit,
            upper_limit,
            color=style.FIXED_LIGHT,
            linewidth=0.8,
            alpha=0.8,
            zorder=0.5,
        )
    if channel_line is not None:
        line_positions, lowest, highest = outline(channel_line, _STRETCHES)
        # The background is light also on dark paper, so lines are dark.
        if highest is lowest:
            axes.plot(
                line_positions, channel_line, color=style.FIXED_DARK, linewidth=0.9
            )
        else:
            axes.fill_between(
                line_positions, lowest, highest, color=style.FIXED_DARK, linewidth=0.5
            )
    axes.set(xlim=(-0.5, length - 0.5), ylim=(lower_limit, upper_limit))
    axes.spines[:].set_visible(False)
