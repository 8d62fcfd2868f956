"""Does anything stay behind when explanations are made again and again?

First, 500 calls of each kind in a process of its own: every method and scope on a fitted hybrid network, on a network
of an image and a table, and a table in parts. Then 500 calls in one process, the kinds in turn; now and then a plot is
drawn and an explanation saved and read. After 50 calls, by which every one has been made, nothing may grow any more:
resident memory by less than 2 %, and Python's objects, files, threads, child processes and Matplotlib's figures not at
all.

Where kinds alternate the C library keeps freed memory in pieces that do not fit the next call, and takes more, in steps
of megabytes, by chance, and less and less often. There it gives back what nobody holds before resident memory is read;
what was resident until then stands beside it. With one kind it is read as it is.

Floor: those.
"""

from __future__ import annotations

import ctypes
import gc
import os

# Before NumPy and PyTorch are imported: one thread, as the measured process would otherwise wait for others.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import itertools
import json
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

import permgrad as pg
from _processes import children
from _results import markdown_table, parser, record
from permgrad.attribution import methods

CALLS, WARM_UP, EVERY = 500, 50, 50
QUICK_CALLS, QUICK_WARM_UP = 60, 30
MOST_GROWTH = 0.02
ROWS = 40
#: Fewer draws than usual: more calls say more about what stays behind than longer ones.
FEW: dict[str, dict[str, Any]] = {
    "shapley": {"min_permutations": 4, "max_permutations": 8, "tolerance": 0.5, "references": 8},
    "lime": {"samples": 100},
    "aggregate": {"members": {"permutation": {}, "gradient": {}}},
}
Call = Callable[[], pg.Explanation]


# ---- what is explained -----------------------------------------------------------------------------------------------
def table(rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(rows, 5)), columns=list("abcde"))
    frame["place"] = rng.choice(["north", "south", "east"], rows)
    signal = frame["a"] + frame["b"] * frame["c"] + (frame["place"] == "north")
    return frame, np.array(["low", "middle", "high"])[np.digitize(signal, [-0.5, 1.0])]


class Both(nn.Module):
    """An image and a table into one head."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(100, 8))
        self.table = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.2), nn.ReLU())
        self.head = nn.Linear(16, 3)

    def forward(self, image: Tensor, table: Tensor) -> Tensor:
        return self.head(torch.cat([self.image(image), self.table(table)], dim=1))


def make_calls(place: Path) -> dict[str, Call]:
    """Return one call for every method and scope on every kind of model, by name."""
    X, y = table(400)
    model = pg.HyNNClassifier(preset="fast", max_epochs=2, random_state=0, progress=False).fit(X, y)
    (place / "rows").mkdir()
    X[:ROWS].to_parquet(place / "rows" / "0.parquet")
    X[ROWS : 2 * ROWS].to_parquet(place / "rows" / "1.parquet")
    torch.manual_seed(0)
    net = Both()
    inputs = {"image": torch.randn(ROWS, 1, 12, 12), "table": torch.randn(ROWS, 5)}
    truth = np.random.default_rng(1).integers(0, 3, ROWS)
    given: dict[str, Any] = {"n_repeats": 2, "random_state": 0, "progress": False}

    def hybrid(method: str, scope: Any) -> Call:
        return lambda: pg.explain(model, X[:ROWS], y[:ROWS], method=method, scope=scope, **FEW.get(method, {}), **given)

    def network(method: str, **more: Any) -> Call:
        few = FEW.get(method, {})
        return lambda: pg.explain(net, inputs, truth, method=method, segments=None, **few, **more, **given)

    calls = {f"hybrid {name} {scope}": hybrid(name, scope) for name in methods for scope in methods.get(name).scopes}
    calls |= {f"network {name}": network(name) for name in methods if name != "permgrad-paper"}
    calls["network permgrad of modalities"] = network("permgrad", level="modality")
    calls["network gradient of a layer"] = network("gradient", layer="head")
    calls["table in parts"] = lambda: pg.explain_stream(model, place / "rows", **given)
    return calls


def do_one(call: Call, number: int, place: Path) -> None:
    """Explain; now and then also draw, save and read."""
    found = call()
    if number % 7 == 0:
        plot = found.plot.bar() if found.scope == "global" else found.to_global().plot.bar()
        plot._repr_png_()
        plot.save(place / "plot.png")
    if number % 11 == 0:
        found.save(place / "saved", overwrite=True)
        pg.Explanation.load(place / "saved")


# ---- what stays behind -----------------------------------------------------------------------------------------------
def figures() -> int:
    """Return how many of Matplotlib's figures there are, those that pyplot keeps and all others."""
    if "matplotlib" not in sys.modules:
        return 0
    from matplotlib.figure import Figure

    return sum(isinstance(own, Figure) for own in gc.get_objects())


def resident() -> int:
    """Return how many KiB of memory this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def look(give_back: bool) -> dict[str, int]:
    """Return what this process holds; ``give_back``: the C library gives back what is free before."""
    gc.collect()
    found = {"resident KiB": resident()}
    if give_back:
        ctypes.CDLL(None).malloc_trim(0)
        found = {"resident KiB": resident(), "with what was free KiB": found["resident KiB"]}
    return {
        **found,
        "objects": len(gc.get_objects()),
        "open files": len(list(Path("/proc/self/fd").iterdir())),
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "of Python": threading.active_count(),
        "child processes": len(children(os.getpid())),
        "figures": figures(),
    }


def check(calls: int, warm_up: int, kind: str | None = None) -> list[dict[str, int]]:
    """Make so many calls, of all kinds in turn or of one; return what was held at the end of the warm-up and later."""
    lines: list[dict[str, int]] = []
    with (
        tempfile.TemporaryDirectory(prefix="verify-leaks-") as folder,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", pg.PermgradWarning)
        made = make_calls(Path(folder))
        turns = itertools.cycle([made[kind]] if kind else made.values())
        for number, call in enumerate(itertools.islice(turns, calls), start=1):
            if kind:
                call()
            else:
                do_one(call, number, Path(folder))
            if number == calls or (number >= warm_up and (number - warm_up) % EVERY == 0):
                lines.append({"calls": number, **look(give_back=kind is None)})
    return lines


def check_each(calls: int, warm_up: int) -> list[dict[str, Any]]:
    """Make so many calls of each kind, each in a process of its own, and return how much that process has grown."""
    with tempfile.TemporaryDirectory(prefix="verify-leaks-") as folder:
        kinds = list(make_calls(Path(folder)))
    found = []
    for kind in kinds:
        command = [sys.executable, __file__, "--calls", str(calls), "--warm-up", str(warm_up), "--kind", kind]
        lines = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        found.append({"kind": kind, "resident KiB": lines[0]["resident KiB"], "growth": growth(lines), "held": lines})
        print(f"{kind}: {growth(lines):+.2%}", flush=True)
    return found


def faults_of(what: str, lines: list[dict[str, int]]) -> list[str]:
    """Return what has grown since the end of the warm-up and must not."""
    first, last = lines[0], lines[-1]
    faults = [
        f"{what}, {name}: {first[name]} after {first['calls']} calls, {last[name]} after {last['calls']}"
        for name in first
        if name not in ("calls", "objects") and not name.endswith("KiB") and last[name] > first[name]
    ]
    # Caches of the libraries below fill and empty: what stays behind with every call grows all the time.
    early, late = lines[: len(lines) // 2], lines[len(lines) // 2 :]
    most, least = max(line["objects"] for line in early), min(line["objects"] for line in late)
    if least > most:
        faults.append(f"{what}, objects: at most {most} in the first half of the calls, at least {least} later")
    if growth(lines) >= MOST_GROWTH:
        faults.append(f"{what}: resident memory grew by {growth(lines):.2%}")
    return faults


def growth(lines: list[dict[str, int]], name: str = "resident KiB") -> float:
    """Return by which share memory has grown."""
    return lines[-1][name] / lines[0][name] - 1


def main() -> int:
    """Do the check and record it."""
    options = parser(__doc__)
    options.add_argument("--calls", type=int, help=f"how many (default: {CALLS}, {QUICK_CALLS} with --quick)")
    options.add_argument("--warm-up", type=int, help=f"how many before (default: {WARM_UP}, {QUICK_WARM_UP})")
    options.add_argument("--kind", help="only this kind; print what was held as JSON and record nothing")
    asked = options.parse_args()
    calls = asked.calls if asked.calls is not None else QUICK_CALLS if asked.quick else CALLS
    warm_up = asked.warm_up if asked.warm_up is not None else QUICK_WARM_UP if asked.quick else WARM_UP
    torch.set_num_threads(1)
    if asked.kind:
        print(json.dumps(check(calls, warm_up, asked.kind)))
        return 0
    each = check_each(calls, warm_up)
    lines = check(calls, warm_up)
    faults = [fault for own in each for fault in faults_of(own["kind"], own["held"])]
    faults += faults_of("all kinds in turn", lines)
    most = max(each, key=lambda own: own["growth"])
    shown = [
        {"kind": own["kind"], "resident KiB": own["resident KiB"], "growth": f"{own['growth']:+.2%}"} for own in each
    ]
    text = (
        f"{calls} calls of one kind in a process of its own: after the first {warm_up} resident memory grew by "
        f"{most['growth']:.2%} at most ({most['kind']}), floor below {MOST_GROWTH:.0%}.\n\n{markdown_table(shown)}\n\n"
        f"{calls} calls in one process, the kinds in turn: it grew by {growth(lines):.2%}, floor below "
        f"{MOST_GROWTH:.0%}; with what was free by {growth(lines, 'with what was free KiB'):.2%}."
        f"\n\n{markdown_table(lines)}" + "".join(f"\n\n- {fault}" for fault in faults)
    )
    data = {"each": each, "in turn": lines, "faults": faults}
    return record(asked, "Nothing stays behind", text, data, passed=not faults, seeds=[0])


if __name__ == "__main__":
    sys.exit(main())
