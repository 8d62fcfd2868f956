"""Does a changed permgrad still do what it did?

Two checkouts, the same models and calls, results compared.

    python verification/old_against_new.py OLD_CHECKOUT                     # against this repository
    python verification/old_against_new.py OLD_CHECKOUT --new CHECKOUT      # against another
    python verification/old_against_new.py OLD --only 'shapley*' command-run  # some
    cases (--list names them) python verification/old_against_new.py OLD --keep FOLDER
    # keep what the old code computed python verification/old_against_new.py OLD
    --own-models                 # where the new code refuses old models python
    verification/old_against_new.py OLD --speed [--speed-run]        # how fast, in the
    place of what

The old code trains and saves small models. Both codes load them and compute fixed
cases: predictions, all methods of explanation on hybrid and on torch networks, tables
in parts, a comparison of models, refusals, trainings from the same seed, and commands
of the command line, also on folders that the old code wrote. Numbers must agree within
1e-6 of the largest of what they belong to, texts exactly; times, versions and paths do
not count. One line a case: its name, the largest relative difference, the verdict. The
exit code is 1 if anything differs, or if a case would show nothing because the old
result is an error, zero or empty. Cases that differ by design stand in ``INTENDED``,
with the reason. With ``--own-models`` each checkout trains the models by its own
scripts, which must be equal for the rest to be.

Only public names are used. A case of the old code is computed once and kept under
``--keep``, in a folder named after the old commit, the libraries and these scripts.
``--speed`` is described in ``_speed_of_both.py``.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # for those who start the file itself

from verification._commands import COMMANDS  # noqa: E402
from verification._same import Found, compare, trivial  # noqa: E402
from verification._speed_of_both import Both, measure, table  # noqa: E402

CASES = ("-m", "verification._fixed_cases")
#: What differs by design: cases, the faults in them, and what was changed. Such faults
#: are shown and do not fail; all other faults of these cases do.
INTENDED = (
    (
        "*",
        r"times\.json: is new|seconds is missing",
        "times stand in a file of their own",
    ),
    (
        "*",
        r"(low|high|p_values?|p_adjusted)\b[^→]*: [^→]+ → ",
        (
            "intervals know few rows and long tails, and go from 0 to 0 where no drawn "
            "pair moved"
        ),
    ),
    ("*", r"meta\.equal_rows is new", "a summary says what weighted rows are worth"),
    ("permgrad-tolerance", " → ", "intervals ask for more repeats"),
    ("*", r"\bstd\b[^→]*: [^→]+ → 0$", "what moved no drawn pair goes from 0 to 0"),
    (
        "explanations of old*",
        "network-permutation-layer/frame.csv",
        "p-values are corrected within their modality",
    ),
    ("shapley-owen", " → ", "structure='owen' of a table knows groups"),
    ("refusals", "information", "its parts had no intervals that held"),
    (
        "*",
        r"branches\.\w+\.share_(low|high) is new",
        "the share of a branch has an interval",
    ),
    (
        "*divergence",
        r"n_repeats: '10' → 'auto'",
        "donors are as many as pay, unless the user says",
    ),
    (
        "stream-*",
        r"meta\.streamed\.(table|key)",
        "folders of work trust files by other digests",
    ),
    (
        "*",
        r"direction\.\w+\.(changes|ordered) is new",
        "explanations keep the changes that effects() lists",
    ),
    (
        "*",
        r"p_values|p_value|p_adjusted",
        "the error of sampling one row is an interval and has no p-value",
    ),
    (
        "permgrad-local-groups",
        " → ",
        "models keep the rows that single rows are compared with",
    ),
    (
        "command-*",
        r"(training\.json|effects\.csv|requirements\.txt|drift[^ ]*) is new",
        "folders of runs hold more",
    ),
    # Looked at side by side: bars, marks and cells stand a pixel or two elsewhere, the
    # texts and numbers are the same.
    (
        "command-*",
        r"report\.html: drawing|plots/\w+\.png: other bytes",
        "all plots are laid out in one way",
    ),
)


@dataclass(frozen=True)
class Side:
    """One checkout, and the folder of its results."""

    checkout: Path
    folder: Path
    scripts: Path = HERE.parent  # where its fixed cases are taken from

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of its processes: its sources first, one thread, no
        terminal's width or colour.

        Python compiles modules once, into a place beside the results: the time to start
        is then that of a user, and the checkouts stay as they are.
        """
        foreign = ("PERMGRAD_", "COV_", "PYTHON")
        kept = {
            name: text
            for name, text in os.environ.items()
            if not name.startswith(foreign)
        }
        single = dict.fromkeys(
            ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
        )
        paths = os.pathsep.join([str(self.checkout / "src"), str(self.scripts)])
        fixed = {
            "PYTHONPATH": paths,
            "MPLBACKEND": "Agg",
            "COLUMNS": "100",
            "NO_COLOR": "1",
        }
        fixed["PYTHONPYCACHEPREFIX"] = str(self.folder.parent / "compiled")
        data = {
            name: os.environ[name] for name in ("PERMGRAD_DATA",) if name in os.environ
        }
        return {**kept, **single, **fixed, **data}

    def start(
        self, *arguments: str | Path, cwd: Path | None = None, check: bool = True
    ) -> tuple[int, str]:
        """Run Python with arguments, beside the scripts if not elsewhere; return the
        exit code and what it said.

        Raises:
            SystemExit: It failed, and ``check`` is true.
        """
        command = [sys.executable, *map(str, arguments)]
        done = subprocess.run(
            command,
            cwd=cwd or self.scripts,
            env=self.environment,
            check=False,
            text=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode:
            raise SystemExit(
                f"{' '.join(command)} failed in {self.checkout}:\n{done.stderr[-3000:]}"
            )
        return (
            done.returncode,
            f"exit code {done.returncode}\n{done.stdout}{_without_progress(done.stderr)}",
        )

    def names(self) -> list[str]:
        """Return the names of all fixed cases, and make sure that this checkout is the
        one that is imported.
        """
        said = self.start(*CASES, "list")[1]
        found = json.loads(said[said.index("{") :])
        if not Path(found["file"]).resolve().is_relative_to(self.checkout.resolve()):
            raise SystemExit(
                f"permgrad must come from {self.checkout}, however: it came from "
                f"{found['file']}"
            )
        return [*found["cases"], *COMMANDS]

    def train(self) -> Path:
        """Return the folder of the models, trained if they are not there."""
        models = self.folder / "models"
        if not (models / "done").is_file():
            shutil.rmtree(models, ignore_errors=True)
            models.mkdir(parents=True)
            self.start(*CASES, "train", models)
            (models / "done").touch()
        return models

    def compute(self, names: Sequence[str], models: Path) -> None:
        """Compute the fixed cases that are not there, all in one process."""
        missing = [
            name
            for name in names
            if not (self.folder / "cases" / name / "seconds.json").is_file()
        ]
        for name in missing:
            shutil.rmtree(self.folder / "cases" / name, ignore_errors=True)
        if missing:
            self.start(
                *CASES, "cases", models, self.folder / "cases", "--names", *missing
            )

    def command(self, name: str, finished: Path) -> None:
        """Run a command in a folder of its own, if that has not been done."""
        done = self.folder / "cases" / name
        if (done / "said.txt").is_file():
            return
        command = COMMANDS[name]
        shutil.rmtree(done, ignore_errors=True)
        # One place for both sides, since some files name it.
        place = self.folder.parent / "place"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(
            finished if command.finished else finished.parent / "tables", place
        )
        said = self.start("-m", "permgrad", *command.arguments, cwd=place, check=False)[
            1
        ]
        done.mkdir(parents=True)
        for left in command.leaves:
            if (place / left).exists():
                (place / left).rename(done / left)
        (done / "said.txt").write_text(said, encoding="utf-8")

    def finished_runs(self) -> Path:
        """Return a folder with the tables and the runs that this code finished;
        ``tables`` stands beside it.
        """
        tables, finished = self.folder / "tables", self.folder / "finished"
        if not (tables / "done").is_file():
            tables.mkdir(parents=True, exist_ok=True)
            self.start(*CASES, "tables", tables)
            (tables / "done").touch()
        shutil.rmtree(finished, ignore_errors=True)
        shutil.copytree(tables, finished)
        for name in ("command-run", "command-run-mixed"):
            self.command(name, finished)
            for left in COMMANDS[name].leaves:
                shutil.copytree(self.folder / "cases" / name / left, finished / left)
        return finished


def _without_progress(said: str) -> str:
    """Leave out lines that tell how long something takes or will take."""
    marks = ("s/it", "it/s", "elapsed", " took ", "training: about", "remaining")
    return "\n".join(
        line for line in said.splitlines() if not any(mark in line for mark in marks)
    )


def key(checkout: Path) -> str:
    """Return a name for what a checkout computes: its commit and changes, these
    scripts, the libraries.
    """
    digest = hashlib.sha256()
    for asked in (
        ("rev-parse", "HEAD"),
        ("diff", "HEAD", "--", "src"),
        ("status", "--porcelain", "--", "src"),
    ):
        digest.update(
            subprocess.run(
                ["git", "-C", checkout, *asked], capture_output=True, check=True
            ).stdout
        )
    for path in (
        HERE / f"_{name}.py"
        for name in ("fixed_cases", "explanations", "commands", "speed_cases")
    ):
        digest.update(path.read_bytes())
    digest.update(
        " ".join(
            [sys.version, *(version(name) for name in ("torch", "numpy", "pandas"))]
        ).encode()
    )
    return digest.hexdigest()[:16]


@contextmanager
def _folders(keep: Path | None, old: Path) -> Iterator[tuple[Path, Path]]:
    """Give the folders of old and new results; the new ones are always empty.

    One process at a time has them.
    """
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary) if keep is None else keep.resolve() / key(old)
        new = top / "new"
        top.mkdir(parents=True, exist_ok=True)
        with (top / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(
                    f"another process works in {top}; waiting for it",
                    file=sys.stderr,
                    flush=True,
                )
                fcntl.flock(lock, fcntl.LOCK_EX)
            shutil.rmtree(new, ignore_errors=True)
            for folder in (top / "old", new):
                folder.mkdir(exist_ok=True)
            yield top / "old", new


def _chosen(
    every: Sequence[str], only: Sequence[str], without: Sequence[str]
) -> list[str]:
    """Return the names that fit a pattern of ``only`` and none of ``without``.

    Raises:
        SystemExit: A pattern fits no name.
    """
    for pattern in (*only, *without):
        if not any(fnmatchcase(name, pattern) for name in every):
            raise SystemExit(f"no case is called {pattern!r}; --list names them")
    return [
        name
        for name in every
        if any(fnmatchcase(name, own) for own in only or ["*"])
        and not any(fnmatchcase(name, own) for own in without)
    ]


def judge(name: str, found: Found, why: Sequence[str]) -> bool:
    """Print the line of a case, what is wrong with it below; return whether it is the
    same, or differs by design.
    """
    mine = [
        (pattern, reason)
        for case, pattern, reason in INTENDED
        if fnmatchcase(name, case)
    ]
    reasons = {
        text: reason
        for pattern, reason in reversed(mine)
        for text in found.faults
        if re.search(pattern, text)
    }
    faults = [
        *(f"shows nothing: {one}" for one in why),
        *(text for text in found.faults if text not in reasons),
    ]
    verdict = "DIFFERS" if faults else "differs by design" if reasons else "same"
    print(f"{name:44} {found.largest:9.1e}  {verdict}", flush=True)
    designed = [f"by design ({reason}): {text}" for text, reason in reasons.items()]
    for kind, most in (
        (faults, 6),
        (designed, 3),
        ([f"allowed: {text}" for text in found.notes], 2),
    ):
        for text in kind[:most]:
            print(f"    {text[:300]}")
        if len(kind) > most:
            print(f"    … and {len(kind) - most} more")
    return not faults


def same_behaviour(old: Side, new: Side, names: Sequence[str]) -> bool:
    """Compute the cases on both sides and compare them."""
    fixed = [name for name in names if name not in COMMANDS]
    # Those of the old code where both take the same scripts.
    trainers = {old: old, new: old if new.scripts == old.scripts else new}
    for side in (old, new):
        side.compute(fixed, trainers[side].train())
    commands = [name for name in names if name in COMMANDS]
    if commands:
        finished = {
            side: side.finished_runs() for side in dict.fromkeys(trainers.values())
        }
        for name in commands:
            for side in (old, new):
                side.command(name, finished[trainers[side]])
    passed = []
    for name in names:
        first, second = (side.folder / "cases" / name for side in (old, new))
        why = [
            *trivial(first),
            *(COMMANDS[name].trivial(first) if name in COMMANDS else ()),
        ]
        passed.append(judge(name, compare(first, second), why))
    passed.append(_read_by_new(old, new, fixed))
    print(f"{sum(passed)} of {len(passed)} are the same")
    return all(passed)


def _read_by_new(old: Side, new: Side, names: Sequence[str]) -> bool:
    """Load the explanations that the old code saved with the new code: the frames must
    be equal.
    """
    saved = [
        name for name in names if (old.folder / "cases" / name / "explanation").is_dir()
    ]
    if not saved:
        return True
    new.start(
        *CASES, "read", old.folder / "cases", new.folder / "read", "--names", *saved
    )
    found = Found()
    for name in saved:
        for path in sorted((new.folder / "read" / name).glob("*.csv")):
            found.add(one := compare(old.folder / "cases" / name / path.name, path))
            if one.largest > 1e-9 and not one.faults:
                found.faults.append(
                    f"{name}/{path.name}: reading a file must change no number"
                )
    return judge(
        f"explanations of old, read by new ({len(saved)})",
        found,
        [] if found.compared else ["no frames"],
    )


def as_fast(old: Side, new: Side, only: Sequence[str], rounds: int, runs: int) -> bool:
    """Time both checkouts, print the table, and return whether all floors are met."""
    models = old.folder / "timed"
    if not (models / "done").is_file():
        shutil.rmtree(models, ignore_errors=True)
        models.mkdir(parents=True)
        old.start("-m", "verification._speed_cases", "models", models)
        (models / "done").touch()
    both = Both(
        (old.checkout, new.checkout), (old.environment, new.environment), models
    )
    lines = measure(both, only, rounds, runs)
    print("\n".join(table(lines)))
    return all(line.verdict.startswith("met") for line in lines)


def main() -> int:
    """Compare two checkouts."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("old", type=Path, metavar="OLD_CHECKOUT")
    options.add_argument(
        "--new", type=Path, default=HERE.parent, metavar="NEW_CHECKOUT"
    )
    options.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="NAME",
        help="cases; * stands for anything",
    )
    options.add_argument(
        "--except",
        nargs="+",
        default=[],
        metavar="NAME",
        dest="without",
        help="leave these out",
    )
    options.add_argument(
        "--keep",
        type=Path,
        metavar="FOLDER",
        help="keep results, so that old ones are made once",
    )
    options.add_argument(
        "--own-models",
        action="store_true",
        help="each checkout trains its own, by its own scripts",
    )
    options.add_argument(
        "--list", action="store_true", help="print the names of all cases"
    )
    options.add_argument(
        "--speed",
        action="store_true",
        help="compare how fast they are, not what they compute",
    )
    options.add_argument("--rounds", type=int, default=6, help="of --speed")
    options.add_argument(
        "--speed-run",
        type=int,
        nargs="?",
        const=1,
        default=0,
        metavar="ROUNDS",
        help="with it, `permgrad run heloc`",
    )
    arguments = options.parse_args()
    started, spent = time.perf_counter(), os.times()
    with _folders(arguments.keep, arguments.old) as folders:
        checkouts = [each.resolve() for each in (arguments.old, arguments.new)]
        scripts = checkouts if arguments.own_models else [HERE.parent] * 2
        old, new = (
            Side(*each) for each in zip(checkouts, folders, scripts, strict=True)
        )
        if arguments.speed or arguments.speed_run:
            return (
                0
                if as_fast(
                    old, new, arguments.only, arguments.rounds, arguments.speed_run
                )
                else 1
            )
        every = old.names()
        if arguments.list:
            print("\n".join(every))
            return 0
        if new.names() != every:
            raise SystemExit("both checkouts must know the same cases")
        passed = same_behaviour(
            old, new, _chosen(every, arguments.only, arguments.without)
        )
    now = os.times()
    processor = (
        now.children_user
        + now.children_system
        - spent.children_user
        - spent.children_system
    )
    print(
        f"{processor:.0f} s of processor time, {time.perf_counter() - started:.0f} s "
        "on the clock"
    )
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
