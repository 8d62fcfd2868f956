"""Estimators of the user among the models of a comparison: fitted anew on each fold,
explained by their raw columns.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from invoking import call
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import permgrad as pg
from permgrad.base.errors import InputError

QUIET = {"cv": 2, "progress": False, "random_state": 1}


def table(rows=160):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {"a": rng.normal(size=rows), "town": rng.choice(["Bonn", "Ulm", "Trier"], rows)}
    )
    return X, np.where(
        X["a"] + (X["town"] == "Ulm") + rng.normal(0, 0.3, rows) > 0.4, "ill", "well"
    )


def pipeline():
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["town"]), remainder="passthrough"
    )
    return make_pipeline(encode, LogisticRegression())


def test_a_pipeline_is_fitted_on_each_fold_and_explained():
    X, y = table()
    fitted = pipeline().fit(X, y)
    before = fitted[-1].coef_.copy()
    comparison = pg.compare(["linear", ("mine", fitted), pipeline()], X, y, **QUIET)
    scores = comparison.scores.set_index(["model", "fold"])["roc_auc"]
    assert (
        scores["mine"] == scores["Pipeline"]
    ).all()  # what it was fitted on before changes nothing
    assert (scores["mine"] > 0.9).all()
    np.testing.assert_array_equal(fitted[-1].coef_, before)
    shares = comparison.shares()
    assert set(shares.index) == {"a", "town"}
    # The same rows, donors and kind of model: the importances nearly agree.
    np.testing.assert_allclose(shares["mine"], shares["linear"], atol=0.1)


@pytest.mark.slow
def test_a_model_says_how_its_estimator_is_read():
    X, y = table()
    model = pg.Model(pipeline(), positive="well", batch_size=50)
    comparison = pg.compare(
        [("alone", pipeline()), ("said", model), model], X, y, **QUIET
    )
    assert comparison.failures == []
    for frame, measured in (
        (comparison.scores, "roc_auc"),
        (comparison.importances, "importance"),
    ):
        by_model = {
            name: frame.loc[frame["model"] == name, measured].to_numpy()
            for name in comparison.names
        }
        np.testing.assert_allclose(by_model["said"], by_model["alone"], rtol=1e-9)
        np.testing.assert_array_equal(by_model["Pipeline"], by_model["said"])


def test_numbers_are_predicted_and_a_seed_is_given():
    X, _ = table()
    y = 3 * X["a"]
    models = [RandomForestRegressor(20), ("ridge", Ridge())]
    first, second = (
        pg.compare(models, X[["a"]], y, **QUIET).scores["rmse"] for _ in range(2)
    )
    pd.testing.assert_series_equal(first, second)


@pytest.mark.parametrize(
    "entry",
    [Ridge, 3, object(), ("a", 1), ("", Ridge()), pg.Model(np.sin), ("a", pg.Model(3))],
)
def test_what_cannot_be_fitted_is_refused(entry):
    X, y = table()
    with pytest.raises(InputError, match="must be a name, an estimator"):
        pg.compare(["linear", entry], X, y, **QUIET)


def test_two_of_one_name_are_refused():
    X, y = table()
    with pytest.raises(InputError, match="named twice"):
        pg.compare([pipeline(), pipeline()], X, y, **QUIET)


def test_a_fitted_file_is_refused_because_it_may_have_seen_the_rows(tmp_path):
    X, y = table()
    X.assign(y=y).to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "m.onnx").write_text("x")
    words = (
        "--target",
        "y",
        "--models",
        f"linear,{tmp_path / 'm.onnx'}",
        "--out",
        tmp_path / "out",
    )
    message = call("compare", tmp_path / "t.csv", *words, code=2)
    assert "may have been fitted on the rows" in " ".join(message.split())
    assert not (tmp_path / "out").exists()
