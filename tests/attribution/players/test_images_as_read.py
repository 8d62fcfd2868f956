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


class _Flat(nn.Module):
    """A layer of all numbers of a row: nothing says which are channels."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.head = nn.Linear(int(np.prod(shape)), 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))


def _in_a_row(net: Any, x: Tensor) -> Tensor:
    """See frames of three channels that lie one behind the other."""
    frames = x.unflatten(1, (-1, 3))
    return net.maps(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).mean(dim=1)


#: Networks, the shape of a row, and what is said of it.
_VIDEOS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "frame by frame": (
        lambda: _Net(_FLAT(3, 4, 3), _one_by_one), (5, 3, 10, 12), "video of 5 frames, 10 × 12"
    ),
    "frames along depth": (
        lambda: _Net(nn.Conv3d(3, 4, 3), lambda n, x: n.maps(x.transpose(1, 2))), (6, 3, 10, 12),
        "video of 6 frames, 10 × 12",
    ),
    "a volume": (lambda: _Net(nn.Conv3d(3, 4, 3), lambda n, x: n.maps(x)), (3, 6, 10, 12), "volume 6 × 10 × 12"),
    "frames in a row": (
        lambda: _Net(_FLAT(3, 4, 3), _in_a_row), (15, 10, 12),
        "video of 5 frames of 3 channels in a row, 10 × 12",
    ),
    "slices": (lambda: _Net(_FLAT(1, 4, 3), _slices), (15, 10, 12), "volume 15 × 10 × 12"),
    "frames by sizes": (lambda: _Flat(5, 3, 6, 7), (5, 3, 6, 7), "video of 5 frames, 6 × 7"),
    "a volume by sizes": (lambda: _Flat(3, 5, 6, 7), (3, 5, 6, 7), "volume 5 × 6 × 7"),
    "either by sizes": (
        lambda: _Flat(3, 3, 6, 7), (3, 3, 6, 7),
        "volume 3 × 6 × 7, or a video, frames first: if so, pass segments= a mask (3, 3, 6, 7)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(_VIDEOS))
def test_a_video_is_told_from_a_volume(name: str) -> None:
    make, shape, words = _VIDEOS[name]
    x = torch.rand(4, *shape, generator=torch.Generator().manual_seed(1))
    described = pg.Model(make().eval(), returns="logits").describe({"x": x})
    assert f"inputs: x (4 rows, {words})" in described.splitlines()


def test_frames_in_a_row_are_cut_between_frames() -> None:
    x = torch.rand(4, 15, 12, 12, generator=torch.Generator().manual_seed(1))
    model = pg.Model(_Net(_FLAT(3, 4, 3), _in_a_row).eval(), returns="logits")
    explanation = pg.explain(model, {"x": x}, method="gradient")
    segments = np.asarray(explanation.maps["segments:x"]).reshape(5, 3, 12, 12)
    assert (segments == segments[:, :1]).all()
    assert len(np.unique(segments[:, 0, 0, 0])) == 5


def test_the_mask_that_is_named_cuts_a_video() -> None:
    x = torch.rand(4, 3, 3, 6, 7, generator=torch.Generator().manual_seed(1))
    frames = np.broadcast_to(np.arange(3)[:, None, None, None], (3, 3, 6, 7))
    model = pg.Model(_Flat(3, 3, 6, 7), returns="logits", segments={"x": frames})
    assert len(pg.explain(model, {"x": x}, method="gradient").names) == 3
