"""Counts: the Poisson loss, exact zeros, weights and offsets, against closed forms and
against LightGBM.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from explaining import explain_with
from sklearn.metrics import mean_poisson_deviance

import permgrad as pg
from permgrad import InputError
from permgrad.integrations.onnx_files import _Predicting
from permgrad.models.estimators.learned import _raise_to
from permgrad.models.train.training_rows import Rows

ROWS = 1200
#: All rows in each step, to the optimum.
EXACT = {
    "preset": {"base": "fast", "learning_rate": 0.03, "schedule": "cosine", "weight_decay": 0.0},
    "loss": "poisson", "validation_fraction": 0.0, "batch_size": 2 * ROWS, "max_epochs": 300, "random_state": 0,
    "progress": False,
}  # fmt: skip


def claims(rows=ROWS, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "age": rng.normal(size=rows),
            "sport": rng.integers(0, 2, rows),
            "town": rng.choice(list("abc"), rows),
        }
    )
    years = rng.uniform(0.2, 3, rows)
    rate = np.exp(0.5 * X["age"] + 0.7 * X["sport"] + 0.3 * (X["town"] == "a") - 1)
    return X, rng.poisson(years * rate), years, rate


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
def test_the_rate_ratio_of_a_binary_feature_is_the_closed_form(weighted):
    _, y, years, _ = claims()
    rng = np.random.default_rng(1)
    sport = rng.integers(0, 2, ROWS)
    weights = rng.uniform(0.5, 2, ROWS) if weighted else np.ones(ROWS)
    model = pg.HyNNRegressor(**EXACT)
    model.fit(
        sport[:, None].astype(float),
        y,
        sample_weight=weights if weighted else None,
        offset=np.log(years),
    )
    low, high = model.predict(np.array([[0.0], [1.0]]))
    rates = [
        (weights * y)[sport == k].sum() / (weights * years)[sport == k].sum()
        for k in (0, 1)
    ]
    assert high / low == pytest.approx(rates[1] / rates[0], rel=1e-3)
    assert [low, high] == pytest.approx(rates, rel=1e-3)


def test_an_offset_is_a_weight_of_rates_and_no_feature():
    X, y, years, rate = claims()
    model = pg.HyNNRegressor(
        preset="fast", loss="poisson", max_epochs=8, random_state=0, progress=False
    )
    model.fit(X[:900], y[:900], offset=np.log(years[:900]))
    rate_model = pg.HyNNRegressor(
        preset="fast", loss="poisson", max_epochs=8, random_state=0, progress=False
    )
    rate_model.fit(X[:900], y[:900] / years[:900], sample_weight=years[:900])
    rates = model.predict(X[900:])
    counts = model.predict(X[900:], offset=np.log(years[900:]))
    np.testing.assert_array_equal(rates, rate_model.predict(X[900:]))
    np.testing.assert_allclose(counts, rates * years[900:], rtol=1e-12)
    best = years[900:] * rate[900:]
    constant = np.full(300, y[:900].sum() / years[:900].sum()) * years[900:]
    deviances = [
        mean_poisson_deviance(y[900:], guess) for guess in (counts, best, constant)
    ]
    assert deviances[0] < 1.1 * deviances[1] < deviances[2]
    low, high = model.predict_interval(X[900:], 0.8, offset=np.log(years[900:])).T
    assert low.min() >= 0
    assert 0.7 < np.mean((low <= y[900:]) & (y[900:] <= high)) < 0.95


@pytest.mark.parametrize("preset", ["fast", {"members": 4}, "image"])
def test_counts_of_zero_are_learned_saved_and_explained(preset, tmp_path):
    X, y, years, _ = claims(400)
    y = np.where(X["town"] == "c", 0, y)
    options = {"fast": {}, "image": {"image": "always"}}.get(
        preset if isinstance(preset, str) else "", {"network": preset}
    )
    model = pg.HyNNRegressor(
        preset="fast",
        loss="poisson",
        max_epochs=4,
        random_state=0,
        progress=False,
        **options,
    )
    model.fit(X, y, offset=np.log(years))
    rates = model.predict(X)
    assert (rates >= 0).all()
    assert model.training_mean_ == pytest.approx(y.sum() / years.sum(), rel=0.2)
    model.save(tmp_path / "m")
    again = pg.load(tmp_path / "m")
    np.testing.assert_array_equal(again.predict(X), rates)
    np.testing.assert_allclose(
        _Predicting(again).eval()(_encoded(model, X)).detach().numpy(), rates, rtol=1e-5
    )
    options = {"n_repeats": 2, "random_state": 0, "progress": False}
    explanation = explain_with(again, X, y / years, sample_weight=years, **options)
    assert (
        explanation.meta["loss"],
        explanation.meta["unit"],
        explanation.meta["offset"],
    ) == (
        "poisson",
        "deviance",
        0.0,
    )
    mean = np.average(
        2
        * (
            np.where(y > 0, y * np.log(np.maximum(y, 1) / (rates * years)), 0)
            - y
            + rates * years
        )
        / years,
        weights=years,
    )
    assert explanation.meta["model_loss"] == pytest.approx(mean, rel=1e-4)
    for method in ("shapley", "integrated_gradients", "deeplift"):
        values = pg.explain(
            model, X[:2], method=method, random_state=0, progress=False
        ).values
        assert np.isfinite(values).all()


def _encoded(model, X):
    import torch

    return torch.from_numpy(model.encode_rows(X).encoded)


def test_rates_of_later_rows_are_raised_by_a_factor():
    X, y, _, _ = claims(300)
    model = pg.HyNNRegressor(
        preset="fast", loss="poisson", max_epochs=2, random_state=0, progress=False
    )
    before = model.fit(X, y).predict(X)
    validation_rows = Rows(
        _encoded(model, X), _tensor(2 * y / model.target_scale_), _tensor(np.ones(300))
    )
    from permgrad.base.dependence import Dependence

    raised = _raise_to(
        model, validation_rows, np.ones(300), Dependence(np.arange(300), timed=True)
    )
    after = model.predict(X)
    np.testing.assert_allclose(after / before, (after / before)[0], rtol=1e-4)
    assert after.mean() - before.mean() == pytest.approx(raised, rel=1e-4)
    assert raised > 0


def _tensor(values):
    import torch

    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def test_what_no_counts_are_is_refused(tmp_path):
    X, y, years, _ = claims(60)
    make = lambda **options: pg.HyNNRegressor(  # noqa: E731
        preset="fast", max_epochs=1, progress=False, **options
    )
    with pytest.raises(InputError, match=r"needs y of at least 0, but it holds -1"):
        make(loss="poisson").fit(X, y - 1.0 * (y == 0))
    with pytest.raises(InputError, match=r"offset is for loss='poisson'"):
        make().fit(X, y, offset=np.log(years))
    with pytest.raises(
        InputError,
        match="offset must lie between -100 and 100, but that of row 3 is -inf",
    ):
        make(loss="poisson").fit(
            X, y, offset=np.where(np.arange(60) == 3, -np.inf, 0.0)
        )
    with pytest.raises(
        InputError, match="offset must have one value for each of the 60 rows"
    ):
        make(loss="poisson").fit(X, y, offset=0.0)
    with pytest.raises(
        InputError, match=r"loss must be one of 'squared_error', 'poisson'|loss"
    ):
        make(loss="poison").fit(X, y)
    with pytest.raises(InputError, match=r"offset is for models of loss='poisson'"):
        make().fit(X, y).predict(X, offset=np.log(years))
    X.assign(y=y).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(
        InputError, match="fit_stream does not train with loss='poisson'"
    ):
        make(loss="poisson").fit_stream(tmp_path / "t.parquet", "y")


@pytest.mark.slow
def test_the_test_deviance_is_near_that_of_lightgbm():
    lightgbm = pytest.importorskip("lightgbm")
    rng = np.random.default_rng(0)
    rows = 6_000
    X = pd.DataFrame(rng.normal(size=(rows, 6)), columns=list("abcdef")).assign(
        town=rng.choice(list("uvwxyz"), rows)
    )
    level = X["town"].map(dict(zip("uvwxyz", rng.normal(0, 0.4, 6), strict=True)))
    rate = np.exp(
        0.4 * X["a"]
        - 0.3 * X["b"] * (X["c"] > 0)
        + 0.3 * np.sin(2 * X["d"])
        + level
        - 0.5
    )
    y = rng.poisson(rate)
    train = slice(0, 3600)
    validation_slice = slice(3600, 4800)
    test = slice(4800, rows)
    own_model = pg.HyNNRegressor(loss="poisson", random_state=0, progress=False)
    own_model.fit(
        X[train], y[train], eval_set=(X[validation_slice], y[validation_slice])
    )
    coded = X.assign(town=X["town"].astype("category"))
    peer = lightgbm.LGBMRegressor(
        objective="poisson",
        n_estimators=1000,
        learning_rate=0.05,
        random_state=0,
        verbosity=-1,
    )
    stop = [lightgbm.early_stopping(50, verbose=False)]
    peer.fit(
        coded[train],
        y[train],
        eval_set=[(coded[validation_slice], y[validation_slice])],
        callbacks=stop,
    )
    ours, theirs = (
        mean_poisson_deviance(y[test], guess)
        for guess in (own_model.predict(X[test]), peer.predict(coded[test]))
    )
    assert ours <= 1.005 * theirs
