"""Numbers on which the levels of a category have slopes that differ, and numbers less
their mean within a level.

One wage grows faster than another. Such slopes are found by what a model with equal
slopes leaves over within levels. ``scores`` pulls them towards their mean, as a mixed
model does (Laird & Ware 1982). What a number says between levels can be another thing
than what it says within one (Mundlak 1978): experience of other people, and one's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from permgrad.base.arrays import Array, Floats, Floats32

#: Slopes of one column, and standard errors by which they must differ to be tried.
_MOST_SLOPES = 3
_DIFFERENT = 3.0
#: Shares of a number's variance that must lie between levels, beyond chance, and within
#: them. Most numbers centred.
_BETWEEN = 0.1
_WITHIN = 0.005
_MOST_CENTRED = 10


@dataclass(frozen=True)
class Slope:
    """Slopes of levels on a number, one of the other columns.

    ``strength``: the one that is tried first.

    The model reads it as ``inside (rows,)``: less each level's mean ``means
    (levels,)``, in units of ``scale``. What slopes add is then nearly independent of
    the levels' own effects, and a model is found in few steps.
    """

    number: int
    inside: Floats32
    means: Floats
    scale: float
    strength: float


def find_slopes(
    cells: Any,
    other_columns: Array,
    numbers: Iterable[int],
    residuals: Floats,
    weights: Floats,
) -> list[Slope]:
    """Return the numbers on which residuals have slopes that differ between levels, at
    most 3, the clearest first.

    ``cells (rows, levels)``: a sparse matrix of ones. ``numbers``: columns of
    ``other_columns (rows, …)``. Levels that all have one slope have a sum of squares of
    ``levels`` in units of the noise, with a variance of about twice as many.
    """
    cells, has_level, by_level, counts = _by_level(cells, weights)
    left_residuals = has_level * (residuals - cells @ (by_level @ residuals / counts))
    weighted_rows = float(weights @ has_level)
    noise = max(
        float(weights @ left_residuals**2) / max(weighted_rows - len(counts), 1.0),
        1e-300,
    )
    slopes = list[tuple[float, Slope]]()
    for number in numbers:
        values = other_columns[:, number].astype(np.float64)
        means = by_level @ values / counts
        inside = has_level * (values - cells @ means)
        squares = by_level @ inside**2
        varies = squares > 1e-6 * squares.mean()
        levels = int(varies.sum())
        if levels < 2:
            continue
        products = by_level @ (inside * left_residuals)
        slope_products = (products - squares * products.sum() / squares.sum())[varies]
        excess = float((slope_products**2 / squares[varies]).sum()) / noise - levels
        if excess > _DIFFERENT * np.sqrt(2 * levels):
            scale = float(np.sqrt(squares.sum() / weighted_rows))
            # The variance of slopes by the method of moments. Half of their deviation,
            # as strengths are doubled.
            strength = 0.5 * scale * float(np.sqrt(excess / squares.sum()))
            inside = (inside / scale).astype(np.float32)
            slopes.append(
                (
                    excess / np.sqrt(levels),
                    Slope(int(number), inside, means, scale, strength),
                )
            )
    return [
        slope
        for _, slope in sorted(slopes, key=lambda scored_slope: -scored_slope[0])[
            :_MOST_SLOPES
        ]
    ]


def find_centred(
    columns: Mapping[str, Any],
    other_columns: Array,
    numbers: Mapping[str, Iterable[int]],
    weights: Floats,
) -> dict[str, list[Slope]]:
    """Return the numbers that each column's levels are taken from, as slopes of 1 that
    are the same for all levels.

    ``columns``: of each its ``cells (rows, levels)``. A number that differs between the
    levels of several columns is taken less its mean within those of the one with most
    levels. Of more than 10 numbers those that differ most are.
    """
    found_slopes = list[tuple[float, str, Slope]]()
    taken_numbers = set[int]()
    for column_name, matrix in sorted(
        columns.items(), key=lambda named_matrix: -named_matrix[1].shape[1]
    ):
        cells, has_level, by_level, counts = _by_level(matrix, weights)
        known_weights = weights * has_level
        weighted_rows = max(float(known_weights.sum()), 1e-300)
        for number in set(map(int, numbers[column_name])) - taken_numbers:
            values = other_columns[:, number].astype(np.float64)
            means = by_level @ values / counts
            inside = has_level * (values - cells @ means)
            within = float(known_weights @ inside**2)
            total = max(
                float(
                    known_weights
                    @ (values - known_weights @ values / weighted_rows) ** 2
                ),
                1e-300,
            )
            between = (
                1
                - within / max(weighted_rows - len(counts), 1.0) * weighted_rows / total
            )
            if between >= _BETWEEN and within >= _WITHIN * total:
                scale = float(np.sqrt(within / weighted_rows))
                slope = Slope(
                    number, (inside / scale).astype(np.float32), means, scale, 1.0
                )
                found_slopes.append((between, column_name, slope))
                taken_numbers.add(number)
    chosen_slopes = sorted(found_slopes, key=lambda scored_slope: -scored_slope[0])[
        :_MOST_CENTRED
    ]
    return {
        centred_name: [
            slope
            for _, slope_name, slope in chosen_slopes
            if slope_name == centred_name
        ]
        for centred_name in columns
    }


class _ByLevel(NamedTuple):
    """Cells of numbers with the levels that they have.

    Attributes:
        cells: In float64.
        has_level: Which rows have a level, ``(rows,)``.
        by_level: The rows' weights, ``(levels, rows)``.
        counts: The sum of the weights of each level, ``(levels,)``.
    """

    cells: Any
    has_level: Any
    by_level: Any
    counts: Floats


def _by_level(cells: Any, weights: Floats) -> _ByLevel:
    """Return cells in float64, which rows have one, their weights by level, and the
    sums of these.
    """
    cells = cells.astype(np.float64)
    by_level = cells.T.multiply(weights).tocsr()
    return _ByLevel(
        cells,
        np.diff(cells.indptr) > 0,
        by_level,
        np.maximum(by_level @ np.ones(len(weights)), 1e-300),
    )
