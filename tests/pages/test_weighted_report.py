"""``pg.report(sample_weight=…)``: whole weights say what repeated rows say, and nothing
counts rows once in silence.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from assessing import assessed, words
from sklearn.linear_model import LinearRegression, LogisticRegression

import permgrad as pg
from permgrad.base.errors import InputError
from permgrad.pages import report as reporting

pytestmark = pytest.mark.usefixtures("undrawn")
QUICK = {"progress": False}


@pytest.fixture
def content(monkeypatch):
    """The assessments of the reports of a test."""
    seen_contents = []
    render = reporting.render_report
    monkeypatch.setattr(
        reporting,
        "render_report",
        lambda rendered_content, **look: [
            seen_contents.append(rendered_content),
            render(rendered_content, **look),
        ][1],
    )
    return seen_contents


def survey(rows: int = 240) -> tuple[pd.DataFrame, np.ndarray, pd.Series, np.ndarray]:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(rows, 3)), columns=["age", "dose", "noise"])
    weights = pd.Series(
        np.where(X["dose"] > 0, 6, rng.integers(0, 3, rows)), name="survey weight"
    )
    weights.iloc[0] = 1
    weights.iloc[1] += (
        10 - weights.sum() % 10
    )  # so that a tenth of the rows is a whole number
    y = 2 * X["age"].to_numpy() - X["dose"].to_numpy() ** 2 + rng.normal(size=rows)
    return X, y, weights, np.repeat(np.arange(rows), weights)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.filterwarnings("ignore:.*rows of .* repeat another row")
def test_whole_weights_give_the_scores_and_importances_of_repeated_rows(task):
    X, y, weights, again = survey()
    assert (weights == 0).any(), "rows of weight 0 are among them"
    model = LinearRegression()
    if task == "classification":
        y = np.where(y > 0, "high", "low")
        model = LogisticRegression()
    model.fit(X, y)
    background_option = {
        "background": X[:1]
    }  # a single donor: importances have no chance
    weighted = assessed(model, X, y, sample_weight=weights, **background_option)
    repeated = assessed(
        model, X.iloc[again].reset_index(drop=True), y[again], **background_option
    )
    plain = assessed(model, X, y, **background_option)
    for metrics_part in ("test", "constant"):
        for name, value in repeated.metrics[metrics_part].items():
            if isinstance(value, float):
                assert weighted.metrics[metrics_part][name] == pytest.approx(
                    value, rel=1e-9
                ), (
                    metrics_part,
                    name,
                )
    first = "log_loss" if task == "classification" else "rmse"
    assert weighted.test[first] != pytest.approx(plain.test[first], rel=0.01)
    np.testing.assert_allclose(
        weighted.explanation.values, repeated.explanation.values, rtol=1e-9
    )
    assert not np.allclose(
        weighted.explanation.values, plain.explanation.values, rtol=0.05
    )
    if task == "regression":
        # The closed form: what the loss rises by when a column has the donor's value.
        error = y - model.predict(X)
        moved = error[:, None] + model.coef_ * (X.to_numpy() - X.to_numpy()[0])
        rise = np.average(moved**2 - error[:, None] ** 2, axis=0, weights=weights)
        np.testing.assert_allclose(weighted.explanation.values[:, 0], rise, rtol=1e-9)
    ahead, copies = (
        assessment.constant["ahead"][first] for assessment in (weighted, repeated)
    )
    assert ahead["difference"] == pytest.approx(copies["difference"], rel=1e-9)
    assert ahead["ci_high"] - ahead["ci_low"] > copies["ci_high"] - copies["ci_low"], (
        "copies are no further rows"
    )


@pytest.mark.slow
def test_the_page_says_what_weighs_rows_and_leaves_out_what_cannot(content):
    X, y, weights, _ = survey()
    labels = pd.Series(np.where(y > 0, "high", "low"), name="pressure")
    model = LogisticRegression().fit(X, labels)
    train = (X, labels)
    page_words = words(
        pg.report(model, X, labels, sample_weight=weights, train=train, **QUICK)
    )
    plain = words(pg.report(model, X, labels, train=train, **QUICK))
    assert (
        page_words.count("weigh the test rows by survey weight: they are worth") == 2
    ), "in the verdict, and among all caveats"
    for gone in (
        "Groups of rows",
        "Where to set the threshold",
        "Are its probabilities reliable?",
        "ROC curves",
        "It finds",
    ):
        head = {"Groups of rows": "Groups of rows Every", "It finds": "It finds "}.get(
            gone, gone
        )
        assert head not in page_words
    for there in (
        "Where to set the threshold",
        "Are its probabilities reliable?",
        "ROC curves",
    ):
        assert there in plain, "the precondition"
    weighted = content[0]
    assert weighted.data.constant_from == "test", "the training rows have no weights"
    assert np.sum(weighted.test["confusion_matrix"]) == pytest.approx(weights.sum())
    # Weights count by their ratio.
    pg.report(model, X, labels, sample_weight=weights / 1e6, train=train, **QUICK)
    assert content[2].test["roc_auc"] == pytest.approx(weighted.test["roc_auc"])
    assert content[2].constant["ahead"]["roc_auc"] == pytest.approx(
        weighted.constant["ahead"]["roc_auc"]
    )


def test_reports_refuse_weights_that_they_cannot_use():
    X, y, weights, _ = survey(60)
    model = LinearRegression().fit(X, y)
    for further in ({"sensitive": "dose"}, {"refits": 5, "train": (X, y)}):
        with pytest.raises(
            InputError,
            match=r"takes no sample_weight, because it counts every row once. Leave "
            r"one of them out",
        ):
            pg.report(model, X, y, sample_weight=weights, **further, **QUICK)
    with pytest.raises(
        InputError,
        match="sample_weight must be finite and at least 0, but that of row 0 is -1",
    ):
        pg.report(model, X, y, sample_weight=-np.ones(60), **QUICK)
