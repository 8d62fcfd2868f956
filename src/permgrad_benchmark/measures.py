"""Measures of explanations: errors against a known truth, what is called relevant, stability, bias, curves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from permgrad.base.arrays import Array, Booleans, Floats
from permgrad.evaluation.measures import removal_curves
from permgrad.evaluation.ranking import among_largest, importance_shares, kendall, pair_of


# ---- against the truth ----------------------------------------------------------------------------------------------
def share_error(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> float:
    """Root mean square difference of importance shares: 0 is right, at most √(2 / features)."""
    left, right = pair_of(truth, estimate)
    return float(np.sqrt(np.mean((importance_shares(left) - importance_shares(right)) ** 2)))


def relative_error(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> float:
    """Return the error of importance shares as a per cent of the true shares, each as a root mean square."""
    return 100 * share_error(truth, estimate) / float(np.sqrt(np.mean(importance_shares(truth) ** 2)))


def relevance_auc(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> float:
    """Chance that a relevant feature (true importance above 0) is ranked above an irrelevant one. Ties count half.

    How important a feature is does not matter. NaN if all features are relevant, or none.
    """
    left, right = pair_of(truth, estimate)
    relevant, irrelevant = right[left > 0], right[left <= 0]
    if not len(relevant) or not len(irrelevant):
        return math.nan
    return float(np.mean((np.sign(relevant[:, None] - irrelevant[None, :]) + 1) / 2))


def top_k_recovery(truth: npt.ArrayLike, estimate: npt.ArrayLike, k: int | None = None) -> float:
    """Share of the ``k`` largest estimates that belong to the truth's. None: as many as are above 0, NaN for none.

    Ties at the edge of the estimate's top k are averaged over all ways of breaking them. Features tied at the edge of
    the truth's top k all count as part of it, so that a perfect estimate always gets 1.
    """
    left, right = pair_of(truth, estimate)
    if k is None:
        k = int(np.sum(left > 0))
        if k == 0:
            return math.nan
    among = among_largest(right, k)
    return float(np.sum(among[left >= np.sort(left)[-k]]) / k)


# ---- calling features relevant ---------------------------------------------------------------------------------------
def discoveries(p_values: npt.ArrayLike, level: float = 0.05) -> Booleans:
    """Call features relevant at a rate of false discoveries (Benjamini & Hochberg 1995). NaN is never called."""
    return np.asarray(stats.false_discovery_control(np.nan_to_num(np.asarray(p_values), nan=1.0)) <= level)


def false_discovery_rate(relevant: Booleans, called: Booleans) -> float:
    """Return the share of irrelevant features among those called relevant. 0 if none is called."""
    return float(np.mean(~relevant[called])) if called.any() else 0.0


def power(relevant: Booleans, called: Booleans) -> float:
    """Return the share of relevant features that are called. NaN if none is relevant."""
    return float(np.mean(called[relevant])) if relevant.any() else math.nan


def interval_coverage(truth: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike) -> float:
    """Return the share of the defined intervals that hold the truth, ends included. NaN if none is defined."""
    true, lower, upper = (np.asarray(values, dtype=np.float64) for values in (truth, low, high))
    defined = np.isfinite(lower) & np.isfinite(upper)
    return float(np.mean(((lower <= true) & (true <= upper))[defined])) if defined.any() else math.nan


# ---- repetitions -----------------------------------------------------------------------------------------------------
def mean_kendall(importances: npt.ArrayLike) -> float:
    """Return the mean Kendall's tau-b over pairs of repetitions ``(repetitions, features)``. NaN where undefined."""
    pairs = itertools.combinations(np.asarray(importances, dtype=np.float64), 2)
    taus = np.array([kendall(one, two) for one, two in pairs])
    return float(np.nanmean(taus)) if np.isfinite(taus).any() else math.nan


def share_spread(importances: npt.ArrayLike) -> float:
    """Return the root mean square over features of the standard deviation of shares over repetitions."""
    shares = np.stack([importance_shares(row) for row in np.asarray(importances, dtype=np.float64)])
    return float(np.sqrt(np.mean(shares.var(axis=0, ddof=1))))


def bias_and_variance(true_shares: npt.ArrayLike, shares: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Split the error of shares ``(repetitions, features)``: mean square error = bias² + variance, ``(features,)``."""
    values = np.asarray(shares, dtype=np.float64)
    return values.mean(axis=0) - np.asarray(true_shares, dtype=np.float64), values.var(axis=0)


# ---- curves ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Curves:
    """Mean loss with the 0, 1, …, P most important features replaced (deletion) or alone left (insertion)."""

    deletion: Floats
    insertion: Floats

    @property
    def deletion_area(self) -> float:
        """Mean of the deletion curve between its ends as 0 and 1: higher is better. NaN where nothing changes."""
        return _area(self.deletion, self.deletion[0], self.deletion[-1])

    @property
    def insertion_area(self) -> float:
        """Mean of the insertion curve between complete and empty as 0 and 1: lower is better. NaN as above."""
        return _area(self.insertion, self.insertion[-1], self.insertion[0])


def _area(curve: Floats, zero: float, one: float) -> float:
    return math.nan if one == zero else float(np.mean(((curve[1:] + curve[:-1]) / 2 - zero) / (one - zero)))


def faithfulness_curves(
    loss: Callable[[Array], Floats],
    rows: Array,
    donors: Array,
    columns: Mapping[str, npt.NDArray[np.intp]],
    ranking: Sequence[str],
) -> Curves:
    """Compute both curves of a ranking. ``loss`` takes edited rows, replaced features come from ``donors``.

    Source: Petsiuk et al. 2018 (RISE, arXiv 1806.07421), who replace by constants. A curve favours methods that replace
    alike, and blurry maps: it tells whether a ranking fits this network, not whether an importance is true.
    """

    def value(replaced: Booleans) -> Floats:
        edited = rows.copy()
        # Every row loses the same features.
        for name, lost in zip(ranking, replaced[0], strict=True):
            if lost:
                edited[:, columns[name]] = donors[:, columns[name]]
        return np.asarray(loss(edited), dtype=np.float64)

    curves = removal_curves(value, np.tile(np.arange(len(ranking)), (len(rows), 1)))
    return Curves(curves.deletion.mean(axis=0), curves.insertion.mean(axis=0))
