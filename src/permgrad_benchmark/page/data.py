"""The benchmark's table of results, arranged for its page: methods in order, means over
seeds, who is best.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.errors import InputError
from permgrad.base.numerals import compact
from permgrad_benchmark.metrics import BenchmarkMetric, benchmark_metrics, metric_named
from permgrad_benchmark.records import ANY
from permgrad_benchmark.standing import standings

TRUTH, NETWORK, ORACLE = "truth", "network", "oracle:"


@dataclass(frozen=True)
class SuiteResults:
    """One suite's part of ``results.csv``, and what it says of itself: title,
    functions, contestants, estimands.
    """

    name: str
    frame: pd.DataFrame
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """A line for people."""
        return str(self.facts.get("title") or self.name)

    @cached_property
    def functions(self) -> list[str]:
        """Known functions in the suite's order."""
        return _ordered(self.frame["function"], self.facts.get("functions", ()))

    @cached_property
    def seeds(self) -> list[int]:
        """Seeds in order."""
        return sorted({int(seed) for seed in self.frame["seed"]})

    @cached_property
    def methods(self) -> list[str]:
        """Contestants in the suite's order, without the truth, the network and the
        oracles.
        """
        names = [
            name
            for name in self.frame["method"]
            if name not in (TRUTH, NETWORK) and not name.startswith(ORACLE)
        ]
        return _ordered(names, self.contestants)

    @property
    def contestants(self) -> Mapping[str, Mapping[str, Any]]:
        """What the suite says of each method: label, estimand, kind, note."""
        by_name: Mapping[str, Mapping[str, Any]] = self.facts.get("contestants", {})
        return by_name

    @cached_property
    def estimands(self) -> list[str]:
        """Truths that methods are compared with, in the suite's order."""
        names = [name for name in self.frame["estimand"] if name != ANY]
        return _ordered(names, self.facts.get("estimands", {}))

    def label(self, method: str) -> str:
        """Return a method's name for people."""
        if method.startswith(ORACLE):
            return f"{self.label(method.removeprefix(ORACLE))}, oracle"
        return str(self.contestants.get(method, {}).get("label") or method)

    def own_estimand(self, method: str) -> str:
        """Return the truth that a method estimates. ``"any"`` if it states none."""
        return str(self.contestants.get(method, {}).get("estimand", ANY))

    def select(self, metric: str, **fixed: str) -> pd.DataFrame:
        """Return the rows of a metric, and of a method, function or estimand if
        given.
        """
        records = self._by_metric.get(metric, self.frame[:0])
        for column, value in fixed.items():
            records = records[records[column] == value]
        return records

    @cached_property
    def _by_metric(self) -> dict[str, pd.DataFrame]:
        """The rows of each metric: a page asks for thousands of selections."""
        return {
            str(name): records
            for name, records in self.frame.groupby("metric", sort=False)
        }

    def cells(self, metric: str, method: str, estimand: str) -> pd.Series[Any]:
        """Return a method's values by (function, seed)."""
        records = self.select(metric, method=method, estimand=estimand)
        return records.groupby(["function", "seed"])["value"].mean()

    def metrics(self) -> list[tuple[str, BenchmarkMetric]]:
        """Return the metrics that occur, by name, in the registry's order, each
        followed by its variants.
        """
        present = list(dict.fromkeys(str(name) for name in self.frame["metric"]))
        return [
            (name, benchmark_metrics.get(candidate))
            for candidate in benchmark_metrics
            for name in sorted(present)
            if name.partition(":")[0] == candidate
        ]


def suites_of(frame: pd.DataFrame, facts: Mapping[str, Any]) -> list[SuiteResults]:
    """Divide the results by suite."""
    for name in dict.fromkeys(frame["metric"]):
        metric_named(str(name))  # an unknown metric has no direction to be read by
    described = facts.get("suites", {})
    return [
        SuiteResults(str(name), records.reset_index(drop=True), described.get(name, {}))
        for name, records in frame.groupby("suite", sort=False)
    ]


def out_of_range(frame: pd.DataFrame) -> list[str]:
    """Name metrics with values outside their range, which must be faulty."""
    sentences = []
    for name, records in frame.groupby(
        frame["metric"].str.partition(":")[0], sort=False
    ):
        metric = metric_named(str(name))
        low, high = metric.range
        values = records["value"].to_numpy(dtype=np.float64)
        # Sums of shares and rank correlations are rounded like everything else.
        wrong = int(np.sum((values < low - 1e-9) | (values > high + 1e-9)))
        if wrong:
            sentences.append(
                f"{wrong} of {len(values)} values of {metric.label} lie outside its "
                f"range {ends(metric)}."
            )
    return sentences


def metric_label(name: str) -> str:
    """Return a metric's name for people, with its variant."""
    variant = name.partition(":")[2]
    return metric_named(name).label + (f" ({variant})" if variant else "")


def ends(metric: BenchmarkMetric) -> str:
    """Write a metric's range."""
    low, high = metric.range
    if math.isinf(low) and math.isinf(high):
        return "any number"
    if math.isinf(high):
        return f"from {compact(low)}"
    return (
        f"up to {compact(high)}"
        if math.isinf(low)
        else f"{compact(low)} to {compact(high)}"
    )


def leaders(
    suite: SuiteResults, name: str, methods: Iterable[str], estimand: str
) -> tuple[str | None, list[str]]:
    """Return the best method on a metric, and those without a significant difference
    from it.

    The rule is that of ``permgrad_benchmark.standing``: seeds are averaged, functions
    are the sample. Of a single function nothing can be said.
    """
    try:
        table = standings(suite.frame, name, list(methods), estimand)
    except (
        InputError
    ):  # a fact without better or worse, or no function that all of them have
        return None, []
    level = (
        table["method"][table["level"]].tolist()[1:]
        if int(table["functions"].iloc[0]) > 1
        else []
    )
    return str(table["method"].iloc[0]), [str(method) for method in level]


def best_first(metric: BenchmarkMetric, means: Mapping[str, float]) -> list[str]:
    """Return names by falling quality, undefined last.

    A metric that states a fact keeps their order.
    """

    def key(name: str) -> float:
        value = means[name]
        if math.isnan(value):
            return math.inf
        if metric.direction == "nominal" and metric.nominal is not None:
            return abs(value - metric.nominal)
        return {"higher": -value, "lower": value}.get(metric.direction, 0.0)

    return sorted(means, key=key)


def _ordered(present: Any, wanted: Any) -> list[str]:
    names = list(dict.fromkeys(str(name) for name in present))
    order = [str(name) for name in wanted]
    return [name for name in order if name in names] + [
        name for name in names if name not in order
    ]
