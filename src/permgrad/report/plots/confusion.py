"""The confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.base.errors import InputError
from permgrad.report import style
from permgrad.report.plots._base import PlotFigure, finish_title, labels_of, new_figure, styled


@styled
def confusion_matrix(matrix: npt.ArrayLike, labels: Sequence[Any], *, title: str = "") -> PlotFigure:
    """Draw counts (numbers) and the share of each true class (colour); rows are the truth.

    Args:
        matrix: ``(classes, classes)`` counts.
        labels: The classes.
        title: Title, empty for none.
    """
    counts = np.asarray(matrix, dtype=np.float64)
    if counts.ndim != 2 or counts.shape != (len(labels), len(labels)) or not len(labels):
        raise InputError(
            "matrix must have shape (classes, classes) with one label per class, however: "
            f"its shape is {counts.shape} with {len(labels)} labels"
        )
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    size = float(np.clip(0.72 * len(labels), 2.2, 6.6))
    figure = new_figure(size + 1.7, size + 0.9 + (0.3 if title else 0))
    axes = figure.add_subplot()
    axes.imshow(shares, cmap=style.sequential(), vmin=0, vmax=1, aspect="equal")
    if len(labels) <= 12:
        for row, column in np.ndindex(*counts.shape):
            axes.text(
                column,
                row,
                f"{counts[row, column]:,.0f}",
                ha="center",
                va="center",
                color=style.FIXED_LIGHT if shares[row, column] > 0.55 else style.FIXED_DARK,
                fontsize=style.SIZE_LABEL if len(labels) <= 8 else style.SIZE_SMALL - 1,
                in_layout=False,
            )
    names = labels_of(labels, 14)
    slanted = len(labels) > 3 and max(map(len, names)) > 5
    axes.set_xticks(range(len(labels)), names, rotation=40 if slanted else 0, ha="right" if slanted else "center",
                    rotation_mode="anchor")  # fmt: skip
    axes.set_yticks(range(len(labels)), names)
    axes.set_xticks(np.arange(1, len(labels)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(labels)) - 0.5, minor=True)
    axes.grid(which="minor", color=style.PAPER, linewidth=2)
    axes.tick_params(which="both", length=0, labelcolor=style.INK)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    finish_title(axes, "", title)
    figure.description = "Confusion matrix, found of each true class: " + ", ".join(
        f"{name} {share:.0%}" for name, share in list(zip(names, np.diag(shares), strict=True))[:20]
    )
    return figure
