"""What a run says of the columns of its table before it learns from them: one sentence for each kind of finding."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from permgrad.base.errors import listed, option_of
from permgrad.base.numerals import percent
from permgrad.data.read.cells import is_native_number
from permgrad.data.read.reading import Written
from permgrad.data.read.table import blank_codes, unused_codes
from permgrad.data.read.written_numbers import units_said
from permgrad.data.types.as_one import as_one_said
from permgrad.data.types.column_notes import as_groups, duplicates_said, fused_columns, fused_said, several_ways_said
from permgrad.data.types.column_types import WHOLE_AS_TEXT, ColumnType, Kind, Schema
from permgrad.data.types.duplicates import same_columns
from permgrad.data.types.identifiers import (
    ALSO_LEVELS,
    CODES,
    MANY_CODES,
    MAYBE_NAMES,
    NAMES,
    SUSPECT,
    maybe_missing,
    names_things,
)
from permgrad.evaluation.kept_together import Together, rows_together
from permgrad.runs.options import NO_GROUPS, separated
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.splitting import AS_TEXT, SplitTable

if TYPE_CHECKING:
    from permgrad.data.datasets import DataCard

#: Why a column is no feature, in the words of the table of columns.
LIKE_AN_IDENTIFIER = "left out: like an identifier"
#: Whole numbers of which this share is 0, and with more levels than so many, look like counts.
_ZEROS, _LEAST_COUNT = 0.1, 3
#: Features whose values may name persons, rather than shops: so many values, and this share of the rows.
_KINDS_NAMED, _FEWEST_NAMED, _SHARE_NAMED = ("numeric", "categorical"), 20, 0.1


def notes_on_cells(
    request: RunRequest, target: str, rows: SplitTable, written: Written, schema: Schema, left_out: Mapping[str, str]
) -> list[str]:
    """Note codes for missing values that never occur, how cells are written, and columns that look like identifiers."""
    notes = []
    if na := separated(request.na):
        first, *further = [unused_codes(table, na) for table in (written.frame, *rows.files.values())]
        unused = [code for code in first if all(code in codes for codes in further)]
        notes += [f"--na codes that never occur: {listed(unused, show=repr)}. Check --na."] if unused else []
    alike = written.alike.get(target) if rows.task == "classification" else None
    if alike is not None:
        notes.append(
            f"classes of {target!r} that differ only in leading zeros, such as {alike[0]!r} and {alike[1]!r}, are read "
            f"as one number. If they differ, {AS_TEXT}."
        )
    elif target in written.padded:
        notes.append(
            f"the target {target!r} has leading zeros like a code, but is read as numbers. If it holds codes, "
            f"{AS_TEXT}."
        )
    kinds = {name: kind for name, kind in request.kinds.items() if name != target}
    notes += units_said(written.units, {**left_out, **kinds}) if written.units else []
    if identifiers := [name for name, why in left_out.items() if why == LIKE_AN_IDENTIFIER]:
        usual = "numeric" if schema[identifiers[0]].storage == "number" else "categorical"
        fix = "" if request.identifier else "keep them in the predictions with --id, or "
        fix += f"use one as a feature with {option_of('--kind', identifiers[0])}={usual}"
        notes.append(f"left out because they look like identifiers: {listed(identifiers)}. {fix[0].upper()}{fix[1:]}.")
    decided = {name: why for name, why in left_out.items() if why != LIKE_AN_IDENTIFIER}
    # The order of the rows hangs on how its dates are read.
    decided |= {} if request.time is None else {request.time: "date"}
    notes += several_ways_said(schema, decided)
    return notes + fused_said(schema, "say {1}=categorical", left_out)


def notes_on_counts(request: RunRequest, target: str, rows: SplitTable) -> list[str]:
    """Name ``--task counts`` for a target that looks like counts with many zeros, and say what an offset does."""
    if request.offset is not None:
        said = f"{request.offset!r} is the logarithm of each row's exposure, and {target!r} is divided by the exposure"
        return [f"{said}: predictions, errors and importances are those of rates. Rows count by their exposure."]
    y = rows.truths["train"]
    if request.task != "auto" or y.dtype.kind not in "if" or (y < 0).any() or (y != np.rint(y)).any():
        return []
    zeros, most = float((y == 0).mean()), float((y == y.max()).mean())
    # Codes of classes have no zeros, or few levels, or as many rows in the last as in the first.
    if zeros < _ZEROS or len(np.unique(y)) <= _LEAST_COUNT or most > zeros / 2:
        return []
    looks = f"the target {target!r} looks like a count: whole numbers, {percent(zeros)} of them 0"
    how = "predicted as classes" if rows.task == "classification" else "trained and judged by squared error"
    fix = "--task counts takes the Poisson loss, and --offset COLUMN the logarithm of an exposure"
    return [f"{looks}. It is {how}; {fix}."]


def notes_on_columns(
    request: RunRequest, card: DataCard | None, written: Written, schema: Schema, left_out: Mapping[str, str]
) -> list[str]:
    """Note columns that may not be what they are taken for, and those without effect."""
    decided = {*left_out, *request.kinds}
    undecided = [column for column in schema if column.name not in decided]
    numbers = [column for column in undecided if column.kind == "numeric"]
    levels = {
        column.name: f"{column.name} ({column.n_levels:,})"
        for column in undecided
        if column.kind == "categorical" and column.n_levels >= MANY_CODES
    }
    # Columns that are constant only as float64 are already noted.
    constant = [name for name in schema.of_kind("constant") if name not in {*left_out, *fused_columns(schema)}]
    named_oddly = [one.name for one in schema if one.reason == SUSPECT and one.name not in left_out]
    codes = [one.name for one in numbers if one.reason.startswith(CODES)]
    padded = [name for name in written.padded if name in {one.name for one in numbers}]
    # A sentence, and the columns that it names: as they are, or as a mapping shows them.
    notes: dict[str, Sequence[str] | Mapping[str, str]] = {
        **_kinds_found(undecided, request),
        "used as features, though named like identifiers and different in every row: {}. Leave them out with --id or "
        "--drop, or confirm with {kind}=numeric.": named_oddly,
        "used as amounts, though nearly unique or named like codes: {}. Pass {kind}=categorical for a code, {id} if it "
        "only names rows, or {kind}=numeric for an amount.": codes,
        "used as amounts, though stored as text: {}. Pass {kind}=categorical if they name things, or {kind}=numeric.": [
            one.name for one in numbers if one.reason == WHOLE_AS_TEXT
        ],
        "categories with thousands of values: {}. Pass {id} if it only names rows, or {kind}=categorical to use it as "
        "it is.": levels,
        "read as numbers despite leading zeros: {}. If they are codes, pass {kind}=categorical.": padded,
        "constant in the training rows, hence without effect: {}": constant,
        "not features by the data card: {}": [] if card is None else card.not_features,
    }
    story = [] if card is None or card.story is None or card.target in left_out else [card.story]
    for sentence, names in notes.items():
        if names:
            flags = {
                flag.replace("-", "_"): option_of(f"--{flag}", next(iter(names)))
                for flag in ("kind", "id", "row-group")
            }
            shown = list(names.values()) if isinstance(names, Mapping) else names
            story.append(sentence.format(listed(shown), **flags))
    return story


def _kinds_found(undecided: Sequence[ColumnType], request: RunRequest) -> dict[str, list[str]]:
    """Say which columns are names of things, though whole numbers, and which are free text."""
    reader = "which your estimator gets as it is" if ":" in request.model else "from whose words the model learns"
    starts = NAMES, MAYBE_NAMES, ALSO_LEVELS
    begun = {start: [one.name for one in undecided if one.reason.startswith(start)] for start in starts}
    texts = [one.name for one in undecided if one.kind == "text" and one.name != request.row_group]
    return {
        "whole numbers read as names of things, not as amounts: {}. Pass {kind}=numeric if they are amounts.": (
            begun[NAMES]
        ),
        "used as amounts, though each has its own block of rows: {}. Pass {kind}=categorical if they name things.": (
            begun[MAYBE_NAMES]
        ),
        "each value is read as a level, too, because equal ones are alike in the target beyond their neighbours: {}. "
        "If rows with one value belong together, pass {row_group}. {kind}=numeric reads amounts alone.": (
            begun[ALSO_LEVELS]
        ),
        f"free text, {reader}: {{}}. Pass {{kind}}=identifier to leave a column out, or {{kind}}=categorical to read "
        "its cells as categories.": texts,
    }


def find_together(
    request: RunRequest,
    rows: SplitTable,
    types: Schema,
    left_out: Mapping[str, str],
    codes: Sequence[Any],
) -> Together | None:
    """Return which columns may say that rows belong together, where the user did not say so."""
    tables = [table for table in rows.tables.values() if len(table)]
    target = request.target[0] if request.target else None
    weight = [name for name in (target, request.weight) if name is not None]
    both = [name for name in tables[0] if all(name in table for table in tables) and name not in weight]
    table = blank_codes(pd.concat([table[both] for table in tables]), codes)
    named = [
        name for name, why in left_out.items() if "identifier" in why or (why.endswith("--drop") and names_things(name))
    ]
    # Of a feature with few values, such as shops, new rows have the same ones.
    fewest = max(_FEWEST_NAMED, _SHARE_NAMED * len(table))
    named += [
        one.name
        for one in types
        if one.kind in _KINDS_NAMED
        and names_things(one.name)
        and table[one.name].nunique() >= fewest
        # A number with decimals measures, whatever it is called: a body mass index.
        and not (is_native_number(table[one.name].dtype) and (table[one.name].dropna() % 1 != 0).any())
    ]
    return rows_together(
        table,
        np.concatenate([rows.truths[part] for part, table in rows.tables.items() if len(table)]),
        rows.task,
        np.repeat([part == "train" for part in rows.tables], [len(table) for table in rows.tables.values()]),
        [name for name in types.names if name in both],
        [name for name in named if name in both],
        types.of_kind("image"),
    )


def notes_on_codes(features: pd.DataFrame, types: Schema, kinds: Mapping[str, Kind]) -> list[str]:
    """Propose codes for missing that no other column holds as a number."""
    names = [one.name for one in types if one.kind == "numeric" and is_native_number(features[one.name].dtype)]
    cells = {name: features[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in names}
    candidates = {name: maybe_missing(values) for name, values in cells.items() if name not in kinds}
    proposed: dict[str, list[float]] = {}
    for code in sorted({code for codes in candidates.values() for code in codes}):
        holders = [name for name in names if (cells[name] == code).any()]
        for name in holders if all(code in candidates.get(name, ()) for name in holders) else ():
            proposed.setdefault(name, []).append(code)
    if not proposed:
        return []
    codes = ",".join(map(str, sorted({code for codes in proposed.values() for code in codes})))
    columns = [f"{name} ({', '.join(map(str, codes))})" for name, codes in proposed.items()]
    return [f"maybe codes for missing cells: {listed(columns)}. If so, pass --na={codes}."]


def notes_on_blocks(
    features: pd.DataFrame,
    types: Schema,
    groups: Mapping[str, Sequence[str]],
    found: Mapping[str, Sequence[str]],
) -> list[str]:
    """Note columns that were ``found`` to be one feature, and others that duplicate each other."""
    undo = f"To read each by itself, pass --groups {NO_GROUPS}."
    notes = [as_one_said(found, undo)] if found else []
    # Columns of one group may duplicate each other.
    if alike := same_columns(features, types, groups.values()):
        fix = (
            "drop all but one with --drop, or treat them as one feature: put them in a JSON file "
            f"{json.dumps(as_groups(alike), ensure_ascii=False)} and pass it with --groups"
        )
        notes.append(duplicates_said(alike, fix))
    return notes
