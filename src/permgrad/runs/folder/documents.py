"""Read the documents of a run's folder, and tables like that of a run.

The record has their checksums (``finished_record``), so that their entries need no checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from permgrad.base.csv_files import read_csv
from permgrad.base.errors import InputError, keeping_warnings
from permgrad.base.stored import parse_json
from permgrad.data.read.cells import CellError, MissingCodes, RowLines
from permgrad.data.read.reading import Reading
from permgrad.data.read.table import read_written
from permgrad.runs.options import data_sets

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.data.encode.encoding import TableEncoder

DATA, COLUMNS, METRICS, BRANCHES = "data.json", "columns.json", "metrics.json", "branches.json"
GROUPS = "explanations/groups.json"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of a run's folder. Refuse one that is missing or damaged."""
    try:
        content = parse_json(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing", hint="Run again with --from data.", code="PG052") from error
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error})", hint="Run again with --from data.", code="PG052") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is not a JSON object", hint="Run again with --from data.", code="PG052")
    return content


def read_like(table: Path, data: Mapping[str, Any], features: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table like the one of a run: the same decimal signs, text columns and codes for missing."""
    if str(table) in data_sets():
        from permgrad.data.datasets import load_dataset

        return load_dataset(str(table)).frame
    reading = Reading(
        like=data.get("decimals", {}),
        texts=frozenset(data.get("texts", ())),
        codes=MissingCodes.of(data.get("na_codes", ())),
        identifiers=data.get("identifiers", ()),
        images=[column["name"] for column in data.get("columns", ()) if column.get("kind") == "image"],
        named=[*features, *(column["name"] for column in data.get("columns", ()))],
        not_na=data.get("not_na", ()),
        units=data.get("units", {}),
        sheet=data.get("sheet"),
    )
    return read_written(table, reading).frame


def check_cells(encoder: TableEncoder, rows: pd.DataFrame, table: Path, sheet: str | None = None) -> None:
    """Refuse a cell that a model cannot read, and name its line in the file."""
    try:
        encoder.check_cells(rows[list(encoder.feature_names_in_)])
    except CellError as error:
        if not table.is_file():
            raise
        with _lines(table, sheet).named():
            raise error from None


def line_of(table: Path, row: int, sheet: str | None) -> int | None:
    """Return the line of a text file, or the row of a sheet, in which a row begins, from 1. None: there is none."""
    lines = _lines(table, sheet).lines if table.is_file() else None
    return None if lines is None else int(lines[row])


def _lines(table: Path, sheet: str | None) -> RowLines:
    """Read a table again for its line numbers, which few need."""
    with keeping_warnings():
        return read_written(table, Reading(sheet=sheet)).lines


def read_predictions(folder: Path, data: Mapping[str, Any]) -> pd.DataFrame:
    """Read a run's ``predictions.csv``, by what ``data.json`` says."""
    texts = {"truth": str, "prediction": str} if data["task"] == "classification" else None
    return read_csv(folder / "predictions.csv", dtype=texts, keep_default_na=False)


def saved_explanation(folder: Path, method: str) -> Explanation | None:
    """Return an explanation of a run's folder, or None if it has none by this method."""
    from permgrad.attribution.explanation import Explanation

    source = folder / "explanations" / method
    return Explanation.load(source) if source.is_dir() else None
