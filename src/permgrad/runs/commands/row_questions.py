"""What is asked about a table and its rows: what it holds, what if a cell were another,
and what would have to differ.

Each answer has its sentences with their facts under ``verdict``, as that of a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from permgrad.attribution.counterfactuals import (
    ALREADY,
    Counterfactuals,
    counterfactuals,
)
from permgrad.attribution.model import Model
from permgrad.base.csv_files import write_csv
from permgrad.base.errors import InputError, as_lines, counted, listed
from permgrad.base.files import writing
from permgrad.base.locks import hold_name
from permgrad.base.numerals import percent
from permgrad.data.kinds.column import ColumnType
from permgrad.data.read.cells import BLANK, canonical
from permgrad.data.read.reading import missing_said
from permgrad.data.read.table import blank_codes
from permgrad.data.types.column_types import infer_schema, read_numbers
from permgrad.evaluation.baselines.file_model import FileModel
from permgrad.pages.summaries import counterfactuals_summary, counterfactuals_words
from permgrad.pages.words import clean, value_text
from permgrad.runs.commands.explain_command import ReadRows, located, read_rows_of
from permgrad.runs.commands.predict import check_free
from permgrad.runs.options import table_name
from permgrad.runs.requests import ExplainRequest, Outcome, RunRequest
from permgrad.runs.row_requests import CounterfactualsRequest, WhatIfRequest, ends
from permgrad.runs.run.early import find_column
from permgrad.runs.run.predicting import prediction_table, use_threads
from permgrad.runs.run.run_summary import read_summary
from permgrad.runs.run.run_table import read_request
from permgrad.runs.run_folder import finished_record, refuse_input, refuse_run_file

#: Frequent cells of a column that are listed.
_SHOWN = 5
#: A sentence, its kind, and the other facts behind it.
Spoken = tuple[str, str, Mapping[Any, Any]]


def told(facts: Mapping[str, Any], spoken: list[Spoken]) -> Outcome:
    """Return facts with sentences, which are also the text."""
    verdict = []
    for words, fact_kind, about in spoken:
        verdict.append({"sentence": words, "facts": {"kind": fact_kind, **about}})
    return Outcome(
        {**facts, "verdict": verdict}, as_lines(words for words, _, _ in spoken)
    )


def read_run(request: ExplainRequest) -> Outcome:
    """Return the summary of a finished run again."""
    finished_record(request.model_folder)
    return read_summary(request.model_folder, already=True)


# ---- a table -------------------------------------------------------------------------
def describe_table(request: RunRequest) -> Outcome:
    """Describe the columns of a table as a run would read them. Writes nothing."""
    data_card, codes, _, written = read_request(request)
    frame = written.frame
    row_count = len(written.frame)
    for column_name in request.kinds:
        find_column(column_name, [*frame.columns, *written.unread], "--kind")
    kinds = {}
    for kind_column, column_kind in request.kinds.items():
        if kind_column not in written.unread:
            kinds[kind_column] = column_kind
    schema = infer_schema(frame, na=codes, kinds=kinds)
    present = blank_codes(frame, codes)
    size_words = (
        f"{clean(table_name(request.table))} has {counted(row_count, 'row')} "
        f"and {counted(len(schema.names), 'column')}."
    )
    spoken: list[Spoken] = [
        (size_words, "size", {"rows": row_count, "columns": len(schema.names)})
    ]
    for schema_kind in dict.fromkeys(column_type.kind for column_type in schema):
        names = schema.of_kind(schema_kind)
        spoken.append(
            (
                f"{schema_kind}: {listed(list(map(clean, names)), 8)}.",
                schema_kind,
                {"columns": names},
            )
        )
    missing_counts = {
        column_type.name: column_type.n_missing
        for column_type in sorted(
            schema, key=lambda counted_type: -counted_type.n_missing
        )
        if column_type.n_missing
    }
    shares = []
    for gap_column, count in missing_counts.items():
        shares.append(f"{clean(gap_column)} ({percent(count / row_count)})")
    if missing_counts:
        spoken += [
            (
                f"Cells are missing in {listed(shares, 5)}.",
                "missing",
                {"missing": missing_counts},
            )
        ]
    for table_note in (*written.notes, *missing_said(written.missing)):
        spoken.append((table_note, "note", {}))
    columns = []
    for column_type in schema:
        columns.append(_column(column_type, present[column_type.name]))
    if data_card is None:
        target = None
    else:
        target = data_card.target
    return told(
        {
            "table": request.table,
            "rows": row_count,
            "target": target,
            "columns": columns,
        },
        spoken,
    )


def _column(column_type: ColumnType, cells: pd.Series[Any]) -> dict[str, Any]:
    """Return the facts on a column: its type, and its range or its most frequent
    cells.
    """
    facts = {
        "name": column_type.name,
        "kind": column_type.kind,
        "missing": column_type.n_missing,
        "levels": column_type.n_levels,
        "reason": column_type.reason,
    }
    if pd.api.types.is_numeric_dtype(cells.dtype) and not pd.api.types.is_bool_dtype(
        cells.dtype
    ):
        return facts | {
            "low": cells.min(),
            "median": cells.median(),
            "high": cells.max(),
        }
    counts = cells.astype(str).where(cells.notna()).value_counts().head(_SHOWN)
    return facts | {
        "frequent": [
            {"cell": cell_text, "rows": count} for cell_text, count in counts.items()
        ]
    }


class NamedRow(NamedTuple):
    """The row that a request names.

    Attributes:
        read_rows: The rows of the request with its model.
        frame: The row, as a table of one.
        number: Its number in the table.
    """

    read_rows: ReadRows
    frame: pd.DataFrame
    number: int


# ---- a row ---------------------------------------------------------------------------
def read_row(request: ExplainRequest) -> NamedRow:
    """Return the rows of a request with its model, the row that it names, and the row's
    number in the table.
    """
    request = located(request)
    if request.source.is_dir():
        raise InputError(
            f"{request.source} is a folder",
            hint="Name one file with the row.",
            code="PG006",
        )
    read_rows = read_rows_of(request)
    use_threads(request.threads)
    assert read_rows.places is not None, "a row is named"
    return NamedRow(
        read_rows,
        read_rows.rows.take(read_rows.places).reset_index(drop=True),
        int(read_rows.numbers[read_rows.places[0]]),
    )


def what_if(request: WhatIfRequest) -> Outcome:
    """Predict a row as it is and with changes.

    A new number outside the rows of the table is told of.
    """
    read_rows, row_frame, number = read_row(request)
    changes: dict[str, dict[str, Any]] = {}
    for column_name, new_cell in request.changes.items():
        find_column(column_name, list(map(str, row_frame.columns)), "changes")
        changes[column_name] = {"from": row_frame[column_name].iloc[0], "to": new_cell}
    changed_cells = {}
    for changed_column, changed_cell in request.changes.items():
        changed_cells[changed_column] = pd.Series(
            [changed_cell], dtype=object
        ).infer_objects()
    compared_rows = pd.concat(
        [row_frame, row_frame.assign(**changed_cells)], ignore_index=True
    )
    if not isinstance(read_rows.model, FileModel):
        read_rows.model.preprocessor_.check_cells(compared_rows)
    outside: list[Spoken] = []
    for column_name, new_cell in request.changes.items():
        outside += _outside(read_rows, column_name, new_cell)
    no_names = pd.DataFrame(index=range(len(compared_rows)))
    table = prediction_table(
        no_names.index.to_numpy(),
        no_names,
        read_rows.model.predict_parts(compared_rows),
        read_rows.model,
    )
    before, after = table.drop(columns="row").to_dict(orient="records")
    change_words = []
    for worded_column, cell_change in changes.items():
        change_words.append(
            f"{clean(worded_column)} {value_text(cell_change['from'])} → "
            f"{value_text(cell_change['to'])}"
        )
    spoken: list[Spoken] = [
        (f"The model predicts {_said(before)} for row {number}.", "before", before),
        (f"With {listed(change_words, 8)} it predicts {_said(after)}.", "after", after),
        *outside,
    ]
    facts = {
        "run": str(request.model_folder),
        "row": number,
        "changes": changes,
        "before": before,
        "after": after,
    }
    return told(facts, spoken)


def _outside(read: ReadRows, name: str, cell: Any) -> list[Spoken]:
    """Say that a new cell is a number outside those of the table, if it is one.

    A number is what the model's encoder reads, however the cell is written.
    """
    new_cells = pd.Series([cell], dtype=object)
    numbers = read.rows[name]
    if isinstance(read.model, FileModel):
        numbers = blank_codes(read.rows[[name]], list(read.data.get("na", ())))[name]
        if not pd.api.types.is_numeric_dtype(numbers.dtype):
            return []
        value = float(pd.to_numeric(new_cells, errors="coerce").iloc[0])
        lowest_value = numbers.min()
        highest_value = numbers.max()
    else:
        encoder = read.model.preprocessor_
        column = next(
            (
                column_type
                for column_type in encoder.schema_
                if column_type.name == name
            ),
            None,
        )
        if column is None or not column.reader.is_amount:
            return []
        value = float(read_numbers(new_cells, column, encoder.codes_)[0][0])
        present = read_numbers(numbers, column, encoder.codes_)[0]
        present = present[~np.isnan(present)]
        if not present.size:
            return []
        lowest_value = present.min()
        highest_value = present.max()
    if np.isnan(value) or lowest_value <= value <= highest_value:
        return []
    limits = f"{value_text(lowest_value)} to {value_text(highest_value)}"
    words = f"The table's {clean(name)} is {limits}: the model extrapolates."
    return [
        (words, "outside", {"column": name, "low": lowest_value, "high": highest_value})
    ]


def _said(line: Mapping[Any, Any]) -> str:
    """Write a prediction, with the probability of a class."""
    chance = line.get(f"probability_{line['prediction']}")
    if chance is None:
        chance_words = ""
    else:
        chance_words = f" (probability {chance:.3f})"
    return f"{value_text(line['prediction'])}{chance_words}"


# ---- what would have to differ -------------------------------------------------------
def write_counterfactuals(request: CounterfactualsRequest) -> Outcome:
    """Find alternatives of a row, and write a line for each if a file is named."""
    row_request = request.explained
    output_path = request.out
    if output_path is not None:
        refuse_input(
            output_path,
            {
                "table": row_request.table,
                "model": row_request.model_folder
                if row_request.model_folder.is_file()
                else None,
            },
        )
        refuse_run_file(output_path, row_request.model_folder)
        check_free(output_path, "Alternatives")
    read_rows, row_frame, number = read_row(row_request)
    ranges, direction = request.limits
    for option, names in (
        ("--fixed", request.fixed),
        ("--range", ranges),
        ("--direction", direction),
    ):
        for column_name in names:
            find_column(column_name, list(map(str, row_frame.columns)), option)
    options: dict[str, Any] = {
        "ranges": {
            limited_column: _cells(
                limited_column, read_rows.rows[limited_column], limit
            )
            for limited_column, limit in ranges.items()
        }
    }
    options |= {"direction": direction, "want": _wanted(request.want, read_rows)}
    options |= {
        "fixed": request.fixed,
        "max_changes": request.max_changes,
        "count": request.count,
    }
    outcome, result = _alternatives(request, read_rows, row_frame, number, options)
    if result.meta.get("reason") == ALREADY:
        problem = (
            f"The model already predicts {value_text(result.meta['prediction'])} for "
            f"row {number}"
        )
        raise InputError(
            problem, hint="Pass another --want, or another --row.", code="PG003"
        )
    if output_path is None:
        return outcome
    with hold_name(output_path), writing(output_path, "name another file with --out"):
        write_csv(result.to_frame(), output_path)
    return Outcome(
        {**outcome.facts, "out": str(output_path)},
        f"{outcome.text}\nAlternatives: {output_path}",
    )


def _cells(name: str, column: pd.Series[Any], limit: list[Any]) -> list[Any]:
    """Return both ends of a range, or the cells of a column that are written as the
    listed texts.
    """
    if not pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(
        column.dtype
    ):
        cells_by_text = {}
        for cell_value in column.dropna().unique().tolist():
            cells_by_text[canonical(cell_value)] = cell_value
        return [cells_by_text.get(limit_cell, limit_cell) for limit_cell in limit]
    if len(limit) != 2 or any(isinstance(range_end, str) for range_end in limit):
        problem = (
            f"Column {clean(name)} has numbers, so --range must name their ends, got "
            f"{listed(limit)}"
        )
        raise InputError(
            problem, hint=f"For example: --range '{clean(name)}=18..60'.", code="PG001"
        )
    return limit


def _wanted(text: str | None, read: ReadRows) -> Any:
    """Return a class, a range, or the least probability of a class.

    Names of classes may look like the others.
    """
    classes = list(map(str, getattr(read.model, "classes_", ())))
    class_name, _, share = (text or "").rpartition("=")
    if text is None or text in classes or (classes and class_name not in classes):
        return text
    if classes:
        return {class_name: ends("--want", share if ".." in share else f"{share}..")}
    return tuple(ends("--want", text))


def _dated(read: ReadRows) -> dict[str, pd.Series[Any]]:
    """Return the columns of dates that the table has as texts, as dates.

    They may then have a range and a direction.
    """
    dated: dict[str, pd.Series[Any]] = {}
    if isinstance(read.model, FileModel):
        return dated
    encoder = read.model.preprocessor_
    for column_type in encoder.schema_:
        if column_type.of.is_moment and not pd.api.types.is_numeric_dtype(
            read.rows[column_type.name].dtype
        ):
            seconds, missing = read_numbers(
                read.rows[column_type.name], column_type, encoder.codes_
            )
            if (
                missing.max(initial=0) <= BLANK
            ):  # codes that say in which way a date is missing stay
                dated[column_type.name] = pd.Series(
                    pd.to_datetime(seconds, unit="s"), read.rows.index
                )
    return dated


def _facts_of(result: Counterfactuals, number: int) -> dict[str, Any]:
    """Return the measures of an alternative, and the cells that it changes."""
    facts: dict[str, Any] = {}
    for measure_name, measure_values in result.measures.items():
        facts[measure_name] = measure_values[number]
    columns = {}
    for column_name, column in result.cells.loc[:, result.changed[number]].items():
        columns[column_name] = {
            "from": column.iloc[0],
            "to": column.iloc[number + 1],
        }
    return {**facts, "cells": columns}


def _alternatives(
    request: CounterfactualsRequest,
    read: ReadRows,
    row: pd.DataFrame,
    number: int,
    options: dict[str, Any],
) -> tuple[Outcome, Counterfactuals]:
    model: Any = read.model
    if isinstance(model, FileModel):
        model = Model(model.predictor, **model.options)
    dated = _dated(read)
    dated_rows = read.rows.assign(**dated)
    assert read.places is not None, "a row is named"
    row = row.assign(
        **{
            column_name: dates.iloc[read.places].to_numpy()
            for column_name, dates in dated.items()
        }
    )
    result = counterfactuals(model, row, dated_rows, **options)
    written = {}
    for column_name in dated:
        written[column_name] = (
            result.cells[column_name]
            .astype(str)
            .where(result.cells[column_name].notna())
        )
    result = replace(result, cells=result.cells.assign(**written))
    goal_words, described_results, notes = counterfactuals_words(
        result, f"row {number}"
    )
    alternatives = [_facts_of(result, k) for k in range(len(result.changed))]
    spoken: list[Spoken] = [
        (goal_words, "goal", {"prediction": result.meta["prediction"]})
    ]
    for alternative, (change_words, about) in zip(
        alternatives, described_results, strict=True
    ):
        words = f"{', '.join(change_words)}. {' '.join(about)}"
        spoken.append((words, "alternative", alternative))
    spoken += [(note_line, "note", {}) for note_line in notes]
    facts = {}
    for fact_name, value in result.meta.items():
        if fact_name != "seed":
            facts[fact_name] = value
    facts |= {
        "run": str(request.model_folder),
        "row": number,
        "alternatives": alternatives,
    }
    return Outcome(
        told(facts, spoken).facts, counterfactuals_summary(result, f"row {number}")
    ), result
