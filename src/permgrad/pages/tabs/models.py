"""The tab Models: this model and others on the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from permgrad.pages import side_by_side
from permgrad.pages.tab import Tab

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment
    from permgrad.evaluation.side_by_side import SideBySide
    from permgrad.pages.views import SectionView


def standing(section: SectionView, _: Assessment, models: SideBySide) -> None:
    """The metrics of all models, and how far each is from this one."""
    side_by_side.standing(section, models)


def reliance(section: SectionView, _: Assessment, models: SideBySide) -> None:
    """What each model relies on."""
    side_by_side.reliance(section, models)


TAB = Tab(
    name="models",
    title="Models",
    sections=(
        ("side-by-side", "Which is best", standing, "models"),
        ("reliance", "Do they rely on the same features?", reliance, "models"),
    ),
)
