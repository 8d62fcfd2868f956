"""Several models on the same rows: which is best, by how much, and whether they rely on the same features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from permgrad.base.errors import by_count, counted
from permgrad.base.numerals import fixed, number, numbers, percent
from permgrad.base.significance import LEVEL
from permgrad.evaluation.metrics import metrics
from permgrad.pages import plots
from permgrad.pages.plots.models import known_shares
from permgrad.pages.views import (
    Column,
    Mark,
    SectionView,
    TableView,
    as_count,
    figures_of,
    intervals_of,
    metric_heading,
    names,
    table_of,
)
from permgrad.pages.words import clean, duration, listed, names_apart, p_text

if TYPE_CHECKING:
    from permgrad.evaluation.side_by_side import SideBySide

#: Most models that are named in a sentence.
_NAMED = 4


# ---- sentences -------------------------------------------------------------------------------------------------------
def standing_words(models: SideBySide) -> str:
    """Say which model is best, and from which others it differs significantly."""
    metric, first = models.metric, models.names[0]
    value = models.measured[first].get(metric.name)
    if value is None:
        return f"{metric.label} cannot be computed for these rows, so the models cannot be ranked."
    tied = [name for name in models.names if models.measured[name].get(metric.name) == value]
    has = by_count(len(tied), "has the best", "have the same best")
    words = f"Of {len(models.names)} models, {_named(models, tied)} {has} {metric.label}, {number(value)}."
    frame = replace(models, reference=first).against()
    frame = frame[~frame["model"].isin(tied)]
    clear = frame["p_holm"] < LEVEL
    worse, level = (_named(models, frame.loc[chosen, "model"]) for chosen in (clear, ~clear & frame["p_holm"].notna()))
    if worse:
        words += f" It is significantly better than {worse}."
    if level:
        words += f" There is no significant difference from {level}."
    return words


def _labels(models: SideBySide) -> dict[str, str]:
    """Return what models are called in sentences."""
    show = names_apart(map(models.label, models.names))
    return {name: show(models.label(name)) for name in models.names}


def _named(models: SideBySide, chosen: Any) -> str:
    return listed(map(_labels(models).__getitem__, chosen), _NAMED)


def agreement_words(models: SideBySide) -> str:
    """Say how often the best two models agree, and which of them is right where they do not."""
    if len(models.names) < 2 or not len(models.pairs):
        return ""
    line = models.pairs.iloc[0]
    one, other = (_labels(models)[line[side]] for side in ("first", "second"))
    if not np.isfinite(line["alike"]):
        return ""
    if models.task == "regression":
        return f"The predictions of {one} and {other} have a correlation of {number(float(line['alike']), 3)}."
    rows = round((1 - float(line["alike"])) * models.rows)
    if not rows:
        return f"In every row, {one} and {other} predict the same class."
    right = [f"{name} is right in {int(line[key]):,}" for name, key in ((one, "only_first"), (other, "only_second"))]
    return (
        f"In {counted(rows, 'row')} ({percent(rows / models.rows)}), {one} and {other} predict different classes: "
        f"{listed(right)}."
    )


# ---- blocks ----------------------------------------------------------------------------------------------------------
def standing(section: SectionView, models: SideBySide) -> None:
    """Which model is best, the metrics of all, and how far each is from the reference."""
    section.text(f"{standing_words(models)} All models predict the same {models.rows:,} rows.", agreement_words(models))
    measured(section, models)


def measured(section: SectionView, models: SideBySide) -> None:
    """The metrics of all models, and how far each is from the reference."""
    marked: dict[str, Mark] = {models.reference: "own"}
    section.table(
        metrics_table(
            [(models.label(name), models.measured[name], marked.get(name, "")) for name in models.names],
            [models.seconds.get(name) for name in models.names],
            "All metrics",
            "the best of each column",
        )
    )
    frame, reference = models.against(), _labels(models)[models.reference]
    drawn = frame[frame["ci_low"].notna()]
    if len(drawn):
        section.figure(
            plots.differences(
                [models.label(str(name)) for name in drawn["model"]],
                drawn[["difference", "ci_low", "ci_high"]].to_numpy(dtype=np.float64),
                label=f"{models.metric.label}: how much better {reference} is",
            ),
            f"How much better {reference} is than each other model, with 95\u00a0% intervals (paired bootstrap of the "
            "rows). Right of 0: it is better. Grey: the interval contains 0.",
        )
        caption = f"{models.metric.label}: how much better {reference} is than each other model on the same rows. "
        caption += f"p is adjusted for {counted(len(frame), 'comparison')} (Holm)."
        section.table(table_of(caption, _tested(models, frame, sides=("model",))))
    if len(models.names) > 2:
        columns = _tested(models, models.pairs, sides=("first", "second"))
        if models.task == "classification":
            columns += [figures_of("only the first is right", models.pairs["only_first"], as_count)]
            columns += [figures_of("only the second is right", models.pairs["only_second"], as_count)]
        competitors = len(models.names) - 1
        caption = f"Every two models. p is adjusted for the {competitors} comparisons with {reference}, and for the "
        caption += f"{counted(len(models.pairs) - competitors, 'other pair')} (Holm)."
        section.table(table_of(caption, columns), f"All pairs ({len(models.pairs)})")


#: Name, metrics, and the mark of the name: quiet for figures that are not of the test rows.
Measured = tuple[str, Mapping[str, Any], Mark]


def metrics_table(models: Sequence[Measured], seconds: Sequence[float | None], what: str, bold: str) -> TableView:
    """List models by the metrics that the first one has, and by the seconds that fitting took, where any are known."""
    labels, entries, marks = zip(*models, strict=True)
    rival = np.array([mark != "quiet" for mark in marks])
    columns = [names(labels, "model", marks)]
    for metric in metrics.values():
        if metric.name not in entries[0]:
            continue
        values = pd.Series([entry.get(metric.name) for entry in entries], dtype=np.float64)
        best = values[rival].max() if metric.direction == "higher" else values[rival].min()
        leading: list[Mark] = np.where(rival & (values == best) & (rival.sum() > 1), "best", "").tolist()
        write = number if metric.task == "regression" else fixed
        # A share of variance has no unit that could make it small: 3e-8 is 0.
        texts = [write(round(value, 4) if metric.name == "r2" else value) for value in values]
        columns.append(figures_of(metric_heading(metric), values, texts, leading))
    if any(value is not None for value in seconds):
        columns.append(figures_of("time to fit", seconds, duration))
    return table_of(f"{what}. ↑ higher is better, ↓ lower is better. Bold: {bold}.", columns)


def _tested(models: SideBySide, frame: pd.DataFrame, *, sides: tuple[str, ...]) -> list[Column]:
    """Return the columns of tested differences."""
    columns = [names((models.label(str(name)) for name in frame[side]), side) for side in sides]
    texts = numbers(frame["difference"].to_numpy(dtype=np.float64))
    columns.append(figures_of("better by", frame["difference"], texts))
    columns.append(intervals_of(frame["ci_low"], frame["ci_high"]))
    columns.append(figures_of("p, adjusted", frame["p_holm"], p_text))
    alike = "same class" if models.task == "classification" else "correlation"
    columns.append(figures_of(alike, frame["alike"], _same_class if models.task == "classification" else number))
    return columns


def _same_class(share: float) -> str:
    """Write a share of rows. Some rows that differ are not rounded away."""
    text = percent(share)
    return "over 99\u00a0%" if share < 1 and text == percent(1.0) else text


def reliance(section: SectionView, models: SideBySide) -> None:
    """What each model's importance consists of, and how far the models agree."""
    explained = {name: models.explanations[name] for name in models.names if name in models.explanations}
    if len(explained) < 2:
        return
    features = list(dict.fromkeys(name for one in explained.values() for name in one.names))
    values = {
        name: pd.Series(one.values[:, 0], index=one.names).reindex(features).to_numpy()
        for name, one in explained.items()
    }
    labels, show, lines = _labels(models), names_apart(features), []
    for name, one in explained.items():
        three = one.clearly_matter()[:3]
        relies = "relies most" if one.ranking()[0] in three else "clearly relies"
        words = f"{labels[name]} {relies} on {listed(map(show, three))}."
        lines.append(words if three else f"No feature clearly matters to {labels[name]}.")
    section.items(lines)
    section.figure(
        plots.reliance({models.label(name): array[None] for name, array in values.items()}, features),
        "Each feature's share of the summed importances of a model. Importances of models differ in size, shares can "
        "be compared.",
    )
    shares = {name: known_shares(array) for name, array in values.items()}
    order = np.argsort(-np.mean(np.nan_to_num(list(shares.values())), axis=0), kind="stable")
    columns = [names((features[place] for place in order), "feature")]
    for name, array in values.items():
        ranks = pd.Series(array).rank(ascending=False, method="min").to_numpy()
        columns.append(figures_of(clean(models.label(name)), shares[name][order], percent))
        columns.append(figures_of("rank", ranks[order], as_count, "quiet"))
    caption = "Share of the summed importances, and rank, of every feature in each model."
    caption += " –: the model does not have it." * any(np.isnan(each).any() for each in shares.values())
    section.table(table_of(caption, columns), f"All {len(features)} features")
