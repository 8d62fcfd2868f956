"""The folder of a comparison: what was asked, which cells are finished, and nothing half-written.

``comparison.json`` says what was asked and, when all is done, what came out; ``cells/`` holds one file per finished
model and fold, so that a killed comparison goes on with the next one.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from permgrad.base.errors import differences
from permgrad.base.files import plain, sweep, write_json_atomic
from permgrad.base.locks import hold_folder
from permgrad.base.stored import parse_json
from permgrad.evaluation.comparison import AGREEMENT, IMPORTANCES, PAGE, RECORD, SCORES
from permgrad.runs.compare.cells import ComparisonCell
from permgrad.runs.folder.folder import (
    another,
    configuration_hash,
    made_folder,
    now,
    read_record_file,
    refuse_file,
    refuse_foreign,
    refuse_taken,
    writable_folder,
)

SCHEMA_VERSION = 1
CELLS = "cells"
#: What a comparison writes beside its record and its cells.
RESULTS = (SCORES, IMPORTANCES, AGREEMENT, PAGE)
#: What a comparison writes.
NAMES = (RECORD, *RESULTS, CELLS)


class ComparisonFolder:
    """A comparison's folder that this process may write to. Made by :func:`open_comparison`."""

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self.path = path
        self.record = record

    def read_cell(self, model: str, fold: str) -> ComparisonCell | None:
        """Return a finished cell; None if there is none, or one that failed or is damaged, which is tried again."""
        try:
            content = parse_json(self._cell(model, fold).read_bytes())
            cell = ComparisonCell(**content)
        except (OSError, ValueError, TypeError):
            return None
        return None if cell.problem or (cell.model, cell.fold) != (model, fold) else cell

    def write_cell(self, cell: ComparisonCell) -> None:
        """Keep a cell."""
        with writable_folder(self.path):
            write_json_atomic(self._cell(cell.model, cell.fold), asdict(cell))

    def _cell(self, model: str, fold: str) -> Path:
        return self.path / CELLS / f"{cell_name(model)}-{fold}.json"


def cell_name(model: str) -> str:
    """Return a model's name as it may stand in the name of a file: ``default-image-`` and a digest."""
    plainly = re.sub(r"[^A-Za-z0-9_]+", "-", model)[-40:]
    return plainly if plainly == model else f"{plainly}-{hashlib.blake2b(model.encode(), digest_size=3).hexdigest()}"


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return the content of ``comparison.json``, or None if there is no readable one."""
    return read_record_file(folder / RECORD, "comparison", SCHEMA_VERSION)


def is_finished(folder: Path, configuration: Mapping[str, Any], metric: str | None) -> bool:
    """Whether the folder holds this very comparison, everything written, by the metric asked for."""
    record = read_record(folder)
    if record is None or record["configuration_hash"] != configuration_hash(configuration):
        return False
    whole = record.get("finished") is not None and all((folder / name).exists() for name in RESULTS)
    return whole and record.get("metric_asked") == metric


def check_free(folder: Path, configuration: Mapping[str, Any]) -> None:
    """Refuse a folder with a comparison of other settings or with somebody else's files; nothing is written."""
    refuse_file(folder, "comparison")
    record = read_record(folder)
    if record is None:
        refuse_foreign(folder, "comparison", lambda name: name.startswith(f".{RECORD}."), NAMES)
    elif record["configuration_hash"] != configuration_hash(configuration):
        differing = differences(record.get("configuration", {}), plain(dict(configuration)))
        raise another(folder, "comparison", "settings", differing)


@contextmanager
def open_comparison(
    folder: Path, configuration: Mapping[str, Any], *, command: str, overwrite: bool
) -> Iterator[ComparisonFolder]:
    """Hold a folder for a comparison: a new one, or one of the same settings that goes on."""
    if not overwrite:
        check_free(folder, configuration)
    with made_folder(folder), hold_folder(folder):
        if not overwrite:
            check_free(folder, configuration)  # again, now that nobody else can write
        sweep(folder)
        with writable_folder(folder):
            yield ComparisonFolder(folder, _begin(folder, configuration, command, overwrite=overwrite))


def _begin(folder: Path, configuration: Mapping[str, Any], command: str, *, overwrite: bool) -> dict[str, Any]:
    record = None if overwrite else read_record(folder)
    if overwrite:
        if read_record(folder) is None:
            refuse_taken(folder, "comparison", NAMES)
        for name in (RECORD, *RESULTS):
            (folder / name).unlink(missing_ok=True)
        if (folder / CELLS).is_dir():
            shutil.rmtree(folder / CELLS)
    record = {
        "schema_version": SCHEMA_VERSION,
        "configuration_hash": configuration_hash(configuration),
        "configuration": plain(dict(configuration)),
        "command": command,
        "started": now() if record is None else record["started"],
        "finished": None,
    }
    write_json_atomic(folder / RECORD, record)
    return record
