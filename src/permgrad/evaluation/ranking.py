"""How close an estimated ranking of features comes to a known truth.

Importances here are numbers per feature where larger means more important. Every measure states its direction and
range and treats ties openly: nothing depends on the order in which tied features happen to stand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from permgrad.base.errors import InputError
from permgrad.base.registry import Registry


@dataclass(frozen=True)
class RankingMeasure:
    """A comparison of true and estimated importances.

    Attributes:
        name: Key of the measure.
        label: Name for people.
        direction: ``"higher"`` or ``"lower"`` is better.
        range: Smallest and largest possible value.
        compute: Function ``(truth, estimate) -> float``; NaN where undefined.
    """

    name: str
    label: str
    direction: Literal["higher", "lower"]
    range: tuple[float, float]
    compute: Callable[[npt.ArrayLike, npt.ArrayLike], float]


ranking_measures: Registry[RankingMeasure] = Registry("ranking measure")


def importance_shares(importance: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Clip importances at 0 and divide by their sum; all zeros when nothing is above 0.

    Shape:
        importance ``(features,)``; result ``(features,)`` float64, summing to 1 or all 0.

    Examples:
        >>> importance_shares([3.0, 1.0, -0.5]).tolist()
        [0.75, 0.25, 0.0]
    """
    values = np.asarray(importance, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise InputError(
            f"importance must have shape (features,) with at least one, however: its shape is {values.shape}"
        )
    if not np.all(np.isfinite(values)):
        raise InputError(
            f"importance must be finite, however: {int(np.sum(~np.isfinite(values)))} of {len(values)} values are not"
        )
    clipped = np.clip(values, 0.0, None)
    # Dividing by the largest first keeps the sum finite for the largest doubles.
    largest = clipped.max()
    if largest == 0:
        return clipped
    scaled = clipped / largest
    return np.asarray(scaled / scaled.sum())


def share_error(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> float:
    """Root mean square difference of importance shares: 0 is right, at most √(2 / features).

    Examples:
        >>> share_error([3, 1, 0], [6, 2, -1])
        0.0
    """
    left, right = _pair(truth, estimate)
    return float(np.sqrt(np.mean((importance_shares(left) - importance_shares(right)) ** 2)))


def relative_error(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> float:
    """Return the error of importance shares as a per cent of the true shares, each as a root mean square.

    Examples:
        >>> relative_error([3, 1, 0], [6, 2, -1])
        0.0
        >>> round(relative_error([1, 0], [1, 1]), 6)  # 0.5 off in both, where the truth is 1 and 0
        70.710678
    """
    left, right = _pair(truth, estimate)
    return 100 * share_error(left, right) / float(np.sqrt(np.mean(importance_shares(left) ** 2)))


def spearman(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> float:
    """Spearman's rank correlation, ties at their mean rank; NaN if either side is constant.

    Examples:
        >>> round(spearman([1, 2, 3], [10, 20, 30]), 12), round(spearman([1, 2, 3], [3, 2, 1]), 12)
        (1.0, -1.0)
    """
    from scipy.stats import rankdata

    # Not scipy's: like rankings get exactly 1.
    left, right = (rankdata(values) for values in _pair(truth, estimate))
    left, right = left - left.mean(), right - right.mean()
    scale = np.sqrt(np.sum(left**2) * np.sum(right**2))
    return float(np.clip(np.sum(left * right) / scale, -1.0, 1.0)) if scale > 0 else math.nan


def kendall(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> float:
    """Kendall's tau-b, which corrects for ties; NaN if either side is constant.

    Examples:
        >>> round(kendall([1, 2, 3, 4], [1, 2, 4, 3]), 4)
        0.6667
    """
    from scipy.stats import kendalltau

    left, right = _pair(truth, estimate)
    if np.ptp(left) == 0 or np.ptp(right) == 0:
        return math.nan
    return float(kendalltau(left, right).statistic)


def top_k_recovery(truth: npt.ArrayLike, estimate: npt.ArrayLike, k: int | None = None) -> float:
    """Share of the ``k`` largest estimates that belong to the truth's ``k`` largest.

    Ties at the edge of the estimate's top k are broken in every possible way and averaged; features tied at the edge of
    the truth's top k all count as belonging, so that a perfect estimate always gets 1.

    Args:
        truth: True importances ``(features,)``.
        estimate: Estimated importances ``(features,)``.
        k: How many; None: the number of features whose true importance is above 0 (NaN if there is none).

    Examples:
        >>> top_k_recovery([5, 4, 0, 0], [9, 0.1, 3, 0.1])
        0.5
        >>> top_k_recovery([1, 0], [0.5, 0.5])
        0.5
    """
    left, right = _pair(truth, estimate)
    if k is None:
        k = int(np.sum(left > 0))
        if k == 0:
            return math.nan
    if not 1 <= k <= len(left):
        raise InputError(f"k must be between 1 and the number of features, however: k={k}, features={len(left)}")
    belongs = left >= np.sort(left)[-k]
    return float(np.sum(top_membership(right, k)[belongs]) / k)


def top_membership(values: npt.NDArray[np.float64], k: int) -> npt.NDArray[np.float64]:
    """Return how far each value is among the ``k`` largest: 1, 0, or a part where ties straddle the edge."""
    edge = np.sort(values)[-k]
    above, tied = values > edge, values == edge
    return np.where(above, 1.0, np.where(tied, (k - above.sum()) / tied.sum(), 0.0))


def relevance_auc(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> float:
    """Chance that a relevant feature (true importance above 0) is ranked above an irrelevant one; ties count half.

    Unlike the other measures it does not ask *how* important a feature is, so that methods which estimate different
    quantities may be compared by it. NaN if all features are relevant, or none.

    Examples:
        >>> relevance_auc([5, 4, 0, 0], [9, 0.1, 3, 0.1])
        0.625
    """
    left, right = _pair(truth, estimate)
    relevant, irrelevant = right[left > 0], right[left <= 0]
    if not len(relevant) or not len(irrelevant):
        return math.nan
    above = relevant[:, None] > irrelevant[None, :]
    return float(np.mean(above + 0.5 * (relevant[:, None] == irrelevant[None, :])))


def compare_rankings(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> dict[str, float]:
    """Compute every registered measure.

    Examples:
        >>> sorted(compare_rankings([3, 2, 1, 0], [3, 2, 1, 0]))
        ['kendall', 'relevance_auc', 'share_error', 'spearman', 'top_k_recovery']
    """
    return {name: ranking_measures.get(name).compute(truth, estimate) for name in ranking_measures}


for _measure in (
    RankingMeasure("share_error", "error of importance shares", "lower", (0.0, math.sqrt(2.0)), share_error),
    RankingMeasure("spearman", "Spearman's rank correlation", "higher", (-1.0, 1.0), spearman),
    RankingMeasure("kendall", "Kendall's tau-b", "higher", (-1.0, 1.0), kendall),
    RankingMeasure("top_k_recovery", "top-k recovered", "higher", (0.0, 1.0), top_k_recovery),
    RankingMeasure("relevance_auc", "AUC, relevant or not", "higher", (0.0, 1.0), relevance_auc),
):
    ranking_measures.register(_measure.name)(_measure)


def _pair(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    left, right = np.asarray(truth, dtype=np.float64), np.asarray(estimate, dtype=np.float64)
    if left.ndim != 1 or left.shape != right.shape or len(left) == 0:
        raise InputError(
            "truth and estimate must both have shape (features,), however: "
            f"their shapes are {left.shape} and {right.shape}"
        )
    if not (np.all(np.isfinite(left)) and np.all(np.isfinite(right))):
        raise InputError("truth and estimate must be finite, however: some values are missing or infinite")
    return left, right
