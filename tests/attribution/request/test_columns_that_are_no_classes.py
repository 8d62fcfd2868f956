"""Several outputs beside whole numbers: scores of classes, or quantiles, thresholds, a
mean and a variance.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg

X = torch.randn(150, 3, generator=torch.Generator().manual_seed(3))
A = X[:, 0].numpy()


class Net(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x[:, 0])


def columns(*values: Any) -> Tensor:
    return torch.stack(torch.broadcast_tensors(*map(torch.as_tensor, values)), dim=1)


def explain(
    function: Callable[[Tensor], Tensor], y: np.ndarray, **options: Any
) -> pg.Explanation:
    call_options = {
        "method": "permutation",
        "random_state": 0,
        "n_repeats": 2,
        "progress": False,
        **options,
    }
    return explain_with(Net(function), X, y, **call_options)


def quantiles(a: Tensor) -> Tensor:
    """Of numbers spread by 1 around 2 + 1.5 a, which rise by other steps in each
    row.
    """
    spread = 0.5 + a.sigmoid()
    return columns(2 + 1.5 * a - spread, 2 + 1.5 * a, 2 + 1.5 * a + 2 * spread, 9 + a)


def thresholds(a: Tensor) -> Tensor:
    return torch.sigmoid(3 * a[:, None] - torch.tensor([-2.0, 0.5, 2.0, 6.0]))


IN_ORDER = {"rise": (quantiles, np.clip(np.round(2 + 1.5 * A), 0, 3).astype(int)),
            "fall": (thresholds, np.digitize(3 * A, [-2.0, 0.5, 2.0]))}  # fmt: skip


@pytest.mark.parametrize("way", IN_ORDER)
def test_columns_in_one_order_in_every_row_are_no_classes(way):
    function, y = IN_ORDER[way]
    with pytest.raises(
        pg.InputError,
        match=rf"4 outputs {way} from column to column.*loss=.*returns='values'",
    ):
        explain(function, y)
    assert explain(function, y, returns="logits").meta["loss"] == "cross_entropy"
    # What the message names works, and so do methods that measure no loss.
    explain(function, y, returns="values", target=1)
    explain(function, y, loss=("quantile", (0.1, 0.5, 0.9, 0.99)))
    explanation = explain(function, y, loss=lambda outputs, y: (outputs[:, 1] - y) ** 2)
    assert explanation.ranking()[0] == "x[0]"
    explain(function, y, method="integrated_gradients")


def test_a_predictor_is_asked_as_a_network_is():
    with pytest.raises(pg.InputError, match="4 outputs rise"):
        pg.explain(
            lambda rows: quantiles(torch.as_tensor(np.asarray(rows)[:, 0])).numpy(),
            X.numpy(), IN_ORDER["rise"][1], method="permutation", random_state=0, progress=False,
        )  # fmt: skip


OTHERS = {
    "mean and variance": (
        lambda a: columns(0.4 + 0.3 * a, 1 + 0.1 * a.abs()),
        (A > -0.3).astype(int),
    ),
    "two quantiles": (lambda a: columns(2 * a - 1, 2 * a + 1), (A > 0.2).astype(int)),
    "in the other order": (lambda a: columns(2 * a, -2 * a, -9), (A > 0).astype(int)),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_columns_that_say_less_of_y_than_its_frequencies_are_named(kind):
    with pytest.warns(
        pg.PermgradWarning,
        match="taken for logits of the classes 0 … .*returns='values'",
    ):
        explain(*OTHERS[kind])


SCORES = {
    "sure": (
        lambda a: columns(0, 30 * a),
        (A + np.random.default_rng(0).normal(0, 1.5, 150) > 0).astype(int),
    ),
    "three": (lambda a: columns(-3 * a, 0, 3 * a), np.digitize(A, [-0.6, 0.6])),
    "one class alone": (lambda a: columns(3 + 0.1 * a, 1, 0), np.zeros(150, dtype=int)),
    "in one order, by frequency": (
        lambda a: columns(2.5 - 2 * a.clamp(-1, 1), 0, -1.5),
        (A > 1.2).astype(int),
    ),
}


@pytest.mark.parametrize("kind", SCORES)
def test_scores_of_classes_are_taken_for_what_they_are(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error", pg.PermgradWarning)
        assert explain(*SCORES[kind]).meta["loss"] == "cross_entropy"


def test_more_levels_than_columns_name_what_works():
    with pytest.raises(
        pg.InputError,
        match=r"from 0 to 3.*, got 4\. .*returns='values'.*loss= a function",
    ):
        explain(quantiles, np.arange(150) % 8)
