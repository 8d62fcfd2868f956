"""The table and its split: columns that give the target away, that differ between the
parts, and rows in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from permgrad.assess.work import Work
from permgrad.base.arrays import Array
from permgrad.base.dependence import Dependence
from permgrad.base.errors import keeping_warnings
from permgrad.data.read.table import blank_codes
from permgrad.data.splitting import are_expected, count_shared_rows
from permgrad.data.types.column_types import infer_schema
from permgrad.evaluation.drift import compare_parts
from permgrad.evaluation.table_alarms import (
    TableAlarms,
    shared_on_both_sides,
    table_alarms,
)
from permgrad.evaluation.target_signs import Sign, target_signs

#: Columns of a table whose shared rows and types are looked at.
_MOST_COLUMNS = 2000


@dataclass(kw_only=True)
class DataSection:
    """The table and how it was split.

    ``rows`` and ``class_counts`` (one row per class) are by part. ``columns`` has one
    row per column of the table. ``constant_from`` is the part that the constant was
    taken from. ``shared_rows`` are test rows equal to a training row in every column,
    ``blank_rows`` those of them without a value, and ``alike_rows`` are equal in the
    model's columns. With ``shared_expected``, the first are no more than the columns'
    own frequencies explain. ``leaks`` are columns or formulas that predict the target,
    and ``drift`` compares columns of both parts, see ``permgrad.evaluation.leaks`` and
    ``permgrad.evaluation.drift``. ``described`` has the ``rows`` of both parts that
    were compared and their ``columns``, see ``permgrad.evaluation.drift``.
    ``unchecked`` is what the search for leaks, drift and copies of rows needs and does
    not have. ``together`` says which rows may belong together, see
    ``permgrad.evaluation.kept_together``, and ``cells`` how cells were read that are
    odd. ``target_signs`` say what is odd about a target of numbers, see
    ``permgrad.evaluation.target_signs``. ``row_groups`` has the ``name`` of the column
    of rows that belong together, and the number of groups by part.
    """

    rows: Mapping[str, int | None]
    columns: pd.DataFrame | None = None
    split: str = ""
    constant_from: str = "train"
    shared_rows: int | None = None
    blank_rows: int = 0
    alike_rows: int | None = None
    shared_expected: bool = False
    class_counts: pd.DataFrame | None = None
    notes: Sequence[str] = ()
    card: Mapping[str, str] = field(default_factory=dict)
    leaks: Sequence[Mapping[str, Any]] = ()
    drift: Sequence[Mapping[str, Any]] = ()
    described: Mapping[str, Any] = field(default_factory=dict)
    unchecked: str = ""
    together: Mapping[str, Any] | None = None
    cells: Sequence[Mapping[str, Any]] = ()
    target_signs: Sequence[Mapping[str, Any]] = ()
    row_groups: Mapping[str, Any] | None = None


def describe_data(work: Work) -> DataSection:
    """Describe rows as they were passed, and their columns."""
    model = work.model
    train = work.train
    table = work.test.table
    counts = {}
    if model.classes:
        rows_by_part = {"train": train, "test": work.test}
        codes = {
            part_name: model.codes(part_rows)
            for part_name, part_rows in rows_by_part.items()
            if part_rows is not None
        }
        counts = {
            part_name: np.bincount(
                class_codes[class_codes >= 0], minlength=len(model.classes)
            )
            for part_name, class_codes in codes.items()
        }
    columns = None
    compared = dict[str, Any]()
    if table is not None:
        learned_from = table if train is None or train.table is None else train.table
        with keeping_warnings():
            schema = infer_schema(
                learned_from.iloc[:, :_MOST_COLUMNS], na=list(model.na)
            )
        lines = [
            (
                column_type.name,
                column_type.kind,
                column_type.n_missing,
                column_type.n_levels,
                column_type.reason,
            )
            for column_type in schema
        ]
        columns = pd.DataFrame(
            lines, columns=["name", "kind", "missing", "levels", "reason"]
        )
        if (
            train is not None
            and train.table is not None
            and table.shape[1] <= _MOST_COLUMNS
        ):
            compared = _compared(work, train.table, table)
    unchecked = "train" if train is None else "table"
    if compared:
        unchecked = ""
    return DataSection(
        rows={"train": None if train is None else len(train), "test": len(work.test)},
        columns=columns,
        split="as passed to permgrad",
        constant_from="test" if work.learned is work.test else "train",
        unchecked=unchecked,
        class_counts=pd.DataFrame(counts, index=list(model.classes))
        if counts
        else None,
        notes=[f"Task: {model.task}, model: {model.name}."],
        target_signs=_signs_of_target(work),
        row_groups=groups_by_part({"train": train, "test": work.test}),
        **compared,
    )


def groups_by_part(parts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return how many groups the rows of each part are of, and the ``name`` of their
    column. None: rows do not belong together.
    """
    groups: dict[str, Any] = {}
    for part_name, part_rows in parts.items():
        between = getattr(part_rows, "dependence", None)
        if between is not None and not between.timed:
            groups |= {"name": between.name, part_name: between.count}
    return groups or None


def _signs_of_target(work: Work) -> list[Sign]:
    """Return what is odd about a target of numbers, in training and test rows."""
    if work.model.classes or not work.model.task.numeric:
        return []
    rows_by_part = {"training": work.train, "test": work.test}
    values_by_row = {}
    for part_name, part_rows in rows_by_part.items():
        if part_rows is not None and part_rows.y is not None:
            for row_number, value in enumerate(
                np.ravel(np.asarray(part_rows.y, dtype=np.float64))
            ):
                values_by_row[f"{part_name} row {row_number}"] = float(value)
    names = list(values_by_row)
    values = np.array(list(values_by_row.values()))
    counts = work.predictions.counts
    return target_signs(values, names.__getitem__, counts=counts)


def _alarms(
    work: Work,
    learned: tuple[pd.DataFrame, Array],
    held_out: tuple[pd.DataFrame, Array],
) -> TableAlarms:
    """Look at the rows of training and test as a run looks at its table."""
    model = work.model
    together = None
    # Where it is known which rows belong together, nothing is left to find.
    if work.test.dependence is None:
        schema = infer_schema(learned[0], na=list(model.na))
        together = shared_on_both_sides(
            learned,
            held_out,
            model.task,
            model.na,
            named=schema.of_kind("identifier"),
            but_for=[*schema.of_kind("image"), *schema.of_kind("text")],
        )
    return table_alarms(
        learned,
        held_out,
        model.task,
        model.na,
        classes=model.classes,
        together=together,
    )


def _compared(work: Work, learned: pd.DataFrame, table: pd.DataFrame) -> dict[str, Any]:
    """Compare the rows of training and test: columns that tell the target, drift,
    distributions and shared rows.
    """
    model = work.model
    target = work.content.target
    assert work.train is not None
    codes = list(map(model.codes, (work.train, work.test)))
    before, test_targets = (
        np.asarray(model.classes)[y] if model.classes else y for y in codes
    )
    with keeping_warnings():
        alarms = _alarms(work, (learned, codes[0]), (table, codes[1]))
        both_dependence = Dependence.of_both(
            work.train.dependence, work.test.dependence
        )
        options: dict[str, Any] = {
            "targets": (target, before, test_targets),
            "na": model.na,
            "dependence": both_dependence,
        }
        described = compare_parts(learned, table, **options)
    first = learned.assign(**{"\0target": before})
    second = table.assign(**{"\0target": test_targets})
    shared = count_shared_rows(first, second)
    empty = blank_codes(table, model.na).isna().all(axis=1).to_numpy()
    return {
        "leaks": alarms.leaks,
        "together": alarms.together,
        "drift": described.pop("drift"),
        "described": described,
        "shared_rows": shared,
        "blank_rows": count_shared_rows(first, second[empty]) if shared else 0,
        "alike_rows": shared,
        "shared_expected": are_expected(first, second, shared),
    }
