"""The arguments of ``permgrad mcp``, and those that only its tools take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from permgrad.runs.options import Names, argument, option
from permgrad.runs.requests import ExplainRequest


@dataclass(frozen=True, kw_only=True)
class McpRequest:
    """The options of ``permgrad mcp``."""

    folder: Path = option("Folder with the runs; nothing is written outside it.", Path(), "DIR")
    threads: int | None = option("Number of threads to compute with (default: as the machine is set).", None)


@dataclass(frozen=True, kw_only=True)
class WhatIfRequest(ExplainRequest):
    """A row of a table, and what if it had other cells."""

    changes: Mapping[str, Any] = argument('New cells by column, such as {"age": 40}; null: missing.', "CHANGES")


@dataclass(frozen=True, kw_only=True)
class CounterfactualRequest(ExplainRequest):
    """The arguments of ``pg.counterfactuals`` for a row of a table."""

    want: Any = option(
        'A class, a range [low, high] of a number (null: open end), or {"class": 0.7}, the least probability of a'
        " class (default: any class but the predicted one).",
        None,
    )
    fixed: Names = option("Columns that stay.", ())
    ranges: Mapping[str, Any] | None = option("What columns may be: [low, high], or a list of other cells.", None)
    direction: Mapping[str, Any] | None = option('"up" or "down", by column of numbers or dates.', None)
    most_changes: int | None = option("How many columns may change (default: all).", None, least=1)
    count: int = option("How many alternatives to return at most.", 4, least=1, most=100)
