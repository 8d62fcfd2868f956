"""From the options of ``permgrad run`` to checked tables: what is a feature, which rows train, what the target is.

Everything that can be wrong with the user's input is found here, before the run's folder is touched.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad import __version__
from permgrad.base.errors import InputError, listed, suggest
from permgrad.base.files import file_hash, why_missing
from permgrad.data.datasets import DataCard, fetch_dataset, get_card, list_datasets, load_dataset
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.encode.groups import check_blocks, read_groups
from permgrad.data.encode.statistics import TableStatistics, numeric_cells
from permgrad.data.read.cells import MissingCodes
from permgrad.data.read.missing_texts import missing_said
from permgrad.data.read.reading import Reading, Written
from permgrad.data.read.table import is_parquet_folder, read_written
from permgrad.data.read.whole_numbers import FUSED
from permgrad.data.read.written_numbers import unit_said, units_said
from permgrad.data.types.column_notes import fused_columns
from permgrad.data.types.column_types import ColumnType, Kind, Schema, infer_schema
from permgrad.runs.folder.folder import folder_hash
from permgrad.runs.requests import RunRequest, parse_kinds
from permgrad.runs.run.dividing import Divided, Rows, divided, shared_rows
from permgrad.runs.run.images import images_configuration, locate, notes_on_images
from permgrad.runs.run.input_notes import (
    LIKE_AN_IDENTIFIER,
    note_blocks,
    note_columns,
    note_duplicates,
    note_target,
    notes_on_codes,
)
from permgrad.runs.run.part_files import notes_on_division, text_columns, with_needed_columns
from permgrad.runs.run.target import Task, check_kinds, find_column, positive_label, task_of_target


@dataclass
class SplitPart:
    """One part of the split.

    Attributes:
        X: Features, in the order of training, with their own row labels.
        y: Target values.
        rows: Row numbers in the file that the part comes from, counted from 0.
        identifiers: The columns given by ``--id``.
        images: For each column given by ``--image`` the rows' files.
    """

    X: pd.DataFrame
    y: npt.NDArray[Any]
    rows: Rows
    identifiers: pd.DataFrame
    images: dict[str, list[Path]] = field(default_factory=dict)


@dataclass
class Inputs:
    """Everything that the stages of a run need to know about the data.

    Attributes:
        name: Name of the table.
        target: The target's column.
        task: What it asks for, and ``task_reason`` why.
        parts: The three parts of the split by name.
        schema: Types of all columns but the target, seen on the training rows.
        left_out: Columns that are no features, with the reason.
        variables: Columns that act as one feature.
        na_codes: Codes that mean missing.
        split: How the rows were divided, in words.
        shared_rows: Test rows that are equal to a training row in every column of the file.
        alike_rows: Test rows that are equal to a training row in every feature and the target.
        notes: Sentences for the user.
        card: The data card of a named set.
        kinds: Features whose kind the user gave.
        positive: Of two classes the positive one; None: there are more, or none.
        decimals: Decimal signs of the file's columns; tables to predict on are read accordingly.
        units: Units of the file's columns of numbers; tables to predict on are read accordingly.
        texts: Columns of text; tables to predict on are read accordingly, also where they hold numbers alone.
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

    @property
    def columns(self) -> pd.DataFrame:
        """One row per column, for the report: name, kind, missing, levels, role, reason."""
        block_of = {column: name for name, members in self.variables.items() for column in members}
        rows = []
        for column in self._with_units():
            role = self.left_out.get(column.name) or (
                f"part of {block_of[column.name]}" if column.name in block_of else "feature"
            )
            rows.append((column.name, column.kind, column.n_missing, column.n_levels, role, column.reason))
        return pd.DataFrame(rows, columns=["name", "kind", "missing", "levels", "role", "reason"])

    @property
    def shown(self) -> Schema:
        """The columns for the terminal: a column that the user left out says so, not what its values look like."""
        reasons = {name: why for name, why in self.left_out.items() if why != LIKE_AN_IDENTIFIER}
        columns = (replace(column, reason=reasons.get(column.name, column.reason)) for column in self._with_units())
        return Schema(tuple(columns))

    def _with_units(self) -> Iterator[ColumnType]:
        """Yield the columns, those of numbers with their units as the reason."""
        for column in self.schema:
            if column.name in self.units and column.reason.startswith("numbers") and not column.reason.endswith(FUSED):
                yield replace(column, reason=unit_said(self.units[column.name]))
            else:
                yield column


# ---- which table -----------------------------------------------------------------------------------------------------
def is_named(table: str) -> bool:
    """Whether a table is meant by the name of a data set (a file of that name needs ``./`` before it)."""
    return table in list_datasets()


def configuration(request: RunRequest) -> dict[str, Any]:
    """Return everything that changes the result of a run, with the content of files in the place of their names.

    Args:
        request: What is asked.

    Raises:
        InputError: A file does not exist.
        EnvironmentProblem: A file cannot be read, or a named data set is not to be had.
    """
    # With the version: what another one began is not gone on with, and what it finished is not taken for this one's.
    content: dict[str, Any] = {
        "permgrad": __version__,
        "table": request.name,
        "table content": content_of(request.table),
    }
    for role in ("test", "validation", "groups"):
        path = getattr(request, role)
        content[role] = None if path is None else _file_content(path, role)
    content |= {"target": list(request.target), "task": request.task, "drop": list(request.drop)}
    content |= {"id": list(request.identifier), "na": list(request.na_codes)}
    content |= {"group": request.group, "time": request.time, "preset": request.preset}
    if request.preset.endswith(".json"):
        content["preset"] = _file_content(Path(request.preset), "preset")
    content |= {"not_na": sorted(set(request.kept_texts))} if request.kept_texts else {}
    content |= {"kind": dict(sorted(parse_kinds(request.kind).items()))} if request.kind else {}
    content |= {} if request.batch_size is None else {"batch_size": request.batch_size}
    content |= {} if request.positive is None else {"positive": request.positive}
    content |= {} if request.cost is None else {"cost": list(request.cost)}
    content |= images_configuration(request) if request.images else {}
    content |= {"named_baselines": sorted(set(request.named_baselines))} if request.named_baselines else {}
    return content | {"baselines": request.baselines, "seed": request.seed, "split_seed": request.split_seed}


def content_of(table: str, role: str = "table") -> str:
    """Return a hash of the content of a table, or which named data set it is."""
    if is_named(table):
        file = fetch_dataset(table)
        return f"data set {table}" if file is None else file_hash(file)
    return _file_content(Path(table), role)


def _file_content(path: Path, role: str) -> str:
    if role in ("table", "test", "validation") and is_parquet_folder(path):
        return folder_hash(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else why_missing(path)
        names = list_datasets() if role == "table" else []
        near = suggest(path.name, [*names, *_neighbours(path)])
        sets = f"; named data sets are {', '.join(names)}" if names else ""
        raise InputError(
            f"{role} must be an existing file, however: {os.fspath(path)!r} {what}{near}; check the path{sets}"
        )
    return file_hash(path)


def _neighbours(path: Path) -> list[str]:
    try:
        return [entry.name for entry in islice(path.parent.iterdir(), 1000) if entry.name != path.name]
    except OSError:
        return []


# ---- loading ---------------------------------------------------------------------------------------------------------
def load_inputs(request: RunRequest, *, kept_group: str | None = None, undivided: bool = False) -> Inputs:
    """Read and check all tables of a run, and divide the rows.

    Args:
        request: What is asked.
        kept_group: The one of the identifiers that the user gave as ``--group``: ``permgrad compare`` divides the rows
            itself and needs its values.
        undivided: All rows of the table are the training part, and the others are empty.

    Raises:
        InputError: Something is wrong with what the user gave; the message says what and how to mend it.
        EnvironmentProblem: A file cannot be read, or a named data set is not to be had.
    """
    card = get_card(request.table) if is_named(request.table) else None
    written = _read(request, card)
    columns = list(written.frame.columns)
    target = _target_name(request, card, columns)
    codes: tuple[str | int | float, ...] = request.na_codes or (card.na_codes if card else ())
    group = request.group if kept_group is None else kept_group
    _check_names(request, columns, group, kept_group)
    left_out = _roles(request, card, target, group)
    kinds = parse_kinds(request.kind)
    request = replace(request, task=task_of_target(kinds, target, request.task))
    check_kinds(kinds, columns, left_out)
    left_out |= {name: "left out: --kind identifier" for name, kind in kinds.items() if kind == "identifier"}
    notes = [*written.notes]
    notes += missing_said({name: cells for name, cells in written.missing.items() if name not in left_out})
    rows = divided(request, card, written, target, codes, notes, undivided=undivided)
    train = rows.tables["train"]
    stated = card.positive if card is not None and target == card.target else None
    positive = positive_label(rows.truths["train"], rows.task, request.positive, stated)
    with written.lines.named():
        schema = _schema(train.drop(columns=target), codes, target, kinds)
    left_out |= {name: LIKE_AN_IDENTIFIER for name in schema.of_kind("identifier") if name not in left_out}
    features = [name for name in schema.names if name not in left_out]
    _check_features(schema, features, left_out, target)
    test = rows.tables["test"]
    _align(request, rows, [*features, *request.images, target], group)
    variables = _variables(request, card, features)
    notes += notes_on_codes(request, [written.frame, *rows.files.values()])
    note_target(notes, target, rows.task, written)
    notes += units_said(written.units, {name: why for name, why in left_out.items() if name != target} | dict(kinds))
    note_columns(notes, schema, left_out, request, card, written.padded)
    blocks = note_blocks(notes, train[features], variables, request)
    note_duplicates(notes, train[features], schema, [*variables.values(), *blocks])
    _check_cells(rows, Schema(tuple(schema[name] for name in features)), codes)
    images = locate(request, rows.tables)
    notes += notes_on_images(images)
    notes += notes_on_division(request, train, rows.files)
    shared, alike = shared_rows(notes, train, test, [*features, *request.images, target])
    return Inputs(
        name=request.name,
        target=target,
        task=rows.task,
        task_reason=rows.reason,
        parts=_parts(request, rows, features, images),
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


# ---- what was read ---------------------------------------------------------------------------------------------------


def _read(request: RunRequest, card: DataCard | None) -> Written:
    """Return the table as it is written in its file, or in a named data set."""
    if card:
        return Written.typed(load_dataset(request.table).frame, card.na_codes)
    categories = [name for name, kind in parse_kinds(request.kind).items() if kind == "categorical"]
    reading = Reading(
        codes=MissingCodes.of(request.na_codes),
        classes=request.target[:1],
        categories=categories,
        identifiers=request.names_of_rows,
        named=request.named_columns,
        not_na=request.kept_texts,
    )
    return read_written(request.table, reading)


def _check_names(request: RunRequest, columns: list[str], group: str | None, kept_group: str | None) -> None:
    """Refuse options that name columns which are not there."""
    named = [name for name in request.identifier if name != kept_group]
    single = [("group", group), ("time", request.time)]
    for role, names in (("drop", request.drop), ("id", named), ("image", request.images)):
        for name in names:
            find_column(name, columns, role)
    for role, one in single:
        if one is not None:
            find_column(one, columns, role)


def _align(request: RunRequest, rows: Divided, needed: Sequence[str], group: str | None) -> None:
    """Leave in the parts' own files what is needed, and refuse files that lack some of it."""
    optional = [*request.identifier, *([] if group is None else [group])]
    silent = list(rows.tables["train"].columns)
    for part, table in rows.files.items():
        rows.files[part] = rows.tables[part] = with_needed_columns(table, needed, optional, silent)


def _parts(
    request: RunRequest, rows: Divided, features: list[str], images: Mapping[str, dict[str, list[Path]]]
) -> dict[str, SplitPart]:
    return {
        part: SplitPart(
            table[features],
            rows.truths[part],
            table.index.to_numpy(dtype=np.int64),
            table[[name for name in request.identifier if name in table.columns]],
            images[part],
        )
        for part, table in rows.tables.items()
    }


def _target_name(request: RunRequest, card: DataCard | None, names: list[str]) -> str:
    if not request.target:
        if card is not None:
            return card.target
        listed = ", ".join(repr(name) for name in names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        raise InputError(f"a run needs the column to predict, however: no --target is given; its columns are {listed}")
    find_column(request.target[0], names, "target")
    return request.target[0]


def _roles(request: RunRequest, card: DataCard | None, target: str, group: str | None) -> dict[str, str]:
    """Return the columns that are no features and why; a target among them is a contradiction."""
    roles: dict[str, str] = {}
    if card is not None:
        roles |= dict.fromkeys(card.not_features, "left out: not a feature by its data card")
        if card.target != target:
            roles[card.target] = "left out: the usual target"
    roles |= dict.fromkeys(request.drop, "left out: --drop")
    roles |= dict.fromkeys(request.identifier, "identifier: --id")
    roles |= dict.fromkeys(request.images, "image: --image")
    if group is not None:
        roles[group] = "left out: --group"
    if request.time is not None:
        roles[request.time] = "left out: --time"
    if target in roles and target not in (card.not_features if card is not None else ()):
        raise InputError(
            f"the target must not be left out, however: {target!r} is the target and also "
            f"{roles[target].partition(': ')[2]}; choose one"
        )
    roles.pop(target, None)
    return roles


# ---- columns ---------------------------------------------------------------------------------------------------------
def _schema(
    frame: pd.DataFrame,
    codes: Sequence[str | int | float],
    target: str,
    kinds: Mapping[str, Kind],
) -> Schema:
    if frame.shape[1] == 0:
        raise InputError(
            f"a table must have a column to predict from, however: beside the target {target!r} there is none; "
            "add columns"
        )
    return infer_schema(frame, na_codes=codes, kinds=kinds)


def _check_features(schema: Schema, features: Sequence[str], left_out: Mapping[str, str], target: str) -> None:
    if not features:
        reasons = "; ".join(f"{name!r} is {why}" for name, why in list(left_out.items())[:3])
        raise InputError(
            f"a table must have a column to predict from, however: beside the target {target!r} there is none "
            f"({reasons}); add columns, or leave fewer out"
        )
    if all(schema[name].kind == "constant" for name in features):
        fused = fused_columns(schema, left_out)
        why = f" as float64: {listed(list(fused.values()))}" if fused else ""
        fix = f"say --kind {next(iter(fused))}=categorical, or add columns" if fused else "add columns, or check --na"
        raise InputError(
            "a table must have a column that varies, however: among the training rows "
            f"{listed(features, show=repr)} hold{'s' if len(features) == 1 else ''} one value each{why}; {fix}"
        )


def _check_cells(rows: Divided, schema: Schema, codes: Sequence[str | int | float]) -> None:
    """Refuse cells that cannot be encoded, as the encoder would; those of training rows gave the types."""
    read = [column for column in schema if column.kind != "identifier" and column.storage != "text"]
    for part in ("validation", "test"):
        table = rows.tables[part]
        if read and len(table):
            with rows.lines[part].named():
                numeric_cells(table[[column.name for column in read]], read, MissingCodes.of(codes))


def _variables(request: RunRequest, card: DataCard | None, features: Sequence[str]) -> dict[str, list[str]]:
    if request.groups is not None:
        groups = read_groups(request.groups)
        for name, members in groups.items():
            for column in members:
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
    if card is None:
        return {}
    present = {name: [column for column in members if column in features] for name, members in card.variables.items()}
    return {name: members for name, members in present.items() if members}
