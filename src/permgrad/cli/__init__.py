"""The command line: thin.

The commands call ``permgrad.runs``. Their options are the requests' fields.

Only the standard library and typer are imported here, so that ``permgrad --help``
answers at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

from permgrad.cli.commands import app


def _show_version(is_requested: bool) -> None:
    if is_requested:
        from permgrad.base import __version__

        typer.echo(f"permgrad {__version__}")
        raise typer.Exit


@app.callback()
def _main_options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """Explain what any model relies on, and train networks on tables and images."""


def main() -> None:
    """Run the command line and end the process.

    The entry point of the ``permgrad`` program.
    """
    app(prog_name="permgrad")
