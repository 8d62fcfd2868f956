"""Modules made by ``torch.export``, which refuse ``train()`` and ``eval()``: explained, or refused with a remedy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import permgrad as pg

ROWS = 20


class Inside(nn.Module):
    """A network with an exported part, and a layer of its own that has two modes."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part, self.drop = part, nn.Dropout(0.5)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 — donors are drawn by the inputs' names
        return self.drop(self.part(input))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 2)).eval()


def exported(net: nn.Module, rows: Tensor, *, dynamic: bool) -> nn.Module:
    shapes = ({0: torch.export.Dim("rows")},) if dynamic else None
    return torch.export.export(net, (rows,), dynamic_shapes=shapes).module()


def explain(net: nn.Module, rows: Tensor, method: str) -> pg.Explanation:
    return pg.explain(net, rows, method=method, scope="local", random_state=0, progress=False)


@pytest.mark.parametrize("method", ["shapley", "permutation", "integrated_gradients", "lime"])
def test_an_exported_network_is_explained_like_its_original(method):
    net, rows = network(), torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(1))
    twin = explain(net, rows, method)
    assert np.abs(twin.values).max() > 0.01
    part = exported(net, rows, dynamic=True)
    outer = Inside(part)
    for made in (part, outer):
        modes = [own.training for own in made.modules()]
        np.testing.assert_allclose(explain(made, rows, method).values, twin.values, rtol=0, atol=1e-3)
        assert [own.training for own in made.modules()] == modes
    assert outer.drop.training, "it was in training mode, and is again"


def test_an_export_of_one_size_is_refused_with_a_remedy():
    rows = torch.randn(ROWS, 4)
    with pytest.raises(pg.InputError, match=r"no other sizes than those it was exported for: .*dynamic_shapes="):
        explain(exported(network(), rows, dynamic=False), rows, "permutation")
