"""Frames in the library that the user works with."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from permgrad.base.arrays import Integers
from permgrad.base.checks import check_choice
from permgrad.base.late import optional, pd
from permgrad.base.sequences import values_at

Library = Literal["pandas", "polars", "pyarrow"]


def as_library(frame: pd.DataFrame, library: Library) -> Any:
    """Return a frame of pandas as one of polars, or as a table of pyarrow, without its
    index.
    """
    check_choice("library", library, ("pandas", "polars", "pyarrow"))
    if library == "pandas":
        return frame
    # A column of numbers and texts is one of texts there.
    for name, column in frame.items():
        if pd.api.types.infer_dtype(column).startswith("mixed"):
            frame = frame.assign(**{str(name): column.astype(str)})
    table = (
        optional("pyarrow")
        .Table.from_pandas(frame, preserve_index=False)
        .replace_schema_metadata()
    )
    if library == "polars":
        return optional("polars").from_arrow(table)
    return table


def stacked(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return frames with the same columns one below the other, rows numbered from 0."""
    if len(frames) == 1:
        return frames[0].reset_index(drop=True)
    # Parts may list other levels, and pandas would make plain text or numbers of them.
    joined = dict[str, Any]()
    for column_name in frames[0]:
        kinds = {frame[column_name].dtype for frame in frames}
        if len(kinds) > 1 and all(
            isinstance(column_type, pd.CategoricalDtype) and not column_type.ordered
            for column_type in kinds
        ):
            joined[str(column_name)] = pd.api.types.union_categoricals(
                [frame[column_name] for frame in frames]
            )
    return pd.concat(frames, ignore_index=True).assign(**joined)


def taken(inputs: Any, row_indices: Integers, rows: int) -> Any:  # noqa: PLR0911 — one return for each kind of input
    """Return some rows of inputs: of each tensor, array, frame, list of texts or
    records in a structure.
    """
    if isinstance(inputs, Mapping):
        return {
            input_name: taken(single_input, row_indices, rows)
            for input_name, single_input in inputs.items()
        }
    if hasattr(inputs, "iloc") or hasattr(inputs, "get_columns"):  # of pandas or polars
        return (
            inputs.iloc[row_indices] if hasattr(inputs, "iloc") else inputs[row_indices]
        )
    torch = sys.modules.get("torch")  # is not loaded for a table
    if torch is not None and isinstance(inputs, torch.Tensor):
        return inputs[torch.from_numpy(row_indices).to(inputs.device)]
    if isinstance(inputs, (list, tuple)):
        if len(inputs) == rows and not any(
            np.ndim(list_entry) and len(list_entry) == rows for list_entry in inputs
        ):
            return values_at(inputs, row_indices)
        taken_inputs = [
            taken(sequence_entry, row_indices, rows) for sequence_entry in inputs
        ]
        return (
            type(inputs)(*taken_inputs)
            if hasattr(inputs, "_fields")
            else type(inputs)(taken_inputs)
        )
    if inputs is None or isinstance(inputs, np.ndarray) or not hasattr(inputs, "take"):
        return None if inputs is None else np.asarray(inputs)[row_indices]
    return inputs.take(row_indices)
