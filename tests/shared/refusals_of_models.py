"""One entry for each refusal of any other model: one that meets it, and the remedy of
its message, typed.
"""

from __future__ import annotations

from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from refusals import Refusal
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import make_scorer, precision_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline

import permgrad as pg
from permgrad.evaluation.baselines.fitting import fit_baseline, fit_estimator
from permgrad.imaging.foreign import ForeignRenderer
from permgrad.models.libraries.job import Rows

SUBJECT = "attribution/subject/"
RNG = np.random.default_rng(0)
ROWS = 120
X = pd.DataFrame({"age": RNG.normal(size=ROWS), "power": RNG.normal(size=ROWS)})
Y = X["age"].to_numpy() + 0.1 * RNG.normal(size=ROWS)
LABELS = np.where(Y > 0, "yes", "no")
HOLES = X.mask(X > 1.5)
IMAGES = RNG.normal(size=(9, 1, 4, 4))
MEANS = X.mean()
LINE = LinearRegression().fit(X, Y)
LOGISTIC = LogisticRegression().fit(X, LABELS)
FORESTS = RandomForestClassifier(n_estimators=3, random_state=0).fit(
    X, np.stack([RNG.integers(0, 3, ROWS), RNG.integers(0, 3, ROWS)], 1)
)
FILLED = make_pipeline(SimpleImputer(), LinearRegression())
LINEAR = [LogisticRegression(), LinearDiscriminantAnalysis()]
REFITS: dict[str, Any] = {"refits": 6, "n_repeats": 2, "progress": False}


def explained(
    model: Any, table: Any = X, y: Any = None, **options: Any
) -> Callable[[], Any]:
    options = {"method": "permutation", "progress": False, **options}
    return lambda: pg.explain(model, table, y, **options)


class ByPlace:
    """Was fitted on columns whose names it does not look at."""

    feature_names_in_ = np.array(["age", "power"])

    def fit(self, table: Any, y: Any) -> ByPlace:
        return self

    def predict(self, table: Any) -> Any:
        return np.asarray(table) @ [2.0, 1.0]


def without_holes(table: pd.DataFrame) -> Any:
    return LINE.predict(table.dropna())


def at_most_30(table: pd.DataFrame) -> Any:
    return LINE.predict(table.iloc[:30])


def sorted_rows(table: pd.DataFrame) -> pd.DataFrame:
    numbered_table = table.assign(number=LINE.predict(table))
    return numbered_table.sort_values("age", ignore_index=True)[["age", "number"]]


class Sorting:
    """A service that answers in the order of a column."""

    def predict(self, table: pd.DataFrame) -> pd.DataFrame:
        return sorted_rows(table)


MODEL = Sorting()


def wide(table: pd.DataFrame) -> Any:
    """Return as many numbers as there are rows in half of the calls."""
    width = 2 if len(table) > 60 else 3
    return np.ones((len(table), width)) * np.asarray(table)[:, :1]


def levelled(table: pd.DataFrame) -> Any:
    return LINE.predict(table - table.mean())


class Busy:
    """A service that does not answer its third call, nor any later one until it
    rests.
    """

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, table: pd.DataFrame) -> Any:
        self.calls += 1
        if self.calls > 3:
            raise TimeoutError("no answer")
        return LINE.predict(table)


def asked_again() -> Any:
    """Ask through a function that tries again, with the answers kept in a folder."""
    service = Busy()

    def patient(table: pd.DataFrame) -> Any:
        try:
            return service(table)
        except TimeoutError:
            service.calls = 0
            return service(table)

    with TemporaryDirectory() as folder:
        return explained(pg.Model(patient, cache=folder))()


def words(table: pd.DataFrame) -> Any:
    return LOGISTIC.predict(table).astype(object) + np.array("!", dtype=object)


def refits(estimator: Any, table: Any) -> Callable[[], Any]:
    return lambda: pg.explain_refits(estimator, table, Y, **REFITS)


def scored(scoring: Any) -> Callable[[], Any]:
    return lambda: pg.explain(
        LOGISTIC, X, LABELS, method="permutation", scoring=scoring, progress=False
    )


def boosted(**options: Any) -> Callable[[], Any]:
    def fit() -> Any:
        pytest.importorskip("lightgbm")
        rows = Rows(X.to_numpy(np.float32), LABELS)
        return fit_baseline("lightgbm", "classification", rows, options=options)

    return fit


AVERAGED = {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}


def effect(model: Any) -> Callable[[], Any]:
    def draw() -> Any:
        method = pg.methods.PermGrad(order=2)
        pairs = pg.explain(LINE, X, Y, method=method, progress=False)
        return pairs.plot.interactions(
            "effect", pair=("age", "power"), model=model, X=X
        )

    return draw


def drawn(images: Any) -> Callable[[], Any]:
    return lambda: ForeignRenderer(images)(torch.ones(2, 4))


def square(rows: Any) -> Any:
    return rows.reshape(-1, 1, 2, 2)


def compared(models: Any, table: Any) -> Callable[[], Any]:
    return lambda: pg.compare(
        models, table, LABELS, cv=2, explain=False, progress=False
    )


RETURNED = (
    "The predictor must return one row of numbers for each of the … rows, got "
    "the shape …"
)
OF_MODELS = (
    Refusal(
        "attribution/explain_refits.py",
        "… cannot be fitted on … of the … rows: …",
        refits(Ridge(), HOLES),
        "pass a pipeline that does",
        refits(make_pipeline(SimpleImputer(), Ridge()), HOLES),
    ),
    Refusal(
        "attribution/replace/scoring.py",
        "Scorer … raised …: …",
        scored("precision"),
        "'f1_macro'",
        scored("f1_macro"),
    ),
    Refusal(
        "attribution/replace/scoring.py",
        "Scorer … raised …: …",
        scored("recall"),
        "make_scorer(…, pos_label='yes') of sklearn.metrics",
        scored(make_scorer(precision_score, pos_label="yes")),
    ),
    Refusal(
        f"{SUBJECT}functions.py",
        "What the function returns",
        explained(lambda images: ["cat"] * len(images), IMAGES),
        "Return a tensor or an array of numbers, a row for each row",
        explained(lambda images: images.sum((1, 2, 3)), IMAGES),
    ),
    Refusal(
        f"{SUBJECT}predictor.py",
        "The model reads columns by their places, and … stands where … stood in fit",
        explained(ByPlace(), X[["power", "age"]], Y),
        "Pass the columns in the order of fit: 'age', 'power'",
        explained(ByPlace(), X[["age", "power"]], Y),
    ),
    Refusal(
        f"{SUBJECT}predictor.py",
        "Your model …: ……",
        explained(LINE, HOLES, Y),
        "pass a pipeline that does",
        explained(FILLED.fit(HOLES, Y), HOLES, Y),
    ),
    Refusal(
        f"{SUBJECT}predictor.py",
        "Your model …: ……",
        explained(LINE, X.assign(noise=1.0), Y),
        "It was fitted on the columns 'age', 'power', in this order",
        explained(LINE, X.assign(noise=1.0)[["age", "power"]], Y),
    ),
    Refusal(
        f"{SUBJECT}predictor.py",
        "Your model …: ……",
        explained(Busy()),
        "Pass a function that tries again, and pg.Model(..., cache='answers')",
        asked_again,
    ),
    Refusal(
        f"{SUBJECT}soundness.py",
        "A row's output must depend on that row alone, but the other rows of the batch "
        "change it (by …, where outputs range over …)",
        explained(levelled),
        "compute it when the predictor is fitted",
        explained(lambda table: LINE.predict(table - MEANS)),
    ),
    Refusal(
        f"{SUBJECT}predictor.py",
        "The predictor returned the probabilities of … targets, each with its own "
        "classes",
        explained(FORESTS.predict_proba),
        "lambda table: model.predict_proba(table)[0]",
        explained(lambda table: FORESTS.predict_proba(table)[0]),
    ),
    Refusal(
        f"{SUBJECT}predictor.py",
        "The predictor returned … numbers per row after … before",
        explained(wide, method="shapley"),
        "Return as many numbers for every table",
        explained(lambda table: np.asarray(table)[:, :1], method="shapley"),
        reason="how many numbers come back is in the user's function",
    ),
    Refusal(
        f"{SUBJECT}predictor.py",
        "What the predictor returns",
        explained(words),
        "Pass its predict_proba",
        explained(LOGISTIC.predict_proba),
    ),
    Refusal(
        f"{SUBJECT}returned.py",
        RETURNED,
        explained(lambda table: np.float64(1.5)),
        "Return (rows,) or (rows, outputs)",
        explained(LINE.predict),
    ),
    Refusal(
        f"{SUBJECT}returned.py",
        RETURNED,
        explained(without_holes, HOLES),
        "fill them, so that every row has its prediction",
        explained(lambda table: LINE.predict(table.fillna(0)), HOLES),
    ),
    Refusal(
        f"{SUBJECT}returned.py",
        RETURNED,
        explained(at_most_30),
        "pg.Model(..., batch_size=30)",
        explained(pg.Model(at_most_30, batch_size=30)),
    ),
    Refusal(
        f"{SUBJECT}returned.py",
        "The predictor returned its rows in another order than the table: … is sorted",
        explained(sorted_rows),
        "lambda table: "
        "model.predict(table).drop_duplicates('age').set_index('age').loc[table['age']]",
        explained(
            lambda table: (
                MODEL.predict(table)
                .drop_duplicates("age")
                .set_index("age")
                .loc[table["age"]]
            )
        ),
    ),
    Refusal(
        "evaluation/baselines/fitting.py",
        "… cannot be fitted: …",
        lambda: fit_estimator(Ridge(), "ridge", HOLES, Y),
        "put what encodes texts and missing cells into a pipeline",
        lambda: fit_estimator(
            make_pipeline(SimpleImputer(), Ridge()), "ridge", HOLES, Y
        ),
    ),
    Refusal(
        "evaluation/baselines/fitting.py",
        "… cannot be fitted: …",
        lambda: fit_estimator(KNeighborsRegressor(), "knn", X, Y, np.ones(ROWS)),
        "Leave the weights out",
        lambda: fit_estimator(KNeighborsRegressor(), "knn", X, Y),
    ),
    Refusal(
        "imaging/foreign.py",
        "The foreign image method failed on … rows with …",
        drawn(lambda rows: rows.reshape(-1, 1, 3, 3)),
        "Try it on the same rows outside permgrad",
        drawn(square),
        reason="what fails is the user's method, outside permgrad as well",
    ),
    Refusal(
        "imaging/foreign.py",
        "Foreign pictures must be numbers of one shape: …",
        drawn(lambda rows: [np.zeros((2, 2)), np.zeros((3, 3))]),
        "Return one array for all rows",
        drawn(lambda rows: np.stack([square(row)[0] for row in rows])),
    ),
    Refusal(
        "models/libraries/boosted.py",
        "A model of … with these settings predicts something else than the sum of its "
        "trees",
        boosted(sigmoid=3.0),
        "Leave out the settings that change what its trees are",
        boosted(),
    ),
    Refusal(
        "models/libraries/boosted.py",
        "A model of … with these settings cannot be read as trees: …",
        boosted(**AVERAGED),
        "Leave out the settings that change what its trees are",
        boosted(),
    ),
    Refusal(
        "pages/plots/interactions.py",
        "The model cannot predict rows of X: …",
        effect(lambda table: 1 / 0),
        "Pass the model that was explained, and its table",
        effect(LINE),
    ),
    Refusal(
        "runs/compare/compare.py",
        "All … models failed on every fold, the first (…) with: …",
        compared(LINEAR, HOLES),
        "Correct the table or the options, or choose other models",
        compared(LINEAR, X),
    ),
)
