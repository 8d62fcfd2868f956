"""Refusals with the codes of models that fail: where the source raises them, and what
each entry of the sweep holds.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CODES = ("PG032", "PG033")
#: What stands in a stem for a value.
VALUE = "…"


@dataclass(frozen=True)
class Refusal:
    """A place that raises, a call that meets it, and the remedy that its message names,
    typed.

    Where no code can be typed, ``reason`` says why, and ``remedied`` is the same call
    after the user changed what the message says.
    """

    file: str
    stem: str  # the message as the source spells it, ``…`` for a value
    refused: Callable[[], Any]
    named: str  # a part of the message
    remedied: Callable[[], Any]
    reason: str = ""

    @property
    def pattern(self) -> str:
        """The stem as a regular expression."""
        return ".*".join(re.escape(text_piece) for text_piece in self.stem.split(VALUE))


def raises_of(source: Path) -> Iterator[tuple[str, str]]:
    """Yield file and stem of each error that the source makes with one of the codes."""
    for path in sorted(source.rglob("*.py")):
        code = path.read_text(encoding="utf-8")
        if not any(error_name in code for error_name in CODES):
            continue
        tree = ast.parse(code)
        functions = [
            node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
        ]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _has_code(node):
                around = [
                    function_node
                    for function_node in functions
                    if function_node.lineno
                    <= node.lineno
                    <= (function_node.end_lineno or 0)
                ]
                yield path.relative_to(source).as_posix(), _text(node.args[0], around)


def _has_code(call: ast.Call) -> bool:
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    return any(
        isinstance(value, ast.Constant) and value.value in CODES for value in values
    )


def _text(node: ast.expr, functions: list[ast.FunctionDef]) -> str:
    """Return what an expression spells, through names that are assigned strings."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(string_piece, functions) for string_piece in node.values)
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, functions)
    if isinstance(node, ast.Name):
        value = _assigned(node, functions)
        if isinstance(value, ast.Constant | ast.JoinedStr):
            return _text(value, functions)
    return VALUE


def _assigned(name: ast.Name, functions: list[ast.FunctionDef]) -> ast.expr | None:
    """Return the last expression that is assigned to a name before it is read.

    None, if it is one of two that are chosen from.
    """
    latest: ast.expr | None = None
    for function in functions:
        for node in ast.walk(function):
            if not isinstance(node, ast.Assign) or node.lineno > name.lineno:
                continue
            for target, value in _pairs(node):
                if isinstance(target, ast.Name) and target.id == name.id:
                    later = latest is None or value.lineno > latest.lineno
                    latest = value if later else latest
    for function in functions:
        for node in ast.walk(function):
            if isinstance(node, ast.If) and latest is not None:
                is_inside = node.lineno < latest.lineno <= (node.end_lineno or 0)
                if is_inside and name.lineno > (node.end_lineno or 0):
                    return None
    return latest


def _pairs(node: ast.Assign) -> list[tuple[ast.expr, ast.expr]]:
    [target, *_] = node.targets
    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
        return list(zip(target.elts, node.value.elts, strict=True))
    return [(target, node.value)]
