"""Rows without their texts or photos: what a network learns of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import log_loss

import permgrad as pg
import permgrad.models.network.network as network_module
from permgrad.models.network.network import HybridNetwork

QUICK = {
    "preset": "fast",
    "random_state": 0,
    "progress": False,
    "branches": ("tabular",),
}


def made(rows, seed):
    """The text tells nearly all, and the table tells some."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, rows)
    told_classes = np.where(rng.random(rows) < 0.05, 1 - y, y)
    words = np.array([["bad", "poor", "dull"], ["good", "fine", "fun"]])
    texts = [
        f"{rng.choice(words[told_class])} film number {rng.integers(999)} with "
        f"{rng.choice(words[told_class])} actors"
        for told_class in told_classes
    ]
    table = {f"x{k}": rng.normal(size=rows) + 0.5 * y for k in range(4)}
    return pd.DataFrame({"text": texts, **table}), y


@pytest.mark.slow
def test_rows_without_their_text_are_predicted_as_by_the_table():
    X, y = made(1000, 0)
    held_out_rows, truth = made(1500, 1)
    model = pg.HyNNClassifier(**QUICK).fit(X, y)
    alone = pg.HyNNClassifier(kinds={"text": "identifier"}, **QUICK).fit(X, y)
    full, table = (
        log_loss(truth, fitted_model.predict_proba(held_out_rows))
        for fitted_model in (model, alone)
    )
    assert full < table - 0.25
    assert table < 0.6
    missing = log_loss(truth, model.predict_proba(held_out_rows.assign(text=None)))
    assert missing < table + 0.02


def test_some_rows_lack_a_block_in_training_alone():
    net = HybridNetwork(
        6,
        2,
        {"dense_units": [8], "dropout": 0.0},
        paths=("tabular",),
        absent_blocks=[[1], [3, 4]],
    )
    rows = torch.ones(4000, 6)
    branch_inputs = []
    net.table_branch.register_forward_pre_hook(
        lambda _, inputs: branch_inputs.append(inputs[0])
    )
    torch.manual_seed(0)
    net.train()(rows)
    lacking = branch_inputs[0] == 0
    assert not lacking[:, [0, 2, 5]].any()
    assert (lacking[:, 3] == lacking[:, 4]).all()
    shares = lacking[:, [1, 3]].float().mean(dim=0)
    assert torch.allclose(shares, torch.full((2,), network_module.ABSENT), atol=0.02)
    assert (
        abs(
            float((lacking[:, 1] & lacking[:, 3]).float().mean())
            - network_module.ABSENT**2
        )
        < 0.01
    )
    net.eval()(rows)
    assert (branch_inputs[1] == 1).all()


def test_networks_without_texts_draw_nothing():
    net = HybridNetwork(
        6, 2, {"dense_units": [8], "dropout": 0.0}, paths=("tabular",)
    ).train()
    state = torch.get_rng_state()
    net(torch.ones(5, 6))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.slow
@pytest.mark.parametrize("members", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_a_training_that_was_stopped_ends_as_one_that_was_not(tmp_path, members):
    X, y = made(160, 2)
    options = {**QUICK, "max_epochs": 5, "network": {"members": members}}
    whole_model = pg.HyNNClassifier(**options).fit(X, y)
    assert "text" in whole_model.preprocessor_.scores_.columns
    stopped = {
        "checkpoint_folder": tmp_path,
        "on_epoch": lambda line: line["epoch"] == 2,
    }
    pg.HyNNClassifier(**options).fit(X, y, **stopped)
    resumed = pg.HyNNClassifier(**options).fit(X, y, checkpoint_folder=tmp_path)
    assert len(resumed.history_) == len(whole_model.history_) == 5
    assert (resumed.predict_proba(X) == whole_model.predict_proba(X)).all()


@pytest.mark.slow
def test_scores_of_a_timed_table_do_not_know_the_rows_held_out():
    X, y = made(300, 3)
    time = np.arange(300)
    changed_target = y.copy()
    changed_target[-30:] = 1 - changed_target[-30:]  # the latest tenth
    fits = [
        pg.HyNNClassifier(max_epochs=2, **QUICK).fit(X, target_values, row_time=time)
        for target_values in (y, changed_target)
    ]
    first, second = (
        model.preprocessor_.scores_.of("text", ["good fun", "dull"]) for model in fits
    )
    assert first.any()
    assert (first == second).all()
    untimed = [
        pg.HyNNClassifier(max_epochs=2, **QUICK).fit(X, target_values)
        for target_values in (y, changed_target)
    ]
    assert (
        untimed[0].preprocessor_.scores_.of("text", ["dull"])
        != untimed[1].preprocessor_.scores_.of("text", ["dull"])
    ).all()
