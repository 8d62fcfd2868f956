"""The registry of suites: what ``permgrad benchmark SUITE`` can run.

A new suite is a folder beside this file whose ``__init__`` registers an object with the attributes of :class:`Suite`;
:func:`load_suites` finds it.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, Protocol

from permgrad.base.registry import Registry
from permgrad_benchmark.records import Record
from permgrad_benchmark.settings import Settings


class Suite(Protocol):
    """A design with known truth.

    Attributes:
        name: Its name on the command line and in ``results.csv``.
        title: A line for people.
    """

    name: str
    title: str

    @property
    def functions(self) -> tuple[str, ...]:
        """Names of its known functions."""
        ...

    def methods(self, settings: Settings) -> tuple[str, ...]:
        """Return the names of the contestants that would take part, in the order of the tables."""
        ...

    def run(self, function: str, seed: int, settings: Settings) -> list[Record]:
        """Compute one cell: draw, train, explain, score. The same arguments give the same figures, times apart."""
        ...

    def facts(self, settings: Settings) -> dict[str, Any]:
        """Return what the page should say: ``{"contestants": {name: {...}}, "estimands": {name: words}, ...}``."""
        ...


suites: Registry[Suite] = Registry("suite")
"""All suites by name; call :func:`load_suites` first, which imports the modules that register them."""


def load_suites() -> Registry[Suite]:
    """Import every folder of suites and return the registry.

    Examples:
        >>> "tabular" in load_suites()
        True
    """
    package = importlib.import_module(__package__ or "permgrad_benchmark")
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda entry: entry.name):
        if module.ispkg:
            importlib.import_module(f"{package.__name__}.{module.name}")
    return suites
