"""Find columns whose values are distributed differently in training and test rows.

Numbers and dates are compared by the test of Kolmogorov and Smirnov with the correction
of Stephens (1970). All else, and numbers with few values, is compared by Pearson's test
of levels. Missing cells count as below all values, or as a level. The effect size is
the same for both: the largest difference in the share of rows that any range, or any
set of levels, has. It is 0 for equal distributions and 1 for those that have no value
in common. A level that only later rows have is named if it has too many of them for
chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from permgrad.base.arrays import Array, Floats
from permgrad.base.dependence import FEWEST_GROUPS, Dependence
from permgrad.base.frames import stacked
from permgrad.base.sequences import values_at
from permgrad.base.significance import LEVEL, holm
from permgrad.data.read.table import blank_codes
from permgrad.evaluation.leaks import looked_at
from permgrad.evaluation.levels import ColumnCells, compared_cells

#: A difference of shares that is large enough to matter. Normal distributions 0.25
#: standard deviations apart have it.
LARGE = 0.1
#: Levels with fewer expected rows on a side are taken together.
_LEAST_EXPECTED = 5
#: Parts with fewer rows are not compared.
FEWEST_ROWS = 10
#: Levels are new if chance has them on one side alone with less than this probability.
_BY_CHANCE = 0.01

#: Returns how many independent rows both sides of ``(rows, *)`` values have.
Independent = Callable[[Floats], Floats]


def compare_parts(
    train: pd.DataFrame,
    test: pd.DataFrame,
    *,
    targets: tuple[str, Array, Array] | None = None,
    na: Sequence[str | int | float] = (),
    dependence: Dependence | None = None,
) -> dict[str, Any]:
    """Compare each column of the training rows with that of the test rows.

    Tables of many cells are sampled evenly.

    Args:
        train: The training rows ``(rows, columns)``.
        test: The test rows, with the same columns.
        targets: The target's name, and its values in both parts, to compare it like a
            column.
        na: Codes of missing cells.
        dependence: Which rows depend on each other, of both parts in this order. There
            is then no clear difference without five independent rows on each side.

    Returns:
        What ``columns.json`` holds: the numbers of training and test ``rows`` compared,
        ``columns``, what ``describe_column`` returns of each, and ``drift``, the
        largest clear differences first. Each of these has

        - ``column``, and ``kind``: ``"number"``, ``"date"`` or ``"levels"``
        - ``size``: the largest difference in the share of rows of any range or any set
          of levels, from 0 to 1
        - ``p_value``, and ``p_holm``: the same, adjusted for all columns
        - ``clear``: whether ``p_holm`` is below 5 % and ``size`` at least 0.1, or there
          are ``new`` levels
        - ``new``: the levels that only test rows have, in more rows than by chance. If
          nothing else is clear, the other facts are of these.
        - ``typical``: the medians of training and of test rows, of numbers and dates
        - ``side``: which rows are more frequent in the test rows: ``"at most"``,
          ``"missing or at most"`` or ``"above"`` the number ``value`` (dates: seconds
          since 1970), ``"missing"``, ``"present"``, or ``"among"`` the texts ``levels``
        - ``train, test``: the share of such rows in each part, so that ``test − train``
          is ``size``
        - ``rows``: training and test rows compared, and ``sampled``: whether there are
          more

    Examples:
        >>> train = pd.DataFrame({"age": range(100)})
        >>> test = pd.DataFrame({"age": range(50, 150)})
        >>> (found,) = compare_parts(train, test)["drift"]
        >>> found["clear"], found["size"], found["side"], found["value"]
        (True, 0.5, 'above', 49.0)
    """
    row_samples = [looked_at(len(table), len(train.columns)) for table in (train, test)]
    samples = []
    for table, row_indices in zip((train, test), row_samples, strict=True):
        samples.append(pd.DataFrame(table.iloc[row_indices]))
    both_tables = blank_codes(stacked(samples), list(na))
    if targets is not None:
        target_name, *values = targets
        chosen_values = np.concatenate(
            [
                side_values[row_indices]
                for side_values, row_indices in zip(values, row_samples, strict=True)
            ]
        )
        both_tables = pd.concat(
            [both_tables, pd.Series(chosen_values, name=target_name)], axis="columns"
        )
    row_counts = list(map(len, row_samples))
    cells = []
    for column_index, column_name in enumerate(both_tables.columns):
        cells.append(
            (
                str(column_name),
                compared_cells(both_tables.iloc[:, column_index], str(column_name)),
            )
        )
    if dependence is not None:
        dependence = dependence.take(
            np.concatenate([row_samples[0], len(train) + row_samples[1]])
        )
    independent = None
    if dependence is not None:
        independent = partial(_independent, dependence, row_counts[0])
    sampled = row_counts != [len(train), len(test)]
    drift = differences(cells, row_counts, lambda _: independent, sampled=sampled)
    return {
        "drift": drift,
        "rows": row_counts,
        "columns": [
            describe_column(column, column_name, row_counts[0])
            for column_name, column in cells
        ],
    }


def differences(
    cells: Sequence[tuple[str, ColumnCells]],
    rows: Sequence[int],
    independent: Callable[[str], Independent | None],
    *,
    sampled: bool,
) -> list[dict[str, Any]]:
    """Return the ``drift`` of columns by their names, see ``compare_parts``.

    Args:
        cells: of each column, those of training rows first.
        rows: training and test rows.
        independent: of a column, what counts independent rows. None: all are.
        sampled: whether there are more rows.
    """
    drift: list[dict[str, Any]] = []
    for name, column in cells if min(rows) >= FEWEST_ROWS else ():
        is_level = column.names is not None
        if is_level:
            of_kind = _of_levels
        else:
            of_kind = _of_numbers
        difference = of_kind(column, rows[0], independent(name))
        if difference is not None:
            if is_level:
                kind = "levels"
            else:
                kind = column.kind
            drift.append({"column": name, "kind": kind, **difference})
    adjusted = holm([column_drift["p_value"] for column_drift in drift]).tolist()
    for drift_entry, p in zip(drift, adjusted, strict=True):
        only_new = drift_entry.pop("only_new")
        if only_new:
            p_new = min(1.0, only_new["p_value"] * len(drift))
        else:
            p_new = 1.0
        drift_entry["size"] = drift_entry["test"] - drift_entry["train"]
        drift_entry["p_holm"] = p
        drift_entry["clear"] = p < LEVEL and drift_entry["size"] >= LARGE
        if p_new < _BY_CHANCE:
            drift_entry["new"] = only_new["levels"]
        else:
            drift_entry["new"] = ()
        if drift_entry["new"] and not drift_entry["clear"]:
            drift_entry |= {**only_new, "p_holm": p_new, "clear": True}
        drift_entry |= {"rows": list(rows), "sampled": sampled}
    return sorted(
        drift,
        key=lambda sorted_entry: (not sorted_entry["clear"], -sorted_entry["size"]),
    )


def _of_numbers(
    cells: ColumnCells, count: int, independent: Independent | None
) -> dict[str, Any] | None:
    """Compare the distributions of the first ``count`` numbers and of the others where
    they are farthest apart.
    """
    codes = cells.codes
    levels = cells.numbers
    missing = bool((codes < 0).any())
    if levels is None or len(levels) + missing < 2:
        return None
    edges, order = np.unique(
        np.append(np.where(np.isnan(levels), -np.inf, levels), -np.inf),
        return_inverse=True,
    )
    level_ranks = order[codes]  # −1, missing, is the last one, below all values
    below = []
    for side_ranks in (level_ranks[:count], level_ranks[count:]):
        side_counts = np.bincount(side_ranks, minlength=len(edges))
        below.append(np.cumsum(side_counts) / side_counts.sum())
    share_gaps = below[1] - below[0]
    edge_index = int(np.argmax(np.abs(share_gaps)))
    ranks = np.cumsum(np.bincount(level_ranks)) - np.bincount(level_ranks) / 2
    sizes = np.array([count, len(codes) - count], dtype=np.float64)
    if independent is not None:
        sizes = independent(ranks[level_ranks][:, None])
    train, test_share = (float(side_shares[edge_index]) for side_shares in below)
    is_below = bool(share_gaps[edge_index] > 0)
    if share_gaps[edge_index] < 0:
        train = 1 - train
        test_share = 1 - test_share
    value = None
    side_names = ("present", "missing")
    if edge_index:
        value = float(edges[edge_index])
        side_names = ("above", "missing or at most" if missing else "at most")
    values = np.append(levels, np.nan)[codes]
    return {
        "p_value": _p_value_of_gap(abs(share_gaps[edge_index]), sizes),
        "train": train,
        "test": test_share,
        "side": side_names[is_below],
        "value": value,
        "levels": (),
        "typical": [_median(values[:count]), _median(values[count:])],
        "only_new": None,
    }


def _p_value_of_gap(gap: float, sizes: Floats) -> float:
    """Return how likely distributions of so many independent numbers are so far apart
    by chance: the test of Kolmogorov and Smirnov.
    """
    if min(sizes) < FEWEST_GROUPS:
        return 1.0
    root_size = math.sqrt(sizes.prod() / sizes.sum())
    return float(special.kolmogorov((root_size + 0.12 + 0.11 / root_size) * gap))


def _median(values: Floats) -> float | None:
    """Return the median of the numbers that are not missing. None: all are."""
    present = values[~np.isnan(values)]
    if len(present):
        return float(np.median(present))
    return None


def _of_levels(
    cells: ColumnCells, count: int, independent: Independent | None
) -> dict[str, Any] | None:
    """Compare the shares of levels in the first ``count`` rows and in the others.

    Missing cells are a level.
    """
    names = cells.names or []
    codes = cells.codes
    present = len(names)
    if (codes < 0).any():
        names, codes = [*names, "missing"], np.where(codes < 0, len(names), codes)
    counts = np.stack(
        [
            np.bincount(side_codes, minlength=len(names))
            for side_codes in (codes[:count], codes[count:])
        ]
    ).astype(np.float64)
    total = counts.sum(axis=1)
    often = counts.sum(axis=0) * total.min() / total.sum() >= _LEAST_EXPECTED
    # Rare levels are one, because by chance each of them is more frequent on one side.
    pooled = np.column_stack([counts[:, often], counts[:, ~often].sum(axis=1)])
    pooled = pooled[:, pooled.sum(axis=0) > 0]
    if pooled.shape[1] < 2:
        return None
    independent_rows = None
    if independent is not None:
        pooled_codes = np.where(often, np.cumsum(often) - 1, often.sum())[codes]
        independent_rows = independent(np.eye(int(often.sum()) + 1)[pooled_codes])
    shares = pooled / total[:, None]
    labels = [*np.asarray(names, dtype=object)[often], "rare levels"]
    change = shares[1] - shares[0]
    rising_levels = np.flatnonzero(change > 0)
    rising_levels = rising_levels[np.argsort(-change[rising_levels], kind="stable")]
    train, test_share = shares[:, rising_levels].sum(axis=1).tolist()
    return {
        "p_value": _p_value_of_counts(pooled, independent_rows),
        "train": train,
        "test": test_share,
        "side": "among",
        "value": None,
        "levels": tuple(values_at(labels, rising_levels.tolist())),
        "only_new": _new_levels(
            names[:present],
            counts[:, :present],
            total,
            total if independent_rows is None else independent_rows,
        ),
    }


def _p_value_of_counts(counts: Array, sizes: Array | None) -> float:
    """Return how likely counts ``(2, levels)`` differ so much by chance: Pearson's
    test.

    ``sizes``: numbers of independent rows of both sides, if rows depend on each other.
    """
    total = counts.sum(axis=1)
    expected = total[:, None] * counts.sum(axis=0) / total.sum()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    freedom = counts.shape[1] - 1
    if sizes is None:
        return float(special.chdtrc(freedom, statistic))
    if min(sizes) < FEWEST_GROUPS:
        return 1.0
    # Rao & Scott (1981): divided by the design effect, of the rarer levels together as
    # one.
    statistic *= float(sizes.prod() / sizes.sum() / (total.prod() / total.sum()))
    residual_freedom = freedom * max(min(sizes) - 1, 1)
    return float(special.fdtrc(freedom, residual_freedom, statistic / freedom))


def _new_levels(
    names: Sequence[str], counts: Array, total: Array, sizes: Array
) -> dict[str, Any] | None:
    """Return what a difference says, of the levels that only later rows have.

    None: each may be so by chance.

    If rows were in any order, a level of k rows would be in later ones alone with a
    probability below qᵏ, where q is their share of all. ``counts`` are ``(2, levels)``,
    ``sizes`` the numbers of independent rows.
    """
    alone = counts[1] * (counts[0] == 0)
    later = np.log(total[1] / total.sum())
    tried = np.exp(later * alone * sizes[1] / total[1]) * counts.shape[1]
    order = np.argsort(-alone, kind="stable")
    new = order[tried[order] < _BY_CHANCE]
    if not len(new):
        return None
    return {
        "p_value": float(tried[new].max()),
        "train": 0.0,
        "test": float(alone[new].sum() / total[1]),
        "size": float(alone[new].sum() / total[1]),
        "levels": tuple(values_at(names, new.tolist())),
    }


def _independent(dependence: Dependence, count: int, values: Floats) -> Floats:
    """Return how many independent rows both sides have, from how values ``(rows, *)``
    are related within a side.
    """
    sides = np.arange(len(values)) < count
    sizes = np.array([sides.sum(), (~sides).sum()], dtype=np.float64)
    centred = values - np.where(
        sides[:, None], values[sides].mean(axis=0), values[~sides].mean(axis=0)
    )
    related = dependence.correlation(centred, means=2)
    return sizes / [
        dependence.design(side_mask.astype(np.float64), related)[0]
        for side_mask in (sides, ~sides)
    ]


def independent_rows(dependence: Dependence, values: Floats) -> float:
    """Return how many independent rows say as much on a mean of values ``(rows,
    *)``.
    """
    every = np.ones(len(values))
    effect = dependence.design(every, dependence.correlation(values))[0]
    return len(values) / effect


# ---- distributions -------------------------------------------------------------------
#: Bars of a distribution, and levels that get one of their own.
BARS = 24
LEVELS = 10
#: The share of values at each end that the outermost bars take in.
_BEYOND = 0.005


def describe_column(cells: ColumnCells, name: str, count: int) -> dict[str, Any]:
    """Describe the first ``count`` rows of a column, those of training, and the others,
    the test rows.

    Returns ``column, kind`` and ``missing``, a pair of shares. ``shares`` are two
    lists, of training and of test rows: the share of rows with each of the ``levels``,
    of which the last can be all others, or between each two ``edges``. ``typical`` is
    the pair of medians of numbers and dates, else of most frequent levels.

    Examples:
        >>> import pandas as pd
        >>> from permgrad.evaluation.levels import cells_of
        >>> cells = cells_of(pd.Series(["a", "a", "b", "b"]), "town")
        >>> facts = describe_column(cells, "town", 2)
        >>> facts["levels"], facts["shares"], facts["typical"]
        (['a', 'b'], [[1.0, 0.0], [0.0, 1.0]], ['a', 'b'])
    """
    missing = [
        float(np.mean(side_codes < 0)) if len(side_codes) else None
        for side_codes in (cells.codes[:count], cells.codes[count:])
    ]
    facts: dict[str, Any] = {"column": name, "kind": cells.kind, "missing": missing}
    if cells.names is None:
        assert cells.values is not None
        return facts | _bars_of_numbers(cells.values, count)
    return facts | _bars_of_levels(cells, cells.names, count)


def _bars_of_numbers(values: Floats, count: int) -> dict[str, Any]:
    """Return ``edges, shares`` and ``typical`` of numbers, as ``describe_column``, or
    nothing if none is there.
    """
    present = values[np.isfinite(values)]
    if not len(present):
        return {}
    edges = bar_edges(present)
    shares = []
    medians = []
    for side_values in (values[:count], values[count:]):
        numbers = side_values[np.isfinite(side_values)]
        counts = np.histogram(np.clip(numbers, edges[0], edges[-1]), edges)[0]
        shares.append((counts / max(len(side_values), 1)).tolist())
        medians.append(float(np.median(numbers)) if len(numbers) else None)
    return {
        "edges": edges.tolist(),
        "shares": shares,
        "typical": medians,
    }


def _bars_of_levels(
    cells: ColumnCells,
    level_names: Sequence[str],
    count: int,
) -> dict[str, Any]:
    """Return ``levels, shares`` and ``typical`` of a column, as ``describe_column``, or
    nothing of texts that hardly repeat: none is typical.
    """
    level_counts = []
    sizes = []
    typical = []
    for side_codes in (cells.codes[:count], cells.codes[count:]):
        counts = np.bincount(side_codes[side_codes >= 0], minlength=len(level_names))
        level_counts.append(counts)
        sizes.append([max(len(side_codes), 1)])
        typical.append(level_names[int(counts.argmax())] if counts.any() else None)
    row_counts = np.array(sizes)
    shares = np.array(level_counts) / row_counts
    totals = np.sum(level_counts, axis=0)
    if len(level_names) > max(LEVELS, 0.5 * totals.sum()):
        return {}
    order = np.argsort(-totals, kind="stable")
    shown = order if len(order) <= LEVELS else order[: LEVELS - 1]
    rare_levels = order[len(shown) :]
    if cells.numbers is not None:
        shown = shown[np.argsort(cells.numbers[shown], kind="stable")]
    names = values_at(level_names, shown.tolist())
    of_levels = shares[:, shown]
    if len(rare_levels):
        of_rare = np.array(level_counts)[:, rare_levels].sum(axis=1, keepdims=True)
        of_levels = np.column_stack([of_levels, of_rare / row_counts])
        names.append(f"{len(rare_levels):,} others")
    return {
        "levels": names,
        "shares": of_levels.tolist(),
        "typical": typical,
    }


def bar_edges(present: Floats) -> Floats:
    """Return the edges of the bars of numbers.

    The outermost bars take in the few values far out.
    """
    lower_bound, upper_bound = np.quantile(
        present, [_BEYOND, 1 - _BEYOND], method="inverted_cdf"
    ).tolist()
    lower_bound, upper_bound = (
        (float(present.min()), float(present.max()))
        if lower_bound == upper_bound
        else (lower_bound, upper_bound)
    )
    if upper_bound > lower_bound:
        return np.linspace(lower_bound, upper_bound, BARS + 1)
    return np.array([lower_bound - 0.5, lower_bound + 0.5])
