"""Sections that help to read: where to cut the logit, integrated gradients over all rows, the data beside the model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.report import plots
from permgrad.report.page.views import Column, SectionView, TableView, cell, decimals, names, table_of
from permgrad.report.words import clean, number, percent

if TYPE_CHECKING:
    import pandas as pd

    from permgrad.report.page.content import ReportContent


# ---------------------------------------------------------------------------------------------------------- cuts


def cuts(content: ReportContent) -> SectionView | None:
    """What becomes of the test rows when the logit is cut here or there."""
    stored = (content.metrics or {}).get("cuts")
    if not stored:
        return None
    positive = clean(stored["positive"])
    section = SectionView("cuts", "Where to cut")
    section.text(
        f"A row is called {positive} when its logit is above the cut. The loss of the training was weighted, which "
        f"moves every logit by about {number(stored['shift'])} (the logarithm of the weight): 0 is not where both "
        "classes are equally likely. Which cut is right depends on what an error costs.",
        f"Thresholds were chosen on {stored['held_out_rows']:,} rows held out of training, never on test rows. "
        f"{percent(stored['share_positive'])} of the test rows are {positive}: accuracy alone says little.",
    )
    section.table(_cuts_table(stored["test"]))
    return section


def _cuts_table(lines: Sequence[Mapping[str, Any]]) -> TableView:
    logits = [math.nan if line["logit"] is None else float(line["logit"]) for line in lines]
    columns = [names((line["cut"] for line in lines), "cut"), Column("logit", [cell(logit) for logit in logits])]
    for name in ("accuracy", "balanced_accuracy", "precision", "recall", "f1"):
        heading = name.replace("_", " ").replace("f1", "F1")
        columns.append(decimals((line[name] for line in lines), heading))
    return table_of("Decisions on the test rows by cut.", columns)


# ----------------------------------------------------------------------------------------- integrated gradients


def gradients(content: ReportContent) -> SectionView | None:
    """Integrated gradients over all test rows, for features and for encoded inputs."""
    if content.gradients is None:
        return None
    facts, frame = content.gradients.facts, content.gradients.table
    section = SectionView("gradients", "Integrated gradients")
    section.text(
        f"Attributions of {facts['rows']:,} test rows to the logit of {clean(facts['output'])}; those of a row add "
        "up to its logit minus the baseline's. Another baseline gives other numbers: below are two.",
        "A single level of a category is attributed where it differs from the baseline: if the baseline has that "
        "level, the rows without it carry its bar, with the opposite sign. The sum over a feature's levels has no such "
        "twist.",
    )
    for baseline in facts["baselines"]:
        _one_baseline(section, frame[frame["baseline"] == baseline["baseline_name"]], baseline, clean(facts["output"]))
    return section


def _one_baseline(section: SectionView, frame: pd.DataFrame, facts: Mapping[str, Any], output: str) -> None:
    """Show the two levels, features and encoded inputs, for one baseline."""
    words = clean(facts["baseline"])
    section.heading(f"From the baseline: {words}")
    section.text(
        f"Largest gap between the sum and the difference: {number(facts['completeness_gap'])} of the output's range; "
        f"largest change of a single value when its steps were last halved: {number(facts['quadrature_error'])}. "
        "Nothing is corrected afterwards."
    )
    for level, named in (("feature", "raw features"), ("input", "encoded inputs")):
        rows = frame[frame["level"] == level]
        shown = rows.iloc[np.argsort(-rows["published"].abs().to_numpy(), kind="stable")]
        section.figure(
            plots.signed_bars(
                [str(name) for name in shown["name"]],
                shown["published"].to_numpy(dtype=np.float64),
                label="sum over rows, divided by the L1 norm of all sums",
            ),
            f"The {len(rows)} {named} in the published form: sums over the test rows, divided so that their absolute "
            f"values add up to 1. Right: towards {output}. Baseline: {words}.",
        )
        fold = f"All {len(rows)} {named}: signed mean, mean absolute, published form"
        section.table(_gradient_table(rows, named), fold)


def _gradient_table(frame: pd.DataFrame, words: str) -> TableView:
    lines = frame.iloc[np.argsort(-frame["mean_absolute"].to_numpy(), kind="stable")]
    headings = {"mean": "signed mean", "mean_absolute": "mean absolute", "published": "published form"}
    columns = [names(lines["name"], "name")]
    columns += [Column(heading, [cell(float(each)) for each in lines[name]]) for name, heading in headings.items()]
    return table_of(f"Integrated gradients of the {words}, by falling mean absolute attribution.", columns)


# --------------------------------------------------------------------------------------------------- reading help


def beside_the_data(content: ReportContent) -> SectionView | None:
    """Values, mean outcome and mean attribution of the leading features, and where the last two disagree."""
    stored = content.reading
    if not stored or not stored.get("features"):
        return None
    section = SectionView("beside", "Beside the raw data")
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
        section.heading(f"{title}{share}")
        section.figure(
            plots.levels(entry["levels"], outcome=stored["outcome"], overall=stored["overall"]),
            f"{title}: rows, {clean(stored['outcome'])} and mean attribution by value. Whiskers: two standard errors. "
            f"Baseline: {clean(stored['baseline'])}.",
        )
        section.text(_extremes(entry["levels"], str(stored["outcome"])))
        section.items(entry["notes"])
    return section


def _extremes(levels: Sequence[Mapping[str, Any]], outcome: str) -> str:
    """Say which level is the most frequent, and which has the highest and the lowest mean outcome."""
    usable = [row for row in levels if row["rows"] >= 30 and row["outcome"] is not None]
    if len(usable) < 2:
        return ""
    commonest = max(usable, key=lambda row: row["rows"])
    high, low = max(usable, key=lambda row: row["outcome"]), min(usable, key=lambda row: row["outcome"])
    return (
        f"Most rows ({percent(commonest['share'])}): {clean(commonest['level'])}, with a {clean(outcome)} of "
        f"{number(commonest['outcome'])}. Highest: {clean(high['level'])} ({number(high['outcome'])}). Lowest: "
        f"{clean(low['level'])} ({number(low['outcome'])})."
    )
