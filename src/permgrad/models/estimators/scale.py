"""How large the errors of a row are, by which the intervals of numbers are wide or narrow."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from permgrad.base.arrays import Floats

#: Of the scale: parts of a column, steps at most and without a gain, their length, rows that pull a step to 0.
_BINS, _STEPS, _PATIENCE, _RATE, _PULL = 16, 300, 25, 0.1, 20.0


@dataclass(frozen=True, eq=False)
class Scale:
    """How large the errors of a row are: exp of a sum of steps over its columns, ``(columns, parts)``.

    ``edges`` ``(columns, parts − 1)`` divide the columns into parts.
    """

    edges: Floats
    steps: Floats

    def __call__(self, columns: Floats) -> Floats:
        """Return the scale of each row ``(rows,)``."""
        total = np.zeros(len(columns))
        for column in np.flatnonzero(self.steps.any(axis=1)):
            total += self.steps[column][np.searchsorted(self.edges[column], columns[:, column])]
        return np.exp(total)


def fit_scale(columns: Floats, errors: Floats, held_columns: Floats, held_errors: Floats) -> Scale:
    """Boost stumps for the logarithm of the mean absolute error by the Gamma deviance (Friedman 2001).

    ``errors`` are absolute and of training rows, which a network fits better than others: only their pattern counts.
    Held-out rows decide when to stop, by the deviance at its best level.
    """
    count = columns.shape[1]
    edges = np.quantile(columns, np.arange(1, _BINS) / _BINS, axis=0).T
    places = [
        np.stack([np.searchsorted(edges[k], rows[:, k]) for k in range(count)]) for rows in (columns, held_columns)
    ]
    flat = (places[0] + _BINS * np.arange(count)[:, None]).ravel()
    rows = np.bincount(flat, minlength=count * _BINS).reshape(count, _BINS).cumsum(axis=1)[:, :-1]
    sizes = np.stack([rows, len(columns) - rows]) + _PULL
    usable = (rows > 0) & (rows < len(columns))
    steps, best = np.zeros((count, _BINS)), np.zeros((count, _BINS))
    fitted, held = np.full(len(errors), math.log(errors.mean())), np.zeros(len(held_errors))
    least, waited = math.log(held_errors.mean()), 0
    for _ in range(_STEPS if usable.any() else 0):
        slopes = errors * np.exp(-fitted) - 1
        sums = np.bincount(flat, weights=np.tile(slopes, count), minlength=count * _BINS).reshape(count, _BINS)
        left = sums.cumsum(axis=1)[:, :-1]
        sides = np.stack([left, slopes.sum() - left])
        gains = np.where(usable, (sides**2 / sizes).sum(axis=0), -1.0)
        column, cut = np.unravel_index(gains.argmax(), gains.shape)
        step = np.repeat(_RATE * sides[:, column, cut] / sizes[:, column, cut], [cut + 1, _BINS - cut - 1])
        steps[column] += step
        fitted += step[places[0][column]]
        held += step[places[1][column]]
        deviance = held.mean() + math.log((held_errors * np.exp(-held)).mean())
        waited += 1
        if deviance < least - 1e-4:
            least, best, waited = deviance, steps.copy(), 0
        if waited == _PATIENCE:
            break
    return Scale(edges, best)
