"""What a run's predictions are worth: beside a constant, and beside the baselines, on the same test rows."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.errors import InputError, listed
from permgrad.base.files import atomic_path
from permgrad.base.stored import read_npz
from permgrad.runs.run.inputs import Inputs

#: What the baselines say of the test rows.
BASELINE_PREDICTIONS = "baseline_predictions.npz"
Array = npt.NDArray[Any]


def judge(
    metrics: dict[str, Any],
    inputs: Inputs,
    classes: Array,
    predicted: Mapping[str, Array],
    guesses: Mapping[str, Array],
    *,
    leaks: Sequence[Mapping[str, Any]] = (),
    seed: int,
) -> None:
    """Compare what a network says of the test rows with a constant and with baselines; enters both into the metrics.

    These get ``constant``, ``verdict`` and, for each baseline, ``ahead``. The ``classes`` are those that the network
    knows; ``guesses`` is what the baselines say of the test rows, ``(rows,)`` or ``(rows, classes)``.
    """
    from permgrad.evaluation.metrics import evaluate
    from permgrad.evaluation.skill import Predicted, against_others, skill
    from permgrad.report.sentences import against_competitors, skill_words, unseen_words

    learned, truth = inputs.parts["train"].y, inputs.parts["test"].y
    codes: Array = np.asarray(truth)
    if inputs.task == "regression":
        guess, scores = np.full(len(truth), np.mean(learned, dtype=np.float64)), predicted["prediction"]
        constant = evaluate("regression", truth, predictions=guess)
    else:
        index, scores = pd.Index(classes), predicted["probabilities"]
        shares = np.bincount(index.get_indexer(pd.Index(learned)), minlength=len(index)) / len(learned)
        codes, guess = index.get_indexer(pd.Index(truth)), np.tile(shares, (len(truth), 1))
        constant = evaluate("classification", truth, probabilities=guess, classes=classes, positive=inputs.positive)
    ours = Predicted(codes, np.asarray(scores, dtype=np.float64))
    ahead = skill(inputs.task, ours, Predicted(codes, guess), seed=seed)
    metrics["constant"] = {**constant, **(ahead or {})}
    theirs = {name: Predicted(codes, scores) for name, scores in guesses.items()}
    for name, facts in against_others(inputs.task, ours, theirs, seed=seed).items():
        metrics["baselines"][name]["ahead"] = facts
    verdict: list[dict[str, Any]] = []
    if sentence := leak_words(inputs.target, leaks):
        verdict.append({"sentence": sentence, "facts": {"kind": "leak", "columns": list(leaks)}})
    if ahead and (sentence := skill_words(inputs.target, inputs.task, metrics["test"], metrics["constant"])):
        facts = {"kind": "skill", "learnt": ahead["learnt"], "ahead": ahead["ahead"]}
        verdict.append({"sentence": sentence, "facts": facts})
    if sentence := unseen_words(inputs.target, metrics["test"]):
        verdict.append({"sentence": sentence, "facts": {"kind": "unseen", "rows": metrics["test"]["unseen"]}})
    if sentence := against_competitors(inputs.task, metrics):
        scores_ahead = {name: scores.get("ahead") for name, scores in metrics["baselines"].items()}
        verdict.append({"sentence": sentence, "facts": {"kind": "baselines", "ahead": scores_ahead}})
    # What is to be said of the run before anything else, each sentence with the facts behind it.
    metrics["verdict"] = verdict


def find_leaks(inputs: Inputs) -> list[dict[str, Any]]:
    """Return columns that alone give the target, see ``permgrad.evaluation.leaks``."""
    from permgrad.data.read.table import blank_codes
    from permgrad.evaluation.leaks import columns_that_tell

    X, y = ({part: getattr(values, name) for part, values in inputs.parts.items()} for name in ("X", "y"))
    held = pd.concat([X["validation"], X["test"]]), np.concatenate([y["validation"], y["test"]])
    sides = [(blank_codes(table, list(inputs.na_codes)), values) for table, values in ((X["train"], y["train"]), held)]
    return columns_that_tell(sides[0], sides[1], inputs.task)


def leak_words(target: str, leaks: Sequence[Mapping[str, Any]], most: int = 5) -> str:
    """Return the alarm that names columns which alone give the target; empty where there is none."""
    if not leaks:
        return ""
    words = {"r2": "R²", "r2_of_ranks": "R² of the ranks", "balanced_accuracy": "balanced accuracy"}
    # What is 0.9996 is not 1.
    shown = [f"{words[one['metric']]} {math.floor(one['score'] * 1000) / 1000:.3f}" for one in leaks[:most]]
    names = listed([repr(one["column"]) for one in leaks], most)
    subject, it = (f"Column {names}", "it") if len(leaks) == 1 else (f"Each of {names}", "one")
    drop = " ".join(f"--drop {shlex.quote(one['column'])}" for one in leaks[:most])
    return (
        f"{subject} alone predicts {target!r} nearly perfectly ({', '.join(shown)} on rows held out). If {it} is "
        f"made from the target or known only afterwards, every figure here is too good; leave it out with {drop}."
    )


def write_guesses(folder: Path, inputs: Inputs, classes: Array, guesses: Mapping[str, Array]) -> None:
    """Write what the baselines say of the test rows, with the rows' numbers and the classes in their order."""
    facts: dict[str, Array] = {"row": inputs.parts["test"].rows}
    if inputs.task == "classification":
        facts["classes"] = np.asarray([str(label) for label in np.asarray(classes).tolist()])
    with atomic_path(folder / BASELINE_PREDICTIONS) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **facts, **guesses)  # type: ignore[arg-type]


def read_guesses(folder: Path, classes: Sequence[str], rows: int) -> dict[str, npt.NDArray[np.float64]]:
    """Return the probabilities ``(rows, classes)`` that each baseline gives the test rows; empty: none are kept."""
    path = folder / BASELINE_PREDICTIONS
    if not path.exists():
        return {}
    try:
        guesses = read_npz(path)
        labels = guesses.pop("classes").tolist()
    except (KeyError, ValueError):
        guesses, labels = {}, []
    guesses.pop("row", None)
    usable = labels == list(classes) and all(
        table.shape == (rows, len(labels)) and table.dtype.kind == "f" and np.isfinite(table).all()
        for table in guesses.values()
    )
    if not usable:
        raise InputError(f"{path} does not hold what permgrad wrote. Run again with --from model.")
    return guesses
