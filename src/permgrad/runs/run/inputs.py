"""From the options of ``permgrad run`` to checked tables: features, target and the split of the rows.

All input is checked here, before the run's folder is touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.assess.rows import Rows
from permgrad.base import __version__
from permgrad.base.dependence import Dependence
from permgrad.base.errors import InputError, by_count, counted, did_you_mean, listed, option_of, two_sentences
from permgrad.base.files import file_hash
from permgrad.data.encode.encoding import TableEncoder, align_columns
from permgrad.data.encode.groups import check_groups, read_groups
from permgrad.data.encode.scores import Target
from permgrad.data.encode.statistics import numeric_cells
from permgrad.data.image_table import check_image_cells, pages_said
from permgrad.data.read.cells import Distinct, MissingCodes
from permgrad.data.read.image_cells import source_of
from permgrad.data.read.reading import Reading, Written, missing_said
from permgrad.data.read.table import blank_codes, is_parquet_folder, read_written
from permgrad.data.read.written_numbers import unit_said
from permgrad.data.splitting import dependence_of
from permgrad.data.types.as_one import columns_as_one
from permgrad.data.types.column_types import Kind, Schema, infer_schema
from permgrad.data.types.findings import fused_columns
from permgrad.data.weights import read_exposures, read_weights
from permgrad.evaluation.kept_together import Together
from permgrad.pages.sentences import together_words
from permgrad.runs.folder.folder import folder_hash
from permgrad.runs.options import data_sets, is_file, separated, table_name
from permgrad.runs.requests import NO_GROUPS, RunRequest
from permgrad.runs.run.early import find_columns, no_such_file
from permgrad.runs.run.noting import (
    LIKE_AN_IDENTIFIER,
    find_together,
    notes_on_blocks,
    notes_on_cells,
    notes_on_codes,
    notes_on_columns,
    notes_on_counts,
)
from permgrad.runs.run.splitting import SplitTable, Task, notes_on_division, positive_label, split_table, task_of_target

if TYPE_CHECKING:
    from permgrad.data.datasets import DataCard

#: Why a column is no feature, in the words of the table of columns.
TIME, OFFSET, _ROW_GROUP = "left out: --time", "left out: --offset", "left out: --row-group"
#: Presets of published networks, which read columns as was published.
_PUBLISHED = ("paper", "ig-example")
#: Kinds of columns of groups that stay features, and what is read of them.
_READ = {"text": ("is free text", "words"), "image": ("holds images", "images")}
_KEPT = {(_ROW_GROUP, kind) for kind in _READ}


@dataclass
class Inputs:
    """Everything that the stages of a run need from the table.

    ``schema`` has all columns but the target, typed by the training rows, ``feature_types`` only the features.
    ``left_out`` gives the reason why a column is not a feature, ``groups`` the columns that act as one feature.
    ``shared_rows`` counts test rows equal to a training row in every column of the file, ``blank_rows`` those of them
    without a value in any feature, and ``alike_rows`` those equal in every feature and the target. Tables to predict on
    are read by the same ``decimal``, ``units`` and ``texts``. ``positive``: the positive class of two. ``images`` is
    what the configuration holds of the images, ``together`` what may say that rows belong together. ``counts``: the
    target is counts or rates.
    """

    name: str
    target: str
    task: Task
    task_reason: str
    parts: dict[str, Rows]
    schema: Schema
    feature_types: Schema
    left_out: dict[str, str]
    groups: dict[str, list[str]]
    na: tuple[str | int | float, ...]
    split: str
    shared_rows: int
    blank_rows: int
    alike_rows: int
    notes: list[str]
    card: DataCard | None
    decimal: str | None
    units: dict[str, str]
    texts: list[str]
    kinds: dict[str, Kind]
    positive: Any
    images: dict[str, Any]
    counts: bool = False
    together: Together | None = None

    @property
    def encoder_options(self) -> dict[str, Any]:
        """The options of columns for a table encoder, or for an estimator that makes one."""
        codes = list(self.na) or None
        return {"na": codes, "groups": self.groups, "kinds": self.kinds or None}

    @cached_property
    def learned(self) -> npt.NDArray[np.bool_]:
        """``(validation rows,)``: whether the training rows hold the class of the row (regression: always)."""
        y = self.parts["validation"].y
        return np.ones(len(y), dtype=bool) if self.task == "regression" else np.isin(y, self.parts["train"].y)

    @property
    def class_counts(self) -> dict[str, dict[str, int]] | None:
        """How many rows of each part have each class. None for regression."""
        if self.task == "regression":
            return None
        labels = np.unique(np.concatenate([rows.y for rows in self.parts.values()])).tolist()
        return {str(one): {part: int((rows.y == one).sum()) for part, rows in self.parts.items()} for one in labels}

    @property
    def described(self) -> tuple[str, list[dict[str, Any]]]:
        """The columns for the terminal, which says why the user left one out, and for the report, with their roles.

        For numbers with units, the reason names the unit.
        """
        roles = {column: f"part of {name}" for name, members in self.groups.items() for column in members}
        roles |= self.left_out
        reasons, lines = dict[str, str](), []
        for one in self.schema:
            has_unit = one.name in self.units and one.kind == "numeric" and "fused" not in one.flags
            reasons[one.name] = unit_said(self.units[one.name]) if has_unit else one.reason
            facts = {"name": one.name, "kind": one.kind, "missing": one.n_missing, "levels": one.n_levels}
            lines.append({**facts, "role": roles.get(one.name, "feature"), "reason": reasons[one.name]})
        reasons |= {name: why for name, why in self.left_out.items() if why != LIKE_AN_IDENTIFIER}
        return self.schema.to_text(40, reasons), lines


#: Arguments of the encoder of a table that are options of the command.
_ENCODING = ("text_encoder", "image_encoder")


# ---- which table -----------------------------------------------------------------------------------------------------
def configuration(request: RunRequest) -> dict[str, Any]:
    """Return everything that changes the result of a run, with hashes of files instead of their names."""
    # The version is part of it: a run of another version is neither resumed nor taken for this one.
    content: dict[str, Any] = {"permgrad": __version__, "table": table_name(request.table)}
    content["table content"] = content_of(request.table)
    for role in ("test", "groups"):
        path = getattr(request, role)
        content[role] = NO_GROUPS if str(path) == NO_GROUPS else None if path is None else content_of(path, role)
    content |= {"target": list(request.target), "task": request.task, "drop": list(request.drop)}
    content |= {"id": list(request.identifier), "na": list(separated(request.na)), "row_group": request.row_group}
    content |= {"time": request.time}
    content |= {"preset": request.network} if request.model in ("network", "auto") else {}
    if request.network.endswith(".json"):
        content["preset"] = content_of(request.network, "preset")
    model: Any = None if request.model == "network" else request.model
    if is_file(request.model):
        model = [request.model, content_of(request.model, "model")]
    elif ":" in request.model:
        from permgrad.runs.run.choosing import estimator_of  # few runs train one

        model = [request.model, repr(estimator_of(request.model))]
    optional: dict[str, Any] = {
        "not_na": sorted(set(separated(request.not_na))),
        "kind": dict(sorted(request.kinds.items())),
        **{name: getattr(request, name) for name in ("sheet", "positive", *_ENCODING)},
        "branches": sorted(request.branches),
        "sensitive": sorted(set(request.sensitive)),
        "model": model,
        "cost": None if request.cost is None else list(request.cost),
        "time_limit": request.time_limit and request.seconds_at_most,
        "max_rows": request.max_rows,
        "keep_rows": None if request.keep_rows else False,
        **{name: getattr(request, name) for name in ("refits", "weight", "offset")},
    }
    content |= {name: value for name, value in optional.items() if value not in (None, [], {})}
    return content | {"baselines": sorted(set(request.baselines)), "seed": request.seed}


def content_of(source: str | Path, role: str = "table") -> str:
    """Return a hash of the content of a file, or the name of a data set (``./heloc`` is a file of that name)."""
    path, names = Path(source), data_sets() if role == "table" else ()
    if source in names:
        from permgrad.data.datasets import fetch_dataset  # a file needs none of them

        file = fetch_dataset(str(source))
        return f"data set {source}" if file is None else file_hash(file)
    if path.is_file():
        return file_hash(path)
    if role in ("table", "test") and is_parquet_folder(path):
        return folder_hash(path)
    raise no_such_file(path, role, names)


# ---- loading ---------------------------------------------------------------------------------------------------------
def load_inputs(request: RunRequest, *, undivided: bool = False) -> Inputs:
    """Read and check all tables of a run, and split the rows. Raises ``InputError`` for input that cannot be used.

    ``permgrad compare`` splits the rows itself. With ``undivided``, all rows are training rows.
    """
    card, codes, reading, written = read_request(request)
    kinds = {name: kind for name, kind in request.kinds.items() if name not in written.unread}
    target, left_out = _roles(request, card, [*written.frame.columns, *written.unread])
    left_out = {name: why for name, why in left_out.items() if name not in written.unread}
    request = replace(request, task=task_of_target(kinds, target, request.task))
    notes = [*written.notes]
    notes += missing_said({name: cells for name, cells in written.missing.items() if name not in left_out})
    rows = split_table(request, card, written, reading, target, notes, undivided=undivided)
    train = rows.tables["train"]
    positive = _positive(request, card, rows, target)
    with written.lines.named():
        if request.time is not None and _what_returns(request, rows, codes, left_out, notes):
            kinds = kinds | {str(request.time): "calendar"}
        columns = train.drop(columns=target)
        # What is left out may hold infinite values.
        coded = {str(name): (*codes, "inf", "-inf") if name in left_out else codes for name in columns}
        asked = None if undivided else _asked_target(request, rows)
        codes_of = coded if left_out else codes
        schema = infer_schema(columns, na=codes_of, kinds=kinds, target=asked) if coded else Schema(())
    if asked is not None:  # what is trained again on other rows reads them alike
        kinds = kinds | {one.name: one.kind for one in schema if "names" in one.flags}
    notes += _words_of_groups(request, schema, left_out)
    left_out |= {name: LIKE_AN_IDENTIFIER for name in schema.of_kind("identifier") if name not in left_out}
    features = [name for name in schema.names if name not in left_out]
    _check_features(schema, features, left_out, target)
    types = Schema(tuple(schema[name] for name in features))
    _match(request, rows, types, target, reading.codes)
    groups, found = _groups(request, card, features, train)
    notes += notes_on_cells(request, target, rows, written)
    notes += notes_on_columns(request, card, written, schema, left_out)
    notes += notes_on_codes(blank_codes(train[features], codes), types, kinds)
    notes += notes_on_blocks(train[features], types, groups, found)
    notes += notes_on_counts(request, target, rows)
    together = _together(replace(request, target=(target,)), rows, types, left_out, codes)
    notes += [] if together is None else [together_words(together.facts())]
    # Columns that were read one by one lie apart, and taking rows of thousands of those is slow. Copies lie together.
    tables = {part: table[features].copy() for part, table in rows.tables.items()}
    images = check_images(types.of_kind("image"), tables, reading.codes, notes)
    counts = notes_on_division(notes, request, rows, [*features, target], reading.codes)
    dependence = dependence_of(rows.tables, request.row_group, request.time)
    parts = {part: _part(request, rows, part, table, dependence.get(part)) for part, table in tables.items()}
    if without := sum(map(len, tables.values())) - sum(map(len, parts.values())):
        notes.append(f"{counted(without, 'row')} of weight 0 {by_count(without, 'is', 'are')} left out")
    _check_groups(request, dependence)
    _check_refits(request, rows, dependence)
    return Inputs(
        name=table_name(request.table),
        target=target,
        task=rows.task,
        task_reason=rows.reason,
        parts=parts,
        schema=schema,
        feature_types=types,
        left_out=left_out,
        groups=groups,
        na=codes,
        split=rows.split,
        **counts,
        notes=notes,
        card=card,
        decimal=written.decimal,
        units=dict(written.units),
        texts=list(dict.fromkeys([*written.texts, *(name for name, kind in kinds.items() if kind == "categorical")])),
        kinds={name: kind for name, kind in kinds.items() if name in features},
        positive=positive,
        images=images,
        counts=request.task == "counts",
        together=together,
    )


def _positive(request: RunRequest, card: DataCard | None, rows: SplitTable, target: str) -> Any:
    """Return the positive class of two: the one asked for, that of the data card for its target, or the usual one."""
    stated = card.positive if card is not None and target == card.target else None
    return positive_label(rows.truths["train"], rows.task, request.positive, stated)


def _together(
    request: RunRequest, rows: SplitTable, types: Schema, left_out: Mapping[str, str], codes: Sequence[Any]
) -> Together | None:
    """Return what may say that rows belong together. None: nothing does, or the user said how they do."""
    if request.row_group is not None or request.time is not None:
        return None
    return find_together(request, rows, types, left_out, codes)


def _asked_target(request: RunRequest, rows: SplitTable) -> tuple[Any, int] | None:
    """Return the target that may show numbers to be names. None: a published network reads columns as was published."""
    if request.network in _PUBLISHED:
        return None
    labels = Target.of(rows.truths["train"], rows.task, request.seed)
    return labels.y, labels.classes


def _check_groups(request: RunRequest, dependence: Mapping[str, Dependence]) -> None:
    """Refuse test rows of one group."""
    if request.row_group is not None and "test" in dependence and dependence["test"].count < 2:
        problem = (
            f"The test rows have one value of {request.row_group!r} (--row-group), and an explanation compares rows of "
            "several"
        )
        hint = "Choose a column with at least 4 values, or leave --row-group out."
        raise InputError(problem, hint=hint, code="PG018")


def _part(request: RunRequest, rows: SplitTable, part: str, table: pd.DataFrame, dependence: Dependence | None) -> Rows:
    """Return the rows of a part, of whose columns the features are read as a ``table``."""
    columns, judged, weights = rows.tables[part], list(dict.fromkeys(request.sensitive)), None
    if request.weight is not None:
        with rows.lines[part].named():
            weights = pd.Series(read_weights(columns[request.weight]), columns.index, name=request.weight)
        if not weights.any():
            problem = f"Column {request.weight!r} (weight) is above 0 in none of the {part} rows"
            raise InputError(problem, hint="Correct it, or leave --weight out.", code="PG020")
    y = rows.truths[part]
    if request.offset is not None:
        # The likelihood of counts with an offset is that of their rates, weighted by the exposures.
        with rows.lines[part].named():
            exposure = read_exposures(columns[request.offset])
        y, name = y / exposure, f"exp({request.offset})"
        name = name if request.weight is None else f"{request.weight} × {name}"
        weights = pd.Series(exposure * (1.0 if weights is None else weights.to_numpy()), columns.index, name=name)
    chosen = Rows(
        inputs=table,
        y=y,
        numbers=columns.index.to_numpy(dtype=np.int64),
        table=table,
        identifiers=columns.filter(items=request.identifier),
        dependence=dependence,
        sensitive=columns[judged] if judged and part == "test" else None,
        weights=weights,
    )
    return chosen if weights is None else chosen.take(np.flatnonzero(weights))


def read_request(request: RunRequest) -> tuple[DataCard | None, tuple[str | int | float, ...], Reading, Written]:
    """Return the card of a named data set, the codes for missing, how the table is read, and the table as written."""
    names = request.row_group, request.time, request.weight, request.offset
    card, single = None, [name for name in names if name is not None]
    if request.table in data_sets():
        from permgrad.data.datasets import get_card, load_dataset

        card = get_card(request.table)
    codes: tuple[str | int | float, ...] = separated(request.na) or (card.na if card else ())
    named_kinds = [name for name, kind in request.kinds.items() if kind == "identifier"]
    reading = Reading(
        codes=MissingCodes.of(codes),
        classes=request.target[:1],
        # A time column is read as a number also if it names rows.
        text=[
            *(name for name in request.identifier if name != request.time),
            *(name for name, kind in request.kinds.items() if kind == "categorical" and name not in request.target),
        ],
        # Columns that an option names are read also if they only name rows.
        named=(*request.target, *request.drop, *request.identifier, *request.sensitive, *request.kinds, *single),
        images=[name for name, kind in request.kinds.items() if kind == "image"],
        not_na=separated(request.not_na),
        sheet=request.sheet,
        dropped={*request.drop, *named_kinds}.difference(request.target, request.identifier, request.sensitive, single),
    )
    if card is not None:
        return card, codes, reading, Written.typed(load_dataset(request.table).frame, card.na)
    return None, codes, reading, read_written(request.table, reading)


def _roles(request: RunRequest, card: DataCard | None, columns: list[str]) -> tuple[str, dict[str, str]]:
    """Return the target, and why other columns are not features. Refuse a target that is also left out."""
    usual = None if card is None else card.target
    chosen = request.target[0] if request.target else usual
    find_columns(request, chosen, columns)
    target = str(chosen)
    unused = () if card is None else card.not_features
    roles = dict.fromkeys(unused, "left out: not a feature by its data card")
    if card is not None and card.target != target:
        roles[card.target] = "left out: the usual target"
    for option, why, names in (
        ("drop", "left out: --drop", request.drop),
        ("id", "identifier: --id", request.identifier),
        ("row_group", _ROW_GROUP, () if request.row_group is None else (request.row_group,)),
        ("weight", "left out: --weight", () if request.weight is None else (request.weight,)),
        ("offset", OFFSET, () if request.offset is None else (request.offset,)),
        ("time", TIME, () if request.time is None else (request.time,)),
    ):
        for name in names:
            roles[name] = roles.get(name, why) if option == "time" else why
    _refuse_second_role(request, target, {} if target in unused else roles)
    roles.pop(target, None)
    for name, kind in request.kinds.items():
        if name in roles and (roles[name], kind) not in _KEPT:
            problem = f"--kind {name}={kind} does not apply to {name!r}, which is {roles[name]}"
            raise InputError(problem, hint="--kind is for features. Leave one of the two out.", code="PG006")
    named = [name for name, kind in request.kinds.items() if kind == "identifier" and name != target]
    return target, roles | dict.fromkeys(named, "left out: --kind identifier")


def _refuse_second_role(request: RunRequest, target: str, roles: Mapping[str, str]) -> None:
    """Refuse a target that an option names as something else."""
    option = "--sensitive" if target in request.sensitive else roles.get(target, "").partition(": ")[2]
    if option:
        problem = f"Column {target!r} is the target and also named by {option}"
        raise InputError(problem, hint="Leave one of them out.", code="PG006")


def _what_returns(
    request: RunRequest, rows: SplitTable, codes: Sequence[Any], left_out: dict[str, str], notes: list[str]
) -> bool:
    """Note what of the time of the rows returns, such as the weekday, and return whether that is a feature."""
    time, train = str(request.time), rows.tables["train"]
    is_anywhere = all(time in table.columns for table in rows.files.values())
    if left_out.get(time) != TIME or not is_anywhere:
        return False
    later = "the test rows are later than those of training"
    column = infer_schema(train[[time]], na=codes)[time]
    encoder = TableEncoder(kinds={time: "calendar"}, na=codes)
    parts = () if column.storage != "date" else encoder.fit(train[[time]]).parts_of(time)[1:]
    if not parts:
        why = "nothing of it returns among them" if column.storage == "date" else "it is no date"
        notes.append(f"{time!r} orders the rows. It is not a feature, because {later} and {why}.")
        return False
    del left_out[time]
    notes.append(
        f"{time!r} orders the rows. What returns of it is a feature: {listed(parts, 9)}. Left out is the year, and in "
        f"time later rows count as the latest training row, because {later}. To leave out all of it, pass "
        f"{option_of('--drop', time)}."
    )
    return True


# ---- columns ---------------------------------------------------------------------------------------------------------
def _words_of_groups(request: RunRequest, schema: Schema, left_out: dict[str, str]) -> list[str]:
    """Keep a column of groups as a feature where it holds free text or images. Return the note that says so."""
    group = request.row_group
    if group is None or left_out.get(group) != _ROW_GROUP or group in request.drop or schema[group].kind not in _READ:
        return []
    del left_out[group]
    is_what, content = _READ[schema[group].kind]
    fact = f"{group!r} divides the rows and {is_what}: its {content} are a feature, which group it names is not"
    return [two_sentences(fact, f"Pass {option_of('--drop', group)} as well to leave its {content} out.")]


def _check_features(schema: Schema, features: Sequence[str], left_out: Mapping[str, str], target: str) -> None:
    if not features:
        reasons = "; ".join(f"{name!r} is {why}" for name, why in list(left_out.items())[:3])
        problem = f"No column is left to predict {target!r} from{f' ({reasons})' if reasons else ''}"
        raise InputError(problem, hint=f"Add columns{', or leave fewer out' if reasons else ''}.", code="PG015")
    if all(schema[name].kind == "constant" for name in features):
        fused = fused_columns(schema, left_out)
        why = f" as float64: {listed(list(fused.values()))}" if fused else ""
        fix = (
            f"Pass {option_of('--kind', next(iter(fused)))}=categorical, or add columns."
            if fused
            else "Add columns, or check --na."
        )
        problem = (
            f"No feature varies: {listed(features, show=repr)} "
            f"{by_count(len(features), 'has one value', 'have one value each')} in the training rows{why}"
        )
        raise InputError(problem, hint=fix, code="PG015")


def _check_refits(request: RunRequest, rows: SplitTable, dependence: Mapping[str, Dependence]) -> None:
    """Refuse too few rows, groups or times for refits, which divide training and validation rows anew."""
    if request.refits is None:
        return
    from permgrad.attribution.explain_refits import check_enough  # loads torch

    known = [dependence[part] for part in ("train", "validation") if part in dependence]
    refitted = np.concatenate([rows.truths[part] for part in ("train", "validation")])
    units = np.concatenate([one.codes for one in known]) if known else np.arange(len(refitted))
    what = "rows" if not known else "times" if known[0].timed else "groups"
    classes = refitted if rows.task == "classification" else None
    check_enough(request.refits, len(np.unique(units)), classes, what)


def _match(request: RunRequest, rows: SplitTable, columns: Schema, target: str, codes: MissingCodes) -> None:
    """Reduce the tables of the parts to the columns that are needed.

    Refuse files that lack one of them, and cells that cannot be encoded with the types of the training rows.
    """
    needed = [*columns.names, target, *(name for name in (request.weight, request.offset) if name is not None)]
    optional = [*request.identifier, *(name for name in (request.row_group, request.time) if name is not None)]
    trained = set(rows.tables["train"].columns)
    for part, table in rows.files.items():
        wanted = [*needed, *(name for name in optional if name in table.columns and name not in needed)]
        # Only test rows are judged by them.
        judged = request.sensitive if part == "test" else [name for name in request.sensitive if name in table.columns]
        wanted = list(dict.fromkeys([*wanted, *judged]))
        silent = [name for name in table.columns if name in trained and name not in wanted]
        rows.files[part] = rows.tables[part] = align_columns(table.drop(columns=silent), wanted)
    for part in ("validation", "test"):
        table, read = rows.tables[part], columns.stored
        if read and len(table):
            with rows.lines[part].named():
                numeric_cells(table[[column.name for column in read]], read, codes)


def _groups(
    request: RunRequest, card: DataCard | None, features: Sequence[str], train: pd.DataFrame
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the columns that act as one feature, and those of them that nobody declared."""
    if str(request.groups) == NO_GROUPS:
        return {}, {}
    if request.groups is None:
        members = {} if card is None else card.groups
        present = {name: [column for column in names if column in features] for name, names in members.items()}
        declared = {name: names for name, names in present.items() if names}
        found = columns_as_one(train[list(features)], {column for names in declared.values() for column in names})
        return declared | found, found
    groups = read_groups(request.groups)
    for name, names in groups.items():
        for column in names:
            if column not in features:
                hint = did_you_mean(column, features, f"Correct {request.groups}.")
                raise InputError(f"Group {name!r} lists {column!r}, which is not a feature", hint=hint, code="PG039")
    try:
        check_groups(groups, list(features))
    except InputError as error:
        raise InputError(f"{error.message.rstrip('.')} (in {request.groups})", code=error.code) from None
    return groups, {}


def check_images(
    columns: Sequence[str], parts: dict[str, pd.DataFrame], codes: MissingCodes, notes: list[str]
) -> dict[str, Any]:
    """Return what the configuration of a run holds of its images: the columns, and a hash of all contents.

    Refuses images that cannot be read. Notes files of several pages, and test rows that show the same image as a
    training row.
    """
    digest = hashlib.sha256()
    for name in columns:
        cells = {part: Distinct.of(blank_codes(table[[name]], codes)[name], name) for part, table in parts.items()}
        every = list(dict.fromkeys(text for one in cells.values() for text in one.texts))
        check_image_cells(name, every)
        sources = {text: source_of(text) for text in every}
        for text, source in sources.items():
            content = source.read_bytes() if isinstance(source, Path) else text.encode()  # which hashes the pixels
            digest.update(hashlib.sha256(content).digest())
        notes += pages_said(name, [source for source in sources.values() if isinstance(source, Path)])
        # A part may have a file, and a folder, of its own.
        shown = {part: [_identity(text) for text in one.texts] for part, one in cells.items()}
        index = cells["test"].index
        both = [image in set(shown["train"]) for image in shown["test"]]
        if count := sum(both[at] for at in index.tolist() if at >= 0):
            notes.append(
                f"{count} of {len(index)} test rows show the same image of column {name!r} as a training row, so "
                "figures on the test rows are too good. Keep equal images together with "
                f"{option_of('--row-group', name)}."
            )
    return {"images": list(columns), "image content": digest.hexdigest()} if columns else {}


def _identity(text: str) -> str:
    source = source_of(text)
    return str(source.absolute()) if isinstance(source, Path) else text
