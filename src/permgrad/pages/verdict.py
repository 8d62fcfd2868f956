"""The verdict: a few plain sentences that come first, each with the facts behind it.

Page, ``report.md``, ``metrics.json`` and ``permgrad run --json`` have the same sentences. Each function in
``_SENTENCES`` yields those on one matter, if there is something to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from permgrad.base.dependence import Dependence, mean_widening
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
from permgrad.pages.changes import changes_facts, since_words
from permgrad.pages.headline import (
    FEW_OF_A_CLASS,
    FEW_ROWS,
    class_rows,
    headline,
    lack_of_skill,
    reliance_sentence,
    too_few_words,
)
from permgrad.pages.sentences import (
    against_baselines,
    baseline_label,
    best_baseline,
    dominant_words,
    down,
    drift_words,
    leak_words,
    left_where,
    level_words,
    no_segment_words,
    related_words,
    reliability_words,
    segment_words,
    together_words,
    unchecked_words,
)
from permgrad.pages.words import clean, listed, names_apart, shorten, texts_of

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment

#: Where a sentence goes: an alarm, how good the model is, what changed since an earlier run, what it relies on, for
#: which rows it is worse, a caution, or what to do next.
Part = Literal["alarm", "score", "changes", "features", "groups", "caution", "next"]
#: A sentence and the facts behind it, with their ``kind`` and ``part``.
Sentence = dict[str, Any]
#: A sentence as it is made: words, kind, part, the other facts.
Spoken = tuple[str, str, Part, Mapping[str, Any]]

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
#: Escapes what Markdown would take for markup.
_MARKUP = {ord(letter): f"\\{letter}" for letter in "\\`*_[]<>#|"}


def verdict(content: Assessment) -> list[Sentence]:
    """Return the sentences in reading order: alarms, scores, features, groups, cautions, one on what to do next.

    Each is ``{"sentence", "facts"}``. ``facts`` has ``kind``, ``part`` and the numbers of the sentence.
    """
    if content.sentences is not None:
        return list(content.sentences)
    sentences: list[Sentence] = [
        {"sentence": words, "facts": {"kind": kind, "part": part, **facts}}
        for speak in _SENTENCES
        for words, kind, part, facts in speak(content)
    ]
    sentences.append(_next(content, {one["facts"]["kind"]: one["facts"] for one in sentences}))
    return sentences


def markdown(title: str, sentences: Sequence[Mapping[str, Any]], effects: Sequence[Sequence[str]] = ()) -> str:
    """Write a verdict as Markdown: the score first, then a list for each part, and a table of ``effects``.

    Examples:
        >>> facts = {"It is good.": {"part": "score"}, "Beware.": {"part": "caution"}}
        >>> sentences = [{"sentence": words, "facts": about} for words, about in facts.items()]
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
    lines = [f"# {clean(title).translate(_MARKUP)}", ""]
    for part, heading in PARTS.items():
        spoken = [one["sentence"] for one in sentences if one["facts"].get("part") == part]
        chosen = [clean(words).translate(_MARKUP) for words in spoken]
        if part == "score" and chosen:
            lines += ["\n\n".join(chosen), ""]
        elif chosen:
            lines += [f"## {heading}", "", *(f"- {one}" for one in chosen), ""]
        if part == "features" and effects:
            rows = ["| " + " | ".join(clean(cell).translate(_MARKUP) for cell in row) + " |" for row in effects]
            lines += [rows[0], "|---" * len(effects[0]) + "|", *rows[1:], "", EFFECTS_WORDS, ""]
    return "\n".join(lines)


#: What is said below a table of effects.
EFFECTS_WORDS = (
    "Mean effect: only this feature is set to the value, in all rows. Local effect (ALE): rows only move between "
    "values near their own. Between both values a curve can bend: the report draws it."
)
#: Headings of the parts, in reading order.
PARTS: dict[Part, str] = {
    "alarm": "Alarm",
    "score": "How good it is",
    "changes": "What changed",
    "features": "What it relies on",
    "groups": "For whom it is worse",
    "caution": "What to be wary of",
    "next": "What to do next",
}


# ---- how good it is --------------------------------------------------------------------------------------------------
def _skill(content: Assessment) -> Iterator[Spoken]:
    """Warn of columns that give the target away, say how good the model is, and compare it with a constant."""
    data, test, constant = content.data, content.test, content.constant
    if leaks := list(data.leaks) if data is not None else []:
        words = leak_words(content.target, leaks, in_python=content.in_python)
        yield words, "leak", "alarm", {"columns": leaks}
    if data is not None and data.together and data.together["clear"]:
        yield together_words(data.together), "together", "alarm", dict(data.together)
    facts = {name: constant[name] for name in ("learnt", "ahead") if name in constant}
    yield headline(content), "skill", "score", {"rows": class_rows(content)[0], **facts}
    ahead = constant.get("ahead") or {}
    name = next(iter(ahead), None)
    if not content.learnt or name is None or ahead[name]["ci_low"] <= 0:
        return
    metric, paired = metrics.get(name), ahead[name]
    facts = {"metric": name, "value": test[name], "constant": constant[name], **paired}
    if content.task == "regression":
        share = percent(paired["difference"] / constant[name])
        words = f"Its error is {share} smaller than that of always predicting the mean: {metric.label} "
    elif name == "accuracy":
        words = f"It is right more often than always predicting the most frequent class: {metric.label} "
    else:
        always, better = "the most frequent class", "Its probabilities are better"
        counts = None if data is None or content.weights else data.class_counts
        if data is not None and counts is not None and data.constant_from in counts:
            always = shorten(counts[data.constant_from].idxmax(), 40)
        if name == "roc_auc":
            better = "It ranks rows better than chance"
        words = f"It is right in {percent(test['accuracy'])} of the test rows. Always predicting {always} is right in "
        words += f"{percent(constant['accuracy'])}. {better}: {metric.label} "
        facts |= {"accuracy": test["accuracy"], "constant_accuracy": constant["accuracy"]}
    words += f"{number(test[name])} against {number(constant[name])} (difference {number(paired['difference'])}, "
    words += f"95\u00a0% interval {number(paired['ci_low'])} to {number(paired['ci_high'])})."
    yield words, "constant", "score", facts


def _comparisons(content: Assessment) -> Iterator[Spoken]:
    """Say how many rows of a rare class it finds, and how it compares with a constant, baselines and an earlier run."""
    (_, counts), measured = class_rows(content), content.metrics or {}
    scored = None if content.weights else content.predictions
    if scored is not None and scored.probabilities is not None and len(scored.classes) == len(counts) == 2:
        label, classes = min(counts, key=lambda one: counts[one]), texts_of(scored.classes)
        called = classes[scored.scored.decided] == label
        # Accuracy hides a rare class. If it is never predicted, another sentence says so.
        if label in classes and counts[label] <= UNEVEN * sum(counts.values()) and called.any():
            right = int((called & (texts_of(scored.truth) == label)).sum())
            hits, precision, name = right / counts[label], right / int(called.sum()), names_apart(counts)(label)
            words = f"It finds {percent(hits)} of the rows that are {name}, and {percent(precision)} of the rows that "
            at = "a threshold of 50\u00a0%" if scored.called is None else "the model's own threshold"
            words += f"it predicts as {name} are (at {at})."
            yield words, "finds", "score", {"class": label, "recall": hits, "precision": precision}
    if content.learnt and (words := lack_of_skill(content)):
        yield words, "lack", "score", {"ahead": content.constant.get("ahead")}
    best = best_baseline(content.task, measured)
    if best is not None and (words := against_baselines(content.task, measured)):
        ahead = {name: scores.get("ahead") for name, scores in measured["baselines"].items()}
        yield words, "baselines", "score", {"best": best[0], "ahead": ahead}
    if (changes := content.changes) is not None:
        words = since_words(changes)
        yield words, "changes", "changes", changes_facts(changes)


# ---- what it relies on, and for whom it is worse ---------------------------------------------------------------------
def _features(content: Assessment) -> Iterator[Spoken]:
    """Name the features that clearly matter, and the group of test rows that is clearly worst, or that none is."""
    explanation = content.explanation
    if explanation is not None and (words := reliance_sentence(content)):
        clear = explanation.clearly_matter()
        facts = {"clear": len(clear), "of": len(explanation.names), "names": clear[:10]}
        if content.learnt and clear:
            count = f"{len(clear)} of {len(explanation.names)} features clearly"
            words = f"{count} {by_count(len(clear), 'matters', 'matter')}. {words}"
        yield words, "features", "features", facts
    stored = content.segments
    if stored and stored["tests"]:
        words = segment_words(stored, 1)
        if words:
            worse = worse_groups(stored)
            keys = ("feature", "group", "rows", "score", "rest")
            groups = [{key: one[key] for key in keys} for one in worse[:_NAMED]]
            yield words, "worse", "groups", {"groups": groups, "worse": len(worse), "tests": stored["tests"]}
        else:
            yield no_segment_words(stored), "none_worse", "groups", {"tests": stored["tests"]}
    for facts in (content.sensitive or {}).get("columns", ()):
        words = level_words(facts, (content.sensitive or {})["positive"])[0]
        yield words, "levels", "groups", {name: facts[name] for name in ("column", "fairness")}


# ---- what to be wary of ----------------------------------------------------------------------------------------------
def _giveaways(content: Assessment) -> Iterator[Spoken]:
    """Name a feature that may give the outcome away, and say of a nearly perfect model that none was looked for."""
    hint, explanation = (content.reading or {}).get("leakage"), content.explanation
    if hint and explanation is not None and content.learnt and (hint["notes"] or hint["share"] > DOMINANT):
        facts = {"feature": hint["feature"], "share": hint["share"], "noted": bool(hint["notes"])}
        yield dominant_words(hint, explanation.names), "dominant", "caution", facts
    needs = "" if content.data is None else content.data.unchecked
    name = "r2" if content.task == "regression" else "balanced_accuracy"
    value = content.test.get(name)
    if needs and value is not None and value >= ALONE and len(class_rows(content)[1]) != 1:
        words = f"It is nearly perfect ({metrics.get(name).label} {down(value)}), as models are that know the outcome. "
        words += unchecked_words(content.target, needs)
        yield words, "unchecked", "caution", {"metric": name, "value": value, "needs": needs}


def _test_rows(content: Assessment) -> Iterator[Spoken]:
    """Say what the time limit cut, and what the test rows cannot show: few rows, or few of some classes, or none."""
    if content.provenance is not None and (cut := content.provenance.cut):
        training = any(words.startswith("training") for words in cut)
        sentence = " ".join(f"The time limit cut the {words}." for words in cut)
        yield sentence, "cut", "caution", {"cut": list(cut), "training": training}
    test, (rows, counts) = content.test, class_rows(content)
    if unseen := test.get("unseen"):
        count = sum(unseen.values())
        named = listed(map(names_apart(unseen), list(unseen)[:5])) + " and others" * (len(unseen) > 5)
        words = f"{counted(count, 'test row')} {by_count(count, 'has', 'have')} a class of "
        words += f"{shorten(content.target, 60)} that no training row has ({named}): "
        words += f"{by_count(count, 'it counts', 'they count')} as wrong, and the log loss leaves "
        words += f"{by_count(count, 'it', 'them')} out."
        yield words, "unseen", "caution", {"rows": unseen}
    if len(counts) == 1:
        ((label, count),) = counts.items()
        words = f"{by_count(count, 'The one test row has', f'All {count:,} test rows have')} the class "
        words += f"{shorten(label, 40)}, so nothing is known about the other classes. Rows of one class do not "
        words += "show how good a model is."
        yield words, "one_class", "caution", {"class": label, "rows": count}
    elif rows is not None and rows < FEW_ROWS:
        words = f"There {by_count(rows, 'is', 'are')} only {counted(rows, 'test row')}, so all scores are rough"
        facts: dict[str, Any] = {"rows": rows}
        if rows and (accuracy := test.get("accuracy")) is not None:
            seen, wider = content.predictions, 1.0
            if seen is not None:
                right = (seen.scored.decided == seen.codes).astype(np.float64)
                wider = mean_widening(content.dependence, right)
                wider *= np.sqrt(rows / seen.scored.independent(np.ones(rows, dtype=bool)))
            low, high = map(float, wilson(accuracy, rows / wider**2))
            words += f": on other rows, accuracy could be between {percent(low)} and {percent(high)} "
            words += "(95\u00a0% interval)"
            facts |= {"accuracy": accuracy, "ci_low": low, "ci_high": high}
        yield f"{words}.", "few_rows", "caution", facts
    if (between := content.dependence) is not None and rows:
        yield (
            _allowed_for(between, rows),
            "dependence",
            "caution",
            {"groups": None if between.timed else between.count, "rows": rows},
        )
    few = {label: count for label, count in counts.items() if count < FEW_OF_A_CLASS}
    if few and len(counts) > 1 and sum(counts.values()) >= FEW_ROWS:  # else all of the test rows are few
        order = sorted(few, key=lambda label: (few[label], label))
        show = names_apart(counts, 30)
        named = listed([f"{show(label)} ({few[label]})" for label in order], _NAMED)
        words = f"Few test rows have {by_count(len(few), 'the class', 'the classes')} {named}, so "
        words += f"{by_count(len(few), 'its', 'their')} scores are rough."
        yield words, "rare", "caution", {"rows": few}


def _weights(content: Assessment) -> Iterator[Spoken]:
    """Say that scores are of means and the model is not, and what weighs the test rows, and what does not."""
    loss = "" if content.explanation is None else str(content.explanation.meta.get("loss"))
    if loss.startswith("quantile"):
        words = f"It predicts the {loss}, and these scores are for models of the mean, so that it is not compared "
        words += "with a constant. Importances measure the loss of the quantile."
        yield words, "quantile", "caution", {"loss": loss}
    if content.weights and content.predictions is not None:
        scored, column = content.predictions.scored, content.weights["column"]
        worth = round(scored.independent(np.ones(len(scored.truth), dtype=bool)))
        rough = ", so all scores are rough" * (worth < FEW_ROWS)
        words = f"Scores, comparisons and importances weigh the test rows by {shorten(column, 40)}: they are worth "
        words += f"{counted(worth, 'row')} of equal weight{rough}. All else counts each row once. Groups of rows, "
        words += "thresholds, calibration and intervals of predictions are left out."
        yield words, "weights", "caution", {"column": column, "worth": worth}


def _allowed_for(between: Dependence, rows: int) -> str:
    """Say which rows count as one."""
    name = shorten(between.name, 40)
    if between.timed:
        return f"Intervals and tests allow for rows that are near each other in {name}."
    return f"Intervals and tests count {counted(between.count, 'group')} by {name}, not {counted(rows, 'row')}."


def curves_of(content: Assessment, *, before: bool = False) -> list[Reliability]:
    """Return the reliability curve of each class, of two classes that of the positive one.

    ``before``: of the probabilities before they were calibrated. The list is empty where there are none.
    """
    scored = None if content.weights else content.predictions
    probabilities = None if scored is None else scored.before_calibration if before else scored.probabilities
    if scored is None or probabilities is None or not len(scored.truth):
        return []
    table = np.clip(np.asarray(probabilities, dtype=np.float64), 0, 1)
    truth, classes = texts_of(scored.truth), texts_of(scored.classes)
    shown = [content.positive_place(scored.classes)] if len(classes) == 2 else range(len(classes))
    return [reliability(truth == classes[place], table[:, place], content.dependence) for place in shown]


def beyond_chance(curves: Sequence[Reliability], error: float) -> bool:
    """Whether fewer than 1 in 1,000 calibrated models with the same probabilities would have so large an error."""
    stream, draws = generator(0, "calibration by chance"), 5000
    drawn = np.zeros(draws)
    for curve in curves:
        observed = stream.binomial(curve.rows, np.clip(curve.predicted, 0, 1), (draws, len(curve.rows))) / curve.rows
        off = np.abs(observed - curve.predicted) * curve.widening
        drawn += off @ curve.rows / curve.rows.sum() / len(curves)
    return bool(np.mean(drawn >= error) < BEYOND_CHANCE)


def _order(content: Assessment) -> Iterator[Spoken]:
    """Say that the classes seem to be in an order, and how to predict a number instead."""
    if (order := (content.metrics or {}).get("in_order")) is not None:
        words = f"The classes of {shorten(content.target, 60)} seem to be in an order, which the model is not told: "
        words += "it takes near ones for each other more often than distant ones"
        words += "" if order["along"] is None else ", and the features rise or fall with them"
        kappa = content.test.get("quadratic_kappa")
        words += "" if kappa is None else f". Quadratic kappa, by which distant errors count more, is {number(kappa)}"
        way = "fit a regressor" if content.in_python else "run again with --task regression"
        words += f". To predict a number instead, {way}."
        yield words, "in_order", "caution", {**order, "quadratic_kappa": kappa}


def _scores(content: Assessment) -> Iterator[Spoken]:
    """Say which classes are never predicted, which rows may belong together, and how many test rows are copies."""
    data, rows = content.data, class_rows(content)[0]
    if missed := (content.metrics or {}).get("never_predicted"):
        yield " ".join(never_predicted_words(missed, 2)), "never_predicted", "caution", {"classes": missed}
    if data is not None and data.together and not data.together["clear"]:
        yield together_words(data.together), "together", "caution", dict(data.together)
    if data is not None and data.shared_rows and rows:
        shared, blank = data.shared_rows, data.blank_rows
        words = f"{counted(shared, 'test row')} ({percent(shared / rows)}) {by_count(shared, 'is', 'are')} also in the "
        words += f"training rows{blank_words(shared, blank)}."
        if shared > blank:
            which = by_count(shared - blank, "the other one", "the others") if blank else "such rows"
            words += f" Scores of {which} can be too good."
        yield words, "duplicates", "caution", {"shared": shared, "blank": blank, "rows": rows}


def _calibration(content: Assessment) -> Iterator[Spoken]:
    """Say that probabilities are off."""
    curves = curves_of(content)
    if not curves or len(class_rows(content)[1]) < 2:
        return
    error, chance = (float(np.mean([getattr(curve, name) for curve in curves])) for name in ("error", "chance"))
    large = error >= LEAST_CALIBRATION_ERROR and error > TIMES_CHANCE * chance  # more than chance explains
    if large and curves[0].rows.sum() >= FEW_ROWS and beyond_chance(curves, error):
        classes = content.predictions.classes if content.predictions is not None else ()
        positive = clean(classes[content.positive_place(classes)]) if len(classes) == 2 else ""
        words = f"Its probabilities are off. {reliability_words(curves, positive)}"
        yield words, "calibration", "caution", {"error": error, "chance": chance}


def _columns(content: Assessment) -> Iterator[Spoken]:
    """Name the column that differs most between training and test rows, and those that move with the first features."""
    compared = content.data.drift if content.data is not None else ()
    if words := drift_words(compared, 1):
        clear = [one["column"] for one in compared if one["clear"]]
        yield words, "drift", "caution", {"columns": clear, "compared": len(compared)}
    if content.explanation is not None and content.learnt:
        leading = content.explanation.clearly_matter()[:3]
        if words := related_words(content.related, leading, most=3):
            yield words, "related", "caution", {"pairs": list(content.related)}
        cards = {} if content.cards is None else {card["feature"]: card for card in content.cards.cards}
        left = {name: cards[name]["leaves"] for name in leading if "leaves" in cards.get(name, {})}
        if left:
            show = names_apart(left)
            where = listed([f"{show(name)} ({left_where(leaves)})" for name, leaves in left.items()])
            words = (
                f"Curves of the mean effect leave the data: {where}. The accumulated local effects beside them do not"
            )
            clear = [name for name, leaves in left.items() if any(leaves["clear"])]
            words += f": trust these for {listed(map(show, clear))}" if clear else ", and do not clearly differ"
            yield f"{words}.", "leaves", "caution", {"features": left, "clear": clear}


#: In reading order.
_SENTENCES: tuple[Callable[[Assessment], Iterator[Spoken]], ...] = (
    *(_skill, _comparisons, _features, _giveaways, _weights, _test_rows, _order, _scores, _calibration, _columns),
)


# ---- what to do next -------------------------------------------------------------------------------------------------
def _next(content: Assessment, spoken: Mapping[str, Mapping[str, Any]]) -> Sentence:
    """Advise one thing: the first that applies. ``spoken`` has the facts of the other sentences by their kind."""
    baselines, copies, dominant = (spoken.get(kind) for kind in ("baselines", "duplicates", "dominant"))
    paired = baselines["ahead"].get(baselines["best"]) if baselines else None
    best = baseline_label(baselines["best"]) if baselines else ""
    less, more = spoken.get("cut", {}).get("training"), "Train again with more time (--time-limit or --max-rows all)."
    late = shorten(dominant["feature"], 40) if dominant and dominant["noted"] else ""
    together = spoken.get("together", {})
    kept = "Run again with such rows kept together, if they belong together"
    kept += f": {together['command']}" if together.get("command") else " (--row-group)."
    advice = (
        ("leak", "leak" in spoken, "Find out when each column of the alarm is known. Then run again without it."),
        ("together", together.get("clear"), kept),
        ("cut", less and not content.learnt, more),
        ("skill", too_few_words(content), "Test it on more rows before you use its predictions."),
        (
            "skill",
            not content.learnt,
            f"Do not use its predictions. Look for features that say more about {shorten(content.target, 40)}.",
        ),
        ("unchecked", spoken.get("unchecked", {}).get("needs") == "train", "Pass train=(X_train, y_train) too."),
        ("dominant", late, f"Train again without {late}, unless it is known when you predict."),
        ("one_class", "one_class" in spoken, "Test it on rows of every class."),
        ("together", together, kept),
        ("few_rows", "few_rows" in spoken and content.in_python, "Test it on more rows."),
        ("few_rows", "few_rows" in spoken, "Repeat the split (permgrad compare), or test it on more rows."),
        (
            "baselines",
            paired and paired["difference"] < 0 and paired["p_holm"] < LEVEL,
            f"For predictions alone, use {best}{'' if content.subject else ', or tune the network (permgrad tune)'}.",
        ),
        (
            "duplicates",
            # Copies must be so many that they can change a score. Rows without values are none.
            copies and copies["shared"] - copies["blank"] >= LEAST_COPIES * copies["rows"],
            # Cases of few different values are equal by chance.
            "Check whether equal rows are copies of one case. If so, remove the copies.",
        ),
        ("drift", "drift" in spoken, "Check how training and test rows were collected before you use the model."),
        (
            "never_predicted",
            # A threshold decides between two classes.
            "never_predicted" in spoken and content.positive is not None,
            "Decide what a missed class costs, and set the threshold."
            if content.cuts.get("cost") is None
            else "Set the threshold by the costs that you gave.",
        ),
        (
            "calibration",
            "calibration" in spoken,
            "Do not take its probabilities at their word."
            if content.test.get("roc_auc") is None
            else "Use its probabilities to rank rows, and do not take them at their word.",
        ),
        ("cut", less, more),
        ("use", True, "Look in the report at how each feature acts, and at single predictions."),
    )
    reason, words = next((reason, words) for reason, applies, words in advice if applies)
    return {"sentence": words, "facts": {"kind": "next", "part": "next", "reason": reason}}
