"""``permgrad predict``: a trained model and a table in, predictions out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.csv_files import csv_text, write_csv
from permgrad.base.errors import InputError, counted, warn_user
from permgrad.base.files import atomic_path, writing
from permgrad.base.locks import hold_name
from permgrad.runs.commands.stream import is_streamed, predict_stream
from permgrad.runs.commands.trained import open_model, read_rows, table_of
from permgrad.runs.folder.documents import check_cells
from permgrad.runs.folder.folder import refuse_input, refuse_run_file
from permgrad.runs.requests import Outcome, PredictRequest, table_name
from permgrad.runs.run.predicting import prediction_table, predictions_of, use_threads


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
    model, data = open_model(request.model_folder)
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
    use_threads(request.threads)
    rows, cells = read_rows(model, data, request.table)
    check_cells(model.preprocessor_, table_of(rows), request.table)
    identifiers = cells[[name for name in data.get("identifiers", ()) if name in cells.columns]]
    facts: dict[str, Any] = {"rows": len(rows)}
    if hasattr(model, "classes_"):
        facts["classes"] = model.classes_.tolist()
    return prediction_table(np.arange(len(rows)), identifiers, predictions_of(model, rows), model), facts


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
