"""What the published bars of UCI Bank Marketing say, over five trainings: is it the network or the draw?

    PERMGRAD_DATA=… python -m benchmarks.quality.ig_message

The published figure shows, for one training, the sum of integrated gradients over the test rows divided by its L1 norm.
Here preset ``ig-example`` is trained with five seeds on one split (80/20, stratified, ``random_state=42``), and the
same bars are computed for the 51 encoded inputs, from the baseline of encoded zeros (as published) and from the median
row. For the inputs that the publication speaks of: the mean bar over seeds with its 95 % interval (Student's t, four
degrees of freedom), how many seeds share its sign, and the ranks by absolute value. The share of yes of each level
among the training rows stands beside it: what a bar should not be mistaken for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import stats
from sklearn.model_selection import train_test_split

import permgrad as pg
from benchmarks._results import markdown_table, parser, record

SPOKEN_OF = (
    ("month", "may"),
    ("month", "apr"),
    ("job", "blue-collar"),
    ("education", "secondary"),
    ("default", "no"),
    ("loan", "no"),
)


def bars(model: Any, X: Any, baseline: str) -> tuple[list[str], np.ndarray]:
    """Return the 51 names and the published form of their bars, for the logit of yes."""
    local = pg.explain(
        model, X, method="integrated_gradients", players="encoded", target="yes", baseline=baseline, random_state=0
    )
    return list(local.names), local.to_global("sum_l1").values[:, 0]


def main() -> int:
    arguments = parser(__doc__).parse_args()
    torch.set_num_threads(1)
    data = pg.load_dataset("bank")
    X, y = data.X, data.frame[data.target]
    X_train, X_test, y_train, _ = train_test_split(X, y.to_numpy(), test_size=0.2, stratify=y, random_state=42)
    seeds = [0, 1] if arguments.quick else [0, 1, 2, 3, 4]
    models = [
        pg.HyNNClassifier(preset="ig-example", random_state=seed, progress=False).fit(X_train, y_train)
        for seed in seeds
    ]
    overall = float((y_train == "yes").mean())
    text, found, stable = [], {}, True
    for baseline in ("zeros", "median"):
        names, first = bars(models[0], X_test, baseline)
        values = np.stack([first, *[bars(model, X_test, baseline)[1] for model in models[1:]]])
        ranks = (-np.abs(values)).argsort(axis=1).argsort(axis=1) + 1
        width = stats.t.ppf(0.975, len(seeds) - 1) * values.std(axis=0, ddof=1) / np.sqrt(len(seeds))
        rows = []
        for column, level in SPOKEN_OF:
            place = next(k for k, name in enumerate(names) if name.startswith(column) and name.endswith(level))
            mean = float(values[:, place].mean())
            share = float((y_train[(X_train[column] == level).to_numpy()] == "yes").mean())
            rows.append(
                {
                    "input": names[place],
                    "mean bar": mean,
                    "ci_low": mean - float(width[place]),
                    "ci_high": mean + float(width[place]),
                    "seeds with its sign": int((np.sign(values[:, place]) == np.sign(mean)).sum()),
                    "ranks of 51": ", ".join(str(rank) for rank in ranks[:, place]),
                    "share of yes": share,
                }
            )
        found[baseline] = rows
        stable &= bool(np.isfinite(values).all())
        text += [f"## Baseline: {baseline}", "", markdown_table(rows), ""]
    text.append(
        f"Share of yes among all training rows: {overall:.4f}. A bar is negative where the input lowers the logit."
    )
    return record(arguments, "The published bars, five trainings", "\n".join(text), found, passed=stable, seeds=seeds)


if __name__ == "__main__":
    raise SystemExit(main())
