"""When Ctrl-C counts: not while another library starts or ends processes, and not once a command is on its way out."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Let Ctrl-C wait until the body is through; a second one does not wait.

    An interrupt amid the fork of a process can leave a lock of Python's own held for ever (that of ``logging``, which
    every thread that has something to log then waits for), and one amid the start of a library in C++ can leave it half
    started, so that its end crashes.
    """
    handler = signal.getsignal(signal.SIGINT)
    # Python gives handlers to the main thread only; and what is ignored, or ends the process at once, stays so.
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
    """Let Ctrl-C count during the body, and no longer once the process is on its way out.

    Then the work is done, or the reason why it is not was said: what is left is half a second in which libraries are
    taken down. Ctrl-C there would end a finished command as if it were not, and half-way through a library's own end.
    """
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            # `python -m` ends by signal 2, whatever the exit code, if Ctrl-C met code that was made from text (as
            # dataclasses do it), also where it was caught; this is forgotten when the next such code runs.
            exec("")  # noqa: S102 — see above
