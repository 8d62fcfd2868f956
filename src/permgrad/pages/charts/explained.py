"""Charts of explanations: features by importance, by class, in pairs, along their
order, and in single rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from permgrad.assess.assessment import entries_of, titles_of, value_of
from permgrad.attribution.explanation.orders import sizes_of
from permgrad.attribution.explanation.pairs import pairs_of
from permgrad.base.arrays import Floats
from permgrad.base.numerals import number, numbers
from permgrad.base.sequences import values_at
from permgrad.pages import choices
from permgrad.pages.charts.chart import ASIDE, WIDTH, Chart, mark, panel, plot, thinned
from permgrad.pages.drawn_inputs import in_order
from permgrad.pages.part_colours import part_colour
from permgrad.pages.sentences import path_words
from permgrad.pages.standing import Standing
from permgrad.pages.steps import ends_of, ranks_of, steps_of
from permgrad.pages.words import (
    clean,
    listed,
    quantity_of,
    rank_texts,
    valued,
)

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.pages.units import Loss

_SERIES = 8
#: Rows of a swarm, features of it, and shades of a feature's values.
SWARM_ROWS = 300
_SWARM = 12
_SHADES = 5
#: The shade of values without an order.
UNORDERED = _SHADES
#: Bars of signed values, and curves of columns along their order.
_SIGNED = 20
_CURVES = 8
#: A column this many times as important as all others is not drawn with them in their
#: order.
_FAR = 4


def ranking(
    standing: Standing,
    *,
    top_n: int | None = None,
    loss: Loss | None = None,
    by_path: bool = True,
) -> Chart:
    """Return the features of a global explanation by falling importance, with
    intervals, parts ``by_path``, and ranks.

    They are losses without each feature where a ``loss`` is known, as in ``leading``.
    """
    explanation = standing.explanation
    column = standing.column
    values = np.asarray(explanation.values[:, column], dtype=np.float64)
    order = choices.largest(sizes_of(explanation, column), top_n)
    ranks = standing.ranks
    values_by_path = {}
    if by_path:
        values_by_path = choices.adding_parts(explanation, column)
    bar_data = ranked(standing, order, values_by_path)
    bar_data |= {
        "side": None if ranks is None else ["rank", *rank_texts(ranks)[: len(order)]]
    }
    bar_data |= {
        "label": quantity_of(explanation, column),
        "hidden": len(values) - len(order),
        "rest": _rest(values, order, loss),
    }
    bar_data |= _as_losses(bar_data, loss)
    leading = valued(values_at(explanation.names, order[:5]), bar_data["values"][:5])
    words = (
        f"Bars of {len(order)} of {len(values)} {explanation.level}s by importance "
        f"with confidence intervals, {bar_data['label']}. Largest: {leading}."
    )
    return Chart("bars", words, bar_data)


def ranked(
    standing: Standing, order: npt.NDArray[np.intp], paths: Mapping[str, Floats]
) -> dict[str, Any]:
    """Return the bars of some features.

    Those that do not clearly matter are ``quiet``.
    """
    explanation = standing.explanation
    column = standing.column
    values = np.asarray(explanation.values[order, column], dtype=np.float64)
    clear = standing.tested
    lower_ends, upper_ends = (
        interval_ends[order, column] for interval_ends in explanation.ci()
    )
    titles = titles_of(paths)
    return {
        "names": [clean(explanation.names[feature_index]) for feature_index in order],
        "values": values,
        "low": lower_ends,
        "high": upper_ends,
        "quiet": [
            clear is not None and explanation.names[feature_index] not in clear
            for feature_index in order
        ],
        "parts": [
            {
                "name": clean(titles[name_of_path]),
                "colour": _colour(name_of_path, path_index),
                "values": np.nan_to_num(path_values[order]),
            }
            for path_index, (name_of_path, path_values) in enumerate(paths.items())
        ],
        "texts": numbers(values),
    }


def leading(standing: Standing, loss: Loss | None, *, most: int = 8) -> Chart:
    """Return the most important features, as losses without each of them where a
    ``loss`` is known.

    Bars then start at the loss of the model with all features.
    """
    explanation = standing.explanation
    values = np.asarray(explanation.values[:, 0], dtype=np.float64)
    idle_indices = standing.idle
    order = choices.largest(sizes_of(explanation, 0), most)
    if len(idle_indices) < len(values):
        order = order[~np.isin(order, idle_indices)]
    hidden = len(values) - len(order) - len(idle_indices)
    bar_data = ranked(standing, order, {}) | {
        "label": quantity_of(explanation),
        "hidden": max(hidden, 0),
        "rest": _rest(values, order, loss),
    }
    bar_data |= _as_losses(bar_data, loss)
    if loss is None:
        with_all = ""
    else:
        with_all = f" With all features it is {number(loss.model)}."
    quiet_names = []
    for feature_name, quiet in zip(bar_data["names"], bar_data["quiet"], strict=True):
        if quiet:
            quiet_names.append(feature_name)
    if quiet_names:
        doubt = f" Not certain: {listed(quiet_names)}."
    else:
        doubt = ""
    words = (
        f"Bars of the {len(order)} most important of {len(values)} "
        f"{explanation.level}s with confidence intervals, "
    )
    words += (
        f"{bar_data['label']}: "
        f"{valued(bar_data['names'], bar_data['values'])}.{with_all}{doubt}"
    )
    return Chart("bars", words, bar_data, ASIDE)


def _rest(values: Floats, shown: npt.NDArray[np.intp], loss: Loss | None) -> str | None:
    """Say between which values the features are that are not shown: around 0, unless
    that hides that some are below 0 by more than the least that is shown.
    """
    small_features = np.delete(values, shown)
    small_features = small_features[np.isfinite(small_features)]
    if not len(small_features):
        return None
    least_shown = values[shown].min(initial=np.inf)
    if loss is not None:
        small_features = loss.growth(small_features)
        least_shown = loss.growth(least_shown)
    lowest = float(small_features.min())
    highest = float(small_features.max())
    if -lowest > max(highest, float(least_shown)):
        return f"from {number(lowest, 2)} to {number(highest, 2)}"
    return f"within ±{number(max(-lowest, highest), 2)}"


def _as_losses(data: Mapping[str, Any], loss: Loss | None) -> dict[str, Any]:
    """Return what changes of bars where a loss is known: they start at that with all
    features.

    Parts keep their shares of a bar.
    """
    if loss is None:
        return {}
    values = np.asarray(data["values"])
    growth = loss.growth(data["values"])
    shares = np.divide(growth, values, out=np.zeros(len(values)), where=values != 0)
    scaled_parts = []
    for path_bars in data["parts"]:
        scaled_parts.append({**path_bars, "values": path_bars["values"] * shares})
    bar_ends = {}
    for end_name in ("values", "low", "high"):
        bar_ends[end_name] = loss.model + loss.growth(data[end_name])
    label = f"{loss.label} without the feature"
    return {
        **bar_ends,
        "parts": scaled_parts,
        "start": loss.model,
        "texts": numbers(bar_ends["values"]),
        "label": label,
    }


def _colour(name: str, position: int) -> str:
    """Return the colour of a part of an effect, at a position."""
    return part_colour(name, f"series-{position % _SERIES}")


def signed_bars(
    names: Sequence[str],
    values: Floats,
    *,
    label: str = "attribution",
    write: Callable[[float], str] | None = None,
) -> Chart:
    """Return signed values by falling size, such as attributions divided by their L1
    norm, with texts by ``write``.
    """
    order = choices.largest(np.abs(values), _SIGNED)
    shown = np.asarray(values, dtype=np.float64)[order]
    ordered = [clean(names[name_index]) for name_index in order]
    leading = valued(ordered[:8], shown[:8], write or number)
    if write is None:
        texts = numbers(shown)
    else:
        texts = list(map(write, shown.tolist()))
    bar_data = {"names": ordered, "values": shown, "texts": texts, "label": label}
    return Chart(
        "bars",
        f"Bars of {len(order)} of {len(values)}, largest first: {leading}.",
        bar_data,
    )


def differences(names: Sequence[str], intervals: npt.ArrayLike, *, label: str) -> Chart:
    """Return differences with their intervals ``(names, 3)``.

    Those whose interval contains 0 are grey.
    """
    table = np.asarray(intervals, dtype=np.float64).reshape(len(names), 3)
    value, lower_ends, upper_ends = table.T
    bar_data = {
        "names": list(map(clean, names)),
        "values": value,
        "low": lower_ends,
        "high": upper_ends,
        "form": "dots",
    }
    bar_data |= {
        "quiet": (lower_ends <= 0) & (upper_ends >= 0),
        "label": clean(label),
        "texts": numbers(value),
    }
    return Chart("bars", f"{clean(label)}: {valued(names, value)}", bar_data)


def _share_and_number(
    share: float, importance_text: str, entry: Mapping[str, Any]
) -> str:
    """Return the share of a path, if it has one, and its importance."""
    if np.isfinite(share):
        return f"{share * 100:.0f} % · {importance_text}"
    if "share" in entry:
        return f"undefined · {importance_text}"
    return importance_text


def branches(content: Mapping[str, Any], *, label: str = "importance") -> Chart:
    """Return the content of ``branches.json``: the importance of each path or input,
    alone and behind all others.
    """
    names = list(entries_of(content))
    entry_keys = ("importance", "ci_low", "ci_high", "alone", "last")
    value, lower_ends, upper_ends, alone, last_effects = np.array(
        [
            [value_of(content[branch_name], entry_key) for entry_key in entry_keys]
            for branch_name in names
        ]
    ).T
    words = list(map(number, value))
    if not path_words(content):
        shares = [value_of(content[branch_name], "share") for branch_name in names]
        entries = values_at(content, names)
        words = [
            _share_and_number(share, importance_text, entry)
            for share, importance_text, entry in zip(
                shares, words, entries, strict=True
            )
        ]
    bar_data = {
        "names": list(map(clean, titles_of(names).values())),
        "values": value,
        "low": lower_ends,
        "high": upper_ends,
        "colours": [
            _colour(branch_name, branch_index)
            for branch_index, branch_name in enumerate(names)
        ],
        "marks": [
            {"name": mark_name, "shape": shape, "values": effects}
            for mark_name, shape, effects in (
                ("alone", "circle", alone),
                ("last", "square", last_effects),
            )
            if np.isfinite(effects).any()
        ],
        "texts": words,
        "label": label,
    }
    return Chart(
        "bars",
        f"Importance of the branches: {valued(titles_of(names).values(), value)}",
        bar_data,
    )


def classes(explanation: Explanation, *, top_n: int | None = None) -> Chart:
    """Return features (rows) by classes (columns), ordered by the column of all rows if
    there is one.
    """
    values = np.asarray(explanation.values, dtype=np.float64)
    has_all = explanation.outputs[0] == "all" and len(explanation.outputs) > 1
    order = choices.largest(
        values[:, 0] if has_all else np.nan_to_num(np.abs(values)).max(axis=1), top_n
    )
    names = list(map(clean, explanation.outputs))
    if has_all:
        names[0] = "all rows"
    else:
        names[0] = names[0]
    table = values[order]
    bound = float(np.nanmax(np.abs(table), initial=0.0)) or 1.0
    # Two digits, because features differ by powers of ten.
    texts = []
    for table_row in table:
        texts.append(
            [
                "≈ 0" if 0 < abs(value) < bound / 1000 else number(value, 2)
                for value in table_row
            ]
        )
    leading = " ".join(
        f"For {output_name} the largest is "
        f"{clean(explanation.names[int(np.nanargmax(column))])}."
        for output_name, column in list(zip(names, values.T, strict=True))[:12]
        if np.any(np.isfinite(column))
    )
    words = (
        f"Heat map of {len(order)} of {len(values)} {explanation.level}s (rows) by "
        f"{len(names)} outputs (columns)."
    )
    feature_names = [clean(explanation.names[feature_index]) for feature_index in order]
    cell_data = {
        "rows": feature_names,
        "columns": names,
        "values": table,
        "texts": texts,
        "most": bound,
        "hidden": len(values) - len(order),
    }
    return Chart(
        "cells", f"{words} {leading}", cell_data, WIDTH if len(names) < 6 else 900
    )


def along(explanation: Explanation, loss: Loss | None = None) -> Chart:
    """Return the importance of columns in a row, in their order, with intervals, a
    panel for each of several curves.

    Where a ``loss`` is known, it is how much that grows without a column.
    """
    lines = np.atleast_3d(np.array(explanation.meta["order"], dtype=object))[0].T
    owners = in_order(explanation)[1]
    measured = []
    for estimates in (explanation.values, *explanation.ci()):
        measured.append(np.append(estimates[:, 0], np.nan))
    values, lower_ends, upper_ends = (
        measured if loss is None else map(loss.growth, measured)
    )
    if loss is None:
        label = quantity_of(explanation)
    else:
        label = loss.grown
    shown = np.sort(
        choices.largest(np.nan_to_num(np.abs(values[owners])).max(axis=1), _CURVES)
    )
    panels = []
    drawn = np.unique(owners[owners >= 0])
    largest = drawn[choices.largest(values[drawn], 3)]
    # A column far above all others would make a line of them.
    alone = len(largest) > 1 and values[largest[0]] > _FAR * values[largest[1]] > 0
    absent = largest[: int(alone)]
    for curve in shown:
        x = np.arange(lines.shape[1])
        own_owners = owners[curve]
        own_owners = np.where(
            np.isin(own_owners, absent), -1, own_owners
        )  # the last place has no values
        marks = [
            mark("rule", y=0, colour="neutral"),
            mark(
                "area",
                x=x,
                low=lower_ends[own_owners],
                high=upper_ends[own_owners],
                colour="tabular",
            ),
        ]
        marks.append(mark("steps", x=x, y=values[own_owners], colour="tabular"))
        names = list(map(clean, lines[curve]))
        if len(lines) > 1:
            title = f"{names[0]} … {names[-1]}"
        else:
            title = ""
        if alone and largest[0] in owners[curve]:
            title += (
                f"{'. ' * bool(title)}Not drawn: "
                f"{valued([explanation.names[largest[0]]], values[absent])}"
            )
        panels.append(
            panel({"names": names, "some": True}, {"label": label}, marks, title=title)
        )
    strongest = valued(values_at(explanation.names, largest), values[largest])
    words = f"Importance along {lines.size} columns. Largest: {strongest}."
    return plot(words, panels, height=300 if len(panels) == 1 else 170)


# ---- pairs ---------------------------------------------------------------------------
def interactions(
    explanation: Explanation, *, top_n: int | None = 12, target: str | int | None = None
) -> Chart:
    """Return how the features of the strongest pairs work together, a cell for each
    pair, clear ones framed.
    """
    pairs = pairs_of(explanation, target)
    leading = list(dict.fromkeys(chain.from_iterable(pairs.names)))
    leading = leading[: max(2, choices.check_top_n(top_n, len(leading)))]
    players = []
    for player_name in choices.as_global(explanation).ranking(target):
        if player_name in leading:
            players.append(player_name)
    player_position = {}
    for position, player_name in enumerate(players):
        player_position[player_name] = position
    table = np.full((len(players), len(players)), np.nan)
    frames = []
    for names, value, clear in zip(pairs.names, pairs.values, pairs.clear, strict=True):
        if all(feature_name in player_position for feature_name in names):
            row_index, column = sorted(values_at(player_position, names), reverse=True)
            table[row_index, column] = value
            if clear:
                frames += [[row_index - 1, column]]
    # The first has no pair to its left, the last none below.
    table = table[1:, :-1]
    texts = np.full(table.shape, "", dtype=object)
    finite = np.isfinite(table)
    texts[finite] = numbers(table[finite], 2)
    cell_data = {
        "rows": list(map(clean, players[1:])),
        "columns": list(map(clean, players[:-1])),
        "values": table,
        "texts": texts,
        "most": float(np.nanmax(np.abs(table), initial=0.0)) or 1.0,
        "framed": frames,
        "hidden": len({*chain.from_iterable(pairs.names)} - {*players}),
    }
    strongest = valued(list(map(" × ".join, pairs.names[:5])), pairs.values[:5])
    words = (
        f"{int(pairs.clear.sum())} of {len(pairs.names)} pairs clearly interact. "
        f"Strongest: {strongest}"
    )
    return Chart("cells", words, cell_data)


# ---- single rows ---------------------------------------------------------------------
def steps(
    explanation: Explanation,
    *,
    row: int,
    output: int,
    label: str,
    top_n: int | None = 10,
    width: int = 60,
) -> Chart:
    """Return one row's attributions as steps from the baseline's output to the row's
    output. Names take ``width`` letters at most.
    """
    values = np.nan_to_num(
        np.asarray(explanation.values[row, :, output], dtype=np.float64)
    )
    start, end_value = ends_of(explanation, row, output)
    players = np.arange(len(values))
    names, sizes = steps_of(explanation, (row, output), players, top_n, width)
    order = choices.largest(np.abs(values), top_n)[:5]
    leading = valued(values_at(explanation.names, order), values[order])
    step_data = {
        "start": start,
        "end": end_value,
        "startName": "baseline",
        "endName": "this row",
        "label": label,
    }
    step_data["steps"] = [
        {"name": n, "value": v}
        for n, v in zip(names, np.nan_to_num(sizes).tolist(), strict=True)
    ]
    return Chart(
        "steps",
        f"Steps from {number(start)} (baseline) to {number(end_value)} (this row). "
        f"Largest: {leading}.",
        step_data,
    )


class Swarm(NamedTuple):
    """Points of features, the most important first, for rows."""

    #: of the features: their places among all
    order: npt.NDArray[np.intp]
    #: attributions, and ranks of the features' values from 0 to 1 (NaN: no order), both
    #: ``(features, rows drawn)``
    values: Floats
    ranks: Floats
    words: str


def swarm_of(
    explanation: Explanation, output: int, top_n: int | None, most_rows: int
) -> Swarm:
    """Return the points of a swarm, of rows that are thinned evenly to ``most_rows``.

    The order uses all rows.
    """
    values = np.asarray(explanation.values[:, :, output], dtype=np.float64)
    order = choices.largest_on_average(values, top_n)
    drawn_rows = thinned(len(values), most_rows)
    ranks = [ranks_of(explanation, int(feature))[drawn_rows] for feature in order]
    if len(drawn_rows) < len(values):
        drawn = f", {len(drawn_rows):,} drawn"
    else:
        drawn = ""
    leading = [clean(explanation.names[feature]) for feature in order[:4]]
    words = (
        f"One point per row for {len(order)} of {len(explanation.names)} features, "
        f"{len(values):,} rows{drawn}. Widest spread: {', '.join(leading)}."
    )
    return Swarm(order, values[np.ix_(drawn_rows, order)].T, np.stack(ranks), words)


def swarm(explanation: Explanation, *, output: int, label: str) -> Chart:
    """Return one point per row and feature.

    Its place is the attribution, its colour the feature's value.

    Colours follow the rank of numbers, dates and ordered categories. Values without an
    order have the last shade.
    """
    points = swarm_of(explanation, output, _SWARM, SWARM_ROWS)
    shades = np.where(
        np.isfinite(points.ranks),
        np.clip(points.ranks * _SHADES, 0, _SHADES - 1),
        UNORDERED,
    )
    short_values = []
    for feature_values in points.values:
        short_values.append([float(f"{value:.3g}") for value in feature_values])
    swarm_data = {
        "names": [clean(explanation.names[i]) for i in points.order],
        "values": np.array(short_values),
        "shades": np.nan_to_num(shades).astype(np.int64),
        "label": label,
    }
    return Chart("swarm", points.words, swarm_data)
