"""The arguments of ``permgrad mcp``, of its tools that are no command, and of
``permgrad counterfactuals``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError
from permgrad.runs.options import DATA_SETS, Names, Option, argument, option, separated
from permgrad.runs.requests import ExplainRequest, ThreadedRequest


@dataclass(frozen=True, kw_only=True)
class McpRequest(ThreadedRequest):
    """The options of ``permgrad mcp``."""

    folder: Path = option(
        "Folder with the runs; nothing is written outside it.", Path(), "DIR"
    )
    tables_in_folder: bool = option(
        "Refuse tables that are not in the folder.",
        True,
        name="--tables-in-folder/--no-tables-in-folder",
    )


@dataclass(frozen=True, kw_only=True)
class WhatIfRequest(ExplainRequest):
    """A row of a table, and what if it had other cells."""

    changes: Mapping[str, Any] = argument(
        'New cells by column, such as {"age": 40}; null: missing.', "CHANGES"
    )


def _as_of_explain(name: str) -> Any:
    """Return a field that is written as that of ``permgrad explain``."""
    entry = next(entry for entry in fields(ExplainRequest) if entry.name == name)
    return field(default=entry.default, metadata=entry.metadata)


@dataclass(frozen=True, kw_only=True)
class CounterfactualsRequest(ThreadedRequest):
    """The options of ``permgrad counterfactuals``."""

    model_folder: Path = _as_of_explain("model_folder")
    table: Path | None = argument(
        "CSV, Excel or Parquet file, or named data set, with the row and the cells "
        "that occur (default: the test rows of the model's run).",
        "TABLE",
        default=None,
        table=True,
        choices=DATA_SETS,
    )
    row: int = field(metadata={"option": Option("The row, counted from 0.", least=0)})
    want: str | None = option(
        "A class, a range of a number such as 100..200 or 100.., or CLASS=0.7 "
        "(default: another class).",
        None,
        "CLASS|LOW..HIGH",
    )
    fixed: Names = option("Column that stays (repeatable).", (), "COL")
    ranges: Names = option(
        "What a column may become: age=18..60 or job=chef,nurse (repeatable).",
        (),
        "COL=LOW..HIGH",
        name="--range",
    )
    direction: Names = option(
        "Whether a number or date may only rise or fall (repeatable).",
        (),
        "COL=up|down",
    )
    max_changes: int | None = option(
        "Columns that may change (default: all).", None, least=1, most=100_000
    )
    count: int = option("Alternatives to find at most.", 4, least=1, most=100)
    out: Path | None = option(
        "CSV file to write: one line for each alternative (default: none).",
        None,
        "FILE",
    )

    @property
    def explained(self) -> ExplainRequest:
        """The row and its table, as ``permgrad explain`` names them."""
        shared = {entry.name for entry in fields(self)} & {
            entry.name for entry in fields(ExplainRequest)
        }
        return ExplainRequest(
            **{field_name: getattr(self, field_name) for field_name in shared - {"out"}}
        )

    @property
    def limits(self) -> tuple[dict[str, list[Any]], dict[str, str]]:
        """What columns may be, as both ends or listed cells, and in which direction
        they may change.
        """
        cells: dict[str, list[Any]] = {}
        for column_name, range_text in _pairs("range", self.ranges, "age=18..60"):
            several = (
                ends("--range", range_text)
                if ".." in range_text
                else separated([range_text])
            )
            cells[column_name] = [*cells.get(column_name, ()), *several]
        directions = dict(_pairs("direction", self.direction, "age=up"))
        for direction in directions.values():
            check_choice("--direction", direction, ("up", "down"))
        return cells, directions


def _pairs(name: str, texts: Names, example: str) -> list[tuple[str, str]]:
    """Return the columns and values of an option such as ``--range``."""
    pairs = []
    for column, _, value in (option_text.partition("=") for option_text in texts):
        pairs.append((column, value))
    for pair_text, option_pair in zip(texts, pairs, strict=True):
        if not all(option_pair):
            problem = f"--{name} must have the form COL=…, got {pair_text!r}"
            raise InputError(
                problem, hint=f"For example: --{name} {example}.", code="PG001"
            )
    return pairs


def ends(flag: str, text: str) -> list[Any]:
    """Return both ends of a range such as ``18..60``, None where it is open.

    A date stays a text.
    """
    lower_text, range_dots, upper_text = text.partition("..")
    if not range_dots or not (lower_text.strip() or upper_text.strip()):
        problem_hint = "For example 18..60, or 18.. with an open end."
        raise InputError(
            f"{flag} must be a range, got {text!r}", hint=problem_hint, code="PG001"
        )
    start = _number(lower_text.strip())
    range_end = _number(upper_text.strip())
    if (
        isinstance(start, float)
        and isinstance(range_end, float)
        and not start <= range_end
    ):
        problem_hint = f"The lower end comes first: {upper_text}..{lower_text}."
        raise InputError(
            f"{flag} must be a range that rises, got {text!r}",
            hint=problem_hint,
            code="PG002",
        )
    return [start, range_end]


def _number(text: str) -> float | str | None:
    try:
        return float(text)
    except ValueError:
        return text or None
