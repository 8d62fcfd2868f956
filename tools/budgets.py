"""Whether each folder of the source keeps to what its code may ask of a reader.

The numbers are in ``pyproject.toml`` under ``[tool.permgrad.budgets]``: the statements
of a folder (of Python, and of the page's scripts), and how dense they are: tokens and
characters in a line of code; if-expressions (and nested ones), comprehensions and
assignments of several values at once per 1,000 statements; functions over 400 tokens;
names that say nothing per 1,000 functions, and the letters of a local name, which may
not become fewer. Lines are not counted. Raise a number only with a line in
benchmarks/decisions.md, *Budgets*, that says what users got for it.

    python -m tools.budgets         exit 1 if a folder has more, or has no numbers
    python -m tools.budgets --now   the table as it would be now, statements 2 % above it
"""

from __future__ import annotations

import ast
import io
import math
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Room for small corrections, as a share of a folder's statements.
_ROOM = 0.02
#: Tokens that a function may hold before it counts as long.
_LONG_FUNCTION = 400
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
#: Words that do not say what a name holds.
_EMPTY_WORDS = frozenset(
    [
        "one",
        "ones",
        "own",
        "found",
        "known",
        "given",
        "kept",
        "said",
        "told",
        "asked",
        "many",
        "whole",
        "rest",
        "other",
        "others",
        "made",
        "some",
        "each",
        "both",
        "them",
        "wanted",
        "chosen",
        "taken",
        "seen",
        "held",
        "place",
        "places",
        "part",
        "parts",
        "at",
        "by",
        "beside",
    ]
)
#: Numbers of a folder that may not fall. All others may not rise.
_LEAST = frozenset({"letters_per_name"})
#: Numbers whose budget is the next whole number.
_ROUNDED_UP = (
    "characters_per_line",
    "if_expressions",
    "nested_if_expressions",
    "comprehensions",
    "several_at_once",
)
_COUNTED_TOKENS = (tokenize.NAME, tokenize.OP, tokenize.NUMBER)

#: The numbers of a folder, by name.
Numbers = dict[str, float]


@dataclass
class Counts:
    """What was counted in the files of a folder."""

    statements: int = 0
    lines: int = 0
    characters: int = 0
    tokens: int = 0
    functions: int = 0
    names: int = 0
    letters: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def add_python(self, source: str) -> None:
        """Count a file of Python."""
        tree = ast.parse(source)
        tokens_of_line = _tokens_of_lines(source)
        self.tokens += sum(tokens_of_line.values())

        nodes = list(ast.walk(tree))
        documented = _docstring_lines(nodes)
        for number, line in enumerate(source.splitlines(), 1):
            text = line.strip()
            if text and number not in documented and not text.startswith("#"):
                self.lines += 1
                self.characters += len(text)

        for node in nodes:
            self._add_node(node, tokens_of_line)

    def _add_node(self, node: ast.AST, tokens_of_line: Mapping[int, int]) -> None:
        if isinstance(node, ast.stmt):
            self.statements += 1
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            self.names += 1
            self.letters += len(node.id)
            self.kinds["empty_names"] += node.id in _EMPTY_WORDS
        if isinstance(node, ast.arg):
            self.kinds["empty_names"] += node.arg in _EMPTY_WORDS
        if isinstance(node, ast.IfExp):
            self.kinds["if_expressions"] += 1
            inside = (node.body, node.orelse)
            if any(isinstance(branch, ast.IfExp) for branch in inside):
                self.kinds["nested_if_expressions"] += 1
        elif isinstance(node, _COMPREHENSIONS):
            self.kinds["comprehensions"] += 1
        elif isinstance(node, ast.Assign):
            several = isinstance(node.targets[0], ast.Tuple)
            if several and isinstance(node.value, ast.Tuple):
                self.kinds["several_at_once"] += 1
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            self.functions += 1
            numbers = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            size = sum(map(tokens_of_line.__getitem__, numbers))
            if size > _LONG_FUNCTION:
                self.kinds["long_functions"] += 1

    def add_script(self, source: str) -> None:
        """Count a script of the page: its statements end in semicolons."""
        self.statements += source.count(";")

    def numbers(self) -> Numbers:
        """Return the numbers that budgets are about."""
        thousands = max(self.statements, 1) / 1000
        lines = max(self.lines, 1)
        shares = {
            name: round(self.kinds[name] / thousands, 1)
            for name in (
                "if_expressions",
                "nested_if_expressions",
                "comprehensions",
                "several_at_once",
            )
        }
        functions = max(self.functions, 1) / 1000
        return {
            "statements": self.statements,
            "tokens_per_line": round(self.tokens / lines, 2),
            "characters_per_line": round(self.characters / lines, 1),
            **shares,
            "long_functions": self.kinds["long_functions"],
            "empty_names": round(self.kinds["empty_names"] / functions),
            "letters_per_name": round(self.letters / max(self.names, 1), 1),
        }


def _tokens_of_lines(source: str) -> Counter[int]:
    """Return how many names, operators and numbers each line holds."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return Counter(token.start[0] for token in tokens if token.type in _COUNTED_TOKENS)


def _docstring_lines(nodes: Iterable[ast.AST]) -> set[int]:
    """Return the numbers of the lines that docstrings take."""
    lines: set[int] = set()
    for node in nodes:
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False):
            docstring = node.body[0]
            end = docstring.end_lineno or docstring.lineno
            lines.update(range(docstring.lineno, end + 1))
    return lines


def _files_of_folders(source: Path) -> Iterator[tuple[str, Path]]:
    """Yield the counted files of a package, each with the name of its folder."""
    for file in sorted(source.glob("*/**/*")):
        is_code = file.suffix in {".py", ".js"} and "__pycache__" not in file.parts
        if not is_code:
            continue
        inside = file.relative_to(source).parts
        depth = 2 if len(inside) > 2 and inside[0] == "permgrad" else 1
        yield "/".join(inside[:depth]), file


def numbers_of(source: Path) -> dict[str, Numbers]:
    """Return the numbers of each folder of a package, and of its own files."""
    counts: dict[str, Counts] = {}
    for folder, file in _files_of_folders(source):
        folder_counts = counts.setdefault(folder, Counts())
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".py":
            folder_counts.add_python(text)
        else:
            folder_counts.add_script(text)
    return {folder: counted.numbers() for folder, counted in sorted(counts.items())}


def faults(numbers: Mapping[str, Numbers], budgets: Mapping[str, Numbers]) -> list[str]:
    """Say which folders have more than they may, have no budget, or are gone."""
    lines = [f"src/{name} has no budget" for name in numbers.keys() - budgets.keys()]
    gone = budgets.keys() - numbers.keys()
    lines += [f"src/{folder} has a budget, and is no folder" for folder in gone]
    for folder in numbers.keys() & budgets.keys():
        for name, number in numbers[folder].items():
            words = name.replace("_", " ")
            if name not in budgets[folder]:
                lines.append(f"src/{folder}: {words} {number:g}, no budget")
                continue
            budget = budgets[folder][name]
            if number < budget if name in _LEAST else number > budget:
                lines.append(f"src/{folder}: {words} {number:g}, budget {budget:g}")
    return sorted(lines)


def read_budgets() -> dict[str, Numbers]:
    """Return the budgets of all folders, as ``pyproject.toml`` has them."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        budgets: dict[str, Numbers] = tomllib.load(file)["tool"]["permgrad"]["budgets"]
    return budgets


def _print_table(numbers: Mapping[str, Numbers]) -> None:
    """Print the budgets as they would be now."""
    print("[tool.permgrad.budgets]")
    for folder, entries in numbers.items():
        statements = entries["statements"] + round(entries["statements"] * _ROOM)
        budget = {**entries, "statements": statements}
        for name in _ROUNDED_UP:
            budget[name] = math.ceil(entries[name])
        budget["tokens_per_line"] = math.ceil(10 * entries["tokens_per_line"]) / 10
        pairs = ", ".join(f"{name} = {number:g}" for name, number in budget.items())
        print(f'"{folder}" = {{ {pairs} }}')


def main(arguments: list[str]) -> int:
    """Check the budgets, or print what they would be."""
    numbers = numbers_of(ROOT / "src")
    if arguments == ["--now"]:
        _print_table(numbers)
        return 0

    lines = faults(numbers, read_budgets())
    remedy = (
        "Make it simpler, or raise the number with a line in benchmarks/decisions.md."
    )
    for fault in lines:
        print(f"{fault}. {remedy}", file=sys.stderr)
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
