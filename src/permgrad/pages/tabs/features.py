"""The tab Features: what the model relies on, feature by feature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from permgrad.base.errors import option_of
from permgrad.base.numerals import number, numbers, percent
from permgrad.models.images import PATCHES
from permgrad.pages.charts import explained as charts
from permgrad.pages.rows_data import features_data
from permgrad.pages.sentences import dominant_words, left_texts
from permgrad.pages.tabs.along import along
from permgrad.pages.tabs.details import branches
from permgrad.pages.tabs.rows import where
from permgrad.pages.tabs.together import nothing_together
from permgrad.pages.units import BEYOND_ALL, advantage, error_without, in_shares
from permgrad.pages.views import (
    Mark,
    SectionView,
    Tab,
    TableView,
    as_count,
    figures_of,
    frame_table,
    intervals_of,
    names,
    table_of,
)
from permgrad.pages.words import (
    RANKS,
    clean,
    confidence_words,
    p_text,
    quantity_of,
    rank_texts,
    shorten,
    shown_ranks,
    training_words,
    unit_words,
)

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment
    from permgrad.assess.sections.cards import CardsSection
    from permgrad.attribution.explanation import Explanation

#: Up to so many features are all drawn. Of these many, values have a table on paper where they have no curve.
_DRAWN, _BESIDE = 25, 3
#: Classes whose mean probabilities are printed.
_CLASSES = 4
#: Words, or levels, that are printed at each end.
_WORDS = 5


def ranking(section: SectionView, content: Assessment, explanation: Explanation) -> None:
    """The ranking with intervals."""
    if not content.learnt:
        section.title = "What it uses, whatever it has learned"
    measured, in_loss = content.metrics or {}, explanation
    replaced = "shuffled: each row gets the value of another row"
    if (whole := advantage(explanation.meta, measured)) is not None:
        explanation = in_shares(explanation, whole)
        beyond = f" {BEYOND_ALL}" * bool(np.nanmax(explanation.values[:, 0], initial=0) > 100)
        unit = (
            "The advantage of the model is what it has learned: how much lower its loss is than that of a constant. "
            f"The importance of a feature is the part of the advantage that is lost when the feature is {replaced}. "
            "0\u00a0% means that the model does not need it. The numbers "
            f"need not add up to 100\u00a0%: features can back each other up, or need each other.{beyond}"
        )
    elif "loss" in str(explanation.meta.get("quantity", "")):
        unit = (
            "The importance of a feature is how much the model's loss grows, per row on average, when the feature is "
            f"{replaced}. 0 means that the model does not need it."
        )
    else:
        unit = f"The numbers are: {quantity_of(explanation)}."
    caption = f"Importance: {quantity_of(explanation)}. Whiskers are {confidence_words(explanation)} intervals."
    if not content.image_counts:  # the paths are in Details
        explanation = replace(explanation, parts={}, part_std={})
    if len(explanation.parts) > 1:
        caption += " Colours show the path of the effect, the dot their sum."
    if explanation.p_values is not None:
        caption += " Grey: does not clearly matter."
    section.figure(charts.ranking(explanation, top_n=15 if len(explanation.names) > _DRAWN else None), caption)
    section.text(
        unit,
        unit_words(in_loss),
        "" if content.refits is None else training_words(content.refits),
    )
    with section.live("list"):
        section.table(ranking_table(explanation, error_without(in_loss, measured) if whole else None, whole or 1.0))
        if whole is not None:
            section.table(ranking_table(in_loss), f"In units of the loss: {quantity_of(in_loss)}")
    section.text(nothing_together(content))


def one_by_one(section: SectionView, content: Assessment) -> None:
    """How predictions change with each feature, and what its values go along with in the data."""
    explanation, stored = _without_texts(content), content.cards
    directed = explanation is not None and bool(explanation.direction)
    if not (directed or (content.reading or {}).get("features") or content.cards):
        return
    with section.live("card"):
        if explanation is not None and directed:
            section.text(
                "Importance has no sign. Each panel sets one feature of every row to a quantile or a level, in the "
                "table and in the image together, and shows the mean prediction."
            )
            section.figure(charts.direction(explanation), "Mean prediction by feature value, on one scale.")
        beside_the_data(section, content)
        if not directed and not (content.reading or {}).get("features") and content.cards is not None:
            _on_paper(section, content.cards)
        if stored is not None:
            left = (left_texts(card, shares=stored.classes is not None) for card in stored.cards if "leaves" in card)
            section.items(list(dict.fromkeys(words for texts in left for words in texts[:_CLASSES])))
        if stored is not None and explanation is not None:
            for card in (card for card in stored.cards if card["feature"] in explanation.clearly_matter()):
                section.table(effects_table(card, stored.classes))


def _without_texts(content: Assessment) -> Explanation | None:
    """Return the explanation without the directions of texts, which are no places on an axis."""
    explanation, stored = content.explanation, content.cards
    texts = [card["feature"] for card in (() if stored is None else stored.cards) if card.get("words")]
    if explanation is None or not texts:
        return explanation
    shown = {name: curve for name, curve in (explanation.direction or {}).items() if name not in texts}
    return replace(explanation, direction=shown)


def _on_paper(section: SectionView, stored: CardsSection) -> None:
    """Add the mean predictions of the strongest features, where nothing else stands without JavaScript."""
    drawn = [card for card in stored.cards if "mean" in card][:_BESIDE]
    if not drawn:
        section.text("The features are made of several columns, so there is no single value to change.")
    for card in drawn:
        means = np.asarray(card["mean"])
        moved = np.sort(np.argsort(means.min(axis=0) - means.max(axis=0), kind="stable")[:_CLASSES])
        what, labels = ("prediction", ["prediction"]) if stored.classes is None else ("probability", stored.classes)
        write: Callable[[float], str] = number if stored.classes is None else percent
        columns = [figures_of(clean(labels[k]), means[:, k], write) for k in moved]
        signed = card["numeric"] and not card["dates"]
        values = [label.replace("-", "−") if signed else label for label in card["label"]]
        caption = f"The mean {what} if only {clean(card['feature'])} is set to a value, and all else stays as it is."
        caption += f" The {_CLASSES} classes that change most." * (len(labels) > _CLASSES)
        section.table(table_of(caption, [names(values, "value"), *columns], sortable=False))


def effects_table(card: Mapping[str, Any], classes: Sequence[str] | None) -> TableView:
    """List the words, or levels, with the largest effects either way, of many classes those that raise them."""
    lines = []
    for at, name in enumerate(classes or [""]):
        clear = [one for one in card.get("effects", ()) if one["clear"][at] or not card["words"]]
        order = sorted(clear, key=lambda one: -one["effect"][at])
        ends = [*order[:_WORDS], *(order[_WORDS:][-_WORDS:] if len(classes or ()) < _CLASSES else ())]
        lines += [
            [
                name,
                f"row {one['level'] // PATCHES + 1}, column {one['level'] % PATCHES + 1}"
                if "picture" in card
                else shorten(one["level"], 80),
                *(one[key][at] for key in ("effect", "low", "high")),
                one["rows"],
            ]
            for one in ends
        ]
    what, rows = ("word", "test rows that have it") if card.get("words") else ("level", "training rows")
    if "picture" in card:
        what, rows = "place", "test rows"
    frame = pd.DataFrame(lines, columns=["class", what, "effect", "interval from", "to", "rows"])
    caption = (
        f"{clean(card['feature'])}: the mean {'probability' if classes else 'prediction'} with a {what} minus that "
    )
    less = {"word": "without it", "place": "with it covered", "level": "with a level never seen"}[what]
    caption += f"{less}, with 95\u00a0% intervals and {rows}."
    return frame_table(frame if classes else frame.drop(columns="class"), caption)


def ranking_table(
    explanation: Explanation, without: Callable[[float], float] | None = None, whole: float = 1.0
) -> TableView:
    """List every feature with its interval and parts.

    ``without`` returns the RMSE without a feature. The explanation is then in per cent of the advantage ``whole``.
    """
    order = [explanation.names.index(name) for name in explanation.ranking()]
    low, high = (end[order, 0] for end in explanation.ci())
    ranked, clear = [explanation.names[at] for at in order], explanation.clearly_matter()
    marks: list[Mark] = ["best" if name in clear else "" for name in ranked]
    values = {name: part[order, 0] for name, part in {"importance": explanation.values, **explanation.parts}.items()}
    raw = explanation.values[order, 0].tolist()
    spoken = {clean(name).replace("_", " "): part for name, part in values.items()}
    importance, *parts = (figures_of(name, part, numbers(part)) for name, part in spoken.items())
    ranks = shown_ranks(explanation)
    tests = {"p": explanation.p_values, "adjusted\u00a0p": explanation.p_adjusted}
    columns = [
        figures_of("rank", range(1, len(order) + 1), as_count if ranks is None else rank_texts(ranks), "quiet"),
        names(ranked, explanation.level, marks),
        importance,
        *([] if without is None else [figures_of("RMSE without it", [without(v * whole / 100) for v in raw], number)]),
        intervals_of(low, high, level=confidence_words(explanation)),
        *(figures_of(name, [None] * len(order) if p is None else p[order, 0], p_text) for name, p in tests.items()),
        *parts,
    ]
    marked = " Bold: clearly matters (adjusted p below 0.05)." if clear else ""
    marked += "" if ranks is None else f" {RANKS.format(confidence=confidence_words(explanation))}"
    if "others_replaced" in explanation.parts:
        marked += " Others replaced: the importance while all other inputs are replaced as well."
    caption = f"All {len(order)} {explanation.level}s, the most important first. Click a heading to sort.{marked}"
    return table_of(caption, columns)


def classes(section: SectionView, content: Assessment, explanation: Explanation) -> None:
    """The importance for each class."""
    if len(explanation.outputs) < 3:
        return
    if (whole := advantage(explanation.meta, content.metrics or {})) is not None:
        explanation = in_shares(explanation, whole)
    if explanation.outputs[0] == "all":
        unit = quantity_of(explanation)
        section.text(
            f"Each column is the importance on the rows of that class only. The numbers are: {unit}"
            f"{', which is that over all rows' if whole is not None else ''}."
        )
    section.figure(
        charts.classes(explanation, top_n=15 if len(explanation.names) > _DRAWN else None),
        "Importance by class (columns) and feature (rows).",
    )


def beside_the_data(section: SectionView, content: Assessment) -> None:
    """Values, mean outcome and mean attribution of the most important features, and where the last two disagree."""
    stored = content.reading
    if not stored or not stored.get("features"):
        return
    label = stored.get("class")  # of more than two classes, one whose importances on its rows are comparable
    whose = "" if label is None else f" for class {clean(label)} (on its rows)"
    section.add("heading", "Compared with the raw data")
    section.text(
        f"For the most important features{whose}: the distribution of the feature's values over the "
        f"{stored['rows']:,} test rows, the {clean(stored['outcome'])} at each value (that of all rows is "
        f"{number(stored['overall'])}), and the {clean(stored['attribution'])}. Baseline: {clean(stored['baseline'])}.",
        "An attribution is what the model does with a value, given all others. It is not a cause. A raw mean also "
        "contains the effects of everything related to the feature. Where they disagree, both can be right.",
    )
    hint, explanation = stored.get("leakage"), content.explanation
    if hint and explanation is not None:
        drop = f" To run without it, add {option_of('--drop', hint['feature'])} and another --out."
        section.text(dominant_words(hint, explanation.names) + drop * (not content.in_python))
    heads = {"level": "value", "rows": "rows", "outcome": clean(stored["outcome"]), "deviation": "±"}
    heads |= {"attribution": "mean attribution", "attribution_error": "± "}
    for entry in stored["features"]:
        frame = pd.DataFrame(entry["levels"], columns=list(heads)).rename(columns=heads)
        section.add("heading", clean(entry["feature"]))
        section.table(frame_table(frame, f"{clean(entry['feature'])}, value by value. ±: standard error."))
        section.items(entry["notes"])


TAB = Tab(
    name="features",
    title="Features",
    sections=(
        ("drivers", "What it relies on", ranking, "explanation"),
        ("along", "Along the columns", along, "explanation"),
        ("one-by-one", "One feature at a time", one_by_one),
        ("paths", "Table or image", branches, "paths_count"),  # else see Details
        ("classes", "Class by class", classes, "explanation"),
        ("where", "Where in the inputs", where, "explanation"),
    ),
    data=features_data,
    scripts=("panels.js", "photos.js", "locals.js", "features.js", "rows.js"),
)
