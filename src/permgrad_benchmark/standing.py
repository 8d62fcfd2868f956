"""The best method on a metric, and those without a significant difference from it.

Figures of one function with several seeds are correlated, so seeds are averaged first
and functions are the sample. Two methods are *level* on a metric unless the 95 %
t-interval of their mean difference over functions excludes 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from permgrad.base.errors import InputError
from permgrad_benchmark.metrics import BenchmarkMetric, bias_and_variance, metric_named
from permgrad_benchmark.records import ANY


def standings(
    frame: pd.DataFrame, metric: str, methods: Iterable[str], estimand: str = ANY
) -> pd.DataFrame:
    """Rank methods on one metric, by their mean over functions, best first.

    Columns: ``method, mean, behind`` (mean difference to the first, at least 0), ``low,
    high`` (its interval, NaN for the first), ``level`` (the first, or not significantly
    different), ``functions``. Only functions with a figure of every method count, so
    that no method is compared on easier ones. Methods with figures on fewer than half
    of the functions are left out, because too few functions would remain for the
    others.
    """
    measure = metric_named(metric)
    if measure.direction == "none":
        problem = (
            f"The metric {metric!r} has no better or worse, so methods cannot be "
            "ranked by it"
        )
        raise InputError(
            problem, hint="Choose a metric with a direction.", code="PG003"
        )
    chosen = frame[
        (frame["metric"] == metric)
        & (frame["estimand"] == estimand)
        & frame["method"].isin(list(methods))
    ]
    table = _common(chosen)
    if table.empty:
        problem = f"None of the methods has {metric!r} against {estimand!r}"
        raise InputError(problem, hint="Choose others.", code="PG055")
    losses = {
        name: _loss(measure, table[name].to_numpy(dtype=np.float64))
        for name in table.columns
    }
    order = sorted(
        losses, key=lambda name: (losses[name].mean(), list(methods).index(name))
    )
    rows: list[dict[str, Any]] = []
    for name in order:
        difference = losses[name] - losses[order[0]]
        low, high = _interval(difference)
        first = name == order[0]
        rows.append(
            {
                "method": name,
                "mean": float(table[name].mean()),
                "behind": float(difference.mean()),
                "low": math.nan if first else low,
                "high": math.nan if first else high,
                "level": first or bool(low <= 0 <= high),
                "functions": len(table),
            }
        )
    return pd.DataFrame(rows)


#: Metrics by which methods of different estimands can be ranked: separating relevant
#: from irrelevant features.
RELEVANCE = (
    "top_k",
    "auc",
    "false_discovery_rate",
    "power",
    "false_discovery_rate:share",
    "power:share",
)


def summarise(
    frame: pd.DataFrame, contestants: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return what the records of one suite come to: who is first on what, and where
    errors come from.
    """
    present = [name for name in contestants if name in set(frame["method"])]
    summary: dict[str, Any] = {}
    for estimand in dict.fromkeys(
        str(contestants[name]["estimand"]) for name in present
    ):
        group = [name for name in present if contestants[name]["estimand"] == estimand]
        if _has(frame, "share_error", group, estimand):
            summary[estimand] = standings(
                frame, "share_error", group, estimand
            ).to_dict(orient="records")
    relevance = {
        metric: standings(frame, metric, present).to_dict(orient="records")
        for metric in RELEVANCE
        if _has(frame, metric, present, ANY)
    }
    bias = share_bias(
        frame, {name: str(contestants[name]["estimand"]) for name in present}
    )
    return {
        "own": summary,
        "relevance": relevance,
        "bias": bias.to_dict(orient="records"),
    }


def _has(frame: pd.DataFrame, metric: str, methods: list[str], estimand: str) -> bool:
    """Say whether there is a function on which all methods that have the metric have a
    figure.
    """
    chosen = frame[
        (frame["metric"] == metric)
        & (frame["estimand"] == estimand)
        & frame["method"].isin(methods)
    ]
    return not _common(chosen).empty


def _common(chosen: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds, functions by methods, without methods that miss half of
    the functions, and gaps.
    """
    table = chosen.pivot_table(
        index="function", columns="method", values="value", aggfunc="mean"
    )
    counts = table.notna().sum()
    common: pd.DataFrame = table.loc[:, 2 * counts >= counts.max()].dropna(axis=0)
    return common


def _loss(measure: BenchmarkMetric, values: Any) -> Any:
    """Return numbers of which smaller is better."""
    if measure.direction == "higher":
        return -values
    return (
        values
        if measure.direction == "lower"
        else np.abs(values - float(measure.nominal or 0.0))
    )


def _interval(differences: Any) -> tuple[float, float]:
    """Return the 95 % t-interval of a mean.

    Infinite with a single number, a point where all are equal.
    """
    count, mean = len(differences), float(np.mean(differences))
    if count < 2:
        return (mean, mean) if mean == 0 else (-math.inf, math.inf)
    margin = float(
        t.ppf(0.975, count - 1) * np.std(differences, ddof=1) / math.sqrt(count)
    )
    return mean - margin, mean + margin


def share_bias(frame: pd.DataFrame, estimands: dict[str, str]) -> pd.DataFrame:
    """Split each method's error against its own truth into bias and spread over
    seeds.
    """
    rows: list[dict[str, Any]] = []
    truth = frame[
        (frame["method"] == "truth") & frame["metric"].str.startswith("truth_share:")
    ]
    shares = frame[frame["metric"].str.startswith("share:")]
    for (function, method), of_method in shares.groupby(
        ["function", "method"], sort=False
    ):
        estimand = estimands.get(str(method))
        true_shares = truth[
            (truth["function"] == function) & (truth["estimand"] == estimand)
        ]
        if estimand is None or true_shares.empty:
            continue
        true = true_shares[true_shares["seed"] == true_shares["seed"].min()].set_index(
            "metric"
        )["value"]
        by_seed = of_method.pivot_table(index="seed", columns="metric", values="value")
        columns = [name.replace("truth_share:", "share:") for name in true.index]
        bias, variance = bias_and_variance(true.to_numpy(), by_seed[columns].to_numpy())
        rows.append(
            {
                "function": function,
                "method": method,
                "estimand": estimand,
                "bias": float(np.sqrt(np.mean(bias**2))),
                "spread": float(np.sqrt(np.mean(variance))),
                "seeds": len(by_seed),
            }
        )
    return pd.DataFrame(rows)
