"""The sections of a report, each a function of the content that returns what to show, or None."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.errors import by_count, counted, listed
from permgrad.evaluation.metrics import Metric, metrics
from permgrad.evaluation.ranking import spearman
from permgrad.report import plots
from permgrad.report.page.competitor_words import against_competitors, competitor_label, unseen_words
from permgrad.report.page.constant import Constant, constant, verdict
from permgrad.report.page.headline import branches_of
from permgrad.report.page.help import beside_the_data, cuts, gradients
from permgrad.report.page.mistakes import mistakes
from permgrad.report.page.paths import NOT_BRANCHES, interaction_words, is_hybrid, map_words, no_share_words, path_words
from permgrad.report.page.views import (
    Cell,
    Column,
    Mark,
    SectionView,
    TableView,
    cell,
    frame_table,
    metric_heading,
    p_values,
    table_of,
)
from permgrad.report.words import clean, duration, number, numbers, percent, plain_text, quantity_of

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.report.page.content import ReportContent, RowSection

Floats = npt.NDArray[np.float64]


# -------------------------------------------------------------------------------------------------------- results


def results(content: ReportContent) -> SectionView | None:
    """Test metrics beside the baselines, then where the model errs."""
    if not (content.metrics and content.metrics.get("test")) and content.predictions is None:
        return None
    section = SectionView("results", "How good it is")
    section.text(_comparison(content))
    other, judged = constant(content), verdict(content)
    unseen = unseen_words(content.target, (content.metrics or {}).get("test"))
    section.text(judged.text if judged is not None else "", unseen)
    section.table(_metrics_table(content, other))
    if content.task == "classification" and content.positive is not None:
        section.text(
            f"Average precision, lift and curves are of {clean(content.positive)}, the positive class.",
            _not_kept((content.metrics or {}).get("not_kept")),
        )
    section.text(other.source if other is not None else "")
    for name, entry in ((content.metrics or {}).get("baselines") or {}).items():
        if isinstance(entry, Mapping) and entry.get("problem"):
            section.text(f"{competitor_label(name)}: {clean(entry['problem'])}")
    mistakes(content, section)
    return section


def _comparison(content: ReportContent) -> str:
    relation = against_competitors(content.task, content.metrics or {})
    if not relation:
        return "All numbers are for test rows, which nothing was fitted on."
    return f"{relation} All models had the same rows and were scored on test rows, which nothing was fitted on."


def _not_kept(baselines: Sequence[str] | None) -> str:
    """Say which predictions a run did not keep, so that they are not measured for another positive class."""
    if baselines is None:
        return ""
    whose = listed(["this network on validation rows", *map(competitor_label, baselines)], 20)
    return f"For {whose} the run keeps no predictions, so both are left out for this class."


def _metrics_table(content: ReportContent, other: Constant | None) -> TableView | None:
    """List models by metrics: this network, its validation rows, competitors and the constant."""
    stored = content.metrics or {}
    test = stored.get("test")
    if not test:
        return None
    models: list[_Model] = [("this network", test, "own")]
    if stored.get("validation"):
        models.append(("this network, validation rows", stored["validation"], "quiet"))
    models += [(competitor_label(name), entry, "") for name, entry in (stored.get("baselines") or {}).items()]
    models += [(other.label, other.metrics, "")] if other is not None else []
    columns = [Column("model", [Cell(name, name, mark) for name, _, mark in models], "text")]
    for name in metrics:
        metric = metrics.get(name)
        if metric.task == content.task and name in test:
            columns.append(Column(metric_heading(metric), _metric_cells(metric, models)))
    if any("fit_seconds" in entry for _, entry, _ in models):
        seconds = [entry.get("fit_seconds") for _, entry, _ in models]
        if seconds[0] is None and content.training is not None:
            seconds[0] = content.training.seconds
        columns.append(Column("time to fit", [Cell(duration(each), each) for each in seconds]))
    return table_of("Test metrics. ↑ higher is better, ↓ lower is better; the best of each column is bold.", columns)


#: Name, metrics, and how its name is marked: quiet is what is not measured on the test rows.
_Model = tuple[str, Mapping[str, Any], Mark]


def _metric_cells(metric: Metric, models: Sequence[_Model]) -> list[Cell]:
    """Write a metric of all models; the best on the test rows is bold."""
    measured = [entry.get(metric.name) for _, entry, mark in models if mark != "quiet"]
    cells = []
    for _, entry, mark in models:
        value = entry.get(metric.name)
        if value is None:
            cells.append(Cell("–", None))
            continue
        best = len(measured) > 1 and mark != "quiet" and not any(metric.better(rival, value) for rival in measured)
        # A share of variance has no unit that could make it small: 3e-8 of it is 0.
        text = f"{value:.3f}"
        if metric.task == "regression":
            text = number(round(value, 4) if metric.name == "r2" else value)
        cells.append(Cell(text, value, "best" if best else ""))
    return cells


# -------------------------------------------------------------------------------------------------------- drivers


def ranking(content: ReportContent) -> SectionView | None:
    """The ranking with intervals, and the direction of each feature."""
    explanation = content.explanation
    if explanation is None:
        return None
    judged = verdict(content)
    useless = judged is not None and judged.learnt_nothing
    section = SectionView("drivers", "What it uses without having learnt anything" if useless else "What drives it")
    section.text(_quantity_sentence(explanation))
    confidence = _confidence(explanation)
    caption = f"Importance: {quantity_of(explanation)}. Whiskers are {confidence} intervals."
    if len(explanation.parts) > 1:
        caption += " Colours say through which path the effect arises; the dot is their sum."
    section.figure(plots.bar(explanation, top_n=content.top_n, title=""), caption)
    section.table(ranking_table(explanation))
    if explanation.direction:
        section.heading("Which way")
        section.text(
            "Importance has no sign. Each panel sets one feature of every row to a quantile or a level, in the table "
            "and in the image at once, and shows the mean prediction."
        )
        section.figure(
            plots.direction(explanation, title=""), "Mean prediction by feature value; all panels share one scale."
        )
    _compared(content, section)
    return section


def _quantity_sentence(explanation: Explanation) -> str:
    if "loss" in str(explanation.meta.get("quantity", "")):
        return (
            "The importance of a feature is how much worse the model's loss becomes, per row on average, when the "
            "feature's raw value is taken from another row. 0 means that the model does not need it."
        )
    return f"The numbers are: {quantity_of(explanation)}."


def ranking_table(explanation: Explanation) -> TableView:
    """List every feature with its interval and parts."""
    low, high = (end[:, 0] for end in explanation.ci())
    order = [explanation.names.index(name) for name in explanation.ranking()]
    clear = explanation.clearly_matter()

    def numeric(heading: str, values: Floats) -> Column:
        texts = numbers(values[order])
        return Column(heading, [cell(float(values[at]), text) for at, text in zip(order, texts, strict=True)])

    def tested(heading: str, values: Floats | None) -> Column:
        return p_values(np.full(len(order), np.nan) if values is None else values[order, 0], heading)

    ends = zip(order, numbers(low[order]), numbers(high[order]), strict=True)
    intervals = [cell(float(low[at]), f"{a} to {b}" if math.isfinite(low[at]) else "–") for at, a, b in ends]
    bold = [(explanation.names[at], explanation.names[at] in clear) for at in order]
    columns = [
        Column("", [Cell(str(rank), float(rank), "quiet") for rank in range(1, len(order) + 1)]),
        Column(explanation.level, [cell(clean(name), mark="best" if best else "") for name, best in bold], "text"),
        numeric("importance", explanation.values[:, 0]),
        Column(f"{_confidence(explanation)} interval", intervals),
        tested("p", explanation.p_values),
        tested("adjusted\u00a0p", explanation.p_adjusted),
        *(numeric(clean(name), part[:, 0]) for name, part in explanation.parts.items()),
    ]
    marked = " Bold: clearly matters (adjusted p below 0.05)." if clear else ""
    caption = f"All {len(order)} {explanation.level}s, the highest estimates first; click a heading to sort.{marked}"
    return table_of(caption, columns)


def _compared(content: ReportContent, section: SectionView) -> None:
    explanation = content.explanation
    if explanation is None or not content.compared:
        return
    section.heading("Other methods on the same model")
    ranks = {explanation.method: pd.Series(range(1, len(explanation.names) + 1), explanation.ranking())}
    lines = []
    for name, other in content.compared.items():
        order = _like_ranking(other, explanation)
        ranks[name] = pd.Series(range(1, len(order) + 1), order)
        both = pd.concat([ranks[explanation.method], ranks[name]], axis=1, join="inner")
        agreement = spearman(both.iloc[:, 0], both.iloc[:, 1]) if len(both) else math.nan
        lines.append(f"{clean(name)}: rank correlation with {explanation.method} {number(agreement, 2)}.")
    section.items(lines)
    places = {name: series.reindex(explanation.ranking()).astype("Int64").array for name, series in ranks.items()}
    frame = pd.DataFrame({explanation.level: explanation.ranking(), **places})
    section.table(
        frame_table(frame, "Rank of each feature by method, 1 is the most important.", sortable=True), "Ranks"
    )


def _like_ranking(other: Explanation, explanation: Explanation) -> list[str]:
    """Rank by what compares with the first output of an explanation: the same output, or the mean size over outputs."""
    first = explanation.outputs[0]
    if first in other.outputs:
        return other.ranking(other.outputs.index(first))
    order = np.argsort(-np.abs(np.nan_to_num(other.values)).mean(axis=1), kind="stable")
    return [other.names[place] for place in order]


def branches(content: ReportContent) -> SectionView | None:
    """How much each path of the network matters as a whole."""
    stored = branches_of(content)
    if not any(isinstance(entry, Mapping) and name not in NOT_BRANCHES for name, entry in stored.items()):
        return None
    hybrid = is_hybrid(stored)
    section = SectionView("paths", "Table or image" if hybrid else "Input by input")
    section.text(
        "Here a whole path is exchanged: its embedding of a row is replaced by that of another row. The bar is the "
        "path's fair share (its Shapley value) of the loss that both cause together."
        if hybrid
        else "Here a whole input is exchanged: a row's images of one column, or its whole table, are replaced by those "
        "of another row. The bar is the input's fair share (its Shapley value) of the loss that all cause together."
    )
    if why := no_share_words(stored):
        section.text(f"No shares are given: {why}.")
    words = path_words(stored)
    section.text(
        f"{words} Shares are left out, because one of them would lie outside 0 to 100\u00a0%." if words else ""
    )
    label = quantity_of(content.explanation) if content.explanation is not None else "increase of the loss"
    what, after = ("path", "the other") if hybrid else ("input", "all others")
    caption = f"Importance of each {what} with its interval. Circle: exchanged alone. Square: exchanged after {after}."
    section.figure(plots.branches(stored, label=label), caption)
    section.text(interaction_words(stored))
    return section


def classes(content: ReportContent) -> SectionView | None:
    """What drives each class."""
    explanation = content.explanation
    if explanation is None or len(explanation.outputs) < 3:
        return None
    section = SectionView("classes", "Class by class")
    if explanation.outputs[0] == "all":
        section.text("Each column is the importance on the rows of that class alone, in the same unit as above.")
    section.figure(
        plots.classes(explanation, top_n=content.top_n, title=""), "Importance by class (columns) and feature (rows)."
    )
    return section


# ----------------------------------------------------------------------------------------------------------- rows


def rows(content: ReportContent) -> SectionView | None:
    """Many rows at a glance, then a few one by one."""
    if content.local is None and not content.rows:
        return None
    section = SectionView("rows", "Row by row")
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
        section.text(map_words(branches_of(content)))
    label = None
    if content.task == "regression":
        label = clean(content.target) + (f" ({clean(content.target_unit)})" if content.target_unit else "")
    for each in content.rows:
        _one_row(section, each, label)
    return section


def baseline_words(explanation: Explanation) -> str:
    """Name the baseline that attributions are relative to, as a sentence; empty where there is none."""
    baseline = explanation.meta.get("baseline")
    return f" Baseline: {clean(baseline)}." if isinstance(baseline, str) and baseline else ""


def _one_row(section: SectionView, row: RowSection, label: str | None) -> None:
    output = row.output
    if output is None and row.explanation.predictions is not None:
        output = int(np.argmax(row.explanation.predictions[row.row]))
    section.heading(clean(row.title) if row.title else f"Row {row.row}")
    section.text(clean(row.text) if row.text else "")
    steps = plots.waterfall(row.explanation, row=row.row, output=output, title="", label=label)
    section.figure(
        steps,
        "From the baseline's output (below) to this row's output (above), feature by feature."
        + baseline_words(row.explanation),
    )
    if row.heat is not None:
        picture = plots.activation(row.image, row.heat)
        section.figure(picture, clean(row.heat_title) if row.heat_title else "Activation map over the row's image.")
    for further, caption in row.pictures:
        section.figure(further, clean(caption))


# ------------------------------------------------------------------------------------------------------ materials


def data(content: ReportContent) -> SectionView | None:
    """The table, its columns and its split."""
    table = content.data
    if table is None:
        return None
    section = SectionView("data", "Data and split")
    counts = [f"{count:,} {part}" for part, count in table.rows.items() if count is not None]
    total = sum(count for count in table.rows.values() if count is not None)
    section.text(f"{total:,} rows: {', '.join(counts)}." + (f" Split: {clean(table.split)}." if table.split else ""))
    if table.shared_rows is not None:
        section.text(_equal_rows(table.shared_rows, table.alike_rows or 0))
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
    return section


def _equal_rows(equal: int, alike: int) -> str:
    """Say how many test rows are equal to a training row, and how many only in what the model reads.

    Examples:
        >>> _equal_rows(0, 3)
        'No test row is equal to a training row in every column; 3 agree with one in every feature and the target.'
    """
    words = f"{counted(equal, 'test row')} {by_count(equal, 'is', 'are')}" if equal else "No test row is"
    words += " equal to a training row in every column"
    if alike > equal:
        more = f"{alike - equal:,}" + (" more" if equal else "")
        words += f"; {more} {by_count(alike - equal, 'agrees', 'agree')} with one in every feature and the target"
    return f"{words}."


def network(content: ReportContent) -> SectionView | None:
    """The network and how it was trained."""
    trained, training = content.network, content.training
    if trained is None and training is None:
        return None
    section = SectionView("network", "Network and training")
    if trained is not None:
        words = [f"Preset {clean(trained.preset)}" if trained.preset else ""]
        words += [f"branches: {', '.join(clean(name) for name in trained.branches)}" if trained.branches else ""]
        words += [f"{trained.parameters:,} trainable parameters" if trained.parameters is not None else ""]
        sentence = "; ".join(word for word in words if word)
        section.text(f"{sentence}." if sentence else "")
        section.items(trained.notes)
        section.figure(trained.drawing, "", "Drawing of the network's branches and shapes.")
        if trained.summary is not None:
            section.table(frame_table(trained.summary, "Layers, output shapes and parameters."), "Layers")
        section.pairs(trained.options, "Options")
    if training is not None and len(training.history):
        section.heading("Learning curves")
        best = f" The weights of epoch {training.best_epoch} were kept." if training.best_epoch is not None else ""
        time = f" in {duration(training.seconds)}" if training.seconds is not None else ""
        section.text(f"{len(training.history)} epochs{time}.{best}")
        section.figure(
            plots.learning_curves(training.history, best_epoch=training.best_epoch, label=clean(training.loss)),
            "Loss on the training rows and on the validation rows after each epoch.",
        )
    return section


def layout(content: ReportContent) -> SectionView | None:
    """Where each column sits in the image."""
    drawn = content.layout
    if drawn is None:
        return None
    section = SectionView("layout", "How a row becomes an image")
    grid = f", {drawn.pixels} × {drawn.pixels} pixels" if drawn.pixels else ""
    section.text(f"Layout {clean(drawn.name)}{grid}." if drawn.name else "", clean(drawn.text) if drawn.text else "")
    section.figure(drawn.drawing, "Where each column sits.", "Labelled picture of the layout.")
    if drawn.table is not None:
        section.table(frame_table(drawn.table, "Positions.", sortable=True), "Positions")
    return section


def extras(content: ReportContent) -> list[SectionView]:
    """Sections of the user's own."""
    sections = []
    for place, extra in enumerate(content.extra):
        section = SectionView(f"extra-{place}", clean(extra.title))
        section.text(*(clean(paragraph) for paragraph in extra.text))
        section.figure(extra.drawing, clean(extra.drawing_text) if extra.drawing_text else "")
        if extra.table is not None:
            section.table(frame_table(extra.table, clean(extra.title), sortable=True))
        sections.append(section)
    return sections


LIMITS = (
    (
        "Not a cause",
        "The numbers say what this model uses, not what would happen in the world if a feature were changed.",
    ),
    (
        "Related features",
        (
            "Replacing one value at a time can make rows that do not exist, and features that carry the same "
            "information share or hide each other's importance. Sampling given the other features, or declaring "
            "groups, helps."
        ),
    ),
    (
        "A poor model",
        "What a model with poor test metrics relies on says little about the data.",
    ),
)
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


def reading(content: ReportContent) -> SectionView:
    """How to read the report, in plain words."""
    section = SectionView("reading", "How to read this")
    explanation = content.explanation
    terms: list[tuple[str, str]] = []
    if explanation is not None:
        meaning = (
            f"{quantity_of(explanation)}. It is measured on the trained model and is not scaled: numbers of different "
        )
        terms.append(
            ("Importance", f"{meaning[:1].upper()}{meaning[1:]}features, classes and paths compare as they are.")
        )
        if explanation.low is not None:
            terms.append(("Interval", INTERVAL.format(confidence=_confidence(explanation))))
        if explanation.p_values is not None:
            terms.append(("p", P_VALUE))
        if len(explanation.parts) > 1:
            terms.append(("Paths", PATHS))
    section.terms([*terms, *LIMITS])
    return section


def _confidence(explanation: Explanation) -> str:
    return percent(float(explanation.meta.get("confidence", 0.95)))


def provenance(content: ReportContent) -> SectionView | None:
    """What was run."""
    origin = content.provenance
    if origin is None:
        return None
    section = SectionView("run", "What was run")
    section.code(origin.command)
    pairs: dict[str, Any] = {
        "started": origin.started or None,
        "seed": origin.seed,
        "seed of the split": origin.split_seed,
        "machine": origin.machine or None,
        "configuration": origin.configuration_hash or None,
        "versions": ", ".join(f"{name} {version}" for name, version in origin.versions.items()) or None,
    }
    if origin.seconds:
        stages = ", ".join(f"{clean(stage)} {duration(seconds)}" for stage, seconds in origin.seconds.items())
        pairs["time"] = f"{stages}; together {duration(sum(origin.seconds.values()))}"
    section.pairs({name: plain_text(value) for name, value in pairs.items() if value is not None})
    section.pairs(origin.configuration, "Whole configuration")
    return section


def all_sections(content: ReportContent) -> list[SectionView]:
    """Build every section that has something to show, in the order of reading."""
    built = [results(content), cuts(content), ranking(content), gradients(content), beside_the_data(content)]
    built += [branches(content), classes(content), rows(content)]
    built += [data(content), network(content), layout(content), *extras(content), reading(content), provenance(content)]
    return [section for section in built if section is not None]
