"""Importance along columns that have an order, and along outputs that are a curve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from permgrad.base.errors import counted
from permgrad.base.numerals import number, percent
from permgrad.pages import choices, plots
from permgrad.pages.plots.curve import bands
from permgrad.pages.sentences import leader_words, left_out_words, score_words, shown_words
from permgrad.pages.units import advantage, in_shares
from permgrad.pages.views import SectionView, figures_of, intervals_of, names, table_of
from permgrad.pages.words import clean, confidence_words, p_text, quantity_of

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment
    from permgrad.assess.sections.curve import CurveSection
    from permgrad.attribution.explanation import Explanation

#: Features and points of the table, features of the figure. Points of the table of scores.
_FEATURES, _POINTS = 4, 12
_MEASURED = {
    "numbers": "squared error that always predicting the point's mean leaves (R²)",
    "quantiles": "loss of the quantile that always predicting the quantile of all rows leaves",
    "survival": "Brier score that the share of all rows who survive so long (Kaplan and Meier) leaves",
}


def curve(section: SectionView, _: Assessment, along: CurveSection) -> None:
    """Scores and importances of all points."""
    explanation, rows = along.explanation, len(along.explanation.values)
    section.text(shown_words(along), left_out_words(along), leader_words(along), score_words(along))
    if along.kind == "survival":
        followed = "Scores count each row by the inverse of the chance that it is still followed (Graf et al. 1999)."
        section.text(f"All test rows count here. {followed}")
    caption = (
        f"Mean size of: {quantity_of(explanation)}, over {counted(rows, 'test row')}. Dark: the interval of each point "
        f"({confidence_words(explanation)}). Light: an interval that holds the complete curve."
    )
    section.figure(plots.curve(explanation, top_n=_FEATURES, title=""), caption)
    # List the leading features at the first, the middle and the last point.
    explanation, (mean, each, whole) = along.explanation, bands(along.explanation)
    features = choices.largest(mean.max(axis=1), _FEATURES)
    points = [explanation.outputs.index(one["point"]) for one in along.leaders]
    first, second = np.tile(features, len(points)), np.repeat(points, len(features))
    columns = [
        names([explanation.outputs[point] for point in second], "point"),
        names([explanation.names[feature] for feature in first], explanation.level),
        figures_of("mean size", mean[first, second]),
        intervals_of(each[0][first, second], each[1][first, second], level=confidence_words(explanation)),
        intervals_of(whole[0][first, second], whole[1][first, second], level="complete curve's"),
    ]
    section.table(table_of("The leading features at the first, the middle and the last point.", columns))
    # List the score at each point.
    chosen = np.unique(np.linspace(0, len(along.scores) - 1, min(len(along.scores), _POINTS)).round()).astype(int)
    frame = along.scores.iloc[chosen]
    columns = [
        names(frame["point"], "point"),
        figures_of("saved", frame["score"], percent),
        intervals_of(frame["low"], frame["high"], percent),
        figures_of("adjusted\u00a0p", frame["p_value"], lambda p: p_text(p) if np.isfinite(p) else "–"),
    ]
    if along.kind == "quantiles":
        columns.append(figures_of("rows below", frame["below"], percent))
    section.table(table_of(f"How much the model saves of the {_MEASURED[along.kind]}.", columns))


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
