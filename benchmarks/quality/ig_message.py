"""Do the published readings of UCI Bank Marketing recur, over twenty trainings: is it
the network or the draw?

    PERMGRAD_DATA=… python -m benchmarks.quality.ig_message

The published notebook trains once and reads the integrated gradients of the logit of
yes, from encoded zeros: as bars (the sum over the test rows divided by its L1 norm) and
for one client (row 100 of the test rows, divided by its L1 norm). Its three conclusions
come from that client: blue-collar work, April and secondary education lower the logit.
Five further readings come from the bars. Here preset ``ig_example`` is trained with
twenty seeds on the published split (80/20, stratified, ``random_state=42``). For each
reading: the mean over seeds with its 95 % interval (Student's t), how many seeds have
the published sign, and the median rank by absolute value. A reading recurs if the
interval is on the side of 0 that was published. From the median row, the other
baseline, the bars answer another question: they stand beside without a verdict. So does
the share of yes of each level among the training rows: what a bar is not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import stats
from sklearn.model_selection import train_test_split
from tests.shared.explaining import explain_with

import permgrad as pg
from benchmarks._results import markdown_table, parser, record

#: Column, level, and the bar of the authors' stored array
#: (``ig_attr_test_norm_sum.npy`` in their repository).
READINGS = (
    ("job", "blue-collar", -0.0509),
    ("month", "apr", -0.0150),
    ("education", "secondary", -0.0444),
    ("month", "may", -0.0873),
    ("default", "no", 0.1541),
    ("loan", "no", 0.0736),
    ("job", "management", -0.0471),
    ("job", "technician", -0.0387),
)
#: The client of the notebook, and his largest inputs in the authors' stored array
#: (``ig_attr_test.npy``).
CLIENT = 100
OF_CLIENT = (
    ("job", "blue-collar", -0.2209),
    ("month", "apr", -0.2995),
    ("education", "secondary", -0.0836),
)


def bars(model: Any, X: Any, baseline: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the 51 names, the published form of their bars, and that of the client's,
    for the logit of yes.
    """
    options = {
        "method": "integrated_gradients",
        "players": "encoded",
        "target": "yes",
        "baseline": baseline,
    }
    local = explain_with(model, X, random_state=0, progress=False, **options)
    client = local.values[CLIENT, :, 0]
    return (
        list(local.names),
        local.to_global("sum_l1").values[:, 0],
        client / np.abs(client).sum(),
    )


def told(names: list[str], values: np.ndarray, readings: Any) -> list[dict[str, Any]]:
    """Return a line of each reading; ``values`` is ``(seeds, inputs)``."""
    ranks = (-np.abs(values)).argsort(axis=1).argsort(axis=1) + 1
    width = (
        stats.t.ppf(0.975, len(values) - 1)
        * values.std(axis=0, ddof=1)
        / np.sqrt(len(values))
    )
    lines = []
    for column, level, published in readings:
        place = next(
            at
            for at, name in enumerate(names)
            if name.startswith(column) and name.endswith(level)
        )
        mean, half = float(values[:, place].mean()), float(width[place])
        lines.append(
            {
                "input": names[place],
                "published bar": published,
                "mean bar": mean,
                "ci_low": mean - half,
                "ci_high": mean + half,
                "seeds with the published sign": int(
                    (np.sign(values[:, place]) == np.sign(published)).sum()
                ),
                "median rank of 51": float(np.median(ranks[:, place])),
                "recurs": bool(np.sign(published) * mean > half),
            }
        )
    return lines


def main() -> int:
    """Measure and record."""
    arguments = parser(__doc__).parse_args()
    torch.set_num_threads(1)
    data = pg.load_dataset("bank")
    X, y = data.X, data.frame[data.target]
    X_train, X_test, y_train, _ = train_test_split(
        X, y.to_numpy(), test_size=0.2, stratify=y, random_state=42
    )
    seeds = list(range(2 if arguments.quick else 20))
    found: dict[str, list[tuple[list[str], np.ndarray, np.ndarray]]] = {
        "zeros": [],
        "median": [],
    }
    for seed in seeds:
        model = pg.HyNNClassifier(
            preset="ig_example", random_state=seed, progress=False
        ).fit(X_train, y_train)
        for baseline, of_baseline in found.items():
            of_baseline.append(bars(model, X_test, baseline))
    results: dict[str, Any] = {}
    text, stable = [], True
    for baseline, of_baseline in found.items():
        names = of_baseline[0][0]
        values, client = (np.stack([one[at] for one in of_baseline]) for at in (1, 2))
        stable &= bool(np.isfinite(values).all() and np.isfinite(client).all())
        results[baseline] = told(names, values, READINGS)
        for line, (column, level, _) in zip(results[baseline], READINGS, strict=True):
            line["share of yes"] = float(
                (y_train[(X_train[column] == level).to_numpy()] == "yes").mean()
            )
        results[f"client, {baseline}"] = told(names, client, OF_CLIENT)
        if baseline != "zeros":
            for line in (*results[baseline], *results[f"client, {baseline}"]):
                for name in (
                    "published bar",
                    "seeds with the published sign",
                    "recurs",
                ):
                    del line[name]
        text += [
            f"## Baseline: {baseline}",
            "",
            "All test rows:",
            "",
            markdown_table(results[baseline]),
            "",
        ]
        text += [
            f"Client {CLIENT}:",
            "",
            markdown_table(results[f"client, {baseline}"]),
            "",
        ]
    text.append(
        "Share of yes among all training rows: "
        f"{float((y_train == 'yes').mean()):.4f}. A bar is negative where the "
        "input lowers the logit."
    )
    title = "The published bars, twenty trainings"
    return record(
        arguments, title, "\n".join(text), results, passed=stable, seeds=seeds
    )


if __name__ == "__main__":
    raise SystemExit(main())
