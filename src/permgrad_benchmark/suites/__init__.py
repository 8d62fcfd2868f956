"""The registry of suites: what ``permgrad benchmark SUITE`` can run.

A new suite is a folder beside this file whose ``__init__`` registers a :class:`Suite`.
:func:`load_suites` finds it.
"""

from __future__ import annotations

import importlib
import pkgutil

from permgrad.base.registry import Registry
from permgrad_benchmark.suites.suite import Suite

__all__ = ["Suite", "load_suites", "suites"]

suites: Registry[Suite] = Registry("suite")
"""All suites by name; call :func:`load_suites` first, which imports the modules that
register them."""


def load_suites() -> Registry[Suite]:
    """Import every folder of suites and return the registry."""
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda entry: entry.name):
        if module.ispkg:
            importlib.import_module(f"{__name__}.{module.name}")
    return suites
