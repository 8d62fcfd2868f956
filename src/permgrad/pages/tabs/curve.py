"""The section of outputs that are a curve: scores and importances along its points, and what is said of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from permgrad.base.errors import counted
from permgrad.base.numerals import percent
from permgrad.pages import choices, plots
from permgrad.pages.plots.curve import bands
from permgrad.pages.sentences import leader_words, left_out_words, score_words, shown_words
from permgrad.pages.views import SectionView, figures_of, intervals_of, names, table_of
from permgrad.pages.words import confidence_words, p_text, quantity_of

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment
    from permgrad.assess.sections.curve import CurveSection

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
