"""What came out of a comparison, in plain sentences."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.evaluation.agreement import strongest
from permgrad.report._views import duration, listed, percent
from permgrad.report.plots._base import clean, number, shorten

if TYPE_CHECKING:
    from permgrad.evaluation.comparison import Comparison

#: Pairs of models whose shared features are said one by one.
_MOST_PAIRS = 3


def sentences(comparison: Comparison) -> list[str]:
    """Return everything that is to be said, the most important first.

    Args:
        comparison: What was measured.
    """
    found = [*standing_sentences(comparison), *reliance_sentences(comparison), *failure_sentences(comparison)]
    return [sentence for sentence in found if sentence]


def headline(comparison: Comparison) -> str:
    """Compose the first sentence of the page."""
    if comparison.best is None:
        return f"No model could be measured on {clean(comparison.table)} by {_metric(comparison)}."
    line = comparison.standing.iloc[0]
    level = [clean(name) for name in _labels(comparison, level=True)[1:]]
    first = f"{clean(line['label'])} is best on {shorten(comparison.table, 40)}, with {_article(comparison)} of"
    first = f"{first} {score(comparison, line['mean'])}"
    if not level:
        rest = ", ahead of all others by more than chance." if _tested(comparison) else "."
        return first + rest
    shown = level if len(level) <= 3 else [*level[:2], f"{len(level) - 2} others"]
    return f"{first}; {listed(shown)} cannot be told from it."


def _metric(comparison: Comparison) -> str:
    return comparison.measure.label.replace("-", "\u2011").replace(" %", "\u00a0%")


def _article(comparison: Comparison) -> str:
    label = comparison.measure.label
    vowel = label[0].lower() in "aeio" or label in ("RMSE", "MAE", "MSE", "MAPE", "R²", "F1")
    return f"{'an' if vowel else 'a'} {_metric(comparison)}"


def score(comparison: Comparison, value: float) -> str:
    """Write a value of the metric that decides."""
    low, high = comparison.measure.range
    if not math.isfinite(value):
        return "–"
    return f"{value:.4f}".replace("-", "−") if high - low <= 2 else number(value, 4)


def gap_words(comparison: Comparison, line: Any) -> str:
    """Write how far a model is behind the best, with its interval."""
    written = [score(comparison, line[name]) for name in ("difference", "ci_low", "ci_high")]
    return f"by {written[0]} (95\u00a0% interval {written[1]} to {written[2]})"


def _labels(comparison: Comparison, *, level: bool) -> list[str]:
    frame = comparison.standing
    return [str(label) for label in frame.loc[frame["level"] == level, "label"]]


def _tested(comparison: Comparison) -> bool:
    frame = comparison.standing
    return bool(frame["p_holm"].notna().any())


# ---- who is ahead ----------------------------------------------------------------------------------------------------
def standing_sentences(comparison: Comparison) -> list[str]:
    """Say who is best, by how much, and whom it cannot be told from."""
    if comparison.best is None:
        return []
    frame = comparison.standing
    best, others = frame.iloc[0], frame.iloc[1:]
    word = str(comparison.facts.get("fold_word", "fold"))
    rank = f", mean rank {count_text(best['rank'])} of {len(frame)}" if math.isfinite(best["rank"]) else ""
    found = [
        (
            f"{clean(best['label'])} is best by {_metric(comparison)}: {score(comparison, best['mean'])} on average "
            f"over {best['folds']} {word}s{rank}."
        )
    ]
    tested = others[others["p_holm"].notna()]
    for _, line in tested[tested["level"]].iterrows():
        clear = line["p_value"] < 0.05
        why = (
            f", which no longer counts as more than chance once {len(tested)} comparisons are allowed for"
            if clear
            else ""
        )
        verb = "is ahead of" if clear else "cannot be told from"
        lead = "it leads " if not clear else ""
        joined = f"{verb} {clean(line['label'])}: {lead}" if lead else f"{verb} {clean(line['label'])} "
        found.append(f"It {joined}{gap_words(comparison, line)}{why}.")
    behind = tested[~tested["level"]]
    if len(behind):
        shown = [f"{clean(line['label'])} {gap_words(comparison, line)}" for _, line in behind.iterrows()]
        found.append(f"It is ahead by more than chance of {listed(shown)}.")
    return [*found, _time_sentence(comparison)]


def _time_sentence(comparison: Comparison) -> str:
    frame = comparison.standing.dropna(subset="fit_seconds")
    best = frame[frame["model"] == comparison.best]
    if len(frame) < 2 or best.empty:
        return ""
    fastest = frame.iloc[int(frame["fit_seconds"].to_numpy().argmin())]
    own = float(best["fit_seconds"].iloc[0])
    if fastest["model"] == comparison.best:
        return f"It is also the fastest to fit: {duration(own)}."
    times = f"{own / fastest['fit_seconds']:.0f} times" if fastest["fit_seconds"] > 0 else "far"
    return (
        f"It takes {duration(own)} to fit, {times} as long as {clean(fastest['label'])} "
        f"({duration(float(fastest['fit_seconds']))})."
    )


# ---- what they rely on -----------------------------------------------------------------------------------------------
def shared_features(comparison: Comparison, first: str, second: str) -> tuple[float, float, list[str]]:
    """Return how many of their strongest features two models share, of how many, and which.

    The strongest are those of the mean shares over folds, at most ``comparison.k``.
    """
    shares = comparison.shares()
    left, right = (strongest(shares[name].to_numpy(), comparison.k) for name in (first, second))
    both = np.minimum(left, right)
    order = np.argsort(-shares[[first, second]].mean(axis=1).to_numpy(), kind="stable")
    return float(both.sum()), max(left.sum(), right.sum()), [comparison.features[i] for i in order if both[i] > 0]


def reliance_sentences(comparison: Comparison) -> list[str]:
    """Say whether the models rely on the same features: those that stand for their kinds first."""
    names = list(comparison.reliance)
    if len(names) < 2 or not len(comparison.features):
        return []
    found = []
    for first, second in telling_pairs(comparison)[:_MOST_PAIRS]:
        shared, whole, _ = shared_features(comparison, first, second)
        chance = comparison.k**2 / len(comparison.features)
        by_chance = f" (chance alone: {count_text(chance)})" if comparison.k < len(comparison.features) else ""
        found.append(
            f"{clean(comparison.label(first))} and {clean(comparison.label(second))} share {count_text(shared)} of "
            f"their {count_text(whole)} strongest features{by_chance}. {agreement_words(comparison, first, second)}"
        )
    everywhere = [
        feature
        for feature in comparison.features
        if all(
            strongest(comparison.shares()[name].to_numpy(), comparison.k)[comparison.features.index(feature)] > 0
            for name in names
        )
    ]
    if len(names) > 2 and everywhere:
        order = comparison.shares().mean(axis=1)
        shown = sorted(everywhere, key=lambda name: -float(order[name]))
        words = [shorten(name, 40) for name in shown[:4]]
        more = [f"{len(shown) - 4} more"] if len(shown) > 4 else []
        found.append(f"All {len(names)} models have {listed([*words, *more])} among their {comparison.k} strongest.")
    return found


def telling_pairs(comparison: Comparison) -> list[tuple[str, str]]:
    """Return pairs of explained models, those first that say most: the best, and the best of the other kind."""
    names = list(comparison.reliance)
    order = [name for name in comparison.standing["model"] if name in names]
    kinds = {one.name: one.kind for one in comparison.contestants}
    leading = [next((name for name in order if kinds[name] == kind), None) for kind in ("network", "baseline")]
    pairs = [tuple(name for name in leading if name is not None)]
    pairs += list(itertools.combinations(order, 2))
    found: dict[frozenset[str], tuple[str, str]] = {}
    for pair in pairs:
        if len(pair) == 2:
            found.setdefault(frozenset(pair), (pair[0], pair[1]))
    return list(found.values())


def agreement_line(comparison: Comparison, first: str, second: str, measure: str) -> Any:
    """Return the line of ``comparison.agreement`` of a pair, whichever stands first; None if there is none."""
    frame = comparison.agreement
    own = frame[frame["measure"] == measure]
    for one, other in ((first, second), (second, first)):
        line = own[(own["first"] == one) & (own["second"] == other)]
        if len(line):
            return line.iloc[0]
    return None


def agreement_words(comparison: Comparison, first: str, second: str) -> str:
    """Say how much of their importance falls on the same features, against what each shares with itself."""
    line = agreement_line(comparison, first, second, "weighted_overlap")
    if line is None or not math.isfinite(line["agreement"]):
        return ""
    found = f"{percent(line['agreement'])} of their importance falls on the same features"
    if not math.isfinite(line["ceiling"]):
        return f"{found}."
    word = comparison.facts.get("fold_word", "fold")
    found += f", {percent(line['ceiling'])} where one model is fitted again on another {word}"
    if line["differs"] is None:
        return f"{found}."
    if line["differs"]:
        return f"{found}: they weigh features differently, by more than refitting explains."
    return f"{found}: a difference beyond refitting cannot be told."


def count_text(value: float) -> str:
    """Write a count that may be a mean: whole where it is whole.

    Examples:
        >>> count_text(9.0), count_text(4.348)
        ('9', '4.3')
    """
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.1f}"


# ---- the rest --------------------------------------------------------------------------------------------------------
def failure_sentences(comparison: Comparison) -> list[str]:
    """Say which models failed, on how many folds, and why."""
    word = str(comparison.facts.get("fold_word", "fold"))
    found = []
    for name in dict.fromkeys(model for model, _, _ in comparison.failures):
        own = [(fold, why) for model, fold, why in comparison.failures if model == name]
        share = f"all {len(own)}" if len(own) == len(comparison.folds) else f"{len(own)} of {len(comparison.folds)}"
        reasons = list(dict.fromkeys(why for _, why in own))
        found.append(f"{clean(comparison.label(name))} failed on {share} {word}s: {shorten(reasons[0], 240)}")
    return found


def path_lines(comparison: Comparison) -> list[tuple[str, float, float, float, float]]:
    """Return for each hybrid network: its name, the mean shares of the table and of the image path, their spreads.

    The share of a path is its part of the summed importances of all features on one fold.
    """
    frame: Any = comparison.importances
    if not len(frame) or not {"tabular", "image"} <= set(frame.columns):
        return []
    own = frame[(frame["method"] == "permgrad") & frame["tabular"].notna() & frame["image"].notna()]
    lines = []
    for name, part in own.groupby("model", sort=False):
        sums = part.groupby("fold")[["tabular", "image", "importance"]].sum()
        sums = sums[sums["importance"] > 0]
        if len(sums):
            shares = sums[["tabular", "image"]].div(sums["importance"], axis=0)
            spread = shares.std(ddof=1) if len(shares) > 1 else shares.iloc[0] * math.nan
            values: Sequence[float] = (*shares.mean(), *spread)
            lines.append((str(name), values[0], values[1], values[2], values[3]))
    return lines


def share_text(mean: float, spread: float) -> str:
    """Write a share with its spread over folds."""
    return percent(mean) + (f" ± {percent(spread)}" if math.isfinite(spread) else "")
