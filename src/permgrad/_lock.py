"""A folder in which one process at a time works: a lock of the operating system, which goes with its process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from permgrad._errors import InputError
from permgrad._files import writing

try:
    import fcntl
except ImportError:  # Windows has no flock; there the existence of the lock file has to do
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; the system lets go of it when the process ends, however it ends."""
    path = folder / LOCK
    with writing("a folder that is worked in must be writable", folder, "choose another folder with --out (out=)"):
        descriptor = _take(path)
    if descriptor is None:
        holder = ""
        with suppress(OSError):
            holder = path.read_text(encoding="utf-8").strip()
        hint = "" if fcntl is not None else f" (if it is not running any more, delete {path})"
        raise InputError(
            f"one process at a time may work in a folder, however: process {holder or 'unknown'} is at work in "
            f"{folder}; wait for it, or choose another folder with --out (out=){hint}"
        )
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _take(path: Path) -> int | None:
    """Return the descriptor of the lock file, or None if somebody else holds it."""
    if fcntl is None:
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        except FileExistsError:
            return None
        os.write(descriptor, f"{os.getpid()}\n".encode())
        return descriptor
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
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode())
                return descriptor
        os.close(descriptor)
