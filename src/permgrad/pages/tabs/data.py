"""The tab Data: the table and its split, its columns in training and test rows, and columns that depend on others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.base.errors import by_count, counted
from permgrad.base.numerals import number
from permgrad.data.read.dates import date_text
from permgrad.evaluation.related import MISSING
from permgrad.pages import facts
from permgrad.pages.charts.chart import Chart
from permgrad.pages.findings import MEASURES_OF_LEAKS, NOT_CHECKED, down, say
from permgrad.pages.moved import drifted_words
from permgrad.pages.views import (
    SectionView,
    Tab,
    figures_of,
    frame_table,
    names,
    table_of,
)
from permgrad.pages.words import clean, names_apart, shorten, value_text

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment
    from permgrad.assess.sections.data import DataSection

#: Columns that the page describes.
MOST_COLUMNS = 150
#: Columns that are related so closely nearly determine each other.
NEARLY_SAME = 0.99


def table(section: SectionView, _: Assessment, stored: DataSection) -> None:
    """The table, its columns and its split."""
    counts = [
        f"{count:,} {part}" for part, count in stored.rows.items() if count is not None
    ]
    total = sum(count for count in stored.rows.values() if count is not None)
    section.text(
        f"{total:,} rows: {', '.join(counts)}."
        + (f" Split: {clean(stored.split)}." if stored.split else "")
    )
    if stored.shared_rows is not None:
        equal, more = stored.shared_rows, (stored.alike_rows or 0) - stored.shared_rows
        words = (
            f"{counted(equal, 'test row')} {by_count(equal, 'is', 'are')}"
            if equal
            else "No test row is"
        )
        words += " equal to a training row in every column"
        words += f" (in {stored.blank_rows:,} of them every feature is missing)" * bool(
            stored.blank_rows
        )
        if more > 0:
            words += f". {more:,}{' more' * bool(equal)} {by_count(more, 'row equals', 'rows equal')} one in every "
            words += "feature and the target"
        section.text(f"{words}.")
    said = ("also in the training rows", "equal to a training row")
    section.items(
        [
            note
            for note in stored.notes
            if stored.shared_rows is None or not any(one in note for one in said)
        ]
    )
    if stored.class_counts is not None:
        section.table(
            frame_table(
                stored.class_counts,
                "Rows by class and part.",
                index="class",
                sortable=True,
            )
        )
    if stored.columns is not None:
        first = ["name", "kind", "missing", "levels", "role", "reason"]
        order = [name for name in first if name in stored.columns]
        frame = stored.columns[
            [*order, *(name for name in stored.columns if name not in (*order, "used"))]
        ]
        shown = frame_table(
            frame, "Columns of the table with their types.", sortable=True
        )
        section.table(shown, f"Columns ({len(frame)})")
    section.pairs(stored.card)


#: How columns give the target away.
_LEAKS = {
    "alone": "Each of these columns alone predicts {target} nearly perfectly, on rows that its model has not seen: by "
    "a lookup of equal or close values, by a straight line, by whether there is a value, or by a word of it.",
    "class": "Whether a column with a class has a value tells rows of this class from all others.",
    "together": "Columns of one line predict {target} nearly perfectly together: each marks rows of one class alone.",
    "pair": "Two categories together determine {target}: each pair of their levels has one class.",
    "formula": "A formula gives {target} from several columns.",
}
_OF_LEAKS = "Such a column may be made from the target, or known only afterwards. Then every score of this report is too good."


def leaks(section: SectionView, content: Assessment, stored: DataSection) -> None:
    """Which columns alone, or by a formula, predict the target nearly perfectly, if any was searched."""
    target = shorten(content.target, 40)
    if not stored.leaks:
        if stored.unchecked:
            section.text(NOT_CHECKED[stored.unchecked])
        elif stored.described.get("columns"):
            section.text(f"No column alone predicts {target} nearly perfectly.")
        return
    kinds = {
        next((kind for kind in _LEAKS if kind in one), "alone") for one in stored.leaks
    }
    section.text(
        " ".join(
            [
                *(
                    words.format(target=target)
                    for kind, words in _LEAKS.items()
                    if kind in kinds
                ),
                _OF_LEAKS,
            ]
        )
    )
    columns = [
        names([_written(one) for one in stored.leaks], "column or formula"),
        names([MEASURES_OF_LEAKS[one["metric"]] for one in stored.leaks], "measure"),
        names([one.get("class", "all") for one in stored.leaks], "class"),
        figures_of("score", [one["score"] for one in stored.leaks], down),
    ]
    columns = (
        columns
        if any("class" in one for one in stored.leaks)
        else [*columns[:2], columns[-1]]
    )
    section.table(table_of("1 is perfect. Columns are reported from 0.98 on.", columns))


def _written(leak: Mapping[str, Any]) -> str:
    """Return what a leak is called: its formula, or its columns."""
    return str(leak.get("formula", ", ".join(leak.get("columns", [leak["column"]]))))


# ---- training against test rows --------------------------------------------------------------------------------------
def columns(section: SectionView, content: Assessment, stored: DataSection) -> None:
    """How the values of each column are distributed in training and test rows, and how far they differ."""
    if not stored.described.get("columns"):
        return
    found = facts.drift(content)
    words = "" if found is None else say("drift", found)
    if stored.drift and not words:
        words = (
            "No column has clearly different values in the training and the test rows "
        )
        words += f"({len(stored.drift):,} compared, with Holm's correction)."
    section.text(words)
    section.live("columns")


def described_columns(content: Assessment, stored: DataSection) -> list[dict[str, Any]]:
    """Return the columns shown: those that differ clearly, then by importance, then as in the table.

    ``typical`` of a column becomes words: the median or the most frequent level of training and of test rows.
    """
    ranking = [] if content.explanation is None else content.explanation.ranking()
    first = [one["column"] for one in stored.drift if one["clear"]]
    places = {
        name: place for place, name in enumerate(dict.fromkeys([*first, *ranking]))
    }
    for name, place in [
        *places.items()
    ]:  # a date is ranked by the strongest of what it says
        places.setdefault(name.rpartition(": ")[0], place)
    order = sorted(
        stored.described.get("columns", ()),
        key=lambda one: places.get(one["column"], len(places)),
    )
    described = []
    for one in order[:MOST_COLUMNS]:
        typical: list[str | None] = []
        for value in one.get("typical") or (None, None):
            if value is None or isinstance(value, str):
                typical.append(None if value is None else shorten(value, 30))
            else:
                typical.append(
                    date_text(value)[:10]
                    if one["kind"] == "date"
                    else value_text(float(value))
                )
        described.append({**one, "typical": typical})
    return described


# ---- columns that depend on others -----------------------------------------------------------------------------------
def related(section: SectionView, content: Assessment) -> None:
    """Which columns move with the most important ones."""
    matrix, pairs = content.matrix, content.related
    if not pairs and len((matrix or {}).get("names", ())) < 2:
        return
    section.text(
        "Strength is the rank correlation of two numbers (−1 to 1), or the association of a category with another "
        "column (0 to 1), where both have a value. Of missing cells it is the correlation of where they are. "
        "Importance is shared between columns that are closely related."
    )
    same = [
        one
        for one in pairs
        if abs(one["strength"]) >= NEARLY_SAME and one["kind"] != MISSING
    ]
    if same:
        one, show = (
            same[0],
            names_apart(pair[side] for pair in pairs for side in ("feature", "other")),
        )
        count = len(same) - 1
        more = (
            f" {count} more {by_count(count, 'pair does', 'pairs do')} the same."
            if count
            else ""
        )
        section.text(
            f"{show(one['feature'])} and {show(one['other'])} nearly determine each other (strength "
            f"{number(one['strength'])}).{more}"
        )
    section.figure(
        *related_columns(matrix)
        if matrix is not None and len(matrix["names"]) > 1
        else (None,)
    )
    columns = [
        names([one["feature"] for one in pairs], "feature"),
        names([one["other"] for one in pairs], "column"),
        figures_of("strength", [one["strength"] for one in pairs]),
        names([one["kind"] for one in pairs], "kind"),
    ]
    caption = "Columns that are closely related to features that clearly matter (strength at least 0.5)."
    section.text(
        ""
        if pairs
        else "No column is closely related to a feature that clearly matters."
    )
    section.table(table_of(caption, columns))


def related_columns(matrix: Mapping[str, Any]) -> tuple[Chart, str]:
    """Return the strengths of the most important columns as a chart, with its caption."""
    shown, table = (
        [clean(name) for name in matrix["names"]],
        np.asarray(matrix["strengths"], dtype=np.float64),
    )
    texts = [[number(round(value, 2), 2) for value in row] for row in table]
    off = np.where(np.eye(len(table), dtype=bool), 0, np.nan_to_num(np.abs(table)))
    one, other = np.unravel_index(int(off.argmax()), off.shape)
    words = f"Of these, the closest are {shown[one]} and {shown[other]} ({texts[one][other]})."
    caption = f"The {len(shown)} most important columns. {words}"
    data = {"rows": shown, "columns": shown, "values": table, "texts": texts, "most": 1}
    return Chart("cells", f"Strengths of {len(shown)} columns. {words}", data), caption


# ---- the script ------------------------------------------------------------------------------------------------------
def live_data(content: Assessment) -> Mapping[str, Any] | None:
    """Return what the script needs."""
    stored = content.data
    if stored is None:
        return None
    drift = {one["column"]: one for one in stored.drift}
    described = []
    for one in described_columns(content, stored):
        moved = drift.get(one["column"])
        entry: dict[str, Any] = {
            key: one[key]
            for key in ("kind", "missing", "edges", "levels", "shares")
            if key in one
        }
        entry |= {"name": clean(one["column"]), "typical": one["typical"]}
        if moved is not None:
            entry |= {key: moved[key] for key in ("size", "p_holm", "clear")}
            entry["words"] = f"{clean(one['column'])}: {drifted_words(moved)}."
        described.append(entry)
    if not described:
        return None
    return {
        "columns": described,
        "all": len(stored.described.get("columns", ())),
        "rows": stored.described.get("rows"),
    }


TAB = Tab(
    name="data",
    title="Data",
    sections=(
        ("table", "Data and split", table, "data"),
        ("leaks", "Columns that give the target away", leaks, "data"),
        ("columns", "Training against test rows", columns, "data"),
        ("related", "Columns that depend on others", related),
    ),
    data=live_data,
    scripts=("panels.js", "data.js"),
)
