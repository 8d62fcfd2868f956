"""What a model was trained for is asked of the trained model: its kind, its objective,
the levels of its quantiles.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from sklearn.base import RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
    StackingRegressor,
)
from sklearn.linear_model import (
    GammaRegressor,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    TweedieRegressor,
)
from sklearn.metrics import (
    log_loss,
    mean_absolute_error,
    mean_pinball_loss,
    mean_poisson_deviance,
)
from sklearn.model_selection import RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

import permgrad as pg
from permgrad import InputError
from permgrad.attribution.subject.calls import find_call
from permgrad.models.losses import losses

QUIET = {"n_repeats": 2, "random_state": 0, "progress": False}


def imported(name):
    return pytest.importorskip(name)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(7)
    X = pd.DataFrame(rng.normal(size=(200, 3)), columns=["u", "v", "w"])
    return X, np.exp(0.6 * X["u"] - 0.4 * X["v"]).to_numpy() + rng.gamma(1.0, 0.3, 200)


def fall(model, X, y, score, predict=None) -> np.ndarray:
    """Return how much worse a loss is with each column of row 150, by hand."""
    predict = predict or model.predict
    rows = X.iloc[:50]
    return np.array(
        [score(y[:50], predict(rows.assign(**{c: X[c].iloc[150]}))) for c in X]
    ) - score(y[:50], predict(rows))


def found(model, X, y, **more):
    return explain_with(
        model, X.iloc[:50], y[:50], background=X.iloc[[150]], **QUIET, **more
    )


def catboost(**more):
    return imported("catboost").CatBoostRegressor(
        iterations=15, verbose=0, allow_writing_files=False, **more
    )


def lightgbm(**more):
    return imported("lightgbm").LGBMRegressor(n_estimators=15, verbose=-1, **more)


def pinball(level):
    return lambda truth, predicted: mean_pinball_loss(truth, predicted, alpha=level)


MODELS = {
    "forest-median": (
        lambda: RandomForestRegressor(5, criterion="absolute_error", random_state=0), "absolute_error",
        mean_absolute_error,
    ),
    "trees-counts": (
        lambda: ExtraTreesRegressor(5, criterion="poisson", random_state=0), "poisson", mean_poisson_deviance,
    ),
    "boosting-criterion": (
        lambda: GradientBoostingRegressor(criterion="squared_error", loss="absolute_error", n_estimators=5),
        "absolute_error", mean_absolute_error,
    ),
    "catboost-order": (lambda: catboost(loss_function="Quantile:delta=1e-5;alpha=0.7"), "quantile 0.7", pinball(0.7)),
    "catboost-objective": (lambda: catboost(objective="MAE"), "absolute_error", mean_absolute_error),
    "catboost-lq": (lambda: catboost(loss_function="Lq:q=3"), "squared_error", None),
    "lightgbm-alias": (lambda: lightgbm(application="l1"), "absolute_error", mean_absolute_error),
    "lightgbm-default-level": (lambda: lightgbm(objective="quantile"), "quantile 0.9", pinball(0.9)),
    "search-in-a-pipeline": (
        lambda: make_pipeline(
            StandardScaler(),
            RandomizedSearchCV(
                GradientBoostingRegressor(loss="quantile", alpha=0.3, n_estimators=15), {"max_depth": [2, 3]},
                n_iter=2, cv=2, random_state=0,
            ),
        ),
        "quantile 0.3",
        pinball(0.3),
    ),
    "transformed-target": (
        lambda: TransformedTargetRegressor(
            GradientBoostingRegressor(loss="quantile", alpha=0.3, n_estimators=15), func=np.log, inverse_func=np.exp
        ),
        "quantile 0.3",
        pinball(0.3),
    ),
    "transformed-counts": (
        lambda: TransformedTargetRegressor(PoissonRegressor(), func=np.sqrt, inverse_func=np.square),
        "squared_error", None,
    ),
    "stack": (
        lambda: StackingRegressor([("a", Ridge())], QuantileRegressor(quantile=0.2, alpha=0)), "quantile 0.2",
        pinball(0.2),
    ),
    "pipeline-in-a-search": (
        lambda: RandomizedSearchCV(make_pipeline(StandardScaler(), PoissonRegressor()), {}, n_iter=1, cv=2),
        "poisson",
        mean_poisson_deviance,
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Found 'application' in params")
@pytest.mark.parametrize("name", MODELS)
def test_the_objective_is_that_of_the_trained_model(table, name):
    X, y = table
    make, loss, score = MODELS[name]
    model = make().fit(X, y)
    result = found(model, X, y)
    assert result.meta["loss"] == loss
    if score is not None:
        want = fall(model, X, y, score)
        assert np.abs(want).max() > 0.01
        np.testing.assert_allclose(result.values[:, 0], want, atol=1e-9)


class Visits(PoissonRegressor):
    """Still a Poisson regression."""


def test_a_loss_may_name_a_class_of_models(table):
    X, y = table
    assert found(Visits().fit(X, y), X, y).meta["loss"] == "poisson"
    model = GammaRegressor().fit(X, y)
    assert found(model, X, y).meta["loss"] == "squared_error"
    register = losses.register(
        "root", tasks=("regression",), objectives=("GammaRegressor",)
    )
    register(lambda outputs, y: (outputs[:, 0] - y).abs().sqrt())
    try:
        assert found(model, X, y).meta["loss"] == "root"
    finally:
        del losses["root"]


def test_models_read_from_files_keep_their_objective(table, tmp_path):
    X, y = table
    xgboost = imported("xgboost")
    lgb = imported("lightgbm")
    model = xgboost.XGBRegressor(
        objective="reg:quantileerror", quantile_alpha=0.35, n_estimators=10
    ).fit(X, y)
    model.save_model(tmp_path / "m.ubj")
    again = xgboost.XGBRegressor()
    again.load_model(tmp_path / "m.ubj")
    assert (
        found(again, X, y).meta["loss"]
        == found(again.get_booster(), X, y).meta["loss"]
        == "quantile 0.35"
    )
    booster = lgb.train(
        {"application": "quantile", "alpha": 0.4, "verbose": -1}, lgb.Dataset(X, y), 10
    )
    booster.save_model(tmp_path / "l.txt")
    loaded = lgb.Booster(model_file=tmp_path / "l.txt")
    assert (
        found(booster, X, y).meta["loss"]
        == found(loaded, X, y).meta["loss"]
        == "quantile 0.4"
    )


def test_a_ranker_is_known_by_its_objective_or_tags(table):
    X, y = table
    groups = np.repeat(np.arange(20), 10)
    ranker = imported("catboost").CatBoost(
        {
            "loss_function": "YetiRank",
            "iterations": 5,
            "verbose": 0,
            "allow_writing_files": False,
        }
    )
    ranker.fit(X, np.digitize(y, [1, 2]), group_id=groups)
    with pytest.raises(InputError, match="The scores of a ranker"):
        found(ranker, X, y)


class Tagged(RegressorMixin):
    """A regressor of two numbers that says so by its tags alone: it is no
    BaseEstimator.
    """

    def __sklearn_tags__(self):
        tags = Ridge().__sklearn_tags__()
        assert tags.estimator_type == "regressor"
        return tags

    def predict(self, X):
        half = 1 / (1 + np.exp(-X["u"].to_numpy()))
        return np.column_stack([half, 1 - half])


class Older:
    """A regressor that says so as scikit-learn's did before there were tags."""

    _estimator_type = "regressor"
    predict = Tagged.predict


@pytest.mark.parametrize("kind", [Tagged, Older])
def test_a_regressor_that_says_so_by_its_tags_is_one(table, kind):
    X, _ = table
    result = found(kind(), X, np.column_stack([X["u"], X["v"]]))
    assert result.meta["task"] == "regression"
    alone = pg.explain(kind(), X.iloc[:50], background=X.iloc[[150]], **QUIET)
    assert alone.meta["task"] == "regression"
    moved = (kind().predict(X.iloc[:50]) - kind().predict(X.iloc[[150]])) ** 2
    assert alone.values[0, 0] == pytest.approx(moved.mean())


# ---- several quantiles of one target -------------------------------------------------
LEVELS = (0.1, 0.5, 0.9)


def by_level(truth, predicted) -> float:
    return float(
        np.mean(
            [
                mean_pinball_loss(truth, predicted[:, k], alpha=level)
                for k, level in enumerate(LEVELS)
            ]
        )
    )


@pytest.mark.parametrize("library", ["catboost", "xgboost", "function", "network"])
def test_several_quantiles_of_one_target(table, library):
    X, y = table
    if library == "catboost":
        model = catboost(loss_function="MultiQuantile:alpha=0.1,0.5,0.9").fit(X, y)
        more = {}
    elif library == "xgboost":
        call = {
            "objective": "reg:quantileerror",
            "quantile_alpha": list(LEVELS),
            "n_estimators": 15,
        }
        model = imported("xgboost").XGBRegressor(**call).fit(X, y)
        more = {}
    else:
        weights = torch.tensor(
            [[0.5, 1.0, 1.5], [-0.2, -0.4, -0.8], [0.0, 0.0, 0.1]], dtype=torch.float64
        )

        def model(rows):
            return rows.to_numpy() @ weights.numpy()

        more = {"loss": ("quantile", LEVELS)}
    predict = model if library in ("function", "network") else model.predict
    want = fall(model, X, y, by_level, predict)
    assert np.abs(want).max() > 0.02
    if library == "network":
        network = torch.nn.Linear(3, 3, bias=False, dtype=torch.float64)
        network.weight.data = weights.T
        rows = torch.tensor(X.to_numpy())
        result = explain_with(
            network,
            rows[:50],
            y[:50],
            method="permutation",
            background=rows[[150]],
            **QUIET,
            **more,
        )
    else:
        result = found(model, X, y, **more)
        single = found(model, X, y, target=2, **more)
        assert single.meta["loss"] == "quantile 0.9"
        top = fall(
            model,
            X,
            y,
            lambda truth, told: mean_pinball_loss(truth, told[:, 2], alpha=0.9),
            predict,
        )
        np.testing.assert_allclose(single.values[:, 0], top, atol=1e-6)
    assert result.meta["loss"] == "quantile 0.1, 0.5, 0.9"
    np.testing.assert_allclose(result.values[:, 0], want, atol=1e-6)


def test_a_report_of_one_of_several_quantiles(table):
    X, y = table
    model = lambda rows: rows.to_numpy() @ np.array([[0.5, 1.0, 1.5]] * 3)  # noqa: E731
    with pytest.raises(
        InputError, match=r"A report is of one output, and the model has 3"
    ):
        pg.report(pg.Model(model, task="regression"), X, np.column_stack([y] * 3))
    report = pg.report(
        pg.Model(model, task="regression"), X, y, loss=("quantile", LEVELS), target=1
    )
    assert f"{mean_absolute_error(y, model(X)[:, 1]):.3f}"[:4] in report.html


def test_outputs_and_one_target_that_do_not_fit_are_refused_with_a_way_out(table):
    X, y = table
    twice = Ridge().fit(X, np.column_stack([y, -y]))
    with pytest.raises(
        InputError,
        match=r"or target=0 \(permgrad explain: --target 0\) to compare y with the "
        r"first output",
    ):
        found(twice, X, y)
    result = found(twice, X, y, target=0)
    want = fall(twice, X, y, lambda truth, told: np.mean((truth - told[:, 0]) ** 2))
    np.testing.assert_allclose(result.values[:, 0], want, atol=1e-9)
    with pytest.raises(
        InputError, match="names 3 quantiles, and the model has 2 outputs"
    ):
        found(twice, X, y, loss=("quantile", LEVELS))
    explanation = found(
        twice, X, y, target=0, loss=lambda outputs, truth: np.abs(outputs[:, 0] - truth)
    )
    assert explanation.values[0, 0] > 0.05, "a callable gets y as it was passed"


def logistic(truth, scores):
    """An objective of the user's own: its slope and its bend."""
    chance = 1 / (1 + np.exp(-scores))
    return chance - truth, chance * (1 - chance)


def of_set(scores, rows):
    return logistic(rows.get_label(), scores)


def own_booster(X, y):
    xgboost = imported("xgboost")
    return xgboost.train({"max_depth": 2}, xgboost.DMatrix(X, y), 25, obj=of_set)


OWN = {
    "xgboost-booster": own_booster,
    "xgboost": lambda X, y: (
        imported("xgboost").XGBRegressor(objective=logistic, n_estimators=25).fit(X, y)
    ),
    "lightgbm": lambda X, y: lightgbm(objective=logistic).fit(X, y),
}


@pytest.mark.parametrize("library", OWN)
def test_an_own_logistic_objective_returns_logits_of_classes(table, library):
    X = table[0]
    y = (table[1] > np.median(table[1])).astype(int)
    model = OWN[library](X, y)

    def chances(rows):
        scores = model.predict(
            imported("xgboost").DMatrix(rows) if library.endswith("booster") else rows
        )
        return 1 / (1 + np.exp(-np.asarray(scores, dtype=np.float64)))

    result = found(model, X, y)
    assert (result.meta["loss"], result.meta["returns"]) == ("cross_entropy", "logits")
    score = lambda truth, told: log_loss(truth, told, labels=[0, 1])  # noqa: E731
    np.testing.assert_allclose(
        result.values[:, 0], fall(model, X, y, score, chances), rtol=1e-5
    )
    assert found(model, X, y, task="regression").meta["loss"] == "squared_error", (
        "the other way"
    )


def test_a_number_of_0_and_1_and_an_own_objective_of_numbers_stay_numbers(table):
    xgboost = imported("xgboost")
    X, y = table
    squares = lambda scores, rows: (scores - rows.get_label(), np.ones(len(scores)))  # noqa: E731
    for target in (y, (y > np.median(y)).astype(int)):
        for objective in (None, squares):
            model = xgboost.train(
                {"max_depth": 2}, xgboost.DMatrix(X, target), 25, obj=objective
            )
            assert found(model, X, target).meta["loss"] == "squared_error"


def tweedie(power, **more):
    return TweedieRegressor(power=power, **more)


def of_target(regressor, **more):
    return TransformedTargetRegressor(regressor, **more)


ROOT = {"func": np.sqrt, "inverse_func": np.square}
OTHERS = {
    "tweedie": (lambda: tweedie(1.3), "Tweedie deviance of power 1.3"),
    "gamma by power": (lambda: tweedie(2), "gamma"),
    "gamma": (GammaRegressor, "gamma"),
    "counts by power": (lambda: tweedie(1), ""),
    "squares by power": (lambda: tweedie(0), ""),
    "pipeline": (
        lambda: make_pipeline(StandardScaler(), tweedie(3)),
        "Tweedie deviance of power 3",
    ),
    "histogram": (lambda: HistGradientBoostingRegressor(loss="gamma"), "gamma"),
    "histogram of squares": (HistGradientBoostingRegressor, ""),
    "kernels": (SVR, "epsilon_insensitive"),
    "root": (
        lambda: of_target(Ridge(), **ROOT), "squared_error of a transformed target",
    ),
    "scaled": (lambda: of_target(Ridge(), transformer=StandardScaler()), ""),
    "same target": (lambda: of_target(tweedie(2)), "gamma"),
    "gamma of a root": (
        lambda: of_target(tweedie(2), **ROOT), "gamma of a transformed target",
    ),
    "lightgbm": (lambda: lightgbm(objective="tweedie"), "tweedie"),
    "lightgbm of squares": (lambda: lightgbm(objective="l2"), ""),
    "xgboost": (
        lambda: imported("xgboost").XGBRegressor(objective="reg:gamma", n_estimators=2),
        "reg:gamma",
    ),
    "xgboost of squares": (
        lambda: imported("xgboost").XGBRegressor(n_estimators=2), "",
    ),
    "own": (
        lambda: imported("xgboost").XGBRegressor(
            objective=lambda truth, said: (said - truth, np.ones_like(said)),
            n_estimators=2,
        ),
        "an objective of its own",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_an_objective_that_no_loss_measures_is_named(table, name):
    X, y = table
    make, trained_by = OTHERS[name]
    call = find_call(make().fit(X[:80], y[:80]))
    assert call.trained_by == trained_by
    assert call.loss is None or not trained_by


def test_the_summary_says_so(table):
    X, y = table
    model = tweedie(1.3).fit(X, y)
    result = found(model, X, y)
    assert result.meta["trained_by"] == "Tweedie deviance of power 1.3"
    sentence = (
        "The model was trained by another loss (Tweedie deviance of power 1.3) than "
        "the squared error, which is measured here. Pass loss= a function "
        "(outputs, y) -> (rows,) to measure another."
    )
    assert sentence in result.summary().splitlines()

    def deviance(outputs, truth):
        return 2 * (
            truth**0.7 / (-0.3 * 0.7) * truth**0
            - truth * outputs[:, 0] ** -0.3 / -0.3
            + outputs[:, 0] ** 0.7 / 0.7
        )

    assert "another loss" not in found(model, X, y, loss=deviance).summary()
    assert "another loss" not in found(tweedie(1).fit(X, y), X, y).summary()
