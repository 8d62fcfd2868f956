"""A folder in which one process at a time works: a lock of the operating system, which goes with its process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from permgrad.base.errors import InputError
from permgrad.base.files import sweep, writing

try:
    import fcntl
except ImportError:  # Windows has no flock; there the existence of the lock file has to do
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


@contextmanager
def hold_folder(folder: Path, fix: str = "choose another folder with --out (out=)") -> Iterator[None]:
    """Hold the folder for this process; the system lets go of it when the process ends, however it ends.

    Args:
        folder: It must exist.
        fix: What can be done where it cannot be held.

    Raises:
        InputError: another process is at work there.
        EnvironmentProblem: the folder cannot be written.
    """
    with writing("a folder that is worked in must be writable", folder, fix):
        descriptor = _take(folder / LOCK)
    with _held(folder / LOCK, descriptor, ("work in a folder", f"at work in {folder}", fix)):
        yield


@contextmanager
def hold_name(target: Path) -> Iterator[None]:
    """Hold the name of a file or folder that is written in one piece at the end: a lock file beside it.

    Folders that are made for it, and stay empty, are removed again; so is what killed processes left of it.

    Raises:
        InputError: another process is at work on it.
        EnvironmentProblem: nothing can be written there.
    """
    lock, fix = target.parent / f".{target.name}{LOCK}", "choose another name with --out (out=)"
    made = [place for place in target.parents if not place.exists()]
    try:
        with writing("results must be written", target, fix):
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor = _take(lock)
        with _held(lock, descriptor, ("write a file or folder", f"writing {target}", fix)):
            sweep(target.parent, target.name)
            yield
    finally:
        with suppress(OSError):
            for place in made:
                place.rmdir()


@contextmanager
def _held(lock: Path, descriptor: int | None, words: tuple[str, str, str]) -> Iterator[None]:
    """Keep a lock for the body, or say who has it, in words of the rule, the fact and the fix."""
    if descriptor is None:
        rule, fact, fix = words
        holder = ""
        with suppress(OSError):
            holder = lock.read_text(encoding="utf-8").strip()
        hint = "" if fcntl is not None else f" (if it is not running any more, delete {lock})"
        raise InputError(
            f"one process at a time may {rule}, however: process {holder or 'unknown'} is {fact}; wait for it, or {fix}"
            f"{hint}"
        )
    try:
        yield
    finally:
        with suppress(OSError):
            lock.unlink()
        os.close(descriptor)


def _take(path: Path) -> int | None:
    """Return the descriptor of the lock file, or None if somebody else holds it."""
    if fcntl is None:
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        except FileExistsError:
            return None
        return _signed(path, descriptor)
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        # Between opening and locking, the former holder may have removed the file: then this lock guards nothing.
        with suppress(FileNotFoundError):
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return _signed(path, descriptor)
        os.close(descriptor)


def _signed(path: Path, descriptor: int) -> int:
    """Write whose lock it is; a full disk leaves no lock behind."""
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    except OSError:
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)
        raise
    return descriptor
