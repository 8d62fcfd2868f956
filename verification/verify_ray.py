"""Does a Ray cluster explain the same, faster, and whoever is killed?

A hybrid network of the preset ``paper`` is explained by the path game on a folder of
Parquet files:

- in this process, by one Ray worker and by two: the counts of all donors and all other
  whole numbers must be equal, and the values within 1e-5 of the loss scale; two workers
  must take at most 1 / 1.7 of the time of one. Times are given with the start of Ray
  and without; beside them the share of the time that workers were at work, and the
  processor time that they and all of Ray took, which other programs on the machine
  disturb less;
- with two workers killed by ``kill -9`` while they are at work: the same sums, each
  part once; and the same for a local explanation, whose Parquet files must hold each
  row once;
- with the process that leads the work killed by ``kill -9``, and the command started
  again: only parts that were not finished are computed, the result is the same, and no
  process of Ray is left behind.

The rows come from a fixed function; how many stand in a part is measured first, so that
a part takes a few seconds.
"""

from __future__ import annotations

import os

# Before NumPy and PyTorch are imported: one thread in this process, as in each worker.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from benchmarks._results import markdown_table, parser, record
from tests.shared.explaining import explain_with

import permgrad as pg
from permgrad.attribution.parts.engines import make_engine
from permgrad.attribution.parts.part import Merged, PartResult, merge
from permgrad.attribution.parts.plan import StreamPlan, make_plan
from permgrad.attribution.parts.stream import Work
from permgrad.attribution.parts.sums import pack
from permgrad.attribution.request.arguments import Arguments
from permgrad.data.partitions import PartitionedTable, open_partitioned
from verification._processes import children, processes

FLOOR, AIM, TOLERANCE = 1.7, 1.9, 1e-5
#: Processors that other programs may take in the timed runs.
_QUIET = 0.2
_CAVEAT = (
    f"While others take more than {_QUIET} processors, times of two runs cannot be "
    "compared, and the check is not held to be met, however large the ratio."
)
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Case:
    """What is explained."""

    folder: Path
    model: Path
    table: Path
    repeats: int

    def plan(self) -> tuple[Any, PartitionedTable, StreamPlan]:
        """Open the model and the table and describe the explanation."""
        model, table = (
            pg.load(self.model, device="cpu"),
            open_partitioned(self.table, rows_per_part=1),
        )
        _, rows = next(table.batches(table.parts[0], 500))
        background = rows[list(model.feature_names_in_)]
        read = pg.Model(model)
        made = make_plan(
            read,
            table,
            Arguments(None, None, "y", background=background, n_repeats=self.repeats),
        )
        return read, table, replace(made, model_folder=str(self.model))


def rows_of(count: int, seed: int) -> pd.DataFrame:
    """Draw rows of the function."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({f"x{number}": rng.normal(size=count) for number in range(14)})
    frame["place"] = rng.choice(["north", "south", "east"], count)
    truth = (
        2 * frame["x0"]
        + frame["x1"] * frame["x2"]
        + np.sin(frame["x3"])
        + (frame["place"] == "north")
    )
    return frame.assign(y=truth + rng.normal(scale=0.3, size=count))


def make_case(
    folder: Path,
    *,
    parts: int,
    rows: int,
    repeats: int = 5,
    preset: str = "paper",
    model: Path | None = None,
) -> Case:
    """Train a model, unless there is one, and write the table, a file for each part."""
    if model is None:
        model = folder / "model"
        train = rows_of(1500, 1)
        made = pg.HyNNRegressor(
            preset=preset, max_epochs=3, device="cpu", progress=False, random_state=0
        )
        made.fit(train.drop(columns="y"), train["y"]).save(model)
    table = folder / "table"
    table.mkdir()
    for part in range(parts):
        rows_of(rows, 100 + part).to_parquet(table / f"{part:03d}.parquet")
    return Case(folder, model, table, repeats)


def rows_in(
    seconds: float, folder: Path, model: Path | None = None
) -> tuple[int, Path]:
    """Return how many rows this machine explains in some seconds, and the model that
    was trained for it.
    """
    case = make_case(folder, parts=2, rows=1000, model=model)
    network, table, plan = case.plan()
    work = Work(plan, table, None, network)
    work(table.parts[0])
    begun = time.process_time()
    work(table.parts[1])
    return max(200, int(1000 * seconds / (time.process_time() - begun))), case.model


# ---- processes -----------------------------------------------------------------------
def is_worker(title: str) -> bool:
    """Whether a title is that of an actor that holds the model."""
    return title.startswith("ray::_Worker")


def workers_of(leader: int) -> list[int]:
    """Return the processes that hold the model, of the Ray session that a process
    started.
    """
    return [own for own, (title, _) in children(leader).items() if is_worker(title)]


@dataclass
class Usage:
    """Processor seconds of Ray's processes while a body runs, read twice a second."""

    seconds: dict[int, float] = field(default_factory=dict)
    workers: set[int] = field(default_factory=set)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Read until the body ends."""
        stop = threading.Event()

        def read() -> None:
            while not stop.wait(0.5):
                for own, (title, spent) in children(os.getpid()).items():
                    self.seconds[own] = spent
                    if is_worker(title):
                        self.workers.add(own)

        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    @property
    def of_workers(self) -> float:
        """Of the actors that hold the model."""
        return sum(spent for own, spent in self.seconds.items() if own in self.workers)

    @property
    def of_all(self) -> float:
        """Of every process that Ray started."""
        return sum(self.seconds.values())


# ---- the same, and faster ------------------------------------------------------------
class Clocked:
    """Work, and the processor seconds that each part took."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __call__(self, part: Any) -> tuple[PartResult, float]:
        """Compute a part."""
        begun = time.process_time()
        return self.work(part), time.process_time() - begun


def taken() -> float:
    """Return the processor seconds that all programs of the machine have taken since it
    was started.
    """
    numbers = [
        int(word)
        for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    ]
    return (sum(numbers) - numbers[3] - numbers[4]) / _TICKS


@dataclass
class Run:
    """The results of one run over all parts.

    Attributes:
        whole, first: seconds that it took, and until the first part was begun.
        usage: of Ray's processes.
        parts: processor seconds of all parts.
        others: processors that other programs took on average.
    """

    results: list[PartResult]
    whole: float = 0.0
    first: float = 0.0
    usage: Usage = field(default_factory=Usage)
    parts: float = 0.0
    others: float = 0.0

    @property
    def in_order(self) -> list[PartResult]:
        """The results in the order of the parts."""
        return sorted(self.results, key=lambda result: result.number)

    @property
    def busy(self) -> float:
        """Seconds that parts took, added up."""
        return sum(result.seconds for result in self.results)


def run(
    case: Case,
    engine: str,
    workers: int | None = None,
    each: Callable[[int], None] | None = None,
    *,
    clocked: bool = False,
) -> Run:
    """Compute all parts; ``each`` is called with the number of results so far.

    With ``clocked`` workers read their processor time; they can do so where this file
    is the program, not a module.
    """
    model, table, plan = case.plan()
    usage, results, first, parts = Usage(), [], 0.0, 0.0
    begun, spent, before = time.perf_counter(), time.process_time(), taken()
    with usage.watched():
        work: Any = Work(plan, table, None, model)
        for answer in make_engine(engine, workers=workers).run(
            table.parts, Clocked(work) if clocked else work
        ):
            result, seconds = answer if clocked else (answer, 0.0)
            # A part that has come was begun as long ago as it took.
            first = first or time.perf_counter() - begun - result.seconds
            results.append(result)
            parts += seconds
            if each is not None:
                each(len(results))
    whole = time.perf_counter() - begun
    ours = time.process_time() - spent + usage.of_all
    return Run(
        results, whole, first, usage, parts, max(0.0, taken() - before - ours) / whole
    )


def differences(case: Case, one: Run, other: Run) -> dict[str, Any]:
    """Compare two runs: whole numbers and counts exactly, values on the loss scale."""
    _, table, plan = case.plan()
    numbers = [sorted(result.number for result in run.results) for run in (one, other)]
    counts, sums = 0, 0.0
    for own, others in zip(one.in_order, other.in_order, strict=True):
        expected = pack(others.sums)
        for name, array in pack(own.sums).items():
            if name.rpartition("/")[2] in (
                "count",
                "nonzero",
                "weight",
                "weight_squares",
                "donor_weight",
                "pair_weights",
            ):
                counts += int((array != expected[name]).sum())
            else:
                sums = max(sums, float(np.abs(array - expected[name]).max(initial=0.0)))
    mine, theirs = (merge(plan, Merged.of(run.in_order)) for run in (one, other))
    scale = mine.meta["loss_scale"]
    return {
        "every part once": all(own == list(range(len(table.parts))) for own in numbers),
        "rows": int(theirs.meta["rows_explained"]),
        "counts that differ": counts,
        "largest difference of sums": sums,
        "of values / loss scale": float(
            np.abs(mine.values - theirs.values).max() / scale
        ),
        "of errors / loss scale": float(
            np.abs(mine.std_error - theirs.std_error).max() / scale
        ),  # type: ignore[operator]
    }


def same(found: dict[str, Any], rows: int) -> bool:
    """Whether two runs agree."""
    return (
        found["every part once"]
        and found["rows"] == rows
        and found["counts that differ"] == 0
        and found["of values / loss scale"] <= TOLERANCE
        and found["of errors / loss scale"] <= TOLERANCE
    )


def timing(name: str, own: Run, workers: int) -> dict[str, Any]:
    """Return a line of the table of times."""
    steady = own.whole - own.first
    return {
        "engine": name,
        "whole, s": own.whole,
        "start, s": own.first,
        "parts at work, s": own.busy,
        "share of time at work": own.busy / (workers * steady),
        "processor s of parts": own.parts,
        "of workers": own.usage.of_workers or None,
        "of all of Ray": own.usage.of_all or None,
        "processors taken by others": own.others,
    }


def cost(rows: int, own: Run, big: float = 1e9) -> dict[str, Any]:
    """Return what a table of so many rows would cost at the rate of one run in this
    process.
    """
    rate = rows / own.parts
    hours = big / rate / 3600
    return {
        "rows per processor second": rate,
        "core hours for 10⁹ rows": hours,
        "hours on 64 cores": hours / 64,
        "core hours for 50,000 rows": 5e4 / rate / 3600,
    }


# ---- killed --------------------------------------------------------------------------
class Killer:
    """Kills a worker that is at work, as soon as there are so many results; another one
    for each number.
    """

    def __init__(self, after: Sequence[int]) -> None:
        self.after = list(after)
        self.killed: list[int] = []

    def __call__(self, results: int) -> None:
        if (
            len(self.killed) < len(self.after)
            and results >= self.after[len(self.killed)]
        ):
            alive = [own for own in workers_of(os.getpid()) if own not in self.killed]
            if alive:
                os.kill(alive[0], signal.SIGKILL)
                self.killed.append(alive[0])


def killed_workers(
    case: Case, reference: Run, *, after: Sequence[int]
) -> dict[str, Any]:
    """Kill two workers in the middle of their work and compare."""
    killer = Killer(after)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", pg.PermgradWarning)
        own = run(case, "ray", 2, killer)
    said = [str(one.message) for one in caught if "started again" in str(one.message)]
    return {
        "killed": len(killer.killed),
        "warned": len(said),
        **differences(case, reference, own),
    }


def killed_workers_local(
    case: Case, out: Path, *, after: Sequence[int]
) -> dict[str, Any]:
    """Kill two workers while rows are written, and look for rows that are missing or
    stand twice.
    """
    killer, seen = Killer(after), threading.Event()

    def watch() -> None:
        while not seen.wait(0.05):
            killer(len(list((out / "local").glob("part-*.parquet"))))

    thread = threading.Thread(target=watch)
    thread.start()
    model, options = (
        pg.load(case.model, device="cpu"),
        dict[str, Any](method="gradient", rows_per_part=1),
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pg.PermgradWarning)
            pg.explain_stream(
                model, case.table, out=out, engine=pg.RayEngine(workers=2), **options
            )
    finally:
        seen.set()
        thread.join()
    pg.explain_stream(model, case.table, out=out.with_name("reference"), **options)
    found, wanted = (
        pd.read_parquet(folder / "local").sort_values(
            ["row", "feature"], ignore_index=True
        )
        for folder in (out, out.with_name("reference"))
    )
    counts = found.groupby("row")["feature"].nunique()
    return {
        "killed": len(killer.killed),
        "rows": len(counts),
        "lines": len(found),
        "lines twice": int(found.duplicated(["row", "feature"]).sum()),
        "rows missing": len(set(wanted["row"]) - set(found["row"])),
        "equal": bool(found.equals(wanted)),
    }


_LEADER = """
import sys, permgrad as pg
model, table, out, repeats = sys.argv[1:]
options = dict(n_repeats=int(repeats), random_state=0, rows_per_part=1)
pg.explain_stream(model, table, "y", out=out, engine="ray", workers=2, **options)
"""


def killed_leader(case: Case, out: Path, *, after: int) -> dict[str, Any]:
    """Kill the process that leads the work, see that Ray ends, and start the work
    again.
    """
    arguments = [str(case.model), str(case.table), str(out), str(case.repeats)]
    leader = subprocess.Popen(
        [sys.executable, "-c", _LEADER, *arguments], start_new_session=True
    )
    while len(list(out.glob("parts/part-*.npz"))) < after:
        if leader.poll() is not None:
            raise SystemExit(
                f"the leader ended with {leader.returncode} before it could be killed"
            )
        time.sleep(0.05)
    started = set(children(leader.pid))
    leader.kill()
    leader.wait()
    finished = {
        own.name: own.stat().st_mtime_ns for own in out.glob("parts/part-*.npz")
    }
    begun, patience = time.perf_counter(), 90.0
    while started & set(processes()) and time.perf_counter() - begun < patience:
        time.sleep(1)
    gone, left = time.perf_counter() - begun, len(started & set(processes()))

    _, table, _ = case.plan()
    computed: list[int] = []
    engine = make_engine("ray", workers=2)
    original = engine.run

    def counted(tasks: Sequence[Any], work: Callable[[Any], Any]) -> Iterable[Any]:
        computed.extend(task.number for task in tasks)
        untouched = all(
            (out / "parts" / name).stat().st_mtime_ns == was
            for name, was in finished.items()
        )
        assert untouched
        return original(tasks, work)

    engine.run = counted  # type: ignore[method-assign, assignment]
    options: dict[str, Any] = {
        "n_repeats": case.repeats,
        "random_state": 0,
        "rows_per_part": 1,
    }
    resumed = pg.explain_stream(
        case.model, case.table, "y", out=out, engine=engine, **options
    )
    alone = pg.explain_stream(case.model, case.table, "y", **options)
    done = {int(name[5:10]) for name in finished}
    return {
        "parts": len(table.parts),
        "finished when killed": len(done),
        "computed after": len(computed),
        "computed twice": len(done & set(computed)),
        "seconds until Ray was gone": gone,
        "processes left": left,
        "largest difference": float(np.abs(resumed.values - alone.values).max()),
        "rows": int(resumed.meta["rows_explained"]),
    }


# ---- what a billion rows would cost --------------------------------------------------
def rates() -> list[dict[str, Any]]:
    """Return rows per processor second of one thread, the median of three, for what is
    done to rows.
    """
    train, rows = rows_of(1500, 1), rows_of(8000, 7)
    X, y, lines = rows.drop(columns="y"), rows["y"], []
    for preset in ("paper", "default"):
        model: Any = pg.HyNNRegressor(
            preset=preset, max_epochs=2, device="cpu", progress=False, random_state=0
        )
        model.fit(train.drop(columns="y"), train["y"])
        game: dict[str, Any] = {
            "background": X[:1000],
            "branches": False,
            "direction": False,
            "random_state": 0,
        }
        works: dict[str, tuple[int, Callable[[Any, Any], Any]]] = {
            "predict": (2000, lambda a, _b, model=model: model.predict(a)),
            "permgrad, 1 donor": (
                1500,
                lambda a, b, m=model, g=game: explain_with(m, a, b, n_repeats=1, **g),
            ),
            "permgrad, 5 donors": (
                1500,
                lambda a, b, m=model, g=game: explain_with(m, a, b, n_repeats=5, **g),
            ),
            "gradient": (
                1000,
                lambda a, _b, model=model: pg.explain(model, a, method="gradient"),
            ),
            "integrated_gradients": (
                300,
                lambda a, _b, m=model: pg.explain(m, a, method="integrated_gradients"),
            ),
        }
        for name, (count, work) in works.items():
            found = []
            for start in range(1000, 1000 + 4 * count, count):
                begun = time.process_time()
                work(X[start : start + count], y[start : start + count])
                found.append(count / (time.process_time() - begun))
            rate = float(np.median(found[1:]))  # the first one warms up
            lines.append(
                {
                    "preset": preset,
                    "work": name,
                    "rows/s": rate,
                    "core hours for 10⁹ rows": 1e9 / rate / 3600,
                }
            )
    return lines


# ---- all of it -----------------------------------------------------------------------
def main() -> int:
    """Run the checks and write the record."""
    options = parser(__doc__)
    options.add_argument(
        "--seconds",
        type=float,
        default=5.0,
        help="processor time of a part in the timed runs",
    )
    options.add_argument(
        "--rates",
        action="store_true",
        help="only measure what rows cost; nothing is recorded",
    )
    arguments = options.parse_args()
    if arguments.rates:
        print(markdown_table(rates()))
        return 0
    parts, seconds = (6, 1.0) if arguments.quick else (24, arguments.seconds)
    with tempfile.TemporaryDirectory(prefix="verify-ray-") as name:
        place = Path(name)
        for folder in ("measured", "long", "short"):
            (place / folder).mkdir()
        rows, model = rows_in(seconds, place / "measured")
        case = make_case(place / "long", parts=parts, rows=rows, model=model)
        load = os.getloadavg()[0]
        runs = {
            "this process": run(case, "local", clocked=True),
            "Ray, 1": run(case, "ray", 1, clocked=True),
            "Ray, 2": run(case, "ray", 2, clocked=True),
        }
        loads = f"{load:.1f} before and {os.getloadavg()[0]:.1f} after"
        reference = runs["this process"]
        compared = [
            {"engine": engine, **differences(case, reference, own)}
            for engine, own in runs.items()
            if own is not reference
        ]
        times = [
            timing(engine, own, 2 if engine == "Ray, 2" else 1)
            for engine, own in runs.items()
        ]
        one, two = runs["Ray, 1"], runs["Ray, 2"]
        ratios = {
            "whole, with the start of Ray": one.whole / two.whole,
            "from the first part to the last": (one.whole - one.first)
            / (two.whole - two.first),
            "workers at work": 2
            * times[2]["share of time at work"]
            / times[1]["share of time at work"],
            "processor time of the parts, two workers against one": two.parts
            / one.parts,
        }
        # What two workers would do alone on the machine: they are at work so much more,
        # on parts that cost so much.
        ratios["expected without others, from the first part to the last"] = (
            ratios["workers at work"]
            / ratios["processor time of the parts, two workers against one"]
        )
        quiet = max(one.others, two.others) < _QUIET
        short = make_case(
            place / "short", parts=12, rows=max(100, rows // 4), model=model
        )
        alone = run(short, "local")
        killed = killed_workers(short, alone, after=(2, 6))
        local = killed_workers_local(short, place / "rows", after=(2, 6))
        leader = killed_leader(short, place / "resumed", after=4)
    total, fewer = parts * rows, 12 * max(100, rows // 4)
    checks = {
        "one and two workers as this process": all(
            same(found, total) for found in compared
        ),
        f"two workers {FLOOR} times one, on a quiet machine": quiet
        and ratios["whole, with the start of Ray"] >= FLOOR,
        "two workers killed": killed["killed"] == 2 and same(killed, fewer),
        "two workers killed, rows written": local["killed"] == 2
        and local["equal"]
        and local["lines twice"] == 0,
        "leader killed": leader["computed twice"] == 0
        and leader["largest difference"] <= TOLERANCE
        and leader["processes left"] == 0
        and leader["computed after"] + leader["finished when killed"]
        == leader["parts"],
    }
    costs = cost(total, reference)
    about = (
        f"{os.cpu_count()} processors, one thread each; load of the machine {loads} "
        "the timed runs (other work makes the ratios of times lower). Path game, "
        f"preset paper, 15 features, 5 repeats, {parts} parts of {rows:,} rows, "
        f"{total:,} rows in all."
    )
    text = "\n\n".join(
        [
            about,
            markdown_table(times),
            markdown_table(
                [
                    {"ratio": name, "one to two workers": value}
                    for name, value in ratios.items()
                ]
            ),
            (
                f"Floor {FLOOR}, aim {AIM}, on the first line. {_CAVEAT} What this "
                "rate would cost elsewhere:"
            ),
            markdown_table([costs]),
            "Against this process:",
            markdown_table(compared),
            f"Two workers killed with kill -9, {fewer:,} rows in 12 parts:",
            markdown_table([killed]),
            'The same while rows are written (`method="gradient"`):',
            markdown_table([local]),
            "The leading process killed with kill -9, then the work started again:",
            markdown_table([leader]),
            markdown_table(
                [
                    {"check": name, "holds": bool(holds)}
                    for name, holds in checks.items()
                ]
            ),
        ]
    )
    data = {
        "times": times,
        "costs": costs,
        "ratios": ratios,
        "compared": compared,
        "killed": killed,
        "rows": local,
        "leader": leader,
    }
    title = "Explanations on a Ray cluster"
    return record(arguments, title, text, data, passed=all(checks.values()), seeds=[0])


if __name__ == "__main__":
    sys.exit(main())
