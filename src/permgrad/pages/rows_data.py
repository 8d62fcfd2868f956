"""Single rows as the page's scripts read them: columns, predictions, parts of predictions, pictures, words."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from permgrad.attribution.maps.drawn import MAP_NAMES
from permgrad.base.arrays import Array, Floats
from permgrad.base.errors import InputError
from permgrad.base.numerals import percent
from permgrad.evaluation.cards import written
from permgrad.evaluation.listing import strongest_parts
from permgrad.pages import style
from permgrad.pages.page_data import packed
from permgrad.pages.plots._inputs import shown_input
from permgrad.pages.plots.image import displayable
from permgrad.pages.plots.text import words_of
from permgrad.pages.units import scale_words
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
    truth = np.asarray(listed.truth)
    places = {int(number): place for place, number in enumerate(np.asarray(listed.numbers).tolist())}
    data: dict[str, Any] = {
        "target": clean(content.target),
        "classes": None if listed.classes is None else [clean(name) for name in listed.classes],
        "positive": content.positive_place(listed.classes) if listed.classes and len(listed.classes) == 2 else None,
        "of": listed.rows,
        "outputs": int(np.shape(listed.predicted)[1]),
        "numbers": np.asarray(listed.numbers),
        "random": packed(np.asarray(listed.random), "u1"),
        "truth": packed(truth, "u2" if shares else "f4"),
        "predicted": packed(np.asarray(listed.predicted) * 65535 + 0.5, "u2") if shares else packed(listed.predicted),
        "columns": _grouped(listed.table.iloc[:, content.by_rank(listed.table.columns)[:_COLUMNS]], listed),
        "identifiers": [] if listed.identifiers is None else columns_data(listed.identifiers),
        "parts": [part for local in listed.local if (part := _parts(local, listed, content, places)) is not None],
        "pictures": _pictures(listed, content, places),
        "texts": _texts(listed, content, places),
    }
    scored = (content.metrics or {}).get("intervals")
    if listed.inside is not None and scored:
        data["inside"], data["coverage"] = packed(listed.inside, "u1" if shares else "f4"), percent(scored["coverage"])
    if listed.similar is not None:
        similar = listed.similar
        columns = columns_data(similar.table.iloc[:, content.by_rank(similar.table.columns)])
        data["similar"] = {**_similar(similar, shares=shares), "columns": columns}
    return data


# ---- columns ---------------------------------------------------------------------------------------------------------
def columns_data(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return columns with their names: ``values`` of numbers, or ``codes`` of ``levels`` (the last: missing)."""
    count = max(sum(not pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes), 1)
    columns: list[dict[str, Any]] = []
    for place, name in enumerate(table.columns):
        column = table.iloc[:, place]
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            columns.append({"name": clean(name), "values": numbers_data(column.to_numpy(np.float64, na_value=np.nan))})
            continue
        texts = column.astype(object)
        codes, levels = pd.factorize(texts.where(texts.notna(), None))
        most = min(_MOST, max(_LEAST, _LETTERS // count // max(len(levels), 1)))
        words = [clean(written(level))[:most] for level in levels]
        codes = np.where(codes < 0, len(words), codes)
        columns.append({"name": clean(name), "levels": words, "codes": packed(codes, "u2")})
    return columns


def _grouped(table: pd.DataFrame, listed: ListedSection) -> list[dict[str, Any]]:
    """Return listed columns with the groups of the tab Trust."""
    columns = columns_data(table)
    for name, column in zip(table.columns, columns, strict=True):
        if str(name) in listed.groups:
            codes, names = listed.groups[str(name)]
            column["groups"] = {"names": [clean(word) for word in names], "codes": packed(codes, "u2")}
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
        for output in _outputs(explanation, listed, content, places[number])
    ]
    if not pairs or explanation.base_values is None:
        return None
    rows, at, outputs = np.array(pairs).T
    features, values, rest = strongest_parts(np.nan_to_num(explanation.values[rows, :, outputs]))
    base = np.broadcast_to(explanation.base_values, (len(explanation.values), len(explanation.outputs)))
    return {
        "method": clean(explanation.method).replace("_", " "),
        **{key: clean(explanation.meta[key]) if explanation.meta.get(key) else "" for key in ("baseline", "unit")},
        "scale": scale_words(explanation),
        "features": [clean(name) for name in explanation.names],
        "outputs": [clean(name) for name in explanation.outputs],
        "row": packed(at, "u2"),
        "output": packed(outputs, "u2"),
        "feature": packed(features, "u2"),
        "value": packed(values),
        "rest": packed(rest),
        "base": packed(base[rows, outputs]),
    }


def _outputs(explanation: Explanation, listed: ListedSection, content: Assessment, place: int) -> list[int]:
    """Return the outputs shown of a row: the positive one of two classes, of more the predicted and the true one."""
    if listed.classes is None or len(explanation.outputs) < 2:
        return [0]
    if len(listed.classes) == 2:
        return [content.positive_place(explanation.outputs)]
    best = int(np.argmax(listed.predicted[place]))
    names = [listed.classes[code] for code in dict.fromkeys([best, int(listed.truth[place])])]
    return [explanation.outputs.index(name) for name in names if name in explanation.outputs]


# ---- rows like it ----------------------------------------------------------------------------------------------------
def _similar(similar: SimilarRows, *, shares: bool) -> dict[str, Any]:
    return {
        "searched": similar.searched,
        "of": similar.of,
        "near": packed(similar.near, "u2"),
        "distance": packed(similar.distance),
        "beside": packed(similar.beside, "u2"),
        "besideDistance": packed(similar.beside_distance),
        "numbers": np.asarray(similar.numbers),
        "truth": packed(similar.truth, "u2" if shares else "f4"),
    }


# ---- pictures --------------------------------------------------------------------------------------------------------
def _pictures(listed: ListedSection, content: Assessment, places: Mapping[int, int]) -> list[dict[str, Any]]:
    """Return rows' images, each with the picture that is laid over it, until they take too much room."""
    pictures: list[dict[str, Any]] = []
    room = _PICTURES
    for local, place, row in _explained(listed, places):
        for name in picture_inputs(local.explanation, layouts=content.image_counts):
            output = _outputs(local.explanation, listed, content, row)[0]
            picture = _picture(local.explanation, name, place, output)
            if picture is None or room < len(picture["image"]) + len(picture["over"]):
                continue
            room -= len(picture["image"]) + len(picture["over"])
            pictures.append({"row": row, "name": clean(name or "the row as an image"), **picture})
    return pictures


def _explained(listed: ListedSection, places: Mapping[int, int]) -> Iterator[tuple[LocalRows, int, int]]:
    """Yield explanations with a row's place in them and in the list, row by row."""
    sources = [*listed.local, *([] if listed.maps is None else [listed.maps])]
    for place in range(max((len(local.numbers) for local in sources), default=0)):
        for local in sources:
            if place < len(local.numbers) and int(local.numbers[place]) in places:
                yield local, place, places[int(local.numbers[place])]


def picture_inputs(explanation: Explanation, *, layouts: bool) -> list[str]:
    """Return the image inputs of an explanation. ``layouts``: also the row drawn as an image, by the empty name."""
    named = [key.partition(":")[2] for key in explanation.maps if key.startswith("images:")]
    named = [name for name in named if explanation.maps[f"images:{name}"].ndim in (3, 4)]
    shown = [name for name in named if {f"segments:{name}", f"maps:{name}"} & set(explanation.maps)]
    return [*([""] if layouts and {"cam", "images"} <= set(explanation.maps) else []), *shown]


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


# ---- words -----------------------------------------------------------------------------------------------------------
def _texts(listed: ListedSection, content: Assessment, places: Mapping[int, int]) -> list[dict[str, Any]]:
    """Return the words of rows of text with their values."""
    texts: list[dict[str, Any]] = []
    for local, place, row in _explained(listed, places):
        output = _outputs(local.explanation, listed, content, row)[0]
        try:
            words, values = words_of(local.explanation, place, output)
        except InputError:  # it has no words
            continue
        if len(texts) < _TEXTS:
            texts.append({"row": row, "words": words[:_WORDS], "values": values[:_WORDS], "more": len(words) - _WORDS})
    return texts


def positions(numbers: Sequence[int], listed: ListedSection | None) -> list[int]:
    """Return the positions of rows in the list by their numbers, −1 for others."""
    if listed is None:
        return [-1] * len(numbers)
    places = {int(number): place for place, number in enumerate(np.asarray(listed.numbers).tolist())}
    return [places.get(int(number), -1) for number in numbers]
