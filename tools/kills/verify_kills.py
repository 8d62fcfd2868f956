"""Is anything lost, half-written or left running, whenever a job is killed?

    python -m tools.kills.verify_kills                                  # 100 kills over all jobs
    python -m tools.kills.verify_kills --kills 10 --jobs run ray        # a look at some of them
    python -m tools.kills.verify_kills --place kills                    # keeps the jobs left alone for the next time

Jobs of about 20 seconds or less are started as a user starts them: ``run``,
``compare``, ``tune``, ``explain`` of a folder of Parquet files in parts (``explain``:
importances, ``rows``: each row's values), of rows in memory (``memory``), on two Ray
workers (``ray``), and ``benchmark``. Each is stopped one to three times: three in four
with ``kill -9`` of the whole process group, or, for ``ray``, of the leading process
alone; the others with Ctrl-C, which reaches the whole group as in a terminal. The
moment is drawn from the time that the job is known to take, or, two times in five, it
is the next moment at which a file is being written.

After each stop every file that has its own name must be readable to its end, as its
kind says, and no process may be left (orphans of a leader that was killed alone: at the
end). The job is then started again until it ends: ``permgrad diff`` with the same job
left alone must find nothing, and no temporary file may be left. Ctrl-C must end a job
with exit code 130 and one sentence.

Floor: no fault.
"""

from __future__ import annotations

import collections
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks._results import markdown_table, parser, record
from verification.verify_ray import make_case
from verification.verify_resume import make_table

from tools.kills._kills import (
    INTERRUPT,
    KILL,
    KILL_LEADER,
    Job,
    Story,
    differences,
    leave_alone,
    tell,
)

KILLS, QUICK_KILLS = 100, 6
MOST_IN_A_ROW = 3
#: Of the table in parts: how many, and how many rows each.
PARTS, ROWS = 8, 1500
_CUTS = ("product", "xor")


def _words(*words: object) -> Callable[[Path], list[str]]:
    command = [sys.executable, "-m", "permgrad", *map(str, words), "--threads", "1"]
    return lambda out: [*command, "--out", str(out)]


def _every_job(place: Path, *, quick: bool) -> list[Job]:
    table, target, explain = (
        place / "table.csv",
        ("--target", "y"),
        ("explain", place / "model"),
    )
    parts, local, sample = place / "table", ("--engine", "local"), 60 if quick else 500
    models = ("--models", "linear,extra_trees,fast", "--cv", 2 if quick else 3)
    methods = ("--methods", "permgrad,gradient,random", "--no-peers", "--quick")
    functions = ("--functions", ",".join(_CUTS), "--seeds", 1 if quick else 2)
    stops = (KILL, KILL_LEADER, KILL_LEADER, INTERRUPT)
    return [
        Job("run", _words("run", table, *target, "--preset", "fast")),
        Job("compare", _words("compare", table, *target, *models)),
        Job(
            "tune",
            _words(
                "tune",
                table,
                *target,
                "--trials",
                2 if quick else 4,
                "--space",
                place / "space.json",
            ),
        ),
        Job("explain", _words(*explain, parts, *local)),
        Job(
            "rows",
            _words(
                *explain,
                parts,
                "--method",
                "integrated_gradients",
                "--max-rows",
                sample,
                *local,
            ),
        ),
        Job("memory", _words(*explain, parts / "000.parquet")),
        Job(
            "ray",
            _words(*explain, parts, "--engine", "ray", "--workers", 2),
            stops,
            alone_at_work=False,
        ),
        Job("benchmark", _words("benchmark", "tabular", *methods, *functions)),
    ]


def make_jobs(place: Path, names: Sequence[str], *, quick: bool = False) -> list[Job]:
    """Write what jobs need, unless it is there, and return those asked for, with what
    they do undisturbed.
    """
    if not (place / "ready").exists():
        make_table(place)
        make_case(
            place,
            parts=3 if quick else PARTS,
            rows=300 if quick else ROWS,
            preset="fast",
        )
        (place / "ready").touch()
    jobs = [job for job in _every_job(place, quick=quick) if job.name in names]
    for job in jobs:
        begun = time.perf_counter()
        leave_alone(job, place)
        print(
            f"{job.name} alone: {job.seconds:.1f} s of work, "
            f"{time.perf_counter() - begun:.1f} s",
            flush=True,
        )
        check_diff(job, place)
    return jobs


JOBS = ("run", "compare", "tune", "explain", "rows", "memory", "ray", "benchmark")


def check_diff(job: Job, folder: Path) -> None:
    """See that ``tools/diff_runs.py`` finds one changed digit in a result; else finding
    nothing says nothing.
    """
    copy = folder / f"{job.name}-changed"
    shutil.copytree(job.alone, copy)
    names = ("importance.csv", "importances.csv", "results.csv")
    changed = next(copy / name for name in names if (copy / name).exists())
    lines = changed.read_text(encoding="utf-8").splitlines(keepends=True)
    digits = (
        (place, re.search(r"(?<=\.\d)[1-8]", line))
        for place, line in enumerate(lines)
        if "seconds" not in line
    )
    place, digit = next((place, digit) for place, digit in digits if digit is not None)
    lines[place] = (
        f"{digit.string[: digit.start()]}{int(digit[0]) + 1}{digit.string[digit.end() :]}"
    )
    changed.write_text("".join(lines), encoding="utf-8")
    found, _ = differences(job.alone, copy)
    if len(found) != 1:
        raise SystemExit(
            f"tools/diff_runs.py finds {len(found)} differences where {changed.name} "
            "differs in one digit"
        )
    shutil.rmtree(copy)


def check_all(
    place: Path, names: Sequence[str], kills: int, seed: int, *, quick: bool = False
) -> list[Story]:
    """Kill jobs in turn until there were so many kills."""
    jobs, stories, number = make_jobs(place, names, quick=quick), [], 0
    counts = dict.fromkeys((job.name for job in jobs), 0)
    while sum(counts.values()) < kills and number < 4 * kills:
        # The job that was killed least often is next, so that all get their share.
        job = min(jobs, key=lambda own: counts[own.name])
        draw = random.Random(f"{seed} {number}")
        story = tell(
            job,
            place,
            number,
            draw,
            min(draw.randint(1, MOST_IN_A_ROW), kills - sum(counts.values())),
        )
        number += 1
        stories.append(story)
        counts[job.name] += len(story.kills)
        print(
            f"{sum(counts.values())}/{kills} {job.name}: "
            f"{'; '.join(story.kills) or 'it was done before'}"
            + "".join(f"\n  FAULT {fault}" for fault in story.faults),
            flush=True,
        )
    return stories


def lines_of(stories: Sequence[Story], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return one line for each job."""
    lines = []
    for name in names:
        own = [story for story in stories if story.job.name == name and story.kills]
        ways = collections.Counter(
            kill.partition(" after ")[0].partition(" while ")[0]
            for s in own
            for kill in s.kills
        )
        lines.append(
            {
                "job": name,
                "seconds of work": own[0].job.seconds if own else None,
                "started anew": len(own),
                "kills": sum(ways.values()),
                KILL: ways[KILL],
                KILL_LEADER: ways[KILL_LEADER],
                INTERRUPT: ways[INTERRUPT],
                "while writing": sum(
                    "while" in kill for story in own for kill in story.kills
                ),
                "files looked at": sum(story.looked_at for story in own),
                "corrupt files": sum(len(story.broken) for story in own),
                "differences": sum(len(story.unlike) for story in own),
                "processes left": sum(len(story.left) for story in own),
            }
        )
    return lines


def main() -> int:
    """Do the check and record it."""
    options = parser(__doc__)
    options.add_argument(
        "--kills",
        type=int,
        help=f"how many (default: {KILLS}, {QUICK_KILLS} with --quick)",
    )
    options.add_argument(
        "--jobs",
        nargs="+",
        choices=JOBS,
        help="which (default: all; with --quick run and explain)",
    )
    options.add_argument("--seed", type=int, default=0)
    options.add_argument(
        "--place", type=Path, help="a folder that stays, with the jobs left alone"
    )
    asked = options.parse_args()
    # Whoever stops this script also stops what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    kills = (
        asked.kills
        if asked.kills is not None
        else QUICK_KILLS
        if asked.quick
        else KILLS
    )
    names = asked.jobs or (("run", "explain") if asked.quick else JOBS)
    with tempfile.TemporaryDirectory(prefix="verify-kills-") as folder:
        place = asked.place if asked.place is not None else Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        begun = time.perf_counter()
        stories = check_all(
            place.resolve(), names, kills, asked.seed, quick=asked.quick
        )
    lines, total = lines_of(stories, names), sum(len(story.kills) for story in stories)
    faults = [
        f"{story.job.name}, {'; '.join(story.kills)}: {fault}"
        for story in stories
        for fault in story.faults
    ]
    text = (
        f"{total} kills in {(time.perf_counter() - begun) / 60:.0f} minutes. A killed "
        "job is started again until it "
        "ends, and compared by `tools/diff_runs.py` with the same job left alone.\n\n"
        + markdown_table(lines)
        + "".join(f"\n\n- {fault}" for fault in faults)
    )
    data = {
        "jobs": lines,
        "kills": [[story.job.name, *story.kills] for story in stories],
        "faults": faults,
    }
    passed = not faults and total == kills
    return record(
        asked, "Killed at random moments", text, data, passed=passed, seeds=[asked.seed]
    )


if __name__ == "__main__":
    sys.exit(main())
