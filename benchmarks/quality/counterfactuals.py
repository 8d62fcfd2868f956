"""Counterfactuals beside dice-ml and the nearest rows of the other outcome: HELOC, bank and puma, three models.

    pip install --no-deps dice-ml raiutils              # not in any extra
    python -m benchmarks.quality.counterfactuals        # 100 rows of each: about an hour on one busy core
    python -m benchmarks.quality.counterfactuals --sets heloc --models pipeline --rows 20

Models are fitted on 5,000 rows, which every contestant gets. Four counterfactuals are asked for each of further rows:
the other class, or a number half to one standard deviation above the prediction (below, if the prediction is above the
median). All are predicted again from a table with the types of the data. ``found``: rows with any result, ``valid``: of
the results, those that the model predicts as asked, ``changes``: changed columns, ``distance``: in median absolute
deviations (where these are 0: mean ones), and 1 for another category, ``to data``: the same to the nearest of the 5,000
rows with that prediction, ``seconds``: of one processor, for a row. The first four are means over results.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from benchmarks._results import markdown_table, parser, record

SETS = {"heloc": "classification", "bank": "classification", "puma": "regression"}
MODELS = ("LightGBM", "network", "pipeline")
TRAINING, COUNT = 5000, 4


def fitted(name: str, X: pd.DataFrame, y: Any, task: str) -> Any:
    """Return a fitted model."""
    from lightgbm import LGBMClassifier, LGBMRegressor
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    import permgrad as pg

    classes, texts = task == "classification", make_column_selector(dtype_exclude="number")
    if name == "network":
        return (pg.HyNNClassifier if classes else pg.HyNNRegressor)(preset="fast", random_state=0).fit(X, y)
    if name == "LightGBM":
        last = (LGBMClassifier if classes else LGBMRegressor)(n_estimators=100, verbosity=-1, random_state=0)
        encode = (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), texts)
        first = make_column_transformer(encode, remainder="passthrough", verbose_feature_names_out=False)
        return make_pipeline(first.set_output(transform="pandas"), last).fit(X, y)
    first = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), texts), remainder=StandardScaler())
    return make_pipeline(first, LogisticRegression(max_iter=500) if classes else Ridge()).fit(X, y)


class Typed:
    """A model that gives rows the types of the data first, and numbers classes: dice-ml changes both."""

    def __init__(self, model: Any, X: pd.DataFrame) -> None:
        self.model, self.columns, self.types = model, list(X.columns), X.dtypes.to_dict()

    def predict_proba(self, rows: pd.DataFrame) -> Any:
        return self.model.predict_proba(rows[self.columns].astype(self.types))

    def predict(self, rows: pd.DataFrame) -> Any:
        if hasattr(self.model, "predict_proba"):
            return self.predict_proba(rows).argmax(axis=1)
        return self.model.predict(rows[self.columns].astype(self.types))


Contestant = Callable[[pd.DataFrame, Any], "pd.DataFrame | None"]


def contestants(model: Any, typed: Typed, X: pd.DataFrame, outcome: Any, task: str) -> dict[str, Contestant]:
    """Return what finds rows for a row and a wanted outcome: a class number, or a range."""
    import dice_ml

    import permgrad as pg

    def ours(row: pd.DataFrame, want: Any) -> pd.DataFrame:
        asked = model.classes_[want] if task == "classification" else want
        return pg.counterfactuals(model, row, X, want=asked, count=COUNT, random_state=0).rows

    def nearest(row: pd.DataFrame, want: Any) -> pd.DataFrame:
        reached = np.flatnonzero(meets(typed.predict(X), want))
        return X.iloc[reached[np.argsort(Distances(X)(row, X.iloc[reached])[0], kind="stable")[:COUNT]]]

    def dice(method: str, row: pd.DataFrame, want: Any) -> pd.DataFrame | None:
        kind = {"desired_class": want} if task == "classification" else {"desired_range": list(want)}
        more = {"random_seed": 0} if method == "random" else {}
        try:
            found = explainers[method].generate_counterfactuals(row, total_CFs=COUNT, verbose=False, **kind, **more)
        except Exception:  # how dice-ml says that there are none
            return None
        rows = found.cf_examples_list[0].final_cfs_df
        return None if rows is None else rows[list(X.columns)]

    numbers = list(X.select_dtypes("number").columns)
    frame = dice_ml.Data(dataframe=X.assign(_y=outcome), continuous_features=numbers, outcome_name="_y")
    kind = "classifier" if task == "classification" else "regressor"
    explainers = {
        method: dice_ml.Dice(frame, dice_ml.Model(model=typed, backend="sklearn", model_type=kind), method=method)
        for method in ("random", "genetic")
    }
    return {
        "permgrad": ours,
        "dice-ml random": partial(dice, "random"),
        "dice-ml genetic": partial(dice, "genetic"),
        "nearest rows": nearest,
    }


def meets(predicted: Any, want: Any) -> Any:
    """Return which predictions are wanted."""
    return predicted == want if isinstance(want, int) else (predicted >= want[0]) & (predicted <= want[1])


class Distances:
    """Distances of rows, as the module's text has them."""

    def __init__(self, X: pd.DataFrame) -> None:
        self.units = {}
        for name in X.select_dtypes("number"):
            apart = (X[name] - X[name].median()).abs()
            self.units[name] = apart.median() or apart.mean()

    def __call__(self, rows: pd.DataFrame, others: pd.DataFrame) -> Any:
        total = np.zeros((len(rows), len(others)))
        for name in others:
            one, other = rows[name].to_numpy()[:, None], others[name].to_numpy()
            known = name in self.units
            total += np.abs(one - other) / self.units[name] if known else one.astype(str) != other.astype(str)
        return total


def measure(name: str, kind: str, rows: int) -> list[dict[str, Any]]:
    """Return a line for each contestant on a set and a model."""
    import permgrad as pg

    data, task = pg.load_dataset(name), SETS[name]
    order = np.random.default_rng(0).permutation(len(data.X))[: TRAINING + rows]
    X, y = data.X.iloc[order].reset_index(drop=True), data.y.iloc[order].reset_index(drop=True)
    X, y, tests = X[:TRAINING], y[:TRAINING], X[TRAINING:]
    model = fitted(kind, X, y, task)
    typed, distances = Typed(model, X), Distances(X)
    predicted, own = typed.predict(X), typed.predict(tests)
    half = predicted.std() / 2
    ups = np.where(own < np.median(predicted), 1, -1) * half
    wanted: list[Any] = [1 - int(one) for one in own]
    if task == "regression":
        wanted = [tuple(sorted((one + up, one + 2 * up))) for one, up in zip(own.tolist(), ups.tolist(), strict=True)]
    outcome = pd.factorize(y, sort=True)[0] if task == "classification" else y
    lines = []
    for contestant, find in contestants(model, typed, X, outcome, task).items():
        start, found = time.process_time(), [find(tests[k : k + 1], want) for k, want in enumerate(wanted)]
        seconds, parts = (time.process_time() - start) / rows, []
        for k, (want, result) in enumerate(zip(wanted, found, strict=True)):
            if result is not None and len(result):
                apart = np.stack([distances(result[[c]], tests[k : k + 1][[c]])[:, 0] for c in X], axis=1)
                near = distances(result, X[meets(predicted, want)]).min(axis=1, initial=np.inf)
                parts.append(np.column_stack([meets(typed.predict(result), want), apart > 0, apart, near]))
        each, width = np.concatenate(parts), X.shape[1]
        valid, changed, apart, near = each[:, 0], each[:, 1 : 1 + width], each[:, 1 + width : -1], each[:, -1]
        means = {"valid": valid.mean(), "changes": changed.sum(axis=1).mean(), "distance": apart.sum(axis=1).mean()}
        means = {key: float(value) for key, value in (means | {"to data": near.mean()}).items()}
        lines.append({"set": name, "model": kind, "contestant": contestant, "rows": rows, "found": len(parts) / rows})
        lines[-1] |= {"results": len(each), **means, "seconds": seconds}
        print(lines[-1], flush=True)
    return lines


def main() -> int:
    """Measure, and write the record."""
    options = parser(__doc__)
    options.add_argument("--sets", nargs="*", default=list(SETS), choices=SETS)
    options.add_argument("--models", nargs="*", default=list(MODELS), choices=MODELS)
    options.add_argument("--rows", type=int, default=100)
    arguments = options.parse_args()
    warnings.filterwarnings("ignore")
    lines = [
        line for name in arguments.sets for kind in arguments.models for line in measure(name, kind, arguments.rows)
    ]
    title = "Counterfactuals beside dice-ml and the nearest rows"
    return record(arguments, title, markdown_table(lines), lines, passed=None, seeds=0, name="counterfactuals")


if __name__ == "__main__":
    raise SystemExit(main())
