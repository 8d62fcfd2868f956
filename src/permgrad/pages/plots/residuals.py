"""Plots of predictions against true values, and of errors by prediction and by feature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base import style
from permgrad.base.arrays import Array, Floats
from permgrad.base.figures import PlotFigure
from permgrad.base.numerals import number
from permgrad.pages.plots import _base as base
from permgrad.pages.plots._base import padded, plain_axis, styled
from permgrad.pages.words import clean, labels_of, value_text

MOST_POINTS = 4000
#: Bins of the running median, fewest rows of a bin, and most levels of a category that are drawn.
_BINS, _FEWEST, _MOST_LEVELS = 12, 20, 10
#: Stretches of time whose means are drawn.
_STRETCHES = 24
#: Features that have a panel.
MOST_FEATURES = 3


@styled
def residuals(truth: npt.ArrayLike, predictions: npt.ArrayLike) -> PlotFigure:
    """Draw predictions against true values (left), errors against predictions (right) and the distribution of errors.

    The line through the errors is their running median with the middle half of them.
    """
    y, guess = np.asarray(truth, dtype=np.float64).ravel(), np.asarray(predictions, dtype=np.float64).ravel()
    defined = np.isfinite(y) & np.isfinite(guess)
    y, guess = y[defined], guess[defined]
    error = y - guess
    figure = base.new_figure(style.WIDTH, 3.3)
    left, right, beside = figure.subplots(1, 3, width_ratios=(1, 1, 0.26))
    limits, errors = padded([y, guess]), padded(error)
    left.plot(limits, limits, color=style.MUTED, linewidth=0.9)
    _points(left, y, guess)
    left.set(xlim=limits, ylim=limits, xlabel="truth", ylabel="prediction", box_aspect=1)
    _errors_against(right, guess, error)
    right.set(xlim=padded(guess), ylim=errors, xlabel="prediction", ylabel="error", box_aspect=1)
    beside.hist(error, bins=30, orientation="horizontal", color=style.NEUTRAL, linewidth=0, rwidth=0.9)
    beside.axhline(0, color=style.MUTED, linewidth=0.9)
    beside.set(ylim=errors, xlabel="rows", box_aspect=1 / 0.26)
    beside.tick_params(axis="y", labelleft=False, length=0)
    for axes in (left, right):
        axes.grid(visible=True)
        plain_axis(axes, "xy")
    plain_axis(beside, counts=True)
    spread = float(np.sqrt(np.mean(error**2))) if len(error) else float("nan")
    usual = float(np.median(np.abs(error))) if len(error) else float("nan")
    figure.description = (
        f"Predictions against true values and errors against predictions for {len(y)} rows: "
        f"root mean squared error {number(spread)}, median absolute error {number(usual)}."
    )
    return figure


@styled
def residuals_by_feature(features: pd.DataFrame, errors: npt.ArrayLike) -> PlotFigure:
    """Draw errors (truth − prediction) against the first three raw features: numbers as points, categories by level.

    Where the running median is away from 0, the model has not learned something about the feature.
    """
    error = np.asarray(errors, dtype=np.float64).ravel()
    defined = np.isfinite(error)
    shown = features.loc[:, ~features.columns.duplicated()].iloc[defined, :MOST_FEATURES]
    error, count = error[defined], shown.shape[1]
    figure = base.new_figure(style.WIDTH if count > 1 else 3.9, 2.75)
    panels = np.atleast_1d(figure.subplots(1, count, sharey=True))
    for axes, name, label in zip(panels, shown.columns, labels_of(list(shown.columns), 28), strict=True):
        _one_feature(axes, shown[name], error)
        axes.set_xlabel(label)
        axes.axhline(0, color=style.MUTED, linewidth=0.9, zorder=1)
        axes.grid(axis="y")
    panels[0].set_ylabel("error")
    panels[0].set_ylim(*padded(error))
    plain_axis(panels[0], "y")
    figure.description = "Errors by " + ", ".join(clean(name) for name in shown.columns)
    return figure


@styled
def over_time(times: Array, panels: Mapping[str, tuple[Floats | None, Mapping[str, Floats]]]) -> PlotFigure:
    """Draw quantities of rows by time (``datetime64`` or numbers), one panel below the other.

    A panel has its name, a number for each row that is drawn as a point, or None, and lines by name, each of a number
    for each row: the means of up to 24 stretches of time with equal numbers of rows.
    """
    dated = times.dtype.kind == "M"
    x = times.astype("datetime64[s]").astype(np.float64) / 86_400 if dated else times.astype(np.float64)
    bins = int(np.clip(len(x) // _FEWEST, 1, _STRETCHES))
    edges = np.unique(np.quantile(x, np.linspace(0, 1, bins + 1)[1:-1]))
    stretch = np.searchsorted(edges, x, side="right")
    figure = base.new_figure(style.WIDTH, 0.6 + 1.55 * len(panels))
    drawn = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0].tolist()
    for axes, (name, (points, lines)) in zip(drawn, panels.items(), strict=True):
        if points is not None:
            _points(axes, x, points)
        for colour, (line, values) in zip((style.INK, style.IMAGE), lines.items(), strict=False):
            means = pd.DataFrame({"x": x, "y": values}).groupby(stretch).mean()
            axes.plot(means["x"], means["y"], color=colour, linewidth=1.5, zorder=4, label=line)
        axes.set_ylabel(name)
        axes.grid(axis="y")
        plain_axis(axes, "y")
        if len(lines) > 1:
            axes.legend(loc="best", handlelength=1.6, fontsize=style.SIZE_SMALL)
    if dated:
        drawn[-1].xaxis_date()
    else:
        plain_axis(drawn[-1])
    figure.description = f"By time, of {len(x)} rows: {'; '.join(panels)}."
    return figure


def _one_feature(axes: Any, values: pd.Series[Any], error: Floats) -> None:
    numeric = pd.api.types.is_numeric_dtype(values)
    if numeric and not pd.api.types.is_bool_dtype(values):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        defined = np.isfinite(numbers)
        if len(np.unique(numbers[defined])) > _MOST_LEVELS:
            _errors_against(axes, numbers[defined], error[defined])
            axes.set_xlim(*padded(numbers))
            plain_axis(axes)
            return
    texts = np.array([value_text(value, 10) for value in values.tolist()], dtype=object)
    names, codes, counts = np.unique(texts.astype(str), return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_MOST_LEVELS]
    order = np.sort(order) if numeric else order
    for place, level in enumerate(order):
        errors, ends = error[codes == level], [place - 0.3, place + 0.3]
        quarter, middle, upper = np.quantile(errors, [0.25, 0.5, 0.75])
        spread = ((np.arange(len(errors)) * 0.6180339887) % 1 - 0.5) * 0.5
        _points(axes, np.asarray(place + spread, dtype=np.float64), errors)
        axes.plot(ends, [middle, middle], color=style.INK, linewidth=1.8, zorder=4)
        axes.fill_between(ends, quarter, upper, color=style.INK, alpha=0.14, linewidth=0, zorder=3)
    words = [str(names[level]) for level in order]
    base.name_columns(axes, words, slanted=sum(map(len, words)) > 24)


def _points(axes: Any, x: Floats, y: Floats) -> None:
    rows = base.thinned(len(x), MOST_POINTS)
    alpha = float(np.clip(300 / max(len(rows), 1), 0.12, 0.7))
    axes.scatter(x[rows], y[rows], s=9, linewidths=0, alpha=alpha, color=style.TABULAR, rasterized=True)


def _errors_against(axes: Any, x: Floats, error: Floats) -> None:
    """Draw errors as points, and their running median with the middle half of them."""
    axes.axhline(0, color=style.MUTED, linewidth=0.9)
    _points(axes, x, error)
    bins = min(_BINS, len(x) // _FEWEST)
    if bins < 3:
        return
    edges = np.unique(np.quantile(x, np.linspace(0, 1, bins + 1)))
    member = pd.Series(np.clip(np.searchsorted(edges, x, side="right") - 1, 0, max(len(edges) - 2, 0)))
    by_bin = pd.DataFrame({"x": x, "error": error}).groupby(member)
    filled = by_bin.size() >= _FEWEST // 2
    if filled.sum() < 2:
        return
    centre = by_bin["x"].median()[filled]
    low, middle, high = (by_bin["error"].quantile(share)[filled] for share in (0.25, 0.5, 0.75))
    axes.fill_between(centre, low, high, color=style.INK, alpha=0.14, linewidth=0, zorder=3)
    axes.plot(centre, middle, color=style.INK, linewidth=1.5, zorder=4)
