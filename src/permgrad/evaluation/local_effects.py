"""Accumulated local effects of the columns of a table: beside curves that set a column
in all rows, and as a table of how far the prediction changes.

A mean curve sets a column to one value in all rows, which makes rows that do not exist
where columns depend on each other. Accumulated local effects only move rows between
values near their own (Apley & Zhu 2020, ``method="ale"``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from permgrad.attribution.explanation.explanation_frames import (
    frame_of_changes,
    stacked_changes,
)
from permgrad.attribution.method.ale_effects import (
    Axis,
    Column,
    Curve,
    Sampled,
    accumulated,
    make_axes,
)
from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.sequences import values_at
from permgrad.evaluation.cards import LEVELS, Predict, Sample, as_numbers, written

#: Columns whose effects are computed, and predictions for all of them together: a row
#: is moved to both ends of its bin. The fewest rows, of all of them.
_MOST_COLUMNS = 200
_PREDICTIONS = 8_000
_FEWEST = 200
#: Cards that get a local effect beside their curve.
_CARDS = 10
#: Most bins, and the rows that each has at least.
_BINS = 12
_LEAST = 10
#: Levels of a column that effects are computed between. Rare ones are left out.
_MOST_LEVELS = 30
#: Rows that are compared with those nearest to a value: so many, and at least this
#: share of all.
_COMPARED = 1000
_NEAREST = 50
_SHARE = 0.05
#: A curve leaves the data where more than this share of its rows is unlike all those
#: nearest to the value.
_OUTSIDE = 0.5
#: Standard errors beyond which two curves differ (95 % for ten points together). Less
#: than this share of the range of the curves is not worth a word.
_APART = 2.8
_LITTLE = 0.02


# ---- effects of all columns ----------------------------------------------------------
class LocalEffect(NamedTuple):
    """The effects along the axis of a column, of rows that were ``sampled``."""

    axis: Axis
    curve: Curve
    sampled: Sampled


def local_effects(
    sample: Sample, names: Sequence[str], predict: Predict
) -> dict[str, LocalEffect]:
    """Return the accumulated local effects of the first of some columns, but for those
    without two points.

    Args:
        sample: The rows.
        names: Of the columns.
        predict: Predicts rows in the form of ``raw``.
    """
    columns = {}
    for name in names[:_MOST_COLUMNS]:
        if name in sample.table.columns:
            columns[name] = _column(sample, name, _MOST_LEVELS)
    rows_in_time = _PREDICTIONS // max(2 * len(columns), 1)
    count = min(len(sample.raw), max(_FEWEST, rows_in_time))
    sampled = _sampled(sample, count)
    first_rows = {}
    for position, column in enumerate(columns.values()):
        first_rows[position] = replace(column, values=column.values[:count])
    effects = {}
    axes = make_axes(first_rows, first_rows, sampled, _BINS, _LEAST)
    for axis in axes.values():
        if len(axis.points) > 1:
            curve = _moved_effects(axis, sample, predict, sampled)
            effects[axis.column.name] = LocalEffect(axis, curve, sampled)
    return effects


def table_of_changes(
    effects: Mapping[str, LocalEffect], outputs: Sequence[str], unit: str
) -> pd.DataFrame | None:
    """Return how far the prediction changes with each column, with intervals: the frame
    of ``Explanation.effects``. None: with no column.

    Args:
        effects: By column.
        outputs: Their names.
        unit: Of the outputs.
    """
    frames = []
    for name, effect in effects.items():
        units = effect.sampled.units
        compared = effect.axis.compared(effect.sampled)
        changes = compared.entry(effect.curve.changes, unit, units)
        frames.append(frame_of_changes(name, changes, outputs))
    if frames:
        return stacked_changes(frames)
    return None


# ---- beside the curves of cards ------------------------------------------------------
def add_local_effects(
    sample: Sample,
    cards: Sequence[dict[str, Any]],
    curves: Mapping[str, Floats],
    effects: Mapping[str, LocalEffect],
) -> None:
    """Add ``ale`` to the first cards of numbers and dates, and ``leaves`` to those
    whose mean curve leaves the data.

    ``ale`` has places ``at`` on the card's axis, and ``mean``, ``low`` and ``high``
    ``(places, outputs)``: the effect with 95 % intervals, moved to the mean of the
    other curve. ``leaves`` is what ``_left`` returns, with how far the curves are
    ``apart`` there in each output, and whether that is ``clear``.
    """
    columns = {}
    for feature_card in cards:
        if feature_card["feature"] in sample.table:
            columns[feature_card["feature"]] = _column(sample, feature_card["feature"])
    drawable = [card for card in cards if card["feature"] in curves]
    shown = [card for card in drawable if not columns[card["feature"]].labels][:_CARDS]
    for shown_card in shown:
        name = shown_card["feature"]
        if name not in effects:
            continue
        axis, curve, sampled = effects[name]
        values = columns[name].values
        mean, error, low, high = curve.effects
        point_positions = _places_of(shown_card, sample, values)
        single = curves[name]  # (rows, points, outputs)
        weights = _weights_of(values[: len(sampled.weights)], point_positions)
        level = weights @ single.mean(axis=0)
        shown_card["ale"] = _drawn_effects(
            shown_card, axis, point_positions, (mean, low, high), level
        )
        other_columns = _without_same_date(sample, name, columns)
        left_facts = _left(name, other_columns, point_positions)
        if left_facts is not None:
            centred = single - np.einsum("p,rpo->ro", weights, single)[:, None]
            local = []
            for effect_curve in (mean, error):
                local.append(_along(axis, effect_curve, point_positions))
            shown_card["leaves"] = _leaving(shown_card, left_facts, centred, local)


def _sampled(sample: Sample, count: int) -> Sampled:
    """Return how the first rows were sampled: each once, with their dependence."""
    units = None
    if sample.dependence is not None:
        units = sample.dependence.take(np.arange(count))
    return Sampled(np.ones(count), units, 0.95)


def _weights_of(values: Floats, points: Floats) -> Floats:
    """Return how much of the values lies at each of some points, between linearly."""
    located = np.array(
        [np.interp(values, points, np.eye(len(points))[k]) for k in range(len(points))]
    )
    return located[:, np.isfinite(values)].mean(axis=1)


def _moved_effects(
    axis: Axis, sample: Sample, predict: Predict, sampled: Sampled
) -> Curve:
    """Return the accumulated effects along an axis, with errors and ends."""
    rows, steps = axis.moves
    row_indices = np.tile(rows, 2)
    donors = {axis.column.name: axis.donors[np.concatenate([steps, steps + 1])]}
    outputs = sample.predicted_with(predict, row_indices, donors)
    effects = outputs[len(rows) :] - outputs[: len(rows)]
    return accumulated([axis], rows, [steps], effects, sampled)


def _places_of(card: Mapping[str, Any], sample: Sample, values: Floats) -> Floats:
    """Return the numbers at which a card's curve was computed."""
    if card["numeric"]:
        return np.asarray(card["at"], dtype=np.float64)
    labels = map(written, sample.table[card["feature"]].tolist())
    of_label = {}
    for label, number in zip(labels, values.tolist(), strict=True):
        if np.isfinite(number):
            of_label[label] = number
    return np.array(values_at(of_label, card["label"]))


def _drawn_effects(
    card: Mapping[str, Any],
    axis: Axis,
    numbers: Floats,
    effects: tuple[Floats, Floats, Floats],
    level: Floats,
) -> dict[str, Any]:
    """Return ``ale`` of a card: mean, low and high effects around a level."""
    edges = card["values"].get("edges", numbers)
    spots = np.unique(
        np.clip(axis.points, edges[0], edges[-1])
    )  # what the chart shows of them
    axis_positions = spots
    if not card["numeric"]:
        axis_positions = np.interp(spots, numbers, np.arange(len(numbers)))
    drawn: dict[str, Any] = {"at": axis_positions.tolist()}
    for key, effect_curve in zip(("mean", "low", "high"), effects, strict=True):
        drawn[key] = (_along(axis, effect_curve, spots) + level).tolist()
    return drawn


def _without_same_date(
    sample: Sample, name: str, columns: Mapping[str, Column]
) -> dict[str, Column]:
    """Return the columns without others of the same date, which belong together."""
    date = sample.parts.get(name, (name,))[0]
    without_same_date: dict[str, Column] = {}
    for other_name, column in columns.items():
        if other_name == name or date != sample.parts.get(other_name, (other_name,))[0]:
            without_same_date[other_name] = column
    return without_same_date


def _leaving(
    card: Mapping[str, Any],
    left: dict[str, Any],
    centred: Floats,
    local: Sequence[Floats],
) -> dict[str, Any]:
    """Return ``leaves`` of a card: where, and how far curves are apart."""
    apart = _apart(centred, local, left.pop("points"))
    labels = {key: card["label"][spot] for key, spot in left["ends"].items()}
    return left | labels | apart


def _column(sample: Sample, name: str, most_levels: int = LEVELS) -> Column:
    """Return a column of numbers or dates, or the codes of levels, all NaN of those too
    many to compare.
    """
    cells = sample.table[name]
    dates = sample.numbers.get(name)
    numbers = as_numbers(cells, dates)
    if numbers is not None:
        words: tuple[str, ...] = ()
        if dates is not None and isinstance(cells.dtype, pd.CategoricalDtype):
            words = tuple(map(str, cells.cat.categories))
        is_date = dates is not None and not words
        values = np.asarray(numbers, dtype=np.float64)
        return Column(name, values, dates=is_date, words=words)
    codes, levels = cells.astype(object).factorize(sort=False)
    labels = tuple(map(written, levels))
    if len(levels) > most_levels or name in sample.texts:
        return Column(name, np.full(len(cells), np.nan), labels or (name,))
    return Column(name, np.where(codes < 0, np.nan, codes), labels, nominal=True)


def _along(axis: Axis, numbers: Floats, positions: Floats) -> Floats:
    """Return numbers at points of an axis ``(points, outputs)`` at other values."""
    return np.stack(
        [
            np.interp(positions, axis.points, output_values)
            for output_values in numbers.T
        ],
        axis=1,
    )


def _apart(
    centred: Floats, local: Sequence[Floats], points: Integers
) -> dict[str, Any]:
    """Return how far the mean of centred curves is from the local effect at some
    points, and whether that is clear.
    """
    mean_curve, (effect, error) = centred.mean(axis=0), local
    chance = np.hypot(
        centred.std(axis=0, ddof=1) / np.sqrt(len(centred)),
        np.nan_to_num(error, nan=np.inf),
    )
    apart = np.abs(effect - mean_curve)[points]
    least = np.maximum(
        _APART * chance[points], _LITTLE * max(np.ptp(mean_curve), np.ptp(effect))
    )
    clear = np.where(apart > least, apart, 0.0)
    return {"apart": clear.max(axis=0).tolist(), "clear": clear.any(axis=0).tolist()}


def _left(
    name: str, columns: Mapping[str, Column], positions: Floats
) -> dict[str, Any] | None:
    """Return where rows that have another value of a column are unlike all rows with
    such values, or None.

    A row is unlike them if its value of one ``other`` column is outside the range of
    the rows nearest to the value, or a level that none of these has. ``ends``: the last
    of the first ``points`` of which more than half of the rows are so (``to``), and the
    first of the last ones (``from``). ``share``: of the rows at all of these points.
    ``near``: how many rows are nearest.
    """
    own_values = columns[name].values[:_COMPARED]
    order = np.argsort(own_values, kind="stable")[: np.isfinite(own_values).sum()]
    nearest_count = max(_NEAREST, round(_SHARE * len(order)))
    other_columns = {}
    for other_name, column in columns.items():
        if other_name != name:
            other_columns[other_name] = column
    if len(order) < 4 * nearest_count or not other_columns:
        return None
    first = np.searchsorted(own_values[order], positions, "left")
    last_ranks = np.searchsorted(own_values[order], positions, "right")
    start = np.clip(
        (first + last_ranks - nearest_count) // 2, 0, len(order) - nearest_count
    )
    window_ends = zip(
        np.minimum(start, first),
        np.maximum(start + nearest_count, last_ranks),
        strict=True,
    )
    shares = np.array(
        [
            _outside(order, order[window_start:window_end], other_columns)
            for window_start, window_end in window_ends
        ]
    )  # (points, others)
    beyond = shares > _OUTSIDE
    lower = np.logical_and.accumulate(beyond)
    upper = np.logical_and.accumulate(beyond[::-1])[::-1]
    outside_mask = lower | upper
    best_column = int(np.argmax(((shares - _OUTSIDE) * outside_mask).sum(axis=0)))
    points = np.flatnonzero(outside_mask[:, best_column])
    if not len(points):
        return None
    point_ends = _last_points(
        lower[:, best_column], upper[:, best_column], len(points), len(positions)
    )
    share = float(shares[points, best_column].mean())
    return {
        "ends": point_ends,
        "other": list(other_columns)[best_column],
        "share": share,
        "near": nearest_count,
        "points": points,
    }


def _last_points(
    lower: Booleans, upper: Booleans, point_count: int, count: int
) -> dict[str, int]:
    """Return where the first points end, and the last ones begin, unless all are so."""
    sides = {
        "to": np.flatnonzero(lower)[-1:],
        "from": np.flatnonzero(upper)[:1],
    }
    last_points: dict[str, int] = {}
    for side, spots in sides.items():
        if len(spots) and point_count < count:
            last_points[side] = int(spots[0])
    return last_points


def _outside(
    rows: Integers, near: Integers, other_columns: Mapping[str, Column]
) -> list[float]:
    """Return the shares of rows whose value of each other column is outside that of the
    rows nearest to a value.
    """
    shares = []
    for column in other_columns.values():
        values = column.values[rows]
        known_values = values[np.isfinite(values)]
        near_values = column.values[near]
        near_values = near_values[np.isfinite(near_values)]
        if len(near_values) < _NEAREST // 2:
            shares.append(0.0)
        elif column.labels:
            shares.append(float(1 - np.isin(known_values, near_values).mean()))
        else:
            shares.append(
                float(
                    (
                        (known_values < near_values.min())
                        | (known_values > near_values.max())
                    ).mean()
                )
            )
    return shares
