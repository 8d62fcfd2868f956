"""The confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.base.errors import InputError
from permgrad.report import style
from permgrad.report.plots._base import PlotFigure, heat_table, name_columns, one_panel, styled
from permgrad.report.words import labels_of


@styled
def confusion_matrix(matrix: npt.ArrayLike, labels: Sequence[Any], *, title: str = "") -> PlotFigure:
    """Draw counts (numbers) ``(classes, classes)`` and the share of each true class (colour); rows are the truth."""
    counts = np.asarray(matrix, dtype=np.float64)
    if counts.shape != (len(labels), len(labels)) or not len(labels):
        raise InputError(
            "matrix must have shape (classes, classes) with one label per class, however: "
            f"its shape is {counts.shape} with {len(labels)} labels"
        )
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    size = float(np.clip(0.72 * len(labels), 2.2, 6.6))
    figure, axes = one_panel(size + 1.7, size + 0.9, title)
    texts = np.array([[f"{count:,.0f}" for count in row] for row in counts]) if len(labels) <= 12 else None
    names = labels_of(labels, 14)
    heat_table(axes, shares, texts, (names, names), size=style.SIZE_LABEL if len(labels) <= 8 else style.SIZE_SMALL - 1)
    name_columns(axes, names, slanted=len(labels) > 3 and max(map(len, names)) > 5)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    figure.description = "Confusion matrix, found of each true class: " + ", ".join(
        f"{name} {share:.0%}" for name, share in list(zip(names, np.diag(shares), strict=True))[:20]
    )
    return figure
