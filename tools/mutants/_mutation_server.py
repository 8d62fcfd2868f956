"""Runs chosen tests on changed sources, one forked process each, from a process that
has imported what they need.

    python -m tools.mutants._mutation_server TREE MODULES  # reads a request per line as
    JSON, writes an answer per line

Importing torch, pandas and the rest takes seconds, most mutants are noticed in a
fraction of one. So this process imports every library once (``MODULES``: a JSON list of
names), but nothing of permgrad; for each request it forks a child that imports permgrad
from ``TREE/src``, as changed, and runs pytest on the chosen tests. The changed module
is written into the tree too, so that commands that a test starts see it as well;
afterwards it is put back.

A request: ``{"change": [path, text] or null, "tests": [names], "known": [all names on
the unchanged source], "stop": whether the first failure ends it, "limits": {name:
seconds}, "limit": seconds for what has no limit of its own, "log": path, "details":
path or null}``. An answer: ``{"end": how it ended, "by": the first test that failed,
"ran": how many tests ended, "seconds": of processor time, "clock": seconds}``. It ends
as ``passed``, ``failed``, ``error`` (the tests could not even be read), ``late`` (a
test ran over its limit and was ended), ``died`` or ``empty`` (no test was left).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import select
import shutil
import signal
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

#: A mutant may ask for any amount of memory; the machine has others to serve.
MEMORY = 8 * 2**30


class Chosen:
    """The pytest plugin of a child: which tests run, in which order, and what is told
    of them.
    """

    def __init__(self, tests: list[str], known: set[str], channel: int) -> None:
        self.tests, self.known, self.channel = tests, known, channel
        self.durations: dict[str, dict[str, Any]] = {}
        self.fixtures: dict[str, float] = {}
        self.needs: dict[str, list[str]] = {}
        self.present = self.first_failure = ""
        self.ran = 0
        self.seen: list[str] = []
        self.collected = 0.0
        self.started = time.perf_counter()

    def tell(self, word: str) -> None:
        os.write(self.channel, f"{word}\n".encode())

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        self.collected = time.perf_counter() - self.started
        self.seen = [item.nodeid for item in items]
        place = {name: number for number, name in enumerate(self.tests)}
        # Names in brackets may come from the changed source: a case that is new there
        # belongs to its function.
        functions = {name.partition("[")[0]: number for name, number in place.items()}
        kept = []
        for item in items:
            number = place.get(item.nodeid)
            if number is None and item.nodeid not in self.known:
                number = functions.get(item.nodeid.partition("[")[0])
            if number is not None:
                kept.append((number, item))
        items[:] = [item for _, item in sorted(kept, key=lambda pair: pair[0])]
        for item in items:
            self.needs[item.nodeid] = _shared_fixtures(item)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, Any, Any]:
        started = _processor()
        try:
            return (yield)
        finally:
            if fixturedef.scope != "function":
                seconds = _processor() - started
                self.fixtures[f"{fixturedef.baseid}::{fixturedef.argname}"] = seconds
                # Part of this test's set-up, and no cost of its own.
                self.durations[self.present]["shared"] += seconds

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.tell(nodeid)
        self.present = nodeid
        self.durations[nodeid] = {
            "outcome": "passed",
            "shared": 0.0,
            "started": _processor(),
        }

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        own = self.durations[nodeid]
        own["processor"] = _processor() - own.pop("started")

    def pytest_runtest_logreport(self, report: Any) -> None:
        own = self.durations[report.nodeid]
        own[report.when] = report.duration
        if report.outcome != "passed":
            own["outcome"] = report.outcome
        if report.outcome == "failed" and not self.first_failure:
            self.first_failure = report.nodeid
        self.ran += report.when == "teardown"


def _processor() -> float:
    """Return the processor time of this process and of those it has waited for: the
    same on a busy machine.
    """
    return sum(os.times()[:4])


def _shared_fixtures(item: Any) -> list[str]:
    """Name the fixtures that a test needs and shares with others."""
    definitions = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    last = [found[-1] for found in definitions.values() if found]
    return [f"{one.baseid}::{one.argname}" for one in last if one.scope != "function"]


def run_tests(request: dict[str, Any], tree: Path, channel: int) -> int:
    """In the child: run the tests, tell the result through the channel and return
    pytest's exit code.
    """
    with contextlib.suppress(ImportError):
        import hypothesis

        # A failing example is enough; making it small takes minutes.
        phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
        hypothesis.settings.register_profile(
            "mutants", phases=phases, database=None, deadline=None
        )
        hypothesis.settings.load_profile("mutants")
    chosen = Chosen(request["tests"], set(request["known"]), channel)
    paths = list(dict.fromkeys(test.partition("::")[0] for test in request["tests"]))
    arguments = [
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:timeout",
        "--no-header",
        "--tb=short",
    ]
    arguments += [
        f"--basetemp={tree.parent / (tree.name + '-tmp')}",
        "-W",
        "ignore::pytest.PytestConfigWarning",
    ]
    code = int(
        pytest.main(
            [*arguments, *(["-x"] if request["stop"] else []), *paths], plugins=[chosen]
        )
    )
    if request.get("details"):
        details = {
            "durations": chosen.durations, "fixtures": chosen.fixtures, "needs": chosen.needs,
            "collected": chosen.collected, "known": chosen.seen,
        }  # fmt: skip
        Path(request["details"]).write_text(json.dumps(details))
    chosen.tell(
        "=" + json.dumps({"code": code, "by": chosen.first_failure, "ran": chosen.ran})
    )
    return code


def answer(request: dict[str, Any], tree: Path) -> dict[str, Any]:
    """Fork, watch the child, and return how it ended."""
    shutil.rmtree(tree / ".hypothesis", ignore_errors=True)
    reader, writer = os.pipe()
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        _become_child(request, tree, reader, writer)
    os.close(writer)
    told, late, present = _watch(reader, request)
    os.close(reader)
    if late:
        _end_group(child)
    _, status, usage = os.wait4(child, 0)
    _end_group(child)
    found: dict[str, Any] = {
        "seconds": usage.ru_utime + usage.ru_stime,
        "clock": time.perf_counter() - started,
    }
    if late:
        return found | {"end": "late", "by": present, "ran": 0}
    if not told:
        return found | {"end": "died", "by": f"{present} (status {status})", "ran": 0}
    end = {0: "passed", 1: "failed", 2: "error", 5: "empty"}.get(
        told["code"], f"code {told['code']}"
    )
    return found | {"end": end, "by": told["by"], "ran": told["ran"]}


def _become_child(
    request: dict[str, Any], tree: Path, reader: int, writer: int
) -> None:
    code = 99
    try:
        os.close(reader)
        os.setsid()
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        empty = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, empty), (1, log), (2, log)):
            os.dup2(source, target)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        sys.dont_write_bytecode = request.get("change") is not None
        if sys.dont_write_bytecode:
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        code = run_tests(request, tree, writer)
    except BaseException as error:  # noqa: BLE001 — whatever a mutant does, this process ends here
        print(repr(error), file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _watch(reader: int, request: dict[str, Any]) -> tuple[dict[str, Any], bool, str]:
    """Follow what the child tells: each test as it begins, then the result.

    Ends when it ends or is too late.
    """
    limits, general = request.get("limits", {}), request["limit"]
    present, buffer = "", b""
    due = time.monotonic() + general
    while True:
        ready, _, _ = select.select([reader], [], [], max(due - time.monotonic(), 0))
        if not ready:
            return {}, True, present
        piece = os.read(reader, 65536)
        if not piece:
            return {}, False, present
        buffer += piece
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            word = line.decode()
            if word.startswith("="):
                return json.loads(word[1:]), False, present
            present = word
            due = time.monotonic() + limits.get(word, general)


def _end_group(child: int) -> None:
    """End what the child started and left behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)


def serve(tree: Path, modules: list[str]) -> None:
    """Import the libraries, then answer requests until there are no more."""
    # Whoever prints by accident must not disturb the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.chdir(tree)
    for name in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    loaded = [name for name in sys.modules if name.partition(".")[0] == "permgrad"]
    assert not loaded, loaded
    # What is here stays: a collection in a child would copy the memory that both share.
    gc.collect()
    gc.freeze()
    answers.write(json.dumps({"ready": len(sys.modules)}) + "\n")
    answers.flush()
    for line in sys.stdin:
        request = json.loads(line)
        with _changed(tree, request.get("change")):
            found = answer(request, tree)
        answers.write(json.dumps(found) + "\n")
        answers.flush()


@contextlib.contextmanager
def _changed(tree: Path, change: list[str] | None) -> Generator[None]:
    """Have a module changed in the tree, without the compiled form of the unchanged
    one.
    """
    if change is None:
        yield
        return
    path = tree / change[0]
    compiled = Path(importlib.util.cache_from_source(str(path)))
    original, times = path.read_bytes(), path.stat()
    stored = compiled.read_bytes() if compiled.exists() else None
    compiled.unlink(missing_ok=True)
    try:
        path.write_text(change[1], encoding="utf-8")
        yield
    finally:
        path.write_bytes(original)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        if stored is not None:
            compiled.write_bytes(stored)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()))
