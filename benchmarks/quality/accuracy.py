"""Test metrics and training time of a preset on the named data sets, and on functions
that are known.

    python -m benchmarks.quality.accuracy  # the default on all six sets, published
    split, seed 0 python -m benchmarks.quality.accuracy heloc puma --seeds 0 1 2 python
    -m benchmarks.quality.accuracy --functions  # R² on smooth functions: 10,000 rows,
    60 % of them to train python -m benchmarks.quality.accuracy --part validation  #
    what choices are made on; the test part is for the end

Training uses the training rows, early stopping the validation rows. Time is processor
time, so that other work on the machine does not count; the rows of a table are encoded
and laid out inside it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from permgrad import HyNNClassifier, HyNNRegressor
from permgrad.data.datasets import load_dataset
from permgrad.data.splitting import split_rows

SETS = ("heloc", "dengue", "covertype", "gas", "puma", "bank")
FLOORS = {
    "heloc": ("roc_auc", 0.78),
    "dengue": ("roc_auc", 0.83),
    "covertype": ("accuracy", 0.79),
    "gas": ("accuracy", 0.985),
    "puma": ("rmse", 3.10),
    "bank": ("roc_auc", 0.925),
}
ROWS = 10_000


def friedman(x: np.ndarray) -> np.ndarray:
    u = (np.clip(x, -2.5, 2.5) + 2.5) / 5
    return (
        10 * np.sin(np.pi * u[:, 0] * u[:, 1])
        + 20 * (u[:, 2] - 0.5) ** 2
        + 10 * u[:, 3]
        + 5 * u[:, 4]
    )


FUNCTIONS = {
    "friedman1": (10, friedman),
    "linear20": (20, lambda x: x[:, :10] @ np.linspace(0.5, 2, 10)),
    "product": (10, lambda x: x[:, 0] * x[:, 1] + x[:, 2] * x[:, 3] + 0.5 * x[:, 4]),
    "xor-like": (
        10,
        lambda x: (
            np.sign(x[:, 0] * x[:, 1]) * np.minimum(1, 4 * np.abs(x[:, 0] * x[:, 1]))
            + x[:, 2]
        ),
    ),
}


def metrics(model: Any, X: Any, y: Any) -> dict[str, float]:
    if isinstance(model, HyNNRegressor):
        predicted = model.predict(X)
        return {
            "rmse": float(root_mean_squared_error(y, predicted)),
            "r2": float(r2_score(y, predicted)),
        }
    probability = model.predict_proba(X)
    found = {
        "accuracy": float(accuracy_score(y, model.classes_[probability.argmax(axis=1)]))
    }
    score = probability[:, 1] if probability.shape[1] == 2 else probability
    found["roc_auc"] = float(roc_auc_score(y, score, multi_class="ovr"))
    return found


def timed_fit(model: Any, X: Any, y: Any, eval_set: Any) -> float:
    started = time.process_time()
    model.fit(X, y, eval_set=eval_set)
    return time.process_time() - started


def run_set(
    name: str, part: str, seed: int, split_seed: int, options: dict[str, Any]
) -> dict[str, Any]:
    data = load_dataset(name)
    kind = HyNNRegressor if data.task == "regression" else HyNNClassifier
    split = split_rows(len(data.frame), data.y, task=data.task, seed=split_seed)
    model = kind(
        random_state=seed, na=data.na or None, groups=data.groups or None, **options
    )
    X, y = data.X, data.y
    seconds = timed_fit(
        model,
        X.iloc[split.train],
        y.iloc[split.train],
        (X.iloc[split.validation], y.iloc[split.validation]),
    )
    rows = getattr(split, part)
    found = metrics(model, X.iloc[rows], y.iloc[rows])
    return {"set": name, "seed": seed, "split": split_seed, **found, "seconds": seconds, "epochs": len(model.history_),
            "best": model.best_epoch_, "columns": model.module_.encoded}  # fmt: skip


def run_function(name: str, seed: int, options: dict[str, Any]) -> dict[str, Any]:
    columns, function = FUNCTIONS[name]
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(ROWS, columns))
    y = function(X)
    train, validation = int(ROWS * 0.6), int(ROWS * 0.8)
    model = HyNNRegressor(random_state=seed, **options)
    seconds = timed_fit(
        model, X[:train], y[:train], (X[train:validation], y[train:validation])
    )
    found = metrics(model, X[validation:], y[validation:])
    return {"set": name, "seed": seed, **found, "seconds": seconds, "epochs": len(model.history_),
            "best": model.best_epoch_}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "sets",
        nargs="*",
        help=f"of {', '.join(SETS)} (or, with --functions, {', '.join(FUNCTIONS)})",
    )
    parser.add_argument("--preset", default="default")
    parser.add_argument(
        "--options", default="{}", help="further arguments of the estimator, as JSON"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--splits", type=int, nargs="+", default=[42])
    parser.add_argument("--part", choices=["test", "validation"], default="test")
    parser.add_argument("--functions", action="store_true")
    parser.add_argument(
        "--out", type=Path, help="where all results are written as JSON"
    )
    given = parser.parse_args()
    options = {"preset": given.preset, "progress": False, **json.loads(given.options)}
    if "branches" in options:
        options["branches"] = tuple(options["branches"])
    results = []
    for name in given.sets or (FUNCTIONS if given.functions else SETS):
        for seed in given.seeds:
            for split in [0] if given.functions else given.splits:
                if given.functions:
                    result = run_function(name, seed, options)
                else:
                    result = run_set(name, given.part, seed, split, options)
                results.append(result)
                shown = "  ".join(
                    f"{key} {value:.4f}"
                    for key, value in result.items()
                    if key in ("accuracy", "roc_auc", "rmse", "r2")
                )
                floor = (
                    "  ({} floor {})".format(*FLOORS[name]) if name in FLOORS else ""
                )
                print(
                    f"{name:10} seed {seed} split {split}  {shown}  "
                    f"{result['seconds']:.0f} s  "
                    f"epoch {result['best']} of {result['epochs']}{floor}",
                    flush=True,
                )
    if given.out:
        given.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
