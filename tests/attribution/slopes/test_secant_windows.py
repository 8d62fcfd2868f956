"""The first block on the windows that are seen: the maps are the whole ones, and so are
the slopes.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from permgrad.attribution.slopes import secants
from permgrad.attribution.slopes.secants import (
    Rule,
    only_seen_windows,
    pack,
    pull_packed,
    pull_unpacked,
    rule_of,
    unpack,
)
from permgrad.imaging import Renderer, StoredLayout
from permgrad.imaging.layout import Blur
from permgrad.models.fast.image_chain import few_seen_windows
from permgrad.models.network.network import HybridNetwork

POSITIONS = [[0, 0], [3, 7], [3, 8], [11, 4]]


def renderer(
    pixels: int = 12, blur: Blur | None = None, positions: list | None = None
) -> Renderer:
    layout_positions = POSITIONS if positions is None else positions
    return Renderer(
        StoredLayout(layout_positions, pixels, "mean", blur),
        [0.0] * len(layout_positions),
        [1.0] * len(layout_positions),
        channels=3,
        clip=False,
    )


def block(
    *between: nn.Module, window: int = 2, kernel: int = 3, **options: object
) -> list[nn.Module]:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 5, kernel, padding=kernel // 2, **options)
    layers = [
        convolution,
        *between,
        nn.MaxPool2d(window),
        nn.Dropout(0.1),
        nn.Conv2d(5, 2, 3, padding=1),
    ]
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return [layer.double().eval() for layer in layers]


def rules(layers: list[nn.Module]) -> list:
    return [rule_of(layer) for layer in layers]


def rows(count: int = 6) -> torch.Tensor:
    return 3 * torch.randn(
        count, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )


BLOCKS = {
    "rectified": block(nn.ReLU()),
    "published": block(nn.ReLU(), nn.BatchNorm2d(5), window=2),
    "smooth": block(nn.SiLU(), window=3),
    "bare": block(window=3, kernel=1),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_maps_are_the_layers(name):
    layers = BLOCKS[name]
    map_renderer = renderer().double()
    packed = only_seen_windows(map_renderer, layers, rules(layers))
    assert len(packed) == len(layers) + 2
    with torch.no_grad():
        packed_maps = expected_maps = map_renderer(rows())
        for rule in packed:
            packed_maps = rule.forward(packed_maps)
        for layer in layers:
            expected_maps = layer(expected_maps)
    torch.testing.assert_close(packed_maps, expected_maps, rtol=0, atol=1e-12)
    # Precondition: rows differ, and what no window sees is not all there is.
    assert (expected_maps[0] != expected_maps[1]).any()


def small_maps(windows: torch.Tensor, size: int) -> tuple[Rule, Rule]:
    elsewhere = torch.rand(2, 3, 4, dtype=torch.float64)
    packed = Rule(partial(pack, windows, size), partial(pull_packed, windows, size))
    return packed, Rule(
        partial(unpack, windows, elsewhere), partial(pull_unpacked, windows)
    )


def test_slopes_are_the_adjoint():
    """⟨forward(a) − forward(b), y⟩ = ⟨a − b, back(y)⟩ for every y: what defines the
    slopes of an affine map.
    """
    windows = torch.tensor([0, 5, 6, 11])
    pack, unpack = small_maps(windows, 2)
    drawn = torch.Generator().manual_seed(0)
    for rule, shape in ((pack, (2, 6, 8)), (unpack, (2, 4, 1))):
        first_maps, second_maps = torch.randn(
            2, 3, *shape, generator=drawn, dtype=torch.float64
        )
        change = rule.forward(first_maps) - rule.forward(second_maps)
        slopes = torch.randn(
            3, 5, *change.shape[1:], generator=drawn, dtype=torch.float64
        )
        back = rule.back(slopes)
        assert back.shape == (3, 5, *shape)
        left = (change[:, None] * slopes).flatten(2).sum(2)
        right = ((first_maps - second_maps)[:, None] * back).flatten(2).sum(2)
        torch.testing.assert_close(left, right)
        assert (left != 0).all()


def test_windows_are_packed_in_reading_order():
    pack, unpack = small_maps(torch.tensor([1, 3]), 2)
    maps = torch.arange(24.0).reshape(1, 1, 4, 6)
    assert pack.forward(maps).flatten().tolist() == [2, 3, 8, 9, 12, 13, 18, 19]
    out = unpack.forward(torch.full((1, 2, 2, 1), 7.0, dtype=torch.float64))
    assert (out[0] == 7).flatten(1).sum(1).tolist() == [2, 2]
    assert (out[0, :, 0, 1] == 7).all()
    assert (out[0, :, 0, 3] == 7).all()


@pytest.mark.parametrize(
    "case",
    [
        (renderer(), block(nn.GroupNorm(1, 5))),  # looks at the whole map
        (renderer(), block(nn.ReLU(), window=5)),  # pixels behind the last whole window
        (renderer(), block(nn.ReLU(), padding_mode="circular")),
        (
            renderer(blur=Blur(np.pi, 2, 3)),
            block(nn.ReLU()),
        ),  # nearly everything is seen
        (renderer(), [nn.Conv2d(3, 5, 3, padding=1), nn.ReLU()]),
        (renderer(), [nn.Conv2d(3, 5, 3), nn.MaxPool2d(2)]),
        (nn.Identity(), block(nn.ReLU())),
        (
            renderer(
                positions=[[r, c] for r in range(1, 12, 3) for c in range(1, 12, 3)]
            ),
            block(nn.ReLU()),
        ),
    ],
)
def test_other_branches_stay_as_they_are(case):
    map_renderer, layers = case
    before = (
        rules(layers)
        if not isinstance(layers[1], nn.GroupNorm)
        else [object()] * len(layers)
    )
    assert only_seen_windows(map_renderer, layers, before) == before


def test_seen_windows_are_few_here():
    windows = few_seen_windows(
        renderer(), nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2)
    )
    assert windows is not None
    assert len(windows) < 0.5 * 36


def test_attributions_are_those_of_whole_maps(monkeypatch):
    """The walk through a network of the published form, with packing and without."""
    from permgrad.attribution.slopes.secants import _read

    torch.manual_seed(0)
    options = {"dense_units": [8], "conv_filters": [4, 6], "fusion_units": [8]}
    network = HybridNetwork(4, 3, options, renderer=renderer()).double().eval()
    chains = []
    for is_packed in (True, False):
        if not is_packed:
            monkeypatch.setattr(
                secants, "only_seen_windows", lambda _, __, own: list(own)
            )
        chains.append(_read(network)[0]["image"])
    packed, full_chain = chains
    assert (len(packed.front), len(packed.rest)) == (
        len(full_chain.front) + 1,
        len(full_chain.rest) + 1,
    )
    begin = rows(3)
    end = 2 * rows(3) + 1
    times = torch.linspace(0, 1, 5, dtype=torch.float64)[:, None, None]
    chain_results = []
    for chain in (packed, full_chain):
        with torch.no_grad():
            ends = [begin, end]
            for rule in chain.front:
                ends = [rule.forward(points) for points in ends]
            entered = torch.lerp(
                ends[0], ends[1], times.reshape(-1, *[1] * ends[0].ndim)
            )
            layer_maps = [entered]
            for rule in chain.rest:
                layer_maps.append(
                    rule.forward(layer_maps[-1].flatten(0, 1)).unflatten(
                        0, entered.shape[:2]
                    )
                )
            slopes = torch.randn(
                12,
                2,
                *layer_maps[-1].shape[2:],
                generator=torch.Generator().manual_seed(3),
            ).double()
            slopes = chain.back(slopes, layer_maps)
            for rule in chain.front[::-1]:
                slopes = rule.back(slopes)
            chain_results.append((layer_maps[-1], slopes))
    for packed_tensor, full_tensor in zip(*chain_results, strict=True):
        torch.testing.assert_close(packed_tensor, full_tensor, rtol=1e-10, atol=1e-12)
        assert (packed_tensor != 0).any()
