"""Numbers on which the levels of a category have slopes that differ: one wage grows faster than another.

Found by what a model with equal slopes leaves over within levels. ``scores`` pulls them towards their mean,
as a mixed model does (Laird & Ware 1982).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from permgrad.base.arrays import Array, Floats, Floats32

#: Slopes of one column, and standard errors by which they must differ to be tried.
_MOST_SLOPES, _DIFFERENT = 3, 3.0


@dataclass(frozen=True)
class Slope:
    """Slopes of levels on a number, one of the other columns. ``strength``: the one that is tried first.

    The model reads it as ``inside (rows,)``: less each level's mean ``means (levels,)``, in units of ``scale``. What
    slopes add is then nearly independent of the levels' own effects, and a model is found in few steps.
    """

    number: int
    inside: Floats32
    means: Floats
    scale: float
    strength: float


def find_slopes(cells: Any, other: Array, numbers: Iterable[int], residuals: Floats, weights: Floats) -> list[Slope]:
    """Return the numbers on which residuals have slopes that differ between levels, at most 3, the clearest first.

    ``cells (rows, levels)``: a sparse matrix of ones. ``numbers``: columns of ``other (rows, …)``. Levels that all have
    one slope have a sum of squares of ``levels`` in units of the noise, with a variance of about twice as many.
    """
    cells = cells.astype(np.float64)
    has, by_level = np.diff(cells.indptr) > 0, cells.T.multiply(weights).tocsr()
    counts = np.maximum(by_level @ np.ones(len(weights)), 1e-300)
    left = has * (residuals - cells @ (by_level @ residuals / counts))
    rows = float(weights @ has)
    noise = max(float(weights @ left**2) / max(rows - len(counts), 1.0), 1e-300)
    slopes = list[tuple[float, Slope]]()
    for number in numbers:
        values = other[:, number].astype(np.float64)
        means = by_level @ values / counts
        inside = has * (values - cells @ means)
        squares = by_level @ inside**2
        varies = squares > 1e-6 * squares.mean()
        levels = int(varies.sum())
        if levels < 2:
            continue
        products = by_level @ (inside * left)
        own = (products - squares * products.sum() / squares.sum())[varies]
        excess = float((own**2 / squares[varies]).sum()) / noise - levels
        if excess > _DIFFERENT * np.sqrt(2 * levels):
            scale = float(np.sqrt(squares.sum() / rows))
            # The variance of slopes by the method of moments. Half of their deviation, as strengths are doubled.
            strength = 0.5 * scale * float(np.sqrt(excess / squares.sum()))
            inside = (inside / scale).astype(np.float32)
            slopes.append((excess / np.sqrt(levels), Slope(int(number), inside, means, scale, strength)))
    return [slope for _, slope in sorted(slopes, key=lambda one: -one[0])[:_MOST_SLOPES]]
