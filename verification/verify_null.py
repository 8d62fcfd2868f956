"""Are features that matter nothing rejected in 5 % of tests, and only in 5 %?

1. *Nothing there.* Ten networks per loss are trained on noise, long enough to have
   learned some of it by heart; then the target is noise again on 200 fresh samples of
   1,000 rows each. The features are independent of each other, so that exchanging one
   leaves the distribution of the rows as it is, and the true effect on the loss is
   exactly 0 for every network. Of the tests, overall and within each class, 5 % should
   have p < 0.05.
2. *Irrelevant but correlated.* Ten Gaussian features correlated 0.6, of which five act.
   A network leans a little on the other five. ``sampling="conditional"`` asks whether a
   feature helps beyond the others: the five should be rejected in 5 % of tests, the
   relevant ones nearly always. Marginal sampling makes rows that cannot occur, and
   rejects far more.
3. *Irrelevant but bent.* Three irrelevant features follow relevant ones along curves,
   surfaces or with a spread that changes, plus noise; the target bends in the same way,
   so that networks lean on them. Conditional sampling for a hybrid network and for a
   torch network of one's own.
4. *Constant.* A column that is constant, in training or only in the rows explained,
   gets exactly 0, std 0, p 1.

    python -m verification.verify_null            # about 20 minutes of processor time
    python -m verification.verify_null --quick    # one seed, few samples, wider floors
    python -m verification.verify_null --conditional    # checks 2 and 3 alone
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from verification._verification import (
    RESULTS,
    Record,
    markdown_table,
    small_model,
)  # sets threads: before NumPy

# isort: split
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import permgrad as pg
from permgrad.attribution.request import tuned
from permgrad_benchmark.metrics import discoveries, false_discovery_rate

Floats = npt.NDArray[np.float64]
ROWS = 1000
BENT_ROWS = 600
LEVEL = 0.05
CLASS_SHARES = (0.6, 0.3, 0.1)
WEIGHTS = np.array([1.0, 0.8, 0.6, 0.5, 0.4, 0.0, 0.0, 0.0, 0.0, 0.0])
CORRELATION = 0.6


def draw_noise(
    loss: str, rows: int, rng: np.random.Generator
) -> tuple[Floats, npt.NDArray]:
    """Return four independent features and a target that has nothing to do with
    them.
    """
    x = rng.normal(size=(rows, 4))
    return x, rng.normal(size=rows) if loss == "squared error" else rng.choice(
        3, size=rows, p=CLASS_SHARES
    )


def train_on_noise(
    loss: str, seed: int, number: int
) -> tuple[pg.HyNNClassifier | pg.HyNNRegressor, float]:
    """Return a network that has learned noise, and its predictions' spread as a share
    of the target's.
    """
    rng = np.random.default_rng([seed, 10, number])
    x, y = draw_noise(loss, 500, rng)
    task = "regression" if loss == "squared error" else "classification"
    preset = {"base": "fast", "patience": float("inf")}
    model = (
        small_model(task, max_epochs=8, random_state=number)
        .set_params(preset=preset)
        .fit(x, y)
    )
    fresh, y = draw_noise(loss, 5000, rng)
    if task == "regression":
        return model, float(model.predict(fresh).std() / y.std())
    indicators = np.eye(3)[y]
    return model, float(
        (model.predict_proba(fresh).std(axis=0) / indicators.std(axis=0)).min()
    )


def nothing_there(
    record: Record, loss: str, networks: int, samples: int, seed: int, slack: float
) -> None:
    """Check 1: share of p < 0.05 where nothing is to be found."""
    p_values, spreads = [], []
    for number in range(networks):
        model, spread = train_on_noise(loss, seed, number)
        spreads.append(spread)
        for sample in range(samples):
            x, y = draw_noise(
                loss, ROWS, np.random.default_rng([seed, 11, number, sample])
            )
            explanation = pg.explain(
                pg.Model(model, batch_size=ROWS),
                x,
                y,
                method=tuned(pg.methods.PermGrad(), branches=False, direction=False),
                random_state=sample,
                progress=False,
            )
            p_values.append(explanation.p_values)
    rejected = np.array(p_values).reshape(networks, samples, *p_values[0].shape) < LEVEL
    record.write(
        f"## Nothing there, {loss}\n\n{networks} networks, {samples} samples of {ROWS} "
        "rows each, 4 features, as many donors as pay. Spread of the predictions, "
        f"share of y's: {100 * min(spreads):.1f} to {100 * max(spreads):.1f} %. "
        f"Exactly-zero effects among the tests: {int((np.array(p_values) == 1).sum())}."
    )
    by_network = rejected[..., 0].mean(axis=(1, 2))
    record.write(
        "Overall effects by network, in per cent: "
        f"{', '.join(f'{100 * share:.1f}' for share in by_network)}."
    )
    if min(spreads) < 0.01:
        record.faults.append("networks trained on noise must predict something")
    record.floor(
        f"{loss}: share of tests with p < 0.05, all rows",
        rejected[..., 0].mean(),
        0.04 - slack,
        0.06 + slack,
    )
    for output in range(1, rejected.shape[-1]):
        what = (
            f"{loss}: the same, rows of class {output - 1} "
            f"({100 * CLASS_SHARES[output - 1]:.0f} % of rows)"
        )
        record.floor(what, rejected[..., output].mean(), 0.04 - slack, 0.06 + slack)


def draw_correlated(rows: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return ten features correlated 0.6 and a target that five of them make."""
    common = np.sqrt(CORRELATION) * rng.normal(size=(rows, 1))
    x = common + np.sqrt(1 - CORRELATION) * rng.normal(size=(rows, len(WEIGHTS)))
    return x, x @ WEIGHTS + rng.normal(size=rows)


def correlated(
    record: Record, networks: int, samples: int, seed: int, slack: float
) -> None:
    """Check 2: conditional against marginal sampling."""
    p_values: dict[str, list[Floats]] = {"conditional": [], "marginal": []}
    scores = []
    for number in range(networks):
        rng = np.random.default_rng([seed, 20, number])
        model = small_model("regression", max_epochs=15, random_state=number).fit(
            *draw_correlated(500, rng)
        )
        scores.append(model.score(*draw_correlated(5000, rng)))
        for sample in range(samples):
            x, y = draw_correlated(
                ROWS, np.random.default_rng([seed, 21, number, sample])
            )
            for sampling, kept in p_values.items():
                explanation = pg.explain(
                    pg.Model(model, batch_size=ROWS),
                    x,
                    y,
                    method=tuned(
                        pg.methods.PermGrad(sampling=sampling),
                        branches=False,
                        direction=False,
                    ),
                    random_state=sample,
                    progress=False,
                )
                kept.append(explanation.p_values[:, 0])
    rates = {
        sampling: (np.array(kept) < LEVEL).mean(axis=0)
        for sampling, kept in p_values.items()
    }
    record.write(
        f"## Irrelevant but correlated\n\n{networks} networks (R² {min(scores):.2f} to "
        f"{max(scores):.2f}), {samples} samples of {ROWS} rows each, as many donors as "
        "pay. Tests with p < 0.05 in per cent:"
    )
    head = [
        "sampling",
        *[f"x{j} (weight {weight:g})" for j, weight in enumerate(WEIGHTS)],
    ]
    record.write(
        markdown_table(
            head,
            [[name, *[f"{100 * r:.1f}" for r in rate]] for name, rate in rates.items()],
        )
    )
    relevant = WEIGHTS != 0
    conditional, marginal = rates["conditional"], rates["marginal"]
    record.floor(
        "conditional: irrelevant features rejected",
        conditional[~relevant].mean(),
        0.03 - slack,
        0.07 + slack,
    )
    record.floor(
        "conditional: power, weakest relevant feature", conditional[relevant].min(), 0.9
    )
    record.floor(
        "marginal fails: irrelevant features rejected", marginal[~relevant].mean(), 0.2
    )


#: Means and spreads of the three irrelevant features given the four relevant ones, and
#: what the target follows.
DESIGNS: dict[str, Callable[..., tuple[list, list, Floats]]] = {
    "x², abs x, eˣ": lambda a, b, c, d: (
        [a**2, np.abs(b), np.exp(c)], [0.3, 0.3, 0.3], a**2 + np.abs(b) + np.exp(c) / 2 + d / 2,
    ),
    "sin 3x, x·z, tanh 4x": lambda a, b, c, d: (
        [np.sin(3 * a), a * b, np.tanh(4 * c)], [0.3, 0.5, 0.3], np.sin(3 * a) + a * b + c + d / 2,
    ),
    "(x + z)²/2, √(1 + x² + z²), spread growing with abs x": lambda a, b, c, d: (
        [(a + b) ** 2 / 2, np.sqrt(1 + b**2 + c**2), d**2], [0.5, 0.3, 0.2 + np.abs(d) / 2],
        (a + b) ** 2 / 4 + np.abs(c) + d + d**2 / 2 + b,
    ),
}  # fmt: skip
RELEVANT = np.array([True] * 4 + [False] * 3)


def draw_bent(
    design: str, rows: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return four relevant features, three irrelevant ones that follow them, and the
    target.
    """
    relevant = rng.normal(size=(rows, 4))
    means, spreads, target = DESIGNS[design](*relevant.T)
    others = [
        mean + spread * rng.normal(size=rows)
        for mean, spread in zip(means, spreads, strict=True)
    ]
    return np.column_stack([relevant, *others]), target + rng.normal(size=rows) / 2


def own_network(x: Floats, y: Floats, seed: int) -> nn.Module:
    """Return a small network trained as a stranger would train it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Linear(x.shape[1], 64),
            nn.ReLU(),
            nn.Linear(64, 64),
            nn.ReLU(),
            nn.Linear(64, 1),
        )
        optimizer = torch.optim.Adam(network.parameters(), 1e-3)
        rows, target = (
            torch.tensor(x, dtype=torch.float32),
            torch.tensor(y, dtype=torch.float32)[:, None],
        )
        for _ in range(60):
            for batch in torch.randperm(len(rows)).split(64):
                optimizer.zero_grad()
                nn.functional.mse_loss(network(rows[batch]), target[batch]).backward()
                optimizer.step()
    return network.eval()


def bent(record: Record, samples: int, seed: int, slack: float) -> None:
    """Check 3: conditional sampling where irrelevant features depend nonlinearly on
    relevant ones.
    """
    rows, rejected, wrong = [], [], []
    for number, design in enumerate(DESIGNS):
        x, y = draw_bent(design, 600, np.random.default_rng([seed, 40, number]))
        networks = {
            "hybrid": small_model("regression", max_epochs=15, random_state=seed).fit(
                x, y
            ),
            "own": own_network(x, y, seed),
        }
        p_values: dict[str, list[Floats]] = {name: [] for name in networks}
        flagged = 0
        for sample in range(samples):
            x, y = draw_bent(
                design, BENT_ROWS, np.random.default_rng([seed, 41, number, sample])
            )
            for name, network in networks.items():
                with warnings.catch_warnings():
                    # A flagged feature is counted.
                    warnings.simplefilter("ignore", pg.PermgradWarning)
                    explanation = pg.explain(
                        network,
                        x.astype(np.float32),
                        y,
                        method=pg.methods.Permutation(sampling="conditional"),
                        random_state=sample,
                        progress=False,
                    )
                p_values[name].append(explanation.p_values[:, 0])
                flagged += any(
                    f"{at}" in "".join(explanation.meta["residuals_dependent"])
                    for at in (4, 5, 6)
                )
        for name, found in p_values.items():
            low = np.array(found) < LEVEL
            rejected.append(low)
            wrong += [
                false_discovery_rate(RELEVANT, discoveries(own, 0.1)) for own in found
            ]
            rows.append(
                [
                    design,
                    name,
                    *[f"{100 * share:.1f}" for share in low.mean(axis=0)],
                    f"{flagged}",
                ]
            )
    named = [
        f"x{at}" + " (irrelevant)" * (not matters)
        for at, matters in enumerate(RELEVANT)
    ]
    head = ["irrelevant features", "network", *named]
    record.write(
        f"## Irrelevant but bent\n\n{len(DESIGNS)} designs, 2 networks each, {samples} "
        f"samples of {BENT_ROWS} rows, as many donors as pay. Tests with p < 0.05 in "
        "per cent, and explanations (of both networks) that flag an irrelevant feature:"
    )
    record.write(markdown_table([*head, "flagged"], rows))
    of_feature = (
        np.array(rejected)
        .reshape(len(DESIGNS), -1, len(RELEVANT))[..., ~RELEVANT]
        .mean(axis=1)
    )
    record.floor(
        "bent: irrelevant features rejected",
        float(of_feature.mean()),
        0.0,
        0.07 + slack,
    )
    record.floor(
        "bent: the feature rejected most, both networks",
        float(of_feature.max()),
        0.0,
        0.15 + 2 * slack,
    )
    record.floor(
        "bent: false discovery rate at 10 %", float(np.mean(wrong)), 0.0, 0.11 + slack
    )


def constant(record: Record, seed: int) -> None:
    """Check 4: constant columns, for both kinds of sampling and both losses."""
    worst = 0.0
    for loss in ("squared error", "cross entropy"):
        rng = np.random.default_rng([seed, 30])
        x, _ = draw_noise(loss, ROWS, rng)
        target = x[:, 0] + 0.3 * rng.normal(size=ROWS)
        y = target if loss == "squared error" else (target > 0).astype(int)
        x[:, 3] = 2.5
        task = "regression" if loss == "squared error" else "classification"
        model = small_model(task, max_epochs=4, random_state=seed).fit(x, y)
        x[:, 2] = -1.0
        for sampling in ("marginal", "conditional"):
            explanation = pg.explain(
                model,
                x,
                y,
                method=pg.methods.PermGrad(sampling=sampling),
                n_repeats=3,
                random_state=seed,
                progress=False,
            )
            numbers = [
                explanation.values,
                explanation.std_error,
                explanation.low,
                explanation.high,
                explanation.p_values - 1,
            ]
            numbers += [*explanation.parts.values(), *explanation.part_std.values()]
            worst = max(worst, *(float(np.abs(array[2:]).max()) for array in numbers))
            if explanation.values[0, 0] <= 0 or explanation.p_values[0, 0] >= LEVEL:
                record.faults.append(
                    "the relevant feature beside the constants must be found"
                )
    record.write("## Constant")
    record.floor(
        "largest of |importance|, std, |interval|, 1 − p and parts of constant columns",
        worst,
        0.0,
        0.0,
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one seed, few samples, wider floors; nothing is written",
    )
    parser.add_argument(
        "--conditional",
        action="store_true",
        help="only the checks of conditional sampling, 2 and 3",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None, help="where the figures go")
    given = parser.parse_args(arguments)
    networks, samples = (1, 15) if given.quick else (10, 200)
    correlated_networks, correlated_samples = (1, 2) if given.quick else (5, 60)
    record = Record(
        "No effect on noise" + (": conditional sampling" if given.conditional else ""),
        given.seed,
    )
    for loss in () if given.conditional else ("squared error", "cross entropy"):
        # Three standard errors of the share of rejected tests, where samples are few.
        slack = (
            3 * float(np.sqrt(LEVEL * (1 - LEVEL) / (networks * samples * 4)))
            if given.quick
            else 0.0
        )
        nothing_there(record, loss, networks, samples, given.seed, slack)
    bent_samples = 2 if given.quick else 40
    # Of each sample, 6 pairs of a network and a design, and 3 features.
    slack = (
        3 * float(np.sqrt(LEVEL * (1 - LEVEL) / (bent_samples * 18)))
        if given.quick
        else 0.0
    )
    bent(record, bent_samples, given.seed, slack)
    slack = (
        3 * float(np.sqrt(LEVEL * (1 - LEVEL) / (correlated_samples * 5)))
        if given.quick
        else 0.0
    )
    correlated(record, correlated_networks, correlated_samples, given.seed, slack)
    if not given.conditional:
        constant(record, given.seed)
    name = "verify_null_conditional.md" if given.conditional else "verify_null.md"
    return record.close(given.out or (None if given.quick else RESULTS / name))


if __name__ == "__main__":
    sys.exit(main())
