"""Class activation maps lie where their cells lie in the image: of crops, flips, grids;
or they are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn
from torch.nn import functional

import permgrad as pg


class _Net(nn.Module):
    """Encodes what ``move`` makes of an image."""

    def __init__(
        self,
        move: Callable[[Tensor], Tensor] = lambda image: image,
        *between: nn.Module,
    ) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.encode = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), *between)
        self.head = nn.Linear(6, 2)
        self.move = move

    def forward(self, scan: Tensor) -> Tensor:
        return self.head(self.encode(self.move(scan)).mean(dim=(2, 3)))


def _scan(rows: int = 3, height: int = 24, width: int = 20) -> Tensor:
    return torch.rand(
        rows, 1, height, width, generator=torch.Generator().manual_seed(2)
    )


def _cam(net: nn.Module, scan: Tensor, **options: Any) -> Any:
    options = {
        "method": "gradcam",
        "returns": "logits",
        "variant": "hirescam",
        "progress": False,
        **options,
    }
    return explain_with(net.eval(), {"scan": scan}, **options)


_FLIP = torch.eye(24).flip(0)


def _zoom(image: Tensor, turn: float = 0.0) -> Tensor:
    theta = torch.tensor([[[0.5, turn, 0.0], [-turn, 0.5, 0.5]]]).expand(
        len(image), 2, 3
    )
    grid = functional.affine_grid(theta, [len(image), 1, 12, 10], align_corners=False)
    return functional.grid_sample(image, grid, align_corners=False)


@pytest.mark.parametrize("layer", [None, "encode.0"])
@pytest.mark.parametrize(
    ("move", "rows", "columns"),
    [
        (lambda image: image[:, :, 3:9], slice(3, 9), slice(0, 20)),
        (lambda image: image[:, :, 6:20, 2:].flip(-1), slice(6, 20), slice(2, 20)),
        (lambda image: image[..., 4:16].mT, slice(0, 24), slice(4, 16)),
        (
            lambda image: torch.einsum("bchw->bcwh", image[..., :20, :]),
            slice(0, 20),
            slice(0, 20),
        ),
        (lambda image: _FLIP @ image, slice(0, 24), slice(0, 20)),
        (lambda image: functional.pad(image, (0, 9, 4, 0)), slice(0, 24), slice(0, 20)),
        (_zoom, slice(12, 24), slice(5, 15)),
    ],
)
def test_a_map_lies_on_the_part_that_the_network_looks_at(
    move, rows, columns, layer
) -> None:
    scan = _scan()
    maps = _cam(_Net(move), scan, layer=layer).maps["maps:scan"]
    # The cells in the order of the image, with those of the padding.
    cells = _cam(_Net(move), scan, layer=layer, upsample="none").maps["maps:scan"]
    cells = cells[..., 4:, :20] if cells.shape[3] == 29 else cells
    assert np.abs(cells).max() > 1e-4
    outside = np.ones((24, 20), dtype=bool)
    outside[rows, columns] = False
    if (
        move is _zoom
    ):  # the grid's places lie between pixels, of which it sees those on both sides
        outside[11] = False
        outside[:, [4, 15]] = False
        off = np.abs(maps[..., rows, columns] - cells).max()
        assert off < 0.6 * np.abs(cells).max()
        assert np.corrcoef(maps[..., rows, columns].ravel(), cells.ravel())[0, 1] > 0.8
    else:
        np.testing.assert_allclose(maps[..., rows, columns], cells, atol=1e-6)
    assert not maps[..., outside].any()


def test_a_turned_map_is_turned_back() -> None:
    """A bright spot lies where it is, whatever is done to the image before."""
    scan = _scan() * 0.05
    scan[:, :, 15:17, 4:6] = 1
    for move in (lambda image: image.flip(-1), lambda image: image[..., :16].mT):
        maps = np.abs(_cam(_Net(move), scan).maps["maps:scan"]).sum(axis=(0, 1))
        row, column = np.unravel_index(maps.argmax(), maps.shape)
        assert 13 <= row <= 18
        assert 2 <= column <= 7


def test_pooled_cells_of_a_crop_lie_evenly_on_it_and_outside_is_nothing() -> None:
    scan = _scan()
    net = _Net(lambda image: image[:, :, 8:20, 4:16], nn.AvgPool2d(2))
    explanation = _cam(
        net, scan, layer="encode.2", upsample="nearest", segments="pixels"
    )
    cells = _cam(net, scan, layer="encode.2", upsample="none").maps["maps:scan"]
    maps = explanation.maps["maps:scan"]
    np.testing.assert_allclose(
        maps[..., 8:20, 4:16], cells.repeat(2, axis=-1).repeat(2, axis=-2), atol=1e-6
    )
    outside = np.ones((24, 20), dtype=bool)
    outside[8:20, 4:16] = False
    assert not maps[..., outside].any()
    assert not explanation.values[:, outside.flatten()].any()


def test_bytes_are_placed_as_numbers_are() -> None:
    scan = (_scan() * 255).byte()
    net = _Net(lambda image: image[:, :, :13].float() / 255)
    maps = _cam(net, scan).maps["maps:scan"]
    np.testing.assert_allclose(
        maps, _cam(net, scan.float()).maps["maps:scan"], atol=1e-6
    )
    assert np.abs(maps[:, :, :13]).max() > 1e-3
    assert not maps[:, :, 13:].any()


def test_windows_that_do_not_reach_the_edge_leave_the_cells_where_they_are() -> None:
    """Padding by the network itself and convolutions without any are one with
    convolutions that pad.
    """
    scan = _scan()
    reflected = _Net(
        lambda image: image, *[nn.ReflectionPad2d(1), nn.Conv2d(6, 6, 3)] * 4
    )
    plain = _Net(
        lambda image: image,
        *[nn.Conv2d(6, 6, 3, padding=1, padding_mode="reflect")] * 4,
    )
    plain.load_state_dict(
        dict(zip(plain.state_dict(), reflected.state_dict().values(), strict=False))
    )
    for net in (reflected, plain):
        cells = _cam(net, scan, upsample="none").maps["maps:scan"]
        np.testing.assert_allclose(_cam(net, scan).maps["maps:scan"], cells, atol=1e-6)
    # Without padding, cells lie a pixel inside, and the pixels beside them that they
    # see are theirs.
    bare = _Net(lambda image: image, nn.Conv2d(6, 6, 3))
    cells = _cam(bare, scan, upsample="none").maps["maps:scan"]
    expected_maps = np.pad(cells, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    np.testing.assert_allclose(
        _cam(bare, scan).maps["maps:scan"], expected_maps, atol=1e-6
    )


@pytest.mark.parametrize(
    "move",
    [
        lambda image: image.roll(5, 2),
        lambda image: _zoom(image, 0.4),
        lambda image: torch.roll(image, 6, 2)[:, :, 1:].repeat_interleave(2, 2)[
            :, :, ::3
        ],
    ],
)
def test_what_lies_on_no_grid_or_elsewhere_is_refused_and_the_hint_works(
    move: Callable[[Tensor], Tensor],
) -> None:
    net = _Net(move)
    scan = _scan()
    for layer in (None, "encode.0"):
        with pytest.raises(
            pg.InputError, match="Cannot tell where in 'scan' a class activation map"
        ) as caught:
            _cam(net, scan, layer=layer)
    assert "method='integrated_gradients'" in str(caught.value)
    options = {"method": "integrated_gradients", "returns": "logits", "progress": False}
    assert explain_with(net, {"scan": scan}, **options).values.shape[0] == 3


def test_a_map_of_frequencies_is_refused_and_another_method_works() -> None:
    net = _Net(lambda image: torch.fft.fft2(image).abs())
    scan = _scan()
    for layer in (None, "encode.0"):
        with pytest.raises(
            pg.InputError, match="The network makes another image of 'scan'"
        ):
            _cam(net, scan, layer=layer)
    options = {"method": "integrated_gradients", "returns": "logits", "progress": False}
    assert explain_with(net, {"scan": scan}, **options).values.shape[0] == 3


@pytest.mark.parametrize(
    "scan", [_scan() > 0.5, torch.zeros(3, 1, 24, 20), torch.full((3, 1, 24, 20), 0.5)]
)
def test_masks_and_images_of_one_colour_are_placed_too(scan: Tensor) -> None:
    explanation = _cam(_Net(lambda image: image[:, :, 3:9].float()), scan)
    assert explanation.meta["layer_shape"] == {"scan": [6, 6, 20]}
    assert not explanation.maps["maps:scan"][:, :, 9:].any()
