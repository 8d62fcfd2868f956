"""Single rows as the page's scripts read them: columns, predictions, parts of predictions, pictures, words."""

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

from permgrad.attribution.maps.drawn import MAP_NAMES
from permgrad.base import style
from permgrad.base.arrays import Array, Floats
from permgrad.base.errors import InputError
from permgrad.base.numerals import percent
from permgrad.evaluation.cards import written
from permgrad.evaluation.listing import strongest_parts
from permgrad.pages.page_data import packed
from permgrad.pages.plots._inputs import shown_input
from permgrad.pages.plots.image import displayable
from permgrad.pages.plots.text import texts_of, words_of
from permgrad.pages.units import SCALES
from permgrad.pages.words import clean

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment
    from permgrad.assess.sections.rows import ListedSection, LocalRows, SimilarRows
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
    truth = np.asarray(listed.truth)
    places = {int(number): place for place, number in enumerate(np.asarray(listed.numbers).tolist())}
    # The others are divided by the page itself, see whatif.js.
    divided = set(np.asarray((content.what_if or {}).get("rows", ())).tolist())
    stored = dict(filter(lambda item: item[0] not in divided, places.items()))
    data: dict[str, Any] = {
        "target": clean(content.target),
        "classes": None if listed.classes is None else [clean(name) for name in listed.classes],
        "positive": content.positive_place(listed.classes or ()) if len(listed.classes or ()) == 2 else None,
        "of": listed.rows,
        "outputs": int(np.shape(listed.predicted)[1]),
        "numbers": np.asarray(listed.numbers),
        "random": packed(np.asarray(listed.random), "u1"),
        "truth": packed(truth, kind),
        "predicted": packed(np.asarray(listed.predicted) * 65535 + 0.5, "u2") if shares else packed(listed.predicted),
        "columns": columns_data(
            listed.table.iloc[:, content.by_rank(listed.table.columns)[:_COLUMNS]],
            listed.groups,
            {one.name: one.small for one in content.photos},
        ),
        "identifiers": [] if listed.identifiers is None else columns_data(listed.identifiers),
        "parts": [part for local in listed.local if (part := _parts(local, listed, content, stored)) is not None],
    }
    data |= {} if listed.called is None else {"called": packed(listed.called, "u2")}
    # What is inside cells: pictures, words and patches, each with its part of the prediction.
    pictures, texts = _drawn(listed, content, places)
    texts += _texts(listed, content, places)
    data |= {"pictures": pictures, "texts": texts, "patches": list(_patches(listed, content, places))}
    scored = (content.metrics or {}).get("intervals")
    if listed.inside is not None and scored:
        data["inside"], data["coverage"] = packed(listed.inside, code), percent(scored["coverage"])
    if listed.similar is not None:
        data["similar"] = _similar(listed.similar, content, kind)
    return data


def _similar(similar: SimilarRows, content: Assessment, kind: str) -> dict[str, Any]:
    """Return rows like the listed ones. ``kind``: the type of their truth."""
    return {
        "searched": similar.searched,
        "of": similar.of,
        "near": packed(similar.near, "u2"),
        "distance": packed(similar.distance),
        "beside": packed(similar.beside, "u2"),
        "besideDistance": packed(similar.beside_distance),
        "numbers": np.asarray(similar.numbers),
        "truth": packed(similar.truth, kind),
        "columns": columns_data(similar.table.iloc[:, content.by_rank(similar.table.columns)]),
    }


# ---- columns ---------------------------------------------------------------------------------------------------------
def columns_data(
    table: pd.DataFrame, groups: Mapping[str, Any] | None = None, photos: Mapping[str, Mapping[str, str]] | None = None
) -> list[dict[str, Any]]:
    """Return columns with their names: ``values`` of numbers, or ``codes`` of ``levels`` (the last: missing).

    ``groups`` are those of the tab Trust: the code of each row and the names, by column. ``photos``: small images of
    levels, by column.
    """
    count = max(sum(not pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes), 1)
    columns: list[dict[str, Any]] = []
    for place, name in enumerate(table.columns):
        column, entry = table.iloc[:, place], dict[str, Any](name=clean(name))
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            entry["values"] = numbers_data(column.to_numpy(np.float64, na_value=np.nan))
        else:
            texts = column.astype(object)
            codes, levels = pd.factorize(texts.where(texts.notna(), None))
            most = min(_MOST, max(_LEAST, _LETTERS // count // max(len(levels), 1)))
            entry["levels"] = [clean(written(level))[:most] for level in levels]
            entry["codes"] = packed(np.where(codes < 0, len(levels), codes), "u2")
            if photos and name in photos:
                entry["photos"] = [photos[name].get(str(level), "") for level in levels]
                entry["levels"] = [re.sub(r"^(image \w{6})\w{18}$", r"\1", level) for level in entry["levels"]]
        if groups and str(name) in groups:
            codes, names = groups[str(name)]
            entry["groups"] = {"names": [clean(word) for word in names], "codes": packed(codes, "u2")}
        columns.append(entry)
    return columns


def numbers_data(numbers: Floats) -> Any:
    """Return numbers in the smallest type that holds them: whole ones exactly, others with seven digits."""
    integers = bool(np.isfinite(numbers).all() and (numbers == np.round(numbers)).all())
    if not integers or not len(numbers):
        return packed(numbers)
    low, high = numbers.min(), numbers.max()
    for kind, least, most in (("u1", 0, 2**8), ("u2", 0, 2**16), ("i4", -(2**31), 2**31)):
        if least <= low and high < most:
            return packed(numbers, kind)
    return [int(number) for number in numbers.tolist()]


# ---- parts of predictions --------------------------------------------------------------------------------------------
def _parts(
    local: LocalRows, listed: ListedSection, content: Assessment, places: Mapping[int, int]
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
    features, values, rest = strongest_parts(np.nan_to_num(explanation.values[rows, :, outputs]))
    base = np.broadcast_to(explanation.base_values, (len(explanation.values), len(explanation.outputs)))
    return {
        "method": clean(explanation.method).replace("_", " "),
        **{key: clean(explanation.meta[key]) if explanation.meta.get(key) else "" for key in ("baseline", "unit")},
        "scale": SCALES.get(str(explanation.meta.get("unit")), ""),
        "features": [clean(name) for name in explanation.names],
        "outputs": [clean(name) for name in explanation.outputs],
        "row": packed(at, "u2"),
        "output": packed(outputs, "u2"),
        "feature": packed(features, "u2"),
        "value": packed(values),
        "rest": packed(rest),
        "base": packed(base[rows, outputs]),
    }


def _outputs(outputs: Sequence[str], listed: ListedSection, content: Assessment, place: int) -> list[int]:
    """Return the outputs shown of a row: the positive one of two classes, of more the predicted and the true one."""
    if listed.classes is None or len(outputs) < 2:
        return [0]
    if len(listed.classes) == 2:
        return [content.positive_place(outputs)]
    best = int(np.argmax(listed.predicted[place]) if listed.called is None else listed.called[place])
    names = [listed.classes[code] for code in dict.fromkeys([best, int(listed.truth[place])])]
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
    room, sources = _PICTURES, [*listed.local, *([] if listed.maps is None else [listed.maps])]
    longest = max((len(local.numbers) for local in sources), default=0)
    for place, local in itertools.product(range(longest), sources):
        row = places.get(int(local.numbers[place])) if place < len(local.numbers) else None
        if row is None:
            continue
        explanation, maps = local.explanation, local.explanation.maps
        output = _outputs(explanation.outputs, listed, content, row)[0]
        inputs = [key.partition(":")[2] for key in maps if key.startswith("images:") and maps[key].ndim in (3, 4)]
        inputs = [name for name in inputs if {f"segments:{name}", f"maps:{name}"} & set(maps)]
        drawn_row = content.image_counts and {"cam", "images"} <= set(maps)  # the row as an image has no name
        for name in ["", *inputs] if drawn_row else inputs:
            picture = _picture(explanation, name, place, output)
            if picture is not None and room >= len(picture["image"]) + len(picture["over"]):
                room -= len(picture["image"]) + len(picture["over"])
                pictures.append({"row": row, "name": clean(name or "the row as an image"), **picture})
        metas = (explanation.meta, *explanation.meta.get("by_input", {}).values())
        if len(texts) == _TEXTS or not any(meta.get("tokens") for meta in metas):
            continue
        with suppress(InputError):  # its words are not among the features
            words, values = words_of(explanation, place, output)
            texts.append({"row": row, "words": words[:_WORDS], "values": values[:_WORDS], "more": len(words) - _WORDS})
    return pictures, texts


def _texts(listed: ListedSection, content: Assessment, places: Mapping[int, int]) -> list[dict[str, Any]]:
    """Return the words of rows' texts with their parts of the prediction, as *What if* divides it."""
    texts: list[dict[str, Any]] = []
    if content.words is None or (std := content.words.explanation.std) is None:
        return texts
    explanation = content.words.explanation
    for at, number in enumerate(content.words.numbers):
        if number not in places:
            continue
        output, scale, about = _unit(explanation.outputs, listed, content, places[number])
        for name, (players, words) in texts_of(explanation, at).items():
            values = scale * explanation.values[at, players, output]
            shown = {"words": [clean(word) for word in words], "values": values, "more": 0}
            shown["error"] = scale * float(np.max(std[at, :, output]))
            texts.append({"row": places[number], "name": clean(name), "about": about, **shown})
    return texts


def _unit(outputs: Sequence[str], listed: ListedSection, content: Assessment, place: int) -> tuple[int, float, str]:
    """Return the output that words and patches of a row speak of, what they are multiplied by, and its name."""
    output = _outputs(outputs, listed, content, place)[0]
    if listed.classes is None:
        return output, 1.0, clean(f"the prediction of {content.target}")
    return output, 100.0, clean(f"the probability of {outputs[output]} (percentage points)")


def _patches(listed: ListedSection, content: Assessment, places: Mapping[int, int]) -> Iterator[dict[str, Any]]:
    """Return the patches of rows' images with their parts of the prediction."""
    for column in content.photos:
        for number, parts in column.parts.items():
            if (row := places.get(int(number))) is not None:
                output, scale, about = _unit(listed.classes or ["prediction"], listed, content, row)
                values = np.asarray(parts)[:, output] * scale
                yield {
                    "row": row,
                    "name": clean(column.name),
                    "about": about,
                    "values": values[:-1],
                    "error": values[-1],
                }


def _picture(explanation: Explanation, name: str, place: int, output: int) -> dict[str, Any] | None:
    """Return a row's image and its explanation as pictures, or None if the explanation is empty."""
    drawn = shown_input(explanation, name, place, output)
    if drawn.picture is None or drawn.sides != 2 or not np.nan_to_num(drawn.heat).any():
        return None
    heat = np.asarray(drawn.heat, dtype=np.float64)
    heat = heat[0] if heat.ndim == 3 else heat
    top = float(np.nanmax(np.abs(heat)))
    if drawn.signed:
        colours = style.colour_map("diverging")((np.nan_to_num(heat) / top + 1) / 2)
        colours[..., 3] = np.abs(np.nan_to_num(heat)) / top
        words = "Blue pushes the output up, orange down."
    else:
        colours = style.colour_map("heat")(np.clip(np.nan_to_num(heat) / top, 0, 1))
        colours[..., 3] = 0.15 + 0.85 * np.clip(np.nan_to_num(heat) / top, 0, 1)
        words = "Bright parts support the output most."
    variant = MAP_NAMES.get(str(explanation.meta.get("variant", explanation.method)))
    method = variant or clean(explanation.method).replace("_", " ")
    image = displayable(drawn.picture)
    return {"image": _png(image), "over": _png(colours), "method": method, "words": words}


def _png(array: Array) -> str:
    """Return an image with values from 0 to 1 as PNG in base64, not larger than needed."""
    from PIL import Image

    pixels = (np.clip(array, 0, 1) * 255).round().astype(np.uint8)
    picture = Image.fromarray(pixels)
    picture.thumbnail((_PIXELS, _PIXELS))
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii")
