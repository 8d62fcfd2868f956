"""The natural size of an importance against closed forms, and the time that a local explanation says it took."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import permgrad as pg


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
