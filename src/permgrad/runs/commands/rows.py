"""What programs ask about a table and its rows: what it holds, what if a cell were another, what would have to differ.

Each answer has its sentences with their facts under ``verdict``, as that of a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from permgrad.attribution.counterfactuals import counterfactuals
from permgrad.base.errors import InputError, as_lines, counted, listed, shown
from permgrad.base.numerals import percent
from permgrad.data.datasets import get_card
from permgrad.data.read.cells import MissingCodes
from permgrad.data.read.reading import missing_said
from permgrad.data.read.table import blank_codes
from permgrad.data.types.column_types import ColumnType, infer_schema
from permgrad.evaluation.baselines.file_model import FileModel
from permgrad.pages.words import clean, value_text
from permgrad.runs.commands.explain import ReadRows, check_explained, of_test_rows, read_rows_of
from permgrad.runs.commands.report import finished_record
from permgrad.runs.folder.documents import check_cells
from permgrad.runs.options import data_sets, separated, table_name
from permgrad.runs.requests import CounterfactualRequest, ExplainRequest, Outcome, RunRequest, WhatIfRequest
from permgrad.runs.run.early import find_column
from permgrad.runs.run.inputs import read_request
from permgrad.runs.run.predicting import prediction_table, use_threads
from permgrad.runs.run.summary import summarise

#: Values of a column that are shown.
_SHOWN = 5
Spoken = dict[str, Any]


def _outcome(facts: Mapping[str, Any], verdict: list[Spoken]) -> Outcome:
    return Outcome({**facts, "verdict": verdict}, as_lines(one["sentence"] for one in verdict))


def _spoken(sentence: str, kind: str, **facts: Any) -> Spoken:
    return {"sentence": sentence, "facts": {"kind": kind, **facts}}


def read_run(request: ExplainRequest) -> Outcome:
    """Return the summary of a finished run again."""
    finished_record(request.model_folder)
    return summarise(request.model_folder)


# ---- a table ---------------------------------------------------------------------------------------------------------
def describe_table(request: RunRequest) -> Outcome:
    """Describe the columns of a table as a run would read them. Writes nothing."""
    card = get_card(request.table) if request.table in data_sets() else None
    codes: tuple[Any, ...] = separated(request.na) or (card.na_codes if card else ())
    _, written = read_request(request, card, MissingCodes.of(codes))
    frame = written.frame
    for name in request.kinds:
        find_column(name, list(frame.columns), "kind")
    schema = infer_schema(frame, na_codes=codes, kinds=request.kinds)
    present = blank_codes(frame, codes)
    columns = [_column(one, present[one.name]) for one in schema]
    name, rows = table_name(request.table), len(frame)
    verdict = [_spoken(f"{clean(name)} has {counted(rows, 'row')} and {counted(len(columns), 'column')}.", "size",
                       rows=rows, columns=len(columns))]  # fmt: skip
    for kind in dict.fromkeys(one.kind for one in schema):
        names = schema.of_kind(kind)
        verdict.append(_spoken(f"{kind}: {listed(list(map(clean, names)), 8)}.", kind, columns=names))
    gaps = {one.name: one.n_missing for one in sorted(schema, key=lambda one: -one.n_missing) if one.n_missing}
    if gaps:
        shares = [f"{clean(column)} ({percent(count / rows)})" for column, count in gaps.items()]
        verdict.append(_spoken(f"Cells are missing in {listed(shares, 5)}.", "missing", missing=gaps))
    verdict += [_spoken(note, "note") for note in (*written.notes, *missing_said(written.missing))]
    usual = None if card is None else card.target
    return _outcome({"table": request.table, "rows": rows, "target": usual, "columns": columns}, verdict)


def _column(one: ColumnType, cells: pd.Series[Any]) -> dict[str, Any]:
    """Return the facts on a column: its type, and its range or its most frequent cells."""
    facts = {"name": one.name, "kind": one.kind, "missing": one.n_missing, "levels": one.n_levels, "reason": one.reason}
    if pd.api.types.is_numeric_dtype(cells.dtype) and not pd.api.types.is_bool_dtype(cells.dtype):
        return facts | {"low": cells.min(), "median": cells.median(), "high": cells.max()}
    counts = cells.astype(str).where(cells.notna()).value_counts()
    return facts | {"frequent": [{"cell": cell, "rows": count} for cell, count in counts.head(_SHOWN).items()]}


# ---- a row -----------------------------------------------------------------------------------------------------------
def _read(request: ExplainRequest) -> tuple[ReadRows, pd.DataFrame, int]:
    """Return the rows of a request with its model, the row that it names, and the row's number in the table."""
    check_explained(request, is_file=request.model_folder.is_file())
    request = of_test_rows(request) if request.table is None else request
    if request.source.is_dir():
        raise InputError(f"{request.source} is a folder", hint="Name one file with the row.", code="PG006")
    read = read_rows_of(request)
    use_threads(request.threads)
    assert read.places is not None, "a row is named"
    return read, read.rows.take(read.places).reset_index(drop=True), int(read.numbers[read.places[0]])


def _predicted(read: ReadRows, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the prediction of each row, and the probability of each class."""
    none = pd.DataFrame(index=range(len(rows)))
    table = prediction_table(none.index.to_numpy(), none, read.model.predict_parts(rows), read.model)
    return table.drop(columns="row").to_dict(orient="records")


def _said(line: Mapping[str, Any]) -> str:
    """Write a prediction, with the probability of a class."""
    chance = line.get(f"probability_{line['prediction']}")
    return f"{value_text(line['prediction'])}{'' if chance is None else f' (probability {chance:.3f})'}"


def what_if(request: WhatIfRequest) -> Outcome:
    """Predict a row as it is, with all changes, and with each of several changes alone."""
    read, row, number = _read(request)
    asked = request.changes
    if not asked:
        raise InputError("changes is empty", hint='Name a column and its new cell, such as {"age": 40}.', code="PG005")
    for name, cell in asked.items():
        find_column(name, [str(column) for column in row.columns], "changes")
        if not isinstance(cell, (str, int, float, bool, type(None))):
            problem = f"changes[{name!r}] must be a cell, got {shown(cell)}"
            raise InputError(problem, hint="Pass a number, a text, true, false or null.", code="PG001")
    alone = [{name: cell} for name, cell in asked.items()] if len(asked) > 1 else []
    rows = pd.concat([_changed(row, cells) for cells in ({}, asked, *alone)], ignore_index=True)
    if not isinstance(read.model, FileModel):
        check_cells(read.model.preprocessor_, rows, Path("changes"))
    before, after, *single = _predicted(read, rows)
    changes = {name: {"from": row[name].iloc[0], "to": cell} for name, cell in asked.items()}
    words = {name: f"{clean(name)} {_way(cells)}" for name, cells in changes.items()}
    verdict = [
        _spoken(f"The model predicts {_said(before)} for row {number}.", "before", **before),
        _spoken(
            f"With {listed(list(words.values()), 8)} it predicts {_said(after)}.", "after", changes=changes, **after
        ),
    ]
    for name, line in zip(changes, single, strict=bool(single)):
        verdict.append(_spoken(f"With {words[name]} alone it predicts {_said(line)}.", "alone", column=name, **line))
    verdict += _outside(read.rows, asked)
    facts = {"run": str(request.model_folder), "row": number, "changes": changes, "before": before, "after": after}
    return _outcome(facts, verdict)


def _changed(row: pd.DataFrame, cells: Mapping[str, Any]) -> pd.DataFrame:
    columns = {name: pd.Series([cell], dtype=object).infer_objects() for name, cell in cells.items()}
    return row.assign(**columns)


def _way(cells: Mapping[str, Any]) -> str:
    return f"{value_text(cells['from'])} → {value_text(cells['to'])}"


def _outside(rows: pd.DataFrame, changes: Mapping[str, Any]) -> Iterator[Spoken]:
    """Say which new numbers lie outside the rows that were read: there the model extrapolates."""
    for name, cell in changes.items():
        if isinstance(cell, (int, float)) and pd.api.types.is_numeric_dtype(rows[name].dtype):
            low, high = rows[name].min(), rows[name].max()
            if not low <= cell <= high:
                words = f"{clean(name)} {value_text(cell)} lies outside the rows of the table"
                ends = f"{value_text(low)} to {value_text(high)}"
                yield _spoken(
                    f"{words} ({ends}), so the model extrapolates.", "outside", column=name, low=low, high=high
                )


def find_counterfactuals(request: CounterfactualRequest) -> Outcome:
    """Find what would have to differ in a row for another prediction."""
    read, row, number = _read(request)
    is_file = isinstance(read.model, FileModel)
    want = tuple(request.want) if isinstance(request.want, list) else request.want
    names = ("fixed", "ranges", "direction", "most_changes", "count")
    found = counterfactuals(
        read.model.predictor if is_file else read.model, row, read.rows, want=want, random_state=request.seed,
        **{name: getattr(request, name) for name in names}, **(read.model.options if is_file else {}),
    )  # fmt: skip
    alternatives: list[dict[str, Any]] = []
    for place, changed in enumerate(found.changed):
        cells = found.cells.loc[:, changed]
        columns = {name: {"from": column.iloc[0], "to": column.iloc[place + 1]} for name, column in cells.items()}
        measures = {name: values[place] for name, values in found.measures.items()}
        alternatives.append({**measures, "cells": columns})
    first, *lines = found.summary().splitlines()
    facts = {
        name: found.meta[name]
        for name in ("prediction", "words", "rows", "outcome_rows", "reason")
        if name in found.meta
    }
    verdict = [_spoken(first, "goal", prediction=found.meta["prediction"])]
    kinds = [*({"kind": "alternative", **one} for one in alternatives), *({"kind": "note"} for _ in lines)]
    verdict += [{"sentence": line.strip(), "facts": about} for line, about in zip(lines, kinds, strict=False)]
    return _outcome({"run": str(request.model_folder), "row": number, **facts, "alternatives": alternatives}, verdict)
