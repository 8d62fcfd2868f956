"""What a verdict can say of an assessment: for each finding the numbers behind it, or
None if it does not hold.

``verdict`` has the sentences, their order and their parts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.base.errors import counted
from permgrad.base.numerals import number
from permgrad.base.random import generator
from permgrad.base.significance import LEVEL
from permgrad.data.encode.groups import PROPOSED
from permgrad.evaluation.calibration import ClassCurve, Reliability, reliability
from permgrad.evaluation.leaks import ALONE
from permgrad.evaluation.related import MISSING, MOST_RELATED
from permgrad.evaluation.segments import worse_groups
from permgrad.models.decision import HALF
from permgrad.models.losses import named_loss
from permgrad.pages.content import NAMED, PageContent
from permgrad.pages.sentences import best_baseline, changes_facts, level_words
from permgrad.pages.standing import Standing
from permgrad.pages.words import clean, listed, shorten, texts_of

if TYPE_CHECKING:
    from permgrad.assess.predictions import Predictions

#: The numbers and names of a finding. ``form`` says which of its sentences is meant,
#: ``options`` what the command that is advised adds to that of the run.
Facts = dict[str, Any]

#: With fewer test rows all scores are uncertain. With fewer rows of a class, those of
#: the class.
FEW_ROWS = 100
FEW_OF_A_CLASS = 20
#: A calibration error deserves a warning if it is this many times that of chance, and
#: no smaller than this, which is shown as 0.0 %.
TIMES_CHANCE = 1.5
LEAST_CALIBRATION_ERROR = 0.0005
#: Of frequent classes it is at least so large. Of rare ones it is at least this part of
#: the share that they have.
OFF_BY = 0.03
OFF_PART = 0.2
#: Of a rare class, as many times too many, or too few, are predicted as deserves to be
#: said.
LEAST_RATIO = 1.25
#: Chance explains a calibration error unless it happens less often than this.
BEYOND_CHANCE = 0.001
#: The rarer of two classes is spoken of where it has at most this share of the test
#: rows.
UNEVEN = 0.25
#: A nearly perfect model is one of a score from ``ALONE`` on, or from here on if one
#: feature has nearly all importance.
HIGH = 0.95
DOMINANT = 0.9
#: One column alone gives nearly all of a model's skill from this part of it on, and
#: much from this skill on, of 1.
NEARLY_ALL = 0.95
MUCH = 0.7
#: Copies are worth advice from this share of the test rows on.
LEAST_COPIES = 0.01
#: So large a share of the rows, those with the most extreme target, has at least so
#: much of the squared error.
EXTREME = 0.02
MOST_OF_ERROR = 0.5
#: Few rows decide a score with this part of the squared error or log loss.
DECISIVE = 0.1
#: Features of so strong a correlation or association move together.
CLOSE = 0.9


# ---- how good it is ------------------------------------------------------------------
def leak(content: PageContent) -> Facts | None:
    """Columns, or a formula, give the target away."""
    if content.table.leaks:
        return leak_facts(content.target, content.table.leaks)
    return None


def leak_facts(target: str, leaks: Sequence[Mapping[str, Any]]) -> Facts:
    """Return the facts on leaks that ``permgrad.evaluation.leaks`` found."""
    columns = list(
        dict.fromkeys(
            column_name
            for leak_facts in leaks
            for column_name in leak_facts.get("columns", [leak_facts["column"]])
        )
    )
    options = [
        option_word
        for column_name in columns
        for option_word in ("--drop", column_name)
    ]
    # Near dates are alike: the column is known, and a random split is what is wrong.
    form = "dates" if len(leaks) == 1 and leaks[0].get("date") else "columns"
    if form == "dates":
        options = ["--time", columns[0]]
    return {
        "form": form,
        "target": target,
        "columns": list(leaks),
        "named": columns,
        "several": len(columns),
        "options": options,
    }


def cells(content: PageContent) -> list[Facts]:
    """How cells of the table were read that are odd: the words, and the advice."""
    return [{"options": [], **cell_facts} for cell_facts in content.table.cells]


def together(content: PageContent, *, clear: bool) -> Facts | None:
    """Rows may belong together, and are on both sides.

    ``clear``: a forest scores clearly less where they are not.
    """
    group_facts = content.table.together
    if group_facts and bool(group_facts["clear"]) is clear:
        return together_facts(group_facts, in_python=content.in_python)
    return None


def together_facts(group_facts: Mapping[str, Any], *, in_python: bool = False) -> Facts:
    """Return the facts on what ``permgrad.evaluation.kept_together`` found."""
    is_column = len(group_facts["columns"]) == 1
    options = []
    keep = "add a column of both, and name it as --row-group"
    if is_column:
        options = ["--row-group", *group_facts["columns"]]
        keep = "keep them together"
    if in_python:
        keep = "keep them on one side when you divide rows, and pass row_groups="
    if group_facts["clear"]:
        sentence_form = "clear"
    else:
        sentence_form = "unclear"
    return {
        **group_facts,
        "form": sentence_form,
        "_keep": keep,
        "options": options,
    }


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


# ---- what it relies on ---------------------------------------------------------------
def features(content: PageContent) -> Facts | None:
    """Which features clearly matter, and what the loss is without them."""
    explanation = content.explanation
    if explanation is None or (content.learnt and explanation.p_values is None):
        return None
    clear = content.clear_names
    facts: Facts = {
        "clear": len(clear),
        "of": len(explanation.names),
        "names": clear[:10],
        "target": content.target,
    }
    if not clear or not content.learnt:
        return facts | {"form": "none" if content.learnt else "unshown"}
    leading = clear[:NAMED]
    ranking = content.ranking
    lower_ends, upper_ends = (interval_ends[:, 0] for interval_ends in explanation.ci())
    known_loss = content.loss

    def fact(name: str) -> Facts:
        feature_index = explanation.names.index(name)
        estimates = []
        for numbers in (explanation.values[:, 0], lower_ends, upper_ends):
            estimates.append(float(numbers[feature_index]))
        if known_loss is not None:
            estimates = list(map(known_loss.without, estimates))
        return {
            "name": name,
            "place": ranking.index(name) + 1,
            "loss": estimates[0],
            "low": estimates[1],
            "high": estimates[2],
        }

    ranks = None if content.standing is None else content.standing.ranks
    if ranks is None:
        rank_sets = []
    else:
        rank_sets = [
            int(ranks.sets[ranks.names.index(feature_name)]) for feature_name in leading
        ]
    before = ranking[: ranking.index(leading[-1])]
    facts |= {
        "relies": "clearly relies" if ranking[0] not in leading else "relies most"
    }
    facts |= {
        "leading": list(map(fact, leading)),
        "uncertain": [
            fact(earlier_name) for earlier_name in before if earlier_name not in clear
        ],
    }
    undecided = []
    for feature_name, rank_set in zip(leading, rank_sets, strict=False):
        if rank_sets.count(rank_set) > 1:
            undecided.append(feature_name)
    facts |= {
        "undecided": undecided,
        "form": "clear" if known_loss is None else "losses",
    }
    if known_loss is None:
        return facts
    return facts | {
        "metric": known_loss.metric,
        "loss": known_loss.model,
        "constant": known_loss.constant,
    }


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


# ---- what makes the numbers doubtful -------------------------------------------------
def noted(content: PageContent) -> Facts | None:
    """The data card says of the leading feature when it is known."""
    leading_hint = content.ask(leading)
    if leading_hint is None or not leading_hint["notes"] or not content.learnt:
        return None
    return leading_hint


def leading(content: PageContent) -> Facts | None:
    """Return the feature with most of the importance: its ``share``, the ``notes`` on
    it, and how to leave it out.
    """
    leakage_hint = (content.reading or {}).get("leakage")
    explanation = content.explanation
    if not leakage_hint or explanation is None:
        return None
    columns = (explanation.groups or {}).get(
        leakage_hint["feature"], [leakage_hint["feature"]]
    )
    options = [
        option_word
        for column_name in columns
        for option_word in ("--drop", column_name)
    ]
    return {**leakage_hint, "of": len(explanation.names), "options": options}


def nearly_perfect(content: PageContent) -> Facts | None:
    """A score that models have which know the outcome, where no column was found that
    gives it away.
    """
    metric_name = content.task.skill
    value = content.test.get(metric_name)
    leading_hint = content.ask(leading)
    is_dominant = leading_hint is not None and leading_hint["share"] > DOMINANT
    if (
        value is None
        or value < (HIGH if is_dominant else ALONE)
        or len(content.test_rows.by_class) == 1
    ):
        return None
    if content.table.leaks:
        return None
    needs = content.table.unchecked
    facts = {"metric": metric_name, "value": value, "target": content.target}
    if is_dominant and leading_hint is not None:
        facts |= leading_hint
    else:
        facts |= {"feature": "", "options": []}
    return facts | {"form": needs or ("one" if is_dominant else "none"), "needs": needs}


def nearly_all(content: PageContent) -> Facts | None:
    """The column that the model relies on most gives alone nearly all of its skill,
    which is much.
    """
    alone = (content.reading or {}).get("alone")
    if alone is None or not content.learnt or alone["date"]:
        return None
    if content.table.leaks or content.ask(nearly_perfect) is not None:
        return None
    value = content.test.get(alone["metric"])
    classes = len(content.test_rows.by_class)
    if value is None or (content.task.has_classes and classes < 2):
        return None
    if content.task.has_classes:
        by_chance = 1 / classes
    else:
        by_chance = 0.0
    skills = []
    for score in (alone["score"], value):
        skills.append((score - by_chance) / (1 - by_chance))
    if skills[0] < MUCH or skills[0] < NEARLY_ALL * skills[1]:
        return None
    facts = {key: alone[key] for key in ("feature", "metric", "score")}
    options = ["--drop", alone["column"]]
    return {**facts, "value": value, "target": content.target, "options": options}


def dated(content: PageContent) -> Facts | None:
    """The model relies most on a date, and training and test rows are of the same
    time.
    """
    alone = (content.reading or {}).get("alone")
    if alone is None or not alone["date"] or not content.learnt:
        return None
    moved = []
    for column_drift in content.table.drift:
        if column_drift["column"] == alone["column"]:
            moved.append(column_drift)
    if not moved or any(moved_column["clear"] for moved_column in moved):
        return None
    options = ["--time", alone["column"]]
    return {"feature": alone["feature"], "column": alone["column"], "options": options}


def copies(content: PageContent) -> Facts | None:
    """Test rows are also in the training rows.

    Rows without any value, or of coarse columns, are no copies.
    """
    table = content.table
    row_count = content.test_rows.total
    shared = (table.shared_rows or 0) - table.blank_rows
    if not shared or not row_count or table.shared_expected:
        return None
    facts: Facts = {"shared": shared, "rows": row_count, "share": shared / row_count}
    # They must be so many that they can change a score.
    if shared >= LEAST_COPIES * row_count:
        return facts
    return facts | {"part": "trust"}


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


def unseen(content: PageContent) -> Facts | None:
    """Test rows have classes that no training row has."""
    strange = content.test.get("unseen")
    if strange:
        return {
            "rows": strange,
            "count": sum(strange.values()),
            "target": content.target,
        }
    return None


def few_rows_decide(content: PageContent) -> Facts | None:
    """A few rows make much of the squared error or log loss, or are predicted far
    outside the training targets.
    """
    stored = (content.metrics or {}).get("few_rows_decide")
    if not stored:
        return None
    named = stored["numbers"][:NAMED]
    predicted = stored["predicted"]
    texts = list(map(str, named))
    if predicted is not None:
        pairs = zip(named, predicted, strict=False)
        texts = []
        for row_number, guess in pairs:
            texts.append(f"{row_number} (predicted {number(guess)})")
    further_rows = stored["rows"] - len(named)
    facts: Facts = {
        **stored,
        "_names": _and_last(texts, further_rows),
    }
    if predicted is None:
        facts["_loss"] = "log loss"
    else:
        facts["_loss"] = "squared error"
    if stored["share"] < DECISIVE:
        return facts | {"form": "outside"}
    return facts | {"form": "range" if stored["outside"] else "decide"}


def few_rows_matter(content: PageContent) -> Facts | None:
    """A few rows make, or hide, the importance of a feature.

    That of the first such feature is told.
    """
    explanation = content.explanation
    if explanation is None:
        return None
    facts_by_feature = explanation.meta.get("few_rows", {})
    loss = named_loss(explanation.meta.get("loss"))
    if loss is None or not loss.by_few_rows or not facts_by_feature:
        return None
    larger = {
        name: max(
            float(value), float(facts_by_feature.get(name, {}).get("without", value))
        )
        for name, value in zip(explanation.names, explanation.values[:, 0], strict=True)
    }
    first = sorted(larger, key=lambda name: -larger[name])[:NAMED]
    name = next(
        (
            feature_name
            for feature_name in first
            if facts_by_feature.get(feature_name, {}).get("numbers")
        ),
        None,
    )
    if name is None:
        return None
    stored = facts_by_feature[name]
    named = list(map(str, stored["numbers"][:NAMED]))
    keys = ("rows", "of", "value", "without")
    facts: Facts = {key: stored[key] for key in keys}
    facts |= {"feature": shorten(str(name), 40), "_loss": loss.label}
    return facts | {"_names": _and_last(named, stored["rows"] - len(named))}


def _and_last(texts: Sequence[str], more: int) -> str:
    """Write names as a list whose last one has an "and" before it."""
    if more > 0:
        names = [*texts, f"{more} more"]
    else:
        names = list(texts)
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def by_absolute_errors(content: PageContent) -> Facts | None:
    """What the model relies on by absolute errors, where few rows decide the squared
    ones.
    """
    explanation = content.absolute
    if explanation is None:
        return None
    ranked = Standing(explanation).clear
    facts: Facts = {"clear": len(ranked), "of": len(explanation.names)}
    if not ranked:
        return facts | {"form": "none"}
    names = [shorten(str(feature_name), 40) for feature_name in ranked[:NAMED]]
    return facts | {"form": "clear", "_names": _and_last(names, 0)}


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


def curves_of(content: PageContent) -> list[ClassCurve]:
    """Return the reliability curve of each class, of two classes that of the positive
    one.

    The list is empty where there are no probabilities.
    """
    scored = content.predictions
    if scored is None or content.weights or not len(scored.truth):
        return []
    if scored.probabilities is None:
        return []
    truth = texts_of(scored.truth)
    classes = texts_of(scored.classes)
    positions = list(range(len(classes)))
    if len(classes) == 2:
        positions = [content.positive_place(scored.classes)]
    curves = []
    for position in positions:
        is_class = truth == classes[position]
        by_time = []
        for table in (scored.probabilities, scored.before_calibration):
            if table is not None:
                chances = np.clip(table[:, position].astype(np.float64), 0, 1)
                curve = reliability(is_class, chances, content.dependence)
                by_time.append((chances, curve))
        (chances, curve), *earlier = by_time
        before = earlier[0][1] if earlier else None
        curves.append(ClassCurve(classes[position], chances, curve, before))
    return curves


def beyond_chance(curves: Sequence[Reliability], error: float) -> bool:
    """Whether fewer than 1 in 1,000 calibrated models with the same probabilities would
    have so large an error.
    """
    stream = generator(0, "calibration by chance")
    draws = 5000
    drawn = np.zeros(draws)
    for curve in curves:
        observed = (
            stream.binomial(
                curve.rows, np.clip(curve.predicted, 0, 1), (draws, len(curve.rows))
            )
            / curve.rows
        )
        distances = np.abs(observed - curve.predicted) * curve.widening
        drawn += distances @ curve.rows / curve.rows.sum() / len(curves)
    return bool(np.mean(drawn >= error) < BEYOND_CHANCE)


def calibration(content: PageContent) -> Facts | None:
    """Probabilities are off, by more than chance explains and by enough to matter."""
    curves = content.ask(curves_of)
    if not curves or curves[0].curve.rows.sum() < FEW_ROWS:
        return None
    facts = content.ask(calibration_facts)
    if facts is None or facts["off"] != "clearly":
        return None
    if len(content.test_rows.by_class) < 2:
        return None
    return facts


def how_far_off(curves: Sequence[Reliability]) -> str:
    """Return whether probabilities are off ``"clearly"``, by ``"little"`` or ``"not
    clearly"``.
    """
    error, chance = (
        float(np.mean([getattr(curve, error_name) for curve in curves]))
        for error_name in ("error", "chance")
    )
    shares = [float(curve.observed @ curve.rows / curve.rows.sum()) for curve in curves]
    rarer = float(np.mean([min(share, 1 - share) for share in shares]))
    too_many = len(curves) == 1 and times_too_many(curves[0]) is not None
    is_far = error > TIMES_CHANCE * chance and beyond_chance(curves, error)
    if not is_far and not too_many:
        return "not clearly"
    least = max(min(OFF_BY, OFF_PART * rarer), LEAST_CALIBRATION_ERROR)
    if too_many or error >= least:
        return "clearly"
    return "little"


def times_too_many(curve: Reliability) -> float | None:
    """Return how many times as many rows of a rare class are predicted as there are.

    None: about as many, or chance.
    """
    row_count = int(curve.rows.sum())
    there = float(curve.observed @ curve.rows)
    expected = float(curve.predicted @ curve.rows)
    if not 0 < there <= UNEVEN * row_count or expected <= 0:
        return None
    doubt = float(curve.rows @ (curve.predicted * (1 - curve.predicted)))
    scaled_distance = abs(there - expected) / max(
        math.sqrt(doubt) * curve.widening, 1e-300
    )
    ratio = expected / there
    by_chance = math.erfc(scaled_distance / math.sqrt(2)) >= BEYOND_CHANCE
    alike = 1 / LEAST_RATIO < ratio < LEAST_RATIO
    if by_chance or alike:
        return None
    return ratio


def calibration_facts(content: PageContent) -> Facts | None:
    """Return the error of probabilities, that of chance, and of two classes the bin
    that is off most.

    None: there are no probabilities.
    """
    curves = [class_curve.curve for class_curve in content.ask(curves_of)]
    if not curves:
        return None
    error, chance = (
        float(np.mean([getattr(curve, error_name) for curve in curves]))
        for error_name in ("error", "chance")
    )
    facts: Facts = {
        "error": error,
        "chance": chance,
        "form": "mean" if len(curves) > 1 else "one",
        "off": how_far_off(curves),
    }
    curve = curves[0]
    times = times_too_many(curve) if len(curves) == 1 else None
    if times is not None and content.predictions is not None:
        names = content.predictions.classes
        return facts | {
            "form": "ratio",
            "times": times,
            "class": str(names[content.positive_place(names)]),
            "all": int(curve.rows.sum()),
            "there": round(float(curve.observed @ curve.rows)),
            "expected": round(float(curve.predicted @ curve.rows)),
        }
    bins_off = np.flatnonzero(
        (curve.predicted < curve.low) | (curve.predicted > curve.high)
    )
    classes = () if content.predictions is None else content.predictions.classes
    if len(classes) != 2 or not len(bins_off) or error <= TIMES_CHANCE * chance:
        return facts
    worst = bins_off[
        int(
            np.argmax(
                np.abs(curve.observed - curve.predicted)[bins_off]
                * curve.rows[bins_off]
            )
        )
    ]
    facts |= {
        "rows": int(curve.rows[worst]),
        "class": str(classes[content.positive_place(classes)]),
    }
    return facts | {
        "form": "bin",
        "predicted": float(curve.predicted[worst]),
        "observed": float(curve.observed[worst]),
    }


def drift(content: PageContent) -> Facts | None:
    """Columns differ clearly between training and test rows."""
    compared = content.table.drift
    clear = [drift_entry for drift_entry in compared if drift_entry["clear"]]
    if not clear:
        return None
    columns = [drift_entry["column"] for drift_entry in clear]
    return {
        "columns": columns,
        "clear": len(clear),
        "compared": len(compared),
        "worst": dict(clear[0]),
    }


def impossible(content: PageContent) -> Facts | None:
    """Without one of features that move together, the model is worse than a constant:
    such rows do not occur.
    """
    explanation = content.explanation
    known_loss = content.loss
    if explanation is None or known_loss is None:
        return None
    without = dict(
        zip(
            explanation.names,
            map(known_loss.without, explanation.values[:, 0].tolist()),
            strict=True,
        )
    )
    pairs = []
    for related_pair in content.moving:
        if (
            related_pair["kind"] != MISSING
            and without[related_pair["feature"]] > known_loss.constant
            and abs(related_pair["strength"]) >= CLOSE
        ):
            pairs.append(related_pair)
    if not pairs:
        return None
    provenance = content.provenance
    options = list[str]()
    if (
        provenance is not None
        and provenance.folder
        and "--groups" not in provenance.command
        and len(without) <= MOST_RELATED
    ):
        options = ["--groups", f"{provenance.folder}/{PROPOSED}"]
    return {
        "pairs": pairs,
        "options": options,
        "form": "command" if options else "call",
    }


def related(content: PageContent) -> Facts | None:
    """Other features that clearly matter move with some."""
    impossible_pairs = (content.ask(impossible) or {}).get("pairs", ())
    pairs = []
    for related_pair in content.moving:
        if related_pair["feature"] not in {
            impossible_pair["feature"] for impossible_pair in impossible_pairs
        }:
            pairs.append(related_pair)
    if pairs:
        return {"pairs": pairs}
    return None


def dependence(content: PageContent) -> Facts | None:
    """Intervals and tests allow for rows that depend on each other."""
    between = content.dependence
    row_count = content.test_rows.total
    if between is None or not row_count:
        return None
    if between.timed:
        groups = None
    else:
        groups = between.count
    return {
        "groups": groups,
        "rows": row_count,
        "name": between.name,
        "form": "time" if between.timed else "groups",
    }
