"""What is asked about a table and its rows: what it holds, what if a cell were another, and what would have to differ.

Each answer has its sentences with their facts under ``verdict``, as that of a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

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
from permgrad.data.read.cells import BLANK, canonical
from permgrad.data.read.reading import missing_said
from permgrad.data.read.table import blank_codes
from permgrad.data.types.column_types import ColumnType, infer_schema, read_numbers
from permgrad.evaluation.baselines.file_model import FileModel
from permgrad.pages.summary import counterfactuals_summary, counterfactuals_words
from permgrad.pages.words import clean, value_text
from permgrad.runs.commands.explain import ReadRows, located, read_rows_of
from permgrad.runs.commands.predict import check_free
from permgrad.runs.folder.folder import finished_record, refuse_input, refuse_run_file
from permgrad.runs.options import table_name
from permgrad.runs.requests import ExplainRequest, Outcome, RunRequest
from permgrad.runs.row_requests import CounterfactualsRequest, WhatIfRequest, ends
from permgrad.runs.run.early import find_column
from permgrad.runs.run.predicting import prediction_table, use_threads
from permgrad.runs.run.summary import read_summary
from permgrad.runs.run.table import read_request

#: Frequent cells of a column that are listed.
_SHOWN = 5
#: A sentence, its kind, and the other facts behind it.
Spoken = tuple[str, str, Mapping[Any, Any]]


def told(facts: Mapping[str, Any], spoken: list[Spoken]) -> Outcome:
    """Return facts with sentences, which are also the text."""
    verdict = [
        {"sentence": words, "facts": {"kind": kind, **about}}
        for words, kind, about in spoken
    ]
    return Outcome(
        {**facts, "verdict": verdict}, as_lines(words for words, _, _ in spoken)
    )


def read_run(request: ExplainRequest) -> Outcome:
    """Return the summary of a finished run again."""
    finished_record(request.model_folder)
    return read_summary(request.model_folder, already=True)


# ---- a table ---------------------------------------------------------------------------------------------------------
def describe_table(request: RunRequest) -> Outcome:
    """Describe the columns of a table as a run would read them. Writes nothing."""
    card, codes, _, written = read_request(request)
    frame, rows = written.frame, len(written.frame)
    for name in request.kinds:
        find_column(name, [*frame.columns, *written.unread], "--kind")
    kinds = {
        name: kind for name, kind in request.kinds.items() if name not in written.unread
    }
    schema, present = (
        infer_schema(frame, na=codes, kinds=kinds),
        blank_codes(frame, codes),
    )
    size = f"{clean(table_name(request.table))} has {counted(rows, 'row')} and {counted(len(schema.names), 'column')}."
    spoken: list[Spoken] = [
        (size, "size", {"rows": rows, "columns": len(schema.names)})
    ]
    for kind in dict.fromkeys(one.kind for one in schema):
        names = schema.of_kind(kind)
        spoken.append(
            (f"{kind}: {listed(list(map(clean, names)), 8)}.", kind, {"columns": names})
        )
    gaps = {
        one.name: one.n_missing
        for one in sorted(schema, key=lambda one: -one.n_missing)
        if one.n_missing
    }
    shares = [
        f"{clean(name)} ({percent(count / rows)})" for name, count in gaps.items()
    ]
    spoken += (
        [(f"Cells are missing in {listed(shares, 5)}.", "missing", {"missing": gaps})]
        if gaps
        else []
    )
    spoken += [
        (note, "note", {}) for note in (*written.notes, *missing_said(written.missing))
    ]
    columns = [_column(one, present[one.name]) for one in schema]
    target = None if card is None else card.target
    return told(
        {"table": request.table, "rows": rows, "target": target, "columns": columns},
        spoken,
    )


def _column(one: ColumnType, cells: pd.Series[Any]) -> dict[str, Any]:
    """Return the facts on a column: its type, and its range or its most frequent cells."""
    facts = {
        "name": one.name,
        "kind": one.kind,
        "missing": one.n_missing,
        "levels": one.n_levels,
        "reason": one.reason,
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
        "frequent": [{"cell": cell, "rows": count} for cell, count in counts.items()]
    }


# ---- a row -----------------------------------------------------------------------------------------------------------
def read_row(request: ExplainRequest) -> tuple[ReadRows, pd.DataFrame, int]:
    """Return the rows of a request with its model, the row that it names, and the row's number in the table."""
    request = located(request)
    if request.source.is_dir():
        raise InputError(
            f"{request.source} is a folder",
            hint="Name one file with the row.",
            code="PG006",
        )
    read = read_rows_of(request)
    use_threads(request.threads)
    assert read.places is not None, "a row is named"
    return (
        read,
        read.rows.take(read.places).reset_index(drop=True),
        int(read.numbers[read.places[0]]),
    )


def what_if(request: WhatIfRequest) -> Outcome:
    """Predict a row as it is and with changes. A new number outside the rows of the table is told of."""
    read, row, number = read_row(request)
    changes: dict[str, dict[str, Any]] = {}
    for name, cell in request.changes.items():
        find_column(name, [str(column) for column in row.columns], "changes")
        changes[name] = {"from": row[name].iloc[0], "to": cell}
    new = {
        name: pd.Series([cell], dtype=object).infer_objects()
        for name, cell in request.changes.items()
    }
    rows = pd.concat([row, row.assign(**new)], ignore_index=True)
    if not isinstance(read.model, FileModel):
        read.model.preprocessor_.check_cells(rows)
    outside: list[Spoken] = []
    for name, cell in request.changes.items():
        outside += _outside(read, name, cell)
    none = pd.DataFrame(index=range(len(rows)))
    table = prediction_table(
        none.index.to_numpy(), none, read.model.predict_parts(rows), read.model
    )
    before, after = table.drop(columns="row").to_dict(orient="records")
    ways = [
        f"{clean(name)} {value_text(one['from'])} → {value_text(one['to'])}"
        for name, one in changes.items()
    ]
    spoken: list[Spoken] = [
        (f"The model predicts {_said(before)} for row {number}.", "before", before),
        (f"With {listed(ways, 8)} it predicts {_said(after)}.", "after", after),
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
    new, numbers = pd.Series([cell], dtype=object), read.rows[name]
    if isinstance(read.model, FileModel):
        numbers = blank_codes(read.rows[[name]], list(read.data.get("na", ())))[name]
        if not pd.api.types.is_numeric_dtype(numbers.dtype):
            return []
        value = float(pd.to_numeric(new, errors="coerce").iloc[0])
        low, high = numbers.min(), numbers.max()
    else:
        encoder = read.model.preprocessor_
        column = next((one for one in encoder.schema_ if one.name == name), None)
        if column is None or column.storage != "number":
            return []
        value = float(read_numbers(new, column, encoder.codes_)[0][0])
        present = read_numbers(numbers, column, encoder.codes_)[0]
        present = present[~np.isnan(present)]
        if not present.size:
            return []
        low, high = present.min(), present.max()
    if np.isnan(value) or low <= value <= high:
        return []
    limits = f"{value_text(low)} to {value_text(high)}"
    words = f"The table's {clean(name)} is {limits}: the model extrapolates."
    return [(words, "outside", {"column": name, "low": low, "high": high})]


def _said(line: Mapping[Any, Any]) -> str:
    """Write a prediction, with the probability of a class."""
    chance = line.get(f"probability_{line['prediction']}")
    return f"{value_text(line['prediction'])}{'' if chance is None else f' (probability {chance:.3f})'}"


# ---- what would have to differ ---------------------------------------------------------------------------------------
def write_counterfactuals(request: CounterfactualsRequest) -> Outcome:
    """Find alternatives of a row, and write a line for each if a file is named."""
    asked, out = request.explained, request.out
    if out is not None:
        refuse_input(
            out,
            {
                "table": asked.table,
                "model": asked.model_folder if asked.model_folder.is_file() else None,
            },
        )
        refuse_run_file(out, asked.model_folder)
        check_free(out, "Alternatives")
    read, row, number = read_row(asked)
    ranges, direction = request.limits
    for option, names in (
        ("--fixed", request.fixed),
        ("--range", ranges),
        ("--direction", direction),
    ):
        for name in names:
            find_column(name, [str(column) for column in row.columns], option)
    options: dict[str, Any] = {
        "ranges": {
            name: _cells(name, read.rows[name], limit) for name, limit in ranges.items()
        }
    }
    options |= {"direction": direction, "want": _wanted(request.want, read)}
    options |= {
        "fixed": request.fixed,
        "max_changes": request.max_changes,
        "count": request.count,
    }
    outcome, result = _alternatives(request, read, row, number, options)
    if result.meta.get("reason") == ALREADY:
        problem = f"The model already predicts {value_text(result.meta['prediction'])} for row {number}"
        raise InputError(
            problem, hint="Pass another --want, or another --row.", code="PG003"
        )
    if out is None:
        return outcome
    with hold_name(out), writing(out, "name another file with --out"):
        write_csv(result.to_frame(), out)
    return Outcome(
        {**outcome.facts, "out": str(out)}, f"{outcome.text}\nAlternatives: {out}"
    )


def _cells(name: str, column: pd.Series[Any], limit: list[Any]) -> list[Any]:
    """Return both ends of a range, or the cells of a column that are written as the listed texts."""
    if not pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(
        column.dtype
    ):
        known = {canonical(cell): cell for cell in column.dropna().unique().tolist()}
        return [known.get(cell, cell) for cell in limit]
    if len(limit) != 2 or any(isinstance(end, str) for end in limit):
        problem = f"Column {clean(name)} has numbers, so --range must name their ends, got {listed(limit)}"
        raise InputError(
            problem, hint=f"For example: --range '{clean(name)}=18..60'.", code="PG001"
        )
    return limit


def _wanted(text: str | None, read: ReadRows) -> Any:
    """Return a class, a range, or the least probability of a class. Names of classes may look like the others."""
    classes = [str(label) for label in getattr(read.model, "classes_", ())]
    name, _, share = (text or "").rpartition("=")
    if text is None or text in classes or (classes and name not in classes):
        return text
    if classes:
        return {name: ends("--want", share if ".." in share else f"{share}..")}
    return tuple(ends("--want", text))


def _dated(read: ReadRows) -> dict[str, pd.Series[Any]]:
    """Return the columns of dates that the table has as texts, as dates. They may then have a range and a direction."""
    dated: dict[str, pd.Series[Any]] = {}
    if isinstance(read.model, FileModel):
        return dated
    encoder = read.model.preprocessor_
    for one in encoder.schema_:
        if one.kind == "date" and not pd.api.types.is_numeric_dtype(
            read.rows[one.name].dtype
        ):
            seconds, missing = read_numbers(read.rows[one.name], one, encoder.codes_)
            if (
                missing.max(initial=0) <= BLANK
            ):  # codes that say in which way a date is missing stay
                dated[one.name] = pd.Series(
                    pd.to_datetime(seconds, unit="s"), read.rows.index
                )
    return dated


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
    rows = read.rows.assign(**dated)
    assert read.places is not None, "a row is named"
    row = row.assign(
        **{name: dates.iloc[read.places].to_numpy() for name, dates in dated.items()}
    )
    result = counterfactuals(model, row, rows, **options)
    written = {
        name: result.cells[name].astype(str).where(result.cells[name].notna())
        for name in dated
    }
    result = replace(result, cells=result.cells.assign(**written))
    goal, found, notes = counterfactuals_words(result, f"row {number}")
    alternatives: list[dict[str, Any]] = []
    spoken: list[Spoken] = [(goal, "goal", {"prediction": result.meta["prediction"]})]
    for place, (changed, (ways, about)) in enumerate(
        zip(result.changed, found, strict=True)
    ):
        cells = result.cells.loc[:, changed]
        columns = {
            name: {"from": column.iloc[0], "to": column.iloc[place + 1]}
            for name, column in cells.items()
        }
        alternatives.append(
            {
                **{name: one[place] for name, one in result.measures.items()},
                "cells": columns,
            }
        )
        spoken.append(
            (f"{', '.join(ways)}. {' '.join(about)}", "alternative", alternatives[-1])
        )
    spoken += [(line, "note", {}) for line in notes]
    facts = {name: value for name, value in result.meta.items() if name != "seed"}
    facts |= {
        "run": str(request.model_folder),
        "row": number,
        "alternatives": alternatives,
    }
    return Outcome(
        told(facts, spoken).facts, counterfactuals_summary(result, f"row {number}")
    ), result
