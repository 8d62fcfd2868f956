"""Is what is called clear, better, worse, different or changed false in at most 5 % of
the cases where nothing is?

Each claim is looked at under its own null: rows (200, 1,200), shares of the positive
class (50 %, 5 %, 1 %), laws of errors (normal, Student's t with 3 degrees of freedom,
lognormal), levels (2, 10, 50), and rows alone or in groups of 5 that share all values.
Claims are read where they are decided, by the functions that sentences ask.

1. *levels*: a right model, and levels that mean nothing. Does ``audit`` have a clear
   line?
2. *groups of rows*: the same model, and a feature by which outcomes are more and less
   uncertain besides. Is any worse?
3. *models*: two models that are equally good. Does one do better?
4. *constant*: a model of noise. Has it learnt something?
5. *changes*: two samples of one law, of which the new one has a quarter of the rows.
   Did a score change clearly?
6. *probabilities*: those that outcomes were drawn with. Are they off?
7. *order*: 3 to 8 classes along a line, coded at random. Are they in an order? Of fewer
   than five this is never said.
8. *reliance*: importances of rows that have nothing to do with levels. Does a feature
   matter more in a level?
9. *few groups*: rows in groups, each with another difference between two levels, whose
   mean is 0. Does a level differ?
10. *columns*: two samples of one law. Does a column differ?
11. *outputs*: two samples of one law. Did the mean prediction change?
12. *importances*: two samples of one law. Did an importance change clearly?

Which features matter, in what order, and which pairs act together, is looked at by
``verify_null``, ``verify_headlines``, ``verify_ranks`` and ``verify_interactions``.
With more than a hundred cells, a few are above 5 % and two standard errors by chance.
Such a cell is asked again, with three times as many new samples, which then count.

Power: a level of 100 of 1,200 rows with doubled errors, a rate of two levels that is 10
points apart, and of 5 % of events 10 points more in a level of 100 rows. Each must be
found in 80 %.

    python -m verification.verify_claims                  # 400 samples of each cell: hours
    python -m verification.verify_claims --samples 40     # what the record says that it had
    python -m verification.verify_claims --partial FILE   # each cell is kept there: the command can be stopped
    python -m verification.verify_claims --quick          # few samples of few cells; nothing is written
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import product
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
from scipy.optimize import brentq

import permgrad as pg
from permgrad.attribution.request.arguments import Arguments
from permgrad.base.dependence import Dependence
from permgrad.evaluation.calibration import reliability
from permgrad.evaluation.changes import (
    adjusted_lines,
    changes_between,
    claims_of_scores,
    lines_of_outputs,
)
from permgrad.evaluation.class_order import classes_in_order
from permgrad.evaluation.drift import compare_parts
from permgrad.evaluation.segments import find_segments, worse_groups
from permgrad.evaluation.sensitive import audit
from permgrad.evaluation.skill import Predicted, against_others, skill
from permgrad.pages.facts.calibration_facts import how_far_off

Floats = npt.NDArray[np.float64]
LEVEL, EACH, POWER = 0.05, 5, 0.8
#: A share of 80 % has a standard error of 1.3 % in so many samples.
POWER_SAMPLES = 1000
ROWS, SHARES, LAWS = (200, 1200), (0.5, 0.05, 0.01), ("normal", "t3", "lognormal")
LEVELS, RELATED = (2, 10, 50), (False, True)
#: Rows in few groups, and new samples of a cell that is above, as many times as before.
FEW_ROWS, AGAIN = 400, 3
#: Samples of cells with many rows, as a share of those with few: they take so much
#: longer.
PART_OF_LARGE = 0.5


def errors_of(law: str, rows: int, rng: np.random.Generator) -> Floats:
    """Return errors of mean 0."""
    if law == "normal":
        return rng.normal(size=rows)
    if law == "t3":
        return rng.standard_t(3, rows)
    return rng.lognormal(size=rows) - np.exp(0.5)


def chances_of(share: float, signal: Floats) -> Floats:
    """Return probabilities whose mean is a share."""
    low = brentq(lambda at: (1 / (1 + np.exp(-signal - at))).mean() - share, -30, 30)
    return np.asarray(1 / (1 + np.exp(-signal - low)))


def classed(truth: npt.NDArray[Any], chances: Floats) -> Predicted:
    """Return predictions of two classes."""
    return Predicted(truth.astype(np.int64), np.column_stack([1 - chances, chances]))


def drawn(
    cell: tuple[Any, ...], rng: np.random.Generator
) -> tuple[pd.DataFrame, Predicted, Dependence | None]:
    """Return a level and a feature of each row, a right model's predictions, and which
    rows belong together.
    """
    rows, law, levels, related = cell
    units = rows // EACH if related else rows
    frame = pd.DataFrame(
        {
            "town": np.char.add("T", rng.integers(0, levels, units).astype(str)),
            "x": rng.normal(size=units),
        }
    )
    signal = frame["x"].to_numpy()
    if isinstance(law, str):
        predicted = Predicted(signal + errors_of(law, units, rng), signal)
    else:
        chances = chances_of(law, signal)
        predicted = classed(rng.random(units) < chances, chances)
    if not related:
        return frame, predicted, None
    places = np.repeat(np.arange(units), EACH)
    whole = frame.iloc[places].reset_index(drop=True)
    return whole, predicted.take(places), Dependence(places)


def of_levels(rng: np.random.Generator, seed: int, *cell: Any) -> bool:
    """Claim 1."""
    frame, predicted, between = drawn(cell, rng)
    (told,) = audit(frame[["town"]], predicted, dependence=between, seed=seed)
    return any(line.get("clear") for line in told["measures"])


def of_groups(rng: np.random.Generator, seed: int, *cell: Any) -> bool:
    """Claim 2."""
    frame, predicted, between = drawn(cell, rng)
    return bool(
        worse_groups(find_segments(frame, predicted, dependence=between, seed=seed))
    )


def of_models(rng: np.random.Generator, seed: int, rows: int, law: str | float) -> bool:
    """Claim 3."""
    signal = rng.normal(size=rows)
    if isinstance(law, str):
        truth = signal + errors_of(law, rows, rng)
        both = [
            Predicted(truth, signal + 0.5 * rng.normal(size=rows)) for _ in range(2)
        ]
    else:
        truth = rng.random(rows) < chances_of(law, 1.5 * signal)
        both = [
            classed(truth, chances_of(law, signal + 0.5 * rng.normal(size=rows)))
            for _ in range(2)
        ]
    found = against_others(both[0], {"other": both[1]}, seed=seed)
    return bool(found["other"]["p_holm"] < LEVEL)


def of_constant(
    rng: np.random.Generator, seed: int, rows: int, law: str | float
) -> bool:
    """Claim 4."""
    noise = rng.normal(size=rows)
    if isinstance(law, str):
        truth = errors_of(law, rows, rng)
        models = Predicted(truth, 0.2 * noise), Predicted(truth, np.zeros(rows))
    else:
        truth = rng.random(rows) < law
        models = (
            classed(truth, chances_of(law, 0.3 * noise)),
            classed(truth, np.full(rows, law)),
        )
    task: Any = "regression" if isinstance(law, str) else "classification"
    found = skill(task, *models, seed=seed)
    return bool(found is not None and found["learnt"])


def of_changes(rng: np.random.Generator, _: int, rows: int, law: str | float) -> bool:
    """Claim 5."""
    sides = [drawn((count, law, 2, False), rng)[1] for count in (rows, rows // 4)]
    return bool(claims_of_scores(sides[0], sides[1]))


def of_probabilities(rng: np.random.Generator, _: int, rows: int, law: float) -> bool:
    """Claim 6."""
    chances = chances_of(law, rng.normal(size=rows))
    return how_far_off([reliability(rng.random(rows) < chances, chances)]) == "clearly"


def of_order(rng: np.random.Generator, _: int, rows: int, classes: int) -> bool:
    """Claim 7."""
    x = rng.uniform(0, classes, rows)
    place = np.clip(np.floor(x + 0.4 * rng.normal(size=rows)), 0, classes - 1).astype(
        int
    )
    chances = np.exp(-2 * (x[:, None] - np.arange(classes) - 0.5) ** 2)
    chances /= chances.sum(axis=1, keepdims=True)
    code = rng.permutation(classes)
    table = pd.DataFrame({"x": x})
    held = code[place], chances[:, np.argsort(code)]
    return (
        classes_in_order(list(range(classes)), held, (table, code[place])) is not None
    )


def of_reliance(rng: np.random.Generator, seed: int, *cell: Any) -> bool:
    """Claim 8."""
    frame, predicted, between = drawn(cell, rng)
    # Of rows that belong together the values are alike, too.
    values = np.abs(predicted.truth - predicted.guess) * 0.5
    importances = {"x": (values, np.ones(len(values), dtype=bool))}
    (told,) = audit(
        frame[["town"]],
        predicted,
        dependence=between,
        seed=seed,
        reliance=importances,
    )
    return any(line.get("clear") for line in told["reliance"])


def of_few_groups(
    rng: np.random.Generator, seed: int, groups: int, uneven: bool
) -> bool:
    """Claim 9."""
    shares = np.full(groups, 1 / groups)
    if uneven:
        shares = rng.dirichlet(np.ones(groups))
    of = np.repeat(np.arange(groups), rng.multinomial(FEW_ROWS, shares))
    level = rng.integers(0, 2, FEW_ROWS)
    signal = rng.normal(size=FEW_ROWS)
    truth = signal + rng.normal(size=FEW_ROWS) + rng.normal(size=(groups, 2))[of, level]
    frame = pd.DataFrame({"sex": np.where(level, "f", "m")})
    predicted = Predicted(truth, signal)
    (told,) = audit(frame, predicted, dependence=Dependence(of), seed=seed)
    return any(line.get("clear") for line in told["measures"])


def of_columns(rng: np.random.Generator, _: int, rows: int, law: str) -> bool:
    """Claim 10."""
    sides = []
    for count in (rows, rows // 4):
        signal = errors_of(law, count, rng)
        names = np.char.add("T", rng.geometric(0.2, count).astype(str))
        sides.append(pd.DataFrame({"x": signal, "town": names, "y": signal.round()}))
    return any(one["clear"] for one in compare_parts(*sides)["drift"])


def of_outputs(rng: np.random.Generator, _: int, rows: int, law: str) -> bool:
    """Claim 11."""
    sides = [{"prediction": errors_of(law, count, rng)} for count in (rows, rows // 4)]
    (line,) = adjusted_lines(lines_of_outputs(*sides))
    return bool(line["p_holm"] < LEVEL)


def of_importances(rng: np.random.Generator, seed: int, rows: int, law: str) -> bool:
    """Claim 12."""
    samples = []
    for count in (rows, rows // 2):
        x = rng.normal(size=(count, 3))
        y = x[:, 0] + 0.5 * x[:, 1] + 0.5 * errors_of(law, count, rng)
        samples.append((pd.DataFrame(x, columns=["a", "b", "c"]), y))
    model = pg.Model(
        lambda table: np.asarray(table)[:, 0] + 0.5 * np.asarray(table)[:, 1],
        task="regression",
    )
    sides = [
        Arguments(
            model, X=X, y=y, scope="global", n_repeats=2, random_state=seed,
            progress=False,
        )
        for X, y in samples
    ]  # fmt: skip
    lines = changes_between(*sides).lines
    chosen = lines[lines["kind"] == "importance"]
    return bool((chosen["p_holm"] < LEVEL).any())


# ---- power ---------------------------------------------------------------------------
def doubled(rng: np.random.Generator, seed: int, law: str) -> bool:
    """A level of 100 of 1,200 rows has errors of twice the size."""
    town = np.where(
        np.arange(1200) < 100,
        "T0",
        np.char.add("T", rng.integers(1, 10, 1200).astype(str)),
    )
    signal, errors = rng.normal(size=1200), errors_of(law, 1200, rng)
    truth = signal + errors * np.where(town == "T0", 2, 1)
    (told,) = audit(pd.DataFrame({"town": town}), Predicted(truth, signal), seed=seed)
    return any(line.get("clear") and line["level"] == "T0" for line in told["measures"])


def apart(rng: np.random.Generator, seed: int, share: float) -> bool:
    """A rate is 10 points apart: of two halves of the rows, or, of rare events, in a
    level of 100 of 1,200 rows.
    """
    rare = share < 0.2
    town = np.where(np.arange(1200) < (100 if rare else 600), "T0", "T1")
    if rare:
        town = np.where(
            town == "T1", np.char.add("T", rng.integers(1, 10, 1200).astype(str)), town
        )
    chances = chances_of(share, rng.normal(size=1200))
    more = np.clip(chances + 0.1 * (town == "T0"), 0, 1)
    predicted = classed(rng.random(1200) < more, chances)
    (told,) = audit(pd.DataFrame({"town": town}), predicted, seed=seed)
    return any(line.get("clear") for line in told["measures"])


#: Of each claim: how it is looked at, and its cells.
CLAIMS: dict[str, tuple[Callable[..., bool], list[tuple[Any, ...]]]] = {
    "levels": (of_levels, list(product(ROWS, (*SHARES, *LAWS), LEVELS, RELATED))),
    "groups of rows": (
        of_groups,
        list(product(ROWS, (*SHARES, *LAWS), LEVELS, RELATED)),
    ),
    "models": (of_models, list(product(ROWS, (*SHARES, *LAWS)))),
    "constant": (of_constant, list(product(ROWS, (*SHARES, *LAWS)))),
    "changes": (of_changes, list(product(ROWS, (*SHARES, *LAWS)))),
    "probabilities": (of_probabilities, list(product(ROWS, SHARES))),
    "order": (of_order, list(product(ROWS, (3, 4, 5, 8)))),
    "reliance": (of_reliance, list(product(ROWS, LAWS, (2, 10), RELATED))),
    "few groups": (of_few_groups, list(product((6, 10, 20, 40), (False, True)))),
    "columns": (of_columns, list(product(ROWS, LAWS))),
    "outputs": (of_outputs, list(product(ROWS, LAWS))),
    "importances": (of_importances, list(product(ROWS, LAWS))),
}
FOUND: dict[str, tuple[Callable[..., bool], list[tuple[Any, ...]]]] = {
    "doubled errors in 100 of 1,200 rows": (doubled, [(law,) for law in LAWS]),
    "a rate 10 points apart": (apart, [(0.3,), (0.05,)]),
}


def rates(
    claims: dict[str, tuple[Callable[..., bool], list[tuple[Any, ...]]]],
    samples: int,
    partial: Path | None = None,
    limit: float = 1.0,
) -> Iterator[tuple[str, str, float, int]]:
    """Yield claim, cell, how often it was made, and of how many samples.

    Args:
        claims: how each is looked at, and its cells.
        samples: of each cell.
        partial: a file of cells that are finished. Others are added.
        limit: the rate at which a cell is asked again is the limit of its number of
            samples, if this is below 1.
    """
    finished = dict[tuple[str, str], tuple[float, int]]()
    if partial is not None and partial.exists():
        for line in partial.read_text().splitlines():
            name, cell, rate, count = json.loads(line)
            finished[name, _written(cell)] = rate, count
    for name, (claim, cells) in claims.items():
        for cell in cells:
            key = name, _written(cell)
            if key not in finished:
                finished[key] = _asked(claim, name, cell, samples, limit)
                if partial is not None:
                    with partial.open("a") as file:
                        file.write(json.dumps([name, cell, *finished[key]]) + "\n")
            yield *key, *finished[key]


def _written(cell: Iterable[Any]) -> str:
    return ", ".join(map(str, cell))


def _asked(
    claim: Callable[..., bool],
    name: str,
    cell: tuple[Any, ...],
    samples: int,
    limit: float,
) -> tuple[float, int]:
    """Return how often a claim is made in a cell, and of how many samples."""
    large = cell[0] == max(ROWS)
    count = max(10, round(samples * (PART_OF_LARGE if large else 1)))
    rate = _rate(claim, name, cell, range(count))
    if limit < 1 and rate > limit + slack(count):
        again = range(count, (1 + AGAIN) * count)
        return _rate(claim, name, cell, again), len(again)
    return rate, count


def _rate(
    claim: Callable[..., bool], name: str, cell: tuple[Any, ...], seeds: range
) -> float:
    """Return in which share of the samples a claim is made."""
    made = 0
    for seed in seeds:
        rng = np.random.default_rng([seed, *f"{name} {cell}".encode()])
        made += claim(rng, seed, *cell)
    return made / len(seeds)


def slack(samples: int) -> float:
    """Return two standard errors of a share of 5 %."""
    return 2 * float(np.sqrt(LEVEL * (1 - LEVEL) / samples))


def main(words: list[str] | None = None) -> int:
    """Measure every cell and record it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few samples of few cells")
    parser.add_argument("--samples", type=int, default=400, help="of each cell")
    parser.add_argument("--only", choices=CLAIMS, default=None, help="one claim")
    parser.add_argument("--partial", type=Path, default=None, help="cells so far")
    parser.add_argument("--out", type=Path, default=None, help="where the figures go")
    asked = parser.parse_args(words)
    claims = {name: CLAIMS[name] for name in CLAIMS if asked.only in (None, name)}
    samples, found = asked.samples, FOUND
    if asked.quick:
        samples, found = 20, {}
        claims = {name: (one, cells[:1]) for name, (one, cells) in claims.items()}
    record, lines = Record("Claims where nothing is, and where something is", 0), []
    whole: dict[str, list[tuple[float, int]]] = {}
    for name, cell, rate, count in rates(claims, samples, asked.partial, LEVEL):
        lines.append((name, cell, f"{rate:.3f}", count))
        whole.setdefault(name, []).append((rate, count))
        limit = LEVEL + slack(count)
        if rate > limit:
            record.floor(f"{name} ({cell}): false claims", rate, 0.0, limit)
    for name, both in whole.items():
        count = sum(each for _, each in both)
        rate = sum(rate * each for rate, each in both) / count
        above = sum(rate > LEVEL + slack(each) for rate, each in both)
        record.floor(
            f"{name}: false claims in all {len(both)} cells, {count:,} samples",
            rate,
            0.0,
            LEVEL + slack(count),
        )
        record.write(
            f"{above} of {len(both)} cells are above 5 % and two standard errors."
        )
    for name, cell, rate, count in rates(found, POWER_SAMPLES, asked.partial):
        record.floor(f"{name} ({cell}): found in {count} samples", rate, POWER)
    record.write(markdown_table(("claim", "cell", "made", "samples"), lines))
    if asked.partial is not None:
        record.write(
            "Finished cells were read from a file, and may be of earlier commits and "
            "of other numbers of samples."
        )
    written = not asked.quick and asked.only is None
    return record.close(
        asked.out or (RESULTS / "verify_claims.md" if written else None)
    )


if __name__ == "__main__":
    sys.exit(main())
