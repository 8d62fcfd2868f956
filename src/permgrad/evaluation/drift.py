"""Find columns whose values are distributed differently in training and test rows.

Numbers and dates are compared by the test of Kolmogorov and Smirnov with the correction of Stephens (1970). All else,
and numbers with few values, is compared by Pearson's test of levels. Missing cells count as below all values, or as a
level. The effect size is the same for both: the largest difference in the share of rows that any range, or any set of
levels, has. It is 0 for equal distributions and 1 for those that have no value in common.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from permgrad.base.arrays import Array, Floats
from permgrad.base.significance import LEVEL, holm
from permgrad.data.read.table import blank_codes
from permgrad.evaluation.cells import FEW_VALUES, cells_of
from permgrad.evaluation.leaks import looked_at

#: A difference of shares that is large enough to matter. Normal distributions 0.25 standard deviations apart have it.
LARGE = 0.1
#: Levels with fewer expected rows on a side are taken together.
_LEAST_EXPECTED = 5
#: Parts with fewer rows are not compared.
FEWEST_ROWS = 10


def find_drift(
    train: pd.DataFrame,
    test: pd.DataFrame,
    *,
    targets: tuple[str, Array, Array] | None = None,
    na_codes: Sequence[str | int | float] = (),
) -> list[dict[str, Any]]:
    """Compare each column of the training rows with that of the test rows, the largest differences first.

    Args:
        train: The training rows ``(rows, columns)``.
        test: The test rows, with the same columns. Tables of many cells are sampled evenly.
        targets: The target's name, and its values in both parts, to compare it like a column.
        na_codes: Codes of missing cells.

    Returns:
        For each column that can be compared:

        - ``column``, and ``kind``: ``"number"``, ``"date"`` or ``"levels"``
        - ``size``: the largest difference in the share of rows of any range or any set of levels, from 0 to 1
        - ``p_value``, and ``p_holm``: the same, adjusted for all columns
        - ``clear``: whether ``p_holm`` is below 5 % and ``size`` at least 0.1
        - ``side``: which rows are more frequent in the test rows: ``"at most"``, ``"missing or at most"`` or
          ``"above"`` the number ``value`` (dates: seconds since 1970), ``"missing"``, ``"present"``, or ``"among"`` the
          texts ``levels``
        - ``train, test``: the share of such rows in each part, so that ``test − train`` is ``size``
        - ``rows``: training and test rows compared, and ``sampled``: whether there are more

    Examples:
        >>> train, test = pd.DataFrame({"age": range(100)}), pd.DataFrame({"age": range(50, 150)})
        >>> (found,) = find_drift(train, test)
        >>> found["clear"], found["size"], found["side"], found["value"]
        (True, 0.5, 'above', 49.0)
    """
    both, *rows = both_parts(train, test, targets=targets, na_codes=na_codes)
    if min(rows) < FEWEST_ROWS:
        return []
    compared = []
    for place, name in enumerate(both.columns):
        difference = _difference(both.iloc[:, place], str(name), rows[0])
        if difference is not None:
            compared.append((str(name), difference))
    adjusted = holm([difference.p_value for _, difference in compared]).tolist()
    sampled = rows != [len(train), len(test)]
    facts = [
        {
            "column": name,
            **vars(difference),
            "size": difference.test - difference.train,
            "p_holm": p,
            "clear": p < LEVEL and difference.test - difference.train >= LARGE,
            "rows": rows,
            "sampled": sampled,
        }
        for (name, difference), p in zip(compared, adjusted, strict=True)
    ]
    return sorted(facts, key=lambda one: (not one["clear"], -one["size"]))


def both_parts(
    train: pd.DataFrame,
    test: pd.DataFrame,
    *,
    targets: tuple[str, Array, Array] | None = None,
    na_codes: Sequence[str | int | float] = (),
) -> tuple[pd.DataFrame, int, int]:
    """Return evenly spread rows of both parts as one table, those of training first, and their numbers."""
    places = [looked_at(len(table), len(train.columns)) for table in (train, test)]
    samples = [pd.DataFrame(table.iloc[chosen]) for table, chosen in zip((train, test), places, strict=True)]
    both = blank_codes(pd.concat(samples, ignore_index=True), list(na_codes))
    if targets is not None:
        name, *values = targets
        chosen_values = np.concatenate([side[chosen] for side, chosen in zip(values, places, strict=True)])
        both = pd.concat([both, pd.Series(chosen_values, name=name)], axis="columns")
    return both, len(places[0]), len(places[1])


@dataclass(frozen=True)
class _Difference:
    """What ``find_drift`` returns for a column before the adjustment."""

    kind: str
    p_value: float
    train: float
    test: float
    side: str
    value: float | None = None
    levels: Sequence[str] = ()


def _difference(series: pd.Series[Any], name: str, count: int) -> _Difference | None:
    """Compare the first ``count`` cells with the others. None where there is nothing to compare."""
    cells = cells_of(series, name)
    missing = bool((cells.codes < 0).any())
    if cells.count + missing < 2:
        return None
    if cells.numbers is not None and (cells.kind == "date" or len(cells.numbers) > FEW_VALUES):
        return _of_numbers(cells.codes, cells.numbers, count, cells.kind)
    return _of_levels(cells.codes, [*cells.names, "missing"] if missing else cells.names, count)


def _of_numbers(codes: Array, levels: Floats, count: int, kind: str) -> _Difference:
    """Compare the distributions of numbers at the value where they are farthest apart."""
    edges, order = np.unique(np.append(np.where(np.isnan(levels), -np.inf, levels), -np.inf), return_inverse=True)
    places = order[codes]  # −1, missing, is the last one, below all values
    sides = [np.bincount(side, minlength=len(edges)) for side in (places[:count], places[count:])]
    below = [np.cumsum(side) / side.sum() for side in sides]
    gap = below[1] - below[0]
    at = int(np.argmax(np.abs(gap)))
    root = math.sqrt(count * (len(codes) - count) / len(codes))
    p_value = float(special.kolmogorov((root + 0.12 + 0.11 / root) * abs(gap[at])))
    train, test = (float(side[at]) for side in below)
    if gap[at] < 0:
        train, test = 1 - train, 1 - test
    if at == 0:
        return _Difference(kind, p_value, train, test, "missing" if gap[at] > 0 else "present")
    below_it = "missing or at most" if (codes < 0).any() else "at most"
    return _Difference(kind, p_value, train, test, below_it if gap[at] > 0 else "above", float(edges[at]))


def _of_levels(codes: Array, names: Sequence[str], count: int) -> _Difference | None:
    """Compare the shares of levels. −1 is the last one, missing."""
    places = np.where(codes < 0, len(names) - 1, codes)
    counts = np.stack([np.bincount(side, minlength=len(names)) for side in (places[:count], places[count:])])
    counts = counts.astype(np.float64)
    total = counts.sum(axis=1)
    often = counts.sum(axis=0) * total.min() / total.sum() >= _LEAST_EXPECTED
    pooled = np.column_stack([counts[:, often], counts[:, ~often].sum(axis=1)])
    pooled = pooled[:, pooled.sum(axis=0) > 0]
    if pooled.shape[1] < 2:
        return None
    expected = total[:, None] * pooled.sum(axis=0) / total.sum()
    p_value = float(special.chdtrc(pooled.shape[1] - 1, float(((pooled - expected) ** 2 / expected).sum())))
    # Rare levels are one, because by chance each of them is more frequent on one side.
    shares = pooled / total[:, None]
    labels = [name for name, is_often in zip(names, often, strict=True) if is_often]
    change = shares[1] - shares[0]
    more = np.flatnonzero(change > 0)
    more = more[np.argsort(-change[more], kind="stable")]
    texts = [labels[place] if place < len(labels) else "rare levels" for place in more.tolist()]
    train, test = shares[:, more].sum(axis=1).tolist()
    return _Difference("levels", p_value, train, test, "among", levels=tuple(texts))
