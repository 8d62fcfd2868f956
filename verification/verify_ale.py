"""Do intervals of accumulated local effects contain the truth as often as they say?

    python -m verification.verify_ale                  # 400 samples of each kind of rows, a minute
    python -m verification.verify_ale --repeats 100    # the short form that the tests run

A product with a related column has a curve and an importance in closed form. Rows are
independent, come in groups that share half of their variance, or have weights. Floors:
intervals of 95 % contain the curve in 92 to 97 % of its points, and the importance in
92 to 98.5 % of samples.

Compared by hand with PyALE 1.2.0, which has the same bins: 20 bins of 600 rows and
three related columns, of a forest and of a smooth function. Differences along the
curves are at most 2e-15 apart. The curves are centred otherwise.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
from tests.shared.explaining import explain_with

KINDS = ("rows", "groups", "weights")
RELATION = 0.7


def covered(kind: str, repeats: int, rows: int = 400) -> tuple[float, float]:
    """Return how often the curve of x0 and its importance are in their intervals."""
    rng, curves, importances = np.random.default_rng(7), [], []
    shared = np.repeat(np.arange(rows // 8), 8)
    for _ in range(repeats):
        X = rng.normal(size=(rows, 2))
        options = {"progress": False, "random_state": 0}
        if kind == "groups":
            X = math.sqrt(0.5) * (X + rng.normal(size=(rows, 2))[shared])
            options["row_groups"] = shared
        if kind == "weights":
            options["sample_weight"] = rng.gamma(2, size=rows)
        X[:, 1] = RELATION * X[:, 0] + math.sqrt(1 - RELATION**2) * X[:, 1]
        explanation = explain_with(
            lambda table: table[:, 0] * (1 + table[:, 1]), X, method="ale", **options
        )
        frame = explanation.effects(curves=True)
        found = frame[frame["feature"] == "x0"][
            1:-1
        ]  # the ends are the extremes of the sample
        value = found["value"].to_numpy(dtype=float)
        truth = value + RELATION * (value**2 - 1) / 2
        curves.append(((found["ci_low"] <= truth) & (truth <= found["ci_high"])).mean())
        low, high = explanation.ci()
        importances.append(low[0, 0] <= math.sqrt(1 + RELATION**2 / 2) <= high[0, 0])
    return float(np.mean(curves)), float(np.mean(importances))


def main() -> int:
    reader = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    reader.add_argument(
        "--repeats", type=int, default=400, help="samples of each kind of rows"
    )
    repeats, faults = reader.parse_args().repeats, 0
    for kind in KINDS:
        curves, importances = covered(kind, repeats)
        met = 0.92 <= curves <= 0.97 and 0.92 <= importances <= 0.985
        faults += not met
        print(
            f"{kind}: curves {curves:.3f}, importances {importances:.3f}: "
            f"{'met' if met else 'NOT MET'}"
        )
    return min(faults, 1)


if __name__ == "__main__":
    raise SystemExit(main())
