"""Do the answers beside the ranking allow for rows that depend on each other, and for weights?

100 groups of 5 equal rows each say no more than 100 rows. In each case, something is 0 in truth by construction, and at
most 5 % of the samples may call it clear with ``row_groups`` (and with ``sample_weight``, random weights of whole
groups, where the answer takes them). Without ``row_groups`` the same test must fail, else the case shows nothing.

1. *ale*: ``x0 + x1 * x2`` of independent columns of mean 0. The curve of ``x1`` is flat.
2. *causal Shapley*: the loss of ``x0 + x1``, where the target is ``x0 + x1 / 2`` and noise, in the causal order x0, x1.
   A model without ``x1`` has the same loss: half of it too little instead of too much.
3. *changes*: two samples of one law. No score, part or importance changes. After Holm's steps, by kind.
4. *sensitive*: rates and errors by a column that is drawn for each group. After Holm's steps.

    python -m verification.verify_groups            # about 15 minutes of processor time
    python -m verification.verify_groups --quick    # few samples, wider floors; nothing is written
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from verification._verification import RESULTS, Record, markdown_table  # sets threads: before NumPy

# isort: split
import numpy as np
import numpy.typing as npt
import pandas as pd

import permgrad as pg
from permgrad.base.dependence import Dependence
from permgrad.evaluation.sensitive import audit
from permgrad.evaluation.skill import Predicted

Floats = npt.NDArray[np.float64]
GROUPS, EACH, LEVEL = 100, 5, 0.05
GROUP = np.repeat(np.arange(GROUPS), EACH)
OPTIONS: dict[str, Any] = {"task": "regression", "progress": False}
#: What options a call gets: of rows that depend on each other, and weights.
WAYS = ("rows", "groups", "groups and weights")


def draw(rng: np.random.Generator, columns: int = 3) -> Floats:
    """Return equal rows of groups."""
    return rng.normal(size=(GROUPS, columns)).repeat(EACH, axis=0)


def related(way: str, rng: np.random.Generator) -> dict[str, Any]:
    """Return the arguments of one sample of rows."""
    named: dict[str, Any] = {} if way == "rows" else {"row_groups": GROUP}
    return named | ({"sample_weight": rng.uniform(0.5, 1.5, GROUPS).repeat(EACH)} if "weights" in way else {})


def ale(way: str, seed: int) -> dict[str, bool]:
    """Case 1."""
    rng = np.random.default_rng([seed, 1])
    found = pg.explain(
        lambda x: x[:, 0] + x[:, 1] * x[:, 2],
        draw(rng),
        method="ale",
        random_state=seed,
        **related(way, rng),
        **OPTIONS,
    )
    return {"ale": bool(found.p_values[1, 0] < LEVEL)}


def causal(way: str, seed: int) -> dict[str, bool]:
    """Case 2."""
    rng = np.random.default_rng([seed, 2])
    x = draw(rng)
    found = pg.explain(
        lambda rows: rows[:, 0] + rows[:, 1],
        x[:, :2],
        x[:, 0] + x[:, 1] / 2 + x[:, 2],
        method="shapley",
        scope="global",
        causal_order=[["x0"], ["x1"]],
        random_state=seed,
        **related(way, rng),
        **OPTIONS,
    )
    return {"causal Shapley": bool(found.p_values[1, 0] < LEVEL)}


def changes(way: str, seed: int) -> dict[str, bool]:
    """Case 3."""
    rng = np.random.default_rng([seed, 3])
    samples, sides = [], []
    for _ in range(2):
        x = draw(rng, 4)
        samples += [x[:, :3], x[:, 0] + 0.5 * x[:, 1] + x[:, 3]]
        sides.append(related(way, rng))
    both = {name: (sides[0][name], sides[1][name]) for name in sides[0]}
    found = pg.changes(lambda rows: rows[:, 0], *samples, n_repeats=2, random_state=seed, **both, **OPTIONS)
    least = found.to_frame().groupby("kind")["p_holm"].min()
    return {f"changes, {kind}": bool(p < LEVEL) for kind, p in least.items()}


def sensitive(way: str, seed: int) -> dict[str, bool]:
    """Case 4."""
    rng = np.random.default_rng([seed, 4])
    chance = rng.uniform(0.1, 0.9, GROUPS)
    truth = (rng.random(GROUPS) < chance).astype(np.int64).repeat(EACH)
    columns = pd.DataFrame({"level": rng.choice(["a", "b"], GROUPS).repeat(EACH)})
    guess = Predicted(truth, np.column_stack([1 - chance, chance]).repeat(EACH, axis=0))
    (told,) = audit(columns, guess, dependence=None if way == "rows" else Dependence(GROUP), seed=seed)
    return {"sensitive": any(line.get("p_holm", 1.0) < LEVEL for line in told["measures"])}


CASES: dict[str, tuple[Callable[[str, int], dict[str, bool]], tuple[str, ...]]] = {
    "ale": (ale, WAYS),
    "causal Shapley": (causal, WAYS),
    "changes": (changes, WAYS),
    "sensitive": (sensitive, WAYS[:2]),
}


def main() -> int:
    """Measure every case and record it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few samples, wider floors; nothing is written")
    parser.add_argument("--samples", type=int, default=300, help="samples of each case; of the precondition, a third")
    parser.add_argument("--only", choices=CASES, default=None, help="one case; nothing is written")
    parser.add_argument("--out", type=Path, default=None, help="where the figures go")
    asked = parser.parse_args()
    samples = 30 if asked.quick else asked.samples
    record, lines = Record("Groups of equal rows, and weights", 0), []
    slack = 2 * float(np.sqrt(LEVEL * (1 - LEVEL) / samples))
    for name, (measure, ways) in CASES.items():
        for way in ways if asked.only in (None, name) else ():
            # The precondition needs few.
            found = pd.DataFrame([measure(way, seed) for seed in range(samples // 3 if way == "rows" else samples)])
            for what, rate in found.mean().items():
                error = 1.96 * float(np.sqrt(max(rate * (1 - rate), 0.02) / len(found)))
                lines.append(
                    (what, way, f"{rate:.3f}", f"{max(rate - error, 0):.3f} to {rate + error:.3f}", len(found))
                )
                if way == "rows":
                    record.floor(f"{what}, no options: samples that call it clear", float(rate), 0.1)
                else:
                    record.floor(f"{what}, {way}: samples that call it clear", float(rate), 0.0, LEVEL + slack)
    record.write(markdown_table(("answer", "options", "called clear", "95 % interval", "samples"), lines))
    written = not asked.quick and asked.only is None
    return record.close(asked.out or (RESULTS / "verify_groups.md" if written else None))


if __name__ == "__main__":
    sys.exit(main())
