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

from permgrad.attribution.replace.direction import around
from permgrad.base.arrays import Floats, Integers
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

    Attributes:
        raw: The rows as the model reads them.
        table: The same, with declared codes missing.
        outcome: ``(rows, outputs)``: for each class whether a row has it, or the
            target.
        predicted: ``(rows, outputs)``: the probability of each class, or the
            prediction.
        numbers: Columns of dates as numbers, ``(rows,)`` each.
        outputs: The positions of the outputs in predictions. ``...``: all.
        dependence: Which rows depend on each other. None: none do.
        texts: Columns of free text, whose cells are no levels.
        parts: Columns of ``table`` that are what a date of ``raw`` says: this date, and
            after how many values they begin again (None: they do not).
        members: The columns of features that have several, which ``table`` shows as
            one.
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
    """Return what is shown of each feature.

    Features that are not one column of the table have no values to show, and get only
    their name.

    Args:
        sample: The rows of the cards.
        names: Of the features.
        rows: The positions of the rows whose curves are returned.
        predict: Predicts rows in the form of ``raw``.

    Returns:
        The cards, and the curves of these rows by feature, ``(rows, points, outputs)``.
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
    """Return a column of numbers or dates, NaN where missing, or None if it has other
    values.

    Args:
        column: ``(rows,)``.
        dates: Of a column of dates these as numbers, ``(rows,)``.
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
    texts = np.array(list(map(written, column.iloc[present].tolist())), dtype=object)
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
    labels = list(map(written, column.iloc[picked].tolist()))
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
    labels = list(map(written, column.iloc[picked].tolist()))
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
    texts = list(map(written, column[column.notna()].tolist()))
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
    """Return the ranges of dates, with the first and last date of each as its name.

    Args:
        column: ``(rows,)``.
        dates: Its dates as numbers, ``(rows,)``.
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

    Args:
        sample: The rows.
        pairs: The columns of each pair.
        rows: The positions of rows over which means are taken.
        predict: Predicts rows in the form of ``raw``.
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
    """Return what a joint effect has beyond the sum of both single ones.

    It is what the pair does only together: the numerator of Friedman & Popescu's H.

    Args:
        mean: The joint effect, ``(first, second, outputs)``.
        rounding: Differences up to it are none.
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
