"""Does the `paper` network learn as well where its convolutions multiply bfloat16?

    PERMGRAD_DATA=/folder/with/tables python -m verification.verify_precision

Trains preset ``paper`` on each table with each seed twice, once with ``precision="auto"`` and once in float32: the same
split, first weights, order of rows and dropout. The loss on test rows is compared in pairs. Needs a processor with
matrix units (``models/train/matrix_units.py``); elsewhere both are the same.

Floor: on no table does the mean difference on test rows differ from 0 by a 95 % t-interval over the seeds, to the
side of float32, unless it is less than a tenth of the spread between seeds.
"""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import numpy as np
from benchmarks._results import markdown_table, parser, record

from permgrad import HyNNClassifier, HyNNRegressor
from permgrad.data.datasets import load_dataset
from permgrad.data.splitting import split_rows
from permgrad.models.train.matrix_units import has_matrix_units

TABLES = ("puma", "heloc", "dengue")
SEEDS = tuple(range(5))
#: 97.5 % quantile of Student's t by degrees of freedom.
_QUANTILE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}


def cell(name: str, seed: int, precision: str, epochs: int) -> dict[str, float]:
    """Train once; lower is better: RMSE, or the cross-entropy."""
    data = load_dataset(name)
    frame = data.frame.dropna(subset=[data.target])
    X, y = frame.drop(columns=data.target), frame[data.target].to_numpy()
    split = split_rows(len(y), y, task=data.task, seed=seed)
    kind = HyNNRegressor if data.task == "regression" else HyNNClassifier
    model = kind(preset="paper", precision=precision, max_epochs=epochs, random_state=seed, progress=False)
    began = time.process_time()
    model.fit(X.iloc[split.train], y[split.train], eval_set=(X.iloc[split.validation], y[split.validation]))
    found = {"processor s": time.process_time() - began, "epochs": float(len(model.history_))}
    for part in ("validation", "test"):
        rows = getattr(split, part)
        found[part] = _loss(model, X.iloc[rows], y[rows])
    return found


def _loss(model: Any, X: Any, y: Any) -> float:
    if hasattr(model, "classes_"):
        chances = model.predict_proba(X)[np.arange(len(y)), np.searchsorted(model.classes_, y)]
        return float(-np.log(np.clip(chances, 1e-15, None)).mean())
    return float(np.sqrt(np.square(model.predict(X) - y).mean()))


def compared(name: str, pairs: list[tuple[dict[str, float], dict[str, float]]]) -> dict[str, Any]:
    """Return a line: means of both, the difference with its interval, and the spread between seeds."""
    auto, exact = (np.array([pair[side]["test"] for pair in pairs]) for side in (0, 1))
    apart = auto - exact
    half = _QUANTILE.get(len(apart) - 1, math.inf) * apart.std(ddof=1) / math.sqrt(len(apart)) if len(apart) > 1 else 0
    spread = float(exact.std(ddof=1)) if len(exact) > 1 else math.inf
    return {
        "table": name,
        "auto": float(auto.mean()),
        "float32": float(exact.mean()),
        "difference": float(apart.mean()),
        "low": float(apart.mean() - half),
        "high": float(apart.mean() + half),
        "spread of seeds": spread,
        "auto better in": int((apart < 0).sum()),
        "seeds": len(apart),
        "epochs, auto": float(np.mean([pair[0]["epochs"] for pair in pairs])),
        "epochs, float32": float(np.mean([pair[1]["epochs"] for pair in pairs])),
        "worse": bool(apart.mean() - half > 0 and apart.mean() > spread / 10),
    }


def main() -> int:
    """Measure, print and record."""
    arguments = parser(__doc__).parse_args()
    if not has_matrix_units():
        print("precision='auto' needs a processor with matrix units to differ from float32, however: this has none")
        return 0
    tables, seeds = (TABLES[:1], SEEDS[:1]) if arguments.quick else (TABLES, SEEDS)
    lines = []
    for name in tables:
        pairs = []
        for seed in seeds:
            epochs = 2 if arguments.quick else 200
            pairs.append((cell(name, seed, "auto", epochs), cell(name, seed, "float32", epochs)))
            print(name, seed, pairs[-1], flush=True)
        lines.append(compared(name, pairs))
    text = (
        "Loss on test rows: RMSE for puma, cross-entropy else; lower is better. `low` to `high`: 95 % interval of the "
        "mean paired difference.\n\n" + markdown_table(lines)
    )
    passed = not any(line["worse"] for line in lines)
    return record(arguments, "The paper network in bfloat16 and float32", text, lines, passed=passed, seeds=list(seeds))


if __name__ == "__main__":
    sys.exit(main())
