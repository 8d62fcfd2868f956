"""The words of findings: a template for each kind, and how the facts of ``facts`` are
written into it.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from permgrad.base.errors import by_count, counted
from permgrad.base.numerals import number, percent
from permgrad.evaluation.metrics import metrics
from permgrad.evaluation.related import MISSING
from permgrad.pages.content import NAMED
from permgrad.pages.facts.feature_facts import CLOSE
from permgrad.pages.facts.finding_facts import Facts
from permgrad.pages.moved import drifted_words
from permgrad.pages.sentences import baseline_label
from permgrad.pages.words import clean, listed, names_apart, shorten, value_text

#: Others that a feature is said to move with, where it is the only one of which this is
#: said.
_OTHERS = 2
#: A template for ``Writer``, or one for each ``form`` of the facts.
Template = str | Mapping[str, str]

_PAIR = "{metric:metric} {value:score} against {other:score}"
_DIFFERENCE = "(difference {difference}, 95\u00a0% interval {ci_low} to {ci_high})"
_PAIRED = f"{_PAIR} {_DIFFERENCE}."
_NO_SKILL = (
    "{subject} predicts {target} not clearly better than a constant that ignores the "
    "features ({pairs:pairs} on the test rows)."
)
_SHARED = "Rows share {columns:quoted}: {values} values in {rows:row}{tested:sharing}"
_TOGETHER = {
    "clear": f"{_SHARED}. A forest has {{metric:metric}} {{apart:score}} on rows left "
    "out at random, and {together:score} if such rows are kept together: if they "
    "belong together, scores here are too good.",
    "unclear": f"{_SHARED}. If they belong together, scores here can be too good, and "
    "intervals too narrow.",
}
_IN_ORDER = (
    "The classes of {target} seem to be in an order, which the model is not told: it "
    "takes near ones for each other more often than distant ones."
)
_RELIES = "{clear} of {of:feature} clearly {clear:matters|matter}. It {relies} on "
_WORST = "Where {groups[0][feature]} is {groups[0][group]} ({_inside:as it is}), "
_ENDS = "(95\u00a0% interval {groups[0][low]:END} to {groups[0][high]:END})"
_OTHERS_OF_IT = "On the other {_outside:as it is} it is"
_TESTED = "{tests:tested}"
_OFF = "The expected calibration error is {error:2}, and {chance:2} would be chance"
#: How far probabilities are off.
CALIBRATION = {
    "one": f"{_OFF}.",
    "mean": f"{_OFF} (means over classes).",
    "ratio": "It predicts {times:times} as many {class} as there are: its "
    "probabilities add up to {expected} of {all:row}, and {there} are.",
    "bin": f"{_OFF}. Of the {{rows:row}} with a prediction of about {{predicted:%}}, "
    "{observed:%} have the class {class}.",
}
_SKEWED = (
    "A few rows make most of the error: the {rows:test row} ROWS {rows:has|have} "
    "{share:%} of the squared error. Half "
    "of all rows have an error of at most {typical}."
)
_ZEROS = "{target} is 0 in {share:%} of the rows, which a mean says little about."
_NEVER = "It never predicts {class}, the class of {rows:test row}."
_PERFECT = (
    "It is nearly perfect ({metric:metric} {value:score}), like a model that "
    "knows the outcome"
)
_FEW_DECIDE = (
    "{rows} of {of:test row} {rows:makes|make} {share:%} of the {_loss:as it is}: "
    "{rows:row|rows} {_names:as it is}."
)
_RANGE = "Training targets lie between {low} and {high}."
_WITHOUT_FEW = (
    "Without {rows:it|them}, the {metric:metric} is {without} instead of {value}."
)
_UNCHECKED = (
    "It was not checked whether a column gives the target away, nor whether test rows "
    "are copies of training rows: that takes "
)
#: What is said of checks that need training rows, or a table.
NOT_CHECKED = {
    "train": f"{_UNCHECKED}the training rows (train=).",
    "table": f"{_UNCHECKED}rows of one table.",
}

#: What is said of each kind of finding.
WORDS: dict[str, Template] = {
    "leak": {
        "columns": "{columns:leaks}. If {several:it is|one is} made from the target or "
        "known only afterwards, all figures here are too good.",
        "dates": "{columns:leaks}: rows of near dates are alike, and are on both "
        "sides. For later rows, all figures here are too good.",
    },
    "cells": "{words:as it is}",
    "target": {
        "codes": "{rows:row} ({share:%}) {rows:has|have} {target} = {_codes:as it is}, "
        "far from all others ({low:value} to "
        "{high:value}): perhaps a code for a missing value.",
        "far": "{_cells:as it is}, and all other values of {target} lie between "
        "{low:value} and {high:value}.",
        **dict.fromkeys(("counts", "amounts"), _ZEROS),
    },
    "together": _TOGETHER,
    "skill": {
        "good": "{subject} predicts {target} with {metric:metric} {value:first}"
        "{ci_low:ends} on {rows:test row}{groups:who}.",
        "unknown": "{subject} predicts {target}.",
        **dict.fromkeys(("cut", "few", "none"), _NO_SKILL),
    },
    "constant": {
        "numbers": f"Always predicting the mean is clearly worse: {_PAIRED}",
        "classes": "Always predicting the most frequent class is right in "
        "{constant_accuracy:%} of the rows, the model "
        f"in {{accuracy:%}}. It is clearly better than that: {_PAIRED}",
    },
    "finds": (
        "It finds {recall:%} of the rows with the class {class}, and is right in "
        "{precision:%} of those that it predicts as {class} (at {at})."
    ),
    "baselines": {
        "unknown": "{metric:metric} is {value:score}, that of the best baseline, "
        "{best:model}, {other:score}.",
        "tie": "There is no significant difference from the best baseline, "
        f"{{best:model}}: {_PAIRED}",
        "behind": "The best baseline, {best:model}, does better: {metric:metric} "
        f"{{other:score}} against {{value:score}} {_DIFFERENCE}.",
        "ahead": f"The model does better than the best baseline, {{best:model}}: "
        f"{_PAIRED}",
    },
    "changes": "{sentence:as it is}",
    "features": {
        "losses": f"{_RELIES}{{leading:losses}}",
        "clear": f"{_RELIES}{{leading:names}}.",
        "unshown": "It is not shown that what it relies on helps to predict {target}.",
        "none": "None of {of:feature} clearly matters (no p-value is below 5\u00a0% "
        "after Holm's correction).",
    },
    "levels": {
        "compared": "{_said:as it is}",
        "never": (
            "At {at:as it is} it predicts no row as {class}, so its rates by level of "
            "{column} say nothing.{_said:as it is}"
        ),
    },
    "noted": "{notes:sentences} {feature} is the feature that it relies on most.",
    "duplicates": (
        "{shared:test row} ({share:%}) {shared:is|are} also in the training rows. "
        "Scores of such rows can be too good."
    ),
    "nearly_perfect": {
        "none": f"{_PERFECT}. Look for columns that hold the answer.",
        "one": f"{_PERFECT}. It relies almost only on {{feature}}, which may be known "
        "only after the outcome.",
        **{needs: f"{_PERFECT}. {words}" for needs, words in NOT_CHECKED.items()},
    },
    "nearly_all": (
        "It relies most on {feature}, which alone gives nearly all of its skill "
        "({metric:metric} {score:score} "
        "alone, {value:score} the model). It may be known only after the outcome."
    ),
    "dated": (
        "It relies most on {feature}, and training and test rows are of the same time. "
        "For later rows, it can be worse than these scores."
    ),
    "impossible": (
        "{pairs:moves}. Replacing one alone makes rows that do not occur, for which "
        "the model is worse than a constant: that says little of single features. A "
        "group of them is replaced as one."
    ),
    "one_class": (
        "All test rows ({rows}) have the class {class}, so nothing is known about the "
        "other classes, and not how good the model is."
    ),
    "quantile": (
        "It predicts the {loss}, and these scores are for models of the mean, so that "
        "it is not compared with a "
        "constant. Importances measure the loss of the quantile."
    ),
    "by_absolute_errors": {
        "clear": (
            "By absolute errors, which few rows decide less, {clear} of {of:feature} "
            "clearly {clear:matters|matter}, most of all {_names:as it is}."
        ),
        "none": "By absolute errors, too, none of {of:feature} clearly matters.",
    },
    "few_rows_decide": {
        "decide": f"{_FEW_DECIDE} {_WITHOUT_FEW}",
        "range": f"{_FEW_DECIDE} {_RANGE} {_WITHOUT_FEW}",
        "outside": (
            "{rows} of {of:test row} {rows:is|are} predicted far outside: "
            "{rows:row|rows} {_names:as it is}. {range}"
        ).replace("{range}", _RANGE),
    },
    "few_rows_matter": (
        "{rows} of {of:test row} {rows:decides|decide} the importance of {feature}: "
        "{rows:row|rows} {_names:as it is}. Without {rows:it|them}, shuffling "
        "{feature} changes the {_loss:as it is} by {without} instead of {value}."
    ),
    "in_order": {
        **dict.fromkeys(("numbers", "words"), _IN_ORDER),
        "scale": "The classes of {target} are in an order ({_scale:as it is}), which "
        "the model is not told.",
    },
    "cut": "{cut:cuts}",
    "few_rows": "There {rows:is|are} only {rows:test row}, so all scores are "
    "uncertain.",
    "unseen": (
        "{count:test row} {count:has|have} a class of {target} that no training row "
        "has ({rows:classes}): {count:it counts|they count} as wrong, and the log loss "
        "leaves {count:it|them} out."
    ),
    "rare": "Few test rows have the {classes:class|classes} {rows:classes}, so "
    "{classes:its|their} scores are uncertain.",
    "skewed": {
        "high": _SKEWED.replace("ROWS", "with {target} of {end:value} and more"),
        "low": _SKEWED.replace("ROWS", "with {target} of {end:value} and less"),
        "both": _SKEWED.replace("ROWS", "whose {target} is furthest from its median"),
    },
    "worse": {
        "accuracy": f"{_WORST}accuracy is {{groups[0][score]:%}} "
        f"{_ENDS.replace('END', '%')}, and its probabilities expect "
        f"{{groups[0][expected]:%}}. {_OTHERS_OF_IT} {{groups[0][rest]:%}}, and they "
        f"expect {{groups[0][rest_expected]:%}}.{_TESTED}",
        "log_loss": f"{_WORST}the log loss is {{groups[0][score]}}, and its "
        f"probabilities expect {{groups[0][expected]}}. {_OTHERS_OF_IT} "
        f"{{groups[0][rest]}}, and they expect {{groups[0][rest_expected]}}.{_TESTED}",
        "mae": f"{_WORST}the mean absolute error is {{groups[0][score]}} "
        f"{_ENDS.replace(':END', '')}, {{groups[0][times]:2}} times what is usual at "
        f"such predictions. {_OTHERS_OF_IT} {{groups[0][rest]}}, "
        f"{{groups[0][rest_times]:2}} times.{_TESTED}",
        "labels": f"{_WORST}accuracy is {{groups[0][score]:%}} "
        f"{_ENDS.replace('END', '%')}. {_OTHERS_OF_IT} {{groups[0][rest]:%}}.{_TESTED}",
    },
    "never_predicted": {
        "many": "Of {of} classes it never predicts {missed:word}: {rows:classes}.",
        "two": _NEVER,
        "threshold": f"{_NEVER} With a threshold of {{threshold}} on its probability "
        "(the best for balanced accuracy on validation rows), it finds {found} of "
        "them. Of the rows predicted {class}, {precision:%} are then right.",
    },
    "worse_log_loss": "Its probabilities are clearly worse than the shares of the "
    f"classes alone: {_PAIRED}",
    "calibration": {
        calibration_form: f"Its probabilities are off. {words}"
        for calibration_form, words in CALIBRATION.items()
    },
    "drift": (
        "{clear} of {compared:compared column} {clear:has|have} clearly different "
        "values in the training and the test "
        "rows, most of all {worst[column]}: {worst:drifted}."
    ),
    "weights": (
        "Scores, comparisons and importances weigh the test rows by {column}: they are "
        "worth {worth:row} of equal "
        "weight. All else counts each row once, or is left out."
    ),
    "related": "{pairs:moves}. Importance may be shared between them.",
    "dependence": {
        "time": (
            "Intervals and tests allow for rows that are near each other in {name}."
        ),
        "groups": "Intervals and tests count {groups:group} by {name}, not {rows:row}.",
    },
}
#: What to do about it. There is no full stop: the command may follow.
ADVICE: dict[str, Template] = {
    "leak": {
        "columns": "Find out when {named:quoted} {several:is|are} known. If only "
        "afterwards, train without {several:it|them}",
        "dates": "Train again with the latest rows by {named:quoted} as test rows",
    },
    "cells": "{advice:as it is}",
    "target": {
        "codes": "If so, train without these rows",
        "far": "Check {_where:as it is}, and train again without an error there",
        "counts": "If {target} counts something, train again for counts",
        "amounts": "Predict two columns: whether {target} is above 0, and how large it "
        "is where it is",
    },
    "together": "If such rows belong together, {_keep:as it is}",
    "skill": {
        "cut": "Train again with more time (--time-limit or --max-rows all)",
        "few": "Test it on more rows before you use its predictions",
        "none": "Do not use its predictions. Look for features that say more about "
        "{target}",
    },
    "levels": {"never": "Decide what a missed class costs, and set the threshold"},
    "noted": "Train again without {feature}, unless it is known when you predict",
    "duplicates": "Check whether equal rows are copies of one case. If so, remove the "
    "copies",
    "nearly_perfect": {
        "none": "Find out whether each feature is known when you predict",
        "one": "Find out when {feature} is known. If only after the outcome, train "
        "without it",
        "train": "Pass train=(X_train, y_train) too",
        "table": "Find out whether each feature is known when you predict",
    },
    "nearly_all": "Find out when {feature} is known. If only after the outcome, train "
    "without it",
    "dated": "Train again with the latest rows by {column} as test rows",
    "impossible": {
        "command": "Explain features that move together as one",
        "call": "Explain features that move together as one "
        "(groups=pg.related_columns(X))",
    },
    "few_rows_decide": "Look at {rows:this row|these rows} first, and correct wrong "
    "cells",
    "one_class": "Test it on rows of every class",
    "in_order": {
        "numbers": "To predict a number instead, fit a regressor",
        **dict.fromkeys(
            ("words", "scale"),
            "To predict a number instead, write the classes of {target} as numbers and "
            "fit a regressor",
        ),
    },
    "few_rows": "Test it on more rows, or on several splits (permgrad compare)",
    "unseen": "Train it on rows of every class",
    "rare": "Test it on more rows of the rare classes",
    "skewed": "Look in the report at predicted against true {target} before you use "
    "extreme predictions",
    "worse": "Look in the report at the groups for which it is worse before you use "
    "its predictions for them",
    "never_predicted": {
        "many": "Do not use it to find the classes that it never predicts",
        "two": "Decide what a missed class costs, and set the threshold",
        "threshold": "Decide what a missed class costs, and set the threshold",
    },
    "worse_log_loss": "Do not take its probabilities at their word",
    "calibration": "Do not take its probabilities at their word",
    "drift": "Check how training and test rows were collected before you use the model",
}


# ---- how facts are written -----------------------------------------------------------
#: Metrics that are 1 at best: a score below is never rounded to it.
_UP_TO_1 = {
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "roc_auc",
    "average_precision",
    "r2",
    "r2_of_ranks",
}


def share_text(share: float) -> str:
    """Write a share in per cent, and one below 1 never as 100 %.

    Examples:
        >>> [share_text(share).replace(chr(160), " ") for share in (0.9997, 0.5)]
        ['99.97 %', '50 %']
    """
    if share < 1 and 100 * share >= 99.5:
        return f"{math.floor(1e4 * share) / 100:.2f}\u00a0%"
    return percent(share)


def down(score: float) -> str:
    """Write a score rounded down: 0.9996 is not 1."""
    return f"{math.floor(score * 1000) / 1000:.3f}"


class Writer(string.Formatter):
    """Writes facts into a template: what stands behind the colon of a field says how.

    ``a|b`` chooses by a count, ``%``, ``score``, ``metric`` and the names in
    ``WRITTEN`` write a value, and any other word is what is counted: ``{rows:test
    row}``. Without one, numbers have three digits and names are shortened.
    """

    def __init__(self, known_facts: Mapping[str, Any]) -> None:
        self.known = known_facts

    def format_field(self, value: Any, spec: str) -> str:
        """Write one fact."""
        if "|" in spec:
            return by_count(value, *spec.split("|"))
        if spec in WRITTEN:
            return WRITTEN[spec](value, self.known)
        if spec:
            return counted(value, spec)
        if isinstance(value, float):
            return number(value)
        if isinstance(value, int):
            return f"{value:,}"
        return shorten(value, 60)

    def sentence(self, template: str | Mapping[str, str]) -> str:
        """Fill in a template, that of the facts' form where there are several. Empty if
        none is for them.
        """
        if not isinstance(template, str):
            template = template.get(self.known["form"], "")
        return self.vformat(template, (), self.known)


def say(kind: str, known_facts: Facts) -> str:
    """Return the sentence for facts of a kind."""
    return Writer(known_facts).sentence(WORDS[kind])


def _score(value: float, known_facts: Mapping[str, Any]) -> str:
    score_text = number(value)
    if (
        score_text.rstrip("0") == "1."
        and value < 1
        and known_facts["metric"] in _UP_TO_1
    ):
        return down(value)
    return score_text


def _pairs(pairs: Sequence[Sequence[Any]], _: Mapping[str, Any]) -> str:
    return listed(
        f"{metrics.get(metric_name).label} {number(own_score)} against {number(theirs)}"
        for metric_name, own_score, theirs in pairs
    )


def _losses(leading: Sequence[Facts], known_facts: Mapping[str, Any]) -> str:
    """Say what the loss is without each of the leading features, and which others are
    uncertain.
    """
    short_name = names_apart(feature_facts["name"] for feature_facts in leading)
    label = metrics.get(known_facts["metric"]).label
    first, *other_losses = [
        (short_name(feature_facts["name"]), number(feature_facts["loss"]))
        for feature_facts in leading
    ]
    words = (
        f"{first[0]}: without it the {label} rises from "
        f"{number(known_facts['loss'])} to {first[1]} (without any: "
    )
    words += f"{number(known_facts['constant'])})."
    if other_losses:
        next_features = []
        for feature_name, loss_text in other_losses:
            next_features.append(f"{feature_name}: to {loss_text}")
        words += f" Next, {listed(next_features)}."
    if undecided := known_facts["undecided"]:
        if len(undecided) == len(leading):
            whose = "Their order"
        else:
            whose = f"The order of {listed(map(short_name, undecided))}"
        words += f" {whose} is not certain."
    for uncertain in known_facts["uncertain"][:_OTHERS]:
        if math.isfinite(uncertain["low"]):
            interval_words = (
                f": {number(uncertain['low'])} to {number(uncertain['high'])}"
            )
        else:
            interval_words = ""
        words += (
            f" {shorten(uncertain['name'], 40)}, place {uncertain['place']} by "
            f"size, is uncertain{interval_words}."
        )
    return words


def _moves(pairs: Sequence[Mapping[str, Any]], _: Mapping[str, Any]) -> str:
    """Say which others each feature moves with, and which lack values in the same
    rows.
    """
    show = names_apart(pair[side] for pair in pairs for side in ("feature", "other"))
    moving_pairs = [pair for pair in pairs if pair["kind"] != MISSING]
    pairs_by_feature = {
        feature_name: list(feature_pairs)
        for feature_name, feature_pairs in groupby(
            moving_pairs, key=lambda pair: pair["feature"]
        )
    }
    sentences = list[str]()
    told_pairs = set[frozenset[str]]()
    for close_names in _close_together(pairs_by_feature):
        untold_pairs = [
            pair
            for close_name in close_names
            for pair in pairs_by_feature[close_name]
            if _both(pair) not in told_pairs
        ]
        told_pairs.update(map(_both, untold_pairs))
        if len(close_names) > 1:
            sentences.append(_move_with_each_other(close_names, untold_pairs, show))
        elif untold_pairs:
            words = [
                f"{show(pair['other'])} ({pair['kind']} "
                f"{number(float(pair['strength']), 2)})"
                for pair in untold_pairs
            ]
            named_count = _OTHERS if len(pairs_by_feature) == 1 else 1
            sentences.append(
                f"{show(close_names[0])} moves with {listed(words, named_count)}"
            )
    for names in _lacking_together(pairs):
        if len(names) == 2:
            first, second = map(show, names)
            sentences.append(f"{first} lacks values where {second} does")
        else:
            sentences.append(
                f"{listed(map(show, names), NAMED)} lack values in the same rows"
            )
    return ". ".join(sentences)


def _both(pair: Mapping[str, Any]) -> frozenset[str]:
    """Return the two features of a pair, whichever comes first."""
    return frozenset((pair["feature"], pair["other"]))


def _close_together(
    pairs_by_feature: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Iterator[list[str]]:
    """Yield features that are all close to each other, each feature once, in their
    order.
    """
    close_pairs = set()
    for feature_pairs in pairs_by_feature.values():
        for pair in feature_pairs:
            if abs(pair["strength"]) >= CLOSE:
                close_pairs.add(_both(pair))
    remaining_names = list(pairs_by_feature)
    while remaining_names:
        close_names = remaining_names[:1]
        for other_name in remaining_names[1:]:
            pairs_with_other = {
                frozenset((other_name, close_name)) for close_name in close_names
            }
            if pairs_with_other <= close_pairs:
                close_names.append(other_name)
        remaining_names = [name for name in remaining_names if name not in close_names]
        yield close_names


def _move_with_each_other(
    names: Sequence[str],
    pairs: Sequence[Mapping[str, Any]],
    show: Callable[[str], str],
) -> str:
    """Say that several features move with each other, how many others do, and how
    strongly at most.
    """
    other_count = len({pair["other"] for pair in pairs} - {*names})
    more = f" and {other_count:,} more" if other_count else ""
    strongest = max(pairs, key=lambda pair: abs(pair["strength"]))
    strength = float(strongest["strength"])
    up_to = ""
    if len(pairs) > 2:
        strength = abs(strength)
        up_to = "up to "
    return (
        f"{listed(map(show, names))} move with each other{more} "
        f"({strongest['kind']} {up_to}{number(strength, 2)})"
    )


def _lacking_together(pairs: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the groups of features that lack values in the same rows, as pairs join
    them.
    """
    groups = list[list[str]]()
    for pair in pairs:
        if pair["kind"] != MISSING:
            continue
        members = [pair["feature"], pair["other"]]
        apart = list[list[str]]()
        for group in groups:
            if set(group).isdisjoint(members):
                apart.append(group)
            else:
                members = [*group, *(name for name in members if name not in group)]
        groups = [*apart, members]
    return groups


def _classes(rows: Mapping[str, int], _: Mapping[str, Any]) -> str:
    """Name classes with their rows."""
    short_name = names_apart(rows, 30)
    first, *other_classes = [
        f"{short_name(label)} ({count:,}" for label, count in rows.items()
    ]
    return listed(
        [
            f"{first} {'row' if next(iter(rows.values())) == 1 else 'rows'})",
            *(f"{class_words})" for class_words in other_classes),
        ],
        NAMED,
    )


#: What leaks are called, by what marks one, and how well a column or formula predicts
#: the target.
_LEAKS = {
    "alone": "Column {column!r} alone predicts {target!r} nearly perfectly "
    "({metric:measure} {score:down} on held-out rows)",
    "class": "Whether {column!r} has a value tells rows of class {class!r} from all "
    "others nearly perfectly ({metric:measure} {score:down})",
    "together": "{columns:quoted} together predict {target!r} nearly perfectly "
    "({metric:measure} {score:down} on "
    "held-out rows): each marks rows of one class alone",
    "pair": "{columns:quoted} together determine {target!r} nearly perfectly "
    "({metric:measure} {score:down} on held-out rows)",
    "equal": "{target!r} equals {formula:as it is} in {share} of {rows:row} compared",
    "formula": "{target!r} is nearly {formula:as it is} ({metric:measure} {score:down} "
    "on {rows:row})",
}
MEASURES_OF_LEAKS = {
    "r2": "R²",
    "r2_of_ranks": "R² of the ranks",
    "balanced_accuracy": "balanced accuracy",
}
MEASURES_OF_LEAKS |= {"equal": "share of rows"}


def _leaks(leaks: Sequence[Mapping[str, Any]], known_facts: Mapping[str, Any]) -> str:
    """Say how the first leaks tell the target, without a full stop."""
    sentences = list[str]()
    order = ("formula", "class", "together", "pair")
    for leak_entry in sorted(
        leaks,
        key=lambda ordered_leak: any(leak_key in ordered_leak for leak_key in order),
    )[:NAMED]:  # columns alone come first
        if leak_entry["metric"] == "equal":
            leak_kind = "equal"
        else:
            leak_kind = next(
                (leak_key for leak_key in order if leak_key in leak_entry), "alone"
            )
        if leak_entry["score"] == 1:
            share = "all"
        else:
            share = f"{100 * leak_entry['score']:.1f}\u00a0%"
        sentences.append(
            Writer(
                {**leak_entry, "target": known_facts["target"], "share": share}
            ).sentence(_LEAKS[leak_kind])
        )
    return ". ".join(
        [
            *sentences,
            *[f"And {counted(len(leaks) - NAMED, 'more')}"] * (len(leaks) > NAMED),
        ]
    )


def _sharing(tested: int, known_facts: Mapping[str, Any]) -> str:
    """Say how many test rows have a value of a training row, where there are test
    rows.
    """
    words = (
        f", and {known_facts['shared']:,} of {counted(tested, 'test row')} have "
        "one of the training rows"
    )
    if tested:
        return words
    return ""


def _first(value: float, known_facts: Mapping[str, Any]) -> str:
    """Write the main score: an accuracy as a share, with as many decimals as the ends
    of its interval need.
    """
    if known_facts["metric"] != "accuracy":
        return _score(value, known_facts)
    shares = [value, known_facts.get("value"), known_facts.get("ci_high")]
    if value < 1 and any(share and 0.995 <= share < 1 for share in shares):
        return f"{math.floor(1e4 * value) / 100:.2f}\u00a0%"
    return share_text(value)


def _ends(low: float | None, known_facts: Mapping[str, Any]) -> str:
    """Write the interval of a score, if it has one."""
    if low is None:
        return ""
    low_text = _first(low, known_facts)
    high_text = _first(known_facts["ci_high"], known_facts)
    return f" (95\u00a0% interval {low_text} to {high_text})"


def _who(groups: int | None, known_facts: Mapping[str, Any]) -> str:
    """Write how many groups rows are of, and how many rows have the event."""
    if groups is None:
        return ""
    words = f" ({counted(groups, 'group')} by {shorten(known_facts['group_name'], 40)}"
    if "event" in known_facts:
        events = counted(known_facts["events"], "row")
        event = shorten(known_facts["event"], 40)
        words += f", {events} with {known_facts['target']} = {event}"
    return words + ")"


def _tested(tests: int, known_facts: Mapping[str, Any]) -> str:
    """Say how many of the groups tested are worse."""
    verb_form = by_count(known_facts["worse"], "is", "are")
    return (
        f" {known_facts['worse']:,} of {tests:,} tested groups {verb_form} clearly "
        "worse than the other rows." * (tests > 1)
    )


def _sentences(notes: Iterable[object], _: Mapping[str, Any]) -> str:
    return " ".join(f"{clean(card_note).rstrip('.')}." for card_note in notes)


def _times(ratio: float, _: Mapping[str, Any]) -> str:
    """Say how many times as many, or what part.

    Examples:
        >>> _times(2.04, {}), _times(0.48, {}), _times(3.1, {})
        ('twice', 'half', '3.1 times')
    """
    for words, exact in (("twice", 2.0), ("half", 0.5)):
        if abs(ratio / exact - 1) <= _ROUGHLY:
            return words
    return f"{number(ratio, 2)} times"


#: A ratio this near to 2, or to a half, is called so.
_ROUGHLY = 0.1
_COUNTS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
#: How a fact is written, by what stands behind the colon: functions of the value and
#: all facts.
WRITTEN: dict[str, Callable[[Any, Mapping[str, Any]], str]] = {
    "as it is": lambda value, _: str(value),
    "%": lambda value, _: share_text(value),
    "2": lambda value, _: number(value, 2),
    "value": lambda value, _: value_text(value),
    "metric": lambda name, _: (
        metrics.get(name).label
        if name in metrics
        else MEASURES_OF_LEAKS.get(name, name)
    ),
    "measure": lambda name, _: MEASURES_OF_LEAKS[name],
    "down": lambda value, _: down(value),
    "word": lambda count, _: dict(enumerate(_COUNTS, 1)).get(count, f"{count:,}"),
    "score": _score,
    "first": _first,
    "pairs": _pairs,
    "model": lambda name, known: baseline_label(
        name, known["_task"], counts=known["_counts"]
    ),
    "names": lambda leading, _: listed(
        map(
            names_apart(feature_facts["name"] for feature_facts in leading),
            (feature_facts["name"] for feature_facts in leading),
        )
    ),
    "quoted": lambda names, _: listed(list(map(repr, names)), NAMED),
    "losses": _losses,
    "sharing": _sharing,
    "times": _times,
    "tested": _tested,
    "sentences": _sentences,
    "cuts": lambda lost, _: " ".join(
        f"The time limit cut the {lost_words}." for lost_words in lost
    ),
    "classes": _classes,
    "drifted": lambda worst, _: drifted_words(worst),
    "moves": _moves,
    "ends": _ends,
    "who": _who,
    "leaks": _leaks,
}
