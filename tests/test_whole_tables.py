"""Registries and tables of names are whole: what is registered anywhere is there once a
registry is imported, and a table that repeats names of a registry has all of them, or
is listed here as a choice of some.
"""

from __future__ import annotations

import ast
import importlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from permgrad.base.registry import Registry

SOURCE = Path(__file__).parents[1] / "src"
#: A table of names has so large a share of a registry's names, and of them made.
LEAST_SHARE = 1 / 3
MOST_OTHERS = 1 / 2


@dataclass(frozen=True)
class Whole:
    """A table with every name of a registry, but for those that it has for a reason."""

    registry: str
    without: frozenset[str] = frozenset()
    further: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Some:
    """A table of chosen names of a registry, and why these."""

    registry: str
    reason: str
    further: frozenset[str] = frozenset()


#: By the name of the table.
TABLES: Mapping[str, Whole | Some] = {
    "MEANINGS": Whole("metrics", further=frozenset({"quadratic_kappa"})),
    "BASELINES": Whole("baselines"),
    "DATA_SETS": Whole("cards"),
    "LAYOUTS": Whole("layouts"),
    "METHODS": Whole("methods"),
    # Of counts alone.
    "METRICS": Whole("metrics", without=frozenset({"poisson_deviance"})),
    # No user asks for a constant column.
    "KINDS": Whole("kinds", without=frozenset({"constant"})),
    "PRESETS": Whole("presets", further=frozenset({"FILE.json"})),
    "_SHAPES": Some("layouts", "are tested for an order"),
    "_UP_TO_1": Some("metrics", "end at 1", further=frozenset({"r2_of_ranks"})),
    "TUNED": Some(
        "baselines", "have settings to search", further=frozenset({"network"})
    ),
    "_PUBLISHED": Some("presets", "are published"),
    "CANDIDATES": Some(
        "baselines", "are tried by --model auto", further=frozenset({"network"})
    ),
    "_HYBRID": Some("presets", "read rows in two ways"),
    "SEARCHED": Some("baselines", "have settings to search"),
    "_START": Some("baselines", "have settings to start from"),
}


@cache
def parsed() -> dict[str, ast.Module]:
    modules = {}
    for path in sorted((SOURCE / "permgrad").rglob("*.py")):
        name = path.relative_to(SOURCE / "permgrad").with_suffix("").as_posix()
        modules[name] = ast.parse(path.read_text(encoding="utf-8"))
    return modules


def assigned(module: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Yield the names of a module and the expressions that they get."""
    for statement in module.body:
        if isinstance(statement, ast.AnnAssign):
            target, value = statement.target, statement.value
        elif isinstance(statement, ast.Assign):
            target, value = statement.targets[0], statement.value
        else:
            continue
        if (
            isinstance(target, ast.Name)
            and target.id != "__all__"
            and value is not None
        ):
            yield target.id, value


def texts_in(node: ast.expr) -> list[str]:
    """Return the texts of a literal collection, of a mapping its keys."""
    if isinstance(node, ast.Call) and node.args:
        return texts_in(node.args[0])
    if isinstance(node, ast.Dict):
        members = [key for key in node.keys if key is not None]
    elif isinstance(node, ast.Tuple | ast.List | ast.Set):
        members = node.elts
    else:
        members = []
    texts = []
    for member in members:
        if isinstance(member, ast.Starred):
            texts += texts_in(member.value)
        elif isinstance(member, ast.Constant) and isinstance(member.value, str):
            texts.append(member.value)
    return texts


@cache
def classes_of_registries() -> set[str]:
    """Return the names of ``Registry`` and of its subclasses."""
    names = {Registry.__name__}
    for module in parsed().values():
        for node in module.body:
            if isinstance(node, ast.ClassDef):
                bases = {ast.unparse(base).partition("[")[0] for base in node.bases}
                if Registry.__name__ in bases:
                    names.add(node.name)
    return names


def is_registry(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in classes_of_registries()
    )


@cache
def registries() -> dict[str, Registry]:
    """Return every registry of the library, filled as users find it."""
    importlib.import_module("permgrad.attribution")
    found = {}
    for name, module in parsed().items():
        for variable, value in assigned(module):
            if is_registry(value):
                assert variable not in found, f"two registries are called {variable}"
                imported = importlib.import_module(f"permgrad.{name.replace('/', '.')}")
                found[variable] = getattr(imported, variable)
    return found


def registered_in_source() -> dict[str, set[str]]:
    """Return the names in calls of ``register``, by the variable of the registry."""
    names = defaultdict(set)
    for module in parsed().values():
        for node in ast.walk(module):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "register"
                and isinstance(node.func.value, ast.Name)
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                names[node.func.value.id].add(node.args[0].value)
    return names


@cache
def tables_of_names() -> dict[str, tuple[set[str], str]]:
    """Return the tables that repeat names of a registry, each with the registry that it
    fits best.
    """
    tables = {}
    for module in parsed().values():
        for variable, value in assigned(module):
            texts = set(texts_in(value))
            best = max(
                registries(),
                key=lambda registry: len(texts & set(registries()[registry])),
            )
            shared = len(texts & set(registries()[best]))
            share = shared / len(registries()[best])
            if (
                shared > 1
                and share >= LEAST_SHARE
                and shared / len(texts) > MOST_OTHERS
            ):
                assert variable not in tables, f"two tables are called {variable}"
                tables[variable] = texts, best
    return tables


def test_there_are_registries_and_tables_to_compare() -> None:
    assert {"methods", "layouts", "metrics", "tasks"} <= set(registries())
    assert min(map(len, registries().values())) > 0
    assert "METHODS" in tables_of_names()


def test_what_is_registered_is_there_once_the_registry_is_imported() -> None:
    for variable, names in registered_in_source().items():
        if variable in registries():
            assert names <= set(registries()[variable]), f"{variable} lacks an import"


def test_every_table_of_names_is_compared_with_its_registry() -> None:
    assert set(tables_of_names()) == set(TABLES)


@pytest.mark.parametrize("table", TABLES)
def test_a_table_has_the_names_of_its_registry(table: str) -> None:
    texts, registry = tables_of_names()[table]
    expected = TABLES[table]
    assert registry == expected.registry
    names = set(registries()[registry])
    assert not expected.further & names
    assert texts <= names | expected.further
    if isinstance(expected, Whole):
        assert names - texts == expected.without
