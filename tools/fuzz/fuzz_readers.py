"""Coverage-guided fuzzing of every reader of saved files, with Atheris (``pip install
'permgrad[fuzz]'``).

    python -m tools.fuzz.fuzz_readers --all --minutes 30      # the record: 30 minutes for each reader
    python -m tools.fuzz.fuzz_readers --reader csv --into-record  # the others stay as
    they are recorded python -m tools.fuzz.fuzz_readers --reader model --minutes 2
    --keep cases python -m tools.fuzz.fuzz_readers --reader model --case
    cases/model/faults/0a1b2c3d4e5f.case

Each reader starts from valid files. Changes keep the form of a file
(``_fuzz_mutations.py``), and checksums and seals are renewed after most of them, so
that what lies behind is reached. A reader may end well or in a permgrad error that says
what is wrong and what to do. Anything else is a fault: another exception, code that
runs (pickles with a canary are among the cases), a process, a connection, a file
written elsewhere, more than 1 GB of memory, more than 60 seconds, a crash.

Minutes are processor time, so that they say as much on a machine that does other work.

Floors: no fault; every reader has its minutes, finds more branches than its valid files
reach, and lets some changed files in and refuses others.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks._results import RESULTS, markdown_table, parser, record, shortened

from tools.fuzz import _fuzz_readers
from tools.fuzz._fuzz_mutations import unpack
from tools.fuzz._fuzzing import HANG_SECONDS, MEMORY_MB, Faults

_RUNS = re.compile(r"^stat::number_of_executed_units:\s*(\d+)", re.MULTILINE)
_PROGRESS = re.compile(r"^#(\d+)\s+\w+\s+cov: (\d+)", re.MULTILINE)
#: What a process that was ended by the fuzzer's own watchman leaves.
_ENDED = {
    "timeout": f"more than {HANG_SECONDS} seconds",
    "oom": "memory",
    "crash": "a crash",
    "leak": "a leak",
}


def fuzz(name: str, seconds: int, work: Path, seed: int) -> dict[str, Any]:
    """Fuzz one reader in a process, which is started again if it ends before its time;
    return what was found.
    """
    work.mkdir(parents=True, exist_ok=True)
    faults = Faults(work / "faults")
    found: dict[str, Any] = {
        "executions": 0,
        "edges at start": None,
        "edges": 0,
        "read": 0,
        "refused": 0,
    }
    found |= {"slowest s": 0.0, "most MB": 0.0}
    spent, processes = 0.0, 0
    # A process that ends at once, again and again, is a fault of its own.
    while seconds - spent >= 1 and processes < 50:
        (work / "state.json").unlink(missing_ok=True)
        words = [
            sys.executable,
            "-m",
            "tools.fuzz._fuzzing",
            name,
            "--seconds",
            str(int(seconds - spent)),
        ]
        words += ["--work", str(work), "--seed", str(seed + processes)]
        code, said, taken = _run(words)
        _add(found, work, said)
        faults = Faults(work / "faults")
        if code:
            _note_end(faults, work, code, said)
        spent += taken
        processes += 1
    found["faults"] = sorted(faults.found.values(), key=lambda fault: -fault["cases"])
    return {
        "reader": name,
        "minutes": round(spent / 60, 2),
        "processes": processes,
        **found,
    }


def _run(words: list[str]) -> tuple[int, str, float]:
    """Return how a command ended, what it said on its error stream, and its processor
    seconds.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        return process.returncode, said.read(), usage.ru_utime + usage.ru_stime


def _add(found: dict[str, Any], work: Path, said: str) -> None:
    """Add what a process said and wrote of its work."""
    progress = _PROGRESS.findall(said)
    runs = _RUNS.search(said)
    found["executions"] += (
        int(runs.group(1)) if runs else int(progress[-1][0]) if progress else 0
    )
    if progress:
        started = re.search(r"INITED cov: (\d+)", said)
        if found["edges at start"] is None and started:
            found["edges at start"] = int(started.group(1))
        found["edges"] = max(found["edges"], int(progress[-1][1]))
    if (work / "state.json").is_file():
        state = json.loads((work / "state.json").read_text(encoding="utf-8"))
        found["read"] += state["ends"]["read"]
        found["refused"] += state["ends"]["refused"]
        found["slowest s"] = max(found["slowest s"], state["slowest"])
        found["most MB"] = max(found["most MB"], state["most_mb"])


def _note_end(faults: Faults, work: Path, code: int, said: str) -> None:
    """Note why a process ended before its time, with the case that it was reading."""
    told = shortened(said)[-3000:]  # before the cut, which may halve a path
    left = sorted(work.glob("ended-*"))
    for path in left:
        what = path.name.removeprefix("ended-").partition("-")[0]
        faults.note(
            f"the process ended: {_ENDED.get(what, what)}", told, path.read_bytes()
        )
        path.unlink()
    if not left:
        faults.note(f"the process ended with {code}", told, b"")


def try_case(name: str, path: Path) -> int:
    """Read one case, as it was written among the faults, and show what happens."""
    with tempfile.TemporaryDirectory() as place:
        reader = _fuzz_readers.readers[name]
        prepared = reader.prepare(Path(place))
        folder = Path(place, "case")
        folder.mkdir()
        _fuzz_readers.write_folder(unpack(path.read_bytes()), folder)
        print(
            "\n".join(
                f"{file.stat().st_size:>9,} {file.relative_to(folder)}"
                for file in sorted(folder.rglob("*"))
            )
        )
        reader.read(folder, prepared)
    return 0


def main() -> int:
    options = parser(__doc__)
    options.add_argument(
        "--reader",
        action="append",
        choices=list(_fuzz_readers.readers),
        help="may be given again",
    )
    options.add_argument("--all", action="store_true", help="every reader")
    options.add_argument("--minutes", type=float, default=30.0, help="for each reader")
    options.add_argument(
        "--jobs", type=int, default=1, help="readers that are tried at a time"
    )
    options.add_argument("--seed", type=int, default=1)
    options.add_argument(
        "--keep",
        type=Path,
        help="folder for corpus and faults (default: a temporary one)",
    )
    options.add_argument(
        "--into-record",
        action="store_true",
        help="renew these readers in benchmarks/results",
    )
    options.add_argument(
        "--case",
        type=Path,
        help="only read this case with --reader, and show what happens",
    )
    asked = options.parse_args()
    if asked.case is not None:
        return try_case(asked.reader[0], asked.case)
    if importlib.util.find_spec("atheris") is None:
        print(
            "fuzzing needs Atheris, however: it is not installed; pip install "
            "'permgrad[fuzz]'",
            file=sys.stderr,
        )
        return 3
    return _tell(asked, _all(asked))


def _all(asked: argparse.Namespace) -> list[dict[str, Any]]:
    names = (
        list(_fuzz_readers.readers) if asked.all or not asked.reader else asked.reader
    )
    seconds = 10 if asked.quick else int(asked.minutes * 60)
    with (
        tempfile.TemporaryDirectory(prefix="permgrad-fuzz-") as temporary,
        ThreadPoolExecutor(asked.jobs) as pool,
    ):
        work = asked.keep if asked.keep is not None else Path(temporary)

        def one(name: str) -> dict[str, Any]:
            found = fuzz(name, seconds, work / name, asked.seed)
            told = (
                "; ".join(
                    f"{fault['kind']} ({fault['cases']})" for fault in found["faults"]
                )
                or "no fault"
            )
            print(
                f"{name}: {found['executions']:,} executions, {found['edges']} edges: "
                f"{told}",
                flush=True,
            )
            return found

        return list(pool.map(one, names))


def _into_record(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what is recorded of other readers beside what was found now, in the
    readers' order.
    """
    path = RESULTS / "fuzz_readers.json"
    before = (
        json.loads(path.read_text(encoding="utf-8"))["results"]["readers"]
        if path.is_file()
        else []
    )
    by_name = {one["reader"]: one for one in [*before, *found]}
    return [by_name[name] for name in _fuzz_readers.readers if name in by_name]


def _tell(asked: argparse.Namespace, found: list[dict[str, Any]]) -> int:
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    found = [{**one, "date": today} for one in found]
    if asked.into_record:
        found = _into_record(found)
    rows = [{**one, "faults": len(one["faults"])} for one in found]
    seconds = 10 if asked.quick else asked.minutes * 60
    alive = all(
        one["executions"] > 0
        and one["minutes"] * 60 >= 0.95 * seconds
        and one["edges"] > (one["edges at start"] or 0)
        and one["read"] > 0
        for one in found
    )
    faults = [
        {"reader": one["reader"], **fault} for one in found for fault in one["faults"]
    ]
    executions = sum(one["executions"] for one in found)
    text = (
        f"{len(found)} readers, {asked.minutes:g} minutes each; {executions:,} "
        f"executions; {len(faults)} kinds of faults. Memory is what was used beyond "
        f"the process before, of {MEMORY_MB} MB allowed; edges are branches of "
        f"permgrad's own code.\n\n{markdown_table(rows)}"
    )
    for fault in faults:
        text += (
            f"\n\n- **{fault['reader']}**: {fault['kind']} ({fault['cases']} "
            f"cases)\n\n```\n{fault['told'][-800:]}\n```"
        )
    missing = sorted(set(_fuzz_readers.readers) - {one["reader"] for one in found})
    if missing and (asked.all or asked.into_record):
        alive = False
        text += f"\n\nNot tried yet: {', '.join(missing)}."
    data = {"readers": found, "faults": faults}
    return record(
        asked,
        "Readers of saved files, fuzzed",
        text,
        data,
        passed=alive and not faults,
        seeds=[asked.seed],
    )


if __name__ == "__main__":
    raise SystemExit(main())
