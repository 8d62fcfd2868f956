"""Where a class activation map is read by default: joins, dense blocks, tokens, maps
with channels last, volumes.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn
from torch.nn import functional

import permgrad as pg

ROWS = 3


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def seeded(build) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().double().eval()


def explain(net: nn.Module, rows, **options) -> pg.Explanation:
    return explain_with(
        net, rows, method="gradcam", progress=False, upsample="none", **options
    )


class Joined(nn.Module):
    """The join of two ways is a function, and the shortcut's convolution is called
    last.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.stem, self.main, self.short = (
            nn.Conv2d(a, 4, 3, padding=1) for a in (1, 4, 4)
        )
        self.head = nn.Linear(8 if kind == "cat" else 4, 2)

    def join(self, image: Tensor) -> Tensor:
        before = torch.relu(self.stem(image))
        main = torch.relu(self.main(before))
        short = self.short(before)
        if self.kind == "cat":
            return torch.cat([main, short], dim=1) * 0.5
        if self.kind == "in place":
            main += short
            return main
        return functional.gelu(main + short)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(functional.max_pool2d(self.join(image), 2).mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("kind", "last"), [("cat", "mul"), ("in place", "add"), ("gelu", "gelu")]
)
def test_a_join_is_read_and_not_what_is_joined(kind, last):
    net = seeded(lambda: Joined(kind))
    images = drawn(ROWS, 1, 6, 6)
    explanation = explain(net, images)
    assert explanation.meta["layer"] == {"image": f"short, {last}"}
    joined = net.join(images).detach().requires_grad_()
    assert explanation.meta["layer_shape"] == {"image": list(joined.shape[1:])}
    outputs = net.head(functional.max_pool2d(joined, 2).mean(dim=(2, 3)))
    for target in (0, 1):
        (slopes,) = torch.autograd.grad(
            outputs[:, target].sum(), joined, retain_graph=True
        )
        slow = (
            (slopes.mean(dim=(2, 3), keepdim=True) * joined)
            .sum(dim=1)
            .clamp_min(0)
            .detach()
            .numpy()
        )
        assert np.abs(slow).max() > 1e-4
        np.testing.assert_allclose(
            explanation.maps["maps:image"][:, target], slow, rtol=1e-6, atol=1e-9
        )


class Dense(nn.Module):
    """Dense blocks: each convolution adds a few channels to all before it; a
    normalisation and a rectifier end it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(1 + 2 * k, 2, 3, padding=1) for k in range(3)
        )
        self.norm = nn.BatchNorm2d(7)
        self.head = nn.Linear(7, 2)

    def forward(self, scan: Tensor) -> Tensor:
        maps = scan
        for layer in self.layers:
            maps = torch.cat([maps, layer(functional.relu(maps))], dim=1)
        return self.head(
            functional.adaptive_avg_pool2d(functional.relu(self.norm(maps)), 1).flatten(
                1
            )
        )


def test_all_channels_of_a_dense_block_are_read():
    net = seeded(Dense)
    images = drawn(ROWS, 1, 5, 5)
    explanation = explain(net, images)
    assert (explanation.meta["layer"], explanation.meta["layer_shape"]) == (
        {"scan": "norm, relu"},
        {"scan": [7, 5, 5]},
    )
    before = explain(net, images, before_activation=True)
    assert (before.meta["layer"], before.meta["layer_shape"]["scan"]) != (
        explanation.meta["layer"],
        [2, 5, 5],
    )
    again = explain(net, images, layer="layers.2", before_activation=True)
    assert again.meta["layer_shape"] == {"scan": [2, 5, 5]}


class Block(nn.Module):
    def __init__(self, width: int, *, whole: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.attention = (
            nn.MultiheadAttention(width, 2, batch_first=True)
            if whole
            else Attention(width)
        )
        self.mlp = nn.Sequential(nn.Linear(width, 16), nn.GELU(), nn.Linear(16, width))

    def forward(self, tokens: Tensor) -> Tensor:
        normalised_tokens = self.norm1(tokens)
        mixed = (
            self.attention(normalised_tokens, normalised_tokens, normalised_tokens)[0]
            if isinstance(self.attention, nn.MultiheadAttention)
            else None
        )
        tokens = tokens + (
            self.attention(normalised_tokens) if mixed is None else mixed
        )
        return tokens + self.mlp(self.norm2(tokens))


class Attention(nn.Module):
    """Two heads, with scores that are as square as the image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, own: Tensor) -> Tensor:
        q, k, v = (
            self.qkv(own)
            .reshape(*own.shape[:2], 3, 2, -1)
            .permute(2, 0, 3, 1, 4)
            .unbind(0)
        )
        mixed = torch.softmax(q @ k.transpose(-2, -1), dim=-1) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))


class Tokens(nn.Module):
    """A transformer over patches, with tokens of its own before or behind them, pooled
    or read at the first.
    """

    def __init__(self, *, extra: int = 1, read: str = "class", patches: str = "conv", behind: bool = False,
                 whole: bool = False) -> None:  # fmt: skip
        super().__init__()
        self.read = read
        self.patches = patches
        self.behind = behind
        self.embed = nn.Conv2d(1, 8, 4, 4) if patches == "conv" else nn.Linear(16, 8)
        self.extra = nn.Parameter(torch.randn(1, extra, 8))
        self.blocks = nn.ModuleList(Block(8, whole=whole) for _ in range(2))
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 2)

    def tokens(self, image: Tensor) -> Tensor:
        if self.patches == "conv":
            patch_tokens = self.embed(image).flatten(2).transpose(1, 2)
        else:
            down = image.shape[2] // 4
            across = image.shape[3] // 4
            cut = image.reshape(-1, 1, down, 4, across, 4).permute(0, 2, 4, 3, 5, 1)
            patch_tokens = self.embed(cut.reshape(len(image), down * across, 16))
        extra = self.extra.expand(len(patch_tokens), -1, -1)
        return torch.cat(
            [patch_tokens, extra] if self.behind else [extra, patch_tokens], dim=1
        )

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.tokens(image)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        return self.head(
            tokens.mean(dim=1)
            if self.read == "mean"
            else tokens[:, -1 if self.behind else 0]
        )


@pytest.mark.parametrize(
    ("options", "layer"),
    [
        ({}, "blocks.1.norm1"),
        ({"whole": True}, "blocks.1.norm1"),
        (
            {"extra": 5, "patches": "linear"},
            "blocks.1.norm1",
        ),  # registers; no convolution
        ({"extra": 2, "behind": True, "patches": "linear"}, "blocks.1.norm1"),
        (
            {"extra": 4, "read": "mean"},
            "norm",
        ),  # 4 of 16 tokens would make a square of their own
    ],
)
def test_tokens_are_reshaped_to_the_grid_and_other_tokens_left_out(options, layer):
    net = seeded(lambda: Tokens(**options))
    images = drawn(ROWS, 1, 12, 16)
    explanation = explain(net, images, relu=False)
    assert explanation.meta["layer"] == {"image": layer}
    assert explanation.meta["layer_shape"] == {"image": [8, 3, 4]}
    heard = {}
    handle = net.get_submodule(layer).register_forward_hook(
        lambda _m, _a, value: heard.update(value=value)
    )
    outputs = net(images)
    handle.remove()
    extra = options.get("extra", 1)
    for target in (0, 1):
        (slopes,) = torch.autograd.grad(
            outputs[:, target].sum(), heard["value"], retain_graph=True
        )
        patches = slice(0, -extra) if options.get("behind") else slice(extra, None)
        patch_tokens = heard["value"][:, patches]
        slope = slopes[:, patches]
        slow = (
            (patch_tokens * slope.mean(dim=1, keepdim=True))
            .sum(dim=2)
            .reshape(ROWS, 3, 4)
            .detach()
            .numpy()
        )
        assert np.abs(slow).max() > 1e-5
        np.testing.assert_allclose(
            explanation.maps["maps:image"][:, target], slow, rtol=1e-6, atol=1e-9
        )


class Windows(nn.Module):
    """Attends within windows that are shifted, channels last, and merges cells four to
    one.
    """

    def __init__(self, *, merged: bool) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, 8, 2, 2)
        self.mix = nn.Linear(8, 8)
        self.merge = nn.Linear(32, 8)
        self.attend = Attention(8)
        self.head = nn.Linear(8, 2)
        self.merged = merged

    def forward(self, image: Tensor) -> Tensor:
        last = self.embed(image).permute(0, 2, 3, 1)
        rows, down, across, _ = last.shape
        shifted = torch.roll(last, (-1, -1), (1, 2))
        cut = (
            shifted.reshape(rows, down // 2, 2, across // 2, 2, 8)
            .permute(0, 1, 3, 2, 4, 5)
            .reshape(-1, 4, 8)
        )
        mixed = (
            self.attend(cut)
            .reshape(rows, down // 2, across // 2, 2, 2, 8)
            .permute(0, 1, 3, 2, 4, 5)
        )
        last = torch.relu(
            last
            + torch.roll(mixed.reshape(rows, down, across, 8), (1, 1), (1, 2))
            + self.mix(last)
        )
        if self.merged:
            fours = (
                last.reshape(rows, down // 2, 2, across // 2, 2, 8)
                .permute(0, 1, 3, 2, 4, 5)
                .flatten(3)
            )
            last = torch.relu(self.merge(fours))
        return self.head(last.mean(dim=(1, 2)))


@pytest.mark.parametrize(("merged", "size"), [(False, (12, 8)), (True, (6, 4))])
def test_windows_that_are_rolled_and_cut_keep_their_places(merged, size):
    """As in networks that attend within shifted windows, channels last; and merged four
    to one.
    """
    image = drawn(ROWS, 1, 24, 16) * 0.1
    image[:, :, 14:16, 2:4] += 5
    explanation = explain_with(
        seeded(lambda: Windows(merged=merged)),
        image,
        method="gradcam",
        variant="hirescam",
        relu=False,
        progress=False,
    )
    assert explanation.meta["layer_shape"] == {"image": [8, *size]}
    maps = np.abs(explanation.maps["maps:image"]).sum(axis=(0, 1))
    row, column = np.unravel_index(maps.argmax(), maps.shape)
    assert 12 <= row <= 17
    assert 0 <= column <= 5


class Volume(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 3, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, scan: Tensor) -> Tensor:
        scan = scan if scan.ndim == 5 else scan.unsqueeze(1)
        return self.head(torch.relu(self.conv(scan)).mean(dim=(2, 3, 4)))


def test_volumes_have_maps():
    net = seeded(Volume)
    scans = drawn(ROWS, 1, 6, 8, 10)
    explanation = explain(net, scans)
    assert (explanation.meta["layer"], explanation.meta["layer_shape"]) == (
        {"scan": "conv, relu"},
        {"scan": [3, 4, 6, 8]},
    )
    assert explanation.maps["maps:scan"].shape == (ROWS, 2, 4, 6, 8)
    pixel_explanation = pg.explain(
        pg.Model(net, segments="pixels"), scans[:, 0], method="gradcam", progress=False
    )
    assert pixel_explanation.maps["maps:scan"].shape == (ROWS, 2, 6, 8, 10)
    np.testing.assert_allclose(
        pixel_explanation.values.transpose(0, 2, 1).reshape(ROWS, 2, 6, 8, 10),
        pixel_explanation.maps["maps:scan"],
        rtol=1e-6,
        atol=1e-9,
    )
