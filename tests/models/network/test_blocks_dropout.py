"""Dropout: torch's in all but the bits that its masks are drawn from."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from permgrad.models.network.blocks import Dropout, dense_stack
from permgrad.models.network.options import ACTIVATIONS, NetworkOptions


@pytest.mark.parametrize("p", [0.1, 0.5, 0.99])
def test_a_share_of_numbers_is_zero_and_the_mean_stays(p):
    torch.manual_seed(0)
    numbers = torch.ones(1000, 333, requires_grad=True)
    dropped = Dropout(p)(numbers)
    share = float((dropped == 0).float().mean())
    assert share == pytest.approx(
        p, abs=5 * (p * (1 - p) / numbers.numel()) ** 0.5 + 2**-16
    )
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / (1 - p)], rel=1e-3)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.03)
    # Neighbours in one random word are drawn apart.
    zeros = (dropped == 0).double().flatten()
    assert float((zeros[:-1] * zeros[1:]).mean()) == pytest.approx(p**2, abs=0.005)
    dropped.sum().backward()
    assert torch.equal(numbers.grad == 0, dropped == 0)


def test_nothing_is_dropped_where_torch_drops_nothing():
    numbers = torch.randn(5, 3)
    assert torch.equal(Dropout(0.5).eval()(numbers), numbers)
    assert torch.equal(Dropout(0.0)(numbers), numbers)
    assert torch.equal(Dropout(1.0)(numbers), nn.Dropout(1.0)(numbers))


def test_the_seed_tells_the_mask():
    numbers = torch.randn(40, 7)
    masks = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        masks.append(Dropout(0.5)(numbers))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_masks_over_the_numbers_that_an_activation_returns_change_nothing(activation):
    options = NetworkOptions(activation=activation, dropout=0.3, normalization="none")
    layers, _ = dense_stack(5, (7,), options)
    mask_results = []
    rows = torch.randn(6, 5)
    for overwrite in (layers[-1].overwrite, False):
        torch.manual_seed(0)
        layers[-1].train().overwrite = overwrite
        given_rows = rows.clone().requires_grad_()
        out = nn.Sequential(*layers)(given_rows)
        out.square().sum().backward()
        mask_results.append((out.detach(), given_rows.grad))
    assert all(
        torch.equal(ours, theirs) for ours, theirs in zip(*mask_results, strict=True)
    )
    assert bool((mask_results[0][0] == 0).any())
