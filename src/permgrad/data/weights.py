"""Weights of rows: of rows in memory, and of a part of a table that is read in
pieces.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from permgrad.base.arrays import Booleans, Floats
from permgrad.base.checks import as_numbers, check_rows
from permgrad.base.errors import InputError
from permgrad.base.late import pd
from permgrad.data.read.cells import CellError

#: Only ratios of weights count. Beyond these their squares, and those of their sums,
#: are no longer float64's.
LEAST = 1e-100
MOST = 1e100
#: Logarithms of exposures are no larger: e¹⁰⁰ is beyond any time, area or number of
#: people.
MOST_OFFSET = 100


def are_weights(values: Floats) -> Booleans:
    """Return whether each number can be a weight."""
    return np.asarray((values == 0) | ((values >= LEAST) & (values <= MOST)))


def _broken_rule(weight: float) -> tuple[str, str]:
    """Return why a number cannot be a weight, and how to fix it."""
    if 0 < weight < np.inf:
        return (
            f"0 or between {LEAST} and {MOST}",
            "Only ratios count: divide all by the largest.",
        )
    return (
        "finite and at least 0",
        "Correct it, or write 0 for a row that does not count.",
    )


def check_weights(sample_weight: Any, rows: int) -> Floats:
    """Return the weights of rows in memory, a new array ``(rows,)``.

    One number stands for all rows.
    """
    weights = as_numbers(
        "sample_weight", sample_weight, f"pass one for each of the {rows} rows"
    ).copy()
    if weights.ndim == 0:
        weights = np.full(rows, float(weights))
    check_rows("sample_weight", weights, rows, "Pass the weights of the same rows.")
    if (wrong := np.flatnonzero(~are_weights(weights))).size:
        value = float(weights[wrong[0]])
        weight_rule, correction = _broken_rule(value)
        raise InputError(
            f"sample_weight must be {weight_rule}, but that of row {wrong[0]} is "
            f"{value:g}",
            correction,
            "PG020",
        )
    if not weights.any():
        problem = "sample_weight must be above 0 for some row, but all weights are zero"
        raise InputError(problem, hint="Leave it out.", code="PG020")
    return weights


def exposures(offset: Any, rows: int) -> Floats:
    """Return the exposures of rows, ``(rows,)``, from their logarithms."""
    log_exposures = as_numbers(
        "offset", offset, "pass the logarithm of each row's exposure"
    )
    check_rows("offset", log_exposures, rows, "Pass one number for each row.")
    if (wrong := np.flatnonzero(~(np.abs(log_exposures) <= MOST_OFFSET))).size:
        offset_range = f"between -{MOST_OFFSET} and {MOST_OFFSET}"
        problem = (
            f"offset must lie {offset_range}, but that of row {wrong[0]} is "
            f"{log_exposures[wrong[0]]:g}"
        )
        raise InputError(
            problem,
            hint="It is the logarithm of the exposure: np.log(years).",
            code="PG015",
        )
    return np.exp(log_exposures)


def read_exposures(values: pd.Series[Any]) -> Floats:
    """Return the exposures of the rows of a table from a column of logarithms.

    A ``CellError`` names a wrong one.
    """
    log_exposures = pd.to_numeric(values, errors="coerce").to_numpy(
        dtype=np.float64, na_value=np.nan
    )
    if (wrong := np.flatnonzero(~(np.abs(log_exposures) <= MOST_OFFSET))).size:
        wrong_row = int(wrong[0])
        column_name = str(values.name)
        offset_rule = f"a number between -{MOST_OFFSET} and {MOST_OFFSET}"
        cell_problem = (
            f"The offset must be {offset_rule}, but column {column_name!r} "
            f"holds {str(values.iloc[wrong_row])!r}"
        )
        correction = (
            "It is the logarithm of the exposure. Correct it, or leave the row out."
        )
        raise CellError.at(
            wrong_row, values.index, cell_problem, correction, code="PG015"
        )
    return np.exp(log_exposures)


def read_weights(values: pd.Series[Any]) -> Floats:
    """Return weights of the rows of a part of a table, which may all be 0.

    A ``CellError`` names an invalid one.
    """
    weights = pd.to_numeric(values, errors="coerce").to_numpy(
        dtype=np.float64, na_value=np.nan
    )
    if (wrong := np.flatnonzero(~are_weights(weights))).size:
        wrong_row = int(wrong[0])
        weight_rule, correction = _broken_rule(weights[wrong_row])
        cell_problem = (
            f"sample_weight must be {weight_rule}, but column "
            f"{str(values.name)!r} holds {str(values.iloc[wrong_row])!r}"
        )
        raise CellError.at(
            wrong_row, values.index, cell_problem, correction, code="PG020"
        )
    return weights
