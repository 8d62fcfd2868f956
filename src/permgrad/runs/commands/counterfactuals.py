"""``permgrad counterfactuals``: what would have to differ in a row of a table for another prediction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from permgrad.attribution.counterfactuals import ALREADY, Counterfactuals, counterfactuals
from permgrad.attribution.model import Model
from permgrad.base.csv_files import write_csv
from permgrad.base.errors import InputError, listed
from permgrad.base.files import writing
from permgrad.base.locks import hold_name
from permgrad.data.read.cells import BLANK, canonical
from permgrad.data.types.column_types import read_numbers
from permgrad.evaluation.baselines.file_model import FileModel
from permgrad.pages.summary import counterfactuals_summary, counterfactuals_words
from permgrad.pages.words import clean, value_text
from permgrad.runs.commands.explain import ReadRows
from permgrad.runs.commands.predict import check_free
from permgrad.runs.commands.rows import Spoken, read_row, told
from permgrad.runs.folder.folder import refuse_input, refuse_run_file
from permgrad.runs.requests import Outcome
from permgrad.runs.row_requests import CounterfactualsRequest, ends
from permgrad.runs.run.early import find_column


def write_counterfactuals(request: CounterfactualsRequest) -> Outcome:
    """Find alternatives of a row, and write a line for each if a file is named."""
    asked, out = request.explained, request.out
    if out is not None:
        refuse_input(out, {"table": asked.table, "model": asked.model_folder if asked.model_folder.is_file() else None})
        refuse_run_file(out, asked.model_folder)
        check_free(out, "Alternatives")
    read, row, number = read_row(asked)
    ranges, direction = request.limits
    for option, names in (("--fixed", request.fixed), ("--range", ranges), ("--direction", direction)):
        for name in names:
            find_column(name, [str(column) for column in row.columns], option)
    options: dict[str, Any] = {"ranges": {name: _cells(name, read.rows[name], limit) for name, limit in ranges.items()}}
    options |= {"direction": direction, "want": _wanted(request.want, read)}
    options |= {"fixed": request.fixed, "max_changes": request.max_changes, "count": request.count}
    outcome, result = _alternatives(request, read, row, number, options)
    if result.meta.get("reason") == ALREADY:
        problem = f"The model already predicts {value_text(result.meta['prediction'])} for row {number}"
        raise InputError(problem, hint="Pass another --want, or another --row.", code="PG003")
    if out is None:
        return outcome
    with hold_name(out), writing(out, "name another file with --out"):
        write_csv(result.to_frame(), out)
    return Outcome({**outcome.facts, "out": str(out)}, f"{outcome.text}\nAlternatives: {out}")


def _cells(name: str, column: pd.Series[Any], limit: list[Any]) -> list[Any]:
    """Return both ends of a range, or the cells of a column that are written as the listed texts."""
    if not pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        known = {canonical(cell): cell for cell in column.dropna().unique().tolist()}
        return [known.get(cell, cell) for cell in limit]
    if len(limit) != 2 or any(isinstance(end, str) for end in limit):
        problem = f"Column {clean(name)} has numbers, so --range must name their ends, got {listed(limit)}"
        raise InputError(problem, hint=f"For example: --range '{clean(name)}=18..60'.", code="PG001")
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
        if one.kind == "date" and not pd.api.types.is_numeric_dtype(read.rows[one.name].dtype):
            seconds, missing = read_numbers(read.rows[one.name], one, encoder.codes_)
            if missing.max(initial=0) <= BLANK:  # codes that say in which way a date is missing stay
                dated[one.name] = pd.Series(pd.to_datetime(seconds, unit="s"), read.rows.index)
    return dated


def _alternatives(
    request: CounterfactualsRequest, read: ReadRows, row: pd.DataFrame, number: int, options: dict[str, Any]
) -> tuple[Outcome, Counterfactuals]:
    model: Any = read.model
    if isinstance(model, FileModel):
        model = Model(model.predictor, **model.options)
    dated = _dated(read)
    rows = read.rows.assign(**dated)
    assert read.places is not None, "a row is named"
    row = row.assign(**{name: dates.iloc[read.places].to_numpy() for name, dates in dated.items()})
    result = counterfactuals(model, row, rows, **options)
    written = {name: result.cells[name].astype(str).where(result.cells[name].notna()) for name in dated}
    result = replace(result, cells=result.cells.assign(**written))
    goal, found, notes = counterfactuals_words(result, f"row {number}")
    alternatives: list[dict[str, Any]] = []
    spoken: list[Spoken] = [(goal, "goal", {"prediction": result.meta["prediction"]})]
    for place, (changed, (ways, about)) in enumerate(zip(result.changed, found, strict=True)):
        cells = result.cells.loc[:, changed]
        columns = {name: {"from": column.iloc[0], "to": column.iloc[place + 1]} for name, column in cells.items()}
        alternatives.append({**{name: one[place] for name, one in result.measures.items()}, "cells": columns})
        spoken.append((f"{', '.join(ways)}. {' '.join(about)}", "alternative", alternatives[-1]))
    spoken += [(line, "note", {}) for line in notes]
    facts = {name: value for name, value in result.meta.items() if name != "seed"}
    facts |= {"run": str(request.model_folder), "row": number, "alternatives": alternatives}
    return Outcome(told(facts, spoken).facts, counterfactuals_summary(result, f"row {number}")), result
