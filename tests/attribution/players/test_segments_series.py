"""Series and waves: windows of time, channels, and both, whoever reads them; masks of
series and volumes.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.players.segments import build_space, windows

ROWS = 6


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seeded(build) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return build().eval()


class Wave(nn.Module):
    """A convolution over a wave without channels."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Conv1d(1, 4, 5)
        self.head = nn.Linear(4, 2)

    def forward(self, wave: Tensor) -> Tensor:
        return self.head(self.read(wave.reshape(len(wave), 1, -1)).relu().mean(dim=2))


class Convolved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Conv1d(3, 4, 5)
        self.head = nn.Linear(4, 2)

    def forward(self, signal: Tensor) -> Tensor:
        return self.head(self.read(signal).relu().mean(dim=2))


class Recurrent(nn.Module):
    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.read = nn.LSTM(channels, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, signal: Tensor) -> Tensor:
        return self.head(
            self.read(signal if signal.ndim == 3 else signal.unsqueeze(-1))[0][:, -1]
        )


def explain(
    net: nn.Module, rows, method: str = "gradient", **options
) -> pg.Explanation:
    return explain_with(
        net,
        rows,
        method=method,
        progress=False,
        random_state=0,
        returns="values",
        **options,
    )


def spans(name: str, length: int, count: int, suffix: str = "") -> tuple[str, ...]:
    edges = [-(-window_index * length // count) for window_index in range(count + 1)]
    return tuple(f"{name}[{a}:{b}{suffix}]" for a, b in itertools.pairwise(edges))


# ---- what is a series, and what its players are --------------------------------------


@pytest.mark.parametrize("shape", [(100,), (1, 100)])
def test_a_wave_that_a_convolution_reads_has_twenty_windows(shape):
    explanation = explain(seeded(Wave), drawn(ROWS, *shape))
    assert explanation.names == spans("wave", 100, 20)
    assert explanation.meta["read_as"] == {
        "wave": {"size": [100], "channels": 0 if len(shape) == 2 else None}
    }
    assert explanation.maps["segments:wave"].shape == shape


def test_numbers_one_by_one_in_a_recurrent_layer_are_a_series():
    assert explain(seeded(lambda: Recurrent(1)), drawn(ROWS, 50)).names == spans(
        "signal", 50, 20
    )
    assert explain(seeded(lambda: Recurrent(1)), drawn(ROWS, 50, 1)).names == spans(
        "signal", 50, 20
    )


def test_a_table_is_no_series():
    columns = [f"column {column_index}" for column_index in range(30)]
    frame = pd.DataFrame(drawn(ROWS, 30).numpy(), columns=columns)
    assert explain(seeded(Wave), frame).names == tuple(columns), (
        "its columns have names"
    )
    dense = nn.Sequential(nn.Linear(30, 2))
    assert len(explain(dense, drawn(ROWS, 30)).names) == 30, (
        "nobody reads it along time"
    )
    assert len(explain(seeded(Wave), drawn(ROWS, 12)).names) == 12, (
        "few numbers stay by themselves"
    )
    assert explain(dense, drawn(ROWS, 30), segments=("windows", 3)).names == spans(
        "input", 30, 3
    )
    assert explain(
        seeded(Wave), frame, segments={"wave": ("windows", 3)}
    ).names == spans("wave", 30, 3)


CUTS = [
    (("windows", 4), ("signal[0:3]", "signal[3:6]", "signal[6:9]", "signal[9:12]")),
    ("channels", tuple(f"signal[channel {channel}]" for channel in range(3))),
    (
        ("windows", 2, "channels"),
        tuple(
            f"signal[{span}, channel {channel}]"
            for span in ("0:6", "6:12")
            for channel in range(3)
        ),
    ),
]


@pytest.mark.parametrize(("segments", "names"), CUTS)
@pytest.mark.parametrize("build", [Convolved, Recurrent])
def test_players_are_windows_channels_or_both(build, segments, names):
    net = seeded(build)
    first = build is Convolved
    rows = drawn(ROWS, 3, 12) if first else drawn(ROWS, 12, 3)
    explanation = explain(net, rows, segments=segments)
    number_explanation = explain(net, rows, segments="numbers")
    assert explanation.names == names
    # Slopes of a player are the sum over its numbers, here by hand with time first.
    slopes = number_explanation.values.reshape(ROWS, *rows.shape[1:], 2)
    slopes = slopes.swapaxes(1, 2) if first else slopes
    expected = {
        "channels": slopes.sum(axis=1),
        ("windows", 4): slopes.reshape(ROWS, 4, 3, 3, 2).sum(axis=(2, 3)),
        ("windows", 2, "channels"): slopes.reshape(ROWS, 2, 6, 3, 2)
        .sum(axis=2)
        .reshape(ROWS, 6, 2),
    }[segments]
    assert np.ptp(expected, axis=1).min() > 1e-4, "players differ"
    np.testing.assert_allclose(explanation.values, expected, rtol=1e-5, atol=1e-8)


def test_shapley_of_a_linear_network_is_known():
    """φ of a window is Σ w (x − mean of the background) over its numbers."""
    net = nn.Linear(40, 1).double()
    rows = drawn(ROWS, 40).double()
    background = drawn(9, 40, seed=1).double()
    explanation = explain(
        net, rows, "shapley", segments=("windows", 5), background=background
    )
    weights = net.weight.detach().numpy()[0]
    terms = weights * (rows.numpy() - background.numpy().mean(axis=0))
    expected = terms.reshape(ROWS, 5, 8).sum(axis=2)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(explanation.values[..., 0], expected, atol=1e-12)


def test_a_windows_effect_on_the_loss_is_that_of_a_slow_loop():
    net = seeded(Convolved).double()
    rows = drawn(40, 3, 20).double()
    y = net(rows).detach()[:, 0].numpy() + drawn(40, seed=2).double().numpy() / 10
    full_network = nn.Sequential(net, nn.Linear(2, 1).double())
    explanation = explain(full_network, rows, "ablation", y=y, segments=("windows", 4, "channels"), baseline="zeros",
                    scope="global")  # fmt: skip
    with torch.no_grad():
        before = (full_network(rows)[:, 0].numpy() - y) ** 2
        expected = []
        for window in range(4):
            for channel in range(3):
                edited = rows.clone()
                edited[:, channel, 5 * window : 5 * window + 5] = 0
                expected.append(
                    (((full_network(edited)[:, 0].numpy() - y) ** 2) - before).mean()
                )
    assert np.ptp(expected) > 1e-4
    np.testing.assert_allclose(explanation.values[:, 0], expected, atol=1e-10)


def test_several_inputs_are_cut_each_in_its_way():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wave = Wave()
            self.table = nn.Linear(3, 2)

        def forward(self, wave: Tensor, table: Tensor) -> Tensor:
            return self.wave(wave) + self.table(table)

    rows = {"wave": drawn(ROWS, 1, 60), "table": drawn(ROWS, 3, seed=1)}
    explanation = explain(seeded(Both), rows, segments=("windows", 3))
    assert explanation.names == (
        *spans("wave", 60, 3),
        "table[0]",
        "table[1]",
        "table[2]",
    )
    assert explain(seeded(Both), rows, segments={"wave": ("windows", 2)}).names[
        :2
    ] == spans("wave", 60, 2)


def test_masks_of_series_and_of_volumes():
    mask = np.repeat([0, 1, -1, 5], 3)
    net = seeded(Convolved)
    rows = drawn(ROWS, 3, 12)
    explanation = explain(net, rows, segments=mask)
    number_values = explain(net, rows, segments=("windows", 4)).values
    assert explanation.names == ("signal[0]", "signal[1]", "signal[5]")
    np.testing.assert_allclose(
        explanation.values, number_values[:, [0, 1, 3]], rtol=1e-5
    )
    full = np.broadcast_to(np.arange(3)[:, None], (3, 12))
    by_channel = explain(net, rows, segments=full)
    np.testing.assert_allclose(
        by_channel.values, explain(net, rows, segments="channels").values, rtol=1e-5
    )

    class Volume(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.read = nn.Conv3d(1, 2, 2)
            self.head = nn.Linear(2, 2)

        def forward(self, scan: Tensor) -> Tensor:
            return self.head(self.read(scan).relu().mean(dim=(2, 3, 4)))

    volumes = drawn(ROWS, 1, 4, 5, 6)
    organs = np.zeros((4, 5, 6), dtype=int)
    organs[:, :2] = 7
    organs[2:, 3:, 3:] = -1
    cut = explain(seeded(Volume), volumes, segments=organs)
    voxels = explain(seeded(Volume), volumes, segments="pixels")
    assert cut.names == ("scan[0]", "scan[7]")
    values = voxels.values.reshape(ROWS, 120, 2)
    expected = np.stack(
        [values[:, (organs == organ).ravel()].sum(axis=1) for organ in (0, 7)], axis=1
    )
    np.testing.assert_allclose(cut.values, expected, rtol=1e-5)


def test_windows_take_all_places_and_nobody_twice():
    for length, count in [(7, 3), (20, 20), (5, 9), (41, 20), (1, 4)]:
        labels, names = windows(torch.zeros(1, length), (length,), count)
        sizes = np.bincount(labels)
        assert len(names) == len(sizes) == min(length, count)
        assert sizes.max() - sizes.min() <= 1
        assert (np.diff(labels) >= 0).all()
    assert windows(torch.zeros(1, 7), (7,), 3)[1] == ["[0:3]", "[3:5]", "[5:7]"]
    assert windows(torch.zeros(1, 3), (3,), 3)[1] == ["[0]", "[1]", "[2]"]


# ---- what is refused -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "segments", "message"),
    [
        (
            drawn(ROWS, 3, 12),
            ("windows", 0),
            r"^The numbers of segments= must be integers of at least 1",
        ),
        (
            drawn(ROWS, 3, 12),
            ("windows", 2, 3),
            r"has too many numbers, .* for a series \('windows', count\)",
        ),
        (
            drawn(ROWS, 3, 12),
            ("window", 2),
            r"segments cannot be 'window'. Did you mean 'windows'",
        ),
        (
            drawn(ROWS, 3, 12),
            np.zeros(5, dtype=int),
            r"^The mask of 'signal' must hold one integer",
        ),
    ],
)
def test_what_cannot_be_cut_is_refused(rows, segments, message):
    with pytest.raises(pg.InputError, match=message):
        explain(seeded(Convolved), rows, segments=segments)


def test_pixels_have_no_windows_and_a_wave_no_channels():
    image = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.LazyLinear(2))
    image(drawn(2, 1, 8, 9))
    with pytest.raises(
        pg.InputError, match=r"reads 8 × 9 pixels\. Cut them with \('grid', 1, 5\)\."
    ):
        explain(image, drawn(ROWS, 1, 8, 9), segments=("windows", 5))
    for segments in ("channels", ("windows", 5, "channels")):
        with pytest.raises(
            pg.InputError,
            match=r"^Input 'wave' has no channels: it is 100 for each row\. Choose seg",
        ):
            explain(seeded(Wave), drawn(ROWS, 100), segments={"wave": segments})


def test_channels_of_patches_are_players_too():
    space = build_space(
        ["x"], [drawn(2, 3, 4, 4)], [None], ("grid", 2, "channels"), {0: "image"}
    )
    assert len(space) == 12
    assert space.names[:4] == (
        "x[0,0, channel 0]",
        "x[0,0, channel 1]",
        "x[0,0, channel 2]",
        "x[0,1, channel 0]",
    )
    assert space.segments[0][1, :2, 2:].unique().tolist() == [4]
