"""The benchmark's metrics: the meaning, direction and range of each number in
``results.csv``.

A metric's name may have a variant after a colon: ``share:image1`` is the metric
``share`` of ``image1``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from permgrad.base.arrays import Array, Booleans, Floats
from permgrad.base.registry import Registry
from permgrad.evaluation.measures import removal_curves
from permgrad.evaluation.ranking import (
    among_largest,
    importance_shares,
    kendall,
    pair_of,
)


# ---- against the truth ---------------------------------------------------------------
def share_error(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> float:
    """Root mean square difference of importance shares: 0 is right, at most √(2 /
    features).
    """
    left, right = pair_of(truth, estimate)
    return float(
        np.sqrt(np.mean((importance_shares(left) - importance_shares(right)) ** 2))
    )


def relative_error(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> float:
    """Return the error of importance shares as a per cent of the true shares, each as a
    root mean square.
    """
    return (
        100
        * share_error(truth, estimate)
        / float(np.sqrt(np.mean(importance_shares(truth) ** 2)))
    )


def relevance_auc(truth: npt.ArrayLike, estimate: npt.ArrayLike) -> float:
    """Chance that a relevant feature (true importance above 0) is ranked above an
    irrelevant one. Ties count half.

    How important a feature is does not matter. NaN if all features are relevant, or
    none.
    """
    left, right = pair_of(truth, estimate)
    relevant, irrelevant = right[left > 0], right[left <= 0]
    if not len(relevant) or not len(irrelevant):
        return math.nan
    return float(np.mean((np.sign(relevant[:, None] - irrelevant[None, :]) + 1) / 2))


def top_k_recovery(
    truth: npt.ArrayLike, estimate: npt.ArrayLike, k: int | None = None
) -> float:
    """Share of the ``k`` largest estimates that belong to the truth's.

    None: as many as are above 0, NaN for none.

    Ties at the edge of the estimate's top k are averaged over all ways of breaking
    them. Features tied at the edge of the truth's top k all count as part of it, so
    that a perfect estimate always gets 1.
    """
    left, right = pair_of(truth, estimate)
    if k is None:
        k = int(np.sum(left > 0))
        if k == 0:
            return math.nan
    among = among_largest(right, k)
    return float(np.sum(among[left >= np.sort(left)[-k]]) / k)


# ---- calling features relevant -------------------------------------------------------
def discoveries(p_values: npt.ArrayLike, level: float = 0.05) -> Booleans:
    """Call features relevant at a rate of false discoveries (Benjamini & Hochberg
    1995). NaN is never called.
    """
    return np.asarray(
        stats.false_discovery_control(np.nan_to_num(np.asarray(p_values), nan=1.0))
        <= level
    )


def false_discovery_rate(relevant: Booleans, called: Booleans) -> float:
    """Return the share of irrelevant features among those called relevant.

    0 if none is called.
    """
    return float(np.mean(~relevant[called])) if called.any() else 0.0


def power(relevant: Booleans, called: Booleans) -> float:
    """Return the share of relevant features that are called.

    NaN if none is relevant.
    """
    return float(np.mean(called[relevant])) if relevant.any() else math.nan


def interval_coverage(
    truth: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike
) -> float:
    """Return the share of the defined intervals that hold the truth, ends included.

    NaN if none is defined.
    """
    true, lower, upper = (
        np.asarray(values, dtype=np.float64) for values in (truth, low, high)
    )
    defined = np.isfinite(lower) & np.isfinite(upper)
    return (
        float(np.mean(((lower <= true) & (true <= upper))[defined]))
        if defined.any()
        else math.nan
    )


# ---- repetitions ---------------------------------------------------------------------
def mean_kendall(importances: npt.ArrayLike) -> float:
    """Return the mean Kendall's tau-b over pairs of repetitions ``(repetitions,
    features)``. NaN where undefined.
    """
    pairs = itertools.combinations(np.asarray(importances, dtype=np.float64), 2)
    taus = np.array([kendall(one, two) for one, two in pairs])
    return float(np.nanmean(taus)) if np.isfinite(taus).any() else math.nan


def share_spread(importances: npt.ArrayLike) -> float:
    """Return the root mean square over features of the standard deviation of shares
    over repetitions.
    """
    shares = np.stack(
        [importance_shares(row) for row in np.asarray(importances, dtype=np.float64)]
    )
    return float(np.sqrt(np.mean(shares.var(axis=0, ddof=1))))


def bias_and_variance(
    true_shares: npt.ArrayLike, shares: npt.ArrayLike
) -> tuple[Floats, Floats]:
    """Split the error of shares ``(repetitions, features)``: mean square error = bias²
    + variance, ``(features,)``.
    """
    values = np.asarray(shares, dtype=np.float64)
    return values.mean(axis=0) - np.asarray(true_shares, dtype=np.float64), values.var(
        axis=0
    )


# ---- curves --------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Curves:
    """Mean loss with the 0, 1, …, P most important features replaced (deletion) or
    alone left (insertion).
    """

    deletion: Floats
    insertion: Floats

    @property
    def deletion_area(self) -> float:
        """Mean of the deletion curve between its ends as 0 and 1: higher is better.

        NaN where nothing changes.
        """
        return _area(self.deletion, self.deletion[0], self.deletion[-1])

    @property
    def insertion_area(self) -> float:
        """Mean of the insertion curve between complete and empty as 0 and 1: lower is
        better. NaN as above.
        """
        return _area(self.insertion, self.insertion[-1], self.insertion[0])


def _area(curve: Floats, zero: float, one: float) -> float:
    return (
        math.nan
        if one == zero
        else float(np.mean(((curve[1:] + curve[:-1]) / 2 - zero) / (one - zero)))
    )


def faithfulness_curves(
    loss: Callable[[Array], Floats],
    rows: Array,
    donors: Array,
    columns: Mapping[str, npt.NDArray[np.intp]],
    ranking: Sequence[str],
) -> Curves:
    """Compute both curves of a ranking.

    ``loss`` takes edited rows, replaced features come from ``donors``.

    Source: Petsiuk et al. 2018 (RISE, arXiv 1806.07421), who replace by constants. A
    curve favours methods that replace alike, and blurry maps: it tells whether a
    ranking fits this network, not whether an importance is true.
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


_INFINITE = math.inf


@dataclass(frozen=True)
class BenchmarkMetric:
    """How to read a number.

    Attributes:
        name: Its name in ``results.csv``, up to a colon.
        label: Its name for people.
        direction: Whether ``"higher"`` or ``"lower"`` is better. ``"none"``: neither.
            ``"nominal"``: nearest to ``nominal`` is best.
        range: Smallest and largest possible value.
        ranks_across: Whether methods that estimate different quantities may be ranked
            by it. Only measures of relevant against irrelevant features may, and costs;
            the others are fair among methods of one estimand only.
        nominal: The value aimed at, where ``direction`` is ``"nominal"``.
        note: A caveat, in a sentence.
    """

    name: str
    label: str
    direction: Literal["higher", "lower", "none", "nominal"]
    range: tuple[float, float]
    ranks_across: bool = False
    nominal: float | None = None
    note: str = ""

    def better(self, left: float, right: float) -> bool:
        """Say whether ``left`` is strictly better than ``right``.

        A fact is never better.
        """
        if self.direction == "higher":
            return left > right
        if self.direction == "lower":
            return left < right
        if self.direction == "nominal" and self.nominal is not None:
            return abs(left - self.nominal) < abs(right - self.nominal)
        return False

    def facts(self) -> dict[str, Any]:
        """Return what ``results.json`` and the page say of it.

        An open end of the range is None.
        """
        ends = [end if math.isfinite(end) else None for end in self.range]
        return {name: value for name, value in vars(self).items() if name != "name"} | {
            "range": ends
        }


benchmark_metrics: Registry[BenchmarkMetric] = Registry("benchmark metric")


def metric_named(name: str) -> BenchmarkMetric:
    """Return the metric of a name in ``results.csv``, without its variant."""
    return benchmark_metrics.get(name.split(":", maxsplit=1)[0])


_RELEVANCE = "told relevant from irrelevant features, whatever the method estimates"

for _metric in (
    BenchmarkMetric(
        "share",
        "share",
        "none",
        (0.0, 1.0),
        note="importance clipped at 0, divided by the sum",
    ),
    BenchmarkMetric("truth_share", "true share", "none", (0.0, 1.0)),
    BenchmarkMetric("accuracy", "test accuracy of the network", "higher", (0.0, 1.0)),
    BenchmarkMetric(
        "r_squared",
        "R² of the network against the noiseless function",
        "higher",
        (-_INFINITE, 1.0),
    ),
    BenchmarkMetric(
        "share_error", "error of importance shares", "lower", (0.0, math.sqrt(2.0))
    ),
    BenchmarkMetric(
        "relative_error",
        "relative error of importance shares, %",
        "lower",
        (0.0, _INFINITE),
        note="root mean square error as a per cent of the true shares' root mean "
        "square",
    ),
    BenchmarkMetric(
        "spearman",
        "Spearman's rank correlation",
        "higher",
        (-1.0, 1.0),
        note="ties at their mean rank",
    ),
    BenchmarkMetric(
        "kendall", "Kendall's tau-b", "higher", (-1.0, 1.0), note="corrected for ties"
    ),
    BenchmarkMetric(
        "top_k",
        "relevant among the top k",
        "higher",
        (0.0, 1.0),
        ranks_across=True,
        note=_RELEVANCE,
    ),
    BenchmarkMetric(
        "auc",
        "AUC, relevant or not",
        "higher",
        (0.0, 1.0),
        ranks_across=True,
        note=_RELEVANCE,
    ),
    BenchmarkMetric(
        "false_discovery_rate",
        "false discoveries",
        "lower",
        (0.0, 1.0),
        ranks_across=True,
        note="share of irrelevant features among those called relevant; 0 if none is "
        "called",
    ),
    BenchmarkMetric(
        "power",
        "power",
        "higher",
        (0.0, 1.0),
        ranks_across=True,
        note="share of relevant features called relevant, at the stated control of "
        "false discoveries",
    ),
    BenchmarkMetric(
        "interval_coverage",
        "coverage of 95 % intervals",
        "nominal",
        (0.0, 1.0),
        nominal=0.95,
    ),
    BenchmarkMetric("completeness_gap", "completeness gap", "lower", (0.0, _INFINITE)),
    BenchmarkMetric(
        "seconds", "run time in seconds", "lower", (0.0, _INFINITE), ranks_across=True
    ),
    BenchmarkMetric(
        "model_rows",
        "rows of the network evaluated",
        "lower",
        (0.0, _INFINITE),
        ranks_across=True,
    ),
    BenchmarkMetric(
        "stability_kendall",
        "Kendall's tau between repetitions",
        "higher",
        (-1.0, 1.0),
        ranks_across=True,
    ),
    BenchmarkMetric(
        "stability_spread",
        "spread of shares over repetitions",
        "lower",
        (0.0, 1.0),
        ranks_across=True,
    ),
    BenchmarkMetric(
        "deletion",
        "deletion curve",
        "higher",
        (-_INFINITE, _INFINITE),
        ranks_across=True,
        note="favours methods that probe in the way the curve does, and blurry maps; "
        "not a measure of truth",
    ),
    BenchmarkMetric(
        "insertion",
        "insertion curve",
        "lower",
        (-_INFINITE, _INFINITE),
        ranks_across=True,
        note="favours methods that probe in the way the curve does, and blurry maps; "
        "not a measure of truth",
    ),
    BenchmarkMetric(
        "randomised",
        "likeness to the explanation of a randomised model",
        "lower",
        (-1.0, 1.0),
        ranks_across=True,
        note="Spearman's correlation; an explanation that survives the loss of what "
        "was learnt explains something else",
    ),
):
    benchmark_metrics.register(_metric.name)(_metric)
