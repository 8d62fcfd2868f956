"""Plots of single rows: every row's attribution as a point, and one row step by
step.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from permgrad.attribution.subject.scales import LOG_ODDS
from permgrad.base import style
from permgrad.base.arrays import Floats
from permgrad.base.errors import InputError, counted
from permgrad.base.figures import PlotFigure
from permgrad.base.numerals import fixed, number, numbers, percent
from permgrad.base.sequences import values_at
from permgrad.pages import choices
from permgrad.pages.charts import explained as charts
from permgrad.pages.charts.chart import padded
from permgrad.pages.plots import _base as base
from permgrad.pages.plots._base import styled
from permgrad.pages.steps import stacks
from permgrad.pages.words import clean, labels_of, quantity_of, towards

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation


#: More rows than this are thinned evenly. The order and the description use all of
#: them.
MOST_POINTS = 1500
#: Narrow bins along the axis, whose points are stacked.
_BINS = 90
#: Lines of the grid, the baseline and the row pass behind words.
_BEHIND = {"facecolor": style.PAPER, "edgecolor": "none", "pad": 0.6}


@styled
def beeswarm(
    explanation: Explanation,
    *,
    top_n: int | None = 12,
    target: str | int | None = None,
    title: str | None = None,
    label: str | None = None,
    ax: Axes | None = None,
) -> PlotFigure:
    """Draw one point per row and feature.

    The position is the attribution, the colour is the feature's value.

    Colours follow the rank of numbers, dates (also ISO dates as text) and ordered
    categories: low values are blue, high ones orange. Values without an order, and
    missing ones, are grey.

    Args:
        explanation: A local one.
        top_n: How many features to draw, the largest first. None: all.
        target: Name or position of the output. None: the first (for rows of two
            classes: the positive one).
        title: Title of the figure. None: what is drawn.
        label: Label of the axis. None: the quantity with its unit, and the output.
        ax: Axes of matplotlib to draw into. None: a new figure.

    Raises:
        InputError: If the explanation is global.
    """
    choices.check_one_unit(explanation, "beeswarm")
    choices.check_local(explanation, "beeswarm")
    column = choices.pick_output(explanation, target)
    swarm = charts.swarm_of(explanation, column, top_n, MOST_POINTS)
    rows = len(explanation.values)
    drawn_rows = swarm.values.shape[1]
    if drawn_rows < rows:
        count_words = f"{drawn_rows:,} of "
    else:
        count_words = ""
    height = 1.1 + 0.36 * len(swarm.order)
    default = f"{explanation.method}: {count_words}{counted(rows, 'row')}"
    figure, panel_axes = base.one_panel(style.WIDTH, height, title, default)
    all_values = explanation.values[:, swarm.order, column].astype(np.float64)
    limits = padded(np.append(all_values, 0.0), 0.04)
    x, y, ranks = _stacked_points(swarm, limits)
    _scatter(panel_axes, x, y, ranks)
    panel_axes.set_xlim(*limits)
    panel_axes.axvline(0, color=style.MUTED, linewidth=0.8, zorder=0.5)
    base.name_rows(panel_axes, labels_of(values_at(explanation.names, swarm.order)))
    base.note_hidden(panel_axes, len(explanation.names) - len(swarm.order))
    panel_axes.grid(visible=False, axis="x")
    panel_axes.grid(axis="y", linewidth=0.5)
    default = ", ".join(
        filter(None, [quantity_of(explanation), towards(explanation, column)])
    )
    panel_axes.set_xlabel(base.checked_text("label", label, default))
    if np.isfinite(ranks).any():  # else all points are grey
        _add_ranks_bar(panel_axes)
    figure.description = swarm.words
    return figure


def _scatter(axes: Axes, x: Floats, y: Floats, ranks: Floats) -> None:
    """Draw points in the colours of their ranks, grey where they have none."""
    grey = ~np.isfinite(ranks)
    colours = style.colour_map("values")
    look: dict[str, Any] = {"s": 9, "linewidths": 0, "rasterized": True, "alpha": 0.85}
    axes.scatter(x[grey], y[grey], color=style.NEUTRAL, **look)
    axes.scatter(
        x[~grey], y[~grey], c=ranks[~grey], cmap=colours, vmin=0, vmax=1, **look
    )


def _add_ranks_bar(axes: Axes) -> None:
    """Add the bar that says which colours low and high values have."""
    bar = base.colour_bar(
        axes,
        Normalize(0, 1),
        style.colour_map("values"),
        "feature value",
        fraction=0.018,
        pad=0.02,
        aspect=40,
    )
    bar.set_ticks([0.02, 0.98], labels=["low", "high"])
    bar.ax.tick_params(length=0)


def _stacked_points(
    swarm: charts.Swarm, limits: tuple[float, float]
) -> tuple[Floats, Floats, Floats]:
    """Return values, heights and ranks of the points, stacked around the lines."""
    low, high = limits
    points: list[tuple[Floats, Floats, Floats]] = []
    for line_position, line_values in enumerate(swarm.values):
        present = np.isfinite(line_values)
        shown = line_values[present]
        bin_index = pd.Series(
            np.clip(((shown - low) / (high - low) * _BINS).astype(int), 0, _BINS)
        )
        # The points of a narrow bin are stacked around the line, in the order of the
        # rows: sorted by value, they would form arrows. Denser bins are wider.
        nth = bin_index.groupby(bin_index).cumcount().to_numpy()
        ladder = (nth + 1) // 2 * np.where(nth % 2, 1, -1)
        stack = line_position + ladder * min(0.09, 0.76 / (nth.max(initial=0) + 1))
        points.append((shown, stack, swarm.ranks[line_position][present]))
    across, up, ranks = map(np.concatenate, zip(*points, strict=True))
    return across, up, ranks


@styled
def waterfall(
    explanation: Explanation,
    *,
    row: int = 0,
    top_n: int | None = 10,
    target: str | int | None = None,
    title: str | None = None,
    label: str | None = None,
    ax: Axes | None = None,
) -> PlotFigure:
    """Draw one row's attributions as steps from the baseline's output (bottom) to the
    row's output (top).

    Blue steps raise the output, orange ones lower it. Features beyond ``top_n`` make
    one step together. If the attributions do not add up to the difference, the gap is a
    separate step, called "not attributed".

    Args:
        explanation: A local one.
        row: Position of the row, from 0.
        top_n: How many features have steps of their own, the largest first. None: all.
        target: Name or position of the output. None: the first (for rows of two
            classes: the positive one).
        title: Title of the figure. None: what is drawn.
        label: Label of the axis. None: "output", with its unit if known.
        ax: Axes of matplotlib to draw into. None: a new figure.

    Raises:
        InputError: If the explanation is global or does not add up, or there is no such
            row.
    """
    choices.check_one_unit(explanation, "waterfall")
    choices.check_local(explanation, "waterfall")
    if not stacks(explanation):
        problem = (
            "waterfall needs values that add up to the row's output, but those "
            f"of method={explanation.method!r} do not"
        )
        problem_hint = (
            "Choose method='shapley', 'integrated_gradients' or 'deeplift', or draw "
            "plot.beeswarm()."
        )
        raise InputError(problem, hint=problem_hint, code="PG004")
    row_index = choices.check_row(explanation, row)
    column = choices.pick_output(explanation, target)
    if label is None:
        label = _label_of_steps(explanation, column)
    chart = charts.steps(
        explanation, row=row_index, output=column, label=label, top_n=top_n, width=24
    )
    start = chart.data["start"]
    steps = chart.data["steps"]
    height = 1.35 + 0.31 * max(len(steps), 1)
    default = f"{explanation.method}: row {row_index}"
    figure, panel_axes = base.one_panel(style.WIDTH, height, title, default)
    base.name_rows(panel_axes, [step["name"] for step in steps])
    _draw_steps(panel_axes, [step["value"] for step in steps], start)
    _mark_ends(panel_axes, start, chart.data["end"])
    panel_axes.set_xlabel(base.checked_text("label", label, ""))
    if explanation.meta.get("unit") == LOG_ODDS and explanation.base_values is not None:
        _add_probabilities(panel_axes)
    figure.description = chart.words
    return figure


def _draw_steps(axes: Axes, steps: list[float], start: float) -> None:
    """Lay the steps from the bottom up, each from where the one below ended."""
    sizes = np.asarray(steps)
    ends = start + np.cumsum(sizes[::-1])[::-1]
    starts = np.append(ends[1:], start)[: len(sizes)]
    base.signed_bars(axes, sizes, 0.58, left=starts)
    above = np.arange(1, len(sizes))
    axes.vlines(ends[1:], above - 0.71, above - 0.29, color=style.MUTED, linewidth=0.7)
    reach = np.concatenate([starts, ends, [start]])
    low, high = padded(reach, 0.0)
    for row, (step, text) in enumerate(zip(sizes, numbers(sizes), strict=True)):
        words = text
        side = 1
        if step > 0:
            words = f"+{text}"
        elif step < 0:
            side = -1
        base.note(
            axes,
            words,
            (ends[row], row),
            (4 * side, 0),
            ha="left" if side > 0 else "right",
            bbox=_BEHIND,
        )
    axes.set_xlim(low - 0.2 * (high - low), high + 0.2 * (high - low))
    axes.set_ylim(len(sizes) - 0.3, -0.95)


def _add_probabilities(axes: Axes) -> None:
    """Add an axis above that says which probabilities the log-odds below are."""
    low, high = axes.get_xlim()
    locator = axes.xaxis.get_major_locator()
    every_tick = np.asarray(locator.tick_values(low, high), dtype=np.float64)
    ticks = every_tick[(every_tick >= low) & (every_tick <= high)]
    labels = list(map(percent, 1 / (1 + np.exp(-ticks))))
    above = axes.secondary_xaxis("top")
    above.set_xticks(ticks, labels)
    above.tick_params(labelcolor=style.MUTED, labelsize=style.SIZE_SMALL, length=2)
    above.spines[:].set_visible(False)
    above.set_xlabel("probability", fontsize=style.SIZE_SMALL, color=style.MUTED)


def _mark_ends(axes: Axes, start: float, final: float) -> None:
    """Draw lines and words at the baseline's output and at the row's."""
    axes.axvline(
        start, color=style.MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=0.5
    )
    axes.axvline(final, color=style.INK, linewidth=0.9, zorder=0.5)
    # The two words stand on opposite sides of their lines, so that they stay apart when
    # the ends are close.
    if final >= start:
        side = 1
    else:
        side = -1
    texts = [number(final), number(start)]
    if texts[0] == texts[1] and final != start:
        decimals = 1 - math.floor(math.log10(abs(final - start)))
        texts = [fixed(final, decimals), fixed(start, decimals)]
    for value, text, written, sign, colour in (
        (final, "this row", texts[0], side, style.INK),
        (start, "baseline", texts[1], -side, style.MUTED),
    ):
        look = {
            "ha": "left" if sign > 0 else "right",
            "color": colour,
            "annotation_clip": False,
            "bbox": _BEHIND,
        }
        base.note(axes, f"{text} {written}", (value, -0.62), (4 * sign, 0), **look)


def _label_of_steps(explanation: Explanation, column: int) -> str:
    """Return the label: the output if its baseline is known, else the steps' words."""
    quantity = quantity_of(explanation)
    if explanation.base_values is not None:
        quantity = "output"
    unit = explanation.meta.get("unit")
    if unit and clean(unit) not in quantity:
        quantity = f"{quantity} ({clean(unit)})"
    return ", ".join(filter(None, [quantity, towards(explanation, column)]))
