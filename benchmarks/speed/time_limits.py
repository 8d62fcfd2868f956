"""How good is a run under a time limit, against one without?

Limits of .3, .5 and 1 of the free time over ten tables.

    python -m benchmarks.speed.time_limits
    python -m benchmarks.speed.time_limits --quick            # the three smallest tables, limits of .5
    python -m benchmarks.speed.time_limits --only areas bank  # these tables

A run without a limit is timed on the clock, from the command to its page. A run with a
limit has a share of that time. What a limit must not cost: from half of the free time
on, at least half of what the free run gains over a constant (in accuracy, or in the
RMSE), and every run under a limit ends within it, with a slack of a third and five
seconds. The smallest tables need more than their share for the start of the process
alone, so that a limit is at least 20 seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks._results import markdown_table, parser, record

SHARES = (0.3, 0.5, 1.0)
#: Seconds of a limit at least.
LEAST = 20.0
#: How long a run may take beyond its limit: a share, and seconds.
SLACK, MORE = 1 / 3, 5.0


def _numbers(rows: int, columns: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    names = [f"n{place}" for place in range(columns)]
    return pd.DataFrame(rng.normal(size=(rows, columns)).round(4), columns=names)


def areas(classes: int = 60, rows: int = 2400) -> pd.DataFrame:
    """Areas on a map: classes that two numbers and a name tell."""
    rng = np.random.default_rng(0)
    centres, places = rng.uniform(size=(classes, 2)), rng.uniform(size=(rows, 2))
    near = ((places[:, None] - centres) ** 2).sum(axis=-1).argmin(axis=1)
    frame = pd.DataFrame(places.round(5), columns=["east", "north"])
    frame["town"] = [f"town {place}" for place in rng.integers(0, rows // 2, rows)]
    return frame.assign(y=[f"area {place:03d}" for place in near])


def few_areas() -> pd.DataFrame:
    """Six areas, for which trees are tried."""
    return areas(6, 1500)


def smooth() -> pd.DataFrame:
    """A smooth function of eight numbers."""
    frame = _numbers(1500, 8, 1)
    value = np.sin(2 * frame["n0"]) + frame["n1"] * frame["n2"] + 0.5 * frame["n3"]
    return frame.assign(y=value + 0.2 * np.random.default_rng(2).normal(size=1500))


def steps() -> pd.DataFrame:
    """Steps of numbers, which trees learn at once."""
    frame = _numbers(3000, 12, 3)
    value = 2.0 * (frame["n0"] > 0) + (frame["n1"] > 1) * (frame["n2"] < 0)
    return frame.assign(y=value + 0.3 * np.random.default_rng(4).normal(size=3000))


def line() -> pd.DataFrame:
    """A line of many numbers."""
    frame = _numbers(800, 40, 5)
    value = frame.to_numpy() @ np.random.default_rng(6).normal(size=40)
    return frame.assign(y=value)


def rare() -> pd.DataFrame:
    """Two classes, of which one is rare."""
    frame = _numbers(4000, 10, 7)
    score = frame["n0"] + frame["n1"] * frame["n2"] - 3
    chance = 1 / (1 + np.exp(-score))
    rng = np.random.default_rng(8)
    return frame.assign(y=np.where(rng.random(4000) < chance, "yes", "no"))


def levels() -> pd.DataFrame:
    """Categories with many levels."""
    rng = np.random.default_rng(9)
    frame = pd.DataFrame(
        {name: rng.integers(0, count, 3000) for name, count in (("a", 40), ("b", 200))}
    )
    effects = rng.normal(size=40)[frame["a"]] + rng.normal(size=200)[frame["b"]]
    frame = frame.astype(str).map(lambda cell: f"level {cell}")
    return frame.assign(y=effects + 0.3 * rng.normal(size=3000))


def wide() -> pd.DataFrame:
    """More columns than are usual."""
    frame = _numbers(1000, 300, 10)
    value = frame["n0"] - frame["n1"] + frame["n2"] * frame["n3"]
    return frame.assign(y=np.where(value > 0, "up", "down"))


def long() -> pd.DataFrame:
    """Many rows."""
    frame = _numbers(40_000, 10, 11)
    value = np.sin(3 * frame["n0"]) * frame["n1"] + frame["n2"]
    return frame.assign(y=value + 0.3 * np.random.default_rng(12).normal(size=40_000))


def bank() -> pd.DataFrame:
    """The bank's campaigns, if they are there (``PERMGRAD_DATA``)."""
    frame = pd.read_csv(
        Path(os.environ["PERMGRAD_DATA"]) / "bank-full.csv", sep=None, engine="python"
    )
    return frame.rename(columns={frame.columns[-1]: "y"})


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    made.__name__: made
    for made in (smooth, few_areas, line, areas, steps, rare, levels, wide, long, bank)
}


def run(source: Path, out: Path, limit: float | None) -> tuple[float, dict[str, Any]]:
    """Return the seconds of a run on the clock, and its metrics."""
    words = [sys.executable, "-m", "permgrad", "run", str(source), "--target", "y"]
    words += ["--out", str(out), "--seed", "0"]
    words += [] if limit is None else ["--time-limit", f"{limit:.0f}s"]
    started = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True)
    seconds = time.perf_counter() - started
    return seconds, json.loads((out / "metrics.json").read_text(encoding="utf-8"))


def gained(metrics: dict[str, Any], y: pd.Series[Any]) -> float:
    """Return what a model gains over a constant: in accuracy, or as a share of the
    RMSE.
    """
    test = metrics["test"]
    if metrics["task"] == "classification":
        return float(test["accuracy"]) - float(y.value_counts(normalize=True).iloc[0])
    return 1 - float(test["rmse"]) / float(y.std())


def of_table(name: str, shares: tuple[float, ...]) -> list[dict[str, Any]]:
    """Return a line for the free run and one for each limit."""
    frame = TABLES[name]()
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "table.csv"
        frame.to_csv(source, index=False)
        free, metrics = run(source, Path(folder) / "free", None)
        best = gained(metrics, frame["y"])
        lines.append(_line(name, None, free, best, best))
        for share in shares:
            limit = max(share * free, LEAST)
            took, metrics = run(source, Path(folder) / f"limit-{share}", limit)
            lines.append(_line(name, limit, took, gained(metrics, frame["y"]), best))
            lines[-1]["share of the free time"] = limit / free
    return lines


def _line(
    name: str, limit: float | None, took: float, gain: float, best: float
) -> dict[str, Any]:
    in_time = limit is None or took <= limit * (1 + SLACK) + MORE
    return {
        "table": name,
        "limit": "none" if limit is None else round(limit),
        "share of the free time": 1.0,
        "seconds": took,
        "gain over a constant": gain,
        "of the free gain": gain / best if best > 0 else 1.0,
        "in time": in_time,
    }


def main(arguments: argparse.Namespace) -> int:
    """Do all runs and write the record."""
    names = arguments.only or list(TABLES)
    if not os.environ.get("PERMGRAD_DATA") and "bank" in names:
        names.remove("bank")
    shares: tuple[float, ...] = SHARES
    if arguments.quick:
        names, shares = (arguments.only or list(TABLES)[:3]), (0.5,)
    lines: list[dict[str, Any]] = []
    for name in names:
        lines += of_table(name, shares)
        print(markdown_table(lines[-len(shares) - 1 :]), flush=True)
    limited = [line for line in lines if line["limit"] != "none"]
    kept = all(
        line["of the free gain"] >= 0.5
        for line in limited
        if line["share of the free time"] >= 0.5
    )
    passed = kept and all(line["in time"] for line in limited)
    title = "Runs under a time limit"
    return record(
        arguments, title, markdown_table(lines), lines, passed=passed, seeds=[0]
    )


if __name__ == "__main__":
    reader = parser(__doc__)
    reader.add_argument("--only", nargs="*", default=[])
    raise SystemExit(main(reader.parse_args()))
