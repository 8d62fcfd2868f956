"""Find columns that predict the target alone, or by a formula.

They may be computed from it, or recorded after it.

The model of a column is a lookup among rows with equal values or a few neighbours, and
for numbers also a straight line. Dates are numbers. Whether there is a value, the first
number of a text, and a word of it are each looked up, too: a reason or an order number
that only one class has may differ in every row. Several columns are looked at together
where each marks rows of one class alone, as dummies of the target do, and two
categories where each pair of their levels has one class. Training rows and held out
rows are each predicted from the other.

A target may also be made of up to three columns: a sum, difference, product or ratio.
All formulas are tried on a few rows, and those that agree there on all rows.
"""

from __future__ import annotations

import math
import re
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from functools import partial
from itertools import combinations, product
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.polynomial import Polynomial

from permgrad.base.arrays import Array, Booleans, Floats, Integers
from permgrad.base.files import plain
from permgrad.base.frames import stacked
from permgrad.base.numerals import compact
from permgrad.data.read.table import blank_codes
from permgrad.data.tasks import tasks
from permgrad.evaluation.levels import ColumnCells, cells_of

#: Balanced accuracy or R² on held-out rows from which a column is reported. A column
#: within 0.01 of a model with 0.99 reaches it, too.
ALONE = 0.98
#: With fewer rows a column may separate the classes by chance.
FEWEST_ROWS = 20
_FEWEST_OF_A_CLASS = 5
#: Training rows whose neighbours are taken together.
_NEIGHBOURS = (1, 5, 25)
#: Below this score of the nearest rows, more neighbours are not tried.
_WORTH_MORE = 0.8
#: Number of cells, and of rows, that are read. Longer or wider tables are sampled.
_MOST_CELLS = 4_000_000
_MOST_ROWS = 20_000
_LEAST_ROWS = 2_000
#: Columns that may mark a class together, and the fewest rows that one marks.
_MOST_MARKS = 3
_FEWEST_MARKED = 2
#: Categories whose pairs are looked at, of which a level has so many rows on average.
_MOST_PAIRED = 12
_LEAST_EACH = 5
#: Characters of a text that are looked through for words, and classes that get a word
#: each.
_MOST_CHARACTERS = 1000
_MOST_WORDS = 20
_NUMBER = re.compile(r"[-−]?\d+(?:,\d{3})*(?:\.\d+)?")


def looked_at(rows: int, columns: int) -> Integers:
    """Return which rows of a table to look at, all or evenly spread ones of a longer or
    wider table.
    """
    max_rows = int(np.clip(_MOST_CELLS // max(columns, 1), _LEAST_ROWS, _MOST_ROWS))
    return np.unique(np.linspace(0, rows - 1, min(rows, max_rows)).astype(np.int64))


def _sample(
    rows: tuple[pd.DataFrame, Array], na: Sequence[str | int | float]
) -> tuple[pd.DataFrame, Array]:
    """Return the rows of a table to look at, and their targets."""
    table, targets = rows
    row_indices = looked_at(len(table), len(table.columns))
    sampled_table = blank_codes(table, na).iloc[row_indices]
    return sampled_table, np.asarray(targets)[row_indices]


def columns_that_tell(
    learned: tuple[pd.DataFrame, Array],
    held_out: tuple[pd.DataFrame, Array],
    task: str,
    na: Sequence[str | int | float] = (),
    classes: Sequence[Any] = (),
) -> list[dict[str, Any]]:
    """Return ``{column, metric, score, rows}`` of columns with at least 0.98 on
    held-out rows, the highest first.

    Metrics are ``balanced_accuracy``, ``r2`` and ``r2_of_ranks``. Ranks are needed if a
    few values are far from all others: R² then depends on predictions for these, which
    lie outside the range of the learned rows. With ``class``, whether the column has a
    value tells this one of several classes. With ``formula``, that of ``columns`` is
    meant (``_made_of``), with ``together``, all of ``columns``, and with ``pair``,
    both. ``date``: the column has dates. ``classes``: the labels, if targets are their
    numbers.
    """
    learned_table, learned_targets = _sample(learned, na)
    held_out_table, held_out_targets = _sample(held_out, na)
    count = len(learned_table)
    if count + len(held_out_table) < FEWEST_ROWS or not len(held_out_table):
        return []
    both_tables = stacked((learned_table, held_out_table))
    truths = _truths((learned_targets, held_out_targets), task, classes)
    y, names, _ = truths
    halves = (np.arange(len(both_tables)) < count, np.arange(len(both_tables)) >= count)
    alone = _each_alone(both_tables, truths, halves)
    telling_columns = {leak_facts["column"] for leak_facts in alone.leaks}
    formula = _formula_of(alone.numbers, telling_columns, y, names)
    together = _together(alone.open_codes, y, len(names), halves)
    pair = None
    if together is None:
        pair = _crossed(alone.categories, y, len(names), halves)
    joint_leaks = _beyond(telling_columns, (formula, together, pair))
    return _ranked([*alone.leaks, *joint_leaks], by_class=len(names) > 2)


class _Alone(NamedTuple):
    """What columns tell alone.

    Attributes:
        leaks: The facts of those that tell the target.
        numbers: Those of numbers.
        open_codes: The codes of those that leave a class open.
        categories: The codes of levels that do not tell the target.
    """

    leaks: list[dict[str, Any]]
    numbers: dict[str, ColumnCells]
    open_codes: dict[str, Array]
    categories: dict[str, Array]


def _each_alone(
    table: pd.DataFrame, truths: _Truths, halves: tuple[Array, Array]
) -> _Alone:
    """Ask each column of a table by itself."""
    y, names, measures = truths
    columns = _Alone([], {}, {}, {})
    for column_index, column_name in enumerate(map(str, table.columns)):
        cells = cells_of(table.iloc[:, column_index], column_name)
        leak = _alone(cells, measures, y, names, halves)
        if leak is not None:
            facts = {"column": column_name, **leak, "rows": len(table)}
            if cells.is_moment:
                facts["date"] = True
            columns.leaks.append(facts)
        if len(names) and (leak is None or "class" in leak):
            columns.open_codes[column_name] = cells.codes
        if cells.values is not None:
            columns.numbers[column_name] = cells
        elif cells.is_levels and leak is None:
            columns.categories[column_name] = cells.codes
    return columns


def _ranked(leaks: list[dict[str, Any]], *, by_class: bool) -> list[dict[str, Any]]:
    """Return leaks by a column alone before others, then by their score."""
    last_keys = ["formula", "together", "pair"]
    if by_class:
        last_keys.append("class")
    return sorted(
        leaks,
        key=lambda leak: (
            *(leak_key in leak for leak_key in last_keys),
            -leak["score"],
        ),
    )


def _beyond(
    telling_columns: Collection[str], joint_leaks: Iterable[dict[str, Any] | None]
) -> Iterator[dict[str, Any]]:
    """Yield those of several columns that do not all tell the target alone."""
    for joint_leak in joint_leaks:
        if joint_leak and not set(joint_leak["columns"]).issubset(telling_columns):
            yield joint_leak


def told_by(
    learned: tuple[pd.Series[Any], Array],
    held_out_data: tuple[pd.Series[Any], Array],
    task: str,
    na: Sequence[str | int | float] = (),
) -> dict[str, Any] | None:
    """Return how well one column alone predicts the target on held-out rows: ``metric``
    and ``score``, however little.

    Metrics are ``balanced_accuracy`` and ``r2``. None: there are too few rows.

    Examples:
        >>> x = pd.Series(np.arange(200.0))
        >>> y = (x > 90).to_numpy()
        >>> halves = (x[::2], y[::2]), (x[1::2], y[1::2])
        >>> told_by(*halves, "classification")
        {'metric': 'balanced_accuracy', 'score': 1.0}
    """
    series = []
    targets = []
    for column, values in (learned, held_out_data):
        rows = looked_at(len(column), 1)
        series.append(blank_codes(column.to_frame(), na).iloc[rows])
        targets.append(np.asarray(values)[rows])
    count = len(series[0])
    if count + len(series[1]) < FEWEST_ROWS or not len(series[1]):
        return None
    joined_table, (_, names, measures) = stacked(series), _truths(targets, task, ())
    halves = (
        np.arange(len(joined_table)) < count,
        np.arange(len(joined_table)) >= count,
    )
    cells = cells_of(joined_table.iloc[:, 0], str(joined_table.columns[0]))
    metric = next(iter(measures))
    score = _score(cells, measures[metric], len(names), halves)
    return {"metric": metric, "score": float(score)}


def _formula_of(
    numbers: Mapping[str, ColumnCells],
    telling_columns: Collection[str],
    y: Array,
    names: Array,
) -> dict[str, Any] | None:
    """Return a formula of the columns that do not tell the target alone, or else of
    all.
    """
    formula = _formula(
        {
            number_name: cells
            for number_name, cells in numbers.items()
            if number_name not in telling_columns
        },
        y,
        names,
    )
    # A column that alone gives nearly the target can be part of exactly the target.
    if formula is None and telling_columns:
        return _formula(numbers, y, names)
    return formula


class _Truths(NamedTuple):
    """A target, as metrics compare it.

    Attributes:
        y: Of all rows, ``(rows,)``.
        class_names: Empty: numbers.
        measures: The truth of each metric, ``(rows,)``.
    """

    y: Array
    class_names: Array
    measures: dict[str, Array]


def _truths(targets: Sequence[Array], task: str, classes: Sequence[Any]) -> _Truths:
    """Return the target of all rows, the names of its classes (none: numbers), and the
    truth that a metric compares.
    """
    if tasks.get(task).numeric:
        y: Array = np.concatenate(targets).astype(np.float64)
        return _Truths(
            y,
            np.array([], dtype=object),
            {"r2": y, "r2_of_ranks": pd.Series(y).rank().to_numpy()},
        )
    y, names = pd.factorize(
        np.concatenate([values.astype(object) for values in targets])
    )
    known_classes = (
        [classes[class_code] if class_code >= 0 else None for class_code in names]
        if len(classes)
        else names
    )
    return _Truths(y, np.asarray(known_classes, dtype=object), {"balanced_accuracy": y})


def _alone(
    cells: ColumnCells,
    measures: Mapping[str, Array],
    y: Array,
    names: Array,
    halves: tuple[Array, Array],
) -> dict[str, Any] | None:
    """Return how well a column alone tells the target, or whether it has a value one
    class, if nearly perfectly.
    """
    filled = _of_one_class(cells.codes >= 0, y, len(names))
    # Of two classes that is all that there is to tell.
    for metric, truth in measures.items() if filled is None or len(names) > 2 else ():
        if (score := _score(cells, truth, len(names), halves)) >= ALONE:
            return {"metric": metric, "score": score}
    if filled is None:
        return None
    return {
        "class": plain(names[filled[0]]),
        "metric": "balanced_accuracy",
        "score": filled[1],
    }


def _together(
    codes: Mapping[str, Array], y: Array, classes: int, halves: Sequence[Booleans]
) -> dict[str, Any] | None:
    """Return the columns that tell all classes together, each by marking rows of one
    class alone, if there are any.

    A column marks the rows that have its most frequent value, or those that have
    another. One class may be without a mark: its rows are those that no column marks.
    """
    if classes < 2:
        return None
    usual = {}
    for column_name, level_codes in codes.items():
        usual[column_name] = level_codes == np.bincount(level_codes + 1).argmax() - 1
    sides = []
    for column_name, often in usual.items():
        for marked_rows in (often, ~often):
            sides.append((column_name, marked_rows))
    guesses = []
    columns = dict[str, None]()
    for learned_half in halves:
        chosen_marks = _marks(sides, y, classes, learned_half)
        if chosen_marks is None:
            return None
        marks, remaining_class = chosen_marks
        guess = np.full(len(y), remaining_class)
        for mark_name, mark_rows, label in marks:
            guess[mark_rows] = label
            columns[mark_name] = None
        guesses.append(guess[~learned_half])
    score = _measure(y, classes, halves, guesses)
    if score < ALONE:
        return None
    facts: dict[str, Any] = {
        "column": next(iter(columns)),
        "columns": list(columns),
        "together": True,
    }
    return {**facts, "metric": "balanced_accuracy", "score": score, "rows": len(y)}


def _marks(
    sides: Sequence[tuple[str, Booleans]], y: Array, classes: int, fit: Booleans
) -> tuple[list[tuple[str, Booleans, int]], int] | None:
    """Return columns with the rows that they mark and their class, and the class of all
    others, by some rows.
    """
    pure_columns: list[list[tuple[int, str, Booleans]]] = [[] for _ in range(classes)]
    for column_name, marked_rows in sides:
        counts = np.bincount(y[marked_rows & fit], minlength=classes)
        label = int(counts.argmax())
        count = int(counts.max())
        if count >= max(_FEWEST_MARKED, ALONE * counts.sum()):
            pure_columns[label].append((count, column_name, marked_rows))
    marks = list[tuple[str, Booleans, int]]()
    left_classes = list[tuple[int, int]]()
    for label, class_rows in enumerate(np.bincount(y[fit], minlength=classes).tolist()):
        open_rows = fit & (y == label)
        used_marks = list[tuple[str, Booleans, int]]()
        for _, column_name, marked_rows in sorted(
            pure_columns[label], key=lambda counted_mark: -counted_mark[0]
        ):
            if (
                len(used_marks) < _MOST_MARKS
                and np.sum(open_rows & marked_rows) >= _FEWEST_MARKED
            ):
                used_marks.append((column_name, marked_rows, label))
                open_rows = open_rows & ~marked_rows
        if class_rows and open_rows.sum() <= (1 - ALONE) * class_rows:
            marks += used_marks
        elif class_rows:
            left_classes.append((class_rows, label))
    if len(left_classes) > 1:
        return None
    return (marks, max(left_classes, default=(0, 0))[1])


def _crossed(
    codes: Mapping[str, Array], y: Array, classes: int, halves: Sequence[Booleans]
) -> dict[str, Any] | None:
    """Return the two categories that together tell the class best, if nearly perfectly,
    as genus and species do.
    """
    right: dict[str, int] = {}
    for column_name, level_codes in codes.items():
        if classes > 1 and 0 < level_codes.max(initial=-1) < len(y) / _LEAST_EACH:
            right[column_name] = int(
                _counts(level_codes + 1, y, classes).max(axis=1).sum()
            )
    first = sorted(right, key=lambda name: -right[name])[:_MOST_PAIRED]
    telling_pairs = list[tuple[float, list[str]]]()
    for first_name, second_name in combinations(first, 2):
        pair_codes = (
            (codes[first_name] + 1) * (int(codes[second_name].max()) + 2)
            + codes[second_name]
            + 1
        )
        if _counts(np.unique(pair_codes, return_inverse=True)[1], y, classes).max(
            axis=1
        ).sum() < ALONE * len(y):
            continue  # not even the rows that it would learn from
        guesses = []
        for learned_half in halves:
            guesses.append(
                _lookup(
                    pair_codes[learned_half].astype(np.float64),
                    y[learned_half],
                    pair_codes[~learned_half].astype(np.float64),
                    classes,
                    0,
                )
            )
        telling_pairs.append(
            (_measure(y, classes, halves, guesses), [first_name, second_name])
        )
    score, columns = max(telling_pairs, default=(0.0, list[str]()))
    facts: dict[str, Any] = {
        "column": columns[0] if columns else "",
        "columns": columns,
        "pair": True,
    }
    if score >= ALONE:
        return {**facts, "metric": "balanced_accuracy", "score": score, "rows": len(y)}
    return None


def _counts(levels: Integers, y: Array, classes: int) -> Integers:
    """Return how many rows of each level have each class ``(levels, classes)``."""
    counts = np.bincount(
        levels * classes + y, minlength=(int(levels.max()) + 1) * classes
    )
    return np.asarray(counts.reshape(-1, classes))


def _formula(
    numbers: Mapping[str, ColumnCells], y: Array, names: Array
) -> dict[str, Any] | None:
    """Return the formula of columns that gives the target, a number or classes that are
    numbers, if there is one.
    """
    labels = pd.to_numeric(pd.Series(names, dtype=object), errors="coerce").to_numpy(
        np.float64
    )
    if not numbers or len(names) == 2 or not np.isfinite(labels).all():
        return None
    x = np.column_stack(
        [cells.values for cells in numbers.values() if cells.values is not None]
    )
    dates = np.array([cells.is_moment for cells in numbers.values()])
    formula = _made_of(
        list(numbers), x, (labels[y] if len(names) else y).astype(np.float64), dates
    )
    if formula is None:
        return None
    return {"column": formula["columns"][0], **formula}


def _of_one_class(
    present: Booleans, y: Array, classes: int
) -> tuple[int, float] | None:
    """Return the class in whose rows alone a column has a value, or has none, and the
    balanced accuracy.
    """
    if classes < 2 or min(present.sum(), np.sum(~present)) < _FEWEST_OF_A_CLASS:
        return None
    counts = np.bincount(y, minlength=classes)
    filled = np.bincount(y[present], minlength=classes)
    other_rows = len(y) - counts
    of_others = filled.sum() - filled
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = np.where(
            counts < _FEWEST_OF_A_CLASS,
            0,
            (1 + np.abs(filled / counts - of_others / other_rows)) / 2,
        )
    best_class = int(np.argmax(scores))
    if scores[best_class] >= ALONE:
        return (best_class, float(scores[best_class]))
    return None


def _score(
    cells: ColumnCells, y: Array, classes: int, halves: Sequence[Booleans]
) -> float:
    """Return the best balanced accuracy or R² of a lookup on held-out rows."""
    scores = [-np.inf]
    for numeric, columns in _readings(cells, y, classes, halves):
        pairs = list(zip(columns, halves, strict=True))
        if numeric and not classes:
            scores.append(
                _measure(
                    y,
                    classes,
                    halves,
                    [
                        _line(x[learned_half], y[learned_half], x[~learned_half])
                        for x, learned_half in pairs
                    ],
                )
            )
        best_score = -np.inf
        for neighbours in _NEIGHBOURS if numeric else (0,):
            guesses = []
            for x, learned_half in pairs:
                guesses.append(
                    _lookup(
                        x[learned_half],
                        y[learned_half],
                        x[~learned_half],
                        classes,
                        neighbours,
                    )
                )
            best_score = max(best_score, _measure(y, classes, halves, guesses))
            # More neighbours reduce noise, which at most doubles the error of one
            # neighbour.
            if max(*scores, best_score) < _WORTH_MORE:
                break
        scores.append(best_score)
    return max(scores)


def _readings(
    cells: ColumnCells, y: Array, classes: int, halves: Sequence[Booleans]
) -> Iterator[tuple[bool, Sequence[Floats]]]:
    """Yield whether a reading of a column has an order, and its numbers, once for each
    half that is learned from.
    """
    codes = cells.codes
    texts = [] if cells.values is not None or cells.names is None else cells.names
    x = codes.astype(np.float64) if cells.values is None else cells.values
    x = np.where(codes >= 0, x, np.nan)
    if codes.max(initial=-1) > 0:
        yield cells.values is not None, [x, x]
    if np.any(codes < 0) and np.any(codes >= 0):
        yield False, [np.where(codes >= 0, 0.0, np.nan)] * 2
    if len(texts) < 2:
        return
    number_matches = [
        _NUMBER.search(level_text[:_MOST_CHARACTERS]) for level_text in texts
    ]
    numbers = np.array(
        [
            np.nan
            if number_match is None
            else float(number_match[0].replace(",", "").replace("−", "-"))
            for number_match in number_matches
        ]
    )
    if np.isfinite(numbers).any():
        yield True, [np.append(numbers, np.nan)[codes]] * 2
    if classes > 1:
        words = [
            frozenset(re.findall(r"[^\W\d_]+", level_text[:_MOST_CHARACTERS].lower()))
            for level_text in texts
        ]
        if any(words):
            yield (
                False,
                [
                    _telling_words(codes, words, y, classes, learned_half)
                    for learned_half in halves
                ],
            )


def _telling_words(
    codes: Array, words: Sequence[frozenset[str]], y: Array, classes: int, fit: Booleans
) -> Floats:
    """Return which words each row has, of those that tell each class best in some rows,
    as one number.
    """
    word_index = {}
    for position, known_word in enumerate(sorted(frozenset().union(*words))):
        word_index[known_word] = position
    sizes = np.array(list(map(len, words)))
    word_indices = np.array(
        [word_index[text_word] for text_words in words for text_word in text_words],
        dtype=np.int64,
    )
    texts = np.repeat(np.arange(len(words)), sizes)
    counts = np.zeros((len(words), classes))
    row_mask = fit & (codes >= 0)
    np.add.at(counts, (codes[row_mask], y[row_mask]), 1.0)
    often = np.maximum(np.bincount(y[fit], minlength=classes), 1)[:, None]
    rates = (
        np.stack(
            [
                np.bincount(word_indices, class_counts[texts], len(word_index))
                for class_counts in counts.T
            ]
        )
        / often
    )
    text_codes = np.zeros(len(words) + 1)
    for class_index in range(min(classes, _MOST_WORDS)):
        best_word = int(
            np.argmax(
                rates[class_index] - np.delete(rates, class_index, axis=0).mean(axis=0)
            )
        )
        text_codes[texts[word_indices == best_word]] += 2.0**class_index
    return text_codes[codes]


def _lookup(
    x: Floats, y: Array, wanted_values: Floats, classes: int, neighbours: int
) -> Array:
    """Predict ``wanted_values`` from rows with close values, or with the same value if
    ``neighbours=0``.
    """
    defined = np.isfinite(x)
    there = np.isfinite(wanted_values)
    guess = np.full(
        len(wanted_values),
        _means(np.zeros(len(y), dtype=np.int64), 1, y, y, classes)[0],
    )
    if not there.all() and not defined.all():
        guess[~there] = _means(
            np.zeros(np.sum(~defined), dtype=np.int64), 1, y[~defined], y, classes
        )[0]
    if not defined.any() or not there.any():
        return guess
    levels, level_indices, counts = np.unique(
        x[defined], return_inverse=True, return_counts=True
    )
    bounds = (np.cumsum(counts) - counts) // max(neighbours, 1)
    run_indices = np.unique(bounds, return_inverse=True)[1]
    centres = np.bincount(run_indices[level_indices], x[defined]) / np.bincount(
        run_indices[level_indices]
    )
    means = _means(run_indices[level_indices], len(centres), y[defined], y, classes)
    if classes == 0 and neighbours:
        guess[there] = np.interp(wanted_values[there], centres, means)
        return guess
    nearest_runs = np.searchsorted(
        (centres[1:] + centres[:-1]) / 2, wanted_values[there]
    )
    if neighbours:
        has_same_value = np.ones(len(nearest_runs), dtype=bool)
    else:
        has_same_value = levels[nearest_runs] == wanted_values[there]
    # A value that no learned row has is like those that one of them has.
    values_met_once = y[defined][counts[level_indices] == 1]
    if len(values_met_once):
        unseen = _means(
            np.zeros(len(values_met_once), dtype=np.int64),
            1,
            values_met_once,
            y,
            classes,
        )[0]
    else:
        unseen = guess[there]
    guess[there] = np.where(has_same_value, means[nearest_runs], unseen)
    return guess


def _means(runs: Integers, count: int, values: Array, y: Array, classes: int) -> Array:
    """Return each run's mean, or the class of which it holds the largest share of
    rows.
    """
    if classes == 0:
        return np.asarray(
            np.bincount(runs, values, count) / np.bincount(runs, minlength=count)
        )
    weights = 1 / np.maximum(np.bincount(y, minlength=classes), 1)
    votes = np.asarray(
        np.bincount(runs * classes + values, weights[values], count * classes)
    )
    return np.asarray(np.argmax(votes.reshape(count, classes), axis=1))


def _line(x: Floats, y: Floats, wanted_values: Floats) -> Floats:
    """Predict by a straight line, and missing cells by the mean.

    ``x`` and ``y``, which has no gaps, are the half that the line is fitted to,
    ``wanted_values`` the x of the other half.
    """
    defined = np.isfinite(x)
    guess = np.full(len(wanted_values), y.mean())
    if defined.any() and np.ptp(x[defined]) > 0:
        fitted_line = Polynomial.fit(x[defined], y[defined], 1)
        guess = np.where(np.isfinite(wanted_values), fitted_line(wanted_values), guess)
    return guess


def _measure(
    y: Array, classes: int, halves: Sequence[Booleans], guesses: Sequence[Array]
) -> float:
    """Return the balanced accuracy or R² over both halves.

    A class counts only if the other half has it, too.
    """
    if classes == 0:
        pairs = [
            (y[~learned_half], guess)
            for learned_half, guess in zip(halves, guesses, strict=True)
        ]
        spread = sum(
            float(np.sum((values - values.mean()) ** 2)) for values, _ in pairs
        )
        error = sum(float(np.sum((values - guess) ** 2)) for values, guess in pairs)
        if spread > 0:
            return 1 - error / spread
        return -np.inf
    class_rows = np.zeros(classes)
    right = np.zeros(classes)
    for fitted_half, guess in zip(halves, guesses, strict=True):
        values = y[~fitted_half]
        learned = np.isin(values, y[fitted_half])
        class_rows += np.bincount(values[learned], minlength=classes)
        right += np.bincount(values[learned & (values == guess)], minlength=classes)
    if np.sum(class_rows > 0) > 1:
        return float(np.mean(right[class_rows > 0] / class_rows[class_rows > 0]))
    return -np.inf


# ---- formulas ------------------------------------------------------------------------
#: A column by its place, or an operation on two formulas.
_Formula: TypeAlias = "int | tuple[str, _Formula, _Formula]"
#: A formula is reported if it holds in this share of the rows, or has this R². In a
#: row, the error allowed is a unit of the target's last digit, and this share of its
#: spread at most. Units above the last share are not rounded down to.
_HOLDS = 0.9
_NEARLY = 0.999
_ERROR = 0.02
_COARSE = 0.15
#: Rows that are needed in which a formula says something, which 0 + 0 = 0 does not.
#: Rows that all formulas are tried on, share of them that has to agree, formulas that
#: are then compared, columns of which pairs, and three, are tried.
_FEWEST = 20
_TRIED = 12
_AGREE = 0.6
_COMPARED = 50
_PAIRS = 150
_THREES = 30
#: Lengths of time in seconds.
_TIMES = {
    86_400.0: "days",
    3600.0: "hours",
    60.0: "minutes",
    604_800.0: "weeks",
    31_557_600.0: "years",
}
_STEPS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "+": lambda a, b: (
        np.nan_to_num(a) + np.nan_to_num(b)
    ),  # a missing addend counts as 0
    "−": lambda a, b: np.nan_to_num(a) - np.nan_to_num(b),
    "×": np.multiply,
    "/": np.divide,
}


@np.errstate(all="ignore")
def _made_of(
    names: Sequence[str], x: Floats, y: Floats, dates: Booleans
) -> dict[str, Any] | None:
    """Return the best formula of a target ``(rows,)`` from columns ``(rows, columns)``,
    if one holds.

    ``x`` has NaN where a cell is missing, and ``dates`` in seconds. The result is
    ``{columns, formula, metric, score, rows}``: the share of rows in which the formula
    holds (``"equal"``) or R² (``"r2"``), of rows that are not all 0.

    Examples:
        >>> x = np.random.default_rng(0).integers(1, 99, (60, 3)) + 0.0
        >>> made = _made_of(["a", "b", "c"], x, x[:, 0] - x[:, 2], np.zeros(3, bool))
        >>> made["formula"]
        "'a' − 'c'"
    """
    nonzero_rows = np.flatnonzero(y)
    spread = float(np.subtract(*np.quantile(y, [0.75, 0.25]))) or float(y.std())
    if len(nonzero_rows) < _FEWEST or spread == 0:
        return None
    units = (
        10.0**-decimals
        for decimals in range(7)
        if np.mean(np.isclose(np.round(y, decimals), y, rtol=0, atol=1e-9)) >= _HOLDS
    )
    decimal_unit = next(
        (rounding_unit for rounding_unit in units if rounding_unit <= _COARSE * spread),
        0.0,
    )
    tried = nonzero_rows[np.argsort(y[nonzero_rows], kind="stable")][
        np.linspace(0, len(nonzero_rows) - 1, _TRIED).astype(np.int64)
    ]
    for agreeing in _agreeing(
        x[tried], y[tried], _associated(x, y), max(3 * _ERROR * spread, decimal_unit)
    ):
        first = [
            formula
            for _, formula in sorted(
                agreeing, key=lambda scored_formula: scored_formula[0]
            )[:_COMPARED]
        ]
        holding_formulas = [
            comparison
            for formula in first
            if (comparison := _compared(formula, x, y, spread, decimal_unit))
            is not None
        ]
        if holding_formulas:
            # Rather a + b than −1 × (−a − b).
            formula, scale, facts = max(
                holding_formulas,
                key=lambda compared_formula: (
                    round(compared_formula[2]["score"], 3),
                    compared_formula[1] == 1,
                    compared_formula[1] > 0,
                ),
            )
            columns = []
            for column_index in dict.fromkeys(_columns(formula)):
                columns.append(names[column_index])
            return {
                "columns": columns,
                "formula": _written(formula, scale, names, dates),
                **facts,
            }
    return None


def _associated(x: Floats, y: Array) -> list[int]:
    """Return the places of columns, those first that go along with the target alone
    (ranks), or given the others.
    """
    frame = pd.DataFrame(x)
    strengths = frame.rank().corrwith(pd.Series(y).rank()).abs().fillna(0).to_numpy()
    if x.shape[1] < len(y):
        scaled = ((frame - frame.mean()) / frame.std()).fillna(0).to_numpy()
        slopes = np.abs(np.linalg.lstsq(scaled, y - y.mean(), rcond=None)[0])
        strengths = np.maximum(strengths, slopes / (slopes.max() or 1))
    column_order: list[int] = np.argsort(-strengths, kind="stable").tolist()
    return column_order


def _agreeing(
    x: Floats, y: Floats, order: list[int], allowed: float
) -> Iterator[list[tuple[float, _Formula]]]:
    """Yield the formulas of one column that agree on a few rows, with their median
    errors, then of two and of three.
    """

    def joined(left: Floats, right: Floats, step: str) -> Floats:
        return _STEPS[step](left[:, None], right[None]).reshape(-1, len(y))

    def agreeing(
        values: Floats, formula: Callable[[int], _Formula]
    ) -> list[tuple[float, _Formula]]:
        errors = np.abs(y - _scales(values, y)[:, None] * values)
        enough = np.flatnonzero(np.mean(errors <= allowed, axis=1) >= _AGREE)
        typical = np.median(errors[enough], axis=1)
        return [
            (float(typical[formula_index]), formula(int(enough[formula_index])))
            for formula_index in np.argsort(typical, kind="stable")[:_COMPARED]
        ]

    paired_columns = sorted(order[:_PAIRS])
    first = sorted(order[:_THREES])
    alone = x.T[paired_columns]
    yield agreeing(alone, lambda column_position: paired_columns[column_position])
    formulas: list[tuple[float, _Formula]] = []
    for operator in _STEPS:
        formulas += agreeing(
            joined(alone, alone, operator),
            partial(_pair, operator, paired_columns, paired_columns),
        )
    yield formulas
    pairs: list[_Formula] = list(product(_STEPS, first, first))
    values = np.concatenate([joined(x.T[first], x.T[first], step) for step in _STEPS])
    formulas = []
    for column_index in first:
        column = x.T[[column_index]]
        for operator in _STEPS:
            formulas += agreeing(
                joined(values, column, operator),
                partial(_pair, operator, pairs, [column_index]),
            )
            if operator in ("−", "/"):
                formulas += agreeing(
                    joined(column, values, operator),
                    partial(_pair, operator, [column_index], pairs),
                )
    yield formulas


def _pair(
    step: str, left: Sequence[_Formula], right: Sequence[_Formula], pair_index: int
) -> _Formula:
    return step, left[pair_index // len(right)], right[pair_index % len(right)]


def _scales(values: Floats, y: Floats) -> Floats:
    """Return the median of the target divided by each formula ``(formulas, rows)``."""
    ratios = y / values
    ratios = np.sort(
        np.where(np.isfinite(ratios) & (ratios != 0), ratios, np.nan), axis=1
    )
    middle = np.maximum(np.isfinite(ratios).sum(axis=1) - 1, 0) // 2
    return np.asarray(ratios[np.arange(len(ratios)), middle])


def _compared(
    formula: _Formula, x: Floats, y: Floats, spread: float, unit: float
) -> tuple[_Formula, float, dict[str, Any]] | None:
    """Return a formula with its factor, and how well it holds on all rows, or None if
    it does not.
    """
    values = _value(formula, x)
    columns = list(_columns(formula))
    scale = float(_scales(values[None], y)[0])
    # The factor of a formula is rather 1 or 100 than 0.99998, and whole days are often
    # rounded down.
    scales = [scale, *(float(f"{scale:.{digits}g}") for digits in (3, 2, 1))]
    for time_size in _TIMES:
        if abs(scale * time_size - 1) < 0.2:
            scales.append(1 / time_size)
    allowed = min(1.0001 * unit, _ERROR * spread) + 1e-9 * np.abs(y)
    fitted_values = [formula_scale * values for formula_scale in scales]
    holds = _holds(y, fitted_values, allowed, unit)
    best_index = max(
        range(len(scales)),
        key=lambda scale_index: (int(holds[scale_index].sum()), scale_index),
    )
    known_mask = np.isfinite(values) & (
        np.isfinite(x[:, columns]).all(axis=1) | holds[best_index]
    )
    telling_mask = known_mask & (
        (y != 0)
        | (
            (fitted_values[best_index] != 0)
            & (np.abs(fitted_values[best_index]) >= unit)
        )
    )
    # A formula that is right where the target hardly differs from row to row is none.
    varied = telling_mask & (np.abs(y - np.median(y)) > allowed)
    telling_rows = int(telling_mask.sum())
    if varied.sum() < _FEWEST or telling_rows < np.count_nonzero(y) / 2:
        return None
    score = float(holds[best_index][telling_mask].mean())
    if min(score, holds[best_index][varied].mean()) >= _HOLDS:
        return (
            formula,
            scales[best_index],
            {"metric": "equal", "score": score, "rows": telling_rows},
        )
    # Parts that were rounded before they are columns give nearly the target, and a
    # factor of nearly 1, 10 or 100.
    return _nearly(formula, values[telling_mask], y[telling_mask], spread)


def _holds(
    y: Floats, fits: Sequence[Floats], allowed: Floats, unit: float
) -> list[Booleans]:
    """Return for each fit in which rows it is the target, perhaps rounded down."""
    down = [np.floor(fit / (unit or np.nan) + 1e-6) * unit for fit in fits]
    holds: list[Booleans] = []
    for fit, low in zip(fits, down, strict=True):
        holds.append((np.abs(y - fit) <= allowed) | (np.abs(y - low) < 1e-9))
    return holds


def _nearly(
    formula: _Formula, fitted: Floats, y: Floats, spread: float
) -> tuple[_Formula, float, dict[str, Any]] | None:
    """Return a formula of rounded columns if it gives nearly the target, else None."""
    scale = float(y @ fitted / (fitted @ fitted))
    errors = np.abs(y - scale * fitted)
    power = math.log10(abs(scale) or 2)
    score = 1 - float(np.sum(errors**2) / np.sum((y - y.mean()) ** 2))
    is_near = (
        score >= _NEARLY
        and np.mean(errors <= 3 * _ERROR * spread) >= _HOLDS
        and abs(power - round(power)) < 0.005
    )
    if not is_near:
        return None
    return (formula, scale, {"metric": "r2", "score": score, "rows": len(y)})


def _value(formula: _Formula, x: Floats) -> Floats:
    if isinstance(formula, int):
        return x[:, formula]
    return _STEPS[formula[0]](_value(formula[1], x), _value(formula[2], x))


def _columns(formula: _Formula) -> list[int]:
    if isinstance(formula, int):
        return [formula]
    return [*_columns(formula[1]), *_columns(formula[2])]


def _written(
    formula: _Formula, scale: float, names: Sequence[str], dates: Booleans
) -> str:
    """Write a formula with the names of its columns and its factor.

    A difference of dates has a unit of time.
    """
    words = _words(formula, names)
    factor = compact(scale)
    times = []
    for time_size, unit_name in _TIMES.items():
        if abs(scale * time_size - 1) < 1e-3:
            times.append(unit_name)
    if (
        times
        and not isinstance(formula, int)
        and all(dates[column] for column in _columns(formula))
    ):
        return f"{words} in {times[0]}"
    if not (factor == "1" or isinstance(formula, int)):
        words = f"({words})"
    if factor == "1":
        return words
    return f"{factor} × {words}"


def _words(formula: _Formula, names: Sequence[str]) -> str:
    if isinstance(formula, int):
        return repr(names[formula])
    operator, left_operand, right = formula
    joins_sums = (
        operator in ("+", "−")
        and not isinstance(left_operand, int)
        and left_operand[0] in ("+", "−")
    )
    words = []
    for operand in (left_operand, right):
        if isinstance(operand, int):
            words.append(_words(operand, names))
        else:
            words.append(f"({_words(operand, names)})")
    return f" {operator} ".join(
        [_words(left_operand, names) if joins_sums else words[0], words[1]]
    )
