"""Error against cost: one mark for each method, and a dot for each of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib.transforms import Bbox

from permgrad.base.errors import InputError
from permgrad.report import style
from permgrad.report.plots._base import Floats, PlotFigure, note, one_panel, plain_axis, styled
from permgrad.report.words import clean, number, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = tuple[npt.ArrayLike, npt.ArrayLike]


@styled
def tradeoff(
    points: Mapping[str, Points], *, x_label: str, y_label: str, quiet: tuple[str, ...] = (), name_quiet: bool = True
) -> PlotFigure:
    """Draw each method's mean error against its mean cost; small dots are single runs.

    ``points`` are for each method its costs and its errors, run by run; axes are logarithmic where their numbers are
    above 0. ``quiet`` methods are grey, for comparison, with their names only if ``name_quiet``.
    """
    runs = _checked(points)
    figure, axes = one_panel(style.WIDTH, 4.4)
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
    for which, values in zip("xy", map(np.concatenate, zip(*runs.values(), strict=True)), strict=True):
        _widen(axes, which, values)
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


def _widen(axes: Axes, which: str, values: Floats) -> None:
    """Give an axis a length where values differ by rounding alone, as a mean from its only value."""
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-6 * abs(high) and high:
        log = getattr(axes, f"get_{which}scale")() == "log"
        axes.set(**{f"{which}lim": (low / 2, high * 2) if log else (low - abs(low), high + abs(high))})


def _place_labels(
    figure: PlotFigure, axes: Axes, means: Mapping[str, tuple[float, float]], named: Sequence[str]
) -> None:
    """Write names beside the marks, each where it hides no other name and no other mark."""
    figure.draw_without_rendering()
    edge, dot = axes.get_window_extent(), figure.dpi / 72
    marks = {name: axes.transData.transform(place) for name, place in means.items()}
    taken = [Bbox([mark - 3.6 * dot, mark + 3.6 * dot]) for mark in marks.values()]
    offsets = np.array([(dx, dy) for dy in (0, 10, -10, 20, -20, 30, -30) for dx in (9, -9)], dtype=np.float64)
    for name in named:
        text = shorten(name, 28)
        width, half = 4.94 * len(text) * dot, 5.5 * dot
        ends = marks[name] + offsets * dot
        boxes = [
            Bbox([(x if dx > 0 else x - width, y - half), (x + width if dx > 0 else x, y + half)])
            for (x, y), (dx, _) in zip(ends, offsets, strict=True)
        ]
        hidden = [sum(_overlap(box, other) for other in taken) for box in boxes]
        outside = [max(0.0, box.x1 - edge.x1) + max(0.0, edge.x0 - box.x0) for box in boxes]
        best = int(np.argmin(np.add(hidden, np.multiply(1e3, outside)) + 0.01 * np.arange(len(boxes))))
        taken.append(boxes[best])
        side = "left" if offsets[best][0] > 0 else "right"
        note(axes, text, means[name], offsets[best], ha=side, color=style.INK)


def _overlap(one: Bbox, other: Bbox) -> float:
    """Return the area that two boxes share."""
    both = Bbox.intersection(one, other)
    return 0.0 if both is None else float(both.width * both.height)
