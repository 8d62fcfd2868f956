"""``permgrad predict`` of a large table, which is read in parts.

What ``permgrad explain`` needs to open one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from permgrad.attribution.parts.folder import (
    PREDICTED,
    part_name,
    writable,
    written_lines,
)
from permgrad.attribution.parts.plan import model_digest, table_digest
from permgrad.base import __version__
from permgrad.base.errors import (
    InputError,
    as_lines,
    counted,
    keeping_warnings,
    listed,
    warn_first,
    warn_user,
)
from permgrad.base.folders import changed_files, sums_of
from permgrad.base.progress import Progress
from permgrad.data.encode.encoding import align_columns, surprises_told_once
from permgrad.data.encode.readable_rows import ReadableRows
from permgrad.data.encode.unlike import UnlikeRows
from permgrad.data.partitions import Part, PartitionedTable, open_partitioned
from permgrad.data.read.pair_names import pair_names
from permgrad.data.tasks import CLASSIFICATION, REGRESSION
from permgrad.data.types.odd_cells import odd_cells_words
from permgrad.models.batches import sparing, with_fewer
from permgrad.runs.options import table_name
from permgrad.runs.requests import ExplainRequest, Outcome, PredictRequest
from permgrad.runs.run import predicting
from permgrad.runs.run.early import known_columns
from permgrad.runs.run_folder import refuse_input, refuse_run_file

#: Cells of a frame that are held at a time.
_CELLS = 2_000_000
_MOST_ROWS = 50_000


def with_target(model: Any, data: Mapping[str, Any], y: str | None) -> dict[str, Any]:
    """Return the run's facts on its data, with another target column if one is
    named.
    """
    if y is None:
        return dict(data)
    return {
        **data,
        "target": y,
        "task": CLASSIFICATION if hasattr(model, "classes_") else REGRESSION,
    }


class StreamedTable(NamedTuple):
    """A table in parts, with the model that reads it.

    Attributes:
        model:
        data_facts: The facts of the model's run on its data.
        table:
    """

    model: Any
    data_facts: dict[str, Any]
    table: PartitionedTable


def open_streamed(
    request: PredictRequest | ExplainRequest, table: Path, y: str | None = None
) -> StreamedTable:
    """Return the model, its run's facts on the data (``y``: another target column), and
    the table.
    """
    opened = open_partitioned(table)
    model, data_facts = predicting.open_model(request.model_folder)
    data_facts = with_target(model, data_facts, y)
    if (
        isinstance(request, ExplainRequest)
        and data_facts.get("offset")
        and data_facts.get("target") in opened.columns
    ):
        problem = (
            "Counts with an offset are explained of a table in memory, and this "
            "one is read in parts"
        )
        problem_hint = f"Leave {data_facts['target']!r} out of it, or take fewer rows."
        raise InputError(problem, hint=problem_hint, code="PG004")
    silent = set(known_columns(data_facts))
    features = predicting.features_of(model)
    opened.check_even([*features, *filter(None, [data_facts.get("target")])])
    _refuse_pairs(data_facts, opened, features)
    shown = []
    for column_name in opened.columns:
        if column_name in features or column_name not in silent:
            shown.append(column_name)
    align_columns(pd.DataFrame(columns=shown), features)
    return StreamedTable(model, data_facts, opened)


def _refuse_pairs(
    data: Mapping[str, Any], table: PartitionedTable, features: Sequence[str]
) -> None:
    """Refuse a table with two numbers in a cell, which are two columns only of one read
    in memory.
    """
    for name, (_, *name_parts) in data.get("pairs", {}).items():
        halves = [half for half in pair_names(name, *name_parts) if half in features]
        if name not in table.columns or {*halves} <= {*table.columns}:
            continue
        problem = (
            f"Cells of {name!r} hold two numbers, which the model reads as columns"
        )
        hint = (
            f"Write {listed(halves, show=repr)}, which a table in parts needs, "
            "or read one file with --no-stream."
        )
        raise InputError(problem, hint, "PG012")


def _refuse_comparison(request: PredictRequest) -> None:
    """Refuse a comparison with other rows."""
    if request.against is None:
        return
    problem = (
        f"--against compares a table in memory, and {request.table} is read in parts"
    )
    hint = "Leave it out."
    if request.table.is_file():
        hint = "Leave it out, or add --no-stream."
    raise InputError(problem, hint=hint, code="PG006")


def _folder_of(request: PredictRequest) -> Path:
    """Return the folder of the predictions."""
    if request.out is None:
        return Path(f"{table_name(request.table)}-predictions")
    target = request.out
    is_file = target.suffix.lower() in (".csv", ".gz", ".txt", ".parquet", ".pq")
    if is_file or str(target) == "-":
        problem = (
            "Predictions of a table that is read in parts need a folder, got "
            f"the file --out {target}"
        )
        raise InputError(
            problem, hint="Name a folder, such as --out predictions.", code="PG003"
        )
    return target


def _tell_of_odd_cells(table: Any, rows: ReadableRows, first: int) -> None:
    """Warn of cells that no reader understands, with their places in the table."""
    if rows.odd_cells:
        placed_cells = []
        for odd_cell in rows.odd_cells:
            placed_cells.append(odd_cell.placed(table.where(first + odd_cell.row)))
        warn_user(odd_cells_words(placed_cells))


@dataclass(frozen=True)
class _PartPredictor:
    """What predicts the rows of each part of a table.

    Attributes:
        request: Of the command.
        model: Whose predictions are written.
        table: Its parts are read in batches.
        identifiers: Columns that are written beside the predictions.
        intervals: What ``predict_parts`` is asked for.
    """

    request: PredictRequest
    model: Any
    table: PartitionedTable
    identifiers: list[str]
    intervals: dict[str, Any]

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        features = predicting.features_of(self.model)
        return list(dict.fromkeys([*features, *self.identifiers]))

    @property
    def max_rows(self) -> int:
        """How many rows are read at a time, so that their cells fit."""
        encoded = self.model.preprocessor_.encoded_names_
        fitting = _CELLS // max(1, len(self.columns), len(encoded))
        return max(256, min(_MOST_ROWS, fitting))

    def write(self, table_part: Part, file: Path, rows: int) -> UnlikeRows:
        """Write the predictions of a part into its file, ``rows`` at a time, and return
        which of its rows are unlike those of training.
        """
        unlike = UnlikeRows()
        features = predicting.features_of(self.model)
        with written_lines(file, {"part": table_part.number}) as write:
            for first, frame in self.table.batches(table_part, rows, self.columns):
                with self.table.cells_of(range(first, first + len(frame))):
                    readable_rows = ReadableRows.of(
                        frame[features],
                        self.model.preprocessor_,
                        strict=self.request.strict,
                    )
                    unlike.add(readable_rows.unlike, len(frame))
                    _tell_of_odd_cells(self.table, readable_rows, first)
                    identifiers = frame[self.identifiers]
                    write(self._lines_of(readable_rows.rows, identifiers, first))
        return unlike

    def _lines_of(
        self, features: pd.DataFrame, identifiers: pd.DataFrame, first: int
    ) -> pa.Table:
        """Return the lines of some rows, the first of which has the number ``first``.

        Surprises are counted, and told once.
        """
        with surprises_told_once(map(str, features)):
            predicted = self.model.predict_parts(features, **self.intervals)
        lines = _lines(self.model, self.table, predicted, identifiers, first)
        return _with_reasons(lines, self.model, features, self.request)


def predict_stream(request: PredictRequest) -> Outcome:
    """Predict the rows of Parquet files in parts, into a folder.

    The same command resumes after an interruption.
    """
    target = _folder_of(request)
    _refuse_comparison(request)
    model, data_facts, table = open_streamed(request, request.table)
    predicting.decide_at(model, request.threshold)
    refuse_input(target, {"table": request.table})
    refuse_run_file(target, request.model_folder)
    predicting.use_threads(request.threads)
    identifiers = []
    for column_name in data_facts.get("identifiers", ()):
        if column_name in table.columns:
            identifiers.append(column_name)
    predictor = _PartPredictor(
        request,
        model,
        table,
        identifiers,
        predicting.intervals_of(request, model, data_facts),
    )
    facts: dict[str, Any] = {
        "permgrad": __version__,
        "model": model_digest(model),
        "table": table_digest(table),
        "identifiers": identifiers,
        **predictor.intervals,
    }
    if request.threshold is not None:
        facts["threshold"] = request.threshold
    if request.reasons is not None:
        facts["reasons"] = request.reasons
    with (
        PREDICTED.work(target, facts, overwrite=request.overwrite) as record,
        writable(target),
    ):
        files = _files_to_write(table, target, changed_files(target, record))
        unlike_rows = _write_parts(predictor, files)
        if files or not (record or {}).get("sums"):
            PREDICTED.write(target, facts, sums=sums_of(target, PREDICTED.names[1:]))
    return _outcome(predictor, target, len(files), unlike_rows)


def _files_to_write(
    table: PartitionedTable, target: Path, changed: Collection[str]
) -> dict[Part, Path]:
    """Return the parts that are not predicted yet, or whose files changed.

    A file that has its name is complete, and of the facts of its folder.
    """
    files = {}
    for table_part in table.parts:
        file = target / f"{part_name(table_part.number)}.parquet"
        if file.name in changed or not file.is_file():
            files[table_part] = file
    return files


def _write_parts(predictor: _PartPredictor, files: Mapping[Part, Path]) -> UnlikeRows:
    """Predict parts into their files, and return which of their rows are unlike those
    of training. Each warning is told once.
    """
    notes: dict[str, int] = {}
    unlike = []
    row_count = sum(table_part.rows for table_part in files)
    with Progress(row_count, "predict") as progress_bar:
        for table_part, file in files.items():
            with sparing(), keeping_warnings() as warned:
                # Rows are read and encoded here. The network may then take them in
                # smaller batches.
                unlike.append(
                    with_fewer(
                        predictor.max_rows, partial(predictor.write, table_part, file)
                    )
                )
            for warning_text in warned:
                notes.setdefault(warning_text, table_part.number)
            progress_bar.advance(table_part.rows)
    warn_first(notes, f"In part {next(iter(notes.values()), 0)} of the table: ")
    return UnlikeRows.of_parts(unlike)


def _outcome(
    predictor: _PartPredictor, target: Path, computed: int, unlike_rows: UnlikeRows
) -> Outcome:
    """Return what the command says. ``computed``: how many parts were predicted."""
    table = predictor.table
    result: dict[str, Any] = {
        "rows": table.rows,
        "out": str(target),
        "parts": len(table.parts),
        "computed": computed,
        "unlike": unlike_rows.facts,
    }
    if hasattr(predictor.model, "classes_"):
        result["classes"] = predictor.model.classes_.tolist()
    finished_words = "" if computed else ", already finished"
    predicted_words = (
        f"{counted(table.rows, 'row')} predicted in "
        f"{counted(len(table.parts), 'part')}{finished_words}: {target}"
    )
    return Outcome(result, as_lines([predicted_words, *unlike_rows.lines]))


def _with_reasons(
    lines: pa.Table, model: Any, rows: pd.DataFrame, request: PredictRequest
) -> pa.Table:
    """Return lines with the reasons that were asked for, whose values are texts."""
    if request.reasons is None:
        return lines
    reasons = model.reasons(rows, request.reasons)
    for column_name in reasons:
        if column_name.endswith(("_points", "_change")):
            cells = pa.array(reasons[column_name], type=pa.float64())
        else:
            texts = reasons[column_name].map(str, na_action="ignore")
            cells = pa.array(texts, type=pa.string(), from_pandas=True)
        lines = lines.append_column(column_name, cells)
    return lines


def _lines(
    model: Any,
    table: PartitionedTable,
    predicted: predicting.Predicted,
    identifiers: pd.DataFrame,
    first: int,
) -> pa.Table:
    """Return the predictions of some rows as they are written.

    ``first`` is the number of the first row.
    """
    result = predicting.prediction_table(
        np.arange(first, first + len(identifiers)), identifiers, predicted, model
    )
    lines = pa.Table.from_pandas(result, preserve_index=False).replace_schema_metadata(
        None
    )
    for column_name, shown in zip(
        identifiers.columns, result.columns[1:], strict=False
    ):  # they follow the row's number
        # The type of the complete table, also if all cells of a batch are missing.
        if column_name in table.schema.names:
            cell_type = table.schema.field(column_name).type
        else:
            cell_type = pa.int64()
        if pa.types.is_dictionary(cell_type):
            cell_type = cell_type.value_type
        cells = pa.array(
            identifiers[column_name].astype(object), type=cell_type, from_pandas=True
        )
        lines = lines.set_column(lines.schema.get_field_index(shown), shown, cells)
    return lines
