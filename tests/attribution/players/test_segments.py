"""How inputs of several dimensions are cut: sequences by token, volumes in depth,
images by channel.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg

ROWS = 4


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


class Reading(nn.Module):
    """A network whose one layer reads the input as it stands."""

    def __init__(self, layer: nn.Module, before=lambda x: x) -> None:
        super().__init__()
        self.layer = layer
        self.before = before

    def forward(self, x: Tensor) -> Tensor:
        layer_output = self.layer(self.before(x + 1.0))
        layer_output = (
            layer_output[0] if isinstance(layer_output, tuple) else layer_output
        )
        return layer_output.flatten(1)[:, :2].tanh() + layer_output.flatten(1).mean(
            dim=1, keepdim=True
        )


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.own(x, x, x)[0].mean(dim=1)


class SequenceFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.GRU(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.transpose(0, 1))[0][-1]


def names(net: nn.Module, rows: Tensor, **options) -> tuple[str, ...]:
    torch.manual_seed(0)
    return explain_with(net, rows, method="gradient", progress=False, **options).names


SEQUENCE = tuple(f"x[{position}]" for position in range(5))
PIXELS = tuple(f"x[{row},{column}]" for row in range(5) for column in range(6))


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: Reading(nn.Linear(6, 3)), SEQUENCE),
        (lambda: Reading(nn.LSTM(6, 3, batch_first=True)), SEQUENCE),
        (SequenceFirst, SEQUENCE),
        (Attending, SEQUENCE),
        (
            lambda: Reading(nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)),
            SEQUENCE,
        ),
        (lambda: Reading(nn.Conv1d(6, 3, 2), lambda x: x.transpose(1, 2)), SEQUENCE),
        (lambda: Reading(nn.Linear(6, 3), lambda x: x.mean(dim=1)), SEQUENCE),
        (lambda: Reading(nn.Linear(30, 3), lambda x: x.flatten(1)), PIXELS),
        (lambda: Reading(nn.Conv2d(1, 3, 2), lambda x: x.unsqueeze(1)), PIXELS),
        (
            lambda: Reading(nn.Conv1d(5, 3, 2)),
            tuple(f"x[{position}]" for position in range(6)),
        ),
        (
            lambda: Reading(
                nn.Sequential(nn.LayerNorm((5, 6)), nn.Flatten(), nn.Linear(30, 3))
            ),
            PIXELS,
        ),
    ],
)
def test_what_the_network_reads_first_says_what_an_input_of_two_dimensions_is(
    build, expected
):
    net = build().eval()
    rows = drawn(ROWS, 5, 6)
    assert names(net, rows) == expected
    assert names(net, rows, segments="tokens") == SEQUENCE
    assert names(net, rows, segments="grid") == PIXELS


def test_a_player_is_a_whole_token():
    net = Reading(nn.Linear(6, 3)).eval()
    rows = drawn(ROWS, 5, 6)
    tokens = pg.explain(net, rows, method="gradient", progress=False)
    fine = pg.explain(
        pg.Model(net, segments="pixels"), rows, method="gradient", progress=False
    )
    summed = fine.values.reshape(ROWS, 5, 6, 2).sum(axis=2)
    assert np.ptp(summed) > 0.01
    np.testing.assert_allclose(tokens.values, summed, rtol=1e-6)
    assert tokens.meta["read_as"] == {"x": {"size": [5], "channels": 1}}
    assert fine.meta["read_as"] == {"x": {"size": [5, 6], "channels": None}}


def test_embeddings_inside_a_network_are_cut_by_token():
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(9, 6)
            self.head = nn.Linear(30, 2)

        def forward(self, words: Tensor) -> Tensor:
            return self.head(self.embed(words).flatten(1))

    explanation = pg.explain(
        pg.Model(Words(), layer="embed"),
        torch.randint(0, 9, (ROWS, 5)),
        method="gradient",
        progress=False,
    )
    assert explanation.names == tuple(f"embed[{position}]" for position in range(5))


@pytest.mark.parametrize("channels", [True, False])
def test_volumes_are_cut_in_depth_too(channels):
    net = Reading(
        nn.Conv3d(1, 2, 3), (lambda x: x) if channels else (lambda x: x.unsqueeze(1))
    )
    rows = drawn(ROWS, 1, 8, 9, 10) if channels else drawn(ROWS, 8, 9, 10)
    explanation = pg.explain(net, rows, method="gradient", progress=False)
    assert len(explanation.names) == 4 * 4 * 4
    assert explanation.names[-1] == "x[3,3,3]"
    fine = pg.explain(
        pg.Model(net, segments="pixels"), rows, method="gradient", progress=False
    )
    assert (len(fine.names), fine.names[-1]) == (720, "x[7,8,9]")
    cut = pg.explain(
        pg.Model(net, segments=("grid", 2, 3, 5)),
        rows,
        method="gradient",
        progress=False,
    )
    summed_values = (
        fine.values.reshape(ROWS, 2, 4, 3, 3, 5, 2, 2)
        .sum(axis=(2, 4, 6))
        .reshape(ROWS, 30, 2)
    )
    np.testing.assert_allclose(cut.values, summed_values, rtol=1e-4, atol=1e-6)
    mask = np.arange(720).reshape(8, 9, 10) // 90
    assert names(net, rows, segments=mask) == tuple(f"x[{depth}]" for depth in range(8))
    regions = explanation.maps["segments:x"]
    assert regions.shape == tuple(rows.shape[1:])
    blobs = rows.clone()
    blobs[..., :4, :, :] += 9
    superpixel_explanation = pg.explain(
        pg.Model(net, segments=("superpixels", 6)),
        blobs,
        method="gradient",
        progress=False,
    )
    superpixel_map = superpixel_explanation.maps["segments:x"].reshape(8, 9, 10)
    assert 2 <= len(superpixel_explanation.names) <= 12
    assert not set(np.unique(superpixel_map[:4])) & set(
        np.unique(superpixel_map[4:])
    ), "the halves differ in colour"


def test_many_channels_of_an_image_are_no_depth():
    net = Reading(nn.Conv2d(8, 2, 3))
    assert names(net, drawn(ROWS, 8, 9, 10))[-1] == "x[6,6]"


def test_each_channel_can_be_a_player():
    net = Reading(nn.Conv2d(5, 2, 3))
    rows = drawn(ROWS, 5, 6, 7)
    explanation = pg.explain(
        pg.Model(net, segments="channels"), rows, method="gradient", progress=False
    )
    channels = tuple(f"x[channel {index}]" for index in range(5))
    assert explanation.names == channels, "no place has this name"
    every = pg.explain(
        pg.Model(net, segments=np.arange(5 * 6 * 7).reshape(5, 6, 7)),
        rows,
        method="gradient",
        progress=False,
    )
    np.testing.assert_allclose(
        explanation.values, every.values.reshape(ROWS, 5, 42, 2).sum(axis=2), rtol=1e-5
    )
    assert np.ptp(explanation.values.mean(axis=0)) > 1e-3
    explanation.plot.image(row=1)
    shapley = pg.explain(
        pg.Model(net, segments={"x": "channels"}),
        rows,
        method="shapley",
        background=drawn(6, 5, 6, 7),
        random_state=0,
        progress=False,
    )
    assert shapley.names == channels
    with pytest.raises(
        pg.InputError,
        match=r"^Input 'x' has no channels: it is 6 × 7 for each row\. Choose "
        r"segments='grid'",
    ):
        names(
            Reading(nn.Linear(42, 2), lambda x: x.flatten(1)),
            drawn(ROWS, 6, 7),
            segments="channels",
        )


def test_a_number_is_no_way_to_cut_an_image():
    net = Reading(nn.Conv2d(5, 2, 3))
    with pytest.raises(
        pg.InputError,
        match=r"^segments= must be a name, a tuple .* got 4\. .* \('grid', 4\)\.",
    ):
        names(net, drawn(ROWS, 5, 6, 7), segments=4)


def test_masks_may_tell_channels_apart():
    net = Reading(nn.Conv2d(5, 2, 3))
    rows = drawn(ROWS, 5, 6, 7)
    mask = np.zeros((5, 6, 7), dtype=int)
    mask[:2] = 1
    mask[4] = -1
    explanation = pg.explain(
        pg.Model(net, segments=mask), rows, method="gradient", progress=False
    )
    channel_values = pg.explain(
        pg.Model(net, segments="channels"), rows, method="gradient", progress=False
    ).values
    assert explanation.names == ("x[0]", "x[1]")
    np.testing.assert_allclose(
        explanation.values,
        np.stack([channel_values[:, 2:4].sum(1), channel_values[:, :2].sum(1)], axis=1),
        rtol=1e-5,
    )


@pytest.mark.parametrize("method", ["gradient", "integrated_gradients", "deeplift"])
def test_each_channel_of_each_pixel_can_have_a_value(method, tmp_path):
    net = Reading(nn.Conv2d(3, 2, 3))
    rows = drawn(ROWS, 3, 4, 5)
    options = {} if method == "gradient" else {"baseline": "zeros"}
    explanation = explain_with(
        net, rows, method=method, progress=False, segments="numbers", **options
    )
    assert (len(explanation.names), explanation.names[-1]) == (60, "x[2,3,4]")
    image = explanation.values[:, explanation.maps["segments:x"]]
    assert image.shape == (ROWS, 3, 4, 5, 2)
    leaf = rows.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(net(leaf)[:, 1].sum(), leaf)
    if method == "gradient":
        np.testing.assert_allclose(
            image[..., 1], slopes.abs().numpy(), rtol=1e-5, atol=1e-7
        )
    pixels = explain_with(
        net, rows, method=method, progress=False, segments="pixels", **options
    )
    np.testing.assert_allclose(
        image.sum(axis=1).reshape(ROWS, 20, 2), pixels.values, rtol=1e-4, atol=1e-6
    )
    assert np.ptp(image.sum(axis=(0, 2, 3)), axis=0).min() > 1e-4, "the channels differ"
    explanation.plot.image(row=1).savefig(tmp_path / "numbers.png")
    assert (tmp_path / "numbers.png").stat().st_size > 1000
