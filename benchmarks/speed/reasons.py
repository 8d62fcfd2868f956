"""Processor time of the reasons of a row, and whether they are those of ``pg.explain``.

    python -m benchmarks.speed.reasons [--quick]

``model.reasons(X, n=3)`` of 300 rows of a made table with 30 columns, by a network with
trees and a line beside it, and by the network alone, against the 100 rows that each
keeps. Beside it stand the time of a row in a call of its own and that of 6,000 plain
predictions of the same network, which a row would take with all of these rows. The
first reasons of 40 rows are compared with the largest Shapley values of ``pg.explain``,
of at most 2,000 orders: of all rows, and of those whose largest value leads the second
by more than the half of its interval. The floor is 20 ms a row.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import numpy as np
import pandas as pd

import permgrad as pg
from benchmarks._results import markdown_table, parser, record
from permgrad.attribution.reasons import explain_reasons

COLUMNS = 24
LEVELS = 6
#: Predictions of a row beside 100 rows, in an order and its reverse.
PREDICTIONS = 6000
BRANCHES = {"alone": ("tabular",), "trees, line": ("tabular", "trees", "linear")}


def table(rows: int, seed: int) -> tuple[pd.DataFrame, Any]:
    """Return a made table of 24 numbers and six categories, and two classes."""
    rng = np.random.default_rng(seed)
    names = [f"number {column}" for column in range(COLUMNS)]
    X = pd.DataFrame(rng.normal(size=(rows, COLUMNS)), columns=names)
    for column in range(LEVELS):
        X[f"level {column}"] = rng.choice(list("abcdefg")[: 3 + column // 2], rows)
    numbers = X.to_numpy()[:, :5].astype(float)
    score = numbers[:, 0] * numbers[:, 1] + numbers[:, 2] + np.sin(2 * numbers[:, 3])
    score += (X["level 0"] == "a") + 0.5 * numbers[:, 4] + rng.normal(0, 0.8, rows)
    return X, np.where(score > 0, "yes", "no")


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a line for each network."""
    train, y = table(500 if arguments.quick else 2400, 0)
    rows = table(300, 1)[0][: 3 if arguments.quick else 300]
    compared = rows[:2] if arguments.quick else rows[:40]
    lines = []
    for name, branches in BRANCHES.items():
        options: dict[str, Any] = {"max_epochs": 1 if arguments.quick else 8}
        model = pg.HyNNClassifier(branches=branches, random_state=0, **options)
        model.fit(train, y)
        model.reasons(rows[:2])
        copies = pd.concat([rows] * (1 + PREDICTIONS // len(rows)))[:PREDICTIONS]
        encoded = model.encode_rows(copies)
        seconds = []
        plain = []
        alone = []
        for row in range(3 if arguments.quick else 15):
            started = time.process_time()
            model.reasons(rows[row : row + 1], n=3)
            alone.append(time.process_time() - started)
        for _ in range(1 if arguments.quick else 3):
            started = time.process_time()
            model.reasons(rows, n=3)
            seconds.append(time.process_time() - started)
            started = time.process_time()
            model.predict_proba(encoded)
            plain.append(time.process_time() - started)
        agreement = agreement_of(model, compared)
        lines.append(
            {
                "network": name,
                "rows": len(rows),
                "reasons, ms a row": 1000 * min(seconds) / len(rows),
                "a row alone, ms": 1000 * float(np.median(alone)),
                "6,000 plain predictions, ms": 1000 * min(plain),
                **agreement,
            }
        )
    return lines


def agreement_of(model: Any, rows: pd.DataFrame) -> dict[str, float]:
    """Return in which share of rows the first reason is that of ``pg.explain``."""
    options: dict[str, Any] = {"scope": "local", "progress": False}
    explanation = pg.explain(model, rows, method="shapley", **options)
    positive = explanation.outputs.index(model.classes_[model.decision_.positive])
    sizes = np.abs(explanation.values[:, :, positive])
    reasons = explain_reasons(model, rows)
    every_row = np.arange(len(rows))
    first = sizes.argmax(axis=1)
    same = np.abs(reasons.values[:, :, positive]).argmax(axis=1) == first
    widths = (reasons.high - reasons.low)[every_row, first, positive]
    ordered = np.sort(sizes, axis=1)
    leads = ordered[:, -1] - ordered[:, -2] > widths / 2
    between = (reasons.low <= explanation.values) & (explanation.values <= reasons.high)
    return {
        "same first reason": float(same.mean()),
        "rows with a lead": float(leads.mean()),
        "same first reason there": float(same[leads].mean()),
        "intervals that hold": float(between[:, :, positive].mean()),
    }


def main() -> int:
    """Measure, print and record."""
    arguments = parser(__doc__).parse_args()
    lines = measure(arguments)
    text = markdown_table(lines) + "\n\nProcessor time, one thread."
    return record(
        arguments,
        "Reasons of a row: processor time",
        text,
        lines,
        passed=None,
        seeds=[0],
    )


if __name__ == "__main__":
    sys.exit(main())
