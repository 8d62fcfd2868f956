"""A training ends when its validation loss rises, and not when it pauses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from permgrad.models.network.network import HybridNetwork
from permgrad.models.train.ending import rises
from permgrad.models.train.learner import Learner, TrainingJob, TrainingOptions, train
from permgrad.models.train.training_rows import Rows

HELOC = [100.0, 99.0, 99.09, 99.31, 99.31, 99.36, 99.36, 99.57, 99.70]


@pytest.mark.parametrize("epochs", range(1, 10))
def test_a_loss_that_has_risen_for_long_ends_a_training(epochs):
    assert rises(HELOC[:epochs]) == (epochs >= 8)


def test_a_loss_that_goes_up_and_down_does_not_rise():
    noise = np.random.default_rng(0).normal(size=200)
    ends = sum(rises((10 + noise[start : start + 12]).tolist()) for start in range(180))
    assert ends < 12
    assert not rises([math.nan] * 20)
    assert rises([1.0, *[1.2 + 0.01 * epoch for epoch in range(8)]])


# Of air fares and of few houses, from their best of the first half on. Both fall
# further once the rate does.
FARES = [0.2829, 0.2847, 0.2846, 0.2832, 0.2838, 0.2840, 0.2839, 0.2839, 0.2835, 0.2830]
HOUSES = [
    0.5146,
    0.5229,
    0.5231,
    0.5208,
    0.5199,
    0.5235,
    0.5260,
    0.5267,
    0.5218,
    0.5178,
]


@pytest.mark.parametrize("epochs", range(1, 11))
def test_a_loss_that_pauses_does_not_rise(epochs):
    assert not rises(FARES[:epochs])
    assert not rises(HOUSES[:epochs])


@pytest.mark.parametrize(("patience", "epochs"), [(12, 8), (7, 8), (5, 7), (None, 9)])
def test_a_training_ends_when_its_loss_rises_or_its_patience_does(
    monkeypatch, patience, epochs
):
    losses = iter(HELOC)
    monkeypatch.setattr(Learner, "_judge", lambda _, rows: (next(losses), 1.0))
    X = torch.rand(50, 3)
    rows = Rows(X, X.sum(1), torch.ones(50))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = HybridNetwork(3, 1, {"dense_units": [4]}, paths=("tabular",))
    options = TrainingOptions(
        loss="squared_error", max_epochs=9, patience=patience, batch_size=32
    )
    trained = train(TrainingJob(net, rows, rows, options, seed=0, progress=False))
    assert (len(trained.history), trained.best_epoch) == (epochs, 2)
