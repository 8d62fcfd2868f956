"""What a predictor returned for rows, as numbers: arrays, lists, and frames of any
kind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.subject.outputs import as_target, is_one_hot
from permgrad.base.arrays import Array
from permgrad.base.errors import InputError, warn_user
from permgrad.base.late import pd
from permgrad.data.tasks import Task

#: How far from 1 the sum of probabilities may be that were rounded to two digits.
_ROUNDED = 0.02
#: Rows from which on sums say what numbers are.
_FEW_ROWS = 5
_PER_CENT = 100.0
#: What sums of exact probabilities differ by, in single precision.
_EXACT = 1e-6


# ---- frames --------------------------------------------------------------------------
def names_of(returned: Any) -> tuple[str, ...]:
    """Return the names of the columns of a frame, else none."""
    names = getattr(returned, "column_names", getattr(returned, "columns", None))
    if names is None:
        return ()
    return tuple(map(str, names))


def numbers_of_frame(returned: Any, table: Any) -> Any:
    """Return the columns of numbers of a frame, without labels beside probabilities.

    Raises:
        InputError: The rows are in another order than in the table.
    """
    frame = returned if isinstance(returned, pd.DataFrame) else _as_pandas(returned)
    if frame is None or frame.columns.has_duplicates:
        return returned
    _check_order(frame, table)
    numeric = [column_name for column_name in frame if _is_number(frame[column_name])]
    if not numeric:
        return returned
    floats = [
        column_name for column_name in numeric if frame[column_name].dtype.kind == "f"
    ]
    if 1 < len(floats) < len(numeric) and share_of_sums(frame[floats].to_numpy()):
        return frame[floats]
    return frame[numeric] if len(numeric) < frame.shape[1] else returned


def _as_pandas(returned: Any) -> pd.DataFrame | None:
    convert = getattr(returned, "to_pandas", None)
    if convert is None:
        pandas_frame = None
    else:
        pandas_frame = convert()
    if isinstance(pandas_frame, pd.DataFrame):
        return pandas_frame
    return None


def _is_number(column: pd.Series[Any]) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column.dtype))


def _check_order(frame: pd.DataFrame, table: Any) -> None:
    """Refuse rows that were sorted, as a column of the table shows that came back."""
    if not isinstance(table, pd.DataFrame) or len(frame) != len(table):
        return
    for column_name in frame.columns.intersection(table.columns):
        there = frame[column_name].to_list()
        table_cells = table[column_name].to_list()
        if there != table_cells and pd.Series(there).value_counts().equals(
            pd.Series(table_cells)
            .value_counts()
            .reindex(pd.Series(there).value_counts().index)
        ):
            column_text = repr(column_name)
            raise InputError(
                "The predictor returned its rows in another order than the table: "
                f"{column_text} is sorted",
                hint="Put them back, for example lambda table: model.predict(table)."
                f"drop_duplicates({column_text}).set_index({column_text}).loc[table[{column_text}]]",
                code="PG032",
            )


# ---- as many rows as there are -------------------------------------------------------
def wrong_rows(values: Array, rows: int, table: Callable[[], Any]) -> InputError:
    """Return the error of another number of rows, with what is known of its reason."""
    problem = (
        f"The predictor must return one row of numbers for each of the {rows} rows, "
        f"got the shape {values.shape}"
    )
    if values.ndim:
        count = len(values)
    else:
        count = 0
    if not 0 < count < rows:
        return InputError(problem, "Return (rows,) or (rows, outputs)", "PG032")
    frame = table()
    missing = int(frame.isna().any(axis=1).sum())
    if missing and count == rows - missing:
        hint = (
            f"It leaves {missing:,} rows with missing cells out, as dropna() does: "
            "fill them, so that every row has its prediction"
        )
        return InputError(problem, hint, "PG032")
    hint = (
        f"If it answers at most {count} rows a call, pass pg.Model(..., "
        f"batch_size={count}). Else let it return a prediction for each row"
    )
    return InputError(problem, hint, "PG032")


# ---- per cent, and rounded probabilities ---------------------------------------------
def share_of_sums(numbers: Array) -> float:
    """Return 100 or 1 where numbers of each row add up to that, but for digits,
    else 0.
    """
    if numbers.ndim != 2 or numbers.shape[1] < 2 or not len(numbers):
        return 0.0
    if not np.isfinite(numbers).all() or numbers.min() < 0:
        return 0.0
    for row_total in (1.0, _PER_CENT):
        if np.abs(numbers.sum(axis=1) / row_total - 1).max() <= _ROUNDED:
            return row_total
    return 0.0


@dataclass(frozen=True)
class Shares:
    """How numbers become probabilities: by the sum of their row, or all by one
    number.
    """

    total: float
    by_row: bool

    def of(self, numbers: Array) -> Array:
        """Return probabilities."""
        if self.by_row:
            total = numbers.sum(axis=1, keepdims=True)
            return np.divide(numbers, total, out=numbers.copy(), where=total > 0)
        return numbers / self.total


def find_shares(
    outputs: Tensor, y: Any, kind: str | None, task: Task | None, class_names: Any
) -> Shares | None:
    """Return how outputs become probabilities that are per cent, or rounded, or None.

    ``kind``, ``task`` and ``class_names`` are those that are said or known.
    """
    numbers = outputs.numpy()
    if y is None:
        truth = np.empty(0)
    else:
        truth = as_target(y)
    several = truth.ndim > 1 and not is_one_hot(truth)
    has_no_classes = task is not None and not task.has_classes
    is_other_kind = has_no_classes or kind not in (None, "probabilities")
    if several or is_other_kind or not np.isfinite(numbers).all():
        return None
    if numbers.shape[1] > 1:
        return _of_several(numbers, kind)
    classes = class_names is not None or truth.dtype.kind not in "fiub"
    return _of_one(numbers, kind, classes=classes)


def _of_several(numbers: Array, kind: str | None) -> Shares | None:
    """Return how columns of classes become probabilities."""
    enough = len(numbers) >= _FEW_ROWS or kind == "probabilities"
    if enough:
        row_total = share_of_sums(numbers)
    else:
        row_total = 0.0
    if row_total == _PER_CENT:
        warn_user(
            "The outputs of each row add up to 100 and are read as per cent: as "
            "probabilities, they are divided by 100."
        )
        return Shares(row_total, by_row=True)
    exact = np.abs(numbers.sum(axis=1) - 1).max() <= _EXACT
    if row_total and not exact and not kind:
        return Shares(row_total, by_row=True)
    return None


def _of_one(numbers: Array, kind: str | None, *, classes: bool) -> Shares | None:
    """Return how the column of one class becomes a probability."""
    smallest_output = float(numbers.min())
    largest_output = float(numbers.max())
    if not (smallest_output >= 0 and 1 < largest_output <= _PER_CENT):
        return None
    range_words = (
        f"The outputs lie between {smallest_output:.3g} and "
        f"{largest_output:.3g} and are"
    )
    if kind == "probabilities":
        warn_user(
            f"{range_words} read as per cent: as probabilities, they are divided by "
            "100."
        )
        return Shares(_PER_CENT, by_row=False)
    if classes:
        warn_user(
            f"{range_words} taken for log-odds. If they are per cent, pass "
            "returns='probabilities' to pg.Model."
        )
    return None


def detached(returned: Any) -> Any:
    """Return a tensor as it can be read by NumPy, and anything else as it is."""
    if isinstance(returned, torch.Tensor):
        return returned.detach().cpu()
    return returned
