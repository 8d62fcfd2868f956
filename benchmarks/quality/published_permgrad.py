"""The importances that PermGrad published for its five tables, beside those computed
here.

    PERMGRAD_DATA=… python -m benchmarks.quality.published_permgrad

``published_permgrad.json`` holds the arrays of the authors' repository
(github.com/felescgon/PermGrad): permutation of the table and Grad-CAM for each class
and feature, and the branch weights. They are joined as published: both lists are scaled
to 0…1, weighted and added, and a feature's bar is the sum over classes. Beside them:
``permgrad_paper`` and ``permgrad`` on networks of preset ``paper`` (TINTO layout),
trained on the published split of the same table, from several seeds. Nothing has a
floor: the networks differ, and the published arrays are no truth.
"""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

import permgrad as pg
from benchmarks._results import RESULTS, data_folder, markdown_table, parser, record
from permgrad.attribution.method.permgrad_paper import scale_to_unit
from permgrad.data.splitting import split_rows

SETS = ("heloc", "dengue", "covertype", "gas", "puma")
#: NOTE[DIFF]: published are at most 200 epochs. The schedule is scaled.
EPOCHS = 60


def by_class(values: dict[str, Any]) -> np.ndarray:
    """Return ``(features, classes)`` of a published list, which is nested for classes
    and flat for numbers.
    """
    lists = (
        list(values.values())
        if isinstance(next(iter(values.values())), dict)
        else [values]
    )
    return np.array([list(one.values()) for one in lists], dtype=float).T


def published_bars(published: dict[str, Any]) -> np.ndarray:
    """Return the length of each feature's bar in the published figure."""
    weights = published["branch_weights"]
    table, image = (
        scale_to_unit(by_class(published[name])) for name in ("permutation", "gradcam")
    )
    bars: np.ndarray = (weights["MLP"] * table + weights["CNN"] * image).sum(axis=1)
    return bars


def compare(
    name: str, published: dict[str, Any], seed: int, *, quick: bool
) -> dict[str, Any]:
    """Return the rankings and branch weights of one table and one training."""
    data = pg.load_dataset(name)
    split = split_rows(len(data.frame), data.y, task=data.task)
    estimator = pg.HyNNRegressor if data.task == "regression" else pg.HyNNClassifier
    limit = 600 if quick else None
    (X, y), (X_validation, y_validation), (X_test, y_test) = (
        (data.X.iloc[part[:limit]], data.y.iloc[part[:limit]])
        for part in (split.train, split.validation, split.test)
    )
    model = estimator(
        preset="paper",
        na=data.na or None,
        # Published are the bars of columns, also of those that encode one variable.
        groups={},
        max_epochs=2 if quick else EPOCHS,
        random_state=seed,
        progress=False,
    ).fit(X, y, eval_set=(X_validation, y_validation))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        paper = pg.explain(
            model, X_test, y_test, method="permgrad_paper", random_state=0
        )
        ours = pg.explain(model, X_test, y_test, random_state=0)
    columns = list(data.X.columns)
    bars = {
        "published": pd.Series(published_bars(published)[: len(columns)], columns),
        "permgrad_paper": pd.Series(paper.values[:, 0], paper.names)[columns],
        "permgrad": pd.Series(ours.values[:, 0], ours.names)[columns],
    }
    agreement = {
        who: float(spearmanr(bars["published"], bars[who]).statistic)
        for who in ("permgrad_paper", "permgrad")
    }
    return {
        "set": name,
        "seed": seed,
        "features": len(columns),
        "score": float(model.score(X_test, y_test)),
        "top": {who: list(values.nlargest(3).index) for who, values in bars.items()},
        "rank correlation": agreement,
        "values of the published maps": len(
            np.unique(np.round(by_class(published["gradcam"])[:, 0], 6))
        ),
        "image weight": {
            "published": float(published["branch_weights"]["CNN"]),
            "permgrad_paper": float(paper.meta["branch_weights"]["image"]),
        },
        "share of the image": ours.branches["image"]["share"],
    }


def main() -> int:
    """Compare all five tables."""
    arguments_of = parser(__doc__)
    arguments_of.add_argument(
        "--sets",
        nargs="+",
        choices=SETS,
        default=SETS,
        help="the others stay as recorded",
    )
    arguments_of.add_argument(
        "--seeds", type=int, default=3, help="trainings of each table, from seed 0 on"
    )
    arguments = arguments_of.parse_args()
    torch.set_num_threads(1)
    folder = data_folder()
    if folder is None or not (folder / "published_permgrad.json").is_file():
        print(
            "PERMGRAD_DATA names no folder with published_permgrad.json. Nothing was "
            "compared."
        )
        return 0
    published = json.loads(
        (folder / "published_permgrad.json").read_text(encoding="utf-8")
    )
    recorded = RESULTS / "published_permgrad.json"
    earlier = (
        json.loads(recorded.read_text(encoding="utf-8"))["results"]
        if recorded.is_file()
        else []
    )
    found = {(row["set"], row["seed"]): row for row in earlier}
    seeds = range(1 if arguments.quick else arguments.seeds)
    for name in SETS[-1:] if arguments.quick else arguments.sets:
        for seed in seeds:
            found[name, seed] = compare(
                name, published[name], seed, quick=arguments.quick
            )
            print(found[name, seed], flush=True)
    rows = sorted(found.values(), key=lambda row: (SETS.index(row["set"]), row["seed"]))
    table = [
        {
            "set": row["set"],
            "seed": row["seed"],
            "score on test rows": row["score"],
            **{
                f"first three, {who}": ", ".join(names)
                for who, names in row["top"].items()
            },
            **{
                f"rank correlation, {who}": value
                for who, value in row["rank correlation"].items()
            },
            "values of the published map": row["values of the published maps"],
            **{
                f"image weight, {who}": value
                for who, value in row["image weight"].items()
            },
            "share of the image, permgrad": row["share of the image"],
        }
        for row in rows
    ]
    text = (
        f"Preset `paper`, at most {EPOCHS} epochs, published split. Score: accuracy, "
        "for Puma R². Rank correlations are Spearman's, with the published bars. A "
        "share is undefined where the effect of both branches is not clearly above 0. "
        "A network with a score near chance, which is 0.17 on gas, says nothing about "
        "its table.\n\n" + markdown_table(table)
    )
    return record(
        arguments,
        "PermGrad's published importances",
        text,
        rows,
        passed=None,
        seeds=sorted({row["seed"] for row in rows}),
    )


if __name__ == "__main__":
    raise SystemExit(main())
