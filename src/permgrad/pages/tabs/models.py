"""The tab Models: this model and others on the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from permgrad.pages import side_by_side
from permgrad.pages.tab import Tab

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment
    from permgrad.pages.views import SectionView


def standing(section: SectionView, content: Assessment) -> None:
    """The metrics of all models, and how far each is from this one."""
    if content.models is not None:
        side_by_side.standing(section, content.models)


def reliance(section: SectionView, content: Assessment) -> None:
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
