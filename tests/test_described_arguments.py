"""Every public function and method with two or more parameters describes them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import permgrad as pg
from permgrad.evaluation.comparison import Comparison
from permgrad.pages.plots.plot_methods import PlotAccessor
from permgrad.pages.report import Report

SECTIONS = ("Args:", "Attributes:", "Options:")
#: What calls return.
RETURNED = (Comparison, PlotAccessor, Report)


def public_objects() -> Iterator[tuple[str, Any]]:
    for name in dir(pg):
        entry = getattr(pg, name)
        yield name, entry
        if inspect.ismodule(entry):
            for inner_name in dir(entry):
                yield f"{name}.{inner_name}", getattr(entry, inner_name)
    for returned in RETURNED:
        yield returned.__name__, returned


def public_functions() -> Iterator[tuple[str, Any]]:
    for name, entry in public_objects():
        if not str(getattr(entry, "__module__", "")).startswith("permgrad"):
            continue
        is_warning = inspect.isclass(entry) and issubclass(entry, Warning)
        if callable(entry) and not is_warning and not inspect.ismodule(entry):
            yield name, entry
        if inspect.isclass(entry):
            for method_name, member in vars(entry).items():
                function = getattr(member, "__func__", member)
                if inspect.isfunction(function) and not method_name.startswith("_"):
                    yield f"{name}.{method_name}", function


def undescribed(function: Any) -> bool:
    """Return whether two or more parameters have no section of the docstring."""
    parameters = set(inspect.signature(function).parameters) - {"self", "cls"}
    text = inspect.getdoc(function) or ""
    return len(parameters) > 1 and not any(section in text for section in SECTIONS)


def test_every_public_function_describes_its_parameters():
    functions = dict(public_functions())
    assert len(functions) > 60
    assert "PlotAccessor.bar" in functions
    assert [name for name in functions if undescribed(functions[name])] == []


def test_one_without_a_section_would_be_found():
    def described(first, second):
        """Add two numbers."""

    def lone(first):
        """Return it."""

    assert undescribed(described)
    assert not undescribed(lone)
