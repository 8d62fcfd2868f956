"""The tab Features: what the model relies on, feature by feature."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from permgrad.attribution.explanation.orders import sizes_of
from permgrad.base.numerals import number
from permgrad.pages import choices
from permgrad.pages.charts import explained as charts
from permgrad.pages.content import PageContent
from permgrad.pages.drawn_inputs import in_order, shown_input
from permgrad.pages.effects import EFFECTS_WORDS, changes_of, texts_of_changes
from permgrad.pages.pictures import picture
from permgrad.pages.rows_data import features_data
from permgrad.pages.standing import Standing
from permgrad.pages.tabs.details import branches
from permgrad.pages.tabs.rows import where
from permgrad.pages.tabs.together import nothing_together
from permgrad.pages.views import Column, Kind, SectionView, Tab, names, table_of
from permgrad.pages.words import (
    confidence_words,
    quantity_of,
    training_words,
    unit_words,
)

if TYPE_CHECKING:
    import pandas as pd

    from permgrad.assess.assessment import Assessment
    from permgrad.attribution.explanation import Explanation


def along(section: SectionView, content: PageContent, explanation: Explanation) -> None:
    """The importance of columns in their order."""
    if not explanation.meta.get("order"):
        return
    section.text(
        "The columns have an order, as the points of a curve or a picture. The network "
        "reads them as neighbours."
    )
    known_loss = content.loss
    is_curve = len(explanation.meta["order"]) == 1
    if is_curve:
        intervals = f" Shaded: the {confidence_words(explanation)} interval."
    else:
        intervals = ""
    if is_curve:
        section.figure(
            charts.along(explanation, known_loss),
            "Importance column by column." + intervals,
        )
    else:
        shown = shown_input(in_order(explanation)[0], "columns", None, 0)
        quantity = quantity_of(explanation)
        if known_loss is not None:
            shown = replace(shown, heat=known_loss.growth(shown.heat))
            quantity = known_loss.grown
        section.figure(picture(shown, quantity), "Importance column by column.")


#: Up to so many features are all drawn.
_DRAWN = 25
#: Bars of features that do not clearly matter and have less than this share of the
#: largest importance are left out, if they are at least so many.
_NEAR_ZERO = 0.03
_FEWEST_LEFT_OUT = 4


def bars_shown(standing: Standing) -> int | None:
    """Return how many features of the ranking have a bar (None: all)."""
    explanation = standing.explanation
    column = standing.column
    sizes = np.abs(np.nan_to_num(explanation.values[:, column]))
    order = choices.largest(sizes_of(explanation, column), None)
    clear = standing.tested or frozenset[str]()
    shown = 0
    for position, feature in enumerate(order, start=1):
        matters = explanation.names[feature] in clear
        if matters or sizes[feature] >= _NEAR_ZERO * sizes.max(initial=0):
            shown = position
    if shown > _DRAWN:
        return 15
    if len(order) - shown < _FEWEST_LEFT_OUT:
        return None
    return max(shown, 1)


def ranking(section: SectionView, content: PageContent, standing: Standing) -> None:
    """The ranking with intervals."""
    if not content.learnt:
        section.title = "What it uses, whatever it has learned"
    explanation = standing.explanation
    known_loss = content.loss
    by_path = content.parts_count  # else the paths are in Details
    chart = charts.ranking(
        standing,
        top_n=bars_shown(standing),
        loss=known_loss,
        by_path=by_path,
    )
    replaced = "shuffled: each row gets the value of another row"
    if known_loss is not None:
        unit_sentence = (
            f"The importance of a feature is how much the {known_loss.label} grows "
            f"when the feature is {replaced}. With all features it is "
            f"{number(known_loss.model)}, without any "
            f"{number(known_loss.constant)}. The model does not need a feature without "
            "which it stays the same. Features can back each other up, or need each "
            "other, so their numbers need not add up."
        )
        largest = float(np.nanmax(explanation.values[:, 0], initial=0))
        if known_loss.without(largest) > known_loss.constant:
            unit_sentence += (
                f" Above {number(known_loss.constant)} the model predicts worse than "
                "the constant, because it still relies "
                "on the feature, whose values are now wrong."
            )
    elif "loss" in str(explanation.meta.get("quantity", "")):
        unit_sentence = (
            "The importance of a feature is how much the model's loss grows, per row "
            "on average, when the feature is "
            f"{replaced}. 0 means that the model does not need it."
        )
    else:
        unit_sentence = f"The numbers are: {quantity_of(explanation)}."
    caption = (
        f"Importance: {chart.data['label']}. Whiskers are "
        f"{confidence_words(explanation)} intervals."
    )
    if by_path and len(explanation.parts) > 1:
        caption += " Colours show the branch of the effect, the dot their sum."
    if explanation.p_values is not None:
        caption += " Grey: does not clearly matter."
    picture_side, words_side = section.columns()
    picture_side.figure(chart, caption)
    words_side.text(
        unit_sentence,
        ""
        if known_loss is not None and known_loss.metric == "rmse"
        else unit_words(explanation),
        "" if content.refits is None else training_words(content.refits),
    )
    section.live("list")
    section.text(content.ask(nothing_together))


def one_by_one(section: SectionView, content: Assessment) -> None:
    """How predictions change with each feature, and what its values go along with in
    the data.
    """
    if content.cards is not None:
        section.live("card")


#: Lines of the table of changes, and its column of changes.
_MOST_CHANGES = 200
_CHANGE = 3
#: Letters of names that need little room.
_SHORT = 12


def changes(section: SectionView, content: PageContent, _: pd.DataFrame) -> None:
    """How far predictions change with each feature, as in ``effects.csv``."""
    told = changes_of(content)
    if told is None:
        return
    heads, *lines = texts_of_changes(content, told.head(_MOST_CHANGES))
    columns = []
    for position, head in enumerate(heads):
        cells = [line[position] for line in lines]
        kind: Kind = "short"
        if position == _CHANGE or (position == 0 and max(map(len, cells)) > _SHORT):
            kind = "text"
        column = names(cells, head, kind=kind)
        if position == _CHANGE:
            column = _on_one_line(column)
        columns.append(column)
    caption = EFFECTS_WORDS
    if len(told) > len(lines):
        where = "left out"
        if not content.in_python:
            where = "in effects.csv"
        caption += f" {len(told) - len(lines):,} further lines are {where}."
    section.table(table_of(caption, columns, sortable=False))


def _on_one_line(column: Column) -> Column:
    """Return a column whose intervals do not break over lines."""
    heading, kind, cells = column
    whole_cells = []
    for cell in cells:
        text = cell.text.replace(" to ", "\u00a0to\u00a0")
        whole_cells.append(replace(cell, text=text))
    return heading.replace("95 %", "95\u00a0%"), kind, whole_cells


def classes(section: SectionView, _: Assessment, explanation: Explanation) -> None:
    """The importance for each class."""
    if len(explanation.outputs) < 3:
        return
    if explanation.outputs[0] == "all":
        quantity = quantity_of(explanation)
        section.text(
            "Each column is the importance on the rows of that class only. The "
            f"numbers are: {quantity}."
        )
    section.figure(
        charts.classes(
            explanation, top_n=15 if len(explanation.names) > _DRAWN else None
        ),
        "Importance by class (columns) and feature (rows).",
    )


TAB = Tab(
    name="features",
    title="Features",
    sections=(
        ("drivers", "What it relies on", ranking, "standing"),
        ("along", "Along the columns", along, "explanation"),
        ("one-by-one", "One feature at a time", one_by_one),
        ("effects", "How predictions change", changes, "cards.changes"),
        ("paths", "Branch by branch", branches, "paths_count"),  # else see Details
        ("classes", "Class by class", classes, "explanation"),
        ("where", "Where in the inputs", where, "explanation"),
    ),
    halves=("effects", "paths", "classes", "where"),
    data=features_data,
    scripts=("panels.js", "photos.js", "locals.js", "features.js", "rows.js"),
)
