"""Which tests are run on a mutant, in which order: those that run the changed lines,
the quickest first.

The whole suite is run once, with coverage that notes which test runs which line
(``measure``). From then on only test files that are new or changed are measured again.
Where a source file is not as it was measured, its lines have moved: then all tests that
run anything in the file are chosen, which is slower and misses nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.mutants._mutants import Mutant

ROOT = Path(__file__).resolve().parents[2]
LEFT_BEHIND = shutil.ignore_patterns(
    ".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", "__pycache__", "*.egg-info",
    "build", "dist", "permgrad-runs", ".mutants", ".speed", ".environments", ".coverage*",
)  # fmt: skip
TOPS = ("tests", "src")
#: Tests up to this many seconds, with the fixtures they share, are tried before all
#: others.
LIGHT = 0.5
#: Reading a test file, at least: importing it and what it needs of permgrad.
READING = 0.05


def copy_tree(folder: Path) -> None:
    """Make a copy of the repository that mutants may be written into, compiled once for
    all of them.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT, folder, ignore=LEFT_BEHIND)
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", str(folder / "src")], check=True
    )


def environment(tree: Path) -> dict[str, str]:
    """Return the environment in which tests of a tree are run: one thread each."""
    paths = [str(tree / "src"), str(tree)]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
    }


def digest(path: Path) -> str:
    """Return a short digest of a file."""
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()


# --- the measured run -----------------------------------------------------------------
def files_with_tests(root: Path, beneath: Iterable[str] = TOPS) -> dict[str, str]:
    """Return the files that can hold tests, doctests included, and their digests."""
    found = {}
    for top in beneath:
        for path in (
            sorted((root / top).rglob("*.py"))
            if (root / top).is_dir()
            else [root / top]
        ):
            is_test = (
                path.name.startswith("test_")
                if top.startswith("tests")
                else ">>> " in path.read_text("utf-8")
            )
            if is_test:
                found[str(path.relative_to(root))] = digest(path)
    return found


def measure(work: Path, beneath: Iterable[str] = TOPS) -> None:
    """Run what has not been measured as it stands, under coverage; ``measured.json``
    tells what is known since.
    """
    listed = _read(work / "measured.json", [])
    known = {name: hashed for run in listed for name, hashed in run["tests"].items()}
    files = files_with_tests(ROOT, beneath)
    missing = {
        name: hashed for name, hashed in files.items() if known.get(name) != hashed
    }
    if not missing:
        return
    print(
        f"measuring {len(missing)} of {len(files)} files with tests, once", flush=True
    )
    tree, number = work / "measured-tree", len(listed)
    copy_tree(tree)
    data, durations, settings = (
        work / f"{kind}-{number}" for kind in ("coverage", "durations", "coveragerc")
    )
    settings.write_text(
        "[run]\nbranch = true\nparallel = true\nconcurrency = "
        "thread,multiprocessing\npatch = _exit\n"
        f"source = {tree / 'src' / 'permgrad'}\ndata_file = {data}\n"
        # Read in every process that a test starts: whose lines these are.
        "context = ${PYTEST_CURRENT_TEST-}\n"
    )
    whole = set(missing) == set(files_with_tests(ROOT))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tools.mutants._mutation_measuring",
        "-p",
        "no:cacheprovider",
        "--cov",
    ]
    command += [
        f"--cov-config={settings}",
        "--cov-context=test",
        "--cov-report=",
        *([] if whole else missing),
    ]
    told = {"MUTATION_COVERAGERC": str(settings), "MUTATION_DURATIONS": str(durations)}
    with (work / f"measured-{number}.log").open("w") as log:
        subprocess.run(
            command,
            cwd=tree,
            env=environment(tree) | told,
            stdout=log,
            stderr=log,
            check=False,
        )
    note_measured(work, tree, missing, data, durations, whole=whole)


def note_measured(
    work: Path,
    tree: Path,
    tests: dict[str, str],
    data: Path,
    durations: Path,
    *,
    whole: bool,
) -> None:
    """Add a measured run to ``measured.json``."""
    sources = {
        str(path.relative_to(tree)): digest(path)
        for path in sorted((tree / "src").rglob("*.py"))
    }
    run = {
        "tests": tests, "data": str(data), "tree": str(tree), "durations": str(durations), "sources": sources,
        "whole": whole,
    }  # fmt: skip
    listed = _read(work / "measured.json", [])
    (work / "measured.json").write_text(json.dumps([*listed, run], indent=1))


def _read(path: Path, default: Any) -> Any:
    return json.loads(path.read_text()) if path.exists() else default


def branch_coverage(work: Path) -> dict[str, float]:
    """Return percent of lines and branches run by the whole suite, for each file and in
    total, as it was measured.
    """
    import coverage

    whole = [run for run in _read(work / "measured.json", []) if run["whole"]]
    if not whole:
        return {}
    target = work / "coverage.json"
    measured = coverage.Coverage(
        data_file=whole[-1]["data"], config_file=str(ROOT / "pyproject.toml")
    )
    measured.load()
    total = measured.json_report(outfile=str(target))
    files = json.loads(target.read_text())["files"]
    start = f"{whole[-1]['tree']}/"
    shares = {
        name.removeprefix(start): found["summary"]["percent_covered"]
        for name, found in files.items()
    }
    return shares | {"total": total}


# --- the choice -----------------------------------------------------------------------
@dataclass(frozen=True)
class Plan:
    """The tests for one mutant, in rounds of one process each; how many cover it, how
    many were left out, for time.
    """

    rounds: tuple[tuple[str, ...], ...]
    covering: int
    left_out: int


class Lines:
    """Which test runs which line of the files asked for."""

    def __init__(self, work: Path, paths: Iterable[str]) -> None:
        from coverage import CoverageData

        self.moved: set[str] = set()
        self.tests: dict[str, dict[int, set[str]]] = {}
        self.durations: dict[str, dict[str, Any]] = {}
        newest: dict[str, int] = {}
        runs = _read(work / "measured.json", [])
        for number, run in enumerate(runs):
            newest |= dict.fromkeys(run["tests"], number)
        for number, run in enumerate(runs):
            own = {name for name, latest in newest.items() if latest == number}
            data = CoverageData(basename=run["data"])
            data.read()
            measured = _read(Path(run["durations"]), {})
            self.durations |= {
                name: found for name, found in measured.items() if _file(name) in own
            }
            for path in paths:
                if run["sources"].get(path) != digest(ROOT / path):
                    self.moved.add(path)
                lines = self.tests.setdefault(path, defaultdict(set))
                for line, contexts in data.contexts_by_lineno(
                    str(Path(run["tree"]) / path)
                ).items():
                    names = {_test(context) for context in contexts if context}
                    lines[line] |= {name for name in names if _file(name) in own}

    def covering(self, mutant: Mutant) -> set[str]:
        """Return the tests that run the changed code."""
        lines = self.tests.get(mutant.path, {})
        if mutant.path in self.moved:
            return set().union(*lines.values())
        if mutant.imported_lines is not None:
            # Executed on import, so that coverage knows only which test came first.
            inner = [range(start, end + 1) for start, end in (mutant.imported_lines,)]
        else:
            inner = [
                range(start, end + 1)
                for start, end in (mutant.node_lines, mutant.statement_lines)
            ]
        for span in inner:
            found = set().union(*(lines.get(line, set()) for line in span))
            if found:
                return found
        return set()


def _test(context: str) -> str:
    """Return the test of a context: ``name|run`` in pytest's process, ``name (call)``
    in one that it started.
    """
    return context.rpartition("|")[0] if "|" in context else context.rpartition(" (")[0]


def _file(test: str) -> str:
    return test.partition("::")[0]


class Chooser:
    """Chooses tests by the lines they run and what they cost on the unchanged source.

    Args:
        lines: who runs what.
        timed: from ``costs``: ``own`` has the seconds of processor time of each usable
            test, ``fixtures`` those of each fixture that tests share, ``needs`` which
            test needs which, ``reading`` the seconds it takes to import a file,
            ``clock`` the seconds on the clock of each test.
        seconds: how much processor time the tests of a mutant may cost, on the
            unchanged source.
    """

    def __init__(self, lines: Lines, timed: dict[str, Any], seconds: float) -> None:
        self.lines, self.seconds = lines, seconds
        self.own: dict[str, float] = timed["own"]
        self.fixtures: dict[str, float] = timed["fixtures"]
        self.needs: dict[str, list[str]] = timed["needs"]
        self.reading: dict[str, float] = timed["reading"]
        self.clock: dict[str, float] = timed["clock"]

    def alone(self, test: str) -> float:
        """Return the seconds of a test that is run alone, with the fixtures that it
        shares with others.
        """
        return self.own[test] + sum(
            self.fixtures.get(name, 0.0) for name in self.needs.get(test, ())
        )

    def limit(self, test: str) -> float:
        """Return after how many seconds on the clock a test counts as hanging."""
        return 5 * max(self.clock[test], self.alone(test)) + 10

    def plan(self, mutant: Mutant) -> Plan:
        """Return the tests for a mutant.

        Light tests of the four test files that are nearest to the changed file, then
        the other light ones, then the rest as long as the time lasts. Nearest is who
        runs most lines of the file in a second of reading and testing.
        """
        covering = [test for test in self.lines.covering(mutant) if test in self.own]
        by_file: dict[str, list[str]] = defaultdict(list)
        for test in sorted(covering, key=lambda test: (self.alone(test), test)):
            by_file[_file(test)].append(test)
        light = {
            name: [test for test in tests if self.alone(test) <= LIGHT]
            for name, tests in by_file.items()
        }
        near = sorted(
            (name for name in light if light[name]),
            key=lambda name: self._distance(name, mutant, light),
        )
        first = [test for name in near[:4] for test in light[name]]
        second = [test for name in near[4:] for test in light[name]]
        heavy = sorted(
            set(covering) - set(first) - set(second),
            key=lambda test: (self.alone(test), test),
        )
        kept, left_out = self._within(first, second, heavy)
        return Plan(
            tuple(tuple(part) for part in kept if part), len(covering), left_out
        )

    def _distance(
        self, name: str, mutant: Mutant, light: dict[str, list[str]]
    ) -> tuple[float, str]:
        tests = set(light[name])
        lines = sum(1 for own in self.lines.tests[mutant.path].values() if own & tests)
        seconds = (
            self.reading.get(name, 0.0)
            + READING
            + sum(self.own[test] for test in tests)
        )
        return (seconds / max(lines, 1), name)

    def _within(self, *parts: list[str]) -> tuple[list[list[str]], int]:
        """Keep tests until the time is spent, the first in any case; in the last part
        file by file.
        """
        spent, left_out, ready = 0.0, 0, set()
        kept: list[list[str]] = []
        for part in parts:
            own = []
            for test in part:
                new = [name for name in self.needs.get(test, ()) if name not in ready]
                cost = self.own[test] + sum(
                    self.fixtures.get(name, 0.0) for name in new
                )
                if spent + cost > self.seconds and spent > 0:
                    left_out += 1
                    continue
                spent += cost
                ready |= set(new)
                own.append(test)
            # A fixture lives as long as tests of its file follow each other.
            order = {
                name: place
                for place, name in reversed(
                    list(enumerate(_file(test) for test in own))
                )
            }
            kept.append(sorted(own, key=lambda test: order[_file(test)]))
        return kept, left_out
