"""The sections of a report, each a function of the content that returns what to show, or None."""

from __future__ import annotations

import math
from collections.abc import Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from permgrad.base.errors import by_count, counted
from permgrad.evaluation.ranking import spearman
from permgrad.report import plots
from permgrad.report.page.results import cuts, results
from permgrad.report.page.views import (
    Builder,
    Mark,
    SectionView,
    TableView,
    as_count,
    built,
    figures_of,
    frame_table,
    names,
    table_of,
)
from permgrad.report.sentences import entries_of, interaction_words, is_hybrid, map_words, no_share_words, path_words
from permgrad.report.words import clean, duration, number, numbers, p_text, percent, quantity_of

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.report.page.content import ReportContent


# ---- drivers ---------------------------------------------------------------------------------------------------------
def ranking(section: SectionView, content: ReportContent) -> None:
    """The ranking with intervals, and the direction of each feature."""
    explanation = content.explanation
    if explanation is None:
        return
    section.title = section.title if content.learnt else "What it uses without having learnt anything"
    section.text(
        "The importance of a feature is how much worse the model's loss becomes, per row on average, when the "
        "feature's raw value is taken from another row. 0 means that the model does not need it."
        if "loss" in str(explanation.meta.get("quantity", ""))
        else f"The numbers are: {quantity_of(explanation)}."
    )
    caption = f"Importance: {quantity_of(explanation)}. Whiskers are {_confidence(explanation)} intervals."
    if len(explanation.parts) > 1:
        caption += " Colours say through which path the effect arises; the dot is their sum."
    section.figure(plots.bar(explanation, title=""), caption)
    section.table(ranking_table(explanation))
    if explanation.direction:
        section.add("heading", "Which way")
        section.text(
            "Importance has no sign. Each panel sets one feature of every row to a quantile or a level, in the table "
            "and in the image at once, and shows the mean prediction."
        )
        section.figure(
            plots.direction(explanation, title=""), "Mean prediction by feature value; all panels share one scale."
        )
    if content.compared:
        _compared(explanation, content.compared, section)


def _confidence(explanation: Explanation) -> str:
    return percent(float(explanation.meta.get("confidence", 0.95)))


def ranking_table(explanation: Explanation) -> TableView:
    """List every feature with its interval and parts."""
    order = [explanation.names.index(name) for name in explanation.ranking()]
    low, high = (end[order, 0] for end in explanation.ci())
    ends = zip(low, numbers(low), numbers(high), strict=True)
    intervals = [f"{a} to {b}" if math.isfinite(end) else "–" for end, a, b in ends]
    ranked, clear = [explanation.names[at] for at in order], explanation.clearly_matter()
    marks: list[Mark] = ["best" if name in clear else "" for name in ranked]
    values = {name: part[order, 0] for name, part in {"importance": explanation.values, **explanation.parts}.items()}
    importance, *parts = (figures_of(clean(name), part, numbers(part)) for name, part in values.items())
    tests = {"p": explanation.p_values, "adjusted\u00a0p": explanation.p_adjusted}
    columns = [
        figures_of("", range(1, len(order) + 1), as_count, "quiet"),
        names(ranked, explanation.level, marks),
        importance,
        figures_of(f"{_confidence(explanation)} interval", low, intervals),
        *(figures_of(name, [None] * len(order) if p is None else p[order, 0], p_text) for name, p in tests.items()),
        *parts,
    ]
    marked = " Bold: clearly matters (adjusted p below 0.05)." if clear else ""
    caption = f"All {len(order)} {explanation.level}s, the highest estimates first; click a heading to sort.{marked}"
    return table_of(caption, columns)


def _compared(explanation: Explanation, compared: Mapping[str, Explanation], section: SectionView) -> None:
    """Add where other methods rank the features."""
    section.add("heading", "Other methods on the same model")
    orders = {explanation.method: explanation.ranking()}
    orders |= {name: _like_ranking(other, explanation) for name, other in compared.items()}
    ranks = {name: pd.Series(range(1, len(order) + 1), order) for name, order in orders.items()}
    lines = []
    for name in compared:
        both = pd.concat([ranks[explanation.method], ranks[name]], axis=1, join="inner")
        agreement = spearman(both.iloc[:, 0], both.iloc[:, 1]) if len(both) else math.nan
        lines.append(f"{clean(name)}: rank correlation with {explanation.method} {number(agreement, 2)}.")
    section.items(lines)
    ranking = explanation.ranking()
    columns = [names(ranking, explanation.level)]
    columns += [figures_of(clean(name), series.reindex(ranking), as_count) for name, series in ranks.items()]
    section.table(table_of("Rank of each feature by method, 1 is the most important.", columns), "Ranks")


def _like_ranking(other: Explanation, explanation: Explanation) -> list[str]:
    """Rank by what compares with the first output of an explanation: the same output, or the mean size over outputs."""
    first = explanation.outputs[0]
    if first in other.outputs:
        return other.ranking(other.outputs.index(first))
    order = np.argsort(-np.abs(np.nan_to_num(other.values)).mean(axis=1), kind="stable")
    return [other.names[place] for place in order]


def branches(section: SectionView, content: ReportContent) -> None:
    """How much each path of the network matters as a whole."""
    stored = content.paths
    if not entries_of(stored):
        return
    hybrid = is_hybrid(stored)
    section.title = section.title if hybrid else "Input by input"
    why, words = no_share_words(stored), path_words(stored)
    section.text(
        "Here a whole path is exchanged: its embedding of a row is replaced by that of another row. The bar is the "
        "path's fair share (its Shapley value) of the loss that both cause together."
        if hybrid
        else "Here a whole input is exchanged: a row's images of one column, or its whole table, are replaced by those "
        "of another row. The bar is the input's fair share (its Shapley value) of the loss that all cause together.",
        f"No shares are given: {why}." if why else "",
        f"{words} Shares are left out, because one of them would lie outside 0 to 100\u00a0%." if words else "",
    )
    label = quantity_of(content.explanation) if content.explanation is not None else "increase of the loss"
    what, after = ("path", "the other") if hybrid else ("input", "all others")
    caption = f"Importance of each {what} with its interval. Circle: exchanged alone. Square: exchanged after {after}."
    section.figure(plots.branches(stored, label=label), caption)
    section.text(interaction_words(stored))


def classes(section: SectionView, content: ReportContent) -> None:
    """What drives each class."""
    explanation = content.explanation
    if explanation is None or len(explanation.outputs) < 3:
        return
    if explanation.outputs[0] == "all":
        section.text("Each column is the importance on the rows of that class alone, in the same unit as above.")
    section.figure(plots.classes(explanation, title=""), "Importance by class (columns) and feature (rows).")


# ---- gradients, and the data beside them -----------------------------------------------------------------------------
def gradients(section: SectionView, content: ReportContent) -> None:
    """Integrated gradients over all test rows, for features and for encoded inputs."""
    if content.gradients is None:
        return
    facts, frame = content.gradients.facts, content.gradients.table
    section.text(
        f"Attributions of {facts['rows']:,} test rows to the logit of {clean(facts['output'])}; those of a row add "
        "up to its logit minus the baseline's. Another baseline gives other numbers: below are two.",
        "A single level of a category is attributed where it differs from the baseline: if the baseline has that "
        "level, the rows without it carry its bar, with the opposite sign. The sum over a feature's levels has no such "
        "twist.",
    )
    for baseline in facts["baselines"]:
        section.add("heading", f"From the baseline: {clean(baseline['baseline'])}")
        section.text(
            f"Largest gap between the sum and the difference: {number(baseline['completeness_gap'])} of the output's "
            f"range; largest change of a single value when its steps were last halved: "
            f"{number(baseline['quadrature_error'])}. Nothing is corrected afterwards."
        )
        of_baseline = frame[frame["baseline"] == baseline["baseline_name"]]
        for level, named in (("feature", "raw features"), ("input", "encoded inputs")):
            rows = of_baseline[of_baseline["level"] == level]
            section.figure(
                plots.signed_bars(
                    [str(name) for name in rows["name"]],
                    rows["published"].to_numpy(dtype=np.float64),
                    label="sum over rows, divided by the L1 norm of all sums",
                ),
                f"The {len(rows)} {named} in the published form: sums over the test rows, divided so that their "
                f"absolute values add up to 1. Right: towards {clean(facts['output'])}. "
                f"Baseline: {clean(baseline['baseline'])}.",
            )
            lines = rows.sort_values("mean_absolute", ascending=False, kind="stable")
            headings = {"mean": "signed mean", "mean_absolute": "mean absolute", "published": "published form"}
            columns = [names(lines["name"], "name")]
            columns += [figures_of(heading, lines[name]) for name, heading in headings.items()]
            caption = f"Integrated gradients of the {named}, by falling mean absolute attribution."
            fold = f"All {len(rows)} {named}: signed mean, mean absolute, published form"
            section.table(table_of(caption, columns), fold)


def beside_the_data(section: SectionView, content: ReportContent) -> None:
    """Values, mean outcome and mean attribution of the leading features, and where the last two disagree."""
    stored = content.reading
    if not stored or not stored.get("features"):
        return
    label = stored.get("class")  # of more than two classes, whose importances on their own rows compare
    whose = "" if label is None else f" for class {clean(label)} (on its rows)"
    section.text(
        f"For the highest estimates of importance{whose}: how the feature's values are distributed over the "
        f"{stored['rows']:,} test rows, the {clean(stored['outcome'])} at each value (the line is that of all rows, "
        f"{number(stored['overall'])}), and the {clean(stored['attribution'])}. Baseline: {clean(stored['baseline'])}.",
        "An attribution is what the model does with a value, given all others; it is not a cause. A raw mean mixes the "
        "feature with all that goes along with it. Each can be right where they disagree.",
    )
    hint = stored.get("leakage")
    if hint:
        section.items([hint["text"] + ".", *(f"From the data card: {note}" for note in hint["notes"])])
    for entry in stored["features"]:
        title = clean(entry["feature"])
        share = "" if entry.get("share") is None else f", {percent(entry['share'])} of the total importance{whose}"
        section.add("heading", f"{title}{share}")
        section.figure(
            plots.levels(entry["levels"], outcome=stored["outcome"], overall=stored["overall"]),
            f"{title}: rows, {clean(stored['outcome'])} and mean attribution by value. Whiskers: two standard errors. "
            f"Baseline: {clean(stored['baseline'])}.",
        )
        usable = [row for row in entry["levels"] if row["rows"] >= 30 and row["outcome"] is not None]
        if len(usable) > 1:
            commonest, high = (max(usable, key=itemgetter(key)) for key in ("rows", "outcome"))
            low = min(usable, key=itemgetter("outcome"))
            section.text(
                f"Most rows ({percent(commonest['share'])}): {clean(commonest['level'])}, with a "
                f"{clean(stored['outcome'])} of {number(commonest['outcome'])}. Highest: {clean(high['level'])} "
                f"({number(high['outcome'])}). Lowest: {clean(low['level'])} ({number(low['outcome'])})."
            )
        section.items(entry["notes"])


# ---- rows ------------------------------------------------------------------------------------------------------------
def rows(section: SectionView, content: ReportContent) -> None:
    """Many rows at a glance, then a few one by one."""
    if content.local is not None:
        section.text(
            "Each point is one row. Right: the feature pushes this row's output up. Left: down. "
            f"Method: {content.local.method}.{baseline_words(content.local)}"
        )
        section.figure(
            plots.beeswarm(content.local, title=""),
            "Attribution of every row. Colour is the feature's value; grey values have no order or are missing."
            + baseline_words(content.local),
        )
    if any(row.heat is not None for row in content.rows):
        section.text(map_words(content.paths))
    label = clean(content.target) if content.task == "regression" else None
    for row in content.rows:
        section.add("heading", clean(row.title))
        section.text(clean(row.text) if row.text else "")
        section.figure(
            plots.waterfall(row.explanation, row=row.row, output=row.output, title="", label=label),
            "From the baseline's output (below) to this row's output (above), feature by feature."
            + baseline_words(row.explanation),
        )
        if row.heat is not None:
            section.figure(plots.activation(row.image, row.heat), clean(row.heat_title))
        for picture, caption in row.pictures:
            section.figure(picture, clean(caption))


def baseline_words(explanation: Explanation) -> str:
    """Name the baseline that attributions are relative to, as a sentence; empty where there is none."""
    baseline = explanation.meta.get("baseline")
    return f" Baseline: {clean(baseline)}." if isinstance(baseline, str) and baseline else ""


# ---- materials -------------------------------------------------------------------------------------------------------
def data(section: SectionView, content: ReportContent) -> None:
    """The table, its columns and its split."""
    table = content.data
    if table is None:
        return
    counts = [f"{count:,} {part}" for part, count in table.rows.items() if count is not None]
    total = sum(count for count in table.rows.values() if count is not None)
    section.text(f"{total:,} rows: {', '.join(counts)}." + (f" Split: {clean(table.split)}." if table.split else ""))
    if table.shared_rows is not None:
        equal, more = table.shared_rows, (table.alike_rows or 0) - table.shared_rows
        words = f"{counted(equal, 'test row')} {by_count(equal, 'is', 'are')}" if equal else "No test row is"
        words += " equal to a training row in every column"
        if more > 0:
            words += f"; {more:,}{' more' * bool(equal)} {by_count(more, 'agrees', 'agree')} with one in every feature "
            words += "and the target"
        section.text(f"{words}.")
    section.items(table.notes)
    if table.class_counts is not None:
        section.table(frame_table(table.class_counts, "Rows by class and part.", index="class", sortable=True))
    if table.columns is not None:
        first = ["name", "kind", "missing", "levels", "role", "reason"]
        order = [name for name in first if name in table.columns]
        frame = table.columns[[*order, *(name for name in table.columns if name not in order)]]
        shown = frame_table(frame, "Columns of the table and what they were taken for.", sortable=True)
        section.table(shown, f"Columns ({len(frame)})")
    section.pairs(table.card)


def network(section: SectionView, content: ReportContent) -> None:
    """The network and how it was trained."""
    trained, training = content.network, content.training
    if trained is not None:
        words = [f"Preset {clean(trained.preset)}", f"branches: {', '.join(map(clean, trained.branches))}"]
        section.text("; ".join([*words, f"{trained.parameters:,} trainable parameters."]))
        section.items(trained.notes)
        section.figure(trained.drawing, "", "Drawing of the network's branches and shapes.")
        if trained.summary is not None:
            section.table(frame_table(trained.summary, "Layers, output shapes and parameters."), "Layers")
        section.pairs(trained.options, "Options")
    if training is not None:
        section.add("heading", "Learning curves")
        time = f"{len(training.history)} epochs in {duration(training.seconds)}"
        section.text(f"{time}. The weights of epoch {training.best_epoch} were kept.")
        section.figure(
            plots.learning_curves(training.history, best_epoch=training.best_epoch, label=clean(training.loss)),
            "Loss on the training rows and on the validation rows after each epoch.",
        )


def layout(section: SectionView, content: ReportContent) -> None:
    """Where each column sits in the image."""
    drawn = content.layout
    if drawn is None:
        return
    section.text(f"Layout {clean(drawn.name)}, {drawn.pixels} × {drawn.pixels} pixels.", clean(drawn.text))
    section.figure(drawn.drawing, "Where each column sits.", "Labelled picture of the layout.")
    if drawn.table is not None:
        section.table(frame_table(drawn.table, "Positions.", sortable=True), "Positions")


LIMITS = {
    "Not a cause": (
        "The numbers say what this model uses, not what would happen in the world if a feature were changed."
    ),
    "Related features": (
        "Replacing one value at a time can make rows that do not exist, and features that carry the same information "
        "share or hide each other's importance. Sampling given the other features, or declaring groups, helps."
    ),
    "A poor model": "What a model with poor test metrics relies on says little about the data.",
}
INTERVAL = (
    "If other rows had been drawn from the same source, the interval would cover the true effect in about "
    "{confidence} of the cases. It is about these rows and this network; another training run can give other numbers."
)
P_VALUE = (
    "How often chance alone would give an effect at least this far from 0. With many features some small p are "
    "expected by chance; the adjusted p allows for all of them (Holm 1979). A feature clearly matters when its "
    "importance is above 0 and its adjusted p below 0.05."
)
PATHS = (
    "The network sees each row twice, as numbers and as an image. The two coloured parts add up to the whole effect; "
    "the interaction is how far the effect of both together differs from the sum of each alone."
)


def reading(section: SectionView, content: ReportContent) -> None:
    """How to read the report, in plain words."""
    explanation = content.explanation
    terms: dict[str, str] = {}
    if explanation is not None:
        quantity = quantity_of(explanation)
        meaning = (
            f"{quantity[:1].upper()}{quantity[1:]}. It is measured on the trained model and is not scaled: numbers of "
            "different features, classes and paths compare as they are."
        )
        terms["Importance"] = meaning
        if explanation.low is not None:
            terms["Interval"] = INTERVAL.format(confidence=_confidence(explanation))
        if explanation.p_values is not None:
            terms["p"] = P_VALUE
        if len(explanation.parts) > 1:
            terms["Paths"] = PATHS
    section.add("terms", (terms | LIMITS).items())


def provenance(section: SectionView, content: ReportContent) -> None:
    """What was run."""
    origin = content.provenance
    if origin is None:
        return
    section.add("code", origin.command)
    pairs: dict[str, Any] = {
        "started": origin.started,
        "seed": origin.seed,
        "seed of the split": origin.split_seed,
        "machine": origin.machine,
        "configuration": origin.configuration_hash,
        "versions": ", ".join(f"{name} {version}" for name, version in origin.versions.items()),
    }
    if origin.seconds:
        stages = ", ".join(f"{clean(stage)} {duration(seconds)}" for stage, seconds in origin.seconds.items())
        pairs["time"] = f"{stages}; together {duration(sum(origin.seconds.values()))}"
    section.pairs({name: value for name, value in pairs.items() if value not in (None, "")})
    section.pairs(origin.configuration, "Whole configuration")


#: The report, in the order of reading: anchor, title, what fills it. A section that nothing is added to is left out.
_SECTIONS: tuple[Builder, ...] = (
    ("results", "How good it is", results),
    ("cuts", "Where to cut", cuts),
    ("drivers", "What drives it", ranking),
    ("gradients", "Integrated gradients", gradients),
    ("beside", "Beside the raw data", beside_the_data),
    ("paths", "Table or image", branches),
    ("classes", "Class by class", classes),
    ("rows", "Row by row", rows),
    ("data", "Data and split", data),
    ("network", "Network and training", network),
    ("layout", "How a row becomes an image", layout),
)
_LAST: tuple[Builder, ...] = (("reading", "How to read this", reading), ("run", "What was run", provenance))


def all_sections(content: ReportContent) -> list[SectionView]:
    """Build the sections of a report, those of one's own before how to read it."""
    extra = [SectionView(f"extra-{place}", clean(one.title)) for place, one in enumerate(content.extra)]
    for section, one in zip(extra, content.extra, strict=True):
        section.text(*map(clean, one.text))
        section.figure(one.drawing, clean(one.drawing_text))
    return [*built(_SECTIONS, content), *extra, *built(_LAST, content)]
