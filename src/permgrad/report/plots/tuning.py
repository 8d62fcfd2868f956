"""Pictures of a study: its history, its trials' curves, what its settings are worth, and one slice per setting."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.ticker import MaxNLocator

from permgrad.base.errors import InputError
from permgrad.report import style
from permgrad.report.plots import _base as base
from permgrad.report.plots._base import Floats, PlotFigure, padded, plain_axis, styled
from permgrad.report.words import clean, labels_of, number, shorten

_COLUMNS, _PANEL = 3, 1.75
#: Slices in one picture.
MOST_SLICES = 24
_WILD = 3.0
_MARKS: dict[str, dict[str, Any]] = {
    "complete": {"marker": "o", "color": style.TABULAR, "markersize": 5, "alpha": 0.9},
    "pruned": {"marker": "o", "markerfacecolor": "none", "markeredgecolor": style.NEUTRAL, "markersize": 4.5},
    "failed": {"marker": "x", "color": style.NEGATIVE, "markersize": 6},
}


def loss_limits(losses: Floats) -> tuple[float, float]:
    """Return limits that show what is good; what is far worse than most is drawn at the upper edge.

    Examples:
        >>> low, high = loss_limits(np.array([0.4, 0.41, 0.42, 0.43, 0.44, 0.45, 9.0]))
        >>> low < 0.4 and high < 1
        True
    """
    finite = losses[np.isfinite(losses)]
    if not len(finite):
        return 0.0, 1.0
    low, middle, high = float(finite.min()), float(np.median(finite)), float(finite.max())
    if len(finite) > 4 and high - low > _WILD * 2 * (middle - low) > 0:
        high = low + _WILD * (middle - low)
    return padded(low, high, 0.08)


@styled
def tuning_history(table: pd.DataFrame, *, reference: str = "", title: str = "") -> PlotFigure:
    """Draw each trial's validation loss and the best so far.

    Args:
        table: columns ``trial, state, validation_loss``; a state is ``"complete"``, ``"pruned"`` or ``"failed"``.
        reference: what trial 0 is, if it is no ordinary trial; a line shows its loss.
        title: title, empty for none.

    Raises:
        InputError: There is no trial.

    Examples:
        >>> rows = {"trial": [0, 1], "state": ["complete", "complete"], "validation_loss": [0.5, 0.4]}
        >>> tuning_history(pd.DataFrame(rows)).description
        '2 trials: 2 complete. The best is trial 1 with 0.400.'
    """
    if table.empty:
        raise InputError("tuning_history needs a finished trial, however: there is none; let one finish")
    numbers = table["trial"].to_numpy(dtype=np.int64)
    losses = pd.to_numeric(table["validation_loss"]).to_numpy(dtype=np.float64)
    state = table["state"].to_numpy(dtype=object)
    figure = base.new_figure(style.WIDTH, 3.5, title)
    axes = figure.add_subplot()
    low, high = loss_limits(losses)
    axes.set_ylim(low, high)
    shown = np.clip(losses, low, high - 0.025 * (high - low))
    complete, pruned, failed = (state == name for name in ("complete", "pruned", "failed"))
    best = np.minimum.accumulate(np.where(complete, np.nan_to_num(losses, nan=np.inf), np.inf))
    defined = np.isfinite(best)
    axes.step(numbers[defined], best[defined], where="post", color=style.IMAGE, linewidth=1.8, label="best so far")
    flags = {"complete": complete, "pruned": pruned, "failed": failed}
    shown[failed] = high - 0.03 * (high - low)
    for name, trials in flags.items():
        if trials.any():
            axes.plot(numbers[trials], shown[trials], label=name, linestyle="none", **_MARKS[name])
    words = ", ".join(f"{int(trials.sum())} {name}" for name, trials in flags.items() if trials.any())
    figure.description = f"{len(table)} trials: {words}."
    if reference and complete[0] and numbers[0] == 0:
        _reference_line(axes, reference, float(losses[0]))
    if defined.any():
        winner = int(np.argmin(best))
        _mark_winner(axes, numbers, winner, float(losses[winner]))
        figure.description += f" The best is trial {numbers[winner]} with {number(float(losses[winner]), 3)}."
    axes.set_xlim(*padded(float(numbers.min()), float(numbers.max()), 0.03))
    axes.grid(axis="y")
    plain_axis(axes)
    plain_axis(axes, "y")
    axes.set_xlabel("trial")
    axes.set_ylabel("validation loss")
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4, borderaxespad=0.2, handletextpad=0.4)
    base.finish_title(axes, "", title)
    return figure


def _reference_line(axes: Any, words: str, loss: float) -> None:
    """Draw a level with its name to the right of the axes."""
    axes.axhline(loss, color=style.MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    base.note(axes, f"{words}\n{number(loss, 4)}", (1.0, loss), (5, 0), of=base.BESIDE_ROW, annotation_clip=False)


def _mark_winner(axes: Any, numbers: npt.NDArray[np.int64], place: int, loss: float) -> None:
    """Draw a ring around the best trial and write its name beside it."""
    at = numbers[place]
    ring: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": style.IMAGE, "markeredgewidth": 1.8}
    axes.plot(at, loss, "o", markersize=9.5, **ring)
    side = "left" if at < numbers[0] + 0.7 * max(float(np.ptp(numbers)), 1) else "right"
    base.note(
        axes, f"trial {at}: {number(loss, 4)}", (at, loss), (8 if side == "left" else -8, -13), ha=side, **_STRONG
    )


_STRONG: dict[str, Any] = {"va": "baseline", "color": style.INK, "fontweight": "bold", "annotation_clip": False}


@styled
def trial_curves(
    curves: Mapping[int, Sequence[float]], *, best: int | None = None, pruned: Sequence[int] = (), title: str = ""
) -> PlotFigure:
    """Draw the validation loss of all trials by epoch, the winner in front.

    Args:
        curves: for each trial its losses from epoch 1 on.
        best: the winner.
        pruned: trials that were ended early; a cross marks where.
        title: title, empty for none.
    """
    drawn = {trial: np.asarray(losses, dtype=np.float64) for trial, losses in curves.items() if len(losses)}
    if not drawn:
        raise InputError("trial_curves needs a trial with an epoch, however: there is none; let a trial begin")
    figure = base.new_figure(style.WIDTH, 3.3, title)
    axes = figure.add_subplot()
    everything = np.concatenate(list(drawn.values()))
    axes.set_ylim(*loss_limits(everything))
    for trial, losses in drawn.items():
        if trial == best:
            continue
        epochs = np.arange(1, len(losses) + 1)
        axes.plot(epochs, losses, color=style.NEUTRAL, linewidth=0.9, alpha=0.45)
        if trial in pruned:
            axes.plot(epochs[-1], losses[-1], "x", color=style.NEUTRAL, markersize=4.5)
    if best in drawn:
        losses = drawn[best]
        epochs = np.arange(1, len(losses) + 1)
        axes.plot(epochs, losses, color=style.TABULAR, linewidth=2.2)
        at = int(np.nanargmin(losses))
        axes.plot(epochs[at], losses[at], "o", color=style.TABULAR, markersize=6, markeredgecolor=style.PAPER)
        side = "left" if at < 0.6 * max(map(len, drawn.values())) else "right"
        base.note(axes, f"trial {best}, epoch {at + 1}", (epochs[at], losses[at]), (0, -14), ha=side, **_STRONG)
    axes.grid(axis="y")
    plain_axis(axes)
    plain_axis(axes, "y")
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation loss")
    base.finish_title(axes, "", title)
    figure.description = f"Validation loss by epoch of {len(drawn)} trials" + (
        f", trial {best} in front." * (best in drawn)
    )
    return figure


@styled
def setting_importances(importances: Mapping[str, float], *, title: str = "") -> PlotFigure:
    """Draw how much each setting explains, largest first.

    Args:
        importances: share of each setting.
        title: title, empty for none.
    """
    if not importances:
        raise InputError("setting_importances needs a setting, however: there is none; pass {setting: share}")
    ordered = sorted(importances.items(), key=lambda item: -item[1])
    figure = base.new_figure(style.WIDTH, 0.7 + style.ROW * len(ordered), title)
    axes = figure.add_subplot()
    values = [value for _, value in ordered]
    places = np.arange(len(ordered))
    axes.barh(places, values, height=0.62, color=style.TABULAR)
    for place, value in zip(places, values, strict=True):
        base.note(axes, f"{value:.0%}", (value, place), (4, 0))
    base.name_rows(axes, labels_of([name for name, _ in ordered], 34))
    axes.grid(visible=False)
    axes.set_xlim(0, max(values) * 1.12 or 1.0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("share of importance")
    base.finish_title(axes, "", title)
    figure.description = "Importance of settings: " + ", ".join(f"{clean(name)} {value:.0%}" for name, value in ordered)
    return figure


@styled
def tuning_slices(
    table: pd.DataFrame, names: Sequence[str], *, log: Sequence[str] = (), best: int | None = None
) -> PlotFigure:
    """Draw for each setting the trials' losses against its values; blue is early, orange late; a ring marks the winner.

    Args:
        table: columns ``trial, state, validation_loss`` and the settings; trials that do not have a setting are left
            out of its panel.
        names: the settings, at most ``MOST_SLICES``.
        log: those with a logarithmic axis.
        best: the winner.
    """
    ended = table[table["state"] != "failed"]
    names = list(names)[:MOST_SLICES]
    if ended.empty or not names:
        raise InputError(
            "tuning_slices needs a trial with a loss and a setting, however: there is none; let one finish, and name "
            "settings"
        )
    rows = math.ceil(len(names) / _COLUMNS)
    figure = base.new_figure(style.WIDTH, _PANEL * rows + 0.25)
    grid = figure.subplots(rows, min(_COLUMNS, len(names)), squeeze=False, sharey=True)
    losses = pd.to_numeric(ended["validation_loss"]).to_numpy(dtype=np.float64)
    low, high = loss_limits(losses)
    drawn = ended.assign(validation_loss=np.clip(losses, low, high - 0.04 * (high - low)))
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    for place, (axes, name) in enumerate(zip(grid.flat, names, strict=False)):
        _slice(axes, drawn, name, log=name in log, best=best)
        axes.set_ylim(low, high)
        plain_axis(axes, "y")
        axes.grid(axis="y")
        if place % _COLUMNS == 0:
            axes.set_ylabel("loss")
    figure.description = f"Validation loss against each of {len(names)} settings: {', '.join(map(clean, names))}."
    return figure


def _slice(axes: Any, table: pd.DataFrame, name: str, *, log: bool, best: Any) -> None:
    """Draw the trials that have a setting: its value, or its level, against their losses."""
    every_trial = table["trial"].to_numpy(dtype=np.float64)
    shade = (every_trial - every_trial.min()) / max(float(np.ptp(every_trial)), 1.0)
    defined = table[name].notna().to_numpy()
    shown, colours = table[defined], style.low_to_high()(shade[defined])
    values, trials = shown[name].to_numpy(dtype=object), shown["trial"].to_numpy()
    losses, pruned = shown["validation_loss"].to_numpy(), (shown["state"] == "pruned").to_numpy()
    numeric = all(isinstance(value, (int, float, np.number)) and not isinstance(value, bool) for value in values)
    if numeric:
        x = values.astype(np.float64)
    else:
        levels = sorted({str(value) for value in values}, key=lambda text: (not _is_number(text), _order(text)))
        # Equal choices are moved apart a little, by trial, so that each can be seen.
        x = np.array([levels.index(str(value)) for value in values]) + (trials * 0.618034 % 1 - 0.5) * 0.36
        axes.set_xticks(range(len(levels)), [shorten(level, 12) for level in levels])
    axes.scatter(x[pruned], losses[pruned], s=14, linewidths=0.9, facecolors="none", edgecolors=style.NEUTRAL)
    axes.scatter(x[~pruned], losses[~pruned], s=17, linewidths=0, c=colours[~pruned])
    chosen = trials == best
    axes.scatter(x[chosen], losses[chosen], s=75, facecolors="none", edgecolors=style.INK, linewidths=1.5)
    if not numeric:
        axes.set_xlim(-0.6, len(levels) - 0.4)
    elif log and (x > 0).all():
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: number(value, 1))
        axes.xaxis.set_minor_formatter("")
    else:
        plain_axis(axes)
        if all(isinstance(value, (int, np.integer)) for value in values):
            axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.set_xlabel(shorten(name, 30), color=style.INK)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _order(text: str) -> tuple[float, str]:
    return (float(text) if _is_number(text) else 0.0, text)
