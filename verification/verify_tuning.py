"""Is a tuned network better than the default one?

``permgrad tune`` with ``--trials 30`` on six tables. Trial 0 of the space is the
default preset itself, trained on the same rows with the same seed, so that the study
holds both networks. Compared are the validation loss, on which the choice was made, and
on test rows, which no trial saw, the loss row by row: the mean difference with its 95 %
interval.

Floors: the winner's validation loss is below the default's, and its test loss is not
significantly above.

With ``--folder`` the studies are kept, and a check that was stopped goes on where it
was.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from benchmarks._results import markdown_table, parser, record

import permgrad as pg
from permgrad.evaluation.metrics import evaluate
from permgrad.runs.commands.tune import tune_table
from permgrad.runs.requests import TuneRequest
from permgrad.runs.run.run_inputs import load_inputs

SETS = ("heloc", "dengue", "covertype", "gas", "bank", "puma")


def row_losses(model: Any, X: pd.DataFrame, y: np.ndarray) -> np.ndarray:
    """Return each row's log-loss, or squared error in units of the target's
    variance.
    """
    if not hasattr(model, "classes_"):
        return ((model.predict(X) - y) / model.target_scale_) ** 2
    probabilities = model.predict_proba(X)
    places = np.searchsorted(model.classes_, y)
    return -np.log(np.clip(probabilities[np.arange(len(y)), places], 1e-15, None))


def leading_metric(model: Any) -> str:
    """Return the metric that tables of a kind are known by."""
    if not hasattr(model, "classes_"):
        return "rmse"
    return "roc_auc" if len(model.classes_) == 2 else "accuracy"


def test_metric(model: Any, X: pd.DataFrame, y: np.ndarray) -> float:
    """Return that metric on test rows."""
    if not hasattr(model, "classes_"):
        return float(evaluate("regression", y, predictions=model.predict(X))["rmse"])
    found = evaluate(
        "classification",
        y,
        probabilities=model.predict_proba(X),
        classes=model.classes_,
    )
    return float(found[leading_metric(model)])


def check(name: str, folder: Path, trials: int, threads: int) -> dict[str, Any]:
    """Tune on one table and compare the winner with trial 0."""
    request = TuneRequest(table=name, trials=trials, out=folder / name, threads=threads)
    tune_table(
        request, say=lambda line: print(f"{name}: {line}", file=sys.stderr, flush=True)
    )
    table = pd.read_csv(folder / name / "trials.csv")
    best = int(table["validation_loss"].where(table["state"] == "complete").idxmin())
    test = load_inputs(request.run_request("default")).parts["test"]
    default, winner = (
        pg.load(folder / name / "trials" / str(number) / "model")
        for number in (0, best)
    )
    difference = row_losses(winner, test.inputs, test.y) - row_losses(
        default, test.inputs, test.y
    )
    error = float(difference.std(ddof=1) / np.sqrt(len(difference)))
    mean = float(difference.mean())
    line = {
        "set": name,
        "trials": len(table),
        "best": best,
        "validation loss, default": float(table["validation_loss"][0]),
        "validation loss, tuned": float(table["validation_loss"][best]),
        "test metric": leading_metric(default),
        "default": test_metric(default, test.inputs, test.y),
        "tuned": test_metric(winner, test.inputs, test.y),
        "test loss, tuned − default": mean,
        "± 95 %": 1.96 * error,
    }
    better = line["validation loss, tuned"] < line["validation loss, default"]
    return line | {
        "better on validation rows": better,
        "not worse on test rows": mean - 1.96 * error <= 0,
    }


def main() -> int:
    """Tune on all tables and record what came out."""
    arguments = parser(__doc__)
    arguments.add_argument(
        "--folder",
        type=Path,
        help="keep the studies here, and go on with those that are there",
    )
    arguments.add_argument(
        "--sets", default=",".join(SETS), help="names between commas"
    )
    arguments.add_argument("--trials", type=int, default=30)
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    names = (
        ["dengue"]
        if given.quick
        else [name.strip() for name in given.sets.split(",") if name.strip()]
    )
    trials = 3 if given.quick else given.trials
    with tempfile.TemporaryDirectory() as temporary:
        lines = [
            check(name, given.folder or Path(temporary), trials, given.threads)
            for name in names
        ]
    passed = all(
        line["better on validation rows"] and line["not worse on test rows"]
        for line in lines
    )
    text = (
        f"`permgrad tune` with {trials} trials, space default, split 42, seed 0. "
        "Losses are log-loss or, for puma, "
        "squared error in units of the target's variance.\n\n" + markdown_table(lines)
    )
    return record(
        given, "Tuned against the default", text, lines, passed=passed, seeds=[0]
    )


if __name__ == "__main__":
    sys.exit(main())
