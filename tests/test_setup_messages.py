"""Messages for users: every error has a code, no text has the old form, and what they
say to type is there.
"""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from collections.abc import Iterator
from functools import cache, reduce
from pathlib import Path
from typing import Any

import pytest
import typer
from docs.error_codes import CODES

import permgrad as pg
from permgrad.attribution.request import methods
from permgrad.cli.commands import app

ROOT = Path(__file__).parents[1] / "src"
PACKAGES = ("permgrad", "permgrad_benchmark")
ERRORS = ("InputError", "EnvironmentProblem", "MissingFileError", "BatchError")


@cache
def trees(folder: str) -> dict[Path, ast.Module]:
    read = {
        path: path.read_text(encoding="utf-8")
        for path in sorted((ROOT / folder).rglob("*.py"))
    }
    searched_words = (*ERRORS, "refusing", "however:")
    return {
        path: ast.parse(text)
        for path, text in read.items()
        if any(word in text for word in searched_words)
    }


@cache
def calls(folder: str) -> list[tuple[str, ast.Call]]:
    """Return the calls that make an error, each with its place."""
    return [
        (f"{path}:{node.lineno}", node)
        for path, tree in trees(folder).items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ERRORS
    ]


@cache
def faults(folder: str) -> list[tuple[str, ast.Yield]]:
    """Return what the lists of faults yield: a problem, its hint and its code."""
    functions = [
        (path, node)
        for path, tree in trees(folder).items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and any(
            isinstance(decorator, ast.Name) and decorator.id == "refusing"
            for decorator in node.decorator_list
        )
    ]
    return [
        (f"{path}:{node.lineno}", node)
        for path, function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Yield)
    ]


def texts(node: ast.AST) -> list[str]:
    return [
        constant_node.value
        for constant_node in ast.walk(node)
        if isinstance(constant_node, ast.Constant)
        and isinstance(constant_node.value, str)
    ]


@pytest.mark.parametrize("folder", PACKAGES)
def test_every_error_has_a_code_and_no_text_the_old_form(folder: str) -> None:
    for call_position, call in calls(folder):
        code = next(
            (keyword.value for keyword in call.keywords if keyword.arg == "code"), None
        )
        code = call.args[2] if code is None and len(call.args) > 2 else code
        assert code is not None, call_position
        literal = [text for text in texts(code) if text.startswith("PG")]
        # A name or an attribute is the code of another error, or an argument.
        assert literal or isinstance(code, ast.Attribute | ast.Name), call_position
        assert set(literal) <= CODES.keys(), f"{call_position}: {literal}"
    for fault_position, fault in faults(folder):
        assert isinstance(fault.value, ast.Tuple), fault_position
        assert len(fault.value.elts) == 3, fault_position
        assert {
            text for text in texts(fault.value.elts[2]) if text.startswith("PG")
        } <= CODES.keys(), fault_position
        assert texts(fault.value.elts[2]), fault_position
    for path, tree in trees(folder).items():
        if "however:" in path.read_text(encoding="utf-8"):  # in a comment, perhaps
            assert not [text for text in texts(tree) if "however:" in text], path


def test_many_errors_are_seen() -> None:
    assert sum(len(calls(folder)) for folder in PACKAGES) > 400
    assert sum(len(faults(folder)) for folder in PACKAGES) > 80
    assert all(re.fullmatch(r"PG\d{3}", code) for code in CODES)


# ---- what messages say to type -------------------------------------------------------
def said(path: Path) -> Iterator[str]:
    """Yield the texts in a file that are no docstrings, with … in the place of
    values.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr | ast.Expr | ast.Constant)
    ]
    joined_strings = [node for node in nodes if isinstance(node, ast.JoinedStr)]
    within = {id(string_part) for node in joined_strings for string_part in node.values}
    within |= {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in joined_strings:
        yield "".join(
            string_part.value if isinstance(string_part, ast.Constant) else "…"
            for string_part in node.values
        )
    yield from (
        node.value
        for node in nodes
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in within
    )


def options(command: Any, path: str = "permgrad") -> Iterator[tuple[str, set[str]]]:
    """Yield each command with its options."""
    for name, subcommand in getattr(command, "commands", {}).items():
        yield from options(subcommand, f"{path} {name}")
    yield (
        path,
        {
            flag
            for parameter in command.params
            for flag in (*parameter.opts, *parameter.secondary_opts)
        },
    )


#: Of Python's and Ray's own, and of the group of all commands.
OTHER_FLAGS = {"--help", "--head", "--version", "--no-"}


def test_what_messages_say_to_type_is_there() -> None:
    commands = dict(options(typer.main.get_command(app)))
    flags = set().union(OTHER_FLAGS, *commands.values())
    extras = set(
        tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"][
            "optional-dependencies"
        ]
    )
    wrong = []
    for path in sorted((ROOT / "permgrad").rglob("*.py")):
        for text in said(path):
            typed = {
                flag
                for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)
                if flag not in flags
            }
            named = re.findall(
                r"method=['\"]([\w-]+)['\"]|--method ([a-z][\w-]+)", text
            )
            typed |= {
                method
                for pair in named
                for method in pair
                if method and method not in methods
            }
            typed |= {name for name in re.findall(r"`?permgrad ([a-z]+) (?:--|[A-Z]{2})", text)
                      if f"permgrad {name}" not in commands}  # fmt: skip
            typed |= {
                page
                for page in re.findall(r"docs/[\w-]+\.md", text)
                if not (ROOT.parent / page).is_file()
            }
            typed |= {
                names
                for names in re.findall(r"permgrad\[([\w,]+)\]", text)
                if not {*names.split(",")} <= extras
            }
            for call, arguments in re.findall(
                r"\bpg\.((?:methods\.)?\w+)(?:\(([^()]*)\))?", text
            ):
                called = reduce(
                    lambda place, name: getattr(place, name, None), call.split("."), pg
                )
                accepted_parameters = (
                    inspect.signature(called).parameters if callable(called) else {}
                )
                typed |= (
                    {call}
                    if called is None
                    else {*re.findall(r"(\w+)=", arguments)} - {*accepted_parameters}
                )
            wrong += (
                [f"{path.name}: {', '.join(sorted(typed))} in {text!r}"]
                if typed
                else []
            )
    assert not wrong
