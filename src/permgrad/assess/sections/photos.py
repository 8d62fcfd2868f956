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
from permgrad.assess.rows import Rows
from permgrad.assess.store import storable
from permgrad.assess.work import Work
from permgrad.attribution.explain import explain
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.wide import place_effects
from permgrad.base.arrays import Array, Floats, Floats32
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
    return [] if encoder is None else [x for x in encoder.schema_.of_kind("image") if x in encoder.scores_.columns]


def photos(work: Work) -> None:
    """Fill ``photos``: the images of listed rows, those of explained rows first."""
    names, listed = photo_columns(work), work.content.listed
    if not names or listed is None:
        return
    place = {number: at for at, number in enumerate(work.explained.numbers.tolist())}
    shown = [place[number] for number in listed.numbers.tolist()]
    places = np.array(list(dict.fromkeys([*work.explained_places.tolist(), *work.drawn.tolist(), *shown])))
    rows, in_time = work.explained.take(places[np.isin(places, shown)]), _limit(work, _SECONDS)
    columns = [_Images(work, rows, name) for name in names]
    for at in range(min(len(rows), SHOWN_ROWS)):
        if in_time() and any(column.cell(at) is not None for column in columns):
            explanation = _divided(work, rows.take(np.array([at])))
            for column in columns:
                column.add_parts(at, explanation)
    for at in range(min(len(rows), _COVERED)):
        for column in columns:
            if in_time():
                column.add_covered(at)
    work.put(photos=[column.put_together() for column in columns])


def _limit(work: Work, seconds: float) -> Callable[[], bool]:
    """Return what says whether there is time left for more."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() < end and work.budget.clock.left() > REPORT


def _divided(work: Work, row: Rows) -> Explanation:
    """Divide a row's prediction among the patches of its images and all else."""
    with keeping_warnings():
        return explain(
            work.model.model, row.inputs, level="part", method="shapley", output="probability", progress=False,
            random_state=work.budget.seed, exact=0, tolerance=0, max_permutations=_ORDERS,
        )  # fmt: skip


class _Images:
    """The images of a column in some rows, and what is computed of each."""

    def __init__(self, work: Work, rows: Rows, name: str) -> None:
        encoder: Any = work.model.encoder
        self.encoder, self.name, self.numbers = encoder, name, rows.numbers.tolist()
        self.texts, self.index = encoder.texts_of(rows.inputs.table, name)
        self.covered: dict[int, Floats32] = {}
        self.parts: dict[int, tuple[Floats, Floats]] = {}

    def cell(self, at: int) -> str | None:
        """Return the image of a row, or None."""
        return None if self.index[at] < 0 else self.texts[self.index[at]]

    def add_parts(self, at: int, explanation: Explanation) -> None:
        """Add what the patches of a row's image add to its prediction."""
        places = [place for place, whose in enumerate(explanation.modality) if whose == self.name]
        if len(places) == PATCHES**2 and explanation.std is not None:
            parts = explanation.values[0, places], explanation.std[0, places].max(axis=0)
            self.parts[self.numbers[at]] = parts

    def add_covered(self, at: int) -> None:
        """Add the scores of a row's image with each patch covered."""
        if (cell := self.cell(at)) is not None:
            self.covered[self.numbers[at]] = covered_scores(self.encoder, self.name, cell)

    def small(self, cell: str) -> Array:
        """Return an image in the frame in which the model sees it ``(height, width, channels)``, not too large."""
        column = self.encoder.images_.columns[self.name]
        factor = min(1.0, _PIXELS / max(column.height, column.width))
        height, width = (max(1, round(side * factor)) for side in (column.height, column.width))
        return np.moveaxis(read_image(source_of(cell), column.channels, height, width, framed=True), 0, -1)

    def put_together(self) -> PhotoColumn:
        """Return all of it, with as many small images as there is room for."""
        small, room = dict[str, str](), _SIGNS
        for cell in map(self.cell, range(len(self.numbers))):
            if cell is not None and cell not in small and room > 0:
                small[str(cell)] = made = picture(self.small(cell))
                room -= len(made)
        nothing = np.zeros((0, PATCHES**2, 1))
        return PhotoColumn(
            name=self.name,
            small=small,
            numbers=list(self.covered),
            covered=np.stack(list(self.covered.values())) if self.covered else nothing,
            part_numbers=list(self.parts),
            parts=np.stack([parts for parts, _ in self.parts.values()]) if self.parts else nothing,
            error=np.array([error for _, error in self.parts.values()]),
        )


def covered_scores(encoder: Any, name: str, cell: str) -> Floats32:
    """Return the scores of an image ``(patches, scores)`` with one patch covered."""
    scores: Floats32 = encoder.scores_.of(name, encoder.images_.covered(name, cell, ~np.eye(PATCHES**2, dtype=bool)))
    return scores


def picture(pixels: Array) -> str:
    """Return an image ``(height, width, channels)`` of 0 … 255 as JPEG in base64."""
    stream = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.save(stream, format="JPEG", quality=85)
    return base64.b64encode(stream.getvalue()).decode("ascii")


# ---- all images of a column ------------------------------------------------------------------------------------------
def places_of(work: Work, rows: Rows, name: str, related: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a card shows of a column of images.

    Where all have one size, the ``table`` of ``place_effects`` and the mean image, ``picture``. Else ``examples``: of
    each class, or of large numbers, the images that speak most and least for it.
    """
    column = _Images(work, rows, name)
    first = np.unique(column.index, return_index=True)[1]
    first = np.sort(first[column.index[first] >= 0])[:_MEAN_OF]
    cells = [column.texts[at] for at in column.index[first].tolist()]
    sizes = set()
    for cell in cells:
        with opened_image(source_of(cell)) as image:
            sizes.add(image.size)
    if len(sizes) == 1 and _limit(work, _SECONDS)():
        mean = np.mean([column.small(cell) for cell in cells], axis=0, dtype=np.float64)
        table = place_effects(work.model.model, rows.inputs, name, **related, random_state=work.budget.seed)
        return {"table": table, "picture": picture(np.asarray(mean.round(), dtype=np.uint8))}
    encoder, classes = column.encoder, work.model.classes
    places = [at for at in encoder.columns_of(name) if encoder.kinds_[at] == "score"]
    names = (classes[1:] if len(classes) == 2 else classes) or (f"a high {work.content.target}",)
    examples = []
    # More than 32 classes share scores.
    for k, whose in enumerate(names if len(names) == len(places) else ()):
        order = np.argsort(rows.inputs.encoded[first, places[k]], kind="stable")
        ends = {"low": order[:_EXAMPLES], "high": order[::-1][:_EXAMPLES]}
        drawn = {end: [picture(column.small(cells[at])) for at in some] for end, some in ends.items()}
        examples.append({"name": whose, **drawn})
    return {"examples": examples}
