"""Rounding of large numbers that cancel is no dependence on other rows, and what
depends on them is still refused.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import permgrad as pg
from permgrad import InputError


class Cancels(nn.Module):
    """Adds large numbers, in another order where there are several rows, and takes them
    off again.
    """

    def __init__(self, mixed: float = 0.0) -> None:
        super().__init__()
        self.wide = nn.Linear(6, 40)
        self.few = nn.Linear(6, 3)
        self.mixed = mixed

    def forward(self, rows):
        large = self.wide(rows) * 1e5
        added = (large if len(rows) == 1 else large.flip(1)).cumsum(1)[:, -1:]
        remainder = (large.sum(1, keepdim=True) - added) * torch.arange(
            3, dtype=rows.dtype
        )
        return torch.softmax(
            self.few(rows) + remainder + self.mixed * rows.mean(0)[:3], 1
        )


@pytest.mark.parametrize("rows", [1, 4])
def test_rounding_within_a_network_is_not_blamed_on_other_rows(rows, recwarn):
    torch.manual_seed(0)
    net = Cancels().double().eval()
    inputs = torch.randn(rows, 6).double()
    with torch.no_grad():
        moved = (
            (net(inputs[:1]) - net(torch.cat([inputs[:1], 0 * inputs[:1]]))[:1])
            .abs()
            .max()
        )
    assert moved > 1024 * np.finfo(float).eps  # more than the outputs' own rounding
    explanation = pg.explain(
        pg.Model(net, returns="probabilities"),
        inputs,
        method="gradient",
        progress=False,
    )
    assert np.isfinite(explanation.values).all()
    assert not [
        warning
        for warning in recwarn
        if issubclass(warning.category, pg.PermgradWarning)
    ]


def test_small_effects_of_other_rows_are_still_refused():
    torch.manual_seed(0)
    net = Cancels(mixed=1e-4).double().eval()
    inputs = torch.randn(1, 6).double()
    with pytest.raises(InputError, match="the other rows of the batch change it"):
        pg.explain(
            pg.Model(net, returns="probabilities"),
            inputs,
            method="gradient",
            progress=False,
        )
