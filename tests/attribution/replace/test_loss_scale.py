"""The natural size of an importance against closed forms, and the time that a local
explanation says it took.
"""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from torch import nn

import permgrad as pg
from permgrad.models.losses import losses, weighted_median


@pytest.fixture(scope="module")
def rows():
    return torch.randn(60, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def skewed():
    """A target whose mean, median and zero lie apart."""
    y = np.exp(np.random.default_rng(0).normal(size=60)) + 5
    assert abs(y.mean() - np.median(y)) > 0.3
    return y


def scale_of(net, rows, y, **options):
    explanation = explain_with(
        net,
        rows,
        y,
        method="permutation",
        n_repeats=1,
        random_state=0,
        progress=False,
        **options,
    )
    return explanation.meta["loss_scale"]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("squared_error", lambda y: np.mean((y - y.mean()) ** 2)),
        ("absolute_error", lambda y: np.mean(np.abs(y - np.median(y)))),
    ],
)
def test_of_a_regression(rows, skewed, loss, expected):
    net = nn.Linear(3, 1)
    assert scale_of(net, rows, skewed, loss=loss, task="regression") == pytest.approx(
        expected(skewed)
    )


def test_of_weighted_rows_it_is_that_of_rows_as_often_as_they_weigh(rows, skewed):
    """Closed form: a whole weight is a row given so many times; and no other constant
    has less absolute error.
    """
    net = nn.Linear(3, 1)
    weights = np.random.default_rng(1).integers(0, 4, 60).astype(float)
    weights[np.argmax(skewed)] = 40.0
    often = np.repeat(skewed, weights.astype(int))
    assert abs(np.median(often) - np.median(skewed)) > 0.3
    expected = np.mean(np.abs(often - np.median(often)))
    options = {"loss": "absolute_error", "task": "regression", "sample_weight": weights}
    assert scale_of(net, rows, skewed, **options) == pytest.approx(expected)
    assert (
        expected
        < np.average(np.abs(skewed - np.median(skewed)), weights=weights) - 0.01
    )
    reference_values = np.linspace(skewed.min(), skewed.max(), 2000)
    reached = np.average(
        np.abs(skewed[:, None] - reference_values), weights=weights, axis=0
    )
    assert expected <= reached.min() + 1e-12


@pytest.mark.parametrize("seed", range(5))
def test_the_weighted_median_is_the_median_of_repeated_values(seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 5, 9).astype(float)
    weights = rng.integers(0, 3, 9).astype(float)
    weights[seed] = 2
    often = np.repeat(values, weights.astype(int))
    assert (
        weighted_median(values, weights)
        == weighted_median(values, 4 * weights)
        == np.median(often)
    )
    assert (
        weighted_median(values, np.ones(9))
        == weighted_median(values, None)
        == np.median(values)
    )


def test_of_classes_it_is_their_entropy(rows):
    y = np.repeat([0, 1, 2], [30, 20, 10])
    shares = np.array([30, 20, 10]) / 60
    net = nn.Linear(3, 3)
    assert scale_of(net, rows, y, returns="logits") == pytest.approx(
        -(shares * np.log(shares)).sum()
    )


def test_a_local_explanation_says_how_long_it_took(rows):
    model = pg.HyNNRegressor(
        preset="fast", max_epochs=2, random_state=0, progress=False
    )
    X = pd.DataFrame(rows.numpy(), columns=list("abc"))
    model.fit(X, X["a"].to_numpy())
    begun = time.perf_counter()
    explanation = pg.explain(
        model,
        X[:20],
        method="permutation",
        scope="local",
        n_repeats=4,
        random_state=0,
        progress=False,
    )
    assert 0 < explanation.meta["seconds"] < time.perf_counter() - begun


@pytest.mark.parametrize("task_loss", ["squared_error", "absolute_error"])
def test_of_weighted_rows_it_is_that_of_rows_that_stand_there_more_often(
    rows, skewed, task_loss
):
    """The best constant for an absolute error is then the weighted median."""
    weight = np.arange(60) % 4 * (skewed > np.median(skewed)) + 1
    again = np.repeat(np.arange(60), weight)
    net = nn.Linear(3, 1)
    options = {"loss": task_loss, "task": "regression"}
    weighted = scale_of(net, rows, skewed, sample_weight=weight, **options)
    assert weighted == pytest.approx(
        scale_of(net, rows[again], skewed[again], **options)
    )
    assert weighted != pytest.approx(scale_of(net, rows, skewed, **options), rel=0.01)
    constants = np.linspace(skewed.min(), skewed.max(), 4001)
    power = 2 if task_loss == "squared_error" else 1
    best = min(
        np.average(np.abs(skewed - constant) ** power, weights=weight)
        for constant in constants
    )
    assert weighted == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("cross_entropy", -(0.5 * np.log(0.5) + 2 * 0.25 * np.log(0.25))),
        ("brier", 1 - (0.5**2 + 2 * 0.25**2)),
        ("zero_one", 0.5),
    ],
)
def test_of_classes_it_is_the_loss_of_their_shares(loss, expected):
    """A class that nobody has changes nothing."""
    for shares in ([0.25, 0.5, 0.25], [0.25, 0.0, 0.5, 0.25, 0.0]):
        assert losses[loss].of_shares(np.array(shares)) == pytest.approx(expected)


def test_of_weighted_classes_it_is_that_of_their_weights(rows):
    y = np.repeat([0, 2], [30, 30])
    weight = np.repeat([1.0, 3.0], [30, 30])
    net = nn.Linear(3, 3)
    loss_scale = scale_of(net, rows, y, returns="logits", sample_weight=weight)
    assert loss_scale == pytest.approx(-(0.25 * np.log(0.25) + 0.75 * np.log(0.75)))


def test_without_y_there_is_no_such_size(rows):
    assert np.isnan(scale_of(nn.Linear(3, 3), rows, None, returns="logits"))
