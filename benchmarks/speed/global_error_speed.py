"""Global importance on one thread: processor time to the same error, permgrad against
SAGE.

    OMP_NUM_THREADS=1 PERMGRAD_DATA=/folder/with/heloc.csv python -m
    benchmarks.speed.global_error_speed

The same network, rows, labels and background rows for all; SAGE is its permutation
estimator (Covert, Lundberg & Lee 2020, Algorithm 1) as in the benchmark of known truth,
and calls the network as anyone would, in batches of 256. Two of permgrad's answers are
set against it: ``shapley`` with ``scope="global"``, which estimates SAGE's own values,
and the path game, which answers another question (what replacing a feature does, and
through which path). Errors are root mean squares over features, relative to that of the
values themselves: SAGE's and the Shapley game's against one long run of the Shapley
game with other random numbers, the path game's against a long run of itself. For each
run of SAGE the time that permgrad takes to the same relative error is read from
permgrad's own curve (log-log; never below its cheapest run), so the ratio is a lower
bound where SAGE is more exact than permgrad's cheapest run needs to be.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tests.shared.explaining import explain_with

import permgrad as pg
from benchmarks._results import markdown_table, parser, record
from benchmarks.speed._speed import Heloc, timed_errors
from benchmarks.speed.shapley_speed import time_to
from permgrad_benchmark.suites.tabular.peers import sage_permutation

FLOOR, AIM = 20.0, 50.0
Work = Callable[[int], np.ndarray]


class Case:
    """A trained network, rows with labels, and background rows."""

    def __init__(self, preset: str, rows: int, background: int) -> None:
        frame, y, split, _ = heloc = Heloc.read()
        self.name = f"HyNN, preset {preset}"
        self.model = heloc.fit(
            pg.HyNNClassifier(
                preset=preset,
                branches=("tabular", "image"),
                max_epochs=2,
                random_state=0,
                progress=False,
            )
        )
        chosen = np.random.default_rng(0).permutation(split.train)[:background]
        self.rows, self.y = frame.iloc[split.test[:rows]], y[split.test[:rows]]
        self.background = frame.iloc[chosen]

    def ours(self, repeats: int, **options: Any) -> Work:
        """Return an explanation by permgrad's public call, as a function of the
        seed.
        """

        def work(seed: int) -> np.ndarray:
            given = {
                "background": self.background,
                "n_repeats": repeats,
                "random_state": seed,
                "progress": False,
            }
            return explain_with(
                self.model, self.rows, self.y, scope="global", **given, **options
            ).values[:, 0]

        return work

    def shapley(self, repeats: int) -> Work:
        """Return SAGE's values by permgrad."""
        return self.ours(repeats, method="shapley", tolerance=0)

    def path_game(self, repeats: int) -> Work:
        """Return the path game."""
        return self.ours(repeats, branches=False, direction=False)

    def sage(self, walks: int) -> Work:
        """Return SAGE over the network's probabilities."""
        net, size = self.model.module_, 256
        rows, background = (
            self.model.encode_rows(self.rows).encoded,
            self.model.encode_rows(self.background).encoded,
        )
        labels = np.searchsorted(self.model.classes_, self.y)

        def predict(array: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                parts = [
                    net(part)
                    for part in torch.as_tensor(array, dtype=torch.float32).split(size)
                ]
                return torch.softmax(torch.cat(parts).double(), dim=1).numpy()

        def loss(said: np.ndarray, y: np.ndarray) -> np.ndarray:
            return -np.log(said[np.arange(len(y)), y.astype(int)])

        def work(seed: int) -> np.ndarray:
            rng = np.random.default_rng(seed)
            owner = np.arange(rows.shape[1])
            return sage_permutation(
                predict, loss, rows, labels, background, owner, walks=walks, rng=rng
            ).values

        return work


def run(
    who: str, setting: str, work: Work, truth: np.ndarray, seeds: range
) -> dict[str, Any]:
    """Return processor seconds and relative error of a contestant, over several
    seeds.
    """
    seconds, error = timed_errors(work, truth, seeds)
    size = np.sqrt(np.mean(truth**2))
    line = {
        "method": who,
        "setting": setting,
        "s": float(np.median(seconds)),
        "least–most": _range(seconds),
    }
    return {**line, "relative error": float(error / size)}


def _range(seconds: list[float]) -> str:
    return f"{min(seconds):.3g}–{max(seconds):.3g}"


def measure(*, preset: str = "fast", quick: bool = False) -> list[dict[str, Any]]:
    """Return one line per run; ``shapley's ratio`` and ``path game's ratio`` stand with
    SAGE's.

    Args:
        preset: of the network.
        quick: fewer rows and repeats.
    """
    torch.set_num_threads(1)
    case = Case(preset, rows=32 if quick else 128, background=8 if quick else 32)
    seeds = range(1, 3)
    for warm in (case.shapley(1), case.path_game(1), case.sage(2)):
        warm(0)
    truth = case.shapley(5 if quick else 16)(12345)
    own_truth = case.path_game(50 if quick else 300)(12345)
    repeats = (1, 2) if quick else (1, 2, 4)
    shapley = [
        run("permgrad shapley", f"{n} pairs per row", case.shapley(n), truth, seeds)
        for n in repeats
    ]
    repeats = (1, 4) if quick else (1, 5, 20, 60)
    game = [
        run("permgrad path game", f"{n} repeats", case.path_game(n), own_truth, seeds)
        for n in repeats
    ]
    walks = (32,) if quick else (128, 512)
    sage = [run("SAGE", f"{n} walks", case.sage(n), truth, seeds) for n in walks]
    for line in sage:
        for name, lines in (("shapley's ratio", shapley), ("path game's ratio", game)):
            taken = time_to(
                line["relative error"],
                [(own["s"], own["relative error"]) for own in lines],
            )
            line[name] = None if taken is None else line["s"] / taken
    return [{"network": case.name, **line} for line in (*sage, *shapley, *game)]


def main() -> int:
    """Measure and print."""
    options: argparse.ArgumentParser = parser(__doc__)
    options.add_argument("--preset", default="fast")
    arguments = options.parse_args()
    lines = measure(preset=arguments.preset, quick=arguments.quick)
    names = list(dict.fromkeys(name for line in lines for name in line))
    lines = [{name: line.get(name) for name in names} for line in lines]
    ratios = {
        name: [line[name] for line in lines if line[name] is not None]
        for name in names
        if "ratio" in name
    }
    text = "; ".join(
        f"{name} {min(own):.3g} to {max(own):.3g}"
        for name, own in ratios.items()
        if own
    )
    text = f"{text} (floor {FLOOR:g}, aim {AIM:g}).\n\n{markdown_table(lines)}"
    passed = all(min(own) >= FLOOR for own in ratios.values() if own)
    return record(
        arguments,
        "Global importance: time to the same error",
        text,
        lines,
        passed=passed,
        seeds=[1, 2],
    )


if __name__ == "__main__":
    raise SystemExit(main())
