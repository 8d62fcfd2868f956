"""Shapley values of the loss (SAGE) on one thread: processor time to the same error,
permgrad against ``sage``.

    OMP_NUM_THREADS=1 PERMGRAD_DATA=/folder/with/heloc.csv python -m
    benchmarks.speed.sage_speed

The same network, HELOC test rows, labels and 50 background rows for both, and the same
quantity: how much each feature takes off the cross-entropy of the prediction averaged
over the background rows. The peer is the original authors' package ``sage-importance``
(``PermutationEstimator`` over ``MarginalImputer``, its function called in batches of
the size that permgrad uses). The truth is a long run of permgrad with other random
numbers; that the peer converges to it is seen in its error falling. It plays so many
walks, and, as by default, as many as its own rule asks for, which ends when the largest
standard error is 2.5 % of the range of the values. For each run of the peer the time
that permgrad takes to the same error is read from permgrad's own curve, and is never
below that of its cheapest run.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import permgrad as pg
from benchmarks._results import markdown_table, parser, record
from benchmarks.speed._speed import Heloc, Line, is_there, missing
from benchmarks.speed.shapley_speed import Case, heloc_cases, time_to
from benchmarks.speed.shapley_speed import measure_errors as measure_one

REFERENCES = 50


def labels(rows: int) -> np.ndarray:
    """Return 0 or 1 for the test rows that ``heloc_cases`` explains."""
    _, y, split, _ = Heloc.read()
    return (y[split.test[:rows]] == np.unique(y)[1]).astype(np.int64)


def ours(case: Case, y: np.ndarray, repeats: int) -> Callable[[int], np.ndarray]:
    """Return permgrad through its public call; ``repeats`` designs, or pairs of orders,
    for each row.
    """

    def work(seed: int) -> np.ndarray:
        found = pg.explain(
            pg.Model(case.net, returns="logits"),
            case.rows,
            y,
            method=pg.methods.Shapley(references=REFERENCES, tolerance=0),
            scope="global",
            background=case.background,
            n_repeats=repeats,
            random_state=seed,
            progress=False,
        )
        return found.values[:, :1]

    return work


def sage(case: Case, y: np.ndarray, walks: int | None) -> Callable[[int], np.ndarray]:
    """Return the peer: so many rows, each with an order of its own; None: until its own
    rule ends it.
    """
    import sage as package

    size = (
        256
        if any(isinstance(part, torch.nn.Conv2d) for part in case.net.modules())
        else 4096
    )

    def predict(array: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            tensor = torch.as_tensor(array, dtype=torch.float32)
            return torch.cat(
                [torch.softmax(case.net(part), dim=1) for part in tensor.split(size)]
            ).numpy()

    def work(seed: int) -> np.ndarray:
        imputer = package.MarginalImputer(predict, case.background.numpy())
        estimator = package.PermutationEstimator(
            imputer, "cross entropy", random_state=seed
        )
        given: dict[str, Any] = {"bar": False}
        if walks is not None:
            given |= {
                "batch_size": min(512, walks),
                "n_permutations": walks,
                "detect_convergence": False,
            }
        return np.asarray(estimator(case.rows.numpy(), y, **given).values)[:, None]

    return work


def compare(case: Case, y: np.ndarray, *, quick: bool) -> list[dict[str, Any]]:
    """Return a line for each run of both."""
    # A hybrid network costs twenty times as much for each prediction.
    large = not case.name.startswith("MLP")
    seeds = range(1, 2 if quick else 3 if large else 4)
    truth = ours(case, y, 2 if quick else 64)(12345)
    runs = [
        (
            "permgrad",
            f"{repeats} designs or pairs of orders per row",
            ours(case, y, repeats),
        )
        for repeats in ((1, 2) if quick else (1, 2, 4, 8, 16))
    ]
    if is_there("sage"):
        counts = (256,) if quick else (512, None) if large else (512, 2048, None)
        runs += [("sage", _setting(walks), sage(case, y, walks)) for walks in counts]
    lines = []
    for who, setting, work in runs:
        seconds, error = measure_one(work, truth, seeds)
        lines.append(
            {
                "network": case.name,
                "method": who,
                "setting": setting,
                "s": seconds * len(truth),
                "error": error,
            }
        )
        print(lines[-1], flush=True)
    curve = [
        (line["s"], line["error"]) for line in lines if line["method"] == "permgrad"
    ]
    for line in lines:
        taken = (
            time_to(line["error"], curve) if line["method"] != "permgrad" else line["s"]
        )
        line["times permgrad's time"] = None if taken is None else line["s"] / taken
    return lines


def _setting(walks: int | None) -> str:
    return (
        "as it comes, until it has converged" if walks is None else f"{walks:,} walks"
    )


def results(*, quick: bool) -> list[dict[str, Any]]:
    """Measure on an MLP with many rows and on a hybrid network with few."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    lines = []
    for case in heloc_cases(
        ["fast"], 20 if quick else 200, REFERENCES, 1 if quick else 3
    ):
        rows = case.rows if case.name.startswith("MLP") else case.rows[:40]
        lines += compare(
            Case(case.name, case.net, rows, case.background),
            labels(len(rows)),
            quick=quick,
        )
    return lines


def measure(*, quick: bool = False) -> list[Line]:
    """Return the lines of the speed page."""
    found = []
    for own in results(quick=quick):
        if own["method"] == "permgrad":
            continue
        ratio = own["times permgrad's time"]
        found.append(
            {
                "what": f"loss shared out among 23 features, HELOC, {own['network']}",
                "peer": f"sage-importance, {own['setting']}",
                "equal": "error",
                "unit": "s",
                "ours": None if ratio is None else own["s"] / ratio,
                "theirs": own["s"],
                "ratio": ratio,
                "low": None,
                "high": None,
                "rounds": 1 if quick else 3 if own["network"].startswith("MLP") else 2,
                "note": f"root mean square error {own['error']:.1e}"
                + ("" if ratio else "; beyond permgrad's longest run here"),
            }
        )
    if not is_there("sage"):
        found.append(
            missing(
                "loss shared out among 23 features, HELOC",
                "sage-importance",
                "it is not installed",
            )
        )
    return found


def main() -> int:
    """Measure and print."""
    arguments: argparse.Namespace = parser(__doc__).parse_args()
    lines = results(quick=arguments.quick)
    return record(
        arguments,
        "SAGE: time to the same error",
        markdown_table(lines),
        lines,
        passed=True,
        seeds=[1, 2, 3],
    )


if __name__ == "__main__":
    sys.exit(main())
