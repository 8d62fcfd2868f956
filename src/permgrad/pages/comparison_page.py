"""The page of a comparison: which model is best, by how much, and whether the models
rely on the same features.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.base.numerals import compact, fixed, number, numbers, percent
from permgrad.base.sequences import values_at
from permgrad.evaluation.metrics import metrics
from permgrad.models.branches import path_names, title_of
from permgrad.pages.charts import model_charts as charts
from permgrad.pages.html import render_page
from permgrad.pages.views import (
    Builder,
    Column,
    Fact,
    Mark,
    SectionView,
    as_count,
    built,
    figures_of,
    intervals_of,
    metric_heading,
    names,
    table_of,
)
from permgrad.pages.words import clean, duration, listed, names_apart, p_text, shorten

if TYPE_CHECKING:
    import pandas as pd

    from permgrad.evaluation.comparison import Comparison

_HOW_TO_READ = {
    "Folds": (
        "Every model is fitted on the same training rows of each fold, encoders "
        "included. The same held-out rows stop "
        "the training, and the scores are of test rows that no model was fitted on."
    ),
    "Behind the best": (
        "The mean difference to the best model over folds, with its 95\u00a0% "
        "interval. Folds share training rows, so their scores are correlated. The "
        "interval is widened for that (corrected resampled t-test, Nadeau and Bengio "
        "2003), and p is adjusted for the number of models compared with the best "
        "(Holm 1979). The best model is chosen by the same scores, which makes the "
        "differences look a little larger than they are."
    ),
    "Importance": (
        "How much a model's loss grows on test rows when a feature's raw value is "
        "taken from another row (permutation). All models are explained on the same "
        "rows with the same replacements. Importance shows what a model uses, not what "
        "causes the target."
    ),
    "Agreement and its ceiling": (
        "Two models are compared on different folds, and so is each model with itself. "
        "The same model fitted on other rows never ranks features exactly alike. That "
        "agreement, the framed diagonal, is the most that two models can be expected "
        "to reach. Only the distance from it is a difference between the models."
    ),
    "Features that resemble each other": (
        "Models may choose differently among features that carry the same information. "
        "They then disagree on single features, although they use the same "
        "information. To see this, declare such columns as one group with --groups."
    ),
}
#: Most models whose matrices of agreement are drawn side by side. With more, the names
#: would be too small.
_BESIDE = 5
#: Models, or pairs of models, that are described one by one.
_MOST_PAIRS = 3
#: Features of a pair of models that are named in each list.
_MOST_NAMED = 4
#: Models whose overlap is certainly less than this below its ceiling rely on the same
#: features.
_ALIKE = 0.05
#: Heading of the verdict on a pair.
_DIFFER = "differ more than refits"
#: Terms that are explained even without an explanation of any model.
_ALWAYS = ("Folds", "Behind the best")
_NETWORK = (
    "permgrad's own networks, HyNNClassifier and HyNNRegressor, with a preset other "
    "than the default in brackets. "
    "The others come from their own libraries and use the same encoded table."
)


def comparison_page(comparison: Comparison) -> str:
    """Return the page of a comparison as one HTML file that works offline."""
    about = reliance_sentences(comparison)
    row_count = comparison.facts.get("rows")
    facts = [
        Fact(str(len(comparison.contestants)), "models"),
        Fact(str(len(comparison.folds)), "folds, the same for every model"),
    ]
    if isinstance(row_count, int):
        facts += [Fact(f"{row_count:,}", "rows")]
    if comparison.features:
        facts += [Fact(str(len(comparison.features)), "features")]
    return render_page(
        title=f"{clean(comparison.table)}: {len(comparison.contestants)} models",
        kind="permgrad comparison",
        headline=headline(comparison),
        second=about[0] if about else "",
        facts=facts,
        warnings=[
            *comparison.facts.get("alarms", ()),
            *failure_sentences(comparison),
        ],
        sections=built(_SECTIONS, comparison),
    )


def _models(
    comparison: Comparison, models: Iterable[Any], heading: str = "model"
) -> Column:
    return names((comparison.label(str(model_name)) for model_name in models), heading)


# ---- which is best -------------------------------------------------------------------
def _standing(section: SectionView, comparison: Comparison) -> None:
    section.items(standing_sentences(comparison))
    frame = comparison.standing
    fold_scores = comparison.table_of(comparison.metric)
    folds = {}
    for model_name in frame["model"]:
        if model_name in fold_scores:
            folds[comparison.label(model_name)] = fold_scores[model_name].to_numpy()
    if folds:
        level = tuple(map(str, frame.loc[frame["level"], "label"]))
        drawn = charts.scores(
            folds,
            label=f"{comparison.measure.label} ({comparison.measure.direction} is "
            "better)",
            level=level,
        )
        if not frame["level"].all():
            grey_note = " Grey: significantly behind the best."
        else:
            grey_note = ""
        section.figure(drawn, f"Each dot is a fold, the diamond the mean.{grey_note}")
    _standing_table(section, comparison)
    pairs = comparison.pairs
    if len(pairs) > 1:
        columns = []
        for pair_side in ("first", "second"):
            columns.append(_models(comparison, pairs[pair_side], pair_side))
        columns += _difference(comparison, pairs, "first is better by")
        columns += [
            figures_of("p", pairs["p_value"], p_text),
            figures_of("p, adjusted", pairs["p_holm"], p_text),
        ]
        caption = (
            "Every pair, tested on the folds that both have, adjusted for all "
            f"{len(pairs)} pairs (Holm)."
        )
        section.table(table_of(caption, columns), f"All pairs ({len(pairs)})")
    write = partial(score, comparison)
    columns = [
        _models(comparison, fold_scores),
        *(
            figures_of(f"fold {fold_label}", scores_of_fold, write)
            for fold_label, scores_of_fold in fold_scores.iterrows()
        ),
    ]
    caption = f"{comparison.measure.label} on the test rows of every fold."
    section.table(table_of(caption, columns), "Every fold")


def _standing_table(section: SectionView, comparison: Comparison) -> None:
    frame = comparison.standing
    marks: list[Mark] = []
    for model_name in frame["model"]:
        if model_name == comparison.best:
            marks.append("best")
        else:
            marks.append("")
    means = []
    for mean_score, level, best_mark in zip(
        frame["mean"], frame["level"], marks, strict=True
    ):
        means.append(
            score(comparison, mean_score) + (" ≈" if level and not best_mark else "")
        )
    columns = [
        names(frame["label"], "model", marks),
        figures_of(metric_heading(comparison.measure), frame["mean"], means, marks),
        figures_of("± folds", frame["std"], partial(number, digits=2)),
        figures_of("mean rank", frame["rank"]),
        *_difference(comparison, frame, "behind the best"),
        figures_of("p", frame["p_holm"], p_text),
        figures_of("time to fit", frame["fit_seconds"], duration),
    ]
    if frame["failed"].any():
        columns += [figures_of("failed", frame["failed"], as_count)]
    caption = (
        "Means over folds (times: the median). ± is the standard deviation over folds. "
        "≈: no significant difference from the best (p of at least 0.05, adjusted for "
        "the number of models)."
    )
    section.table(table_of(caption, columns))


def _difference(
    comparison: Comparison, frame: pd.DataFrame, heading: str
) -> list[Column]:
    """Write differences with their intervals, or a dash if nothing was tested."""
    tested = frame["difference"].where(frame["ci_low"].notna())
    write = partial(score, comparison)
    written = list(map(write, tested))
    return [
        figures_of(heading, frame["difference"], written),
        intervals_of(frame["ci_low"], frame["ci_high"], write),
    ]


# ---- what they rely on ---------------------------------------------------------------
def _reliance(section: SectionView, comparison: Comparison) -> None:
    if not comparison.reliance:
        return
    section.items(reliance_sentences(comparison))
    order = []
    for model_name in comparison.standing["model"]:
        if model_name in comparison.reliance:
            order.append(model_name)
    labelled = {}
    for model_name in order:
        labelled[comparison.label(model_name)] = comparison.reliance[model_name]
    explained: Mapping[str, Any] = comparison.facts.get("explained") or {}
    loss_name = str(explained.get("loss", "loss")).replace("_", " ")
    section.figure(
        charts.reliance(labelled, comparison.features),
        "What each model's importance consists of: each feature's share of the summed "
        "importances (permutation, increase of the "
        f"{'Brier score' if loss_name == 'brier' else loss_name} on test rows).",
    )
    if len(order) > 1:
        _agreement(comparison, section, order)
    # The importance of every feature, and its rank in each model, by falling mean
    # share.
    shares = comparison.shares()[order]
    ranks = shares.rank(ascending=False, method="min")
    feature_order = np.argsort(-shares.mean(axis=1).to_numpy(), kind="stable")
    columns = [
        names(
            values_at(comparison.features, feature_order),
            "feature",
        )
    ]
    for ranked_name in order:
        means = comparison.reliance[ranked_name].mean(axis=0)[feature_order]
        columns.append(
            figures_of(clean(comparison.label(ranked_name)), means, numbers(means))
        )
        columns.append(
            figures_of(
                "rank", ranks[ranked_name].iloc[feature_order], as_count, "quiet"
            )
        )
    caption = (
        "Importance (increase of the loss) of every feature, mean over folds, "
        "and its rank in each model."
    )
    section.table(table_of(caption, columns), f"All {len(feature_order)} features")


def _agreement(comparison: Comparison, section: SectionView, order: list[str]) -> None:
    section.add("heading", "Agreement, and its ceiling")
    labels = list(map(comparison.label, order))
    for measure, words in (
        (
            "weighted_overlap",
            (
                f"Overlap of the importance shares of the {comparison.k} strongest "
                "features"
            ),
        ),
        (
            "kendall",
            f"Kendall's tau of the rankings of all {len(comparison.features)} features",
        ),
    ):
        drawn = charts.agreement_matrix(_matrix(comparison, order, measure), labels)
        caption = f"{words}. Framed: each model with itself on another fold."
        section.figure(drawn, caption, side_by_side=len(order) <= _BESIDE)
    lines = [
        (model_pair, overlap, tau_line, shared_features(comparison, *model_pair))
        for model_pair in telling_pairs(comparison)
        if (overlap := agreement_line(comparison, *model_pair, "weighted_overlap"))
        is not None
        and (tau_line := agreement_line(comparison, *model_pair, "kendall")) is not None
    ]
    overlaps = [overlap for _, overlap, _, _ in lines]
    two_digits = partial(number, digits=2)
    pairs = []
    for *_, (_, leading) in lines:
        pairs.append(" and ".join(dict.fromkeys(map(count_text, leading))))
    shared = [shared for *_, (shared, _) in lines]
    gap_texts = []
    for overlap_line in overlaps:
        gap_texts.append(
            f"{two_digits(overlap_line['gap'])} ({two_digits(overlap_line['gap_low'])} "
            f"to {two_digits(overlap_line['gap_high'])})"
        )
    gap_texts = [
        gap_text if math.isfinite(overlap_line["gap_low"]) else "–"
        for gap_text, overlap_line in zip(gap_texts, overlaps, strict=True)
    ]
    columns = [
        names(
            (", ".join(map(comparison.label, model_pair)) for model_pair, *_ in lines),
            "pair",
        ),
        figures_of(
            "leading in common",
            shared,
            [
                f"{count_text(count)} of {leading_words}"
                for count, leading_words in zip(shared, pairs, strict=True)
            ],
        ),
        figures_of(
            "overlap",
            (overlap_line["agreement"] for overlap_line in overlaps),
            two_digits,
        ),
        figures_of(
            "ceiling",
            (overlap_line["ceiling"] for overlap_line in overlaps),
            two_digits,
        ),
        figures_of(
            "missing, 95\u00a0% interval",
            (overlap_line["gap"] for overlap_line in overlaps),
            gap_texts,
        ),
        names(
            (
                {True: "yes", False: "not clearly", None: "–"}[overlap_line["differs"]]
                for overlap_line in overlaps
            ),
            _DIFFER,
        ),
        figures_of(
            "tau", (tau_line["agreement"] for _, _, tau_line, _ in lines), two_digits
        ),
    ]
    caption = (
        "Pairs of models: how many leading features they share, overlap of the "
        f"importance shares of the {comparison.k} strongest of "
        f"{len(comparison.features)} features, and Kendall's tau of all rankings. A "
        "model's leading features are those of its strongest that clearly matter and "
        "have at least a hundredth of its importance, so that it may have fewer (as "
        "in: 5 of 8 and 6). "
        "The ceiling is the agreement of each model with itself on another "
        "fold. The gap to it is a difference between the models."
    )
    section.table(table_of(caption, columns))


def _matrix(comparison: Comparison, order: list[str], measure: str) -> Any:
    """Return the agreement of models ``(models, models)``.

    The diagonal is each model with itself on another fold.
    """
    table = np.full((len(order), len(order)), math.nan)
    frame = comparison.agreement
    for pair_line in frame[frame["measure"] == measure].to_dict(orient="records"):
        if pair_line["first"] in order and pair_line["second"] in order:
            first = order.index(pair_line["first"])
            second = order.index(pair_line["second"])
            table[first, second] = table[second, first] = pair_line["agreement"]
            table[first, first] = pair_line["within_first"]
            table[second, second] = pair_line["within_second"]
    return table


def _paths(section: SectionView, comparison: Comparison) -> None:
    lines = path_lines(comparison)
    if not lines:
        return
    section.text(
        "A hybrid network reads each row through several branches, such as the table "
        "branch and the image branch. Each feature's importance is split between "
        "them. The shares here are summed over all features."
    )
    columns = [_models(comparison, lines, "network")]
    for path_name in path_names():
        path_shares = []
        for shares in lines.values():
            path_shares.append(shares.get(path_name, (math.nan, math.nan)))
        if all(math.isnan(mean_share) for mean_share, _ in path_shares):
            continue
        texts = []
        for mean_share, spread in path_shares:
            texts.append(
                percent(mean_share)
                + (f" ± {percent(spread)}" if math.isfinite(spread) else "")
            )
        columns.append(
            figures_of(
                title_of(path_name),
                [mean_share for mean_share, _ in path_shares],
                texts,
            )
        )
    caption = (
        "Share of each branch in the summed importances, mean ± standard deviation "
        "over folds."
    )
    section.table(table_of(caption, columns, sortable=False))


# ---- other sections ------------------------------------------------------------------
def _all_metrics(section: SectionView, comparison: Comparison) -> None:
    order = list(comparison.standing["model"])
    means = [_models(comparison, order)]
    spreads = [_models(comparison, order)]
    for metric in (
        metrics.get(str(score_name))
        for score_name in comparison.scores
        if score_name in metrics
    ):
        fold_scores = comparison.table_of(metric.name)
        if fold_scores.empty:
            continue
        complete = fold_scores.dropna(axis="columns").mean()
        heading = metric_heading(metric)
        if not len(complete):
            leader = None
        elif metric.direction == "higher":
            leader = complete.idxmax()
        else:
            leader = complete.idxmin()
        write = fixed if metric.range[1] - metric.range[0] <= 2 else number
        column = []
        for model in order:
            if model in fold_scores:
                column.append(float(fold_scores[model].mean()))
            else:
                column.append(math.nan)
        marks: list[Mark] = []
        for model in order:
            if model == leader:
                marks.append("best")
            else:
                marks.append("")
        means.append(figures_of(heading, column, write, marks))
        spread = fold_scores.std(ddof=1).reindex(order)
        spreads.append(figures_of(heading, spread, partial(number, digits=2)))
    section.table(table_of("Means over folds. Bold: the best of each column.", means))
    section.table(
        table_of("Standard deviations over folds.", spreads, sortable=False),
        "Spread over folds",
    )


def _reading(section: SectionView, comparison: Comparison) -> None:
    networks = any(
        contestant.kind == "network" for contestant in comparison.contestants
    )
    terms = {}
    for term_name, words in _HOW_TO_READ.items():
        if comparison.reliance or term_name in _ALWAYS:
            terms[term_name] = words
    section.add(
        "terms", ({"Network": _NETWORK, **terms} if networks else terms).items()
    )


def _provenance(section: SectionView, comparison: Comparison) -> None:
    facts = comparison.facts
    section.add("code", str(facts.get("command", "")))
    pairs = {
        "table": comparison.table,
        "target": comparison.target,
        "task": comparison.task,
        "rows": facts.get("rows"),
        "rows by part, mean": facts.get("fold_rows"),
        "divided into": facts.get("divided"),
        "positive class": facts.get("positive"),
        "models": [contestant.name for contestant in comparison.contestants],
        "explained by": facts.get("explained"),
        "seed": facts.get("seed"),
        "started": facts.get("started"),
        "versions": facts.get("versions"),
    }
    section.pairs(
        {
            fact_name: value
            for fact_name, value in pairs.items()
            if value is not None and value != ""
        }
    )
    section.items(list(map(str, facts.get("notes", ()))))


# ---- in plain sentences --------------------------------------------------------------
def sentences(comparison: Comparison) -> list[str]:
    """Return all sentences, the most important first."""
    lines = [
        *comparison.facts.get("alarms", ()),
        *standing_sentences(comparison),
        *reliance_sentences(comparison),
        *failure_sentences(comparison),
    ]
    return [sentence for sentence in lines if sentence]


def headline(comparison: Comparison) -> str:
    """Compose the first sentence of the page."""
    if comparison.best is None:
        return (
            f"No model could be measured on {clean(comparison.table)} by "
            f"{_metric(comparison)}."
        )
    best_line = comparison.standing.iloc[0]
    frame = comparison.standing
    level = list(map(clean, frame.loc[frame["level"], "label"]))[1:]
    label = comparison.measure.label
    vowel = label[0].lower() in "aeio" or label.split()[0] in (
        "RMSE",
        "MAE",
        "MSE",
        "MAPE",
        "R²",
        "F1",
    )
    first = (
        f"{clean(best_line['label'])} is best on {shorten(comparison.table, 40)}, "
        f"with {'an' if vowel else 'a'} "
    )
    first += f"{_metric(comparison)} of {score(comparison, best_line['mean'])}"
    if not level:
        return first + (
            ", significantly better than all others."
            if frame["p_holm"].notna().any()
            else "."
        )
    if len(level) <= 3:
        shown = level
    else:
        shown = [*level[:2], f"{len(level) - 2} others"]
    return f"{first}. There is no significant difference from {listed(shown)}."


def _metric(comparison: Comparison) -> str:
    return comparison.measure.label.replace("-", "\u2011").replace(" %", "\u00a0%")


def score(comparison: Comparison, value: float) -> str:
    """Write a value of the deciding metric, or a difference of two, with equally many
    decimals in all of them.
    """
    lower_bound, upper_bound = comparison.measure.range
    if upper_bound - lower_bound <= 2:
        return fixed(value, 4)
    largest_mean = float(
        np.nanmax(np.abs(comparison.standing["mean"].to_numpy()), initial=0.0)
    )
    if 1e-3 <= largest_mean < 1e6:
        return fixed(value, max(0, 3 - math.floor(math.log10(largest_mean))))
    return number(value, 4)


# ---- which is best -------------------------------------------------------------------
def standing_sentences(comparison: Comparison) -> list[str]:
    """Say which model is best, by how much, and which are not significantly
    different.
    """
    if comparison.best is None:
        return []
    frame = comparison.standing
    best_line = frame.iloc[0]
    behind = frame.iloc[1:]
    if math.isfinite(best_line["rank"]):
        rank_words = f", mean rank {count_text(best_line['rank'])} of {len(frame)}"
    else:
        rank_words = ""
    first = (
        f"{clean(best_line['label'])} is best by {_metric(comparison)}: "
        f"{score(comparison, best_line['mean'])} on average "
    )
    spoken = [f"{first}over {best_line['folds']} folds{rank_words}."]
    tested = behind[behind["p_holm"].notna()]
    clear = tested["p_value"] < 0.05
    for compared_lines, before, after in (
        (
            tested[tested["level"] & ~clear],
            "There is no significant difference from",
            "",
        ),
        (
            tested[tested["level"] & clear],
            "It is ahead of",
            (
                f", but not significantly after adjusting for all {len(tested)} "
                "comparisons with it"
            ),
        ),
        (tested[~tested["level"]], "It is significantly better than", ""),
    ):
        shown = []
        for _, model_line in compared_lines.iterrows():
            gap_text = score(comparison, model_line["difference"])
            low_text = score(comparison, model_line["ci_low"])
            high_text = score(comparison, model_line["ci_high"])
            shown.append(
                f"{clean(model_line['label'])} (by {gap_text}, 95\u00a0% interval "
                f"{low_text} to {high_text})"
            )
        if shown:
            spoken += [f"{before} {listed(shown, _MOST_PAIRS)}{after}."]
    return [*spoken, _time_sentence(comparison)]


#: Times up to which a fit takes about as long as another.
_AS_LONG = 1.1


def _time_sentence(comparison: Comparison) -> str:
    frame = comparison.standing.dropna(subset="fit_seconds")
    best_lines = frame[frame["model"] == comparison.best]
    if len(frame) < 2 or best_lines.empty:
        return ""
    fastest = frame.iloc[int(frame["fit_seconds"].to_numpy().argmin())]
    seconds = float(best_lines["fit_seconds"].iloc[0])
    if fastest["model"] == comparison.best:
        return (
            f"It was also the fastest to fit here, by the clock: {duration(seconds)}."
        )
    shortest = float(fastest["fit_seconds"])
    if seconds < _AS_LONG * shortest:
        times = "about"
    elif shortest > 0:
        times = f"{compact(seconds / shortest, 2)} times"
    else:
        times = "far"
    return (
        f"Here it took {duration(seconds)} to fit, by the clock, {times} as long as "
        f"{clean(fastest['label'])} ({duration(shortest)})."
    )


# ---- what they rely on ---------------------------------------------------------------
def shared_features(
    comparison: Comparison, first: str, second: str
) -> tuple[float, tuple[float, float]]:
    """Return how many of their leading features two models share, and how many each
    has.

    A model has fewer than ``comparison.k`` if others do not clearly matter, or have
    less than a hundredth of its importance.
    """
    left_features = comparison.strongest[first]
    right = comparison.strongest[second]
    counts = (float(left_features.sum()), float(right.sum()))
    return float(np.minimum(left_features, right).sum()), counts


def reliance_sentences(comparison: Comparison) -> list[str]:
    """Say whether the models rely on the same features: the best of both kinds first,
    then all pairs together.
    """
    names = list(comparison.reliance)
    if len(names) < 2 or not comparison.features:
        return []
    pairs = telling_pairs(comparison)
    lines = [
        _pair_sentence(comparison, *pairs[0]),
        _all_pairs_sentence(comparison, pairs),
    ]
    shares = comparison.shares()
    member = np.min(values_at(comparison.strongest, names), axis=0) > 0
    order = []
    for i in np.argsort(-shares.mean(axis=1).to_numpy(), kind="stable"):
        if member[i]:
            order.append(i)
    if len(names) > 2 and order:
        words = listed(
            map(
                names_apart(comparison.features),
                values_at(comparison.features, order),
            ),
            _MOST_NAMED,
        )
        lines.append(
            f"All {len(names)} models have {words} among their leading features."
        )
    return [sentence for sentence in lines if sentence]


def _pair_sentence(comparison: Comparison, first: str, second: str) -> str:
    """Say which of their leading features two models share, and how much of the
    importance their strongest ones share.
    """
    shared, counts = shared_features(comparison, first, second)
    left_label = clean(comparison.label(first))
    right = clean(comparison.label(second))
    if not max(counts):
        return f"No feature clearly matters to {left_label} or to {right}."
    shared_names, *names_of_one = _named(comparison, first, second)
    if counts == (shared, shared):
        if shared == 1:
            which = "feature"
        else:
            which = f"{count_text(shared)} of {len(comparison.features)} features"
        words = (
            f"{left_label} and {right} rely most on the same {which}: {shared_names}."
        )
    elif shared_names:
        words = (
            f"{left_label} and {right} have {shared_names} in common among their "
            "leading features."
        )
    else:
        words = f"None of the leading features of {left_label} is one of {right}'s."
    words += "".join(
        f" Only {model} has {features} among its leading ones."
        for model, features in zip((left_label, right), names_of_one, strict=True)
        if features
    )
    return f"{words} {agreement_words(comparison, first, second)}"


def _named(comparison: Comparison, first: str, second: str) -> list[str]:
    """Name the leading features of two models, by their shares: those of both, and
    those of only one.
    """
    shares = comparison.shares()
    left_mask = comparison.strongest[first] > 0
    right = comparison.strongest[second] > 0
    lists = list[str]()
    short_name = names_apart(comparison.features)
    for member in (left_mask & right, left_mask & ~right, right & ~left_mask):
        order = (
            shares.loc[member, [first, second]]
            .mean(axis=1)
            .sort_values(ascending=False, kind="stable")
            .index
        )
        lists.append(listed(map(short_name, map(str, order)), _MOST_NAMED))
    return lists


def _all_pairs_sentence(
    comparison: Comparison, pairs: Sequence[tuple[str, str]]
) -> str:
    """Say how many pairs of models differ, and which the most."""
    lines = []
    for model_pair in pairs:
        lines.append(agreement_line(comparison, *model_pair, "weighted_overlap"))
    judged = []
    for pair_line in lines:
        if pair_line is not None and pair_line["differs"] is not None:
            judged.append(pair_line)
    if len(pairs) < 2 or not judged:
        return ""
    apart = sorted(
        (pair_line for pair_line in judged if pair_line["differs"]),
        key=lambda line: -float(line["gap"]),
    )
    if not apart:
        return (
            f"None of the {len(judged)} pairs of models weighs features clearly "
            "differently from a refit."
        )
    widest_gap = apart[0]
    names = (
        f"{clean(comparison.label(widest_gap['first']))} and "
        f"{clean(comparison.label(widest_gap['second']))}"
    )
    if len(apart) == 1:
        weigh_verb = "weighs"
    else:
        weigh_verb = "weigh"
    return (
        f"{len(apart)} of the {len(judged)} pairs of models {weigh_verb} features more "
        "differently than refits of one "
        f"model do, most of all {names} ({percent(widest_gap['agreement'])}, refits "
        f"{percent(widest_gap['ceiling'])})."
    )


def telling_pairs(comparison: Comparison) -> list[tuple[str, str]]:
    """Return pairs of explained models, the most informative first: the best, and the
    best of the other kind.
    """
    names = list(comparison.reliance)
    order = []
    for model_name in comparison.standing["model"]:
        if model_name in names:
            order.append(model_name)
    kinds = {contestant.name: contestant.kind for contestant in comparison.contestants}
    leading = []
    for model_kind in ("network", "baseline"):
        leading.append(
            [model_name for model_name in order if kinds[model_name] == model_kind][:1]
        )
    distinct: dict[frozenset[str], tuple[str, str]] = {}
    for first, second in [
        *zip(*leading, strict=False),
        *itertools.combinations(order, 2),
    ]:
        distinct.setdefault(frozenset((first, second)), (first, second))
    return list(distinct.values())


def agreement_line(
    comparison: Comparison, first: str, second: str, measure: str
) -> Any:
    """Return the line of ``comparison.agreement`` of a pair in either order, or
    None.
    """
    frame = comparison.agreement
    name_pair = [first, second]
    pair_rows = frame[
        (frame["measure"] == measure)
        & frame["first"].isin(name_pair)
        & frame["second"].isin(name_pair)
    ]
    if len(pair_rows):
        return pair_rows.iloc[0]
    return None


def agreement_words(comparison: Comparison, first: str, second: str) -> str:
    """Say how much of their strongest features' importance two models share, compared
    with refits of each.
    """
    overlap = agreement_line(comparison, first, second, "weighted_overlap")
    # The only feature of a model has all of its importance.
    if overlap is None or not math.isfinite(overlap["agreement"]) or comparison.k == 1:
        return ""
    words = (
        f"{percent(overlap['agreement'])} of the importance of their "
        f"{comparison.k} strongest features is on the same ones"
    )
    if not math.isfinite(overlap["ceiling"]):
        return f"{words}."
    words += (
        ". Two fits of one model, on different folds, agree on "
        f"{percent(overlap['ceiling'])}."
    )
    if overlap["differs"] is None:
        return words
    if overlap["differs"]:
        return f"{words} So these models weigh features differently."
    if overlap["gap_high"] <= _ALIKE:
        return f"{words} So these models rely on the same features."
    return f"{words} With these folds, the difference is not clear."


def count_text(value: float) -> str:
    """Write a count that may be a mean, without decimals if it is whole."""
    if float(value).is_integer():
        return f"{value:.0f}"
    return f"{value:.1f}"


# ---- failures and paths --------------------------------------------------------------
def failure_sentences(comparison: Comparison) -> list[str]:
    """Say which models failed, on how many folds, and why."""
    lines = []
    for model_name in dict.fromkeys(model for model, _, _ in comparison.failures):
        failures = []
        for model, fold_label, reason in comparison.failures:
            if model == model_name:
                failures.append((fold_label, reason))
        count = len(failures)
        folds = len(comparison.folds)
        if count == folds:
            share = f"all {count}"
        else:
            share = f"{count} of {folds}"
        reasons = list(dict.fromkeys(failure_reason for _, failure_reason in failures))
        lines.append(
            f"{clean(comparison.label(model_name))} failed on {share} folds: "
            f"{shorten(reasons[0], 240)}"
        )
    return lines


def path_lines(comparison: Comparison) -> dict[str, dict[str, tuple[float, float]]]:
    """Return for each hybrid network of several paths, by name, the mean share of each
    path and its spread.

    The share of a path is its part of the summed importances of all features on one
    fold.
    """
    frame: Any = comparison.importances
    paths = []
    for path_name in path_names():
        if len(frame) and path_name in frame.columns:
            paths.append(path_name)
    if len(paths) < 2:
        return {}
    network_rows = frame[
        (frame["method"] == "permgrad") & (frame[paths].notna().sum(axis=1) > 1)
    ]
    # Networks that lack a path have none of it, not 0.
    path_sums = network_rows.groupby(["model", "fold"], sort=False)[
        [*paths, "importance"]
    ].sum(min_count=1)
    path_sums = path_sums[path_sums["importance"] > 0]
    by_model = (
        path_sums[paths]
        .div(path_sums["importance"], axis=0)
        .groupby("model", sort=False)
    )
    means = by_model.mean()
    spreads = by_model.std(ddof=1)
    return {
        str(model_name): {
            path_name: (
                float(means.loc[model_name, path_name]),
                float(spreads.loc[model_name, path_name]),
            )
            for path_name in paths
        }
        for model_name in means.index
    }


_SECTIONS: tuple[Builder, ...] = (
    ("standing", "Which is best", _standing),
    ("reliance", "Do they rely on the same features?", _reliance),
    ("paths", "Branch by branch", _paths),
    ("metrics", "All metrics", _all_metrics),
    ("reading", "How to read this", _reading),
    ("run", "What was run", _provenance),
)
