"""Columns of images: each image small, and what its patches and the places of all images do."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from permgrad.assess.budget import REPORT, SHOWN_ROWS
from permgrad.assess.store import storable
from permgrad.assess.work import Work
from permgrad.attribution.explain import explain
from permgrad.attribution.wide import place_effects
from permgrad.base.arrays import Array, Floats32
from permgrad.base.errors import keeping_warnings
from permgrad.data.image_table import opened_image, read_image
from permgrad.data.read.image_cells import source_of
from permgrad.models.images.features import PATCHES

#: Pixels of the longer side of a small image, and signs that all of a column may take.
_PIXELS, _SIGNS = 96, 1_500_000
#: Rows whose patches can be covered, and seconds for that and for dividing predictions among patches.
_COVERED, _SECONDS = 40, 30.0
#: Orders in which patches and features join.
_ORDERS = 192
#: Images of which the mean is drawn, and of which examples are chosen. Examples at each end.
_MEAN_OF, _EXAMPLES = 200, 3


@storable
@dataclass(kw_only=True)
class PhotoColumn:
    """Images of listed rows, as the model reads them, in 4 × 4 patches, row by row.

    ``small``: JPEGs in base64 by cell. ``covered`` ``(rows, patches, scores)``: the scores of the images of rows with
    ``numbers`` if one patch is covered. ``parts`` ``(rows, patches, outputs)``: what each patch adds to the outputs of
    rows with ``part_numbers``, with the largest standard ``error`` of each.
    """

    name: str
    small: Mapping[str, str]
    numbers: Sequence[int]
    covered: npt.NDArray[np.floating]
    part_numbers: Sequence[int]
    parts: npt.NDArray[np.floating]
    error: npt.NDArray[np.floating]


def photo_columns(work: Work) -> list[str]:
    """Return the columns of images that the model reads."""
    encoder = work.model.encoder
    return (
        [] if encoder is None else [one for one in encoder.schema_.of_kind("image") if one in encoder.scores_.columns]
    )


def photos(work: Work) -> None:
    """Fill ``photos``: the images of listed rows, those of explained rows first."""
    names, listed = photo_columns(work), work.content.listed
    if not names or listed is None:
        return
    place = {number: at for at, number in enumerate(work.explained.numbers.tolist())}
    first = [place[number] for number in listed.numbers.tolist()]
    places = np.array(list(dict.fromkeys([*work.explained_places.tolist(), *work.drawn.tolist(), *first])))
    rows = work.explained.take(places[np.isin(places, first)])
    in_time, found = _limit(work, _SECONDS), {}
    for name in names:
        texts, index = work.model.encoder.texts_of(rows.inputs.table, name)  # type: ignore[union-attr]
        found[name] = {"texts": texts, "index": index, "covered": [], "parts": [], "error": []}
    for at in range(min(len(rows), SHOWN_ROWS)):
        if in_time() and any(one["index"][at] >= 0 for one in found.values()):
            _divide(work, rows.take(np.array([at])), found)
    for at in range(min(len(rows), _COVERED)):
        for name, one in found.items():
            if in_time() and one["index"][at] >= 0:
                scores = covered_scores(work.model.encoder, name, one["texts"][one["index"][at]])
                one["covered"].append((int(rows.numbers[at]), scores))
    work.put(photos=[_column(work, name, one) for name, one in found.items()])


def _limit(work: Work, seconds: float) -> Callable[[], bool]:
    """Return what says whether there is time left for more."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() < end and work.budget.clock.left() > REPORT


def _divide(work: Work, row: Any, found: Mapping[str, Any]) -> None:
    """Add the parts that the patches of a row have in its prediction."""
    with keeping_warnings():
        explanation = explain(
            work.model.model, row.inputs, level="part", method="shapley", output="probability", progress=False,
            random_state=work.budget.seed, exact=0, tolerance=0, max_permutations=_ORDERS,
        )  # fmt: skip
    for name, one in found.items():
        at = [place for place, whose in enumerate(explanation.modality) if whose == name]
        if len(at) == PATCHES**2:
            one["parts"].append((int(row.numbers[0]), explanation.values[0, at]))
            one["error"].append(explanation.std[0, at].max(axis=0))


def covered_scores(encoder: Any, name: str, cell: str) -> Floats32:
    """Return the scores of an image ``(patches, scores)`` with one patch covered."""
    return encoder.scores_.of(name, encoder.images_.covered(name, cell, ~np.eye(PATCHES**2, dtype=bool)))


def _column(work: Work, name: str, one: Mapping[str, Any]) -> PhotoColumn:
    small, room = dict[str, str](), _SIGNS
    for cell in (one["texts"][at] for at in one["index"].tolist() if at >= 0):
        if cell not in small and room > 0:
            small[str(cell)] = made = picture(_small(work, name, cell))
            room -= len(made)
    numbers, covered = zip(*one["covered"], strict=True) if one["covered"] else ((), np.zeros((0, PATCHES**2, 1)))
    part_numbers, parts = zip(*one["parts"], strict=True) if one["parts"] else ((), np.zeros((0, PATCHES**2, 1)))
    return PhotoColumn(
        name=name,
        small=small,
        numbers=list(numbers),
        covered=np.asarray(covered, dtype=np.float32),
        part_numbers=list(part_numbers),
        parts=np.asarray(parts),
        error=np.asarray(one["error"]),
    )


def _small(work: Work, name: str, cell: str) -> Array:
    """Return an image in the frame in which the model sees it ``(height, width, channels)``, not larger than needed."""
    column = work.model.encoder.images_.columns[name]  # type: ignore[union-attr]
    factor = min(1.0, _PIXELS / max(column.height, column.width))
    height, width = (max(1, round(side * factor)) for side in (column.height, column.width))
    return np.moveaxis(read_image(source_of(cell), column.channels, height, width, framed=True), 0, -1)


def picture(pixels: Array) -> str:
    """Return an image ``(height, width, channels)`` of 0 … 255 as JPEG in base64."""
    stream = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.save(stream, format="JPEG", quality=85)
    return base64.b64encode(stream.getvalue()).decode("ascii")


# ---- all images of a column ------------------------------------------------------------------------------------------
def places_of(work: Work, rows: Any, name: str, related: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a card shows of a column of images.

    Where all have one size, the ``table`` of ``place_effects`` and the mean image, ``picture``. Else ``examples``: of
    each class, or of large numbers, the images that speak most and least for it.
    """
    encoder: Any = work.model.encoder
    texts, index = encoder.texts_of(rows.inputs.table, name)
    cells = [texts[at] for at in dict.fromkeys(index[index >= 0].tolist())][:_MEAN_OF]
    sizes = set()
    for cell in cells:
        with opened_image(source_of(cell)) as image:
            sizes.add(image.size)
    if len(sizes) == 1 and _limit(work, _SECONDS)():
        mean = np.mean([_small(work, name, cell) for cell in cells], axis=0, dtype=np.float64)
        table = place_effects(work.model.model, rows.inputs, name, **related, random_state=work.budget.seed)
        return {"table": table, "picture": picture(mean.round().astype(np.uint8))}
    places = [at for at in encoder.columns_of(name) if encoder.kinds_[at] == "score"]
    names = work.model.classes[1:] if len(work.model.classes) == 2 else work.model.classes
    names = names or (f"a high {work.content.target}",)
    examples, first = [], np.unique(index, return_index=True)[1]
    first = first[index[first] >= 0][:_MEAN_OF]
    # More than 32 classes share scores.
    for k, whose in enumerate(names if len(names) == len(places) else ()):
        order = first[np.argsort(rows.inputs.encoded[first, places[k]], kind="stable")]
        ends = {"low": order[:_EXAMPLES], "high": order[::-1][:_EXAMPLES]}
        drawn = {end: [picture(_small(work, name, texts[index[at]])) for at in some] for end, some in ends.items()}
        examples.append({"name": whose, **drawn})
    return {"examples": examples}
