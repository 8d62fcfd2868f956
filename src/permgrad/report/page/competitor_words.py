"""How a model does beside its competitors, in words that an interval of the paired difference stands behind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from permgrad.base.errors import by_count, counted
from permgrad.base.significance import LEVEL
from permgrad.evaluation.competitors import competitors
from permgrad.evaluation.metrics import Task, primary_metric
from permgrad.report.page.constant import known_classes
from permgrad.report.words import clean, listed, number, shorten


def competitor_label(name: str) -> str:
    """Return a competitor's name for people."""
    return competitors.get(name).label if name in competitors else clean(name)


def best_competitor(task: Task, measured: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return name and value of the best competitor by the metric that stands first."""
    metric = primary_metric(task, known_classes(measured.get("test") or {}))
    best: tuple[str, float] | None = None
    for name, entry in (measured.get("baselines") or {}).items():
        value = entry.get(metric.name) if isinstance(entry, Mapping) else None
        if value is not None and math.isfinite(value) and metric.better(value, best[1] if best else None):
            best = (name, float(value))
    return best


def against_competitors(task: Task, measured: Mapping[str, Any]) -> str:
    """Say whether the model is ahead of its best competitor, behind it, or neither by more than chance.

    Examples:
        >>> ahead = {"metric": "rmse", "difference": -0.4, "ci_low": -0.6, "ci_high": -0.2, "p_holm": 0.001}
        >>> models = {"linear": {"rmse": 2.0, "ahead": ahead}}
        >>> against_competitors("regression", {"test": {"rmse": 2.4}, "baselines": models})
        'The best baseline, logistic or ridge regression, does better: RMSE 2.00 against 2.40 (difference 0.400, ...'
    """
    test = measured.get("test") or {}
    metric = primary_metric(task, known_classes(test))
    best, value = best_competitor(task, measured), test.get(metric.name)
    if best is None or value is None:
        return ""
    entry, label = measured["baselines"][best[0]], competitor_label(best[0])
    paired = entry.get("ahead")
    if not paired:
        return f"{metric.label} is {number(value)}, that of the best baseline, {label}, {number(best[1])}."
    tests = [(name, line["ahead"]) for name, line in measured["baselines"].items() if line.get("ahead")]
    # Sign and order of the ends, so that the difference is above 0.
    sign = 1.0 if paired["difference"] >= 0 else -1.0
    low, high = sorted((sign * paired["ci_low"], sign * paired["ci_high"]))
    size = f"difference {number(abs(paired['difference']))}, 95 % interval {number(low)} to {number(high)}"
    if paired["p_holm"] >= LEVEL:
        more = f", not significant among {len(tests)} comparisons" if low > 0 else ""
        first = f"There is no significant difference from the best baseline, {label}: {metric.label} {number(value)} "
        first += f"against {number(best[1])} ({size}{more})."
    elif paired["difference"] < 0:
        first = f"The best baseline, {label}, does better: {metric.label} {number(best[1])} against {number(value)} "
        first += f"({size})."
    else:
        first = f"The model does better than the best baseline, {label}: {metric.label} {number(value)} against "
        first += f"{number(best[1])} ({size})."
    ahead = [
        competitor_label(name)
        for name, test in tests
        if name != best[0] and test["p_holm"] < LEVEL and test["difference"] > 0
    ]
    return f"{first} It is significantly better than {listed(ahead)}." if ahead else first


def unseen_words(target: str, test: Mapping[str, Any] | None) -> str:
    """Name classes of the test rows that no training row has; empty where there is none.

    Examples:
        >>> unseen_words("educ", {"unseen": {"18": 1}})
        '1 test row has a class of educ that no training row has (18): it counts as wrong, and the ...'
    """
    unseen = (test or {}).get("unseen")
    if not unseen:
        return ""
    count = sum(unseen.values())
    names = listed([shorten(name, 40) for name in list(unseen)[:5]]) + (" and others" if len(unseen) > 5 else "")
    it = by_count(count, "it counts", "they count")
    return (
        f"{counted(count, 'test row')} {by_count(count, 'has', 'have')} a class of {shorten(target, 60)} that no "
        f"training row has ({names}): {it} as wrong, and the log loss leaves {by_count(count, 'it', 'them')} out."
    )
