"""The first sentences of a report: what the model is, how good it is, and what it relies on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from permgrad.assess.branches import is_hybrid
from permgrad.base.errors import counted
from permgrad.base.numerals import number, percent
from permgrad.evaluation.metrics import Metric, primary_metric
from permgrad.pages.sentences import (
    baseline_label,
    best_baseline,
    known_classes,
    path_shares,
    related_words,
    skill_words,
)
from permgrad.pages.units import BEYOND_ALL, advantage
from permgrad.pages.views import Fact
from permgrad.pages.words import clean, listed, shorten

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment
    from permgrad.attribution.explanation import Explanation


def kind_of_network(branches: Sequence[str]) -> str:
    """Return the kind of network in words."""
    kinds = {
        ("image", "tabular"): "A hybrid network (table and image)",
        ("images", "table"): "A network of images and a table",
        ("tabular",): "A network of the table alone",
        ("image",): "A network of the image of each row alone",
    }
    return kinds.get(tuple(sorted(branches)), "A network")


def subject_words(content: Assessment) -> str:
    """Return what the model is, for the beginning of a sentence."""
    if content.subject:
        return f"The model {shorten(content.subject, 60)}"
    return kind_of_network(content.network.branches if content.network else ())


def main_metric(content: Assessment) -> tuple[Metric, float | None]:
    """Return the main metric and its value on the test rows."""
    metric = primary_metric(content.task, known_classes(content.test))
    return metric, content.test.get(metric.name)


def lack_of_skill(content: Assessment, subject: str = "This model") -> str:
    """Return a sentence if the model is no better than a constant in some respect, else an empty text."""
    if "learnt" not in content.constant:
        return ""
    return skill_words(content.target, content.task, content.test, content.constant, subject=subject)


def drivers(explanation: Explanation) -> list[str]:
    """Return the first three of the names that clearly matter, in rank order."""
    return explanation.clearly_matter()[:3]


def headline(content: Assessment) -> str:
    """Compose the first sentence."""
    subject = subject_words(content)
    if not content.learnt:
        return lack_of_skill(content, "The model")
    metric, value = main_metric(content)
    target = shorten(content.target, 60)
    if value is None:
        return f"{subject} predicts {target}."
    rows = ((content.metrics or {}).get("rows") or {}).get("test")
    where = f" on {counted(rows, 'test row')}" if isinstance(rows, int) else " on the test rows"
    value_words = percent(value) if metric.name == "accuracy" else number(value)
    article = "a" if metric.name == "roc_auc" else "an"
    measure = f"{article} {metric.label}".replace("-", "\u2011")  # the hyphen that does not break the line
    return f"{subject} predicts {target} with {measure} of {value_words}{where}."


def reliance_sentence(content: Assessment) -> str:
    """Name what clearly matters, and the ranks in between that are left out because their effects may be chance."""
    explanation = content.explanation
    if not content.learnt:
        return f"What it relies on does not help to predict {shorten(content.target, 60)}."
    if explanation is None:
        return ""
    leading, tests = drivers(explanation), tests_of(explanation)
    if not tests:
        return "It is unknown which features clearly matter, because this explanation has no p-values."
    if not leading:
        return f"No feature clearly matters: no p-value is below 5\u00a0% after Holm's correction for {tests} features."
    names, meaning, whole = [shorten(name, 40) for name in leading], "", advantage(explanation, content.metrics or {})
    if whole is not None:
        lost = [explanation.values[explanation.names.index(name), 0] / whole for name in leading]
        names = [f"{name} ({percent(share)})" for name, share in zip(names, lost, strict=True)]
        meaning = "In brackets: how much of its advantage over a constant it loses when the feature is shuffled."
        meaning += f" {BEYOND_ALL}" * any(share > 1 for share in lost)
    ranking = explanation.ranking()
    ranks = [str(at + 1) for at, name in enumerate(ranking[: ranking.index(leading[-1])]) if name not in leading]
    left_out = f"Ranks {listed(ranks, 5)} are left out, because their effects may be chance."
    if len(ranks) == 1:
        left_out = f"Rank {ranks[0]} is left out, because its effect may be chance."
    return " ".join(filter(None, [f"It relies most on {listed(names)}.", meaning, left_out if ranks else ""]))


def related_sentence(content: Assessment) -> str:
    """Name the features that move with those that matter most, or return an empty text."""
    leading = drivers(content.explanation) if content.explanation is not None and content.learnt else []
    return related_words(content.related, leading, lambda name: shorten(name, 40), most=3)


def tests_of(explanation: Explanation) -> int:
    """Return how many features have a p-value."""
    return 0 if explanation.p_values is None else int(np.isfinite(explanation.p_values[:, 0]).sum())


def constant_label(content: Assessment) -> str:
    """Return the name of the constant that ignores the features."""
    return "always the mean" if content.task == "regression" else "always the most frequent class"


def facts(content: Assessment) -> list[Fact]:
    """Choose a few key figures."""
    chosen: list[Fact] = []
    metric, value = main_metric(content)
    if value is not None:
        units = f" (in units of {shorten(content.target, 30)})" if metric.name == "rmse" else ""
        chosen.append(Fact(number(value), f"{metric.label}, this {content.noun}{units}"))
        if not content.learnt:
            chosen.append(Fact(number(content.constant.get(metric.name)), f"{metric.label}, {constant_label(content)}"))
    best = best_baseline(content.task, content.metrics or {})
    if best is not None:
        chosen.append(Fact(number(best[1]), f"{metric.label}, best baseline ({baseline_label(best[0])})"))
    explanation = content.explanation
    if explanation is not None and tests_of(explanation):
        clear = len(explanation.clearly_matter())
        chosen.append(Fact(f"{clear} of {len(explanation.names)}", "features that clearly matter"))
    if content.image_counts and (shares := path_shares(content.paths)):
        label = " and ".join(clean(name) for name in shares)
        what = "path" if is_hybrid(content.paths) else "as whole inputs"
        chosen.append(Fact(" · ".join(percent(share) for share in shares.values()), f"{label} {what}"))
    return chosen
