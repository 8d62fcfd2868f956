"""``permgrad predict``: predict the rows of a table with a trained model. Large tables are read in parts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from permgrad.attribution.parts.folder import PREDICTED, part_name, writable, written_lines
from permgrad.attribution.parts.plan import model_digest, table_digest
from permgrad.base import __version__
from permgrad.base.checks import check_confidence
from permgrad.base.csv_files import csv_text, write_csv
from permgrad.base.errors import Fault, InputError, by_count, counted, keeping_warnings, refusing, warn_first, warn_user
from permgrad.base.files import writing
from permgrad.base.folders import changed_files, sums_of
from permgrad.base.locks import hold_name
from permgrad.base.progress import Progress
from permgrad.data.encode.encoding import align_columns
from permgrad.data.parts.partitions import Part, PartitionedTable, is_partitioned, open_partitioned
from permgrad.models.batches import sparing, with_fewer
from permgrad.runs.folder.folder import refuse_input, refuse_run_file
from permgrad.runs.options import table_name
from permgrad.runs.requests import ExplainRequest, Outcome, PredictRequest
from permgrad.runs.run import predicting

#: A single Parquet file is read in parts from this size of its unpacked values on.
LARGE_BYTES = 2**30
#: Cells of a frame that are held at a time.
_CELLS, _MOST_ROWS = 2_000_000, 50_000


def predict_table(request: PredictRequest) -> Outcome:
    """Predict the rows of a table and write them as CSV, or as a folder of Parquet files for a table read in parts.

    If ``out`` names a file, the table is read into memory.
    """
    table, out = request.table, request.out
    names_file = out is not None and (str(out) == "-" or _names_csv(out))
    if is_streamed(table, False if request.stream is None and names_file and table.is_file() else request.stream):
        return predict_stream(request)
    # The model is checked before the place to write. Otherwise a user would overwrite files and then learn that
    # there is no model.
    model, data = predicting.open_model(request.model_folder)
    target = Path(f"{table_name(table)}-predictions.csv") if out is None else out
    if os.fspath(target) == "-":
        result, facts = _predicted(request, model, data)
        text, quoted = csv_text(result)
        _say_quoted(quoted)
        return Outcome({**facts, "out": None, "predictions": result.to_dict(orient="records")}, text)
    refuse_input(target, {"table": table})
    refuse_run_file(target, request.model_folder)
    check_free(target, "Predictions")
    with hold_name(target):
        result, facts = _predicted(request, model, data)
        with writing(target, "name another file with --out"):
            quoted = write_csv(result, target)
    _say_quoted(quoted)
    what = "predicted" if data.get("offset") is None else "predicted, as rates of an exposure of 1"
    return Outcome({**facts, "out": os.fspath(target)}, f"{counted(len(result), 'row')} {what}: {target}")


def _predicted(request: PredictRequest, model: Any, data: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the predictions of a table as they are written, and facts about them."""
    predicting.use_threads(request.threads)
    rows, written = predicting.read_rows(model, data | {"sheet": request.sheet}, request.table)
    with written.lines.named():
        features = rows[list(model.preprocessor_.feature_names_in_)]
        model.preprocessor_.tell_of_far_numbers(features)
    identifiers = written.frame[[name for name in data.get("identifiers", ()) if name in written.frame.columns]]
    facts: dict[str, Any] = {"rows": len(rows)}
    if hasattr(model, "classes_"):
        facts["classes"] = model.classes_.tolist()
    predicted = model.predict_parts(rows, **_intervals(request, model, data))
    return predicting.prediction_table(np.arange(len(rows)), identifiers, predicted, model), facts


def _intervals(request: PredictRequest, model: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the intervals or sets that were asked for."""
    weight = data.get("weight") or data.get("offset")
    if request.coverage is not None and weight:
        problem = f"--coverage counts each held-out row once, and the run weighs rows by {weight!r}"
        raise InputError(problem, hint="Leave it out.", code="PG006")
    if request.by_class and (request.coverage is None or not hasattr(model, "classes_")):
        problem = "--by-class is for sets of classes, which --coverage adds"
        add, leave_out = "Add --coverage 0.9, for example.", "Leave it out: this model predicts numbers."
        fix = add if hasattr(model, "classes_") else leave_out
        raise InputError(problem, hint=fix, code="PG004")
    coverage = None if request.coverage is None else check_confidence(request.coverage, "--coverage")
    return {"coverage": coverage, **({"by_class": True} if request.by_class else {})}


@refusing
def check_free(target: Path, what: str) -> Iterator[Fault]:
    """Refuse a folder, and a name that is not of CSV. ``what`` is to be written, also over a file that is there."""
    if target.is_dir():
        yield f"{target} is a folder", "Name a file with --out.", "PG050"
    if not _names_csv(target):
        hint = f"Use a name that ends in .csv, .csv.gz or .txt, such as {target.with_suffix('.csv')}."
        yield f"{what} are written as CSV, got --out {target}", hint, "PG003"


def _names_csv(target: Path) -> bool:
    return target.name.lower().removesuffix(".gz").endswith((".csv", ".txt"))


def _say_quoted(cells: int) -> None:
    """Warn of quoted cells: predictions may be joined to other tables by identifiers that were quoted."""
    if cells:
        warn_user(
            f"{counted(cells, 'cell')} of the predictions would be {by_count(cells, 'a formula', 'formulas')} in a "
            "spreadsheet and got a single quote in front. Pass --csv-formulas keep to leave them unchanged."
        )


# ---- in parts --------------------------------------------------------------------------------------------------------
def is_streamed(table: Path, wanted: bool | None) -> bool:
    """Whether a table is read in parts: a folder always, a Parquet file on request or if it is large."""
    if table.is_dir():
        if wanted is False:
            problem = f"--no-stream does not apply to a folder, and {table} is one"
            raise InputError(problem, hint="Leave it out, or name one file of the folder.", code="PG006")
        return True
    if not table.is_file() or not is_partitioned(table):
        if wanted and table.is_file():
            problem = f"--stream reads Parquet, and {table} is not Parquet"
            raise InputError(problem, hint="Write it as Parquet, or leave --stream out.", code="PG006")
        return False
    if wanted is None:
        return open_partitioned(table).bytes >= LARGE_BYTES
    return wanted


def with_target(model: Any, data: Mapping[str, Any], y: str | None) -> dict[str, Any]:
    """Return the run's facts on its data, with another target column if one is named."""
    if y is None:
        return dict(data)
    return {**data, "target": y, "task": "classification" if hasattr(model, "classes_") else "regression"}


def open_streamed(
    request: PredictRequest | ExplainRequest, table: Path, y: str | None = None
) -> tuple[Any, dict[str, Any], PartitionedTable]:
    """Return the model, its run's facts on the data (``y``: another target column), and the table."""
    opened = open_partitioned(table)
    model, data = predicting.open_model(request.model_folder)
    data = with_target(model, data, y)
    if isinstance(request, ExplainRequest) and data.get("offset") and data.get("target") in opened.columns:
        problem = "Counts with an offset are explained of a table in memory, and this one is read in parts"
        hint = f"Leave {data['target']!r} out of it, or take fewer rows."
        raise InputError(problem, hint=hint, code="PG004")
    silent, features = set(predicting.known_columns(data)), predicting.features_of(model)
    shown = [name for name in opened.columns if name in features or name not in silent]
    align_columns(pd.DataFrame(columns=shown), features)
    return model, data, opened


def predict_stream(request: PredictRequest) -> Outcome:
    """Predict the rows of Parquet files in parts, into a folder. The same command resumes after an interruption."""
    target = Path(f"{table_name(request.table)}-predictions") if request.out is None else request.out
    if target.suffix.lower() in (".csv", ".gz", ".txt", ".parquet", ".pq") or str(target) == "-":
        problem = f"Predictions of a table that is read in parts need a folder, got the file --out {target}"
        raise InputError(problem, hint="Name a folder, such as --out predictions.", code="PG003")
    model, data, table = open_streamed(request, request.table)
    refuse_input(target, {"table": request.table})
    refuse_run_file(target, request.model_folder)
    predicting.use_threads(request.threads)
    identifiers = [name for name in data.get("identifiers", ()) if name in table.columns]
    intervals = _intervals(request, model, data)
    facts: dict[str, Any] = {
        "permgrad": __version__,
        "model": model_digest(model),
        "table": table_digest(table),
        "identifiers": identifiers,
        **intervals,
    }
    columns = list(dict.fromkeys([*predicting.features_of(model), *identifiers]))
    most = max(256, min(_MOST_ROWS, _CELLS // max(1, len(columns), len(model.preprocessor_.encoded_names_))))
    notes: dict[str, int] = {}
    with PREDICTED.work(target, facts, overwrite=request.overwrite) as record, writable(target):
        files = {part: target / f"{part_name(part.number)}.parquet" for part in table.parts}
        # A file that has its name is complete, and of these facts, which are those of the folder.
        changed = changed_files(target, record)
        todo = [part for part, file in files.items() if file.name in changed or not file.is_file()]
        with Progress(sum(part.rows for part in todo), "predict") as bar:
            for part in todo:

                def predict(rows: int, part: Part = part) -> None:
                    with written_lines(files[part], {"part": part.number}) as write:
                        for first, frame in table.batches(part, rows, columns):
                            with table.cells_of(range(first, first + len(frame))):
                                features = frame[predicting.features_of(model)]
                                model.preprocessor_.tell_of_far_numbers(features)
                                predicted = model.predict_parts(features, **intervals)
                                write(_lines(model, table, predicted, frame[identifiers], first))

                with sparing(), keeping_warnings() as warned:
                    # Rows are read and encoded here. The network may then take them in smaller batches.
                    with_fewer(most, predict)
                for text in warned:
                    notes.setdefault(text, part.number)
                bar.advance(part.rows)
        if todo or not (record or {}).get("sums"):
            PREDICTED.write(target, facts, sums=sums_of(target, PREDICTED.names[1:]))
        warn_first(notes, f"In part {next(iter(notes.values()), 0)} of the table: ")
    result: dict[str, Any] = {"rows": table.rows, "out": str(target), "parts": len(table.parts), "computed": len(todo)}
    if hasattr(model, "classes_"):
        result["classes"] = model.classes_.tolist()
    was = "" if todo else ", already finished"
    parts = counted(len(table.parts), "part")
    return Outcome(result, f"{counted(table.rows, 'row')} predicted in {parts}{was}: {target}")


def _lines(
    model: Any, table: PartitionedTable, predicted: predicting.Predicted, identifiers: pd.DataFrame, first: int
) -> pa.Table:
    """Return the predictions of some rows as they are written. ``first`` is the number of the first row."""
    result = predicting.prediction_table(np.arange(first, first + len(identifiers)), identifiers, predicted, model)
    lines = pa.Table.from_pandas(result, preserve_index=False).replace_schema_metadata(None)
    for name, shown in zip(identifiers.columns, result.columns[1:], strict=False):  # they follow the row's number
        # The type of the complete table, also if all cells of a batch are missing.
        kind = table.schema.field(name).type if name in table.schema.names else pa.int64()
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        cells = pa.array(identifiers[name].astype(object), type=kind, from_pandas=True)
        lines = lines.set_column(lines.schema.get_field_index(shown), shown, cells)
    return lines
