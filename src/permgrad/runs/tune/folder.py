"""The folder of one study: the trials' models, the tables, the winner as a run, and whose study it is.

``tune.json`` says what is tuned; ``trials/<number>/`` holds a trial's preset, model and history; ``trials.csv`` all
trials; ``preset.json`` the winner's settings; ``tuning.html`` the page. Beside them lie the files of a run: the
winner's. ``.workers`` holds the locks of the processes at work.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from permgrad.base.errors import differences
from permgrad.base.files import plain, write_json_atomic
from permgrad.runs.folder.folder import NAMES as RUN_NAMES
from permgrad.runs.folder.folder import another, configuration_hash, now, read_record_file, refuse_file, refuse_foreign
from permgrad.runs.requests import DATABASE

TUNE_RECORD, WORKERS, TRIALS, TABLE, PRESET, PAGE = (
    "tune.json",
    ".workers",
    "trials",
    "trials.csv",
    "preset.json",
    "tuning.html",
)
MODEL, HISTORY, CHECKPOINT = "model", "history.csv", ".checkpoint"
SCHEMA_VERSION = 1


def read_tune_record(folder: Path) -> dict[str, Any] | None:
    """Return the content of ``tune.json``, or None if there is no readable one."""
    holds = {"identity": dict, "identity_hash": str, "study": str, "started": str}
    return read_record_file(folder / TUNE_RECORD, "study", SCHEMA_VERSION, holds=holds)


def new_record(identity: Mapping[str, Any], storage: str | None, study: str, command: str) -> dict[str, Any]:
    """Return the record of a study that begins."""
    return {
        "schema_version": SCHEMA_VERSION,
        "identity_hash": configuration_hash(identity),
        "identity": plain(dict(identity)),
        "storage": storage,
        "study": study,
        "command": command,
        "started": now(),
        "finished": None,
    }


def check_study_folder(folder: Path, identity: Mapping[str, Any], storage: str | None, study: str) -> None:
    """Refuse a folder with another study, with a run or with somebody else's files; nothing is written."""
    refuse_file(folder, "study")
    record = read_tune_record(folder)
    if record is None:
        refuse_foreign(folder, "study", _left_behind, NAMES)
        return
    wanted = {**plain(dict(identity)), "storage": storage, "study": study}
    there = {**record["identity"], "storage": record.get("storage"), "study": record["study"]}
    if there != wanted:
        raise another(folder, "study", "study", differences(there, wanted), holds="another")


def _left_behind(name: str) -> bool:
    """Whether a name is what a process killed before its first record leaves."""
    return name == WORKERS or name.startswith((f".{TUNE_RECORD}.", DATABASE))


#: What a study and its run write; the record goes first.
NAMES = (TUNE_RECORD, *RUN_NAMES, TRIALS, TABLE, PRESET, PAGE)


def clear_study(folder: Path) -> None:
    """Remove what a study and its run write, and nothing else; the record goes first."""
    for name in NAMES:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_tune_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``tune.json`` in one step."""
    write_json_atomic(folder / TUNE_RECORD, dict(record))
