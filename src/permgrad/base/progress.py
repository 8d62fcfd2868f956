"""How far a long work is, on stderr, with the time left: a bar on a terminal, elsewhere a line every half minute."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from typing import Any, Literal, Self, TextIO

from permgrad.base.checks import check_flag_or_auto

ProgressMode = Literal["auto"] | bool
#: Seconds after which the first line is written, and between two lines.
FIRST, AGAIN = 10.0, 30.0


class Progress:
    """A bar of ``total`` steps if ``mode``, or ``"auto"`` on a terminal; elsewhere a line every half minute."""

    def __init__(self, total: int, label: str, mode: ProgressMode = "auto", *, lines: bool = True) -> None:
        wanted = check_flag_or_auto("progress", mode)
        stream = None if getattr(sys.stderr, "closed", False) else sys.stderr
        on_terminal = stream is not None and stream.isatty()
        self.done, self.ended = 0.0, threading.Event()
        self._bar: Any = None
        if total > 0 and (on_terminal if wanted == "auto" else wanted):
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=label, file=stream, leave=False, dynamic_ncols=True)
        elif total > 0 and wanted == "auto" and lines and stream is not None:
            # From a thread: a single step may take minutes.
            work = (self, total, label, stream)
            threading.Thread(target=_write_lines, args=work, name="permgrad-progress", daemon=True).start()

    def advance(self, steps: float = 1) -> None:
        """Count finished steps."""
        self.done += steps
        if self._bar is not None:
            self._bar.update(steps)

    def note(self, text: str) -> None:
        """Show a short text behind the bar, for example the best score so far."""
        if self._bar is not None:
            self._bar.set_postfix_str(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the bar, and write no more lines."""
        self.ended.set()
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _write_lines(work: Progress, total: int, label: str, stream: TextIO) -> None:
    wait, started = FIRST, time.monotonic()
    while not work.ended.wait(wait):
        line = progress_line(label, work.done / total, time.monotonic() - started)
        with suppress(OSError, ValueError):  # a closed stream is no reason to fail
            stream.write(line)
            stream.flush()
        wait = AGAIN


def progress_line(label: str, share: float, seconds: float) -> str:
    """Return how much of a work is done after some seconds, and about how long the rest will take."""
    if share <= 0:
        return f"{label}: begun {readable(seconds)} ago\n"
    left = readable(seconds / share - seconds) if share < 1 else "no time"
    return f"{label}: {100 * min(share, 1):.0f} % done after {readable(seconds)}, about {left} left\n"


def readable(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 100:
        return f"{seconds:.2g} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
