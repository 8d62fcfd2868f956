"""Find columns that predict the target alone. They may be computed from it, or recorded after it.

The model of a column is a lookup among rows with equal values or a few neighbours, and for numbers also a straight
line. Training rows and held out rows are each predicted from the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.polynomial import Polynomial

from permgrad.base.arrays import Array, Booleans, Floats, Integers
from permgrad.data.read.table import blank_codes
from permgrad.data.types.duplicates import column_levels
from permgrad.evaluation.metrics import Task

Whole = Integers

#: Balanced accuracy or R² on held-out rows from which a column is reported. A column within 0.01 of a model with 0.99
#: reaches it, too.
ALONE = 0.98
#: With fewer rows a column may separate the classes by chance.
FEWEST_ROWS = 20
#: Training rows whose neighbours are taken together.
_NEIGHBOURS = (1, 5, 25)
#: Below this score of the nearest rows, more neighbours are not tried.
_WORTH_MORE = 0.8
#: Number of cells, and of rows, that are read. Longer or wider tables are sampled.
_MOST_CELLS, _MOST_ROWS, _LEAST_ROWS = 4_000_000, 20_000, 2_000


def looked_at(rows: int, columns: int) -> Whole:
    """Return which rows of a table to look at, all or evenly spread ones of a longer or wider table."""
    most = int(np.clip(_MOST_CELLS // max(columns, 1), _LEAST_ROWS, _MOST_ROWS))
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).astype(np.int64))


def columns_that_tell(
    learned: tuple[pd.DataFrame, Array],
    held: tuple[pd.DataFrame, Array],
    task: Task,
    na_codes: Sequence[str | int | float] = (),
) -> list[dict[str, Any]]:
    """Return ``{column, metric, score, rows}`` of columns with at least 0.98 on held-out rows, the highest first.

    Metrics are ``balanced_accuracy``, ``r2`` and ``r2_of_ranks``. Ranks are needed if a few values are far from all
    others: R² then depends on predictions for these, which lie outside the range of the learned rows.
    """
    tables, targets = [], []
    for table, values in (learned, held):
        rows = looked_at(len(table), len(table.columns))
        tables.append(blank_codes(table, na_codes).iloc[rows])
        targets.append(np.asarray(values)[rows])
    count = len(tables[0])
    if count + len(tables[1]) < FEWEST_ROWS or not len(tables[1]):
        return []
    both = pd.concat(tables, ignore_index=True)
    if task == "regression":
        y, classes = np.concatenate(targets).astype(np.float64), 0
        measures: dict[str, Array] = {"r2": y, "r2_of_ranks": pd.Series(y).rank().to_numpy()}
    else:
        codes, names = pd.factorize(np.concatenate([values.astype(object) for values in targets]))
        classes, measures = len(names), {"balanced_accuracy": codes}
    halves = (np.arange(len(both)) < count, np.arange(len(both)) >= count)
    leaks: list[dict[str, Any]] = []
    for place, name in enumerate(both.columns):
        for metric, truth in measures.items():
            score = _score(both.iloc[:, place], str(name), truth, classes, halves)
            if score >= ALONE:
                leaks.append({"column": str(name), "metric": metric, "score": score, "rows": len(both)})
                break
    return sorted(leaks, key=lambda leak: -leak["score"])


def _score(series: pd.Series[Any], name: str, y: Array, classes: int, halves: Sequence[Booleans]) -> float:
    """Return the best balanced accuracy or R² of a lookup on held-out rows."""
    codes, values = column_levels(series, name)
    numeric = isinstance(values, np.ndarray)
    if len(values) < 2:
        # A column with one value and missing cells may predict the target, too.
        if not len(values) or np.all(codes >= 0):
            return -np.inf
        numeric = False
    x = values[codes] if numeric else codes.astype(np.float64)
    x = np.where(codes >= 0, x, np.nan)
    scores = [-np.inf]
    if numeric and not classes:
        scores.append(_measure(y, classes, halves, [_line(x[fit], y[fit], x[~fit]) for fit in halves]))
    for neighbours in _NEIGHBOURS if numeric else (0,):
        guesses = [_lookup(x[fit], y[fit], x[~fit], classes, neighbours) for fit in halves]
        scores.append(_measure(y, classes, halves, guesses))
        # More neighbours reduce noise, which at most doubles the error of one neighbour.
        if max(scores) < _WORTH_MORE:
            break
    return max(scores)


def _lookup(x: Floats, y: Array, wanted: Floats, classes: int, neighbours: int) -> Array:
    """Predict ``wanted`` from rows with close values, or with the same value if ``neighbours=0``."""
    defined, there = np.isfinite(x), np.isfinite(wanted)
    guess = np.full(len(wanted), _means(np.zeros(len(y), dtype=np.int64), 1, y, y, classes)[0])
    if not there.all() and not defined.all():
        guess[~there] = _means(np.zeros(np.sum(~defined), dtype=np.int64), 1, y[~defined], y, classes)[0]
    if not defined.any() or not there.any():
        return guess
    levels, at, counts = np.unique(x[defined], return_inverse=True, return_counts=True)
    bounds = (np.cumsum(counts) - counts) // max(neighbours, 1)
    runs = np.unique(bounds, return_inverse=True)[1]
    centres = np.bincount(runs[at], x[defined]) / np.bincount(runs[at])
    means = _means(runs[at], len(centres), y[defined], y, classes)
    if classes == 0 and neighbours:
        guess[there] = np.interp(wanted[there], centres, means)
        return guess
    near = np.searchsorted((centres[1:] + centres[:-1]) / 2, wanted[there])
    same = np.ones(len(near), dtype=bool) if neighbours else levels[near] == wanted[there]
    guess[there] = np.where(same, means[near], guess[there])
    return guess


def _means(runs: Whole, count: int, values: Array, y: Array, classes: int) -> Array:
    """Return each run's mean, or the class of which it holds the largest share of rows."""
    if classes == 0:
        return np.asarray(np.bincount(runs, values, count) / np.bincount(runs, minlength=count))
    weights = 1 / np.maximum(np.bincount(y, minlength=classes), 1)
    votes = np.asarray(np.bincount(runs * classes + values, weights[values], count * classes))
    return np.asarray(np.argmax(votes.reshape(count, classes), axis=1))


def _line(x: Floats, y: Floats, wanted: Floats) -> Floats:
    """Predict by a straight line, and missing cells by the mean."""
    defined, guess = np.isfinite(x), np.full(len(wanted), y.mean())
    if defined.any() and np.ptp(x[defined]) > 0:
        line = Polynomial.fit(x[defined], y[defined], 1)
        guess = np.where(np.isfinite(wanted), line(wanted), guess)
    return guess


def _measure(y: Array, classes: int, halves: Sequence[Booleans], guesses: Sequence[Array]) -> float:
    """Return the balanced accuracy or R² over both halves. A class counts only if the other half has it, too."""
    if classes == 0:
        pairs = [(y[~fit], guess) for fit, guess in zip(halves, guesses, strict=True)]
        spread = sum(float(np.sum((values - values.mean()) ** 2)) for values, _ in pairs)
        error = sum(float(np.sum((values - guess) ** 2)) for values, guess in pairs)
        return 1 - error / spread if spread > 0 else -np.inf
    rows, right = np.zeros(classes), np.zeros(classes)
    for fit, guess in zip(halves, guesses, strict=True):
        values = y[~fit]
        learned = np.isin(values, y[fit])
        rows += np.bincount(values[learned], minlength=classes)
        right += np.bincount(values[learned & (values == guess)], minlength=classes)
    return float(np.mean(right[rows > 0] / rows[rows > 0])) if np.sum(rows > 0) > 1 else -np.inf
