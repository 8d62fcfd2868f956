"""Progress on stderr with the time left: a bar on a terminal and in a notebook,
elsewhere a line every half minute.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Literal, NamedTuple, TextIO

from permgrad.base import startup
from permgrad.base.checks import check_flag
from permgrad.base.errors import printable
from permgrad.base.typed import argument_typed, as_option

ProgressMode = Literal["auto"] | bool
#: Seconds after which the first line is written, and between two lines.
FIRST = 10.0
AGAIN = 30.0
#: Seconds after which a long work says how long it will be, and what takes less.
SOON = 1.0
#: Seconds that are left from which on a sentence says so, and rows from which on it
#: says that fewer take less.
LONG = 60.0
FEW = 100
#: Seconds after which a bar is shown that nobody asked for.
SHOWN = 3.0
#: Seconds after which the line of a larger work is renewed.
LOOK = 0.5
#: The share of the time taken that a work is expected to take further once it has taken
#: longer than planned.
_OVERDUE = 0.25


class Quicker(NamedTuple):
    """A call that takes less time.

    Attributes:
        argument: What it is called with.
        value: Of the argument.
        words: What it then does, before the time.
        share: Of the time.
    """

    argument: str
    value: Any
    words: str
    share: float


def with_fewer_rows(rows: int) -> list[Quicker]:
    """Return the call with a tenth of the rows, where they are many."""
    if rows < FEW:
        return []
    fewer = min(10_000, rows // 10)
    words = "explains a random part in"
    return [Quicker("max_rows", fewer, words, fewer / rows)]


class Progress(ExitStack):
    """A bar of ``total`` steps if ``mode``, or ``"auto"`` where a line can be
    rewritten. Otherwise a line at times.
    """

    #: what would take less time
    quicker: Sequence[Quicker] = ()

    def __init__(
        self,
        total: int,
        label: str,
        mode: ProgressMode = "auto",
        *,
        lines: bool = True,
        every: bool = False,
    ) -> None:
        """Begin. ``every``: each step is shown, as where few of them take long."""
        super().__init__()
        self._writes = False
        self._told = False
        self._label = label
        self._started = time.monotonic()
        progress_mode = check_flag("progress", mode, auto=True)
        if progress_mode == "auto" and startup.silent:
            progress_mode = False
        if getattr(sys.stderr, "closed", False):
            stream = None
        else:
            stream = sys.stderr
        self.done = 0.0
        self._weight = 1.0
        self.ended = threading.Event()
        self._ahead = 0.0
        self.callback(self.ended.set)
        self._bar: Any = None
        # Within a larger work there is one line, that of the larger work.
        if progress_mode == "auto" and total > 0:
            self._within = _whole
        else:
            self._within = None
        if self._within is not None:
            self._within.work()
            self.callback(self._within.work)
        self._total = total
        if self._within is not None or total <= 0:
            return
        if _rewrites(stream) if progress_mode == "auto" else progress_mode:
            delay = 0.0
            if progress_mode == "auto":
                delay = SHOWN
            self._bar = _new_bar(
                total, printable(label), stream, every=every, delay=delay
            )
            self.callback(self._bar.close)
            self._writes = True
            if delay:  # a single step may take minutes, and no bar is drawn within it
                threading.Thread(
                    target=_show_later,
                    args=(self, delay),
                    name="permgrad-progress",
                    daemon=True,
                ).start()
        elif progress_mode == "auto" and lines and stream is not None:
            # From a thread: a single step may take minutes.
            thread_arguments = (self, total, printable(label), stream)
            threading.Thread(
                target=_write_lines,
                args=thread_arguments,
                name="permgrad-progress",
                daemon=True,
            ).start()
            self._writes = True

    def ahead(self, steps: float) -> None:
        """Count steps while they are done.

        ``advance`` then does not count them again.
        """
        self._count(steps)
        self._ahead += steps

    def advance(self, steps: float = 1) -> None:
        """Count finished steps."""
        counted = min(steps, self._ahead)
        self._ahead -= counted
        self._count(steps - counted)

    def _count(self, steps: float) -> None:
        self.done += steps * self._weight
        if self._within is not None:
            self._within.share = self.done / self._total
        if self._bar is not None:
            self._bar.update(steps * self._weight)
        spent = time.monotonic() - self._started
        if not self._writes or self._told or spent <= SOON or self.done <= 0:
            return
        left = spent * (self._total / self.done - 1)
        if left > LONG:
            self._told = True
            self._tell(spent, left)

    def _tell(self, spent: float, left: float) -> None:
        """Say how long the work will take, and what takes less."""
        if self._bar is not None:
            self._bar.clear()
        calls = list[str]()
        options = list[str]()
        for argument, value, words, share in self.quicker:
            typed = argument_typed(argument, value)
            among = options if as_option(argument, value) else calls
            among.append(f"{typed} {words} about {readable((spent + left) * share)}")
        advice = ""
        if options:
            advice = f". {', '.join(options)}"
        if calls:
            advice += f". In Python, {', '.join(calls)}"
        _write_line(
            sys.stderr,
            f"{printable(self._label)}: about {readable(left)} left{advice}\n",
        )

    def show(self) -> None:
        """Draw the bar as it is, from now on at each step."""
        if self._bar is not None:
            self._bar.delay = 0  # else it would not be cleared at the end
            self._bar.refresh()

    def rest(self, steps: float) -> None:
        """Let what is left of the bar stand for so many steps, where more or fewer come
        than were planned.
        """
        self._weight = max(self._total - self.done, 0.0) / steps

    def note(self, text: str) -> None:
        """Show a short text behind the bar, for example the best score so far."""
        if self._bar is not None:
            self._bar.set_postfix_str(printable(text), refresh=False)


class Whole(ExitStack):
    """One line of progress over several works, with the time left of all of them.

    What each part will take is expected in seconds, and corrected while it runs.
    ``Progress`` of the mode ``"auto"`` within a ``part`` shows nothing, and sets which
    ``share`` of its own work is done: a part has several, one after the other.
    """

    def __init__(self, label: str) -> None:
        super().__init__()
        self.label = label
        self.started = time.monotonic()
        self.expected: dict[str, float] = {}
        self._ended = threading.Event()
        self._shown = False
        self._stream = sys.stderr
        self._rewrites = not startup.silent and _rewrites(self._stream)
        self._name = ""
        self._since = self.started
        self._work_since = self.started
        self.share = 0.0
        self._left: tuple[float, float] | None = (
            None  # the seconds that a part has left, and when this was said
        )
        self._writer: threading.Thread | None = None
        self._most = 0.0  # the largest share that was shown as done
        self.callback(self.clear)
        self.callback(self._ended.set)

    def expect(self, left: float | None = None, **seconds: float) -> None:
        """Set how many seconds parts will take.

        The line is shown from the first one on.

        ``left``: of the part at work, where it knows better than by its share.
        """
        self.expected |= seconds
        if left is not None:
            self._left = (left, time.monotonic())
        if self.expected and self._writer is None and not startup.silent:
            self._writer = threading.Thread(
                target=self._write, name="permgrad-progress", daemon=True
            )
            self._writer.start()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Do a part of the work.

        Afterwards none of it is left. A part that was not expected shows its own
        progress.
        """
        if name not in self.expected:
            yield
            return
        global _whole  # noqa: PLW0603 — a property of the process
        before = _whole
        _whole = self
        self._name = name
        self._since = time.monotonic()
        self._left = None
        self.work()
        try:
            yield
        finally:
            _whole = before
            self._name = ""
            self.expected.pop(name, None)

    def work(self) -> None:
        """Begin or end a work within the part."""
        self._work_since = time.monotonic()
        self.share = 0.0

    def left(self) -> float:
        """Return the seconds that all parts will still take."""
        later = sum(
            seconds
            for part_name, seconds in self.expected.items()
            if part_name != self._name
        )
        if not self._name:
            return later
        current_time = time.monotonic()
        planned = self.expected.get(self._name, 0.0)
        spent = current_time - self._since
        if self._left is not None:
            since = current_time - self._left[1]
            return later + max(self._left[0] - since, _OVERDUE * since)
        # What took longer than planned is likely to take longer still, the more so the
        # longer it has taken.
        by_plan = max(planned - spent, _OVERDUE * spent)
        if not 0 < self.share < 1:
            return later + by_plan
        # The further a work is, the more its own pace counts. Further works of the part
        # may follow.
        by_pace = (current_time - self._work_since) * (1 - self.share) / self.share
        return later + max(
            self.share * by_pace + (1 - self.share) * by_plan, planned - spent
        )

    def clear(self) -> None:
        """Remove the line, so that another can be written in its place."""
        if self._rewrites and self._shown:
            _write_line(self._stream, "\r\x1b[K")

    def line(self) -> tuple[float, str]:
        """Return the share that is done, and the line."""
        spent = time.monotonic() - self.started
        seconds_left = self.left()
        # It never falls: where more turns out to be left, the seconds say so.
        self._most = max(self._most, spent / max(spent + seconds_left, 1e-9))
        return self._most, progress_line(self.label, self._most, spent, seconds_left)

    def _write(self) -> None:
        """Rewrite the line on a terminal. Elsewhere write it at a quarter, a half and
        three quarters, and at times.
        """
        marks = [0.25, 0.5, 0.75]
        last_written = time.monotonic() + FIRST - AGAIN
        while not self._ended.wait(LOOK):
            share, status_line = self.line()
            passed = [passed_mark for passed_mark in marks if share >= passed_mark]
            marks = marks[len(passed) :]
            current_time = time.monotonic()
            if (
                not self._rewrites
                and not passed
                and current_time - last_written < AGAIN
            ):
                continue
            last_written = current_time
            self._shown = True
            _write_line(
                self._stream,
                f"\r\x1b[K{status_line.rstrip()}" if self._rewrites else status_line,
            )


#: The work whose part is being done.
_whole: Whole | None = None


def _rewrites(stream: Any) -> bool:
    """Whether a line can be rewritten: on a terminal, and in the cell of a notebook."""
    is_terminal = (
        stream is not None
        and not getattr(stream, "closed", False)
        and bool(stream.isatty())
    )
    return is_terminal or type(stream).__module__.partition(".")[0] == "ipykernel"


def _new_bar(total: int, label: str, stream: Any, *, every: bool, delay: float) -> Any:
    """Return a bar that says in whole numbers how much is done, and how long the rest
    takes.
    """
    from tqdm import tqdm

    class Bar(tqdm):
        """A bar with the time left as people say it."""

        @property
        def format_dict(self) -> dict[str, Any]:
            facts: dict[str, Any] = super().format_dict
            left = ""
            if 0 < facts["n"] < facts["total"]:
                seconds = facts["elapsed"] * (facts["total"] / facts["n"] - 1)
                left = f" {readable(whole(seconds))} left"
            return {**facts, "time_left": left}

    often: dict[str, float] = {"mininterval": 0.1}
    if every:
        often = {"mininterval": 0, "miniters": 1}
    return Bar(
        total=total,
        desc=label,
        file=stream,
        leave=False,
        dynamic_ncols=True,
        delay=delay,
        bar_format="{desc}: {percentage:.0f}%|{bar}|{time_left}{postfix}",
        **often,
    )


def _show_later(work: Progress, delay: float) -> None:
    if not work.ended.wait(delay):
        with suppress(OSError, ValueError):
            work.show()


def _write_lines(work: Progress, total: int, label: str, stream: TextIO) -> None:
    wait_seconds = FIRST
    started = time.monotonic()
    while not work.ended.wait(wait_seconds):
        _write_line(
            stream, progress_line(label, work.done / total, time.monotonic() - started)
        )
        wait_seconds = AGAIN


def _write_line(stream: TextIO, line: str) -> None:
    with suppress(OSError, ValueError):  # a closed stream is no reason to fail
        stream.write(line)
        stream.flush()


def progress_line(
    label: str, share: float, seconds: float, left: float | None = None
) -> str:
    """Return how much of a work is done after some seconds, and about how long the rest
    takes (None: at this pace).
    """
    if share <= 0:
        return f"{label}: begun {readable(seconds)} ago\n"
    if share < 1:
        if left is None:
            left = seconds / share - seconds
        remaining_time = readable(whole(left))
    else:
        remaining_time = "no time"
    return (
        f"{label}: {100 * min(share, 1):.0f} % done after {readable(whole(seconds))}, "
        f"about {remaining_time} left\n"
    )


def whole(seconds: float) -> float:
    """Return a time of a line that is rewritten: in whole seconds, from 100 on in whole
    minutes, and at least a second.
    """
    unit = 1
    if seconds >= 99.5:
        unit = 60
    return max(unit * round(seconds / unit), 1)


def readable(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 99.5:
        return f"{seconds:.2g} s"
    minutes = seconds / 60
    if minutes < 100:
        if minutes < 9.5:
            return f"{minutes:.2g} min"
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h"
