"""The tab Models: this model and others on the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from permgrad.report.page import side_by_side
from permgrad.report.page.tab import Tab

if TYPE_CHECKING:
    from permgrad.report.page.content import ReportContent
    from permgrad.report.page.views import SectionView


def standing(section: SectionView, content: ReportContent) -> None:
    """The metrics of all models, and how far each is from this one."""
    if content.models is not None:
        side_by_side.standing(section, content.models)


def reliance(section: SectionView, content: ReportContent) -> None:
    """What each model relies on."""
    if content.models is not None:
        side_by_side.reliance(section, content.models)


TAB = Tab(
    name="models",
    title="Models",
    sections=(
        ("side-by-side", "Which is best", standing),
        ("reliance", "Do they rely on the same features?", reliance),
    ),
)
