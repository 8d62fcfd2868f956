"""Writing files so that a reader sees either the old content or the new, never half of
it.
"""

from __future__ import annotations

import ctypes
import errno
import glob
import hashlib
import json
import math
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from permgrad.base.errors import EnvironmentProblem, did_you_mean, turned

#: Characters from which on a document of JSON is one line.
_LONG = 2**20
#: In the names of files and folders under way, so that leftovers of a stopped process
#: are recognised.
_UNDER_WAY = ".permgrad-"
#: Linux' numbers for "relative to this folder" and "take each other's name".
_HERE = -100
_RENAME_EXCHANGE = 2
#: What to do where a folder cannot be written.
ELSEWHERE = "choose another folder with --out"


@contextmanager
def atomic_path(
    path: str | os.PathLike[str], *, folder: bool = False
) -> Iterator[Path]:
    """Yield a temporary sibling path.

    It replaces ``path`` if the body succeeds, and is removed otherwise.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Not by ``tempfile``, whose files do not follow the user's mask.
    if folder:
        suffix = ""
    else:
        suffix = target.suffix
    temporary = (
        target.parent / f".{target.name}{_UNDER_WAY}{secrets.token_hex(4)}{suffix}"
    )
    if folder:
        temporary.mkdir()
    else:
        temporary.touch(exist_ok=False)
    try:
        yield temporary
        to_disk(
            [temporary, *temporary.rglob("*")]
        )  # a file that has its name is whole, also after a power cut
        try:
            temporary.replace(target)
        except OSError:
            if not folder or not os.path.lexists(target):
                raise
            _exchange(temporary, target)  # a folder that is not empty
    except OSError as error:
        # Say where the disk is full: opening a file names it in an error, writing to it
        # does not.
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(target)
        raise
    finally:
        remove([temporary], ignore_errors=True)


def to_disk(file_paths: Iterable[Path]) -> None:
    """Let the system write to disk what it holds of files, and the names in folders."""
    for file_path in file_paths:
        if (
            file_path.is_dir() and os.name == "nt"
        ):  # Windows cannot open a folder, and writes its names with the files
            continue
        number = os.open(file_path, os.O_RDONLY if file_path.is_dir() else os.O_RDWR)
        try:
            os.fsync(number)
        except OSError as error:
            if error.errno not in (
                errno.EINVAL,
                errno.ENOTSUP,
                errno.EBADF,
            ):  # a place without such a step
                raise
        finally:
            os.close(number)


@contextmanager
def writing(path: str | os.PathLike[str], hint: str = ELSEWHERE) -> Iterator[None]:
    """Turn an error of the file system in the body into an ``EnvironmentProblem`` with
    the path and the hint.
    """
    which = f"Cannot write {os.fspath(path)}"
    with turned(
        lambda error: EnvironmentProblem(
            f"{which}: {error.strerror or error}", hint, "PG062"
        ),
        OSError,
    ):
        yield


@contextmanager
def made_folder(
    folder: Path, hint: str = ELSEWHERE, path: Path | None = None
) -> Iterator[None]:
    """Make a folder for the body.

    Remove it again if it stays empty, so that refused work leaves no trace.

    An error of the file system names the folder, or another ``path``.
    """
    new_folders = []
    for new_folder in (folder, *folder.parents):
        if not new_folder.exists():
            new_folders.append(new_folder)
    try:
        with writing(path or folder, hint):
            folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        with suppress(OSError):
            for empty_folder in new_folders:
                empty_folder.rmdir()


def _exchange(temporary: Path, target: Path) -> None:
    """Let a folder take the place of another in one step, if the system can, and get
    the other's name.
    """
    if sys.platform == "linux":
        exchange = getattr(ctypes.CDLL(None), "renameat2", None)
    else:
        exchange = None
    names = (
        _HERE,
        os.fsencode(temporary),
        _HERE,
        os.fsencode(target),
        _RENAME_EXCHANGE,
    )
    if exchange is not None and exchange(*names) == 0:
        return
    # Without the system's help there is a moment in which neither has the name.
    aside = Path(
        tempfile.mkdtemp(prefix=f".{target.name}{_UNDER_WAY}", dir=target.parent)
    )
    try:
        target.replace(aside / "old")
        try:
            temporary.replace(target)
        except OSError:
            (aside / "old").replace(target)
            raise
    finally:
        remove([aside], ignore_errors=True)


def remove(paths: Iterable[Path], *, ignore_errors: bool = False) -> None:
    """Remove files, links, and folders with their content, as far as they exist."""
    for removed_path in paths:
        if removed_path.is_dir() and not removed_path.is_symlink():
            shutil.rmtree(removed_path, ignore_errors=ignore_errors)
        else:
            with suppress(OSError if ignore_errors else FileNotFoundError):
                removed_path.unlink()


def why_missing(path: Path) -> str:
    """Return why there is nothing to read at a path, in words: it does not exist, or is
    a link that leads nowhere.
    """
    if not path.is_symlink():
        return "does not exist"
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "is a link that leads back to itself"
    return f"is a link to {os.fspath(path.readlink())!r}, where nothing is"


def near_file(
    path: Path, other_names: Iterable[str] = (), *, folder: bool = False
) -> str:
    """Return ``"Did you mean 'x'?"`` for a file beside a missing one, or one of other
    names, else an empty string.

    Endings are not compared, as all tables may have the same. ``folder``: a folder is
    missing.
    """
    names: list[str] = []
    with suppress(OSError):
        sibling_entries = []
        for entry in islice(path.parent.iterdir(), 1000):
            if entry.name != path.name:
                sibling_entries.append(entry)
        names = []
        for entry in sibling_entries:
            if entry.is_dir() or not folder:
                names.append(entry.name)
    near_names = []
    for sibling_name in names:
        if did_you_mean(path.stem, [Path(sibling_name).stem]):
            near_names.append(sibling_name)
    return did_you_mean(path.name, [*other_names, *near_names])


def what_lies_at(path: Path) -> str:
    """Return in words what exists at a path that should be a folder."""
    if path.is_symlink() and not path.exists():
        return "a link that leads nowhere"
    return "a file"


def sweep(folder: Path, *names: str) -> None:
    """Remove leftovers of stopped processes, of some names or all.

    Only the holder of the folder may do so.
    """
    leftover_pattern = f"{_UNDER_WAY}*"
    if names:
        leftovers = []
        for target_name in names:
            leftovers.append(
                folder.glob(f".{glob.escape(target_name)}{leftover_pattern}")
            )
    else:
        leftovers = [folder.rglob(f".*{leftover_pattern}")]
    remove(
        list(chain.from_iterable(leftovers)),
        ignore_errors=True,
    )


def write_text_atomic(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text in one step. A lone surrogate becomes a question mark."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")


def write_json_atomic(path: str | os.PathLike[str], content: Any) -> None:
    """Write JSON in one step.

    NaN and infinity become null, NumPy values become plain ones.
    """
    content = plain(content)
    document_text = json_text(content)
    # Of a long document, such as thousands of columns, nobody reads the lines, and
    # indenting takes most of the time.
    write_text_atomic(
        path,
        (json_text(content, indent=1) if len(document_text) < _LONG else document_text)
        + "\n",
    )


def json_text(content: Any, indent: int | None = None) -> str:
    """Return a document as JSON that any file can hold: of text, only what is half a
    character is escaped.
    """
    document_text = json.dumps(
        content, indent=indent, ensure_ascii=False, allow_nan=False
    )
    return document_text.encode("utf-8", "backslashreplace").decode("utf-8")


def file_hash(path: str | os.PathLike[str], kind: str = "sha256") -> str:
    """Return the SHA-256 of a file's content, or another digest such as ``"md5"`` where
    others published that.
    """
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(
            stream, partial(hashlib.new, kind, usedforsecurity=False)
        ).hexdigest()


def plain(value: Any) -> Any:  # noqa: PLR0911 — one return for each kind of value
    """Turn NumPy scalars and arrays, paths and tuples into JSON types.

    NaN and infinity become None.
    """
    value_type = type(value)
    if value is None or value_type in (bool, int):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, np.floating):
        return plain(float(value))
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(map(plain, value))
    if isinstance(value, Mapping):
        return {
            str(entry_name): plain(entry_value)
            for entry_name, entry_value in value.items()
        }
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    return str(value)


def free_memory() -> int | None:
    """Return how many bytes of memory are free, or None if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(
            int(memory_line.split()[1]) * 1024
            for memory_line in lines
            if memory_line.startswith("MemAvailable:")
        )
    except (OSError, StopIteration, ValueError):
        return None
