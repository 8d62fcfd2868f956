"""Compare two lists of importances ``(features,)``, and test whether two models rely on
the same features.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.arrays import Floats
from permgrad.base.errors import InputError
from permgrad.base.significance import t_quantile


def importance_shares(importance: npt.ArrayLike) -> Floats:
    """Clip importances at 0 and divide by their sum.

    All are zero if none is above 0.
    """
    clipped = np.clip(_importances(importance), 0.0, None)
    # First by the largest, because the sum of the largest doubles is infinite.
    largest = clipped.max()
    if largest == 0:
        return clipped
    scaled = clipped / largest
    return np.asarray(scaled / scaled.sum())


def spearman(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> float:
    """Spearman's rank correlation with ties at their mean rank, NaN if either side is
    constant.
    """
    # Not scipy's, so that equal rankings get exactly 1.
    left_ranks, right = (
        pd.Series(values).rank().to_numpy() for values in pair_of(truth, estimate)
    )
    left_ranks = left_ranks - left_ranks.mean()
    right = right - right.mean()
    scale = np.sqrt(np.sum(left_ranks**2) * np.sum(right**2))
    if scale > 0:
        return float(np.clip(np.sum(left_ranks * right) / scale, -1.0, 1.0))
    return math.nan


def kendall(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> float:
    """Kendall's tau-b, which corrects for ties, NaN if either side is constant."""
    from scipy.stats import kendalltau

    left_values, right = pair_of(truth, estimate)
    if np.ptp(left_values) == 0 or np.ptp(right) == 0:
        return math.nan
    return float(kendalltau(left_values, right).statistic)


# ---- the strongest -------------------------------------------------------------------
def strongest(importance: npt.ArrayLike, k: int) -> Floats:
    """Return whether each feature is one of the ``k`` strongest: 1, 0, or a fraction
    for ties at the edge.

    Features whose importance is not above 0 are never included.
    """
    values = _importances(importance)
    positive = values > 0
    if positive.sum() <= k:
        return positive.astype(np.float64)
    return among_largest(values, k)


def among_largest(values: Floats, k: int) -> Floats:
    """Return whether each value is among the ``k`` largest: 1, 0, or a fraction for
    ties at the edge.
    """
    edge_value = np.sort(values)[-k]
    above = values > edge_value
    tied = values == edge_value
    return np.where(above, 1.0, np.where(tied, (k - above.sum()) / tied.sum(), 0.0))


def top_overlap(first: npt.ArrayLike, second: npt.ArrayLike, k: int) -> float:
    """Return the share of the ``k`` strongest features that two lists have in common,
    NaN if one has none.

    If fewer than ``k`` are above 0, the share is taken of the longer list.
    """
    return _overlap(strongest(first, k), strongest(second, k))


def weighted_overlap(first: npt.ArrayLike, second: npt.ArrayLike, k: int) -> float:
    """Return Σ min(p, q) of two lists' shares among their ``k`` strongest features: 0
    for disjoint, 1 for equal shares.

    This is one minus the total variation distance of the shares. NaN if a list has no
    feature above 0.
    """
    return _overlap(
        *(
            importance_shares(strongest(importances, k) * _importances(importances))
            for importances in (first, second)
        )
    )


def _overlap(left: Floats, right: Floats) -> float:
    side_sums = left.sum(), right.sum()
    if min(side_sums) > 0:
        return float(np.minimum(left, right).sum() / max(side_sums))
    return math.nan


def _importances(importance: npt.ArrayLike) -> Floats:
    values = np.asarray(importance, dtype=np.float64)
    if not np.all(np.isfinite(values)):
        problem = (
            f"{int(np.sum(~np.isfinite(values)))} of {len(values)} importances "
            "are not finite"
        )
        raise InputError(problem, hint="Leave those features out.", code="PG002")
    return values


def pair_of(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return two lists of importances as arrays. ``InputError``: not all are finite."""
    left_values = np.asarray(truth, dtype=np.float64)
    right = np.asarray(estimate, dtype=np.float64)
    if not (np.all(np.isfinite(left_values)) and np.all(np.isfinite(right))):
        raise InputError(
            "truth or estimate holds missing or infinite values",
            "Leave those features out.",
            "PG002",
        )
    return left_values, right


def usual_k(features: int) -> int:
    """Return the default number of strongest features: ten, but at most half of
    them.
    """
    return max(1, min(10, features // 2))


# ---- agreement of two models ---------------------------------------------------------
#: Symmetric comparisons of two lists of importances and their ``k`` strongest features.
#: 1 is full agreement.
MEASURES: dict[str, Callable[[npt.ArrayLike, npt.ArrayLike, int], float]] = {
    "kendall": lambda first, second, _: kendall(first, second),
    "spearman": lambda first, second, _: spearman(first, second),
    "top_overlap": top_overlap,
    "weighted_overlap": weighted_overlap,
}
#: Fewest splits for an interval of the gap: without one of them, two must remain to
#: compare.
FEWEST_SPLITS = 3


@dataclass(frozen=True)
class Agreement:
    """Mean agreement of two models on different splits, its spread, the agreement
    ``within`` each, and the ``ceiling``.

    ``gap`` is the ceiling minus the value, the difference caused by the models, with
    its 95 % interval. Numbers that need more splits are NaN.
    """

    value: float
    spread: float
    within: tuple[float, float]
    ceiling: float
    gap: float
    low: float
    high: float
    splits: int

    @property
    def differs(self) -> bool | None:
        """Whether the models differ by more than two fits of one model, or None if
        there are too few splits.
        """
        if math.isnan(self.low):
            return None
        return self.low > 0


def agreement(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    measure: str = "kendall",
    *,
    k: int | None = None,
    train_rows: float = 1.0,
    test_rows: float = 0.0,
) -> Agreement:
    """Compare two models' importances ``(splits, features)`` of the same splits.

    The default ``k`` is ``usual_k``.

    Importances of model A on split i are compared with those of B on *another* split j,
    and in the same way within A and within B. Two models that rely on the same features
    agree by about √(W_A W_B), the *ceiling* (Spearman 1904). The interval of the gap
    below it is a jackknife over splits (Efron 1982), widened by the factor of Nadeau &
    Bengio (2003), 1 + J · test rows / training rows. NOTE[DIFF]: both describe plain
    means. Here it is a mean over pairs. Training and test rows of a split describe how
    much splits overlap. The default is for independent samples.
    """
    left_importances = np.asarray(first, dtype=np.float64)
    right = np.asarray(second, dtype=np.float64)
    if k is None:
        strong = usual_k(left_importances.shape[1])
    else:
        strong = k
    compute = MEASURES[measure]
    splits = len(left_importances)
    # Every split of one with every split of the other: between the models, within the
    # first, within the second.
    sides = (
        (left_importances, right),
        (left_importances, left_importances),
        (right, right),
    )
    tables = np.array(
        [
            [
                [
                    compute(first_importances, second_importances, strong)
                    for second_importances in theirs
                ]
                for first_importances in own_importances
            ]
            for own_importances, theirs in sides
        ]
    )
    if splits == 1:
        undefined = math.nan
        return Agreement(
            float(tables[0, 0, 0]),
            undefined,
            (undefined, undefined),
            undefined,
            undefined,
            undefined,
            undefined,
            1,
        )
    value, within, ceiling = _summary(tables, np.arange(splits))
    agreement_gap = ceiling - value
    lower_end = math.nan
    upper_end = math.nan
    if splits >= FEWEST_SPLITS:
        width = _half_width(tables, splits, test_rows / train_rows)
        lower_end = agreement_gap - width
        upper_end = agreement_gap + width
    apart = tables[0][~np.eye(splits, dtype=bool)]
    spread = float(pd.Series(apart[np.isfinite(apart)]).std())
    return Agreement(
        value, spread, within, ceiling, agreement_gap, lower_end, upper_end, splits
    )


def _half_width(tables: Floats, splits: int, overlap: float) -> float:
    """Return half of the gap's interval, a jackknife over the splits."""
    without = []
    for left_out in range(splits):
        without.append(_summary(tables, np.delete(np.arange(splits), left_out)))
    gaps = np.array(
        [partial_ceiling - partial for partial, _, partial_ceiling in without]
    )
    widened = 1 + splits * overlap
    variance = (
        (splits - 1) / splits * float(np.sum((gaps - gaps.mean()) ** 2)) * widened
    )
    return float(t_quantile(0.975, splits - 1)) * math.sqrt(variance)


class _Agreement(NamedTuple):
    """How far two rankings agree.

    Attributes:
        agreement: Between both.
        within: Of each with itself over splits.
        ceiling: What can be reached.
    """

    agreement: float
    within: tuple[float, float]
    ceiling: float


def _summary(tables: Floats, splits: npt.NDArray[np.intp]) -> _Agreement:
    """Return agreement, both within-agreements and the ceiling over some of the
    splits.
    """
    apart = ~np.eye(len(splits), dtype=bool)
    pairs = [table[np.ix_(splits, splits)][apart] for table in tables]
    value, within_first, within_second = (
        float(pd.Series(pair_values[np.isfinite(pair_values)]).mean())
        for pair_values in pairs
    )
    # There is no ceiling if a model does not agree with itself.
    if within_first > 0 and within_second > 0:
        ceiling = math.sqrt(within_first * within_second)
    else:
        ceiling = math.nan
    return _Agreement(value, (within_first, within_second), ceiling)


def agreement_table(
    importances: Mapping[str, npt.ArrayLike],
    *,
    k: int | None = None,
    train_rows: float = 1.0,
    test_rows: float = 0.0,
) -> pd.DataFrame:
    """Compare every pair of models by every measure, one line each.

    Undefined numbers are NaN.
    """
    table_lines = []
    for (first, left_importances), (second, right) in itertools.combinations(
        importances.items(), 2
    ):
        for measure in MEASURES:
            pair_agreement = agreement(
                left_importances,
                right,
                measure,
                k=k,
                train_rows=train_rows,
                test_rows=test_rows,
            )
            gap_cells = (
                pair_agreement.gap,
                pair_agreement.low,
                pair_agreement.high,
                pair_agreement.differs,
            )
            table_lines.append(
                (
                    first,
                    second,
                    measure,
                    pair_agreement.value,
                    pair_agreement.spread,
                    *pair_agreement.within,
                    pair_agreement.ceiling,
                    *gap_cells,
                    pair_agreement.splits,
                )
            )
    columns = [
        "first",
        "second",
        "measure",
        "agreement",
        "spread",
        "within_first",
        "within_second",
        "ceiling",
    ]
    frame = pd.DataFrame(
        table_lines,
        columns=[*columns, "gap", "gap_low", "gap_high", "differs", "splits"],
    )
    return frame.astype({"differs": object})
