"""Locks of the operating system (``filelock``), released when the process that holds them ends."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from permgrad.base.errors import InputError
from permgrad.base.files import sweep, writing

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
def hold_folder(folder: Path, fix: str = "choose another folder with --out (out=)") -> Iterator[None]:
    """Lock an existing folder for the body. Refuse if another process works there."""
    with writing(folder, fix):
        lock = _signed(folder / LOCK, "work in a folder", f"at work in {folder}", fix)
    try:
        yield
    finally:
        release(lock)


@contextmanager
def hold_name(target: Path) -> Iterator[None]:
    """Lock the name of a file or folder with a lock file next to it. Folders made for it are removed again."""
    fix = "choose another name with --out (out=)"
    made = [place for place in target.parents if not place.exists()]
    try:
        with writing(target, fix):
            target.parent.mkdir(parents=True, exist_ok=True)
            beside = target.parent / f".{target.name}{LOCK}"
            lock = _signed(beside, "write a file or folder", f"writing {target}", fix)
        try:
            sweep(target.parent, target.name)
            yield
        finally:
            release(lock)
    finally:
        with suppress(OSError):
            for place in made:
                place.rmdir()


def _signed(path: Path, rule: str, fact: str, fix: str) -> FileLock:
    """Take a lock and write the process number into it, or raise with the number of its holder."""
    lock = take(path)
    if lock is None:
        holder = ""
        with suppress(OSError):
            holder = path.read_text(encoding="utf-8").strip()
        raise InputError(
            f"Only one process at a time can {rule}, but process {holder or 'unknown'} is {fact}",
            hint=f"Wait until it ends, or {fix}.",
            code="PG054",
        )
    try:
        path.write_text(f"{os.getpid()}\n", encoding="utf-8")
    except OSError:
        release(lock)
        raise
    return lock
