"""What is refused by the first lines of a table, and of a model, before anything heavy
is imported.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from permgrad.base.errors import (
    Fault,
    InputError,
    did_you_mean,
    listed,
    option_of,
    refusing,
)
from permgrad.data.read.addresses import table_address
from permgrad.data.read.header import columns_missing, csv_header, line_of
from permgrad.data.read.pair_names import pair_names
from permgrad.runs.options import data_sets
from permgrad.runs.requests import run_of

if TYPE_CHECKING:
    from permgrad.runs.requests import RunRequest


#: Options that take a file where a column may be meant, and which option takes that.
_MEANT_COLUMNS = {"groups": ("--row-group", "If its rows belong together")}


def refuse_early(request: RunRequest) -> None:
    """Refuse a table that does not exist, or columns that its header lacks."""
    if request.table in data_sets():
        return
    file = table_address(request.table).file
    if not file.exists():
        raise no_such_file(file, "table", data_sets())
    names = csv_header(request.table)
    _refuse_meant_columns(request, names)
    if request.target:
        target = request.target[0]
    else:
        target = None
    # A column without a name is named by its place, once the table is read, and one of
    # the two numbers of a cell by its column.
    asked_for = (*chain(*request.columns.values()), *request.kinds)
    is_of_pair = any(name.rpartition(": ")[0] in names for name in asked_for)
    if names and not is_of_pair and not any(map(_is_by_place, asked_for)):
        find_columns(request, target, names)


def _refuse_meant_columns(request: RunRequest, names: Sequence[str]) -> None:
    """Refuse a column where a file is taken."""
    for field_name, (flag, condition) in _MEANT_COLUMNS.items():
        value = getattr(request, field_name, None)
        if value is not None and str(value) in names and not Path(value).exists():
            raise InputError(
                f"The {field_name} file {str(value)!r} does not exist",
                hint=f"It is a column. {condition}, pass {option_of(flag, value)}.",
                code="PG010",
            )


def _is_by_place(name: str) -> bool:
    return name.startswith("column ")


def find_columns(request: RunRequest, target: str | None, names: Sequence[str]) -> None:
    """Refuse a target, and columns of options, that are not in the table."""
    if target is None:
        advice = f"Which column should be predicted? Columns: {listed(names, 8)}."
        raise InputError("Missing --target", hint=advice, code="PG005")
    if target in names:
        header_line = None
    else:
        header_line = line_of(request.table, target)
    if header_line is not None:
        advice = (
            f"It stands in line {header_line} of {request.table}: delete the "
            "lines above, so that this one is the header."
        )
        problem = f"{option_of('--target', target)}: no such column"
        raise InputError(problem, hint=advice, code="PG012")
    find_column(target, names, "--target")
    for option, columns in {**request.columns, "--kind": tuple(request.kinds)}.items():
        for column_name in columns:
            find_column(column_name, names, option)


def no_such_file(
    source: str | Path, role: str, names: Collection[str] = ()
) -> InputError:
    """Return the error for a file that cannot be read.

    ``names``: of the data sets that could have been meant.
    """
    from permgrad.base.files import near_file, why_missing  # loads NumPy

    source_path = Path(source)
    if source_path.is_dir():
        path_state = "is a folder"
    else:
        path_state = why_missing(source_path)
    if names and not source_path.suffix:
        data_set_words = f" Named data sets: {', '.join(names)}."
    else:
        data_set_words = ""
    if source_path.is_dir() and (source_path / "run.json").is_file():
        return InputError(
            f"{os.fspath(source_path)!r} is the folder of a run",
            f"Run: permgrad report {source_path}",
            "PG010",
        )
    problem = f"The {role} file {os.fspath(source_path)!r} {path_state}"
    return InputError(
        problem,
        hint=f"{near_file(source_path, names) or 'Check the path.'}{data_set_words}",
        code="PG010",
    )


def find_column(name: str, names: Sequence[str], role: str) -> None:
    """Refuse a column that is not in the table.

    Suggest a near name, or hint at a wrong delimiter.
    """
    if name in names:
        return
    problem_hint = did_you_mean(name, names, f"Columns: {listed(names, 8)}.")
    if {column_name.strip() for column_name in name.split(",")} <= {*names}:
        problem_hint = f"Name one column in each {role}."
    if len(names) == 1:
        problem_hint += (
            " Is the delimiter one of , ; tab | or space? In an Excel "
            "file, choose the sheet with --sheet."
        )
    where = f"Column {name!r} ({role})"
    if role.startswith("--"):
        if role.endswith("="):
            where = f"{role}{name}"
        else:
            where = option_of(role, name)
    raise InputError(f"{where}: no such column", hint=problem_hint, code="PG012")


# ---- a table for a model -------------------------------------------------------------
@refusing
def check_model(folder: Path) -> Iterator[Fault]:
    """Refuse a folder that cannot be a model, without reading one."""
    from permgrad.base.files import near_file  # loads NumPy
    from permgrad.runs.run_folder import read_record

    if not folder.is_dir():
        if folder.exists():
            path_state = "is a file"
        else:
            path_state = "does not exist"
        is_file = bool(folder.suffix) and not folder.exists()
        problem = f"The model {'file' if is_file else 'folder'} {folder} {path_state}"
        if is_file:
            usual = "Check the path."
        else:
            usual = "Pass a run's folder, such as permgrad-runs/heloc-0."
        problem_hint = near_file(folder, folder=not is_file) or usual
        yield problem, problem_hint, "PG010"
    if read_record(folder) is not None and not (folder / "model").is_dir():
        problem = f"The run in {folder} has no trained model yet"
        yield problem, "Finish it with permgrad run.", "PG055"


def saved_in(folder: Path) -> Path:
    """Return the model folder, from the run's folder or from that folder."""
    if (folder / "model").is_dir():
        return folder / "model"
    return folder


def refuse_other_columns(folder: Path, table: Path) -> None:
    """Refuse a table whose header lacks columns that a model reads.

    What its first lines leave open, or is damaged, is refused once model and table are
    read.
    """
    names = csv_header(table)
    if not names:
        return
    from permgrad.base.stored import is_intact, read_json  # loads NumPy

    try:
        description = read_json(saved_in(folder) / "model.json")
        data_path = run_of(folder) / "data.json"
        features = []
        for column in description["preprocessor"]["schema"]["columns"]:
            features.append(column["name"])
        if data_path.is_file():
            facts = read_json(data_path)
        else:
            facts = {}
        silent = known_columns(facts)
        # Cells with two numbers become two columns.
        for name in {*names}.intersection(facts.get("pairs", {})):
            names += pair_names(name, *facts["pairs"][name][1:])
            silent.append(name)
        is_whole = is_intact(description)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    missing = [column_name for column_name in features if column_name not in names]
    # A column without a name is named by its place, once the table is read.
    if (
        missing
        and is_whole
        and not any(column_name.startswith("column ") for column_name in missing)
    ):
        raise columns_missing(
            missing,
            [
                column_name
                for column_name in names
                if column_name not in {*features, *silent}
            ],
        )


def known_columns(data: Mapping[str, Any]) -> list[str]:
    """Return the target, the identifiers, and the columns that the run left out.

    They need no warning.
    """
    named = []
    for column_row in data.get("columns", ()):
        if not column_row["used"]:
            named.append(column_row["name"])
    return [
        column_name
        for column_name in (data.get("target"), *data.get("identifiers", ()), *named)
        if column_name is not None
    ]
