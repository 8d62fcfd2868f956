"""A disk that is full or may not be written, whoever runs the tests: writes into one
folder are refused.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: What a full disk refuses: new files. What a disk that may not be written refuses:
#: every change.
FULL = errno.ENOSPC
READ_ONLY = errno.EROFS
_CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod")
_active: list[_Refusal] = []


class _Refusal:
    """What is refused at this moment, and how many new files were asked for."""

    def __init__(self, folder: Path, code: int, after: int) -> None:
        self.folder = os.fspath(folder.resolve())
        self.code = code
        self.after = after
        self.asked = 0
        self.refused = 0

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (
                os.O_WRONLY | os.O_RDWR | os.O_CREAT
            )
        elif event in _CHANGES and self.code == READ_ONLY:
            path = arguments[0]
            writes = True
        else:
            return
        if not writes or not isinstance(path, (str, os.PathLike)):
            return
        if not os.path.abspath(path).startswith(self.folder + os.sep):  # noqa: PTH100 — links stay as they are
            return
        self.asked += 1
        if self.asked > self.after:
            self.refused += 1
            raise OSError(self.code, os.strerror(self.code), os.fspath(path))


@functools.cache
def _listen() -> None:
    """Hear of every file that is opened; a hook cannot be taken back, and does nothing
    between bodies.
    """
    sys.addaudithook(
        lambda event, arguments: _active[-1].see(event, arguments) if _active else None
    )


@contextmanager
def refusing_disk(folder: Path, code: int, after: int = 0) -> Iterator[_Refusal]:
    """Refuse to write into a folder for the body, once so many files were opened for
    writing.
    """
    _listen()
    _active.append(_Refusal(folder, code, after))
    try:
        yield _active[-1]
    finally:
        _active.pop()


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """Let no file of this process become larger than so many bytes: the system refuses
    in the middle of writing.
    """
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
