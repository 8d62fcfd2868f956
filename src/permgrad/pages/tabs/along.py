"""The section of columns that have an order: importance along it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from permgrad.pages.charts import explained as charts
from permgrad.pages.inputs import in_order, shown_input
from permgrad.pages.pictures import picture
from permgrad.pages.units import loss_without
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
    loss, flat = loss_without(explanation.meta, content.metrics or {}), len(explanation.meta["order"]) == 1
    intervals = f" Shaded: the {confidence_words(explanation)} interval." if flat else ""
    if flat:
        section.figure(charts.along(explanation, loss), "Importance column by column." + intervals)
    else:
        shown, quantity = shown_input(in_order(explanation)[0], "columns", None, 0), quantity_of(explanation)
        if loss is not None:
            shown, quantity = replace(shown, heat=loss.growth(shown.heat)), loss.grown
        section.figure(picture(shown, quantity), "Importance column by column.")
