"""What a command does to its own process: the garbage collector while libraries load, and when Ctrl-C counts."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

#: How many commands run in this process, one inside the other. 0 where permgrad is used as a library.
_depth = 0
#: Whether this process hides its progress, in all threads: ``--quiet``.
silent = False
#: Where work says what it does: to the user of a command, not of the library.
announce: Callable[[str], object] = str


@contextmanager
def own_process(*, quiet: bool = False, tell: Callable[[str], object] = str) -> Iterator[None]:
    """Run a command whose process does nothing else, so that its garbage collector and its progress are ours."""
    global _depth, announce, silent
    before, silent, announce, _depth = (silent, announce), quiet or silent, tell, _depth + 1
    try:
        yield
    finally:
        (silent, announce), _depth = before, _depth - 1
        if not _depth:
            gc.unfreeze()


@contextmanager
def loading() -> Iterator[None]:
    """Import libraries with the collector at rest, within ``own_process``. Elsewhere the objects are the user's."""
    if not (_depth and gc.isenabled()):
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Let Ctrl-C wait, a second one not, while processes fork or a library in C++ starts: amid it neither survives."""
    handler = signal.getsignal(signal.SIGINT)
    # Python gives handlers to the main thread only, and what is ignored, or ends the process at once, stays so.
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    waiting: list[tuple[int, FrameType | None]] = []

    def wait(number: int, frame: FrameType | None) -> None:
        waiting.append((number, frame))
        if len(waiting) > 1:
            handler(number, frame)

    signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if len(waiting) == 1:
            handler(*waiting[0])


@contextmanager
def uninterrupted_end() -> Iterator[None]:
    """Let Ctrl-C count during the body, and no longer while libraries are taken down: the work is done by then."""
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            # `python -m` ends by signal 2, whatever the exit code, if Ctrl-C hit code that was made from text (as
            # dataclasses do it), also where it was caught. This is forgotten when the next such code runs.
            exec("")  # noqa: S102 — see above
