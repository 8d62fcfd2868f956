"""Every registered method is written again, slowly, somewhere in the tests."""

from __future__ import annotations

import ast
from pathlib import Path

from permgrad.attribution import methods

TESTS = Path(__file__).parents[1]


def replicated() -> dict[str, str]:
    """Return where the slow twin of each method stands."""
    places = {}
    for path in sorted(TESTS.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "@replicates(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            for decorator in getattr(node, "decorator_list", []):
                is_mark = isinstance(decorator, ast.Call) and (
                    ast.unparse(decorator.func) == "replicates"
                )
                if is_mark:
                    method = ast.literal_eval(decorator.args[0])
                    assert method not in places, f"two twins of {method}"
                    places[method] = f"{path.name}: {node.name}"
    return places


def test_every_method_has_a_slow_twin() -> None:
    assert set(replicated()) == set(methods)
