"""The verdict: a few plain sentences that come first, each with the facts behind it.

Page, ``report.md``, ``metrics.json`` and ``permgrad run --json`` have the same sentences. Every sentence has one
function here, which returns None if there is nothing to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from permgrad.base.errors import by_count, counted
from permgrad.base.numerals import number, percent
from permgrad.base.random import generator
from permgrad.base.significance import LEVEL
from permgrad.data.splitting import blank_words
from permgrad.evaluation.calibration import Reliability, reliability, wilson
from permgrad.evaluation.leaks import ALONE
from permgrad.evaluation.metrics import metrics
from permgrad.evaluation.segments import worse_groups
from permgrad.evaluation.thresholds import never_predicted_words
from permgrad.pages.headline import headline, lack_of_skill, related_sentence, reliance_sentence, tests_of
from permgrad.pages.sentences import (
    against_baselines,
    baseline_label,
    best_baseline,
    dominant_words,
    down,
    drift_words,
    leak_words,
    no_segment_words,
    reliability_words,
    segment_words,
    unchecked_words,
    unseen_words,
)
from permgrad.pages.words import clean, listed, shorten, texts_of

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment

#: Where a sentence goes: an alarm, how good the model is, what it relies on, the rows for which it is worse, a caution,
#: or what to do next.
Part = Literal["alarm", "score", "features", "groups", "caution", "next"]
#: A sentence and the facts behind it, with their ``kind`` and ``part``.
Sentence = dict[str, Any]

#: With fewer test rows all scores are rough. With fewer rows of a class, those of the class.
FEW_ROWS, FEW_OF_A_CLASS = 100, 20
#: A calibration error deserves a warning from here on, if it is also this many times that of chance.
LEAST_CALIBRATION_ERROR, TIMES_CHANCE = 0.03, 1.5
#: Chance explains a calibration error unless it happens less often than this.
BEYOND_CHANCE = 0.001
#: The rarer of two classes is spoken of where it has at most this share of the test rows.
UNEVEN = 0.25
#: A feature of which no note is known is spoken of if it has more than this share of all importances.
DOMINANT = 2 / 3
#: Copies are worth advice from this share of the test rows on.
LEAST_COPIES = 0.01
#: Most classes that a sentence names.
_NAMED = 3


def verdict(content: Assessment) -> list[Sentence]:
    """Return the sentences in reading order: alarms, scores, features, groups, cautions, one on what to do next.

    Each is ``{"sentence", "facts"}``. ``facts`` has ``kind``, ``part`` and the numbers of the sentence.
    """
    if content.sentences is not None:
        return list(content.sentences)
    sentences = [sentence for speak in _SENTENCES if (sentence := speak(content)) is not None]
    sentences.append(_next(content, {one["facts"]["kind"]: one["facts"] for one in sentences}))
    return sentences


def first_sentence(sentences: Sequence[Mapping[str, Any]]) -> str:
    """Return the sentence that says how good the model is."""
    return next((str(one["sentence"]) for one in sentences if one["facts"].get("kind") == "skill"), "")


def by_part(sentences: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, list[str]]]:
    """Return name, heading and sentences of each part of a verdict, without its first sentence."""
    first = first_sentence(sentences)
    parts: list[tuple[str, str, list[str]]] = []
    for part, heading in PARTS.items():
        chosen = [str(one["sentence"]) for one in sentences if one["facts"].get("part") == part]
        if chosen := [one for one in chosen if one != first]:
            uses = part == "features" and not all(one["facts"].get("learnt", True) for one in sentences)
            parts.append((part, "What it uses" if uses else heading, chosen))
    return parts


def markdown(title: str, sentences: Sequence[Mapping[str, Any]]) -> str:
    """Write a verdict as Markdown: the score first, then a list for each part.

    Examples:
        >>> sentences = [_sentence("It is good.", "skill", "score"), _sentence("Beware.", "drift", "caution")]
        >>> print(markdown("heloc", sentences))
        # heloc
        <BLANKLINE>
        It is good.
        <BLANKLINE>
        ## What to be wary of
        <BLANKLINE>
        - Beware.
        <BLANKLINE>
    """
    lines = [f"# {_escaped(title)}", ""]
    for part, heading in PARTS.items():
        chosen = [_escaped(one["sentence"]) for one in sentences if one["facts"].get("part") == part]
        if part == "score" and chosen:
            lines += ["\n\n".join(chosen), ""]
        elif chosen:
            lines += [f"## {heading}", "", *(f"- {one}" for one in chosen), ""]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Escape what Markdown would take for markup."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>#|" else letter for letter in clean(text))


#: Headings of the parts, in reading order.
PARTS: dict[Part, str] = {
    "alarm": "Alarm",
    "score": "How good it is",
    "features": "What it relies on",
    "groups": "For whom it is worse",
    "caution": "What to be wary of",
    "next": "What to do next",
}


def _sentence(words: str, kind: str, part: Part, **facts: Any) -> Sentence:
    return {"sentence": words, "facts": {"kind": kind, "part": part, **facts}}


# ---- how good it is --------------------------------------------------------------------------------------------------
def _leak(content: Assessment) -> Sentence | None:
    leaks = list(content.data.leaks) if content.data is not None else []
    words = leak_words(content.target, leaks, in_python=content.in_python)
    return _sentence(words, "leak", "alarm", columns=leaks) if leaks else None


def _skill(content: Assessment) -> Sentence | None:
    facts = {name: content.constant[name] for name in ("learnt", "ahead") if name in content.constant}
    return _sentence(headline(content), "skill", "score", rows=_rows(content), **facts)


def _rows(content: Assessment) -> int | None:
    """Return the number of test rows."""
    rows = ((content.metrics or {}).get("rows") or {}).get("test")
    if rows is None and content.predictions is not None:
        rows = len(content.predictions.truth)
    return rows


def _against_constant(content: Assessment) -> Sentence | None:
    """Compare a model that has learned something with always predicting the same."""
    ahead, test, constant = content.constant.get("ahead") or {}, content.test, content.constant
    name = next(iter(ahead), None)
    if not content.learnt or name is None or ahead[name]["ci_low"] <= 0:
        return None
    metric, paired = metrics.get(name), ahead[name]
    facts = {"metric": name, "value": test[name], "constant": constant[name], **paired}
    if content.task == "regression":
        share = percent(paired["difference"] / constant[name])
        words = f"Its error is {share} smaller than that of always predicting the mean: {metric.label} "
    elif name == "accuracy":
        words = f"It is right more often than always predicting the most frequent class: {metric.label} "
    else:
        words = f"It is right in {percent(test['accuracy'])} of the test rows. {_most_frequent(content)} is right in "
        better = "It ranks rows better than chance" if name == "roc_auc" else "Its probabilities are better"
        words += f"{percent(constant['accuracy'])}. {better}: {metric.label} "
        facts |= {"accuracy": test["accuracy"], "constant_accuracy": constant["accuracy"]}
    words += f"{number(test[name])} against {number(constant[name])} (difference {number(paired['difference'])}, "
    words += f"95\u00a0% interval {number(paired['ci_low'])} to {number(paired['ci_high'])})."
    return _sentence(words, "constant", "score", **facts)


def _most_frequent(content: Assessment) -> str:
    counts = content.data.class_counts if content.data is not None else None
    if counts is None or content.data is None or content.data.constant_from not in counts:
        return "Always predicting the most frequent class"
    return f"Always predicting {shorten(counts[content.data.constant_from].idxmax(), 40)}"


def _lack(content: Assessment) -> Sentence | None:
    """Say in what respect a model that has learned something is no better than a constant."""
    words = lack_of_skill(content) if content.learnt else ""
    return _sentence(words, "lack", "score", ahead=content.constant.get("ahead")) if words else None


def _finds(content: Assessment) -> Sentence | None:
    """Say how many rows of a rare class the model finds: accuracy hides it."""
    counts, scored = _counts(content), content.predictions
    if scored is None or scored.probabilities is None or len(scored.classes) != 2 or len(counts) != 2:
        return None
    label = min(counts, key=lambda one: counts[one])
    classes = texts_of(scored.classes)
    if label not in classes or counts[label] > UNEVEN * sum(counts.values()):
        return None
    called = np.asarray(scored.probabilities).argmax(axis=1) == classes.tolist().index(label)
    if not called.any():
        return None  # another sentence says so
    right = int((called & (texts_of(scored.truth) == label)).sum())
    found, precision, name = right / counts[label], right / int(called.sum()), shorten(label, 40)
    words = f"It finds {percent(found)} of the rows that are {name}, and {percent(precision)} of the rows that it "
    words += f"predicts as {name} are (at a threshold of 50\u00a0%)."
    return _sentence(words, "finds", "score", **{"class": label, "recall": found, "precision": precision})


def _baselines(content: Assessment) -> Sentence | None:
    measured = content.metrics or {}
    words = against_baselines(content.task, measured)
    if not words:
        return None
    best = best_baseline(content.task, measured)
    assert best is not None
    ahead = {name: scores.get("ahead") for name, scores in measured["baselines"].items()}
    return _sentence(words, "baselines", "score", best=best[0], ahead=ahead)


# ---- what it relies on -----------------------------------------------------------------------------------------------
def _features(content: Assessment) -> Sentence | None:
    explanation = content.explanation
    words = reliance_sentence(content)
    if explanation is None or not words:
        return None
    clear, tests = explanation.clearly_matter(), tests_of(explanation)
    facts = {"clear": len(clear), "of": len(explanation.names), "names": clear[:10]}
    if content.learnt and clear and tests:
        count = f"{len(clear)} of {len(explanation.names)} features clearly"
        words = f"{count} {by_count(len(clear), 'matters', 'matter')}. {words}"
    return _sentence(words, "features", "features", **facts)


# ---- for whom it is worse --------------------------------------------------------------------------------------------
def _worse(content: Assessment) -> Sentence | None:
    """Name the group of test rows that is worst, or say that no group is clearly worse than the others."""
    stored = content.segments
    if not stored or not stored["tests"]:
        return None
    if not (words := segment_words(stored, 1, lambda name: shorten(name, 40))):
        return _sentence(no_segment_words(stored), "none_worse", "groups", tests=stored["tests"])
    groups = [{key: one[key] for key in ("feature", "group", "rows", "score", "rest")} for one in worse_groups(stored)]
    return _sentence(words, "worse", "groups", groups=groups[:_NAMED], worse=len(groups), tests=stored["tests"])


# ---- what to be wary of ----------------------------------------------------------------------------------------------
def _unseen(content: Assessment) -> Sentence | None:
    words = unseen_words(content.target, content.test)
    return _sentence(words, "unseen", "caution", rows=content.test["unseen"]) if words else None


def _counts(content: Assessment) -> dict[str, int]:
    """Return the number of test rows of each class that has some."""
    if content.task == "regression" or content.predictions is None:
        return {}
    labels, counts = np.unique(texts_of(content.predictions.truth), return_counts=True)
    return dict(zip(labels.tolist(), counts.tolist(), strict=True))


def _one_class(content: Assessment) -> Sentence | None:
    counts = _counts(content)
    if len(counts) != 1:
        return None
    ((label, rows),) = counts.items()
    words = f"{by_count(rows, 'The one test row has', f'All {rows:,} test rows have')} the class {shorten(label, 40)}, "
    words += "so nothing is known about the other classes."
    return _sentence(words, "one_class", "caution", **{"class": label, "rows": rows})


def _few_rows(content: Assessment) -> Sentence | None:
    rows = _rows(content)
    if rows is None or rows >= FEW_ROWS:
        return None
    words = f"There {by_count(rows, 'is', 'are')} only {counted(rows, 'test row')}, so all scores are rough"
    facts: dict[str, Any] = {"rows": rows}
    accuracy = content.test.get("accuracy")
    if accuracy is not None and rows:
        low, high = (float(end) for end in wilson(accuracy, rows))
        words += f": on other rows, accuracy could be between {percent(low)} and {percent(high)} (95\u00a0% interval)"
        facts |= {"accuracy": accuracy, "ci_low": low, "ci_high": high}
    return _sentence(f"{words}.", "few_rows", "caution", **facts)


def _rare(content: Assessment) -> Sentence | None:
    """Name the classes of few test rows, unless all of the test rows are few."""
    counts = _counts(content)
    few = {label: rows for label, rows in counts.items() if rows < FEW_OF_A_CLASS}
    if not few or len(counts) < 2 or sum(counts.values()) < FEW_ROWS:
        return None
    order = sorted(few, key=lambda label: (few[label], label))
    named = listed([f"{shorten(label, 30)} ({few[label]})" for label in order], _NAMED)
    words = f"Few test rows have {by_count(len(few), 'the class', 'the classes')} {named}, so "
    words += f"{by_count(len(few), 'its', 'their')} scores are rough."
    return _sentence(words, "rare", "caution", rows=few)


def _never_predicted(content: Assessment) -> Sentence | None:
    missed = (content.metrics or {}).get("never_predicted") or []
    if not missed:
        return None
    return _sentence(" ".join(never_predicted_words(missed, 2)), "never_predicted", "caution", classes=missed)


def _duplicates(content: Assessment) -> Sentence | None:
    data, rows = content.data, _rows(content)
    if data is None or not data.shared_rows or not rows:
        return None
    shared, blank = data.shared_rows, data.blank_rows
    words = f"{counted(shared, 'test row')} ({percent(shared / rows)}) {by_count(shared, 'is', 'are')} also in the "
    words += f"training rows{blank_words(shared, blank)}."
    if shared > blank:
        which = by_count(shared - blank, "the other one", "the others") if blank else "such rows"
        words += f" Scores of {which} can be too good."
    return _sentence(words, "duplicates", "caution", shared=shared, blank=blank, rows=rows)


def curves_of(content: Assessment, *, before: bool = False) -> list[Reliability]:
    """Return the reliability curve of each class, of two classes that of the positive one.

    ``before``: of the probabilities before they were calibrated. The list is empty where there are none.
    """
    scored = content.predictions
    probabilities = None if scored is None else scored.before_calibration if before else scored.probabilities
    if scored is None or probabilities is None or not len(scored.truth):
        return []
    table = np.clip(np.asarray(probabilities, dtype=np.float64), 0, 1)
    truth, classes = texts_of(scored.truth), texts_of(scored.classes)
    shown = [content.positive_place(scored.classes)] if len(classes) == 2 else range(len(classes))
    return [reliability(truth == classes[place], table[:, place]) for place in shown]


def beyond_chance(curves: Sequence[Reliability], error: float) -> bool:
    """Whether fewer than 1 in 1,000 calibrated models with the same probabilities would have so large an error."""
    stream, draws = generator(0, "calibration by chance"), 5000
    drawn = np.zeros(draws)
    for curve in curves:
        observed = stream.binomial(curve.rows, np.clip(curve.predicted, 0, 1), (draws, len(curve.rows))) / curve.rows
        drawn += np.abs(observed - curve.predicted) @ curve.rows / curve.rows.sum() / len(curves)
    return bool(np.mean(drawn >= error) < BEYOND_CHANCE)


def _calibration(content: Assessment) -> Sentence | None:
    curves = curves_of(content)
    if not curves or len(_counts(content)) < 2:
        return None
    error, chance = (float(np.mean([getattr(curve, name) for curve in curves])) for name in ("error", "chance"))
    large = error >= LEAST_CALIBRATION_ERROR and error > TIMES_CHANCE * chance
    if not large or curves[0].rows.sum() < FEW_ROWS or not beyond_chance(curves, error):
        return None
    classes = content.predictions.classes if content.predictions is not None else ()
    positive = clean(classes[content.positive_place(classes)]) if len(classes) == 2 else ""
    words = f"Its probabilities are off. {reliability_words(curves, positive)}"
    return _sentence(words, "calibration", "caution", error=error, chance=chance)


def _unchecked(content: Assessment) -> Sentence | None:
    """Say of a model that is nearly perfect that columns that give the outcome away were not looked for."""
    needs = "" if content.data is None else content.data.unchecked
    name = "r2" if content.task == "regression" else "balanced_accuracy"
    value = content.test.get(name)
    if not needs or value is None or value < ALONE:
        return None
    words = f"It is nearly perfect ({metrics.get(name).label} {down(value)}), as models are that know the outcome. "
    words += unchecked_words(content.target, needs)
    return _sentence(words, "unchecked", "caution", metric=name, value=value, needs=needs)


def _dominant(content: Assessment) -> Sentence | None:
    """Name a feature that may give the outcome away."""
    hint, explanation = (content.reading or {}).get("leakage"), content.explanation
    if not hint or explanation is None or not content.learnt or not (hint["notes"] or hint["share"] > DOMINANT):
        return None
    facts = {"feature": hint["feature"], "share": hint["share"], "noted": bool(hint["notes"])}
    return _sentence(dominant_words(hint, len(explanation.names)), "dominant", "caution", **facts)


def _drift(content: Assessment) -> Sentence | None:
    compared = content.data.drift if content.data is not None else ()
    words = drift_words(compared, 1, lambda name: shorten(name, 40))
    clear = [one["column"] for one in compared if one["clear"]]
    return _sentence(words, "drift", "caution", columns=clear, compared=len(compared)) if words else None


def _related(content: Assessment) -> Sentence | None:
    words = related_sentence(content)
    return _sentence(words, "related", "caution", pairs=list(content.related)) if words else None


# ---- what to do next -------------------------------------------------------------------------------------------------
def _next(content: Assessment, spoken: Mapping[str, Mapping[str, Any]]) -> Sentence:
    """Advise one thing: the first that applies."""
    advice = next(((reason, words) for reason, write in _ADVICE if (words := write(content, spoken))), None)
    reason, words = advice or ("use", "Look in the report at how each feature acts, and at single predictions.")
    return _sentence(words, "next", "next", reason=reason)


def _behind(_content: Assessment, spoken: Mapping[str, Mapping[str, Any]]) -> str:
    """Advise the best baseline if it is significantly better."""
    facts = spoken.get("baselines")
    paired = facts["ahead"].get(facts["best"]) if facts else None
    if facts is None or not paired or paired["difference"] >= 0 or paired["p_holm"] >= LEVEL:
        return ""
    return f"For predictions alone, use {baseline_label(facts['best'])}, or tune the network (permgrad tune)."


def _if(kind: str, words: str, content: Assessment, spoken: Mapping[str, Any], *, other: str = "") -> str:
    """Return advice if a sentence of this kind was spoken. ``other`` is that for models of other libraries."""
    return (other if other and content.subject else words) if kind in spoken else ""


def _copied(_content: Assessment, spoken: Mapping[str, Mapping[str, Any]]) -> str:
    """Advise on copies of rows if there are so many that they can change a score. Rows without values are none."""
    facts = spoken.get("duplicates")
    if facts is None or facts["shared"] - facts["blank"] < LEAST_COPIES * facts["rows"]:
        return ""
    return "Remove copies of rows, or keep rows that are equal together, in the training or in the test rows."


def _missed(content: Assessment, spoken: Mapping[str, Mapping[str, Any]]) -> str:
    """Advise on classes that are never predicted: to set the threshold, by the costs if the run was given any."""
    if "never_predicted" not in spoken:
        return ""
    if content.cuts.get("cost") is None:
        return "Decide what a missed class costs, and set the threshold."
    return "Set the threshold by the costs that you gave."


def _off(content: Assessment, spoken: Mapping[str, Any]) -> str:
    """Advise on probabilities that are off: to rank rows by them, if it is known how well they rank."""
    ranks = content.test.get("roc_auc") is not None
    words = "Use its probabilities to rank rows, and do not take them" if ranks else "Do not take its probabilities"
    return f"{words} at their word." if "calibration" in spoken else ""


def _known_late(_content: Assessment, spoken: Mapping[str, Mapping[str, Any]]) -> str:
    """Advise on the most important feature if the data card has a note on it."""
    facts = spoken.get("dominant")
    if facts is None or not facts["noted"]:
        return ""
    name = shorten(facts["feature"], 40)
    return f"Train again without {name}, unless it is known when you predict."


def _not_checked(_content: Assessment, spoken: Mapping[str, Mapping[str, Any]]) -> str:
    """Advise to pass the training rows, where a nearly perfect model needs them."""
    facts = spoken.get("unchecked")
    return "Pass train=(X_train, y_train) too." if facts and facts["needs"] == "train" else ""


def _not_learnt(content: Assessment, _spoken: Mapping[str, Any]) -> str:
    target = shorten(content.target, 40)
    return "" if content.learnt else f"Do not use its predictions. Look for features that say more about {target}."


_Advice = Callable[["Assessment", Mapping[str, Any]], str]
_ADVICE: tuple[tuple[str, _Advice], ...] = (
    ("leak", partial(_if, "leak", "Find out when each column of the alarm is known. Then run again without it.")),
    ("skill", _not_learnt),
    ("unchecked", _not_checked),
    ("dominant", _known_late),
    ("one_class", partial(_if, "one_class", "Test it on rows of every class.")),
    (
        "few_rows",
        partial(
            _if,
            "few_rows",
            "Repeat the split (permgrad compare), or test it on more rows.",
            other="Test it on more rows.",
        ),
    ),
    ("baselines", _behind),
    ("duplicates", _copied),
    ("drift", partial(_if, "drift", "Check how training and test rows were collected before you use the model.")),
    ("never_predicted", _missed),
    ("calibration", _off),
)
_SENTENCES: tuple[Callable[[Assessment], Sentence | None], ...] = (
    *(_leak, _skill, _against_constant, _finds, _lack, _baselines, _features, _worse, _dominant),
    _unchecked,
    *(_unseen, _one_class, _few_rows, _rare, _never_predicted, _duplicates, _calibration, _drift, _related),
)
