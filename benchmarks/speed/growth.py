"""How the path game's cost grows with rows and with features, on one thread.

    OMP_NUM_THREADS=1 python -m benchmarks.speed.growth

One repeat of the path game with everything that belongs to it (intervals, weights of
the branches), on synthetic regression tables: 10³ to 10⁵ rows on the `paper` network,
to 10⁶ on its tabular branch alone (10 features each), and 8 to 1,024 features at 2,000
rows on both. Networks are barely trained, which decides nothing about cost. Directions
are left out, whose cost does not depend on the rows. Processor time, each size in turn,
the median over rounds; the slope is that of the logarithms, by least squares over all
sizes, and between neighbours at most the last column.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import statistics
import time
from typing import Any

import numpy as np
import pandas as pd
import torch

import permgrad as pg
from benchmarks._results import markdown_table, parser, record
from permgrad.attribution.request import tuned

#: Largest slope of the logarithms.
MOST = 1.1
ROWS = {
    ("tabular", "image"): (1_000, 3_000, 10_000, 30_000, 100_000),
    ("tabular",): (1_000, 10_000, 100_000, 1_000_000),
}
FEATURES = (8, 16, 32, 64, 128, 256, 512, 1024)


def table(rows: int, features: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return continuous features, so that no two replacements are equal, and a
    target.
    """
    rng = np.random.default_rng(0)
    values = rng.standard_normal((rows, features), dtype=np.float32)
    frame = pd.DataFrame(
        values, columns=[f"feature {number}" for number in range(features)]
    )
    return frame, values[:, 0] + np.sin(values[:, 1]) + 0.1 * rng.standard_normal(rows)


def fitted(features: int, branches: tuple[str, ...]) -> pg.HyNNRegressor:
    """Return the `paper` network, or its tabular branch, after one epoch over 1,000
    rows.
    """
    frame, y = table(1_000, features)
    model = pg.HyNNRegressor(
        preset="paper", branches=branches, max_epochs=1, random_state=0, progress=False
    )
    return model.fit(frame, y)


def seconds(model: pg.HyNNRegressor, frame: pd.DataFrame, y: np.ndarray) -> float:
    """Return the processor time of one explanation with one repeat; donors come from
    the rows themselves.
    """
    started = time.process_time()
    pg.explain(
        model,
        frame,
        y,
        method=tuned(pg.methods.PermGrad(), direction=False),
        n_repeats=1,
        random_state=0,
        progress=False,
    )
    return time.process_time() - started


def _lines(
    what: str, branches: tuple[str, ...], took: dict[int, list[float]]
) -> list[dict[str, Any]]:
    sizes = sorted(took)
    medians = np.array([statistics.median(took[size]) for size in sizes])
    logs, times = np.log(sizes), np.log(medians)
    between = np.diff(times) / np.diff(logs)
    return [
        {
            "network": "tabular branch"
            if branches == ("tabular",)
            else "paper network",
            "what grows": what,
            "size": size,
            "s": float(median),
            "least–most": f"{min(took[size]):.3g}–{max(took[size]):.3g}",
            "slope to here": float(slope) if index else None,
            "slope of all": float(np.polyfit(logs, times, 1)[0])
            if index == len(sizes) - 1
            else None,
        }
        for index, (size, median, slope) in enumerate(
            zip(sizes, medians, [0.0, *between], strict=True)
        )
    ]


def growth_in_rows(
    branches: tuple[str, ...], sizes: tuple[int, ...], rounds: int
) -> list[dict[str, Any]]:
    """Return one line per number of rows."""
    model = fitted(10, branches)
    frame, y = table(max(sizes), 10)
    took: dict[int, list[float]] = {size: [] for size in sizes}
    seconds(model, frame[:1_000], y[:1_000])
    for number in range(rounds):
        for size in sizes:
            # The large ones are long enough to be measured once.
            if number == 0 or size <= 30_000:
                took[size].append(seconds(model, frame[:size], y[:size]))
    return _lines("rows", branches, took)


def growth_in_features(
    branches: tuple[str, ...], sizes: tuple[int, ...], rounds: int
) -> list[dict[str, Any]]:
    """Return one line per number of features, at 2,000 rows."""
    took: dict[int, list[float]] = {}
    for size in sizes:
        model = fitted(size, branches)
        frame, y = table(2_000, size)
        seconds(model, frame[:300], y[:300])
        took[size] = [
            seconds(model, frame, y) for _ in range(rounds if size <= 256 else 1)
        ]
    return _lines("features", branches, took)


def measure(*, rounds: int = 3, quick: bool = False) -> list[dict[str, Any]]:
    """Return one line per network and size; ``slope of all`` stands in the last line of
    each curve.

    Args:
        rounds: how often a size is timed.
        quick: smaller sizes only.
    """
    torch.set_num_threads(1)
    lines: list[dict[str, Any]] = []
    for branches, sizes in ROWS.items():
        lines += growth_in_rows(branches, sizes[:3] if quick else sizes, rounds)
    for branches in ROWS:
        lines += growth_in_features(
            branches, FEATURES[:4] if quick else FEATURES, rounds
        )
    return lines


def main() -> int:
    """Measure and print."""
    options: argparse.ArgumentParser = parser(__doc__)
    options.add_argument("--rounds", type=int, default=3)
    arguments = options.parse_args()
    lines = measure(
        rounds=1 if arguments.quick else arguments.rounds, quick=arguments.quick
    )
    slopes = [
        line["slope of all"] for line in lines if line["slope of all"] is not None
    ]
    text = (
        f"Largest slope of a curve: {max(slopes):.2f} (at most "
        f"{MOST}).\n\n{markdown_table(lines)}"
    )
    return record(
        arguments,
        "Growth of the path game",
        text,
        lines,
        passed=max(slopes) <= MOST,
        seeds=[0],
    )


if __name__ == "__main__":
    raise SystemExit(main())
