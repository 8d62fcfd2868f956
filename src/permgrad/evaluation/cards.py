"""One feature at a time: the model's predictions over its values, its distribution, the
outcome by value.

The curve of one row is its prediction with the feature set to each of a few values and
everything else unchanged (individual conditional expectation, Goldstein et al. 2015).
Their mean is the partial dependence (Friedman 2001).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import EllipsisType
from typing import Any

import numpy as np
import pandas as pd

from permgrad.attribution.method.ale.effects import (
    Axis,
    Column,
    Sampled,
    accumulated,
    make_axes,
)
from permgrad.attribution.replace.direction import around
from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.dependence import Dependence
from permgrad.base.significance import NORMAL_95
from permgrad.evaluation.calibration import wilson
from permgrad.evaluation.drift import bar_edges
from permgrad.evaluation.levels import Levels, levels_of

#: From positions of rows ``(n,)`` and these rows with one column changed, the
#: predictions ``(n, outputs)``.
Predict = Callable[[Integers, pd.DataFrame], Floats]

#: Features that get a card, and curves of single rows in each. Fewer where the
#: predictions would be more than the last.
MOST_CARDS = 40
MOST_CURVES = 50
MOST_PREDICTIONS = 12_000
#: Values of a number at which a curve is evaluated, and most levels of anything else.
POINTS = 10
LEVELS = 10
#: Most values of a circle that are levels: weekdays.
_FEW = 7


@dataclass(frozen=True)
class Sample:
    """The rows of the cards: values, outcomes and predictions.

    ``raw``: the rows as the model reads them. ``table``: the same, with declared codes
    missing. ``outcome`` and ``predicted`` ``(rows, outputs)``: for each class whether a
    row has it, and its probability, or the target. ``numbers``: columns of dates as
    numbers. ``parts``: the columns of ``table`` that are what a date of ``raw`` says,
    by name: this date, and after how many values they begin again (None: they do not).
    ``outputs``: positions of the outputs in predictions (``...``: all). ``dependence``:
    which rows depend on each other. ``texts``: columns of free text, whose cells are no
    levels. ``members``: the columns of features that have several, which ``table``
    shows as one.
    """

    raw: pd.DataFrame
    table: pd.DataFrame
    outcome: Floats
    predicted: Floats
    numbers: Mapping[str, Floats]
    outputs: Sequence[int] | EllipsisType = ...
    dependence: Dependence | None = None
    texts: Sequence[str] = ()
    parts: Mapping[str, tuple[str, int | None]] = field(default_factory=dict)
    members: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def period(self, name: str) -> int | None:
        """Return after how many values a feature begins again, or None."""
        if name in self.parts:
            return self.parts[name][1]
        return None

    def predicted_with(
        self, predict: Predict, row_indices: Integers, donors: Mapping[str, Integers]
    ) -> Floats:
        """Return what is predicted of rows, repeated or not, with the values that other
        rows have of some features.

        Of what a date says, the column holds the date that says it.
        """
        changed = self.raw.iloc[row_indices].reset_index(drop=True)
        for feature, donor_rows in donors.items():
            for column_name in self.members.get(feature, (feature,)):
                if column_name in self.parts:
                    column = self.parts[column_name][0]
                else:
                    column = column_name
                changed[column_name] = (
                    self.raw[column].iloc[donor_rows].reset_index(drop=True)
                )
        return np.asarray(predict(row_indices, changed), dtype=np.float64)[
            :, self.outputs
        ]


def feature_cards(
    sample: Sample, names: Sequence[str], rows: Integers, predict: Predict
) -> tuple[list[dict[str, Any]], dict[str, Floats]]:
    """Return what is shown of each feature, and the curves of some ``rows`` by feature,
    ``(rows, points, outputs)``.

    Features that are not one column of the table have no values to show, and get only
    their name.
    """
    named = []
    for feature_name in names[:MOST_CARDS]:
        if feature_name in sample.table.columns:
            named.append(feature_name)
    # Many features must not cost more predictions.
    rows = rows[
        : max(5, min(MOST_CURVES, MOST_PREDICTIONS // max(len(named) * POINTS, 1)))
    ]
    cards = []
    curves = {}
    for card_name in names[:MOST_CARDS]:
        feature_card: dict[str, Any] = {"feature": card_name}
        cards.append(feature_card)
        if card_name not in named:
            continue
        column = sample.table[card_name]
        dates = sample.numbers.get(card_name)
        if dates is None:
            levels = levels_of(column)
        else:
            levels = dated_levels(column, dates)
        feature_card["values"] = distribution(column, dates)
        if card_name in sample.texts:
            feature_card["values"] = {"missing": feature_card["values"]["missing"]}
            continue
        if levels is None:
            feature_card["outcome"] = []
        else:
            feature_card["outcome"] = outcome_table(
                levels, sample.outcome, sample.predicted, sample.dependence
            )
        donors, axis = points_of(column, dates, period=sample.period(card_name))
        if len(donors) < 2 or not len(rows):
            continue
        feature_card |= axis | (
            {"said": True}
            if column.dtype == "category" and card_name in sample.parts
            else {}
        )
        outputs = sample.predicted_with(
            predict,
            np.repeat(rows, len(donors)),
            {card_name: np.tile(donors, len(rows))},
        )
        curves[card_name] = outputs.reshape(len(rows), len(donors), -1)
        feature_card["mean"] = curves[card_name].mean(axis=0).tolist()
    return cards, curves


# ---- curves --------------------------------------------------------------------------
def as_numbers(column: pd.Series[Any], dates: Floats | None = None) -> Floats | None:
    """Return a column ``(rows,)`` of numbers or ``dates``, NaN where missing, or None
    if it has other values.
    """
    if dates is not None:
        return dates
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(
        column.dtype
    ):
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return np.asarray(np.where(np.isfinite(numbers), numbers, np.nan))
    return None


def points_of(
    column: pd.Series[Any],
    dates: Floats | None,
    count: int = POINTS,
    *,
    period: int | None = None,
) -> tuple[Integers, dict[str, Any]]:
    """Choose values that a feature is set to: quantiles (number, date), or the most
    frequent levels (all else).

    Returns rows that have them, and ``numeric``, the places ``at`` on an axis, how each
    is written (``label``), whether they are ``dates``, and the number of ``levels`` of
    a feature without order. With a ``period`` the values are spread evenly, and where
    they go all the way round, the first is the last one, too (``circle``).
    """
    numbers = as_numbers(column, dates)
    if numbers is not None and period is not None:
        return _round_points(column, numbers, count, period)
    if numbers is not None:
        present = np.flatnonzero(np.isfinite(numbers))
    else:
        present = np.flatnonzero(column.notna().to_numpy())
    if numbers is not None and (
        dates is not None or len(np.unique(numbers[present])) > count
    ):
        return _quantiles(column, numbers, present, count, dates=dates is not None)
    texts = np.array(
        [written(value) for value in column.iloc[present].tolist()], dtype=object
    )
    levels, first, counts = np.unique(texts, return_index=True, return_counts=True)
    shown = np.argsort(-counts, kind="stable")[:count]
    if numbers is not None:
        shown = shown[np.argsort(numbers[present[first[shown]]], kind="stable")]
    axis_positions = list(map(float, range(len(shown))))
    axis = {
        "numeric": False,
        "at": axis_positions,
        "label": levels[shown].tolist(),
        "dates": False,
        "levels": len(levels),
    }
    return present[first[shown]], axis


def _quantiles(
    column: pd.Series[Any],
    numbers: Floats,
    present: Integers,
    count: int,
    *,
    dates: bool,
) -> tuple[Integers, dict[str, Any]]:
    """Return rows that have quantiles of a number or date, and their axis."""
    order = present[np.argsort(numbers[present], kind="stable")]
    quantile_ranks = np.zeros(0)
    if len(order):
        quantile_ranks = np.linspace(0.01, 0.99, count) * (len(order) - 1)
    picked = order[quantile_ranks.round().astype(np.intp)]
    picked = picked[np.unique(numbers[picked], return_index=True)[1]]
    labels = [written(value) for value in column.iloc[picked].tolist()]
    return picked, {
        "numeric": True,
        "at": numbers[picked].tolist(),
        "label": labels,
        "dates": dates,
        "levels": 0,
    }


def _round_points(
    column: pd.Series[Any], numbers: Floats, count: int, period: int
) -> tuple[Integers, dict[str, Any]]:
    """Choose values on a circle.

    Seven or fewer, such as weekdays, are levels in their order.
    """
    picked, axis_positions, closed = around(
        numbers, ~np.isfinite(numbers), count, period
    )
    labels = [written(value) for value in column.iloc[picked].tolist()]
    levels = len(picked) <= _FEW
    if levels or not closed:
        if levels:
            axis_positions = list(map(float, range(len(axis_positions))))
        return picked, {
            "numeric": not levels,
            "at": axis_positions,
            "label": labels,
            "dates": not levels,
            "levels": len(axis_positions) * levels,
        }
    axis = {
        "numeric": True,
        "at": [*axis_positions, axis_positions[0] + period],
        "label": [*labels, labels[0]],
        "dates": True,
        "levels": 0,
    }
    return np.append(picked, picked[:1]), axis | {"circle": True}


def written(value: Any) -> str:
    """Write a value of the table: whole numbers without a point, a moment without its
    time of day at midnight.
    """
    if isinstance(value, pd.Timestamp):
        return str(value).removesuffix(" 00:00:00")
    if isinstance(value, (float, np.floating)):
        integer = float(value).is_integer() and abs(float(value)) < 1e15
        if integer:
            return str(int(value))
        return f"{value:.4g}"
    return str(value)


# ---- values --------------------------------------------------------------------------
def distribution(column: pd.Series[Any], dates: Floats | None = None) -> dict[str, Any]:
    """Return how a column's values are spread: the counts of bars between ``edges``, or
    of its levels, and missing.
    """
    numbers = as_numbers(column, dates)
    missing = int(
        (column.isna().to_numpy() if numbers is None else np.isnan(numbers)).sum()
    )
    if numbers is None:
        present = np.zeros(0)
    else:
        present = numbers[np.isfinite(numbers)]
    if len(np.unique(present)) > LEVELS:
        edges = bar_edges(present)
        counts = np.histogram(np.clip(present, edges[0], edges[-1]), edges)[0]
        return {"edges": edges.tolist(), "counts": counts.tolist(), "missing": missing}
    texts = [written(value) for value in column[column.notna()].tolist()]
    levels, counts = np.unique(np.array(texts, dtype=object), return_counts=True)
    shown = np.argsort(-counts, kind="stable")[:LEVELS]
    return {
        "levels": levels[shown].tolist(),
        "counts": counts[shown].tolist(),
        "missing": missing,
    }


def outcome_table(
    levels: Levels,
    outcome: Floats,
    predicted: Floats,
    dependence: Dependence | None = None,
) -> list[dict[str, Any]]:
    """Return for each level ``level, rows, outcome, low, high, predicted``: lists with
    one number for each output.

    Intervals at 95 % are those of Wilson (1927) for shares, and of the normal
    distribution for a mean of numbers.
    """
    codes, names = levels
    table = []
    if dependence is None:
        related = 0.0
    else:
        related = dependence.correlation(outcome)
    shares = bool(np.isin(outcome, (0.0, 1.0)).all())
    for level_code, level_name in enumerate(names):
        level_outcomes = outcome[codes == level_code]
        if not len(level_outcomes):
            continue
        if dependence is None:
            wider = 1.0
        else:
            wider = dependence.widening(
                (codes == level_code).astype(np.float64), related
            )
        mean_outcome = level_outcomes.mean(axis=0)
        half_width = np.full(len(mean_outcome), np.nan)  # of a single row
        if not shares and len(level_outcomes) > 1:
            half_width = (
                wider
                * NORMAL_95
                * level_outcomes.std(axis=0, ddof=1)
                / np.sqrt(len(level_outcomes))
            )
        lower_end, upper_end = (
            wilson(mean_outcome, len(level_outcomes) / wider**2)
            if shares
            else (mean_outcome - half_width, mean_outcome + half_width)
        )
        columns = {
            "outcome": mean_outcome,
            "low": lower_end,
            "high": upper_end,
            "predicted": predicted[codes == level_code].mean(axis=0),
        }
        entry = {}
        for column_name, numbers in columns.items():
            entry[column_name] = [
                float(value) if np.isfinite(value) else None for value in numbers
            ]
        table.append({"level": level_name, "rows": len(level_outcomes), **entry})
    return table


def dated_levels(column: pd.Series[Any], dates: Floats) -> Levels | None:
    """Return the ranges of a column of ``dates``, with the first and last date of each
    as its name.
    """
    levels = levels_of(pd.Series(dates))
    if levels is None:
        return None
    return (levels[0], _dated(column, dates, levels))


def _dated(column: pd.Series[Any], dates: Floats, levels: Levels) -> list[str]:
    """Return names of ranges of dates: the first and last date of each, as the table
    has them.
    """
    codes, names = levels
    texts = []
    for level_code, level_name in enumerate(names):
        member = np.flatnonzero((codes == level_code) & np.isfinite(dates))
        if not len(member):
            texts.append(level_name)
            continue
        end_dates = []
        for extreme_index in (np.argmin, np.argmax):
            end_dates.append(written(column.iloc[member[extreme_index(dates[member])]]))
        if not isinstance(column.dtype, pd.CategoricalDtype):
            end_dates = [end_date[:10] for end_date in end_dates]
        texts.append(
            end_dates[0]
            if end_dates[0] == end_dates[1]
            else f"{end_dates[0]} to {end_dates[1]}"
        )
    return texts


# ---- two features at a time ----------------------------------------------------------
#: Pairs whose effects are computed, values of each feature, rows that are set, and rows
#: whose values are shown.
_MOST_PAIRS = 8
VALUES = 8
_MOST_ROWS = 40
MOST_DOTS = 200
#: Predictions for all pairs together.
_MOST_PREDICTIONS = 12_000


def pair_effects(
    sample: Sample, pairs: Sequence[tuple[str, str]], rows: Integers, predict: Predict
) -> list[dict[str, Any]]:
    """Return the effect of each pair of columns, of the first ``_MOST_PAIRS`` that can
    be set.

    The mean over rows with both set, all else unchanged, is the joint partial
    dependence (Friedman 2001).

    Each has ``pair``; ``axes``: for both features ``numeric, at, label``; ``mean``
    ``(first, second, outputs)``; ``dots``: both features' places ``(rows,)`` of some
    rows, NaN where missing or not on the axis; and ``rounding``: differences up to it
    are rounding of the predictions.
    """
    settable_columns = set(sample.table.columns) - set(sample.texts)
    usable = [
        column_pair for column_pair in pairs if settable_columns.issuperset(column_pair)
    ][:_MOST_PAIRS]
    rows = rows[
        : max(
            5, min(_MOST_ROWS, _MOST_PREDICTIONS // (VALUES**2 * max(len(usable), 1)))
        )
    ]
    effects = (_effect(sample, column_pair, rows, predict) for column_pair in usable)
    return [pair_effect for pair_effect in effects if pair_effect is not None]


def _effect(
    sample: Sample, pair: tuple[str, str], rows: Integers, predict: Predict
) -> dict[str, Any] | None:
    points = [_points(sample, column_name) for column_name in pair]
    shape = tuple(len(donors) for donors, _ in points)
    if min(shape) < 2 or not len(rows):
        return None
    first, second = (
        donors.ravel()
        for donors in np.meshgrid(*(donors for donors, _ in points), indexing="ij")
    )
    donors = {}
    for column_name, donor_rows in zip(pair, (first, second), strict=True):
        donors[column_name] = np.tile(donor_rows, len(rows))
    outputs = sample.predicted_with(predict, np.repeat(rows, len(first)), donors)
    mean_outputs = outputs.reshape(len(rows), *shape, -1).mean(axis=0)
    # Numbers that float32 can hold may come from a network.
    precision = np.finfo(
        np.float32
        if np.array_equal(outputs, outputs.astype(np.float32))
        else np.float64
    ).eps
    rounding = 8 * float(precision) * float(np.abs(outputs).max(initial=0.0))
    dot_positions = []
    for column_name, (_, axis) in zip(pair, points, strict=True):
        dot_positions.append(_places(sample, column_name, axis)[:MOST_DOTS].tolist())
    axis_keys = ("numeric", "at", "label", "dates", "circle")
    axis_facts = []
    for _, axis in points:
        axis_facts.append(
            {axis_key: axis[axis_key] for axis_key in axis_keys if axis_key in axis}
        )
    facts = {
        "pair": list(pair),
        "axes": axis_facts,
        "mean": mean_outputs.tolist(),
        "dots": dot_positions,
    }
    return {**facts, "rows": len(rows), "rounding": rounding}


def _points(sample: Sample, name: str) -> tuple[Integers, dict[str, Any]]:
    """Return the points of a feature.

    On a circle the first is not the last one, too.
    """
    donors, axis = points_of(
        sample.table[name], sample.numbers.get(name), VALUES, period=sample.period(name)
    )
    if not axis.get("circle"):
        return donors, axis
    return donors[:-1], axis | {
        axis_key: axis[axis_key][:-1] for axis_key in ("at", "label")
    }


def beyond_each(mean: Floats, rounding: float = 0.0) -> Floats:
    """Return what a joint effect ``(first, second, outputs)`` has beyond the sum of
    both single ones.

    It is what the pair does only together: the numerator of Friedman & Popescu's H.
    """
    alone = mean.mean(axis=1, keepdims=True) + mean.mean(axis=0, keepdims=True)
    beyond: Floats = mean - alone + mean.mean(axis=(0, 1), keepdims=True)
    return np.where(np.abs(beyond) <= rounding, 0.0, beyond)


def _places(sample: Sample, name: str, axis: Mapping[str, Any]) -> Floats:
    """Return where each row is on the axis of a feature."""
    column = sample.table[name]
    axis_positions = axis["at"]
    if axis["numeric"]:
        numbers = as_numbers(column, sample.numbers.get(name))
        assert numbers is not None
        return np.clip(numbers, min(axis_positions), max(axis_positions))
    label_position = dict(zip(axis["label"], axis_positions, strict=True))
    return np.array(
        [
            label_position.get(written(value), np.nan) if pd.notna(value) else np.nan
            for value in column.tolist()
        ]
    )


# ---- accumulated local effects beside the curves -------------------------------------
#: Cards that get a local effect, and predictions for all of them together: a row is
#: moved to both ends of its bin.
_CARDS = 10
_PREDICTIONS = 6000
_FEWEST = 200
#: Most bins, and the rows that each has at least.
_BINS = 12
_LEAST = 10
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


def add_local_effects(
    sample: Sample,
    cards: Sequence[dict[str, Any]],
    curves: Mapping[str, Floats],
    predict: Predict,
) -> None:
    """Add ``ale`` to the first cards of numbers and dates, and ``leaves`` to those
    whose mean curve leaves the data.

    A mean curve sets a column to one value in all rows, which makes rows that do not
    exist where columns depend on each other. Accumulated local effects only move rows
    between values near their own (Apley & Zhu 2020, ``method="ale"``).

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
    count = min(len(sample.raw), max(_FEWEST, _PREDICTIONS // max(2 * len(shown), 1)))
    sampled = _sampled(sample, count)
    for shown_card in shown:
        name = shown_card["feature"]
        values = columns[name].values
        axis = make_axes(
            [0], {0: Column(name, values[:count])}, sampled, _BINS, _LEAST
        ).get(0)
        if axis is None or len(axis.at) < 2:
            continue
        mean, error, low, high = _moved_effects(axis, sample, name, predict, sampled)
        point_positions = _places_of(shown_card, sample, values)
        single = curves[name]  # (rows, points, outputs)
        weights = _weights_of(values[:count], point_positions)
        level = weights @ single.mean(axis=0)
        shown_card["ale"] = _drawn_effects(
            shown_card, axis, point_positions, (mean, low, high), level
        )
        other_columns = _without_same_date(sample, name, columns)
        left_facts = _left(name, other_columns, point_positions)
        if left_facts is not None:
            centred = single - np.einsum("p,rpo->ro", weights, single)[:, None]
            local = [
                _along(axis, effect_curve, point_positions)
                for effect_curve in (mean, error)
            ]
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
    axis: Axis, sample: Sample, name: str, predict: Predict, sampled: Sampled
) -> Floats:
    """Return the accumulated effects along an axis, with errors and ends."""
    rows, steps = axis.moves
    row_indices = np.tile(rows, 2)
    donors = np.concatenate([axis.donors[steps], axis.donors[steps + 1]])
    outputs = sample.predicted_with(predict, row_indices, {name: donors})
    effects = outputs[len(rows) :] - outputs[: len(rows)]
    return accumulated([axis], rows, [steps], effects, sampled).effects


def _places_of(card: Mapping[str, Any], sample: Sample, values: Floats) -> Floats:
    """Return the numbers at which a card's curve was computed."""
    if card["numeric"]:
        return np.asarray(card["at"], dtype=np.float64)
    labels = map(written, sample.table[card["feature"]].tolist())
    of_label = {}
    for label, number in zip(labels, values.tolist(), strict=True):
        if np.isfinite(number):
            of_label[label] = number
    return np.array([of_label[label] for label in card["label"]])


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
        np.clip(axis.at, edges[0], edges[-1])
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
    return {
        other_name: column
        for other_name, column in columns.items()
        if other_name == name or date != sample.parts.get(other_name, (other_name,))[0]
    }


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


def _column(sample: Sample, name: str) -> Column:
    """Return a column of numbers or dates, or the codes of levels, all NaN of those too
    many to compare.
    """
    cells = sample.table[name]
    numbers = as_numbers(cells, sample.numbers.get(name))
    if numbers is not None:
        return Column(name, np.asarray(numbers, dtype=np.float64))
    codes, levels = cells.astype(object).factorize()
    is_comparable = len(levels) <= LEVELS and name not in sample.texts
    return Column(
        name,
        np.where(codes < 0, np.nan, codes)
        if is_comparable
        else np.full(len(cells), np.nan),
        (name,),
    )


def _along(axis: Axis, numbers: Floats, positions: Floats) -> Floats:
    """Return numbers at points of an axis ``(points, outputs)`` at other values."""
    return np.stack(
        [np.interp(positions, axis.at, output_values) for output_values in numbers.T],
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
    first, last_ranks = (
        np.searchsorted(own_values[order], positions, search_side)
        for search_side in ("left", "right")
    )
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
    return {
        side: int(spots[0])
        for side, spots in sides.items()
        if len(spots) and point_count < count
    }


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
