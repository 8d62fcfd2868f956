"""First step of a run: its files as they are written, which column is the target, and
what others are left out for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from permgrad.base.errors import InputError, keeping_warnings, option_of
from permgrad.data.kinds.column import Kind, kinds
from permgrad.data.read.cells import MissingCodes, is_native_number
from permgrad.data.read.header import is_number
from permgrad.data.read.odd_rows import TotalRows, find_totals
from permgrad.data.read.reading import Reading, Written, missing_said
from permgrad.data.read.table import blank_codes, read_written, sheet_of
from permgrad.data.tasks import Task, tasks
from permgrad.runs.options import data_sets, separated
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.early import find_column, find_columns

if TYPE_CHECKING:
    from permgrad.data.datasets import DataCard


class LeftOut(Enum):
    """Why a column is no feature: by an option, in which case the value is its name, or
    by what is known of it.
    """

    DROP = "--drop"
    IDENTIFIER = "--id"
    ROW_GROUP = "--row-group"
    WEIGHT = "--weight"
    OFFSET = "--offset"
    TIME = "--time"
    KIND = "--kind identifier"
    CARD = "not a feature by its data card"
    USUAL_TARGET = "the usual target"
    LIKE_AN_IDENTIFIER = "like an identifier"

    def __str__(self) -> str:
        """Return the words of the table of columns."""
        return (
            f"{'identifier' if self is LeftOut.IDENTIFIER else 'left out'}: "
            f"{self.value}"
        )


#: Later ones go before earlier ones, but for the time, which may be left out for
#: another reason, too.
_BY_OPTION = (
    *(LeftOut.DROP, LeftOut.IDENTIFIER, LeftOut.ROW_GROUP),
    *(LeftOut.WEIGHT, LeftOut.OFFSET, LeftOut.TIME),
)


@dataclass(frozen=True)
class ReadTable:
    """The tables of a run as they are written: ``sources`` has ``"table"``, and
    ``"test"`` of a file with test rows.

    ``left_out`` says why columns are no features, ``kinds`` which kinds of features are
    declared, and ``task`` which task is asked for. ``codes`` are those that mean
    missing. ``totals`` are rows that sum up others.
    """

    card: DataCard | None
    codes: tuple[Any, ...]
    reading: Reading
    sources: Mapping[str, Written]
    target: str
    left_out: Mapping[str, LeftOut]
    kinds: Mapping[str, Kind]
    task: str
    notes: tuple[str, ...]
    totals: TotalRows | None = None

    @property
    def written(self) -> Written:
        """The table itself."""
        return self.sources["table"]

    @property
    def is_of_card(self) -> bool:
        """Whether the target is that of the data card."""
        return self.card is not None and self.target == self.card.target


def read_table(request: RunRequest) -> ReadTable:
    """Read the files of a run.

    Refuse columns that are not there, and a target that is also left out.
    """
    data_card, codes, reading, written = read_request(request)
    kinds = {}
    for column_name, column_kind in request.kinds.items():
        if column_name not in written.unread:
            kinds[column_name] = column_kind
    target, roles = _roles(
        request, data_card, [*written.frame.columns, *written.unread]
    )
    left_out = {}
    for column_name, reason in roles.items():
        if column_name not in written.unread:
            left_out[column_name] = reason
    task_name = _task_of(kinds.pop(target, None), target, request.task)
    missing = missing_said(
        {
            column_name: cells
            for column_name, cells in written.missing.items()
            if column_name not in left_out
        }
    )
    sources = {"table": written}
    if request.test is not None:
        alike = replace(
            reading,
            later=True,
            like=written.decimal,
            units=written.units,
            pairs=written.pairs,
            texts=written.texts,
        )
        named = list(written.frame.columns)
        sheet = sheet_of(request.test, request.sheet)
        alike = replace(alike, classes=[target], named=named, sheet=sheet)
        sources["test"] = read_written(request.test, alike)
        find_column(
            target, list(sources["test"].frame.columns), "target of the test file"
        )
    target_cells = blank_codes(written.frame[[target]], reading.codes)[target]
    if data_card is None:
        totals = find_totals(written.frame)
    else:
        totals = None
    if totals is not None and target_cells.iloc[list(totals.rows)].isna().all():
        totals = None  # they have no target, and are left out
    lines = written.lines.lines
    if totals is None:
        total_notes = []
    else:
        total_notes = [totals.said(lines)]
    return ReadTable(
        data_card,
        codes,
        reading,
        sources,
        target,
        left_out,
        kinds,
        task_name,
        (*written.notes, *total_notes, *missing),
        totals,
    )


class RequestedTable(NamedTuple):
    """The table of a request, as it is written.

    Attributes:
        card: Of a named data set (None: it is a file).
        codes: What stands for missing cells.
        reading: How the file is read.
        written: What is read.
    """

    card: DataCard | None
    codes: tuple[Any, ...]
    reading: Reading
    written: Written


def read_request(request: RunRequest) -> RequestedTable:
    """Read the table of a request as it is written."""
    data_card = None
    columns = request.columns
    if request.table in data_sets():
        from permgrad.data.datasets import get_card, load_dataset

        data_card = get_card(request.table)
    codes = codes_of(request) or (data_card.na if data_card else ())
    named_kinds = []
    for column_name, column_kind in request.kinds.items():
        if not kinds.get(column_kind).is_read:
            named_kinds.append(column_name)
    reading = Reading(
        codes=MissingCodes.of(codes),
        classes=request.target[:1],
        # A time column is read as a number also if it names rows.
        text=[
            *(
                column_name
                for column_name in request.identifier
                if column_name != request.time
            ),
            *(
                column_name
                for column_name, column_kind in request.kinds.items()
                if kinds.get(column_kind).as_written
                and kinds.get(column_kind).is_read
                and column_name not in request.target
            ),
        ],
        # Columns that an option names are read also if they only name rows.
        named=(*chain(*columns.values()), *request.kinds),
        images=[
            column_name
            for column_name, column_kind in request.kinds.items()
            if kinds.get(column_kind).modality == "photo"
        ],
        not_na=separated(request.not_na),
        sheet=request.sheet,
        dropped={*request.drop, *named_kinds}.difference(
            *(
                columns[option_name]
                for option_name in columns
                if option_name != "--drop"
            )
        ),
    )
    if data_card is not None:
        return RequestedTable(
            data_card,
            codes,
            reading,
            Written.typed(load_dataset(request.table).frame, data_card.na),
        )
    written = read_written(request.table, reading)
    return RequestedTable(None, codes, reading, written)


def codes_of(request: RunRequest) -> tuple[Any, ...]:
    """Return the codes of ``--na``: those of all columns, and a mapping with those of
    single ones (``COL=CODES``).

    A text with commas is one code where a cell is it, else the codes between them.
    """
    doubtful = []
    for code_text in request.na:
        if "=" in code_text or _may_be_cell(code_text):
            doubtful.append(code_text)
    if not doubtful:
        return separated(request.na)
    with keeping_warnings():  # what is said of the table is said once
        frame = read_request(replace(request, na=())).written.frame
    everywhere = list[str]()
    columns = dict[str, tuple[str, ...]]()
    for given_codes in request.na:
        column_name, is_of_column, codes = given_codes.partition("=")
        if not is_of_column or _is_cell(given_codes, frame, list(frame.columns)):
            everywhere += _parted(given_codes, frame, list(frame.columns))
            continue
        find_column(column_name, list(frame.columns), "--na")
        columns[column_name] = (
            *columns.get(column_name, ()),
            *_parted(codes, frame, [column_name]),
        )
    return (*dict.fromkeys(everywhere), *([columns] if columns else []))


def _may_be_cell(text: str) -> bool:
    """Whether a text with commas may be one cell: some of it is no number and no single
    sign.
    """
    code_parts = separated([text])
    return len(code_parts) > 1 and any(
        len(code_part) > 1 and not is_number(code_part) for code_part in code_parts
    )


def _parted(text: str, frame: pd.DataFrame, names: Sequence[str]) -> tuple[str, ...]:
    if _is_cell(text, frame, names):
        return (text.strip(),)
    return separated([text])


def _is_cell(text: str, frame: pd.DataFrame, names: Sequence[str]) -> bool:
    """Whether a cell of some columns is a text."""
    columns = []
    for column_name in names:
        if not is_native_number(frame[column_name].dtype):
            columns.append(frame[column_name])
    return any(
        text.strip()
        in {str(cell_value).strip() for cell_value in column.dropna().unique()}
        for column in columns
    )


def _roles(
    request: RunRequest, card: DataCard | None, columns: Sequence[str]
) -> tuple[str, dict[str, LeftOut]]:
    """Return the target, and why other columns are not features.

    Refuse a target that is also left out.
    """
    usual = None if card is None else card.target
    chosen_target = request.target[0] if request.target else usual
    find_columns(request, chosen_target, columns)
    target = str(chosen_target)
    unused = () if card is None else card.not_features
    roles = dict.fromkeys(unused, LeftOut.CARD)
    if card is not None and card.target != target:
        roles[card.target] = LeftOut.USUAL_TARGET
    for reason in _BY_OPTION:
        for named_column in request.columns[reason.value]:
            roles[named_column] = (
                roles.get(named_column, reason) if reason is LeftOut.TIME else reason
            )
    second = None if target in unused or target not in roles else roles[target].value
    second = "--sensitive" if target in request.sensitive else second
    if second is not None:
        problem = f"Column {target!r} is the target and also named by {second}"
        raise InputError(problem, hint="Leave one of them out.", code="PG006")
    roles.pop(target, None)
    for kind_column, column_kind in request.kinds.items():
        if kind_column in roles and (
            roles[kind_column] is not LeftOut.ROW_GROUP
            or kinds.get(column_kind).content is None
        ):
            problem = (
                f"--kind {kind_column}={column_kind} does not apply to "
                f"{kind_column!r}, which is {roles[kind_column]}"
            )
            raise InputError(
                problem,
                hint="--kind is for features. Leave one of the two out.",
                code="PG006",
            )
    named = []
    for column_name, named_kind in request.kinds.items():
        if not kinds.get(named_kind).is_read and column_name != target:
            named.append(column_name)
    return target, roles | dict.fromkeys(named, LeftOut.KIND)


def _task_of(kind: Kind | None, target: str, task: str) -> str:
    """Return the task of the kind of a target, or ``task`` if it has none."""
    if kind is None:
        return task
    kind_task = kinds.get(kind).task
    if kind_task is None:
        problem_hint = (
            f"Pass {option_of('--kind', target)}=categorical to predict "
            "classes, =numeric to predict a number."
        )
        raise InputError(
            f"The target {target!r} cannot be of kind {kind}",
            hint=problem_hint,
            code="PG015",
        )
    requested: Task | None = tasks.get(task, None)
    if requested is not None and requested.fitted == kind_task:
        return requested
    if requested is not None:
        problem = (
            f"--kind {target}={kind} means {kind_task}, which contradicts --task {task}"
        )
        raise InputError(problem, hint="Leave one of them out.", code="PG006")
    return kind_task
