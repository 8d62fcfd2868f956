"""Packages that are loaded when they are first used: pandas, pyarrow, torch where
numbers of a page need none, and those that permgrad can do without.

To explain a network on tensors takes none of them. The help of the command line does
not take NumPy either.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from permgrad.base.errors import EnvironmentProblem

__all__ = [
    "is_frame",
    "is_pandas",
    "is_series",
    "np",
    "optional",
    "pa",
    "pc",
    "pd",
    "pq",
    "standing_in",
    "torch",
]


class _Late(ModuleType):
    def __getattr__(self, name: str) -> object:
        value = getattr(import_module(self.__name__), name)
        setattr(self, name, value)  # not asked for again
        return value


class _StandIn(_Late):
    """A module among the loaded ones that makes room for the real one when it is first
    used.
    """

    def __init__(self, name: str, functions: Collection[str] = ()) -> None:
        super().__init__(name)
        self._functions = functions

    def __getattr__(self, name: str) -> object:
        if name in self._functions:
            return self._when_called(name)
        # Libraries look through all loaded modules for names such as __file__. The path
        # counts where a module inside it is imported, not where a name is.
        asking_file = sys._getframe(1).f_code.co_filename  # noqa: SLF001
        is_module_inside = name == "__path__" and "importlib" in asking_file
        if name.startswith("__") and not is_module_inside:
            raise AttributeError(name)
        return self._loaded(name)

    def _when_called(self, name: str) -> Callable[..., Any]:
        """Return a function that loads the module when it is called."""

        def function(*arguments: Any, **options: Any) -> Any:
            loaded_function = self._loaded(name)
            return loaded_function(*arguments, **options)

        return function

    def _loaded(self, name: str) -> Any:
        _take_away(self)
        return super().__getattr__(name)


def _take_away(stand_in: _StandIn) -> None:
    if sys.modules.get(stand_in.__name__) is stand_in:
        del sys.modules[stand_in.__name__]


@contextmanager
def standing_in(name: str, functions: Collection[str] = ()) -> Iterator[None]:
    """Let others import a module that they may not use: it is loaded when it is used.

    It is for a process of our own: the modules of others are theirs.

    ``functions``: what others import from it by name, and may not call.
    """
    if name in sys.modules:
        yield
        return
    stand_in = _StandIn(name, functions)
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        _take_away(stand_in)


if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
    import torch
    from typing_extensions import TypeIs
else:
    np = _Late("numpy")
    pd = _Late("pandas")
    pa = _Late("pyarrow")
    pc = _Late("pyarrow.compute")
    pq = _Late("pyarrow.parquet")
    torch = _Late("torch")


def is_frame(value: object) -> TypeIs[pd.DataFrame]:
    """Say whether a value is a frame of pandas. Before pandas is loaded, nothing is."""
    return "pandas" in sys.modules and isinstance(value, pd.DataFrame)


def is_series(value: object) -> TypeIs[pd.Series[Any]]:
    """Say whether a value is a column of pandas.

    Before pandas is loaded, nothing is.
    """
    return "pandas" in sys.modules and isinstance(value, pd.Series)


def is_pandas(value: object) -> TypeIs[pd.DataFrame | pd.Series[Any]]:
    """Say whether a value is a frame or a column of pandas."""
    return is_frame(value) or is_series(value)


def optional(name: str, install: str | None = None) -> Any:
    """Return a module, or raise ``EnvironmentProblem`` with the package to install."""
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        missing = isinstance(error, ModuleNotFoundError) and error.name == package
        if missing:
            problem = f"{package} is not installed."
        else:
            problem = f"{package} cannot be imported: {error}."
        raise EnvironmentProblem(
            problem, hint=f"Run: pip install '{install or package}'", code="PG060"
        ) from None
