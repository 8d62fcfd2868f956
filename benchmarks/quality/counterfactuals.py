"""Counterfactuals beside dice-ml and the nearest rows of the other outcome: HELOC, bank
and puma, three models.

    pip install --no-deps dice-ml raiutils              # not in any extra
    python -m benchmarks.quality.counterfactuals        # half an hour on a quiet machine

Models are fitted on 5,000 rows, which every contestant gets. Four counterfactuals are
asked for each of 334 further rows (``--quick``: 5, and of dice-ml's genetic search,
which is slow, the first 20): the other class, or a number half to one standard
deviation above the prediction (below, if it is above the median). ``found``: rows with
any result. Of results: ``valid``: the model predicts them as asked from a table with
the types of the data, ``changes``: changed columns, ``distance``: in median absolute
deviations (where these are 0: mean ones), and 1 for another category, ``to data``: the
same to the nearest of the 5,000 rows with that prediction. ``ways``: how many different
sets of columns the results of a row change. ``seconds``: of one processor, for a row,
on which the contestants take turns.
"""

from __future__ import annotations

import time
import warnings
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

import permgrad as pg
from benchmarks._results import markdown_table, parser, record

SETS = {"heloc": "classification", "bank": "classification", "puma": "regression"}
MODELS = ("LightGBM", "network", "pipeline")
TRAINING, COUNT = 5000, 4
ROWS, GENETIC = 334, 20


def fitted(name: str, X: pd.DataFrame, y: Any, *, classes: bool) -> Any:
    """Return a fitted model."""
    from lightgbm import LGBMClassifier, LGBMRegressor

    if name == "network":
        return (pg.HyNNClassifier if classes else pg.HyNNRegressor)(
            preset="fast", random_state=0
        ).fit(X, y)
    texts = make_column_selector(dtype_exclude="number")
    if name == "LightGBM":
        encode = (
            OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
            texts,
        )
        first = make_column_transformer(
            encode, remainder="passthrough", verbose_feature_names_out=False
        )
        last = (LGBMClassifier if classes else LGBMRegressor)(
            verbosity=-1, random_state=0
        )
        return make_pipeline(first.set_output(transform="pandas"), last).fit(X, y)
    first = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), texts), remainder=StandardScaler()
    )
    return make_pipeline(
        first, LogisticRegression(max_iter=500) if classes else Ridge()
    ).fit(X, y)


class Typed:
    """A model that first gives rows the types of the data, and numbers its classes:
    dice-ml changes both.
    """

    def __init__(self, model: Any, X: pd.DataFrame) -> None:
        self.model, self.like = model, X[:0]

    def predict_proba(self, rows: pd.DataFrame) -> Any:
        return self.model.predict_proba(
            rows[self.like.columns].astype(self.like.dtypes)
        )

    def predict(self, rows: pd.DataFrame) -> Any:
        if hasattr(self.model, "predict_proba"):
            return self.predict_proba(rows).argmax(axis=1)
        return self.model.predict(rows[self.like.columns].astype(self.like.dtypes))


def meets(predicted: Any, want: Any) -> Any:
    """Return which predictions are wanted: a class's number, or a range."""
    return (
        predicted == want
        if isinstance(want, int)
        else (predicted >= want[0]) & (predicted <= want[1])
    )


def distances(X: pd.DataFrame, rows: pd.DataFrame, others: pd.DataFrame) -> Any:
    """Return distances in each column, ``(rows, others, columns)``."""
    columns = []
    for name in X:
        one, other = rows[name].to_numpy()[:, None], others[name].to_numpy()
        if pd.api.types.is_numeric_dtype(X[name]):
            apart = (X[name] - X[name].median()).abs()
            columns.append(np.abs(one - other) / (apart.median() or apart.mean()))
        else:
            columns.append((one.astype(str) != other.astype(str)).astype(float))
    return np.stack(columns, axis=2)


def contestants(
    model: Any, typed: Typed, X: pd.DataFrame, y: Any, *, classes: bool
) -> dict[str, Any]:
    """Return what finds rows for a row and what is wanted."""
    import dice_ml

    def ours(row: pd.DataFrame, want: Any) -> pd.DataFrame:
        asked = model.classes_[want] if classes else want
        return pg.counterfactuals(model, row, X, want=asked, count=COUNT).rows

    def nearest(row: pd.DataFrame, want: Any) -> pd.DataFrame:
        reached = X[meets(typed.predict(X), want)]
        return reached.iloc[
            np.argsort(distances(X, row, reached).sum(axis=2)[0], kind="stable")[:COUNT]
        ]

    def dice(method: str, row: pd.DataFrame, want: Any) -> pd.DataFrame | None:
        options = {"desired_class": want} if classes else {"desired_range": list(want)}
        options |= {"random_seed": 0} if method == "random" else {}
        try:
            found = explainers[method].generate_counterfactuals(
                row, total_CFs=COUNT, verbose=False, **options
            )
        except Exception:  # noqa: BLE001 — how dice-ml says that there are none
            return None
        return found.cf_examples_list[0].final_cfs_df

    numbers, y = (
        list(X.select_dtypes("number").columns),
        pd.factorize(y, sort=True)[0] if classes else y,
    )
    data = dice_ml.Data(
        dataframe=X.assign(_y=y), continuous_features=numbers, outcome_name="_y"
    )
    asked = dice_ml.Model(
        model=typed,
        backend="sklearn",
        model_type="classifier" if classes else "regressor",
    )
    explainers = {
        method: dice_ml.Dice(data, asked, method=method)
        for method in ("random", "genetic")
    }
    theirs = {f"dice-ml {method}": partial(dice, method) for method in explainers}
    return {"permgrad": ours, **theirs, "nearest rows": nearest}


def measure(name: str, kind: str, rows: int) -> list[dict[str, Any]]:
    """Return a line for each contestant on a set and a model."""
    data, classes, lines = pg.load_dataset(name), SETS[name] == "classification", []
    order = np.random.default_rng(0).permutation(len(data.X))[: TRAINING + rows]
    X, y = (
        data.X.iloc[order].reset_index(drop=True),
        data.y.iloc[order].reset_index(drop=True),
    )
    X, y, tests = X[:TRAINING], y[:TRAINING], X[TRAINING:]
    model = fitted(kind, X, y, classes=classes)
    typed = Typed(model, X)
    predicted, own = typed.predict(X), typed.predict(tests)
    up = np.where(own < np.median(predicted), 0.5, -0.5) * predicted.std()
    ranges = np.sort([own + up, own + 2 * up], axis=0).T.tolist()
    wanted = [1 - int(one) for one in own] if classes else ranges
    finds = contestants(model, typed, X, y, classes=classes)
    seconds, results = (
        dict.fromkeys(finds, 0.0),
        {contestant: list[Any]() for contestant in finds},
    )
    for find in finds.values():
        find(tests[:1], wanted[0])  # imports what it needs
    for k, want in enumerate(
        wanted
    ):  # row by row, so that a busy machine slows all of them
        for contestant, find in finds.items():
            if k < GENETIC or contestant != "dice-ml genetic":
                start = time.process_time()
                results[contestant].append(find(tests[k : k + 1], want))
                seconds[contestant] += time.process_time() - start
    for contestant, found in results.items():
        each, ways = list[Any](), list[int]()
        for k, result in enumerate(found):
            if result is not None and len(result):
                apart = distances(X, result[X.columns], tests[k : k + 1])[:, 0]
                near = (
                    distances(X, result, X[meets(predicted, wanted[k])])
                    .sum(axis=2)
                    .min(axis=1, initial=np.inf)
                )
                valid = meets(typed.predict(result), wanted[k])
                each.append(
                    np.column_stack(
                        [valid, (apart > 0).sum(axis=1), apart.sum(axis=1), near]
                    )
                )
                ways.append(len(np.unique(apart > 0, axis=0)))
        means = np.concatenate(each).mean(axis=0).tolist()
        seconds[contestant] /= len(found)
        lines.append(
            {"set": name, "model": kind, "contestant": contestant, "rows": len(found)}
        )
        lines[-1] |= {"found": len(each) / len(found)}
        lines[-1] |= dict(
            zip(("valid", "changes", "distance", "to data"), means, strict=True)
        )
        lines[-1] |= {
            "ways": float(np.mean(ways)),
            "seconds": seconds[contestant],
            "results": sum(map(len, each)),
        }
    return lines


def main() -> int:
    """Measure, and write the record, which is there after each model."""
    arguments, lines = parser(__doc__).parse_args(), list[dict[str, Any]]()
    warnings.filterwarnings("ignore")
    title = "Counterfactuals beside dice-ml and the nearest rows"
    for kind in MODELS:
        for name in SETS:
            lines += measure(name, kind, 5 if arguments.quick else ROWS)
            record(
                arguments,
                title,
                markdown_table(lines),
                lines,
                passed=None,
                seeds=0,
                name="counterfactuals",
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
