"""Features and single rows as scripts read them: cards, columns, predictions and their parts, pictures, words."""

from __future__ import annotations

import base64
import io
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from permgrad.assess.sections.rows import strongest_parts
from permgrad.attribution.explanation.explanation import clearly_matter
from permgrad.attribution.maps.drawn import MAP_NAMES
from permgrad.attribution.subject.scales import words_of_unit
from permgrad.base.arrays import Array, Floats
from permgrad.base.errors import InputError
from permgrad.base.numerals import number, percent
from permgrad.data.read.dates import date_text
from permgrad.evaluation.cards import written
from permgrad.pages.facts import leading
from permgrad.pages.findings import say
from permgrad.pages.inputs import displayable, shown_input, texts_of, words_of
from permgrad.pages.pictures import shades
from permgrad.pages.sentences import left_texts
from permgrad.pages.units import loss_without
from permgrad.pages.views import packed
from permgrad.pages.words import (
    RANKS,
    clean,
    confidence_words,
    quantity_of,
    rank_texts,
    shown_ranks,
    value_text,
)

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment
    from permgrad.assess.sections.cards import CardsSection
    from permgrad.assess.sections.rows import ListedSection, LocalRows
    from permgrad.attribution.explanation import Explanation

#: Columns of listed rows. Letters of all their texts together, and of each at least and at most.
_COLUMNS = 60
_LETTERS, _LEAST, _MOST = 300_000, 8, 80
#: Pixels of a picture's longer side, and letters of all pictures together.
_PIXELS, _PICTURES = 160, 600_000
#: Rows and words of rows of text.
_TEXTS, _WORDS = 60, 300


def rows_data(content: Assessment) -> dict[str, Any] | None:
    """Return the listed rows with all that is shown of each, or None without any."""
    listed = content.listed
    if listed is None or not len(listed.numbers):
        return None
    shares = listed.classes is not None
    code, kind = ("u1", "u2") if shares else ("f4", "f4")
    places = {
        int(number): place
        for place, number in enumerate(np.asarray(listed.numbers).tolist())
    }
    # The others are divided by the page itself, see whatif.js.
    divided = set(np.asarray((content.what_if or {}).get("rows", ())).tolist())
    stored = dict(filter(lambda item: item[0] not in divided, places.items()))
    data = _predictions(listed, content, kind)
    data |= {
        "columns": columns_data(
            listed.table.iloc[:, content.by_rank(listed.table.columns)[:_COLUMNS]],
            listed.groups,
            {one.name: one.small for one in content.photos},
        ),
        "identifiers": []
        if listed.identifiers is None
        else columns_data(listed.identifiers),
        "parts": [
            part
            for local in listed.local
            if (part := _parts(local, listed, content, stored)) is not None
        ],
    }
    data |= {} if listed.called is None else {"called": packed(listed.called, "u2")}
    # What is inside cells: pictures, words and patches, each with its part of the prediction.
    data |= _inside_cells(listed, content, places)
    scored = (content.metrics or {}).get("intervals")
    if listed.inside is not None and scored:
        data["inside"], data["coverage"] = (
            packed(listed.inside, code),
            percent(scored["coverage"]),
        )
    if listed.similar is not None:
        data["similar"] = _similar(listed.similar, content, kind)
    return data


def _inside_cells(
    listed: ListedSection, content: Assessment, places: dict[int, int]
) -> dict[str, Any]:
    """Return the pictures, words and patches of the listed rows."""
    pictures, texts = _drawn(listed, content, places)
    texts += _texts(listed, content, places)
    return {
        "pictures": pictures,
        "texts": texts,
        "patches": list(_patches(listed, content, places)),
    }


def _predictions(
    listed: ListedSection, content: Assessment, kind: str
) -> dict[str, Any]:
    """Return the targets of the listed rows and what is predicted for them."""
    classes = None
    positive = None
    predicted = packed(listed.predicted)
    if listed.classes is not None:
        classes = [clean(name) for name in listed.classes]
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


def _similar(similar: Any, content: Assessment, kind: str) -> dict[str, Any]:
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


# ---- columns ---------------------------------------------------------------------------------------------------------
def columns_data(
    table: pd.DataFrame,
    groups: Mapping[str, Any] | None = None,
    photos: Mapping[str, Mapping[str, str]] | None = None,
) -> list[dict[str, Any]]:
    """Return columns with their names: ``values`` of numbers, or ``codes`` of ``levels`` (the last: missing).

    ``groups`` are those of the tab Trust: the code of each row and the names, by column. ``photos``: small images of
    levels, by column.
    """
    count = max(
        sum(not pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes), 1
    )
    columns: list[dict[str, Any]] = []
    for place, name in enumerate(table.columns):
        column, entry = table.iloc[:, place], dict[str, Any](name=clean(name))
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(
            column
        ):
            entry["values"] = numbers_data(column.to_numpy(np.float64, na_value=np.nan))
        else:
            texts = column.astype(object)
            codes, levels = pd.factorize(texts.where(texts.notna(), None))
            most = min(_MOST, max(_LEAST, _LETTERS // count // max(len(levels), 1)))
            entry["levels"] = [clean(written(level))[:most] for level in levels]
            entry["codes"] = packed(np.where(codes < 0, len(levels), codes), "u2")
            if photos and name in photos:
                entry["photos"] = [photos[name].get(str(level), "") for level in levels]
                entry["levels"] = [
                    re.sub(r"^(image \w{6})\w{18}$", r"\1", level)
                    for level in entry["levels"]
                ]
        if groups and str(name) in groups:
            codes, names = groups[str(name)]
            entry["groups"] = {
                "names": [clean(word) for word in names],
                "codes": packed(codes, "u2"),
            }
        columns.append(entry)
    return columns


def numbers_data(numbers: Floats) -> Any:
    """Return numbers in the smallest type that holds them: whole ones exactly, others with seven digits."""
    integers = bool(np.isfinite(numbers).all() and (numbers == np.round(numbers)).all())
    if not integers or not len(numbers):
        return packed(numbers)
    low, high = numbers.min(), numbers.max()
    for kind, least, most in (
        ("u1", 0, 2**8),
        ("u2", 0, 2**16),
        ("i4", -(2**31), 2**31),
    ):
        if least <= low and high < most:
            return packed(numbers, kind)
    return [int(number) for number in numbers.tolist()]


# ---- parts of predictions --------------------------------------------------------------------------------------------
def _parts(
    local: LocalRows,
    listed: ListedSection,
    content: Assessment,
    places: Mapping[int, int],
) -> dict[str, Any] | None:
    """Return the strongest parts of the predictions of listed rows, and the sum of all others."""
    explanation = local.explanation
    pairs = [
        (place, places[number], output)
        for place, number in enumerate(map(int, local.numbers))
        if number in places
        for output in _outputs(explanation.outputs, listed, content, places[number])
    ]
    if not pairs or explanation.base_values is None:
        return None
    rows, at, outputs = np.array(pairs).T
    features, values, rest = strongest_parts(
        np.nan_to_num(explanation.values[rows, :, outputs])
    )
    base = np.broadcast_to(
        explanation.base_values, (len(explanation.values), len(explanation.outputs))
    )
    return {
        "method": clean(explanation.method).replace("_", " "),
        **{
            key: clean(explanation.meta[key]) if explanation.meta.get(key) else ""
            for key in ("baseline", "unit")
        },
        "scale": words_of_unit(explanation.meta),
        "features": [clean(name) for name in explanation.names],
        "outputs": [clean(name) for name in explanation.outputs],
        "row": packed(at, "u2"),
        "output": packed(outputs, "u2"),
        "feature": packed(features, "u2"),
        "value": packed(values),
        "rest": packed(rest),
        "base": packed(base[rows, outputs]),
    }


def _outputs(
    outputs: Sequence[str], listed: ListedSection, content: Assessment, place: int
) -> list[int]:
    """Return the outputs shown of a row: the positive one of two classes, of more the predicted and the true one."""
    if listed.classes is None or len(outputs) < 2:
        return [0]
    if len(listed.classes) == 2:
        return [content.positive_place(outputs)]
    best = int(
        np.argmax(listed.predicted[place])
        if listed.called is None
        else listed.called[place]
    )
    names = [
        listed.classes[code] for code in dict.fromkeys([best, int(listed.truth[place])])
    ]
    return [outputs.index(name) for name in names if name in outputs]


# ---- pictures and words ----------------------------------------------------------------------------------------------
def _drawn(
    listed: ListedSection, content: Assessment, places: Mapping[int, int]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return rows' images, each with the picture that is laid over it, and the words of rows of text with their values.

    Row by row, until the images take too much room.
    """
    pictures: list[dict[str, Any]] = []
    texts: list[dict[str, Any]] = []
    room, sources = (
        _PICTURES,
        [*listed.local, *([] if listed.maps is None else [listed.maps])],
    )
    longest, as_image = (
        max((len(local.numbers) for local in sources), default=0),
        content.image_counts,
    )
    for place, local in itertools.product(range(longest), sources):
        row = (
            places.get(int(local.numbers[place]))
            if place < len(local.numbers)
            else None
        )
        if row is None:
            continue
        explanation, maps = local.explanation, local.explanation.maps
        output = _outputs(explanation.outputs, listed, content, row)[0]
        inputs = [
            key.partition(":")[2]
            for key in maps
            if key.startswith("images:") and maps[key].ndim in (3, 4)
        ]
        inputs = [
            name for name in inputs if {f"segments:{name}", f"maps:{name}"} & set(maps)
        ]
        drawn_row = as_image and {"cam", "images"} <= set(
            maps
        )  # the row as an image has no name
        for name in ["", *inputs] if drawn_row else inputs:
            picture = _picture(explanation, name, place, output)
            if picture is not None and room >= len(picture["image"]) + len(
                picture["over"]
            ):
                room -= len(picture["image"]) + len(picture["over"])
                pictures.append(
                    {
                        "row": row,
                        "name": clean(name or "the row as an image"),
                        **picture,
                    }
                )
        metas = (explanation.meta, *explanation.meta.get("by_input", {}).values())
        if len(texts) == _TEXTS or not any(meta.get("tokens") for meta in metas):
            continue
        with suppress(InputError):  # its words are not among the features
            words, values = words_of(explanation, place, output)
            texts.append(
                {
                    "row": row,
                    "words": words[:_WORDS],
                    "values": values[:_WORDS],
                    "more": len(words) - _WORDS,
                }
            )
    return pictures, texts


def _texts(
    listed: ListedSection, content: Assessment, places: Mapping[int, int]
) -> list[dict[str, Any]]:
    """Return the words of rows' texts with their parts of the prediction, as *What if* divides it."""
    texts: list[dict[str, Any]] = []
    if content.words is None or (std := content.words.explanation.std_error) is None:
        return texts
    explanation = content.words.explanation
    for at, row in enumerate(content.words.numbers):
        if row not in places:
            continue
        output, scale, about = _unit(explanation.outputs, listed, content, places[row])
        for name, (players, words) in texts_of(explanation, at).items():
            values = scale * explanation.values[at, players, output]
            shown = {
                "words": [clean(word) for word in words],
                "values": values,
                "more": 0,
            }
            shown["error"] = scale * float(np.max(std[at, :, output]))
            texts.append(
                {"row": places[row], "name": clean(name), "about": about, **shown}
            )
    return texts


def _unit(
    outputs: Sequence[str], listed: ListedSection, content: Assessment, place: int
) -> tuple[int, float, str]:
    """Return the output that words and patches of a row speak of, what they are multiplied by, and its name."""
    output = _outputs(outputs, listed, content, place)[0]
    if listed.classes is None:
        return output, 1.0, clean(f"the prediction of {content.target}")
    return (
        output,
        100.0,
        clean(f"the probability of {outputs[output]} (percentage points)"),
    )


def _patches(
    listed: ListedSection, content: Assessment, places: Mapping[int, int]
) -> Iterator[dict[str, Any]]:
    """Return the patches of rows' images with their parts of the prediction."""
    for column in content.photos:
        for key, parts in column.parts.items():
            if (row := places.get(int(key))) is not None:
                output, scale, about = _unit(
                    listed.classes or ["prediction"], listed, content, row
                )
                values = np.asarray(parts)[:, output] * scale
                yield {
                    "row": row,
                    "name": clean(column.name),
                    "about": about,
                    "values": values[:-1],
                    "error": values[-1],
                }


def _picture(
    explanation: Explanation, name: str, place: int, output: int
) -> dict[str, Any] | None:
    """Return a row's image and its explanation as pictures, or None if the explanation is empty."""
    drawn = shown_input(explanation, name, place, output)
    if drawn.picture is None or drawn.sides != 2 or not np.nan_to_num(drawn.heat).any():
        return None
    heat = np.asarray(drawn.heat, dtype=np.float64)
    heat = heat[0] if heat.ndim == 3 else heat
    top = float(np.nanmax(np.abs(heat)))
    if drawn.signed:
        colours, opacity = (
            shades("diverging", (np.nan_to_num(heat) / top + 1) / 2),
            np.abs(np.nan_to_num(heat)) / top,
        )
        words = "Blue pushes the output up, orange down."
    else:
        share = np.clip(np.nan_to_num(heat) / top, 0, 1)
        colours, opacity = shades("heat", share), 0.15 + 0.85 * share
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
    """Return an image with values from 0 to 1 as PNG in base64, not larger than needed."""
    from PIL import Image

    pixels = (np.clip(array, 0, 1) * 255).round().astype(np.uint8)
    picture = Image.fromarray(pixels)
    picture.thumbnail((_PIXELS, _PIXELS))
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii")


#: Features in the script's list, and numbers of all curves together.
_LISTED, _NUMBERS = 5000, 60_000


def features_data(content: Assessment) -> dict[str, Any] | None:
    """Return the list of features and their cards, or None without an explanation."""
    explanation = content.explanation
    if explanation is None:
        return None
    order = [explanation.names.index(name) for name in explanation.ranking()]
    names = [explanation.names[place] for place in order]
    data: dict[str, Any] = {
        "target": clean(content.target),
        "quantity": quantity_of(explanation),
        "confidence": confidence_words(explanation),
        "level": explanation.level,
        "ranks": RANKS.format(confidence=confidence_words(explanation)),
        "of": len(names),
        "list": _list(explanation, order[:_LISTED]),
        "loss": None,
        "cards": [],
    }
    if (loss := loss_without(explanation.meta, content.metrics or {})) is not None:
        list_ = data["list"]
        list_ |= {end: loss.growth(list_[end]) for end in ("importance", "low", "high")}
        data["loss"] = {
            "metric": loss.label,
            "model": loss.model,
            "constant": loss.constant,
        }
        data["quantity"] = f"growth of the {loss.label}"
    if (stored := content.cards) is not None:
        # Of fewer rows where there are many numbers.
        numbers = sum(
            curves.shape[1] * curves.shape[2] for curves in stored.curves.values()
        )
        most = max(8, _NUMBERS // max(numbers, 1))
        listed = (
            {}
            if content.listed is None
            else {int(row): at for at, row in enumerate(content.listed.numbers)}
        )
        data["cards"] = _cards(
            stored, content, {name: place for place, name in enumerate(names)}, most
        )
        data["classes"] = (
            None if stored.classes is None else [clean(name) for name in stored.classes]
        )
        data["rows"] = stored.rows
        data["curveRows"] = [
            listed.get(int(number), -1) for number in list(stored.curve_rows)[:most]
        ]
    return data


def _list(explanation: Explanation, order: list[int]) -> dict[str, Any]:
    """Return the columns of the list: importance over all rows, its interval and p-values, and by class."""
    low, high = (end[order, 0] for end in explanation.ci())
    clear = set(clearly_matter(explanation))
    by_class = len(explanation.outputs) > 2
    ranks = shown_ranks(explanation)
    columns: dict[str, Any] = {
        "ranks": None if ranks is None else rank_texts(ranks),
        "name": [clean(explanation.names[place]) for place in order],
        "importance": explanation.values[order, 0],
        "low": low,
        "high": high,
        "clear": [explanation.names[place] in clear for place in order],
        "outputs": [clean(name) for name in explanation.outputs[1:]]
        if by_class
        else [],
        "byClass": explanation.values[order, 1:] if by_class else [],
    }
    for name, p_values in (
        ("p", explanation.p_values),
        ("adjusted", explanation.p_adjusted),
    ):
        columns[name] = None if p_values is None else p_values[order, 0]
    return columns


def _cards(
    section: CardsSection, content: Assessment, places: dict[str, int], most: int
) -> list[dict[str, Any]]:
    """Return the cards by rank, with the curves of ``most`` rows, notes, and the features that each moves with."""
    notes = _notes_of(content)
    cards = []
    of_groups = len(
        places
    )  # columns of groups are not in the list, and have the places after it
    for one in map(
        section.cards.__getitem__,
        content.by_rank(card["feature"] for card in section.cards),
    ):
        feature = one["feature"]
        card = {name: value for name, value in one.items() if name != "feature"}
        card |= {"name": clean(feature), "place": places.get(feature, of_groups)}
        of_groups += feature not in places
        if "label" in card:
            card["label"] = [clean(text) for text in card["label"]]
        if "effects" in card:
            card["effects"] = [
                entry | {"level": clean(entry["level"])} for entry in card["effects"]
            ]
        if "outcome" in card:
            card["outcome"] = [
                entry | {"level": clean(entry["level"])} for entry in card["outcome"]
            ]
        if feature in section.curves:
            card["curves"] = _packed_curves(section.curves[feature], most)
        if "mean" in card:
            card["most"] = most_moved(one)
        if "leaves" in card:
            card["leaves"] = left_texts(one, shares=section.classes is not None)
        card["notes"] = [clean(note) for note in notes.get(feature, ())]
        card["related"] = [
            clean(pair["other"])
            for pair in content.related
            if pair["feature"] == feature
        ][:8]
        cards.append(card)
    return cards


def _notes_of(content: Assessment) -> dict[str, list[str]]:
    """Return the notes of each feature."""
    notes = {
        line["feature"]: line.get("notes", [])
        for line in (content.reading or {}).get("features", ())
    }
    if (hint := leading(content)) is not None:
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
    """Return the place of the class, of those of a card, whose probability the feature moves most."""
    return int(np.ptp(np.asarray(card["mean"], dtype=np.float64), axis=0).argmax())


def effect_lines(content: Assessment, most: int = 5) -> list[list[str]]:
    """Return a table: what predictions are at both ends of the curves of the first features, as charts draw them.

    Of several classes, the one is shown that a feature moves most.
    """
    explanation, stored = content.explanation, content.cards
    if explanation is None or stored is None or not content.learnt:
        return []
    cards = {card["feature"]: card for card in stored.cards if "ale" in card}
    classes = stored.classes or ()
    lines = [
        _effect_line(cards[name], classes)
        for name in clearly_matter(explanation)
        if name in cards
    ][:most]
    of = "probabilities" if classes else "predictions"
    of += f" of {classes[0]}" if len(classes) == 1 else ""
    head = [
        "Feature",
        "Value",
        f"Mean effect ({of})",
        "Local effect with 95 % intervals",
    ]
    return [head, *lines] if lines else []


def _effect_line(card: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
    """Return what is written of one card: its name, both ends, the mean effect and the local one."""
    means, spots, write = (
        np.asarray(card["mean"]),
        card["ale"]["at"],
        percent if classes else number,
    )
    output = most_moved(card)
    axis = card["at"] if card["numeric"] else np.arange(len(means))
    ends = [0, len(axis) - 1]
    if card.get("said"):  # a day ends as it began
        ends = [int(means[:, output].argmin()), int(means[:, output].argmax())]
    # Where both curves are drawn.
    at = np.array([axis[end] for end in ends], dtype=np.float64).clip(
        spots[0], spots[-1]
    )
    curves = (
        np.array(card["ale"][key], dtype=np.float64)[:, output]
        for key in ("mean", "low", "high")
    )
    local = [np.interp(at, spots, curve) for curve in curves]
    say = date_text if card["dates"] else value_text
    named = (
        map(say, at)
        if card["numeric"]
        else (card["label"][round(place)] for place in at)
    )
    if card.get("said"):
        named = (card["label"][end] for end in ends)
    name = card["feature"] + (f" (class {classes[output]})" if len(classes) > 1 else "")
    single = map(write, np.interp(at, axis, means[:, output]))
    local_ends = [
        f"{write(mean)} ({write(low)} to {write(high)})"
        for mean, low, high in zip(*local, strict=True)
    ]
    return [name, *(" → ".join(both) for both in (named, single, local_ends))]
