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
from permgrad.report.page.paths import NOT_BRANCHES, entries_of, path_words
from permgrad.report.plots._base import (
    PlotFigure,
    clean,
    finish_title,
    heading,
    labels_of,
    need_one_unit,
    new_figure,
    number,
    padded,
    plain_axis,
    quantity_of,
    styled,
)

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
    need_one_unit(explanation, "modality")
    default = f"{explanation.method}: what each part of the network adds"
    text = heading(default, title)
    explanation.output_index(output)
    content = explanation.branches or _content(explanation, output)
    if truth is not None:
        return shares(content, truth, title=text)
    return branches(content, title=text, label=quantity_of(explanation))


def _content(explanation: Explanation, output: str | int | None) -> dict[str, dict[str, float]]:
    """Return the modalities' values in the form of ``branches.json``."""
    summed = explanation if explanation.level == "modality" else _summed(explanation)
    if summed.scope == "local":
        summed = summed.to_global("mean_abs")
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
    names = list(entries_of(content))
    if not names:
        raise InputError(
            "shares needs at least one modality with an importance, however: there is none; pass explanation.branches "
            "of a model with several inputs or paths"
        )
    if not isinstance(truth, Mapping):
        raise InputError(
            f"truth must map modalities to their shares, however: truth={shown(truth)}; pass for example "
            f"{{{names[0]!r}: 0.5}}"
        )
    several = all(isinstance(own, Mapping) for own in truth.values())
    marks = {str(name): _true_shares(own, names) for name, own in (truth if several else {"truth": truth}).items()}
    estimated = importance_shares([np.nan_to_num(_value(content[name].get("importance"))) for name in names])
    figure = new_figure(style.WIDTH, 1.35 + 0.5 * len(names) + (0.3 if title else 0))
    axes = figure.add_subplot()
    colours = _colours(names)
    for place, (name, share) in enumerate(zip(names, estimated, strict=True)):
        axes.barh(place, share, height=0.52, color=colours[place], linewidth=0)
        known = [own[name] for own in marks.values() if name in own]
        words = f"{share * 100:.0f} %" + (
            f" · truth {' | '.join(f'{value * 100:.0f}' for value in known)} %" * bool(known)
        )
        at: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "xytext": (8, 0), "textcoords": "offset points"}
        axes.annotate(words, (1.0, place), va="center", color=style.INK, fontsize=style.SIZE_LABEL, **at)
    for (label, own), marker in zip(marks.items(), "DoDs", strict=False):
        places = [place for place, name in enumerate(names) if name in own]
        axes.plot(
            [own[names[place]] for place in places],
            places,
            marker,
            markersize=7,
            markerfacecolor=style.PAPER,
            markeredgecolor=style.INK,
            markeredgewidth=1.4,
            linestyle="none",
            clip_on=False,
            zorder=3,
            label=clean(label),
        )
    reach = [0.0, float(estimated.max()), *(value for own in marks.values() for value in own.values())]
    _frame(axes, names, reach, "share of the sum over modalities")
    axes.set_xlim(0, max(reach) * 1.04 or 1.0)
    axes.tick_params(axis="y", pad=8)  # a mark at 0 must not cover the end of a name
    finish_title(axes, "", title)
    figure.description = "Shares of the modalities, estimated and true: " + "; ".join(
        f"{clean(name)} {share:.2f}"
        + "".join(f", {clean(label)} {own[name]:.2f}" for label, own in marks.items() if name in own)
        for name, share in zip(names, estimated, strict=True)
    )
    return figure


def _true_shares(truth: Any, names: list[str]) -> dict[str, float]:
    own = {}
    for name, share in truth.items():
        check_choice("truth", str(name), names)
        own[str(name)] = check_number(f"the share of {name!r}", share, "pass a number from 0 to 1")
    if not own or min(own.values()) < 0 or sum(own.values()) > 1 + 1e-6:
        raise InputError(f"truth must hold shares of at least 0 that sum to at most 1, however: truth={own}")
    return own


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
    names = [name for name, entry in content.items() if name not in NOT_BRANCHES and isinstance(entry, Mapping)]
    if not names:
        raise InputError(
            "branches needs at least one branch with an importance, however: there is none; pass explanation.branches "
            "of a model with several inputs or paths"
        )
    figure = new_figure(style.WIDTH, 1.15 + 0.5 * len(names) + (0.3 if title else 0))
    axes = figure.add_subplot()
    reach = [0.0]
    colours = _colours(names)
    shared = not path_words(content)
    for place, name in enumerate(names):
        entry = {
            key: _value(content[name].get(key)) for key in ("importance", "ci_low", "ci_high", "share", "alone", "last")
        }
        axes.barh(place, np.nan_to_num(entry["importance"]), height=0.52, color=colours[place], linewidth=0)
        axes.hlines(place, entry["ci_low"], entry["ci_high"], color=style.INK, linewidth=1.2)
        for key, marker in (("alone", "o"), ("last", "s")):
            axes.plot(
                entry[key],
                place,
                marker,
                markersize=5,
                markerfacecolor=style.PAPER,
                markeredgecolor=style.INK,
                markeredgewidth=1.0,
                linestyle="none",
                label=key if place == 0 and np.isfinite(entry[key]) else None,
            )
        reach += [entry[key] for key in ("importance", "ci_low", "ci_high", "alone", "last")]
        share = (
            f"{entry['share'] * 100:.0f} %"
            if np.isfinite(entry["share"])
            else ("undefined" if "share" in content[name] else "")
        )
        share = share if shared else ""
        words = " · ".join(word for word in (share, number(entry["importance"])) if word)
        axes.annotate(
            words,
            (1.0, place),
            xycoords=("axes fraction", "data"),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=style.INK,
            fontsize=style.SIZE_LABEL,
        )
    _frame(axes, names, [value for value in reach if np.isfinite(value)], label)
    finish_title(axes, "", title)
    figure.description = "Importance of whole branches: " + ", ".join(
        f"{clean(name)} {number(_value(content[name].get('importance')))}" for name in names
    )
    return figure


def _colours(names: list[str]) -> list[str]:
    """Return the paths' own colours, or those of a series where there is something else among them."""
    if all(name in style.PATH_COLOURS for name in names):
        return [style.PATH_COLOURS[name] for name in names]
    return [style.SERIES[place % len(style.SERIES)] for place in range(len(names))]


def _value(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _frame(axes: Any, names: list[str], reach: list[float], label: str) -> None:
    axes.set_yticks(np.arange(len(names)), labels_of(names))
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0, labelcolor=style.INK, labelsize=style.SIZE_LABEL)
    axes.set_xlim(*padded(min(reach), max(reach), 0.04))
    axes.axvline(0, color=style.MUTED, linewidth=0.8, zorder=0.5)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    plain_axis(axes)
    axes.set_xlabel(label)
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            handles, labels, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, handletextpad=0.1, borderpad=0.1
        )
