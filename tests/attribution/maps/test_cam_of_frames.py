"""Grad-CAM where a convolution sees frames, slices, chunks or other rows than the
network does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg


class _Net(nn.Module):
    def __init__(self, run: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.flat = nn.Conv2d(2, 4, 3)
        self.head = nn.Linear(4, 3)
        self.run = run
        self.deep = nn.Conv3d(2, 4, (1, 3, 3))
        self.deep.weight.data = self.flat.weight.data[:, :, None]
        self.deep.bias.data = self.flat.bias.data

    def forward(self, film: Tensor) -> Tensor:
        return self.run(self, film)


def _rows_first(net: Any, film: Tensor) -> Tensor:
    maps = torch.relu(net.flat(film.flatten(0, 1))).unflatten(0, film.shape[:2])
    return net.head(maps.mean(dim=(1, 3, 4)))


def _frames_first(net: Any, film: Tensor) -> Tensor:
    maps = torch.relu(net.flat(film.transpose(0, 1).flatten(0, 1))).unflatten(
        0, (film.shape[1], len(film))
    )
    return net.head(maps.mean(dim=(0, 3, 4)))


def _as_volume(net: Any, film: Tensor) -> Tensor:
    return net.head(torch.relu(net.deep(film.transpose(1, 2))).mean(dim=(2, 3, 4)))


def _film(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(9))


def _cam(
    run: Callable[[Any, Tensor], Tensor], film: Tensor, **options: Any
) -> pg.Explanation:
    options = {"method": "gradcam", "returns": "logits", "progress": False, **options}
    return explain_with(_Net(run).eval(), {"film": film}, **options)


@pytest.mark.parametrize("run", [_rows_first, _frames_first])
@pytest.mark.parametrize("count", [5, 1])
def test_frames_have_the_maps_of_a_volume_with_its_own_frames(
    run: Callable[[Any, Tensor], Tensor], count: int
) -> None:
    film = _film(5, 4, 2, 9, 9)[:count]
    expected_explanation = _cam(_as_volume, film)
    got = _cam(run, film, batch_size=2)
    maps = expected_explanation.maps["maps:film"]
    assert maps.shape == (count, 3, 4, 9, 9)
    assert float(np.ptp(maps, axis=2).max()) > 1e-3  # frames differ
    np.testing.assert_allclose(got.maps["maps:film"], maps, atol=1e-6)
    np.testing.assert_allclose(got.values, expected_explanation.values, atol=1e-6)


def test_the_channels_of_a_pixel_of_a_frame_are_one_feature() -> None:
    film = _film(5, 4, 2, 9, 9)
    for run in (_rows_first, _frames_first, _as_volume):
        segments = np.asarray(_cam(run, film, method="gradient").maps["segments:film"])
        assert (segments == segments[:, :1]).all()
        assert not (segments == segments[:1]).all()
    by_pixel = _cam(_rows_first, film, method="gradient", segments=("grid", 2, 3, 3))
    assert len(by_pixel.names) == 2 * 3 * 3


def test_slices_of_a_volume_are_apart() -> None:
    class Slices(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(3)
            self.flat = nn.Conv2d(1, 4, 3)
            self.head = nn.Linear(4, 2)

        def forward(self, scan: Tensor) -> Tensor:
            maps = torch.relu(self.flat(scan.reshape(-1, 1, *scan.shape[2:])))
            return self.head(
                maps.mean(dim=(2, 3)).reshape(len(scan), -1, 4).amax(dim=1)
            )

    scan = _film(5, 6, 9, 9)
    explanation = pg.explain(
        pg.Model(Slices().eval(), returns="logits"),
        {"scan": scan},
        method="gradcam",
        progress=False,
    )
    maps = explanation.maps["maps:scan"]
    assert maps.shape == (5, 2, 6, 9, 9)
    assert float(np.ptp(maps, axis=2).max()) > 1e-3


@pytest.mark.parametrize(
    "run",
    [
        lambda net, film: torch.cat(
            [_rows_first(net, frame_chunk) for frame_chunk in film.split(3)]
        ),
        lambda net, film: torch.stack(
            [_rows_first(net, film[k : k + 1])[0] for k in range(len(film))]
        ),
        lambda net, film: _rows_first(
            net, torch.cat([torch.zeros_like(film[:2]), film])
        )[2:],
        lambda net, film: (
            _rows_first(net, torch.cat([film, film.flip(-2)]))
            .unflatten(0, (2, -1))
            .mean(dim=0)
        ),
    ],
)
def test_other_rows_and_pieces_are_refused_and_the_hint_works(
    run: Callable[[Any, Tensor], Tensor],
) -> None:
    film = _film(7, 4, 2, 9, 9)
    with pytest.raises(pg.InputError, match="class activation map") as caught:
        _cam(run, film)
    assert "method='integrated_gradients'" in str(caught.value)
    assert _cam(run, film, method="integrated_gradients").values.shape[0] == 7


class _Views(nn.Module):
    def __init__(self, run: Callable[[Any, Tensor], Tensor], channels: int = 1) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.encode = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU())
        self.head = nn.Linear(4, 2)
        self.run = run

    def forward(self, views: Tensor) -> Tensor:
        return self.head(self.run(self.encode, views))


def _of_views(
    run: Callable[[Any, Tensor], Tensor],
    views: Tensor,
    channels: int = 1,
    **options: Any,
) -> Any:
    options = {"method": "gradcam", "returns": "logits", "progress": False, **options}
    return explain_with(_Views(run, channels).eval(), {"views": views}, **options)


@pytest.mark.parametrize(
    "options", [{}, {"layer": "encode.0"}, {"layer": "encode"}, {"variant": "hirescam"}]
)
def test_maps_of_views_are_those_of_all_at_once(options: dict[str, Any]) -> None:
    def each(encode: nn.Module, views: Tensor) -> Tensor:
        return torch.stack(
            [encode(view[:, None]).mean(dim=(2, 3)) for view in views.unbind(1)]
        ).mean(dim=0)

    def at_once(encode: nn.Module, views: Tensor) -> Tensor:
        return (
            encode(views.flatten(0, 1)[:, None])
            .unflatten(0, views.shape[:2])
            .mean(dim=(1, 3, 4))
        )

    def backwards(encode: nn.Module, film: Tensor) -> Tensor:
        return torch.stack(
            [encode(film[:, k]).mean(dim=(2, 3)) for k in (3, 2, 1, 0)]
        ).mean(dim=0)

    def all_frames(encode: nn.Module, film: Tensor) -> Tensor:
        return (
            encode(film.flatten(0, 1)).unflatten(0, film.shape[:2]).mean(dim=(1, 3, 4))
        )

    for stepwise_run, joint_run, views, channels in (
        (each, at_once, _film(5, 3, 9, 9), 1),
        (backwards, all_frames, _film(5, 4, 2, 9, 9), 2),
    ):
        explanation, expected_explanation = (
            _of_views(run, views, channels, **options)
            for run in (stepwise_run, joint_run)
        )
        assert expected_explanation.maps["maps:views"].any()
        np.testing.assert_allclose(
            explanation.maps["maps:views"],
            expected_explanation.maps["maps:views"],
            atol=1e-7,
        )
        np.testing.assert_allclose(
            explanation.values, expected_explanation.values, atol=1e-7
        )
        assert explanation.meta["layer"]["views"].endswith(f"({views.shape[1]} calls)")


def test_a_flipped_view_is_flipped_back() -> None:
    def both(encode: nn.Module, image: Tensor) -> Tensor:
        return encode(image).mean(dim=(2, 3)) + encode(image.flip(-1)).mean(dim=(2, 3))

    image = _film(4, 1, 8, 8)
    net = _Views(both).eval()
    image_maps = _of_views(
        both, image, variant="hirescam", relu=False, upsample="none"
    ).maps["maps:views"]
    for row, maps in zip(image, image_maps, strict=True):
        expected_map = torch.zeros(6, 6)
        for view in (False, True):
            cells = net.encode(row.flip(-1) if view else row).detach()
            view_map = (
                torch.einsum("c,chw->hw", net.head.weight[1].detach(), cells) / 36
            )
            expected_map += view_map.flip(-1) if view else view_map
        np.testing.assert_allclose(maps[1], expected_map, atol=1e-6)


def test_views_that_the_output_does_not_use_or_that_have_no_slopes_add_nothing() -> (
    None
):
    def alone(encode: nn.Module, image: Tensor) -> Tensor:
        return encode(image).mean(dim=(2, 3))

    def teacher(encode: nn.Module, image: Tensor) -> Tensor:
        with torch.no_grad():
            offset = encode(image.flip(-1)).mean(dim=(2, 3))
        return encode(image).mean(dim=(2, 3)) + offset

    def unused(encode: nn.Module, image: Tensor) -> Tensor:
        encode(image.flip(-1))
        return encode(image).mean(dim=(2, 3))

    image = _film(4, 1, 8, 8)
    expected_maps = _of_views(alone, image).maps["maps:views"]
    for run in (teacher, unused):
        np.testing.assert_allclose(
            _of_views(run, image).maps["maps:views"], expected_maps, atol=1e-6
        )


def test_parts_that_overlap_or_lie_in_two_directions_are_refused_and_the_hint_works() -> (
    None
):
    def overlapping(encode: nn.Module, image: Tensor) -> Tensor:
        return encode(image[..., :8]).mean(dim=(2, 3)) + encode(image[..., 4:]).mean(
            dim=(2, 3)
        )

    def tiles(encode: nn.Module, image: Tensor) -> Tensor:
        return sum(
            encode(quarter).mean(dim=(2, 3))
            for half in image.split(6, 2)
            for quarter in half.split(6, 3)
        )

    for run in (overlapping, tiles):
        with pytest.raises(
            pg.InputError, match="would show the last one alone"
        ) as caught:
            _of_views(run, _film(5, 1, 12, 12))
        assert "method='integrated_gradients'" in str(caught.value)
        assert (
            _of_views(
                run, _film(5, 1, 12, 12), method="integrated_gradients"
            ).values.shape[0]
            == 5
        )


def test_a_layer_that_reads_its_own_result_again_keeps_its_last_map() -> None:
    class Again(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(3)
            self.mix = nn.Conv2d(1, 1, 3, padding=1)
            self.head = nn.Linear(1, 2)

        def forward(self, image: Tensor) -> Tensor:
            for _ in range(3):
                image = torch.relu(self.mix(image)) + image
            return self.head(image.mean(dim=(2, 3)))

    explanation = pg.explain(
        pg.Model(Again().eval(), returns="logits"),
        _film(4, 1, 7, 7),
        method="gradcam",
        progress=False,
    )
    assert explanation.values.shape[0] == 4
