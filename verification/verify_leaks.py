"""Does anything stay behind when explanations are made again and again?

First, 500 calls of each kind in a process of its own: every method and scope on a
fitted hybrid network, on a network of an image and a table, and a table in parts. Then
500 calls in one process, the kinds in turn; now and then a plot is drawn and an
explanation saved and read. After 50 calls, by which every one has been made, nothing
may grow any more: the most resident memory seen by less than 2 %, and Python's objects,
files, threads, child processes and Matplotlib's figures not at all.

The hybrid network is trained by another process and loaded: memory that a training
leaves behind says nothing of explanations.

Floor: those.
"""

from __future__ import annotations

import gc
import os

# Before NumPy and PyTorch are imported: one thread, as the measured process would
# otherwise wait for others.
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
from benchmarks._results import markdown_table, parser, record
from tests.shared.explaining import explain_with
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution import methods
from verification._processes import children

CALLS, WARM_UP, EVERY = 500, 50, 50
QUICK_CALLS, QUICK_WARM_UP = 60, 30
MOST_GROWTH = 0.02
ROWS = 40
#: The kind that is all of them.
TURNS = "all kinds in turn"
#: Fewer draws than usual: more calls say more about what stays behind than longer ones.
FEW: dict[str, dict[str, Any]] = {
    "shapley": {
        "min_permutations": 4,
        "max_permutations": 8,
        "tolerance": 0.5,
        "references": 8,
    },
    "lime": {"samples": 100},
    "aggregate": {"members": ("permutation", "gradient")},
}
Call = Callable[[], pg.Explanation]


# ---- what is explained ---------------------------------------------------------------
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
        self.image = nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(100, 8),
        )
        self.table = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.2), nn.ReLU())
        self.head = nn.Linear(16, 3)

    def forward(self, image: Tensor, table: Tensor) -> Tensor:
        return self.head(torch.cat([self.image(image), self.table(table)], dim=1))


def save_model(place: Path) -> None:
    """Train a hybrid network on the table and save it."""
    model = pg.HyNNClassifier(
        preset="fast", image="always", max_epochs=2, random_state=0, progress=False
    )
    model.fit(*table(400)).save(place)


def make_calls(model: pg.HyNNClassifier, place: Path) -> dict[str, Call]:
    """Return one call for every method and scope on every kind of model, by name; rows
    in parts lie in a place.
    """
    X, y = table(400)
    (place / "rows").mkdir()
    X[:ROWS].to_parquet(place / "rows" / "0.parquet")
    X[ROWS : 2 * ROWS].to_parquet(place / "rows" / "1.parquet")
    torch.manual_seed(0)
    net = Both()
    inputs = {"image": torch.randn(ROWS, 1, 12, 12), "table": torch.randn(ROWS, 5)}
    truth = np.random.default_rng(1).integers(0, 3, ROWS)
    given: dict[str, Any] = {"n_repeats": 2, "random_state": 0, "progress": False}

    def hybrid(method: str, scope: Any) -> Call:
        return lambda: explain_with(
            model,
            X[:ROWS],
            y[:ROWS],
            method=method,
            scope=scope,
            **FEW.get(method, {}),
            **given,
        )

    def network(method: str, **more: Any) -> Call:
        few = FEW.get(method, {})
        return lambda: explain_with(
            net, inputs, truth, method=method, segments=None, **few, **more, **given
        )

    calls = {
        f"hybrid {name} {scope}": hybrid(name, scope)
        for name in methods
        for scope in methods.get(name).scopes
    }
    calls |= {
        f"network {name}": network(name) for name in methods if name != "permgrad_paper"
    }
    calls["network permgrad of modalities"] = network("permgrad", groups="modality")
    calls["network gradient of a layer"] = network("gradient", layer="head")
    calls["table in parts"] = lambda: pg.explain_stream(model, place / "rows", **given)
    return calls


def do_one(call: Call, number: int, place: Path) -> None:
    """Explain; now and then also draw, save and read."""
    found = call()
    if number % 7 == 0:
        plot = (
            found.plot.bar()
            if found.scope == "global"
            else found.to_global().plot.bar()
        )
        plot._repr_png_()
        plot.save(place / "plot.png")
    if number % 11 == 0:
        found.save(place / "saved", overwrite=True)
        pg.Explanation.load(place / "saved")


# ---- what stays behind ---------------------------------------------------------------
def figures() -> int:
    """Return how many of Matplotlib's figures there are, those that pyplot keeps and
    all others.
    """
    if "matplotlib" not in sys.modules:
        return 0
    from matplotlib.figure import Figure

    return sum(isinstance(own, Figure) for own in gc.get_objects())


def resident() -> int:
    """Return how many KiB of memory this process has."""
    return (
        int(Path("/proc/self/statm").read_text().split()[1])
        * os.sysconf("SC_PAGE_SIZE")
        // 1024
    )


def look() -> dict[str, int]:
    """Return what this process holds."""
    gc.collect()
    return {
        "resident KiB": resident(),
        "objects": len(gc.get_objects()),
        "open files": len(list(Path("/proc/self/fd").iterdir())),
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "of Python": threading.active_count(),
        "child processes": len(children(os.getpid())),
        "figures": figures(),
    }


def check(
    model: Path, calls: int, warm_up: int, kind: str | None
) -> list[dict[str, int]]:
    """Make so many calls, of all kinds in turn or of one; return what was held at the
    end of the warm-up and later.
    """
    lines: list[dict[str, int]] = []
    with (
        tempfile.TemporaryDirectory(prefix="verify-leaks-") as folder,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", pg.PermgradWarning)
        made = make_calls(pg.load(model), Path(folder))
        turns = itertools.cycle(made.values() if kind is None else [made[kind]])
        most = 0
        for number, call in enumerate(itertools.islice(turns, calls), start=1):
            if kind is None:
                do_one(call, number, Path(folder))
            else:
                call()
            # Between the calls up to the first line there is nothing yet that could
            # have stayed behind.
            most = resident() if number <= warm_up else max(most, resident())
            if number == calls or (
                number >= warm_up and (number - warm_up) % EVERY == 0
            ):
                lines.append({"calls": number, "most KiB": most, **look()})
                most = 0
    return lines


def check_all(calls: int, warm_up: int) -> dict[str, list[dict[str, int]]]:
    """Make so many calls of each kind, then of all in turn, each in a process of its
    own; return what these held.
    """
    with tempfile.TemporaryDirectory(prefix="verify-leaks-") as folder:
        model = Path(folder) / "model"
        save_model(model)
        kinds = list(make_calls(pg.load(model), Path(folder)))
        command = [
            sys.executable,
            "-m",
            __spec__.name,
            "--calls",
            str(calls),
            "--warm-up",
            str(warm_up),
            "--model",
            str(model),
        ]
        found = {}
        for kind in (*kinds, TURNS):
            ended = subprocess.run(
                [*command, "--kind", kind],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            found[kind] = json.loads(ended.stdout)
            print(f"{kind}: {growth(found[kind]):+.2%}", flush=True)
    return found


def faults_of(what: str, lines: list[dict[str, int]]) -> list[str]:
    """Return what has grown since the end of the warm-up and must not."""
    first, last = lines[0], lines[-1]
    faults = [
        f"{what}, {name}: {first[name]} after {first['calls']} calls, {last[name]} "
        f"after {last['calls']}"
        for name in first
        if name not in ("calls", "objects")
        and not name.endswith("KiB")
        and last[name] > first[name]
    ]
    # Caches of the libraries below fill and empty: what stays behind with every call
    # grows all the time.
    early, late = lines[: len(lines) // 2], lines[len(lines) // 2 :]
    most, least = (
        max(line["objects"] for line in early),
        min(line["objects"] for line in late),
    )
    if least > most:
        faults.append(
            f"{what}, objects: at most {most} in the first half of the calls, at least "
            f"{least} later"
        )
    if growth(lines) >= MOST_GROWTH:
        faults.append(f"{what}: resident memory grew by {growth(lines):.2%}")
    return faults


def growth(lines: list[dict[str, int]]) -> float:
    """Return by which share resident memory has grown since the end of the warm-up.

    The C library keeps up to 24 MB of what was given back, and returns it every now and
    then: what a process holds goes up and down by 5 % while the bytes in use stay the
    same. So memory is looked at after every call, the most that was seen in the first
    half of the calls is compared with the most that was seen later, and what came in
    between is drawn out to all calls.
    """
    early, late = lines[: len(lines) // 2], lines[len(lines) // 2 :]
    grown = (
        max(line["most KiB"] for line in late) / max(line["most KiB"] for line in early)
        - 1
    )
    return (
        grown
        * (lines[-1]["calls"] - lines[0]["calls"])
        / (lines[-1]["calls"] - early[-1]["calls"])
    )


def main() -> int:
    """Do the check and record it."""
    options = parser(__doc__)
    options.add_argument(
        "--calls",
        type=int,
        help=f"how many (default: {CALLS}, {QUICK_CALLS} with --quick)",
    )
    options.add_argument(
        "--warm-up",
        type=int,
        help=f"how many before (default: {WARM_UP}, {QUICK_WARM_UP})",
    )
    options.add_argument(
        "--kind",
        help="only this kind, of a --model; print what was held and record nothing",
    )
    options.add_argument("--model", type=Path, help="where the trained model is")
    asked = options.parse_args()
    calls = (
        asked.calls
        if asked.calls is not None
        else QUICK_CALLS
        if asked.quick
        else CALLS
    )
    warm_up = (
        asked.warm_up
        if asked.warm_up is not None
        else QUICK_WARM_UP
        if asked.quick
        else WARM_UP
    )
    torch.set_num_threads(1)
    if asked.kind:
        print(
            json.dumps(
                check(
                    asked.model,
                    calls,
                    warm_up,
                    None if asked.kind == TURNS else asked.kind,
                )
            )
        )
        return 0
    held = check_all(calls, warm_up)
    faults = [fault for kind, lines in held.items() for fault in faults_of(kind, lines)]
    most = max(
        (kind for kind in held if kind != TURNS), key=lambda kind: growth(held[kind])
    )
    shown = [
        {
            "kind": kind,
            "resident KiB": lines[0]["resident KiB"],
            "most KiB": max(line["most KiB"] for line in lines),
            "growth": f"{growth(lines):+.2%}",
            "objects": lines[-1]["objects"] - lines[0]["objects"],
        }
        for kind, lines in held.items()
    ]
    text = (
        f"{calls} calls in each process. After the first {warm_up} resident memory "
        f"grew by {growth(held[most]):.2%} at most with calls of one kind ({most}), "
        f"and by {growth(held[TURNS]):.2%} with all kinds in turn; floor below "
        f"{MOST_GROWTH:.0%}. Objects are what Python's number of objects changed "
        f"by.\n\n{markdown_table(shown)}\n\nAll kinds in "
        f"turn:\n\n{markdown_table(held[TURNS])}"
        + "".join(f"\n\n- {fault}" for fault in faults)
    )
    return record(
        asked,
        "Nothing stays behind",
        text,
        {"held": held, "faults": faults},
        passed=not faults,
        seeds=[0],
    )


if __name__ == "__main__":
    sys.exit(main())
