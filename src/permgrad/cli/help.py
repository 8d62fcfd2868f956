"""The help of a command: options in panels, and examples."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer.core import TyperCommand

from permgrad.base.errors import printable
from permgrad.cli.terminal import painted
from permgrad.data.read.header import csv_header
from permgrad.runs.options import Option

#: The panels of help in their order, and the fields of requests in each. Others are about data.
PANELS = {
    "Data": (),
    "Model": (
        *("model_folder", "class_names", "trust", "model", "preset", "branches", "row_image", "batch_size", "models"),
        *("folds", "repeats", "splits", "metric", "baselines", "named_baselines", "cost", "trials", "storage", "study"),
        *("space", "pruning"),
    ),
    "Explanation": (
        *("method", "methods", "explain", "scope", "row", "where", "sample", "classes", "baseline", "donors"),
        *("want", "fixed", "ranges", "direction", "most_changes", "count", "ensure_top", "interactions", "functions"),
        *("peers", "quick", "refits", "sensitive", "causal_order", "confounding", "asymmetric", "further"),
    ),
    "Computing": (
        *("time_limit", "thorough", "seed", "seeds", "device", "threads", "stream", "engine", "workers", "address"),
    ),
    "Output": (
        *("out", "form", "title", "theme", "what_if", "keep_rows", "from_stage", "overwrite", "open_page"),
        *("csv_formulas", "as_json", "quiet", "debug"),
    ),
}
#: More characters of choices than this are listed behind the text of an option.
_WIDEST = 48


def described(option: Option) -> tuple[str, str | None]:
    """Return the help and the placeholder of an option, with its choices."""
    if not option.choices or option.table:
        return option.text, option.metavar
    short = "|".join(option.choices)
    if len(short) <= _WIDEST and option.lists == "each" and option.metavar is None:
        return option.text, short
    if len(short) <= _WIDEST and option.positional:
        return f"{option.text} One of {', '.join(option.choices)}.", option.metavar
    return f"{option.text} One of {', '.join(option.choices)}.", option.metavar or "NAME"


class HelpfulCommand(TyperCommand):
    """A command with panels and examples (the lines of its epilog)."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Leave out an option whose value a shell completes: without a value, no argument would be known."""
        if ctx.resilient_parsing and args and args[-1].startswith("-"):
            args = args[:-1]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, each panel under a heading."""
        sections: dict[str, list[tuple[str, str]]] = {heading: [] for heading in ("Arguments", *PANELS)}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            is_argument = parameter.param_type_name == "argument"
            panel = getattr(parameter, "rich_help_panel", None) or "Output"
            if record is not None:
                name = record[0].replace(" <list[str]>", " ...")
                sections["Arguments" if is_argument else panel].append((name, record[1]))
        for heading, records in sections.items():
            if records:
                with formatter.section(painted(heading, "bold", sys.stdout)):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Write the examples."""
        if self.epilog:
            with formatter.section(painted("Examples", "bold", sys.stdout)):
                for line in self.epilog.splitlines():
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


# ---- completion ------------------------------------------------------------------------------------------------------
def completion_of(option: Option) -> Callable[..., list[str]] | None:
    """Return what completes the value of an option in a shell: its choices, or the columns of the table."""
    if option.choices:
        names = [choice for choice in option.choices if choice == choice.lower()]
        return lambda incomplete: _continued(names, incomplete, commas=option.lists in ("names", "entries"))
    if option.metavar in ("COL", "COL=KIND", "COL=VALUE", "COL=LOW..HIGH", "COL=up|down"):
        end = "=" if "=" in (option.metavar or "") else ""

        def columns(ctx: typer.Context, incomplete: str) -> list[str]:
            names = [f"{name}{end}" for name in csv_header(ctx.params.get("table")) if name == printable(name)]
            return _continued(names, incomplete, commas=False)

        return columns
    return None


def _continued(names: Sequence[str], incomplete: str, *, commas: bool) -> list[str]:
    before, comma, last = incomplete.rpartition(",") if commas else ("", "", incomplete)
    return [f"{before}{comma}{name}" for name in names if name.startswith(last)]
