"""The section of columns that have an order: importance along it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from permgrad.pages import plots
from permgrad.pages.units import advantage, in_shares
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
        "The columns have an order, as the points of a curve or a picture. The network reads them as neighbours."
    )
    captions = ["Importance column by column.", "Importance of bands: all columns of a band are shuffled together."]
    whole, flat = advantage(explanation.meta, content.metrics or {}), len(explanation.meta["order"]) == 1
    intervals = f" Shaded: the {confidence_words(explanation)} interval." if flat else ""
    for shown, caption in zip((explanation, content.bands), captions, strict=True):
        if shown is not None:
            drawn = shown if whole is None else in_shares(shown, whole)
            section.figure(plots.along_order(drawn, title=""), caption + intervals)
    if content.bands is not None:
        section.text(
            "Neighbours stand in for each other: a band can matter much where each of its columns matters little."
        )
