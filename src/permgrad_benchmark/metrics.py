"""The benchmark's metrics: the meaning, direction and range of each number in ``results.csv``.

A metric's name may have a variant after a colon: ``share:image1`` is the metric ``share`` of ``image1``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from permgrad.base.registry import Registry

_INFINITE = math.inf


@dataclass(frozen=True)
class BenchmarkMetric:
    """How to read a number.

    Attributes:
        name: Its name in ``results.csv``, up to a colon.
        label: Its name for people.
        direction: Whether ``"higher"`` or ``"lower"`` is better. ``"none"``: neither. ``"nominal"``: nearest
            to ``nominal`` is best.
        range: Smallest and largest possible value.
        ranks_across: Whether methods that estimate different quantities may be ranked by it. Only measures of relevant
            against irrelevant features may, and costs; the others are fair among methods of one estimand only.
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
        """Say whether ``left`` is strictly better than ``right``. A fact is never better."""
        if self.direction == "higher":
            return left > right
        if self.direction == "lower":
            return left < right
        if self.direction == "nominal" and self.nominal is not None:
            return abs(left - self.nominal) < abs(right - self.nominal)
        return False

    def facts(self) -> dict[str, Any]:
        """Return what ``results.json`` and the page say of it. An open end of the range is None."""
        ends = [end if math.isfinite(end) else None for end in self.range]
        return {name: value for name, value in vars(self).items() if name != "name"} | {"range": ends}


benchmark_metrics: Registry[BenchmarkMetric] = Registry("benchmark metric")


def metric_named(name: str) -> BenchmarkMetric:
    """Return the metric of a name in ``results.csv``, without its variant."""
    return benchmark_metrics.get(name.split(":", maxsplit=1)[0])


_RELEVANCE = "told relevant from irrelevant features, whatever the method estimates"

for _metric in (
    BenchmarkMetric("share", "share", "none", (0.0, 1.0), note="importance clipped at 0, divided by the sum"),
    BenchmarkMetric("truth_share", "true share", "none", (0.0, 1.0)),
    BenchmarkMetric("accuracy", "test accuracy of the network", "higher", (0.0, 1.0)),
    BenchmarkMetric("r_squared", "R² of the network against the noiseless function", "higher", (-_INFINITE, 1.0)),
    BenchmarkMetric("share_error", "error of importance shares", "lower", (0.0, math.sqrt(2.0))),
    BenchmarkMetric(
        "relative_error", "relative error of importance shares, %", "lower", (0.0, _INFINITE),
        note="root mean square error as a per cent of the true shares' root mean square",
    ),
    BenchmarkMetric("spearman", "Spearman's rank correlation", "higher", (-1.0, 1.0), note="ties at their mean rank"),
    BenchmarkMetric("kendall", "Kendall's tau-b", "higher", (-1.0, 1.0), note="corrected for ties"),
    BenchmarkMetric("top_k", "relevant among the top k", "higher", (0.0, 1.0), ranks_across=True, note=_RELEVANCE),
    BenchmarkMetric("auc", "AUC, relevant or not", "higher", (0.0, 1.0), ranks_across=True, note=_RELEVANCE),
    BenchmarkMetric(
        "false_discovery_rate", "false discoveries", "lower", (0.0, 1.0), ranks_across=True,
        note="share of irrelevant features among those called relevant; 0 if none is called",
    ),
    BenchmarkMetric(
        "power", "power", "higher", (0.0, 1.0), ranks_across=True,
        note="share of relevant features called relevant, at the stated control of false discoveries",
    ),
    BenchmarkMetric("interval_coverage", "coverage of 95 % intervals", "nominal", (0.0, 1.0), nominal=0.95),
    BenchmarkMetric("completeness_gap", "completeness gap", "lower", (0.0, _INFINITE)),
    BenchmarkMetric("seconds", "run time in seconds", "lower", (0.0, _INFINITE), ranks_across=True),
    BenchmarkMetric("model_rows", "rows of the network evaluated", "lower", (0.0, _INFINITE), ranks_across=True),
    BenchmarkMetric("stability_kendall", "Kendall's tau between repetitions", "higher", (-1.0, 1.0), ranks_across=True),
    BenchmarkMetric("stability_spread", "spread of shares over repetitions", "lower", (0.0, 1.0), ranks_across=True),
    BenchmarkMetric(
        "deletion", "deletion curve", "higher", (-_INFINITE, _INFINITE), ranks_across=True,
        note="favours methods that probe in the way the curve does, and blurry maps; not a measure of truth",
    ),
    BenchmarkMetric(
        "insertion", "insertion curve", "lower", (-_INFINITE, _INFINITE), ranks_across=True,
        note="favours methods that probe in the way the curve does, and blurry maps; not a measure of truth",
    ),
    BenchmarkMetric(
        "randomised", "likeness to the explanation of a randomised model", "lower", (-1.0, 1.0), ranks_across=True,
        note="Spearman's correlation; an explanation that survives the loss of what was learnt explains something else",
    ),
):  # fmt: skip
    benchmark_metrics.register(_metric.name)(_metric)
