"""The test rows of a run, found again in the table that it learned from."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.base.errors import InputError
from permgrad.base.stored import read_npz
from permgrad.runs.folder.folder import believed, read_record
from permgrad.runs.requests import RunRequest, run_of
from permgrad.runs.run.inputs import content_of, is_named


def sources(request: RunRequest) -> dict[str, str]:
    """Return where a run's rows come from, for ``run.json``: paths that hold in any folder, or names of data sets."""
    paths = {"table": request.table, "test": request.test}
    return {
        role: os.fspath(path) if is_named(os.fspath(path)) else os.fspath(Path(path).absolute())
        for role, path in paths.items()
        if path is not None
    }


def own_test_rows(folder: Path) -> tuple[Path, npt.NDArray[np.int64]]:
    """Return the table with a run's test rows, and their numbers in it."""
    run = run_of(folder)
    record = read_record(run)
    if record is None or "data" not in record["finished_stages"]:
        raise InputError(f"The test rows of {folder} are not known, because it is no run. Name the TABLE to explain.")
    paths = record["facts"].get("sources") or _of_command(record)
    role = "test" if "test" in paths else "table"
    table = str(paths.get(role, ""))
    wanted = record["configuration"].get("test" if role == "test" else "table content")
    try:
        content = content_of(table, role)
    except InputError:
        raise InputError(
            f"The {role} file of this run, {table}, is not there any more. Name a TABLE with rows to explain."
        ) from None
    if content != wanted:
        raise InputError(
            f"The {role} file of this run, {table}, has changed since the run. Name a TABLE with rows to explain."
        )
    with believed(run):
        return Path(table), np.asarray(read_npz(run / "split.npz")["test"], dtype=np.int64)


def _of_command(record: Mapping[str, Any]) -> dict[str, str]:
    """Return what the command line names, which a run of an older permgrad holds alone."""
    words = shlex.split(str(record.get("command") or ""))
    paths = {"table": words[2]} if len(words) > 2 else {}
    return paths | ({"test": words[words.index("--test") + 1]} if "--test" in words[:-1] else {})
