"""Sentences that page and terminal share: on a model compared with a constant and with others, paths, features."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from permgrad.assess.assessment import entries_of, is_hybrid, value_of
from permgrad.base.errors import by_count, counted, option_of
from permgrad.base.numerals import compact, number, percent
from permgrad.base.significance import LEVEL, deserves_words
from permgrad.data.read.dates import date_text
from permgrad.evaluation.calibration import Reliability
from permgrad.evaluation.metrics import Metric, Task, primary_metric
from permgrad.evaluation.segments import worse_groups
from permgrad.pages.words import clean, labels_of, listed, names_apart, shorten, value_text

#: Below this share of the branch weights, class activation maps show only a small part of the prediction. On Covertype
#: it is 3 to 5 % for preset default and 11 % for preset fast.
LEAST_IMAGE_SHARE = 0.1
#: A group of rows is harder to predict if its most frequent class is rarer than that of the other rows by this much.
LESS_FREQUENT = 0.05
#: Features that one moves with, features of which that is said, and columns that give the target away, at most.
_MEMBERS, _GROUPS, _LEAKS = 8, 4, 5


# ---- the model -------------------------------------------------------------------------------------------------------
def known_classes(measured: Mapping[str, Any]) -> int:
    """Return the number of classes of some test metrics, or 0 for regression."""
    return len(measured.get("labels") or ()) - len(measured.get("unseen") or ())


def main_metric(task: Task, test: Mapping[str, Any]) -> Metric:
    """Return the main metric of some test metrics: of counts their deviance."""
    return primary_metric(task, known_classes(test), counts="poisson_deviance" in test)


def baseline_label(name: str) -> str:
    """Return a baseline's display name."""
    from permgrad.evaluation.baselines.fitting import baselines  # few runs have any

    return baselines.get(name).label if name in baselines else clean(name)


def best_baseline(task: Task, measured: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return name and value of the best baseline by the main metric."""
    metric = main_metric(task, measured.get("test") or {})
    best: tuple[str, float] | None = None
    for name, entry in (measured.get("baselines") or {}).items():
        value = entry.get(metric.name) if isinstance(entry, Mapping) else None
        if value is not None and math.isfinite(value) and metric.better(value, best[1] if best else None):
            best = (name, float(value))
    return best


def against_baselines(task: Task, measured: Mapping[str, Any]) -> str:
    """Say whether the model is significantly better or worse than its best baseline, or neither."""
    test = measured.get("test") or {}
    metric = main_metric(task, test)
    best, value = best_baseline(task, measured), test.get(metric.name)
    if best is None or value is None:
        return ""
    label, paired = baseline_label(best[0]), measured["baselines"][best[0]].get("ahead")
    theirs, ours = number(best[1]), number(value)
    if not paired:
        return f"{metric.label} is {ours}, that of the best baseline, {label}, {theirs}."
    tests = {name: line["ahead"] for name, line in measured["baselines"].items() if line.get("ahead")}
    # Sign and order of the ends that make the difference positive.
    sign = 1.0 if paired["difference"] >= 0 else -1.0
    low, high = sorted((sign * paired["ci_low"], sign * paired["ci_high"]))
    # Equal scores differ by rounding at most.
    difference = abs(paired["difference"]) if abs(paired["difference"]) > 1e-12 * abs(value) else 0.0
    size = f"difference {number(difference)}, 95 % interval {number(low)} to {number(high)}"
    if paired["p_holm"] >= LEVEL:
        size += f", not significant among {len(tests)} comparisons" if low > 0 else ""
        words = f"There is no significant difference from the best baseline, {label}: {metric.label} {ours} "
        words += f"against {theirs} ({size})."
    elif paired["difference"] < 0:
        words = f"The best baseline, {label}, does better: {metric.label} {theirs} against {ours} ({size})."
    else:
        words = (
            f"The model does better than the best baseline, {label}: {metric.label} {ours} against {theirs} ({size})."
        )
    del tests[best[0]]
    ahead = [baseline_label(name) for name, one in tests.items() if one["p_holm"] < LEVEL and one["difference"] > 0]
    return f"{words} The model is significantly better than {listed(ahead)}." if ahead else words


#: How well a column alone, or a formula, predicts the target.
MEASURES_OF_LEAKS = {"r2": "R²", "r2_of_ranks": "R² of the ranks", "balanced_accuracy": "balanced accuracy"}
MEASURES_OF_LEAKS |= {"equal": "share of rows"}


def down(score: float) -> str:
    """Write a score rounded down: 0.9996 is not 1."""
    return f"{math.floor(score * 1000) / 1000:.3f}"


def leak_words(target: str, leaks: Sequence[Mapping[str, Any]], *, in_python: bool = False) -> str:
    """Return the alarm about columns that predict the target alone, or by a formula, or an empty text."""
    if not leaks:
        return ""
    alone = [one for one in leaks if not {"formula", "class", "together"} & set(one)]
    words = [_formula_words(target, one) for one in leaks if "formula" in one]
    words += _filled_words([one for one in leaks if "class" in one])
    words += [_together_words(target, one) for one in leaks if "together" in one]
    of_alarm = [*alone[:_LEAKS], *(one for one in leaks if one not in alone)]
    columns = list(dict.fromkeys(name for one in of_alarm for name in one.get("columns", [one["column"]])))
    if alone:
        scores: dict[str, list[str]] = {}
        for one in alone[:_LEAKS]:
            scores.setdefault(MEASURES_OF_LEAKS[one["metric"]], []).append(down(one["score"]))
        shown = [f"{measure} {listed(list(dict.fromkeys(some)))}" for measure, some in scores.items()]
        names = listed([repr(one["column"]) for one in alone], _LEAKS)
        subject = f"Column {names}" if len(alone) == 1 else f"Each of {names}"
        predicts = f"{subject} alone predicts {target!r} nearly perfectly ({', '.join(shown)} on held-out rows)"
        words = [predicts, *words]
    drop, single = " ".join(option_of("--drop", name) for name in columns), len(columns) == 1
    fix = f"Train without {'it' if single else 'them'}"
    fix += "" if in_python else f": run again with {drop} and another --out"
    return (
        f"{'. '.join(words)}. If {'it' if single else 'one'} is made from the target or known only afterwards, all "
        f"figures here are too good. {fix}."
    )


def together_words(facts: Mapping[str, Any]) -> str:
    """Say which rows may belong together, and what a model scores if they are kept together."""
    columns = facts["columns"]
    names, several = " and ".join(map(repr, columns)), f"{facts['each']:.2g} rows each on average"
    known = facts["apart"] is not None
    if facts["clear"]:
        measure = MEASURES_OF_LEAKS.get(facts["metric"], facts["metric"])
        words = f"Rows with the same {names} may belong together ({several}). A forest has {measure} "
        words += f"{facts['apart']:.2f} on rows left out at random, and {facts['together']:.2f} if such rows are kept "
        words += "together. If they do belong together, scores and intervals here are too good: "
    else:
        words = f"{names} names rows ({several}), which may depend on each other. "
        words += "A forest is not clearly worse if they are kept together, but " * known
        words += f"{'i' if known else 'I'}ntervals can be too narrow. If they do depend on each other, "
    if len(columns) > 1:
        return f"{words}add a column that holds both, and run again with it as --row-group."
    return f"{words}run again with {option_of('--row-group', columns[0])}."


def _filled_words(leaks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say, for each class without a full stop, which columns tell it by having a value."""
    words = []
    for label in dict.fromkeys(one["class"] for one in leaks):
        some = [one for one in leaks if one["class"] == label]
        names, score = listed([repr(one["column"]) for one in some], _LEAKS), down(min(one["score"] for one in some))
        have, measure = by_count(len(some), "has", "have"), MEASURES_OF_LEAKS[some[0]["metric"]]
        apart = f"rows of class {clean(label)!r} from all others nearly perfectly ({measure} {score})"
        words.append(f"Whether {names} {have} a value tells {apart}")
    return words


def _together_words(target: str, leak: Mapping[str, Any]) -> str:
    """Say, without a full stop, which columns tell the classes together."""
    names, score = listed([repr(name) for name in leak["columns"]], _LEAKS), down(leak["score"])
    measure = f"({MEASURES_OF_LEAKS[leak['metric']]} {score} on held-out rows)"
    return f"{names} together predict {target!r} nearly perfectly {measure}: each marks rows of one class alone"


def _formula_words(target: str, leak: Mapping[str, Any]) -> str:
    """Say, without a full stop, which formula gives the target."""
    if leak["metric"] == "equal":
        share = f"all {leak['rows']:,}" if leak["score"] == 1 else f"{100 * leak['score']:.1f} % of {leak['rows']:,}"
        return f"{target!r} equals {leak['formula']} in {share} rows compared"
    score = f"{MEASURES_OF_LEAKS[leak['metric']]} {down(leak['score'])}"
    return f"{target!r} is nearly {leak['formula']} ({score} on {leak['rows']:,} rows)"


def unchecked_words(target: str, needs: str) -> str:
    """Return a sentence on the checks that were not made, because they need training rows (``"train"``) or a table."""
    why = {"train": "that takes the training rows (train=)", "table": "that takes rows of one table"}[needs]
    return (
        f"It was not checked whether a column gives {shorten(target, 60)} away, whether training and test rows differ, "
        f"and whether test rows are copies of training rows: {why}."
    )


def dominant_words(hint: Mapping[str, Any], features: Sequence[str]) -> str:
    """Return a sentence on a feature that may give the outcome away: notes of the data card, or its share."""
    name, notes = names_apart(features)(hint["feature"]), [clean(note).rstrip(".") for note in hint["notes"]]
    share = f"{name} has {percent(hint['share'])} of the importances of all {len(features)} features added up"
    if notes:
        return (
            f"{'. '.join(f'{note[:1].upper()}{note[1:]}' if at else note for at, note in enumerate(notes))}. {share}."
        )
    return f"{share}. If it is known only after the outcome, or made from it, all scores are too good for a forecast."


def reliability_words(curves: Sequence[Reliability], positive: str) -> str:
    """Summarise the reliability curves in a sentence."""
    error, chance = (float(np.mean([getattr(curve, name) for curve in curves])) for name in ("error", "chance"))
    mean = "" if len(curves) == 1 else ", the mean over classes"
    words = f"Expected calibration error {number(error, 2)}{mean}: "
    if error <= 1.5 * chance:
        return f"{words}about as expected of a perfectly calibrated model on as many rows ({number(chance, 2)})."
    words += f"a perfectly calibrated model would have {number(chance, 2)} by chance."
    if len(curves) > 1:
        return words
    (curve,) = curves
    off = np.flatnonzero((curve.predicted < curve.low) | (curve.predicted > curve.high))
    if not len(off):
        return words
    worst = off[int(np.argmax(np.abs(curve.observed - curve.predicted)[off] * curve.rows[off]))]
    return (
        f"{words} Of the {curve.rows[worst]:,} rows with a prediction of about {percent(curve.predicted[worst])}, "
        f"{percent(curve.observed[worst])} are {positive}."
    )


# ---- its paths -------------------------------------------------------------------------------------------------------
def path_shares(branches: Mapping[str, Any]) -> dict[str, float]:
    """Return each path's share, or nothing if one of them is outside 0 … 1: then they are not parts of a total."""
    shares = {name: value_of(entry, "share") for name, entry in entries_of(branches).items()}
    shares = {name: share for name, share in shares.items() if math.isfinite(share)}
    return shares if all(0 <= share <= 1 for share in shares.values()) else {}


def map_words(branches: Mapping[str, Any]) -> str:
    """Return a sentence if activation maps mean little because the image path hardly counts, else an empty text."""
    share = value_of(branches.get("image"), "share")
    if not is_hybrid(branches) or len(entries_of(branches)) < 2 or not share < LEAST_IMAGE_SHARE:
        return ""
    amount = f"{round(100 * share)} %" if share >= 0.005 else "next to nothing"
    return (
        f"The image path has {amount} of the branch weights, so its activation maps show only a small part of the "
        "prediction. The bars of each row show all of it. For meaningful maps, train a network on images alone "
        '(branches=("image",)).'
    )


def path_words(branches: Mapping[str, Any]) -> str:
    """Compare the paths in words if a share is outside 0 … 1, else return an empty text."""
    entries = {name: one for name, one in entries_of(branches).items() if math.isfinite(value_of(one, "importance"))}
    shared = any(math.isfinite(value_of(entry, "share")) for entry in entries.values())
    if path_shares(branches) or len(entries) < 2 or not shared:
        return ""
    order = sorted(entries, key=lambda name: -float(entries[name]["importance"]))
    noun = "path" if is_hybrid(branches) else "input"
    words = [f"{clean(name)} {noun} {_role(entries[name], name == order[0])}" for name in order]
    return f"The {'. The '.join(words)}."


def _role(entry: Mapping[str, Any], first: bool) -> str:
    value, low, high, share = (value_of(entry, key) for key in ("importance", "ci_low", "ci_high", "share"))
    if not (low > 0 or high < 0):
        role = "is within noise"
    elif not deserves_words(low, high, share):
        role = "has next to no effect"
    elif value < 0:
        role = "has a negative effect: shuffling it makes the loss smaller"
    else:
        role = "carries it" if first else "adds to it"
    return f"{role} ({_with_interval(value, low, high)})"


def _with_interval(value: float, low: float, high: float) -> str:
    ends = "" if math.isnan(low + high) else f", interval {compact(low)} to {compact(high)}"
    return f"{compact(value)}{ends}"


def no_share_words(branches: Mapping[str, Any]) -> str:
    """Say why no path has a share. Empty if one has, or if shares were not requested."""
    entries = entries_of(branches).values()
    if len(entries) < 2 or any("share" not in one or math.isfinite(value_of(one, "share")) for one in entries):
        return ""
    numbers = [value_of(branches.get("total"), key) for key in ("importance", "ci_low", "ci_high")]
    shown = "" if math.isnan(sum(numbers)) else f" ({_with_interval(*numbers)})"
    noun = "paths" if is_hybrid(branches) else "inputs"
    return f"the effect of all {noun} together is not clearly above 0{shown}"


# ---- features that move together -------------------------------------------------------------------------------------
def related_words(pairs: Sequence[Mapping[str, Any]], names: Sequence[str], most: int = _MEMBERS) -> str:
    """Return a sentence on the features that each of the names is related to, or an empty text.

    Each pair is said once, with its own figure. ``most``: how many others of a feature are named.
    """
    show = names_apart(pair[side] for pair in pairs for side in ("feature", "other"))
    said, sentences = set[frozenset[str]](), list[str]()
    for name in names:
        own = {frozenset((name, pair["other"])): pair for pair in pairs if pair["feature"] == name}
        others = [
            f"{show(pair['other'])} ({pair['kind']} {compact(float(pair['strength']), 2)})"
            for both, pair in own.items()
            if both not in said
        ]
        said |= own.keys()
        sentences += [f"{show(name)} moves with {listed(others, most)}"] if others else []
    more = [f"so do {len(sentences) - _GROUPS} more features"] if len(sentences) > _GROUPS else []
    return f"{', and '.join([*sentences[:_GROUPS], *more])}, so importance may be shared between them." * bool(
        sentences
    )


# ---- columns that differ between training and test rows --------------------------------------------------------------
def raised_words(raised: float) -> str:
    """Say by how much predictions were raised after training.

    Examples:
        >>> raised_words(-0.5)[:49]
        'predictions were lowered by 0.500 after training,'
    """
    by = f"{'raised' if raised > 0 else 'lowered'} by {number(abs(raised))}"
    return (
        f"predictions were {by} after training, which is their mean error on the validation rows, later than the "
        "training rows, less what chance may have made of it"
    )


def blend_words(blend: Mapping[str, Any]) -> str:
    """Say how much the network and the boosted model of a blend count.

    Examples:
        >>> blend_words({"network": 0.62, "ci_low": 0.62, "ci_high": 0.8, "boosted": "catboost", "rows": 500})[:51]
        'The network counts for 0.62, CatBoost for 0.38. The'
    """
    weight, name = blend["network"], baseline_label(blend["boosted"])
    words = f"The network counts for {weight:.2f}, {name} for {1 - weight:.2f}."
    if weight in (0, 1):
        words += f" So only {'the network' if weight else name} is used."
    rows = counted(blend["rows"], "validation row")
    where = f"The weight of the network with the least loss on {rows} has the 95 % interval"
    nearest = "the blend takes the weight in it that is nearest to one half"
    return f"{words} {where} {blend['ci_low']:.2f} to {blend['ci_high']:.2f}: {nearest}."


def drift_words(compared: Sequence[Mapping[str, Any]], most: int = 3) -> str:
    """Return a sentence on how many columns differ clearly between training and test rows, and one for the largest.

    ``compared`` is the ``drift`` of ``compare_parts``. Empty if no column differs clearly by enough.
    """
    clear = [one for one in compared if one["clear"]]
    if not clear:
        return ""
    words = f"{by_count(len(clear), 'One', f'{len(clear):,}')} of {counted(len(compared), 'compared column')} "
    words += f"{by_count(len(clear), 'has', 'have')} clearly different values in the training and the test rows"
    if len(clear) > most:
        words += f". {by_count(most, 'The largest difference', f'The {most} largest differences')}"
    show = names_apart(one["column"] for one in compared)
    return f"{words}: {'. '.join(': '.join([show(one['column']), drifted_words(one)]) for one in clear[:most])}."


def drifted_words(one: Mapping[str, Any]) -> str:
    """Say in words, without a full stop, where a column differs most between training and test rows."""
    about = "about " if one["sampled"] else ""
    shares = f"{about}{percent(one['test'])} of the test rows and {about}{percent(one['train'])} of the training rows"
    if one["side"] == "among":
        names = labels_of(one["levels"], 30)
        names = names if len(names) <= 4 else [*names[:3], f"one of {len(names) - 3} others"]
        choice = " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
        return f"{shares} are {choice}"
    if one["side"] in ("missing", "present"):
        return f"{shares} have {'no' if one['side'] == 'missing' else 'a'} value"
    if one["kind"] == "date":
        side = one["side"].replace("at most", "up to").replace("above", "after")
        return f"{shares} are {side} {date_text(one['value'])}"
    return f"{shares} are {one['side']} {value_text(float(one['value']))}"


def left_texts(card: Mapping[str, Any], *, shares: bool) -> list[str]:
    """Say for each output where the mean curve of a card leaves the data, and whether the local effect differs there.

    ``shares``: predictions are probabilities.
    """
    leaves, texts = card["leaves"], []
    own, other = map(names_apart([card["feature"], leaves["other"]]), (card["feature"], leaves["other"]))
    words = f"The mean curve of {own} leaves the data {left_where(leaves)}: there, {percent(leaves['share'])} of its "
    words += (
        f"rows have a value of {other} that none of the {leaves['near']} or more test rows with the nearest values "
    )
    words += f"of {own} has. The accumulated local effect (ALE) stays inside the data, and "
    for clear, size in zip(leaves["clear"], leaves["apart"], strict=True):
        apart = f"{number(100 * size, 2)} percentage points" if shares else number(size)
        differs = f"is up to {apart} away from it there." if clear else "does not clearly differ from it there."
        texts.append(words + differs)
    return texts


def left_where(leaves: Mapping[str, Any]) -> str:
    """Say at which values a mean curve leaves the data."""
    ends = {"up to": leaves.get("to"), "from": leaves.get("from")}
    ends_said = [f"{words} {clean(end)}{' on' * (words == 'from')}" for words, end in ends.items() if end is not None]
    return " and ".join(ends_said) or "at all values"


# ---- groups of rows --------------------------------------------------------------------------------------------------
def segment_words(segments: Mapping[str, Any], most: int = 3) -> str:
    """Return a sentence on how many groups of test rows are clearly worse than the others, and one for the worst.

    ``segments`` is what ``permgrad.evaluation.segments.find_segments`` returns. Empty if no group is clearly worse.
    """
    worse = worse_groups(segments)
    if not worse:
        return ""
    count = by_count(len(worse), "One", f"{len(worse):,}")
    words = f"{count} of {counted(segments['tests'], 'tested group')} of test rows "
    words += f"{by_count(len(worse), 'is', 'are')} clearly worse than the other rows"
    if segments["rows"] < segments["all_rows"]:
        words += f" (in a sample of {segments['rows']:,} test rows)"
    features = segments["features"]
    shows = (
        names_apart(one["feature"] for one in features),
        names_apart(group["group"] for one in features for group in one["groups"]),
    )
    return " ".join([f"{words}.", *(_group_words(group, segments["score"], *shows) for group in worse[:most])])


def no_segment_words(segments: Mapping[str, Any]) -> str:
    """Return the sentence on groups of test rows of which none is clearly worse."""
    sample = f" (in a sample of {segments['rows']:,} test rows)" if segments["rows"] < segments["all_rows"] else ""
    tested = f"None of the {segments['tests']:,} tested groups of test rows is"
    tested = "The one tested group of test rows is not" if segments["tests"] == 1 else tested
    return f"{tested} clearly worse than the other rows{sample}."


def _group_words(
    group: Mapping[str, Any], score: str, feature: Callable[[object], str], level: Callable[[object], str]
) -> str:
    """Compare the score of a group with that of the other rows."""
    write, label = (percent, "accuracy") if score == "accuracy" else (number, "the mean absolute error")
    interval = f"95\u00a0% interval {write(group['low'])} to {write(group['high'])}"
    words = f"Where {feature(group['feature'])} is {level(group['group'])}, {label} is {write(group['score'])} "
    words += f"({interval}, {counted(group['rows'], 'row')}), on the other rows {write(group['rest'])}."
    own, rest = (group.get(key) for key in ("commonest", "rest_commonest"))
    if own is not None and rest is not None and own <= rest - LESS_FREQUENT:
        words += f" Its classes are harder to tell: the most frequent one has {percent(own)} of these rows, and "
        words += f"{percent(rest)} of the others."
    return words


# ---- levels of a column ----------------------------------------------------------------------------------------------
#: What is said of a measure that clearly differs between levels, in the order of sentences.
_DIFFERS = {
    "selection_rate": "The model predicts {positive} for {low} of the rows with {lowest} and for {high} of those with",
    "true_positive_rate": "It finds {low} of the {positive} rows with {lowest} and {high} of those with",
    "false_positive_rate": "It wrongly predicts {positive} for {low} of others with {lowest} and {high} of those with",
    "predicted_minus_observed": "The mean probability minus the share of {positive} is {low} for {lowest}, {high} for",
    "mean_error": "The mean error (truth − prediction) is {low} for rows with {lowest} and {high} for those with",
    "accuracy": "The model is right in {low} of the rows with {lowest} and in {high} of those with",
    "log_loss": "The log loss is {low} for rows with {lowest} and {high} for those with",
    "rmse": "The RMSE is {low} for rows with {lowest} and {high} for those with",
}
_RELIES = "The importance of {feature} is {low} for rows with {lowest} and {high} for those with"


def level_words(facts: Mapping[str, Any], positive: object) -> list[str]:
    """Return a sentence on each measure and importance that clearly differs between levels (``audit``), or on none."""
    name, lines, sentences = shorten(facts["column"], 40), {one["measure"]: one for one in facts["measures"]}, []
    pairs = [(words, lines[measure]) for measure, words in _DIFFERS.items() if measure in lines]
    pairs += [(_RELIES, line) for line in facts["reliance"]]
    if not any("p_holm" in line for _, line in pairs):
        return [f"The levels of {name} are not compared: fewer than two of them have enough rows."]
    for words, line in ((words, line) for words, line in pairs if line.get("clear")):
        write, scale, digits = (percent, 100, 2) if line["share"] else (number, 1, 3)
        lowest, highest = (f"{name} = {names_apart(facts['rows'])(line[end])}" for end in ("lowest", "highest"))
        low, high = (write(line["levels"][line[end]][0]) for end in ("lowest", "highest"))
        about = {"positive": names_apart([positive])(positive), "feature": shorten(line["measure"], 40)}
        size, least, most = (number(scale * line[end], digits) for end in ("value", "low", "high"))
        said = words.format(low=low, high=high, lowest=lowest, **about)
        points = " points" * line["share"]
        sentences.append(f"{said} {highest} (difference {size}{points}, 95\u00a0% interval {least} to {most}).")
    return sentences or [f"No rate or error of the model clearly differs between the levels of {name}."]


def told_words(facts: Mapping[str, Any]) -> str:
    """Say how much the features tell of a column, and which carry it (``told_by``). Empty where that is not known."""
    told, name, whose = facts["told_by"], shorten(facts["column"], 40), "other " * facts["is_feature"]
    if told is None:
        return ""
    score = f"ROC‑AUC {number(told['roc_auc'], 2)} in {told['rows']:,} rows"
    if told["low"] <= 0:
        return f"The {whose}features do not clearly tell {name} ({score})."
    first = list(told["features"])[:3]
    who = listed(map(names_apart(first), first)) if first else "Many features together"
    share, low, high = (number(told[end], 2) for end in ("told", "low", "high"))
    words = f"The {whose}features tell {share} of what {name} would say (95\u00a0% interval {low} to {high}; {score}). "
    return f"{words}{who} {by_count(len(first), 'carries', 'carry')} the most."
