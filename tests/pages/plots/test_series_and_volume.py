"""Plots of series and volumes: lines on the colours of their windows, slices through
the strongest block.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from explaining import explain_with
from matplotlib.figure import Figure
from torch import nn

import permgrad as pg
from permgrad import Explanation
from permgrad.base import style
from permgrad.base.errors import InputError
from permgrad.pages.drawn_inputs import extremes, outline, strongest

ROWS = 3
CHANNELS = 2
TIME = 12
DEPTH = 4
HEIGHT = 6
WIDTH = 8
WINDOWS = np.arange(TIME) // 3
BLOCKS = (
    np.arange(DEPTH)[:, None, None] // 2 * 2 + np.arange(HEIGHT)[:, None] // 3
) * 2 + np.arange(WIDTH) // 4


def local(values, picture, segments, size, channels=0, **changes) -> Explanation:
    """An explanation of one input ``x`` whose players' values are given, alike in all
    rows.
    """
    values = np.asarray(values, dtype=np.float64)
    fields = {
        "values": np.broadcast_to(
            values[None, :, None] * np.array([1.0, -1.0]), (ROWS, len(values), 2)
        ),
        "names": tuple(f"x[{player_index}]" for player_index in range(len(values))),
        "modality": ("x",) * len(values),
        "outputs": ("ill", "well"),
        "method": "shapley",
        "scope": "local",
        "maps": {
            "segments:x": segments,
            **({} if picture is None else {"images:x": picture}),
        },
        "meta": {
            "unit": "logit",
            "read_as": {"x": {"size": list(size), "channels": channels}},
        },
    }
    return Explanation(**{**fields, **changes})


def lines(
    values=(1.0, -2.0, 0.0, 0.5),
    segments=None,
    count: int = CHANNELS,
    time: int = TIME,
    **changes,
) -> Explanation:
    segments = np.broadcast_to(WINDOWS, (count, time)) if segments is None else segments
    rows = np.random.default_rng(0).normal(size=(ROWS, count, time)).cumsum(axis=2)
    return local(values, changes.pop("picture", rows), segments, (time,), **changes)


def block(values=(0.1, 0.2, 0, 0, 0, 0, -3.0, 0.4), **changes) -> Explanation:
    rows = np.random.default_rng(0).uniform(size=(ROWS, 1, DEPTH, HEIGHT, WIDTH))
    segments = changes.pop("segments", BLOCKS[None])
    return local(
        values,
        changes.pop("picture", rows),
        segments,
        (DEPTH, HEIGHT, WIDTH),
        **changes,
    )


def shades(axes) -> np.ndarray:
    """The colours behind a line, ``(time, 4)``."""
    return axes.images[0].get_array()[0]


def drawn(figure) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return figure.to_svg()


# ---- series --------------------------------------------------------------------------
def test_each_channel_is_a_line_on_the_colours_of_its_windows():
    explanation = lines()
    figure = explanation.plot.series(row=1, target="ill")
    first, second, bar = figure.axes
    for channel, axes in enumerate((first, second)):
        np.testing.assert_array_equal(
            axes.lines[0].get_ydata(), explanation.maps["images:x"][1, channel]
        )
        np.testing.assert_array_equal(
            shades(axes), np.repeat(shades(axes)[::3], 3, axis=0)
        )
        assert axes.get_ylabel() == f"channel {channel}"
    expected = style.colour_map("shade")((np.array([1.0, -2.0, 0.0, 0.5]) + 2) / 4)
    np.testing.assert_allclose(shades(first)[::3], expected)
    assert bar.get_xlim() == (-2.0, 2.0), "the strongest window has the full colour"
    assert "x[1] −2.00, x[0] 1.00" in figure.description
    assert "<svg" in drawn(figure)
    other_colours = style.colour_map("shade")((2 - np.array([1.0, -2.0, 0.0, 0.5])) / 4)
    np.testing.assert_allclose(
        shades(explanation.plot.series(target="well").axes[0])[::3], other_colours
    )


def test_channels_with_players_of_their_own_have_their_own_colours_and_nobodys_places_are_grey():
    channel_segments = np.arange(2)[:, None] + np.zeros(TIME, int)
    channel_segments[1, 6:] = -1
    figure = lines((1.0, -2.0), channel_segments).plot.series(target="ill")
    (first, second) = (shades(axes) for axes in figure.axes[:2])
    assert len(np.unique(first, axis=0)) == 1
    assert not np.allclose(first[0], second[0])
    np.testing.assert_allclose(second[6:, :3].std(axis=1), 0, atol=0.01)
    assert not np.allclose(second[6], style.colour_map("shade")(0.5)), (
        "not the colour of 0"
    )


def test_a_long_wave_keeps_its_narrowest_spike_and_window():
    time = 16_000
    wave = np.zeros((ROWS, 16_000))
    wave[:, 4321] = 5.0
    wave[:, 9999] = -3.0
    segments = np.zeros(time, int)
    segments[12_345] = 1
    explanation = local((0.1, -2.0), wave, segments, (time,), None)
    figure = explanation.plot.series(target="ill")
    axes = figure.axes[0]
    assert axes.get_ylabel() == "", "a single channel has no number"
    heights = axes.collections[-1].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (-3.0, 5.0)
    coloured = np.flatnonzero(
        (shades(axes) == style.colour_map("shade")(0.0)).all(axis=1)
    )
    assert coloured.tolist() == [12_345 * len(shades(axes)) // time]
    assert len(drawn(figure)) < 100_000
    assert len(explanation.to_html()) < 30_000


def test_stretches_have_the_extremes_of_their_numbers():
    values = np.random.default_rng(0).normal(size=1003)
    values[5] = np.nan
    low, high = extremes(values, 10)
    edges = [edge_index * 1003 // 10 for edge_index in range(11)]
    for stretch_index in range(10):
        stretch_values = values[edges[stretch_index] : edges[stretch_index + 1]]
        assert (low[stretch_index], high[stretch_index]) == (
            np.nanmin(stretch_values),
            np.nanmax(stretch_values),
        )
    np.testing.assert_array_equal(
        strongest(values, 10), np.where(-low > high, low, high)
    )
    line_positions, lowest, highest = outline(values, 502)
    assert lowest is highest is values, "few enough numbers are drawn as they are"
    assert len(line_positions) == len(values)


def test_most_channels_are_those_of_the_largest_values():
    count = 12
    channel_segments = np.arange(count)[:, None] + np.zeros(TIME, int)
    values = np.where(np.isin(np.arange(count), (3, 7)), 2.0, 0.1)
    figure = lines(values, channel_segments, count).plot.series(top_n=2)
    assert [axes.get_ylabel() for axes in figure.axes[:2]] == ["channel 3", "channel 7"]
    assert "10 more channels not shown" in drawn(figure)
    assert (
        len(lines(values, channel_segments, count).plot.series(top_n=None).axes)
        == count + 1
    )
    assert [
        axes.get_ylabel() for axes in lines(count=9).plot.series(top_n=1).axes[:1]
    ] == ["channel 0"]


def test_a_global_explanation_is_drawn_on_the_mean_and_one_without_its_rows_on_nothing():
    explanation = lines()
    figure = explanation.to_global("mean").plot.series()
    np.testing.assert_allclose(
        figure.axes[0].lines[0].get_ydata(),
        explanation.maps["images:x"].mean(axis=0)[0],
    )
    assert "mean of all rows" in figure.axes[1].get_xlabel()
    bare = lines(picture=None).plot.series()
    assert not bare.axes[0].lines
    assert len(bare.axes) == 2, "windows that all channels share, and the scale"
    assert "<svg" in drawn(bare)


def test_time_first_is_turned_and_activation_starts_at_zero():
    explanation = lines(
        segments=np.broadcast_to(WINDOWS[:, None], (TIME, CHANNELS)),
        channels=1,
        picture=np.random.default_rng(1).normal(size=(ROWS, TIME, CHANNELS)),
    )
    line = explanation.plot.series(row=2).axes[1].lines[0].get_ydata()
    np.testing.assert_array_equal(line, explanation.maps["images:x"][2, :, 1])
    maps = {
        "maps:x": np.ones((ROWS, 2, 4)) * np.arange(4),
        "images:x": lines().maps["images:x"],
    }
    figure = lines(maps=maps).plot.series()
    assert figure.axes[-1].get_xlim() == (0.0, 3.0)
    assert figure.axes[-1].get_xlabel() == "activation"
    assert len(shades(figure.axes[0])) == 4, "coarser than the series"


# ---- volumes -------------------------------------------------------------------------
def test_slices_go_through_the_strongest_block_and_show_its_value():
    explanation = block()
    figure = explanation.plot.volume(row=1, target="ill")
    plain = figure.axes[:3]
    over = figure.axes[3:6]
    titles = [axes.get_title("left") for axes in plain]
    where = [int(title.split()[1]) for title in titles]
    assert BLOCKS[tuple(where)] == 6, "a precondition of what follows: the block of −3"
    assert titles[0].endswith("(0–3)")
    volume = explanation.maps["images:x"][1, 0]
    for side, axes in enumerate(plain):
        np.testing.assert_allclose(
            axes.images[0].get_array(), np.take(volume, where[side], axis=side)
        )
    for side, axes in enumerate(over):
        colours = axes.images[-1].get_array()
        strong = colours[..., 3] == colours[..., 3].max()
        np.testing.assert_array_equal(
            strong, np.take(BLOCKS, where[side], axis=side) == 6
        )
    assert "value is −3.00" in figure.description
    assert "<svg" in drawn(figure)


def test_the_place_is_free_to_choose_and_checked():
    figure = block().plot.volume(at=(0, 1, 7))
    assert [axes.get_title("left").split()[1] for axes in figure.axes[:3]] == [
        "0",
        "1",
        "7",
    ]
    for wrong_position in ((0, 1), (0, 1, 8), (0, -1, 2), "123", 5, (0.5, 1, 1)):
        with pytest.raises(
            InputError,
            match=r"^at must be a depth, a row and a column of the volume \(0 to 3, 0 "
            r"to 5",
        ):
            block().plot.volume(at=wrong_position)


def test_channels_are_averaged_and_their_values_added():
    rows = np.random.default_rng(1).uniform(size=(ROWS, DEPTH, HEIGHT, WIDTH, 2))
    segments = np.arange(2) + np.zeros((DEPTH, HEIGHT, WIDTH, 1), int)
    explanation = block((2.0, -0.5), picture=rows, segments=segments, channels=3)
    figure = explanation.plot.volume(target="ill", at=(1, 2, 3))
    np.testing.assert_allclose(
        figure.axes[0].images[0].get_array(), rows[0, 1].mean(axis=-1)
    )
    assert figure.axes[-1].get_xlim() == (-1.5, 1.5)


def test_a_volume_without_rows_coarse_maps_and_nothing_at_all():
    assert len(block(picture=None).plot.volume().axes) == 4
    assert "<svg" in drawn(block(np.zeros(8)).plot.volume())
    coarse = np.zeros((ROWS, 2, 2, 2, 2))
    coarse[:, :, 1, 0, 1] = 4.0
    figure = block(
        maps={"maps:x": coarse, "images:x": block().maps["images:x"]}
    ).plot.volume()
    assert [axes.get_title("left").split()[1] for axes in figure.axes[:3]] == [
        "3",
        "1",
        "6",
    ], "the middle of the cell"
    assert figure.axes[-1].get_xlim() == (0.0, 4.0)


# ---- which plot ----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("explanation", "plot", "right"),
    [
        (lines(), "image", "series"),
        (lines(), "volume", "series"),
        (block(), "image", "volume"),
    ],
)
def test_another_kind_of_input_names_its_plot(explanation, plot, right):
    for options in ({}, {"input": "x"}):
        with pytest.raises(
            InputError,
            match=rf"does not draw the {right} 'x'\. Call "
            rf"explanation\.plot\.{right}\(\)",
        ):
            getattr(explanation.plot, plot)(**options)
    with pytest.raises(InputError, match="row must be a position"):
        getattr(explanation.plot, right)(row=3)
    with pytest.raises(InputError, match="'y'"):
        getattr(explanation.plot, right)(input="y")


def test_of_several_inputs_the_one_of_the_kind_is_drawn():
    maps = {
        **lines().maps,
        "segments:scan": BLOCKS[None],
        "images:scan": block().maps["images:x"],
    }
    both_explanation = lines(np.arange(8.0), maps=maps)
    both_explanation.meta["read_as"]["scan"] = {
        "size": [DEPTH, HEIGHT, WIDTH],
        "channels": 0,
    }
    assert len(both_explanation.plot.series().axes) == 3
    assert len(both_explanation.plot.volume().axes) == 7


# ---- of networks ---------------------------------------------------------------------
class Read(nn.Module):
    """A layer over the input, and the mean of what it returns."""

    def __init__(self, layer: nn.Module, *, wave: bool = False) -> None:
        super().__init__()
        self.layer = layer
        self.wave = wave

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layer_outputs = self.layer(x.reshape(len(x), 1, -1) if self.wave else x)
        layer_outputs = (
            layer_outputs[0] if isinstance(layer_outputs, tuple) else layer_outputs
        )
        return layer_outputs.relu().flatten(2).mean(dim=2)


CASES = {
    "channels first": (nn.Conv1d(3, 2, 5), (3, 60), {}, "series"),
    "channels alone": (nn.Conv1d(3, 2, 5), (3, 60), {"segments": "channels"}, "series"),
    "windows of channels": (
        nn.Conv1d(3, 2, 5),
        (3, 60),
        {"segments": ("windows", 4, "channels")},
        "series",
    ),
    "numbers": (nn.Conv1d(3, 2, 5), (3, 60), {"segments": "numbers"}, "series"),
    "a mask": (
        nn.Conv1d(3, 2, 5),
        (3, 60),
        {"segments": np.repeat([0, -1, 1], 20)},
        "series",
    ),
    "time first": (nn.LSTM(3, 2, batch_first=True), (20, 3), {}, "series"),
    "a wave": (nn.Conv1d(1, 2, 9), (80,), {}, "series"),
    "a wave with a channel": (nn.Conv1d(1, 2, 9), (1, 80), {}, "series"),
    "activation of time": (
        nn.Conv1d(3, 2, 5),
        (3, 60),
        {"method": "gradcam"},
        "series",
    ),
    "a volume": (nn.Conv3d(1, 2, 3), (1, 5, 6, 7), {}, "volume"),
    "organs": (
        nn.Conv3d(1, 2, 3),
        (1, 4, 6, 8),
        {"segments": np.where(BLOCKS < 6, BLOCKS // 2, -1)},
        "volume",
    ),
    "activation of a volume": (
        nn.Conv3d(1, 2, 3),
        (1, 5, 6, 7),
        {"method": "gradcam"},
        "volume",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_explanations_of_networks_are_drawn_and_come_back_from_a_folder(case, tmp_path):
    layer, shape, options, plot = CASES[case]
    rows = torch.randn(6, *shape, generator=torch.Generator().manual_seed(0))
    net = Read(layer, wave=len(shape) == 1).eval()
    explanation = explain_with(
        net,
        rows,
        **{"method": "gradient", "returns": "values", "progress": False, **options},
    )
    explanation.save(tmp_path / "why")
    figures = [
        getattr(drawn_explanation.plot, plot)(row=4, title="")
        for drawn_explanation in (explanation, pg.Explanation.load(tmp_path / "why"))
    ]
    assert drawn(figures[0]) == drawn(figures[1])
    page = explanation.to_html(row=4)
    if plot == "volume":
        assert page.count("<img") == 3
    else:
        assert page.count("<svg") == min(
            4,
            shape[explanation.meta["read_as"]["x"]["channels"]]
            if len(shape) > 1
            else 1,
        )


def test_series_and_volumes_share_the_room_of_the_users_axes():
    figure = Figure(layout="constrained")
    first, other_axes = figure.subplots(1, 2)
    assert lines().plot.series(ax=first) is first
    assert len(figure.axes) >= 4, "a panel for each channel, and colours"
    assert block().plot.volume(ax=other_axes) is other_axes
    figure.canvas.draw()
    assert sum(panel.get_position().x1 < 0.55 for panel in figure.axes) >= 3
