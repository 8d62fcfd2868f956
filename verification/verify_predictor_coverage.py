"""Do the 95 % intervals cover the truth in 95 % of samples for trees, too? (Issue 28, check 2.)

One fitted random forest (squared error) and one fitted LightGBM classifier (cross entropy). The truth is the population
effect of that very model, from 200,000 rows. Then 200 independent samples of 1,000 rows are explained.

    OMP_NUM_THREADS=1 python -m verification.verify_predictor_coverage
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

from benchmarks._results import markdown_table, parser, record

from verification.verify_coverage import FLOOR, ROWS, draw_classes, draw_regression  # sets threads: before NumPy

# isort: split
import numpy as np

import permgrad as pg

SAMPLES, CHUNK, CHUNKS, REPEATS, EACH = 200, 20_000, 10, 2, 0.90


def models() -> dict[str, tuple[Any, Any]]:
    """Return each fitted model, and what draws its rows."""
    import lightgbm
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(20, max_depth=8, random_state=0)
    boosted = lightgbm.LGBMClassifier(n_estimators=30, num_leaves=8, verbose=-1, n_jobs=1, random_state=0)
    return {
        name: (model.fit(*draw(4000, np.random.default_rng([0, 0]))), draw)
        for name, model, draw in (("random forest", forest, draw_regression), ("LightGBM", boosted, draw_classes))
    }


def explain(model: Any, draw: Any, rows: int, seed: list[int]) -> pg.Explanation:
    """Return the effects on a sample of its own."""
    x, y = draw(rows, np.random.default_rng(seed))
    return pg.explain(model, x, y, n_repeats=REPEATS, direction=False, random_state=seed[-1], progress=False)


def cover(name: str, model: Any, draw: Any, samples: int) -> list[dict[str, Any]]:
    """Return how often each feature's interval held the truth."""
    parts = np.array([explain(model, draw, CHUNK, [0, 1, at]).values[:, 0] for at in range(CHUNKS)])
    truth, error = parts.mean(axis=0), parts.std(axis=0, ddof=1) / np.sqrt(CHUNKS)
    low, high, std = [], [], []
    for sample in range(samples):
        explanation = explain(model, draw, ROWS, [0, 2, sample])
        low.append(explanation.low[:, 0])
        high.append(explanation.high[:, 0])
        std.append(explanation.std[:, 0])
    covered = (np.array(low) <= truth) & (truth <= np.array(high))
    rows = [
        {
            "model": name,
            "feature": feature,
            "truth": float(truth[place]),
            "error of the truth, share of a sample's": float(error[place] / max(np.median(std, axis=0)[place], 1e-300)),
            "covered": float(covered[:, place].mean()),
        }
        for place, feature in enumerate(explanation.names)
    ]
    return [*rows, {"model": name, "feature": "pooled", "covered": float(covered.mean())}]


def main() -> int:
    arguments = parser(__doc__).parse_args()
    warnings.simplefilter("ignore")
    samples = 20 if arguments.quick else SAMPLES
    rows: list[dict[str, Any]] = []
    for name, (model, draw) in models().items():
        rows += cover(name, model, draw, samples)
        print(markdown_table(rows), flush=True)
    pooled = [row["covered"] for row in rows if row["feature"] == "pooled"]
    passed = all(FLOOR[0] <= one <= FLOOR[1] for one in pooled) and min(row["covered"] for row in rows) >= EACH
    order = ["model", "feature", "truth", "error of the truth, share of a sample's", "covered"]
    text = f"{samples} samples of {ROWS} rows, {REPEATS} repeats; floors: pooled {FLOOR}, each feature {EACH}.\n\n"
    text += markdown_table([{key: row.get(key) for key in order} for row in rows])
    return record(arguments, "Coverage of intervals for trees", text, rows, passed=passed, seeds=[0])


if __name__ == "__main__":
    sys.exit(main())
