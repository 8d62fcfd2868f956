"""The page of a comparison: who is ahead, by how much, and whether the models rely on the same features."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from permgrad.evaluation.metrics import metrics
from permgrad.report import plots
from permgrad.report.page.comparison_words import (
    agreement_line,
    count_text,
    failure_sentences,
    headline,
    path_lines,
    reliance_sentences,
    score,
    sentences,
    share_text,
    shared_features,
    standing_sentences,
    telling_pairs,
)
from permgrad.report.page.html import render_page
from permgrad.report.page.views import Cell, Fact, SectionView, TableView, cell
from permgrad.report.words import clean, duration, number, numbers

if TYPE_CHECKING:
    from permgrad.evaluation.comparison import Comparison

__all__ = ["comparison_page", "sentences"]

Kind = Literal["text", "number"]
_HOW_TO_READ = (
    (
        "Folds",
        (
            "Every model is fitted on the same training rows of each fold, encoders included, stopped on the same "
            "rows held out of them, and scored on test rows that it has never seen."
        ),
    ),
    (
        "Behind the best",
        (
            "The mean difference over folds to the best model, with its 95\u00a0% interval. Folds share training "
            "rows, so scores of different folds resemble each other; the interval is widened for that (corrected "
            "resampled t-test, Nadeau and Bengio 2003), and p is adjusted for the number of models compared with "
            "the best (Holm 1979). The best is the one that came out best here, which makes the differences look "
            "a little larger than they are."
        ),
    ),
    (
        "Importance",
        (
            "How much worse a model's loss becomes on test rows when a feature's raw value is taken from another "
            "row (permutation). All models are asked on the same rows with the same donors. It says what a model "
            "uses, not what causes the target."
        ),
    ),
    (
        "Agreement and its ceiling",
        (
            "Two models are compared on different folds, and so is each model with itself. The same model fitted "
            "on other rows never ranks features exactly alike: that agreement, the framed diagonal, is the most "
            "that two models can be expected to reach. Only what is missing to it is a difference between the "
            "models."
        ),
    ),
    (
        "Features that resemble each other",
        (
            "Models may choose differently among features that carry the same information: they then disagree on "
            "single features, although they use the same information. Declaring such columns as one group with "
            "--groups shows it."
        ),
    ),
)
#: Models whose matrices of agreement are drawn beside each other; of more the names would be too small.
_BESIDE = 5
#: Terms that are explained even where no model was.
_ALWAYS = ("Folds", "Behind the best")
_HYNN = (
    "permgrad's own networks, HyNNClassifier and HyNNRegressor, with the preset behind the name. The others "
    "come from their own libraries, with the same encoded table."
)


def comparison_page(comparison: Comparison) -> str:
    """Return the page of a comparison as one HTML file that asks nothing of the network.

    Args:
        comparison: What was measured.
    """
    sections = [
        _standing(comparison),
        _reliance(comparison),
        _paths(comparison),
        _all_metrics(comparison),
        _reading(comparison),
        _provenance(comparison),
    ]
    about = reliance_sentences(comparison)
    return render_page(
        title=f"{clean(comparison.table)}: {len(comparison.contestants)} models",
        kind="permgrad comparison",
        headline=headline(comparison),
        second=about[0] if about else "",
        facts=_facts(comparison),
        warnings=failure_sentences(comparison),
        sections=[section for section in sections if section.blocks],
    )


def _facts(comparison: Comparison) -> list[Fact]:
    word = str(comparison.facts.get("fold_word", "fold"))
    found = [
        Fact(str(len(comparison.contestants)), "models"),
        Fact(str(len(comparison.folds)), f"{word}s, the same for every model"),
    ]
    rows = comparison.facts.get("rows")
    found += [Fact(f"{rows:,}", "rows")] if isinstance(rows, int) else []
    found += [Fact(str(len(comparison.features)), "features")] if comparison.features else []
    return found


# ---- who is ahead ----------------------------------------------------------------------------------------------------
def _standing(comparison: Comparison) -> SectionView:
    section = SectionView("standing", "Which is best")
    section.items(standing_sentences(comparison))
    frame = comparison.standing
    wide = comparison.table_of(comparison.metric)
    shown = {comparison.label(name): wide[name].to_numpy() for name in frame["model"] if name in wide}
    word = str(comparison.facts.get("fold_word", "fold"))
    if shown:
        level = tuple(str(label) for label in frame.loc[frame["level"], "label"])
        arrow = "higher is better" if comparison.measure.direction == "higher" else "lower is better"
        drawn = plots.scores(shown, label=f"{comparison.measure.label} ({arrow})", level=level)
        joined = f" Thin lines join the dots of a {word}." if len(comparison.folds) <= 12 else ""
        grey = " Grey: behind the best by more than chance." if not frame["level"].all() else ""
        section.figure(drawn, f"Each dot is a {word}, the diamond the mean.{joined}{grey}")
    section.table(_standing_table(comparison))
    _pairs(comparison, section)
    return section


def _standing_table(comparison: Comparison) -> TableView:
    frame = comparison.standing
    word = str(comparison.facts.get("fold_word", "fold"))
    rows = []
    failed = bool(frame["failed"].any())
    for _, line in frame.iterrows():
        best = line["model"] == comparison.best
        level = " ≈" if line["level"] and not best else ""
        mark: Literal["", "best", "quiet"] = "best" if best else ""
        row = [Cell(clean(line["label"]), clean(line["label"]).casefold(), mark)]
        row.append(Cell(score(comparison, line["mean"]) + level, _known(line["mean"]), mark))
        row.append(cell(line["std"], number(line["std"], 2)))
        row.append(cell(line["rank"], number(line["rank"], 3)))
        gap = math.isfinite(line["ci_low"])
        row.append(cell(line["difference"], score(comparison, line["difference"]) if gap else "–"))
        ends = f"{score(comparison, line['ci_low'])} to {score(comparison, line['ci_high'])}"
        row.append(cell(line["ci_low"], ends if gap else "–"))
        row.append(cell(line["p_holm"], _p_text(line["p_holm"])))
        row.append(cell(line["fit_seconds"], duration(line["fit_seconds"])))
        row += [cell(int(line["failed"]))] if failed else []
        rows.append(row)
    arrow = "↑" if comparison.measure.direction == "higher" else "↓"
    columns: list[tuple[str, Kind]] = [("model", "text"), (f"{comparison.measure.label}\u00a0{arrow}", "number")]
    columns += [(f"± {word}s", "number"), ("mean rank", "number"), ("behind the best", "number")]
    columns += [("95\u00a0% interval", "number"), ("p", "number"), ("time to fit", "number")]
    columns += [("failed", "number")] if failed else []
    caption = (
        f"Means over {word}s (times: the median); ± is the standard deviation over {word}s. ≈: not told from the best "
        "(p of at least 0.05, adjusted for the number of models)."
    )
    return TableView(caption, columns, rows, sortable=True)


def _pairs(comparison: Comparison, section: SectionView) -> None:
    """Every pair and every fold, folded away."""
    word = str(comparison.facts.get("fold_word", "fold"))
    rows = []
    for _, line in comparison.pairs.iterrows():
        names = [clean(comparison.label(line[side])) for side in ("first", "second")]
        ends = f"{score(comparison, line['ci_low'])} to {score(comparison, line['ci_high'])}"
        rows.append(
            [
                *(cell(name) for name in names),
                cell(line["difference"], score(comparison, line["difference"])),
                cell(line["ci_low"], ends),
                cell(line["p_value"], _p_text(line["p_value"])),
                cell(line["p_holm"], _p_text(line["p_holm"])),
            ]
        )
    columns: list[tuple[str, Kind]] = [("first", "text"), ("second", "text"), ("first is better by", "number")]
    columns += [("95\u00a0% interval", "number"), ("p", "number"), ("p, adjusted", "number")]
    if len(rows) > 1:
        caption = f"Every pair, tested on the {word}s that both have; adjusted for all {len(rows)} pairs (Holm)."
        section.table(TableView(caption, columns, rows, sortable=True, tall=len(rows) > 14), f"All pairs ({len(rows)})")
    wide = comparison.table_of(comparison.metric)
    lines = [
        [cell(clean(comparison.label(str(name)))), *(cell(float(v), score(comparison, float(v))) for v in wide[name])]
        for name in wide
    ]
    heads: list[tuple[str, Kind]] = [("model", "text"), *((f"{word} {fold}", "number") for fold in wide.index)]
    caption = f"{comparison.measure.label} on the test rows of every {word}."
    section.table(TableView(caption, heads, lines, sortable=True), f"Every {word}")


def _p_text(p_value: float) -> str:
    if not math.isfinite(p_value):
        return "–"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


# ---- what they rely on -----------------------------------------------------------------------------------------------
def _reliance(comparison: Comparison) -> SectionView:
    section = SectionView("reliance", "Do they rely on the same features?")
    if not comparison.reliance:
        return section
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
    return section


def _agreement(comparison: Comparison, section: SectionView, order: list[str]) -> None:
    section.heading("Agreement, and its ceiling")
    word = str(comparison.facts.get("fold_word", "fold"))
    labels = [comparison.label(name) for name in order]
    pictures = []
    for measure, words in (
        ("weighted_overlap", f"overlap of the importance shares of the {comparison.k} strongest features"),
        ("kendall", f"Kendall's tau of the rankings of all {len(comparison.features)} features"),
    ):
        drawn = plots.agreement_matrix(_matrix(comparison, order, measure), labels)
        pictures.append((drawn, f"{words[:1].upper()}{words[1:]}. Framed: each model with itself on another {word}."))
    if len(order) <= _BESIDE:
        section.figures(*pictures)
    else:
        for drawn, words in pictures:
            section.figure(drawn, words)
    rows = []
    for first, second in telling_pairs(comparison):
        overlap = agreement_line(comparison, first, second, "weighted_overlap")
        tau = agreement_line(comparison, first, second, "kendall")
        if tau is None or overlap is None:
            continue
        shared, own, _ = shared_features(comparison, first, second)
        counts = dict.fromkeys(map(count_text, own))
        gap = f"{number(overlap['gap'], 2)} ({number(overlap['gap_low'], 2)} to {number(overlap['gap_high'], 2)})"
        rows.append(
            [
                cell(f"{clean(comparison.label(first))}, {clean(comparison.label(second))}"),
                cell(shared, f"{count_text(shared)} of {' and '.join(counts)}"),
                cell(overlap["agreement"], number(overlap["agreement"], 2)),
                cell(overlap["ceiling"], number(overlap["ceiling"], 2)),
                cell(overlap["gap"], gap if math.isfinite(overlap["gap_low"]) else "–"),
                cell({True: "yes", False: "not told", None: "–"}[overlap["differs"]]),
                cell(tau["agreement"], number(tau["agreement"], 2)),
            ]
        )
    columns: list[tuple[str, Kind]] = [("pair", "text"), ("strongest in common", "number")]
    columns += [("overlap", "number"), ("ceiling", "number"), ("missing, 95\u00a0% interval", "number")]
    columns += [("differ beyond refitting", "text"), ("tau", "number")]
    caption = (
        f"Pairs of models: how many of the {comparison.k} strongest of {len(comparison.features)} features they share "
        "(fewer count where the others do not clearly matter or have less than a hundredth of a model's importance: of "
        f"8 and 6), overlap of the importance shares of all {comparison.k}, and Kendall's tau of all rankings. The "
        f"ceiling is what each agrees with itself on another {word}; what is missing to it is a difference between the "
        "models."
    )
    section.table(TableView(caption, columns, rows, sortable=True, tall=len(rows) > 14))


def _matrix(comparison: Comparison, order: list[str], measure: str) -> Any:
    table = np.full((len(order), len(order)), math.nan)
    for row, first in enumerate(order):
        for column, second in enumerate(order):
            line = agreement_line(comparison, first, second, measure) if row != column else None
            if line is not None:
                table[row, column] = line["agreement"]
                own = "within_first" if line["first"] == first else "within_second"
                table[row, row] = line[own]
    return table


def _share_table(comparison: Comparison, section: SectionView, order: list[str]) -> None:
    shares = comparison.shares()[order]
    places = shares.rank(ascending=False, method="min")
    spread = {name: comparison.reliance[name].mean(axis=0) for name in order}
    rows = []
    texts = {name: numbers(spread[name]) for name in order}
    for at in np.argsort(-shares.mean(axis=1).to_numpy(), kind="stable"):
        row = [cell(clean(comparison.features[at]))]
        for name in order:
            row.append(cell(float(spread[name][at]), texts[name][at]))
            row.append(Cell(f"{places[name].iloc[at]:.0f}", float(places[name].iloc[at]), "quiet"))
        rows.append(row)
    columns: list[tuple[str, Kind]] = [("feature", "text")]
    for name in order:
        columns += [(clean(comparison.label(name)), "number"), ("rank", "number")]
    caption = "Importance (increase of the loss) of every feature, mean over folds, and its rank in each model."
    section.table(TableView(caption, columns, rows, sortable=True, tall=len(rows) > 14), f"All {len(rows)} features")


def _paths(comparison: Comparison) -> SectionView:
    section = SectionView("paths", "Table or image")
    lines = path_lines(comparison)
    if not lines:
        return section
    section.text(
        "A hybrid network reads each row twice, as numbers and as an image. The path game shares each feature's "
        "importance out between the two; here the shares are summed over all features."
    )
    rows = [
        [
            cell(clean(comparison.label(name))),
            cell(tabular, share_text(tabular, tabular_spread)),
            cell(image, share_text(image, image_spread)),
        ]
        for name, tabular, image, tabular_spread, image_spread in lines
    ]
    caption = "Share of each path in the summed importances, mean ± standard deviation over folds."
    section.table(TableView(caption, [("network", "text"), ("table", "number"), ("image", "number")], rows))
    return section


# ---- the rest --------------------------------------------------------------------------------------------------------
def _all_metrics(comparison: Comparison) -> SectionView:
    section = SectionView("metrics", "By every metric")
    known = [str(name) for name in comparison.scores if name in metrics]
    tables = {name: comparison.table_of(name) for name in known}
    tables = {name: wide for name, wide in tables.items() if not wide.empty}
    order = list(comparison.standing["model"])
    rows = []
    spreads: dict[str, list[str]] = {model: [] for model in order}
    leaders = {}
    for name, wide in tables.items():
        means = wide.dropna(axis="columns").mean()
        if len(means):
            leaders[name] = means.idxmax() if metrics.get(name).direction == "higher" else means.idxmin()
    for model in order:
        row = [cell(clean(comparison.label(model)))]
        for name, wide in tables.items():
            if model not in wide:
                row.append(Cell("–", None))
                spreads[model].append("–")
                continue
            values = wide[model].dropna().to_numpy()
            bounded = metrics.get(name).range[1] - metrics.get(name).range[0] <= 2
            text = f"{values.mean():.3f}" if bounded else number(float(values.mean()))
            mark: Literal["", "best"] = "best" if leaders.get(name) == model else ""
            row.append(Cell(text.replace("-", "−"), float(values.mean()), mark))
            spreads[model].append(number(float(values.std(ddof=1)), 2) if len(values) > 1 else "–")
        rows.append(row)
    columns: list[tuple[str, Kind]] = [("model", "text")]
    for name in tables:
        metric = metrics.get(name)
        arrow = "↑" if metric.direction == "higher" else "↓"
        columns.append((f"{metric.label}\u00a0{arrow}".replace("-", "\u2011"), "number"))
    word = str(comparison.facts.get("fold_word", "fold"))
    caption = f"Means over {word}s; the best of each column is bold."
    section.table(TableView(caption, columns, rows, sortable=True))
    lines = [[cell(clean(comparison.label(model))), *(Cell(text) for text in spreads[model])] for model in order]
    section.table(TableView(f"Standard deviations over {word}s.", columns, lines), f"Spread over {word}s")
    return section


def _reading(comparison: Comparison) -> SectionView:
    section = SectionView("reading", "How to read this")
    networks = [one for one in comparison.contestants if one.kind == "network"]
    own = [("HyNN", _HYNN)] if networks else []
    section.blocks.append(
        ("terms", [*own, *(term for term in _HOW_TO_READ if comparison.reliance or term[0] in _ALWAYS)])
    )
    return section


def _provenance(comparison: Comparison) -> SectionView:
    section = SectionView("run", "What was run")
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
    return section
