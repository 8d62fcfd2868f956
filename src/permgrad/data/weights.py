"""Weights of rows: of rows in memory, and of a part of a table that is read in pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.checks import as_numbers
from permgrad.base.errors import InputError
from permgrad.data.read.cells import CellError

#: Only ratios of weights count; beyond these their squares, and those of their sums, are no longer float64's.
LEAST, MOST = 1e-100, 1e100


def are_weights(values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return whether each number can be a weight."""
    return np.asarray((values == 0) | ((values >= LEAST) & (values <= MOST)))


def _broken_rule(weight: float) -> tuple[str, str]:
    """Return why a number cannot be a weight, and how to fix it."""
    if 0 < weight < np.inf:
        return f"0 or between {LEAST} and {MOST}", "only ratios count, so divide all by the largest"
    return "finite and at least 0", "correct it"


def check_weights(sample_weight: Any, rows: int) -> npt.NDArray[np.float64]:
    """Return the weights of rows in memory, a new array ``(rows,)``; one number stands for all rows."""
    weights = as_numbers("sample_weight", sample_weight, f"pass one for each of the {rows} rows").copy()
    if weights.ndim == 0:
        weights = np.full(rows, float(weights))
    if weights.shape != (rows,):
        raise InputError(
            f"sample_weight must have one value per row, however: sample_weight.shape == {weights.shape}, "
            f"expected {(rows,)}; pass the weights of the same rows"
        )
    if (wrong := np.flatnonzero(~are_weights(weights))).size:
        value = float(weights[wrong[0]])
        rule, fix = _broken_rule(value)
        raise InputError(
            f"sample_weight must be {rule}, however: that of row {wrong[0]} is {value:g}; {fix}, and write 0 for what "
            "does not count"
        )
    if not weights.any():
        raise InputError("sample_weight must be above 0 for some row, however: all weights are zero; leave it out")
    return weights


def read_weights(values: pd.Series[Any]) -> npt.NDArray[np.float64]:
    """Return weights of the rows of a part of a table, which may all be 0; a ``CellError`` names one that is none."""
    weights = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    if (wrong := np.flatnonzero(~are_weights(weights))).size:
        place = int(wrong[0])
        rule, fix = _broken_rule(weights[place])
        fact = f" has {str(values.iloc[place])!r} in {str(values.name)!r}; {fix}"
        raise CellError.at(place, values.index, f"sample_weight must be {rule}, however: ", fact)
    return weights
