"""Error against cost: one mark for each method, and a dot for each of its runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from permgrad.base.errors import InputError
from permgrad.report import style
from permgrad.report.plots._base import Floats, PlotFigure, new_figure, note, plain_axis, styled
from permgrad.report.words import clean, number, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = tuple[npt.ArrayLike, npt.ArrayLike]
Box = tuple[float, float, float, float]


@styled
def tradeoff(
    points: Mapping[str, Points], *, x_label: str, y_label: str, quiet: tuple[str, ...] = (), name_quiet: bool = True
) -> PlotFigure:
    """Draw each method's mean error against its mean cost; small dots are single runs.

    Args:
        points: for each method its costs and its errors, run by run, of the same length; both axes are logarithmic
            where their numbers are above 0.
        x_label: what the cost is.
        y_label: what the error is.
        quiet: methods drawn in grey: those of others, for comparison.
        name_quiet: whether the grey ones have their names written beside them.

    Raises:
        InputError: There is no method, or lengths differ.

    Examples:
        >>> figure = tradeoff({"a": ([0.1, 0.2], [0.01, 0.02])}, x_label="seconds", y_label="error")
        >>> len(figure.axes)
        1
    """
    runs = _checked(points)
    figure = new_figure(style.WIDTH, 4.4)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    if min(float(y.min()) for _, y in runs.values()) > 0:
        axes.set_yscale("log")
    means = {}
    for place, (name, (x, y)) in enumerate(runs.items()):
        colour = style.NEUTRAL if name in quiet else style.SERIES[place % len(style.SERIES)]
        axes.plot(x, y, "o", color=colour, markersize=2.6, alpha=0.35, linestyle="none")
        means[name] = (float(np.exp(np.log(x).mean())), float(y.mean()))
        axes.plot(*means[name], "o", color=colour, markersize=7.5, markeredgecolor=style.PAPER, linestyle="none")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(axis="both")
    axes.margins(0.08)
    _widen(axes.get_xscale(), axes.set_xlim, np.concatenate([x for x, _ in runs.values()]))
    _widen(axes.get_yscale(), axes.set_ylim, np.concatenate([y for _, y in runs.values()]))
    _place_labels(figure, axes, means, [name for name in means if name_quiet or name not in quiet])
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            # Powers would be written as mathematics, which names in this house are never read as.
            axis.set_major_formatter(lambda value, _: number(value, 2))
            axis.set_minor_formatter("")
        else:
            plain_axis(axes, axis.axis_name)
    best = min(means, key=lambda name: means[name][1])
    figure.description = (
        f"{len(means)} methods by {clean(y_label)} and {clean(x_label)}. Smallest error: {clean(best)}, "
        f"{number(means[best][1])} at {number(means[best][0])}."
    )
    return figure


def _checked(points: Mapping[str, Points]) -> dict[str, tuple[Floats, Floats]]:
    """Return the runs that have a cost above 0 and an error; refuse lengths that differ, and no such run at all."""
    runs = {}
    for name, pair in points.items():
        x, y = (np.asarray(values, dtype=np.float64) for values in pair)
        if x.shape != y.shape or x.ndim != 1:
            raise InputError(
                f"each method needs as many costs as errors, however: {name!r} has {x.shape} and {y.shape}; pass two "
                "lists of one length"
            )
        drawn = np.isfinite(x) & np.isfinite(y) & (x > 0)
        if drawn.any():
            runs[name] = (x[drawn], y[drawn])
    if not runs:
        raise InputError(
            "tradeoff needs a method with a cost above 0 and an error, however: there is none; pass finite "
            'numbers, as in points={"permutation": ([0.2], [0.01])}'
        )
    return runs


def _widen(scale: str, set_limits: Callable[[float, float], Any], values: Floats) -> None:
    """Give an axis a length where values differ by rounding alone, as a mean from its only value."""
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-6 * abs(high) and high:
        set_limits(*((low / 2, high * 2) if scale == "log" else (low - abs(low), high + abs(high))))


def _place_labels(
    figure: PlotFigure, axes: Axes, means: Mapping[str, tuple[float, float]], named: Sequence[str]
) -> None:
    """Write names beside the marks, each where it hides no other name and no other mark."""
    figure.draw_without_rendering()
    marks = [tuple(axes.transData.transform(place)) for place in means.values()]
    taken: list[Box] = [(x - 5, y - 5, x + 5, y + 5) for x, y in marks]
    edge = axes.get_window_extent()
    scale = figure.dpi / 72
    offsets = [(dx, dy) for dy in (0, 10, -10, 20, -20, 30, -30) for dx in (9, -9)]
    for (name, place), mark in zip(means.items(), marks, strict=True):
        if name not in named:
            continue
        text = shorten(name, 28)
        size = (5.2 * len(text) * scale * 0.95, 11.0 * scale)
        boxes = [_box(mark, offset, size, scale) for offset in offsets]
        hidden = [sum(_overlap(box, other) for other in taken) for box in boxes]
        outside = [max(0.0, box[2] - edge.x1) + max(0.0, edge.x0 - box[0]) for box in boxes]
        best = int(np.argmin(np.add(hidden, np.multiply(1e3, outside)) + 0.01 * np.arange(len(boxes))))
        taken.append(boxes[best])
        note(axes, text, place, offsets[best], ha="left" if offsets[best][0] > 0 else "right", color=style.INK)


def _box(mark: Sequence[float], offset: tuple[float, float], size: tuple[float, float], scale: float) -> Box:
    """Return where a name would stand, in dots."""
    left = mark[0] + offset[0] * scale - (0 if offset[0] > 0 else size[0])
    low = mark[1] + offset[1] * scale - size[1] / 2
    return left, low, left + size[0], low + size[1]


def _overlap(one: Box, other: Box) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    up = min(one[3], other[3]) - max(one[1], other[1])
    return max(across, 0.0) * max(up, 0.0)
