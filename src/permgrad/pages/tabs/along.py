"""The section of columns that have an order: importance along it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from permgrad.pages import plots
from permgrad.pages.views import SectionView
from permgrad.pages.words import confidence_words

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment
    from permgrad.attribution.explanation import Explanation


def along(section: SectionView, content: Assessment, explanation: Explanation) -> None:
    """The importance of columns, and of bands of neighbours, in their order."""
    if not explanation.meta.get("order"):
        return
    section.text(
        "The columns have an order, as the points of a curve: the network reads them as neighbours.",
        "Neighbours stand in for each other, so a single column may matter little where a band of them matters much."
        if content.bands is not None
        else "",
    )
    intervals = f"Shaded: the {confidence_words(explanation)} interval."
    section.figure(plots.along_order(explanation, title=""), f"Importance column by column. {intervals}")
    if content.bands is not None:
        caption = f"Importance of bands: all columns of a band are shuffled together. {intervals}"
        section.figure(plots.along_order(content.bands, title=""), caption)
