"""Small pieces against their definitions: weights of branches, gradients of outputs, regions of foreign pictures."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import permgrad as pg
from permgrad.attribution.branch_weights import weigh_branches
from permgrad.attribution.gradients import network_gradients, output_gradients
from permgrad.attribution.moments import interval
from permgrad.imaging import ForeignRenderer
from permgrad.imaging.assignment import _standardised_sample


@pytest.mark.parametrize("sign", [1, -1, 0])
@pytest.mark.parametrize("quantity", ["loss", "divergence"])
def test_weights_of_branches_are_what_the_moments_say(sign, quantity):
    """Total, both branches, and what they do together, of which each has half."""
    mean, std = np.array([2.0, 1.5, 0.5, 0.3]) * (sign or 0.01), np.array([0.3, 0.2, 0.1, 0.05])
    count = np.full(4, 50.0)
    moments = SimpleNamespace(estimate=lambda: (mean, std, count))
    low, high, p_values = interval(mean, std, count, 0.9)
    found = weigh_branches(moments, ("tabular", "image"), 0.9, quantity)
    assert set(found) == {"tabular", "image", "interaction", "total", "quantity"}
    for place, name in ((1, "tabular"), (2, "image")):
        assert found[name] == {
            "importance": mean[place], "std": std[place], "ci_low": low[place], "ci_high": high[place],
            "p_value": p_values[place], "share": pytest.approx(mean[place] / mean[0]) if sign else None,
            "alone": mean[place] - mean[3] / 2, "last": mean[place] + mean[3] / 2,
        }  # fmt: skip
    assert found["interaction"] == mean[3]
    assert found["quantity"] == quantity
    assert {name: found["total"][name] for name in ("importance", "std", "ci_low", "ci_high")} == {
        "importance": mean[0], "std": std[0], "ci_low": low[0], "ci_high": high[0],
    }  # fmt: skip


@pytest.mark.parametrize("targets", [[0, 1, 2], [2, 0], [1], [1, 1, 0, 2], [2, 1, 0]])
@pytest.mark.parametrize("constant_sum", [True, False])
def test_gradients_of_outputs_one_by_one(targets, constant_sum):
    """Where outputs add up to a constant one of them costs nothing; none is wrong for it."""
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(5, 2, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))
    unused = torch.zeros(5, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, generator=generator, dtype=torch.float64)

    def outputs() -> torch.Tensor:
        return torch.softmax(torch.cat([first, second.sin()], dim=1) @ weight, dim=1)

    found = output_gradients(outputs(), targets, [first, second, unused], constant_sum=constant_sum)
    for leaf, own in zip((first, second), found, strict=False):
        assert own.shape == (len(targets), *leaf.shape)
        for place, target in enumerate(targets):
            (expected,) = torch.autograd.grad(outputs()[:, target].sum(), leaf)
            torch.testing.assert_close(own[place], expected, rtol=0, atol=1e-12)
    assert (found[2] == 0).all()
    assert not torch.signbit(found[2]).any(), "a plain zero"


def test_gradients_that_there_are_not():
    leaf = torch.ones(2, 2, requires_grad=True)
    assert (output_gradients(torch.ones(2, 1), [0], [leaf])[0] == 0).all(), "of what depends on nothing"

    for fault, expected in ((ValueError("no way back"), pg.InputError), (torch.OutOfMemoryError(), RuntimeError)):

        class Refused(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x * 2

            @staticmethod
            def backward(ctx, slopes, fault=fault):
                raise fault

        with pytest.raises(expected) as caught:
            network_gradients(Refused.apply(leaf), [0], [leaf])
        assert ("no way back" in str(caught.value)) == isinstance(caught.value, pg.InputError)


def test_foreign_pictures_depend_on_every_column():
    renderer = ForeignRenderer(lambda rows: np.zeros((len(rows), 2, 3, 4)), channels_last=False)
    rows = torch.zeros(5, 6)
    assert renderer(rows).shape == (5, 2, 3, 4)
    assert (renderer.channels, renderer.height, renderer.width) == (2, 3, 4)
    for columns in (0, [1, 2], range(6), np.array([3])):
        assert renderer.region_of(columns) == (0, 3, 0, 4)
        assert renderer.pixels_of(columns) == [(row, place) for row in range(3) for place in range(4)]
    for nothing in ([], range(0), np.array([], dtype=int)):
        assert renderer.region_of(nothing) == (0, 0, 0, 0)
        assert renderer.pixels_of(nothing) == []
    assert renderer.render_region(rows, (1, 3, 0, 2)).shape == (5, 2, 2, 2)


@pytest.mark.parametrize("unit", [1e-200, 1e-3, 1.0, 1e200])
def test_units_leave_standardised_columns_as_they_are(unit):
    table = np.random.default_rng(0).normal(size=(40, 3))
    scaled = table * np.array([1.0, unit, 1.0])
    np.testing.assert_allclose(_standardised_sample(scaled, 0), _standardised_sample(table, 0), rtol=1e-9, atol=1e-12)
