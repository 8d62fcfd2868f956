"""Plots of a training (learning curves) and of a study (history, curves and slices of settings)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from permgrad.base import style
from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.figures import PlotFigure
from permgrad.base.numerals import number
from permgrad.pages.plots import _base as base
from permgrad.pages.plots._base import padded, plain_axis, styled
from permgrad.pages.words import clean, labels_of, shorten

CURVES = (("train_loss", "training", style.NEUTRAL), ("validation_loss", "validation", style.TABULAR))
#: Slices in one picture.
MOST_SLICES = 24
_WILD = 3.0
_MARKS: dict[str, dict[str, Any]] = {
    "complete": {"marker": "o", "color": style.TABULAR, "markersize": 5, "alpha": 0.9},
    "pruned": {"marker": "o", "markerfacecolor": "none", "markeredgecolor": style.NEUTRAL, "markersize": 4.5},
    "failed": {"marker": "x", "color": style.NEGATIVE, "markersize": 6},
}
_STRONG: dict[str, Any] = {"va": "baseline", "color": style.INK, "fontweight": "bold", "annotation_clip": False}


def loss_limits(losses: Floats) -> tuple[float, float]:
    """Return limits for good values. Values far worse than most are drawn at the upper edge."""
    finite = losses[np.isfinite(losses)]
    if not len(finite):
        return 0.0, 1.0
    low, middle, high = float(finite.min()), float(np.median(finite)), float(finite.max())
    if len(finite) > 4 and high - low > _WILD * 2 * (middle - low) > 0:
        high = low + _WILD * (middle - low)
    return padded([low, high], 0.08)


def _loss_axes(axes: Any, limits: tuple[float, float], label: str) -> None:
    """Set the limits, grid, plain numbers and names of axes of losses."""
    axes.set_ylim(*limits)
    axes.grid(axis="y")
    plain_axis(axes, "xy")
    axes.set_xlabel(label)
    axes.set_ylabel("validation loss")


# ---- one training ----------------------------------------------------------------------------------------------------
@styled
def learning_curves(history: pd.DataFrame, *, best_epoch: int | None = None, label: str = "loss") -> PlotFigure:
    """Draw training and validation loss by epoch and mark the epoch of the final weights.

    ``history`` has the columns ``epoch, train_loss, validation_loss``. One of the losses may be missing.
    """
    present = [curve for curve in CURVES if curve[0] in history and history[curve[0]].notna().any()]
    figure, axes = base.one_panel(style.WIDTH, 3.0)
    epochs = history["epoch"].to_numpy(dtype=np.float64)
    curves = [history[name].to_numpy(dtype=np.float64) for name, _, _ in present]
    finite = np.concatenate(curves)[np.isfinite(np.concatenate(curves))]
    smallest, typical, largest = (float(np.quantile(finite, share)) for share in (0.0, 0.9, 1.0))
    if len(finite) > 8 and largest - smallest > 4 * (typical - smallest) > 0:
        largest = smallest + 2.0 * (typical - smallest)  # one wild first epoch must not flatten everything else
    bottom, top = padded([smallest, largest])
    axes.set_ylim(bottom - 0.12 * (top - bottom), top)
    for losses, (_, _, colour) in zip(curves, present, strict=True):
        axes.plot(epochs, losses, color=colour, marker="o" if len(epochs) == 1 else None, markersize=4)
    # Names of curves at their ends, pushed apart where two are close.
    ends = np.array([losses[np.isfinite(losses)][-1] for losses in curves])
    low, high = axes.get_ylim()
    places, room = np.clip(ends, low, high), 0.075 * (high - low)
    if len(places) == 2 and abs(places[0] - places[1]) < room:
        half = room / 2 if places[0] >= places[1] else -room / 2
        places = places.mean() + np.array([half, -half])
    for place, losses, (_, word, colour) in zip(places.tolist(), curves, present, strict=True):
        look = {"color": colour, "fontsize": style.SIZE_LABEL, "annotation_clip": False}
        base.note(axes, word, (epochs[np.isfinite(losses)][-1], place), (6, 0), **look)
    if best_epoch is not None and best_epoch in set(history["epoch"]):
        loss = curves[-1][int(np.argmax(epochs == best_epoch))]
        axes.plot(best_epoch, loss, "o", color=present[-1][2], markersize=5.5, markeredgecolor=style.PAPER)
        axes.axvline(best_epoch, color=style.RULE, linewidth=1, zorder=0)
        where = (best_epoch - epochs[0]) / max(float(np.ptp(epochs)), 1)
        # Above the curves, where it hides none of them.
        side = "center" if 0.15 < where < 0.85 else "left" if where <= 0.15 else "right"
        words, above = f"kept: epoch {best_epoch}, {number(float(loss))}", ("data", "axes fraction")
        base.note(axes, words, (best_epoch, 1.0), (0, 3), of=above, ha=side, va="bottom", color=style.INK)
    axes.set_xlim(*padded(epochs, 0.02))
    axes.grid(axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    plain_axis(axes, "y")
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    figure.description = f"Loss over {len(epochs)} epochs: " + ", ".join(
        f"{word} ends at {number(end)}" for (_, word, _), end in zip(present, ends.tolist(), strict=True)
    )
    return figure


# ---- a study ---------------------------------------------------------------------------------------------------------
@styled
def tuning_history(table: pd.DataFrame, *, reference: str = "") -> PlotFigure:
    """Draw each trial's validation loss and the best so far, from the columns ``trial, state, validation_loss``.

    ``reference`` names trial 0 if it is not an ordinary trial. A line shows its loss.
    """
    trials, losses, state = _columns(table)
    figure, axes = base.one_panel(style.WIDTH, 3.5)
    low, high = loss_limits(losses)
    shown = np.clip(losses, low, high - 0.025 * (high - low))
    shown[state == "failed"] = high - 0.03 * (high - low)
    best = np.minimum.accumulate(np.where((state == "complete") & np.isfinite(losses), losses, np.inf))
    defined = np.isfinite(best)
    axes.step(trials[defined], best[defined], where="post", color=style.IMAGE, linewidth=1.8, label="best so far")
    words = []
    for name, look in _MARKS.items():
        if (state == name).any():
            axes.plot(trials[state == name], shown[state == name], label=name, linestyle="none", **look)
            words.append(f"{int((state == name).sum())} {name}")
    figure.description = f"{len(table)} trials: {', '.join(words)}."
    if reference and state[0] == "complete" and trials[0] == 0:
        axes.axhline(losses[0], color=style.MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
        level = f"{reference}\n{number(float(losses[0]), 4)}"
        base.note(axes, level, (1.0, losses[0]), (5, 0), of=base.BESIDE_ROW, annotation_clip=False)
    if defined.any():
        winner = int(np.argmin(best))
        at, loss = trials[winner], float(losses[winner])
        ring: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": style.IMAGE, "markeredgewidth": 1.8}
        axes.plot(at, loss, "o", markersize=9.5, **ring)
        left = at < trials[0] + 0.7 * max(float(np.ptp(trials)), 1)
        look = {"ha": "left" if left else "right", **_STRONG}
        base.note(axes, f"trial {at}: {number(loss, 4)}", (at, loss), (8 if left else -8, -13), **look)
        figure.description += f" The best is trial {at} with {number(loss, 3)}."
    axes.set_xlim(*padded(trials, 0.03))
    _loss_axes(axes, (low, high), "trial")
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4, borderaxespad=0.2, handletextpad=0.4)
    return figure


def _columns(table: pd.DataFrame) -> tuple[Integers, Floats, Array]:
    """Return the trials' numbers, losses and states."""
    losses = pd.to_numeric(table["validation_loss"]).to_numpy(dtype=np.float64)
    return table["trial"].to_numpy(dtype=np.int64), losses, table["state"].to_numpy(dtype=object)


@styled
def trial_curves(
    curves: Mapping[int, Sequence[float]], *, best: int | None = None, pruned: Sequence[int] = ()
) -> PlotFigure:
    """Draw the validation loss of all trials by epoch, the winner in front. A cross marks where a trial was pruned."""
    drawn = {trial: np.asarray(losses, dtype=np.float64) for trial, losses in curves.items() if len(losses)}
    figure, axes = base.one_panel(style.WIDTH, 3.3)
    for trial, losses in drawn.items():
        epochs = np.arange(1, len(losses) + 1)
        if trial != best:
            axes.plot(epochs, losses, color=style.NEUTRAL, linewidth=0.9, alpha=0.45)
            if trial in pruned:
                axes.plot(epochs[-1], losses[-1], "x", color=style.NEUTRAL, markersize=4.5)
    _loss_axes(axes, loss_limits(np.concatenate(list(drawn.values()))), "epoch")
    figure.description = f"Validation loss by epoch of {len(drawn)} trials"
    if best in drawn:
        losses = drawn[best]
        at = int(np.nanargmin(losses))
        axes.plot(np.arange(1, len(losses) + 1), losses, color=style.TABULAR, linewidth=2.2)
        axes.plot(at + 1, losses[at], "o", color=style.TABULAR, markersize=6, markeredgecolor=style.PAPER)
        side = "left" if at < 0.6 * max(map(len, drawn.values())) else "right"
        base.note(axes, f"trial {best}, epoch {at + 1}", (at + 1, losses[at]), (0, -14), ha=side, **_STRONG)
        figure.description += f", trial {best} in front."
    return figure


@styled
def tuning_slices(
    table: pd.DataFrame, names: Sequence[str], *, log: Sequence[str] = (), best: int | None = None
) -> PlotFigure:
    """Draw for each setting the trials' losses against its values. Blue: early. Orange: late. Ring: the winner.

    ``log`` are settings with a logarithmic axis.
    """
    ended = table[table["state"] != "failed"]
    names = list(names)[:MOST_SLICES]
    columns = min(3, len(names))
    figure, panels = base.small_panels(len(names), (style.WIDTH / columns, 1.75), room=0.25)
    losses = _columns(ended)[1]
    low, high = loss_limits(losses)
    drawn = ended.assign(validation_loss=np.clip(losses, low, high - 0.04 * (high - low)))
    for place, (axes, name) in enumerate(zip(panels, names, strict=True)):
        # The trials that have the setting: its value, or its level, against their losses.
        order = drawn["trial"].astype(float)
        shade = ((order - order.min()) / max(order.max() - order.min(), 1.0))[drawn[name].notna()]
        shown = drawn[drawn[name].notna()]
        values, (trials, losses, state) = shown[name].to_numpy(dtype=object), _columns(shown)
        numeric = all(isinstance(value, (int, float, np.number)) and not isinstance(value, bool) for value in values)
        if numeric:
            x = values.astype(np.float64)
        else:
            levels = sorted({str(value) for value in values}, key=_order)
            # Equal choices are moved apart a little, by trial, so that each can be seen.
            x = np.array([levels.index(str(value)) for value in values]) + (trials * 0.618034 % 1 - 0.5) * 0.36
            axes.set_xticks(range(len(levels)), labels_of(levels, 12))
            axes.set_xlim(-0.6, len(levels) - 0.4)
        pruned, chosen, colours = state == "pruned", trials == best, style.colour_map("values")(shade.to_numpy())
        axes.scatter(x[pruned], losses[pruned], s=14, linewidths=0.9, facecolors="none", edgecolors=style.NEUTRAL)
        axes.scatter(x[~pruned], losses[~pruned], s=17, linewidths=0, c=colours[~pruned])
        axes.scatter(x[chosen], losses[chosen], s=75, facecolors="none", edgecolors=style.INK, linewidths=1.5)
        if numeric and name in log and (x > 0).all():
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: number(value, 1))
            axes.xaxis.set_minor_formatter("")
        elif numeric:
            plain_axis(axes)
            if all(isinstance(value, (int, np.integer)) for value in values):
                axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        axes.set_xlabel(shorten(name, 30), color=style.INK)
        axes.set_ylim(low, high)
        plain_axis(axes, "y")
        axes.grid(axis="y")
        if place % columns == 0:
            axes.set_ylabel("loss")
    figure.description = f"Validation loss against each of {len(names)} settings: {', '.join(map(clean, names))}."
    return figure


def _order(text: str) -> tuple[bool, float, str]:
    """Sort numbers before words, and each among themselves."""
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text
