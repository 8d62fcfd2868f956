"""Do the intervals of ``pg.explain_refits`` cover the mean over trainings on new
samples? (Issue 31, check 6.)

Twelve functions with 500 rows, three models each, and two functions for HyNN ``fast``.
The truth is the mean importance of trainings on fresh samples of 500 rows, each
measured on 2,000 further rows. Its error is added to the comparison. Then the procedure
is explained on samples of its own. For every feature we count how often its interval
contains the truth. The intervals of the trainings themselves, each explained on its
2,000 rows by ``pg.explain``, are those of a single fit. The statements on another
training are compared with what the trainings of the truth say.

    python -m verification.verify_refits                                # as in the issue: hours of processor time
    python -m verification.verify_refits --trainings 120 --repeats 25   # a smaller size; the record says it
    python -m verification.verify_refits --store cells                  # goes on after a stop, cell by cell
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks._results import markdown_table, parser, record

from verification._verification import RESULTS  # noqa: F401 — sets threads: before NumPy

# isort: split
import numpy as np
import numpy.typing as npt
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge

import permgrad as pg
from permgrad_benchmark.truth import make_truth

Floats = npt.NDArray[np.float64]

FUNCTIONS = (
    "friedman1", "linear20", "product", "interactions", "xor_like", "xor", "g_function", "logistic",
    "linear_correlated", "duplicates", "interactions_correlated", "friedman1_correlated",
)  # fmt: skip
NETWORK_FUNCTIONS = ("friedman1", "linear_correlated")
ROWS, MEASURED, REFITS, DONORS = 500, 2000, 10, 10
FLOOR = (0.92, 0.98)


def models(function: str) -> dict[str, Any]:
    """Return the unfitted models of a function.

    The forest and the boosting are small, for time.
    """
    forest: dict[str, Any] = {"n_estimators": 25, "min_samples_leaf": 3, "n_jobs": 1}
    boosting: dict[str, Any] = {
        "n_estimators": 60,
        "num_leaves": 15,
        "verbose": -1,
        "n_jobs": 1,
    }
    if make_truth(function).task == "classification":
        linear, trees, boosted = (
            LogisticRegression(),
            RandomForestClassifier(**forest),
            LGBMClassifier(**boosting),
        )
    else:
        linear, trees, boosted = (
            Ridge(),
            RandomForestRegressor(**forest),
            LGBMRegressor(**boosting),
        )
    return {"ridge": linear, "LightGBM": boosted, "random forest": trees}


def fresh_trainings(
    function: str, model: Any, count: int
) -> tuple[Floats, Floats, Floats]:
    """Return the importances of trainings on fresh samples ``(trainings, features)``,
    and the ends of intervals.
    """
    from sklearn.base import clone

    truth, results = make_truth(function), []
    for number in range(count):
        fitted = clone(model).set_params(random_state=number)
        fitted.fit(*truth.sample(ROWS, random_state=2 * number + 1_000_000))
        rows, y = truth.sample(MEASURED, random_state=2 * number + 1_000_001)
        one = pg.explain(
            fitted,
            rows,
            y,
            method="permutation",
            n_repeats=1,
            random_state=number,
            progress=False,
        )
        results.append((one.values[:, 0], *(end[:, 0] for end in one.ci())))
    values, low, high = np.moveaxis(np.array(results), 1, 0)
    return values, low, high


def do_cell(
    function: str, name: str, model: Any, trainings: int, repeats: int
) -> dict[str, Any]:
    """Return the coverage of one model on one function, and what the statements on
    another training are worth.
    """
    started, truth = time.perf_counter(), make_truth(function)
    values, low, high = fresh_trainings(function, model, trainings)
    mean, error = (
        values.mean(axis=0),
        1.96 * values.std(axis=0, ddof=1) / np.sqrt(trainings),
    )
    single = np.abs(values - mean) <= np.hypot((high - low) / 2, error)
    first = np.argsort(-values, axis=1)[:, :3]
    among = np.bincount(first.ravel(), minlength=values.shape[1]) / trainings
    covered, stated, widths, ratio, estimates = [], [], [], [], []
    for number in range(repeats):
        rows, y = truth.sample(ROWS, random_state=number)
        one = pg.explain_refits(
            model,
            rows,
            y,
            refits=REFITS,
            method="permutation",
            n_repeats=DONORS,
            random_state=number,
            progress=False,
        )
        half = (one.high - one.low)[:, 0] / 2
        covered.append(np.abs(one.values[:, 0] - mean) <= np.hypot(half, error))
        stated.append(
            [one.meta["another_training"]["shares"][feature] for feature in one.names]
        )
        estimates.append(one.values[:, 0])
        widths.append(half)
        ratio.append(one.std_error[:, 0])
    spread = np.std(estimates, axis=0, ddof=1)
    relevant = np.arange(len(mean)) < truth.n_relevant
    return {
        "function": function,
        "model": name,
        "covered": float(np.mean(covered)),
        "relevant features": float(np.mean(np.array(covered)[:, relevant])),
        "single fit": float(np.mean(single)),
        "error / spread": float(
            np.median(
                np.sqrt(np.mean(np.square(ratio), axis=0))[relevant] / spread[relevant]
            )
        ),
        "bias / spread": float(
            np.median(((np.mean(estimates, axis=0) - mean) / spread)[relevant])
        ),
        "seconds": time.perf_counter() - started,
        "features": len(mean),
        "stated": np.array(stated).ravel().tolist(),
        "true": np.tile(among, repeats).tolist(),
    }


def calibration(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return, for statements of similar size, what they say on average and what the
    trainings of the truth say.
    """
    stated, true = (
        np.concatenate([cell[key] for cell in cells]) for key in ("stated", "true")
    )
    edges, lines = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.01), []
    for low, high in pairwise(edges):
        chosen = (stated >= low) & (stated < high)
        if chosen.any():
            said, held = float(stated[chosen].mean()), float(true[chosen].mean())
            lines.append(
                {
                    "statements": int(chosen.sum()),
                    "among the first three: stated": said,
                    "true": held,
                }
            )
    return lines


def pooled(cells: Sequence[dict[str, Any]], key: str) -> float:
    """Return a coverage over all features of some cells."""
    return float(
        np.average(
            [cell[key] for cell in cells], weights=[cell["features"] for cell in cells]
        )
    )


def main() -> int:
    options = parser(__doc__)
    options.add_argument(
        "--trainings", type=int, default=500, help="trainings of the truth"
    )
    options.add_argument(
        "--repeats", type=int, default=100, help="procedures explained"
    )
    options.add_argument(
        "--networks", type=int, nargs=2, default=(100, 30), help="the same for HyNN"
    )
    options.add_argument("--functions", nargs="*", default=FUNCTIONS)
    options.add_argument(
        "--store",
        type=Path,
        metavar="FOLDER",
        help="keep finished cells here, and take those of before",
    )
    arguments = options.parse_args()
    warnings.simplefilter("ignore")
    sizes, networks, functions = (
        (arguments.trainings, arguments.repeats),
        tuple(arguments.networks),
        arguments.functions,
    )
    if arguments.quick:
        sizes, networks, functions = (40, 6), (4, 1), ("friedman1",)
    jobs = [
        (function, name, model, sizes)
        for function in functions
        for name, model in models(function).items()
    ]
    if networks[1]:
        network = pg.HyNNRegressor(preset="fast", progress=False)
        jobs += [
            (one, "HyNN fast", network, networks)
            for one in NETWORK_FUNCTIONS
            if one in functions
        ]
    cells: list[dict[str, Any]] = []
    for function, name, model, (trainings, repeats) in jobs:
        kept = (
            arguments.store
            and arguments.store
            / f"{function}-{name}-{trainings}-{repeats}.json".replace(" ", "-")
        )
        if kept and kept.exists():
            cells.append(json.loads(kept.read_text(encoding="utf-8")))
            continue
        cells.append(do_cell(function, name, model, trainings, repeats))
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(cells[-1]), encoding="utf-8")
        print(
            {
                key: value
                for key, value in cells[-1].items()
                if key not in ("stated", "true")
            },
            flush=True,
        )
    shown = [
        {key: value for key, value in cell.items() if key not in ("stated", "true")}
        for cell in cells
    ]
    names = list(dict.fromkeys(cell["model"] for cell in cells))
    summary = [
        {
            "model": name,
            "covered": pooled(some, "covered"),
            "single fit": pooled(some, "single fit"),
        }
        for name in names
        if (some := [cell for cell in cells if cell["model"] == name])
    ]
    summary.append(
        {
            "model": "all",
            **{key: pooled(cells, key) for key in ("covered", "single fit")},
        }
    )
    low, high = FLOOR if not arguments.quick else (0.85, 1.0)
    passed = (
        low <= summary[-1]["covered"] <= high
        and summary[-1]["single fit"] < summary[-1]["covered"]
    )
    text = (
        f"{len(functions)} functions, {ROWS} rows, {REFITS} refits, {DONORS} donors. "
        f"Truth: {sizes[0]} trainings on "
        f"fresh samples ({networks[0]} for HyNN). {sizes[1]} procedures ({networks[1]} "
        "for HyNN). Floor "
        f"of the coverage pooled over features: {FLOOR[0]:.0%} to {FLOOR[1]:.0%}. "
        "The forest has 25 trees, the boosting 60.\n\n"
        f"{markdown_table(summary)}\n\n{markdown_table(shown)}\n\n{markdown_table(calibration(cells))}"
    )
    data = {
        "summary": summary,
        "cells": shown,
        "calibration": calibration(cells),
        "sizes": [*sizes, *networks],
    }
    return record(
        arguments,
        "Coverage of intervals that include training again",
        text,
        data,
        passed=passed,
        seeds=[0],
    )


if __name__ == "__main__":
    sys.exit(main())
