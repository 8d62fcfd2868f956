"""The first sentences of a report: what the model is, how good, and what drives it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.evaluation.metrics import Metric, primary_metric
from permgrad.evaluation.ranking import importance_shares
from permgrad.report.page.competitor_words import best_competitor, competitor_label
from permgrad.report.page.constant import constant, known_classes, verdict
from permgrad.report.page.paths import is_hybrid, path_shares, path_words
from permgrad.report.page.views import Fact
from permgrad.report.words import clean, listed, number, percent, shorten

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.report.page.content import ReportContent


def kind_of_network(branches: Sequence[str]) -> str:
    """Say what was trained.

    Examples:
        >>> kind_of_network(("tabular", "image")), kind_of_network(("image",)), kind_of_network(())
        ('A hybrid network (table and image)', 'A network on the image of each row alone', 'A network')
    """
    if set(branches) == {"tabular", "image"}:
        return "A hybrid network (table and image)"
    if set(branches) == {"images", "table"}:
        return "A network of images and a table"
    alone = {"tabular": "A network on the table alone", "image": "A network on the image of each row alone"}
    return alone.get(branches[0], "A network") if len(branches) == 1 else "A network"


def main_metric(content: ReportContent) -> tuple[Metric, float | None]:
    """Return the metric that stands first and its value on the test rows."""
    test = (content.metrics or {}).get("test") or {}
    metric = primary_metric(content.task, known_classes(test))
    return metric, test.get(metric.name)


def drivers(explanation: Explanation, count: int = 3) -> list[str]:
    """Return the first of the names that clearly matter, in rank order."""
    return explanation.clearly_matter()[:count]


def share_of(explanation: Explanation, names: Sequence[str]) -> float:
    """Return the share of the summed importance (clipped at 0) that some names have; NaN if nothing is above 0."""
    values = np.nan_to_num(explanation.values[:, 0], nan=0.0, posinf=0.0, neginf=0.0)
    shares = importance_shares(values)
    wanted = [explanation.names.index(name) for name in names]
    return float(shares[wanted].sum()) if shares.sum() > 0 else math.nan


def headline(content: ReportContent) -> str:
    """Compose the first sentence."""
    if content.headline is not None:
        return clean(content.headline)
    network = kind_of_network(content.network.branches if content.network else ())
    judged = verdict(content, network)
    if judged is not None and judged.learnt_nothing:
        return judged.text
    metric, value = main_metric(content)
    target = shorten(content.target, 60)
    if value is None:
        return f"{network} that predicts {target}."
    rows = ((content.metrics or {}).get("rows") or {}).get("test")
    where = f" on {rows:,} test rows" if isinstance(rows, int) else " on the test rows"
    value_words = percent(value) if metric.name == "accuracy" else number(value)
    unit = f" {clean(content.target_unit)}" if content.target_unit and content.task == "regression" else ""
    article = "a" if metric.name == "roc_auc" else "an"
    measure = f"{article} {metric.label}".replace("-", "\u2011")  # the hyphen that does not break the line
    return f"{network} predicts {target} with {measure} of {value_words}{unit}{where}."


def second_sentence(content: ReportContent) -> str:
    """Say first what speaks against the model; then name the drivers and, if shares cannot, the paths."""
    judged = verdict(content)
    if judged is not None and judged.learnt_nothing:
        warning = f"What it relies on says nothing about {shorten(content.target, 60)}."
        return warning if content.headline is None else f"{judged.text} {warning}"
    words = (judged.text if judged else "", _drivers_sentence(content), path_words(branches_of(content)))
    return " ".join(filter(None, words))


def _drivers_sentence(content: ReportContent) -> str:
    explanation = content.explanation
    if explanation is None:
        return ""
    leading, tests = drivers(explanation), tests_of(explanation)
    if not tests:
        return "Which features clearly matter cannot be said, because this explanation has no p-values."
    if not leading:
        return f"No feature clearly matters: no p-value passes Holm's correction for {tests} features at 5\u00a0%."
    names = listed([shorten(name, 40) for name in leading])
    share = share_of(explanation, leading)
    sized = math.isfinite(share) and _shares_make_sense(explanation)
    together = "" if len(leading) == 1 else "together "
    size = f", {together}{percent(share)} of the total importance ({len(explanation.names)} features)" if sized else ""
    related = related_words(content.related, leading, lambda name: shorten(name, 40))
    return " ".join(filter(None, [f"It relies most on {names}{size}.", *_left_out(explanation, leading), related]))


def _left_out(explanation: Explanation, leading: Sequence[str]) -> list[str]:
    """Say which ranks before the last of the names are left out, because their effects may be chance."""
    ranking = explanation.ranking()
    ranks = [place + 1 for place, name in enumerate(ranking[: ranking.index(leading[-1])]) if name not in leading]
    if not ranks:
        return []
    which = listed([str(rank) for rank in ranks[:5]] + ([f"{len(ranks) - 5} more"] if len(ranks) > 5 else []))
    if len(ranks) == 1:
        return [f"Number {which} by estimate is left out, because its effect may be chance."]
    return [f"Numbers {which} by estimate are left out, because their effects may be chance."]


def tests_of(explanation: Explanation) -> int:
    """Return how many features have a p-value."""
    return 0 if explanation.p_values is None else int(np.isfinite(explanation.p_values[:, 0]).sum())


def _shares_make_sense(explanation: Explanation) -> bool:
    return bool(np.all(np.isfinite(explanation.values[:, 0]))) and len(explanation.names) > 3


def facts(content: ReportContent) -> list[Fact]:
    """Choose a few key figures."""
    chosen: list[Fact] = []
    metric, value = main_metric(content)
    if value is not None:
        chosen.append(Fact(number(value), f"{metric.label}, this network"))
        judged, other = verdict(content), constant(content)
        if judged is not None and judged.learnt_nothing and other is not None:
            chosen.append(Fact(number(other.metrics.get(metric.name)), f"{metric.label}, {other.label}"))
    best = best_competitor(content.task, content.metrics or {})
    if best is not None:
        chosen.append(Fact(number(best[1]), f"{metric.label}, best baseline ({competitor_label(best[0])})"))
    explanation = content.explanation
    if explanation is not None and tests_of(explanation):
        clear = len(explanation.clearly_matter())
        chosen.append(Fact(f"{clear} of {len(explanation.names)}", "features that clearly matter"))
    shares = path_shares(branches_of(content))
    if shares:
        label = " and ".join(clean(name) for name in shares)
        what = "path" if is_hybrid(branches_of(content)) else "as whole inputs"
        chosen.append(Fact(" · ".join(percent(share) for share in shares.values()), f"{label} {what}"))
    return chosen


def branches_of(content: ReportContent) -> Mapping[str, Any]:
    """Return the content of ``branches.json``, wherever it was given."""
    if content.branches is not None:
        return content.branches
    return (content.explanation.branches if content.explanation is not None else None) or {}


# ---- features that move together -------------------------------------------------------------------------------------
#: Features of one group, and groups, that are named.
_MEMBERS, _GROUPS = 8, 4


def related_words(pairs: Sequence[Mapping[str, Any]], names: Sequence[str], show: Callable[[str], str] = str) -> str:
    """Return one sentence on the features that move with some of the names; empty where none does.

    Examples:
        >>> pairs = [{"feature": "x7", "other": "x2", "strength": 0.9, "kind": "correlation"}]
        >>> related_words(pairs, ["x7"])
        'x7 moves with x2 (correlation 0.9), so importance may be shared between them.'
        >>> pairs += [{"feature": "x7", "other": "x1", "strength": -0.62, "kind": "correlation"}]
        >>> related_words(pairs, ["x7"])
        'x7, x2 and x1 move together (correlation 0.62 to 0.9), so importance may be shared between them.'
    """
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
        _group_words(sorted(group, key=lambda name: order.get(name, len(order))), pairs, show) for group in groups
    ]
    more = [f"so do {len(sentences) - _GROUPS} more groups"] if len(sentences) > _GROUPS else []
    return f"{'; '.join([*sentences[:_GROUPS], *more])}, so importance may be shared between them."


def _group_words(group: Sequence[str], pairs: Sequence[Mapping[str, Any]], show: Callable[[str], str]) -> str:
    inside = [pair for pair in pairs if pair["feature"] in group and pair["other"] in group]
    kind = "correlation" if all(pair["kind"] == "correlation" for pair in inside) else "association"
    if len(group) == 2:
        strength = _two_digits(float(inside[0]["strength"]))
        return f"{show(group[0])} moves with {show(group[1])} ({kind} {strength})"
    names = [show(name) for name in group[:_MEMBERS]]
    names += [f"{len(group) - _MEMBERS} more"] if len(group) > _MEMBERS else []
    low, high = (_two_digits(end(abs(float(pair["strength"])) for pair in inside)) for end in (min, max))
    reach = low if low == high else f"{low} to {high}"
    return f"{', '.join(names[:-1])} and {names[-1]} move together ({kind} {reach})"


def _two_digits(value: float) -> str:
    return f"{value:.2g}".replace("-", "−")
