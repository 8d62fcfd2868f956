"""SAGE by permutation sampling, written from the paper: Covert, Lundberg & Lee 2020 (arXiv 2004.00668), Algorithm 1.

A peer for the tables, separate from permgrad's Shapley game and as close to the paper as possible. For random rows and
random orders, features become known one by one. Absent ones are averaged over rows of the background. A feature's value
is the mean decrease of the loss when it becomes known.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from permgrad.base.arrays import Array, Booleans, Floats, Integers

#: Edited rows predicted at once.
_ROWS = 2**14


@dataclass(frozen=True, eq=False)
class SageValues:
    """Mean fall of the loss of each feature ``(features,)``, its standard error, and how many orders were walked."""

    values: Floats
    std: Floats
    walks: int

    def interval(self, z: float = 1.959963984540054) -> tuple[Floats, Floats]:
        """Return the ends of the normal interval, of 95 % by default."""
        return self.values - z * self.std, self.values + z * self.std

    def p_values(self) -> Floats:
        """Return two-sided p-values of "the value is 0" ``(features,)``. 1 where value and error are exactly 0."""
        z = np.divide(self.values, self.std, out=np.zeros_like(self.values), where=self.std > 0)
        return np.asarray(2 * ndtr(-np.abs(z)))


def sage_permutation(
    predict: Callable[[Array], Floats],
    loss: Callable[[Floats, Floats], Floats],
    rows: Array,
    y: Floats,
    background: Array,
    owner: Integers,
    *,
    walks: int,
    rng: np.random.Generator,
) -> SageValues:
    """Estimate SAGE values."""
    features = int(owner.max()) + 1
    # NOTE[DIFF]: rows are drawn without replacement as long as there are enough, which only lowers the variance.
    chosen = np.concatenate([rng.permutation(len(rows)) for _ in range(math.ceil(walks / len(rows)))])[:walks]
    orders = rng.permuted(np.tile(np.arange(features), (walks, 1)), axis=1)
    # The prediction that knows nothing: the mean over the background.
    nothing = predict(background).mean(axis=0, keepdims=True)
    before = loss(np.repeat(nothing, walks, axis=0), y[chosen])
    present = np.zeros((walks, features), dtype=bool)
    falls = np.zeros((walks, features))
    for step in range(features):
        present[np.arange(walks), orders[:, step]] = True
        after = loss(_averaged(predict, rows[chosen], background, present[:, owner]), y[chosen])
        falls[np.arange(walks), orders[:, step]] = before - after
        before = after
    return SageValues(falls.mean(axis=0), falls.std(axis=0, ddof=1) / math.sqrt(walks), walks)


def _averaged(predict: Callable[[Array], Floats], rows: Array, background: Array, present: Booleans) -> Floats:
    """Return the mean prediction over the background of rows in which only some columns are kept ``(n, outputs)``."""
    means = []
    step = max(1, _ROWS // len(background))
    for start in range(0, len(rows), step):
        some, flags = rows[start : start + step], present[start : start + step]
        grid = np.where(flags[:, None, :], some[:, None, :], background[None, :, :])
        predicted = predict(grid.reshape(-1, rows.shape[1]))
        means.append(predicted.reshape(len(some), len(background), -1).mean(axis=1))
    return np.concatenate(means)
