"""Which way a feature pushes: the mean prediction by quantile or level, both paths
moved together.

Importance by permutation has no sign. This is the partial dependence of Friedman
(2001), evaluated at quantiles of a numeric feature and at the most frequent levels of
any other, through all paths of the network.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import torch

from permgrad.attribution.explanation.comparisons import Comparisons, comparisons
from permgrad.attribution.explanation.statistics import interval, mean_over_rows
from permgrad.attribution.replace.engine import Replacement
from permgrad.attribution.request import Request
from permgrad.attribution.subject.scales import PROBABILITY
from permgrad.base.arrays import Booleans, Floats, Indexes
from permgrad.base.late import pd
from permgrad.data.encode.calendar import CIRCLES
from permgrad.data.types.column_types import read_numbers

#: Rows that are set, points of a number, levels, and moments that are shown of dates.
_ROWS = 100
_POINTS = 9
_LEVELS = 10
_MOMENTS = 8


def direction(request: Request, engine: Replacement) -> dict[str, dict[str, Any]]:
    """Return, for each player, the points where it was set (``at``, ``label``) and the
    mean predictions (``mean``).

    Args:
        request: The call.
        engine: Replaces features, and predicts.
    """
    if request.raw is None:
        return {}
    if request.sample_weight is None:
        weights = np.ones(request.count)
    else:
        weights = request.sample_weight
    usable = np.flatnonzero(weights > 0)
    selected_rows = usable[
        np.linspace(0, len(usable) - 1, min(_ROWS, len(usable))).round().astype(np.intp)
    ]
    everywhere = np.ones((1, len(request.subject.paths)), dtype=bool)
    trends: dict[str, dict[str, Any]] = {}
    with torch.inference_mode(), request.subject.open():
        block = engine.computed(request.encoded[selected_rows])
        for player_name, columns in request.space.columns.items():
            points = _points(request, player_name, weights)
            if points is None or not len(columns):
                continue
            picked = points.pop("rows")
            compared = comparisons(
                points.pop("places"),
                _written_points(points),
                weights,
                levels=points.pop("compared_levels", False),
            )
            values = np.tile(
                request.encoded[picked][:, columns], (len(selected_rows), 1)
            )
            receivers = np.repeat(np.arange(len(selected_rows)), len(picked))
            batches = engine.replaced(block, columns, receivers, values, everywhere)
            outputs = torch.cat(
                [block.outputs[:0], *(batch[0] for _, batch, _ in batches)]
            )
            read = PROBABILITY.read(request.subject.outputs, outputs).double()
            curves = read.unflatten(0, (len(selected_rows), len(picked))).cpu().numpy()
            means = np.average(curves, axis=0, weights=weights[selected_rows])
            trends[player_name] = {
                **points,
                "mean": means.tolist(),
                "changes": _changes(request, compared, curves, selected_rows, weights),
            }
    return trends


def _written_points(points: dict[str, Any]) -> list[Any]:
    """Return the points of numbers, or what is written of all others."""
    if points["kind"] == "numeric":
        return list(points["at"])
    return points.pop("values", None) or list(points["label"])


def _changes(
    request: Request,
    compared: Comparisons,
    curves: Floats,
    rows: Indexes,
    weights: Floats,
) -> dict[str, Any]:
    """Return how far the mean of curves ``(rows, points, outputs)`` changes, with the
    errors of a mean over these rows.
    """
    units = request.units
    differences = np.einsum("cp,rpo->rco", compared.weights, curves)
    units_of_rows = units
    if units is not None:
        units_of_rows = units.take(rows)
    means, std_errors, sizes = mean_over_rows(differences, weights[rows], units_of_rows)
    low, high, _ = interval(means, std_errors, sizes, request.confidence)
    unit = PROBABILITY.unit(request.subject.outputs)
    return compared.entry(np.stack([means, std_errors, low, high]), unit, units)


def _points(request: Request, name: str, weights: Floats) -> dict[str, Any] | None:
    """Choose rows that show the feature at its quantiles or levels, each row counted by
    its weight.
    """
    if request.shown is None or name not in request.shown.columns:
        return None
    column = request.shown[name]
    numbers, missing, dates = numbers_and_missing(request, name)
    missing |= weights == 0
    if (
        numbers is not None
        and dates
        and (period := circle_of(request.subject.preprocessor, name)) is not None
    ):
        picked, _, closed = around(numbers, missing, _MOMENTS, period)
        labels = column.iloc[picked].astype(str).tolist()
        count = len(picked)
        points = {
            "kind": "levels",
            "rows": picked,
            "places": _places(numbers, missing, picked),
            "at": list(range(count)),
            "label": labels,
            "levels": count,
        }
        return points | ({"circle": True} if closed else {})
    if numbers is not None and dates:
        picked, _ = _spread(numbers, missing | ~np.isfinite(numbers), weights, _MOMENTS)
        # Without the time of day.
        labels = []
        for date_cell in column.iloc[picked]:
            labels.append(re.split(r"[T ]\d?\d:", str(date_cell))[0])
        count = len(picked)
        return {
            "kind": "levels",
            "rows": picked,
            "places": _places(numbers, missing, picked),
            "at": list(range(count)),
            "label": labels,
            "levels": count,
        }
    if (
        numbers is not None
        and len(np.unique(numbers[~missing & np.isfinite(numbers)])) > _LEVELS
    ):
        picked, point_values = _spread(
            numbers, missing | ~np.isfinite(numbers), weights, _POINTS
        )
        return {
            "kind": "numeric",
            "rows": picked,
            "places": _places(numbers, missing, picked),
            "at": point_values,
            "label": [f"{value:.4g}" for value in point_values],
        }
    return _points_of_levels(column, numbers, weights)


def _places(numbers: Floats, missing: Booleans, picked: Indexes) -> Floats:
    """Return between which points each row lies, in points from the first.

    NaN: missing.
    """
    positions = np.interp(numbers, numbers[picked], np.arange(len(picked)))
    return np.where(missing | ~np.isfinite(numbers), np.nan, positions)


def _points_of_levels(
    column: pd.Series[Any], numbers: Floats | None, weights: Floats
) -> dict[str, Any]:
    """Choose a row for each of the most frequent levels, or for all numbers in
    order.
    """
    # One by one, because pandas' text type cannot hold half a character.
    usable = np.flatnonzero(weights > 0)
    cells = column.astype(object).where(column.notna(), "missing").iloc[usable]
    text = np.array(list(map(str, cells)), dtype=object)
    levels, first, level_indices = np.unique(
        text, return_index=True, return_inverse=True
    )
    first = usable[first]
    counts = np.bincount(level_indices, weights[usable])
    shown = np.argsort(-counts, kind="stable")[:_LEVELS]
    if isinstance(column.dtype, pd.CategoricalDtype) and column.dtype.ordered:
        codes = column.cat.codes.to_numpy(dtype=np.float64)
        numbers = np.where(codes < 0, np.nan, codes)
    if numbers is not None:
        # All of them, from the lowest to the highest.
        shown = np.argsort(numbers[first], kind="stable")
    labels = list(map(str, levels[shown]))
    positions = np.full(len(weights), np.nan)
    for position, level in enumerate(shown):
        positions[usable[level_indices == level]] = position
    points = {
        "kind": "levels",
        "rows": first[shown],
        "places": positions,
        "compared_levels": True,
        "at": list(range(len(shown))),
        "label": labels,
    }
    if numbers is not None:
        points["ordered"] = True
    if numbers is not None and pd.api.types.is_numeric_dtype(column.dtype):
        values = numbers[first[shown]].tolist()
        for position, value in enumerate(values):
            if np.isnan(value):
                values[position] = labels[position]
        points["values"] = values
    return points | {
        "levels": len(levels),
        "share": (counts[shown] / counts.sum()).tolist(),
    }


class ColumnNumbers(NamedTuple):
    """A raw column as numbers.

    Attributes:
        numbers: ``(rows,)``: dates as seconds since 1970, what dates say as the places
            of its words. None: levels.
        missing: Which cells are missing, ``(rows,)``.
        dates: Whether they are dates, or parts of dates.
    """

    numbers: Floats | None
    missing: Booleans
    dates: bool


def numbers_and_missing(request: Request, name: str) -> ColumnNumbers:
    """Return a raw column as numbers, and which of its cells are missing.

    Args:
        request: The call.
        name: The column.
    """
    assert request.shown is not None
    column = request.shown[name]
    encoder = request.subject.preprocessor
    date_part = getattr(encoder, "date_parts_", {}).get(name)
    if date_part is not None and date_part.part != "trend":
        codes = np.asarray(column.cat.codes, dtype=np.float64)
        return ColumnNumbers(np.where(codes < 0, np.nan, codes), codes < 0, True)
    if date_part is not None:
        name = date_part.column
    missing = column.isna().to_numpy()
    if encoder is not None:
        # Declared codes for missing: one of the feature's indicator columns is set.
        flags = []
        for column_index in encoder.columns_of(name):
            if encoder.slots_[column_index].of.is_missing:
                flags.append(column_index)
        missing = missing | (request.encoded[:, flags] > 0.5).any(axis=1)
        column_type = {
            column_schema.name: column_schema for column_schema in encoder.schema_
        }.get(name)
        if column_type is not None and column_type.of.is_moment:
            return ColumnNumbers(
                read_numbers(column, column_type, encoder.codes_)[0], missing, True
            )
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        seconds = (column - pd.Timestamp(0, tz=column.dt.tz)) / pd.Timedelta(seconds=1)
        return ColumnNumbers(np.asarray(seconds, dtype=np.float64), missing, True)
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return ColumnNumbers(
            column.to_numpy(dtype=np.float64, na_value=np.nan), missing, False
        )
    return ColumnNumbers(None, missing, False)


def circle_of(encoder: Any, name: str) -> int | None:
    """Return after how many values a feature of a date begins again, or None."""
    date_part = getattr(encoder, "date_parts_", {}).get(name)
    if date_part is None:
        return None
    return CIRCLES.get(date_part.part)


class RowsAround(NamedTuple):
    """Rows at values that are spread evenly over a circle.

    Attributes:
        rows: Their positions, ``(points,)``.
        values: Their values, all of a circle with few.
        closed: Whether they go all the way round.
    """

    rows: Indexes
    values: list[float]
    closed: bool


def around(values: Floats, missing: Booleans, points: int, period: int) -> RowsAround:
    """Return rows at values that are spread evenly over a circle.

    Args:
        values: Of a circle, ``(rows,)``.
        missing: Which are missing, ``(rows,)``.
        points: How many rows, at most.
        period: After how many values the circle begins again.
    """
    usable = np.flatnonzero(~missing & np.isfinite(values))
    distinct_values, first = np.unique(values[usable], return_index=True)
    if not len(distinct_values):
        return RowsAround(usable, [], False)
    value_gaps = np.diff(np.append(distinct_values, distinct_values[0] + period))
    # All the way round if the gap behind the last value is like the others: no closed
    # hours, no season left out.
    closed = len(distinct_values) > 2 and value_gaps[-1] <= max(
        period / points, value_gaps[:-1].max()
    )
    if len(distinct_values) > max(points, 7):
        target_values = distinct_values[0] + np.arange(points) * (
            period if closed else np.ptp(distinct_values)
        ) / (points - (not closed))
        nearest_indices = np.unique(
            np.abs(distinct_values[:, None] - target_values).argmin(axis=0)
        )
        distinct_values = distinct_values[nearest_indices]
        first = first[nearest_indices]
    return RowsAround(usable[first], distinct_values.tolist(), bool(closed))


def _spread(
    values: Floats, missing: Booleans, weights: Floats, points: int
) -> tuple[Indexes, list[float]]:
    """Return rows at evenly spaced quantiles of the values that are not missing, and
    these distinct values.
    """
    usable = np.flatnonzero(~missing)
    picked = order = usable[np.argsort(values[usable], kind="stable")]
    if len(order):
        quantile_positions = np.linspace(0, len(order) - 1, points)
        if (weights != weights[0]).any():
            # Each row is in the middle of its weight.
            middles = np.cumsum(weights[order]) - weights[order] / 2
            quantile_positions = np.interp(
                np.linspace(middles[0], middles[-1], points),
                middles,
                np.arange(len(order)),
            )
        picked = order[quantile_positions.round().astype(np.intp)]
    picked = picked[np.unique(values[picked], return_index=True)[1]]
    return picked, values[picked].tolist()
