"""Plots by the values of a feature: mean prediction, rows, outcome and attribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from permgrad.attribution.explanation.explanation_frames import is_numeric
from permgrad.base import style
from permgrad.base.arrays import Floats
from permgrad.base.errors import InputError
from permgrad.base.figures import PlotFigure
from permgrad.base.sequences import values_at
from permgrad.pages import choices
from permgrad.pages.charts.chart import padded, thinned
from permgrad.pages.plots import _base as base
from permgrad.pages.plots._base import plain_axis, styled
from permgrad.pages.words import clean, labels_of

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation


MOST_LEVELS = 8
MOST_LINES = 6
#: Names of levels below a panel: short ones, which stand further apart than long ones
#: that are slanted.
_MOST_NAMED = 12
_MOST_NAMED_AT_LENGTH = 8
_SHORT = 5
#: A value of a smaller share of the rows shares its point with its neighbour.
THIN = 0.02


@styled
def direction(
    explanation: Explanation,
    *,
    top_n: int | None = 9,
    title: str | None = None,
    ax: Axes | None = None,
) -> PlotFigure:
    """Draw one small panel per feature: the mean prediction when every row takes one
    quantile or level of it.

    Of ``method="ale"`` it is the accumulated local effect, with its interval.

    All panels share the vertical axis, so that slopes can be compared. Of two classes
    only the positive one is drawn, of more than six only the first six.

    Args:
        explanation: A global one with a direction.
        top_n: How many features to draw, the largest first. None: all.
        title: Title of the figure. None: what is drawn.
        ax: Axes of matplotlib whose place the panels take. None: a new figure.

    Raises:
        InputError: If the explanation has no direction.
    """
    if not explanation.direction:
        problem = (
            f"method={explanation.method!r} has no mean predictions by quantile "
            "or level"
        )
        raise InputError(
            problem, hint="Explain with method='ale' or 'permgrad'.", code="PG004"
        )
    ranked = []
    for feature_name in explanation.ranking():
        if feature_name in explanation.direction:
            ranked.append(feature_name)
    names = ranked[: choices.check_top_n(top_n, len(ranked))]
    entries = _entries(explanation, names)
    means = [
        np.asarray(entry["mean"], dtype=np.float64).reshape(len(entry["mean"]), -1)
        for entry in entries
    ]
    labels, shown_outputs = _lines_of(explanation, means[0].shape[1])
    what = clean(explanation.meta.get("direction_label", "mean prediction"))
    label = _heading(what, labels, shown_outputs)
    panel_size = (2.5 if len(names) > 1 else 4.2, 1.75)
    if title is None and len(names) < len(ranked):
        title = f"{len(names)} of {len(ranked)} features"
    figure, panels = base.small_panels(len(names), panel_size, title, room=0.35)
    limits = _limits(means, entries, shown_outputs)
    titles = labels_of(names, 24)
    for panel_index, (panel_axes, feature_title, entry, mean_curves) in enumerate(
        zip(panels, titles, entries, means, strict=True)
    ):
        _panel(panel_axes, entry, mean_curves, shown_outputs)
        _finish(panel_axes, feature_title, limits)
        if panel_index % 3 == 0:
            panel_axes.set_ylabel(label)
    if len(shown_outputs) > 1:
        words = labels_of(values_at(labels, shown_outputs), 18)
        _add_legend(figure, panels[0], words)
    changes = []
    for shown_curves in means:
        changes.append(
            shown_curves[-1, shown_outputs[0]] - shown_curves[0, shown_outputs[0]]
        )
    changes_text = _changes_in_words(names, changes)
    figure.description = (
        f"{what.capitalize()} by feature value, first to last: {changes_text}."
    )
    return figure


def _entries(explanation: Explanation, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the directions of features as they are drawn."""
    entries = []
    directions = explanation.direction or {}
    for name in names:
        entry = directions[name]
        if not is_numeric(entry):
            entry = _pooled(entry)
        entries.append(entry)
    return entries


def _limits(
    means: Sequence[Floats],
    entries: Sequence[dict[str, Any]],
    output_indices: list[int],
) -> tuple[float, float]:
    """Return the ends of the vertical axis that all panels share."""
    ends = []
    for curve_values in (*means, *_ends(entries)):
        ends.append(curve_values[:, output_indices].ravel())
    return padded(np.concatenate(ends), 0.08)


def _finish(axes: Axes, name: str, limits: tuple[float, float]) -> None:
    """Name a panel, and let it share the vertical axis."""
    axes.set_title(name, fontsize=style.SIZE_LABEL, pad=5)
    axes.set_ylim(*limits)
    axes.grid(axis="y")
    plain_axis(axes, "y")


def _add_legend(figure: Any, axes: Any, words: Sequence[str]) -> None:
    """Name the lines of the outputs below the panels, where no title stands."""
    figure.legend(
        axes.lines[: len(words)],
        words,
        loc="outside lower left",
        ncols=len(words),
    )


def _heading(what: str, labels: Sequence[str], output_indices: Sequence[int]) -> str:
    """Return the words of the vertical axis, with the output's name if it has one."""
    if len(output_indices) != 1 or labels[output_indices[0]].startswith("output "):
        return what
    output_label = labels_of(labels, 14)[output_indices[0]]
    if output_label.replace(".", "").isdigit():
        output_label = f"class {output_label}"
    return f"{what}\nof {output_label}"


def _changes_in_words(names: Sequence[str], changes: Sequence[float]) -> str:
    """Return of each feature whether its line rises, falls or stays level."""
    words = []
    for name, change in zip(names, changes, strict=True):
        movement = "stays level"
        if change > 0:
            movement = "rises"
        elif change < 0:
            movement = "falls"
        words.append(f"{clean(name)} {movement}")
    return ", ".join(words)


def _ends(entries: Sequence[dict[str, Any]]) -> list[Floats]:
    """Return the ends of the intervals of all curves that have some."""
    ends: list[Floats] = []
    for entry in entries:
        for key in ("low", "high"):
            if key in entry:
                ends.append(np.asarray(entry[key], dtype=np.float64))
    return ends


def _lines_of(explanation: Explanation, count: int) -> tuple[list[str], list[int]]:
    """Return names of all outputs and which are drawn: of two the positive one, of many
    the first.
    """
    labels = []
    for output_name in explanation.outputs:
        if output_name != "all":
            labels.append(clean(output_name))
    if len(labels) != count:
        labels = [f"output {k}" for k in range(count)]
    if count != 2:
        return labels, list(range(min(count, MOST_LINES)))
    positive = explanation.meta.get("positive")
    return labels, [
        labels.index(clean(positive))
        if positive is not None and clean(positive) in labels
        else 1
    ]


def _pooled(entry: dict[str, Any]) -> dict[str, Any]:
    """Return levels that are numbers as they are drawn: the full range, rare values
    together with a neighbour.
    """
    labels = list(map(str, entry.get("label", ())))
    missing_levels = []
    if labels and labels[-1] == "missing":
        labels, missing_levels = labels[:-1], [len(labels) - 1]
    rising = len(labels) > 1 and bool(
        (np.diff(pd.to_numeric(pd.Series(labels), errors="coerce")) > 0).all()
    )
    if not rising or len(entry["at"]) < entry.get("levels", 0) or "low" in entry:
        return entry
    shares = np.asarray(entry.get("share", [1.0] * len(entry["at"])), dtype=np.float64)
    groups = _with_neighbours(shares, len(labels))
    names = []
    for group in groups:
        names.append(
            labels[group[0]] + (f"–{labels[group[-1]]}" if len(group) > 1 else "")
        )
    mean_values = np.asarray(entry["mean"], dtype=np.float64)
    points = [*groups, *([missing_levels] if missing_levels else [])]
    return {
        **entry,
        "at": list(range(len(points))),
        "label": [*names, *["missing"] * len(missing_levels)],
        "mean": [
            np.average(mean_values[group], axis=0, weights=shares[group]).tolist()
            for group in points
        ],
        "levels": len(points),
        "whole": True,
    }


def _with_neighbours(shares: Floats, count: int) -> list[list[int]]:
    """Return the levels in their order, the rare ones together with a neighbour."""
    groups = [[level] for level in range(count)]
    while len(groups) > 1:
        sizes = [float(shares[group].sum()) for group in groups]
        thin = int(np.argmin(sizes))
        if sizes[thin] >= THIN * shares.sum():
            break
        neighbour_groups = [
            level for level in (thin - 1, thin + 1) if 0 <= level < len(groups)
        ]
        first = min(thin, min(neighbour_groups, key=lambda level: sizes[level]))
        groups[first : first + 2] = [groups[first] + groups[first + 1]]
    return groups


def _panel(
    axes: Any, entry: dict[str, Any], mean: Floats, output_indices: list[int]
) -> None:
    if is_numeric(entry):
        _numeric_panel(axes, entry, mean, output_indices)
        return
    if not _in_order(entry):
        mean = mean[:MOST_LEVELS]
    for line_index, k in enumerate(output_indices):
        axes.plot(
            mean[:, k],
            marker="o",
            markersize=4.5,
            linestyle="none",
            color=style.LINES[line_index]["color"],
        )
        if "low" in entry:
            interval_ends = np.asarray([entry["low"], entry["high"]], dtype=np.float64)[
                :, : len(mean), k
            ]
            axes.vlines(
                range(len(mean)),
                *interval_ends,
                color=style.LINES[line_index]["color"],
                linewidth=1,
            )
    words = labels_of(list(entry.get("label", entry["at"]))[: len(mean)], 14)
    if entry.get(
        "circle"
    ):  # it goes all the way round, so that the first value is the next one, too
        for dots_index, k in enumerate(output_indices):
            axes.plot(
                np.append(mean[:, k], mean[:1, k]),
                color=style.LINES[dots_index]["color"],
                alpha=0.6,
            )
        words = [*words, words[0]]
    slanted = len(words) > 4 or sum(map(len, words)) > 16
    most_named = _MOST_NAMED
    if max(map(len, words)) > _SHORT:
        most_named = _MOST_NAMED_AT_LENGTH
    named = thinned(len(words), most_named)
    shown_words = values_at(words, named)
    base.name_columns(axes, shown_words, slanted=slanted, positions=named.tolist())
    axes.set_xlim(-0.6, len(words) - 0.4)
    hidden_levels = int(entry.get("levels", len(entry["at"]))) - len(words)
    if hidden_levels > 0:
        more = f"{hidden_levels:,} more level{'s' * (hidden_levels > 1)}"
        small = style.SIZE_SMALL - 0.5
        axes.text(
            1,
            0.97,
            more,
            ha="right",
            va="top",
            transform=axes.transAxes,
            fontsize=small,
            color=style.MUTED,
        )


def _in_order(entry: dict[str, Any]) -> bool:
    """Return whether levels stand in an order of their own, of which none is cut off.

    Those of accumulated effects, which have intervals, do.
    """
    return any(key in entry for key in ("whole", "ordered", "circle", "low"))


def _numeric_panel(
    axes: Any, entry: dict[str, Any], mean: Floats, output_indices: list[int]
) -> None:
    """Draw a line over the quantiles of a number for each output, with its interval."""
    numbers = np.asarray(entry["at"], dtype=np.float64)
    for line, k in enumerate(output_indices):
        axes.plot(numbers, mean[:, k], marker="o", markersize=2.6, **style.LINES[line])
        if "low" in entry:
            low = np.asarray(entry["low"], dtype=np.float64)[:, k]
            high = np.asarray(entry["high"], dtype=np.float64)[:, k]
            axes.fill_between(
                numbers,
                low,
                high,
                color=style.LINES[line]["color"],
                alpha=0.18,
                linewidth=0,
            )
    axes.set_xlim(*padded(numbers))
    plain_axis(axes)
    axes.xaxis.get_major_locator().set_params(nbins=3)
