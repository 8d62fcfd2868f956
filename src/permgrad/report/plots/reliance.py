"""What several models rely on, side by side, and how far they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.patches import Rectangle

from permgrad.base.errors import InputError
from permgrad.evaluation.ranking import importance_shares
from permgrad.report import style
from permgrad.report.plots import _base as base
from permgrad.report.plots._base import Floats, PlotFigure, styled
from permgrad.report.words import clean, labels_of, number, numbers

#: Models that can be told apart as dots in one row; more are drawn as the cells of a heat map.
MOST_DOTS = 5


@styled
def reliance(
    importances: Mapping[str, npt.ArrayLike], names: Sequence[str], *, top_n: int | None = 12, title: str = ""
) -> PlotFigure:
    """Draw the share of importance that each model gives to each feature: mean and range over folds.

    ``importances`` are ``(folds, features)`` for each model. Shares are of those above 0 of one model on one fold,
    because the losses of different models differ in size. Features are ordered by their mean share over models.
    """
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in importances.items()}
    if not arrays or any(one.ndim != 2 or one.shape[1] != len(names) or not len(one) for one in arrays.values()):
        raise InputError(
            f"reliance needs importances of shape (folds, {len(names)}) for each model, however: "
            f"{ {clean(name): values.shape for name, values in arrays.items()} }"
        )
    shares = {name: np.stack([importance_shares(fold) for fold in folds]) for name, folds in arrays.items()}
    means = np.stack([folds.mean(axis=0) for folds in shares.values()], axis=1)
    order = base.largest(means.mean(axis=1), top_n)
    labels = labels_of([names[i] for i in order])
    if len(shares) <= MOST_DOTS:
        figure = _dots({name: folds[:, order] for name, folds in shares.items()}, labels, title)
    else:
        figure = _cells(list(shares), means[order], labels, title)
    base.note_hidden(figure.axes[0], len(names) - len(order))
    leading = "; ".join(
        f"{clean(name)}: {', '.join(clean(names[i]) for i in np.argsort(-column, kind='stable')[:3])}"
        for name, column in zip(shares, means.T, strict=True)
    )
    figure.description = (
        f"Shares of importance of {len(order)} of {len(names)} features by {len(shares)} models. Strongest: {leading}."
    )
    return figure


def _dots(shares: Mapping[str, Floats], labels: Sequence[str], title: str) -> PlotFigure:
    count = len(shares)
    figure, axes = base.one_panel(style.WIDTH, 1.05 + (0.2 + 0.085 * count) * len(labels), title)
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
    axes.set_xlim(-0.005, max(0.02, 1.04 * max(float(folds.max()) for folds in shares.values())))
    axes.set_xlabel("share of the model's importance (dot: mean over folds, line: lowest to highest)")
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=min(count, 3), handletextpad=0.1, columnspacing=1.4,
        borderpad=0.1, borderaxespad=0.2,
    )  # fmt: skip
    return figure


def _cells(models: Sequence[str], table: Floats, labels: Sequence[str], title: str) -> PlotFigure:
    figure, axes = base.one_panel(min(3.2 + 0.75 * len(models), 12.0), 1.7 + style.ROW * 1.1 * len(labels), title)
    texts = [[f"{value:.2f}".replace("0.", ".") if value >= 0.005 else "<.01" for value in row] for row in table]
    names, most = labels_of(models, 26), float(table.max()) or 1.0
    base.heat_table(axes, table, texts, (labels, names), most=most, size=style.SIZE_SMALL, aspect="auto")
    axes.xaxis.tick_top()
    base.name_columns(axes, names, slanted=True, degrees=32, side="left")
    return figure


@styled
def agreement_matrix(matrix: npt.ArrayLike, labels: Sequence[str], *, title: str = "") -> PlotFigure:
    """Draw how far models agree ``(models, models)``: a cell for each pair, and, framed, each model with itself.

    That diagonal, the same model fitted on other rows, is the ceiling: no other model can agree more, but by chance.
    """
    table = np.asarray(matrix, dtype=np.float64)
    if table.shape != (len(labels), len(labels)) or not len(labels):
        raise InputError(
            "matrix must have shape (models, models) with one label per model, however: "
            f"its shape is {table.shape} with {len(labels)} labels"
        )
    size = float(np.clip(0.62 * len(labels), 1.5, 5.5))
    figure, axes = base.one_panel(size + 1.75, size + 1.2, title)
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
