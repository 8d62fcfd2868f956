"""Whether models rely on the same features: agreement between models, held against agreement within each.

Two models never rank features exactly alike, and neither does one model fitted twice. Importances of model A on split i
are therefore compared with those of model B on *another* split j, and the same is done within A and within B: what
chance, rows and donors do to agreement is then in all three alike. With the within-agreements W_A and W_B, two models
that rely on the same features would agree by about √(W_A W_B), the *ceiling* (Spearman 1904: noise weakens correlations
by the root of both reliabilities). How far agreement stays below its ceiling is what the models themselves differ by.

The interval of that gap is a jackknife over splits (Efron 1982), widened because splits share training rows by the
factor of Nadeau & Bengio (2003), 1 + J · test rows / training rows, with Student's t of J − 1 degrees of freedom.
NOTE[DIFF]: both sources treat plain means; here their estimate is applied to a mean over pairs of splits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.checks import as_numbers, check_number, check_whole
from permgrad.base.errors import InputError, shown
from permgrad.base.registry import Registry
from permgrad.evaluation.ranking import importance_shares, kendall, spearman, top_membership

Floats = npt.NDArray[np.float64]

#: Splits from which on the gap has an interval: without one of them, two must be left to compare.
FEWEST_SPLITS = 3


@dataclass(frozen=True)
class AgreementMeasure:
    """A symmetric comparison of two lists of importances; 1 is full agreement."""

    name: str
    label: str
    range: tuple[float, float]
    compute: Callable[[npt.ArrayLike, npt.ArrayLike, int], float]


agreement_measures: Registry[AgreementMeasure] = Registry("agreement measure")


# ---- measures --------------------------------------------------------------------------------------------------------
def strongest(importance: npt.ArrayLike, k: int) -> Floats:
    """Return how far each feature belongs to the ``k`` strongest: 1, 0, or a part where ties straddle the edge.

    Features whose importance is not above 0 never belong.

    Shape:
        importance ``(features,)``; result ``(features,)``, summing to ``k`` or to the number of features above 0.

    Examples:
        >>> strongest([5.0, 3.0, 3.0, -1.0], 2).tolist()
        [1.0, 0.5, 0.5, 0.0]
    """
    values = _importances(importance)
    if check_whole("k", k, "pass for example 10") > len(values):
        raise InputError(
            f"k must be between 1 and the number of features, however: k={k}, features={len(values)}; lower it"
        )
    positive = values > 0
    return positive.astype(np.float64) if positive.sum() <= k else top_membership(values, k)


def top_overlap(first: npt.ArrayLike, second: npt.ArrayLike, k: int) -> float:
    """Return the share of the ``k`` strongest features that two lists have in common; NaN if one has none.

    Where fewer than ``k`` features have an importance above 0, the larger of both numbers of strongest features is the
    whole, so that a list of few features does not count as agreement with a list of many.

    Examples:
        >>> top_overlap([5, 4, 1, 0], [3, 0, 9, 1], 2)
        0.5
    """
    return _overlap(strongest(first, k), strongest(second, k))


def weighted_overlap(first: npt.ArrayLike, second: npt.ArrayLike, k: int) -> float:
    """Return Σ min(p, q) of two lists' shares among their own ``k`` strongest features: 0 disjoint, 1 the same shares.

    It is one minus the total variation distance of the shares, so that features count by how much they matter and the
    tail of irrelevant ones not at all. NaN if a list has no feature above 0.

    Examples:
        >>> weighted_overlap([3, 1, 0], [3, 1, 0], 2), weighted_overlap([1, 0, 0], [0, 1, 0], 2)
        (1.0, 0.0)
        >>> weighted_overlap([3, 1, 0], [1, 3, 0], 2)
        0.5
    """
    left, right = (importance_shares(strongest(each, k) * _importances(each)) for each in (first, second))
    return _overlap(left, right)


def _overlap(left: Floats, right: Floats) -> float:
    if left.shape != right.shape:
        raise InputError(
            f"both lists must be of the same features, however: their shapes are {left.shape} and {right.shape}"
        )
    sums = left.sum(), right.sum()
    return float(np.minimum(left, right).sum() / max(sums)) if min(sums) > 0 else math.nan


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


for _measure in (
    AgreementMeasure("kendall", "Kendall's tau-b", (-1.0, 1.0), lambda a, b, _k: kendall(a, b)),
    AgreementMeasure("spearman", "Spearman's rank correlation", (-1.0, 1.0), lambda a, b, _k: spearman(a, b)),
    AgreementMeasure("top_overlap", "share of the strongest features in common", (0.0, 1.0), top_overlap),
    AgreementMeasure("weighted_overlap", "overlap of importance shares", (0.0, 1.0), weighted_overlap),
):
    agreement_measures.register(_measure.name)(_measure)


def usual_k(features: int) -> int:
    """Return how many features count as the strongest: ten, but at most half of them.

    Examples:
        >>> usual_k(23), usual_k(8), usual_k(1)
        (10, 4, 1)
    """
    return max(1, min(10, features // 2))


# ---- between and within ----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Agreement:
    """How far two models rely on the same features.

    Attributes:
        value: Mean agreement of the two on different splits (on the same split where there is only one).
        spread: Standard deviation over those pairs of splits; NaN for one.
        within: Mean agreement of each model with itself on different splits; NaN for one split.
        ceiling: What two models that rely on the same features would reach, √(W_A W_B); NaN where that is undefined.
        gap: ``ceiling − value``: what the models themselves differ by.
        low, high: 95 % interval of the gap; NaN for fewer than three splits.
        splits: How many splits there are.
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
        """Whether the models differ by more than fitting one of them again does; None where that cannot be told."""
        return None if math.isnan(self.low) else self.low > 0


def agreement(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    measure: str = "kendall",
    *,
    k: int | None = None,
    train_rows: float = 1.0,
    test_rows: float = 0.0,
) -> Agreement:
    """Compare two models' importances over the same splits.

    Args:
        first: Importances of one model ``(splits, features)``, split by split.
        second: Those of the other, of the same splits and features.
        measure: A registered measure.
        k: How many features count as the strongest; None: ten, but at most half of them.
        train_rows: Training rows of a split, and ``test_rows`` its test rows: they say how much splits overlap. The
            default, no test rows, is for importances from independent samples.
        test_rows: See ``train_rows``.

    Raises:
        InputError: Shapes that differ, or numbers that are not finite.

    Examples:
        >>> same = agreement([[3, 2, 1], [3, 2, 1]], [[3, 2, 1], [3, 2, 1]])
        >>> same.value, same.ceiling, same.gap
        (1.0, 1.0, 0.0)
    """
    fix = "pass an array (splits, features)"
    left, right = as_numbers("first", first, fix), as_numbers("second", second, fix)
    if left.ndim != 2 or left.shape != right.shape or 0 in left.shape:
        raise InputError(
            "both models must have importances of shape (splits, features) for the same splits, however: "
            f"their shapes are {left.shape} and {right.shape}; {fix} for each"
        )
    check_number("train_rows", train_rows, "pass the number of training rows of a split", above_zero=True)
    check_number("test_rows", test_rows, "pass the number of test rows of a split")
    if k is not None:
        check_whole("k", k, "pass for example 10, or None")
    compute = agreement_measures.get(measure).compute
    strong = usual_k(left.shape[1]) if k is None else k
    # Every split of one with every split of the other: between the models, within the first, within the second.
    sides = ((left, right), (left, left), (right, right))
    tables = np.array([[[compute(one, two, strong) for two in theirs] for one in ours] for ours, theirs in sides])
    splits = len(left)
    if splits == 1:
        nan = math.nan
        return Agreement(float(tables[0, 0, 0]), nan, (nan, nan), nan, nan, nan, nan, 1)
    value, within, ceiling = _summary(tables, np.arange(splits))
    low, high = _gap_interval(tables, test_rows / train_rows)
    apart = tables[0][~np.eye(splits, dtype=bool)]
    defined = apart[np.isfinite(apart)]
    spread = float(defined.std(ddof=1)) if len(defined) > 1 else math.nan
    return Agreement(value, spread, within, ceiling, ceiling - value, low, high, splits)


def _summary(tables: Floats, splits: npt.NDArray[np.intp]) -> tuple[float, tuple[float, float], float]:
    """Return agreement, both within-agreements and the ceiling over some of the splits."""
    apart = ~np.eye(len(splits), dtype=bool)
    value, one, two = (_mean(table[np.ix_(splits, splits)][apart]) for table in tables)
    # A model that does not even agree with itself leaves nothing to agree with.
    ceiling = math.sqrt(one * two) if one > 0 and two > 0 else math.nan
    return value, (one, two), ceiling


def _mean(values: Floats) -> float:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else math.nan


def _gap_interval(tables: Floats, overlap: float) -> tuple[float, float]:
    from scipy import stats

    splits = tables.shape[1]
    if splits < FEWEST_SPLITS:
        return math.nan, math.nan

    def gap(rows: npt.NDArray[np.intp]) -> float:
        value, _, ceiling = _summary(tables, rows)
        return ceiling - value

    every_split = np.arange(splits)
    gaps = np.array([gap(np.delete(every_split, left_out)) for left_out in every_split])
    variance = (splits - 1) / splits * float(np.sum((gaps - gaps.mean()) ** 2)) * (1 + splits * overlap)
    width = float(stats.t.ppf(0.975, splits - 1)) * math.sqrt(variance)
    return gap(every_split) - width, gap(every_split) + width


def agreement_table(
    importances: Mapping[str, npt.ArrayLike],
    *,
    k: int | None = None,
    train_rows: float = 1.0,
    test_rows: float = 0.0,
) -> pd.DataFrame:
    """Compare every pair of models by every registered measure.

    Returns:
        One row per pair and measure: ``first, second, measure, agreement, spread, within_first, within_second, ceiling,
        gap, gap_low, gap_high, differs, splits``. Undefined is NaN, ``differs`` None.

    Examples:
        >>> table = agreement_table({"a": [[3, 2, 1], [3, 1, 2]], "b": [[1, 2, 3], [1, 2, 3]]})
        >>> sorted(set(table["measure"]))
        ['kendall', 'spearman', 'top_overlap', 'weighted_overlap']
    """
    if not isinstance(importances, Mapping):
        raise InputError(
            f"importances must map each model to an array (splits, features), however: importances="
            f"{shown(importances)}; pass for example {{'a': [[3, 2], [3, 1]], 'b': [[1, 2], [1, 3]]}}"
        )
    rows = []
    for first, second in itertools.combinations(importances, 2):
        for measure in agreement_measures:
            pair = (importances[first], importances[second])
            one = agreement(*pair, measure, k=k, train_rows=train_rows, test_rows=test_rows)
            gap = (one.gap, one.low, one.high, one.differs)
            rows.append((first, second, measure, one.value, one.spread, *one.within, one.ceiling, *gap, one.splits))
    columns = ["first", "second", "measure", "agreement", "spread", "within_first", "within_second", "ceiling"]
    frame = pd.DataFrame(rows, columns=[*columns, "gap", "gap_low", "gap_high", "differs", "splits"])
    return frame.astype({"differs": object})
