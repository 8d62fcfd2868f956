"""The page of a comparison: who is ahead, by how much, and whether the models rely on the same features."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.evaluation.metrics import metrics
from permgrad.report import plots
from permgrad.report.page.comparison_words import (
    agreement_line,
    count_text,
    failure_sentences,
    fold_word,
    headline,
    path_lines,
    reliance_sentences,
    score,
    share_text,
    shared_features,
    standing_sentences,
    telling_pairs,
)
from permgrad.report.page.html import render_page
from permgrad.report.page.views import (
    Builder,
    Cell,
    Column,
    Fact,
    Mark,
    SectionView,
    TableView,
    as_count,
    built,
    cell,
    figures_of,
    metric_heading,
    names,
    table_of,
)
from permgrad.report.words import clean, duration, fixed, number, numbers, p_text

if TYPE_CHECKING:
    import pandas as pd

    from permgrad.evaluation.comparison import Comparison

_HOW_TO_READ = {
    "Folds": (
        "Every model is fitted on the same training rows of each fold, encoders included, stopped on the same rows "
        "held out of them, and scored on test rows that it has never seen."
    ),
    "Behind the best": (
        "The mean difference over folds to the best model, with its 95\u00a0% interval. Folds share training rows, so "
        "scores of different folds resemble each other; the interval is widened for that (corrected resampled t-test, "
        "Nadeau and Bengio 2003), and p is adjusted for the number of models compared with the best (Holm 1979). The "
        "best is the one that came out best here, which makes the differences look a little larger than they are."
    ),
    "Importance": (
        "How much worse a model's loss becomes on test rows when a feature's raw value is taken from another row "
        "(permutation). All models are asked on the same rows with the same donors. It says what a model uses, not "
        "what causes the target."
    ),
    "Agreement and its ceiling": (
        "Two models are compared on different folds, and so is each model with itself. The same model fitted on other "
        "rows never ranks features exactly alike: that agreement, the framed diagonal, is the most that two models "
        "can be expected to reach. Only what is missing to it is a difference between the models."
    ),
    "Features that resemble each other": (
        "Models may choose differently among features that carry the same information: they then disagree on single "
        "features, although they use the same information. Declaring such columns as one group with --groups shows "
        "it."
    ),
}
#: Models whose matrices of agreement are drawn beside each other; of more the names would be too small.
_BESIDE = 5
#: Heading of the verdict on a pair.
_DIFFER = "differ beyond refitting"
#: Terms that are explained even where no model was.
_ALWAYS = ("Folds", "Behind the best")
_HYNN = (
    "permgrad's own networks, HyNNClassifier and HyNNRegressor, with the preset behind the name. The others "
    "come from their own libraries, with the same encoded table."
)


def comparison_page(comparison: Comparison) -> str:
    """Return the page of a comparison as one HTML file that asks nothing of the network."""
    about = reliance_sentences(comparison)
    return render_page(
        title=f"{clean(comparison.table)}: {len(comparison.contestants)} models",
        kind="permgrad comparison",
        headline=headline(comparison),
        second=about[0] if about else "",
        facts=_facts(comparison),
        warnings=failure_sentences(comparison),
        sections=[built(builder, comparison) for builder in _SECTIONS],
    )


def _facts(comparison: Comparison) -> list[Fact]:
    facts = [
        Fact(str(len(comparison.contestants)), "models"),
        Fact(str(len(comparison.folds)), f"{fold_word(comparison)}s, the same for every model"),
    ]
    rows = comparison.facts.get("rows")
    facts += [Fact(f"{rows:,}", "rows")] if isinstance(rows, int) else []
    facts += [Fact(str(len(comparison.features)), "features")] if comparison.features else []
    return facts


def _models(comparison: Comparison, models: Iterable[Any], heading: str = "model") -> Column:
    return names((comparison.label(str(name)) for name in models), heading)


# ---- who is ahead ----------------------------------------------------------------------------------------------------
def _standing(section: SectionView, comparison: Comparison) -> None:
    section.items(standing_sentences(comparison))
    frame, word = comparison.standing, fold_word(comparison)
    wide = comparison.table_of(comparison.metric)
    folds = {comparison.label(name): wide[name].to_numpy() for name in frame["model"] if name in wide}
    if folds:
        level = tuple(str(label) for label in frame.loc[frame["level"], "label"])
        drawn = plots.scores(
            folds, label=f"{comparison.measure.label} ({comparison.measure.direction} is better)", level=level
        )
        joined = f" Thin lines join the dots of a {word}." if len(comparison.folds) <= 12 else ""
        grey = " Grey: behind the best by more than chance." if not frame["level"].all() else ""
        section.figure(drawn, f"Each dot is a {word}, the diamond the mean.{joined}{grey}")
    section.table(_standing_table(comparison))
    pairs = comparison.pairs
    if len(pairs) > 1:
        columns = [_models(comparison, pairs[side], side) for side in ("first", "second")]
        columns += _difference(comparison, pairs, "first is better by")
        columns += [figures_of("p", pairs["p_value"], p_text), figures_of("p, adjusted", pairs["p_holm"], p_text)]
        caption = f"Every pair, tested on the {word}s that both have; adjusted for all {len(pairs)} pairs (Holm)."
        section.table(table_of(caption, columns), f"All pairs ({len(pairs)})")
    write = partial(score, comparison)
    columns = [_models(comparison, wide), *(figures_of(f"{word} {fold}", row, write) for fold, row in wide.iterrows())]
    caption = f"{comparison.measure.label} on the test rows of every {word}."
    section.table(table_of(caption, columns), f"Every {word}")


def _standing_table(comparison: Comparison) -> TableView:
    frame, word = comparison.standing, fold_word(comparison)
    labels, means = [], []
    for name, label, mean, level in frame[["model", "label", "mean", "level"]].itertuples(index=False):
        mark: Mark = "best" if name == comparison.best else ""
        labels.append(cell(clean(label), mark=mark))
        means.append(cell(float(mean), score(comparison, mean) + (" ≈" if level and not mark else ""), mark))
    columns = [
        Column("model", labels, "text"),
        Column(metric_heading(comparison.measure), means),
        figures_of(f"± {word}s", frame["std"], partial(number, digits=2)),
        figures_of("mean rank", frame["rank"]),
        *_difference(comparison, frame, "behind the best"),
        figures_of("p", frame["p_holm"], p_text),
        figures_of("time to fit", frame["fit_seconds"], duration),
    ]
    columns += [figures_of("failed", frame["failed"], as_count)] if frame["failed"].any() else []
    caption = (
        f"Means over {word}s (times: the median); ± is the standard deviation over {word}s. ≈: not told from the best "
        "(p of at least 0.05, adjusted for the number of models)."
    )
    return table_of(caption, columns)


def _difference(comparison: Comparison, frame: pd.DataFrame, heading: str) -> list[Column]:
    """Write differences with their intervals; a dash where nothing was tested."""
    tested = frame["difference"].where(frame["ci_low"].notna())
    low, high = ([score(comparison, end) for end in frame[name]] for name in ("ci_low", "ci_high"))
    ends = [a if a == "–" else f"{a} to {b}" for a, b in zip(low, high, strict=True)]
    written = [score(comparison, value) for value in tested]
    return [figures_of(heading, frame["difference"], written), figures_of("95\u00a0% interval", frame["ci_low"], ends)]


# ---- what they rely on -----------------------------------------------------------------------------------------------
def _reliance(section: SectionView, comparison: Comparison) -> None:
    if not comparison.reliance:
        return
    section.items(reliance_sentences(comparison))
    order = [name for name in comparison.standing["model"] if name in comparison.reliance]
    labelled = {comparison.label(name): comparison.reliance[name] for name in order}
    explained: Mapping[str, Any] = comparison.facts.get("explained") or {}
    loss = str(explained.get("loss", "loss")).replace("_", " ")
    section.figure(
        plots.reliance(labelled, comparison.features),
        "What each model's importance is made of: the share of the summed importances (permutation, increase of the "
        f"{'Brier score' if loss == 'brier' else loss} on test rows) that each feature has.",
    )
    if len(order) > 1:
        _agreement(comparison, section, order)
    _share_table(comparison, section, order)


def _agreement(comparison: Comparison, section: SectionView, order: list[str]) -> None:
    section.heading("Agreement, and its ceiling")
    word = fold_word(comparison)
    labels = [comparison.label(name) for name in order]
    pictures = []
    for measure, words in (
        ("weighted_overlap", f"Overlap of the importance shares of the {comparison.k} strongest features"),
        ("kendall", f"Kendall's tau of the rankings of all {len(comparison.features)} features"),
    ):
        drawn = plots.agreement_matrix(_matrix(comparison, order, measure), labels)
        pictures.append((drawn, f"{words}. Framed: each model with itself on another {word}."))
    section.figures(pictures, beside=len(order) <= _BESIDE)
    pairs = [_agreement_cells(comparison, *pair) for pair in telling_pairs(comparison)]
    cells = zip(*(line for line in pairs if line is not None), strict=True)
    columns = [
        Column(heading, column, "text" if heading in ("pair", _DIFFER) else "number")
        for heading, column in zip(_AGREEMENT, cells, strict=False)
    ]
    caption = (
        f"Pairs of models: how many of the {comparison.k} strongest of {len(comparison.features)} features they share "
        "(fewer count where the others do not clearly matter or have less than a hundredth of a model's importance: of "
        f"8 and 6), overlap of the importance shares of all {comparison.k}, and Kendall's tau of all rankings. The "
        f"ceiling is what each agrees with itself on another {word}; what is missing to it is a difference between the "
        "models."
    )
    section.table(table_of(caption, columns))


_AGREEMENT = ("pair", "strongest in common", "overlap", "ceiling", "missing, 95\u00a0% interval", _DIFFER, "tau")


def _agreement_cells(comparison: Comparison, first: str, second: str) -> list[Cell] | None:
    overlap = agreement_line(comparison, first, second, "weighted_overlap")
    tau = agreement_line(comparison, first, second, "kendall")
    if tau is None or overlap is None:
        return None
    shared, strongest, _ = shared_features(comparison, first, second)
    counts = dict.fromkeys(map(count_text, strongest))
    gap = f"{number(overlap['gap'], 2)} ({number(overlap['gap_low'], 2)} to {number(overlap['gap_high'], 2)})"
    return [
        cell(f"{clean(comparison.label(first))}, {clean(comparison.label(second))}"),
        cell(shared, f"{count_text(shared)} of {' and '.join(counts)}"),
        cell(overlap["agreement"], number(overlap["agreement"], 2)),
        cell(overlap["ceiling"], number(overlap["ceiling"], 2)),
        cell(overlap["gap"], gap if math.isfinite(overlap["gap_low"]) else "–"),
        cell({True: "yes", False: "not told", None: "–"}[overlap["differs"]]),
        cell(tau["agreement"], number(tau["agreement"], 2)),
    ]


def _matrix(comparison: Comparison, order: list[str], measure: str) -> Any:
    """Return how far models agree ``(models, models)``, on the diagonal each with itself on another fold."""
    table, frame = np.full((len(order), len(order)), math.nan), comparison.agreement
    for line in frame[frame["measure"] == measure].to_dict(orient="records"):
        if line["first"] in order and line["second"] in order:
            first, second = order.index(line["first"]), order.index(line["second"])
            table[first, second] = table[second, first] = line["agreement"]
            table[first, first], table[second, second] = line["within_first"], line["within_second"]
    return table


def _share_table(comparison: Comparison, section: SectionView, order: list[str]) -> None:
    """List the importance of every feature, and its rank in each model, by falling mean share."""
    shares = comparison.shares()[order]
    ranks = shares.rank(ascending=False, method="min")
    places = np.argsort(-shares.mean(axis=1).to_numpy(), kind="stable")
    columns = [names((comparison.features[at] for at in places), "feature")]
    for name in order:
        means = comparison.reliance[name].mean(axis=0)[places]
        columns.append(figures_of(clean(comparison.label(name)), means, numbers(means)))
        columns.append(figures_of("rank", ranks[name].iloc[places], as_count, "quiet"))
    caption = "Importance (increase of the loss) of every feature, mean over folds, and its rank in each model."
    section.table(table_of(caption, columns), f"All {len(places)} features")


def _paths(section: SectionView, comparison: Comparison) -> None:
    lines = path_lines(comparison)
    if not lines:
        return
    section.text(
        "A hybrid network reads each row twice, as numbers and as an image. The path game shares each feature's "
        "importance out between the two; here the shares are summed over all features."
    )
    columns = [_models(comparison, (name for name, *_ in lines), "network")]
    for place, path in ((1, "table"), (2, "image")):
        texts = [share_text(float(line[place]), float(line[place + 2])) for line in lines]
        columns.append(figures_of(path, [line[place] for line in lines], texts))
    caption = "Share of each path in the summed importances, mean ± standard deviation over folds."
    section.table(table_of(caption, columns, sortable=False))


# ---- the rest --------------------------------------------------------------------------------------------------------
def _all_metrics(section: SectionView, comparison: Comparison) -> None:
    order, word = list(comparison.standing["model"]), fold_word(comparison)
    means, spreads = [_models(comparison, order)], [_models(comparison, order)]
    for metric in (metrics.get(str(name)) for name in comparison.scores if name in metrics):
        wide = comparison.table_of(metric.name)
        if wide.empty:
            continue
        complete, heading = wide.dropna(axis="columns").mean(), metric_heading(metric)
        leader = None if not len(complete) else complete.idxmax() if metric.direction == "higher" else complete.idxmin()
        write = fixed if metric.range[1] - metric.range[0] <= 2 else number
        column = [(float(wide[model].mean()) if model in wide else math.nan) for model in order]
        marks: list[Mark] = ["best" if model == leader else "" for model in order]
        cells = [cell(mean, write(mean), mark) for mean, mark in zip(column, marks, strict=True)]
        means.append(Column(heading, cells))
        spread = wide.std(ddof=1).reindex(order)
        spreads.append(figures_of(heading, spread, partial(number, digits=2)))
    section.table(table_of(f"Means over {word}s; the best of each column is bold.", means))
    section.table(table_of(f"Standard deviations over {word}s.", spreads, sortable=False), f"Spread over {word}s")


def _reading(section: SectionView, comparison: Comparison) -> None:
    networks = any(one.kind == "network" for one in comparison.contestants)
    terms = {name: words for name, words in _HOW_TO_READ.items() if comparison.reliance or name in _ALWAYS}
    section.terms({"HyNN": _HYNN, **terms} if networks else terms)


def _provenance(section: SectionView, comparison: Comparison) -> None:
    facts = comparison.facts
    section.code(str(facts.get("command", "")))
    pairs = {
        "table": comparison.table,
        "target": comparison.target,
        "task": comparison.task,
        "rows": facts.get("rows"),
        "rows by part, mean": facts.get("fold_rows"),
        "divided into": facts.get("divided"),
        "positive class": facts.get("positive"),
        "models": [one.name for one in comparison.contestants],
        "explained by": facts.get("explained"),
        "seed": facts.get("seed"),
        "started": facts.get("started"),
        "versions": facts.get("versions"),
    }
    section.pairs({name: value for name, value in pairs.items() if value is not None and value != ""})
    section.items([str(note) for note in facts.get("notes", ())])


_SECTIONS: tuple[Builder, ...] = (
    ("standing", "Which is best", _standing),
    ("reliance", "Do they rely on the same features?", _reliance),
    ("paths", "Table or image", _paths),
    ("metrics", "By every metric", _all_metrics),
    ("reading", "How to read this", _reading),
    ("run", "What was run", _provenance),
)
