"""Packages that permgrad can do without."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from permgrad.base.errors import EnvironmentProblem


def optional(name: str, install: str | None = None) -> Any:
    """Return a module, or raise ``EnvironmentProblem`` with the package to install."""
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        missing = isinstance(error, ModuleNotFoundError) and error.name == package
        problem = f"{package} is not installed." if missing else f"{package} cannot be imported: {error}."
        raise EnvironmentProblem(problem, hint=f"Run: pip install '{install or package}'", code="PG060") from None
