"""How good a run's predictions are, compared with a constant and with the baselines on the same test rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.errors import InputError
from permgrad.base.files import atomic_path
from permgrad.base.stored import read_npz
from permgrad.data.read.table import blank_codes
from permgrad.evaluation.distributions import describe_columns
from permgrad.evaluation.drift import both_parts, find_drift
from permgrad.evaluation.intervals import holds, score_intervals
from permgrad.evaluation.leaks import columns_that_tell
from permgrad.evaluation.metrics import evaluate
from permgrad.evaluation.segments import find_segments
from permgrad.evaluation.skill import Predicted, against_others, skill
from permgrad.runs.run.inputs import Inputs
from permgrad.runs.run.predicting import COVERAGE

#: The baselines' predictions for the test rows.
BASELINE_PREDICTIONS = "baseline_predictions.npz"
Array = npt.NDArray[Any]


def judge(
    metrics: dict[str, Any],
    inputs: Inputs,
    classes: Array,
    predicted: Mapping[str, Array],
    guesses: Mapping[str, Array],
    *,
    seed: int,
) -> None:
    """Compare a network's test predictions with a constant and with baselines, and add the results to the metrics.

    Adds ``constant``, ``intervals`` and, for each baseline, ``ahead``. ``classes`` are those of the network.
    ``guesses`` are the baselines' predictions for the test rows, ``(rows,)`` or ``(rows, classes)``.
    """
    learned, truth = inputs.parts["train"].y, inputs.parts["test"].y
    codes = _truth(inputs, classes)
    if inputs.task == "regression":
        guess, scores = np.full(len(truth), np.mean(learned, dtype=np.float64)), predicted["prediction"]
        constant = evaluate("regression", truth, predictions=guess)
    else:
        index, scores = pd.Index(classes), predicted["probabilities"]
        shares = np.bincount(index.get_indexer(pd.Index(learned)), minlength=len(index)) / len(learned)
        guess = np.tile(shares, (len(truth), 1))
        constant = evaluate("classification", truth, probabilities=guess, classes=classes, positive=inputs.positive)
    ours = Predicted(codes, np.asarray(scores, dtype=np.float64))
    ahead = skill(inputs.task, ours, Predicted(codes, guess), seed=seed)
    metrics["constant"] = {**constant, **(ahead or {})}
    if "inside" in predicted:
        metrics["intervals"] = score_intervals(codes, predicted["inside"], COVERAGE)
    theirs = {name: Predicted(codes, scores) for name, scores in guesses.items()}
    for name, facts in against_others(inputs.task, ours, theirs, seed=seed).items():
        metrics["baselines"][name]["ahead"] = facts


def find_leaks(inputs: Inputs) -> list[dict[str, Any]]:
    """Return columns that alone predict the target nearly perfectly, see ``permgrad.evaluation.leaks``."""
    X, y = ({part: getattr(values, name) for part, values in inputs.parts.items()} for name in ("X", "y"))
    held = pd.concat([X["validation"], X["test"]]), np.concatenate([y["validation"], y["test"]])
    sides = [(blank_codes(table, list(inputs.na_codes)), values) for table, values in ((X["train"], y["train"]), held)]
    return columns_that_tell(sides[0], sides[1], inputs.task)


def compare_parts(inputs: Inputs) -> dict[str, Any]:
    """Return what ``columns.json`` holds: how each column is distributed in training and test rows, and its drift."""
    train, test = inputs.parts["train"], inputs.parts["test"]
    options: dict[str, Any] = {"targets": (inputs.target, train.y, test.y), "na_codes": inputs.na_codes}
    both, count, held = both_parts(train.X, test.X, **options)
    return {
        "drift": find_drift(train.X, test.X, **options),
        "rows": [count, held],
        "columns": describe_columns(both, count),
    }


def score_segments(inputs: Inputs, classes: Array, predicted: Mapping[str, Array]) -> dict[str, Any]:
    """Return what ``segments.json`` holds, see ``permgrad.evaluation.segments``."""
    part, inside = inputs.parts["test"], predicted.get("inside")
    truth, guess = _truth(inputs, classes), predicted["probabilities" if len(classes) else "prediction"]
    rows = Predicted(truth, np.asarray(guess, dtype=np.float64))
    positive = 1 if inputs.positive is None else list(classes).index(inputs.positive)
    covered = None if inside is None else holds(truth, inside)
    return find_segments(part.X, rows, positive=positive, na_codes=inputs.na_codes, covered=covered)


def _truth(inputs: Inputs, classes: Array) -> Array:
    """Return the target of the test rows: numbers, or the positions of their classes."""
    y = inputs.parts["test"].y
    return pd.Index(classes).get_indexer(pd.Index(y)) if len(classes) else np.asarray(y, dtype=np.float64)


def write_guesses(folder: Path, inputs: Inputs, classes: Array, guesses: Mapping[str, Array]) -> None:
    """Write the baselines' predictions for the test rows, with row numbers and classes in order."""
    facts: dict[str, Array] = {"row": inputs.parts["test"].rows}
    if inputs.task == "classification":
        facts["classes"] = np.asarray([str(label) for label in np.asarray(classes).tolist()])
    with atomic_path(folder / BASELINE_PREDICTIONS) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **facts, **guesses)  # type: ignore[arg-type]


def read_guesses(folder: Path, classes: Sequence[str], rows: int) -> dict[str, npt.NDArray[np.float64]]:
    """Return each baseline's probabilities ``(rows, classes)``, or numbers ``(rows,)``, for the test rows.

    Empty: none are stored.
    """
    path = folder / BASELINE_PREDICTIONS
    if not path.exists():
        return {}
    try:
        guesses = read_npz(path)
        labels = guesses.pop("classes").tolist() if len(classes) else []
    except (KeyError, ValueError):
        guesses, labels = {}, []
    guesses.pop("row", None)
    shape = (rows, len(labels)) if labels else (rows,)
    usable = labels == list(classes) and all(
        table.shape == shape and table.dtype.kind == "f" and np.isfinite(table).all() for table in guesses.values()
    )
    if not usable:
        raise InputError(f"{path} is damaged", hint="Run again with --from model.", code="PG052")
    return guesses
