"""The image branch that pools over places, for curves and pictures: an ordinary chain,
as all that read it see it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import permgrad as pg
from permgrad.imaging import Renderer, StoredLayout
from permgrad.models.fast.inference import FoldedNetwork
from permgrad.models.fast.kernels import FoldedKernels
from permgrad.models.fast.replacement import ReplacementEngine
from permgrad.models.network.blocks import RandomKernels
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.table_and_image import shift_images

#: Of height and width, and channels.
_SHAPES: list[tuple[int, ...]] = [(1, 13), (5, 4), (1, 13, 3), (5, 4, 2)]


def _network(
    shape: tuple[int, ...], **options: Any
) -> tuple[HybridNetwork, torch.Tensor]:
    """Return a network in float64 whose statistics of batches are not those that it
    begins with, and rows.
    """
    torch.manual_seed(0)
    columns = math.prod(shape)
    column_pixels = np.stack(
        np.unravel_index(np.random.default_rng(0).permutation(columns), shape), axis=1
    )
    renderer = Renderer(
        StoredLayout(column_pixels, shape=shape),
        np.full(columns, -1.0),
        np.ones(columns),
    )
    network_options = {
        "dense_units": (8,), "fusion_units": (6,), "conv_filters": (4, 6, 5), "kernel_size": 5, "normalization": "none",
        "activation": "silu", "image_readout": "mean", "image_units": (7,), **options,
    }  # fmt: skip
    network = HybridNetwork(columns, 3, network_options, renderer=renderer).double()
    rows = torch.rand(40, columns, dtype=torch.float64) * 2 - 1
    if network.kernels is not None:
        network.kernels.draw(np.random.default_rng(1), centre=0.1, spread=2.0)
    with torch.no_grad():
        for _ in range(3):
            network.train()(rows)
    return network.eval(), rows


def _slow(network: HybridNetwork, rows: torch.Tensor) -> torch.Tensor:
    """Compute the branch's last map and its means by hand, place by place."""
    renderer: Any = network.renderer
    maps = renderer(rows).numpy()
    layers: list[Any] = list(network.image_branch or [])
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()  # type: ignore[union-attr]
            (high, wide), (_, _, tall, broad) = layer.padding, weight.shape
            padded = np.pad(maps, ((0, 0), (0, 0), (high, high), (wide, wide)))
            out = np.zeros((len(maps), len(weight), *maps.shape[2:]))
            for y in range(maps.shape[2]):
                for x in range(maps.shape[3]):
                    patch = padded[:, :, y : y + tall, x : x + broad]
                    out[:, :, y, x] = np.einsum("nchw,ochw->no", patch, weight) + bias
            maps = out
        elif isinstance(layer, nn.MaxPool2d):
            high, wide = (
                (layer.kernel_size,) * 2
                if isinstance(layer.kernel_size, int)
                else layer.kernel_size
            )
            size = maps.shape[2] // high, maps.shape[3] // wide
            cut = maps[:, :, : size[0] * high, : size[1] * wide]
            maps = cut.reshape(*maps.shape[:2], size[0], high, size[1], wide).max(
                axis=(3, 5)
            )
        elif isinstance(layer, nn.AvgPool2d):
            return torch.from_numpy(maps.mean(axis=(2, 3)))
        else:
            maps = layer(torch.from_numpy(maps)).detach().numpy()
    raise AssertionError("the branch has no mean over places")


@pytest.mark.parametrize("shape", _SHAPES)
def test_the_branch_is_the_mean_over_the_places_of_its_last_map(
    shape: tuple[int, ...],
) -> None:
    network, rows = _network(shape)
    branch: Any = network.image_branch
    end = next(
        layer_index
        for layer_index, layer in enumerate(branch)
        if isinstance(layer, nn.Flatten)
    )
    with torch.no_grad():
        branch_means = branch[: end + 1](network.renderer(rows))  # type: ignore[misc]
    assert branch_means.std(dim=0).min() > 1e-4, "the rows differ"
    torch.testing.assert_close(branch_means, _slow(network, rows), rtol=1e-9, atol=1e-9)
    assert branch_means.shape == (40, 5)
    if shape[0] == 1:
        assert [
            layer.kernel_size for layer in branch if isinstance(layer, nn.Conv2d)
        ] == [(1, 5)] * 3


@pytest.mark.parametrize("shape", _SHAPES)
@torch.no_grad()
def test_kernels_read_the_share_above_zero_and_the_largest_of_each_map(
    shape: tuple[int, ...],
) -> None:
    network, rows = _network(shape, random_kernels=6)
    kernels = network.kernels
    renderer = network.renderer
    assert kernels is not None
    assert renderer is not None
    side_parts = 1 if shape[0] == 1 else 2
    pictures = renderer(rows).numpy() - 0.1
    size = shape[:2]
    assert pictures.shape[1:] == (*(shape[2:] or (1,)), *size)
    of_channels = set[int]()
    expected_features: list[np.ndarray] = []
    for layer in kernels.convolutions:
        weight, bias = (numbers.detach().numpy() for numbers in layer.parameters())
        assert np.abs(weight.sum(axis=(2, 3))).max() < 1e-6
        assert (weight**2).sum(axis=(1, 2, 3)) == pytest.approx(
            0.25
        )  # pixels have a spread of 2
        of_channels |= set((weight != 0).any(axis=(2, 3)).sum(axis=1).tolist())
        step, (tall, broad) = int(layer.dilation[0]), weight.shape[2:]  # type: ignore[index,arg-type]
        reach = tall // 2 * step, broad // 2 * step
        padded = np.pad(pictures, ((0, 0), (0, 0), (reach[0],) * 2, (reach[1],) * 2))
        maps = np.zeros((len(rows), len(weight), *size))
        for y in range(tall):
            for x in range(broad):
                window = padded[
                    :, :, y * step : y * step + size[0], x * step : x * step + size[1]
                ]
                maps += np.einsum("nchw,kc->nkhw", window, weight[:, :, y, x])
        maps += bias[:, None, None]
        ends = [
            [
                (
                    side_part * side // side_parts,
                    -(-(side_part + 1) * side // side_parts),
                )
                for side_part in range(side_parts)
            ]
            for side in size
        ]
        cut = [
            maps[:, :, a:b, c:d].reshape(*maps.shape[:2], -1)
            for a, b in ends[0]
            for c, d in ends[1]
        ]
        often = np.stack(
            [(1 / (1 + np.exp(-8 * image_part))).mean(axis=2) for image_part in cut],
            axis=2,
        )
        most = np.stack([image_part.max(axis=2) for image_part in cut], axis=2)
        expected_features += [often.reshape(len(rows), -1), most.reshape(len(rows), -1)]
    assert of_channels == set(range(1, (shape[2] if len(shape) > 2 else 1) + 1)), (
        "some read one channel, some all"
    )
    expected = torch.from_numpy(np.concatenate(expected_features, axis=1))
    assert expected.std(dim=0).min() > 1e-4, "the rows differ"
    torch.testing.assert_close(
        kernels.see(renderer(rows)), expected, rtol=1e-6, atol=1e-6
    )
    without = network.fuse(
        {path: network.embed(path, rows) * 1 for path in network.paths}
    ) - kernels(renderer(rows))
    torch.testing.assert_close(network(rows), without + kernels(renderer(rows)))
    torch.testing.assert_close(network.member_outputs(rows).mean(dim=1), network(rows))


@torch.no_grad()
def test_kernels_take_their_share_of_the_outputs() -> None:
    network, rows = _network((1, 13), members=3)
    before = network(rows)
    renderer = network.renderer
    kernels = RandomKernels(network.image_shape, 6, 3).double()
    kernels.draw(np.random.default_rng(0))
    assert renderer is not None
    kernel_outputs = kernels(renderer(rows))
    network.add_kernels(kernels, 0.3)
    torch.testing.assert_close(network(rows), 0.7 * before + 0.3 * kernel_outputs)
    assert network.options.random_kernels == 6
    again = HybridNetwork(13, 3, network.options, renderer=renderer).double().eval()
    again.load_state_dict(network.state_dict())
    torch.testing.assert_close(again(rows), network(rows))


@torch.no_grad()
def test_a_readout_whose_terms_cancel_is_rounded_once() -> None:
    kernels = RandomKernels((1, 1, 60), 512, 1)
    kernels.draw(np.random.default_rng(0))
    folded = FoldedKernels(kernels)
    images = torch.rand(40, 1, 1, 60, generator=torch.Generator().manual_seed(0))
    kernel_features = folded.see(images)
    readout = kernels.readout
    assert readout is not None
    readout.weight.normal_(generator=torch.Generator().manual_seed(1))
    readout.bias.copy_(-(kernel_features @ readout.weight.T).mean(dim=0))
    exact = kernel_features.double() @ readout.weight.double().T + readout.bias.double()
    once = 2**-24 * float(exact.abs().max())
    assert (readout(kernel_features) - exact).abs().max() > 3 * once, (
        "float32 loses digits here"
    )
    assert (folded(images) - exact).abs().max() <= 1.01 * once


@pytest.mark.parametrize("shape", [(1, 60), (60, 1)])
@torch.no_grad()
def test_of_a_replaced_pixel_only_what_is_near_is_looked_at(
    shape: tuple[int, int], monkeypatch: Any
) -> None:
    kernels = RandomKernels((2, *shape), 8, 3).double()
    kernels.draw(np.random.default_rng(0), centre=0.2)
    folded = FoldedKernels(kernels)
    before = torch.rand(7, 2, *shape, dtype=torch.float64)
    rows = torch.tensor([0, 3, 3, 6, 1])
    whole_looks: list[Any] = []
    plain = FoldedKernels._see
    monkeypatch.setattr(
        FoldedKernels, "_see", lambda *args: whole_looks.append(args) or plain(*args)
    )
    for pixels in ([0], [31], [58, 59], list(range(40))):
        for row_positions in (None, rows):
            images = before.clone() if row_positions is None else before[row_positions]
            images.flatten(2)[:, :, pixels] = torch.rand(
                len(images), 2, len(pixels), dtype=torch.float64
            )
            pairs = [(pixel, 0) if shape[1] == 1 else (0, pixel) for pixel in pixels]
            whole_looks.clear()
            torch.testing.assert_close(
                folded.replaced(before, images, pairs, row_positions), kernels(images)
            )
            assert bool(whole_looks) == (len(pixels) > 2)
            assert (
                kernels(images)
                - kernels(before if row_positions is None else before[row_positions])
            ).abs().mean() > 1e-4


@pytest.mark.parametrize("kernels", [0, 6])
@pytest.mark.parametrize("activation", ["silu", "relu"])
@pytest.mark.parametrize("shape", _SHAPES)
@torch.no_grad()
def test_folded_and_replaced_rows_are_predicted_as_by_the_network(
    shape: tuple[int, ...], activation: str, kernels: int
) -> None:
    network, rows = _network(
        shape, conv_normalization="batch", activation=activation, random_kernels=kernels
    )
    torch.testing.assert_close(
        FoldedNetwork(network)(rows), network(rows), rtol=1e-9, atol=1e-9
    )
    engine = ReplacementEngine(network)
    assert engine._chain is not None, "the branch is followed, not only called"
    block = engine.prepare(rows)
    for columns in ([0], [3, 7], list(range(8))):
        values = torch.rand(len(rows), len(columns), dtype=rows.dtype)
        edited = rows.clone()
        edited[:, columns] = values
        replaced_outputs = engine.replace(
            block,
            0,
            len(rows),
            columns,
            values,
            [frozenset({"tabular", "image"}), frozenset({"image"})],
        )
        torch.testing.assert_close(
            replaced_outputs[frozenset({"tabular", "image"})],
            network(edited),
            rtol=1e-9,
            atol=1e-9,
        )
        path_embeddings = {
            "tabular": network.embed("tabular", rows),
            "image": network.embed("image", edited),
        }
        torch.testing.assert_close(
            replaced_outputs[frozenset({"image"})],
            network.fuse(path_embeddings),
            rtol=1e-9,
            atol=1e-9,
        )
        assert (network(edited) - network(rows)).abs().max() > 1e-4, (
            "the replacement changes something"
        )


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["given", (3, 4), (1, 4, 3), (2, 3, 2)])
def test_integrals_of_an_ordered_model_add_up(layout: Any) -> None:
    rng = np.random.default_rng(0)
    curves = np.cumsum(rng.normal(size=(200, 12)), axis=1)
    model = pg.HyNNRegressor(
        layout=layout, max_epochs=3, random_state=0, progress=False
    ).fit(curves, curves[:, 3] ** 2)
    assert model.module_.options.image_readout == "mean"
    assert model.module_.kernels is not None
    explanation = pg.explain(
        model,
        curves[:20],
        method="integrated_gradients",
        random_state=0,
        progress=False,
    )
    assert explanation.meta["rule"] == "secants of each function"
    total = explanation.values.sum(axis=1)[:, 0]
    assert np.abs(total).max() > 1e-3
    assert explanation.meta["completeness_gap"] < 1e-4


def test_what_pools_by_windows_is_as_it_was() -> None:
    torch.manual_seed(0)
    options = {"conv_filters": (4, 6), "dense_units": (4,), "fusion_units": ()}
    network = HybridNetwork(
        9, 2, options, image_shape=(1, 1, 9)
    )  # foreign pictures of one row are not pooled
    assert not any(
        isinstance(layer, (nn.MaxPool2d, nn.AvgPool2d))
        for layer in network.image_branch or []
    )


@pytest.mark.parametrize("shape", [(1, 12), (6, 8)])
def test_images_are_moved_in_training_alone(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    images = torch.rand(200, 2, *shape, dtype=torch.float64)
    moved, (high, wide) = shift_images(images, 0.25), shape
    most = [max(1, round(0.25 * side)) if side > 1 else 0 for side in shape]
    seen_moves = set()
    for image, moved_image in zip(images.numpy(), moved.numpy(), strict=True):
        fits = [
            (down, right)
            for down in range(-most[0], most[0] + 1)
            for right in range(-most[1], most[1] + 1)
            if np.array_equal(moved_image, image[:, (np.arange(high) + down).clip(0, high - 1)][
                :, :, (np.arange(wide) + right).clip(0, wide - 1)])
        ]  # fmt: skip
        assert len(fits) == 1, "a row is moved as a whole, all its channels alike"
        seen_moves.add(fits[0])
    assert len(seen_moves) == math.prod(
        2 * largest_move + 1 for largest_move in most
    ), "every move occurs"

    network, rows = _network(
        shape, image_shift=0.25, dropout=0.0, conv_normalization="none"
    )
    plain, _ = _network(shape, dropout=0.0, conv_normalization="none")
    torch.testing.assert_close(network(rows), plain(rows), rtol=0, atol=0)
    plain.train(), network.train()
    state = torch.get_rng_state()
    torch.testing.assert_close(plain(rows), plain.eval()(rows), rtol=0, atol=0)
    assert torch.equal(state, torch.get_rng_state()), "without moves nothing is drawn"
    assert (network(rows) - plain(rows)).abs().max() > 1e-3
