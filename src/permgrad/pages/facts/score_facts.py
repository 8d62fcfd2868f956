"""How good the model is, on which rows that rests, and how it was fitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.base.numerals import number
from permgrad.base.significance import LEVEL
from permgrad.models.decision import HALF
from permgrad.models.losses import named_loss
from permgrad.pages.content import PageContent
from permgrad.pages.facts.finding_facts import Facts
from permgrad.pages.sentences import best_baseline, changes_facts
from permgrad.pages.words import clean, listed, shorten, texts_of

if TYPE_CHECKING:
    from permgrad.assess.predictions import Predictions

#: With fewer test rows all scores are uncertain. With fewer rows of a class, those of
#: the class.
FEW_ROWS = 100
FEW_OF_A_CLASS = 20
#: The rarer of two classes is spoken of where it has at most this share of the test
#: rows.
UNEVEN = 0.25


def skill(content: PageContent) -> Facts:
    """How good the model is, or that it is not clearly better than a constant."""
    row_count, counts = content.test_rows
    constant = content.constant
    test_scores = content.test
    subject = f"The {content.noun}"
    if content.subject:
        subject = f"The model {shorten(content.subject, 60)}"
    facts: Facts = {}
    for fact_name in ("learnt", "ahead"):
        if fact_name in constant:
            facts[fact_name] = constant[fact_name]
    facts |= {"subject": subject, "target": content.target, "rows": row_count}
    metric = content.main_metric.name
    if not content.learnt:
        has_few_rows = (row_count or 0) < FEW_ROWS or min(
            counts.values(), default=FEW_ROWS
        ) < FEW_OF_A_CLASS
        if (content.ask(cut) or {}).get("training"):
            sentence_form = "cut"
        elif has_few_rows:
            sentence_form = "few"
        else:
            sentence_form = "none"
        names = dict.fromkeys(
            [next(iter(constant.get("ahead") or {}), metric), "log_loss"]
        )
        return facts | {"form": sentence_form, "pairs": _pairs(content, *names)}
    value = test_scores.get(metric)
    if value is None or len(counts) == 1:  # any constant is right in rows of one class
        return facts | {"form": "unknown"}
    facts |= {"form": "good", "metric": metric, "value": value}
    return facts | _interval_of(content, metric) | _who_is_scored(content, counts)


def _interval_of(content: PageContent, metric: str) -> Facts:
    """Return the ends of the interval of a score, None where it has none."""
    interval: Any = (content.metrics or {}).get("score_interval") or {}
    if interval.get("metric") != metric:
        return {"ci_low": None, "ci_high": None}
    return {"ci_low": interval["ci_low"], "ci_high": interval["ci_high"]}


def _who_is_scored(content: PageContent, counts: Mapping[str, int]) -> Facts:
    """Return how many groups the test rows are of where rows belong together, and how
    many rows have the event.
    """
    between = content.dependence
    if between is None or between.timed:
        return {"groups": None}
    facts: Facts = {"groups": between.count, "group_name": between.name}
    if len(counts) == 2 and str(content.positive) in counts:
        facts |= {"event": str(content.positive)}
        facts |= {"events": counts[str(content.positive)]}
    return facts


def _pairs(content: PageContent, *names: str) -> list[list[Any]]:
    """Return metrics with the values of the model and the constant, where they are
    known.
    """
    pairs: list[list[Any]] = []
    for metric_name in names:
        if content.test.get(metric_name) is not None:
            pairs.append(
                [
                    metric_name,
                    content.test[metric_name],
                    content.constant.get(metric_name),
                ]
            )
    return pairs


def over_constant(content: PageContent) -> Facts | None:
    """By how much the model is better than a constant, where it is significantly so."""
    test_scores = content.test
    constant = content.constant
    ahead = content.constant.get("ahead") or {}
    metric_name = next(
        (
            compared_metric
            for compared_metric, paired in ahead.items()
            if paired["difference"] > 0 and paired["p_value"] < LEVEL
        ),
        None,
    )
    if not content.learnt or metric_name is None:
        return None
    facts = {
        "metric": metric_name,
        "value": test_scores[metric_name],
        "other": constant[metric_name],
        **ahead[metric_name],
    }
    if content.task.numeric:
        return facts | {"form": "numbers"}
    return facts | {
        "form": "classes",
        "accuracy": test_scores["accuracy"],
        "constant_accuracy": constant["accuracy"],
    }


def worse_log_loss(content: PageContent) -> Facts | None:
    """By how much the log loss of a model that has learned something is clearly larger
    than that of the shares of the classes.
    """
    paired = (content.constant.get("ahead") or {}).get("log_loss")
    if not content.learnt or paired is None or not paired["ci_high"] < 0:
        return None
    value = content.test["log_loss"]
    return {**paired, "metric": "log_loss", "value": value} | {
        "other": content.constant["log_loss"]
    }


def finds(content: PageContent) -> Facts | None:
    """How many rows of a rare class it finds: accuracy hides them.

    If none is predicted, another sentence says so.
    """
    counts = content.test_rows.by_class
    scored = content.predictions
    if (
        scored is None
        or content.weights
        or scored.probabilities is None
        or not len(scored.classes) == len(counts) == 2
    ):
        return None
    label = min(counts, key=lambda class_name: counts[class_name])
    classes = texts_of(scored.classes)
    called = classes[scored.scored.decided] == label
    if (
        label not in classes
        or counts[label] > UNEVEN * sum(counts.values())
        or not called.any()
    ):
        return None
    right = int((called & (texts_of(scored.truth) == label)).sum())
    return {
        "class": label,
        "recall": right / counts[label],
        "precision": right / int(called.sum()),
        "at": threshold_words(scored),
    }


def in_percent(threshold: float) -> str:
    """Write a probability with two digits: 50 %, 3.1 %."""
    return f"{number(100 * threshold, 2)}\u00a0%"


def threshold_words(scored: Predictions) -> str:
    """Return by which threshold the classes of predictions were decided, in words."""
    if scored.decision is not None:
        return f"a threshold of {in_percent(scored.decision.threshold)}"
    if scored.called is None:
        return f"a threshold of {in_percent(HALF)}"
    return "the model's own threshold"


def baselines(content: PageContent) -> Facts | None:
    """Whether the model is significantly better or worse than its best baseline, or
    neither.
    """
    measured = content.metrics or {}
    metric_name = content.main_metric.name
    best_entry = best_baseline(content.main_metric, measured)
    if best_entry is None or content.test.get(metric_name) is None:
        return None
    value = content.test[metric_name]
    ahead = {}
    for baseline_name, entry in measured["baselines"].items():
        if entry.get("ahead"):
            ahead[baseline_name] = entry["ahead"]
    facts: Facts = {
        "metric": metric_name,
        "best": best_entry[0],
        "_task": content.task,
        "_counts": content.counts,
        "value": value,
        "other": best_entry[1],
        "ahead": ahead,
    }
    if (paired := ahead.get(best_entry[0])) is None:
        return facts | {"form": "unknown"}
    # Sign and order of the ends that make the difference positive. Equal scores differ
    # by rounding at most.
    if paired["difference"] >= 0:
        difference_sign = 1.0
    else:
        difference_sign = -1.0
    lower_end, upper_end = sorted(
        (difference_sign * paired["ci_low"], difference_sign * paired["ci_high"])
    )
    if abs(paired["difference"]) > 1e-12 * abs(value):
        difference = abs(paired["difference"])
    else:
        difference = 0.0
    if paired["p_holm"] < LEVEL:
        if difference_sign > 0:
            sentence_form = "ahead"
        else:
            sentence_form = "behind"
    else:
        sentence_form = "tie"
    return facts | {
        "form": sentence_form,
        "difference": difference,
        "ci_low": lower_end,
        "ci_high": upper_end,
    }


def changes(content: PageContent) -> Facts | None:
    """What changed since an earlier run."""
    if content.changes is None:
        return None
    return changes_facts(content.changes)


def quantile(content: PageContent) -> Facts | None:
    """The model predicts a quantile, which scores of means do not judge."""
    if content.explanation is None:
        return None
    loss = named_loss(content.explanation.meta.get("loss"))
    if loss is None or not loss.of_quantile:
        return None
    return {"loss": loss.name}


def weights(content: PageContent) -> Facts | None:
    """Test rows have weights."""
    if not content.weights or content.predictions is None:
        return None
    scored = content.predictions.scored
    worth = round(scored.independent(np.ones(len(scored.truth), dtype=bool)))
    return {"column": content.weights["column"], "worth": worth}


def cut(content: PageContent) -> Facts | None:
    """A time limit took something away."""
    if content.provenance is None:
        cut_words = []
    else:
        cut_words = list(content.provenance.cut)
    if cut_words:
        return {
            "cut": cut_words,
            "training": any(words.startswith("training") for words in cut_words),
        }
    return None


def in_order(content: PageContent) -> Facts | None:
    """The classes seem to be in an order."""
    order = (content.metrics or {}).get("in_order")
    if order is None:
        return None
    facts: Facts = {**order, "target": content.target, "form": "numbers"}
    facts["options"] = ["--task", "regression"]
    numbers = []
    for label in content.test.get("labels", ()):
        numbers.append(str(label).removesuffix(".0"))
    if not all(label.lstrip("-").isdigit() for label in numbers):
        # No regression reads words.
        facts |= {"form": "words", "options": []}
    if scale := order.get("scale"):
        facts |= {
            "form": "scale",
            "options": [],
            "_scale": listed(map(clean, scale), 8),
        }
    return facts | {"quadratic_kappa": content.test.get("quadratic_kappa")}


def one_class(content: PageContent) -> Facts | None:
    """All test rows have one class."""
    counts = content.test_rows.by_class
    if len(counts) == 1:
        return {"class": next(iter(counts)), "rows": sum(counts.values())}
    return None


def few_rows(content: PageContent) -> Facts | None:
    """There are few test rows."""
    row_count, counts = content.test_rows
    if row_count is not None and row_count < FEW_ROWS and len(counts) != 1:
        return {"rows": row_count}
    return None


def rare(content: PageContent) -> Facts | None:
    """Few test rows have some of the classes."""
    counts = content.test_rows.by_class
    few_by_class = {}
    for label, count in counts.items():
        if count < FEW_OF_A_CLASS:
            few_by_class[label] = count
    if (
        not few_by_class or len(counts) < 2 or sum(counts.values()) < FEW_ROWS
    ):  # else all of the test rows are few
        return None
    return {
        "rows": dict(
            sorted(
                few_by_class.items(),
                key=lambda class_count: (class_count[1], class_count[0]),
            )
        ),
        "classes": len(few_by_class),
    }
