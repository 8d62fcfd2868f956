"""Epochs judged at their best temperature, and outputs divided by it in the end."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch

import permgrad as pg
from permgrad.models.estimators.calibration import best_temperature
from permgrad.models.estimators.presets import preset_from_dict
from permgrad.models.network.network import HybridNetwork
from permgrad.models.train.learner import (
    TrainingJob,
    TrainingOptions,
    mean_loss,
    predict,
    train,
)
from permgrad.models.train.training_rows import Rows


def make_rows(count: int, seed: int, classes: int = 3) -> Rows:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 4))
    y = np.argmax(x[:, :classes] + rng.normal(scale=0.7, size=(count, classes)), axis=1)
    weight = rng.uniform(0.5, 1.5, size=count)
    return Rows(
        torch.from_numpy(x).float(),
        torch.from_numpy(y),
        torch.from_numpy(weight).float(),
    )


def trained(members: int = 1, **options: object) -> tuple[HybridNetwork, float, Rows]:
    torch.manual_seed(0)
    network = HybridNetwork(
        4,
        3,
        {
            "dense_units": [32],
            "fusion_units": [],
            "normalization": "none",
            "members": members,
        },
        paths=("tabular",),
    )
    validation_rows = make_rows(300, 1)
    settings = TrainingOptions(
        **{"max_epochs": 12, "batch_size": 32, "schedule": "constant", **options}
    )
    result = train(
        TrainingJob(
            network,
            make_rows(200, 0),
            validation_rows,
            settings,
            seed=0,
            progress=False,
        )
    )
    return (
        network,
        min(record["validation_loss"] for record in result.history),
        validation_rows,
    )


@pytest.mark.parametrize("members", [1, 3])
def test_the_network_has_the_loss_it_was_chosen_for(members: int) -> None:
    network, best, validation_rows = trained(
        members, label_smoothing=0.3, refinement=True, learning_rate=0.01
    )
    assert mean_loss(
        predict(network, validation_rows), validation_rows, "cross_entropy"
    ) == pytest.approx(best, rel=1e-5)
    # Smoothed labels alone leave the network too unsure.
    unsure, _, _ = trained(members, label_smoothing=0.3, learning_rate=0.01)
    assert (
        mean_loss(predict(unsure, validation_rows), validation_rows, "cross_entropy")
        > best * 1.02
    )


def test_no_other_temperature_is_better() -> None:
    network, best, validation_rows = trained(
        label_smoothing=0.2, refinement=True, learning_rate=0.01
    )
    outputs = predict(network, validation_rows)
    for temperature in (0.8, 0.95, 1.05, 1.25):
        losses = torch.nn.functional.cross_entropy(
            outputs / temperature, validation_rows.y, reduction="none"
        )
        assert (
            float(
                (losses * validation_rows.weight).sum() / validation_rows.weight.sum()
            )
            > best
        )


def test_squared_errors_have_no_temperature() -> None:
    rows = make_rows(60, 0)
    numbers = Rows(rows.x, rows.x[:, 0] * 2, rows.weight)
    network_outputs = []
    for refinement in (False, True):
        torch.manual_seed(0)
        network = HybridNetwork(
            4, 1, {"dense_units": [8], "normalization": "none"}, paths=("tabular",)
        )
        options = TrainingOptions(
            max_epochs=2, loss="squared_error", refinement=refinement
        )
        train(TrainingJob(network, numbers, numbers, options, seed=0, progress=False))
        network_outputs.append(predict(network, numbers))
    assert torch.equal(network_outputs[0], network_outputs[1])


def test_few_rows_without_error_do_not_make_it_infinitely_sure() -> None:
    logits = np.array([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])
    y = np.array([0, 1, 0])
    weights = np.ones(3)
    assert best_temperature(logits, y, weights) < 0.05
    assert 0.3 < best_temperature(logits, y, weights, spread=1.0) < 1
    # With many rows the prior does not count.
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=20_000)
    many_logits = np.eye(2)[y] + rng.normal(size=(20_000, 2))
    plain, bounded = (
        best_temperature(many_logits, y, np.ones(len(y)), spread=spread)
        for spread in (np.inf, 1.0)
    )
    assert bounded == pytest.approx(plain, rel=1e-3)


@pytest.mark.slow
def test_the_default_gives_honest_probabilities() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(900, 3))
    chance = 1 / (1 + np.exp(-2 * X[:, 0]))
    y = (rng.uniform(size=900) < chance).astype(int)
    # Few epochs suffice here; what is asked is the scale of the probabilities.
    preset = preset_from_dict({"base": "default", "max_epochs": 6})
    model = pg.HyNNClassifier(preset=preset, random_state=0, progress=False).fit(
        X[:600], y[:600]
    )
    predicted_chances = model.predict_proba(X[600:])[:, 1]
    odds = np.log(predicted_chances / (1 - predicted_chances))
    truth = 2 * X[600:, 0]
    assert model.training_options_["label_smoothing"] > 0
    assert np.polyfit(truth, odds, 1)[0] == pytest.approx(1, abs=0.35)


def test_killed_and_resumed_it_is_the_same(tmp_path) -> None:
    states = []
    for epochs in ((12,), (5, 12)):
        folder = tmp_path / str(len(epochs))
        folder.mkdir()
        for last in epochs:
            torch.manual_seed(0)
            network = HybridNetwork(
                4, 3, {"dense_units": [8], "normalization": "none"}, paths=("tabular",)
            )
            options = TrainingOptions(
                max_epochs=12, refinement=True, label_smoothing=0.2, schedule="constant"
            )
            stop = _StopAfter(last)
            with contextlib.suppress(KeyboardInterrupt):
                job = TrainingJob(
                    network,
                    make_rows(100, 0),
                    make_rows(80, 1),
                    options,
                    0,
                    False,
                    folder,
                )
                train(job, on_epoch=stop)
            assert stop.stopped == (last < 12)
        states.append(network.state_dict())
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name])


class _StopAfter:
    """Interrupts a training after a number of epochs, unless they are all."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.stopped = False

    def __call__(self, record: dict[str, float]) -> bool:
        if record["epoch"] == self.last < 12:
            self.stopped = True
            raise KeyboardInterrupt
        return False
