"""Does work that was killed go on as if nothing had happened?

One process: ``permgrad tune`` and ``permgrad run`` are started as a user starts them,
killed with ``kill -9``, started again and left to end; at five random moments each,
once for each, and for ``tune`` also five times in a row on one study. Their files are
then compared, byte for byte, with those of the same command left alone: for ``tune``
the trial table, every trial's weights, the winner's settings, weights, predictions,
metrics and explanation; for ``run`` weights, predictions, metrics and explanation.

Two processes on one study, each killed at random moments and started again: the study
must have its total of trials, numbered without a gap, each finished once, and each with
its model.

A moment is drawn between the first sign of work and the time that the work is known to
take, so that kills fall into training, into the database's writes, and into the export
of the winner alike.

Floors: no difference, and no trial lost or repeated.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from benchmarks._results import markdown_table, parser, record

KILLS = 5
TRIALS = 8
SPACE = {
    "base": "fast",
    "parameters": {
        "learning_rate": {"low": 3e-4, "high": 3e-2, "log": True},
        "max_epochs": {"choices": [6, 12, 20]},
        "network.dropout": {"low": 0.0, "high": 0.4},
        "network.dense_units.width": {"low": 16, "high": 64, "step": 16},
        "network.dense_units.depth": {"low": 1, "high": 3},
        "layout": {"choices": ["assignment", "random"]},
    },
}
#: What must be equal to the last byte; times of day and durations stand in other files.
RUN_FILES = (
    "model/weights.safetensors",
    "predictions.csv",
    "metrics.json",
    "importance.csv",
    "branches.json",
)
TUNE_FILES = ("trials.csv", "preset.json")
_FINISHED = re.compile(r"^\[\d+/\d+\] trial (\d+): ", re.MULTILINE)


def make_table(folder: Path, rows: int = 600) -> None:
    """Write a small table and the search space."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"x{number}": rng.normal(size=rows) for number in range(6)})
    frame["place"] = rng.choice(["north", "south", "east"], rows)
    signal_ = frame["x0"] * frame["x1"] + frame["x2"] + (frame["place"] == "north")
    frame["y"] = np.where(signal_ + rng.normal(size=rows) > 0.4, "yes", "no")
    frame.to_csv(folder / "table.csv", index=False)
    (folder / "space.json").write_text(json.dumps(SPACE), encoding="utf-8")


def words_of(command: str, place: Path, out: Path, trials: int = TRIALS) -> list[str]:
    """Return the command line of a study or a run in ``out``."""
    words = [
        sys.executable,
        "-m",
        "permgrad",
        command,
        str(place / "table.csv"),
        "--target",
        "y",
        "--out",
        str(out),
    ]
    own = (
        ["--trials", str(trials), "--space", str(place / "space.json")]
        if command == "tune"
        else ["--preset", "fast"]
    )
    return [*words, *own, "--threads", "1"]


def start(words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a command; what it says is added to ``log``."""
    with log.open("ab") as stream:
        return subprocess.Popen(
            words,
            stdout=subprocess.DEVNULL,
            stderr=stream,
            env={**os.environ, "MPLBACKEND": "Agg"},
        )


def wait_for_work(process: subprocess.Popen[bytes], out: Path) -> None:
    """Return when a process has taken the folder, or has ended."""
    while process.poll() is None:
        locks = [out / ".lock", *(out / ".workers").glob(f"{process.pid}-*.lock")]
        if any(lock.exists() for lock in locks):
            return
        time.sleep(0.002)


def finish(words: Sequence[str], log: Path) -> float:
    """Run a command to its end and return the seconds it took."""
    begun = time.perf_counter()
    code = start(words, log).wait()
    if code:
        raise SystemExit(
            f"{' '.join(words)} ended with {code}:\n{log.read_text(encoding='utf-8')}"
        )
    return time.perf_counter() - begun


def kill_at_random(
    words: Sequence[str],
    out: Path,
    log: Path,
    kills: int,
    seconds: float,
    draw: random.Random,
) -> int:
    """Start a command ``kills`` times and kill it each time; return how many were still
    at work then.
    """
    hit = 0
    for _ in range(kills):
        process = start(words, log)
        wait_for_work(process, out)
        time.sleep(draw.uniform(0, seconds))
        process.send_signal(signal.SIGKILL)
        hit += process.wait() == -signal.SIGKILL
    return hit


def work_seconds(words: Sequence[str], out: Path, log: Path) -> float:
    """Run a command to its end and return the seconds between its first sign of work
    and its end.
    """
    process = start(words, log)
    wait_for_work(process, out)
    begun = time.perf_counter()
    if process.wait():
        raise SystemExit(
            f"{' '.join(words)} failed:\n{log.read_text(encoding='utf-8')}"
        )
    return time.perf_counter() - begun


def differing(one: Path, other: Path, names: Sequence[str]) -> list[str]:
    """Return the files that differ or are missing."""
    return [
        name
        for name in names
        if not all((folder / name).is_file() for folder in (one, other))
        or (one / name).read_bytes() != (other / name).read_bytes()
    ]


def states_of(out: Path) -> list[str]:
    """Return the state of every trial that the study's database holds, interrupted ones
    included.
    """
    with sqlite3.connect(out / "study.db") as database:
        return [
            state
            for (state,) in database.execute("select state from trials order by number")
        ]


def lost_or_repeated(out: Path, log: Path, trials: int) -> list[str]:
    """Return what is wrong with the trials of a study."""
    states = states_of(out)
    faults = (
        []
        if sum(state in ("COMPLETE", "PRUNED", "FAIL") for state in states) >= trials
        else [f"states: {states}"]
    )
    table = pd.read_csv(out / "trials.csv")
    if list(table["trial"]) != list(range(trials)):
        faults.append(f"trials.csv has {list(table['trial'])}")
    kept = table.loc[table["state"] != "failed", "trial"]
    faults += [
        f"trial {trial} has no model"
        for trial in kept
        if not trial_weights(out, trial).is_file()
    ]
    said = [
        int(number) for number in _FINISHED.findall(log.read_text(encoding="utf-8"))
    ]
    faults += [
        f"trial {number} was finished twice"
        for number in sorted({n for n in said if said.count(n) > 1})
    ]
    return faults


def trial_weights(out: Path, trial: int) -> Path:
    """Return the file of a trial's weights."""
    return out / "trials" / str(trial) / "model" / "weights.safetensors"


# ---- the checks ----------------------------------------------------------------------
def check_moments(
    command: str, place: Path, seed: int, kills: int, trials: int
) -> dict[str, Any]:
    """Kill at one moment of the whole work, go on to the end and compare; anew for each
    moment.
    """
    draw, seconds = random.Random(seed), leave_alone(command, place, trials)
    hit, faults, number = 0, [], 0
    while hit < kills and number < 3 * kills:
        number += 1
        out = place / f"{command}-{seed}-{number}"
        log, words = place / f"{out.name}.log", words_of(command, place, out, trials)
        hit += kill_at_random(words, out, log, 1, seconds, draw)
        finish(words, log)
        faults += compare(command, place, out, log, trials)
    return _line(
        command, "one, once", seed, hit, faults, len(files_of(command, trials))
    )


def check_row(place: Path, seed: int, kills: int, trials: int) -> dict[str, Any]:
    """Kill one study again and again, and compare with the same left alone."""
    draw, seconds = random.Random(100 + seed), leave_alone("tune", place, trials)
    out = place / f"row-{seed}"
    log, words = place / f"{out.name}.log", words_of("tune", place, out, trials)
    # Sessions add up: such moments leave something to kill each time.
    hit = kill_at_random(words, out, log, kills, 1.6 * seconds / kills, draw)
    finish(words, log)
    faults = compare("tune", place, out, log, trials)
    return _line(
        "tune", "one, in a row", seed, hit, faults, len(files_of("tune", trials))
    )


def leave_alone(command: str, place: Path, trials: int) -> float:
    """Do the work undisturbed, once, and return the seconds between its first sign and
    its end.
    """
    out, known = place / f"{command}-alone", place / f"{command}.seconds"
    if not known.exists():
        seconds = work_seconds(
            words_of(command, place, out, trials), out, place / f"{out.name}.log"
        )
        known.write_text(str(seconds), encoding="utf-8")
    return float(known.read_text(encoding="utf-8"))


def files_of(command: str, trials: int) -> list[str]:
    """Return the names of the files that must be equal."""
    if command == "run":
        return list(RUN_FILES)
    own = [trial_weights(Path(), trial).as_posix() for trial in range(trials)]
    return [*RUN_FILES, *TUNE_FILES, *own]


def compare(command: str, place: Path, out: Path, log: Path, trials: int) -> list[str]:
    """Return what distinguishes disturbed work from the same left alone."""
    faults = [
        f"{out.name}: {name} differs"
        for name in differing(
            place / f"{command}-alone", out, files_of(command, trials)
        )
    ]
    return faults + (lost_or_repeated(out, log, trials) if command == "tune" else [])


def check_two(place: Path, seed: int, kills: int, trials: int) -> dict[str, Any]:
    """Let two processes work on one study, kill one or the other, or both, and start
    them again.
    """
    draw = random.Random(1000 + seed)
    out, log = place / f"two-{seed}", place / f"two-{seed}.log"
    words = words_of("tune", place, out, trials)
    running = [start(words, log), start(words, log)]
    seconds = leave_alone("tune", place, trials)
    hit = 0
    for _ in range(kills):
        for process in running:
            wait_for_work(process, out)
        time.sleep(draw.uniform(0, 1.6 * seconds / kills))
        for victim in draw.choice(([0], [1], [0, 1])):
            running[victim].send_signal(signal.SIGKILL)
            hit += running[victim].wait() == -signal.SIGKILL
            running[victim] = start(words, log)
    codes = [process.wait() for process in running]
    faults = [
        f"a process ended with {code}" for code in codes if code
    ] + lost_or_repeated(out, log, trials)
    return _line("tune", "two", seed, hit, faults, 0)


def _line(
    command: str, processes: str, seed: int, hit: int, faults: list[str], compared: int
) -> dict[str, Any]:
    return {
        "command": command,
        "processes": processes,
        "seed": seed,
        "killed at work": hit,
        "files compared": compared or None,
        "faults": "; ".join(faults) or "none",
        "holds": not faults,
    }


def check_all(
    place: Path, seeds: Sequence[int], kills: int, trials: int
) -> list[dict[str, Any]]:
    """Do all checks in a folder, and return one line for each."""
    make_table(place)
    lines = []
    for seed in seeds:
        checks = [
            lambda seed=seed: check_row(place, seed, kills, trials),
            lambda seed=seed: check_moments("run", place, seed, kills, trials),
            lambda seed=seed: check_two(place, seed, kills, trials),
            lambda seed=seed: check_moments("tune", place, seed, kills, trials),
        ]
        for check in checks:
            lines.append(check())
            print(lines[-1], flush=True)
    return lines


def main() -> int:
    """Do the check and record it."""
    arguments = parser(__doc__).parse_args()
    seeds = [0]
    kills, trials = (2, 4) if arguments.quick else (KILLS, TRIALS)
    with tempfile.TemporaryDirectory() as folder:
        lines = check_all(Path(folder), seeds, kills, trials)
    text = (
        f"Studies of {trials} trials and runs with preset fast on a table of 600 rows; "
        f"{kills} kills for each line: once each of as many studies or runs, in a row "
        "on one study, or on two processes of one study, of which one or both are "
        "killed each time. Files are compared byte for byte with those of the same "
        "command left alone.\n\n" + markdown_table(lines)
    )
    return record(
        arguments,
        "Killed and started again",
        text,
        lines,
        passed=all(line["holds"] for line in lines),
        seeds=seeds,
    )


if __name__ == "__main__":
    sys.exit(main())
