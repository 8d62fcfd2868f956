"""Scores of several models on the same folds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.base.errors import InputError
from permgrad.report import style
from permgrad.report.plots import _base as base
from permgrad.report.plots._base import BESIDE_ROW, PlotFigure, styled
from permgrad.report.words import clean, labels_of, number, numbers

#: Folds whose dots are joined from model to model; more lines would hide the dots.
MOST_LINES = 12


@styled
def scores(
    values: Mapping[str, npt.ArrayLike], *, label: str = "score", level: tuple[str, ...] = (), title: str = ""
) -> PlotFigure:
    """Draw each model's score on every fold as a dot and the mean as a diamond; thin lines join a fold's dots.

    Models stand from the top, best first; ``level`` are drawn in full colour, empty: all. Lines that run alike say that
    folds differ in difficulty; lines that cross say that models differ from fold to fold.
    """
    arrays = {name: np.asarray(folds, dtype=np.float64).ravel() for name, folds in values.items()}
    lengths = {len(folds) for folds in arrays.values()}
    if not arrays or len(lengths) != 1 or lengths == {0}:
        raise InputError(
            "scores needs as many values of each model as there are folds, however: "
            f"{ {clean(name): len(folds) for name, folds in arrays.items()} }"
        )
    table, count = np.stack(list(arrays.values())), len(arrays)
    figure, axes = base.one_panel(style.WIDTH, 0.85 + 0.42 * count, title)
    places = np.arange(count)
    means = np.array([folds[np.isfinite(folds)].mean() if np.isfinite(folds).any() else np.nan for folds in table])
    near = within_reach(means)
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
    axes.set_xlim(*base.padded_around(table[near], 0.06))
    axes.set_xlabel(clean(label))
    texts = numbers(means, 4)
    look: dict[str, Any] = {"ha": "right", "fontsize": style.SIZE_LABEL, "color": style.INK}
    for place, text in enumerate(texts):
        base.note(axes, text, (1.0, place), (10 + 4.8 * max(map(len, texts)), 0), of=BESIDE_ROW, **look)
    figure.description = f"{clean(label)} of {count} models on {table.shape[1]} folds; means: " + ", ".join(
        f"{clean(name)} {number(float(mean), 4)}" for name, mean in zip(arrays, means, strict=True)
    )
    return figure


def within_reach(means: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Say which models lie on a common scale: one far worse than all others would press these into one point.

    A model is out of reach if it is more than four times as far from the first as the next nearer one; at least three
    stay.
    """
    away = np.abs(means - means[0])
    order = np.argsort(np.nan_to_num(away, nan=-1.0), kind="stable")
    steps = away[order]
    far = np.flatnonzero((steps[2:-1] > 0) & (steps[3:] > 4 * steps[2:-1]))
    near = np.ones(len(means), dtype=np.bool_)
    near[order[far[0] + 3 :] if len(far) else order[:0]] = False
    return near
