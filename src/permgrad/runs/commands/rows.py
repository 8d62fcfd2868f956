"""What programs ask about a table and its rows: what it holds, and what if a cell were another.

Each answer has its sentences with their facts under ``verdict``, as that of a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from permgrad.base.errors import InputError, as_lines, counted, listed
from permgrad.base.numerals import percent
from permgrad.data.read.reading import missing_said
from permgrad.data.read.table import blank_codes
from permgrad.data.types.column_types import ColumnType, infer_schema
from permgrad.evaluation.baselines.file_model import FileModel
from permgrad.pages.words import clean, value_text
from permgrad.runs.commands.explain import ReadRows, located, read_rows_of
from permgrad.runs.folder.folder import finished_record
from permgrad.runs.options import table_name
from permgrad.runs.requests import ExplainRequest, Outcome, RunRequest
from permgrad.runs.row_requests import WhatIfRequest
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
    verdict = [{"sentence": words, "facts": {"kind": kind, **about}} for words, kind, about in spoken]
    return Outcome({**facts, "verdict": verdict}, as_lines(words for words, _, _ in spoken))


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
    kinds = {name: kind for name, kind in request.kinds.items() if name not in written.unread}
    schema, present = infer_schema(frame, na=codes, kinds=kinds), blank_codes(frame, codes)
    size = f"{clean(table_name(request.table))} has {counted(rows, 'row')} and {counted(len(schema.names), 'column')}."
    spoken: list[Spoken] = [(size, "size", {"rows": rows, "columns": len(schema.names)})]
    for kind in dict.fromkeys(one.kind for one in schema):
        names = schema.of_kind(kind)
        spoken.append((f"{kind}: {listed(list(map(clean, names)), 8)}.", kind, {"columns": names}))
    gaps = {one.name: one.n_missing for one in sorted(schema, key=lambda one: -one.n_missing) if one.n_missing}
    shares = [f"{clean(name)} ({percent(count / rows)})" for name, count in gaps.items()]
    spoken += [(f"Cells are missing in {listed(shares, 5)}.", "missing", {"missing": gaps})] if gaps else []
    spoken += [(note, "note", {}) for note in (*written.notes, *missing_said(written.missing))]
    columns = [_column(one, present[one.name]) for one in schema]
    target = None if card is None else card.target
    return told({"table": request.table, "rows": rows, "target": target, "columns": columns}, spoken)


def _column(one: ColumnType, cells: pd.Series[Any]) -> dict[str, Any]:
    """Return the facts on a column: its type, and its range or its most frequent cells."""
    facts = {"name": one.name, "kind": one.kind, "missing": one.n_missing, "levels": one.n_levels, "reason": one.reason}
    if pd.api.types.is_numeric_dtype(cells.dtype) and not pd.api.types.is_bool_dtype(cells.dtype):
        return facts | {"low": cells.min(), "median": cells.median(), "high": cells.max()}
    counts = cells.astype(str).where(cells.notna()).value_counts().head(_SHOWN)
    return facts | {"frequent": [{"cell": cell, "rows": count} for cell, count in counts.items()]}


# ---- a row -----------------------------------------------------------------------------------------------------------
def read_row(request: ExplainRequest) -> tuple[ReadRows, pd.DataFrame, int]:
    """Return the rows of a request with its model, the row that it names, and the row's number in the table."""
    request = located(request)
    if request.source.is_dir():
        raise InputError(f"{request.source} is a folder", hint="Name one file with the row.", code="PG006")
    read = read_rows_of(request)
    use_threads(request.threads)
    assert read.places is not None, "a row is named"
    return read, read.rows.take(read.places).reset_index(drop=True), int(read.numbers[read.places[0]])


def what_if(request: WhatIfRequest) -> Outcome:
    """Predict a row as it is and with changes. A new number outside the rows of the table is told of."""
    read, row, number = read_row(request)
    changes, outside, codes = {}, list[Spoken](), list(read.data.get("na", ()))
    for name, cell in request.changes.items():
        find_column(name, [str(column) for column in row.columns], "changes")
        changes[name] = {"from": row[name].iloc[0], "to": cell}
        cells = blank_codes(read.rows[[name]], codes)[name]
        if isinstance(cell, (int, float)) and pd.api.types.is_numeric_dtype(cells.dtype):
            low, high = cells.min(), cells.max()
            words = f"The table's {clean(name)} is {value_text(low)} to {value_text(high)}: the model extrapolates."
            outside += [] if low <= cell <= high else [(words, "outside", {"column": name, "low": low, "high": high})]
    new = {name: pd.Series([cell], dtype=object).infer_objects() for name, cell in request.changes.items()}
    rows = pd.concat([row, row.assign(**new)], ignore_index=True)
    if not isinstance(read.model, FileModel):
        read.model.preprocessor_.check_cells(rows)
    none = pd.DataFrame(index=range(len(rows)))
    table = prediction_table(none.index.to_numpy(), none, read.model.predict_parts(rows), read.model)
    before, after = table.drop(columns="row").to_dict(orient="records")
    ways = [f"{clean(name)} {value_text(one['from'])} → {value_text(one['to'])}" for name, one in changes.items()]
    spoken: list[Spoken] = [
        (f"The model predicts {_said(before)} for row {number}.", "before", before),
        (f"With {listed(ways, 8)} it predicts {_said(after)}.", "after", after),
        *outside,
    ]
    facts = {"run": str(request.model_folder), "row": number, "changes": changes, "before": before, "after": after}
    return told(facts, spoken)


def _said(line: Mapping[Any, Any]) -> str:
    """Write a prediction, with the probability of a class."""
    chance = line.get(f"probability_{line['prediction']}")
    return f"{value_text(line['prediction'])}{'' if chance is None else f' (probability {chance:.3f})'}"
