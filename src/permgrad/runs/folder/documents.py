"""Read the JSON documents of a run's folder, and refuse damaged ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from permgrad.base.csv_files import read_csv
from permgrad.base.errors import InputError, counted, keeping_warnings
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
TASKS = ("classification", "regression")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of a run's folder. Refuse one that is missing or damaged."""
    try:
        content = parse_json(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing", hint="Run again with --from data.", code="PG052") from error
    except ValueError as error:
        raise _changed(path, f"is damaged ({error})") from error
    if not isinstance(content, dict):
        raise _changed(path, "is not a JSON object")
    return content


def read_related(path: Path) -> list[Any]:
    """Read which features move together. Older runs have more in the file."""
    try:
        content = parse_json(path.read_bytes())
    except (ValueError, FileNotFoundError) as error:
        raise _changed(path, "is missing or damaged", "Run again with --from explanation.") from error
    pairs = content.get("pairs") if isinstance(content, dict) else content
    if not isinstance(pairs, list):
        raise _changed(path, "is not a JSON list", "Run again with --from explanation.")
    return pairs


def read_data(path: Path) -> dict[str, Any]:
    """Read ``data.json``: the target, the identifiers, and the type of each column."""
    data = read_json(path)
    for name, is_ours in _ENTRIES.items():
        if not is_ours(data.get(name)) and (name in data or name in ("task", "target")):
            raise _changed(path, f"is damaged: its entry {name!r} is {data.get(name)!r:.40}")
    return data


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


def read_metrics(path: Path, task: str | None = None) -> dict[str, Any]:
    """Read ``metrics.json``: rows by part, metrics on validation and test rows, and those of the baselines."""
    metrics = read_json(path)
    parts = [metrics.get(name) for name in ("rows", "validation", "test", "baselines")]
    if metrics.get("task") not in (TASKS if task is None else (task,)) or not all(isinstance(p, dict) for p in parts):
        raise _changed(path, "has no task, rows, validation, test or baselines of this run")
    measured = "rmse" if metrics["task"] == "regression" else "accuracy"
    if measured not in metrics["test"] or not isinstance(metrics["rows"].get("test"), int):
        raise _changed(path, f"has no metric of a {metrics['task']}, or no number of test rows")
    if not all(isinstance(scores, dict) for scores in metrics["baselines"].values()):
        raise _changed(path, "has baselines without metrics")
    return metrics


def read_table_of(
    path: Path, stage: str, *, needs: Sequence[str], numbers: Sequence[str], rows: int | None = None, **options: Any
) -> pd.DataFrame:
    """Read a CSV file of a run's folder, with ``pandas.read_csv``'s options.

    It must have the columns ``needs`` and ``rows`` rows. The columns ``numbers`` must be numeric.
    """
    fix = f"Run again with --from {stage}."
    try:
        table = read_csv(path, **options)
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing", hint=fix, code="PG052") from error
    except ValueError as error:  # of pandas or decoding, with texts that do not help users
        raise _changed(path, "is damaged", fix) from error
    lacking = [name for name in needs if name not in table.columns]
    if lacking:
        raise _changed(path, f"is damaged: it has no column {lacking[0]!r}", fix)
    texts = [name for name in numbers if name in table.columns and table[name].dtype.kind not in "iuf"]
    if texts or table.empty:
        fact = f"column {texts[0]!r} is not numeric" if texts else "it has no rows"
        raise _changed(path, f"is damaged: {fact}", fix)
    if rows is not None and len(table) != rows:
        raise _changed(path, f"is damaged: it has {len(table):,} of {counted(rows, 'row')}", fix)
    return table


def read_predictions(folder: Path, data: Mapping[str, Any], chances: Sequence[str] = ()) -> pd.DataFrame:
    """Read a run's ``predictions.csv``, by what ``data.json`` says, with the columns ``chances`` of probabilities."""
    classify = data["task"] == "classification"
    return read_table_of(
        folder / "predictions.csv",
        "model",
        needs=("row", "truth", "prediction", *chances),
        numbers=("row", *(chances if classify else ("truth", "prediction"))),
        rows=int(data["rows"]["test"]),
        dtype={"truth": str, "prediction": str} if classify else None,
        keep_default_na=False,
    )


def _are_texts(entry: Any) -> bool:
    return isinstance(entry, list) and all(isinstance(text, str) for text in entry)


#: Checks of the entries of ``data.json`` that commands use.
_ENTRIES: dict[str, Callable[[Any], bool]] = {
    "task": lambda entry: entry in TASKS,
    "target": lambda entry: isinstance(entry, str),
    "columns": lambda entry: (
        isinstance(entry, list)
        and all(isinstance(one, Mapping) and _are_texts([one.get("name"), one.get("role")]) for one in entry)
    ),
    "identifiers": lambda entry: _are_texts(entry) and len(set(entry)) == len(entry),
    "na_codes": lambda entry: (
        isinstance(entry, list)
        and all(isinstance(code, (str, int, float)) and not isinstance(code, bool) for code in entry)
    ),
    "texts": _are_texts,
    "not_na": _are_texts,
    "decimals": lambda entry: isinstance(entry, dict) and all(sign in (",", ".") for sign in entry.values()),
    "units": lambda entry: isinstance(entry, dict) and _are_texts(list(entry.values())),
}


def _changed(path: Path, fact: str, fix: str = "Run again with --from data.") -> InputError:
    return InputError(f"{path} {fact}", hint=fix, code="PG052")


def saved_explanation(folder: Path, method: str) -> Explanation | None:
    """Return an explanation of a run's folder, or None if it has none by this method."""
    from permgrad.attribution.explanation import Explanation

    source = folder / "explanations" / method
    return Explanation.load(source) if source.is_dir() else None
