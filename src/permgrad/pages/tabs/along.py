"""The section of columns that have an order: importance along it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from permgrad.base.numerals import number, percent
from permgrad.pages import plots
from permgrad.pages.units import advantage, in_shares
from permgrad.pages.views import SectionView
from permgrad.pages.words import clean, confidence_words

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
    captions = ["Importance column by column.", "Importance of bands: all columns of a band are one feature."]
    whole, flat = advantage(explanation.meta, content.metrics or {}), len(explanation.meta["order"]) == 1
    intervals = f" Shaded: the {confidence_words(explanation)} interval." if flat else ""
    for shown, caption in zip((explanation, content.bands), captions, strict=True):
        if shown is not None:
            drawn = shown if whole is None else in_shares(shown, whole)
            section.figure(plots.along_order(drawn, title=""), caption + intervals)
    if content.bands is not None:
        section.text(_band_words(explanation, content.bands, whole))


def _band_words(columns: Explanation, bands: Explanation, whole: float | None) -> str:
    """Compare the strongest band with the strongest of its columns, where that matters less."""
    single = dict(zip(columns.names, columns.values[:, 0].tolist(), strict=True))
    names, together = bands.clearly_matter(), dict(zip(bands.names, bands.values[:, 0].tolist(), strict=True))
    alone = {name: single.get(name, 0.0) for name in (bands.groups or {}).get(names[0], ())} if names else {}
    column = max(alone, key=alone.__getitem__, default="")
    if not alone or together[names[0]] <= alone[column]:
        return ""
    values = together[names[0]], alone[column]
    band, strongest = map(number, values) if whole is None else (percent(value / whole) for value in values)
    words = f"The strongest band, {clean(names[0])}, matters {band}, and the strongest of its columns, {clean(column)},"
    more = " Neighbours stand in for each other." * (values[0] > sum(max(value, 0.0) for value in alone.values()))
    return f"{words} {strongest} alone.{more}"
