"""How fast two checkouts are, in one run: they take turns, each in processes of its
own.

A round is a call of a task by each side, the one that begins changing from round to
round; of a task that takes less than a second it is several. Processes are started
afresh half-way, because the place of things in memory differs from process to process.
A line's ratio is the speed of the new code over that of the old: the median of the old
code's seconds over the median of the new code's, of processor time and on the clock. A
floor is met if both ratios are at least that; where one is not, the ratio of the
shortest times decides, because other work on a machine makes calls longer and never
shorter. A line that misses is measured again with as many rounds, and all of them
count.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
FLOOR, TRAINING_FLOOR = 0.95, 0.75
#: How many times as often as other tasks, since it is short, and the arguments of
#: Python.
_STARTS = {
    "start, --help": (5, ("-m", "permgrad", "--help")),
    "start, import and explain": (
        1,
        ("-c", "import permgrad as pg; pg.explain; pg.load; pg.HyNNClassifier"),
    ),
}
_RUN = "permgrad run heloc"
#: Of a short task in one round.
_MOST_CALLS = 8

#: Seconds of one call: of the processor, on the clock.
Seconds = tuple[float, float]


@dataclass(frozen=True)
class Both:
    """Both checkouts, the environments of their processes, and the models that both
    explain.
    """

    checkouts: tuple[Path, Path]
    environments: tuple[Mapping[str, str], Mapping[str, str]]
    models: Path


@dataclass
class Line:
    """What both sides took for one task.

    Attributes:
        task: Its name.
        old: Seconds of each call of the old code.
        new: Seconds of each call of the new code.
    """

    task: str
    old: list[Seconds] = field(default_factory=list)
    new: list[Seconds] = field(default_factory=list)

    @property
    def floor(self) -> float:
        """Return the least ratio that is allowed."""
        return TRAINING_FLOOR if self.task.startswith("training") else FLOOR

    def medians(self, clock: int) -> tuple[float, float]:
        """Return the medians of both sides: of processor time (0) or on the clock
        (1).
        """
        old, new = (
            statistics.median(own[clock] for own in side)
            for side in (self.old, self.new)
        )
        return old, new

    def ratio(self, clock: int) -> float:
        """Return the speed of the new code over that of the old."""
        old, new = self.medians(clock)
        return old / new

    @property
    def verdict(self) -> str:
        """Return ``met``, with a remark where it took the shortest times to see it, or
        ``MISSED``.
        """
        remarks = []
        for clock, name in ((0, "processor"), (1, "on the clock")):
            if self.ratio(clock) < self.floor:
                shortest = min(own[clock] for own in self.old) / min(
                    own[clock] for own in self.new
                )
                if shortest < self.floor:
                    return f"MISSED ({name}; shortest {shortest:.2f})"
                remarks.append(f"{name}, shortest {shortest:.2f}")
        return f"met ({'; '.join(remarks)})" if remarks else "met"


@contextmanager
def _server(both: Both, side: int) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Start a process that does tasks on request; give it and the names of its tasks.

    Raises:
        SystemExit: It imports permgrad from elsewhere.
    """
    command = [
        sys.executable,
        "-m",
        "verification._speed_cases",
        "serve",
        str(both.models),
    ]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=both.environments[side],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        try:
            known = json.loads(_answer(process.stdout))
            if (
                not Path(known["file"])
                .resolve()
                .is_relative_to(both.checkouts[side].resolve())
            ):
                raise SystemExit(
                    f"permgrad must come from {both.checkouts[side]}, however: "
                    f"{known['file']}"
                )
            yield process, known["tasks"]
        finally:
            process.stdin.close()


def _answer(stream: IO[str] | None) -> str:
    assert stream is not None
    line = stream.readline()
    if not line:
        raise SystemExit("a process that was timed has ended; its error is above")
    return line


def _ask(process: subprocess.Popen[str], task: str) -> Seconds:
    assert process.stdin is not None
    process.stdin.write(task + "\n")
    process.stdin.flush()
    processor, wall = json.loads(_answer(process.stdout))
    return processor, wall


def _started(
    arguments: Sequence[str], environment: Mapping[str, str], cwd: Path
) -> Seconds:
    """Return the seconds that a process takes from its start to its end."""
    spent, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=cwd,
        check=True,
        capture_output=True,
    )
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (
        now.ru_utime + now.ru_stime - spent.ru_utime - spent.ru_stime,
        time.perf_counter() - started,
    )


def _wanted(task: str, only: Sequence[str]) -> bool:
    return any(fnmatchcase(task, pattern) for pattern in only or ["*"])


def _call_rounds(
    both: Both, rounds: int, lines: dict[str, Line], only: Sequence[str]
) -> None:
    """Time the tasks of running processes."""
    for part in (rounds - rounds // 2, rounds // 2):
        if not part:
            continue
        with ExitStack() as stack:
            sides = [stack.enter_context(_server(both, side)) for side in (0, 1)]
            for task in (task for task in sides[0][1] if _wanted(task, only)):
                line = lines.setdefault(task, Line(task))
                first = _ask(sides[0][0], task)[0]  # not counted
                for number in range(part * max(1, min(_MOST_CALLS, round(1 / first)))):
                    for side in (0, 1) if number % 2 == 0 else (1, 0):
                        (line.new if side else line.old).append(
                            _ask(sides[side][0], task)
                        )
                print(".", end="", file=sys.stderr, flush=True)


def _start_rounds(
    both: Both, rounds: int, lines: dict[str, Line], only: Sequence[str]
) -> None:
    """Time processes that only start; the first of each side writes its compiled files
    and does not count.
    """
    with tempfile.TemporaryDirectory() as cwd:
        for task, (often, arguments) in _STARTS.items():
            if not _wanted(task, only):
                continue
            line = lines.setdefault(task, Line(task))
            for number in range(often * rounds + 1):
                for side in (0, 1) if number % 2 == 0 else (1, 0):
                    taken = _started(arguments, both.environments[side], Path(cwd))
                    if number:
                        (line.new if side else line.old).append(taken)


def _run_rounds(both: Both, rounds: int, lines: dict[str, Line]) -> None:
    """Time ``permgrad run heloc`` end to end, in the preset ``default``."""
    if not os.environ.get("PERMGRAD_DATA"):
        raise SystemExit(
            "--speed-run needs the data set heloc, however: PERMGRAD_DATA is not set"
        )
    line = lines.setdefault(_RUN, Line(_RUN))
    for number in range(rounds):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            with tempfile.TemporaryDirectory() as cwd:
                arguments = (
                    "-m",
                    "permgrad",
                    "run",
                    "heloc",
                    "--out",
                    "run",
                    "--seed",
                    "1",
                )
                (line.new if side else line.old).append(
                    _started(arguments, both.environments[side], Path(cwd))
                )


def measure(both: Both, only: Sequence[str], rounds: int, runs: int) -> list[Line]:
    """Time all tasks, those that miss their floor twice.

    Args:
        both: The two sides.
        only: Patterns of names of tasks; none: all.
        rounds: Calls of each task on each side.
        runs: Rounds of ``permgrad run heloc``; 0: none.
    """
    lines: dict[str, Line] = {}
    if rounds:
        _start_rounds(both, rounds, lines, only)
        _call_rounds(both, rounds, lines, only)
        if missed := [
            line.task for line in lines.values() if not line.verdict.startswith("met")
        ]:
            _start_rounds(both, rounds, lines, missed)
            _call_rounds(both, rounds, lines, missed)
    if runs:
        _run_rounds(both, runs, lines)
    print(file=sys.stderr)
    return list(lines.values())


def table(lines: Sequence[Line]) -> list[str]:
    """Return the lines of the table: medians in seconds, and the speed of the new code
    over that of the old.
    """
    head = ("task", "old, s", "new, s", "processor", "on the clock", "floor", "verdict")
    rows = [
        (
            line.task, *(f"{seconds:.3f}" for seconds in line.medians(0)), f"{line.ratio(0):.2f}",
            f"{line.ratio(1):.2f}", f"{line.floor:.2f}", line.verdict,
        )
        for line in lines
    ]  # fmt: skip
    width = max((len(line.task) for line in lines), default=4)
    form = f"{{:{width}}}  {{:>8}}  {{:>8}}  {{:>9}}  {{:>12}}  {{:>5}}  {{}}"
    return [form.format(*row) for row in (head, *rows)]
