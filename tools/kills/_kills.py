"""Killing a command at work and looking at what it left: which files there are, and
whether each of them is whole.
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.numpy import load as read_safetensors
from verification._processes import MARK, left_over, marked, processor_seconds

from permgrad.base.stored import read_npz
from tools.diff_runs import differences

#: How a job may be stopped: everybody with kill -9, the leading process alone with kill
#: -9, everybody with Ctrl-C.
KILL, KILL_LEADER, INTERRUPT = "kill -9", "kill -9 of the leader", "Ctrl-C"
#: Seconds that a process may take to end after Ctrl-C, and Ray's processes after their
#: leader.
PATIENCE = 120.0
#: Names under which files are written before they take their own, and locks of the
#: operating system.
_TEMPORARY = re.compile(r"^\..+\.permgrad-[0-9a-f]{8}")
_LOCKS = re.compile(r"(\.lock|\.guard)$|^\.lock$")
#: The state of the database while it writes, which belongs to it.
_JOURNAL = re.compile(r"\.db-(journal|wal|shm)$")


# ---- whole files ---------------------------------------------------------------------
def is_temporary(path: Path) -> bool:
    """Whether a relative path is that of a file under way: no reader takes it for a
    result.
    """
    return any(_TEMPORARY.match(part) for part in path.parts) or bool(
        _LOCKS.search(path.name) or _JOURNAL.search(path.name)
    )


def files_in(folder: Path) -> list[Path]:
    """Return all files in a folder, relative to it; those that go while we look are
    left out.
    """
    return sorted(
        Path(place, name).relative_to(folder)
        for place, _, names in os.walk(folder)
        for name in names
    )


def broken_files(folder: Path) -> list[str]:
    """Return what is wrong with the files of a folder that have their own names."""
    faults = []
    for name in files_in(folder):
        if is_temporary(name):
            continue
        with suppress(FileNotFoundError):  # it has gone since we listed it
            if fault := fault_of(folder / name):
                faults.append(f"{name}: {fault}")
    return faults


def fault_of(path: Path) -> str:
    """Return what is wrong with a file, or nothing if it can be read to its end as its
    name says.
    """
    look = _LOOKS.get(path.suffix.lower())
    try:
        if path.suffix == ".db":
            return _fault_of_database(path)
        return (
            "a kind of file that this check does not know"
            if look is None
            else look(path.read_bytes()) or ""
        )
    except FileNotFoundError:
        raise
    except Exception as error:  # noqa: BLE001 — whatever a reader says about a damaged file
        return f"{type(error).__name__}: {error}"[:200]


def _reads(read: Callable[[bytes], object]) -> Callable[[bytes], str]:
    """Return a check that lets a reader raise, and that finds something in the file."""
    return lambda content: "it holds nothing" if read(content) in ({}, b"") else ""


def _ends_with(ending: str) -> Callable[[bytes], str]:
    return lambda content: (
        "" if content.decode().rstrip().endswith(ending) else f"no {ending} at its end"
    )


def _fault_of_csv(content: bytes) -> str:
    lines = list(csv.reader(io.StringIO(content.decode(), newline="")))
    if not content.endswith(b"\n"):
        return "the last line has no end"
    return (
        "" if len({len(line) for line in lines}) == 1 else "lines of different lengths"
    )


def _fault_of_database(path: Path) -> str:
    # A copy is looked at, with its journal: opening it here would mend what a killed
    # process left.
    with tempfile.TemporaryDirectory() as place:
        for own in (path, *path.parent.glob(f"{path.name}-*")):
            shutil.copy(own, place)
        with closing(sqlite3.connect(Path(place, path.name))) as database:
            (answer,) = database.execute("pragma integrity_check").fetchone()
    return "" if answer == "ok" else str(answer)


def _fault_of_lines(content: bytes) -> str:
    return "" if content.endswith(b"\n") else "its last line has no end"


_LOOKS: dict[str, Callable[[bytes], str]] = {
    ".json": _reads(lambda content: [json.loads(content)]),
    ".npz": _reads(read_npz),
    ".safetensors": _reads(read_safetensors),
    ".parquet": _reads(lambda content: pq.read_table(io.BytesIO(content))),
    ".png": _reads(lambda content: Image.open(io.BytesIO(content)).load()),
    ".pt": _reads(lambda content: torch.load(io.BytesIO(content), weights_only=True)),
    ".csv": _fault_of_csv,
    ".html": _ends_with("</html>"),
    ".svg": _ends_with("</svg>"),
    ".md": _fault_of_lines,
    ".txt": _fault_of_lines,
}


# ---- one command ---------------------------------------------------------------------
@dataclass
class Job:
    """One command that writes into a folder. ``words`` gives its command line.

    A way in ``stops`` that is named twice is drawn twice as often. Where the leading
    process does the work (is ``alone_at_work``), its processor time says how far it is,
    however busy the machine is; else the clock has to do. ``seconds`` of either pass
    between the first sign of work and the end when nobody disturbs it, in folder
    ``alone``.
    """

    name: str
    words: Callable[[Path], list[str]]
    stops: tuple[str, ...] = (KILL, KILL, KILL, INTERRUPT)
    alone_at_work: bool = True
    seconds: float = 0.0
    alone: Path = field(default_factory=Path)

    def clock(self, process: subprocess.Popen[bytes]) -> float:
        """Return how far a process is, in seconds; endlessly far where it has ended."""
        if not self.alone_at_work:
            return time.perf_counter()
        try:
            return processor_seconds(process.pid)
        except OSError:
            return float("inf")


@contextmanager
def started(
    words: Sequence[str], log: Path, mark: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command as the leader of a process group of its own; what it says is
    added to ``log``.

    If this script is stopped, so is the command.
    """
    environment = {**os.environ, "MPLBACKEND": "Agg", MARK: mark}
    with log.open("ab") as stream:
        process = subprocess.Popen(
            words,
            stdout=subprocess.DEVNULL,
            stderr=stream,
            env=environment,
            process_group=0,
            cwd=log.parent,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for_work(process: subprocess.Popen[bytes], out: Path) -> None:
    """Return when a process has taken its folder, or has ended.

    The file of a lock says nothing: a process that was killed leaves it. It is taken by
    the one that has it open.
    """
    locks = {out.with_name(f".{out.name}.lock"), out / ".lock"}
    while process.poll() is None:
        if locks & _open_files(process.pid) or any(
            (out / ".workers").glob(f"{process.pid}-*.lock")
        ):
            return
        time.sleep(0.005)


def _open_files(process: int) -> set[Path]:
    found = set()
    with suppress(OSError):  # the process has ended
        for link in Path(f"/proc/{process}/fd").iterdir():
            with suppress(OSError):  # it has closed the file
                found.add(link.readlink())
    return found


def files_under_way(out: Path) -> int:
    """Return how many files are being written at this moment."""
    beside = list(out.parent.glob(f".{out.name}.permgrad-*"))
    return len(beside) + sum(
        any(map(_TEMPORARY.match, own.parts)) for own in files_in(out)
    )


def leave_alone(job: Job, place: Path) -> None:
    """Do a job undisturbed, unless this was done before in this place, and note how
    long it took.
    """
    job.alone, known = place / f"{job.name}-alone", place / f"{job.name}.seconds"
    if not known.exists():
        shutil.rmtree(job.alone, ignore_errors=True)
        log, mark = place / f"{job.name}-alone.log", f"{place.name}-{job.name}-alone"
        with started(job.words(job.alone), log, mark) as process:
            wait_for_work(process, job.alone)
            begun = now = job.clock(process)
            while process.poll() is None:
                now = min(max(now, job.clock(process)), 1e9)
                time.sleep(0.01)
            if process.returncode:
                raise SystemExit(
                    f"{job.name} ended with "
                    f"{process.returncode}:\n{log.read_text(encoding='utf-8')}"
                )
            seconds = now - begun
        if faults := [*broken_files(job.alone), *_unlike(job.alone, job.alone)]:
            raise SystemExit(f"{job.name} left alone leaves broken files: {faults}")
        left_over(mark, PATIENCE)
        known.write_text(str(seconds), encoding="utf-8")
    job.seconds = float(known.read_text(encoding="utf-8"))


def _unlike(alone: Path, out: Path) -> list[str]:
    """Return what ``tools/diff_runs.py`` finds, and that it found nothing to
    compare.
    """
    found, compared = differences(alone, out)
    return [str(one) for one in found[:5]] + (
        [] if compared > 1 else [f"only {compared} files were compared"]
    )


@dataclass
class Story:
    """One job, stopped as ``kills`` say and started again until it ended.

    ``broken`` are files that were broken after a kill, of those ``looked_at``.
    ``unlike`` is what differs from the same job left alone, and what else is wrong with
    how it ended. ``left`` are processes that stayed a while after the end.
    """

    job: Job
    kills: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    unlike: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    looked_at: int = 0

    @property
    def faults(self) -> list[str]:
        """Everything that is wrong."""
        return [*self.broken, *self.unlike, *self.left]


def tell(job: Job, place: Path, number: int, draw: random.Random, kills: int) -> Story:
    """Start a job in a fresh folder, kill it so often, let it end and compare it with
    the same left alone.
    """
    story, out = Story(job), place / f"{job.name}-{number}"
    log, mark, spent = place / f"{out.name}.log", f"{place.name}-{out.name}", 0.0
    for _ in range(kills):
        with started(job.words(out), log, mark) as process:
            wait_for_work(process, out)
            stop = draw.choice(job.stops)
            when, moment = _wait(
                job, process, out, draw, max(0.2 * job.seconds, job.seconds - spent)
            )
            if not _stop(process, stop, story, log):
                break  # it was done before
        spent += moment
        story.kills.append(f"{stop} {when}")
        if stop is not KILL_LEADER:
            # A leader's orphans are met by the next start, as they would be when a user
            # starts again at once.
            story.left += [
                f"{title} after {stop}" for title in left_over(mark, PATIENCE).values()
            ]
        story.broken += [f"after {stop} {when}: {fault}" for fault in broken_files(out)]
        story.looked_at += sum(not is_temporary(name) for name in files_in(out))
    if not story.kills:
        shutil.rmtree(out, ignore_errors=True)
        return story
    with started(job.words(out), log, mark) as process:
        if process.wait() and not _was_done(log):
            story.unlike.append(
                f"started again it ended with {process.returncode}: {_last(log)}"
            )
            return story
    story.unlike += _unlike(job.alone, out)
    story.broken += broken_files(out)
    story.unlike += [
        f"{name} was left"
        for name in files_in(out)
        if any(map(_TEMPORARY.match, name.parts))
    ]
    story.unlike += [
        f"{name.name} was left beside it" for name in place.glob(f".{out.name}.*")
    ]
    story.left += list(left_over(mark, PATIENCE).values())
    for pid in marked(mark):
        os.kill(pid, signal.SIGKILL)
    if not story.faults:
        shutil.rmtree(out)
        log.unlink()
    return story


def _wait(
    job: Job,
    process: subprocess.Popen[bytes],
    out: Path,
    draw: random.Random,
    seconds: float,
) -> tuple[str, float]:
    """Wait for a random moment: of the work that is left, or in the middle of writing a
    file; return when it was.
    """
    begun, moment, writing = (
        job.clock(process),
        draw.uniform(0, seconds),
        draw.random() < 0.4,
    )
    until = begun + (moment / 2 if writing else moment)
    while process.poll() is None and job.clock(process) < until:
        time.sleep(0.005)
    if not writing:
        return f"after {moment:.1f} s", moment
    while process.poll() is None and not files_under_way(out):
        time.sleep(0.001)
    return "while a file was written", min(job.clock(process) - begun, seconds)


def _stop(process: subprocess.Popen[bytes], stop: str, story: Story, log: Path) -> bool:
    """Stop a job; return whether it was at work until then."""
    if process.poll() is not None:
        if process.returncode and not _was_done(log):
            story.unlike.append(
                f"it ended with {process.returncode} before it was stopped: "
                f"{_last(log)}"
            )
        return False
    if stop is INTERRUPT:
        os.killpg(process.pid, signal.SIGINT)
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            story.unlike.append(f"Ctrl-C did not end it in {PATIENCE:g} s")
            return True
        if code not in (0, 130):
            story.unlike.append(f"after Ctrl-C it ended with {code}: {_last(log)}")
        elif code and not _last(log).startswith("error: "):
            story.unlike.append(f"after Ctrl-C it said: {_last(log)}")
        return code != 0
    if stop is KILL_LEADER:
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def _was_done(log: Path) -> bool:
    """Return whether a command refuses to begin because all that it makes is there: it
    was stopped after its end.
    """
    return "already holds an explanation" in _last(log)


def _last(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "nothing"
