"""A fitted encoder as JSON, from which a script in the page encodes cells as Python
does, and cells in that form.

A cell is a number (seconds for dates, 0 or 1 for yes and no), a text, or ``[kind]``
where it is missing: 1 for blank, then the declared codes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.sequences import values_at
from permgrad.data.encode.designs import Levels
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.encode.scaling import Scaling
from permgrad.data.encode.slots import Slot
from permgrad.data.encode.table_statistics import numeric_cells
from permgrad.data.kinds.categorical import Categorical
from permgrad.data.kinds.column import ColumnType, PageForm
from permgrad.data.kinds.text import Text
from permgrad.data.read.cells import BLANK, PRESENT, Distinct, as_float32

#: Scores of levels that a page can set.
MOST_SCORES = 20_000
#: Scaled extremes beyond which smooth clipping has lost the number that they were.
_FAR = 1e5


def formless(encoder: TableEncoder) -> list[ColumnType]:
    """Return the columns that the network sees and that no script of a page encodes.

    Of what kinds compute, a page has the parts of dates.
    """
    columns: dict[str, ColumnType] = {}
    for slot in encoder.slots_:
        column = encoder.schema_[encoder.feature_names_in_[slot.column]]
        is_unknown_part = slot.of.is_part and not column.of.is_moment
        if is_unknown_part or _form_of(column) is None:
            columns[column.name] = column
    return list(columns.values())


def _form_of(column: ColumnType) -> PageForm | None:
    """Return the form of a column in the page. Texts without scores are levels."""
    if column.is_stored:
        return column.of.form
    return column.reader.form


def encoder_form(encoder: TableEncoder) -> dict[str, Any]:
    """Return how each raw column becomes encoded columns.

    Columns that the network does not see are left out, and those that no page encodes,
    see ``formless``.
    """
    positions = {}
    for stored_index, stored_column in enumerate(encoder.schema_.stored):
        positions[stored_column.name] = stored_index
    columns: list[dict[str, Any]] = []
    for position, column in enumerate(encoder.schema_):
        slots = [
            (slot_index, column_slot)
            for slot_index, column_slot in enumerate(encoder.slots_)
            if column_slot.column == position
        ]
        form = _form_of(column)
        if not slots or form is None:
            continue
        missing = {
            str(column_slot.detail): slot_index
            for slot_index, column_slot in slots
            if column_slot.of.is_missing
        }
        column_form: dict[str, Any] = {
            "name": column.name,
            "missing": missing,
            "codes": _codes(encoder, column.name),
        }
        is_scored = column.name in encoder.scores_.columns
        if column.is_stored:
            column_form |= _of_numbers(
                encoder,
                column,
                [
                    indexed_slot
                    for indexed_slot in slots
                    if not indexed_slot[1].of.is_score
                ],
                positions[column.name],
            )
        else:
            levels = {
                column_slot.detail: slot_index
                for slot_index, column_slot in slots
                if column_slot.of.is_level
            }
            other_slot = levels.pop(None, None)
            column_form |= {
                "kind": form.name,
                "levels": list(map(list, levels.items())),
                "other": other_slot,
            }
        if is_scored:
            column_form |= _scores(encoder, column, slots)
        if is_scored and column.is_stored:  # numbers that are levels, too
            column_form["kind"] = form.name
        columns.append(column_form)
    return {"scaling": encoder.scaling_.mode, "columns": columns}


def _codes(encoder: TableEncoder, name: str) -> list[list[Any]]:
    """Return the kind, the text and the numbers of each code for missing."""
    codes: list[list[Any]] = []
    for label in encoder.codes_.holds_for(name):
        code_index = encoder.codes_.labels.index(label)
        number = float(encoder.codes_.numbers[code_index])
        numbers = list[float]()
        if np.isfinite(number):
            numbers = sorted({number, as_float32(number)})
        codes.append([2 + code_index, label, numbers])
    return codes


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
        if not column_slot.of.is_missing:
            value[column_slot.detail or "value"] = slot_index
    number_form |= column.of.form_facts(column)
    if not column.of.is_truth:
        number_form |= _scale_of(scaling, column_index)
    first = slots[0][1]
    form = _form_of(column)
    assert form is not None
    number_form |= {
        "kind": form.name,
        "value": value,
        "years": encoder.years_.get(column.name),
    }
    if first.is_held:
        number_form["held"] = [first.minimum, first.maximum]
    value_range = None
    if first.is_scaled and not first.is_held:
        value_range = _range(scaling, column_index, first)
    return {**number_form, "range": value_range}


def _scale_of(scaling: Scaling, column_index: int) -> dict[str, Any]:
    """Return how a number is scaled."""
    if len(scaling.knots):
        return {"knots": scaling.knots[:, column_index].tolist()}
    return {
        "center": float(scaling.center[column_index]),
        "factor": float(scaling.factor[column_index]),
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
        if column_slot.of.is_score:
            score_slots.append(slot_index)
    designs = {}
    for design_kind, design, _ in encoder.scores_.columns[column.name]:
        designs[design_kind] = design
    known_levels = designs.get("levels")
    levels = list[str]()
    if isinstance(known_levels, Levels) and column.of.content is None:
        levels = known_levels.entries[: MOST_SCORES // len(score_slots)]
    if levels:
        scores = encoder.scores_.of(column.name, levels)
    else:
        scores = np.zeros((0, len(score_slots)), dtype=np.float32)
    pairs = []
    for level, level_scores in zip(levels, scores.tolist(), strict=True):
        pairs.append([level, level_scores])
    form: PageForm | None = Text.form
    if levels and set(designs) == {"levels"}:
        form = Categorical.form
    elif column.of.content is not None:
        form = column.of.form
    assert form is not None
    return {"kind": form.name, "levels": pairs, "scores": score_slots}


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
    seen_columns = set(
        values_at(encoder.feature_names_in_, encoder.feature_of_.tolist())
    )
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
