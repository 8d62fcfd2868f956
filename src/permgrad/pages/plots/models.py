"""Plots of several models: scores on the same folds, importances, and error against cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib.patches import Rectangle

from permgrad.base import style
from permgrad.base.arrays import Floats
from permgrad.base.figures import PlotFigure
from permgrad.base.numerals import number, numbers
from permgrad.evaluation.ranking import importance_shares
from permgrad.pages import choices
from permgrad.pages.plots import _base as base
from permgrad.pages.plots._base import BESIDE_ROW, note, one_panel, plain_axis, styled
from permgrad.pages.words import clean, labels_of, valued

if TYPE_CHECKING:
    from matplotlib.axes import Axes


#: Most folds whose dots are joined from model to model. More lines would hide the dots.
MOST_LINES = 12


@styled
def scores(values: Mapping[str, npt.ArrayLike], *, label: str = "score", level: tuple[str, ...] = ()) -> PlotFigure:
    """Draw each model's score on every fold as a dot, the best on top, and the mean as a diamond. Lines join a fold.

    Models of ``level`` are drawn in full colour. Empty: all.
    """
    arrays = {name: np.asarray(folds, dtype=np.float64).ravel() for name, folds in values.items()}
    table, count = np.stack(list(arrays.values())), len(arrays)
    figure, axes = base.one_panel(style.WIDTH, 0.85 + 0.42 * count)
    places = np.arange(count)
    means = np.array([folds[np.isfinite(folds)].mean() if np.isfinite(folds).any() else np.nan for folds in table])
    # Models on a common scale: none is four times as far from the first as the next nearer one. Three remain.
    away = np.abs(means - means[0])
    order = np.argsort(np.nan_to_num(away, nan=-1.0), kind="stable")
    steps = away[order]
    far = np.flatnonzero((steps[2:-1] > 0) & (steps[3:] > 4 * steps[2:-1]))
    near = np.ones(len(means), dtype=np.bool_)
    near[order[far[0] + 3 :] if len(far) else order[:0]] = False
    if table.shape[1] <= MOST_LINES and near.sum() > 1:
        axes.plot(table[near], places[near], color=style.RULE, linewidth=0.9, zorder=1)
    for place, (name, folds) in enumerate(zip(arrays, table, strict=True)):
        if not near[place]:
            above = means[place] > np.nanmean(means[near])
            words, side, at = ("off the scale →", "right", 0.99) if above else ("← off the scale", "left", 0.01)
            base.note(axes, words, (at, place), of=BESIDE_ROW, ha=side)
            continue
        colour = style.TABULAR if not level or name in level else style.NEUTRAL
        axes.plot(folds, np.full(len(folds), place), "o", color=colour, alpha=0.45, markersize=4.6, markeredgewidth=0)
        axes.plot(means[place], place, "D", color=colour, markersize=7, markeredgecolor=style.PAPER, zorder=4)
    base.name_rows(axes, labels_of(list(arrays), 30))
    axes.set_xlim(*base.padded(table[near], 0.06))
    axes.set_xlabel(clean(label))
    texts = numbers(means, 4)
    look = {"ha": "right", "fontsize": style.SIZE_LABEL, "color": style.INK}
    base.beside_rows(axes, texts, 10 + 4.8 * max(map(len, texts)), **look)
    described = valued(arrays, means, partial(number, digits=4))
    figure.description = f"{clean(label)} of {count} models on {table.shape[1]} folds, means: {described}"
    return figure


@styled
def differences(names: Sequence[str], intervals: npt.ArrayLike, *, label: str) -> PlotFigure:
    """Draw how far each model is behind another, with its interval: ``(models, 3)``, difference, low and high.

    Models whose interval contains 0 are grey.
    """
    table = np.asarray(intervals, dtype=np.float64).reshape(len(names), 3)
    figure, axes = base.one_panel(style.WIDTH, 0.95 + 0.36 * len(names))
    axes.axvline(0.0, color=style.INK, linewidth=1.0, zorder=1)
    for place, (value, low, high) in enumerate(table):
        colour = style.POSITIVE if low > 0 else style.NEGATIVE if high < 0 else style.NEUTRAL
        axes.hlines(place, low, high, color=colour, linewidth=2.0)
        axes.plot(value, place, "o", color=colour, markersize=6.5, markeredgecolor=style.PAPER, zorder=3)
    base.name_rows(axes, labels_of(names, 30))
    axes.set_xlim(*base.padded(np.append(table, 0.0), 0.06))
    axes.set_xlabel(clean(label))
    figure.description = f"{clean(label)}: {valued(names, table[:, 0])}"
    return figure


#: Most models drawn as dots in one row. More are drawn as cells of a heat map.
MOST_DOTS = 5


@styled
def reliance(importances: Mapping[str, npt.ArrayLike], names: Sequence[str], *, top_n: int | None = 12) -> PlotFigure:
    """Draw each model's shares of importance ``(folds, features)``: mean and range over folds.

    Shares are of the importances above 0 of a model on a fold, because the losses of different models differ in size.
    NaN: the model does not have the feature, and nothing is drawn.
    """
    shares = {name: np.stack(list(map(known_shares, np.asarray(one)))) for name, one in importances.items()}
    means = np.stack([folds.mean(axis=0) for folds in shares.values()], axis=1)
    order = choices.largest(np.nan_to_num(means).mean(axis=1), top_n)
    labels = labels_of([names[i] for i in order])
    if len(shares) <= MOST_DOTS:
        figure = _dots({name: folds[:, order] for name, folds in shares.items()}, labels)
    else:
        figure = _cells(list(shares), means[order], labels)
    base.note_hidden(figure.axes[0], len(names) - len(order))
    leading = "; ".join(
        f"{clean(name)}: {', '.join(clean(names[i]) for i in np.argsort(-np.nan_to_num(column), kind='stable')[:3])}"
        for name, column in zip(shares, means.T, strict=True)
    )
    figure.description = (
        f"Shares of importance of {len(order)} of {len(names)} features by {len(shares)} models. Strongest: {leading}."
    )
    return figure


def known_shares(importance: npt.ArrayLike) -> Floats:
    """Return the shares of importances ``(features,)``, NaN where a model does not have the feature."""
    values = np.asarray(importance, dtype=np.float64)
    return np.where(np.isnan(values), np.nan, importance_shares(np.nan_to_num(values)))


def _dots(shares: Mapping[str, Floats], labels: Sequence[str]) -> PlotFigure:
    count = len(shares)
    figure, axes = base.one_panel(style.WIDTH, 1.05 + (0.2 + 0.085 * count) * len(labels))
    places = np.arange(len(labels))
    for band in places[::2]:
        axes.axhspan(band - 0.5, band + 0.5, color=style.RULE, alpha=0.28, linewidth=0, zorder=0)
    for model, (folds, label) in enumerate(zip(shares.values(), labels_of(list(shares), 24), strict=True)):
        at = places + (model - (count - 1) / 2) * 0.72 / count
        colour = style.SERIES[model % len(style.SERIES)]
        axes.hlines(at, folds.min(axis=0), folds.max(axis=0), color=colour, linewidth=1.4, alpha=0.55)
        axes.plot(
            folds.mean(axis=0), at, "o", color=colour, markersize=5.2, markeredgecolor=style.PAPER,
            markeredgewidth=0.6, label=label, zorder=3,
        )  # fmt: skip
    base.name_rows(axes, labels)
    axes.set_xlim(-0.005, max(0.02, 1.04 * max(float(np.nanmax(folds)) for folds in shares.values())))
    several = any(len(folds) > 1 for folds in shares.values())
    axes.set_xlabel("share of the model's importance" + " (dot: mean over folds, line: lowest to highest)" * several)
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=min(count, 3), handletextpad=0.1, columnspacing=1.4,
        borderpad=0.1, borderaxespad=0.2,
    )  # fmt: skip
    return figure


def _cells(models: Sequence[str], table: Floats, labels: Sequence[str]) -> PlotFigure:
    figure, axes = base.one_panel(min(3.2 + 0.75 * len(models), 12.0), 1.7 + style.ROW * 1.1 * len(labels))
    texts = [[f"{value:.2f}".replace("0.", ".") if value >= 0.005 else "<.01" for value in row] for row in table]
    texts = np.where(np.isnan(table), "", texts).tolist()
    names, most = labels_of(models, 26), float(np.nanmax(table)) or 1.0
    base.heat_table(axes, table, texts, (labels, names), most=most, size=style.SIZE_SMALL, aspect="auto")
    axes.xaxis.tick_top()
    base.name_columns(axes, names, slanted=True, degrees=32, side="left")
    return figure


@styled
def agreement_matrix(matrix: npt.ArrayLike, labels: Sequence[str]) -> PlotFigure:
    """Draw the agreement of models ``(models, models)``. Framed: each with itself on other rows, the ceiling."""
    table = np.asarray(matrix, dtype=np.float64)
    size = float(np.clip(0.62 * len(labels), 1.5, 5.5))
    figure, axes = base.one_panel(size + 1.75, size + 1.2)
    names = labels_of(labels, 26)
    base.heat_table(axes, table, np.reshape(numbers(table.ravel(), 2), table.shape), (names, names))
    for place in range(len(labels)):
        corner = (place - 0.46, place - 0.46)
        axes.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, edgecolor=style.INK, linewidth=1.3))
    base.name_columns(axes, names, slanted=True, degrees=32)
    figure.description = "Agreement of models, each with itself first: " + ", ".join(
        f"{clean(labels[row])} and {clean(labels[column])} {number(float(table[row, column]), 2)}"
        for row, column in np.argwhere(np.triu(np.ones(table.shape))).tolist()
    )
    return figure


Points = tuple[npt.ArrayLike, npt.ArrayLike]


@styled
def tradeoff(
    points: Mapping[str, Points], *, x_label: str, y_label: str, quiet: tuple[str, ...] = (), name_quiet: bool = True
) -> PlotFigure:
    """Draw each method's mean error against its mean cost. Small dots are single runs.

    ``quiet`` methods are grey, for comparison, with names only if ``name_quiet``.
    """
    pairs = {name: np.asarray(pair, dtype=np.float64) for name, pair in points.items()}
    runs = {name: pair[:, np.isfinite(pair).all(axis=0) & (pair[0] > 0)] for name, pair in pairs.items()}
    runs = {name: pair for name, pair in runs.items() if pair.size}
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
        # An axis needs a length even if values differ only by rounding.
        low, high = float(values.min()), float(values.max())
        if high - low <= 1e-6 * abs(high) and high:
            log = getattr(axes, f"get_{which}scale")() == "log"
            axes.set(**{f"{which}lim": (low / 2, high * 2) if log else (low - abs(low), high + abs(high))})
    _place_labels(figure, axes, means, [name for name in means if name_quiet or name not in quiet])
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            # Powers would be written as mathematics, which the house style turns off.
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


def _place_labels(
    figure: PlotFigure, axes: Axes, means: Mapping[str, tuple[float, float]], named: Sequence[str]
) -> None:
    """Write names next to the marks, so that they hide no other name or mark."""
    figure.draw_without_rendering()
    edge, dot = axes.get_window_extent(), figure.dpi / 72
    marks = {name: axes.transData.transform(place) for name, place in means.items()}
    taken = np.array([[*(mark - 3.6 * dot), *(mark + 3.6 * dot)] for mark in marks.values()])  # left, low, right, high
    offsets = np.array([(dx, dy) for dy in (0, 10, -10, 20, -20, 30, -30) for dx in (9, -9)], dtype=np.float64)
    for name, text in zip(named, labels_of(named, 28), strict=True):
        width, half = 4.94 * len(text) * dot, 5.5 * dot
        ends = marks[name] + offsets * dot
        left = ends[:, 0] - np.where(offsets[:, 0] > 0, 0.0, width)
        boxes = np.stack([left, ends[:, 1] - half, left + width, ends[:, 1] + half], axis=1)
        shared = np.minimum(boxes[:, None, 2:], taken[:, 2:]) - np.maximum(boxes[:, None, :2], taken[:, :2])
        hidden = np.clip(shared, 0, None).prod(axis=2).sum(axis=1)
        outside = np.clip(boxes[:, 2] - edge.x1, 0, None) + np.clip(edge.x0 - left, 0, None)
        best = int(np.argmin(hidden + 1e3 * outside + 0.01 * np.arange(len(boxes))))
        taken = np.vstack([taken, boxes[best]])
        side = "left" if offsets[best][0] > 0 else "right"
        note(axes, text, means[name], offsets[best], ha=side, color=style.INK)
