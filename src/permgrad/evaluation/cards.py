"""One feature at a time: the model's predictions over its values, its distribution, the outcome by value.

The curve of one row is its prediction with the feature set to each of a few values and everything else unchanged
(individual conditional expectation, Goldstein et al. 2015). Their mean is the partial dependence (Friedman 2001).
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

#: From positions of rows ``(n,)`` and these rows with one column changed, the predictions ``(n, outputs)``.
Predict = Callable[[Integers, pd.DataFrame], Floats]

#: Features that get a card, and curves of single rows in each. Fewer where the predictions would be more than the last.
MOST_CARDS, MOST_CURVES, MOST_PREDICTIONS = 40, 50, 12_000
#: Values of a number at which a curve is evaluated, and most levels of anything else.
POINTS, LEVELS = 10, 10
#: Most values of a circle that are levels: weekdays.
_FEW = 7


@dataclass(frozen=True)
class Sample:
    """The rows of the cards: values, outcomes and predictions.

    ``raw``: the rows as the model reads them. ``table``: the same, with declared codes missing. ``outcome`` and
    ``predicted`` ``(rows, outputs)``: for each class whether a row has it, and its probability, or the target.
    ``numbers``: columns of dates as numbers. ``parts``: the columns of ``table`` that are what a date of ``raw`` says,
    by name: this date, and after how many values they begin again (None: they do not). ``outputs``: positions of the
    outputs in predictions (``...``: all).
    ``dependence``: which rows depend on each other. ``texts``: columns of free text, whose cells are no levels.
    ``members``: the columns of features that have several, which ``table`` shows as one.
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
        return self.parts[name][1] if name in self.parts else None

    def predicted_with(self, predict: Predict, places: Integers, donors: Mapping[str, Integers]) -> Floats:
        """Return what is predicted of rows, repeated or not, with the values that other rows have of some features.

        Of what a date says, the column holds the date that says it.
        """
        changed = self.raw.iloc[places].reset_index(drop=True)
        for feature, rows in donors.items():
            for name in self.members.get(feature, (feature,)):
                column = self.parts[name][0] if name in self.parts else name
                changed[name] = self.raw[column].iloc[rows].reset_index(drop=True)
        return np.asarray(predict(places, changed), dtype=np.float64)[:, self.outputs]


def feature_cards(
    sample: Sample, names: Sequence[str], rows: Integers, predict: Predict
) -> tuple[list[dict[str, Any]], dict[str, Floats]]:
    """Return what is shown of each feature, and the curves of some ``rows`` by feature, ``(rows, points, outputs)``.

    Features that are not one column of the table have no values to show, and get only their name.
    """
    named = [name for name in names[:MOST_CARDS] if name in sample.table.columns]
    # Many features must not cost more predictions.
    rows = rows[: max(5, min(MOST_CURVES, MOST_PREDICTIONS // max(len(named) * POINTS, 1)))]
    cards, curves = [], {}
    for name in names[:MOST_CARDS]:
        card: dict[str, Any] = {"feature": name}
        cards.append(card)
        if name not in named:
            continue
        column, dates = sample.table[name], sample.numbers.get(name)
        levels = levels_of(column) if dates is None else dated_levels(column, dates)
        card["values"] = distribution(column, dates)
        if name in sample.texts:
            card["values"] = {"missing": card["values"]["missing"]}
            continue
        card["outcome"] = (
            [] if levels is None else outcome_table(levels, sample.outcome, sample.predicted, sample.dependence)
        )
        donors, axis = points_of(column, dates, period=sample.period(name))
        if len(donors) < 2 or not len(rows):
            continue
        card |= axis | ({"said": True} if column.dtype == "category" and name in sample.parts else {})
        outputs = sample.predicted_with(predict, np.repeat(rows, len(donors)), {name: np.tile(donors, len(rows))})
        curves[name] = outputs.reshape(len(rows), len(donors), -1)
        card["mean"] = curves[name].mean(axis=0).tolist()
    return cards, curves


# ---- curves ----------------------------------------------------------------------------------------------------------
def as_numbers(column: pd.Series[Any], dates: Floats | None = None) -> Floats | None:
    """Return a column ``(rows,)`` of numbers or ``dates``, NaN where missing, or None if it has other values."""
    if dates is not None:
        return dates
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return np.asarray(np.where(np.isfinite(numbers), numbers, np.nan))
    return None


def points_of(
    column: pd.Series[Any], dates: Floats | None, count: int = POINTS, *, period: int | None = None
) -> tuple[Integers, dict[str, Any]]:
    """Choose values that a feature is set to: quantiles (number, date), or the most frequent levels (all else).

    Returns rows that have them, and ``numeric``, the places ``at`` on an axis, how each is written (``label``), whether
    they are ``dates``, and the number of ``levels`` of a feature without order. With a ``period`` the values are spread
    evenly, and where they go all the way round, the first is the last one, too (``circle``).
    """
    numbers = as_numbers(column, dates)
    if numbers is not None and period is not None:
        return _round_points(column, numbers, count, period)
    present = np.flatnonzero(np.isfinite(numbers)) if numbers is not None else np.flatnonzero(column.notna().to_numpy())
    if numbers is not None and (dates is not None or len(np.unique(numbers[present])) > count):
        order = present[np.argsort(numbers[present], kind="stable")]
        places = np.linspace(0.01, 0.99, count) * (len(order) - 1) if len(order) else np.zeros(0)
        picked = order[places.round().astype(np.intp)]
        picked = picked[np.unique(numbers[picked], return_index=True)[1]]
        at, labels = numbers[picked].tolist(), [written(value) for value in column.iloc[picked].tolist()]
        return picked, {"numeric": True, "at": at, "label": labels, "dates": dates is not None, "levels": 0}
    texts = np.array([written(value) for value in column.iloc[present].tolist()], dtype=object)
    levels, first, counts = np.unique(texts, return_index=True, return_counts=True)
    shown = np.argsort(-counts, kind="stable")[:count]
    if numbers is not None:
        shown = shown[np.argsort(numbers[present[first[shown]]], kind="stable")]
    at = list(map(float, range(len(shown))))
    axis = {"numeric": False, "at": at, "label": levels[shown].tolist(), "dates": False, "levels": len(levels)}
    return present[first[shown]], axis


def _round_points(column: pd.Series[Any], numbers: Floats, count: int, period: int) -> tuple[Integers, dict[str, Any]]:
    """Choose values on a circle. Seven or fewer, such as weekdays, are levels in their order."""
    picked, at, closed = around(numbers, ~np.isfinite(numbers), count, period)
    labels, levels = [written(value) for value in column.iloc[picked].tolist()], len(picked) <= _FEW
    if levels or not closed:
        at = list(map(float, range(len(at)))) if levels else at
        return picked, {
            "numeric": not levels,
            "at": at,
            "label": labels,
            "dates": not levels,
            "levels": len(at) * levels,
        }
    axis = {"numeric": True, "at": [*at, at[0] + period], "label": [*labels, labels[0]], "dates": True, "levels": 0}
    return np.append(picked, picked[:1]), axis | {"circle": True}


def written(value: Any) -> str:
    """Write a value of the table: whole numbers without a point, a moment without its time of day at midnight."""
    if isinstance(value, pd.Timestamp):
        return str(value).removesuffix(" 00:00:00")
    if isinstance(value, (float, np.floating)):
        integer = float(value).is_integer() and abs(float(value)) < 1e15
        return str(int(value)) if integer else f"{value:.4g}"
    return str(value)


# ---- values ----------------------------------------------------------------------------------------------------------
def distribution(column: pd.Series[Any], dates: Floats | None = None) -> dict[str, Any]:
    """Return how a column's values are spread: the counts of bars between ``edges``, or of its levels, and missing."""
    numbers = as_numbers(column, dates)
    missing = int((column.isna().to_numpy() if numbers is None else np.isnan(numbers)).sum())
    present = np.zeros(0) if numbers is None else numbers[np.isfinite(numbers)]
    if len(np.unique(present)) > LEVELS:
        edges = bar_edges(present)
        counts = np.histogram(np.clip(present, edges[0], edges[-1]), edges)[0]
        return {"edges": edges.tolist(), "counts": counts.tolist(), "missing": missing}
    texts = [written(value) for value in column[column.notna()].tolist()]
    levels, counts = np.unique(np.array(texts, dtype=object), return_counts=True)
    shown = np.argsort(-counts, kind="stable")[:LEVELS]
    return {"levels": levels[shown].tolist(), "counts": counts[shown].tolist(), "missing": missing}


def outcome_table(
    levels: Levels, outcome: Floats, predicted: Floats, dependence: Dependence | None = None
) -> list[dict[str, Any]]:
    """Return for each level ``level, rows, outcome, low, high, predicted``: lists with one number for each output.

    Intervals at 95 % are those of Wilson (1927) for shares, and of the normal distribution for a mean of numbers.
    """
    codes, names = levels
    table = []
    related = 0.0 if dependence is None else dependence.correlation(outcome)
    shares = bool(np.isin(outcome, (0.0, 1.0)).all())
    for code, name in enumerate(names):
        rows = outcome[codes == code]
        if not len(rows):
            continue
        wider = 1.0 if dependence is None else dependence.widening((codes == code).astype(np.float64), related)
        mean = rows.mean(axis=0)
        half = np.full(len(mean), np.nan)  # of a single row
        if not shares and len(rows) > 1:
            half = wider * NORMAL_95 * rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
        low, high = wilson(mean, len(rows) / wider**2) if shares else (mean - half, mean + half)
        columns = {"outcome": mean, "low": low, "high": high, "predicted": predicted[codes == code].mean(axis=0)}
        entry = {key: [float(value) if np.isfinite(value) else None for value in each] for key, each in columns.items()}
        table.append({"level": name, "rows": len(rows), **entry})
    return table


def dated_levels(column: pd.Series[Any], dates: Floats) -> Levels | None:
    """Return the ranges of a column of ``dates``, with the first and last date of each as its name."""
    levels = levels_of(pd.Series(dates))
    return None if levels is None else (levels[0], _dated(column, dates, levels))


def _dated(column: pd.Series[Any], dates: Floats, levels: Levels) -> list[str]:
    """Return names of ranges of dates: the first and last date of each, as the table has them."""
    codes, names = levels
    texts = []
    for code, name in enumerate(names):
        member = np.flatnonzero((codes == code) & np.isfinite(dates))
        if not len(member):
            texts.append(name)
            continue
        ends = [written(column.iloc[member[pick(dates[member])]]) for pick in (np.argmin, np.argmax)]
        ends = ends if isinstance(column.dtype, pd.CategoricalDtype) else [end[:10] for end in ends]
        texts.append(ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}")
    return texts
