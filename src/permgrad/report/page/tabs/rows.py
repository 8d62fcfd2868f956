"""The tab Rows: why the model predicts what it predicts for single rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from permgrad.report import plots
from permgrad.report.page.rows_data import rows_data
from permgrad.report.page.tab import Tab
from permgrad.report.page.views import SectionView
from permgrad.report.sentences import map_words
from permgrad.report.words import clean

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.report.page.content import ReportContent


def single_rows(section: SectionView, content: ReportContent) -> None:
    """Single rows: a few on paper, every listed one on the screen."""
    if not content.rows and content.listed is None:
        return
    if content.image_counts and any(row.heat is not None for row in content.rows):
        section.text(map_words(content.paths))
    with section.live("explorer"):
        _chosen(section, content)


def _chosen(section: SectionView, content: ReportContent) -> None:
    """Add a few rows with their pictures."""
    label = clean(content.target) if content.task == "regression" else None
    for row in content.rows:
        section.add("heading", clean(row.title))
        section.text(clean(row.text) if row.text else "")
        section.figure(
            plots.waterfall(row.explanation, row=row.row, output=row.output, title="", label=label),
            "From the baseline's output (bottom) to this row's output (top), feature by feature."
            + baseline_words(row.explanation),
        )
        if row.heat is not None and content.image_counts:
            section.figure(plots.activation(row.image, row.heat), clean(row.heat_title))
        for picture, caption in row.pictures:
            section.figure(picture, clean(caption))


def all_rows(section: SectionView, content: ReportContent) -> None:
    """Many rows in one plot."""
    if content.local is None:
        return
    section.text(
        "Each point is one row. Right: the feature pushes this row's output up, compared with the baseline. Left: down."
        f"{baseline_words(content.local)}"
    )
    section.figure(
        plots.beeswarm(content.local, title=""),
        "What each feature adds to the output of every row. Colour is the feature's value. Grey values have no order "
        "or are missing.",
    )


def baseline_words(explanation: Explanation) -> str:
    """Return a sentence on the baseline of the attributions, or an empty text."""
    baseline = explanation.meta.get("baseline")
    return f" Baseline: {clean(baseline)}." if isinstance(baseline, str) and baseline else ""


TAB = Tab(
    name="rows",
    title="Rows",
    sections=(("single-rows", "Row by row", single_rows), ("all-rows", "All rows at once", all_rows)),
    data=rows_data,
    scripts=("features.js", "rows.js"),
)
