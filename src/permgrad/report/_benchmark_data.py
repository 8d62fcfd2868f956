"""The benchmark's table of results, arranged for its page: methods in order, means over seeds, who is best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad._errors import InputError
from permgrad.evaluation.benchmark.metrics import BenchmarkMetric, benchmark_metrics, metric_named
from permgrad.evaluation.benchmark.records import ANY, COLUMNS

TRUTH, NETWORK, ORACLE = "truth", "network", "oracle:"
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SuiteResults:
    """One suite's part of ``results.csv``.

    Attributes:
        name: of the suite.
        frame: its rows.
        facts: what the suite says of itself: title, functions, contestants, estimands.
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
        """Contestants in the suite's order, without the truth, the network and the oracles."""
        names = [name for name in self.frame["method"] if name not in (TRUTH, NETWORK) and not name.startswith(ORACLE)]
        return _ordered(names, self.contestants)

    @property
    def contestants(self) -> Mapping[str, Mapping[str, Any]]:
        """What the suite says of each method: label, estimand, kind, note."""
        found: Mapping[str, Mapping[str, Any]] = self.facts.get("contestants", {})
        return found

    @cached_property
    def estimands(self) -> list[str]:
        """Truths that methods are held against, in the suite's order."""
        names = [name for name in self.frame["estimand"] if name != ANY]
        return _ordered(names, self.facts.get("estimands", {}))

    def label(self, method: str) -> str:
        """Return a method's name for people."""
        if method.startswith(ORACLE):
            return f"{self.label(method.removeprefix(ORACLE))}, oracle"
        return str(self.contestants.get(method, {}).get("label") or method)

    def own_estimand(self, method: str) -> str:
        """Return the truth that a method estimates; ``"any"`` if it states none."""
        return str(self.contestants.get(method, {}).get("estimand", ANY))

    def select(self, metric: str, **fixed: str) -> pd.DataFrame:
        """Return the rows of a metric, and of a method, function or estimand if given."""
        if "method" in fixed:
            found = self._by_method.get((metric, fixed.pop("method")), self.frame[:0])
        else:
            found = self._by_metric.get(metric, self.frame[:0])
        for column, value in fixed.items():
            found = found[found[column] == value]
        return found

    @cached_property
    def _by_metric(self) -> dict[str, pd.DataFrame]:
        """The rows of each metric: a page asks for thousands of selections."""
        return {str(name): own for name, own in self.frame.groupby("metric", sort=False)}

    @cached_property
    def _by_method(self) -> dict[tuple[str, str], pd.DataFrame]:
        groups = self.frame.groupby(["metric", "method"], sort=False)
        return {(str(metric), str(method)): own for (metric, method), own in groups}

    def cells(self, metric: str, method: str, estimand: str) -> pd.Series[Any]:
        """Return a method's values by (function, seed)."""
        own = self.select(metric, method=method, estimand=estimand)
        return own.groupby(["function", "seed"])["value"].mean()

    def metrics(self) -> list[BenchmarkMetric]:
        """Return the metrics that occur, in the registry's order."""
        present = {name.partition(":")[0] for name in self.frame["metric"]}
        return [benchmark_metrics.get(name) for name in benchmark_metrics if name in present]


def suites_of(frame: pd.DataFrame, facts: Mapping[str, Any]) -> list[SuiteResults]:
    """Divide the results by suite.

    Raises:
        InputError: The frame is no table of results.
    """
    if list(frame.columns) != list(COLUMNS):
        raise InputError(
            f"results must have the columns {', '.join(COLUMNS)}, however: {', '.join(map(str, frame.columns))}"
        )
    for name in dict.fromkeys(frame["metric"]):
        metric_named(str(name))  # an unknown metric has no direction to be read by
    described = facts.get("suites", {})
    return [
        SuiteResults(str(name), own.reset_index(drop=True), described.get(name, {}))
        for name, own in frame.groupby("suite", sort=False)
    ]


def out_of_range(frame: pd.DataFrame) -> list[str]:
    """Say which metrics have values outside the range that they state: something is wrong with those."""
    sentences = []
    for name, own in frame.groupby(frame["metric"].str.partition(":")[0], sort=False):
        metric = metric_named(str(name))
        low, high = metric.range
        values = own["value"].to_numpy(dtype=np.float64)
        # Sums of shares and rank correlations are rounded like everything else.
        wrong = int(np.sum((values < low - 1e-9) | (values > high + 1e-9)))
        if wrong:
            sentences.append(f"{wrong} of {len(values)} values of {metric.label} lie outside its range {ends(metric)}.")
    return sentences


def ends(metric: BenchmarkMetric) -> str:
    """Write a metric's range.

    Examples:
        >>> ends(metric_named("kendall")), ends(metric_named("seconds"))
        ('−1 to 1', 'from 0')
    """
    low, high = metric.range
    if math.isinf(low) and math.isinf(high):
        return "any number"
    if math.isinf(high):
        return f"from {_number(low)}"
    return f"up to {_number(high)}" if math.isinf(low) else f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def leaders(metric: BenchmarkMetric, cells: Mapping[str, pd.Series[Any]]) -> tuple[str | None, list[str]]:
    """Return the best method by its mean, and those that cannot be told from it.

    A method is level if the 95 % t-interval of its paired difference from the best, over (function, seed), includes 0;
    cells where one of both is undefined are left out.

    Examples:
        >>> values = {"a": [0.1, 0.2, 0.3], "b": [0.1, 0.21, 0.31], "c": [0.8, 0.9, 1.1]}
        >>> leaders(metric_named("share_error"), {name: pd.Series(own) for name, own in values.items()})
        ('a', ['b'])
    """
    means = {name: float(own.mean()) for name, own in cells.items() if own.notna().any()}
    best: str | None = None
    for name, value in means.items():
        if best is None or metric.better(value, means[best]):
            best = name
    if best is None or metric.direction == "none":
        return None, []
    level = [name for name in means if name != best and _level(metric, cells[name], cells[best])]
    return best, level


def best_first(metric: BenchmarkMetric, means: Mapping[str, float]) -> list[str]:
    """Return names by falling quality, undefined last; a metric that states a fact keeps their order.

    Examples:
        >>> best_first(metric_named("auc"), {"a": 0.7, "b": math.nan, "c": 0.9})
        ['c', 'a', 'b']
    """

    def key(name: str) -> float:
        value = means[name]
        if math.isnan(value):
            return math.inf
        if metric.direction == "nominal" and metric.nominal is not None:
            return abs(value - metric.nominal)
        return {"higher": -value, "lower": value}.get(metric.direction, 0.0)

    return sorted(means, key=key)


def _level(metric: BenchmarkMetric, one: pd.Series[Any], best: pd.Series[Any]) -> bool:
    from scipy import stats

    if metric.direction == "nominal" and metric.nominal is not None:
        one, best = (one - metric.nominal).abs(), (best - metric.nominal).abs()
    difference = (one - best).dropna().to_numpy(dtype=np.float64)
    if not len(difference):
        return False
    if np.all(difference == 0):
        return True
    if len(difference) < 2:
        return False
    half = stats.t.ppf(0.975, len(difference) - 1) * difference.std(ddof=1) / math.sqrt(len(difference))
    return bool(abs(difference.mean()) <= half)


def _ordered(present: Any, wanted: Any) -> list[str]:
    found = list(dict.fromkeys(str(name) for name in present))
    order = [str(name) for name in wanted]
    return [name for name in order if name in found] + [name for name in found if name not in order]


def modalities_of(names: Sequence[str]) -> list[str]:
    """Return what stands behind the colon of ``share:<name>``, in order of appearance."""
    return list(dict.fromkeys(name.partition(":")[2] for name in names if ":" in name))
