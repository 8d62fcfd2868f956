"""Local Shapley values of a boosting model: ``method="shapley"`` beside shap's
TreeExplainer, on the same background.

    python -m benchmarks.speed.tree_shapley [--quick]

LightGBM and a forest on HELOC (a made table where it is absent), 23 columns, 100
background rows. Of LightGBM both explain the raw score, of the forest the probability.
Both read the trees, permgrad with all that an explanation consists of. Each measurement
is the least processor time of three calls, after one that warms up.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from tests.shared.explaining import explain_with

from benchmarks._results import data_folder, markdown_table, parser, record


def table() -> tuple[pd.DataFrame, Any]:
    """Return rows and their target."""
    folder = data_folder()
    if folder is not None and (folder / "heloc.csv").is_file():
        frame = pd.read_csv(folder / "heloc.csv")
        return frame.drop(columns="RiskPerformance"), frame["RiskPerformance"]
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        rng.normal(size=(4000, 23)), columns=[f"x{column}" for column in range(23)]
    )
    return frame, np.where(frame["x0"] + frame["x1"] * frame["x2"] > 0, "Good", "Bad")


def least(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the least processor seconds of three calls, and the last result."""
    call()
    seconds = []
    for _ in range(3):
        started = time.process_time()
        result = call()
        seconds.append(time.process_time() - started)
    return min(seconds), result


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a line for each model and number of rows."""
    import lightgbm
    import shap

    X, y = table()
    background = X[3000:3100]
    models = {
        "LightGBM": lightgbm.LGBMClassifier(random_state=0, n_jobs=1, verbosity=-1),
        "forest": RandomForestClassifier(100, min_samples_leaf=5, random_state=0),
    }
    lines = []
    for name, model in models.items():
        model.fit(X[:3000], y[:3000])
        theirs = shap.TreeExplainer(
            model, background, feature_perturbation="interventional"
        )
        options: dict[str, Any] = {
            "method": "shapley",
            "background": background,
            "random_state": 0,
            "progress": False,
        }
        if name == "LightGBM":
            options["scale"] = "logit"
        for count in (3,) if arguments.quick else (3, 100):
            rows = X[3100 : 3100 + count]
            seconds, peer = least(
                lambda rows=rows, theirs=theirs: theirs.shap_values(
                    rows, check_additivity=False
                )
            )
            ours, explanation = least(
                lambda rows=rows, options=options, model=model: explain_with(
                    model, rows, **options
                )
            )
            peer = np.asarray(peer)
            if peer.ndim == 3:
                peer = peer[..., 1]
            apart = np.abs(explanation.values[..., -1] - peer)
            lines.append(
                {
                    "model": name,
                    "rows": count,
                    "shapley, seconds": ours,
                    "TreeExplainer, seconds": seconds,
                    "ratio": ours / seconds,
                    "largest difference": float(apart.max()),
                    "largest value": float(np.abs(peer).max()),
                }
            )
    return lines


def main() -> int:
    """Measure, print and record."""
    arguments = parser(__doc__).parse_args()
    lines = measure(arguments)
    text = markdown_table(lines) + "\n\nProcessor seconds, one thread."
    return record(
        arguments,
        "Shapley values of trees: time beside TreeExplainer",
        text,
        lines,
        passed=None,
        seeds=[0],
    )


if __name__ == "__main__":
    sys.exit(main())
