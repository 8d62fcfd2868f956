"""Do the units of the target change anything?

The same rows with the target y, 1000·y, y/1000 and 1000·y + 10⁶, a network trained anew
for each from the same seed: the largest difference, from the network for y, of the
importance shares, the branch shares and the ranking of ``permgrad``, and of the branch
weights and the ranking of ``permgrad_paper`` on the same networks.

Floors: 1e-4 for ``permgrad``, with the same ranking; ``permgrad_paper`` ends without an
error although its weights saturate.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from benchmarks._results import markdown_table, parser, record

import permgrad as pg
from permgrad.evaluation.ranking import importance_shares
from permgrad_benchmark.truth import make_truth

TOLERANCE = 1e-4
UNITS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "y": lambda y: y,
    "1000·y": lambda y: 1000 * y,
    "y / 1000": lambda y: y / 1000,
    "1000·y + 10⁶": lambda y: 1000 * y + 1e6,
}
PATHS = ("tabular", "image")


def explain_in_units(
    unit: str, seed: int, rows: int, preset: str | dict[str, Any]
) -> dict[str, Any]:
    """Train with the target in one unit and return what both methods say about 1,000
    fresh rows.
    """
    truth = make_truth("friedman1")
    X, y = truth.sample(rows + 1000, random_state=30_000 + seed)
    y = UNITS[unit](y)
    model = pg.HyNNRegressor(
        preset=preset, branches=("tabular", "image"), random_state=seed, progress=False
    ).fit(X[:rows], y[:rows])
    said: dict[str, Any] = {}
    for method in ("permgrad", "permgrad_paper"):
        explained = pg.explain(
            model, X[rows:], y[rows:], method=method, random_state=seed, progress=False
        )
        said[method] = {
            "values": explained.values[:, 0],
            "shares": importance_shares(explained.values[:, 0]),
            "ranking": explained.ranking(),
            "branches": np.array([explained.branches[path]["share"] for path in PATHS]),
        }
    return said


def compare(seed: int, rows: int, preset: str | dict[str, Any]) -> list[dict[str, Any]]:
    """Return one line for each unit and method: differences from the network trained on
    y.
    """
    base = explain_in_units("y", seed, rows, preset)
    lines = []
    for unit in UNITS:
        said = base if unit == "y" else explain_in_units(unit, seed, rows, preset)
        for method, own in said.items():
            known = base[method]
            lines.append(
                {
                    "method": method,
                    "seed": seed,
                    "target": unit,
                    "largest change of a share": float(
                        np.abs(own["shares"] - known["shares"]).max()
                    ),
                    "change of branch shares": float(
                        np.abs(own["branches"] - known["branches"]).max()
                    ),
                    "same ranking": own["ranking"] == known["ranking"],
                    "tabular": float(own["branches"][0]),
                    "image": float(own["branches"][1]),
                    "finite": bool(np.isfinite(own["values"]).all()),
                }
            )
    return lines


def holds(lines: list[dict[str, Any]]) -> bool:
    """Return whether both floors are met."""
    ours = [line for line in lines if line["method"] == "permgrad"]
    theirs = [line for line in lines if line["method"] == "permgrad_paper"]
    same = all(
        line["largest change of a share"] <= TOLERANCE
        and line["change of branch shares"] <= TOLERANCE
        and line["same ranking"]
        for line in ours
    )
    saturated = all(
        {line["tabular"], line["image"]} == {0.0, 1.0}
        for line in theirs
        if line["target"] == "1000·y"
    )
    return same and saturated and all(line["finite"] for line in lines)


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--rows", type=int, default=3000)
    options.add_argument("--preset", default="default")
    arguments = options.parse_args()
    seeds = range(1 if arguments.quick else arguments.seeds)
    found: list[dict[str, Any]] = []
    for seed in seeds:
        found += compare(
            seed, arguments.rows, "fast" if arguments.quick else arguments.preset
        )
        print(f"seed {seed} done", flush=True)
    text = (
        f"Friedman #1, {arguments.rows} training rows, 1000 rows explained, preset "
        f"{arguments.preset}; differences are "
        "from the network trained on y. Tabular and image are the branches' shares "
        "(weights in permgrad_paper).\n\n" + markdown_table(found)
    )
    return record(
        arguments,
        "Units of the target",
        text,
        found,
        passed=holds(found),
        seeds=list(seeds),
    )


if __name__ == "__main__":
    sys.exit(main())
