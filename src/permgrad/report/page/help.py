"""Sections that help to read: where to cut the logit, integrated gradients over all rows, the data beside the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.report import plots
from permgrad.report.page.views import Cell, SectionView, TableView, cell
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
    names = [("accuracy", "accuracy"), ("balanced_accuracy", "balanced accuracy"), ("precision", "precision")]
    names += [("recall", "recall"), ("f1", "F1")]
    rows = []
    for line in lines:
        logit = line["logit"]
        row = [cell(clean(line["cut"])), cell(float("nan") if logit is None else float(logit))]
        row += [Cell(f"{line[name]:.3f}", float(line[name])) for name, _ in names]
        rows.append(row)
    columns: list[Any] = [("cut", "text"), ("logit", "number"), *((label, "number") for _, label in names)]
    return TableView("Decisions on the test rows by cut.", columns, rows, sortable=True)


# ----------------------------------------------------------------------------------------- integrated gradients


def gradients(content: ReportContent) -> SectionView | None:
    """Integrated gradients over all test rows, for features and for encoded inputs."""
    given = content.gradients
    if given is None:
        return None
    facts, frame = given.facts, given.table
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
        own = frame[frame["level"] == level]
        shown = own.iloc[np.argsort(-own["published"].abs().to_numpy(), kind="stable")]
        section.figure(
            plots.signed_bars(
                [str(name) for name in shown["name"]],
                shown["published"].to_numpy(dtype=np.float64),
                label="sum over rows, divided by the L1 norm of all sums",
            ),
            f"The {len(own)} {named} in the published form: sums over the test rows, divided so that their absolute "
            f"values add up to 1. Right: towards {output}. Baseline: {words}.",
        )
        fold = f"All {len(own)} {named}: signed mean, mean absolute, published form"
        section.table(_gradient_table(own, named), fold)


def _gradient_table(frame: pd.DataFrame, words: str) -> TableView:
    order = np.argsort(-frame["mean_absolute"].to_numpy(), kind="stable")
    names = [("mean", "signed mean"), ("mean_absolute", "mean absolute"), ("published", "published form")]
    rows = []
    for place in order:
        line = frame.iloc[int(place)]
        rows.append([cell(clean(line["name"])), *(cell(float(line[name])) for name, _ in names)])
    columns: list[Any] = [("name", "text"), *((label, "number") for _, label in names)]
    caption = f"Integrated gradients of the {words}, by falling mean absolute attribution."
    return TableView(caption, columns, rows, sortable=True, tall=len(rows) > 14)


# --------------------------------------------------------------------------------------------------- reading help


def beside_the_data(content: ReportContent) -> SectionView | None:
    """Values, mean outcome and mean attribution of the leading features, and where the last two disagree."""
    given = content.reading
    if not given or not given.get("features"):
        return None
    section = SectionView("beside", "Beside the raw data")
    label = given.get("class")  # of more than two classes, whose importances on their own rows compare
    whose = "" if label is None else f" for class {clean(label)} (on its rows)"
    section.text(
        f"For the highest estimates of importance{whose}: how the feature's values are distributed over the "
        f"{given['rows']:,} test rows, the {clean(given['outcome'])} at each value (the line is that of all rows, "
        f"{number(given['overall'])}), and the {clean(given['attribution'])}. Baseline: {clean(given['baseline'])}.",
        "An attribution is what the model does with a value, given all others; it is not a cause. A raw mean mixes the "
        "feature with all that goes along with it. Each can be right where they disagree.",
    )
    hint = given.get("leakage")
    if hint:
        section.items([hint["text"] + ".", *(f"From the data card: {note}" for note in hint["notes"])])
    for entry in given["features"]:
        title = clean(entry["feature"])
        share = "" if entry.get("share") is None else f", {percent(entry['share'])} of the total importance{whose}"
        section.heading(f"{title}{share}")
        section.figure(
            plots.levels(entry["levels"], outcome=given["outcome"], overall=given["overall"]),
            f"{title}: rows, {clean(given['outcome'])} and mean attribution by value. Whiskers: two standard errors. "
            f"Baseline: {clean(given['baseline'])}.",
        )
        section.text(_extremes(entry["levels"], str(given["outcome"])))
        section.items(entry["notes"])
    return section


def _extremes(levels: Sequence[Mapping[str, Any]], outcome: str) -> str:
    """Say which level is the most frequent, and which has the highest and the lowest mean outcome."""
    known = [row for row in levels if row["rows"] >= 30 and row["outcome"] is not None]
    if len(known) < 2:
        return ""
    most = max(known, key=lambda row: row["rows"])
    high, low = max(known, key=lambda row: row["outcome"]), min(known, key=lambda row: row["outcome"])
    return (
        f"Most rows ({percent(most['share'])}): {clean(most['level'])}, with a {clean(outcome)} of "
        f"{number(most['outcome'])}. Highest: {clean(high['level'])} ({number(high['outcome'])}). Lowest: "
        f"{clean(low['level'])} ({number(low['outcome'])})."
    )
