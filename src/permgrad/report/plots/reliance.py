"""What several models rely on, side by side, and how far they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.base.errors import InputError
from permgrad.evaluation.ranking import importance_shares
from permgrad.report import style
from permgrad.report.plots._base import (
    Floats,
    PlotFigure,
    clean,
    finish_title,
    labels_of,
    largest,
    new_figure,
    number,
    numbers,
    plain_axis,
    styled,
)

#: Models that can be told apart as dots in one row; more are drawn as the cells of a heat map.
MOST_DOTS = 5


@styled
def reliance(
    importances: Mapping[str, npt.ArrayLike], names: Sequence[str], *, top_n: int | None = 12, title: str = ""
) -> PlotFigure:
    """Draw the share of importance that each model gives to each feature: mean and range over folds.

    Shares are of the importances above 0 of one model on one fold, because the losses of different models differ in
    size. Features are ordered by their mean share over models. Up to five models are dots, more are a heat map.

    Args:
        importances: For each model ``(folds, features)``.
        names: The features.
        top_n: How many features; None: all.
        title: Title, empty for none.

    Raises:
        InputError: No model, or shapes that do not fit the names.

    Examples:
        >>> figure = reliance({"a": [[3, 1], [2, 1]], "b": [[1, 1], [1, 2]]}, ["x", "y"])
        >>> len(figure.axes)
        1
    """
    arrays = {name: np.asarray(own, dtype=np.float64) for name, own in importances.items()}
    if not arrays or any(own.ndim != 2 or own.shape[1] != len(names) or not len(own) for own in arrays.values()):
        raise InputError(
            f"reliance needs importances of shape (folds, {len(names)}) for each model, however: "
            f"{ {clean(name): own.shape for name, own in arrays.items()} }"
        )
    shares = {name: np.stack([importance_shares(row) for row in own]) for name, own in arrays.items()}
    means = np.stack([own.mean(axis=0) for own in shares.values()], axis=1)
    order = largest(means.mean(axis=1), top_n)
    figure = _dots(shares, names, order) if len(shares) <= MOST_DOTS else _cells(list(shares), means, names, order)
    finish_title(figure.axes[0], "", title)
    leading = "; ".join(
        f"{clean(name)}: {', '.join(clean(names[i]) for i in np.argsort(-column, kind='stable')[:3])}"
        for name, column in zip(shares, means.T, strict=True)
    )
    figure.description = (
        f"Shares of importance of {len(order)} of {len(names)} features by {len(shares)} models. Strongest: {leading}."
    )
    return figure


def _dots(shares: Mapping[str, Floats], names: Sequence[str], order: npt.NDArray[np.intp]) -> PlotFigure:
    count = len(shares)
    row = 0.2 + 0.085 * count
    figure = new_figure(style.WIDTH, 1.05 + row * len(order))
    axes = figure.add_subplot()
    places = np.arange(len(order))
    for band in places[::2]:
        axes.axhspan(band - 0.5, band + 0.5, color=style.RULE, alpha=0.28, linewidth=0, zorder=0)
    for model, own in enumerate(shares.values()):
        shift = (model - (count - 1) / 2) * 0.72 / count
        colour = style.SERIES[model % len(style.SERIES)]
        chosen = own[:, order]
        axes.hlines(places + shift, chosen.min(axis=0), chosen.max(axis=0), color=colour, linewidth=1.4, alpha=0.55)
        axes.plot(
            chosen.mean(axis=0), places + shift, "o", color=colour, markersize=5.2, markeredgecolor=style.PAPER,
            markeredgewidth=0.6, label=labels_of(list(shares), 24)[model], zorder=3,
        )  # fmt: skip
    axes.set_yticks(places, labels_of([names[i] for i in order]))
    axes.set_ylim(len(order) - 0.45, -0.55)
    axes.set_xlim(
        left=min(0.0, -0.005), right=max(0.02, 1.04 * max(float(own[:, order].max()) for own in shares.values()))
    )
    axes.tick_params(axis="y", length=0, labelcolor=style.INK, labelsize=style.SIZE_LABEL)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    plain_axis(axes)
    axes.set_xlabel("share of the model's importance (dot: mean over folds, line: lowest to highest)")
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=min(count, 3), handletextpad=0.1, columnspacing=1.4,
        borderpad=0.1, borderaxespad=0.2,
    )  # fmt: skip
    _hidden(axes, len(names) - len(order))
    return figure


def _cells(models: Sequence[str], means: Floats, names: Sequence[str], order: npt.NDArray[np.intp]) -> PlotFigure:
    figure = new_figure(min(3.2 + 0.75 * len(models), 12.0), 1.7 + style.ROW * 1.1 * len(order))
    axes = figure.add_subplot()
    table = means[order]
    top = float(table.max()) or 1.0
    axes.imshow(table, cmap=style.sequential(), vmin=0, vmax=top, aspect="auto")
    for row, column in np.ndindex(*table.shape):
        value = float(table[row, column])
        axes.text(
            column,
            row,
            f"{value:.2f}".replace("0.", ".") if value >= 0.005 else "<.01",
            ha="center",
            va="center",
            in_layout=False,  # it lies inside the axes; measuring hundreds of texts takes seconds
            fontsize=style.SIZE_SMALL,
            color=style.FIXED_LIGHT if value > 0.55 * top else style.FIXED_DARK,
        )
    _frame(axes, labels_of(models, 26), labels_of([names[i] for i in order]))
    axes.xaxis.tick_top()
    for text in axes.get_xticklabels():
        text.set(rotation=32, ha="left", rotation_mode="anchor")
    _hidden(axes, len(names) - len(order))
    return figure


def _hidden(axes: Any, count: int) -> None:
    if count:
        axes.annotate(
            f"{count} more not shown", (0, 0), xycoords="axes fraction", xytext=(-8, -5), textcoords="offset points",
            ha="right", va="top", fontsize=style.SIZE_SMALL, color=style.MUTED,
        )  # fmt: skip


def _frame(axes: Any, columns: Sequence[str], rows: Sequence[str]) -> None:
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(np.arange(1, len(columns)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(rows)) - 0.5, minor=True)
    axes.grid(which="minor", color=style.PAPER, linewidth=2)
    axes.tick_params(which="both", length=0, labelcolor=style.INK)
    for side in axes.spines.values():
        side.set_visible(False)


@styled
def agreement_matrix(
    matrix: npt.ArrayLike, labels: Sequence[str], *, limits: tuple[float, float] = (0.0, 1.0), title: str = ""
) -> PlotFigure:
    """Draw how far models agree: a cell for each pair, and on the diagonal, framed, each model with itself.

    The diagonal, the same model fitted on other rows, is the ceiling: no other model can agree more, but by chance.

    Args:
        matrix: ``(models, models)``; NaN where undefined.
        labels: The models.
        limits: Values of the palest and of the darkest colour.
        title: Title, empty for none.

    Examples:
        >>> figure = agreement_matrix([[0.9, 0.6], [0.6, 0.8]], ["a", "b"])
        >>> len(figure.axes)
        1
    """
    table = np.asarray(matrix, dtype=np.float64)
    if table.shape != (len(labels), len(labels)) or not len(labels):
        raise InputError(
            "matrix must have shape (models, models) with one label per model, however: "
            f"its shape is {table.shape} with {len(labels)} labels"
        )
    size = float(np.clip(0.62 * len(labels), 1.5, 5.5))
    figure = new_figure(size + 1.75, size + 1.2 + (0.3 if title else 0))
    axes = figure.add_subplot()
    shown = np.ma.masked_invalid(table)
    axes.imshow(shown, cmap=style.sequential(), vmin=limits[0], vmax=limits[1], aspect="equal")
    from matplotlib.patches import Rectangle

    texts = iter(numbers(table.ravel(), 2))
    for row, column in np.ndindex(*table.shape):
        value = float(table[row, column])
        dark = np.isfinite(value) and (value - limits[0]) > 0.55 * (limits[1] - limits[0])
        colour = style.MUTED if not np.isfinite(value) else style.FIXED_LIGHT if dark else style.FIXED_DARK
        axes.text(
            column, row, next(texts), ha="center", va="center", color=colour, fontsize=style.SIZE_LABEL,
            in_layout=False,
        )  # fmt: skip
        if row == column:
            box = Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fill=False, edgecolor=style.INK, linewidth=1.3)
            axes.add_patch(box)
    names = labels_of(labels, 26)
    _frame(axes, names, names)
    for text in axes.get_xticklabels():
        text.set(rotation=32, ha="right", rotation_mode="anchor")
    finish_title(axes, "", title)
    figure.description = "Agreement of models, each with itself first: " + ", ".join(
        f"{clean(labels[row])} and {clean(labels[column])} {number(float(table[row, column]), 2)}"
        for row in range(len(labels))
        for column in range(row, len(labels))
    )
    return figure
