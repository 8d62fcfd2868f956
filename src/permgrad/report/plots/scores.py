"""Scores of several models on the same folds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from permgrad.base.errors import InputError
from permgrad.report import style
from permgrad.report.plots._base import (
    PlotFigure,
    clean,
    finish_title,
    labels_of,
    new_figure,
    number,
    numbers,
    padded,
    plain_axis,
    styled,
)

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
    arrays = {name: np.asarray(own, dtype=np.float64).ravel() for name, own in values.items()}
    lengths = {len(own) for own in arrays.values()}
    if not arrays or len(lengths) != 1 or lengths == {0}:
        raise InputError(
            "scores needs as many values of each model as there are folds, however: "
            f"{ {clean(name): len(own) for name, own in arrays.items()} }"
        )
    table = np.stack(list(arrays.values()))
    count = len(arrays)
    figure = new_figure(style.WIDTH, 0.85 + 0.42 * count + (0.3 if title else 0))
    axes = figure.add_subplot()
    places = np.arange(count)
    means = np.array([own[np.isfinite(own)].mean() if np.isfinite(own).any() else np.nan for own in table])
    near = within_reach(means)
    if table.shape[1] <= MOST_LINES and near.sum() > 1:
        axes.plot(table[near], places[near], color=style.RULE, linewidth=0.9, zorder=1)
    for place, (name, own) in enumerate(zip(arrays, table, strict=True)):
        colour = style.TABULAR if not level or name in level else style.NEUTRAL
        if not near[place]:
            side = means[place] > np.nanmean(means[near])
            words = "off the scale →" if side else "← off the scale"
            where, align = (0.99, "right") if side else (0.01, "left")
            axes.annotate(
                words, (where, place), xycoords=("axes fraction", "data"), ha=align, va="center",
                fontsize=style.SIZE_SMALL, color=style.MUTED,
            )  # fmt: skip
            continue
        axes.plot(own, np.full(len(own), place), "o", color=colour, alpha=0.45, markersize=4.6, markeredgewidth=0)
        axes.plot(means[place], place, "D", color=colour, markersize=7, markeredgecolor=style.PAPER, zorder=4)
    axes.set_yticks(places, labels_of(list(arrays), 30))
    axes.set_ylim(count - 0.45, -0.55)
    known = table[near][np.isfinite(table[near])]
    axes.set_xlim(*(padded(float(known.min()), float(known.max()), 0.06) if len(known) else (0.0, 1.0)))
    axes.tick_params(axis="y", length=0, labelcolor=style.INK, labelsize=style.SIZE_LABEL)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    plain_axis(axes)
    axes.set_xlabel(clean(label))
    texts = numbers(means, 4)
    for place, text in enumerate(texts):
        axes.annotate(
            text, (1.0, place), xycoords=("axes fraction", "data"), xytext=(10 + 4.8 * max(map(len, texts)), 0),
            textcoords="offset points", va="center", ha="right", fontsize=style.SIZE_LABEL, color=style.INK,
        )  # fmt: skip
    finish_title(axes, "", title)
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
