"""Weights of rows: of rows in memory, and of a part of a table that is read in pieces."""

from __future__ import annotations

from typing import Any

import numpy as np

from permgrad.base.arrays import Booleans, Floats
from permgrad.base.checks import as_numbers, check_rows
from permgrad.base.errors import InputError
from permgrad.base.late import pd
from permgrad.data.read.cells import CellError

#: Only ratios of weights count. Beyond these their squares, and those of their sums, are no longer float64's.
LEAST, MOST = 1e-100, 1e100


def are_weights(values: Floats) -> Booleans:
    """Return whether each number can be a weight."""
    return np.asarray((values == 0) | ((values >= LEAST) & (values <= MOST)))


def _broken_rule(weight: float) -> tuple[str, str]:
    """Return why a number cannot be a weight, and how to fix it."""
    if 0 < weight < np.inf:
        return f"0 or between {LEAST} and {MOST}", "Only ratios count: divide all by the largest."
    return "finite and at least 0", "Correct it, or write 0 for a row that does not count."


def check_weights(sample_weight: Any, rows: int) -> Floats:
    """Return the weights of rows in memory, a new array ``(rows,)``. One number stands for all rows."""
    weights = as_numbers("sample_weight", sample_weight, f"pass one for each of the {rows} rows").copy()
    if weights.ndim == 0:
        weights = np.full(rows, float(weights))
    check_rows("sample_weight", weights, rows, "Pass the weights of the same rows.")
    if (wrong := np.flatnonzero(~are_weights(weights))).size:
        value = float(weights[wrong[0]])
        rule, fix = _broken_rule(value)
        raise InputError(f"sample_weight must be {rule}, but that of row {wrong[0]} is {value:g}", fix, "PG020")
    if not weights.any():
        problem = "sample_weight must be above 0 for some row, but all weights are zero"
        raise InputError(problem, hint="Leave it out.", code="PG020")
    return weights


def read_weights(values: pd.Series[Any]) -> Floats:
    """Return weights of the rows of a part of a table, which may all be 0. A ``CellError`` names an invalid one."""
    weights = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    if (wrong := np.flatnonzero(~are_weights(weights))).size:
        place = int(wrong[0])
        rule, fix = _broken_rule(weights[place])
        fact = f"sample_weight must be {rule}, but column {str(values.name)!r} holds {str(values.iloc[place])!r}"
        raise CellError.at(place, values.index, fact, fix, code="PG020")
    return weights
