"""Signs that rows depend on each other where nobody said so: copies, names that repeat, neighbours that are alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from permgrad.attribution.request.request import Request
from permgrad.base.arrays import Array, Floats
from permgrad.base.dependence import in_blocks, is_clock, neighbours_alike, repeated_rows
from permgrad.base.errors import by_count, counted, warn_user

#: Correlation from row to row that counts as a sign where the rows are sorted by a column.
_SORTED = 0.3
#: Columns that are looked at, evenly over all. In more rows than this, copies are not searched for.
_MOST_COLUMNS, _MOST_ROWS = 50, 20_000
_FIX = (
    "Pass row_groups= (rows of one patient or place) or row_time= (a series), in permgrad run --split-group or --time, "
    "so that intervals allow for it."
)


def tell_of_dependence(request: Request, outputs: Tensor, scores: Floats | None = None) -> None:
    """Warn once where rows seem to depend on each other and nobody said so. ``scores``: effects ``(players, rows)``."""
    if request.units is None and request.y is not None and request.scope == "global":
        guess = np.asarray(request.subject.predicted(outputs), dtype=np.float64)
        tables: list[Any] = [tensor for tensor in request.inputs if tensor.ndim == 2]
        columns = None  # of anything but tables
        if tables and len(tables) == len(request.inputs):
            table = np.column_stack([tensor.detach().cpu().double().numpy() for tensor in tables])
            some = np.linspace(0, table.shape[1] - 1, min(table.shape[1], _MOST_COLUMNS)).astype(np.int64)
            columns = table[:, some]
        tell_of_signs(columns, np.asarray(request.y), guess, scores)


def tell_of_signs(columns: Array | None, truth: Array, guess: Floats, scores: Floats | None = None) -> None:
    """Warn of signs in the columns of numbers, targets, predictions and effects of rows in the order of their table."""
    errors = None  # where truth and predictions do not fit
    if truth.ndim == 1 and guess.ndim == 2 and guess.shape[1] > 1:
        errors = np.asarray((truth[:, None] == np.arange(guess.shape[1])) - guess, dtype=np.float64)
    elif truth.size == guess.size:
        errors = np.asarray(truth - guess.reshape(truth.shape))
    if words := _signs(columns, truth, errors, scores):
        warn_user(f"{words}, so they may depend on each other. {_FIX}")


def _signs(columns: Array | None, truth: Array, left: Floats | None, scores: Floats | None) -> str:
    """Say what shows that rows, in the order of the table, depend on each other, or nothing."""
    targets = truth.reshape(len(truth), -1)
    table = targets if columns is None else np.column_stack([columns, targets])
    if len(table) <= _MOST_ROWS and (count := repeated_rows(table)):
        return f"{counted(count, 'row')} of {len(table):,} {by_count(count, 'repeats', 'repeat')} another row"
    if any(map(in_blocks, targets.T)):
        return ""
    sorted_by = [] if columns is None else [column for column in columns.T if in_blocks(column)]
    if not all(is_clock(column) for column in sorted_by):
        return ""
    ordered = bool(sorted_by)
    effects = np.zeros((0, len(table))) if scores is None or ordered else scores[:, : len(table)]
    tests = len(effects) + 1
    found = None if left is None else neighbours_alike(left, _SORTED if ordered else 0.1, tests)
    what = "Errors"
    for effect in () if found is not None else effects:
        if (found := neighbours_alike(effect, tests=tests)) is not None:
            what = "Effects"
            break
    return "" if found is None else f"{what} of neighbouring rows are alike (correlation {found:.2f} from row to row)"
