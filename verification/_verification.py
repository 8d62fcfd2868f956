"""What the statistical checks share: small networks that train in seconds, and a record
of what was run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

# Before torch and NumPy are imported: one thread, so that processor time means
# something.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import torch
from benchmarks._results import RESULTS, head_of, page_of, store

import permgrad as pg

__all__ = ["RESULTS", "SMALL_NETWORK", "Record", "markdown_table", "small_model"]

#: Both branches, every kind of layer, and quick enough for thousands of explanations.
SMALL_NETWORK = {"dense_units": (16, 16), "conv_filters": (4, 8), "fusion_units": (16,)}


def small_model(task: str, **settings: object) -> pg.HyNNClassifier | pg.HyNNRegressor:
    """Return an unfitted estimator whose explanation of 1,000 rows takes tens of
    milliseconds.
    """
    torch.set_num_threads(1)
    kind = pg.HyNNRegressor if task == "regression" else pg.HyNNClassifier
    return kind(
        preset="fast",
        image="always",
        pixels=6,
        network=SMALL_NETWORK,
        device="cpu",
        progress=False,
        **settings,
    )


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; numbers are written as they come."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


class Record:
    """Collects what a check prints, and whether its floors are met."""

    def __init__(self, title: str, seed: int) -> None:
        self.started, self.processor = time.perf_counter(), time.process_time()
        self.faults: list[str] = []
        self.found: dict[str, float] = {}
        self.title, self.head = title, head_of([seed])
        self.parts = ["One thread."]
        print(page_of(title, self.head, self.parts[0]), flush=True)

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
        self.write(
            f"- {what}: {value:.4f}, floor {low:.4g} to {high:.4g}: "
            f"{'met' if met else 'MISSED'}"
        )

    def close(self, path: Path | None) -> int:
        """Write the record to ``path``, if any, its figures as JSON beside it, and
        return the exit code.
        """
        minutes = [(now - start) / 60 for now, start in _clocks(self)]
        verdict = (
            f"MISSED: {'; '.join(self.faults)}" if self.faults else "All floors met"
        )
        self.write(
            f"{verdict}. {minutes[1]:.1f} minutes of processor time, {minutes[0]:.1f} "
            "on the clock."
        )
        if path is not None:
            self.head["floor met"] = not self.faults
            store(
                path,
                page_of(self.title, self.head, "\n\n".join(_joined(self.parts))),
                self.head,
                self.found,
            )
        return 1 if self.faults else 0


def _clocks(record: Record) -> list[tuple[float, float]]:
    return [
        (time.perf_counter(), record.started),
        (time.process_time(), record.processor),
    ]


def _joined(parts: list[str]) -> list[str]:
    """Keep the items of a list together."""
    blocks: list[str] = []
    for part in parts:
        if blocks and part.startswith("- ") and blocks[-1].startswith("- "):
            blocks[-1] += "\n" + part
        else:
            blocks.append(part)
    return blocks
