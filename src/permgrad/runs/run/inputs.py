"""From the options of ``permgrad run`` to checked tables: what is a feature, which rows train, what the target is.

Everything that can be wrong with the user's input is found here, before the run's folder is touched.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad import __version__
from permgrad.base.errors import InputError, keeping_warnings, listed, suggest
from permgrad.base.files import file_hash, why_missing
from permgrad.data.datasets import DataCard, fetch_dataset, get_card, list_datasets, load_dataset
from permgrad.data.encode.encoding import TableEncoder, align_columns
from permgrad.data.encode.groups import check_blocks, propose_one_hot_blocks, read_groups
from permgrad.data.encode.statistics import TableStatistics, numeric_cells
from permgrad.data.read.cells import MissingCodes
from permgrad.data.read.reading import Reading, Written, missing_said
from permgrad.data.read.table import is_parquet_folder, read_written, unused_codes
from permgrad.data.read.whole_numbers import FUSED
from permgrad.data.read.written_numbers import unit_said, units_said
from permgrad.data.types.column_notes import as_groups, duplicates_said, fused_columns, fused_said, several_ways_said
from permgrad.data.types.column_types import ColumnType, Kind, Schema, infer_schema
from permgrad.data.types.duplicates import same_columns
from permgrad.data.types.identifiers import CODES, MANY_CODES, SUSPECT
from permgrad.runs.folder.folder import folder_hash
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.dividing import (
    AS_TEXT,
    Divided,
    Rows,
    Task,
    divided,
    find_column,
    notes_on_division,
    positive_label,
    task_of_target,
    text_columns,
)
from permgrad.runs.run.images import images_configuration, locate

#: Why a column is no feature, in the words of the table of columns.
LIKE_AN_IDENTIFIER = "left out: like an identifier"


@dataclass
class SplitPart:
    """One part of the split: features, target, row numbers in the part's file, ``--id`` columns, ``--image`` files."""

    X: pd.DataFrame
    y: npt.NDArray[Any]
    rows: Rows
    identifiers: pd.DataFrame
    images: dict[str, list[Path]] = field(default_factory=dict)


@dataclass
class Inputs:
    """Everything that the stages of a run need to know about the data.

    The schema is of all columns but the target, seen on the training rows; ``left_out`` says why columns are no
    features, ``variables`` which act as one. ``shared_rows`` counts test rows equal to a training row in every column
    of the file, ``alike_rows`` those equal in every feature and the target. Tables to predict on are read by the
    ``decimals``, ``units`` and ``texts`` of this one. ``positive``: of two classes the positive one, else None.
    """

    name: str
    target: str
    task: Task
    task_reason: str
    parts: dict[str, SplitPart]
    schema: Schema
    left_out: dict[str, str]
    variables: dict[str, list[str]]
    na_codes: tuple[str | int | float, ...]
    split: str
    shared_rows: int
    alike_rows: int
    notes: list[str] = field(default_factory=list)
    card: DataCard | None = None
    decimals: dict[str, str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    kinds: dict[str, Kind] = field(default_factory=dict)
    positive: Any = None

    @property
    def encoder_options(self) -> dict[str, Any]:
        """What the table's encoder, and an estimator that makes one, is told of the columns."""
        codes = list(self.na_codes) or None
        return {"na_codes": codes, "variables": self.variables or None, "kinds": self.kinds or None}

    def fit(self, encoder: TableEncoder) -> TableEncoder:
        """Fit an encoder on the training rows; what a column is was decided when the table was read."""
        frame = self.parts["train"].X
        if (encoder.kinds or {}) != self.kinds:  # of a preset that reads pairs of numbers as levels
            return encoder.fit(frame)
        types = {column.name: column for column in self.schema}
        schema = Schema(tuple(types[name] for name in frame.columns))
        statistics = TableStatistics(schema, na_codes=MissingCodes.of(encoder.na_codes))
        return encoder.update(statistics.update(frame))

    @cached_property
    def standard_encoder(self) -> TableEncoder:
        """An encoder that standardises numbers, as baselines take them."""
        return self.fit(TableEncoder("standard", **self.encoder_options))

    @cached_property
    def learned(self) -> npt.NDArray[np.bool_]:
        """``(validation rows,)``: whether the training rows hold their class, too; of numbers all are."""
        y = self.parts["validation"].y
        return np.ones(len(y), dtype=bool) if self.task == "regression" else np.isin(y, self.parts["train"].y)

    @cached_property
    def described(self) -> list[ColumnType]:
        """The columns, those of numbers with their units as the reason."""
        return [
            replace(one, reason=unit_said(self.units[one.name]))
            if one.name in self.units and one.reason.startswith("numbers") and not one.reason.endswith(FUSED)
            else one
            for one in self.schema
        ]

    @property
    def columns(self) -> pd.DataFrame:
        """One row per column, for the report: name, kind, missing, levels, role, reason."""
        roles = {column: f"part of {name}" for name, members in self.variables.items() for column in members}
        roles |= self.left_out
        rows = [
            (one.name, one.kind, one.n_missing, one.n_levels, roles.get(one.name, "feature"), one.reason)
            for one in self.described
        ]
        return pd.DataFrame(rows, columns=["name", "kind", "missing", "levels", "role", "reason"])

    @property
    def shown(self) -> Schema:
        """The columns for the terminal: a column that the user left out says so, not what its values look like."""
        reasons = {name: why for name, why in self.left_out.items() if why != LIKE_AN_IDENTIFIER}
        columns = (replace(column, reason=reasons.get(column.name, column.reason)) for column in self.described)
        return Schema(tuple(columns))


# ---- which table -----------------------------------------------------------------------------------------------------
def configuration(request: RunRequest) -> dict[str, Any]:
    """Return everything that changes the result of a run, with the content of files in the place of their names."""
    # With the version: what another one began is not gone on with, and what it finished is not taken for this one's.
    content: dict[str, Any] = {"permgrad": __version__, "table": request.name}
    content["table content"] = content_of(request.table)
    for role in ("test", "validation", "groups"):
        path = getattr(request, role)
        content[role] = None if path is None else content_of(path, role)
    content |= {"target": list(request.target), "task": request.task, "drop": list(request.drop)}
    content |= {"id": list(request.identifier), "na": list(request.na_codes), "group": request.group}
    content |= {"time": request.time, "preset": request.preset}
    if request.preset.endswith(".json"):
        content["preset"] = content_of(request.preset, "preset")
    optional: dict[str, Any] = {"not_na": sorted(set(request.kept_texts)), "kind": dict(sorted(request.kinds.items()))}
    optional |= {"batch_size": request.batch_size, "positive": request.positive}
    optional |= {"cost": None if request.cost is None else list(request.cost)}
    optional |= images_configuration(request) if request.images else {}
    optional |= {"named_baselines": sorted(set(request.named_baselines))}
    content |= {name: value for name, value in optional.items() if value not in (None, [], {}) or name == "image_size"}
    return content | {"baselines": request.baselines, "seed": request.seed, "split_seed": request.split_seed}


def content_of(source: str | Path, role: str = "table") -> str:
    """Return a hash of the content of a file, or which named data set it is (``./heloc`` is a file of that name)."""
    path, names = Path(source), list_datasets() if role == "table" else []
    if source in names:
        file = fetch_dataset(str(source))
        return f"data set {source}" if file is None else file_hash(file)
    if role in ("table", "test", "validation") and is_parquet_folder(path):
        return folder_hash(path)
    if path.is_file():
        return file_hash(path)
    what = "is a folder" if path.is_dir() else why_missing(path)
    try:
        neighbours = [entry.name for entry in islice(path.parent.iterdir(), 1000) if entry.name != path.name]
    except OSError:
        neighbours = []
    near = suggest(path.name, [*names, *neighbours])
    sets = f"; named data sets are {', '.join(names)}" if names else ""
    raise InputError(
        f"{role} must be an existing file, however: {os.fspath(path)!r} {what}{near}; check the path{sets}"
    )


# ---- loading ---------------------------------------------------------------------------------------------------------
def load_inputs(request: RunRequest, *, kept_group: str | None = None, undivided: bool = False) -> Inputs:
    """Read and check all tables of a run, and divide the rows; ``InputError`` says what to mend.

    ``permgrad compare`` divides the rows itself: they stay ``undivided``, all of them the training part, and of the
    identifiers ``kept_group`` is the one that the user gave as ``--group``.
    """
    card = get_card(request.table) if request.table in list_datasets() else None
    kinds, written = request.kinds, _read(request, card)
    codes: tuple[str | int | float, ...] = request.na_codes or (card.na_codes if card else ())
    group = request.group if kept_group is None else kept_group
    target, left_out = _roles(request, card, list(written.frame.columns), group, kept_group)
    request = replace(request, task=task_of_target(kinds, target, request.task))
    for name, kind in kinds.items():
        find_column(name, list(written.frame.columns), "--kind")
        if name in left_out:
            raise InputError(
                f"--kind is for columns to predict from, however: --kind {name}={kind} and {name!r} is "
                f"{left_out[name]}; leave one of them out"
            )
    left_out |= {name: "left out: --kind identifier" for name, kind in kinds.items() if kind == "identifier"}
    notes = [*written.notes]
    notes += missing_said({name: cells for name, cells in written.missing.items() if name not in left_out})
    rows = divided(request, card, written, target, codes, notes, undivided=undivided)
    train = rows.tables["train"]
    stated = card.positive if card is not None and target == card.target else None
    positive = positive_label(rows.truths["train"], rows.task, request.positive, stated)
    with written.lines.named():
        columns = train.drop(columns=target)
        schema = infer_schema(columns, na_codes=codes, kinds=kinds) if columns.shape[1] else Schema(())
    left_out |= {name: LIKE_AN_IDENTIFIER for name in schema.of_kind("identifier") if name not in left_out}
    features = [name for name in schema.names if name not in left_out]
    _check_features(schema, features, left_out, target)
    _match(request, rows, [schema[name] for name in features], target, group)
    variables = _variables(request, card, features)
    notes += notes_on_cells(request, target, rows, written)
    notes += units_said(written.units, {name: why for name, why in left_out.items() if name != target} | dict(kinds))
    notes += notes_on_columns(schema, left_out, request, card, written.padded)
    notes += notes_on_blocks(train[features], schema, variables, request)
    images = locate(request, rows.tables, notes)
    shared, alike = notes_on_division(notes, request, rows, [*features, *request.images, target])
    parts = {
        part: SplitPart(
            table[features],
            rows.truths[part],
            table.index.to_numpy(dtype=np.int64),
            table[[name for name in request.identifier if name in table.columns]],
            images[part],
        )
        for part, table in rows.tables.items()
    }
    return Inputs(
        name=request.name,
        target=target,
        task=rows.task,
        task_reason=rows.reason,
        parts=parts,
        schema=schema,
        left_out=left_out,
        variables=variables,
        na_codes=codes,
        split=rows.split,
        shared_rows=shared,
        alike_rows=alike,
        notes=notes,
        card=card,
        decimals=dict(written.decimals),
        units=dict(written.units),
        texts=text_columns(written, kinds),
        kinds={name: kind for name, kind in kinds.items() if name in features},
        positive=positive,
    )


def _read(request: RunRequest, card: DataCard | None) -> Written:
    """Return the table as it is written in its file, or in a named data set."""
    if card:
        return Written.typed(load_dataset(request.table).frame, card.na_codes)
    single = [name for name in (request.group, request.time) if name is not None]
    reading = Reading(
        codes=MissingCodes.of(request.na_codes),
        classes=request.target[:1],
        categories=[name for name, kind in request.kinds.items() if kind == "categorical"],
        identifiers=request.names_of_rows,
        # What an option names is read, also where it only numbers the rows.
        named=(*request.target, *request.drop, *request.identifier, *request.kinds, *request.images, *single),
        not_na=request.kept_texts,
    )
    return read_written(request.table, reading)


def _roles(
    request: RunRequest, card: DataCard | None, columns: list[str], group: str | None, kept_group: str | None
) -> tuple[str, dict[str, str]]:
    """Return the target, and the columns that are no features and why; a target among them is a contradiction."""
    if request.target:
        target = request.target[0]
        find_column(target, columns, "target")
    elif card is not None:
        target = card.target
    else:
        raise InputError(
            "a run needs the column to predict, however: no --target is given; its columns are "
            f"{listed(columns, 8, repr)}"
        )
    roles: dict[str, str] = {}
    if card is not None:
        roles |= dict.fromkeys(card.not_features, "left out: not a feature by its data card")
        if card.target != target:
            roles[card.target] = "left out: the usual target"
    for option, why, names in (
        ("drop", "left out: --drop", request.drop),
        ("id", "identifier: --id", request.identifier),
        ("image", "image: --image", request.images),
        ("group", "left out: --group", () if group is None else (group,)),
        ("time", "left out: --time", () if request.time is None else (request.time,)),
    ):
        for name in names:
            if option != "id" or name != kept_group:
                find_column(name, columns, option)
            roles[name] = why
    if target in roles and target not in (card.not_features if card is not None else ()):
        raise InputError(
            f"the target must not be left out, however: {target!r} is the target and also "
            f"{roles[target].partition(': ')[2]}; choose one"
        )
    roles.pop(target, None)
    return target, roles


# ---- columns ---------------------------------------------------------------------------------------------------------
def _check_features(schema: Schema, features: Sequence[str], left_out: Mapping[str, str], target: str) -> None:
    if not features:
        reasons = "; ".join(f"{name!r} is {why}" for name, why in list(left_out.items())[:3])
        fix = f" ({reasons}); add columns, or leave fewer out" if reasons else "; add columns"
        raise InputError(
            f"a table must have a column to predict from, however: beside the target {target!r} there is none{fix}"
        )
    if all(schema[name].kind == "constant" for name in features):
        fused = fused_columns(schema, left_out)
        why = f" as float64: {listed(list(fused.values()))}" if fused else ""
        fix = f"say --kind {next(iter(fused))}=categorical, or add columns" if fused else "add columns, or check --na"
        raise InputError(
            "a table must have a column that varies, however: among the training rows "
            f"{listed(features, show=repr)} hold{'s' if len(features) == 1 else ''} one value each{why}; {fix}"
        )


def _match(request: RunRequest, rows: Divided, columns: Sequence[ColumnType], target: str, group: str | None) -> None:
    """Leave in the parts' own files what is needed; refuse files that lack some of it, and cells that no encoder reads.

    Cells of training rows gave the types.
    """
    needed = [*(column.name for column in columns), *request.images, target]
    optional = [*request.identifier, *([] if group is None else [group])]
    trained = set(rows.tables["train"].columns)
    for part, table in rows.files.items():
        wanted = [*needed, *(name for name in optional if name in table.columns and name not in needed)]
        silent = [name for name in table.columns if name in trained and name not in wanted]
        rows.files[part] = rows.tables[part] = align_columns(table.drop(columns=silent), wanted)
    read = [column for column in columns if column.kind != "identifier" and column.storage != "text"]
    for part in ("validation", "test"):
        table = rows.tables[part]
        if read and len(table):
            with rows.lines[part].named():
                numeric_cells(table[[column.name for column in read]], read, MissingCodes.of(rows.codes))


def _variables(request: RunRequest, card: DataCard | None, features: Sequence[str]) -> dict[str, list[str]]:
    if request.groups is None:
        members = {} if card is None else card.variables
        present = {name: [column for column in names if column in features] for name, names in members.items()}
        return {name: names for name, names in present.items() if names}
    groups = read_groups(request.groups)
    for name, names in groups.items():
        for column in names:
            if column not in features:
                raise InputError(
                    f"groups must list features, however: group {name!r} lists {column!r}, which is none"
                    f"{suggest(column, features)}; correct {request.groups}"
                )
    try:
        check_blocks(groups, list(features), "group")
    except InputError as error:
        raise InputError(f"{error} in {request.groups}") from None
    return groups


# ---- what the user is told of columns --------------------------------------------------------------------------------
def notes_on_cells(request: RunRequest, target: str, rows: Divided, written: Written) -> list[str]:
    """Name codes for missing that no table has, and say where zeros in front of the target's values are passed over."""
    first, *further = [unused_codes(table, request.na_codes) for table in (written.frame, *rows.files.values())]
    unused = [code for code in first if all(code in codes for codes in further)]
    notes = [f"codes for missing that never occur: {listed(unused, show=repr)}; check --na"] if unused else []
    alike = written.alike.get(target)
    if alike is not None and rows.task == "classification":
        notes.append(
            f"classes of {target!r} that differ only by zeros in front are one class, such as {alike[0]!r} and "
            f"{alike[1]!r}, because they are read as numbers; if they are not the same {AS_TEXT}"
        )
    elif target in written.padded:
        notes.append(
            f"the target {target!r} is read as numbers, though zeros stand in front as in codes, and is predicted "
            f"without them; if it holds codes {AS_TEXT}"
        )
    return notes


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
