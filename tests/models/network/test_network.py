"""The hybrid network: the published architecture counted, its seams, and rows that do
not look at each other.
"""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from permgrad import InputError
from permgrad.imaging import Renderer, StoredLayout
from permgrad.models.estimators.presets import get_preset, presets
from permgrad.models.network.members import MemberLinear
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.network_summary import count_numbers
from permgrad.models.network.options import NetworkOptions
from permgrad.models.network.table_and_image import PeriodicDenseEmbedding


def renderer(columns, pixels=20, channels=3, scale=255.0):
    positions = [(i // pixels, i % pixels) for i in range(columns)]
    return Renderer(
        StoredLayout(positions, pixels=pixels),
        np.zeros(columns),
        np.ones(columns),
        channels,
        scale,
    )


def network(
    preset="paper", columns=8, outputs=1, paths=("tabular", "image"), **changes
):
    options = NetworkOptions.from_mapping(
        {**get_preset(preset).network.to_dict(), **changes}
    )
    drawn = (
        renderer(columns, 20, options.image_channels, options.image_scale)
        if "image" in paths
        else None
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return HybridNetwork(
            columns, outputs, options, renderer=drawn, paths=paths
        ).eval()


def test_paper_network_has_277441_parameters_on_puma():
    net = network()
    # Written out from the published architecture: weights and biases, and four numbers
    # per normalised unit.
    table = (8 * 128 + 128 + 4 * 128) + (128 * 128 + 128 + 4 * 128)
    image = (3 * 32 * 9 + 32 + 4 * 32) + (32 * 64 * 9 + 64 + 4 * 64)
    head = (
        ((5 * 5 * 64 + 128) * 128 + 128 + 4 * 128)
        + (128 * 128 + 128 + 4 * 128)
        + (128 + 1)
    )
    assert table + image + head == 277_441
    assert count_numbers(net) == 277_441


def test_paper_blocks_stand_in_the_published_order():
    net = network()
    names = [type(layer).__name__ for layer in net.image_branch]
    block = ["Conv2d", "ReLU", "BatchNorm2d", "MaxPool2d", "Dropout"]
    assert names == [*block, *block, "Flatten"]
    dense = ["Linear", "ReLU", "BatchNorm1d", "Dropout"]
    assert [type(layer).__name__ for layer in net.table_branch.layers] == [
        *dense,
        *dense,
    ]
    assert [type(layer).__name__ for layer in net.head] == [*dense, *dense, "Linear"]
    assert all(
        layer.p == 0.1 for layer in net.modules() if isinstance(layer, torch.nn.Dropout)
    )
    assert net.head[0].in_features == net.widths["tabular"] + net.widths["image"]


def test_he_normal_weights_have_he_s_spread():
    weight = (
        network(dense_units=[2000, 2000], conv_filters=[4])
        .table_branch.layers[4]
        .weight
    )
    assert weight.std().item() == pytest.approx((2 / 2000) ** 0.5, rel=0.01)


@pytest.mark.parametrize("preset", list(presets))
@pytest.mark.parametrize("paths", [("tabular", "image"), ("tabular",), ("image",)])
def test_forward_is_fuse_of_embeddings(preset, paths):
    net = network(preset, columns=9, outputs=3, paths=paths)
    rows = torch.rand(7, 9)
    embeddings = {path: net.embed(path, rows) for path in net.paths}
    assert {path: embedding.shape for path, embedding in embeddings.items()} == {
        p: (7, net.widths[p]) for p in paths
    }
    assert torch.equal(net(rows), net.fuse(embeddings))
    assert net(rows).shape == (7, 3)
    if "image" in paths:
        assert torch.equal(
            net.embed("image", rows), net.image_branch(net.renderer(rows))
        )
        assert list(net.image_layers()) == ["conv1", "conv2"]
        assert isinstance(net.image_branch, torch.nn.Sequential)
    else:
        assert net.image_layers() == {}
    assert isinstance(net.head[0], (torch.nn.Linear, MemberLinear))


@pytest.mark.parametrize("preset", list(presets))
def test_a_row_does_not_depend_on_its_neighbours(preset):
    net = copy.deepcopy(network(preset, columns=6)).double()
    rows = torch.rand(5, 6, dtype=torch.float64)
    together = net(rows)
    assert together.std() > 1e-6, "the network must not be constant"
    alone = torch.cat([net(row[None]) for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-12)


def test_periodic_embedding_is_its_formula():
    torch.manual_seed(0)
    layer = PeriodicDenseEmbedding(3, size=4, frequencies=5).double()
    rows = torch.rand(2, 3, dtype=torch.float64)
    slow = []
    for row in rows.numpy():
        for j, x in enumerate(row):
            waves = np.cos(
                2
                * np.pi
                * (
                    x * layer.frequency[j].detach().numpy()
                    + layer.phase[j].detach().numpy()
                )
            )
            slow += [
                x,
                *(
                    waves @ layer.weight[j].detach().numpy()
                    + layer.bias[j].detach().numpy()
                ),
            ]
    np.testing.assert_allclose(layer(rows).detach().numpy().ravel(), slow, rtol=1e-12)


def test_only_numeric_columns_are_embedded():
    net = HybridNetwork(
        5,
        1,
        {"numeric_embedding": "periodic"},
        paths=("tabular",),
        numeric_columns=[1, 3],
    )
    assert net.table_branch.layers[0].in_features == 2 * 4 + 3
    assert net.numeric_columns == [1, 3]


def test_a_map_too_small_to_pool_is_not_pooled():
    options = NetworkOptions.from_mapping(
        {"conv_filters": [2] * 5, "image_channels": 1}
    )
    net = HybridNetwork(
        4, 1, options, renderer=renderer(4, 4, 1, 1.0), paths=("image",)
    )
    assert net.eval()(torch.rand(2, 4)).shape == (2, 1)


@settings(max_examples=20, deadline=None)
@given(
    dense=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    filters=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    fusion=st.lists(st.integers(1, 9), max_size=2),
    image=st.lists(st.integers(1, 9), max_size=2),
    pixels=st.integers(2, 9),
    pooling=st.integers(1, 3),
)
def test_sizes_are_inferred(dense, filters, fusion, image, pixels, pooling):
    options = {"dense_units": dense, "conv_filters": filters, "fusion_units": fusion, "image_units": image,
               "pooling": pooling, "image_channels": 2}  # fmt: skip
    net = HybridNetwork(4, 2, options, renderer=renderer(4, pixels, 2, 1.0)).eval()
    assert net(torch.rand(3, 4)).shape == (3, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"paths": ("tabular", "imgae")}, ("branches cannot be 'imgae'. Did you mean "
                                          "'image'?")),
        ({"paths": ()}, ("branches must name 'tabular', 'image' or both, each once, "
                         "got (). Pass for example "
"branches=('tabular', 'image').")),
    ],
)  # fmt: skip
def test_wrong_paths(arguments, message):
    with pytest.raises(InputError) as caught:
        HybridNetwork(4, 1, **arguments)
    assert caught.value.message == message


def test_wrong_options_are_listed_together_with_guesses():
    with pytest.raises(InputError) as caught:
        NetworkOptions.from_mapping(
            {"droput": 0.1, "activation": "rellu", "dropout": 1.5, "kernel_size": 4}
        )
    text = str(caught.value)
    assert "Network option 'droput' is unknown. Did you mean 'dropout'?" in text
    assert "got 'rellu'. Did you mean 'relu'?" in text
    assert "Network option dropout must be a number from 0 to below 1, got 1.5" in text
    assert (
        "Network option kernel_size must be an odd whole number of at least 1, got 4"
        in text
    )


def test_preset_files_replace_what_they_name(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(
        '{"base": "paper", "layout": "random", "network": {"dropout": 0.3}, '
        '"patience": 9}'
    )
    preset = get_preset(path)
    assert (preset.layout, preset.network.dropout, preset.training["patience"]) == (
        "random",
        0.3,
        9,
    )
    assert preset.network.dense_units == (128, 128)
    path.write_text('{"netwrok": {}, "patience": 9, "epochs": 3}')
    with pytest.raises(
        InputError,
        match=(
            r".* is not a valid preset: 'netwrok' is unknown. Did you mean 'network'\? "
            r"'epochs' is unknown. Did you mean 'max_epochs'\?"
        ),
    ):
        get_preset(str(path))
    with pytest.raises(InputError, match=r"Cannot read the preset file .*none\.json"):
        get_preset(tmp_path / "none.json")
    path.write_text("{")
    with pytest.raises(InputError, match=r"The preset file .* is not valid JSON"):
        get_preset(path)
    with pytest.raises(InputError, match=r"Did you mean 'paper'\?"):
        get_preset("papr")
