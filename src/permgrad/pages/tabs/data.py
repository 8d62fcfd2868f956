"""The tab Data: the table and its split, its columns in training and test rows, and
columns that depend on others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.base.errors import by_count, counted
from permgrad.base.numerals import distinct, number
from permgrad.data.kinds.column import reader_of
from permgrad.data.read.dates import date_text
from permgrad.evaluation.related import MISSING
from permgrad.pages.charts.chart import Chart
from permgrad.pages.content import PageContent
from permgrad.pages.facts.column_facts import drift as find_drift
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
from permgrad.pages.words import clean, names_apart, shorten

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment
    from permgrad.assess.sections.data import DataSection

#: Columns that the page describes.
MOST_COLUMNS = 150
#: Columns that are related so closely nearly determine each other.
NEARLY_SAME = 0.99


def table(section: SectionView, _: Assessment, stored: DataSection) -> None:
    """The table, its columns and its split."""
    counts = []
    for part_name, count in stored.rows.items():
        if count is not None:
            counts.append(f"{count:,} {part_name}")
    total = sum(count for count in stored.rows.values() if count is not None)
    section.text(
        f"{total:,} rows: {', '.join(counts)}."
        + (f" Split: {clean(stored.split)}." if stored.split else "")
    )
    if stored.shared_rows is not None:
        equal = stored.shared_rows
        more_rows = (stored.alike_rows or 0) - stored.shared_rows
        if equal:
            words = f"{counted(equal, 'test row')} {by_count(equal, 'is', 'are')}"
        else:
            words = "No test row is"
        words += " equal to a training row in every column"
        words += f" (in {stored.blank_rows:,} of them every feature is missing)" * bool(
            stored.blank_rows
        )
        if more_rows > 0:
            words += (
                f". {more_rows:,}{' more' * bool(equal)} "
                f"{by_count(more_rows, 'row equals', 'rows equal')} one in every "
            )
            words += "feature and the target"
        section.text(f"{words}.")
    known_phrases = ("also in the training rows", "equal to a training row")
    section.items(
        [
            split_note
            for split_note in stored.notes
            if stored.shared_rows is None
            or not any(known_phrase in split_note for known_phrase in known_phrases)
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
        order = [column_name for column_name in first if column_name in stored.columns]
        frame = stored.columns[
            [
                *order,
                *(
                    column_name
                    for column_name in stored.columns
                    if column_name not in (*order, "used")
                ),
            ]
        ]
        shown = frame_table(
            frame, "Columns of the table with their types.", sortable=True
        )
        section.table(shown, f"Columns ({len(frame)})")
    section.pairs(stored.card)


#: How columns give the target away.
_LEAKS = {
    "alone": "Each of these columns alone predicts {target} nearly perfectly, on rows "
    "that its model has not seen: by a lookup of equal or close values, by a straight "
    "line, by whether there is a value, or by a word of it.",
    "class": "Whether a column with a class has a value tells rows of this class from "
    "all others.",
    "together": "Columns of one line predict {target} nearly perfectly together: each "
    "marks rows of one class alone.",
    "pair": "Two categories together determine {target}: each pair of their levels has "
    "one class.",
    "formula": "A formula gives {target} from several columns.",
}
_OF_LEAKS = (
    "Such a column may be made from the target, or known only afterwards. Then every "
    "score of this report is too good."
)


def leaks(section: SectionView, content: Assessment, stored: DataSection) -> None:
    """Which columns alone, or by a formula, predict the target nearly perfectly, if any
    was searched.
    """
    target = shorten(content.target, 40)
    if not stored.leaks:
        if stored.unchecked:
            section.text(NOT_CHECKED[stored.unchecked])
        elif stored.described.get("columns"):
            section.text(f"No column alone predicts {target} nearly perfectly.")
        return
    kinds = set()
    for leak_facts in stored.leaks:
        kinds.add(
            next(
                (leak_kind for leak_kind in _LEAKS if leak_kind in leak_facts), "alone"
            )
        )
    section.text(
        " ".join(
            [
                *(
                    words.format(target=target)
                    for leak_kind, words in _LEAKS.items()
                    if leak_kind in kinds
                ),
                _OF_LEAKS,
            ]
        )
    )
    columns = [
        names(list(map(_written, stored.leaks)), "column or formula"),
        names(
            [MEASURES_OF_LEAKS[leak_facts["metric"]] for leak_facts in stored.leaks],
            "measure",
        ),
        names([leak_facts.get("class", "all") for leak_facts in stored.leaks], "class"),
        figures_of("score", [leak_facts["score"] for leak_facts in stored.leaks], down),
    ]
    if not any("class" in leak_facts for leak_facts in stored.leaks):
        columns = [*columns[:2], columns[-1]]
    section.table(table_of("1 is perfect. Columns are reported from 0.98 on.", columns))


def _written(leak: Mapping[str, Any]) -> str:
    """Return what a leak is called: its formula, or its columns."""
    return str(leak.get("formula", ", ".join(leak.get("columns", [leak["column"]]))))


# ---- training against test rows ------------------------------------------------------
def columns(section: SectionView, content: PageContent, stored: DataSection) -> None:
    """How the values of each column are distributed in training and test rows, and how
    far they differ.
    """
    if not stored.described.get("columns"):
        return
    drift_facts = content.ask(find_drift)
    if drift_facts is None:
        words = ""
    else:
        words = say("drift", drift_facts)
    if stored.drift and not words:
        words = (
            "No column has clearly different values in the training and the test rows "
        )
        words += f"({len(stored.drift):,} compared, with Holm's correction)."
    section.text(words)
    section.live("columns")


def _typical(
    values: Sequence[str | float | None], *, is_moment: bool
) -> list[str | None]:
    """Write the levels or the numbers that are typical of training and test rows.

    Numbers are written alike, so that 1573 does not stand beside 1,503.
    """
    amounts = [value for value in values if isinstance(value, int | float)]
    if is_moment:
        texts = iter([date_text(amount)[:10] for amount in amounts])
    else:
        texts = iter(distinct(amounts))
    written: list[str | None] = []
    for value in values:
        if isinstance(value, str):
            written.append(shorten(value, 30))
        elif value is None:
            written.append(None)
        else:
            written.append(next(texts))
    return written


def described_columns(
    content: PageContent, stored: DataSection
) -> list[dict[str, Any]]:
    """Return the columns shown: those that differ clearly, then by importance, then as
    in the table.

    ``typical`` of a column becomes words: the median or the most frequent level of
    training and of test rows.
    """
    first = []
    for drift_entry in stored.drift:
        if drift_entry["clear"]:
            first.append(drift_entry["column"])
    column_ranks = {}
    for column_rank, column_name in enumerate(
        dict.fromkeys([*first, *content.ranking])
    ):
        column_ranks[column_name] = column_rank
    for ranked_column, feature_rank in [
        *column_ranks.items()
    ]:  # a date is ranked by the strongest of what it says
        column_ranks.setdefault(ranked_column.rpartition(": ")[0], feature_rank)
    order = sorted(
        stored.described.get("columns", ()),
        key=lambda column_summary: column_ranks.get(
            column_summary["column"], len(column_ranks)
        ),
    )
    described = []
    for described_column in order[:MOST_COLUMNS]:
        # Levels have no numbers between which rows are counted.
        is_moment = False
        if "edges" in described_column:
            is_moment = reader_of(described_column["kind"]).is_moment
        typical = _typical(
            described_column.get("typical") or (None, None), is_moment=is_moment
        )
        described.append({**described_column, "typical": typical, "moment": is_moment})
    return described


# ---- columns that depend on others ---------------------------------------------------
def related(section: SectionView, content: Assessment) -> None:
    """Which columns move with the most important ones."""
    matrix = content.matrix
    pairs = content.related
    if not pairs and len((matrix or {}).get("names", ())) < 2:
        return
    section.text(
        "Strength is the rank correlation of two numbers (−1 to 1), or the association "
        "of a category with another column (0 to 1), where both have a value. Of "
        "missing cells it is the correlation of where they are. Importance is shared "
        "between columns that are closely related."
    )
    same = []
    for strong_pair in pairs:
        if (
            abs(strong_pair["strength"]) >= NEARLY_SAME
            and strong_pair["kind"] != MISSING
        ):
            same.append(strong_pair)
    if same:
        closest_pair = same[0]
        short_name = names_apart(
            related_pair[pair_side]
            for related_pair in pairs
            for pair_side in ("feature", "other")
        )
        count = len(same) - 1
        if count:
            further_words = (
                f" {count} more {by_count(count, 'pair does', 'pairs do')} the same."
            )
        else:
            further_words = ""
        section.text(
            f"{short_name(closest_pair['feature'])} and "
            f"{short_name(closest_pair['other'])} nearly determine each other "
            f"(strength {number(closest_pair['strength'])}).{further_words}"
        )
    section.figure(
        *related_columns(matrix)
        if matrix is not None and len(matrix["names"]) > 1
        else (None,)
    )
    columns = [
        names([related_pair["feature"] for related_pair in pairs], "feature"),
        names([related_pair["other"] for related_pair in pairs], "column"),
        figures_of("strength", [related_pair["strength"] for related_pair in pairs]),
        names([related_pair["kind"] for related_pair in pairs], "kind"),
    ]
    caption = (
        "Columns that are closely related to features that clearly matter "
        "(strength at least 0.5)."
    )
    section.text(
        ""
        if pairs
        else "No column is closely related to a feature that clearly matters."
    )
    section.table(table_of(caption, columns))


def related_columns(matrix: Mapping[str, Any]) -> tuple[Chart, str]:
    """Return the strengths of the most important columns as a chart, with its
    caption.
    """
    shown = list(map(clean, matrix["names"]))
    table = np.asarray(matrix["strengths"], dtype=np.float64)
    texts = []
    for strength_row in table:
        texts.append([number(round(value, 2), 2) for value in strength_row])
    off_diagonal = np.where(
        np.eye(len(table), dtype=bool), 0, np.nan_to_num(np.abs(table))
    )
    first_column, second_column = np.unravel_index(
        int(off_diagonal.argmax()), off_diagonal.shape
    )
    words = (
        f"Of these, the closest are {shown[first_column]} and "
        f"{shown[second_column]} ({texts[first_column][second_column]})."
    )
    if first_column == second_column:  # all strengths are 0, or not known
        words = "No two of these are related."
    caption = f"The {len(shown)} most important columns. {words}"
    cell_data = {
        "rows": shown,
        "columns": shown,
        "values": table,
        "texts": texts,
        "most": 1,
    }
    return Chart(
        "cells", f"Strengths of {len(shown)} columns. {words}", cell_data
    ), caption


# ---- the script ----------------------------------------------------------------------
def live_data(content: PageContent) -> Mapping[str, Any] | None:
    """Return what the script needs."""
    stored = content.data
    if stored is None:
        return None
    drift = {drift_entry["column"]: drift_entry for drift_entry in stored.drift}
    described = []
    for column_facts in described_columns(content, stored):
        moved = drift.get(column_facts["column"])
        entry: dict[str, Any] = {}
        for fact_name in ("kind", "missing", "edges", "levels", "shares"):
            if fact_name in column_facts:
                entry[fact_name] = column_facts[fact_name]
        entry |= {
            "name": clean(column_facts["column"]),
            "typical": column_facts["typical"],
        }
        if moved is not None:
            for drift_key in ("size", "p_holm", "clear"):
                entry[drift_key] = moved[drift_key]
            entry["words"] = f"{clean(column_facts['column'])}: {drifted_words(moved)}."
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
    halves=("table", "leaks", "columns", "related"),
    data=live_data,
    scripts=("panels.js", "data.js"),
)
