"""How far integrals settle, and that the last two estimates lead nearer than the last
one.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg


def network(activation: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Linear(4, 24),
            activation(),
            nn.Linear(24, 12),
            activation(),
            nn.Linear(12, 2),
        ).double()
        for layer in net:
            if isinstance(layer, nn.Linear):
                layer.weight.data.mul_(2)
    return net


def midpoints(net: nn.Module, rows: Tensor, steps: int) -> np.ndarray:
    """Return the rule with many steps from zeros, ``(rows, inputs, outputs)``."""
    shares = (torch.arange(steps).double() + 0.5) / steps
    points = (shares[:, None, None] * rows).requires_grad_()
    slopes = [
        torch.autograd.grad(net(points)[..., output].sum(), points)[0].mean(dim=0)
        for output in range(2)
    ]
    return (torch.stack(slopes, dim=-1) * rows[..., None]).numpy()


@pytest.mark.parametrize(
    ("activation", "allowed"), [(nn.Tanh, 5e-4), (nn.GELU, 5e-4), (nn.ReLU, 3e-3)]
)
def test_two_estimates_lead_nearer_than_they_are(activation, allowed):
    """For smooth networks far nearer than the tolerance; rectifiers gain little, and
    lose nothing that counts.
    """
    net = network(activation)
    rows = torch.randn(12, 4, generator=torch.Generator().manual_seed(1)).double()
    explanation = pg.explain(
        pg.Model(net, returns="values"),
        rows,
        method="integrated_gradients",
        progress=False,
    )
    truth = midpoints(net, rows, 4000)
    assert explanation.meta["rule"] == "secants of each function"
    assert explanation.meta["tolerance"] == 0.01
    assert explanation.meta["quadrature_error"] > 2e-4
    assert explanation.meta["completeness_gap"] < 1e-12
    assert np.abs(explanation.values - truth).max() / np.abs(truth).max() < allowed


class Text(nn.Module):
    def __init__(self, *, recurrent: bool = False) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 6)
        self.rnn = nn.GRU(6, 6, batch_first=True) if recurrent else None
        self.head = nn.Sequential(nn.Linear(6 + 3, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, ids: Tensor, table: Tensor) -> Tensor:
        words = self.words(ids)
        words = words if self.rnn is None else self.rnn(words)[0]
        return self.head(torch.cat([torch.tanh(words).mean(dim=1), table], dim=1))


def test_ids_settle_further_and_the_user_has_the_last_word():
    source = torch.Generator().manual_seed(1)
    rows = {
        "ids": torch.randint(0, 20, (6, 5), generator=source),
        "table": torch.randn(6, 3, generator=source),
    }
    options = {"method": "integrated_gradients", "returns": "values", "progress": False}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Text()
        recurrent = Text(recurrent=True)
    explanation = explain_with(net, rows, **options)
    assert explanation.meta["tolerance"] == 0.001
    assert explanation.meta["quadrature_error"] <= 0.001
    fine = explain_with(net, rows, tolerance=1e-4, **options)
    assert fine.meta["tolerance"] == 1e-4
    assert fine.meta["quadrature_error"] <= 1e-4
    assert fine.meta["mean_steps"] > explanation.meta["mean_steps"]
    assert explain_with(recurrent, rows, **options).meta["tolerance"] == 0.001
    coarse = explain_with(net, rows, tolerance=0.01, **options)
    assert coarse.meta["mean_steps"] < explanation.meta["mean_steps"]
    with pytest.raises(pg.InputError, match="tolerance"):
        explain_with(net, rows, **{**options, "tolerance": -1})
