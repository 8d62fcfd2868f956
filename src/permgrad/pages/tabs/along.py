"""The section of columns that have an order: importance along it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from permgrad.pages.charts import explained as charts
from permgrad.pages.inputs import in_order, shown_input
from permgrad.pages.pictures import picture
from permgrad.pages.units import advantage, in_shares
from permgrad.pages.views import SectionView
from permgrad.pages.words import confidence_words, quantity_of

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment
    from permgrad.attribution.explanation import Explanation


def along(section: SectionView, content: Assessment, explanation: Explanation) -> None:
    """The importance of columns in their order."""
    if not explanation.meta.get("order"):
        return
    section.text(
        "The columns have an order, as the points of a curve or a picture. The network reads them as neighbours."
    )
    whole, flat = advantage(explanation.meta, content.metrics or {}), len(explanation.meta["order"]) == 1
    intervals = f" Shaded: the {confidence_words(explanation)} interval." if flat else ""
    drawn = explanation if whole is None else in_shares(explanation, whole)
    if flat:
        section.figure(charts.along(drawn), "Importance column by column." + intervals)
    else:
        shown = shown_input(in_order(drawn)[0], "columns", None, 0)
        section.figure(picture(shown, quantity_of(drawn)), "Importance column by column.")
