"""Locks of the operating system (``filelock``), released when the process that holds them ends."""

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
    """Return the lock of a path, which stays: Python ignores a Ctrl-C that comes while such an object is let go of."""
    return FileLock(path)


def take(path: Path) -> FileLock | None:
    """Take a lock without waiting. Return None if it is held, also by this process."""
    lock = _lock(path.absolute(), os.getpid())
    if lock.is_locked:
        return None
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    return lock


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock for the body, after waiting for its holder. The file stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock(path.absolute(), os.getpid()):
        yield


def release(lock: FileLock) -> None:
    """Let go of a lock whose file goes too: first the file, so that nobody waits for one that has no name."""
    with suppress(OSError):
        Path(lock.lock_file).unlink()
    lock.release()


@contextmanager
def hold_name(target: Path) -> Iterator[None]:
    """Lock the name of a file or folder with a lock file next to it. Folders made for it are removed again."""
    fix, beside = (
        "choose another name with --out (out=)",
        target.parent / f".{target.name}{LOCK}",
    )
    with made_folder(target.parent, fix, target), hold_folder(target, fix, beside):
        sweep(target.parent, target.name)
        yield


@contextmanager
def hold_folder(
    folder: Path,
    fix: str = "choose another folder with --out (out=)",
    beside: Path | None = None,
) -> Iterator[None]:
    """Lock an existing folder for the body, or a name by a file ``beside`` it. Refuse if another process holds it.

    The file of the lock has the number of the process that holds it.
    """
    path, rule, fact = folder / LOCK, "work in a folder", "at work in"
    if beside is not None:
        path, rule, fact = beside, "write a file or folder", "writing"
    with writing(folder, fix):
        lock = take(path)
    if lock is None:
        holder = ""
        with suppress(OSError):
            holder = path.read_text(encoding="utf-8").strip()
        problem = f"Only one process at a time can {rule}, but process {holder or 'unknown'} is {fact} {folder}"
        raise InputError(problem, hint=f"Wait until it ends, or {fix}.", code="PG054")
    try:
        with writing(folder, fix):
            path.write_text(f"{os.getpid()}\n", encoding="utf-8")
        yield
    finally:
        release(lock)
