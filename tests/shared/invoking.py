"""The command line, called in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from permgrad.cli import app


def call(*words: object, code: int = 0) -> str:
    """Run a command, and return what it prints: on stdout, or the error."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, (
        f"{result.stdout}\n{result.stderr}\n{result.exception}"
    )
    return result.stderr if code else result.stdout


#: A preset for runs of a second or two.
QUICK = {"base": "fast", "branches": ["tabular"], "max_epochs": 4}


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Work in a folder that holds the preset ``preset.json``, ``QUICK``: for fixtures
    of a whole module.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("preset.json").write_text(json.dumps(QUICK))
        yield


def train_run(
    folder: Path, table: pd.DataFrame, *, identifier: str, epochs: int
) -> Path:
    """Train a small network on a table with target ``outcome``, as a user would, and
    return the run's folder.
    """
    preset = QUICK | {"max_epochs": epochs}
    (folder / "preset.json").write_text(json.dumps(preset))
    table.to_csv(folder / "table.csv", index=False)
    words = (
        "--target",
        "outcome",
        "--id",
        identifier,
        "--preset",
        folder / "preset.json",
        "--out",
        folder / "run",
    )
    call("run", folder / "table.csv", *words)
    return folder / "run"
