"""Predictions against the truth, and what is left over."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from permgrad._errors import InputError
from permgrad.report import style
from permgrad.report.plots._base import (
    PlotFigure,
    finish_title,
    new_figure,
    number,
    padded,
    plain_axis,
    styled,
    thinned,
)

MOST_POINTS = 4000


@styled
def residuals(truth: npt.ArrayLike, predictions: npt.ArrayLike, *, unit: str = "", title: str = "") -> PlotFigure:
    """Draw predictions against the truth (left) and the errors against the prediction (right).

    Args:
        truth: ``(rows,)``.
        predictions: ``(rows,)``.
        unit: Unit of the target, written on the axes.
        title: Title, empty for none.
    """
    y, guess = np.asarray(truth, dtype=np.float64).ravel(), np.asarray(predictions, dtype=np.float64).ravel()
    if y.shape != guess.shape:
        raise InputError(f"truth and predictions must have as many rows, however: {len(y)} and {len(guess)}")
    known = np.isfinite(y) & np.isfinite(guess)
    y, guess = y[known], guess[known]
    keep = thinned(len(y), MOST_POINTS)
    figure = new_figure(style.WIDTH, 3.5 + (0.3 if title else 0))
    left, right = figure.subplots(1, 2)
    unit = f" ({unit})" if unit else ""
    alpha = float(np.clip(300 / max(len(keep), 1), 0.12, 0.7))
    options = {"s": 9, "linewidths": 0, "alpha": alpha, "color": style.TABULAR, "rasterized": True}
    low, high = padded(*(_ends(np.concatenate([y, guess]))))
    left.plot([low, high], [low, high], color=style.MUTED, linewidth=0.9)
    left.scatter(y[keep], guess[keep], **options)
    left.set(xlim=(low, high), ylim=(low, high), xlabel=f"truth{unit}", ylabel=f"prediction{unit}", box_aspect=1)
    error = y - guess
    right.axhline(0, color=style.MUTED, linewidth=0.9)
    right.scatter(guess[keep], error[keep], **options)
    right.set(
        xlim=padded(*_ends(guess)),
        ylim=padded(*_ends(error)),
        xlabel=f"prediction{unit}",
        ylabel=f"error{unit}",
        box_aspect=1,
    )
    for axes in (left, right):
        axes.grid(visible=True)
        plain_axis(axes)
        plain_axis(axes, "y")
    finish_title(left, "", title)
    spread = float(np.sqrt(np.mean(error**2))) if len(error) else float("nan")
    figure.description = (
        f"Predictions against the truth and errors against predictions for {len(y)} rows; "
        f"root mean squared error {number(spread)}."
    )
    return figure


def _ends(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    return (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
