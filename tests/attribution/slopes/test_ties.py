"""Ties of maxima and norms of equal vectors: their slopes are those of torch, shared
alike.
"""

from __future__ import annotations

from collections.abc import Callable

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import permgrad as pg


class _Join(nn.Module):
    """One encoder for two inputs, and what compares them."""

    def __init__(self, join: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.encode = nn.Linear(3, 4)
        self.join = join

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.join(self.encode(left), self.encode(right)).sum(dim=-1)


_MAXIMA: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "maximum of a wider one": lambda a, b: torch.maximum(
        a[:, None], torch.stack([b, b - 9], dim=1)
    ).flatten(1),
    "fmin": torch.fmin,
    "method": lambda a, b: -a.minimum(b),
    "max of two": lambda a, b: torch.max(a, other=b),
    "amin of three": lambda a, b: torch.stack([a, b, a + 5], dim=2).amin(dim=2),
    "amax, kept": lambda a, b: torch.cat([a[..., None], b[..., None]], dim=-1).amax(
        -1, keepdim=True
    )[..., 0],
}


@pytest.mark.parametrize("name", list(_MAXIMA))
@pytest.mark.parametrize("method", ["integrated_gradients", "deeplift"])
def test_ties_of_maxima_are_shared_alike(name: str, method: str) -> None:
    same = torch.tensor([[2.0, -1.0, 0.5], [0.3, 0.2, -2.0]])
    rows = {"left": same, "right": same.clone()}
    net = _Join(_MAXIMA[name]).eval()
    zeros = tuple(torch.zeros_like(tensor) for tensor in rows.values())
    attributions = captum.attr.IntegratedGradients(net).attribute(
        tuple(rows.values()), zeros, n_steps=400
    )
    expected_values = torch.cat(attributions, dim=1).detach().numpy()
    if name == "fmin":  # torch itself gives ties of this one to the first
        expected_values = (expected_values + np.roll(expected_values, 3, axis=1)) / 2
    assert np.abs(expected_values).max() > 0.1
    values = pg.explain(
        pg.Model(net, task="regression"), rows, method=method, progress=False
    ).values[..., 0]
    np.testing.assert_allclose(values, expected_values, atol=1e-4)


@pytest.mark.parametrize("name", ["fmin", "max of two", "amin of three"])
def test_without_ties_who_leads_has_all(name: str) -> None:
    drawn = torch.Generator().manual_seed(2)
    rows = {
        "left": torch.randn(4, 3, generator=drawn),
        "right": torch.randn(4, 3, generator=drawn),
    }
    net = _Join(_MAXIMA[name]).eval()
    ends = {key: tensor[:1] + 3 for key, tensor in rows.items()}
    attributions = captum.attr.IntegratedGradients(net).attribute(
        tuple(rows.values()),
        tuple(ends.values()),
        n_steps=3000,
        method="riemann_middle",
    )
    expected_values = torch.cat(attributions, dim=1).detach().numpy()
    values = pg.explain(
        pg.Model(net, task="regression"),
        rows,
        method=pg.methods.IntegratedGradients(baseline=ends),
        progress=False,
    )
    np.testing.assert_allclose(values.values[..., 0], expected_values, atol=5e-3)


_LENGTHS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "norm": lambda a, b: torch.norm(a - b, dim=1, keepdim=True),
    "vector_norm": lambda a, b: torch.linalg.vector_norm(a - b, dim=-1, keepdim=True),
    "std_error": lambda a, b: (a - b).std(dim=1, keepdim=True),
}


@pytest.mark.parametrize("name", list(_LENGTHS))
def test_a_length_of_zero_has_no_slope(name: str) -> None:
    same = torch.randn(5, 3, generator=torch.Generator().manual_seed(2))
    rows = {
        "left": same,
        "right": torch.cat([same[:2], same[2:] * torch.tensor([2.0, -1.0, 1.0])]),
    }
    net = _Join(_LENGTHS[name]).eval()
    for method in ("deeplift", "integrated_gradients"):
        explanation = pg.explain(
            pg.Model(net, task="regression"), rows, method=method, progress=False
        )
        assert not explanation.values[
            :2
        ].any()  # equal at both ends, and all the way between them
        assert np.abs(explanation.values[2:]).max() > 0.1
        assert explanation.meta["completeness_gap"] < 1e-3


def test_slopes_that_are_no_numbers_name_what_may_be_the_cause() -> None:
    net = _Join(lambda a, b: (a - b).square().sum(dim=1, keepdim=True).sqrt()).eval()
    same = torch.randn(5, 3)
    with pytest.raises(
        pg.InputError,
        match=r"a root or a power has no slope at 0\. Add a small number under the root",
    ):
        pg.explain(
            pg.Model(net, task="regression"),
            {"left": same, "right": same.clone()},
            method="gradient",
        )
    mended = _Join(
        lambda a, b: ((a - b).square().sum(dim=1, keepdim=True) + 1e-9).sqrt()
    ).eval()
    rows = {"left": same, "right": same.clone()}
    assert not pg.explain(
        pg.Model(mended, task="regression"), rows, method="gradient", progress=False
    ).values.any()
