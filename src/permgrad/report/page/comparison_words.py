"""What came out of a comparison, in plain sentences."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from permgrad.report.words import clean, duration, fixed, listed, number, percent, shorten

if TYPE_CHECKING:
    from permgrad.evaluation.comparison import Comparison

#: Models, or pairs of models, that are said one by one.
_MOST_PAIRS = 3
#: Features that are named of a pair of models, in each of the lists.
_MOST_NAMED = 4
#: Models whose overlap is surely less than this below its ceiling rely on the same features.
_ALIKE = 0.05


def sentences(comparison: Comparison) -> list[str]:
    """Return everything that is to be said, the most important first."""
    lines = [*standing_sentences(comparison), *reliance_sentences(comparison), *failure_sentences(comparison)]
    return [sentence for sentence in lines if sentence]


def fold_word(comparison: Comparison) -> str:
    """Return what one division of the rows is called."""
    return str(comparison.facts.get("fold_word", "fold"))


def headline(comparison: Comparison) -> str:
    """Compose the first sentence of the page."""
    if comparison.best is None:
        return f"No model could be measured on {clean(comparison.table)} by {_metric(comparison)}."
    line = comparison.standing.iloc[0]
    frame = comparison.standing
    level = [clean(label) for label in frame.loc[frame["level"], "label"]][1:]
    label = comparison.measure.label
    vowel = label[0].lower() in "aeio" or label.split()[0] in ("RMSE", "MAE", "MSE", "MAPE", "R²", "F1")
    first = f"{clean(line['label'])} is best on {shorten(comparison.table, 40)}, with {'an' if vowel else 'a'} "
    first += f"{_metric(comparison)} of {score(comparison, line['mean'])}"
    if not level:
        return first + (", ahead of all others by more than chance." if frame["p_holm"].notna().any() else ".")
    shown = level if len(level) <= 3 else [*level[:2], f"{len(level) - 2} others"]
    return f"{first}; {listed(shown)} cannot be told from it."


def _metric(comparison: Comparison) -> str:
    return comparison.measure.label.replace("-", "\u2011").replace(" %", "\u00a0%")


def score(comparison: Comparison, value: float) -> str:
    """Write a value of the metric that decides, or a difference of two, with as many decimals as all of them have."""
    low, high = comparison.measure.range
    if high - low <= 2:
        return fixed(value, 4)
    size = float(np.nanmax(np.abs(comparison.standing["mean"].to_numpy()), initial=0.0))
    return fixed(value, max(0, 3 - math.floor(math.log10(size)))) if 1e-3 <= size < 1e6 else number(value, 4)


# ---- who is ahead ----------------------------------------------------------------------------------------------------
def standing_sentences(comparison: Comparison) -> list[str]:
    """Say who is best, by how much, and whom it cannot be told from."""
    if comparison.best is None:
        return []
    frame = comparison.standing
    best, behind = frame.iloc[0], frame.iloc[1:]
    word = fold_word(comparison)
    rank = f", mean rank {count_text(best['rank'])} of {len(frame)}" if math.isfinite(best["rank"]) else ""
    first = f"{clean(best['label'])} is best by {_metric(comparison)}: {score(comparison, best['mean'])} on average "
    spoken = [f"{first}over {best['folds']} {word}s{rank}."]
    tested = behind[behind["p_holm"].notna()]
    clear = tested["p_value"] < 0.05
    for chosen, before, after in (
        (tested[tested["level"] & ~clear], "It cannot be told from", ""),
        (
            tested[tested["level"] & clear],
            "It is ahead of",
            f", but not by more than chance once all {len(tested)} comparisons with it are allowed for",
        ),
        (tested[~tested["level"]], "It is ahead by more than chance of", ""),
    ):
        shown = [f"{clean(line['label'])} ({_gap_words(comparison, line)})" for _, line in chosen.iterrows()]
        spoken += [f"{before} {listed(shown, _MOST_PAIRS)}{after}."] if shown else []
    return [*spoken, _time_sentence(comparison)]


def _gap_words(comparison: Comparison, line: Any) -> str:
    """Write how far a model is behind the best, with its interval."""
    gap, low, high = (score(comparison, line[name]) for name in ("difference", "ci_low", "ci_high"))
    return f"by {gap}, 95\u00a0% interval {low} to {high}"


def _time_sentence(comparison: Comparison) -> str:
    frame = comparison.standing.dropna(subset="fit_seconds")
    best = frame[frame["model"] == comparison.best]
    if len(frame) < 2 or best.empty:
        return ""
    fastest = frame.iloc[int(frame["fit_seconds"].to_numpy().argmin())]
    seconds = float(best["fit_seconds"].iloc[0])
    if fastest["model"] == comparison.best:
        return f"It was also the fastest to fit here, by the clock: {duration(seconds)}."
    times = f"{seconds / fastest['fit_seconds']:.0f} times" if fastest["fit_seconds"] > 0 else "far"
    return (
        f"Here it took {duration(seconds)} to fit, by the clock, {times} as long as {clean(fastest['label'])} "
        f"({duration(float(fastest['fit_seconds']))})."
    )


# ---- what they rely on -----------------------------------------------------------------------------------------------
def shared_features(comparison: Comparison, first: str, second: str) -> tuple[float, tuple[float, float], float]:
    """Return how many of their strongest features two models share, how many each has, and how many chance alone gives.

    A model has fewer than ``comparison.k`` where others do not clearly matter, or have less than a hundredth of its
    importance.
    """
    left, right = comparison.strongest[first], comparison.strongest[second]
    counts = (float(left.sum()), float(right.sum()))
    return float(np.minimum(left, right).sum()), counts, counts[0] * counts[1] / len(comparison.features)


def reliance_sentences(comparison: Comparison) -> list[str]:
    """Say whether the models rely on the same features: the best of both kinds first, then all pairs together."""
    names = list(comparison.reliance)
    if len(names) < 2 or not comparison.features:
        return []
    pairs = telling_pairs(comparison)
    lines = [_pair_sentence(comparison, *pairs[0]), _all_pairs_sentence(comparison, pairs)]
    shares = comparison.shares()
    member = np.min([comparison.strongest[name] for name in names], axis=0) > 0
    order = [i for i in np.argsort(-shares.mean(axis=1).to_numpy(), kind="stable") if member[i]]
    if len(names) > 2 and order:
        words = listed([shorten(comparison.features[i], 40) for i in order], _MOST_NAMED)
        lines.append(f"All {len(names)} models have {words} among their strongest features.")
    return [sentence for sentence in lines if sentence]


def _pair_sentence(comparison: Comparison, first: str, second: str) -> str:
    shared, counts, chance = shared_features(comparison, first, second)
    left, right = clean(comparison.label(first)), clean(comparison.label(second))
    k, features = comparison.k, len(comparison.features)
    if not max(counts):
        return f"No feature clearly matters to {left} or to {right}."
    # One number of features for both models and for the overlap that follows; what a model has fewer is said.
    whose = f"their {k} strongest features" if k > 1 else "their strongest feature"
    of_all = f"of {features} in all; chance alone: {count_text(round(chance, 1))}"
    if counts == (k, k):
        words = f"{left} and {right} share {count_text(shared)} of {whose} ({of_all})"
    else:
        words = (
            f"Of {whose} {count_text(counts[0])} of {left} and {count_text(counts[1])} of {right} clearly matter and "
            f"have at least a hundredth of the importance; {count_text(shared)} of these "
            f"{'is' if shared == 1 else 'are'} the same ({of_all})"
        )
    return f"{words}: {_named(comparison, first, second)}. {agreement_words(comparison, first, second)}"


def _named(comparison: Comparison, first: str, second: str) -> str:
    """Name the strongest features of two models: those of both, then those of one alone, by their shares."""
    shares = comparison.shares()
    left, right = (comparison.strongest[name] > 0 for name in (first, second))
    lists = []
    for member, whose in (
        (left & right, "both"),
        (left & ~right, f"{clean(comparison.label(first))} alone"),
        (right & ~left, f"{clean(comparison.label(second))} alone"),
    ):
        order = shares.loc[member, [first, second]].mean(axis=1).sort_values(ascending=False, kind="stable").index
        words = [shorten(str(name), 40) for name in order]
        lists += [f"{whose} {listed(words, _MOST_NAMED)}"] if words else []
    return "; ".join(lists)


def _all_pairs_sentence(comparison: Comparison, pairs: Sequence[tuple[str, str]]) -> str:
    """Say how many pairs of models differ, and which the most."""
    lines = [agreement_line(comparison, *pair, "weighted_overlap") for pair in pairs]
    judged = [line for line in lines if line is not None and line["differs"] is not None]
    if len(pairs) < 2 or not judged:
        return ""
    apart = sorted((line for line in judged if line["differs"]), key=lambda line: -float(line["gap"]))
    if not apart:
        return f"None of the {len(judged)} pairs of models can be told to weigh features differently beyond refitting."
    most = apart[0]
    names = f"{clean(comparison.label(most['first']))} and {clean(comparison.label(most['second']))}"
    verb = "weighs" if len(apart) == 1 else "weigh"
    return (
        f"Of the {len(judged)} pairs of models {len(apart)} {verb} features differently by more than refitting "
        f"explains, most of all {names} ({percent(most['agreement'])}, refitted {percent(most['ceiling'])})."
    )


def telling_pairs(comparison: Comparison) -> list[tuple[str, str]]:
    """Return pairs of explained models, those first that say most: the best, and the best of the other kind."""
    names = list(comparison.reliance)
    order = [name for name in comparison.standing["model"] if name in names]
    kinds = {one.name: one.kind for one in comparison.contestants}
    leading = [[name for name in order if kinds[name] == kind][:1] for kind in ("network", "baseline")]
    distinct: dict[frozenset[str], tuple[str, str]] = {}
    for first, second in [*zip(*leading, strict=False), *itertools.combinations(order, 2)]:
        distinct.setdefault(frozenset((first, second)), (first, second))
    return list(distinct.values())


def agreement_line(comparison: Comparison, first: str, second: str, measure: str) -> Any:
    """Return the line of ``comparison.agreement`` of a pair, whichever stands first; None if there is none."""
    frame, pair = comparison.agreement, [first, second]
    rows = frame[(frame["measure"] == measure) & frame["first"].isin(pair) & frame["second"].isin(pair)]
    return rows.iloc[0] if len(rows) else None


def agreement_words(comparison: Comparison, first: str, second: str) -> str:
    """Say how much of their strongest features' importance is shared, against what each shares with itself."""
    line = agreement_line(comparison, first, second, "weighted_overlap")
    if line is None or not math.isfinite(line["agreement"]):
        return ""
    whose = f"their {comparison.k} strongest features" if comparison.k > 1 else "their strongest feature"
    words = f"{percent(line['agreement'])} of the importance of {whose} falls on the same ones"
    if not math.isfinite(line["ceiling"]):
        return f"{words}."
    word = fold_word(comparison)
    words += f", {percent(line['ceiling'])} where the same model is fitted again on another {word}"
    if line["differs"] is None:
        return f"{words}."
    if line["differs"]:
        return f"{words}: they weigh features differently, by more than refitting explains."
    if line["gap_high"] <= _ALIKE:
        return f"{words}: they rely on the same features alike."
    return f"{words}: a difference beyond refitting cannot be told."


def count_text(value: float) -> str:
    """Write a count that may be a mean: whole where it is whole."""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.1f}"


# ---- the rest --------------------------------------------------------------------------------------------------------
def failure_sentences(comparison: Comparison) -> list[str]:
    """Say which models failed, on how many folds, and why."""
    word = fold_word(comparison)
    lines = []
    for name in dict.fromkeys(model for model, _, _ in comparison.failures):
        failures = [(fold, why) for model, fold, why in comparison.failures if model == name]
        count, folds = len(failures), len(comparison.folds)
        share = f"all {count}" if count == folds else f"{count} of {folds}"
        reasons = list(dict.fromkeys(why for _, why in failures))
        lines.append(f"{clean(comparison.label(name))} failed on {share} {word}s: {shorten(reasons[0], 240)}")
    return lines


def path_lines(comparison: Comparison) -> list[tuple[str, float, float, float, float]]:
    """Return for each hybrid network: its name, the mean shares of the table and of the image path, their spreads.

    The share of a path is its part of the summed importances of all features on one fold.
    """
    frame: Any = comparison.importances
    if not len(frame) or not {"tabular", "image"} <= set(frame.columns):
        return []
    rows = frame[(frame["method"] == "permgrad") & frame["tabular"].notna() & frame["image"].notna()]
    sums = rows.groupby(["model", "fold"], sort=False)[["tabular", "image", "importance"]].sum()
    sums = sums[sums["importance"] > 0]
    by_model = sums[["tabular", "image"]].div(sums["importance"], axis=0).groupby("model", sort=False)
    table = pd.concat([by_model.mean(), by_model.std(ddof=1)], axis=1)
    return [(str(name), *values) for name, *values in table.itertuples()]


def share_text(mean: float, spread: float) -> str:
    """Write a share with its spread over folds."""
    return percent(mean) + (f" ± {percent(spread)}" if math.isfinite(spread) else "")
