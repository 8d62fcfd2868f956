"""Messages for users: every error has a code, and no text has the old form of a message."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from docs.error_codes import CODES

ROOT = Path(__file__).parents[1] / "src"
PACKAGES = ("permgrad", "permgrad_benchmark")
ERRORS = ("InputError", "EnvironmentProblem", "MissingFileError", "BatchError")


@cache
def trees(folder: str) -> dict[Path, ast.Module]:
    read = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / folder).rglob("*.py"))}
    asked = (*ERRORS, "refusing", "however:")
    return {path: ast.parse(text) for path, text in read.items() if any(word in text for word in asked)}


def calls(folder: str) -> Iterator[tuple[str, ast.Call]]:
    for path, tree in trees(folder).items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
                yield f"{path}:{node.lineno}", node


def faults(folder: str) -> Iterator[tuple[str, ast.Yield]]:
    """Yield what the lists of faults yield: a problem, its hint and its code."""
    for path, tree in trees(folder).items():
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and any(
                isinstance(one, ast.Name) and one.id == "refusing" for one in function.decorator_list
            ):
                yield from (
                    (f"{path}:{node.lineno}", node) for node in ast.walk(function) if isinstance(node, ast.Yield)
                )


def texts(node: ast.AST) -> list[str]:
    return [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]


@pytest.mark.parametrize("folder", PACKAGES)
def test_every_error_has_a_code_and_no_text_the_old_form(folder: str) -> None:
    for place, call in calls(folder):
        code = next((keyword.value for keyword in call.keywords if keyword.arg == "code"), None)
        code = call.args[2] if code is None and len(call.args) > 2 else code
        assert code is not None, place
        literal = [text for text in texts(code) if text.startswith("PG")]
        # A name or an attribute is the code of another error, or an argument.
        assert literal or isinstance(code, ast.Attribute | ast.Name), place
        assert set(literal) <= CODES.keys(), f"{place}: {literal}"
    for place, fault in faults(folder):
        assert isinstance(fault.value, ast.Tuple), place
        assert len(fault.value.elts) == 3, place
        assert {text for text in texts(fault.value.elts[2]) if text.startswith("PG")} <= CODES.keys(), place
        assert texts(fault.value.elts[2]), place
    for path, tree in trees(folder).items():
        assert not [text for text in texts(tree) if "however:" in text], path


def test_many_errors_are_seen() -> None:
    assert sum(len(list(calls(folder))) for folder in PACKAGES) > 400
    assert sum(len(list(faults(folder))) for folder in PACKAGES) > 80
    assert all(re.fullmatch(r"PG\d{3}", code) for code in CODES)
