"""One process that fuzzes one reader: what counts as a fault is written to a file, and
the fuzzing goes on.

    python -m tools.fuzz._fuzzing READER --seconds 60 --work FOLDER

is started by ``fuzz_readers.py``. Faults are: an exception that is no permgrad error,
or one that does not say what is wrong and what to do; code that was run, a process
started, a connection made, a file written outside the case's folder; more than 1 GB of
memory over what the process had. A hang ends the process, which its parent notices.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks._results import shortened

from tools.fuzz._fuzz_mutations import Files, canaries, mutate, pack, scramble, unpack

HANG_SECONDS = 60
MEMORY_MB = 1024
#: Address space over that of a process which has read the valid cases, so that neither
#: a fault nor the making of a case (a tensor of 10⁹ numbers that takes no room becomes
#: one that does) takes the machine down.
_MORE_SPACE = 8 * 2**30
_SPAWNING = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
)


class Faults:
    """The kinds of faults found, each with the smallest case that shows it; kept in a
    folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: dict[str, dict[str, Any]] = {}
        for path in sorted(folder.glob("*.json")):
            fault = json.loads(path.read_text(encoding="utf-8"))
            self.found[fault["kind"]] = fault

    def note(self, kind: str, told: str, case: bytes) -> None:
        """Count a fault; the first, and each smaller case, is written."""
        fault = self.found.setdefault(
            kind, {"kind": kind, "told": told, "cases": 0, "bytes": len(case) + 1}
        )
        fault["cases"] += 1
        if len(case) < fault["bytes"]:
            fault |= {"told": told, "bytes": len(case)}
            name = hashlib.sha256(kind.encode()).hexdigest()[:12]
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / f"{name}.case").write_bytes(case)
            (self.folder / f"{name}.json").write_text(
                json.dumps({**fault, "case": f"{name}.case"}), encoding="utf-8"
            )


class Watch:
    """Notices, while it is on, code that is unpickled, processes, connections, and
    files written elsewhere.
    """

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self.allowed = allowed
        self.on = False
        self.seen: list[str] = []
        # A hook stays for the life of the process.
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in _SPAWNING or event == "pickle.find_class":
            self.seen.append(f"{event} {arguments!r:.200}")
        elif (
            event == "open"
            and _writes(arguments)
            and not str(arguments[0]).startswith(self.allowed)
        ):
            self.seen.append(f"writes {arguments[0]!r:.200}")

    @contextlib.contextmanager
    def watching(self) -> Iterator[list[str]]:
        """Be on for the body; the list holds what was noticed."""
        self.seen = []
        self.on = True
        try:
            yield self.seen
        finally:
            self.on = False


def _writes(arguments: tuple[Any, ...]) -> bool:
    path, mode, flags = arguments[0], arguments[1], arguments[2]
    if isinstance(path, int):
        return False
    if isinstance(mode, str):
        return any(sign in mode for sign in "wax+")
    return bool(isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR))


class Trial:
    """Reads one case in a folder of its own and notes what was wrong.

    Attributes:
        ends: how the cases ended: read, refused, fault.
        slowest: processor seconds.
        most: memory over what the process had before, in MB.
    """

    def __init__(
        self, reader: Any, work: Path, faults: Faults, *, memory_mb: float = MEMORY_MB
    ) -> None:
        self.reader, self.faults, self.memory_mb = reader, faults, memory_mb
        self.scratch = Path(
            tempfile.mkdtemp(prefix="permgrad-fuzz-", dir=_quick_disk())
        )
        self.canary = self.scratch / "canary"
        self.folder = self.scratch / "case"
        kept = work / "prepared"
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        self.prepared = reader.prepare(kept)
        self.watch = Watch((str(self.scratch), os.devnull, "/dev/null", "/proc/self/"))
        self.ends = {"read": 0, "refused": 0, "fault": 0}
        self.slowest, self.most = 0.0, 0.0
        self.baseline = 0.0

    def settle(self) -> None:
        """Take what the process uses now as what it had before; called when all that is
        loaded once is loaded.
        """
        _forget_peak()
        self.baseline = _peak_mb()
        self.slowest, self.most = 0.0, 0.0

    def __call__(self, case: bytes) -> None:
        """Read a case."""
        from hostile_checks import BrokenError, refusal

        from permgrad.base.errors import PermgradError

        files = unpack(case)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.write(files)
        began = time.process_time()
        raised: BaseException | None = None
        with self.watch.watching() as seen:
            try:
                self.reader.read(self.folder, self.prepared)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 — whatever it is, it is judged below
                raised = error
        self.slowest = max(self.slowest, time.process_time() - began)
        end = "read" if raised is None else "refused"
        if isinstance(raised, PermgradError):
            try:
                refusal(raised)
            except BrokenError:
                end = self._fault(
                    case,
                    f"a message without problem and hint {_where(raised)}",
                    str(raised),
                )
        elif raised is not None:
            end = self._fault(
                case, f"{type(raised).__name__} {_where(raised)}", _told(raised)
            )
        for event in seen[:3]:
            end = self._fault(case, f"code or files: {event.partition(' ')[0]}", event)
        if self.canary.exists():
            self.canary.rmdir()
            end = self._fault(case, "a pickle was executed", "")
        self._weigh(case)
        self.ends[end] += 1

    def write(self, files: Files) -> None:
        """Write the case's files."""
        from tools.fuzz._fuzz_readers import write_folder

        write_folder(files, self.folder)

    def _weigh(self, case: bytes) -> None:
        if not self.baseline:
            return
        over = _peak_mb() - self.baseline
        if over > self.memory_mb:
            # The peak is that of the whole process, the making of the case with it: the
            # case is read once more alone.
            over = self._memory_of(case)
        self.most = max(self.most, over)
        if over > self.memory_mb:
            self._fault(
                case, f"memory: more than {self.memory_mb:g} MB", f"{over:,.0f} MB"
            )

    def _memory_of(self, case: bytes) -> float:
        """Return by how many MB the process grows while it reads a case, and take what
        it has now as its measure.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.write(unpack(case))
        _forget_peak()
        before = _peak_mb()
        with contextlib.suppress(Exception):
            self.reader.read(self.folder, self.prepared)
        found = _peak_mb() - before
        _forget_peak()
        self.baseline = _peak_mb()
        return found

    def _fault(self, case: bytes, kind: str, told: str) -> str:
        self.faults.note(kind, told, case)
        return "fault"

    def close(self) -> None:
        """Remove the folder that cases are written to."""
        shutil.rmtree(self.scratch, ignore_errors=True)


def _quick_disk() -> str | None:
    return "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112


def _where(error: BaseException) -> str:
    # By the package's folder: README clones the repository into one of the same name.
    package = find_spec("permgrad")
    home = (
        f"{Path(package.origin).parent}/"
        if package is not None and package.origin
        else "/permgrad/"
    )
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(home)
    ]
    return (
        f"({Path(frames[-1].filename).name}:{frames[-1].name}: {frames[-1].line})"
        if frames
        else ""
    )


def _told(error: BaseException) -> str:
    return shortened("".join(traceback.format_exception(error)))[-1500:]


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _space() -> int:
    """Return the process's address space in bytes."""
    return (
        int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        * resource.getpagesize()
    )


def _forget_peak() -> None:
    """Let the peak of memory begin anew, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


class Mutator:
    """Changes a case by its structure, renews its checksums, and lets the fuzzer change
    the bytes of a file.
    """

    def __init__(self, reader: Any, canary: Path, scrambled: Any = scramble) -> None:
        self.reader, self.scrambled = reader, scrambled
        self.pickles = canaries(str(canary))

    def __call__(self, case: bytes, draw: random.Random) -> bytes:
        """Return a changed case."""
        changed = mutate(unpack(case), draw, self.scrambled, self.pickles)
        return pack(self.reader.seal(changed) if draw.random() < 0.85 else changed)


def warm_up(trial: Trial, seeds: list[bytes]) -> None:
    """Read the valid cases, so that all modules are loaded; they must be read without a
    fault.
    """
    for _ in range(2):
        for case in seeds:
            trial(case)
    if trial.ends["refused"] or trial.ends["fault"]:
        raise SystemExit(
            f"{trial.reader.name}: valid files must be read, however: {trial.ends} "
            f"{trial.faults.found}"
        )
    trial.settle()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("reader")
    options.add_argument("--seconds", type=int, required=True)
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--seed", type=int, default=1)
    asked = options.parse_args()
    import atheris

    # For as long as this process lives: modules are loaded on first use.
    atheris.instrument_imports(include=["permgrad", "zipfile", "gzip"]).__enter__()
    warnings.simplefilter("ignore")
    sys.dont_write_bytecode = True
    os.environ["MPLBACKEND"] = "Agg"
    # Arrow's own allocators reserve address space that they give to nobody.
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    import torch

    from tools.fuzz import _fuzz_readers

    torch.set_num_threads(1)
    reader = _fuzz_readers.readers[asked.reader]
    work = asked.work
    kept = work / "corpus"
    if not kept.is_dir():
        kept.mkdir(parents=True)
        for number, files in enumerate(_fuzz_readers.corpus(reader)):
            (kept / f"valid-{number}").write_bytes(pack(reader.seal(files)))
    trial = Trial(reader, work, Faults(work / "faults"))
    warm_up(trial, [path.read_bytes() for path in sorted(kept.glob("valid-*"))])
    most = _space() + _MORE_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    mutator = Mutator(
        reader,
        trial.canary,
        lambda content, _: atheris.Mutate(content, len(content) + 200),
    )
    saved = 0.0

    def one(case: bytes) -> None:
        nonlocal saved
        trial(case)
        if time.monotonic() - saved > 1:
            saved = time.monotonic()
            state = {
                "ends": trial.ends,
                "slowest": trial.slowest,
                "most_mb": trial.most,
            }
            (work / "state.json").write_text(json.dumps(state), encoding="utf-8")

    def change(case: bytes, most: int, seed: int) -> bytes:
        changed = mutator(case, random.Random(seed))
        return changed if len(changed) <= most else case

    largest = max(path.stat().st_size for path in kept.glob("valid-*"))
    words = [sys.argv[0], str(kept), f"-max_total_time={asked.seconds}", f"-timeout={HANG_SECONDS}", "-rss_limit_mb=0",
             f"-max_len={4 * largest + 20_000}", f"-seed={asked.seed}", f"-artifact_prefix={work}/ended-",
             "-print_final_stats=1", "-len_control=0"]  # fmt: skip
    atheris.Setup(words, one, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
