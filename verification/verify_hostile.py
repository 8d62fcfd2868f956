"""Hostile tables and networks by the thousand: each is refused in one sentence, or
handled rightly.

    python -m verification.verify_hostile                    # 13,000 tables encoded, 2,000 trained on, 5,000 networks
    python -m verification.verify_hostile --encode 500 --train 50 --networks 200 --seed
    3  # a look, at other cases

Tables, targets and names come from ``tests/shared/hostile_tables.py``; what must hold,
from ``hostile_checks.py`` beside it: refusals state rule, fact and fix; encoded cells
are finite, and a row alone is encoded as among others; predictions are finite; each
effect is that of editing the table and predicting again.

Networks come from ``hostile_networks.py``, with rows, a method, a level and the rest;
what must hold, from ``hostile_network_checks.py``: values are finite, the same in
batches of another size and those of the methods written again slowly; networks whose
rows depend on chance or on each other are refused or named; the user's own errors are
chained; network, rows and process stay as they were, also after an error.

A case that takes over 60 seconds counts as a failure. One example of each kind of
failure is printed.
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
from benchmarks._results import markdown_table, parser, record
from hypothesis import HealthCheck, Phase, given, seed, settings

import permgrad
from permgrad.base.errors import error_in_words

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "shared"))

import hostile_checks
import hostile_network_checks
import hostile_networks
import hostile_tables

HANG_SECONDS = 60.0
Faults = dict[str, dict[str, Any]]


def hunt(
    strategy: Any, check: Callable[[Any], str], cases: int, random_seed: int
) -> tuple[dict[str, int], Faults]:
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
        _try(case, check, ends, faults)

    one()
    return dict(ends), faults


def hunt_networks(cases: int, random_seed: int) -> tuple[dict[str, int], Faults]:
    """Return how networks ended, and one example of each kind of fault; every kind of
    network comes up equally " "often.
    """
    ends: collections.Counter[str] = collections.Counter()
    faults: Faults = {}
    for number in range(cases):
        case = hostile_networks.draw(random_seed * 1_000_000 + number)
        _try(case, hostile_network_checks.check_network, ends, faults)
    return dict(ends), faults


def _try(
    case: Any,
    check: Callable[[Any], str],
    ends: collections.Counter[str],
    faults: Faults,
) -> None:
    started = time.perf_counter()
    try:
        ends[check(case).partition(", however")[0]] += 1
    except Exception as error:  # noqa: BLE001 — whatever it is, it is a fault
        _note(faults, error_in_words(error)[:100] + _place(error), case)
    if time.perf_counter() - started > HANG_SECONDS:
        _note(faults, f"over {HANG_SECONDS:g} s", case)


#: The package's folder. README clones the repository into one of the same name.
_HOME = f"{Path(permgrad.__file__).parent}/"


def _place(error: BaseException) -> str:
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(_HOME)
    ]
    return f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""


def _note(faults: Faults, name: str, case: Any) -> None:
    found = faults.setdefault(name, {"cases": 0, "example": repr(case)[:2000]})
    found["cases"] += 1
    if found["cases"] == 1:
        shown = f"FAULT {name}\n{found['example']}\n".encode(
            errors="backslashreplace"
        ).decode()
        print(shown, flush=True)


def main() -> int:
    options = parser(__doc__)
    options.add_argument(
        "--encode", type=int, default=13_000, help="tables that are encoded"
    )
    options.add_argument(
        "--train",
        type=int,
        default=2_000,
        help="tables that are trained on, predicted and explained",
    )
    options.add_argument(
        "--networks", type=int, default=5_000, help="networks that are explained"
    )
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    if asked.quick:
        asked.encode, asked.train, asked.networks = 200, 20, 150
    torch.set_num_threads(1)
    started = time.process_time()
    encoded, faults = hunt(
        hostile_tables.frames(), hostile_checks.check_encoding, asked.encode, asked.seed
    )

    def check(problem: hostile_tables.Problem) -> str:
        return hostile_checks.check_training(problem.table, problem.y, problem.task)

    trained, more = hunt(hostile_tables.problems(), check, asked.train, asked.seed + 1)
    faults |= more
    explained, more = hunt_networks(asked.networks, asked.seed)
    faults |= more
    every = asked.encode + asked.train + asked.networks
    rows = [
        {"what": what, "ended with": end, "cases": cases}
        for what, ends in (
            ("encoding", encoded),
            ("training", trained),
            ("networks", explained),
        )
        for end, cases in sorted(ends.items(), key=lambda item: -item[1])
        if cases >= every / 2000
    ]
    # Where all are refused nothing was tried.
    tried = (
        encoded.get("encoded", 0) >= asked.encode / 5
        and trained.get("explained", 0) >= asked.train / 10
        and explained.get("explained", 0) >= asked.networks / 4
    )
    text = (
        f"{asked.encode:,} tables encoded, {asked.train:,} trained on, "
        f"{asked.networks:,} networks of {len(hostile_networks.kinds)} kinds "
        f"explained; {time.process_time() - started:,.0f} processor seconds; "
        f"{len(faults)} kinds of faults.\n\n{markdown_table(rows)}"
    )
    data = {"ends": rows, "faults": faults}
    return record(
        asked,
        "Hostile tables and networks",
        text,
        data,
        passed=tried and not faults,
        seeds=[asked.seed],
    )


if __name__ == "__main__":
    raise SystemExit(main())
