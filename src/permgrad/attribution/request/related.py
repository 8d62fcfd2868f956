"""Rows that depend on each other: ``row_groups=`` and ``row_time=``, as values or the name of a column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from permgrad.attribution.request.arguments import Arguments
from permgrad.attribution.subject.calls import find_call
from permgrad.attribution.subject.untouched import seeded
from permgrad.base.checks import check_rows
from permgrad.base.dependence import Dependence
from permgrad.base.errors import InputError, shown, unknown
from permgrad.base.late import is_frame, pd

#: Rows on which a model is tried without a column.
_TRIED = 8


def with_columns(arguments: Arguments) -> Arguments:
    """Return the arguments with values in place of the names of columns, which leave the inputs if no model needs them.

    A column stays where the model names it, or fails without it. Without a model, or for a network, it never stays.
    """
    for argument in ("row_groups", "row_time"):
        name = getattr(arguments, argument)
        if not isinstance(name, str):
            continue
        tables = [arguments.inputs]
        if isinstance(arguments.inputs, Mapping):
            tables = list(arguments.inputs.values())
        table = next((one for one in tables if name in _names(one)), None)
        if table is None:
            columns = [each for one in tables for each in _names(one)]
            if columns:
                raise unknown(argument, name, columns)
            fact = f"{argument}={shown(name)} names a column, and the inputs have no names"
            raise InputError(fact, hint="Pass its values.", code="PG001")
        values = np.asarray(table[name])
        if not _is_needed(arguments.model, table, name):
            inputs, background = (_left_out(each, name) for each in (arguments.inputs, arguments.background))
            arguments = replace(arguments, inputs=inputs, background=background)
        read: dict[str, Any] = {argument: values}
        arguments = replace(arguments, **read)
    return arguments


def read_units(arguments: Arguments, count: int) -> Dependence | None:
    """Return which of the rows depend on each other, or None."""
    if arguments.row_groups is None and arguments.row_time is None:
        return None
    name = "row_time" if arguments.row_groups is None else "row_groups"
    values = np.asarray(getattr(arguments, name))
    check_rows(name, values, count, "Pass the values of the same rows, or the name of a column.")
    cells = pd.Series(values)
    if cells.isna().any():
        row = int(np.argmax(cells.isna()))
        problem = f"{name} has no value for row {row} (and {int(cells.isna().sum()) - 1} more)"
        hint = "Leave such rows out." if name == "row_time" else "Give such rows labels of their own."
        raise InputError(problem, hint=hint, code="PG020")
    if name == "row_groups":
        return Dependence(pd.factorize(cells)[0].astype(np.int64))
    from permgrad.data.splitting import in_time  # loads what reads tables, which no network needs

    try:
        return in_time(cells)
    except InputError as error:
        problem = f"row_time must hold numbers or dates, got {str(cells.iloc[0])!r}"
        raise InputError(problem, hint="Pass for example the number of each row in time.", code="PG001") from error


def _names(table: Any) -> list[str]:
    """Return the names of the columns of a pandas, polars or pyarrow table, and none of anything else."""
    names = getattr(table, "column_names", getattr(table, "columns", ()))
    return [str(name) for name in names] if is_frame(table) or hasattr(table, "to_pandas") else []


def _left_out(tables: Any, name: str) -> Any:
    """Return tables without a column."""
    if isinstance(tables, Mapping):
        return {key: _left_out(table, name) for key, table in tables.items()}
    if name not in _names(tables):
        return tables
    return tables.drop(columns=name) if is_frame(tables) else tables.drop([name])


def _is_needed(model: Any, table: Any, name: str) -> bool:
    """Whether a model takes a column: it names it, or it fails without it."""
    named = getattr(model, "feature_names_in_", None)
    if named is not None:
        return name in map(str, named)
    if model is None or isinstance(model, nn.Module):
        return False
    try:
        with seeded():
            find_call(model).function(_left_out(table, name)[:_TRIED])
    except Exception:  # noqa: BLE001 — whatever the user's model raises without the column
        return True
    return False
