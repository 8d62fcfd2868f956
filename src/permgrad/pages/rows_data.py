"""Features and single rows as scripts read them: cards, columns, predictions and their
parts, pictures, words.
"""

from __future__ import annotations

import base64
import io
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from permgrad.assess.sections.rows import strongest_parts
from permgrad.attribution.maps.drawn import MAP_NAMES
from permgrad.attribution.subject.scales import words_of_unit
from permgrad.base.arrays import Array, Floats
from permgrad.base.errors import InputError
from permgrad.base.numerals import percent
from permgrad.base.sequences import positions_of
from permgrad.evaluation.cards import written
from permgrad.pages.content import PageContent
from permgrad.pages.drawn_inputs import displayable, shown_input, texts_of, words_of
from permgrad.pages.facts.feature_facts import leading
from permgrad.pages.findings import say
from permgrad.pages.pictures import shades
from permgrad.pages.sentences import left_texts
from permgrad.pages.standing import Standing
from permgrad.pages.views import packed
from permgrad.pages.words import (
    RANKS,
    clean,
    confidence_words,
    quantity_of,
    rank_texts,
)

if TYPE_CHECKING:
    from permgrad.assess.sections.cards import CardsSection
    from permgrad.assess.sections.rows import ListedSection, LocalRows
    from permgrad.attribution.explanation import Explanation

#: Columns of listed rows. Letters of all their texts together, and of each at least and
#: at most.
_COLUMNS = 60
_LETTERS = 300_000
_LEAST = 8
_MOST = 80
#: Pixels of a picture's longer side, and letters of all pictures together.
_PIXELS = 160
_PICTURES = 600_000
#: Rows and words of rows of text.
_TEXTS = 60
_WORDS = 300


def _started(text: str, letters: int) -> str:
    """Return the start of a text, with an ellipsis if there is more of it."""
    if len(text) <= letters:
        return text
    return f"{text[: letters - 1].rstrip()}…"


def rows_data(content: PageContent) -> dict[str, Any] | None:
    """Return the listed rows with all that is shown of each, or None without any."""
    listed = content.listed
    if listed is None or not len(listed.numbers):
        return None
    shares = listed.classes is not None
    share_code, truth_code = ("u1", "u2") if shares else ("f4", "f4")
    row_positions = {
        int(number): position
        for position, number in enumerate(np.asarray(listed.numbers).tolist())
    }
    # The others are divided by the page itself, see whatif.js.
    divided = set(np.asarray((content.what_if or {}).get("rows", ())).tolist())
    stored = dict(filter(lambda item: item[0] not in divided, row_positions.items()))
    data = _predictions(listed, content, truth_code)
    data |= {
        "columns": columns_data(
            listed.table.iloc[:, content.by_rank(listed.table.columns)[:_COLUMNS]],
            listed.groups,
            {photo_column.name: photo_column.small for photo_column in content.photos},
        ),
        "identifiers": []
        if listed.identifiers is None
        else columns_data(listed.identifiers),
        "parts": [
            part_data
            for local in listed.local
            if (part_data := _parts(local, listed, content, stored)) is not None
        ],
    }
    data |= {} if listed.called is None else {"called": packed(listed.called, "u2")}
    # What is inside cells: pictures, words and patches, each with its part of the
    # prediction.
    data |= _inside_cells(listed, content, row_positions)
    scored = (content.metrics or {}).get("intervals")
    if listed.inside is not None and scored:
        data["inside"] = packed(listed.inside, share_code)
        data["coverage"] = percent(scored["coverage"])
    if listed.similar is not None:
        data["similar"] = _similar(listed.similar, content, truth_code)
    return data


def _inside_cells(
    listed: ListedSection, content: PageContent, position_by_row: dict[int, int]
) -> dict[str, Any]:
    """Return the pictures, words and patches of the listed rows."""
    pictures, texts = _drawn(listed, content, position_by_row)
    texts += _texts(listed, content, position_by_row)
    return {
        "pictures": pictures,
        "texts": texts,
        "patches": list(_patches(listed, content, position_by_row)),
    }


def _predictions(
    listed: ListedSection, content: PageContent, kind: str
) -> dict[str, Any]:
    """Return the targets of the listed rows and what is predicted for them."""
    classes = None
    positive = None
    predicted = packed(listed.predicted)
    if listed.classes is not None:
        classes = list(map(clean, listed.classes))
        predicted = packed(np.asarray(listed.predicted) * 65535 + 0.5, "u2")
        if len(listed.classes) == 2:
            positive = content.positive_place(listed.classes)
    return {
        "target": clean(content.target),
        "classes": classes,
        "positive": positive,
        "of": listed.rows,
        "outputs": int(np.shape(listed.predicted)[1]),
        "numbers": np.asarray(listed.numbers),
        "random": packed(np.asarray(listed.random), "u1"),
        "truth": packed(np.asarray(listed.truth), kind),
        "predicted": predicted,
    }


def _similar(similar: Any, content: PageContent, kind: str) -> dict[str, Any]:
    """Return the training rows that are like the listed ones."""
    return {
        "searched": similar.searched,
        "of": similar.of,
        "near": packed(similar.near, "u2"),
        "distance": packed(similar.distance),
        "beside": packed(similar.beside, "u2"),
        "besideDistance": packed(similar.beside_distance),
        "numbers": np.asarray(similar.numbers),
        "truth": packed(similar.truth, kind),
        "columns": columns_data(
            similar.table.iloc[:, content.by_rank(similar.table.columns)]
        ),
    }


# ---- columns -------------------------------------------------------------------------
def columns_data(
    table: pd.DataFrame,
    groups: Mapping[str, Any] | None = None,
    photos: Mapping[str, Mapping[str, str]] | None = None,
) -> list[dict[str, Any]]:
    """Return columns with their names: ``values`` of numbers, or ``codes`` of
    ``levels`` (the last: missing).

    ``groups`` are those of the tab Trust: the code of each row and the names, by
    column. ``photos``: small images of levels, by column.
    """
    count = max(
        sum(not pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes), 1
    )
    columns: list[dict[str, Any]] = []
    for column_index, column_name in enumerate(table.columns):
        column = table.iloc[:, column_index]
        entry = dict[str, Any](name=clean(column_name))
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(
            column
        ):
            entry["values"] = numbers_data(column.to_numpy(np.float64, na_value=np.nan))
        else:
            texts = column.astype(object)
            codes, levels = pd.factorize(texts.where(texts.notna(), None))
            max_letters = min(
                _MOST, max(_LEAST, _LETTERS // count // max(len(levels), 1))
            )
            entry["levels"] = [
                _started(clean(written(level)), max_letters) for level in levels
            ]
            entry["codes"] = packed(np.where(codes < 0, len(levels), codes), "u2")
            if photos and column_name in photos:
                entry["photos"] = [
                    photos[column_name].get(str(level), "") for level in levels
                ]
                entry["levels"] = [
                    re.sub(r"^(image \w{6})\w{18}$", r"\1", level)
                    for level in entry["levels"]
                ]
        if groups and str(column_name) in groups:
            codes, names = groups[str(column_name)]
            entry["groups"] = {
                "names": list(map(clean, names)),
                "codes": packed(codes, "u2"),
            }
        columns.append(entry)
    return columns


def numbers_data(numbers: Floats) -> Any:
    """Return numbers in the smallest type that holds them: whole ones exactly, others
    with seven digits.
    """
    integers = bool(np.isfinite(numbers).all() and (numbers == np.round(numbers)).all())
    if not integers or not len(numbers):
        return packed(numbers)
    smallest = numbers.min()
    largest = numbers.max()
    for number_code, least, upper_bound in (
        ("u1", 0, 2**8),
        ("u2", 0, 2**16),
        ("i4", -(2**31), 2**31),
    ):
        if least <= smallest and largest < upper_bound:
            return packed(numbers, number_code)
    return list(map(int, numbers.tolist()))


# ---- parts of predictions ------------------------------------------------------------
def _parts(
    local: LocalRows,
    listed: ListedSection,
    content: PageContent,
    row_positions: Mapping[int, int],
) -> dict[str, Any] | None:
    """Return the strongest parts of the predictions of listed rows, and the sum of all
    others.
    """
    explanation = local.explanation
    pairs = [
        (local_index, row_positions[number], output)
        for local_index, number in enumerate(map(int, local.numbers))
        if number in row_positions
        for output in _outputs(
            explanation.outputs, listed, content, row_positions[number]
        )
    ]
    if not pairs or explanation.base_values is None:
        return None
    row_indices, listed_rows, outputs = np.array(pairs).T
    features, values, remaining_sum = strongest_parts(
        np.nan_to_num(explanation.values[row_indices, :, outputs])
    )
    base_values = np.broadcast_to(
        explanation.base_values, (len(explanation.values), len(explanation.outputs))
    )
    return {
        "method": clean(explanation.method).replace("_", " "),
        **{
            meta_key: clean(explanation.meta[meta_key])
            if explanation.meta.get(meta_key)
            else ""
            for meta_key in ("baseline", "unit")
        },
        "scale": words_of_unit(explanation.meta),
        "features": list(map(clean, explanation.names)),
        "outputs": list(map(clean, explanation.outputs)),
        "row": packed(listed_rows, "u2"),
        "output": packed(outputs, "u2"),
        "feature": packed(features, "u2"),
        "value": packed(values),
        "rest": packed(remaining_sum),
        "base": packed(base_values[row_indices, outputs]),
    }


def _outputs(
    outputs: Sequence[str], listed: ListedSection, content: PageContent, row_index: int
) -> list[int]:
    """Return the outputs shown of a row: the positive one of two classes, of more the
    predicted and the true one.
    """
    if listed.classes is None or len(outputs) < 2:
        return [0]
    if len(listed.classes) == 2:
        return [content.positive_place(outputs)]
    called_class = int(
        np.argmax(listed.predicted[row_index])
        if listed.called is None
        else listed.called[row_index]
    )
    names = []
    for class_code in dict.fromkeys([called_class, int(listed.truth[row_index])]):
        names.append(listed.classes[class_code])
    return [outputs.index(class_name) for class_name in names if class_name in outputs]


# ---- pictures and words --------------------------------------------------------------
def _drawn(
    listed: ListedSection, content: PageContent, row_positions: Mapping[int, int]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return rows' images, each with the picture that is laid over it, and the words of
    rows of text with their values.

    Row by row, until the images take too much room.
    """
    pictures: list[dict[str, Any]] = []
    texts: list[dict[str, Any]] = []
    room_left = _PICTURES
    sources = [*listed.local, *([] if listed.maps is None else [listed.maps])]
    longest = max((len(local.numbers) for local in sources), default=0)
    as_image = content.image_counts
    for local_index, local in itertools.product(range(longest), sources):
        if local_index < len(local.numbers):
            row_position = row_positions.get(int(local.numbers[local_index]))
        else:
            row_position = None
        if row_position is None:
            continue
        explanation = local.explanation
        input_maps = local.explanation.maps
        output = _outputs(explanation.outputs, listed, content, row_position)[0]
        inputs = []
        for map_name in input_maps:
            if map_name.startswith("images:") and input_maps[map_name].ndim in (3, 4):
                inputs.append(map_name.partition(":")[2])
        inputs = [
            input_name
            for input_name in inputs
            if {f"segments:{input_name}", f"maps:{input_name}"} & set(input_maps)
        ]
        drawn_row = as_image and {"cam", "images"} <= set(
            input_maps
        )  # the row as an image has no name
        for drawn_name in ["", *inputs] if drawn_row else inputs:
            picture = _picture(explanation, drawn_name, local_index, output)
            if picture is not None and room_left >= len(picture["image"]) + len(
                picture["over"]
            ):
                room_left -= len(picture["image"]) + len(picture["over"])
                pictures.append(
                    {
                        "row": row_position,
                        "name": clean(drawn_name or "the row as an image"),
                        **picture,
                    }
                )
        metas = (explanation.meta, *explanation.meta.get("by_input", {}).values())
        if len(texts) == _TEXTS or not any(
            input_meta.get("tokens") for input_meta in metas
        ):
            continue
        with suppress(InputError):  # its words are not among the features
            words, values = words_of(explanation, local_index, output)
            texts.append(
                {
                    "row": row_position,
                    "words": words[:_WORDS],
                    "values": values[:_WORDS],
                    "more": len(words) - _WORDS,
                }
            )
    return pictures, texts


def _texts(
    listed: ListedSection, content: PageContent, row_positions: Mapping[int, int]
) -> list[dict[str, Any]]:
    """Return the words of rows' texts with their parts of the prediction, as *What if*
    divides it.
    """
    texts: list[dict[str, Any]] = []
    if (
        content.words is None
        or (std_errors := content.words.explanation.std_error) is None
    ):
        return texts
    explanation = content.words.explanation
    for text_index, row_number in enumerate(content.words.numbers):
        if row_number not in row_positions:
            continue
        output, scale, about = _unit(
            explanation.outputs, listed, content, row_positions[row_number]
        )
        for column_name, (players, words) in texts_of(explanation, text_index).items():
            values = scale * explanation.values[text_index, players, output]
            shown = {
                "words": list(map(clean, words)),
                "values": values,
                "more": 0,
            }
            shown["error"] = scale * float(np.max(std_errors[text_index, :, output]))
            texts.append(
                {
                    "row": row_positions[row_number],
                    "name": clean(column_name),
                    "about": about,
                    **shown,
                }
            )
    return texts


class _RowUnit(NamedTuple):
    """What words and patches of a row speak of.

    Attributes:
        output: The position of the output.
        scale: What values are multiplied by.
        about: The name of the output.
    """

    output: int
    scale: float
    about: str


def _unit(
    outputs: Sequence[str], listed: ListedSection, content: PageContent, row_index: int
) -> _RowUnit:
    """Return the output that words and patches of a row speak of, what they are
    multiplied by, and its name.
    """
    output = _outputs(outputs, listed, content, row_index)[0]
    if listed.classes is None:
        return _RowUnit(output, 1.0, clean(f"the prediction of {content.target}"))
    return _RowUnit(
        output,
        100.0,
        clean(f"the probability of {outputs[output]} (percentage points)"),
    )


def _patches(
    listed: ListedSection, content: PageContent, row_positions: Mapping[int, int]
) -> Iterator[dict[str, Any]]:
    """Return the patches of rows' images with their parts of the prediction."""
    for column in content.photos:
        for row_key, patch_parts in column.parts.items():
            if (row_position := row_positions.get(int(row_key))) is not None:
                output, scale, about = _unit(
                    listed.classes or ["prediction"], listed, content, row_position
                )
                values = np.asarray(patch_parts)[:, output] * scale
                yield {
                    "row": row_position,
                    "name": clean(column.name),
                    "about": about,
                    "values": values[:-1],
                    "error": values[-1],
                }


def _picture(
    explanation: Explanation, name: str, row_index: int, output: int
) -> dict[str, Any] | None:
    """Return a row's image and its explanation as pictures, or None if the explanation
    is empty.
    """
    drawn = shown_input(explanation, name, row_index, output)
    if drawn.picture is None or drawn.sides != 2 or not np.nan_to_num(drawn.heat).any():
        return None
    heat_map = np.asarray(drawn.heat, dtype=np.float64)
    if heat_map.ndim == 3:
        heat_map = heat_map[0]
    largest_heat = float(np.nanmax(np.abs(heat_map)))
    if drawn.signed:
        colours = shades("diverging", (np.nan_to_num(heat_map) / largest_heat + 1) / 2)
        opacity = np.abs(np.nan_to_num(heat_map)) / largest_heat
        words = "Blue pushes the output up, orange down."
    else:
        share = np.clip(np.nan_to_num(heat_map) / largest_heat, 0, 1)
        colours = shades("heat", share)
        opacity = 0.15 + 0.85 * share
        words = "Bright parts support the output most."
    variant = MAP_NAMES.get(str(explanation.meta.get("variant", explanation.method)))
    method = variant or clean(explanation.method).replace("_", " ")
    image = displayable(drawn.picture)
    return {
        "image": _png(image),
        "over": _png(np.dstack([colours, opacity])),
        "method": method,
        "words": words,
    }


def _png(array: Array) -> str:
    """Return an image with values from 0 to 1 as PNG in base64, not larger than
    needed.
    """
    from PIL import Image

    pixels = (np.clip(array, 0, 1) * 255).round().astype(np.uint8)
    picture = Image.fromarray(pixels)
    picture.thumbnail((_PIXELS, _PIXELS))
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii")


#: Features in the script's list, and numbers of all curves together.
_LISTED = 5000
_NUMBERS = 60_000


def features_data(content: PageContent) -> dict[str, Any] | None:
    """Return the list of features and their cards, or None without an explanation."""
    standing = content.standing
    if standing is None:
        return None
    explanation = standing.explanation
    names = standing.names
    page_facts: dict[str, Any] = {
        "target": clean(content.target),
        "quantity": quantity_of(explanation),
        "confidence": confidence_words(explanation),
        "level": explanation.level,
        "ranks": RANKS.format(confidence=confidence_words(explanation)),
        "of": len(names),
        "list": _list(standing),
        "loss": None,
        "cards": [],
    }
    known_loss = content.loss
    if known_loss is not None:
        list_ = page_facts["list"]
        list_ |= {
            end_name: known_loss.growth(list_[end_name])
            for end_name in ("importance", "low", "high")
        }
        page_facts["loss"] = {
            "metric": known_loss.label,
            "model": known_loss.model,
            "constant": known_loss.constant,
        }
        page_facts["quantity"] = f"growth of the {known_loss.label}"
    if (stored := content.cards) is not None:
        # Of fewer rows where there are many numbers.
        numbers = sum(
            curves.shape[1] * curves.shape[2] for curves in stored.curves.values()
        )
        max_curves = max(8, _NUMBERS // max(numbers, 1))
        listed = (
            {}
            if content.listed is None
            else {
                int(row_number): position
                for position, row_number in enumerate(content.listed.numbers)
            }
        )
        page_facts["cards"] = _cards(
            stored,
            content,
            positions_of(names),
            max_curves,
        )
        page_facts["classes"] = (
            None if stored.classes is None else list(map(clean, stored.classes))
        )
        page_facts["rows"] = stored.rows
        page_facts["curveRows"] = [
            listed.get(int(number), -1)
            for number in list(stored.curve_rows)[:max_curves]
        ]
    return page_facts


def _list(standing: Standing) -> dict[str, Any]:
    """Return the columns of the list: importance over all rows, its interval and
    p-values, and by class.
    """
    explanation = standing.explanation
    listed_names = standing.names[:_LISTED]
    order = list(map(explanation.names.index, listed_names))
    lower_ends, upper_ends = (
        interval_ends[order, 0] for interval_ends in explanation.ci()
    )
    clear = set(standing.clear)
    by_class = len(explanation.outputs) > 2
    ranks = standing.ranks
    columns: dict[str, Any] = {
        "ranks": None if ranks is None else rank_texts(ranks),
        "name": list(map(clean, listed_names)),
        "importance": explanation.values[order, 0],
        "low": lower_ends,
        "high": upper_ends,
        "clear": [feature_name in clear for feature_name in listed_names],
        "outputs": list(map(clean, explanation.outputs[1:])) if by_class else [],
        "byClass": explanation.values[order, 1:] if by_class else [],
    }
    for column_name, p_values in (
        ("p", explanation.p_values),
        ("adjusted", explanation.p_adjusted),
    ):
        if p_values is None:
            columns[column_name] = None
        else:
            columns[column_name] = p_values[order, 0]
    return columns


def _cards(
    section: CardsSection,
    content: PageContent,
    feature_ranks: dict[str, int],
    most: int,
) -> list[dict[str, Any]]:
    """Return the cards by rank, with the curves of ``most`` rows, notes, and the
    features that each moves with.
    """
    notes = _notes_of(content)
    cards = []
    of_groups = len(
        feature_ranks
    )  # columns of groups are not in the list, and have the places after it
    for stored_card in map(
        section.cards.__getitem__,
        content.by_rank(feature_card["feature"] for feature_card in section.cards),
    ):
        feature = stored_card["feature"]
        card_facts = {}
        for fact_name, value in stored_card.items():
            if fact_name != "feature":
                card_facts[fact_name] = value
        card_facts |= {
            "name": clean(feature),
            "place": feature_ranks.get(feature, of_groups),
        }
        of_groups += feature not in feature_ranks
        if "label" in card_facts:
            card_facts["label"] = list(map(clean, card_facts["label"]))
        if "effects" in card_facts:
            card_facts["effects"] = [
                entry | {"level": clean(entry["level"])}
                for entry in card_facts["effects"]
            ]
        if "outcome" in card_facts:
            card_facts["outcome"] = [
                entry | {"level": clean(entry["level"])}
                for entry in card_facts["outcome"]
            ]
        if feature in section.curves:
            card_facts["curves"] = _packed_curves(section.curves[feature], most)
        if "mean" in card_facts:
            card_facts["most"] = most_moved(stored_card)
        if "leaves" in card_facts:
            card_facts["leaves"] = left_texts(
                stored_card, shares=section.classes is not None
            )
        card_facts["notes"] = list(map(clean, notes.get(feature, ())))
        card_facts["related"] = [
            clean(related_pair["other"])
            for related_pair in content.related
            if related_pair["feature"] == feature
        ][:8]
        cards.append(card_facts)
    return cards


def _notes_of(content: PageContent) -> dict[str, list[str]]:
    """Return the notes of each feature."""
    notes = {}
    for line in (content.reading or {}).get("features", ()):
        notes[line["feature"]] = line.get("notes", [])
    if (hint := content.ask(leading)) is not None:
        notes[hint["feature"]] = [
            say("noted", hint).strip(),
            *notes.get(hint["feature"], ()),
        ]
    return notes


def _packed_curves(of_rows: Any, most: int) -> dict[str, Any]:
    """Return the curves of some rows in 16-bit steps from the lowest to the highest."""
    curves = np.asarray(of_rows)[:most]
    low = 0.0
    high = 1.0
    if len(curves):
        low = float(curves.min())
        high = float(curves.max())
    steps = (curves - low) / (high - low or 1.0) * 65535
    return {"low": low, "high": high, **packed(steps.round(), "u2")}


def most_moved(card: Mapping[str, Any]) -> int:
    """Return the place of the class, of those of a card, whose probability the feature
    moves most.
    """
    return int(np.ptp(np.asarray(card["mean"], dtype=np.float64), axis=0).argmax())
