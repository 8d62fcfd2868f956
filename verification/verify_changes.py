"""Is what ``pg.changes`` says true, and does it say nothing where nothing changed?

Two fixed models of four Gaussian columns, correlated 0.4, predict a number and two
classes. Both are wrong in a way that depends on the columns, so that their loss changes
when columns move.

1. *No change.* Both samples follow one law. In how many pairs of samples does any
   change of a kind (scores, importances) have p < 0.05 after Holm's steps? At most 5 %
   should; the floor leaves room for chance.
2. *A moved column*, *a changed relation*, and *both, with two moved columns*. Truth is
   known from large samples of the same laws. Intervals of 95 % should hold it in 92 to
   97 % of the samples, and the mean of the estimated changes of the loss should be
   within 0.02 of it.

    python -m verification.verify_changes            # about 5 minutes of processor time
    python -m verification.verify_changes --quick    # few samples, wider floors
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from verification._verification import (
    RESULTS,
    Record,
    markdown_table,
)  # sets threads: before NumPy

# isort: split
import numpy as np
import numpy.typing as npt
import pandas as pd
from tests.shared.explaining import explain_with

import permgrad as pg

Floats = npt.NDArray[np.float64]
ROWS, TRUTH_ROWS, EXPLAINED = 1000, 1_000_000, 100_000
COVARIANCE = 0.4 + 0.6 * np.eye(4)
NAMES = [f"x{place}" for place in range(4)]
#: By how much the columns move, and whether the relation changes.
CASES: dict[str, tuple[dict[int, float], bool]] = {
    "moved": ({0: 0.6}, False),
    "relation": ({}, True),
    "both": ({0: 0.6, 2: -0.5}, True),
}
TASKS = ("regression", "classification")
#: What each model says of itself.
FACTS: dict[str, dict[str, Any]] = {
    "regression": {"task": "regression"},
    "classification": {
        "task": "classification",
        "returns": "probabilities",
        "class_names": [0, 1],
    },
}


def function_of(task: str) -> Callable[[Floats], Floats]:
    """Return a model, which does not know that effects bend and act together."""

    def numbers(x: Floats) -> Floats:
        return 0.4 * x[:, 0] + 0.3 * x[:, 1]

    def chances(x: Floats) -> Floats:
        positive = 1 / (1 + np.exp(-2 * numbers(x)))
        return np.column_stack([1 - positive, positive])

    return numbers if task == "regression" else chances


def model_of(task: str) -> pg.Model:
    """Return the model with what it says of itself."""
    return pg.Model(function_of(task), **FACTS[task])


def draw_y(task: str, x: Floats, changed: bool, rng: np.random.Generator) -> Floats:
    """Return the targets of rows."""
    mean = (
        0.4 * x[:, 0]
        + (0.6 if changed else 0.3) * x[:, 1]
        + 0.2 * x[:, 0] * x[:, 1]
        + 0.15 * x[:, 2] ** 2
    )
    if task == "regression":
        return mean + 0.5 * rng.normal(size=len(x))
    return (rng.random(len(x)) < 1 / (1 + np.exp(-2 * mean))).astype(np.float64)


def draw(
    task: str,
    shifts: dict[int, float],
    changed: bool,
    rows: int,
    rng: np.random.Generator,
) -> Any:
    """Return rows and targets."""
    x = rng.multivariate_normal(
        [shifts.get(place, 0.0) for place in range(4)], COVARIANCE, rows
    )
    return x, draw_y(task, x, changed, rng)


def loss_of(task: str, x: Floats, y: Floats) -> Floats:
    """Return the loss of each row."""
    guess = function_of(task)(x)
    return (
        (guess - y) ** 2
        if task == "regression"
        else -np.log(guess[np.arange(len(x)), y.astype(int)])
    )


def truth(
    task: str, shifts: dict[int, float], changed: bool
) -> dict[tuple[str, str], float]:
    """Return the true changes by kind and name."""
    rng = np.random.default_rng(0)

    def mean(x: Floats, changed: bool) -> float:
        return float(loss_of(task, x, draw_y(task, x, changed, rng)).mean())

    before = mean(draw(task, {}, False, TRUTH_ROWS, rng)[0], False)
    result = {
        ("score", "loss"): mean(
            draw(task, shifts, changed, TRUTH_ROWS, rng)[0], changed
        )
        - before
    }
    old, new_rows = (
        draw(task, *case, EXPLAINED, rng) for case in (({}, False), (shifts, changed))
    )
    options = {"random_state": 0, "progress": False, "n_repeats": 5}
    values = [
        explain_with(model_of(task), *rows, **options).values[:, 0]
        for rows in (old, new_rows)
    ]
    return result | {
        ("importance", name): float(step)
        for name, step in zip(NAMES, values[1] - values[0], strict=True)
    }


def compared(
    task: str, shifts: dict[int, float], changed: bool, seed: int
) -> pd.DataFrame:
    """Return the changes between two samples."""
    rng = np.random.default_rng([seed, 5])
    old, new = draw(task, {}, False, ROWS, rng), draw(task, shifts, changed, ROWS, rng)
    options = {"n_repeats": 3, "progress": False}
    return pg.changes(
        model_of(task), *old, *new, random_state=seed, **options
    ).to_frame()


def no_change(record: Record, pairs: int, slack: float) -> None:
    """Check 1."""
    found = []
    for number in range(pairs):
        frame = compared(TASKS[number % 2], {}, False, number)
        found.append(frame.groupby("kind")["p_holm"].min() < 0.05)
    rates = pd.DataFrame(found).mean()
    for kind, rate in rates.items():
        record.floor(
            f"no change, {kind}: pairs of samples with any finding",
            float(rate),
            0.0,
            0.05 + slack,
        )


def a_change(record: Record, case: str, samples: int, slack: float) -> None:
    """Check 2."""
    for task in TASKS:
        shifts, changed = CASES[case]
        known = truth(task, shifts, changed)
        frames = [
            compared(task, shifts, changed, 10_000 + number)
            for number in range(samples)
        ]
        lines = []
        for (kind, name), value in known.items():
            rows = [
                frame[(frame["kind"] == kind) & (frame["name"] == name)]
                for frame in frames
            ]
            each = pd.concat([row for row in rows if len(row)], ignore_index=True)
            held = float(
                ((each["ci_low"] <= value) & (value <= each["ci_high"])).mean()
            )
            mean, clear = (
                float(each["change"].mean()),
                float((each["p_holm"] < 0.05).mean()),
            )
            lines.append((kind, name, value, mean, held, clear, len(each)))
        head = ("kind", "name", "truth", "mean estimate", "held", "clear", "samples")
        shown = [
            (*line[:2], *(f"{number:.3f}" for number in line[2:6]), line[6])
            for line in lines
        ]
        record.write(f"*{case}, {task}*\n\n{markdown_table(head, shown)}")
        off = max(abs(line[2] - line[3]) for line in lines if line[0] != "importance")
        most = (
            0.02 if samples > 100 else 0.06
        )  # a mean of few estimates is off by chance
        record.floor(f"{case}, {task}: loss off the truth, at most", off, 0.0, most)
        for kind in ("score", "importance"):
            held = float(np.mean([line[4] for line in lines if line[0] == kind]))
            record.floor(
                f"{case}, {task}: intervals of {kind}s that hold the truth",
                held,
                0.92 - slack,
                0.97 + slack,
            )


def main() -> int:
    """Do the checks and record them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="few samples, wider floors; nothing is written",
    )
    parser.add_argument("--out", type=Path, default=None, help="where the figures go")
    asked = parser.parse_args()
    record = Record("What changed between two samples", 0)
    no_change(record, 20 if asked.quick else 300, 0.1 if asked.quick else 0.02)
    for case in CASES:
        a_change(
            record, case, 10 if asked.quick else 400, 0.12 if asked.quick else 0.01
        )
    return record.close(
        asked.out or (None if asked.quick else RESULTS / "verify_changes.md")
    )


if __name__ == "__main__":
    sys.exit(main())
