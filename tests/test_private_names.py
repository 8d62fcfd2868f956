"""No package of the library uses a private name of another: neither an import, nor an
attribute.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1] / "src"


def package(path: Path) -> str:
    """Return the first folder within the library."""
    return "/".join(path.parts[:2])


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def defined(nodes: list[ast.AST]) -> Iterator[str]:
    """Yield the private names that a file defines."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def used(nodes: list[ast.AST]) -> Iterator[tuple[int, str, str | None]]:
    """Yield the line, the name and, of an import, the package of every private name
    that is not one's own.
    """
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "permgrad"
        ):
            source = "/".join((node.module or "").split(".")[:2])
            yield from ((node.lineno, alias.name, source) for alias in node.names)
        elif isinstance(node, ast.Attribute):
            is_own_name = isinstance(node.value, ast.Name) and node.value.id in (
                "self",
                "cls",
            )
            if not is_own_name:
                yield node.lineno, node.attr, None


def test_private_names_stay_within_their_package() -> None:
    files = sorted(ROOT.rglob("*.py"))
    owners = defaultdict[str, set[str]](set)
    uses = []
    for file in files:
        # No tree outlives its file: they are large, and garbage collection walks them.
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        path = file.relative_to(ROOT)
        for name in filter(is_private, defined(nodes)):
            owners[name].add(package(path))
        uses += [(path, *use) for use in used(nodes) if is_private(use[1])]
    foreign_names = [
        f"{path}:{line} {name}"
        for path, line, name, source in uses
        # Names that the library does not define are another library's.
        if owners[name] and package(path) not in ({source} if source else owners[name])
    ]
    assert not foreign_names
    assert len(owners) > 500, "names are seen"
