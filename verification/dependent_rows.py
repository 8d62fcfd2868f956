"""How often a run says "clearly" of tables of pure noise whose rows depend on each
other.

``--row-group``: 40 patients with 10 rows, and 20 with 25. Columns and target are
constant within a patient, or vary in part. ``--time``: 300 rows of autoregressive
series (0.8, 0.95). Nothing is related to anything. At most 2 of 20 tables may be spoken
of with certainty. Exit 1 otherwise.

    python verification/dependent_rows.py [tables]
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

#: What a page or a terminal says when it is certain.
CERTAIN = re.compile(
    r"(?<!not )(?<!No feature )(?<!None )clearly (worse|different|matters?)|(?<!not "
    r")significantly (better|worse)"
    r"|says more|is off"
)
#: The same words where they say that there is nothing.
NOTHING = re.compile(
    r"(None of|No |not |A group is clearly worse if|Bold: clearly|Groups that are "
    r"clearly|features that clearly matter"
    r"|clearly matters if|\* clearly matters|0 features? clearly)"
)


def wave(draw: np.random.Generator, rows: int, related: float) -> np.ndarray:
    """Return an autoregressive series of variance 1."""
    step, series = draw.normal(size=rows), np.empty(rows)
    series[0] = step[0]
    for place in range(1, rows):
        series[place] = related * series[place - 1] + step[place] * np.sqrt(
            1 - related**2
        )
    return series


def patients(seed: int, count: int, each: int) -> pd.DataFrame:
    """Return rows of patients: a target of each patient, columns of patients, and
    columns of rows.
    """
    draw, patient = np.random.default_rng(seed), np.repeat(np.arange(count), each)
    table = pd.DataFrame({"patient": [f"P{one:03d}" for one in patient]})
    table["age"], table["dose"] = (draw.normal(size=count)[patient] for _ in range(2))
    table["ward"] = draw.choice(["east", "west"], count)[patient]
    table["visit"] = draw.normal(size=count)[patient] + draw.normal(size=len(patient))
    table["lab"] = draw.normal(size=len(patient))
    y = draw.normal(size=count)[patient] + 0.5 * draw.normal(size=len(patient))
    table["y"] = np.where(y > 0, "ill", "well") if seed % 2 else y
    return table


def series(seed: int, related: float, rows: int = 300) -> pd.DataFrame:
    """Return a table of autoregressive series."""
    draw = np.random.default_rng(seed)
    table = pd.DataFrame({"t": np.arange(rows)})
    for name in ("a", "b", "c"):
        table[name] = wave(draw, rows, related)
    y = wave(draw, rows, related)
    table["y"] = np.where(y > 0, "up", "down") if seed % 2 else y
    return table


def certain(table: pd.DataFrame, *options: str) -> list[str]:
    """Return the sentences of a run that are certain of something."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "table.csv", Path(folder) / "out"
        table.to_csv(path, index=False)
        command = [
            sys.executable,
            "-m",
            "permgrad",
            "run",
            str(path),
            "--target",
            "y",
            "--preset",
            "fast",
        ]
        done = subprocess.run(
            [*command, "--out", str(out), *options],
            capture_output=True,
            text=True,
            check=True,
        )
        lines = (
            done.stdout.splitlines()
            + (out / "report.md").read_text(encoding="utf-8").splitlines()
        )
    return [
        one
        for line in dict.fromkeys(lines)
        for one in [line.strip()]
        if CERTAIN.search(one) and not NOTHING.search(one)
    ]


def main(tables: int) -> int:
    """Run all tables, and print what was said."""
    cells = {
        "40 patients x 10 rows": (
            lambda seed: patients(seed, 40, 10),
            ("--row-group", "patient"),
        ),
        "20 patients x 25 rows": (
            lambda seed: patients(seed, 20, 25),
            ("--row-group", "patient"),
        ),
        "series of 0.8": (lambda seed: series(seed, 0.8), ("--time", "t")),
        "series of 0.95": (lambda seed: series(seed, 0.95), ("--time", "t")),
    }
    bad = 0
    for name, (make, options) in cells.items():
        found = {seed: certain(make(seed), *options) for seed in range(tables)}
        wrong = {seed: words for seed, words in found.items() if words}
        print(f"{name}: certain in {len(wrong)} of {tables}", flush=True)
        for seed, words in wrong.items():
            print(f"  table {seed}: {' | '.join(words)}", flush=True)
        bad += len(wrong) > tables / 10
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
