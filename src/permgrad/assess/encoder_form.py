"""A fitted encoder as JSON, from which a script in the page encodes cells as Python
does, and cells in that form.

A cell is a number (seconds for dates, 0 or 1 for yes and no), a text, or ``[kind]``
where it is missing: 1 for blank, then the declared codes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from permgrad.data.encode.designs import Levels
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.encode.scaling import Scaling
from permgrad.data.encode.slots import HELD, Slot
from permgrad.data.encode.statistics import numeric_cells
from permgrad.data.kinds.column import ColumnType
from permgrad.data.read.cells import BLANK, PRESENT, Distinct, as_float32

#: Scores of levels that a page can set.
MOST_SCORES = 20_000
#: Scaled extremes beyond which smooth clipping has lost the number that they were.
_FAR = 1e5


def encoder_form(encoder: TableEncoder) -> dict[str, Any]:
    """Return how each raw column becomes encoded columns.

    Columns that the network does not see are left out.
    """
    stored = {
        column.name: stored_index
        for stored_index, column in enumerate(encoder.schema_.stored)
    }
    columns: list[dict[str, Any]] = []
    for position, column in enumerate(encoder.schema_):
        slots = [
            (slot_index, column_slot)
            for slot_index, column_slot in enumerate(encoder.slots_)
            if column_slot.column == position
        ]
        if not slots:
            continue
        missing = {
            str(column_slot.detail): slot_index
            for slot_index, column_slot in slots
            if column_slot.kind == "missing"
        }
        codes: list[
            list[Any]
        ] = []  # the kind, the text and the numbers of each code for missing
        for label in encoder.codes_.holds_for(column.name):
            code_index = encoder.codes_.labels.index(label)
            number = float(encoder.codes_.numbers[code_index])
            codes.append(
                [
                    2 + code_index,
                    label,
                    []
                    if not np.isfinite(number)
                    else sorted({number, as_float32(number)}),
                ]
            )
        column_form: dict[str, Any] = {
            "name": column.name,
            "missing": missing,
            "codes": codes,
        }
        stored_position = stored.get(column.name)
        if stored_position is None:
            levels = {
                column_slot.detail: slot_index
                for slot_index, column_slot in slots
                if column_slot.kind == "level"
            }
            other_slot = levels.pop(None, None)
            column_form |= {
                "kind": "category",
                "levels": [list(level) for level in levels.items()],
                "other": other_slot,
            }
            if column.name in encoder.scores_.columns:
                column_form |= _scores(encoder, column, slots)
        else:
            column_form |= _of_numbers(
                encoder,
                column,
                [
                    indexed_slot
                    for indexed_slot in slots
                    if indexed_slot[1].kind != "score"
                ],
                stored_position,
            )
            if column.name in encoder.scores_.columns:  # numbers that are levels, too
                column_form |= {
                    **_scores(encoder, column, slots),
                    "kind": column_form["kind"],
                }
        columns.append(column_form)
    return {"scaling": encoder.scaling_.mode, "columns": columns}


def _of_numbers(
    encoder: TableEncoder,
    column: ColumnType,
    slots: list[tuple[int, Slot]],
    column_index: int,
) -> dict[str, Any]:
    """Return what a column of numbers, of dates, or of yes and no adds to its form."""
    scaling = encoder.scaling_
    number_form: dict[str, Any] = {"fill": float(scaling.fill[column_index])}
    value = {}
    for slot_index, column_slot in slots:
        if column_slot.kind not in ("missing", "boolean"):
            value[column_slot.detail or "value"] = slot_index
    if column.kind == "date":
        column_kind = "date"
    else:
        column_kind = "number"
    if column.kind == "boolean":
        column_kind = "boolean"
        if slots[0][1].kind == "boolean":
            value = {"value": slots[0][0]}
        else:
            value = {}
        if column.true_level:
            number_form["words"] = [column.false_level, column.true_level]
        else:
            number_form["words"] = None
    elif len(scaling.knots):
        number_form["knots"] = scaling.knots[:, column_index].tolist()
    else:
        number_form |= {
            "center": float(scaling.center[column_index]),
            "factor": float(scaling.factor[column_index]),
        }
    first = slots[0][1]
    number_form |= {
        "kind": column_kind,
        "value": value,
        "years": encoder.years_.get(column.name),
    }
    if first.detail == HELD:
        number_form["held"] = [first.minimum, first.maximum]
    has_range = first.kind == "numeric" or first.detail == "time"
    return {
        **number_form,
        "range": _range(scaling, column_index, first) if has_range else None,
    }


def _scores(
    encoder: TableEncoder, column: ColumnType, slots: list[tuple[int, Slot]]
) -> dict[str, Any]:
    """Return the places of a column's scores, with those of its most frequent levels,
    which a page can set.

    Kinds "text" and "image": a cell that is none of these levels is read as well, so it
    keeps its row's scores.
    """
    score_slots = []
    for slot_index, column_slot in slots:
        if column_slot.kind == "score":
            score_slots.append(slot_index)
    designs = {}
    for design_kind, design, _ in encoder.scores_.columns[column.name]:
        designs[design_kind] = design
    known_levels = designs.get("levels")
    levels = list[str]()
    if isinstance(known_levels, Levels) and column.kind not in ("text", "image"):
        levels = known_levels.entries[: MOST_SCORES // len(score_slots)]
    if levels:
        scores = encoder.scores_.of(column.name, levels)
    else:
        scores = np.zeros((0, len(score_slots)), dtype=np.float32)
    pairs = []
    for level, level_scores in zip(levels, scores.tolist(), strict=True):
        pairs.append([level, level_scores])
    if column.kind == "image":
        other_kind = "image"
    else:
        other_kind = "text"
    return {
        "kind": "category" if set(designs) == {"levels"} and levels else other_kind,
        "levels": pairs,
        "scores": score_slots,
    }


def _range(scaling: Scaling, column_index: int, slot: Slot) -> list[float] | None:
    """Return the smallest and the largest training value, read back from the scaling.

    None where clipping hides it.
    """
    if len(scaling.knots):
        range_ends = scaling.knots[[0, -1], column_index]
    else:
        range_ends = np.array([slot.minimum, slot.maximum])
        with np.errstate(all="ignore"):
            if scaling.mode == "robust":
                range_ends /= np.sqrt(1.0 - (range_ends / 3.0) ** 2)
            range_ends = np.where(
                np.abs(range_ends) < _FAR,
                scaling.center[column_index]
                + 4.0 * range_ends / scaling.factor[column_index],
                np.nan,
            )
    least = 1e-10 * np.abs(range_ends).max()  # what rounding may leave of 0
    if np.isfinite(range_ends).all():
        return [
            float(f"{range_end:.10g}") if abs(range_end) > least else 0.0
            for range_end in range_ends
        ]
    return None


def cells_of(encoder: TableEncoder, frame: pd.DataFrame) -> dict[str, list[Any]]:
    """Return the cells of the columns that the network sees, by name, in the form of
    this module.
    """
    stored = encoder.schema_.stored
    values, kinds = numeric_cells(frame, stored, encoder.codes_)
    cells: dict[str, list[Any]] = {}
    for column_index, column in enumerate(stored):
        pairs = zip(
            values[:, column_index].tolist(),
            kinds[:, column_index].tolist(),
            strict=True,
        )
        cells[column.name] = [
            [max(cell_kind, BLANK)] if value != value else value  # noqa: PLR0124
            for value, cell_kind in pairs
        ]
    seen_columns = {
        encoder.feature_names_in_[number] for number in encoder.feature_of_.tolist()
    }
    for column in encoder.schema_:
        if column.name in seen_columns and column.name not in cells:
            distinct = Distinct.of(frame[column.name], column.name)
            kinds_of = [
                encoder.codes_.kind_of(cell_text, column.name)
                for cell_text in distinct.texts
            ]
            forms = [
                cell_text if cell_kind == PRESENT else [cell_kind]
                for cell_text, cell_kind in zip(distinct.texts, kinds_of, strict=True)
            ]
            cells[column.name] = [
                [BLANK] if text_index < 0 else forms[text_index]
                for text_index in distinct.index.tolist()
            ]
    return {
        column_name: cells[column_name]
        for column_name in encoder.feature_names_in_
        if column_name in seen_columns
    }
