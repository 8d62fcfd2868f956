"""Frames in the library that the user works with."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from permgrad.base.arrays import Integers
from permgrad.base.checks import check_choice
from permgrad.base.late import optional, pd

Library = Literal["pandas", "polars", "pyarrow"]


def as_library(frame: pd.DataFrame, library: Library) -> Any:
    """Return a frame of pandas as one of polars, or as a table of pyarrow, without its index."""
    check_choice("library", library, ("pandas", "polars", "pyarrow"))
    if library == "pandas":
        return frame
    table = (
        optional("pyarrow")
        .Table.from_pandas(frame, preserve_index=False)
        .replace_schema_metadata()
    )
    return optional("polars").from_arrow(table) if library == "polars" else table


def stacked(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return frames with the same columns one below the other, rows numbered from 0."""
    if len(frames) == 1:
        return frames[0].reset_index(drop=True)
    # Parts may list other levels, and pandas would make plain text or numbers of them.
    joined = dict[str, Any]()
    for name in frames[0]:
        kinds = {frame[name].dtype for frame in frames}
        if len(kinds) > 1 and all(
            isinstance(kind, pd.CategoricalDtype) and not kind.ordered for kind in kinds
        ):
            joined[str(name)] = pd.api.types.union_categoricals(
                [frame[name] for frame in frames]
            )
    return pd.concat(frames, ignore_index=True).assign(**joined)


def taken(inputs: Any, places: Integers, rows: int) -> Any:  # noqa: PLR0911 — one return for each kind of input
    """Return some rows of inputs: of each tensor, array, frame, list of texts or records in a structure."""
    if isinstance(inputs, Mapping):
        return {name: taken(each, places, rows) for name, each in inputs.items()}
    if hasattr(inputs, "iloc") or hasattr(inputs, "get_columns"):  # of pandas or polars
        return inputs.iloc[places] if hasattr(inputs, "iloc") else inputs[places]
    torch = sys.modules.get("torch")  # is not loaded for a table
    if torch is not None and isinstance(inputs, torch.Tensor):
        return inputs[torch.from_numpy(places).to(inputs.device)]
    if isinstance(inputs, (list, tuple)):
        if len(inputs) == rows and not any(
            np.ndim(each) and len(each) == rows for each in inputs
        ):
            return [inputs[place] for place in places]
        parts = [taken(each, places, rows) for each in inputs]
        return (
            type(inputs)(*parts) if hasattr(inputs, "_fields") else type(inputs)(parts)
        )
    if inputs is None or isinstance(inputs, np.ndarray) or not hasattr(inputs, "take"):
        return None if inputs is None else np.asarray(inputs)[places]
    return inputs.take(places)
