"""Scorers see the model, its rows and the labels of y, as in scikit-learn: numbers
equal those of edited tables.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import (
    f1_score,
    fbeta_score,
    get_scorer,
    make_scorer,
    mean_absolute_error,
    roc_auc_score,
)
from sklearn.model_selection import TunedThresholdClassifierCV
from sklearn.svm import SVC, LinearSVC
from torch import nn

import permgrad as pg
from permgrad import InputError

QUIET = {"n_repeats": 2, "random_state": 0, "progress": False}


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(4)
    X = pd.DataFrame(rng.normal(size=(240, 3)), columns=["p", "q", "r"]).assign(
        site=np.arange(240) % 3
    )
    score = X["p"] - 0.7 * X["q"] + rng.normal(0, 0.5, 240)
    return X, score.to_numpy()


def by_scikit_learn(model, scorer, rows, y, donor) -> np.ndarray:
    before = scorer(model, rows, y)
    return np.array(
        [
            before - scorer(model, rows.assign(**{name: donor[name].iloc[0]}), y)
            for name in rows
        ]
    )


def compare(model, scorer, X, y, passed=None, **more) -> np.ndarray:
    rows = X.iloc[:80]
    donor = X.iloc[[100]]
    want = by_scikit_learn(model, scorer, rows, y[:80], donor)
    explanation = explain_with(
        model, rows, y[:80], background=donor, scoring=passed or scorer, **QUIET, **more
    )
    np.testing.assert_allclose(explanation.values[:, 0], want, atol=1e-9)
    assert np.abs(want).max() > 0.02, "the model must have learned something"
    return want


def test_grades_and_two_labels_are_those_of_y(table):
    X, score = table
    grades = np.array([10, 20, 50, 70])[np.digitize(score, [-1, 0, 1])]
    forest = RandomForestClassifier(20, random_state=0).fit(X, grades)
    grade_falls = compare(
        forest,
        get_scorer("neg_root_mean_squared_error"),
        X,
        grades,
        "neg_root_mean_squared_error",
    )
    assert np.abs(grade_falls).max() > 3.5, (
        "in units of the grades, not of their positions"
    )
    switch = np.where(score > 0.4, 3, 1)
    model = LogisticRegression().fit(X, switch)
    recall = compare(model, get_scorer("recall"), X, switch, "recall")
    assert not np.allclose(
        recall,
        compare(model, make_scorer(fbeta_score, beta=0.1, pos_label=3), X, switch),
    )
    compare(model, get_scorer("average_precision"), X, switch, "average_precision")
    truth = score > 0.4
    compare(
        LogisticRegression().fit(X, truth),
        make_scorer(f1_score, pos_label=False),
        X,
        truth,
    )


def test_a_scorer_that_needs_to_know_the_positive_class_is_told_how(table):
    X, score = table
    words = np.where(score > 0, "sick", "fine")
    model = LogisticRegression().fit(X, words)
    with pytest.raises(
        InputError, match=r"such as 'f1_macro', or .*make_scorer\(…, pos_label='sick'\)"
    ):
        pg.explain(model, X, words, scoring="f1", **QUIET)
    compare(model, make_scorer(f1_score, pos_label="sick"), X, words)


@pytest.mark.slow
def test_a_scorer_of_rows_gets_the_edited_rows_and_the_model(table):
    X, score = table
    model = Ridge().fit(X, score)

    def worst_site(estimator, rows, truth):
        errors = np.abs(estimator.predict(rows) - truth) + 0 * estimator.coef_[0]
        return -max(
            errors[(rows["site"] == site).to_numpy()].mean()
            for site in np.unique(rows["site"])
        )

    want = compare(model, worst_site, X, score)
    assert want[3] != 0, "the scorer reads a column that is edited"

    def only_first_site(estimator, rows, truth):
        mine = (rows["site"] == 0).to_numpy()
        return (
            -mean_absolute_error(truth[mine], estimator.predict(rows[mine]))
            if mine.any()
            else -9.0
        )

    compare(model, only_first_site, X, score)
    call_options = {
        "groups": {"pq": ["p", "q"], "site": ["site"]},
        "scoring": worst_site,
        **QUIET,
    }
    frame = pg.missing_modalities(model, X, score, **call_options).to_frame()
    errors = pd.Series(np.abs(model.predict(X) - score)).groupby(X["site"]).mean()
    assert frame["worst_site"].iloc[0] == pytest.approx(-errors.max())


@pytest.mark.slow
def test_a_scorer_of_rows_gets_what_was_drawn_conditionally(table):
    X, score = table
    X = X.assign(q=X["p"] + 0.1 * X["q"])
    scored_tables = []

    def watching(estimator, rows, truth):
        scored_tables.append(rows)
        return -np.abs(estimator.predict(rows) - truth).mean()

    model = Ridge().fit(X, score)
    explanation = pg.explain(
        model,
        X,
        score,
        method=pg.methods.PermGrad(sampling="conditional"),
        scoring=watching,
        **QUIET,
    )
    plain = pg.explain(
        model,
        X,
        score,
        method=pg.methods.PermGrad(sampling="conditional"),
        scoring="neg_mean_absolute_error",
        **QUIET,
    )
    np.testing.assert_allclose(explanation.values, plain.values, atol=1e-12)
    full_tables = [
        rows
        for rows in scored_tables
        if len(rows) == 480 and not np.allclose(rows["q"], np.tile(X["q"], 2))
    ]
    assert full_tables
    assert all((rows["q"] - np.tile(X["p"], 2)).std() < 0.5 for rows in full_tables), (
        "drawn near p, not from anywhere"
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The `probability`")
def test_methods_are_the_models_own(table):
    X, score = table
    y = (score > 0).astype(int)
    compare(LinearSVC().fit(X, y), get_scorer("roc_auc"), X, y, "roc_auc")
    compare(
        SVC(probability=True, random_state=0).fit(X, y),
        get_scorer("roc_auc"),
        X,
        y,
        "roc_auc",
    )
    raw = make_scorer(
        lambda truth, raw: np.mean(raw * truth), response_method="decision_function"
    )
    compare(LogisticRegression().fit(X, y), raw, X, y)
    outliers = np.where(np.abs(score) > 1.5, -1, 1)
    compare(
        IsolationForest(n_estimators=20, random_state=0).fit(X),
        make_scorer(f1_score, pos_label=-1),
        X,
        outliers,
    )
    with pytest.raises(InputError, match="Scorer 'neg_log_loss' raised AttributeError"):
        pg.explain(LinearSVC().fit(X, y), X, y, scoring="neg_log_loss", **QUIET)


def test_ties_of_a_forest_stay_ties(table):
    X, score = table
    y = (score > 0).astype(int)
    compare(
        RandomForestClassifier(7, max_depth=2, random_state=0).fit(X, y),
        get_scorer("roc_auc"),
        X,
        y,
        "roc_auc",
    )


def test_labels_of_a_network_are_those_of_y():
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([-x[:, 0], x[:, 1], x[:, 0]], dim=1)

    x = torch.randn(
        120, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    names = np.array([1, 5, 10])
    y = names[Net()(x).argmax(dim=1).numpy()]
    call = {
        "scoring": "neg_mean_absolute_error",
        "class_names": ["1", "5", "10"],
        "background": x[:1],
        **QUIET,
    }
    explanation = explain_with(Net(), x, y, method="permutation", **call)
    for column in range(2):
        edited = x.clone()
        edited[:, column] = x[0, column]
        expected = np.abs(names[Net()(edited).argmax(dim=1).numpy()] - y).mean()
        assert explanation.values[column, 0] == pytest.approx(expected)
        assert expected > 0.5


@pytest.mark.slow
def test_a_column_that_nothing_reads_is_exactly_zero(table):
    X, score = table
    y = np.where(score > 0, "b", "a")
    model = LogisticRegression().fit(X[["p", "q"]].to_numpy(), y)

    class Two:
        classes_ = model.classes_

        def predict_proba(self, rows):
            return model.predict_proba(rows[["p", "q"]].to_numpy())

        def predict(self, rows):
            return self.classes_[(self.predict_proba(rows)[:, 1] > 0.7).astype(int)]

    def custom_accuracy(estimator, rows, truth):
        return (estimator.predict(rows) == truth).mean()

    explanation = pg.explain(
        Two(),
        X,
        y,
        scoring={"own": custom_accuracy, "accuracy": "accuracy", "auc": "roc_auc"},
        **QUIET,
    )
    assert (explanation.values[2:, :2] == 0).all()
    assert (explanation.std_error[2:, 1] == 0).all()
    assert (explanation.values[:2] > 0).all()
    assert (
        explanation.meta["scores"]["own"]
        == explanation.meta["scores"]["accuracy"]
        == (Two().predict(X) == y).mean()
    )


@pytest.mark.slow
def test_a_tuned_threshold_decides(table):
    X, score = table
    y = np.where(score > 0.8, "rare", "usual")
    costly = make_scorer(
        lambda truth, told: -np.mean((told != truth) * np.where(truth == "rare", 8, 1))
    )
    model = TunedThresholdClassifierCV(LogisticRegression(), scoring=costly, cv=3).fit(
        X, y
    )
    plain = model.classes_[model.predict_proba(X).argmax(axis=1)]
    assert (plain != model.predict(X)).mean() > 0.05, "its threshold must not be 0.5"
    compare(model, get_scorer("balanced_accuracy"), X, y, "balanced_accuracy")
    scores = pg.explain(model, X, y, scoring=["accuracy", "roc_auc"], **QUIET).meta[
        "scores"
    ]
    assert scores["accuracy"] == pytest.approx(model.score(X, y))
    assert scores["roc_auc"] == pytest.approx(
        roc_auc_score(y == model.classes_[1], model.predict_proba(X)[:, 1])
    )
    rows = X.iloc[:80]
    donor = X.iloc[[100]]
    want = -by_scikit_learn(
        model, lambda m, r, t: (m.predict(r) != t).mean(), rows, y[:80], donor
    )
    for more in (
        {},
        {"method": "permutation"},
        {"method": "shapley", "scope": "global"},
    ):
        explanation = explain_with(
            model, rows, y[:80], background=donor, loss="zero_one", **QUIET, **more
        )
        if not more.get("scope"):
            np.testing.assert_allclose(explanation.values[:, 0], want, atol=1e-12)
        assert explanation.meta["loss"] == "zero_one"
    missing = pg.missing_modalities(
        model, X, y, groups={"a": ["p"], "b": ["q"]}, loss="zero_one", **QUIET
    )
    assert missing.to_frame()["loss"].iloc[0] == pytest.approx(1 - model.score(X, y))
