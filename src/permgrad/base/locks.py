"""Locks of the operating system (``filelock``), released when the process that holds
them ends.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from permgrad.base.errors import InputError
from permgrad.base.files import made_folder, sweep, writing

LOCK = ".lock"


@functools.cache
def _lock(path: Path, process: int) -> FileLock:  # noqa: ARG001 — a forked child may not use its parent's
    """Return the lock of a path, which stays: Python ignores a Ctrl-C that comes while
    such an object is let go of.
    """
    return FileLock(path)


def take(path: Path) -> FileLock | None:
    """Take a lock without waiting. Return None if it is held, also by this process."""
    file_lock = _lock(path.absolute(), os.getpid())
    if file_lock.is_locked:
        return None
    try:
        file_lock.acquire(blocking=False)
    except Timeout:
        return None
    return file_lock


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock for the body, after waiting for its holder. The file stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock(path.absolute(), os.getpid()):
        yield


def release(lock: FileLock) -> None:
    """Let go of a lock whose file goes too: first the file, so that nobody waits for
    one that has no name.
    """
    with suppress(OSError):
        Path(lock.lock_file).unlink()
    lock.release()


@contextmanager
def hold_name(target: Path) -> Iterator[None]:
    """Lock the name of a file or folder with a lock file next to it.

    Folders made for it are removed again.
    """
    suggestion = "choose another name with --out (out=)"
    lock_path = target.parent / f".{target.name}{LOCK}"
    with (
        made_folder(target.parent, suggestion, target),
        hold_folder(target, suggestion, lock_path),
    ):
        sweep(target.parent, target.name)
        yield


@contextmanager
def hold_folder(
    folder: Path,
    fix: str = "choose another folder with --out (out=)",
    lock_path: Path | None = None,
) -> Iterator[None]:
    """Lock an existing folder for the body, or a name by a file ``lock_path`` it.

    Refuse if another process holds it.

    The file of the lock has the number of the process that holds it.
    """
    lock_file = folder / LOCK
    action_text = "work in a folder"
    activity = "at work in"
    if lock_path is not None:
        lock_file = lock_path
        action_text = "write a file or folder"
        activity = "writing"
    with writing(folder, fix):
        folder_lock = take(lock_file)
    if folder_lock is None:
        holder = ""
        with suppress(OSError):
            holder = lock_file.read_text(encoding="utf-8").strip()
        problem = (
            f"Only one process at a time can {action_text}, but process "
            f"{holder or 'unknown'} is {activity} {folder}"
        )
        raise InputError(problem, hint=f"Wait until it ends, or {fix}.", code="PG054")
    try:
        with writing(folder, fix):
            lock_file.write_text(f"{os.getpid()}\n", encoding="utf-8")
        yield
    finally:
        release(folder_lock)
