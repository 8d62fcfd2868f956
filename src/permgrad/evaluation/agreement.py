"""Test whether two models rely on the same features.

Importances of model A on split i are compared with those of B on *another* split j, and in the same way within A and
within B. Two models that rely on the same features agree by about √(W_A W_B), the *ceiling* (Spearman 1904). The
interval of the gap below it is a jackknife over splits (Efron 1982), widened by the factor of Nadeau & Bengio (2003),
1 + J · test rows / training rows. NOTE[DIFF]: both describe plain means. Here it is a mean over pairs of splits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.arrays import Floats
from permgrad.base.significance import t_quantile
from permgrad.evaluation.ranking import kendall, spearman, top_overlap, usual_k, weighted_overlap

#: Symmetric comparisons of two lists of importances and their ``k`` strongest features. 1 is full agreement.
MEASURES: dict[str, Callable[[npt.ArrayLike, npt.ArrayLike, int], float]] = {
    "kendall": lambda first, second, _: kendall(first, second),
    "spearman": lambda first, second, _: spearman(first, second),
    "top_overlap": top_overlap,
    "weighted_overlap": weighted_overlap,
}
#: Fewest splits for an interval of the gap: without one of them, two must remain to compare.
FEWEST_SPLITS = 3


@dataclass(frozen=True)
class Agreement:
    """Mean agreement of two models on different splits, its spread, the agreement ``within`` each, and the ``ceiling``.

    ``gap`` is the ceiling minus the value, the difference caused by the models, with its 95 % interval. Numbers that
    need more splits are NaN.
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
        """Whether the models differ by more than two fits of one model, or None if there are too few splits."""
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
    """Compare two models' importances ``(splits, features)`` of the same splits. The default ``k`` is ``usual_k``.

    Training and test rows of a split describe how much splits overlap. The default is for independent samples.
    """
    left, right = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    strong = usual_k(left.shape[1]) if k is None else k
    compute, splits = MEASURES[measure], len(left)
    # Every split of one with every split of the other: between the models, within the first, within the second.
    sides = ((left, right), (left, left), (right, right))
    tables = np.array([[[compute(one, two, strong) for two in theirs] for one in ours] for ours, theirs in sides])
    if splits == 1:
        nan = math.nan
        return Agreement(float(tables[0, 0, 0]), nan, (nan, nan), nan, nan, nan, nan, 1)
    value, within, ceiling = _summary(tables, np.arange(splits))
    gap, low, high = ceiling - value, math.nan, math.nan
    if splits >= FEWEST_SPLITS:
        without = [_summary(tables, np.delete(np.arange(splits), left_out)) for left_out in range(splits)]
        gaps = np.array([partial_ceiling - partial for partial, _, partial_ceiling in without])
        widened = 1 + splits * test_rows / train_rows
        variance = (splits - 1) / splits * float(np.sum((gaps - gaps.mean()) ** 2)) * widened
        width = float(t_quantile(0.975, splits - 1)) * math.sqrt(variance)
        low, high = gap - width, gap + width
    apart = tables[0][~np.eye(splits, dtype=bool)]
    spread = float(pd.Series(apart[np.isfinite(apart)]).std())
    return Agreement(value, spread, within, ceiling, gap, low, high, splits)


def _summary(tables: Floats, splits: npt.NDArray[np.intp]) -> tuple[float, tuple[float, float], float]:
    """Return agreement, both within-agreements and the ceiling over some of the splits."""
    apart = ~np.eye(len(splits), dtype=bool)
    pairs = [table[np.ix_(splits, splits)][apart] for table in tables]
    value, one, two = (float(pd.Series(each[np.isfinite(each)]).mean()) for each in pairs)
    # There is no ceiling if a model does not agree with itself.
    ceiling = math.sqrt(one * two) if one > 0 and two > 0 else math.nan
    return value, (one, two), ceiling


def agreement_table(
    importances: Mapping[str, npt.ArrayLike], *, k: int | None = None, train_rows: float = 1.0, test_rows: float = 0.0
) -> pd.DataFrame:
    """Compare every pair of models by every measure, one line each. Undefined numbers are NaN."""
    rows = []
    for (first, left), (second, right) in itertools.combinations(importances.items(), 2):
        for measure in MEASURES:
            one = agreement(left, right, measure, k=k, train_rows=train_rows, test_rows=test_rows)
            gap = (one.gap, one.low, one.high, one.differs)
            rows.append((first, second, measure, one.value, one.spread, *one.within, one.ceiling, *gap, one.splits))
    columns = ["first", "second", "measure", "agreement", "spread", "within_first", "within_second", "ceiling"]
    frame = pd.DataFrame(rows, columns=[*columns, "gap", "gap_low", "gap_high", "differs", "splits"])
    return frame.astype({"differs": object})
