"""The last stage of a deep network, whose few cells all see the whole image: where its
map lies, and which is read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import permgrad as pg


class Gated(nn.Module):
    """Halves the image.

    A branch looks far, and a gate for each channel sees all cells.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, 2 * channels, 3, 2, 1)
        self.far = nn.Conv2d(2 * channels, 2 * channels, 5, 1, 2)
        self.mix = nn.Conv2d(2 * channels, 2 * channels, 5, 1, 2)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(2 * channels, 2 * channels, 1)
        )

    def forward(self, image: Tensor) -> Tensor:
        image = functional.silu(self.down(image))
        branch = self.mix(functional.silu(self.far(image)))
        return torch.relu(image + branch * torch.sigmoid(self.gate(branch)))


class Deep(nn.Module):
    """Four halvings of 32 × 48 pixels, so that the last map has 2 × 3 cells."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stages = nn.Sequential(*(Gated(2 * 2**step) for step in range(4)))
        self.head = nn.Linear(32, 3)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, scan: Tensor) -> Tensor:
        return self.head(self.stages(scan).mean((2, 3)))


@pytest.fixture(scope="module")
def net() -> Deep:
    return Deep().eval()


def scans(seed: int, rows: int = 2) -> Tensor:
    return torch.randn(rows, 2, 32, 48, generator=torch.Generator().manual_seed(seed))


def gradcam(net: Any, rows: Tensor, layer: str | None = None) -> pg.Explanation:
    model = net if isinstance(net, pg.Model) else pg.Model(net, returns="values")
    method = pg.methods.GradCam(layer=layer)
    return pg.explain(model, rows, method=method, target=1, progress=False)


def test_a_map_whose_cells_all_see_the_whole_image_lies_evenly_over_it(
    net: Deep,
) -> None:
    rows = scans(0).requires_grad_()
    cells = net.stages(rows)
    assert cells.shape == (2, 32, 2, 3)
    for line in range(2):
        for column in range(3):
            pixel_gradients = torch.autograd.grad(
                cells[0, :, line, column].sum(), rows, retain_graph=True
            )[0]
            assert bool(pixel_gradients[0, 0].any(1).all()), "each cell sees every line"
            assert bool(pixel_gradients[0, 0].any(0).all()), "and every column"
    slopes = torch.autograd.grad(net.head(cells.mean((2, 3)))[:, 1].sum(), cells)[0]
    maps = (slopes.mean((2, 3), keepdim=True) * cells).sum(1, keepdim=True).relu()
    expected_maps = functional.interpolate(maps, (32, 48), mode="bilinear").detach()
    assert expected_maps.amax() > 0
    explanation = gradcam(net, rows.detach(), "stages")
    np.testing.assert_allclose(
        explanation.maps["maps:scan"][:, 0],
        expected_maps[:, 0],
        rtol=1e-4,
        atol=1e-6 * float(expected_maps.amax()),
    )


def test_the_layer_that_is_read_is_the_same_for_all_rows_and_is_said(net: Deep) -> None:
    smooth = functional.interpolate(scans(7)[..., :4, :4], (32, 48))
    images = [scans(0), smooth, scans(8) * 1e-2]
    explained = [gradcam(net, rows) for rows in images]
    assert {explanation.meta["layer"]["scan"] for explanation in explained} == {
        "stages.3"
    }
    assert "Map read at layer 'stages.3' (2 × 3 cells)." in explained[0].summary()


def test_where_a_layer_lies_is_measured_once_for_a_model(net: Deep) -> None:
    calls: list[int] = []
    handle = net.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        gradcam(net, scans(1))
        alone = len(calls)
        model = pg.Model(net, returns="values")
        counts = []
        for seed in (2, 1):
            calls.clear()
            last = gradcam(model, scans(seed))
            counts.append(len(calls))
    finally:
        handle.remove()
    assert counts[0] == alone
    assert counts[1] <= alone - 10, "a look takes calls for strips and pixels"
    np.testing.assert_array_equal(last.values, gradcam(net, scans(1)).values)
    # Another layer is another question.
    assert gradcam(model, scans(1), "stages.2").meta["layer_shape"]["scan"][1:] == [
        4,
        6,
    ]


class Folded(nn.Module):
    """Cells made by a linear layer, which lie nowhere in the image."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.body = nn.Conv2d(1, 4, 3, padding=1)
        self.fold = nn.Linear(4 * 12 * 12, 32 * 2 * 2)
        self.last = nn.Conv2d(32, 32, 1)
        self.head = nn.Linear(32 * 4, 2)

    def forward(self, scan: Tensor) -> Tensor:
        folded = self.fold(torch.relu(self.body(scan)).flatten(1))
        return self.head(self.last(folded.reshape(-1, 32, 2, 2)).flatten(1))


def test_cells_that_no_convolution_places_are_not_placed() -> None:
    net = Folded().eval()
    rows = torch.randn(3, 1, 12, 12)
    with pytest.raises(pg.InputError, match="Cannot tell where in 'scan'"):
        gradcam(net, rows, "last")
    assert gradcam(net, rows).meta["layer_shape"] == {"scan": [4, 12, 12]}
