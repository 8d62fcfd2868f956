"""How much each branch or modality matters, as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.base.checks import check_choice, check_number
from permgrad.base.errors import InputError, shown
from permgrad.evaluation.ranking import importance_shares
from permgrad.report import style
from permgrad.report.page.paths import entries_of, path_words
from permgrad.report.plots import _base as base
from permgrad.report.plots._base import BESIDE_ROW, PlotFigure, styled
from permgrad.report.words import clean, labels_of, number, quantity_of

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation


@styled
def modality(
    explanation: Explanation,
    *,
    truth: Mapping[str, Any] | None = None,
    output: str | int | None = None,
    title: str | None = None,
) -> PlotFigure:
    """Draw the importance of whole branches or modalities.

    Uses ``explanation.branches`` where there is one; else, for additive methods, the signed sum over the features
    of each path or modality.

    Args:
        explanation: What to draw.
        truth: Known shares, ``{"image": 0.5, "table": 0.5}``, or several truths by name, ``{"published": {...},
            "effect": {...}}``. The bars are then shares, and a mark stands at each known share.
        output: Which output, where branches are not given; None: the first.
        title: Title; None: a default; empty: none.

    Raises:
        InputError: If the values cannot be summed (the message names the call to make), if the modalities were
            explained by different methods, or if ``truth`` does not fit.
    """
    base.check_one_unit(explanation, "modality")
    text = base.heading(f"{explanation.method}: what each part of the network adds", title)
    explanation.output_index(output)
    content = explanation.branches or _content(explanation, output)
    if truth is not None:
        return shares(content, truth, title=text)
    return branches(content, title=text, label=quantity_of(explanation))


def _content(explanation: Explanation, output: str | int | None) -> dict[str, dict[str, float]]:
    """Return the modalities' values in the form of ``branches.json``."""
    summed = explanation if explanation.level == "modality" else _summed(explanation)
    summed = base.as_global(summed)
    column = summed.output_index(output)
    low, high = summed.ci()
    return {
        name: {
            "importance": float(summed.values[i, column]),
            "ci_low": float(low[i, column]),
            "ci_high": float(high[i, column]),
        }
        for i, name in enumerate(summed.names)
    }


@styled
def shares(content: Mapping[str, Any], truth: Mapping[str, Any], *, title: str = "") -> PlotFigure:
    """Draw modalities as shares of a whole, with a mark at each share that is known to be true.

    A negative importance counts as 0, because shares are parts of a whole.

    Args:
        content: as ``branches`` takes it; only ``importance`` is read.
        truth: ``{modality: share}``, or several by name, ``{name: {modality: share}}``.
        title: Title, empty for none.

    Raises:
        InputError: ``truth`` names no modality, or its shares are none.
    """
    names = _names(content, "shares needs at least one modality")
    if not isinstance(truth, Mapping):
        raise InputError(
            f"truth must map modalities to their shares, however: truth={shown(truth)}; pass for example "
            f"{{{names[0]!r}: 0.5}}"
        )
    several = all(isinstance(entry, Mapping) for entry in truth.values())
    marks = {str(name): _true_shares(entry, names) for name, entry in (truth if several else {"truth": truth}).items()}
    estimated = importance_shares([np.nan_to_num(_value(content[name], "importance")) for name in names])
    figure = base.new_figure(style.WIDTH, 1.35 + 0.5 * len(names), title)
    axes = figure.add_subplot()
    for place, (name, share, colour) in enumerate(zip(names, estimated, _colours(names), strict=True)):
        axes.barh(place, share, height=0.52, color=colour, linewidth=0)
        true = " | ".join(f"{mark[name] * 100:.0f}" for mark in marks.values() if name in mark)
        _beside(axes, f"{share * 100:.0f} %" + (f" · truth {true} %" if true else ""), place)
    for (label, mark), marker in zip(marks.items(), "DoDs", strict=False):
        places = [place for place, name in enumerate(names) if name in mark]
        at = [mark[names[place]] for place in places]
        axes.plot(at, places, marker, markersize=7, markeredgewidth=1.4, clip_on=False, zorder=3, label=clean(label),
                  **_OPEN)  # fmt: skip
    reach = [0.0, float(estimated.max()), *(value for mark in marks.values() for value in mark.values())]
    _frame(axes, names, reach, "share of the sum over modalities")
    axes.set_xlim(0, max(reach) * 1.04 or 1.0)
    axes.tick_params(axis="y", pad=8)  # a mark at 0 must not cover the end of a name
    base.finish_title(axes, "", title)
    figure.description = "Shares of the modalities, estimated and true: " + "; ".join(
        f"{clean(name)} {share:.2f}"
        + "".join(f", {clean(label)} {mark[name]:.2f}" for label, mark in marks.items() if name in mark)
        for name, share in zip(names, estimated, strict=True)
    )
    return figure


def _true_shares(truth: Any, names: list[str]) -> dict[str, float]:
    checked = {}
    for name, share in truth.items():
        check_choice("truth", str(name), names)
        checked[str(name)] = check_number(f"the share of {name!r}", share, "pass a number from 0 to 1")
    if not checked or min(checked.values()) < 0 or sum(checked.values()) > 1 + 1e-6:
        raise InputError(f"truth must hold shares of at least 0 that sum to at most 1, however: truth={checked}")
    return checked


def _summed(explanation: Explanation) -> Explanation:
    """Sum an additive explanation over the features of each path where it has paths, else of each modality."""
    paths = {name: part for name, part in explanation.parts.items() if name in ("tabular", "image")}
    total = explanation.by_modality()
    if len(paths) < 2:
        return total
    values = np.stack([part.sum(axis=-2) for part in paths.values()], axis=-2)
    names = tuple(paths)
    return replace(total, values=values, names=names, modality=names, parts={}, part_std={})


@styled
def branches(content: Mapping[str, Any], *, title: str = "", label: str = "importance") -> PlotFigure:
    """Draw the content of ``branches.json``.

    The bar is a branch's importance with its interval; the open circle is its effect alone, the open square its effect
    when it is replaced last. A branch whose share is undefined says so; where one share lies outside 0 … 1, none is
    written, because they are not parts of a whole.

    Args:
        content: ``{name: {"importance", "ci_low", "ci_high", "share", "alone", "last"}}``; entries that are missing or
            null are left out.
        title: Title, empty for none.
        label: What the numbers are.
    """
    names = _names(content, "branches needs at least one branch")
    figure = base.new_figure(style.WIDTH, 1.15 + 0.5 * len(names), title)
    axes = figure.add_subplot()
    reach = [0.0]
    with_shares = not path_words(content)
    for place, (name, colour) in enumerate(zip(names, _colours(names), strict=True)):
        entry = content[name]
        value, low, high = (_value(entry, key) for key in ("importance", "ci_low", "ci_high"))
        axes.barh(place, np.nan_to_num(value), height=0.52, color=colour, linewidth=0)
        axes.hlines(place, low, high, color=style.INK, linewidth=1.2)
        for key, marker in (("alone", "o"), ("last", "s")):
            effect = _value(entry, key)
            marked = key if place == 0 and np.isfinite(effect) else None
            axes.plot(effect, place, marker, markersize=5, markeredgewidth=1.0, label=marked, **_OPEN)
            reach.append(effect)
        reach += [value, low, high]
        share = _value(entry, "share")
        undefined = "undefined" if "share" in entry else ""
        words = (f"{share * 100:.0f} %" if np.isfinite(share) else undefined) if with_shares else ""
        _beside(axes, f"{words} · {number(value)}" if words else number(value), place)
    _frame(axes, names, [value for value in reach if np.isfinite(value)], label)
    base.finish_title(axes, "", title)
    figure.description = "Importance of whole branches: " + ", ".join(
        f"{clean(name)} {number(_value(content[name], 'importance'))}" for name in names
    )
    return figure


# ---- pieces ----------------------------------------------------------------------------------------------------------
_OPEN: dict[str, Any] = {"markerfacecolor": style.PAPER, "markeredgecolor": style.INK, "linestyle": "none"}


def _names(content: Mapping[str, Any], need: str) -> list[str]:
    names = list(entries_of(content))
    if not names:
        raise InputError(
            f"{need} with an importance, however: there is none; pass explanation.branches of a model with several "
            "inputs or paths"
        )
    return names


def _colours(names: list[str]) -> list[str]:
    """Return the paths' own colours, or those of a series where there is something else among them."""
    if all(name in style.PATH_COLOURS for name in names):
        return [style.PATH_COLOURS[name] for name in names]
    return [style.SERIES[place % len(style.SERIES)] for place in range(len(names))]


def _value(entry: Mapping[str, Any], key: str) -> float:
    return float("nan") if entry.get(key) is None else float(entry[key])


def _beside(axes: Any, words: str, place: int) -> None:
    base.note(axes, words, (1.0, place), (8, 0), of=BESIDE_ROW, color=style.INK, fontsize=style.SIZE_LABEL)


def _frame(axes: Any, names: list[str], reach: list[float], label: str) -> None:
    base.name_rows(axes, labels_of(names))
    axes.set_xlim(*base.padded(min(reach), max(reach), 0.04))
    axes.axvline(0, color=style.MUTED, linewidth=0.8, zorder=0.5)
    axes.set_xlabel(label)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, handletextpad=0.1, borderpad=0.1)
