"""What is timed: one process of each checkout does on request one call of one task.

    python -m verification._speed_cases models FOLDER   # fit and save the models that are explained
    python -m verification._speed_cases serve FOLDER    # each line of stdin names a task; its seconds are the answer

A task is prepared, and called once, before its first timed call, so that nobody pays
for loading.
"""

from __future__ import annotations

import gc
import json
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tests.shared.explaining import explain_with

import permgrad as pg

COLUMNS, TRAINING_ROWS, ROWS = 23, 1500, 2500
#: Epochs of the models that are explained: enough for outputs that are not all the
#: same.
EPOCHS = {"paper": 1, "default": 2}

Call = Callable[[], object]


@cache
def table() -> tuple[pd.DataFrame, pd.Series]:
    """Return a table of numbers, whole and not, in the form of HELOC, and its
    classes.
    """
    rng = np.random.default_rng(27)
    cells = rng.normal(size=(ROWS, COLUMNS)) @ (
        np.eye(COLUMNS) + 0.2 * rng.normal(size=(COLUMNS, COLUMNS))
    )
    cells[:, ::2] = np.round(10 * cells[:, ::2])
    frame = pd.DataFrame(cells, columns=[f"x{column}" for column in range(COLUMNS)])
    signal = (
        cells[:, 1]
        + 0.1 * cells[:, 0]
        + cells[:, 3] * np.sign(cells[:, 5])
        + rng.normal(size=ROWS)
    )
    return frame, pd.Series(np.where(signal > 0, "Good", "Bad"), name="risk")


def fit(preset: str, rows: int, epochs: int) -> Any:
    """Return a classifier trained on the first rows."""
    frame, y = table()
    model = pg.HyNNClassifier(
        preset=preset,
        branches=("tabular", "image"),
        max_epochs=epochs,
        random_state=0,
        progress=False,
        device="cpu",
    )
    return model.fit(frame[:rows], y[:rows])


@cache
def model(folder: Path, preset: str) -> Any:
    """Return a saved model."""
    return pg.load(folder / preset)


def _explains(
    preset: str, rows: int, *, y: bool = False, background: int = 0, **options: Any
) -> Callable[[Path], Call]:
    frame, target = table()
    part = slice(TRAINING_ROWS, TRAINING_ROWS + rows)
    settings = {"random_state": 0, "progress": False, **options}
    if background:
        settings["background"] = frame[:background]
    given = (frame[part], target[part].to_numpy() if y else None)
    return lambda folder: (
        lambda: explain_with(model(folder, preset), *given, **settings)
    )


def _predicts(preset: str, rows: int) -> Callable[[Path], Call]:
    return lambda folder: (
        lambda: model(folder, preset).predict_proba(pd.concat([table()[0]] * 4)[:rows])
    )


def _fits(preset: str, rows: int, epochs: int) -> Callable[[Path], Call]:
    return lambda _: lambda: fit(preset, rows, epochs)


def _on_network(
    name: str, rows: int, *, y: bool = False, background: int = 0, **options: Any
) -> Callable[[Path], Call]:
    from verification._fixed_cases import cut, networks

    network, inputs = networks()[name]
    settings = {"random_state": 0, "progress": False, **options}
    if background:
        settings["background"] = cut(inputs, slice(400, 400 + background))
    given = (cut(inputs, slice(0, rows)), np.arange(rows) % 2 if y else None)
    return lambda _: lambda: explain_with(network, *given, **settings)


_IG = "integrated_gradients"


def tasks() -> Mapping[str, Callable[[Path], Call]]:
    """Return how each task is prepared, by name."""
    return {
        "path game, paper": _explains("paper", 120, y=True, n_repeats=5),
        "path game, default": _explains("default", 80, y=True, n_repeats=5),
        "Shapley, paper": _explains("paper", 2, method="shapley", background=50),
        "Shapley, default": _explains("default", 2, method="shapley", background=50),
        "integrated gradients, paper": _explains("paper", 40, method=_IG),
        "integrated gradients, default": _explains("default", 40, method=_IG),
        "Grad-CAM, paper": _explains("paper", 1000, method="gradcam"),
        "LIME, paper": _explains("paper", 4, method="lime", background=50),
        "LIME, default": _explains("default", 10, method="lime", background=50),
        "predict, paper": _predicts("paper", 4000),
        "predict, default": _predicts("default", 8000),
        "network, path game": _on_network("fused", 200, y=True, segments=("grid", 3)),
        "network, conditional": _on_network(
            "dense", 200, y=True, sampling="conditional"
        ),
        "network, Shapley": _on_network(
            "fused", 10, method="shapley", background=50, segments=("grid", 3)
        ),
        "network, integrated gradients": _on_network(
            "fused", 150, method=_IG, background=50, segments=("grid", 3)
        ),
        "training, paper": _fits("paper", 1500, 2),
        "training, default": _fits("default", 1500, 2),
        "training, fast": _fits("fast", 1500, 4),
    }


def main() -> int:
    """Train models, or answer requests until stdin ends."""
    work, folder = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if work == "models":
        for preset, epochs in EPOCHS.items():
            fit(preset, TRAINING_ROWS, epochs).save(folder / preset)
        return 0
    every = tasks()
    print(json.dumps({"file": pg.__file__, "tasks": list(every)}), flush=True)
    prepared: dict[str, Call] = {}
    for line in sys.stdin:
        name = line.strip()
        if name not in prepared:
            prepared[name] = every[name](folder)
            prepared[name]()
        gc.collect()
        wall, processor = time.perf_counter(), time.process_time()
        prepared[name]()
        taken = [time.process_time() - processor, time.perf_counter() - wall]
        print(json.dumps(taken), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
