"""``permgrad predict``: a trained model and a table in, predictions out; a table may be read in parts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from permgrad import __version__
from permgrad.attribution.parts.folder import StreamedWork, lines_in, part_name, refuse_inside, writable, written_lines
from permgrad.attribution.parts.plan import json_hash, model_digest, table_digest
from permgrad.base.csv_files import csv_text, write_csv
from permgrad.base.errors import InputError, counted, keeping_warnings, warn_first, warn_user
from permgrad.base.files import atomic_path, writing
from permgrad.base.locks import hold_name
from permgrad.base.progress import Progress
from permgrad.data.encode.encoding import align_columns
from permgrad.data.parts.partitions import Part, PartitionedTable, is_partitioned, open_partitioned
from permgrad.models.batches import sparing, with_fewer
from permgrad.runs.folder.documents import check_cells
from permgrad.runs.folder.folder import refuse_input, refuse_run_file
from permgrad.runs.requests import Outcome, PredictRequest, table_name
from permgrad.runs.run import predicting
from permgrad.runs.run.images import is_image_model

#: A single Parquet file is read in parts from this size of its unpacked values on.
LARGE_BYTES = 2**30
#: Cells of a frame that are held at a time.
_CELLS, _MOST_ROWS = 2_000_000, 50_000


def predict_table(request: PredictRequest) -> Outcome:
    """Predict the rows of a table and write them as CSV; a table that is read in parts as a folder of Parquet files.

    A file to write, named by ``out``, asks for the table in memory.

    Raises:
        InputError: No model, a table without the model's columns, or a file that is there already.
        EnvironmentProblem: The file cannot be written.
    """
    table, out = request.table, request.out
    names_file = out is not None and (str(out) == "-" or _names_csv(out))
    if is_streamed(table, False if request.stream is None and names_file and table.is_file() else request.stream):
        return predict_stream(request)
    # Before the place to write: whoever is told of that first overwrites files for a model that there is not.
    model, data = predicting.open_model(request.model_folder)
    target = Path(f"{table_name(table)}-predictions.csv") if out is None else out
    if os.fspath(target) == "-":
        result, facts = _predicted(request, model, data)
        text, quoted = csv_text(result)
        _say_quoted(quoted)
        return Outcome({**facts, "out": None, "predictions": result.to_dict(orient="records")}, text)
    refuse_input(target, {"table": table})
    refuse_run_file(target, request.model_folder)
    _check_free(target, overwrite=request.overwrite)
    with hold_name(target):
        _check_free(target, overwrite=request.overwrite)  # again, now that nobody else can write it
        result, facts = _predicted(request, model, data)
        rule = "predictions must be written"
        with writing(rule, target, "name another file with --out"), atomic_path(target) as temporary:
            quoted = write_csv(result, temporary)
    _say_quoted(quoted)
    return Outcome({**facts, "out": os.fspath(target)}, f"{counted(len(result), 'row')} predicted: {target}")


def _predicted(request: PredictRequest, model: Any, data: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the predictions of a table as they are written, and facts about them."""
    predicting.use_threads(request.threads)
    rows, cells = predicting.read_rows(model, data, request.table)
    check_cells(model.preprocessor_, predicting.table_of(rows), request.table)
    identifiers = cells[[name for name in data.get("identifiers", ()) if name in cells.columns]]
    facts: dict[str, Any] = {"rows": len(rows)}
    if hasattr(model, "classes_"):
        facts["classes"] = model.classes_.tolist()
    return predicting.prediction_table(
        np.arange(len(rows)), identifiers, predicting.predictions_of(model, rows), model
    ), facts


def _check_free(target: Path, *, overwrite: bool) -> None:
    """Refuse a folder, a file that is there, and a name that promises another format than CSV."""
    if target.is_dir():
        raise InputError(f"predictions are written to a file, however: {target} is a folder; name a file with --out")
    if not _names_csv(target):
        raise InputError(
            "predictions are written as CSV, into a file whose name ends with .csv, .csv.gz or .txt, however: "
            f"--out {target}; name it {target.with_suffix('.csv')}"
        )
    if os.path.lexists(target) and not overwrite:
        raise InputError(
            f"a file must not be replaced in silence, however: {target} exists; "
            "add --overwrite or name another with --out"
        )


def _names_csv(target: Path) -> bool:
    return target.name.lower().removesuffix(".gz").endswith((".csv", ".txt"))


def _say_quoted(cells: int) -> None:
    """Predictions are joined to other tables by their identifiers: whoever does so must know that some were quoted."""
    if cells:
        warn_user(
            f"{counted(cells, 'cell')} of the predictions would be formulas in a spreadsheet and got a single quote in "
            "front; --csv-formulas keep leaves them as they are"
        )


# ---- in parts --------------------------------------------------------------------------------------------------------
def is_streamed(table: Path, wanted: bool | None) -> bool:
    """Whether a table is read in parts: a folder always, a Parquet file if it is asked for or is large."""
    if table.is_dir():
        if wanted is False:
            raise InputError(
                f"a folder is read in parts, however: {table} is a folder and --no-stream is given; name one file of it"
            )
        return True
    if not table.is_file() or not is_partitioned(table):
        if wanted and table.is_file():
            raise InputError(
                f"--stream reads Parquet in parts, however: {table} is not Parquet; write it as Parquet, or leave "
                "--stream out"
            )
        return False
    if wanted is None:
        return open_partitioned(table).bytes >= LARGE_BYTES
    return wanted


def with_target(model: Any, data: Mapping[str, Any], y: str | None) -> dict[str, Any]:
    """Return what a run says of its data, with another column of targets if one is named."""
    if y is None:
        return dict(data)
    return {**data, "target": y, "task": "classification" if hasattr(model, "classes_") else "regression"}


def open_streamed(folder: Path, table: Path, y: str | None = None) -> tuple[Any, dict[str, Any], PartitionedTable]:
    """Return the model, what its run says of its data (``y``: another column of targets), and the table."""
    opened = open_partitioned(table)
    model, data = predicting.open_model(folder)
    if is_image_model(model):
        raise InputError(
            f"a model that reads images takes its rows from one table in memory, however: {table} is to be read in "
            "parts; pass one file, with --no-stream"
        )
    data = with_target(model, data, y)
    silent, features = set(predicting.known_columns(data)), _features(model)
    shown = [name for name in opened.columns if name in features or name not in silent]
    align_columns(pd.DataFrame(columns=shown), features)
    return model, data, opened


def _features(model: Any) -> list[str]:
    return [str(name) for name in model.preprocessor_.feature_names_in_]


def predict_stream(request: PredictRequest, *, progress: Any = "auto") -> Outcome:
    """Predict the rows of Parquet files in parts, into a folder; the same command goes on with what is not finished."""
    target = Path(f"{table_name(request.table)}-predictions") if request.out is None else request.out
    if target.suffix.lower() in (".csv", ".gz", ".txt", ".parquet", ".pq") or str(target) == "-":
        raise InputError(
            f"predictions of a table that is read in parts are written to a folder, however: --out {target} names a "
            "file; name a folder, such as --out predictions"
        )
    model, data, table = open_streamed(request.model_folder, request.table)
    refuse_inside(target, request.table)
    refuse_input(target, {"table": request.table})
    refuse_run_file(target, request.model_folder)
    predicting.use_threads(request.threads)
    identifiers = [name for name in data.get("identifiers", ()) if name in table.columns]
    facts: dict[str, Any] = {
        "permgrad": __version__,
        "model": model_digest(model),
        "table": table_digest(table),
        "identifiers": identifiers,
    }
    work = StreamedWork(target, "prediction", json_hash(facts), facts)
    columns = list(dict.fromkeys([*_features(model), *identifiers]))
    most = max(256, min(_MOST_ROWS, _CELLS // max(1, len(columns), len(model.preprocessor_.encoded_names_))))
    notes: dict[str, int] = {}
    with work.hold(overwrite=request.overwrite), writable(target):
        files = {part: target / f"{part_name(part.number)}.parquet" for part in table.parts}
        facts_of = {part: {"key": work.key, "part": part.number} for part in table.parts}
        todo = [part for part in table.parts if lines_in(files[part]) != (part.rows, facts_of[part])]
        with Progress(sum(part.rows for part in todo), "predict", progress) as bar:
            for part in todo:

                def predict(rows: int, part: Part = part) -> None:
                    with written_lines(files[part], facts_of[part]) as write:
                        for first, frame in table.batches(part, rows, columns):
                            with table.cells_of(range(first, first + len(frame))):
                                write(_lines(model, table, identifiers, first, frame))

                with sparing(), keeping_warnings() as warned:
                    # Rows are read and encoded before the network can take fewer of them at a time.
                    with_fewer(most, predict)
                for text in warned:
                    notes.setdefault(text, part.number)
                bar.advance(part.rows)
        warn_first(notes, f"in part {next(iter(notes.values()), 0)} of the table: ")
    result: dict[str, Any] = {"rows": table.rows, "out": str(target), "parts": len(table.parts), "computed": len(todo)}
    if hasattr(model, "classes_"):
        result["classes"] = model.classes_.tolist()
    was = "" if todo else ", finished before"
    parts = counted(len(table.parts), "part")
    return Outcome(result, f"{counted(table.rows, 'row')} predicted in {parts}{was}: {target}")


def _lines(model: Any, table: PartitionedTable, identifiers: list[str], first: int, frame: pd.DataFrame) -> pa.Table:
    """Return the predictions of some rows as they are written; ``first`` is the number of the first row."""
    predicted = predicting.predictions_of(model, frame[_features(model)])
    result = predicting.prediction_table(np.arange(first, first + len(frame)), frame[identifiers], predicted, model)
    lines = pa.Table.from_pandas(result, preserve_index=False).replace_schema_metadata(None)
    for name, shown in predicting.identifier_names(identifiers, model).items():
        # The type of the whole table, also where all cells of a batch are missing.
        kind = table.schema.field(name).type if name in table.schema.names else pa.int64()
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        cells = pa.array(frame[name].astype(object), type=kind, from_pandas=True)
        lines = lines.set_column(lines.schema.get_field_index(shown), shown, cells)
    return lines
