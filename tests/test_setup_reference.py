"""Every public name has an example that runs: in its docstring or in that of its
class.
"""

from __future__ import annotations

import doctest
import inspect
import re
from operator import attrgetter

import pytest

import permgrad as pg
from permgrad.attribution import methods
from permgrad.data.encode.encoding import TableEncoder
from permgrad.pages.plots import PlotFigure
from permgrad.pages.plots.plot_methods import PlotAccessor

PUBLIC = [
    name
    for name in pg.__all__
    if not name.startswith("_") and not inspect.ismodule(getattr(pg, name))
]
CLASSES = [getattr(pg, name) for name in PUBLIC if inspect.isclass(getattr(pg, name))]


def example(*entries: object) -> str:
    """Return the code of the examples in docstrings."""
    read = doctest.DocTestParser().get_examples
    return "".join(
        doc_example.source
        for entry in entries
        for doc_example in read(inspect.getdoc(entry) or "")
    )


def members(kind: type) -> list[str]:
    """Return the public methods and properties that permgrad defines for a class,
    without those of other packages.
    """
    other_bases = [
        base_class
        for base_class in kind.__mro__
        if not base_class.__module__.startswith("permgrad")
        or base_class is TableEncoder
    ]
    names = [
        name
        for name in dir(kind)
        if not name.startswith("_")
        and not any(name in vars(base_class) for base_class in other_bases)
    ]
    entries = {name: inspect.getattr_static(kind, name) for name in names}
    functions = {
        name: getattr(entry, "fget", getattr(entry, "__func__", entry))
        for name, entry in entries.items()
    }
    return [
        name
        for name, function_object in functions.items()
        if str(getattr(function_object, "__module__", "")).startswith("permgrad")
    ]


@pytest.mark.parametrize(
    "name", [*PUBLIC, *(f"integrations.{name}" for name in dir(pg.integrations))]
)
def test_every_public_name_has_an_example(name):
    assert example(attrgetter(name)(pg))


@pytest.mark.parametrize("name", methods)
def test_every_method_has_an_example_that_calls_it(name):
    kind = methods.get(name)
    assert re.search(rf'method="{name}"|\b{kind.__name__}\(', example(kind))


def test_every_member_of_a_public_class_is_in_an_example():
    kinds = [*CLASSES, PlotAccessor, PlotFigure]
    # The examples of a class also show what it inherits; the two estimators share
    # theirs.
    shown = {
        kind: example(*kind.__mro__, *[pg.HyNNClassifier] * (kind is pg.HyNNRegressor))
        for kind in kinds
    }
    entries = [(kind, name) for kind in kinds for name in members(kind)]
    assert len(entries) > 30
    left_out = [
        f"{kind.__name__}.{name}"
        for kind, name in entries
        if not example(getattr(kind, name))
        and not re.search(rf"\.{name}\b", shown[kind])
    ]
    assert left_out == []
