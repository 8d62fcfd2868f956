"""Activations bound how many rows go through a network at once, not the size of its
inputs.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.subject.network import bytes_per_row

#: Numbers that a row becomes inside: 1 MB of float32.
NUMBERS = 2**18
FEW = 8
MANY = 64


class Wide(nn.Module):
    """Draws a table as a signal of many numbers, and notes how many rows are there at
    once.
    """

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.entry = nn.Linear(5, 3)
        self.after = nn.Identity()
        self.numbers = numbers
        self.most = 0

    def forward(self, x: Tensor) -> Tensor:
        self.most = max(self.most, len(x))
        hidden = self.after(torch.tanh(self.entry(x)))
        drawn = (
            hidden[:, :1] * torch.linspace(0, 1, self.numbers, dtype=x.dtype)
            + hidden[:, 1:2]
        )
        return drawn.square().mean(dim=1) + hidden.sum(dim=1)


def explain(numbers: int, **options: object) -> tuple[pg.Explanation, int]:
    torch.manual_seed(0)
    net = Wide(numbers)
    rows = torch.randn(12, 5, dtype=torch.float64)
    explanation = explain_with(
        net.double(), rows, random_state=0, progress=False, **options
    )
    return explanation, net.most


@pytest.mark.parametrize(
    "options",
    [
        {"method": "shapley", "background": torch.zeros(2, 5)},
        {"method": "permutation", "n_repeats": 4},
        {"method": "ablation", "scope": "local"},
        {"method": "shapley", "layer": "after", "background": torch.zeros(2, 5)},
    ],
    ids=["shapley", "permutation", "ablation", "layer"],
)
@pytest.mark.slow
def test_rows_at_once_are_bounded_by_what_the_network_computes(options):
    explanation, most = explain(NUMBERS, **options)
    small, largest_batch = explain(64, **options)
    assert largest_batch >= 12, "a network of small activations takes all rows at once"
    assert np.abs(small.values).max() > 0.01
    assert most <= FEW // 2, (
        "a row of float64 takes 2 MB, so that 8 MB are four of them"
    )
    full_explanation, full_batch = explain(NUMBERS, **options, batch_size=12)
    assert full_batch <= 12
    np.testing.assert_allclose(
        explanation.values, full_explanation.values, rtol=1e-9, atol=1e-12
    )


def test_weights_and_what_is_only_looked_at_do_not_count():
    net = nn.Sequential(nn.Linear(2000, 500), nn.Linear(500, 3))
    assert (
        bytes_per_row(lambda inputs: net(inputs[0]), [torch.zeros(1, 2000)]) == 4 * 500
    )

    def looks(inputs: list[Tensor]) -> Tensor:
        return inputs[0].expand(-1, 10_000).sum(dim=1)

    assert bytes_per_row(looks, [torch.zeros(1, 1)]) == 4
