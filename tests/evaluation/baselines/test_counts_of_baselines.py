"""Baselines of counts minimise the Poisson loss where their library has it, and offsets
are weights of rates.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import permgrad as pg
from permgrad.evaluation.baselines.fitting import (
    BaselineRows,
    baselines,
    fit_baseline,
    run_baselines,
)
from permgrad.evaluation.baselines.table_model import table_model

POISSON = ("lightgbm", "xgboost", "catboost", "histogram_boosting", "linear")


def counts(rows=600, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 3)).astype(np.float32)
    X[:, 0] = rng.integers(0, 2, rows)
    years = rng.uniform(0.2, 3, rows)
    return X, rng.poisson(years * np.exp(0.8 * X[:, 0] + 0.4 * X[:, 1] - 1)), years


def test_the_rate_ratio_of_the_linear_baseline_is_the_closed_form():
    X, y, years = counts(4000)
    sport = X[:, :1]
    fitted = fit_baseline(
        "linear",
        "regression",
        BaselineRows(sport, y / years, weights=years),
        counts=True,
    )
    low, high = fitted.guess(np.array([[0.0], [1.0]], dtype=np.float32))
    rates = [y[sport[:, 0] == k].sum() / years[sport[:, 0] == k].sum() for k in (0, 1)]
    assert high / low == pytest.approx(rates[1] / rates[0], rel=1e-3)


@pytest.mark.parametrize("name", POISSON)
def test_baselines_predict_rates_above_0_and_beat_a_constant(name, tmp_path):
    if not baselines.get(name).available():
        pytest.skip(f"{name} is not installed")
    X, y, years = counts()
    baseline_rows = {
        part_name: BaselineRows(X[rows], y[rows] / years[rows], weights=years[rows])
        for part_name, rows in (
            ("train", slice(0, 300)),
            ("validation", slice(300, 450)),
            ("test", slice(450, 600)),
        )
    }
    baseline_metrics = run_baselines(
        "regression", baseline_rows, names=[name], counts=True
    )[name]
    mean = y[:300].sum() / years[:300].sum()
    loss = (
        2
        * (
            np.where(y > 0, y * np.log(np.maximum(y, 1) / (mean * years)), 0)
            - y
            + mean * years
        )[450:]
    )
    assert baseline_metrics["poisson_deviance"] < loss.sum() / years[450:].sum()
    table = pd.DataFrame(X, columns=list("abc"))
    model = table_model("regression", name, loss="poisson").fit(
        table, y, (table[:200], y[:200])
    )
    guess = model.predict(table)
    assert guess.min() > 0
    ends = model.predict_parts(table, 0.9)["inside"]
    assert ends.min() >= 0
    explained = pg.explain(model, table, y, n_repeats=2, random_state=0, progress=False)
    assert (explained.meta["loss"], explained.meta["unit"]) == ("poisson", "deviance")
    if baselines.get(name).file == "skops":
        pytest.importorskip("skops")
    model.save(tmp_path / "m")
    again = pg.load(tmp_path / "m")
    np.testing.assert_allclose(again.predict(table), guess, rtol=1e-6)
    assert again.counts


def test_other_numbers_have_no_deviance():
    X, y, _ = counts(200)
    rows = BaselineRows(X, y)
    baseline_metrics = run_baselines(
        "regression", {"train": rows, "test": rows}, names=["random_forest"]
    )
    assert "poisson_deviance" not in baseline_metrics["random_forest"]


@pytest.mark.parametrize("name", ["extra_trees", "random_forest"])
def test_leaves_without_an_event_have_a_deviance(name):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    y = np.where(X[:, 0] > 0, rng.poisson(3.0, 300), 0)
    model = table_model("regression", name, loss="poisson").fit(X[:200], y[:200])
    rows = X[200:]
    predicted = model.predict(rows)
    assert predicted.min() < 1e-6, "a leaf without events"
    assert (predicted > 0).all()
    explanation = pg.explain(model, rows, y[200:], progress=False)
    assert explanation.values[0, 0] > explanation.values[1, 0]
