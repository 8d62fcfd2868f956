"""The natural size of an importance against closed forms, and the time that a local explanation says it took."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import permgrad as pg
from permgrad.attribution.importance import weighted_median


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
    found = pg.explain(net, rows, y, method="permutation", n_repeats=1, random_state=0, progress=False, **options)
    return found.meta["loss_scale"]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("squared_error", lambda y: np.mean((y - y.mean()) ** 2)),
        ("absolute_error", lambda y: np.mean(np.abs(y - np.median(y)))),
    ],
)
def test_of_a_regression(rows, skewed, loss, expected):
    net = nn.Linear(3, 1)
    assert scale_of(net, rows, skewed, loss=loss, task="regression") == pytest.approx(expected(skewed))


def test_of_weighted_rows_it_is_that_of_rows_as_often_as_they_weigh(rows, skewed):
    """Closed form: a whole weight is a row given so many times; and no other constant has less absolute error."""
    net = nn.Linear(3, 1)
    weights = np.random.default_rng(1).integers(0, 4, 60).astype(float)
    weights[np.argmax(skewed)] = 40.0
    often = np.repeat(skewed, weights.astype(int))
    assert abs(np.median(often) - np.median(skewed)) > 0.3
    expected = np.mean(np.abs(often - np.median(often)))
    options = {"loss": "absolute_error", "task": "regression", "sample_weight": weights}
    assert scale_of(net, rows, skewed, **options) == pytest.approx(expected)
    assert expected < np.average(np.abs(skewed - np.median(skewed)), weights=weights) - 0.01
    others = np.linspace(skewed.min(), skewed.max(), 2000)
    reached = np.average(np.abs(skewed[:, None] - others), weights=weights, axis=0)
    assert expected <= reached.min() + 1e-12


@pytest.mark.parametrize("seed", range(5))
def test_the_weighted_median_is_the_median_of_repeated_values(seed):
    rng = np.random.default_rng(seed)
    values, weights = rng.integers(0, 5, 9).astype(float), rng.integers(0, 3, 9).astype(float)
    weights[seed] = 2
    often = np.repeat(values, weights.astype(int))
    assert weighted_median(values, weights) == weighted_median(values, 4 * weights) == np.median(often)
    assert weighted_median(values, np.ones(9)) == weighted_median(values, None) == np.median(values)


def test_of_classes_it_is_their_entropy(rows):
    y = np.repeat([0, 1, 2], [30, 20, 10])
    shares = np.array([30, 20, 10]) / 60
    net = nn.Linear(3, 3)
    assert scale_of(net, rows, y, output_kind="logits") == pytest.approx(-(shares * np.log(shares)).sum())


def test_a_local_explanation_says_how_long_it_took(rows):
    model = pg.HyNNRegressor(preset="fast", max_epochs=2, random_state=0, progress=False)
    X = pd.DataFrame(rows.numpy(), columns=list("abc"))
    model.fit(X, X["a"].to_numpy())
    begun = time.perf_counter()
    found = pg.explain(model, X[:20], method="permutation", scope="local", n_repeats=4, random_state=0, progress=False)
    assert 0 < found.meta["seconds"] < time.perf_counter() - begun
