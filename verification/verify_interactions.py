"""Are interactions right, are their intervals honest, and are they found in time?

(Issue 31, checks 1, 3 and 4.)

- functions with known interactions, two networks and LightGBM: true pairs first,
  intervals of the loss cover those of the model itself, and nothing is found in
  additive functions;
- enumeration of ten columns, each index, against shapiq's definitions on the model's
  own game;
- 100 features, 2,000 rows: time, memory, and the ten largest pairs of the full game.

    OMP_NUM_THREADS=1 python -m verification.verify_interactions
"""

from __future__ import annotations

import json
import resource
import sys
import time
import warnings
from collections.abc import Callable
from itertools import combinations
from typing import Any

from benchmarks._results import RESULTS, head_of, markdown_table, parser, record

from permgrad.attribution.explanation.numbers import of_order
from verification._verification import small_model  # sets threads: before NumPy

# isort: split
import numpy as np
import torch
from tests.shared.explaining import explain_with

import permgrad as pg
from permgrad.attribution.method.shapley.indices import INDICES

Model = Callable[[Any], Any]
Pairs = set[tuple[int, int]]
FEATURES, ROWS, TRAINED, TRUTH_ROWS = 6, 500, 4000, 100_000
PAIRS = list(combinations(range(FEATURES), 2))
#: Rows by which true pairs must come first: of the loss (what 2,000 rows × 10 cost),
#: and of the output.
MANY, FEW = 20_000, 100
COVERAGE, REJECTED, MINUTES, GIGABYTES, GOOD = (0.92, 0.98), 0.06, 5.0, 2.0, 0.95
#: Largest difference of an enumeration in float64.
SAME = 1e-8
PARTS = ("functions", "enumeration", "time")


# ---- functions with known interactions -----------------------------------------------


def functions() -> dict[str, tuple[Model, Pairs]]:
    """Return functions of columns uniform on (−1, 1), and the pairs that interact."""

    def friedman(x: Any) -> Any:
        u = (x + 1) / 2
        return (
            2 * np.sin(np.pi * u[:, 0] * u[:, 1])
            + 4 * (u[:, 2] - 0.5) ** 2
            + 2 * u[:, 3]
            + u[:, 4]
        )

    def multiplicative(x: Any) -> Any:
        weights = np.array([0.0, 0.5, 3.0, 9.0, 99.0, 99.0])
        return np.prod((np.abs(2 * x) + weights) / (1 + weights), axis=1)

    return {
        "product": (lambda x: 2 * x[:, 0] * x[:, 1] + x[:, 2], {(0, 1)}),
        "XOR": (lambda x: np.sign(x[:, 0] * x[:, 1]) + x[:, 2], {(0, 1)}),
        "Friedman": (friedman, {(0, 1)}),
        "multiplicative g": (multiplicative, {(0, 1), (0, 2), (1, 2)}),
        "XOR of two inputs": (lambda x: np.sign(x[:, 0] + x[:, 1]) * np.sign(x[:, 2] + x[:, 3]),
                              {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}),
        "two products": (lambda x: x[:, 0] * x[:, 1] + 2 * x[:, 2] * x[:, 3] + x[:, 4], {(0, 1), (2, 3)}),
        "maximum": (lambda x: 2 * np.maximum(x[:, 0], x[:, 1]) + x[:, 2], {(0, 1)}),
        "gate": (lambda x: np.where(x[:, 0] > 0, x[:, 1], -x[:, 2]), {(0, 1), (0, 2)}),
        "linear": (lambda x: x @ np.array([2.0, 1.0, 1.0, 0.5, 0.0, 0.0]), set()),
        "smooth sum": (lambda x: np.sin(3 * x[:, 0]) + x[:, 1] ** 2 + np.abs(x[:, 2]) + np.exp(x[:, 3]), set()),
    }  # fmt: skip


def draw(function: Model, rows: int, seed: list[int]) -> tuple[Any, Any]:
    """Return rows and outcomes with some noise."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, size=(rows, FEATURES))
    return x, function(x) + rng.normal(size=rows) * 0.2


def perceptron(x: Any, y: Any) -> Model:
    """Train a plain network."""
    torch.manual_seed(0)
    first, second, last = (
        torch.nn.Linear(x.shape[1], 64),
        torch.nn.Linear(64, 64),
        torch.nn.Linear(64, 1),
    )
    net = torch.nn.Sequential(first, torch.nn.ReLU(), second, torch.nn.ReLU(), last)
    inputs, wanted = (
        torch.as_tensor(one, dtype=torch.float32) for one in (x, y[:, None])
    )
    step = torch.optim.Adam(net.parameters(), lr=3e-3)
    for epoch in range(60):
        order = torch.randperm(
            len(inputs), generator=torch.Generator().manual_seed(epoch)
        )
        for part in order.split(128):
            step.zero_grad()
            ((net(inputs[part]) - wanted[part]) ** 2).mean().backward()
            step.step()
    return lambda rows: (
        net(torch.as_tensor(rows, dtype=torch.float32)).detach().numpy()[:, 0]
    )


def trained(x: Any, y: Any) -> dict[str, Any]:
    """Return the models of one table."""
    import lightgbm

    boosted = lightgbm.LGBMRegressor(
        n_estimators=150, num_leaves=8, verbose=-1, n_jobs=1, random_state=0
    )
    return {
        "LightGBM": boosted.fit(x, y),
        "network": perceptron(x, y),
        "hybrid network": small_model("regression", random_state=0).fit(x, y),
    }


def pairs_of(model: Any, x: Any, y: Any, seed: int, repeats: int = 2) -> pg.Explanation:
    """Return the interactions of the squared error."""
    options: dict[str, Any] = (
        {} if hasattr(model, "preprocessor_") else {"task": "regression"}
    )
    return of_order(
        explain_with(
            model,
            x,
            y,
            method="permutation",
            n_repeats=repeats,
            random_state=seed,
            progress=False,
            order=2,
            **options,
        ),
        2,
    )


def predictions(model: Any, x: Any) -> Any:
    """Return the predictions of a model or a function, ``(rows,)``."""
    return np.asarray(
        model.predict(x) if hasattr(model, "predict") else model(x)
    ).reshape(-1)


def brute_force(
    model: Any, function: Model, rows: int, part: int = 20_000
) -> tuple[Any, Any]:
    """Return the interactions of the squared error and their errors by plain loops,
    with a donor for each row.
    """
    sums = []
    for at in range(rows // part):
        x, y = draw(function, part, [3, at])
        donors, _ = draw(function, part, [9, at])

        before = (y - predictions(model, x)) ** 2

        def growth(
            columns: list[int],
            x: Any = x,
            y: Any = y,
            donors: Any = donors,
            before: Any = before,
        ) -> Any:
            z = x.copy()
            z[:, columns] = donors[:, columns]
            return (y - predictions(model, z)) ** 2 - before

        alone = [growth([one]) for one in range(FEATURES)]
        beyond = [growth([a, b]) - alone[a] - alone[b] for a, b in PAIRS]
        sums.append([(one.mean(), one.var() / rows) for one in beyond])
    mean, variance = np.mean(sums, axis=0).T
    return mean, np.sqrt(variance)


def first_are(values: Any, true: Pairs) -> bool:
    """Whether the pairs with the largest values are the true ones."""
    return {
        PAIRS[place]
        for place in np.argsort(-np.abs(values), kind="stable")[: len(true)]
    } == true


def first_of_output(model: Any, x: Any, true: Pairs) -> bool:
    """Whether true pairs come first by the mean size of the interactions in the output
    of single rows.
    """
    options: dict[str, Any] = (
        {} if hasattr(model, "preprocessor_") else {"task": "regression"}
    )
    rows = explain_with(
        model, x, method="shapley", random_state=0, progress=False, order=2, **options
    )
    return first_are(of_order(rows.to_global(), 2).values[:, 0], true)


def check_functions(samples: int) -> list[dict[str, Any]]:
    """Return for each function and model which pairs come first, and how often
    intervals hold the model's truth.
    """
    rows = []
    for name, (function, true) in functions().items():
        x, y = draw(function, TRAINED, [1])
        fresh, _ = draw(function, 2000, [2])
        for kind, model in trained(x, y).items():
            fit = 1 - (
                (function(fresh) - predictions(model, fresh)) ** 2
            ).mean() / np.var(function(fresh))
            truth, error = brute_force(model, function, TRUTH_ROWS)
            inside, few = [], []
            for sample in range(samples):
                one = pairs_of(model, *draw(function, ROWS, [4, sample]), sample)
                half = (one.high - one.low)[:, 0] / 2
                # The error of the truth is added to the sample's.
                wide = np.sqrt(
                    1 + (error / np.maximum(one.std_error[:, 0], 1e-300)) ** 2
                )
                inside.append(np.abs(one.values[:, 0] - truth) <= half * wide)
                few.append(first_are(one.values[:, 0], true))
            row = {
                "function": name,
                "model": kind,
                "R²": fit,
                "covered": float(np.mean(inside)),
            }
            many = pairs_of(model, *draw(function, MANY, [6]), 0, 1).values[:, 0]
            shown = {
                "loss, brute force": first_are(truth, true),
                f"loss, {MANY} rows": first_are(many, true),
                f"loss, {ROWS} rows × 2": float(np.mean(few)),
                f"output, {FEW} rows": first_of_output(
                    model, draw(function, FEW, [7])[0], true
                ),
            }
            rows.append(row | (shown if true else dict.fromkeys(shown)))
            print(rows[-1], flush=True)
    return rows


def check_additive(samples: int) -> dict[str, float]:
    """Return how often a pair of an additive function is rejected, and how often any
    pair is after correction.
    """
    rejected, anything = [], []
    for name in ("linear", "smooth sum"):
        function, _ = functions()[name]
        for sample in range(samples):
            one = pairs_of(function, *draw(function, ROWS, [5, sample]), sample)
            moved = one.std_error[:, 0] > 0
            rejected.append((one.p_values[moved, 0] < 0.05).mean())
            anything.append((one.p_adjusted[:, 0] < 0.05).any())
    return {
        "rejected": float(np.mean(rejected)),
        "any after correction": float(np.mean(anything)),
    }


# ---- enumeration ---------------------------------------------------------------------


def check_enumeration() -> list[dict[str, Any]]:
    """Return how far the values of single rows are from definitions on a game that is
    played slowly, at ten columns.
    """
    import lightgbm
    import shapiq

    rng = np.random.default_rng(8)
    x = rng.uniform(-1, 1, size=(TRAINED, 10))
    y = (
        functions()["Friedman"][0](x)
        + x[:, 5] * x[:, 6] * x[:, 7]
        + np.sign(x[:, 8] * x[:, 9])
    )
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(10, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1)
    ).double()
    boosted = lightgbm.LGBMRegressor(
        n_estimators=150, num_leaves=8, verbose=-1, n_jobs=1, random_state=0
    ).fit(x, y)
    background, points, rows = x[:8], x[-3:], []
    models = {
        "LightGBM": (boosted, boosted.predict),
        "network": (net, lambda z: net(torch.as_tensor(z)).detach().numpy()[:, 0]),
    }
    for kind, (model, predict) in models.items():
        for index in INDICES:
            given = (
                (torch.as_tensor(points), torch.as_tensor(background))
                if kind == "network"
                else (points, background)
            )
            ours = pg.explain(
                pg.Model(model, task="regression"),
                given[0],
                method=pg.methods.Shapley(order=2, index=index),
                background=given[1],
                random_state=0,
                progress=False,
            )
            largest = 0.0
            for place, row in enumerate(points):
                game = shapiq.ExactComputer(
                    lambda kept, row=row, predict=predict: np.array(
                        [
                            predict(
                                np.where(each[None, :], row[None, :], background)
                            ).mean()
                            for each in kept
                        ]
                    ),
                    n_players=10,
                )
                theirs = game(index, order=2)
                wanted = [
                    theirs[pair]
                    for pair in zip(
                        *map(np.ndarray.tolist, np.triu_indices(10, 1)), strict=True
                    )
                ]
                largest = max(
                    largest, float(np.abs(ours.values[place, 10:, 0] - wanted).max())
                )
            rows.append(
                {
                    "model": kind,
                    "index": index,
                    "largest difference": largest,
                    "largest value": float(np.abs(ours.values[:, 10:]).max()),
                }
            )
            print(rows[-1], flush=True)
    return rows


# ---- time and memory -----------------------------------------------------------------


def check_time(full: bool) -> list[dict[str, Any]]:
    """Return time and memory for 100 features and 2,000 rows, and how many of the ten
    largest pairs were looked at.
    """
    import lightgbm

    rng = np.random.default_rng(6)
    x = rng.normal(size=(6000, 100))
    y = x[:, :10].sum(axis=1) + rng.normal(size=6000) * 0.5
    for place in range(10):
        y += (1.5 - place * 0.1) * x[:, 3 * place] * x[:, 3 * place + 1]
    boosted = lightgbm.LGBMRegressor(
        n_estimators=200, verbose=-1, n_jobs=1, random_state=0
    ).fit(x[2000:], y[2000:])
    net = pg.HyNNRegressor(
        max_epochs=15, random_state=0, progress=False, device="cpu"
    ).fit(x[2000:], y[2000:])
    rows = []
    for name, model in (("LightGBM", boosted), ("default network", net)):
        started, processor = time.perf_counter(), time.process_time()
        some = pg.explain(
            model,
            x[:2000],
            y[:2000],
            method=pg.methods.Permutation(order=2),
            random_state=0,
            progress=False,
        )
        minutes, processor = (
            (time.perf_counter() - started) / 60,
            (time.process_time() - processor) / 60,
        )
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        row = {
            "model": name,
            "minutes": minutes,
            "processor minutes": processor,
            "GB (peak of the process)": memory,
            **some.meta["interactions"],
        }
        if full and name == "LightGBM":
            options = {
                "order": 2,
                "pairs": "all",
                "n_repeats": 4,
                "random_state": 0,
                "progress": False,
            }
            every = explain_with(
                model, x[:2000], y[:2000], method="permutation", **options
            )
            row["ten largest found"] = len(
                set(every.ranking(order=2)[:10]) & set(some.names)
            )
        rows.append(row)
        print(row, flush=True)
    return rows


def part_of(part: str, *, quick: bool) -> tuple[bool, str, Any]:
    """Return whether the floors of a part are met, its text and its figures."""
    if part == "functions":
        rows = check_functions(10 if quick else 40)
        additive = check_additive(60 if quick else 300)
        covered = float(np.mean([row["covered"] for row in rows]))
        judged = [row for row in rows if row["R²"] > GOOD]
        first = [
            row[key]
            for row in judged
            for key in row
            if isinstance(row[key], bool) and "brute" not in key
        ]
        passed = (
            COVERAGE[0] <= covered <= COVERAGE[1]
            and max(additive.values()) <= REJECTED
            and all(first)
        )
        text = (
            f"Covered, pooled: {covered:.4f} (floor {COVERAGE}). Pairs of additive "
            "functions rejected: "
        )
        text += (
            f"{additive['rejected']:.4f} (at most {REJECTED}), any after correction: "
        )
        text += (
            f"{additive['any after correction']:.4f}. True pairs first where R² is "
            f"above {GOOD}: {sum(first)} of "
        )
        text += f"{len(first)}. By {ROWS} rows × 2 donors: the share of the samples."
        return (
            passed,
            f"{markdown_table(rows)}\n\n{text}",
            {"covered": covered, **additive, "rows": rows},
        )
    if part == "enumeration":
        rows = check_enumeration()
        return (
            all(row["largest difference"] <= SAME for row in rows),
            f"{markdown_table(rows)}\n\nFloor: {SAME}.",
            rows,
        )
    rows = check_time(full=not quick)
    passed = all(
        row["minutes"] < MINUTES and row["GB (peak of the process)"] < GIGABYTES
        for row in rows
    )
    passed &= all(row.get("ten largest found", 10) == 10 for row in rows)
    return passed, markdown_table(rows), rows


def main() -> int:
    made = parser(__doc__)
    made.add_argument(
        "--only",
        choices=PARTS,
        nargs="+",
        help="some parts; the record keeps what it has of the others",
    )
    arguments = made.parse_args()
    warnings.simplefilter("ignore")
    path = RESULTS / "verify_interactions.json"
    fresh = {}
    for part in arguments.only or PARTS:
        passed, text, figures = part_of(part, quick=arguments.quick)
        fresh[part] = {
            **head_of(None),
            "floor met": bool(passed),
            "text": text,
            "figures": figures,
        }
    known = (
        json.loads(path.read_text())["results"]
        if path.exists() and not arguments.quick
        else {}
    )
    parts = {part: (known | fresh)[part] for part in PARTS if part in known | fresh}
    missing = [part for part in PARTS if part not in parts]
    met = all(part["floor met"] for part in parts.values())
    texts = []
    for name, part in parts.items():
        said = (
            f"Commit {part['commit']}, {part['date']}. Floors "
            f"{'met' if part['floor met'] else 'MISSED'}."
        )
        texts.append(f"## {name}\n\n{said}\n\n{part['text']}")
    texts += [f"Not run: {', '.join(missing)}."] if missing else []
    return record(
        arguments,
        "Interactions against known ones",
        "\n\n".join(texts),
        parts,
        passed=met and not missing,
        seeds=[0],
    )


if __name__ == "__main__":
    sys.exit(main())
