"""What a command does to its own process: threads, the garbage collector while libraries load, when Ctrl-C counts."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from permgrad.base.errors import InputError

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


def interrupt(process: int) -> None:
    """Interrupt a process as Ctrl-C does. On Windows it ends at once."""
    os.kill(process, signal.SIGINT)


#: Numeric libraries crash on far more threads than this.
_MOST_THREADS = 1024
_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
#: Threads that have nothing to do look for work this often, then sleep. GNU's default is 300,000 times, several
#: milliseconds, and Intel's 200 ms: on a busy machine they take the processor from the thread that they wait for.
#: Threads that sleep too soon take longer to wake than a small batch takes: with 1,000 times, a run on 8,192 rows took
#: 42 s on two idle processors, on one thread 32 s, and with 30,000 times 26 s. OpenBLAS's threads wait 2²⁶ ticks, some
#: 25 ms, after each product of NumPy: with 2²⁰ a run on HELOC takes 3 % less processor time and no longer.
_WAITING = {"GOMP_SPINCOUNT": "30000", "KMP_BLOCKTIME": "0", "OPENBLAS_THREAD_TIMEOUT": "20"}
#: Looks at the processes that run, and the seconds between two: one that runs in at least three of four computes. A
#: tenth of a second, as a short command of somebody else must not halve the threads of a long run.
_LOOKS, _BETWEEN = 11, 0.01
_STATISTICS, _PROCESSOR = Path("/proc/stat"), Path("/proc/cpuinfo")


def prepare_threads(threads: int | None) -> None:
    """Set how many threads numeric libraries of this process use, and let them sleep while they wait.

    Without a number there are as many as processors are free. What the user's environment says stays.
    """
    if threads is not None and not 1 <= threads <= _MOST_THREADS:
        problem = f"--threads must be from 1 to {_MOST_THREADS}, got {threads}"
        raise InputError(problem, hint="Leave it out for the default of the machine.", code="PG002")
    if "OMP_WAIT_POLICY" not in os.environ:
        for name, value in _WAITING.items():
            os.environ.setdefault(name, value)
    if threads is None and any(name in os.environ for name in _COUNTS):
        return
    number = str(free_processors() if threads is None else threads)
    os.environ.update(dict.fromkeys(_COUNTS, number))


def processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def is_amd() -> bool:
    """Return whether Linux says that the first processor is AMD's."""
    with suppress(OSError), _PROCESSOR.open(encoding="utf-8", errors="replace") as lines:
        return "AuthenticAMD" in lines.read(500)
    return False


def free_processors() -> int:
    """Return the number of processors that this process may use and that no other process computes on, at least 1."""
    running = _others_running()
    return max(1, min(processors(), (os.cpu_count() or 1) - running))


def _others_running() -> int:
    """Return how many other threads of the machine want a processor right now. 0 where it cannot be seen."""
    counts = []
    for look in range(_LOOKS):
        if look:
            time.sleep(_BETWEEN)
        try:
            lines = _STATISTICS.read_text(encoding="ascii").splitlines()
            counts += [int(line.split()[1]) for line in lines if line.startswith("procs_running")]
        except (OSError, ValueError, IndexError):
            return 0
    return max(0, sorted(counts)[len(counts) // 4] - 1) if counts else 0
