"""What a network said of the rows that it keeps is kept from call to call."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
import torch

import permgrad as pg
from permgrad.attribution.subject.repeated import repeated
from permgrad.models.fast.inference import FoldedNetwork


@pytest.fixture(name="rows", scope="module")
def _rows():
    values = np.random.default_rng(5).normal(size=(240, 8))
    return pd.DataFrame(values, columns=[f"x{column}" for column in range(8)])


@pytest.fixture(name="model")
def _model(rows):
    score = rows["x0"] * rows["x1"] + rows["x2"]
    model = pg.HyNNClassifier(
        branches=("tabular",), max_epochs=3, random_state=0, progress=False
    )
    return model.fit(rows, np.where(score > 0, "yes", "no"))


@pytest.fixture(name="asked")
def _asked(monkeypatch):
    """Return a list to which each call of a network adds its number of rows."""
    counts = []
    predict = FoldedNetwork.__call__

    def counted(self, encoded):
        counts.append(len(encoded))
        return predict(self, encoded)

    monkeypatch.setattr(FoldedNetwork, "__call__", counted)
    return counts


def test_a_second_row_asks_for_its_own_rows_alone(model, rows, asked):
    first = model.reasons(rows[:1])
    of_first = sum(asked)
    asked.clear()
    second = model.reasons(rows[1:2])
    assert sum(asked) < of_first / 2
    fresh = deepcopy(model)
    pd.testing.assert_frame_equal(fresh.reasons(rows[1:2]), second, check_exact=True)
    pd.testing.assert_frame_equal(fresh.reasons(rows[:1]), first, check_exact=True)


def test_other_weights_are_asked_again(model, rows):
    before = model.reasons(rows[:1])
    changed = deepcopy(model)
    for network in (model.module_, changed.module_):
        for weight in network.parameters():
            weight.data.mul_(0.5)
    after = model.reasons(rows[:1])
    assert not after.equals(before), "the precondition"
    pd.testing.assert_frame_equal(after, changed.reasons(rows[:1]), check_exact=True)


def test_a_watched_network_is_asked_each_time(model, rows):
    seen = []
    handle = model.module_.register_forward_hook(
        lambda _module, inputs, _outputs: seen.append(len(inputs[0]))
    )
    try:
        model.reasons(rows[:1])
        first = list(seen)
        seen.clear()
        model.reasons(rows[:1])
    finally:
        handle.remove()
    assert first
    assert seen == first


def test_answers_are_those_of_equal_batches_and_the_latest_stay(model):
    answers = repeated(model.module_)
    assert answers is repeated(model.module_)
    batches = [torch.full((2, 3), float(number)) for number in range(40)]
    asked = []

    def ask(number):
        asked.append(number)
        return torch.tensor([[float(number)]])

    for number, batch in enumerate(batches):
        answers.of("all", batch, lambda number=number: ask(number))
    assert answers.of("all", batches[39].clone(), lambda: ask(-1)).item() == 39.0
    assert answers.of("some", batches[39], lambda: ask(-2)).item() == -2.0
    answers.of("all", batches[39], lambda: ask(-1)).add_(1)
    assert answers.of("all", batches[39], lambda: ask(-1)).item() == 39.0
    assert answers.of("all", batches[0], lambda: ask(-3)).item() == -3.0
    assert asked == [*range(40), -2, -3]
