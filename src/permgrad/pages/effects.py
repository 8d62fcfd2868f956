"""How far predictions change with each feature, as tables of ``report.md`` and of the
page: those of ``effects.csv``, in words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from permgrad.base.numerals import fixed, number
from permgrad.pages.content import PageContent
from permgrad.pages.words import clean, value_text

#: Features in ``report.md``, and levels of each: those that change the prediction most.
_SHORT = 5
_LEVELS = 3
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
#: What is said below a table of changes.
EFFECTS_WORDS = (
    "Numbers go from their lower to their upper quartile, other features from their "
    "most frequent level. Changes are local effects (ALE): rows only move between "
    "values near their own, which is not what happens if somebody changes the feature. "
    "Rows have a value between both, or one of both levels."
)


def changes_of(content: PageContent) -> pd.DataFrame | None:
    """Return the changes of a model that has learned something, the most important
    feature first. Of several classes, the one is there that the feature moves most.
    """
    if content.cards is None or content.cards.changes is None or not content.learnt:
        return None
    changes = content.cards.changes
    order = content.by_rank(changes["feature"])
    changes = changes.iloc[order].reset_index(drop=True)
    sizes = changes["change"].abs()
    largest = sizes.groupby([changes["feature"], changes["class"]]).transform("max")
    most_moved = largest.groupby(changes["feature"]).idxmax()
    chosen = changes["class"][most_moved]
    chosen.index = changes["feature"][most_moved]
    return changes[changes["class"].eq(changes["feature"].map(chosen))]


def effect_lines(content: PageContent, most: int = _SHORT) -> list[list[str]]:
    """Return the changes of the first features that clearly matter, with a heading."""
    changes = changes_of(content)
    if changes is None:
        return []
    changes = changes[changes["feature"].isin(content.columns_of_clear)]
    first_features = changes["feature"].unique()[:most]
    parts = []
    for feature in first_features:
        part = changes[changes["feature"] == feature]
        largest = part["change"].abs().nlargest(_LEVELS).index
        parts.append(part.loc[part.index.isin(largest)])
    if not parts:
        return []
    return texts_of_changes(content, pd.concat(parts))


def texts_of_changes(content: PageContent, changes: pd.DataFrame) -> list[list[str]]:
    """Return lines of changes as texts, with a heading."""
    assert content.cards is not None
    classes = content.cards.classes or ()
    head = "Change of the prediction"
    if len(classes) == 1:
        head = f"Change of the probability of {clean(classes[0])}"
    lines = [["Feature", "From", "To", f"{head} (95 % interval)", "Rows"]]
    for line in changes.to_dict("records"):
        feature = clean(line["feature"])
        if len(classes) > 1:
            feature += f" (class {clean(line['class'])})"
        ends = [line[column] for column in ("change", "ci_low", "ci_high")]
        lines.append(
            [
                feature,
                end_text(line["from"]),
                end_text(line["to"]),
                change_text(ends, shares=bool(classes)),
                rows_text({str(name): line[name] for name in line}, content),
            ]
        )
    return lines


def end_text(value: Any) -> str:
    """Write a value from which, or to which, a feature changes. Tables have numbers as
    they are written in Python.

    Examples:
        >>> end_text("-38.0"), end_text(0.25), end_text("f-1")
        ('−38', '0.25', 'f-1')
    """
    text = value_text(value)
    if _NUMBER.fullmatch(text):
        return text.replace("-", "−").removesuffix(".0")
    return text


def change_text(ends: Sequence[float], *, shares: bool) -> str:
    """Write a change with both ends of its interval, of probabilities in points.

    Examples:
        >>> change_text([0.123, 0.1, 0.15], shares=True)
        '+12.3 points (+10.0 to +15.0)'
        >>> change_text([-1.5, float("nan"), float("nan")], shares=False)
        '−1.50'
    """
    texts = []
    for value in ends:
        if shares:
            text = fixed(100 * value, 1)
        else:
            text = number(value)
        texts.append("+" * (value > 0) + text)
    words = texts[0] + " points" * shares
    if math.isfinite(ends[1]):
        words += f" ({texts[1]} to {texts[2]})"
    return words


def rows_text(line: dict[str, Any], content: PageContent) -> str:
    """Write how many rows a change rests on, and how many groups."""
    words = f"{int(line['rows']):,}"
    if "groups" in line and content.dependence is not None:
        words += f", {int(line['groups']):,} by {clean(content.dependence.name)}"
    return words
