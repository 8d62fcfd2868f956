"""More outputs than anybody looks at, by methods that take slopes of each: refused
before any work.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

import permgrad as pg

METHODS = ["gradient", "integrated_gradients", "deeplift", "smoothgrad"]


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 101)).eval()


@pytest.mark.parametrize("method", METHODS)
def test_many_outputs_are_refused_and_the_remedies_work(
    net: nn.Module, method: str
) -> None:
    rows = torch.rand(4, 3, generator=torch.Generator().manual_seed(1))
    model = pg.Model(net, returns="logits")
    with pytest.raises(pg.InputError) as caught:
        pg.explain(model, rows, method=method, progress=False)
    assert str(caught.value) == (
        f'{method} would explain 101 outputs one by one. Pass target="predicted", or '
        "target= one of them, or a few. [PG005]"
    )
    for target, outputs in (("predicted", 1), (100, 1), ([0, 7], 2)):
        explained = pg.explain(
            model, rows, method=method, target=target, progress=False
        )
        assert explained.values.shape == (4, 3, outputs)


def test_a_hundred_outputs_and_games_are_explained(net: nn.Module) -> None:
    rows = torch.rand(4, 3, generator=torch.Generator().manual_seed(1))
    fewer = nn.Sequential(*net[:2], nn.Linear(6, 100)).eval()
    assert (
        pg.explain(fewer, rows, method="gradient", progress=False).values.size == 1200
    )
    explained = pg.explain(net, rows, method="shapley", scope="local", progress=False)
    assert explained.values.shape == (4, 3, 101)


def test_values_have_no_predicted_class(net: nn.Module) -> None:
    rows = torch.rand(4, 3, generator=torch.Generator().manual_seed(1))
    model = pg.Model(net, returns="values")
    with pytest.raises(pg.InputError, match=r"one by one\. Pass target= one of them"):
        pg.explain(model, rows, method="gradient", progress=False)
