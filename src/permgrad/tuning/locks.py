"""Locks of the operating system, which go with the process that holds them, however it ends.

A tuning process holds a lock file of its own for as long as it lives, and whoever finds a trial under way asks by that
file whether its owner still does. A second kind of lock guards the few lines that claim a trial.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

try:
    import fcntl
except ImportError:  # Windows has no flock; there one process at a time may tune, and a study in one process is safe
    fcntl = None  # type: ignore[assignment]

_PAUSE = 0.05


def _locked(descriptor: int) -> bool:
    """Take a lock without waiting, and say whether it was to be had."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock for the body; waits for whoever holds it now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        # Asking again and again, instead of waiting in the system, lets Ctrl-C through on every platform.
        while not _locked(descriptor):
            time.sleep(_PAUSE)
        yield
    finally:
        os.close(descriptor)


class Worker:
    """This process among those that work on a study: a lock file in the study's folder while the body runs.

    Attributes:
        token: its name, which no other worker ever has.
        host: the machine's name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = socket.gethostname()
        self.token = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._descriptor = -1

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(self._path(self.token), os.O_CREAT | os.O_RDWR, 0o644)
            # Before the lock was ours, another worker may have taken the file for a dead one's and removed it.
            if _locked(descriptor) and self._path(self.token).exists():
                self._descriptor = descriptor
                return self
            os.close(descriptor)

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            self._path(self.token).unlink()
        os.close(self._descriptor)

    def _path(self, token: str) -> Path:
        return self.folder / f"{token}.lock"

    def is_gone(self, token: str) -> bool | None:
        """Say whether another worker has ended; None if there is no file of it here: it left, or works elsewhere."""
        if token == self.token:
            return False
        try:
            descriptor = os.open(self._path(token), os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            return _locked(descriptor)
        finally:
            os.close(descriptor)

    def others(self) -> list[str]:
        """Return the tokens of workers that live, and remove the files of those that do not."""
        living = []
        for path in sorted(self.folder.glob("*.lock")):
            if path.stem == self.token or "-" not in path.stem:
                continue
            if self.is_gone(path.stem) is False:
                living.append(path.stem)
            else:
                path.unlink(missing_ok=True)
        return living
