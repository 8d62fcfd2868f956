"""Find columns that predict the target alone, or by a formula. They may be computed from it, or recorded after it.

The model of a column is a lookup among rows with equal values or a few neighbours, and for numbers also a straight
line. Dates are numbers. Whether there is a value, the first number of a text, and a word of it are each looked up, too:
a reason or an order number that only one class has may differ in every row. Several columns are looked at together
where each marks rows of one class alone, as dummies of the target do. Training rows and held out rows are each
predicted from the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.polynomial import Polynomial

from permgrad.base.arrays import Array, Booleans, Floats, Integers
from permgrad.base.files import plain
from permgrad.base.frames import stacked
from permgrad.data.read.table import blank_codes
from permgrad.evaluation.formulas import made_of
from permgrad.evaluation.levels import ColumnCells, cells_of
from permgrad.evaluation.metrics import Task

#: Balanced accuracy or R² on held-out rows from which a column is reported. A column within 0.01 of a model with 0.99
#: reaches it, too.
ALONE = 0.98
#: With fewer rows a column may separate the classes by chance.
FEWEST_ROWS, _FEWEST_OF_A_CLASS = 20, 5
#: Training rows whose neighbours are taken together.
_NEIGHBOURS = (1, 5, 25)
#: Below this score of the nearest rows, more neighbours are not tried.
_WORTH_MORE = 0.8
#: Number of cells, and of rows, that are read. Longer or wider tables are sampled.
_MOST_CELLS, _MOST_ROWS, _LEAST_ROWS = 4_000_000, 20_000, 2_000
#: Columns that may mark a class together, and the fewest rows that one marks.
_MOST_MARKS, _FEWEST_MARKED = 3, 2
#: Characters of a text that are looked through for words, and classes that get a word each.
_MOST_CHARACTERS, _MOST_WORDS = 1000, 20
_NUMBER = re.compile(r"[-−]?\d+(?:,\d{3})*(?:\.\d+)?")


def looked_at(rows: int, columns: int) -> Integers:
    """Return which rows of a table to look at, all or evenly spread ones of a longer or wider table."""
    most = int(np.clip(_MOST_CELLS // max(columns, 1), _LEAST_ROWS, _MOST_ROWS))
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).astype(np.int64))


def columns_that_tell(
    learned: tuple[pd.DataFrame, Array],
    held: tuple[pd.DataFrame, Array],
    task: Task,
    na: Sequence[str | int | float] = (),
    classes: Sequence[Any] = (),
) -> list[dict[str, Any]]:
    """Return ``{column, metric, score, rows}`` of columns with at least 0.98 on held-out rows, the highest first.

    Metrics are ``balanced_accuracy``, ``r2`` and ``r2_of_ranks``. Ranks are needed if a few values are far from all
    others: R² then depends on predictions for these, which lie outside the range of the learned rows. With ``class``,
    whether the column has a value tells this one of several classes. With ``formula``, that of ``columns`` is meant
    (``permgrad.evaluation.leaks``), and with ``together``, all of ``columns``. ``classes``: the labels, if targets are
    their numbers.
    """
    tables, targets = [], []
    for table, values in (learned, held):
        rows = looked_at(len(table), len(table.columns))
        tables.append(blank_codes(table, na).iloc[rows])
        targets.append(np.asarray(values)[rows])
    count = len(tables[0])
    if count + len(tables[1]) < FEWEST_ROWS or not len(tables[1]):
        return []
    both, (y, names, measures) = stacked(tables), _truths(targets, task, classes)
    halves = (np.arange(len(both)) < count, np.arange(len(both)) >= count)
    leaks: list[dict[str, Any]] = []
    numbers: dict[str, ColumnCells] = {}
    open_codes: dict[str, Array] = {}
    for place, name in enumerate(map(str, both.columns)):
        cells = cells_of(both.iloc[:, place], name)
        if (told_alone := _alone(cells, measures, y, names, halves)) is not None:
            leaks.append({"column": name, **told_alone, "rows": len(both)})
        if len(names) and (told_alone is None or "class" in told_alone):
            open_codes[name] = cells.codes
        if cells.values is not None:
            numbers[name] = cells
    told = {leak["column"] for leak in leaks}
    formula = _formula({name: cells for name, cells in numbers.items() if name not in told}, y, names)
    if formula is None and told:  # a column that alone gives nearly the target can be part of exactly the target
        formula = _formula(numbers, y, names)
    leaks += [] if formula is None or told.issuperset(formula["columns"]) else [formula]
    together = _together(open_codes, y, len(names), halves)
    leaks += [] if together is None or told.issuperset(together["columns"]) else [together]
    return sorted(
        leaks,
        key=lambda leak: ("formula" in leak, "together" in leak, "class" in leak and len(names) > 2, -leak["score"]),
    )


def _truths(targets: Sequence[Array], task: Task, classes: Sequence[Any]) -> tuple[Array, Array, dict[str, Array]]:
    """Return the target of all rows, the names of its classes (none: numbers), and the truth that a metric compares."""
    if task == "regression":
        y: Array = np.concatenate(targets).astype(np.float64)
        return y, np.array([], dtype=object), {"r2": y, "r2_of_ranks": pd.Series(y).rank().to_numpy()}
    y, names = pd.factorize(np.concatenate([values.astype(object) for values in targets]))
    known = [classes[code] if code >= 0 else None for code in names] if len(classes) else names
    return y, np.asarray(known, dtype=object), {"balanced_accuracy": y}


def _alone(
    cells: ColumnCells, measures: Mapping[str, Array], y: Array, names: Array, halves: tuple[Array, Array]
) -> dict[str, Any] | None:
    """Return how well a column alone tells the target, or whether it has a value one class, if nearly perfectly."""
    filled = _of_one_class(cells.codes >= 0, y, len(names))
    # Of two classes that is all that there is to tell.
    for metric, truth in measures.items() if filled is None or len(names) > 2 else ():
        if (score := _score(cells, truth, len(names), halves)) >= ALONE:
            return {"metric": metric, "score": score}
    if filled is None:
        return None
    return {"class": plain(names[filled[0]]), "metric": "balanced_accuracy", "score": filled[1]}


def _together(codes: Mapping[str, Array], y: Array, classes: int, halves: Sequence[Booleans]) -> dict[str, Any] | None:
    """Return the columns that tell all classes together, each by marking rows of one class alone, if there are any.

    A column marks the rows that have its most frequent value, or those that have another. One class may be without a
    mark: its rows are those that no column marks.
    """
    if classes < 2:
        return None
    usual = {name: of == np.bincount(of + 1).argmax() - 1 for name, of in codes.items()}
    sides = [(name, side) for name, often in usual.items() for side in (often, ~often)]
    guesses, columns = [], dict[str, None]()
    for fit in halves:
        chosen = _marks(sides, y, classes, fit)
        if chosen is None:
            return None
        marks, rest = chosen
        guess = np.full(len(y), rest)
        for name, side, label in marks:
            guess[side], columns[name] = label, None
        guesses.append(guess[~fit])
    score = _measure(y, classes, halves, guesses)
    if score < ALONE:
        return None
    facts: dict[str, Any] = {"column": next(iter(columns)), "columns": list(columns), "together": True}
    return {**facts, "metric": "balanced_accuracy", "score": score, "rows": len(y)}


def _marks(
    sides: Sequence[tuple[str, Booleans]], y: Array, classes: int, fit: Booleans
) -> tuple[list[tuple[str, Booleans, int]], int] | None:
    """Return columns with the rows that they mark and their class, and the class of all others, by some rows."""
    pure: list[list[tuple[int, str, Booleans]]] = [[] for _ in range(classes)]
    for name, side in sides:
        counts = np.bincount(y[side & fit], minlength=classes)
        label, count = int(counts.argmax()), int(counts.max())
        if count >= max(_FEWEST_MARKED, ALONE * counts.sum()):
            pure[label].append((count, name, side))
    marks, left = list[tuple[str, Booleans, int]](), list[tuple[int, int]]()
    for label, known in enumerate(np.bincount(y[fit], minlength=classes).tolist()):
        open_rows, used = fit & (y == label), list[tuple[str, Booleans, int]]()
        for _, name, side in sorted(pure[label], key=lambda one: -one[0]):
            if len(used) < _MOST_MARKS and np.sum(open_rows & side) >= _FEWEST_MARKED:
                used.append((name, side, label))
                open_rows = open_rows & ~side
        if known and open_rows.sum() <= (1 - ALONE) * known:
            marks += used
        elif known:
            left.append((known, label))
    return None if len(left) > 1 else (marks, max(left, default=(0, 0))[1])


def _formula(numbers: Mapping[str, ColumnCells], y: Array, names: Array) -> dict[str, Any] | None:
    """Return the formula of columns that gives the target, a number or classes that are numbers, if there is one."""
    labels = pd.to_numeric(pd.Series(names, dtype=object), errors="coerce").to_numpy(np.float64)
    if not numbers or len(names) == 2 or not np.isfinite(labels).all():
        return None
    x = np.column_stack([cells.values for cells in numbers.values() if cells.values is not None])
    dates = np.array([cells.kind == "date" for cells in numbers.values()])
    formula = made_of(list(numbers), x, (labels[y] if len(names) else y).astype(np.float64), dates)
    return None if formula is None else {"column": formula["columns"][0], **formula}


def _of_one_class(present: Booleans, y: Array, classes: int) -> tuple[int, float] | None:
    """Return the class in whose rows alone a column has a value, or has none, and the balanced accuracy."""
    if classes < 2 or min(present.sum(), np.sum(~present)) < _FEWEST_OF_A_CLASS:
        return None
    counts, filled = np.bincount(y, minlength=classes), np.bincount(y[present], minlength=classes)
    others, of_others = len(y) - counts, filled.sum() - filled
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = np.where(counts < _FEWEST_OF_A_CLASS, 0, (1 + np.abs(filled / counts - of_others / others)) / 2)
    best = int(np.argmax(scores))
    return (best, float(scores[best])) if scores[best] >= ALONE else None


def _score(cells: ColumnCells, y: Array, classes: int, halves: Sequence[Booleans]) -> float:
    """Return the best balanced accuracy or R² of a lookup on held-out rows."""
    scores = [-np.inf]
    for numeric, columns in _readings(cells, y, classes, halves):
        pairs = list(zip(columns, halves, strict=True))
        if numeric and not classes:
            scores.append(_measure(y, classes, halves, [_line(x[fit], y[fit], x[~fit]) for x, fit in pairs]))
        best = -np.inf
        for neighbours in _NEIGHBOURS if numeric else (0,):
            guesses = [_lookup(x[fit], y[fit], x[~fit], classes, neighbours) for x, fit in pairs]
            best = max(best, _measure(y, classes, halves, guesses))
            # More neighbours reduce noise, which at most doubles the error of one neighbour.
            if max(*scores, best) < _WORTH_MORE:
                break
        scores.append(best)
    return max(scores)


def _readings(
    cells: ColumnCells, y: Array, classes: int, halves: Sequence[Booleans]
) -> Iterator[tuple[bool, Sequence[Floats]]]:
    """Yield whether a reading of a column has an order, and its numbers, once for each half that is learned from."""
    codes, texts = cells.codes, [] if cells.values is not None or cells.names is None else cells.names
    x = codes.astype(np.float64) if cells.values is None else cells.values
    x = np.where(codes >= 0, x, np.nan)
    if codes.max(initial=-1) > 0:
        yield cells.values is not None, [x, x]
    if np.any(codes < 0) and np.any(codes >= 0):
        yield False, [np.where(codes >= 0, 0.0, np.nan)] * 2
    if len(texts) < 2:
        return
    found = [_NUMBER.search(text[:_MOST_CHARACTERS]) for text in texts]
    numbers = np.array([np.nan if one is None else float(one[0].replace(",", "").replace("−", "-")) for one in found])
    if np.isfinite(numbers).any():
        yield True, [np.append(numbers, np.nan)[codes]] * 2
    if classes > 1:
        words = [frozenset(re.findall(r"[^\W\d_]+", text[:_MOST_CHARACTERS].lower())) for text in texts]
        if any(words):
            yield False, [_telling_words(codes, words, y, classes, fit) for fit in halves]


def _telling_words(codes: Array, words: Sequence[frozenset[str]], y: Array, classes: int, fit: Booleans) -> Floats:
    """Return which words each row has, of those that tell each class best in some rows, as one number."""
    known = {word: place for place, word in enumerate(sorted(frozenset().union(*words)))}
    sizes = np.array([len(of) for of in words])
    places = np.array([known[word] for of in words for word in of], dtype=np.int64)
    texts, counts = np.repeat(np.arange(len(words)), sizes), np.zeros((len(words), classes))
    rows = fit & (codes >= 0)
    np.add.at(counts, (codes[rows], y[rows]), 1.0)
    often = np.maximum(np.bincount(y[fit], minlength=classes), 1)[:, None]
    rates = np.stack([np.bincount(places, of[texts], len(known)) for of in counts.T]) / often
    told = np.zeros(len(words) + 1)
    for place in range(min(classes, _MOST_WORDS)):
        best = int(np.argmax(rates[place] - np.delete(rates, place, axis=0).mean(axis=0)))
        told[texts[places == best]] += 2.0**place
    return told[codes]


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
    # A value that no learned row has is like those that one of them has.
    once = y[defined][counts[at] == 1]
    unseen = _means(np.zeros(len(once), dtype=np.int64), 1, once, y, classes)[0] if len(once) else guess[there]
    guess[there] = np.where(same, means[near], unseen)
    return guess


def _means(runs: Integers, count: int, values: Array, y: Array, classes: int) -> Array:
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
