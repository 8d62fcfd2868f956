"""How close two lists of importances are: errors of shares, rank correlations, the strongest features in common.

Importances are numbers per feature, ``(features,)``, where larger means more important. Ties are treated openly:
nothing depends on the order in which tied features happen to stand.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.checks import as_numbers, check_whole
from permgrad.base.errors import InputError

Floats = npt.NDArray[np.float64]


def importance_shares(importance: npt.ArrayLike) -> Floats:
    """Clip importances at 0 and divide by their sum; all zeros when nothing is above 0."""
    clipped = np.clip(_importances(importance), 0.0, None)
    # First by the largest: the sum of the largest doubles is infinite.
    largest = clipped.max()
    if largest == 0:
        return clipped
    scaled = clipped / largest
    return np.asarray(scaled / scaled.sum())


def share_error(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> float:
    """Root mean square difference of importance shares: 0 is right, at most √(2 / features)."""
    left, right = _pair(truth, estimate)
    return float(np.sqrt(np.mean((importance_shares(left) - importance_shares(right)) ** 2)))


def relative_error(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> float:
    """Return the error of importance shares as a per cent of the true shares, each as a root mean square."""
    return 100 * share_error(truth, estimate) / float(np.sqrt(np.mean(importance_shares(truth) ** 2)))


def spearman(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> float:
    """Spearman's rank correlation, ties at their mean rank; NaN if either side is constant."""
    # Not scipy's: like rankings get exactly 1.
    left, right = (pd.Series(values).rank().to_numpy() for values in _pair(truth, estimate))
    left, right = left - left.mean(), right - right.mean()
    scale = np.sqrt(np.sum(left**2) * np.sum(right**2))
    return float(np.clip(np.sum(left * right) / scale, -1.0, 1.0)) if scale > 0 else math.nan


def kendall(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> float:
    """Kendall's tau-b, which corrects for ties; NaN if either side is constant."""
    from scipy.stats import kendalltau

    left, right = _pair(truth, estimate)
    if np.ptp(left) == 0 or np.ptp(right) == 0:
        return math.nan
    return float(kendalltau(left, right).statistic)


def relevance_auc(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> float:
    """Chance that a relevant feature (true importance above 0) is ranked above an irrelevant one; ties count half.

    It does not ask *how* important a feature is, so that methods with different quantities may be compared by it. NaN
    if all features are relevant, or none.
    """
    left, right = _pair(truth, estimate)
    relevant, irrelevant = right[left > 0], right[left <= 0]
    if not len(relevant) or not len(irrelevant):
        return math.nan
    return float(np.mean((np.sign(relevant[:, None] - irrelevant[None, :]) + 1) / 2))


# ---- the strongest ---------------------------------------------------------------------------------------------------
def top_k_recovery(truth: npt.ArrayLike, estimate: npt.ArrayLike, k: int | None = None) -> float:
    """Share of the ``k`` largest estimates that belong to the truth's; None: as many as are above 0, NaN for none.

    Ties at the edge of the estimate's top k are broken in every possible way and averaged; features tied at the edge of
    the truth's top k all count as belonging, so that a perfect estimate always gets 1.
    """
    left, right = _pair(truth, estimate)
    if k is None:
        k = int(np.sum(left > 0))
        if k == 0:
            return math.nan
    _check_k(k, left)
    belongs = left >= np.sort(left)[-k]
    return float(np.sum(_among_largest(right, k)[belongs]) / k)


def strongest(importance: npt.ArrayLike, k: int) -> Floats:
    """Return how far each feature is one of the ``k`` strongest: 1, 0, or a part where ties straddle the edge.

    Features whose importance is not above 0 never belong.
    """
    values = _importances(importance)
    _check_k(check_whole("k", k, "pass for example 10"), values)
    positive = values > 0
    return positive.astype(np.float64) if positive.sum() <= k else _among_largest(values, k)


def top_overlap(first: npt.ArrayLike, second: npt.ArrayLike, k: int) -> float:
    """Return the share of the ``k`` strongest features that two lists have in common; NaN if one has none.

    Where fewer are above 0, the larger number of strongest features is the total: few do not agree with many.
    """
    return _overlap(strongest(first, k), strongest(second, k))


def weighted_overlap(first: npt.ArrayLike, second: npt.ArrayLike, k: int) -> float:
    """Return Σ min(p, q) of two lists' shares among their own ``k`` strongest features: 0 disjoint, 1 the same shares.

    It is one minus the total variation distance of the shares. NaN if a list has no feature above 0.
    """
    return _overlap(*(importance_shares(strongest(each, k) * _importances(each)) for each in (first, second)))


def _among_largest(values: Floats, k: int) -> Floats:
    edge = np.sort(values)[-k]
    above, tied = values > edge, values == edge
    return np.where(above, 1.0, np.where(tied, (k - above.sum()) / tied.sum(), 0.0))


def _overlap(left: Floats, right: Floats) -> float:
    if left.shape != right.shape:
        raise InputError(
            f"both lists must be of the same features, however: their shapes are {left.shape} and {right.shape}"
        )
    sums = left.sum(), right.sum()
    return float(np.minimum(left, right).sum() / max(sums)) if min(sums) > 0 else math.nan


def _check_k(k: int, values: Floats) -> None:
    if not 1 <= k <= len(values):
        raise InputError(f"k must be between 1 and the number of features, however: k={k}, features={len(values)}")


def _importances(importance: npt.ArrayLike) -> Floats:
    values = as_numbers("importance", importance, "pass one for each feature")
    if values.ndim != 1 or len(values) == 0:
        raise InputError(
            f"importance must have shape (features,) with at least one, however: its shape is {values.shape}"
        )
    if not np.all(np.isfinite(values)):
        raise InputError(
            f"importance must be finite, however: {int(np.sum(~np.isfinite(values)))} of {len(values)} values are not"
        )
    return values


def _pair(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> tuple[Floats, Floats]:
    left, right = np.asarray(truth, dtype=np.float64), np.asarray(estimate, dtype=np.float64)
    if left.ndim != 1 or left.shape != right.shape or len(left) == 0:
        raise InputError(
            "truth and estimate must both have shape (features,), however: "
            f"their shapes are {left.shape} and {right.shape}"
        )
    if not (np.all(np.isfinite(left)) and np.all(np.isfinite(right))):
        raise InputError("truth and estimate must be finite, however: some values are missing or infinite")
    return left, right
