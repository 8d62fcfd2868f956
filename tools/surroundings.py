"""Do the tests that numbers and signals touch pass wherever a newcomer may start them?

    python tools/surroundings.py                       # every surrounding, and `make test` and `make demo` in the first
    python tools/surroundings.py --no-make             # without these two
    python tools/surroundings.py --only "no terminal"  # one of them; may be given
    several times

Each surrounding is a line of the table: variables of the environment, or how the
process is started. All else is as on a newcomer's machine: none of the variables of
``FOREIGN`` is set. The last column is the processor time beside that of the first line.
What fails is named below its line, and the exit code is 1; tests that are skipped are
counted.
"""

from __future__ import annotations

import argparse
import os
import pwd
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parents[1]
#: Variables that change how numbers are computed, or how a process speaks; nobody has
#: them by default.
FOREIGN = (
    "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA", "MPLBACKEND", "LC_ALL", "PYTHONPATH",
)  # fmt: skip
#: Resumed work, threads and processes, fast ways beside slow ones in float32, encoders,
#: signals, locks.
TESTS = (
    "src/permgrad/base/startup.py",
    "src/permgrad/models/devices.py",
    "tests/attribution/method/test_deeplift.py",
    "tests/attribution/parts/engines/test_frames.py",
    "tests/attribution/parts/engines/test_ray.py::test_two_workers_are_killed_and_nothing_is_lost_or_counted_twice",
    "tests/attribution/slopes/test_integrated_gradients_secants.py",
    "tests/attribution/slopes/test_network_integrals.py::test_fewer_gradients_than_captum_for_as_small_a_gap",
    "tests/models/fast/test_replacement.py",
    "tests/attribution/test_reproducible.py",
    "tests/attribution/replace/test_scores_hybrid.py",
    "tests/attribution/slopes/test_secant_windows.py",
    "tests/attribution/test_threads_and_processes.py::test_in_joblib_workers",
    "tests/attribution/test_threads_and_processes.py::test_in_a_forked_child",
    "tests/data/encode/test_encoding_surprises.py",
    "tests/evaluation/baselines/test_fitting.py::test_threads_to_come_compute_with_as_many_as_before",
    "tests/models/estimators/test_ig_example.py::test_explained_by_integrated_gradients",
    "tests/models/fast/test_inference.py",
    "tests/models/train/test_refinement.py::test_killed_and_resumed_it_is_the_same",
    "tests/models/save/test_saving.py::test_equal_in_a_new_process",
    "tests/models/train/test_training.py::test_control_c_changes_nothing_and_reaches_the_caller",
    "tests/models/train/test_training.py::test_fit_in_a_thread_equals_fit_in_the_main_thread",
    "tests/models/train/test_training.py::test_same_seed_same_weights_and_another_seed_others",
    "tests/pages/test_reading_help.py",
    "tests/runs/test_commands.py::test_a_run_killed_while_training_goes_on_and_ends_the_same",
    "tests/runs/test_commands.py::test_interrupting_ends_with_130_and_one_sentence",
    "tests/runs/test_run_folder.py",
    "tests/runs/commands/test_stream.py::test_killed_half_way_and_gone_on_with",
    "tests/runs/commands/test_tune.py::test_ctrl_c_says_how_to_go_on",
)


@dataclass(frozen=True)
class Surrounding:
    """Where tests are started.

    Attributes:
        name: what the table calls it.
        variables: of the environment; None: not set.
        before: done in the new process before it becomes pytest.
        new_session: whether it is one of its own, and so has no terminal.
        folder: name of the folder that the project is copied to; empty: it stays where
            it is.
        another_user: whether somebody else than root starts the tests, on a copy that
            is theirs.
        without: tests that cannot be run there, because of something else than
            permgrad.
    """

    name: str
    variables: Mapping[str, str | None] = field(
        default_factory=lambda: MappingProxyType({})
    )
    before: Callable[[], object] | None = None
    new_session: bool = False
    folder: str = ""
    another_user: bool = False
    without: tuple[str, ...] = ()


def _threads(count: int) -> Surrounding:
    # Threads that wait leave the processor to others: where these are more than
    # processors a turn is long.
    variables = {"OMP_NUM_THREADS": str(count), "OMP_WAIT_POLICY": "passive"}
    return Surrounding(f"{count} thread{'s' * (count > 1)}", variables)


def _ignore_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


SURROUNDINGS = (
    Surrounding("nothing set"),
    *(_threads(count) for count in (1, 2, 4)),
    *(
        Surrounding(f"ATEN_CPU_CAPABILITY={own}", {"ATEN_CPU_CAPABILITY": own})
        for own in ("default", "avx2")
    ),
    *(
        Surrounding(f"ONEDNN_MAX_CPU_ISA={own}", {"ONEDNN_MAX_CPU_ISA": own})
        for own in ("SSE41", "AVX2")
    ),
    Surrounding("Ctrl-C ignored", before=_ignore_ctrl_c),
    Surrounding("no terminal", new_session=True),
    # Captum imports IPython, which refuses to be imported where pytest has replaced a
    # closed stdin.
    Surrounding(
        "closed stdin",
        before=lambda: os.close(0),
        without=(
            "tests/attribution/method/test_deeplift.py::test_equals_captum",
            "tests/attribution/slopes/test_network_integrals.py::test_fewer_gradients_than_captum_for_as_small_a_gap",
        ),
    ),
    Surrounding("LANG=C", {"LANG": "C", "LC_ALL": "C", "LANGUAGE": None}),
    Surrounding("another user", folder="permgrad", another_user=True),
    Surrounding("a space in the folder", folder="my permgrad"),
    Surrounding("no PERMGRAD_DATA", {"PERMGRAD_DATA": None}),
)


class SkippedSurroundingError(Exception):
    """Why a surrounding cannot be had on this machine."""


@dataclass
class Outcome:
    """What came of the tests in one surrounding."""

    passed: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    processor: float = 0.0
    said: str = ""


def processor_seconds() -> float:
    """Return the processor time of all processes that have ended here."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def environment(surrounding: Surrounding) -> dict[str, str]:
    """Return the variables of a process, as a newcomer has them but for those that the
    surrounding is about.
    """
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    for name, value in surrounding.variables.items():
        kept.pop(name, None)
        if value is not None:
            kept[name] = value
    return kept


def copy_project(place: Path) -> None:
    """Copy what git knows of the project, as it is in the working tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name)


def some_user(home: Path) -> pwd.struct_passwd:
    """Return a user of this machine that is not root, made for the purpose.

    Raises:
        SkippedSurroundingError: only root can make one.
    """
    if os.geteuid() != 0:
        raise SkippedSurroundingError("only root can start tests as another user")
    name = "permgrad-tests"
    with suppress(KeyError):
        return pwd.getpwnam(name)
    if shutil.which("useradd") is None:
        raise SkippedSurroundingError("there is no useradd on this machine")
    subprocess.run(
        ["useradd", "--no-create-home", "--home-dir", str(home), name], check=True
    )
    return pwd.getpwnam(name)


def as_user(
    user: pwd.struct_passwd, place: Path, variables: dict[str, str]
) -> tuple[str, Callable[[], None]]:
    """Give a copy of the project to a user, and return the Python and what makes a
    process theirs.

    Raises:
        SkippedSurroundingError: no Python of this version with the packages of this one
            is open to them.
    """
    for path in (place.parent, *place.parent.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = [path for path in sys.path if path.endswith("-packages")]
    variables.update(
        HOME=str(place.parent),
        TMPDIR=str(place.parent),
        USER=user.pw_name,
        LOGNAME=user.pw_name,
    )
    variables["PYTHONPATH"] = os.pathsep.join([str(place / "src"), *packages])

    def become() -> None:
        os.setgid(user.pw_gid)
        os.setgroups([])
        os.setuid(user.pw_uid)

    # The packages' own Python may lie in a folder of root's; another one of the same
    # version reads them as well.
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        with suppress(OSError):
            words = [python, "-c", "import torch, pytest, permgrad"]
            found = subprocess.run(
                words,
                env=variables,
                cwd=place,
                preexec_fn=become,
                capture_output=True,
                check=False,
            )
            if found.returncode == 0:
                return python, become
    raise SkippedSurroundingError(
        f"no {version} with the packages of {sys.prefix} is open to other users than "
        "root"
    )


def run(surrounding: Surrounding, tests: Sequence[str], limit: float) -> Outcome:
    """Run tests in a surrounding."""
    with tempfile.TemporaryDirectory(prefix="surroundings-") as made:
        temporary, variables, place, before = (
            Path(made),
            environment(surrounding),
            ROOT,
            surrounding.before,
        )
        python = sys.executable
        if surrounding.folder:
            place = temporary / surrounding.folder
            copy_project(place)
        variables["PYTHONPATH"] = str(place / "src")
        if surrounding.another_user:
            python, before = as_user(some_user(temporary), place, variables)
        left_out = [f"--deselect={test}" for test in surrounding.without]
        words = [python, "-m", "pytest", "-p", "no:cacheprovider", *tests, *left_out]
        return _pytest(words, surrounding, variables, place, before, limit)


def _pytest(
    words: list[str],
    surrounding: Surrounding,
    variables: dict[str, str],
    place: Path,
    before: Callable[[], object] | None,
    limit: float,
) -> Outcome:
    with (
        tempfile.TemporaryDirectory(prefix="surroundings-") as made,
        tempfile.TemporaryFile() as said,
    ):
        results = Path(made) / "results.xml"
        Path(made).chmod(0o777)
        outcome, begun, used = Outcome(), time.monotonic(), processor_seconds()
        try:
            ended = subprocess.run(
                [*words, f"--junitxml={results}"],
                cwd=place,
                env=variables,
                preexec_fn=before,
                start_new_session=surrounding.new_session,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                timeout=limit,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            outcome.failures.append(f"not done after {limit:.0f} seconds")
            ended = 1
        outcome.seconds, outcome.processor = (
            time.monotonic() - begun,
            processor_seconds() - used,
        )
        said.seek(0)
        outcome.said = said.read().decode(errors="replace")
        if results.is_file():
            _count(results, outcome)
        if ended and not outcome.failures:
            outcome.failures.append(f"pytest ended with {ended}")
    return outcome


def _count(results: Path, outcome: Outcome) -> None:
    for case in ET.parse(results).getroot().iter("testcase"):
        found = {child.tag for child in case}
        if found & {"failure", "error"}:
            outcome.failures.append(f"{case.get('classname')}::{case.get('name')}")
        elif "skipped" in found:
            outcome.skipped += 1
        else:
            outcome.passed += 1


def make(target: str, limit: float) -> Outcome:
    """Run a target of the Makefile as a background job of a script does: nothing set,
    Ctrl-C ignored, no terminal.
    """
    begun, used = time.monotonic(), processor_seconds()
    with tempfile.TemporaryDirectory(prefix="surroundings-") as runs:
        ended = subprocess.run(
            ["make", target, f"RUNS={runs}"],
            cwd=ROOT,
            env=environment(SURROUNDINGS[0]),
            preexec_fn=_ignore_ctrl_c,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=limit,
            check=False,
        )
    failures = (
        [f"make {target} ended with {ended.returncode}"] if ended.returncode else []
    )
    spent = time.monotonic() - begun, processor_seconds() - used
    return Outcome(
        int(not failures), 0, failures, *spent, ended.stdout.decode(errors="replace")
    )


def show(name: str, outcome: Outcome, first: float) -> None:
    """Print a line of the table, and below it what failed."""
    ratio = f"{outcome.processor / first:.2f}" if first else "–"
    counts = f"{outcome.passed:6d} {len(outcome.failures):6d} {outcome.skipped:7d}"
    print(
        f"{name:30s} {counts} {outcome.seconds:8.0f} {outcome.processor:10.0f} "
        f"{ratio:>6s}",
        flush=True,
    )
    for failure in outcome.failures:
        print(f"    {failure}", flush=True)
    if outcome.failures:
        print(
            "\n".join(f"    | {line}" for line in outcome.said.splitlines()[-60:]),
            flush=True,
        )


def main() -> int:
    """Run the table; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [own.name for own in SURROUNDINGS]
    parser.add_argument(
        "--only",
        action="append",
        choices=names,
        metavar="NAME",
        help=f"one of: {', '.join(names)}",
    )
    parser.add_argument(
        "--no-make", action="store_true", help="leave out `make demo` and `make test`"
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=3600,
        help="seconds that one line may take (default: 3600)",
    )
    parser.add_argument(
        "tests",
        nargs="*",
        default=TESTS,
        help="files or tests in the place of the script's own list",
    )
    given = parser.parse_args()
    print(f"{'surrounding':30s} passed failed skipped  seconds  processor  ratio")
    failed, first = False, 0.0
    for surrounding in SURROUNDINGS:
        if given.only and surrounding.name not in given.only:
            continue
        try:
            outcome = run(surrounding, given.tests, given.limit)
        except SkippedSurroundingError as reason:
            print(f"{surrounding.name:30s} skipped: {reason}", flush=True)
            continue
        first = first or outcome.processor
        show(surrounding.name, outcome, first)
        failed = failed or bool(outcome.failures)
    for target in () if given.no_make or given.only else ("demo", "test"):
        outcome = make(target, 2 * given.limit)
        show(f"make {target}, nothing set", outcome, 0.0)
        failed = failed or bool(outcome.failures)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
