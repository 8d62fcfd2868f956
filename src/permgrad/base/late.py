"""pandas and pyarrow, loaded when they are first used. To explain a network on tensors takes neither."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

__all__ = ["is_frame", "is_pandas", "is_series", "pa", "pc", "pd"]

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc
    from typing_extensions import TypeIs
else:
    from importlib import import_module
    from types import ModuleType

    class _Late(ModuleType):
        def __getattr__(self, name: str) -> object:
            return getattr(import_module(self.__name__), name)

    pd, pa, pc = _Late("pandas"), _Late("pyarrow"), _Late("pyarrow.compute")


def is_frame(value: object) -> TypeIs[pd.DataFrame]:
    """Say whether a value is a frame of pandas. Before pandas is loaded, nothing is."""
    return "pandas" in sys.modules and isinstance(value, pd.DataFrame)


def is_series(value: object) -> TypeIs[pd.Series[Any]]:
    """Say whether a value is a column of pandas. Before pandas is loaded, nothing is."""
    return "pandas" in sys.modules and isinstance(value, pd.Series)


def is_pandas(value: object) -> TypeIs[pd.DataFrame | pd.Series[Any]]:
    """Say whether a value is a frame or a column of pandas."""
    return is_frame(value) or is_series(value)
