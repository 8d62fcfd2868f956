"""The first convolution block computed where a picture shows something equals the ordinary layers."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from permgrad.imaging import Renderer, StoredLayout
from permgrad.imaging.layout import Blur
from permgrad.models.network.network import HybridNetwork
from permgrad.models.train.image_entry import ImageEntry, seen_windows

POSITIONS = [[0, 0], [3, 7], [3, 8], [11, 4], [11, 11]]
CORNER = [[0, 0], [0, 2]]


def network(options: dict | None = None, *, blur: bool = False, positions: list | None = None) -> HybridNetwork:
    """A small network in float64 whose weights, biases and factors are all drawn, some factors negative."""
    positions = POSITIONS if positions is None else positions
    layout = StoredLayout(positions, 12, "mean", Blur(np.pi, 1, 1) if blur else None)
    renderer = Renderer(layout, [0.0] * len(positions), [1.0] * len(positions), channels=3, scale=255)
    torch.manual_seed(0)
    given = {"dense_units": [8], "conv_filters": [6, 8], "fusion_units": [8], "dropout": 0.0, **(options or {})}
    made = HybridNetwork(len(positions), 2, given, renderer=renderer).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        if isinstance(made.image_branch[2], nn.BatchNorm2d):
            made.image_branch[2].weight[:2] *= -1
    return made.train()


def rows(count: int = 9, columns: int = 5) -> torch.Tensor:
    return torch.rand(count, columns, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def dense(own: HybridNetwork) -> HybridNetwork:
    """The same network, which always draws the whole picture."""
    other = copy.deepcopy(own)
    other._image_entry = lambda: None
    return other


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"blur": True, "positions": CORNER},
        {"options": {"kernel_size": 5, "conv_filters": [4]}, "positions": CORNER},
        {"options": {"pooling": [3, 2]}},
        {"options": {"pooling": [4, 1]}, "positions": CORNER},
    ],
    ids=["plain", "blur", "kernel 5", "windows of 3", "windows of 4"],
)
def test_outputs_gradients_and_statistics_are_those_of_the_layers(case):
    quick = network(**case)
    slow = dense(quick)
    x = rows(columns=quick.encoded)
    entry = quick._image_entry()
    assert entry is not None, "the case must be one that is computed sparsely"
    assert (quick.image_branch[2].weight < 0).any(), "filters with a negative factor pool the smallest value"
    for own in (quick, slow):
        for _ in range(2):
            own.zero_grad()
            out = own(x)
            (out**2 * torch.arange(1.0, len(x) + 1, dtype=torch.float64)[:, None]).sum().backward()
        own.out = out.detach()
    torch.testing.assert_close(quick.out, slow.out, rtol=1e-10, atol=1e-10)
    for (name, own), other in zip(quick.named_parameters(), slow.parameters(), strict=True):
        assert other.grad.abs().max() > 0, name
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-8, atol=1e-8 * float(other.grad.abs().max()), msg=name)
    for (name, own), other in zip(quick.named_buffers(), slow.buffers(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-10, atol=1e-10, msg=name)


def test_one_step_of_float32_training_stays_near():
    quick = network().float()
    slow = dense(quick)
    x = rows(32).float()
    for own in (quick, slow):
        own(x).square().mean().backward()
    for own, other in zip(quick.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-2, atol=1e-3 * float(other.grad.abs().max()))


def test_windows_are_found_by_trying_every_pixel():
    own = network()
    convolution, pooling = own.image_branch[0], own.image_branch[3]
    with torch.no_grad():
        empty = convolution(own.renderer(torch.zeros(1, 5, dtype=torch.float64)))
        seen = (convolution(own.renderer(rows())) - empty).abs().amax(dim=(0, 1), keepdim=True) > 0
    want = pooling(seen.double()).flatten().nonzero()[:, 0]
    assert 0 < len(want) < 36
    assert seen_windows(own.renderer, 3, 2).tolist() == want.tolist()


@pytest.mark.parametrize(
    ("options", "positions"),
    [
        ({"activation": "silu"}, None),
        ({"conv_normalization": "none"}, None),
        ({"conv_normalization": "layer"}, None),
        ({"pooling": [1]}, None),
        ({"pooling": [5]}, None),
        ({}, [[row, column] for row in range(12) for column in range(12)]),
    ],
    ids=["activation", "no normalisation", "layer norm", "no pooling", "windows leave a rest", "a full picture"],
)
def test_other_networks_are_left_to_their_layers(options, positions):
    assert network(options, positions=positions)._image_entry() is None


def test_it_stands_back_when_somebody_looks():
    own = network()
    entry = own._image_entry()
    assert entry.suits(rows())
    assert not entry.suits(rows().requires_grad_())
    handle = own.image_branch[1].register_forward_hook(lambda *_: None)
    assert not entry.suits(rows())
    handle.remove()
    own.image_branch[2].eval()
    assert not entry.suits(rows())


def test_prediction_never_uses_it(monkeypatch):
    own = network().eval()
    monkeypatch.setattr(ImageEntry, "__call__", lambda *_: pytest.fail("used in eval mode"))
    assert own(rows()).shape == (9, 2)


def test_a_copy_has_an_entry_of_its_own():
    own = network()
    before = own(rows())
    other = copy.deepcopy(own)
    with torch.no_grad():
        other.image_branch[0].weight.zero_()
    own.image_branch[2].reset_running_stats()
    torch.testing.assert_close(own(rows()), before)
    assert not torch.allclose(other(rows()), before)
