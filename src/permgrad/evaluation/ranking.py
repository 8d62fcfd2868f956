"""Compare two lists of importances ``(features,)``: their ranks, their strongest features, their shares."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.arrays import Floats
from permgrad.base.errors import InputError


def importance_shares(importance: npt.ArrayLike) -> Floats:
    """Clip importances at 0 and divide by their sum. All are zero if none is above 0."""
    clipped = np.clip(_importances(importance), 0.0, None)
    # First by the largest, because the sum of the largest doubles is infinite.
    largest = clipped.max()
    if largest == 0:
        return clipped
    scaled = clipped / largest
    return np.asarray(scaled / scaled.sum())


def spearman(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> float:
    """Spearman's rank correlation with ties at their mean rank, NaN if either side is constant."""
    # Not scipy's, so that equal rankings get exactly 1.
    left, right = (pd.Series(values).rank().to_numpy() for values in pair_of(truth, estimate))
    left, right = left - left.mean(), right - right.mean()
    scale = np.sqrt(np.sum(left**2) * np.sum(right**2))
    return float(np.clip(np.sum(left * right) / scale, -1.0, 1.0)) if scale > 0 else math.nan


def kendall(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> float:
    """Kendall's tau-b, which corrects for ties, NaN if either side is constant."""
    from scipy.stats import kendalltau

    left, right = pair_of(truth, estimate)
    if np.ptp(left) == 0 or np.ptp(right) == 0:
        return math.nan
    return float(kendalltau(left, right).statistic)


# ---- the strongest ---------------------------------------------------------------------------------------------------
def strongest(importance: npt.ArrayLike, k: int) -> Floats:
    """Return whether each feature is one of the ``k`` strongest: 1, 0, or a fraction for ties at the edge.

    Features whose importance is not above 0 are never included.
    """
    values = _importances(importance)
    positive = values > 0
    return positive.astype(np.float64) if positive.sum() <= k else among_largest(values, k)


def among_largest(values: Floats, k: int) -> Floats:
    """Return whether each value is among the ``k`` largest: 1, 0, or a fraction for ties at the edge."""
    edge = np.sort(values)[-k]
    above, tied = values > edge, values == edge
    return np.where(above, 1.0, np.where(tied, (k - above.sum()) / tied.sum(), 0.0))


def top_overlap(first: npt.ArrayLike, second: npt.ArrayLike, k: int) -> float:
    """Return the share of the ``k`` strongest features that two lists have in common, NaN if one has none.

    If fewer than ``k`` are above 0, the share is taken of the longer list.
    """
    return _overlap(strongest(first, k), strongest(second, k))


def weighted_overlap(first: npt.ArrayLike, second: npt.ArrayLike, k: int) -> float:
    """Return Σ min(p, q) of two lists' shares among their ``k`` strongest features: 0 for disjoint, 1 for equal shares.

    This is one minus the total variation distance of the shares. NaN if a list has no feature above 0.
    """
    return _overlap(*(importance_shares(strongest(each, k) * _importances(each)) for each in (first, second)))


def _overlap(left: Floats, right: Floats) -> float:
    sums = left.sum(), right.sum()
    return float(np.minimum(left, right).sum() / max(sums)) if min(sums) > 0 else math.nan


def _importances(importance: npt.ArrayLike) -> Floats:
    values = np.asarray(importance, dtype=np.float64)
    if not np.all(np.isfinite(values)):
        problem = f"{int(np.sum(~np.isfinite(values)))} of {len(values)} importances are not finite"
        raise InputError(problem, hint="Leave those features out.", code="PG002")
    return values


def pair_of(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return two lists of importances as arrays. ``InputError``: not all are finite."""
    left, right = np.asarray(truth, dtype=np.float64), np.asarray(estimate, dtype=np.float64)
    if not (np.all(np.isfinite(left)) and np.all(np.isfinite(right))):
        problem = "truth or estimate holds missing or infinite values"
        raise InputError(problem, hint="Leave those features out.", code="PG002")
    return left, right


def usual_k(features: int) -> int:
    """Return the default number of strongest features: ten, but at most half of them."""
    return max(1, min(10, features // 2))
