"""What the target says of whole numbers: that they are names of things, or that they are levels beside amounts."""

from __future__ import annotations

from typing import Literal

import numpy as np

from permgrad.base.arrays import Array, Floats
from permgrad.data.types.identifiers import YEARS, are_whole, names_time

#: Fewer numbers do not show whether neighbours are alike. Names fill a stretch of numbers at least so densely.
_FEWEST_LEVELS, _SHARE_FILLED = 20, 0.5
#: How surely, and what share of the target's variance at least, rows with the same number have in common.
_SURELY, _LEAST_SHARED = 1e-6, 0.02
#: Share of this that neighbouring numbers of names have in common, with two standard errors. Of amounts it is about 1.
_NEIGHBOURS_SHARE = 0.5
#: Levels times outputs up to which amounts are read as levels, too: so many a page can set.
_MOST_SCORES = 20_000


def flag_by_target(name: str, values: Floats, y: Array, classes: int) -> Literal["names", "also_levels"] | None:
    """Return whether the target says that numbers are names, or amounts that are levels, too.

    Names are whole numbers, each of several rows, of which equal ones are alike in the target and neighbours are not.
    Amounts of which equal ones have more in common than neighbours do say what they belong to: the length of a route,
    the code of a trade.

    Args:
        name: of the column. Times are neither.
        values: its numbers in the training rows ``(rows,)``, NaN where missing.
        y: target ``(rows,)``: class indexes, or numbers where ``classes`` is 0.
        classes: how many classes there are.
    """
    present = ~np.isnan(values)
    values, y = values[present], y[present]
    levels = len(np.unique(values))
    if not _FEWEST_LEVELS <= levels <= len(values) / 2 or not are_whole(values) or names_time(name):
        return None
    if values.min() < 0 or (values.min() >= YEARS[0] and values.max() <= YEARS[1]):
        return None
    own, neighbours = shared_by_equal(values, y, classes)
    if own and neighbours < _NEIGHBOURS_SHARE and levels >= _SHARE_FILLED * (np.ptp(values) + 1):
        return "names"
    few = levels * max(classes, 1) <= _MOST_SCORES
    return "also_levels" if few and own * (1 - neighbours) >= _LEAST_SHARED else None


def shared_by_equal(values: Floats, y: Array, classes: int = 0) -> tuple[float, float]:
    """Return what share of the target's variance equal numbers have in common, and which share of it neighbours have.

    The first is 0 if it is not sure or hardly anything. The second has two standard errors added. What rows of one
    number have in common is the variance between levels of a one-way model with random effects (Searle, Casella and
    McCulloch 1992, chapter 3.6), and is tested by its F ratio. Neighbours' share of it is the covariance of the means
    of adjacent levels, weighted by how exactly these are known.

    Args:
        values: whole numbers ``(rows,)``, none missing, some repeated.
        y: target ``(rows,)``: class indexes, or numbers where ``classes`` is 0.
        classes: how many classes there are.

    Examples:
        >>> shop = np.repeat(np.arange(1.0, 101), 10)
        >>> of_shop, noise = np.random.default_rng(0).normal(size=101), np.random.default_rng(1).normal(size=1000)
        >>> [round(share, 1) for share in shared_by_equal(shop, of_shop[shop.astype(int)] + noise)]
        [0.5, 0.4]
        >>> [round(share, 1) for share in shared_by_equal(shop, shop / 25 + noise)]
        [0.6, 1.2]
    """
    from scipy.special import fdtrc

    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    outputs = [np.asarray(y == label, dtype=np.float64) for label in range(classes)] if classes else [y]
    # Of each level, less the mean of all rows.
    means = np.stack([np.bincount(place, output - output.mean(), len(counts)) / counts for output in outputs])
    total = sum(float(np.var(output)) for output in outputs) * len(y)
    between = float((counts * means**2).sum())
    rows, levels = len(y), len(counts)
    noise = max(total - between, 1e-9 * total) / max(rows - levels, 1)
    rows_each = (rows - (counts**2).sum() / rows) / (levels - 1)
    own = (between / (levels - 1) - noise) / rows_each
    if own <= 0 or own < _LEAST_SHARED * (own + noise):
        return 0.0, 1.0
    if fdtrc(levels - 1, rows - levels, between / (levels - 1) / noise) > _SURELY:
        return 0.0, 1.0
    exact = np.sqrt(1 / (own + noise / counts))
    pairs = exact[1:] * exact[:-1]
    shared = float((pairs * means[:, 1:] * means[:, :-1]).sum() / pairs.sum()) / own
    return float(own / (own + noise)), float(shared + 2 / np.sqrt(levels))
