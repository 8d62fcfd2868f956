"""A complete run beside LightGBM with early stopping, TreeSHAP and a page of shap's plots, on the same rows.

    python -m benchmarks.speed.tree_peer heloc puma  # two named sets; a minute for each on two idle cores

Each contestant runs in a separate process on one thread, from the table to the page. Seconds are processor time, with
imports. They do not answer the same questions: the page of a run has intervals, p-values, baselines, calibration and
differences between training and test rows, the peer's has a bar chart, a beeswarm and five dependence plots.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._results import markdown_table, record
from benchmarks.quality._cells import SETS

#: Test rows that TreeSHAP explains: as many as the first ranking of a run.
ROWS = 1000


def peer(name: str, page: Path) -> float:
    """Fit LightGBM, explain it by TreeSHAP and write a page. Return the metric on the test rows."""
    import matplotlib as mpl
    import numpy as np
    import shap
    from lightgbm import LGBMClassifier, LGBMRegressor, early_stopping

    from permgrad.data.datasets import load_dataset
    from permgrad.data.splitting import split_rows
    from permgrad.evaluation.metrics import evaluate

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    data = load_dataset(name)
    X, y = data.X, data.y
    for column in X.select_dtypes(exclude="number"):
        X = X.assign(**{column: X[column].astype("category")})
    rows = split_rows(len(X), y, task=data.task, seed=42)
    kind = LGBMRegressor if data.task == "regression" else LGBMClassifier
    model = kind(n_estimators=1000, learning_rate=0.1, verbosity=-1, n_jobs=1, random_state=0)
    held = (X.iloc[rows.validation], y.iloc[rows.validation])
    stop = early_stopping(50, verbose=False)
    model.fit(X.iloc[rows.train], y.iloc[rows.train], eval_set=[held], callbacks=[stop])
    truth, test = y.iloc[rows.test].to_numpy(), X.iloc[rows.test]
    if data.task == "regression":
        scores = evaluate("regression", truth, predictions=model.predict(test))
    else:
        scores = evaluate(
            "classification", truth, probabilities=model.predict_proba(test), classes=list(model.classes_)
        )
    shown = test.iloc[np.random.default_rng(0).permutation(len(test))[:ROWS]]
    values = shap.TreeExplainer(model)(shown)
    if values.values.ndim == 3:
        values = values[:, :, 1]
    strongest = np.abs(values.values).mean(axis=0).argsort()[::-1]
    numbers = [int(feature) for feature in strongest if shown.dtypes.iloc[feature] != "category"][:5]
    plots = [shap.plots.bar, shap.plots.beeswarm, *[shap.plots.scatter] * len(numbers)]
    drawn = [values, values, *(values[:, feature] for feature in numbers)]
    pictures = []
    for plot, what in zip(plots, drawn, strict=True):
        plt.figure()
        plot(what, show=False)
        stream = io.BytesIO()
        plt.savefig(stream, format="png", bbox_inches="tight")
        plt.close("all")
        pictures.append(f'<img src="data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}">')
    page.write_text(f"<h1>{name}</h1>{scores}{''.join(pictures)}")
    return float(scores[SETS[name]])


def spent() -> float:
    """Return the processor seconds of all processes that were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Run both contestants on a set."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    commands = {
        "permgrad run": [sys.executable, "-m", "permgrad", "run", name, "--out", str(folder / name), "--json", "-q"],
        "LightGBM": [sys.executable, "-m", "benchmarks.speed.tree_peer", name, "--peer", str(folder / f"{name}.html")],
    }
    line: dict[str, Any] = {"table": name, "metric": SETS[name]}
    for contestant, words in commands.items():
        before = spent()
        text = subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout
        line[f"{contestant}: seconds"] = spent() - before
        scores = json.loads(text)
        line[f"{contestant}: score"] = scores["test"][SETS[name]] if contestant == "permgrad run" else scores
    pages = [folder / name / "report.html", folder / f"{name}.html"]
    line |= {f"{which}: MB": page.stat().st_size / 1e6 for which, page in zip(commands, pages, strict=True)}
    return line


def main() -> int:
    """Measure the sets, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=list(SETS), choices=SETS)
    parser.add_argument("--peer", type=Path, help="only the peer, which writes this page")
    parser.add_argument("--no-record", action="store_true", help="do not write benchmarks/results")
    arguments = parser.parse_args()
    if arguments.peer is not None:
        print(json.dumps(peer(arguments.sets[0], arguments.peer)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        lines = [measure(name, Path(folder)) for name in arguments.sets]
    arguments.quick = False
    return record(
        arguments, "A complete run, and LightGBM with TreeSHAP and a page", markdown_table(lines), lines,
        passed=None, seeds=0, name="tree_peer",
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
