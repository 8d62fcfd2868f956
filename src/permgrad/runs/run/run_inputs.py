"""From the options of ``permgrad run`` to checked tables: features, target and the
split of the rows.

All input is checked here, before the run's folder is touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.assess.assessed_rows import Rows
from permgrad.base.dependence import Dependence
from permgrad.base.errors import (
    Fault,
    InputError,
    by_count,
    counted,
    did_you_mean,
    listed,
    option_of,
    refusing,
    two_sentences,
)
from permgrad.base.sequences import values_at
from permgrad.data.encode.encoding import TableEncoder, align_columns
from permgrad.data.encode.groups import check_groups, read_groups
from permgrad.data.encode.scores import Target
from permgrad.data.image_table import check_image_cells, pages_said
from permgrad.data.kinds.column import Kind, Schema, kinds
from permgrad.data.read.cells import Distinct, MissingCodes
from permgrad.data.read.image_cells import source_of
from permgrad.data.read.table import blank_codes
from permgrad.data.read.written_numbers import unit_said
from permgrad.data.splitting import dependence_of
from permgrad.data.tasks import Task, of_counts
from permgrad.data.types.as_one import columns_as_one
from permgrad.data.types.column_types import infer_schema
from permgrad.data.types.findings import fused_columns
from permgrad.data.types.odd_cells import odd_cells_words, without_odd_cells
from permgrad.data.weights import read_exposures, read_weights
from permgrad.pages.facts.column_facts import together_facts
from permgrad.pages.facts.target_facts import target_sign_facts
from permgrad.pages.findings import say
from permgrad.runs.options import NO_GROUPS, table_name
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.noting import (
    cell_facts,
    find_target_signs,
    find_together,
    notes_on_blocks,
    notes_on_cells,
    notes_on_codes,
    notes_on_columns,
    notes_on_counts,
    notes_on_roles,
)
from permgrad.runs.run.run_splitting import (
    SplitTable,
    positive_label,
    shared_rows,
    split_table,
)
from permgrad.runs.run.run_table import LeftOut, ReadTable, read_table

if TYPE_CHECKING:
    from permgrad.data.datasets import DataCard

#: Presets of published networks, which read columns as was published.
_PUBLISHED = ("paper", "ig_example")


@dataclass(frozen=True)
class Inputs:
    """Everything that the stages of a run need from the table.

    ``schema`` has all columns but the target, typed by the training rows,
    ``feature_types`` only the features. ``left_out`` gives the reason why a column is
    not a feature, ``groups`` the columns that act as one feature. ``shared_rows``
    counts test rows equal to a training row in every column of the file, ``blank_rows``
    those of them without a value in any feature, and ``alike_rows`` those equal in
    every feature and the target. With ``shared_expected``, the first are no more than
    the columns' own frequencies explain. Tables to predict on are read by the same
    ``decimal``, ``units`` and ``texts``. ``positive``: the positive class of two.
    ``images`` is what the configuration holds of the images, ``together`` the facts on
    what may say that rows belong together. ``counts``: the target is counts or rates.
    ``cells``: what the page says of how cells were read. ``labels``: what the file says
    that columns hold.
    """

    name: str
    target: str
    task: Task
    task_reason: str
    parts: dict[str, Rows]
    schema: Schema
    feature_types: Schema
    left_out: dict[str, LeftOut]
    groups: dict[str, list[str]]
    na: tuple[Any, ...]
    split: str
    shared_rows: int
    blank_rows: int
    alike_rows: int
    shared_expected: bool
    notes: list[str]
    card: DataCard | None
    decimal: str | None
    units: dict[str, str]
    texts: list[str]
    kinds: dict[str, Kind]
    positive: Any
    images: dict[str, Any]
    counts: bool = False
    together: Mapping[str, Any] | None = None
    cells: list[dict[str, Any]] = field(default_factory=list)
    pairs: dict[str, Any] = field(default_factory=dict)
    target_signs: tuple[Mapping[str, Any], ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def encoder_options(self) -> dict[str, Any]:
        """The options of columns for a table encoder, or for an estimator that makes
        one.
        """
        codes = list(self.na) or None
        return {"na": codes, "groups": self.groups, "kinds": self.kinds or None}

    @cached_property
    def learned(self) -> npt.NDArray[np.bool_]:
        """``(validation rows,)``: whether the training rows hold the class of the row
        (regression: always).
        """
        y = self.parts["validation"].y
        if self.task.numeric:
            return np.ones(len(y), dtype=bool)
        return np.isin(y, self.parts["train"].y)

    @property
    def class_counts(self) -> dict[str, dict[str, int]] | None:
        """How many rows of each part have each class. None for regression."""
        if self.task.numeric:
            return None
        labels = np.unique(
            np.concatenate([part_rows.y for part_rows in self.parts.values()])
        ).tolist()
        return {
            str(class_label): {
                part_name: int((part_rows.y == class_label).sum())
                for part_name, part_rows in self.parts.items()
            }
            for class_label in labels
        }

    @property
    def described(self) -> tuple[str, list[dict[str, Any]]]:
        """The columns for the terminal, which says why the user left one out, and for
        the report, with their roles.

        For numbers with units, the reason names the unit.
        """
        roles = {}
        for group_name, members in self.groups.items():
            for column in members:
                roles[column] = f"part of {group_name}"
        for column_name, reason in self.left_out.items():
            roles[column_name] = str(reason)
        reasons = dict[str, str]()
        lines = []
        for column_type in self.schema:
            has_unit = (
                column_type.name in self.units
                and column_type.of.is_amount
                and "fused" not in column_type.flags
            )
            if has_unit:
                reasons[column_type.name] = unit_said(self.units[column_type.name])
            else:
                reasons[column_type.name] = column_type.reason
            if column_type.name in self.labels:
                reasons[column_type.name] += (
                    f"; its label: {self.labels[column_type.name]}"
                )
            facts = {
                "name": column_type.name,
                "kind": column_type.kind,
                "missing": column_type.n_missing,
                "levels": column_type.n_levels,
            }
            role_facts = {
                "role": roles.get(column_type.name, "feature"),
                "used": column_type.name not in self.left_out,
            }
            lines.append({**facts, **role_facts, "reason": reasons[column_type.name]})
        default_reason = LeftOut.LIKE_AN_IDENTIFIER
        for column_name, reason in self.left_out.items():
            if reason is not default_reason:
                reasons[column_name] = str(reason)
        return self.schema.to_text(40, reasons), lines


# ---- loading -------------------------------------------------------------------------
def load_inputs(request: RunRequest, *, undivided: bool = False) -> Inputs:
    """Read and check all tables of a run, and split the rows.

    Raises ``InputError`` for input that cannot be used.

    ``permgrad compare`` splits the rows itself. With ``undivided``, all rows are
    training rows.
    """
    table_read = read_table(request)
    split_rows = split_table(request, table_read, undivided=undivided)
    positive = _positive(request, table_read, split_rows)
    columns, split_rows = decide_columns(
        request, table_read, split_rows, undivided=undivided
    )
    features = columns.features
    codes = table_read.reading.codes
    # Columns that were read one by one lie apart, and taking rows of thousands of those
    # is slow. Copies lie together.
    tables = {}
    for part_name, table in split_rows.tables.items():
        tables[part_name] = table[features.names].copy()
    photos = features.of_modality("photo")
    images, image_notes = check_images(photos, tables, codes) if photos else ({}, [])
    counts, shared = shared_rows(
        request, split_rows, [*features.names, table_read.target], codes
    )
    rows_by_part = _parts(request, split_rows, tables)
    notes = [*table_read.notes, *split_rows.notes, *columns.notes]
    notes += [*image_notes, *shared]
    if without := sum(map(len, tables.values())) - sum(map(len, rows_by_part.values())):
        notes.append(
            f"{counted(without, 'row')} of weight 0 {by_count(without, 'is', 'are')} "
            "left out"
        )
    written = table_read.written
    return Inputs(
        name=table_name(request.table),
        target=table_read.target,
        task=split_rows.task,
        task_reason=split_rows.reason,
        parts=rows_by_part,
        schema=columns.schema,
        feature_types=features,
        left_out=dict(columns.left_out),
        groups=dict(columns.groups),
        na=table_read.codes,
        split=split_rows.split,
        **counts,
        notes=notes,
        card=table_read.card,
        decimal=written.decimal,
        units=dict(written.units),
        texts=list(dict.fromkeys([*written.texts, *_categories(columns.kinds)])),
        kinds={
            column_name: column_kind
            for column_name, column_kind in columns.kinds.items()
            if column_name in features.names
        },
        positive=positive,
        images=images,
        counts=of_counts(table_read.task),
        together=columns.together,
        cells=columns.cells,
        pairs=dict(written.pairs),
        target_signs=columns.target_signs,
        labels=dict(written.labels),
    )


def _positive(request: RunRequest, read: ReadTable, rows: SplitTable) -> Any:
    """Return the positive class of two.

    Another split of the same table has the same.
    """
    stated = None
    if read.card is not None and read.is_of_card:
        stated = read.card.positive
    truths = []
    for part_name, y in rows.truths.items():
        if len(y) and part_name not in rows.files:
            truths.append(y)
    labels = np.concatenate(truths)
    labels = labels[np.isin(labels, rows.truths["train"])]
    return positive_label(labels, rows.task, request.positive, stated)


def _parts(
    request: RunRequest, rows: SplitTable, tables: Mapping[str, pd.DataFrame]
) -> dict[str, Rows]:
    """Return the rows of each part, whose features are read as ``tables``."""
    dependence = dependence_of(rows.tables, request.row_group, request.time)
    rows_by_part = {}
    for part_name, table in tables.items():
        rows_by_part[part_name] = _part(
            request, rows, part_name, table, dependence.get(part_name)
        )
    _check_dependence(request, rows, dependence)
    return rows_by_part


def _categories(column_kinds: Mapping[str, str]) -> list[str]:
    """Return the columns that the user said to hold levels."""
    categories = []
    for column_name, column_kind in column_kinds.items():
        if kinds.get(column_kind).is_levels:
            categories.append(column_name)
    return categories


def _check_dependence(
    request: RunRequest, rows: SplitTable, dependence: Mapping[str, Dependence]
) -> None:
    """Refuse test rows of one group, and too few rows, groups or times for refits,
    which divide the others anew.
    """
    if (
        request.row_group is not None
        and "test" in dependence
        and dependence["test"].count < 2
    ):
        problem = (
            f"The test rows have one value of {request.row_group!r} (--row-group), and "
            "an explanation compares rows of several"
        )
        problem_hint = (
            "Choose a column with at least 4 values, or leave --row-group out."
        )
        raise InputError(problem, hint=problem_hint, code="PG018")
    if request.refits is None:
        return
    from permgrad.attribution.explain_refits import check_enough  # loads torch

    dependences = []
    for part_name in ("train", "validation"):
        if part_name in dependence:
            dependences.append(dependence[part_name])
    refitted = np.concatenate(
        [rows.truths[part_name] for part_name in ("train", "validation")]
    )
    if dependences:
        units = np.concatenate(
            [part_dependence.codes for part_dependence in dependences]
        )
    else:
        units = np.arange(len(refitted))
    if not dependences:
        unit_words = "rows"
    elif dependences[0].timed:
        unit_words = "times"
    else:
        unit_words = "groups"
    if rows.task.has_classes:
        classes = refitted
    else:
        classes = None
    check_enough(request.refits, len(np.unique(units)), classes, unit_words)


def _part(
    request: RunRequest,
    rows: SplitTable,
    part_name: str,
    table: pd.DataFrame,
    dependence: Dependence | None,
) -> Rows:
    """Return the rows of a part, of whose columns the features are read as a
    ``table``.
    """
    columns = rows.tables[part_name]
    judged = list(dict.fromkeys(request.sensitive))
    weights = None
    if request.weight is not None:
        with rows.lines[part_name].named():
            weights = pd.Series(
                read_weights(columns[request.weight]),
                columns.index,
                name=request.weight,
            )
        if not weights.any():
            problem = (
                f"Column {request.weight!r} (weight) is above 0 in none of the "
                f"{part_name} rows"
            )
            raise InputError(
                problem, hint="Correct it, or leave --weight out.", code="PG020"
            )
    y = rows.truths[part_name]
    if request.offset is not None:
        # The likelihood of counts with an offset is that of their rates, weighted by
        # the exposures.
        with rows.lines[part_name].named():
            exposure = read_exposures(columns[request.offset])
        y = y / exposure
        weight_name = f"exp({request.offset})"
        if request.weight is not None:
            weight_name = f"{request.weight} × {weight_name}"
        weights = pd.Series(
            exposure * (1.0 if weights is None else weights.to_numpy()),
            columns.index,
            name=weight_name,
        )
    part_rows = Rows(
        inputs=table,
        y=y,
        numbers=columns.index.to_numpy(dtype=np.int64),
        table=table,
        identifiers=columns.filter(items=request.identifier),
        dependence=dependence,
        sensitive=columns[judged] if judged and part_name == "test" else None,
        weights=weights,
    )
    if weights is None:
        return part_rows
    return part_rows.take(np.flatnonzero(weights))


# ---- columns -------------------------------------------------------------------------
@dataclass(frozen=True)
class Columns:
    """What each column is: ``schema`` types all but the target, ``features`` those that
    are learned from.

    ``left_out``: why others are not. ``kinds``: declared ones, and those that the
    target shows. ``groups``: columns that act as one feature, ``undeclared`` those that
    nobody declared. ``together``: facts on what may say that rows belong together.
    ``target_signs``: what is odd about a target of numbers.
    """

    schema: Schema
    features: Schema
    left_out: Mapping[str, LeftOut]
    kinds: Mapping[str, Kind]
    groups: Mapping[str, list[str]]
    undeclared: Mapping[str, list[str]]
    together: Mapping[str, Any] | None
    notes: tuple[str, ...] = ()
    cells: list[dict[str, Any]] = field(default_factory=list)
    target_signs: tuple[Mapping[str, Any], ...] = ()


def decide_columns(
    request: RunRequest, read: ReadTable, rows: SplitTable, *, undivided: bool = False
) -> tuple[Columns, SplitTable]:
    """Third step of a run: decide each column by the training rows.

    Return the parts with the needed columns, too.
    """
    train = rows.tables["train"]
    schema, kinds, left_out, notes = _typed(request, read, rows, undivided=undivided)
    notes += _words_of_groups(request, schema, left_out)
    for column_name in schema.where(lambda kind: not kind.is_read):
        left_out.setdefault(column_name, LeftOut.LIKE_AN_IDENTIFIER)
    features = []
    for column_name in schema.names:
        if column_name not in left_out:
            features.append(column_name)
    _check_features(schema, features, left_out, read.target)
    types = Schema(tuple(values_at(schema, features)))
    rows, odd_cells = _match(request, rows, types, read.target, read.reading.codes)
    groups, undeclared = _groups(request, read.card, features, train)
    columns = Columns(
        schema=schema,
        features=types,
        left_out=left_out,
        kinds=kinds,
        groups=groups,
        undeclared=undeclared,
        together=find_together(request, read, rows, types, left_out),
        cells=cell_facts(read, types),
        target_signs=find_target_signs(rows, read.task),
    )
    notes += [*odd_cells, *_notes(request, read, rows, columns, train[features])]
    return replace(columns, notes=tuple(notes)), rows


class _Typed(NamedTuple):
    """The columns of the training rows but the target, as ``Columns`` has them."""

    schema: Schema
    kinds: dict[str, Kind]
    left_out: dict[str, LeftOut]
    notes: list[str]


def _typed(
    request: RunRequest, read: ReadTable, rows: SplitTable, *, undivided: bool
) -> _Typed:
    """Type each column by the training rows."""
    codes = read.codes
    kinds = dict(read.kinds)
    left_out = dict(read.left_out)
    notes = list[str]()
    target = None
    with read.written.lines.named():
        if request.time is not None and _what_returns(
            request, rows, codes, left_out, notes
        ):
            kinds[str(request.time)] = "calendar"
        columns = rows.tables["train"].drop(columns=read.target)
        missing_codes = _codes_by_column(columns, codes, left_out)
        if not undivided:  # else rows that will test are asked
            target = _asked_target(request, rows)
        schema = Schema(())
        if len(columns.columns):
            schema = infer_schema(columns, na=missing_codes, kinds=kinds, target=target)
    if target is not None:  # what is trained again on other rows reads them alike
        for column_type in schema:
            if "names" in column_type.flags:
                kinds[column_type.name] = column_type.kind
    return _Typed(schema, kinds, left_out, notes)


def _codes_by_column(
    columns: pd.DataFrame, codes: Sequence[Any], left_out: Mapping[str, LeftOut]
) -> Any:
    """Return the codes that mean missing, by column where some are left out: these may
    hold infinite values.
    """
    if not left_out:
        return codes
    declared = MissingCodes.of(codes)
    coded = {}
    for column_name in map(str, columns):
        coded[column_name] = declared.holds_for(column_name)
        if column_name in left_out:
            coded[column_name] = (*coded[column_name], "inf", "-inf")
    return coded


def _notes(
    request: RunRequest,
    read: ReadTable,
    rows: SplitTable,
    columns: Columns,
    features: pd.DataFrame,
) -> list[str]:
    """Return what the user is told of the columns, of which the training rows have the
    ``features``.
    """
    codes = read.codes
    types = columns.features
    together = columns.together
    notes = notes_on_cells(request, read.target, rows, read.written, codes)
    notes += notes_on_columns(
        request, read.card, read.written, columns.schema, columns.left_out, together
    )
    notes += notes_on_roles(request, rows.tables["train"], types, codes, together)
    notes += notes_on_codes(blank_codes(features, codes), types, columns.kinds)
    notes += notes_on_blocks(features, types, columns.groups, columns.undeclared)
    notes += notes_on_counts(replace(request, task=read.task), read.target, rows)
    if together is not None:
        option_advice = (
            f" If so, pass {option_of('--row-group', together['columns'][0])}"
            * (len(together["columns"]) == 1)
        )
        notes.append(f"{say('together', together_facts(together))}{option_advice}")
    for target_sign in columns.target_signs:
        notes.append(say("target", target_sign_facts(target_sign, read.target)))
    return notes


def _asked_target(request: RunRequest, rows: SplitTable) -> tuple[Any, int] | None:
    """Return the target that may show numbers to be names.

    None: a published network reads columns as was published.
    """
    if request.network in _PUBLISHED:
        return None
    labels = Target.of(rows.truths["train"], rows.task, request.seed)
    return labels.y, labels.classes


def _what_returns(
    request: RunRequest,
    rows: SplitTable,
    codes: Sequence[Any],
    left_out: dict[str, LeftOut],
    notes: list[str],
) -> bool:
    """Note what of the time of the rows returns, such as the weekday, and return
    whether that is a feature.
    """
    time_name = str(request.time)
    train = rows.tables["train"]
    is_anywhere = all(time_name in table.columns for table in rows.files.values())
    if left_out.get(time_name) is not LeftOut.TIME or not is_anywhere:
        return False
    later = "the test rows are later than those of training"
    column = infer_schema(train[[time_name]], na=codes)[time_name]
    encoder = TableEncoder(kinds={time_name: "calendar"}, na=codes)
    returning = (
        ()
        if not column.reader.is_moment
        else encoder.fit(train[[time_name]]).parts_of(time_name)[1:]
    )
    if not returning:
        reason = (
            "nothing of it returns among them"
            if column.reader.is_moment
            else "it is no date"
        )
        notes.append(
            f"{time_name!r} orders the rows. It is not a feature, because {later} and "
            f"{reason}."
        )
        return False
    del left_out[time_name]
    notes.append(
        f"{time_name!r} orders the rows. Only its parts that return are features: "
        f"{listed(returning, 9)}. The year is left out, and later rows count as the "
        f"latest training row, because {later}. To leave out all of it, pass "
        f"{option_of('--drop', time_name)}"
    )
    return True


def _words_of_groups(
    request: RunRequest, schema: Schema, left_out: dict[str, LeftOut]
) -> list[str]:
    """Keep a column of groups as a feature where it holds free text or images.

    Return the note that says so.
    """
    group = request.row_group
    if (
        group is None
        or left_out.get(group) is not LeftOut.ROW_GROUP
        or group in request.drop
    ):
        return []
    kind_content = schema[group].of.content
    if kind_content is None:
        return []
    del left_out[group]
    is_what, content = kind_content
    group_words = (
        f"{group!r} divides the rows and {is_what}: its {content} are a "
        "feature, which group it names is not"
    )
    return [
        two_sentences(
            group_words,
            f"Pass {option_of('--drop', group)} as well to leave its {content} out.",
        )
    ]


@refusing
def _check_features(
    schema: Schema,
    features: Sequence[str],
    left_out: Mapping[str, LeftOut],
    target: str,
) -> Iterator[Fault]:
    if not features:
        reasons = "; ".join(
            f"{column_name!r} is {reason}"
            for column_name, reason in list(left_out.items())[:3]
        )
        problem = (
            f"No column is left to predict {target!r} "
            f"from{f' ({reasons})' if reasons else ''}"
        )
        yield (
            problem,
            f"Add columns{', or leave fewer out' if reasons else ''}.",
            "PG015",
        )
    if all(not schema[feature_name].of.varies for feature_name in features):
        fused = fused_columns(schema, left_out)
        if fused:
            fused_words = f" as float64: {listed(list(fused.values()))}"
        else:
            fused_words = ""
        if fused:
            kind_option = option_of("--kind", next(iter(fused)))
            problem_hint = f"Pass {kind_option}=categorical, or add columns."
        else:
            problem_hint = "Add columns, or check --na."
        problem = (
            f"No feature varies: {listed(features, show=repr)} "
            f"{by_count(len(features), 'has one value', 'have one value each')} in the "
            f"training rows{fused_words}"
        )
        yield problem, problem_hint, "PG015"


def _match(
    request: RunRequest,
    rows: SplitTable,
    columns: Schema,
    target: str,
    codes: MissingCodes,
) -> tuple[SplitTable, list[str]]:
    """Return the rows with those of their columns that are needed, and notes on cells.

    Files that lack a column are refused. Cells that the columns' types cannot read are
    missing.
    """
    needed = [
        *columns.names,
        target,
        *(
            column_name
            for column_name in (request.weight, request.offset)
            if column_name is not None
        ),
    ]
    optional = [
        *request.identifier,
        *(
            column_name
            for column_name in (request.row_group, request.time)
            if column_name is not None
        ),
    ]
    trained = set(rows.tables["train"].columns)
    files = dict[str, pd.DataFrame]()
    for part_name, table in rows.files.items():
        wanted_columns = [
            *needed,
            *(
                column_name
                for column_name in optional
                if column_name in table.columns and column_name not in needed
            ),
        ]
        # Only test rows are judged by them.
        judged = (
            request.sensitive
            if part_name == "test"
            else [
                column_name
                for column_name in request.sensitive
                if column_name in table.columns
            ]
        )
        wanted_columns = list(dict.fromkeys([*wanted_columns, *judged]))
        silent = []
        for column_name in table.columns:
            if column_name in trained and column_name not in wanted_columns:
                silent.append(column_name)
        files[part_name] = align_columns(table.drop(columns=silent), wanted_columns)
    rows = replace(rows, files=files, tables={**rows.tables, **files})
    tables = dict(rows.tables)
    placed_errors = list[InputError]()
    for split_part in rows.tables:
        lines = rows.lines[split_part]
        with lines.named():
            tables[split_part], odd_cells = without_odd_cells(
                rows.tables[split_part], columns, codes
            )
        placed_errors += list(map(lines.placed, odd_cells))
    notes = [odd_cells_words(placed_errors)] if placed_errors else []
    return replace(rows, tables=tables), notes


def _groups(
    request: RunRequest,
    card: DataCard | None,
    features: Sequence[str],
    train: pd.DataFrame,
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the columns that act as one feature, and those of them that nobody
    declared.
    """
    if str(request.groups) == NO_GROUPS:
        return {}, {}
    if request.groups is None:
        members = {} if card is None else card.groups
        present = {
            group_name: [column for column in names if column in features]
            for group_name, names in members.items()
        }
        declared = {group_name: names for group_name, names in present.items() if names}
        found_groups = columns_as_one(
            train[list(features)],
            set(chain.from_iterable(declared.values())),
        )
        return declared | found_groups, found_groups
    groups = read_groups(request.groups)
    for declared_group, names in groups.items():
        for column in names:
            if column not in features:
                problem_hint = did_you_mean(
                    column, features, f"Correct {request.groups}."
                )
                raise InputError(
                    f"Group {declared_group!r} lists {column!r}, "
                    "which is not a feature",
                    hint=problem_hint,
                    code="PG039",
                )
    try:
        check_groups(groups, list(features))
    except InputError as error:
        raise InputError(
            f"{error.message.rstrip('.')} (in {request.groups})", code=error.code
        ) from None
    return groups, {}


def check_images(
    columns: Sequence[str],
    tables_by_part: Mapping[str, pd.DataFrame],
    codes: MissingCodes,
) -> tuple[dict[str, Any], list[str]]:
    """Return what the configuration of a run holds of its images: the columns, and a
    hash of all contents.

    Refuses images that cannot be read. Notes files of several pages, and test rows that
    show the same image as a training row.
    """
    digest = hashlib.sha256()
    notes = list[str]()
    for column_name in columns:
        cells = {}
        for part_name, table in tables_by_part.items():
            cells[part_name] = Distinct.of(
                blank_codes(table[[column_name]], codes)[column_name], column_name
            )
        every = list(
            dict.fromkeys(
                cell_text
                for part_cells in cells.values()
                for cell_text in part_cells.texts
            )
        )
        check_image_cells(column_name, every)
        sources = {cell_text: source_of(cell_text) for cell_text in every}
        for image_text, source in sources.items():
            content = (
                source.read_bytes() if isinstance(source, Path) else image_text.encode()
            )  # which hashes the pixels
            digest.update(hashlib.sha256(content).digest())
        notes += pages_said(
            column_name,
            [source for source in sources.values() if isinstance(source, Path)],
        )
        # A part may have a file, and a folder, of its own.
        image_places = {}
        for placed_text, image_source in sources.items():
            if isinstance(image_source, Path):
                image_places[placed_text] = str(image_source.absolute())
            else:
                image_places[placed_text] = placed_text
        shown = {}
        for part_name, part_cells in cells.items():
            shown[part_name] = values_at(image_places, part_cells.texts)
        index = cells["test"].index
        is_shared = [image in set(shown["train"]) for image in shown["test"]]
        if count := sum(
            is_shared[text_index] for text_index in index.tolist() if text_index >= 0
        ):
            notes.append(
                f"{count:,} of {len(index):,} test rows show the same image of column "
                f"{column_name!r} as a training row, so figures on the test rows are "
                "too good. Keep equal images together with "
                f"{option_of('--row-group', column_name)}"
            )
    return {"images": list(columns), "image content": digest.hexdigest()}, notes
