"""The grid of an image's tokens, and how often a network is asked where a layer
lies.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import permgrad as pg


class Tokens(nn.Module):
    """A transformer of patches, with tokens of its own before them.

    Patches are made by a convolution or a layer.
    """

    def __init__(
        self, cells: tuple[int, int], own: int, *, convolves: bool = True
    ) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.convolves = convolves
        self.conv = nn.Conv2d(1, 8, 4, 4)
        self.line = nn.Linear(16, 8)
        self.own = nn.Parameter(torch.randn(1, own, 8))
        self.where = nn.Parameter(torch.randn(1, own + cells[0] * cells[1], 8))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.head = nn.Linear(8, 2)

    def patches(self, scan: Tensor) -> Tensor:
        if self.convolves:
            return self.conv(scan).flatten(2).mT
        return self.line(functional.unfold(scan, 4, stride=4).mT)

    def forward(self, scan: Tensor) -> Tensor:
        tokens = torch.cat([self.own.expand(len(scan), -1, -1), self.patches(scan)], 1)
        tokens = tokens + self.where
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(tokens[:, 0])


def sets_of_images(size: tuple[int, int]) -> list[Tensor]:
    chance = torch.Generator().manual_seed(2)
    square = torch.zeros(2, 1, *size)
    square[:, :, :4, 4:8] = 1
    coarse = torch.randn(3, 1, 3, 3, generator=chance)
    return [
        torch.randn(2, 1, *size, generator=chance),
        torch.rand(4, 1, *size, generator=chance) / 100 - 3,
        square,
        functional.interpolate(coarse, size, mode="bicubic"),
    ]


@pytest.mark.parametrize("convolves", [True, False])
@pytest.mark.parametrize(
    ("cells", "own"), [((3, 3), 1), ((4, 4), 1), ((2, 3), 4), ((4, 3), 5)]
)
def test_tokens_lie_on_the_grid_that_they_are_made_of(cells, own, convolves):
    net = Tokens(cells, own, convolves=convolves).eval()
    size = (4 * cells[0], 4 * cells[1])
    shapes = []
    for images in sets_of_images(size):
        model = pg.Model(net, returns="values")
        found = pg.explain(model, images, method="gradcam", target=1, progress=False)
        shapes += found.meta["layer_shape"].values()
    assert shapes == [[8, *cells]] * 4


class Strided(nn.Module):
    """Halves the image five times."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stages = nn.Sequential()
        for step in range(5):
            layer = nn.Conv2d(8 if step else 1, 8, 3, 2, 1)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            self.stages.extend([layer, nn.ReLU()])
        self.head = nn.Linear(8, 2)
        self.calls = list[int]()

    def forward(self, scan: Tensor) -> Tensor:
        self.calls.append(len(scan))
        return self.head(self.stages(scan).mean((2, 3)))


def explained(model: Any, images: Tensor) -> pg.Explanation:
    return pg.explain(model, images, method="gradcam", target=1, progress=False)


def test_where_a_layer_lies_takes_few_calls_and_none_later():
    images = torch.randn(6, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    net = Strided().eval()
    other = Strided().eval()
    pg.explain(other, images, method="gradient", target=1, progress=False)
    model = pg.Model(net, returns="values")
    explained(model, images)
    asked = len(net.calls) - len(other.calls)
    assert max(net.calls) > 16, "blocks go through the network together"
    assert asked <= 10
    net.calls.clear()
    explained(model, images)
    assert len(net.calls) <= 10


class SixRows(Strided):
    """Takes six rows at most, turned twice, so that where cells lie is measured."""

    def forward(self, scan: Tensor) -> Tensor:
        if len(scan) > 6:
            raise ValueError("too many rows")
        return super().forward(scan.flip(3).flip(3))


class Numbered(Strided):
    """Adds something to each row by its place in the batch, from the 20th on."""

    def forward(self, scan: Tensor) -> Tensor:
        places = torch.arange(len(scan)).sub(20).clamp(0)[:, None, None, None]
        return super().forward((scan + places).flip(3).flip(3))


@pytest.mark.parametrize("kind", [SixRows, Numbered])
def test_a_network_that_computes_otherwise_for_more_rows_is_asked_one_by_one(kind):
    images = torch.randn(6, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    wanted = explained(pg.Model(Strided().eval(), returns="values"), images)
    net = kind().eval()
    found = explained(pg.Model(net, returns="values"), images)
    assert net.calls.count(2) > 20
    assert np.abs(wanted.values).max() > 0
    assert found.meta["layer_shape"] == wanted.meta["layer_shape"]
    np.testing.assert_allclose(found.values, wanted.values, atol=1e-6)
