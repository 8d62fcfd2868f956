"""A fitted encoder as JSON, from which a script in the page encodes cells as Python does, and cells in that form.

A cell is a number (seconds for dates, 0 or 1 for yes and no), a text, or ``[kind]`` where it is missing: 1 for blank,
then the declared codes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from permgrad.data.encode.calendar import HELD
from permgrad.data.encode.designs import Levels
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.encode.planning import Slot
from permgrad.data.encode.scaling import Scaling
from permgrad.data.encode.statistics import numeric_cells
from permgrad.data.read.cells import BLANK, PRESENT, Distinct, as_float32
from permgrad.data.types.column_types import ColumnType

#: Scores of levels that a page can set.
MOST_SCORES = 20_000
#: Scaled extremes beyond which smooth clipping has lost the number that they were.
_FAR = 1e5


def encoder_form(encoder: TableEncoder) -> dict[str, Any]:
    """Return how each raw column becomes encoded columns. Columns that the network does not see are left out."""
    stored = {column.name: place for place, column in enumerate(encoder.schema_.stored)}
    columns: list[dict[str, Any]] = []
    for position, column in enumerate(encoder.schema_):
        slots = [
            (place, slot)
            for place, slot in enumerate(encoder.slots_)
            if slot.column == position
        ]
        if not slots:
            continue
        missing = {
            str(slot.detail): place for place, slot in slots if slot.kind == "missing"
        }
        codes: list[
            list[Any]
        ] = []  # the kind, the text and the numbers of each code for missing
        for label in encoder.codes_.holds_for(column.name):
            at = encoder.codes_.labels.index(label)
            number = float(encoder.codes_.numbers[at])
            codes.append(
                [
                    2 + at,
                    label,
                    []
                    if not np.isfinite(number)
                    else sorted({number, as_float32(number)}),
                ]
            )
        form: dict[str, Any] = {"name": column.name, "missing": missing, "codes": codes}
        place = stored.get(column.name)
        if place is None:
            levels = {slot.detail: at for at, slot in slots if slot.kind == "level"}
            other = levels.pop(None, None)
            form |= {
                "kind": "category",
                "levels": [list(level) for level in levels.items()],
                "other": other,
            }
            if column.name in encoder.scores_.columns:
                form |= _scores(encoder, column, slots)
        else:
            form |= _of_numbers(
                encoder,
                column,
                [slot for slot in slots if slot[1].kind != "score"],
                place,
            )
            if column.name in encoder.scores_.columns:  # numbers that are levels, too
                form |= {**_scores(encoder, column, slots), "kind": form["kind"]}
        columns.append(form)
    return {"scaling": encoder.scaling_.mode, "columns": columns}


def _of_numbers(
    encoder: TableEncoder, column: ColumnType, slots: list[tuple[int, Slot]], place: int
) -> dict[str, Any]:
    """Return what a column of numbers, of dates, or of yes and no adds to its form."""
    scaling = encoder.scaling_
    form: dict[str, Any] = {"fill": float(scaling.fill[place])}
    value = {
        slot.detail or "value": at
        for at, slot in slots
        if slot.kind not in ("missing", "boolean")
    }
    kind = "date" if column.kind == "date" else "number"
    if column.kind == "boolean":
        kind = "boolean"
        value = {"value": slots[0][0]} if slots[0][1].kind == "boolean" else {}
        form["words"] = (
            [column.false_level, column.true_level] if column.true_level else None
        )
    elif len(scaling.knots):
        form["knots"] = scaling.knots[:, place].tolist()
    else:
        form |= {
            "center": float(scaling.center[place]),
            "factor": float(scaling.factor[place]),
        }
    first = slots[0][1]
    form |= {"kind": kind, "value": value, "years": encoder.years_.get(column.name)}
    if first.detail == HELD:
        form["held"] = [first.minimum, first.maximum]
    has_range = first.kind == "numeric" or first.detail == "time"
    return {**form, "range": _range(scaling, place, first) if has_range else None}


def _scores(
    encoder: TableEncoder, column: ColumnType, slots: list[tuple[int, Slot]]
) -> dict[str, Any]:
    """Return the places of a column's scores, with those of its most frequent levels, which a page can set.

    Kinds "text" and "image": a cell that is none of these levels is read as well, so it keeps its row's scores.
    """
    places = [at for at, slot in slots if slot.kind == "score"]
    designs = {kind: design for kind, design, _ in encoder.scores_.columns[column.name]}
    known, levels = designs.get("levels"), list[str]()
    if isinstance(known, Levels) and column.kind not in ("text", "image"):
        levels = known.entries[: MOST_SCORES // len(places)]
    scores = (
        encoder.scores_.of(column.name, levels)
        if levels
        else np.zeros((0, len(places)), dtype=np.float32)
    )
    pairs = [[level, row] for level, row in zip(levels, scores.tolist(), strict=True)]
    kind = "image" if column.kind == "image" else "text"
    return {
        "kind": "category" if set(designs) == {"levels"} and levels else kind,
        "levels": pairs,
        "scores": places,
    }


def _range(scaling: Scaling, place: int, slot: Slot) -> list[float] | None:
    """Return the smallest and the largest training value, read back from the scaling. None where clipping hides it."""
    if len(scaling.knots):
        ends = scaling.knots[[0, -1], place]
    else:
        ends = np.array([slot.minimum, slot.maximum])
        with np.errstate(all="ignore"):
            if scaling.mode == "robust":
                ends /= np.sqrt(1.0 - (ends / 3.0) ** 2)
            ends = np.where(
                np.abs(ends) < _FAR,
                scaling.center[place] + 4.0 * ends / scaling.factor[place],
                np.nan,
            )
    least = 1e-10 * np.abs(ends).max()  # what rounding may leave of 0
    return (
        [float(f"{end:.10g}") if abs(end) > least else 0.0 for end in ends]
        if np.isfinite(ends).all()
        else None
    )


def cells_of(encoder: TableEncoder, frame: pd.DataFrame) -> dict[str, list[Any]]:
    """Return the cells of the columns that the network sees, by name, in the form of this module."""
    stored = encoder.schema_.stored
    values, kinds = numeric_cells(frame, stored, encoder.codes_)
    cells: dict[str, list[Any]] = {}
    for place, column in enumerate(stored):
        pairs = zip(values[:, place].tolist(), kinds[:, place].tolist(), strict=True)
        cells[column.name] = [
            [max(kind, BLANK)] if value != value else value  # noqa: PLR0124
            for value, kind in pairs
        ]
    seen = {
        encoder.feature_names_in_[number] for number in encoder.feature_of_.tolist()
    }
    for column in encoder.schema_:
        if column.name in seen and column.name not in cells:
            distinct = Distinct.of(frame[column.name], column.name)
            kinds_of = [
                encoder.codes_.kind_of(text, column.name) for text in distinct.texts
            ]
            forms = [
                text if kind == PRESENT else [kind]
                for text, kind in zip(distinct.texts, kinds_of, strict=True)
            ]
            cells[column.name] = [
                [BLANK] if at < 0 else forms[at] for at in distinct.index.tolist()
            ]
    return {name: cells[name] for name in encoder.feature_names_in_ if name in seen}
