"""Folded networks against the layers themselves, in float64, where only rounding can
differ.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import permgrad as pg
from permgrad.imaging import Renderer, StoredLayout
from permgrad.imaging.layout import Blur
from permgrad.models.fast.folding import DenseStack, MapTail, max_pool
from permgrad.models.fast.image_chain import near
from permgrad.models.fast.inference import FoldedNetwork, fold
from permgrad.models.network.members import MemberLinear, MemberMean
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.options import ACTIVATIONS


def scramble_(net: nn.Module, seed: int) -> None:
    """Give every number a random value, scales of normalisation of both signs, and
    variances above 0.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in itertools.chain(net.named_parameters(), net.named_buffers()):
        if tensor.is_floating_point():
            fresh = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
            fan_in = max(1, tensor[0].numel()) if tensor.ndim > 1 else 1
            tensor.data.copy_(
                fresh.abs() + 0.5
                if name.endswith("running_var")
                else fresh * fan_in**-0.5
            )


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(
    options=st.fixed_dictionaries(
        {
            "dense_units": st.sampled_from([[4], [5, 3]]),
            "conv_filters": st.sampled_from([[2], [2, 3], [40]]),
            "fusion_units": st.sampled_from([[], [4], [4, 3]]),
            "image_units": st.sampled_from([[], [4]]),
            "activation": st.sampled_from(list(ACTIVATIONS)),
            "normalization": st.sampled_from(["layer", "none"]),
            "conv_normalization": st.sampled_from(["batch", "batch", "layer", "none"]),
            "members": st.sampled_from([1, 1, 3]),
            "numeric_embedding": st.sampled_from(["none", "periodic"]),
            "image_channels": st.sampled_from([1, 3]),
        }
    ),
    batch=st.booleans(),
    blurred=st.booleans(),
    clip=st.booleans(),
    seed=st.integers(0, 2**31 - 1),
)
def test_a_folded_network_predicts_what_the_network_does(
    options, batch, blurred, clip, seed
):
    rng = np.random.default_rng(seed)
    if batch:
        options = {**options, "normalization": "batch", "members": 1}
    encoded = int(rng.integers(2, 7))
    side = int(rng.integers(5, 14))
    spots = rng.choice(side * side, encoded, replace=False)
    layout = StoredLayout(
        np.stack([spots // side, spots % side], axis=1), side, "mean", Blur(2.0, 1, 2)
    )
    if not blurred:
        layout = StoredLayout(layout.positions, side, "last")
    low = rng.normal(size=encoded)
    renderer = Renderer(
        layout,
        low,
        low + rng.uniform(0.5, 2, encoded),
        options["image_channels"],
        1.5,
        clip,
    )
    net = HybridNetwork(encoded, 3, options, renderer=renderer).double().eval()
    scramble_(net, seed % 2**31)
    rows = torch.from_numpy(rng.normal(size=(7, encoded)))
    folded = FoldedNetwork(net)
    with torch.inference_mode():
        expected = net(rows)
        scale = 1 + float(expected.abs().max())
        torch.testing.assert_close(folded(rows), expected, rtol=0, atol=1e-11 * scale)
    assert folded.head is not None
    assert folded.table is not None
    assert (folded.image is None) == (options["conv_normalization"] == "layer")
    if folded.image is not None and not blurred:
        # A few filters on few columns: the first convolution is a matrix.
        assert folded.image.placed is not None
        assert (folded.image.whole is None) == (
            options["conv_filters"][0] * encoded > 64 * 9
        )


@pytest.mark.parametrize(
    "layers",
    [
        [
            nn.BatchNorm1d(5),
            nn.Linear(5, 4),
            nn.ReLU(),
            nn.BatchNorm1d(4),
            nn.Dropout(),
            nn.Linear(4, 3),
        ],
        [
            nn.Linear(5, 4),
            nn.BatchNorm1d(4),
            nn.BatchNorm1d(4),
            nn.ReLU(),
            nn.ReLU(),
            nn.BatchNorm1d(4),
        ],
        [
            nn.BatchNorm1d(5, affine=False),
            nn.BatchNorm1d(5),
            nn.Linear(5, 4, bias=False),
            nn.SiLU(),
        ],
        [nn.ReLU(), nn.LayerNorm(5), nn.Linear(5, 2)],
        [
            nn.Dropout(),
            nn.ReLU(inplace=True),
            nn.Linear(5, 2),
            nn.ReLU(inplace=True),
            nn.SiLU(inplace=True),
        ],
        [nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 2)],
        [
            nn.SiLU(),
            MemberLinear({"a": 1}, 3, members=5, per_member=("a",), shared=False),
            MemberMean(5),
            nn.SiLU(),
        ],
        [],
    ],
)
def test_a_stack_is_its_layers(layers):
    net = nn.Sequential(*layers).double().eval()
    scramble_(net, 3)
    rows = torch.randn(40, 5, dtype=torch.float64)
    rows_before = rows.clone()
    with torch.inference_mode():
        stack_outputs = DenseStack(layers)(rows)
        assert torch.equal(rows, rows_before)
        torch.testing.assert_close(stack_outputs, net(rows), rtol=1e-12, atol=1e-12)
        assert torch.equal(DenseStack(layers, fresh=True)(rows), stack_outputs)


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(2),
        nn.MaxPool2d(3),
        nn.MaxPool2d(3, 2),
        nn.AvgPool2d(2),
        nn.MaxPool2d(1),
    ],
)
@pytest.mark.parametrize(
    "order", ["arp", "rap", "rpa", "pra", "apr", "rrap", "t a p", "g a p", "aap"]
)
def test_a_tail_is_its_layers(order, pool):
    """r: rectifier, t: tanh, g: GELU, a: normalisation, p: pooling; a convolution by 1
    stands before.
    """
    make = {
        "r": nn.ReLU,
        "t": nn.Tanh,
        "g": nn.GELU,
        "a": lambda: nn.BatchNorm2d(6),
        "p": lambda: pool,
    }
    layers = [make[letter]() for letter in order if letter != " "]
    net = nn.Sequential(*layers, nn.Dropout2d()).double().eval()
    scramble_(net, 5)
    norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)]
    assert all((layer.weight < 0).any() and (layer.weight > 0).any() for layer in norms)
    maps = torch.randn(3, 9, 8, 6, dtype=torch.float64)
    tail = MapTail(layers)
    given_maps = maps if tail.before is None else tail.before(maps)
    maps_before = given_maps.clone()
    with torch.inference_mode():
        expected = net(maps.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        torch.testing.assert_close(tail(given_maps), expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(given_maps, maps_before)


@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_pooling_is_torchs(window, channels, more_rows, more_columns, rows):
    maps = torch.randn(rows, window + more_rows, window + more_columns, channels)
    expected = functional.max_pool2d(maps.permute(0, 3, 1, 2), window).permute(
        0, 2, 3, 1
    )
    assert torch.equal(max_pool(maps, window), expected)


def test_matrices_for_maps_with_channels_last():
    maps = torch.randn(4, 3, 2, 5, dtype=torch.float64)
    matrix = torch.randn(7, 30, dtype=torch.float64)
    last = maps.permute(0, 2, 3, 1).flatten(1)
    torch.testing.assert_close(
        last @ near(matrix, 3, (2, 5)).T, maps.flatten(1) @ matrix.T
    )


# ---- who is folded, and who is not ---------------------------------------------------


class Doubled(nn.Linear):
    """Not what its parent computes."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 — torch's name
        return 2 * super().forward(input)


def test_what_is_not_known_is_not_folded():
    chain = [nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)]
    assert fold(nn.Sequential(*chain)) is not None
    assert fold(nn.Sequential(nn.Conv1d(3, 4, 1), nn.Flatten())) is None
    assert fold(nn.Sequential(Doubled(3, 4))) is None
    assert fold(type("Own", (nn.Sequential,), {})(*chain)) is None
    assert fold(nn.Linear(3, 4)) is None
    watched = nn.Sequential(*chain)
    handle = watched[1].register_forward_hook(lambda *_: None)
    assert fold(watched) is None
    handle.remove()
    assert fold(watched) is not None


def test_a_subclass_is_called_as_it_is():
    class Other(HybridNetwork):
        def fuse(self, embeddings):
            return 2 * super().fuse(embeddings)

    net = HybridNetwork(3, 2, {"dense_units": [4]}, paths=("tabular",)).eval()
    rows = torch.randn(20, 3)
    with torch.inference_mode():
        plain = FoldedNetwork(net)(rows)
        net.__class__ = Other
        torch.testing.assert_close(FoldedNetwork(net)(rows), 2 * plain)
    assert fold(net) is None


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(200, 5)), columns=list("abcde"))
    y = (frame["a"] + frame["b"] > 0).astype(int)
    return pg.HyNNClassifier(
        preset="paper", max_epochs=2, random_state=0, progress=False
    ).fit(frame, y), frame


def test_predictions_are_the_networks(fitted):
    model, frame = fitted
    encoded = model.encode_rows(frame).encoded
    with torch.inference_mode():
        expected = model.module_(torch.from_numpy(encoded)).numpy()
    np.testing.assert_allclose(
        model.predict_encoded(encoded),
        expected,
        rtol=0,
        atol=1e-5 * np.abs(expected).max(),
    )


def test_predictions_follow_the_numbers_and_the_watchers(fitted):
    model, frame = fitted
    encoded = model.encode_rows(frame).encoded
    before = model.predict_encoded(encoded)
    last = model.module_.head[-1]
    seen_calls = []
    handle = model.module_.image_branch[0].register_forward_hook(
        lambda *_: seen_calls.append(1)
    )
    with torch.no_grad():
        last.bias.add_(1.0)
    try:
        after = model.predict_encoded(encoded)
    finally:
        handle.remove()
        with torch.no_grad():
            last.bias.sub_(1.0)
    np.testing.assert_allclose(after, before + 1, atol=1e-4)
    assert seen_calls
