"""Our dropout: rates, scale, gradient, memory format, and torch's own wherever it is not meant."""

from __future__ import annotations

import pytest
import torch

from permgrad.models.train.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_share_and_scale_are_exact(p):
    torch.manual_seed(0)
    x = torch.ones(400_000)
    out = Dropout(p)(x)
    kept = out != 0
    error = (p * (1 - p) / len(x)) ** 0.5
    assert abs(float((~kept).float().mean()) - p) < 4 * error + 2**-16
    share = round(p * 65536) / 65536
    assert torch.equal(out[kept].unique(), torch.tensor([1 / (1 - share)]))


def test_neighbours_are_independent():
    torch.manual_seed(1)
    kept = (Dropout(0.5)(torch.ones(400_000)) != 0).float() - 0.5
    for lag in (1, 2, 3, 4, 8):
        assert abs(float((kept[lag:] * kept[:-lag]).mean())) < 4 * 0.25 / 400_000**0.5


def test_gradient_is_the_mask():
    x = torch.rand(64, 8).add(0.5).requires_grad_()
    out = Dropout(0.3)(x)
    out.sum().backward()
    torch.testing.assert_close(x.grad, out.detach() / x.detach())
    assert (x.grad == 0).any()


def test_memory_format_is_kept_both_ways():
    x = torch.rand(4, 6, 5, 5).to(memory_format=torch.channels_last).requires_grad_()
    out = Dropout(0.3)(x)
    assert out.is_contiguous(memory_format=torch.channels_last)
    (grad,) = torch.autograd.grad(out, x, torch.rand(4, 6, 5, 5))
    assert grad.is_contiguous(memory_format=torch.channels_last)
    strided = torch.rand(6, 8).t()[:, ::2]
    assert Dropout(0.3)(strided).shape == (8, 3)


def test_seed_decides_and_draws_move_on():
    layer, x = Dropout(0.4), torch.ones(1000)
    torch.manual_seed(3)
    first, second = layer(x), layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)


def test_nothing_happens_in_evaluation_or_at_zero():
    x = torch.ones(10)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
    assert torch.equal(Dropout(1.0)(x), torch.zeros(10))


def test_float64_is_torchs_own():
    x = torch.ones(1000, dtype=torch.float64)
    torch.manual_seed(5)
    ours = Dropout(0.5)(x)
    torch.manual_seed(5)
    assert torch.equal(ours, torch.nn.functional.dropout(x, 0.5))
