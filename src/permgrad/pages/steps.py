"""Single rows as numbers: the steps from a baseline's output to the row's, and the
order of a feature's values.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.arrays import Floats
from permgrad.base.sequences import values_at
from permgrad.pages import choices
from permgrad.pages.words import labels_of, value_text

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

#: Text like 2024-05-31 or 2024-05-31 12:30, whose alphabetical order is the order in
#: time.
ISO_DATE = re.compile(r"\d{4}-\d{2}(-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?)?Z?")


def are_iso_dates(cells: pd.Series[Any]) -> bool:
    """Whether all cells that have a value are ISO dates as text."""
    return all(
        isinstance(cell, str) and ISO_DATE.fullmatch(cell.strip())
        for cell in cells.dropna()
    )


def ranks_of(explanation: Explanation, feature: int) -> Floats:
    """Return each row's value as a rank 0 … 1, NaN where the value has no order or is
    missing.

    Numbers, dates, times, ISO dates as text and ordered categories have an order.
    """
    frame = explanation.feature_values
    feature_name = explanation.names[feature]
    unordered = np.full(explanation.values.shape[0], np.nan)
    if frame is None or feature_name not in frame.columns:
        return unordered
    codes: pd.Series[Any]
    values = frame[feature_name]
    kinds = pd.api.types
    dtype = values.dtype
    present = values.dropna()
    if kinds.is_numeric_dtype(values):
        codes = pd.Series(
            pd.to_numeric(values).to_numpy(dtype=np.float64, na_value=np.nan)
        )
    elif isinstance(dtype, pd.CategoricalDtype) and dtype.ordered:
        codes = values.cat.codes.where(values.cat.codes >= 0)
    elif not len(present):
        return unordered
    elif kinds.is_datetime64_any_dtype(dtype) or kinds.is_timedelta64_dtype(dtype):
        codes = values
    elif all(
        isinstance(cell_value, (dt.date, np.datetime64)) for cell_value in present
    ):
        codes = pd.Series(pd.to_datetime(values, errors="coerce", utc=True))
    elif are_iso_dates(present):
        codes = values.map(str.strip, na_action="ignore").astype(object)
    else:
        return unordered
    # First the rank among the different values, because dates and texts have no
    # average.
    ranks = (
        codes.rank(method="dense")
        .astype(np.float64)
        .rank(pct=True, method="average")
        .to_numpy()
    )
    spread = np.nanmax(ranks, initial=0.0) - np.nanmin(ranks, initial=1.0)
    if spread > 0:
        return (ranks - np.nanmin(ranks)) / spread
    return np.where(np.isfinite(ranks), 0.5, np.nan)


#: Methods whose values can be added over players, but do not add up to a difference of
#: outputs.
_TO_NOTHING = ("gradient", "smoothgrad")


def stacks(explanation: Explanation) -> bool:
    """Return whether values add up from a baseline's output to the row's.

    Slopes do not.
    """
    return explanation.additive and explanation.method not in _TO_NOTHING


def ends_of(
    explanation: Explanation, row_index: int, column: int
) -> tuple[float, float]:
    """Return the outputs at the start and the end of a row's steps.

    The start is 0 if the baseline's is unknown.
    """
    total = float(
        np.nansum(
            np.asarray(explanation.values[row_index, :, column], dtype=np.float64)
        )
    )
    if explanation.base_values is None:
        return 0.0, total
    shape = (len(explanation.values), len(explanation.outputs))
    predicted = explanation.predictions
    start = float(
        np.broadcast_to(np.asarray(explanation.base_values, dtype=np.float64), shape)[
            row_index, column
        ]
    )
    return start, start + total if predicted is None else float(
        np.asarray(predicted)[row_index, column]
    )


def names_with_values(
    explanation: Explanation, row_index: int, order: npt.NDArray[np.intp], width: int
) -> list[str]:
    """Return short names of features with the row's values, if there are any."""
    player_names = values_at(explanation.names, order)
    frame = explanation.feature_values
    return [
        words
        if frame is None or player_name not in frame.columns
        else f"{words} = {value_text(frame[player_name].iloc[row_index])}"
        for words, player_name in zip(
            labels_of(player_names, width), player_names, strict=True
        )
    ]


def steps_of(
    explanation: Explanation,
    position: tuple[int, int],
    players: npt.NDArray[np.intp],
    top_n: int | None,
    width: int,
    further: Sequence[tuple[str, float]] = (),
) -> tuple[list[str], list[float]]:
    """Return names and sizes of the steps from a baseline's output to that of a row and
    output: ``position``.

    The strongest ``players`` have a step each, the others one together. ``further`` are
    names and sizes of further steps. A gap that is left is a step, too.
    """
    values = np.asarray(
        explanation.values[position[0], :, position[1]], dtype=np.float64
    )
    order = players[choices.largest(np.abs(values[players]), top_n)]
    names = names_with_values(explanation, position[0], order, width)
    steps = values[order].tolist()
    if hidden := len(players) - len(order):
        names.append(f"{hidden} other {'feature' if hidden == 1 else 'features'}")
        steps.append(
            float(np.nansum(values[players])) - float(np.nansum(values[order]))
        )
    names += [step_name for step_name, _ in further]
    steps += [step_size for _, step_size in further]
    start, final = ends_of(explanation, *position)
    remaining_gap = final - start - float(np.nansum(steps))
    if abs(remaining_gap) > 0.005 * max(
        abs(final - start), float(np.nanmax(np.abs(values), initial=0.0)), 1e-12
    ):
        names.append("not attributed")
        steps.append(remaining_gap)
    return names, steps
