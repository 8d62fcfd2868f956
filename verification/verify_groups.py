"""Do the answers beside the ranking allow for rows that depend on each other, and for
weights?

100 groups of 5 equal rows each say no more than 100 rows. 500 rows in time, each
correlated 0.8 with the next one, say no more than 56. In each case, something is 0 in
truth by construction, and at most 5 % of the samples may call it clear with
``row_groups`` (and with ``sample_weight``, random weights of whole groups, where the
answer takes them), and with ``row_time``. Without these the same test must fail, else
the case shows nothing.

1. *ale*: ``x0 + x1 * x2`` of independent columns of mean 0. The curve of ``x1`` is
   flat.
2. *Shapley*: the loss of ``x0 + x1``, where the target is ``x0 + x1 / 2`` and noise, by
   conditional draws. A model without ``x1`` has the same loss: half of it too little
   instead of too much.
3. *changes*: two samples of one law. No score, part or importance changes. After Holm's
   steps, by kind.
4. *sensitive*: rates and errors by a column that is drawn for each group, or a series.
   After Holm's steps.

With some twenty cases, one is above 5 % and two standard errors by chance. Such a case
is asked again, with three times as many new samples, which then count.

    python -m verification.verify_groups            # about 5 minutes of processor time
    python -m verification.verify_groups --quick    # few samples, wider floors; nothing is written
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from verification._verification import (
    RESULTS,
    Record,
    markdown_table,
)  # sets threads: before NumPy

# isort: split
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm
from tests.shared.explaining import explain_with

import permgrad as pg
from permgrad.attribution.request.arguments import Arguments
from permgrad.base.dependence import Dependence
from permgrad.evaluation.changes import changes_between
from permgrad.evaluation.sensitive import audit
from permgrad.evaluation.skill import Predicted
from verification.verify_claims import AGAIN, slack

Floats = npt.NDArray[np.float64]
GROUPS, EACH, LEVEL = 100, 5, 0.05
GROUP = np.repeat(np.arange(GROUPS), EACH)
TIME = np.arange(GROUPS * EACH)
#: The correlation of a row with the next one in time.
NEXT = 0.8
OPTIONS: dict[str, Any] = {"task": "regression", "progress": False}
#: What options a call gets, of rows that depend on each other and weights. The first of
#: groups, and of times, are none.
WAYS = ("rows", "groups", "groups and weights", "rows in time", "time")
NO_OPTIONS = ("rows", "rows in time")


def draw(way: str, rng: np.random.Generator, columns: int = 3) -> Floats:
    """Return standard normal numbers ``(rows, columns)``: equal rows of groups, or
    series that fade from row to row.
    """
    if "time" not in way:
        return rng.normal(size=(GROUPS, columns)).repeat(EACH, axis=0)
    x = rng.normal(size=(len(TIME), columns))
    for row in TIME[1:]:
        x[row] = NEXT * x[row - 1] + np.sqrt(1 - NEXT**2) * x[row]
    return x


def related(way: str, rng: np.random.Generator) -> dict[str, Any]:
    """Return the arguments of one sample of rows."""
    if way in NO_OPTIONS:
        return {}
    named: dict[str, Any] = (
        {"row_time": TIME} if way == "time" else {"row_groups": GROUP}
    )
    return named | (
        {"sample_weight": rng.uniform(0.5, 1.5, GROUPS).repeat(EACH)}
        if "weights" in way
        else {}
    )


def ale(way: str, seed: int) -> dict[str, bool]:
    """Case 1."""
    rng = np.random.default_rng([seed, 1])
    found = explain_with(
        lambda x: x[:, 0] + x[:, 1] * x[:, 2],
        draw(way, rng),
        method="ale",
        random_state=seed,
        **related(way, rng),
        **OPTIONS,
    )
    return {"ale": bool(found.p_values[1, 0] < LEVEL)}


def shapley(way: str, seed: int) -> dict[str, bool]:
    """Case 2."""
    rng = np.random.default_rng([seed, 2])
    x = draw(way, rng)
    found = explain_with(
        lambda rows: rows[:, 0] + rows[:, 1],
        x[:, :2],
        x[:, 0] + x[:, 1] / 2 + x[:, 2],
        method="shapley",
        scope="global",
        random_state=seed,
        sampling="conditional",
        **related(way, rng),
        **OPTIONS,
    )
    return {"Shapley": bool(found.p_values[1, 0] < LEVEL)}


def changes(way: str, seed: int) -> dict[str, bool]:
    """Case 3."""
    rng = np.random.default_rng([seed, 3])
    model = pg.Model(lambda rows: rows[:, 0], task="regression")
    sides = []
    for _ in range(2):
        x = draw(way, rng, 4)
        side = Arguments(
            model,
            X=x[:, :3],
            y=x[:, 0] + 0.5 * x[:, 1] + x[:, 3],
            scope="global",
            n_repeats=2,
            random_state=seed,
            progress=False,
            **related(way, rng),
        )
        sides.append(side)
    found = changes_between(*sides)
    least = found.to_frame().groupby("kind")["p_holm"].min()
    return {f"changes, {kind}": bool(p < LEVEL) for kind, p in least.items()}


def sensitive(way: str, seed: int) -> dict[str, bool]:
    """Case 4."""
    rng = np.random.default_rng([seed, 4])
    level, chance, luck = norm.cdf(draw(way, rng)).T
    chance = 0.1 + 0.8 * chance
    truth = (luck < chance).astype(np.int64)
    columns = pd.DataFrame({"level": np.where(level < 0.5, "a", "b")})
    guess = Predicted(truth, np.column_stack([1 - chance, chance]))
    told_by = {"groups": Dependence(GROUP), "time": Dependence(TIME, timed=True)}
    (told,) = audit(columns, guess, dependence=told_by.get(way), seed=seed)
    return {
        "sensitive": any(
            line.get("p_adjusted", 1.0) < LEVEL for line in told["measures"]
        )
    }


CASES: dict[str, tuple[Callable[[str, int], dict[str, bool]], tuple[str, ...]]] = {
    "ale": (ale, WAYS),
    "Shapley": (shapley, WAYS),
    "changes": (changes, WAYS),
    "sensitive": (sensitive, tuple(way for way in WAYS if "weights" not in way)),
}


def main() -> int:
    """Measure every case and record it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="few samples, wider floors; nothing is written",
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=300,
        help="samples of each case; of the precondition, a third",
    )
    parser.add_argument(
        "--only", choices=CASES, default=None, help="one case; nothing is written"
    )
    parser.add_argument("--out", type=Path, default=None, help="where the figures go")
    asked = parser.parse_args()
    samples = 30 if asked.quick else asked.samples
    record, lines = Record("Groups of equal rows, weights, and rows in time", 0), []
    for name, (measure, ways) in CASES.items():
        for way in ways if asked.only in (None, name) else ():
            count = (
                max(30, samples // 3) if way in NO_OPTIONS else samples
            )  # the precondition needs few
            found = pd.DataFrame([measure(way, seed) for seed in range(count)])
            if way not in NO_OPTIONS and (found.mean() > LEVEL + slack(count)).any():
                again = range(count, (1 + AGAIN) * count)
                found = pd.DataFrame([measure(way, seed) for seed in again])
            for what, rate in found.mean().items():
                error = 1.96 * float(np.sqrt(max(rate * (1 - rate), 0.02) / len(found)))
                lines.append(
                    (
                        what,
                        way,
                        f"{rate:.3f}",
                        f"{max(rate - error, 0):.3f} to {rate + error:.3f}",
                        len(found),
                    )
                )
                if way in NO_OPTIONS:
                    record.floor(
                        f"{what}, {way} and no options: samples that call it clear",
                        float(rate),
                        0.1,
                    )
                else:
                    record.floor(
                        f"{what}, {way}: samples that call it clear",
                        float(rate),
                        0.0,
                        LEVEL + slack(len(found)),
                    )
    record.write(
        markdown_table(
            ("answer", "options", "called clear", "95 % interval", "samples"), lines
        )
    )
    written = not asked.quick and asked.only is None
    return record.close(
        asked.out or (RESULTS / "verify_groups.md" if written else None)
    )


if __name__ == "__main__":
    sys.exit(main())
