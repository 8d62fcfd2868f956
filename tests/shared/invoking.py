"""The command line, called in this process."""

from __future__ import annotations

from typer.testing import CliRunner

from permgrad.cli import app


def call(*words: object, code: int = 0) -> str:
    """Run a command, and return what it prints: on stdout, or the error."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, f"{result.stdout}\n{result.stderr}\n{result.exception}"
    return result.stderr if code else result.stdout
