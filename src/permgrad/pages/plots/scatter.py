"""The values of a feature against their attributions, one point for each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

from permgrad.attribution.explanation.statistics import interval, mean_over_rows
from permgrad.base import style
from permgrad.base.arrays import Floats, Integers
from permgrad.base.dependence import Dependence
from permgrad.base.errors import InputError, counted, unknown
from permgrad.base.figures import PlotFigure
from permgrad.base.sequences import positions_of
from permgrad.pages import choices
from permgrad.pages.charts.chart import padded, thinned
from permgrad.pages.plots import _base as base
from permgrad.pages.plots._base import styled
from permgrad.pages.steps import are_iso_dates, ranks_of
from permgrad.pages.words import clean, labels_of, quantity_of, towards, value_text

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

#: More rows than this are thinned evenly. The trend uses all of them.
_MOST_POINTS = 1500
#: Numbers with so many different values at most are levels.
_FEW_VALUES = 8
#: Strips of levels without an order.
_MOST_STRIPS = 12
#: Stretches of a trend, and rows of each.
_STRETCHES = 12
_FEWEST_ROWS = 10
#: Share of the room between two strips that their points take.
_STRIP = 0.7
_MISSING = "missing"


@dataclass(frozen=True)
class _Along:
    """Where rows stand along a feature: NaN where they are not drawn.

    ``levels`` name the positions 0, 1, … of strips. ``hidden``: levels that are not
    drawn.
    """

    positions: Floats
    levels: tuple[str, ...] = ()
    hidden: int = 0
    dates: bool = False


@styled
def scatter(
    explanation: Explanation,
    feature: str | int,
    *,
    colour: str | int | None = None,
    target: str | int | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> PlotFigure:
    """Draw one point per row: the value of a feature and its attribution.

    Numbers and dates have a trend, the mean attribution in stretches of equally many
    rows, with its 95 % band. Levels stand in strips, each with its mean and interval.
    Ordered levels keep their order, others are sorted by their number of rows.

    Args:
        feature: the feature's name or position.
        colour: another feature, whose values colour the points: by their rank, or by
            level.
        target: name or position of the output (None: the first, of two classes the
            positive one).
        title: the title (None: a default, empty: none).
        ax: axes of matplotlib to draw into.

    Raises:
        InputError: The explanation is global, or its features have no values, or there
            is no such feature or output.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> X = np.random.default_rng(0).normal(size=(80, 2))
        >>> local = pg.explain(lambda rows: rows[:, 0] ** 2, X, method="shapley")
        >>> len(local.plot.scatter("x0").axes)
        1
    """
    choices.check_one_unit(explanation, "scatter")
    choices.check_local(explanation, "scatter")
    position = _position(explanation, feature, "feature")
    column = choices.pick_output(explanation, target)
    values = np.asarray(explanation.values[:, position, column], dtype=np.float64)
    along = _along(explanation, position)
    drawn = np.flatnonzero(np.isfinite(along.positions) & np.isfinite(values))
    rows = drawn[thinned(len(drawn), _MOST_POINTS)]
    name = clean(explanation.names[position])
    default = f"{explanation.method}: {name}, {counted(len(values), 'row')}"
    figure, axes = base.one_panel(style.WIDTH, 3.6, title, default)
    across = along.positions[rows]
    if along.levels:
        across = across + _spread(across, values[rows])
    _draw_points(axes, explanation, (across, values[rows]), rows, colour)
    _draw_means(axes, explanation, along, values)
    axes.axhline(0, color=style.MUTED, linewidth=0.8, zorder=0.5)
    axes.grid(axis="y")
    base.plain_axis(axes, "y")
    _finish(axes, along, name)
    unit = [quantity_of(explanation), towards(explanation, column)]
    axes.set_ylabel(base.upright(", ".join(filter(None, unit))))
    _note_left_out(axes, along, len(values) - len(drawn))
    figure.description = (
        f"Attributions of {name} against its values, {counted(len(drawn), 'row')}."
    )
    return figure


def _position(explanation: Explanation, feature: str | int, argument: str) -> int:
    """Return the position of a feature that has values, named by an argument."""
    names = explanation.names
    is_position = isinstance(feature, int) and not isinstance(feature, bool)
    if is_position and 0 <= int(feature) < len(names):
        position = int(feature)
    elif isinstance(feature, str) and feature in names:
        position = names.index(feature)
    else:
        raise unknown(argument, feature, names)
    frame = explanation.feature_values
    if frame is None or names[position] not in frame:
        problem = f"scatter needs the values of {names[position]!r}, which has none"
        hint = "Name a feature that is one column."
        raise InputError(problem, hint=hint, code="PG004")
    return position


def _along(explanation: Explanation, position: int) -> _Along:
    """Return where the rows stand along a feature."""
    assert explanation.feature_values is not None
    cells = explanation.feature_values[explanation.names[position]]
    kinds = pd.api.types
    if cells.nunique() > _FEW_VALUES and are_iso_dates(cells):
        texts = cells.astype(object).map(str.strip, na_action="ignore")
        moments = pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")
        if moments.notna().equals(cells.notna()):
            cells = moments
    if kinds.is_datetime64_any_dtype(cells.dtype):
        days = (cells - pd.Timestamp(0, tz=cells.dt.tz)) / pd.Timedelta(days=1)
        return _Along(np.asarray(days, dtype=np.float64), dates=True)
    is_number = kinds.is_numeric_dtype(cells.dtype) and not kinds.is_bool_dtype(
        cells.dtype
    )
    if is_number and cells.nunique() > _FEW_VALUES:
        return _Along(cells.to_numpy(dtype=np.float64, na_value=np.nan))
    ranks = ranks_of(explanation, position)
    return _in_strips(cells.astype(object), ranks)


def _in_strips(cells: pd.Series[Any], ranks: Floats) -> _Along:
    """Return where the rows of levels stand. Missing cells are the last level."""
    present = cells.notna().to_numpy(dtype=bool)
    texts = cells.map(value_text, na_action="ignore")
    counts = texts[present].value_counts()
    if np.isfinite(ranks[present]).all() and present.any():
        first_ranks = pd.Series(ranks, texts.index)[present].groupby(texts).first()
        levels = first_ranks.sort_values().index.tolist()
        hidden = 0
    else:
        levels = counts.index[:_MOST_STRIPS].tolist()
        hidden = len(counts) - len(levels)
    placed = texts.map(positions_of(levels))
    positions = placed.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    if not present.all():
        positions[~present] = len(levels)
        levels = [*levels, _MISSING]
    return _Along(positions, tuple(map(str, levels)), hidden)


def _spread(strips: Floats, values: Floats) -> Floats:
    """Return how far points stand beside the middle of their strip, so that points of
    equal values stand apart. It is the same each time.
    """
    order = np.argsort(values, kind="stable")
    # The golden ratio spreads neighbours evenly.
    turns = np.empty(len(strips))
    turns[order] = np.arange(len(strips)) * 0.6180339887498949
    return np.asarray((turns % 1 - 0.5) * _STRIP)


def _draw_points(
    axes: Axes,
    explanation: Explanation,
    points: tuple[Floats, Floats],
    rows: npt.NDArray[np.intp],
    colour: str | int | None,
) -> None:
    """Draw the points of rows in the colours of another feature."""
    across, up = points
    look: dict[str, Any] = {
        "s": 11,
        "linewidths": 0,
        "alpha": 0.7,
        "rasterized": True,
    }
    if colour is None:
        axes.scatter(across, up, color=style.TABULAR, **look)
        return
    position = _position(explanation, colour, "colour")
    name = clean(explanation.names[position])
    ranks = ranks_of(explanation, position)[rows]
    if np.isfinite(ranks).any():
        grey = ~np.isfinite(ranks)
        axes.scatter(across[grey], up[grey], color=style.NEUTRAL, **look)
        colours = style.colour_map("values")
        ranked: dict[str, Any] = {
            "c": ranks[~grey],
            "cmap": colours,
            "vmin": 0,
            "vmax": 1,
        }
        axes.scatter(across[~grey], up[~grey], **ranked, **look)
        size: dict[str, Any] = {"fraction": 0.018, "pad": 0.02, "aspect": 40}
        bar = base.colour_bar(axes, Normalize(0, 1), colours, name, **size)
        bar.set_ticks([0.02, 0.98], labels=["low", "high"])
        bar.ax.tick_params(length=0)
        return
    assert explanation.feature_values is not None
    cells = explanation.feature_values[explanation.names[position]].astype(object)
    strips = _in_strips(cells, np.full(len(cells), np.nan))
    shown = strips.levels[: len(style.SERIES)]
    codes = strips.positions[rows]
    other_rows = ~(codes < len(shown))
    if other_rows.any():
        axes.scatter(across[other_rows], up[other_rows], color=style.NEUTRAL, **look)
    for code, level in enumerate(labels_of(list(shown), 18)):
        of_level = codes == code
        level_look = {**look, "color": style.SERIES[code], "label": level}
        axes.scatter(across[of_level], up[of_level], **level_look)
    further = strips.hidden + len(strips.levels) - len(shown)
    heading = name
    if further:
        heading = f"{name} (grey: {further} more)"
    axes.legend(
        title=heading, loc="center left", bbox_to_anchor=(1.01, 0.5), markerscale=2
    )


def _draw_means(
    axes: Axes, explanation: Explanation, along: _Along, values: Floats
) -> None:
    """Draw the mean attribution along the feature, with its interval."""
    value_parts = _parts(along, np.isfinite(values))
    middles = np.full(len(value_parts), np.nan)
    means = np.full((3, len(value_parts)), np.nan)
    for index, rows in enumerate(value_parts):
        middles[index] = along.positions[rows].mean()
        means[:, index] = _mean(explanation, values, rows)
    if along.levels:
        look: dict[str, Any] = {"color": style.INK, "zorder": 3}
        axes.vlines(middles, means[1], means[2], linewidth=1.4, **look)
        axes.plot(middles, means[0], "o", markersize=5, linestyle="none", **look)
    elif len(value_parts) > 1:
        axes.fill_between(
            middles, means[1], means[2], color=style.INK, alpha=0.2, linewidth=0
        )
        axes.plot(middles, means[0], color=style.INK, linewidth=1.4)


def _parts(along: _Along, defined: npt.NDArray[np.bool_]) -> list[Integers]:
    """Return the rows of each level, or of stretches of about equally many rows."""
    if along.levels:
        levels = range(len(along.levels))
        return [np.flatnonzero((along.positions == i) & defined) for i in levels]
    rows = np.flatnonzero(np.isfinite(along.positions) & defined)
    count = min(_STRETCHES, len(rows) // _FEWEST_ROWS)
    if count < 2:
        return []
    positions = along.positions[rows]
    ends = np.unique(np.quantile(positions, np.linspace(0, 1, count + 1)[1:-1]))
    stretch = np.searchsorted(ends, positions, side="left")
    return [rows[stretch == index] for index in np.unique(stretch)]


def _mean(
    explanation: Explanation, values: Floats, rows: Integers
) -> tuple[float, float, float]:
    """Return the mean over rows, and both ends of its 95 % interval."""
    weights = explanation.meta.get("sample_weight")
    if weights is not None:
        weights = np.asarray(weights, dtype=np.float64)[rows]
    units = Dependence.of_rows(explanation.meta)
    if units is not None:
        units = units.take(rows)
    mean, error, size = mean_over_rows(values[rows, None], weights, units)
    low, high, _ = interval(mean, error, size, 0.95)
    return float(mean[0]), float(low[0]), float(high[0])


def _finish(axes: Axes, along: _Along, name: str) -> None:
    """Name the horizontal axis and its ticks."""
    axes.set_xlabel(name)
    if along.levels:
        words = labels_of(list(along.levels), 18)
        slanted = sum(map(len, words)) > 60
        base.name_columns(axes, words, slanted=slanted)
        axes.set_xlim(-0.6, len(words) - 0.4)
        return
    axes.set_xlim(*padded(along.positions, 0.02))
    if along.dates:
        locator = AutoDateLocator()
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    else:
        base.plain_axis(axes)


def _note_left_out(axes: Axes, along: _Along, rows: int) -> None:
    """Say what is not drawn."""
    if along.hidden:
        text = f"{along.hidden:,} more levels ({counted(rows, 'row')}) not shown"
    elif rows:
        text = f"{counted(rows, 'row')} without a value not shown"
    else:
        return
    base.note(axes, text, (1, 1.02), of="axes fraction", ha="right", va="bottom")
