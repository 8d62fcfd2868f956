"""``permgrad predict``: predict the rows of a table with a trained model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from permgrad.base.csv_files import csv_text, write_csv
from permgrad.base.errors import (
    Fault,
    InputError,
    as_lines,
    by_count,
    counted,
    refusing,
    warn_user,
)
from permgrad.base.files import writing
from permgrad.base.locks import hold_name
from permgrad.data.encode.encoding import surprises_told_once
from permgrad.data.encode.readable_rows import ReadableRows
from permgrad.data.encode.unlike import UnlikeRows
from permgrad.data.partitions import is_partitioned, open_partitioned
from permgrad.data.types.odd_cells import odd_cells_words
from permgrad.runs.commands.drifted import Drifted, drifted, with_targets
from permgrad.runs.commands.predicted_scores import scores_of_rows, scores_said
from permgrad.runs.options import table_name
from permgrad.runs.requests import Outcome, PredictRequest
from permgrad.runs.run import predicting
from permgrad.runs.run_folder import refuse_input, refuse_run_file

#: A single Parquet file is read in parts from this size of its unpacked values on.
LARGE_BYTES = 2**30


def predict_table(request: PredictRequest) -> Outcome:
    """Predict the rows of a table and write them as CSV, or as a folder of Parquet
    files for a table read in parts.

    If ``out`` names a file, the table is read into memory.
    """
    table = request.table
    output_path = request.out
    names_file = output_path is not None and (
        str(output_path) == "-" or _names_csv(output_path)
    )
    if is_streamed(
        table,
        False
        if request.stream is None and names_file and table.is_file()
        else request.stream,
    ):
        from permgrad.runs.commands.predict_parts import (
            predict_stream,
        )  # loads torch and all methods

        return predict_stream(request)
    # The model is checked before the place to write. Otherwise a user would overwrite
    # files and then learn that there is no model.
    model, data_facts = predicting.open_model(request.model_folder)
    predicting.decide_at(model, request.threshold)
    if output_path is None:
        target = Path(f"{table_name(table)}-predictions.csv")
    else:
        target = output_path
    if os.fspath(target) == "-":
        result, facts, prediction_notes, drift = _predicted(request, model, data_facts)
        table_text, quoted = csv_text(result)
        if drift is None:
            first = []
        else:
            first = drift.sentences
        for line in [*first, *prediction_notes]:  # the predictions are all of stdout
            warn_user(line)
        _say_quoted(quoted)
        return Outcome(
            {**facts, "out": None, "predictions": result.to_dict(orient="records")},
            table_text,
        )
    refuse_input(target, {"table": table})
    refuse_run_file(target, request.model_folder)
    check_free(target, "Predictions")
    with hold_name(target):
        result, facts, prediction_notes, drift = _predicted(request, model, data_facts)
        with writing(target, "name another file with --out"):
            quoted = write_csv(result, target)
            if drift is not None:
                facts["drift"]["file"] = os.fspath(drift.write(target))
    _say_quoted(quoted)
    if data_facts.get("offset") is None:
        predicted_words = "predicted"
    else:
        predicted_words = "predicted, as rates of an exposure of 1"
    lines = [
        f"{counted(len(result), 'row')} {predicted_words}: {target}",
        *prediction_notes,
    ]
    if drift is not None:
        lines = [*drift.sentences, *lines, f"Drift: {facts['drift']['file']}"]
    return Outcome({**facts, "out": os.fspath(target)}, as_lines(lines))


class _Predicted(NamedTuple):
    """Predictions of a table.

    Attributes:
        table: As they are written, a line for each row.
        facts: What ``--json`` says of them.
        sentences: What people are told of them.
        drift: How the rows differ from others (None: nobody asks).
    """

    table: pd.DataFrame
    facts: dict[str, Any]
    sentences: list[str]
    drift: Drifted | None


def _predicted(request: PredictRequest, model: Any, data: dict[str, Any]) -> _Predicted:
    """Return the predictions of a table."""
    predicting.use_threads(request.threads)
    table_rows, written = predicting.read_rows(
        model, data | {"sheet": request.sheet}, request.table
    )
    names = list(model.preprocessor_.feature_names_in_)
    with written.lines.named():
        readable_rows = ReadableRows.of(
            table_rows, model.preprocessor_, strict=request.strict
        )
    table_rows = readable_rows.rows
    unlike = UnlikeRows()
    unlike.add(readable_rows.unlike, len(table_rows))
    if readable_rows.odd_cells:
        placed_cells = []
        for odd_cell in readable_rows.odd_cells:
            placed_cells.append(written.lines.placed(odd_cell))
        warn_user(odd_cells_words(placed_cells))
    identifiers = written.frame[
        [
            column_name
            for column_name in data.get("identifiers", ())
            if column_name in written.frame.columns
        ]
    ]
    facts: dict[str, Any] = {"rows": len(table_rows), "unlike": unlike.facts}
    if hasattr(model, "classes_"):
        facts["classes"] = model.classes_.tolist()
    with surprises_told_once(names):  # they are counted
        predicted = model.predict_parts(
            table_rows, **predicting.intervals_of(request, model, data)
        )
    scores = scores_of_rows(written.frame, data, predicted, model)
    if scores is not None:
        facts |= {"scores": scores}
    sentences = [*unlike.lines, *([] if scores is None else [scores_said(scores)])]
    drift = None
    if request.against is not None:
        compared = with_targets(table_rows, written.frame, data)
        drift = drifted(request, model, data, compared, predicted)
    if drift is not None:
        facts["drift"] = drift.facts
    predictions = predicting.prediction_table(
        np.arange(len(table_rows)), identifiers, predicted, model
    )
    return _Predicted(
        predicting.with_reasons(predictions, model, table_rows, request.reasons),
        facts,
        sentences,
        drift,
    )


@refusing
def check_free(target: Path, what: str) -> Iterator[Fault]:
    """Refuse a folder, and a name that is not of CSV.

    ``what`` is to be written, also over a file that is there.
    """
    if target.is_dir():
        yield f"{target} is a folder", "Name a file with --out.", "PG050"
    if not _names_csv(target):
        problem_hint = (
            "Use a name that ends in .csv, .csv.gz or .txt, such as "
            f"{target.with_suffix('.csv')}."
        )
        yield f"{what} are written as CSV, got --out {target}", problem_hint, "PG003"


def _names_csv(target: Path) -> bool:
    return target.name.lower().removesuffix(".gz").endswith((".csv", ".txt"))


def _say_quoted(cells: int) -> None:
    """Warn of quoted cells: predictions may be joined to other tables by identifiers
    that were quoted.
    """
    if cells:
        warn_user(
            f"{counted(cells, 'cell')} of the predictions would be "
            f"{by_count(cells, 'a formula', 'formulas')} in a spreadsheet and got a "
            "single quote in front. Pass --csv-formulas keep to leave them unchanged."
        )


# ---- in parts ------------------------------------------------------------------------
def is_streamed(table: Path, wants_stream: bool | None) -> bool:
    """Whether a table is read in parts: a folder always, a Parquet file on request or
    if it is large.
    """
    if table.is_dir():
        if wants_stream is False:
            problem = f"--no-stream does not apply to a folder, and {table} is one"
            raise InputError(
                problem,
                hint="Leave it out, or name one file of the folder.",
                code="PG006",
            )
        return True
    if not table.is_file() or not is_partitioned(table):
        if wants_stream and table.is_file():
            problem = f"--stream reads Parquet, and {table} is not Parquet"
            raise InputError(
                problem,
                hint="Write it as Parquet, or leave --stream out.",
                code="PG006",
            )
        return False
    if wants_stream is None:
        return open_partitioned(table).bytes >= LARGE_BYTES
    return wants_stream
