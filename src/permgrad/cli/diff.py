"""The command ``permgrad diff``: its options. Thin like ``cli``, which enters it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from permgrad.cli import options
from permgrad.cli.tune import Tell


def add_diff(app: typer.Typer, command: Callable[[Callable[..., None]], Callable[..., None]], *, tell: Tell) -> None:
    """Enter the command, with the helpers that all commands share."""

    @app.command()
    @command
    def diff(
        first: Annotated[
            Path, typer.Argument(metavar="A", parser=options.named_path, help="A folder of results, or a file.")
        ],
        second: Annotated[
            Path, typer.Argument(metavar="B", parser=options.named_path, help="Another of the same kind.")
        ],
        tolerance: Annotated[
            float, typer.Option(help="Numbers may differ by this share of the larger.", metavar="SHARE")
        ] = 0.0,
        as_json: options.AsJson = False,
        debug: options.Debug = False,
    ) -> None:
        """Compare two folders of results file by file, times and paths aside; exit code 1 if anything differs."""
        from permgrad.runs.commands.diff import differences, told

        found, compared = differences(first, second, tolerance=tolerance)
        facts = {"files": compared, "differences": [vars(one) for one in found]}
        tell(facts, told(found, compared), as_json=as_json)
        if found:
            raise typer.Exit(1)
