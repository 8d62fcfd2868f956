"""Frames in the library that the user works with."""

from __future__ import annotations

from typing import Any, Literal

from permgrad.base.checks import check_choice
from permgrad.base.late import pd
from permgrad.base.optional import optional

Library = Literal["pandas", "polars", "pyarrow"]


def as_library(frame: pd.DataFrame, library: Library) -> Any:
    """Return a frame of pandas as one of polars, or as a table of pyarrow, without its index."""
    check_choice("library", library, ("pandas", "polars", "pyarrow"))
    if library == "pandas":
        return frame
    table = optional("pyarrow").Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
    return optional("polars").from_arrow(table) if library == "polars" else table
