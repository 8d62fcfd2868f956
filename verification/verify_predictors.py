"""Predictors of many libraries on real tables, against slow loops over the user's own
frame. (Issue 28, check 1.)

    OMP_NUM_THREADS=1 PERMGRAD_DATA=… python -m verification.verify_predictors

Three tables of eight columns with categories and missing values. For each predictor:

- effects on the loss of ``permgrad`` against a loop that edits the frame with pandas,
  200 rows, 2 repeats;
- Shapley values of the probability against all 256 coalitions written out, 2 rows, 5
  background rows;
- LightGBM's Shapley values of the raw score against interventional TreeSHAP of
  ``shap``, numeric columns of HELOC.

Libraries whose pins disagree need environments of their own: what is not installed
keeps the numbers of its last run.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from benchmarks._results import RESULTS, data_folder, markdown_table, parser, record
from tests.shared.explaining import explain_with

import permgrad as pg
from permgrad.attribution.replace.donors import Lenders

Floats = np.ndarray[Any, np.dtype[np.float64]]
ROWS, TRAINED, REPEATS, SEED = 200, 1000, 2, 3
EXACT, TREE_SHAP = 1e-9, 1e-6
#: Networks in float32: the last digits of a matrix product depend on how many rows go
#: in together.
ROUNDED = {"pytorch-tabular": 1e-6}
COLUMNS = {
    "bank": ("y", "yes", ["job", "education", "contact", "poutcome"], ["age", "balance", "duration", "campaign"]),
    "heloc": (
        "RiskPerformance",
        "Bad",
        ["MaxDelqEver", "MaxDelq2PublicRecLast12M"],
        [
            "ExternalRiskEstimate", "MSinceMostRecentDelq", "AverageMInFile", "NumSatisfactoryTrades",
            "NetFractionRevolvingBurden", "PercentTradesWBalance",
        ],
    ),
    "dengue": (
        "CLASSI_FIN",
        "DENGUE",
        ["CS_SEXO", "CS_GESTANT", "CS_RACA", "FEBRE", "ARTRALGIA", "LACO"],
        ["NU_IDADE_N", "DIAS"],
    ),
}  # fmt: skip


def read(name: str, folder: Path) -> tuple[pd.DataFrame, Any]:
    """Return a table with categories and missing cells, and its target as 0 and 1."""
    target, positive, categories, numbers = COLUMNS[name]
    frame = pd.read_csv(folder / {"bank": "bank-full.csv"}.get(name, f"{name}.csv"))
    frame = frame.sample(TRAINED + ROWS, random_state=0).reset_index(drop=True)
    y = (frame[target] == positive).to_numpy().astype(int)
    frame = frame[[*categories, *numbers]]
    if name == "heloc":
        frame = frame.mask(frame.isin([-9, -8, -7]))
    for column in categories:
        cells = frame[column].where(frame[column] != "unknown")
        missing = cells.isna() | (np.arange(len(cells)) % 29 == 0)
        frame[column] = pd.Categorical(cells.astype(str).mask(missing))
    for place, column in enumerate(numbers):
        frame[column] = (
            frame[column].astype(float).mask(np.arange(len(frame)) % 31 == place)
        )
    assert frame.isna().any().all()
    return frame, y


# ---- predictors ----------------------------------------------------------------------

#: A predictor, and what gives the probability of the second class (or labels) for a
#: frame.
Made = tuple[Any, Callable[[pd.DataFrame], Any]]
_SMALL = {"n_estimators": 20, "random_state": 0, "n_jobs": 1}


def _pipeline(final: Any) -> Callable[[pd.DataFrame, Any], Made]:
    def make(X: pd.DataFrame, y: Any) -> Made:
        from sklearn.compose import make_column_selector, make_column_transformer
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        encode = make_column_transformer(
            (
                OneHotEncoder(handle_unknown="ignore", sparse_output=False),
                make_column_selector(dtype_include="category"),
            ),
            (
                make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()),
                make_column_selector(dtype_include="number"),
            ),
        )
        model = make_pipeline(encode, final()).fit(X, y)
        return model, model.predict_proba if hasattr(
            model, "predict_proba"
        ) else model.predict

    return make


def _sklearn(name: str) -> Callable[[], Any]:
    def make() -> Any:
        from sklearn import ensemble, linear_model, neighbors, svm

        forest = {"n_estimators": 20, "random_state": 0}
        return {
            "logistic regression": lambda: linear_model.LogisticRegression(
                max_iter=1000
            ),
            "random forest": lambda: ensemble.RandomForestClassifier(**forest),
            "extra trees": lambda: ensemble.ExtraTreesClassifier(**forest),
            "LinearSVC": lambda: svm.LinearSVC(random_state=0),
            "nearest neighbours": lambda: neighbors.KNeighborsClassifier(15),
        }[name]()

    return make


def _hist(X: pd.DataFrame, y: Any) -> Made:
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=20, random_state=0, categorical_features="from_dtype"
    ).fit(X, y)
    return model, model.predict_proba


def _lightgbm(X: pd.DataFrame, y: Any) -> Made:
    import lightgbm

    model = lightgbm.LGBMClassifier(verbose=-1, **_SMALL).fit(X, y)
    return model, model.predict_proba


def _lightgbm_booster(X: pd.DataFrame, y: Any) -> Made:
    import lightgbm

    model = lightgbm.train(
        {"objective": "binary", "verbose": -1, "num_threads": 1},
        lightgbm.Dataset(X, y),
        20,
    )
    return model, model.predict


def _xgboost(X: pd.DataFrame, y: Any) -> Made:
    import xgboost

    model = xgboost.XGBClassifier(enable_categorical=True, max_depth=4, **_SMALL).fit(
        X, y
    )
    return model, model.predict_proba


def _xgboost_booster(X: pd.DataFrame, y: Any) -> Made:
    import xgboost

    wrap = lambda frame, label=None: xgboost.DMatrix(  # noqa: E731
        frame, label, enable_categorical=True
    )
    model = xgboost.train(
        {"objective": "binary:logistic", "max_depth": 4, "nthread": 1}, wrap(X, y), 20
    )
    return model, lambda frame: model.predict(wrap(frame))


def _catboost(X: pd.DataFrame, y: Any) -> Made:
    import catboost

    categories = list(X.select_dtypes("category"))
    model = catboost.CatBoostClassifier(
        iterations=20,
        verbose=False,
        allow_writing_files=False,
        thread_count=1,
        cat_features=categories,
        random_seed=0,
    ).fit(X, y)
    return model, model.predict_proba


def _skorch(X: pd.DataFrame, y: Any) -> Made:
    import skorch
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers = (
                torch.nn.LazyLinear(16, dtype=torch.float64),
                torch.nn.ReLU(),
                torch.nn.Linear(16, 2).double(),
            )
            self.body = torch.nn.Sequential(*layers)

        def forward(self, X: Any) -> Any:
            return self.body(X)

    torch.manual_seed(0)
    net = skorch.NeuralNetClassifier(
        Net, criterion=torch.nn.CrossEntropyLoss, max_epochs=5, verbose=0, lr=0.1
    )
    return _pipeline(lambda: net)(X, y)


def _callable(X: pd.DataFrame, y: Any) -> Made:
    model, probabilities = _hist(X, y)

    def risk(frame: pd.DataFrame) -> Any:
        return model.predict_proba(frame)[:, 1].tolist()

    return risk, probabilities


def _autogluon(X: pd.DataFrame, y: Any) -> Made:
    from autogluon.tabular import TabularPredictor

    folder = tempfile.mkdtemp()
    model = TabularPredictor("target", path=folder, verbosity=0, problem_type="binary")
    kinds = {"RF": {"n_estimators": 20}}
    model.fit(X.assign(target=y), hyperparameters=kinds, num_cpus=1)
    return model, lambda frame: model.predict_proba(frame).to_numpy()


def _pytorch_tabular(X: pd.DataFrame, y: Any) -> Made:
    from pytorch_tabular import TabularModel
    from pytorch_tabular.config import DataConfig, OptimizerConfig, TrainerConfig
    from pytorch_tabular.models import CategoryEmbeddingModelConfig

    categories = list(X.select_dtypes("category"))
    numbers = list(X.columns.drop(categories))
    model = TabularModel(
        data_config=DataConfig(
            target=["target"], categorical_cols=categories, continuous_cols=numbers, handle_missing_values=True
        ),
        model_config=CategoryEmbeddingModelConfig(task="classification", layers="16"),
        optimizer_config=OptimizerConfig(),
        trainer_config=TrainerConfig(
            max_epochs=2, accelerator="cpu", progress_bar="none", trainer_kwargs={"enable_model_summary": False},
            checkpoints=None, load_best=False, early_stopping=None,
        ),
        verbose=False,
    )  # fmt: skip
    model.fit(train=X.assign(target=y))
    return (
        model,
        lambda frame: model.predict(frame).filter(like="_probability").to_numpy(),
    )


def _filled(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table for libraries that take no missing numbers, or no missing
    categories.
    """
    filled = {}
    for name in frame:
        cells = frame[name]
        category = isinstance(cells.dtype, pd.CategoricalDtype)
        filled[name] = (
            cells.cat.add_categories("none").fillna("none")
            if category
            else cells.fillna(cells.median())
        )
    return pd.DataFrame(filled)


#: Name: library that must be there, and how it is made.
PREDICTORS: dict[str, tuple[str, Callable[[pd.DataFrame, Any], Made]]] = {
    **{
        name: ("sklearn", _pipeline(_sklearn(name)))
        for name in (
            "logistic regression",
            "random forest",
            "extra trees",
            "LinearSVC",
            "nearest neighbours",
        )
    },
    "HistGradientBoosting": ("sklearn", _hist),
    "LightGBM": ("lightgbm", _lightgbm),
    "LightGBM Booster": ("lightgbm", _lightgbm_booster),
    "XGBoost": ("xgboost", _xgboost),
    "XGBoost Booster": ("xgboost", _xgboost_booster),
    "CatBoost": ("catboost", _catboost),
    "skorch": ("skorch", _skorch),
    "function": ("sklearn", _callable),
    "AutoGluon": ("autogluon", _autogluon),
    "pytorch-tabular": ("pytorch_tabular", _pytorch_tabular),
}
FILLED = ("CatBoost", "pytorch-tabular")


# ---- slow twins ----------------------------------------------------------------------


def second(numbers: Any) -> Floats:
    """Return what is predicted for the second class."""
    values = np.asarray(numbers, dtype=np.float64)
    return values[:, 1] if values.ndim == 2 else values


def losses(
    predict: Callable[[pd.DataFrame], Any], frame: pd.DataFrame, y: Any, loss: str
) -> Floats:
    """Return the loss of each row."""
    p = second(predict(frame))
    if loss == "zero_one":
        return np.asarray((p > 0.5) != (y == 1), dtype=np.float64)
    p = p.clip(np.finfo(float).eps, 1 - np.finfo(float).eps)
    return -np.where(y == 1, np.log(p), np.log1p(-p))


def effects(
    predict: Callable[[pd.DataFrame], Any], frame: pd.DataFrame, y: Any, loss: str
) -> Floats:
    """Return the mean effect of each column, by a loop over the frame,
    ``(columns,)``.
    """
    before, found = losses(predict, frame, y, loss), []
    for name in frame:
        each = []
        for repeat in range(REPEATS):
            donors = Lenders(len(frame), True).draw(
                SEED, str(name), repeat, np.arange(len(frame))
            )
            edited = frame.copy()
            edited[name] = frame[name].take(donors).reset_index(drop=True)
            each.append(losses(predict, edited, y, loss) - before)
        found.append(np.mean(each))
    return np.array(found)


def enumerated(
    predict: Callable[[pd.DataFrame], Any],
    row: pd.DataFrame,
    background: pd.DataFrame,
    change: Any = second,
) -> Floats:
    """Return Shapley values of one row's prediction from all coalitions,
    ``(columns,)``.
    """
    names, count = list(row.columns), len(row.columns)
    coalitions = [
        set(chosen)
        for size in range(count + 1)
        for chosen in combinations(range(count), size)
    ]
    frames = []
    for members in coalitions:
        edited = background.copy()
        for place in members:
            edited[names[place]] = (
                row[names[place]].take([0] * len(background)).reset_index(drop=True)
            )
        frames.append(edited)
    values = (
        change(predict(pd.concat(frames, ignore_index=True)))
        .reshape(len(coalitions), -1)
        .mean(axis=1)
    )
    worth = {
        frozenset(members): value
        for members, value in zip(coalitions, values, strict=True)
    }
    shapley = np.zeros(count)
    for place in range(count):
        for members in coalitions:
            if place not in members:
                weight = 1 / (count * comb(count - 1, len(members)))
                shapley[place] += weight * (
                    worth[frozenset(members | {place})] - worth[frozenset(members)]
                )
    return shapley


# ---- checks --------------------------------------------------------------------------


def check(name: str, table: str, frame: pd.DataFrame, y: Any) -> dict[str, Any]:
    """Compare one predictor's explanations of one table with the slow twins."""
    frame = _filled(frame) if name in FILLED else frame
    model, predict = PREDICTORS[name][1](frame[:TRAINED], y[:TRAINED])
    rows, truth = frame[TRAINED:].reset_index(drop=True), y[TRAINED:]
    before = rows.copy(deep=True)
    asked: dict[str, Any] = {"random_state": SEED, "progress": False}
    loss = explain_with(model, rows, truth, n_repeats=REPEATS, batch_size=ROWS, **asked)
    by_loop = effects(predict, rows, truth, loss.meta["loss"])
    background = rows[50:55].reset_index(drop=True)
    order = np.argsort(second(predict(rows)), kind="stable")
    few = rows.take(order[[len(order) // 2, -1]]).reset_index(
        drop=True
    )  # one of which counts as the second class
    kinds = {} if hasattr(model, "classes_") else {"task": "classification"}
    local = explain_with(
        model,
        few,
        method="shapley",
        background=background,
        scale="probability",
        **kinds,
        **asked,
    )
    by_hand = np.stack(
        [enumerated(predict, few[at : at + 1], background) for at in range(len(few))]
    )
    pd.testing.assert_frame_equal(rows, before)
    floor = ROUNDED.get(name, EXACT)
    apart = (
        float(np.abs(loss.values[:, 0] - by_loop).max()),
        float(np.abs(local.values[:, :, -1] - by_hand).max()),
    )
    return {
        "predictor": name,
        "table": table,
        "loss": loss.meta["loss"],
        "largest effect": float(np.abs(by_loop).max()),
        "effects apart": apart[0],
        "largest Shapley value": float(np.abs(by_hand).max()),
        "Shapley apart": apart[1],
        "met": max(apart) <= floor
        and bool(np.abs(by_loop).max() > 0)
        and bool(np.abs(by_hand).max() > 0),
    }


def check_tree_shap(frame: pd.DataFrame, y: Any) -> dict[str, Any]:
    """Compare LightGBM's Shapley values of the raw score with interventional TreeSHAP
    on the same background.
    """
    import shap

    frame = frame.select_dtypes("number").fillna(0)
    model, _ = _lightgbm(frame[:TRAINED], y[:TRAINED])
    rows, background = frame[TRAINED : TRAINED + 20], frame[:50]
    ours = pg.explain(
        model,
        rows,
        background=background,
        method="shapley",
        scale="logit",
        random_state=0,
        progress=False,
    )
    tree = shap.TreeExplainer(
        model, background, feature_perturbation="interventional", model_output="raw"
    )
    theirs = np.asarray(tree.shap_values(rows, check_additivity=False))
    theirs = theirs[..., -1] if theirs.ndim == 3 else theirs
    apart = float(np.abs(ours.values[:, :, -1] - theirs).max())
    return {
        "largest value": float(np.abs(theirs).max()),
        "apart": apart,
        "met": apart <= TREE_SHAP,
    }


def measure(
    folder: Path, earlier: Mapping[str, Any], only: list[str] | None, tables: list[str]
) -> dict[str, Any]:
    """Return the rows of all predictors: new ones, and of libraries that are not here
    those of the last run.
    """
    results = {(row["predictor"], row["table"]): row for row in earlier.get("rows", [])}
    for table in tables:
        frame, y = read(table, folder)
        for name, (library, _) in PREDICTORS.items():
            if find_spec(library) is not None and (only is None or name in only):
                results[name, table] = row = check(name, table, frame, y)
                print(row, flush=True)
    trees = earlier.get("TreeSHAP")
    if find_spec("shap") and find_spec("lightgbm") and only is None:
        trees = check_tree_shap(*read("heloc", folder))
    ordered = [
        results[name, table]
        for name in PREDICTORS
        for table in COLUMNS
        if (name, table) in results
    ]
    return {"rows": ordered, "TreeSHAP": trees}


def main() -> int:
    options = parser(__doc__)
    options.add_argument(
        "--only", nargs="+", choices=list(PREDICTORS), help="these predictors alone"
    )
    arguments = options.parse_args()
    folder = data_folder()
    if folder is None:
        print(
            "PERMGRAD_DATA names no folder. Set it to a folder with the real tables.",
            file=sys.stderr,
        )
        return 2
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    path = RESULTS / "verify_predictors.json"
    earlier = json.loads(path.read_text())["results"] if path.is_file() else {}
    tables = list(COLUMNS)[: 1 if arguments.quick else None]
    found = measure(folder, earlier, arguments.only, tables)
    trees = found["TreeSHAP"] or {"met": False}
    text = (
        f"{len({row['predictor'] for row in found['rows']})} predictors, floors "
        f"{EXACT:g} "
        "(pytorch-tabular, a float32 network: "
        f"{ROUNDED['pytorch-tabular']:g}).\n\n{markdown_table(found['rows'])}\n\n"
        "LightGBM's raw score against interventional TreeSHAP of shap (20 rows, 50 "
        "background rows, floor "
        f"{TREE_SHAP:g}):\n\n{markdown_table([trees])}"
    )
    passed = all(row["met"] for row in found["rows"]) and trees["met"]
    return record(
        arguments,
        "Predictors on real tables against slow loops",
        text,
        found,
        passed=passed,
        seeds=[SEED],
    )


if __name__ == "__main__":
    sys.exit(main())
