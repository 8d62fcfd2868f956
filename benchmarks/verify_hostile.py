"""Hostile tables by the thousand: each is refused in one sentence, or encoded, trained on and explained rightly.

    python benchmarks/verify_hostile.py                                   # 18,000 tables encoded, 2,000 trained on
    python benchmarks/verify_hostile.py --encode 500 --train 50 --seed 3  # a look, with other tables

Tables, targets and names come from ``tests/shared/hostile_tables.py``; what must hold, from ``hostile_checks.py``
beside it: refusals state rule, fact and fix; encoded cells are finite, and a row alone is encoded as among others;
predictions are finite; each effect is that of editing the table and predicting again. A case that takes over 60 seconds
counts as a failure. One example of each kind of failure is printed.
"""

from __future__ import annotations

import collections
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings

from _results import markdown_table, parser, record

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "shared"))

import hostile_checks
import hostile_tables

HANG_SECONDS = 60.0
Faults = dict[str, dict[str, Any]]


def hunt(strategy: Any, check: Callable[[Any], str], cases: int, random_seed: int) -> tuple[dict[str, int], Faults]:
    """Return how the cases ended, and one example of each kind of fault."""
    ends: collections.Counter[str] = collections.Counter()
    faults: Faults = {}

    @seed(random_seed)
    @settings(
        max_examples=cases, database=None, deadline=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )  # fmt: skip
    @given(strategy)
    def one(case: Any) -> None:
        started = time.perf_counter()
        try:
            end = check(case).partition(", however")[0]
            ends[end] += 1
        except Exception as error:  # noqa: BLE001 — whatever it is, it is a fault
            _note(faults, type(error).__name__ + ": " + str(error)[:80] + _place(error), case)
        if time.perf_counter() - started > HANG_SECONDS:
            _note(faults, f"over {HANG_SECONDS:g} s", case)

    one()
    return dict(ends), faults


def _place(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "permgrad" in frame.filename]
    return f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""


def _note(faults: Faults, name: str, case: Any) -> None:
    found = faults.setdefault(name, {"cases": 0, "example": repr(case)[:2000]})
    found["cases"] += 1
    if found["cases"] == 1:
        print(f"FAULT {name}\n{found['example']}\n", flush=True)


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--encode", type=int, default=18_000, help="tables that are encoded")
    options.add_argument("--train", type=int, default=2_000, help="tables that are trained on, predicted and explained")
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    if asked.quick:
        asked.encode, asked.train = 200, 20
    torch.set_num_threads(1)
    started = time.process_time()
    encoded, faults = hunt(hostile_tables.frames(), hostile_checks.check_encoding, asked.encode, asked.seed)

    def check(problem: hostile_tables.Problem) -> str:
        return hostile_checks.check_training(problem.table, problem.y, problem.task)

    trained, more = hunt(hostile_tables.problems(), check, asked.train, asked.seed + 1)
    faults |= more
    rows = [
        {"what": what, "ended with": end, "cases": cases}
        for what, ends in (("encoding", encoded), ("training", trained))
        for end, cases in sorted(ends.items(), key=lambda item: -item[1])
        if cases >= (asked.encode + asked.train) / 2000
    ]
    # Where all are refused nothing was tried.
    tried = encoded.get("encoded", 0) > asked.encode / 5 and trained.get("explained", 0) > asked.train / 10
    text = (
        f"{asked.encode:,} tables encoded, {asked.train:,} trained on; {time.process_time() - started:,.0f} processor "
        f"seconds; {len(faults)} kinds of faults.\n\n{markdown_table(rows)}"
    )
    data = {"ends": rows, "faults": faults}
    return record(asked, "Hostile tables", text, data, passed=tried and not faults, seeds=[asked.seed])


if __name__ == "__main__":
    raise SystemExit(main())
