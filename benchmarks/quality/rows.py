"""Rows of any kind: permgrad, boosting, and linear models of words, images and levels,
on fifteen public sets.

    python -m benchmarks.quality.rows --folder clones          # what is missing is measured, then the record; hours
    python -m benchmarks.quality.rows --prepare --folder clones  # only make the sets
    python -m benchmarks.quality.rows --processes 14 --seconds 480 --cells cells.jsonl   # as many as fit in the time
    python -m benchmarks.quality.rows --record cells.jsonl     # train nothing: the record
    # some cells anew, beside those of the last record: --record new.jsonl
    benchmarks/results/rows.json

The sets, what they need and what is left out of them: ``_row_sets.py``. The
contestants: ``_row_models.py``. A contestant whose package is missing is left out.
AutoGluon's multimodal recipe is not among them.
"""

from __future__ import annotations

import os

# Before torch and NumPy are imported: one thread a process, so that processor time
# means something.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import argparse
import datetime as dt
import multiprocessing
import platform
import sys
import time
import traceback
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import permgrad
from benchmarks.quality import _row_record as record
from benchmarks.quality._cells import CACHE, Cells
from benchmarks.quality._row_models import CONTESTANTS, Task, predictions
from benchmarks.quality._row_sets import SEED, SETS, load, prepare
from permgrad.evaluation.metrics import evaluate

DATA, CELLS = CACHE.parent / "rows" / "data", CACHE.parent / "rows" / "cells.jsonl"
KEPT = ("accuracy", "log_loss", "roc_auc", "rmse", "r2", "mae")
TINY = 240
#: What decides comes first, then what is most asked for, then the rest: where time is
#: short, that is what is missing.
FIRST, SECOND = (
    ("permgrad", "tfidf", "onehot", "lightgbm", "without"),
    ("catboost", "linear"),
)
#: Seconds of a fit, roughly, so that the longest begin first.
LONG = {
    "cards": 200,
    "flights": 120,
    "ratings": 90,
    "birds": 90,
    "tweets": 60,
    "movies": 60,
    "films": 60,
    "reviews": 50,
}


def wanted(
    sets: list[str],
    models: list[str],
    data: Path,
    *,
    tiny: bool = False,
    first: int | None = None,
) -> list[tuple[str, str, int]]:
    """Return the cells of sets and models, in the order in which they are measured."""
    made = []
    for name in sets:
        one = SETS[name]
        count = len(one.parts(_loaded(name, data, tiny)[0]))
        for model in models:
            if not CONTESTANTS[model].on(one) or not CONTESTANTS[model].available:
                continue
            rank = (
                0 if model in FIRST else 1 if model in SECOND or name == "cards" else 2
            )
            effort = LONG.get(name, 20) * (
                1
                if model in ("permgrad", "text", "photo", "table", "catboost")
                else 0.3
            )
            made += [
                (rank, -effort, split, (model, name, split))
                for split in range(count)[:first]
            ]
    return [cell for *_, cell in sorted(made)]


@lru_cache(maxsize=2)
def _loaded(name: str, data: Path, tiny: bool) -> Any:
    frame, vectors = load(SETS[name], data)
    return (
        frame.sample(TINY, random_state=SEED).reset_index(drop=True) if tiny else frame
    ), vectors


def measure(
    model: str, name: str, split: int, data: Path, tiny: bool = False
) -> dict[str, Any]:
    """Train one contestant on one split of a set, and return its cell, with the loss of
    each test row.
    """
    one, (frame, vectors) = SETS[name], _loaded(name, data, tiny)
    train, test = one.parts(frame)[split]
    # The models of the latest fifth differ by their seed alone.
    task = Task(
        one,
        frame.iloc[train],
        frame.iloc[test],
        vectors,
        split if one.time is not None else SEED,
    )
    clock, started = time.perf_counter(), time.process_time()
    says = predictions(model, task)
    times = {
        "processor_seconds": time.process_time() - started,
        "seconds": time.perf_counter() - clock,
    }
    truth, classes = task.test[one.target].to_numpy(), np.unique(task.y)
    if task.classes:
        found = evaluate(
            "classification", truth, probabilities=says, classes=list(classes)
        )
        places = np.searchsorted(classes, truth)
        losses = -np.log(np.clip(says[np.arange(len(truth)), places], 1e-12, 1))
    else:
        found = evaluate("regression", truth, predictions=says)
        losses = (says - truth) ** 2
    names = ["numpy", "scikit-learn", "torch"]
    names += (
        [CONTESTANTS[model].package] if CONTESTANTS[model].package != "sklearn" else []
    )
    versions = {"python": platform.python_version(), "permgrad": permgrad.__version__}
    return {
        "model": model, "set": name, "split": split,
        "metrics": {"test": {key: found[key] for key in KEPT if found.get(key) is not None}},
        **times, "rows": {"train": len(train), "test": len(test)}, "said": task.said, "fingerprint": "",
        "matmul": "highest",
        "versions": versions | {own: metadata.version(own) for own in names},
        "date": dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds"),
        "losses": [round(float(loss), 4) for loss in losses],
        "groups": np.unique(task.test[one.group].to_numpy(), return_inverse=True)[1].tolist() if one.group else None,
    }  # fmt: skip


def _one(
    job: tuple[tuple[str, str, int], Path, bool],
) -> tuple[tuple[str, str, int], Any]:
    import torch

    torch.set_num_threads(1)
    key, data, tiny = job
    try:
        return key, measure(*key, data, tiny)
    except Exception:  # noqa: BLE001 (one cell that fails is told of, the others go on)
        return key, traceback.format_exc(limit=-6)


def run(
    cells: Cells, asked: list[tuple[str, str, int]], given: argparse.Namespace
) -> int:
    """Measure what is not there yet, until the time is over.

    Return how many cells failed.
    """
    missing = [(key, given.data, given.tiny) for key in asked if key not in cells.found]
    end, failed, done = time.monotonic() + given.seconds, 0, 0
    pool = multiprocessing.get_context("spawn").Pool(given.processes)
    try:
        results = pool.imap_unordered(_one, missing)
        for _ in missing:
            try:
                key, cell = results.next(timeout=max(end - time.monotonic(), 0.01))
            except multiprocessing.TimeoutError:
                print(
                    f"the time is over, {len(missing) - done} cells are missing",
                    file=sys.stderr,
                )
                break
            done += 1
            if isinstance(cell, str):
                failed += 1
                print(f"FAILED {key}\n{cell}", file=sys.stderr, flush=True)
                continue
            cells.add(cell)
            value = cell["metrics"]["test"][SETS[key[1]].metric]
            print(
                f"{done}/{len(missing)} {key} {value:.4f} {cell['seconds']:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    finally:
        pool.terminate()
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder",
        type=Path,
        help="folder with the clones hs-card-tiles and Houses-dataset",
    )
    parser.add_argument(
        "--data", type=Path, default=DATA, help="folder of the sets that were made"
    )
    parser.add_argument(
        "--cells", type=Path, default=CELLS, help="file of finished cells, added to"
    )
    parser.add_argument(
        "--known",
        type=Path,
        nargs="*",
        default=[],
        help="files of further finished cells",
    )
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument(
        "--models", nargs="+", default=list(CONTESTANTS), choices=CONTESTANTS
    )
    parser.add_argument(
        "--splits", type=int, metavar="N", help="only the first N splits of each set"
    )
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument(
        "--seconds", type=float, default=1e9, help="stop after so many seconds"
    )
    parser.add_argument(
        "--tiny",
        action="store_true",
        help=f"{TINY} rows of each set, to see that all run; no record",
    )
    parser.add_argument(
        "--prepare", action="store_true", help="make the sets, and stop"
    )
    parser.add_argument(
        "--record",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="train nothing: the record of these cells",
    )
    parser.add_argument(
        "--no-record", action="store_true", help="do not write benchmarks/results"
    )
    given = parser.parse_args()
    if given.record:
        return record.write(_read(*given.record), keep=not given.no_record)
    for name in given.sets:
        prepare(SETS[name], given.data, given.folder)
    if given.prepare:
        return 0
    given.cells.parent.mkdir(parents=True, exist_ok=True)
    cells = _read(given.cells, *given.known)
    failed = run(
        cells,
        wanted(
            given.sets, given.models, given.data, tiny=given.tiny, first=given.splits
        ),
        given,
    )
    return record.write(cells, keep=not (given.no_record or given.tiny)) or int(
        failed > 0
    )


def _read(*files: Path) -> Cells:
    """Return the cells of files, a record among them or not.

    Those of the first count, and new ones are added to it.
    """
    found: dict[Any, Any] = {}
    for file in reversed(files):
        if file.suffix == ".json":  # a record
            made = Cells.read(file.parent, file)
        else:
            made = Cells(file.parent, file=file.name)
            made.update()
        found |= made.found
    made.found = found
    return made


if __name__ == "__main__":
    raise SystemExit(main())
