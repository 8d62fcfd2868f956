"""What the page and the terminal say alike: of a model beside a constant and beside others, of paths, of features."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from permgrad.base.errors import by_count, counted
from permgrad.base.significance import LEVEL, deserves_words
from permgrad.evaluation.competitors import competitors
from permgrad.evaluation.metrics import Task, metrics, primary_metric
from permgrad.report.words import clean, compact, listed, number, shorten

NOT_BRANCHES = ("interaction", "paper", "total")
#: Below this share of the branch weights class activation maps say little about the prediction: what they show is a
#: small part of it. On Covertype it is 3 to 5 % for preset default and 11 % for preset fast.
LEAST_IMAGE_SHARE = 0.1
#: Features of one group, and groups, that are named.
_MEMBERS, _GROUPS = 8, 4


# ---- the model -------------------------------------------------------------------------------------------------------
def known_classes(measured: Mapping[str, Any]) -> int:
    """Return how many classes the model knows that some test metrics are of; 0 for regression."""
    return len(measured.get("labels") or ()) - len(measured.get("unseen") or ())


def skill_words(
    target: str,
    task: Task,
    test: Mapping[str, Any],
    judged: Mapping[str, Any],
    *,
    subject: str = "The model",
) -> str:
    """Say that a model is no better than a constant, wholly or in its probabilities or its classes alone; else "".

    ``judged`` are the constant's metrics with ``learnt`` and ``ahead`` of ``permgrad.evaluation.skill``.
    """
    ahead = judged["ahead"]
    first = metrics.get(next(iter(ahead))) if ahead else primary_metric(task, known_classes(test))

    def pair(name: str) -> str:
        return f"{metrics.get(name).label} {number(test.get(name))} against {number(judged.get(name))}"

    def above(name: str) -> bool:
        return name in ahead and ahead[name]["ci_low"] > 0

    def relation(name: str) -> str:
        if name not in ahead or ahead[name]["difference"] <= 0:
            return "worse than" if name in ahead and ahead[name]["ci_high"] < 0 else "no better than"
        return "not significantly better than"

    if not judged["learnt"]:
        names = [first.name] if task == "regression" else dict.fromkeys([first.name, "log_loss"])
        pairs = " and ".join(pair(name) for name in names if test.get(name) is not None)
        return (
            f"{subject} predicts {shorten(target, 60)} {relation(first.name)} a constant that looks at no feature "
            f"({pairs} on the test rows)."
        )
    if "log_loss" in ahead and not above("log_loss"):
        order = above("roc_auc")
        but = "it puts the rows in a better order than chance" if order else "its classes are right more often"
        name = "roc_auc" if order else first.name
        return (
            f"Its probabilities are {relation('log_loss')} a constant ({pair('log_loss')}), although {but} "
            f"({pair(name)})."
        )
    if first.name == "accuracy" and first.name in ahead and not above("accuracy"):
        return (
            f"Its classes are right no more often than the most frequent class ({pair('accuracy')}), although its "
            f"probabilities are better than a constant ({pair('log_loss')})."
        )
    return ""


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
    """Say whether the model is ahead of its best competitor, behind it, or neither by more than chance."""
    test = measured.get("test") or {}
    metric = primary_metric(task, known_classes(test))
    best, value = best_competitor(task, measured), test.get(metric.name)
    if best is None or value is None:
        return ""
    label, paired = competitor_label(best[0]), measured["baselines"][best[0]].get("ahead")
    theirs, ours = number(best[1]), number(value)
    if not paired:
        return f"{metric.label} is {ours}, that of the best baseline, {label}, {theirs}."
    tests = {name: line["ahead"] for name, line in measured["baselines"].items() if line.get("ahead")}
    # Sign and order of the ends, so that the difference is above 0.
    sign = 1.0 if paired["difference"] >= 0 else -1.0
    low, high = sorted((sign * paired["ci_low"], sign * paired["ci_high"]))
    size = f"difference {number(abs(paired['difference']))}, 95 % interval {number(low)} to {number(high)}"
    if paired["p_holm"] >= LEVEL:
        size += f", not significant among {len(tests)} comparisons" if low > 0 else ""
        words = f"There is no significant difference from the best baseline, {label}: {metric.label} {ours} "
        words += f"against {theirs} ({size})."
    elif paired["difference"] < 0:
        words = f"The best baseline, {label}, does better: {metric.label} {theirs} against {ours} ({size})."
    else:
        words = (
            f"The model does better than the best baseline, {label}: {metric.label} {ours} against {theirs} ({size})."
        )
    del tests[best[0]]
    ahead = [competitor_label(name) for name, one in tests.items() if one["p_holm"] < LEVEL and one["difference"] > 0]
    return f"{words} It is significantly better than {listed(ahead)}." if ahead else words


def unseen_words(target: str, test: Mapping[str, Any] | None) -> str:
    """Name classes of the test rows that no training row has; empty where there is none."""
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


# ---- its paths -------------------------------------------------------------------------------------------------------
def entries_of(branches: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the entries of ``branches.json`` that are paths."""
    return {name: entry for name, entry in branches.items() if name not in NOT_BRANCHES and isinstance(entry, Mapping)}


def is_hybrid(branches: Mapping[str, Any]) -> bool:
    """Whether the entries are the paths of a hybrid network; else they are the inputs of another network."""
    return set(entries_of(branches)) <= {"tabular", "image"}


def value_of(entry: Any, key: str) -> float:
    """Return a number of an entry; NaN where it is missing, null or no number."""
    value = entry.get(key) if isinstance(entry, Mapping) else None
    return float(value) if isinstance(value, (int, float, np.number)) else math.nan


def path_shares(branches: Mapping[str, Any]) -> dict[str, float]:
    """Return each path's share, or nothing if one of them lies outside 0 … 1: then they are not parts of a whole."""
    shares = {name: value_of(entry, "share") for name, entry in entries_of(branches).items()}
    shares = {name: share for name, share in shares.items() if math.isfinite(share)}
    return shares if all(0 <= share <= 1 for share in shares.values()) else {}


def map_words(branches: Mapping[str, Any]) -> str:
    """Say that activation maps mean little where the image path hardly counts; empty where it does, or is alone."""
    share = value_of(branches.get("image"), "share")
    if not is_hybrid(branches) or len(entries_of(branches)) < 2 or not share < LEAST_IMAGE_SHARE:
        return ""
    amount = f"{round(100 * share)} %" if share >= 0.005 else "next to nothing"
    return (
        f"The image path carries {amount} of the branch weights: its activation maps speak for a small part of "
        "the prediction only. Go by the attributions; where pictures are what you want to read, train a network on "
        'them alone (branches=("image",)).'
    )


def path_words(branches: Mapping[str, Any]) -> str:
    """Say how the paths compare where a share lies outside 0 … 1; empty where shares say it well."""
    entries = {name: one for name, one in entries_of(branches).items() if math.isfinite(value_of(one, "importance"))}
    shared = any(math.isfinite(value_of(entry, "share")) for entry in entries.values())
    if path_shares(branches) or len(entries) < 2 or not shared:
        return ""
    order = sorted(entries, key=lambda name: -float(entries[name]["importance"]))
    noun = "path" if is_hybrid(branches) else "input"
    words = [f"{clean(name)} {noun} {_role(entries[name], name == order[0])}" for name in order]
    return f"The {'; the '.join(words)}."


def _role(entry: Mapping[str, Any], first: bool) -> str:
    value, low, high, share = (value_of(entry, key) for key in ("importance", "ci_low", "ci_high", "share"))
    if not (low > 0 or high < 0):
        role = "is within noise"
    elif not deserves_words(low, high, share):
        role = "has next to no effect"
    elif value < 0:
        role = "has a negative effect: exchanging it makes the loss smaller"
    else:
        role = "carries it" if first else "adds to it"
    return f"{role} ({_with_interval(value, low, high)})"


def _with_interval(value: float, low: float, high: float) -> str:
    ends = "" if math.isnan(low + high) else f", interval {compact(low)} to {compact(high)}"
    return f"{compact(value)}{ends}"


def interaction_words(branches: Mapping[str, Any]) -> str:
    """Say what the interaction of the paths means; empty where it may be chance, or is less than 5 % of the total."""
    low, high, effect = (
        value_of(branches.get("total"), key) for key in ("interaction_low", "interaction_high", "importance")
    )
    value = value_of(branches, "interaction")
    share = value / effect if effect > 0 else math.nan
    if math.isnan(low + high + effect + value) or not deserves_words(low, high, share):
        return ""
    meaning = "each makes up for the other in part" if value < 0 else "they need each other"
    size = f"{compact(value)} (interval {compact(low)} to {compact(high)}), {round(100 * abs(share))} % of the total"
    return f"Interaction of the paths: {size}; {meaning}. It is shared out in the bars."


def no_share_words(branches: Mapping[str, Any]) -> str:
    """Say why no path has a share; empty where one has, or where shares are not asked for."""
    entries = entries_of(branches).values()
    if len(entries) < 2 or any("share" not in one or math.isfinite(value_of(one, "share")) for one in entries):
        return ""
    numbers = [value_of(branches.get("total"), key) for key in ("importance", "ci_low", "ci_high")]
    shown = "" if math.isnan(sum(numbers)) else f" ({_with_interval(*numbers)})"
    noun = "paths" if is_hybrid(branches) else "inputs"
    return f"the effect of all {noun} together is not certainly above 0{shown}, so that there is nothing to share out"


# ---- features that move together -------------------------------------------------------------------------------------
def related_words(pairs: Sequence[Mapping[str, Any]], names: Sequence[str], show: Callable[[str], str] = str) -> str:
    """Return one sentence on the features that move with some of the names; empty where none does."""
    groups: list[dict[str, None]] = []
    for pair in pairs:
        if pair["feature"] in names:
            joined = [group for group in groups if pair["feature"] in group or pair["other"] in group]
            merged = {name: None for group in joined for name in group} | {pair["feature"]: None, pair["other"]: None}
            groups = [group for group in groups if group not in joined] + [merged]
    if not groups:
        return ""
    order = {name: place for place, name in enumerate(names)}
    sentences = [
        _group_words(sorted(group, key=lambda name: order.get(name, len(order))), pairs, show)
        for group in groups[:_GROUPS]
    ]
    sentences += [f"so do {len(groups) - _GROUPS} more groups"] if len(groups) > _GROUPS else []
    return f"{'; '.join(sentences)}, so importance may be shared between them."


def _group_words(group: Sequence[str], pairs: Sequence[Mapping[str, Any]], show: Callable[[str], str]) -> str:
    inside = [pair for pair in pairs if pair["feature"] in group and pair["other"] in group]
    kind = "correlation" if all(pair["kind"] == "correlation" for pair in inside) else "association"
    if len(group) == 2:
        strength = compact(float(inside[0]["strength"]), 2)
        return f"{show(group[0])} moves with {show(group[1])} ({kind} {strength})"
    sizes = [abs(float(pair["strength"])) for pair in inside]
    reach = " to ".join(dict.fromkeys(compact(end, 2) for end in (min(sizes), max(sizes))))
    return f"{listed(map(show, group), _MEMBERS)} move together ({kind} {reach})"
