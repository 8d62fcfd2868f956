"""What is odd about columns and rows of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from permgrad.pages.content import PageContent
from permgrad.pages.facts.finding_facts import Facts

#: Copies are worth advice from this share of the test rows on.
LEAST_COPIES = 0.01


# ---- how good it is ------------------------------------------------------------------
def leak(content: PageContent) -> Facts | None:
    """Columns, or a formula, give the target away."""
    if content.table.leaks:
        return leak_facts(content.target, content.table.leaks)
    return None


def leak_facts(target: str, leaks: Sequence[Mapping[str, Any]]) -> Facts:
    """Return the facts on leaks that ``permgrad.evaluation.leaks`` found."""
    columns = list(
        dict.fromkeys(
            column_name
            for leak_facts in leaks
            for column_name in leak_facts.get("columns", [leak_facts["column"]])
        )
    )
    options = [
        option_word
        for column_name in columns
        for option_word in ("--drop", column_name)
    ]
    # Near dates are alike: the column is known, and a random split is what is wrong.
    form = "dates" if len(leaks) == 1 and leaks[0].get("date") else "columns"
    if form == "dates":
        options = ["--time", columns[0]]
    return {
        "form": form,
        "target": target,
        "columns": list(leaks),
        "named": columns,
        "several": len(columns),
        "options": options,
    }


def cells(content: PageContent) -> list[Facts]:
    """How cells of the table were read that are odd: the words, and the advice."""
    return [{"options": [], **cell_facts} for cell_facts in content.table.cells]


def together(content: PageContent, *, clear: bool) -> Facts | None:
    """Rows may belong together, and are on both sides.

    ``clear``: a forest scores clearly less where they are not.
    """
    group_facts = content.table.together
    if group_facts and bool(group_facts["clear"]) is clear:
        return together_facts(group_facts, in_python=content.in_python)
    return None


def together_facts(group_facts: Mapping[str, Any], *, in_python: bool = False) -> Facts:
    """Return the facts on what ``permgrad.evaluation.kept_together`` found."""
    is_column = len(group_facts["columns"]) == 1
    options = []
    keep = "add a column of both, and name it as --row-group"
    if is_column:
        options = ["--row-group", *group_facts["columns"]]
        keep = "keep them together"
    if in_python:
        keep = "keep them on one side when you divide rows, and pass row_groups="
    if group_facts["clear"]:
        sentence_form = "clear"
    else:
        sentence_form = "unclear"
    return {
        **group_facts,
        "form": sentence_form,
        "_keep": keep,
        "options": options,
    }


def dated(content: PageContent) -> Facts | None:
    """The model relies most on a date, and training and test rows are of the same
    time.
    """
    alone = (content.reading or {}).get("alone")
    if alone is None or not alone["date"] or not content.learnt:
        return None
    moved = []
    for column_drift in content.table.drift:
        if column_drift["column"] == alone["column"]:
            moved.append(column_drift)
    if not moved or any(moved_column["clear"] for moved_column in moved):
        return None
    options = ["--time", alone["column"]]
    return {"feature": alone["feature"], "column": alone["column"], "options": options}


def copies(content: PageContent) -> Facts | None:
    """Test rows are also in the training rows.

    Rows without any value, or of coarse columns, are no copies.
    """
    table = content.table
    row_count = content.test_rows.total
    shared = (table.shared_rows or 0) - table.blank_rows
    if not shared or not row_count or table.shared_expected:
        return None
    facts: Facts = {"shared": shared, "rows": row_count, "share": shared / row_count}
    # They must be so many that they can change a score.
    if shared >= LEAST_COPIES * row_count:
        return facts
    return facts | {"part": "trust"}


def unseen(content: PageContent) -> Facts | None:
    """Test rows have classes that no training row has."""
    strange = content.test.get("unseen")
    if strange:
        return {
            "rows": strange,
            "count": sum(strange.values()),
            "target": content.target,
        }
    return None


def drift(content: PageContent) -> Facts | None:
    """Columns differ clearly between training and test rows."""
    compared = content.table.drift
    clear = [drift_entry for drift_entry in compared if drift_entry["clear"]]
    if not clear:
        return None
    columns = [drift_entry["column"] for drift_entry in clear]
    return {
        "columns": columns,
        "clear": len(clear),
        "compared": len(compared),
        "worst": dict(clear[0]),
    }


def dependence(content: PageContent) -> Facts | None:
    """Intervals and tests allow for rows that depend on each other."""
    between = content.dependence
    row_count = content.test_rows.total
    if between is None or not row_count:
        return None
    if between.timed:
        groups = None
    else:
        groups = between.count
    return {
        "groups": groups,
        "rows": row_count,
        "name": between.name,
        "form": "time" if between.timed else "groups",
    }
