"""From the options of ``permgrad run`` to checked tables: what is a feature, which rows train, what the target is.

Everything that can be wrong with the user's input is found here, before the run's folder is touched.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad import __version__
from permgrad._errors import InputError, keeping_warnings, listed, suggest
from permgrad._files import file_hash
from permgrad.data.column_types import Kind, Schema, infer_schema
from permgrad.data.datasets import DataCard, fetch_dataset, get_card, list_datasets, load_dataset
from permgrad.data.duplicates import as_groups, duplicates_said, same_columns
from permgrad.data.groups import check_blocks, propose_one_hot_blocks, read_groups
from permgrad.data.identifiers import SUSPECT
from permgrad.data.spellings import several_ways_said
from permgrad.data.splitting import count_shared_rows, split_rows
from permgrad.data.table import is_parquet_folder, read_written, unused_codes
from permgrad.data.written_numbers import Written
from permgrad.runs import gradients, image_files
from permgrad.runs.declared_kinds import check_kinds, parse_kinds
from permgrad.runs.folder import folder_hash
from permgrad.runs.part_files import notes_on_division, read_part_files, text_columns, with_needed_columns, with_target
from permgrad.runs.request import RunRequest
from permgrad.runs.target import Task, choose_task, find_column, target_values

PARTS = ("train", "validation", "test")
#: Fewer rows than these are not divided in three.
FEWEST_ROWS = 10
_LIKE_AN_IDENTIFIER = "left out: like an identifier"
Rows = npt.NDArray[np.int64]


@dataclass
class Part:
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
        shared_rows: Test rows that also stand in the training rows.
        notes: Sentences for the user.
        card: The data card of a named set.
        kinds: Features whose kind the user gave.
        decimals: Decimal signs of the file's columns; tables to predict on are read accordingly.
        texts: Columns of text; tables to predict on are read accordingly, also where they hold numbers alone.
    """

    name: str
    target: str
    task: Task
    task_reason: str
    parts: dict[str, Part]
    schema: Schema
    left_out: dict[str, str]
    variables: dict[str, list[str]]
    na_codes: tuple[str | int | float, ...]
    split: str
    shared_rows: int
    notes: list[str] = field(default_factory=list)
    card: DataCard | None = None
    decimals: dict[str, str] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    kinds: dict[str, Kind] = field(default_factory=dict)

    @property
    def encoder_options(self) -> dict[str, Any]:
        """What the table's encoder, and an estimator that makes one, is told of the columns."""
        codes = list(self.na_codes) or None
        return {"na_codes": codes, "variables": self.variables or None, "kinds": self.kinds or None}

    @property
    def columns(self) -> pd.DataFrame:
        """One row per column, for the report: name, kind, missing, levels, role, reason."""
        block_of = {column: name for name, own in self.variables.items() for column in own}
        rows = []
        for column in self.schema:
            role = self.left_out.get(column.name) or (
                f"part of {block_of[column.name]}" if column.name in block_of else "feature"
            )
            rows.append((column.name, column.kind, column.n_missing, column.n_levels, role, column.reason))
        return pd.DataFrame(rows, columns=["name", "kind", "missing", "levels", "role", "reason"])

    @property
    def shown(self) -> Schema:
        """The columns for the terminal: a column that the user left out says so, not what its values look like."""
        asked = {name: why for name, why in self.left_out.items() if why != _LIKE_AN_IDENTIFIER}
        return Schema(tuple(replace(column, reason=asked.get(column.name, column.reason)) for column in self.schema))


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
    content: dict[str, Any] = {"permgrad": __version__, "table": request.name}
    content["table content"] = _content_of(request.table)
    for role in ("test", "validation", "groups"):
        path = getattr(request, role)
        content[role] = None if path is None else _file_content(path, role)
    content |= {"target": list(request.target), "task": request.task, "drop": list(request.drop)}
    content |= {"id": list(request.identifier), "na": list(request.na_codes)}
    content |= {"group": request.group, "time": request.time, "preset": request.preset}
    if request.preset.endswith(".json"):
        content["preset"] = _file_content(Path(request.preset), "preset")
    content |= {"kind": dict(sorted(parse_kinds(request.kind).items()))} if request.kind else {}
    content |= {} if request.batch_size is None else {"batch_size": request.batch_size}
    content |= {} if request.cost is None else {"cost": list(request.cost)}
    content |= image_files.configuration(request) if request.images else {}
    content |= {"named_baselines": sorted(set(request.named_baselines))} if request.named_baselines else {}
    return content | {"baselines": request.baselines, "seed": request.seed, "split_seed": request.split_seed}


def _content_of(table: str) -> str:
    if is_named(table):
        file = fetch_dataset(table)
        return f"data set {table}" if file is None else file_hash(file)
    return _file_content(Path(table), "table")


def _file_content(path: Path, role: str) -> str:
    if role in ("table", "test", "validation") and is_parquet_folder(path):
        return folder_hash(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        names = list_datasets() if role == "table" else []
        near = suggest(path.name, [*names, *_neighbours(path)])
        known = f"; named data sets are {', '.join(names)}" if names else ""
        raise InputError(
            f"{role} must be an existing file, however: {os.fspath(path)!r} {what}{near}; check the path{known}"
        )
    return file_hash(path)


def _neighbours(path: Path) -> list[str]:
    try:
        return [entry.name for entry in path.parent.iterdir()][:1000]
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
    check_kinds(kinds, columns, target, left_out, request.task)
    left_out |= {name: "left out: --kind identifier" for name, kind in kinds.items() if kind == "identifier"}
    notes: list[str] = []
    rows = _divided(request, card, written, target, codes, notes, undivided=undivided)
    train = rows.tables["train"]
    schema = _schema(train.drop(columns=target), codes, target, written.percents, kinds)
    left_out |= {name: _LIKE_AN_IDENTIFIER for name in schema.of_kind("identifier") if name not in left_out}
    features = [name for name in schema.names if name not in left_out]
    _check_features(schema, features, left_out, target)
    _align(request, rows, [*features, *request.images, target], group)
    variables = _variables(request, card, features)
    notes += _notes_on_codes(request, [written.frame, *rows.files.values()])
    _note_columns(notes, schema, left_out, request, card)
    blocks = _note_blocks(notes, train[features], variables, request)
    _note_duplicates(notes, train[features], schema, [*variables.values(), *blocks])
    images = image_files.locate(request, rows.tables)
    notes += image_files.notes_on(images)
    notes += notes_on_division(request, train, rows.files)
    shared = _shared_rows(notes, rows.tables, [*features, *request.images, target])
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
        notes=notes,
        card=card,
        decimals=written.decimals,
        texts=text_columns(written, kinds),
        kinds={name: kind for name, kind in kinds.items() if name in features},
    )


# ---- rows ------------------------------------------------------------------------------------------------------------
@dataclass
class _Divided:
    """The rows of a run.

    Attributes:
        task: What the target asks for, and ``reason`` why.
        files: Tables of the parts that have a file of their own.
        tables: Every part's table, the target in it, and ``truths`` its target values.
        split: How the rows were divided, in words.
    """

    task: Task
    reason: str
    files: dict[str, pd.DataFrame]
    tables: dict[str, pd.DataFrame]
    truths: dict[str, npt.NDArray[Any]]
    split: str


def _read(request: RunRequest, card: DataCard | None) -> Written:
    """Return the table as it is written in its file, or in a named data set."""
    if card:
        return Written.typed(load_dataset(request.table).frame, card.na_codes)
    return read_written(request.table, codes=request.na_codes)


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


def _divided(
    request: RunRequest,
    card: DataCard | None,
    written: Written,
    target: str,
    codes: Sequence[str | int | float],
    notes: list[str],
    *,
    undivided: bool,
) -> _Divided:
    """Return the rows whose target is known, in three parts; all of them in the first if they stay undivided."""
    frame = with_target(written.frame, target, codes, notes)
    files = read_part_files(request, written, target, codes, notes)
    _check_rows(len(frame), files)
    task, reason = _task(request, card, frame[target], target)
    labels = {name: target_values(own[target], task, target) for name, own in _all_tables(frame, files).items()}
    _check_labels(labels, task, target, request)
    places, split = _undivided(len(frame)) if undivided else _divide(request, frame, labels["table"], task, files)
    tables = {part: frame.iloc[places[part]] if part in places else files[part] for part in PARTS}
    truths = {part: labels["table"][places[part]] if part in places else labels[part] for part in PARTS}
    _check_training(truths["train"], task, target)
    return _Divided(task, reason, files, tables, truths, split)


def _align(request: RunRequest, rows: _Divided, needed: Sequence[str], group: str | None) -> None:
    """Leave in the parts' own files what is needed, and refuse files that lack some of it."""
    kept = [*request.identifier, *([] if group is None else [group])]
    known = list(rows.tables["train"].columns)
    for part, own in rows.files.items():
        rows.files[part] = rows.tables[part] = with_needed_columns(own, needed, kept, known)


def _parts(
    request: RunRequest, rows: _Divided, features: list[str], images: Mapping[str, dict[str, list[Path]]]
) -> dict[str, Part]:
    return {
        part: Part(
            own[features],
            rows.truths[part],
            own.index.to_numpy(dtype=np.int64),
            own[[name for name in request.identifier if name in own.columns]],
            images[part],
        )
        for part, own in rows.tables.items()
    }


def _shared_rows(notes: list[str], tables: Mapping[str, pd.DataFrame], columns: list[str]) -> int:
    """Return how many test rows also stand in the training rows, and note it."""
    test = tables["test"]
    shared = count_shared_rows(tables["train"][columns], test[columns])
    if shared:
        share = shared / len(test)
        notes.append(f"{shared} of {len(test)} test rows ({share:.1%}) also stand in the training rows")
    return shared


def _notes_on_codes(request: RunRequest, tables: Sequence[pd.DataFrame]) -> list[str]:
    """Name codes for missing that no table of the run has."""
    first, *others = [unused_codes(own, request.na_codes) for own in tables]
    unused = [code for code in first if all(code in own for own in others)]
    return [f"codes for missing that never occur: {listed(unused, show=repr)}; check --na"] if unused else []


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


def _check_rows(count: int, files: Mapping[str, pd.DataFrame]) -> None:
    fewest, why = (2, "to learn from") if len(files) == 2 else (FEWEST_ROWS, "to be divided")
    if count < fewest:
        fix = "give more rows" + ("" if len(files) == 2 else ", or --test and --validation files")
        raise InputError(
            f"a table must have at least {fewest} rows with a target {why}, however: it has {count}; {fix}"
        )


def _all_tables(frame: pd.DataFrame, files: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    return {"table": frame, **files}


def _task(request: RunRequest, card: DataCard | None, values: pd.Series[Any], target: str) -> tuple[Task, str]:
    if card is not None and request.task == "auto" and target == card.target:
        return card.task, "known from its data card"
    return choose_task(values, request.task, target)


def _check_labels(labels: Mapping[str, npt.NDArray[Any]], task: Task, target: str, request: RunRequest) -> None:
    """Refuse classes of one kind in the table and of another in the files."""
    kinds = {name: ("text" if own.dtype.kind in "UO" else "numbers") for name, own in labels.items()}
    if task == "classification" and len(set(kinds.values())) > 1:
        raise InputError(
            f"classes must be of one type in all files, however: column {target!r} holds "
            f"{', '.join(f'{kind} in the {name} file' for name, kind in kinds.items())}; "
            f"write them alike in {request.table} and the other files"
        )


def _check_training(y: npt.NDArray[Any], task: Task, target: str) -> None:
    if task == "classification" and len(np.unique(y)) < 2:
        raise InputError(
            f"training rows must have at least two classes, however: with this split column {target!r} holds only "
            f"{y[0].item()!r} in them; choose another --split-seed, --group or --time, or give more rows"
        )


# ---- rows ------------------------------------------------------------------------------------------------------------
def _divide(
    request: RunRequest, frame: pd.DataFrame, y: npt.NDArray[Any], task: Task, files: Mapping[str, pd.DataFrame]
) -> tuple[dict[str, Rows], str]:
    """Return for each part taken from the table its places there, and in words how they came about."""
    by: dict[str, Any] = {} if request.group is None else {"groups": frame[request.group].to_numpy()}
    if request.time is not None:
        by["time"] = frame[request.time]
    how = f"by groups of {request.group!r}" if request.group else f"by time, {request.time!r}" if request.time else ""
    given = " and ".join(f"{part} rows from {getattr(request, part)}" for part in files)
    if len(files) == 2:
        return {"train": np.arange(len(frame), dtype=np.int64)}, given
    if not files and not by and task == "classification" and gradients.leads(request.preset):
        text = "72 % training, 8 % held out of training to choose thresholds, 20 % test"
        return gradients.divide(len(frame), y, request.split_seed), f"{text}; stratified, seed {request.split_seed}"
    shares = (0.8, 0.1, 0.1) if files else (0.6, 0.2, 0.2)
    found = split_rows(len(frame), y, task=task, seed=request.split_seed, fractions=shares, **by)
    places = {"train": found.train, "validation": found.validation, "test": found.test}
    text = "60 % training, 20 % validation, 20 % test"
    if files:
        # Two parts are wanted: both halves of what was taken off serve as the part that has no file.
        wanted = "validation" if "test" in files else "test"
        places = {"train": found.train, wanted: np.sort(np.concatenate([found.validation, found.test]))}
        text = f"80 % training, 20 % {wanted}; {given}"
    how = how or ("stratified by class" if found.kind == "stratified" else "at random")
    seed = "" if request.time is not None else f", seed {request.split_seed}"
    return places, f"{text}; {how}{seed}"


def _undivided(count: int) -> tuple[dict[str, Rows], str]:
    none = np.zeros(0, dtype=np.int64)
    return {"train": np.arange(count, dtype=np.int64), "validation": none, "test": none}, "not divided"


# ---- columns ---------------------------------------------------------------------------------------------------------
def _schema(
    frame: pd.DataFrame,
    codes: Sequence[str | int | float],
    target: str,
    percents: Sequence[str],
    kinds: Mapping[str, Kind],
) -> Schema:
    if frame.shape[1] == 0:
        raise InputError(
            f"a table must have a column to predict from, however: beside the target {target!r} there is none; "
            "add columns"
        )
    said = "numbers with a per cent sign, as written: 7.4 % is 7.4"
    return Schema(
        tuple(
            replace(own, reason=said)
            if own.name in percents and own.reason in ("numbers", "numbers stored as text")
            else own
            for own in infer_schema(frame, na_codes=codes, kinds=kinds)
        )
    )


def _check_features(schema: Schema, features: Sequence[str], left_out: Mapping[str, str], target: str) -> None:
    if not features:
        reasons = "; ".join(f"{name!r} is {why}" for name, why in list(left_out.items())[:3])
        raise InputError(
            f"a table must have a column to predict from, however: beside the target {target!r} there is none "
            f"({reasons}); add columns, or leave fewer out"
        )
    if all(schema[name].kind == "constant" for name in features):
        raise InputError(
            "a table must have a column that varies, however: among the training rows "
            f"{listed(features, show=repr)} hold{'s' if len(features) == 1 else ''} one value each; "
            "add columns, or check --na"
        )


def _variables(request: RunRequest, card: DataCard | None, features: Sequence[str]) -> dict[str, list[str]]:
    if request.groups is not None:
        groups = read_groups(request.groups)
        for name, own in groups.items():
            for column in own:
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
    present = {name: [column for column in own if column in features] for name, own in card.variables.items()}
    return {name: own for name, own in present.items() if own}


def _note_columns(
    notes: list[str], schema: Schema, left_out: Mapping[str, str], request: RunRequest, card: DataCard | None
) -> None:
    identifiers = [name for name in schema.of_kind("identifier") if left_out.get(name) == _LIKE_AN_IDENTIFIER]
    if identifiers:
        usual = "numeric" if schema[identifiers[0]].storage == "number" else "categorical"
        fix = "" if request.identifier else "; keep them in the predictions with --id"
        fix += f"{', or' if fix else ';'} learn from one with --kind {identifiers[0]}={usual}"
        notes.append(f"left out, because they look like identifiers: {listed(identifiers)}{fix}")
    asked = {name: why for name, why in left_out.items() if why != _LIKE_AN_IDENTIFIER}
    notes += several_ways_said(schema, asked)
    suspects = [column.name for column in schema if column.reason == SUSPECT and column.name not in left_out]
    if suspects:
        notes.append(
            "learned from, though each row has a number of its own there and the name is that of an identifier: "
            f"{listed(suspects)}; if it is one leave it out with --id or --drop, "
            f"else say --kind {suspects[0]}=numeric"
        )
    constant = [name for name in schema.of_kind("constant") if name not in left_out]
    if constant:
        notes.append(f"constant in the training rows, hence without any effect: {listed(constant)}")
    if card is not None and card.not_features:
        notes.append(f"not features by the data card: {listed(card.not_features)}")


def _note_blocks(
    notes: list[str], features: pd.DataFrame, variables: Mapping[str, Sequence[str]], request: RunRequest
) -> list[list[str]]:
    """Name blocks of columns that look like one variable each, and return them."""
    declared = {column for own in variables.values() for column in own}
    with keeping_warnings():
        proposed = propose_one_hot_blocks(features[[name for name in features.columns if name not in declared]])
    if not proposed or request.groups is not None:
        return []
    blocks = "; ".join(f"{name}: {listed(own)}" for name, own in list(proposed.items())[:5])
    notes.append(
        f"these columns look like one-hot blocks of one variable each: {blocks}; to treat each as one feature, "
        'write them into a JSON file {"name": ["column", ...]} and give it with --groups'
    )
    return list(proposed.values())


def _note_duplicates(
    notes: list[str], features: pd.DataFrame, schema: Schema, together: Sequence[Sequence[str]]
) -> None:
    own = Schema(tuple(column for column in schema if column.name in features.columns))
    if groups := same_columns(features, own, together):
        example = json.dumps(as_groups(groups), ensure_ascii=False)
        fix = (
            "leave out all but one with --drop, or treat them as one feature: write them into a JSON file "
            f"{example} and give it with --groups"
        )
        notes.append(duplicates_said(groups, fix))
