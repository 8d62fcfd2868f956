"""Columns of images: each image small, and what its patches and the places of all
images do.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from permgrad.assess.assessed_rows import Rows
from permgrad.assess.budget import REPORT, SHOWN_ROWS
from permgrad.assess.store import storable
from permgrad.assess.work import Work
from permgrad.attribution.method.shapley.method import Shapley
from permgrad.attribution.request import tuned
from permgrad.attribution.request.arguments import Arguments
from permgrad.attribution.wide import divide, place_effects
from permgrad.base.arrays import Array, Floats32
from permgrad.base.errors import keeping_warnings
from permgrad.base.sequences import positions_of, values_at
from permgrad.data.image_table import opened_image, read_image
from permgrad.data.read.image_cells import source_of
from permgrad.models.images import PATCHES


@storable
@dataclass(kw_only=True)
class PhotoColumn:
    """Images of listed rows, in 4 × 4 patches, row by row.

    Rows are known by their numbers as text.

    ``small``: JPEGs in base64 by cell. ``covered``: scores ``(patches, scores)`` of a
    row's image with one patch covered. ``parts`` ``(patches + 1, outputs)``: what the
    patches add to a row's outputs, and the largest standard error of one of them.
    """

    name: str
    small: dict[str, str] = field(default_factory=dict)
    covered: dict[str, Array] = field(default_factory=dict)
    parts: dict[str, Array] = field(default_factory=dict)


#: Pixels of the longer side of a small image, and signs that all of a column may take.
_PIXELS = 96
_SIGNS = 1_500_000
#: Images whose patches can be covered, of all columns together.
_COVERED = 40
#: Orders in which patches and features join.
_ORDERS = 192
#: Images of which the mean is drawn, and of which examples are chosen. Examples at each
#: end.
_MEAN_OF = 200
_EXAMPLES = 3


def photo_columns(work: Work) -> list[str]:
    """Return the columns of images that the model reads."""
    encoder = work.model.encoder
    if encoder is None:
        return []
    return [
        x for x in encoder.schema_.of_modality("photo") if x in encoder.scores_.columns
    ]


def photos(work: Work) -> None:
    """Fill ``photos``: the images of listed rows, those of explained rows first."""
    columns = [PhotoColumn(name=column_name) for column_name in photo_columns(work)]
    listed = work.content.listed
    if not columns or listed is None:
        return
    position_of_row = positions_of(work.explained.numbers.tolist())
    shown = values_at(position_of_row, listed.numbers.tolist())
    row_positions = np.array(
        list(
            dict.fromkeys(
                [*work.explained_places.tolist(), *work.drawn.tolist(), *shown]
            )
        )
    )
    shown_rows = work.explained.take(row_positions[np.isin(row_positions, shown)])
    cells = [_cells(work, shown_rows, column.name) for column in columns]
    for row_index, number in enumerate(map(str, shown_rows.numbers.tolist())):
        row_images = [
            (column, column_cells[row_index])
            for column, column_cells in zip(columns, cells, strict=True)
            if column_cells[row_index]
        ]
        if (
            row_index < SHOWN_ROWS
            and row_images
            and work.model.is_own_network
            and _in_time(work)
        ):
            _add_parts(work, shown_rows.take(np.array([row_index])), number, columns)
        for column, image_cell in row_images:
            if row_index * len(columns) < _COVERED and _in_time(work):
                column.covered[number] = covered_scores(
                    work.model.encoder, column.name, image_cell
                )
            if (
                image_cell not in column.small
                and sum(map(len, column.small.values())) < _SIGNS
            ):
                column.small[str(image_cell)] = picture(
                    _small(work.model.encoder, column.name, image_cell)
                )
    work.put(photos=columns)


def _in_time(work: Work) -> bool:
    return work.budget.clock.left() > REPORT


def _cells(work: Work, rows: Rows, name: str) -> list[str]:
    """Return the image of each row, or an empty text."""
    encoder: Any = work.model.encoder
    texts, index = encoder.texts_of(rows.inputs.table, name)
    cells: list[str] = []
    for text_index in index.tolist():
        if text_index >= 0:
            cells.append(texts[text_index])
        else:
            cells.append("")
    return cells


def _add_parts(
    work: Work, row: Rows, number: str, columns: Sequence[PhotoColumn]
) -> None:
    """Divide a row's prediction among the patches of its images and all else."""
    with keeping_warnings():
        arguments = Arguments(
            work.model.model,
            row.inputs,
            scale="probability",
            progress=False,
            random_state=work.budget.seed,
        )
        explanation = divide(
            arguments, tuned(Shapley(tolerance=0, max_permutations=_ORDERS), exact=0)
        )
    for column in columns:
        patch_indices = []
        for player_index, whose in enumerate(explanation.modality):
            if whose == column.name:
                patch_indices.append(player_index)
        if len(patch_indices) == PATCHES**2 and explanation.std_error is not None:
            error = explanation.std_error[0, patch_indices].max(axis=0, keepdims=True)
            column.parts[number] = np.concatenate(
                [explanation.values[0, patch_indices], error]
            )


def _small(encoder: Any, name: str, cell: str) -> Array:
    """Return an image in the frame in which the model sees it ``(height, width,
    channels)``, not too large.
    """
    column = encoder.images_.columns[name]
    factor = min(1.0, _PIXELS / max(column.height, column.width))
    height = max(1, round(column.height * factor))
    width = max(1, round(column.width * factor))
    return np.moveaxis(
        read_image(source_of(cell), column.channels, height, width, framed=True), 0, -1
    )


def covered_scores(encoder: Any, name: str, cell: str) -> Floats32:
    """Return the scores of an image ``(patches, scores)`` with one patch covered."""
    scores: Floats32 = encoder.scores_.of(
        name, encoder.images_.covered(name, cell, ~np.eye(PATCHES**2, dtype=bool))
    )
    return scores


def picture(pixels: Array) -> str:
    """Return an image ``(height, width, channels)`` of 0 … 255 as JPEG in base64."""
    stream = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.save(stream, format="JPEG", quality=85)
    return base64.b64encode(stream.getvalue()).decode("ascii")


# ---- all images of a column ----------------------------------------------------------
def places_of(
    work: Work, rows: Rows, name: str, related: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a card shows of a column of images.

    Where all have one size, the ``table`` of ``place_effects`` and the mean image,
    ``picture``. Else ``examples``: of each class, or of large numbers, the images that
    speak most and least for it.
    """
    encoder: Any = work.model.encoder
    cells = _cells(work, rows, name)
    first = {}
    for row_index, image_cell in reversed([*enumerate(cells)]):
        if image_cell:
            first[image_cell] = row_index
    chosen_rows = sorted(first.values())[:_MEAN_OF]
    sizes = set()
    for chosen_row in chosen_rows:
        with opened_image(source_of(cells[chosen_row])) as image:
            sizes.add(image.size)
    if len(sizes) == 1 and _in_time(work):
        mean_image = np.mean(
            [_small(encoder, name, cells[row_index]) for row_index in chosen_rows],
            axis=0,
            dtype=np.float64,
        )
        table = place_effects(
            work.model.model,
            rows.inputs,
            name,
            **related,
            random_state=work.budget.seed,
        )
        return {
            "table": table,
            "picture": picture(np.asarray(mean_image.round(), dtype=np.uint8)),
        }
    return {"examples": _examples(work, rows, name, cells, chosen_rows)}


def _examples(
    work: Work, rows: Rows, name: str, cells: Sequence[Any], row_indices: Sequence[int]
) -> list[dict[str, Any]]:
    """Return of each class the images that speak most and least for it."""
    encoder: Any = work.model.encoder
    classes = work.model.classes
    score_columns = []
    for column in encoder.columns_of(name):
        if encoder.kinds_[column] == "score":
            score_columns.append(column)
    names = (classes[1:] if len(classes) == 2 else classes) or (
        f"a high {work.content.target}",
    )
    examples = []
    # More than 32 classes share scores.
    for k, whose in enumerate(names if len(names) == len(score_columns) else ()):
        order = sorted(
            row_indices, key=lambda row: rows.inputs.encoded[row, score_columns[k]]
        )
        ends = {"low": order[:_EXAMPLES], "high": order[::-1][:_EXAMPLES]}
        drawn = {}
        for end, end_rows in ends.items():
            drawn[end] = [
                picture(_small(encoder, name, cells[row])) for row in end_rows
            ]
        examples.append({"name": whose, **drawn})
    return examples
