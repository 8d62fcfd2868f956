"""Whether probabilities mean what they say: reliability curves and the expected calibration error.

Rows are put into bins by their predicted probability; a calibrated model is right in each bin as often as it says. The
expected calibration error (Naeini, Cooper & Hauskrecht 2015) is the mean distance of the two, weighted by rows. It is
never 0 on a finite number of rows, also not for a perfectly calibrated model, so that it is given beside what chance
alone would make of it.

NOTE[DIFF]: bins are neither equally wide nor of equally many rows, but of equal Σ p (1 − p), what is uncertain in them:
the many rows that are surely not of a rare class share one bin and leave the others for those of which there is
something to learn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from permgrad.base.errors import InputError

Floats = npt.NDArray[np.float64]

#: Bins at most; rows, and sum of p (1 − p), that a bin should have at least.
MOST_BINS, FEWEST_ROWS, LEAST_DOUBT = 10, 25, 2.0
_NORMAL_95 = 1.959963984540054


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often the positive class occurs where the model gives it about a certain probability.

    Attributes:
        predicted: Mean predicted probability of each bin ``(bins,)``, rising.
        observed: Share of positive rows in each bin.
        low, high: 95 % interval of that share (Wilson 1927).
        rows: Rows in each bin.
        error: Expected calibration error: mean of |observed − predicted|, weighted by rows.
        chance: What ``error`` would be on average for a model that is perfectly calibrated, on as many rows.
    """

    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats
    rows: npt.NDArray[np.int64]
    error: float
    chance: float


def reliability(positive: npt.ArrayLike, probability: npt.ArrayLike, *, bins: int | None = None) -> Reliability:
    """Compare predicted probabilities with what happened.

    Args:
        positive: Whether each row is of the class ``(rows,)``.
        probability: Its predicted probability ``(rows,)``; rows where it is undefined are left out.
        bins: Number of bins; None: ten, fewer where rows are few or nearly certain. Equal probabilities always share a
            bin, so that there may be fewer.

    Raises:
        InputError: Lengths that differ, no row, probabilities outside 0 to 1, or no bin.

    Examples:
        >>> found = reliability([0, 0, 1, 1], [0.1, 0.1, 0.8, 0.8], bins=2)
        >>> found.predicted.tolist(), found.observed.tolist(), round(found.error, 3)
        ([0.1, 0.8], [0.0, 1.0], 0.15)
    """
    truth = np.asarray(positive, dtype=np.float64).ravel()
    given = np.asarray(probability, dtype=np.float64).ravel()
    if truth.shape != given.shape:
        raise InputError(f"positive and probability must have as many rows, however: {len(truth)} and {len(given)}")
    known = np.isfinite(given)
    truth, given = truth[known], given[known]
    if not len(given):
        raise InputError("reliability needs a row with a probability, however: there is none")
    if given.min() < -1e-9 or given.max() > 1 + 1e-9:
        raise InputError(
            f"probabilities must lie between 0 and 1, however: one is {given[np.argmax(abs(given - 0.5))]:g}"
        )
    if bins is not None and bins < 1:
        raise InputError(f"bins must be at least 1, however: bins={bins}")
    given = np.clip(given, 0, 1)
    doubt = float(np.sum(given * (1 - given)))
    usual = max(1, min(MOST_BINS, len(given) // FEWEST_ROWS, int(doubt / LEAST_DOUBT)))
    wanted = usual if bins is None else bins
    member = _bins(given, wanted)
    rows = np.bincount(member)
    predicted = np.bincount(member, weights=given) / rows
    observed = np.bincount(member, weights=truth) / rows
    low, high = _wilson(observed, rows)
    noise = np.bincount(member, weights=given * (1 - given))
    share = rows / len(given)
    # |mean of independent draws − its expectation| is about √(2/π) standard deviations on average.
    chance = float(np.sum(share * np.sqrt(2 / math.pi * np.maximum(noise, 0)) / rows))
    error = float(np.sum(share * np.abs(observed - predicted)))
    return Reliability(predicted, observed, low, high, rows.astype(np.int64), error, chance)


def _bins(values: Floats, count: int) -> npt.NDArray[np.int64]:
    """Number each row's bin from 0 without gaps, by rising probability; equal probabilities share one."""
    place = np.unique(values, return_inverse=True)[1]
    doubt = np.bincount(place, weights=values * (1 - values))
    # Where everything is certain, rows are what is left to count by.
    doubt = doubt if doubt.sum() > 0 else np.bincount(place).astype(np.float64)
    middle = (np.cumsum(doubt) - doubt / 2) / doubt.sum()
    member = np.minimum((middle * count).astype(np.int64), count - 1)
    return np.unique(member[place], return_inverse=True)[1].astype(np.int64)


def _wilson(share: Floats, rows: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    square = _NORMAL_95**2
    centre = (share + square / (2 * rows)) / (1 + square / rows)
    half = _NORMAL_95 * np.sqrt(share * (1 - share) / rows + square / (4 * rows**2)) / (1 + square / rows)
    # Rounding must not push an end past the share itself.
    return np.clip(np.minimum(centre - half, share), 0, 1), np.clip(np.maximum(centre + half, share), 0, 1)
