"""Predictors of several labels and numbers, and of other objectives: what they are read
as, by slow loops over rows.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from explaining import donor_rows, explain_with
from scipy.special import expit, logsumexp
from sklearn.cluster import KMeans
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    QuantileRegressor,
    RidgeClassifier,
)
from sklearn.metrics import (
    label_ranking_average_precision_score,
    mean_pinball_loss,
    mean_poisson_deviance,
    r2_score,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import (
    ClassifierChain,
    MultiOutputClassifier,
    MultiOutputRegressor,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import permgrad as pg
from permgrad.base.errors import InputError

QUIET = {"progress": False, "random_state": 3, "n_repeats": 2}
ROWS = 120
COLUMNS = ["a", "b", "c"]


def rows(seed=0):
    return pd.DataFrame(
        np.random.default_rng(seed).normal(size=(ROWS, 3)), columns=COLUMNS
    )


def labels(X):
    """Return labels of which rows have none or several."""
    y = pd.DataFrame(
        {"u": X["a"] > 0, "v": X["b"] > 0.2, "w": X["a"] + X["b"] > 0.5}
    ).astype(int)
    assert set(y.sum(axis=1)) == {0, 1, 2, 3}
    return y


def looped(predict, X, loss):
    """Return the mean rise of ``loss(predictions) -> number`` for each column,
    replacing it row by row.
    """
    before = loss(predict(X))
    effects = []
    for name in X.columns:
        rises = []
        for repeat in range(2):
            edited = X.copy()
            donors = donor_rows(3, name, repeat, np.arange(len(X)), len(X), shared=True)
            for row, donor in enumerate(donors):
                edited.loc[row, name] = X.loc[donor, name]
            rises.append(loss(predict(edited)) - before)
        effects.append(np.mean(rises))
    assert np.abs(effects).max() > 5e-3  # the columns matter
    return effects


def log_loss(chance, y):
    chance = np.clip(chance, np.finfo(float).eps, 1 - np.finfo(float).eps)
    return float(-(y * np.log(chance) + (1 - y) * np.log(1 - chance)).to_numpy().mean())


# ---- several labels ------------------------------------------------------------------

LABELLED = {
    "one-model-each": lambda: MultiOutputClassifier(LogisticRegression()),
    "chain": lambda: ClassifierChain(LogisticRegression()),
    "one-versus-rest": lambda: OneVsRestClassifier(LogisticRegression()),
    "neighbors": lambda: KNeighborsClassifier(7),
    "forest": lambda: RandomForestClassifier(20, random_state=0),
    "pipeline": lambda: make_pipeline(
        StandardScaler(), MultiOutputClassifier(LogisticRegression())
    ),
}


def chances(model, X):
    """Return each label's probability ``(rows, labels)``, as the estimator returns them
    in one of two forms.
    """
    returned = model.predict_proba(X)
    return (
        np.stack(
            [label_probabilities[:, 1] for label_probabilities in returned], axis=1
        )
        if isinstance(returned, list)
        else returned
    )


@pytest.mark.parametrize("name", LABELLED)
def test_estimators_of_several_labels(name):
    X = rows()
    y = labels(X)
    model = LABELLED[name]().fit(X, y)
    explanation = pg.explain(model, X, y, **QUIET)
    expected_values = looped(
        lambda table: chances(model, table), X, lambda chance: log_loss(chance, y)
    )
    np.testing.assert_allclose(explanation.values[:, 0], expected_values, atol=1e-9)
    assert (explanation.meta["task"], explanation.meta["unit"]) == (
        "multilabel",
        "nats",
    )
    # Without y the estimator itself says that labels do not exclude each other.
    assert pg.explain(model, X, **QUIET).meta["task"] == "multilabel"
    alone = pg.explain(
        model,
        X[:3],
        y[:3],
        method="shapley",
        background=X,
        target="v",
        scale="logit",
        progress=False,
        random_state=0,
    )
    assert alone.outputs == ("v",)
    with np.errstate(divide="ignore"):
        chance = np.clip(
            chances(model, X[:3])[:, 1], np.finfo(float).eps, 1 - np.finfo(float).eps
        )
    np.testing.assert_allclose(expit(alone.predictions[:, 0]), chance, atol=1e-9)


def test_labels_alone_are_measured_by_those_that_are_wrong():
    X = rows()
    y = labels(X)
    model = RidgeClassifier().fit(X, y)
    explanation = pg.explain(model, X, y, **QUIET)
    expected_values = looped(
        model.predict, X, lambda predicted: float((predicted != y).to_numpy().mean())
    )
    np.testing.assert_allclose(explanation.values[:, 0], expected_values, atol=1e-9)
    assert explanation.meta["loss"] == "zero_one"


def test_numbers_of_clusters_are_labels():
    X = rows()
    values = []
    for cluster_order in ([0, 1], [1, 0]):
        centres = (
            KMeans(2, n_init=3, random_state=0).fit(X).cluster_centers_[cluster_order]
        )
        explanation = pg.explain(KMeans(2, n_init=1, init=centres).fit(X), X, **QUIET)
        values.append(explanation.values[:, 0])
    assert np.abs(values[0]).max() > 0.1
    np.testing.assert_allclose(*values, err_msg="the same clusters, numbered otherwise")


def test_a_task_that_a_classifier_does_not_have_is_named():
    X = rows()
    model = LogisticRegression().fit(X, X["a"] > 0)
    with pytest.raises(
        InputError,
        match=r"task='regression' does not suit a classifier.*Leave task out",
    ):
        pg.explain(pg.Model(model, task="regression"), X, X["a"] > 0, **QUIET)


def test_outliers_are_measured_by_those_that_are_wrong():
    X = rows()
    model = IsolationForest(random_state=0).fit(X)
    explanation = pg.explain(model, X, model.predict(X), **QUIET)
    assert explanation.meta["loss"] == "zero_one"
    assert explanation.meta["unit"] == "share of errors"
    assert explanation.outputs == ("all", "-1", "1")


def test_a_regressor_with_inherited_probabilities_is_a_regressor():
    """As skorch's is."""

    class Inherited(LinearRegression):
        predict_proba = LinearRegression.predict

    X = rows()
    explanation = pg.explain(Inherited().fit(X, X["a"]), X, X["a"], **QUIET)
    assert explanation.meta["task"] == "regression"


@pytest.mark.parametrize(
    ("loss", "outputs"),
    [("Logloss", ("all", "0", "1")), ("MultiClass", ("all", "0", "1", "2"))],
)
def test_the_class_of_any_of_catboosts_models(loss, outputs):
    X = rows()
    y = X["a"].gt(0).astype(int) + (X["b"].gt(0.5) if loss == "MultiClass" else 0)
    settings = {
        "iterations": 10,
        "loss_function": loss,
        "verbose": 0,
        "allow_writing_files": False,
    }
    model = imported("catboost").CatBoost(settings).fit(X, y)
    explanation = pg.explain(model, X, y, **QUIET)
    assert (
        explanation.meta["unit"],
        explanation.outputs,
        explanation.ranking()[0],
    ) == (
        "nats",
        outputs,
        "a",
    )


def test_brier_of_several_labels_is_the_mean_of_each():
    X = rows()
    y = labels(X)
    model = LABELLED["chain"]().fit(X, y)
    explanation = pg.explain(model, X, y, loss="brier", **QUIET)
    expected_values = looped(
        model.predict_proba,
        X,
        lambda chance: float(2 * ((chance - y) ** 2).to_numpy().mean()),
    )
    np.testing.assert_allclose(explanation.values[:, 0], expected_values, atol=1e-9)
    assert explanation.meta["unit"] == "brier"
    constant = y.mean().to_numpy()
    assert explanation.meta["loss_scale"] == pytest.approx(
        float(2 * ((constant - y) ** 2).to_numpy().mean())
    )


@pytest.mark.slow
def test_scores_of_labels_are_of_all_rows():
    X = rows()
    y = labels(X)
    model = LABELLED["chain"]().fit(X, y)
    explanation = pg.explain(
        model, X, y, scoring="label_ranking_average_precision", **QUIET
    )
    score = label_ranking_average_precision_score(y, model.predict_proba(X))
    assert explanation.meta["scores"][
        "label_ranking_average_precision"
    ] == pytest.approx(score)


def test_boosters_of_several_labels():
    xgboost = pytest.importorskip("xgboost")
    X = rows()
    y = labels(X)
    model = xgboost.XGBClassifier(n_estimators=5).fit(X, y)
    explanation = pg.explain(model, X, y, **QUIET)
    expected_values = looped(
        model.predict_proba, X, lambda chance: log_loss(chance.astype(float), y)
    )
    np.testing.assert_allclose(explanation.values[:, 0], expected_values, atol=1e-6)
    assert pg.explain(model, X, **QUIET).meta["task"] == "multilabel"


def one_against_all(name, X, y):
    """Return a classifier whose probabilities add up to no 1, and its probabilities
    that do.
    """
    if name == "catboost":
        settings = {
            "iterations": 5,
            "verbose": 0,
            "allow_writing_files": False,
            "loss_function": "MultiClassOneVsAll",
        }
        model = imported(name).CatBoostClassifier(**settings).fit(X, y)
        return model, model.predict_proba
    model = (
        imported("lightgbm")
        .LGBMClassifier(n_estimators=5, objective="multiclassova", verbosity=-1)
        .fit(X, y)
    )
    return (
        (model, model.predict_proba)
        if name == "lightgbm"
        else (model.booster_, model.predict_proba)
    )


@pytest.mark.parametrize("name", ["lightgbm", "booster", "catboost"])
def test_one_class_of_each_row_though_chances_add_up_to_no_1(name):
    X = rows()
    y = np.minimum(counts(X), 2).astype(int)
    model, predict = one_against_all(name, X, y)
    assert np.abs(predict(X).sum(axis=1) - 1).max() > 0.01
    explanation = pg.explain(model, X, **QUIET)
    assert (
        explanation.meta["task"]
        == pg.explain(model, X, y, **QUIET).meta["task"]
        == "classification"
    )
    assert explanation.outputs == ("all", "0", "1", "2")
    counterfactual_rows = pg.counterfactuals(model, X.iloc[0], X).to_frame()
    assert set(counterfactual_rows["prediction"].astype(str)) <= {"0", "1", "2"} - {
        str(predict(X[:1]).argmax())
    }


def test_a_classifier_trained_by_hinge_returns_labels():
    X = rows()
    xgboost = imported("xgboost")
    y = np.minimum(counts(X), 1)
    model = xgboost.XGBClassifier(n_estimators=5, objective="binary:hinge").fit(X, y)
    explanation = pg.explain(
        make_pipeline(StandardScaler(), model).fit(X, y), X, y, **QUIET
    )
    assert explanation.meta["loss"] == "zero_one"


def test_several_targets_of_several_classes_are_refused():
    X = rows()
    y = np.stack([np.digitize(X["a"], [-0.5, 0.5]), X["b"] > 0], axis=1).astype(int)
    model = RandomForestClassifier(5, random_state=0).fit(X, y)
    with pytest.raises(
        InputError, match=r"probabilities of 2 targets.*predict_proba\(table\)\[0\]"
    ):
        pg.explain(model, X, y, **QUIET)
    explanation = pg.explain(
        lambda table: model.predict_proba(table)[0], X, y[:, 0], **QUIET
    )
    assert explanation.values[0, 0] > 0.1


@pytest.mark.parametrize(
    "y",
    [
        np.full((ROWS, 3), 2),
        np.full((ROWS, 2), 1),
        np.full((ROWS, 3), "yes"),
        np.zeros(ROWS),
    ],
)
def test_what_are_no_labels_is_refused(y):
    X = rows()
    model = LABELLED["one-model-each"]().fit(X, labels(X))
    with pytest.raises(InputError, match="y must hold 0 or 1 for each of the 3 labels"):
        pg.explain(model, X, y, **QUIET)


# ---- several numbers -----------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        LinearRegression(),
        RandomForestRegressor(10),
        MultiOutputRegressor(GradientBoostingRegressor()),
    ],
    ids=repr,
)
def test_estimators_of_several_numbers(model):
    X = rows()
    y = np.stack([X["a"], 2 * X["b"]], axis=1)
    model.fit(X, y)
    explanation = pg.explain(model, X, y, **QUIET)
    expected_values = looped(
        model.predict, X, lambda predicted: float(((predicted - y) ** 2).mean())
    )
    np.testing.assert_allclose(explanation.values[:, 0], expected_values, atol=1e-9)
    second = pg.explain(model, X, y, target=1, loss="absolute_error", **QUIET)
    expected_values = looped(
        model.predict, X, lambda predicted: float(np.abs(predicted - y)[:, 1].mean())
    )
    np.testing.assert_allclose(second.values[:, 0], expected_values, atol=1e-9)
    assert pg.explain(model, X, **QUIET).meta["task"] == "regression"
    scores = pg.explain(model, X, y, scoring="r2", **QUIET).meta["scores"]
    assert scores["r2"] == pytest.approx(r2_score(y, model.predict(X)))
    with pytest.raises(InputError, match="y must have 2 numbers per row"):
        pg.explain(model, X, y[:, :1], **QUIET)


# ---- the loss that a model was trained with ------------------------------------------

OBJECTIVES = {
    "sklearn-poisson": PoissonRegressor,
    "sklearn-quantile": lambda: QuantileRegressor(quantile=0.8, alpha=0),
    "boosting-poisson": lambda: HistGradientBoostingRegressor(
        loss="poisson", max_iter=20
    ),
    "boosting-quantile": lambda: HistGradientBoostingRegressor(
        loss="quantile", quantile=0.8, max_iter=20
    ),
    "pipeline-quantile": lambda: make_pipeline(
        StandardScaler(), GradientBoostingRegressor(loss="quantile", alpha=0.8)
    ),
    "lightgbm-poisson": lambda: imported("lightgbm").LGBMRegressor(
        objective="poisson", verbose=-1
    ),
    "lightgbm-quantile": lambda: imported("lightgbm").LGBMRegressor(
        objective="quantile", alpha=0.8, verbose=-1
    ),
    "xgboost-poisson": lambda: imported("xgboost").XGBRegressor(
        objective="count:poisson"
    ),
    "xgboost-quantile": lambda: imported("xgboost").XGBRegressor(
        objective="reg:quantileerror", quantile_alpha=0.8
    ),
    "catboost-poisson": lambda: imported("catboost").CatBoostRegressor(
        20, loss_function="Poisson", verbose=0
    ),
    "catboost-quantile": lambda: imported("catboost").CatBoostRegressor(
        20, loss_function="Quantile:alpha=0.8", verbose=0
    ),
}


def imported(name):
    return pytest.importorskip(name)


def counts(X):
    return np.random.default_rng(1).poisson(np.exp(1 + X["a"] / 2)).astype(float)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_model_is_measured_by_the_loss_that_it_was_trained_with(name):
    X = rows()
    y = counts(X)
    model = OBJECTIVES[name]().fit(X, y)
    explanation = pg.explain(model, X, y, **QUIET)

    def loss(predicted):
        predicted = np.asarray(predicted, dtype=float)
        quantile = name.endswith("quantile")
        return (
            mean_pinball_loss(y, predicted, alpha=0.8)
            if quantile
            else mean_poisson_deviance(y, predicted)
        )

    np.testing.assert_allclose(
        explanation.values[:, 0], looped(model.predict, X, loss), atol=1e-6
    )
    assert explanation.meta["loss"] == (
        "quantile 0.8" if name.endswith("quantile") else "poisson"
    )
    assert (
        pg.explain(model, X, y, loss="squared_error", **QUIET).meta["loss"]
        == "squared_error"
    )


def test_targets_out_of_a_loss_range_are_refused():
    X = rows()
    model = PoissonRegressor().fit(X, counts(X))
    with pytest.raises(InputError, match="needs y of at least 0, got -1"):
        pg.explain(model, X, counts(X) - 1 - counts(X).min(), **QUIET)
    with pytest.raises(InputError, match=r"above 0, got .*'poisson_log'"):
        pg.explain(
            LinearRegression().fit(X, counts(X) - 9),
            X,
            counts(X),
            loss="poisson",
            **QUIET,
        )


NATIVE = {
    "xgboost-softmax": ("xgboost", {"objective": "multi:softmax", "num_class": 3}, 3),
    "xgboost-softprob": ("xgboost", {"objective": "multi:softprob", "num_class": 3}, 3),
    "xgboost-hinge": ("xgboost", {"objective": "binary:hinge"}, 2),
    "xgboost-poisson": ("xgboost", {"objective": "count:poisson"}, 2),
    "xgboost-quantile": (
        "xgboost",
        {"objective": "reg:quantileerror", "quantile_alpha": 0.8},
        9,
    ),
    "lightgbm-poisson": ("lightgbm", {"objective": "poisson", "verbose": -1}, 2),
    "lightgbm-quantile": (
        "lightgbm",
        {"objective": "quantile", "alpha": 0.8, "verbose": -1},
        9,
    ),
    "lightgbm-classes": (
        "lightgbm",
        {"objective": "multiclass", "num_class": 3, "verbose": -1},
        3,
    ),
}


def native(name, X, y):
    """Return a booster of the library's own training, and its predictions of a table
    ``(rows,)`` or ``(rows, K)``.
    """
    library, parameters, _ = NATIVE[name]
    module = imported(library)
    if library == "lightgbm":
        model = module.train(parameters, module.Dataset(X, y), 8)
        return model, model.predict
    model = module.train(parameters, module.DMatrix(X, y), 8)
    margin = parameters["objective"] == "multi:softmax"
    return model, lambda table: model.predict(
        module.DMatrix(table), output_margin=margin
    ).astype(float)


@pytest.mark.parametrize("file", [False, True], ids=["booster", "file"])
@pytest.mark.parametrize("name", NATIVE)
def test_boosters_of_the_native_interface(name, file, tmp_path):
    X = rows()
    groups = NATIVE[name][2]
    y = np.minimum(counts(X), groups - 1) if groups < 9 else counts(X)
    model, predict = native(name, X, y)
    if file:
        path = tmp_path / ("model.txt" if name.startswith("lightgbm") else "model.json")
        model.save_model(path)
        model = imported(NATIVE[name][0]).Booster(model_file=path)
    explanation = pg.explain(model, X, y, **QUIET)

    def loss(predicted):
        if name.endswith("poisson"):
            return mean_poisson_deviance(y, predicted)
        if name.endswith("quantile"):
            return mean_pinball_loss(y, predicted, alpha=0.8)
        if name.endswith("hinge"):
            return float((predicted != y).mean())
        logits = predicted if name.endswith("softmax") else np.log(predicted)
        return float(
            (logsumexp(logits, axis=1) - logits[np.arange(ROWS), y.astype(int)]).mean()
        )

    np.testing.assert_allclose(
        explanation.values[:, 0], looped(predict, X, loss), atol=1e-6
    )


def test_softmax_and_softprob_are_one_model():
    X = rows()
    y = np.minimum(counts(X), 2)
    values = []
    for name in ("xgboost-softmax", "xgboost-softprob"):
        model, _ = native(name, X, y)
        explanation = pg.explain(model, X, y, **QUIET)
        assert explanation.outputs == ("all", "0", "1", "2")
        assert explanation.meta["task"] == "classification"
        values.append(explanation.values)
    np.testing.assert_allclose(*values, atol=1e-5)


def test_rankers_have_no_loss_of_their_own():
    lightgbm = imported("lightgbm")
    X = rows()
    y = np.minimum(counts(X), 3).astype(int)
    model = lightgbm.LGBMRanker(verbose=-1, n_estimators=10).fit(
        X, y, group=[40, 40, 40]
    )
    with pytest.raises(InputError, match="scores of a ranker"):
        pg.explain(model, X, y, **QUIET)
    assert pg.explain(model, X, **QUIET).ranking()[0] == "a"
    query = np.repeat(range(3), 40)
    scores = model.predict(X)

    def pairs(outputs, target):
        """Return the logistic loss of each row's pairs in its query; the others keep
        their scores.
        """
        lost = []
        for number, (score, (relevance, row_index)) in enumerate(
            zip(outputs[:, 0], target, strict=True)
        ):
            paired_rows = (query == query[row_index]) & (y != relevance)
            sign = np.sign(relevance - y[paired_rows])
            lost.append(np.log1p(np.exp(-sign * (score - scores[paired_rows]))).mean())
            assert number < len(outputs)
        return np.array(lost)

    target = np.stack([y, np.arange(ROWS)], axis=1)
    explanation = pg.explain(
        pg.Model(model, task="regression"), X, target, loss=pairs, **QUIET
    )
    expected_values = looped(
        model.predict, X, lambda predicted: pairs(predicted[:, None], target).mean()
    )
    np.testing.assert_allclose(explanation.values[:, 0], expected_values, atol=1e-9)


# ---- a loss of one's own -------------------------------------------------------------


def test_outputs_that_are_no_numbers_of_y_are_measured_by_a_callable():
    X = rows()
    rng = np.random.default_rng(2)
    y = pd.DataFrame(
        {"end": np.ceil(9 * rng.exponential(size=ROWS)) + 1, "size": rng.random(ROWS)}
    )
    grid = np.arange(1, 12)

    def shares(table):
        return np.exp(-grid * np.exp(table[["a"]].to_numpy() / 2) / 9)

    def brier(outputs, target):
        beyond = target["end"].to_numpy()[:, None] > grid
        return ((outputs - beyond) ** 2).mean(axis=1)

    with pytest.raises(
        InputError,
        match=r"11 numbers per row.* or loss= a function \(outputs, y\) -> \(rows,\)",
    ):
        pg.explain(pg.Model(shares, task="regression"), X, y, **QUIET)
    explanation = pg.explain(
        pg.Model(shares, task="regression"), X, y, loss=brier, **QUIET
    )
    expected_values = looped(shares, X, lambda outputs: brier(outputs, y).mean())
    np.testing.assert_allclose(explanation.values[:, 0], expected_values, atol=1e-9)


# ---- one output of each row, and maps ------------------------------------------------


def maps(table):
    """Return two maps of three places for each row, ``(rows, 2, 3)``."""
    positions = np.arange(3) / 2
    first = table["a"].to_numpy()[:, None] * positions
    second = np.sin(table["b"].to_numpy()[:, None] + positions)
    return np.stack([first, second], axis=1)


def test_maps_are_refused():
    with pytest.raises(InputError, match=r"shape \(8, 2, 3\)"):
        pg.explain(maps, rows(), **QUIET)


@pytest.mark.parametrize("row_target", ["predicted", "true", "names"])
def test_one_class_of_each_row_of_a_forest(row_target):
    X = rows()
    y = np.array(["low", "mid", "high"], dtype=object)[
        np.digitize(X["a"] + X["b"], [-0.5, 0.5])
    ]
    model = RandomForestClassifier(20, random_state=0).fit(X, y)
    few = X[:6]
    names = ["high", "low", "mid", "mid", "low", "high"]
    call_options = {
        "method": "shapley",
        "scale": "probability",
        "background": X[50:60],
        "progress": False,
        "random_state": 0,
    }
    every = explain_with(model, few, y[:6], **call_options)
    row_targets = np.array(names) if row_target == "names" else row_target
    explanation = explain_with(model, few, y[:6], target=row_targets, **call_options)
    classes = {"names": names, "true": y[:6], "predicted": model.predict(few)}[
        row_target
    ]
    assert len(set(classes)) > 1
    output_indices = [every.outputs.index(name) for name in classes]
    np.testing.assert_allclose(
        explanation.values[:, :, 0],
        every.values[range(6), :, output_indices],
        atol=1e-9,
    )
    assert explanation.meta["row_target"] == list(classes)


def test_one_label_of_each_row():
    X = rows()
    y = labels(X)
    model = LABELLED["chain"]().fit(X, y)
    call_options = {
        "method": "shapley",
        "background": X[50:60],
        "progress": False,
        "random_state": 0,
    }
    every = explain_with(model, X[:3], y[:3], **call_options)
    explanation = explain_with(
        model, X[:3], y[:3], target=np.array(["w", "u", "v"]), **call_options
    )
    np.testing.assert_allclose(
        explanation.values[:, :, 0], every.values[range(3), :, [2, 0, 1]], atol=1e-9
    )
    with pytest.raises(InputError, match="needs a classifier"):
        explain_with(model, X[:3], y[:3], target="true", **call_options)


# ---- a loss that gives something else ------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda outputs, y: outputs, r"\(120,\), got the shape \(120, 2\)"),
        (lambda outputs, y: float(outputs.sum()), r"got the shape \(\)"),
        (lambda outputs, y: outputs[1:, 0], r"got the shape \(119,\)"),
        (lambda outputs, y: np.where(y == 1, np.nan, 0.0), "NaN or infinity"),
        (lambda outputs, y: np.full(len(outputs), "large"), "must be numbers"),
        (lambda outputs: outputs[:, 0], "The loss raised TypeError"),
    ],
)
def test_what_is_no_loss_of_a_predictor_is_refused(loss, message):
    X = rows()
    y = (X["a"] > 0).astype(int).to_numpy()
    model = LogisticRegression().fit(X, y)
    with pytest.raises(InputError, match=message):
        pg.explain(model, X, y, loss=loss, **QUIET)


# ---- rows that are not independent ---------------------------------------------------


def test_what_mixes_rows_is_told_in_words_of_tables():
    with pytest.raises(
        InputError, match="Take out what is computed over the rows of a call"
    ) as raised:
        pg.explain(lambda table: table["a"] - table["a"].mean(), rows(), **QUIET)
    assert "network" not in str(raised.value)
    generator = np.random.default_rng(0)
    with pytest.warns(
        UserWarning, match="The predictor gives a row different outputs each time"
    ):
        pg.explain(
            lambda table: table["a"] + generator.normal(size=len(table)),
            rows(),
            **QUIET,
        )


def test_a_model_that_learned_one_class_is_told():
    """As the first rows of a table that is sorted by its target leave it."""
    X = np.random.default_rng(0).normal(size=(60, 3))
    y = np.where(np.arange(60) < 40, "p", "q")
    model = RandomForestClassifier(5, random_state=0).fit(X[:40], y[:40])
    with pytest.raises(
        InputError,
        match=r"rows of one class only, 'p', and always predicts it\. Fit it on rows "
        r"of sev",
    ):
        pg.explain(model, X, y, **QUIET)


def test_classes_in_a_list_are_those_of_one_label():
    class Rule:
        classes_ = ["no", "yes"]  # noqa: RUF012 — as a user writes it

        def predict(self, table):
            return np.where(np.asarray(table)[:, 1] > 0.3, "yes", "no")

    X = np.random.default_rng(0).normal(size=(200, 2))
    explanation = pg.explain(
        Rule(), X, Rule().predict(X), random_state=0, progress=False
    )
    assert explanation.outputs == ("all", "no", "yes")
    assert explanation.ranking()[0] == "x1"
