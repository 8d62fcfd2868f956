"""The tab Changes: what changed since an earlier run, in words and in tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from permgrad.base.numerals import numbers
from permgrad.base.significance import LEVEL
from permgrad.evaluation.metrics import metrics
from permgrad.pages.charts.explained import differences
from permgrad.pages.choices import largest
from permgrad.pages.content import PageContent
from permgrad.pages.facts import score_facts
from permgrad.pages.sentences import case_words
from permgrad.pages.views import (
    Mark,
    SectionView,
    Tab,
    figures_of,
    intervals_of,
    names,
    table_of,
)
from permgrad.pages.words import p_text, unit_name

if TYPE_CHECKING:
    from permgrad.evaluation.changes import Changes

#: Features that are drawn.
_DRAWN = 12
#: A reader's headings, by the kind of line.
_HEADINGS = {"score": "Scores", "importance": "What the model relies on"}


def what_changed(section: SectionView, content: PageContent, changes: Changes) -> None:
    """How the loss changed, the scores, and the importances."""
    since = content.ask(score_facts.changes)
    section.text("" if since is None else since["sentence"], case_words(changes))
    for line_kind, heading in _HEADINGS.items():
        lines = changes.lines[changes.lines["kind"] == line_kind]
        if not len(lines):
            continue
        section.add("heading", heading)
        unit_words = unit_name(changes.meta)
        if line_kind != "score":
            drawn_lines = lines.iloc[largest(lines["change"].abs().to_numpy(), _DRAWN)]
            change_words = f"change of the importance ({unit_words})"
            intervals = drawn_lines[["change", "ci_low", "ci_high"]].to_numpy(
                dtype=np.float64
            )
            section.figure(
                differences(
                    list(map(_called, drawn_lines["name"])),
                    intervals,
                    label=change_words,
                ),
                f"{change_words.capitalize()}, with 95\u00a0% intervals. Right of 0: "
                "it rose. Grey: the interval contains 0.",
            )
        caption = (
            f"{heading}. p is adjusted for all lines (Holm). Bold: it changed clearly."
        )
        marks: list[Mark] = np.where(lines["p_holm"] < LEVEL, "best", "").tolist()
        known_columns = []
        for column_name in ("old", "new", "change"):
            if lines[column_name].notna().any():
                known_columns.append(column_name)
        columns = [names(map(_called, lines["name"]), "what", marks)]
        for column_name in known_columns:
            columns.append(
                figures_of(
                    column_name,
                    lines[column_name],
                    numbers(lines[column_name].to_numpy(dtype=np.float64)),
                )
            )
        columns += [
            intervals_of(lines["ci_low"], lines["ci_high"]),
            figures_of("p, adjusted", lines["p_holm"], p_text),
        ]
        section.table(table_of(caption, columns))


def _called(name: str) -> str:
    if name in metrics:
        return metrics.get(name).label
    return name


TAB = Tab(
    name="changes",
    title="Changes",
    sections=(("what-changed", "What changed", what_changed, "changes"),),
)
