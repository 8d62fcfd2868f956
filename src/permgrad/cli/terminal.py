"""What the terminal shows: lines in colour, errors, and the help of a command with
panels and examples.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import typer
from typer.core import TyperCommand

from permgrad.base import startup
from permgrad.base.errors import EnvironmentProblem, PermgradError, one_line, printable
from permgrad.data.read.header import csv_header
from permgrad.runs.options import ALONE, Option, data_sets

#: Codes of terminals.
_STYLES = {"bold": "1", "red": "1;31", "yellow": "33"}


def say(text: str, mark: str = "", style: str = "") -> None:
    """Write one line on stderr, after a ``mark`` in a style.

    A closed pipe is not an error.
    """
    with suppress(BrokenPipeError):
        if mark:
            start = f"{painted(mark, style, sys.stderr)} "
        else:
            start = ""
        print(f"{start}{printable(text)}", file=sys.stderr, flush=True)  # noqa: T201 — the command line's voice


def put(text: str) -> None:
    """Write lines on stdout.

    A table that another program reads, which ends its last line itself, stays as it is.
    """
    is_table = text.endswith("\n")
    if not (is_table and not sys.stdout.isatty()):
        text = printable(text, lines=True)
    sys.stdout.write(text if is_table else f"{text}\n")
    sys.stdout.flush()


def tell(text: str) -> None:
    """Write one line about progress on stderr, if ``--quiet`` is not used."""
    if not startup.silent:
        say(text)


def painted(text: str, style: str, stream: TextIO | Any) -> str:
    """Return a text in a style, if the stream is a terminal whose user wants colours
    (https://no-color.org).
    """
    is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    is_terminal = getattr(stream, "isatty", lambda: False)()
    if is_terminal and not is_plain:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"
    return text


def open_page(page: str | os.PathLike[str]) -> None:
    """Open a page in a browser.

    Without a display or browser, write where the page is.
    """
    page_path = Path(page).absolute()
    is_local = sys.platform in ("win32", "darwin") or any(
        map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    )
    if is_local:
        import webbrowser

        with suppress(webbrowser.Error, OSError):
            if webbrowser.open(page_path.as_uri()):
                return
    say(f"note: No browser can be opened here. Open this file: {page_path}")


def outcome_of_error(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the sentence for an error."""
    sentence = one_line(error)
    if isinstance(error, KeyboardInterrupt):
        # Some commands say more exactly what is finished.
        return (
            130,
            str(error)
            or "Interrupted. Run the same command to resume after the last finished "
            "stage.",
        )
    if isinstance(error, MemoryError):
        error = EnvironmentProblem(
            "Not enough memory",
            hint="Use fewer rows or columns, or another machine.",
            code="PG061",
        )
    elif isinstance(error, OSError) and not isinstance(error, PermgradError):
        if error.filename:
            where = f"{error.filename}: "
        else:
            where = ""
        error = EnvironmentProblem(
            f"Cannot read or write a file: {where}{error.strerror or sentence}",
            hint="Free some space or check the permissions, or choose another place "
            "with --out.",
            code="PG062",
        )
    if isinstance(error, PermgradError):
        return error.exit_code, " ".join(str(error).split())
    return (
        1,
        (
            f"A fault in permgrad: {type(error).__name__}: {sentence}. Run again with "
            "--debug and report it."
        ),
    )


#: The panels of help in their order, and the fields of requests in each. Others are
#: about data.
PANELS = {
    "Data": (),
    "Model": (
        *(
            "model_folder",
            "model",
            "preset",
            "baselines",
            "cost",
            "threshold",
            "refits",
            "sensitive",
            "models",
            "cv",
            "metric",
        ),
        *("trials", "storage", "space"),
    ),
    "Explanation": (
        *(
            "method",
            "methods",
            "explain",
            "row",
            "donors",
            "further",
            "want",
            "fixed",
            "ranges",
        ),
        *(
            "direction",
            "max_changes",
            "count",
            "functions",
            "peers",
            "quick",
            "against",
        ),
    ),
    "Computing": (
        *(
            "time_limit",
            "max_rows",
            "seed",
            "seeds",
            "device",
            "threads",
            "stream",
            "engine",
            "workers",
            "address",
        ),
    ),
    "Output": (
        *("out", "title", "from_stage", "overwrite", "open_page"),
        *("csv_formulas", "as_json", "quiet", "debug"),
    ),
}
#: More characters of choices than this are listed behind the text of an option.
_WIDEST = 48


def described(option: Option) -> tuple[str, str | None]:
    """Return the help and the placeholder of an option, with its choices."""
    if not option.choices or option.table or option.named:
        return option.text, option.metavar
    short = "|".join(option.choices)
    if len(short) <= _WIDEST and option.lists == "each" and option.metavar is None:
        return option.text, short
    if len(short) <= _WIDEST and option.positional:
        return f"{option.text} One of {', '.join(option.choices)}.", option.metavar
    return (
        f"{option.text} One of {', '.join(option.choices)}.",
        option.metavar or "NAME",
    )


def _is_value(word: str, metavar: str) -> bool:
    """Whether a word after an option that may stand alone is its value: names, or of a
    table any but an option.
    """
    if metavar == "[TABLE]":
        return not word.startswith("-")
    return (
        re.fullmatch(r"[a-z_]+(,[a-z_]+)*", word) is not None
        and word not in data_sets()
    )


class HelpfulCommand(TyperCommand):
    """A command with panels and examples (the lines of its epilog)."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Leave out an option whose value a shell completes: without a value, no
        argument would be known.

        An option that may stand without a value gets it, unless names follow.
        """
        if ctx.resilient_parsing and args and args[-1].startswith("-"):
            args = args[:-1]
        following = [*args[1:], "-"]
        alone = {}
        for parameter in self.params:
            for flag in parameter.opts:
                if getattr(parameter, "metavar", None) in ALONE:
                    alone[flag] = parameter.metavar
        for argument_index, (word, after) in enumerate(
            zip(args, following, strict=False)
        ):
            metavar = alone.get(word)
            if metavar is not None and not _is_value(after, metavar):
                args[argument_index] = f"{word}={ALONE[metavar]}"
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, each panel under a heading."""
        sections: dict[str, list[tuple[str, str]]] = {
            heading: [] for heading in ("Arguments", *PANELS)
        }
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            is_argument = parameter.param_type_name == "argument"
            panel = getattr(parameter, "rich_help_panel", None) or "Output"
            if record is not None:
                option_name = record[0].replace(" <list[str]>", " ...")
                sections["Arguments" if is_argument else panel].append(
                    (option_name, record[1])
                )
        for heading, records in sections.items():
            if records:
                with formatter.section(painted(heading, "bold", sys.stdout)):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Write the examples."""
        if self.epilog:
            with formatter.section(painted("Examples", "bold", sys.stdout)):
                for example_line in self.epilog.splitlines():
                    formatter.write(f"{'':{formatter.current_indent}}{example_line}\n")


# ---- completion ----------------------------------------------------------------------
def completion_of(option: Option) -> Callable[..., list[str]] | None:
    """Return what completes the value of an option in a shell: its choices, or the
    columns of the table.
    """
    if option.choices:
        names = [choice for choice in option.choices if choice == choice.lower()]
        return lambda incomplete: _continued(
            names, incomplete, commas=option.lists == "names"
        )
    if option.metavar in ("COL", "COL=KIND", "COL=LOW..HIGH", "COL=up|down"):
        if "=" in (option.metavar or ""):
            name_ending = "="
        else:
            name_ending = ""

        def columns(ctx: typer.Context, incomplete: str) -> list[str]:
            names = []
            for column_name in csv_header(ctx.params.get("table")):
                if column_name == printable(column_name):
                    names.append(f"{column_name}{name_ending}")
            return _continued(names, incomplete, commas=False)

        return columns
    return None


def _continued(names: Sequence[str], incomplete: str, *, commas: bool) -> list[str]:
    before, comma, last_name = (
        incomplete.rpartition(",") if commas else ("", "", incomplete)
    )
    continued: list[str] = []
    for candidate_name in names:
        if candidate_name.startswith(last_name):
            continued.append(f"{before}{comma}{candidate_name}")
    return continued
