"""How many threads a command computes with, and how they wait.

Set before numeric libraries are loaded.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
#: Threads that have nothing to do look for work this often, then sleep. GNU's default
#: is 300,000 times, several milliseconds, and Intel's 200 ms: on a busy machine they
#: take the processor from the thread that they wait for. Threads that sleep too soon
#: take longer to wake than a small batch takes: with 1,000 times, a run on 8,192 rows
#: took 42 s on two idle processors, on one thread 32 s, and with 30,000 times 26 s.
#: OpenBLAS's threads wait 2²⁶ ticks, some 25 ms, after each product of NumPy: with 2²⁰
#: a run on HELOC takes 3 % less processor time and no longer.
_WAITING = {
    "GOMP_SPINCOUNT": "30000",
    "KMP_BLOCKTIME": "0",
    "OPENBLAS_THREAD_TIMEOUT": "20",
}
#: Looks at the processes that run, and the seconds between two: one that runs in at
#: least three of four computes. A tenth of a second, as a short command of somebody
#: else must not halve the threads of a long run.
_LOOKS = 11
_BETWEEN = 0.01
_STATISTICS = Path("/proc/stat")
_PROCESSOR = Path("/proc/cpuinfo")


def prepare_threads(threads: int | None) -> None:
    """Set how many threads numeric libraries of this process use, and let them sleep
    while they wait.

    Without a number there are as many as processors are free. What the user's
    environment says stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        for variable_name, value in _WAITING.items():
            os.environ.setdefault(variable_name, value)
    if threads is None and any(
        count_variable in os.environ for count_variable in _COUNTS
    ):
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
    with (
        suppress(OSError),
        _PROCESSOR.open(encoding="utf-8", errors="replace") as lines,
    ):
        return "AuthenticAMD" in lines.read(500)
    return False


def free_processors() -> int:
    """Return the number of processors that this process may use and that no other
    process computes on, at least 1.
    """
    running = _others_running()
    return max(1, min(processors(), (os.cpu_count() or 1) - running))


def _others_running() -> int:
    """Return how many other threads of the machine want a processor right now.

    0 where it cannot be seen.
    """
    counts = []
    for look_number in range(_LOOKS):
        if look_number:
            time.sleep(_BETWEEN)
        try:
            lines = _STATISTICS.read_text(encoding="ascii").splitlines()
            for status_line in lines:
                if status_line.startswith("procs_running"):
                    counts.append(int(status_line.split()[1]))
        except (OSError, ValueError, IndexError):
            return 0
    if counts:
        return max(0, sorted(counts)[len(counts) // 4] - 1)
    return 0
