"""Test and validation rows from files of their own: read as the table is, with the columns that a run needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from permgrad.base.errors import InputError, by_count
from permgrad.data.encode.encoding import align_columns
from permgrad.data.read.cells import MissingCodes, RowLines, canonical
from permgrad.data.read.reading import Reading, Written
from permgrad.data.read.table import blank_codes, read_written
from permgrad.data.types.column_types import Kind
from permgrad.runs.requests import RunRequest, parse_kinds
from permgrad.runs.run.target import find_column


def text_columns(written: Written, kinds: Mapping[str, Kind]) -> list[str]:
    """Return the columns that are text also in a table in which they happen to hold numbers alone."""
    return [*written.texts, *(name for name in written.coded if kinds.get(name) == "categorical")]


def read_part_files(
    request: RunRequest, written: Written, target: str, codes: Sequence[str | int | float], notes: list[str]
) -> tuple[dict[str, pd.DataFrame], dict[str, RowLines]]:
    """Return the tables of the parts that have a file of their own, and where their rows stand in it.

    They have all their columns, rows without a target are left out.
    """
    texts = frozenset(text_columns(written, parse_kinds(request.kind)))
    files: dict[str, pd.DataFrame] = {}
    lines: dict[str, RowLines] = {}
    for part in ("test", "validation"):
        path = getattr(request, part)
        if path is None:
            continue
        reading = Reading(
            like=written.decimals,
            texts=texts,
            codes=MissingCodes.of(codes),
            classes=[target],
            identifiers=request.names_of_rows,
            named=list(written.frame.columns),
            not_na=request.kept_texts,
            units=written.units,
        )
        part_table = read_written(path, reading)
        find_column(target, list(part_table.frame.columns), f"target of the {part} file")
        files[part] = with_target(part_table.frame, target, codes, notes, f"the {part} file")
        lines[part] = part_table.lines
    return files, lines


def with_needed_columns(
    table: pd.DataFrame, features: Sequence[str], optional: Sequence[str], columns: Sequence[str]
) -> pd.DataFrame:
    """Return a file's table with the features, and the others that it has; all further ones are left out.

    Examples:
        >>> own = pd.DataFrame({"y": [1], "id": [7], "a": [0.5]})
        >>> with_needed_columns(own, ["a", "y"], ["id", "site"], ["id", "a", "y"]).columns.tolist()
        ['a', 'y', 'id']
    """
    needed = [*features, *(name for name in optional if name in table.columns and name not in features)]
    silent = set(columns) - set(needed)
    return align_columns(table.drop(columns=[name for name in table.columns if name in silent]), needed)


def notes_on_division(request: RunRequest, train: pd.DataFrame, files: Mapping[str, pd.DataFrame]) -> list[str]:
    """Say which groups of the training rows stand in the files, too, and where nothing is left to be divided."""
    notes = [
        f"--{name} divides nothing, because --test and --validation are both given; the column is left out all the same"
        for name in ("group", "time")
        if len(files) == 2 and getattr(request, name) is not None
    ]
    for part, table in files.items() if request.group is not None else ():
        if request.group not in table.columns:
            continue
        there, learned = (set(map(canonical, rows[request.group].dropna().unique())) for rows in (table, train))
        if shared := len(there & learned):
            notes.append(
                f"{shared} of {len(there)} groups of {request.group!r} in the {part} file also "
                f"{by_count(shared, 'stands', 'stand')} in the training rows"
            )
    return notes


def with_target(
    frame: pd.DataFrame, target: str, codes: Sequence[str | int | float], notes: list[str], where: str = "the table"
) -> pd.DataFrame:
    """Return the rows whose target is known, numbered as in the file; what is left out is noted.

    Raises:
        InputError: It is known in no row.
    """
    blanked = blank_codes(frame[[target]], list(codes))[target]
    if not pd.api.types.is_numeric_dtype(blanked.dtype):
        blanked = blanked.mask(blanked.astype(str).str.strip() == "")
    missing = blanked.isna().to_numpy()
    if missing.all():
        raise InputError(
            f"the target must be known, however: column {target!r} of {where} is missing in every row; "
            "choose another target, or check --na"
        )
    if count := int(missing.sum()):
        words = f"{by_count(count, 'has', 'have')} no target and {by_count(count, 'is', 'are')} left out"
        notes.append(f"{count} of {len(frame)} rows of {where} {words}")
    return frame.assign(**{target: blanked}).loc[~missing]
