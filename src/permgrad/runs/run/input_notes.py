"""What the user is told of the columns of a table before it is learned from."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from permgrad.base.errors import keeping_warnings, listed
from permgrad.data.datasets import DataCard
from permgrad.data.encode.groups import propose_one_hot_blocks
from permgrad.data.read.reading import Written
from permgrad.data.read.table import unused_codes
from permgrad.data.types.column_notes import as_groups, duplicates_said, fused_columns, fused_said, several_ways_said
from permgrad.data.types.column_types import Schema
from permgrad.data.types.duplicates import same_columns
from permgrad.data.types.identifiers import CODES, MANY_CODES, SUSPECT
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.target import AS_TEXT, Task

#: Why a column is no feature, in the words of the table of columns.
LIKE_AN_IDENTIFIER = "left out: like an identifier"


def notes_on_codes(request: RunRequest, tables: Sequence[pd.DataFrame]) -> list[str]:
    """Name codes for missing that no table of the run has."""
    first, *further = [unused_codes(table, request.na_codes) for table in tables]
    unused = [code for code in first if all(code in codes for codes in further)]
    return [f"codes for missing that never occur: {listed(unused, show=repr)}; check --na"] if unused else []


def notes_on_target(target: str, task: Task, written: Written) -> list[str]:
    """Say where zeros in front of the target's values, read as numbers, are passed over."""
    alike = written.alike.get(target)
    if alike is not None and task == "classification":
        words = (
            f"classes of {target!r} that differ only by zeros in front are one class, such as {alike[0]!r} and "
            f"{alike[1]!r}, because they are read as numbers; if they are not the same {AS_TEXT}"
        )
        return [words]
    words = (
        f"the target {target!r} is read as numbers, though zeros stand in front as in codes, and is predicted "
        f"without them; if it holds codes {AS_TEXT}"
    )
    return [words] if target in written.padded else []


def notes_on_columns(
    schema: Schema, left_out: Mapping[str, str], request: RunRequest, card: DataCard | None, padded: Sequence[str]
) -> list[str]:
    """Name columns that are left out, doubtful, constant or written in several ways."""
    notes: list[str] = []
    identifiers = [name for name in schema.of_kind("identifier") if left_out.get(name) == LIKE_AN_IDENTIFIER]
    if identifiers:
        usual = "numeric" if schema[identifiers[0]].storage == "number" else "categorical"
        fix = "" if request.identifier else "; keep them in the predictions with --id"
        fix += f"{', or' if fix else ';'} learn from one with --kind {identifiers[0]}={usual}"
        notes.append(f"left out, because they look like identifiers: {listed(identifiers)}{fix}")
    notes += several_ways_said(schema, {name: why for name, why in left_out.items() if why != LIKE_AN_IDENTIFIER})
    notes += fused_said(schema, "say --kind {}=categorical", left_out)
    suspects = [column.name for column in schema if column.reason == SUSPECT and column.name not in left_out]
    if suspects:
        notes.append(
            "learned from, though each row has a number of its own there and the name is that of an identifier: "
            f"{listed(suspects)}; if it is one leave it out with --id or --drop, "
            f"else say --kind {suspects[0]}=numeric"
        )
    decided = {*left_out, *request.kinds}
    notes += _codes_said(schema, decided)
    codes = [name for name in padded if name in schema.of_kind("numeric") and name not in decided]
    if codes:
        notes.append(
            f"read as numbers, though zeros stand in front as in codes: {listed(codes)}; if they are codes say "
            f"--kind {codes[0]}=categorical"
        )
    # Of numbers that are one only as float64 it is said already.
    constant = [name for name in schema.of_kind("constant") if name not in {*left_out, *fused_columns(schema)}]
    if constant:
        notes.append(f"constant in the training rows, hence without any effect: {listed(constant)}")
    if card is not None and card.not_features:
        notes.append(f"not features by the data card: {listed(card.not_features)}")
    return notes


def _codes_said(schema: Schema, decided: Collection[str]) -> list[str]:
    """Name columns that are learned from as amounts or as categories, though they may be codes."""
    undecided = [column for column in schema if column.name not in decided]
    notes = []
    if numbers := [column.name for column in undecided if column.reason.startswith(CODES) and column.kind == "numeric"]:
        fix = f"say --kind {numbers[0]}=categorical if it is a code, --id {numbers[0]} if it only names rows, or"
        notes.append(
            f"learned from as amounts, though nearly unique or named like codes: {listed(numbers)}; {fix} "
            f"--kind {numbers[0]}=numeric if it is an amount"
        )
    if texts := [column for column in undecided if column.kind == "categorical" and column.n_levels >= MANY_CODES]:
        names = listed([f"{column.name} ({column.n_levels:,})" for column in texts])
        name = texts[0].name
        notes.append(
            f"categories with thousands of values: {names}; say --id {name} if it only names rows, or "
            f"--kind {name}=categorical to learn from it all the same"
        )
    return notes


def notes_on_blocks(
    features: pd.DataFrame, schema: Schema, variables: Mapping[str, Sequence[str]], request: RunRequest
) -> list[str]:
    """Name blocks of columns that look like one variable each, and columns that determine each other one to one."""
    notes = []
    declared = {column for columns in variables.values() for column in columns}
    with keeping_warnings():
        blocks = propose_one_hot_blocks(features[[name for name in features.columns if name not in declared]])
    blocks = {} if request.groups is not None else blocks
    if blocks:
        shown = "; ".join(f"{name}: {listed(columns)}" for name, columns in list(blocks.items())[:5])
        notes.append(
            f"these columns look like one-hot blocks of one variable each: {shown}; to treat each as one feature, "
            'write them into a JSON file {"name": ["column", ...]} and give it with --groups'
        )
    types = Schema(tuple(column for column in schema if column.name in features.columns))
    # Those that count as one feature belong together.
    if groups := same_columns(features, types, [*variables.values(), *blocks.values()]):
        fix = (
            "leave out all but one with --drop, or treat them as one feature: write them into a JSON file "
            f"{json.dumps(as_groups(groups), ensure_ascii=False)} and give it with --groups"
        )
        notes.append(duplicates_said(groups, fix))
    return notes
