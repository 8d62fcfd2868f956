"""Rows that depend on each other: ``row_groups=`` and ``row_time=``, as values or the
name of a column.

Where nobody said so, copies, names that repeat and neighbours that are alike are signs
of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from permgrad.attribution.request.arguments import Arguments
from permgrad.attribution.request.request import Request
from permgrad.attribution.subject.calls import find_call
from permgrad.base.arrays import Array, Floats
from permgrad.base.checks import check_rows
from permgrad.base.dependence import (
    Dependence,
    alike_within,
    in_blocks,
    is_clock,
    neighbours_alike,
    repeated_rows,
)
from permgrad.base.errors import (
    InputError,
    by_count,
    counted,
    shown,
    unknown,
    warn_user,
)
from permgrad.base.late import is_frame, pd
from permgrad.base.random import seeded
from permgrad.base.typed import argument_typed
from permgrad.data.weights import check_weights

#: Rows on which a model is tried without a column.
_TRIED = 8


def with_columns(arguments: Arguments) -> Arguments:
    """Return the arguments with values in place of the names of columns, which leave
    the inputs if no model needs them.

    A column stays where the model names it, or fails without it. Without a model, or
    for a network, it never stays.
    """
    for argument in ("row_groups", "row_time"):
        column_name = getattr(arguments, argument)
        if not isinstance(column_name, str):
            continue
        tables = [arguments.X]
        if isinstance(arguments.X, Mapping):
            tables = list(arguments.X.values())
        table = next(
            (
                input_table
                for input_table in tables
                if column_name in _names(input_table)
            ),
            None,
        )
        if table is None:
            columns = []
            for input_table in tables:
                columns.extend(_names(input_table))
            if columns:
                raise unknown(argument, column_name, columns)
            fault_words = (
                f"{argument}={shown(column_name)} names a column, and X has no names"
            )
            raise InputError(fault_words, hint="Pass its values.", code="PG001")
        values = np.asarray(table[column_name])
        if not _is_needed(arguments.model.model, table, column_name):
            X = _left_out(arguments.X, column_name)
            background = _left_out(arguments.background, column_name)
            arguments = replace(arguments, X=X, background=background)
        argument_values: dict[str, Any] = {argument: values}
        arguments = replace(arguments, **argument_values)
    return arguments


class RowWeights(NamedTuple):
    """How rows count, and which of them together.

    Attributes:
        sample_weight: The weight of each row, ``(rows,)``. None: all count the same.
        units: Which rows depend on each other. None: none do.
    """

    sample_weight: Floats | None
    units: Dependence | None


def read_row_weights(arguments: Arguments, count: int) -> RowWeights:
    """Return how the rows of a call count.

    Args:
        arguments: The user's, with values for the names of columns.
        count: The number of rows explained.

    Raises:
        InputError: Weights, groups or times do not fit the rows.
    """
    weights = None
    if arguments.sample_weight is not None:
        weights = check_weights(arguments.sample_weight, count)
    units = None
    if arguments.relates_rows:
        units = read_units(arguments, count)
    return RowWeights(weights, units)


def read_units(arguments: Arguments, count: int) -> Dependence:
    """Return which of the rows depend on each other, by one of both arguments.

    Args:
        arguments: The user's, with values for the names of columns.
        count: The number of rows explained.

    Raises:
        InputError: Values are missing, or not as many as rows.
    """
    if arguments.row_groups is None:
        argument_name = "row_time"
    else:
        argument_name = "row_groups"
    values = np.asarray(getattr(arguments, argument_name))
    check_rows(
        argument_name,
        values,
        count,
        "Pass the values of the same rows, or the name of a column.",
    )
    cells = pd.Series(values)
    if cells.isna().any():
        missing_row = int(np.argmax(cells.isna()))
        problem = (
            f"{argument_name} has no value for row {missing_row} (and "
            f"{int(cells.isna().sum()) - 1} more)"
        )
        if argument_name == "row_time":
            hint = "Leave such rows out."
        else:
            hint = "Give such rows labels of their own."
        raise InputError(problem, hint=hint, code="PG020")
    if argument_name == "row_groups":
        return Dependence(pd.factorize(cells)[0].astype(np.int64))
    from permgrad.data.splitting import (
        in_time,
    )  # loads what reads tables, which no network needs

    try:
        return in_time(cells)
    except InputError as error:
        problem = f"row_time must hold numbers or dates, got {str(cells.iloc[0])!r}"
        raise InputError(
            problem,
            hint="Pass for example the number of each row in time.",
            code="PG001",
        ) from error


def _names(table: Any) -> list[str]:
    """Return the names of the columns of a pandas, polars or pyarrow table, and none of
    anything else.
    """
    names = getattr(table, "column_names", getattr(table, "columns", ()))
    if is_frame(table) or hasattr(table, "to_pandas"):
        return list(map(str, names))
    return []


def _left_out(tables: Any, name: str) -> Any:
    """Return tables without a column."""
    if isinstance(tables, Mapping):
        return {
            input_name: _left_out(table, name) for input_name, table in tables.items()
        }
    if name not in _names(tables):
        return tables
    if is_frame(tables):
        return tables.drop(columns=name)
    return tables.drop([name])


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


# ---- signs that nobody named ---------------------------------------------------------
#: Correlation from row to row that counts as a sign where the rows are sorted by a
#: column.
_SORTED = 0.3
#: Columns that are looked at, evenly over all. In more rows than this, copies are not
#: searched for.
_MOST_COLUMNS = 50
_MOST_ROWS = 20_000


def _remedy() -> str:
    """Return what helps where rows depend on each other."""
    groups = argument_typed("row_groups", example="COL")
    time = argument_typed("row_time", example="COL")
    return (
        f"Pass {groups} (rows of one patient or place) or {time} (a series), so that "
        "intervals allow for it."
    )


def tell_of_dependence(
    request: Request, outputs: Tensor, scores: Floats | None = None
) -> None:
    """Warn once where rows seem to depend on each other and nobody said so.

    Args:
        request: The call.
        outputs: Raw outputs of the rows explained, ``(rows, K)``.
        scores: Effects of each row, ``(players, rows)``.
    """
    if request.units is not None or request.y is None or request.scope.by_row:
        return
    if words := signs_of_dependence(request, outputs, scores):
        warn_user(f"{words}, so they may depend on each other. {_remedy()}")


def signs_of_dependence(
    request: Request, outputs: Tensor | None, scores: Floats | None = None
) -> str:
    """Say what shows that rows depend on each other, or nothing.

    Without ``outputs`` only copies of rows do.
    """
    tables: list[Any] = [tensor for tensor in request.inputs if tensor.ndim == 2]
    columns = None  # of anything but tables
    if tables and len(tables) == len(request.inputs):
        table = np.column_stack(
            [tensor.detach().cpu().double().numpy() for tensor in tables]
        )
        column_sample = np.linspace(
            0, table.shape[1] - 1, min(table.shape[1], _MOST_COLUMNS)
        ).astype(np.int64)
        columns = table[:, column_sample]
    truth = guess = np.zeros((request.count, 0))
    if outputs is not None and request.y is not None:
        truth = np.asarray(request.y)
        guess = np.asarray(request.subject.outputs.predicted(outputs), dtype=np.float64)
    # Rows without weight have no part in any interval.
    kept_rows = (
        slice(None)
        if request.sample_weight is None
        else np.flatnonzero(request.sample_weight)
    )
    columns = columns if columns is None else columns[kept_rows]
    scores = scores if scores is None else scores[:, kept_rows]
    return signs(columns, truth[kept_rows], guess[kept_rows], scores)


def tell_of_signs(
    columns: Array | None, truth: Array, guess: Floats, scores: Floats | None = None
) -> None:
    """Warn of signs that rows depend on each other. They are in the order of their
    table.

    Args:
        columns: Of numbers, ``(rows, columns)``, or None.
        truth: The targets, ``(rows,)``.
        guess: Predictions, ``(rows,)`` or ``(rows, classes)``.
        scores: Effects, ``(players, rows)``.
    """
    if words := signs(columns, truth, guess, scores):
        warn_user(f"{words}, so they may depend on each other. {_remedy()}")


def _errors(truth: Array, guess: Floats) -> Floats | None:
    """Return the errors of predictions, of each class those of its probability.

    None: they do not fit the truth.
    """
    if truth.ndim == 1 and guess.ndim == 2 and guess.shape[1] > 1:
        return np.asarray(
            (truth[:, None] == np.arange(guess.shape[1])) - guess, dtype=np.float64
        )
    if truth.size == guess.size:
        return np.asarray(truth - guess.reshape(truth.shape))
    return None


def signs(
    columns: Array | None, truth: Array, guess: Floats, scores: Floats | None = None
) -> str:
    """Say what shows that rows depend on each other, or nothing.

    From columns, targets, predictions and effects ``(players, rows)`` of rows in the
    order of their table.
    """
    table = truth.reshape(len(truth), -1)
    targets = table
    table = table if columns is None else np.column_stack([columns, table])
    if len(table) <= _MOST_ROWS and (count := repeated_rows(table)):
        return (
            f"{counted(count, 'row')} of {len(table):,} "
            f"{by_count(count, 'repeats', 'repeat')} another row"
        )
    sorted_by = [] if columns is None else list(filter(in_blocks, columns.T))
    if any(map(in_blocks, targets.T)) or not all(map(is_clock, sorted_by)):
        return ""
    effects = (
        np.zeros((0, len(table)))
        if scores is None or sorted_by
        else scores[:, : len(table)]
    )
    tests = len(effects) + 1
    errors = _errors(truth, guess)
    tried = (
        [] if errors is None else [("Errors", errors, _SORTED if sorted_by else 0.1)]
    )
    for sign_words, values, least in (
        *tried,
        *(("Effects", effect, 0.1) for effect in effects),
    ):
        if (correlation := neighbours_alike(values, least, tests)) is not None:
            return (
                f"{sign_words} of neighbouring rows are alike (correlation "
                f"{correlation:.2f} from row to row)"
            )
    if columns is None or errors is None:
        return ""
    for column in columns.T:
        if (correlation := alike_within(column, errors, columns.shape[1])) is not None:
            return (
                "Errors of rows with one value of a column are alike (correlation "
                f"{correlation:.2f})"
            )
    return ""
