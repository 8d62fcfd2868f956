"""Whole numbers that name things, by the target: equal ones are alike in it, and neighbouring ones are not."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.late import pd
from permgrad.data.read.cells import CodesArgument, MissingCodes
from permgrad.data.types.column_types import ColumnType, Schema, read_numbers
from permgrad.data.types.identifiers import NAMES, YEARS, are_whole, names_time

#: Fewer numbers do not show whether neighbours are alike. Names fill a stretch of numbers at least so densely.
_FEWEST_LEVELS, _SHARE_FILLED = 20, 0.5
#: How surely, and what share of the target's variance at least, rows with the same number have in common.
_SURELY, _LEAST_SHARED = 1e-6, 0.02
#: Share of this that neighbouring numbers have in common, with two standard errors. Of amounts it is about 1.
_NEIGHBOURS_SHARE = 0.5


def with_names(
    schema: Schema, frame: pd.DataFrame, y: Array, classes: int, na_codes: CodesArgument, declared: Collection[str]
) -> Schema:
    """Return the types with names in the place of whole numbers of which the target says that they are names.

    Args:
        schema: types of the columns of ``frame``.
        frame: training rows.
        y: target ``(rows,)``: class indexes, or numbers where ``classes`` is 0.
        classes: how many classes there are.
        na_codes: codes for missing cells.
        declared: columns whose kind the user declared. They stay what they are.
    """
    types, codes = list[ColumnType](), MissingCodes.of(na_codes)
    for column in schema:
        few = _FEWEST_LEVELS <= column.n_levels <= (column.n_rows - column.n_missing) / 2
        if few and column.kind == "numeric" and column.date_format is None and column.name not in declared:
            values = read_numbers(frame[column.name], column, codes)[0]
            present = ~np.isnan(values)
            if _fill_a_stretch(column, values[present]) and are_names(values[present], y[present], classes):
                reason = f"{NAMES}{column.n_levels:,} different, whose neighbours are not alike in the target"
                types.append(replace(column, kind="categorical", storage="text", reason=reason))
                continue
        types.append(column)
    return Schema(tuple(types))


def _fill_a_stretch(column: ColumnType, values: Floats) -> bool:
    """Whether these are whole numbers of which many or all from the least to the largest occur, and no times."""
    low, high = values.min(), values.max()
    is_year = low >= YEARS[0] and high <= YEARS[1]
    is_dense = low >= 0 and column.n_levels >= _SHARE_FILLED * (high - low + 1)
    return is_dense and not is_year and are_whole(values) and not names_time(column.name)


def are_names(values: Floats, y: Array, classes: int = 0) -> bool:
    """Say whether equal numbers are alike in the target, and neighbouring numbers are not.

    What rows of one number have in common is the variance between levels of a one-way model with random effects
    (Searle, Casella and McCulloch 1992, chapter 3.6), and is tested by its F ratio. Neighbours' share of it is the
    covariance of the means of adjacent levels, weighted by how exactly these are known.

    Args:
        values: whole numbers ``(rows,)``, none missing, some repeated.
        y: target ``(rows,)``: class indexes, or numbers where ``classes`` is 0.
        classes: how many classes there are.

    Examples:
        >>> shop = np.repeat(np.arange(1.0, 101), 10)
        >>> of_shop, noise = np.random.default_rng(0).normal(size=101), np.random.default_rng(1).normal(size=1000)
        >>> are_names(shop, of_shop[shop.astype(int)] + noise), are_names(shop, shop / 25 + noise)
        (True, False)
    """
    from scipy.special import fdtrc

    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    outputs = [y == label for label in range(classes)] if classes else [y]
    means = np.stack([_level_means(place, counts, np.asarray(output, dtype=np.float64)) for output in outputs])
    total = sum(float(np.var(output)) for output in outputs) * len(y)
    between = float((counts * means**2).sum())
    rows, levels = len(y), len(counts)
    noise = max(total - between, 1e-9 * total) / max(rows - levels, 1)
    rows_each = (rows - (counts**2).sum() / rows) / (levels - 1)
    own = (between / (levels - 1) - noise) / rows_each
    if own <= 0 or own < _LEAST_SHARED * (own + noise):
        return False
    if fdtrc(levels - 1, rows - levels, between / (levels - 1) / noise) > _SURELY:
        return False
    exact = np.sqrt(1 / (own + noise / counts))
    pairs = exact[1:] * exact[:-1]
    shared = float((pairs * means[:, 1:] * means[:, :-1]).sum() / pairs.sum()) / own
    return bool(shared + 2 / np.sqrt(levels) < _NEIGHBOURS_SHARE)


def _level_means(place: Integers, counts: Integers, output: Floats) -> Floats:
    """Return the mean of each level, less the mean of all rows ``(levels,)``."""
    return np.asarray(np.bincount(place, output - output.mean(), len(counts)) / counts)
