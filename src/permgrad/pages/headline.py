"""The first sentences of a report: what the model is, how good it is, and what it relies on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.assess.assessment import entries_of, is_hybrid
from permgrad.base.errors import by_count, counted
from permgrad.base.numerals import number, percent
from permgrad.base.significance import UNMOVED, features_tested
from permgrad.evaluation.metrics import metrics
from permgrad.pages.sentences import baseline_label, best_baseline, main_metric, path_shares
from permgrad.pages.units import BEYOND_ALL, advantage
from permgrad.pages.views import Fact
from permgrad.pages.words import (
    clean,
    confidence_words,
    listed,
    modalities_tested,
    names_apart,
    shorten,
    texts_of,
)

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment
    from permgrad.attribution.explanation import Explanation


#: Kinds of networks by their branches.
_KINDS = {
    ("image", "tabular"): "A hybrid network (table and image)",
    ("tabular",): "A network of the table alone",
    ("image",): "A network of the image of each row alone",
}
#: Kinds of columns, where several are weighed.
_INPUTS = {"table": "a table", "text": "texts", "photo": "images"}
#: With fewer test rows all scores are rough. With fewer rows of a class, those of the class.
FEW_ROWS, FEW_OF_A_CLASS, FEWEST_OF_A_CLASS = 100, 20, 5
#: What the constant that ignores the features is called.
CONSTANTS = {"regression": "always the mean", "classification": "always the most frequent class"}


def class_rows(content: Assessment) -> tuple[int | None, dict[str, int]]:
    """Return the number of test rows (None: unknown), and that of each class that has some."""
    rows, scored = ((content.metrics or {}).get("rows") or {}).get("test"), content.predictions
    if scored is None:
        return rows, {}
    rows = len(scored.truth) if rows is None else rows
    if content.task == "regression":
        return rows, {}
    labels, counts = np.unique(texts_of(scored.truth), return_counts=True)
    return rows, dict(zip(labels.tolist(), counts.tolist(), strict=True))


def too_few_words(content: Assessment) -> str:
    """Say which test rows are too few to tell whether the model is better than a constant, where it may be."""
    (rows, counts), ahead = class_rows(content), content.constant.get("ahead") or {}
    label = min(counts, key=lambda one: counts[one], default=None)
    # Intervals are too short where a class has a few rows.
    least = FEWEST_OF_A_CLASS if label is None else counts[label]
    possible = least < FEWEST_OF_A_CLASS or any(paired["ci_high"] > 0 for paired in ahead.values())
    if content.learnt or not ahead or not possible:
        return ""
    if label is not None and counts[label] < FEW_OF_A_CLASS:
        return f"{counted(counts[label], 'test row')} of class {names_apart(counts)(label)}"
    between = content.dependence
    if between is not None and not between.timed and between.count < FEW_OF_A_CLASS:
        return f"{counted(between.count, 'group')} of test rows"
    return counted(rows, "test row") if rows is not None and rows < FEW_ROWS else ""


def headline(content: Assessment) -> str:
    """Compose the first sentence."""
    if not content.learnt:
        return lack_of_skill(content, "The model")
    branches = content.network.branches if content.network else ()
    inputs = [_INPUTS[name] for name in entries_of(content.paths) if name in _INPUTS]
    subject = f"A network of {listed(inputs)}" if inputs else _KINDS.get(tuple(sorted(branches)), "A network")
    # The image of each row carries next to nothing.
    if not inputs and "tabular" in branches and not content.image_counts:
        subject = "A network of the table"
    if content.subject:
        is_blend = "blend" in (content.metrics or {})
        subject = f"The {'' if is_blend else 'model '}{shorten(content.subject, 60)}"
    metric = main_metric(content.task, content.test)
    value, target = content.test.get(metric.name), shorten(content.target, 60)
    if value is None or len(class_rows(content)[1]) == 1:  # any constant is right in rows of one class
        return f"{subject} predicts {target}."
    rows = ((content.metrics or {}).get("rows") or {}).get("test")
    where = f" on {counted(rows, 'test row')}" if isinstance(rows, int) else " on the test rows"
    value_words = percent(value) if metric.name == "accuracy" else number(value)
    article = "a" if metric.name in ("roc_auc", "poisson_deviance") else "an"
    measure = f"{article} {metric.label}".replace("-", "\u2011")  # the hyphen that does not break the line
    return f"{subject} predicts {target} with {measure} of {value_words}{where}."


def _relation(paired: Mapping[str, Any] | None, content: Assessment) -> str:
    """Say how a score that is not clearly better than a constant's compares with it."""
    if paired is not None and paired["difference"] > 0:
        return "not significantly better than"
    worse = paired is not None and paired["ci_high"] < 0 and not too_few_words(content)
    return "worse than" if worse else "no better than"


def lack_of_skill(content: Assessment, subject: str = "This model") -> str:
    """Say in what respect the model, its probabilities or its classes are no better than a constant, if in any."""
    test, judged = content.test, content.constant
    if "learnt" not in judged:
        return ""
    ahead = judged["ahead"]
    first = next(iter(ahead), None) or main_metric(content.task, test).name
    pairs = {
        name: f"{metrics.get(name).label} {number(test.get(name))} against {number(judged.get(name))}"
        for name in (first, "log_loss", "roc_auc", "accuracy")
    }
    above = {name for name, paired in ahead.items() if paired["ci_low"] > 0}
    relations = {name: _relation(ahead.get(name), content) for name in (first, "log_loss")}
    if not judged["learnt"]:
        relation = relations[first]
        if relation == "no better than" and "not significantly better than" in relations.values():
            relation = "not significantly better than"
        names = [first] if content.task == "regression" else dict.fromkeys([first, "log_loss"])
        measured = " and ".join(pairs[name] for name in names if test.get(name) is not None)
        return (
            f"{subject} predicts {shorten(content.target, 60)} {relation} a constant that ignores the features "
            f"({measured} on the test rows)."
        )
    if "log_loss" in ahead and "log_loss" not in above:
        order = "roc_auc" in above
        but = "it ranks the rows better than chance" if order else "its classes are right more often"
        return (
            f"Its probabilities are {relations['log_loss']} a constant ({pairs['log_loss']}), although {but} "
            f"({pairs['roc_auc' if order else first]})."
        )
    if first == "accuracy" and first in ahead and first not in above:
        return (
            f"Its classes are right no more often than the most frequent class ({pairs[first]}), although its "
            f"probabilities are better than a constant ({pairs['log_loss']})."
        )
    return ""


def reliance_sentence(content: Assessment) -> str:
    """Name what clearly matters, and the ranks in between that are left out because their effects may be chance."""
    explanation = content.explanation
    if few := too_few_words(content):
        return f"Whether what it relies on helps to predict {shorten(content.target, 60)} cannot be told from {few}."
    if not content.learnt:
        better = any(paired["difference"] > 0 for paired in (content.constant.get("ahead") or {}).values())
        words = "It is not shown that what it relies on helps" if better else "What it relies on does not help"
        return f"{words} to predict {shorten(content.target, 60)}."
    if explanation is None:
        return ""
    leading, tests = explanation.clearly_matter()[:3], modalities_tested(explanation)
    whole, ranking = advantage(explanation.meta, content.metrics or {}), explanation.ranking()
    if not leading:
        return _nothing_clear(explanation, tests)
    largest = "" if ranking[0] in leading else _largest_words(explanation, explanation.names.index(ranking[0]), whole)
    names, meaning = list(map(names_apart(explanation.names), leading)), ""
    if whole is not None:
        lost = [explanation.values[explanation.names.index(name), 0] / whole for name in leading]
        names = [f"{name} ({percent(share)})" for name, share in zip(names, lost, strict=True)]
        meaning = "In brackets: how much of its advantage over a constant it loses when the feature is shuffled."
        meaning += f" {BEYOND_ALL}" * any(share > 1 for share in lost)
    above = ranking[bool(largest) : ranking.index(leading[-1])]
    relies = f"{'It clearly relies on' if largest else 'It relies most on'} {listed(names)}."
    ranks, left_out = [str(ranking.index(name) + 1) for name in above if name not in leading], ""
    if ranks:
        are, effects = by_count(len(ranks), "is", "are"), by_count(len(ranks), "its effect", "their effects")
        left_out = f"{by_count(len(ranks), 'Rank', 'Ranks')} {listed(ranks, 5)} {are} left out, because {effects} may "
        left_out += "be chance."
    return " ".join(filter(None, [relies, meaning, largest, left_out]))


def _nothing_clear(explanation: Explanation, tests: Sequence[str]) -> str:
    """Say that no feature clearly matters, or that it is unknown, and why."""
    known, every = explanation.p_values, len(explanation.names)
    lacking = every if known is None else int(np.isnan(known[:, 0]).sum())
    if lacking:
        why = f"{lacking} of {every} have no p-value" if lacking < every else "this explanation has no p-values"
        return f"It is unknown which features clearly matter, because {why}."
    none = f"no p-value is below 5\u00a0% after Holm's correction for {features_tested(tests)}" if tests else UNMOVED
    return f"No feature clearly matters: {none}."


def _largest_words(explanation: Explanation, place: int, whole: float | None) -> str:
    """Say which feature has the largest estimate, where it may be chance."""
    value, low, high = (float(numbers[place, 0]) for numbers in (explanation.values, *explanation.ci()))
    write = number if whole is None else (lambda effect: percent(effect / whole))
    ends = f", {confidence_words(explanation)} interval {write(low)} to {write(high)}" * bool(np.isfinite(low + high))
    name = names_apart(explanation.names)(explanation.names[place])
    return f"The largest estimate is that of {name} ({write(value)}{ends}), but it may be chance."


def facts(content: Assessment) -> list[Fact]:
    """Choose a few key figures."""
    chosen: list[Fact] = []
    metric = main_metric(content.task, content.test)
    if (value := content.test.get(metric.name)) is not None:
        units = f" (in units of {shorten(content.target, 30)})" if metric.name == "rmse" else ""
        chosen.append(Fact(number(value), f"{metric.label}, this {content.noun}{units}"))
        if not content.learnt:
            label = f"{metric.label}, {CONSTANTS[content.task]}"
            chosen.append(Fact(number(content.constant.get(metric.name)), label))
    best = best_baseline(content.task, content.metrics or {})
    if best is not None:
        chosen.append(Fact(number(best[1]), f"{metric.label}, best baseline ({baseline_label(best[0])})"))
    explanation = content.explanation
    if explanation is not None and explanation.p_values is not None and np.isfinite(explanation.p_values[:, 0]).any():
        clear = len(explanation.clearly_matter())
        chosen.append(Fact(f"{clear} of {len(explanation.names)}", "features that clearly matter"))
    if content.paths_count and (shares := path_shares(content.paths)):
        label = " and ".join(clean(name) for name in shares)
        what = "path" if is_hybrid(content.paths) else "as whole inputs"
        chosen.append(Fact(" · ".join(percent(share) for share in shares.values()), f"{label} {what}"))
    return chosen
