"""Mutation testing of attribution/ and imaging/: are small wrong changes to the source
noticed by the tests?

    python -m tools.mutants.mutation_testing --jobs 2               # 500 mutants; hours; goes on where it was stopped
    python -m tools.mutants.mutation_testing --minutes 25           # as many of them as there is time for
    python -m tools.mutants.mutation_testing --again                # the survivors once more, after tests were added
    python -m tools.mutants.mutation_testing --show 20              # no test is run: the first mutants, to read

Mutants (``_mutants.py``) are drawn at random from all possible ones, in an order that
the seed decides. Each is given the tests that run the changed lines
(``_mutation_choice.py``; the whole suite is run once with coverage to know them), light
tests first, until one fails: the mutant is killed. It is also killed where the tests
cannot be imported any more, where a test twice takes over 5 times its unchanged time
and 10 seconds (a hang), and where the process dies. Tests that fail on the unchanged
source are not used. A mutant that no test runs has survived. A survivor can be answered
in ``mutation_answers.json`` (name: answer), for example that it changes no result; it
counts as a survivor all the same.

The floor is on the lower end of Wilson's 95 % interval of the share killed: at least 80
%, of at least 500 mutants. The page also has the branch coverage of the measured run.

Why not a ready tool: mutmut, cosmic-ray and mutatest start a new process with a new
interpreter for each mutant, and importing torch and its company takes that process
three seconds; many mutants are noticed in a tenth of that. Here children are forked
from a process that has imported all libraries already (``_mutation_server.py``). mutmut
does fork, but puts all mutants of a file into one instrumented file, which changes what
``inspect`` and ``torch.fx`` see, and it cannot draw 500 of 17,000; none of the three
keeps a place for answers.

Everything lies in ``--work`` (``tools/mutants/.mutants``): the measured run, copies of
the repository, what has ended. Nothing is written beside it but the record.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks._results import markdown_table, parser, record

from tools.mutants._mutants import Mutant, compiles, draw, find_mutants
from tools.mutants._mutation_choice import (
    ROOT,
    Chooser,
    Lines,
    branch_coverage,
    copy_tree,
    digest,
    environment,
    measure,
)

AREAS = ("attribution", "imaging")
WORK = ROOT / "tools" / "mutants" / ".mutants"
ANSWERS = Path(__file__).parent / "mutation_answers.json"
FLOOR, WANTED = 0.80, 500
KILLED = ("failed", "error", "late", "died")


# --- a process that runs tests --------------------------------------------------------
class Server:
    """One ``_mutation_server.py`` with a copy of the repository of its own."""

    def __init__(self, work: Path, number: int) -> None:
        self.tree = work / f"tree-{number}"
        copy_tree(self.tree)
        command = [sys.executable, "-m", "tools.mutants._mutation_server"]
        command += [str(self.tree), str(_modules(work, self.tree))]
        log = (work / f"server-{number}.log").open("w")
        self.log = work / f"tests-{number}.log"
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment(self.tree),
        )
        self._read()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        self.process.stdin.write(json.dumps({"log": str(self.log), **request}) + "\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(
                "the process that runs tests has ended; see server-*.log beside "
                f"{self.tree}"
            )
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def _modules(work: Path, tree: Path) -> Path:
    """Write the names of all libraries that reading the tests imports, and return the
    file.
    """
    path = work / "modules.json"
    if not path.exists():
        own = "{'permgrad', 'tests', 'conftest', '__main__', '_pytest', 'pytest'}"
        local = "str(getattr(module, '__file__', None) or '')"
        code = (
            "import sys, json, pytest\npytest.main(['-q', '--collect-only', '-p', "
            "'no:cacheprovider', 'tests/attribution', 'tests/imaging'])\nimport "
            "permgrad.models.train.learner, torch._dynamo\nnames = [name for name, "
            f"module in sys.modules.items() if name.partition('.')[0] not in {own}\n   "
            f"      and {local} and not "
            f"{local}.startswith({str(tree)!r})]\nopen({str(path)!r}, "
            "'w').write(json.dumps(names))\n"
        )
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=tree,
            env=environment(tree),
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return path


# --- what tests cost ------------------------------------------------------------------
def costs(work: Path, lines: Lines, server: Server, most: float) -> dict[str, Any]:
    """Run each test that runs any of the files once on the unchanged source, and return
    what they cost.

    Tests that fail or are skipped here cannot notice a mutant, and are left out; so are
    those that took over ``most`` seconds when they were measured.
    """
    path = work / "costs.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    covering = set().union(
        *(tests for own in lines.tests.values() for tests in own.values())
    )
    too_long = {test for test in covering if _measured(lines, test) > most}
    wanted: dict[str, list[str]] = defaultdict(list)
    for test in sorted(covering - too_long):
        wanted[test.partition("::")[0]].append(test)
    for name, tests in wanted.items():
        key = f"{digest(ROOT / name)} {len(tests)}"
        if known.get(name, {}).get("key") != key:
            known[name] = {"key": key, **_time(work, server, tests, most)}
            path.write_text(json.dumps(known))
            print(f"timed {name}: {known[name]['end']}", flush=True)
    timed: dict[str, Any] = {
        "own": {},
        "fixtures": {},
        "needs": {},
        "reading": {},
        "known": [],
        "clock": {},
    }
    timed |= {"too long": sorted(too_long), "failed": []}
    for name in wanted:
        found = known[name]
        timed["fixtures"] |= found["fixtures"]
        timed["needs"] |= found["needs"]
        timed["reading"][name] = found["collected"]
        timed["known"] += found["known"]
        for test, own in found["durations"].items():
            if own["outcome"] == "passed":
                timed["own"][test] = own["processor"] - own["shared"]
                timed["clock"][test] = sum(
                    own.get(part, 0.0) for part in ("setup", "call", "teardown")
                )
            elif own["outcome"] == "failed":
                timed["failed"].append(test)
    return timed


def _measured(lines: Lines, test: str) -> float:
    return sum(
        lines.durations.get(test, {}).get(part, 0.0) for part in ("setup", "call")
    )


def _time(work: Path, server: Server, tests: list[str], most: float) -> dict[str, Any]:
    details = work / "details.json"
    details.unlink(missing_ok=True)
    end = server.ask(
        change=None,
        tests=tests,
        known=tests,
        stop=False,
        limits={},
        limit=10 * most,
        details=str(details),
    )
    empty = {
        "durations": {},
        "fixtures": {},
        "needs": {},
        "collected": 0.0,
        "known": [],
    }
    return {
        "end": end["end"],
        **(json.loads(details.read_text()) if details.exists() else empty),
    }


# --- mutants --------------------------------------------------------------------------
def sources(areas: Iterable[str]) -> dict[str, str]:
    """Return the files that are mutated."""
    base = ROOT / "src" / "permgrad"
    paths = sorted(path for area in areas for path in (base / area).rglob("*.py"))
    return {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths
    }


def drawn(files: dict[str, str], count: int, seed: int) -> tuple[list[Mutant], int]:
    """Return so many mutants in the order of the seed, and how many are possible."""
    possible = [
        mutant
        for path, source in files.items()
        for mutant in find_mutants(source, path)
    ]
    chosen: list[Mutant] = []
    for mutant in draw(possible, seed):
        if len(chosen) == count:
            break
        if compiles(mutant.apply(files[mutant.path])):
            chosen.append(mutant)
    return chosen, len(possible)


def try_mutant(
    mutant: Mutant, source: str, chooser: Chooser, known: list[str], server: Server
) -> dict[str, Any]:
    """Run tests on a mutant until one fails, and return how it ended."""
    plan = chooser.plan(mutant)
    found: dict[str, Any] = {
        "name": mutant.name, "file": mutant.path, "source": digest(ROOT / mutant.path), "line": mutant.node_lines[0],
        "operator": mutant.operator, "diff": mutant.diff(source), "covering": plan.covering,
        "left out": plan.left_out, "end": "no test" if not plan.covering else "passed", "by": "", "tests": 0,
        "seconds": 0.0,
    }  # fmt: skip
    for tests in plan.rounds:
        files = {test.partition("::")[0] for test in tests}
        reading = sum(chooser.reading.get(name, 0.0) for name in files)
        asked: dict[str, Any] = {
            "change": [mutant.path, mutant.apply(source)], "tests": tests, "stop": True, "details": None,
            "known": [name for name in known if name.partition("::")[0] in files],
            "limits": {test: chooser.limit(test) for test in tests}, "limit": 5 * reading + 30,
        }  # fmt: skip
        end = server.ask(**asked)
        if end["end"] == "late":
            # A pause of the machine looks like a hang: only what hangs twice is one.
            end = server.ask(**asked)
        found["seconds"] += end["seconds"]
        found["tests"] += end["ran"]
        if end["end"] != "passed" and end["end"] != "empty":
            if end["end"] not in KILLED:
                raise RuntimeError(
                    f"pytest could not run the tests for {mutant.name}: {end}; see "
                    f"{server.log}"
                )
            found |= {"end": end["end"], "by": end["by"]}
            break
    found["killed"] = found["end"] in KILLED
    return found


class Results:
    """What has ended, in a file with one line each, so that a stopped run goes on."""

    def __init__(self, path: Path, files: dict[str, str]) -> None:
        self.path, self.lock = path, threading.Lock()
        self.found: dict[str, dict[str, Any]] = {}
        hashed = {name: digest(ROOT / name) for name in files}
        for line in path.read_text().splitlines() if path.exists() else ():
            one = json.loads(line)
            # Where the file has changed elsewhere the mutant is another one.
            if hashed.get(one["file"]) == one["source"]:
                self.found[one["name"]] = one

    def add(self, one: dict[str, Any]) -> None:
        with self.lock, self.path.open("a") as file:
            file.write(json.dumps(one) + "\n")
            self.found[one["name"]] = one


def try_all(
    asked: argparse.Namespace,
    mutants: list[Mutant],
    files: dict[str, str],
    results: Results,
) -> None:
    """Try every mutant that has not ended yet, in so many processes, until all are done
    or the time is over.
    """
    work = asked.work
    lines = Lines(work, files)
    servers = [Server(work, 0)]
    timed = costs(work, lines, servers[0], asked.seconds)
    chooser = Chooser(lines, timed, asked.seconds)
    print(
        f"{len(timed['own'])} tests; left out: {len(timed['too long'])} too long, "
        f"{len(timed['failed'])} that fail"
    )
    waiting = [
        mutant for mutant in mutants
        if mutant.name not in results.found or (asked.again and not results.found[mutant.name]["killed"])
    ]  # fmt: skip
    waiting.reverse()
    servers += [
        Server(work, number) for number in range(1, min(asked.jobs, len(waiting)))
    ]
    due = time.monotonic() + 60 * asked.minutes
    faults: list[BaseException] = []

    def work_on(server: Server) -> None:
        while waiting and time.monotonic() < due and not faults:
            try:
                mutant = waiting.pop()
            except IndexError:
                return
            try:
                one = try_mutant(
                    mutant, files[mutant.path], chooser, timed["known"], server
                )
            except BaseException as error:  # noqa: BLE001 — told by the main thread
                faults.append(error)
                return
            results.add(one)
            print(
                f"{len(results.found)} {one['name']} {one['end']} {one['by']} "
                f"({one['tests']} tests, "
                f"{one['seconds']:.1f} s)", flush=True,
            )  # fmt: skip

    threads = [threading.Thread(target=work_on, args=(server,)) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for server in servers:
        server.close()
    if faults:
        raise faults[0]


# --- the page -------------------------------------------------------------------------
def wilson(killed: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share."""
    if not count:
        return 0.0, 1.0
    share = killed / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = (
        z
        / (1 + z * z / count)
        * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    )
    return middle - half, middle + half


def page(
    found: list[dict[str, Any]],
    possible: int,
    answers: dict[str, str],
    shares: dict[str, float],
) -> str:
    """Return the record's text."""
    killed = [one for one in found if one["killed"]]
    survivors = [one for one in found if not one["killed"]]
    low, high = wilson(len(killed), len(found))
    ends = Counter(one["end"] for one in found)
    told = {
        "failed": "a test failed",
        "error": "tests could not be imported",
        "late": "a test hung",
    }
    told |= {
        "died": "the process died",
        "passed": "all tests passed",
        "no test": "no test runs the line",
    }
    rows = []
    for kind in ("operator", "folder"):
        groups: dict[str, list[bool]] = defaultdict(list)
        for one in found:
            groups[
                one["operator"] if kind == "operator" else str(Path(one["file"]).parent)
            ].append(one["killed"])
        rows += [
            {"": name, "mutants": len(own), "killed": sum(own)}
            for name, own in sorted(groups.items())
        ]
    answered = sum(one["name"] in answers for one in survivors)
    short = sum(one["left out"] > 0 for one in survivors)
    seconds = sum(one["seconds"] for one in found)
    parts = [
        (
            f"{len(found)} mutants of {possible:,} possible; **{len(killed)} killed, "
            f"{len(killed) / max(len(found), 1):.1%}** (95 % interval {low:.1%} to "
            f"{high:.1%}). {seconds / 60:.0f} minutes of processor time."
        ),
        "How they ended: "
        + "; ".join(f"{told[end]}: {number}" for end, number in ends.most_common())
        + ".",
        markdown_table(rows),
        (
            f"{len(survivors)} survivors, {answered} of them answered in "
            "`mutation_answers.json`. All count as survivors, also those that change "
            f"no result. For {short} of them some tests that run the line were left "
            "out, for time."
        ),
        *(
            _survivor(one, answers.get(one["name"]))
            for one in sorted(survivors, key=lambda one: one["name"])
        ),
    ]
    if shares:
        below = {
            name: share
            for name, share in shares.items()
            if share < 95 and name != "total"
        }
        listed = "; ".join(
            f"`{name}` {share:.1f} %"
            for name, share in sorted(below.items(), key=lambda one: one[1])
        )
        parts.append(
            "Lines and branches of `src` that the whole suite runs, processes that "
            f"tests start included: **{shares['total']:.2f} %**, floor 95 %. Files "
            f"below 95 %: {listed or 'none'}."
        )
    return "\n\n".join(parts)


def _survivor(one: dict[str, Any], answer: str | None) -> str:
    name = one["name"].removeprefix("src/permgrad/")
    left = f", {one['left out']} left out" if one["left out"] else ""
    return (
        f"`{name}` (line {one['line']}, {one['operator']}; {one['tests']} of "
        f"{one['covering']} tests ran{left}): "
        f"{answer or 'not answered yet'}\n\n```diff\n{one['diff']}\n```"
    )


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--mutants", type=int, default=WANTED)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--jobs", type=int, default=1, help="processes that run tests")
    options.add_argument(
        "--minutes",
        type=float,
        default=math.inf,
        help="begin no mutant after this time",
    )
    options.add_argument(
        "--seconds",
        type=float,
        default=60.0,
        help="test time per mutant, on the unchanged source",
    )
    options.add_argument("--again", action="store_true", help="try survivors again")
    options.add_argument(
        "--show",
        type=int,
        default=0,
        metavar="N",
        help="only print the first N mutants",
    )
    options.add_argument(
        "--areas", nargs="*", default=AREAS, help="folders of permgrad that are mutated"
    )
    options.add_argument(
        "--tests",
        nargs="*",
        default=["tests", "src"],
        help="where tests are looked for",
    )
    options.add_argument("--work", type=Path, default=WORK)
    asked = options.parse_args()
    if asked.quick:
        asked.mutants, asked.areas, asked.tests = 10, ["imaging"], ["tests/imaging"]
        asked.work = asked.work.with_name(".mutants-quick")
    files = sources(asked.areas)
    mutants, possible = drawn(files, asked.show or asked.mutants, asked.seed)
    if asked.show:
        for mutant in mutants:
            print(
                f"{mutant.name} (line {mutant.node_lines[0]}, "
                f"{mutant.operator})\n{mutant.diff(files[mutant.path])}\n"
            )
        return 0
    asked.work = asked.work.resolve()
    asked.work.mkdir(parents=True, exist_ok=True)
    measure(asked.work, asked.tests)
    results = Results(asked.work / f"results-{asked.seed}.jsonl", files)
    try_all(asked, mutants, files, results)
    found = [
        results.found[mutant.name] for mutant in mutants if mutant.name in results.found
    ]
    answers = (
        json.loads(ANSWERS.read_text(encoding="utf-8")) if ANSWERS.exists() else {}
    )
    shares = branch_coverage(asked.work)
    low, _ = wilson(sum(one["killed"] for one in found), len(found))
    survivors = [one["name"] for one in found if not one["killed"]]
    passed = (
        len(found) >= WANTED
        and low >= FLOOR
        and all(name in answers for name in survivors)
    )
    passed = passed and shares.get("total", 0.0) >= 95
    data = {"possible": possible, "mutants": found, "coverage": shares}
    text = page(found, possible, answers, shares)
    return record(
        asked,
        "Mutants that the tests notice",
        text,
        data,
        passed=passed,
        seeds=[asked.seed],
    )


if __name__ == "__main__":
    raise SystemExit(main())
