"""Processor time of the reasons of a row, and whether they are those of ``pg.explain``.

    python -m benchmarks.speed.reasons [--quick]

``model.reasons(X, n=3)`` of a made table of 30 columns, by a network with trees and a
line beside it, and by the network alone, against the 100 rows that each keeps. Beside
it stands the time of as many plain predictions of the same network. The first reasons
of 10 rows are compared with the largest Shapley values of ``pg.explain``, of at most
2,000 orders. The floor is 20 ms a row.
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
from permgrad.attribution.reasons import orders_of_features

COLUMNS = 24
LEVELS = 6
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
    rows = table(100, 1)[0][: 3 if arguments.quick else 100]
    compared = rows[:2] if arguments.quick else rows[:10]
    lines = []
    for name, branches in BRANCHES.items():
        options: dict[str, Any] = {"max_epochs": 1 if arguments.quick else 8}
        model = pg.HyNNClassifier(branches=branches, random_state=0, **options)
        model.fit(train, y)
        model.reasons(rows[:2])
        started = time.process_time()
        reasons = model.reasons(rows, n=3)
        seconds = time.process_time() - started
        # An order takes a prediction for each feature, but for the ends, which are
        # known.
        features = train.shape[1]
        predictions = orders_of_features(features) * features
        copies = pd.concat([rows] * (1 + predictions // len(rows)))[:predictions]
        encoded = model.encode_rows(copies)
        started = time.process_time()
        model.predict_proba(encoded)
        plain = time.process_time() - started
        explanation = pg.explain(
            model, compared, method="shapley", scope="local", progress=False
        )
        place = explanation.outputs.index(model.classes_[model.decision_.positive])
        largest = np.abs(explanation.values[:, :, place]).argmax(axis=1)
        first = np.array(explanation.names)[largest]
        same = reasons["reason_1"].to_numpy()[: len(first)] == first
        lines.append(
            {
                "network": name,
                "rows": len(rows),
                "reasons, ms a row": 1000 * seconds / len(rows),
                "predictions of a row": predictions,
                "as many plain predictions, ms": 1000 * plain,
                "same first reason": float(same.mean()),
            }
        )
    return lines


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
