"""Do the 95 % intervals of the path game cover the truth in 95 % of samples?

(Issue 2, check 7.)

One fixed network per loss (squared error; cross entropy with three classes, the rarest
with about 100 of 1,000 rows). The truth is the population effect of that very network,
the mean over a million rows with donors of their own. Then hundreds of independent
samples of 1,000 rows are explained, and for every effect we count how often its
interval contains the truth: the total, the share of each path, the interaction, overall
and by class, and the branch weights, at 1, 5 and 50 repeats and as many as pay, with
the stopping rule, and with a background that is a separate sample.

Intervals of the parts are ``part_std`` times Student's quantile, as for the total.

    python -m verification.verify_coverage            # about 15 minutes of processor time
    python -m verification.verify_coverage --quick    # one seed, a few samples, wider floors
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from verification._verification import (
    RESULTS,
    Record,
    markdown_table,
    small_model,
)  # sets threads: before NumPy

# isort: split
import numpy as np
import numpy.typing as npt

import permgrad as pg
from permgrad.attribution.explanation.statistics import interval
from permgrad.attribution.request import tuned

Floats = npt.NDArray[np.float64]
PARTS = ("total", "tabular", "image", "interaction")
ROWS = 1000
FEATURES = 4
RARE = "2"
FLOOR = (0.92, 0.98)


@dataclass(frozen=True)
class Setting:
    """One way of asking for an explanation."""

    name: str
    repeats: int | Literal["auto"]
    stopping: bool = False
    separate: bool = False


SETTINGS = (
    Setting("1", 1),
    Setting("auto", "auto"),
    Setting("5", 5),
    Setting("50", 50),
    Setting("≤ 50, stopping", 50, stopping=True),
    Setting("1, background", 1, separate=True),
    Setting("auto, background", "auto", separate=True),
    Setting("5, background", 5, separate=True),
)
QUICK_SETTINGS = (
    SETTINGS[0],
    SETTINGS[1],
    Setting("≤ 8, stopping", 8, stopping=True),
    Setting("4, background", 4, separate=True),
)


@dataclass
class Case:
    """A network, where its rows come from, and what is true of it."""

    loss: str
    draw: Callable[[int, np.random.Generator], tuple[Floats, npt.NDArray]]
    model: pg.HyNNClassifier | pg.HyNNRegressor
    tolerance: float = 0.0
    truth: Floats = field(default_factory=lambda: np.empty(0))
    truth_error: Floats = field(default_factory=lambda: np.empty(0))


def draw_features(rows: int, rng: np.random.Generator) -> Floats:
    """Return four features: two that matter, one that hangs together with the first,
    one that is noise.
    """
    x = rng.normal(size=(rows, FEATURES))
    x[:, 2] = 0.5 * x[:, 0] + np.sqrt(0.75) * x[:, 2]
    return x


def draw_regression(rows: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    x = draw_features(rows, rng)
    return x, x[:, 0] + x[:, 0] * x[:, 1] + 0.3 * x[:, 2] + 0.5 * rng.normal(size=rows)


def draw_classes(
    rows: int, rng: np.random.Generator
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return three classes, the last with a share of about a tenth."""
    x = draw_features(rows, rng)
    logits = np.stack(
        [
            np.zeros(rows),
            x[:, 0] + x[:, 0] * x[:, 1],
            -2.0 + 1.5 * x[:, 1] + 0.5 * x[:, 2],
        ],
        axis=1,
    )
    return x, (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)


def make_case(loss: str, seed: int, *, quick: bool) -> Case:
    """Train the network and choose the tolerance that lets features stop at different
    repeats.
    """
    regression = loss == "squared error"
    draw = draw_regression if regression else draw_classes
    model = small_model(
        "regression" if regression else "classification",
        max_epochs=6 if quick else 12,
        random_state=seed,
    )
    case = Case(
        loss,
        draw,
        model.fit(*draw(1500 if quick else 4000, np.random.default_rng([seed, 0]))),
    )
    x, y = draw(ROWS, np.random.default_rng([seed, 1]))
    first, last = (
        explain(case, Setting("", repeats), x, y, None, 0)
        for repeats in (2, 8 if quick else 50)
    )
    # Between the widths at few and at many repeats of the feature that gains most by
    # repeating.
    few, many = ((pilot.high - pilot.low)[:, 0] / 2 for pilot in (first, last))
    gains_most = int(np.argmax(few / many))
    case.tolerance = float(
        np.sqrt(few[gains_most] * many[gains_most]) / first.meta["loss_scale"]
    )
    return case


def explain(
    case: Case,
    setting: Setting,
    x: Floats,
    y: npt.NDArray,
    background: Floats | None,
    seed: int,
) -> pg.Explanation:
    return pg.explain(
        pg.Model(case.model, batch_size=ROWS),
        x,
        y,
        method=tuned(
            pg.methods.PermGrad(tolerance=case.tolerance if setting.stopping else None),
            direction=False,
        ),
        n_repeats=setting.repeats,
        background=background,
        random_state=seed,
        progress=False,
    )


def labels(case: Case) -> list[tuple[str, str, str]]:
    """Return (who, class, part) for every number that ``numbers`` gives, in its
    order.
    """
    outputs = (
        ["all"]
        if case.loss == "squared error"
        else ["all", *map(str, case.model.classes_)]
    )
    names = [
        (f"x{j}", output, part)
        for part in PARTS
        for j in range(FEATURES)
        for output in outputs
    ]
    return names + [("branches", "all", part) for part in PARTS[:3]]


def numbers(
    explanation: pg.Explanation, y: npt.NDArray
) -> tuple[Floats, Floats, Floats]:
    """Return all effects with both ends of their intervals, each ``(effects,)``."""
    means, lows, highs = (
        [explanation.values.ravel()],
        [explanation.low.ravel()],
        [explanation.high.ravel()],
    )
    count = [
        len(y),
        *[int((y == int(output)).sum()) for output in explanation.outputs[1:]],
    ]
    for part in PARTS[1:]:
        mean, std = explanation.parts[part], explanation.part_std[part]
        low, high, _ = interval(mean, std, np.array(count)[None, :], 0.95)
        for kept, new in zip((means, lows, highs), (mean, low, high), strict=True):
            kept.append(new.ravel())
    weights = [explanation.branches[part] for part in PARTS[:3]]
    for kept, key in zip(
        (means, lows, highs), ("importance", "ci_low", "ci_high"), strict=True
    ):
        kept.append(np.array([weight[key] for weight in weights]))
    return np.concatenate(means), np.concatenate(lows), np.concatenate(highs)


def chunks(
    case: Case, rows: int, chunk: int, seed: int
) -> Iterator[tuple[Floats, Floats]]:
    """Yield the effects of independent chunks and the number of rows each effect is a
    mean of.
    """
    for number in range(rows // chunk):
        x, y = case.draw(chunk, np.random.default_rng([seed, 2, number]))
        mean, _, _ = numbers(explain(case, Setting("", 2), x, y, None, number), y)
        weight = [
            len(y) if output == "all" else int((y == int(output)).sum())
            for _, output, _ in labels(case)
        ]
        yield mean, np.array(weight, dtype=np.float64)


def find_truth(case: Case, rows: int, chunk: int, seed: int) -> None:
    """Set the population effects, and their standard errors from the spread between
    chunks.
    """
    means, weights = (
        np.array(part) for part in zip(*chunks(case, rows, chunk, seed), strict=True)
    )
    case.truth = (means * weights).sum(axis=0) / weights.sum(axis=0)
    scores = weights * (means - case.truth) / weights.sum(axis=0)
    case.truth_error = np.sqrt((scores**2).sum(axis=0) * len(means) / (len(means) - 1))


@dataclass
class Outcome:
    """What one case's samples gave; arrays are ``(settings, samples, effects)``."""

    covered: npt.NDArray[np.bool_]
    means: Floats
    half_widths: Floats
    repeats: dict[int, int]
    rare_rows: float


def run_samples(
    case: Case, settings: tuple[Setting, ...], samples: int, seed: int
) -> Outcome:
    """Explain every sample under every setting."""
    shape = (len(settings), samples, len(case.truth))
    covered, means, widths = (
        np.zeros(shape, dtype=bool),
        np.zeros(shape),
        np.zeros(shape),
    )
    repeats: dict[int, int] = {}
    rare = 0
    for sample in range(samples):
        rng = np.random.default_rng([seed, 3, sample])
        x, y = case.draw(ROWS, rng)
        other, _ = case.draw(ROWS, rng)
        rare += int((y == int(RARE)).sum())
        for number, setting in enumerate(settings):
            explanation = explain(
                case, setting, x, y, other if setting.separate else None, sample
            )
            mean, low, high = numbers(explanation, y)
            covered[number, sample] = (low <= case.truth) & (case.truth <= high)
            means[number, sample], widths[number, sample] = mean, (high - low) / 2
            if setting.stopping:
                for used in explanation.meta["repeats"].values():
                    repeats[used] = repeats.get(used, 0) + 1
    return Outcome(
        covered, means, widths, dict(sorted(repeats.items())), rare / samples
    )


def report(
    record: Record,
    case: Case,
    settings: tuple[Setting, ...],
    outcome: Outcome,
    slack: float,
) -> None:
    """Write the table of one case, pooled over features, and compare every cell with
    its floor.
    """
    names = labels(case)
    groups: dict[tuple[str, str, str], list[int]] = {}
    for position, (who, output, part) in enumerate(names):
        groups.setdefault(
            ("branches" if who == "branches" else "features", output, part), []
        ).append(position)
    lines, cells = [], {}
    for (who, output, part), members in groups.items():
        rate = outcome.covered[:, :, members].mean(axis=1)
        shown = [
            f"{100 * r.mean():.1f} ({100 * r.min():.1f}–{100 * r.max():.1f})"
            for r in rate
        ]
        rows = (
            "all rows"
            if output == "all"
            else f"class {output}" + (" (rare)" if output == RARE else "")
        )
        lines.append([who, rows, part, *shown])
        for setting, r in zip(settings, rate, strict=True):
            cells[f"{who}, {rows}, {part}, repeats {setting.name}"] = float(r.mean())
    record.write(
        f"Coverage in per cent over {outcome.covered.shape[1]} samples, pooled over "
        "features (lowest and highest single feature); columns: repeats."
    )
    record.write(
        markdown_table(
            ["what", "rows", "part", *[setting.name for setting in settings]], lines
        )
    )
    typical = np.median(outcome.half_widths[-1], axis=0) / 1.96
    record.write(
        "Standard error of the truth, share of a sample's standard error: at most "
        f"{(case.truth_error / typical).max():.3f}. "
        f"Stopping used (repeats: features) {outcome.repeats}."
    )
    if case.loss != "squared error":
        record.write(f"Rows of the rare class: {outcome.rare_rows:.0f} of {ROWS}.")
    record.floor(
        f"{case.loss}, mean of all cells",
        np.mean([*cells.values()]),
        FLOOR[0] - slack / 3,
        FLOOR[1] + slack / 3,
    )
    for extreme in (min, max):
        where = extreme(cells, key=lambda cell: cells[cell])
        record.floor(
            f"{case.loss}, {extreme.__name__} cell ({where})",
            cells[where],
            FLOOR[0] - slack,
            FLOOR[1] + slack,
        )
    if len(outcome.repeats) < 2:
        record.faults.append("the stopping rule must stop at different repeats")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one seed, few samples, wider floors; nothing is written",
    )
    parser.add_argument("--samples", type=int, default=None, help="samples per loss")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None, help="where the figures go")
    given = parser.parse_args(arguments)
    samples = given.samples or (12 if given.quick else 400)
    settings = QUICK_SETTINGS if given.quick else SETTINGS
    record = Record("Coverage of the intervals", given.seed)
    # A pooled cell may miss by chance where samples are few: three standard errors of a
    # single effect's rate.
    slack = 3 * float(np.sqrt(0.05 * 0.95 / samples)) if given.quick else 0.0
    for number, loss in enumerate(("squared error", "cross entropy")):
        case = make_case(loss, given.seed + number, quick=given.quick)
        x, y = case.draw(20_000, np.random.default_rng([given.seed, 4]))
        record.write(
            f"## {loss}\n\nThe network's score (R² or accuracy) on fresh rows: "
            f"{case.model.score(x, y):.3f}."
        )
        find_truth(
            case,
            20_000 if given.quick else 1_000_000,
            5_000 if given.quick else 20_000,
            given.seed,
        )
        report(
            record,
            case,
            settings,
            run_samples(case, settings, samples, given.seed),
            slack,
        )
    return record.close(
        given.out or (None if given.quick else RESULTS / "verify_coverage.md")
    )


if __name__ == "__main__":
    sys.exit(main())
