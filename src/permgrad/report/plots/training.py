"""Learning curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from permgrad.base.errors import InputError
from permgrad.report import style
from permgrad.report.plots._base import Floats, PlotFigure, finish_title, new_figure, note, padded, plain_axis, styled
from permgrad.report.words import number

if TYPE_CHECKING:
    import pandas as pd

CURVES = (("train_loss", "training", style.NEUTRAL), ("validation_loss", "validation", style.TABULAR))


@styled
def learning_curves(
    history: pd.DataFrame, *, best_epoch: int | None = None, label: str = "loss", title: str = ""
) -> PlotFigure:
    """Draw training and validation loss by epoch and mark the epoch whose weights were kept.

    Args:
        history: Columns ``epoch, train_loss, validation_loss``; the last may be missing.
        best_epoch: A value of ``epoch``.
        label: What the loss is.
        title: Title, empty for none.
    """
    present = [curve for curve in CURVES if curve[0] in history and history[curve[0]].notna().any()]
    if "epoch" not in history or not present:
        raise InputError(
            "learning_curves needs the columns epoch and train_loss or validation_loss, however: the columns are "
            f"{[str(name) for name in history.columns]}"
        )
    figure = new_figure(style.WIDTH, 3.0, title)
    axes = figure.add_subplot()
    epochs = history["epoch"].to_numpy(dtype=np.float64)
    ends = []
    for name, word, colour in present:
        losses = history[name].to_numpy(dtype=np.float64)
        axes.plot(epochs, losses, color=colour, marker="o" if len(epochs) == 1 else None, markersize=4)
        last = np.flatnonzero(np.isfinite(losses))[-1]
        ends.append((losses[last], epochs[last], word, colour))
    _limits(axes, np.concatenate([history[name].to_numpy(dtype=np.float64) for name, _, _ in present]))
    _name_ends(axes, ends)
    if best_epoch is not None and best_epoch in set(history["epoch"]):
        at = history.loc[history["epoch"] == best_epoch, present[-1][0]].iloc[0]
        axes.plot(best_epoch, at, "o", color=present[-1][2], markersize=5.5, markeredgecolor=style.PAPER)
        axes.axvline(best_epoch, color=style.RULE, linewidth=1, zorder=0)
        where = (best_epoch - epochs[0]) / max(float(np.ptp(epochs)), 1)
        # Above the curves, where it hides none of them.
        side = "center" if 0.15 < where < 0.85 else "left" if where <= 0.15 else "right"
        words, above = f"kept: epoch {best_epoch}, {number(float(at))}", ("data", "axes fraction")
        note(axes, words, (best_epoch, 1.0), (0, 3), of=above, ha=side, va="bottom", color=style.INK)
    axes.set_xlim(*padded(float(epochs.min()), float(epochs.max()), 0.02))
    axes.grid(axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    plain_axis(axes, "y")
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    finish_title(axes, "", title)
    figure.description = f"Loss over {len(epochs)} epochs: " + ", ".join(
        f"{end[2]} ends at {number(float(end[0]))}" for end in ends
    )
    return figure


def _limits(axes: Any, losses: Floats) -> None:
    """Keep one wild first epoch from flattening everything else."""
    finite = losses[np.isfinite(losses)]
    low, high = float(finite.min()), float(finite.max())
    typical = float(np.quantile(finite, 0.9))
    if len(finite) > 8 and high - low > 4 * (typical - low) > 0:
        high = low + 2.0 * (typical - low)
    bottom, top = padded(low, high, 0.05)
    axes.set_ylim(bottom - 0.12 * (top - bottom), top)


def _name_ends(axes: Any, ends: list[tuple[float, float, str, str]]) -> None:
    """Write each curve's name at its end, pushed apart where the ends are close."""
    low, high = axes.get_ylim()
    apart = 0.075 * (high - low)
    places = [float(np.clip(loss, low, high)) for loss, *_ in ends]
    if len(places) == 2 and abs(places[0] - places[1]) < apart:
        middle, sign = sum(places) / 2, 1 if places[0] >= places[1] else -1
        places = [middle + sign * apart / 2, middle - sign * apart / 2]
    for place, (_, epoch, word, colour) in zip(places, ends, strict=True):
        note(axes, word, (epoch, place), (6, 0), color=colour, fontsize=style.SIZE_LABEL, annotation_clip=False)
