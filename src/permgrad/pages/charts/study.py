"""Charts of a study: each trial's loss, its course, and the effect of each setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.numerals import number
from permgrad.pages.charts.chart import Chart, mark, padded, panel, plot
from permgrad.pages.words import clean

#: Slices in one figure.
MOST_SLICES = 24
#: How far above the median, in distances of the best one from it, losses are still drawn in place.
_WILD = 3.0
_MARKS: dict[str, dict[str, Any]] = {
    "complete": {"shape": "dot", "colour": "tabular"},
    "pruned": {"shape": "circle", "colour": "neutral"},
    "failed": {"shape": "cross", "colour": "negative"},
}


def loss_limits(losses: Floats) -> tuple[float, float]:
    """Return limits for good values. Values far worse than most are drawn at the upper edge."""
    finite = losses[np.isfinite(losses)]
    if not len(finite):
        return 0.0, 1.0
    low, middle, high = float(finite.min()), float(np.median(finite)), float(finite.max())
    if len(finite) > 4 and high - low > _WILD * 2 * (middle - low) > 0:
        high = low + _WILD * (middle - low)
    return padded([low, high], 0.08)


def tuning_history(table: pd.DataFrame, *, reference: str = "") -> Chart:
    """Return each trial's validation loss and the best so far, from the columns ``trial, state, validation_loss``.

    ``reference`` names trial 0 if it is not an ordinary trial. A line shows its loss.
    """
    trials, losses, state = _columns(table)
    low, high = loss_limits(losses)
    shown = np.clip(losses, low, high - 0.025 * (high - low))
    shown[state == "failed"] = high - 0.03 * (high - low)
    best = np.minimum.accumulate(np.where((state == "complete") & np.isfinite(losses), losses, np.inf))
    defined = np.isfinite(best)
    marks = [mark("line", x=trials[defined], y=best[defined], colour="image", name="best so far")]
    words = []
    for name, look in _MARKS.items():
        if (own := state == name).any():
            marks.append(mark("dots", x=trials[own], y=shown[own], name=name, size=3.4, **look))
            words.append(f"{int(own.sum())} {name}")
    described = f"{len(table)} trials: {', '.join(words)}."
    if reference and state[0] == "complete" and trials[0] == 0:
        name = f"{reference}: {number(float(losses[0]), 4)}"
        level = {"x": [trials[0], trials[-1]], "y": [losses[0], losses[0]]}
        marks.insert(0, mark("line", **level, name=name, colour="muted", dashed=True, width=1))
    if defined.any():
        winner = int(np.argmin(best))
        at, loss = int(trials[winner]), float(losses[winner])
        text = f"trial {at}: {number(loss, 4)}"
        marks.append(mark("dots", x=[at], y=[loss], colour="image", size=6, shape="circle", texts=[text]))
        described += f" The best is trial {at} with {number(loss, 3)}."
    y = {"label": "validation loss", "domain": (low, high)}
    return plot(described, [panel({"label": "trial", "whole": True}, y, marks)], height=340)


def _columns(table: pd.DataFrame) -> tuple[Integers, Floats, Array]:
    """Return the trials' numbers, losses and states."""
    losses = pd.to_numeric(table["validation_loss"]).to_numpy(dtype=np.float64)
    return table["trial"].to_numpy(dtype=np.int64), losses, table["state"].to_numpy(dtype=object)


def trial_curves(
    curves: Mapping[int, Sequence[float]], *, best: int | None = None, pruned: Sequence[int] = ()
) -> Chart:
    """Return the validation loss of all trials by epoch, the winner in front. A cross marks a pruned trial's end."""
    drawn = {trial: np.asarray(losses, dtype=np.float64) for trial, losses in curves.items() if len(losses)}
    marks, ends = [], []
    for trial, losses in drawn.items():
        if trial != best:
            marks.append(
                mark("line", x=np.arange(1, len(losses) + 1), y=losses, colour="neutral", width=0.9, opacity=0.5)
            )
            ends += [(len(losses), losses[-1])] if trial in pruned else []
    if ends:
        x, y = np.array(ends).T
        marks.append(mark("dots", x=x, y=y, shape="cross", colour="neutral", name="pruned"))
    words = f"Validation loss by epoch of {len(drawn)} trials"
    if best in drawn:
        losses = drawn[best]
        at = int(np.nanargmin(losses))
        marks.append(mark("line", x=np.arange(1, len(losses) + 1), y=losses, width=2.2, name=f"trial {best}"))
        marks.append(mark("dots", x=[at + 1], y=[losses[at]], size=4.5, texts=[f"trial {best}, epoch {at + 1}"]))
        words += f", trial {best} in front."
    y_axis = {"label": "validation loss", "domain": loss_limits(np.concatenate(list(drawn.values())))}
    return plot(words, [panel({"label": "epoch", "whole": True}, y_axis, marks)], height=330)


def tuning_slices(
    table: pd.DataFrame, names: Sequence[str], *, log: Sequence[str] = (), best: int | None = None
) -> Chart:
    """Return for each setting the trials' losses against its values, earlier and later ones, and the winner.

    ``log`` are settings with a logarithmic axis.
    """
    ended = table[table["state"] != "failed"]
    names = list(names)[:MOST_SLICES]
    low, high = loss_limits(_columns(ended)[1])
    drawn = ended.assign(validation_loss=np.clip(_columns(ended)[1], low, high - 0.04 * (high - low)))
    half = ended["trial"].median()
    panels = []
    for name in names:
        shown = drawn[drawn[name].notna()]
        values, (trials, losses, state) = shown[name].to_numpy(dtype=object), _columns(shown)
        numeric = all(isinstance(value, (int, float, np.number)) and not isinstance(value, bool) for value in values)
        axis: dict[str, Any] = {"label": clean(name)}
        if numeric:
            x = values.astype(np.float64)
            axis |= {"log": name in log and bool((x > 0).all())}
            axis |= {"whole": all(isinstance(value, (int, np.integer)) for value in values) and not axis["log"]}
        else:
            levels = sorted({str(value) for value in values}, key=_order)
            # Equal choices are moved apart a little, by trial, so that each can be seen.
            x = np.array([levels.index(str(value)) for value in values]) + (trials * 0.618034 % 1 - 0.5) * 0.36
            axis["names"] = levels
        pruned, chosen = state == "pruned", trials == best
        looks = (
            (pruned, {"shape": "circle", "colour": "neutral", "size": 2.6, "name": "pruned"}),
            (~pruned & (trials <= half), {"shape": "dot", "colour": "tabular", "size": 3, "name": "early"}),
            (~pruned & (trials > half), {"shape": "dot", "colour": "image", "size": 3, "name": "late"}),
            (chosen, {"shape": "circle", "colour": "ink", "size": 6, "name": "the winner"}),
        )
        marks = [mark("dots", x=x[own], y=losses[own], **look) for own, look in looks if own.any()]
        panels.append(panel(axis, {"label": "loss", "domain": (low, high)}, marks))
    words = f"Validation loss against each of {len(names)} settings: {', '.join(map(clean, names))}."
    return plot(words, panels, columns=3, height=210, width=760)


def _order(text: str) -> tuple[bool, float, str]:
    """Sort numbers before words, and each among themselves."""
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text
