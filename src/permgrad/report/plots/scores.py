"""Scores of several models on the same folds."""

from __future__ import annotations

from collections.abc import Mapping

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

    Lines that run alike say that folds differ in difficulty; lines that cross say that models differ from fold to fold.

    Args:
        values: For each model its scores, fold by fold, NaN where there is none; models from the top, best first.
        label: What the score is.
        level: Models drawn in full colour, as those not told from the best; empty: all.
        title: Title, empty for none.

    Raises:
        InputError: No model, or different numbers of folds.

    Examples:
        >>> figure = scores({"a": [0.8, 0.9], "b": [0.7, 0.8]}, label="accuracy")
        >>> len(figure.axes)
        1
    """
    arrays = {name: np.asarray(folds, dtype=np.float64).ravel() for name, folds in values.items()}
    lengths = {len(folds) for folds in arrays.values()}
    if not arrays or len(lengths) != 1 or lengths == {0}:
        raise InputError(
            "scores needs as many values of each model as there are folds, however: "
            f"{ {clean(name): len(folds) for name, folds in arrays.items()} }"
        )
    table = np.stack(list(arrays.values()))
    count = len(arrays)
    figure = base.new_figure(style.WIDTH, 0.85 + 0.42 * count, title)
    axes = figure.add_subplot()
    places = np.arange(count)
    means = np.array([folds[np.isfinite(folds)].mean() if np.isfinite(folds).any() else np.nan for folds in table])
    near = within_reach(means)
    if table.shape[1] <= MOST_LINES and near.sum() > 1:
        axes.plot(table[near], places[near], color=style.RULE, linewidth=0.9, zorder=1)
    for place, (name, folds) in enumerate(zip(arrays, table, strict=True)):
        colour = style.TABULAR if not level or name in level else style.NEUTRAL
        if not near[place]:
            above = means[place] > np.nanmean(means[near])
            words, side, at = ("off the scale →", "right", 0.99) if above else ("← off the scale", "left", 0.01)
            base.note(axes, words, (at, place), of=BESIDE_ROW, ha=side)
            continue
        axes.plot(folds, np.full(len(folds), place), "o", color=colour, alpha=0.45, markersize=4.6, markeredgewidth=0)
        axes.plot(means[place], place, "D", color=colour, markersize=7, markeredgecolor=style.PAPER, zorder=4)
    base.name_rows(axes, labels_of(list(arrays), 30))
    drawn = table[near][np.isfinite(table[near])]
    axes.set_xlim(*(base.padded(float(drawn.min()), float(drawn.max()), 0.06) if len(drawn) else (0.0, 1.0)))
    axes.set_xlabel(clean(label))
    texts = numbers(means, 4)
    room = 10 + 4.8 * max(map(len, texts))
    for place, text in enumerate(texts):
        look = {"ha": "right", "fontsize": style.SIZE_LABEL, "color": style.INK}
        base.note(axes, text, (1.0, place), (room, 0), of=BESIDE_ROW, **look)
    base.finish_title(axes, "", title)
    figure.description = f"{clean(label)} of {count} models on {table.shape[1]} folds; means: " + ", ".join(
        f"{clean(name)} {number(float(mean), 4)}" for name, mean in zip(arrays, means, strict=True)
    )
    return figure


def within_reach(means: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Say which models lie on a common scale: one far worse than all others would press these into one point.

    A model is out of reach if it is more than four times as far from the first as the next nearer one; at least three
    stay.

    Examples:
        >>> within_reach(np.array([3.2, 3.25, 3.3, 4.5])).tolist()
        [True, True, True, False]
    """
    away = np.abs(means - means[0])
    order = np.argsort(np.nan_to_num(away, nan=-1.0), kind="stable")
    near = np.ones(len(means), dtype=np.bool_)
    for place in range(3, len(order)):
        before = away[order[place - 1]]
        if np.isfinite(before) and before > 0 and away[order[place]] > 4 * before:
            near[order[place:]] = False
            break
    return near
