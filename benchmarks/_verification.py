"""What the statistical checks share: small networks that train in seconds, and a record of what was run."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

# Before torch and NumPy are imported: one thread, so that processor time means something.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import numpy as np
import torch

import permgrad as pg
from _results import RESULTS, commit

__all__ = ["RESULTS", "SMALL_NETWORK", "Record", "command_line", "markdown_table", "small_model"]

#: Both branches, every kind of layer, and quick enough for thousands of explanations.
SMALL_NETWORK = {"dense_units": (16, 16), "conv_filters": (4, 8), "fusion_units": (16,)}


def small_model(task: str, **settings: object) -> pg.HyNNClassifier | pg.HyNNRegressor:
    """Return an unfitted estimator whose explanation of 1,000 rows takes tens of milliseconds."""
    torch.set_num_threads(1)
    kind = pg.HyNNRegressor if task == "regression" else pg.HyNNClassifier
    return kind(preset="fast", pixels=6, network=SMALL_NETWORK, device="cpu", progress=False, **settings)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; numbers are written as they come."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


class Record:
    """Collects what a check prints, and whether its floors are met."""

    def __init__(self, title: str, seed: int, command: str) -> None:
        self.started, self.processor = time.perf_counter(), time.process_time()
        self.faults: list[str] = []
        self.found: dict[str, float] = {}
        today = dt.datetime.now(tz=dt.UTC).date()
        self.head = {"command": command, "date": today.isoformat(), "commit": commit(), "seeds": [seed]}
        versions = f"permgrad {pg.__version__}, torch {torch.__version__}, NumPy {np.__version__}"
        measured = f"Command `{command}`, commit `{self.head['commit']}`, seed {seed}, {today}"
        self.parts = [f"# {title}", f"{measured}; {versions}, Python {platform.python_version()}, one thread."]
        for part in self.parts:
            print(part, flush=True)

    def write(self, text: str) -> None:
        """Print a paragraph and keep it."""
        self.parts.append(text)
        print(text, flush=True)

    def floor(self, what: str, value: float, low: float, high: float = 1.0) -> None:
        """Compare a figure with its floor and say so."""
        met = low <= value <= high
        self.found[what] = float(value)
        if not met:
            self.faults.append(what)
        self.write(f"- {what}: {value:.4f}, floor {low:.4g} to {high:.4g}: {'met' if met else 'MISSED'}")

    def close(self, path: Path | None) -> int:
        """Write the record to ``path``, if any, its figures as JSON beside it, and return the exit code."""
        minutes = [(now - start) / 60 for now, start in _clocks(self)]
        verdict = f"MISSED: {'; '.join(self.faults)}" if self.faults else "All floors met"
        self.write(f"{verdict}. {minutes[1]:.1f} minutes of processor time, {minutes[0]:.1f} on the clock.")
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n\n".join(_joined(self.parts)) + "\n", encoding="utf-8")
            figures = {**self.head, "floor met": not self.faults, "results": self.found}
            path.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        return 1 if self.faults else 0


def _clocks(record: Record) -> list[tuple[float, float]]:
    return [(time.perf_counter(), record.started), (time.process_time(), record.processor)]


def _joined(parts: list[str]) -> list[str]:
    """Keep the items of a list together."""
    blocks: list[str] = []
    for part in parts:
        if blocks and part.startswith("- ") and blocks[-1].startswith("- "):
            blocks[-1] += "\n" + part
        else:
            blocks.append(part)
    return blocks


def command_line() -> str:
    """Return the command as a newcomer would type it."""
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
