"""Sentences that page and terminal share: on a model beside a constant and others,
paths, features, and changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.assess.assessment import entries_of, is_hybrid, titles_of, value_of
from permgrad.base.errors import by_count, counted
from permgrad.base.files import plain
from permgrad.base.numerals import compact, distinct, number, percent
from permgrad.base.significance import LEVEL
from permgrad.evaluation.metrics import Metric, primary_metric
from permgrad.models.branches.head_branches import IMAGE
from permgrad.pages.moved import moved_words
from permgrad.pages.summaries import changes_words
from permgrad.pages.words import (
    clean,
    listed,
    names_apart,
    shorten,
)

if TYPE_CHECKING:
    from permgrad.evaluation.changes import Changes

#: Below this share of the branch weights, class activation maps show only a small part
#: of the prediction. On Covertype it is 3 to 5 % for preset default and 11 % for preset
#: fast.
LEAST_IMAGE_SHARE = 0.1


# ---- the model -----------------------------------------------------------------------
def known_classes(measured: Mapping[str, Any]) -> int:
    """Return the number of classes of some test metrics, or 0 for regression."""
    return len(measured.get("labels") or ()) - len(measured.get("unseen") or ())


def main_metric(task: str, test: Mapping[str, Any]) -> Metric:
    """Return the main metric of some test metrics: of counts their deviance."""
    return primary_metric(task, known_classes(test), counts="poisson_deviance" in test)


def baseline_label(name: str, task: str, *, counts: bool) -> str:
    """Return a baseline's display name in a task.

    ``counts``: of a regression of counts.

    Examples:
        >>> baseline_label("linear", "classification", counts=False)
        'logistic regression'
    """
    from permgrad.evaluation.baselines.fitting import baselines  # few runs have any

    if name not in baselines:
        return clean(name)
    return baselines.get(name).label_for(task, counts=counts)


def best_baseline(
    metric: Metric, measured: Mapping[str, Any]
) -> tuple[str, float] | None:
    """Return name and value of the best baseline by a metric."""
    best_entry: tuple[str, float] | None = None
    for baseline_name, entry in (measured.get("baselines") or {}).items():
        if isinstance(entry, Mapping):
            value = entry.get(metric.name)
        else:
            value = None
        if (
            value is not None
            and math.isfinite(value)
            and metric.better(value, best_entry[1] if best_entry else None)
        ):
            best_entry = (baseline_name, float(value))
    return best_entry


# ---- its paths -----------------------------------------------------------------------
def path_shares(branches: Mapping[str, Any]) -> dict[str, float]:
    """Return each path's share, or nothing if one of them is outside 0 … 1: then they
    are not parts of a total.
    """
    shares = {}
    for path_key, entry in entries_of(branches).items():
        shares[path_key] = value_of(entry, "share")
    shares = {
        path_key: share for path_key, share in shares.items() if math.isfinite(share)
    }
    if all(0 <= share <= 1 for share in shares.values()):
        return shares
    return {}


def map_words(branches: Mapping[str, Any]) -> str:
    """Return a sentence if activation maps mean little because the image branch hardly
    counts, else an empty text.
    """
    share = value_of(branches.get(IMAGE.name), "share")
    if (
        not is_hybrid(branches)
        or len(entries_of(branches)) < 2
        or not share < LEAST_IMAGE_SHARE
    ):
        return ""
    if share >= 0.005:
        amount = f"{round(100 * share)} %"
    else:
        amount = "next to nothing"
    return (
        f"The {IMAGE.title} has {amount} of the branch weights, so its activation "
        "maps show only a small part of the prediction. The bars of each row show all "
        "of it. For meaningful maps, train a network on images alone "
        f'(branches=("{IMAGE.name}",)).'
    )


def path_words(branches: Mapping[str, Any]) -> str:
    """Give the importance of each path where their shares are no parts of a total, else
    nothing.
    """
    entries = entries_of(branches)
    if (
        len(entries) < 2
        or not all("share" in entry for entry in entries.values())
        or path_shares(branches)
    ):
        return ""
    value_keys = ("importance", "ci_low", "ci_high")
    numbers = {}
    for path_key, entry in entries.items():
        numbers[path_key] = [
            compact(value_of(entry, value_key)) for value_key in value_keys
        ]
    titles = titles_of(numbers)
    return listed(
        [
            f"{clean(titles[path_key])} {value} ({lower_text} to {upper_text})"
            for path_key, (value, lower_text, upper_text) in numbers.items()
        ]
    )


def share_words(branches: Mapping[str, Any]) -> str:
    """Give each path's share of the total with its interval, where these are known.

    Examples:
        >>> trees = {"share": 0.4, "share_low": 0.31, "share_high": 0.5}
        >>> share_words({"trees": trees})[:7]
        'Shares:'
    """
    share_keys = ("share", "share_low", "share_high")
    shares = {}
    for path_key, entry in entries_of(branches).items():
        shares[path_key] = [value_of(entry, share_key) for share_key in share_keys]
    if not shares or not all(map(math.isfinite, chain(*shares.values()))):
        return ""
    titles = titles_of(shares)
    words = []
    for path_key, (own_share, lower_share, upper_share) in shares.items():
        words.append(
            f"{clean(titles[path_key])} {percent(own_share)} "
            f"({percent(lower_share)} to {percent(upper_share)})"
        )
    return f"Shares: {listed(words)}."


# ---- what a model is made of ---------------------------------------------------------
def raised_words(raised: float) -> str:
    """Say by how much predictions were raised after training.

    Examples:
        >>> raised_words(-0.5)[:49]
        'predictions were lowered by 0.500 after training,'
    """
    change_words = f"{'raised' if raised > 0 else 'lowered'} by {number(abs(raised))}"
    return (
        f"predictions were {change_words} after training, which is their mean error on "
        "the validation rows, later than the "
        "training rows, less what chance may have made of it"
    )


def left_texts(card: Mapping[str, Any], *, shares: bool) -> list[str]:
    """Say for each output where the mean curve of a card leaves the data, and whether
    the local effect differs there.

    ``shares``: predictions are probabilities.
    """
    leaves = card["leaves"]
    texts = []
    own_name, other_name = map(
        names_apart([card["feature"], leaves["other"]]),
        (card["feature"], leaves["other"]),
    )
    words = (
        f"The mean curve of {own_name} leaves the data {left_where(leaves)}: "
        f"there, {percent(leaves['share'])} of its "
    )
    words += (
        f"rows have a value of {other_name} that none of the {leaves['near']} or "
        "more test rows with the nearest values "
    )
    words += (
        f"of {own_name} has. The accumulated local effect (ALE) stays inside the "
        "data, and "
    )
    for clear, apart_size in zip(leaves["clear"], leaves["apart"], strict=True):
        if shares:
            apart = f"{number(100 * apart_size, 2)} percentage points"
        else:
            apart = number(apart_size)
        if clear:
            differs = f"is up to {apart} away from it there."
        else:
            differs = "does not clearly differ from it there."
        texts.append(words + differs)
    return texts


def numeral(label: str) -> str:
    """Write a label that is a number as numbers are written, and others as they are.

    Examples:
        >>> numeral("-48.68"), numeral("4.741e+04"), numeral("2019"), numeral("May")
        ('−48.68', '47,410', '2019', 'May')
    """
    try:
        value = float(label)
    except ValueError:
        return label
    if not math.isfinite(value):
        return label
    return distinct([value])[0]


def left_where(leaves: Mapping[str, Any]) -> str:
    """Say at which values a mean curve leaves the data."""
    end_values = {"up to": leaves.get("to"), "from": leaves.get("from")}
    ends_said = []
    for words, end_value in end_values.items():
        if end_value is not None:
            end_text = numeral(clean(end_value))
            ends_said.append(f"{words} {end_text}{' on' * (words == 'from')}")
    return " and ".join(ends_said) or "at all values"


# ---- levels of a column --------------------------------------------------------------
#: What is said of a measure that clearly differs between a level and all other rows, in
#: the order of sentences. ``it`` is the level, with its rows, and ``others`` are the
#: other rows.
_DIFFERS = {
    "selection_rate": "The model predicts {positive} for {first} of {it} and for "
    "{second} of {others}",
    "true_positive_rate": "It finds {first} of those that are {positive} among {it} "
    "and {second} among {others}",
    "false_positive_rate": "It wrongly predicts {positive} for {first} of those that "
    "are not among {it} and for {second} among {others}",
    "predicted_minus_observed": "The mean probability minus the share of {positive} is "
    "{first} for {it} and {second} for {others}",
    "mean_error": "The mean error (truth − prediction) is {first} for {it} and "
    "{second} for {others}",
    "accuracy": "The model is right in {first} of {it}{expected[0]} and in {second} of "
    "{others}{expected[1]}",
    "log_loss": "The log loss is {first} for {it}{expected[0]} and {second} for "
    "{others}{expected[1]}",
    "rmse": "Errors are {times[0]} times what is usual at such predictions for {it} "
    "(RMSE {first}), and {times[1]} times for {others} (RMSE {second})",
}
_RELIES = "The importance of {feature} is {first} for {it} and {second} for {others}"


def level_words(facts: Mapping[str, Any], positive: object) -> list[str]:
    """Return a sentence on each measure and importance that clearly differs between
    levels (``audit``), or on none.
    """
    column_name = shorten(facts["column"], 40)
    lines = {}
    for measure_line in facts["measures"]:
        lines[measure_line["measure"]] = measure_line
    pairs = []
    for measure, words in _DIFFERS.items():
        if measure in lines:
            pairs.append((words, lines[measure]))
    pairs += [(_RELIES, reliance_line) for reliance_line in facts["reliance"]]
    if not any("p_adjusted" in measure_line for _, measure_line in pairs):
        return [
            (
                f"The levels of {column_name} are not compared: fewer than two of them "
                f"have enough rows{_events(facts)}."
            )
        ]
    sentences = []
    for words, measure_line in pairs:
        if measure_line.get("clear"):
            sentences.append(_level_sentence(words, measure_line, facts, positive))
    sentences = sentences or [
        (
            "No rate or error of the model clearly differs between the levels of "
            f"{column_name}."
        )
    ]
    unjudged_levels = len(facts["rows"]) - len(facts["judged"])
    if unjudged_levels:
        sentences.append(
            f"{counted(unjudged_levels, 'level')} of {column_name} "
            f"{by_count(unjudged_levels, 'is', 'are')} shown and not judged, "
            f"because {by_count(unjudged_levels, 'it has', 'they have')} too few "
            f"rows{_events(facts)}."
        )
    return sentences


def _events(facts: Mapping[str, Any]) -> str:
    """Say what is needed beside rows, where there are two classes."""
    words = ", or fewer than five of one of the classes"
    if "events" in facts:
        return words
    return ""


def _level_sentence(
    words: str, line: Mapping[str, Any], facts: Mapping[str, Any], positive: object
) -> str:
    """Say by how much a level differs from all other rows."""
    share = line["share"]
    write = percent if share else number
    label = names_apart([positive])(positive)
    level = (
        f"{shorten(facts['column'], 40)} = {names_apart(facts['rows'])(line['level'])}"
    )
    whose = [f"the {counted(line['rows'][0], 'row')} with {level}"]
    whose.append(f"the {line['rows'][1]:,} others")
    if "events" in line:
        whose = [
            f"{side_words} ({count:,} {label})"
            for side_words, count in zip(whose, line["events"], strict=True)
        ]
    expected = ["", ""]
    times = ["", ""]
    if line["measure"] == "rmse":
        times = [number(value, 2) for value in line["expected"]]
    elif "expected" in line:
        inside, outside = map(write, line["expected"])
        expected = [
            f", where its probabilities expect {inside},",
            f", where they expect {outside}",
        ]
    first, second = map(write, line["estimates"])
    sentence = words.format(
        it=whose[0],
        others=whose[1],
        first=first,
        second=second,
        expected=expected,
        times=times,
        positive=label,
        feature=shorten(line["measure"], 40),
    )
    scale, digits, unit_words = (100, 2, " points") if share else (1, 3, "")
    if line["measure"] in ("mean_error", "rmse"):
        unit_words = " times what is usual"
    size_text = number(scale * line["value"], digits)
    lower_text = number(scale * line["low"], digits)
    upper_text = number(scale * line["high"], digits)
    beyond = " beyond what is expected" * bool(expected[0])
    return (
        f"{sentence} (difference{beyond} {size_text}{unit_words}, 95\u00a0% "
        f"interval {lower_text} to {upper_text})."
    )


def told_words(facts: Mapping[str, Any]) -> str:
    """Say how much the features tell of a column, and which carry it (``told_by``).

    Empty where that is not known.
    """
    told_facts = facts["told_by"]
    column = shorten(facts["column"], 40)
    whose = "other " * facts["is_feature"]
    if told_facts is None:
        return ""
    score = f"ROC‑AUC {number(told_facts['roc_auc'], 2)} in {told_facts['rows']:,} rows"
    if told_facts["low"] <= 0:
        return f"The {whose}features do not clearly tell {column} ({score})."
    first = list(told_facts["features"])[:3]
    if first:
        carriers = listed(map(names_apart(first), first))
    else:
        carriers = "Many features together"
    share = number(told_facts["told"], 2)
    lower = number(told_facts["low"], 2)
    upper = number(told_facts["high"], 2)
    words = (
        f"The {whose}features tell {column} with {score}: {share} of the way from "
        f"chance to certainty (95\u00a0% interval {lower} to {upper}). "
    )
    return f"{words}{carriers} {by_count(len(first), 'carries', 'carry')} the most."


# ---- changes -------------------------------------------------------------------------
#: Features that a sentence names.
_NAMED = 3


def since_words(changes: Changes) -> str:
    """Say which columns differ between the test rows of two runs, how the loss changed,
    and which importances did.
    """
    old, new = (shorten(name, 40) for name in changes.meta["runs"])
    words = changes_words(changes)
    first = ""
    if "drift" in changes.meta:
        first = f"{moved_words(changes.meta['drift'])} "
    lines = changes.lines[changes.lines["kind"] == "importance"]
    short_name = names_apart(lines["name"])
    clear = []
    for direction, change_sign in (("more", 1.0), ("less", -1.0)):
        changed = lines[(lines["p_holm"] < LEVEL) & (change_sign * lines["change"] > 0)]
        changed = changed.iloc[
            np.argsort(-change_sign * changed["change"].to_numpy(), kind="stable")
        ]
        if count := len(changed):
            clear.append(
                f"{listed(map(short_name, changed['name']), _NAMED)} clearly "
                f"{by_count(count, 'matters', 'matter')} {direction}"
            )
    unchanged = "No importance changed clearly." if len(lines) else ""
    if clear:
        changed_words = f"{listed(clear)}."
    else:
        changed_words = unchanged
    loss_words = f"{words[0].lower()}{words[1:]}"
    return f"{first}From {old} to {new}, {loss_words} {changed_words}".rstrip()


def case_words(changes: Changes) -> str:
    """Say what was compared: two models on the same rows, or one model on two
    samples.
    """
    (old_name, new_name), (first, second) = (
        map(shorten, changes.meta["runs"], (60, 60)),
        changes.meta["rows"],
    )
    if changes.meta["same_rows"]:
        words = (
            f"The model of {old_name} and that of {new_name} predict the same "
            f"{first:,} test rows, and scores are compared "
        )
        if (changes.lines["kind"] == "importance").any():
            return (
                f"{words}row by row. Importances count as independent, so their "
                "intervals are rather too wide."
            )
        return (
            f"{words}row by row. Importances are not compared: those of both differ in "
            "method or features."
        )
    words = (
        f"The test rows of both runs differ. The model of {old_name} predicts "
        f"{first:,} of its own and {second:,} of "
    )
    words += (
        f"{new_name}, whose own model is not used. Rows of the two count as "
        "independent of each other."
    )
    if copies := changes.meta.get("copies"):
        words += (
            f" {counted(copies, 'new row')} {by_count(copies, 'equals', 'equal')} rows "
            "that it may have been "
        )
        words += "trained on: its loss there can be too small."
    return words


def changes_facts(changes: Changes) -> dict[str, Any]:
    """Return the changes as JSON: the sentence, the facts and the lines."""
    facts: dict[str, Any] = plain(
        {**changes.meta, "lines": changes.lines.to_dict("records")}
    )
    return {"sentence": since_words(changes), **facts}
