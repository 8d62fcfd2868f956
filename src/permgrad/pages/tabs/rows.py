"""The tab Rows: why the model predicts what it predicts for single rows, and what it
predicts of changed ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from permgrad.attribution.subject.scales import words_of_unit
from permgrad.base.sequences import values_at
from permgrad.pages.charts.explained import SWARM_ROWS, UNORDERED, steps, swarm
from permgrad.pages.choices import pick_output
from permgrad.pages.content import PageContent
from permgrad.pages.drawn_inputs import noun_of, shown_input, shown_inputs
from permgrad.pages.pictures import picture
from permgrad.pages.pictures import words as text_words
from permgrad.pages.rows_data import rows_data
from permgrad.pages.sentences import map_words
from permgrad.pages.units import output_words
from permgrad.pages.views import SectionView, Tab
from permgrad.pages.words import clean, quantity_of

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment
    from permgrad.assess.sections.rows import RowSection
    from permgrad.attribution.explanation import Explanation
    from permgrad.pages.views import SectionView

_IMAGE = "image"


def row_pictures(row: RowSection) -> list[tuple[Any, str]]:
    """Return the inputs of a row on the colours of its attributions, its images also
    with their activation maps.
    """
    pictures = []
    local = row.explanation
    output = pick_output(local, row.output)
    words = output_words(local, "prediction", output)
    about = f"What moves the {words} up (blue) and down (orange), over the"
    sides = (
        [(local, about)]
        if row.maps is None
        else [(local, about), (row.maps, "Grad-CAM, over the")]
    )
    for explanation, caption_start in sides:
        for input_name in shown_inputs(explanation):
            heat_map = explanation.maps.get(f"maps:{input_name}")
            if not input_name or (
                heat_map is not None and not np.any(heat_map[row.row])
            ):
                # the image of a hybrid network, or no part of the input supports any
                # output
                continue
            noun = noun_of(explanation, input_name)
            drawn = shown_input(explanation, input_name, row.row, output)
            pictures.append(
                (
                    picture(drawn, quantity_of(explanation)),
                    f"{caption_start} {noun} {input_name}.",
                )
            )
    if local.meta.get("tokens") is not None:
        token_kind = (
            "tokens" if local.meta["tokens"].get("players") == "tokens" else "words"
        )
        caption_start = (
            f"The {token_kind} of the row. Blue moves the {words} up, orange down."
        )
        pictures.append((text_words(local, row.row, output), caption_start))
    return pictures


def where(section: SectionView, _: Assessment, main: Explanation) -> None:
    """Where in its inputs the model finds what it relies on: a ranking of segments,
    drawn on the mean of each input.
    """
    for input_name in shown_inputs(main):
        if f"images:{input_name}" not in main.maps:
            continue
        title = f"Where in {input_name}"
        drawn = f"Mean of {input_name}, and the importance of each part."
        section_text = (
            "The numbers of the ranking, drawn on the mean of the explained rows."
        )
        if noun_of(main, input_name) == _IMAGE:
            title = f"Where in the images: {input_name}"
            drawn = (
                f"Left: mean of the images in {input_name}. Right: importance of "
                "each patch."
            )
            section_text = (
                "The numbers of the ranking, drawn on the mean image of the explained "
                "rows. If one patch is shuffled, its neighbours can make up for it. "
                "All patches together can therefore matter far more than the sum "
                "suggests."
            )
        section.add("heading", clean(title))
        section.text(section_text)
        shown = shown_input(main, input_name, None, 0)
        section.figure(picture(shown, quantity_of(main)), clean(drawn))


def single_rows(section: SectionView, content: Assessment) -> None:
    """Single rows: all that are listed, else a few."""
    if not content.rows and content.listed is None:
        return
    if content.words is None:
        of_words = []
    else:
        of_words = list(content.words.numbers)
    if of_words:
        row_list = ", ".join(map(str, sorted(of_words)))
        section.text(
            f"What each word of a text does is shown for {len(of_words)} rows: "
            f"{row_list}."
        )
    of_patches = sorted(
        {int(number) for column in content.photos for number in column.parts}
    )
    if of_patches:
        row_list = ", ".join(map(str, of_patches))
        section.text(
            f"What each patch of an image does is shown for {len(of_patches)} rows: "
            f"{row_list}."
        )
    if content.image_counts and any(
        shown_row.heat is not None for shown_row in content.rows
    ):
        section.text(map_words(content.paths))
    if content.listed is not None:
        section.live("explorer")
        return
    for printed_row in content.rows:
        _draw_row(section, content, printed_row)


def _draw_row(section: SectionView, content: Assessment, row: RowSection) -> None:
    """Draw one row: what moves its prediction, and its words and pictures."""
    section.add("heading", clean(row.title))
    section.text(clean(row.text) if row.text else "")
    output, label, words = _shown(content, row.explanation, row.output)
    method = clean(row.explanation.method).replace("_", " ").capitalize()
    if method == "Shapley":
        method = "Shapley values"
    section.figure(
        steps(row.explanation, row=row.row, output=output, label=label),
        f"{method} from the baseline's {label} (top) to this row's (bottom).{words}",
        side_by_side=True,
    )
    for drawn, caption in row_pictures(row):
        section.figure(drawn, clean(caption), side_by_side=True)


def all_rows(section: SectionView, content: Assessment, local: Explanation) -> None:
    """Many rows in one plot."""
    output, label, words = _shown(content, local, None)
    count = min(len(local.values), SWARM_ROWS)
    row_count = (content.metrics or {}).get("rows", {}).get("test")
    if isinstance(row_count, int) and row_count > count:
        count_words = f"{count:,} of the {row_count:,}"
    else:
        count_words = f"the {count:,}"
    text_side, figure_side = section, section
    if content.what_if is None:  # nothing stands beside this section
        text_side, figure_side = section.columns()
    text_side.text(
        f"Each point is one of {count_words} test rows. Right: the feature moves this "
        f"row's {label} up, compared with the baseline. Left: down.{words}"
    )
    chart = swarm(local, output=output, label=f"part of the {label}")
    shades = np.unique(chart.data["shades"])
    caption = f"What each feature adds to the {label} in {count_words} test rows."
    if shades.min(initial=UNORDERED) < UNORDERED:
        caption += " Colour is the feature's value."
        if UNORDERED in shades:
            caption += " Grey ones have no order or are missing."
    figure_side.figure(chart, caption)


class _ShownOutput(NamedTuple):
    """The output whose attributions are shown.

    Attributes:
        output: Its position.
        label: Its name.
        words: On the baseline and the unit of its attributions.
    """

    output: int
    label: str
    words: str


def _shown(content: Assessment, explanation: Explanation, output: Any) -> _ShownOutput:
    """Return the output shown, its name, and words on the baseline and the unit of its
    attributions.

    Of two classes it is the positive one, as everywhere on the page.
    """
    if content.task.has_classes and len(explanation.outputs) == 2:
        output_index = content.positive_place(explanation.outputs)
    else:
        output_index = pick_output(explanation, output)
    baseline = explanation.meta.get("baseline")
    if isinstance(baseline, str) and baseline:
        words = f" Baseline: {clean(baseline)}."
    else:
        words = ""
    words += words_of_unit(explanation.meta)
    return _ShownOutput(
        output_index, output_words(explanation, content.target, output_index), words
    )


def what_if(
    section: SectionView, content: Assessment, stored: Mapping[str, Any]
) -> None:
    """Say what the panel does in which a row's values are changed, or why there is
    none.
    """
    if "form" not in stored:
        call_sentence = (
            "pg.counterfactuals and the command permgrad counterfactuals "
            "find what would have to differ in a row."
        )
        section.text(
            clean(stored["reason"]),
            "The curves of the tab Features show what single changes do. "
            f"{call_sentence}",
        )
        return
    count = len(stored["rows"])
    if content.listed is None:
        listed = 0
    else:
        listed = len(content.listed.numbers)
    if 0 < count < listed:
        which = "They are listed by “can be changed” under “Show”. "
    else:
        which = ""
    further_words = (
        "“What would have to differ?” searches for few changes with which "
        "the prediction is another one. "
    )
    further_words += "Click a word of a text to take it out. " * bool(
        stored.get("texts")
    )
    further_words += "Click a patch of an image to cover it." * bool(
        stored.get("photos")
    )
    section.text(
        "Choose a row above, open “What if?” and change its values. You see at once "
        f"how the prediction changes, and what it comes from. {count:,} of the test "
        f"rows can be changed. {which}This needs JavaScript. The trained "
        f"{content.noun} is inside this page, so nothing leaves your computer. All "
        "other values stay as they are, also where values usually change together.",
        further_words,
    )


# ---- the script ----------------------------------------------------------------------
def live_data(content: PageContent) -> Mapping[str, Any] | None:
    """Return what the script needs: the listed rows, and the model that predicts
    changed ones.
    """
    listed_data = rows_data(content)
    if content.what_if is None:
        return listed_data
    classes = [] if content.predictions is None else content.predictions.classes
    shown: dict[str, Any] = {
        **content.what_if,
        "positive": content.positive_place(classes) if len(classes) == 2 else None,
    }
    if (columns := shown.get("columns")) is not None:
        shown["columns"] = values_at(
            columns, content.by_rank(column["name"] for column in columns)
        )
    return {**(listed_data or {}), "whatIf": shown}


TAB = Tab(
    name="rows",
    title=lambda content: (
        "Rows & what if" if (content.what_if or {}).get("form") else "Rows"
    ),
    sections=(
        ("single-rows", "Row by row", single_rows),
        ("what-if", "What if", what_if, "what_if"),
        ("all-rows", "Many rows at once", all_rows, "local"),
    ),
    halves=("what-if", "all-rows"),
    data=live_data,
    scripts=(
        "panels.js",
        "photos.js",
        "features.js",
        "rows.js",
        "layers.js",
        "network.js",
        "shares.js",
        "alternatives.js",
        "whatif.js",
    ),
)
