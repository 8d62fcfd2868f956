"""Whom the model treats worse, and which rows and classes it misses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from permgrad.base.errors import counted
from permgrad.evaluation.segments import worse_groups
from permgrad.pages.content import NAMED, PageContent
from permgrad.pages.facts.finding_facts import Facts
from permgrad.pages.facts.score_facts import FEW_ROWS, threshold_words
from permgrad.pages.sentences import level_words
from permgrad.pages.words import shorten

#: So large a share of the rows, those with the most extreme target, has at least so
#: much of the squared error.
EXTREME = 0.02
MOST_OF_ERROR = 0.5


def levels(content: PageContent) -> list[Facts]:
    """What differs between the levels of each column that the user named."""
    stored = content.sensitive or {}
    missed = content.ask(never_of_two)
    level_facts = []
    columns = zip(stored.get("columns", ()), content.ask(level_sentences), strict=True)
    for column_entry, sentences in columns:
        about: Facts = {
            "column": column_entry["column"],
            "fairness": column_entry["fairness"],
        }
        about["_said"] = sentences[0]
        about["form"] = "compared"
        if missed is not None:
            # Rates that are 0 or 1 on every level are no sign of equal treatment.
            of_class = {}
            for fact_name in ("class", "at", "options"):
                of_class[fact_name] = missed[fact_name]
            about |= of_class | {"form": "never"}
            clear = any(
                measure_line.get("clear") for measure_line in column_entry["measures"]
            )
            if clear:
                about["_said"] = f" {about['_said']}"
            else:
                about["_said"] = ""
        level_facts.append(about)
    return level_facts


def level_sentences(content: PageContent) -> list[list[str]]:
    """Say of each column that the user named what differs between its levels."""
    stored = content.sensitive or {}
    return [
        level_words(column_entry, stored["positive"])
        for column_entry in stored.get("columns", ())
    ]


def never_of_two(content: PageContent) -> Facts | None:
    """Which of two classes the model never predicts in the test rows, and at which
    threshold.
    """
    missed_class = content.ask(never_predicted)
    scored = content.predictions
    if missed_class is None or scored is None or missed_class["form"] == "many":
        return None
    return {"options": [], **missed_class, "at": threshold_words(scored)}


def skewed(content: PageContent) -> Facts | None:
    """A few rows, those with the most extreme target, make most of the squared
    error.
    """
    if content.weights:
        scored = None
    else:
        scored = content.predictions
    if scored is None or not content.task.numeric or len(scored.truth) < FEW_ROWS:
        return None
    if not content.learnt or content.main_metric.name != "rmse":
        return None
    truth = np.asarray(scored.truth, dtype=np.float64)
    errors = np.abs(truth - scored.guess)
    middle = float(np.median(truth))
    first = np.argsort(-np.abs(truth - middle), kind="stable")[
        : math.ceil(EXTREME * len(truth))
    ]
    if errors.any():
        share = float((errors[first] ** 2).sum() / (errors**2).sum())
    else:
        share = 0.0
    if share < MOST_OF_ERROR:
        return None
    above = truth[first] > middle
    if above.all():
        sentence_form = "high"
    elif not above.any():
        sentence_form = "low"
    else:
        sentence_form = "both"
    end_value = float(
        truth[first].max() if sentence_form == "low" else truth[first].min()
    )
    facts: Facts = {
        "target": content.target,
        "rows": len(first),
        "share": share,
        "end": end_value,
    }
    return facts | {"form": sentence_form, "typical": float(np.median(errors))}


def worst_groups(content: PageContent) -> list[dict[str, Any]]:
    """Return the groups of test rows that are clearly worse, the worst first."""
    if not content.segments:
        return []
    return worse_groups(content.segments)


def worse(content: PageContent) -> Facts | None:
    """Some groups of test rows are clearly worse than the others.

    The worst one is told.
    """
    stored = content.segments
    groups = content.ask(worst_groups)
    if not stored or not groups:
        return None
    fact_names = ("feature", "group", "rows", "events", "by")
    told_groups = []
    for worse_group in groups[:NAMED]:
        facts = {
            fact_name: worse_group[fact_name]
            for fact_name in fact_names
            if fact_name in worse_group
        } | worse_group["measured"][worse_group["by"]]
        if worse_group["by"] == stored["score"]:
            facts |= {"low": worse_group["low"], "high": worse_group["high"]}
        if worse_group["by"] == "mae":
            facts["times"] = facts["score"] / facts["expected"]
            facts["rest_times"] = facts["rest"] / facts["rest_expected"]
        told_groups.append(facts)
    sentence_form = told_groups[0]["by"] if "expected" in told_groups[0] else "labels"
    inside = told_groups[0]["rows"]
    outside = stored["rows"] - told_groups[0]["rows"]
    sizes = [counted(inside, "row"), counted(outside, "row")]
    classes = () if content.predictions is None else content.predictions.classes
    all_events = stored.get("events")
    if len(classes) == 2 and all_events is not None:
        label = shorten(str(classes[content.positive_place(classes)]), 40)
        events = told_groups[0]["events"], all_events - told_groups[0]["events"]
        words = [f"{count:,} with {label}" for count in events]
        sizes = [f"{sizes[0]}, {words[0]}", f"{sizes[1]} ({words[1]})"]
    return {
        "groups": told_groups,
        "others": outside,
        "_inside": sizes[0],
        "_outside": sizes[1],
        "worse": len(groups),
        "tests": stored["tests"],
        "form": sentence_form,
    }


def never_predicted(content: PageContent) -> Facts | None:
    """Some classes of the test rows are never predicted."""
    missed = (content.metrics or {}).get("never_predicted")
    if not missed:
        return None
    first = missed[0]
    classes = [] if content.predictions is None else content.predictions.classes
    facts: Facts = {"classes": missed, "missed": len(missed), "of": len(classes)}
    if len(classes) > 2:
        return facts | {
            "form": "many",
            "rows": {
                str(missed_class["class"]): missed_class["rows"]
                for missed_class in missed
            },
        }
    facts |= {"class": str(first["class"]), "rows": first["rows"], "form": "two"}
    if first["threshold"] is None or not first["found"]:
        return facts
    fact_names = ("threshold", "found", "called")
    return (
        facts
        | {fact_name: first[fact_name] for fact_name in fact_names}
        | {"form": "threshold", "precision": first["found"] / first["called"]}
        | {"options": _threshold_of(content, first)}
    )


def _threshold_of(content: PageContent, missed: Mapping[str, Any]) -> list[str]:
    """Return the option that sets a threshold from which on a class is predicted that
    never was.
    """
    predictions = content.predictions
    if predictions is None:
        decision = None
    else:
        decision = predictions.decision
    if predictions is None or decision is None or decision.cost is not None:
        return []
    classes = list(map(str, predictions.classes))
    value = missed["threshold"]
    if classes.index(str(missed["class"])) != decision.positive:
        value = 1 - value
    return ["--threshold", f"{value:.3g}"]
