"""The folder of one study: the trials' models, the tables, the winner as a run, and whose study it is.

``tune.json`` says what is tuned; ``trials/<number>/`` holds a trial's preset, model and history; ``trials.csv`` all
trials; ``preset.json`` the winner's settings; ``tuning.html`` the page. Beside them lie the files of a run: the
winner's. ``.workers`` holds the locks of the processes at work.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from permgrad._errors import InputError
from permgrad._files import plain, write_json_atomic
from permgrad.runs.folder import LOCK, RECORD, STAGES, configuration_hash, now
from permgrad.runs.tune_request import DATABASE
from permgrad.tuning.study import differences

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
    """Return the content of ``tune.json``, or None if there is no readable one.

    Raises:
        InputError: It was written by a newer permgrad.
    """
    path = folder / TUNE_RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
        return None
    if not isinstance(record, dict) or "identity" not in record:
        return None
    if int(record.get("schema_version", 0)) > SCHEMA_VERSION:
        raise InputError(
            f"a study's folder must be of format {SCHEMA_VERSION} or older, however: {path} is of format "
            f"{record['schema_version']}; install a newer permgrad, or choose another folder with --out"
        )
    return record


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
    """Refuse a folder with another study, with a run or with somebody else's files; nothing is written.

    Raises:
        InputError: Such a folder; the message names ``--overwrite`` and ``--out``.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"a study's folder must be a folder, however: {folder} is a file; choose another with --out")
    record = read_tune_record(folder)
    if record is not None:
        wanted = {**plain(dict(identity)), "storage": storage, "study": study}
        there = {**record["identity"], "storage": record["storage"], "study": record["study"]}
        if there == wanted:
            return
        raise InputError(
            f"a study's folder must be of the same study, however: {folder} holds another, differing in "
            f"{differences(there, wanted)}; replace it with --overwrite, or choose another folder with --out"
        )
    if not folder.is_dir():
        return
    foreign = sorted(path.name for path in folder.iterdir() if not _left_behind(path.name))
    if foreign:
        raise InputError(
            f"a study's folder must be new, empty or of the same study, however: {folder} holds other files "
            f"({', '.join(foreign[:3])}{', ...' if len(foreign) > 3 else ''}); "
            "choose another folder with --out, or write beside them with --overwrite"
        )


def _left_behind(name: str) -> bool:
    """Whether a name is what a process killed before its first record leaves."""
    return name in (LOCK, WORKERS) or name.startswith((f".{TUNE_RECORD}.", DATABASE))


def clear_study(folder: Path) -> None:
    """Remove what a study and its run write, and nothing else; the record goes first."""
    names = [TUNE_RECORD, RECORD, TRIALS, TABLE, PRESET, PAGE, *(name for own in STAGES.values() for name in own)]
    for name in names:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_tune_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``tune.json`` in one step."""
    write_json_atomic(folder / TUNE_RECORD, dict(record))
