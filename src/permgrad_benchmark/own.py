"""Methods and functions of a user's own modules, which enter a benchmark by
``MODULE:NAME``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from permgrad.attribution import methods
from permgrad.attribution.request import Configured
from permgrad.base.errors import InputError, error_in_words, turned
from permgrad.base.files import file_hash
from permgrad.runs.requests import BenchmarkRequest
from permgrad_benchmark.contestants import enrolled
from permgrad_benchmark.suites import Suite


class Entered(NamedTuple):
    """A request with the names of what has entered, and the hash of each own file."""

    request: BenchmarkRequest
    files: dict[str, str]


def enter_own(request: BenchmarkRequest, suites: Sequence[Suite]) -> Entered:
    """Enter what a request names as ``MODULE:NAME`` into the suites.

    Raises:
        InputError: There is no such module or name, or it is of no kind that enters.
    """
    enrolled_names = {name for suite in suites for name in enrolled(suite.name)}
    files: dict[str, str] = {}
    method_names = []
    for word in request.methods:
        if ":" in word and word not in enrolled_names:
            method_names.append(_enter_method(word, suites, files))
        else:
            method_names.append(word)
    function_names = []
    for word in request.functions:
        if ":" in word:
            function_names.append(_enter_function(word, suites, files))
        else:
            function_names.append(word)
    named = replace(
        request, methods=tuple(method_names), functions=tuple(function_names)
    )
    return Entered(named, files)


def _imported(word: str, option: str, files: dict[str, str]) -> Any:
    """Return what a word names. Its module may lie in this folder."""
    module_name, _, name = word.partition(":")
    folder = str(Path.cwd())

    def said(error: Exception) -> InputError:
        hint = f"Name a class or an object in {module_name}, as MODULE:NAME."
        if isinstance(error, ModuleNotFoundError):
            hint = f"Start permgrad where {module_name}.py is, or install it."
        return InputError(f"{option} {word}: {error_in_words(error)}", hint, "PG031")

    sys.path.insert(0, folder)
    try:
        with turned(said):
            module = import_module(module_name)
            value = getattr(module, name)
    finally:
        sys.path.remove(folder)
    if module.__file__ is not None:
        files[module_name] = file_hash(Path(module.__file__))
    return value


def _enter_method(word: str, suites: Iterable[Suite], files: dict[str, str]) -> str:
    """Enter a method, and return the name under which it is registered."""
    method = _imported(word, "--methods", files)
    if not (isinstance(method, type) and issubclass(method, Configured)):
        problem = f"--methods {word} is no method"
        hint = "Name a class with Configured as its base (docs/extending.md)."
        raise InputError(problem, hint, "PG031")
    name = next((one for one, entry in methods.items() if entry is method), None)
    if name is None:
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", method.__name__).lower()
        if name in methods:
            problem = f"--methods {word}: there is a method {name!r} already"
            raise InputError(problem, "Give the class another name.", "PG003")
        methods.register(name)(method)
    for suite in suites:
        suite.enter_method(name, method)
    return name


def _enter_function(word: str, suites: Iterable[Suite], files: dict[str, str]) -> str:
    """Enter a function into the suites whose kind it is, and return its name."""
    function = _imported(word, "--functions", files)
    names = [suite.enter_function(function) for suite in suites]
    name = next((one for one in names if one is not None), None)
    if name is None:
        kinds = " or ".join(suite.function_kind for suite in suites)
        problem = f"--functions {word} is no function of the suite"
        raise InputError(problem, f"Name {kinds} (docs/extending.md).", "PG031")
    return name
