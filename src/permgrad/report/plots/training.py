"""Learning curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from permgrad.base.errors import InputError
from permgrad.report import style
from permgrad.report.plots._base import Floats, PlotFigure, note, one_panel, padded, plain_axis, styled
from permgrad.report.words import number

if TYPE_CHECKING:
    import pandas as pd

CURVES = (("train_loss", "training", style.NEUTRAL), ("validation_loss", "validation", style.TABULAR))


@styled
def learning_curves(
    history: pd.DataFrame, *, best_epoch: int | None = None, label: str = "loss", title: str = ""
) -> PlotFigure:
    """Draw training and validation loss by epoch and mark the epoch whose weights were kept.

    ``history`` has the columns ``epoch, train_loss, validation_loss``; one of the losses may be missing.
    """
    present = [curve for curve in CURVES if curve[0] in history and history[curve[0]].notna().any()]
    if "epoch" not in history or not present:
        raise InputError(
            "learning_curves needs the columns epoch and train_loss or validation_loss, however: the columns are "
            f"{[str(name) for name in history.columns]}"
        )
    figure, axes = one_panel(style.WIDTH, 3.0, title)
    epochs = history["epoch"].to_numpy(dtype=np.float64)
    curves = [history[name].to_numpy(dtype=np.float64) for name, _, _ in present]
    axes.set_ylim(*_limits(np.concatenate(curves)))
    for losses, (_, _, colour) in zip(curves, present, strict=True):
        axes.plot(epochs, losses, color=colour, marker="o" if len(epochs) == 1 else None, markersize=4)
    last = [int(np.flatnonzero(np.isfinite(losses))[-1]) for losses in curves]
    ends = [float(losses[at]) for losses, at in zip(curves, last, strict=True)]
    for place, at, (_, word, colour) in zip(_apart(axes, ends), last, present, strict=True):
        note(axes, word, (epochs[at], place), (6, 0), color=colour, fontsize=style.SIZE_LABEL, annotation_clip=False)
    if best_epoch is not None and best_epoch in set(history["epoch"]):
        loss = curves[-1][int(np.argmax(epochs == best_epoch))]
        axes.plot(best_epoch, loss, "o", color=present[-1][2], markersize=5.5, markeredgecolor=style.PAPER)
        axes.axvline(best_epoch, color=style.RULE, linewidth=1, zorder=0)
        where = (best_epoch - epochs[0]) / max(float(np.ptp(epochs)), 1)
        # Above the curves, where it hides none of them.
        side = "center" if 0.15 < where < 0.85 else "left" if where <= 0.15 else "right"
        words, above = f"kept: epoch {best_epoch}, {number(float(loss))}", ("data", "axes fraction")
        note(axes, words, (best_epoch, 1.0), (0, 3), of=above, ha=side, va="bottom", color=style.INK)
    axes.set_xlim(*padded(float(epochs.min()), float(epochs.max()), 0.02))
    axes.grid(axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    plain_axis(axes, "y")
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    figure.description = f"Loss over {len(epochs)} epochs: " + ", ".join(
        f"{word} ends at {number(end)}" for (_, word, _), end in zip(present, ends, strict=True)
    )
    return figure


def _limits(losses: Floats) -> tuple[float, float]:
    """Keep one wild first epoch from flattening everything else."""
    finite = losses[np.isfinite(losses)]
    low, high = float(finite.min()), float(finite.max())
    typical = float(np.quantile(finite, 0.9))
    if len(finite) > 8 and high - low > 4 * (typical - low) > 0:
        high = low + 2.0 * (typical - low)
    bottom, top = padded(low, high, 0.05)
    return bottom - 0.12 * (top - bottom), top


def _apart(axes: Any, ends: list[float]) -> list[float]:
    """Return where names of curves stand: at their ends, pushed apart where two are close."""
    low, high = axes.get_ylim()
    room = 0.075 * (high - low)
    places = [float(np.clip(end, low, high)) for end in ends]
    if len(places) == 2 and abs(places[0] - places[1]) < room:
        middle, half = sum(places) / 2, room / 2 if places[0] >= places[1] else -room / 2
        places = [middle + half, middle - half]
    return places
