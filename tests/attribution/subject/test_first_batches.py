"""``batch_size`` holds from the first call on: also for the checks that come before any
work.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from torch import nn

import permgrad as pg

QUIET = {"random_state": 0, "progress": False}


class Small(nn.Module):
    """Refuses batches of more rows than it has room for."""

    def __init__(self, room: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.room = room
        self.first = nn.Conv2d(1, 3, 3)
        self.last = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert len(x) <= self.room, f"{len(x)} rows do not fit"
        return self.last(self.first(x).relu().mean(dim=(2, 3)))


@pytest.mark.parametrize(
    "method", ["permgrad", "shapley", "integrated_gradients", "deeplift", "lime"]
)
def test_networks(method):
    x = torch.randn(30, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    call = {"method": method, "background": x[10:], "segments": ("grid", 2), **QUIET}
    call |= {"samples": 40} if method == "lime" else {}
    y = torch.arange(10) % 2
    with pytest.raises(pg.InputError, match="rows do not fit"):
        explain_with(Small(4), x[:10], y, **call)
    small = explain_with(Small(4), x[:10], y, batch_size=4, **call)
    large = explain_with(Small(10_000), x[:10], y, **call)
    np.testing.assert_allclose(small.values, large.values, atol=1e-5)
    assert np.abs(large.values).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize(
    "more", [{}, {"method": "shapley", "scope": "global"}, {"scoring": "r2"}]
)
def test_predictors(size, more):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(24, 3)), columns=list("abc"))
    batch_sizes = []

    def service(table):
        batch_sizes.append(len(table))
        return (2 * table["a"] + table["b"]).to_numpy()

    y = service(X) + rng.normal(0, 0.1, len(X))
    batch_sizes.clear()
    call = {
        "task": "regression",
        **({} if "scope" in more else {"n_repeats": 2}),
        **QUIET,
        **more,
    }
    small = explain_with(service, X, y, batch_size=size, **call)
    assert max(batch_sizes) == size
    np.testing.assert_allclose(
        small.values, explain_with(service, X, y, **call).values, atol=1e-9
    )
    batch_sizes.clear()
    pg.missing_modalities(
        pg.Model(service, batch_size=size, task="regression"),
        X,
        y,
        groups={"one": ["a"]},
        **QUIET,
    )
    assert max(batch_sizes) == size
