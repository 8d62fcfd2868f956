"""How the branches beside a network are fitted is a fact of its loss, never a guess by
the range of y.
"""

import numpy as np
import pandas as pd
import pytest
import torch

import permgrad as pg
from permgrad.base.errors import InputError
from permgrad.evaluation.baselines.table_model import TableRegressor
from permgrad.models.losses import Loss, losses

ROWS = 120
QUIET = {"random_state": 0, "progress": False}


def inverse_gaussian(outputs, y):
    mean = outputs[:, 0].double()
    truth = y.double()
    return (truth - mean).square() / (truth * mean.square())


def of_shares(outputs, y):
    share = outputs[:, 0].double()
    return torch.nn.functional.binary_cross_entropy(share, y.double(), reduction="none")


FACTS = {"tasks": ("regression",), "unit": "deviance", "of_mean": True}


@pytest.fixture
def registered():
    before = dict(losses)
    positive = {**FACTS, "positive": True, "accepts": lambda y: y > 0, "needs": "> 0"}
    losses.register("inverse_gaussian", **positive)(inverse_gaussian)
    losses.register("by_counts", **positive, fitted_by="poisson")(inverse_gaussian)
    losses.register("shares", **FACTS)(
        lambda outputs, y: of_shares(outputs.clamp(1e-3, 1 - 1e-3), y)
    )
    yield
    losses.clear()
    losses.update(before)


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(ROWS, 2)), columns=["dose", "age"])
    return X, np.exp(0.8 * X["dose"].to_numpy()) * rng.gamma(9, 1 / 9, ROWS)


def fitted(loss, X, y, **options):
    options = {"preset": "fast", "branches": ("tabular", "linear"), **options}
    model = pg.HyNNRegressor(loss=loss, max_epochs=2, **QUIET, **options)
    return model.fit(X, y, eval_set=(X, y))


def test_a_positive_loss_that_says_nothing_has_no_branches(registered, table):
    X, y = table
    assert losses["inverse_gaussian"].fitted_by == ""
    with pytest.raises(
        InputError,
        match=r"are fitted for means of classes, of numbers or of counts, and "
        r"loss='inverse_gaussian' does not say by which. Leave these branches out",
    ):
        fitted("inverse_gaussian", X, y)
    preset = {"base": "fast", "beside": ["linear"]}
    model = fitted("inverse_gaussian", X, y, preset=preset, branches=None)
    assert not model.branches_
    assert (model.predict(X) > 0).all()


def test_one_that_says_counts_has_them_and_is_judged_by_itself(registered, table):
    X, y = table
    model = fitted("by_counts", X, y)
    branch = model.branches_["linear"]
    assert branch["label"] == "Poisson regression"
    assert branch["kept"]
    assert (model.predict(X) > 0).all()
    share = branch["share"]
    assert 0 < share < 1
    # The mean loss of the rest, and what the branch gains, are of the loss itself.
    measured = np.mean((y - model.predict(X)) ** 2 / (y * model.predict(X) ** 2))
    assert branch["loss"] - branch["gain"] == pytest.approx(measured, rel=1e-3)


def test_a_loss_of_shares_is_fitted_by_squares_and_judged_by_itself(registered, table):
    X, y = table
    shares = 1 / (1 + np.exp(-y))
    assert losses["shares"].fitted_by == "squared_error"
    model = fitted("shares", X, shares)
    branch = model.branches_["linear"]
    assert branch["label"] == "ridge regression"
    predicted = np.clip(model.predict(X), 1e-3, 1 - 1e-3)
    measured = -np.mean(
        shares * np.log(predicted) + (1 - shares) * np.log1p(-predicted)
    )
    assert branch["loss"] - branch["gain"] == pytest.approx(measured, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "fitted_by"),
    [
        ("cross_entropy", "cross_entropy"),
        ("brier", "cross_entropy"),
        ("squared_error", "squared_error"),
        ("poisson", "poisson"),
        ("absolute_error", ""),
        ("quantile", ""),
    ],
)
def test_every_loss_says_how_its_branches_are_fitted(name, fitted_by):
    assert losses[name].fitted_by == fitted_by


def test_facts_that_contradict_each_other_are_refused():
    with pytest.raises(InputError, match="other libraries minimise cross_entropy, squ"):
        Loss("mine", inverse_gaussian, **FACTS, fitted_by="gamma")
    with pytest.raises(InputError, match="rates above 0, and it is not positive"):
        Loss("mine", inverse_gaussian, **FACTS, fitted_by="poisson")


def test_other_counts_are_no_poisson_counts(registered, table):
    X, y = table
    losses.register("negative_binomial", **FACTS, positive=True, counts=True)(
        inverse_gaussian
    )
    model = TableRegressor("linear", loss="negative_binomial")
    with pytest.raises(InputError, match="'negative_binomial' trains networks, and no"):
        model.fit(X, y)
