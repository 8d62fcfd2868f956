"""The incremental engine against a computation that edits the encoded row and runs the
whole network, in float64.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from permgrad.imaging import Renderer, StoredLayout
from permgrad.imaging.layout import Blur
from permgrad.models.fast.replacement import ReplacementEngine
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.options import ACTIVATIONS

TABLE = frozenset({"tabular"})
IMAGE = frozenset({"image"})
BOTH = TABLE | IMAGE
TOLERANCE = 1e-10
SLOW = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def replaced_slowly(
    net: HybridNetwork,
    rows: Tensor,
    columns: list[int],
    values: Tensor,
    coalition: frozenset,
) -> Tensor:
    """Each path reads either the row or the edited row; nothing is shared, nothing is
    cached.
    """
    outputs = []
    for row, new in zip(rows, values, strict=True):
        edited = row.clone()
        edited[columns] = new
        read = {
            path: (edited if path in coalition else row)[None] for path in net.paths
        }
        outputs.append(
            net.fuse({path: net.embed(path, read[path]) for path in net.paths})
        )
    return torch.cat(outputs)


def scramble_(net: nn.Module, seed: int) -> None:
    """Give every number of the network, the statistics of batch normalisation too, a
    random value of ordinary size.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in itertools.chain(net.named_parameters(), net.named_buffers()):
        if not tensor.is_floating_point():
            continue
        fresh = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        fan_in = max(1, tensor[0].numel()) if tensor.ndim > 1 else 1
        tensor.data.copy_(
            fresh.abs() + 0.5 if name.endswith("running_var") else fresh * fan_in**-0.5
        )


def make_renderer(
    rng: np.random.Generator, encoded: int, pixels: int, kind: str, channels: int
) -> Renderer:
    cells = pixels * pixels
    # "place" gives each column a pixel of its own; the others let columns meet, on
    # purpose often.
    spots = (
        rng.choice(cells, encoded, replace=False)
        if kind == "place"
        else rng.integers(0, max(1, cells // 2), encoded)
    )
    positions = np.stack([spots // pixels, spots % pixels], axis=1)
    blur = Blur(2.0, 1, 2) if kind.startswith("blur") else None
    overlap = {
        "place": "last",
        "last": "last",
        "mean": "mean",
        "maximum": "maximum",
    }.get(kind, kind.removeprefix("blur_"))
    low = rng.normal(size=encoded)
    return Renderer(
        StoredLayout(positions, pixels, overlap, blur),
        low,
        low + rng.uniform(0.5, 2, encoded),
        channels,
        1.5,
    )


RENDERERS = ["place", "last", "mean", "maximum", "blur_mean", "blur_maximum"]


@st.composite
def image_chains(draw: st.DrawFn) -> tuple[list[nn.Module], int, int]:
    """Draw a chain of layers up to ``Flatten`` and what follows; return layers,
    channels and image side.
    """
    channels = draw(st.sampled_from([1, 3]))
    side = draw(st.integers(4, 13))
    layers: list[nn.Module] = []
    have = channels
    size = side
    for _ in range(draw(st.integers(1, 3))):
        kernel = draw(st.sampled_from([1, 3, 5]))
        stride = draw(st.sampled_from([1, 1, 2]))
        dilation = draw(st.sampled_from([1, 1, 2]))
        padding = draw(st.integers(0, 3))
        filters = draw(st.sampled_from([2, 4]))
        grouped = 2 if have % 2 == 0 and draw(st.booleans()) else 1
        after = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        assume(after >= 1)
        layers.append(
            nn.Conv2d(
                have,
                filters,
                kernel,
                stride,
                padding,
                dilation,
                groups=grouped,
                bias=draw(st.booleans()),
            )
        )
        have = filters
        size = after
        tail: list[nn.Module] = [
            draw(st.sampled_from([*ACTIVATIONS.values(), nn.ELU, nn.Identity]))()
        ]
        if draw(st.booleans()):
            tail.append(nn.BatchNorm2d(have))
        window = draw(st.integers(1, 3))
        if 1 < window <= size:
            step = draw(st.sampled_from([window, 1, window + 1]))
            pool = draw(st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]))(window, step)
            size = (size - window) // step + 1
            tail.insert(draw(st.integers(0, len(tail))), pool)
        tail.append(nn.Dropout(0.3))
        layers += tail
    layers.append(nn.Flatten())
    width = have * size * size
    if draw(st.booleans()):
        layers += [nn.Linear(width, 5), nn.SiLU(), nn.BatchNorm1d(5)]
    return layers, channels, side


def with_chain(net: HybridNetwork, chain: nn.Sequential, fusion: bool) -> HybridNetwork:
    net.image_branch = chain
    with torch.no_grad():
        net.widths["image"] = chain.eval()(torch.zeros(1, *net.image_shape)).shape[1]
    total = sum(net.widths.values())
    net.head = (
        nn.Sequential(nn.Linear(total, 6), nn.ReLU(), nn.Linear(6, 3))
        if fusion
        else nn.Sequential(nn.Linear(total, 3))
    )
    return net


def compare(
    net: HybridNetwork, rng: np.random.Generator, columns: list[int]
) -> ReplacementEngine:
    net = net.double().eval()
    scramble_(net, int(rng.integers(2**31)))
    rows = torch.from_numpy(rng.normal(size=(5, net.encoded)))
    values = torch.from_numpy(rng.normal(size=(3, len(columns))))
    engine = ReplacementEngine(net)
    coalitions = [frozenset(net.paths)] if len(net.paths) == 1 else [TABLE, IMAGE, BOTH]
    with torch.inference_mode():
        block = engine.prepare(rows, batch_size=2)
        torch.testing.assert_close(
            block.outputs, net(rows), rtol=TOLERANCE, atol=TOLERANCE
        )
        replaced_outputs = engine.replace(block, 1, 4, columns, values, coalitions)
        for coalition in coalitions:
            expected = replaced_slowly(net, rows[1:4], columns, values, coalition)
            scale = float(expected.abs().max()) + 1
            torch.testing.assert_close(
                replaced_outputs[coalition], expected, rtol=0, atol=TOLERANCE * scale
            )
    return engine


@SLOW
@given(
    chain=image_chains(),
    kind=st.sampled_from(RENDERERS),
    fusion=st.booleans(),
    seed=st.integers(0, 2**31 - 1),
    data=st.data(),
)
def test_any_chain_of_layers(chain, kind, fusion, seed, data):
    layers, channels, side = chain
    rng = np.random.default_rng(seed)
    encoded = data.draw(st.integers(1, min(8, side * side)))
    columns = data.draw(
        st.lists(st.integers(0, encoded - 1), min_size=1, max_size=3, unique=True)
    )
    renderer = make_renderer(rng, encoded, side, kind, channels)
    net = HybridNetwork(
        encoded,
        3,
        {"dense_units": [4], "conv_filters": [2], "fusion_units": []},
        renderer=renderer,
    )
    engine = compare(with_chain(net, nn.Sequential(*layers), fusion), rng, columns)
    assert engine._chain is not None  # the chain was followed, not given up


@settings(SLOW, max_examples=60)
@given(
    options=st.fixed_dictionaries(
        {
            "dense_units": st.sampled_from([[4], [5, 3]]),
            "conv_filters": st.sampled_from([[2], [2, 3], [3, 2, 2]]),
            "fusion_units": st.sampled_from([[], [4], [4, 3]]),
            "image_units": st.sampled_from([[], [4], [4, 3]]),
            "activation": st.sampled_from(list(ACTIVATIONS)),
            "normalization": st.sampled_from(["batch", "layer", "none"]),
            "conv_normalization": st.sampled_from(["batch", "layer", "none"]),
            "kernel_size": st.sampled_from([1, 3, 5]),
            "pooling": st.sampled_from([[1], [2], [3], [2, 1, 3]]),
            "numeric_embedding": st.sampled_from(["none", "periodic"]),
            "image_channels": st.sampled_from([1, 3]),
        }
    ),
    paths=st.sampled_from(
        [("tabular", "image"), ("tabular", "image"), ("image",), ("tabular",)]
    ),
    side=st.integers(5, 20),
    kind=st.sampled_from(RENDERERS),
    seed=st.integers(0, 2**31 - 1),
)
def test_any_network_of_our_own(options, paths, side, kind, seed):
    rng = np.random.default_rng(seed)
    encoded = int(rng.integers(2, 9))
    columns = rng.choice(encoded, int(rng.integers(1, 3)), replace=False).tolist()
    renderer = make_renderer(rng, encoded, side, kind, options["image_channels"])
    net = HybridNetwork(
        encoded,
        3,
        options,
        renderer=renderer if "image" in paths else None,
        paths=paths,
    )
    compare(net, rng, columns)


@pytest.mark.parametrize("kind", RENDERERS)
def test_every_set_of_columns(kind):
    """All 2⁵ sets of columns of one network, the empty one among them."""
    rng = np.random.default_rng(3)
    renderer = make_renderer(rng, 5, 9, kind, 1)
    options = {
        "dense_units": [4],
        "conv_filters": [2, 3],
        "fusion_units": [4],
        "activation": "tanh",
        "image_channels": 1,
    }
    net = HybridNetwork(5, 2, options, renderer=renderer)
    for size in range(6):
        for columns in itertools.combinations(range(5), size):
            compare(net, rng, list(columns))


def test_a_hidden_column_changes_the_table_alone():
    """Two columns on one pixel: the last is drawn, the first is seen by the table
    branch only.
    """
    rng = np.random.default_rng(0)
    renderer = Renderer(
        StoredLayout([[1, 1], [1, 1], [3, 2]], 6, "last"), [0, 0, 0], [1, 1, 1], 3
    )
    net = HybridNetwork(
        3,
        2,
        {"dense_units": [4], "image_units": [3], "activation": "tanh"},
        renderer=renderer,
    )
    net = net.double().eval()
    scramble_(net, 0)
    rows = torch.from_numpy(rng.normal(size=(4, 3)))
    values = torch.from_numpy(rng.normal(size=(4, 1)))
    with torch.inference_mode():
        engine = ReplacementEngine(net)
        block = engine.prepare(rows)
        replaced_outputs = engine.replace(
            block, 0, 4, [0], values, [TABLE, IMAGE, BOTH]
        )
    assert renderer.pixels_of([0]) == []
    assert torch.equal(replaced_outputs[IMAGE], block.outputs)
    assert torch.equal(replaced_outputs[BOTH], replaced_outputs[TABLE])
    assert (replaced_outputs[TABLE] - block.outputs).abs().max() > 1e-3


def test_pixels_that_pooling_drops():
    """Side 5, pooling 2: the last row and column of the map are dropped, and a 1 × 1
    convolution spreads nothing.
    """
    rng = np.random.default_rng(0)
    renderer = Renderer(StoredLayout([[4, 4], [0, 0]], 5, "last"), [0, 0], [1, 1])
    options = {
        "dense_units": [3],
        "conv_filters": [2],
        "kernel_size": 1,
        "pooling": [2],
        "image_channels": 1,
    }
    options |= {"activation": "tanh"}
    net = HybridNetwork(2, 1, options, renderer=renderer).double().eval()
    scramble_(net, 1)
    rows = torch.from_numpy(rng.normal(size=(3, 2)))
    values = torch.from_numpy(rng.normal(size=(3, 1)))
    with torch.inference_mode():
        engine = ReplacementEngine(net)
        block = engine.prepare(rows)
        dropped_outputs = engine.replace(block, 0, 3, [0], values, [IMAGE])[IMAGE]
        pooled_outputs = engine.replace(block, 0, 3, [1], values, [IMAGE])[IMAGE]
    assert torch.equal(dropped_outputs, block.outputs)
    assert not torch.equal(pooled_outputs, block.outputs)


@pytest.mark.parametrize(
    "last",
    [
        nn.GroupNorm(1, 2),
        nn.PReLU(),
        nn.AdaptiveAvgPool2d(3),
        nn.MaxPool2d(2, ceil_mode=True),
    ],
)
def test_layers_that_cannot_be_followed_are_computed_whole(last):
    rng = np.random.default_rng(0)
    renderer = make_renderer(rng, 4, 7, "place", 1)
    net = HybridNetwork(
        4,
        3,
        {"dense_units": [4], "conv_filters": [2], "fusion_units": []},
        renderer=renderer,
    )
    chain = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), last, nn.Flatten())
    engine = compare(with_chain(net, chain, fusion=True), rng, [2])
    assert engine._chain is None


@pytest.mark.parametrize("padding", ["same", "reflect"])
def test_paddings_that_cannot_be_followed_are_computed_whole(padding):
    rng = np.random.default_rng(0)
    renderer = make_renderer(rng, 4, 7, "place", 1)
    net = HybridNetwork(
        4,
        3,
        {"dense_units": [4], "conv_filters": [2], "fusion_units": []},
        renderer=renderer,
    )
    how = (
        {"padding": "same"}
        if padding == "same"
        else {"padding": 1, "padding_mode": "reflect"}
    )
    engine = compare(
        with_chain(
            net, nn.Sequential(nn.Conv2d(1, 2, 3, **how), nn.ReLU(), nn.Flatten()), True
        ),
        rng,
        [1],
    )
    assert engine._chain is None


def test_incremental_and_dense_engines_agree_and_differ_in_work():
    """Precondition of all the above: a replacement of one column goes the short way, of
    all columns the long way.
    """
    rng = np.random.default_rng(0)
    net = HybridNetwork(
        6, 2, {"conv_filters": [4, 4]}, renderer=make_renderer(rng, 6, 20, "place", 3)
    ).eval()
    engine = ReplacementEngine(net)
    assert engine._plan([0]) is not None
    assert engine._plan(list(range(6))) is None
    assert ReplacementEngine(net, incremental=False)._plan([0]) is None


@given(st.integers(0, 2**31 - 1))
@settings(max_examples=20, deadline=None)
def test_exchange_takes_whole_embeddings(seed):
    rng = np.random.default_rng(seed)
    net = HybridNetwork(
        4,
        2,
        {"dense_units": [4], "conv_filters": [2], "fusion_units": [3]},
        renderer=make_renderer(rng, 4, 6, "place", 3),
    )
    net = net.double().eval()
    scramble_(net, seed % 1000)
    rows = torch.from_numpy(rng.normal(size=(6, 4)))
    receivers, donors = (torch.from_numpy(rng.integers(0, 6, 5)) for _ in range(2))
    with torch.inference_mode():
        engine = ReplacementEngine(net)
        block = engine.prepare(rows)
        outputs = engine.exchange(block, receivers, donors, block, (TABLE, IMAGE, BOTH))
        for coalition, coalition_outputs in outputs.items():
            read = {
                path: rows[donors if path in coalition else receivers]
                for path in net.paths
            }
            expected = net.fuse(
                {path: net.embed(path, read[path]) for path in net.paths}
            )
            torch.testing.assert_close(
                coalition_outputs,
                expected,
                rtol=TOLERANCE,
                atol=TOLERANCE * (1 + float(expected.abs().max())),
            )
