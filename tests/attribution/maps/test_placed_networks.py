"""Networks that crop, pad, turn, resize, attend or join: a map lies where the image is
bright, or it is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn
from torch.nn import functional

import permgrad as pg

#: The bright spot, and by how many pixels the largest value of a map may lie beside its
#: middle.
_SPOT = (slice(14, 18), slice(9, 13))
_MIDDLE = (15.5, 10.5)
_BESIDE = 4.5


def _conv(*sizes: int, stride: int = 1, padding: int = 1) -> nn.Sequential:
    layers = [
        (nn.Conv2d(a, b, 3, stride, padding), nn.BatchNorm2d(b), nn.ReLU())
        for a, b in itertools.pairwise(sizes)
    ]
    return nn.Sequential(*(layer for block in layers for layer in block))


class _Net(nn.Module):
    """Runs what ``forward`` says with parts that every network here has."""

    def __init__(self, run: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.body = _conv(1, 8)
        self.second = _conv(8, 8, stride=2)
        self.head = nn.Linear(8, 2)
        self.run = run
        self.bare = _conv(1, 8, 8, 8, padding=0)
        self.deep = _conv(1, 8, 8, 8, 8, 8)
        self.dilated = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=4, dilation=4), nn.ReLU()
        )
        self.patches = nn.Conv2d(1, 8, 4, 4)
        self.places = nn.Parameter(torch.randn(1, 48, 8))
        self.own = nn.Parameter(torch.randn(1, 1, 8))
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mix = nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)
        self.up = nn.ConvTranspose2d(8, 8, 2, 2)
        self.gate = nn.Linear(8, 8)
        self.group = nn.GroupNorm(2, 8)
        self.wide = nn.Conv2d(8, 8, (1, 5), padding=(0, 2))
        self.channels_last = nn.Linear(8, 8)

    def forward(self, scan: Tensor) -> Tensor:
        values = self.run(self, scan)
        return self.head(values.mean(dim=(2, 3)) if values.ndim == 4 else values)


def _attended(net: Any, scan: Tensor, token_count: int) -> Tensor:
    tokens = net.patches(scan).flatten(2).transpose(1, 2)
    tokens = torch.cat(
        [net.own.expand(len(scan), token_count, -1), tokens + net.places], dim=1
    )
    for _ in range(2):
        inside = net.norm(tokens)
        tokens = tokens + net.attend(inside, inside, inside)[0]
        tokens = tokens + functional.gelu(net.mix(net.norm(tokens)))
    return tokens


def _squeezed(net: Any, scan: Tensor) -> Tensor:
    maps = net.body(scan)
    return maps * net.gate(maps.mean(dim=(2, 3))).sigmoid()[..., None, None]


def _joined(net: Any, scan: Tensor) -> Tensor:
    fine = net.body(scan)
    return fine + functional.interpolate(
        net.second(fine), size=fine.shape[2:], mode="bilinear", align_corners=False
    )


def _beside(net: Any, scan: Tensor) -> Tensor:
    coarse = net.body(functional.avg_pool2d(scan, 2))
    return (
        torch.cat(
            [
                net.body(scan)[:, :4],
                functional.interpolate(coarse, scale_factor=2)[:, 4:],
            ],
            dim=1,
        )
        * 1.5
    )


def _in_steps(net: Any, scan: Tensor) -> Tensor:
    return net.second(net.second(net.body(scan)))


_RUNS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "as it is": lambda net, scan: net.body(scan),
    "without padding": lambda net, scan: net.bare(scan),
    "deep": lambda net, scan: net.deep(scan),
    "dilated": lambda net, scan: net.dilated(scan),
    "in steps": _in_steps,
    "pooled": lambda net, scan: net.second(functional.avg_pool2d(net.body(scan), 2)),
    "pooled with overlap": lambda net, scan: functional.max_pool2d(net.body(scan), 3, 2, 1) * 2,
    "cropped": lambda net, scan: net.body(scan[:, :, 8:24, 4:16]),
    "cropped on one side": lambda net, scan: net.body(scan[:, :, 5:]),
    "narrowed": lambda net, scan: net.body(scan.narrow(2, 3, 18).narrow(3, 2, 16)),
    "cropped inside": lambda net, scan: net.body(net.body(scan)[:, :1, 4:20, 4:20]),
    "padded around": lambda net, scan: net.body(functional.pad(scan, (6, 6, 6, 6))),
    "padded behind": lambda net, scan: net.body(functional.pad(scan, (0, 20, 0, 24))),
    "padded before": lambda net, scan: net.body(functional.pad(scan, (9, 0, 7, 0))),
    "reflected": lambda net, scan: net.body(functional.pad(scan, (4, 4, 4, 4), mode="reflect")),
    "flipped": lambda net, scan: net.body(scan.flip(-1)),
    "turned round": lambda net, scan: net.body(scan.flip(2, 3)),
    "transposed": lambda net, scan: net.body(scan.mT),
    "turned by a quarter": lambda net, scan: net.body(torch.rot90(scan, 1, (2, 3))),
    "transposed by a product": lambda net, scan: net.body(torch.einsum("bchw->bcwh", scan)),
    "rolled": lambda net, scan: net.body(scan.roll((7, 5), (2, 3))),
    "rolled and back": lambda net, scan: net.body(scan.roll(4, 2).roll(-4, 2)),
    "smaller": lambda net, scan: net.body(functional.interpolate(scan, scale_factor=0.5, mode="area")),
    "larger": lambda net, scan: net.body(functional.interpolate(scan, size=(40, 50), mode="bilinear")),
    "stretched": lambda net, scan: net.body(functional.interpolate(scan, size=(48, 24), mode="nearest")),
    "every other pixel": lambda net, scan: net.body(scan[:, :, ::2, ::2]),
    "zoomed by a grid": lambda net, scan: net.body(
        functional.grid_sample(
            scan,
            functional.affine_grid(torch.tensor([[[0.6, 0, 0.1], [0, 0.6, 0.2]]]).expand(len(scan), 2, 3),
                                   [len(scan), 1, 24, 20], align_corners=False), align_corners=False)),
    "attended": lambda net, scan: _attended(net, scan, 1)[:, 0],
    "attended, pooled": lambda net, scan: _attended(net, scan, 0).mean(dim=1),
    "attended, with registers": lambda net, scan: _attended(net, scan, 5).mean(dim=1),
    "attended, in a crop": lambda net, scan: _attended(net, functional.pad(scan[:, :, 4:], (0, 0, 0, 4)), 1).mean(1),
    "squeezed": _squeezed,
    "normalised by groups": lambda net, scan: net.group(net.body(scan)).relu(),
    "two scales": _joined,
    "two scales side by side": _beside,
    "up again": lambda net, scan: net.up(net.second(net.body(scan))).relu(),
    "channels last": lambda net, scan: net.channels_last(net.body(scan).permute(0, 2, 3, 1)).relu().permute(0, 3, 1, 2),
    "wide windows": lambda net, scan: net.wide(net.body(scan)).relu(),
    "by chance": lambda net, scan: net.body(scan + 0.02 * torch.randn_like(scan))[:, :, 2:],
    "shuffled": lambda net, scan: net.body(scan[:, :, torch.randperm(24, generator=torch.Generator().manual_seed(0))]),
    "folded": lambda net, scan: net.body(scan + scan.flip(-1)),
}  # fmt: skip
#: What has no place in the image: a map that would lie elsewhere.
_REFUSED = ("rolled", "shuffled", "folded")


@pytest.mark.parametrize("name", list(_RUNS))
def test_a_map_lies_where_the_image_is_bright_or_is_refused(name: str) -> None:
    scan = 0.05 * torch.rand(2, 1, 24, 32, generator=torch.Generator().manual_seed(1))
    scan = torch.cat([scan, scan])  # the same rows without the spot
    scan[:2, :, *_SPOT] += 1
    net = _Net(_RUNS[name]).eval()
    options = {"returns": "logits", "progress": False, "segments": "pixels"}
    if name in _REFUSED:
        with pytest.raises(pg.InputError, match="Cannot tell where in 'scan'"):
            explain_with(net, {"scan": scan}, method="gradcam", **options)
        return
    explanation = explain_with(
        net, {"scan": scan}, method="gradcam", variant="hirescam", relu=False, **options
    )
    maps = explanation.maps["maps:scan"]
    more = np.abs(maps[:2] - maps[2:]).sum(axis=(0, 1))
    bright = np.clip(more - 0.5 * more.max(), 0, None)
    assert bright.sum() > 0
    middle = [
        float((np.indices(more.shape)[axis] * bright).sum() / bright.sum())
        for axis in (0, 1)
    ]
    assert np.abs(np.subtract(middle, _MIDDLE)).max() <= _BESIDE, middle
