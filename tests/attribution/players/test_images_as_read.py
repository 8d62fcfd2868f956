"""The first convolution says which dimension of an input holds channels, wherever it is
and however large.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import permgrad as pg


class _Net(nn.Module):
    def __init__(self, layer: nn.Module, run: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(4, 2)
        self.run = run

    def maps(self, images: Tensor) -> Tensor:
        return torch.relu(self.layer(images)).flatten(2).mean(dim=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.run(self, x))


def _one_by_one(net: Any, x: Tensor) -> Tensor:
    return net.maps(x.flatten(0, 1)).unflatten(0, x.shape[:2]).mean(dim=1)


def _slices(net: Any, x: Tensor) -> Tensor:
    return _one_by_one(net, x[:, :, None])


_FLAT = nn.Conv2d
#: The layer, how it is called, the shape of a row, and the dimensions along which
#: features do not change.
_CASES: dict[str, tuple[nn.Module, Callable[[Any, Tensor], Tensor], tuple[int, ...], tuple[int, ...]]] = {
    "two channels last": (_FLAT(2, 4, 3), lambda n, x: n.maps(x.permute(0, 3, 1, 2)), (12, 10, 2), (2,)),
    "six channels in the middle": (_FLAT(6, 4, 3), lambda n, x: n.maps(x.movedim(2, 1)), (12, 6, 10), (1,)),
    "channels first, three wide": (_FLAT(5, 4, 2), lambda n, x: n.maps(x), (5, 12, 3), (0,)),
    "three wide, turned round": (nn.ConvTranspose2d(5, 4, 2), lambda n, x: n.maps(x), (5, 6, 3), (0,)),
    "larger": (_FLAT(7, 4, 3), lambda n, x: n.maps(functional.interpolate(x, scale_factor=2)), (7, 12, 12), (0,)),
    "in grey": (_FLAT(1, 4, 3), lambda n, x: n.maps(x.mean(dim=1, keepdim=True)), (3, 12, 12), (0,)),
    "beside places": (
        _FLAT(6, 4, 3), lambda n, x: n.maps(torch.cat([x, torch.zeros(len(x), 1, 12, 12)], dim=1)), (5, 12, 12), (0,)
    ),
    "three slices": (_FLAT(1, 4, 3), _slices, (3, 12, 12), ()),
    "slices in a loop": (
        _FLAT(1, 4, 3), lambda n, x: sum(n.maps(x[:, k : k + 1]) for k in range(5)), (5, 12, 12), ()
    ),
    "slices four wide": (_FLAT(1, 4, 3), _slices, (5, 12, 4), ()),
    "volume of four slices": (nn.Conv3d(1, 4, 3), lambda n, x: n.maps(x[:, None]), (4, 12, 12), ()),
    "frames as channels": (_FLAT(15, 4, 3), lambda n, x: n.maps(x.flatten(1, 2)), (5, 3, 12, 12), (1,)),
    "windows of a series": (nn.Conv1d(2, 4, 3), _one_by_one, (5, 2, 30), (1,)),
    "four windows": (nn.Conv1d(2, 4, 3), _one_by_one, (4, 2, 30), (1,)),
}  # fmt: skip


@pytest.mark.parametrize("name", list(_CASES))
def test_channels_of_a_pixel_are_together_and_all_else_is_apart(name: str) -> None:
    layer, run, shape, together = _CASES[name]
    x = torch.rand(4, *shape, generator=torch.Generator().manual_seed(1))
    explanation = pg.explain(
        pg.Model(_Net(layer, run).eval(), returns="logits"), {"x": x}, method="gradient"
    )
    segments = np.asarray(explanation.maps["segments:x"])
    same = [
        bool((segments == segments.take([0], dim)).all()) for dim in range(len(shape))
    ]
    assert tuple(np.flatnonzero(same)) == together


def test_chance_and_zeros_do_not_change_how_an_image_is_read() -> None:
    noisy = lambda n, x: n.maps((x + 0.1 * torch.randn_like(x)).movedim(2, 1))  # noqa: E731
    x = torch.rand(4, 12, 6, 10, generator=torch.Generator().manual_seed(1))
    x[:, :, 2:] = 0
    with pytest.warns(pg.PermgradWarning, match="different outputs each time"):
        explanation = pg.explain(
            pg.Model(_Net(_FLAT(6, 4, 3), noisy).eval(), returns="logits"),
            {"x": x},
            method="gradient",
        )
    segments = np.asarray(explanation.maps["segments:x"])
    assert (segments == segments[:, :1]).all()
